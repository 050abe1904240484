//! UPDATE (RFC 4271 §4.3, RFC 4760 §3-4, RFC 7606): a view over the receive buffer that walks attribute headers once
//! and parses no value, so that a known attribute block costs a hash.

use super::notification::Notification;

/// An UPDATE as it lies in the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateView<'a> {
    /// IPv4 withdrawn routes field (not an EVPN speaker's; kept for completeness).
    pub withdrawn_ipv4: &'a [u8],
    /// IPv4 NLRI field.
    pub nlri_ipv4: &'a [u8],
    /// MP_REACH_NLRI.
    pub reach: Option<MpReach<'a>>,
    /// MP_UNREACH_NLRI.
    pub unreach: Option<MpUnreach<'a>>,
    /// All other attributes.
    pub attributes: RawAttributes<'a>,
}
/// MP_REACH_NLRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MpReach<'a> {
    /// AFI
    pub afi: u16,
    /// SAFI
    pub safi: u8,
    /// Next hop octets as they stand (4, 16 or 32).
    pub next_hop: &'a [u8],
    /// NLRI octets.
    pub nlri: &'a [u8],
}
/// MP_UNREACH_NLRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MpUnreach<'a> {
    /// AFI
    pub afi: u16,
    /// SAFI
    pub safi: u8,
    /// NLRI octets.
    pub nlri: &'a [u8],
}
/// The attribute octets around MP_REACH and MP_UNREACH, in up to three pieces, in their order; whole attributes with
/// their headers each. Two UPDATEs with equal pieces and equal next hop have equal attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawAttributes<'a> {
    /// The pieces; unused ones are empty.
    pub pieces: [&'a [u8]; 3],
}
/// What the reader must know of the session to read attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateContext {
    /// AS_PATH has 4-octet numbers (both sent capability 65).
    pub four_octet_as: bool,
    /// The peer is external: LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST are discarded (RFC 7606 §7).
    pub external: bool,
}

impl<'a> UpdateView<'a> {
    /// Reads the body of an UPDATE. `Err` only where RFC 7606 wants a session reset (NLRI cannot be located).
    pub fn parse(_body: &'a [u8]) -> Result<Self, Notification> {
        todo!()
    }
    /// The family whose End-of-RIB marker this is (RFC 4724 §2).
    pub fn end_of_rib(&self) -> Option<(u16, u8)> {
        todo!()
    }
}
