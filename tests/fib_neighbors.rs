//! Neighbours of bridges as the FIB keeps them: wishes, writes, failures, adoption, healing. See `src/fib/neighbors.rs`.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::time::Duration;

use evpnd::base::{MacAddr, Time, Vni};
use evpnd::fib::{Batch, BatchDone, Binding, Fib, Fought, KernelNeighbor, NeighborOwner, OpKind, Over, Status};

const BRIDGE: u32 = 9;

fn vni() -> Vni {
    Vni::new(100).unwrap()
}
fn secs(secs: u64) -> Time {
    Time::from_secs(secs)
}
fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
fn to(number: u8) -> Binding {
    Binding { mac: MacAddr([2, 0, 0, 0, 0, number]), router: false }
}
fn stands(text: &str, binding: Binding, owner: NeighborOwner) -> KernelNeighbor {
    KernelNeighbor { ip: ip(text), binding: Some(binding), owner }
}

fn ready() -> Fib {
    let mut fib = Fib::new(1);
    fib.handle_neighbors(secs(1), vni(), BRIDGE, &[]);
    fib
}

/// The ops of everything that is to be written now, with `errnos` for the first batch.
fn step_with(fib: &mut Fib, now: Time, errors: &[(u32, i32)]) -> Vec<(OpKind, IpAddr)> {
    let (mut all, mut errors) = (vec![], errors.to_vec());
    while let Some(Batch { id, ops }) = fib.poll_batch(now) {
        assert!(ops.iter().all(|op| op.ifindex == BRIDGE));
        fib.handle_batch_done(now, &BatchDone { id, errors: std::mem::take(&mut errors), ..BatchDone::default() });
        all.extend(ops.iter().map(|op| (op.kind, op.remote.ip)));
    }
    all
}
fn step(fib: &mut Fib, now: Time) -> Vec<(OpKind, IpAddr)> {
    step_with(fib, now, &[])
}
fn status(fib: &Fib, text: &str) -> Option<Status> {
    Some(fib.neighbor(vni(), ip(text))?.status)
}

const REPLACE: OpKind = OpKind::ReplaceNeighbor { router: false };

#[test]
fn wished_written_changed_and_taken_away() {
    let mut fib = ready();
    for text in ["192.0.2.1", "2001:db8::1"] {
        fib.set_neighbor(secs(1), vni(), ip(text), to(1));
        assert_eq!(status(&fib, text), Some(Status::Dirty));
        assert_eq!(step(&mut fib, secs(1)), [(REPLACE, ip(text))]);
        assert_eq!(status(&fib, text), Some(Status::InSync));
        fib.set_neighbor(secs(2), vni(), ip(text), to(1));
        assert_eq!(step(&mut fib, secs(2)), [], "nothing changed");
        fib.set_neighbor(secs(2), vni(), ip(text), Binding { router: true, ..to(1) });
        assert_eq!(step(&mut fib, secs(2)), [(OpKind::ReplaceNeighbor { router: true }, ip(text))]);
        fib.clear_neighbor(secs(3), vni(), ip(text));
        assert_eq!(step(&mut fib, secs(3)), [(OpKind::DeleteNeighbor, ip(text))]);
        assert_eq!(status(&fib, text), None);
    }
    assert_eq!((fib.neighbor_count(), fib.is_settled(), fib.is_cleared(vni())), (0, true, true));
    assert_eq!((fib.stats().neighbors_written, fib.stats().neighbors_deleted), (4, 2));
}

#[test]
fn before_there_is_a_bridge_nothing_is_written_and_after_it_went_all_is_again() {
    let mut fib = Fib::new(1);
    fib.set_neighbor(secs(1), vni(), ip("192.0.2.1"), to(1));
    assert_eq!((step(&mut fib, secs(1)), status(&fib, "192.0.2.1")), (vec![], Some(Status::NoDevice)));
    fib.handle_neighbors(secs(2), vni(), BRIDGE, &[]);
    assert_eq!(step(&mut fib, secs(2)), [(REPLACE, ip("192.0.2.1"))]);
    fib.neighbors_gone(vni());
    fib.handle_neighbors(secs(3), vni(), BRIDGE, &[]);
    assert_eq!(step(&mut fib, secs(3)), [(REPLACE, ip("192.0.2.1"))]);
    fib.neighbors_gone(vni());
    fib.clear_neighbor(secs(4), vni(), ip("192.0.2.1"));
    assert_eq!(fib.neighbor_count(), 0, "nothing is kept of what nobody wants where nothing can stand");
}

#[test]
fn a_bridge_that_goes_with_a_batch_under_way_gets_all_anew() {
    let mut fib = ready();
    fib.set_neighbor(secs(1), vni(), ip("192.0.2.1"), to(1));
    let batch = fib.poll_batch(secs(1)).unwrap();
    fib.neighbors_gone(vni());
    fib.handle_neighbors(secs(1), vni(), BRIDGE, &[]);
    fib.handle_batch_done(secs(2), &BatchDone { id: batch.id, ..BatchDone::default() });
    assert_eq!(step(&mut fib, secs(2)), [(REPLACE, ip("192.0.2.1"))]);
}

#[test]
fn what_the_kernel_refuses_is_tried_again_ever_more_rarely() {
    let mut fib = ready();
    fib.set_neighbor(secs(1), vni(), ip("192.0.2.1"), to(1));
    step_with(&mut fib, secs(1), &[(0, 12)]);
    assert!(matches!(status(&fib, "192.0.2.1"), Some(Status::Failed { errno: 12, attempts: 1, .. })));
    let mut waits = vec![];
    let mut now = secs(1);
    for _ in 0..10 {
        let at = fib.poll_timeout().unwrap();
        waits.push(at.since(now).as_millis());
        now = at;
        fib.handle_timeout(now);
        assert_eq!(step_with(&mut fib, now, &[(0, 12)]).len(), 1);
    }
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    fib.handle_timeout(fib.poll_timeout().unwrap());
    assert_eq!(step(&mut fib, now).len(), 1);
    assert_eq!((status(&fib, "192.0.2.1"), fib.poll_timeout()), (Some(Status::InSync), None));
    // IPv6 turned off on the bridge: no repetition mends that soon.
    fib.set_neighbor(now, vni(), ip("2001:db8::1"), to(1));
    step_with(&mut fib, now, &[(0, 22)]);
    assert_eq!(fib.poll_timeout().unwrap().since(now), Duration::from_secs(300));
    fib.clear_neighbor(now, vni(), ip("2001:db8::1"));
    assert_eq!(step_with(&mut fib, now, &[(0, 2)]), [(OpKind::DeleteNeighbor, ip("2001:db8::1"))]);
    assert_eq!((fib.neighbor_count(), fib.poll_timeout()), (1, None), "what was not there is gone");
}

#[test]
fn a_batch_that_could_not_be_sent_is_sent_again() {
    let mut fib = ready();
    fib.set_neighbor(secs(1), vni(), ip("192.0.2.1"), to(1));
    let batch = fib.poll_batch(secs(1)).unwrap();
    fib.handle_batch_done(secs(1), &BatchDone { id: batch.id, fatal: Some("no".to_owned()), ..BatchDone::default() });
    assert!(matches!(status(&fib, "192.0.2.1"), Some(Status::Failed { errno: 5, .. })));
    fib.handle_timeout(secs(2));
    assert_eq!(step(&mut fib, secs(2)).len(), 1);
}

#[test]
fn a_restart_confirms_what_stands_and_sweeps_the_rest() {
    let ours = NeighborOwner::Ours;
    let mut fib = Fib::new(1);
    fib.set_neighbor(secs(1), vni(), ip("192.0.2.1"), to(1));
    fib.handle_neighbors(
        secs(1),
        vni(),
        BRIDGE,
        &[
            stands("192.0.2.1", to(1), ours),
            stands("192.0.2.2", to(2), ours),
            stands("192.0.2.3", to(3), ours),
            stands("192.0.2.4", to(4), ours),
            stands("192.0.2.5", to(5), NeighborOwner::Operator),
            stands("192.0.2.6", to(6), NeighborOwner::Other),
        ],
    );
    assert_eq!(step(&mut fib, secs(1)), [], "nothing is written or deleted before it is known what is wanted");
    assert_eq!(status(&fib, "192.0.2.2"), Some(Status::Unconfirmed));
    fib.set_neighbor(secs(2), vni(), ip("192.0.2.2"), to(2));
    fib.set_neighbor(secs(2), vni(), ip("192.0.2.3"), to(9));
    assert_eq!(step(&mut fib, secs(2)), [(REPLACE, ip("192.0.2.3"))], "only what changed meanwhile");
    fib.sweep(secs(3));
    assert_eq!(step(&mut fib, secs(3)), [(OpKind::DeleteNeighbor, ip("192.0.2.4"))]);
    assert_eq!((fib.stats().adopted, fib.stats().swept), (3, 1));
}

#[test]
fn the_operators_own_is_left_alone_and_what_the_host_found_out_is_written_over() {
    let mut fib = Fib::new(1);
    let theirs = stands("192.0.2.1", to(7), NeighborOwner::Operator);
    fib.set_neighbor(secs(1), vni(), ip("192.0.2.1"), to(1));
    fib.set_neighbor(secs(1), vni(), ip("192.0.2.2"), to(2));
    fib.handle_neighbors(secs(1), vni(), BRIDGE, &[theirs, stands("192.0.2.2", to(8), NeighborOwner::Other)]);
    assert_eq!(step(&mut fib, secs(1)), [(REPLACE, ip("192.0.2.2"))]);
    assert_eq!(status(&fib, "192.0.2.1"), Some(Status::Operator));
    fib.handle_neighbor_gone(secs(2), vni(), ip("192.0.2.1"));
    assert_eq!(step(&mut fib, secs(2)), [(REPLACE, ip("192.0.2.1"))], "when it goes, ours comes");
    fib.handle_neighbor_changed(secs(10), vni(), &theirs);
    assert_eq!((step(&mut fib, secs(10)), status(&fib, "192.0.2.1")), (vec![], Some(Status::Operator)));
    fib.clear_neighbor(secs(11), vni(), ip("192.0.2.1"));
    assert_eq!(step(&mut fib, secs(11)), [], "the operator's is not ours to delete");
}

#[test]
fn removed_or_changed_behind_our_back_it_is_put_back_but_not_for_ever_at_once() {
    let mut fib = ready();
    fib.set_neighbor(secs(1), vni(), ip("192.0.2.1"), to(1));
    step(&mut fib, secs(1));
    assert!(!fib.handle_neighbor_gone(secs(2), vni(), ip("192.0.2.1")), "most likely an echo of what was before");
    assert_eq!(step(&mut fib, secs(2)).len(), 1, "written all the same");
    let other = stands("192.0.2.1", to(8), NeighborOwner::Other);
    assert!(fib.handle_neighbor_changed(secs(20), vni(), &other));
    assert_eq!(step(&mut fib, secs(20)).len(), 1);
    assert!(fib.handle_neighbor_gone(secs(30), vni(), ip("192.0.2.1")));
    assert_eq!(step(&mut fib, secs(30)).len(), 1);
    assert!(fib.handle_neighbor_gone(secs(31), vni(), ip("192.0.2.1")));
    assert_eq!(step(&mut fib, secs(31)), [], "somebody does it again and again");
    fib.handle_timeout(fib.poll_timeout().unwrap());
    assert_eq!((step(&mut fib, secs(32)).len(), fib.stats().fights), (1, 1));
    let fought = Fought { vni: vni(), over: Over::Neighbor { ip: ip("192.0.2.1"), wanted: Some(to(1)) } };
    assert_eq!(fib.take_fights(), (vec![fought], 0), "told of once");
    assert_eq!((fib.fought_count(secs(60)), fib.fought_count(secs(200))), (1, 0), "it is on until they have left it alone");
    assert!(fib.handle_neighbor_gone(secs(200), vni(), ip("192.0.2.1")));
    assert_eq!(step(&mut fib, secs(200)).len(), 1, "forgotten after a quiet while");
}

#[test]
fn a_bridge_that_is_set_down_again_and_again_is_no_fight() {
    let mut fib = ready();
    fib.set_neighbor(secs(1), vni(), ip("192.0.2.1"), to(1));
    step(&mut fib, secs(1));
    for now in (10..60).step_by(5) {
        fib.handle_neighbor_lost(secs(now), vni(), ip("192.0.2.1"));
        assert_eq!(step(&mut fib, secs(now)), [(REPLACE, ip("192.0.2.1"))], "at once, each time");
    }
    let stats = fib.stats();
    assert_eq!((stats.healed, stats.put_off, stats.fights, fib.fought_count(secs(60))), (0, 0, 0, 0));
    // One that was under way is written once more.
    fib.set_neighbor(secs(70), vni(), ip("192.0.2.1"), to(2));
    let batch = fib.poll_batch(secs(70)).unwrap();
    fib.handle_neighbor_lost(secs(70), vni(), ip("192.0.2.1"));
    fib.handle_batch_done(secs(70), &BatchDone { id: batch.id, ..BatchDone::default() });
    assert_eq!((step(&mut fib, secs(70)).len(), step(&mut fib, secs(70)).len()), (1, 0));
}

#[test]
fn an_event_while_the_write_is_under_way_costs_one_write_more() {
    let mut fib = ready();
    fib.set_neighbor(secs(1), vni(), ip("192.0.2.1"), to(1));
    let batch = fib.poll_batch(secs(1)).unwrap();
    fib.handle_neighbor_gone(secs(1), vni(), ip("192.0.2.1"));
    fib.handle_batch_done(secs(1), &BatchDone { id: batch.id, ..BatchDone::default() });
    assert_eq!((step(&mut fib, secs(1)).len(), step(&mut fib, secs(1)).len()), (1, 0));
}

/// Static neighbours that stand before anybody announces their addresses, as a device with `proxy` has them.
#[test]
fn an_operators_that_stood_before_it_was_wanted_is_not_written_over() {
    let mut fib = Fib::new(1);
    let theirs = |number: u8| stands(&format!("192.0.2.{number}"), to(number), NeighborOwner::Operator);
    fib.handle_neighbors(secs(0), vni(), BRIDGE, &[theirs(1)]);
    assert!(!fib.handle_neighbor_changed(secs(1), vni(), &theirs(2)), "nor one that is written while we run");
    for number in [1, 2] {
        fib.set_neighbor(secs(2), vni(), ip(&format!("192.0.2.{number}")), to(number));
    }
    assert_eq!(step(&mut fib, secs(2)), []);
    assert_eq!(status(&fib, "192.0.2.1"), Some(Status::Operator));
    fib.clear_neighbor(secs(3), vni(), ip("192.0.2.1"));
    assert_eq!(step(&mut fib, secs(3)), [], "and not deleted");
    // When it goes ours may stand, or nothing is left to know.
    fib.handle_neighbor_gone(secs(4), vni(), ip("192.0.2.1"));
    fib.handle_neighbor_gone(secs(4), vni(), ip("192.0.2.2"));
    assert_eq!(step(&mut fib, secs(4)), [(REPLACE, ip("192.0.2.2"))]);
    assert_eq!(status(&fib, "192.0.2.1"), None);
}

#[test]
fn a_listing_finds_what_no_event_told_and_diff_shows_it() {
    let mut fib = ready();
    for number in 1..=3u8 {
        fib.set_neighbor(secs(1), vni(), ip(&format!("192.0.2.{number}")), to(number));
    }
    step(&mut fib, secs(1));
    fib.sweep(secs(1));
    let stranger = stands("192.0.2.9", to(9), NeighborOwner::Ours);
    let listing = [stands("192.0.2.1", to(1), NeighborOwner::Ours), stands("192.0.2.2", to(8), NeighborOwner::Other), stranger];
    let told: Vec<_> = fib.diff_neighbors(vni(), &listing).into_iter().map(|d| (d.ip, d.wanted, d.found)).collect();
    assert_eq!(
        told,
        [(ip("192.0.2.2"), Some(to(2)), Some(to(8))), (ip("192.0.2.3"), Some(to(3)), None), (ip("192.0.2.9"), None, Some(to(9)))]
    );
    assert_eq!(fib.handle_neighbors(secs(60), vni(), BRIDGE, &listing), 2);
    let mut ops = step(&mut fib, secs(60));
    ops.sort_by_key(|(_, ip)| *ip);
    assert_eq!(ops, [(REPLACE, ip("192.0.2.2")), (REPLACE, ip("192.0.2.3")), (OpKind::DeleteNeighbor, ip("192.0.2.9"))]);
    let all: Vec<_> = (1..=3u8).map(|n| stands(&format!("192.0.2.{n}"), to(n), NeighborOwner::Ours)).collect();
    assert_eq!((fib.diff_neighbors(vni(), &all), fib.handle_neighbors(secs(61), vni(), BRIDGE, &all)), (vec![], 0));
    // The operator's is one where it says something else.
    let operators = |second| [all[0], stands("192.0.2.2", to(second), NeighborOwner::Operator), all[2]];
    assert_eq!(fib.diff_neighbors(vni(), &operators(2)), []);
    assert_eq!(fib.diff_neighbors(vni(), &operators(8)).len(), 1);
    assert_eq!(step(&mut fib, secs(61)), []);
}

/// Whatever happens in whatever order, in the end the kernel holds what is wanted.
#[test]
fn random_histories_end_in_agreement() {
    for seed in 0..400 {
        let mut random = evpnd::base::Random::new(seed);
        let mut fib = ready();
        fib.sweep(secs(1));
        let mut kernel = std::collections::BTreeMap::<IpAddr, Binding>::new();
        let mut wanted = std::collections::BTreeMap::<IpAddr, Binding>::new();
        let mut under_way: Vec<Batch> = vec![];
        let mut now = secs(1);
        let carry_out = |kernel: &mut std::collections::BTreeMap<IpAddr, Binding>, batch: &Batch, refuse: bool| {
            let mut done = BatchDone { id: batch.id, ..BatchDone::default() };
            for (index, op) in (0u32..).zip(&batch.ops) {
                match op.kind {
                    _ if refuse => done.errors.push((index, 12)),
                    OpKind::ReplaceNeighbor { router } => {
                        kernel.insert(op.remote.ip, Binding { mac: op.mac, router });
                    }
                    _ if kernel.remove(&op.remote.ip).is_none() => done.errors.push((index, 2)),
                    _ => {}
                }
            }
            done
        };
        for _ in 0..200 {
            now = now + Duration::from_millis(random.below(2000));
            let address = IpAddr::from([192, 0, 2, random.below(4) as u8]);
            match random.below(9) {
                0 | 1 => {
                    let binding = to(random.below(3) as u8);
                    wanted.insert(address, binding);
                    fib.set_neighbor(now, vni(), address, binding);
                }
                2 => {
                    wanted.remove(&address);
                    fib.clear_neighbor(now, vni(), address);
                }
                3 | 4 => under_way.extend(fib.poll_batch(now)),
                5 if !under_way.is_empty() => {
                    let batch = under_way.remove(0);
                    let done = carry_out(&mut kernel, &batch, random.below(3) == 0);
                    fib.handle_batch_done(now, &done);
                }
                6 => {
                    if kernel.remove(&address).is_some() {
                        fib.handle_neighbor_gone(now, vni(), address);
                    }
                }
                7 => {
                    let listing: Vec<_> = kernel
                        .iter()
                        .map(|(&ip, &b)| KernelNeighbor { ip, binding: Some(b), owner: NeighborOwner::Ours })
                        .collect();
                    fib.handle_neighbors(now, vni(), BRIDGE, &listing);
                }
                _ => fib.handle_timeout(now),
            }
        }
        for _ in 0..100 {
            under_way.extend(fib.poll_batch(now));
            for batch in under_way.drain(..) {
                let done = carry_out(&mut kernel, &batch, false);
                fib.handle_batch_done(now, &done);
            }
            now = now + Duration::from_secs(31);
            fib.handle_timeout(now);
        }
        assert_eq!((&kernel, fib.is_settled()), (&wanted, true), "seed {seed}");
        assert_eq!(fib.neighbor_count(), wanted.len(), "seed {seed}: nothing is kept of what is gone");
    }
}

/// A bridge that has IPv6 off takes none of IPv6: known, so neither written, nor a failure, nor a difference, until it is on.
#[test]
fn where_ipv6_is_off_neighbours_of_ipv6_are_held_back() {
    const EINVAL: i32 = 22;
    let mut fib = ready();
    for text in ["192.0.2.1", "2001:db8::1", "2001:db8::2"] {
        fib.set_neighbor(secs(1), vni(), ip(text), to(1));
    }
    // The kernel room tells it before the batch that met it.
    let batch = fib.poll_batch(secs(1)).unwrap();
    fib.set_ipv6_off(secs(1), vni(), true);
    let refused = batch.ops.iter().zip(0..).filter(|(op, _)| op.remote.ip.is_ipv6()).map(|(_, index)| (index, EINVAL)).collect();
    fib.handle_batch_done(secs(1), &BatchDone { id: batch.id, errors: refused, ..BatchDone::default() });
    fib.set_neighbor(secs(2), vni(), ip("2001:db8::3"), to(2));
    assert_eq!(step(&mut fib, secs(900)), [], "nothing is tried again");
    let state = |fib: &Fib, text| status(fib, text).unwrap();
    assert_eq!(
        ["192.0.2.1", "2001:db8::1", "2001:db8::3"].map(|text| state(&fib, text)),
        [Status::InSync, Status::Ipv6Off, Status::Ipv6Off]
    );
    let four = [stands("192.0.2.1", to(1), NeighborOwner::Ours)];
    assert_eq!(fib.diff_neighbors(vni(), &four), []);
    assert_eq!(fib.handle_neighbors(secs(901), vni(), BRIDGE, &four), 0);
    let (counts, _) = fib.neighbor_counts();
    assert_eq!((counts.wanted, counts.in_sync, counts.failed, counts.dirty), (1, 1, 0, 0));
    assert_eq!((fib.stats().neighbors_failed, fib.stats().failed, fib.is_settled()), (0, 0, true));
    // One that nobody announces any more leaves nothing behind.
    fib.clear_neighbor(secs(902), vni(), ip("2001:db8::2"));
    assert_eq!(fib.neighbor(vni(), ip("2001:db8::2")), None);

    fib.set_ipv6_off(secs(903), vni(), false);
    let written = step(&mut fib, secs(903));
    assert_eq!(written, [(REPLACE, ip("2001:db8::1")), (REPLACE, ip("2001:db8::3"))]);
    // Off again: what the kernel forgets then is not put back.
    fib.set_ipv6_off(secs(904), vni(), true);
    assert!(!fib.handle_neighbor_gone(secs(904), vni(), ip("2001:db8::1")));
    assert_eq!((step(&mut fib, secs(905)), fib.stats().healed), (vec![], 0));
}
