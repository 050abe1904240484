//! Known hosts without a bridge: `bridge = "none"`, the hosts' own addresses on the VXLAN device, over IPv4 and IPv6.

use evpnd::lab::packet::{Frame, Outgoing};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Host};
use crate::harness::{ensure, patience, wait_until};

use super::scenario::{ASN, Site, VNI};

fn start<'a>(site: &Site, host: &'a Host, family: Family, more: &str) -> Evpnd<'a> {
    let config = Config::hypervisor(host, ASN, family).neighbor(site.middle.address(family), "").vni(VNI, more);
    let daemon = Evpnd::start(host, &config);
    daemon.expect_established(site.middle.address(family));
    daemon
}

/// Puts the addresses of host `number` on its VXLAN device, once it is there.
fn settle(host: &Host) {
    wait_until("the device is made", 20, || ensure(host.has_interface("vxlan100"), || "not there".to_owned()));
    let number = host.number;
    host.namespace
        .ip_batch(&format!("addr add 192.168.0.10{number}/24 dev vxlan100\naddr add fd01::10{number}/64 dev vxlan100 nodad\n"));
}

fn expect_ping(host: &Host, target: &str) {
    wait_until(&format!("host {} reaches {target}", host.number), 20, || {
        ensure(host.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", target]), || "no answer".to_owned())
    });
}

/// Waits until `daemon` knows the address, or does not.
pub fn expect_address(daemon: &Evpnd<'_>, ip: &str, known: bool) {
    wait_until(&format!("{ip} is announced: {known}"), 20, || {
        let macs = daemon.json(&["show", "macs", "--vni", "100"]).to_string();
        ensure(macs.contains(&format!("\"{ip}\"")) == known, || macs)
    });
}

fn hosts_reach_one_another(family: Family) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, c] = &site.hosts;
    let bare = "bridge = \"none\"\nflood = \"none\"\n";
    let first = start(&site, a, family, bare);
    let second = start(&site, b, family, bare);
    let third = start(&site, c, family, "flood = \"none\"\n");
    let captures = [a, b, c].map(|host| site.fabric.capture(host));
    [a, b].into_iter().for_each(settle);
    let mut guest = site.fabric.guest(31);
    guest.plug(c, VNI);
    assert!(!a.has_interface("br100") && c.has_interface("br100"));
    for (daemon, addresses) in [(&first, ["192.168.0.102", "fd01::102"]), (&second, ["192.168.0.101", "fd01::101"])] {
        addresses.iter().for_each(|ip| expect_address(daemon, ip, true));
    }
    expect_address(&first, "192.168.0.31", true);
    for (from, to) in [(a, "192.168.0.102"), (a, "fd01::102"), (b, "192.168.0.101"), (b, "fd01::101"), (a, "192.168.0.31")] {
        expect_ping(from, to);
    }
    // A guest behind a bridge reaches the host, and its question is answered at home.
    wait_until("the guest reaches host 1", 20, || {
        ensure(guest.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", "192.168.0.101"]), || "no answer".to_owned())
    });
    let vnis = first.json(&["show", "vnis", "100"]);
    assert_eq!((&vnis[0]["bridge"], &vnis[0]["state"]), (&"none".into(), &"ready".into()), "{vnis}");
    assert_eq!(vnis[0]["warnings"], serde_json::json!([]));

    // Nobody has it: it is asked for in vain, counted, and nothing leaves the host for it.
    let before = first.status("/counters/fib_asked_unknown");
    assert!(!a.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "5", "192.168.0.200"]));
    wait_until("the question is counted", patience(10).as_secs(), || {
        let now = first.status("/counters/fib_asked_unknown");
        ensure(now > before, || format!("{before} {now}"))
    });
    for capture in &captures {
        let frames = capture.frames();
        let flooded = frames.iter().filter(|frame| match Frame::classify(frame, 4789) {
            Outgoing::Vxlan { inner, .. } => inner[0] & 1 == 1,
            _ => false,
        });
        assert_eq!(flooded.count(), 0, "nothing was flooded");
    }
    [&first, &second, &third].into_iter().for_each(Evpnd::expect_no_difference);

    // What is deleted behind its back is put back, in the one half that there is.
    let mac = b.mac_of("vxlan100").map(|octet| format!("{octet:02x}")).join(":");
    a.namespace.bridge_batch(&format!("fdb del {mac} dev vxlan100 self\n"));
    expect_ping(a, "192.168.0.102");
    first.expect_no_difference();

    // Addresses and the MAC come and go.
    b.namespace.ip("addr del 192.168.0.102/24 dev vxlan100");
    expect_address(&first, "192.168.0.102", false);
    b.namespace.ip("addr add 192.168.0.112/24 dev vxlan100");
    expect_address(&first, "192.168.0.112", true);
    expect_ping(a, "192.168.0.112");
    b.namespace.ip("link set vxlan100 address 02:00:00:00:77:02");
    wait_until("the new MAC is announced", 20, || {
        let macs = first.json(&["show", "macs", "--vni", "100"]).to_string();
        ensure(macs.contains("02:00:00:00:77:02") && !macs.contains(&mac), || macs)
    });
    expect_ping(a, "192.168.0.112");

    // A restart is nothing to the others, and a drain leaves a device that has addresses.
    assert!(second.stop().success());
    let mut second = start(&site, b, family, bare);
    expect_address(&second, "192.168.0.101", true);
    expect_ping(a, "192.168.0.112");
    [&first, &second, &third].into_iter().for_each(Evpnd::expect_no_difference);
    second.say(&["drain"]);
    second.wait(patience(10));
    assert!(b.has_interface("vxlan100"), "it has an address");
    expect_address(&first, "192.168.0.112", false);
    first.expect_no_difference();
}

#[test]
fn hosts_without_a_bridge_reach_one_another_over_ipv4() {
    hosts_reach_one_another(Family::V4);
}

#[test]
fn hosts_without_a_bridge_reach_one_another_over_ipv6() {
    hosts_reach_one_another(Family::V6);
}
