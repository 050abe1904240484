//! Rows and neighbours on demand: what sleeps, wakes, lives and is put to sleep, one line of words each. See `src/fib/demand.rs`.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use evpnd::base::{MacAddr, Random, Time, Vni};
use evpnd::fib::{
    Batch, BatchDone, Binding, Fib, KernelNeighbor, KernelRow, NeighborOwner, Op, OpKind, Remote, RowCounts, Status,
};

const LIFE: Duration = Duration::from_secs(300);
const BRIDGE: u32 = 9;
const REPLACE: OpKind = OpKind::ReplaceUnicast;
const DELETE: OpKind = OpKind::DeleteUnicast { self_only: false };

fn vni(number: u32) -> Vni {
    Vni::new(number).unwrap()
}
fn mac(number: u32) -> MacAddr {
    let [_, a, b, c] = number.to_be_bytes();
    MacAddr([2, 0, 0, a, b, c])
}
fn to(last: u8) -> Remote {
    Remote { ip: IpAddr::from([10, 0, 0, last]), vni: None }
}
fn secs(secs: u64) -> Time {
    Time::from_secs(secs)
}
fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
fn ready() -> Fib {
    let mut fib = Fib::new(1);
    fib.set_on_demand(secs(0), vni(100), Some(LIFE));
    fib.device_ready(secs(0), vni(100), 7, Some(false), vec![]);
    fib.handle_neighbors(secs(0), vni(100), BRIDGE, &[]);
    fib.sweep(secs(0));
    fib
}
/// Cuts and acknowledges all there is.
fn write(fib: &mut Fib, now: Time) -> Vec<Op> {
    let mut all = Vec::new();
    while let Some(Batch { id, ops }) = fib.poll_batch(now) {
        fib.handle_batch_done(now, &BatchDone { id, ..BatchDone::default() });
        all.extend(ops);
    }
    all
}
fn kinds(fib: &mut Fib, now: Time) -> Vec<(OpKind, MacAddr)> {
    write(fib, now).into_iter().map(|op| (op.kind, op.mac)).collect()
}
fn status(fib: &Fib, mac: MacAddr) -> Option<Status> {
    Some(fib.unicast(vni(100), mac)?.status)
}
/// Serves the timer at `now`: each row that is read was idle for so long.
fn look(fib: &mut Fib, now: Time, idle: Duration) -> Vec<MacAddr> {
    let read = fib.poll_lives(now);
    for (vni, mac) in &read {
        fib.handle_idle(now, *vni, *mac, idle);
    }
    read.into_iter().map(|(_, mac)| mac).collect()
}

#[test]
fn a_hundred_thousand_wishes_write_nothing_and_a_miss_writes_its_own() {
    let mut fib = ready();
    for n in 0..100_000 {
        fib.set_unicast(secs(1), vni(100), mac(n), to(2));
    }
    assert_eq!(write(&mut fib, secs(1)), []);
    assert_eq!(fib.look_timeout(), None, "nothing lives, nothing is looked at");
    let (all, by_vni) = fib.counts();
    assert_eq!(all, RowCounts { wanted: 100_000, on_demand: 100_000, ..RowCounts::default() });
    assert_eq!(by_vni[&vni(100)], all);
    assert!(fib.memory() < 100_000 * 40, "{}", fib.memory());
    let view = fib.unicast(vni(100), mac(5)).unwrap();
    assert_eq!((view.wanted, view.installed, view.status), (Some(to(2)), None, Status::OnDemand));
    fib.handle_missed(secs(2), vni(100), mac(5));
    fib.handle_missed(secs(2), vni(100), mac(5));
    assert_eq!(kinds(&mut fib, secs(2)), [(REPLACE, mac(5))]);
    assert_eq!(status(&fib, mac(5)), Some(Status::InSync));
    assert_eq!(fib.counts().0, RowCounts { wanted: 100_000, on_demand: 99_999, in_sync: 1, ..RowCounts::default() });
    assert_eq!((fib.stats().misses, fib.stats().woken, fib.stats().misses_unknown), (2, 1, 0));
    assert_eq!(fib.diff(vni(100), &[KernelRow::new(mac(5), to(2))]), [], "what sleeps is no difference");
}

#[test]
fn a_miss_of_what_nobody_announces_is_counted_and_writes_nothing() {
    let mut fib = ready();
    fib.handle_missed(secs(1), vni(100), mac(1));
    fib.handle_missed(secs(1), vni(200), mac(1));
    assert_eq!(write(&mut fib, secs(1)), []);
    assert_eq!((fib.stats().misses, fib.stats().misses_unknown), (2, 1));
    assert!(fib.is_empty());
}

#[test]
fn a_row_in_use_lives_on_and_an_idle_one_sleeps_again() {
    let mut fib = ready();
    for n in [1, 2] {
        fib.set_unicast(secs(1), vni(100), mac(n), to(2));
        fib.handle_missed(secs(10), vni(100), mac(n));
    }
    write(&mut fib, secs(10));
    assert_eq!(fib.look_timeout(), Some(secs(310)));
    assert_eq!(look(&mut fib, secs(310), Duration::from_secs(100)), [mac(1), mac(2)], "used 100 s ago");
    assert_eq!(fib.look_timeout(), Some(secs(510)));
    assert_eq!(write(&mut fib, secs(310)), []);
    assert_eq!(look(&mut fib, secs(510), LIFE), [mac(1), mac(2)]);
    assert_eq!(kinds(&mut fib, secs(510)), [(DELETE, mac(1)), (DELETE, mac(2))]);
    assert_eq!(status(&fib, mac(1)), Some(Status::OnDemand));
    assert_eq!((fib.stats().put_to_sleep, fib.asleep_count(), fib.look_timeout()), (2, 2, None));
    fib.handle_missed(secs(600), vni(100), mac(1));
    assert_eq!(kinds(&mut fib, secs(600)), [(REPLACE, mac(1))], "and wakes again");
}

#[test]
fn a_row_whose_reading_is_never_answered_lives_on_and_is_read_again() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to(2));
    fib.handle_missed(secs(10), vni(100), mac(1));
    write(&mut fib, secs(10));
    assert_eq!(fib.poll_lives(secs(310)), [(vni(100), mac(1))]);
    assert_eq!(fib.poll_lives(secs(310)), [], "not before its time");
    assert_eq!(fib.poll_lives(secs(610)), [(vni(100), mac(1))]);
    assert_eq!(status(&fib, mac(1)), Some(Status::InSync));
}

#[test]
fn many_lives_that_end_together_are_read_in_slices() {
    let mut fib = ready();
    for n in 0..1000 {
        fib.set_unicast(secs(1), vni(100), mac(n), to(2));
        fib.handle_missed(secs(1), vni(100), mac(n));
    }
    write(&mut fib, secs(1));
    let mut now = secs(301);
    let first = fib.poll_lives(now);
    assert_eq!(first.len(), 256);
    assert_eq!(fib.poll_lives(now), [], "the next slice comes later");
    let mut read = first.len();
    while read < 1000 {
        now = fib.look_timeout().unwrap();
        read += fib.poll_lives(now).len();
    }
    assert_eq!((read, now), (1000, secs(301) + Duration::from_millis(300)));
}

#[test]
fn a_mac_that_moves_while_it_sleeps_wakes_where_it_is_and_while_awake_is_moved_at_once() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to(2));
    fib.set_unicast(secs(2), vni(100), mac(1), to(3));
    assert_eq!(write(&mut fib, secs(2)), []);
    fib.handle_missed(secs(3), vni(100), mac(1));
    assert_eq!(write(&mut fib, secs(3))[0].remote, to(3));
    fib.set_unicast(secs(4), vni(100), mac(1), to(4));
    assert_eq!(write(&mut fib, secs(4))[0].remote, to(4));
    assert_eq!(fib.asleep_count(), 0);
    assert_eq!(fib.remote_count(), 1, "no remote is held that nothing leads to");
}

#[test]
fn what_is_withdrawn_while_it_sleeps_is_forgotten_and_while_awake_deleted() {
    let mut fib = ready();
    for n in [1, 2] {
        fib.set_unicast(secs(1), vni(100), mac(n), to(2));
    }
    fib.handle_missed(secs(1), vni(100), mac(2));
    write(&mut fib, secs(1));
    for n in [1, 2] {
        fib.clear_unicast(secs(2), vni(100), mac(n), false);
    }
    assert_eq!(kinds(&mut fib, secs(2)), [(DELETE, mac(2))]);
    assert!(fib.is_empty() && fib.asleep_count() == 0 && fib.remote_count() == 0 && fib.look_timeout().is_none());
    fib.handle_missed(secs(3), vni(100), mac(1));
    assert_eq!(write(&mut fib, secs(3)), []);
}

#[test]
fn a_wish_that_comes_back_while_its_row_is_being_put_to_sleep_wakes_with_a_miss() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to(2));
    fib.handle_missed(secs(1), vni(100), mac(1));
    write(&mut fib, secs(1));
    look(&mut fib, secs(301), LIFE);
    let deleting = fib.poll_batch(secs(301)).unwrap();
    assert_eq!(fib.unicast(vni(100), mac(1)).unwrap().installed, Some(to(2)), "the kernel has it yet");
    fib.set_unicast(secs(301), vni(100), mac(1), to(3));
    fib.handle_missed(secs(301), vni(100), mac(1));
    fib.handle_batch_done(secs(301), &BatchDone { id: deleting.id, ..BatchDone::default() });
    assert_eq!(write(&mut fib, secs(301))[0].remote, to(3));
    assert_eq!(status(&fib, mac(1)), Some(Status::InSync));
}

#[test]
fn no_more_rows_are_awake_than_may_be() {
    let mut fib = ready();
    fib.set_awake_limit(2);
    for n in 0..3 {
        fib.set_unicast(secs(1), vni(100), mac(n), to(2));
        fib.handle_missed(secs(2), vni(100), mac(n));
    }
    assert_eq!(write(&mut fib, secs(2)).len(), 2);
    assert_eq!(fib.stats().awake_over_limit, 1);
    look(&mut fib, secs(302), LIFE);
    fib.handle_missed(secs(303), vni(100), mac(2));
    assert!(kinds(&mut fib, secs(303)).contains(&(REPLACE, mac(2))), "there is room again");
}

#[test]
fn what_stood_before_a_restart_and_is_wanted_stays_for_a_life() {
    let stood = || vec![KernelRow::new(mac(1), to(2)), KernelRow::new(mac(2), to(2)), KernelRow::new(mac(3), to(2))];
    // The routes come before the device is read, and after it.
    for routes_first in [true, false] {
        let mut fib = Fib::new(1);
        fib.set_on_demand(secs(0), vni(100), Some(LIFE));
        let wish = |fib: &mut Fib| {
            for (n, remote) in [(1, to(2)), (2, to(3)), (4, to(2))] {
                fib.set_unicast(secs(1), vni(100), mac(n), remote);
            }
        };
        if routes_first {
            wish(&mut fib);
        }
        fib.device_ready(secs(1), vni(100), 7, Some(false), stood());
        if !routes_first {
            wish(&mut fib);
        }
        let moved = write(&mut fib, secs(1));
        assert_eq!(moved.iter().map(|op| (op.mac, op.remote)).collect::<Vec<_>>(), [(mac(2), to(3))], "one stands elsewhere");
        fib.sweep(secs(2));
        assert_eq!(kinds(&mut fib, secs(2)), [(DELETE, mac(3))], "nobody wants it");
        let found = [1, 2, 3, 4].map(|n| status(&fib, mac(n)));
        assert_eq!(found, [Some(Status::InSync), Some(Status::InSync), None, Some(Status::OnDemand)]);
        look(&mut fib, secs(302), LIFE);
        assert_eq!(kinds(&mut fib, secs(302)), [(DELETE, mac(1)), (DELETE, mac(2))]);
    }
}

#[test]
fn a_row_deleted_behind_our_back_is_put_back_while_it_is_awake_only() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to(2));
    fib.handle_missed(secs(1), vni(100), mac(1));
    write(&mut fib, secs(1));
    assert!(fib.handle_row_gone(secs(60), vni(100), &KernelRow::new(mac(1), to(2))));
    assert_eq!(kinds(&mut fib, secs(60)), [(REPLACE, mac(1))]);
    look(&mut fib, secs(301), LIFE);
    write(&mut fib, secs(301));
    assert!(!fib.handle_row_gone(secs(302), vni(100), &KernelRow::new(mac(1), to(2))), "the echo of our delete");
    assert_eq!(write(&mut fib, secs(302)), []);
}

#[test]
fn a_mac_that_was_at_a_port_here_is_written_though_nobody_talks_to_it() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to(2));
    fib.keep_awake(secs(1), vni(100), mac(1));
    assert_eq!(kinds(&mut fib, secs(1)), [(REPLACE, mac(1))], "else the bridge would keep its port");
    fib.set_unicast(secs(2), vni(100), mac(2), to(2));
    fib.reassert(secs(2), vni(100), mac(2));
    assert_eq!(kinds(&mut fib, secs(2)), [(REPLACE, mac(2))], "a port took the bridge's half of what may not move");
}

#[test]
fn on_demand_and_back_while_it_runs() {
    let mut fib = ready();
    fib.set_on_demand(secs(0), vni(100), None);
    for n in 0..3 {
        fib.set_unicast(secs(1), vni(100), mac(n), to(2));
    }
    assert_eq!(write(&mut fib, secs(1)).len(), 3);
    fib.set_unicast(secs(2), vni(100), mac(3), to(2));
    fib.set_on_demand(secs(2), vni(100), Some(LIFE));
    assert_eq!(write(&mut fib, secs(2)), [], "what was not written yet sleeps");
    assert_eq!([0, 3].map(|n| status(&fib, mac(n))), [Some(Status::InSync), Some(Status::OnDemand)], "what stands lives");
    look(&mut fib, secs(302), LIFE);
    assert_eq!(write(&mut fib, secs(302)).len(), 3);
    fib.set_on_demand(secs(303), vni(100), None);
    assert_eq!(write(&mut fib, secs(303)).len(), 4, "all are written");
    assert_eq!((fib.asleep_count(), fib.look_timeout()), (0, None));
}

#[test]
fn a_vni_that_leaves_takes_its_sleepers_along() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to(2));
    fib.clear_unicast(secs(2), vni(100), mac(1), false);
    assert!(fib.is_cleared(vni(100)));
    fib.set_on_demand(secs(2), vni(100), None);
    fib.device_gone(vni(100));
    // Another VNI gets its slot, and is not on demand by that.
    fib.device_ready(secs(3), vni(200), 8, Some(false), vec![]);
    fib.set_unicast(secs(3), vni(200), mac(1), to(2));
    assert_eq!(write(&mut fib, secs(3)).len(), 1);
}

// ---- neighbours -----------------------------------------------------------------------------------------------------

fn binding(number: u32) -> Binding {
    Binding { mac: mac(number), router: false }
}

#[test]
fn a_question_wakes_the_neighbour_and_the_row_of_its_mac() {
    let mut fib = ready();
    for (text, n) in [("192.0.2.1", 1), ("2001:db8::2", 2)] {
        fib.set_unicast(secs(1), vni(100), mac(n), to(2));
        fib.set_neighbor(secs(1), vni(100), ip(text), binding(n));
        assert_eq!(write(&mut fib, secs(1)), []);
        assert_eq!(fib.neighbor(vni(100), ip(text)).unwrap().status, Status::OnDemand);
        fib.handle_asked(secs(2), vni(100), ip(text));
        let neighbor = OpKind::ReplaceNeighbor { router: false };
        assert_eq!(kinds(&mut fib, secs(2)), [(REPLACE, mac(n)), (neighbor, mac(n))]);
        assert_eq!(fib.neighbor(vni(100), ip(text)).unwrap().status, Status::InSync);
    }
    fib.handle_asked(secs(3), vni(100), ip("192.0.2.99"));
    assert_eq!((fib.stats().asked_unknown, fib.stats().woken), (1, 4));
    assert_eq!(write(&mut fib, secs(3)), []);
}

#[test]
fn a_neighbour_lives_as_long_as_the_row_of_its_mac() {
    let mut fib = ready();
    fib.set_unicast(secs(1), vni(100), mac(1), to(2));
    fib.set_neighbor(secs(1), vni(100), ip("192.0.2.1"), binding(1));
    fib.handle_asked(secs(1), vni(100), ip("192.0.2.1"));
    write(&mut fib, secs(1));
    look(&mut fib, secs(301), Duration::from_secs(1));
    assert_eq!(write(&mut fib, secs(301)), []);
    look(&mut fib, secs(600), LIFE);
    assert_eq!(kinds(&mut fib, secs(600)), [(DELETE, mac(1))]);
    look(&mut fib, secs(601), LIFE);
    assert_eq!(write(&mut fib, secs(601)).iter().map(|op| op.kind).collect::<Vec<_>>(), [OpKind::DeleteNeighbor]);
    assert_eq!(fib.neighbor(vni(100), ip("192.0.2.1")).unwrap().status, Status::OnDemand);
    assert_eq!(fib.diff_neighbors(vni(100), &[]), []);
    fib.clear_neighbor(secs(602), vni(100), ip("192.0.2.1"));
    assert_eq!((write(&mut fib, secs(602)), fib.neighbor(vni(100), ip("192.0.2.1"))), (vec![], None));
}

#[test]
fn neighbours_of_hosts_here_are_always_there() {
    let mut fib = ready();
    fib.set_own_neighbor(secs(1), vni(100), ip("192.0.2.1"), binding(1));
    assert_eq!(write(&mut fib, secs(1)).len(), 1);
    assert_eq!(fib.look_timeout(), None);
    // It moves away: as any other from now on.
    fib.set_neighbor(secs(2), vni(100), ip("192.0.2.1"), binding(1));
    assert_eq!(fib.look_timeout(), Some(secs(302)));
    // And comes back.
    fib.set_own_neighbor(secs(3), vni(100), ip("192.0.2.1"), binding(1));
    look(&mut fib, secs(302), LIFE);
    assert_eq!(write(&mut fib, secs(302)), []);
}

#[test]
fn a_neighbour_that_stood_before_a_restart_and_is_wanted_stays_for_a_life() {
    let stands = KernelNeighbor { ip: ip("192.0.2.1"), binding: Some(binding(1)), owner: NeighborOwner::Ours };
    for routes_first in [true, false] {
        let mut fib = Fib::new(1);
        fib.set_on_demand(secs(0), vni(100), Some(LIFE));
        if routes_first {
            fib.set_neighbor(secs(1), vni(100), stands.ip, binding(1));
        }
        assert_eq!(fib.handle_neighbors(secs(1), vni(100), BRIDGE, &[stands]), 0);
        fib.set_neighbor(secs(1), vni(100), stands.ip, binding(1));
        assert_eq!(write(&mut fib, secs(1)), []);
        assert_eq!(fib.neighbor(vni(100), stands.ip).unwrap().status, Status::InSync);
        look(&mut fib, secs(301), LIFE);
        assert_eq!(write(&mut fib, secs(301)).len(), 1, "its life is over");
    }
}

// ---- any history ------------------------------------------------------------------------------------------------------

/// Whatever comes in whatever order: the kernel holds only what is wanted, what was missed last is there, and when everybody is
/// silent for a life nothing is left.
#[test]
fn any_history_ends_with_an_empty_kernel_or_the_right_one() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut fib = ready();
        let (mut kernel, mut wanted) = (BTreeMap::<MacAddr, Remote>::new(), BTreeMap::<MacAddr, Remote>::new());
        let mut now = secs(1);
        let mut flying: Vec<Batch> = Vec::new();
        let land = |fib: &mut Fib, kernel: &mut BTreeMap<MacAddr, Remote>, now: Time, batch: Batch| {
            for op in &batch.ops {
                match op.kind {
                    OpKind::DeleteUnicast { .. } => kernel.remove(&op.mac),
                    _ => kernel.insert(op.mac, op.remote),
                };
            }
            fib.handle_batch_done(now, &BatchDone { id: batch.id, ..BatchDone::default() });
        };
        for _ in 0..200 {
            let mac = mac(random.below(6) as u32);
            match random.below(9) {
                0..=2 => {
                    let remote = to(random.below(3) as u8 + 2);
                    wanted.insert(mac, remote);
                    fib.set_unicast(now, vni(100), mac, remote);
                }
                3 => {
                    wanted.remove(&mac);
                    fib.clear_unicast(now, vni(100), mac, false);
                }
                4 => fib.handle_missed(now, vni(100), mac),
                5 => {
                    now = now + Duration::from_secs(random.below(200));
                    let idle = Duration::from_secs(random.below(600));
                    look(&mut fib, now, idle);
                }
                6 => flying.extend(fib.poll_batch(now)),
                7 if !flying.is_empty() => land(&mut fib, &mut kernel, now, flying.remove(0)),
                _ => {
                    let rows: Vec<KernelRow> = kernel.iter().map(|(mac, remote)| KernelRow::new(*mac, *remote)).collect();
                    fib.handle_rows(now, vni(100), &rows);
                }
            }
        }
        let settle = |fib: &mut Fib, kernel: &mut BTreeMap<MacAddr, Remote>, flying: &mut Vec<Batch>, now: Time| {
            while let Some(batch) = flying.pop().or_else(|| fib.poll_batch(now)) {
                land(fib, kernel, now, batch);
            }
        };
        flying.reverse();
        settle(&mut fib, &mut kernel, &mut flying, now);
        for (mac, remote) in &kernel {
            assert_eq!(wanted.get(mac), Some(remote), "seed {seed}: {mac} stands");
        }
        for (mac, remote) in &wanted {
            let view = fib.unicast(vni(100), *mac).unwrap();
            assert_eq!(view.wanted, Some(*remote), "seed {seed}");
            assert_eq!(view.status == Status::InSync, kernel.contains_key(mac), "seed {seed}: {mac} {view:?}");
        }
        for mac in wanted.keys() {
            fib.handle_missed(now, vni(100), *mac);
        }
        settle(&mut fib, &mut kernel, &mut flying, now);
        assert_eq!(kernel, wanted, "seed {seed}: all were missed");
        for _ in 0..20 {
            now = now + LIFE;
            look(&mut fib, now, LIFE);
            settle(&mut fib, &mut kernel, &mut flying, now);
        }
        assert_eq!((kernel.len(), fib.len(), fib.asleep_count()), (0, 0, wanted.len()), "seed {seed}");
        for mac in wanted.keys() {
            fib.clear_unicast(now, vni(100), *mac, false);
        }
        assert_eq!((fib.asleep_count(), fib.remote_count(), fib.look_timeout()), (0, 0, None), "seed {seed}");
    }
}
