//! What is kept of a peer whose session ended: graceful restart as the helper sees it (RFC 4724 §4.2, RFC 8538), its
//! long-lived period (RFC 9494 §4.2), and the hold of the routes of a peer that is lost without any of it. One enum with
//! data, one total match on (state, input); it knows no table, the owner carries out what a step gives.
//!
//! ```text
//!                  Lost, graceful                        timer, long-lived agreed
//!        +------------------------------> Restarting ------------------------------> LongLived
//!        |                                 |  ^   |                                   |     |
//!        |                            Back |  |   | timer, or Back without F          |     | timer, or
//!        |                                 v  |   +---> sweep --> Settled <-----------|-----+ Back without F
//!     Settled <-- End-of-RIB*, timer ---- Returned <----------------- Back -----------+
//!        |              (sweep)            ^  |
//!        |                            Back |  | Lost again
//!        |  Lost, held                     |  v
//!        +------------------------------> Held ------ timer ------> sweep --> Settled
//! ```
//!
//! * where it means that all was said; see `Terms::back`.
//!
//! Forget (the operator, or the peer itself, said that it is over) leads from everywhere to Settled with a sweep.

use std::time::Duration;

use super::event::DownReason;
use super::negotiate::Negotiated;
use crate::base::Time;
use crate::wire::capability::{Capability, GracefulRestart};
use crate::wire::notification::{CEASE, Notification, cease};
use crate::wire::{AFI_L2VPN, SAFI_EVPN};

/// What is kept of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Helper {
    /// Nothing: the session is up, or its routes are gone.
    #[default]
    Settled,
    /// The session ended gracefully: its routes are stale.
    Restarting {
        /// The end of the restart time.
        until: Time,
        /// Since when the oldest of the stale routes are stale.
        since: Time,
        /// How long the long-lived period is that follows; zero: none.
        long_lived: Duration,
    },
    /// The restart time is over, and the routes stay as the last resort.
    LongLived {
        /// The end of the long-lived stale time.
        until: Time,
        /// As above.
        since: Time,
    },
    /// The session was lost without graceful restart: its routes are held for a while.
    Held {
        /// The end of the hold.
        until: Time,
        /// As above.
        since: Time,
    },
    /// The session is up again, and the stale routes wait for their confirmation.
    Returned {
        /// What is not confirmed by then goes.
        until: Time,
        /// As above.
        since: Time,
        /// Its End-of-RIB ends the wait.
        complete: bool,
    },
}

/// What happens to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The session left Established.
    Lost(Loss),
    /// The session is Established.
    Back(Return),
    /// The peer said End-of-RIB.
    EndOfRib,
    /// `poll_timeout` has come.
    Timer,
    /// The peer is removed, disabled or drained.
    Forget,
}

/// How a session was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// For good.
    Final,
    /// Without graceful restart: its routes are held for so long, which is not zero.
    Held(Duration),
    /// By the rules of graceful restart.
    Graceful {
        /// The peer's restart time, no longer than our own limit.
        restart: Duration,
        /// The long-lived stale time; zero where none was agreed.
        long_lived: Duration,
        /// Routes that are stale already stay (RFC 8538 §4.1), for so long in all; zero: they go (RFC 4724 §4.2).
        older: Duration,
    },
}

/// How a session came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Return {
    /// What is stale may wait for its confirmation: the peer kept its forwarding state (the F bit of 25/70, RFC 4724 §3), or
    /// see [`Terms::back`].
    pub preserved: bool,
    /// The same for the long-lived capability (RFC 9494 §3).
    pub long_lived_preserved: bool,
    /// How long the confirmation is awaited.
    pub wait: Duration,
    /// Its End-of-RIB means that it has said all it will.
    pub complete: bool,
}

/// What is to be done with the peer's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Those of the session that ended go, and those that were stale.
    Drop,
    /// Those of the session that ended become stale; those that were stale go.
    Keep,
    /// Those of the session that ended become stale beside those that are.
    KeepAll,
    /// As `Keep`, and the long-lived period begins at once.
    KeepLongLived,
    /// The long-lived period begins for what is stale.
    LongLived,
    /// What is stale still goes.
    Sweep,
}

impl Helper {
    /// The state after `input`, and what is to be done with the routes.
    pub fn step(self, now: Time, input: Input) -> (Self, Option<Output>) {
        use Helper::{Held, LongLived, Restarting, Returned, Settled};
        match (self, input) {
            // ── Settled ─────────────────────────────────────────────────────────────────────────────────────────────
            (Settled, Input::Lost(loss)) => lost(now, now, loss, Duration::ZERO),
            (Settled, Input::Back(_) | Input::EndOfRib | Input::Timer | Input::Forget) => (Settled, None),

            // ── the session is down ─────────────────────────────────────────────────────────────────────────────────
            (Restarting { since, .. }, Input::Back(back)) if back.preserved => back.awaited(now, since),
            (LongLived { since, .. }, Input::Back(back)) if back.preserved && back.long_lived_preserved => {
                back.awaited(now, since)
            }
            // RFC 4724 §4.2, RFC 9494 §4.2: without the F bit, the family or the capability what is stale goes at once.
            (Restarting { .. } | LongLived { .. }, Input::Back(_)) => (Settled, Some(Output::Sweep)),
            // Nobody promised anything here, so that no F bit is missed.
            (Held { since, .. }, Input::Back(back)) => back.awaited(now, since),
            (Restarting { until, since, long_lived }, Input::Timer) if now >= until && !long_lived.is_zero() => {
                (LongLived { until: now + long_lived, since }, Some(Output::LongLived))
            }
            // Lost, EndOfRib: only of a session that is up.
            (stay @ (Restarting { .. } | LongLived { .. } | Held { .. }), Input::Lost(_) | Input::EndOfRib) => (stay, None),

            // ── the session is up again ─────────────────────────────────────────────────────────────────────────────
            (Returned { since, .. }, Input::Lost(loss)) => lost(now, since, loss, now.since(since)),
            (Returned { complete: true, .. }, Input::EndOfRib) => (Settled, Some(Output::Sweep)),
            (stay @ Returned { .. }, Input::EndOfRib | Input::Back(_)) => (stay, None),

            // ── wherever something is kept ──────────────────────────────────────────────────────────────────────────
            (
                stay @ (Restarting { until, .. } | LongLived { until, .. } | Held { until, .. } | Returned { until, .. }),
                Input::Timer,
            ) if now < until => (stay, None),
            (Restarting { .. } | LongLived { .. } | Held { .. } | Returned { .. }, Input::Timer | Input::Forget) => {
                (Settled, Some(Output::Sweep))
            }
        }
    }

    /// When the timer ends.
    pub fn poll_timeout(&self) -> Option<Time> {
        match *self {
            Self::Settled => None,
            Self::Restarting { until, .. }
            | Self::LongLived { until, .. }
            | Self::Held { until, .. }
            | Self::Returned { until, .. } => Some(until),
        }
    }

    /// Whether routes of an earlier session are kept.
    pub fn keeps(&self) -> bool {
        *self != Self::Settled
    }
}

impl Return {
    fn awaited(self, now: Time, since: Time) -> (Helper, Option<Output>) {
        (Helper::Returned { until: now + self.wait, since, complete: self.complete }, None)
    }
}

/// A session ended; the oldest stale routes of the peer are stale since `since`, for `age`.
fn lost(now: Time, since: Time, loss: Loss, age: Duration) -> (Helper, Option<Output>) {
    let keep = |older: Duration| if age < older && since != now { (since, Output::KeepAll) } else { (now, Output::Keep) };
    match loss {
        Loss::Final => (Helper::Settled, Some(Output::Drop)),
        // RFC 4724 §4.2 lets stale routes go at the next restart. Ours: the hold is a promise for all of them, and ends.
        Loss::Held(hold) => {
            let (since, output) = keep(hold * 2);
            (Helper::Held { until: now + hold, since }, Some(output))
        }
        Loss::Graceful { restart, long_lived, .. } if restart.is_zero() && long_lived.is_zero() => {
            (Helper::Settled, Some(Output::Drop))
        }
        // RFC 9494 §4.2: a restart time of zero goes straight to the long-lived period.
        Loss::Graceful { restart, long_lived, .. } if restart.is_zero() => {
            (Helper::LongLived { until: now + long_lived, since: now }, Some(Output::KeepLongLived))
        }
        Loss::Graceful { restart, long_lived, older } => {
            let (since, output) = keep(older);
            (Helper::Restarting { until: now + restart, since, long_lived }, Some(output))
        }
    }
}

/// How long we keep what, whatever a peer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Stale routes, in the restart time and again after the return.
    pub stale: Duration,
    /// Long-lived stale routes; zero: none.
    pub long_lived: Duration,
    /// The routes of a peer that is lost without graceful restart; zero: they go at once.
    pub hold: Duration,
}

/// What was agreed with a peer in the OPENs of its last session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Both sides sent the capability: the peer keeps our routes while we restart.
    pub agreed: bool,
    /// The peer restarted before this session (R bit).
    pub restarted: bool,
    /// The peer's routes of 25/70 are kept while it restarts: its capability names the family.
    pub family: bool,
    /// It kept its forwarding state (F bit).
    pub preserved: bool,
    /// A NOTIFICATION other than Hard Reset leaves the routes (N bit, RFC 8538 §2).
    pub notification: bool,
    /// Its restart time in seconds.
    pub restart_time_secs: u16,
    /// Its long-lived stale time in seconds; 0: none for 25/70, or we do not offer it.
    pub long_lived_secs: u32,
    /// The F bit there.
    pub long_lived_preserved: bool,
    /// It sent the long-lived capability: it may hear of long-lived stale routes (RFC 9494 §4.3).
    pub long_lived_capable: bool,
}

impl Terms {
    /// Out of what was negotiated.
    pub fn of(negotiated: &Negotiated) -> Self {
        let long_lived = negotiated.capabilities.iter().rev().find_map(|capability| match capability {
            Capability::LongLivedGracefulRestart(families) => Some(families),
            _ => None,
        });
        let mut terms = Self { long_lived_capable: long_lived.is_some(), ..Self::default() };
        let Some(theirs) = &negotiated.graceful_restart else { return terms };
        terms.agreed = true;
        terms.restarted = theirs.restarted;
        terms.notification = theirs.notification;
        terms.restart_time_secs = theirs.restart_time_secs;
        if let Some((.., preserved)) = theirs.families.iter().find(|(afi, safi, _)| (*afi, *safi) == (AFI_L2VPN, SAFI_EVPN)) {
            (terms.family, terms.preserved) = (true, *preserved);
        }
        let ours = |(afi, safi, ..): &&(u16, u8, u8, u32)| (*afi, *safi) == (AFI_L2VPN, SAFI_EVPN);
        if let Some((_, _, flags, secs)) = long_lived.and_then(|families| families.iter().find(ours)) {
            (terms.long_lived_secs, terms.long_lived_preserved) = (*secs, flags & 0x80 != 0);
        }
        terms
    }

    /// How the loss of the session counts that ran on these terms.
    pub fn loss(&self, reason: &DownReason, limits: &Limits) -> Loss {
        let graceful = match reason {
            // RFC 4724 §4.2: the TCP session ended, or the peer opened another.
            DownReason::ConnectionClosed(_) | DownReason::ConnectFailed(_) | DownReason::Superseded => true,
            // We closed it ourselves to open it again; nothing happened to the peer.
            DownReason::Reconfigured => true,
            DownReason::Received(notification) | DownReason::Sent(notification) => {
                // RFC 8538 §3: only a hard reset ends everything. Without the N bit a word that means "for good" does
                // (RFC 4724 §4.1: the normal procedures of RFC 4271).
                if is_hard_reset(notification) || (!self.notification && is_final(notification)) {
                    return Loss::Final;
                }
                self.notification
            }
            // RFC 8538 §4: so does the end of the hold timer, with the N bit; RFC 9687's is of its kind.
            DownReason::HoldTimerExpired | DownReason::SendHoldTimerExpired => self.notification,
            DownReason::AdminStop(_) | DownReason::Collision => self.notification,
            DownReason::OpenRefused(_) => false,
        };
        if graceful && self.family {
            let older = if self.notification { limits.stale } else { Duration::ZERO };
            let restart = Duration::from_secs(u64::from(self.restart_time_secs)).min(limits.stale);
            let long_lived = Duration::from_secs(u64::from(self.long_lived_secs)).min(limits.long_lived);
            return Loss::Graceful { restart, long_lived, older };
        }
        if limits.hold.is_zero() { Loss::Final } else { Loss::Held(limits.hold) }
    }

    /// How the session counts that came up on these terms.
    ///
    /// RFC 4724 §4.2 and RFC 9494 §4.2: without the F bit, the family or the capability, what is stale goes at once. Ours: so
    /// only where nothing is held for a lost peer either; else it waits that long. Reflectors that are in nobody's way send
    /// F = 0 for EVPN (FRR 8.4.4 always, GoBGP 3.10 unless started with -r), and what they reflected leads to hosts that
    /// never stopped to forward. Such a one says End-of-RIB to its first client before the second is back, so that it means
    /// nothing here (RFC 4724 §4.1 has it wait, but it promised nothing).
    pub fn back(&self, limits: &Limits) -> Return {
        let (preserved, held) = (self.family && self.preserved, !limits.hold.is_zero());
        Return {
            preserved: preserved || held,
            long_lived_preserved: (self.long_lived_secs > 0 && self.long_lived_preserved) || held,
            wait: if preserved { limits.stale } else { limits.hold },
            complete: preserved || !held,
        }
    }
}

/// Hard Reset (RFC 8538 §3).
fn is_hard_reset(notification: &Notification) -> bool {
    (notification.code, notification.subcode) == (CEASE, cease::HARD_RESET)
}

/// A Cease after which nobody means to come back by itself (RFC 4486 §4).
fn is_final(notification: &Notification) -> bool {
    use cease::{ADMIN_SHUTDOWN, MAX_PREFIXES, OUT_OF_RESOURCES, PEER_DECONFIGURED, REJECTED};
    // Out of resources: what was too much must not stay.
    let subcodes = [MAX_PREFIXES, ADMIN_SHUTDOWN, PEER_DECONFIGURED, REJECTED, OUT_OF_RESOURCES];
    notification.code == CEASE && subcodes.contains(&notification.subcode)
}

/// The NOTIFICATION as the peer must hear it: with the N bit agreed on, one that means "for good" becomes a Hard Reset that
/// encloses it (RFC 8538 §3.1), because any other leaves our routes at the peer.
pub(super) fn spelt_out(notification: Notification, negotiated: &Negotiated) -> Notification {
    let agreed = negotiated.graceful_restart.as_ref().is_some_and(|theirs| theirs.notification);
    if !agreed || !is_final(&notification) {
        return notification;
    }
    let mut data = vec![notification.code, notification.subcode];
    data.extend_from_slice(&notification.data);
    Notification { code: CEASE, subcode: cease::HARD_RESET, data }
}

/// Why we close a session that we are coming back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The daemon ends and another follows (RFC 4724 §4.1).
    Restart,
    /// What was configured of the peer has changed and holds from the next session on.
    Reconfigured,
}

impl Pause {
    /// The subcode of Cease where nothing was agreed that would leave our routes.
    pub(super) fn cease(self) -> u8 {
        match self {
            Self::Restart => cease::ADMIN_SHUTDOWN,
            Self::Reconfigured => cease::OTHER_CONFIG,
        }
    }
}

/// How we go where we are coming back: with the N bit a NOTIFICATION that leaves our routes, with graceful restart alone
/// none at all (RFC 4724 §4.2 takes any for the end), without it Cease as ever.
pub(super) fn parting(pause: Pause, text: &str, negotiated: &Negotiated) -> Option<Notification> {
    let subcode = match (&negotiated.graceful_restart, pause) {
        (Some(GracefulRestart { notification: true, .. }), Pause::Restart) => cease::ADMIN_RESET,
        (Some(GracefulRestart { notification: true, .. }) | None, _) => pause.cease(),
        (Some(_), _) => return None,
    };
    Some(Notification::cease(subcode, text))
}
