//! Who undoes our writes again and again: another control plane, say. (A tenant that claims a MAC which may not move is slowed
//! down in the evpn room, which knows of it: no local port is meant here.)
//!
//! The first few times a row is put back at once; then ever more rarely, so that neither can make us write without end.
//! Memory is bounded: a fight that no longer happens is forgotten, and of more fights than [`TRACKED`] at once the device is
//! what is slowed down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::message::{Binding, Remote};
use super::row::flag;
use super::table::{Fib, Retry};
use crate::base::{MacAddr, Time, Vni};

/// Rows that are watched one by one.
const TRACKED: usize = 4096;
/// How often a row is put back at once.
const AT_ONCE: u32 = 3;
/// The first wait after that; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait of a row that somebody else changes.
const LONGEST: Duration = Duration::from_secs(30);
/// A row that was left alone for so long begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);
/// Fights that are told by name until somebody asks.
const TOLD: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Fight {
    times: u32,
    last: Time,
}

/// What somebody undoes again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fought {
    /// Which VNI.
    pub vni: Vni,
    /// What of it.
    pub over: Over,
}

/// What a fight is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// A row.
    Row {
        /// Which MAC; zero: the flood list.
        mac: MacAddr,
        /// Where it should lead; `None`: it should not be there.
        wanted: Option<Remote>,
    },
    /// A neighbour of the bridge.
    Neighbor {
        /// Of which address.
        ip: IpAddr,
        /// What it should say; `None`: it should not be there.
        wanted: Option<Binding>,
    },
}

/// The rows that were put back lately.
#[derive(Debug, Default)]
pub(super) struct Fights {
    rows: BTreeMap<u32, Fight>,
    told: Vec<Fought>,
    untold: u64,
    /// When everything forgotten was last taken out of a full table.
    cleared: Time,
}

impl Fights {
    /// One more time: how long to wait before the row is put back, and how often it happened.
    fn note(&mut self, id: u32, now: Time) -> (Duration, u32) {
        if self.rows.len() >= TRACKED && !self.rows.contains_key(&id) {
            // Not more often than once in a second: with very many fights the walk would be the work.
            if now.since(self.cleared) >= Duration::from_secs(1) {
                self.cleared = now;
                self.rows.retain(|_, fight| now.since(fight.last) < FORGOTTEN_AFTER);
            }
            if self.rows.len() >= TRACKED {
                return (Duration::ZERO, 1);
            }
        }
        let fight = self.rows.entry(id).or_insert(Fight { times: 0, last: now });
        let forgotten = now.since(fight.last) >= FORGOTTEN_AFTER;
        fight.times = if forgotten { 1 } else { fight.times.saturating_add(1) };
        fight.last = now;
        let wait = match fight.times.checked_sub(AT_ONCE + 1) {
            None => Duration::ZERO,
            Some(more) => FIRST_WAIT.saturating_mul(1 << more.min(16)).min(LONGEST),
        };
        (wait, fight.times)
    }

    /// A fight began.
    pub(super) fn tell(&mut self, fought: Fought) {
        if self.told.len() < TOLD {
            self.told.push(fought);
        } else {
            self.untold += 1;
        }
    }

    /// How many rows are undone again and again now.
    fn fought(&self, now: Time) -> usize {
        self.rows.values().filter(|fight| fight.times > AT_ONCE && now.since(fight.last) < FORGOTTEN_AFTER).count()
    }

    /// The row is no more.
    pub fn forget(&mut self, id: u32) {
        if !self.rows.is_empty() {
            self.rows.remove(&id);
        }
    }
}

impl Fib {
    /// Queues a row that is to be written again (its `FORCE` is set): now, or, where it is undone again and again, later.
    pub(super) fn put_back(&mut self, id: u32) {
        let row = *self.rows.row(id);
        if row.has(flag::QUEUED | flag::IN_FLIGHT | flag::FAILED) {
            return;
        }
        let (mut wait, times) = self.fights.note(id, self.now);
        wait = wait.max(self.device_wait(row.device));
        if wait.is_zero() || !row.needs_write() {
            self.touch(id);
            return;
        }
        if times == AT_ONCE + 1 {
            self.stats.fights += 1;
            let (vni, wanted) = (self.devices[row.device as usize].vni, self.remote(row.goal()));
            self.fights.tell(Fought { vni, over: Over::Row { mac: row.mac, wanted } });
        }
        if self.devices[row.device as usize].ifindex.is_none() {
            return;
        }
        self.stats.put_off += 1;
        let at = self.now + wait;
        self.retries.insert(id, Retry { errno: 0, attempts: times, at });
        self.due.insert((at, id));
        self.rows.row_mut(id).flags |= flag::FAILED;
    }

    /// How long a whole device waits: where many more rows were put back within a minute than it has, everything but the
    /// first time each is somebody at work on all of it.
    fn device_wait(&mut self, slot: u16) -> Duration {
        let now = self.now;
        let device = &mut self.devices[slot as usize];
        if now.since(device.healed_since) >= Duration::from_secs(60) {
            device.healed_since = now;
            device.healed = 0;
        }
        device.healed = device.healed.saturating_add(1);
        if (device.healed as usize) < 1024 + 4 * device.rows { Duration::ZERO } else { Duration::from_secs(5) }
    }

    /// Rows and neighbours that somebody undoes again and again now: until they were left alone for two minutes.
    pub fn fought_count(&self, now: Time) -> usize {
        self.fights.fought(now) + self.neighbors.fought(now)
    }

    /// Rows and neighbours over which a fight began since this was asked last: some by name, and how many more.
    pub fn take_fights(&mut self) -> (Vec<Fought>, u64) {
        (std::mem::take(&mut self.fights.told), std::mem::take(&mut self.fights.untold))
    }
}
