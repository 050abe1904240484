//! The harness: a fabric of network namespaces, the daemons in it, and patience with a deadline.
//!
//! Read `fabric.rs` first (hosts, guests, the underlay), then `evpnd.rs` (our daemon under test). `netns.rs` owns what
//! must be cleaned up, `rows.rs` asks the kernel, `hostile.rs` is a peer that breaks every rule, `raw.rs` speaks on packet sockets,
//! `watch.rs` counts what happens meanwhile, `mesh.rs` has guests talk and tells what was lost.

pub mod evpnd;
pub mod fabric;
pub mod hostile;
pub mod mesh;
pub mod netns;
pub mod raw;
pub mod rows;
pub mod watch;

use std::path::Path;
use std::time::{Duration, Instant};

/// Deadlines are stretched by the number in `EVPND_TEST_SLOW` (an emulated kernel wants about 10).
pub fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("EVPND_TEST_SLOW").ok().and_then(|text| text.parse::<f64>().ok()).filter(|f| *f >= 1.0);
    Duration::from_secs(seconds).mul_f64(factor.unwrap_or(1.0))
}

/// Tries until `attempt` is content, and fails the test with its last complaint when `seconds` (see [`patience`]) are over.
#[track_caller]
pub fn wait_until<T>(what: &str, seconds: u64, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let limit = patience(seconds);
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(complaint) if start.elapsed() > limit => panic!("{what}: not within {:.0} s: {complaint}", limit.as_secs_f64()),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Fails the test if `check` complains at any time within `seconds` (not stretched: it is a time to look, not a deadline).
#[track_caller]
pub fn stays_true(what: &str, seconds: u64, mut check: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        check().unwrap_or_else(|complaint| panic!("{what}: {complaint}"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Ok where `condition` holds, else the complaint: for [`wait_until`].
pub fn ensure(condition: bool, complaint: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(complaint()) }
}

/// Fails the test, in one sentence, where it cannot mean anything: not root, or a tool or peer is not installed.
pub fn need(files: &[(&str, &str)]) {
    // SAFETY: asks for a number.
    let root = unsafe { libc::geteuid() } == 0;
    assert!(root, "the integration tests make network namespaces and kernel rows: run them as root");
    for (file, package) in files {
        assert!(Path::new(file).exists(), "{file} is missing: install the package {package}, these tests prove evpnd against it");
    }
}
