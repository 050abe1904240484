//! What evpnd will not begin: one sentence that says what to do, an exit code other than 0, nothing half made. What is wrong with one
//! device only is in `adoption.rs`: it costs nobody but its VNI.

use crate::harness::evpnd::{Config, Evpnd, refused};
use crate::harness::fabric::{Fabric, Family, Host};
use crate::harness::raw::in_namespace;

use super::scenario::{ASN, VNI};

fn plain(host: &Host) -> Config {
    Config::hypervisor(host, ASN, Family::V4).neighbor("10.0.0.254".parse().unwrap(), "")
}

#[track_caller]
fn refuses(host: &Host, config: &Config, words: &[&str]) {
    let (status, said) = refused(host, config);
    assert!(!status.success(), "{said}");
    assert!(words.iter().any(|word| said.contains(word)), "none of {words:?} in: {said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!host.has_interface("vxlan100") && !host.has_interface("br100"), "nothing half made");
}

#[test]
fn a_vtep_address_that_is_not_on_the_host() {
    let fabric = Fabric::new();
    let (here, elsewhere) = (fabric.host(1), fabric.host(2));
    let config = Config::hypervisor(&elsewhere, ASN, Family::V4).neighbor(elsewhere.v4(), "").vni(VNI, "");
    refuses(&here, &config, &["10.0.0.2"]);
}

#[test]
fn a_vni_that_is_given_twice() {
    let fabric = Fabric::new();
    let host = fabric.host(1);
    refuses(&host, &plain(&host).vni(VNI, "").vni(VNI, "device = \"other\"\nbridge = \"other\"\n"), &["twice", "already"]);
}

#[test]
fn two_segments_on_one_bridge() {
    let fabric = Fabric::new();
    let host = fabric.host(1);
    refuses(&host, &plain(&host).vni(VNI, "bridge = \"blue\"\n").vni(200, "bridge = \"blue\"\n"), &["blue"]);
}

#[test]
fn a_port_that_somebody_else_has() {
    let fabric = Fabric::new();
    let host = fabric.host(1);
    let _taken = in_namespace(host.namespace.name(), || std::net::TcpListener::bind("0.0.0.0:179"))
        .expect("a free port in a new namespace");
    refuses(&host, &plain(&host).vni(VNI, ""), &["179"]);
}

#[test]
fn a_second_daemon_on_the_same_control_socket() {
    let fabric = Fabric::new();
    let host = fabric.host(1);
    let config = plain(&host).router("listen = []").vni(VNI, "");
    let first = Evpnd::start(&host, &config);
    let (status, said) = refused(&host, &config);
    assert!(!status.success(), "{said}");
    assert!(said.contains("evpnd.sock"), "{said}");
    first.say(&["show", "status"]);
}
