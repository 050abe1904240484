//! [`Fib`]: what the kernel should hold. The owner wishes (`set_*`, `clear_*`), `batch` cuts writes and reads their
//! results, `adopt` compares with what the kernel has. All of them change a row and then [`Fib::touch`] it.
//!
//! ```text
//!            set/clear            poll_batch            batch done, ok
//!   (none) ────────────► dirty ────────────► in flight ───────────────► in sync
//!                          ▲                     │ error                   │ changed behind our back
//!                          │ retry is due        ▼                         │
//!                          └────────────────── failed                      │
//!                          └───────────────────────────────────────────────┘
//!   adoption ──► unconfirmed ── set_* equal ──► in sync       unconfirmed ── sweep ──► dirty (delete)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::batch::old_stamp;
use super::demand::Demand;
use super::fights::Fights;
use super::message::Remote;
use super::neighbors::Neighbors;
use super::pace::Pace;
use super::row::{NONE, Queue, Row, Rows, flag};
use super::view::FibStats;
use crate::base::{InternId, Interner, MacAddr, Time, Vni};

/// How much is written at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FibLimits {
    /// Ops per batch; 64 make about 4 KiB, measured best on Linux 6.18.
    pub batch_len: usize,
    /// Batches that may wait for their acknowledgement.
    pub batches_in_flight: usize,
}

impl Default for FibLimits {
    fn default() -> Self {
        Self { batch_len: 64, batches_in_flight: 128 }
    }
}

/// The desired state of the kernel's VXLAN FDBs, and whether the kernel agrees.
#[derive(Debug)]
pub struct Fib {
    pub(super) limits: FibLimits,
    pub(super) rows: Rows,
    pub(super) remotes: Interner<Remote>,
    pub(super) devices: Vec<Device>,
    pub(super) by_vni: BTreeMap<Vni, u16>,
    pub(super) flood_queue: Queue,
    pub(super) unicast_queue: Queue,
    pub(super) in_flight: BTreeMap<u64, InFlight>,
    pub(super) next_batch: u64,
    pub(super) retries: BTreeMap<u32, Retry>,
    pub(super) due: BTreeSet<(Time, u32)>,
    pub(super) fights: Fights,
    pub(super) neighbors: Neighbors,
    pub(super) demand: Demand,
    pub(super) swept: bool,
    /// Rows of an earlier run are not moved yet.
    pub(super) deferring: bool,
    /// Devices with more rows are read row by row in this pass of the audit.
    pub(super) audit_lists: usize,
    /// A remote fell out of use, or may have before we came.
    pub(super) remotes_shrunk: bool,
    /// What stands of a flood list changed since that was asked last.
    pub(super) floods_changed: bool,
    pub(super) now: Time,
    /// When that happened which rows change for; `None`: now.
    pub(super) cause: Option<Time>,
    pub(super) stats: FibStats,
    pub(super) pace: Pace,
}

/// A batch that is under way.
#[derive(Debug)]
pub(super) struct InFlight {
    pub flights: Vec<Flight>,
    /// Since when the row waits that waits longest.
    pub since: Time,
}

/// Where rows of one VNI go.
#[derive(Debug)]
pub(super) struct Device {
    pub vni: Vni,
    /// `None` while there is no usable device.
    pub ifindex: Option<u32>,
    /// Family of its local address: it takes remotes of the same only.
    pub is_ipv6: Option<bool>,
    /// Rows of both tables in this slot.
    pub rows: usize,
    /// Moves on when the device goes: results of older batches say nothing any more.
    pub epoch: u32,
    /// Rows of an earlier run may stand in it that nobody has listed: they are read one by one as they are wanted.
    pub unlisted: bool,
    /// Its rows are written on demand.
    pub on_demand: bool,
    /// Its rows that are not written yet.
    pub asleep: u32,
    /// Rows that were put back since `healed_since`.
    pub healed: u32,
    pub healed_since: Time,
}

/// One op of a batch that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub row: u32,
    /// What the kernel holds when it succeeds (one use of the remote), or [`NONE`].
    pub target: u32,
    pub epoch: u32,
    /// A delete of the VXLAN entry alone.
    pub self_only: bool,
}

/// A write that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pub errno: i32,
    pub attempts: u32,
    pub at: Time,
}

impl Fib {
    /// Nothing wanted. The seed keys the hashes, because tenants choose MACs.
    pub fn new(seed: u64) -> Self {
        Self::with_limits(seed, FibLimits::default())
    }

    /// The same with other limits.
    pub fn with_limits(seed: u64, limits: FibLimits) -> Self {
        Self {
            limits,
            rows: Rows::new(seed),
            remotes: Interner::new(seed),
            devices: Vec::new(),
            by_vni: BTreeMap::new(),
            flood_queue: Queue::new(),
            unicast_queue: Queue::new(),
            in_flight: BTreeMap::new(),
            next_batch: 1,
            retries: BTreeMap::new(),
            due: BTreeSet::new(),
            fights: Fights::default(),
            neighbors: Neighbors::default(),
            demand: Demand::new(seed),
            swept: false,
            deferring: false,
            audit_lists: 0,
            remotes_shrunk: false,
            floods_changed: false,
            now: Time::ZERO,
            cause: None,
            stats: FibStats::default(),
            pace: Pace::default(),
        }
    }

    /// Wants frames for `mac` to go to `remote`. Equal to what is wanted already: nothing happens.
    pub fn set_unicast(&mut self, now: Time, vni: Vni, mac: MacAddr, remote: Remote) {
        self.now = now;
        let Some(device) = self.device_slot(vni) else { return };
        let wanted = self.remotes.acquire(remote).0;
        if self.devices[device as usize].on_demand && self.sleeps(device, mac, wanted) {
            return;
        }
        self.want(device, mac, wanted);
    }

    /// Wants a row for `mac`; `wanted` is one use of the remote, handed over.
    pub(super) fn want(&mut self, device: u16, mac: MacAddr, wanted: u32) {
        let Some(id) = self.rows.find_unicast(device, mac) else {
            self.insert(Row { mac, device, wanted, installed: NONE, next: NONE, flags: 0, stamp: old_stamp(self.now) });
            return;
        };
        let row = *self.rows.row(id);
        if row.goal() == wanted {
            self.release(wanted);
            return;
        }
        if !row.has(flag::UNWANTED) {
            self.release(row.wanted);
        }
        // While only the VXLAN entry was to go, the bridge's entry pointed to a local port: it must be written again.
        let force = if row.has(flag::SELF_ONLY) { flag::FORCE } else { 0 };
        self.confirm(&row, wanted);
        let deferred = if self.defers(&row, wanted) { flag::DEFERRED } else { 0 };
        let row = self.rows.row_mut(id);
        row.wanted = wanted;
        row.flags = row.flags & !(flag::UNWANTED | flag::UNCONFIRMED | flag::SELF_ONLY | flag::DEFERRED) | force | deferred;
        self.renew(id);
    }

    /// No longer wants a row for `mac`. `became_local`: the bridge's entry belongs to a local port now, so that only the
    /// VXLAN device's (SELF) is deleted.
    pub fn clear_unicast(&mut self, now: Time, vni: Vni, mac: MacAddr, became_local: bool) {
        self.now = now;
        let Some(&device) = self.by_vni.get(&vni) else { return };
        if self.devices[device as usize].on_demand {
            self.forget_sleeper(device, mac);
        }
        if let Some(id) = self.rows.find_unicast(device, mac) {
            self.drop_wish(id, became_local);
        }
    }

    pub(super) fn drop_wish(&mut self, id: u32, became_local: bool) {
        let row = *self.rows.row(id);
        if !row.has(flag::UNWANTED) {
            self.release(row.wanted);
        } else if !became_local {
            return;
        }
        let unconfirmed = if row.has(flag::DEFERRED) && !became_local { flag::UNCONFIRMED } else { 0 };
        let row = self.rows.row_mut(id);
        row.wanted = NONE;
        row.flags = row.flags & !(flag::FORCE | flag::RESTORE | flag::UNCONFIRMED | flag::DEFERRED) | flag::UNWANTED;
        if became_local || row.has(flag::BRIDGE_LOCAL) {
            row.flags |= flag::SELF_ONLY | flag::BRIDGE_LOCAL;
        }
        // One that was wanted elsewhere and never moved is what an earlier run left, again.
        row.flags |= unconfirmed;
        self.renew(id);
    }

    /// Wants flooded frames of `vni` to be sent to `remote` too.
    pub fn set_flood(&mut self, now: Time, vni: Vni, remote: Remote) {
        self.now = now;
        let Some(device) = self.device_slot(vni) else { return };
        let wanted = self.remotes.acquire(remote).0;
        let Some(id) = self.rows.find_flood(device, wanted) else {
            self.insert(Row {
                mac: MacAddr::ZERO,
                device,
                wanted,
                installed: NONE,
                next: NONE,
                flags: flag::FLOOD,
                stamp: old_stamp(self.now),
            });
            return;
        };
        self.release(wanted);
        let row = *self.rows.row(id);
        if row.has(flag::UNWANTED) {
            self.confirm(&row, wanted);
            self.rows.row_mut(id).flags &= !(flag::UNWANTED | flag::UNCONFIRMED);
            self.renew(id);
        }
    }

    /// No longer wants flooded frames of `vni` to be sent to `remote`.
    pub fn clear_flood(&mut self, now: Time, vni: Vni, remote: Remote) {
        self.now = now;
        let Some((_, id)) = self.find_flood(vni, &remote) else { return };
        let row = self.rows.row_mut(id);
        if !row.has(flag::UNWANTED) {
            row.flags = row.flags & !flag::FORCE | flag::UNWANTED;
            self.renew(id);
        }
    }

    /// The same, but a row that stands is left to whoever floods beside us.
    pub fn leave_flood(&mut self, now: Time, vni: Vni, remote: Remote) {
        self.now = now;
        let Some((_, id)) = self.find_flood(vni, &remote) else { return };
        let row = self.rows.row_mut(id);
        if !row.has(flag::UNWANTED) {
            row.flags = row.flags & !flag::FORCE | flag::UNWANTED | flag::FOREIGN;
            self.renew(id);
        }
    }

    /// Deletes every adopted row that nobody confirmed. Called once, after End-of-RIB from every peer or a timer; rows
    /// that are found later and wanted by nobody go at once.
    pub fn sweep(&mut self, now: Time) {
        self.now = now;
        self.swept = true;
        self.remotes_shrunk = true;
        self.sweep_neighbors();
        for id in 0..self.rows.end() {
            if self.rows.row(id).flags & (flag::FREE | flag::UNCONFIRMED) == flag::UNCONFIRMED {
                self.rows.row_mut(id).flags &= !flag::UNCONFIRMED;
                self.stats.swept += 1;
                self.touch(id);
            }
        }
    }

    /// Writes the row of `mac` again though it is believed to stand: a tenant may have taken the bridge's entry.
    pub fn reassert(&mut self, now: Time, vni: Vni, mac: MacAddr) {
        self.now = now;
        let Some(&device) = self.by_vni.get(&vni) else { return };
        if self.devices[device as usize].on_demand && self.wake(device, mac) {
            return;
        }
        let Some(id) = self.rows.find_unicast(device, mac) else { return };
        if !self.rows.row(id).has(flag::UNWANTED) {
            self.rows.row_mut(id).flags |= flag::FORCE;
            self.stats.reasserted += 1;
            self.touch(id);
        }
    }

    /// When the next retry is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let rows = self.due.first().map(|&(at, _)| at);
        rows.into_iter().chain(self.neighbors.poll_timeout()).min()
    }

    /// Makes the retries that are due dirty.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        while let Some(&(at, id)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            self.rows.row_mut(id).flags &= !flag::FAILED;
            self.stats.retried += 1;
            self.touch(id);
        }
        self.retry_neighbors(now);
    }

    /// Brings a row that was changed to where it belongs: the queue, or nowhere.
    pub(super) fn touch(&mut self, id: u32) {
        let row = *self.rows.row(id);
        if row.has(flag::QUEUED | flag::IN_FLIGHT | flag::FAILED) {
            return;
        }
        let device = &self.devices[row.device as usize];
        let ready = device.ifindex.is_some();
        if ready && row.needs_write() && !(self.deferring && device.unlisted && row.is_unread() && !row.has(flag::FLOOD)) {
            self.rows.row_mut(id).flags |= flag::QUEUED;
            let queue = if row.has(flag::FLOOD) { &mut self.flood_queue } else { &mut self.unicast_queue };
            queue.push(&mut self.rows, id, self.cause.unwrap_or(self.now));
        } else {
            if !self.retries.is_empty() {
                self.clear_retry(id);
            }
            if row.has(flag::UNWANTED) && (row.installed == NONE || !ready) {
                self.forget(id);
            }
        }
    }

    /// As `touch`, for a row whose goal changed: an earlier failure says nothing about it.
    pub(super) fn renew(&mut self, id: u32) {
        if !self.retries.is_empty() {
            self.clear_retry(id);
        }
        self.touch(id);
    }

    pub(super) fn insert(&mut self, row: Row) -> u32 {
        self.devices[row.device as usize].rows += 1;
        let id = self.rows.insert(row);
        self.touch(id);
        id
    }

    fn forget(&mut self, id: u32) {
        let row = *self.rows.row(id);
        self.rows.remove(id);
        self.fights.forget(id);
        self.demand.end_life(id);
        if row.wanted != NONE {
            self.release(row.wanted);
        }
        if row.installed != NONE {
            self.release(row.installed);
        }
        self.devices[row.device as usize].rows -= 1;
        self.forget_device_if_empty(row.device);
    }

    /// Gives up the slot of a device that is gone and of which nothing is wanted.
    pub(super) fn forget_device_if_empty(&mut self, slot: u16) {
        let device = &self.devices[slot as usize];
        if device.rows == 0 && device.asleep == 0 && device.ifindex.is_none() {
            self.by_vni.remove(&device.vni);
        }
    }

    fn confirm(&mut self, row: &Row, wanted: u32) {
        if row.has(flag::UNCONFIRMED | flag::DEFERRED) && row.installed == wanted {
            self.stats.confirmed += 1;
        }
    }

    pub(super) fn clear_retry(&mut self, id: u32) {
        if let Some(retry) = self.retries.remove(&id) {
            self.due.remove(&(retry.at, id));
            self.rows.row_mut(id).flags &= !flag::FAILED;
        }
    }

    pub(super) fn release(&mut self, remote: u32) {
        self.remotes_shrunk |= self.remotes.release(InternId(remote)).is_some();
    }

    /// The kernel holds `remote` (one use of it is handed over), or nothing.
    pub(super) fn set_installed(&mut self, id: u32, remote: u32) {
        let row = self.rows.row_mut(id);
        let old = std::mem::replace(&mut row.installed, remote);
        self.floods_changed |= row.has(flag::FLOOD);
        if old != NONE {
            self.release(old);
        }
    }

    pub(super) fn remote(&self, id: u32) -> Option<Remote> {
        self.remotes.value(InternId(id)).copied()
    }

    pub(super) fn find_flood(&self, vni: Vni, remote: &Remote) -> Option<(u16, u32)> {
        let device = *self.by_vni.get(&vni)?;
        let remote = self.remotes.find(remote)?.0;
        Some((device, self.rows.find_flood(device, remote)?))
    }

    /// The slot of a VNI, made where there is none. `None` when 65,535 are in use.
    pub(super) fn device_slot(&mut self, vni: Vni) -> Option<u16> {
        if let Some(&slot) = self.by_vni.get(&vni) {
            return Some(slot);
        }
        // A slot whose VNI was forgotten is used again; VNIs come and go with virtual machines for months.
        let reusable = if self.devices.len() > self.by_vni.len() {
            let used = |slot: usize, device: &Device| self.by_vni.get(&device.vni) == Some(&(slot as u16));
            self.devices
                .iter()
                .enumerate()
                .position(|(slot, device)| device.rows == 0 && device.asleep == 0 && !used(slot, device))
        } else {
            None
        };
        let slot = match reusable {
            Some(slot) => {
                let device = &mut self.devices[slot];
                device.vni = vni;
                device.is_ipv6 = None;
                device.unlisted = false;
                device.on_demand = self.demand.lifetime(vni).is_some();
                slot
            }
            None if self.devices.len() < usize::from(u16::MAX) => {
                self.devices.push(Device {
                    vni,
                    ifindex: None,
                    is_ipv6: None,
                    rows: 0,
                    epoch: 0,
                    unlisted: false,
                    on_demand: self.demand.lifetime(vni).is_some(),
                    asleep: 0,
                    healed: 0,
                    healed_since: Time::ZERO,
                });
                self.devices.len() - 1
            }
            None => {
                self.stats.refused += 1;
                return None;
            }
        };
        self.by_vni.insert(vni, slot as u16);
        Some(slot as u16)
    }
}
