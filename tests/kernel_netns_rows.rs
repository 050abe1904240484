//! Rows of the kernel room against the real kernel, and figures. See `kernel_stage.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "kernel_stage.rs"]
mod stage;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use evpnd::base::MacAddr;
use evpnd::fib::{Batch, KernelCommand, KernelEvent, Op, OpKind, Remote};
use stage::*;

// ---- rows ------------------------------------------------------------------------------------------------------

#[test]
fn rows_stand_in_both_databases_and_go_from_both() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let index = ready.ifindex;
        let done = room.write(vec![
            op(index, OpKind::ReplaceUnicast, mac(1), "10.0.0.2"),
            Op {
                remote: Remote { ip: "10.0.0.3".parse().unwrap(), vni: Some(vni(777)) },
                ..op(index, OpKind::ReplaceUnicast, mac(2), "10.0.0.3")
            },
            op(index, OpKind::AppendFlood, MacAddr::ZERO, "10.0.0.2"),
            op(index, OpKind::AppendFlood, MacAddr::ZERO, "10.0.0.3"),
            op(index, OpKind::AppendFlood, MacAddr::ZERO, "10.0.0.3"),
        ]);
        assert_eq!(done.errors, []);
        let both = |dst: &str| {
            vec![
                format!("{} dev vxlan100 dst {dst} self extern_learn static", mac(1)),
                format!("{} dev vxlan100 extern_learn master br100", mac(1)),
            ]
        };
        assert_eq!(fdb(mac(1)), both("10.0.0.2"));
        assert!(fdb(mac(2))[0].contains("dst 10.0.0.3 vni 777 self extern_learn"), "{:?}", fdb(mac(2)));
        assert_eq!(fdb(MacAddr::ZERO).len(), 2);
        assert!(fdb(MacAddr::ZERO)[0].contains("extern_learn permanent"));
        assert_eq!(room.row(mac(1)).unwrap().lines().map(str::to_owned).collect::<Vec<_>>(), both("10.0.0.2"));
        assert_eq!(room.row(mac(9)), None);
        let rows = room.rows(100);
        assert_eq!(rows.len(), 4);
        assert_eq!(rows.iter().filter(|row| row.mac == MacAddr::ZERO && row.permanent).count(), 2);
        assert!(rows.iter().any(|row| row.remote.vni == Some(vni(777))));
        // A move is one write; the device set down and up keeps the rows.
        room.write(vec![op(index, OpKind::ReplaceUnicast, mac(1), "10.0.0.4")]);
        assert_eq!(fdb(mac(1)), both("10.0.0.4"));
        sh("ip link set vxlan100 down; ip link set vxlan100 up");
        assert_eq!(fdb(mac(1)), both("10.0.0.4"));
        let done = room.write(vec![
            op(index, DELETE, mac(1), "10.0.0.4"),
            op(index, DELETE, mac(1), "10.0.0.4"),
            op(index, OpKind::DeleteFlood, MacAddr::ZERO, "10.0.0.2"),
            op(index, OpKind::DeleteFlood, MacAddr::ZERO, "10.0.0.9"),
            op(index, OpKind::DeleteUnicast { self_only: true }, mac(2), "10.0.0.3"),
        ]);
        assert_eq!(done.errors, [], "deleting what is not there is done");
        assert_eq!(fdb(mac(1)), Vec::<String>::new());
        assert_eq!(fdb(mac(2)).len(), 1, "only the VXLAN half went");
        assert_eq!(fdb(MacAddr::ZERO).len(), 1);
        // A dump tells half a row from a whole one.
        room.write(vec![op(index, OpKind::ReplaceUnicast, mac(3), "10.0.0.4")]);
        sh(&format!("bridge fdb del {} dev vxlan100 master", mac(3)));
        assert!(room.rows(100).iter().any(|row| row.mac == mac(3) && !row.bridged));
        // Nothing was told of our own writes and deletes but of the flood list.
        let told = |event: &&KernelEvent| matches!(event, KernelEvent::RowGone { row, .. } if row.mac != MacAddr::ZERO && row.mac != mac(3));
        room.listen(100);
        assert_eq!(room.seen.iter().filter(told).count(), 0, "{:#?}", room.seen);
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::RowChanged { .. })), "{:#?}", room.seen);
    });
}

#[test]
fn rows_that_stand_are_not_written_again_and_the_operators_are_left_alone() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let index = ready.ifindex;
        let (replace, ensure) = (OpKind::ReplaceUnicast, OpKind::EnsureUnicast);
        room.write((0..300).map(|n| op(index, replace, mac(n), "10.0.0.2")).collect());
        // One leads elsewhere, one is half, one is the operator's.
        sh(&format!("bridge fdb del {} dev vxlan100 master", mac(1)));
        sh(&format!("bridge fdb add {} dev vxlan100 dst 10.0.0.9 self static", mac(300)));
        room.listen(100);
        let mut ops: Vec<Op> = (0..301).map(|n| op(index, ensure, mac(n), "10.0.0.2")).collect();
        ops[0].remote.ip = "10.0.0.7".parse().unwrap();
        ops.push(op(index, ensure, mac(301), "10.0.0.2"));
        ops.push(op(index, ensure, mac(302), "fd00::2"));
        ops.push(op(index, DELETE, mac(299), "10.0.0.2"));
        let done = room.write(ops);
        assert_eq!((done.errors, done.fatal), (vec![(302, libc::EAFNOSUPPORT)], None));
        assert_eq!(done.theirs, [(300, Remote { ip: "10.0.0.9".parse().unwrap(), vni: None })]);
        assert_eq!(done.stood, 298);
        assert!(fdb(mac(0))[0].contains("dst 10.0.0.7"), "{:?}", fdb(mac(0)));
        for number in [1, 301] {
            assert_eq!(fdb(mac(number)).iter().filter(|line| line.contains("extern_learn")).count(), 2, "{:?}", fdb(mac(number)));
        }
        assert!(fdb(mac(300)).iter().all(|line| !line.contains("extern_learn")), "{:?}", fdb(mac(300)));
        assert_eq!((fdb(mac(302)), fdb(mac(299))), (vec![], vec![]));
    });
}

#[test]
fn a_row_is_put_back_over_an_operators_and_not_touched_where_it_stands() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let index = ready.ifindex;
        let restore = OpKind::RestoreUnicast;
        room.write(vec![
            op(index, OpKind::ReplaceUnicast, mac(1), "10.0.0.2"),
            op(index, OpKind::ReplaceUnicast, mac(2), "10.0.0.2"),
        ]);
        sh(&format!("bridge fdb del {} dev vxlan100 self", mac(2)));
        sh(&format!("bridge fdb add {} dev vxlan100 dst 10.0.0.9 self static", mac(2)));
        sh(&format!("bridge fdb add {} dev vxlan100 dst 10.0.0.9 self static", mac(3)));
        room.listen(100);
        let done = room.write((1..5).map(|n| op(index, restore, mac(n), "10.0.0.2")).collect());
        assert_eq!((done.errors, done.stood), (vec![], 1));
        for number in 1..5 {
            let lines = fdb(mac(number));
            assert_eq!(lines.iter().filter(|line| line.contains("extern_learn")).count(), 2, "{lines:?}");
            assert!(lines.iter().any(|line| line.contains("dst 10.0.0.2 ")), "{lines:?}");
        }
    });
}

#[test]
fn a_device_with_too_many_rows_is_not_listed_and_the_next_listing_works() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        for first in (0..3000).step_by(100) {
            room.write((first..first + 100).map(|n| op(ready.ifindex, OpKind::ReplaceUnicast, mac(n), "10.0.0.2")).collect());
        }
        room.handle.send(KernelCommand::Dump { token: 5, vni: vni(100), at_most: 1000 });
        room.wait("too many", |event| matches!(event, KernelEvent::TooManyRows { token: 5, .. }).then_some(()));
        room.handle.send(KernelCommand::Dump { token: 6, vni: vni(100), at_most: 4000 });
        let rows = room.wait("rows", |event| match event {
            KernelEvent::Rows { token: 6, rows, .. } => Some(rows.clone().unwrap()),
            _ => None,
        });
        assert_eq!(rows.len(), 3000);
        assert!(rows.iter().all(|row| row.bridged));
    });
}

#[test]
fn rows_are_read_one_by_one_for_the_audit() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let index = ready.ifindex;
        room.write((0..200).map(|n| op(index, OpKind::ReplaceUnicast, mac(n), "10.0.0.2")).collect());
        sh(&format!("bridge fdb del {} dev vxlan100 self", mac(1)));
        sh(&format!("bridge fdb del {} dev vxlan100 master", mac(2)));
        sh(&format!("bridge fdb replace {} dev vxlan100 dst 10.0.0.9 self extern_learn", mac(3)));
        speak("p1", mac(4));
        assert_eq!(room.heard(mac(4)).0, "t1");
        let asked: Vec<_> = (0..200).map(|n| (vni(100), mac(n))).chain([(vni(999), mac(0))]).collect();
        room.handle.send(KernelCommand::Check { token: 3, rows: asked });
        let rows = room.wait("the answer", |event| match event {
            KernelEvent::Checked { token: 3, rows } => Some(rows.clone()),
            _ => None,
        });
        let of = |number: u32| rows.iter().find(|checked| checked.mac == mac(number)).map(|checked| checked.row);
        assert_eq!(rows.len(), 199);
        assert_eq!(of(1), Some(None));
        assert!(!of(2).unwrap().unwrap().bridged);
        assert_eq!(of(3).unwrap().unwrap().remote.ip.to_string(), "10.0.0.9");
        assert_eq!(of(4), None, "a local port has it, and the core knows");
        let right = |number: &u32| {
            of(*number).flatten().is_some_and(|row| row.bridged && row.ext_learned && row.remote.ip.to_string() == "10.0.0.2")
        };
        assert_eq!((0..200).filter(right).count(), 196);
        // A station whose notification was lost is told by the way.
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::LocalMac(local) if local.mac == mac(5))));
    });
}

#[test]
fn ten_thousand_rows_with_errors_among_them() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let mut expected = BTreeSet::new();
        for first in (0..10_000u32).step_by(64) {
            let mut ops: Vec<Op> = (first..(first + 64).min(10_000))
                .map(|n| op(ready.ifindex, OpKind::ReplaceUnicast, mac(n), "10.0.0.2"))
                .collect();
            // Each kind of mistake, at the begin, in the middle and at the end.
            let bad = [
                (0, "fd00::2", libc::EAFNOSUPPORT),
                (ops.len() / 2, "fd00::3", libc::EAFNOSUPPORT),
                (ops.len() - 1, "fd00::4", libc::EAFNOSUPPORT),
            ];
            for (at, ip, _) in bad {
                ops[at].remote.ip = ip.parse::<IpAddr>().unwrap();
            }
            ops[1].ifindex = 999_999;
            let mut errors: Vec<(u32, i32)> = bad.iter().map(|(at, _, errno)| (*at as u32, *errno)).collect();
            errors.push((1, libc::ENODEV));
            errors.sort_unstable();
            for (at, _) in &errors {
                expected.insert(ops[*at as usize].mac);
            }
            assert_eq!(room.write(ops).errors, errors);
        }
        let rows = room.rows(100);
        assert_eq!(rows.len(), 10_000 - expected.len());
        assert!(rows.iter().all(|row| !expected.contains(&row.mac)));
        // A batch that is much too long goes in pieces.
        let ops = (0..10_000).map(|n| op(ready.ifindex, DELETE, mac(n), "10.0.0.2")).collect();
        assert_eq!(room.write(ops).errors, []);
        assert_eq!(room.rows(100), []);
        assert_eq!(sh("bridge fdb show | grep -c extern_learn || true").trim(), "0");
        room.listen(200);
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::RowGone { .. })), "echoes are not told");
    });
}

#[test]
fn rows_that_others_delete_or_change_are_told() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let index = ready.ifindex;
        room.write((1..4).map(|n| op(index, OpKind::ReplaceUnicast, mac(n), "10.0.0.2")).collect());
        room.write(vec![op(index, OpKind::AppendFlood, MacAddr::ZERO, "10.0.0.2")]);
        let gone = |room: &mut Room, mac: MacAddr| {
            room.wait("a row's end", |event| match event {
                KernelEvent::RowGone { row, .. } if row.mac == mac => Some(row.remote),
                _ => None,
            })
        };
        sh(&format!("bridge fdb del {} dev vxlan100 self", mac(1)));
        assert_eq!(gone(&mut room, mac(1)).ip, "10.0.0.2".parse::<IpAddr>().unwrap());
        sh(&format!("bridge fdb del {} dev vxlan100 master", mac(2)));
        gone(&mut room, mac(2));
        sh("bridge fdb del 00:00:00:00:00:00 dev vxlan100 dst 10.0.0.2 self");
        gone(&mut room, MacAddr::ZERO);
        sh(&format!("bridge fdb replace {} dev vxlan100 dst 10.0.0.9 self", mac(3)));
        let row = room.wait("a row's change", |event| match event {
            KernelEvent::RowChanged { row, .. } if row.mac == mac(3) => Some(*row),
            _ => None,
        });
        assert!(!row.ext_learned, "{row:?}");
        assert_eq!(row.remote.ip, "10.0.0.9".parse::<IpAddr>().unwrap());
    });
}

#[test]
fn a_row_deleted_in_a_device_that_was_given_up_leaves_no_echo_behind() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        room.write(vec![op(ready.ifindex, OpKind::ReplaceUnicast, mac(1), "10.0.0.2")]);
        room.want(&[]);
        room.device_gone();
        room.write(vec![op(ready.ifindex, DELETE, mac(1), "10.0.0.2")]);
        room.listen(100);
        room.want(&[spec(100)]);
        let index = room.ready(100).ifindex;
        room.write(vec![op(index, OpKind::ReplaceUnicast, mac(1), "10.0.0.2")]);
        sh(&format!("bridge fdb del {} dev vxlan100 self", mac(1)));
        room.wait("a row's end", |event| match event {
            KernelEvent::RowGone { row, .. } if row.mac == mac(1) => Some(()),
            _ => None,
        });
    });
}

#[test]
fn a_station_whose_row_the_device_refused_is_told_when_it_speaks_again() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        speak("p1", mac(1));
        room.heard(mac(1));
        // The bridge takes it and the device does not: it stands nowhere then.
        let done = room.write(vec![op(ready.ifindex, OpKind::ReplaceUnicast, mac(1), "fd00::2")]);
        assert_eq!(done.errors, [(0, libc::EAFNOSUPPORT)]);
        speak("p1", mac(1));
        room.heard(mac(1));
    });
}

#[test]
#[ignore = "a measurement: 100,000 rows; --ignored --nocapture"]
fn measure_reading() {
    in_namespace(|| {
        const COUNT: u32 = 100_000;
        let (mut room, ready) = Room::with_port();
        for first in (0..COUNT).step_by(64) {
            let last = (first + 64).min(COUNT);
            room.write((first..last).map(|n| op(ready.ifindex, OpKind::ReplaceUnicast, mac(n), "10.0.0.2")).collect());
        }
        let mut took = |what: &str, act: &mut dyn FnMut(&mut Room)| {
            let (start, (user, system)) = (Instant::now(), cpu());
            act(&mut room);
            let (user_now, system_now) = cpu();
            eprintln!(
                "{what}: {:.0} ms, processor {:.0} ms user, {:.0} ms system",
                start.elapsed().as_secs_f64() * 1e3,
                (user_now - user).as_secs_f64() * 1e3,
                (system_now - system).as_secs_f64() * 1e3
            );
        };
        took("listing given up at 8,192 rows", &mut |room| {
            room.handle.send(KernelCommand::Dump { token: 5, vni: vni(100), at_most: 8192 });
            room.wait("too many", |event| matches!(event, KernelEvent::TooManyRows { .. }).then_some(()));
        });
        took("a whole listing", &mut |room| assert_eq!(room.rows(100).len(), COUNT as usize));
        took("an audit in slices of 256", &mut |room| {
            for first in (0..COUNT).step_by(256) {
                let rows = (first..(first + 256).min(COUNT)).map(|n| (vni(100), mac(n))).collect();
                room.handle.send(KernelCommand::Check { token: 3, rows });
                room.wait("the answer", |event| matches!(event, KernelEvent::Checked { .. }).then_some(()));
            }
        });
        took("ensuring what stands", &mut |room| {
            for first in (0..COUNT).step_by(64) {
                let ops = (first..(first + 64).min(COUNT)).map(|n| op(ready.ifindex, OpKind::EnsureUnicast, mac(n), "10.0.0.2"));
                room.write(ops.collect());
            }
        });
    });
}

#[test]
#[ignore = "a measurement: run it alone, with --release --ignored --nocapture"]
fn measure_writes() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let remotes: Vec<String> = (0..100).map(|n| format!("10.1.0.{n}")).collect();
        let mut figures = String::new();
        for (what, kind) in [("add", OpKind::ReplaceUnicast), ("replace", OpKind::ReplaceUnicast), ("delete", DELETE)] {
            let batches: Vec<Batch> = (0..100_000u32)
                .step_by(64)
                .map(|first| Batch {
                    id: u64::from(first),
                    ops: (first..(first + 64).min(100_000))
                        .map(|n| op(ready.ifindex, kind, mac(n), &remotes[(n as usize + what.len()) % 100]))
                        .collect(),
                })
                .collect();
            let (start, count, used) = (Instant::now(), batches.len(), cpu());
            let (mut sent, mut done) = (batches.into_iter(), 0);
            for batch in sent.by_ref().take(16) {
                room.handle.send(KernelCommand::Write(batch));
            }
            while done < count {
                room.wait("the end of a batch", |event| match event {
                    KernelEvent::BatchDone(done) => {
                        assert_eq!((done.errors.as_slice(), &done.fatal), (&[][..], &None));
                        Some(())
                    }
                    _ => None,
                });
                done += 1;
                if let Some(batch) = sent.next() {
                    room.handle.send(KernelCommand::Write(batch));
                }
            }
            let time = start.elapsed();
            let (user, system) = (cpu().0 - used.0, cpu().1 - used.1);
            let rate = 100_000.0 / time.as_secs_f64();
            let _ = writeln!(figures, "{what}: {rate:.0} rows/s ({time:?}; CPU: user {user:?}, system {system:?})");
            if what == "replace" {
                let (start, used) = (Instant::now(), cpu());
                assert_eq!(room.rows(100).len(), 100_000);
                let (user, system) = (cpu().0 - used.0, cpu().1 - used.1);
                let _ = writeln!(figures, "dump of 100,000: {:?} (CPU: user {user:?}, system {system:?})", start.elapsed());
            }
        }
        let mouth = Mouth::new("p1");
        let mut times: Vec<Duration> = (0..200)
            .map(|n| {
                let start = Instant::now();
                mouth.speak(mac(1_000_000 + n));
                room.heard(mac(1_000_000 + n));
                start.elapsed()
            })
            .collect();
        times.sort();
        println!("{figures}frame to event: p50 {:?}, p99 {:?}", times[100], times[197]);
    });
}
