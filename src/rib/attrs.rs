//! Attribute blocks, interned as they lie on the wire: a block seen before costs a hash and a comparison.
//!
//! Read `wire/attribute.rs` first. The octets, the next hop and how they were read make up the name of a block; what
//! the decision and the export rules want to know of it is computed once and kept beside it.

use std::hash::BuildHasher;
use std::net::IpAddr;

use hashbrown::HashTable;

use super::key::number;
use super::peers::PeerId;
use crate::base::{Asn, BgpIdentifier};
use crate::wire::attribute::{AttributeError, Attributes, Disposition, Origin};
use crate::wire::notification::{self, Notification};
use crate::wire::update::{RawAttributes, UpdateContext};

/// The number of an attribute block; meaningful while a path has it. See `Rib::attr_generation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttrId(pub u32);

/// Why routes with a block are not taken although it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    Originator,
    Cluster,
    AsPath,
}

/// What the decision compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank {
    pub(super) sticky: bool,
    pub(super) sequence: u32,
    pub(super) local_pref: u32,
    pub(super) as_path_len: u32,
    pub(super) origin: Origin,
    pub(super) med: u32,
    pub(super) neighbor_as: Option<Asn>,
    pub(super) originator: Option<u32>,
    pub(super) cluster_len: u32,
    /// LLGR_STALE is there (RFC 9494 §4.3).
    pub(super) long_lived_stale: bool,
}

/// LOCAL_PREF where a path has none: of our own, of an external peer, or of an internal one that left it out.
pub(super) const DEFAULT_LOCAL_PREF: u32 = 100;

/// RFC 1997: not to external peers.
pub(super) const NO_EXPORT: u32 = 0xffff_ff01;
/// RFC 1997: to nobody.
const NO_ADVERTISE: u32 = 0xffff_ff02;
/// RFC 1997: not to external peers; without confederations the same as NO_EXPORT.
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;

/// RFC 9494 §4.1: the route is stale for long.
pub(super) const LLGR_STALE: u32 = 0xffff_0006;
/// RFC 9494 §4.1: the route does not outlive its restart time.
const NO_LLGR: u32 = 0xffff_0007;

/// Whom communities allow to hear a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Everybody,
    Internal,
    Nobody,
}

#[derive(Debug)]
pub(super) struct Block {
    key: Box<[u8]>,
    /// The peer that brought it first: its memory is put down to that one for as long as it lives.
    owner: u16,
    pub(super) attributes: Attributes,
    pub(super) rank: Rank,
    pub(super) audience: Audience,
    pub(super) looped: Option<Loop>,
}

#[derive(Debug, Default)]
struct Entry {
    block: Option<Box<Block>>,
    users: u32,
    generation: u32,
}

/// A block with one more user, and the mistakes that its first reading found.
#[derive(Debug)]
pub(super) struct Acquired {
    pub(super) id: u32,
    pub(super) known: bool,
    pub(super) mistakes: Vec<AttributeError>,
}

#[derive(Debug)]
pub(super) struct AttrTable {
    hasher: foldhash::quality::FixedState,
    index: HashTable<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// The block of the UPDATE before; its octets are compared before use.
    last: u32,
    scratch: Vec<u8>,
    nothing: Attributes,
    asn: Asn,
    identifier: BgpIdentifier,
    max_len: usize,
    /// Octets of the blocks of each peer.
    owned: Vec<u64>,
}

/// About what a block costs: its record, its octets, and its values, which are seldom more than its octets.
const fn cost(key_len: usize) -> u64 {
    (size_of::<Block>() + size_of::<Entry>() + 2 * key_len) as u64
}

impl AttrTable {
    pub(super) fn new(seed: u64, asn: Asn, identifier: BgpIdentifier, max_len: usize) -> Self {
        Self {
            hasher: foldhash::quality::FixedState::with_seed(seed ^ 0xa77),
            index: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            last: 0,
            scratch: Vec::new(),
            nothing: Attributes::default(),
            asn,
            identifier,
            max_len,
            owned: Vec::new(),
        }
    }

    /// About the octets of memory that the blocks take which `peer` brought first.
    pub(super) fn owned(&self, peer: u16) -> u64 {
        self.owned.get(usize::from(peer)).copied().unwrap_or(0)
    }

    /// The block of an UPDATE of `peer` with one more user; parsed only where it is new. `None` where the peer's blocks would
    /// take more than `limit` octets with it. Errors are those of the parser, and a block that is too long itself, which costs
    /// the routes.
    pub(super) fn acquire(
        &mut self,
        peer: u16,
        limit: u64,
        raw: &RawAttributes<'_>,
        next_hop: &[u8],
        context: &UpdateContext,
    ) -> Result<Option<Acquired>, AttributeError> {
        let len: usize = raw.pieces.iter().map(|piece| piece.len()).sum();
        if len > self.max_len || next_hop.len() > 255 {
            return Err(too_long());
        }
        self.scratch.clear();
        self.scratch.push(u8::from(context.four_octet_as) | u8::from(context.external) << 1);
        self.scratch.push(next_hop.len() as u8);
        self.scratch.extend_from_slice(next_hop);
        for piece in raw.pieces {
            self.scratch.extend_from_slice(piece);
        }
        if let Some(id) = self.known() {
            return Ok(Some(Acquired { id, known: true, mistakes: Vec::new() }));
        }
        if self.owned(peer) + cost(self.scratch.len()) > limit {
            return Ok(None);
        }
        let (attributes, mistakes) = Attributes::parse(raw, Some(next_hop), context)?;
        let looped = self.find_loop(&attributes, context.external);
        let id = self.insert(peer, attributes, looped);
        let (index, cost) = (usize::from(peer), cost(self.scratch.len()));
        if index >= self.owned.len() {
            self.owned.resize(index + 1, 0);
        }
        self.owned[index] += cost;
        Ok(Some(Acquired { id, known: false, mistakes }))
    }

    /// The block of a route of our own, with one more user.
    pub(super) fn acquire_local(&mut self, attributes: &Attributes) -> u32 {
        self.scratch.clear();
        // Not a context that a peer can have, so that the values and not only the octets are ours.
        self.scratch.push(0xff);
        match attributes.next_hop {
            Some(IpAddr::V4(address)) => self.scratch.extend_from_slice(&address.octets()),
            Some(IpAddr::V6(address)) => self.scratch.extend_from_slice(&address.octets()),
            None => {}
        }
        self.scratch.push(0xff);
        let context = UpdateContext { four_octet_as: true, external: false };
        attributes.emit(&mut self.scratch, &context);
        match self.known() {
            Some(id) => id,
            None => self.insert(PeerId::LOCAL.0, attributes.clone(), None),
        }
    }

    /// The block as it becomes when its path is stale for long, with one more user; `None` where it says NO_LLGR.
    pub(super) fn acquire_long_lived(&mut self, id: u32) -> Option<u32> {
        let block = self.block(id)?;
        if block.attributes.communities.contains(&NO_LLGR) {
            return None;
        }
        let mut attributes = block.attributes.clone();
        attributes.communities.push(LLGR_STALE);
        Some(self.acquire_local(&attributes))
    }

    /// Whether the block says LLGR_STALE.
    pub(super) fn is_long_lived_stale(&self, id: u32) -> bool {
        self.block(id).is_some_and(|block| block.rank.long_lived_stale)
    }

    /// The block whose octets are in `scratch`, with one more user.
    fn known(&mut self) -> Option<u32> {
        let scratch = self.scratch.as_slice();
        let is = |entry: &Entry| entry.block.as_ref().is_some_and(|block| *block.key == *scratch);
        let id = if self.entries.get(self.last as usize).is_some_and(is) {
            self.last
        } else {
            *self.index.find(self.hasher.hash_one(scratch), |&id| is(&self.entries[id as usize]))?
        };
        self.last = id;
        self.entries[id as usize].users += 1;
        Some(id)
    }

    fn insert(&mut self, owner: u16, attributes: Attributes, looped: Option<Loop>) -> u32 {
        let hash = self.hasher.hash_one(self.scratch.as_slice());
        let block = Box::new(Block {
            key: self.scratch.as_slice().into(),
            owner,
            rank: rank(&attributes),
            audience: audience(&attributes),
            attributes,
            looped,
        });
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.entries.push(Entry::default());
                (self.entries.len() - 1) as u32
            }
        };
        let entry = &mut self.entries[id as usize];
        entry.block = Some(block);
        entry.users = 1;
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index
            .insert_unique(hash, id, |&id| entries[id as usize].block.as_ref().map_or(0, |block| hasher.hash_one(&*block.key)));
        self.last = id;
        id
    }

    /// RFC 4456 §8 and RFC 4271 §9.1.2: does the path lead through ourselves?
    fn find_loop(&self, attributes: &Attributes, external: bool) -> Option<Loop> {
        if external {
            return attributes.as_path.contains(self.asn).then_some(Loop::AsPath);
        }
        if attributes.originator_id == Some(self.identifier) {
            return Some(Loop::Originator);
        }
        attributes.cluster_list.contains(&self.identifier).then_some(Loop::Cluster)
    }

    /// One more user.
    pub(super) fn retain(&mut self, id: u32) {
        self.entries[id as usize].users += 1;
    }

    /// One user less; the block goes with the last.
    pub(super) fn release(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let Some(block) = entry.block.take() else { return };
        if let Some(owned) = self.owned.get_mut(usize::from(block.owner)) {
            *owned = owned.saturating_sub(cost(block.key.len()));
        }
        entry.generation = entry.generation.wrapping_add(1);
        let hash = self.hasher.hash_one(&*block.key);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == id) {
            found.remove();
        }
        self.free.push(id);
    }

    /// The block of a live id.
    pub(super) fn block(&self, id: u32) -> Option<&Block> {
        self.entries.get(id as usize)?.block.as_deref()
    }

    /// The attributes of a live id; empty ones where it was freed.
    pub(super) fn attributes(&self, id: u32) -> &Attributes {
        self.block(id).map_or(&self.nothing, |block| &block.attributes)
    }

    /// How often the id was freed.
    pub(super) fn generation(&self, id: u32) -> u32 {
        self.entries.get(id as usize).map_or(0, |entry| entry.generation)
    }

    /// How many blocks are stored.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Octets held, without what the lists inside attributes hold.
    pub(super) fn octets(&self) -> usize {
        let blocks: usize =
            self.entries.iter().filter_map(|entry| Some(size_of::<Block>() + entry.block.as_ref()?.key.len())).sum();
        blocks + self.entries.capacity() * size_of::<Entry>() + self.index.allocation_size() + self.free.capacity() * 4
    }
}

/// What a block longer than the limit costs: its routes.
fn too_long() -> AttributeError {
    AttributeError {
        code: 0,
        what: "the attributes are longer than the limit of the configuration",
        disposition: Disposition::TreatAsWithdraw,
        notification: Notification { code: notification::UPDATE_ERROR, subcode: 1, data: Vec::new() },
    }
}

fn rank(attributes: &Attributes) -> Rank {
    let (sticky, sequence) = attributes.mac_mobility().unwrap_or((false, 0));
    Rank {
        sticky,
        sequence,
        local_pref: attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
        as_path_len: attributes.as_path.decision_len() as u32,
        origin: attributes.origin,
        // RFC 4271 §9.1.2.2 c: no MED counts as the lowest.
        med: attributes.med.unwrap_or(0),
        neighbor_as: attributes.as_path.neighbor_as(),
        originator: attributes.originator_id.map(number),
        cluster_len: attributes.cluster_list.len() as u32,
        long_lived_stale: attributes.communities.contains(&LLGR_STALE),
    }
}

fn audience(attributes: &Attributes) -> Audience {
    let has = |community| attributes.communities.contains(&community);
    // Without a next hop there is nothing that could be sent.
    if has(NO_ADVERTISE) || attributes.next_hop.is_none() {
        Audience::Nobody
    } else if has(NO_EXPORT) || has(NO_EXPORT_SUBCONFED) {
        Audience::Internal
    } else {
        Audience::Everybody
    }
}
