//! Our own restart (RFC 4724 §4.1): what our OPENs say of it, and when our first End-of-RIB goes out.
//!
//! Peers that kept our routes sweep at our End-of-RIB whatever we did not announce by then. So it waits until the local
//! MACs of every device were read from the kernel, and, where we pass routes on, until those whose routes we had before
//! said End-of-RIB themselves. Who that was stands in the state file: a reflector does not know its clients before they come.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::Time;
use crate::fib::device::DeviceState;
use crate::rib::PeerId;

use super::{Action, Speaker};

/// How long we wait for the End-of-RIB of a neighbor that may not send one, or that waits for ours: without graceful restart,
/// or restarted itself (RFC 4724 §4.1 would not wait at all; this gives its routes the time to arrive).
const COURTESY: Duration = Duration::from_secs(5);
/// How long moves wait for neighbors that are not here when the first has said all it has.
const LATECOMERS: Duration = Duration::from_secs(1);
/// Changes of who is here that come within this are written once: two hundred clients are not two hundred `fsync`s.
const SAVE_AFTER: Duration = Duration::from_millis(200);

/// The beginning of a run.
#[derive(Debug, Default)]
pub(super) struct Restart {
    /// An earlier run of this boot left rows and routes behind.
    restarted: bool,
    /// The end of the wait at the latest (the deferral timer of RFC 4724 §4.1); `None`: it is over.
    until: Option<Time>,
    /// A neighbor's courtesy ends.
    look_at: Option<Time>,
    /// When the first neighbor had said all it has.
    first_heard: Option<Time>,
    /// Whose routes we had before, and whose End-of-RIB has not come yet.
    awaited: BTreeSet<IpAddr>,
    /// When moves may be deferred no longer, unless something comes before.
    move_at: Option<Time>,
    /// The state file is to be written.
    save_at: Option<Time>,
}

impl Restart {
    /// The R bit.
    pub(super) fn is_restarted(&self) -> bool {
        self.restarted && self.until.is_some()
    }

    /// When to look again, and why.
    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let waits = self.until.into_iter().chain(self.look_at).map(|at| (at, "End-of-RIB deferral"));
        let waits = waits.chain(self.move_at.map(|at| (at, "moves of rows that stood")));
        waits.chain(self.save_at.map(|at| (at, "state to keep"))).min_by_key(|(at, _)| *at)
    }
}

impl Speaker {
    /// The run begins: End-of-RIB waits.
    pub(super) fn begin_restart(&mut self, now: Time) {
        self.restart.restarted = self.kept.is_restart;
        self.restart.until = Some(now + self.config.graceful_restart.restart_time());
        if self.kept.is_restart {
            self.restart.awaited = self.kept.neighbors.clone();
        } else {
            self.kept.neighbors.clear();
            self.kept.devices.clear();
            self.restart.save_at = Some(now);
        }
        self.look_for_leftovers();
        self.rib.hold_end_of_rib(true);
        self.fib.defer_moves();
    }

    /// Guests hear of addresses that moved before all was known, once it is: a bridge may be read after every neighbor has said all it has.
    pub(super) fn tell_moves_of_before(&mut self, now: Time) {
        if self.sweep_at.is_none() && !self.sweep_waits {
            let changed = self.fib.take_changed_neighbors();
            self.evpn.tell_moves_of_before(now, changed);
        }
    }

    /// Rows that stood before us are moved once whoever is here has said all it has (RFC 4724 §4.1), and [`LATECOMERS`] after
    /// the first of them though others are not here yet: a reflector that is away for long must not hold every move back.
    pub(super) fn continue_moves(&mut self, now: Time) {
        if !self.fib.defers_moves() || self.rib.has_changes() {
            return;
        }
        self.restart.move_at = None;
        if self.sweep_at.is_some() {
            let (mut heard, mut away, mut until) = (false, false, None);
            for peer in self.peers.iter().filter(|peer| peer.neighbor.enabled && !peer.leaving) {
                match peer.up_since {
                    None => away |= !peer.dynamic,
                    Some(since) if !peer.end_of_rib && since + COURTESY > now => until = until.max(Some(since + COURTESY)),
                    Some(_) => heard = true,
                }
            }
            if until.is_none() && heard && away {
                let first = *self.restart.first_heard.get_or_insert(now);
                until = Some(first + LATECOMERS).filter(|at| *at > now);
            }
            if !heard || until.is_some() {
                self.restart.move_at = until;
                return;
            }
        }
        self.fib.end_deferral(now);
    }

    /// The F bit of 25/70: a reflector is not in the way of any frame; a hypervisor's rows and devices outlive the process,
    /// but not the boot.
    pub(super) fn preserves_forwarding(&self) -> bool {
        self.config.router.vtep.is_none() || self.restart.restarted || self.restart.until.is_none()
    }

    /// Ends the wait where nothing is left to be waited for, and writes the state file where that is due.
    pub(super) fn continue_restart(&mut self, now: Time) {
        if self.restart.save_at.is_some_and(|at| at <= now) {
            self.restart.save_at = None;
            self.actions.push_back(Action::Save(self.kept.clone()));
        }
        let Some(until) = self.restart.until else { return };
        let mut awaited = std::mem::take(&mut self.restart.awaited);
        let mut look_at = None;
        awaited.retain(|address| match self.awaited_until(now, *address, until) {
            Some(at) if at > now => {
                look_at = Some(look_at.map_or(at, |other: Time| other.min(at)));
                true
            }
            _ => false,
        });
        self.restart.awaited = awaited;
        self.restart.look_at = look_at.filter(|at| *at < until);
        if now >= until || (self.restart.awaited.is_empty() && self.own_routes_known()) {
            self.end_restart(now);
        }
    }

    fn end_restart(&mut self, now: Time) {
        if now >= self.restart.until.unwrap_or(now) {
            self.events.count("end_of_rib_deferral_expired");
        }
        self.restart.until = None;
        self.restart.look_at = None;
        self.restart.awaited.clear();
        self.rib.hold_end_of_rib(false);
        // From now on we did not restart, and a session that breaks breaks no forwarding.
        self.renew_graceful_capabilities();
        let left: BTreeSet<IpAddr> =
            self.kept.neighbors.iter().copied().filter(|address| self.peers.by_address(*address).is_some()).collect();
        if left.len() != self.kept.neighbors.len() {
            self.kept.neighbors = left;
            self.save_soon(now);
        }
    }

    /// Until when the End-of-RIB of `address` is awaited at most; `None`: it came, or will not.
    fn awaited_until(&self, now: Time, address: IpAddr, until: Time) -> Option<Time> {
        let Some(peer) = self.peers.by_address(address) else {
            let may_come = self.peers.ranges.iter().any(|range| range.enabled && range.who.contains(address));
            return may_come.then_some(until);
        };
        if !peer.neighbor.enabled || peer.leaving || peer.end_of_rib {
            return None;
        }
        let Some(since) = peer.up_since else { return Some(until) };
        if peer.terms.agreed && !peer.terms.restarted {
            return Some(until);
        }
        Some(since + COURTESY).filter(|at| *at > now)
    }

    /// Whether the first look at the bridges is over, wherever there is one to look at: what we say until then is not all.
    fn own_routes_known(&self) -> bool {
        self.kernel_fault.is_some()
            || self.vnis.values().all(|state| match &state.device {
                Some(DeviceState::Ready(_)) => !state.adopting && state.local_macs_known && state.neighbors_known,
                Some(DeviceState::Unusable { .. }) => true,
                None => false,
            })
    }

    /// Whether routes of some neighbors go to others, so that our End-of-RIB says something about them.
    fn passes_routes_on(&self) -> bool {
        let own = self.config.router.asn;
        self.config.neighbors.iter().any(|neighbor| neighbor.route_reflector_client || neighbor.asn != own)
    }

    /// Keeps in mind over a restart whether a neighbor's routes are here.
    pub(super) fn note_contributor(&mut self, now: Time, id: PeerId) {
        if self.stopping || !self.passes_routes_on() {
            return;
        }
        let Some(peer) = self.peers.by_id(id) else { return };
        let contributes = !peer.leaving && (peer.session.established().is_some() || peer.helper.keeps());
        // After a start one that has not come yet is still awaited.
        let changed = if contributes {
            self.kept.neighbors.insert(peer.address)
        } else if self.restart.awaited.contains(&peer.address) && !peer.leaving {
            false
        } else {
            self.kept.neighbors.remove(&peer.address)
        };
        if changed {
            self.save_soon(now);
        }
    }

    pub(super) fn save_soon(&mut self, now: Time) {
        self.restart.save_at.get_or_insert(now + SAVE_AFTER);
    }

    /// The process ends: what waits to be written is.
    pub(super) fn save_now(&mut self) {
        if self.restart.save_at.take().is_some() {
            self.actions.push_back(Action::Save(self.kept.clone()));
        }
    }

    /// We leave for good: the next run is no restart.
    pub(super) fn forget_run(&mut self) {
        self.kept.neighbors.clear();
        self.kept.run_time.clear();
        self.kept.claims.clear();
        self.kept.devices.clear();
        self.kept.boot.clear();
        self.actions.push_back(Action::Save(self.kept.clone()));
    }
}
