//! UPDATE (RFC 4271 §4.3, RFC 4760 §3-4, RFC 7606): a view over the receive buffer that walks attribute headers once
//! and parses no value, so that a known attribute block costs a hash.
//!
//! ```text
//! withdrawn length (2) | withdrawn | attributes length (2) | attributes | NLRI        (both outer fields are IPv4's)
//! ```
//!
//! Where the mistakes go: what RFC 7606 answers with a session reset because routes cannot be located is the `Err` of
//! [`UpdateView::parse`]. Everything else stays in the pieces of [`RawAttributes`], also a broken tail, and [`Attributes::parse`]
//! reports it from there: equal pieces always get the same answer. The whole list is in `docs/RFC7606.md`.

use std::net::IpAddr;

use super::attribute::{AttributeError, Attributes, Disposition, Row, code, flags, subcode};
use super::attribute_block::{RawAttribute, Truncated, emit_attribute, next_attribute, parse_next_hop};
use super::header::{self, HEADER_LEN, MAX_EXTENDED_MESSAGE_LEN, MessageType};
use super::notification::{self, Notification};
use super::{AFI_L2VPN, SAFI_EVPN};

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

impl RawAttributes<'_> {
    /// Whether there is no attribute besides the MP ones.
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(|piece| piece.is_empty())
    }

    /// Octets of all pieces.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }
}

impl<'a> UpdateView<'a> {
    /// Reads the body of an UPDATE. `Err` only where RFC 7606 wants a session reset (NLRI cannot be located).
    pub fn parse(body: &'a [u8]) -> Result<Self, Notification> {
        // RFC 7606 §3 b: a length that exceeds the message is Malformed Attribute List.
        let (withdrawn_ipv4, rest) = sized(body).ok_or_else(|| error(subcode::MALFORMED_LIST, &[]))?;
        let (block, nlri_ipv4) = sized(rest).ok_or_else(|| error(subcode::MALFORMED_LIST, &[]))?;
        // RFC 7606 §3 i, §5.3.
        check_prefixes(withdrawn_ipv4)?;
        check_prefixes(nlri_ipv4)?;
        let mut view = Self { withdrawn_ipv4, nlri_ipv4, reach: None, unreach: None, attributes: RawAttributes::default() };
        let mut pieces = Pieces { block, start: 0, count: 0, done: RawAttributes::default() };
        let mut rest = block;
        loop {
            match next_attribute(rest) {
                Ok(None) => break,
                Ok(Some((found, after))) => {
                    let before = block.len() - rest.len();
                    rest = after;
                    if !matches!(found.code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI) {
                        continue;
                    }
                    // RFC 7606 §5.3: with other flags than RFC 4760's it is incorrect, and so its routes are unsure (§3 j).
                    if Row::of(found.code).is_some_and(|row| row.flags_conflict(found.flags)) {
                        return Err(error(subcode::FLAGS, found.whole));
                    }
                    // RFC 7606 §3 g: more than once is the one duplicate that resets the session.
                    let again = match found.code {
                        code::MP_REACH_NLRI => view.reach.replace(MpReach::parse(&found)?).is_some(),
                        _ => view.unreach.replace(MpUnreach::parse(&found)?).is_some(),
                    };
                    if again {
                        return Err(error(subcode::MALFORMED_LIST, &[]));
                    }
                    pieces.cut(before, block.len() - rest.len());
                }
                Err(Truncated { code, .. }) => {
                    // RFC 7606 §4: treat-as-withdraw, provided that the routes are known (§3 j, §5.2).
                    let routes_lost = matches!(code, Some(code::MP_REACH_NLRI | code::MP_UNREACH_NLRI)) || !view.is_reachable();
                    if routes_lost {
                        return Err(error(subcode::MALFORMED_LIST, &[]));
                    }
                    break;
                }
            }
        }
        view.attributes = pieces.finish();
        Ok(view)
    }

    /// The family whose End-of-RIB marker this is (RFC 4724 §2).
    pub fn end_of_rib(&self) -> Option<(u16, u8)> {
        if !self.withdrawn_ipv4.is_empty() || !self.nlri_ipv4.is_empty() || self.reach.is_some() || !self.attributes.is_empty() {
            return None;
        }
        match self.unreach {
            Some(MpUnreach { afi, safi, nlri: [] }) => Some((afi, safi)),
            Some(_) => None,
            None => Some((1, 1)),
        }
    }

    /// Whether any route is announced, of whatever family.
    pub fn is_reachable(&self) -> bool {
        !self.nlri_ipv4.is_empty() || self.reach.is_some_and(|reach| !reach.nlri.is_empty())
    }

    /// [`Attributes::parse`] for this UPDATE, with RFC 7606 §5.2: where it announces no route, a mistake that costs more than
    /// the attribute may have hidden the routes, and means a session reset.
    pub fn parse_attributes(&self, context: &UpdateContext) -> Result<(Attributes, Vec<AttributeError>), AttributeError> {
        let next_hop = self.reach.filter(MpReach::is_evpn).map(|reach| reach.next_hop);
        Attributes::parse(&self.attributes, next_hop, context).map_err(|mut error| {
            if !self.is_reachable() {
                error.disposition = Disposition::SessionReset;
            }
            error
        })
    }
}

impl<'a> MpReach<'a> {
    /// Whether it is for 25/70.
    pub const fn is_evpn(&self) -> bool {
        self.afi == AFI_L2VPN && self.safi == SAFI_EVPN
    }

    /// AFI 2, SAFI 1, next hop length 1, next hop, reserved 1, NLRI (RFC 4760 §3).
    fn parse(attribute: &RawAttribute<'a>) -> Result<Self, Notification> {
        let wrong = || error(subcode::OPTIONAL, attribute.whole);
        let [a, b, safi, len, ref rest @ ..] = *attribute.value else {
            return Err(wrong());
        };
        let (next_hop, rest) = rest.split_at_checked(usize::from(len)).ok_or_else(wrong)?;
        // RFC 4760 §3: the reserved octet is ignored on receipt.
        let (_reserved, nlri) = rest.split_first().ok_or_else(wrong)?;
        let reach = Self { afi: u16::from_be_bytes([a, b]), safi, next_hop, nlri };
        // RFC 7606 §7.11: a next hop of an unexpected length leaves the place of the NLRI unsure.
        if reach.is_evpn() && parse_next_hop(next_hop).is_none() {
            return Err(wrong());
        }
        Ok(reach)
    }
}

impl<'a> MpUnreach<'a> {
    /// Whether it is for 25/70.
    pub const fn is_evpn(&self) -> bool {
        self.afi == AFI_L2VPN && self.safi == SAFI_EVPN
    }

    /// AFI 2, SAFI 1, NLRI (RFC 4760 §4).
    fn parse(attribute: &RawAttribute<'a>) -> Result<Self, Notification> {
        match *attribute.value {
            [a, b, safi, ref nlri @ ..] => Ok(Self { afi: u16::from_be_bytes([a, b]), safi, nlri }),
            _ => Err(error(subcode::OPTIONAL, attribute.whole)),
        }
    }
}

/// Collects what lies between the MP attributes.
struct Pieces<'a> {
    block: &'a [u8],
    start: usize,
    count: usize,
    done: RawAttributes<'a>,
}

impl<'a> Pieces<'a> {
    /// Takes the octets from `from` to `to` out. At most twice: once per MP attribute.
    fn cut(&mut self, from: usize, to: usize) {
        self.push(from);
        self.start = to;
    }

    fn push(&mut self, end: usize) {
        let piece = self.block.get(self.start..end).unwrap_or_default();
        if let (false, Some(place)) = (piece.is_empty(), self.done.pieces.get_mut(self.count)) {
            *place = piece;
            self.count += 1;
        }
    }

    fn finish(mut self) -> RawAttributes<'a> {
        self.push(self.block.len());
        self.done
    }
}

fn error(subcode: u8, data: &[u8]) -> Notification {
    Notification::new(notification::UPDATE_ERROR, subcode, data.to_vec())
}

/// A field with its length of 2 octets before it, and what follows.
fn sized(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// RFC 7606 §5.3: a field of IPv4 prefixes is wrong where a length is over 32 or a prefix runs past the end.
fn check_prefixes(mut field: &[u8]) -> Result<(), Notification> {
    while let Some((&bits, rest)) = field.split_first() {
        let len = usize::from(bits.div_ceil(8));
        field = rest.get(len..).filter(|_| bits <= 32).ok_or_else(|| error(subcode::INVALID_NETWORK, &[]))?;
    }
    Ok(())
}

/// Octets of an UPDATE without attributes: header and the two lengths.
const EMPTY_LEN: usize = HEADER_LEN + 4;

/// Octets an unreach UPDATE needs besides its NLRI: the attribute's head may have 4, then AFI and SAFI.
pub const UNREACH_OVERHEAD: usize = EMPTY_LEN + 4 + 3;

/// Octets a reach UPDATE needs besides its NLRI.
pub fn reach_overhead(attributes: &Attributes, context: &UpdateContext) -> usize {
    let mut scratch = Vec::new();
    attributes.emit(&mut scratch, context);
    let next_hop = match attributes.next_hop {
        Some(IpAddr::V6(_)) => 16,
        _ => 4,
    };
    // The attribute's head may have 4; AFI, SAFI, next hop length and the reserved octet are 5.
    EMPTY_LEN + 4 + 5 + next_hop + scratch.len()
}

/// Appends one UPDATE that announces `nlri` for 25/70: MP_REACH_NLRI first (RFC 7606 §5.1), then the others by code.
/// The caller keeps within the size limit; what has no next hop or would pass 65535 octets appends nothing.
pub fn emit_reach(out: &mut Vec<u8>, attributes: &Attributes, context: &UpdateContext, nlri: &[u8]) {
    let Some(next_hop) = attributes.next_hop else {
        return;
    };
    emit(out, |out| {
        emit_attribute(out, flags::OPTIONAL, code::MP_REACH_NLRI, |out| {
            emit_family(out);
            match next_hop {
                IpAddr::V4(address) => {
                    out.push(4);
                    out.extend_from_slice(&address.octets());
                }
                IpAddr::V6(address) => {
                    out.push(16);
                    out.extend_from_slice(&address.octets());
                }
            }
            out.push(0);
            out.extend_from_slice(nlri);
        });
        attributes.emit(out, context);
    });
}

/// Appends one UPDATE that withdraws `nlri` for 25/70. What would pass 65535 octets appends nothing.
pub fn emit_unreach(out: &mut Vec<u8>, nlri: &[u8]) {
    emit(out, |out| {
        emit_attribute(out, flags::OPTIONAL, code::MP_UNREACH_NLRI, |out| {
            emit_family(out);
            out.extend_from_slice(nlri);
        });
    });
}

/// Appends the End-of-RIB marker of 25/70 (RFC 4724 §2).
pub fn emit_end_of_rib(out: &mut Vec<u8>) {
    emit_unreach(out, &[]);
}

fn emit_family(out: &mut Vec<u8>) {
    let [a, b] = AFI_L2VPN.to_be_bytes();
    out.extend_from_slice(&[a, b, SAFI_EVPN]);
}

/// Appends one UPDATE around its attributes, or nothing where it would be too long.
fn emit(out: &mut Vec<u8>, attributes: impl FnOnce(&mut Vec<u8>)) {
    let start = header::begin(out, MessageType::Update);
    out.extend_from_slice(&[0; 4]);
    attributes(out);
    if out.len() - start > MAX_EXTENDED_MESSAGE_LEN {
        out.truncate(start);
        return;
    }
    let len = (out.len() - start - EMPTY_LEN) as u16;
    out[start + HEADER_LEN + 2..start + EMPTY_LEN].copy_from_slice(&len.to_be_bytes());
    header::finish(out, start);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: UpdateContext = UpdateContext { four_octet_as: true, external: false };
    const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
    const AS_PATH: &[u8] = &[0x40, 2, 0];
    const REACH: &[u8] = &[0x80, 14, 13, 0, 25, 70, 4, 10, 0, 0, 1, 0, 99, 2, 7, 7];
    const UNREACH: &[u8] = &[0x80, 15, 6, 0, 25, 70, 99, 1, 8];

    fn body(attributes: &[&[u8]]) -> Vec<u8> {
        let block = attributes.concat();
        [&[0, 0], &(block.len() as u16).to_be_bytes()[..], &block].concat()
    }

    #[test]
    fn pieces_lie_around_the_mp_attributes_in_any_order() {
        let med: &[u8] = &[0x80, 4, 4, 0, 0, 0, 1];
        let both: &[u8] = &[ORIGIN, AS_PATH].concat();
        type Order<'a> = (&'a [&'a [u8]], [&'a [u8]; 3]);
        let orders: [Order<'_>; 5] = [
            (&[REACH, ORIGIN, AS_PATH], [both, &[], &[]]),
            (&[ORIGIN, AS_PATH, REACH], [both, &[], &[]]),
            (&[ORIGIN, REACH, AS_PATH, UNREACH, med], [ORIGIN, AS_PATH, med]),
            (&[UNREACH, REACH, ORIGIN, AS_PATH], [both, &[], &[]]),
            (&[UNREACH, ORIGIN, REACH], [ORIGIN, &[], &[]]),
        ];
        for (order, pieces) in orders {
            let body = body(order);
            let view = UpdateView::parse(&body).unwrap();
            assert_eq!(view.attributes.pieces, pieces);
            let reach = view.reach.unwrap();
            assert_eq!((reach.afi, reach.safi, reach.next_hop, reach.nlri), (25, 70, &[10, 0, 0, 1][..], &[99, 2, 7, 7][..]));
            assert_eq!(view.unreach.is_some(), order.contains(&UNREACH));
        }
    }

    #[test]
    fn ends_of_rib() {
        let mut out = Vec::new();
        emit_end_of_rib(&mut out);
        assert_eq!(out.len(), 29);
        let frame = header::frame(&out, 4096).unwrap().unwrap();
        assert_eq!(UpdateView::parse(frame.body).unwrap().end_of_rib(), Some((25, 70)));
        assert_eq!(UpdateView::parse(&[0; 4]).unwrap().end_of_rib(), Some((1, 1)));
        for other in [&[ORIGIN][..], &[REACH], &[UNREACH], &[&[0x80, 15, 3, 0, 25, 70], ORIGIN]] {
            let body = body(other);
            assert_eq!(UpdateView::parse(&body).unwrap().end_of_rib(), None);
        }
    }

    #[test]
    fn the_overhead_is_never_less_than_what_is_emitted() {
        let mut attributes = Attributes { next_hop: Some("2001:db8::1".parse().unwrap()), ..Attributes::default() };
        for length in [0, 10, 200, 300] {
            attributes.communities = vec![1; length];
            for nlri in [vec![], vec![0; 100], vec![0; 1000]] {
                let mut out = vec![1, 2, 3];
                emit_reach(&mut out, &attributes, &CONTEXT, &nlri);
                let spare = 3 + reach_overhead(&attributes, &CONTEXT) + nlri.len() - out.len();
                assert!(spare <= 1, "{spare}");
                let mut out = Vec::new();
                emit_unreach(&mut out, &nlri);
                assert!(UNREACH_OVERHEAD + nlri.len() - out.len() <= 1);
            }
        }
    }

    #[test]
    fn what_cannot_be_said_appends_nothing() {
        let mut out = vec![7];
        let attributes = Attributes { next_hop: Some("10.0.0.1".parse().unwrap()), ..Attributes::default() };
        emit_reach(&mut out, &Attributes::default(), &CONTEXT, &[]);
        emit_reach(&mut out, &attributes, &CONTEXT, &vec![0; 65_500]);
        emit_reach(&mut out, &attributes, &CONTEXT, &vec![0; 70_000]);
        emit_unreach(&mut out, &vec![0; 70_000]);
        assert_eq!(out, [7]);
        emit_reach(&mut out, &attributes, &CONTEXT, &vec![0; 65_000]);
        assert_eq!(header::frame(&out[1..], 65_535).unwrap().unwrap().len + 1, out.len());
    }

    #[test]
    fn ipv4_fields_are_checked_though_not_used() {
        let invalid = Err(Notification::new(3, 10, vec![]));
        assert_eq!(UpdateView::parse(&[0, 1, 33, 0, 0]), invalid);
        assert_eq!(UpdateView::parse(&[0, 0, 0, 0, 24, 10, 0]), invalid);
        let view = UpdateView::parse(&[0, 2, 8, 10, 0, 0, 24, 10, 0, 1]).unwrap();
        assert_eq!((view.withdrawn_ipv4, view.nlri_ipv4), (&[8, 10][..], &[24, 10, 0, 1][..]));
    }
}
