//! The state machine of one connection (RFC 4271 §8): one enum with data, one total match on (state, input). A peer has
//! two of them, one per direction; what they have to tell each other comes in as inputs too, from `mod.rs`.
//!
//! ```text
//!                 Start, outgoing                     RetryTimer (no answer), ConnectFailed
//!        +------------------------------> Connect ------------------------------------+
//!        |                                 |   ^                                      |
//!        |                       Connected |   | RetryTimer, outgoing                 |
//!        |  Start, incoming or passive     |   |                                      v
//!      Idle -------------------------------|---+----------------------------------> Active <---------+
//!        ^                                 v             Connected, incoming          |              |
//!        |                              OpenSent <------------------------------------+              |
//!        | Stop                            | Open accepted / KEEPALIVE out                           |
//!        | (from everywhere)               v                                                         |
//!        |                            OpenConfirm --- KEEPALIVE in ---> Established                  |
//!        |                                 |                                |                        |
//!        +---------------------------------+--------------------------------+--- any end, any error -+
//! ```
//!
//! RFC: after an error the machine goes to Idle, refuses connections for a while and starts again by itself (§8.1.1).
//! Ours: it goes to Active, because a peer that was mended should be let in at once; the pause before *our* next
//! attempt grows with every failure, and accepting costs no more than an OPEN.
//! RFC: an incoming connection stops the attempts to connect (§8.2.1). Ours: they go on until the peer's OPEN was
//! accepted on the other connection, because a connection that stays silent must not keep a good one from being made.

use crate::base::Time;
use crate::wire::notification::{self, Notification, cease};
use crate::wire::route_refresh::RouteRefresh;

use super::event::DownReason;
use super::graceful::{self, Pause};
use super::negotiate::{Negotiated, Refusal};
use super::timers::{self, CONNECT_TIMEOUT, INCOMING_HOLD, LARGE_HOLD, STEADY, Timers};
use super::{Direction, SessionConfig, State};

/// A connection's state, with the points in time at which it wants to be woken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Connection {
    /// Nothing is wanted: connections are turned away.
    #[default]
    Idle,
    /// Outgoing only: TCP is being asked.
    Connect {
        /// When the attempt is given up.
        give_up: Time,
    },
    /// Waiting for the peer to connect, or for the time to try again.
    Active {
        /// When to try; never for incoming and passive ones, nor while the other connection serves.
        retry: Option<Time>,
    },
    /// TCP is up and our OPEN is out.
    OpenSent {
        /// When the wait for the peer's OPEN ends.
        hold: Time,
    },
    /// The peer's OPEN was accepted.
    OpenConfirm {
        /// What was agreed.
        negotiated: Box<Negotiated>,
        /// When the peer was silent for too long.
        hold: Option<Time>,
        /// When our next KEEPALIVE is due.
        keepalive: Option<Time>,
    },
    /// Routes may flow.
    Established {
        /// What was agreed.
        negotiated: Box<Negotiated>,
        /// When the peer was silent for too long.
        hold: Option<Time>,
        /// When our next KEEPALIVE is due.
        keepalive: Option<Time>,
        /// When the peer did not read for too long.
        send_hold: Option<Time>,
        /// Since when.
        since: Time,
    },
}

/// What can happen to a connection. Numbers are those of RFC 4271 §8.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// 1: the operator wants the session.
    Start,
    /// 2: the operator does not want it any more.
    Stop {
        /// Of Cease.
        subcode: u8,
        /// For the peer's operator (RFC 9003).
        text: String,
    },
    /// 2: the session is closed to come back, so that neither side forgets the other's routes where that was agreed on.
    Pause {
        /// What for.
        pause: Pause,
        /// For the peer's operator.
        text: String,
    },
    /// 9: time to try again, or to give up trying.
    RetryTimer,
    /// 10: the peer was silent.
    HoldTimer,
    /// 11: our KEEPALIVE is due.
    KeepaliveTimer,
    /// 29: the peer did not read (RFC 9687).
    SendHoldTimer,
    /// 16, 17: TCP is up. In a state that has a connection: a newer one takes its place.
    Connected,
    /// 16, 17, but the other connection serves: to be turned away with this NOTIFICATION.
    Unwanted(Notification),
    /// 18: TCP did not come up.
    ConnectFailed(String),
    /// 18: TCP went away.
    Closed(String),
    /// TCP took octets.
    Sent,
    /// 19 and 22: an OPEN, as `negotiate` judged it.
    Open(Result<Box<Negotiated>, Refusal>),
    /// 26: a KEEPALIVE.
    Keepalive,
    /// 27: an UPDATE; its content is not the machine's business.
    Update,
    /// A ROUTE-REFRESH, or what is wrong with it (RFC 7313 §5).
    RouteRefresh(Result<RouteRefresh, Notification>),
    /// 24, 25: a NOTIFICATION.
    Notification(Notification),
    /// 21: the header of what came is wrong, or the octets are too many.
    Malformed(Notification),
    /// 28: a room above found an error, or wants the session reset.
    Reset(Notification),
    /// 23: the other connection was chosen (§6.8).
    Collision,
    /// The peer opened a connection in the other direction that proves this one dead (RFC 4724 §4.2).
    Superseded,
    /// The other connection reached OpenConfirm.
    OtherConfirmed,
    /// The other connection reached Established.
    OtherEstablished,
    /// The other connection, once confirmed, ended.
    OtherGone,
}

/// What a connection wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask TCP.
    Connect,
    /// Stop asking.
    CancelConnect,
    /// Queue our OPEN.
    SendOpen,
    /// Queue a KEEPALIVE.
    SendKeepalive,
    /// Queue a NOTIFICATION.
    SendNotification(Notification),
    /// Flush and close.
    Close,
    /// Established was reached.
    Up,
    /// Established was left.
    Down(DownReason),
    /// It failed before Established.
    Refused(DownReason),
    /// The UPDATE goes to the owner.
    DeliverUpdate,
    /// The route refresh goes to the owner.
    DeliverRouteRefresh(RouteRefresh),
}

/// What a step may look at, and where it leaves its outputs.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: Time,
    /// Which of the two connections this is.
    pub direction: Direction,
    /// What the operator wants.
    pub config: &'a SessionConfig,
    /// The other connection is in OpenConfirm or Established: no attempts.
    pub held: bool,
    /// The rim reports what TCP took, so that silence of it means something.
    pub reports_sent: bool,
    /// Jitter and back-off, shared by both connections.
    pub timers: &'a mut Timers,
    /// Appended to.
    pub outputs: &'a mut Vec<Output>,
}

impl Context<'_> {
    fn say(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// The state between two connections.
    fn rest(&mut self) -> Connection {
        let tries = self.direction == Direction::Outgoing && !self.config.passive && !self.held;
        Connection::Active { retry: tries.then(|| self.now + self.timers.retry(self.config.connect_retry_secs)) }
    }

    /// The state at the beginning: an outgoing connection is tried at once.
    fn begin(&mut self) -> Connection {
        self.timers.reset_retry();
        if self.direction == Direction::Incoming || self.config.passive {
            return Connection::Active { retry: None };
        }
        self.connect()
    }

    fn connect(&mut self) -> Connection {
        self.say(Output::Connect);
        Connection::Connect { give_up: self.now + CONNECT_TIMEOUT }
    }

    fn open_sent(&mut self) -> Connection {
        self.say(Output::SendOpen);
        let hold = if self.direction == Direction::Incoming { INCOMING_HOLD } else { LARGE_HOLD };
        Connection::OpenSent { hold: self.now + hold }
    }

    /// Ends a connection before Established, with words for both sides.
    fn refuse(&mut self, notification: Notification, reason: DownReason) -> Connection {
        self.say(Output::SendNotification(notification));
        self.say(Output::Close);
        self.say(Output::Refused(reason));
        self.rest()
    }

    /// The same, where we sent nothing but the NOTIFICATION that is the reason.
    fn fail(&mut self, notification: Notification) -> Connection {
        self.refuse(notification.clone(), DownReason::Sent(notification))
    }

    /// Ends an established session: the back-off starts over where it stood for a while.
    fn down(&mut self, since: Time, notification: Option<Notification>, reason: DownReason) -> Connection {
        if let Some(notification) = notification {
            self.say(Output::SendNotification(notification));
        }
        self.say(Output::Close);
        self.dropped(since, reason)
    }

    /// The same, where the connection is gone already.
    fn dropped(&mut self, since: Time, reason: DownReason) -> Connection {
        self.say(Output::Down(reason));
        if self.now.since(since) >= STEADY {
            self.timers.reset_retry();
        }
        self.rest()
    }

    fn hold(&self, negotiated: &Negotiated) -> Option<Time> {
        timers::hold(negotiated.hold_time_secs).map(|hold| self.now + hold)
    }

    fn send_hold(&self, negotiated: &Negotiated) -> Option<Time> {
        timers::send_hold(negotiated.hold_time_secs).map(|hold| self.now + hold)
    }

    fn keepalive(&mut self, negotiated: &Negotiated) -> Option<Time> {
        self.timers.keepalive(negotiated.hold_time_secs).map(|pause| self.now + pause)
    }
}

/// FSM error 5/1 to 5/3: which message came in which state (RFC 6608 §4).
fn unexpected(state: State, message_type: u8) -> Notification {
    let subcode = match state {
        State::Idle | State::Connect | State::Active => 0,
        State::OpenSent => 1,
        State::OpenConfirm => 2,
        State::Established => 3,
    };
    Notification { code: notification::FSM_ERROR, subcode, data: vec![message_type] }
}

/// Cease without words.
pub(super) fn plain_cease(subcode: u8) -> Notification {
    Notification { code: notification::CEASE, subcode, data: Vec::new() }
}

fn hold_timer_expired() -> Notification {
    Notification { code: notification::HOLD_TIMER_EXPIRED, subcode: 0, data: Vec::new() }
}

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const ROUTE_REFRESH: u8 = 5;
const KEEPALIVE: u8 = 4;

impl Connection {
    /// The state after `input`; what is to be done is appended to `cx.outputs`.
    pub fn step(self, input: Input, cx: &mut Context<'_>) -> Self {
        use Connection::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
        match (self, input) {
            (Established { negotiated, .. }, Input::Pause { pause, text }) => {
                if let Some(notification) = graceful::parting(pause, &text, &negotiated) {
                    cx.say(Output::SendNotification(notification));
                }
                cx.say(Output::Close);
                cx.say(Output::Down(match pause {
                    Pause::Restart => DownReason::AdminStop(text),
                    Pause::Reconfigured => DownReason::Reconfigured,
                }));
                Idle
            }
            // Where no route was exchanged there is none to be kept.
            (stay, Input::Pause { pause, text }) => stay.step(Input::Stop { subcode: pause.cease(), text }, cx),

            // ── Idle ────────────────────────────────────────────────────────────────────────────────────────────────
            (Idle, Input::Start) => cx.begin(),
            (Idle, Input::Connected) => {
                cx.say(Output::SendNotification(plain_cease(cease::REJECTED)));
                cx.say(Output::Close);
                Idle
            }
            (stay @ (Idle | Connect { .. } | Active { .. }), Input::Unwanted(notification)) => {
                cx.say(Output::SendNotification(notification));
                cx.say(Output::Close);
                stay
            }
            (
                Idle,
                Input::Stop { .. }
                | Input::RetryTimer
                | Input::ConnectFailed(_)
                | Input::Collision
                | Input::OtherConfirmed
                | Input::OtherEstablished
                | Input::OtherGone,
            ) => Idle,

            // ── Connect ─────────────────────────────────────────────────────────────────────────────────────────────
            (Connect { .. }, Input::Stop { .. }) => {
                cx.say(Output::CancelConnect);
                Idle
            }
            (Connect { .. }, Input::RetryTimer) => {
                let why = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
                cx.say(Output::CancelConnect);
                cx.say(Output::Refused(DownReason::ConnectFailed(why)));
                cx.rest()
            }
            (Connect { .. }, Input::Connected) => cx.open_sent(),
            (Connect { .. }, Input::ConnectFailed(why)) => {
                cx.say(Output::Refused(DownReason::ConnectFailed(why)));
                cx.rest()
            }
            (Connect { .. }, Input::Collision | Input::OtherEstablished) => {
                cx.say(Output::CancelConnect);
                cx.rest()
            }
            // OtherConfirmed: what is under way may arrive, and then §6.8 decides.
            (stay @ Connect { .. }, Input::Start | Input::OtherConfirmed | Input::OtherGone) => stay,

            // ── Active ──────────────────────────────────────────────────────────────────────────────────────────────
            (Active { .. }, Input::Stop { .. }) => Idle,
            (Active { retry: Some(_) }, Input::RetryTimer) => cx.connect(),
            (Active { .. }, Input::Connected) if cx.direction == Direction::Incoming => cx.open_sent(),
            // Outgoing: it came up just when it was given up.
            (stay @ Active { .. }, Input::Connected) => {
                cx.say(Output::Close);
                stay
            }
            (Active { .. }, Input::OtherConfirmed | Input::OtherEstablished) => Active { retry: None },
            (Active { .. }, Input::OtherGone) => cx.rest(),
            (stay @ Active { .. }, Input::Start | Input::RetryTimer | Input::ConnectFailed(_) | Input::Collision) => stay,

            // ── without a connection: what still comes of an old one is nobody's ────────────────────────────────────
            (
                stay @ (Idle | Connect { .. } | Active { .. }),
                Input::HoldTimer
                | Input::KeepaliveTimer
                | Input::SendHoldTimer
                | Input::Closed(_)
                | Input::Sent
                | Input::Open(_)
                | Input::Keepalive
                | Input::Update
                | Input::RouteRefresh(_)
                | Input::Notification(_)
                | Input::Malformed(_)
                | Input::Reset(_)
                | Input::Superseded,
            ) => stay,

            // ── OpenSent ────────────────────────────────────────────────────────────────────────────────────────────
            (OpenSent { .. }, Input::Open(Ok(negotiated))) => {
                cx.say(Output::SendKeepalive);
                let (hold, keepalive) = (cx.hold(&negotiated), cx.keepalive(&negotiated));
                OpenConfirm { negotiated, hold, keepalive }
            }
            (OpenSent { .. }, Input::Open(Err(refusal))) => {
                cx.refuse(refusal.notification.clone(), DownReason::OpenRefused(refusal))
            }
            (OpenSent { .. }, Input::Keepalive) => cx.fail(unexpected(State::OpenSent, KEEPALIVE)),
            (OpenSent { .. }, Input::Update) => cx.fail(unexpected(State::OpenSent, UPDATE)),
            (OpenSent { .. }, Input::RouteRefresh(_)) => cx.fail(unexpected(State::OpenSent, ROUTE_REFRESH)),
            (
                stay @ OpenSent { .. },
                Input::KeepaliveTimer
                | Input::SendHoldTimer
                | Input::Sent
                | Input::OtherConfirmed
                | Input::OtherEstablished
                | Input::OtherGone,
            ) => stay,

            // ── OpenConfirm ─────────────────────────────────────────────────────────────────────────────────────────
            (OpenConfirm { negotiated, keepalive, .. }, Input::Keepalive) => {
                cx.say(Output::Up);
                let hold = cx.hold(&negotiated);
                let send_hold = cx.send_hold(&negotiated).filter(|_| cx.reports_sent);
                Established { negotiated, hold, keepalive, send_hold, since: cx.now }
            }
            (OpenConfirm { negotiated, hold, .. }, Input::KeepaliveTimer) => {
                cx.say(Output::SendKeepalive);
                let keepalive = cx.keepalive(&negotiated);
                OpenConfirm { negotiated, hold, keepalive }
            }
            (OpenConfirm { .. }, Input::Open(_)) => cx.fail(unexpected(State::OpenConfirm, OPEN)),
            (OpenConfirm { .. }, Input::Update) => cx.fail(unexpected(State::OpenConfirm, UPDATE)),
            (OpenConfirm { .. }, Input::RouteRefresh(_)) => cx.fail(unexpected(State::OpenConfirm, ROUTE_REFRESH)),
            // §6.8 lets no two get this far; were it to happen, one session is enough.
            (OpenConfirm { .. }, Input::OtherEstablished) => cx.refuse(plain_cease(cease::COLLISION), DownReason::Collision),
            (stay @ OpenConfirm { .. }, Input::SendHoldTimer | Input::Sent | Input::OtherConfirmed | Input::OtherGone) => stay,

            // ── OpenSent and OpenConfirm alike ──────────────────────────────────────────────────────────────────────
            (OpenSent { .. } | OpenConfirm { .. }, Input::Stop { subcode, text }) => {
                cx.say(Output::SendNotification(Notification::cease(subcode, &text)));
                cx.say(Output::Close);
                Idle
            }
            (OpenSent { .. } | OpenConfirm { .. }, Input::HoldTimer) => {
                cx.refuse(hold_timer_expired(), DownReason::HoldTimerExpired)
            }
            // RFC: silent on a second connection of the same direction. Ours: the newer one counts, because a peer opens
            // one at a time and has given up the older.
            (OpenSent { .. } | OpenConfirm { .. }, Input::Connected) => {
                cx.say(Output::Refused(DownReason::Superseded));
                cx.open_sent()
            }
            (OpenSent { .. } | OpenConfirm { .. }, Input::Closed(why)) => {
                cx.say(Output::Refused(DownReason::ConnectionClosed(why)));
                cx.rest()
            }
            (OpenSent { .. } | OpenConfirm { .. }, Input::Notification(notification)) => {
                cx.say(Output::Close);
                cx.say(Output::Refused(DownReason::Received(notification)));
                cx.rest()
            }
            (OpenSent { .. } | OpenConfirm { .. }, Input::Malformed(notification) | Input::Reset(notification)) => {
                cx.fail(notification)
            }
            (OpenSent { .. } | OpenConfirm { .. }, Input::Collision) => {
                cx.refuse(plain_cease(cease::COLLISION), DownReason::Collision)
            }
            (OpenSent { .. } | OpenConfirm { .. }, Input::Superseded) => {
                cx.say(Output::Close);
                cx.say(Output::Refused(DownReason::Superseded));
                cx.rest()
            }

            // ── Established ─────────────────────────────────────────────────────────────────────────────────────────
            (Established { negotiated, keepalive, send_hold, since, .. }, Input::Update) => {
                cx.say(Output::DeliverUpdate);
                let hold = cx.hold(&negotiated);
                Established { negotiated, hold, keepalive, send_hold, since }
            }
            (Established { negotiated, keepalive, send_hold, since, .. }, Input::Keepalive) => {
                let hold = cx.hold(&negotiated);
                Established { negotiated, hold, keepalive, send_hold, since }
            }
            // RFC 4271 restarts the hold timer for KEEPALIVE and UPDATE. Ours: for this too, since it shows a peer alive.
            (Established { negotiated, keepalive, send_hold, since, .. }, Input::RouteRefresh(Ok(refresh))) => {
                cx.say(Output::DeliverRouteRefresh(refresh));
                let hold = cx.hold(&negotiated);
                Established { negotiated, hold, keepalive, send_hold, since }
            }
            (Established { negotiated, hold, send_hold, since, .. }, Input::KeepaliveTimer) => {
                cx.say(Output::SendKeepalive);
                let keepalive = cx.keepalive(&negotiated);
                Established { negotiated, hold, keepalive, send_hold, since }
            }
            (Established { negotiated, hold, keepalive, since, .. }, Input::Sent) => {
                let send_hold = cx.send_hold(&negotiated);
                Established { negotiated, hold, keepalive, send_hold, since }
            }
            (Established { negotiated, .. }, Input::Stop { subcode, text }) => {
                let notification = graceful::spelt_out(Notification::cease(subcode, &text), &negotiated);
                cx.say(Output::SendNotification(notification));
                cx.say(Output::Close);
                cx.say(Output::Down(DownReason::AdminStop(text)));
                Idle
            }
            (Established { since, .. }, Input::HoldTimer) => {
                cx.down(since, Some(hold_timer_expired()), DownReason::HoldTimerExpired)
            }
            // RFC 9687 §4.3: the NOTIFICATION is optional; here it could only wait behind what the peer does not read.
            (Established { since, .. }, Input::SendHoldTimer) => cx.down(since, None, DownReason::SendHoldTimerExpired),
            (Established { since, .. }, Input::Superseded) => cx.down(since, None, DownReason::Superseded),
            // RFC 4724 §4.2: the old connection is closed without a NOTIFICATION; here its place is taken at once.
            (Established { since, .. }, Input::Connected) => {
                cx.dropped(since, DownReason::Superseded);
                cx.open_sent()
            }
            (Established { since, .. }, Input::Closed(why)) => cx.dropped(since, DownReason::ConnectionClosed(why)),
            (Established { since, .. }, Input::Notification(notification)) => {
                cx.down(since, None, DownReason::Received(notification))
            }
            (Established { since, .. }, Input::Open(_)) => {
                let notification = unexpected(State::Established, OPEN);
                cx.down(since, Some(notification.clone()), DownReason::Sent(notification))
            }
            (
                Established { negotiated, since, .. },
                Input::Malformed(notification) | Input::Reset(notification) | Input::RouteRefresh(Err(notification)),
            ) => {
                let notification = graceful::spelt_out(notification, &negotiated);
                cx.down(since, Some(notification.clone()), DownReason::Sent(notification))
            }
            (Established { since, .. }, Input::Collision) => {
                cx.down(since, Some(plain_cease(cease::COLLISION)), DownReason::Collision)
            }
            (stay @ Established { .. }, Input::OtherConfirmed | Input::OtherEstablished | Input::OtherGone) => stay,

            // ── with a connection: what belongs to the time before it ───────────────────────────────────────────────
            // Unwanted: the newcomer never had a place here (see `Admission::Refused`).
            (
                stay @ (OpenSent { .. } | OpenConfirm { .. } | Established { .. }),
                Input::Start | Input::RetryTimer | Input::ConnectFailed(_) | Input::Unwanted(_),
            ) => stay,
        }
    }

    /// The name of the state.
    pub fn state(&self) -> State {
        match self {
            Self::Idle => State::Idle,
            Self::Connect { .. } => State::Connect,
            Self::Active { .. } => State::Active,
            Self::OpenSent { .. } => State::OpenSent,
            Self::OpenConfirm { .. } => State::OpenConfirm,
            Self::Established { .. } => State::Established,
        }
    }

    /// What was agreed, from OpenConfirm on.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        match self {
            Self::Idle | Self::Connect { .. } | Self::Active { .. } | Self::OpenSent { .. } => None,
            Self::OpenConfirm { negotiated, .. } | Self::Established { negotiated, .. } => Some(negotiated),
        }
    }

    /// The timers that run: when each ends, what it is called and what its end is.
    fn deadlines(&self) -> [Option<(Time, &'static str, Input)>; 3] {
        let hold = |at: Option<Time>| at.map(|at| (at, "hold timer", Input::HoldTimer));
        let keepalive = |at: Option<Time>| at.map(|at| (at, "keepalive timer", Input::KeepaliveTimer));
        match self {
            Self::Idle => [None, None, None],
            Self::Connect { give_up } => [Some((*give_up, "connect attempt", Input::RetryTimer)), None, None],
            Self::Active { retry } => [retry.map(|at| (at, "connect retry timer", Input::RetryTimer)), None, None],
            Self::OpenSent { hold: at } => [hold(Some(*at)), None, None],
            Self::OpenConfirm { hold: at, keepalive: next, .. } => [hold(*at), keepalive(*next), None],
            Self::Established { hold: at, keepalive: next, send_hold, .. } => {
                let send_hold = send_hold.map(|at| (at, "send hold timer", Input::SendHoldTimer));
                [hold(*at), keepalive(*next), send_hold]
            }
        }
    }

    /// The first timer to end.
    pub fn next_deadline(&self) -> Option<(Time, &'static str)> {
        self.deadlines().into_iter().flatten().map(|(at, name, _)| (at, name)).min_by_key(|(at, _)| *at)
    }

    /// A timer that has ended by `now`.
    pub fn expired(&self, now: Time) -> Option<Input> {
        self.deadlines().into_iter().flatten().find(|(at, ..)| *at <= now).map(|(.., input)| input)
    }
}
