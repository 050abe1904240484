//! What a neighbor may grow, and how often it may come and go: it is warned of at four fifths, then its session is closed and
//! nothing is heard of it for a while, which doubles each time. And what is told of its mistakes, so that no log is filled by them.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::Time;
use crate::config::Limits;
use crate::control::Event;
use crate::rib::{PeerId, UpdateOutcome};
use crate::wire::header::{self, MessageType};
use crate::wire::notification::{self, Notification, cease};
use crate::wire::update::UpdateView;
use crate::wire::{AFI_L2VPN, SAFI_EVPN, evpn};

use super::events::Events;
use super::{Peer, Speaker};

/// The first rest of a neighbor that passed a limit; each one in a row is twice as long.
const FIRST_REST: Duration = Duration::from_secs(60);
/// The longest.
const LONGEST_REST: Duration = Duration::from_secs(3600);
/// The first rest of a neighbor that flaps.
const FIRST_FLAP_REST: Duration = Duration::from_secs(10);
/// The longest.
const LONGEST_FLAP_REST: Duration = Duration::from_secs(120);
/// A session that stood so long ends a row of rests.
const WELL_BEHAVED_SECS: u64 = 600;
/// A session that stood no longer than this is one of a row that flaps.
const SHORT_SECS: u64 = 5;
/// Sessions in such a row before the neighbor is left alone (RFC 4271 §8.1.1, DampPeerOscillations).
const SHORT_SESSIONS: u32 = 10;
/// Between two tales of one neighbor's mistakes.
const MISTAKE_PAUSE: Duration = Duration::from_secs(10);
/// Routes that are named in one.
const ROUTES_TOLD: usize = 16;

/// What is remembered of one neighbor, over its sessions.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The warning of this session was given.
    warned: bool,
    /// Rests in a row.
    rests: u32,
    until: Option<Time>,
    /// Sessions in a row that stood for no time at all.
    short_sessions: u32,
    mistake_told: Option<Time>,
}

impl Watch {
    /// Until when it is turned away.
    pub(super) fn rests_until(&self) -> Option<Time> {
        self.until
    }

    /// The operator wants it back now.
    pub(super) fn forgive(&mut self) {
        *self = Self { mistake_told: self.mistake_told, ..Self::default() };
    }

    pub(super) fn session_ended(&mut self, up_secs: u64) {
        self.warned = false;
        self.short_sessions = if up_secs <= SHORT_SECS { self.short_sessions + 1 } else { 0 };
        if up_secs >= WELL_BEHAVED_SECS {
            self.rests = 0;
        }
    }

    /// How long the next rest is.
    fn rest(&mut self, first: Duration, longest: Duration) -> Duration {
        self.rests += 1;
        first.saturating_mul(1 << (self.rests - 1).min(10)).min(longest)
    }
}

/// Neighbors of ranges that are gone and whose behaviour is remembered; the oldest are forgotten first.
const DEPARTED: usize = 1024;

/// How neighbors of ranges behaved that are gone: who closes its connection is forgotten, and must not be for that a new one.
#[derive(Debug, Default)]
pub(super) struct Departed(VecDeque<(IpAddr, Watch)>);

impl Departed {
    /// Whether another had to be forgotten for it.
    pub(super) fn remember(&mut self, address: IpAddr, watch: Watch) -> bool {
        if watch.rests == 0 && watch.short_sessions == 0 {
            return false;
        }
        let full = self.0.len() >= DEPARTED;
        self.0.truncate(DEPARTED - 1);
        self.0.push_front((address, watch));
        full
    }

    pub(super) fn recall(&mut self, address: IpAddr) -> Watch {
        let place = self.0.iter().position(|(departed, _)| *departed == address);
        place.and_then(|place| self.0.remove(place)).map(|(_, watch)| watch).unwrap_or_default()
    }
}

/// A limit that an UPDATE passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooMuch {
    notification: Notification,
    reason: String,
}

/// One more of what `name` counts; whether this one is to be told: the first, the second, the fourth, and so on, so that
/// whoever hits a limit all the time does not fill the log.
pub(super) fn hit(events: &mut Events, name: &'static str) -> bool {
    events.count(name);
    events.counters.get(name).is_some_and(|count| count.is_power_of_two())
}

/// Whether the neighbor passed a limit with an UPDATE, or comes near one.
#[inline]
pub(super) fn judge(
    events: &mut Events,
    limits: &Limits,
    peer: &mut Peer,
    routes: u32,
    outcome: &UpdateOutcome,
) -> Option<TooMuch> {
    let limit = peer.neighbor.max_routes.unwrap_or(limits.routes_per_neighbor);
    if !peer.watch.warned && u64::from(routes) * 5 >= u64::from(limit) * 4 {
        peer.watch.warned = true;
        events.count("max_routes_near");
        events.push(Event::LimitNear { neighbor: peer.address, routes: u64::from(routes), limit });
    }
    if !outcome.over_max_routes && !outcome.over_attribute_octets {
        return None;
    }
    if outcome.over_max_routes {
        return Some(too_many_routes(events, peer, limit));
    }
    events.count("attribute_octets_exceeded");
    let reason = format!(
        "the attributes of its routes take more than {} octets ([limits] attribute-octets-per-neighbor)",
        limits.attribute_octets_per_neighbor
    );
    Some(TooMuch { notification: Notification::cease(cease::OUT_OF_RESOURCES, ""), reason })
}

fn too_many_routes(events: &mut Events, peer: &Peer, limit: u32) -> TooMuch {
    events.count("max_routes_exceeded");
    events.push(Event::MaxRoutes { neighbor: peer.address, limit });
    // RFC 4486 §4: which family, and the upper bound.
    let [a, b] = AFI_L2VPN.to_be_bytes();
    let data = [&[a, b, SAFI_EVPN][..], &limit.to_be_bytes()].concat();
    let notification = Notification { code: notification::CEASE, subcode: cease::MAX_PREFIXES, data };
    TooMuch { notification, reason: format!("it has more than {limit} routes (max-routes)") }
}

/// Tells of mistakes that did not cost the session, with the octets (RFC 7606 §6).
pub(super) fn tell_mistakes(
    events: &mut Events,
    now: Time,
    (neighbor, watch): (IpAddr, &mut Watch),
    outcome: &UpdateOutcome,
    body: &[u8],
) {
    events.count("updates_with_mistakes");
    if !watch.is_time_to_tell(now) {
        return;
    }
    let mut words: Vec<_> = outcome.mistakes.iter().take(3).map(ToString::to_string).collect();
    if let Some(error) = outcome.first_nlri_error {
        let more = outcome.nlri_errors - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        words.push(format!("{error}{more}, the others stand"));
    }
    events.push(mistake(neighbor, words.join("; "), body));
}

/// The same for one that costs the session.
pub(super) fn tell_fatal_mistake(
    events: &mut Events,
    now: Time,
    (neighbor, watch): (IpAddr, &mut Watch),
    notification: &Notification,
    body: &[u8],
) {
    events.count("updates_with_mistakes");
    if watch.is_time_to_tell(now) {
        events.push(mistake(neighbor, format!("{notification}, session reset"), body));
    }
}

impl Watch {
    fn is_time_to_tell(&mut self, now: Time) -> bool {
        let is_time = self.mistake_told.is_none_or(|told| now.since(told) >= MISTAKE_PAUSE);
        if is_time {
            self.mistake_told = Some(now);
        }
        is_time
    }
}

fn mistake(neighbor: IpAddr, what: String, body: &[u8]) -> Event {
    let view = UpdateView::parse(body).ok();
    let fields = view.iter().flat_map(|view| {
        let reach = view.reach.filter(|reach| reach.is_evpn()).map(|reach| reach.nlri);
        [reach, view.unreach.filter(|unreach| unreach.is_evpn()).map(|unreach| unreach.nlri)]
    });
    let routes = fields.flatten().flat_map(evpn::routes).flatten().take(ROUTES_TOLD).map(|route| route.to_string()).collect();
    let mut message = Vec::with_capacity(header::HEADER_LEN + body.len());
    let start = header::begin(&mut message, MessageType::Update);
    message.extend_from_slice(body);
    header::finish(&mut message, start);
    let mut digits = String::with_capacity(2 * message.len());
    for octet in &message {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{octet:02x}");
    }
    Event::UpdateMistake { neighbor, what, routes, message: digits }
}

impl Speaker {
    /// Closes the session and leaves the neighbor alone.
    pub(super) fn close_and_rest(&mut self, now: Time, id: PeerId, too_much: TooMuch) {
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        peer.session.handle_error(now, too_much.notification);
        let length = peer.watch.rest(FIRST_REST, LONGEST_REST);
        self.rest(now, id, length, too_much.reason);
    }

    /// Leaves a neighbor alone whose sessions end as soon as they are up, again and again.
    pub(super) fn rest_if_flapping(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        if peer.watch.short_sessions < SHORT_SESSIONS || peer.watch.until.is_some() || peer.leaving {
            return;
        }
        let length = peer.watch.rest(FIRST_FLAP_REST, LONGEST_FLAP_REST);
        let reason = format!("{} sessions in a row ended within {SHORT_SECS} s", peer.watch.short_sessions);
        peer.watch.short_sessions = 0;
        self.events.count("neighbors_flapping");
        self.rest(now, id, length, reason);
    }

    fn rest(&mut self, now: Time, id: PeerId, length: Duration, reason: String) {
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        peer.watch.until = Some(now + length);
        let (neighbor, secs) = (peer.address, length.as_secs());
        // No connection is left that would be told this: it only ends our attempts, and turns away who connects.
        peer.session.stop(now, cease::OUT_OF_RESOURCES, "");
        self.events.push(Event::NeighborRests { neighbor, reason, secs });
    }

    /// Lets a neighbor in again whose rest is over.
    pub(super) fn end_rest_when_due(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        if peer.watch.until.is_none_or(|until| until > now) {
            return;
        }
        peer.watch.until = None;
        if peer.neighbor.enabled && !peer.leaving && !peer.dynamic {
            peer.session.start(now);
            self.drain_session(now, id);
        }
        self.forget_if_over(id);
    }

    /// `max-routes` or `[limits]` may be others than before: they hold from now on, and who rests gets another chance.
    pub(super) fn limits_changed(&mut self, now: Time) {
        for id in self.peers.ids() {
            let Some(peer) = self.peers.by_id_mut(id) else { continue };
            let limit = peer.neighbor.max_routes.unwrap_or(self.config.limits.routes_per_neighbor);
            peer.watch.warned = false;
            if peer.watch.until.is_some() {
                peer.watch.until = Some(now);
            }
            let is_over = peer.session.established().is_some() && self.rib.peer_routes(id) > limit;
            self.rib.set_max_routes(id, Some(limit));
            if is_over {
                let too_much = too_many_routes(&mut self.events, peer, limit);
                self.close_and_rest(now, id, too_much);
                self.drain_session(now, id);
            }
            self.end_rest_when_due(now, id);
        }
    }
}
