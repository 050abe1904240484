//! The two engines that walk [`super::attribute::TABLE`]: a block of octets to [`Attributes`] with the RFC 7606 treatment of every
//! mistake, and [`Attributes`] to a block.
//!
//! ```text
//! flags (1) | code (1) | length (1, or 2 with the extended length flag) | value
//! ```

use std::net::IpAddr;

use super::attribute::{
    AttributeError, Attributes, Category, Disposition, ROWS, Row, Source, UnknownAttribute, code, flags, subcode,
};
use super::attribute_values::Draft;
use super::update::{RawAttributes, UpdateContext};
use Disposition::{AttributeDiscard, SessionReset, TreatAsWithdraw};

/// One attribute as it lies in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawAttribute<'a> {
    pub(super) flags: u8,
    pub(super) code: u8,
    pub(super) value: &'a [u8],
    /// With its header.
    pub(super) whole: &'a [u8],
}

/// The end of a walk over a block: a piece of an attribute that does not fit (RFC 7606 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Truncated<'a> {
    /// The code, where the octets reach that far.
    pub(super) code: Option<u8>,
    pub(super) rest: &'a [u8],
}

/// An attribute, and what follows.
type First<'a> = (RawAttribute<'a>, &'a [u8]);

/// Takes the first attribute off a block. `None` at the end.
#[inline]
pub(super) fn next_attribute(block: &[u8]) -> Result<Option<First<'_>>, Truncated<'_>> {
    let truncated = || Truncated { code: block.get(1).copied(), rest: block };
    let (flags, code, len, body) = match *block {
        [] => return Ok(None),
        [flags, code, high, low, ref body @ ..] if flags & flags::EXTENDED_LENGTH != 0 => {
            (flags, code, usize::from(u16::from_be_bytes([high, low])), body)
        }
        [flags, code, len, ref body @ ..] if flags & flags::EXTENDED_LENGTH == 0 => (flags, code, usize::from(len), body),
        _ => return Err(truncated()),
    };
    let (value, rest) = body.split_at_checked(len).ok_or_else(truncated)?;
    let whole = block.get(..block.len() - rest.len()).unwrap_or_default();
    Ok(Some((RawAttribute { flags, code, value, whole }, rest)))
}

/// Appends one attribute. The length takes two octets where it must.
pub(super) fn emit_attribute(out: &mut Vec<u8>, flags: u8, code: u8, value: impl FnOnce(&mut Vec<u8>)) {
    let flags = flags & !flags::EXTENDED_LENGTH;
    let start = out.len();
    out.extend_from_slice(&[flags, code, 0]);
    value(out);
    let len = out.len() - start - 3;
    if let Ok(short) = u8::try_from(len) {
        out[start + 2] = short;
        return;
    }
    // A value past 65535 octets makes the message too long as well: `update::emit_reach` drops it whole.
    let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    out[start] = flags | flags::EXTENDED_LENGTH;
    out[start + 2] = high;
    out.insert(start + 3, low);
}

/// The mistakes of one block as they are met; of those that cost routes only the worst is kept (RFC 7606 §3 h).
#[derive(Default)]
struct Mistakes {
    discards: Vec<AttributeError>,
    worst: Option<AttributeError>,
}

impl Mistakes {
    fn add(&mut self, error: AttributeError) {
        if error.disposition == AttributeDiscard {
            self.discards.push(error);
        } else if self.worst.as_ref().is_none_or(|worst| worst.disposition < error.disposition) {
            self.worst = Some(error);
        }
    }
}

/// 256 bits: which codes were met.
#[derive(Default)]
struct Seen([u64; 4]);

impl Seen {
    /// Marks a code; whether it was marked before.
    fn mark(&mut self, code: u8) -> bool {
        let (word, bit) = (&mut self.0[usize::from(code >> 6)], 1 << (code & 63));
        let before = *word & bit != 0;
        *word |= bit;
        before
    }
}

impl Attributes {
    /// Reads a block. `next_hop` is that of MP_REACH_NLRI; without one (an UPDATE that only withdraws) nothing is mandatory.
    ///
    /// Returns the attributes and the mistakes that cost at most the attribute itself.
    ///
    /// # Errors
    /// The worst mistake, where it costs the routes or more (RFC 7606 §3 h). In an UPDATE without reachable routes each of these
    /// means a session reset (RFC 7606 §5.2): `UpdateView::parse_attributes` sees to that.
    pub fn parse(
        raw: &RawAttributes<'_>,
        next_hop: Option<&[u8]>,
        context: &UpdateContext,
    ) -> Result<(Self, Vec<AttributeError>), AttributeError> {
        let (mut draft, mut mistakes, mut seen, mut repeated) =
            (Draft::default(), Mistakes::default(), Seen::default(), Seen::default());
        for piece in raw.pieces {
            let mut rest = piece;
            loop {
                match next_attribute(rest) {
                    Ok(None) => break,
                    Ok(Some((attribute, after))) => {
                        rest = after;
                        if !seen.mark(attribute.code) {
                            read(&mut draft, &attribute, context, &mut mistakes);
                        } else if !repeated.mark(attribute.code) {
                            // RFC 7606 §3 g: all but the first are discarded. Said once per code.
                            let what = "given more than once, the first counts";
                            mistakes.add(AttributeError::new(
                                attribute.code,
                                what,
                                AttributeDiscard,
                                subcode::MALFORMED_LIST,
                                &[],
                            ));
                        }
                    }
                    Err(Truncated { code, rest }) => {
                        // RFC 7606 §4.
                        let what = "runs past the end of the attributes";
                        let code = code.unwrap_or_default();
                        mistakes.add(AttributeError::new(code, what, TreatAsWithdraw, subcode::MALFORMED_LIST, rest));
                        break;
                    }
                }
            }
        }
        let mut attributes = draft.finish();
        if let Some(octets) = next_hop {
            attributes.next_hop = parse_next_hop(octets);
            if attributes.next_hop.is_none() {
                // RFC 7606 §7.11: the NLRI stand behind the next hop and cannot be located.
                let what = "next hop of a length that EVPN does not have";
                mistakes.add(AttributeError::new(code::MP_REACH_NLRI, what, SessionReset, subcode::OPTIONAL, octets));
            }
            // RFC 7606 §3 d.
            for row in ROWS.iter().filter(|row| row.category == Category::WellKnownMandatory) {
                if !seen.mark(row.code) {
                    let what = "missing, though mandatory";
                    mistakes.add(AttributeError::new(row.code, what, TreatAsWithdraw, subcode::MISSING_WELL_KNOWN, &[row.code]));
                }
            }
        }
        match mistakes.worst {
            Some(worst) => Err(worst),
            None => Ok((attributes, mistakes.discards)),
        }
    }

    /// Appends every attribute except MP_REACH/MP_UNREACH, in order of codes (after the MP ones, see `update`).
    /// `four_octet_as = false` writes AS_TRANS and adds AS4_PATH (RFC 6793 §4.2.2). What an external peer may hear is not
    /// decided here: whatever is set is written.
    pub fn emit(&self, out: &mut Vec<u8>, context: &UpdateContext) {
        let mut unknown = self.unknown.iter().filter(|attribute| !attribute.is_recognized()).peekable();
        for row in &ROWS {
            while let Some(attribute) = unknown.next_if(|attribute| attribute.code < row.code) {
                attribute.emit_onward(out);
            }
            (row.emit)(row, self, context, out);
        }
        unknown.for_each(|attribute| attribute.emit_onward(out));
    }
}

impl UnknownAttribute {
    /// RFC 4271 §5: an unrecognized optional attribute is passed on, with the partial bit, if it is transitive, else it is not.
    fn emit_onward(&self, out: &mut Vec<u8>) {
        if self.flags & flags::TRANSITIVE != 0 {
            emit_attribute(out, self.flags | flags::PARTIAL, self.code, |out| out.extend_from_slice(&self.value));
        }
    }
}

/// One attribute into the draft, by its row.
fn read(draft: &mut Draft, attribute: &RawAttribute<'_>, context: &UpdateContext, mistakes: &mut Mistakes) {
    let RawAttribute { flags, code, value, whole } = *attribute;
    let Some(row) = Row::of(code) else {
        if flags & flags::OPTIONAL == 0 {
            // RFC 4271 §6.3; RFC 7606 leaves this one as it is.
            let what = "well-known, but not to us";
            mistakes.add(AttributeError::new(code, what, SessionReset, subcode::UNRECOGNIZED_WELL_KNOWN, whole));
        } else {
            draft.keep(flags, code, value);
        }
        return;
    };
    let mut fail = |what, disposition, subcode| mistakes.add(AttributeError::new(code, what, disposition, subcode, whole));
    match row.source {
        Source::Internal if context.external => return fail("from an external peer", AttributeDiscard, subcode::OPTIONAL),
        Source::TwoOctetAs if context.four_octet_as => {
            return fail("from a peer of 4-octet AS numbers", AttributeDiscard, subcode::OPTIONAL);
        }
        _ => {}
    }
    if row.flags_conflict(flags) {
        return fail("wrong optional or transitive flag", row.malformed, subcode::FLAGS);
    }
    if value.is_empty() && !row.may_be_empty {
        return fail("empty", row.malformed, subcode::LENGTH);
    }
    if let Err(fault) = (row.parse)(draft, flags, value, context) {
        fail(fault.what, row.malformed, fault.subcode);
    }
}

/// The next hop of EVPN: 4 or 16 octets, or 32 of which the first 16 are the global address (RFC 2545 §3).
pub(super) fn parse_next_hop(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 | 32 => octets.first_chunk::<16>().copied().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Asn;
    use crate::wire::as_path::AsPath;
    use crate::wire::attribute::TABLE;

    const WIDE: UpdateContext = UpdateContext { four_octet_as: true, external: false };
    const NARROW: UpdateContext = UpdateContext { four_octet_as: false, external: false };

    fn parse(block: &[u8], context: &UpdateContext) -> Result<(Attributes, Vec<AttributeError>), AttributeError> {
        Attributes::parse(&RawAttributes { pieces: [block, &[], &[]] }, None, context)
    }

    fn emitted(attributes: &Attributes, context: &UpdateContext) -> Vec<u8> {
        let mut out = Vec::new();
        attributes.emit(&mut out, context);
        out
    }

    #[test]
    fn the_table_is_in_order_and_indexed() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        for code in 0..=255 {
            assert_eq!(Row::of(code).map(|row| row.code), TABLE.iter().find(|row| row.code == code).map(|row| row.code));
        }
        assert!(TABLE.len() <= 32, "`Attributes::partial` has a bit per row");
    }

    #[test]
    fn unknown_attributes_survive_in_order() {
        let block = [0xc0, 200, 1, 7, 0x80, 201, 0, 0xc0, 20, 2, 1, 2, 0xe0, 255, 0, 0xd0, 30, 0, 1, 9];
        let (attributes, mistakes) = parse(&block, &WIDE).unwrap();
        assert_eq!(mistakes, []);
        let found: Vec<_> = attributes.unknown.iter().map(|a| (a.code, a.flags, a.value.as_slice())).collect();
        assert_eq!(found, [(20, 0xc0, &[1, 2][..]), (30, 0xc0, &[9]), (200, 0xc0, &[7]), (201, 0x80, &[]), (255, 0xe0, &[])]);
        // ORIGIN and AS_PATH are always written; 201 is not transitive; the others get the partial bit.
        let wanted =
            [&[0x40, 1, 1, 0, 0x40, 2, 0][..], &[0xe0, 20, 2, 1, 2, 0xe0, 30, 1, 9, 0xe0, 200, 1, 7, 0xe0, 255, 0]].concat();
        assert_eq!(emitted(&attributes, &WIDE), wanted);
    }

    #[test]
    fn the_partial_bit_is_not_cleared() {
        let block = [0xe0, 8, 4, 0, 0, 0, 1, 0xc0, 16, 8, 3, 12, 0, 0, 0, 0, 0, 8];
        let (attributes, _) = parse(&block, &WIDE).unwrap();
        assert_eq!(emitted(&attributes, &WIDE)[7..], block);
    }

    #[test]
    fn a_path_for_a_two_octet_peer() {
        let path = AsPath::sequence(&[Asn(65000), Asn(4_200_000_000)]);
        let attributes = Attributes { as_path: path.clone(), ..Attributes::default() };
        let block = emitted(&attributes, &NARROW);
        let as4 = [0xc0, 17, 10, 2, 2, 0, 0, 0xfd, 0xe8, 0xfa, 0x56, 0xea, 0];
        assert_eq!(block[4..], [&[0x40, 2, 6, 2, 2, 0xfd, 0xe8, 0x5b, 0xa0][..], &as4].concat());
        assert_eq!(parse(&block, &NARROW).unwrap().0.as_path, path);
        // From a peer of 4-octet numbers AS4_PATH is discarded (RFC 6793 §4.1).
        let wide = [&[0x40, 2, 0][..], &as4].concat();
        let (attributes, mistakes) = parse(&wide, &WIDE).unwrap();
        assert_eq!((attributes.as_path.is_empty(), mistakes.len(), mistakes[0].code), (true, 1, code::AS4_PATH));
        // Where all fit 2 octets there is none.
        let small = Attributes { as_path: AsPath::sequence(&[Asn(1)]), ..Attributes::default() };
        assert_eq!(emitted(&small, &NARROW).len(), 4 + 7);
    }

    #[test]
    fn the_aggregator_fits_every_peer() {
        let wide = [0xc0, 7, 8, 0xfa, 0x56, 0xea, 0, 10, 0, 0, 1];
        let (attributes, _) = parse(&wide, &WIDE).unwrap();
        assert_eq!(emitted(&attributes, &WIDE)[7..], wide);
        let narrow = [0xc0, 7, 6, 0x5b, 0xa0, 10, 0, 0, 1, 0xc0, 18, 8, 0xfa, 0x56, 0xea, 0, 10, 0, 0, 1];
        assert_eq!(emitted(&attributes, &NARROW)[7..], narrow);
        assert_eq!(parse(&narrow, &NARROW).unwrap().0, attributes);
        // RFC 6793 §4.2.3: an AGGREGATOR that is not AS_TRANS was put there by a speaker who knew of neither AS4 attribute.
        let stale = [0x40, 2, 4, 2, 1, 0x5b, 0xa0, 0xc0, 7, 6, 0, 9, 10, 0, 0, 2];
        let as4 = [0xc0, 17, 6, 2, 1, 0, 1, 0, 0, 0xc0, 18, 8, 0xfa, 0x56, 0xea, 0, 10, 0, 0, 1];
        let (attributes, _) = parse(&[&stale[..], &as4].concat(), &NARROW).unwrap();
        assert_eq!(attributes.as_path.to_string(), "23456");
        assert_eq!(attributes.unknown[0].value, [0, 0, 0, 9, 10, 0, 0, 2]);
    }

    #[test]
    fn the_worst_mistake_counts() {
        // MED of 3 octets (treat-as-withdraw), unknown well-known (reset), AGGREGATOR of 1 octet (discard).
        let block = [0x80, 4, 3, 0, 0, 0, 0x40, 99, 0, 0xc0, 7, 1, 0];
        let error = parse(&block, &WIDE).unwrap_err();
        assert_eq!((error.code, error.disposition, error.notification.subcode), (99, SessionReset, 2));
        assert_eq!(error.notification.data, [0x40, 99, 0]);
        let error = parse(&block[..6], &WIDE).unwrap_err();
        assert_eq!(error.to_string(), "MULTI_EXIT_DISC: wrong length, treated as withdraw");
        assert_eq!((error.notification.code, error.notification.subcode, error.notification.data.len()), (3, 5, 6));
        let (_, mistakes) = parse(&block[9..], &WIDE).unwrap();
        assert_eq!(mistakes[0].to_string(), "AGGREGATOR: wrong length, attribute discarded");
    }

    #[test]
    fn next_hops() {
        assert_eq!(parse_next_hop(&[10, 0, 0, 1]).unwrap().to_string(), "10.0.0.1");
        let global: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
        let both = [global.octets(), [0xfe; 16]].concat();
        assert_eq!(parse_next_hop(&both[..16]), Some(IpAddr::V6(global)));
        assert_eq!(parse_next_hop(&both), Some(IpAddr::V6(global)));
        for length in [0, 1, 3, 5, 8, 12, 15, 17, 24, 31] {
            assert_eq!(parse_next_hop(&both[..length]), None, "{length}");
        }
    }

    #[test]
    fn long_values_take_a_long_length() {
        for count in [63, 64, 1000] {
            let attributes = Attributes { communities: (0..count).collect(), ..Attributes::default() };
            let block = emitted(&attributes, &WIDE);
            assert_eq!(block[7], if count > 63 { 0xd0 } else { 0xc0 });
            assert_eq!(parse(&block, &WIDE).unwrap().0, attributes);
        }
    }

    #[test]
    fn equal_large_communities_are_dropped() {
        let one = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        let block = [&[0xc0, 32, 36][..], &one, &[9; 12], &one].concat();
        assert_eq!(parse(&block, &WIDE).unwrap().0.large_communities, [[1, 2, 3], [0x0909_0909; 3]]);
    }

    #[test]
    fn what_evpn_asks_of_its_communities() {
        use crate::wire::ext_community::ExtCommunity;
        let target = "65000:100".parse().unwrap();
        let attributes = Attributes {
            ext_communities: vec![
                ExtCommunity::encapsulation(7),
                ExtCommunity::route_target(target),
                ExtCommunity::vxlan(),
                ExtCommunity::mac_mobility(false, 9),
                ExtCommunity::mac_mobility(true, 3),
            ],
            ..Attributes::default()
        };
        assert_eq!(attributes.route_targets().collect::<Vec<_>>(), [target]);
        assert_eq!((attributes.encapsulation(), attributes.has_encapsulation(8)), (Some(7), true));
        assert_eq!(attributes.mac_mobility(), Some((true, 9)));
        assert_eq!(Attributes::default().mac_mobility(), None);
    }
}
