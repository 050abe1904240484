//! Isolation: what a tenant can do to the host through a bridge that evpnd made. It tries by ARP, by IP with the bridge's own MAC as if
//! it knew it, by broadcast and multicast, and by what IPv6 hosts answer to.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest, Host};
use crate::harness::raw::{PacketSocket, in_namespace, plain_frame};
use crate::harness::{ensure, need, patience, stays_true, wait_until};

use super::doctor::remedy;
use super::scenario::{ASN, Site, VNI, state};

fn pings(guest: &Guest, words: &[&str]) -> bool {
    let all: Vec<&str> = ["-n", "-c", "2", "-i", "0.2", "-W", "1"].iter().chain(words).copied().collect();
    guest.namespace.succeeds("ping", all)
}

fn with_host(act: impl FnOnce(&Site, &Evpnd<'_>, &mut Guest)) {
    let site = Site::new();
    let host = &site.hosts[0];
    let daemon = Evpnd::start(host, &Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, ""));
    let mut guest = site.fabric.guest(31);
    guest.plug(host, VNI);
    // In the network of the host's underlay address, as far as the guest is concerned.
    guest.namespace.ip_batch("addr add 10.0.0.77/24 dev eth0\nlink set eth0 addrgenmode eui64\n");
    act(&site, &daemon, &mut guest);
    daemon.expect_no_difference();
}

#[test]
fn a_tenant_gets_no_answer_from_the_host() {
    with_host(|site, _, guest| {
        let host = &site.hosts[0];
        let (m, own) = (host.mac_of("br100"), host.v4().to_string());
        let bridge = m.map(|octet| format!("{octet:02x}")).join(":");
        let ears = in_namespace(guest.namespace.name(), || PacketSocket::open("eth0")).unwrap();
        let everywhere = in_namespace(host.namespace.name(), || UdpSocket::bind("0.0.0.0:6666")).unwrap();
        everywhere.set_read_timeout(Some(Duration::from_millis(300))).unwrap();

        // The weak host model of Linux answers ARP for any of its addresses on any interface (arp_ignore = 0).
        assert!(!pings(guest, &[&own]), "the host answers ARP for its underlay address");
        // Whoever knows the bridge's MAC needs no ARP.
        for lladdr in [bridge.as_str(), "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"] {
            guest.namespace.ip(&format!("neigh replace {own} lladdr {lladdr} dev eth0"));
            assert!(!pings(guest, &[&own]), "the host answers what is sent to {lladdr}");
            let target: IpAddr = host.v4();
            let sender = in_namespace(guest.namespace.name(), || UdpSocket::bind("0.0.0.0:0")).unwrap();
            sender.send_to(b"hello", (target, 6666)).unwrap();
            assert!(everywhere.recv(&mut [0; 16]).is_err(), "a datagram of the tenant reached a socket of the host");
        }
        // IPv6: all nodes, all routers, and the address that the bridge would have made of its MAC.
        let link_local = format!("fe80::{:02x}{:02x}:{:02x}ff:fe{:02x}:{:02x}{:02x}", m[0] ^ 2, m[1], m[2], m[3], m[4], m[5]);
        for target in ["ff02::1", "ff02::2", &link_local] {
            assert!(!pings(guest, &["-6", &format!("{target}%eth0")]), "the host answers {target}");
        }
        guest.namespace.ip(&format!("-6 neigh replace {link_local} lladdr {bridge} dev eth0"));
        assert!(!pings(guest, &["-6", &format!("{link_local}%eth0")]), "the host answers {link_local}");
        // A router advertisement gives the host neither an address nor a route.
        guest.send(vec![router_advertisement(guest.number)]);
        // Nothing at all came back from the host, of whatever protocol.
        let hosts = ["br100", "vxlan100", &guest.port].map(|name| host.mac_of(name));
        let mut buffer = [0; 2048];
        while let Some((len, own)) = ears.try_receive(&mut buffer).unwrap() {
            let source = buffer[..len].get(6..12).unwrap_or_default();
            assert!(own || !hosts.iter().any(|mac| mac == source), "the host sent {:02x?}", &buffer[..len.min(64)]);
        }
        let addresses = host.namespace.output("ip", ["addr", "show", "dev", "br100"]);
        assert!(!addresses.contains("inet"), "{addresses}");
        let routes = host.namespace.output("ip", ["-6", "route", "show", "dev", "br100"]);
        assert_eq!(routes.trim(), "", "a tenant gave the host a route");
    });
}

/// As systemd-sysctl does for an interface that udev tells it of, a moment after it was made.
#[test]
fn settings_that_a_service_of_the_host_writes_over_are_put_back() {
    with_host(|site, _, _| {
        let host = &site.hosts[0];
        let read = || host.namespace.output("cat", ["/proc/sys/net/ipv4/conf/br100/rp_filter"]).trim().to_owned();
        host.namespace.sysctl("net/ipv4/conf/br100/rp_filter", "2");
        wait_until("it is strict again", 20, || ensure(read() == "1", read));
    });
}

/// Prefix 2001:db8:666::/64, autonomous, from the guest's link-local address to all nodes (RFC 4861 §4.2).
fn router_advertisement(number: u8) -> Vec<u8> {
    let mac = [2, 0, 0, 0, 0, number];
    let source: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, number];
    let target: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut icmp = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend_from_slice(&[3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]);
    icmp.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 6, 0x66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut sum = icmp.len() as u32 + 58;
    for pair in source.chunks(2).chain(target.chunks(2)).chain(icmp.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    icmp[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1];
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend_from_slice(&(icmp.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[58, 255]);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&target);
    frame.extend_from_slice(&icmp);
    frame
}

/// A host that is its guests' gateway has an address on the bridge, and answers for that one.
#[test]
fn a_gateway_answers_for_its_own_address_and_no_other() {
    with_host(|site, _, guest| {
        let host = &site.hosts[0];
        host.namespace.ip("addr add 192.168.0.1/24 dev br100");
        wait_until("the gateway answers", 20, || ensure(pings(guest, &["192.168.0.1"]), || "no answer".to_owned()));
        assert!(!pings(guest, &[&host.v4().to_string()]), "and not for the underlay");
    });
}

/// `bridge link set dev PORT isolated on`: guests of one host do not reach each other, those of other hosts they do; evpnd leaves it so.
#[test]
fn ports_that_the_operator_isolated_stay_so() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    let daemons = [Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b))];
    let mut guests = [site.fabric.guest(31), site.fabric.guest(32), site.fabric.guest(33)];
    guests[0].plug(a, VNI);
    guests[1].plug(a, VNI);
    guests[2].plug(b, VNI);
    guests[0].expect_ping(&guests[1]);
    for guest in &guests[..2] {
        a.namespace.bridge_batch(&format!("link set dev {} isolated on\n", guest.port));
    }
    guests[0].expect_ping(&guests[2]);
    guests[1].expect_ping(&guests[2]);
    assert!(!pings(&guests[0], &[&guests[1].address().to_string()]));
    daemons[0].say(&["reload"]);
    // An audit of what stands may take its time; the port is looked at after it.
    std::thread::sleep(patience(1));
    assert!(!pings(&guests[0], &[&guests[1].address().to_string()]));
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

pub(super) fn is_isolated(host: &Host, port: &str) -> Option<bool> {
    let shown = host.namespace.output("bridge", ["-d", "link", "show", "dev", port]);
    [("isolated on", true), ("isolated off", false)].into_iter().find(|(words, _)| shown.contains(words)).map(|(_, on)| on)
}

pub(super) fn expect_isolated(host: &Host, port: &str, wanted: bool) {
    wait_until(&format!("port {port} is isolated: {wanted}"), 20, || {
        ensure(is_isolated(host, port) == Some(wanted), || host.namespace.output("bridge", ["-d", "link", "show", "dev", port]))
    });
}

/// `isolated-ports`: guests of one host reach those of others and not each other; whoever takes the flag away does not keep it away;
/// turned off, what we set is undone, and what an operator set is not.
#[test]
fn guests_of_a_host_are_isolated_from_each_other_where_it_says_so() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let config = |host, more| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, more);
    let (first, second) = (Evpnd::start(a, &config(a, "isolated-ports = true\n")), Evpnd::start(b, &config(b, "")));
    let mut guests = [site.fabric.guest(31), site.fabric.guest(32), site.fabric.guest(33), site.fabric.guest(34)];
    guests[3].plug(a, VNI);
    expect_isolated(a, &guests[3].port, true);
    guests[0].plug(a, VNI);
    guests[1].plug(a, VNI);
    guests[2].plug(b, VNI);
    for guest in &guests[..2] {
        expect_isolated(a, &guest.port, true);
        guest.expect_ping(&guests[2]);
    }
    assert_eq!((is_isolated(a, "vxlan100"), is_isolated(b, &guests[2].port)), (Some(false), Some(false)));
    let between = || pings(&guests[0], &[&guests[1].address().to_string()]);
    assert!(!between(), "a tenant reaches another through the bridge of their host");
    a.namespace.bridge_batch(&format!("link set dev {} isolated off\n", guests[0].port));
    expect_isolated(a, &guests[0].port, true);
    assert!(first.status("/counters/speaker_devices_mended") > 0, "it is counted");
    assert!(!between());
    // The tunnel's port would lead nobody anywhere.
    a.namespace.bridge_batch("link set dev vxlan100 isolated on\n");
    expect_isolated(a, "vxlan100", false);

    first.rewrite(&config(a, ""));
    first.say(&["reload"]);
    for guest in [&guests[0], &guests[1], &guests[3]] {
        expect_isolated(a, &guest.port, false);
    }
    guests[0].expect_ping(&guests[1]);
    a.namespace.bridge_batch(&format!("link set dev {} isolated on\n", guests[0].port));
    first.say(&["reload"]);
    std::thread::sleep(patience(1));
    assert_eq!(is_isolated(a, &guests[0].port), Some(true), "an operator's");

    // A VNI that goes leaves ports as they were found.
    first.rewrite(&config(a, "isolated-ports = true\n"));
    first.say(&["reload"]);
    expect_isolated(a, &guests[1].port, true);
    first.rewrite(&Config::hypervisor(a, ASN, Family::V4).neighbor(site.middle.v4(), ""));
    first.say(&["reload"]);
    expect_isolated(a, &guests[1].port, false);
    assert_eq!(is_isolated(a, &guests[0].port), Some(true), "an operator's");
    [first, second].iter().for_each(Evpnd::expect_no_difference);
}

/// IPv6 is on at a bridge of ours only behind the filter that drops what comes up from it: put there where somebody turned IPv6 on, and put
/// back where somebody took it away or put another in its place.
#[test]
fn the_filter_that_keeps_ipv6_of_tenants_from_the_host_is_put_back() {
    let site = Site::new();
    let host = &site.hosts[0];
    let config = |interval: &str| {
        let config = Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
        config.section("vxlan", &format!("audit-interval = {interval}"))
    };
    let filters = || host.namespace.output("tc", ["filter", "show", "dev", "br100", "ingress"]);
    let stands = |what: &str| {
        wait_until(what, 20, || {
            let shown = filters();
            ensure(shown.contains("protocol all pref 1 bpf") && shown.contains("direct-action"), || shown)
        });
    };
    let mut guest = site.fabric.guest(31);
    let daemon = Evpnd::start(host, &config("1"));
    guest.plug(host, VNI);
    guest.namespace.ip("link set eth0 addrgenmode eui64");
    let m = host.mac_of("br100");
    let link_local = format!("fe80::{:02x}{:02x}:{:02x}ff:fe{:02x}:{:02x}{:02x}%eth0", m[0] ^ 2, m[1], m[2], m[3], m[4], m[5]);
    // Somebody turns it on, with an address: by the audit the filter is there.
    host.namespace.sysctl("net/ipv6/conf/br100/addr_gen_mode", "0");
    host.namespace.sysctl("net/ipv6/conf/br100/disable_ipv6", "0");
    stands("the audit finds IPv6 without the filter");
    assert!(!pings(&guest, &["-6", &link_local]) && !pings(&guest, &["-6", "ff02::1%eth0"]), "a tenant reaches the host");
    assert!(daemon.stop().success());

    // By notification alone, in a run that did not set it.
    let daemon = Evpnd::start(host, &config("0"));
    wait_until("VNI 100 is ready", 20, || {
        let view = &daemon.json(&["show", "vnis", "100"])[0];
        ensure(view["state"] == "ready", || view.to_string())
    });
    host.namespace.output("tc", ["filter", "del", "dev", "br100", "ingress"]);
    stands("the filter is put back");
    host.namespace.output("tc", ["qdisc", "del", "dev", "br100", "clsact"]);
    stands("and its qdisc");
    let pass = "filter replace dev br100 ingress protocol all pref 1 handle 1 bpf da bytecode";
    host.namespace.output("tc", pass.split(' ').chain(["1,6 0 0 0,"]));
    wait_until("another program in its place gives way", 20, || {
        daemon.status("/counters/speaker_devices_mended").checked_sub(3).map(|_| ()).ok_or_else(filters)
    });
    stands("it is ours again");
    assert!(!pings(&guest, &["-6", &link_local]), "a tenant reaches the host");

    // A gateway of somebody's making: who takes the filter away there means it.
    host.namespace.ip("addr add 2001:db8:1::1/64 dev br100 nodad");
    host.namespace.output("tc", ["filter", "del", "dev", "br100", "ingress"]);
    stays_true("it stays away", 2, || ensure(filters().trim().is_empty(), filters));
    daemon.expect_no_difference();
}

/// The source of the frames that a tenant wraps up.
const INNER: [u8; 6] = [2, 0, 0, 0, 0xee, 0xee];

/// A frame of VNI `vni` in a VXLAN datagram from nowhere to everybody (RFC 7348 §5) at `port`, to the MAC `target`, with a tag of VLAN 0
/// where wanted.
fn datagram_for(vni: u32, port: u16, target: [u8; 6], group: [u8; 4], tag: bool) -> Vec<u8> {
    let inner = plain_frame(INNER, [0xff; 6]);
    let length = |header: usize| ((header + 8 + inner.len()) as u16).to_be_bytes();
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0];
    ip.extend_from_slice(&group);
    ip[2..4].copy_from_slice(&length(28));
    let mut sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut frame = target.to_vec();
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 31]);
    frame.extend_from_slice(if tag { &[0x81, 0, 0, 0, 8, 0] } else { &[8, 0] });
    frame.extend_from_slice(&ip);
    frame.extend_from_slice(&[0xc0, 0]);
    frame.extend_from_slice(&port.to_be_bytes());
    frame.extend_from_slice(&length(8));
    frame.extend_from_slice(&[0, 0, 8, 0, 0, 0]);
    frame.extend_from_slice(&(vni << 8).to_be_bytes());
    frame.extend_from_slice(&inner);
    frame
}

/// How many of the wrapped frames have come here.
fn unwrapped(ears: &PacketSocket) -> usize {
    std::thread::sleep(Duration::from_millis(500));
    let (mut buffer, mut count) = ([0; 2048], 0);
    while let Some((len, own)) = ears.try_receive(&mut buffer).unwrap() {
        count += usize::from(!own && buffer[..len].get(6..12) == Some(&INNER));
    }
    count
}

/// The kernel's VXLAN socket hears on every interface. What a tenant sends it comes out in no VNI, its own or another's.
#[test]
fn a_tenant_cannot_send_into_another_vni() {
    let site = Site::new();
    let host = &site.hosts[0];
    let config = Config::hypervisor(host, ASN, Family::V4)
        .neighbor(site.middle.v4(), "")
        .vni(VNI, "")
        .vni(200, "neighbor-suppression = false");
    let daemon = Evpnd::start(host, &config);
    let (mut tenant, mut victim) = (site.fabric.guest(31), site.fabric.guest(32));
    tenant.plug(host, VNI);
    victim.plug(host, 200);
    for bridge in ["br100", "br200"] {
        wait_until("the filter stands", 20, || {
            let shown = host.namespace.output("tc", ["filter", "show", "dev", bridge, "ingress"]);
            ensure(shown.contains("protocol all pref 1 bpf"), || shown)
        });
    }
    let ears = in_namespace(victim.namespace.name(), || PacketSocket::open("eth0")).unwrap();
    // How many frames came out at the other tenant of so many sent by each way.
    let arrive = || {
        let bridge = host.mac_of("br100");
        for tag in [false, true] {
            for (target, group) in [([0xff; 6], [255; 4]), ([1, 0, 0x5e, 0, 0, 1], [224, 0, 0, 1]), (bridge, [255; 4])] {
                tenant.send(vec![datagram_for(200, 4789, target, group, tag); 3]);
            }
        }
        unwrapped(&ears)
    };
    assert_eq!(arrive(), 0, "frames of a tenant came out in another VNI");
    let mended = daemon.json(&["show", "status"])["counters"]["speaker_devices_mended"].as_u64().unwrap_or_default();
    assert_eq!(mended, 0, "what is put there the first time is not put back");
    assert!(daemon.stop().success());
    assert_eq!(arrive(), 0, "while the daemon is away");
    // That they would come out is what the filter is for.
    host.namespace.output("tc", ["filter", "del", "dev", "br100", "ingress"]);
    assert!(arrive() >= 9, "this kernel's VXLAN socket does not take them: the test shows nothing");
    // As on an adopted bridge: doctor says so, and what it says helps.
    need(&[("/usr/sbin/nft", "nftables")]);
    let guard = remedy(host, "injection");
    assert!(guard.contains("br100"), "{guard}");
    host.namespace.output("sh", ["-ec", &guard]);
    assert_eq!(arrive(), 0, "{guard}");
    host.namespace.output("nft", ["delete table inet guard"]);
    let daemon = Evpnd::start(host, &config);
    wait_until("a start closes it again", 20, || {
        let count = arrive();
        ensure(count == 0, || format!("{count} frames"))
    });
    daemon.expect_no_difference();
}

/// Nor into one of somebody's, with a port of its own, that comes later: the filter knows that port at once.
#[test]
fn a_tenant_cannot_send_into_a_vni_that_comes_later_with_another_port() {
    let site = Site::new();
    let host = &site.hosts[0];
    let config = Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    let daemon = Evpnd::start(host, &config.section("vxlan", "audit-interval = 0"));
    let (mut tenant, mut victim) = (site.fabric.guest(31), site.fabric.guest(32));
    tenant.plug(host, VNI);
    let filters = || host.namespace.output("tc", ["filter", "show", "dev", "br100", "ingress"]);
    wait_until("the filter stands", 20, || ensure(filters().contains("protocol all pref 1 bpf"), filters));
    host.namespace.ip_batch(
        "link add lateb type bridge mcast_snooping 0\nlink set lateb addrgenmode none up\n\
         link add late4 type vxlan id 4001 dstport 4998\nlink set late4 addrgenmode none master lateb up\n",
    );
    victim.plug_into(host, "lateb");
    let ears = in_namespace(victim.namespace.name(), || PacketSocket::open("eth0")).unwrap();
    let arrive = || {
        tenant.send(vec![datagram_for(4001, 4998, [0xff; 6], [255; 4], false); 3]);
        unwrapped(&ears)
    };
    wait_until("the filter knows the port", 10, || ensure(filters().contains(" 4998"), filters));
    assert_eq!(arrive(), 0, "frames of a tenant came out in another VNI");
    assert!(daemon.stop().success());
    host.namespace.output("tc", ["filter", "del", "dev", "br100", "ingress"]);
    assert!(arrive() > 0, "this kernel's VXLAN socket does not take them: the test shows nothing");
}

/// What an earlier run isolated is known as ours: killed and started again without the key, it undoes that, and not what an operator did.
#[test]
fn ports_that_an_earlier_run_isolated_are_undone() {
    let site = Site::new();
    let [a, ..] = &site.hosts;
    a.make_vxlan(VNI, a.v4());
    let mut guests = [site.fabric.guest(31), site.fabric.guest(32)];
    guests.iter_mut().for_each(|guest| guest.plug(a, VNI));
    a.namespace.bridge_batch(&format!("link set dev {} isolated on\n", guests[1].port));
    let config = |more| Config::hypervisor(a, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, more);
    let first = Evpnd::start(a, &config("isolated-ports = true\n"));
    expect_isolated(a, &guests[0].port, true);
    wait_until("it is kept", 20, || {
        let kept = state(a);
        ensure(kept["isolated"]["100"].is_array(), || kept.to_string())
    });
    drop(first);
    assert_eq!(is_isolated(a, &guests[0].port), Some(true));
    let _second = Evpnd::start(a, &config(""));
    expect_isolated(a, &guests[0].port, false);
    assert_eq!(is_isolated(a, &guests[1].port), Some(true), "the operator's");
}
