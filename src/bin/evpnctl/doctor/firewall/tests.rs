//! Rule sets as `nft -j list ruleset` writes them (nft 1.0.6 and iptables-nft 1.8.9; `tests/vectors/README.md`), and what becomes of the
//! packets of tunnels.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::checks;
use super::super::facts::{Facts, Link};
use super::rules::{Dropped, Verdict};
use super::sockets::{self, Open};
use super::values::Packet;
use super::{Rules, Way};

/// What is expected of a rule set.
enum Then {
    Passes,
    /// By this chain; the rule's handle, none for its policy.
    Dropped(&'static str, Option<u64>),
    /// Because of this place.
    Unclear(&'static str),
}
use Then::{Dropped as By, Passes, Unclear};

fn ruleset(name: &str) -> Value {
    let path = format!("{}/tests/vectors/nft/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap()
}

/// A packet from or to 10.0.0.2, the tunnel of another host, by eth0.
fn packet(way: Way) -> Packet {
    let (other, own) = (Some("10.0.0.2".parse().unwrap()), Some("10.0.0.1".parse().unwrap()));
    let (from, to) = if way == Way::In { (other, own) } else { (own, other) };
    Packet { way, v4: true, from, to, devices: Some(vec!["eth0".to_owned()]), port: 4789, segment: None }
}

/// The same where no other host is known yet, and not by which device it will be reached.
fn unknown(way: Way) -> Packet {
    let known = packet(way);
    let (from, to) = if way == Way::In { (None, known.to) } else { (known.from, None) };
    Packet { from, to, devices: None, ..known }
}

fn six() -> Packet {
    let (from, to) = (Some("2001:db8::2".parse().unwrap()), Some("2001:db8::1".parse().unwrap()));
    Packet { v4: false, from, to, ..packet(Way::In) }
}

#[track_caller]
fn check(name: &str, packet: &Packet, then: &Then) {
    let is = Rules::parse(&ruleset(name)).verdict(packet);
    let same = match (&is, then) {
        (Verdict::Passes, Passes) => true,
        (Verdict::Dropped(Dropped { chain, handle }), By(place, rule)) => chain == place && handle == rule,
        (Verdict::Unclear(place), Unclear(because)) => place.contains(because),
        _ => false,
    };
    assert!(same, "{name}: {is:?} of {packet:?}");
}

#[test]
fn what_lets_tunnels_in_is_no_finding() {
    // A range of ports, a set with a name, a source, a device, a map of verdicts; what is dropped is of other devices, or comes after.
    for name in [
        "range",
        "named_set",
        "source",
        "interface",
        "other_interface",
        "underlay_then_rest",
        "verdict_map",
        "ufw_allows",
        "firewalld_allows",
        "iptables_allows",
    ] {
        check(name, &packet(Way::In), &Passes);
        check(name, &packet(Way::Out), &Passes);
    }
}

#[test]
fn what_drops_tunnels_is_found_where_it_stands() {
    for (name, way, chain, handle) in [
        ("ufw_denies", Way::In, "ip filter ufw-skip-to-policy-input", Some(23)),
        ("firewalld_denies", Way::In, "inet firewalld filter_INPUT_POLICIES", Some(28)),
        ("jumped_drop", Way::In, "inet filter tunnels", Some(3)),
        ("prerouting", Way::In, "ip raw prerouting", Some(2)),
        ("output", Way::Out, "inet filter output", Some(2)),
        ("nothing_named", Way::In, "inet filter input", None),
        ("later_chain", Way::In, "inet late input", Some(2)),
        ("iptables_rejects", Way::In, "ip filter INPUT", Some(6)),
    ] {
        check(name, &packet(way), &By(chain, handle));
        let other = if way == Way::In { Way::Out } else { Way::In };
        check(name, &packet(other), &Passes);
    }
    // Rules for IPv4 alone, and those for both.
    check("prerouting", &six(), &Passes);
    check("nothing_named", &six(), &By("inet filter input", None));
    check("firewalld_allows", &six(), &Passes);
    // Another port, another source, another device.
    check("range", &Packet { port: 8472, ..packet(Way::In) }, &By("inet filter input", None));
    check("source", &Packet { from: Some("10.0.1.2".parse().unwrap()), ..packet(Way::In) }, &By("ip filter input", None));
    check(
        "other_interface",
        &Packet { devices: Some(vec!["wan0".to_owned()]), ..packet(Way::In) },
        &By("inet filter input", Some(2)),
    );
    let elsewhere = Packet { from: Some("10.0.0.4".parse().unwrap()), ..packet(Way::In) };
    check("underlay_then_rest", &elsewhere, &By("inet filter input", Some(5)));
}

#[test]
fn what_is_not_understood_alarms_nobody() {
    // A mark that anybody may have set, a rate, octets at an offset, a match of iptables that nft shows the name of alone.
    for (name, because) in
        [("marked", "handle 2"), ("limited", "handle 2"), ("raw_payload", "handle 2"), ("iptables_multiport", "handle 4")]
    {
        check(name, &packet(Way::In), &Unclear(because));
    }
    // Nobody is known yet: what asks for a source or a device may take them, and what does not is clear.
    check("source", &unknown(Way::In), &Unclear("ip filter input (rule handle 2)"));
    check("output", &unknown(Way::Out), &Unclear("inet filter output (rule handle 2)"));
    check("range", &unknown(Way::In), &Passes);
    check("nothing_named", &unknown(Way::In), &By("inet filter input", None));
    // Rules that this version of doctor has never seen.
    let mut ruleset = ruleset("nothing_named");
    for object in ruleset["nftables"].as_array_mut().unwrap() {
        if let Some(rule) = object.get_mut("rule").filter(|rule| rule["handle"] == 5) {
            rule["expr"] = serde_json::json!([{"quantum": {"spin": "up"}}]);
        }
    }
    assert!(matches!(Rules::parse(&ruleset).verdict(&packet(Way::In)), Verdict::Unclear(place) if place.contains("handle 5")));
}

#[test]
fn a_chain_at_the_device_is_of_that_device() {
    // nft 1.0.6 does not say which it is; newer ones do.
    check("ingress", &packet(Way::In), &Unclear("netdev filter ingress (rule handle 2), at a device that nft does not tell"));
    let mut ruleset = ruleset("ingress");
    for (device, dropped) in [("eth0", true), ("wan0", false)] {
        let chain = ruleset["nftables"].as_array_mut().unwrap().iter_mut().find_map(|object| object.get_mut("chain")).unwrap();
        chain["dev"] = device.into();
        let is = Rules::parse(&ruleset).verdict(&packet(Way::In));
        assert_eq!(matches!(is, Verdict::Dropped(_)), dropped, "{device}: {is:?}");
    }
}

/// With the nft of Debian 12 nothing was ever found at a device: its JSON does not say at which a chain is, its words do.
#[test]
fn where_the_json_does_not_say_which_device_the_words_do() {
    let listed = |devices: &str| {
        format!(
            "table inet other {{\n\tchain ingress {{\n\t\ttype filter hook ingress device \"wan7\" priority filter; policy accept;\n\t}}\n}}\n\
             table netdev filter {{\n\tchain ingress {{\n\t\ttype filter hook ingress {devices} priority filter; policy accept;\n\t}}\n\
             \tchain jumped {{\n\t}}\n}}\n"
        )
    };
    for (devices, dropped) in [
        ("device \"eth0\"", true),
        ("devices = { wan0, eth0 }", true),
        ("devices = { \"eth*\" }", true),
        ("device \"wan0\"", false),
        ("devices = { wan0, eth01 }", false),
    ] {
        let mut rules = Rules::parse(&ruleset("ingress"));
        rules.name_devices(&listed(devices));
        let by = Verdict::Dropped(Dropped { chain: "netdev filter ingress".to_owned(), handle: Some(2) });
        assert_eq!(rules.verdict(&packet(Way::In)), if dropped { by } else { Verdict::Passes }, "{devices}");
    }
}

#[test]
fn a_packet_that_may_be_untracked_may_not_be_new() {
    let mut ruleset = ruleset("nothing_named");
    let accept = |state: Value| {
        serde_json::json!({"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 9, "expr": [
            {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": state}}, {"accept": null}]}})
    };
    let objects = ruleset["nftables"].as_array_mut().unwrap();
    objects.push(accept("new".into()));
    assert_eq!(Rules::parse(&ruleset).verdict(&packet(Way::In)), Verdict::Passes);
    let objects = ruleset["nftables"].as_array_mut().unwrap();
    objects.push(
        serde_json::json!({"rule": {"family": "inet", "table": "raw", "chain": "x", "handle": 1, "expr": [{"notrack": null}]}}),
    );
    assert!(matches!(Rules::parse(&ruleset).verdict(&packet(Way::In)), Verdict::Unclear(place) if place.contains("handle 9")));
    ruleset["nftables"].as_array_mut().unwrap().push(accept(serde_json::json!(["new", "untracked"])));
    assert_eq!(Rules::parse(&ruleset).verdict(&packet(Way::In)), Verdict::Passes);
}

#[test]
fn frames_between_guests_that_docker_drops() {
    let frame =
        Packet { from: None, to: None, devices: Some(vec!["br100".to_owned()]), port: super::ANY_PORT, ..packet(Way::Through) };
    check("docker", &frame, &By("ip filter FORWARD", None));
    check("range", &frame, &Passes);
    // `iptables -A DOCKER-USER -i br+ -j ACCEPT`, before the rule that returns.
    let mut ruleset = ruleset("docker");
    let accept = serde_json::json!({"rule": {"family": "ip", "table": "filter", "chain": "DOCKER-USER", "handle": 14, "expr": [
        {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "br*"}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}});
    ruleset["nftables"].as_array_mut().unwrap().insert(2, accept);
    assert_eq!(Rules::parse(&ruleset).verdict(&frame), Verdict::Passes);
}

/// Only where bridges pass the filter (br_netfilter), of which a namespace of the machine under test may know nothing.
#[test]
fn a_filter_that_bridges_pass_and_that_drops_their_frames_is_found() {
    let port = |name: &str, kind: &str| Link {
        name: name.to_owned(),
        kind: kind.to_owned(),
        master: Some("br100".to_owned()),
        up: true,
        ..Link::default()
    };
    let links = || vec![Link { master: None, ..port("br100", "bridge") }, port("vxlan100", "vxlan"), port("tap1", "tun")];
    for (name, bridges_are_filtered, drops) in [("docker", true, true), ("docker", false, false), ("range", true, false)] {
        let mut facts = Facts { links: links(), bridges_are_filtered, ..Facts::default() };
        let (obstacles, unclear) = super::look(&facts, &Rules::parse(&ruleset(name)));
        assert!(unclear.is_empty(), "{name}: {unclear:?}");
        facts.obstacles = obstacles;
        let findings = checks::judge(&facts);
        match &findings[..] {
            [] => assert!(!drops, "{name}"),
            [one] => {
                let what = "frames between guests pass ip filter FORWARD, which drops them (its policy; bridge-nf-call-iptables)";
                assert!(drops && one.check == "br-netfilter" && one.what == what, "{name}: {one:?}");
                assert_eq!(one.remedy, "sysctl net.bridge.bridge-nf-call-iptables=0");
            }
            more => panic!("{name}: {more:?}"),
        }
    }
}

/// Rules of family `bridge` were not looked at: with a policy of drop no guest reached any other host, and nothing was found.
#[test]
fn what_rules_of_bridges_drop_between_guests_and_tunnels_is_found() {
    let port = |name: &str, kind: &str| Link {
        name: name.to_owned(),
        kind: kind.to_owned(),
        master: Some("br7".to_owned()),
        ..Link::default()
    };
    let bridge = Link { master: None, ..port("br7", "bridge") };
    let links = vec![bridge, port("vxlan7", "vxlan"), port("tap1", "tun"), port("tap2", "tun")];
    let facts = Facts { links, ..Facts::default() };
    let rules = |hook: &str, policy: &str, rules: Value| {
        let chain = serde_json::json!({"family": "bridge", "table": "t", "name": "c", "hook": hook, "policy": policy});
        let rules = rules.as_array().unwrap().iter().zip(2..).map(|(expr, handle)| {
            serde_json::json!({"rule": {"family": "bridge", "table": "t", "chain": "c", "handle": handle, "expr": expr}})
        });
        let objects: Vec<Value> = std::iter::once(serde_json::json!({ "chain": chain })).chain(rules).collect();
        Rules::parse(&serde_json::json!({ "nftables": objects }))
    };
    let is = |left: Value, right: &str| serde_json::json!({"match": {"op": "==", "left": left, "right": right}});
    let meta = |key: &str, right: &str| is(serde_json::json!({"meta": {"key": key}}), right);
    let field = |protocol: &str, field: &str, right: &str| {
        is(serde_json::json!({"payload": {"protocol": protocol, "field": field}}), right)
    };
    let accept = || serde_json::json!({"accept": null});
    let drops = || serde_json::json!({"drop": null});
    for (name, hook, policy, lines, found) in [
        ("nothing passes", "forward", "drop", serde_json::json!([]), Some(None)),
        ("another hook", "input", "drop", serde_json::json!([]), None),
        ("ARP passes", "forward", "drop", serde_json::json!([[field("ether", "type", "arp"), accept()]]), None),
        ("ARP passes, by its other name", "forward", "drop", serde_json::json!([[meta("protocol", "arp"), accept()]]), None),
        ("IPv4 alone passes", "forward", "drop", serde_json::json!([[field("ether", "type", "ip"), accept()]]), Some(None)),
        (
            "guests are told apart",
            "forward",
            "accept",
            serde_json::json!([[meta("iifname", "tap1"), meta("oifname", "tap2"), drops()]]),
            None,
        ),
        ("one way only", "forward", "accept", serde_json::json!([[meta("oifname", "vxlan7"), drops()]]), Some(Some(2))),
        ("on the way in", "prerouting", "accept", serde_json::json!([[meta("iifname", "vxlan*"), drops()]]), Some(Some(2))),
        ("another bridge", "forward", "accept", serde_json::json!([[meta("ibrname", "br8"), drops()]]), None),
        (
            "a guest's own filter",
            "prerouting",
            "accept",
            serde_json::json!([[meta("iifname", "tap1"), field("arp", "saddr ip", "10.0.0.1"), drops()]]),
            None,
        ),
        ("what is no ARP", "forward", "accept", serde_json::json!([[field("udp", "dport", "53"), drops()]]), None),
        (
            "ARP is invalid to connection tracking",
            "forward",
            "accept",
            serde_json::json!([[is(serde_json::json!({"ct": {"key": "state"}}), "invalid"), drops()]]),
            Some(Some(2)),
        ),
    ] {
        let (obstacles, unclear) = super::look(&facts, &rules(hook, policy, lines));
        assert!(unclear.is_empty(), "{name}: {unclear:?}");
        let handles: Vec<Option<u64>> = obstacles.iter().map(|obstacle| obstacle.by.handle).collect();
        assert_eq!(handles, found.into_iter().collect::<Vec<_>>(), "{name}");
        assert!(obstacles.iter().all(|obstacle| obstacle.way == Way::Bridged && obstacle.bridges.contains("br7")), "{name}");
    }
}

/// A tunnel in a bridge, and what its guests reach of it: `rules` as nft lists them, `filters` as tc does.
fn open(addresses: &[&str], over: &str, rules: &Value, filters: Value) -> (Vec<Open>, usize) {
    let link = |name: &str, kind: &str, master: Option<&str>| Link {
        name: name.to_owned(),
        kind: kind.to_owned(),
        master: master.map(str::to_owned),
        ..Link::default()
    };
    let bridge = Link { addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(), ..link("br7", "bridge", None) };
    let data = serde_json::json!({"id": 7, "port": 4789, over: "an address"});
    let tunnel = Link { data, ..link("vxlan7", "vxlan", Some("br7")) };
    let facts = Facts { links: vec![bridge, tunnel], ..Facts::default() };
    let (open, unclear) = sockets::open(&facts, &Rules::parse(rules), &BTreeMap::from([("br7".to_owned(), filters)]));
    (open, unclear.len())
}

#[test]
fn what_guests_reach_of_the_tunnels_sockets() {
    let none = serde_json::json!({"nftables": []});
    let guard = |device: &str| {
        serde_json::json!({"nftables": [
            {"chain": {"family": "inet", "table": "guard", "name": "input", "hook": "input", "policy": "accept"}},
            {"rule": {"family": "inet", "table": "guard", "chain": "input", "handle": 2, "expr": [
                {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": device}},
                {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 4789}}, {"drop": null}]}}]})
    };
    // As tc shows the filter of evpnd, and somebody else's.
    let filter = |port: u16| {
        serde_json::json!([{"protocol": "all", "pref": 1, "kind": "bpf", "chain": 0},
            {"protocol": "all", "pref": 1, "kind": "bpf", "chain": 0, "options": {"handle": "0x1", "direct-action": true,
             "bytecode": {"length": 2, "insns": [{"code": 21, "jt": 2, "jf": 0, "k": port}, {"code": 6, "jt": 0, "jf": 0, "k": 2}]}}}])
    };
    let empty = || serde_json::json!([]);
    let how = |found: &(Vec<Open>, usize)| {
        assert_eq!(found.1, 0);
        found.0.first().map(|open| (open.by.len(), open.by_all))
    };
    // An adopted bridge without an address, with one, and ours that is a gateway.
    assert_eq!(how(&open(&[], "local", &none, empty())), Some((0, true)));
    assert_eq!(how(&open(&["192.168.7.1"], "local", &none, empty())), Some((1, true)));
    assert_eq!(how(&open(&["192.168.7.1"], "local", &none, filter(4789))), Some((1, false)));
    assert_eq!(how(&open(&[], "local", &none, filter(4789))), None);
    assert_eq!(how(&open(&[], "local", &none, filter(8472))), Some((0, true)));
    // The rule that is the remedy, by its name and by a pattern; another bridge's.
    for (device, found) in [("br7", None), ("br*", None), ("br8", Some((1, true)))] {
        assert_eq!(how(&open(&["192.168.7.1"], "local", &guard(device), empty())), found, "{device}");
    }
    // A tunnel over IPv6 is reached by IPv6 alone, which the filter drops.
    assert_eq!(how(&open(&["192.168.7.1"], "local6", &none, empty())), None);
    assert_eq!(how(&open(&["fe80::7"], "local6", &none, empty())), Some((1, true)));
    assert_eq!(how(&open(&["fe80::7"], "local6", &none, filter(4789))), None);
    // What cannot be told alarms nobody.
    let (found, unclear) = open(&[], "local", &ruleset("marked"), empty());
    assert_eq!((found.len(), unclear > 0), (0, true));
}
