//! NOTIFICATION (RFC 4271 §4.5, §6; RFC 4486; RFC 9003).

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
