//! The order in which destinations last changed: what peers walk to hear the news.
//!
//! Read `adj_out` first. Every change gets the next version and an entry at the end; the entry of the change before is
//! dead from then on. A place in the log is a version, so that a peer's whole state is one number. Blocks that are
//! half dead are swept, empty ones go: the log is never much longer than the destinations in it.

use std::collections::VecDeque;

/// Entries of one block.
const BLOCK: usize = 1024;

#[derive(Debug)]
struct Block {
    /// The version that offsets are counted from: that of the first entry the block ever had.
    first: u64,
    /// Offset from `first`, and the destination; in the order of versions.
    entries: Vec<(u32, u32)>,
    live: usize,
}

impl Block {
    fn new(first: u64) -> Self {
        Self { first, entries: Vec::with_capacity(BLOCK), live: 0 }
    }
}

#[derive(Debug, Default)]
pub(super) struct Log {
    blocks: VecDeque<Block>,
    version: u64,
}

impl Log {
    /// The version of the last change; 0 before the first.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Puts a destination at the end and gives its version.
    pub(super) fn push(&mut self, dest: u32) -> u64 {
        self.version += 1;
        let version = self.version;
        let full = self.blocks.back().is_none_or(|block| block.entries.len() >= BLOCK || offset(block, version).is_none());
        if full {
            self.blocks.push_back(Block::new(version));
        }
        if let Some(block) = self.blocks.back_mut() {
            let offset = (version - block.first) as u32;
            block.entries.push((offset, dest));
            block.live += 1;
        }
        version
    }

    /// The entry of `version` is dead. `is_live` says of a version and a destination whether that is its last change.
    pub(super) fn kill(&mut self, version: u64, is_live: impl Fn(u64, u32) -> bool) {
        let Some(at) = self.blocks.partition_point(|block| block.first <= version).checked_sub(1) else { return };
        let last = at + 1 == self.blocks.len();
        let block = &mut self.blocks[at];
        block.live = block.live.saturating_sub(1);
        if block.live == 0 && !last {
            self.blocks.remove(at);
            return;
        }
        if block.entries.len() < 64 || block.live * 2 > block.entries.len() {
            return;
        }
        let first = block.first;
        block.entries.retain(|&(offset, dest)| is_live(first + u64::from(offset), dest));
        block.live = block.entries.len();
        if at > 0 && !last {
            self.merge(at);
        }
    }

    /// Moves the entries of block `at` into the one before, where both are small.
    fn merge(&mut self, at: usize) {
        let (before, block) = (&self.blocks[at - 1], &self.blocks[at]);
        let end = block.first + block.entries.last().map_or(0, |&(offset, _)| u64::from(offset));
        if before.entries.len() + block.entries.len() > BLOCK / 2 || offset(before, end).is_none() {
            return;
        }
        let Some(block) = self.blocks.remove(at) else { return };
        let before = &mut self.blocks[at - 1];
        let distance = (block.first - before.first) as u32;
        before.entries.extend(block.entries.iter().map(|&(offset, dest)| (offset + distance, dest)));
        before.live += block.live;
    }

    /// The entries after a version, dead ones among them, in the order of versions.
    pub(super) fn after(&self, version: u64) -> impl Iterator<Item = (u64, u32)> + '_ {
        let at = self.blocks.partition_point(|block| block.first <= version).saturating_sub(1);
        self.blocks.range(at.min(self.blocks.len())..).flat_map(move |block| {
            let from = block.entries.partition_point(|&(offset, _)| block.first + u64::from(offset) <= version);
            block.entries[from..].iter().map(move |&(offset, dest)| (block.first + u64::from(offset), dest))
        })
    }

    /// Octets held.
    pub(super) fn octets(&self) -> usize {
        self.blocks.iter().map(|block| block.entries.capacity() * 8).sum::<usize>() + self.blocks.capacity() * size_of::<Block>()
    }
}

/// The offset of a version in a block, where 32 bits can tell it.
fn offset(block: &Block, version: u64) -> Option<u32> {
    u32::try_from(version - block.first).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;
    use std::collections::BTreeMap;

    #[test]
    fn the_log_holds_each_destination_once_in_the_order_of_change_and_stays_short() {
        let (mut log, mut random) = (Log::default(), Random::new(5));
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        for round in 0..200_000_u32 {
            // Many that rest and a few that change all the time.
            let dest = if round < 5000 { round } else { random.below(if round % 7 == 0 { 5000 } else { 50 }) as u32 };
            let version = log.push(dest);
            if let Some(old) = last.insert(dest, version) {
                log.kill(old, |version, dest| last.get(&dest) == Some(&version));
            }
            if round > 5000 && random.below(50) == 0 {
                let dest = random.below(5000) as u32;
                if let Some(old) = last.remove(&dest) {
                    log.kill(old, |version, dest| last.get(&dest) == Some(&version));
                }
            }
        }
        let entries: usize = log.blocks.iter().map(|block| block.entries.len()).sum();
        assert!(entries <= 2 * last.len() + 2 * BLOCK, "{entries} entries for {} destinations", last.len());
        for from in [0, 1, 3000, 100_000, 199_990, 200_000] {
            let walked: Vec<_> = log.after(from).filter(|&(version, dest)| last.get(&dest) == Some(&version)).collect();
            let mut wanted: Vec<_> = last.iter().map(|(&dest, &version)| (version, dest)).filter(|e| e.0 > from).collect();
            wanted.sort_unstable();
            assert_eq!(walked, wanted);
        }
    }
}
