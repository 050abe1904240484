//! The life of a daemon: stopped, started again, killed, reloaded, drained. What the guests notice of it: nothing, until
//! the operator says that the host leaves.

use std::time::Duration;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest};
use crate::harness::rows;
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site, VNI};

/// A running site behind our reflector with a guest on each host, rows asserted.
fn with_running_site(act: impl FnOnce(&Site, [Evpnd<'_>; 3], [Guest; 3])) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = site.hypervisors(Family::V4, |_| ASN, ASN);
    let guests = site.guests();
    rows_stand(&site, &guests);
    act(&site, daemons, guests);
}

#[track_caller]
fn rows_stand(site: &Site, guests: &[Guest; 3]) {
    let [a, b, c] = &site.hosts;
    let [g1, g2, g3] = guests;
    a.expect_remote_macs(VNI, &[(g2, b.v4()), (g3, c.v4())]);
    b.expect_remote_macs(VNI, &[(g1, a.v4()), (g3, c.v4())]);
    c.expect_remote_macs(VNI, &[(g1, a.v4()), (g2, b.v4())]);
    a.expect_flood_list(VNI, &[b.v4(), c.v4()]);
}

fn own_config(site: &Site) -> Config {
    Config::hypervisor(&site.hosts[0], ASN, Family::V4).neighbor(site.middle.v4(), &format!("asn = {ASN}\n"))
}

#[test]
fn a_stop_and_a_start_leave_every_row_and_device() {
    with_running_site(|site, [first, second, third], guests| {
        let a = &site.hosts[0];
        let devices =
            |name: &str| a.namespace.output("cat", [format!("/proc/net/dev_snmp6/{name}")]).lines().next().map(str::to_owned);
        let before = devices("vxlan100");
        let monitor = a.namespace.spawn("bridge", ["monitor", "fdb"], &a.path("monitor.log"));
        std::thread::sleep(Duration::from_millis(300));
        assert!(first.stop().success(), "SIGTERM is a normal end");
        assert!(a.has_interface("vxlan100") && a.has_interface("br100"));
        a.expect_remote_macs(VNI, &[(&guests[1], site.hosts[1].v4()), (&guests[2], site.hosts[2].v4())]);
        let first = Evpnd::start_again(a);
        first.expect_established(site.middle.v4());
        rows_stand(site, &guests);
        first.expect_no_difference();
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(devices("vxlan100"), before, "the same device, not a new one");
        let deleted: Vec<String> =
            monitor.log().lines().filter(|l| l.contains("Deleted") && l.contains("dev vxlan100")).map(str::to_owned).collect();
        assert!(deleted.is_empty(), "{deleted:?}");
        guests[0].expect_ping(&guests[1]);
        [first, second, third].iter().for_each(Evpnd::expect_no_difference);
    });
}

/// What was withdrawn while the daemon was dead is gone after it is back; what was announced is there.
#[test]
fn a_killed_daemon_catches_up_when_it_is_back() {
    with_running_site(|site, [first, second, third], mut guests| {
        let [a, b, c] = &site.hosts;
        drop(first);
        guests[1].unplug();
        let mut fresh = site.fabric.guest(32);
        fresh.plug(c, VNI);
        // The dead host's own guest stays where it is (graceful restart).
        b.expect_remote_macs(VNI, &[(&guests[0], a.v4()), (&guests[2], c.v4()), (&fresh, c.v4())]);
        let first = Evpnd::start_again(a);
        a.expect_remote_macs(VNI, &[(&guests[2], c.v4()), (&fresh, c.v4())]);
        guests[0].expect_ping(&fresh);
        [first, second, third].iter().for_each(Evpnd::expect_no_difference);
    });
}

/// Rows deleted or changed by somebody else's hand come back.
#[test]
fn rows_changed_behind_its_back_are_healed() {
    with_running_site(|site, daemons, guests| {
        let a = &site.hosts[0];
        let mac = guests[1].mac();
        a.namespace.output("bridge", ["fdb", "del", &mac, "dev", "vxlan100", "self"]);
        rows_stand(site, &guests);
        a.namespace.output("bridge", ["fdb", "del", &mac, "dev", "vxlan100", "master"]);
        rows_stand(site, &guests);
        a.namespace.output("bridge", ["fdb", "replace", &mac, "dev", "vxlan100", "dst", "10.0.0.99", "self"]);
        rows_stand(site, &guests);
        a.namespace.output("bridge", ["fdb", "del", rows::FLOOD, "dev", "vxlan100", "dst", "10.0.0.2", "self"]);
        rows_stand(site, &guests);
        daemons.iter().for_each(Evpnd::expect_no_difference);
    });
}

#[test]
fn a_drain_leaves_nothing_behind() {
    with_running_site(|site, [mut first, second, third], mut guests| {
        let [a, b, c] = &site.hosts;
        // A guest's port keeps a bridge in use; this host's guests have left before it is drained.
        guests[0].unplug();
        first.say(&["drain"]);
        b.expect_remote_macs(VNI, &[(&guests[2], c.v4())]);
        b.expect_flood_list(VNI, &[c.v4()]);
        c.expect_flood_list(VNI, &[b.v4()]);
        wait_until("the drained host's devices are gone", 10, || {
            ensure(!a.has_interface("vxlan100") && !a.has_interface("br100"), || a.namespace.output("ip", ["-br", "link"]))
        });
        let status = first.wait(crate::harness::patience(10));
        assert!(status.is_some_and(|status| status.success()), "a drained daemon ends well: {status:?}");
        guests[1].expect_ping(&guests[2]);
        [second, third].iter().for_each(Evpnd::expect_no_difference);
    });
}

/// A bridge that still has a guest's port is in use: it stays, without our rows.
#[test]
fn a_drain_leaves_what_somebody_still_uses() {
    with_running_site(|site, [first, second, third], guests| {
        let [a, b, c] = &site.hosts;
        first.say(&["drain"]);
        b.expect_remote_macs(VNI, &[(&guests[2], c.v4())]);
        b.expect_flood_list(VNI, &[c.v4()]);
        assert!(a.has_interface("br100"), "the guest's bridge stays");
        if a.has_interface("vxlan100") {
            a.expect_remote_macs(VNI, &[]);
            a.expect_flood_list(VNI, &[]);
        }
        [second, third].iter().for_each(Evpnd::expect_no_difference);
    });
}

#[test]
fn a_reload_with_a_wrong_file_changes_nothing() {
    with_running_site(|site, daemons, guests| {
        let first = &daemons[0];
        let before = first.neighbor(site.middle.v4());
        for text in ["this is not TOML", "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n\n[[vni]]\nid = 100\ncolour = \"blue\"\n"] {
            first.rewrite_text(text);
            let output = first.control(&["reload"]);
            assert_eq!(output.status.code(), Some(1));
            let words = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            assert!(words.contains("evpnd.toml:"), "it says where: {words}");
        }
        first.hang_up();
        std::thread::sleep(Duration::from_millis(500));
        rows_stand(site, &guests);
        let after = first.neighbor(site.middle.v4());
        assert_eq!((&after["state"], &after["established_count"]), (&before["state"], &before["established_count"]));
        daemons.iter().for_each(Evpnd::expect_no_difference);
    });
}

#[test]
fn a_reload_adds_and_removes_a_vni_and_touches_nothing_else() {
    with_running_site(|site, daemons, guests| {
        let [a, b, _] = &site.hosts;
        let [first, second, _] = &daemons;
        first.rewrite(&own_config(site).vni(VNI, "").vni(200, ""));
        first.say(&["reload"]);
        wait_until("vxlan200", 10, || {
            ensure(a.has_interface("vxlan200") && a.has_interface("br200"), || "it is not there".to_owned())
        });
        // The other host gets it at run time, as a hypervisor's hook does.
        second.say(&["vni", "add", "200"]);
        a.expect_flood_list(200, &[b.v4()]);
        b.expect_flood_list(200, &[a.v4()]);
        first.rewrite(&own_config(site).vni(VNI, ""));
        first.hang_up();
        wait_until("vxlan200 goes", 10, || ensure(!a.has_interface("vxlan200"), || "it is there".to_owned()));
        b.expect_flood_list(200, &[]);
        second.say(&["vni", "del", "200"]);
        wait_until("vxlan200 goes", 10, || ensure(!b.has_interface("vxlan200"), || "it is there".to_owned()));
        rows_stand(site, &guests);
        assert_eq!(first.neighbor(site.middle.v4())["established_count"], 1, "the session was left alone");
        daemons.iter().for_each(Evpnd::expect_no_difference);
    });
}
