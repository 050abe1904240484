//! The walk of a route: a session's UPDATE into the table, the table's decisions into the MAC-VRFs, their wishes to
//! the kernel, and what peers are yet to hear to the connections. See `docs/ARCHITECTURE.md` for the drawing.

use crate::base::Time;
use crate::control::{Event, Level};
use crate::session::graceful::Input;
use crate::session::{Direction, SessionEvent};

use super::{Action, ConnId, Speaker, limits};
use crate::fib::message::KernelCommand;
use crate::wire::route_refresh::{self, RouteRefresh};

/// Destinations decided, or walked over by a long job, before the rim gets a say again. About 10 ms of work.
const WORK_BUDGET: usize = 8192;
/// Between two requests for paths that a limit refused: each may bring a neighbor's whole table.
const ASK_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

impl Speaker {
    /// Octets that arrived on `conn`. They are consumed whole.
    pub fn handle_octets(&mut self, now: Time, conn: ConnId, octets: &[u8]) {
        let Some((id, direction)) = self.peers.connection(conn) else { return };
        if let Some(peer) = self.peers.by_id_mut(id) {
            peer.octets_in += octets.len() as u64;
            peer.session.handle_octets(now, direction, octets);
        }
        self.drain_session(now, id);
        self.forget_if_over(id);
        self.settle(now);
    }

    /// Takes everything one session has to say. UPDATEs go straight from its receive buffer into the table.
    pub(super) fn drain_session(&mut self, now: Time, id: crate::rib::PeerId) {
        loop {
            let Self { peers, rib, events, config, .. } = self;
            let Some(peer) = peers.by_id_mut(id) else { return };
            let (mut reset, mut too_much, mut end_of_rib, mut marker) = (None, None, false, None);
            match peer.session.poll_event(now) {
                None => return,
                Some(SessionEvent::Update(body)) => {
                    let outcome = crate::wire::update::UpdateView::parse(body).and_then(|view| rib.handle_update(now, id, &view));
                    match outcome {
                        Ok(outcome) => {
                            if !outcome.mistakes.is_empty() || outcome.nlri_errors > 0 {
                                limits::tell_mistakes(events, now, (peer.address, &mut peer.watch), &outcome, body);
                            }
                            peer.note_update(&outcome);
                            end_of_rib = outcome.end_of_rib;
                            if outcome.end_of_rib {
                                let routes = u64::from(rib.peer_routes(id));
                                events.push(Event::EndOfRib { neighbor: peer.address, routes });
                            }
                            too_much = limits::judge(events, &config.limits, peer, rib.peer_routes(id), &outcome);
                        }
                        Err(notification) => {
                            limits::tell_fatal_mistake(events, now, (peer.address, &mut peer.watch), &notification, body);
                            reset = Some(notification);
                        }
                    }
                }
                Some(SessionEvent::RouteRefresh(refresh)) => {
                    if refresh.subtype == route_refresh::REQUEST {
                        let enhanced = peer.session.established().is_some_and(|(_, n)| n.enhanced_route_refresh);
                        rib.refresh_export(id, enhanced);
                    } else {
                        marker = Some(refresh.subtype);
                    }
                }
                Some(SessionEvent::Connect) => self.connect(id),
                Some(SessionEvent::CancelConnect) => self.close(id, Direction::Outgoing),
                Some(SessionEvent::Close(direction)) => self.close(id, direction),
                Some(SessionEvent::Established(negotiated)) => {
                    let negotiated = negotiated.clone();
                    self.peer_up(now, id, &negotiated);
                }
                Some(SessionEvent::Down(reason)) => self.peer_down(now, id, &reason),
                Some(SessionEvent::Refused(reason)) => {
                    let text = reason.to_string();
                    peer.last_error_at = Some(now);
                    events.refused(peer, &text);
                }
            }
            match marker {
                Some(route_refresh::BEGIN) => self.refresh_begins(now, id),
                Some(_) => self.refresh_ends(id, "it did not say them again in a route refresh"),
                None => {}
            }
            if end_of_rib {
                self.graceful_step(now, id, Input::EndOfRib);
            }
            if let Some(notification) = reset
                && let Some(peer) = self.peers.by_id_mut(id)
            {
                peer.session.handle_error(now, notification);
            }
            if let Some(too_much) = too_much {
                self.close_and_rest(now, id, too_much);
            }
        }
    }

    /// Carries what changed through the floors until nothing is left that can be done now: table → instances → rows →
    /// batches. What was cut for fairness goes on in [`Speaker::handle_work`].
    pub(super) fn settle(&mut self, now: Time) {
        if self.stopping {
            // The sessions' routes are going, and no row may go with them: the next run finds what stands.
            return;
        }
        self.work_left = self.rib.work(WORK_BUDGET);
        self.work_left |= self.evpn.work(now, &mut self.rib, &mut self.fib, WORK_BUDGET);
        let mut decided = 0;
        // What was left over for fairness has waited since the turn in which it came.
        let cause = self.behind_since.unwrap_or(now);
        self.fib.caused_at(Some(cause));
        while let Some(dest) = self.rib.next_change() {
            self.evpn.handle_change(now, &mut self.rib, &mut self.fib, dest);
            decided += 1;
            if decided >= WORK_BUDGET {
                break;
            }
        }
        self.fib.caused_at(None);
        self.behind_since = self.rib.has_changes().then_some(cause);
        self.take_evpn_events();
        // Before the batches are cut: what it wants gone must not wait for the next turn, which may be a keepalive away.
        self.sweep_when_confirmed(now);
        self.clear_leftovers();
        self.continue_moves(now);
        self.tell_fights(now);
        self.plan_refused(now);
        self.note_sequences(now);
        self.note_floods(now);
        while let Some(batch) = self.fib.poll_batch(now) {
            self.actions.push_back(Action::Kernel(KernelCommand::Write(batch)));
        }
        let questions = self.evpn.take_questions();
        if !questions.is_empty() {
            self.actions.push_back(Action::Kernel(KernelCommand::AskAddresses(questions)));
        }
        let taken = self.evpn.take_taken();
        if !taken.is_empty() {
            self.actions.push_back(Action::Kernel(KernelCommand::AddressesTaken(taken)));
        }
        // Behind the rows: where guests are told that an address is, frames to it are to go.
        let moved = self.evpn.take_moves();
        if !moved.is_empty() {
            self.actions.push_back(Action::Kernel(KernelCommand::TellGuests(moved)));
        }
        if self.evpn.take_resync() {
            // Behind the writes under way, so that it sees what came of them.
            self.actions.push_back(Action::Kernel(KernelCommand::ResyncLocal));
        }
        self.remove_devices_when_cleared();
        self.continue_restart(now);
        self.release_remotes();
        self.continue_drain(now);
    }

    /// Paths that a limit refused are asked for again when there is room, at most once in [`ASK_AGAIN_AFTER`].
    fn plan_refused(&mut self, now: Time) {
        if self.rib.take_first_refusal() {
            let limit = self.config.limits.paths_per_route;
            self.events.note(
                Level::Warn,
                format!(
                    "a route has more than the {limit} paths of [limits] paths-per-route: the best are kept, more are not taken"
                ),
            );
        }
        let (at, last) = &mut self.ask_again;
        if at.is_none() && self.rib.has_room_for_refused() {
            *at = Some(last.map_or(now, |last| (last + ASK_AGAIN_AFTER).max(now)));
        }
    }

    pub(super) fn ask_for_refused(&mut self, now: Time) {
        if self.ask_again.0.is_none_or(|at| at > now) {
            return;
        }
        self.ask_again = (None, Some(now));
        for id in self.rib.take_refused() {
            if let Some(peer) = self.peers.by_id_mut(id) {
                peer.session.send_route_refresh(RouteRefresh::evpn(route_refresh::REQUEST));
                self.events.count("routes_asked_again");
            }
        }
    }

    /// Whether a walk was cut for fairness and [`Speaker::handle_work`] should be called when the rim has had its say.
    pub fn has_work(&self) -> bool {
        !self.stopping && (self.rib.has_changes() || self.work_left)
    }

    /// Goes on with what a turn left over.
    pub fn handle_work(&mut self, now: Time) {
        self.settle(now);
    }

    /// Whether there is anything to send on `conn`.
    pub fn wants_transmit(&self, conn: ConnId) -> bool {
        let Some((id, direction)) = self.peers.connection(conn) else { return false };
        let Some(peer) = self.peers.by_id(id) else { return false };
        if peer.session.has_transmit(direction) {
            return true;
        }
        matches!(peer.session.established(), Some((at, _)) if at == direction) && self.rib.has_pending(id)
    }

    /// Appends about `budget` octets to send on `conn`: session messages first, so that a million routes never cost a
    /// KEEPALIVE, then whole UPDATEs. Whatever was appended must be sent, in this order.
    pub fn transmit(&mut self, conn: ConnId, out: &mut Vec<u8>, budget: usize) {
        let Some((id, direction)) = self.peers.connection(conn) else { return };
        let Some(peer) = self.peers.by_id_mut(id) else { return };
        peer.session.transmit(direction, out);
        if matches!(peer.session.established(), Some((at, _)) if at == direction) && out.len() < budget {
            let (start, left) = (out.len(), budget - out.len());
            self.rib.fill(id, out, left);
            peer.session.count_updates_sent(crate::wire::header::count_messages(&out[start..]));
        }
    }

    /// TCP took octets of `conn`: the peer reads.
    pub fn handle_sent(&mut self, now: Time, conn: ConnId, octets: usize) {
        let Some((id, direction)) = self.peers.connection(conn) else { return };
        if let Some(peer) = self.peers.by_id_mut(id) {
            peer.octets_out += octets as u64;
            peer.session.handle_sent(now, direction);
        }
    }
}
