//! What the kernel cannot tell after a restart, kept in the state file: which members of a flood list are ours, which ports we isolated, and
//! at which bridges of others we turned IPv6 on.
//!
//! `NTF_EXT_LEARNED` belongs to the all-zero entry and not to each of its destinations (`vxlan_fdb_update`): a plain `bridge fdb append` takes it from
//! all of ours, and what we append to an operator's list does not get it, so that ours look like his. The isolation of a port and the
//! settings of a bridge have no mark at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::{MacAddr, Time, Vni};
use crate::fib::KernelRow;

use super::{Action, Speaker};

/// So long after the first change they are written: members of a list come and go together. What came since is judged by its mark.
const SAVE_AFTER: Duration = Duration::from_secs(1);
/// So many members are written in a second, on the average: a save holds the core up, and thousands of lists may change for minutes.
const MEMBERS_A_SECOND: usize = 4000;

/// The members of one flood list, by who wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct KeptFlood {
    /// We.
    pub ours: BTreeSet<IpAddr>,
    /// Somebody else.
    pub theirs: BTreeSet<IpAddr>,
}

/// What is kept, and when it is written.
#[derive(Debug, Default)]
pub(super) struct KeptRows {
    /// Of an earlier run, of devices that were not read yet.
    earlier: BTreeMap<Vni, KeptFlood>,
    save_at: Option<Time>,
    /// Members that the last save wrote.
    saved: usize,
}

impl KeptRows {
    /// With what an earlier run of this boot kept.
    pub(super) fn new(earlier: BTreeMap<Vni, KeptFlood>) -> Self {
        Self { earlier, ..Self::default() }
    }

    /// Something changed.
    fn changed(&mut self, now: Time) {
        let wait = SAVE_AFTER * (1 + self.saved / MEMBERS_A_SECOND).try_into().unwrap_or(u32::MAX);
        self.save_at.get_or_insert(now + wait);
    }

    /// When something is to be written.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.save_at
    }
}

impl Speaker {
    /// The rows of a device that is read for the first time: members of its flood list get the mark that they would have if each had its own.
    pub(super) fn sort_flood(&mut self, vni: Vni, rows: &mut [KernelRow]) {
        let Some(KeptFlood { ours, theirs }) = self.kept_rows.earlier.remove(&vni) else { return };
        for row in rows.iter_mut().filter(|row| row.mac == MacAddr::ZERO) {
            row.ext_learned = ours.contains(&row.remote.ip) || row.ext_learned && !theirs.contains(&row.remote.ip);
        }
    }

    /// The kernel room isolated ports of a VNI, or found that they are gone.
    pub(super) fn note_isolated(&mut self, now: Time, vni: Vni, ports: BTreeSet<u32>) {
        let before =
            if ports.is_empty() { self.kept.isolated.remove(&vni) } else { self.kept.isolated.insert(vni, ports.clone()) };
        if before.unwrap_or_default() != ports {
            self.kept_rows.changed(now);
        }
    }

    /// The kernel room turned IPv6 on at somebody's bridge, or undid that.
    pub(super) fn note_opened(&mut self, now: Time, vni: Vni, bridge: Option<u32>) {
        let before = match bridge {
            Some(bridge) => self.kept.opened.insert(vni, bridge),
            None => self.kept.opened.remove(&vni),
        };
        if before != bridge {
            self.kept_rows.changed(now);
        }
    }

    /// Takes up what changed in flood lists.
    pub(super) fn note_floods(&mut self, now: Time) {
        if self.fib.take_floods_changed() {
            self.kept_rows.changed(now);
        }
    }

    /// Writes what is due.
    pub(super) fn kept_rows_timer(&mut self, now: Time) {
        if self.kept_rows.save_at.is_some_and(|at| at <= now) {
            self.save_kept_rows();
        }
    }

    /// Writes what changed and is not written yet.
    pub(super) fn save_kept_rows(&mut self) {
        if self.kept_rows.save_at.take().is_none() {
            return;
        }
        let mut floods = self.kept_rows.earlier.clone();
        for (vni, remote, ours) in self.fib.standing_floods() {
            let kept = floods.entry(vni).or_default();
            if ours {
                kept.ours.insert(remote.ip)
            } else {
                kept.theirs.insert(remote.ip)
            };
        }
        self.kept_rows.saved = floods.values().map(|flood| flood.ours.len() + flood.theirs.len()).sum();
        self.kept.floods = floods;
        self.actions.push_back(Action::Save(self.kept.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_written_less_often() {
        let wait_after = |saved: usize| {
            let mut rows = KeptRows { saved, ..KeptRows::default() };
            rows.changed(Time::ZERO);
            rows.changed(Time::ZERO + Duration::from_millis(500));
            rows.poll_timeout()
        };
        assert_eq!(wait_after(100), Some(Time::ZERO + SAVE_AFTER));
        assert_eq!(wait_after(100 * MEMBERS_A_SECOND), Some(Time::ZERO + SAVE_AFTER * 101));
    }
}
