//! `evpnctl doctor` on hosts that somebody broke, one way after another: each is found, named and gone when it is mended.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::evpnd::{Config, Evpnd, client};
use crate::harness::fabric::{Family, Host, write_at};
use crate::harness::netns::Process;
use crate::harness::raw::{PacketSocket, in_namespace};
use crate::harness::{ensure, need, wait_until};
use crate::interop::frr::{Frr, Role};

use super::scenario::{ASN, Site, VNI};

const EVPND: &str = env!("CARGO_BIN_EXE_evpnd");
const EVPNCTL: &str = env!("CARGO_BIN_EXE_evpnctl");

/// What doctor finds on a host where `ignored` is: the words of each check. The clock of the machine under test is its own affair. Programs that
/// doctor asks may stand in the host's `bin`.
fn findings(host: &Host, ignored: &[&str]) -> BTreeMap<String, String> {
    let mut command = host.namespace.command(EVPNCTL, ["--socket".as_ref(), host.path("evpnd.sock").as_os_str()]);
    command.env("PATH", format!("{}:{}", host.path("bin").display(), std::env::var("PATH").unwrap_or_default()));
    command.args(["--json", "doctor", "--ignore", "clock"]);
    command.args(ignored.iter().flat_map(|what| ["--ignore", what]));
    let output = command.output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for finding in value.as_array().unwrap() {
        let text = |key: &str| finding[key].as_str().unwrap_or_else(|| panic!("{finding}")).to_owned();
        assert!(!text("remedy").is_empty(), "{finding}");
        let _ = write!(found.entry(text("check")).or_default(), "{}; ", text("what"));
    }
    assert_eq!(output.status.code(), Some(i32::from(!found.is_empty())));
    found
}

/// The commands that doctor gives for the one finding of a check.
pub(super) fn remedy(host: &Host, check: &str) -> String {
    let output = client(host, &["--json", "doctor"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let found: Vec<&Value> = value.as_array().unwrap().iter().filter(|finding| finding["check"] == check).collect();
    let [finding] = found[..] else { panic!("{check}: {value}") };
    finding["remedy"].as_str().unwrap().to_owned()
}

/// Waits until doctor names `check` in `words`, and nothing else.
#[track_caller]
fn expect(host: &Host, check: &str, words: &str) {
    expect_with(host, check, words, &[]);
}

/// The same where other checks may find something as well: what is broken has more than one side.
#[track_caller]
fn expect_with(host: &Host, check: &str, words: &str, also: &[&str]) {
    wait_until(&format!("doctor finds {check}"), 40, || {
        let found = findings(host, &[]);
        let named = found.get(check).is_some_and(|what| what.contains(words));
        let others = found.keys().all(|other| other == check || also.contains(&other.as_str()));
        ensure(named && others, || format!("{found:?}"))
    });
}

#[track_caller]
fn expect_health(host: &Host) {
    expect_health_but(host, &[]);
}

/// Nothing but what is ignored.
#[track_caller]
fn expect_health_but(host: &Host, ignored: &[&str]) {
    wait_until("doctor finds nothing", 40, || {
        let found = findings(host, ignored);
        ensure(found.is_empty(), || format!("{found:?}"))
    });
}

/// Rules for the input hook, in a chain that drops the rest where `policy` says so.
fn firewall(host: &Host, policy: &str, rules: &[&str]) {
    let chain = format!("add chain inet t in {{ type filter hook input priority 0; policy {policy}; }}");
    let rules: Vec<String> = rules.iter().map(|rule| format!("add rule inet t in {rule}")).collect();
    host.namespace.output("nft", [format!("add table inet t; flush table inet t; {chain}; {}", rules.join("; "))]);
}

/// A UDP datagram to a host's tunnel port with a wrong checksum.
fn bad_datagram(from: &Host, to: &Host, family: Family) -> Vec<u8> {
    let mut frame = to.mac_of("eth0").to_vec();
    frame.extend(from.mac_of("eth0"));
    match (from.address(family), to.address(family)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0];
            header.extend([from, to].iter().flat_map(std::net::Ipv4Addr::octets));
            let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
            frame.extend_from_slice(&[0x08, 0]);
            frame.extend(header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 17, 64]);
            frame.extend([from, to].iter().flat_map(std::net::Ipv6Addr::octets));
        }
        other => panic!("{other:?}"),
    }
    // Source port, port 4789, length, a checksum that is none, a VXLAN header.
    frame.extend_from_slice(&[0xc0, 0, 0x12, 0xb5, 0, 16, 0xba, 0xad, 8, 0, 0, 0, 0, 0, 100, 0]);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The underlay comes with broken offloads, which is found for as long as it does.
#[track_caller]
fn expect_bad_checksums(host: &Host, from: &Host, family: Family) {
    let socket = in_namespace(from.namespace.name(), || PacketSocket::open("eth0")).unwrap();
    let (frame, ended) = (bad_datagram(from, host, family), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // About as long as it is waited for.
            for _ in (0..2_000).take_while(|_| !ended.load(Ordering::Relaxed)) {
                let _ = socket.send(&frame);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        expect(host, "checksum", "UDP datagrams");
        ended.store(true, Ordering::Relaxed);
    });
    expect_health(host);
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
    expect(a, "session", "10.0.0.99");
    daemon.rewrite(&config(a));
    daemon.say(&["reload"]);
    // 2, 3, 4: sizes. This host's underlay; the way to one VTEP only; a guest's port.
    a.namespace.ip("link set eth0 mtu 1500");
    expect(a, "mtu", "packets of vxlan100 may have 1600 octets, and eth0 carries 1500");
    a.namespace.ip("link set eth0 mtu 1600");
    b.namespace.ip("link set eth0 mtu 1400");
    expect(a, "path-mtu", &b.v4().to_string());
    b.namespace.ip("link set eth0 mtu 1600");
    a.namespace.ip(&format!("link set {} mtu 9000", guest.port));
    expect(a, "port-mtu", &guest.port);
    a.namespace.ip(&format!("link set {} mtu 1500", guest.port));
    // 5: a route to one VTEP.
    a.namespace.ip(&format!("route add unreachable {}", c.v4()));
    expect(a, "route", &c.v4().to_string());
    a.namespace.ip(&format!("route del unreachable {}", c.v4()));
    // 6: strict reverse paths and two ways.
    a.namespace.ip_batch("link add eth9 mtu 1600 type veth peer name eth8\nlink set eth8 up\nlink set eth9 up\n");
    a.namespace.ip(&format!("route add {}/32 nexthop dev eth0 nexthop dev eth9", c.v4()));
    a.namespace.sysctl("net/ipv4/conf/eth9/rp_filter", "1");
    // The second way leads nowhere, so packets may not answer.
    expect_with(a, "rp-filter", "eth9", &["mtu", "no-answer", "path-mtu"]);
    a.namespace.ip("link del eth9");
    // 7, 8, 9: flags of the tunnel's port, and of its bridge.
    for (flag, broken, whole) in [("isolated", "on", "off"), ("bcast_flood", "off", "on"), ("mcast_flood", "off", "on")] {
        a.namespace.bridge_batch(&format!("link set dev vxlan100 {flag} {broken}\n"));
        expect(a, "bridge", flag);
        a.namespace.bridge_batch(&format!("link set dev vxlan100 {flag} {whole}\n"));
    }
    a.namespace.ip(&format!("link set {} down", guest.port));
    expect(a, "bridge", &format!("ports of br100 are down: {}", guest.port));
    a.namespace.ip(&format!("link set {} up", guest.port));
    // 10, 11: a host that tenants reach.
    a.namespace.ip("addr add 192.168.0.1/24 dev br100");
    expect_with(a, "isolation", "192.168.0.1", &["injection"]);
    expect_with(
        a,
        "injection",
        "guests of br100 reach the sockets of this host's tunnels (UDP port 4789) by its address 192.168.0.1:",
        &["isolation"],
    );
    let both = remedy(a, "isolation");
    assert!(
        both.contains("ip address del 192.168.0.1 dev br100") && both.contains("`announce-own = true` for VNI 100"),
        "{both}"
    );
    // Where the configuration says that it is meant, only what it is not meant for is found.
    daemon.rewrite(&Config::hypervisor(a, ASN, Family::V4).neighbor(middle, "").vni(VNI, "announce-own = true\n"));
    daemon.say(&["reload"]);
    expect(a, "injection", "guests of br100 reach the sockets of this host's tunnels");
    daemon.rewrite(&config(a));
    daemon.say(&["reload"]);
    expect_with(a, "isolation", "192.168.0.1", &["injection"]);
    a.namespace.ip("addr del 192.168.0.1/24 dev br100");
    a.namespace.sysctl("net/ipv6/conf/br100/disable_ipv6", "0");
    a.namespace.ip("addr add fe80::1/64 dev br100");
    expect(a, "isolation", "IPv6 is on at br100");
    a.namespace.sysctl("net/ipv6/conf/br100/disable_ipv6", "1");
    // 12: an underlay that comes with broken offloads.
    expect_bad_checksums(a, b, Family::V4);
    // 13, 14: the firewall, where it drops tunnels and where it does not.
    firewall(a, "accept", &["udp dport 4789 drop"]);
    expect(a, "firewall", "inet t in drops UDP port 4789 from other hosts (its rule with handle ");
    let drops_one = format!("ip saddr {} udp dport 4000-5000 reject", b.v4());
    firewall(a, "accept", &[&drops_one]);
    expect(a, "firewall", &format!("inet t in drops UDP port 4789 from {} (", b.v4()));
    firewall(a, "drop", &["meta l4proto { tcp, icmp } accept"]);
    expect(a, "firewall", "inet t in drops UDP port 4789 from other hosts (its policy)");
    let source = format!("ip saddr {}/24 accept", a.v4());
    for lets in ["udp dport 4000-5000 accept", "iifname eth0 accept", &source] {
        firewall(a, "drop", &["meta l4proto { tcp, icmp } accept", lets]);
        expect_health(a);
    }
    firewall(a, "accept", &["iifname wan0 udp dport 4789 drop", "meta mark 0x2a drop"]);
    expect_health(a);
    a.namespace.output("nft", ["delete table inet t"]);
    // What keeps guests from the tunnel, and what is one guest's own; and what is dropped before anything else sees it, at a device.
    let bridged = |rule: &str| {
        let chain = "add chain bridge t f { type filter hook forward priority 0; policy accept; }";
        a.namespace.output("nft", [format!("add table bridge t; flush table bridge t; {chain}; add rule bridge t f {rule}")]);
    };
    bridged("ether type arp drop");
    expect(a, "firewall", "bridge t f drops ARP between guests of br100 and the tunnel (its rule with handle ");
    bridged(&format!("iifname {} ip saddr 192.0.2.99 drop", guest.port));
    expect_health(a);
    a.namespace.output("nft", ["delete table bridge t"]);
    for (device, found) in [("lo", false), ("eth0", true)] {
        let chain = format!("add chain netdev t i {{ type filter hook ingress device {device} priority 0; }}");
        a.namespace.output("nft", [format!("add table netdev t; {chain}; add rule netdev t i udp dport 4789 drop")]);
        if found {
            expect(a, "firewall", "netdev t i drops UDP port 4789 from other hosts (its rule with handle ");
        } else {
            expect_health(a);
        }
        a.namespace.output("nft", ["delete table netdev t"]);
    }
    // 15: another control plane. zebra alone is none.
    let fake = |name: &str| {
        let path = a.path(name);
        std::fs::copy("/usr/bin/sleep", &path).unwrap();
        a.namespace.spawn(&path.to_string_lossy(), ["600"], &a.path(&format!("{name}.log")))
    };
    let zebra: Process = fake("zebra");
    expect_health(a);
    let rival = fake("gobgpd");
    expect(a, "rivals", "gobgpd");
    expect_health_but(a, &["rivals"]);
    drop((rival, zebra));
    // 16: a VTEP that is announced and gone: its routes outlive its session.
    c.namespace.ip("link set eth0 down");
    expect(a, "no-answer", &c.v4().to_string());
    c.namespace.ip("link set eth0 up");
    // 17: a VNI that cannot work.
    a.namespace.ip("link add blue type veth peer name blue1");
    daemon.rewrite(&config(a).vni(200, "bridge = \"blue\"\n"));
    daemon.say(&["reload"]);
    expect(a, "vni", "VNI 200 is unusable: ");
    daemon.rewrite(&config(a));
    daemon.say(&["reload"]);
    // 18: the tunnel's own address.
    a.namespace.ip(&format!("addr del {}/24 dev eth0", a.v4()));
    // Without it there is no way to anybody.
    expect_with(a, "vtep-address", &a.v4().to_string(), &["session", "route", "no-answer", "vni"]);
    a.namespace.ip(&format!("addr add {}/24 dev eth0", a.v4()));
    // 19, 20: no daemon, and what nobody puts right then.
    assert!(daemon.stop().success());
    a.namespace.ip("link set vxlan100 type vxlan learning");
    expect_with(a, "daemon", "no daemon", &["learning"]);
    expect_with(a, "learning", "vxlan100 learns MACs", &["daemon"]);
    drop((other, third));
}

/// What docs/platforms/migration.md asks for before the first VNI: the daemon runs, and the devices are not its own yet.
#[test]
fn a_host_before_its_first_vni_is_looked_at() {
    need(&[("/usr/sbin/nft", "nftables")]);
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let a = &site.hosts[0];
    let _daemon = Evpnd::start(a, &Config::hypervisor(a, ASN, Family::V4).neighbor(site.middle.v4(), ""));
    expect_health(a);
    a.namespace.ip_batch(
        "link add br7 type bridge\nlink add vxlan7 type vxlan id 7 group 239.0.0.7 dev eth0 dstport 4789\n\
         link add vxlan8 type vxlan id 8 group 239.0.0.7 dev eth0 dstport 4789\nlink set vxlan7 master br7\n",
    );
    for name in ["br7", "vxlan7"] {
        a.namespace.sysctl(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1");
        a.namespace.sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "1");
        a.namespace.ip(&format!("link set {name} up"));
    }
    // It floods to its group and learns: that is how it is before its migration. What its guests send to everybody reaches the host.
    expect(
        a,
        "injection",
        "guests of br7 reach the sockets of this host's tunnels (UDP port 4789) by what they send to everybody:",
    );
    a.namespace.output("sh", ["-ec", &remedy(a, "injection")]);
    expect_health(a);
    a.namespace.bridge_batch("link set dev vxlan7 flood off\n");
    expect(a, "bridge", "flood is wrong at vxlan7");
    expect_health_but(a, &["bridge:vxlan7"]);
    a.namespace.bridge_batch("link set dev vxlan7 flood on\n");
    // Only a port that comes up goes through its states.
    a.namespace.ip_batch("link set br7 type bridge forward_delay 3000 stp_state 1\nlink set vxlan7 down\nlink set vxlan7 up\n");
    expect(a, "bridge", "the bridge port vxlan7 is ");
    a.namespace.ip_batch("link set br7 type bridge stp_state 0\nlink set vxlan7 down\nlink set vxlan7 up\n");
    expect_health(a);
    a.namespace.ip_batch("link set vxlan8 master br7\nlink set vxlan8 up\n");
    expect(a, "bridge", "br7 joins two tunnels");
    a.namespace.ip("link del vxlan8");
    a.namespace.ip("addr add 192.168.7.1/24 dev br7");
    expect(a, "isolation", "br7 has the address 192.168.7.1");
    expect_health_but(a, &["isolation:br7"]);
    a.namespace.ip("addr del 192.168.7.1/24 dev br7");
    firewall(a, "accept", &["iifname eth0 udp dport 4789 drop"]);
    expect(a, "firewall", "drops UDP port 4789");
}

#[test]
#[ignore = "needs a kernel whose bridges know VLANs: integration/vm/run has three"]
fn a_bridge_that_filters_vlans_is_found() {
    let site = Site::new();
    let a = &site.hosts[0];
    let _daemon = Evpnd::start(a, &Config::hypervisor(a, ASN, Family::V4).neighbor(site.middle.v4(), ""));
    a.namespace.ip_batch(
        "link add br7 type bridge vlan_filtering 1\nlink add vxlan7 type vxlan id 7 group 239.0.0.7 dev eth0 dstport 4789\n\
         link set vxlan7 master br7\nlink set br7 up\nlink set vxlan7 up\n",
    );
    wait_until("doctor finds it", 40, || {
        let found = findings(a, &[]);
        ensure(found.get("bridge").is_some_and(|what| what.contains("the bridge br7 filters VLANs")), || format!("{found:?}"))
    });
}

/// The same over an IPv6 underlay: its own overhead, its own rules.
#[test]
fn an_ipv6_underlay_is_looked_at() {
    need(&[("/usr/sbin/nft", "nftables")]);
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let config = |host| Config::hypervisor(host, ASN, Family::V6).neighbor(site.middle.v6(), "").vni(VNI, "");
    let _daemons = [Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b))];
    a.expect_flood_list(VNI, &[b.v6()]);
    expect_health(a);
    a.namespace.ip("link set eth0 mtu 1560");
    expect(a, "mtu", "packets of vxlan100 may have ");
    a.namespace.ip("link set eth0 mtu 1600");
    expect_health(a);
    firewall(a, "accept", &["meta nfproto ipv4 udp dport 4789 drop"]);
    expect_health(a);
    firewall(a, "accept", &[&format!("ip6 saddr {} udp dport 4789 drop", b.v6())]);
    expect(a, "firewall", "drops UDP port 4789 from other hosts");
    a.namespace.output("nft", ["delete table inet t"]);
    a.namespace.ip(&format!("-6 route add unreachable {}", b.v6()));
    expect_with(a, "route", &b.v6().to_string(), &["session"]);
    a.namespace.ip(&format!("-6 route del unreachable {}", b.v6()));
    expect_health(a);
    expect_bad_checksums(a, b, Family::V6);
    // Another host has the tunnel's address, and had it first. The harness turns detection off.
    a.namespace.sysctl("net/ipv6/conf/eth0/accept_dad", "1");
    b.namespace.ip(&format!("-6 addr add {}/64 dev eth0 nodad", a.v6()));
    a.namespace.ip(&format!("-6 addr del {}/64 dev eth0", a.v6()));
    a.namespace.ip(&format!("-6 addr add {}/64 dev eth0", a.v6()));
    let also = ["session", "route", "no-answer", "path-mtu", "vni", "rows"];
    expect_with(a, "vtep-address", "another host has the tunnel address", &also);
}

/// Two that run for one bridge, in turn with evpnd: a second evpnd, and FRR, which is no rival unless it has EVPN.
#[test]
fn another_control_plane_for_the_same_bridge_is_found_until_it_is_gone() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let a = &site.hosts[0];
    // FRR listens for sessions itself.
    let config = Config::hypervisor(a, ASN, Family::V4).router("listen = []").neighbor(site.middle.v4(), "").vni(VNI, "");
    let _daemon = Evpnd::start(a, &config);
    a.expect_flood_list(VNI, &[]);
    expect_health(a);

    let directory = a.path("second").display().to_string();
    std::fs::create_dir(&directory).unwrap();
    let text = format!(
        "[router]\nasn = {ASN}\nvtep = \"{}\"\nlisten = []\nstate-directory = \"{directory}/state\"\n\
         [control]\nsocket = \"{directory}/socket\"\n[[vni]]\nid = {VNI}\n",
        a.v4()
    );
    write_at(&a.path("second/evpnd.toml"), &text);
    let second = a.namespace.spawn(EVPND, ["--config", &format!("{directory}/evpnd.toml")], &a.path("second.log"));
    wait_until("the second one has the bridge, too", 20, || {
        let socket = format!("{directory}/socket");
        let output = a.namespace.command(EVPNCTL, ["--socket", &socket, "--json", "show", "vnis"]).output().unwrap();
        let vnis: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        ensure(vnis[0]["state"] == "ready" && vnis[0]["bridge"] == "br100", || format!("{output:?}"))
    });
    expect(a, "rivals", "other control planes run beside evpnd: evpnd, 2 times");
    drop(second);
    expect_health(a);

    let frr = Frr::start(a, Role::Hypervisor, ASN, &[]);
    wait_until("FRR has the VNI, too", 20, || {
        let vnis = frr.show("show evpn vni");
        ensure(vnis.lines().any(|line| line.starts_with("100 ") && line.contains("vxlan100")), || vnis.clone())
    });
    // Where doctor's vtysh reaches no bgpd, nobody knows what it does.
    let vtysh = a.path("bin/vtysh");
    std::fs::create_dir(a.path("bin")).unwrap();
    let asks = |script: &str| {
        write_at(&vtysh, &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&vtysh, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let family = ["router bgp 65000", "address-family l2vpn evpn"];
    let reaches = format!("exec /usr/bin/vtysh --vty_socket {} \"$@\"", a.directory.display());
    asks("exit 1");
    expect(a, "rivals", "other control planes run beside evpnd: bgpd;");
    asks(&reaches);
    expect(a, "rivals", "other control planes run beside evpnd: bgpd;");
    frr.configure(&[family[0], family[1], "no advertise-all-vni"]);
    expect_health(a);
    frr.configure(&[family[0], family[1], "advertise-all-vni"]);
    expect(a, "rivals", "other control planes run beside evpnd: bgpd;");
    drop(frr);
    expect_health(a);
}
