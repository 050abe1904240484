//! The peers as the table knows them: what they are to us, and which of their paths are alive.
//!
//! A path carries the number of the session that brought it. When a session ends its number is over, so that a walk
//! may collect the dead paths in slices while the next session already brings new ones.

use std::net::{IpAddr, Ipv4Addr};

use super::table::Path;
use crate::base::{Asn, BgpIdentifier};
use crate::wire::update::UpdateContext;

/// The number of a peer, given by the speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

impl PeerId {
    /// Ourselves: the source of what `originate` brings.
    pub const LOCAL: Self = Self(u16::MAX);
}

/// What a peer is to us, which decides who hears what (RFC 4271 §9.2, RFC 4456 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKind {
    /// Ourselves.
    Local,
    /// eBGP.
    External,
    /// iBGP, a client of ours.
    Client,
    /// iBGP, not a client.
    NonClient,
}

/// A peer at the time it reached Established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RibPeer {
    /// What it is to us.
    pub kind: PeerKind,
    /// Its AS.
    pub asn: Asn,
    /// Its identifier, from its OPEN.
    pub identifier: BgpIdentifier,
    /// Its address.
    pub address: IpAddr,
    /// How many routes it may have here before `handle_update` reports it; `None`: any number.
    pub max_routes: Option<u32>,
    /// How its UPDATEs are read, and ours to it written.
    pub context: UpdateContext,
    /// Messages to it may have 65535 octets (RFC 8654).
    pub extended_message: bool,
    /// It sent the long-lived graceful restart capability: it may hear of long-lived stale routes (RFC 9494 §4.3).
    pub long_lived: bool,
}

/// What becomes of a peer's paths when its session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// They go, and those kept from earlier sessions with them.
    Drop,
    /// They stay, marked and less preferred; those kept from earlier sessions go (RFC 4724 §4.2).
    Keep,
    /// They stay beside those kept from earlier sessions (RFC 8538 §4.1).
    KeepAll,
}

/// Whether a path's session still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Liveness {
    /// The session that brought it runs.
    Live,
    /// Its session ended and it is kept while the peer restarts (RFC 4724 §4.2).
    Stale,
    /// Its session ended; a walk will collect it.
    Dead,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PeerSlot {
    pub(super) peer: RibPeer,
    pub(super) up: bool,
    /// The number of the session that runs, or of the next one.
    pub(super) session: u8,
    /// The first of the sessions whose paths are kept as stale; the last is the one before `session`.
    pub(super) stale_from: Option<u8>,
    /// A route refresh of the peer is under way: what it announced before is "stale" until it comes again (RFC 7313 §4), and as
    /// good as ever meanwhile.
    pub(super) refreshing: bool,
    /// What is kept is long-lived stale (RFC 9494 §4.2): marked so as the walk comes by.
    pub(super) stale_long: bool,
    /// Paths of the session that runs.
    pub(super) routes: u32,
    /// Paths kept as stale.
    pub(super) stale_routes: u32,
    /// Sessions that ended since a walk last collected everything: their numbers must not come round again.
    pub(super) ended: u8,
    /// Counts how often the number came to stand for another peer, or for the same one in another role.
    pub(super) identity: u8,
}

impl PeerSlot {
    const fn new(kind: PeerKind, identifier: BgpIdentifier, asn: Asn) -> Self {
        let peer = RibPeer {
            kind,
            asn,
            identifier,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            max_routes: None,
            context: UpdateContext { four_octet_as: true, external: false },
            extended_message: false,
            long_lived: false,
        };
        Self {
            peer,
            up: false,
            session: 0,
            stale_from: None,
            refreshing: false,
            stale_long: false,
            routes: 0,
            stale_routes: 0,
            ended: 0,
            identity: 0,
        }
    }
}

/// All peers, by number.
#[derive(Debug)]
pub(super) struct Peers {
    slots: Vec<PeerSlot>,
    local: PeerSlot,
}

impl Peers {
    pub(super) fn new(asn: Asn, identifier: BgpIdentifier) -> Self {
        Self { slots: Vec::new(), local: PeerSlot { up: true, ..PeerSlot::new(PeerKind::Local, identifier, asn) } }
    }

    pub(super) fn slot(&self, id: u16) -> &PeerSlot {
        self.slots.get(usize::from(id)).unwrap_or(&self.local)
    }

    /// The slot of a peer, made where it is new.
    pub(super) fn slot_mut(&mut self, id: u16) -> &mut PeerSlot {
        if id == PeerId::LOCAL.0 {
            return &mut self.local;
        }
        let index = usize::from(id);
        if index >= self.slots.len() {
            let empty = PeerSlot::new(PeerKind::NonClient, self.local.peer.identifier, self.local.peer.asn);
            self.slots.resize(index + 1, empty);
        }
        &mut self.slots[index]
    }

    /// Whether a peer of this number is up.
    pub(super) fn is_up(&self, id: PeerId) -> bool {
        id != PeerId::LOCAL && self.slots.get(usize::from(id.0)).is_some_and(|slot| slot.up)
    }

    pub(super) fn liveness(&self, path: &Path) -> Liveness {
        let slot = self.slot(path.peer);
        if slot.up && path.session == slot.session {
            Liveness::Live
        } else if slot.stale_from.is_some_and(|from| path.session.wrapping_sub(from) < slot.session.wrapping_sub(from)) {
            Liveness::Stale
        } else {
            Liveness::Dead
        }
    }

    /// A path came into the table.
    pub(super) fn count(&mut self, path: &Path) {
        self.slot_mut(path.peer).routes += 1;
    }

    /// A path left the table.
    pub(super) fn discount(&mut self, path: &Path) {
        let liveness = self.liveness(path);
        let slot = self.slot_mut(path.peer);
        match liveness {
            Liveness::Live => slot.routes = slot.routes.saturating_sub(1),
            Liveness::Stale => slot.stale_routes = slot.stale_routes.saturating_sub(1),
            Liveness::Dead => {}
        }
    }

    /// A walk has collected every dead path.
    pub(super) fn all_collected(&mut self) {
        for slot in &mut self.slots {
            slot.ended = 0;
        }
    }
}
