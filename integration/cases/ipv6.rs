//! IPv6: as transport of the sessions, as address of the VTEPs, and both.

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::Family;
use crate::interop::gobgp;

use super::scenario::{ASN, Site, VNI};

#[test]
fn sessions_and_vteps_behind_our_own_reflector() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    site.prove(&site.hypervisors(Family::V6, |_| ASN, ASN), Family::V6);
}

#[test]
fn sessions_and_vteps_behind_gobgp() {
    let site = Site::new();
    let clients = site.hosts.each_ref().map(|host| (host.v6(), ASN));
    let _reflector = gobgp::Gobgp::start(&site.middle, gobgp::Role::Reflector, ASN, &clients);
    site.prove(&site.hypervisors(Family::V6, |_| ASN, ASN), Family::V6);
}

/// The session's family and the tunnels' are two things.
#[test]
fn ipv6_sessions_carry_ipv4_vteps() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let daemons = [a, b]
        .map(|host| Evpnd::start(host, &Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v6(), "").vni(VNI, "")));
    let [mut g1, mut g2] = [11, 21].map(|number| site.fabric.guest(number));
    g1.plug(a, VNI);
    g2.plug(b, VNI);
    a.expect_remote_macs(VNI, &[(&g2, b.v4())]);
    b.expect_remote_macs(VNI, &[(&g1, a.v4())]);
    g1.expect_ping(&g2);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

/// A remote VTEP of the other family cannot be written to a device: it is left out and counted, and the rest works.
#[test]
fn a_vtep_of_the_other_family_is_left_out() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, c] = &site.hosts;
    let families = [Family::V4, Family::V4, Family::V6];
    let daemons = [(a, families[0]), (b, families[1]), (c, families[2])].map(|(host, family)| {
        Evpnd::start(host, &Config::hypervisor(host, ASN, family).neighbor(site.middle.v4(), "").vni(VNI, ""))
    });
    let guests = site.guests();
    a.expect_remote_macs(VNI, &[(&guests[1], b.v4())]);
    a.expect_flood_list(VNI, &[b.v4()]);
    c.expect_remote_macs(VNI, &[]);
    guests[0].expect_ping(&guests[1]);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}
