//! Destinations and their paths: each key once, the best path beside it, further paths in a list to the side.
//!
//! Read `key` first. A destination with one path is 64 octets, one line of the processor's cache, and about 10 more in
//! the index. Ids are slots of the slab and are reused.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;

use super::key::{Key, Names};
use super::slab::{NONE, Slab, Slot};
use crate::wire::evpn::EvpnRoute;

/// The number of a destination; meaningful until the change without a best path was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestId(pub u32);

/// One peer's path to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Path {
    /// The interned attribute block.
    pub(super) attr: u32,
    /// The interned ESI, gateway and second label; `u32::MAX` where all are absent.
    pub(super) extra: u32,
    /// Whole seconds since the daemon began.
    pub(super) received: u32,
    /// 24 bits of label, and above them the flags below.
    label: u32,
    /// The peer's number.
    pub(super) peer: u16,
    /// The number of the peer's session.
    pub(super) session: u8,
}

impl Path {
    /// The session that brought it ended, and a walk has taken notice of it.
    const STALE: u32 = 1 << 24;
    /// Above that 7 bits of the count of identities of the peer's number: an equal path from somebody else is another.
    const IDENTITY: u32 = 25;

    /// A path of a peer, given by its number, the count of its identities and its session.
    pub(super) const fn new((peer, identity, session): (u16, u8, u8), attr: u32, label: u32, extra: u32, received: u32) -> Self {
        Self { attr, extra, received, label: label & 0xff_ffff | (identity as u32) << Self::IDENTITY, peer, session }
    }

    pub(super) const fn label(&self) -> u32 {
        self.label & 0xff_ffff
    }

    pub(super) const fn is_stale(&self) -> bool {
        self.label & Self::STALE != 0
    }

    pub(super) const fn set_stale(&mut self) {
        self.label |= Self::STALE;
    }

    /// Whether it came from the peer as it is now.
    pub(super) const fn has_identity(&self, identity: u8) -> bool {
        self.label >> Self::IDENTITY == (identity as u32) & 0x7f
    }

    /// The peer is the same, in another role.
    pub(super) const fn set_identity(&mut self, identity: u8) {
        self.label = self.label & ((1 << Self::IDENTITY) - 1) | (identity as u32) << Self::IDENTITY;
    }

    /// Whether two best paths are the same for everybody who uses them.
    pub(super) const fn is_same(&self, other: &Self) -> bool {
        self.attr == other.attr
            && self.extra == other.extra
            && self.peer == other.peer
            && (self.label ^ other.label) & !Self::STALE == 0
    }
}

/// A destination. `first` is the best path once it was decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dest {
    pub(super) key: Key,
    pub(super) first: Path,
    /// Further paths in `Table::more`. In a free slot: the next free one.
    pub(super) more: u32,
    /// What peers may hear of it, in `AdjOut`; `NONE` where nobody may.
    pub(super) node: u32,
    /// Flags, and above them the place in the list of changes.
    state: u32,
}

impl Dest {
    const LIVE: u32 = 1;
    const HAS_PATH: u32 = 2;
    const DIRTY: u32 = 4;

    pub(super) const fn is_live(&self) -> bool {
        self.state & Self::LIVE != 0
    }

    /// Whether there is any path at all.
    pub(super) const fn has_path(&self) -> bool {
        self.state & Self::HAS_PATH != 0
    }

    /// Its place in the list of changes, 24 bits, where it waits there to be decided.
    pub(super) const fn dirty(&self) -> Option<u32> {
        if self.state & Self::DIRTY != 0 { Some(self.state >> 8) } else { None }
    }

    pub(super) const fn set_dirty(&mut self, place: Option<u32>) {
        self.state = match place {
            Some(place) => (self.state & 0xff) | Self::DIRTY | place << 8,
            None => self.state & 0xff & !Self::DIRTY,
        };
    }
}

impl Slot for Dest {
    fn free(next: u32) -> Self {
        Self { key: Key::default(), first: Path::default(), more: next, node: NONE, state: 0 }
    }
    fn next_free(&self) -> u32 {
        self.more
    }
}

/// A path that is not the first of its destination.
#[derive(Debug, Clone, Copy)]
struct More {
    path: Path,
    next: u32,
}

impl Slot for More {
    fn free(next: u32) -> Self {
        Self { path: Path::default(), next }
    }
    fn next_free(&self) -> u32 {
        self.next
    }
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) names: Names,
    pub(super) dests: Slab<Dest>,
    more: Slab<More>,
    index: HashTable<u32>,
    /// Destinations that have a path.
    reachable: u64,
    hasher: foldhash::quality::FixedState,
}

impl Table {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            names: Names::new(seed),
            dests: Slab::new(),
            more: Slab::new(),
            index: HashTable::new(),
            reachable: 0,
            hasher: foldhash::quality::FixedState::with_seed(seed ^ 0x7ab1e),
        }
    }

    /// The destination of a key.
    pub(super) fn lookup(&self, key: &Key) -> Option<u32> {
        self.index.find(hash(&self.hasher, key), |&id| self.dests[id].key == *key).copied()
    }

    /// A new destination without paths for a route whose key is not in the table.
    pub(super) fn insert(&mut self, route: &EvpnRoute<'_>) -> u32 {
        let key = self.names.acquire(route);
        let id = self.dests.insert(Dest { key, first: Path::default(), more: NONE, node: NONE, state: Dest::LIVE });
        let (dests, hasher) = (&self.dests, &self.hasher);
        self.index.insert_unique(hash(hasher, &key), id, |&id| hash(hasher, &dests[id].key));
        id
    }

    /// Frees a destination, which has neither a path nor anybody who waits for it.
    pub(super) fn remove(&mut self, id: u32) {
        let key = self.dests[id].key;
        if let Ok(entry) = self.index.find_entry(hash(&self.hasher, &key), |&other| other == id) {
            entry.remove();
        }
        self.names.release(&key);
        self.dests.remove(id);
    }

    /// The live destination of an id.
    pub(super) fn dest(&self, id: u32) -> Option<&Dest> {
        self.dests.slot(id).filter(|dest| dest.is_live())
    }

    /// Every path of a destination, the first one first.
    pub(super) fn paths(&self, id: u32) -> Paths<'_> {
        match self.dest(id) {
            Some(dest) if dest.has_path() => Paths { more: &self.more, first: Some(&dest.first), next: dest.more },
            _ => Paths { more: &self.more, first: None, next: NONE },
        }
    }

    /// The path of one peer.
    pub(super) fn path_of(&self, id: u32, peer: u16) -> Option<&Path> {
        self.paths(id).find(|path| path.peer == peer)
    }

    /// Whether there is more than one path.
    pub(super) fn has_rivals(&self, id: u32) -> bool {
        self.dests[id].more != NONE
    }

    /// Puts the path of `path.peer` in place of its earlier one, which is given back.
    pub(super) fn set_path(&mut self, id: u32, path: Path) -> Option<Path> {
        let dest = &mut self.dests[id];
        if !dest.has_path() {
            dest.state |= Dest::HAS_PATH;
            self.reachable += 1;
            dest.first = path;
            return None;
        }
        if dest.first.peer == path.peer {
            return Some(std::mem::replace(&mut dest.first, path));
        }
        let mut at = dest.more;
        while at != NONE {
            let more = &mut self.more[at];
            if more.path.peer == path.peer {
                return Some(std::mem::replace(&mut more.path, path));
            }
            at = more.next;
        }
        let next = self.dests[id].more;
        self.dests[id].more = self.more.insert(More { path, next });
        None
    }

    /// Changes the path of one peer in place.
    pub(super) fn path_mut(&mut self, id: u32, peer: u16) -> Option<&mut Path> {
        let (has_path, first_peer, mut at) = {
            let dest = self.dests.slot(id)?;
            (dest.has_path(), dest.first.peer, dest.more)
        };
        if has_path && first_peer == peer {
            return Some(&mut self.dests[id].first);
        }
        while at != NONE {
            if self.more[at].path.peer == peer {
                return Some(&mut self.more[at].path);
            }
            at = self.more[at].next;
        }
        None
    }

    /// Takes the path of one peer away. Where it was the first, some other becomes the first until the decision.
    pub(super) fn remove_path(&mut self, id: u32, peer: u16) -> Option<Path> {
        let dest = &mut self.dests[id];
        if !dest.has_path() {
            return None;
        }
        let head = dest.more;
        if dest.first.peer == peer {
            let gone = dest.first;
            if head == NONE {
                dest.state &= !Dest::HAS_PATH;
                self.reachable -= 1;
            } else {
                let More { path, next } = self.more[head];
                dest.first = path;
                dest.more = next;
                self.more.remove(head);
            }
            return Some(gone);
        }
        let (mut before, mut at) = (NONE, head);
        while at != NONE {
            let More { path, next } = self.more[at];
            if path.peer == peer {
                if before == NONE {
                    self.dests[id].more = next;
                } else {
                    self.more[before].next = next;
                }
                self.more.remove(at);
                return Some(path);
            }
            (before, at) = (at, next);
        }
        None
    }

    /// Makes the path at `position` of [`paths`](Self::paths) the first.
    pub(super) fn promote(&mut self, id: u32, position: usize) {
        let mut at = self.dests[id].more;
        for _ in 1..position {
            if at != NONE {
                at = self.more[at].next;
            }
        }
        if position > 0 && at != NONE {
            let (dest, more) = (&mut self.dests[id], &mut self.more[at]);
            std::mem::swap(&mut dest.first, &mut more.path);
        }
    }

    /// Destinations that have a path, and their paths in all.
    pub(super) fn count(&self) -> (u64, u64) {
        (self.reachable, self.reachable + u64::from(self.more.used()))
    }

    /// Octets held by destinations, further paths and the index; the interned parts come on top.
    pub(super) fn octets(&self) -> usize {
        self.dests.octets() + self.more.octets() + self.index.allocation_size()
    }
}

fn hash(hasher: &foldhash::quality::FixedState, key: &Key) -> u64 {
    let mut state = hasher.build_hasher();
    for word in key.words() {
        state.write_u64(*word);
    }
    state.finish()
}

/// The paths of one destination.
#[derive(Debug)]
pub(super) struct Paths<'a> {
    more: &'a Slab<More>,
    first: Option<&'a Path>,
    next: u32,
}

impl<'a> Iterator for Paths<'a> {
    type Item = &'a Path;
    fn next(&mut self) -> Option<&'a Path> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.next == NONE {
            return None;
        }
        let more = &self.more[self.next];
        self.next = more.next;
        Some(&more.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_with_one_path_is_a_cache_line() {
        assert_eq!(size_of::<Path>(), 20);
        assert_eq!(size_of::<Dest>(), 64);
    }

    #[test]
    fn paths_come_and_go_in_any_order() {
        let route = EvpnRoute::Unknown { route_type: 9, value: &[1] };
        let path = |peer: u16| Path::new((peer, 0, 0), u32::from(peer), 0, u32::MAX, 0);
        for gone in 0..4_u16 {
            let mut table = Table::new(1);
            let id = table.insert(&route);
            for peer in 0..4 {
                assert_eq!(table.set_path(id, path(peer)), None);
                assert_eq!(table.count(), (1, u64::from(peer) + 1));
            }
            assert_eq!(table.set_path(id, path(2)), Some(path(2)));
            assert_eq!(table.remove_path(id, gone), Some(path(gone)));
            assert_eq!(table.remove_path(id, gone), None);
            assert_eq!(table.count(), (1, 3));
            let mut left: Vec<_> = table.paths(id).map(|path| path.peer).collect();
            let second = left[1];
            table.promote(id, 1);
            assert_eq!(table.paths(id).next().map(|path| path.peer), Some(second));
            let third = table.paths(id).nth(2).map(|path| path.peer);
            table.promote(id, 2);
            assert_eq!(table.paths(id).next().map(|path| path.peer), third);
            left.sort_unstable();
            assert_eq!(left, (0..4).filter(|peer| *peer != gone).collect::<Vec<_>>());
            for peer in left {
                assert!(table.remove_path(id, peer).is_some());
            }
            assert_eq!(table.paths(id).count(), 0);
            assert_eq!((table.more.used(), table.count()), (0, (0, 0)));
            table.remove(id);
            assert!(table.dest(id).is_none());
            assert_eq!(table.dests.used(), 0);
        }
    }
}
