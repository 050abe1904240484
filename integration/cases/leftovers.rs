//! VNIs that left while the daemon was not running: what the kernel holds of them after the next start, and after a drain.

use serde_json::Value;

use crate::harness::evpnd::{Config, Evpnd, client, refused};
use crate::harness::fabric::{Family, Host};
use crate::harness::rows::{self, Row};
use crate::harness::{ensure, patience, wait_until};

use super::scenario::{ASN, Site, VNI, state};

/// VNIs that evpnd makes devices for, and one whose device the operator made.
const MADE: u32 = 301;
const THEIRS: u32 = 302;

fn config(site: &Site, host: &Host, vnis: &[u32]) -> Config {
    let config = Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "");
    vnis.iter().fold(config, |config, vni| config.vni(*vni, ""))
}

/// Two hosts with all of them behind our reflector, and a guest of the second in each; rows of these stand on the first.
fn with_rows(act: impl FnOnce(&Site, Evpnd<'_>)) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    a.make_vxlan(THEIRS, a.v4());
    let all = [VNI, MADE, THEIRS];
    let (first, _second) = (Evpnd::start(a, &config(&site, a, &all)), Evpnd::start(b, &config(&site, b, &all)));
    let mut guests = Vec::new();
    for (vni, number) in all.into_iter().zip([21, 22, 23]) {
        let mut guest = site.fabric.guest(number);
        guest.plug(b, vni);
        a.expect_remote_macs(vni, &[(&guest, b.v4())]);
        a.expect_flood_list(vni, &[b.v4()]);
        guests.push(guest);
    }
    wait_until("ARP is answered in the operator's bridge", 20, || {
        let found = our_neighbors(a, THEIRS);
        ensure(found.contains("192.168.0.23"), || found)
    });
    act(&site, first);
}

fn our_neighbors(host: &Host, vni: u32) -> String {
    host.namespace.output("ip", ["neigh", "show", "dev", &format!("br{vni}"), "proto", "179"])
}

/// The rows of a device that lead somewhere.
fn leading(host: &Host, vni: u32) -> Vec<Row> {
    rows::rows(&host.namespace, &format!("vxlan{vni}")).into_iter().filter(|row| row.dst.is_some()).collect()
}

/// What another control plane (as zebra writes it) and an operator have on the operator's device.
fn strangers(host: &Host) {
    let device = format!("vxlan{THEIRS}");
    // The last of them takes our mark from the list.
    wait_until("who wrote the list is kept", 20, || {
        let kept = state(host);
        ensure(kept["floods"][THEIRS.to_string()]["ours"][0] == "10.0.0.2", || kept.to_string())
    });
    host.namespace.bridge_batch(&format!(
        "fdb replace 02:77:00:00:00:01 dev {device} dst 10.0.0.77 self master extern_learn dynamic\n\
         fdb append 02:77:00:00:00:02 dev {device} dst 10.0.0.78 self static\n\
         fdb append {} dev {device} dst 10.0.0.79 self permanent\n",
        rows::FLOOD
    ));
}

#[track_caller]
fn expect_only_strangers(host: &Host) {
    wait_until("only what others wrote is left on the operator's device", 60, || {
        let mut left: Vec<String> = leading(host, THEIRS).iter().map(|row| row.dst.unwrap().to_string()).collect();
        left.sort();
        let neighbors = our_neighbors(host, THEIRS);
        ensure(left == ["10.0.0.77", "10.0.0.78", "10.0.0.79"] && neighbors.is_empty(), || format!("{left:?} {neighbors}"))
    });
    assert!(host.has_interface(&format!("vxlan{THEIRS}")) && host.has_interface(&format!("br{THEIRS}")));
}

#[track_caller]
fn expect_gone(host: &Host, names: &[&str]) {
    wait_until("the devices of VNIs that left are gone", 60, || {
        let left: Vec<&&str> = names.iter().filter(|name| host.has_interface(name)).collect();
        ensure(left.is_empty(), || format!("{left:?} still there"))
    });
}

fn left_over(daemon: &Evpnd<'_>) -> Vec<String> {
    let warnings = daemon.json(&["show", "status"])["warnings"].as_array().cloned().unwrap_or_default();
    let warnings = warnings.iter().filter_map(Value::as_str).map(str::to_owned);
    warnings.filter(|warning| warning.starts_with("left over")).collect()
}

#[test]
fn what_left_the_file_while_the_daemon_was_down_goes_after_the_start() {
    with_rows(|site, first| {
        let [a, b, _] = &site.hosts;
        first.say(&["vni", "add", "300", "--wait", "10"]);
        let mut guest = site.fabric.guest(11);
        guest.plug(a, MADE);
        assert!(first.stop().success());
        assert!(a.has_interface("vxlan300") && leading(a, MADE).len() == 2 && leading(a, THEIRS).len() == 2);
        strangers(a);
        // Another evpnd's, for all that anybody knows.
        a.namespace.ip_batch("link add vxlan555 type vxlan id 555 dstport 4789 local 10.0.0.1\nlink set vxlan555 alias evpnd\n");

        let first = Evpnd::start(a, &config(site, a, &[VNI]));
        expect_gone(a, &["vxlan300", "br300", "vxlan301"]);
        expect_only_strangers(a);
        assert!(a.has_interface("br301"), "a guest is in it");
        a.expect_flood_list(VNI, &[b.v4()]);
        assert_eq!(leading(a, VNI).len(), 2);
        first.expect_no_difference();
        wait_until("what stays is named", 20, || {
            let said = left_over(&first);
            let named = |what: &str| said.iter().any(|line| line.contains(what));
            ensure(said.len() == 2 && named("br301") && named(&guest.port) && named("vxlan555 (VNI 555)"), || format!("{said:?}"))
        });
        let doctor = client(a, &["doctor"]);
        let words = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(words.contains("br301") && words.contains("ip link del vxlan555"), "{words}");

        // Its guest has left: the next start takes the bridge, too.
        guest.unplug();
        drop(first);
        let first = Evpnd::start_again(a);
        expect_gone(a, &["br301"]);
        assert!(a.has_interface("vxlan555"));
        wait_until("only the other one is named", 20, || {
            let said = left_over(&first);
            ensure(said.len() == 1 && said[0].contains("vxlan555"), || format!("{said:?}"))
        });
    });
}

#[test]
fn a_drain_takes_what_left_the_file_earlier_and_a_deletion_that_was_cut_short() {
    with_rows(|site, first| {
        let a = &site.hosts[0];
        first.say(&["vni", "add", "300", "--for", "web", "--wait", "10"]);
        strangers(a);
        first.say(&["vni", "del", "300", "--for", "web"]);
        drop(first);
        // The neighbor is not there: without a drain nothing would go for two minutes.
        let config = Config::hypervisor(a, ASN, Family::V4).neighbor("10.0.0.99".parse().unwrap(), "").vni(VNI, "");
        let mut first = Evpnd::start(a, &config);
        let said = first.say(&["drain"]);
        assert!(said.contains("our rows are gone"), "{said}");
        assert!(first.wait(patience(10)).is_some_and(|status| status.success()));
        expect_gone(a, &["vxlan100", "br100", "vxlan300", "br300", "vxlan301", "br301"]);
        expect_only_strangers(a);
    });
}

/// They would take each other's VNIs for left over.
#[test]
fn two_daemons_cannot_have_one_state_directory() {
    let site = Site::new();
    let a = &site.hosts[0];
    let first = Evpnd::start(a, &Config::hypervisor(a, ASN, Family::V4));
    assert_eq!(first.status("/vnis/configured"), 0);
    // Nor where it has another control socket and another port.
    std::fs::remove_file(a.path("evpnd.sock")).unwrap();
    let other = Config::hypervisor(a, ASN, Family::V4).router("listen-port = 1790");
    let (status, words) = refused(a, &other);
    assert!(!status.success() && words.contains("another evpnd has the state directory"), "{words}");
}
