//! How much memory and time MACs take in EVPN and FIB. `cargo test --release --test evpn_scale -- --ignored --nocapture`
//! for the million.

#![allow(clippy::unwrap_used, missing_docs)]

use std::net::IpAddr;
use std::time::Duration;

use evpnd::base::{Asn, BgpIdentifier, MacAddr, Time, Vni};
use evpnd::evpn::{DuplicateDetection, Evpn, EvpnConfig, EvpnLimits, ExportTarget, Flood, ImportTarget, InstanceConfig};
use evpnd::fib::{BatchDone, Fib};
use evpnd::rib::{PeerId, PeerKind, Rib, RibConfig, RibPeer};
use evpnd::wire::attribute::Attributes;
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::{EvpnRoute, MacIp};
use evpnd::wire::ext_community::{ExtCommunity, RouteTarget};
use evpnd::wire::header::HEADER_LEN;
use evpnd::wire::rd::Rd;
use evpnd::wire::update::{UpdateContext, UpdateView, emit_reach, emit_unreach};

const NOW: Time = Time::from_secs(1);
const VNIS: u32 = 10;
const CONTEXT: UpdateContext = UpdateContext { four_octet_as: true, external: false };

fn id(last: u8) -> BgpIdentifier {
    BgpIdentifier([10, 0, 0, last].into())
}

fn route(n: u32) -> (u8, u32, EvpnRoute<'static>) {
    let (vni, vtep) = (100 + n % VNIS, 2 + (n / VNIS / 40 % 100) as u8);
    let [a, b, c, d] = n.to_be_bytes();
    let rd = Rd::from_ipv4(id(vtep), vni as u16);
    let mac = MacAddr([2, 0, a, b, c, d]);
    (vtep, vni, EvpnRoute::MacIp(MacIp { rd, esi: Esi::default(), tag: 0, mac, ip: None, label1: vni, label2: None }))
}

/// Processor time of this thread so far: the machine is shared, so that the time on the wall says little.
fn cpu() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
}

/// Octets per MAC in EVPN and FIB.
fn load(count: u32) -> (usize, usize) {
    let mut rib = Rib::new(RibConfig::new(Asn(65000), id(1), 1));
    let peer = RibPeer {
        kind: PeerKind::NonClient,
        asn: Asn(65000),
        identifier: id(254),
        address: IpAddr::from([10, 0, 0, 254]),
        max_routes: None,
        context: CONTEXT,
        extended_message: false,
        long_lived: false,
    };
    rib.add_peer(PeerId(1), peer);
    let vtep = Some(IpAddr::from([10, 0, 0, 1]));
    let limits = EvpnLimits::default();
    let mut evpn = Evpn::new(EvpnConfig {
        asn: Asn(65000),
        router_id: id(1),
        vtep,
        seed: 1,
        limits,
        duplicates: DuplicateDetection::default(),
    });
    let mut fib = Fib::new(1);
    for n in 0..VNIS {
        let vni = Vni::new(100 + n).unwrap();
        fib.device_ready(NOW, vni, 10 + n, Some(false), vec![]);
        let config = InstanceConfig {
            vni,
            rd: Rd::from_ipv4(id(1), 100 + n as u16),
            import: vec![ImportTarget::Auto],
            export: vec![ExportTarget::Auto],
            static_macs: vec![],
            announce_own: true,
            neighbors: true,
            macs: true,
            beside: false,
            flood: Flood::IngressReplication,
        };
        evpn.add_instance(NOW, &mut rib, &mut fib, config);
    }
    let (mut reach, mut unreach) = (vec![], vec![]);
    for n in (0..count).step_by(40 * VNIS as usize) {
        for vni in 0..VNIS {
            let mut nlri = vec![];
            let mut last = (0, 0);
            for at in 0..40 {
                let (vtep, vni, route) = route(n + at * VNIS + vni);
                route.emit(&mut nlri);
                last = (vtep, vni);
            }
            let target = RouteTarget::As2 { asn: 65000, number: last.1 };
            let attributes = Attributes {
                next_hop: Some(IpAddr::from([10, 0, 0, last.0])),
                ext_communities: vec![ExtCommunity::route_target(target), ExtCommunity::vxlan()],
                ..Attributes::default()
            };
            let (mut message, mut withdraw) = (vec![], vec![]);
            emit_reach(&mut message, &attributes, &CONTEXT, &nlri);
            emit_unreach(&mut withdraw, &nlri);
            reach.push(message);
            unreach.push(withdraw);
        }
    }
    let mut octets = (0, 0);
    for (what, messages) in [("load", &reach), ("withdraw", &unreach)] {
        let (mut in_rib, mut in_evpn, mut in_fib) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for chunk in messages.chunks(250) {
            let start = cpu();
            for message in chunk {
                rib.handle_update(NOW, PeerId(1), &UpdateView::parse(&message[HEADER_LEN..]).unwrap()).unwrap();
            }
            let mut dests = Vec::with_capacity(10_000);
            in_rib += cpu() - start;
            let start = cpu();
            // The change is handed over before the next is taken, so the two cannot be timed apart exactly.
            while let Some(dest) = rib.next_change() {
                evpn.handle_change(NOW, &mut rib, &mut fib, dest);
                dests.push(dest);
            }
            in_evpn += cpu() - start;
            let start = cpu();
            while let Some(batch) = fib.poll_batch(NOW) {
                fib.handle_batch_done(NOW, &BatchDone { id: batch.id, ..BatchDone::default() });
            }
            in_fib += cpu() - start;
            while evpn.poll_event().is_some() {}
        }
        let each = |time: Duration| time.as_nanos() / u128::from(count);
        println!(
            "{what} {count}: UPDATEs {} ns, next_change + handle_change + set_unicast {} ns, batches {} ns each",
            each(in_rib),
            each(in_evpn),
            each(in_fib)
        );
        if what == "load" {
            assert_eq!(evpn.remote_mac_count(), count as usize);
            assert_eq!(fib.len(), count as usize);
            octets = (evpn.memory() / count as usize, fib.memory() / count as usize);
            println!("octets each: evpn {}, fib {}", octets.0, octets.1);
        }
    }
    assert!(fib.is_empty() && evpn.remote_mac_count() == 0);
    octets
}

#[test]
fn a_mac_takes_few_octets() {
    let (evpn, fib) = load(100_000);
    assert!(evpn <= 50 && fib <= 36, "evpn {evpn}, fib {fib}");
}

#[test]
#[ignore = "the million: run it in release"]
fn a_million_macs() {
    let (evpn, fib) = load(1_000_000);
    assert!(evpn <= 50 && fib <= 36, "evpn {evpn}, fib {fib}");
}
