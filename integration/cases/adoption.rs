//! Devices that somebody else made: taken as they are, by their VNI and not by their name, and never removed.

use crate::harness::evpnd::{Config, Evpnd, refused};
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

/// The VNIs that a daemon has, with state and remedy.
fn vnis(daemon: &Evpnd<'_>) -> Vec<(u64, String, String)> {
    let shown = daemon.json(&["show", "vnis"]);
    let text = |vni: &serde_json::Value, key: &str| vni[key].as_str().unwrap_or_default().to_owned();
    let all = shown.as_array().cloned().unwrap_or_default();
    all.iter().map(|vni| (vni["vni"].as_u64().unwrap_or_default(), text(vni, "state"), text(vni, "remedy"))).collect()
}

fn expect_vnis(daemon: &Evpnd<'_>, wanted: &[(u64, &str)]) {
    wait_until(&format!("VNIs {wanted:?}"), 20, || {
        let found = vnis(daemon);
        let same = found.iter().map(|(vni, state, _)| (*vni, state.as_str())).eq(wanted.iter().copied());
        ensure(same, || format!("{found:?}"))
    });
}

/// Every platform's device, by whatever name and port; not those on the list of what is ignored, nor other programs' own; and they come
/// and go while it runs.
#[test]
fn all_devices_of_a_host_are_taken_as_they_come_and_go() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let local = a.v4();
    // As OpenNebula, Proxmox, CloudStack and OpenStack name theirs; in kernel order, by no order of numbers.
    let make = |name: &str, bridge: &str, vni: u32, more: &str| {
        a.namespace.ip_batch(&format!(
            "link add name {bridge} type bridge mcast_snooping 0\nlink set {bridge} addrgenmode none up\n\
             link add {name} type vxlan id {vni} local {local} {more}\nlink set {name} addrgenmode none master {bridge} up\n"
        ));
    };
    make("onebr7.7", "onebr7", 7, "dstport 8472 nolearning");
    make("vxlan_tenant", "tenant", 20, "dstport 4789 nolearning");
    make("brq-vx", "brq12", 12, "dstport 4790");
    make("flannel.1", "cni0", 1, "dstport 4791 nolearning");
    make("vx-00000f-abcde", "ov15", 15, "dstport 4792 nolearning");
    make("lab30", "labbr30", 30, "dstport 4793 nolearning");
    make("far500", "farbr500", 500, "dstport 4794 nolearning");
    let rule = "adopt = \"all\"\nadopt-vnis = \"1-99\"\nignore-devices = [\"lab*\"]\n";
    let config =
        |host, rule: &str| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").section("vxlan", rule);
    let daemon = Evpnd::start(a, &config(a, rule));
    let other = Evpnd::start(b, &Config::hypervisor(b, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(20, ""));
    expect_vnis(&daemon, &[(7, "ready"), (12, "ready"), (20, "ready")]);
    let held = daemon.json(&["show", "vnis", "20"]);
    assert!(held[0]["callers"].to_string().contains("adopt"), "{held}");
    // They work.
    let (mut here, mut there) = (site.fabric.guest(11), site.fabric.guest(21));
    here.plug_into(a, "tenant");
    there.plug(b, 20);
    here.expect_ping(&there);
    // Of the others nothing was touched: no row, no flag.
    for name in ["flannel.1", "vx-00000f-abcde", "lab30", "far500"] {
        let shown = a.namespace.output("bridge", ["-d", "link", "show", "dev", name]);
        assert!(shown.contains("learning on") && shown.contains("neigh_suppress off"), "{shown}");
        assert!(rows::flood_list(&a.namespace, name).is_empty(), "{name}");
    }
    assert!(a.namespace.output("ip", ["-d", "link", "show", "brq-vx"]).contains("nolearning"), "it was left on");
    // One comes, one goes, one changes its mind.
    make("late", "latebr", 40, "dstport 4795 nolearning");
    a.namespace.ip("link del brq-vx");
    expect_vnis(&daemon, &[(7, "ready"), (20, "ready"), (40, "ready")]);
    // A restart has them, without an interruption that anybody sees.
    assert!(daemon.stop().success());
    let daemon = Evpnd::start(a, &config(a, rule));
    expect_vnis(&daemon, &[(7, "ready"), (20, "ready"), (40, "ready")]);
    here.expect_ping(&there);
    // Another rule, by a reload: what is ignored is given up, rows and all, and left as a device.
    daemon.rewrite(&config(a, "adopt = \"all\"\nignore-devices = [\"late\", \"onebr7.7\"]\n"));
    daemon.say(&["reload"]);
    expect_vnis(&daemon, &[(20, "ready"), (30, "ready"), (500, "ready")]);
    here.expect_ping(&there);
    [&daemon, &other].into_iter().for_each(Evpnd::expect_no_difference);
    daemon.rewrite(&config(a, ""));
    daemon.say(&["reload"]);
    expect_vnis(&daemon, &[]);
    wait_until("our rows leave", 10, || {
        let macs = rows::remote_macs(&a.namespace, "vxlan_tenant")?;
        ensure(macs.is_empty(), || format!("{macs:?}"))
    });
    assert!(["vxlan_tenant", "late", "lab30"].iter().all(|name| a.has_interface(name)));
}

/// What does not work is told with the command that would mend it, which does; `fix-devices` does it itself.
#[test]
fn what_does_not_fit_is_told_with_what_would_mend_it_or_mended() {
    let site = Site::new();
    let [a, b, c] = &site.hosts;
    let devices = |host: &crate::harness::fabric::Host, local: &str| {
        host.namespace.ip_batch(&format!(
            "link add name br1 type bridge mcast_snooping 0\nlink set br1 up\n\
             link add none1 type vxlan id 1 {local} dstport 4789\nlink set none1 master br1 up\n\
             link add name br2 type bridge mcast_snooping 0\nlink set br2 up\n\
             link add group2 type vxlan id 2 local {v4} group 239.1.1.2 dev eth0 dstport 4790\nlink set group2 master br2 up\n\
             link add flannel.4 type vxlan id 4 local {v4} dstport 4792\n\
             link add name br5 type bridge mcast_snooping 0\n\
             link add down5 type vxlan id 5 local {v4} dstport 4793\nlink set down5 master br5\n",
            v4 = host.v4()
        ));
    };
    let config = |host, rule: &str| {
        let all = Config::hypervisor(host, ASN, Family::V4).section("vxlan", rule);
        [1, 2, 5].into_iter().fold(all, |config, vni| config.vni(vni, ""))
    };
    let warnings = |daemon: &Evpnd<'_>, vni: &str| daemon.json(&["show", "vnis", vni])[0]["warnings"].clone();
    devices(a, "");
    let first = Evpnd::start(a, &config(a, ""));
    expect_vnis(&first, &[(1, "ready"), (2, "ready"), (5, "down")]);
    for (vni, words) in
        [("1", "ip link set none1 type vxlan local 10.0.0.1"), ("2", "group 239.1.1.2"), ("5", "ip link set down5 up")]
    {
        assert!(warnings(&first, vni).to_string().contains(words), "{vni}: {}", warnings(&first, vni));
    }
    // What it says to do is what helps.
    a.namespace.ip("link set none1 type vxlan local 10.0.0.1");
    a.namespace.ip_batch("link set br5 up\nlink set down5 up\n");
    wait_until("both are well", 20, || {
        let (warnings, shown) = (warnings(&first, "1"), vnis(&first));
        ensure(warnings == serde_json::json!([]) && shown[2].1 == "ready", || format!("{warnings} {shown:?}"))
    });
    for (host, local) in [(b, ""), (c, "local 10.0.0.99")] {
        devices(host, local);
        // Another program's own, though it is declared.
        let (status, words) = refused(host, &config(host, "fix-devices = true\n").vni(4, ""));
        assert!(!status.success() && words.contains("flannel.4 (VNI 4) is a device of flannel"), "{words}");
        let daemon = Evpnd::start(host, &config(host, "fix-devices = true\n"));
        expect_vnis(&daemon, &[(1, "ready"), (2, "ready"), (5, "ready")]);
        for vni in ["1", "2", "5"] {
            wait_until(&format!("VNI {vni} is mended"), 20, || {
                let found = warnings(&daemon, vni);
                ensure(found == serde_json::json!([]), || found.to_string())
            });
        }
        let shown = |name: &str| host.namespace.output("ip", ["-d", "link", "show", name]);
        assert!(shown("none1").contains(&format!("local {}", host.v4())) && !shown("group2").contains("239.1.1.2"));
        assert!(!shown("flannel.4").contains("nolearning"));
        daemon.expect_no_difference();
    }
}
