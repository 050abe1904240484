//! Local MACs of the kernel room against the real kernel. See `kernel_stage.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "kernel_stage.rs"]
mod stage;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use evpnd::base::MacAddr;
use evpnd::fib::{KernelCommand, KernelEvent, OpKind};
use stage::*;

#[test]
fn local_macs_come_move_age_and_go() {
    in_namespace(|| {
        let (mut room, _) = Room::with_port();
        add_port("t2", "p2");
        speak("p1", mac(1));
        assert_eq!(room.heard(mac(1)), ("t1".to_owned(), false));
        // A move is told as the new place, not as an end.
        let from = room.seen.len();
        speak("p2", mac(1));
        assert_eq!(room.heard(mac(1)), ("t2".to_owned(), false));
        assert!(!room.seen[from..].iter().any(|event| matches!(event, KernelEvent::LocalMacGone { .. })));
        // Static on a port; then set PERMANENT, which makes it the port's own.
        sh(&format!("bridge fdb add {} dev t1 master static", mac(2)));
        assert_eq!(room.heard(mac(2)), ("t1".to_owned(), true));
        sh(&format!("bridge fdb del {} dev t1 master", mac(2)));
        room.unheard(mac(2));
        sh(&format!("bridge fdb add {} dev t1 master permanent", mac(3)));
        // A port that leaves, goes down, or is removed takes its MACs along.
        for (number, line) in [(10, "ip link set t1 nomaster"), (11, "ip link set t1 down"), (12, "ip link del t1")] {
            speak("p1", mac(number));
            room.heard(mac(number));
            sh(line);
            room.unheard(mac(number));
            if number < 12 {
                sh("ip link set t1 up; ip link set t1 master br100");
            }
        }
        sh("ip link set br100 type bridge ageing_time 100");
        speak("p2", mac(20));
        room.heard(mac(20));
        room.unheard(mac(20));
        assert!(!format!("{:?}", room.seen).contains(&mac(3).to_string()), "PERMANENT entries are not stations");
    });
}

/// Since Linux 6.2 an interface can be renamed while it is up; of one that is set down for it everything is forgotten anyway.
#[test]
fn a_port_that_is_renamed_is_told_by_its_new_name() {
    in_namespace(|| {
        let (mut room, _) = Room::new().and_port();
        add_port("t2", "p2");
        for (peer, number) in [("p1", 1), ("p2", 2)] {
            speak(peer, mac(number));
            room.heard(mac(number));
        }
        let is_up =
            std::process::Command::new("ip").args(["link", "set", "t1", "name", "web1"]).output().unwrap().status.success();
        if !is_up {
            sh("ip link set t1 down; ip link set t1 name web1; ip link set web1 up");
            speak("p1", mac(1));
        }
        assert_eq!(room.heard(mac(1)), ("web1".to_owned(), false));
        let others = room.listen(200);
        assert!(!others.iter().any(|event| matches!(event, KernelEvent::LocalMac(local) if local.mac == mac(2))), "{others:?}");
    });
}

#[test]
fn local_macs_that_stand_before_the_start_are_told_at_once() {
    in_namespace(|| {
        sh("ip link add br100 type bridge ageing_time 30000; ip link set br100 up");
        add_port("t1", "p1");
        speak("p1", mac(1));
        sh(&format!("bridge fdb add {} dev t1 master static", mac(2)));
        let mut room = Room::new();
        room.want(&[spec(100)]);
        room.ready(100);
        let macs = room.wait("the local MACs", |event| match event {
            KernelEvent::LocalMacs { macs, .. } => Some(macs.clone()),
            _ => None,
        });
        assert_eq!(macs.iter().map(|local| (local.mac, local.is_static)).collect::<Vec<_>>(), [(mac(1), false), (mac(2), true)]);
        room.handle.send(KernelCommand::ResyncLocal);
        let again = room.wait("the local MACs again", |event| match event {
            KernelEvent::LocalMacs { macs, .. } => Some(macs.clone()),
            _ => None,
        });
        assert_eq!(macs, again);
    });
}

#[test]
fn macs_of_this_host_are_not_stations_until_they_leave_it() {
    in_namespace(|| {
        let (mut room, _) = Room::with_port();
        let own: MacAddr =
            sh("cat /proc/self/mountinfo >/dev/null; ip -br link show p1").split_whitespace().nth(2).unwrap().parse().unwrap();
        speak("p1", own);
        speak("p1", mac(1));
        room.heard(mac(1));
        assert!(!format!("{:?}", room.seen).contains(&own.to_string()));
        // A container's end of the pair leaves: the bridge tells nobody, the MAC is a station now.
        let elsewhere = Elsewhere::new();
        sh(&format!("bridge fdb replace {own} dev t1 master static"));
        sh(&format!("ip link set p1 netns {}", elsewhere.0.id()));
        assert_eq!(room.heard(own), ("t1".to_owned(), true));
        // And back.
        sh(&format!("ip link add back type veth peer name back2; ip link set back address {own}"));
        room.unheard(own);
    });
}

#[test]
fn a_local_port_takes_a_remote_mac_over_and_back() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        room.write(vec![op(ready.ifindex, OpKind::ReplaceUnicast, mac(1), "10.0.0.2")]);
        speak("p1", mac(1));
        assert_eq!(room.heard(mac(1)).0, "t1");
        assert!(room.row(mac(1)).unwrap().contains("dev t1 master br100"), "{:?}", room.row(mac(1)));
        // The core makes it local: the VXLAN half goes, the bridge's entry stays the port's. Both forms of delete do it.
        for self_only in [false, true] {
            let done = room.write(vec![op(ready.ifindex, OpKind::DeleteUnicast { self_only }, mac(1), "10.0.0.2")]);
            assert_eq!(done.errors, []);
            assert_eq!(fdb(mac(1)), [format!("{} dev t1 master br100", mac(1))]);
        }
        // It moves away: no end is told (the core said it), and when it comes back it is told again.
        room.write(vec![op(ready.ifindex, OpKind::ReplaceUnicast, mac(1), "10.0.0.2")]);
        assert!(
            room.listen(200).iter().all(|event| !matches!(event, KernelEvent::LocalMac(_) | KernelEvent::LocalMacGone { .. }))
        );
        // Marked in both, though a port had it: unmarked it would age out.
        assert_eq!(
            fdb(mac(1)),
            [
                format!("{} dev vxlan100 dst 10.0.0.2 self extern_learn static", mac(1)),
                format!("{} dev vxlan100 extern_learn master br100", mac(1)),
            ]
        );
        speak("p1", mac(1));
        room.heard(mac(1));
    });
}

/// Its bridge entry was ours by then, and no notification ever says that the port's went: the MAC was announced here for ever.
#[test]
fn what_a_port_heard_before_our_row_was_written_is_not_told() {
    in_namespace(|| {
        let gate = Arc::new(Mutex::new(()));
        let (mut room, ready) = Room::gated(128 << 20, &gate).and_port();
        let done = room.write_late(&gate, vec![op(ready.ifindex, OpKind::ReplaceUnicast, mac(1), "10.0.0.2")], || {
            speak("p1", mac(1));
            wait_for_fdb(mac(1), "dev t1");
        });
        assert_eq!(done.errors, []);
        // What comes behind it has been read.
        speak("p1", mac(2));
        room.heard(mac(2));
        let told = |event: &KernelEvent| matches!(event, KernelEvent::LocalMac(local) if local.mac == mac(1));
        assert!(!room.seen.iter().any(told), "{:#?}", room.seen);
        assert_eq!(fdb(mac(1)).len(), 2, "{:?}", fdb(mac(1)));
        // What it hears from then on is news.
        speak("p1", mac(1));
        room.heard(mac(1));
    });
}

/// Told of after our delete, it was taken for standing, and a row for the MAC was never written again.
#[test]
fn an_operators_row_that_we_deleted_is_not_told_late() {
    in_namespace(|| {
        let gate = Arc::new(Mutex::new(()));
        let (mut room, ready) = Room::gated(128 << 20, &gate).and_port();
        let theirs = |number| sh(&format!("bridge fdb add {} dev vxlan100 dst 10.0.0.9 self", mac(number)));
        let told = |number: u32| {
            move |event: &KernelEvent| match event {
                KernelEvent::RowChanged { row, .. } | KernelEvent::RowGone { row, .. } if row.mac == mac(number) => Some(()),
                _ => None,
            }
        };
        let done = room.write_late(&gate, vec![op(ready.ifindex, DELETE, mac(1), "10.0.0.9")], || {
            theirs(1);
        });
        assert_eq!((done.errors, fdb(mac(1))), (vec![], Vec::new()));
        theirs(2);
        room.wait("the row behind it", told(2));
        assert!(!room.seen.iter().any(|event| told(1)(event).is_some()), "{:#?}", room.seen);
        theirs(1);
        room.wait("a new one", told(1));
    });
}

#[test]
fn lost_notifications_lead_to_the_whole_truth() {
    in_namespace(|| {
        let gate = Arc::new(Mutex::new(()));
        let mut room = Room::gated(2304, &gate);
        room.want(&[spec(100)]);
        room.ready(100);
        add_port("t1", "p1");
        room.listen(100);
        // The thread is held up by its wake while the kernel goes on.
        let held = gate.lock().unwrap();
        speak("p1", mac(1_000_000));
        room.heard(mac(1_000_000));
        let mut lines = String::new();
        for number in 0..5000 {
            writeln!(lines, "fdb add {} dev t1 master static", mac(number)).unwrap();
        }
        let path = std::env::temp_dir().join(format!("evpnd-kernel-test-{}", std::process::id()));
        std::fs::write(&path, lines).unwrap();
        sh(&format!("bridge -batch {}", path.display()));
        std::fs::remove_file(&path).unwrap();
        drop(held);
        room.wait("an overflow", |event| matches!(event, KernelEvent::Overflow { .. }).then_some(()));
        let mut macs = BTreeSet::new();
        let mut apply = |event: &KernelEvent| {
            match event {
                KernelEvent::LocalMacs { macs: all, .. } => macs = all.iter().map(|local| local.mac).collect(),
                KernelEvent::LocalMac(local) => {
                    macs.insert(local.mac);
                }
                KernelEvent::LocalMacGone { mac, .. } => {
                    macs.remove(mac);
                }
                _ => {}
            }
            (macs.len() == 5001).then_some(())
        };
        if !room.seen.clone().iter().any(|event| apply(event).is_some()) {
            room.wait("all of them", apply);
        }
        // Interfaces that came and went unseen are known, too.
        sh("ip link del vxlan100");
        room.ready(100);
    });
}

/// As Proxmox VE does for a guest that comes here while its old host's route is still there: the kernel leaves our mark on the entry.
#[test]
fn a_static_entry_that_is_set_over_a_row_is_a_local_mac() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let index = ready.ifindex;
        room.write((0..4).map(|n| op(index, OpKind::ReplaceUnicast, mac(n), "10.0.0.2")).collect());
        room.listen(100);
        room.seen.clear();
        for (number, word) in [(1, "replace"), (2, "append")] {
            sh(&format!("bridge fdb {word} {} dev t1 master static", mac(number)));
        }
        let marked = fdb(mac(1));
        assert!(marked.iter().any(|line| line.contains("dev t1") && line.contains("extern_learn")), "{marked:?}");
        room.listen(100);
        let told = |event: &KernelEvent| match event {
            KernelEvent::LocalMac(local) if local.is_static && local.port_name == "t1" => Some(local.mac),
            _ => None,
        };
        assert_eq!(room.seen.iter().filter_map(told).collect::<Vec<_>>(), [mac(1), mac(2)], "{:#?}", room.seen);
        // It is told of when it goes, too, and of our own writes still nothing.
        sh(&format!("bridge fdb del {} dev t1 master", mac(1)));
        room.write(vec![op(index, OpKind::ReplaceUnicast, mac(3), "10.0.0.3")]);
        room.listen(100);
        let gone = |event: &&KernelEvent| matches!(event, KernelEvent::LocalMacGone { mac: of, .. } if *of == mac(1));
        assert_eq!(room.seen.iter().filter(gone).count(), 1, "{:#?}", room.seen);
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::RowChanged { .. })), "{:#?}", room.seen);
    });
}
