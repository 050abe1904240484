//! Devices without a bridge (`bridge = "none"`): the host itself is the one station behind them, with their MAC and their addresses.
//!
//! Rows stand in the VXLAN device alone (the kernel passes over the bridge's half where there is none, `rtnl_fdb_add`,
//! `net/core/rtnetlink.c`), neighbours on the device, where the host sends to them without asking; with `proxy` the device answers
//! from them what others ask through it. An address that nobody announced is asked for in vain, and the kernel tells of that:
//! the neighbour becomes `NUD_FAILED`, or (`l3miss`) a question of others finds none.

use std::net::IpAddr;

use super::host::{OwnAddresses, forwards};
use super::stations::Station;
use super::worker::Worker;
use crate::base::{MacAddr, Vni};
use crate::fib::KernelEvent;

impl Worker {
    /// Whether a VNI's device is in no bridge.
    pub(super) fn is_bare(&self, vni: Vni) -> bool {
        self.managed.get(&vni).is_some_and(|managed| managed.spec.bare)
    }

    /// The one station of a device without a bridge.
    pub(super) fn own_station(&self, vni: Vni) -> Option<(MacAddr, Station)> {
        let ifindex = self.ready_device(vni)?.ifindex;
        Some((self.links.link(ifindex)?.mac?, Station { port: ifindex, is_static: true }))
    }

    /// Tells which addresses a device without a bridge has, after its MAC was told.
    pub(super) fn tell_own_addresses(&mut self, vni: Vni, addresses: &OwnAddresses) {
        let Some((mac, Station { port, .. })) = self.own_station(vni) else { return };
        let found = addresses.get(&port).cloned().unwrap_or_default();
        let router = forwards(&self.links.name(port));
        let Some(managed) = self.managed.get_mut(&vni) else { return };
        let before = std::mem::replace(&mut managed.own_addresses, found.clone());
        let gone = before.difference(&found).map(|ip| KernelEvent::LocalAddressGone { vni, mac, ip: *ip });
        let told = found.iter().map(|ip| KernelEvent::LocalAddress { vni, mac, ip: *ip, router: ip.is_ipv6().then_some(router) });
        self.out.extend(gone.chain(told));
    }

    /// The host asked for an address in vain.
    pub(super) fn handle_failed(&mut self, vni: Vni, ip: IpAddr) {
        if self.managed.get(&vni).is_some_and(|managed| managed.spec.bare && managed.spec.questions) {
            self.out.push(KernelEvent::Asked { vni, ip });
        }
    }
}
