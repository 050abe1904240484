//! Devices that somebody else made: taken as they are, by their VNI and not by their name, and never removed.

use evpnd::lab::packet::{Frame, Outgoing};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::Family;
use crate::harness::{ensure, rows, wait_until};

use super::scenario::{ASN, Site, VNI};

/// Both hosts have a device of somebody else with this port, by other names than ours.
fn devices_with_another_name(port: u16) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    for host in [a, b] {
        host.namespace.ip_batch(&format!(
            "link add name office type bridge mcast_snooping 0\nlink set office addrgenmode none up\n\
             link add tunnel7 type vxlan id {VNI} local {} dstport {port} nolearning\n\
             link set tunnel7 addrgenmode none master office up\n",
            host.v4()
        ));
    }
    // `port` of the file is for what is made; where devices stand it is theirs.
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    let (mut first, second) = (Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b)));
    let capture = site.fabric.capture(a);
    // The guests are on the bridges that are there.
    let (mut here, mut there) = (site.fabric.guest(11), site.fabric.guest(21));
    here.plug_into(a, "office");
    there.plug_into(b, "office");
    for (host, guest, at) in [(a, &there, b), (b, &here, a)] {
        wait_until("rows on tunnel7", 15, || {
            let found = rows::remote_macs(&host.namespace, "tunnel7")?;
            ensure(found == [(guest.mac(), at.v4())].into_iter().collect(), || format!("{found:?}"))
        });
    }
    here.expect_ping(&there);
    there.expect_ping(&here);
    let frames = capture.frames();
    let tunnelled =
        |port: u16| frames.iter().filter(|frame| matches!(Frame::classify(frame, port), Outgoing::Vxlan { .. })).count();
    let other = if port == 4789 { 8472 } else { 4789 };
    assert!(tunnelled(port) >= 4 && tunnelled(other) == 0, "{} by {port}, {} by {other}", tunnelled(port), tunnelled(other));
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

#[test]
fn a_device_with_another_name_is_adopted_and_left_behind() {
    devices_with_another_name(4789);
}

/// The port of Linux' driver where nobody says another, and of Cilium and flannel.
#[test]
fn devices_by_port_8472_are_adopted_and_carry_traffic() {
    devices_with_another_name(8472);
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

/// A platform that removes its device and makes it again, as `ifreload` and restarts of the network do, gets it back; guests go on. Where it
/// leaves it at that, guests get one that evpnd makes.
#[test]
fn a_device_that_its_platform_makes_again_is_not_taken_from_it() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    a.namespace.ip_batch("link add name office type bridge mcast_snooping 0\nlink set office addrgenmode none up\n");
    let make = format!("link add tunnel7 type vxlan id {VNI} local {} dstport 4789\nlink set tunnel7 master office up\n", a.v4());
    a.namespace.ip_batch(&make);
    let daemons = [Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b))];
    let (mut here, mut there) = (site.fabric.guest(11), site.fabric.guest(21));
    here.plug_into(a, "office");
    there.plug(b, VNI);
    here.expect_ping(&there);
    for _ in 0..5 {
        a.namespace.ip_batch(&format!("link del tunnel7\n{make}"));
        here.expect_ping(&there);
    }
    a.namespace.ip("link del tunnel7");
    wait_until("it is told", 20, || {
        let said = daemons[0].json(&["show", "status"])["warnings"].to_string();
        ensure(said.contains("tunnel7, which evpnd did not make, was removed; bridge office (vm11) has no tunnel"), || said)
    });
    let found = String::from_utf8_lossy(&daemons[0].control(&["doctor"]).stdout).into_owned();
    assert!(found.contains("VNI 100 is unusable"), "{found}");
    a.namespace.ip_batch(&make);
    here.expect_ping(&there);
    a.namespace.ip("link del tunnel7");
    wait_until("one of ours", 60, || {
        let link =
            if a.has_interface("vxlan100") { a.namespace.output("ip", ["link", "show", "vxlan100"]) } else { String::new() };
        ensure(link.contains("master office"), || link)
    });
    here.expect_ping(&there);
    assert!(!a.has_interface("br100"));
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
    // A restart has them, without an interruption that anybody sees; what its platform deleted meanwhile is not made.
    make("brief", "briefbr", 41, "dstport 4796 nolearning");
    expect_vnis(&daemon, &[(7, "ready"), (20, "ready"), (40, "ready"), (41, "ready")]);
    assert!(daemon.stop().success());
    a.namespace.ip_batch("link del brief\nlink del briefbr\n");
    let daemon = Evpnd::start(a, &config(a, rule));
    expect_vnis(&daemon, &[(7, "ready"), (20, "ready"), (40, "ready")]);
    // The log goes on in the same file.
    let times = |vni: u32| daemon.log().matches(&format!("VNI {vni} ready: ")).count();
    assert_eq!((times(40), times(41)), (2, 1), "{}", daemon.log());
    assert!(!daemon.log().contains("VNI 41 unusable"), "{}", daemon.log());
    here.expect_ping(&there);
    // Nor is what it deletes now: nothing stands in its way when it makes it again.
    a.namespace.ip("link del late");
    expect_vnis(&daemon, &[(7, "ready"), (20, "ready")]);
    assert!(!a.has_interface("late"));
    a.namespace.ip_batch(&format!(
        "link add late type vxlan id 40 local {local} dstport 4795\nlink set late addrgenmode none master latebr up\n"
    ));
    expect_vnis(&daemon, &[(7, "ready"), (20, "ready"), (40, "ready")]);
    assert!(!daemon.log().contains("(made)"), "{}", daemon.log());
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

/// What `adopt = "all"` cannot take is to be seen with the reason; once it can, it is taken.
#[test]
fn devices_that_cannot_be_taken_are_shown() {
    let site = Site::new();
    let [a, ..] = &site.hosts;
    let local = a.v4();
    a.namespace.ip_batch(&format!(
        "link add name b1 type bridge\nlink set b1 up\nlink add name b2 type bridge\nlink set b2 up\n\
         link add tw1 type vxlan id 5 local {local} dstport 4790\nlink set tw1 master b1 up\n\
         link add tw2 type vxlan id 5 local {local} dstport 4791\nlink set tw2 master b2 up\n\
         link add lone type vxlan id 6 local {local} dstport 4792\nlink set lone up\n\
         link add name b3 type bridge\nlink set b3 up\nlink add many type vxlan external dstport 4793\nlink set many master b3 up\n\
         link add vxlan_sys_4794 type vxlan external dstport 4794\nlink add lab7 type vxlan id 7 dstport 4795\n"
    ));
    let rule = "adopt = \"all\"\nignore-devices = [\"lab*\"]\n";
    let daemon = Evpnd::start(a, &Config::hypervisor(a, ASN, Family::V4).section("vxlan", rule));
    expect_vnis(&daemon, &[(5, "not-taken"), (6, "not-taken")]);
    let text = daemon.say(&["show", "vnis"]);
    assert!(
        text.contains("VNI 5 has another VXLAN device: tw2; keep one: ip link del tw1") && text.contains("tw2 is not taken"),
        "{text}"
    );
    assert!(text.contains("lone (VNI 6) is in no bridge; ip link set lone master"), "{text}");
    let warnings = daemon.json(&["show", "status"])["warnings"].to_string();
    assert!(warnings.contains("many is not taken: many is a single VXLAN device for many VNIs"), "{warnings}");
    let found = String::from_utf8_lossy(&daemon.control(&["doctor"]).stdout).into_owned();
    for words in ["VNI 5 is not-taken", "VNI 6 is not-taken", "many is not taken"] {
        assert_eq!(found.matches(words).count(), 1, "{words}: {found}");
    }
    for name in ["vxlan_sys_4794", "lab7"] {
        assert!(!format!("{text}{warnings}{found}{}", daemon.log()).contains(name), "{name} is another's own");
    }
    a.namespace.ip_batch("link del tw1\nlink set lone master b1\nlink del many\n");
    expect_vnis(&daemon, &[(5, "ready"), (6, "ready")]);
    assert_eq!(daemon.json(&["show", "status"])["warnings"], serde_json::json!([]));
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
        let daemon = Evpnd::start(host, &config(host, "fix-devices = true\n").vni(4, ""));
        expect_vnis(&daemon, &[(1, "ready"), (2, "ready"), (4, "unusable"), (5, "ready")]);
        let why = daemon.json(&["show", "vnis", "4"])[0]["reason"].to_string();
        assert!(why.contains("flannel.4 (VNI 4) is a device of flannel"), "{why}");
        for vni in ["1", "2", "5"] {
            wait_until(&format!("VNI {vni} is mended"), 20, || {
                let found = warnings(&daemon, vni);
                ensure(found == serde_json::json!([]), || found.to_string())
            });
        }
        let shown = |name: &str| host.namespace.output("ip", ["-d", "link", "show", name]);
        assert!(shown("none1").contains(&format!("local {}", host.v4())) && !shown("group2").contains("239.1.1.2"));
        assert!(!shown("flannel.4").contains("nolearning"));
    }
}

/// Devices that cannot be used, of every sort that there is: each costs its own VNI and no other, from the start on, and works as soon as
/// the host is as it should be.
#[test]
fn a_device_that_cannot_be_used_costs_no_other_vni_at_the_start() {
    let site = Site::new();
    let [a, ..] = &site.hosts;
    let local = a.v4();
    a.namespace.ip_batch(&format!(
        "link add vx-00006f-abcde type vxlan id 111 local {local} dstport 4790\n\
         link add one type vxlan id 113 local {local} dstport 4791\nlink set one up\nlink add two type vxlan id 113 local {local} dstport 4792\n\
         link add blue type veth peer name blue1\n\
         link add name br115 type bridge\nlink set br115 up\nlink add many type vxlan external dstport 4793\nlink set many master br115\n\
         link add vxlan116 type veth peer name other116\n\
         link add odd type bridge\nlink set odd up\nlink add tunnel117 type vxlan id 117 local {local} dstport 4794\n\
         link set tunnel117 master odd up\nlink add many2 type vxlan external dstport 4795\nlink set many2 master odd\n"
    ));
    let config = Config::hypervisor(a, ASN, Family::V4).vni(111, "").vni(112, "").vni(113, "");
    let config = config.vni(114, "bridge = \"blue\"\n").vni(115, "").vni(116, "").vni(117, "");
    let daemon = Evpnd::start(a, &config);
    let bad = "unusable";
    expect_vnis(&daemon, &[(111, bad), (112, "ready"), (113, bad), (114, bad), (115, bad), (116, bad), (117, bad)]);
    for (vni, reason, remedy) in [
        ("111", "a device of Docker", "use another VNI"),
        ("113", "2 VXLAN devices: one, two", "ip link del two"),
        ("114", "blue is not a bridge", "another `bridge`"),
        ("115", "bridge br115 has many, a single VXLAN device for many VNIs", "ip link set many nomaster"),
        ("117", "bridge odd has many2", "ip link set many2 nomaster"),
        ("116", "vxlan116 exists that is not VXLAN", "another `device`"),
    ] {
        let shown = &daemon.json(&["show", "vnis", vni])[0];
        assert!(shown["reason"].to_string().contains(reason), "{shown}");
        assert!(shown["remedy"].to_string().contains(remedy), "{shown}");
        assert!(daemon.log().contains(&format!("VNI {vni} unusable: ")), "{}", daemon.log());
    }
    for name in ["vxlan111", "br111", "vxlan113", "br113", "vxlan114", "vxlan115", "br116"] {
        assert!(!a.has_interface(name), "{name} was made for a VNI that cannot be used");
    }
    a.namespace.ip_batch("link del two\nlink set many nomaster\nlink set many2 nomaster\nlink del vxlan116\n");
    expect_vnis(
        &daemon,
        &[(111, bad), (112, "ready"), (113, "ready"), (114, bad), (115, "ready"), (116, "ready"), (117, "ready")],
    );
}

#[test]
#[ignore = "needs a kernel with VRF: integration/vm/run has three"]
fn a_device_that_is_enslaved_elsewhere_costs_no_other_vni() {
    let site = Site::new();
    let [a, ..] = &site.hosts;
    a.namespace.ip_batch(&format!(
        "link add name vrf7 type vrf table 7\nlink set vrf7 up\n\
         link add tunnel7 type vxlan id 7 local {} dstport 4789 nolearning\nlink set tunnel7 master vrf7 up\n",
        a.v4()
    ));
    let daemon = Evpnd::start(a, &Config::hypervisor(a, ASN, Family::V4).vni(7, "").vni(VNI, ""));
    expect_vnis(&daemon, &[(7, "unusable"), (u64::from(VNI), "ready")]);
    assert!(daemon.json(&["show", "vnis", "7"])[0]["reason"].to_string().contains("vrf7"));
}

/// As those of Incus, of Proxmox VE's VLAN-aware vnets (the bridge) and of ovn-kubernetes (both) are: at the start, and while it runs.
#[test]
#[ignore = "needs a kernel whose bridges know VLANs: integration/vm/run has three"]
fn a_bridge_that_filters_vlans_and_a_device_for_many_vnis() {
    let site = Site::new();
    let host = &site.hosts[0];
    host.namespace.ip_batch(&format!(
        "link add name blue type bridge vlan_filtering 1\nlink set blue up\n\
         link add tunnel7 type vxlan id {VNI} local {} dstport 4789 nolearning\nlink set tunnel7 master blue up\n\
         link add many type vxlan external dstport 4790\nlink set many up\n",
        host.v4()
    ));
    let many = || -> Vec<String> {
        let shown = host.namespace.output("ip", ["-d", "link", "show", "many"]);
        shown.lines().filter(|line| line.contains("vxlan external")).map(str::to_owned).collect()
    };
    let before = many();
    assert_eq!(before.len(), 1);
    let daemon = Evpnd::start(host, &Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, ""));
    let expect = |state: &str, words: &str| {
        wait_until(&format!("{state}: {words}"), 15, || {
            let shown = daemon.json(&["show", "vnis", "100"])[0].clone();
            let said = format!("{} {}", shown["reason"], shown["remedy"]);
            ensure(shown["state"] == state && said.contains(words), || shown.to_string())
        });
    };
    expect("unusable", "bridge blue is VLAN-aware");
    host.namespace.ip("link set blue type bridge vlan_filtering 0");
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
    assert_eq!(many(), before, "the device of somebody else is as it was");
}

/// A device that still has a group is run beside it: hosts that know nothing else hear its broadcasts, and it theirs. Once the group
/// is gone from the device, by EVPN alone. With `adopt`: of the rule; else of a caller, who asks once the device is there.
fn beside_its_group(adopt: bool) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, plain] = &site.hosts;
    for host in [a, plain] {
        host.namespace.ip_batch(&format!(
            "link add br100 type bridge mcast_snooping 0\nlink set br100 addrgenmode none up\n\
             link add vxlan100 type vxlan id {VNI} local {} group 239.1.1.1 dev eth0 dstport 4789\n\
             link set vxlan100 addrgenmode none master br100 up\n",
            host.v4()
        ));
    }
    let [mut here, mut there, mut far] = [11, 21, 31].map(|number| site.fabric.guest(number));
    here.plug(a, VNI);
    far.plug(plain, VNI);
    here.expect_ping(&far);
    let rule = if adopt { "adopt = \"all\"\nfix-devices = true\n" } else { "fix-devices = true\n" };
    let config = Config::hypervisor(a, ASN, Family::V4).neighbor(site.middle.v4(), "").section("vxlan", rule);
    let first = Evpnd::start(a, &config);
    if !adopt {
        first.say(&["vni", "add", "100", "--existing", "--for", "opennebula:17", "--wait", "10"]);
    }
    let second = Evpnd::start(b, &Config::hypervisor(b, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, ""));
    there.plug(b, VNI);
    expect_vnis(&first, &[(VNI.into(), "ready")]);
    let floods = || rows::flood_list(&a.namespace, "vxlan100");
    let group: std::net::IpAddr = "239.1.1.1".parse().expect("an address");
    wait_until("the group, and a copy to the host that is not in it", 20, || {
        ensure(floods() == [b.v4(), group].into(), || format!("{:?}", floods()))
    });
    // ARP and its answer, to and from a host that knows the group alone.
    far.namespace.ip("neigh flush dev eth0");
    far.expect_ping(&here);
    here.expect_ping(&there);
    // The same after a restart, from its first moment on.
    drop(first);
    let first = Evpnd::start_again(a);
    expect_vnis(&first, &[(VNI.into(), "ready")]);
    assert!(floods().contains(&group));
    far.namespace.ip("neigh flush dev eth0");
    far.expect_ping(&here);
    // Whoever made the device takes the group from it.
    a.namespace.ip("link set vxlan100 type vxlan remote 0.0.0.0");
    wait_until("EVPN alone", 20, || {
        let shown = a.namespace.output("ip", ["-d", "link", "show", "dev", "vxlan100"]);
        ensure(floods() == [b.v4()].into() && shown.contains("nolearning"), || format!("{:?} {shown}", floods()))
    });
    here.expect_ping(&there);
    [&first, &second].into_iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn a_device_that_has_a_group_is_taken_beside_it() {
    beside_its_group(true);
}

#[test]
fn a_device_that_has_a_group_is_held_beside_it() {
    beside_its_group(false);
}
