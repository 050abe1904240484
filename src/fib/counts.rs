//! How the rows stand, as numbers: one walk over the table for all VNIs.

use std::collections::BTreeMap;

use super::table::Fib;
use super::view::{FibStats, RowView, Status};
use crate::base::Vni;

/// How many rows are in which state. Rows that wait for their deletion are counted by state, but not as wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowCounts {
    /// What the kernel should hold.
    pub wanted: u64,
    /// Acknowledged by the kernel; or the operator's own, as it is wanted.
    pub in_sync: u64,
    /// Waiting to be written or deleted, for a device, or for a route that confirms them.
    pub dirty: u64,
    /// Written, not yet acknowledged.
    pub in_flight: u64,
    /// Refused by the kernel, to be tried again.
    pub failed: u64,
    /// Not written before somebody talks to them.
    pub on_demand: u64,
}

impl RowCounts {
    pub(super) fn add(&mut self, status: Status) {
        match status {
            Status::InSync => self.in_sync += 1,
            Status::Dirty | Status::NoDevice | Status::Unconfirmed | Status::Deferred => self.dirty += 1,
            Status::InFlight => self.in_flight += 1,
            Status::Failed { .. } => self.failed += 1,
            Status::OnDemand => self.on_demand += 1,
            Status::Operator | Status::Ipv6Off => {}
        }
    }
}

impl Fib {
    /// The rows of each VNI that has any, and of all together. Walks the table once (about 10 ms for a million rows).
    pub fn counts(&self) -> (RowCounts, BTreeMap<Vni, RowCounts>) {
        let mut slots = vec![RowCounts::default(); self.devices.len()];
        for (id, row) in self.rows.iter() {
            let view = self.view(id, row);
            let Some(counts) = slots.get_mut(usize::from(row.device)) else { continue };
            counts.wanted += u64::from(view.wanted.is_some());
            let as_wanted = view.status == Status::Operator && view.wanted.is_some() && view.wanted == view.installed;
            counts.add(if as_wanted { Status::InSync } else { view.status });
        }
        self.demand.count(|device| {
            if let Some(counts) = slots.get_mut(usize::from(device)) {
                counts.wanted += 1;
                counts.on_demand += 1;
            }
        });
        let mut all = RowCounts::default();
        let mut by_vni = BTreeMap::new();
        for (device, counts) in self.devices.iter().zip(slots) {
            all.wanted += counts.wanted;
            all.in_sync += counts.in_sync;
            all.dirty += counts.dirty;
            all.in_flight += counts.in_flight;
            all.failed += counts.failed;
            all.on_demand += counts.on_demand;
            by_vni.insert(device.vni, counts);
        }
        (all, by_vni)
    }

    /// Whether the kernel holds nothing of ours for this VNI any more and nothing waits. The operator's rows do not count.
    pub fn is_cleared(&self, vni: Vni) -> bool {
        let theirs = |view: RowView| view.status == Status::Operator && view.wanted.is_none();
        (self.row_count(vni) == 0 || self.device_rows(vni).all(|(_, view)| theirs(view))) && self.neighbors_cleared(vni)
    }
}

impl FibStats {
    /// Every counter with its name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("written", self.written),
            ("deleted", self.deleted),
            ("already_gone", self.already_gone),
            ("failed", self.failed),
            ("failed_for_good", self.permanent),
            ("retried", self.retried),
            ("healed", self.healed),
            ("differences", self.differences),
            ("adopted", self.adopted),
            ("confirmed", self.confirmed),
            ("swept", self.swept),
            ("reasserted", self.reasserted),
            ("fights", self.fights),
            ("put_off", self.put_off),
            ("checked", self.checked),
            ("neighbors_written", self.neighbors_written),
            ("neighbors_deleted", self.neighbors_deleted),
            ("neighbors_failed", self.neighbors_failed),
            ("misses", self.misses),
            ("misses_unknown", self.misses_unknown),
            ("asked_unknown", self.asked_unknown),
            ("woken", self.woken),
            ("put_to_sleep", self.put_to_sleep),
            ("awake_over_limit", self.awake_over_limit),
            ("batches", self.batches),
            ("unknown_batches", self.unknown_batches),
            ("refused", self.refused),
        ]
    }
}
