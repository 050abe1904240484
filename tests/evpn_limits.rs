//! What a tenant or a peer may grow in a VNI: what is refused, what is told, and that it comes when there is room. And the
//! pace at which a row is put back. The host is in `evpn_support`.

#![allow(clippy::unwrap_used, missing_docs)]

mod evpn_support;

use evpn_support::*;

fn limits(change: impl FnOnce(&mut EvpnLimits)) -> EvpnLimits {
    let mut limits = EvpnLimits::default();
    change(&mut limits);
    limits
}

fn hear_at(host: &mut Host, port: u32, mac: MacAddr) {
    host.hear_as(&LocalMac { port, port_name: format!("tap{port}"), ..host.heard(mac) });
}

fn told(host: &mut Host) -> usize {
    host.events().into_iter().filter(|line| line.contains("limit of")).count()
}

#[test]
fn a_tap_that_invents_macs_fills_its_share_and_not_the_vni() {
    let mut host = Host::with_limits(limits(|limits| limits.local_macs_per_port = 3));
    (1..=10).for_each(|n| hear_at(&mut host, 3, mac(n)));
    hear_at(&mut host, 4, mac(11));
    let announced: Vec<u8> = (1..=11).filter(|n| host.announced(mac(*n)).is_some()).collect();
    assert_eq!(announced, [1, 2, 3, 11]);
    assert_eq!((host.stats().port_macs_over_limit, told(&mut host)), (7, 1));
    let view = host.evpn.instance(vni(100)).unwrap();
    assert_eq!((view.local_macs, view.refused_local_macs, view.at_limit), (4, 7, true));
}

#[test]
fn a_mac_that_changes_its_port_is_no_new_one_and_leaves_room_behind() {
    let mut host = Host::with_limits(limits(|limits| limits.local_macs_per_port = 1));
    hear_at(&mut host, 3, mac(1));
    hear_at(&mut host, 4, mac(2));
    hear_at(&mut host, 4, mac(1));
    assert_eq!((host.announced(mac(1)), host.stats().port_macs_over_limit), (Some((false, 0)), 0));
    hear_at(&mut host, 3, mac(3));
    assert!(host.announced(mac(3)).is_some());
}

#[test]
fn what_was_refused_at_the_ports_is_asked_for_when_there_is_room() {
    for limits in [limits(|limits| limits.local_macs_per_port = 2), limits(|limits| limits.local_macs_per_vni = 2)] {
        let mut host = Host::with_limits(limits);
        (1..=3).for_each(|n| host.hear(mac(n)));
        assert_eq!((host.announced(mac(3)), told(&mut host)), (None, 1));
        host.wait(60);
        assert!(!host.evpn.take_resync(), "there is no room");
        host.forget(mac(1));
        host.wait(0);
        assert!(host.evpn.take_resync());
        host.dump(&[mac(2), mac(3)]);
        assert_eq!((host.announced(mac(3)), host.evpn.instance(vni(100)).unwrap().at_limit), (Some((false, 0)), false));
        host.hear(mac(4));
        assert_eq!(told(&mut host), 1, "told again, because it had been admitted");
    }
}

#[test]
fn what_was_refused_is_not_forgotten_when_the_vni_is_configured_anew() {
    let mut host = Host::with_limits(limits(|limits| limits.local_macs_per_vni = 1));
    host.hear(mac(1));
    host.hear(mac(2));
    host.add(InstanceConfig { export: vec![ExportTarget::Exact(RouteTarget::As2 { asn: 1, number: 1 })], ..auto(100) });
    host.forget(mac(1));
    host.wait(0);
    assert!(host.evpn.take_resync());
}

#[test]
fn a_vni_at_its_limit_is_not_asked_for_more_often_than_every_five_seconds() {
    let mut host = Host::with_limits(limits(|limits| limits.local_macs_per_vni = 1));
    let mut asked = 0;
    host.hear(mac(1));
    for n in 0..100 {
        host.hear(mac(2 + n % 2));
        host.forget(mac(1));
        host.wait_millis(100);
        host.hear(mac(1));
        asked += u32::from(host.evpn.take_resync());
        if host.evpn.mac(vni(100), mac(1)).is_none() {
            host.dump(&[mac(1)]);
        }
    }
    assert!((1..=3).contains(&asked), "{asked} in ten seconds");
}

#[test]
fn an_operators_static_mac_is_not_refused() {
    let mut host = Host::with_limits(limits(|limits| limits.local_macs_per_vni = 1));
    host.hear(mac(1));
    host.hear_as(&LocalMac { is_static: true, ..host.heard(mac(2)) });
    assert_eq!(host.announced(mac(2)), Some((true, 0)));
}

#[test]
fn a_remote_mac_that_a_full_port_takes_stays_where_it_is() {
    let mut host = Host::with_limits(limits(|limits| limits.local_macs_per_port = 1));
    host.hear(mac(1));
    host.announce(&type2(9, mac(2)));
    host.write();
    host.hear(mac(2));
    assert_eq!((host.row(mac(2)), host.announced(mac(2))), (to(9), None));
    assert_eq!(host.write().len(), 1, "the bridge's entry is taken back from the port");
}

#[test]
fn a_remote_mac_that_was_refused_is_installed_when_another_leaves() {
    let mut host = Host::with_limits(limits(|limits| limits.remote_macs_per_vni = 2));
    (1..=5).for_each(|n| host.announce(&type2(2, mac(n))));
    assert_eq!((host.row(mac(3)), host.stats().macs_over_limit, told(&mut host)), (None, 3, 1));
    host.withdraw(&type2(2, mac(1)));
    host.withdraw(&type2(2, mac(2)));
    host.wait(0);
    let rows = |host: &Host| (1..=5).filter(|n| host.row(mac(*n)).is_some()).count();
    assert_eq!(rows(&host), 2, "without a word of their host");
    assert!(host.evpn.instance(vni(100)).unwrap().at_limit, "one still waits");
    host.evpn.set_limits(host.now, EvpnLimits::default());
    host.wait(5);
    assert_eq!((rows(&host), host.evpn.instance(vni(100)).unwrap().at_limit), (3, false), "a higher limit lets all in");
}

#[test]
fn of_a_macs_routes_the_best_are_kept_so_that_a_move_is_followed_at_the_limit() {
    let mut host = Host::with_limits(limits(|limits| limits.routes_per_mac = 3));
    for n in 1..=9 {
        host.announce(&type2(2, mac(1)).with_ip(&format!("192.0.2.{n}")));
    }
    assert_eq!((host.stats().routes_over_limit, host.row(mac(1)), told(&mut host)), (6, to(2), 1));
    host.announce(&type2(9, mac(1)).mobility(false, 1));
    assert_eq!(host.row(mac(1)), to(9), "the move is followed though the old host left no room");
    host.withdraw(&type2(9, mac(1)));
    assert_eq!(host.row(mac(1)), to(2));
    for n in 1..=9 {
        assert_eq!(host.row(mac(1)), to(2), "as long as one of its routes stands");
        host.withdraw(&type2(2, mac(1)).with_ip(&format!("192.0.2.{n}")));
        host.wait(5);
    }
    assert_eq!((host.row(mac(1)), host.evpn.remote_mac_count()), (None, 0));
    assert!(!host.evpn.instance(vni(100)).unwrap().at_limit);
}

// --- the pace of rows put back ---

#[test]
fn a_tenant_that_spoofs_a_sticky_mac_costs_a_write_a_second_and_one_line() {
    let mut host = Host::new();
    host.announce(&type2(9, mac(1)).mobility(true, 0));
    host.write();
    let mut longest_wrong = 0;
    let (mut writes, mut wrong_since) = (0, None);
    for millis in 0..10_000_u64 {
        host.wait_millis(1);
        // The row is taken with every frame, which the kernel tells of only while the row was ours.
        if host.write().is_empty() {
            wrong_since.get_or_insert(millis);
        } else {
            writes += 1;
            longest_wrong = longest_wrong.max(millis - wrong_since.take().unwrap_or(millis));
        }
        host.hear(mac(1));
    }
    assert!((9..=11).contains(&writes), "{writes}");
    assert!(longest_wrong <= 1001, "{longest_wrong} ms");
    assert_eq!(host.stats().sticky_violations, 10_000);
    let events = host.events();
    assert_eq!(events.iter().filter(|line| line.contains("which is static at VTEP 10.0.0.9")).count(), 1, "{events:?}");
    assert!(host.stats().put_back_later > 9000);
}

#[test]
fn a_sticky_mac_that_goes_before_its_pause_is_over_is_not_written() {
    let mut host = Host::new();
    host.announce(&type2(9, mac(1)).mobility(true, 0));
    host.write();
    host.hear(mac(1));
    host.write();
    host.hear(mac(1));
    host.withdraw(&type2(9, mac(1)));
    host.write();
    host.wait(2);
    assert_eq!(host.write(), []);
}

/// A new VNI on a host that has many routes: they are looked up in slices, so that sessions and rows get their say meanwhile.
#[test]
fn what_the_table_holds_for_a_new_instance_is_looked_up_in_slices() {
    let mut host = Host::bare(EvpnLimits::default());
    (0..250).for_each(|n| host.announce(&type2(2, mac(n))));
    host.fib.device_ready(host.now, vni(100), 7, Some(false), vec![]);
    host.evpn.add_instance(host.now, &mut host.rib, &mut host.fib, auto(100));
    let mut slices = 0;
    while host.evpn.work(host.now, &mut host.rib, &mut host.fib, 25) {
        slices += 1;
        assert!(host.evpn.is_importing() && host.evpn.remote_mac_count() <= 25 * slices, "{slices}");
    }
    assert!(slices >= 9 && !host.evpn.is_importing());
    assert_eq!(host.evpn.remote_mac_count(), 250);
    // Another configuration of it is applied at once: its rows are never taken away.
    let config = InstanceConfig { import: vec![ImportTarget::Auto, ImportTarget::Auto], ..auto(100) };
    host.evpn.add_instance(host.now, &mut host.rib, &mut host.fib, config);
    assert_eq!((host.evpn.is_importing(), host.evpn.remote_mac_count()), (false, 250));
}
