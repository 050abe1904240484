//! Many real daemons in simulated time: the `speaker` of every hypervisor and reflector, over simulated TCP and simulated
//! kernels, with faults, against a model of what must come of it. See `sim/world.rs` for how, `sim/faults.rs` for what goes
//! wrong, `sim/model.rs` for what must hold.
//!
//! - `cargo nextest run --test sim`: a fixed set of seeds.
//! - `EVPND_SIM_SEED=7 cargo nextest run --test sim replay --no-capture`: one seed; `EVPND_SIM_TRACE=1` tells its story,
//!   `EVPND_SIM_MODES=0` runs it with EVPN proper everywhere, as seeds of before 2026-11-22 did.
//! - `EVPND_SIM_SECONDS=600 cargo nextest run --test sim new_seeds --no-capture`: new seeds for so long;
//!   `EVPND_SIM_THREADS=2` on two cores, `EVPND_SIM_KEEP_GOING=1` beyond the first that fails.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod device_support;
#[path = "sim/fabric.rs"]
mod fabric;
#[path = "sim/faults.rs"]
mod faults;
#[path = "sim/kernel.rs"]
mod kernel;
#[path = "sim/machines.rs"]
mod machines;
#[path = "sim/model.rs"]
mod model;
#[path = "sim/modes.rs"]
mod modes;
#[path = "sim/net.rs"]
mod net;
#[path = "sim/node.rs"]
mod node;
#[path = "sim/owed.rs"]
mod owed;
#[path = "sim/room.rs"]
mod room;
#[path = "sim/scenario.rs"]
mod scenario;
#[path = "sim/sizes.rs"]
mod sizes;
#[path = "sim/talks.rs"]
mod talks;
#[path = "sim/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use scenario::{Outcome, run};

/// Seeds of the fixed set.
const FIXED: std::ops::Range<u64> = 0..400;

fn trace() -> bool {
    std::env::var_os("EVPND_SIM_TRACE").is_some_and(|value| value != "0")
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// The command that runs a seed again and tells its story.
fn replay_command(seed: u64) -> String {
    format!("EVPND_SIM_SEED={seed} EVPND_SIM_TRACE=1 cargo test --test sim replay -- --exact --nocapture")
}

/// Runs one seed; a failure names the command that replays it.
fn run_seed(seed: u64) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run(seed, trace()))).unwrap_or_else(|why| {
        let why = why.downcast_ref::<String>().cloned().or_else(|| why.downcast_ref::<&str>().map(|why| (*why).to_owned()));
        panic!("seed {seed}: {}\nreplay: {}", why.unwrap_or_default(), replay_command(seed))
    })
}

#[test]
fn fixed_seeds() {
    let mut total = Outcome::default();
    for seed in FIXED {
        total += run_seed(seed);
    }
    eprintln!("{} seeds: {total}", FIXED.end - FIXED.start);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run_seed(1).fingerprint, run_seed(1).fingerprint);
}

#[test]
fn replay() {
    if let Some(seed) = number("EVPND_SIM_SEED") {
        let outcome = run_seed(seed);
        eprintln!("seed {seed}: {outcome}");
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long to go on is the tester's time, not the fabric's")]
fn new_seeds() {
    let Some(seconds) = number("EVPND_SIM_SECONDS") else { return };
    let begin = std::time::Instant::now();
    let from = number("EVPND_SIM_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64) << 16
    });
    let keep_going = std::env::var_os("EVPND_SIM_KEEP_GOING").is_some();
    let next = AtomicU64::new(from);
    let total = Mutex::new((Outcome::default(), Vec::new(), 0));
    std::thread::scope(|scope| {
        for _ in 0..number("EVPND_SIM_THREADS").unwrap_or(1) {
            scope.spawn(|| {
                while begin.elapsed().as_secs() < seconds {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let outcome = catch_unwind(|| run_seed(seed));
                    let mut total = total.lock().unwrap();
                    match outcome {
                        Ok(outcome) => total.0 += outcome,
                        Err(_) => total.1.push(seed),
                    }
                    // Who ends a long hunt before its time still knows what it saw.
                    let minute = begin.elapsed().as_secs() / 60;
                    if std::mem::replace(&mut total.2, minute) < minute {
                        eprintln!("{minute} min: {} seeds from {from}: {}; failed: {:?}", seed - from, total.0, total.1);
                    }
                    if !keep_going && !total.1.is_empty() {
                        return;
                    }
                }
            });
        }
    });
    let (outcome, failed, _) = total.into_inner().unwrap();
    eprintln!("{} new seeds from {from}: {outcome}; failed: {failed:?}", next.into_inner() - from);
    let commands: Vec<String> = failed.into_iter().map(replay_command).collect();
    assert!(commands.is_empty(), "replay with\n  {}", commands.join("\n  "));
}
