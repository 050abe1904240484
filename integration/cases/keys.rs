//! Keys of the configuration whose effect is on sockets, packets or devices: one case each.

use crate::harness::ensure;
use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Host};
use crate::harness::{stays_true, wait_until};

use super::scenario::{ASN, VNI};

fn hypervisor(host: &Host, asn: u32) -> Config {
    Config::hypervisor(host, asn, Family::V4)
}

#[test]
fn local_address_is_where_a_session_comes_from() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    a.namespace.ip("addr add 10.0.0.101/24 dev eth0");
    let other = "10.0.0.101".parse().unwrap();
    let first = Evpnd::start(&a, &hypervisor(&a, ASN).neighbor(b.v4(), "local-address = \"10.0.0.101\"\n").vni(VNI, ""));
    // It knows the neighbor by that address only.
    let second = Evpnd::start(&b, &hypervisor(&b, ASN).neighbor(other, "passive = true\n").vni(VNI, ""));
    second.expect_established(other);
    first.expect_established(b.v4());
    assert_eq!(first.neighbor(b.v4())["local_address"], "10.0.0.101");
    b.expect_flood_list(VNI, &[a.v4()]);
}

#[test]
fn listen_port_is_where_neighbors_are_taken() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let first = Evpnd::start(&a, &hypervisor(&a, ASN).neighbor(b.v4(), "port = 1179\n").vni(VNI, ""));
    let config = hypervisor(&b, ASN).router("listen-port = 1179").neighbor(a.v4(), "passive = true\n").vni(VNI, "");
    let _second = Evpnd::start(&b, &config);
    first.expect_established(b.v4());
    assert_eq!(first.neighbor(b.v4())["remote_port"], 1179);
}

#[test]
fn a_neighbor_that_is_not_enabled_is_neither_called_nor_heard() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let config = |enabled: bool| hypervisor(&a, ASN).neighbor(b.v4(), &format!("enabled = {enabled}\n")).vni(VNI, "");
    let first = Evpnd::start(&a, &config(false));
    let second = Evpnd::start(&b, &hypervisor(&b, ASN).neighbor(a.v4(), "").vni(VNI, ""));
    stays_true("no session", 4, || {
        let state = second.neighbor(a.v4())["state"].clone();
        ensure(state != "established", || "it is established".to_owned())
    });
    assert_eq!(first.neighbor(b.v4())["state"], "disabled");
    first.rewrite(&config(true));
    first.say(&["reload"]);
    first.expect_established(b.v4());
    // And back: what it had said goes, on both sides.
    a.expect_flood_list(VNI, &[b.v4()]);
    first.rewrite(&config(false));
    first.say(&["reload"]);
    second.expect_lost(a.v4());
    a.expect_flood_list(VNI, &[]);
    b.expect_flood_list(VNI, &[]);
}

#[test]
fn neighbor_suppression_is_a_flag_of_the_port() {
    let fabric = Fabric::new();
    let a = fabric.host(1);
    let config = |on: bool| {
        hypervisor(&a, ASN).neighbor("10.0.0.254".parse().unwrap(), "").vni(VNI, &format!("neighbor-suppression = {on}\n"))
    };
    let daemon = Evpnd::start(&a, &config(false));
    let expect = |word: &str| {
        wait_until(&format!("neigh_suppress {word}"), 15, || {
            let link = a.namespace.output("bridge", ["-d", "link", "show", "dev", "vxlan100"]);
            ensure(link.contains(&format!("neigh_suppress {word}")), || link)
        });
    };
    expect("off");
    daemon.rewrite(&config(true));
    daemon.say(&["reload"]);
    expect("on");
}

/// Between two AS packets leave with TTL 1 (RFC 4271 §3 by practice); a neighbor behind a router needs `multihop`.
#[test]
fn multihop_is_the_ttl_between_two_as() {
    let fabric = Fabric::new();
    let (a, b, router) = (fabric.host(1), fabric.host(2), fabric.host(3));
    for (key, value) in [("ip_forward", "1"), ("conf/all/send_redirects", "0"), ("conf/eth0/send_redirects", "0")] {
        router.namespace.sysctl(&format!("net/ipv4/{key}"), value);
    }
    for (host, own, other) in [(&a, "10.9.1.1", "10.9.2.1"), (&b, "10.9.2.1", "10.9.1.1")] {
        host.namespace.ip("link set lo up");
        host.namespace.ip(&format!("addr add {own}/32 dev lo"));
        host.namespace.ip(&format!("route add {other}/32 via {} src {own}", router.v4()));
        router.namespace.ip(&format!("route add {own}/32 via {}", host.v4()));
    }
    let (far, own) = ("10.9.2.1".parse().unwrap(), "10.9.1.1".parse().unwrap());
    let config = |host: &Host, asn: u32, neighbor, local: &str, other: u32, more: &str| {
        hypervisor(host, asn).neighbor(neighbor, &format!("asn = {other}\nlocal-address = \"{local}\"\n{more}")).vni(VNI, "")
    };
    let first = Evpnd::start(&a, &config(&a, 65001, far, "10.9.1.1", 65002, ""));
    let _second = Evpnd::start(&b, &config(&b, 65002, own, "10.9.2.1", 65001, "multihop = 2\n"));
    stays_true("no session with TTL 1", 4, || {
        let state = first.neighbor(far)["state"].clone();
        ensure(state != "established", || "it is established".to_owned())
    });
    first.rewrite(&config(&a, 65001, far, "10.9.1.1", 65002, "multihop = 2\n"));
    first.say(&["reload"]);
    first.expect_established(far);
    a.expect_flood_list(VNI, &[b.v4()]);
}
