//! The two ends of one connection inside the machine: received octets until they are whole messages, and the control
//! messages that wait to be sent. Both are bounded whatever the peer does.

use std::ops::Range;

use crate::wire::header::{self, MessageType};
use crate::wire::notification::Notification;
use crate::wire::open::Open;
use crate::wire::route_refresh::RouteRefresh;

use super::stats::MessageCounts;

/// The most octets that may wait to be framed: a dozen reads that nobody drained. More is a fault of the rim.
const RECEIVE_LIMIT: usize = 1 << 20;
/// An emptied buffer larger than this is given back: a thousand quiet peers must not hold a read's worth each.
const KEEP_CAPACITY: usize = 4096;
/// Route refreshes of ours that may wait. More are the same question again.
const REFRESH_LIMIT: usize = 4;

/// Received octets: at most one incomplete message, and what was handed in since the last drain.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    octets: Vec<u8>,
    start: usize,
}

/// A message within the buffer.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) message_type: MessageType,
    /// Where its body lies, until the next `push` or `clear`.
    pub(super) body: Range<usize>,
}

impl ReceiveBuffer {
    /// Takes octets in; `false` where they would not fit.
    pub(super) fn push(&mut self, octets: &[u8]) -> bool {
        if self.octets.len() - self.start + octets.len() > RECEIVE_LIMIT {
            return false;
        }
        self.octets.drain(..self.start);
        self.start = 0;
        self.octets.extend_from_slice(octets);
        true
    }

    /// The next whole message, which is then behind us. Errors are header errors.
    pub(super) fn next(&mut self, max_len: usize) -> Result<Option<Message>, Notification> {
        let unread = &self.octets[self.start..];
        if unread.is_empty() {
            if self.octets.capacity() > KEEP_CAPACITY {
                self.clear();
            }
            return Ok(None);
        }
        let Some(frame) = header::frame(unread, max_len)? else { return Ok(None) };
        let end = self.start + frame.len;
        let message = Message { message_type: frame.message_type, body: end - frame.body.len()..end };
        self.start = end;
        Ok(Some(message))
    }

    /// The octets of a body.
    pub(super) fn body(&self, body: Range<usize>) -> &[u8] {
        self.octets.get(body).unwrap_or_default()
    }

    /// Forgets everything: the connection is gone.
    pub(super) fn clear(&mut self) {
        self.octets = Vec::new();
        self.start = 0;
    }
}

/// Control messages that wait for the socket, in the order in which they are sent. State, not a queue: a peer that
/// never reads cannot make it grow.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    open: Option<Open>,
    keepalive: bool,
    refreshes: Vec<RouteRefresh>,
    notification: Option<Notification>,
}

impl Outbox {
    pub(super) fn open(&mut self, open: Open) {
        self.open = Some(open);
    }

    /// At most one KEEPALIVE waits: a second one would say nothing new.
    pub(super) fn keepalive(&mut self) {
        self.keepalive = true;
    }

    /// Whether the request waits now, be it since before.
    pub(super) fn route_refresh(&mut self, refresh: RouteRefresh) -> bool {
        if self.refreshes.contains(&refresh) {
            return true;
        }
        let fits = self.refreshes.len() < REFRESH_LIMIT;
        if fits {
            self.refreshes.push(refresh);
        }
        fits
    }

    /// The last message of a connection; the first error is the one told.
    pub(super) fn notification(&mut self, notification: Notification) {
        self.notification.get_or_insert(notification);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && !self.keepalive && self.refreshes.is_empty() && self.notification.is_none()
    }

    /// Appends everything that waits and counts it.
    pub(super) fn drain(&mut self, out: &mut Vec<u8>, counts: &mut MessageCounts) {
        if let Some(open) = self.open.take() {
            open.emit(out);
            counts.count(MessageType::Open);
        }
        if std::mem::take(&mut self.keepalive) {
            header::emit_keepalive(out);
            counts.count(MessageType::Keepalive);
        }
        for refresh in self.refreshes.drain(..) {
            refresh.emit(out);
            counts.count(MessageType::RouteRefresh);
        }
        if let Some(notification) = self.notification.take() {
            notification.emit(out);
            counts.count(MessageType::Notification);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::header::MAX_MESSAGE_LEN;

    #[test]
    fn messages_torn_anywhere_come_out_whole() {
        let mut stream = Vec::new();
        for subtype in 0..3 {
            RouteRefresh { afi: 25, subtype, safi: 70 }.emit(&mut stream);
        }
        for at in 0..=stream.len() {
            let mut buffer = ReceiveBuffer::default();
            let mut bodies = Vec::new();
            for part in [&stream[..at], &stream[at..]] {
                assert!(buffer.push(part));
                while let Some(message) = buffer.next(MAX_MESSAGE_LEN).unwrap() {
                    bodies.push(buffer.body(message.body).to_vec());
                }
            }
            assert_eq!(bodies, [[0, 25, 0, 70], [0, 25, 1, 70], [0, 25, 2, 70]]);
        }
    }

    #[test]
    fn a_rim_that_never_drains_is_stopped() {
        let mut buffer = ReceiveBuffer::default();
        let read = vec![0xff; 64 * 1024];
        assert_eq!((0..100).filter(|_| buffer.push(&read)).count(), 16);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = Outbox::default();
        for n in 0..1000u16 {
            outbox.keepalive();
            outbox.route_refresh(RouteRefresh { afi: n, subtype: 0, safi: 70 });
            outbox.notification(Notification { code: 6, subcode: n as u8, data: Vec::new() });
        }
        let (mut out, mut counts) = (Vec::new(), MessageCounts::default());
        outbox.drain(&mut out, &mut counts);
        assert_eq!(counts, MessageCounts { keepalive: 1, route_refresh: 4, notification: 1, ..Default::default() });
        assert_eq!(out.len(), 19 + 4 * 23 + 21);
        assert!(outbox.is_empty());
    }
}
