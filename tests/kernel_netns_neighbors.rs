//! Neighbours of bridges against the real kernel: what is written is what ARP and ND are answered from. See `kernel_stage.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "kernel_stage.rs"]
mod stage;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use evpnd::base::MacAddr;
use evpnd::fib::{
    Batch, Binding, DeviceSpec, DeviceState, KernelCommand, KernelEvent, KernelNeighbor, MovedAddress, NeighborOwner, OpKind,
};
use stage::*;

const REPLACE: OpKind = OpKind::ReplaceNeighbor { router: false };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn neighbors(room: &mut Room) -> Vec<KernelNeighbor> {
    room.handle.send(KernelCommand::DumpNeighbors { token: 5, vni: vni(100) });
    room.wait("neighbours", |event| match event {
        KernelEvent::Neighbors { token: 5, neighbors, .. } => Some(neighbors.clone().unwrap()),
        _ => None,
    })
}

/// Asks for an address and waits for the answer to stand in the tenant's own table.
fn resolve(inside: &dyn Fn(&str) -> String, address: &str) -> String {
    inside(&format!(
        "for i in $(seq 50); do ping -c1 -W1 {address} >/dev/null 2>&1 || true; \
        ip neigh show {address} | grep lladdr && exit 0; done; ip neigh show {address}"
    ))
}

#[test]
fn arp_and_nd_are_answered_from_what_is_written() {
    with_tenant(|room, device, bridge, inside| {
        let done = room.write(vec![
            op(device, OpKind::ReplaceUnicast, mac(1), "10.0.0.2"),
            op(bridge, REPLACE, mac(1), "192.0.2.1"),
            op(bridge, OpKind::ReplaceNeighbor { router: true }, mac(1), "2001:db8::1"),
        ]);
        assert_eq!((done.errors, done.fatal), (vec![], None));
        assert!(resolve(inside, "192.0.2.1").contains(&mac(1).to_string()));
        let told = resolve(inside, "2001:db8::1");
        assert!(told.contains(&mac(1).to_string()) && told.contains("router"), "{told}");
        let ours = |text: &str, router| KernelNeighbor {
            ip: ip(text),
            binding: Some(Binding { mac: mac(1), router }),
            owner: NeighborOwner::Ours,
        };
        assert_eq!(neighbors(room), [ours("192.0.2.1", false), ours("2001:db8::1", true)]);
        let done = room.write(vec![
            op(bridge, OpKind::DeleteNeighbor, mac(1), "192.0.2.1"),
            op(bridge, OpKind::DeleteNeighbor, mac(1), "2001:db8::1"),
            op(bridge, OpKind::DeleteNeighbor, mac(1), "192.0.2.77"),
        ]);
        assert_eq!(done.errors, [], "what is not there is gone");
        assert_eq!(neighbors(room), []);
    });
}

#[test]
fn a_bridge_opened_for_nd_lets_no_tenant_reach_the_host() {
    with_tenant(|room, device, bridge, inside| {
        room.write(vec![op(device, OpKind::ReplaceUnicast, mac(1), "10.0.0.2"), op(bridge, REPLACE, mac(1), "192.0.2.1")]);
        assert_eq!(disabled("br100"), "1", "IPv4 needs nothing of it");
        room.write(vec![op(bridge, REPLACE, mac(1), "2001:db8::1")]);
        assert_eq!((disabled("br100").as_str(), sh("ip -6 addr show dev br100").trim()), ("0", ""));
        // The host has an address elsewhere, and the tenant knows where the bridge is: Linux would answer on any interface.
        sh("ip addr add 2001:db8:1::1/128 dev lo nodad; ip -6 route add 2001:db8::9 dev br100");
        let own = sh("ip -o link show br100 | sed 's/.*ether \\([^ ]*\\).*/\\1/'");
        inside(&format!(
            "ip -6 route add 2001:db8:1::/64 dev t0; ip -6 neigh replace 2001:db8:1::1 lladdr {} dev t0; \
             ip -6 neigh replace 2001:db8::ffff lladdr {0} dev t0",
            own.trim()
        ));
        let delivered = || sh("grep Icmp6InEchos /proc/net/snmp6");
        let before = delivered();
        inside("ping -c2 -i 0.2 -W1 2001:db8:1::1 >/dev/null || true; ping -c2 -i 0.2 -W1 ff02::1%t0 >/dev/null || true");
        assert_eq!(delivered(), before, "no echo came up from the bridge");
        // Without the filter it would have: the test can tell. It is put back but where the bridge was given an address.
        sh("ip -6 addr add 2001:db8:2::1/64 dev br100 nodad; tc qdisc del dev br100 clsact");
        inside("ping -c1 -W1 2001:db8:1::1 >/dev/null || true");
        assert_ne!(delivered(), before);
    });
}

#[test]
fn deleted_and_changed_neighbours_are_told_and_a_restart_finds_its_own() {
    with_tenant(|room, device, bridge, _| {
        room.write(vec![op(device, OpKind::ReplaceUnicast, mac(1), "10.0.0.2"), op(bridge, REPLACE, mac(1), "192.0.2.1")]);
        sh("ip neigh del 192.0.2.1 dev br100");
        room.wait("the end of a neighbour", |event| match event {
            KernelEvent::NeighborGone { vni: of, ip: gone } if *of == vni(100) && *gone == ip("192.0.2.1") => Some(()),
            _ => None,
        });
        room.write(vec![op(bridge, REPLACE, mac(1), "192.0.2.1")]);
        sh("ip neigh replace 192.0.2.1 lladdr 02:ee:00:00:00:09 dev br100 nud reachable");
        let owner = room.wait("a changed neighbour", |event| match event {
            KernelEvent::NeighborChanged { neighbor, .. } if neighbor.ip == ip("192.0.2.1") => Some(neighbor.owner),
            _ => None,
        });
        assert_eq!(owner, NeighborOwner::Other);
        sh("ip neigh replace 192.0.2.2 lladdr 02:ee:00:00:00:0a dev br100 nud permanent");
        room.write(vec![op(bridge, REPLACE, mac(1), "192.0.2.1")]);
        let mut again = Room::new();
        again.want(&[spec(100)]);
        again.ready(100);
        let found: Vec<_> = neighbors(&mut again).into_iter().map(|neighbor| (neighbor.ip, neighbor.owner)).collect();
        assert_eq!(found, [(ip("192.0.2.1"), NeighborOwner::Ours), (ip("192.0.2.2"), NeighborOwner::Operator)]);
        sh("ip link set br100 down");
        room.wait("the bridge's end of its neighbours", |event| match event {
            KernelEvent::NeighborLost { vni: of, ip: gone } if *of == vni(100) && *gone == ip("192.0.2.1") => Some(()),
            _ => None,
        });
    });
}

#[test]
fn on_a_bridge_that_is_not_ours_ipv6_stays_as_its_owner_has_it() {
    in_namespace(|| {
        sh("ip link add br0 type bridge; ip link set br0 up; echo 1 > /proc/sys/net/ipv6/conf/br0/disable_ipv6");
        sh("ip link add vx0 type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning; ip link set vx0 master br0 up");
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let ready = room.ready(100);
        assert!(!ready.ipv6_off && ready.warnings.is_empty(), "nobody announces an address of IPv6: {ready:?}");
        // Nothing is known of it before the kernel refuses one, and then it is told before the refusal.
        room.handle.send(KernelCommand::Write(Batch {
            id: 1,
            ops: vec![
                op(ready.bridge_ifindex, REPLACE, mac(1), "192.0.2.1"),
                op(ready.bridge_ifindex, REPLACE, mac(1), "2001:db8::1"),
            ],
        }));
        let off = room.ready(100);
        assert!(off.ipv6_off, "{off:?}");
        let [warning] = &off.warnings[..] else { panic!("{off:?}") };
        assert!(warning.starts_with("IPv6 is off at br0, ") && warning.contains("fix-devices = true"), "{warning}");
        let done = room.wait("the refusal", |event| match event {
            KernelEvent::BatchDone(done) => Some(done.clone()),
            _ => None,
        });
        assert_eq!(done.errors, [(1, libc::EINVAL)]);
        assert_eq!(disabled("br0"), "1");
        // Turned on it is found to be, though nothing tells.
        sh("echo 0 > /proc/sys/net/ipv6/conf/br0/disable_ipv6");
        let on = room.ready(100);
        assert!(!on.ipv6_off && on.warnings.is_empty(), "{on:?}");
        assert_eq!(room.write(vec![op(ready.bridge_ifindex, REPLACE, mac(1), "2001:db8::1")]).errors, []);
        // Off again, it is told before the neighbours that go with it.
        sh("echo 1 > /proc/sys/net/ipv6/conf/br0/disable_ipv6");
        let first = room.wait("word of it", |event| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) => Some(ready.ipv6_off),
            KernelEvent::NeighborGone { ip: gone, .. } if *gone == ip("2001:db8::1") => Some(false),
            _ => None,
        });
        assert!(first, "the neighbour was told to be gone first");
    });
}

/// `fix-devices`: what is done at a bridge of ours, and undone when nobody wants the VNI, also by a later run.
#[test]
fn a_bridge_that_may_be_mended_is_opened_for_nd_behind_the_filter_and_closed_again() {
    in_namespace(|| {
        sh("ip link add br0 type bridge; echo 1 > /proc/sys/net/ipv6/conf/br0/disable_ipv6; ip link set br0 up");
        sh("ip link add vx0 type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning; ip link set vx0 master br0 up");
        let mut room = Room::new();
        let fixed = DeviceSpec { fix: true, ..spec(100) };
        room.want(std::slice::from_ref(&fixed));
        let ready = room.ready(100);
        let filters = || sh("tc filter show dev br0 ingress");
        assert_eq!((disabled("br0").as_str(), filters().as_str()), ("1", ""), "nobody announces an address of IPv6");
        let write = |room: &mut Room| room.write(vec![op(ready.bridge_ifindex, REPLACE, mac(1), "2001:db8::1")]).errors;
        assert_eq!(write(&mut room), []);
        let opened = || disabled("br0") == "0" && filters().contains("protocol all pref 1 bpf");
        assert!(opened() && sh("ip -6 addr show dev br0").trim().is_empty());
        sh("tc filter del dev br0 ingress");
        room.wait("the filter put back", |event| match event {
            KernelEvent::DeviceMended { what, .. } if what.contains("the filter") => Some(()),
            _ => None,
        });
        assert!(opened());
        drop(room);
        // A later run knows it for its own, whatever its configuration says by now.
        let mut room = Room::new();
        room.want(&[spec(100)]);
        room.ready(100);
        assert!(opened());
        room.want(&[]);
        room.wait("its end", |event| matches!(event, KernelEvent::DeviceGone { .. }).then_some(()));
        let mode = |name| sh(&format!("cat /proc/sys/net/ipv6/conf/{name}/addr_gen_mode"));
        for _ in 0..100 {
            if disabled("br0") == "1" && sh("tc qdisc show dev br0").is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(
            (disabled("br0").as_str(), sh("tc qdisc show dev br0").contains("clsact"), mode("br0")),
            ("1", false, mode("default"))
        );
        // Turned on by the key when that comes, not before.
        room.want(&[spec(100)]);
        let ready = room.ready(100);
        assert_eq!(write(&mut room), [(0, libc::EINVAL)]);
        room.want(&[fixed]);
        room.wait("that it may be written", |event| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) => (!ready.ipv6_off).then_some(()),
            _ => None,
        });
        assert_eq!(room.write(vec![op(ready.bridge_ifindex, REPLACE, mac(1), "2001:db8::1")]).errors, []);
        assert!(opened());
        // An owner's own filter there stays, and its qdisc.
        sh("tc filter add dev br0 ingress protocol ip pref 7 u32 match u32 0 0 action ok 2>/dev/null || \
            tc filter add dev br0 ingress protocol ip pref 7 bpf da bytecode '1,6 0 0 0,'");
        room.want(&[]);
        room.wait("its end", |event| matches!(event, KernelEvent::DeviceGone { .. }).then_some(()));
        for _ in 0..100 {
            if !filters().contains("pref 1 ") {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(filters().contains("pref 7 ") && !filters().contains("pref 1 ") && disabled("br0") == "1", "{}", filters());
    });
}

/// The device moves on to another bridge of somebody's: the first is as it was again, and the second when nobody wants the VNI.
#[test]
fn a_bridge_that_was_opened_is_closed_when_the_device_moves_on() {
    in_namespace(|| {
        // With a port and a MAC that stay: else its owner's neighbours go with the device, too.
        for number in [0, 1] {
            let bridge = format!("br{number}");
            sh(&format!("ip link add {bridge} address 02:00:00:00:0b:0{number} type bridge"));
            sh(&format!("echo 1 > /proc/sys/net/ipv6/conf/{bridge}/disable_ipv6; ip link set {bridge} up"));
            sh(&format!("ip link add t{number} up type veth peer name p{number}; ip link set p{number} master {bridge} up"));
        }
        sh("ip link add vx0 type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning; ip link set vx0 master br0 up");
        let mut room = Room::new();
        room.want(&[DeviceSpec { fix: true, ..spec(100) }]);
        let open = |room: &mut Room, bridge: &str| {
            while room.ready(100).bridge != bridge {}
            let ifindex = sh(&format!("ip -o link show {bridge}")).split(':').next().unwrap().parse().unwrap();
            let written = ["2001:db8::1", "192.0.2.1"].map(|address| op(ifindex, REPLACE, mac(1), address));
            assert_eq!(room.write(written.into()).errors, []);
            assert_eq!(disabled(bridge), "0");
        };
        let at = |bridge: &str| -> Vec<String> {
            let text = sh(&format!("ip -4 neigh show dev {bridge}; ip -6 neigh show dev {bridge}"));
            text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
        };
        open(&mut room, "br0");
        sh("ip neigh add 192.0.2.8 lladdr 02:00:00:00:00:08 dev br0 nud permanent");
        assert_eq!(at("br0").len(), 3);
        sh("ip link set vx0 master br1");
        open(&mut room, "br1");
        assert_eq!((disabled("br0").as_str(), sh("tc filter show dev br0 ingress").trim()), ("1", ""));
        assert_eq!(at("br0"), ["192.0.2.8"], "the owner's, and none of ours");
        room.want(&[]);
        room.wait("its end", |event| matches!(event, KernelEvent::DeviceGone { .. }).then_some(()));
        let end = Instant::now() + Duration::from_secs(10);
        while disabled("br1") != "1" {
            assert!(Instant::now() < end, "br1 stays open");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

/// A later run does not want the VNI any more: told of what was changed for it, it undoes that with what else there is of the VNI, and not
/// what the owner did since.
#[test]
fn what_an_earlier_run_changed_on_interfaces_of_others_is_undone_when_nobody_wants_it() {
    in_namespace(|| {
        sh("ip link add br0 type bridge; echo 1 > /proc/sys/net/ipv6/conf/br0/disable_ipv6; ip link set br0 up");
        sh("ip link add vx0 type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning; ip link set vx0 master br0 up");
        sh(
            "ip link add p0 type veth peer name t0; ip link set p0 master br0 up; ip link add p1 type veth peer name t1; ip link set p1 master br0 up",
        );
        sh("bridge link set dev p1 isolated on");
        let isolated = |port: &str| sh(&format!("bridge -d link show dev {port}")).contains("isolated on");
        let filters = || sh("tc filter show dev br0 ingress");
        // Once with the filter taken away meanwhile, once with an address of the owner's.
        for (meanwhile, ipv6_off) in
            [("tc filter del dev br0 ingress pref 1", "1"), ("ip addr add 2001:db8::9/64 dev br0 nodad", "0")]
        {
            let mut room = Room::new();
            room.want(&[DeviceSpec { fix: true, isolated_ports: true, ..spec(100) }]);
            let ready = room.ready(100);
            let ops = vec![op(ready.bridge_ifindex, REPLACE, mac(1), "2001:db8::1")];
            room.handle.send(KernelCommand::Write(Batch { id: 7, ops }));
            let opened = room.wait("the bridge opened", |event| match event {
                KernelEvent::Opened { bridge, .. } => Some(*bridge),
                _ => None,
            });
            assert_eq!(opened, Some(ready.bridge_ifindex));
            let port: u32 = sh("ip -o link show p0").split(':').next().unwrap().parse().unwrap();
            drop(room);
            assert!(disabled("br0") == "0" && isolated("p0") && isolated("p1"));
            sh(meanwhile);
            let mut room = Room::new();
            room.handle.send(KernelCommand::Isolated([(vni(100), [port].into())].into()));
            room.handle.send(KernelCommand::Opened([(vni(100), ready.bridge_ifindex)].into()));
            room.want(&[]);
            room.wait("what there is", |event| matches!(event, KernelEvent::Found { .. }).then_some(()));
            room.handle.send(KernelCommand::Remove { vnis: vec![vni(100)] });
            let mut told = (false, false);
            room.wait("what is undone", |event| {
                told.0 |= matches!(event, KernelEvent::Isolated { ports, .. } if ports.is_empty());
                told.1 |= matches!(event, KernelEvent::Opened { bridge: None, .. });
                matches!(event, KernelEvent::Removed { .. }).then_some(())
            });
            assert_eq!(told, (true, true));
            assert!(!isolated("p0") && isolated("p1"), "what an operator isolated stays");
            assert_eq!((disabled("br0").as_str(), filters().as_str()), (ipv6_off, ""));
        }
        assert!(sh("ip -6 addr show dev br0").contains("2001:db8::9"));
    });
}

fn listening() -> DeviceSpec {
    DeviceSpec { neighbor_learning: true, ..spec(100) }
}

fn tenants_mac(inside: &dyn Fn(&str) -> String) -> MacAddr {
    inside("ip -o link show t0").split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().parse().unwrap()
}

/// Waits until the room tells that a station says it has an address.
fn says(room: &mut Room, mac: MacAddr, text: &str) {
    let wanted = ip(text);
    room.wait(&format!("{text} of {mac}"), |event| match event {
        KernelEvent::LocalAddress { vni: of, mac: who, ip, .. } => {
            (*of == vni(100) && *who == mac && *ip == wanted).then_some(())
        }
        _ => None,
    });
}

#[test]
fn what_hosts_say_of_their_addresses_is_heard() {
    with_tenant_of(listening(), |room, _, _, inside| {
        let mac = tenants_mac(inside);
        // Nobody has these: the questions alone tell who asks.
        inside("ping -c1 -W1 192.0.2.77 >/dev/null 2>&1 || true");
        says(room, mac, "192.0.2.9");
        inside("ping -c1 -W1 2001:db8::77 >/dev/null 2>&1 || true");
        says(room, mac, "2001:db8::9");
        inside("ip addr add 192.0.2.10/24 dev t0");
        // A port that comes later is listened at too, one that leaves the bridge is not.
        sh("ip link set p0 nomaster");
        room.unheard(mac);
        sh("ip link set p0 master br100");
        inside("ping -c1 -W1 -I 192.0.2.10 192.0.2.78 >/dev/null 2>&1 || true");
        says(room, mac, "192.0.2.10");
    });
}

/// A host says so unasked when it comes by an address. It is told each time, for the address may have been elsewhere meanwhile.
#[test]
fn an_address_said_unasked_is_told_each_time() {
    with_tenant_of(listening(), |room, _, _, inside| {
        let mac = tenants_mac(inside);
        inside("echo 1 > /proc/sys/net/ipv4/conf/t0/arp_notify");
        for _ in 0..3 {
            // Linux says so where the MAC is set, also to what it was.
            inside(&format!("ip link set t0 address {mac}"));
            says(room, mac, "192.0.2.9");
        }
    });
}

#[test]
fn a_room_that_is_not_asked_to_listen_hears_nothing() {
    with_tenant(|room, _, _, inside| {
        let mac = tenants_mac(inside);
        inside("ping -c1 -W1 192.0.2.77 >/dev/null 2>&1 || true");
        room.heard(mac);
        let told = room.listen(300);
        assert!(!room.seen.iter().chain(&told).any(|event| matches!(event, KernelEvent::LocalAddress { .. })), "{told:?}");
        room.want(&[listening()]);
        inside("ping -c1 -W1 192.0.2.79 >/dev/null 2>&1 || true");
        says(room, mac, "192.0.2.9");
    });
}

#[test]
fn a_silent_host_stays_over_three_ageing_times_and_one_without_its_address_does_not() {
    with_tenant_of(listening(), |room, _, _, inside| {
        // In hundredths of a second. The kernel looks for old stations as rarely.
        sh("ip link set br100 type bridge ageing_time 400");
        // Silent but for answers.
        inside("echo 1 > /proc/sys/net/ipv6/conf/t0/disable_ipv6");
        let mac = tenants_mac(inside);
        inside("ping -c1 -W1 192.0.2.77 >/dev/null 2>&1 || true; ip neigh flush dev t0 nud all");
        says(room, mac, "192.0.2.9");
        let told = room.listen(12_500);
        let gone = |event: &KernelEvent| matches!(event, KernelEvent::LocalMacGone { mac: of, .. } | KernelEvent::LocalAddressGone { mac: of, .. } if *of == mac);
        assert!(!told.iter().any(gone), "{told:?}");
        assert!(sh("bridge fdb show br br100").contains(&mac.to_string()));
        // The control: it answers for its address no more.
        inside("ip addr flush dev t0");
        room.wait("the end of an address", |event| match event {
            KernelEvent::LocalAddressGone { mac: of, ip: gone, .. } if *of == mac && *gone == ip("192.0.2.9") => Some(()),
            _ => None,
        });
        room.unheard(mac);
    });
}

#[test]
fn an_address_that_a_station_may_have_is_asked_for() {
    with_tenant_of(listening(), |room, _, _, inside| {
        let mac = tenants_mac(inside);
        // It was heard, and says nothing of its addresses.
        sh(&format!("bridge fdb replace {mac} dev p0 master static"));
        room.heard(mac);
        for (asked, has) in [("192.0.2.9", true), ("2001:db8::9", true), ("192.0.2.11", false)] {
            room.handle.send(KernelCommand::AskAddresses(vec![(vni(100), mac, ip(asked))]));
            if has {
                says(room, mac, asked);
            }
        }
        let told = room.listen(300);
        let wrong = |event: &KernelEvent| matches!(event, KernelEvent::LocalAddress { ip: of, .. } if *of == ip("192.0.2.11"));
        assert!(!told.iter().any(wrong), "{told:?}");
    });
}

#[test]
fn a_host_that_never_says_an_address_is_asked_for_the_one_of_its_mac_and_stays() {
    for probe_silent in [true, false] {
        with_tenant_of(DeviceSpec { probe_silent, ..listening() }, move |room, _, _, inside| {
            sh("ip link set br100 type bridge ageing_time 400");
            // A MAC of which nothing was heard but that its link-local address is free: no address of its own is claimed.
            inside(
                "ip addr flush dev t0; ip link set t0 down; echo 0 > /proc/sys/net/ipv6/conf/t0/router_solicitations; \
                 ip link set t0 address 02:00:00:00:00:77; ip link set t0 up",
            );
            let mac = MacAddr([2, 0, 0, 0, 0, 0x77]);
            room.heard(mac);
            if !probe_silent {
                return room.unheard(mac);
            }
            says(room, mac, "fe80::ff:fe00:77");
            let told = room.listen(12_500);
            let gone = |event: &KernelEvent| matches!(event, KernelEvent::LocalMacGone { mac: of, .. } if *of == mac);
            assert!(!told.iter().any(gone), "{told:?}");
        });
    }
}

/// Guests believe what they are told, at every port and whether or not the room listens there; the bridge learns nothing of it.
#[test]
fn guests_are_told_of_an_address_that_moved() {
    with_tenant(|room, device, bridge, inside| {
        let both = ["192.0.2.1", "2001:db8::1"];
        let mut rows = vec![op(device, OpKind::ReplaceUnicast, mac(1), "10.0.0.2")];
        rows.extend(both.map(|text| op(bridge, REPLACE, mac(1), text)));
        assert_eq!(room.write(rows).errors, []);
        for text in both {
            assert!(resolve(inside, text).contains(&mac(1).to_string()));
        }
        // A second tunnel in the bridge leads to hosts that hear of it themselves.
        sh("ip link add vx9 type vxlan id 9 dstport 4790 local 10.0.0.1; ip link set vx9 master br100 up");
        let tell = |room: &mut Room, moved: Vec<MovedAddress>| room.handle.send(KernelCommand::TellGuests(moved));
        let moved = |text: &str| MovedAddress { vni: vni(100), ip: ip(text), binding: Binding { mac: mac(2), router: true } };
        tell(room, both.map(moved).to_vec());
        let counted = |event: &KernelEvent| match event {
            KernelEvent::GuestsTold { sent, refused } => Some((*sent, *refused)),
            _ => None,
        };
        assert_eq!(room.wait("frames that were sent", counted), (2, 0), "out of one port, and into no tunnel");
        let known = || inside("ip neigh show");
        for text in both {
            let line = known().lines().find(|line| line.starts_with(&format!("{text} "))).map(str::to_owned).unwrap_or_default();
            assert!(line.contains(&mac(2).to_string()), "{}", known());
            assert_eq!(line.contains("router"), text.contains(':'), "{line}");
        }
        assert!(!sh("bridge fdb show br br100").contains(&mac(2).to_string()), "the bridge learned it at a port");
        // An address that the host's own bridge has is every host's own.
        sh("ip addr add 192.0.2.1/24 dev br100");
        tell(room, vec![moved("192.0.2.1")]);
        tell(room, (0..5000).map(|_| moved("2001:db8::1")).collect());
        let (sent, refused) = room.wait("frames that were too many", counted);
        assert_eq!(sent + refused, 2 + 5000, "none for the bridge's own");
        assert!((4094..4600).contains(&sent), "{sent} of 5000");
    });
}
