//! Simulated TCP: octets in order, torn at random places, delayed, held up by a cut, lost with a reset, and pushed back
//! by a reader that does not read. Each end behaves as `src/io/connection.rs` does.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evpnd::base::Time;
use evpnd::speaker::{ConnId, Transport};

use super::world::{Happening, World};

/// Octets asked of the speaker at once, as the rim does.
const WRITE_LEN: usize = 64 << 10;
/// The last words of a closed connection may take so long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What travels.
#[derive(Debug)]
pub enum Segment {
    Octets(Vec<u8>),
    Fin,
    Reset,
}

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    pub node: usize,
    /// The life of the node's process that this end belongs to.
    pub life: u64,
    /// The speaker's name for it; `None`: the speaker knows it no more, or not yet.
    pub conn: Option<ConnId>,
    /// What TCP did not take yet.
    unsent: Vec<u8>,
    /// Close when everything is sent.
    closing: bool,
    /// Sends nothing more: closed or reset.
    done: bool,
    /// On its way from here to the other end.
    flow: VecDeque<(Time, Segment)>,
    in_flight: usize,
    transmit_scheduled: bool,
}

/// A connection, or an attempt at one: end 0 opened it.
#[derive(Debug)]
pub struct Wire {
    pub ends: [End; 2],
    capacity: usize,
    /// The handshake is over for both.
    up: bool,
}

impl End {
    fn new(node: usize, life: u64, conn: Option<ConnId>) -> Self {
        Self {
            node,
            life,
            conn,
            unsent: Vec::new(),
            closing: false,
            done: false,
            flow: VecDeque::new(),
            in_flight: 0,
            transmit_scheduled: false,
        }
    }
}

impl World {
    /// A path of the underlay takes so long now.
    fn delay(&mut self, from: usize, to: usize) -> Duration {
        let jitter = self.random.below(self.latency_us + 1);
        let slow = self.slow_until.get(&pair(from, to)).is_some_and(|until| *until > self.now);
        let extra = if slow { self.random.below(3_000_000) } else { 0 };
        Duration::from_micros(20 + self.latency_us + jitter + extra)
    }

    /// Until when nothing passes between two nodes.
    fn cut_until(&self, from: usize, to: usize) -> Option<Time> {
        self.cut_until.get(&pair(from, to)).copied().filter(|until| *until > self.now)
    }

    /// [`evpnd::speaker::Action::Connect`].
    pub fn connect(&mut self, node: usize, conn: ConnId, transport: &Transport) {
        let Some(to) = self.node_at(transport.remote.ip()) else { panic!("{} connects to nobody", self.nodes[node].name) };
        let wire = self.next_wire;
        self.next_wire += 1;
        let capacity = (512 << self.random.below(8)).max(self.least_capacity);
        let life = self.nodes[node].life;
        let ends = [End::new(node, life, Some(conn)), End::new(to, self.nodes[to].life, None)];
        self.wires.insert(wire, Wire { ends, capacity, up: false });
        self.nodes[node].conns.insert(conn, (wire, 0));
        let after = self.delay(node, to);
        self.schedule(after, Happening::Arrives(wire));
    }

    /// The SYN is at the other end.
    pub fn arrives(&mut self, wire: u64) {
        let Some(link) = self.wires.get(&wire) else { return };
        let (from, to) = (link.ends[0].node, link.ends[1].node);
        if link.ends[0].conn.is_none() {
            self.wires.remove(&wire);
            return;
        }
        if let Some(until) = self.cut_until(from, to) {
            let after = until.since(self.now) + Duration::from_micros(self.random.below(4_000_000));
            self.schedule(after, Happening::Arrives(wire));
            return;
        }
        if self.nodes[to].off {
            let after = Duration::from_secs(1) + self.millis(2000);
            self.schedule(after, Happening::Arrives(wire));
            return;
        }
        let after = self.delay(from, to);
        if self.nodes[to].speaker.is_none() {
            self.schedule(after, Happening::Refused(wire));
            return;
        }
        let remote = SocketAddr::new(self.nodes[from].address, 30_000 + (wire % 30_000) as u16);
        let local = SocketAddr::new(self.nodes[to].address, 179);
        let now = self.now;
        let life = self.nodes[to].life;
        let Some(speaker) = self.nodes[to].speaker.as_mut() else { return };
        let outcome = speaker.handle_incoming(now, local, remote);
        let Some(link) = self.wires.get_mut(&wire) else { return };
        let end = &mut link.ends[1];
        end.life = life;
        // Nothing overtakes the handshake.
        end.flow.push_back((now + after, Segment::Octets(Vec::new())));
        match outcome {
            Ok((conn, _)) => {
                end.conn = Some(conn);
                self.nodes[to].conns.insert(conn, (wire, 1));
            }
            Err(last_octets) => {
                end.unsent = last_octets;
                end.closing = true;
            }
        }
        self.schedule(after, Happening::Connected(wire));
        self.schedule(after, Happening::Deliver(wire, 0));
        self.flush(wire, 1);
        self.pump(to);
    }

    /// The answer to the SYN is back.
    pub fn connected(&mut self, wire: u64) {
        let Some(link) = self.wires.get_mut(&wire) else { return };
        link.up = true;
        let end = &link.ends[0];
        let (node, Some(conn)) = (end.node, end.conn) else {
            // Given up meanwhile: the kernel resets what nobody wants.
            self.send(wire, 0, Segment::Reset);
            return;
        };
        let local = SocketAddr::new(self.nodes[node].address, 30_000 + (wire % 30_000) as u16);
        let now = self.now;
        if let Some(speaker) = self.nodes[node].speaker.as_mut() {
            speaker.handle_connected(now, conn, local);
        }
        self.pump(node);
    }

    /// Nobody listens there.
    pub fn refused(&mut self, wire: u64) {
        let Some(link) = self.wires.remove(&wire) else { return };
        let end = &link.ends[0];
        let Some(conn) = end.conn else { return };
        let node = end.node;
        self.nodes[node].conns.remove(&conn);
        let now = self.now;
        if let Some(speaker) = self.nodes[node].speaker.as_mut() {
            speaker.handle_connect_failed(now, conn, "connection refused");
        }
        self.pump(node);
    }

    /// [`evpnd::speaker::Action::Close`].
    pub fn close(&mut self, node: usize, conn: ConnId, last_octets: &[u8]) {
        let Some((wire, side)) = self.nodes[node].conns.remove(&conn) else { return };
        let Some(link) = self.wires.get_mut(&wire) else { return };
        let end = &mut link.ends[side];
        end.conn = None;
        end.closing = true;
        end.unsent.extend_from_slice(last_octets);
        self.flush(wire, side);
        self.schedule(LAST_WORDS, Happening::LastWords(wire, side));
    }

    /// Whoever still has something to say on a closed connection is cut short.
    pub fn last_words(&mut self, wire: u64, side: usize) {
        let Some(link) = self.wires.get(&wire) else { return };
        if !link.ends[side].done {
            self.send(wire, side, Segment::Reset);
        }
    }

    /// The connections of a node's process that have something to say.
    pub fn wake_writers(&mut self, node: usize) {
        let wants: Vec<(u64, usize)> = {
            let node = &self.nodes[node];
            let Some(speaker) = &node.speaker else { return };
            node.conns.iter().filter(|(conn, _)| speaker.wants_transmit(**conn)).map(|(_, at)| *at).collect()
        };
        for (wire, side) in wants {
            let Some(link) = self.wires.get_mut(&wire) else { continue };
            let end = &mut link.ends[side];
            if end.unsent.is_empty() && !end.transmit_scheduled {
                end.transmit_scheduled = true;
                let after = Duration::from_micros(self.random.below(300));
                self.schedule(after, Happening::Transmit(wire, side));
            }
        }
    }

    /// The task of a connection has its turn: it writes.
    pub fn transmit(&mut self, wire: u64, side: usize) {
        if let Some(link) = self.wires.get_mut(&wire) {
            link.ends[side].transmit_scheduled = false;
            self.flush(wire, side);
        }
    }

    /// Writes what TCP takes: first what is left, then what the speaker has.
    fn flush(&mut self, wire: u64, side: usize) {
        loop {
            let Some(link) = self.wires.get_mut(&wire) else { return };
            let capacity = link.capacity;
            let end = &mut link.ends[side];
            if end.done {
                return;
            }
            let node = end.node;
            self.nodes[node].touched = true;
            if end.unsent.is_empty() {
                if end.closing {
                    self.send(wire, side, Segment::Fin);
                    return;
                }
                let Some(conn) = end.conn else { return };
                let Some(speaker) = self.nodes[node].speaker.as_mut() else { return };
                if !speaker.wants_transmit(conn) {
                    return;
                }
                speaker.transmit(conn, &mut end.unsent, WRITE_LEN);
                if end.unsent.is_empty() {
                    return;
                }
            }
            let room = capacity.saturating_sub(end.in_flight);
            // As TCP does, no crumbs where more could be sent a little later.
            if room == 0 || (room < capacity / 4 && room < end.unsent.len()) {
                return;
            }
            let rest = end.unsent.split_off(room.min(end.unsent.len()));
            let octets = std::mem::replace(&mut end.unsent, rest);
            let count = octets.len();
            end.in_flight += count;
            if let Some(conn) = end.conn
                && let Some(speaker) = self.nodes[node].speaker.as_mut()
            {
                speaker.handle_sent(self.now, conn, count);
            }
            self.tear(wire, side, octets);
        }
    }

    /// TCP cuts octets where it likes.
    fn tear(&mut self, wire: u64, side: usize, mut octets: Vec<u8>) {
        while !octets.is_empty() {
            let whole = self.random.below(3) > 0;
            let at = if whole { octets.len() } else { 1 + self.random.below(octets.len() as u64) as usize };
            let rest = octets.split_off(at);
            self.send(wire, side, Segment::Octets(octets));
            octets = rest;
        }
    }

    fn send(&mut self, wire: u64, side: usize, segment: Segment) {
        let Some(link) = self.wires.get(&wire) else { return };
        let (from, to) = (link.ends[side].node, link.ends[1 - side].node);
        let at = self.now + self.delay(from, to);
        let Some(link) = self.wires.get_mut(&wire) else { return };
        let end = &mut link.ends[side];
        if end.done {
            return;
        }
        end.done = !matches!(segment, Segment::Octets(_));
        if matches!(segment, Segment::Reset) {
            end.unsent.clear();
            // A reset may overtake what was sent.
            if at.micros().is_multiple_of(2) {
                end.flow.retain(|(_, segment)| matches!(segment, Segment::Octets(octets) if octets.is_empty()));
            }
        }
        let at = end.flow.back().map_or(at, |(last, _)| at.max(*last));
        end.flow.push_back((at, segment));
        self.schedule(at.since(self.now), Happening::Deliver(wire, 1 - side));
    }

    /// Something arrived at end `side`.
    pub fn deliver(&mut self, wire: u64, side: usize) {
        let Some(link) = self.wires.get(&wire) else { return };
        let (node, other) = (link.ends[side].node, link.ends[1 - side].node);
        let Some((at, _)) = link.ends[1 - side].flow.front() else { return };
        let mut not_before = *at;
        if let Some(until) = self.cut_until(node, other) {
            not_before = not_before.max(until + Duration::from_micros(self.random.below(3_000_000)));
        }
        if self.nodes[node].off {
            not_before = not_before.max(self.now + Duration::from_millis(500 + self.random.below(2000)));
        }
        if let Some(until) = self.deaf_until.get(&node).copied().filter(|until| *until > self.now) {
            not_before = not_before.max(until);
        }
        if not_before > self.now {
            let after = not_before.since(self.now);
            // The whole flow waits behind it.
            if let Some((at, _)) = self.wires.get_mut(&wire).and_then(|link| link.ends[1 - side].flow.front_mut()) {
                *at = not_before;
            }
            self.schedule(after, Happening::Deliver(wire, side));
            return;
        }
        let Some(link) = self.wires.get_mut(&wire) else { return };
        let Some((_, segment)) = link.ends[1 - side].flow.pop_front() else { return };
        let (conn, life) = (link.ends[side].conn, link.ends[side].life);
        let alive = life == self.nodes[node].life;
        let now = self.now;
        match segment {
            Segment::Octets(octets) => {
                link.ends[1 - side].in_flight -= octets.len();
                if let Some(conn) = conn.filter(|_| alive) {
                    if !octets.is_empty()
                        && let Some(speaker) = self.nodes[node].speaker.as_mut()
                    {
                        speaker.handle_octets(now, conn, &octets);
                        self.pump(node);
                    }
                } else if !alive {
                    self.send(wire, side, Segment::Reset);
                }
                self.flush(wire, 1 - side);
            }
            Segment::Fin | Segment::Reset => {
                let end = &mut link.ends[side];
                end.conn = None;
                end.unsent.clear();
                if let Some(conn) = conn.filter(|_| alive) {
                    self.nodes[node].conns.remove(&conn);
                    if let Some(speaker) = self.nodes[node].speaker.as_mut() {
                        let why = if matches!(segment, Segment::Fin) {
                            "the peer closed the connection"
                        } else {
                            "the peer reset the connection"
                        };
                        speaker.handle_closed(now, conn, why);
                    }
                    // The task ends, and with it the socket.
                    self.send(wire, side, Segment::Fin);
                    self.pump(node);
                } else {
                    self.send(wire, side, Segment::Fin);
                }
            }
        }
        if let Some(link) = self.wires.get(&wire)
            && link.ends.iter().all(|end| end.done && end.flow.is_empty())
        {
            self.wires.remove(&wire);
        }
    }

    /// The process of a node is gone: its kernel closes the sockets.
    pub fn drop_connections(&mut self, node: usize) {
        let conns = std::mem::take(&mut self.nodes[node].conns);
        for (wire, side) in conns.into_values() {
            let Some(link) = self.wires.get_mut(&wire) else { continue };
            let end = &mut link.ends[side];
            end.conn = None;
            end.unsent.clear();
            let reset = self.random.below(2) == 0;
            self.send(wire, side, if reset { Segment::Reset } else { Segment::Fin });
        }
    }

    /// The host of a node is gone, and nobody tells its peers: they hear of it when they speak and it runs again, or when
    /// their hold timers run out.
    pub fn forsake_connections(&mut self, node: usize) {
        for (wire, side) in std::mem::take(&mut self.nodes[node].conns).into_values() {
            if let Some(link) = self.wires.get_mut(&wire) {
                link.ends[side].conn = None;
                link.ends[side].unsent.clear();
            }
        }
    }

    /// Somebody on the way resets every connection between two nodes.
    pub fn reset_between(&mut self, a: usize, b: usize) {
        let wires: Vec<u64> = self
            .wires
            .iter()
            .filter(|(_, link)| pair(link.ends[0].node, link.ends[1].node) == pair(a, b))
            .map(|(wire, _)| *wire)
            .collect();
        for wire in wires {
            for side in [0, 1] {
                let Some(link) = self.wires.get_mut(&wire) else { continue };
                // What is on its way is lost.
                if link.up && link.ends[side].conn.is_some() && link.ends[1 - side].conn.is_some() {
                    link.ends[side].in_flight = 0;
                    link.ends[side].flow.clear();
                    self.send(wire, side, Segment::Reset);
                }
            }
        }
    }

    pub fn node_at(&self, address: IpAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.address == address)
    }
}

/// Two nodes in order.
pub fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}
