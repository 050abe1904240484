//! The message header (RFC 4271 §4.1, RFC 8654): where a message begins and ends in a stream of octets.
//!
//! ```text
//! marker (16, all ones) | length (2, header included) | type (1)
//! ```

use super::notification::{self, Notification};

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

impl MessageType {
    /// The type octet.
    pub const fn number(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    /// The type of an octet, where it is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Open),
            2 => Some(Self::Update),
            3 => Some(Self::Notification),
            4 => Some(Self::Keepalive),
            5 => Some(Self::RouteRefresh),
            _ => None,
        }
    }

    /// The lengths a message of this type may have, with its header (RFC 4271 §6.1, RFC 8654 §4).
    fn lengths(self, max_len: usize) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Open => 29..=max_len.min(MAX_MESSAGE_LEN),
            Self::Update => 23..=max_len,
            Self::Notification => 21..=max_len,
            Self::Keepalive => HEADER_LEN..=HEADER_LEN,
            // RFC 7313 §5 answers a wrong length of these with 7/1: `RouteRefresh::parse` does.
            Self::RouteRefresh => HEADER_LEN..=max_len,
        }
    }
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
pub fn frame(buffer: &[u8], max_len: usize) -> Result<Option<Frame<'_>>, Notification> {
    let error = |subcode, data: &[u8]| Notification::new(notification::MESSAGE_HEADER_ERROR, subcode, data.to_vec());
    let Some((header, _)) = buffer.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let [marker @ .., high, low, number] = header;
    if *marker != [0xff; 16] {
        return Err(error(1, &[])); // Connection Not Synchronized
    }
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if len < HEADER_LEN || len > max_len {
        return Err(error(2, &[*high, *low])); // Bad Message Length
    }
    let message_type = MessageType::from_number(*number).ok_or_else(|| error(3, &[*number]))?; // Bad Message Type
    if !message_type.lengths(max_len).contains(&len) {
        return Err(error(2, &[*high, *low]));
    }
    Ok(buffer.get(HEADER_LEN..len).map(|body| Frame { message_type, body, len }))
}

/// Appends a header with length 0 and gives its offset; `finish` puts the length in.
pub fn begin(out: &mut Vec<u8>, message_type: MessageType) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0, 0, message_type.number()]);
    start
}

/// Puts the length of the message begun at `start` in. A message past 65535 octets cannot be said: the emitters see to that.
pub fn finish(out: &mut [u8], start: usize) {
    let len = out.len().saturating_sub(start);
    debug_assert!(len <= MAX_EXTENDED_MESSAGE_LEN, "message of {len} octets");
    if let Some(field) = out.get_mut(start + 16..start + 18) {
        field.copy_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    }
}

/// How many whole messages lie in `octets`, which were emitted here.
pub fn count_messages(mut octets: &[u8]) -> u64 {
    let mut count = 0;
    while octets.len() >= HEADER_LEN {
        let len = usize::from(u16::from_be_bytes([octets[16], octets[17]])).clamp(HEADER_LEN, octets.len());
        octets = &octets[len..];
        count += 1;
    }
    count
}

/// Appends a KEEPALIVE.
pub fn emit_keepalive(out: &mut Vec<u8>) {
    let start = begin(out, MessageType::Keepalive);
    finish(out, start);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(len: u16, number: u8) -> Vec<u8> {
        let mut out = vec![0xff; 16];
        out.extend_from_slice(&len.to_be_bytes());
        out.push(number);
        out
    }

    #[test]
    fn waits_for_the_whole_message() {
        let mut buffer = header(25, 2);
        assert_eq!(frame(&buffer[..18], 4096), Ok(None));
        assert_eq!(frame(&buffer, 4096), Ok(None));
        buffer.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7]);
        let found = frame(&buffer, 4096).unwrap().unwrap();
        assert_eq!((found.message_type, found.body, found.len), (MessageType::Update, &[1, 2, 3, 4, 5, 6][..], 25));
    }

    #[test]
    fn says_what_is_wrong_with_a_header() {
        let mut unsynchronized = header(19, 4);
        unsynchronized[3] = 0;
        assert_eq!(frame(&unsynchronized, 4096), Err(Notification::new(1, 1, vec![])));
        let cases: [(u16, u8, usize, &[u8]); 12] = [
            (18, 4, 4096, &[1, 2, 0, 18]),
            (4097, 2, 4096, &[1, 2, 0x10, 1]),
            (20, 4, 4096, &[1, 2, 0, 20]),
            (28, 1, 4096, &[1, 2, 0, 28]),
            (4097, 1, 65535, &[1, 2, 0x10, 1]),
            (22, 2, 4096, &[1, 2, 0, 22]),
            (20, 3, 4096, &[1, 2, 0, 20]),
            (19, 0, 4096, &[1, 3, 0]),
            (19, 6, 4096, &[1, 3, 6]),
            (19, 255, 65535, &[1, 3, 255]),
            (0, 2, 65535, &[1, 2, 0, 0]),
            (65535, 2, 65534, &[1, 2, 255, 255]),
        ];
        for (len, number, max, wanted) in cases {
            let error = frame(&header(len, number), max).unwrap_err();
            assert_eq!([&[error.code, error.subcode], error.data.as_slice()].concat(), wanted, "{len} {number}");
        }
        assert_eq!(frame(&header(65535, 2), 65535), Ok(None));
    }

    #[test]
    fn keepalive() {
        let mut out = vec![7];
        emit_keepalive(&mut out);
        assert_eq!(out[1..], header(19, 4));
        assert_eq!(frame(&out[1..], 4096).unwrap().unwrap().message_type, MessageType::Keepalive);
    }
}
