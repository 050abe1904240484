//! The table as other rooms and people see it: the best path, every path, and why.

use std::net::IpAddr;

use super::attrs::AttrId;
use super::change::{candidates, told};
use super::decision;
use super::key::RouteKey;
use super::peers::PeerId;
use super::table::{Dest, DestId, Path};
use super::{Rib, RibMemory};
use crate::base::{MacAddr, Time};
use crate::wire::attribute::Attributes;
use crate::wire::esi::Esi;
use crate::wire::evpn::EvpnRoute;
use crate::wire::rd::Rd;

/// One peer's path to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathView {
    /// Who brought it; [`PeerId::LOCAL`] for our own.
    pub peer: PeerId,
    /// Its attributes.
    pub attr: AttrId,
    /// First label, 24 bits: the VNI of a VXLAN route (RFC 8365 §5.1.3); 0 in types that have none.
    pub label1: u32,
    /// Second label of a type 2.
    pub label2: Option<u32>,
    /// Ethernet segment, zero where the type has none.
    pub esi: Esi,
    /// Gateway of a type 5, where it is not zero.
    pub gateway: Option<IpAddr>,
    /// Kept while its peer restarts (RFC 4724).
    pub stale: bool,
    /// When it came, in whole seconds.
    pub received: Time,
}

impl Rib {
    fn view(&self, dest: &Dest, path: &Path) -> PathView {
        let extra = self.table.names.extra(path.extra);
        let esi = match dest.key.kind() {
            1 | 4 => match self.table.names.route(&dest.key, 0, u32::MAX) {
                EvpnRoute::EthernetAd(route) => route.esi,
                EvpnRoute::EthernetSegment(route) => route.esi,
                _ => extra.esi,
            },
            _ => extra.esi,
        };
        PathView {
            peer: PeerId(path.peer),
            attr: AttrId(path.attr),
            label1: path.label(),
            label2: extra.label2,
            esi,
            gateway: extra.gateway,
            stale: path.is_stale(),
            received: Time::from_secs(u64::from(path.received)),
        }
    }

    /// The best path as [`next_change`](Self::next_change) told it last: what came since is not decided yet.
    pub fn best(&self, dest: DestId) -> Option<PathView> {
        let path = told(&self.table, &self.changes, dest.0)?;
        Some(self.view(self.table.dest(dest.0)?, &path))
    }

    /// Every path, decided or not; the best first where it was decided.
    pub fn paths(&self, dest: DestId) -> impl Iterator<Item = PathView> + '_ {
        let entry = self.table.dest(dest.0);
        self.table.paths(dest.0).filter_map(move |path| Some(self.view(entry?, path)))
    }

    /// The key of a destination; an unknown type 0 without octets where it was freed.
    pub fn key(&self, dest: DestId) -> RouteKey {
        match self.table.dest(dest.0) {
            Some(entry) => RouteKey::of(&self.table.names.route(&entry.key, 0, u32::MAX)),
            None => RouteKey::Unknown { route_type: 0, value: Box::default() },
        }
    }

    /// The key of a type 2, without a detour; `None` for every other type.
    pub fn mac_ip(&self, dest: DestId) -> Option<(Rd, u32, MacAddr, Option<IpAddr>)> {
        let entry = self.table.dest(dest.0)?;
        match self.table.names.route(&entry.key, 0, u32::MAX) {
            EvpnRoute::MacIp(route) => Some((route.rd, route.tag, route.mac, route.ip)),
            _ => None,
        }
    }

    /// The destination of a key, where it has a path or its last change was not taken yet.
    pub fn find(&self, key: &RouteKey) -> Option<DestId> {
        let key = self.table.names.peek(&key.to_route())?;
        let id = self.table.lookup(&key)?;
        self.table.dest(id).filter(|dest| dest.has_path() || dest.dirty().is_some())?;
        Some(DestId(id))
    }

    /// The attributes behind an id; empty ones where it was freed.
    pub fn attributes(&self, attr: AttrId) -> &Attributes {
        self.attrs.attributes(attr.0)
    }

    /// How often an id was freed: with the id it names a block for ever, so that others can keep what they computed.
    pub fn attr_generation(&self, attr: AttrId) -> u32 {
        self.attrs.generation(attr.0)
    }

    /// Whether a block says LLGR_STALE (RFC 9494 §4.3): its routes are kept for somebody whose session was lost long ago.
    pub fn is_long_lived_stale(&self, attr: AttrId) -> bool {
        self.attrs.is_long_lived_stale(attr.0)
    }

    /// Every destination that has a path, in the order of ids.
    pub fn dests(&self) -> impl Iterator<Item = DestId> + '_ {
        let has_path = |id: &u32| self.table.dest(*id).is_some_and(Dest::has_path);
        (0..self.table.dests.len()).filter(has_path).map(DestId)
    }

    /// Ids of destinations are below this: for walks in slices. Not every one stands for a destination.
    pub fn dest_ids(&self) -> u32 {
        self.table.dests.len()
    }

    /// Every path with the step of the decision at which it lost, or "best".
    pub fn why_best(&self, dest: DestId) -> Vec<(PathView, String)> {
        let candidates = candidates(&self.table, &self.attrs, &self.peers, dest.0);
        self.paths(dest).enumerate().map(|(position, path)| (path, decision::why(&candidates, position))).collect()
    }

    /// How many routes a peer has here, those kept as stale included.
    pub fn peer_routes(&self, peer: PeerId) -> u32 {
        let slot = self.peers.slot(peer.0);
        slot.routes + slot.stale_routes
    }

    /// About the octets of memory that the attribute blocks take which this peer brought first.
    pub fn peer_attribute_octets(&self, peer: PeerId) -> u64 {
        self.attrs.owned(peer.0)
    }

    /// How many destinations there are, and how much memory they and the rest take.
    pub fn memory(&self) -> RibMemory {
        RibMemory {
            destinations: self.table.dests.used(),
            attribute_blocks: self.attrs.len(),
            table_octets: self.table.octets() + self.changes.octets(),
            attribute_octets: self.attrs.octets(),
            export_octets: self.adj_out.octets(),
        }
    }
}
