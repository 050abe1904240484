//! Rows and neighbours on demand: the table lives here, and the kernel holds what is talked to.
//!
//! In a VNI on demand a wish makes no row but a *sleeper*: 12 octets. The kernel tells of frames that found no row (`l2miss`), the
//! bridge's ports of addresses that are asked for: that wakes the row, or the neighbour and the row of its MAC. From then on it is a
//! row like any other, written, audited and put back; and it has a life: when that is over the row is read, and its `used` says
//! whether it sleeps again or lives on. A neighbour, whose use nobody sees, lives as long as the row of its MAC does.
//!
//! Bounded: a sleeper for each wish, [`Fib::set_awake_limit`] rows awake, [`LOOKS`] rows looked at in a tenth of a second. What
//! nobody announced costs a look-up and a count.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashTable;

use super::message::{Binding, Remote};
use super::neighbors::Key;
use super::row::{NONE, flag, hash_unicast};
use super::table::Fib;
use super::view::{RowView, Status};
use crate::base::{InternId, MacAddr, Time, Vni};

/// Rows that are read at a time because their lives are over, and neighbours that are looked at.
const LOOKS: usize = 256;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// Rows awake where nobody says otherwise.
const AWAKE_LIMIT: usize = 65_536;

/// A MAC that has no row until it is talked to.
#[derive(Debug, Clone, Copy)]
struct Sleeper {
    mac: MacAddr,
    device: u16,
    /// Interned: one use of it.
    wanted: u32,
}

/// What sleeps, and how long what is awake lives.
#[derive(Debug)]
pub(super) struct Demand {
    /// VNIs on demand, and the lives of their rows.
    vnis: BTreeMap<Vni, Duration>,
    hasher: foldhash::quality::FixedState,
    asleep: HashTable<Sleeper>,
    /// Rows awake: until when.
    lives: BTreeMap<u32, Time>,
    due: BTreeSet<(Time, u32)>,
    neighbors_due: BTreeSet<(Time, Key)>,
    /// The next look is not before.
    rests_until: Time,
    limit: usize,
}

impl Demand {
    /// Nothing is on demand.
    pub fn new(seed: u64) -> Self {
        Self {
            vnis: BTreeMap::new(),
            hasher: foldhash::quality::FixedState::with_seed(seed),
            asleep: HashTable::new(),
            lives: BTreeMap::new(),
            due: BTreeSet::new(),
            neighbors_due: BTreeSet::new(),
            rests_until: Time::ZERO,
            limit: AWAKE_LIMIT,
        }
    }

    /// How long rows and neighbours of a VNI on demand live.
    pub fn lifetime(&self, vni: Vni) -> Option<Duration> {
        self.vnis.get(&vni).copied()
    }

    /// Octets of memory in use, about.
    pub fn memory(&self) -> usize {
        self.asleep.allocation_size() + self.lives.len() * 64
    }

    /// How many sleep in each device's slot, added to `slots`.
    pub fn count(&self, mut each: impl FnMut(u16)) {
        self.asleep.iter().for_each(|sleeper| each(sleeper.device));
    }

    /// A row is no more, or no longer on demand.
    pub fn end_life(&mut self, id: u32) {
        if let Some(at) = self.lives.remove(&id) {
            self.due.remove(&(at, id));
        }
    }

    /// A neighbour lives until then.
    pub fn neighbor_lives(&mut self, at: Time, key: Key) {
        self.neighbors_due.insert((at, key));
    }

    fn live_until(&mut self, id: u32, at: Time) {
        self.end_life(id);
        self.lives.insert(id, at);
        self.due.insert((at, id));
    }

    fn find(&self, device: u16, mac: MacAddr) -> Option<&Sleeper> {
        self.asleep.find(hash_unicast(&self.hasher, device, mac), |sleeper| sleeper.mac == mac && sleeper.device == device)
    }

    fn take(&mut self, device: u16, mac: MacAddr) -> Option<Sleeper> {
        let hash = hash_unicast(&self.hasher, device, mac);
        let found = self.asleep.find_entry(hash, |sleeper| sleeper.mac == mac && sleeper.device == device).ok()?;
        Some(found.remove().0)
    }

    fn insert(&mut self, sleeper: Sleeper) {
        let hasher = &self.hasher;
        let rehash = |sleeper: &Sleeper| hash_unicast(hasher, sleeper.device, sleeper.mac);
        self.asleep.insert_unique(rehash(&sleeper), sleeper, rehash);
    }
}

impl Fib {
    /// The rows and neighbours of a VNI are written on demand from now on and live so long; or all of them at once (`None`).
    /// What stands already gets a life, what was not written yet sleeps.
    pub fn set_on_demand(&mut self, now: Time, vni: Vni, lifetime: Option<Duration>) {
        self.now = now;
        let before = match lifetime {
            Some(lifetime) => self.demand.vnis.insert(vni, lifetime),
            None => self.demand.vnis.remove(&vni),
        };
        if before.is_some() == lifetime.is_some() {
            return;
        }
        if let Some(&slot) = self.by_vni.get(&vni) {
            self.devices[slot as usize].on_demand = lifetime.is_some();
            match lifetime {
                Some(lifetime) => self.for_device(slot, |fib, id| {
                    let row = fib.rows.row(id);
                    if row.has(flag::FLOOD | flag::UNWANTED) {
                    } else if row.installed == NONE && !row.has(flag::IN_FLIGHT | flag::UNSURE) {
                        fib.put_to_sleep(id);
                    } else {
                        fib.demand.live_until(id, now + lifetime);
                    }
                }),
                None => self.wake_all(slot),
            }
        }
        self.neighbors_on_demand(now, vni, lifetime);
    }

    /// At most so many rows are awake at a time, over all VNIs: frames to others are not a reason to write theirs.
    pub fn set_awake_limit(&mut self, rows: usize) {
        self.demand.limit = rows;
    }

    /// Whether a wish for a MAC of a device on demand is kept asleep. `wanted` is one use of the remote, handed over where it is.
    pub(super) fn sleeps(&mut self, device: u16, mac: MacAddr, wanted: u32) -> bool {
        if let Some(sleeper) = self.demand.take(device, mac) {
            self.release(sleeper.wanted);
        } else if let Some(id) = self.rows.find_unicast(device, mac) {
            self.begin_life(id);
            return false;
        } else {
            self.devices[device as usize].asleep += 1;
        }
        self.demand.insert(Sleeper { mac, device, wanted });
        true
    }

    /// Nobody wants a sleeper any more.
    pub(super) fn forget_sleeper(&mut self, device: u16, mac: MacAddr) {
        if let Some(sleeper) = self.demand.take(device, mac) {
            self.devices[device as usize].asleep -= 1;
            self.release(sleeper.wanted);
            self.forget_device_if_empty(device);
        }
    }

    fn begin_life(&mut self, id: u32) {
        let vni = self.devices[self.rows.row(id).device as usize].vni;
        if let (Some(lifetime), false) = (self.demand.lifetime(vni), self.demand.lives.contains_key(&id)) {
            self.demand.live_until(id, self.now + lifetime);
        }
    }

    /// Wakes a sleeper. Whether there was one.
    pub(super) fn wake(&mut self, device: u16, mac: MacAddr) -> bool {
        let Some(sleeper) = self.demand.take(device, mac) else { return false };
        self.devices[device as usize].asleep -= 1;
        self.want(device, mac, sleeper.wanted);
        if let Some(id) = self.rows.find_unicast(device, mac) {
            self.begin_life(id);
        }
        true
    }

    /// A device is on demand no more.
    fn wake_all(&mut self, slot: u16) {
        let mut found: Vec<MacAddr> =
            self.demand.asleep.iter().filter(|sleeper| sleeper.device == slot).map(|sleeper| sleeper.mac).collect();
        // Not in the order of a hash.
        found.sort_unstable();
        for mac in found {
            self.wake(slot, mac);
        }
        self.for_device(slot, |fib, id| fib.demand.end_life(id));
    }

    /// The row of a MAC has to be written though nobody talks to it: its place was at a port of this host, and the bridge must
    /// give that up.
    pub fn keep_awake(&mut self, now: Time, vni: Vni, mac: MacAddr) {
        self.now = now;
        if let Some(&device) = self.by_vni.get(&vni)
            && self.devices[device as usize].on_demand
        {
            self.wake(device, mac);
        }
    }

    /// A frame for `mac` found no row in a device on demand.
    pub fn handle_missed(&mut self, now: Time, vni: Vni, mac: MacAddr) {
        self.now = now;
        self.stats.misses += 1;
        let Some(&device) = self.by_vni.get(&vni) else { return };
        if self.demand.find(device, mac).is_some() {
            self.wake_within_limit(device, mac);
        } else if self.rows.find_unicast(device, mac).is_none() {
            self.stats.misses_unknown += 1;
        }
    }

    fn wake_within_limit(&mut self, device: u16, mac: MacAddr) {
        if self.demand.lives.len() >= self.demand.limit {
            self.stats.awake_over_limit += 1;
        } else if self.wake(device, mac) {
            self.stats.woken += 1;
        }
    }

    /// A host at a local port asks for an address. In a VNI on demand its neighbour is written, and the row of its MAC: frames to
    /// it follow.
    pub fn handle_asked(&mut self, now: Time, vni: Vni, ip: IpAddr) {
        self.now = now;
        let Some(Binding { mac, .. }) = self.wake_neighbor(vni, ip) else {
            self.stats.asked_unknown += 1;
            return;
        };
        if let Some(&device) = self.by_vni.get(&vni)
            && self.demand.find(device, mac).is_some()
        {
            self.wake_within_limit(device, mac);
        }
    }

    /// When a look at what lives is due.
    pub fn look_timeout(&self) -> Option<Time> {
        let rows = self.demand.due.first().map(|&(at, _)| at);
        let neighbors = self.demand.neighbors_due.first().map(|&(at, _)| at);
        rows.into_iter().chain(neighbors).min().map(|at| at.max(self.demand.rests_until))
    }

    /// Rows whose lives are over: they are to be read, and what was read of them handed to [`Fib::handle_idle`]. Until then
    /// they live on. Neighbours whose lives are over go to sleep where nobody talks to their MAC.
    pub fn poll_lives(&mut self, now: Time) -> Vec<(Vni, MacAddr)> {
        self.now = now;
        let mut read = Vec::new();
        if self.demand.rests_until > now {
            return read;
        }
        for _ in 0..LOOKS {
            let Some(&(at, id)) = self.demand.due.first() else { break };
            if at > now {
                break;
            }
            self.demand.end_life(id);
            let row = *self.rows.row(id);
            let device = &self.devices[row.device as usize];
            let Some(lifetime) = self.demand.lifetime(device.vni).filter(|_| row.goal() != NONE) else { continue };
            self.demand.live_until(id, now + lifetime);
            let stands = device.ifindex.is_some() && !row.has(flag::QUEUED | flag::IN_FLIGHT | flag::FAILED | flag::FOREIGN);
            if stands && !row.needs_write() {
                read.push((device.vni, row.mac));
            }
        }
        for _ in 0..LOOKS {
            let Some(&(at, key)) = self.demand.neighbors_due.first() else { break };
            if at > now {
                break;
            }
            self.demand.neighbors_due.pop_first();
            self.neighbor_is_due(at, key);
        }
        self.demand.rests_until = now + PAUSE;
        read
    }

    /// For so long no frame used the row of a MAC. Whether it is put to sleep.
    pub fn handle_idle(&mut self, now: Time, vni: Vni, mac: MacAddr, idle: Duration) -> bool {
        self.now = now;
        let Some(lifetime) = self.demand.lifetime(vni) else { return false };
        let Some(id) = self.by_vni.get(&vni).and_then(|&slot| self.rows.find_unicast(slot, mac)) else { return false };
        let row = *self.rows.row(id);
        if row.goal() == NONE || row.has(flag::FOREIGN) || !self.demand.lives.contains_key(&id) {
            return false;
        }
        if let Some(left) = lifetime.checked_sub(idle).filter(|left| !left.is_zero()) {
            self.demand.live_until(id, now + left);
            return false;
        }
        self.stats.put_to_sleep += 1;
        self.put_to_sleep(id);
        true
    }

    /// Takes a row that is wanted back from the kernel, and keeps the wish.
    fn put_to_sleep(&mut self, id: u32) {
        let row = *self.rows.row(id);
        self.demand.end_life(id);
        self.remotes.retain(InternId(row.wanted));
        self.demand.insert(Sleeper { mac: row.mac, device: row.device, wanted: row.wanted });
        self.devices[row.device as usize].asleep += 1;
        self.drop_wish(id, false);
    }

    /// Whether frames for a MAC use a row, or would: it is awake.
    pub(super) fn is_awake(&self, vni: Vni, mac: MacAddr) -> bool {
        let found = self.by_vni.get(&vni).and_then(|&slot| self.rows.find_unicast(slot, mac));
        found.is_some_and(|id| self.rows.row(id).goal() != NONE)
    }

    /// A sleeper, as people see it. `installed`: what the kernel still holds, on its way out.
    pub(super) fn sleeper_view(&self, device: u16, mac: MacAddr, installed: Option<Remote>) -> Option<RowView> {
        let sleeper = self.demand.find(device, mac)?;
        Some(RowView { wanted: self.remote(sleeper.wanted), installed, status: Status::OnDemand })
    }

    /// A host asks for an address: what answers it, awake from now on. `None` where nobody announces it.
    fn wake_neighbor(&mut self, vni: Vni, ip: IpAddr) -> Option<Binding> {
        let (key, lifetime) = ((vni, ip), self.demand.lifetime(vni));
        let entry = self.neighbors.entries.get_mut(&key)?;
        let binding = entry.wanted?;
        if let (true, Some(lifetime)) = (entry.asleep, lifetime) {
            let until = self.now + lifetime;
            (entry.asleep, entry.until) = (false, Some(until));
            self.demand.neighbor_lives(until, key);
            self.stats.woken += 1;
            self.neighbors.touch(key, true);
        }
        Some(binding)
    }

    /// The life of a neighbour may be over: it lives as long as the row of its MAC.
    fn neighbor_is_due(&mut self, at: Time, key: Key) {
        let Some(entry) = self.neighbors.entries.get(&key).filter(|entry| entry.until == Some(at)) else { return };
        let awake = entry.wanted.is_some_and(|binding| self.is_awake(key.0, binding.mac));
        let until = self.demand.lifetime(key.0).filter(|_| awake).map(|lifetime| self.now + lifetime);
        let Some(entry) = self.neighbors.entries.get_mut(&key) else { return };
        entry.until = until;
        if let Some(until) = until {
            self.demand.neighbor_lives(until, key);
        } else if entry.wanted.is_some() {
            entry.asleep = true;
            self.stats.put_to_sleep += 1;
            self.neighbors.touch(key, true);
        }
    }

    /// The neighbours of a VNI are on demand from now on, or no more. What stands gets a life.
    fn neighbors_on_demand(&mut self, now: Time, vni: Vni, lifetime: Option<Duration>) {
        for key in self.neighbors.keys(vni) {
            let Some(entry) = self.neighbors.entries.get_mut(&key).filter(|entry| !entry.own) else { continue };
            entry.until = lifetime.map(|lifetime| now + lifetime);
            entry.asleep = false;
            if let Some(until) = entry.until {
                self.demand.neighbor_lives(until, key);
            }
            self.neighbors.touch(key, false);
        }
    }

    /// Rows that sleep.
    pub fn asleep_count(&self) -> usize {
        self.demand.asleep.len()
    }
}
