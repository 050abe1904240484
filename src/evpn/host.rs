//! This host as a station of a segment: the MAC of a VNI's bridge with the addresses that the host has there, as the guests' gateway has.
//!
//! It is announced as static (RFC 7432 §15.2), because no other place can have an interface of this host. Nor does it ever yield here:
//! the kernel takes what is sent to its bridge's MAC and answers for its own addresses whatever anybody else announces. So a gateway that
//! every host has, with one MAC and one address on all their bridges, is each host's own: nobody moves, nobody is a duplicate, and a host
//! without it sends to the best of them. See `docs/decisions/0009-the-hosts-own-addresses.md`.
//!
//! A row for the bridge's own MAC is never wanted: writing it takes over the kernel's entry, and deleting it leaves the bridge
//! without any, deaf to what is sent to this host (`br_fdb_external_learn_add` and `_del`; seen on 6.18).

use std::net::IpAddr;

use smallvec::SmallVec;

use super::addresses::is_host;
use super::event::Event;
use super::instance::Evpn;
use super::local::{Local, STATIC};
use super::mobility::Claim;
use super::own_addresses::Own;
use crate::base::{MacAddr, Time, Vni, compare_sequences, next_sequence};
use crate::fib::{Fib, HostStation};
use crate::rib::Rib;

impl Evpn {
    /// What this host is in a segment now.
    pub fn handle_host(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, vni: Vni, station: Option<&HostStation>) {
        let Some(&number) = self.by_vni.get(&vni) else { return };
        let Some(instance) = self.slot_mut(number) else { return };
        let before = std::mem::replace(&mut instance.host, station.cloned());
        if before.as_ref() == station {
            return;
        }
        let mac = station.map(|station| station.mac);
        if let Some(before) = before.map(|before| before.mac).filter(|before| Some(*before) != mac) {
            self.host_left(now, rib, fib, vni, (number, before));
        }
        self.put_host(now, rib, fib, number);
    }

    /// The rows that stand in the device of a VNI were read.
    pub fn rows_known(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, vni: Vni) {
        if let Some(&number) = self.by_vni.get(&vni) {
            self.put_host(now, rib, fib, number);
        }
    }

    /// Makes what is announced agree with what this host is in a segment.
    pub(super) fn put_host(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16) {
        let Some(instance) = self.slot(number) else { return };
        let (vni, with_addresses) = (instance.config.vni, instance.config.neighbors);
        let Some(HostStation { mac, port, port_name, addresses }) = instance.host.clone() else { return };
        if let Some(id) = self.macs.find(number, mac) {
            self.uninstall(now, fib, id, true);
        }
        // One of an earlier run, too: the tunnel's half alone goes.
        fib.clear_unicast(now, vni, mac, true);
        if !mac.is_station() || addresses.is_empty() {
            return self.host_left(now, rib, fib, vni, (number, mac));
        }
        let old = self.locals.get(&(number, mac)).copied();
        if !old.is_some_and(|old| old.of_host && old.owned && old.port == port) {
            self.thaw(now, (number, mac), STATIC);
            let port_name = self.port_names.acquire(port_name);
            if let Some(old) = old {
                self.port_names.release(old.port_name);
            }
            let (configured, sequence) = old.map_or((false, 0), |old| (old.configured, old.sequence));
            let local = Local { port, port_name, operator_static: false, configured, of_host: true, owned: true, sequence };
            self.put_local(number, mac, local);
            self.events.push(Event::MacLearned { vni, mac, place: self.place_of(&local), sequence, sticky: true });
        }
        self.announce(now, rib, number, mac);
        let gone = |ip: &IpAddr| !addresses.iter().any(|(other, _)| other == ip);
        let lost: SmallVec<[IpAddr; 2]> = self.own_ips.get(&(number, mac)).into_iter().flatten().copied().filter(gone).collect();
        for ip in lost {
            self.drop_own(rib, number, ip, mac);
            self.decide_address(now, rib, fib, number, vni, ip);
        }
        for (ip, router) in addresses.into_iter().filter(|(ip, _)| with_addresses && is_host(*ip)) {
            self.put_host_address(now, rib, fib, (number, vni), (mac, ip), router);
        }
    }

    /// An address of this host. Nobody else's word is asked; where other MACs have it elsewhere ours is the later one (RFC 9721 §6.2), and
    /// the same MAC elsewhere is the same gateway there.
    fn put_host_address(
        &mut self,
        now: Time,
        rib: &mut Rib,
        fib: &mut Fib,
        (number, vni): (u16, Vni),
        (mac, ip): (MacAddr, IpAddr),
        router: bool,
    ) {
        let before = self.addresses.get(&(number, ip)).and_then(|address| address.own);
        let own = match before.filter(|own| own.mac == mac) {
            Some(own) if own.router == router => return,
            Some(own) => Own { router, ..own },
            None => {
                let words = self.words(rib, number, vni, ip);
                let others = words.iter().filter(|word| word.binding.mac != mac).map(|word| word.claim.sequence);
                let highest = others.chain(before.map(|own| own.sequence)).max_by(|a, b| compare_sequences(*a, *b));
                if let Some(before) = before {
                    self.drop_own(rib, number, ip, before.mac);
                }
                self.own_ips.entry((number, mac)).or_default().push(ip);
                let of_mac = self.locals.get(&(number, mac)).map_or(0, |local| local.sequence);
                let next = highest.map(next_sequence).into_iter().chain([of_mac]);
                Own { mac, router, sequence: next.max_by(|a, b| compare_sequences(*a, *b)).unwrap_or(0) }
            }
        };
        self.addresses.entry((number, ip)).or_default().own = Some(own);
        self.announce_address(now, rib, number, ip);
        self.decide_address(now, rib, fib, number, vni, ip);
    }

    /// The host's part in a segment is over, or its bridge has another MAC: what remains of the old one is the configuration's word, or
    /// another host's.
    fn host_left(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, vni: Vni, (number, mac): (u16, MacAddr)) {
        match self.locals.get_mut(&(number, mac)).filter(|local| local.of_host) {
            Some(local) => local.of_host = false,
            None => {
                // Only the bridge had it: others' routes count from now on, unless it has it still.
                if let Some(id) = self.macs.find(number, mac) {
                    self.decide(now, rib, fib, id, None, None);
                }
                return;
            }
        }
        if self.locals.get(&(number, mac)).is_some_and(|local| local.configured) {
            self.lose_addresses(now, rib, fib, number, mac);
        }
        self.handle_local_mac_gone(now, rib, fib, vni, mac);
        // In `static` with the announcement of the host's own turned off, say: announced or not by what it is now.
        self.announce(now, rib, number, mac);
    }

    /// Whether a bridge of ours has this MAC for itself, so that no row may lead elsewhere.
    pub(super) fn is_bridges_own(&self, number: u16, mac: MacAddr) -> bool {
        self.slot(number).and_then(|instance| instance.host.as_ref()).is_some_and(|host| host.mac == mac)
    }

    /// The MAC that the bridge of a VNI has though another host announces it, where this host has no address there, with that host's VTEP
    /// (of several the lowest): what guests here send to it ends at the bridge, and nobody answers.
    pub fn swallowed(&self, rib: &Rib, vni: Vni) -> Option<(MacAddr, IpAddr)> {
        let number = *self.by_vni.get(&vni)?;
        let host = self.slot(number)?.host.as_ref().filter(|host| host.addresses.is_empty())?;
        if self.locals.contains_key(&(number, host.mac)) {
            // In `static`: so it is meant.
            return None;
        }
        let routes = self.macs.routes(self.macs.find(number, host.mac)?);
        let vteps = routes.filter_map(|dest| rib.attributes(rib.best(dest)?.attr).next_hop);
        Some((host.mac, vteps.min()?))
    }

    /// Whether another host's route for a MAC or address of this host is what the same gateway there says, not somebody who took it: it is
    /// static there as well, or (others announce theirs without that) was never heard anywhere after ours.
    pub(super) fn is_same_gateway(local: &Local, claim: &Claim) -> bool {
        local.of_host && (claim.sticky || claim.sequence == 0)
    }
}
