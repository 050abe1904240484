//! What comes into the table, by cases in a line of words each. Read `rib_support/mod.rs` first; the decision is in
//! `rib_decision.rs`, what goes out in `rib_export.rs`, lives at random in `rib_model.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rib_support;

use evpnd::rib::PeerKind::{Client, External, NonClient};
use evpnd::rib::{PeerId, RibConfig, RibPeer, RouteKey};
use evpnd::wire::attribute::{Attributes, Disposition};
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::EvpnRoute;
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

/// One wrong route in an UPDATE costs itself: with its labels cut off it is withdrawn by its name, and its neighbors in the same
/// field are taken. (FRR resets the session.)
#[test]
fn a_route_with_wrong_labels_is_withdrawn_and_costs_no_other() {
    let mut lab = Lab::with(&[NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2), mac_ip(3)]);
    lab.settle();
    let octets = reach(&attributes(2), &context(NonClient), &[mac_ip(1)]);
    let mut view = UpdateView::parse(&octets[HEADER_LEN..]).unwrap();
    let mut nlri = Vec::new();
    for n in 1..=3 {
        let start = nlri.len();
        mac_ip(n).emit(&mut nlri);
        if n == 2 {
            nlri.truncate(nlri.len() - 2);
            nlri[start + 1] -= 2;
        }
    }
    view.reach.as_mut().unwrap().nlri = &nlri;
    let outcome = lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap();
    assert_eq!((outcome.announced, outcome.withdrawn, outcome.nlri_errors), (2, 1, 1));
    assert_eq!(outcome.first_nlri_error.unwrap().to_string(), "EVPN route of type 2 at offset 35: labels are not 3 or 6 octets");
    lab.settle();
    assert_eq!([1, 2, 3].map(|n| lab.best(&mac_ip(n))), [Some(1), None, Some(1)]);
    assert_eq!(lab.rib.stats().nlri_errors, 1);
    // Its withdrawal with wrong labels is understood too.
    nlri.clear();
    mac_ip(3).emit(&mut nlri);
    nlri.extend([0; 4]);
    nlri[1] += 4;
    let octets = unreach(&[mac_ip(3)]);
    let mut view = UpdateView::parse(&octets[HEADER_LEN..]).unwrap();
    view.unreach.as_mut().unwrap().nlri = &nlri;
    assert_eq!(lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap().withdrawn, 1);
    lab.settle();
    assert_eq!(lab.best(&mac_ip(3)), None);
}

/// A storm of attributes, each block another: what is kept for one peer is bounded, and what the others brought stands.
#[test]
fn attributes_beyond_the_limit_of_their_peer_are_not_kept() {
    let mut lab = Lab::new(RibConfig { max_attribute_octets: 20_000, ..config() });
    for n in 1..=2 {
        lab.up(n, peer(NonClient, n as u8));
    }
    lab.announce(2, &attributes(9), &[mac_ip(500)]);
    let storm = |n: u32| Attributes { communities: (0..100).map(|c| n * 1000 + c).collect(), ..attributes(1) };
    let outcomes: Vec<_> = (1..100).map(|n| lab.announce(1, &storm(n), &[mac_ip(n)]).over_attribute_octets).collect();
    let taken = outcomes.iter().position(|over| *over).unwrap();
    assert!((5..20).contains(&taken), "{taken}");
    assert_eq!(lab.rib.peer_routes(PeerId(1)) as usize, taken);
    assert!(lab.rib.peer_attribute_octets(PeerId(1)) <= 20_000);
    // A block that is kept already costs nothing more, whoever names it.
    assert!(!lab.announce(1, &attributes(9), &[mac_ip(100)]).over_attribute_octets);
    // What is beyond the limit replaces nothing: the route goes that it was for.
    assert!(lab.announce(1, &storm(1000), &[mac_ip(1)]).over_attribute_octets);
    lab.settle();
    assert_eq!([1, 500, 100].map(|n| lab.best(&mac_ip(n))), [None, Some(2), Some(1)]);
    lab.down(1, false);
    lab.settle();
    assert_eq!(lab.rib.peer_attribute_octets(PeerId(1)), 0);
    assert!(lab.rib.stats().over_attribute_octets > 80);
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

#[test]
fn a_second_restart_with_the_n_bit_keeps_what_the_first_one_kept() {
    let mut lab = Lab::with(&[NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2)]);
    lab.settle();
    for _ in 0..3 {
        lab.down_again(1);
        lab.settle();
        lab.up(1, peer(NonClient, 1));
        lab.announce(1, &attributes(1), &[mac_ip(2)]);
        lab.settle();
    }
    assert_eq!((lab.best(&mac_ip(1)), lab.best(&mac_ip(2))), (Some(1), Some(1)));
    assert_eq!((lab.rib.peer_routes(PeerId(1)), lab.rib.stale_routes(PeerId(1))), (2, 1));
    assert_eq!(lab.rib.sweep_stale(PeerId(1)), 1);
    lab.settle();
    assert_eq!((lab.best(&mac_ip(1)), lab.best(&mac_ip(2))), (None, Some(1)));
    assert_eq!(lab.rib.stats().stale_swept, 1);
}

/// A peer that falls hundreds of times without confirming: the numbers of its sessions come round, and no dead path lives.
#[test]
fn sessions_without_end_do_not_bring_a_dead_path_back() {
    let mut lab = Lab::with(&[NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.settle();
    for _ in 0..600 {
        lab.down_again(1);
        lab.up(1, peer(NonClient, 1));
    }
    lab.settle();
    assert_eq!(lab.best(&mac_ip(1)), None, "given up after a hundred");
    assert_eq!(lab.rib.peer_routes(PeerId(1)), 0);
}

const LLGR_STALE: u32 = 0xffff_0006;
const NO_LLGR: u32 = 0xffff_0007;
const NO_EXPORT: u32 = 0xffff_ff01;

/// RFC 9494 §4.2, §4.3, §4.6: after the restart time.
#[test]
fn a_long_lived_stale_path_is_marked_and_told_to_those_who_know_what_that_is() {
    let mut lab = Lab::new(config());
    lab.up(1, peer(Client, 1));
    lab.up(2, RibPeer { long_lived: true, ..peer(Client, 2) });
    lab.up(3, peer(Client, 3));
    lab.up(4, peer(External, 4));
    lab.up(5, RibPeer { long_lived: true, ..peer(External, 5) });
    let reluctant = Attributes { communities: vec![NO_LLGR], ..attributes(1) };
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.announce(1, &reluctant, &[mac_ip(2)]);
    lab.settle();
    lab.down(1, true);
    lab.settle();
    assert_eq!(lab.heard[&4].routes.len(), 2, "in the restart time nobody hears of it");
    lab.rib.begin_long_lived(PeerId(1));
    lab.settle();
    let heard = |lab: &Lab, n: u16| lab.heard[&n].routes.get(&RouteKey::of(&mac_ip(1))).map(|(attributes, _)| attributes.clone());
    assert_eq!(heard(&lab, 2).unwrap().communities, [LLGR_STALE]);
    assert_eq!(heard(&lab, 2).unwrap().local_pref, Some(100));
    assert_eq!(heard(&lab, 5).unwrap().communities, [LLGR_STALE]);
    let marked = heard(&lab, 3).unwrap();
    assert_eq!((marked.communities, marked.local_pref), (vec![LLGR_STALE, NO_EXPORT], Some(0)), "RFC 9494 §4.6");
    assert_eq!(heard(&lab, 4), None, "an external peer without the capability");
    assert_eq!(lab.best(&mac_ip(2)), None, "NO_LLGR");
    assert_eq!((lab.rib.stats().long_lived_stale, lab.rib.stats().no_llgr), (1, 1));
    assert_eq!(lab.rib.stale_routes(PeerId(1)), 1);
    // It is back: announced again, the mark goes everywhere.
    lab.up(1, peer(Client, 1));
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.rib.sweep_stale(PeerId(1));
    lab.settle();
    for n in [2, 3, 4, 5] {
        assert_eq!(heard(&lab, n).unwrap().communities, [] as [u32; 0], "peer {n}");
    }
}

#[test]
fn what_is_long_lived_stale_and_not_announced_again_goes() {
    let mut lab = Lab::with(&[Client, Client]);
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2)]);
    lab.settle();
    lab.down(1, true);
    lab.rib.begin_long_lived(PeerId(1));
    lab.settle();
    lab.up(1, peer(Client, 1));
    lab.announce(1, &attributes(1), &[mac_ip(2)]);
    lab.settle();
    assert_eq!(lab.rib.sweep_stale(PeerId(1)), 1);
    lab.settle();
    assert_eq!(lab.heard[&2].keys(), [RouteKey::of(&mac_ip(2))]);
    assert_eq!(lab.rib.memory().attribute_blocks, 1, "no block is left behind");
}

#[test]
fn end_of_rib_waits_until_all_is_known_and_holds_back_no_route() {
    let mut lab = Lab::new(config());
    lab.rib.hold_end_of_rib(true);
    lab.up(1, peer(Client, 1));
    lab.up(2, peer(Client, 2));
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.settle();
    assert_eq!((lab.heard[&2].routes.len(), lab.heard[&2].end_of_rib), (1, 0));
    assert!(!lab.rib.has_pending(PeerId(2)), "nothing that could be sent waits");
    lab.announce(1, &attributes(1), &[mac_ip(2)]);
    lab.rib.hold_end_of_rib(false);
    lab.settle();
    assert_eq!((lab.heard[&2].routes.len(), lab.heard[&2].end_of_rib), (2, 1));
    lab.up(3, peer(Client, 3));
    lab.settle();
    assert_eq!(lab.heard[&3].end_of_rib, 1);
}

// ---- how many paths a destination may have ----

#[test]
fn of_more_paths_than_a_destination_may_have_the_best_stay_and_the_others_are_asked_for_when_there_is_room() {
    let mut lab = Lab::new(RibConfig { max_paths: 2, ..config() });
    for n in 1..=4 {
        lab.up(n, peer(NonClient, n as u8));
    }
    let preferred = |pref| Attributes { local_pref: Some(pref), ..attributes(1) };
    lab.announce(1, &preferred(100), &[mac_ip(1)]);
    lab.announce(2, &preferred(90), &[mac_ip(1)]);
    lab.announce(3, &preferred(80), &[mac_ip(1)]);
    lab.changes();
    assert_eq!((lab.best(&mac_ip(1)), lab.rib.stats().paths_over_limit), (Some(1), 1), "the third is the worst");
    assert_eq!((lab.rib.take_first_refusal(), lab.rib.take_first_refusal()), (true, false));
    lab.announce(4, &preferred(200), &[mac_ip(1)]);
    lab.changes();
    assert_eq!((lab.best(&mac_ip(1)), lab.rib.peer_routes(PeerId(2))), (Some(4), 0), "a better one puts out the worst");
    assert!(!lab.rib.has_room_for_refused());
    lab.announce(4, &preferred(300), &[mac_ip(1)]);
    lab.withdraw(4, &[mac_ip(1)]);
    assert!(lab.rib.has_room_for_refused());
    assert_eq!(lab.rib.take_refused(), [PeerId(2), PeerId(3)]);
    lab.announce(2, &preferred(90), &[mac_ip(1)]);
    lab.changes();
    assert_eq!((lab.best(&mac_ip(1)), lab.rib.peer_routes(PeerId(2)), lab.rib.has_room_for_refused()), (Some(1), 1, false));
    lab.originate(&attributes(9), &mac_ip(1));
    lab.changes();
    assert_eq!(lab.best(&mac_ip(1)), Some(PeerId::LOCAL.0), "our own is never refused");
}

#[test]
fn paths_of_a_session_that_ended_take_nobodys_room() {
    let mut lab = Lab::new(RibConfig { max_paths: 2, ..config() });
    for n in 1..=3 {
        lab.up(n, peer(NonClient, n as u8));
    }
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.announce(2, &attributes(1), &[mac_ip(1)]);
    lab.down(1, false);
    lab.announce(3, &attributes(1), &[mac_ip(1)]);
    assert_eq!((lab.rib.stats().paths_over_limit, lab.rib.peer_routes(PeerId(3))), (0, 1));
}

#[test]
fn a_sequence_number_that_wrapped_is_newer_also_among_the_paths_of_a_route() {
    let mut lab = Lab::with(&[NonClient, NonClient]);
    lab.announce(1, &with_mobility(attributes(1), false, u32::MAX), &[mac_ip(1)]);
    lab.announce(2, &with_mobility(attributes(1), false, 0), &[mac_ip(1)]);
    lab.changes();
    assert_eq!(lab.best(&mac_ip(1)), Some(2));
}
