//! `evpnctl migrate` under traffic: hosts on a group, on a list, converted one by one and taken back, with every frame counted; and runs
//! that are interrupted at each of their steps.

use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Guest, Host};
use crate::harness::mesh::{Loss, Mesh};
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, VNI};

const EVPNCTL: &str = env!("CARGO_BIN_EXE_evpnctl");

/// A device of before EVPN, in a bridge of its own.
pub(super) fn make_old_device(host: &Host, vni: u32, way: &str) {
    host.namespace.ip_batch(&format!(
        "link add name br{vni} type bridge mcast_snooping 0\nlink set br{vni} addrgenmode none up\n\
         link add vxlan{vni} type vxlan id {vni} {way} dstport 4789\n\
         link set vxlan{vni} addrgenmode none master br{vni} up\n"
    ));
}

fn group(family: Family) -> &'static str {
    match family {
        Family::V4 => "239.1.1.1",
        Family::V6 => "ff05::100",
    }
}

/// Hosts with a guest each, and a reflector of ours.
struct Segment {
    fabric: Fabric,
    family: Family,
    hosts: Vec<Host>,
    middle: Host,
}

/// How hosts found one another before EVPN.
#[derive(Clone, Copy, PartialEq)]
enum Old {
    Group,
    List,
}

impl Segment {
    fn new(count: u8, old: Old, family: Family) -> Self {
        let fabric = Fabric::new();
        let hosts: Vec<Host> = (1..=count).map(|number| fabric.host(number)).collect();
        let middle = fabric.host(254);
        for host in &hosts {
            let way = match old {
                Old::Group => format!("group {} dev eth0", group(family)),
                Old::List => format!("local {}", host.address(family)),
            };
            make_old_device(host, VNI, &way);
            if old == Old::List {
                let others = hosts.iter().filter(|other| other.number != host.number);
                let lines =
                    others.map(|other| format!("fdb append 00:00:00:00:00:00 dev vxlan100 dst {}\n", other.address(family)));
                host.namespace.bridge_batch(&lines.collect::<String>());
            }
        }
        Self { fabric, family, hosts, middle }
    }

    fn guests(&self) -> Vec<Guest> {
        self.hosts.iter().map(|host| self.fabric.guest_at(host, VNI)).collect()
    }

    fn config(&self, host: &Host) -> Config {
        Config::hypervisor(host, ASN, self.family).neighbor(self.middle.v4(), "")
    }

    /// A daemon on each host that knows of no VNI.
    fn daemons(&self) -> Vec<Evpnd<'_>> {
        let daemons: Vec<_> = self.hosts.iter().map(|host| Evpnd::start(host, &self.config(host))).collect();
        daemons.iter().for_each(|daemon| daemon.expect_established(self.middle.v4()));
        daemons
    }
}

pub(super) fn command(host: &Host, words: &[&str]) -> std::process::Command {
    let mut command = host.namespace.command(EVPNCTL, ["--socket".as_ref(), host.path("evpnd.sock").as_os_str()]);
    command.arg("migrate").arg("--config").arg(host.path("evpnd.toml")).args(words);
    command
}

pub(super) fn migrate(host: &Host, words: &[&str]) -> Output {
    command(host, words).output().expect("evpnctl runs")
}

/// Does it, as soon as what it waits for is there.
#[track_caller]
pub(super) fn convert(host: &Host, words: &[&str]) {
    let mut all = vec!["--all", "--apply", "--wait", "2"];
    all.extend(words);
    wait_until(&format!("evpnctl migrate {all:?} on host {}", host.number), 60, || {
        let output = migrate(host, &all);
        ensure(output.status.success(), || format!("{output:?}"))
    });
}

/// The stage of the VNI on a host.
fn stage(host: &Host) -> String {
    let output = migrate(host, &["--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    value["vnis"][0]["stage"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

/// The device and its port, without numbers that change.
fn device(host: &Host) -> String {
    let value: Value =
        serde_json::from_str(&host.namespace.output("ip", ["-j", "-d", "link", "show", "dev", "vxlan100"])).expect("JSON");
    let (data, port) = (&value[0]["linkinfo"]["info_data"], &value[0]["linkinfo"]["info_slave_data"]);
    let of = |value: &Value, key: &str| format!("{key} {} ", value[key]);
    let group = if data["group6"].is_null() { "group" } else { "group6" };
    [group, "link", "learning"].map(|key| of(data, key)).concat()
        + &["learning", "neigh_suppress"].map(|key| of(port, key)).concat()
}

fn flood_list(host: &Host) -> Vec<String> {
    let text = host.namespace.output("bridge", ["fdb", "show", "dev", "vxlan100"]);
    let mut list: Vec<String> = text.lines().filter(|line| line.starts_with("00:00")).map(str::to_owned).collect();
    list.sort();
    list
}

fn joined(host: &Host, family: Family) -> bool {
    host.namespace.output("ip", ["maddr", "show", "dev", "eth0"]).contains(group(family))
}

/// Tells of each step, and nothing may be lost in any.
#[track_caller]
pub(super) fn expect_nothing_lost(losses: &[Loss]) {
    losses.iter().for_each(|loss| println!("{loss}"));
    for loss in losses {
        assert!(loss.pings.0 > 20 && loss.pings.1 == 0 && loss.floods.1 == 0, "{loss}");
    }
}

/// There and back, host by host.
fn there_and_back(count: u8, old: Old, family: Family) {
    let segment = Segment::new(count, old, family);
    let _reflector = Evpnd::start(&segment.middle, &Config::reflector(&segment.middle, ASN));
    let guests = segment.guests();
    let daemons = segment.daemons();
    let before: Vec<_> = segment.hosts.iter().map(|host| (device(host), flood_list(host))).collect();
    let mut mesh = Mesh::start(&guests.iter().collect::<Vec<_>>());
    for (words, name, then) in
        [(&[][..], "beside EVPN", "beside"), (&["--finish"], "EVPN alone", "converted"), (&["--undo"], "back beside", "beside")]
    {
        for host in &segment.hosts {
            mesh.step(format!("host {}: {name}", host.number));
            convert(host, words);
            assert_eq!(stage(host), then);
        }
        mesh.step(format!("all: {name}"));
        let proper = then == "converted";
        for host in &segment.hosts {
            let (now, list) = (device(host), flood_list(host));
            assert_eq!(now.contains(&format!("\"{}\"", group(family))), old == Old::Group && !proper, "{now}");
            assert_eq!(now.contains("learning true"), !proper, "{now}");
            assert_eq!(joined(host, family), old == Old::Group && !proper);
            let length = if old == Old::Group && !proper { 1 } else { usize::from(count) - 1 };
            assert_eq!(list.len(), length, "{list:?}");
        }
        daemons.iter().for_each(Evpnd::expect_no_difference);
    }
    for host in &segment.hosts {
        mesh.step(format!("host {}: as it was", host.number));
        convert(host, &["--undo"]);
        assert_eq!(stage(host), "untouched");
    }
    expect_nothing_lost(&mesh.end());
    for (host, before) in segment.hosts.iter().zip(before) {
        assert_eq!((device(host), flood_list(host)), before, "host {}", host.number);
        let output = migrate(host, &["--all", "--apply", "--undo"]);
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("nothing to do"), "{output:?}");
    }
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn five_hosts_leave_their_group_and_return_to_it() {
    there_and_back(5, Old::Group, Family::V4);
}

#[test]
fn five_hosts_leave_their_list_and_return_to_it() {
    there_and_back(5, Old::List, Family::V4);
}

#[test]
fn over_ipv6_three_hosts_leave_their_group_and_return_to_it() {
    there_and_back(3, Old::Group, Family::V6);
}

#[test]
fn over_ipv6_three_hosts_leave_their_list_and_return_to_it() {
    there_and_back(3, Old::List, Family::V6);
}

/// The command is killed as it begins each of its steps, and the daemon on its host with it every other time; asked for the same
/// again it comes to the same end.
#[test]
fn a_run_that_is_killed_at_any_step_is_resumed() {
    for old in [Old::Group, Old::List] {
        let segment = Segment::new(2, old, Family::V4);
        let _reflector = Evpnd::start(&segment.middle, &Config::reflector(&segment.middle, ASN));
        let guests = segment.guests();
        let mut daemons = segment.daemons();
        let [a, b] = &segment.hosts[..] else { panic!() };
        let before = (device(a), flood_list(a));
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
        assert_eq!((device(a), flood_list(a)), before);
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

/// What is wrong is said where it is, with what to do, and changes nothing.
#[test]
fn what_cannot_be_done_is_said() {
    let segment = Segment::new(2, Old::Group, Family::V4);
    let [a, _] = &segment.hosts[..] else { panic!() };
    let said = |words: &[&str], code: i32, expected: &str| {
        let output = migrate(a, words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && text.contains(expected), "{words:?}: {expected:?} in {output:?}");
    };
    crate::harness::fabric::write(a, "evpnd.toml", "");
    said(&[], 3, "no daemon");
    let _reflector = Evpnd::start(&segment.middle, &Config::reflector(&segment.middle, ASN));
    let daemon = Evpnd::start(a, &segment.config(a));
    daemon.expect_established(segment.middle.v4());
    said(&["--apply"], 2, "--vni N, or --all");
    said(&["--vni", "7"], 1, "VNI 7 is left alone: this host has no VXLAN device of it");
    said(&["--vni", "7", "--apply"], 1, "this host has no VXLAN device of it");
    said(&["--vni", "100", "--finish", "--apply"], 1, "not beside EVPN yet");
    said(&["--config", "/nowhere/evpnd.toml"], 1, "cannot read the configuration /nowhere/evpnd.toml");
    said(&["--stop-frr"], 1, "FRR does not run");
    said(&[], 0, "nothing was changed: --apply");
    said(&[], 0, "floods to group 239.1.1.1 on eth0, learns");
    let before = (device(a), daemon.json(&["show", "vnis"]));
    assert_eq!(before.1, Value::Array(Vec::new()));
    // Who floods to the group and was heard is not left behind.
    let guests = segment.guests();
    guests[0].expect_ping(&guests[1]);
    said(&["--all", "--apply"], 0, "VNI 100: done");
    guests[0].expect_ping(&guests[1]);
    said(&["--all", "--apply", "--finish"], 1, "10.0.0.2 is on this segment without announcing it");
    assert_eq!(device(a), before.0);
    // A device that goes while it is being converted.
    a.namespace.ip("link del vxlan100");
    wait_until("evpnd makes it again, as the configuration says", 60, || ensure(a.has_interface("vxlan100"), || "no".to_owned()));
    said(&["--vni", "100", "--undo", "--apply"], 1, "made by evpnd");
    drop(daemon);
    said(&["--all", "--apply"], 3, "no daemon");
}
