//! Devices that somebody else made: taken as they are, by their VNI and not by their name, and never removed.

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::Family;
use crate::harness::{ensure, rows, wait_until};

use super::scenario::{ASN, Site, VNI};

#[test]
fn a_device_with_another_name_is_adopted_and_left_behind() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    a.namespace.ip_batch(&format!(
        "link add name office type bridge\nlink set office up\n\
         link add tunnel7 type vxlan id {VNI} local {} dstport 4789 nolearning\nlink set tunnel7 master office up\n",
        a.v4()
    ));
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    let (mut first, second) = (Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b)));
    // The guest is on the bridge that is there.
    let (mut here, mut there) = (site.fabric.guest(11), site.fabric.guest(21));
    here.plug_into(a, "office");
    there.plug(b, VNI);
    b.expect_remote_macs(VNI, &[(&here, a.v4())]);
    wait_until("rows on tunnel7", 15, || {
        let found = rows::remote_macs(&a.namespace, "tunnel7")?;
        ensure(found == [(there.mac(), b.v4())].into_iter().collect(), || format!("{found:?}"))
    });
    here.expect_ping(&there);
    assert!(!a.has_interface("vxlan100") && !a.has_interface("br100"), "nothing was made beside it");
    [&first, &second].into_iter().for_each(Evpnd::expect_no_difference);
    here.unplug();
    first.say(&["drain"]);
    first.wait(crate::harness::patience(10));
    assert!(a.has_interface("tunnel7") && a.has_interface("office"), "what evpnd did not make it does not remove");
    wait_until("our rows leave", 10, || {
        let (macs, flood) = (rows::remote_macs(&a.namespace, "tunnel7")?, rows::flood_list(&a.namespace, "tunnel7"));
        ensure(macs.is_empty() && flood.is_empty(), || format!("{macs:?} {flood:?}"))
    });
}

/// Devices that vanish and come back while the daemon runs.
#[test]
fn a_device_that_is_deleted_is_followed() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    let daemons = [Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b))];
    let (mut here, mut there) = (site.fabric.guest(11), site.fabric.guest(21));
    here.plug(a, VNI);
    there.plug(b, VNI);
    a.expect_remote_macs(VNI, &[(&there, b.v4())]);
    b.expect_remote_macs(VNI, &[(&here, a.v4())]);
    a.namespace.ip("link del vxlan100");
    // It is evpnd that makes it again, in its bridge.
    wait_until("the device is made again", 15, || {
        let link = a.namespace.output("ip", ["-d", "link", "show", "dev", "vxlan100"]);
        ensure(link.contains("alias evpnd") && link.contains("master br100"), || link)
    });
    a.expect_remote_macs(VNI, &[(&there, b.v4())]);
    a.expect_flood_list(VNI, &[b.v4()]);
    b.expect_remote_macs(VNI, &[(&here, a.v4())]);
    here.expect_ping(&there);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}
