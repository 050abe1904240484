//! Floor 2: every path that peers announced or we originate, which of them is the best, and what each peer is yet to
//! hear. Knows no session: it is told when a peer comes and goes, and gives UPDATEs when asked to fill a buffer.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `receive` | an UPDATE, or a route of our own, into the table |
//! | `attrs` | attribute blocks, interned raw |
//! | `key`, `slab`, `table` | destinations and paths in few octets |
//! | `peers` | what a peer is to us, and which of its paths are alive |
//! | `decision` | the best of several, in numbered steps |
//! | `room` | how many paths a destination may have |
//! | `change` | what changed, decided once; walks after a session ended |
//! | `export` | who may hear a path, and what its attributes become |
//! | `log`, `adj_out`, `chunk` | the order of changes, each peer's place in it, and UPDATEs encoded once for equal peers |
//! | `view`, `stats` | for other rooms and for people |
//!
//! Read them in this order. A route's walk: `handle_update` → `next_change` → `fill`.

mod adj_out;
mod attrs;
mod change;
mod chunk;
mod counts;
mod decision;
mod export;
mod key;
mod log;
mod peers;
mod receive;
mod room;
mod slab;
mod stats;
mod table;
mod view;

pub use attrs::AttrId;
pub use key::RouteKey;
pub use peers::{PeerId, PeerKind, RibPeer, Stale};
pub use receive::UpdateOutcome;
pub use stats::RibStats;
pub use table::DestId;
pub use view::PathView;

use crate::base::{Asn, BgpIdentifier};
use std::net::Ipv4Addr;

/// What the table must know of ourselves, and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RibConfig {
    /// Our AS.
    pub asn: Asn,
    /// Our identifier, which is the cluster id too (RFC 4456 §7).
    pub identifier: BgpIdentifier,
    /// The key of every hash over what peers send.
    pub seed: u64,
    /// The longest attribute block that is taken, in octets, without MP_REACH and MP_UNREACH.
    pub max_attribute_len: usize,
    /// About the octets of memory that the attribute blocks of one peer may take.
    pub max_attribute_octets: u64,
    /// The most destinations; announcements beyond are not taken. Less than 2^24.
    pub max_destinations: u32,
    /// The most paths of one destination, at least 2: the best are kept.
    pub max_paths: u32,
    /// Octets of encoded UPDATEs kept for peers that have not taken them yet.
    pub export_cache_octets: usize,
    /// About the octets of NLRI that are encoded at a time. UPDATEs that share attributes are packed within these.
    pub export_chunk_octets: usize,
    /// How many destinations may wait to be withdrawn from slow peers before it is looked whether all of them must.
    pub export_quiet: usize,
}

impl RibConfig {
    /// The configuration of a speaker with the usual limits.
    pub fn new(asn: Asn, identifier: BgpIdentifier, seed: u64) -> Self {
        Self { asn, identifier, seed, ..Self::default() }
    }
}

impl Default for RibConfig {
    fn default() -> Self {
        Self {
            asn: Asn(0),
            identifier: BgpIdentifier(Ipv4Addr::UNSPECIFIED),
            seed: 0,
            max_attribute_len: 4096,
            max_attribute_octets: 256 << 20,
            max_destinations: 10_000_000,
            max_paths: 64,
            export_cache_octets: 8 << 20,
            export_chunk_octets: 40 << 10,
            export_quiet: 1024,
        }
    }
}

/// What the table holds, for `show status` and for tests of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RibMemory {
    /// Destinations, those that only wait to be withdrawn from peers included.
    pub destinations: u32,
    /// Distinct attribute blocks.
    pub attribute_blocks: usize,
    /// Octets of destinations, paths, their index and the list of changes.
    pub table_octets: usize,
    /// Octets of attribute blocks.
    pub attribute_octets: usize,
    /// Octets of what peers are yet to hear.
    pub export_octets: usize,
}

/// The table; see the head of this file.
#[derive(Debug)]
pub struct Rib {
    config: RibConfig,
    peers: peers::Peers,
    attrs: attrs::AttrTable,
    table: table::Table,
    changes: change::Changes,
    ended_walk: change::Walk,
    adj_out: adj_out::AdjOut,
    refused: room::Refused,
    /// A path was refused for the first time, and nobody was told yet.
    refused_first: bool,
    stats: RibStats,
}

impl Rib {
    /// An empty table.
    pub fn new(config: RibConfig) -> Self {
        let config = RibConfig { max_destinations: config.max_destinations.min((1 << 24) - 2), ..config };
        Self {
            config,
            peers: peers::Peers::new(config.asn, config.identifier),
            attrs: attrs::AttrTable::new(config.seed, config.asn, config.identifier, config.max_attribute_len),
            table: table::Table::new(config.seed),
            changes: change::Changes::new(),
            ended_walk: change::Walk::default(),
            adj_out: adj_out::AdjOut::new(config.export_quiet),
            refused: room::Refused::default(),
            refused_first: false,
            stats: RibStats::default(),
        }
    }

    /// Another [`RibConfig::max_attribute_octets`].
    pub fn set_max_attribute_octets(&mut self, max_attribute_octets: u64) {
        self.config.max_attribute_octets = max_attribute_octets;
    }

    /// Another `max_routes` for a peer, up or not.
    pub fn set_max_routes(&mut self, id: PeerId, max_routes: Option<u32>) {
        if id != PeerId::LOCAL {
            self.peers.slot_mut(id.0).peer.max_routes = max_routes;
        }
    }

    /// A peer reached Established. It hears nothing before [`join_export`](Self::join_export).
    pub fn add_peer(&mut self, id: PeerId, peer: RibPeer) {
        if id == PeerId::LOCAL {
            return;
        }
        self.peer_down(id, Stale::Drop);
        let slot = self.peers.slot_mut(id.0);
        let other = (slot.peer.asn, slot.peer.identifier) != (peer.asn, peer.identifier);
        let renamed = other || slot.peer.kind != peer.kind;
        (slot.peer, slot.up) = (peer, true);
        slot.identity = slot.identity.wrapping_add(u8::from(renamed));
        if other {
            // What was kept for its restart came from what is now somebody else.
            self.sweep_stale(id);
        } else if renamed && slot.stale_routes > 0 {
            self.ended_walk.restart(self.table.dests.len());
        }
    }
}
