//! Rows by nexthop group (`nexthop-groups = true`): the same segment, the same traffic, other rows; and the ways in and out.

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Host};
use crate::harness::{ensure, patience, rows, wait_until};

use super::scenario::{ASN, Site, VNI};

const ON: &str = "nexthop-groups = true";
const OFF: &str = "nexthop-groups = false";

/// How many unicast rows of `vxlan100` name a group, and how many a destination.
fn forms(host: &Host) -> (usize, usize) {
    let rows = rows::rows(&host.namespace, "vxlan100");
    let unicast = || rows.iter().filter(|row| row.master.is_none() && row.mac != rows::FLOOD);
    (unicast().filter(|row| row.nhid.is_some()).count(), unicast().filter(|row| row.dst.is_some()).count())
}

#[track_caller]
fn expect_forms(host: &Host, wanted: (usize, usize)) {
    wait_until(&format!("{wanted:?} rows by group and by destination on host {}", host.number), 20, || {
        let found = forms(host);
        ensure(found == wanted, || format!("{found:?}"))
    });
}

#[track_caller]
fn expect_nexthops(host: &Host, wanted: usize) {
    wait_until(&format!("{wanted} nexthops on host {}", host.number), 20, || {
        let found = rows::nexthops(&host.namespace);
        ensure(found.len() == wanted, || format!("{found:?}"))
    });
}

fn proves(family: Family) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = site.hypervisors_with(family, |_| ASN, ASN, |config| config.section("vxlan", ON));
    // Traffic, a move there and back, a withdraw.
    site.prove(&daemons, family);
    let [a, b, c] = &site.hosts;
    // The guests are gone with the proof.
    [a, b, c].into_iter().for_each(|host| expect_forms(host, (0, 0)));
    drop(daemons);
}

#[test]
fn traffic_and_a_move_over_ipv4() {
    proves(Family::V4);
}

#[test]
fn traffic_and_a_move_over_ipv6() {
    proves(Family::V6);
}

#[test]
fn the_key_is_switched_while_the_daemon_runs_and_between_runs() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [first, second, third] = site.hypervisors(Family::V4, |_| ASN, ASN);
    let guests = site.guests();
    let [a, b, c] = &site.hosts;
    let config = |form: &str| {
        let config = Config::hypervisor(a, ASN, Family::V4).neighbor(site.middle.v4(), &format!("asn = {ASN}\n"));
        config.vni(VNI, "").section("vxlan", form)
    };
    let rows_stand = || a.expect_remote_macs(VNI, &[(&guests[1], b.v4()), (&guests[2], c.v4())]);
    rows_stand();
    expect_forms(a, (0, 2));
    // A reload converts.
    first.rewrite(&config(ON));
    assert!(first.say(&["reload"]).contains("nexthop groups"));
    expect_forms(a, (2, 0));
    rows_stand();
    expect_nexthops(a, 4);
    guests[0].expect_ping(&guests[1]);
    let shown = first.say(&["explain", "vni", "100", "mac", &guests[1].mac()]);
    assert!(shown.contains("dst 10.0.0.2 nhid 4789"), "{shown}");
    first.expect_no_difference();
    // Somebody flushes the nexthops: the rows are back.
    a.namespace.output("ip", ["nexthop", "flush"]);
    expect_forms(a, (2, 0));
    rows_stand();
    guests[0].expect_ping(&guests[2]);
    first.expect_no_difference();
    // A restart with the key off converts, and the nexthops go when everything is confirmed.
    assert!(first.stop().success());
    expect_nexthops(a, 4);
    first_rewritten(a, &config(OFF), |first| {
        expect_forms(a, (0, 2));
        rows_stand();
        expect_nexthops(a, 0);
        first.expect_no_difference();
    });
    // And on again; then out for good.
    let mut first = Evpnd::start(a, &config(ON));
    expect_forms(a, (2, 0));
    rows_stand();
    guests[0].expect_ping(&guests[1]);
    [&first, &second, &third].into_iter().for_each(Evpnd::expect_no_difference);
    // A VTEP that leaves takes its nexthop along.
    drop(third);
    let mut third = Evpnd::start_again(c);
    third.expect_established(site.middle.v4());
    third.say(&["drain"]);
    third.wait(patience(10));
    expect_forms(a, (1, 0));
    expect_nexthops(a, 2);
    first.say(&["drain"]);
    first.wait(patience(10));
    expect_nexthops(a, 0);
}

fn first_rewritten(host: &Host, config: &Config, act: impl FnOnce(&Evpnd<'_>)) {
    let daemon = Evpnd::start(host, config);
    act(&daemon);
    assert!(daemon.stop().success());
}
