//! Three hypervisors of ours behind everything that may stand in the middle of a fabric.

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Host};
use crate::interop::{frr, gobgp};

use super::scenario::{ASN, Site};

/// An AS for each host, as in an eBGP fabric.
fn own_asn(host: &Host) -> u32 {
    ASN + u32::from(host.number)
}

/// The AS of an eBGP middle.
const SPINE: u32 = 65100;

#[test]
fn behind_our_own_reflector() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    site.prove(&site.hypervisors(Family::V4, |_| ASN, ASN), Family::V4);
}

#[test]
fn behind_frr_as_reflector() {
    let site = Site::new();
    let clients = site.hosts.each_ref().map(|host| frr::Neighbor::new(host.v4(), ASN));
    let _reflector = frr::Frr::start(&site.middle, frr::Role::Reflector, ASN, &clients);
    site.prove(&site.hypervisors(Family::V4, |_| ASN, ASN), Family::V4);
}

#[test]
fn behind_frr_as_ebgp_spine() {
    let site = Site::new();
    let leaves = site.hosts.each_ref().map(|host| frr::Neighbor::new(host.v4(), own_asn(host)));
    let _spine = frr::Frr::start(&site.middle, frr::Role::Spine, SPINE, &leaves);
    site.prove(&site.hypervisors(Family::V4, own_asn, SPINE), Family::V4);
}

#[test]
fn behind_gobgp_as_reflector() {
    let site = Site::new();
    let clients = site.hosts.each_ref().map(|host| (host.v4(), ASN));
    let _reflector = gobgp::Gobgp::start(&site.middle, gobgp::Role::Reflector, ASN, &clients);
    site.prove(&site.hypervisors(Family::V4, |_| ASN, ASN), Family::V4);
}

#[test]
fn behind_gobgp_as_ebgp_route_server() {
    let site = Site::new();
    let leaves = site.hosts.each_ref().map(|host| (host.v4(), own_asn(host)));
    let _server = gobgp::Gobgp::start(&site.middle, gobgp::Role::RouteServer, SPINE, &leaves);
    site.prove(&site.hypervisors(Family::V4, own_asn, SPINE), Family::V4);
}

/// No middle at all: sessions among all three, as in a small site.
#[test]
fn in_a_full_mesh() {
    let site = Site::new();
    let daemons = site.hosts.each_ref().map(|host| {
        let others = site.hosts.iter().chain([&site.middle]).filter(|other| other.number != host.number);
        let config = others.fold(Config::hypervisor(host, ASN, Family::V4), |config, other| config.neighbor(other.v4(), ""));
        Evpnd::start(host, &config.vni(super::scenario::VNI, ""))
    });
    // The fourth has a session to everybody and no VNI: it changes nothing for the others.
    let config = site.hosts.iter().fold(Config::router_only(&site.middle, ASN), |config, host| config.neighbor(host.v4(), ""));
    let _fourth = Evpnd::start(&site.middle, &config);
    site.prove(&daemons, Family::V4);
}
