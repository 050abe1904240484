//! What a session counts. Plain numbers for `show neighbors`; nothing decides by them.

use crate::base::Time;
use crate::wire::header::MessageType;

/// Messages by type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageCounts {
    /// OPEN.
    pub open: u64,
    /// UPDATE.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub route_refresh: u64,
}

impl MessageCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.open + self.update + self.notification + self.keepalive + self.route_refresh
    }

    pub(super) fn count(&mut self, message_type: MessageType) {
        let counter = match message_type {
            MessageType::Open => &mut self.open,
            MessageType::Update => &mut self.update,
            MessageType::Notification => &mut self.notification,
            MessageType::Keepalive => &mut self.keepalive,
            MessageType::RouteRefresh => &mut self.route_refresh,
        };
        *counter += 1;
    }
}

/// The counters of one peer's session, over all of its connections since the daemon began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionStats {
    /// Messages handed out by `transmit`, and the UPDATEs reported to `count_updates_sent`.
    pub sent: MessageCounts,
    /// Messages received whole.
    pub received: MessageCounts,
    /// How often Established was reached.
    pub established: u64,
    /// How often Established was left.
    pub dropped: u64,
    /// Connect attempts begun.
    pub connect_attempts: u64,
    /// Connections or OPENs that failed before Established, collisions apart.
    pub refused: u64,
    /// Connections closed because a better one to the same peer stood (RFC 4271 §6.8).
    pub collisions: u64,
    /// Connections of the peer that were turned away: not started, or a session stood.
    pub turned_away: u64,
    /// ROUTE-REFRESH messages ignored: another family, or an unknown subtype (RFC 7313 §5).
    pub route_refresh_ignored: u64,
    /// Route refreshes of ours that were not queued: not established, not offered by the peer, or too many waiting.
    pub route_refresh_unsent: u64,
    /// Sessions given up because received octets were handed in faster than they were drained.
    pub receive_overflows: u64,
    /// Since when the session is established, or down.
    pub since: Time,
}
