//! Destinations whose paths changed, decided once each; and the walks that collect what ended sessions left.
//!
//! Read `table` and `decision` first. A destination enters the list with the best path that was told last, so that a
//! path that left and came back within one turn is no news. Until it is decided, that path is still the answer.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::attrs::AttrTable;
use super::decision::{self, Candidate};
use super::peers::{Liveness, PeerId, Peers, Stale};
use super::slab::NONE;
use super::table::{DestId, Path, Table};
use super::{Rib, RibStats};

/// The numbers of sessions come round: only so many of the last ones can be told apart from dead ones.
const SESSIONS_APART: u8 = 100;
/// Places in the list of changes count up to this and begin again; there are never as many destinations.
const PLACES: u32 = 1 << 24;

/// A destination to decide, and its best path as told last. The path's interned parts have one more user.
#[derive(Debug, Clone, Copy)]
struct Change {
    dest: u32,
    told: Option<Path>,
}

#[derive(Debug)]
pub(super) struct Changes {
    queue: VecDeque<Change>,
    /// The place of the front.
    front: u32,
    /// The destination whose change the caller is just working on.
    handed: u32,
}

impl Changes {
    pub(super) const fn new() -> Self {
        Self { queue: VecDeque::new(), front: 0, handed: NONE }
    }

    fn push(&mut self, change: Change) -> u32 {
        let place = (self.front + self.queue.len() as u32) % PLACES;
        self.queue.push_back(change);
        place
    }

    fn pop(&mut self) -> Option<Change> {
        let change = self.queue.pop_front()?;
        self.front = (self.front + 1) % PLACES;
        Some(change)
    }

    fn told(&self, place: u32) -> Option<Path> {
        self.queue.get((place.wrapping_sub(self.front) % PLACES) as usize)?.told
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn octets(&self) -> usize {
        self.queue.capacity() * size_of::<Change>()
    }
}

/// The best path as `next_change` told it last.
pub(super) fn told(table: &Table, changes: &Changes, id: u32) -> Option<Path> {
    let dest = table.dest(id)?;
    match dest.dirty() {
        Some(place) => changes.told(place),
        None => dest.has_path().then_some(dest.first),
    }
}

/// What the decision compares, path by path.
pub(super) fn candidates(table: &Table, attrs: &AttrTable, peers: &Peers, id: u32) -> SmallVec<[Candidate; 4]> {
    let mac_ip = table.dest(id).is_some_and(|dest| dest.key.kind() == 2);
    table
        .paths(id)
        .filter_map(|path| Some(Candidate::new(path, &attrs.block(path.attr)?.rank, peers.slot(path.peer), mac_ip)))
        .collect()
}

/// A walk over all destinations in slices: from where it stands, once around.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Walk {
    next: u32,
    left: u32,
    /// Slots there were at the (re)start: later ones hold nothing that the walk is for.
    slots: u32,
}

impl Walk {
    /// Everything there is now is to be visited (again).
    pub(super) const fn restart(&mut self, slots: u32) {
        (self.left, self.slots) = (slots, slots);
    }

    /// The next to visit.
    pub(super) const fn step(&mut self) -> Option<u32> {
        if self.left == 0 {
            return None;
        }
        let id = if self.next < self.slots { self.next } else { 0 };
        self.next = id + 1;
        self.left -= 1;
        Some(id)
    }

    pub(super) const fn is_over(&self) -> bool {
        self.left == 0
    }
}

impl Rib {
    /// Puts a destination on the list of changes. To be called before its paths are touched.
    pub(super) fn touch(&mut self, id: u32) {
        let dest = &mut self.table.dests[id];
        if dest.dirty().is_some() {
            return;
        }
        let told = dest.has_path().then_some(dest.first);
        dest.set_dirty(Some(self.changes.push(Change { dest: id, told })));
        if let Some(path) = told {
            self.attrs.retain(path.attr);
            self.table.names.retain_extra(path.extra);
        }
    }

    /// A path is in the table no more.
    pub(super) fn drop_path(&mut self, path: &Path) {
        self.peers.discount(path);
        self.attrs.release(path.attr);
        self.table.names.release_extra(path.extra);
    }

    /// Decides destinations whose paths changed, one after the other, and gives the next whose best path is another,
    /// or has other attributes, labels or ESI, than was told before. The caller works on it before the next call: a
    /// destination without a best path is freed then.
    pub fn next_change(&mut self) -> Option<DestId> {
        let handed = std::mem::replace(&mut self.changes.handed, NONE);
        if handed != NONE {
            self.settle(handed);
        }
        while let Some(Change { dest: id, told }) = self.changes.pop() {
            self.table.dests[id].set_dirty(None);
            self.decide(id);
            let dest = &self.table.dests[id];
            let best = dest.has_path().then_some(dest.first);
            let changed = match (&told, &best) {
                (None, None) => false,
                (Some(told), Some(best)) => !told.is_same(best),
                _ => true,
            };
            if changed {
                self.stats.best_changes += 1;
                self.changes.handed = id;
                self.export_change(id, told.map(|path| path.peer), best.as_ref());
            }
            if let Some(path) = told {
                self.attrs.release(path.attr);
                self.table.names.release_extra(path.extra);
            }
            if changed {
                return Some(DestId(id));
            }
            self.settle(id);
        }
        None
    }

    /// Whether `next_change` has something to decide.
    pub fn has_changes(&self) -> bool {
        self.changes.len() > 0
    }

    /// Frees a destination that nobody needs: no path, nothing to decide, no peer to tell, no caller at work on it.
    pub(super) fn settle(&mut self, id: u32) {
        let idle = self.table.dest(id).is_some_and(|dest| !dest.has_path() && dest.dirty().is_none() && dest.node == NONE);
        if idle && self.changes.handed != id {
            self.table.remove(id);
        }
    }

    /// Collects dead paths of a destination and puts the best of the rest first.
    fn decide(&mut self, id: u32) {
        self.collect(id);
        if self.table.has_rivals(id) {
            let candidates = candidates(&self.table, &self.attrs, &self.peers, id);
            let best = decision::best(&candidates);
            self.table.promote(id, best);
        }
    }

    /// Removes the paths of ended sessions, of a destination on the list of changes or just taken from it.
    pub(super) fn collect(&mut self, id: u32) {
        loop {
            let dead = self.table.paths(id).find(|path| self.peers.liveness(path) == Liveness::Dead);
            let Some(peer) = dead.map(|path| path.peer) else { return };
            self.note_room(id);
            if let Some(path) = self.table.remove_path(id, peer) {
                self.drop_path(&path);
            }
        }
    }

    /// The visit of the walk after sessions ended: dead paths go, paths kept as stale get their mark, and where their peer is
    /// away for long the community that says so. Where their peer came back in another role, others may hear them now.
    fn visit_ended(&mut self, id: u32) {
        let (mut dead, mut unmarked, mut long) = (false, SmallVec::<[u16; 4]>::new(), SmallVec::<[u16; 4]>::new());
        let mut in_other_role = SmallVec::<[u16; 4]>::new();
        for path in self.table.paths(id) {
            match self.peers.liveness(path) {
                Liveness::Live => {}
                Liveness::Dead => dead = true,
                Liveness::Stale => {
                    if !path.is_stale() && !self.peers.slot(path.peer).refreshing {
                        unmarked.push(path.peer);
                    }
                    if !path.has_identity(self.peers.slot(path.peer).identity) {
                        in_other_role.push(path.peer);
                    }
                    if self.peers.slot(path.peer).stale_long && !self.attrs.is_long_lived_stale(path.attr) {
                        long.push(path.peer);
                    }
                }
            }
        }
        for peer in long {
            self.make_long_lived(id, peer);
        }
        if dead || !in_other_role.is_empty() || (!unmarked.is_empty() && self.table.has_rivals(id)) {
            self.touch(id);
        }
        for peer in in_other_role {
            let identity = self.peers.slot(peer).identity;
            if let Some(path) = self.table.path_mut(id, peer) {
                path.set_identity(identity);
            }
        }
        for peer in unmarked {
            if let Some(path) = self.table.path_mut(id, peer) {
                path.set_stale();
            }
        }
        if dead {
            self.collect(id);
        }
    }

    /// RFC 9494 §4.2: a stale path gets LLGR_STALE, and goes where its attributes say NO_LLGR.
    fn make_long_lived(&mut self, id: u32, peer: u16) {
        let Some(attr) = self.table.path_of(id, peer).map(|path| path.attr) else { return };
        self.touch(id);
        match self.attrs.acquire_long_lived(attr) {
            Some(stale) => {
                if let Some(path) = self.table.path_mut(id, peer) {
                    path.attr = stale;
                    self.attrs.release(attr);
                    self.stats.long_lived_stale += 1;
                }
            }
            None => {
                if let Some(path) = self.table.remove_path(id, peer) {
                    self.drop_path(&path);
                    self.stats.no_llgr += 1;
                }
            }
        }
    }

    /// A peer left Established: it hears nothing more at once, and its paths go as [`work`](Self::work) is called.
    /// Those that [`Stale`] keeps stay, marked and less preferred, until [`sweep_stale`](Self::sweep_stale) or until the peer
    /// announces them again (RFC 4724 §4.2).
    pub fn peer_down(&mut self, peer: PeerId, stale: Stale) {
        self.leave_export(peer);
        if !self.peers.is_up(peer) {
            return;
        }
        let slot = self.peers.slot_mut(peer.0);
        let had_paths = slot.routes > 0 || slot.stale_routes > 0;
        slot.up = false;
        // What a route refresh had not confirmed yet is no older than the rest.
        let keeps_older = std::mem::take(&mut slot.refreshing) || stale == Stale::KeepAll;
        let older = slot.stale_from.filter(|from| keeps_older && slot.session.wrapping_sub(*from) < SESSIONS_APART);
        (slot.stale_from, slot.stale_routes) = match stale {
            Stale::Drop => (None, 0),
            Stale::Keep | Stale::KeepAll => {
                (Some(older.unwrap_or(slot.session)), slot.routes + if older.is_some() { slot.stale_routes } else { 0 })
            }
        };
        slot.stale_long = false;
        slot.routes = 0;
        slot.session = slot.session.wrapping_add(1);
        slot.ended = slot.ended.saturating_add(1);
        let numbers_run_out = slot.ended >= 250;
        if had_paths || numbers_run_out {
            self.ended_walk.restart(self.table.dests.len());
        }
        // 256 sessions of a peer within one walk: the walk is finished here, before a number comes round again.
        if numbers_run_out {
            while self.walk_ended() {}
        }
    }

    /// The peer begins to say all its routes again (BoRR, RFC 7313 §4): what it does not announce until it has said them goes with
    /// [`sweep_stale`](Self::sweep_stale). Nothing else changes meanwhile, the preference of its paths neither. Whether it is so:
    /// not while paths of an earlier session wait for their confirmation, nor where it asks for this too often for the walks to
    /// keep up.
    pub fn begin_refresh(&mut self, peer: PeerId) -> bool {
        if !self.peers.is_up(peer) {
            return false;
        }
        let slot = self.peers.slot_mut(peer.0);
        if slot.stale_from.is_some_and(|from| !slot.refreshing || slot.session.wrapping_sub(from) >= SESSIONS_APART) {
            return false;
        }
        if slot.ended >= 200 {
            self.ended_walk.restart(self.table.dests.len());
            return false;
        }
        slot.stale_from.get_or_insert(slot.session);
        slot.refreshing = true;
        slot.stale_routes += std::mem::take(&mut slot.routes);
        slot.session = slot.session.wrapping_add(1);
        slot.ended += 1;
        true
    }

    /// Paths kept for a peer that restarts, and not announced again, go as [`work`](Self::work) is called. How many.
    pub fn sweep_stale(&mut self, peer: PeerId) -> u32 {
        let slot = self.peers.slot_mut(peer.0);
        if peer == PeerId::LOCAL || slot.stale_from.take().is_none() {
            return 0;
        }
        (slot.stale_long, slot.refreshing) = (false, false);
        let swept = std::mem::take(&mut slot.stale_routes);
        self.stats.stale_swept += u64::from(swept);
        if swept > 0 {
            self.ended_walk.restart(self.table.dests.len());
        }
        swept
    }

    /// The restart time of a peer is over and its stale paths stay as the last resort (RFC 9494 §4.2): they get their
    /// community as [`work`](Self::work) is called.
    pub fn begin_long_lived(&mut self, peer: PeerId) {
        let slot = self.peers.slot_mut(peer.0);
        if peer == PeerId::LOCAL || slot.stale_from.is_none() {
            return;
        }
        slot.stale_long = true;
        self.ended_walk.restart(self.table.dests.len());
    }

    /// How many paths are kept for a peer whose session ended.
    pub fn stale_routes(&self, peer: PeerId) -> u32 {
        self.peers.slot(peer.0).stale_routes
    }

    /// One visit; whether there are more.
    fn walk_ended(&mut self) -> bool {
        if self.ended_walk.is_over() {
            return false;
        }
        if let Some(id) = self.ended_walk.step()
            && self.table.dest(id).is_some()
        {
            self.visit_ended(id);
        }
        if self.ended_walk.is_over() {
            self.peers.all_collected();
        }
        !self.ended_walk.is_over()
    }

    /// Goes on with long walks for about `budget` destinations. Whether there is more to do.
    pub fn work(&mut self, budget: usize) -> bool {
        for _ in 0..budget.max(1) {
            if !self.walk_ended() && !self.walk_exposed() {
                break;
            }
        }
        let quiet = self.reap(budget.max(1));
        quiet || !self.ended_walk.is_over() || self.is_exposing()
    }

    /// The counters.
    pub const fn stats(&self) -> &RibStats {
        &self.stats
    }
}
