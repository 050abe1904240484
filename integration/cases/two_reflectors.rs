//! Two reflectors at once: the loss of one moves nothing.

use std::time::Duration;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::Family;
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site, VNI};

#[test]
fn the_loss_of_one_reflector_changes_no_row() {
    let site = Site::new();
    let second_middle = site.fabric.host(253);
    let first = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let second = Evpnd::start(&second_middle, &Config::reflector(&second_middle, ASN));
    let daemons = site.hosts.each_ref().map(|host| {
        let config = Config::hypervisor(host, ASN, Family::V4);
        Evpnd::start(host, &config.neighbor(site.middle.v4(), "").neighbor(second_middle.v4(), "").vni(VNI, ""))
    });
    let [a, b, c] = &site.hosts;
    let guests = site.guests();
    for daemon in &daemons {
        daemon.expect_established(site.middle.v4());
        daemon.expect_established(second_middle.v4());
    }
    a.expect_remote_macs(VNI, &[(&guests[1], b.v4()), (&guests[2], c.v4())]);
    wait_until("both reflectors have told everything", 10, || {
        let paths = daemons[0].json(&["show", "routes", "--type", "2"]);
        let remote = paths.as_array().into_iter().flatten().filter(|path| !path["neighbor"].is_null()).count();
        ensure(remote >= 4, || format!("{remote} paths: {paths}"))
    });

    let monitor = a.namespace.spawn("bridge", ["monitor", "fdb"], &a.path("monitor.log"));
    std::thread::sleep(Duration::from_millis(300));
    // Not even a NOTIFICATION: the process is killed. Then, when all is quiet, the same with the gentle way.
    drop(first);
    daemons.iter().for_each(|daemon| daemon.expect_lost(site.middle.v4()));
    guests[0].expect_ping(&guests[1]);
    std::thread::sleep(Duration::from_secs(1));
    let first = Evpnd::start_again(&site.middle);
    daemons.iter().for_each(|daemon| daemon.expect_established(site.middle.v4()));
    std::thread::sleep(Duration::from_secs(1));
    assert!(second.stop().success());
    daemons.iter().for_each(|daemon| daemon.expect_lost(second_middle.v4()));
    std::thread::sleep(Duration::from_secs(1));
    let changes: Vec<String> = monitor.log().lines().filter(|line| line.contains("dev vxlan100")).map(str::to_owned).collect();
    assert!(changes.is_empty(), "rows changed: {changes:?}");
    a.expect_remote_macs(VNI, &[(&guests[1], b.v4()), (&guests[2], c.v4())]);
    daemons.iter().for_each(Evpnd::expect_no_difference);
    drop(first);
}
