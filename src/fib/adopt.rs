//! Comparing with what the kernel has: adoption, dumps, and the events of its FDB.
//!
//! A dump or an event may be older than our last write, and our own writes are echoed like anybody's (kernel 6.18: pid 0).
//! So nothing here trusts the order: an event makes a row dirty and never clean, because a needless write is idempotent
//! and a missing one is for ever; only the counters care whether it was our echo. A row without EXT_LEARNED is the operator's where we had none, and is never touched; where it
//! was written over ours it is the operator's if it leads to the same place, so that ours can be given back without a gap, and is put back if it leads elsewhere.

use super::batch::{old_stamp, stamp};
use super::message::KernelRow;
use super::row::{NONE, Row, flag};
use super::table::Fib;
use crate::base::{MacAddr, Time, Vni};

/// For so many quarters of a second after a write, an event that contradicts it is taken for an older one.
const RECENT: u16 = 20;

impl Fib {
    /// A device is usable. `existing` is its FDB as it stands: rows with EXT_LEARNED are adopted, and are unconfirmed until
    /// they are wanted or swept; others are the operator's. Rows wanted already become dirty where the kernel differs.
    ///
    /// May be called again when the device changes; with the same ifindex and no `existing`, no row is looked at.
    pub fn device_ready(&mut self, now: Time, vni: Vni, ifindex: u32, local_is_ipv6: Option<bool>, existing: Vec<KernelRow>) {
        self.now = now;
        if let Some(&slot) = self.by_vni.get(&vni) {
            let device = &mut self.devices[slot as usize];
            let family_changed = std::mem::replace(&mut device.is_ipv6, local_is_ipv6) != local_is_ipv6;
            if device.ifindex == Some(ifindex) {
                if !existing.is_empty() {
                    self.reconcile(slot, &existing, false);
                }
                if family_changed {
                    self.for_device(slot, Self::renew);
                }
                return;
            }
            if device.ifindex.is_some() {
                self.device_gone(vni);
            }
        }
        let Some(slot) = self.device_slot(vni) else { return };
        let device = &mut self.devices[slot as usize];
        device.ifindex = Some(ifindex);
        device.is_ipv6 = local_is_ipv6;
        self.reconcile(slot, &existing, true);
        self.for_device(slot, Self::touch);
    }

    /// The same for a device with so many rows that listing them would take seconds (a dump is quadratic): each wanted row
    /// is read before it is written, and what nobody wants is found by the listing that [`Fib::unlisted`] asks for after
    /// the sweep ([`Fib::handle_rows`]).
    pub fn device_ready_unlisted(&mut self, now: Time, vni: Vni, ifindex: u32, local_is_ipv6: Option<bool>) {
        self.device_ready(now, vni, ifindex, local_is_ipv6, Vec::new());
        if let Some(&slot) = self.by_vni.get(&vni) {
            self.devices[slot as usize].unlisted = true;
        }
    }

    /// Devices whose leftovers are not known yet.
    pub fn unlisted(&self) -> Vec<Vni> {
        self.by_vni.iter().filter(|(_, slot)| self.devices[**slot as usize].unlisted).map(|(&vni, _)| vni).collect()
    }

    /// The device of a VNI is gone, and its rows with it. What is wanted stays so and is written when it is back.
    pub fn device_gone(&mut self, vni: Vni) {
        let Some(&slot) = self.by_vni.get(&vni) else { return };
        let device = &mut self.devices[slot as usize];
        device.ifindex = None;
        device.unlisted = false;
        device.epoch = device.epoch.wrapping_add(1);
        // One row more, so that forgetting the last does not give the slot away under our hands.
        device.rows += 1;
        self.for_device(slot, |fib, id| {
            fib.set_installed(id, NONE);
            let kept = flag::QUEUED | flag::IN_FLIGHT | flag::UNWANTED | flag::FLOOD | flag::FAILED;
            fib.rows.row_mut(id).flags &= kept;
            fib.renew(id);
        });
        let device = &mut self.devices[slot as usize];
        device.rows -= 1;
        self.forget_device_if_empty(slot);
    }

    /// A full dump of a device, after an overflow or for an audit. Differences become dirty; how many there were.
    pub fn handle_rows(&mut self, now: Time, vni: Vni, rows: &[KernelRow]) -> usize {
        self.now = now;
        match self.by_vni.get(&vni) {
            Some(&slot) if self.devices[slot as usize].ifindex.is_some() => {
                let differences = self.reconcile(slot, rows, false);
                self.stats.differences += differences as u64;
                differences
            }
            _ => 0,
        }
    }

    /// A row was deleted. True where it was behind our back: it will be put back.
    pub fn handle_row_gone(&mut self, now: Time, vni: Vni, kernel: &KernelRow) -> bool {
        self.now = now;
        let Some(id) = self.find(vni, kernel) else { return false };
        let row = *self.rows.row(id);
        let goal = row.goal();
        if row.has(flag::IN_FLIGHT) {
            if goal == NONE {
                self.rows.row_mut(id).flags |= flag::ECHOED;
            } else {
                self.rows.row_mut(id).flags |= flag::FORCE;
            }
            return false;
        }
        if row.has(flag::FOREIGN) {
            self.rows.row_mut(id).flags &= !flag::FOREIGN;
            self.set_installed(id, NONE);
            self.touch(id);
            return false;
        }
        if goal != NONE && row.installed == goal && self.is_recent(now, &row) {
            // Most likely the echo of a delete before the last write: write again, without noise.
            let row = self.rows.row_mut(id);
            row.flags |= flag::FORCE;
            row.stamp = old_stamp(now);
            self.put_back(id);
            return false;
        }
        self.force(id)
    }

    /// A row was added or changed. True where it was behind our back: it will be put back.
    pub fn handle_row_changed(&mut self, now: Time, vni: Vni, kernel: &KernelRow) -> bool {
        self.now = now;
        let Some(id) = self.find(vni, kernel) else {
            // Ours that was deleted meanwhile, or another control plane's: the audit knows. A plain row is an operator's.
            if let (false, Some(&slot)) = (kernel.ext_learned, self.by_vni.get(&vni)) {
                self.insert_found(slot, kernel, flag::FOREIGN);
            }
            return false;
        };
        let row = *self.rows.row(id);
        let goal = row.goal();
        let equals = |fib: &Self, id: u32| fib.remote(id) == Some(kernel.remote);
        if row.has(flag::IN_FLIGHT) {
            if goal != NONE && equals(self, goal) {
                self.rows.row_mut(id).flags |= flag::ECHOED;
            } else if goal != NONE {
                self.rows.row_mut(id).flags |= flag::FORCE;
            }
            return false;
        }
        if row.has(flag::FOREIGN) || (!kernel.ext_learned && goal == NONE) {
            self.found(id, kernel);
            let swept = self.swept;
            // The mark of a member of a flood list may be another member's.
            let marked = kernel.ext_learned && !(row.has(flag::FLOOD) && row.has(flag::FOREIGN));
            let row = self.rows.row_mut(id);
            if marked {
                let unknown = if goal == NONE && !swept { flag::UNCONFIRMED } else { flag::FORCE };
                row.flags = row.flags & !flag::FOREIGN | unknown;
            } else {
                row.flags = row.flags & !flag::UNCONFIRMED | flag::FOREIGN;
            }
            self.touch(id);
            return false;
        }
        if equals(self, row.installed) && (kernel.ext_learned || row.installed == goal) {
            self.rows.row_mut(id).stamp = old_stamp(now);
            if !kernel.ext_learned && !row.has(flag::FLOOD) {
                // The mark went with a write over it, and no write of ours brings it back: when nobody announces the MAC any
                // more, the row is not ours to delete.
                self.rows.row_mut(id).flags |= flag::FOREIGN;
                self.renew(id);
            }
            return false;
        }
        if goal != NONE && row.installed == goal && kernel.ext_learned && self.is_recent(now, &row) {
            let row = self.rows.row_mut(id);
            row.flags |= flag::FORCE;
            row.stamp = old_stamp(now);
            self.put_back(id);
            return false;
        }
        if goal != NONE && !kernel.ext_learned && !equals(self, goal) {
            self.rows.row_mut(id).flags |= flag::RESTORE;
        }
        self.force(id)
    }

    /// The kernel differs, or did when the event was made: writes the row again, or when it is wanted. Never takes a write
    /// back, because the event may be older than what we know. True where the row was in sync.
    pub(super) fn force(&mut self, id: u32) -> bool {
        let row = self.rows.row_mut(id);
        let healed = row.goal() != NONE && !row.needs_write();
        row.flags = row.flags & !flag::DEFERRED | flag::FORCE;
        self.put_back(id);
        self.stats.healed += u64::from(healed);
        healed
    }

    fn is_recent(&self, now: Time, row: &Row) -> bool {
        stamp(now).wrapping_sub(row.stamp) < RECENT
    }

    pub(super) fn find(&self, vni: Vni, kernel: &KernelRow) -> Option<u32> {
        if kernel.mac == MacAddr::ZERO {
            return Some(self.find_flood(vni, &kernel.remote)?.1);
        }
        self.rows.find_unicast(*self.by_vni.get(&vni)?, kernel.mac)
    }

    pub(super) fn for_device(&mut self, slot: u16, mut each: impl FnMut(&mut Self, u32)) {
        for id in 0..self.rows.end() {
            let row = self.rows.row(id);
            if row.device == slot && !row.has(flag::FREE) {
                each(self, id);
            }
        }
    }

    /// Notes what stands in the kernel for a row.
    fn found(&mut self, id: u32, kernel: &KernelRow) {
        let remote = self.remotes.acquire(kernel.remote).0;
        self.set_installed(id, remote);
    }

    /// A row that nobody wants, as it stands in the kernel.
    fn insert_found(&mut self, slot: u16, kernel: &KernelRow, flags: u16) -> u32 {
        let installed = self.remotes.acquire(kernel.remote).0;
        let (wanted, flood) =
            if kernel.mac == MacAddr::ZERO { (self.remotes.acquire(kernel.remote).0, flag::FLOOD) } else { (NONE, 0) };
        self.floods_changed |= flood != 0;
        let flags = flags | flood | flag::UNWANTED;
        self.insert(Row { mac: kernel.mac, device: slot, wanted, installed, next: NONE, flags, stamp: old_stamp(self.now) })
    }

    /// Compares with a dump. `fresh`: nothing was written to this device yet, so that the dump is the truth; otherwise it
    /// may be older than our last writes: it makes rows dirty and never clean. How many rows differed.
    fn reconcile(&mut self, slot: u16, rows: &[KernelRow], fresh: bool) -> usize {
        let vni = self.devices[slot as usize].vni;
        // Before the sweep a listing says only what may be confirmed yet.
        let leftovers = self.swept && std::mem::take(&mut self.devices[slot as usize].unlisted);
        let mut differences = 0;
        for kernel in rows {
            if self.devices[slot as usize].on_demand && kernel.ext_learned {
                // What stands and is wanted stays, for a life.
                self.wake(slot, kernel.mac);
            }
            let known = self.find(vni, kernel);
            if !kernel.bridged {
                // Half a row counts as not there: wanted, it is written anew. A stranger's would send what the bridge floods
                // to a place where the MAC may be no more: it waits for the sweep like any, and then its half goes alone.
                if known.is_none() {
                    let unknown = if self.swept { 0 } else { flag::UNCONFIRMED };
                    self.stats.swept += u64::from(leftovers);
                    self.insert_found(slot, kernel, unknown | flag::SELF_ONLY | flag::BRIDGE_LOCAL | flag::SEEN);
                }
                continue;
            }
            if let Some(id) = known {
                self.rows.row_mut(id).flags |= flag::SEEN;
                differences += usize::from(self.compare(id, kernel, fresh));
                continue;
            }
            let flags = match (kernel.ext_learned, self.swept) {
                (false, _) => flag::FOREIGN,
                (true, false) => flag::UNCONFIRMED,
                (true, true) => 0,
            };
            self.stats.adopted += u64::from(kernel.ext_learned);
            let leftover = leftovers && kernel.ext_learned;
            self.stats.swept += u64::from(leftover);
            differences += usize::from(kernel.ext_learned && !leftover);
            self.insert_found(slot, kernel, flags | flag::SEEN);
        }
        self.for_device(slot, |fib, id| {
            let row = fib.rows.row_mut(id);
            let seen = row.has(flag::SEEN);
            row.flags &= !flag::SEEN;
            if row.has(flag::IN_FLIGHT) && !seen {
                row.flags |= flag::FORCE;
            }
            if seen || row.installed == NONE || row.has(flag::IN_FLIGHT) {
                return;
            }
            if row.has(flag::FOREIGN) {
                row.flags &= !flag::FOREIGN;
                fib.set_installed(id, NONE);
                fib.touch(id);
                return;
            }
            differences += usize::from(row.goal() != NONE && !row.needs_write());
            row.flags = row.flags & !flag::DEFERRED | flag::FORCE;
            fib.touch(id);
        });
        differences
    }

    /// One known row against what a dump says of it. True where it was taken for in sync and is not.
    fn compare(&mut self, id: u32, kernel: &KernelRow, fresh: bool) -> bool {
        let row = *self.rows.row(id);
        let goal = row.goal();
        if row.has(flag::IN_FLIGHT) {
            if goal != NONE && self.remote(goal) != Some(kernel.remote) {
                self.rows.row_mut(id).flags |= flag::FORCE;
            }
            return false;
        }
        // The mark of a member of a flood list may be another member's.
        let marked = kernel.ext_learned && !(row.has(flag::FLOOD) && row.has(flag::FOREIGN));
        let theirs = !marked && (row.has(flag::FOREIGN) || goal == NONE || row.installed == NONE);
        if theirs || fresh {
            self.found(id, kernel);
            let deferred = !theirs && goal != NONE && self.defers_from(self.rows.row(id).installed, goal);
            let row = self.rows.row_mut(id);
            row.flags = if theirs { row.flags & !flag::UNCONFIRMED | flag::FOREIGN } else { row.flags & !flag::FOREIGN };
            row.flags |= if deferred { flag::DEFERRED } else { 0 };
            self.touch(id);
            return false;
        }
        let expected = if goal == NONE || row.has(flag::DEFERRED) { row.installed } else { goal };
        let equal = self.remote(expected) == Some(kernel.remote);
        let swept = self.swept;
        let row = self.rows.row_mut(id);
        let differs = goal != NONE && !equal && !row.needs_write();
        if row.has(flag::FOREIGN) {
            row.flags &= !flag::FOREIGN;
            row.flags |= if goal == NONE && !swept { flag::UNCONFIRMED } else { flag::FORCE };
        } else if !equal {
            row.flags = row.flags & !flag::DEFERRED | flag::FORCE;
            if !kernel.ext_learned {
                row.flags |= flag::RESTORE;
            }
        }
        self.touch(id);
        differs
    }
}
