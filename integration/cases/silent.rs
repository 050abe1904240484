//! Hosts that say nothing unless they are asked: their bridge would forget them, so evpnd asks, and other hosts hear nothing of it.

use std::time::Duration;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::Family;
use crate::harness::watch::RowWatch;
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site, VNI};

/// How long the bridge keeps a station that says nothing.
const AGEING: Duration = Duration::from_secs(6);

/// A guest says once that it is there. Over more than three ageing times the other host's row for it stands, and is not even written again;
/// once it answers no longer, it goes.
fn a_silent_guest_stays(more: &str) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let daemons = [a, b].map(|host| {
        let daemon = Evpnd::start(host, &Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, more));
        daemon.expect_established(site.middle.v4());
        daemon
    });
    let hundredths = (AGEING.as_millis() / 10).to_string();
    a.namespace.ip(&format!("link set br100 type bridge ageing_time {hundredths}"));
    let mut guest = site.fabric.guest(11);
    guest.namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    guest.plug(a, VNI);
    b.expect_remote_macs(VNI, &[(&guest, a.v4())]);
    let mut watch = RowWatch::new(b, VNI);
    std::thread::sleep(AGEING * 3 + AGEING / 2);
    let seen = watch.seen().clone();
    assert!(!seen.macs.contains(&guest.mac()), "its row changed: {seen:?}");
    b.expect_remote_macs(VNI, &[(&guest, a.v4())]);
    daemons.iter().for_each(Evpnd::expect_no_difference);
    // The control: it does not answer.
    guest.namespace.ip("link set eth0 arp off");
    wait_until("the row of a guest that is gone goes", 40, || {
        let gone = watch.seen().deleted > 0 && watch.seen().macs.contains(&guest.mac());
        ensure(gone, || format!("{:?}", watch.seen()))
    });
    b.expect_remote_macs(VNI, &[]);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn a_silent_guest_stays_at_the_other_hosts() {
    a_silent_guest_stays("");
}

#[test]
fn a_silent_guest_stays_where_neighbors_are_not_answered_for() {
    a_silent_guest_stays("neighbor-suppression = false\n");
}

#[test]
fn a_silent_guest_stays_beside_multicast() {
    a_silent_guest_stays("flood = \"multicast\"\ngroup = \"239.1.1.1\"\n");
}

#[test]
fn a_silent_guest_stays_beside_a_list() {
    a_silent_guest_stays("learning = \"beside\"\n");
}
