//! Devices of the kernel room against the real kernel: made, adopted, refused, followed, removed. See `kernel_stage.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "kernel_stage.rs"]
mod stage;

use std::collections::BTreeSet;
use std::time::Duration;

use evpnd::base::MacAddr;
use evpnd::fib::{DeviceSpec, DeviceState, KernelCommand, KernelEvent, OpKind, ReadyDevice, StoodDevice};
use evpnd::kernel;
use stage::*;

#[test]
fn makes_device_and_bridge() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let ready = room.ready(100);
        assert!(ready.made_device && ready.made_bridge && ready.up, "{ready:?}");
        assert_eq!((ready.mtu, ready.port, ready.local), (1450, 4789, Some("10.0.0.1".parse().unwrap())));
        assert_eq!(ready.warnings, Vec::<String>::new());
        let vxlan = link("vxlan100");
        for word in ["vxlan id 100 local 10.0.0.1", "dstport 4789", "nolearning", "mtu 1450", "master br100", "alias evpnd"] {
            assert!(vxlan.contains(word), "{word}: {vxlan}");
        }
        for word in ["addrgenmode none", "learning off", "neigh_suppress on"] {
            assert!(vxlan.contains(word), "{word}: {vxlan}");
        }
        let bridge = link("br100");
        for word in ["stp_state 0", "mcast_snooping 0", "vlan_filtering 0", "forward_delay 0", "addrgenmode none", "alias evpnd"]
        {
            assert!(bridge.contains(word), "{word}: {bridge}");
        }
        for name in ["vxlan100", "br100"] {
            assert_eq!(sh(&format!("cat /proc/sys/net/ipv6/conf/{name}/disable_ipv6")).trim(), "1");
            assert_eq!(sh(&format!("ip -6 addr show dev {name}")), "");
        }
    });
}

#[test]
fn makes_devices_over_ipv6() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[DeviceSpec { local: "fd00::1".parse().unwrap(), ..spec(100) }]);
        let ready = room.ready(100);
        assert_eq!((ready.mtu, ready.local), (1430, Some("fd00::1".parse().unwrap())));
        let done = room.write(vec![
            op(ready.ifindex, OpKind::ReplaceUnicast, mac(1), "fd00::2"),
            op(ready.ifindex, OpKind::AppendFlood, MacAddr::ZERO, "fd00::2"),
            op(ready.ifindex, OpKind::ReplaceUnicast, mac(2), "10.0.0.2"),
        ]);
        assert_eq!(done.errors, [(2, libc::EAFNOSUPPORT)]);
        assert!(fdb(mac(1))[0].contains("dst fd00::2"), "{:?}", fdb(mac(1)));
        assert_eq!(fdb(mac(2)), Vec::<String>::new(), "the bridge's half was taken back");
        assert_eq!(room.rows(100).len(), 2);
    });
}

#[test]
fn the_mtu_comes_from_the_way_out_when_the_address_is_on_a_loopback() {
    in_namespace(|| {
        sh("ip addr add 10.9.9.9/32 dev lo; ip link set u0 mtu 1600; ip route add default via 10.0.0.2");
        let mut room = Room::new();
        room.want(&[DeviceSpec { local: "10.9.9.9".parse().unwrap(), ..spec(100) }, DeviceSpec { mtu: Some(1400), ..spec(200) }]);
        assert_eq!(room.ready(100).mtu, 1550);
        assert_eq!(room.ready(200).mtu, 1400);
    });
}

#[test]
fn a_restart_knows_what_it_made_and_keeps_the_rows() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let first = room.ready(100);
        room.write(vec![op(first.ifindex, OpKind::ReplaceUnicast, mac(1), "10.0.0.2")]);
        room.handle.stop();
        let mut room = Room::new();
        room.want(&[spec(100)]);
        assert_eq!(room.ready(100), first);
        let rows = room.rows(100);
        assert_eq!(rows.len(), 1);
        assert!(rows[0].ext_learned && !rows[0].permanent && rows[0].mac == mac(1), "{rows:?}");
    });
}

#[test]
fn adopts_by_vni_mends_what_it_may_and_warns_of_the_rest() {
    in_namespace(|| {
        sh("ip link add onebr.7 type bridge; ip link set onebr.7 up");
        sh("ip link add eth0.7 type vxlan id 100 group 239.0.0.7 dev u0 dstport 8472; ip link set eth0.7 master onebr.7");
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let ready = room.ready(100);
        assert_eq!((ready.device.as_str(), ready.bridge.as_str(), ready.port), ("eth0.7", "onebr.7", 8472));
        assert!(!ready.made_device && !ready.made_bridge && !ready.up);
        let text = ready.warnings.join("\n");
        for word in ["ip link set eth0.7 up", "no local address", "still floods to its multicast group 239.0.0.7"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let vxlan = link("eth0.7");
        for word in ["nolearning", "learning off", "neigh_suppress on"] {
            assert!(vxlan.contains(word), "{word}: {vxlan}");
        }
        // The commands of the warnings mend it, and that is seen.
        for warning in &ready.warnings {
            sh(&format!("ip link {}", warning.split(": ip link ").nth(1).unwrap()));
        }
        let mended = room.wait("a device without warnings", |event| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) if ready.warnings.is_empty() => Some(ready.clone()),
            _ => None,
        });
        assert!(mended.up);
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::DeviceGone { .. })));
        // It is not ours to remove.
        room.handle.send(KernelCommand::Remove { vnis: vec![vni(100)] });
        let kept = room.wait("the end of a removal", |event| match event {
            KernelEvent::Removed { kept, .. } => Some(kept.clone()),
            _ => None,
        });
        assert_eq!(kept, [(vni(100), "eth0.7 was not made by evpnd".to_owned())]);
        assert!(exists("eth0.7"));
    });
}

#[test]
fn an_adopted_device_without_a_bridge_gets_one() {
    in_namespace(|| {
        sh("ip link add vx type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning; ip link set vx up");
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let ready = room.ready(100);
        assert!(!ready.made_device && ready.made_bridge && ready.up, "{ready:?}");
        // A device that appears later gets time to be put into its platform's own bridge.
        room.want(&[spec(100), spec(200)]);
        room.ready(200);
        sh("ip link del vxlan200; ip link add own type bridge; ip link set own up");
        assert!(room.device_gone().contains("removed"));
        room.ready(200);
        sh("ip link del vx; ip link add vx type vxlan id 300 local 10.0.0.1 dstport 4789 nolearning");
    });
}

/// Its platform removes its device and makes it again, sooner or later: it finds the VNI free. Where it does not, one of ours comes
/// into the bridge where the guests are, and is made again at once, there.
#[test]
fn a_device_of_somebody_else_is_his_to_make_again_and_one_of_ours_takes_its_place() {
    in_namespace(|| {
        sh(
            "ip link add b230 type bridge; ip link set b230 up; ip link add t1 type veth peer name p1; ip link set t1 master b230 up",
        );
        let make = "ip link add vx230 type vxlan id 230 local 10.0.0.1 dstport 4789 nolearning; ip link set vx230 master b230 up";
        let after = |seconds| DeviceSpec { make_after: Duration::from_secs(seconds), ..spec(230) };
        let theirs = |ready: &ReadyDevice| (ready.device.clone(), ready.bridge.clone(), ready.made_device, ready.made_bridge);
        sh(make);
        let mut room = Room::new();
        room.want(&[after(3600)]);
        let first = theirs(&room.ready(230));
        assert_eq!(first, ("vx230".to_owned(), "b230".to_owned(), false, false));
        // However often.
        for pause in ["0", "0", "0.3", "0", "0", "0", "0"] {
            sh(&format!("ip link del vx230; sleep {pause}; {make}"));
            assert_eq!(room.device_gone(), "the VXLAN device vx230 was removed");
            assert_eq!(theirs(&room.ready(230)), first);
        }
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::DeviceMended { .. })), "nobody undid anything");
        // That the guests have no tunnel is told.
        sh("ip link del vx230");
        let (reason, remedy) = room.unusable(230);
        assert_eq!(reason, "vx230, which evpnd did not make, was removed; bridge b230 (t1) has no tunnel");
        assert_eq!(remedy, "have it made again as it was made before; 3600 s after it went evpnd makes vxlan230 in b230");
        sh(make);
        assert_eq!(theirs(&room.ready(230)), first);
        assert!(!exists("vxlan230") && !exists("br230"));

        room.want(&[after(3)]);
        room.row(mac(1));
        sh("ip link del vx230");
        room.unusable(230);
        let ours = room.ready(230);
        assert_eq!(theirs(&ours), ("vxlan230".to_owned(), "b230".to_owned(), true, false));
        assert!(!exists("br230"));
        // Ours nobody else makes again.
        room.want(&[after(3600)]);
        room.row(mac(1));
        sh("ip link del vxlan230");
        room.device_gone();
        let again = room.ready(230);
        assert_eq!(theirs(&again), theirs(&ours));
    });
}

#[test]
fn refuses_in_words_and_leaves_nothing_half_made() {
    in_namespace(|| {
        // What not every kernel has (VLAN-aware bridges, bonds, VRFs) is in the unit tests of the planner.
        sh("ip link add vxlan1 type veth peer name br2");
        sh("ip link add x5a type vxlan id 5 dstport 4789; ip link add x5b type vxlan id 5 dstport 4790");
        sh("ip link add vxlan6 type vxlan external dstport 4791");
        sh("ip link add br7 type bridge; ip link add x7 type vxlan external dstport 4792; ip link set x7 master br7");
        sh("ip link add vxlan10 type vxlan id 1000 dstport 4789");
        let mut room = Room::new();
        let numbers = [1, 2, 5, 6, 7, 10];
        let mut specs: Vec<DeviceSpec> = numbers.iter().map(|number| spec(*number)).collect();
        specs.push(DeviceSpec { device: "name-of-17-octets".to_owned(), ..spec(9) });
        specs.push(DeviceSpec { bridge: "br11".to_owned(), ..spec(11) });
        specs.push(DeviceSpec { bridge: "br11".to_owned(), ..spec(12) });
        room.want(&specs);
        let expected = [
            (1, "vxlan1 exists that is not VXLAN", "set another `device`"),
            (2, "br2 is not a bridge", "set another `bridge`"),
            (5, "2 VXLAN devices: x5a, x5b", "ip link del"),
            (6, "single VXLAN device for many VNIs", "set another `device`"),
            (7, "x7, a single VXLAN device", "ip link set x7 nomaster"),
            (9, "cannot be the name of an interface", "15 octets"),
            (10, "vxlan10 is the VXLAN device of VNI 1000", "set another `device`"),
            (12, "already carries VNI 11", "set another `bridge`"),
        ];
        let mut left: BTreeSet<u32> = expected.iter().map(|(number, _, _)| *number).collect();
        while !left.is_empty() {
            let (number, reason, remedy) = room.wait("refusals", |event| match event {
                KernelEvent::Device(DeviceState::Unusable { vni, reason, remedy }) => {
                    Some((vni.get(), reason.clone(), remedy.clone()))
                }
                _ => None,
            });
            let Some((_, why, what)) = expected.iter().find(|(other, _, _)| *other == number) else {
                panic!("{number}: {reason}")
            };
            assert!(reason.contains(why) && remedy.contains(what), "{number}: {reason}: {remedy}");
            left.remove(&number);
        }
        for name in ["vxlan2", "br1", "br6", "br9"] {
            assert!(!exists(name), "{name} was made");
        }
        // The remedies work while it runs.
        sh("ip link del x5b; ip link del vxlan1");
        room.ready(2);
        assert!(!room.ready(5).made_device);
    });
}

#[test]
fn what_was_begun_is_rolled_back() {
    in_namespace(|| {
        // The kernel refuses the second device of a port that an `external` one has, and only when it is set up.
        sh("ip link add ext type vxlan external dstport 4789; ip link set ext up");
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let (reason, remedy) = room.unusable(100);
        assert!(reason.contains("vxlan100 could not be set up") || reason.contains("could not be made"), "{reason}: {remedy}");
        assert!(!exists("vxlan100") && !exists("br100"));
        sh("ip link del ext");
        room.ready(100);
    });
}

#[test]
fn a_device_removed_behind_our_back_is_made_again() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let mut last = room.ready(100).ifindex;
        for _ in 0..3 {
            sh("ip link del vxlan100");
            assert!(room.device_gone().contains("removed"));
            let ready = room.ready(100);
            assert_ne!(ready.ifindex, last);
            last = ready.ifindex;
        }
        sh("ip link del br100");
        assert!(room.device_gone().contains("bridge br100 no more"));
        assert!(room.ready(100).made_bridge);
        // Port flags that somebody changes are set again.
        sh("bridge link set dev vxlan100 learning on");
        room.listen(500);
        assert!(link("vxlan100").contains(" learning off"));
        // Set down by somebody: a device of ours goes up again, and it is told.
        for name in ["vxlan100", "br100"] {
            room.listen(100);
            sh(&format!("ip link set {name} down"));
            let what = room.wait("a device that is mended", |event| match event {
                KernelEvent::DeviceMended { what, .. } if what.contains("set up") => Some(what.clone()),
                _ => None,
            });
            assert_eq!(what, format!("{name} set up"));
            assert!(link(name).contains("UP"), "{}", link(name));
        }
        sh("ip link set vxlan100 nomaster");
        let what = room.wait("a device that is mended", |event| match event {
            KernelEvent::DeviceMended { what, .. } if what.contains("put into br100") => Some(what.clone()),
            _ => None,
        });
        assert!(what.contains("learning off"), "{what}");
    });
}

/// It is put up again at a pace; what it is meanwhile is told, so that the VNI can be withdrawn.
#[test]
fn a_device_that_is_set_down_again_and_again_is_told_to_be_down_until_it_is_up() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100)]);
        assert!(room.ready(100).up);
        let is_up = |room: &Room| {
            let told = room.seen.iter().rev().find_map(|event| match event {
                KernelEvent::Device(DeviceState::Ready(ready)) => Some(ready.up),
                _ => None,
            });
            told.unwrap()
        };
        for _ in 0..200 {
            sh("ip link set vxlan100 down");
            room.listen(20);
            if !is_up(&room) {
                break;
            }
        }
        assert!(room.seen.iter().any(|event| matches!(event, KernelEvent::Device(DeviceState::Ready(ready)) if !ready.up)));
        for _ in 0..100 {
            room.listen(100);
            if is_up(&room) {
                break;
            }
        }
        assert!(is_up(&room) && link("vxlan100").contains("UP"));
    });
}

#[test]
fn somebody_elses_device_that_was_set_down_stays_so_and_is_warned_of() {
    in_namespace(|| {
        sh("ip link add br100 type bridge; ip link set br100 up");
        sh("ip link add vxlan100 type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning");
        sh("ip link set vxlan100 master br100 up");
        let mut room = Room::new();
        room.want(&[spec(100)]);
        assert!(room.ready(100).up);
        sh("ip link set vxlan100 down");
        let warned = room.wait("a warning", |event| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) if !ready.up => Some(ready.warnings.clone()),
            _ => None,
        });
        assert_eq!(warned, ["vxlan100 is down: ip link set vxlan100 up"]);
    });
}

/// Without a notification (none is read here until the question comes): the audit's own look.
#[test]
fn the_audit_looks_at_devices_by_itself() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100)]);
        room.ready(100);
        // What changes on a device that is down is notified to nobody.
        sh("ip link set vxlan100 down; bridge link set dev vxlan100 learning on neigh_suppress off; ip link set vxlan100 up");
        room.handle.send(KernelCommand::CheckDevices);
        let flags = || link("vxlan100");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !(flags().contains(" learning off") && flags().contains("neigh_suppress on")) {
            assert!(std::time::Instant::now() < end, "{}", flags());
            room.listen(20);
        }
    });
}

/// As an earlier run left it, while the network is being restarted or the host boots.
#[test]
fn a_device_of_somebody_else_that_an_earlier_run_had_is_his_to_make_again() {
    in_namespace(|| {
        sh("ip link add b230 type bridge; ip link set b230 up");
        let bridge: u32 = sh("ip -o link show b230").split(':').next().unwrap().parse().unwrap();
        let make = "ip link add vx230 type vxlan id 230 local 10.0.0.1 dstport 4789 nolearning; ip link set vx230 master b230 up";
        let begin = |after: u64| {
            let room = Room::new();
            let stood = StoodDevice { device: "vx230".to_owned(), bridge_ifindex: Some(bridge) };
            room.handle.send(KernelCommand::Stood([(vni(230), stood)].into()));
            room.want(&[DeviceSpec { make_after: Duration::from_secs(after), ..spec(230) }]);
            room
        };
        let mut room = begin(3600);
        let (reason, remedy) = room.unusable(230);
        assert_eq!(reason, "vx230, which evpnd did not make, is there no more");
        assert_eq!(remedy, "have it made again as it was made before; 3600 s from its start evpnd makes vxlan230 in b230");
        sh(make);
        assert!(!room.ready(230).made_device && !exists("vxlan230"));
        drop(room);
        // It stands: nobody is waited for.
        let mut room = begin(3600);
        assert_eq!(room.ready(230).device, "vx230");
        drop(room);
        // Whoever made it does not come back: one of ours takes its place, in the same bridge.
        sh("ip link del vx230");
        let mut room = begin(2);
        room.unusable(230);
        let ours = room.ready(230);
        assert!(ours.made_device && !ours.made_bridge && ours.bridge == "b230", "{ours:?}");
    });
}

#[test]
fn follows_a_device_to_another_bridge_and_a_new_name() {
    in_namespace(|| {
        sh("ip link add bra type bridge; ip link add brb type bridge; ip link set bra up; ip link set brb up");
        sh(
            "ip link add vx type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning; ip link set vx master bra; ip link set vx up",
        );
        let mut room = Room::new();
        room.want(&[DeviceSpec { make_after: Duration::from_secs(1), ..spec(100) }]);
        assert_eq!(room.ready(100).bridge, "bra");
        sh("ip link set vx master brb");
        room.device_gone();
        assert_eq!(room.ready(100).bridge, "brb");
        let put_back = |event: &&KernelEvent| matches!(event, KernelEvent::DeviceMended { .. });
        assert_eq!(room.seen.iter().find(put_back), None, "what it needs in a new bridge was not taken from it");
        sh("bridge link set dev vx learning on");
        room.wait("what somebody took from it", |event| put_back(&event).then_some(()));
        // Kernels before 6.2 rename nothing that is up.
        sh("ip link set vx down; ip link set vx name vy; ip link set vy up");
        while room.ready(100).device != "vy" {}
        // Gone for good: one of ours takes its place.
        sh("ip link del vy");
        room.device_gone();
        let ready = room.ready(100);
        assert!(ready.made_device && ready.bridge == "brb", "{ready:?}");
    });
}

#[test]
fn drain_removes_what_nothing_else_uses() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100), spec(200)]);
        room.ready(100);
        room.ready(200);
        add_port("t1", "p1");
        room.listen(100);
        room.handle.send(KernelCommand::Remove { vnis: vec![vni(100), vni(200)] });
        let (gone, kept) = room.wait("the end of a removal", |event| match event {
            KernelEvent::Removed { vnis, kept } => Some((vnis.clone(), kept.clone())),
            _ => None,
        });
        assert_eq!(gone, [vni(100), vni(200)]);
        assert_eq!(kept, [(vni(100), "bridge br100 stays: t1 still in it".to_owned())]);
        assert!(!exists("vxlan100") && exists("br100") && !exists("vxlan200") && !exists("br200"));
        room.listen(300);
        assert!(!exists("vxlan100"), "it is wanted no more");
    });
}

#[test]
fn the_environment_is_looked_at_in_words() {
    in_namespace(|| {
        let check = |ip: &str| kernel::check_environment(Some(ip.parse().unwrap()));
        assert_eq!(check("10.0.0.1"), Ok(()));
        assert_eq!(check("fd00::1"), Ok(()));
        assert_eq!(kernel::check_environment(None), Ok(()));
        let error = check("192.0.2.1").unwrap_err().to_string();
        assert!(error.contains("192.0.2.1 is not on this host (it has 10.0.0.1)"), "{error}");
        assert!(!exists("evpnd-probe"));
        // Without rights (of this thread only: the system call, not the function of the C library).
        // SAFETY: takes three numbers.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) }, 0);
        let error = check("10.0.0.1").unwrap_err().to_string();
        assert!(error.contains("CAP_NET_ADMIN"), "{error}");
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let (reason, remedy) = room.unusable(100);
        assert!(reason.contains("no permission") && remedy.contains("CAP_NET_ADMIN"), "{reason}: {remedy}");
    });
}

/// The kernel takes rows of one family on a device, and no change of that (`vxlan_nl2conf`, `vxlan_fdb_parse`).
#[test]
fn a_device_of_the_other_family_is_refused_with_what_mends_it() {
    in_namespace(|| {
        sh("ip link add six type vxlan id 1 local fd00::1 dstport 4791
            ip link add silent type vxlan id 2 dstport 4792
            ip link add br2 type bridge; ip link set silent master br2
            ip link add grouped type vxlan id 3 group 239.1.1.3 dev u0 dstport 4793
            ip link add any type vxlan id 4 local :: dstport 4794
            ip link add br4 type bridge; ip link set any master br4");
        let fix = |number| DeviceSpec { fix: true, make_after: Duration::from_secs(1), ..spec(number) };
        let ipv6 = |number| DeviceSpec { local: "fd00::1".parse().unwrap(), ..fix(number) };
        let mut room = Room::new();
        room.want(&[fix(1), ipv6(2), ipv6(3), ipv6(4)]);
        for (number, name, has, vtep) in [
            (1, "six", "IPv6", "10.0.0.1 is of IPv4"),
            (2, "silent", "IPv4", "fd00::1 is of IPv6"),
            (3, "grouped", "IPv4", "fd00::1 is of IPv6"),
        ] {
            let (reason, remedy) = room.unusable(number);
            assert_eq!(reason, format!("{name} (VNI {number}) tunnels over {has}, and the VTEP {vtep}"));
            assert_eq!(remedy, format!("ip link del {name}, and 1 s later evpnd makes vxlan{number} in br{number}"));
            assert!(!link(name).contains("nolearning"), "it was touched: {}", link(name));
        }
        // It says no more of itself than `silent` does, and is of IPv6.
        let ready = room.ready(4);
        assert_eq!((ready.device.as_str(), ready.local), ("any", Some("fd00::1".parse().unwrap())));
        for (number, name) in [(1, "six"), (2, "silent"), (3, "grouped")] {
            sh(&format!("ip link del {name}"));
            assert!(room.ready(number).made_device);
        }
    });
}

/// What was tried and failed is a warning, not somebody's work undone.
#[test]
fn a_step_that_failed_has_mended_nothing() {
    in_namespace(|| {
        // The kernel bounds the MTU by that of the interface on which the group is joined.
        let large = DeviceSpec { group: Some("239.1.1.1".parse().unwrap()), learning: true, mtu: Some(9000), ..spec(100) };
        let mut room = Room::new();
        room.want(std::slice::from_ref(&large));
        let ready = room.ready(100);
        assert!(ready.warnings.iter().any(|warning| warning.contains("MTU of vxlan100 could not be set")), "{ready:?}");
        // Another VNI comes: everything is tried once more.
        room.want(&[large, spec(200)]);
        room.ready(200);
        room.listen(200);
        let mended = |event: &&KernelEvent| matches!(event, KernelEvent::DeviceMended { .. });
        assert_eq!(room.seen.iter().find(mended), None);
    });
}

/// What the kernel does with a question it cannot answer on such a device, and that it does not let it be changed.
#[test]
fn a_device_that_swallows_questions_is_told_with_what_mends_it() {
    in_namespace(|| {
        sh("ip link add office type bridge; ip link set office up
            ip link add five type vxlan id 5 local 10.0.0.1 dstport 4795 proxy; ip link set five master office up");
        let five = || DeviceSpec { make_after: Duration::from_secs(1), ..spec(5) };
        let in_office = || DeviceSpec { bridge: "office".to_owned(), ..five() };
        let mut room = Room::new();
        // Where nothing is flooded anyway, a question that nobody can answer ends here.
        room.want(&[DeviceSpec { questions: true, ..in_office() }]);
        assert_eq!(room.ready(5).warnings, Vec::<String>::new());
        room.want(&[five()]);
        let elsewhere = "set `bridge` of VNI 5 to office; then ip link del five, and 1 s later evpnd makes vxlan5 in office";
        let warnings = room.ready(5).warnings;
        assert!(matches!(&warnings[..], [one] if one.contains("(proxy)") && one.ends_with(elsewhere)), "{warnings:?}");
        room.want(&[in_office()]);
        let warnings = room.ready(5).warnings;
        assert!(warnings[0].ends_with(": ip link del five, and 1 s later evpnd makes vxlan5 in office"), "{warnings:?}");
        let refused =
            std::process::Command::new("ip").args(["link", "set", "five", "type", "vxlan", "noproxy"]).output().unwrap();
        assert!(!refused.status.success(), "this kernel lets it be changed: the warning should say so");
        sh("ip link del five");
        let ready = room.wait("a device of ours", |event| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) if ready.made_device => Some(ready.clone()),
            _ => None,
        });
        assert_eq!((ready.device.as_str(), ready.bridge.as_str(), ready.warnings.len()), ("vxlan5", "office", 0));
    });
}

/// Made for the host itself (`bridge = "none"`) it answers what it can and drops the rest: in a bridge it is another device.
#[test]
fn a_device_of_ours_that_comes_into_a_bridge_is_made_without_proxy() {
    in_namespace(|| {
        let bare = DeviceSpec { bare: true, questions: true, bridge: "none".to_owned(), ..spec(100) };
        let mut room = Room::new();
        room.want(&[bare]);
        room.ready(100);
        assert!(link("vxlan100").contains(" proxy "), "{}", link("vxlan100"));
        room.want(&[spec(100)]);
        let ready = room.wait("a device in a bridge", |event| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) if !ready.is_bare() => Some(ready.clone()),
            _ => None,
        });
        assert!(!link("vxlan100").contains(" proxy ") && ready.warnings.is_empty(), "{} {ready:?}", link("vxlan100"));
    });
}
