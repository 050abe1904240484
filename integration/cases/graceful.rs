//! Restarts that cost nothing: a hypervisor's daemon, or the reflector's, killed or told to stop, and started again, while
//! guests talk and the other hosts' rows are watched. Behind our reflector, behind FRR and behind GoBGP; what these cannot do
//! is pinned, so that the day they can is seen.

use std::time::Duration;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest, Host};
use crate::harness::watch::{Pings, RowWatch, Seen};
use crate::harness::{ensure, stays_true, wait_until};
use crate::interop::{frr, gobgp};

use super::scenario::{ASN, Site, VNI};

/// A reflector that can be killed and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Frr,
    Gobgp,
}

#[allow(dead_code)]
enum Reflector<'a> {
    Ours(Evpnd<'a>),
    Frr(frr::Frr<'a>),
    Gobgp(gobgp::Gobgp),
}

fn reflector(site: &Site, kind: Kind, again: bool) -> Reflector<'_> {
    let hosts = site.hosts.each_ref().map(Host::v4);
    match kind {
        Kind::Ours if again => Reflector::Ours(Evpnd::start_again(&site.middle)),
        Kind::Ours => Reflector::Ours(Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN))),
        Kind::Frr => {
            let neighbors = hosts.map(|address| frr::Neighbor::new(address, ASN));
            let lines = ["bgp graceful-restart"];
            Reflector::Frr(frr::Frr::start_with(&site.middle, frr::Role::Reflector, ASN, &neighbors, &lines))
        }
        Kind::Gobgp => {
            let neighbors = hosts.map(|address| (address, ASN));
            Reflector::Gobgp(gobgp::Gobgp::start_graceful(&site.middle, gobgp::Role::Reflector, ASN, &neighbors))
        }
    }
}

fn config(site: &Site, host: &Host) -> Config {
    Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "")
}

/// Hosts 1 and 2 of a site run, each with a guest; rows stand, the sessions have said all.
fn with_two_hosts(kind: Kind, more: &str, act: impl FnOnce(&Site, Reflector<'_>, [Evpnd<'_>; 2], [Guest; 2])) {
    let site = Site::new();
    let middle = reflector(&site, kind, false);
    let [a, b, _] = &site.hosts;
    let daemons = [a, b].map(|host| Evpnd::start(host, &config(&site, host).section("graceful-restart", more)));
    let guests = [a, b].map(|host| site.fabric.guest_at(host, VNI));
    a.expect_remote_macs(VNI, &[(&guests[1], b.v4())]);
    b.expect_remote_macs(VNI, &[(&guests[0], a.v4())]);
    for (host, other) in [(a, b), (b, a)] {
        host.expect_flood_list(VNI, &[other.v4()]);
    }
    daemons.iter().for_each(|daemon| confirmed(&site, daemon));
    act(&site, middle, daemons, guests);
}

/// Waits until the reflector has said all it has to a daemon.
fn confirmed(site: &Site, daemon: &Evpnd<'_>) {
    wait_until("the reflector says End-of-RIB", 40, || {
        let neighbor = daemon.neighbor(site.middle.v4());
        ensure(neighbor["state"] == "established" && neighbor["end_of_rib"] == true, || neighbor.to_string())
    });
}

/// Host 1's daemon ends by `end` and is started again 1.5 s later, under traffic in both directions.
fn restart_of_a_hypervisor(kind: Kind, end: impl FnOnce(Evpnd<'_>)) {
    with_two_hosts(kind, "", |site, middle, [first, second], guests| {
        let [a, b, _] = &site.hosts;
        let (mut here, mut there) = (RowWatch::new(a, VNI), RowWatch::new(b, VNI));
        let traffic = [Pings::between(&guests[0], &guests[1], a), Pings::between(&guests[1], &guests[0], b)];
        end(first);
        if kind == Kind::Frr {
            // FRR 8.4.4 offers graceful restart for EVPN and does not do it: it withdraws at once.
            wait_until("FRR withdraws", 20, || ensure(*there.seen() != Seen::default(), || "nothing changed".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(1500));
        let first = Evpnd::start_again(a);
        confirmed(site, &first);
        b.expect_remote_macs(VNI, &[(&guests[0], a.v4())]);
        if let Reflector::Ours(reflector) = &middle {
            wait_until("host 1 has confirmed its routes", 30, || {
                let neighbor = reflector.neighbor(a.v4());
                let settled = neighbor["end_of_rib"] == true && neighbor["stale_secs"].is_null();
                ensure(settled && neighbor["stale_routes"] == 0, || neighbor.to_string())
            });
        }
        std::thread::sleep(Duration::from_secs(1));
        here.expect_none("the restarted host");
        if kind != Kind::Frr {
            there.expect_none("the other host");
            traffic.into_iter().for_each(Pings::expect_no_loss);
        }
        [first, second].iter().for_each(Evpnd::expect_no_difference);
    });
}

#[test]
fn a_killed_hypervisor_behind_our_reflector_costs_nothing() {
    restart_of_a_hypervisor(Kind::Ours, |first| drop(first));
}

#[test]
fn a_killed_hypervisor_behind_gobgp_costs_nothing() {
    restart_of_a_hypervisor(Kind::Gobgp, |first| drop(first));
}

#[test]
fn a_killed_hypervisor_behind_frr_loses_its_rows_elsewhere_until_it_is_back() {
    restart_of_a_hypervisor(Kind::Frr, |first| drop(first));
}

#[test]
fn a_stopped_hypervisor_behind_our_reflector_costs_nothing() {
    restart_of_a_hypervisor(Kind::Ours, |first| assert!(first.stop().success()));
}

#[test]
fn a_stopped_hypervisor_behind_gobgp_costs_nothing() {
    restart_of_a_hypervisor(Kind::Gobgp, |first| assert!(first.stop().success()));
}

/// The reflector dies and comes back: no row changes, though FRR and GoBGP say End-of-RIB before they know anything.
fn restart_of_the_reflector(kind: Kind) {
    with_two_hosts(kind, "loss-hold-time = 25\n", |site, middle, daemons, guests| {
        let [a, b, _] = &site.hosts;
        if let Reflector::Ours(_) = &middle {
            let state = site.middle.path("state").join("state.json");
            wait_until("the reflector has noted who is here", 10, || {
                let text = std::fs::read_to_string(&state).unwrap_or_default();
                ensure([a, b].iter().all(|host| text.contains(&format!("\"{}\"", host.v4()))), || text)
            });
        }
        let mut watches = [RowWatch::new(a, VNI), RowWatch::new(b, VNI)];
        let traffic = Pings::between(&guests[0], &guests[1], a);
        drop(middle);
        daemons.iter().for_each(|daemon| daemon.expect_lost(site.middle.v4()));
        let words = daemons[0].say(&["show", "neighbors", &site.middle.v4().to_string()]);
        // Its type 3, its MAC, and its MAC with the address where that was heard.
        assert!(["2 stale", "3 stale", "4 stale"].iter().any(|stale| words.contains(stale)), "{words}");
        std::thread::sleep(Duration::from_secs(2));
        let _middle = reflector(site, kind, true);
        daemons.iter().for_each(|daemon| confirmed(site, daemon));
        for daemon in &daemons {
            wait_until("nothing is stale any more", 60, || {
                let neighbor = daemon.neighbor(site.middle.v4());
                ensure(neighbor["stale_secs"].is_null() && neighbor["stale_routes"] == 0, || neighbor.to_string())
            });
        }
        std::thread::sleep(Duration::from_secs(1));
        watches.iter_mut().for_each(|watch| watch.expect_none("the reflector restarted"));
        traffic.expect_no_loss();
        a.expect_remote_macs(VNI, &[(&guests[1], b.v4())]);
        daemons.iter().for_each(Evpnd::expect_no_difference);
    });
}

#[test]
fn a_killed_reflector_of_ours_costs_no_row() {
    restart_of_the_reflector(Kind::Ours);
}

#[test]
fn a_killed_frr_as_reflector_costs_no_row() {
    restart_of_the_reflector(Kind::Frr);
}

#[test]
fn a_killed_gobgp_as_reflector_costs_no_row() {
    restart_of_the_reflector(Kind::Gobgp);
}

#[test]
fn without_graceful_restart_rows_are_held_and_then_go() {
    with_two_hosts(Kind::Ours, "enabled = false\nloss-hold-time = 5\n", |site, middle, daemons, guests| {
        let [a, b, _] = &site.hosts;
        let mut watch = RowWatch::new(a, VNI);
        drop(middle);
        daemons[0].expect_lost(site.middle.v4());
        stays_true("the rows stay", 3, || ensure(*watch.seen() == Seen::default(), || format!("{:?}", watch.seen())));
        guests[0].expect_ping(&guests[1]);
        a.expect_remote_macs(VNI, &[]);
        a.expect_flood_list(VNI, &[]);
        b.expect_remote_macs(VNI, &[]);
        daemons.iter().for_each(Evpnd::expect_no_difference);
    });
}

#[test]
fn without_any_hold_rows_go_with_the_session() {
    with_two_hosts(Kind::Ours, "enabled = false\nloss-hold-time = 0\n", |site, middle, daemons, _guests| {
        drop(middle);
        site.hosts[0].expect_remote_macs(VNI, &[]);
        site.hosts[0].expect_flood_list(VNI, &[]);
        daemons.iter().for_each(Evpnd::expect_no_difference);
    });
}

/// A machine that left while its host's daemon was dead: everybody hears of it as soon as that daemon has looked.
#[test]
fn what_left_during_the_outage_is_swept_after_it() {
    with_two_hosts(Kind::Ours, "", |site, _middle, [first, second], mut guests| {
        let [a, b, _] = &site.hosts;
        let mut stays = site.fabric.guest(12);
        stays.plug(a, VNI);
        b.expect_remote_macs(VNI, &[(&guests[0], a.v4()), (&stays, a.v4())]);
        let mut watch = RowWatch::new(b, VNI);
        let traffic = Pings::between(&guests[1], &stays, b);
        drop(first);
        guests[0].unplug();
        std::thread::sleep(Duration::from_secs(1));
        watch.expect_none("nobody can know yet");
        let first = Evpnd::start_again(a);
        b.expect_remote_macs(VNI, &[(&stays, a.v4())]);
        assert_eq!(watch.seen().macs, [guests[0].mac()].into(), "only its row");
        traffic.expect_no_loss();
        [first, second].iter().for_each(Evpnd::expect_no_difference);
    });
}
