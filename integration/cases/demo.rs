//! `evpnd lab demo`, the first thing that anybody runs: with root, and with nothing but an unprivileged user namespace.

use std::process::Command;

use crate::harness::evpnd::NOBODY;
use crate::harness::fabric::Fabric;
use crate::harness::need;

const EVPND: &str = env!("CARGO_BIN_EXE_evpnd");

#[track_caller]
fn proves(demo: &mut Command) {
    let output = demo.args(["lab", "demo"]).output().unwrap_or_else(|error| panic!("{demo:?}: {error}"));
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said}{complaints}", output.status);
    for word in ["Every VM reached every other", "to a group: 0", "flooded to learn: 0", "all removed"] {
        assert!(said.contains(word), "no {word:?} in: {said}{complaints}");
    }
}

#[test]
fn the_demo_with_root() {
    need(&[]);
    proves(&mut Command::new(EVPND));
}

/// The daemons in it give up what they have in their user namespace.
#[test]
fn the_demo_without_root() {
    need(&[("/usr/bin/setpriv", "util-linux")]);
    let fabric = Fabric::new();
    let host = fabric.host(1);
    // The build directory may be closed to others than its owner.
    std::fs::copy(EVPND, host.path("evpnd")).expect("a copy of evpnd");
    let id = NOBODY.to_string();
    let mut demo = Command::new("setpriv");
    demo.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--pdeathsig", "KILL"]).arg(host.path("evpnd"));
    proves(&mut demo);
}
