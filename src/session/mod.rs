//! Floor 2: one peer's protocol life (RFC 4271) as a pure machine. It owns no socket and no clock: time, octets and what
//! became of TCP come in through `handle_*`, what to do goes out through `poll_event` and `transmit`. It knows no table.
//!
//! Read `fsm.rs` first: it is the state machine of one connection. A peer has two, one per direction, because both sides
//! may connect at once; this file holds the two, decides between them (RFC 4271 §6.8) and cuts octets into messages.
//! `negotiate.rs` judges OPENs, `graceful.rs` says what is kept when a session ends, `timers.rs` knows durations, `buffer.rs` the octets, `event.rs` what the owner is told.
//!
//! The owner's part: after every `handle_*` call `poll_event` until it gives `None`; whenever a socket takes octets,
//! `transmit` first and UPDATEs after it, and `handle_sent` once TCP took some; `handle_timeout` at `poll_timeout`.

mod buffer;
mod event;
pub mod fsm;
pub mod graceful;
mod negotiate;
mod stats;
pub mod timers;

use std::collections::VecDeque;
use std::ops::Range;

use crate::base::{Asn, BgpIdentifier, Time};
use crate::wire::capability::GracefulRestart;
use crate::wire::header::{MAX_EXTENDED_MESSAGE_LEN, MAX_MESSAGE_LEN, MessageType};
use crate::wire::notification::{Notification, cease};
use crate::wire::open::Open;
use crate::wire::route_refresh::RouteRefresh;
use crate::wire::{AFI_L2VPN, SAFI_EVPN};

pub use event::{DownReason, SessionEvent};
pub use negotiate::{Negotiated, Refusal};
pub use stats::{MessageCounts, SessionStats};

use buffer::{Message, Outbox, ReceiveBuffer};
use fsm::{Connection, Context, Input, Output};
use graceful::Pause;
use timers::Timers;

/// The (at most) two connections of one peer, by who opened them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// We did.
    Outgoing,
    /// The peer did.
    Incoming,
}

impl Direction {
    /// Both, in the order in which they are served.
    pub const BOTH: [Self; 2] = [Self::Outgoing, Self::Incoming];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Outgoing => Self::Incoming,
            Self::Incoming => Self::Outgoing,
        }
    }
}

/// What the operator wants of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Our AS.
    pub local_asn: Asn,
    /// Our router-id.
    pub local_identifier: BgpIdentifier,
    /// The peer's AS; `None`: any.
    pub remote_asn: Option<Asn>,
    /// Never connect, only listen.
    pub passive: bool,
    /// The hold time we offer, in seconds: 0 or at least 3.
    pub hold_time_secs: u16,
    /// The first pause between two connect attempts, in seconds; later ones grow.
    pub connect_retry_secs: u16,
    /// For the FQDN capability.
    pub host_name: Option<String>,
    /// For the graceful restart capability (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// For the long-lived graceful restart capability (RFC 9494), in seconds: 24 bits; 0, or without the one above: none.
    pub long_lived_stale_secs: u32,
}

/// The states of RFC 4271 §8.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Not wanted.
    Idle,
    /// A connection is being asked for.
    Connect,
    /// Waiting for the peer, or for the next attempt.
    Active,
    /// The peer's OPEN is awaited.
    OpenSent,
    /// The peer's first KEEPALIVE is awaited.
    OpenConfirm,
    /// Up.
    Established,
}

/// What becomes of a TCP connection handed to `handle_connected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is this direction's connection now. (It may be turned away at once: then `Close` follows, as for any.)
    Taken,
    /// It is this direction's connection now, in place of an older one: write these octets to the *older* one, if it
    /// takes them, and drop it. No `Close` and no `handle_closed` for the older one.
    Replaces(Vec<u8>),
    /// The older connection of this direction stays: write these octets to the *new* one and drop it.
    Refused(Vec<u8>),
}

/// One direction's connection and its octets.
#[derive(Debug, Default)]
struct Slot {
    connection: Connection,
    received: ReceiveBuffer,
    outbox: Outbox,
    reports_sent: bool,
}

/// An event that waits for `poll_event`. Few can: each `handle_*` adds a handful, and messages are only read when none waits.
#[derive(Debug)]
enum Pending {
    Connect,
    CancelConnect,
    Close(Direction),
    Established(Box<Negotiated>),
    Down(DownReason),
    Refused(DownReason),
    RouteRefresh(RouteRefresh),
}

/// What `advance` found.
enum Advance {
    /// Nothing whole waits.
    Nothing,
    /// A message was eaten; events may wait.
    Message,
    /// An UPDATE for the owner.
    Update(Direction, Range<usize>),
}

/// One peer's session.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    slots: [Slot; 2],
    timers: Timers,
    pending: VecDeque<Pending>,
    outputs: Vec<Output>,
    /// What the last `Established` event lends.
    lent: Option<Box<Negotiated>>,
    deliver_update: bool,
    last_error: Option<DownReason>,
    stats: SessionStats,
}

impl Session {
    /// A session that is not started. `seed` feeds the jitter of its timers.
    pub fn new(config: SessionConfig, seed: u64, now: Time) -> Self {
        Self {
            config,
            slots: Default::default(),
            timers: Timers::new(seed),
            pending: VecDeque::new(),
            outputs: Vec::new(),
            lent: None,
            deliver_update: false,
            last_error: None,
            stats: SessionStats { since: now, ..SessionStats::default() },
        }
    }

    /// The operator wants the session: connects at once (unless passive) and accepts.
    pub fn start(&mut self, now: Time) {
        for direction in Direction::BOTH {
            self.step(now, direction, Input::Start);
        }
    }

    /// The operator does not want it any more. An open connection is told Cease with `subcode`, and with `text` where the
    /// subcode has room for it (2 and 4, RFC 9003).
    pub fn stop(&mut self, now: Time, subcode: u8, text: &str) {
        // The incoming one first, so that its end does not set the outgoing one off again.
        for direction in [Direction::Incoming, Direction::Outgoing] {
            self.step(now, direction, Input::Stop { subcode, text: text.to_owned() });
        }
    }

    /// We end, and mean to be back: the peer is told in the way that leaves our routes where one was agreed on (RFC 4724,
    /// RFC 8538), with Cease where none was.
    pub fn pause(&mut self, now: Time, pause: Pause, text: &str) {
        for direction in [Direction::Incoming, Direction::Outgoing] {
            self.step(now, direction, Input::Pause { pause, text: text.to_owned() });
        }
    }

    /// What the next session is to be like. The one that runs, if any, goes on as it was agreed on: see [`Session::pause`].
    pub fn reconfigure(&mut self, config: SessionConfig) {
        self.config = config;
    }

    /// A TCP connection is up. An incoming one is judged against what stands (RFC 4271 §6.8, RFC 4724 §4.2).
    pub fn handle_connected(&mut self, now: Time, direction: Direction) -> Admission {
        let other = direction.other();
        let standing = Direction::BOTH.into_iter().find(|d| self.state_of(*d) == State::Established);
        // RFC 4724 §5: with graceful restart agreed on, a new connection of the peer's says that the old one is dead.
        let dead = standing.is_some_and(|d| {
            let negotiated = self.slot(d).connection.negotiated();
            let agreed = negotiated.and_then(|negotiated| negotiated.graceful_restart.as_ref());
            direction == Direction::Incoming && agreed.is_some_and(|restart| !restart.families.is_empty())
        });
        let occupied = self.state_of(direction) >= State::OpenSent;
        if occupied && (direction == Direction::Outgoing || (standing.is_some() && !dead)) {
            self.stats.turned_away += 1;
            return Admission::Refused(octets(&fsm::plain_cease(cease::COLLISION)));
        }
        let farewell = if occupied && !dead { octets(&fsm::plain_cease(cease::COLLISION)) } else { Vec::new() };
        if dead && standing == Some(other) {
            self.step(now, other, Input::Superseded);
        }
        let slot = self.slot_mut(direction);
        slot.received.clear();
        slot.outbox.clear();
        slot.reports_sent = false;
        if standing.is_some() && !dead && direction == Direction::Incoming {
            self.stats.turned_away += 1;
            self.step(now, direction, Input::Unwanted(fsm::plain_cease(cease::COLLISION)));
        } else {
            self.stats.turned_away += u64::from(self.state_of(direction) == State::Idle);
            self.step(now, direction, Input::Connected);
        }
        if occupied { Admission::Replaces(farewell) } else { Admission::Taken }
    }

    /// The attempt asked for with `Connect` failed; `why` is for people.
    pub fn handle_connect_failed(&mut self, now: Time, why: &str) {
        self.step(now, Direction::Outgoing, Input::ConnectFailed(why.to_owned()));
    }

    /// TCP closed or failed under us; `why` is for people. Octets read before must have been handed in and drained.
    pub fn handle_closed(&mut self, now: Time, direction: Direction, why: &str) {
        self.step(now, direction, Input::Closed(why.to_owned()));
    }

    /// Octets came. They are buffered, so the caller drains `poll_event` after each call; octets that pile up beyond a
    /// mebibyte end the session with Cease/8.
    pub fn handle_octets(&mut self, now: Time, direction: Direction, octets: &[u8]) {
        if self.state_of(direction) >= State::OpenSent && !self.slot_mut(direction).received.push(octets) {
            self.stats.receive_overflows += 1;
            self.step(now, direction, Input::Malformed(fsm::plain_cease(cease::OUT_OF_RESOURCES)));
        }
    }

    /// TCP took octets of this connection, whatever they were (RFC 9687). A rim that never reports is never judged.
    pub fn handle_sent(&mut self, now: Time, direction: Direction) {
        self.slot_mut(direction).reports_sent = true;
        self.step(now, direction, Input::Sent);
    }

    /// A room above wants the session reset with this NOTIFICATION: an error in an UPDATE, too many routes.
    pub fn handle_error(&mut self, now: Time, notification: Notification) {
        match self.established() {
            Some((direction, _)) => self.step(now, direction, Input::Reset(notification)),
            None => {
                for direction in Direction::BOTH {
                    self.step(now, direction, Input::Reset(notification.clone()));
                }
            }
        }
    }

    /// Serves every timer that has ended by `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        for direction in Direction::BOTH {
            // Every timer that is served ends later than now, or not at all.
            while let Some(input) = self.slot(direction).connection.expired(now) {
                self.step(now, direction, input);
            }
        }
    }

    /// When `handle_timeout` is wanted next, and for what.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.slots.iter().filter_map(|slot| slot.connection.next_deadline()).min_by_key(|(at, _)| *at)
    }

    /// The next thing that the owner must know or do, until `None`.
    pub fn poll_event(&mut self, now: Time) -> Option<SessionEvent<'_>> {
        loop {
            if let Some(pending) = self.pending.pop_front() {
                return Some(match pending {
                    Pending::Connect => SessionEvent::Connect,
                    Pending::CancelConnect => SessionEvent::CancelConnect,
                    Pending::Close(direction) => SessionEvent::Close(direction),
                    Pending::Established(negotiated) => SessionEvent::Established(self.lent.insert(negotiated)),
                    Pending::Down(reason) => SessionEvent::Down(reason),
                    Pending::Refused(reason) => SessionEvent::Refused(reason),
                    Pending::RouteRefresh(refresh) => SessionEvent::RouteRefresh(refresh),
                });
            }
            match self.advance(now) {
                Advance::Nothing => return None,
                Advance::Message => {}
                Advance::Update(direction, body) => {
                    return Some(SessionEvent::Update(self.slot(direction).received.body(body)));
                }
            }
        }
    }

    /// Appends the OPEN, KEEPALIVE, ROUTE-REFRESH and NOTIFICATION that wait for this connection; the caller appends
    /// UPDATEs after them. What waits is bounded, however long nobody asks.
    pub fn transmit(&mut self, direction: Direction, out: &mut Vec<u8>) {
        self.slots[direction as usize].outbox.drain(out, &mut self.stats.sent);
    }

    /// Whether `transmit` would append anything.
    pub fn has_transmit(&self, direction: Direction) -> bool {
        !self.slot(direction).outbox.is_empty()
    }

    /// Asks the peer for its routes again, where the session is up and the peer said it answers (RFC 2918); counted
    /// otherwise.
    pub fn send_route_refresh(&mut self, refresh: RouteRefresh) {
        let able = self.established().filter(|(_, negotiated)| negotiated.route_refresh).map(|(direction, _)| direction);
        if !able.is_some_and(|direction| self.slot_mut(direction).outbox.route_refresh(refresh)) {
            self.stats.route_refresh_unsent += 1;
        }
    }

    /// Counts UPDATEs that the owner appended itself.
    pub fn count_updates_sent(&mut self, count: u64) {
        self.stats.sent.update += count;
    }

    /// What our next OPEN says of graceful restart: the R bit is true for a while only (RFC 4724 §4.1).
    /// `long_lived_stale_secs` as in the configuration.
    pub fn set_graceful_restart(&mut self, graceful_restart: Option<GracefulRestart>, long_lived_stale_secs: u32) {
        self.config.graceful_restart = graceful_restart;
        self.config.long_lived_stale_secs = long_lived_stale_secs;
    }

    /// The connection that is established, and what it runs on.
    pub fn established(&self) -> Option<(Direction, &Negotiated)> {
        Direction::BOTH.into_iter().find_map(|direction| match &self.slot(direction).connection {
            Connection::Established { negotiated, .. } => Some((direction, &**negotiated)),
            _ => None,
        })
    }

    /// The state as people know it: that of the connection that got furthest, or of our attempts.
    pub fn state(&self) -> State {
        let furthest = self.state_of(Direction::Outgoing).max(self.state_of(Direction::Incoming));
        if furthest >= State::OpenSent { furthest } else { self.state_of(Direction::Outgoing) }
    }

    /// Why the last session ended or the last attempt failed. A new session does not erase it.
    pub fn last_error(&self) -> Option<&DownReason> {
        self.last_error.as_ref()
    }

    /// The counters.
    pub fn stats(&self) -> &SessionStats {
        &self.stats
    }

    /// What the operator wants.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The state of one connection, for tests and the curious.
    pub fn state_of(&self, direction: Direction) -> State {
        self.slot(direction).connection.state()
    }

    fn slot(&self, direction: Direction) -> &Slot {
        &self.slots[direction as usize]
    }

    fn slot_mut(&mut self, direction: Direction) -> &mut Slot {
        &mut self.slots[direction as usize]
    }

    /// Reads one message of either connection and lets the machine judge it.
    fn advance(&mut self, now: Time) -> Advance {
        for direction in Direction::BOTH {
            let slot = self.slot_mut(direction);
            if slot.connection.state() < State::OpenSent {
                continue;
            }
            let extended = slot.connection.negotiated().is_some_and(|negotiated| negotiated.extended_message);
            // RFC 8654 §4: longer messages only after both sides said so.
            match slot.received.next(if extended { MAX_EXTENDED_MESSAGE_LEN } else { MAX_MESSAGE_LEN }) {
                Ok(None) => continue,
                Ok(Some(message)) => return self.receive(now, direction, message),
                Err(notification) => {
                    self.step(now, direction, Input::Malformed(notification));
                    return Advance::Message;
                }
            }
        }
        Advance::Nothing
    }

    /// One whole message.
    fn receive(&mut self, now: Time, direction: Direction, message: Message) -> Advance {
        self.stats.received.count(message.message_type);
        let body = self.slot(direction).received.body(message.body.clone());
        let input = match message.message_type {
            MessageType::Update => {
                self.step(now, direction, Input::Update);
                let deliver = std::mem::take(&mut self.deliver_update);
                return if deliver { Advance::Update(direction, message.body) } else { Advance::Message };
            }
            MessageType::Keepalive => Input::Keepalive,
            MessageType::RouteRefresh => Input::RouteRefresh(RouteRefresh::parse(body)),
            MessageType::Notification => match Notification::parse(body) {
                Ok(notification) => Input::Notification(notification),
                Err(notification) => Input::Malformed(notification),
            },
            MessageType::Open => Input::Open(self.judge(body)),
        };
        match input {
            Input::Open(Ok(negotiated)) if self.state_of(direction) == State::OpenSent => {
                self.collide(now, direction, negotiated);
            }
            // The peer chose this one of two; see `collide`.
            Input::Keepalive
                if self.state_of(direction) == State::OpenConfirm && self.state_of(direction.other()) == State::Established =>
            {
                self.step(now, direction.other(), Input::Superseded);
                self.step(now, direction, Input::Keepalive);
            }
            input => self.step(now, direction, input),
        }
        Advance::Message
    }

    /// What we think of the peer's OPEN.
    fn judge(&self, body: &[u8]) -> Result<Box<Negotiated>, Refusal> {
        let open = Open::parse(body).map_err(|notification| {
            let why = format!("it is malformed ({notification})");
            Refusal { notification, why }
        })?;
        negotiate::negotiate(&self.config, open).map(Box::new)
    }

    /// RFC 4271 §6.8 for an acceptable OPEN on one connection: it, or the other connection, is closed where both exist.
    fn collide(&mut self, now: Time, direction: Direction, negotiated: Box<Negotiated>) {
        let other = direction.other();
        let (keep_this, close_other) = match self.state_of(other) {
            // RFC: a newcomer beside an established connection is closed. Ours: not where the peer may just be choosing the
            // newcomer, because it is in OpenConfirm on the other one until our KEEPALIVE arrives there: each would close
            // what the other keeps. The newcomer waits in OpenConfirm; the peer closes one of the two, or its KEEPALIVE
            // says which one it kept.
            State::Established => (self.preferred(&negotiated) == direction && self.is_young(now, other), false),
            State::OpenConfirm => {
                // RFC: "closes the connection that already exists" (or the new one). Ours: by who opened it, which is
                // what makes both sides choose alike.
                let keep = self.preferred(&negotiated) == direction;
                (keep, keep)
            }
            // RFC: a connection in OpenSent MAY be examined too. Ours: not, because it may be a dead one.
            State::Idle | State::Connect | State::Active | State::OpenSent => (true, false),
        };
        self.step(now, direction, if keep_this { Input::Open(Ok(negotiated)) } else { Input::Collision });
        if close_other {
            self.step(now, other, Input::Collision);
        }
    }

    /// Which of two connections to this peer stays: that of the higher identifier's side. Equal identifiers, between two AS:
    /// of the higher AS number (RFC 6286 §2.3).
    fn preferred(&self, negotiated: &Negotiated) -> Direction {
        let ours = (self.config.local_identifier, self.config.local_asn);
        let dominant = ours > (negotiated.peer_identifier, negotiated.peer_asn);
        if dominant { Direction::Outgoing } else { Direction::Incoming }
    }

    /// Whether a connection is established for so short a time that the peer may not know it yet.
    fn is_young(&self, now: Time, direction: Direction) -> bool {
        match &self.slot(direction).connection {
            Connection::Established { since, .. } => now.since(*since) < timers::YOUNG,
            _ => false,
        }
    }

    /// One step of one connection's machine; carries out what it wants and tells the other connection of it.
    fn step(&mut self, now: Time, direction: Direction, input: Input) {
        let held = self.state_of(direction.other()) >= State::OpenConfirm;
        let mut outputs = std::mem::take(&mut self.outputs);
        let slot = &mut self.slots[direction as usize];
        let before = slot.connection.state();
        let mut cx = Context {
            now,
            direction,
            config: &self.config,
            held,
            reports_sent: slot.reports_sent,
            timers: &mut self.timers,
            outputs: &mut outputs,
        };
        slot.connection = std::mem::take(&mut slot.connection).step(input, &mut cx);
        let after = slot.connection.state();
        if after < State::OpenSent && before >= State::OpenSent {
            slot.received.clear();
        }
        for output in outputs.drain(..) {
            self.carry_out(now, direction, output);
        }
        self.outputs = outputs;
        let news = match (before, after) {
            (State::OpenConfirm, State::Established) => Input::OtherEstablished,
            (_, State::OpenConfirm) if before != State::OpenConfirm => Input::OtherConfirmed,
            (State::OpenConfirm | State::Established, _) if after < State::OpenConfirm => Input::OtherGone,
            _ => return,
        };
        self.step(now, direction.other(), news);
    }

    fn carry_out(&mut self, now: Time, direction: Direction, output: Output) {
        match output {
            Output::Connect => {
                self.stats.connect_attempts += 1;
                self.pending.push_back(Pending::Connect);
            }
            Output::CancelConnect => self.pending.push_back(Pending::CancelConnect),
            Output::SendOpen => {
                let open = negotiate::open(&self.config);
                self.slot_mut(direction).outbox.open(open);
            }
            Output::SendKeepalive => self.slot_mut(direction).outbox.keepalive(),
            Output::SendNotification(notification) => self.slot_mut(direction).outbox.notification(notification),
            Output::Close => self.pending.push_back(Pending::Close(direction)),
            Output::Up => {
                self.stats.established += 1;
                self.stats.since = now;
                if let Some(negotiated) = self.slot(direction).connection.negotiated() {
                    let negotiated = Box::new(negotiated.clone());
                    self.pending.push_back(Pending::Established(negotiated));
                }
            }
            Output::Down(reason) => {
                self.stats.dropped += 1;
                self.stats.since = now;
                // Octets that the peer does not read, or that belong to a dead connection, are not waited for.
                if matches!(reason, DownReason::SendHoldTimerExpired | DownReason::Superseded) {
                    self.slot_mut(direction).outbox.clear();
                }
                self.last_error = Some(reason.clone());
                self.pending.push_back(Pending::Down(reason));
            }
            Output::Refused(reason) => {
                if reason.is_collision() {
                    self.stats.collisions += 1;
                } else {
                    self.stats.refused += 1;
                    if self.established().is_none() {
                        self.last_error = Some(reason.clone());
                    }
                }
                self.pending.push_back(Pending::Refused(reason));
            }
            Output::DeliverUpdate => self.deliver_update = true,
            Output::DeliverRouteRefresh(refresh) => self.deliver_route_refresh(direction, refresh),
        }
    }

    /// RFC 2918 §4: another family is ignored. RFC 7313 §5: so is an unknown subtype; without its capability the octet is
    /// reserved and means nothing.
    fn deliver_route_refresh(&mut self, direction: Direction, mut refresh: RouteRefresh) {
        let enhanced = self.slot(direction).connection.negotiated().is_some_and(|n| n.enhanced_route_refresh);
        if !enhanced {
            refresh.subtype = 0;
        }
        if (refresh.afi, refresh.safi) == (AFI_L2VPN, SAFI_EVPN) && refresh.subtype <= 2 {
            self.pending.push_back(Pending::RouteRefresh(refresh));
        } else {
            self.stats.route_refresh_ignored += 1;
        }
    }
}

/// A NOTIFICATION as it stands on the wire.
fn octets(notification: &Notification) -> Vec<u8> {
    let mut out = Vec::new();
    notification.emit(&mut out);
    out
}
