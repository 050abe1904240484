//! NOTIFICATION (RFC 4271 §4.5, §6; RFC 4486; RFC 7313 §5; RFC 8538 §3; RFC 9003; RFC 9687): why a session ends, in numbers on
//! the wire and in words for people.

use std::fmt;

use super::header::{self, MessageType};

/// Code 1: the header of a message is wrong.
pub const MESSAGE_HEADER_ERROR: u8 = 1;
/// Code 2: an OPEN is wrong or not acceptable.
pub const OPEN_ERROR: u8 = 2;
/// Code 3: an UPDATE is wrong beyond repair.
pub const UPDATE_ERROR: u8 = 3;
/// Code 4: nothing was heard for the hold time.
pub const HOLD_TIMER_EXPIRED: u8 = 4;
/// Code 5: a message that the state does not allow.
pub const FSM_ERROR: u8 = 5;
/// Code 6: no error; see [`cease`].
pub const CEASE: u8 = 6;
/// Code 7: a ROUTE-REFRESH is wrong (RFC 7313 §5).
pub const ROUTE_REFRESH_ERROR: u8 = 7;
/// Code 8: nothing could be sent for the send hold time (RFC 9687).
pub const SEND_HOLD_TIMER_EXPIRED: u8 = 8;

/// Subcodes of code 6 (RFC 4486, RFC 8538).
pub mod cease {
    /// 1: more prefixes than allowed.
    pub const MAX_PREFIXES: u8 = 1;
    /// 2: shut down by its operator.
    pub const ADMIN_SHUTDOWN: u8 = 2;
    /// 3: taken out of the configuration.
    pub const PEER_DECONFIGURED: u8 = 3;
    /// 4: reset by its operator.
    pub const ADMIN_RESET: u8 = 4;
    /// 5: connection rejected.
    pub const REJECTED: u8 = 5;
    /// 6: another change of configuration.
    pub const OTHER_CONFIG: u8 = 6;
    /// 7: the other connection of a collision goes on.
    pub const COLLISION: u8 = 7;
    /// 8: out of resources.
    pub const OUT_OF_RESOURCES: u8 = 8;
    /// 9: a reset that graceful restart does not survive (RFC 8538 §3).
    pub const HARD_RESET: u8 = 9;
    /// 10: BFD went down (RFC 9384).
    pub const BFD_DOWN: u8 = 10;
}

/// The longest shutdown text in octets (RFC 9003 §2).
pub const MAX_SHUTDOWN_TEXT_LEN: usize = 255;

/// A NOTIFICATION: code, subcode and data, any of them. `Display` gives the words of the RFC and the peer's shutdown text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Data.
    pub data: Vec<u8>,
}

impl Notification {
    /// Any NOTIFICATION.
    pub fn new(code: u8, subcode: u8, data: Vec<u8>) -> Self {
        Self { code, subcode, data }
    }

    /// A Cease with a text for the peer's operator (RFC 9003), cut at 255 octets between characters. Only administrative shutdown
    /// and reset carry one; an empty text sends none.
    pub fn cease(subcode: u8, text: &str) -> Self {
        let mut end = text.len().min(MAX_SHUTDOWN_TEXT_LEN);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default();
        let mut data = Vec::new();
        if !text.is_empty() && carries_text(subcode) {
            data.push(text.len() as u8);
            data.extend_from_slice(text.as_bytes());
        }
        Self { code: CEASE, subcode, data }
    }

    /// Reads the body. One without code and subcode is Bad Message Length (RFC 4271 §6.1): the header's check catches it first.
    pub fn parse(body: &[u8]) -> Result<Self, Notification> {
        match *body {
            [code, subcode, ref data @ ..] => Ok(Self { code, subcode, data: data.to_vec() }),
            _ => Err(Self::new(MESSAGE_HEADER_ERROR, 2, ((header::HEADER_LEN + body.len()) as u16).to_be_bytes().to_vec())),
        }
    }

    /// Appends the whole message; of the data what fits 4096 octets.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let start = header::begin(out, MessageType::Notification);
        out.extend_from_slice(&[self.code, self.subcode]);
        let room = header::MAX_MESSAGE_LEN - header::HEADER_LEN - 2;
        out.extend_from_slice(self.data.get(..room).unwrap_or(&self.data));
        header::finish(out, start);
    }

    /// The peer's text of an administrative shutdown or reset (RFC 9003), also inside a hard reset. Octets that are not UTF-8 and
    /// control characters are replaced, because it goes to logs and terminals.
    pub fn shutdown_text(&self) -> Option<String> {
        if self.code != CEASE {
            return None;
        }
        if let Some(inner) = self.hard_reset() {
            return inner.shutdown_text();
        }
        let (&len, text) = self.data.split_first().filter(|_| carries_text(self.subcode))?;
        // A length that lies is no reason to hide what the operator wrote (RFC 9003 §4 leaves it to us).
        let text = text.get(..usize::from(len)).unwrap_or(text);
        let text: String = String::from_utf8_lossy(text)
            .chars()
            .map(|c| if is_unprintable(c) { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
        if text.is_empty() { None } else { Some(text) }
    }

    /// What a hard reset (6/9) encloses (RFC 8538 §3.1). Only one level: a hard reset inside another is not looked into.
    pub fn hard_reset(&self) -> Option<Self> {
        if (self.code, self.subcode) != (CEASE, cease::HARD_RESET) {
            return None;
        }
        let inner = Self::parse(&self.data).ok()?;
        if (inner.code, inner.subcode) == (CEASE, cease::HARD_RESET) { None } else { Some(inner) }
    }

    /// The name of the code.
    pub const fn code_name(&self) -> &'static str {
        match self.code {
            MESSAGE_HEADER_ERROR => "message header error",
            OPEN_ERROR => "OPEN message error",
            UPDATE_ERROR => "UPDATE message error",
            HOLD_TIMER_EXPIRED => "hold timer expired",
            FSM_ERROR => "finite state machine error",
            CEASE => "cease",
            ROUTE_REFRESH_ERROR => "ROUTE-REFRESH message error",
            SEND_HOLD_TIMER_EXPIRED => "send hold timer expired",
            _ => "unknown error",
        }
    }

    /// The name of the subcode, where code and subcode are known.
    pub const fn subcode_name(&self) -> Option<&'static str> {
        Some(match (self.code, self.subcode) {
            (MESSAGE_HEADER_ERROR, 1) => "connection not synchronized",
            (MESSAGE_HEADER_ERROR, 2) => "bad message length",
            (MESSAGE_HEADER_ERROR, 3) => "bad message type",
            (OPEN_ERROR, 1) => "unsupported version number",
            (OPEN_ERROR, 2) => "bad peer AS",
            (OPEN_ERROR, 3) => "bad BGP identifier",
            (OPEN_ERROR, 4) => "unsupported optional parameter",
            (OPEN_ERROR, 6) => "unacceptable hold time",
            (OPEN_ERROR, 7) => "unsupported capability",
            (OPEN_ERROR, 11) => "role mismatch",
            (UPDATE_ERROR, 1) => "malformed attribute list",
            (UPDATE_ERROR, 2) => "unrecognized well-known attribute",
            (UPDATE_ERROR, 3) => "missing well-known attribute",
            (UPDATE_ERROR, 4) => "attribute flags error",
            (UPDATE_ERROR, 5) => "attribute length error",
            (UPDATE_ERROR, 6) => "invalid ORIGIN attribute",
            (UPDATE_ERROR, 8) => "invalid NEXT_HOP attribute",
            (UPDATE_ERROR, 9) => "optional attribute error",
            (UPDATE_ERROR, 10) => "invalid network field",
            (UPDATE_ERROR, 11) => "malformed AS_PATH",
            (FSM_ERROR, 1) => "unexpected message in state OpenSent",
            (FSM_ERROR, 2) => "unexpected message in state OpenConfirm",
            (FSM_ERROR, 3) => "unexpected message in state Established",
            (CEASE, cease::MAX_PREFIXES) => "maximum number of prefixes reached",
            (CEASE, cease::ADMIN_SHUTDOWN) => "administrative shutdown",
            (CEASE, cease::PEER_DECONFIGURED) => "peer de-configured",
            (CEASE, cease::ADMIN_RESET) => "administrative reset",
            (CEASE, cease::REJECTED) => "connection rejected",
            (CEASE, cease::OTHER_CONFIG) => "other configuration change",
            (CEASE, cease::COLLISION) => "connection collision resolution",
            (CEASE, cease::OUT_OF_RESOURCES) => "out of resources",
            (CEASE, cease::HARD_RESET) => "hard reset",
            (CEASE, cease::BFD_DOWN) => "BFD down",
            (ROUTE_REFRESH_ERROR, 1) => "invalid message length",
            _ => return None,
        })
    }
}

/// Whether a Cease of this subcode carries a text (RFC 9003 §2).
const fn carries_text(subcode: u8) -> bool {
    matches!(subcode, cease::ADMIN_SHUTDOWN | cease::ADMIN_RESET)
}

/// Control characters and the marks that turn the direction of a line (so that a text cannot dress up as another).
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code_name())?;
        match self.subcode_name() {
            Some(name) => write!(f, ": {name}")?,
            None if self.subcode != 0 => write!(f, ": subcode {}", self.subcode)?,
            None => {}
        }
        write!(f, " ({}/{})", self.code, self.subcode)?;
        if let Some(inner) = self.hard_reset() {
            return write!(f, ", {inner}");
        }
        match self.shutdown_text() {
            Some(text) => write!(f, " \"{text}\""),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Notification {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_travels_whole() {
        let sent = Notification::cease(cease::ADMIN_SHUTDOWN, "maintenance, back at 10:00 — Zoë");
        let mut message = Vec::new();
        sent.emit(&mut message);
        let frame = header::frame(&message, 4096).unwrap().unwrap();
        let read = Notification::parse(frame.body).unwrap();
        assert_eq!(read, sent);
        assert_eq!(read.shutdown_text().unwrap(), "maintenance, back at 10:00 — Zoë");
        assert_eq!(read.to_string(), "cease: administrative shutdown (6/2) \"maintenance, back at 10:00 — Zoë\"");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let sent = Notification::cease(cease::ADMIN_RESET, &"é".repeat(200));
        assert_eq!(sent.data.len(), 255);
        assert_eq!(sent.data[0], 254);
        assert_eq!(sent.shutdown_text().unwrap(), "é".repeat(127));
        assert_eq!(Notification::cease(cease::COLLISION, "no text here").data, Vec::<u8>::new());
        assert_eq!(Notification::cease(cease::ADMIN_SHUTDOWN, "").data, Vec::<u8>::new());
    }

    #[test]
    fn a_text_cannot_hurt_the_log() {
        let nasty = Notification::new(6, 2, b"\x09a\nb\x1b[2Jc\xff".to_vec());
        assert_eq!(nasty.shutdown_text().unwrap(), "a\u{fffd}b\u{fffd}[2Jc\u{fffd}");
        let lying = Notification::new(6, 4, b"\xffshort".to_vec());
        assert_eq!(lying.shutdown_text().unwrap(), "short");
        assert_eq!(Notification::new(6, 2, vec![0]).shutdown_text(), None);
        assert_eq!(Notification::new(6, 2, vec![]).shutdown_text(), None);
        assert_eq!(Notification::new(3, 2, vec![1, b'a']).shutdown_text(), None);
    }

    #[test]
    fn a_hard_reset_shows_what_it_encloses() {
        let hard = Notification::new(6, 9, b"\x06\x02\x02hi".to_vec());
        assert_eq!(hard.to_string(), "cease: hard reset (6/9), cease: administrative shutdown (6/2) \"hi\"");
        let matryoshka = Notification::new(6, 9, [6, 9].repeat(2000));
        assert_eq!(matryoshka.to_string(), "cease: hard reset (6/9)");
    }

    #[test]
    fn unknown_numbers_are_shown() {
        assert_eq!(Notification::new(42, 7, vec![1]).to_string(), "unknown error: subcode 7 (42/7)");
        assert_eq!(Notification::new(4, 0, vec![]).to_string(), "hold timer expired (4/0)");
        assert!(Notification::parse(&[6]).is_err());
    }

    #[test]
    fn data_is_cut_to_a_message() {
        let mut message = Vec::new();
        Notification::new(3, 1, vec![7; 60_000]).emit(&mut message);
        assert_eq!(message.len(), 4096);
    }
}
