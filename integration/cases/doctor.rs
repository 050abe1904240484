//! `evpnctl doctor` on hosts that somebody broke, one way after another: each is found, named and gone when it is mended.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Host};
use crate::harness::netns::Process;
use crate::harness::raw::{PacketSocket, in_namespace};
use crate::harness::{ensure, need, wait_until};

use super::scenario::{ASN, Site, VNI};

const EVPNCTL: &str = env!("CARGO_BIN_EXE_evpnctl");

/// What doctor finds on a host: the words of each check. The clock of the machine under test is its own affair.
fn findings(host: &Host) -> BTreeMap<String, String> {
    let mut command = host.namespace.command(EVPNCTL, ["--socket".as_ref(), host.path("evpnd.sock").as_os_str()]);
    let output = command.args(["--json", "doctor"]).output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for finding in value.as_array().unwrap() {
        let text = |key: &str| finding[key].as_str().unwrap_or_else(|| panic!("{finding}")).to_owned();
        assert!(!text("remedy").is_empty(), "{finding}");
        let _ = write!(found.entry(text("check")).or_default(), "{}; ", text("what"));
    }
    found.remove("clock");
    assert_eq!(output.status.code(), Some(i32::from(!value.as_array().unwrap().is_empty())));
    found
}

/// Waits until doctor names `check` in `words`, and whether nothing else is wrong where `alone`.
#[track_caller]
fn expect(host: &Host, check: &str, words: &str, alone: bool) {
    wait_until(&format!("doctor finds {check}"), 40, || {
        let found = findings(host);
        let named = found.get(check).is_some_and(|what| what.contains(words));
        ensure(named && (!alone || found.len() == 1), || format!("{found:?}"))
    });
}

#[track_caller]
fn expect_health(host: &Host) {
    wait_until("doctor finds nothing", 40, || {
        let found = findings(host);
        ensure(found.is_empty(), || format!("{found:?}"))
    });
}

/// An IPv4 UDP datagram to a host's tunnel port with a wrong checksum.
fn bad_datagram(from: &Host, to: &Host) -> Vec<u8> {
    let mut frame = to.mac_of("eth0").to_vec();
    frame.extend(from.mac_of("eth0"));
    let mut header = vec![0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from.number, 10, 0, 0, to.number];
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame.extend_from_slice(&[0x08, 0]);
    frame.extend(header);
    // Source port, port 4789, length, a checksum that is none, a VXLAN header.
    frame.extend_from_slice(&[0xc0, 0, 0x12, 0xb5, 0, 16, 0xba, 0xad, 8, 0, 0, 0, 0, 0, 100, 0]);
    frame.resize(60, 0);
    frame
}

#[test]
fn each_of_many_broken_set_ups_is_found() {
    need(&[("/usr/sbin/nft", "nftables")]);
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, c] = &site.hosts;
    let middle = site.middle.v4();
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(middle, "").vni(VNI, "");
    let daemon = Evpnd::start(a, &config(a));
    let (other, third) = (Evpnd::start(b, &config(b)), Evpnd::start(c, &config(c)));
    let mut guest = site.fabric.guest(41);
    guest.plug(a, VNI);
    a.expect_flood_list(VNI, &[b.v4(), c.v4()]);
    expect_health(a);

    // 1: a session.
    daemon.rewrite(&config(a).neighbor("10.0.0.99".parse().unwrap(), ""));
    daemon.say(&["reload"]);
    expect(a, "session", "10.0.0.99", true);
    daemon.rewrite(&config(a));
    daemon.say(&["reload"]);
    // 2, 3, 4: sizes. This host's underlay; the way to one VTEP only; a guest's port.
    a.namespace.ip("link set eth0 mtu 1500");
    expect(a, "mtu", "packets of vxlan100 may have 1600 octets, and eth0 carries 1500", true);
    a.namespace.ip("link set eth0 mtu 1600");
    b.namespace.ip("link set eth0 mtu 1400");
    expect(a, "path-mtu", &b.v4().to_string(), true);
    b.namespace.ip("link set eth0 mtu 1600");
    a.namespace.ip(&format!("link set {} mtu 9000", guest.port));
    expect(a, "port-mtu", &guest.port, false);
    a.namespace.ip(&format!("link set {} mtu 1500", guest.port));
    // 5: a route to one VTEP.
    a.namespace.ip(&format!("route add unreachable {}", c.v4()));
    expect(a, "route", &c.v4().to_string(), true);
    a.namespace.ip(&format!("route del unreachable {}", c.v4()));
    // 6: strict reverse paths and two ways.
    a.namespace.ip_batch("link add eth9 mtu 1600 type veth peer name eth8\nlink set eth8 up\nlink set eth9 up\n");
    a.namespace.ip(&format!("route add {}/32 nexthop dev eth0 nexthop dev eth9", c.v4()));
    a.namespace.sysctl("net/ipv4/conf/eth9/rp_filter", "1");
    expect(a, "rp-filter", "eth9", false);
    a.namespace.ip("link del eth9");
    // 7, 8, 9: flags of the tunnel's port, and of its bridge.
    for (flag, broken, whole) in [("isolated", "on", "off"), ("bcast_flood", "off", "on")] {
        a.namespace.bridge_batch(&format!("link set dev vxlan100 {flag} {broken}\n"));
        expect(a, "bridge", flag, true);
        a.namespace.bridge_batch(&format!("link set dev vxlan100 {flag} {whole}\n"));
    }
    a.namespace.ip(&format!("link set {} down", guest.port));
    expect(a, "bridge", &format!("ports of br100 are down: {}", guest.port), true);
    a.namespace.ip(&format!("link set {} up", guest.port));
    // 10, 11: a host that tenants reach.
    a.namespace.ip("addr add 192.168.0.1/24 dev br100");
    expect(a, "isolation", "192.168.0.1", true);
    a.namespace.ip("addr del 192.168.0.1/24 dev br100");
    a.namespace.sysctl("net/ipv6/conf/br100/disable_ipv6", "0");
    a.namespace.ip("addr add fe80::1/64 dev br100");
    expect(a, "isolation", "IPv6 is on at br100", true);
    a.namespace.sysctl("net/ipv6/conf/br100/disable_ipv6", "1");
    // 12: an underlay that comes with broken offloads.
    let socket = in_namespace(b.namespace.name(), || PacketSocket::open("eth0")).unwrap();
    socket.send(&bad_datagram(b, a)).unwrap();
    expect(a, "checksum", "1 UDP datagrams", true);
    // It stays, as counters do. 13, 14: the firewall.
    a.namespace.output("nft", ["add table inet t; add chain inet t in { type filter hook input priority 0; policy accept; }; add rule inet t in udp dport 4789 drop"]);
    expect(a, "firewall", "inet t in drops UDP port 4789", false);
    a.namespace.output(
        "nft",
        ["flush chain inet t in; add chain inet t in { policy drop; }; add rule inet t in meta l4proto { tcp, icmp } accept"],
    );
    expect(a, "firewall", "inet t in drops UDP port 4789 from other hosts (its policy)", false);
    a.namespace.output("nft", ["delete table inet t"]);
    // 15: another control plane.
    let rival = a.path("zebra");
    std::fs::copy("/usr/bin/sleep", &rival).unwrap();
    let running: Process = a.namespace.spawn(&rival.to_string_lossy(), ["600"], &a.path("rival.log"));
    expect(a, "rivals", "zebra", false);
    drop(running);
    // 16: a VTEP that is announced and gone: its routes outlive its session.
    c.namespace.ip("link set eth0 down");
    expect(a, "no-answer", &c.v4().to_string(), false);
    c.namespace.ip("link set eth0 up");
    // 17: a VNI that cannot work.
    a.namespace.ip("link add blue type veth peer name blue1");
    daemon.rewrite(&config(a).vni(200, "bridge = \"blue\"\n"));
    daemon.say(&["reload"]);
    expect(a, "vni", "VNI 200 is unusable: ", false);
    daemon.rewrite(&config(a));
    daemon.say(&["reload"]);
    // 18: the tunnel's own address.
    a.namespace.ip(&format!("addr del {}/24 dev eth0", a.v4()));
    expect(a, "vtep-address", &a.v4().to_string(), false);
    a.namespace.ip(&format!("addr add {}/24 dev eth0", a.v4()));
    // 19, 20: no daemon, and what nobody puts right then.
    assert!(daemon.stop().success());
    a.namespace.ip("link set vxlan100 type vxlan learning");
    expect(a, "daemon", "no daemon", false);
    expect(a, "learning", "vxlan100 learns MACs", false);
    drop((other, third));
}
