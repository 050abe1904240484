//! What this host itself is in the segments of its VNIs: the MAC of a bridge with the addresses that it has there, or those of a device
//! without a bridge (`bare`). Told whole, when anything of it changed: all addresses are read once for all that may be concerned.
//! What our own filter (`closed`) keeps from guests is nothing that they should be told of: it is said in the device's warnings instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;

use super::closed;
use super::codec::{self, Message};
use super::setup;
use super::worker::Worker;
use crate::base::Vni;
use crate::fib::{HostStation, KernelEvent};

/// `struct netconfmsg` with its padding, and `NETCONFA_IFINDEX` (`include/uapi/linux/netconf.h`).
const NETCONFMSG: usize = 4;
const NETCONFA_IFINDEX: u16 = 1;

/// By interface.
pub(super) type OwnAddresses = BTreeMap<u32, BTreeSet<IpAddr>>;

impl Worker {
    /// The list of devices was given: from the first on, changes of addresses are heard of, and of whether IPv6 is forwarded.
    pub(super) fn want_addresses(&mut self) {
        if self.addresses_heard || self.managed.is_empty() {
            return;
        }
        self.addresses_heard = true;
        for group in [libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR, libc::RTNLGRP_IPV6_NETCONF] {
            if let Err(error) = self.events.join(group) {
                tracing::warn!(%error, "changes of this host's addresses are not heard of: they are told late");
            }
        }
    }

    /// An address came or went.
    pub(super) fn handle_own_address(&mut self, body: &[u8]) {
        self.note_own(codec::u32_at(body, 4));
    }

    /// A setting of an interface changed.
    pub(super) fn handle_setting(&mut self, message: &Message<'_>) {
        let mut attributes = codec::attributes(message.body.get(NETCONFMSG..).unwrap_or_default());
        self.note_own(attributes.find(|(kind, _)| *kind == NETCONFA_IFINDEX).and_then(|(_, value)| codec::u32_of(value)));
    }

    /// Something changed of an interface that may be this host's end of a segment.
    pub(super) fn note_own(&mut self, ifindex: Option<u32>) {
        // The bridge of one without a bridge is its device.
        self.own_changed.extend(ifindex.and_then(|ifindex| self.bridges.get(&ifindex)));
    }

    /// Tells what this host is where that may have changed.
    pub(super) fn tell_own(&mut self) {
        let changed = std::mem::take(&mut self.own_changed);
        if changed.is_empty() {
            return;
        }
        let mut addresses = OwnAddresses::new();
        match setup::working_addresses(&mut self.requests) {
            Ok(found) => found.into_iter().for_each(|(ifindex, ip)| _ = addresses.entry(ifindex).or_default().insert(ip)),
            // The audit asks again.
            Err(said) => return tracing::warn!(error = said.text, "the addresses of this host cannot be read"),
        }
        for vni in changed {
            if self.is_bare(vni) {
                self.tell_own_addresses(vni, &addresses);
                continue;
            }
            let closed = self.closed_addresses(vni, &addresses);
            let station = self.host_station(vni, &addresses, !closed.is_empty());
            let shut_off: Vec<IpAddr> = closed.into_iter().filter(is_given).collect();
            let Some(managed) = self.managed.get_mut(&vni) else { continue };
            if managed.known.shut_off != shut_off {
                managed.known.shut_off = shut_off;
                self.dirty.insert(vni);
            }
            if managed.host != station {
                managed.host.clone_from(&station);
                self.out.push(KernelEvent::Host { vni, station });
            }
        }
    }

    /// The addresses of a VNI's bridge that no guest reaches: those of IPv6 where our filter stands.
    fn closed_addresses(&mut self, vni: Vni, addresses: &OwnAddresses) -> Vec<IpAddr> {
        let Some(bridge) = self.bridge_of(vni) else { return Vec::new() };
        let found: Vec<IpAddr> = addresses.get(&bridge).into_iter().flatten().filter(|ip| ip.is_ipv6()).copied().collect();
        let may_stand = !found.is_empty() && self.keeps_closed(vni, bridge);
        if may_stand && closed::stands_with_any_ports(&mut self.requests, bridge) { found } else { Vec::new() }
    }

    /// What this host is in the segment of a VNI with a bridge. `v4_alone`: guests reach none of its addresses of IPv6.
    fn host_station(&self, vni: Vni, addresses: &OwnAddresses, v4_alone: bool) -> Option<HostStation> {
        let link = self.links.link(self.bridge_of(vni)?)?;
        let found = addresses.get(&link.ifindex);
        let tunnel = &self.managed.get(&vni)?.spec.local;
        let heard = |ip: &&IpAddr| ip.is_ipv4() || !v4_alone;
        // A bridge with the tunnel's own address is not the guests' alone: to lead there through the tunnel would be a circle.
        let is_ours = |found: &BTreeSet<IpAddr>| found.iter().filter(heard).any(is_given) && !found.contains(tunnel);
        let takes_part = link.up && found.is_some_and(is_ours);
        let found = found.filter(|_| takes_part).into_iter().flatten().filter(heard);
        let router = takes_part && forwards(&link.name);
        Some(HostStation {
            mac: link.mac?,
            port: link.ifindex,
            port_name: link.name.clone(),
            addresses: found.map(|ip| (*ip, router && ip.is_ipv6())).collect(),
        })
    }
}

/// An address that somebody gave an interface; not one that it gave itself.
pub(super) fn is_given(ip: &IpAddr) -> bool {
    !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Whether this host forwards IPv6 that comes in at an interface, which makes it a router there (RFC 4861 §6.2.2).
pub(super) fn forwards(name: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/forwarding")).is_ok_and(|text| text.trim() != "0")
}
