//! The story of the daemon as events, for the log and for monitors. Bounded: what nobody reads is dropped and counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::Time;
use crate::control::{Event, Level};
use crate::session::{DownReason, Negotiated};

use super::{Peer, Speaker};

/// Events that may wait for the rim.
const BACKLOG: usize = 16 * 1024;

/// Events that wait, and what the speaker itself counts.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    /// Whether events of debug level are wanted.
    pub(super) verbose: bool,
    pub(super) counters: BTreeMap<&'static str, u64>,
}

impl Events {
    pub(super) fn push(&mut self, event: Event) {
        if event.level() == Level::Debug && !self.verbose {
            return;
        }
        if self.queue.len() >= BACKLOG {
            self.count("events_dropped");
            return;
        }
        self.queue.push_back(event);
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }

    pub(super) fn count(&mut self, name: &'static str) {
        *self.counters.entry(name).or_default() += 1;
    }

    pub(super) fn note(&mut self, severity: Level, text: impl Into<String>) {
        self.push(Event::Note { severity, text: text.into() });
    }

    pub(super) fn session_up(&mut self, peer: &Peer, negotiated: &Negotiated) {
        self.push(Event::SessionUp {
            neighbor: peer.address,
            asn: negotiated.peer_asn,
            host_name: negotiated.peer_host_name.clone(),
            hold_time_secs: negotiated.hold_time_secs,
        });
    }

    /// `kept`: how long its routes stay.
    pub(super) fn session_down(&mut self, peer: &Peer, reason: &DownReason, up_secs: u64, routes: u64, kept: Option<Duration>) {
        let kept_secs = kept.map(|kept| kept.as_secs());
        self.push(Event::SessionDown { neighbor: peer.address, reason: reason.to_string(), up_secs, routes, kept_secs });
    }

    /// A refusal is logged when it is another one than before: a retry every few seconds must not fill the log.
    pub(super) fn refused(&mut self, peer: &mut Peer, reason: &str) {
        self.count("sessions_refused");
        if peer.last_refusal.as_deref() != Some(reason) {
            peer.last_refusal = Some(reason.to_owned());
            self.push(Event::SessionRefused { neighbor: peer.address, reason: reason.to_owned() });
        }
    }
}

impl Speaker {
    /// How long the session of `peer` was up.
    pub(super) fn up_secs(peer: &Peer, now: Time) -> u64 {
        peer.up_since.map_or(0, |since| now.secs_since(since))
    }

    /// One more of what `name` counts, for what the rim sees and the core does not. Whether this one is to be told: the first,
    /// the second, the fourth, and so on.
    pub fn count(&mut self, name: &'static str) -> bool {
        super::limits::hit(&mut self.events, name)
    }

    /// Takes the events of the MAC-VRFs over.
    pub(super) fn take_evpn_events(&mut self) {
        while let Some(event) = self.evpn.poll_event() {
            self.events.push(event);
        }
    }
}
