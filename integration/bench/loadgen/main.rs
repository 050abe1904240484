//! loadgen: the other side of every benchmark. It speaks as much BGP and netlink as a measurement needs, from octets
//! that are built before the clock starts, and knows nothing of evpnd, so that every daemon is measured by one tool.
//!
//! `loadgen MODE key=value …`; reports are JSON, one object a line, with times of CLOCK_MONOTONIC in nanoseconds.
//!
//! | mode | what it does |
//! | --- | --- |
//! | `send` | one iBGP session that holds a table: `load`, `withdraw`, `quit` on standard input |
//! | `receive` | many iBGP sessions that count what they hear until each has everything |
//! | `watch` | counts FDB events of its namespace: `until new=N` or `until del=N` on standard input |
//! | `latency` | from a guest's frame to the row on the other host, and the same for a move |
//! | `wall` | what the kernel itself can take: FDB rows written in 4 KiB batches, without a daemon |
//!
//! `run` beside this directory drives it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "a measuring tool owns a clock")]

mod arguments;
mod bgp;
mod latency;
mod netlink;
mod receive;
mod send;
mod table;
mod wall;
mod watch;

#[path = "../../harness/raw.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod raw;

use std::time::Duration;

use arguments::Arguments;

fn main() -> std::process::ExitCode {
    let mut words = std::env::args().skip(1);
    let mode = words.next().unwrap_or_default();
    let result = Arguments::parse(words).and_then(|arguments| match mode.as_str() {
        "send" => send::run(&arguments),
        "receive" => receive::run(&arguments),
        "watch" => watch::run(),
        "latency" => latency::run(&arguments),
        "wall" => wall::run(&arguments),
        _ => Err(format!("no mode {mode:?}: send, receive, watch, latency or wall").into()),
    });
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadgen {mode}: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// What can go wrong ends the tool with a sentence.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Nanoseconds of CLOCK_MONOTONIC: one clock for every process of a measurement.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a timespec that lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Writes one report.
fn report(value: &serde_json::Value) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}");
    let _ = out.flush();
}

/// Which of these descriptors are ready to be read (and, where asked, written) within `limit`.
fn poll(descriptors: &mut [libc::pollfd], limit: Duration) -> Result<()> {
    // SAFETY: a slice of pollfd and its length.
    let ready = unsafe { libc::poll(descriptors.as_mut_ptr(), descriptors.len() as libc::nfds_t, limit.as_millis() as i32) };
    if ready < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

/// Standard input as lines that are there or not: never blocks after `poll` said that it can be read.
#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    closed: bool,
}

impl Lines {
    fn read(&mut self) {
        let mut some = [0u8; 4096];
        // SAFETY: the buffer lives through the call and its length is given.
        match unsafe { libc::read(0, some.as_mut_ptr().cast(), some.len()) } {
            len if len > 0 => self.buffer.extend_from_slice(&some[..len as usize]),
            _ => self.closed = true,
        }
    }

    /// The next whole line; "quit" once standard input is closed.
    fn next(&mut self) -> Option<String> {
        match self.buffer.iter().position(|&octet| octet == b'\n') {
            Some(end) => {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                Some(String::from_utf8_lossy(&line).trim().to_owned())
            }
            None => self.closed.then(|| "quit".to_owned()),
        }
    }
}
