//! What the fib does with each thing that can happen to a row, one line of words each.

#![allow(clippy::unwrap_used, missing_docs)]

use std::net::IpAddr;
use std::time::Duration;

use evpnd::base::{MacAddr, Time, Vni};
use evpnd::fib::{Batch, BatchDone, Fib, FibLimits, KernelRow, Op, OpKind, Remote, Status};

const ENOENT: i32 = 2;
const ENOSPC: i32 = 28;
const EAFNOSUPPORT: i32 = 97;

fn vni(number: u32) -> Vni {
    Vni::new(number).unwrap()
}
fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}
fn to(ip: &str) -> Remote {
    Remote { ip: ip.parse::<IpAddr>().unwrap(), vni: None }
}
fn row(mac: MacAddr, remote: Remote, ext_learned: bool) -> KernelRow {
    KernelRow { ext_learned, ..KernelRow::new(mac, remote) }
}
fn secs(secs: u64) -> Time {
    Time::from_secs(secs)
}
fn ready() -> Fib {
    let mut fib = Fib::new(1);
    fib.device_ready(secs(0), vni(100), 7, Some(false), vec![]);
    fib
}
fn done(id: u64, errors: &[(u32, i32)]) -> BatchDone {
    BatchDone { id, errors: errors.to_vec(), ..BatchDone::default() }
}
/// Cuts one batch and acknowledges it.
fn step(fib: &mut Fib, now: Time) -> Vec<Op> {
    let Some(Batch { id, ops }) = fib.poll_batch(now) else { return vec![] };
    fib.handle_batch_done(now, &done(id, &[]));
    ops
}
fn status(fib: &Fib, mac: MacAddr) -> Status {
    fib.unicast(vni(100), mac).unwrap().status
}

#[test]
fn a_row_is_written_once_and_is_then_in_sync() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    assert_eq!(status(&fib, mac(1)), Status::Dirty);
    let batch = fib.poll_batch(secs(1)).unwrap();
    let wanted = Op { ifindex: 7, kind: OpKind::ReplaceUnicast, mac: mac(1), remote: to("10.0.0.2") };
    assert_eq!(batch.ops, [wanted]);
    assert_eq!(status(&fib, mac(1)), Status::InFlight);
    assert_eq!(fib.poll_batch(secs(1)), None);
    fib.handle_batch_done(secs(1), &done(batch.id, &[]));
    assert_eq!(status(&fib, mac(1)), Status::InSync);
    assert!(fib.is_settled());
    fib.set_unicast(secs(2), vni(100), mac(1), to("10.0.0.2"));
    assert_eq!(fib.poll_batch(secs(2)), None, "the same wish again writes nothing");
    fib.clear_unicast(secs(3), vni(100), mac(1), false);
    assert_eq!(step(&mut fib, secs(3))[0].kind, OpKind::DeleteUnicast { self_only: false });
    assert_eq!(fib.unicast(vni(100), mac(1)), None);
    assert!(fib.is_empty());
}

#[test]
fn a_wish_taken_back_before_it_was_written_writes_nothing() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    fib.clear_unicast(secs(1), vni(100), mac(1), false);
    assert_eq!(fib.poll_batch(secs(1)), None);
    assert!(fib.is_empty() && fib.is_settled());
}

#[test]
fn a_row_that_changes_while_in_flight_is_written_again_after_the_answer() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    let first = fib.poll_batch(secs(1)).unwrap();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.3"));
    assert_eq!(fib.poll_batch(secs(1)), None);
    fib.handle_batch_done(secs(1), &done(first.id, &[]));
    assert_eq!(step(&mut fib, secs(1))[0].remote, to("10.0.0.3"));
    assert_eq!(status(&fib, mac(1)), Status::InSync);
}

#[test]
fn a_row_cleared_while_in_flight_is_deleted_after_the_answer() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    let first = fib.poll_batch(secs(1)).unwrap();
    fib.clear_unicast(secs(1), vni(100), mac(1), true);
    fib.handle_batch_done(secs(1), &done(first.id, &[]));
    assert_eq!(step(&mut fib, secs(1))[0].kind, OpKind::DeleteUnicast { self_only: true });
    assert!(fib.is_empty() && fib.is_settled());
}

#[test]
fn after_the_bridge_took_an_entry_over_the_same_wish_is_written_anew() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    step(&mut fib, secs(1));
    fib.clear_unicast(secs(2), vni(100), mac(1), true);
    fib.set_unicast(secs(2), vni(100), mac(1), to("10.0.0.2"));
    assert_eq!(step(&mut fib, secs(2))[0].kind, OpKind::ReplaceUnicast, "the bridge's entry points to a local port");
}

#[test]
fn a_port_keeps_the_bridges_entry_until_a_row_was_written_over_it() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    step(&mut fib, secs(1));
    assert!(!fib.is_left_to_bridge(vni(100), mac(1)));
    fib.clear_unicast(secs(2), vni(100), mac(1), true);
    fib.set_unicast(secs(2), vni(100), mac(1), to("10.0.0.2"));
    fib.clear_unicast(secs(2), vni(100), mac(1), false);
    assert!(fib.is_left_to_bridge(vni(100), mac(1)));
    assert_eq!(step(&mut fib, secs(2))[0].kind, OpKind::DeleteUnicast { self_only: true });
}

#[test]
fn a_refused_write_keeps_its_errno_and_is_retried_with_back_off_up_to_a_cap() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    let mut now = secs(1);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let batch = fib.poll_batch(now).unwrap();
        fib.handle_batch_done(now, &done(batch.id, &[(0, ENOSPC)]));
        assert!(matches!(status(&fib, mac(1)), Status::Failed { errno: ENOSPC, .. }));
        assert_eq!(fib.poll_batch(now), None);
        let next = fib.poll_timeout().unwrap();
        waits.push((next - now).as_millis());
        now = next;
        fib.handle_timeout(now);
    }
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    assert!(!fib.is_settled());
    step(&mut fib, now);
    assert!(fib.is_settled());
    assert_eq!((fib.stats().failed, fib.stats().retried), (10, 10));
}

#[test]
fn a_failed_write_is_seen_by_diff_in_words() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    let batch = fib.poll_batch(secs(1)).unwrap();
    fib.handle_batch_done(secs(1), &done(batch.id, &[(0, ENOSPC)]));
    let diff = fib.diff(vni(100), &[]);
    assert_eq!(diff.len(), 1);
    assert_eq!((diff[0].wanted, diff[0].found), (Some(to("10.0.0.2")), None));
    assert_eq!(diff[0].state, "failed: No space left, retried in 1 s");
    assert_eq!(fib.failures(10).len(), 1);
}

#[test]
fn a_half_done_write_is_cleaned_up_when_the_wish_goes() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    let batch = fib.poll_batch(secs(1)).unwrap();
    fib.handle_batch_done(secs(1), &done(batch.id, &[(0, ENOSPC)]));
    fib.clear_unicast(secs(1), vni(100), mac(1), false);
    assert_eq!(step(&mut fib, secs(1))[0].kind, OpKind::DeleteUnicast { self_only: false });
    assert!(fib.is_empty() && fib.is_settled());
}

#[test]
fn a_delete_of_what_is_not_there_is_done_once_the_vxlan_entry_is_surely_gone() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    step(&mut fib, secs(1));
    fib.clear_unicast(secs(2), vni(100), mac(1), false);
    let batch = fib.poll_batch(secs(2)).unwrap();
    fib.handle_batch_done(secs(2), &done(batch.id, &[(0, ENOENT)]));
    let batch = fib.poll_batch(secs(2)).unwrap();
    assert_eq!(batch.ops[0].kind, OpKind::DeleteUnicast { self_only: true }, "the bridge answered for both");
    fib.handle_batch_done(secs(2), &done(batch.id, &[(0, ENOENT)]));
    assert!(fib.is_empty() && fib.is_settled());
    assert_eq!(fib.stats().failed, 0);
}

#[test]
fn a_batch_that_could_not_be_sent_is_retried_whole() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    fib.set_flood(secs(1), vni(100), to("10.0.0.2"));
    let batch = fib.poll_batch(secs(1)).unwrap();
    assert_eq!(batch.ops[0].kind, OpKind::AppendFlood, "flood lists go first");
    fib.handle_batch_done(
        secs(1),
        &BatchDone { id: batch.id, errors: vec![], fatal: Some("no socket".into()), ..BatchDone::default() },
    );
    assert_eq!(fib.failed_count(), 2);
    fib.handle_timeout(secs(2));
    assert_eq!(step(&mut fib, secs(2)).len(), 2);
    assert!(fib.is_settled());
}

#[test]
fn an_ipv6_remote_on_an_ipv4_device_fails_for_long_and_writes_nothing() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("2001:db8::2"));
    assert_eq!(fib.poll_batch(secs(1)), None);
    assert!(matches!(status(&fib, mac(1)), Status::Failed { errno: EAFNOSUPPORT, .. }));
    assert!(fib.poll_timeout().unwrap() >= secs(1) + Duration::from_secs(300));
    assert_eq!(fib.stats().permanent, 1);
    fib.set_unicast(secs(2), vni(100), mac(1), to("10.0.0.2"));
    assert_eq!(step(&mut fib, secs(2)).len(), 1, "a wish that can be met is written at once");
    fib.set_unicast(secs(3), vni(100), mac(1), to("2001:db8::2"));
    let ops = step(&mut fib, secs(3));
    assert_eq!(ops[0].kind, OpKind::DeleteUnicast { self_only: false }, "frames must not go to the old place");
    assert_eq!(fib.poll_batch(secs(3)), None);
    assert_eq!(fib.failed_count(), 1);
}

#[test]
fn rows_wait_for_their_device_and_are_written_again_when_it_comes_back() {
    let mut fib = Fib::new(1);
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    fib.set_flood(secs(1), vni(100), to("10.0.0.2"));
    assert_eq!(fib.poll_batch(secs(1)), None);
    assert_eq!(status(&fib, mac(1)), Status::NoDevice);
    fib.device_ready(secs(2), vni(100), 7, None, vec![]);
    assert_eq!(step(&mut fib, secs(2)).len(), 2);
    fib.device_gone(vni(100));
    assert_eq!(status(&fib, mac(1)), Status::NoDevice);
    fib.clear_flood(secs(3), vni(100), to("10.0.0.2"));
    assert_eq!(fib.row_count(vni(100)), 1);
    fib.device_ready(secs(4), vni(100), 9, None, vec![]);
    let ops = step(&mut fib, secs(4));
    assert_eq!((ops.len(), ops[0].ifindex), (1, 9));
}

#[test]
fn an_answer_that_comes_after_the_device_was_made_anew_proves_nothing() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    let old = fib.poll_batch(secs(1)).unwrap();
    fib.device_gone(vni(100));
    fib.device_ready(secs(2), vni(100), 8, Some(false), vec![]);
    fib.handle_batch_done(secs(2), &done(old.id, &[]));
    assert_eq!(step(&mut fib, secs(2))[0].ifindex, 8);
    assert!(fib.is_settled());
}

#[test]
fn adopted_rows_are_not_moved_while_moves_are_deferred() {
    let mut fib = Fib::new(1);
    fib.defer_moves();
    let existing = (1..6).map(|number| row(mac(number), to("10.0.0.2"), true)).collect();
    // Heard before what stands is known, and after.
    fib.set_unicast(secs(0), vni(100), mac(1), to("10.0.0.9"));
    fib.device_ready(secs(0), vni(100), 7, Some(false), existing);
    fib.set_unicast(secs(1), vni(100), mac(2), to("10.0.0.9"));
    assert_eq!((status(&fib, mac(1)), status(&fib, mac(2))), (Status::Deferred, Status::Deferred));
    // The better route comes.
    fib.set_unicast(secs(1), vni(100), mac(2), to("10.0.0.2"));
    assert_eq!(status(&fib, mac(2)), Status::InSync);
    // Confirmed, it is a row like any.
    fib.set_unicast(secs(1), vni(100), mac(2), to("10.0.0.3"));
    assert_eq!(step(&mut fib, secs(1))[0].remote, to("10.0.0.3"));
    // Withdrawn before it moved, it is what an earlier run left.
    fib.set_unicast(secs(1), vni(100), mac(3), to("10.0.0.9"));
    fib.clear_unicast(secs(1), vni(100), mac(3), false);
    assert_eq!(status(&fib, mac(3)), Status::Unconfirmed);
    // Come here, it goes at once.
    fib.set_unicast(secs(1), vni(100), mac(4), to("10.0.0.9"));
    fib.clear_unicast(secs(1), vni(100), mac(4), true);
    assert_eq!(step(&mut fib, secs(1))[0].kind, OpKind::DeleteUnicast { self_only: true });
    // Removed by somebody, it has nothing to wait for.
    fib.set_unicast(secs(1), vni(100), mac(5), to("10.0.0.9"));
    assert!(fib.handle_row_gone(secs(60), vni(100), &row(mac(5), to("10.0.0.2"), true)));
    assert_eq!(step(&mut fib, secs(60))[0].remote, to("10.0.0.9"));
    // A listing that shows what stands changes nothing.
    fib.handle_rows(
        secs(61),
        vni(100),
        &[
            row(mac(1), to("10.0.0.2"), true),
            row(mac(2), to("10.0.0.3"), true),
            row(mac(3), to("10.0.0.2"), true),
            row(mac(5), to("10.0.0.9"), true),
        ],
    );
    assert!(fib.is_settled());
    fib.end_deferral(secs(62));
    let ops = step(&mut fib, secs(62));
    assert_eq!(ops.iter().map(|op| (op.mac, op.remote)).collect::<Vec<_>>(), [(mac(1), to("10.0.0.9"))]);
    fib.sweep(secs(63));
    assert_eq!(step(&mut fib, secs(63))[0].mac, mac(3));
}

#[test]
fn rows_of_a_device_that_nobody_listed_are_not_written_while_moves_are_deferred() {
    let mut fib = Fib::new(1);
    fib.defer_moves();
    fib.device_ready_unlisted(secs(0), vni(100), 7, Some(false));
    fib.set_flood(secs(0), vni(100), to("10.0.0.2"));
    fib.set_unicast(secs(0), vni(100), mac(1), to("10.0.0.2"));
    fib.set_unicast(secs(0), vni(100), mac(2), to("10.0.0.2"));
    assert_eq!(step(&mut fib, secs(0)).iter().map(|op| op.kind).collect::<Vec<_>>(), [OpKind::AppendFlood]);
    fib.clear_unicast(secs(0), vni(100), mac(2), false);
    fib.end_deferral(secs(1));
    let ops = step(&mut fib, secs(1));
    assert_eq!(ops.iter().map(|op| (op.kind, op.mac)).collect::<Vec<_>>(), [(OpKind::EnsureUnicast, mac(1))]);
}

#[test]
fn adopted_rows_are_confirmed_without_a_write_and_swept_when_nobody_wants_them() {
    let mut fib = Fib::new(1);
    let existing = vec![
        row(mac(1), to("10.0.0.2"), true),
        row(mac(2), to("10.0.0.2"), true),
        row(mac(3), to("10.0.0.3"), true),
        row(MacAddr::ZERO, to("10.0.0.2"), true),
        row(MacAddr::ZERO, to("10.0.0.3"), true),
    ];
    fib.device_ready(secs(0), vni(100), 7, Some(false), existing);
    assert!(fib.is_settled());
    assert_eq!(status(&fib, mac(1)), Status::Unconfirmed);
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    fib.set_flood(secs(1), vni(100), to("10.0.0.2"));
    assert_eq!(fib.poll_batch(secs(1)), None, "equal rows are confirmed without a write");
    fib.set_unicast(secs(1), vni(100), mac(2), to("10.0.0.9"));
    assert_eq!(step(&mut fib, secs(1))[0].kind, OpKind::ReplaceUnicast, "a MAC that moved meanwhile is replaced");
    fib.sweep(secs(2));
    let ops = step(&mut fib, secs(2));
    assert_eq!(ops.len(), 2);
    assert_eq!((ops[0].kind, ops[0].remote), (OpKind::DeleteFlood, to("10.0.0.3")));
    assert_eq!((ops[1].kind, ops[1].mac), (OpKind::DeleteUnicast { self_only: false }, mac(3)));
    assert!(fib.is_settled());
    assert_eq!((fib.stats().adopted, fib.stats().confirmed, fib.stats().swept), (5, 2, 2));
}

#[test]
fn what_is_wanted_before_the_device_is_adopted_is_compared_with_what_stands() {
    let mut fib = Fib::new(1);
    fib.set_unicast(secs(0), vni(100), mac(1), to("10.0.0.2"));
    fib.set_unicast(secs(0), vni(100), mac(2), to("10.0.0.2"));
    let existing = vec![row(mac(1), to("10.0.0.2"), true), row(mac(2), to("10.0.0.3"), true)];
    fib.device_ready(secs(0), vni(100), 7, Some(false), existing);
    let ops = step(&mut fib, secs(0));
    assert_eq!(ops.iter().map(|op| op.mac).collect::<Vec<_>>(), [mac(2)]);
}

/// The mark belongs to the all-zero entry and not to each of its destinations: once known, each member is whose it is.
#[test]
fn members_of_a_flood_list_are_told_by_whose_they_are() {
    let mut fib = Fib::new(1);
    let [ours, theirs] = ["10.0.0.2", "10.9.9.9"].map(|ip| row(MacAddr::ZERO, to(ip), true));
    let plain = |row: KernelRow| KernelRow { ext_learned: false, ..row };
    fib.device_ready(secs(0), vni(100), 7, Some(false), vec![ours, plain(theirs)]);
    fib.set_flood(secs(1), vni(100), ours.remote);
    fib.sweep(secs(1));
    assert!(fib.take_floods_changed());
    for listing in [[ours, theirs], [plain(ours), plain(theirs)], [ours, plain(theirs)]] {
        assert_eq!(fib.handle_rows(secs(60), vni(100), &listing), 0);
        listing.iter().for_each(|row| assert!(!fib.handle_row_changed(secs(60), vni(100), row)));
        assert_eq!((fib.poll_batch(secs(60)), fib.diff(vni(100), &listing)), (None, vec![]), "{listing:?}");
    }
    let mut standing: Vec<_> = fib.standing_floods().collect();
    standing.sort();
    assert_eq!(standing, [(vni(100), ours.remote, true), (vni(100), theirs.remote, false)]);
    fib.clear_flood(secs(61), vni(100), ours.remote);
    assert_eq!(step(&mut fib, secs(61)).iter().map(|op| op.remote).collect::<Vec<_>>(), [ours.remote]);
}

#[test]
fn the_operators_rows_are_never_written_or_deleted() {
    let mut fib = Fib::new(1);
    let theirs = row(mac(1), to("10.9.9.9"), false);
    fib.device_ready(secs(0), vni(100), 7, Some(false), vec![theirs, row(MacAddr::ZERO, to("10.9.9.9"), false)]);
    fib.sweep(secs(1));
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    fib.set_flood(secs(1), vni(100), to("10.9.9.9"));
    assert_eq!(fib.poll_batch(secs(1)), None);
    assert_eq!(status(&fib, mac(1)), Status::Operator);
    fib.clear_flood(secs(1), vni(100), to("10.9.9.9"));
    assert_eq!(fib.poll_batch(secs(1)), None);
    assert!(!fib.is_cleared(vni(100)), "one is wanted");
    fib.clear_unicast(secs(1), vni(100), mac(1), false);
    assert!(fib.is_cleared(vni(100)), "theirs do not hold a drain up");
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    let diff = fib.diff(vni(100), &[theirs]);
    assert_eq!((diff.len(), diff[0].found), (1, Some(to("10.9.9.9"))));
    assert!(!fib.handle_row_gone(secs(2), vni(100), &theirs), "taking their own row away is their right");
    assert_eq!(step(&mut fib, secs(2))[0].remote, to("10.0.0.2"), "and then ours may stand");
    assert!(!fib.handle_row_changed(secs(9), vni(100), &row(mac(5), to("10.9.9.9"), false)));
    fib.set_unicast(secs(9), vni(100), mac(5), to("10.0.0.2"));
    assert_eq!(fib.poll_batch(secs(9)), None, "one that they make while we run is theirs too");
}

#[test]
fn a_row_deleted_behind_our_back_is_put_back_and_our_own_deletes_are_recognised() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    fib.set_flood(secs(1), vni(100), to("10.0.0.2"));
    step(&mut fib, secs(1));
    let (unicast, flood) = (row(mac(1), to("10.0.0.2"), true), row(MacAddr::ZERO, to("10.0.0.2"), true));
    assert!(!fib.handle_row_changed(secs(1), vni(100), &unicast), "our echo");
    assert!(!fib.handle_row_changed(secs(1), vni(100), &flood), "our echo");
    assert!(fib.is_settled());
    assert!(fib.handle_row_gone(secs(2), vni(100), &unicast));
    assert!(fib.handle_row_gone(secs(2), vni(100), &flood));
    assert_eq!(step(&mut fib, secs(2)).len(), 2);
    assert_eq!(fib.stats().healed, 2);
    fib.clear_unicast(secs(20), vni(100), mac(1), false);
    step(&mut fib, secs(20));
    assert!(!fib.handle_row_gone(secs(20), vni(100), &unicast));
    assert!(fib.is_settled());
}

#[test]
fn a_row_changed_behind_our_back_is_put_back() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    step(&mut fib, secs(1));
    assert!(fib.handle_row_changed(secs(60), vni(100), &row(mac(1), to("10.0.0.6"), true)));
    assert_eq!(step(&mut fib, secs(60))[0].remote, to("10.0.0.2"));
    assert!(fib.handle_row_changed(secs(120), vni(100), &row(mac(1), to("10.0.0.6"), false)));
    let ops = step(&mut fib, secs(120));
    assert_eq!(ops.iter().map(|op| op.kind).collect::<Vec<_>>(), [OpKind::RestoreUnicast], "its kind must change back");
    assert!(!fib.handle_row_changed(secs(120), vni(100), &row(mac(1), to("10.0.0.2"), true)));
    assert!(fib.is_settled());
}

#[test]
fn a_late_echo_costs_at_most_one_write_and_is_not_called_healing() {
    let mut fib = ready();
    for ip in ["10.0.0.2", "10.0.0.3"] {
        fib.set_unicast(secs(1), vni(100), mac(1), to(ip));
        step(&mut fib, secs(1));
    }
    assert!(!fib.handle_row_changed(secs(1), vni(100), &row(mac(1), to("10.0.0.2"), true)));
    assert!(step(&mut fib, secs(1)).len() <= 1);
    assert!(!fib.handle_row_changed(secs(1), vni(100), &row(mac(1), to("10.0.0.3"), true)));
    assert!(fib.is_settled());
    assert_eq!(fib.stats().healed, 0);
}

#[test]
fn a_dump_makes_differences_dirty_and_says_how_many() {
    let mut fib = ready();
    fib.sweep(secs(1));
    for n in 1..=3 {
        fib.set_unicast(secs(1), vni(100), mac(n), to("10.0.0.2"));
    }
    step(&mut fib, secs(1));
    let dump = [
        row(mac(1), to("10.0.0.2"), true),
        row(mac(1), to("10.0.0.2"), true),
        row(mac(2), to("10.0.0.7"), true),
        row(mac(4), to("10.0.0.2"), true),
        row(mac(5), to("10.9.9.9"), false),
    ];
    assert_eq!(fib.diff(vni(100), &dump).len(), 3);
    assert_eq!(fib.handle_rows(secs(2), vni(100), &dump), 3, "one changed, one missing, one too many");
    let mut ops = step(&mut fib, secs(2));
    ops.sort_by_key(|op| op.mac);
    let expected = [
        (mac(2), OpKind::ReplaceUnicast),
        (mac(3), OpKind::ReplaceUnicast),
        (mac(4), OpKind::DeleteUnicast { self_only: false }),
    ];
    assert_eq!(ops.iter().map(|op| (op.mac, op.kind)).collect::<Vec<_>>(), expected);
    assert!(fib.is_settled());
}

#[test]
fn reassert_writes_what_is_believed_to_stand() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    step(&mut fib, secs(1));
    fib.reassert(secs(2), vni(100), mac(1));
    fib.reassert(secs(2), vni(100), mac(9));
    assert_eq!(step(&mut fib, secs(2)).len(), 1);
    assert!(fib.is_settled());
}

#[test]
fn batches_and_what_is_under_way_are_bounded() {
    let mut fib = Fib::with_limits(1, FibLimits { batch_len: 64, batches_in_flight: 16 });
    fib.device_ready(secs(0), vni(100), 7, Some(false), vec![]);
    for n in 0..5000_u32 {
        let [_, _, a, b] = n.to_be_bytes();
        fib.set_unicast(secs(1), vni(100), MacAddr([2, 0, 0, 0, a, b]), to("10.0.0.2"));
    }
    let batches: Vec<Batch> = std::iter::from_fn(|| fib.poll_batch(secs(1))).collect();
    assert_eq!(batches.len(), 16);
    assert!(batches.iter().all(|batch| batch.ops.len() == 64));
    fib.handle_batch_done(secs(1), &done(batches[7].id, &[]));
    assert!(fib.poll_batch(secs(1)).is_some() && fib.poll_batch(secs(1)).is_none());
    fib.handle_batch_done(secs(1), &done(999_999, &[]));
    assert_eq!(fib.stats().unknown_batches, 1);
}

#[test]
fn a_flood_list_keeps_each_remote_and_each_of_its_vnis() {
    let mut fib = ready();
    let downstream = Remote { vni: Some(vni(200)), ..to("10.0.0.2") };
    fib.set_flood(secs(1), vni(100), downstream);
    fib.set_flood(secs(1), vni(100), to("10.0.0.2"));
    fib.set_flood(secs(1), vni(100), to("10.0.0.1"));
    step(&mut fib, secs(1));
    let list: Vec<_> = fib.flood(vni(100)).into_iter().map(|(remote, _)| remote).collect();
    assert_eq!(list, [to("10.0.0.1"), to("10.0.0.2"), downstream]);
    fib.clear_flood(secs(2), vni(100), downstream);
    assert_eq!(step(&mut fib, secs(2))[0], Op { ifindex: 7, kind: OpKind::DeleteFlood, mac: MacAddr::ZERO, remote: downstream });
}

#[test]
fn slots_of_vnis_that_come_and_go_are_used_again() {
    let mut fib = Fib::new(1);
    for n in 1..200_000 {
        fib.set_flood(secs(1), vni(n), to("10.0.0.1"));
        fib.clear_flood(secs(1), vni(n), to("10.0.0.1"));
    }
    assert_eq!(fib.stats().refused, 0);
}

#[test]
fn rows_whose_remotes_went_are_put_back_and_others_left_alone() {
    let mut fib = ready();
    fib.device_ready(secs(0), vni(200), 8, Some(false), vec![]);
    for (number, ip) in [(1, "10.0.0.2"), (2, "10.0.0.3")] {
        fib.set_unicast(secs(1), vni(100), mac(number), to(ip));
        fib.set_unicast(secs(1), vni(200), mac(number), to(ip));
    }
    fib.set_flood(secs(1), vni(100), to("10.0.0.2"));
    fib.set_unicast(secs(1), vni(100), mac(3), Remote { vni: Some(vni(7)), ..to("10.0.0.2") });
    assert_eq!(step(&mut fib, secs(1)).len(), 6);
    // One more is under way: its write may have come before or after.
    fib.set_unicast(secs(2), vni(100), mac(4), to("10.0.0.2"));
    let batch = fib.poll_batch(secs(2)).unwrap();
    let healed = fib.handle_remotes_gone(secs(2), &[vni(100)], &["10.0.0.2".parse().unwrap()]);
    assert_eq!(healed, [(vni(100), 1)].into());
    fib.handle_batch_done(secs(2), &done(batch.id, &[]));
    let mut written: Vec<(u32, MacAddr)> = step(&mut fib, secs(2)).iter().map(|op| (op.ifindex, op.mac)).collect();
    written.sort();
    assert_eq!(
        written,
        [(7, mac(1)), (7, mac(4))],
        "not the other VNI's, not the flood list's, not those with a VNI of their own"
    );
    assert!(fib.is_settled());
}

#[test]
fn an_unconfirmed_row_whose_remote_went_is_written_when_it_is_confirmed() {
    let mut fib = Fib::new(1);
    let found = vec![row(mac(1), to("10.0.0.2"), true), row(mac(2), to("10.0.0.2"), true)];
    fib.device_ready(secs(0), vni(100), 7, Some(false), found);
    assert!(fib.handle_remotes_gone(secs(1), &[vni(100)], &["10.0.0.2".parse().unwrap()]).is_empty());
    assert_eq!(step(&mut fib, secs(1)), []);
    fib.set_unicast(secs(2), vni(100), mac(1), to("10.0.0.2"));
    assert_eq!(
        step(&mut fib, secs(2)).iter().map(|op| (op.kind, op.mac)).collect::<Vec<_>>(),
        [(OpKind::ReplaceUnicast, mac(1))]
    );
    // The other form is such a case, too.
    fib.reassert_all(secs(3), &[vni(100)]);
    assert_eq!(
        step(&mut fib, secs(3)).iter().map(|op| op.mac).collect::<Vec<_>>(),
        [mac(1)],
        "what nobody confirmed stays as it is"
    );
    fib.set_unicast(secs(4), vni(100), mac(2), to("10.0.0.2"));
    assert_eq!(step(&mut fib, secs(4)).len(), 1);
}

#[test]
fn the_remotes_in_use_are_told_when_one_falls_out_of_use() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to("10.0.0.2"));
    fib.set_unicast(secs(1), vni(100), mac(2), to("10.0.0.3"));
    fib.set_unicast(secs(1), vni(100), mac(3), Remote { vni: Some(vni(7)), ..to("10.0.0.4") });
    assert_eq!(fib.poll_remotes(), None);
    step(&mut fib, secs(1));
    assert_eq!(fib.poll_remotes(), None, "none went");
    fib.clear_unicast(secs(2), vni(100), mac(1), false);
    assert_eq!(fib.poll_remotes(), None, "its row stands yet");
    step(&mut fib, secs(2));
    assert_eq!(fib.poll_remotes(), Some(vec!["10.0.0.3".parse().unwrap()]));
    assert_eq!(fib.poll_remotes(), None);
    // After the sweep at the latest, so that what an earlier run left behind goes.
    fib.sweep(secs(3));
    assert_eq!(fib.poll_remotes(), Some(vec!["10.0.0.3".parse().unwrap()]));
}
