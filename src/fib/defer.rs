//! Moves that wait after a restart (RFC 4724 §4.1, "defer route selection"): a row that an earlier run left and that the first
//! routes want elsewhere stays where it leads until neighbors have said all they have. What is heard first may be what a
//! reflector keeps of a host that is away, and the better route comes a moment later; frames would take the detour meanwhile.

use super::row::{NONE, Row, flag};
use super::table::Fib;
use crate::base::Time;

impl Fib {
    /// From now on rows of an earlier run are confirmed and not moved, and those of devices that nobody has listed are not
    /// written.
    pub fn defer_moves(&mut self) {
        self.deferring = true;
    }

    /// Whether moves wait.
    pub fn defers_moves(&self) -> bool {
        self.deferring
    }

    /// Moves what waited.
    pub fn end_deferral(&mut self, now: Time) {
        self.now = now;
        self.deferring = false;
        for id in 0..self.rows.end() {
            let row = self.rows.row_mut(id);
            if !row.has(flag::FREE) {
                row.flags &= !flag::DEFERRED;
                self.touch(id);
            }
        }
    }

    /// Whether a row may not yet be moved to `wanted`. Half a row leads nowhere, so that it has nothing to lose.
    pub(super) fn defers(&self, row: &Row, wanted: u32) -> bool {
        let left_standing = row.has(flag::UNCONFIRMED | flag::DEFERRED) && !row.has(flag::SELF_ONLY | flag::BRIDGE_LOCAL);
        left_standing && self.defers_from(row.installed, wanted)
    }

    pub(super) fn defers_from(&self, installed: u32, wanted: u32) -> bool {
        self.deferring && installed != NONE && installed != wanted
    }
}
