//! The message header (RFC 4271 §4.1, RFC 8654).
use super::notification::Notification;

/// Octets of a header: marker 16, length 2, type 1.
pub const HEADER_LEN: usize = 19;
/// The longest message without the extended message capability.
pub const MAX_MESSAGE_LEN: usize = 4096;
/// The longest message with it (RFC 8654). OPEN and KEEPALIVE stay at 4096.
pub const MAX_EXTENDED_MESSAGE_LEN: usize = 65535;

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// 1
    Open,
    /// 2
    Update,
    /// 3
    Notification,
    /// 4
    Keepalive,
    /// 5
    RouteRefresh,
}

/// A whole message at the start of a receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Type.
    pub message_type: MessageType,
    /// What follows the header.
    pub body: &'a [u8],
    /// Octets of the message with its header: how far to advance.
    pub len: usize,
}

/// The first message in `buffer`: `Ok(None)` while it is not whole. Errors are header errors (code 1) as the NOTIFICATION to send.
pub fn frame(_buffer: &[u8], _max_len: usize) -> Result<Option<Frame<'_>>, Notification> {
    todo!()
}

/// Appends a header with length 0 and gives its offset; `finish` puts the length in.
pub fn begin(_out: &mut Vec<u8>, _message_type: MessageType) -> usize {
    todo!()
}
/// Puts the length of the message begun at `start` in.
pub fn finish(_out: &mut [u8], _start: usize) {
    todo!()
}
