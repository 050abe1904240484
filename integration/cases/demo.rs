//! `evpnd lab demo`, the first thing that anybody runs: with root, and with nothing but an unprivileged user namespace.

use std::process::Command;

use crate::harness::evpnd::NOBODY;
use crate::harness::fabric::{Fabric, Host};
use crate::harness::need;

const EVPND: &str = env!("CARGO_BIN_EXE_evpnd");

#[track_caller]
fn proves(demo: &mut Command, underlay: &str) {
    let output = demo.args(["lab", "demo", "--underlay", underlay]).output().unwrap_or_else(|error| panic!("{demo:?}: {error}"));
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said}{complaints}", output.status);
    for word in ["Every VM reached every other", "to a group: 0", "flooded to learn: 0", "all removed"] {
        assert!(said.contains(word), "no {word:?} in: {said}{complaints}");
    }
}

#[test]
fn the_demo_with_root() {
    need(&[]);
    proves(&mut Command::new(EVPND), "4");
}

#[test]
fn the_demo_with_root_over_ipv6() {
    need(&[]);
    proves(&mut Command::new(EVPND), "6");
}

/// The daemons in it give up what they have in their user namespace.
#[test]
fn the_demo_without_root() {
    need(&[("/usr/bin/setpriv", "util-linux")]);
    let fabric = Fabric::new();
    let host = fabric.host(1);
    for underlay in ["4", "6"] {
        proves(&mut as_nobody(&host), underlay);
    }
}

/// evpnd without any privilege.
fn as_nobody(host: &Host) -> Command {
    // The build directory may be closed to others than its owner.
    if !host.path("evpnd").exists() {
        std::fs::copy(EVPND, host.path("evpnd")).expect("a copy of evpnd");
    }
    let id = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--pdeathsig", "KILL"]).arg(host.path("evpnd"));
    command
}

/// Removes the lab of a test that failed: its processes outlive the test.
struct Down<'a>(&'a dyn Fn() -> Command, &'a str);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0().args(["lab", "down", "--name", self.1]).status();
        }
    }
}

/// A lab that stays: built, looked at, used and removed.
#[track_caller]
fn stays_and_goes(evpnd: impl Fn() -> Command, name: &str) {
    let _down = Down(&evpnd, name);
    let run = |command: &str, words: &[&str]| {
        let output = evpnd().args(["lab", command, "--name", name]).args(words).output().expect("evpnd runs");
        let [said, complaints] = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned());
        (output.status, said, complaints)
    };
    let must = |command: &str, words: &[&str]| {
        let (status, said, complaints) = run(command, words);
        assert!(status.success(), "lab {command} {words:?}: {status}: {said}{complaints}");
        said
    };
    must("up", &["--hypervisors", "2", "--vnis", "2", "--vms", "1"]);
    let nodes = must("status", &[]);
    for node in ["rr", "hv1", "hv2", "vm1-1", "vm2-1"] {
        assert!(nodes.contains(node), "no {node} in: {nodes}");
    }
    let tunnels = must("exec", &["hv1", "ip", "-o", "link", "show", "type", "vxlan"]);
    assert_eq!(tunnels.lines().count(), 2, "one for each VNI: {tunnels}");
    assert_eq!(run("exec", &["hv1", "sh", "-c", "exit 7"]).0.code(), Some(7), "the exit status is the command's");
    let (status, _, complaints) = run("up", &[]);
    assert!(!status.success() && complaints.contains("there already"), "{complaints}");
    must("down", &[]);
    let (status, _, complaints) = run("status", &[]);
    assert!(!status.success() && complaints.contains("there is no lab"), "{complaints}");
}

#[test]
fn a_lab_with_root() {
    need(&[("/usr/sbin/ip", "iproute2")]);
    stays_and_goes(|| Command::new(EVPND), &format!("ei{}", std::process::id()));
}

#[test]
fn a_lab_without_root() {
    need(&[("/usr/bin/setpriv", "util-linux"), ("/usr/sbin/ip", "iproute2")]);
    let fabric = Fabric::new();
    let host = fabric.host(1);
    stays_and_goes(|| as_nobody(&host), &format!("en{}", std::process::id()));
}
