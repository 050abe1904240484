//! The periodic audit: which rows to look at next, and what the kernel said of them. Read `speaker/audit` for the pace.
//!
//! Small devices are listed whole, which finds also what is there and should not be. A large one is only once in several passes,
//! and a very large one never (a dump is quadratic): its rows are read one by one, and its flood list, which cannot be read
//! so, is written again, which changes nothing and tells nobody where it stands.

use super::message::KernelRow;
use super::row::{NONE, flag};
use super::table::{Device, Fib};
use crate::base::{MacAddr, Time, Vni};

/// A device with at most so many rows is listed for an audit (3 ms).
const LISTED_AT_MOST: usize = 4096;
/// One with more is listed only in some passes, and one with more than this (0.14 s) in none.
const LISTED_RARELY: usize = 100_000;

impl Device {
    /// What becomes of a row that a control plane wrote and that we know nothing of.
    pub(super) fn fate_of_strangers(&self) -> &'static str {
        match self.rows {
            _ if self.unlisted => "found at start, not confirmed yet",
            rows if rows <= LISTED_AT_MOST => "not ours to our knowledge; removed at the next audit",
            rows if rows <= LISTED_RARELY => "not ours to our knowledge; removed at one of the next ten audits",
            _ => "not ours to our knowledge; no audit lists so many rows: remove it by hand, or restart evpnd",
        }
    }

    fn is_large(&self, listed_at_most: usize) -> bool {
        self.ifindex.is_some() && self.rows > listed_at_most
    }
}

impl Fib {
    /// Devices that this pass of the audit lists (`thorough`: large ones too), and how many rows the others have.
    pub fn audit_plan(&mut self, thorough: bool) -> (Vec<Vni>, usize) {
        self.audit_lists = if thorough { LISTED_RARELY } else { LISTED_AT_MOST };
        let at_most = self.audit_lists;
        let devices = || self.by_vni.iter().map(|(&vni, &slot)| (vni, &self.devices[slot as usize]));
        let listed = devices().filter(|(_, device)| device.ifindex.is_some() && device.rows <= at_most);
        let rows = devices().filter(|(_, device)| device.is_large(at_most)).map(|(_, device)| device.rows).sum();
        (listed.map(|(vni, _)| vni).collect(), rows)
    }

    /// The next rows of large devices to be read from the kernel: those believed to stand, from row `cursor` on, at most
    /// `limit`. The cursor moves; an empty answer is the end of the table.
    pub fn audit_slice(&mut self, now: Time, cursor: &mut u32, limit: usize) -> Vec<(Vni, MacAddr)> {
        self.now = now;
        let mut slice = Vec::new();
        // Not endless over a table whose rows are nearly all of small devices.
        let until = self.rows.end().min(cursor.saturating_add(64 * 1024));
        while slice.len() < limit && *cursor < until {
            let id = *cursor;
            *cursor += 1;
            let row = *self.rows.row(id);
            if row.has(flag::FREE) {
                continue;
            }
            let device = &self.devices[row.device as usize];
            let settled =
                !row.has(flag::QUEUED | flag::IN_FLIGHT | flag::FAILED | flag::FOREIGN | flag::UNCONFIRMED | flag::DEFERRED);
            if !settled || row.goal() == NONE || row.needs_write() || !device.is_large(self.audit_lists) {
                continue;
            }
            if row.has(flag::FLOOD) {
                self.rows.row_mut(id).flags |= flag::FORCE;
                self.touch(id);
                continue;
            }
            slice.push((device.vni, row.mac));
        }
        slice
    }

    /// Whether `cursor` has passed the last row.
    pub fn audit_ended(&self, cursor: u32) -> bool {
        cursor >= self.rows.end()
    }

    /// What the kernel has for a row of [`Fib::audit_slice`]; `None`: nothing. True where it was not as it should be, and is
    /// put back.
    pub fn handle_checked(&mut self, now: Time, vni: Vni, mac: MacAddr, stands: Option<&KernelRow>) -> bool {
        self.now = now;
        self.stats.checked += 1;
        let Some(id) = self.by_vni.get(&vni).and_then(|&slot| self.rows.find_unicast(slot, mac)) else { return false };
        let row = *self.rows.row(id);
        let under_way =
            row.has(flag::QUEUED | flag::IN_FLIGHT | flag::FAILED | flag::FOREIGN | flag::UNCONFIRMED | flag::DEFERRED);
        if under_way || row.needs_write() || row.goal() == NONE {
            // It was changed since: a result or an event will tell.
            return false;
        }
        let goal = self.remote(row.goal());
        match stands.filter(|stands| stands.bridged) {
            Some(stands) if Some(stands.remote) == goal => return false,
            Some(stands) if !stands.ext_learned => self.rows.row_mut(id).flags |= flag::RESTORE,
            _ => {}
        }
        self.stats.differences += 1;
        self.force(id)
    }
}
