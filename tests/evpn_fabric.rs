//! Three hosts with real RIB, EVPN and FIB exchange routes through links that delay, while MACs move at random. After quiet
//! all agree where each MAC is, and every FIB wants what a model of a few lines says. A failing seed is in the message.
//!
//! Beside them a fourth VTEP of another make: it announces MAC-only and MAC/IP routes of one machine with different sequence
//! numbers, and in every other seed it had all machines first, with numbers just below the highest there is.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use evpnd::base::{Asn, BgpIdentifier, MacAddr, Random, Time, Vni, compare_sequences, next_sequence};
use evpnd::evpn::{DuplicateDetection, Evpn, EvpnConfig, EvpnLimits, ExportTarget, Flood, ImportTarget, InstanceConfig, Place};
use evpnd::fib::{BatchDone, Fib, LocalMac, OpKind};
use evpnd::rib::{PeerId, PeerKind, Rib, RibConfig, RibPeer};
use evpnd::wire::attribute::Attributes;
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::{EvpnRoute, MacIp};
use evpnd::wire::ext_community::{ExtCommunity, RouteTarget};
use evpnd::wire::header::{HEADER_LEN, MAX_MESSAGE_LEN, frame};
use evpnd::wire::rd::Rd;
use evpnd::wire::update::{UpdateContext, UpdateView, emit_reach, emit_unreach};

const NOW: Time = Time::from_secs(1);
const HOSTS: usize = 3;
/// The number of the VTEP of another make.
const OTHER: usize = HOSTS;
const CONTEXT: UpdateContext = UpdateContext { four_octet_as: true, external: false };

fn vni() -> Vni {
    Vni::new(100).unwrap()
}
fn vtep(host: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, host as u8 + 1])
}
fn id(host: usize) -> BgpIdentifier {
    BgpIdentifier([10, 0, 0, host as u8 + 1].into())
}

/// A host with its bridge: MACs at local ports, as the bridge has them.
struct Host {
    rib: Rib,
    fib: Fib,
    evpn: Evpn,
    bridge: BTreeMap<MacAddr, bool>,
    /// UPDATEs on their way to each other host.
    links: Vec<VecDeque<Vec<u8>>>,
}

impl Host {
    fn new(number: usize, seed: u64, sticky: &[MacAddr]) -> Self {
        let mut rib = Rib::new(RibConfig::new(Asn(65000), id(number), seed));
        for other in (0..=OTHER).filter(|other| *other != number) {
            let peer = RibPeer {
                kind: PeerKind::NonClient,
                asn: Asn(65000),
                identifier: id(other),
                address: vtep(other),
                max_routes: None,
                context: CONTEXT,
                extended_message: false,
                long_lived: false,
            };
            rib.add_peer(PeerId(other as u16), peer);
            if other != OTHER {
                rib.join_export(PeerId(other as u16));
            }
        }
        // Off: here machines move as often as chance wants.
        let duplicates = DuplicateDetection { moves: 0, ..DuplicateDetection::default() };
        let (asn, router_id, vtep) = (Asn(65000), id(number), Some(vtep(number)));
        let config = EvpnConfig { asn, router_id, vtep, seed, limits: EvpnLimits::default(), duplicates };
        let (mut fib, mut evpn) = (Fib::new(seed), Evpn::new(config));
        fib.device_ready(NOW, vni(), 7, Some(false), vec![]);
        let instance = InstanceConfig {
            vni: vni(),
            rd: Rd::from_ipv4(id(number), 100),
            import: vec![ImportTarget::Auto],
            export: vec![ExportTarget::Auto],
            static_macs: sticky.to_vec(),
            announce_own: true,
            neighbors: true,
            macs: true,
            beside: false,
            flood: Flood::IngressReplication,
        };
        evpn.add_instance(NOW, &mut rib, &mut fib, instance);
        evpn.device_up(NOW, &mut rib, vni());
        Self { rib, fib, evpn, bridge: BTreeMap::new(), links: vec![VecDeque::new(); HOSTS] }
    }

    fn work(&mut self) {
        while let Some(dest) = self.rib.next_change() {
            self.evpn.handle_change(NOW, &mut self.rib, &mut self.fib, dest);
        }
        while self.rib.work(100) {}
        for (other, link) in self.links.iter_mut().enumerate() {
            let peer = PeerId(other as u16);
            let mut octets = Vec::new();
            while self.rib.has_pending(peer) && self.rib.fill(peer, &mut octets, 1 << 16) > 0 {}
            let mut rest = octets.as_slice();
            while let Some(message) = frame(rest, MAX_MESSAGE_LEN).unwrap() {
                link.push_back(rest[..message.len].to_vec());
                rest = &rest[message.len..];
            }
        }
    }

    /// The kernel carries rows out: a row takes the bridge's entry from the port.
    fn kernel(&mut self) {
        while let Some(batch) = self.fib.poll_batch(NOW) {
            for op in &batch.ops {
                if op.kind == OpKind::ReplaceUnicast && self.bridge.remove(&op.mac).is_some() {
                    self.evpn.handle_local_mac_gone(NOW, &mut self.rib, &mut self.fib, vni(), op.mac);
                }
            }
            self.fib.handle_batch_done(NOW, &BatchDone { id: batch.id, ..BatchDone::default() });
        }
    }

    fn speak(&mut self, mac: MacAddr, port: u32) {
        let known = self.bridge.insert(mac, true).is_some();
        if !known {
            let heard = LocalMac { vni: vni(), mac, port, port_name: format!("tap{port}"), is_static: false };
            self.evpn.handle_local_mac(NOW, &mut self.rib, &mut self.fib, &heard);
        }
    }

    fn age(&mut self, mac: MacAddr) {
        if self.bridge.remove(&mac).is_some() {
            self.evpn.handle_local_mac_gone(NOW, &mut self.rib, &mut self.fib, vni(), mac);
        }
    }
}

/// The VTEP of another make: no table, only what it says.
struct Other {
    links: Vec<VecDeque<Vec<u8>>>,
    /// What it announces of each machine: the addresses (0: the MAC-only route).
    says: BTreeMap<MacAddr, BTreeSet<u8>>,
    sequences: BTreeMap<MacAddr, u32>,
}

impl Other {
    fn route(mac: MacAddr, address: u8) -> EvpnRoute<'static> {
        let ip = (address > 0).then(|| IpAddr::from([192, 0, 2, address]));
        let (rd, esi) = (Rd::from_ipv4(id(OTHER), 100), Esi::default());
        EvpnRoute::MacIp(MacIp { rd, esi, tag: 0, mac, ip, label1: 100, label2: None })
    }

    fn send(&mut self, message: &[u8]) {
        self.links.iter_mut().for_each(|link| link.push_back(message.to_vec()));
    }

    /// Some of its routes carry the sequence number, others an older one.
    fn announce(&mut self, random: &mut Random, mac: MacAddr, sequence: u32) {
        let newest = random.below(3) as u8;
        for address in 0..3 {
            let number = match (address == newest, random.below(4)) {
                (true, _) | (false, 0) => sequence,
                (false, 1) => sequence.wrapping_sub(1),
                (false, _) => continue,
            };
            let target = ExtCommunity::route_target(RouteTarget::As2 { asn: 65000, number: 100 });
            let ext_communities = vec![target, ExtCommunity::vxlan(), ExtCommunity::mac_mobility(false, number)];
            let attributes = Attributes { next_hop: Some(vtep(OTHER)), ext_communities, ..Attributes::default() };
            let (mut nlri, mut message) = (vec![], vec![]);
            Self::route(mac, address).emit(&mut nlri);
            emit_reach(&mut message, &attributes, &CONTEXT, &nlri);
            self.send(&message);
            self.says.entry(mac).or_default().insert(address);
        }
        self.sequences.insert(mac, sequence);
    }

    fn withdraw(&mut self, random: &mut Random, mac: MacAddr) {
        let mut addresses: Vec<u8> = self.says.remove(&mac).unwrap_or_default().into_iter().collect();
        if random.below(2) == 0 {
            addresses.reverse();
        }
        for address in addresses {
            let (mut nlri, mut message) = (vec![], vec![]);
            Self::route(mac, address).emit(&mut nlri);
            emit_unreach(&mut message, &nlri);
            self.send(&message);
        }
    }

    fn deliver(&mut self, hosts: &mut [Host], to: usize) -> bool {
        let Some(message) = self.links[to].pop_front() else { return false };
        let view = UpdateView::parse(&message[HEADER_LEN..]).unwrap();
        hosts[to].rib.handle_update(NOW, PeerId(OTHER as u16), &view).unwrap();
        hosts[to].work();
        true
    }

    /// The number above all that stand for a machine.
    fn next(&self, hosts: &[Host], mac: MacAddr) -> u32 {
        let known = hosts.iter().filter_map(|host| Some(host.evpn.mac(vni(), mac)?.sequence));
        let highest = known.chain(self.sequences.get(&mac).copied()).max_by(|a, b| compare_sequences(*a, *b));
        highest.map_or(0, next_sequence)
    }
}

fn deliver(hosts: &mut [Host], from: usize, to: usize) -> bool {
    let Some(message) = hosts[from].links[to].pop_front() else { return false };
    let view = UpdateView::parse(&message[HEADER_LEN..]).unwrap();
    hosts[to].rib.handle_update(NOW, PeerId(from as u16), &view).unwrap();
    hosts[to].work();
    true
}

fn quiet(hosts: &mut [Host], other: &mut Other) {
    for _ in 0..1000 {
        let mut moved = false;
        for from in 0..HOSTS {
            hosts[from].kernel();
            hosts[from].work();
            for to in 0..HOSTS {
                moved |= deliver(hosts, from, to);
            }
        }
        for to in 0..HOSTS {
            moved |= other.deliver(hosts, to);
        }
        if !moved && hosts.iter().all(|host| host.fib.is_settled()) {
            return;
        }
    }
    panic!("does not come to rest");
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let macs: Vec<MacAddr> = (1..=4).map(|n| MacAddr([2, 0, 0, 0, 0, n])).collect();
    let sticky = MacAddr([2, 0, 0, 0, 0, 9]);
    let sticky_of = |number| if number == 1 { vec![sticky] } else { vec![] };
    let mut hosts: Vec<Host> = (0..HOSTS).map(|number| Host::new(number, seed, &sticky_of(number))).collect();
    // Where each virtual machine really is.
    let mut home: BTreeMap<MacAddr, Option<usize>> = macs.iter().map(|mac| (*mac, None)).collect();
    let mut other = Other { links: vec![VecDeque::new(); HOSTS], says: BTreeMap::new(), sequences: BTreeMap::new() };
    if seed % 2 == 1 {
        for mac in &macs {
            let sequence = u32::MAX - random.below(4) as u32;
            other.announce(&mut random, *mac, sequence);
            home.insert(*mac, Some(OTHER));
        }
    }
    for _ in 0..120 {
        let (host, mac) = (random.below(HOSTS as u64) as usize, macs[random.below(4) as usize]);
        match random.below(13) {
            12 if random.below(3) == 0 => {
                // It moves to the other make, or changes its addresses there.
                let sequence = if home[&mac] == Some(OTHER) { other.sequences[&mac] } else { other.next(&hosts, mac) };
                other.announce(&mut random, mac, sequence);
                home.insert(mac, Some(OTHER));
            }
            0 => {
                // It moves; the old host may find out late, by the new route alone or by its port going down.
                match (home[&mac], random.below(2)) {
                    (Some(OTHER), 0) => other.withdraw(&mut random, mac),
                    (Some(old), 0) => {
                        hosts[old].age(mac);
                        hosts[old].work();
                    }
                    _ => {}
                }
                home.insert(mac, Some(host));
                hosts[host].speak(mac, 1 + random.below(2) as u32);
                hosts[host].work();
            }
            1 => {
                if let Some(at) = home[&mac].filter(|at| *at != OTHER) {
                    hosts[at].speak(mac, 1);
                    hosts[at].work();
                }
            }
            2 if random.below(3) == 0 => match home.insert(mac, None) {
                Some(Some(OTHER)) => other.withdraw(&mut random, mac),
                Some(Some(at)) => {
                    hosts[at].age(mac);
                    hosts[at].work();
                }
                _ => {}
            },
            3 if host != 1 && random.below(4) == 0 => {
                hosts[host].speak(sticky, 3);
                hosts[host].bridge.remove(&sticky);
                hosts[host].work();
            }
            4 => hosts[host].kernel(),
            _ => {
                let to = random.below(HOSTS as u64) as usize;
                match random.below(3) {
                    0 => other.deliver(&mut hosts, to),
                    _ => deliver(&mut hosts, host, to),
                };
            }
        }
    }
    quiet(&mut hosts, &mut other);
    // Every machine that runs says something again, as they do; stale entries of a bridge age out.
    for (mac, at) in &home {
        for (_, host) in hosts.iter_mut().enumerate().filter(|(number, _)| *at != Some(*number)) {
            host.age(*mac);
            host.work();
        }
        match *at {
            Some(OTHER) => {
                let sequence = other.next(&hosts, *mac);
                other.announce(&mut random, *mac, sequence);
            }
            at => {
                other.withdraw(&mut random, *mac);
                if let Some(at) = at {
                    hosts[at].speak(*mac, 1);
                    hosts[at].work();
                }
            }
        }
        quiet(&mut hosts, &mut other);
    }
    home.insert(sticky, Some(1));
    for (number, host) in hosts.iter().enumerate() {
        for (mac, at) in &home {
            let wanted = host.fib.unicast(vni(), *mac).and_then(|row| row.wanted).map(|remote| remote.ip);
            let installed = host.fib.unicast(vni(), *mac).and_then(|row| row.installed).map(|remote| remote.ip);
            let expected = at.filter(|at| *at != number).map(vtep);
            assert_eq!((wanted, installed), (expected, expected), "seed {seed}: {mac} at {at:?}, row of host {number}");
            let place = host.evpn.mac(vni(), *mac).map(|view| view.place);
            match (at, place) {
                (None, None) => {}
                (Some(at), Some(Place::Port(_))) => assert_eq!(*at, number, "seed {seed}: {mac}"),
                (Some(at), Some(Place::Vtep(ip))) => assert_eq!(vtep(*at), ip, "seed {seed}: {mac}"),
                other => panic!("seed {seed}: {mac} {other:?} at host {number}"),
            }
        }
        let flood: Vec<IpAddr> = host.fib.flood(vni()).into_iter().map(|(remote, _)| remote.ip).collect();
        let others: Vec<IpAddr> = (0..HOSTS).filter(|other| *other != number).map(vtep).collect();
        assert_eq!(flood, others, "seed {seed}");
        assert_eq!(host.fib.row_count(vni()), flood.len() + home.values().filter(|at| at.is_some_and(|at| at != number)).count());
    }
}

#[test]
fn after_quiet_every_host_knows_where_every_mac_is() {
    for seed in 0..2000 {
        run(seed);
    }
}
