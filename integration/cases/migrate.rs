//! `evpnctl migrate` under traffic: hosts on a group, on a list, with static rows, converted one by one and taken back, with every
//! frame counted.

use std::process::Output;

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
pub(super) struct Segment {
    pub(super) fabric: Fabric,
    family: Family,
    pub(super) hosts: Vec<Host>,
    pub(super) middle: Host,
}

/// How hosts found one another before EVPN.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Old {
    Group,
    List,
    /// A row for each guest elsewhere and no learning; the same list, or none, so that nothing is flooded.
    Fixed {
        list: bool,
    },
    /// The same without a list, and a neighbour for each, from which the device answers ARP (`proxy`).
    Neighbors,
}

impl Old {
    fn has_list(self) -> bool {
        matches!(self, Self::List | Self::Fixed { list: true })
    }
}

/// The rows of the guests of other hosts, as somebody wrote them: in this form, and in that.
fn fixed_rows(host: &Host, hosts: &[Host], family: Family) -> String {
    let row = |other: &Host| {
        let form = if other.number.is_multiple_of(2) { "self master static" } else { "self permanent" };
        format!("fdb add 02:00:00:00:00:{:02x} dev vxlan100 dst {} {form}\n", other.number * 10 + 1, other.address(family))
    };
    hosts.iter().filter(|other| other.number != host.number).map(row).collect()
}

/// What somebody wrote on the device, and what a control plane did, but for the flood list.
pub(super) fn rows(host: &Host) -> Vec<String> {
    let text = host.namespace.output("bridge", ["fdb", "show", "dev", "vxlan100"]);
    let written =
        |line: &&str| line.starts_with("02:") && ["static", "permanent", "extern_learn"].iter().any(|word| line.contains(word));
    let mut rows: Vec<String> = text.lines().filter(written).map(|line| line.trim_end().to_owned()).collect();
    rows.sort();
    rows
}

impl Segment {
    pub(super) fn new(count: u8, old: Old, family: Family) -> Self {
        let fabric = Fabric::new();
        let hosts: Vec<Host> = (1..=count).map(|number| fabric.host(number)).collect();
        let middle = fabric.host(254);
        for host in &hosts {
            let way = match old {
                Old::Group => format!("group {} dev eth0", group(family)),
                Old::List => format!("local {}", host.address(family)),
                Old::Fixed { .. } => format!("local {} nolearning", host.address(family)),
                Old::Neighbors => format!("local {} nolearning proxy", host.address(family)),
            };
            make_old_device(host, VNI, &way);
            if matches!(old, Old::Fixed { .. } | Old::Neighbors) {
                host.namespace.bridge_batch(&fixed_rows(host, &hosts, family));
            }
            if old == Old::Neighbors {
                let others = hosts.iter().filter(|other| other.number != host.number).map(|other| other.number * 10 + 1);
                let lines = others.map(|number| {
                    format!("neigh add 192.168.0.{number} lladdr 02:00:00:00:00:{number:02x} dev vxlan100 nud permanent\n")
                });
                host.namespace.ip_batch(&lines.collect::<String>());
            }
            if old.has_list() {
                let others = hosts.iter().filter(|other| other.number != host.number);
                let lines =
                    others.map(|other| format!("fdb append 00:00:00:00:00:00 dev vxlan100 dst {}\n", other.address(family)));
                host.namespace.bridge_batch(&lines.collect::<String>());
            }
        }
        Self { fabric, family, hosts, middle }
    }

    pub(super) fn guests(&self) -> Vec<Guest> {
        self.hosts.iter().map(|host| self.fabric.guest_at(host, VNI)).collect()
    }

    /// Each guest knows the MACs of the others, where none of them would hear it ask.
    pub(super) fn introduce(&self, guests: &[Guest]) {
        for guest in guests {
            let others = guests.iter().filter(|other| other.number != guest.number);
            let lines = others.map(|other| format!("neigh add {} lladdr {} dev eth0\n", other.address(), other.mac()));
            guest.namespace.ip_batch(&lines.collect::<String>());
        }
    }

    fn config(&self, host: &Host) -> Config {
        Config::hypervisor(host, ASN, self.family).neighbor(self.middle.v4(), "")
    }

    /// A daemon on each host that knows of no VNI.
    pub(super) fn daemons(&self) -> Vec<Evpnd<'_>> {
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
pub(super) fn stage(host: &Host) -> String {
    let output = migrate(host, &["--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    value["vnis"][0]["stage"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

/// The device and its port, without numbers that change.
pub(super) fn device(host: &Host) -> String {
    let value: Value =
        serde_json::from_str(&host.namespace.output("ip", ["-j", "-d", "link", "show", "dev", "vxlan100"])).expect("JSON");
    let (data, port) = (&value[0]["linkinfo"]["info_data"], &value[0]["linkinfo"]["info_slave_data"]);
    let of = |value: &Value, key: &str| format!("{key} {} ", value[key]);
    let group = if data["group6"].is_null() { "group" } else { "group6" };
    [group, "link", "learning"].map(|key| of(data, key)).concat()
        + &["learning", "neigh_suppress"].map(|key| of(port, key)).concat()
}

pub(super) fn flood_list(host: &Host) -> Vec<String> {
    let text = host.namespace.output("bridge", ["fdb", "show", "dev", "vxlan100"]);
    let mut list: Vec<String> = text.lines().filter(|line| line.starts_with("00:00")).map(str::to_owned).collect();
    list.sort();
    list
}

pub(super) fn joined(host: &Host, family: Family) -> bool {
    host.namespace.output("ip", ["maddr", "show", "dev", "eth0"]).contains(group(family))
}

/// Tells of each step, and nothing may be lost in any.
#[track_caller]
pub(super) fn expect_nothing_lost(losses: &[Loss]) {
    losses.iter().for_each(|loss| println!("{loss}"));
    for loss in losses {
        assert!(loss.pings.0 > 20 && loss.pings.1 == 0 && loss.floods.1 == 0, "{loss}");
        assert!(loss.asks.0 > 0 && loss.asks.1 == 0, "{loss}");
    }
}

/// Nothing comes twice while no host changes.
#[track_caller]
pub(super) fn expect_nothing_twice(losses: &[Loss]) {
    let all = || losses.iter().filter(|loss| loss.step.starts_with("all: "));
    assert!(all().count() > 1 && all().all(|loss| loss.twice == 0), "{losses:?}");
}

/// There and back, host by host.
fn there_and_back(count: u8, old: Old, family: Family) {
    let segment = Segment::new(count, old, family);
    let _reflector = Evpnd::start(&segment.middle, &Config::reflector(&segment.middle, ASN));
    let guests = segment.guests();
    let daemons = segment.daemons();
    let state = |host: &Host| (device(host), flood_list(host), rows(host));
    let before: Vec<_> = segment.hosts.iter().map(state).collect();
    let fixed = matches!(old, Old::Fixed { .. });
    let deaf = old == Old::Fixed { list: false };
    if deaf {
        segment.introduce(&guests);
    }
    let mut mesh = Mesh::start(&guests.iter().collect::<Vec<_>>());
    for (words, name, then) in
        [(&[][..], "beside EVPN", "beside"), (&["--finish"], "EVPN alone", "converted"), (&["--undo"], "back beside", "beside")]
    {
        for host in &segment.hosts {
            mesh.step(format!("host {}: {name}", host.number));
            convert(host, words);
            assert_eq!(stage(host), then);
        }
        daemons.iter().for_each(Evpnd::expect_no_difference);
        mesh.step(format!("all: {name}"));
        let proper = then == "converted";
        for (host, (_, _, written)) in segment.hosts.iter().zip(&before) {
            let (now, list, rows) = (device(host), flood_list(host), rows(host));
            if fixed && !proper {
                let stand = written.iter().all(|row| rows.contains(row) || row.contains(" master "));
                assert!(stand, "{written:?} in {rows:?}");
            } else if proper {
                let ours = |row: &String| {
                    row.contains("extern_learn") && !row.contains("permanent") && !row.contains("master br100 static")
                };
                assert!(rows.len() == 2 * (usize::from(count) - 1) && rows.iter().all(ours), "{rows:?}");
            }
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
    let mut losses = mesh.end();
    // Without a list nobody hears a broadcast before all are beside EVPN.
    let first = &losses[0];
    assert!(!deaf || (first.floods.0, first.asks.0) == (first.floods.1, first.asks.1), "{first}");
    let heard = |step: &str| !deaf || step.starts_with("all:") || step.contains("EVPN alone") || step.contains("back beside");
    losses.iter_mut().filter(|loss| !heard(&loss.step)).for_each(|loss| (loss.floods.1, loss.asks.1) = (0, 0));
    expect_nothing_lost(&losses);
    expect_nothing_twice(&losses);
    for (host, before) in segment.hosts.iter().zip(before) {
        assert_eq!(state(host), before, "host {}", host.number);
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
fn five_hosts_leave_their_static_rows_and_return_to_them() {
    there_and_back(5, Old::Fixed { list: true }, Family::V4);
}

#[test]
fn three_hosts_leave_static_rows_without_a_list_and_return_to_them() {
    there_and_back(3, Old::Fixed { list: false }, Family::V4);
}

#[test]
fn over_ipv6_three_hosts_leave_their_static_rows_and_return_to_them() {
    there_and_back(3, Old::Fixed { list: true }, Family::V6);
}

#[test]
fn over_ipv6_three_hosts_leave_their_group_and_return_to_it() {
    there_and_back(3, Old::Group, Family::V6);
}

#[test]
fn over_ipv6_three_hosts_leave_their_list_and_return_to_it() {
    there_and_back(3, Old::List, Family::V6);
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
