//! One desired row in 24 octets, and the two tables of them. Read this before `table`, which moves rows between states.
//!
//! A million rows must fit in about 35 octets each, index and queue included: rows lie in chunks (no doubling copy),
//! remotes are interned, and the queue of dirty rows is threaded through the rows, so that it can never hold more.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::base::{MacAddr, Time};

/// No remote, no row.
pub(super) const NONE: u32 = u32::MAX;

/// Rows per chunk: 96 KiB.
const CHUNK: usize = 4096;

/// The flags of a [`Row`].
pub(super) mod flag {
    /// In the dirty queue.
    pub const QUEUED: u16 = 1 << 0;
    /// In a batch that is not acknowledged.
    pub const IN_FLIGHT: u16 = 1 << 1;
    /// Has an entry among the retries.
    pub const FAILED: u16 = 1 << 2;
    /// Found at adoption, not yet wanted by anybody.
    pub const UNCONFIRMED: u16 = 1 << 3;
    /// The kernel's row is the operator's: never written, never deleted.
    pub const FOREIGN: u16 = 1 << 4;
    /// Nobody wants it: it goes.
    pub const UNWANTED: u16 = 1 << 5;
    /// Write though wanted and installed agree.
    pub const FORCE: u16 = 1 << 6;
    /// A write failed half-way, perhaps: the kernel may hold something.
    pub const UNSURE: u16 = 1 << 7;
    /// The next delete touches the VXLAN FDB alone.
    pub const SELF_ONLY: u16 = 1 << 8;
    /// The operator's entry was seen in its place: the next write is `OpKind::RestoreUnicast`.
    pub const RESTORE: u16 = 1 << 9;
    /// The echo of the write in flight was seen.
    pub const ECHOED: u16 = 1 << 10;
    /// Seen in the dump under way.
    pub const SEEN: u16 = 1 << 11;
    /// A member of the flood list: `wanted` is its key.
    pub const FLOOD: u16 = 1 << 12;
    /// The slot holds no row.
    pub const FREE: u16 = 1 << 13;
    /// The bridge's entry is a local port's, and no write was cut since that could take it over.
    pub const BRIDGE_LOCAL: u16 = 1 << 14;
    /// Stands as an earlier run left it and is wanted elsewhere: it is not moved before moves are no longer deferred.
    pub const DEFERRED: u16 = 1 << 15;
}

/// A row: what is wanted, what the kernel is believed to hold, and what is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The MAC; zero in the flood table.
    pub mac: MacAddr,
    /// Slot of the device.
    pub device: u16,
    /// Interned remote; meaningless in a unicast row with `UNWANTED`, the key of a flood row always.
    pub wanted: u32,
    /// Interned remote that the kernel is believed to hold, or [`NONE`].
    pub installed: u32,
    /// The next row of the dirty queue, or of the free list.
    pub next: u32,
    /// Of `flag`.
    pub flags: u16,
    /// When the last write was acknowledged, in quarters of a second modulo 2^16; meaningful for a few seconds.
    pub stamp: u16,
}

impl Row {
    /// Whether any of `flags` is set.
    pub fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// Nothing is known of what the kernel holds, where nobody has listed the device.
    pub fn is_unread(&self) -> bool {
        self.installed == NONE && !self.has(flag::FORCE | flag::UNSURE | flag::RESTORE)
    }

    /// The remote the kernel should hold, or [`NONE`].
    pub fn goal(&self) -> u32 {
        if self.has(flag::UNWANTED) { NONE } else { self.wanted }
    }

    /// Whether the kernel must be told something.
    pub fn needs_write(&self) -> bool {
        if self.has(flag::UNCONFIRMED | flag::FOREIGN | flag::DEFERRED) {
            return false;
        }
        let goal = self.goal();
        self.installed != goal || self.has(flag::UNSURE) || (goal != NONE && self.has(flag::FORCE))
    }
}

/// The rows of all devices: a slab with one index for unicast and one for the flood lists.
#[derive(Debug)]
pub(super) struct Rows {
    chunks: Vec<Vec<Row>>,
    free: u32,
    live: usize,
    hasher: foldhash::quality::FixedState,
    unicast: HashTable<u32>,
    flood: HashTable<u32>,
}

/// A FIFO of rows threaded through their `next`.
#[derive(Debug)]
pub(super) struct Queue {
    head: u32,
    tail: u32,
    /// How many are in it.
    pub len: usize,
    /// Rows that were ever put in.
    pushed: u64,
    /// Since when rows wait, for each time with the number of the first that waits since then.
    marks: VecDeque<(u64, Time)>,
}

/// Times that a queue remembers. Beyond, rows count as waiting since the last of them: longer than they do.
const MARKS: usize = 4096;

impl Queue {
    /// An empty one.
    pub const fn new() -> Self {
        Self { head: NONE, tail: NONE, len: 0, pushed: 0, marks: VecDeque::new() }
    }

    /// Puts a row at the end, which waits since `since`. It must not be in a queue already: the caller keeps the flag.
    pub fn push(&mut self, rows: &mut Rows, id: u32, since: Time) {
        if self.marks.len() < MARKS && self.marks.back().is_none_or(|(_, last)| *last != since) {
            self.marks.push_back((self.pushed, since));
        }
        self.pushed += 1;
        rows.row_mut(id).next = NONE;
        if self.tail == NONE {
            self.head = id;
        } else {
            rows.row_mut(self.tail).next = id;
        }
        self.tail = id;
        self.len += 1;
    }

    /// Takes the first, with the time since when it waits.
    pub fn pop(&mut self, rows: &Rows) -> Option<(u32, Time)> {
        if self.head == NONE {
            return None;
        }
        let id = self.head;
        let number = self.pushed - self.len as u64;
        while self.marks.get(1).is_some_and(|(first, _)| *first <= number) {
            self.marks.pop_front();
        }
        let since = self.marks.front().map_or(Time::ZERO, |(_, since)| *since);
        self.head = rows.row(id).next;
        self.len -= 1;
        if self.head == NONE {
            self.tail = NONE;
            self.marks.clear();
        }
        Some((id, since))
    }
}

impl Rows {
    /// No rows; the indexes are keyed by `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            chunks: Vec::new(),
            free: NONE,
            live: 0,
            hasher: foldhash::quality::FixedState::with_seed(seed),
            unicast: HashTable::new(),
            flood: HashTable::new(),
        }
    }

    /// A live row.
    pub fn row(&self, id: u32) -> &Row {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    /// A live row, to change.
    pub fn row_mut(&mut self, id: u32) -> &mut Row {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    /// How many rows live.
    pub fn len(&self) -> usize {
        self.live
    }

    /// The unicast row of a MAC.
    pub fn find_unicast(&self, device: u16, mac: MacAddr) -> Option<u32> {
        let hash = hash_unicast(&self.hasher, device, mac);
        self.unicast
            .find(hash, |&id| {
                let row = self.row(id);
                row.mac == mac && row.device == device
            })
            .copied()
    }

    /// The flood row of a remote.
    pub fn find_flood(&self, device: u16, remote: u32) -> Option<u32> {
        let hash = hash_flood(&self.hasher, device, remote);
        self.flood
            .find(hash, |&id| {
                let row = self.row(id);
                row.wanted == remote && row.device == device
            })
            .copied()
    }

    /// The rows of all flood lists.
    pub fn floods(&self) -> impl Iterator<Item = &Row> {
        self.flood.iter().map(|&id| self.row(id))
    }

    /// Stores a row whose key is new. `FLOOD` in its flags says which table it joins.
    pub fn insert(&mut self, row: Row) -> u32 {
        let id = if self.free == NONE {
            if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK));
            }
            let chunks = self.chunks.len();
            let chunk = &mut self.chunks[chunks - 1];
            chunk.push(row);
            ((chunks - 1) * CHUNK + chunk.len() - 1) as u32
        } else {
            let id = self.free;
            self.free = self.row(id).next;
            *self.row_mut(id) = row;
            id
        };
        self.live += 1;
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        let rehash = |&id: &u32| hash_row(hasher, &chunks[id as usize / CHUNK][id as usize % CHUNK]);
        let hash = hash_row(hasher, &row);
        let index = if row.has(flag::FLOOD) { &mut self.flood } else { &mut self.unicast };
        index.insert_unique(hash, id, rehash);
        id
    }

    /// Forgets a row. It must not be in a queue.
    pub fn remove(&mut self, id: u32) {
        let row = *self.row(id);
        let hash = hash_row(&self.hasher, &row);
        let index = if row.has(flag::FLOOD) { &mut self.flood } else { &mut self.unicast };
        if let Ok(entry) = index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        let free = self.free;
        let slot = self.row_mut(id);
        slot.flags = flag::FREE;
        slot.next = free;
        self.free = id;
        self.live -= 1;
    }

    /// The live rows in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Row)> {
        let chunks = self.chunks.iter().enumerate();
        chunks
            .flat_map(|(n, chunk)| chunk.iter().enumerate().map(move |(at, row)| ((n * CHUNK + at) as u32, row)))
            .filter(|(_, row)| !row.has(flag::FREE))
    }

    /// Ids are below this.
    pub fn end(&self) -> u32 {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len()) as u32
    }

    /// Octets of memory in use, about.
    pub fn memory(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Row>() + self.unicast.allocation_size() + self.flood.allocation_size()
    }
}

fn hash_row(hasher: &foldhash::quality::FixedState, row: &Row) -> u64 {
    if row.has(flag::FLOOD) { hash_flood(hasher, row.device, row.wanted) } else { hash_unicast(hasher, row.device, row.mac) }
}

/// The hash of a MAC of a device.
pub(super) fn hash_unicast(hasher: &foldhash::quality::FixedState, device: u16, mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    hasher.hash_one(u64::from_be_bytes([0, 0, a, b, c, d, e, f]) | u64::from(device) << 48)
}

fn hash_flood(hasher: &foldhash::quality::FixedState, device: u16, remote: u32) -> u64 {
    hasher.hash_one(u64::from(remote) | u64::from(device) << 48)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u32, flags: u16) -> Row {
        let [_, a, b, c] = n.to_be_bytes();
        let mac = if flags & flag::FLOOD == 0 { MacAddr([2, 0, 0, a, b, c]) } else { MacAddr::ZERO };
        Row { mac, device: 3, wanted: n, installed: NONE, next: NONE, flags, stamp: 0 }
    }

    #[test]
    fn a_row_has_24_octets() {
        assert_eq!(size_of::<Row>(), 24);
    }

    #[test]
    fn rows_are_found_over_chunks_and_slots_are_used_again() {
        let mut rows = Rows::new(1);
        let ids: Vec<u32> = (0..10_000).map(|n| rows.insert(row(n, 0))).collect();
        let flood = rows.insert(row(7, flag::FLOOD));
        assert_eq!(rows.find_flood(3, 7), Some(flood));
        assert_eq!(rows.find_flood(4, 7), None);
        for n in (0..10_000).step_by(3) {
            assert_eq!(rows.find_unicast(3, row(n, 0).mac), Some(ids[n as usize]));
            rows.remove(ids[n as usize]);
        }
        assert_eq!(rows.find_unicast(3, row(3, 0).mac), None);
        assert_eq!(rows.iter().count(), rows.len());
        let end = rows.end();
        rows.insert(row(3, 0));
        assert_eq!(rows.end(), end, "the free slot is used again");
    }

    #[test]
    fn the_queue_is_first_in_first_out() {
        let mut rows = Rows::new(1);
        let mut queue = Queue::new();
        let ids: Vec<u32> = (0..5).map(|n| rows.insert(row(n, 0))).collect();
        let since = [1, 1, 2, 2, 3].map(Time::from_secs);
        for (&id, since) in ids.iter().zip(since) {
            queue.push(&mut rows, id, since);
        }
        let order: Vec<(u32, Time)> = std::iter::from_fn(|| queue.pop(&rows)).collect();
        assert_eq!(order, ids.iter().copied().zip(since).collect::<Vec<_>>());
        assert_eq!(queue.len, 0);
    }
}
