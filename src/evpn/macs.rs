//! Remote MACs: which routes stand for each, and where its row points now.
//!
//! A million MACs in about 45 octets each: 28 here, 10 in the index, 4 for each route's import set. The first route lies
//! in the entry; more (other hosts, MAC/IP routes) are a chain of 8-octet nodes.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::base::MacAddr;
use crate::rib::DestId;

/// No route, no remote, no entry.
pub(super) const NONE: u32 = u32::MAX;

const CHUNK: usize = 4096;

/// One remote MAC of one instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub mac: MacAddr,
    pub instance: u16,
    /// The first route; the entry lives as long as there is one.
    first: u32,
    /// The chain of further routes; in a free slot the next free one.
    more: u32,
    /// Interned remote that the row points to, or [`NONE`] while there is no row (the MAC is ours).
    pub remote: u32,
    /// Sequence number of the route that put it there.
    pub sequence: u32,
    /// How many routes.
    pub routes: u16,
    /// Whether that route was sticky.
    pub sticky: bool,
    live: bool,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    dest: u32,
    next: u32,
}

/// The entries of all instances.
#[derive(Debug)]
pub(super) struct Macs {
    chunks: Vec<Vec<Entry>>,
    free: u32,
    live: usize,
    index: HashTable<u32>,
    hasher: foldhash::quality::FixedState,
    nodes: Vec<Node>,
    free_node: u32,
}

fn hash(hasher: &foldhash::quality::FixedState, instance: u16, mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    hasher.hash_one(u64::from_be_bytes([0, 0, a, b, c, d, e, f]) | u64::from(instance) << 48)
}

impl Macs {
    pub fn new(seed: u64) -> Self {
        Self {
            chunks: Vec::new(),
            free: NONE,
            live: 0,
            index: HashTable::new(),
            hasher: foldhash::quality::FixedState::with_seed(seed),
            nodes: Vec::new(),
            free_node: NONE,
        }
    }

    pub fn entry(&self, id: u32) -> &Entry {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    pub fn entry_mut(&mut self, id: u32) -> &mut Entry {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    pub fn find(&self, instance: u16, mac: MacAddr) -> Option<u32> {
        let found = self.index.find(hash(&self.hasher, instance, mac), |&id| {
            let entry = self.entry(id);
            entry.mac == mac && entry.instance == instance
        });
        found.copied()
    }

    /// A new entry with its first route.
    pub fn insert(&mut self, instance: u16, mac: MacAddr, dest: DestId) -> u32 {
        let entry =
            Entry { mac, instance, first: dest.0, more: NONE, remote: NONE, sequence: 0, routes: 1, sticky: false, live: true };
        let id = if self.free == NONE {
            if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK));
            }
            let chunks = self.chunks.len();
            let chunk = &mut self.chunks[chunks - 1];
            chunk.push(entry);
            ((chunks - 1) * CHUNK + chunk.len() - 1) as u32
        } else {
            let id = self.free;
            self.free = self.entry(id).more;
            *self.entry_mut(id) = entry;
            id
        };
        self.live += 1;
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        self.index.insert_unique(hash(hasher, instance, mac), id, |&id| {
            let entry = &chunks[id as usize / CHUNK][id as usize % CHUNK];
            hash(hasher, entry.instance, entry.mac)
        });
        id
    }

    /// The routes of an entry.
    pub fn routes(&self, id: u32) -> impl Iterator<Item = DestId> + '_ {
        let entry = self.entry(id);
        let mut next = entry.more;
        let more = std::iter::from_fn(move || {
            let node = self.nodes.get(next as usize)?;
            next = node.next;
            Some(DestId(node.dest))
        });
        std::iter::once(DestId(entry.first)).chain(more)
    }

    /// The only route of an entry, where it has just one.
    pub fn only_route(&self, id: u32) -> Option<DestId> {
        let entry = self.entry(id);
        (entry.more == NONE).then_some(DestId(entry.first))
    }

    /// One more route. False where it has `limit` already; true also where it has this one.
    pub fn add_route(&mut self, id: u32, dest: DestId, limit: u16) -> bool {
        if self.routes(id).any(|other| other == dest) {
            return true;
        }
        if self.entry(id).routes >= limit {
            return false;
        }
        let node = Node { dest: dest.0, next: self.entry(id).more };
        let at = if self.free_node == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let at = self.free_node;
            self.free_node = self.nodes[at as usize].next;
            self.nodes[at as usize] = node;
            at
        };
        let entry = self.entry_mut(id);
        entry.more = at;
        entry.routes += 1;
        true
    }

    /// One route less. False where the entry has none left: the caller removes it.
    pub fn remove_route(&mut self, id: u32, dest: DestId) -> bool {
        let entry = *self.entry(id);
        if entry.first == dest.0 {
            let Some(&node) = self.nodes.get(entry.more as usize) else { return false };
            self.free_node(entry.more);
            let entry = self.entry_mut(id);
            entry.first = node.dest;
            entry.more = node.next;
            entry.routes -= 1;
            return true;
        }
        let (mut before, mut at) = (NONE, entry.more);
        while let Some(&node) = self.nodes.get(at as usize) {
            if node.dest == dest.0 {
                match self.nodes.get_mut(before as usize) {
                    Some(before) => before.next = node.next,
                    None => self.entry_mut(id).more = node.next,
                }
                self.free_node(at);
                self.entry_mut(id).routes -= 1;
                return true;
            }
            (before, at) = (at, node.next);
        }
        true
    }

    fn free_node(&mut self, at: u32) {
        self.nodes[at as usize].next = self.free_node;
        self.free_node = at;
    }

    /// Forgets an entry with all its routes.
    pub fn remove(&mut self, id: u32) {
        let entry = *self.entry(id);
        let mut at = entry.more;
        while let Some(&node) = self.nodes.get(at as usize) {
            self.free_node(at);
            at = node.next;
        }
        if let Ok(found) = self.index.find_entry(hash(&self.hasher, entry.instance, entry.mac), |&other| other == id) {
            found.remove();
        }
        let free = self.free;
        let slot = self.entry_mut(id);
        slot.live = false;
        slot.more = free;
        self.free = id;
        self.live -= 1;
    }

    /// Live entries in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let chunks = self.chunks.iter().enumerate();
        chunks
            .flat_map(|(n, chunk)| chunk.iter().enumerate().map(move |(at, entry)| ((n * CHUNK + at) as u32, entry)))
            .filter(|(_, entry)| entry.live)
    }

    pub fn len(&self) -> usize {
        self.live
    }

    /// Octets of memory in use, about.
    pub fn memory(&self) -> usize {
        let entries = self.chunks.len() * CHUNK * size_of::<Entry>();
        entries + self.index.allocation_size() + self.nodes.capacity() * size_of::<Node>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_28_octets() {
        assert_eq!(size_of::<Entry>(), 28);
    }

    #[test]
    fn routes_come_and_go_in_any_order() {
        let mut macs = Macs::new(1);
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        for gone in 0..4 {
            let id = macs.insert(3, mac, DestId(0));
            for dest in 1..4 {
                assert!(macs.add_route(id, DestId(dest), 4));
                assert!(macs.add_route(id, DestId(dest), 4), "twice is once");
            }
            assert!(!macs.add_route(id, DestId(9), 4), "the limit");
            assert_eq!(macs.only_route(id), None);
            assert!(macs.remove_route(id, DestId(gone)));
            let mut left: Vec<u32> = macs.routes(id).map(|dest| dest.0).collect();
            left.sort_unstable();
            assert_eq!(left, (0..4).filter(|dest| *dest != gone).collect::<Vec<_>>());
            assert!(macs.remove_route(id, DestId(left[1])));
            assert!(macs.remove_route(id, DestId(left[2])));
            assert_eq!(macs.only_route(id), Some(DestId(left[0])));
            assert!(!macs.remove_route(id, DestId(left[0])));
            macs.remove(id);
            assert_eq!((macs.find(3, mac), macs.len()), (None, 0));
        }
        assert_eq!(macs.nodes.len(), 3, "nodes are used again");
    }
}
