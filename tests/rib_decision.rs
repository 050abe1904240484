//! The decision, each step by a case. Read `rib_support/mod.rs` first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rib_support;

use evpnd::rib::PeerKind::{External, NonClient};
use evpnd::rib::{PeerId, PeerKind};
use evpnd::wire::attribute::{Attributes, Origin};
use rib_support::*;

/// Announces the same route by peers 1 and 2 in both orders; gives the winner and why the other lost.
fn decide(kinds: [PeerKind; 2], paths: [Attributes; 2]) -> (u16, String) {
    let mut results = Vec::new();
    for order in [[0, 1], [1, 0]] {
        let mut lab = Lab::with(&kinds);
        for at in order {
            lab.announce(at as u16 + 1, &paths[at], &[mac_ip(1)]);
            lab.changes();
        }
        let dest = lab.find(&mac_ip(1)).unwrap();
        let why = lab.rib.why_best(dest);
        assert_eq!(why[0].1, "best");
        results.push((why[0].0.peer.0, why[1].1.clone()));
    }
    assert_eq!(results[0], results[1], "the order of arrival does not matter");
    results.remove(0)
}

fn lost(reason: &str) -> (u16, String) {
    (2, reason.to_owned())
}

#[test]
fn step_1_our_own_route_wins_whatever_the_others_say() {
    let mut lab = Lab::with(&[NonClient]);
    let strong = with_mobility(Attributes { local_pref: Some(1000), ..attributes(1) }, true, 9);
    lab.announce(1, &strong, &[mac_ip(1)]);
    lab.changes();
    lab.originate(&attributes(9), &mac_ip(1));
    let changes = lab.changes();
    assert_eq!(lab.best(&mac_ip(1)), Some(PeerId::LOCAL.0));
    assert_eq!(lab.rib.why_best(changes[0])[1].1, "1: not our own");
    lab.withdraw_local(&mac_ip(1));
    lab.changes();
    assert_eq!(lab.best(&mac_ip(1)), Some(1));
}

#[test]
fn step_2_what_is_stale_for_long_is_the_last_resort() {
    let stale = Attributes { communities: vec![0xffff_0006], local_pref: Some(200), ..attributes(1) };
    let stale = with_mobility(stale, true, 9);
    assert_eq!(decide([NonClient; 2], [stale, attributes(1)]), lost("2: long-lived stale (LLGR_STALE)"));
}

#[test]
fn step_3_of_a_move_heard_through_two_reflectors_the_newer_wins() {
    let older = with_mobility(Attributes { local_pref: Some(1000), ..attributes(1) }, false, 4);
    let newer = with_mobility(attributes(2), false, 5);
    assert_eq!(decide([NonClient; 2], [older, newer]), lost("3: lower MAC mobility sequence (4 < 5)"));
    let sticky = with_mobility(attributes(2), true, 0);
    let dynamic = with_mobility(attributes(1), false, 7);
    assert_eq!(decide([NonClient; 2], [dynamic, sticky]), lost("3: the other is sticky"));
}

#[test]
fn step_3_is_for_mac_routes_only() {
    let mut lab = Lab::with(&[NonClient, NonClient]);
    lab.announce(1, &attributes(1), &[imet(7)]);
    lab.announce(2, &with_mobility(attributes(1), false, 5), &[imet(7)]);
    lab.changes();
    assert_eq!(lab.best(&imet(7)), Some(1));
}

#[test]
fn step_11_a_stale_path_is_the_last_choice_among_equals() {
    let mut lab = Lab::with(&[NonClient, NonClient]);
    let same = Attributes { originator_id: Some(id(9)), ..attributes(1) };
    lab.announce(1, &same, &[mac_ip(1)]);
    lab.announce(2, &same, &[mac_ip(1)]);
    lab.changes();
    assert_eq!(lab.best(&mac_ip(1)), Some(1));
    lab.down(1, true);
    lab.settle();
    let dest = lab.find(&mac_ip(1)).unwrap();
    assert_eq!(lab.rib.why_best(dest)[1].1, "11: stale: its peer restarts");
    assert_eq!(lab.best(&mac_ip(1)), Some(2));
    lab.withdraw(2, &[mac_ip(1)]);
    lab.settle();
    assert_eq!(lab.best(&mac_ip(1)), Some(1), "better than none");
}

#[test]
fn step_4_local_pref_and_its_default_of_100() {
    let higher = Attributes { local_pref: Some(101), ..attributes(1) };
    assert_eq!(decide([NonClient; 2], [attributes(1), higher]), lost("4: lower LOCAL_PREF (100 < 101)"));
}

#[test]
fn step_5_the_shorter_as_path() {
    let long = Attributes { as_path: path(&[1, 2]), ..attributes(1) };
    let short = Attributes { as_path: path(&[3]), ..attributes(1) };
    assert_eq!(decide([NonClient; 2], [long, short]), lost("5: longer AS_PATH (2 > 1)"));
}

#[test]
fn step_6_the_lower_origin() {
    let incomplete = Attributes { origin: Origin::Incomplete, ..attributes(1) };
    assert_eq!(decide([NonClient; 2], [incomplete, attributes(1)]), lost("6: higher ORIGIN (Incomplete > Igp)"));
}

#[test]
fn step_7_the_lower_med_of_one_neighbouring_as() {
    let med = |med, asn| Attributes { as_path: path(&[asn]), med: Some(med), ..attributes(1) };
    let reason = "7: higher MED of the same neighbouring AS (20 > 10)";
    assert_eq!(decide([NonClient; 2], [med(20, 65101), med(10, 65101)]), lost(reason));
    // Of different ones it does not count.
    assert_eq!(decide([NonClient; 2], [med(20, 65101), med(10, 65102)]).0, 1);
}

#[test]
fn step_7_does_not_depend_on_the_order_of_three() {
    // 1 beats 2 by identifier, 2 beats 3 by identifier, 3 beats 1 by MED: 1 is out, 2 wins.
    let med = |med, asn| Attributes { as_path: path(&[asn]), med: Some(med), ..attributes(1) };
    let paths = [med(20, 65101), med(0, 65102), med(10, 65101)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut lab = Lab::with(&[NonClient; 3]);
        for at in order {
            lab.announce(at as u16 + 1, &paths[at], &[mac_ip(1)]);
            lab.changes();
        }
        assert_eq!(lab.best(&mac_ip(1)), Some(2), "{order:?}");
    }
}

#[test]
fn step_8_external_over_internal() {
    let path = Attributes { as_path: path(&[65102]), ..attributes(1) };
    assert_eq!(decide([NonClient, External], [path.clone(), path]), lost("8: internal, the other external"));
}

#[test]
fn step_9_the_lower_originator_or_identifier() {
    let from_afar = Attributes { originator_id: Some(id(200)), ..attributes(1) };
    let reason = "9: higher ORIGINATOR_ID or router-id (10.0.0.200 > 10.0.0.2)";
    assert_eq!(decide([NonClient; 2], [from_afar, attributes(1)]), lost(reason));
}

#[test]
fn step_10_the_shorter_cluster_list() {
    let list = |n: usize| Attributes { originator_id: Some(id(77)), cluster_list: vec![id(9); n], ..attributes(1) };
    assert_eq!(decide([NonClient; 2], [list(2), list(1)]), lost("10: longer CLUSTER_LIST (2 > 1)"));
}

#[test]
fn step_12_the_lower_peer_address() {
    let same = Attributes { originator_id: Some(id(77)), ..attributes(1) };
    let mut lab = Lab::with(&[NonClient; 2]);
    lab.announce(2, &same, &[mac_ip(1)]);
    lab.announce(1, &same, &[mac_ip(1)]);
    let dest = lab.changes()[0];
    assert_eq!(lab.rib.why_best(dest)[0].0.peer, PeerId(1));
    assert_eq!(lab.rib.why_best(dest)[1].1, "12: higher peer address (10.0.0.2 > 10.0.0.1)");
}
