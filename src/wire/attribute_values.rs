//! Readers and writers of the values of path attributes: one pair per row of [`super::attribute::TABLE`], nothing else calls them.

use super::as_path::AsPath;
use super::attribute::{Attributes, Fault, Origin, Row, UnknownAttribute, code, flags, subcode};
use super::attribute_block::emit_attribute;
use super::ext_community::ExtCommunity;
use super::pmsi::PmsiTunnel;
use super::update::UpdateContext;
use crate::base::{Asn, BgpIdentifier};

/// Attributes in the making: what RFC 6793 joins at the end is apart.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) attributes: Attributes,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<[u8; 8]>,
}

impl Draft {
    /// Keeps an attribute whose value is not looked into. Codes come at most once.
    pub(super) fn keep(&mut self, flags: u8, code: u8, value: &[u8]) {
        let unknown = &mut self.attributes.unknown;
        let place = unknown.partition_point(|other| other.code < code);
        let flags = flags & (flags::OPTIONAL | flags::TRANSITIVE | flags::PARTIAL);
        unknown.insert(place, UnknownAttribute { flags, code, value: value.to_vec() });
    }

    /// Notes the partial bit of an attribute that is not kept with its flags.
    fn note_partial(&mut self, flags: u8, code: u8) {
        if flags & flags::PARTIAL != 0 {
            self.attributes.partial |= Row::partial_bit(code);
        }
    }

    /// Joins what a 2-octet peer sent in two attributes (RFC 6793 §4.2.3).
    pub(super) fn finish(mut self) -> Attributes {
        let aggregator = self.attributes.unknown.iter_mut().find(|attribute| attribute.code == code::AGGREGATOR);
        let mut believed = true;
        if let (Some(aggregator), Some(as4_aggregator)) = (aggregator, self.as4_aggregator) {
            // An AGGREGATOR by a speaker that does not know of AS4_PATH: both AS4 attributes are stale.
            believed = aggregator.value.first_chunk() == Some(&Asn::TRANS.0.to_be_bytes());
            if believed {
                aggregator.value = as4_aggregator.to_vec();
            }
        }
        if let (true, Some(as4_path)) = (believed, self.as4_path) {
            self.attributes.as_path = std::mem::take(&mut self.attributes.as_path).merge_as4(&as4_path);
        }
        self.attributes
    }
}

type Read = Result<(), Fault>;

const fn wrong_length(what: &'static str) -> Fault {
    Fault { what, subcode: subcode::LENGTH }
}

/// The value as N octets.
fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Fault> {
    value.try_into().map_err(|_| wrong_length("wrong length"))
}

/// The value as a list of N octets each.
fn list<const N: usize>(value: &[u8]) -> Result<&[[u8; N]], Fault> {
    match value.as_chunks() {
        (items, []) => Ok(items),
        _ => Err(wrong_length("length is not a multiple of an item's")),
    }
}

/// Appends one attribute with the flags of its row, and the partial bit if it came with it.
fn emit(row: &Row, attributes: &Attributes, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    let partial = if attributes.partial & Row::partial_bit(row.code) != 0 { flags::PARTIAL } else { 0 };
    emit_attribute(out, row.category.flags() | partial, row.code, value);
}

pub(super) fn ignore(_: &mut Draft, _: u8, _: &[u8], _: &UpdateContext) -> Read {
    Ok(())
}

pub(super) fn emit_nothing(_: &Row, _: &Attributes, _: &UpdateContext, _: &mut Vec<u8>) {}

pub(super) fn origin(draft: &mut Draft, _: u8, value: &[u8], _: &UpdateContext) -> Read {
    draft.attributes.origin = match fixed(value)? {
        [0] => Origin::Igp,
        [1] => Origin::Egp,
        [2] => Origin::Incomplete,
        _ => return Err(Fault { what: "not 0, 1 or 2", subcode: subcode::INVALID_ORIGIN }),
    };
    Ok(())
}

pub(super) fn emit_origin(row: &Row, attributes: &Attributes, _: &UpdateContext, out: &mut Vec<u8>) {
    let number = match attributes.origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    };
    emit(row, attributes, out, |out| out.push(number));
}

pub(super) fn as_path(draft: &mut Draft, _: u8, value: &[u8], context: &UpdateContext) -> Read {
    let fault = |what| Fault { what, subcode: subcode::MALFORMED_AS_PATH };
    let path = AsPath::parse(value, context.four_octet_as).map_err(fault)?;
    // RFC 5065 §5: a confederation's segments must not come from outside it, and no peer of another AS is inside ours.
    if context.external && path.has_confederation() {
        return Err(fault("confederation segment from an external peer"));
    }
    draft.attributes.as_path = path;
    Ok(())
}

pub(super) fn emit_as_path(row: &Row, attributes: &Attributes, context: &UpdateContext, out: &mut Vec<u8>) {
    emit(row, attributes, out, |out| attributes.as_path.emit(out, context.four_octet_as));
}

pub(super) fn as4_path(draft: &mut Draft, _: u8, value: &[u8], _: &UpdateContext) -> Read {
    let fault = |what| Fault { what, subcode: subcode::OPTIONAL };
    draft.as4_path = Some(AsPath::parse(value, true).map_err(fault)?);
    Ok(())
}

pub(super) fn emit_as4_path(row: &Row, attributes: &Attributes, context: &UpdateContext, out: &mut Vec<u8>) {
    if context.four_octet_as || attributes.as_path.fits_two_octets() {
        return;
    }
    let path = attributes.as_path.without_confederation();
    // RFC 6793 §4.2.2: not where only the confederation's part needs 4 octets.
    if !path.fits_two_octets() {
        emit(row, attributes, out, |out| path.emit(out, true));
    }
}

pub(super) fn next_hop(_: &mut Draft, _: u8, value: &[u8], _: &UpdateContext) -> Read {
    fixed::<4>(value).map(|_| ())
}

pub(super) fn med(draft: &mut Draft, _: u8, value: &[u8], _: &UpdateContext) -> Read {
    draft.attributes.med = Some(u32::from_be_bytes(fixed(value)?));
    Ok(())
}

pub(super) fn emit_med(row: &Row, attributes: &Attributes, _: &UpdateContext, out: &mut Vec<u8>) {
    if let Some(med) = attributes.med {
        emit(row, attributes, out, |out| out.extend_from_slice(&med.to_be_bytes()));
    }
}

pub(super) fn local_pref(draft: &mut Draft, _: u8, value: &[u8], _: &UpdateContext) -> Read {
    draft.attributes.local_pref = Some(u32::from_be_bytes(fixed(value)?));
    Ok(())
}

pub(super) fn emit_local_pref(row: &Row, attributes: &Attributes, _: &UpdateContext, out: &mut Vec<u8>) {
    if let Some(local_pref) = attributes.local_pref {
        emit(row, attributes, out, |out| out.extend_from_slice(&local_pref.to_be_bytes()));
    }
}

/// Writes an attribute of the table that is kept as it came.
pub(super) fn emit_kept(row: &Row, attributes: &Attributes, _: &UpdateContext, out: &mut Vec<u8>) {
    if let Some(kept) = attributes.unknown.iter().find(|kept| kept.code == row.code) {
        emit_attribute(out, kept.flags, kept.code, |out| out.extend_from_slice(&kept.value));
    }
}

pub(super) fn atomic(draft: &mut Draft, flags: u8, value: &[u8], _: &UpdateContext) -> Read {
    let [] = fixed(value)?;
    draft.keep(flags & !flags::PARTIAL, code::ATOMIC_AGGREGATE, value);
    Ok(())
}

/// AGGREGATOR is kept with an AS of 4 octets whoever sent it, so that it can go to any peer.
pub(super) fn aggregator(draft: &mut Draft, flags: u8, value: &[u8], context: &UpdateContext) -> Read {
    let mut wide = [0; 8];
    if context.four_octet_as {
        wide = fixed::<8>(value)?;
    } else {
        wide[2..].copy_from_slice(&fixed::<6>(value)?);
    }
    if wide[..4] == [0; 4] {
        return Err(Fault { what: "AS number 0", subcode: subcode::OPTIONAL });
    }
    draft.keep(flags, code::AGGREGATOR, &wide);
    Ok(())
}

/// Flags and value of the AGGREGATOR kept.
fn kept_aggregator(attributes: &Attributes) -> Option<(u8, [u8; 8])> {
    let kept = attributes.unknown.iter().find(|kept| kept.code == code::AGGREGATOR)?;
    Some((kept.flags, kept.value.as_slice().try_into().ok()?))
}

pub(super) fn emit_aggregator(row: &Row, attributes: &Attributes, context: &UpdateContext, out: &mut Vec<u8>) {
    let Some((flags, [a, b, c, d, address @ ..])) = kept_aggregator(attributes) else {
        return;
    };
    emit_attribute(out, flags, row.code, |out| {
        if context.four_octet_as {
            out.extend_from_slice(&[a, b, c, d]);
        } else {
            out.extend_from_slice(&Asn(u32::from_be_bytes([a, b, c, d])).in_two_octets().to_be_bytes());
        }
        out.extend_from_slice(&address);
    });
}

pub(super) fn as4_aggregator(draft: &mut Draft, _: u8, value: &[u8], _: &UpdateContext) -> Read {
    let wide = fixed::<8>(value)?;
    if wide[..4] == [0; 4] {
        return Err(Fault { what: "AS number 0", subcode: subcode::OPTIONAL });
    }
    draft.as4_aggregator = Some(wide);
    Ok(())
}

pub(super) fn emit_as4_aggregator(row: &Row, attributes: &Attributes, context: &UpdateContext, out: &mut Vec<u8>) {
    match kept_aggregator(attributes) {
        Some((flags, wide)) if !context.four_octet_as && wide[..2] != [0, 0] => {
            emit_attribute(out, flags, row.code, |out| out.extend_from_slice(&wide));
        }
        _ => {}
    }
}

pub(super) fn communities(draft: &mut Draft, flags: u8, value: &[u8], _: &UpdateContext) -> Read {
    draft.note_partial(flags, code::COMMUNITIES);
    draft.attributes.communities = list(value)?.iter().map(|octets| u32::from_be_bytes(*octets)).collect();
    Ok(())
}

pub(super) fn emit_communities(row: &Row, attributes: &Attributes, _: &UpdateContext, out: &mut Vec<u8>) {
    if !attributes.communities.is_empty() {
        emit(row, attributes, out, |out| {
            attributes.communities.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()))
        });
    }
}

pub(super) fn originator_id(draft: &mut Draft, _: u8, value: &[u8], _: &UpdateContext) -> Read {
    draft.attributes.originator_id = Some(BgpIdentifier(fixed::<4>(value)?.into()));
    Ok(())
}

pub(super) fn emit_originator_id(row: &Row, attributes: &Attributes, _: &UpdateContext, out: &mut Vec<u8>) {
    if let Some(identifier) = attributes.originator_id {
        emit(row, attributes, out, |out| out.extend_from_slice(&identifier.0.octets()));
    }
}

pub(super) fn cluster_list(draft: &mut Draft, _: u8, value: &[u8], _: &UpdateContext) -> Read {
    draft.attributes.cluster_list = list::<4>(value)?.iter().map(|octets| BgpIdentifier((*octets).into())).collect();
    Ok(())
}

pub(super) fn emit_cluster_list(row: &Row, attributes: &Attributes, _: &UpdateContext, out: &mut Vec<u8>) {
    if !attributes.cluster_list.is_empty() {
        emit(row, attributes, out, |out| attributes.cluster_list.iter().for_each(|id| out.extend_from_slice(&id.0.octets())));
    }
}

pub(super) fn ext_communities(draft: &mut Draft, flags: u8, value: &[u8], _: &UpdateContext) -> Read {
    draft.note_partial(flags, code::EXTENDED_COMMUNITIES);
    draft.attributes.ext_communities = list(value)?.iter().map(|octets| ExtCommunity(*octets)).collect();
    Ok(())
}

pub(super) fn emit_ext_communities(row: &Row, attributes: &Attributes, _: &UpdateContext, out: &mut Vec<u8>) {
    if !attributes.ext_communities.is_empty() {
        emit(row, attributes, out, |out| {
            attributes.ext_communities.iter().for_each(|community| out.extend_from_slice(&community.0))
        });
    }
}

pub(super) fn pmsi(draft: &mut Draft, flags: u8, value: &[u8], _: &UpdateContext) -> Read {
    draft.note_partial(flags, code::PMSI_TUNNEL);
    draft.attributes.pmsi = Some(PmsiTunnel::parse(value).map_err(|what| Fault { what, subcode: subcode::OPTIONAL })?);
    Ok(())
}

pub(super) fn emit_pmsi(row: &Row, attributes: &Attributes, _: &UpdateContext, out: &mut Vec<u8>) {
    if let Some(pmsi) = &attributes.pmsi {
        emit(row, attributes, out, |out| pmsi.emit(out));
    }
}

pub(super) fn ipv6_ext_communities(draft: &mut Draft, flags: u8, value: &[u8], _: &UpdateContext) -> Read {
    list::<20>(value)?;
    draft.keep(flags, code::IPV6_EXTENDED_COMMUNITIES, value);
    Ok(())
}

/// RFC 8092 §5: of equal ones all but the first are dropped.
pub(super) fn large_communities(draft: &mut Draft, flags: u8, value: &[u8], _: &UpdateContext) -> Read {
    draft.note_partial(flags, code::LARGE_COMMUNITY);
    let mut seen = std::collections::BTreeSet::new();
    for octets in list::<12>(value)? {
        let mut numbers = [0; 3];
        for (number, octets) in numbers.iter_mut().zip(octets.as_chunks().0) {
            *number = u32::from_be_bytes(*octets);
        }
        if seen.insert(numbers) {
            draft.attributes.large_communities.push(numbers);
        }
    }
    Ok(())
}

pub(super) fn emit_large_communities(row: &Row, attributes: &Attributes, _: &UpdateContext, out: &mut Vec<u8>) {
    if !attributes.large_communities.is_empty() {
        emit(row, attributes, out, |out| {
            attributes.large_communities.iter().flatten().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
        });
    }
}

pub(super) fn only_to_customer(draft: &mut Draft, flags: u8, value: &[u8], _: &UpdateContext) -> Read {
    draft.keep(flags, code::ONLY_TO_CUSTOMER, &fixed::<4>(value)?);
    Ok(())
}
