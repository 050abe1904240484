//! Sequence numbers over a restart (RFC 7432 §15), one line of words each: peers see a refresh, not a move.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "evpn_support/mod.rs"]
mod support;

use evpnd::base::MacAddr;
use evpnd::evpn::Sequences;
use support::*;

fn kept(macs: &[(u8, u32)]) -> Sequences {
    [(vni(100), macs.iter().map(|&(number, sequence)| (mac(number), sequence)).collect())].into()
}

/// A host that comes back with what an earlier run kept.
fn back(macs: &[(u8, u32)]) -> Host {
    let mut host = Host::new();
    host.evpn.restore_sequences(&kept(macs));
    host
}

/// The bridge is listed: it has these at local ports.
fn list(host: &mut Host, macs: &[MacAddr]) {
    let all: Vec<_> = macs.iter().map(|mac| host.heard(*mac)).collect();
    host.evpn.handle_local_macs(NOW, &mut host.rib, &mut host.fib, vni(100), &all);
    host.settle();
}

#[test]
fn what_moved_here_is_kept_and_what_never_moved_is_not() {
    let mut host = Host::new();
    host.hear(mac(1));
    assert!(!host.evpn.take_sequences_changed(), "a MAC that never moved needs no file");
    host.announce(&type2(9, mac(2)).mobility(false, 4));
    host.hear(mac(2));
    assert!(host.evpn.take_sequences_changed());
    assert_eq!(host.evpn.sequences(), kept(&[(2, 5)]));
    assert!(!host.evpn.take_sequences_changed());
    // When it moves away again, or ages out, it is forgotten.
    host.announce(&type2(9, mac(2)).mobility(false, 6));
    assert!(host.evpn.take_sequences_changed());
    assert_eq!(host.evpn.sequences(), Sequences::new());
    host.announce(&type2(9, mac(3)).mobility(false, 0));
    host.hear(mac(3));
    host.forget(mac(3));
    assert!(host.evpn.take_sequences_changed());
    assert_eq!(host.evpn.sequences(), Sequences::new());
}

#[test]
fn a_mac_found_at_its_port_after_a_restart_is_announced_with_its_number() {
    let mut host = back(&[(1, 5), (2, u32::MAX), (3, 7)]);
    assert_eq!(host.evpn.sequences(), kept(&[(1, 5), (2, u32::MAX), (3, 7)]), "nothing is lost before they are claimed");
    list(&mut host, &[mac(1), mac(4)]);
    assert_eq!((host.announced(mac(1)), host.announced(mac(4))), (Some((false, 5)), Some((false, 0))));
    // One that speaks a little later, too.
    host.hear(mac(2));
    assert_eq!(host.announced(mac(2)), Some((false, u32::MAX)));
    // Once the sweep is over, an earlier life does not count any more.
    host.evpn.forget_restored_sequences();
    host.hear(mac(3));
    assert_eq!(host.announced(mac(3)), Some((false, 0)));
    assert_eq!(host.evpn.sequences(), kept(&[(1, 5), (2, u32::MAX)]));
}

#[test]
fn a_mac_that_moved_elsewhere_while_we_were_away_is_not_taken_back_for_an_old_entry_of_the_bridge() {
    // The route comes first, then the listing of the bridge with its entry from before.
    let mut host = back(&[(1, 5)]);
    host.announce(&type2(9, mac(1)).mobility(false, 6));
    list(&mut host, &[mac(1)]);
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)));
    assert_eq!(host.write().len(), 1, "and the row takes the bridge's entry over");
    // The other order ends the same.
    let mut host = back(&[(1, 5)]);
    list(&mut host, &[mac(1)]);
    host.announce(&type2(9, mac(1)).mobility(false, 6));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)));
    // Without a file: it never moved, so a number above 0 is newer.
    let mut host = back(&[]);
    host.announce(&type2(9, mac(1)).mobility(false, 1));
    list(&mut host, &[mac(1)]);
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)));
}

#[test]
fn when_a_port_really_hears_it_it_is_ours_with_a_higher_number() {
    let mut host = back(&[(1, 5)]);
    host.announce(&type2(9, mac(1)).mobility(false, 6));
    list(&mut host, &[mac(1)]);
    host.write();
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 7)));
    // Heard at once, without a listing: it must beat both what stands and what it had.
    let mut host = back(&[(1, 5), (2, 50)]);
    host.announce(&type2(9, mac(1)).mobility(false, 6));
    host.announce(&type2(9, mac(2)).mobility(false, 6));
    host.hear(mac(1));
    host.hear(mac(2));
    assert_eq!((host.announced(mac(1)), host.announced(mac(2))), (Some((false, 7)), Some((false, 50))));
}

#[test]
fn our_newer_claim_stands_against_the_old_route_of_the_host_it_left() {
    let mut host = back(&[(1, 5)]);
    host.announce(&type2(9, mac(1)).mobility(false, 4));
    list(&mut host, &[mac(1)]);
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (Some((false, 5)), None));
}

#[test]
fn a_listing_later_on_is_news() {
    let mut host = back(&[]);
    list(&mut host, &[]);
    host.announce(&type2(9, mac(1)).mobility(false, 3));
    list(&mut host, &[mac(1)]);
    assert_eq!(host.announced(mac(1)), Some((false, 4)), "notifications were lost: it came to our port since");
}

#[test]
fn what_was_ours_before_the_restart_did_not_move_and_is_no_step_to_a_duplicate() {
    let mut host = back(&[(1, 5)]);
    host.set_rule(DuplicateDetection { moves: 2, ..DuplicateDetection::default() });
    host.announce(&type2(9, mac(1)).mobility(false, 4));
    list(&mut host, &[mac(1)]);
    assert_eq!((host.announced(mac(1)), host.stats().moves), (Some((false, 5)), 0));
    host.announce(&type2(9, mac(1)).mobility(false, 6));
    assert_eq!((host.announced(mac(1)), host.stats().moves, host.is_duplicate(mac(1))), (None, 1, false));
}
