//! What the fib does when somebody undoes it, when it comes back to a large device, and when it looks around by itself, one
//! line of words each.

#![allow(clippy::unwrap_used, missing_docs)]

use std::net::IpAddr;
use std::time::Duration;

use evpnd::base::{MacAddr, Time, Vni};
use evpnd::fib::{Batch, BatchDone, Fib, Fought, KernelRow, Op, OpKind, Over, Remote, Status};

fn vni() -> Vni {
    Vni::new(100).unwrap()
}
fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 0, a, b, c, d])
}
fn to(ip: &str) -> Remote {
    Remote { ip: ip.parse::<IpAddr>().unwrap(), vni: None }
}
fn row(number: u32, ip: &str) -> KernelRow {
    KernelRow::new(mac(number), to(ip))
}
fn secs(secs: u64) -> Time {
    Time::from_secs(secs)
}
/// Carries out everything that is due; the ops.
fn carry_out(fib: &mut Fib, now: Time) -> Vec<Op> {
    let mut all = Vec::new();
    while let Some(Batch { id, ops }) = fib.poll_batch(now) {
        fib.handle_batch_done(now, &BatchDone { id, ..BatchDone::default() });
        all.extend(ops);
    }
    all
}
/// A ready device with rows 0 to `count`.
fn with_rows(count: u32) -> Fib {
    let mut fib = Fib::new(1);
    fib.device_ready(secs(0), vni(), 7, Some(false), vec![]);
    for number in 0..count {
        fib.set_unicast(secs(0), vni(), mac(number), to("10.0.0.2"));
    }
    assert_eq!(carry_out(&mut fib, secs(0)).len(), count as usize);
    fib
}
fn status(fib: &Fib, number: u32) -> Status {
    fib.unicast(vni(), mac(number)).unwrap().status
}

#[test]
fn a_hundred_rows_deleted_at_once_are_put_back_at_once() {
    let mut fib = with_rows(100);
    for number in 0..100 {
        assert!(fib.handle_row_gone(secs(60), vni(), &row(number, "10.0.0.2")));
    }
    assert_eq!(carry_out(&mut fib, secs(60)).len(), 100);
    assert_eq!((fib.stats().healed, fib.stats().put_off), (100, 0));
}

#[test]
fn whoever_deletes_a_row_again_and_again_is_answered_ever_more_rarely_and_told_of_once() {
    let mut fib = with_rows(2);
    let (mut now, mut written) = (secs(60), 0);
    // Somebody deletes the row 20 ms after each time it is written, for five minutes.
    while now < secs(360) {
        fib.handle_row_gone(now, vni(), &row(0, "10.0.0.2"));
        now = now + Duration::from_millis(20);
        fib.handle_timeout(now);
        written += carry_out(&mut fib, now).len();
    }
    assert!((5..30).contains(&written), "{written} writes in five minutes");
    let fought = Fought { vni: vni(), over: Over::Row { mac: mac(0), wanted: Some(to("10.0.0.2")) } };
    assert_eq!(fib.take_fights(), (vec![fought], 0));
    assert_eq!(fib.take_fights(), (vec![], 0));
    // It is on as long as they do it, and for two minutes more.
    assert_eq!((fib.fought_count(now), fib.fought_count(now + Duration::from_secs(121))), (1, 0));
    assert!(status(&fib, 0).to_string().contains("again and again"), "{}", status(&fib, 0));
    // It is put back all the same once they stop, and after a while it is as if nothing had been.
    fib.handle_timeout(now + Duration::from_secs(31));
    carry_out(&mut fib, now + Duration::from_secs(31));
    assert_eq!(status(&fib, 0), Status::InSync);
    let later = now + Duration::from_secs(300);
    assert!(fib.handle_row_gone(later, vni(), &row(0, "10.0.0.2")));
    assert_eq!(carry_out(&mut fib, later).len(), 1, "at once again");
    // The other row never waited.
    fib.handle_row_gone(later, vni(), &row(1, "10.0.0.2"));
    assert_eq!(carry_out(&mut fib, later).len(), 1);
}

#[test]
fn a_fight_does_not_hold_up_what_the_fabric_says() {
    let mut fib = with_rows(1);
    for _ in 0..10 {
        fib.handle_row_gone(secs(60), vni(), &row(0, "10.0.0.2"));
        carry_out(&mut fib, secs(60));
    }
    assert!(matches!(status(&fib, 0), Status::Failed { errno: 0, .. }));
    fib.set_unicast(secs(60), vni(), mac(0), to("10.0.0.3"));
    assert_eq!(carry_out(&mut fib, secs(60))[0].remote, to("10.0.0.3"));
}

#[test]
fn somebody_who_undoes_a_whole_device_all_the_time_is_slowed_down_as_one() {
    let mut fib = with_rows(10_000);
    let (mut now, mut written) = (secs(60), 0);
    for _ in 0..60 {
        for number in 0..10_000 {
            fib.handle_row_gone(now, vni(), &row(number, "10.0.0.2"));
        }
        now = now + Duration::from_secs(1);
        fib.handle_timeout(now);
        written += carry_out(&mut fib, now).len();
    }
    assert!(written < 200_000, "{written} writes for 600,000 deletions");
}

#[test]
fn rows_of_a_device_too_large_to_list_are_read_before_they_are_written() {
    let mut fib = Fib::new(1);
    fib.set_unicast(secs(0), vni(), mac(1), to("10.0.0.2"));
    fib.device_ready_unlisted(secs(0), vni(), 7, Some(false));
    fib.set_unicast(secs(0), vni(), mac(2), to("10.0.0.2"));
    fib.set_flood(secs(0), vni(), to("10.0.0.2"));
    let batch = fib.poll_batch(secs(0)).unwrap();
    let kinds: Vec<OpKind> = batch.ops.iter().map(|op| op.kind).collect();
    assert_eq!(kinds, [OpKind::AppendFlood, OpKind::EnsureUnicast, OpKind::EnsureUnicast]);
    fib.handle_batch_done(secs(0), &BatchDone { id: batch.id, stood: 1, ..BatchDone::default() });
    assert_eq!(fib.stats().confirmed, 1);
    // A change is a plain write: it is known what stands.
    fib.set_unicast(secs(1), vni(), mac(1), to("10.0.0.3"));
    assert_eq!(carry_out(&mut fib, secs(1))[0].kind, OpKind::ReplaceUnicast);
    // What nobody wanted is found after the sweep, and goes: a whole row, half a row, a member of the flood list.
    fib.sweep(secs(120));
    assert_eq!(fib.unlisted(), [vni()]);
    let half = KernelRow { bridged: false, ..row(8, "10.0.0.9") };
    let flood = KernelRow { mac: MacAddr::ZERO, ..row(0, "10.0.0.9") };
    let wanted = KernelRow { mac: MacAddr::ZERO, ..row(0, "10.0.0.2") };
    let operators = KernelRow { ext_learned: false, ..row(9, "10.0.0.9") };
    let rows = [row(1, "10.0.0.3"), row(2, "10.0.0.2"), row(7, "10.0.0.9"), half, flood, wanted, operators];
    assert_eq!(fib.handle_rows(secs(121), vni(), &rows), 0, "leftovers are no differences");
    let mut gone: Vec<MacAddr> = carry_out(&mut fib, secs(121)).iter().map(|op| op.mac).collect();
    gone.sort_unstable();
    assert_eq!(gone, [MacAddr::ZERO, mac(7), mac(8)]);
    assert_eq!((fib.stats().swept, fib.unlisted()), (3, vec![]));
}

#[test]
fn the_operators_row_in_such_a_device_is_left_alone() {
    let mut fib = Fib::new(1);
    fib.device_ready_unlisted(secs(0), vni(), 7, Some(false));
    for number in 1..4 {
        fib.set_unicast(secs(0), vni(), mac(number), to("10.0.0.2"));
    }
    let batch = fib.poll_batch(secs(0)).unwrap();
    let done = BatchDone { id: batch.id, theirs: vec![(1, to("10.0.0.9"))], errors: vec![(2, 28)], ..BatchDone::default() };
    fib.handle_batch_done(secs(0), &done);
    assert_eq!(status(&fib, 1), Status::InSync);
    assert_eq!(status(&fib, 2), Status::Operator);
    assert!(matches!(status(&fib, 3), Status::Failed { errno: 28, .. }));
    assert_eq!(carry_out(&mut fib, secs(0)), []);
    // When they take it away, ours is written.
    fib.handle_row_gone(secs(9), vni(), &KernelRow { ext_learned: false, ..row(2, "10.0.0.9") });
    assert_eq!(carry_out(&mut fib, secs(9)).len(), 1);
}

/// `bridge fdb replace` without the mark, over ours: the way back to static rows.
#[test]
fn a_row_that_the_operator_takes_over_as_it_stands_is_theirs() {
    let mut fib = with_rows(2);
    let theirs = KernelRow { ext_learned: false, ..row(1, "10.0.0.2") };
    assert!(!fib.handle_row_changed(secs(60), vni(), &theirs));
    assert_eq!((carry_out(&mut fib, secs(60)), status(&fib, 1)), (vec![], Status::Operator));
    fib.clear_unicast(secs(61), vni(), mac(1), false);
    assert_eq!(carry_out(&mut fib, secs(61)), [], "it stands though nobody announces the MAC any more");
    fib.set_unicast(secs(62), vni(), mac(1), to("10.0.0.2"));
    assert!(!fib.handle_row_gone(secs(63), vni(), &theirs));
    assert_eq!(carry_out(&mut fib, secs(63)).len(), 1, "and ours is back when theirs goes");
}

#[test]
fn an_audit_reads_every_settled_row_of_a_large_device_once_and_lists_small_ones() {
    let mut fib = with_rows(10_000);
    let small = Vni::new(5).unwrap();
    fib.device_ready(secs(0), small, 8, Some(false), vec![]);
    fib.set_unicast(secs(0), small, mac(1), to("10.0.0.2"));
    fib.set_flood(secs(0), vni(), to("10.0.0.2"));
    carry_out(&mut fib, secs(0));
    fib.handle_row_gone(secs(30), vni(), &row(77, "10.0.0.2"));
    assert_eq!(fib.audit_plan(true), (vec![small, vni()], 0), "now and then a large one is listed, too");
    assert_eq!(fib.audit_slice(secs(30), &mut 0, 256), [], "and not read twice");
    assert_eq!(fib.audit_plan(false), (vec![small], 10_001));
    let (mut cursor, mut seen) = (0, Vec::new());
    while !fib.audit_ended(cursor) {
        let slice = fib.audit_slice(secs(30), &mut cursor, 256);
        assert!(slice.len() <= 256);
        seen.extend(slice);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 9_999, "but the one that is being written");
    let written = carry_out(&mut fib, secs(30));
    let flood = written.iter().filter(|op| op.kind == OpKind::AppendFlood).count();
    assert_eq!((written.len(), flood), (2, 1), "the flood list cannot be read one by one: it is written again");
}

#[test]
fn what_an_audit_finds_wrong_is_put_back_and_what_changed_meanwhile_is_not_judged() {
    let mut fib = with_rows(5000);
    let now = secs(60);
    let is = |number, ip| Some(row(number, ip));
    assert!(!fib.handle_checked(now, vni(), mac(0), is(0, "10.0.0.2").as_ref()));
    assert!(fib.handle_checked(now, vni(), mac(1), None), "gone");
    assert!(fib.handle_checked(now, vni(), mac(2), is(2, "10.0.0.9").as_ref()), "leads elsewhere");
    let half = KernelRow { bridged: false, ..row(3, "10.0.0.2") };
    assert!(fib.handle_checked(now, vni(), mac(3), Some(&half)), "half");
    let plain = KernelRow { ext_learned: false, ..row(4, "10.0.0.9") };
    assert!(fib.handle_checked(now, vni(), mac(4), Some(&plain)), "overwritten by hand");
    fib.set_unicast(now, vni(), mac(5), to("10.0.0.3"));
    assert!(!fib.handle_checked(now, vni(), mac(5), is(5, "10.0.0.2").as_ref()), "being written");
    fib.clear_unicast(now, vni(), mac(6), true);
    assert!(!fib.handle_checked(now, vni(), mac(6), None), "not wanted any more");
    assert!(!fib.handle_checked(now, vni(), mac(9999), None), "unknown");
    let ops = carry_out(&mut fib, now);
    let of = |number| ops.iter().filter(|op| op.mac == mac(number)).map(|op| op.kind).collect::<Vec<_>>();
    assert_eq!(of(0), []);
    for number in 1..4 {
        assert_eq!(of(number), [OpKind::ReplaceUnicast], "{number}");
    }
    assert_eq!(of(4), [OpKind::RestoreUnicast]);
    assert_eq!((fib.stats().healed, fib.stats().differences), (4, 4));
}

/// However slow the kernel is, what waits is bits over rows: a bounded number of batches, and no memory that grows.
#[test]
fn a_kernel_that_does_not_answer_costs_no_memory() {
    let mut fib = with_rows(20_000);
    let memory = fib.memory();
    let (mut batches, mut ops) = (0, 0);
    for round in 0..200u64 {
        let ip = if round % 2 == 0 { "10.0.0.3" } else { "10.0.0.4" };
        for number in 0..20_000 {
            fib.set_unicast(secs(round), vni(), mac(number), to(ip));
            fib.handle_row_gone(secs(round), vni(), &row(number, ip));
        }
        while let Some(batch) = fib.poll_batch(secs(round)) {
            batches += 1;
            ops += batch.ops.len();
        }
    }
    assert!(batches <= 128 && ops <= 128 * 65, "{batches} batches, {ops} ops");
    assert!(fib.dirty_count() <= 20_000);
    assert!(fib.memory() <= memory + 20_000 * 64, "{} octets, {memory} before", fib.memory());
}
