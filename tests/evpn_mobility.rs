//! Who has a MAC: RFC 7432 §15 case by case, one line of words each. The host is in `evpn_support`.

#![allow(clippy::unwrap_used, missing_docs)]

mod evpn_support;

use evpn_support::*;

// --- mobility, RFC 7432 §15 ---

#[test]
fn a_mac_heard_here_where_a_remote_route_stands_is_announced_with_the_next_sequence() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mobility(false, 4));
    host.write();
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 5)));
    assert_eq!(host.write()[0].kind, OpKind::DeleteUnicast { self_only: true }, "the bridge's entry is the port's now");
    assert_eq!(host.row(mac(1)), None);
    host.withdraw(&type2(2, mac(1)));
    assert_eq!(host.announced(mac(1)), Some((false, 5)));
    assert!(host.events()[1].contains("moved from VTEP 10.0.0.2 to local port tap3 (sequence 5)"));
}

#[test]
fn a_remote_route_with_a_higher_sequence_takes_the_mac_and_ours_is_withdrawn() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.announce(&type2(9, mac(1)).mobility(false, 1));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)));
    assert!(host.events()[1].contains("moved from local port tap3 to VTEP 10.0.0.9 (sequence 1)"));
    host.hear(mac(1));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (Some((false, 2)), None), "the move back");
    assert_eq!(host.stats().moves, 2);
}

#[test]
fn at_equal_sequences_the_lower_vtep_address_wins() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.announce(&type2(9, mac(1)));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (Some((false, 0)), None), "10.0.0.5 is lower than 10.0.0.9");
    assert_eq!(host.stats().local_kept, 1);
    host.announce(&type2(2, mac(1)));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(2)), "10.0.0.2 is lower than 10.0.0.5");
    let mut host = Host::new();
    host.announce(&type2(9, mac(1)));
    host.announce(&type2(2, mac(1)));
    host.announce(&type2(3, mac(1)));
    assert_eq!(host.row(mac(1)), to(2), "and so among others");
}

#[test]
fn a_lower_sequence_does_not_take_the_mac_whatever_its_address() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mobility(false, 7));
    host.announce(&type2(1, mac(1)).mobility(false, 6));
    assert_eq!(host.row(mac(1)), to(2));
    host.hear(mac(1));
    host.announce(&type2(1, mac(1)).mobility(false, 7));
    assert_eq!(host.announced(mac(1)), Some((false, 8)));
}

#[test]
fn the_late_withdraw_of_the_old_host_changes_nothing() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)));
    host.write();
    host.announce(&type2(3, mac(1)).mobility(false, 1));
    host.withdraw(&type2(2, mac(1)));
    let ops = host.write();
    assert_eq!((ops.len(), ops[0].remote.ip), (1, vtep(3)), "the row changes once, straight to the new place");
}

#[test]
fn who_hears_a_mac_after_its_last_route_goes_on_from_its_number() {
    // A reflector may keep the route of a session that it lost, and tell of it when others have forgotten it (RFC 4724).
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mobility(false, 4));
    host.withdraw(&type2(2, mac(1)));
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 5)));
    host.announce(&type2(2, mac(1)).mobility(false, 4));
    assert_eq!(host.announced(mac(1)), Some((false, 5)), "what was kept is older");
    host.withdraw(&type2(2, mac(1)));
    host.forget(mac(1));
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 5)), "its own number is enough for itself");
    host.forget(mac(1));
    host.wait(601);
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 0)), "long forgotten by everybody");
}

#[test]
fn a_vni_that_comes_back_goes_on_from_the_numbers_of_its_macs() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mobility(false, 4));
    host.hear(mac(1));
    host.withdraw(&type2(2, mac(1)));
    host.evpn.remove_instance(host.now, &mut host.rib, &mut host.fib, vni(100));
    host.add(auto(100));
    host.settle();
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 5)));
}

#[test]
fn a_route_that_is_kept_for_a_lost_host_does_not_win_by_its_address() {
    let long_lived = |route: Announcement| route.attributes(|a| a.communities.push(0xffff_0006));
    let mut host = Host::new();
    host.announce(&type2(3, mac(1)));
    host.announce(&long_lived(type2(2, mac(1))));
    assert_eq!(host.row(mac(1)), to(3), "RFC 9494 §4.3: least preferred");
    host.announce(&long_lived(type2(2, mac(1)).mobility(false, 1)));
    assert_eq!(host.row(mac(1)), to(2), "but it moved there later");
    let mut host = Host::new();
    host.hear(mac(1));
    host.announce(&long_lived(type2(2, mac(1))));
    assert_eq!(host.announced(mac(1)), Some((false, 0)), "nor against a local one");
}

#[test]
fn a_withdraw_falls_back_to_the_next_best_route() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mobility(false, 3));
    host.announce(&type2(3, mac(1)).mobility(false, 2));
    host.announce(&type2(4, mac(1)).mobility(false, 1));
    for last in [2, 3, 4] {
        assert_eq!(host.row(mac(1)), to(last));
        host.withdraw(&type2(last, mac(1)));
    }
    assert_eq!(host.row(mac(1)), None);
}

#[test]
fn a_local_mac_that_goes_while_a_remote_route_stands_leaves_its_row_to_it() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.announce(&type2(9, mac(1)));
    host.forget(mac(1));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)));
    let moved = host.events();
    assert_eq!(moved.len(), 2);
    assert!(moved[1].contains("moved from local port tap3 to VTEP 10.0.0.9"));
}

#[test]
fn a_mac_lost_to_a_route_that_goes_before_the_bridge_was_told_is_ours_again() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.announce(&type2(9, mac(1)).mobility(false, 3));
    assert_eq!(host.announced(mac(1)), None);
    host.withdraw(&type2(9, mac(1)));
    assert_eq!(host.announced(mac(1)), Some((false, 4)), "no row was written: it is still at its port");
    host.announce(&type2(9, mac(1)).mobility(false, 5));
    host.write();
    host.withdraw(&type2(9, mac(1)));
    assert_eq!(host.announced(mac(1)), None, "the row took the bridge's entry over: it must speak first");
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 6)), "above the last that was heard of it");
}

#[test]
fn an_old_dump_does_not_steal_a_mac_that_just_moved_away() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.announce(&type2(9, mac(1)).mobility(false, 1));
    let all = [host.heard(mac(1))];
    host.evpn.handle_local_macs(NOW, &mut host.rib, &mut host.fib, vni(100), &all);
    host.settle();
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)));
}

#[test]
fn the_sequence_wraps_and_goes_on() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mobility(false, u32::MAX));
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 0)));
    assert_eq!(host.row(mac(1)), None, "0 follows 2^32 - 1");
    host.announce(&type2(2, mac(1)).mobility(false, 1));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(2)));
}

#[test]
fn a_mac_that_moves_within_a_vtep_changes_its_sequence_and_no_row() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)));
    host.write();
    host.announce(&type2(2, mac(1)).mobility(false, 1));
    assert_eq!(host.write(), []);
    assert_eq!(host.evpn.mac(vni(100), mac(1)).unwrap().sequence, 1);
}

// --- sticky ---

#[test]
fn a_sticky_remote_mac_is_not_moved_by_a_dynamic_one_of_any_sequence() {
    let mut host = Host::new();
    host.announce(&type2(9, mac(1)).mobility(true, 0));
    host.announce(&type2(2, mac(1)).mobility(false, 100));
    assert_eq!((host.row(mac(1)), host.stats().sticky_violations), (to(9), 1));
    assert!(host.events()[1].contains("VTEP 10.0.0.2 claims 02:00:00:00:00:01, which is static at VTEP 10.0.0.9"));
}

#[test]
fn a_tenant_that_spoofs_a_sticky_remote_mac_changes_nothing_and_the_row_is_put_back() {
    let mut host = Host::new();
    host.announce(&type2(9, mac(1)).mobility(true, 0));
    host.write();
    host.hear(mac(1));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)));
    let ops = host.write();
    assert_eq!((ops.len(), ops[0].kind), (1, OpKind::ReplaceUnicast), "the bridge's entry is taken back from the port");
    assert_eq!(host.stats().sticky_violations, 1);
    assert_eq!(host.evpn.local_mac_count(), 0);
}

#[test]
fn a_local_static_mac_is_not_moved_by_anything() {
    let mut host = Host::new();
    let heard = LocalMac { is_static: true, ..host.heard(mac(1)) };
    host.hear_as(&heard);
    host.announce(&type2(2, mac(1)).mobility(false, 100));
    host.announce(&type2(3, mac(1)).mobility(true, 100));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (Some((true, 0)), None));
    assert_eq!(host.stats().sticky_violations, 2);
}

#[test]
fn a_dynamic_local_mac_yields_to_a_sticky_remote_one() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.announce(&type2(9, mac(1)).mobility(true, 0));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)));
}

#[test]
fn a_mac_made_static_here_is_ours_though_it_was_sticky_elsewhere() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mobility(true, 6));
    let heard = LocalMac { is_static: true, ..host.heard(mac(1)) };
    host.hear_as(&heard);
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (Some((true, 7)), None));
}

// --- two hosts, one machine ---

#[test]
fn of_two_hosts_that_learn_at_once_the_lower_keeps_it_and_hears_nothing_new_from_us() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.announce(&type2(9, mac(1)));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (Some((false, 0)), None));
    host.withdraw(&type2(9, mac(1)));
    assert_eq!((host.announced(mac(1)), host.write()), (Some((false, 0)), vec![]), "the other gave up");
}

#[test]
fn of_two_hosts_that_learn_at_once_the_higher_gives_up_and_announces_when_its_port_hears_it_again() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.announce(&type2(2, mac(1)));
    assert_eq!(host.announced(mac(1)), None);
    let ops = host.write();
    assert_eq!((ops.len(), ops[0].kind, ops[0].remote.ip), (1, OpKind::ReplaceUnicast, vtep(2)));
    host.hear(mac(1));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (Some((false, 1)), None));
    host.withdraw(&type2(2, mac(1)));
    assert_eq!(host.announced(mac(1)), Some((false, 1)));
}

#[test]
fn a_live_migration_away_from_here_is_one_write_straight_to_the_new_host() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.write();
    host.announce(&type2(9, mac(1)).mobility(false, 1));
    host.forget(mac(1));
    let ops = host.write();
    assert_eq!((ops.len(), ops[0].kind, ops[0].remote.ip), (1, OpKind::ReplaceUnicast, vtep(9)));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)));
}

#[test]
fn a_live_migration_between_others_is_one_write_in_whatever_order_their_routes_come() {
    let old = [type2(2, mac(1)), type2(2, mac(1)).with_ip("192.0.2.1")];
    let new = [type2(9, mac(1)).mobility(false, 1), type2(9, mac(1)).mobility(false, 1).with_ip("192.0.2.1")];
    for order in 0..4 {
        let mut host = Host::new();
        old.iter().for_each(|route| host.announce(route));
        host.write();
        host.announce(&new[order % 2]);
        if order < 2 {
            host.withdraw(&old[0]);
        }
        host.announce(&new[1 - order % 2]);
        old.iter().rev().for_each(|route| host.withdraw(route));
        let ops = host.write();
        assert_eq!((ops.len(), ops[0].kind, ops[0].remote.ip), (1, OpKind::ReplaceUnicast, vtep(9)), "order {order}");
    }
}

// --- MAC-only and MAC/IP routes, RFC 9721 ---

#[test]
fn the_sequence_of_a_mac_is_the_highest_of_its_routes_of_that_host() {
    let mut host = Host::new();
    host.announce(&type2(9, mac(1)).mobility(false, 1));
    host.announce(&type2(9, mac(1)).mobility(false, 3).with_ip("192.0.2.1"));
    host.announce(&type2(2, mac(1)).mobility(false, 2));
    assert_eq!((host.row(mac(1)), host.evpn.mac(vni(100), mac(1)).unwrap().sequence), (to(9), 3));
    host.withdraw(&type2(9, mac(1)).with_ip("192.0.2.1"));
    assert_eq!(host.row(mac(1)), to(2), "its address went, and what is left of it is older");
}

#[test]
fn a_mac_that_is_heard_here_is_announced_above_every_route_for_it_of_any_kind_and_host() {
    let mut host = Host::new();
    host.announce(&type2(9, mac(1)).mobility(false, 2));
    host.announce(&type2(9, mac(1)).mobility(false, 7).with_ip("192.0.2.1"));
    host.announce(&type2(2, mac(1)).mobility(false, 4).with_ip("2001:db8::1"));
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 8)));
    let mut host = Host::new();
    host.announce(&type2(9, mac(1)).mobility(true, 2));
    host.announce(&type2(2, mac(1)).mobility(false, 7));
    host.hear_as(&LocalMac { is_static: true, ..host.heard(mac(1)) });
    assert_eq!(host.announced(mac(1)), Some((true, 8)), "also above one that lost to a sticky one");
}

#[test]
fn a_mac_that_comes_back_is_announced_above_what_had_taken_it_though_an_older_route_is_left() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mobility(false, 2));
    host.hear(mac(1));
    host.announce(&type2(9, mac(1)).mobility(false, 6));
    host.write();
    host.withdraw(&type2(9, mac(1)));
    assert_eq!(host.row(mac(1)), to(2));
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 7)), "hosts that have not heard the withdrawal yet come straight here");
}

#[test]
fn an_address_that_moves_to_another_mac_moves_no_row_of_the_first() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)));
    host.announce(&type2(2, mac(1)).with_ip("192.0.2.1"));
    host.write();
    host.announce(&type2(9, mac(2)).mobility(false, 1).with_ip("192.0.2.1"));
    host.withdraw(&type2(2, mac(1)).with_ip("192.0.2.1"));
    assert_eq!((host.row(mac(1)), host.row(mac(2))), (to(2), to(9)));
    assert_eq!(host.write().len(), 1, "only the other MAC's row is new");
    assert!(host.evpn.ips(&host.rib, vni(100), mac(1)).is_empty());
    assert_eq!(host.evpn.ips(&host.rib, vni(100), mac(2)), [ip("192.0.2.1")]);
}

#[test]
fn a_mac_only_route_of_one_host_and_mac_ip_routes_of_another_are_one_quarrel() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)));
    host.announce(&type2(9, mac(1)).mobility(false, 1).with_ip("192.0.2.1"));
    assert_eq!(host.row(mac(1)), to(9));
    host.announce(&type2(2, mac(1)).with_ip("192.0.2.1"));
    host.announce(&type2(2, mac(1)).with_ip("192.0.2.2"));
    assert_eq!(host.row(mac(1)), to(9), "late news of the old host");
    host.announce(&type2(9, mac(1)).mobility(false, 1));
    host.withdraw(&type2(9, mac(1)).with_ip("192.0.2.1"));
    assert_eq!((host.row(mac(1)), host.stats().moves), (to(9), 1), "its address expired there; the MAC did not");
}

// --- the highest sequence number ---

#[test]
fn at_the_highest_sequence_number_a_mac_moves_on_in_both_directions() {
    let mut host = Host::new();
    let top = u32::MAX;
    for (theirs, ours) in [(top - 1, top), (0, 1), (2, 3)] {
        host.announce(&type2(9, mac(1)).mobility(false, theirs));
        host.write();
        assert_eq!((host.row(mac(1)), host.announced(mac(1))), (to(9), None), "sequence {theirs}");
        host.hear(mac(1));
        assert_eq!((host.row(mac(1)), host.announced(mac(1))), (None, Some((false, ours))));
    }
}

#[test]
fn over_the_wrap_the_highest_of_several_routes_is_the_newest() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mobility(false, u32::MAX - 1));
    host.announce(&type2(9, mac(1)).mobility(false, 0));
    host.announce(&type2(3, mac(1)).mobility(false, u32::MAX));
    assert_eq!(host.row(mac(1)), to(9));
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 1)));
}
