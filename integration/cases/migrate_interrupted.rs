//! `evpnctl migrate` that does not come to its end: it is killed at each of its steps and asked for the same again, or to take it
//! back; and a device goes while another is converted with it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Host};
use crate::harness::{ensure, wait_until};

use super::migrate::{Old, Segment, command, convert, device, flood_list, joined, make_old_device, migrate, rows, stage};
use super::migrate_static::neighbors;
use super::scenario::{ASN, VNI};

/// The command is killed as it begins each of its steps, and the daemon on its host with it every other time; asked for the same
/// again it comes to the same end.
#[test]
fn a_run_that_is_killed_at_any_step_is_resumed() {
    for old in [Old::Group, Old::List, Old::Neighbors] {
        let segment = Segment::new(2, old, Family::V4);
        let _reflector = Evpnd::start(&segment.middle, &Config::reflector(&segment.middle, ASN));
        let guests = segment.guests();
        let mut daemons = segment.daemons();
        let [a, b] = &segment.hosts[..] else { panic!() };
        let before = (device(a), flood_list(a), rows(a), written(a));
        convert(b, &[]);
        let mut killed = 0;
        for (words, then) in
            [(&[][..], "beside"), (&["--finish"], "converted"), (&["--undo"], "beside"), (&["--undo"], "untouched")]
        {
            if then == "converted" {
                convert(b, &["--finish", "--force"]);
            } else if words == ["--undo"] && then == "beside" {
                convert(b, &["--undo"]);
            }
            for step in 1.. {
                let whole = kill_at(a, words, step);
                killed += usize::from(!whole);
                if !whole && step % 2 == 0 {
                    drop(daemons.remove(0));
                    daemons.insert(0, Evpnd::start_again(a));
                    daemons[0].expect_established(segment.middle.v4());
                }
                guests[0].expect_ping(&guests[1]);
                guests[1].expect_ping(&guests[0]);
                if whole {
                    break;
                }
            }
            if stage(a) != then {
                convert(a, words);
            }
            assert_eq!(stage(a), then);
            daemons.iter().for_each(Evpnd::expect_no_difference);
            let out = old == Old::Group && then == "converted";
            assert_eq!(joined(a, Family::V4), old == Old::Group && !out, "{then}");
        }
        assert!(killed >= 6, "killed {killed} times only");
        assert_eq!((device(a), flood_list(a), rows(a), written(a)), before);
        guests[0].expect_ping(&guests[1]);
    }
}

/// Runs it and kills it as it tells of its step of this number. Whether it came to its end before.
fn kill_at(host: &Host, words: &[&str], step: usize) -> bool {
    let mut all = vec!["--all", "--apply", "--wait", "1"];
    all.extend(words);
    let mut child = command(host, &all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("evpnctl runs");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let reached = lines.map_while(Result::ok).nth(step - 1).is_some();
    let _ = child.kill();
    let output = child.wait_with_output().expect("evpnctl ends");
    assert!(reached || output.status.success(), "{output:?}");
    !reached
}

/// The neighbours that somebody wrote on the device, and what evpnd wrote there.
fn written(host: &Host) -> Vec<String> {
    neighbors(host).into_iter().filter(|line| line.contains(" dev vxlan100 ")).collect()
}

/// Killed at any step of the way there it is taken back instead, by one step or by two.
#[test]
fn a_run_that_is_killed_at_any_step_is_taken_back() {
    for old in [Old::Group, Old::List, Old::Fixed { list: false }, Old::Neighbors] {
        let segment = Segment::new(2, old, Family::V4);
        let _reflector = Evpnd::start(&segment.middle, &Config::reflector(&segment.middle, ASN));
        let guests = segment.guests();
        let daemons = segment.daemons();
        let [a, b] = &segment.hosts[..] else { panic!() };
        if matches!(old, Old::Fixed { .. }) {
            segment.introduce(&guests);
        }
        let state = || (device(a), flood_list(a), rows(a), written(a), joined(a, Family::V4));
        let (before, file) = (state(), std::fs::read_to_string(a.path("evpnd.toml")).expect("the configuration"));
        convert(b, &[]);
        for words in [&[][..], &["--finish"]] {
            for step in 1.. {
                if words == ["--finish"] {
                    convert(a, &[]);
                    wait_until("the last step may be done", 20, || {
                        let output = migrate(a, &["--all", "--finish"]);
                        ensure(output.status.success(), || format!("{output:?}"))
                    });
                }
                let whole = kill_at(a, words, step);
                for _ in words.iter().chain([&"--undo"]) {
                    let undone = migrate(a, &["--all", "--apply", "--undo", "--wait", "0"]);
                    assert!(undone.status.success(), "{words:?} killed at {step}: {undone:?}");
                }
                let now = (state(), std::fs::read_to_string(a.path("evpnd.toml")).expect("the configuration"));
                assert_eq!((&now.0, now.1.trim_end()), (&before, file.trim_end()), "{words:?} killed at {step}");
                assert_eq!(stage(a), "untouched");
                guests[0].expect_ping(&guests[1]);
                guests[1].expect_ping(&guests[0]);
                if whole {
                    assert!(step > 2, "killed {} times only", step - 1);
                    break;
                }
            }
        }
        daemons.iter().for_each(Evpnd::expect_no_difference);
    }
}

/// The device of one VNI goes while the others are given time: the other VNI comes to its end.
#[test]
fn a_device_that_goes_half_way_does_not_keep_the_rest() {
    let fabric = Fabric::new();
    let (hosts, middle) = ([fabric.host(1), fabric.host(2)], fabric.host(254));
    for (host, vni) in hosts.iter().flat_map(|host| [(host, VNI), (host, VNI + 1)]) {
        make_old_device(host, vni, &format!("group 239.1.1.{} dev eth0", vni - 99));
    }
    let _reflector = Evpnd::start(&middle, &Config::reflector(&middle, ASN));
    let config = |host: &Host| Config::hypervisor(host, ASN, Family::V4).neighbor(middle.v4(), "");
    let daemons = hosts.each_ref().map(|host| Evpnd::start(host, &config(host)));
    daemons.iter().for_each(|daemon| daemon.expect_established(middle.v4()));
    let [a, b] = &hosts;
    let guests = [(fabric.guest(12), a), (fabric.guest(22), b)].map(|(mut guest, host)| {
        guest.plug(host, VNI + 1);
        guest
    });
    hosts.iter().for_each(|host| convert(host, &[]));
    convert(b, &["--finish"]);
    let words = ["--all", "--apply", "--finish", "--wait", "3"];
    let mut child: Child = command(a, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("evpnctl runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("waiting 3 s")), "it came to its pause");
    a.namespace.ip("link del vxlan100");
    let rest: Vec<String> = lines.collect();
    let output = child.wait_with_output().expect("evpnctl ends");
    assert!(rest.iter().any(|line| line.starts_with("VNI 101: done")), "{rest:?} {output:?}");
    assert!(!joined(a, Family::V4) && !a.namespace.output("ip", ["maddr", "show", "dev", "eth0"]).contains("239.1.1.2"));
    // Somebody makes it again, before evpnd does.
    a.namespace.ip_batch(
        "link add vxlan100 type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning\n\
         link set vxlan100 addrgenmode none master br100 up\n",
    );
    guests[0].expect_ping(&guests[1]);
    wait_until("nothing is left to do", 20, || {
        let output = migrate(a, &["--all", "--apply", "--finish"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure(output.status.success() && said.contains("nothing to do"), || format!("{output:?}"))
    });
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

/// The last step is interrupted while a second device alone keeps the host in the group, and refused when it is asked for again, because
/// the reflector is away: others may flood to the group yet, and so the host stays in it until the step is done.
#[test]
fn a_last_step_that_is_refused_after_it_was_interrupted_keeps_its_group() {
    let segment = Segment::new(2, Old::Group, Family::V4);
    let reflector = Evpnd::start(&segment.middle, &Config::reflector(&segment.middle, ASN));
    let daemons = segment.daemons();
    let a = &segment.hosts[0];
    segment.hosts.iter().for_each(|host| convert(host, &[]));
    wait_until("the last step may be done", 20, || {
        let output = migrate(a, &["--all", "--finish"]);
        ensure(output.status.success(), || format!("{output:?}"))
    });
    let words = ["--all", "--apply", "--finish", "--wait", "20"];
    let mut child = command(a, &words).stdout(Stdio::piped()).spawn().expect("evpnctl runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("waiting 20 s")), "it came to its pause");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let helpers = || a.namespace.output("ip", ["-o", "link"]).matches(": evpnd-grp").count();
    assert_eq!((joined(a, Family::V4), device(a).contains("239."), helpers()), (true, false, 1));
    drop(reflector);
    wait_until("it is refused", 20, || {
        let output = migrate(a, &["--all", "--apply", "--finish", "--wait", "1"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure(output.status.code() == Some(1) && said.contains("left as it is"), || format!("{output:?}"))
    });
    assert_eq!((joined(a, Family::V4), helpers()), (true, 1));
    let _reflector = Evpnd::start_again(&segment.middle);
    daemons.iter().for_each(|daemon| daemon.expect_established(segment.middle.v4()));
    convert(a, &["--finish"]);
    assert_eq!((joined(a, Family::V4), helpers(), stage(a).as_str()), (false, 0, "converted"));
}

/// The file was written, and the run was killed before the daemon was told.
#[test]
fn a_file_that_the_daemon_was_not_told_of_is_read_when_asked_again() {
    let segment = Segment::new(1, Old::Group, Family::V4);
    let _reflector = Evpnd::start(&segment.middle, &Config::reflector(&segment.middle, ASN));
    let daemons = segment.daemons();
    let a = &segment.hosts[0];
    convert(a, &[]);
    let file = std::fs::read_to_string(a.path("evpnd.toml")).expect("the configuration");
    convert(a, &["--undo"]);
    std::fs::write(a.path("evpnd.toml"), file).expect("the configuration is written");
    let vnis = || daemons[0].json(&["show", "vnis"]).as_array().map(Vec::len);
    assert_eq!((stage(a).as_str(), vnis()), ("beside", Some(0)));
    let output = migrate(a, &["--all", "--apply"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("the daemon had not read it"), "{output:?}");
    assert_eq!(vnis(), Some(1));
    let again = migrate(a, &["--all", "--apply"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing to do"), "{again:?}");
    daemons[0].expect_no_difference();
}
