//! What evpnd will not begin: one sentence that says what to do, an exit code other than 0, nothing half made.

use crate::harness::evpnd::{Config, Evpnd, refused};
use crate::harness::fabric::{Fabric, Family, Host};
use crate::harness::raw::in_namespace;
use crate::harness::{ensure, wait_until};

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
#[ignore = "needs a kernel with VRF: integration/vm/run has three"]
fn a_vxlan_device_that_is_enslaved_elsewhere() {
    let fabric = Fabric::new();
    let host = fabric.host(1);
    host.namespace.ip_batch(&format!(
        "link add name vrf7 type vrf table 7\nlink set vrf7 up\n\
         link add tunnel7 type vxlan id {VNI} local {} dstport 4789 nolearning\nlink set tunnel7 master vrf7 up\n",
        host.v4()
    ));
    refuses(&host, &plain(&host).vni(VNI, ""), &["vrf7"]);
}

/// As those of Incus, of Proxmox VE's VLAN-aware vnets (the bridge) and of ovn-kubernetes (both) are: at the start, and while it runs.
#[test]
#[ignore = "needs a kernel whose bridges know VLANs: integration/vm/run has three"]
fn a_bridge_that_filters_vlans_and_a_device_for_many_vnis() {
    let fabric = Fabric::new();
    let host = fabric.host(1);
    host.namespace.ip_batch(&format!(
        "link add name blue type bridge vlan_filtering 1\nlink set blue up\n\
         link add tunnel7 type vxlan id {VNI} local {} dstport 4789 nolearning\nlink set tunnel7 master blue up\n\
         link add many type vxlan external dstport 4790\nlink set many up\n",
        host.v4()
    ));
    refuses(&host, &plain(&host).vni(VNI, ""), &["bridge blue is VLAN-aware"]);
    host.namespace.ip("link set blue type bridge vlan_filtering 0");
    let daemon = Evpnd::start(&host, &plain(&host).vni(VNI, ""));
    let expect = |state: &str, words: &str| {
        wait_until(&format!("{state}: {words}"), 15, || {
            let shown = daemon.json(&["show", "vnis", "100"])[0].clone();
            let said = format!("{} {}", shown["reason"], shown["remedy"]);
            ensure(shown["state"] == state && said.contains(words), || shown.to_string())
        });
    };
    expect("ready", "");
    for (change, words, remedy) in [
        ("link set blue type bridge vlan_filtering 1", "VLAN-aware", "link set blue type bridge vlan_filtering 0"),
        ("link set many master blue", "many, a single VXLAN device for many VNIs", "link set many nomaster"),
    ] {
        host.namespace.ip(change);
        expect("unusable", words);
        expect("unusable", &format!("ip {remedy}"));
        host.namespace.ip(remedy);
        expect("ready", "");
    }
    daemon.expect_no_difference();
    let untouched = host.namespace.output("ip", ["-d", "link", "show", "many"]);
    assert!(untouched.contains("external") && !untouched.contains("nolearning"), "{untouched}");
}

#[test]
fn a_bridge_that_is_no_bridge() {
    let fabric = Fabric::new();
    let host = fabric.host(1);
    host.namespace.ip("link add blue type veth peer name blue1");
    refuses(&host, &plain(&host).vni(VNI, "bridge = \"blue\"\n"), &["blue is not a bridge"]);
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
