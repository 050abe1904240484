//! What each peer is yet to hear, without a word per peer and route.
//!
//! Read `export`, `log` and `docs/decisions/0002-export.md` first. All destinations that somebody may hear lie in one
//! log in the order of their last change, and a peer's state is a version: it has heard everything up to there.
//!
//! ```text
//!   log:   v3 v4 v9 v12 v13 v20 v21 v22        each destination once, at its last change
//!                     ^           ^       ^
//!                  peer C       peer B   peers A, D, E … (all hear the same chunk of UPDATEs, encoded once)
//! ```
//!
//! A destination that nobody may hear any more stays as a quiet entry while a peer is between its first and its last
//! version, because that peer may have heard it and must hear the withdrawal.

use std::collections::{BTreeMap, VecDeque};

use super::change::{Walk, told};
use super::chunk::{Books, Chunk, encode};
use super::export::{self, Kinds};
use super::log::Log;
use super::peers::{PeerId, PeerKind};
use super::slab::{NONE, Slab, Slot};
use super::table::{DestId, Path, Table};
use super::{Rib, RibStats};
use crate::wire::route_refresh::RouteRefresh;
use crate::wire::update::{UpdateContext, emit_end_of_rib};
use crate::wire::{AFI_L2VPN, SAFI_EVPN};

/// Quiet entries looked at in one call of `fill`.
const REAP: usize = 4096;
/// Chunks kept at most, whatever their size.
const MAX_CHUNKS: usize = 4096;

/// What makes two peers hear the same octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupKey {
    pub(super) kind: PeerKind,
    pub(super) context: UpdateContext,
    pub(super) extended_message: bool,
    pub(super) long_lived: bool,
}

#[derive(Debug)]
struct Group {
    key: GroupKey,
    /// By the version after which they begin. They do not overlap.
    chunks: BTreeMap<u64, Chunk>,
}

/// A destination in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// Its last change.
    version: u64,
    /// Its first change: before it, nobody can have heard of it.
    born: u64,
    /// Who may hear it now.
    can: Kinds,
    /// Who might hear it in an earlier version.
    heard: Kinds,
    /// The source changed since the first version, so that the source of now may have heard it.
    split: bool,
}

impl Slot for Node {
    fn free(next: u32) -> Self {
        Self { version: u64::from(next), born: 0, can: 0, heard: 0, split: false }
    }
    fn next_free(&self) -> u32 {
        self.version as u32
    }
}

/// A live entry of the log, as encoding sees it.
pub(super) struct Offer {
    pub(super) version: u64,
    pub(super) dest: u32,
    pub(super) can: Kinds,
    pub(super) heard: Kinds,
    pub(super) split: bool,
}

/// How far a peer has heard.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    group: usize,
    /// Everything up to this version was sent, in this walk.
    at: u64,
    /// Everything up to this version was sent, in any walk of the session.
    heard: u64,
    /// End-of-RIB is due at this version (RFC 4724 §2); `u64::MAX` while the table is still being entered into the log, or
    /// while there is none for anybody.
    end_of_rib: Option<u64>,
    /// EoRR is due at this version (RFC 7313 §4).
    end_of_refresh: Option<u64>,
    /// BoRR is due now.
    begin_of_refresh: bool,
    /// A refresh that waits for the End-of-RIB (RFC 7313 §4: no BoRR before it); whether with BoRR and EoRR.
    refresh_later: Option<bool>,
}

impl Cursor {
    fn refresh(&mut self, enhanced: bool, version: u64) {
        self.at = 0;
        self.begin_of_refresh = enhanced;
        self.end_of_refresh = enhanced.then_some(version);
    }

    fn has_pending(&self, version: u64) -> bool {
        let due = |at: Option<u64>| at.is_some_and(|at| self.at >= at);
        self.begin_of_refresh || self.at < version || due(self.end_of_rib) || due(self.end_of_refresh)
    }
}

#[derive(Debug)]
pub(super) struct AdjOut {
    log: Log,
    nodes: Slab<Node>,
    groups: Vec<Group>,
    cursors: BTreeMap<u16, Cursor>,
    /// Kinds that ever had a peer: for others nothing enters the log.
    active: Kinds,
    /// The walk that enters what a newly active kind may hear.
    exposing: Walk,
    /// No End-of-RIB goes out yet.
    end_of_rib_held: bool,
    /// Versions of entries that nobody may hear any more, in their order, with the destination.
    quiet: VecDeque<(u64, u32)>,
    /// The length of `quiet` at which it is swept for entries that no peer waits for.
    quiet_limit: usize,
    cached_octets: usize,
    cached_chunks: usize,
}

impl AdjOut {
    pub(super) fn new(quiet_limit: usize) -> Self {
        Self {
            log: Log::default(),
            nodes: Slab::new(),
            groups: Vec::new(),
            cursors: BTreeMap::new(),
            active: 0,
            exposing: Walk::default(),
            end_of_rib_held: false,
            quiet: VecDeque::new(),
            quiet_limit,
            cached_octets: 0,
            cached_chunks: 0,
        }
    }

    /// The bit of a peer's kind.
    fn bit_of(&self, cursor: &Cursor) -> Kinds {
        let key = &self.groups[cursor.group].key;
        export::bit(key.kind, key.long_lived)
    }

    /// Peers that wait for nothing but the end of the table get their End-of-RIB behind what there is now.
    fn set_end_of_rib(&mut self) {
        if self.exposing.is_over() && !self.end_of_rib_held {
            let version = self.log.version();
            for cursor in self.cursors.values_mut().filter(|cursor| cursor.end_of_rib == Some(u64::MAX)) {
                cursor.end_of_rib = Some(version);
            }
        }
    }

    /// Octets held, chunks included.
    pub(super) fn octets(&self) -> usize {
        self.log.octets() + self.nodes.octets() + self.quiet.capacity() * 16 + self.cached_octets
    }

    /// The destination changed: it moves to the end of the log. `source` and `can` are those of the best path now.
    fn change(&mut self, table: &mut Table, id: u32, can: Kinds, source_changed: bool) {
        let node = table.dests[id].node;
        let version = if node == NONE {
            if can & self.active == 0 {
                return;
            }
            let version = self.log.push(id);
            let node = Node { version, born: version, can, heard: 0, split: false };
            table.dests[id].node = self.nodes.insert(node);
            version
        } else {
            let version = self.log.push(id);
            let entry = &mut self.nodes[node];
            let before = std::mem::replace(&mut entry.version, version);
            entry.heard |= entry.can;
            entry.can = can;
            entry.split |= source_changed;
            self.kill(table, before);
            version
        };
        if can & self.active == 0 {
            self.quiet.push_back((version, id));
        }
    }

    fn kill(&mut self, table: &Table, version: u64) {
        let nodes = &self.nodes;
        self.log.kill(version, |version, dest| live(table, nodes, version, dest).is_some());
    }

    /// Takes a quiet entry out of the log, and with it every chunk that announces it. Whether it was one.
    fn forget(&mut self, table: &mut Table, version: u64, id: u32) -> bool {
        let Some(node) = live(table, &self.nodes, version, id).copied().filter(|node| node.can & self.active == 0) else {
            return false;
        };
        self.nodes.remove(table.dests[id].node);
        table.dests[id].node = NONE;
        self.kill(table, version);
        for group in &mut self.groups {
            while let Some((&start, chunk)) = group.chunks.range(..version).next_back()
                && chunk.end >= node.born
            {
                self.cached_octets -= chunk.octets();
                self.cached_chunks -= 1;
                group.chunks.remove(&start);
            }
        }
        true
    }

    /// The distinct places of peers: what they have heard in this walk, and in any.
    fn places(&self) -> Vec<(u64, u64)> {
        let mut places: Vec<_> = self.cursors.values().map(|cursor| (cursor.at, cursor.heard)).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Whether a peer at one of `places` may have heard of an entry, and has not heard of its end.
    fn is_awaited(&self, table: &Table, version: u64, id: u32, places: &[(u64, u64)]) -> bool {
        let Some(node) = live(table, &self.nodes, version, id) else { return false };
        places.iter().any(|&(at, heard)| node.born <= heard && at < version)
    }

    /// Where the slowest peer is.
    fn slowest(&self) -> u64 {
        self.cursors.values().map(|cursor| cursor.at).min().unwrap_or(u64::MAX)
    }

    fn group(&mut self, key: GroupKey) -> usize {
        match self.groups.iter().position(|group| group.key == key) {
            Some(at) => at,
            None => {
                self.groups.push(Group { key, chunks: BTreeMap::new() });
                self.groups.len() - 1
            }
        }
    }

    /// A peer of a group begins (`more`) or ends to wait for the chunks that begin in a range of versions.
    fn wait(&mut self, group: usize, from: u64, to: u64, more: bool) {
        let chunks = &mut self.groups[group].chunks;
        let mut unwanted = Vec::new();
        for (&start, chunk) in chunks.range_mut(from..to) {
            chunk.waiting = if more { chunk.waiting + 1 } else { chunk.waiting.saturating_sub(1) };
            if chunk.waiting == 0 {
                unwanted.push(start);
            }
        }
        for start in unwanted {
            if let Some(chunk) = self.groups[group].chunks.remove(&start) {
                self.cached_octets -= chunk.octets();
                self.cached_chunks -= 1;
            }
        }
    }

    /// Appends UPDATEs for one peer; see [`Rib::fill`].
    fn fill(&mut self, books: &Books<'_>, peer: u16, out: &mut Vec<u8>, budget: usize, stats: &mut RibStats) {
        let Some(mut cursor) = self.cursors.get(&peer).copied() else { return };
        let (begin, version) = (out.len(), self.log.version());
        loop {
            if std::mem::take(&mut cursor.begin_of_refresh) {
                RouteRefresh { afi: AFI_L2VPN, subtype: 1, safi: SAFI_EVPN }.emit(out);
            }
            if cursor.end_of_rib.is_some_and(|at| cursor.at >= at) {
                emit_end_of_rib(out);
                cursor.end_of_rib = None;
                if let Some(enhanced) = cursor.refresh_later.take() {
                    self.wait(cursor.group, 0, cursor.at, true);
                    cursor.refresh(enhanced, version);
                    continue;
                }
            }
            if cursor.end_of_refresh.is_some_and(|at| cursor.at >= at) {
                RouteRefresh { afi: AFI_L2VPN, subtype: 2, safi: SAFI_EVPN }.emit(out);
                cursor.end_of_refresh = None;
            }
            let written = out.len() - begin;
            if cursor.at >= version || (written > 0 && written >= budget) {
                break;
            }
            let Some(end) = self.give(books, &cursor, peer, out, budget, written, stats) else { break };
            cursor.at = end;
            cursor.heard = cursor.heard.max(end);
        }
        self.cursors.insert(peer, cursor);
    }

    /// Appends the chunk at the place of a cursor, encoding it where nobody did before; gives its end, or `None` where
    /// the budget does not allow it.
    #[allow(clippy::too_many_arguments)]
    fn give(
        &mut self,
        books: &Books<'_>,
        cursor: &Cursor,
        peer: u16,
        out: &mut Vec<u8>,
        budget: usize,
        written: usize,
        stats: &mut RibStats,
    ) -> Option<u64> {
        let fits = |chunk: &Chunk| written == 0 || written + chunk.len() <= budget;
        let group = &mut self.groups[cursor.group];
        if let Some(chunk) = group.chunks.get_mut(&cursor.at) {
            if !fits(chunk) {
                return None;
            }
            chunk.copy_to(peer, out);
            let end = chunk.end;
            stats.chunks_sent += 1;
            chunk.waiting = chunk.waiting.saturating_sub(1);
            if chunk.waiting == 0 {
                self.cached_octets -= chunk.octets();
                self.cached_chunks -= 1;
                group.chunks.remove(&cursor.at);
            }
            return Some(end);
        }
        // Up to where the next chunk begins, so that this peer may go on with what others have.
        let stop = group.chunks.range(cursor.at..).next().map_or(self.log.version(), |(&start, _)| start);
        let (log, nodes) = (&self.log, &self.nodes);
        let offers = log.after(cursor.at).filter_map(|(version, dest)| {
            let node = live(books.table, nodes, version, dest)?;
            Some(Offer { version, dest, can: node.can, heard: node.heard, split: node.split })
        });
        let mut chunk = encode(books, &group.key, offers, stop, stats);
        let (end, fits) = (chunk.end, fits(&chunk));
        if fits {
            chunk.copy_to(peer, out);
            stats.chunks_sent += 1;
        }
        chunk.waiting = self.cursors.values().filter(|c| c.group == cursor.group && c.at <= cursor.at).count();
        chunk.waiting -= usize::from(fits && chunk.waiting > 0);
        self.keep(cursor.group, cursor.at, chunk, books.config.export_cache_octets);
        fits.then_some(end)
    }

    /// Keeps a chunk for the peers that wait for it, where there is room, or where another is much less waited for.
    fn keep(&mut self, group: usize, start: u64, chunk: Chunk, limit: usize) {
        if chunk.waiting == 0 {
            return;
        }
        // A chunk that begins before and ends after cannot stay: their order is how `forget` finds them.
        if let Some((&before, overlapping)) = self.groups[group].chunks.range(..start).next_back()
            && overlapping.end > start
        {
            self.cached_octets -= overlapping.octets();
            self.cached_chunks -= 1;
            self.groups[group].chunks.remove(&before);
        }
        while self.cached_octets + chunk.octets() > limit || self.cached_chunks >= MAX_CHUNKS {
            let all = self.groups.iter().enumerate().flat_map(|(at, g)| g.chunks.iter().map(move |(s, c)| (c.waiting, at, *s)));
            match all.min() {
                Some((waiting, at, start)) if waiting * 2 <= chunk.waiting => {
                    if let Some(least) = self.groups[at].chunks.remove(&start) {
                        self.cached_octets -= least.octets();
                        self.cached_chunks -= 1;
                    }
                }
                _ => return,
            }
        }
        self.cached_octets += chunk.octets();
        self.cached_chunks += 1;
        self.groups[group].chunks.insert(start, chunk);
    }
}

/// The node of a destination whose last change is `version`.
fn live<'a>(table: &Table, nodes: &'a Slab<Node>, version: u64, dest: u32) -> Option<&'a Node> {
    let node = table.dest(dest)?.node;
    if node == NONE {
        return None;
    }
    nodes.slot(node).filter(|node| node.version == version)
}

impl Rib {
    /// Who may hear a path, by the rules of `export`.
    fn audience(&self, path: &Path) -> Kinds {
        let source = self.peers.slot(path.peer).peer.kind;
        self.attrs.block(path.attr).map_or(0, |block| export::may_hear(source, block.audience, block.rank.long_lived_stale))
    }

    /// The best path of a destination is `best` now, and its source was `source` before.
    pub(super) fn export_change(&mut self, id: u32, source: Option<u16>, best: Option<&Path>) {
        let can = best.map_or(0, |path| self.audience(path));
        let source_changed = best.is_some_and(|path| source != Some(path.peer));
        self.adj_out.change(&mut self.table, id, can, source_changed);
        if self.adj_out.quiet.len() > self.adj_out.quiet_limit {
            self.sweep_quiet();
        }
    }

    /// From now on the peer is told the best paths: the whole table is pending, then End-of-RIB. To be called once after
    /// [`add_peer`](Self::add_peer).
    pub fn join_export(&mut self, peer: PeerId) {
        if !self.peers.is_up(peer) {
            return;
        }
        self.leave_export(peer);
        let of = self.peers.slot(peer.0).peer;
        let out = &mut self.adj_out;
        let group = out.group(GroupKey {
            kind: of.kind,
            context: of.context,
            extended_message: of.extended_message,
            long_lived: of.long_lived,
        });
        let bit = export::bit(of.kind, of.long_lived);
        if out.active & bit == 0 {
            out.active |= bit;
            out.exposing.restart(self.table.dests.len());
        }
        let complete = out.exposing.is_over() && !out.end_of_rib_held;
        let end_of_rib = Some(if complete { out.log.version() } else { u64::MAX });
        out.wait(group, 0, u64::MAX, true);
        let cursor =
            Cursor { group, at: 0, heard: 0, end_of_rib, end_of_refresh: None, begin_of_refresh: false, refresh_later: None };
        out.cursors.insert(peer.0, cursor);
    }

    /// While `held`, no peer is told End-of-RIB: not all that will be announced is known yet (RFC 4724 §4.1). Those that
    /// joined meanwhile get it afterwards.
    pub fn hold_end_of_rib(&mut self, held: bool) {
        self.adj_out.end_of_rib_held = held;
        self.adj_out.set_end_of_rib();
    }

    /// The peer hears nothing more.
    pub(super) fn leave_export(&mut self, peer: PeerId) {
        if let Some(cursor) = self.adj_out.cursors.remove(&peer.0) {
            self.adj_out.wait(cursor.group, cursor.at, u64::MAX, false);
        }
    }

    /// The peer asked for a route refresh (RFC 2918): all is pending again; with `enhanced` between BoRR and EoRR
    /// (RFC 7313).
    pub fn refresh_export(&mut self, peer: PeerId, enhanced: bool) {
        let version = self.adj_out.log.version();
        let Some(cursor) = self.adj_out.cursors.get_mut(&peer.0) else { return };
        if cursor.end_of_rib.is_some() {
            cursor.refresh_later = Some(enhanced || cursor.refresh_later == Some(true));
            return;
        }
        let (group, at) = (cursor.group, cursor.at);
        cursor.refresh(enhanced, version);
        self.adj_out.wait(group, 0, at, true);
    }

    /// Whether [`fill`](Self::fill) has something to do for a peer (which may come to no octets).
    pub fn has_pending(&self, peer: PeerId) -> bool {
        let version = self.adj_out.log.version();
        self.adj_out.cursors.get(&peer.0).is_some_and(|cursor| cursor.has_pending(version))
    }

    /// Appends whole UPDATEs that the peer is yet to hear, about `budget` octets and at least one chunk where anything is
    /// pending. Gives the octets appended.
    pub fn fill(&mut self, peer: PeerId, out: &mut Vec<u8>, budget: usize) -> usize {
        let begin = out.len();
        let books =
            Books { table: &self.table, changes: &self.changes, attrs: &self.attrs, peers: &self.peers, config: &self.config };
        self.adj_out.fill(&books, peer.0, out, budget, &mut self.stats);
        self.reap(REAP);
        out.len() - begin
    }

    /// Whether the peer has been told the best path that this destination has now.
    pub fn is_advertised(&self, dest: DestId, peer: PeerId) -> bool {
        let Some(cursor) = self.adj_out.cursors.get(&peer.0) else { return false };
        let Some(entry) = self.table.dest(dest.0).filter(|entry| entry.node != NONE) else { return false };
        let node = &self.adj_out.nodes[entry.node];
        let source = told(&self.table, &self.changes, dest.0).map(|path| path.peer);
        let may = node.can & self.adj_out.bit_of(cursor) != 0;
        may && node.version <= cursor.heard && source.is_some_and(|source| source != peer.0)
    }

    /// How many destinations each peer that hears from us has been told. One walk over the table, and one more for each
    /// peer that is behind.
    pub fn advertised_counts(&self) -> BTreeMap<PeerId, u64> {
        let mut by_source: BTreeMap<(u16, export::Kinds), u64> = BTreeMap::new();
        for id in 0..self.table.dests.len() {
            let Some(entry) = self.table.dest(id).filter(|entry| entry.node != NONE) else { continue };
            let Some(path) = told(&self.table, &self.changes, id) else { continue };
            *by_source.entry((path.peer, self.adj_out.nodes[entry.node].can)).or_default() += 1;
        }
        let count = |(&peer, cursor): (&u16, &Cursor)| {
            let id = PeerId(peer);
            if self.has_pending(id) {
                let told = (0..self.table.dests.len()).filter(|&dest| self.is_advertised(DestId(dest), id)).count();
                return (id, told as u64);
            }
            let kind = self.adj_out.bit_of(cursor);
            let heard = by_source.iter().filter(|((source, can), _)| *source != peer && can & kind != 0);
            (id, heard.map(|(_, count)| count).sum())
        };
        self.adj_out.cursors.iter().map(count).collect()
    }

    /// Takes quiet entries that every peer has come past out of the log, at most `budget`. Whether there are more.
    pub(super) fn reap(&mut self, budget: usize) -> bool {
        if self.adj_out.quiet.is_empty() {
            return false;
        }
        let slowest = self.adj_out.slowest();
        for _ in 0..budget {
            match self.adj_out.quiet.front() {
                Some(&(version, id)) if version <= slowest => {
                    self.adj_out.quiet.pop_front();
                    if self.adj_out.forget(&mut self.table, version, id) {
                        self.settle(id);
                    }
                }
                _ => return false,
            }
        }
        self.adj_out.quiet.front().is_some_and(|&(version, _)| version <= slowest)
    }

    /// Takes quiet entries that no peer waits for out of the log, though a peer that never heard of them is behind.
    fn sweep_quiet(&mut self) {
        let (quiet, places) = (std::mem::take(&mut self.adj_out.quiet), self.adj_out.places());
        for (version, id) in quiet {
            if self.adj_out.is_awaited(&self.table, version, id, &places) {
                self.adj_out.quiet.push_back((version, id));
            } else if self.adj_out.forget(&mut self.table, version, id) {
                self.settle(id);
            }
        }
        self.adj_out.quiet_limit = self.config.export_quiet.max(self.adj_out.quiet.len() * 2);
    }

    /// Whether the walk for a newly active kind of peers is under way.
    pub(super) const fn is_exposing(&self) -> bool {
        !self.adj_out.exposing.is_over()
    }

    /// One visit of the walk that enters into the log what a newly active kind may hear; whether there are more.
    pub(super) fn walk_exposed(&mut self) -> bool {
        if self.adj_out.exposing.is_over() {
            return false;
        }
        if let Some(id) = self.adj_out.exposing.step()
            && self.table.dest(id).is_some_and(|dest| dest.node == NONE)
            && let Some(path) = told(&self.table, &self.changes, id)
        {
            let can = self.audience(&path);
            self.adj_out.change(&mut self.table, id, can, false);
        }
        self.adj_out.set_end_of_rib();
        !self.adj_out.exposing.is_over()
    }
}
