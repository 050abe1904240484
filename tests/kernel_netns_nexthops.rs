//! Rows by nexthop group against the real kernel. See `kernel_stage.rs`, and `docs/decisions/0004-rows-by-nexthop-group.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "kernel_stage.rs"]
mod stage;

use std::collections::BTreeSet;
use std::net::IpAddr;

use evpnd::base::MacAddr;
use evpnd::fib::{DeviceSpec, KernelCommand, KernelEvent, Op, OpKind, Remote};
use stage::*;

const V4: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
const V6: [&str; 4] = ["fd00::1", "fd00::2", "fd00::3", "fd00::4"];

fn by_group(local: &str) -> DeviceSpec {
    DeviceSpec { nexthop_groups: true, local: local.parse().unwrap(), ..spec(100) }
}

fn by_destination(local: &str) -> DeviceSpec {
    DeviceSpec { nexthop_groups: false, ..by_group(local) }
}

fn started(spec: &DeviceSpec) -> (Room, u32) {
    let mut room = Room::new();
    room.want(std::slice::from_ref(spec));
    let ifindex = room.ready(100).ifindex;
    (room, ifindex)
}

/// Pairs of a nexthop's address and the number of its group, of those that are ours, sorted.
fn nexthops() -> Vec<(String, u32)> {
    let text = sh("ip -d nexthop show proto 179");
    let word = |line: &str, name: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != name).skip(1);
        words.next().map(str::to_owned)
    };
    let id = |line: &str| word(line, "id").unwrap().parse::<u32>().unwrap();
    let mut pairs: Vec<(String, u32)> = text
        .lines()
        .filter_map(|line| {
            let member: u32 = word(line, "group")?.parse().unwrap();
            let single = text.lines().find(|line| id(line) == member).expect("the member of a group of ours");
            Some((word(single, "via").unwrap(), id(line)))
        })
        .collect();
    assert_eq!(text.lines().count(), pairs.len() * 2, "{text}");
    assert!(text.lines().all(|line| line.contains(" fdb") && (478_900_000..=478_999_999).contains(&id(line))), "{text}");
    pairs.sort();
    pairs
}

fn group(ip: &str) -> u32 {
    let found = nexthops();
    found.iter().find(|(address, _)| address == ip).unwrap_or_else(|| panic!("no group for {ip}: {found:?}")).1
}

fn both_by_group(mac: MacAddr, ip: &str) -> Vec<String> {
    vec![
        format!("{mac} dev vxlan100 extern_learn master br100"),
        format!("{mac} dev vxlan100 nhid {} self extern_learn static", group(ip)),
    ]
}

fn both_by_destination(mac: MacAddr, ip: &str) -> Vec<String> {
    vec![format!("{mac} dev vxlan100 dst {ip} self extern_learn static"), format!("{mac} dev vxlan100 extern_learn master br100")]
}

fn replace(ifindex: u32, number: u32, ip: &str) -> Op {
    op(ifindex, OpKind::ReplaceUnicast, mac(number), ip)
}

/// What the room believes: MAC and destination of each unicast row, whatever its form.
fn believed(room: &mut Room) -> Vec<(MacAddr, IpAddr)> {
    room.rows(100).into_iter().filter(|row| row.mac != MacAddr::ZERO).map(|row| (row.mac, row.remote.ip)).collect()
}

/// Waits until the loss of all rows to each of these was told, and of no others.
fn wait_for_loss(room: &mut Room, wanted: &[&str]) {
    let wanted: BTreeSet<IpAddr> = wanted.iter().map(|text| ip(text)).collect();
    let mut lost = BTreeSet::new();
    room.wait("the loss of rows", |event| {
        if let KernelEvent::RemotesGone { vnis, remotes } = event {
            assert_eq!(vnis, &[vni(100)]);
            lost.extend(remotes.iter().copied());
        }
        (lost.len() >= wanted.len()).then_some(())
    });
    assert_eq!(lost, wanted);
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn both_families(test: impl Fn([&'static str; 4]) + Send + Copy + 'static) {
    for addresses in [V4, V6] {
        in_namespace(move || test(addresses));
    }
}

#[test]
fn rows_name_groups_and_are_told_with_their_address() {
    both_families(|[local, far, further, other]| {
        let (mut room, ifindex) = started(&by_group(local));
        let beside = Remote { ip: ip(other), vni: Some(vni(777)) };
        let done = room.write(vec![
            replace(ifindex, 1, far),
            replace(ifindex, 2, far),
            Op { remote: beside, ..replace(ifindex, 3, other) },
            op(ifindex, OpKind::AppendFlood, MacAddr::ZERO, far),
            op(ifindex, OpKind::AppendFlood, MacAddr::ZERO, further),
        ]);
        assert_eq!(done.errors, []);
        assert_eq!(nexthops().len(), 1, "one pair for two rows; a VNI of its own and the flood list need none");
        assert_eq!(fdb(mac(1)), both_by_group(mac(1), far));
        assert!(fdb(mac(3)).iter().any(|line| line.contains(&format!("dst {other} vni 777 self"))), "{:?}", fdb(mac(3)));
        assert!(fdb(MacAddr::ZERO).iter().all(|line| line.contains("dst")), "{:?}", fdb(MacAddr::ZERO));
        assert_eq!(believed(&mut room), [(mac(1), ip(far)), (mac(2), ip(far)), (mac(3), ip(other))]);
        let shown = room.row(mac(1)).unwrap();
        assert!(shown.contains(&format!("dst {far} nhid {} self", group(far))), "{shown}");
        // A move is one write, to another group and to a VNI of its own and back.
        for (target, wanted) in [(further, None), (other, Some(vni(777))), (far, None)] {
            let moved = Op { remote: Remote { ip: ip(target), vni: wanted }, ..replace(ifindex, 1, target) };
            assert_eq!(room.write(vec![moved]).errors, []);
            assert_eq!(fdb(mac(1)).len(), 2);
            let row = room.rows(100).into_iter().find(|row| row.mac == mac(1)).unwrap();
            assert_eq!((row.remote, row.ext_learned, row.bridged), (moved.remote, true, true));
        }
        sh("ip link set vxlan100 down; ip link set vxlan100 up");
        assert_eq!(fdb(mac(1)), both_by_group(mac(1), far));
        let wrong = if local == V4[0] { "fd00::9" } else { "10.0.0.9" };
        assert_eq!(room.write(vec![replace(ifindex, 4, wrong)]).errors, [(0, libc::EAFNOSUPPORT)]);
        assert_eq!(fdb(mac(4)), Vec::<String>::new(), "what only the bridge took is taken back");
        let done = room.write(vec![
            op(ifindex, DELETE, mac(1), far),
            op(ifindex, DELETE, mac(1), far),
            op(ifindex, OpKind::DeleteUnicast { self_only: true }, mac(2), far),
        ]);
        assert_eq!(done.errors, []);
        assert_eq!(fdb(mac(1)), Vec::<String>::new());
        assert_eq!(fdb(mac(2)).len(), 1, "only the VXLAN half went");
        room.listen(100);
        let told = |event: &KernelEvent| matches!(event, KernelEvent::RowGone { .. } | KernelEvent::RowChanged { .. });
        assert!(!room.seen.iter().any(told), "our own writes are not told: {:#?}", room.seen);
        // Somebody else's deletion is, with the address.
        room.write(vec![replace(ifindex, 5, further)]);
        sh(&format!("bridge fdb del {} dev vxlan100 self", mac(5)));
        let gone = room.wait("a row's end", |event| match event {
            KernelEvent::RowGone { row, .. } if row.mac == mac(5) => Some(row.remote.ip),
            _ => None,
        });
        assert_eq!(gone, ip(further));
        // Those of VTEPs that nobody speaks of go, the others stay.
        room.handle.send(KernelCommand::Remotes { in_use: vec![ip(far)] });
        room.rows(100);
        assert_eq!(nexthops().iter().map(|(address, _)| address.as_str()).collect::<Vec<_>>(), [far]);
        room.handle.send(KernelCommand::Remotes { in_use: Vec::new() });
        room.rows(100);
        assert_eq!(nexthops(), []);
        room.listen(100);
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::RemotesGone { .. })));
    });
}

#[test]
fn rows_are_converted_both_ways_while_the_room_runs() {
    both_families(|[local, far, further, _]| {
        let (mut room, ifindex) = started(&by_destination(local));
        let rows = || -> Vec<Op> { (0..200).map(|n| replace(ifindex, n, if n % 2 == 0 { far } else { further })).collect() };
        room.write(rows());
        assert_eq!(nexthops(), []);
        let all = believed(&mut room);
        assert_eq!(all.len(), 200);
        for number in [0, 1] {
            assert_eq!(fdb(mac(number)), both_by_destination(mac(number), if number == 0 { far } else { further }));
        }
        room.want(&[by_group(local)]);
        assert_eq!(room.write(rows()).errors, []);
        assert_eq!(sh("bridge fdb show dev vxlan100 | grep -c nhid").trim(), "200");
        assert_eq!(fdb(mac(0)), both_by_group(mac(0), far));
        assert_eq!(believed(&mut room), all);
        room.want(&[by_destination(local)]);
        assert_eq!(room.write(rows()).errors, []);
        assert_eq!(sh("bridge fdb show dev vxlan100 | grep -c nhid || true").trim(), "0");
        assert_eq!(believed(&mut room), all);
        room.handle.send(KernelCommand::Remotes { in_use: vec![ip(far), ip(further)] });
        room.rows(100);
        assert_eq!(nexthops(), [], "nobody wants groups any more");
        assert_eq!(fdb(mac(0)), both_by_destination(mac(0), far));
        room.listen(100);
        let told = |event: &KernelEvent| matches!(event, KernelEvent::RowGone { .. } | KernelEvent::RowChanged { .. });
        assert!(!room.seen.iter().any(told), "conversions are not told");
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::RemotesGone { .. })));
    });
}

#[test]
fn a_later_run_adopts_and_says_where_the_form_is_another() {
    both_families(|[local, far, further, _]| {
        // A stranger has the first number of ours, and one of its own.
        sh(&format!("ip nexthop add id 478900000 via {far} fdb; ip nexthop add id 7 via {far} fdb proto 179"));
        let (mut room, ifindex) = started(&by_group(local));
        room.write(vec![replace(ifindex, 1, far), replace(ifindex, 2, further)]);
        room.handle.stop();
        sh("ip nexthop del id 7");
        let before = nexthops();
        assert_eq!(before.len(), 2);
        // Half a pair, as a crash leaves it.
        sh(&format!("ip nexthop add id 478950000 via {far} fdb proto 179"));
        let (mut room, ifindex) = started(&by_group(local));
        assert_eq!(believed(&mut room), [(mac(1), ip(far)), (mac(2), ip(further))]);
        assert_eq!(room.write(vec![replace(ifindex, 1, far)]).errors, []);
        assert_eq!(nexthops(), before, "the same ones, and no half");
        room.listen(100);
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::RowsOfOtherForm { .. })));
        room.handle.stop();
        // With the key off: told, written again, converted; then the groups go.
        let (mut room, ifindex) = started(&by_destination(local));
        assert_eq!(believed(&mut room).len(), 2);
        room.wait("the other form", |event| matches!(event, KernelEvent::RowsOfOtherForm { .. }).then_some(()));
        assert_eq!(room.write(vec![replace(ifindex, 1, far), replace(ifindex, 2, far)]).errors, []);
        assert_eq!(fdb(mac(1)), both_by_destination(mac(1), far));
        assert_eq!(fdb(mac(2)), both_by_destination(mac(2), far), "moved and converted in one");
        room.handle.send(KernelCommand::Remotes { in_use: vec![ip(far)] });
        room.rows(100);
        assert_eq!(nexthops(), []);
        room.handle.stop();
        // And on again.
        let (mut room, ifindex) = started(&by_group(local));
        assert_eq!(believed(&mut room).len(), 2);
        room.wait("the other form", |event| matches!(event, KernelEvent::RowsOfOtherForm { .. }).then_some(()));
        assert_eq!(room.write(vec![replace(ifindex, 1, far), replace(ifindex, 2, further)]).errors, []);
        assert_eq!(fdb(mac(2)), both_by_group(mac(2), further));
        assert!(sh("ip nexthop show id 478900000").contains("via"), "a stranger's stays");
    });
}

#[test]
fn what_others_do_to_our_nexthops_is_put_right() {
    both_families(|[local, far, further, other]| {
        let (mut room, ifindex) = started(&by_group(local));
        let rows = || vec![replace(ifindex, 1, far), replace(ifindex, 2, further), replace(ifindex, 3, further)];
        let all = [(mac(1), ip(far)), (mac(2), ip(further)), (mac(3), ip(further))];
        room.write(rows());
        // Everything flushed: the rows are gone and nobody said so of each.
        sh("ip nexthop flush proto 179 >/dev/null 2>&1 || ip nexthop flush >/dev/null");
        wait_for_loss(&mut room, &[far, further]);
        assert_eq!(believed(&mut room), []);
        assert_eq!(room.write(rows()).errors, []);
        assert_eq!(believed(&mut room), all);
        // One group; one nexthop, which takes its group along.
        sh(&format!("ip nexthop del id {}", group(far)));
        wait_for_loss(&mut room, &[far]);
        assert_eq!(room.write(rows()).errors, []);
        sh(&format!("ip nexthop del id {}", group(further) - 1));
        wait_for_loss(&mut room, &[further]);
        assert_eq!(room.write(rows()).errors, []);
        assert_eq!(believed(&mut room), all);
        assert_eq!(nexthops().len(), 2);
        // Written to before the room could have heard.
        let from = room.seen.len();
        sh("ip nexthop flush >/dev/null 2>&1");
        assert_eq!(room.write(rows()).errors, []);
        assert_eq!(believed(&mut room), all);
        room.listen(100);
        let told: BTreeSet<IpAddr> = room.seen[from..]
            .iter()
            .filter_map(|event| if let KernelEvent::RemotesGone { remotes, .. } = event { Some(remotes.clone()) } else { None })
            .flatten()
            .collect();
        assert_eq!(told, [ip(far), ip(further)].into(), "other rows than those just written are lost");
        assert_eq!(nexthops().len(), 2);
        // Changed in place: put back in place, and no row is lost.
        let changed = group(far) - 1;
        let from = room.seen.len();
        sh(&format!("ip nexthop replace id {changed} via {other} fdb proto 179"));
        for _ in 0..100 {
            if sh(&format!("ip nexthop show id {changed}")).contains(&format!("via {far} ")) {
                break;
            }
            room.listen(50);
        }
        assert_eq!(nexthops().len(), 2);
        assert!(sh(&format!("ip nexthop show id {changed}")).contains(&format!("via {far} ")));
        assert_eq!(believed(&mut room), all);
        assert!(!room.seen[from..].iter().any(|event| matches!(event, KernelEvent::RemotesGone { .. })));
        // A stranger's nexthops are nobody's business here.
        sh(&format!("ip nexthop add id 5 via {other} fdb; ip nexthop add id 6 group 5 fdb"));
        sh(&format!("bridge fdb add {} dev vxlan100 nhid 6 self master extern_learn", mac(9)));
        let theirs = room.rows(100).into_iter().find(|row| row.mac == mac(9)).unwrap();
        assert!(!theirs.ext_learned && theirs.remote.ip.is_unspecified(), "{theirs:?}");
        sh("ip nexthop del id 5");
        room.listen(100);
        assert!(!room.seen[from..].iter().any(|event| matches!(event, KernelEvent::RemotesGone { .. })));
        assert_eq!(believed(&mut room), all);
    });
}

#[test]
fn a_local_port_takes_a_remote_mac_over_and_back() {
    in_namespace(|| {
        let (mut room, ifindex) = started(&by_group(V4[0]));
        room.wait("the local MACs", |event| matches!(event, KernelEvent::LocalMacs { .. }).then_some(()));
        add_port("t1", "p1");
        room.write(vec![replace(ifindex, 1, V4[1])]);
        speak("p1", mac(1));
        assert_eq!(room.heard(mac(1)).0, "t1");
        let done = room.write(vec![op(ifindex, OpKind::DeleteUnicast { self_only: true }, mac(1), V4[1])]);
        assert_eq!(done.errors, []);
        assert_eq!(fdb(mac(1)), [format!("{} dev t1 master br100", mac(1))]);
        room.write(vec![replace(ifindex, 1, V4[2])]);
        assert!(
            room.listen(200).iter().all(|event| !matches!(event, KernelEvent::LocalMac(_) | KernelEvent::LocalMacGone { .. }))
        );
        assert_eq!(fdb(mac(1)), both_by_group(mac(1), V4[2]), "marked in both, though a port had it");
        speak("p1", mac(1));
        room.heard(mac(1));
        // Converted while the bridge's half is the port's: that half stays the port's.
        room.want(&[by_destination(V4[0])]);
        let row = room.rows(100).into_iter().find(|row| row.mac == mac(1)).unwrap();
        assert_eq!((row.remote.ip, row.bridged), (ip(V4[2]), false), "the bridge's half is the port's");
        room.write(vec![op(ifindex, OpKind::DeleteUnicast { self_only: true }, mac(1), V4[2])]);
        assert_eq!(fdb(mac(1)), [format!("{} dev t1 master br100", mac(1))]);
    });
}

#[test]
fn a_device_that_learns_or_answers_arp_gets_destinations() {
    for word in ["learning", "nolearning proxy"] {
        in_namespace(move || {
            sh("ip link add br100 type bridge; ip link set br100 up");
            sh(&format!("ip link add vxlan100 type vxlan id 100 local 10.0.0.1 dstport 4789 {word}"));
            sh("ip link set vxlan100 master br100 up");
            let mut room = Room::new();
            room.want(&[by_group(V4[0])]);
            let ready = room.ready(100);
            let done = room.write(vec![replace(ready.ifindex, 1, V4[1])]);
            assert_eq!(done.errors, []);
            if word == "learning" {
                // It is turned off, as always.
                assert_eq!(fdb(mac(1)), both_by_group(mac(1), V4[1]));
            } else {
                assert_eq!(fdb(mac(1)), both_by_destination(mac(1), V4[1]));
                assert!(
                    ready.warnings.iter().any(|warning| warning.contains("with proxy: ip link del vxlan100")),
                    "{:?}",
                    ready.warnings
                );
            }
        });
    }
}

/// Somebody has a thousand of our numbers: rows carry their destination, and a VTEP for which there is a number gets its group.
#[test]
fn where_no_number_is_free_rows_carry_their_destination() {
    in_namespace(|| {
        let taken: String = (0..=1000).map(|n| format!("nexthop add id {} via 10.0.0.9 fdb\\n", 478_900_000 + n)).collect();
        sh(&format!("printf '{taken}' | ip -batch -"));
        let (mut room, ifindex) = started(&by_group(V4[0]));
        assert_eq!(room.write(vec![replace(ifindex, 1, V4[1]), replace(ifindex, 2, V4[1])]).errors, []);
        assert_eq!(fdb(mac(1)), both_by_destination(mac(1), V4[1]));
        assert_eq!(fdb(mac(2)), both_by_destination(mac(2), V4[1]));
        assert_eq!(room.write(vec![replace(ifindex, 3, V4[2])]).errors, []);
        assert_eq!(fdb(mac(3)), both_by_group(mac(3), V4[2]));
        assert_eq!(believed(&mut room), [(mac(1), ip(V4[1])), (mac(2), ip(V4[1])), (mac(3), ip(V4[2]))]);
        room.listen(100);
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::RowsOfOtherForm { .. })), "it is no other form");
        // A move between the two forms is one write for who asks for it.
        assert_eq!(room.write(vec![replace(ifindex, 1, V4[2]), replace(ifindex, 3, V4[1])]).errors, []);
        assert_eq!(fdb(mac(1)), both_by_group(mac(1), V4[2]));
        assert_eq!(fdb(mac(3)), both_by_destination(mac(3), V4[1]));
    });
}
