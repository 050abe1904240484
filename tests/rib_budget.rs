//! What a route costs: octets for the million, microseconds, and the reflector's fan-out. The memory test runs always;
//! the timed ones are for `cargo test --release --test rib_budget -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod rib_support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use evpnd::base::{MacAddr, Time};
use evpnd::rib::{PeerId, PeerKind, Rib, Stale};
use evpnd::wire::attribute::Attributes;
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::{EvpnRoute, Imet, MacIp};
use evpnd::wire::ext_community::{ExtCommunity, RouteTarget};
use evpnd::wire::header::{HEADER_LEN, MAX_MESSAGE_LEN};
use evpnd::wire::rd::Rd;
use evpnd::wire::update::{UpdateView, reach_overhead};
use rib_support::*;

/// Attributes of one VTEP and VNI as they usually are.
fn vtep_attributes(vtep: u32, vni: u32) -> Attributes {
    Attributes {
        next_hop: Some(IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + vtep))),
        local_pref: Some(100),
        ext_communities: vec![ExtCommunity::route_target(RouteTarget::As2 { asn: 65000, number: vni }), ExtCommunity::vxlan()],
        ..Attributes::default()
    }
}

/// UPDATEs of `vteps` × `vnis` × `macs` type 2 routes and a type 3 for each VTEP and VNI, packed as far as 4096 octets allow.
fn table(vteps: u32, vnis: u32, macs: u32) -> Vec<Vec<u8>> {
    let context = context(PeerKind::Client);
    let mut updates = Vec::new();
    for vtep in 0..vteps {
        for vni in 0..vnis {
            let attributes = vtep_attributes(vtep, vni);
            let rd = Rd::from_ipv4(evpnd::base::BgpIdentifier(Ipv4Addr::from(0x0a01_0000 + vtep)), vni as u16);
            let originator = IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + vtep));
            let mut routes = vec![EvpnRoute::Imet(Imet { rd, tag: 0, originator })];
            routes.extend((0..macs).map(|mac| {
                let [_, a, b, c] = mac.to_be_bytes();
                let [_, _, d, e] = (vtep * vnis + vni).to_be_bytes();
                EvpnRoute::MacIp(MacIp {
                    rd,
                    esi: Esi::default(),
                    tag: 0,
                    mac: MacAddr([2 + (a << 2), d, e, a, b, c]),
                    ip: None,
                    label1: vni,
                    label2: None,
                })
            }));
            let per_update = (MAX_MESSAGE_LEN - reach_overhead(&attributes, &context)) / 35;
            updates.extend(routes.chunks(per_update).map(|routes| reach(&attributes, &context, routes)));
        }
    }
    updates
}

fn load(rib: &mut Rib, from: u16, updates: &[Vec<u8>]) -> usize {
    let mut changes = 0;
    for (at, update) in updates.iter().enumerate() {
        rib.handle_update(Time::ZERO, PeerId(from), &UpdateView::parse(&update[HEADER_LEN..]).unwrap()).unwrap();
        // A turn is about 64 KiB of octets.
        if at % 16 == 15 {
            while rib.next_change().is_some() {
                changes += 1;
            }
        }
    }
    while rib.next_change().is_some() {
        changes += 1;
    }
    changes
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn cpu_secs() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
fn a_destination_with_one_path_takes_less_than_ninety_octets() {
    let mut lab = Lab::with(&[PeerKind::NonClient]);
    let changes = load(&mut lab.rib, 1, &table(10, 10, 1000));
    let memory = lab.rib.memory();
    assert_eq!((changes, memory.destinations, memory.attribute_blocks), (100_100, 100_100, 100));
    let each = memory.table_octets as f64 / f64::from(memory.destinations);
    assert!(each <= 90.0, "{each} octets per destination");
    assert!(memory.export_octets < 10_000, "nobody may hear them: {}", memory.export_octets);
}

#[test]
#[ignore = "a million routes, timed"]
fn a_million() {
    let updates = table(100, 10, 1000);
    let (mut lab, before, begin, cpu) = (Lab::with(&[PeerKind::NonClient]), resident(), Instant::now(), cpu_secs());
    let changes = load(&mut lab.rib, 1, &updates) as f64;
    let (took, memory) = (begin.elapsed().as_secs_f64(), lab.rib.memory());
    let rss = resident() - before;
    println!("{changes} routes: {:.3} µs each, {:.2} CPU s", took * 1e6 / changes, cpu_secs() - cpu);
    println!("table {:.1} octets each, RSS {:.1} each; {memory:?}", memory.table_octets as f64 / changes, rss as f64 / changes);
    let begin = Instant::now();
    let again = load(&mut lab.rib, 1, &updates);
    println!("the same again: {:.3} µs each, {again} changes", begin.elapsed().as_secs_f64() * 1e6 / changes);
    assert!(memory.table_octets as f64 / changes <= 90.0 && again == 0, "{memory:?}, {again} changes");
    let begin = Instant::now();
    lab.rib.peer_down(PeerId(1), Stale::Drop);
    let (mut gone, mut longest) = (0, 0.0_f64);
    loop {
        let slice = Instant::now();
        let more = lab.rib.work(2000);
        while lab.rib.next_change().is_some() {
            gone += 1;
        }
        longest = longest.max(slice.elapsed().as_secs_f64());
        if !more {
            break;
        }
    }
    println!(
        "peer down: {:.3} µs each of {gone}, longest slice of 2000 {:.2} ms",
        begin.elapsed().as_secs_f64() * 1e6 / changes,
        longest * 1e3
    );
    assert_eq!(gone as f64, changes);
}

#[test]
#[ignore = "two hundred clients, timed"]
fn two_hundred_clients() {
    for budget in [64 << 10, 1 << 20, usize::MAX] {
        let (updates, rss) = (table(100, 10, 100), resident());
        let mut lab = Lab::new(config());
        for n in 1..=201 {
            lab.up(n, peer(PeerKind::Client, n as u8));
        }
        lab.settle();
        let (begin, cpu) = (Instant::now(), cpu_secs());
        let changes = load(&mut lab.rib, 1, &updates);
        let loaded = begin.elapsed();
        let (mut out, mut octets, mut peak) = (Vec::new(), 0, 0);
        loop {
            let mut idle = true;
            for n in 2..=201 {
                if lab.rib.has_pending(PeerId(n)) {
                    out.clear();
                    octets += lab.rib.fill(PeerId(n), &mut out, budget);
                    idle = false;
                }
            }
            peak = peak.max(lab.rib.memory().export_octets);
            if idle {
                break;
            }
        }
        println!(
            "budget {budget}: load {:.0} ms, {changes} routes to 200: {:.0} ms wall, {:.2} CPU s, {:.1} MB in all, RSS +{:.1} MB, export peak {:.1} MB, {:?}",
            loaded.as_secs_f64() * 1e3,
            (begin.elapsed() - loaded).as_secs_f64() * 1e3,
            cpu_secs() - cpu,
            octets as f64 / 1e6,
            (resident() - rss) as f64 / 1e6,
            peak as f64 / 1e6,
            lab.rib.stats(),
        );
        // A change while all are at the end.
        let one = reach(&vtep_attributes(1, 1), &context(PeerKind::Client), &[mac_ip(1)]);
        let begin = Instant::now();
        load(&mut lab.rib, 1, &[one]);
        for n in 2..=201 {
            out.clear();
            assert!(lab.rib.fill(PeerId(n), &mut out, 1 << 20) > 0);
        }
        println!("one more to 200: {:.1} µs", begin.elapsed().as_secs_f64() * 1e6);
        let (encoded, sent) = (lab.rib.stats().chunks_encoded, lab.rib.stats().chunks_sent);
        assert!(sent >= 100 * encoded, "equal peers share what is encoded once: {encoded} for {sent}");
        let begin = Instant::now();
        lab.down(1, false);
        lab.rib.leave_and_settle();
        octets = 0;
        for n in 2..=201 {
            while lab.rib.has_pending(PeerId(n)) {
                out.clear();
                octets += lab.rib.fill(PeerId(n), &mut out, 1 << 20);
            }
        }
        while lab.rib.work(10_000) {}
        lab.rib.next_change();
        println!(
            "all withdrawn: {:.0} ms, {:.1} MB; left: {:?}",
            begin.elapsed().as_secs_f64() * 1e3,
            octets as f64 / 1e6,
            lab.rib.memory()
        );
    }
}

trait Settle {
    fn leave_and_settle(&mut self);
}

impl Settle for Rib {
    fn leave_and_settle(&mut self) {
        while self.work(2000) {
            while self.next_change().is_some() {}
        }
        while self.next_change().is_some() {}
    }
}
