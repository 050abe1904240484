//! The peers: who they are, their sessions, and which TCP connection belongs to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::base::Time;
use crate::config::{Neighbor, NeighborAddress};
use crate::control::Event;
use crate::rib::{PeerId, PeerKind, RibPeer, UpdateOutcome};
use crate::session::graceful::{Helper, Input, Pause, Terms};
use crate::session::{Admission, Direction, DownReason, Negotiated, Session, SessionConfig};
use crate::wire::update::UpdateContext;

use super::limits::{Departed, Watch, hit};
use super::{Action, ConnId, Speaker, Transport};

/// One peer: configured, or one that a `listen-range` let in.
#[derive(Debug)]
pub struct Peer {
    /// Its name in the tables.
    pub id: PeerId,
    /// Its address: connections from it are its own.
    pub address: IpAddr,
    /// Its configuration; that of the range for a dynamic peer.
    pub neighbor: Neighbor,
    /// Let in by a `listen-range`; forgotten when its session ends.
    pub dynamic: bool,
    /// Its protocol life.
    pub session: Session,
    /// The connections: outgoing, incoming.
    pub(super) connections: [Option<Connection>; 2],
    /// It said End-of-RIB in this session.
    pub end_of_rib: bool,
    /// Octets received and sent over all of its connections.
    pub octets_in: u64,
    /// See `octets_in`.
    pub octets_out: u64,
    /// Mistakes of RFC 7606 that cost an attribute or the routes of an UPDATE, and NLRI that could not be read.
    pub update_mistakes: u64,
    /// What it grew and how it behaved.
    pub(super) watch: Watch,
    /// The last refusal that was logged, so that a retry every few seconds does not repeat itself.
    pub(super) last_refusal: Option<String>,
    /// When it last went down or did not come up.
    pub last_error_at: Option<Time>,
    /// When the session came up; `None` while it is not Established.
    pub up_since: Option<Time>,
    /// What the OPENs of its last session agreed on, for when that ends.
    pub terms: Terms,
    /// It says all its routes again (RFC 7313): what it does not say goes at its EoRR, and at this time at the latest.
    pub(super) refresh_until: Option<Time>,
    /// What is kept of its earlier sessions.
    pub helper: Helper,
    /// Forget this peer once its connections are closed.
    pub(super) leaving: bool,
}

/// One TCP connection of a peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: SocketAddr,
}

fn slot(direction: Direction) -> usize {
    match direction {
        Direction::Outgoing => 0,
        Direction::Incoming => 1,
    }
}

impl Peer {
    /// Local and remote end of the connection that carries the session.
    pub fn ends(&self) -> Option<(Option<SocketAddr>, SocketAddr)> {
        let (direction, _) = self.session.established()?;
        self.connections[slot(direction)].map(|c| (c.local, c.remote))
    }

    pub(super) fn note_update(&mut self, outcome: &UpdateOutcome) {
        self.end_of_rib |= outcome.end_of_rib;
        self.update_mistakes += outcome.mistakes.len() as u64 + u64::from(outcome.nlri_errors);
    }

    fn negotiated_as_rib_peer(&self, negotiated: &Negotiated, max_routes: u32) -> RibPeer {
        let kind = match (negotiated.external, self.neighbor.route_reflector_client) {
            (true, _) => PeerKind::External,
            (false, true) => PeerKind::Client,
            (false, false) => PeerKind::NonClient,
        };
        RibPeer {
            kind,
            asn: negotiated.peer_asn,
            identifier: negotiated.peer_identifier,
            address: self.address,
            max_routes: Some(self.neighbor.max_routes.unwrap_or(max_routes)),
            context: UpdateContext { four_octet_as: negotiated.four_octet_as, external: negotiated.external },
            extended_message: negotiated.extended_message,
            long_lived: self.terms.long_lived_capable,
        }
    }
}

/// All peers, by id, address and connection.
#[derive(Debug, Default)]
pub(super) struct Peers {
    slots: Vec<Option<Peer>>,
    by_address: BTreeMap<IpAddr, PeerId>,
    by_connection: BTreeMap<ConnId, (PeerId, Direction)>,
    /// Neighbors with a `listen-range`.
    pub(super) ranges: Vec<Neighbor>,
    next_connection: u64,
    /// How those of ranges behaved that are gone.
    departed: Departed,
    /// Ids whose paths the table may still be walking over.
    retired: BTreeSet<PeerId>,
}

impl Peers {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().flatten()
    }

    pub(super) fn by_id(&self, id: PeerId) -> Option<&Peer> {
        self.slots.get(usize::from(id.0))?.as_ref()
    }

    pub(super) fn by_id_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.slots.get_mut(usize::from(id.0))?.as_mut()
    }

    pub(super) fn by_address(&self, address: IpAddr) -> Option<&Peer> {
        self.by_id(*self.by_address.get(&address)?)
    }

    pub(super) fn connection(&self, conn: ConnId) -> Option<(PeerId, Direction)> {
        self.by_connection.get(&conn).copied()
    }

    pub(super) fn ids(&self) -> Vec<PeerId> {
        self.iter().map(|peer| peer.id).collect()
    }

    fn free_slot(&mut self) -> Option<PeerId> {
        // The last id is PeerId::LOCAL's.
        let free = (0..u16::MAX)
            .find(|&n| self.slots.get(usize::from(n)).is_none_or(Option::is_none) && !self.retired.contains(&PeerId(n)))?;
        while self.slots.len() <= usize::from(free) {
            self.slots.push(None);
        }
        Some(PeerId(free))
    }

    fn attach(&mut self, id: PeerId, direction: Direction, local: Option<SocketAddr>, remote: SocketAddr) -> ConnId {
        let conn = ConnId(self.next_connection);
        self.next_connection += 1;
        if let Some(peer) = self.by_id_mut(id) {
            let old = peer.connections[slot(direction)].replace(Connection { id: conn, local, remote });
            if let Some(old) = old {
                self.by_connection.remove(&old.id);
            }
        }
        self.by_connection.insert(conn, (id, direction));
        conn
    }

    /// Forgets the connection; the speaker's part in it is over.
    fn detach(&mut self, id: PeerId, direction: Direction) -> Option<ConnId> {
        let connection = self.by_id_mut(id)?.connections[slot(direction)].take()?;
        self.by_connection.remove(&connection.id);
        Some(connection.id)
    }

    fn remove(&mut self, id: PeerId) -> Option<Peer> {
        let peer = self.slots.get_mut(usize::from(id.0))?.take()?;
        self.by_address.remove(&peer.address);
        self.by_connection.retain(|_, (owner, _)| *owner != id);
        Some(peer)
    }
}

impl Speaker {
    /// A neighbor of the configuration: a peer that starts at once, or a range to let peers in from.
    pub(super) fn add_neighbor(&mut self, now: Time, neighbor: &Neighbor) {
        match neighbor.who {
            NeighborAddress::ListenRange(_) => self.peers.ranges.push(neighbor.clone()),
            NeighborAddress::Address(address) => {
                if let Some(id) = self.add_peer(now, address, neighbor, false)
                    && neighbor.enabled
                    && let Some(peer) = self.peers.by_id_mut(id)
                {
                    peer.session.start(now);
                    self.drain_session(now, id);
                }
            }
        }
    }

    fn add_peer(&mut self, now: Time, address: IpAddr, neighbor: &Neighbor, dynamic: bool) -> Option<PeerId> {
        let id = self.peers.free_slot()?;
        let session = Session::new(self.session_config(neighbor, dynamic), self.seed.next_u64(), now);
        let peer = Peer {
            id,
            address,
            neighbor: neighbor.clone(),
            dynamic,
            session,
            connections: [None, None],
            end_of_rib: false,
            octets_in: 0,
            octets_out: 0,
            update_mistakes: 0,
            watch: self.peers.departed.recall(address),
            last_refusal: None,
            last_error_at: None,
            up_since: None,
            terms: Terms::default(),
            refresh_until: None,
            helper: Helper::default(),
            leaving: false,
        };
        self.peers.slots[usize::from(id.0)] = Some(peer);
        self.peers.by_address.insert(address, id);
        Some(id)
    }

    fn session_config(&self, neighbor: &Neighbor, dynamic: bool) -> SessionConfig {
        let (graceful_restart, long_lived_stale_secs) = self.graceful_capability(neighbor);
        SessionConfig {
            local_asn: self.config.router.asn,
            local_identifier: self.config.router.router_id,
            remote_asn: Some(neighbor.asn),
            passive: neighbor.passive || dynamic,
            hold_time_secs: neighbor.hold_time_secs,
            connect_retry_secs: neighbor.connect_retry_secs,
            host_name: self.host_name.clone(),
            graceful_restart,
            long_lived_stale_secs,
        }
    }

    /// Closes a peer's session and opens it again as `neighbor` says. It is the same peer as before, and went nowhere: its
    /// routes are dealt with as those of any session that was lost.
    pub(super) fn reopen_peer(&mut self, now: Time, id: PeerId, neighbor: &Neighbor) {
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        peer.watch.forgive();
        peer.session.pause(now, Pause::Reconfigured, "configuration changed");
        self.drain_session(now, id);
        self.renew_peer(id, neighbor);
        if neighbor.enabled
            && let Some(peer) = self.peers.by_id_mut(id)
        {
            peer.session.start(now);
        }
        self.drain_session(now, id);
        self.forget_if_over(id);
    }

    /// What is configured of a peer is `neighbor` from now on; its session goes by it where that needs no other OPEN.
    pub(super) fn renew_peer(&mut self, id: PeerId, neighbor: &Neighbor) {
        let Some(dynamic) = self.peers.by_id(id).map(|peer| peer.dynamic) else { return };
        let config = self.session_config(neighbor, dynamic);
        if let Some(peer) = self.peers.by_id_mut(id) {
            peer.neighbor = neighbor.clone();
            peer.session.reconfigure(config);
        }
    }

    /// Ends a peer for good with Cease/`subcode` and these words; it is forgotten when its connections are closed.
    pub(super) fn remove_peer(&mut self, now: Time, id: PeerId, subcode: u8, text: &str) {
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        peer.leaving = true;
        peer.session.stop(now, subcode, text);
        self.drain_session(now, id);
        // What is kept of it though its session is down.
        self.graceful_step(now, id, Input::Forget);
        self.forget_if_over(id);
    }

    /// Forgets a peer now: its connections were given up.
    pub(super) fn forget_peer(&mut self, id: PeerId) {
        if self.peers.remove(id).is_some() {
            self.peers.retired.insert(id);
        }
    }

    /// Forgets a peer that leaves, or that a range let in, when its last connection is gone and nothing is kept of it.
    pub(super) fn forget_if_over(&mut self, id: PeerId) {
        let Some(peer) = self.peers.by_id(id) else { return };
        // One that rests is remembered, so that it is turned away; so is one whose routes are kept.
        let may_go = peer.dynamic && peer.watch.rests_until().is_none() && !peer.helper.keeps();
        if (peer.leaving || may_go) && peer.connections.iter().all(Option::is_none) {
            if let Some(peer) = self.peers.remove(id).filter(|peer| !peer.leaving)
                && self.peers.departed.remember(peer.address, peer.watch)
            {
                self.events.count("neighbors_forgotten");
            }
            self.peers.retired.insert(id);
        }
    }

    /// Ids of gone peers are free again once the table holds no path of theirs.
    pub(super) fn free_retired_peers(&mut self) {
        let rib = &self.rib;
        self.peers.retired.retain(|&id| rib.peer_routes(id) > 0);
    }

    /// Somebody connected. `Err`: not to be served; these last octets (maybe none) are for it, then close.
    pub fn handle_incoming(
        &mut self,
        now: Time,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(ConnId, Box<Transport>), Vec<u8>> {
        let address = remote.ip().to_canonical();
        let Some(id) = self.admit(now, address) else { return Err(Vec::new()) };
        let Some(peer) = self.peers.by_id_mut(id) else { return Err(Vec::new()) };
        let neighbor = peer.neighbor.clone();
        let old = peer.connections[slot(Direction::Incoming)];
        match peer.session.handle_connected(now, Direction::Incoming) {
            Admission::Taken => {}
            Admission::Replaces(farewell) => {
                if let Some(old) = old {
                    self.actions.push_back(Action::Close(old.id, farewell));
                }
            }
            Admission::Refused(octets) => return Err(octets),
        }
        let external = neighbor.asn != self.config.router.asn;
        let conn = self.peers.attach(id, Direction::Incoming, Some(local), remote);
        self.drain_session(now, id);
        self.settle(now);
        Ok((conn, Box::new(Transport { remote, local: None, neighbor, external })))
    }

    /// The neighbor that somebody at `address` would be: for what must be checked before a word is said.
    pub fn neighbor_at(&self, address: IpAddr) -> Option<&Neighbor> {
        match self.peers.by_address(address) {
            Some(peer) => Some(&peer.neighbor),
            None => self.peers.ranges.iter().find(|range| range.enabled && range.who.contains(address)),
        }
    }

    /// Somebody who connected was dropped by the rim: why, in words.
    pub fn handle_refused(&mut self, address: IpAddr, reason: &str) {
        self.refuse_connection(address, reason);
    }

    /// The peer behind `address`, making one where a `listen-range` lets it in.
    fn admit(&mut self, now: Time, address: IpAddr) -> Option<PeerId> {
        if self.drain.is_some() || self.stopping {
            return None;
        }
        if let Some(peer) = self.peers.by_address(address) {
            return (peer.neighbor.enabled && !peer.leaving).then_some(peer.id);
        }
        let Some(range) = self.peers.ranges.iter().find(|range| range.enabled && range.who.contains(address)).cloned() else {
            self.refuse_connection(address, "no neighbor and no listen-range names it");
            return None;
        };
        let pending = |peer: &&Peer| peer.dynamic && peer.session.established().is_none();
        if self.peers.iter().filter(pending).count() >= self.config.limits.pending_connections as usize {
            self.refuse_connection(address, "[limits] pending-connections is reached");
            return None;
        }
        let limit = self.config.limits.dynamic_neighbors as usize;
        if self.peers.iter().filter(|peer| peer.dynamic).count() >= limit {
            self.refuse_connection(address, "[limits] dynamic-neighbors is reached");
            return None;
        }
        let id = self.add_peer(now, address, &range, true)?;
        self.peers.by_id_mut(id)?.session.start(now);
        self.drain_session(now, id);
        Some(id)
    }

    /// Counted always, told once in a while: whoever scans ports must not fill the log.
    pub(super) fn refuse_connection(&mut self, address: IpAddr, reason: &str) {
        if hit(&mut self.events, "connections_refused") {
            self.events.push(Event::ConnectionRefused { address, reason: reason.to_owned() });
        }
    }

    /// The session wants to connect.
    pub(super) fn connect(&mut self, id: PeerId) {
        let Some(peer) = self.peers.by_id(id) else { return };
        let remote = SocketAddr::new(peer.address, peer.neighbor.port);
        let neighbor = peer.neighbor.clone();
        let external = neighbor.asn != self.config.router.asn;
        let local = neighbor.local_address.or_else(|| self.source_for(peer.address));
        let conn = self.peers.attach(id, Direction::Outgoing, None, remote);
        self.actions.push_back(Action::Connect(conn, Box::new(Transport { remote, local, neighbor, external })));
    }

    /// Sessions to a peer of the underlay come from the VTEP where families agree, so that the peer knows us by it.
    fn source_for(&self, peer: IpAddr) -> Option<IpAddr> {
        self.config.router.vtep.filter(|vtep| vtep.is_ipv4() == peer.is_ipv4() && !peer.is_loopback())
    }

    /// Gives a connection up: the rim sends what the session still had to say on it, then closes it.
    pub(super) fn close(&mut self, id: PeerId, direction: Direction) {
        let mut last_octets = Vec::new();
        if let Some(peer) = self.peers.by_id_mut(id) {
            peer.session.transmit(direction, &mut last_octets);
        }
        if let Some(conn) = self.peers.detach(id, direction) {
            self.actions.push_back(Action::Close(conn, last_octets));
        }
    }

    /// The attempt of `conn` succeeded.
    pub fn handle_connected(&mut self, now: Time, conn: ConnId, local: SocketAddr) {
        let Some((id, direction)) = self.peers.connection(conn) else { return };
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        match &mut peer.connections[slot(direction)] {
            Some(connection) if connection.id == conn => connection.local = Some(local),
            _ => return,
        }
        if let Admission::Refused(octets) = peer.session.handle_connected(now, direction) {
            self.peers.by_connection.remove(&conn);
            self.actions.push_back(Action::Close(conn, octets));
        }
        self.drain_session(now, id);
        self.settle(now);
    }

    /// The attempt of `conn` failed: why, in words.
    pub fn handle_connect_failed(&mut self, now: Time, conn: ConnId, why: &str) {
        let Some((id, direction)) = self.peers.connection(conn) else { return };
        self.peers.by_connection.remove(&conn);
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        if peer.connections[slot(direction)].is_some_and(|c| c.id == conn) {
            peer.connections[slot(direction)] = None;
            peer.session.handle_connect_failed(now, why);
            self.drain_session(now, id);
        }
        self.forget_if_over(id);
        self.settle(now);
    }

    /// `conn` was closed by the peer or failed: `why` in words. Not for connections that [`Action::Close`] named.
    pub fn handle_closed(&mut self, now: Time, conn: ConnId, why: &str) {
        let Some((id, direction)) = self.peers.connection(conn) else { return };
        self.peers.by_connection.remove(&conn);
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        if peer.connections[slot(direction)].is_some_and(|c| c.id == conn) {
            peer.connections[slot(direction)] = None;
            peer.session.handle_closed(now, direction, why);
            self.drain_session(now, id);
        }
        self.forget_if_over(id);
        self.settle(now);
    }

    pub(super) fn peers_timeout(&mut self, now: Time) {
        for id in self.peers.ids() {
            let Some(peer) = self.peers.by_id_mut(id) else { continue };
            let kept_until = peer.helper.poll_timeout();
            if peer.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
                peer.session.handle_timeout(now);
                self.drain_session(now, id);
                self.forget_if_over(id);
            }
            if self.peers.by_id(id).and_then(|peer| peer.refresh_until).is_some_and(|at| at <= now) {
                self.refresh_ends(id, "it did not end a route refresh in time");
            }
            self.end_rest_when_due(now, id);
            if kept_until.is_some_and(|at| at <= now) {
                self.graceful_step(now, id, Input::Timer);
                self.forget_if_over(id);
            }
        }
        self.free_retired_peers();
    }

    pub(super) fn peer_up(&mut self, now: Time, id: PeerId, negotiated: &Negotiated) {
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        peer.end_of_rib = false;
        peer.last_refusal = None;
        peer.up_since = Some(now);
        self.graceful_return(now, id, negotiated);
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        self.rib.add_peer(id, peer.negotiated_as_rib_peer(negotiated, self.config.limits.routes_per_neighbor));
        self.rib.join_export(id);
        self.events.session_up(peer, negotiated);
    }

    pub(super) fn peer_down(&mut self, now: Time, id: PeerId, reason: &DownReason) {
        let routes = u64::from(self.rib.peer_routes(id));
        let kept = self.graceful_loss(now, id, reason);
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        (peer.end_of_rib, peer.refresh_until) = (false, None);
        let up_secs = Self::up_secs(peer, now);
        peer.watch.session_ended(up_secs);
        peer.up_since = None;
        peer.last_error_at = Some(now);
        self.events.session_down(peer, reason, up_secs, routes, kept);
        self.rest_if_flapping(now, id);
    }

    /// Ends every session, so that peers keep our routes where graceful restart was agreed on and with Cease/administrative
    /// shutdown and these words where not; rows and devices stay (SIGTERM), whatever is asked or heard while the last octets
    /// are on their way.
    pub fn shutdown(&mut self, now: Time, text: &str) {
        self.save_sequences();
        self.save_now();
        self.save_kept_rows();
        self.stopping = true;
        self.events.push(Event::Stopping { reason: text.to_owned() });
        for id in self.peers.ids() {
            if let Some(peer) = self.peers.by_id_mut(id) {
                peer.leaving = true;
                peer.session.pause(now, Pause::Restart, text);
            }
            self.drain_session(now, id);
            self.forget_if_over(id);
        }
    }
}
