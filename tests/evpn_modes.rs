//! The ways to run a segment: what is announced, installed and flooded in each, and the changes from one to another.

#![allow(clippy::unwrap_used)]

#[path = "evpn_support/mod.rs"]
mod support;

use support::*;

fn learning() -> InstanceConfig {
    InstanceConfig { macs: false, neighbors: false, ..auto(100) }
}
fn known_hosts() -> InstanceConfig {
    InstanceConfig { flood: Flood::None, ..auto(100) }
}
fn beside_multicast() -> InstanceConfig {
    InstanceConfig { flood: Flood::Multicast(ip("239.0.0.1")), neighbors: false, ..auto(100) }
}
fn beside_a_list() -> InstanceConfig {
    InstanceConfig { beside: true, neighbors: false, ..auto(100) }
}
fn our_type3(host: &Host) -> bool {
    host.ours(&RouteKey::Imet { rd: Rd::from_ipv4(id(5), 100), tag: 0, originator: vtep(5) }).is_some()
}

fn host_with(config: InstanceConfig) -> Host {
    let mut host = Host::bare(EvpnLimits::default());
    host.add(config);
    host.announce(&type3(1));
    host.announce(&type2(1, mac(1)));
    host.announce(&type2(1, mac(1)).with_ip("192.0.2.1"));
    host.hear(mac(9));
    host.says(mac(9), "192.0.2.9");
    host
}

/// What stands: the row of a remote MAC, the answer for its address, the flood list, our MAC, its address and our type 3.
fn stands(host: &Host) -> [bool; 6] {
    [
        host.row(mac(1)) == to(1),
        host.answered("192.0.2.1").is_some(),
        host.flood() == [to(1).unwrap()],
        host.announced(mac(9)).is_some(),
        host.ip_sequence(mac(9), "192.0.2.9").is_some(),
        our_type3(host),
    ]
}

/// With learning, type 3 alone is announced and used.
#[test]
fn flood_list_only() {
    assert_eq!(stands(&host_with(learning())), [false, false, true, false, false, true]);
}

/// With known hosts only, type 2 alone is announced and used.
#[test]
fn known_hosts_only() {
    assert_eq!(stands(&host_with(known_hosts())), [true, true, false, true, true, false]);
}

/// Beside multicast, type 2 is as ever; type 3 names the group; who is in the same group is in no list, who is not is.
#[test]
fn beside_multicast_who_is_in_the_group_gets_no_copy() {
    let mut host = host_with(beside_multicast());
    assert_eq!(stands(&host), [true, false, true, true, false, true]);
    let key = RouteKey::Imet { rd: Rd::from_ipv4(id(5), 100), tag: 0, originator: vtep(5) };
    let pmsi = host.ours(&key).unwrap().pmsi.clone().unwrap();
    assert_eq!((pmsi.group(), pmsi.endpoint(), pmsi.label), (Some(ip("239.0.0.1")), None, 100));
    for (last, group) in [(2, "239.0.0.1"), (3, "239.0.0.2")] {
        let tunnel = PmsiTunnel::multicast(100, vtep(last), ip(group));
        host.announce(&type3(last).attributes(|attributes| attributes.pmsi = Some(tunnel)));
    }
    assert_eq!(host.flood(), [to_vtep(1), to_vtep(3)]);
    // Who replicates sends a copy to each of them: it is in no group.
    host.add(auto(100));
    assert_eq!(host.flood(), [to_vtep(1), to_vtep(2), to_vtep(3)]);
    host.add(beside_multicast());
    assert_eq!(host.flood(), [to_vtep(1), to_vtep(3)]);
}

/// A host that leaves the group tells so by a change of its one route: from then on it gets copies, and none when it joins again.
#[test]
fn a_host_that_leaves_the_group_gets_copies() {
    let mut host = Host::bare(EvpnLimits::default());
    host.add(beside_multicast());
    let joined = type3(2).attributes(|a| a.pmsi = Some(PmsiTunnel::multicast(100, vtep(2), ip("239.0.0.1"))));
    for _ in 0..2 {
        host.announce(&joined);
        assert_eq!(host.flood(), []);
        host.announce(&type3(2));
        assert_eq!(host.flood(), [to_vtep(2)]);
    }
    host.withdraw(&joined);
    assert_eq!(host.flood(), []);
}

/// Beside hosts with a list of their own, type 2 and type 3 are as ever. When the segment leaves EVPN its rows go, but not its flood
/// list: those hosts are reached by it.
#[test]
fn beside_a_list_the_flood_list_outlives_the_instance() {
    for (way, stays) in [(auto(100), false), (beside_a_list(), true)] {
        let mut host = host_with(way.clone());
        assert_eq!(stands(&host)[..4], [true, way.neighbors, true, true]);
        host.write();
        host.evpn.remove_instance(host.now, &mut host.rib, &mut host.fib, vni(100));
        let deleted: Vec<Remote> = host.write().iter().filter(|op| op.mac == MacAddr::ZERO).map(|op| op.remote).collect();
        assert_eq!(deleted.is_empty(), stays, "{deleted:?}");
        assert_eq!(host.row(mac(1)), None);
        assert!(host.fib.is_cleared(vni(100)), "nothing of ours is left");
    }
}

/// Each way may become each other, and stands as if it had been so from the beginning; but for an address that was heard while nobody
/// listened.
#[test]
fn each_way_becomes_each_other() {
    let ways: [fn() -> InstanceConfig; 5] = [|| auto(100), learning, known_hosts, beside_multicast, beside_a_list];
    for from in ways {
        for to in ways {
            let mut host = host_with(from());
            host.write();
            host.add(to());
            host.says(mac(9), "192.0.2.9");
            assert_eq!(stands(&host), stands(&host_with(to())), "{:?} to {:?}", from(), to());
            host.write();
            host.announce(&type3(2));
            host.withdraw(&type3(1));
            let expected = if to().flood == Flood::None { vec![] } else { vec![to_vtep(2)] };
            assert_eq!(host.flood(), expected);
        }
    }
}

fn to_vtep(last: u8) -> Remote {
    to(last).unwrap()
}

/// A MAC that others announce is nothing that a port with learning has to beat.
#[test]
fn with_learning_a_mac_may_be_anywhere() {
    let mut host = host_with(learning());
    host.announce(&type2(9, mac(2)));
    host.hear(mac(2));
    assert_eq!((host.row(mac(2)), host.announced(mac(2))), (None, None));
    host.add(auto(100));
    assert_eq!(host.announced(mac(2)), Some((false, 0)), "it was here all the time");
    host.announce(&type2(1, mac(2)).mobility(false, 1));
    assert_eq!((host.announced(mac(2)), host.row(mac(2))), (None, to(1)));
}
