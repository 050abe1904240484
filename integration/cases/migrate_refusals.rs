//! What `evpnctl migrate` does not do, and says so before anything has changed: it does not end FRR that routes the underlay, nor take from
//! another run what that is doing, nor from a hook or `adopt = "all"` what they hold; it does not touch a file that the daemon does not read;
//! it names the devices that it leaves alone, and its exit codes say whether what was asked for is done.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Host, write};
use crate::harness::netns::Process;
use crate::harness::{ensure, need, wait_until};
use crate::interop::frr::{Frr, Neighbor, Role};

use super::migrate::{command, convert, make_old_device, migrate};
use super::scenario::{ASN, VNI};

/// Waits until the command ends so and says so.
#[track_caller]
fn expect_said(host: &Host, words: &[&str], code: i32, expected: &str) {
    wait_until(&format!("evpnctl migrate {words:?} says {expected:?}"), 20, || {
        let output = migrate(host, words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure(output.status.code() == Some(code) && text.contains(expected), || format!("{output:?}"))
    });
}

/// Another of FRR's daemons beside zebra and bgpd.
fn frr_daemon(host: &Host, name: &str) -> Process {
    let program = format!("/usr/lib/frr/{name}");
    need(&[(&program, "frr")]);
    let config = write(host, &format!("{name}.conf"), "");
    let directory = host.directory.display();
    let words =
        format!("-P 0 -z {directory}/zserv.api --vty_socket {directory} -f {} -i {directory}/{name}.pid", config.display());
    host.namespace.spawn(&program, words.split(' '), &host.path(&format!("{name}.log")))
}

#[test]
fn frr_that_routes_the_underlay_is_not_ended() {
    let fabric = Fabric::new();
    let (host, middle) = (fabric.host(1), fabric.host(254));
    host.make_vxlan(VNI, host.v4());
    let reflector = Evpnd::start(&middle, &Config::reflector(&middle, ASN));
    let frr = Frr::start(&host, Role::Hypervisor, ASN, &[]);
    let config = Config::hypervisor(&host, ASN, Family::V4).router("listen = []").neighbor(middle.v4(), "").vni(VNI, "");
    let daemon = Evpnd::start(&host, &config);
    daemon.expect_established(middle.v4());
    expect_said(&host, &["--stop-frr"], 0, "nothing was changed");
    let router = format!("router bgp {ASN}");
    // A neighbor of the underlay, whose session is not up just now.
    let neighbor = Neighbor::new("10.0.0.99".parse().expect("an address"), 65099);
    let remote = format!("neighbor {} remote-as {}", neighbor.address, neighbor.asn);
    let activate = format!("neighbor {} activate", neighbor.address);
    frr.configure(&[&router, &remote, "address-family ipv4 unicast", &activate]);
    expect_said(&host, &["--stop-frr", "--apply"], 1, "sessions for more than EVPN (ipv4Unicast with 10.0.0.99)");
    frr.configure(&[&router, &format!("neighbor {} shutdown", neighbor.address)]);
    expect_said(&host, &["--stop-frr"], 0, "nothing was changed");
    let fabricd = frr_daemon(&host, "fabricd");
    // Not --apply: it may take a moment to be there.
    expect_said(&host, &["--stop-frr"], 1, "fabricd routes the underlay of this host");
    drop(fabricd);
    // As staticd writes them (RTPROT_ZSTATIC).
    host.namespace.ip("route add 10.7.0.0/24 via 10.0.0.254 proto 196");
    expect_said(&host, &["--stop-frr", "--apply"], 1, "routes of this host are FRR's (static 1, as 10.7.0.0/24)");
    host.namespace.ip("route del 10.7.0.0/24");
    expect_said(&host, &["--stop-frr"], 0, "nothing was changed");
    drop((reflector, daemon, frr));
}

/// The first stays in its group by a device that to the second looks left over.
#[test]
fn a_second_run_leaves_the_first_its_group() {
    let fabric = Fabric::new();
    let (host, middle) = (fabric.host(1), fabric.host(254));
    [100, 101].iter().for_each(|vni| make_old_device(&host, *vni, "group 239.1.1.1 dev eth0"));
    let _reflector = Evpnd::start(&middle, &Config::reflector(&middle, ASN));
    let daemon = Evpnd::start(&host, &Config::hypervisor(&host, ASN, Family::V4).neighbor(middle.v4(), ""));
    daemon.expect_established(middle.v4());
    convert(&host, &[]);
    let words = ["--vni", "100", "--finish", "--force", "--apply", "--wait", "600"];
    let mut first = command(&host, &words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("evpnctl runs");
    let mut lines = BufReader::new(first.stdout.take().expect("its output")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("waiting 600 s")), "the first run came to its pause");
    let mut second = vec!["--vni", "101", "--finish", "--force"];
    // To look is no change.
    expect_said(&host, &second, 0, "nothing was changed");
    second.extend(["--apply", "--wait", "0"]);
    let output = migrate(&host, &second);
    let held = host.has_interface("evpnd-grp0");
    let joined = host.namespace.output("ip", ["maddr", "show", "dev", "eth0"]);
    let _ = first.kill();
    let _ = first.wait();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("another evpnctl migrate runs"), "{output:?}");
    assert!(held && joined.contains("239.1.1.1"), "{joined}");
    // The lock went with the process.
    expect_said(&host, &second, 0, "VNI 101: done");
}

#[test]
fn devices_that_are_left_alone_are_named() {
    let fabric = Fabric::new();
    let (host, middle) = (fabric.host(1), fabric.host(254));
    host.namespace.ip_batch(
        "link add name br100 type bridge\nlink add vx-blue type vxlan id 100 group 239.1.1.1 dev eth0 dstport 4789\n\
         link set vx-blue master br100 up\nlink add vx-000111-abcde type vxlan id 111 dstport 4789\n\
         link add alone type vxlan id 112 local 10.0.0.1 dstport 4789\n",
    );
    let _reflector = Evpnd::start(&middle, &Config::reflector(&middle, ASN));
    let daemon = Evpnd::start(&host, &Config::hypervisor(&host, ASN, Family::V4).neighbor(middle.v4(), ""));
    daemon.expect_established(middle.v4());
    let output = migrate(&host, &["--all", "--apply"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("VNI 100: done"), "{output:?}");
    for left in ["vx-000111-abcde is left as it is: it is Docker's", "alone is left as it is: it is in no bridge"] {
        assert!(err.contains(left), "{left}: {output:?}");
    }
}

#[test]
fn the_file_of_another_daemon_is_left_as_it_is() {
    let fabric = Fabric::new();
    let (hosts, middle) = ([fabric.host(1), fabric.host(2)], fabric.host(254));
    hosts.iter().for_each(|host| make_old_device(host, VNI, "group 239.1.1.1 dev eth0"));
    let _reflector = Evpnd::start(&middle, &Config::reflector(&middle, ASN));
    let config = |host: &Host| Config::hypervisor(host, ASN, Family::V4).neighbor(middle.v4(), "");
    let daemons = hosts.each_ref().map(|host| Evpnd::start(host, &config(host)));
    daemons.iter().for_each(|daemon| daemon.expect_established(middle.v4()));
    hosts.iter().for_each(|host| convert(host, &[]));
    let [own, other] = hosts.each_ref().map(|host| host.path("evpnd.toml"));
    let read = || [&own, &other].map(|path| std::fs::read_to_string(path).expect("a configuration"));
    let before = read();
    let (own, other) = (own.display().to_string(), other.display().to_string());
    let expected = format!("the daemon reads {own}, and not {other}: nothing was done");
    for words in [&["--all", "--apply", "--undo"][..], &["--all", "--undo"], &["--stop-frr"]] {
        expect_said(&hosts[0], &[&["--config", &other], words].concat(), 1, &expected);
    }
    assert_eq!(read(), before);
    // The same file by another name.
    let link = hosts[0].path("link.toml");
    std::os::unix::fs::symlink(&own, &link).expect("a link");
    expect_said(&hosts[0], &["--config", &link.display().to_string(), "--all", "--apply"], 0, "nothing to do");
}

#[test]
fn what_a_hook_or_adoption_holds_is_not_given_back() {
    let fabric = Fabric::new();
    let (host, middle) = (fabric.host(1), fabric.host(254));
    let local = format!("local {} nolearning", host.v4());
    make_old_device(&host, 100, "group 239.1.1.1 dev eth0");
    make_old_device(&host, 101, &local);
    let _reflector = Evpnd::start(&middle, &Config::reflector(&middle, ASN));
    let daemon = Evpnd::start(&host, &Config::hypervisor(&host, ASN, Family::V4).neighbor(middle.v4(), ""));
    daemon.expect_established(middle.v4());
    daemon.say(&["vni", "add", "101", "--for", "libvirt:web1", "--wait", "20"]);
    expect_said(&host, &[], 0, "VNI 101: vxlan101 in br101: EVPN, and not by the file");
    convert(&host, &[]);
    daemon.say(&["vni", "add", "100", "--for", "libvirt:web1"]);
    let text = std::fs::read_to_string(host.path("evpnd.toml")).expect("the configuration");
    assert!(text.contains("id = 100") && !text.contains("id = 101"), "{text}");
    let undo = ["--all", "--apply", "--undo"];
    expect_said(&host, &undo, 1, "for libvirt:web1 (evpnctl vni del 100 --for libvirt:web1): let go of it there first");
    daemon.say(&["vni", "del", "--for", "libvirt:web1"]);
    daemon.rewrite_text(&text.replacen("\n[control]", "\n[vxlan]\nadopt = \"all\"\n\n[control]", 1));
    daemon.say(&["reload"]);
    expect_said(
        &host,
        &undo,
        1,
        "for adopt = \"all\" (ignore-devices = [\"vxlan100\"] in [vxlan] of the file, and evpnctl reload)",
    );
    daemon.rewrite_text(&text);
    daemon.say(&["reload"]);
    expect_said(&host, &undo, 0, "VNI 100: done");
    daemon.expect_no_difference();
}

/// On a host with a VNI that was converted, one that an operator declared, and what a killed run left.
#[test]
fn exit_codes_and_notes_say_what_was_asked_for() {
    let fabric = Fabric::new();
    let (host, middle) = (fabric.host(1), fabric.host(254));
    make_old_device(&host, 100, "group 239.1.1.1 dev eth0");
    make_old_device(&host, 101, &format!("local {} nolearning", host.v4()));
    let _reflector = Evpnd::start(&middle, &Config::reflector(&middle, ASN));
    let daemon = Evpnd::start(&host, &Config::hypervisor(&host, ASN, Family::V4).neighbor(middle.v4(), "").vni(101, ""));
    daemon.expect_established(middle.v4());
    convert(&host, &[]);
    // Nobody else announces the VNI.
    let refused = migrate(&host, &["--vni", "100", "--finish", "--dry-run"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("not now: nobody else announces"), "{refused:?}");
    expect_said(&host, &[], 0, "not now: nobody else announces");
    host.namespace
        .ip_batch("link add evpnd-grp0 type vxlan id 16777215 group 239.1.1.1 dev eth0 dstport 4789\nlink set evpnd-grp0 up\n");
    let finish = migrate(&host, &["--vni", "100", "--finish", "--force"]);
    let said = String::from_utf8_lossy(&finish.stdout).into_owned();
    assert!(finish.status.success() && !said.contains("16777215"), "{finish:?}");
    let undone = migrate(&host, &["--all", "--apply", "--undo"]);
    let (out, err) = (String::from_utf8_lossy(&undone.stdout), String::from_utf8_lossy(&undone.stderr));
    assert!(undone.status.success() && out.contains("VNI 100: done"), "{undone:?}");
    assert!(err.contains("vxlan101 is left as it is: it was not converted by evpnctl migrate"), "{undone:?}");
    expect_said(&host, &["--vni", "101", "--apply", "--undo"], 1, "how it was before is not known");
    // Alone in no bridge it is left alone, and there is nothing of which a last step could come.
    host.namespace.ip("link set vxlan100 nomaster");
    let left = migrate(&host, &["--vni", "100", "--apply"]);
    let said = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(left.status.code() == Some(1) && !said.contains("nothing to do"), "{left:?}");
}
