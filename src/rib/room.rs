//! A limit on the paths of one destination: one for each neighbor that announces it. A reflector or two and the host itself
//! make three; thousands can only be sessions that somebody opens to make every decision slow.
//!
//! The best are kept, so that no number of worse paths keeps a good one out. What was left out is not remembered but asked
//! for: when a destination that was full has room again, the peers that lost a path get a ROUTE-REFRESH (RFC 2918).

use std::collections::BTreeSet;

use super::Rib;
use super::change::candidates;
use super::decision::{self, Candidate};
use super::peers::PeerId;
use super::table::Path;

/// Who lost a path to the limit.
#[derive(Debug, Default)]
pub(super) struct Refused {
    peers: BTreeSet<u16>,
    /// A destination that was full is no longer.
    room: bool,
}

impl Rib {
    /// Whether a path of a peer that has none yet for this destination may come. Where it is full, a worse one makes room.
    pub(super) fn admit(&mut self, id: u32, path: &Path) -> bool {
        let limit = self.config.max_paths.max(2) as usize;
        if path.peer == PeerId::LOCAL.0 || self.table.paths(id).count() < limit {
            return true;
        }
        // Paths of ended sessions that no walk has come to yet take nobody's room.
        self.touch(id);
        self.collect(id);
        if self.table.paths(id).count() < limit {
            return true;
        }
        if self.stats.paths_over_limit == 0 {
            self.refused_first = true;
        }
        self.stats.paths_over_limit += 1;
        let mac_ip = self.table.dest(id).is_some_and(|dest| dest.key.kind() == 2);
        let all = candidates(&self.table, &self.attrs, &self.peers, id);
        let new = self.attrs.block(path.attr).map(|block| Candidate::new(path, &block.rank, self.peers.slot(path.peer), mac_ip));
        let loser = match (new, decision::worst(&all)) {
            (Some(new), Some(worst)) if decision::is_better(&new, worst) => worst.peer(),
            _ => path.peer,
        };
        self.refused.peers.insert(loser);
        if loser == path.peer {
            return false;
        }
        if let Some(gone) = self.table.remove_path(id, loser) {
            self.drop_path(&gone);
        }
        true
    }

    /// A path of a destination is about to go.
    pub(super) fn note_room(&mut self, id: u32) {
        if !self.refused.peers.is_empty() && self.table.paths(id).count() == self.config.max_paths.max(2) as usize {
            self.refused.room = true;
        }
    }

    /// Another limit; paths above a lower one stay until they go by themselves.
    pub fn set_max_paths(&mut self, max_paths: u32) {
        self.refused.room |= max_paths > self.config.max_paths;
        self.config.max_paths = max_paths;
    }

    /// Whether [`Rib::take_refused`] has somebody.
    pub fn has_room_for_refused(&self) -> bool {
        self.refused.room && !self.refused.peers.is_empty()
    }

    /// The peers to be asked for their routes again, because there is room for what was refused.
    pub fn take_refused(&mut self) -> Vec<PeerId> {
        self.refused.room = false;
        std::mem::take(&mut self.refused.peers).into_iter().map(PeerId).collect()
    }

    /// Whether a path was refused for the first time; told once.
    pub fn take_first_refusal(&mut self) -> bool {
        std::mem::take(&mut self.refused_first)
    }
}
