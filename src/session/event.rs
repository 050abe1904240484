//! What a session tells its owner: events, and the reasons why a connection ended, each with words for people.

use std::fmt;

use super::Direction;
use super::negotiate::{Negotiated, Refusal};
use crate::wire::notification::{self, Notification};
use crate::wire::route_refresh::RouteRefresh;

/// What `Session::poll_event` gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent<'a> {
    /// Open a TCP connection to the peer; answered with `handle_connected(Outgoing)` or `handle_connect_failed`.
    Connect,
    /// Give up a connect attempt under way, if any. No answer is awaited.
    CancelConnect,
    /// Flush `transmit` without waiting for a peer that does not read, then close this connection. No answer is awaited.
    Close(Direction),
    /// The session is up.
    Established(&'a Negotiated),
    /// The session left Established.
    Down(DownReason),
    /// A connection or OPEN failed before Established. For the log; the session goes on trying.
    Refused(DownReason),
    /// The body of an UPDATE, lent from the receive buffer. Only while established.
    Update(&'a [u8]),
    /// A ROUTE-REFRESH for 25/70: a request (subtype 0) or the marks around an answer (1, 2; RFC 7313).
    RouteRefresh(RouteRefresh),
}

/// Why a connection ended. `Display` says it in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownReason {
    /// We found an error, or were told to end the session, and sent this NOTIFICATION.
    Sent(Notification),
    /// The peer sent this NOTIFICATION.
    Received(Notification),
    /// The peer's OPEN is not acceptable here.
    OpenRefused(Refusal),
    /// The peer was silent for the hold time (RFC 4271 §6.5).
    HoldTimerExpired,
    /// The peer did not read for the send hold time (RFC 9687).
    SendHoldTimerExpired,
    /// TCP ended under the session, in the words of the rim.
    ConnectionClosed(String),
    /// TCP did not come up, in the words of the rim.
    ConnectFailed(String),
    /// The operator ended it, in the operator's words.
    AdminStop(String),
    /// It was closed here because what is configured of the peer changed, and is opened again.
    Reconfigured,
    /// The peer opened a new connection, so the old one was dead (RFC 4724 §4.2; before Established: ours).
    Superseded,
    /// Two connections met and the other one was kept (RFC 4271 §6.8).
    Collision,
}

static HOLD_TIMER_EXPIRED: Notification = Notification { code: notification::HOLD_TIMER_EXPIRED, subcode: 0, data: Vec::new() };

impl DownReason {
    /// The NOTIFICATION that went over the wire, in either direction.
    pub fn notification(&self) -> Option<&Notification> {
        match self {
            Self::Sent(notification) | Self::Received(notification) => Some(notification),
            Self::OpenRefused(refusal) => Some(&refusal.notification),
            Self::HoldTimerExpired => Some(&HOLD_TIMER_EXPIRED),
            Self::SendHoldTimerExpired
            | Self::ConnectionClosed(_)
            | Self::ConnectFailed(_)
            | Self::AdminStop(_)
            | Self::Reconfigured
            | Self::Superseded
            | Self::Collision => None,
        }
    }

    /// The loss of a collision, told by us or by the peer: nothing went wrong.
    pub(super) fn is_collision(&self) -> bool {
        match self {
            Self::Collision => true,
            Self::Received(n) | Self::Sent(n) => (n.code, n.subcode) == (notification::CEASE, notification::cease::COLLISION),
            _ => false,
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(notification) => write!(f, "we sent {notification}"),
            Self::Received(notification) => write!(f, "the peer sent {notification}"),
            Self::OpenRefused(refusal) => write!(f, "we refused the peer's OPEN: {}", refusal.why),
            Self::HoldTimerExpired => f.write_str("the peer was silent for the hold time"),
            Self::SendHoldTimerExpired => f.write_str("send hold timer expired: the peer did not read for the send hold time"),
            Self::ConnectionClosed(why) => write!(f, "the connection closed: {why}"),
            Self::ConnectFailed(why) => write!(f, "no connection: {why}"),
            Self::AdminStop(text) if text.is_empty() => f.write_str("stopped here"),
            Self::AdminStop(text) => write!(f, "stopped here: {text}"),
            Self::Reconfigured => f.write_str("its configuration here has changed"),
            Self::Superseded => f.write_str("the peer opened a new connection, so the old one was dead"),
            Self::Collision => f.write_str("two connections to the peer met and the other one was kept"),
        }
    }
}
