//! Counts FDB changes as the kernel announces them, and says when the last one was.
//!
//! Why events and not polling: a dump of one device is quadratic in its rows (1 M rows: a minute), so asking would
//! disturb what is measured. The same watcher stands beside every daemon.

use std::io;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::netlink::{Netlink, SELF};
use crate::{Lines, Result, now, poll, report};

#[derive(Default)]
struct Counts {
    unicast_new: u64,
    unicast_deleted: u64,
    flood_new: u64,
    flood_deleted: u64,
    bridge_new: u64,
    bridge_deleted: u64,
    first: Option<u64>,
    last: Option<u64>,
    lost: u64,
}

/// On standard input: `until new=N` or `until del=N` (with `timeout=SECONDS`). Answers once that many remote MACs were set or
/// deleted in VXLAN FDBs and a second has passed without a change, then counts from zero. Or `so-far`: answers at once, and
/// counts from zero.
pub fn run() -> Result<()> {
    let mut netlink = Netlink::open(true)?;
    let mut lines = Lines::default();
    let mut counts = Counts::default();
    let mut goal: Option<(u64, u64, Instant)> = None;
    report(&json!({"event": "watching", "at": now()}));
    loop {
        // Looked at every 2 ms and not woken by each event: two million wake-ups would be charged to the daemon that writes.
        let mut descriptors = [libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 }];
        poll(&mut descriptors, Duration::from_millis(2))?;
        if descriptors[0].revents != 0 {
            lines.read();
        }
        while let Some(line) = lines.next() {
            if line == "quit" {
                return Ok(());
            }
            if line == "so-far" {
                take(&mut netlink, &mut counts)?;
                tell(&std::mem::take(&mut counts), true);
                continue;
            }
            let words = line.strip_prefix("until ").ok_or_else(|| format!("no command {line:?}"))?;
            let arguments = crate::arguments::Arguments::parse(words.split_whitespace().map(str::to_owned))?;
            let limit = Duration::from_secs(arguments.or("timeout", 300)?);
            goal = Some((arguments.or("new", 0)?, arguments.or("del", 0)?, Instant::now() + limit));
            counts = Counts::default();
        }
        take(&mut netlink, &mut counts)?;
        let Some((new, deleted, end)) = goal else { continue };
        let reached = counts.unicast_new >= new && counts.unicast_deleted >= deleted;
        let quiet = counts.last.is_some_and(|last| now() - last > 1_000_000_000);
        if (reached && quiet) || Instant::now() > end {
            goal = None;
            tell(&counts, reached);
        }
    }
}

/// Takes in what waits.
fn take(netlink: &mut Netlink, counts: &mut Counts) -> Result<()> {
    loop {
        let read = netlink.events(|event| {
            let flood = event.mac == [0; 6];
            let counter = match (event.flags & SELF != 0, flood, event.deleted) {
                (false, _, false) => &mut counts.bridge_new,
                (false, _, true) => &mut counts.bridge_deleted,
                (true, true, false) => &mut counts.flood_new,
                (true, true, true) => &mut counts.flood_deleted,
                (true, false, false) => &mut counts.unicast_new,
                (true, false, true) => &mut counts.unicast_deleted,
            };
            *counter += 1;
        });
        match read {
            Ok(true) => {
                let at = now();
                counts.first.get_or_insert(at);
                counts.last = Some(at);
            }
            Ok(false) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => counts.lost += 1,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn tell(counts: &Counts, reached: bool) {
    report(&json!({
        "event": "counted", "reached": reached, "first": counts.first, "last": counts.last, "lost": counts.lost,
        "unicast_new": counts.unicast_new, "unicast_deleted": counts.unicast_deleted,
        "flood_new": counts.flood_new, "flood_deleted": counts.flood_deleted,
        "bridge_new": counts.bridge_new, "bridge_deleted": counts.bridge_deleted,
    }));
}
