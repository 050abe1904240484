//! The table by cases, each in a line of words. Read `rib_support/mod.rs` first; lives at random are in `rib_model.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rib_support;

use evpnd::base::Asn;
use evpnd::rib::PeerKind::{Client, External, Local, NonClient};
use evpnd::rib::{PeerId, PeerKind, RibConfig, RibPeer, RouteKey};
use evpnd::wire::attribute::{Attributes, Disposition, Origin, UnknownAttribute};
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::EvpnRoute;
use evpnd::wire::ext_community::ExtCommunity;
use evpnd::wire::header::HEADER_LEN;
use evpnd::wire::update::{RawAttributes, UpdateView};
use rib_support::*;

// ---- what comes in ----

#[test]
fn a_route_comes_changes_and_goes_and_each_is_told_once() {
    let mut lab = Lab::with(&[NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    let changes = lab.changes();
    assert_eq!(changes.len(), 1);
    let best = lab.rib.best(changes[0]).unwrap();
    assert_eq!((best.peer, best.label1, best.stale, best.received), (PeerId(1), 100, false, lab.now));
    assert_eq!(lab.rib.attributes(best.attr), &attributes(1));
    assert_eq!(lab.rib.mac_ip(changes[0]).unwrap().2.to_string(), "02:00:00:00:00:01");
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    assert_eq!(lab.changes(), [], "the same again is no news");
    lab.announce(1, &attributes(2), &[mac_ip(1)]);
    assert_eq!(lab.changes(), changes);
    assert_eq!(lab.withdraw(1, &[mac_ip(1)]).withdrawn, 1);
    let gone = lab.changes();
    assert_eq!(gone, changes);
    assert_eq!((lab.rib.best(gone[0]), lab.rib.memory().destinations), (None, 0));
    assert_eq!(lab.withdraw(1, &[mac_ip(1)]).withdrawn, 1);
    assert_eq!(lab.changes(), [], "withdrawn twice is no news");
}

#[test]
fn what_comes_and_goes_within_a_turn_is_no_news() {
    let mut lab = Lab::with(&[NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.withdraw(1, &[mac_ip(1)]);
    assert_eq!((lab.changes(), lab.rib.memory().destinations), (vec![], 0));
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.changes();
    lab.withdraw(1, &[mac_ip(1)]);
    assert_eq!(lab.best(&mac_ip(1)), Some(1), "until it is decided, what was told stands");
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    assert_eq!(lab.changes(), []);
}

#[test]
fn a_change_of_label_esi_or_second_label_is_a_change() {
    let mut lab = Lab::with(&[NonClient]);
    let EvpnRoute::MacIp(mut route) = mac_ip(1) else { panic!() };
    lab.announce(1, &attributes(1), &[EvpnRoute::MacIp(route)]);
    assert_eq!(lab.changes().len(), 1);
    route.label1 = 101;
    lab.announce(1, &attributes(1), &[EvpnRoute::MacIp(route)]);
    assert_eq!(lab.changes().len(), 1);
    route.label2 = Some(5);
    lab.announce(1, &attributes(1), &[EvpnRoute::MacIp(route)]);
    assert_eq!(lab.changes().len(), 1);
    route.esi = Esi([1; 10]);
    lab.announce(1, &attributes(1), &[EvpnRoute::MacIp(route)]);
    let changes = lab.changes();
    let best = lab.rib.best(changes[0]).unwrap();
    assert_eq!((best.label1, best.label2, best.esi), (101, Some(5), Esi([1; 10])));
    lab.announce(1, &attributes(1), &[EvpnRoute::MacIp(route)]);
    assert_eq!(lab.changes(), []);
}

#[test]
fn a_block_seen_before_is_not_parsed_and_goes_with_its_last_path() {
    let mut lab = Lab::with(&[NonClient, NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.announce(2, &attributes(1), &[mac_ip(2)]);
    lab.changes();
    assert_eq!((lab.rib.stats().blocks_parsed, lab.rib.stats().blocks_known), (1, 1));
    let attr = lab.rib.best(lab.find(&mac_ip(1)).unwrap()).unwrap().attr;
    assert_eq!(lab.rib.best(lab.find(&mac_ip(2)).unwrap()).unwrap().attr, attr);
    let generation = lab.rib.attr_generation(attr);
    lab.withdraw(1, &[mac_ip(1)]);
    lab.withdraw(2, &[mac_ip(2)]);
    lab.changes();
    assert_eq!(lab.rib.memory().attribute_blocks, 0);
    assert_ne!(lab.rib.attr_generation(attr), generation);
    assert_eq!(lab.rib.attributes(attr), &Attributes::default());
}

#[test]
fn withdrawals_of_an_update_come_before_its_announcements() {
    let mut lab = Lab::with(&[NonClient]);
    let (both, gone) = (reach(&attributes(1), &context(NonClient), &[mac_ip(1)]), unreach(&[mac_ip(1), mac_ip(2)]));
    lab.announce(1, &attributes(1), &[mac_ip(2)]);
    let mut view = UpdateView::parse(&both[HEADER_LEN..]).unwrap();
    view.unreach = UpdateView::parse(&gone[HEADER_LEN..]).unwrap().unreach;
    let outcome = lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap();
    assert_eq!((outcome.announced, outcome.withdrawn), (1, 2));
    lab.changes();
    assert_eq!((lab.best(&mac_ip(1)), lab.best(&mac_ip(2))), (Some(1), None));
}

#[test]
fn end_of_rib_is_told_and_other_families_are_ignored_and_counted() {
    let mut lab = Lab::with(&[NonClient]);
    let outcome = lab.update(1, &unreach(&[])).unwrap();
    assert!(outcome.end_of_rib);
    let octets = reach(&attributes(1), &context(NonClient), &[mac_ip(1)]);
    let mut view = UpdateView::parse(&octets[HEADER_LEN..]).unwrap();
    if let Some(reach) = &mut view.reach {
        (reach.afi, reach.safi) = (1, 1);
    }
    let outcome = lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap();
    assert_eq!((outcome.announced, outcome.end_of_rib), (0, false));
    assert_eq!((lab.changes().len(), lab.rib.stats().other_families), (0, 1));
    // The empty UPDATE is the End-of-RIB of IPv4.
    let outcome = lab.rib.handle_update(lab.now, PeerId(1), &UpdateView::parse(&[0; 4]).unwrap()).unwrap();
    assert_eq!((outcome.end_of_rib, lab.rib.stats().other_families), (false, 2));
}

#[test]
fn a_bad_attribute_withdraws_the_routes_of_its_update() {
    let mut lab = Lab::with(&[NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2)]);
    lab.changes();
    let octets = reach(&attributes(1), &context(NonClient), &[mac_ip(1)]);
    let mut view = UpdateView::parse(&octets[HEADER_LEN..]).unwrap();
    // ORIGIN 9, and AS_PATH empty.
    view.attributes = RawAttributes { pieces: [&[0x40, 1, 1, 9, 0x40, 2, 0], &[], &[]] };
    let outcome = lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap();
    assert_eq!((outcome.announced, outcome.withdrawn), (0, 1));
    assert_eq!(outcome.mistakes[0].disposition, Disposition::TreatAsWithdraw);
    assert_eq!((lab.changes().len(), lab.rib.stats().treat_as_withdraw), (1, 1));
    assert_eq!((lab.best(&mac_ip(1)), lab.best(&mac_ip(2))), (None, Some(1)));
    assert_eq!(lab.rib.memory().attribute_blocks, 1, "a block with a mistake is not kept");
}

#[test]
fn a_mistake_that_costs_the_attribute_only_keeps_the_routes_and_is_told_the_first_time() {
    let mut lab = Lab::with(&[NonClient]);
    let octets = reach(&attributes(1), &context(NonClient), &[mac_ip(1)]);
    let mut view = UpdateView::parse(&octets[HEADER_LEN..]).unwrap();
    // ATOMIC_AGGREGATE of one octet (RFC 7606 §7.6).
    view.attributes = RawAttributes { pieces: [&[0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 6, 1, 0], &[], &[]] };
    let outcome = lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap();
    assert_eq!((outcome.announced, outcome.mistakes.len()), (1, 1));
    let outcome = lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap();
    assert_eq!((outcome.announced, outcome.mistakes.len()), (1, 0));
    assert_eq!(lab.rib.stats().attribute_discards, 1);
}

#[test]
fn a_route_with_a_bad_inside_is_stepped_over_and_a_length_past_the_end_resets() {
    let mut lab = Lab::with(&[NonClient]);
    let octets = reach(&attributes(1), &context(NonClient), &[mac_ip(1)]);
    let mut view = UpdateView::parse(&octets[HEADER_LEN..]).unwrap();
    let mut nlri = vec![3, 2, 0, 0];
    mac_ip(1).emit(&mut nlri);
    let good = nlri.len();
    nlri.extend([2, 33, 0]);
    view.reach.as_mut().unwrap().nlri = &nlri[..good];
    let outcome = lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap();
    assert_eq!((outcome.announced, outcome.nlri_errors), (1, 1));
    view.reach.as_mut().unwrap().nlri = &nlri;
    let notification = lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap_err();
    assert_eq!((notification.code, notification.subcode), (3, 10));
}

#[test]
fn a_bad_attribute_without_routes_resets_because_it_may_hide_them() {
    let mut lab = Lab::with(&[NonClient]);
    let octets = unreach(&[mac_ip(1)]);
    let mut view = UpdateView::parse(&octets[HEADER_LEN..]).unwrap();
    view.attributes = RawAttributes { pieces: [&[0x40, 1, 1, 0], &[], &[]] };
    assert!(lab.rib.handle_update(lab.now, PeerId(1), &view).is_ok());
    view.attributes = RawAttributes { pieces: [&[0x40, 1, 1, 9], &[], &[]] };
    assert_eq!(lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap_err().code, 3);
}

#[test]
fn a_block_longer_than_the_limit_is_treated_as_withdraw() {
    let mut lab = Lab::new(RibConfig { max_attribute_len: 64, ..config() });
    lab.up(1, peer(NonClient, 1));
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    let long = Attributes { communities: vec![1; 20], ..attributes(1) };
    let outcome = lab.announce(1, &long, &[mac_ip(1)]);
    assert_eq!((outcome.announced, outcome.withdrawn, outcome.mistakes.len()), (0, 1, 1));
    lab.changes();
    assert_eq!((lab.best(&mac_ip(1)), lab.rib.stats().blocks_too_long), (None, 1));
}

#[test]
fn a_full_table_takes_no_new_destination() {
    let mut lab = Lab::new(RibConfig { max_destinations: 2, ..config() });
    lab.up(1, peer(NonClient, 1));
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2), mac_ip(3)]);
    lab.announce(1, &attributes(2), &[mac_ip(1)]);
    assert_eq!((lab.changes().len(), lab.rib.stats().table_full), (2, 1));
}

#[test]
fn a_peer_over_its_limit_is_reported() {
    let mut lab = Lab::new(config());
    lab.up(1, RibPeer { max_routes: Some(2), ..peer(NonClient, 1) });
    assert!(!lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2)]).over_max_routes);
    assert!(!lab.announce(1, &attributes(2), &[mac_ip(1), mac_ip(2)]).over_max_routes, "changed, not more");
    assert!(lab.announce(1, &attributes(1), &[mac_ip(3)]).over_max_routes);
    assert_eq!(lab.rib.peer_routes(PeerId(1)), 3);
    lab.withdraw(1, &[mac_ip(1)]);
    assert_eq!(lab.rib.peer_routes(PeerId(1)), 2);
}

// ---- loops ----

#[test]
fn a_route_that_we_originated_and_a_reflector_returns_is_not_taken() {
    let mut lab = Lab::with(&[NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.changes();
    let ours = Attributes { originator_id: Some(our_id()), ..attributes(1) };
    assert_eq!(lab.announce(1, &ours, &[mac_ip(1)]).withdrawn, 1);
    lab.changes();
    assert_eq!((lab.best(&mac_ip(1)), lab.rib.stats().originator_loops), (None, 1));
}

#[test]
fn a_route_that_passed_our_cluster_is_not_taken() {
    let mut lab = Lab::with(&[Client]);
    let looped = Attributes { cluster_list: vec![id(9), our_id()], originator_id: Some(id(8)), ..attributes(1) };
    lab.announce(1, &looped, &[mac_ip(1)]);
    lab.changes();
    assert_eq!((lab.best(&mac_ip(1)), lab.rib.stats().cluster_loops), (None, 1));
    assert_eq!(lab.rib.memory().attribute_blocks, 0);
}

#[test]
fn a_route_whose_as_path_has_our_as_is_not_taken_from_an_external_peer() {
    let mut lab = Lab::with(&[External, NonClient]);
    let looped = Attributes { as_path: path(&[65101, 65000]), ..attributes(1) };
    lab.announce(1, &looped, &[mac_ip(1)]);
    lab.announce(2, &looped, &[mac_ip(2)]);
    lab.changes();
    assert_eq!((lab.best(&mac_ip(1)), lab.best(&mac_ip(2))), (None, Some(2)));
    assert_eq!(lab.rib.stats().as_path_loops, 1);
}

// ---- the decision, step by step ----

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
fn step_2_of_a_move_heard_through_two_reflectors_the_newer_wins() {
    let older = with_mobility(Attributes { local_pref: Some(1000), ..attributes(1) }, false, 4);
    let newer = with_mobility(attributes(2), false, 5);
    assert_eq!(decide([NonClient; 2], [older, newer]), lost("2: lower MAC mobility sequence (4 < 5)"));
    let sticky = with_mobility(attributes(2), true, 0);
    let dynamic = with_mobility(attributes(1), false, 7);
    assert_eq!(decide([NonClient; 2], [dynamic, sticky]), lost("2: the other is sticky"));
}

#[test]
fn step_2_is_for_mac_routes_only() {
    let mut lab = Lab::with(&[NonClient, NonClient]);
    lab.announce(1, &attributes(1), &[imet(7)]);
    lab.announce(2, &with_mobility(attributes(1), false, 5), &[imet(7)]);
    lab.changes();
    assert_eq!(lab.best(&imet(7)), Some(1));
}

#[test]
fn step_3_a_stale_path_is_the_last_choice() {
    let mut lab = Lab::with(&[NonClient, NonClient]);
    lab.announce(1, &Attributes { local_pref: Some(200), ..attributes(1) }, &[mac_ip(1)]);
    lab.announce(2, &attributes(1), &[mac_ip(1)]);
    lab.changes();
    assert_eq!(lab.best(&mac_ip(1)), Some(1));
    lab.down(1, true);
    lab.settle();
    let dest = lab.find(&mac_ip(1)).unwrap();
    assert_eq!(lab.rib.why_best(dest)[1].1, "3: stale: its peer restarts");
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
fn step_11_the_lower_peer_address() {
    let same = Attributes { originator_id: Some(id(77)), ..attributes(1) };
    let mut lab = Lab::with(&[NonClient; 2]);
    lab.announce(2, &same, &[mac_ip(1)]);
    lab.announce(1, &same, &[mac_ip(1)]);
    let dest = lab.changes()[0];
    assert_eq!(lab.rib.why_best(dest)[0].0.peer, PeerId(1));
    assert_eq!(lab.rib.why_best(dest)[1].1, "11: higher peer address (10.0.0.2 > 10.0.0.1)");
}

// ---- sessions that end ----

#[test]
fn a_peer_that_comes_back_before_the_walk_keeps_what_it_says_anew() {
    let mut lab = Lab::with(&[NonClient]);
    let routes: Vec<_> = (0..100).map(mac_ip).collect();
    lab.announce(1, &attributes(1), &routes);
    lab.changes();
    lab.down(1, false);
    assert_eq!(lab.rib.peer_routes(PeerId(1)), 0);
    assert!(lab.rib.work(10), "more to do");
    lab.changes();
    lab.up(1, peer(NonClient, 1));
    lab.announce(1, &attributes(1), &routes[..50]);
    lab.settle();
    assert_eq!(lab.rib.dests().count(), 50);
    assert_eq!(lab.rib.peer_routes(PeerId(1)), 50);
    assert!((0..50).all(|n| lab.best(&mac_ip(n)) == Some(1)));
}

#[test]
fn a_peer_that_flaps_300_times_within_one_walk_leaves_nothing_behind() {
    let mut lab = Lab::with(&[NonClient]);
    for n in 0..300 {
        lab.announce(1, &attributes(1), &[mac_ip(n)]);
        lab.changes();
        lab.down(1, false);
        lab.up(1, peer(NonClient, 1));
    }
    lab.announce(1, &attributes(1), &[mac_ip(500)]);
    lab.settle();
    assert_eq!(lab.rib.dests().count(), 1);
}

#[test]
fn graceful_restart_keeps_confirms_and_sweeps() {
    let mut lab = Lab::with(&[NonClient, Client]);
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2)]);
    lab.settle();
    lab.down(1, true);
    lab.settle();
    assert_eq!(lab.heard[&2].routes.len(), 2, "the others hear nothing of it");
    let dest = lab.find(&mac_ip(1)).unwrap();
    assert!(lab.rib.best(dest).unwrap().stale);
    let told = lab.rib.stats().best_changes;
    lab.up(1, peer(NonClient, 1));
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.settle();
    assert!(!lab.rib.best(dest).unwrap().stale);
    assert_eq!(lab.rib.stats().best_changes, told, "confirmed is no news");
    assert_eq!(lab.rib.peer_routes(PeerId(1)), 2);
    lab.rib.sweep_stale(PeerId(1));
    lab.settle();
    assert_eq!(lab.heard[&2].keys(), [RouteKey::of(&mac_ip(1))]);
    assert_eq!(lab.rib.peer_routes(PeerId(1)), 1);
}

#[test]
fn a_second_restart_drops_what_the_first_one_kept() {
    let mut lab = Lab::with(&[NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2)]);
    lab.settle();
    lab.down(1, true);
    lab.up(1, peer(NonClient, 1));
    lab.announce(1, &attributes(1), &[mac_ip(2)]);
    lab.down(1, true);
    lab.settle();
    assert_eq!((lab.best(&mac_ip(1)), lab.best(&mac_ip(2))), (None, Some(1)));
}

// ---- who hears what ----

#[test]
fn every_kind_hears_what_it_may_of_every_kind() {
    for source in [Local, External, Client, NonClient] {
        let mut lab = Lab::with(&[External, Client, NonClient, source]);
        let route = mac_ip(1);
        let path = Attributes { as_path: if source == External { path(&[65104]) } else { path(&[]) }, ..attributes(1) };
        if source == Local {
            lab.originate(&path, &route);
        } else {
            lab.announce(4, &path, &[route]);
        }
        lab.settle();
        // RFC 4271 §9.2, RFC 4456 §6.
        let heard: Vec<bool> = (1..=3).map(|n| lab.hears(n, &route).is_some()).collect();
        assert_eq!(heard, [true, true, source != NonClient], "of {source:?}");
        assert!(lab.hears(4, &route).is_none() || source == Local, "never back to its source");
        // eBGP: our AS in front, nothing of ours inside.
        let out = lab.hears(1, &route).unwrap();
        let wanted = if source == External { vec![65000, 65104] } else { vec![65000] };
        assert_eq!(out.as_path, rib_support::path(&wanted));
        assert_eq!((out.local_pref, out.originator_id, out.cluster_list.len()), (None, None, 0));
        assert_eq!(out.next_hop, attributes(1).next_hop, "the VTEP's, untouched");
        // iBGP: reflected where it came from inside.
        let out = lab.hears(2, &route).unwrap();
        let reflected = matches!(source, Client | NonClient);
        assert_eq!(out.originator_id, reflected.then_some(id(4)));
        assert_eq!(out.cluster_list, if reflected { vec![our_id()] } else { vec![] });
        assert_eq!((out.local_pref, out.next_hop), (Some(100), attributes(1).next_hop));
    }
}

#[test]
fn a_second_reflector_keeps_the_originator_and_puts_its_cluster_in_front() {
    let mut lab = Lab::with(&[Client, Client]);
    let once = Attributes { originator_id: Some(id(7)), cluster_list: vec![id(8)], local_pref: Some(70), ..attributes(1) };
    lab.announce(1, &once, &[imet(1)]);
    lab.settle();
    let out = lab.hears(2, &imet(1)).unwrap();
    assert_eq!((out.originator_id, &out.cluster_list[..]), (Some(id(7)), &[our_id(), id(8)][..]));
    assert_eq!(out.local_pref, Some(70));
}

#[test]
fn unknown_route_types_are_passed_on_unchanged() {
    let mut lab = Lab::with(&[Client, Client]);
    let route = EvpnRoute::Unknown { route_type: 11, value: &[7; 255] };
    lab.announce(1, &attributes(1), &[route, EvpnRoute::Unknown { route_type: 0, value: &[] }]);
    lab.settle();
    assert_eq!(lab.heard[&2].keys().len(), 2);
    assert!(lab.hears(2, &route).is_some());
    assert_eq!(lab.rib.stats().unknown_types, 2);
}

#[test]
fn unknown_attributes_go_on_where_they_are_transitive_with_the_partial_bit() {
    let mut lab = Lab::with(&[Client, Client]);
    let unknown = |flags, code| UnknownAttribute { flags, code, value: vec![1, 2] };
    let octets = {
        let mut nlri = Vec::new();
        mac_ip(1).emit(&mut nlri);
        nlri
    };
    let whole = reach(&attributes(1), &context(Client), &[mac_ip(1)]);
    let mut view = UpdateView::parse(&whole[HEADER_LEN..]).unwrap();
    view.reach.as_mut().unwrap().nlri = &octets;
    let pieces: [&[u8]; 3] = [&[0x40, 1, 1, 0, 0x40, 2, 0], &[0xc0, 200, 2, 1, 2], &[0x80, 201, 2, 1, 2]];
    view.attributes = RawAttributes { pieces };
    lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap();
    lab.settle();
    assert_eq!(lab.hears(2, &mac_ip(1)).unwrap().unknown, [unknown(0xe0, 200)]);
}

#[test]
fn med_and_non_transitive_communities_stay_in_the_as() {
    let mut lab = Lab::with(&[Client, External, Client]);
    let inside = ExtCommunity([0x43, 0x0b, 0, 0, 0, 0, 0, 1]);
    let path = Attributes { med: Some(5), ext_communities: vec![inside, ExtCommunity::vxlan()], ..attributes(1) };
    lab.announce(1, &path, &[mac_ip(1)]);
    lab.settle();
    let (out, within) = (lab.hears(2, &mac_ip(1)).unwrap(), lab.hears(3, &mac_ip(1)).unwrap());
    assert_eq!((out.med, &out.ext_communities[..]), (None, &[ExtCommunity::vxlan()][..]));
    assert_eq!((within.med, within.ext_communities.len()), (Some(5), 2));
}

#[test]
fn no_export_and_no_advertise_are_honoured_and_what_went_before_is_withdrawn() {
    let mut lab = Lab::with(&[Client, External, Client]);
    let with = |community: &[u32]| Attributes { communities: community.to_vec(), ..attributes(1) };
    let hearers = |lab: &Lab| -> Vec<u16> { (2..=3).filter(|n| lab.hears(*n, &mac_ip(1)).is_some()).collect() };
    for (communities, wanted) in [
        (&[][..], &[2, 3][..]),
        (&[0xffff_ff01], &[3]),
        (&[], &[2, 3]),
        (&[0xffff_ff03], &[3]),
        (&[7, 0xffff_ff02], &[]),
        (&[], &[2, 3]),
    ] {
        lab.announce(1, &with(communities), &[mac_ip(1)]);
        lab.settle();
        assert_eq!(hearers(&lab), wanted, "{communities:x?}");
    }
}

#[test]
fn a_four_octet_as_is_shown_to_an_old_speaker_as_as_trans() {
    let mut lab = Lab::new(RibConfig { asn: Asn(4_200_000_000), ..config() });
    let mut old = peer(External, 1);
    old.context.four_octet_as = false;
    lab.up(1, old);
    lab.originate(&attributes(1), &imet(9));
    lab.settle();
    assert_eq!(lab.hears(1, &imet(9)).unwrap().as_path, path(&[4_200_000_000]));
}

// ---- split horizon ----

#[test]
fn when_the_source_changes_the_new_one_hears_a_withdrawal_and_the_old_one_the_path() {
    let mut lab = Lab::with(&[Client, Client, Client]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.settle();
    assert_eq!((1..=3).map(|n| lab.hears(n, &mac_ip(1)).is_some()).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!((lab.heard[&1].announcements, lab.heard[&1].withdrawals), (0, 0));
    lab.announce(2, &Attributes { local_pref: Some(200), ..attributes(2) }, &[mac_ip(1)]);
    lab.settle();
    assert_eq!((1..=3).map(|n| lab.hears(n, &mac_ip(1)).is_some()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(lab.heard[&2].withdrawals, 1);
    assert_eq!((lab.heard[&3].announcements, lab.heard[&3].withdrawals), (2, 0), "others hear the change only");
    lab.withdraw(2, &[mac_ip(1)]);
    lab.settle();
    assert_eq!((1..=3).map(|n| lab.hears(n, &mac_ip(1)).is_some()).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn when_a_clients_path_gives_way_to_a_non_clients_the_non_clients_hear_a_withdrawal() {
    let mut lab = Lab::with(&[Client, NonClient, NonClient, Client]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.settle();
    assert!(lab.hears(3, &mac_ip(1)).is_some());
    lab.announce(2, &Attributes { local_pref: Some(200), ..attributes(2) }, &[mac_ip(1)]);
    lab.settle();
    assert!(lab.hears(3, &mac_ip(1)).is_none());
    assert!(lab.hears(2, &mac_ip(1)).is_none());
    assert_eq!(lab.hears(4, &mac_ip(1)).unwrap().next_hop, attributes(2).next_hop);
}

// ---- who comes late, who is slow, who asks again ----

#[test]
fn a_late_joiner_hears_the_whole_table_and_then_end_of_rib() {
    let mut lab = Lab::with(&[Client]);
    let routes: Vec<_> = (0..5000).map(mac_ip).collect();
    for routes in routes.chunks(100) {
        lab.announce(1, &attributes(1), routes);
    }
    lab.settle();
    lab.withdraw(1, &routes[..100]);
    lab.settle();
    lab.up(2, peer(Client, 2));
    assert!(lab.rib.has_pending(PeerId(2)));
    lab.listen(2, 1000);
    assert_eq!(lab.heard[&2].end_of_rib, 0, "the first chunk is not all");
    lab.settle();
    let heard = &lab.heard[&2];
    assert_eq!((heard.routes.len(), heard.end_of_rib, heard.withdrawals), (4900, 1, 0));
    assert!(heard.longest > 4000 && heard.longest <= 4096, "packed: {}", heard.longest);
    assert_eq!(heard.updates, 4900_u32.div_ceil(115) + 1 + 1 + 1, "in full UPDATEs, a last one per chunk, End-of-RIB");
    assert!(!lab.rib.has_pending(PeerId(2)));
}

#[test]
fn an_empty_table_is_an_end_of_rib_at_once() {
    let lab = Lab::with(&[Client, External]);
    assert_eq!((lab.heard[&1].end_of_rib, lab.heard[&2].end_of_rib, lab.heard[&1].updates), (1, 1, 1));
}

#[test]
fn extended_messages_are_used_where_they_are_agreed_and_there_only() {
    let mut lab = Lab::new(config());
    lab.up(1, peer(Client, 1));
    lab.up(2, peer(Client, 2));
    lab.up(3, RibPeer { extended_message: true, ..peer(Client, 3) });
    lab.settle();
    let routes: Vec<_> = (0..1000).map(mac_ip).collect();
    for routes in routes.chunks(100) {
        lab.announce(1, &attributes(1), routes);
    }
    lab.settle();
    assert!(lab.heard[&2].longest <= 4096);
    assert!(lab.heard[&3].longest > 30_000);
    assert_eq!(lab.heard[&2].routes, lab.heard[&3].routes);
}

#[test]
fn attributes_too_long_for_a_peers_messages_are_not_sent_to_it_and_what_it_had_goes() {
    let mut lab = Lab::new(RibConfig { max_attribute_len: 60_000, ..config() });
    lab.up(1, RibPeer { extended_message: true, ..peer(Client, 1) });
    lab.up(2, peer(Client, 2));
    lab.up(3, RibPeer { extended_message: true, ..peer(Client, 3) });
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.settle();
    assert!(lab.hears(2, &mac_ip(1)).is_some());
    let long = Attributes { communities: (0..2000).collect(), ..attributes(1) };
    lab.announce(1, &long, &[mac_ip(1)]);
    lab.settle();
    assert_eq!((lab.hears(2, &mac_ip(1)), lab.hears(3, &mac_ip(1)).is_some()), (None, true));
    assert_eq!(lab.rib.stats().too_long_to_send, 1);
}

#[test]
fn equal_peers_share_what_is_encoded() {
    let mut lab = Lab::with(&[Client; 20]);
    let encoded = lab.rib.stats().chunks_encoded;
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.changes();
    for n in 1..=20 {
        lab.listen(n, 1 << 16);
    }
    assert_eq!(lab.rib.stats().chunks_encoded - encoded, 1);
    assert_eq!(lab.heard[&1].routes.len(), 0);
    assert!((2..=20).all(|n| lab.hears(n, &mac_ip(1)).is_some()));
}

#[test]
fn a_withdrawal_waits_for_a_peer_that_has_heard_the_route_and_only_for_it() {
    let mut lab = Lab::with(&[Client, Client, Client]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.changes();
    lab.listen(2, 1000);
    lab.withdraw(1, &[mac_ip(1)]);
    lab.changes();
    assert!(lab.rib.memory().destinations == 1, "2 must hear of it");
    for n in [1, 2, 3] {
        lab.listen(n, 1000);
    }
    assert_eq!((lab.heard[&2].routes.len(), lab.changes()), (0, vec![]));
    assert_eq!(lab.rib.memory().destinations, 0);
    assert_eq!(lab.heard[&3].announcements, 0);
}

#[test]
fn a_peer_that_never_reads_cannot_make_the_table_grow() {
    let mut lab = Lab::with(&[Client, Client]);
    for n in 0..50_000 {
        lab.announce(1, &attributes(1), &[mac_ip(n)]);
        lab.changes();
        lab.withdraw(1, &[mac_ip(n)]);
        lab.changes();
    }
    let memory = lab.rib.memory();
    assert!(memory.destinations < 3000, "{memory:?}");
    assert!(memory.export_octets < 300_000, "{memory:?}");
    lab.settle();
    assert_eq!((lab.heard[&2].routes.len(), lab.rib.memory().destinations), (0, 0));
}

#[test]
fn a_plain_vtep_pays_nothing_for_what_it_only_receives() {
    let mut lab = Lab::with(&[NonClient, NonClient]);
    let routes: Vec<_> = (0..1000).map(mac_ip).collect();
    for routes in routes.chunks(100) {
        lab.announce(1, &attributes(1), routes);
    }
    lab.changes();
    assert_eq!(lab.rib.memory().export_octets, 0);
    assert!(!lab.rib.has_pending(PeerId(2)));
    lab.originate(&attributes(9), &imet(9));
    lab.settle();
    assert_eq!((lab.heard[&1].keys().len(), lab.heard[&2].keys().len()), (1, 1));
}

#[test]
fn the_first_peer_of_a_kind_hears_what_nobody_could_hear_before() {
    let mut lab = Lab::with(&[NonClient]);
    let routes: Vec<_> = (0..1000).map(mac_ip).collect();
    for routes in routes.chunks(100) {
        lab.announce(1, &attributes(1), routes);
    }
    lab.changes();
    lab.up(2, peer(Client, 2));
    lab.listen(2, 1 << 20);
    assert_eq!(lab.heard[&2].end_of_rib, 0, "not before the table is entered");
    lab.rib.work(100);
    lab.listen(2, 1 << 20);
    assert_eq!((lab.heard[&2].routes.len(), lab.heard[&2].end_of_rib), (100, 0));
    lab.settle();
    assert_eq!((lab.heard[&2].routes.len(), lab.heard[&2].end_of_rib), (1000, 1));
    assert_eq!(lab.heard[&1].announcements, 0);
}

#[test]
fn a_refresh_sends_all_again_between_borr_and_eorr() {
    let mut lab = Lab::with(&[Client, Client]);
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2)]);
    lab.settle();
    lab.rib.refresh_export(PeerId(2), false);
    lab.settle();
    let heard = &lab.heard[&2];
    assert_eq!((heard.announcements, heard.begin_of_refresh, heard.end_of_refresh, heard.end_of_rib), (4, 0, 0, 1));
    lab.rib.refresh_export(PeerId(2), true);
    lab.settle();
    let heard = &lab.heard[&2];
    assert_eq!((heard.announcements, heard.begin_of_refresh, heard.end_of_refresh, heard.end_of_rib), (6, 1, 1, 1));
    assert_eq!(lab.heard[&1].announcements, 0);
}

#[test]
fn a_refresh_during_the_first_dump_waits_for_its_end() {
    let mut lab = Lab::new(RibConfig { export_chunk_octets: 1, ..config() });
    lab.up(1, peer(Client, 1));
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2), mac_ip(3)]);
    lab.settle();
    lab.up(2, peer(Client, 2));
    lab.listen(2, 1);
    lab.rib.refresh_export(PeerId(2), true);
    lab.listen(2, 1);
    assert_eq!((lab.heard[&2].begin_of_refresh, lab.heard[&2].announcements), (0, 2));
    lab.settle();
    let heard = &lab.heard[&2];
    assert_eq!((heard.announcements, heard.begin_of_refresh, heard.end_of_refresh, heard.end_of_rib), (6, 1, 1, 1));
}

#[test]
fn a_route_withdrawn_during_a_refresh_is_withdrawn_from_the_peer_that_had_it() {
    let mut lab = Lab::new(RibConfig { export_chunk_octets: 1, export_quiet: 0, ..config() });
    lab.up(1, peer(Client, 1));
    lab.up(2, peer(Client, 2));
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2), mac_ip(3)]);
    lab.settle();
    lab.rib.refresh_export(PeerId(2), true);
    lab.withdraw(1, &[mac_ip(3)]);
    lab.settle();
    assert_eq!(lab.heard[&2].routes.len(), 2);
}

#[test]
fn what_a_peer_has_been_told_is_known() {
    let mut lab = Lab::with(&[Client, Client, NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    let dest = lab.changes()[0];
    let told = |lab: &Lab| -> Vec<bool> { (1..=3).map(|n| lab.rib.is_advertised(dest, PeerId(n))).collect() };
    assert_eq!(told(&lab), [false, false, false]);
    lab.listen(2, 1000);
    assert_eq!(told(&lab), [false, true, false]);
    lab.settle();
    assert_eq!(told(&lab), [false, true, true]);
}

#[test]
fn a_budget_is_kept_to_about_a_chunk() {
    let mut lab = Lab::with(&[Client, Client]);
    for n in 0..100 {
        let routes: Vec<_> = (n * 100..n * 100 + 100).map(mac_ip).collect();
        lab.announce(1, &attributes(1), &routes);
    }
    lab.changes();
    let mut last = 0;
    while lab.rib.has_pending(PeerId(2)) {
        last = lab.listen(2, 100_000);
        assert!(last <= 100_000, "{last}");
    }
    assert!(last > 0);
    assert_eq!(lab.heard[&2].routes.len(), 10_000);
}

#[test]
fn sources_within_one_chunk_are_left_out_one_by_one() {
    let mut lab = Lab::with(&[Client; 4]);
    for n in 0..300_u32 {
        lab.announce(1 + (n % 3) as u16, &attributes(1), &[mac_ip(n)]);
    }
    lab.settle();
    assert_eq!((1..=4).map(|n| lab.heard[&n].routes.len()).collect::<Vec<_>>(), [200, 200, 200, 300]);
}
