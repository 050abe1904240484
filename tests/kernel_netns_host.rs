//! This host as a station of a bridge, and what its guests are kept from, against the real kernel. See `kernel_stage.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "kernel_stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use evpnd::base::MacAddr;
use evpnd::fib::{DeviceSpec, DeviceState, KernelCommand, KernelEvent, OpKind};
use stage::*;

const REPLACE: OpKind = OpKind::ReplaceNeighbor { router: false };

/// What the host itself has on the bridge, as it is told next.
fn host(room: &mut Room) -> (MacAddr, Vec<(String, bool)>) {
    room.wait("what the host is", |event| match event {
        KernelEvent::Host { station: Some(station), .. } => {
            let addresses = station.addresses.iter().map(|(ip, router)| (ip.to_string(), *router)).collect();
            assert_eq!(station.port_name, "br100");
            Some((station.mac, addresses))
        }
        _ => None,
    })
}

/// The next that has these addresses; `true`: the host is a router for it.
fn expect_host(room: &mut Room, wanted: &[(&str, bool)]) -> MacAddr {
    let wanted: Vec<(String, bool)> = wanted.iter().map(|(text, router)| ((*text).to_owned(), *router)).collect();
    loop {
        let (mac, addresses) = host(room);
        if addresses == wanted {
            return mac;
        }
    }
}

#[test]
fn what_the_host_has_on_the_bridge_is_told_as_it_changes() {
    with_tenant(|room, _, _, _| {
        // Until then it has that of whichever port has the lowest.
        sh("ip link set br100 address 02:00:5e:00:01:09");
        let mac = MacAddr([2, 0, 0x5e, 0, 1, 9]);
        while expect_host(room, &[]) != mac {}
        sh("ip addr add 192.0.2.1/24 dev br100");
        assert_eq!(expect_host(room, &[("192.0.2.1", false)]), mac);
        // Not before it is known to be nobody else's; with it the link-local one, which alone is nobody's wish.
        sh("sysctl -qw net.ipv6.conf.br100.disable_ipv6=0; ip addr add fe80::9/64 dev br100 nodad");
        sh("ip addr add 2001:db8::1/64 dev br100");
        let all = |router| [("192.0.2.1", false), ("2001:db8::1", router), ("fe80::9", router)];
        // Our filter on this bridge of ours keeps it from guests: that is said in words, and what takes the filter away has it told.
        let warnings = |event: &KernelEvent| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) => Some(ready.warnings.clone()),
            KernelEvent::Host { station, .. } => panic!("no guest reaches it: {station:?}"),
            _ => None,
        };
        let warned = room.wait("a warning", warnings);
        assert!(
            warned.len() == 1 && warned[0].starts_with("guests do not reach 2001:db8::1 on br100, and it is not announced: ")
        );
        assert_eq!(sh("ip -6 addr show dev br100 tentative").trim(), "");
        let remedy = "tc filter del dev br100 ingress pref 1";
        assert!(warned[0].contains(&format!(": {remedy}; or ")), "{warned:?}");
        sh(remedy);
        expect_host(room, &all(false));
        let warnings = |event: &KernelEvent| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) => Some(ready.warnings.clone()),
            _ => None,
        };
        assert_eq!(room.wait("the end of the warning", warnings), Vec::<String>::new());
        for router in [true, false] {
            sh(&format!("sysctl -qw net.ipv6.conf.br100.forwarding={}", u8::from(router)));
            expect_host(room, &all(router));
        }
        sh("ip link set br100 address 02:00:5e:00:01:01");
        assert_eq!(expect_host(room, &all(false)), MacAddr([2, 0, 0x5e, 0, 1, 1]));
        sh("ip -6 addr flush dev br100 scope global");
        expect_host(room, &[("192.0.2.1", false), ("fe80::9", false)]);
        sh("ip addr del 192.0.2.1/24 dev br100");
        expect_host(room, &[]);
        // A bridge that is down hears nobody, and one with the tunnel's own address is not the guests' alone.
        sh("ip addr add 192.0.2.1/24 dev br100; ip -6 addr flush dev br100");
        expect_host(room, &[("192.0.2.1", false)]);
        sh("ip addr add 10.0.0.1/32 dev br100");
        expect_host(room, &[]);
        sh("ip addr del 10.0.0.1/32 dev br100");
        expect_host(room, &[("192.0.2.1", false)]);
        sh("ip link set br100 down");
        expect_host(room, &[]);
        sh("ip link set br100 up");
        expect_host(room, &[("192.0.2.1", false)]);
        sh("ip link del vxlan100");
        room.wait("the end of it", |event| matches!(event, KernelEvent::Host { station: None, .. }).then_some(()));
    });
}

/// A port of VXLAN that comes while evpnd runs is closed to tenants at once, without an audit, at every bridge.
#[test]
fn the_filters_know_a_new_port_of_vxlan_at_once() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100), spec(200)]);
        let bridge = room.ready(100).bridge_ifindex;
        room.ready(200);
        assert_eq!(room.write(vec![op(bridge, REPLACE, mac(1), "2001:db8::1")]).errors, []);
        assert_eq!(disabled("br100"), "0", "without the filter it would be open");
        let knows = |port: u16| {
            ["br100", "br200"]
                .iter()
                .all(|bridge| sh(&format!("tc filter show dev {bridge} ingress")).contains(&format!(" {port}")))
        };
        let wait = |port: u16| {
            let end = Instant::now() + Duration::from_secs(10);
            while !knows(port) {
                assert!(Instant::now() < end, "port {port} is not closed: {}", sh("tc filter show dev br100 ingress"));
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        wait(4789);
        assert!(!knows(4998));
        // Nor is one forgotten that has an address of this host by now: its filter stands.
        sh("sysctl -qw net.ipv6.conf.br200.disable_ipv6=0; ip addr add 2001:db8::1/64 dev br200 nodad");
        sh("ip link add late4 type vxlan id 4001 dstport 4998");
        wait(4998);
        // One of many VNIs as well.
        sh("ip link add many type vxlan external dstport 4997");
        wait(4997);
        // Nor did anybody take the filter away, now or while evpnd was away.
        let put_back = |events: &[KernelEvent]| events.iter().any(|event| matches!(event, KernelEvent::DeviceMended { .. }));
        assert!(!put_back(&room.listen(200)) && !put_back(&room.seen), "{:#?}", room.seen);
        drop(room);
        sh("ip link add late5 type vxlan id 4002 dstport 4996");
        let mut room = Room::new();
        room.want(&[spec(100), spec(200)]);
        room.ready(100);
        room.ready(200);
        wait(4996);
        assert!(!put_back(&room.listen(200)) && !put_back(&room.seen), "{:#?}", room.seen);
    });
}

/// Turns of all threads of this process in half a second, as far as they waited in between.
fn turns() -> u64 {
    let count = || -> u64 {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let of_task = |task: std::io::Result<std::fs::DirEntry>| {
            let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
        };
        tasks.filter_map(of_task).sum()
    };
    let before = count();
    std::thread::sleep(Duration::from_millis(500));
    count() - before
}

/// A question for a guest of a VNI that has no device by the time it comes: nobody can be asked, and nothing turns.
#[test]
fn a_question_without_a_device_has_nobody_turn() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[DeviceSpec { existing: true, neighbor_learning: true, probe_silent: true, ..spec(100) }]);
        room.unusable(100);
        room.handle.send(KernelCommand::AskAddresses(vec![(vni(100), mac(1), "192.0.2.1".parse().unwrap())]));
        std::thread::sleep(Duration::from_millis(100));
        let turns = turns();
        assert!(turns < 50, "{turns} turns in half a second");
    });
}
