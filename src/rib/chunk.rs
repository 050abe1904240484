//! UPDATEs encoded once for all peers that differ in nothing but how far they have heard.
//!
//! Read `export` and `adj_out` first. A chunk is what a group of peers hears between two versions of the log. Every
//! UPDATE in it announces paths of one source, so that for that source it can be left out, or replaced by a withdrawal.

use super::adj_out::{GroupKey, Offer};
use super::attrs::AttrTable;
use super::change::{Changes, told};
use super::export;
use super::peers::Peers;
use super::table::Table;
use super::{RibConfig, RibStats};
use crate::wire::header::{MAX_EXTENDED_MESSAGE_LEN, MAX_MESSAGE_LEN};
use crate::wire::update::{UNREACH_OVERHEAD, emit_reach, emit_unreach, reach_overhead};

/// About the octets of one NLRI: a type 2 with an IPv4 address has 39.
const NLRI_OCTETS: usize = 37;
/// Entries of the log after which a chunk is closed, so that one call stays short where little of them is to be heard.
const CHUNK_ENTRIES: usize = 8192;
/// The source of an UPDATE that everybody hears: a withdrawal.
const NOBODY: u16 = u16::MAX - 1;

/// What of the table encoding needs to see.
pub(super) struct Books<'a> {
    pub(super) table: &'a Table,
    pub(super) changes: &'a Changes,
    pub(super) attrs: &'a AttrTable,
    pub(super) peers: &'a Peers,
    pub(super) config: &'a RibConfig,
}

/// Whole UPDATEs for a group of peers, from one version of the log to another.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// The version up to which everything is in it.
    pub(super) end: u64,
    /// How many peers of the group have not come past it.
    pub(super) waiting: usize,
    octets: Vec<u8>,
    /// Where the UPDATEs of one source end, in order.
    parts: Vec<(u32, u16)>,
    /// UPDATEs for one source only.
    instead: Vec<(u16, Vec<u8>)>,
}

impl Chunk {
    /// Octets held.
    pub(super) fn octets(&self) -> usize {
        let instead: usize = self.instead.iter().map(|(_, octets)| octets.len()).sum();
        self.octets.len() + instead + self.parts.len() * 8 + size_of::<Self>()
    }

    /// About the octets a peer would get.
    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }

    /// Appends what `peer` hears: everything but its own paths.
    pub(super) fn copy_to(&self, peer: u16, out: &mut Vec<u8>) {
        if self.parts.iter().all(|&(_, source)| source != peer) {
            out.extend_from_slice(&self.octets);
        } else {
            let mut start = 0;
            for &(end, source) in &self.parts {
                if source != peer {
                    out.extend_from_slice(&self.octets[start..end as usize]);
                }
                start = end as usize;
            }
        }
        for (_, octets) in self.instead.iter().filter(|(source, _)| *source == peer) {
            out.extend_from_slice(octets);
        }
    }

    /// Everything before `octets.len()` that has no part yet is from `source`.
    fn close_part(&mut self, source: u16) {
        let end = self.octets.len() as u32;
        match self.parts.last_mut() {
            Some(last) if last.1 == source => last.0 = end,
            Some(last) if last.0 == end => {}
            _ => self.parts.push((end, source)),
        }
    }
}

/// A path to announce.
struct Announcement {
    attr: u32,
    source: u16,
    dest: u32,
    label: u32,
    extra: u32,
    /// Peers may have heard it from another source before.
    split: bool,
}

/// Encodes what `group` hears of `offers`, which come in the order of versions and are live, up to version `stop`.
pub(super) fn encode(
    books: &Books<'_>,
    group: &GroupKey,
    offers: impl Iterator<Item = Offer>,
    stop: u64,
    stats: &mut RibStats,
) -> Chunk {
    let bit = export::bit(group.kind, group.long_lived);
    let (mut announced, mut withdrawn) = (Vec::new(), Vec::new());
    let mut chunk = Chunk { end: stop, ..Chunk::default() };
    let mut last = 0;
    for (entries, offer) in offers.enumerate() {
        if offer.version > stop {
            break;
        }
        if entries >= CHUNK_ENTRIES
            || (announced.len() + withdrawn.len()) * NLRI_OCTETS >= books.config.export_chunk_octets.max(1)
        {
            chunk.end = last;
            break;
        }
        last = offer.version;
        let path = if offer.can & bit != 0 { told(books.table, books.changes, offer.dest) } else { None };
        match path {
            Some(path) => announced.push(Announcement {
                attr: path.attr,
                source: path.peer,
                dest: offer.dest,
                label: path.label(),
                extra: path.extra,
                split: offer.split,
            }),
            None if offer.heard & bit != 0 => withdrawn.push(offer.dest),
            None => {}
        }
    }
    // Paths that share attributes and source go together; the order of the log is kept among them.
    announced.sort_by_key(|a| (a.attr, a.source));
    let max = if group.extended_message { MAX_EXTENDED_MESSAGE_LEN } else { MAX_MESSAGE_LEN };
    let mut nlri = Vec::with_capacity(max);
    for run in announced.chunk_by(|a, b| (a.attr, a.source) == (b.attr, b.source)) {
        announce(books, group, run, max, &mut nlri, &mut chunk, &mut withdrawn, stats);
    }
    instead(books, &announced, max, &mut nlri, &mut chunk);
    nlri.clear();
    for dest in withdrawn {
        put_withdrawal(books, dest, max, &mut nlri, &mut chunk.octets);
    }
    if !nlri.is_empty() {
        emit_unreach(&mut chunk.octets, &nlri);
    }
    chunk.close_part(NOBODY);
    chunk.octets.shrink_to_fit();
    stats.chunks_encoded += 1;
    chunk
}

/// Encodes paths that share attributes and source.
#[allow(clippy::too_many_arguments)]
fn announce(
    books: &Books<'_>,
    group: &GroupKey,
    run: &[Announcement],
    max: usize,
    nlri: &mut Vec<u8>,
    chunk: &mut Chunk,
    withdrawn: &mut Vec<u32>,
    stats: &mut RibStats,
) {
    let Some(first) = run.first() else { return };
    let Some(block) = books.attrs.block(first.attr) else { return };
    let source = books.peers.slot(first.source);
    let attributes = {
        let (asn, cluster) = (books.config.asn, books.config.identifier);
        export::rewrite(&block.attributes, source, group.kind, group.long_lived, asn, cluster)
    };
    let room = max.saturating_sub(reach_overhead(&attributes, &group.context));
    nlri.clear();
    for path in run {
        let Some(dest) = books.table.dest(path.dest) else { continue };
        let before = nlri.len();
        books.table.names.route(&dest.key, path.label, path.extra).emit(nlri);
        if nlri.len() <= room {
            continue;
        }
        if before > 0 {
            emit_reach(&mut chunk.octets, &attributes, &group.context, &nlri[..before]);
            nlri.drain(..before);
        }
        if nlri.len() > room {
            // RFC 8654 §4: what does not fit this peer's messages is not sent, and what it heard before goes.
            nlri.clear();
            withdrawn.push(path.dest);
            stats.too_long_to_send += 1;
        }
    }
    if !nlri.is_empty() {
        emit_reach(&mut chunk.octets, &attributes, &group.context, nlri);
    }
    chunk.close_part(first.source);
}

/// Encodes withdrawals for the sources of paths that others announced to them before.
fn instead(books: &Books<'_>, announced: &[Announcement], max: usize, nlri: &mut Vec<u8>, chunk: &mut Chunk) {
    let mut split: Vec<_> = announced.iter().filter(|a| a.split).map(|a| (a.source, a.dest)).collect();
    split.sort_by_key(|&(source, _)| source);
    for run in split.chunk_by(|a, b| a.0 == b.0) {
        let mut octets = Vec::new();
        nlri.clear();
        for &(_, dest) in run {
            put_withdrawal(books, dest, max, nlri, &mut octets);
        }
        if !nlri.is_empty() {
            emit_unreach(&mut octets, nlri);
        }
        chunk.instead.extend(run.first().map(|&(source, _)| (source, octets)));
    }
}

/// Puts a withdrawn route into `nlri`, which goes out as an UPDATE when it is full.
fn put_withdrawal(books: &Books<'_>, dest: u32, max: usize, nlri: &mut Vec<u8>, out: &mut Vec<u8>) {
    let Some(dest) = books.table.dest(dest) else { return };
    let before = nlri.len();
    books.table.names.route(&dest.key, 0, u32::MAX).emit(nlri);
    if nlri.len() > max - UNREACH_OVERHEAD {
        emit_unreach(out, &nlri[..before]);
        nlri.drain(..before);
    }
}
