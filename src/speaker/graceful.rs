//! What becomes of a neighbor's routes when its session ends and when it is back: the helper's side of graceful restart.
//! The rules are in `session/graceful.rs`; here they meet the table, the configuration and the log. Our own restart is in
//! `restart.rs`.

use std::time::Duration;

use crate::base::Time;
use crate::config::Neighbor;
use crate::control::Event;
use crate::rib::{PeerId, Stale};
use crate::session::graceful::{Helper, Input, Limits, Loss, Output, Terms};
use crate::session::{DownReason, Negotiated};
use crate::wire::capability::GracefulRestart;
use crate::wire::{AFI_L2VPN, SAFI_EVPN};

use super::{Peer, Speaker};

impl Speaker {
    fn graceful_limits(&self) -> Limits {
        let config = &self.config.graceful_restart;
        let secs = |secs: u32| Duration::from_secs(u64::from(secs));
        Limits {
            stale: secs(config.stale_time_secs),
            long_lived: secs(config.long_lived_stale_time_secs),
            hold: secs(config.loss_hold_time_secs),
        }
    }

    /// What our next OPEN says to a neighbor: graceful restart, and the seconds of the long-lived one.
    pub(super) fn graceful_capability(&self, neighbor: &Neighbor) -> (Option<GracefulRestart>, u32) {
        let config = &self.config.graceful_restart;
        if !config.enabled || !neighbor.graceful_restart {
            return (None, 0);
        }
        let capability = GracefulRestart {
            restarted: self.restart.is_restarted(),
            notification: true,
            restart_time_secs: config.restart_time_secs,
            families: vec![(AFI_L2VPN, SAFI_EVPN, self.preserves_forwarding())],
        };
        (Some(capability), config.long_lived_stale_time_secs)
    }

    /// Every session says it anew from its next OPEN on.
    pub(super) fn renew_graceful_capabilities(&mut self) {
        for id in self.peers.ids() {
            let Some(capability) = self.peers.by_id(id).map(|peer| self.graceful_capability(&peer.neighbor)) else { continue };
            if let Some(peer) = self.peers.by_id_mut(id) {
                peer.session.set_graceful_restart(capability.0, capability.1);
            }
        }
    }

    /// The session came up.
    pub(super) fn graceful_return(&mut self, now: Time, id: PeerId, negotiated: &Negotiated) {
        let limits = self.graceful_limits();
        let terms = Terms::of(negotiated);
        if let Some(peer) = self.peers.by_id_mut(id) {
            peer.terms = terms;
        }
        self.graceful_step(now, id, Input::Back(terms.back(&limits)));
    }

    /// The session left Established: the table hears what becomes of its routes. Gives how long they are kept.
    pub(super) fn graceful_loss(&mut self, now: Time, id: PeerId, reason: &DownReason) -> Option<Duration> {
        let limits = self.graceful_limits();
        let peer = self.peers.by_id(id)?;
        let loss = if peer.leaving || self.stopping { Loss::Final } else { peer.terms.loss(reason, &limits) };
        match loss {
            Loss::Final => {}
            Loss::Held(_) => self.events.count("losses_held"),
            Loss::Graceful { .. } => self.events.count("losses_graceful"),
        }
        self.graceful_step(now, id, Input::Lost(loss));
        self.peers.by_id(id)?.helper.poll_timeout().map(|until| until.since(now))
    }

    /// One step of what is kept of a neighbor.
    pub(super) fn graceful_step(&mut self, now: Time, id: PeerId, input: Input) {
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        let (before, neighbor) = (peer.helper, peer.address);
        let (after, output) = before.step(now, input);
        peer.helper = after;
        match output {
            None => {}
            Some(Output::Drop) => self.rib.peer_down(id, Stale::Drop),
            Some(Output::Keep) => self.rib.peer_down(id, Stale::Keep),
            Some(Output::KeepAll) => self.rib.peer_down(id, Stale::KeepAll),
            Some(Output::KeepLongLived) => {
                self.rib.peer_down(id, Stale::Keep);
                self.begin_long_lived(now, id, after);
            }
            Some(Output::LongLived) => self.begin_long_lived(now, id, after),
            Some(Output::Sweep) => {
                let swept = u64::from(self.rib.sweep_stale(id));
                if input == Input::EndOfRib {
                    let routes = u64::from(self.rib.peer_routes(id));
                    self.events.push(Event::RoutesConfirmed { neighbor, routes, swept });
                } else if swept > 0 {
                    self.events.push(Event::RoutesSwept { neighbor, routes: swept, why: why_swept(before, input).to_owned() });
                }
            }
        }
        self.note_contributor(now, id);
    }

    /// BoRR (RFC 7313 §4). Where graceful restart was agreed on, one before the peer's End-of-RIB is ignored.
    pub(super) fn refresh_begins(&mut self, now: Time, id: PeerId) {
        let limit = self.graceful_limits().stale;
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        let early = (peer.terms.agreed && !peer.end_of_rib) || peer.helper.keeps();
        if !early && self.rib.begin_refresh(id) {
            peer.refresh_until.get_or_insert(now + limit);
        } else {
            self.events.count("refreshes_ignored");
        }
    }

    /// EoRR, or what stands for it: what was not said again goes. One without a BoRR is ignored.
    pub(super) fn refresh_ends(&mut self, id: PeerId, why: &str) {
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        if peer.refresh_until.take().is_none() {
            return;
        }
        let swept = self.rib.sweep_stale(id);
        if swept > 0 {
            let (neighbor, routes) = (peer.address, u64::from(swept));
            self.events.push(Event::RoutesSwept { neighbor, routes, why: why.to_owned() });
        }
    }

    fn begin_long_lived(&mut self, now: Time, id: PeerId, after: Helper) {
        self.rib.begin_long_lived(id);
        self.events.count("long_lived_begun");
        let Some(neighbor) = self.peers.by_id(id).map(|peer| peer.address) else { return };
        let secs = after.poll_timeout().map_or(0, |until| until.secs_since(now));
        self.events.push(Event::RoutesLongLived { neighbor, routes: u64::from(self.rib.stale_routes(id)), secs });
    }

    /// What was agreed with a neighbor and what is kept of it, in words; and the seconds left.
    pub(super) fn graceful_words(&self, now: Time, peer: &Peer) -> (String, Option<u64>) {
        let terms = &peer.terms;
        let mut words = if !self.config.graceful_restart.enabled || !peer.neighbor.graceful_restart {
            "off here".to_owned()
        } else if peer.up_since.is_none() && !peer.helper.keeps() {
            "offered".to_owned()
        } else if !terms.agreed {
            "not offered by the neighbor".to_owned()
        } else {
            let notification = if terms.notification { "also over a NOTIFICATION" } else { "not over a NOTIFICATION" };
            let theirs = if terms.family {
                format!("it asks for {} s", terms.restart_time_secs)
            } else {
                "it asks for nothing to be kept of its own".to_owned()
            };
            let long = match (terms.long_lived_secs, self.config.graceful_restart.long_lived_stale_time_secs) {
                (0, _) | (_, 0) => String::new(),
                (theirs, ours) => format!(", long-lived {} s", theirs.min(ours)),
            };
            format!("agreed, {notification}, {theirs}{long}")
        };
        let left = peer.helper.poll_timeout().map(|until| until.secs_since(now));
        let state = match peer.helper {
            Helper::Settled => "",
            Helper::Restarting { .. } => "it restarts",
            Helper::LongLived { .. } => "it is away for long",
            Helper::Held { .. } => "it is lost",
            Helper::Returned { .. } => "it is back and confirms its routes",
        };
        if let Some(left) = left {
            let stale = self.rib.stale_routes(peer.id);
            words = format!("{words}; {state}: {stale} stale, at most {left} s left");
        }
        (words, left)
    }
}

fn why_swept(before: Helper, input: Input) -> &'static str {
    match (before, input) {
        (_, Input::Forget) => "it is not wanted any more",
        (_, Input::Back(_)) => "it is back without what it had",
        (Helper::Restarting { .. }, _) => "it did not come back within its restart time",
        (Helper::LongLived { .. }, _) => "it did not come back within the long-lived stale time",
        (Helper::Held { .. }, _) => "it did not come back within loss-hold-time",
        (Helper::Returned { .. } | Helper::Settled, _) => "it is back and did not confirm them in time",
    }
}
