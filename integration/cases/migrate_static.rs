//! `evpnctl migrate` off static neighbours: devices with `proxy`, which answer ARP from what somebody wrote on them and flood nothing,
//! in a bridge and, as a host's own, in none. Every ping and every question of ARP is counted, and none of these crosses the underlay.

use std::time::Duration;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Capture, Fabric, Family, Host};
use crate::harness::mesh::Mesh;
use crate::harness::netns::Process;
use crate::harness::{ensure, patience, wait_until};

use super::migrate::{Old, Segment, convert, device, expect_nothing_lost, migrate, rows, stage};
use super::modes::floods;
use super::scenario::ASN;

/// There, and back: what is asked for, how it is called, and where it leads.
const STEPS: [(&[&str], &str, &str); 4] = [
    (&[], "beside EVPN", "beside"),
    (&["--finish"], "EVPN alone", "converted"),
    (&["--undo"], "back beside", "beside"),
    (&["--undo"], "as it was", "untouched"),
];

/// Neighbours that somebody or the daemon wrote.
pub(super) fn neighbors(host: &Host) -> Vec<String> {
    let text = host.namespace.output("ip", ["neigh", "show", "nud", "all"]);
    let written = |line: &&str| line.starts_with("192.168.0.") && (line.contains("PERMANENT") || line.contains("extern_learn"));
    let mut found: Vec<String> = text.lines().filter(written).map(|line| line.trim_end().to_owned()).collect();
    found.sort();
    found
}

type State = (String, Vec<String>, Vec<String>);

fn state(host: &Host) -> State {
    (device(host), rows(host), neighbors(host))
}

/// What was written stands while a host may be without EVPN, and nothing of it afterwards.
fn expect_written(host: &Host, before: &State, then: &str) {
    let (_, rows, neighbors) = state(host);
    if then == "converted" {
        let ours = |line: &String| line.contains("extern_learn") && !line.contains("PERMANENT") && !line.contains("permanent");
        assert!(rows.iter().all(ours) && neighbors.iter().all(ours), "{rows:?} {neighbors:?}");
        assert!(!rows.is_empty() && neighbors.len() >= before.2.len(), "{rows:?} {neighbors:?}");
    } else {
        let stands = |now: &[String], line: &String| now.contains(line) || line.contains(" master ");
        assert!(before.1.iter().all(|row| stands(&rows, row)), "{before:?} {rows:?}");
        let address = |line: &String| line.contains("PERMANENT") && line.contains(" dev vxlan100 ");
        assert_eq!(neighbors.iter().filter(|line| address(line)).count(), before.2.len(), "{neighbors:?}");
    }
}

fn expect_silence(captures: &[Capture]) {
    let asked: Vec<usize> = captures.iter().map(floods).collect();
    assert!(asked.iter().all(|count| *count == 0), "flooded by each host: {asked:?}");
}

fn there_and_back(count: u8, family: Family) {
    let segment = Segment::new(count, Old::Neighbors, family);
    let (fabric, hosts, middle) = (&segment.fabric, &segment.hosts, &segment.middle);
    let _reflector = Evpnd::start(middle, &Config::reflector(middle, ASN));
    let guests = segment.guests();
    let daemons = segment.daemons();
    let captures: Vec<Capture> = hosts.iter().map(|host| fabric.capture(host)).collect();
    let before: Vec<State> = hosts.iter().map(state).collect();
    let mut mesh = Mesh::start_quietly(&guests.iter().collect::<Vec<_>>());
    for (words, name, then) in STEPS {
        for host in hosts {
            mesh.step(format!("host {}: {name}", host.number));
            convert(host, words);
            assert_eq!(stage(host), then);
            if host.number == 1 && name == "beside EVPN" {
                // The others are announced by nobody: what leads there may not go.
                let refused = migrate(host, &["--all", "--apply", "--finish"]);
                let said = String::from_utf8_lossy(&refused.stderr).into_owned();
                assert!(refused.status.code() == Some(1) && said.contains("nobody announces 02:00:00:00:00:15"), "{refused:?}");
                assert!(said.contains("nobody announces 192.168.0.21"), "{said}");
            }
            expect_silence(&captures);
        }
        daemons.iter().for_each(Evpnd::expect_no_difference);
        mesh.step(format!("all: {name}"));
        hosts.iter().zip(&before).for_each(|(host, before)| expect_written(host, before, then));
    }
    expect_nothing_lost(&mesh.end());
    expect_silence(&captures);
    hosts.iter().zip(before).for_each(|(host, before)| assert_eq!(state(host), before, "host {}", host.number));
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn four_hosts_leave_their_static_neighbours_and_return_to_them() {
    there_and_back(4, Family::V4);
}

#[test]
fn over_ipv6_three_hosts_leave_their_static_neighbours_and_return_to_them() {
    there_and_back(3, Family::V6);
}

/// How many pings were sent, and how many of them had no answer. The last may be under way.
fn end_pings(mut process: Process) -> (usize, usize) {
    process.signal(libc::SIGINT);
    process.wait(patience(10));
    let log = process.log();
    let line = log.lines().find(|line| line.contains("packets transmitted")).unwrap_or_else(|| panic!("no summary: {log}"));
    let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    (numbers[0], (numbers[0] - numbers[1]).saturating_sub(1))
}

/// The host's own device, in no bridge.
#[test]
fn hosts_without_a_bridge_leave_their_static_neighbours_and_return_to_them() {
    let fabric = Fabric::new();
    let hosts: Vec<Host> = (1..=3).map(|number| fabric.host(number)).collect();
    let middle = fabric.host(254);
    for host in &hosts {
        let others = || hosts.iter().map(|other| other.number).filter(|number| *number != host.number);
        host.namespace.ip_batch(&format!(
            "link add vxlan100 address 02:00:00:00:77:0{0} type vxlan id 100 local 10.0.0.{0} dstport 4789 nolearning proxy\n\
             link set vxlan100 addrgenmode none up\naddr add 192.168.0.10{0}/24 dev vxlan100\n",
            host.number
        ));
        let rows =
            others().map(|number| format!("fdb add 02:00:00:00:77:0{number} dev vxlan100 dst 10.0.0.{number} self static\n"));
        host.namespace.bridge_batch(&rows.collect::<String>());
        let lines = others()
            .map(|number| format!("neigh add 192.168.0.10{number} lladdr 02:00:00:00:77:0{number} dev vxlan100 nud permanent\n"));
        host.namespace.ip_batch(&lines.collect::<String>());
    }
    let _reflector = Evpnd::start(&middle, &Config::reflector(&middle, ASN));
    let config = |host: &Host| Config::hypervisor(host, ASN, Family::V4).neighbor(middle.v4(), "");
    let daemons: Vec<_> = hosts.iter().map(|host| Evpnd::start(host, &config(host))).collect();
    daemons.iter().for_each(|daemon| daemon.expect_established(middle.v4()));
    let captures: Vec<Capture> = hosts.iter().map(|host| fabric.capture(host)).collect();
    let before: Vec<State> = hosts.iter().map(state).collect();
    let pings = |host: &Host, to: u8| {
        let target = format!("192.168.0.10{to}");
        wait_until(&format!("host {} reaches {target}", host.number), 20, || {
            ensure(host.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", &target]), || "no answer".to_owned())
        });
        host.namespace.spawn("ping", ["-n", "-q", "-i", "0.02", &target], &host.path(&format!("ping-{to}.log")))
    };
    let running: Vec<Process> = hosts.iter().map(|host| pings(host, host.number % 3 + 1)).collect();
    for (words, name, then) in STEPS {
        for host in &hosts {
            convert(host, words);
            assert_eq!(stage(host), then, "{name}");
            expect_silence(&captures);
        }
        daemons.iter().for_each(Evpnd::expect_no_difference);
        hosts.iter().zip(&before).for_each(|(host, before)| expect_written(host, before, then));
        std::thread::sleep(Duration::from_millis(500));
    }
    for (sent, lost) in running.into_iter().map(end_pings) {
        println!("{sent} pings, {lost} lost");
        assert!(sent > 100 && lost == 0, "{lost} of {sent} pings were lost");
    }
    expect_silence(&captures);
    hosts.iter().zip(before).for_each(|(host, before)| assert_eq!(state(host), before, "host {}", host.number));
}
