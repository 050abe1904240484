//! The checks over hosts that are made up, where the kernel of the machine under test would be in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evpnd::control::counters::REFUSALS;
use evpnd::control::{Status, VniView};
use serde_json::{Value, json};

use super::facts::{Facts, Link, Reach, not_unique};
use super::{Finding, checks};
use crate::arguments::{CHECKS, Ignore};

fn link(name: &str, kind: &str, master: Option<&str>) -> Link {
    Link {
        name: name.to_owned(),
        kind: kind.to_owned(),
        master: master.map(str::to_owned),
        up: true,
        mtu: 1500,
        ..Link::default()
    }
}

/// A bridge without a port, and a tunnel in it as `ip link add` makes it: it floods to a group and learns.
fn segment(bridge: &str, tunnel: &str) -> [Link; 2] {
    let port = json!({
        "state": "forwarding", "flood": true, "bcast_flood": true, "mcast_flood": true, "hairpin": false, "isolated": false,
        "learning": true
    });
    let data = json!({"id": 7, "group": "239.0.0.7", "port": 4789, "learning": true});
    [link(bridge, "bridge", None), Link { data, port: Some(port), ..link(tunnel, "vxlan", Some(bridge)) }]
}

fn found(facts: &Facts) -> Vec<(&'static str, Option<String>)> {
    checks::judge(facts).into_iter().map(|finding| (finding.check, finding.at)).collect()
}

fn at(place: &str) -> Option<String> {
    Some(place.to_owned())
}

/// Before a host has its first VNI, what its devices will suffer from is found; how multicast works is not.
#[test]
fn devices_that_the_daemon_does_not_have_are_looked_at() {
    let mut facts = Facts { links: segment("br7", "vxlan7").into(), ..Facts::default() };
    assert!(found(&facts).is_empty());
    facts.no_daemon = Some("no daemon".to_owned());
    assert_eq!(found(&facts), [("daemon", None)]);
    facts.no_daemon = None;
    let port = facts.links[1].port.as_mut().unwrap();
    port["flood"] = json!(false);
    port["state"] = json!("listening");
    facts.links[0].addresses = vec!["192.0.2.1".parse().unwrap()];
    facts.links[0].data = json!({"vlan_filtering": 1});
    let expected = [("bridge", at("vxlan7")), ("bridge", at("vxlan7")), ("bridge", at("vxlan7")), ("isolation", at("br7"))];
    assert_eq!(found(&facts), expected);
    // Another program's own, a device for many VNIs, and one that is in no bridge (of this kind).
    for change in [
        |links: &mut Vec<Link>| links[1].name = "flannel.7".to_owned(),
        |links: &mut Vec<Link>| links[1].data = json!({"external": true}),
        |links: &mut Vec<Link>| links[1].master = None,
        |links: &mut Vec<Link>| links[0].kind = "openvswitch".to_owned(),
    ] {
        let mut other = Facts { links: facts.links.clone(), ..Facts::default() };
        change(&mut other.links);
        assert!(found(&other).is_empty());
    }
}

/// The daemon of a host, with what a check looks at.
fn status(vtep: Option<&str>, counters: Value, sizes: Value) -> Option<Status> {
    let none = json!({"up": 0, "configured": 0});
    let rows = json!({"wanted": 0, "in_sync": 0, "dirty": 0, "in_flight": 0, "failed": 0});
    let value = json!({
        "version": "1", "asn": 65000, "router_id": "10.0.0.1", "vtep": vtep, "uptime_secs": 1, "draining": false, "neighbors": none,
        "vnis": none, "vteps": 0, "routes": 0, "paths": 0, "macs": {"local": 0, "remote": 0}, "rows": rows, "overflows": 0,
        "counters": counters, "sizes": sizes, "warnings": []
    });
    Some(serde_json::from_value(value).unwrap())
}

/// A VNI that the daemon has on `device` in `bridge`.
fn vni(id: u32, device: &str, bridge: &str, made_device: bool) -> VniView {
    changed(json!({"vni": id, "device": device, "bridge": bridge, "made_device": made_device}))
}

/// VNI 7 in br7, but for what `change` says.
fn changed(change: Value) -> VniView {
    let mut value = json!({
        "vni": 7, "device": "vxlan7", "bridge": "br7", "rd": "10.0.0.1:1", "import": [], "export": [], "state": "ready",
        "made_device": true, "made_bridge": false, "run_time": false, "vteps": 0, "local_macs": 0, "remote_macs": 0, "healed": 0,
        "rows": {"wanted": 0, "in_sync": 0, "dirty": 0, "in_flight": 0, "failed": 0}, "warnings": []
    });
    let change = change.as_object().cloned().unwrap_or_default();
    change.into_iter().for_each(|(key, new)| value[key] = new);
    serde_json::from_value(value).unwrap()
}

/// What the counter had seen since the daemon began was told for ever, long after the fight was over.
#[test]
fn a_fight_that_is_over_is_no_finding() {
    let of = |fought: u64| Facts {
        status: status(None, json!({"fib_fights": 2}), json!({"fib_rows_fought": fought})),
        ..Facts::default()
    };
    assert!(found(&of(0)).is_empty());
    let findings = checks::judge(&of(2));
    assert!(matches!(&findings[..], [one] if one.check == "rivals" && one.remedy.contains("ip monitor neigh")), "{findings:?}");
}

/// Ten of the limits were looked at, and two dozen refuse what guests notice.
#[test]
fn each_refusal_is_a_finding_of_its_own() {
    for name in REFUSALS {
        let facts = Facts { status: status(None, json!({ name: 3 }), json!({})), ..Facts::default() };
        let findings = checks::judge(&facts);
        let [one] = &findings[..] else { panic!("{name}: {findings:?}") };
        assert!(one.check == "limits" && one.at == at(name) && one.what.starts_with("3 times so far: "), "{one:?}");
    }
}

/// Where duplicate address detection failed, pings failed, and nothing said why.
#[test]
fn a_tunnel_address_that_another_host_has_is_found() {
    let eth0 = |flags: &[&str]| {
        let mut info = json!({"family": "inet6", "local": "fd00::4", "prefixlen": 64, "scope": "global"});
        flags.iter().for_each(|flag| info[*flag] = json!(true));
        let addresses = vec!["fd00::4".parse().unwrap()];
        Link { addresses, not_unique: not_unique(&info).into_iter().collect(), ..link("eth0", "", None) }
    };
    let facts = |flags: &[&str]| Facts {
        status: status(Some("fd00::4"), json!({}), json!({})),
        links: vec![eth0(flags)],
        ..Facts::default()
    };
    for (flags, words) in [(&["dadfailed", "tentative"][..], "another host has"), (&["tentative"], "is tentative")] {
        let findings = checks::judge(&facts(flags));
        let [one] = &findings[..] else { panic!("{findings:?}") };
        assert!(one.check == "vtep-address" && one.at == at("eth0") && one.what.contains(words), "{one:?}");
    }
    for flags in [&[][..], &["optimistic", "tentative"]] {
        assert!(found(&facts(flags)).is_empty(), "{flags:?}");
    }
}

/// Of multicast, and of ND that nobody answers here, doctor said nothing.
#[test]
fn each_flag_that_keeps_frames_from_the_tunnel_is_found() {
    for flag in ["flood", "bcast_flood", "mcast_flood"] {
        let mut facts = Facts { links: segment("br7", "vxlan7").into(), ..Facts::default() };
        facts.links[1].port.as_mut().unwrap()[flag] = json!(false);
        let findings = checks::judge(&facts);
        let [one] = &findings[..] else { panic!("{flag}: {findings:?}") };
        assert!(one.remedy == format!("bridge link set dev vxlan7 {flag} on") && one.at == at("vxlan7"), "{one:?}");
    }
}

/// `mtu` in the configuration changes nothing of a device that evpnd did not make.
#[test]
fn the_remedy_for_a_large_mtu_is_one_that_works() {
    let (near, far): (IpAddr, IpAddr) = ("10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap());
    let facts = |made: bool| {
        let devices = BTreeSet::from(["eth0".to_owned()]);
        let large = Some((1550, false));
        let mut links = Vec::from(segment("br7", "vxt"));
        links.push(Link { mtu: 1500, ..link("eth0", "", None) });
        links.push(Link { mtu: 9000, ..link("eth1", "", None) });
        let reach = BTreeMap::from([
            (near, Reach { devices, answers: None, large: None }),
            (far, Reach { devices: BTreeSet::from(["eth1".to_owned()]), answers: Some(true), large }),
        ]);
        Facts { links, reach, vnis: vec![vni(7, "vxt", "br7", made)], ..Facts::default() }
    };
    for (made, mtu, path) in
        [(true, "or `mtu = 1450` in [vxlan]", "`mtu = "), (false, "or ip link set vxt mtu 1450", "ip link set vxt mtu ")]
    {
        let findings = checks::judge(&facts(made));
        let [first, second] = &findings[..] else { panic!("{findings:?}") };
        assert!(first.check == "mtu" && first.remedy.ends_with(mtu), "{first:?}");
        assert!(second.check == "path-mtu" && second.remedy.contains(path), "{second:?}");
        assert_eq!(second.remedy.contains("[vxlan]"), made, "{second:?}");
    }
}

/// It was told four times, once with the remedy to take the right one out, and once as a guest's port.
#[test]
fn a_second_tunnel_in_a_bridge_is_told_once_and_is_the_one_that_goes() {
    let mut links = Vec::from(segment("br100", "vxlan100"));
    links.push(Link { name: "vv".to_owned(), mtu: 9000, ..links[1].clone() });
    for first in [1, 2] {
        links.swap(1, first);
        let facts = Facts { links: links.clone(), vnis: vec![vni(100, "vxlan100", "br100", true)], ..Facts::default() };
        let findings = checks::judge(&facts);
        let [one] = &findings[..] else { panic!("{findings:?}") };
        assert!(one.check == "bridge" && one.at == at("vv") && one.remedy == "ip link set vv nomaster", "{one:?}");
    }
    // Where the daemon has none of them, nobody knows which.
    let facts = Facts { links, ..Facts::default() };
    let findings = checks::judge(&facts);
    assert!(matches!(&findings[..], [one] if one.remedy.contains("the one that does not belong there")), "{findings:?}");
}

/// A port without a state because its device or bridge is down wants that set up, and once: where the daemon has the VNI, its line says so.
#[test]
fn a_port_whose_device_or_bridge_is_down_is_told_of_once_with_what_helps() {
    for (down, remedy) in [(1, "ip link set vxlan7 up"), (0, "ip link set br7 up")] {
        let mut facts = Facts { links: segment("br7", "vxlan7").into(), ..Facts::default() };
        facts.links[down].up = false;
        facts.links[1].port.as_mut().unwrap()["state"] = json!("disabled");
        let findings = checks::judge(&facts);
        assert!(findings.len() == 1 && findings[0].check == "bridge" && findings[0].remedy == remedy, "{findings:?}");
        facts.vnis = vec![changed(json!({"state": "down"}))];
        assert_eq!(found(&facts), [("vni", at("7"))]);
        facts.vnis = vec![changed(json!({"warnings": ["br7 is down: ip link set br7 up"]}))];
        assert_eq!(found(&facts), [("vni", at("7"))]);
    }
}

/// What the configuration says is left alone is no finding, by its name or how that begins; a device of the daemon's always is.
#[test]
fn devices_of_ignore_devices_are_left_alone() {
    let status = |names: &[&str]| {
        let ignored_devices = names.iter().map(|name| (*name).to_owned()).collect();
        status(None, json!({}), json!({})).map(|status| Status { ignored_devices, ..status })
    };
    let mut facts = Facts { links: segment("br7", "vxlan7").into(), status: status(&["vxlan8", "lab*"]), ..Facts::default() };
    facts.links[1].port.as_mut().unwrap()["flood"] = json!(false);
    facts.links[0].addresses = vec!["192.0.2.1".parse().unwrap()];
    let findings = [("bridge", at("vxlan7")), ("isolation", at("br7"))];
    assert_eq!(found(&facts), findings);
    for names in [&["vxlan7"][..], &["lab*", "vx*"]] {
        facts.status = status(names);
        assert!(found(&facts).is_empty() && facts.bridges_with_ignored().len() == 1, "{names:?}");
    }
    facts.vnis = vec![vni(7, "vxlan7", "br7", true)];
    assert_eq!(found(&facts), findings);
}

/// Reverse path filtering takes what comes by any device of the route back: two uplinks to everybody drop nothing, nor does IPv6 know it.
#[test]
fn strict_reverse_paths_are_found_where_ways_differ() {
    let finds = |ways: &[(&str, &[&str])]| {
        let reach = |(vtep, devices): &(&str, &[&str])| {
            let devices = devices.iter().map(|name| (*name).to_owned()).collect();
            (vtep.parse().unwrap(), Reach { devices, answers: Some(true), ..Reach::default() })
        };
        let rp_filter = BTreeMap::from([("eth0".to_owned(), 1), ("eth1".to_owned(), 1)]);
        let facts = Facts { reach: ways.iter().map(reach).collect(), rp_filter, ..Facts::default() };
        found(&facts).iter().any(|(check, _)| *check == "rp-filter")
    };
    assert!(finds(&[("10.0.0.1", &["eth0", "eth1"]), ("10.0.0.2", &["eth0"])]));
    assert!(finds(&[("10.0.0.1", &["eth0"]), ("10.0.0.2", &["eth1"])]));
    assert!(!finds(&[("10.0.0.1", &["eth0", "eth1"]), ("10.0.0.2", &["eth0", "eth1"])]), "equal ways (ECMP)");
    assert!(!finds(&[("10.0.0.1", &["eth0"]), ("10.0.0.2", &["eth0"])]));
    assert!(!finds(&[("2001:db8::1", &["eth0"]), ("2001:db8::2", &["eth1"]), ("10.0.0.1", &["eth0"])]));
}

/// What guests cannot reach is no hole: addresses of the tunnel itself, in a bridge or without one.
#[test]
fn addresses_that_guests_do_not_reach_are_no_finding() {
    let mut links = Vec::from(segment("br7", "vxlan7"));
    links[1].addresses = vec!["fe80::7".parse().unwrap(), "192.0.2.7".parse().unwrap()];
    let facts = Facts { links, rp_filter: BTreeMap::from([("br7".to_owned(), 1), ("vxlan7".to_owned(), 0)]), ..Facts::default() };
    assert!(found(&facts).is_empty());
    let mut open = Facts { links: facts.links.clone(), ..Facts::default() };
    open.links[0].addresses = vec!["fe80::8".parse().unwrap()];
    open.rp_filter.insert("br7".to_owned(), 2);
    assert_eq!(found(&open), [("isolation", at("br7")), ("isolation", at("br7"))]);
    // Where the bridge answers ND, IPv6 stays on: turned off it would be the next finding.
    let last = |facts: &Facts| checks::judge(facts).pop().unwrap().remedy;
    assert!(last(&open).contains("disable_ipv6=1"), "{}", last(&open));
    open.links[1].port.as_mut().unwrap()["neigh_suppress"] = json!(true);
    assert!(last(&open).contains("addrgenmode none") && !last(&open).contains("disable_ipv6"), "{}", last(&open));
}

/// Where the configuration says that this host is the guests' gateway, its address is no finding. That it is announced by default says nothing
/// of whether it is meant, nor does that it is not announced.
#[test]
fn a_gateway_that_is_meant_is_no_finding() {
    let mut links = Vec::from(segment("br7", "vxlan7"));
    links[0].addresses = ["192.0.2.7", "2001:db8::7", "fe80::7"].map(|text| text.parse().unwrap()).into();
    let mut facts = Facts { links, vnis: vec![vni(7, "vxlan7", "br7", true)], ..Facts::default() };
    for said in [None, Some(false)] {
        facts.vnis[0].announce_own = said;
        let finding = checks::judge(&facts).pop().unwrap();
        assert_eq!((finding.check, &finding.at), ("isolation", &at("br7")));
        let both = ["ip address del 192.0.2.7 dev br7", "`announce-own = true` for VNI 7"];
        assert!(both.iter().all(|way| finding.remedy.contains(way)), "{}", finding.remedy);
    }
    facts.vnis[0].announce_own = Some(true);
    assert!(found(&facts).is_empty());
    // What it is not meant for is found all the same: sources that are not the guests' own, and a bridge that has no address yet.
    facts.rp_filter.insert("br7".to_owned(), 2);
    let finding = checks::judge(&facts).pop().unwrap();
    assert!(
        finding.what.contains("in the name of any address") && finding.remedy.contains("br7.rp_filter=1"),
        "{}",
        finding.what
    );
    facts.rp_filter.clear();
    facts.links[0].addresses = vec!["fe80::7".parse().unwrap()];
    assert_eq!(found(&facts), [("isolation", at("br7"))]);
    // Another VNI's word is not this one's.
    facts.links[0].addresses = vec!["192.0.2.7".parse().unwrap()];
    facts.vnis[0].bridge = "br8".to_owned();
    assert_eq!(found(&facts), [("isolation", at("br7"))]);
}

/// evpnd's filter keeps guests from the host's IPv6: that an address is there is told, and not as one that they reach.
#[test]
fn an_address_behind_the_filter_of_evpnd_is_not_reached() {
    let mut links = Vec::from(segment("br7", "vxlan7"));
    links[0].addresses = ["2001:db8::7", "fe80::7"].map(|text| text.parse().unwrap()).into();
    let mut facts = Facts {
        links,
        vnis: vec![vni(7, "vxlan7", "br7", true)],
        closed_to_ipv6: [String::from("br7")].into(),
        ..Facts::default()
    };
    let what = |facts: &Facts| checks::judge(facts).pop().unwrap().what;
    assert_eq!(what(&facts), "br7 has the address 2001:db8::7: nothing but evpnd's filter keeps guests from this host there");
    facts.links[0].addresses.push("192.0.2.7".parse().unwrap());
    assert_eq!(what(&facts), "br7 has the address 2001:db8::7, 192.0.2.7: guests reach this host by 192.0.2.7");
    facts.closed_to_ipv6.clear();
    assert!(what(&facts).ends_with(" 2001:db8::7, 192.0.2.7: guests reach this host by it"), "{}", what(&facts));
    facts.links[0].addresses = vec!["fe80::7".parse().unwrap()];
    assert_eq!(what(&facts), "IPv6 is on at br7 (fe80::7): guests reach this host by it");
}

/// A tunnel without a bridge is the host's own, as is the VRF that it is in.
#[test]
fn a_vrf_is_no_bridge_of_tenants() {
    let vrf = Link { addresses: vec!["192.0.2.7".parse().unwrap()], ..link("blue", "vrf", None) };
    let links = vec![vrf, link("vxlan7", "vxlan", Some("blue"))];
    let mut facts = Facts { links, vnis: vec![vni(7, "vxlan7", "none", true)], ..Facts::default() };
    assert!(facts.tunnels().len() == 1 && found(&facts).is_empty());
    facts.links[0].kind = "bridge".to_owned();
    assert_eq!(found(&facts), [("isolation", at("blue"))]);
}

/// The clock is that of the machine under test: `integration/cases/doctor.rs` leaves it out.
#[test]
fn a_clock_that_is_not_synchronised_is_found() {
    let of = |clock| Facts { clock, ..Facts::default() };
    let findings = checks::judge(&of(Some(false)));
    let [one] = &findings[..] else { panic!("{findings:?}") };
    assert!(one.check == "clock" && one.at.is_none() && one.what.starts_with("the clock is not synchronised"), "{one:?}");
    assert!(one.remedy.contains("systemd-timesyncd"), "{one:?}");
    for clock in [Some(true), None] {
        assert!(found(&of(clock)).is_empty(), "{clock:?}");
    }
}

#[test]
fn what_is_ignored_is_one_check_or_one_place() {
    let finding = Finding::new("isolation", "what", "remedy").at("br100");
    let takes = |text: &str| text.parse::<Ignore>().unwrap().takes(&finding);
    assert!(takes("isolation") && takes("isolation:br100"));
    assert!(!takes("isolation:br10") && !takes("bridge") && !takes("bridge:br100"));
    // A place may have colons, and there are findings without one.
    let session = Finding::new("session", "what", "remedy").at("2001:db8::1");
    assert!("session:2001:db8::1".parse::<Ignore>().unwrap().takes(&session));
    assert!(!"clock:br100".parse::<Ignore>().unwrap().takes(&Finding::new("clock", "what", "remedy")));
    for wrong in ["", "isolaton", "isolation:", ":br100"] {
        let why = wrong.parse::<Ignore>().unwrap_err();
        assert!(why.contains("isolation"), "{wrong}: {why}");
    }
}

#[test]
fn every_check_is_documented() {
    let documented: Vec<&str> = include_str!("../../../../docs/DOCTOR.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(documented, CHECKS);
}
