//! Rows to be written again though nobody told of each: their nexthops went and took them along, or their form changed;
//! and the remotes that are still spoken of, so that what the kernel room keeps for the others can go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::row::{NONE, Row, flag};
use super::table::Fib;
use crate::base::{Time, Vni};

impl Fib {
    /// All unicast rows of these VNIs that lead to one of these addresses (with the device's own VNI) were deleted. Wanted
    /// ones are put back; unconfirmed ones are when they are confirmed. How many of each VNI were in sync. One walk over
    /// the table: some 5 ns a row.
    pub fn handle_remotes_gone(&mut self, now: Time, vnis: &[Vni], remotes: &[IpAddr]) -> BTreeMap<Vni, u64> {
        self.now = now;
        let remotes: BTreeSet<IpAddr> = remotes.iter().copied().collect();
        let gone: BTreeSet<u32> = self
            .remotes
            .iter()
            .filter(|(_, remote)| remote.vni.is_none() && remotes.contains(&remote.ip))
            .map(|(id, _)| id.0)
            .collect();
        let slots = self.slots(vnis);
        let mut healed = BTreeMap::new();
        for id in 0..self.rows.end() {
            let row = *self.rows.row(id);
            if is_unicast(&row, &slots)
                && (gone.contains(&row.installed) || (row.has(flag::IN_FLIGHT) && gone.contains(&row.goal())))
            {
                if row.has(flag::IN_FLIGHT) {
                    self.rows.row_mut(id).flags |= flag::FORCE;
                } else if self.force(id) {
                    *healed.entry(self.devices[row.device as usize].vni).or_default() += 1;
                }
            }
        }
        healed
    }

    /// Writes every unicast row of these VNIs again though it is believed to stand: it may stand in another form. Unconfirmed
    /// ones when they are confirmed.
    pub fn reassert_all(&mut self, now: Time, vnis: &[Vni]) {
        self.now = now;
        let slots = self.slots(vnis);
        for id in 0..self.rows.end() {
            let row = *self.rows.row(id);
            if is_unicast(&row, &slots) && (row.installed != NONE || row.has(flag::IN_FLIGHT)) {
                self.stats.reasserted += u64::from(row.goal() != NONE);
                self.rows.row_mut(id).flags |= flag::FORCE;
                self.touch(id);
            }
        }
    }

    /// Every address that a row of the device's own VNI leads to or will, where one has fallen out of use since the last
    /// time, nothing is under way and every device was listed.
    pub fn poll_remotes(&mut self) -> Option<Vec<IpAddr>> {
        let settled = self.dirty_count() == 0 && self.in_flight.is_empty();
        if !self.remotes_shrunk || !settled || self.devices.iter().any(|device| device.unlisted) {
            return None;
        }
        self.remotes_shrunk = false;
        Some(self.remotes.iter().filter(|(_, remote)| remote.vni.is_none()).map(|(_, remote)| remote.ip).collect())
    }

    /// Whether a remote has fallen out of use since the last time.
    pub fn remotes_shrunk(&self) -> bool {
        self.remotes_shrunk
    }

    fn slots(&self, vnis: &[Vni]) -> BTreeSet<u16> {
        vnis.iter().filter_map(|vni| self.by_vni.get(vni)).copied().collect()
    }
}

fn is_unicast(row: &Row, slots: &BTreeSet<u16>) -> bool {
    !row.has(flag::FREE | flag::FLOOD | flag::FOREIGN) && slots.contains(&row.device)
}
