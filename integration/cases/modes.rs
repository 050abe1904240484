//! The ways to run a segment, over IPv4 and IPv6: rows and traffic in each, and a reload from one to another under traffic.

use evpnd::lab::packet::{Frame, Outgoing};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Capture, Family};
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site, VNI};

/// Three hypervisors of ours whose VNI has `more` keys, behind our reflector.
fn with_site(family: Family, more: &str, act: impl FnOnce(&Site, &[Evpnd<'_>; 3])) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = site.hosts.each_ref().map(|host| {
        let config = Config::hypervisor(host, ASN, family).neighbor(site.middle.address(family), "").vni(VNI, more);
        Evpnd::start(host, &config)
    });
    daemons.iter().for_each(|daemon| daemon.expect_established(site.middle.address(family)));
    act(&site, &daemons);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

/// Routes of a type in the table.
fn routes(daemon: &Evpnd<'_>, kind: &str) -> usize {
    daemon.json(&["show", "routes", "--type", kind]).as_array().map_or(0, Vec::len)
}

fn expect_routes(daemon: &Evpnd<'_>, kind: &str, wanted: impl Fn(usize) -> bool) {
    wait_until(&format!("routes of type {kind}"), 20, || {
        let found = routes(daemon, kind);
        ensure(wanted(found), || format!("{found} routes of type {kind}"))
    });
}

/// Lines of the VXLAN device's forwarding database.
fn rows(site: &Site, host: usize) -> Vec<String> {
    let shown = site.hosts[host].namespace.output("bridge", ["fdb", "show", "dev", "vxlan100"]);
    shown.lines().filter(|line| line.contains(" dst ")).map(str::to_owned).collect()
}

/// Tunnelled frames to a group, as the tenants see it.
fn floods(capture: &Capture) -> usize {
    let frames = capture.frames();
    let inner = frames.iter().filter_map(|frame| match Frame::classify(frame, 4789) {
        Outgoing::Vxlan { inner, .. } => Some(inner[0] & 1 == 1),
        _ => None,
    });
    inner.filter(|group| *group).count()
}

fn flood_list_only(family: Family) {
    with_site(family, "learning = true\n", |site, daemons| {
        let [a, b, c] = site.hosts.each_ref().map(|host| host.address(family));
        site.hosts[0].expect_flood_list(VNI, &[b, c]);
        site.hosts[1].expect_flood_list(VNI, &[a, c]);
        site.hosts[2].expect_flood_list(VNI, &[a, b]);
        let [mut one, two, three] = site.guests();
        one.expect_ping(&two);
        two.expect_ping(&three);
        three.expect_ping(&one);
        daemons.iter().for_each(|daemon| assert_eq!((routes(daemon, "2"), routes(daemon, "3")), (0, 3)));
        // The kernel found out by itself, and its entries are not ours.
        let learned: Vec<String> = rows(site, 0).into_iter().filter(|line| line.contains(&two.mac())).collect();
        assert!(learned.len() == 1 && !learned[0].contains("extern_learn"), "{learned:?}");
        // A guest that moves is found where it speaks.
        one.plug(&site.hosts[2], VNI);
        two.expect_ping(&one);
    });
}

#[test]
fn flood_list_only_over_ipv4() {
    flood_list_only(Family::V4);
}

#[test]
fn flood_list_only_over_ipv6() {
    flood_list_only(Family::V6);
}

fn known_hosts(family: Family) {
    with_site(family, "flood = \"none\"\n", |site, daemons| {
        let captures = site.hosts.each_ref().map(|host| site.fabric.capture(host));
        let [mut one, two, three] = site.guests();
        // MAC and address of each.
        daemons.iter().for_each(|daemon| expect_routes(daemon, "2", |found| found == 6));
        one.expect_ping(&two);
        two.expect_ping(&three);
        three.expect_ping(&one);
        daemons.iter().for_each(|daemon| assert_eq!(routes(daemon, "3"), 0));
        assert!(rows(site, 0).iter().all(|line| !line.starts_with("00:00:00:00:00:00")), "{:?}", rows(site, 0));
        assert!(!one.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", "192.168.0.200"]));
        one.plug(&site.hosts[2], VNI);
        two.expect_ping(&one);
        for capture in &captures {
            assert_eq!(floods(capture), 0, "nothing was flooded, not even for a host that nobody knows");
        }
    });
}

#[test]
fn known_hosts_over_ipv4() {
    known_hosts(Family::V4);
}

#[test]
fn known_hosts_over_ipv6() {
    known_hosts(Family::V6);
}

/// From EVPN proper to learning, to known hosts and back, by reloads: guests reach one another in each, and what the last way left
/// behind is gone.
#[test]
fn a_reload_changes_the_way() {
    with_site(Family::V4, "", |site, daemons| {
        let [one, two, _three] = site.guests();
        one.expect_ping(&two);
        for (more, type2, type3) in
            [("learning = true\n", false, 3), ("", true, 3), ("flood = \"none\"\n", true, 0), ("", true, 3)]
        {
            for (daemon, host) in daemons.iter().zip(&site.hosts) {
                let config = Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, more);
                daemon.rewrite(&config);
                daemon.say(&["reload"]);
            }
            for daemon in daemons {
                expect_routes(daemon, "3", |found| found == type3);
                expect_routes(daemon, "2", |found| (found >= 3) == type2);
            }
            // It speaks, as guests do: what was not listened to before is heard now.
            [&one, &two].into_iter().for_each(|guest| guest.speak());
            one.expect_ping(&two);
            two.expect_ping(&one);
            let ours = || rows(site, 0).into_iter().filter(|line| line.contains(&two.mac())).collect::<Vec<_>>();
            wait_until("the row of the other guest", 20, || {
                let found = ours();
                ensure(found.len() == 1 && found[0].contains("extern_learn") == type2, || format!("{more:?}: {found:?}"))
            });
            daemons.iter().for_each(Evpnd::expect_no_difference);
        }
    });
}
