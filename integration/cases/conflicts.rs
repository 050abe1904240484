//! Guests of two hosts with one address. Neither can find out by itself, for nobody's probe gets that far: evpnd tells of it on both
//! hosts, marks it, names it to doctor, and when one of them gave it up, the other is reached. The same of a guest that claims the gateway's.

use std::time::Duration;

use evpnd::base::MacAddr;
use serde_json::{Value, json};

use crate::harness::evpnd::{Config, Evpnd, client};
use crate::harness::fabric::{Family, Guest, Host};
use crate::harness::{ensure, raw, wait_until};

use super::scenario::{ASN, Site, VNI};

/// A guest says that it has an address, as it does when it asks for anybody.
fn claim(guest: &Guest, address: [u8; 4]) {
    guest.send(vec![raw::gratuitous_arp([2, 0, 0, 0, 0, guest.number], address)]);
    std::thread::sleep(Duration::from_millis(300));
}

/// Each MAC that is marked, with the addresses that it contends for.
fn marked(daemon: &Evpnd<'_>) -> Vec<(String, Value)> {
    let macs = daemon.json(&["show", "macs", "--duplicates"]);
    let of = |mac: &Value| (mac["mac"].as_str().unwrap_or_default().to_owned(), mac["duplicate_ips"].clone());
    macs.as_array().map(|macs| macs.iter().map(of).collect()).unwrap_or_default()
}

/// What doctor finds of addresses.
fn addresses_by_doctor(host: &Host) -> Option<Value> {
    let doctor = client(host, &["--json", "doctor"]);
    let findings: Value = serde_json::from_slice(&doctor.stdout).unwrap_or_else(|error| panic!("{error}: {doctor:?}"));
    findings.as_array().and_then(|all| all.iter().find(|finding| finding["check"] == "addresses")).cloned()
}

#[test]
fn two_guests_with_one_address_are_told_of_marked_and_cleared() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let rule = |config: Config| config.section("duplicate-detection", "moves = 2\nseconds = 600\nrecovery-seconds = 0");
    let daemons = site.hypervisors_with(Family::V4, |_| ASN, ASN, rule);
    daemons.iter().for_each(|daemon| daemon.expect_established(site.middle.v4()));
    let [a, _, c] = &site.hosts;
    let [one, two, watcher] = site.guests();
    watcher.expect_ping(&one);
    let (address, octets) = (one.address().to_string(), one.address().octets());

    two.namespace.ip_batch(&format!("addr flush dev eth0\naddr add {address}/24 dev eth0\n"));
    let both = [(one.mac(), json!([address])), (two.mac(), json!([address]))];
    wait_until("both hosts find that two guests have one address", 120, || {
        claim(&two, octets);
        claim(&one, octets);
        let found = [marked(&daemons[0]), marked(&daemons[1])];
        ensure(found.iter().all(|found| *found == both), || format!("{found:?}"))
    });
    assert_eq!(marked(&daemons[2]), [], "a host that hears neither follows");
    for daemon in &daemons[..2] {
        let (log, status) = (daemon.log(), daemon.say(&["show", "status"]));
        let told: Vec<&str> = log.lines().filter(|line| line.contains("two MACs have the same address")).collect();
        assert!(told.len() == 1 && [&address, &one.mac(), &two.mac()].iter().all(|word| told[0].contains(*word)), "{log}");
        assert!(status.contains(&address) && status.contains("addresses of two MACs at once"), "{status}");
        let shown = daemon.say(&["show", "macs", "--duplicates"]);
        assert!(shown.contains("duplicate address") && shown.contains(&format!("contends for {address}")), "{shown}");
        for guest in [&one, &two] {
            let story =
                daemon.say(&["explain", "vni", "100", "mac", &guest.mac()]).split_whitespace().collect::<Vec<_>>().join(" ");
            let cure = format!("evpnctl clear duplicate vni 100 ip {address}");
            assert!(story.contains(&format!("{address} is at two MACs at once, found ")) && story.contains(&cure), "{story}");
        }
    }
    let finding = addresses_by_doctor(a);
    assert!(
        finding.as_ref().is_some_and(|finding| finding["what"].as_str().is_some_and(|what| what.contains(&address))),
        "{finding:?}"
    );

    // One of them gives it up. It is followed all the time, so the other has it as soon as it speaks.
    two.namespace.ip("addr flush dev eth0");
    let clear = ["clear", "duplicate", "vni", "100", "ip", &address];
    assert_eq!(daemons[0].control(&["clear", "duplicate", "ip", "192.168.0.99"]).status.code(), Some(1));
    for daemon in &daemons[..2] {
        assert_eq!(daemon.say(&clear).trim(), "1 address is a duplicate no longer");
        assert_eq!(daemon.control(&clear).status.code(), Some(1), "it is not marked any more");
        assert_eq!(marked(daemon), []);
    }
    wait_until("host 3 answers with the guest that is left", 60, || {
        claim(&one, octets);
        let known = c.namespace.output("ip", ["neigh", "show", "dev", &format!("br{VNI}")]);
        ensure(known.contains(&format!("{address} lladdr {}", one.mac())), || known.clone())
    });
    watcher.namespace.output("ip", ["neigh", "flush", "dev", "eth0", "nud", "all"]);
    watcher.expect_ping(&one);
    daemons[..2].iter().for_each(|daemon| assert_eq!(marked(daemon), [], "what is left is no conflict"));
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn a_guest_that_claims_the_gateways_address_is_told_of_and_marked() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = site.hypervisors(Family::V4, |_| ASN, ASN);
    daemons.iter().for_each(|daemon| daemon.expect_established(site.middle.v4()));
    let [a, b, _] = &site.hosts;
    let [_one, mut liar, watcher] = site.guests();
    let (bridge, gateway) = (format!("br{VNI}"), "192.168.0.254");
    a.namespace.ip(&format!("addr add {gateway}/24 dev {bridge}"));
    let owner = MacAddr(a.mac_of(&bridge)).to_string();
    wait_until("host 2 knows the gateway", 60, || {
        let known = b.namespace.output("ip", ["neigh", "show", "dev", &bridge]);
        ensure(known.contains(&format!("{gateway} lladdr {owner}")), || known.clone())
    });
    let mut both = [(owner.clone(), json!([gateway])), (liar.mac(), json!([gateway]))];
    both.sort_by(|one, other| one.0.cmp(&other.0));
    wait_until("host 2 marks the guest that claims it, and the gateway", 60, || {
        claim(&liar, [192, 168, 0, 254]);
        let found = marked(&daemons[1]);
        ensure(found == both, || format!("{found:?}"))
    });
    claim(&liar, [192, 168, 0, 254]);
    let (log, status) = (daemons[1].log(), daemons[1].say(&["show", "status"]));
    let told: Vec<&str> = log.lines().filter(|line| line.contains("has for good")).collect();
    assert!(told.len() == 1 && [gateway, &owner, &liar.mac()].iter().all(|word| told[0].contains(*word)), "{log}");
    assert!(status.contains("addresses that may not move are claimed by guests here: 192.168.0.254"), "{status}");
    let finding = addresses_by_doctor(b);
    assert!(finding.is_some_and(|finding| finding["what"].as_str().is_some_and(|what| what.contains(&liar.mac()))), "{status}");
    // The fabric holds, and the mark goes with the guest.
    watcher.expect_ping_of(gateway);
    liar.unplug();
    wait_until("the mark is gone", 60, || ensure(marked(&daemons[1]).is_empty(), || format!("{:?}", marked(&daemons[1]))));
    assert_eq!(addresses_by_doctor(b), None);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}
