//! OPEN (RFC 4271 §4.2, RFC 9072 extended optional parameters).
use super::capability::Capability;
use super::notification::Notification;
use crate::base::BgpIdentifier;

/// An OPEN. `parse` checks form only (version, lengths); policy (AS, hold time, identifier) is session's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// 4.
    pub version: u8,
    /// The 2-octet field; the real number is in the 4-octet AS capability.
    pub my_as: u16,
    /// Hold time in seconds as it stands.
    pub hold_time_secs: u16,
    /// Identifier (may be 0.0.0.0 on the wire: session refuses).
    pub identifier: BgpIdentifier,
    /// In the order sent, duplicates kept.
    pub capabilities: Vec<Capability>,
}
impl Open {
    /// Reads the body of an OPEN. Every malformation is a NOTIFICATION 2/x.
    pub fn parse(_body: &[u8]) -> Result<Self, Notification> {
        todo!()
    }
    /// Appends the whole message with its header; RFC 9072 form where the parameters need more than 255 octets.
    pub fn emit(&self, _out: &mut Vec<u8>) {
        todo!()
    }
}
