//! This host as a station of a segment: the MAC and the addresses of its bridge, as gateways have them. Each case has a line of words.
//! See `src/evpn/host.rs`.

#![allow(clippy::unwrap_used)]

#[path = "evpn_support/mod.rs"]
mod support;

use evpnd::fib::{Binding, HostStation, KernelRow};
use evpnd::wire::ext_community::arp_nd;
use support::*;

const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";

/// What a bridge with MAC `number` is, where the host has these addresses there and forwards for none.
fn bridge(number: u8, addresses: &[&str]) -> Option<HostStation> {
    let addresses = addresses.iter().map(|text| (ip(text), false)).collect();
    Some(HostStation { mac: mac(number), port: 2, port_name: "br100".into(), addresses })
}

fn is(host: &mut Host, station: Option<HostStation>) {
    host.evpn.handle_host(host.now, &mut host.rib, &mut host.fib, vni(100), station.as_ref());
    host.settle();
}

fn sequences(host: &Host, number: u8) -> (Option<(bool, u32)>, Option<u32>, Option<u32>) {
    (host.announced(mac(number)), host.ip_sequence(mac(number), V4), host.ip_sequence(mac(number), V6))
}

const ALL: (Option<(bool, u32)>, Option<u32>, Option<u32>) = (Some((true, 0)), Some(0), Some(0));
const NOTHING: (Option<(bool, u32)>, Option<u32>, Option<u32>) = (None, None, None);

/// The bridge's MAC and each address are announced, as static; no neighbour is written for what the kernel answers for itself, and a
/// listing of the ports, which does not have it, takes nothing away.
#[test]
fn a_bridge_with_addresses_is_announced_as_a_static_station() {
    let mut host = Host::new();
    is(&mut host, bridge(9, &[V4, V6]));
    assert_eq!(sequences(&host, 9), ALL);
    assert_eq!(host.fib.neighbor_count(), 0, "the kernel answers for itself");
    host.dump(&[mac(1)]);
    host.forget(mac(9));
    host.denies(mac(9), "192.0.2.77");
    assert_eq!(sequences(&host, 9), ALL);
    let view = host.evpn.mac(vni(100), mac(9)).unwrap();
    assert_eq!((view.place, view.sticky), (Place::Port("br100".into()), true));
    assert_eq!(host.stats().moves, 0);
}

/// Addresses come and go at once, the MAC with the last of them; another MAC takes them all along.
#[test]
fn what_changes_is_followed() {
    let mut host = Host::new();
    is(&mut host, bridge(9, &[]));
    assert_eq!(sequences(&host, 9), NOTHING, "a bridge without an address is no station");
    is(&mut host, bridge(9, &[V4]));
    is(&mut host, bridge(9, &[V4, V6]));
    assert_eq!(sequences(&host, 9), ALL);
    is(&mut host, bridge(9, &[V6]));
    assert_eq!(sequences(&host, 9), (Some((true, 0)), None, Some(0)));
    is(&mut host, bridge(8, &[V4, V6]));
    assert_eq!((sequences(&host, 9), sequences(&host, 8)), (NOTHING, ALL));
    is(&mut host, bridge(8, &[]));
    assert_eq!(sequences(&host, 8), NOTHING);
    is(&mut host, bridge(8, &[V4, V6]));
    is(&mut host, None);
    assert_eq!(sequences(&host, 8), NOTHING);
    assert_eq!((host.evpn.local_mac_count(), host.evpn.remote_address_count()), (0, 0), "nothing is kept");
}

/// RFC 9047: what the host forwards for is a router, from when it does.
#[test]
fn the_router_flag_follows_forwarding() {
    let mut host = Host::new();
    let station = bridge(9, &[V4, V6]).unwrap();
    let forwarding = |on| Some(HostStation { addresses: vec![(ip(V4), false), (ip(V6), on)], ..station.clone() });
    for on in [true, false, true] {
        is(&mut host, forwarding(on));
        let flags = |text| host.announced_ip(mac(9), text).unwrap().arp_nd_flags();
        assert_eq!((flags(V4), flags(V6)), (None, on.then_some(arp_nd::ROUTER)));
    }
}

/// The same MAC and address on the bridges of several hosts: each host's own stays its own, nothing is withdrawn, nobody moves,
/// and no row for it is ever written here.
#[test]
fn a_gateway_that_every_host_has_is_each_hosts_own() {
    for (last, sticky, first) in [(1, true, true), (1, true, false), (9, true, true), (9, false, true), (1, false, false)] {
        let mut host = Host::new();
        let elsewhere = |text: Option<&str>| {
            let route = if sticky { type2(last, mac(9)).mobility(true, 0) } else { type2(last, mac(9)) };
            text.map_or(route.clone(), |text| route.with_ip(text))
        };
        if first {
            is(&mut host, bridge(9, &[V4, V6]));
        }
        for text in [None, Some(V4), Some(V6)] {
            host.announce(&elsewhere(text));
        }
        if !first {
            is(&mut host, bridge(9, &[V4, V6]));
        }
        assert_eq!((sequences(&host, 9), host.row(mac(9))), (ALL, None), "host {last}, sticky {sticky}, first {first}");
        assert_eq!(host.fib.neighbor_count(), 0);
        let stats = host.stats();
        assert_eq!((stats.moves, stats.sticky_violations, stats.duplicates_found, stats.address_moves), (0, 0, 0, 0));
        // The last word is a withdrawal: nothing changes for us.
        for text in [None, Some(V4), Some(V6)] {
            host.withdraw(&elsewhere(text));
        }
        assert_eq!((sequences(&host, 9), host.row(mac(9))), (ALL, None));
        assert!(host.events().iter().all(|event| !event.contains("moved")));
    }
}

/// On a host without that gateway its row leads to the better of two, and the one that comes later has not moved it.
#[test]
fn a_host_without_the_gateway_uses_one_of_several_and_counts_no_move() {
    let mut host = Host::new();
    for last in [7, 3, 8] {
        host.announce(&type2(last, mac(9)).mobility(true, 0));
    }
    assert_eq!((host.row(mac(9)), host.stats().moves), (to(3), 0));
    host.withdraw(&type2(3, mac(9)));
    assert_eq!(host.row(mac(9)), to(7));
}

/// No row stands for the MAC of the bridge, also where the host has no address there: deleting it would take the kernel's own entry along.
#[test]
fn no_row_is_written_for_the_mac_of_the_bridge() {
    let mut host = Host::new();
    host.announce(&type2(1, mac(9)));
    assert_eq!(host.row(mac(9)), to(1));
    is(&mut host, bridge(9, &[]));
    assert_eq!(host.row(mac(9)), None);
    host.announce(&type2(1, mac(9)).mobility(false, 3));
    host.announce(&type2(2, mac(9)).mobility(true, 0));
    assert_eq!((host.row(mac(9)), host.announced(mac(9))), (None, None));
    let why: Vec<String> =
        host.evpn.explain(&host.rib, &host.fib, vni(100), mac(9)).candidates.into_iter().map(|candidate| candidate.why).collect();
    assert!(why.iter().all(|why| why == "not used: this host's own bridge has the MAC"), "{why:?}");
    // Its bridge gets another one, and the routes count.
    is(&mut host, bridge(8, &[]));
    assert_eq!(host.row(mac(9)), to(2));
    is(&mut host, bridge(9, &[V4]));
    assert_eq!((host.row(mac(9)), host.announced(mac(9))), (None, Some((true, 0))));
    // Also where only the addresses go.
    is(&mut host, bridge(9, &[]));
    assert_eq!((host.row(mac(9)), host.announced(mac(9))), (None, None));
}

/// A bridge that has the MAC of a gateway elsewhere and no address is a black hole: which MAC, and whose.
#[test]
fn a_bridge_with_the_mac_of_a_gateway_elsewhere_and_no_address_swallows() {
    let mut host = Host::new();
    let swallowed = |host: &Host| host.evpn.swallowed(&host.rib, vni(100));
    is(&mut host, bridge(9, &[]));
    assert_eq!(swallowed(&host), None, "nobody announces it");
    for last in [7, 3] {
        host.announce(&type2(last, mac(9)).mobility(true, 0));
        host.announce(&type2(last, mac(9)).with_ip(V4).mobility(true, 0));
    }
    assert_eq!(swallowed(&host), Some((mac(9), vtep(3))));
    is(&mut host, bridge(8, &[]));
    assert_eq!(swallowed(&host), None, "it has another MAC");
    is(&mut host, bridge(9, &[V4]));
    assert_eq!(swallowed(&host), None, "it is a gateway of its own");
    is(&mut host, bridge(9, &[]));
    assert_eq!(swallowed(&host), Some((mac(9), vtep(3))), "its address was taken away");
    for last in [7, 3] {
        host.withdraw(&type2(last, mac(9)));
        host.withdraw(&type2(last, mac(9)).with_ip(V4));
    }
    assert_eq!(swallowed(&host), None);
}

/// A row that an earlier run wrote for it goes without the bridge's half, which is the kernel's own entry by now.
#[test]
fn a_row_of_an_earlier_run_for_the_mac_of_the_bridge_leaves_the_bridges_entry() {
    for addresses in [&[V4][..], &[]] {
        let mut host = Host::bare(EvpnLimits::default());
        host.evpn.add_instance(host.now, &mut host.rib, &mut host.fib, auto(100));
        is(&mut host, bridge(9, addresses));
        let rows = vec![KernelRow::new(mac(9), to(1).unwrap())];
        host.fib.device_ready(host.now, vni(100), 100, Some(false), rows);
        host.evpn.rows_known(host.now, &mut host.rib, &mut host.fib, vni(100));
        host.fib.sweep(host.now);
        let written: Vec<OpKind> = host.write().into_iter().map(|op| op.kind).collect();
        assert_eq!(written, [OpKind::DeleteUnicast { self_only: true }]);
    }
}

/// A guest that speaks with the gateway's MAC elsewhere, or claims its address, here or there, gets neither.
#[test]
fn nobody_takes_the_gateway() {
    let mut host = Host::new();
    is(&mut host, bridge(9, &[V4, V6]));
    host.announce(&type2(1, mac(9)).mobility(false, 7));
    assert_eq!((sequences(&host, 9), host.stats().sticky_violations), (ALL, 1));
    host.hear(mac(1));
    host.says(mac(1), V4);
    host.announce(&type2(1, mac(2)).with_ip(V4).mobility(false, 7));
    assert_eq!((host.ip_sequence(mac(1), V4), host.ip_sequence(mac(9), V4)), (None, Some(0)));
    assert_eq!((host.answered(V4), host.stats().sticky_violations), (None, 2));
    // On another host, which knows it from us, as well.
    let mut other = Host::new();
    other.announce(&type2(1, mac(9)).mobility(true, 0));
    other.announce(&type2(1, mac(9)).with_ip(V4).mobility(true, 0));
    other.hear(mac(9));
    other.hear(mac(1));
    other.says(mac(1), V4);
    assert_eq!((other.announced(mac(9)), other.ip_sequence(mac(1), V4)), (None, None));
    assert_eq!(other.answered(V4), Some(Binding { mac: mac(9), router: false }));
}

/// An address that other MACs have elsewhere, a virtual one say, is announced after theirs, once; and theirs does not take it away here.
#[test]
fn an_address_that_comes_to_the_bridge_is_announced_after_the_others() {
    let mut host = Host::new();
    host.announce(&type2(1, mac(1)).with_ip(V4).mobility(true, 4));
    is(&mut host, bridge(9, &[V4]));
    assert_eq!((host.ip_sequence(mac(9), V4), host.answered(V4)), (Some(5), None));
    host.announce(&type2(1, mac(1)).with_ip(V4).mobility(true, 6));
    assert_eq!((host.ip_sequence(mac(9), V4), host.answered(V4)), (Some(5), None), "no fight");
    is(&mut host, bridge(9, &[]));
    assert_eq!(host.answered(V4), Some(Binding { mac: mac(1), router: false }));
}

/// `announce-own = false`: nothing of it is announced, and it stays its own; a MAC of `static` is there for itself.
#[test]
fn it_can_be_kept_to_oneself() {
    let silent = InstanceConfig { announce_own: false, ..auto(100) };
    let mut host = Host::new();
    is(&mut host, bridge(9, &[V4, V6]));
    host.add(silent.clone());
    assert_eq!(sequences(&host, 9), NOTHING);
    host.announce(&type2(1, mac(9)).mobility(true, 0));
    assert_eq!(host.row(mac(9)), None);
    host.add(InstanceConfig { static_macs: vec![mac(9)], ..silent });
    assert_eq!(sequences(&host, 9), (Some((true, 0)), None, None));
    is(&mut host, bridge(9, &[]));
    assert_eq!(sequences(&host, 9), (Some((true, 0)), None, None), "the configuration stays");
    is(&mut host, bridge(9, &[V4, V6]));
    host.add(auto(100));
    assert_eq!(sequences(&host, 9), ALL);
}

/// What is configured anew, goes down and comes back is announced again; with ARP and ND not answered here, or in a segment that learns,
/// addresses, or all of it, are not.
#[test]
fn it_follows_its_instance() {
    let mut host = Host::new();
    is(&mut host, bridge(9, &[V4, V6]));
    host.evpn.device_down(host.now, &mut host.rib, vni(100));
    host.settle();
    assert_eq!(sequences(&host, 9), NOTHING);
    host.evpn.device_up(host.now, &mut host.rib, vni(100));
    host.settle();
    assert_eq!(sequences(&host, 9), ALL);
    host.add(InstanceConfig { neighbors: false, ..auto(100) });
    assert_eq!(sequences(&host, 9), (Some((true, 0)), None, None));
    host.add(InstanceConfig { neighbors: false, macs: false, ..auto(100) });
    assert_eq!(sequences(&host, 9), NOTHING);
    host.add(auto(100));
    assert_eq!(sequences(&host, 9), ALL);
}

/// A MAC that a port had before the bridge got it goes over to the bridge without a row or a second route.
#[test]
fn a_station_may_become_the_bridge_and_back() {
    let mut host = Host::new();
    host.hear(mac(9));
    host.says(mac(9), "192.0.2.9");
    is(&mut host, bridge(9, &[V4, V6]));
    assert_eq!((sequences(&host, 9), host.ip_sequence(mac(9), "192.0.2.9")), (ALL, None), "what the host has is the whole of it");
    is(&mut host, bridge(8, &[V4, V6]));
    assert_eq!(sequences(&host, 9), NOTHING);
    host.hear(mac(9));
    assert_eq!(host.announced(mac(9)), Some((false, 0)));
}
