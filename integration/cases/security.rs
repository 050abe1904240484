//! TCP MD5 (RFC 2385) and GTSM (RFC 5082): who has the key or the nearness gets a session, who has not does not.

use crate::harness::ensure;
use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Host};
use crate::harness::hostile::Hostile;
use crate::harness::stays_true;
use crate::interop::frr::{Frr, Neighbor, Role};

use super::scenario::{ASN, VNI};

const KEY: &str = "password = \"correct-horse\"\n";
const WRONG: &str = "password = \"battery staple\"\n";

fn hypervisor(host: &Host, asn: u32, neighbor: &Host, more: &str) -> Config {
    hypervisor_over(Family::V4, host, asn, neighbor, more)
}

/// Sessions and tunnels over this family.
fn hypervisor_over(family: Family, host: &Host, asn: u32, neighbor: &Host, more: &str) -> Config {
    Config::hypervisor(host, asn, family).neighbor(neighbor.address(family), more).vni(VNI, "")
}

#[track_caller]
fn never_established(daemon: &Evpnd<'_>, neighbor: &Host) {
    stays_true("no session", 4, || {
        let state = daemon.neighbor(neighbor.v4())["state"].clone();
        ensure(state != "established", || "it is established".to_owned())
    });
}

#[track_caller]
fn a_password(family: Family) {
    let fabric = Fabric::new();
    let (a, b, c) = (fabric.host(1), fabric.host(2), fabric.host(3));
    let (va, vb, vc) = (a.address(family), b.address(family), c.address(family));
    let config = hypervisor_over(family, &a, ASN, &b, KEY).neighbor(vc, KEY);
    let first = Evpnd::start(&a, &config);
    let second = Evpnd::start(&b, &hypervisor_over(family, &b, ASN, &a, KEY));
    let stranger = Evpnd::start(&c, &hypervisor_over(family, &c, ASN, &a, WRONG));
    first.expect_established(vb);
    a.expect_flood_list(VNI, &[vb]);
    stays_true("no session with the wrong key", 4, || {
        let state = stranger.neighbor(va)["state"].clone();
        ensure(state != "established", || "it is established".to_owned())
    });
    [first, second].iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn a_password_between_two_of_ours() {
    a_password(Family::V4);
}

#[test]
fn a_password_over_ipv6() {
    a_password(Family::V6);
}

/// The listener must hold the key of a whole range before anybody connects.
#[test]
fn a_password_of_a_listen_range() {
    let fabric = Fabric::new();
    let (a, b, reflector) = (fabric.host(1), fabric.host(2), fabric.host(254));
    let range = format!("listen-range = \"10.0.0.0/24\"\nroute-reflector-client = true\n{KEY}");
    let server = Evpnd::start(&reflector, &Config::router_only(&reflector, ASN).table("neighbor", &range));
    let friend = Evpnd::start(&a, &hypervisor(&a, ASN, &reflector, KEY));
    let stranger = Evpnd::start(&b, &hypervisor(&b, ASN, &reflector, WRONG));
    friend.expect_established(reflector.v4());
    never_established(&stranger, &reflector);
    assert_eq!(server.status("/neighbors/up"), 1);
    [friend, stranger].iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn a_wrong_password_between_two_of_ours_never_gets_a_session() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let first = Evpnd::start(&a, &hypervisor(&a, ASN, &b, KEY));
    let second = Evpnd::start(&b, &hypervisor(&b, ASN, &a, WRONG));
    never_established(&first, &b);
    assert_ne!(second.neighbor(a.v4())["state"], "established");
    // The key is mended by a reload, and the session comes.
    second.rewrite(&hypervisor(&b, ASN, &a, KEY));
    second.say(&["reload"]);
    first.expect_established(b.v4());
    second.expect_established(a.v4());
}

#[test]
fn a_password_with_frr() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let theirs = Neighbor { more: &["password correct-horse"], ..Neighbor::new(a.v4(), ASN) };
    let _frr = Frr::start(&b, Role::Reflector, ASN, &[theirs]);
    let first = Evpnd::start(&a, &hypervisor(&a, ASN, &b, KEY));
    first.expect_established(b.v4());
    first.expect_no_difference();
}

#[test]
fn a_wrong_password_with_frr_never_gets_a_session() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let theirs = Neighbor { more: &["password something-else"], ..Neighbor::new(a.v4(), ASN) };
    let _frr = Frr::start(&b, Role::Reflector, ASN, &[theirs]);
    let first = Evpnd::start(&a, &hypervisor(&a, ASN, &b, KEY));
    never_established(&first, &b);
}

#[track_caller]
fn ttl_security(family: Family) {
    let fabric = Fabric::new();
    let (a, b, c) = (fabric.host(1), fabric.host(2), fabric.host(3));
    let near = |asn: u32| format!("asn = {asn}\nttl-security = 1\n");
    let config = hypervisor_over(family, &a, 65001, &b, &near(65002)).neighbor(c.address(family), &near(65003));
    let first = Evpnd::start(&a, &config);
    let _second = Evpnd::start(&b, &hypervisor_over(family, &b, 65002, &a, &near(65001)));
    // Sends with the TTL of any eBGP neighbor, 1, and could be anywhere.
    let third = Evpnd::start(&c, &hypervisor_over(family, &c, 65003, &a, "asn = 65001\n"));
    first.expect_established(b.address(family));
    a.expect_flood_list(VNI, &[b.address(family)]);
    stays_true("no session with who does not send 255", 4, || {
        let state = third.neighbor(a.address(family))["state"].clone();
        ensure(state != "established", || "it is established".to_owned())
    });
}

#[test]
fn ttl_security_between_two_of_ours() {
    ttl_security(Family::V4);
}

#[test]
fn ttl_security_over_ipv6() {
    ttl_security(Family::V6);
}

#[test]
fn ttl_security_with_frr() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let theirs = Neighbor { more: &["ttl-security hops 1"], ..Neighbor::new(a.v4(), 65001) };
    let _frr = Frr::start(&b, Role::Spine, 65002, &[theirs]);
    let first = Evpnd::start(&a, &hypervisor(&a, 65001, &b, "asn = 65002\nttl-security = 1\n"));
    first.expect_established(b.v4());
}

/// Whoever connects in a neighbour's name from farther away gets not one octet: the kernel's own check begins after the handshake,
/// and our OPEN went out before it.
#[test]
fn ttl_security_says_nothing_to_who_is_too_far() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let first = Evpnd::start(&a, &hypervisor(&a, 65001, &b, "asn = 65002\nttl-security = 1\npassive = true\n"));
    // Linux sends with TTL 64.
    let mut far = Hostile::connect(&b, std::net::SocketAddr::new(a.v4(), 179)).expect("the handshake is the kernel's");
    assert!(far.is_closed_within(10));
    assert!(far.types().is_empty(), "it is told nothing");
    let counters = first.json(&["show", "status"])["counters"].clone();
    assert_eq!(counters["speaker_ttl_security_refused"], 1, "{counters}");
    first.expect_no_difference();
}

/// An eBGP neighbour that sends with TTL 1 could be anywhere on the link of somebody else: its packets are dropped.
#[test]
fn ttl_security_drops_who_does_not_send_255() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let first = Evpnd::start(&a, &hypervisor(&a, 65001, &b, "asn = 65002\nttl-security = 1\n"));
    let second = Evpnd::start(&b, &hypervisor(&b, 65002, &a, "asn = 65001\n"));
    // From the start, not from a quiet moment: a first packet that slipped through would show here.
    never_established(&first, &b);
    a.expect_flood_list(VNI, &[]);
    drop(second);
}
