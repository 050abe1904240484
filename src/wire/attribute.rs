//! Path attributes: [`TABLE`] of codes, flags, readers, writers and RFC 7606 treatments, and the values they are read into.
//!
//! One row says all there is to say about one attribute; reading and writing look nowhere else. The engines that walk the table
//! are in `attribute_block`, the readers and writers of the values in `attribute_values`. Read `update` first: it says where the
//! octets come from.

use std::fmt;
use std::net::IpAddr;

use super::as_path::AsPath;
use super::attribute_values::{self as values, Draft};
use super::ext_community::{ExtCommunity, ExtCommunityKind, RouteTarget};
use super::notification::{self, Notification};
use super::pmsi::PmsiTunnel;
use super::update::UpdateContext;
use crate::base::BgpIdentifier;

/// The bits of the flags octet (RFC 4271 §4.3).
pub mod flags {
    /// Optional, else well-known.
    pub const OPTIONAL: u8 = 0x80;
    /// Passed on by speakers that do not know it.
    pub const TRANSITIVE: u8 = 0x40;
    /// Some speaker on the way did not know it.
    pub const PARTIAL: u8 = 0x20;
    /// The length has two octets.
    pub const EXTENDED_LENGTH: u8 = 0x10;
}

/// Type codes (IANA, BGP path attributes).
pub mod code {
    /// RFC 4271 §5.1.1
    pub const ORIGIN: u8 = 1;
    /// RFC 4271 §5.1.2
    pub const AS_PATH: u8 = 2;
    /// RFC 4271 §5.1.3
    pub const NEXT_HOP: u8 = 3;
    /// RFC 4271 §5.1.4
    pub const MULTI_EXIT_DISC: u8 = 4;
    /// RFC 4271 §5.1.5
    pub const LOCAL_PREF: u8 = 5;
    /// RFC 4271 §5.1.6
    pub const ATOMIC_AGGREGATE: u8 = 6;
    /// RFC 4271 §5.1.7
    pub const AGGREGATOR: u8 = 7;
    /// RFC 1997
    pub const COMMUNITIES: u8 = 8;
    /// RFC 4456 §8
    pub const ORIGINATOR_ID: u8 = 9;
    /// RFC 4456 §8
    pub const CLUSTER_LIST: u8 = 10;
    /// RFC 4760 §3
    pub const MP_REACH_NLRI: u8 = 14;
    /// RFC 4760 §4
    pub const MP_UNREACH_NLRI: u8 = 15;
    /// RFC 4360
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    /// RFC 6793
    pub const AS4_PATH: u8 = 17;
    /// RFC 6793
    pub const AS4_AGGREGATOR: u8 = 18;
    /// RFC 6514 §5
    pub const PMSI_TUNNEL: u8 = 22;
    /// RFC 5701
    pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    /// RFC 8092
    pub const LARGE_COMMUNITY: u8 = 32;
    /// RFC 9234 §5
    pub const ONLY_TO_CUSTOMER: u8 = 35;
}

/// What an error in an UPDATE costs, from mild to severe (RFC 7606 §2). `Ord` is severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// The attribute is dropped, the routes stay.
    AttributeDiscard,
    /// The routes of the UPDATE are withdrawn.
    TreatAsWithdraw,
    /// The address family is ignored for the rest of the session. No attribute of ours costs that: a session carries one family, so
    /// that it comes to the same as a reset, and less is said of it.
    AfiSafiDisable,
    /// The session is reset with a NOTIFICATION.
    SessionReset,
}

/// The parsed path attributes of one UPDATE, without its NLRI. The next hop of MP_REACH_NLRI is here, because it is
/// part of what makes two blocks equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Attributes {
    /// ORIGIN (1): 0 IGP, 1 EGP, 2 INCOMPLETE. Mandatory; defaults to IGP in `Default`.
    pub origin: Origin,
    /// AS_PATH (2).
    pub as_path: AsPath,
    /// Next hop of MP_REACH_NLRI (14): the VTEP of an EVPN route.
    pub next_hop: Option<IpAddr>,
    /// MULTI_EXIT_DISC (4).
    pub med: Option<u32>,
    /// LOCAL_PREF (5).
    pub local_pref: Option<u32>,
    /// COMMUNITIES (8), as they came.
    pub communities: Vec<u32>,
    /// ORIGINATOR_ID (9).
    pub originator_id: Option<BgpIdentifier>,
    /// CLUSTER_LIST (10), nearest cluster first.
    pub cluster_list: Vec<BgpIdentifier>,
    /// EXTENDED COMMUNITIES (16), in the order they came.
    pub ext_communities: Vec<ExtCommunity>,
    /// PMSI_TUNNEL (22).
    pub pmsi: Option<PmsiTunnel>,
    /// LARGE_COMMUNITY (32).
    pub large_communities: Vec<[u32; 3]>,
    /// Attributes whose value this speaker does not look into, in the order of their codes: those not in [`TABLE`], and of those
    /// in it ATOMIC_AGGREGATE, AGGREGATOR (always with a 4-octet AS), IPv6 extended communities and ONLY_TO_CUSTOMER.
    /// Those not in the table are passed on with the partial bit where they are transitive, else not at all (RFC 4271 §5).
    pub unknown: Vec<UnknownAttribute>,
    /// Which of the attributes above came with the partial bit, which nobody may clear (RFC 4271 §5): bit n is row n of [`TABLE`].
    pub partial: u32,
}

/// ORIGIN (RFC 4271 §5.1.1). `Ord`: lower is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Origin {
    /// 0
    #[default]
    Igp,
    /// 1
    Egp,
    /// 2
    Incomplete,
}

/// An attribute kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnknownAttribute {
    /// The flags octet: optional, transitive and partial; the other bits say nothing about the attribute and are 0.
    pub flags: u8,
    /// The type code.
    pub code: u8,
    /// The value.
    pub value: Vec<u8>,
}

/// A mistake in one attribute: which, what, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeError {
    /// Attribute type code; for a missing well-known attribute its code.
    pub code: u8,
    /// What is wrong, in words.
    pub what: &'static str,
    /// What it costs.
    pub disposition: Disposition,
    /// What to send when the disposition is a session reset (also filled otherwise, for logs).
    pub notification: Notification,
}

/// Well-known or optional, and how far it goes (RFC 4271 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// In every UPDATE with routes.
    WellKnownMandatory,
    /// Known to all, not always there.
    WellKnownDiscretionary,
    /// Passed on by those who do not know it.
    OptionalTransitive,
    /// Not passed on by those who do not know it.
    OptionalNonTransitive,
}

impl Category {
    /// The optional and transitive bits that go with it.
    pub const fn flags(self) -> u8 {
        match self {
            Self::WellKnownMandatory | Self::WellKnownDiscretionary => flags::TRANSITIVE,
            Self::OptionalTransitive => flags::OPTIONAL | flags::TRANSITIVE,
            Self::OptionalNonTransitive => flags::OPTIONAL,
        }
    }
}

/// From whom an attribute is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From every peer.
    Any,
    /// From internal peers; from external ones it is discarded unread (RFC 7606 §7.5, §7.9, §7.10).
    Internal,
    /// From peers of 2-octet AS numbers; from others it is discarded unread (RFC 6793 §4.1).
    TwoOctetAs,
}

/// One attribute: all there is to know about it.
pub struct Row {
    /// Type code.
    pub code: u8,
    /// Its name in the RFC.
    pub name: &'static str,
    /// Well-known or optional, transitive or not.
    pub category: Category,
    /// Whether a length of zero may be right (RFC 7606 §4).
    pub may_be_empty: bool,
    /// From whom it is believed.
    pub source: Source,
    /// What a malformed one costs (RFC 7606 §7 and the attribute's own RFC); wrong flags too (RFC 7606 §3 c).
    pub malformed: Disposition,
    /// Reads the value into the draft.
    pub(super) parse: fn(&mut Draft, u8, &[u8], &UpdateContext) -> Result<(), Fault>,
    /// Appends the whole attribute, where there is one.
    pub(super) emit: fn(&Row, &Attributes, &UpdateContext, &mut Vec<u8>),
}

/// Why a value is malformed: in words, and the UPDATE error subcode for a NOTIFICATION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: &'static str,
    pub(super) subcode: u8,
}

/// UPDATE error subcodes (RFC 4271 §6.3).
pub(super) mod subcode {
    pub(crate) const MALFORMED_LIST: u8 = 1;
    pub(crate) const UNRECOGNIZED_WELL_KNOWN: u8 = 2;
    pub(crate) const MISSING_WELL_KNOWN: u8 = 3;
    pub(crate) const FLAGS: u8 = 4;
    pub(crate) const LENGTH: u8 = 5;
    pub(crate) const INVALID_ORIGIN: u8 = 6;
    pub(crate) const OPTIONAL: u8 = 9;
    pub(crate) const INVALID_NETWORK: u8 = 10;
    pub(crate) const MALFORMED_AS_PATH: u8 = 11;
}

use Category::{OptionalNonTransitive, OptionalTransitive, WellKnownDiscretionary, WellKnownMandatory};
use Disposition::{AttributeDiscard, SessionReset, TreatAsWithdraw};

/// One line of the table.
macro_rules! row {
    ($code:ident, $category:expr, $empty:expr, $source:ident, $malformed:expr, $parse:expr, $emit:expr) => {
        Row {
            code: code::$code,
            name: stringify!($code),
            category: $category,
            may_be_empty: $empty,
            source: Source::$source,
            malformed: $malformed,
            parse: $parse,
            emit: $emit,
        }
    };
}

/// THE TABLE, in the order of codes, which is the order of emission.
#[rustfmt::skip]
pub const TABLE: [Row; 19] = [
    //   code                       category                empty  source      malformed         reader                 writer
    // RFC 7606 §7.1
    row!(ORIGIN,                    WellKnownMandatory,     false, Any,        TreatAsWithdraw,  values::origin,        values::emit_origin),
    // RFC 7606 §7.2, RFC 7607 §2 (AS 0)
    row!(AS_PATH,                   WellKnownMandatory,     true,  Any,        TreatAsWithdraw,  values::as_path,       values::emit_as_path),
    // RFC 7606 §7.3; RFC 4760 §3: an EVPN route's is in MP_REACH_NLRI, so a good one is ignored and none is sent
    row!(NEXT_HOP,                  WellKnownDiscretionary, false, Any,        TreatAsWithdraw,  values::next_hop,      values::emit_nothing),
    // RFC 7606 §7.4
    row!(MULTI_EXIT_DISC,           OptionalNonTransitive,  false, Any,        TreatAsWithdraw,  values::med,           values::emit_med),
    // RFC 7606 §7.5
    row!(LOCAL_PREF,                WellKnownDiscretionary, false, Internal,   TreatAsWithdraw,  values::local_pref,    values::emit_local_pref),
    // RFC 7606 §7.6, §3 f
    row!(ATOMIC_AGGREGATE,          WellKnownDiscretionary, true,  Any,        AttributeDiscard, values::atomic,        values::emit_kept),
    // RFC 7606 §7.7, §3 f; RFC 7607 §2
    row!(AGGREGATOR,                OptionalTransitive,     false, Any,        AttributeDiscard, values::aggregator,    values::emit_aggregator),
    // RFC 7606 §7.8
    row!(COMMUNITIES,               OptionalTransitive,     false, Any,        TreatAsWithdraw,  values::communities,   values::emit_communities),
    // RFC 7606 §7.9
    row!(ORIGINATOR_ID,             OptionalNonTransitive,  false, Internal,   TreatAsWithdraw,  values::originator_id, values::emit_originator_id),
    // RFC 7606 §7.10
    row!(CLUSTER_LIST,              OptionalNonTransitive,  false, Internal,   TreatAsWithdraw,  values::cluster_list,  values::emit_cluster_list),
    // RFC 7606 §5.3, §7.11: the view reads it, and none comes here
    row!(MP_REACH_NLRI,             OptionalNonTransitive,  false, Any,        SessionReset,     values::ignore,        values::emit_nothing),
    // RFC 7606 §5.3, §7.12: likewise
    row!(MP_UNREACH_NLRI,           OptionalNonTransitive,  false, Any,        SessionReset,     values::ignore,        values::emit_nothing),
    // RFC 7606 §7.14
    row!(EXTENDED_COMMUNITIES,      OptionalTransitive,     false, Any,        TreatAsWithdraw,  values::ext_communities, values::emit_ext_communities),
    // RFC 6793 §6
    row!(AS4_PATH,                  OptionalTransitive,     false, TwoOctetAs, AttributeDiscard, values::as4_path,      values::emit_as4_path),
    // RFC 6793 §6
    row!(AS4_AGGREGATOR,            OptionalTransitive,     false, TwoOctetAs, AttributeDiscard, values::as4_aggregator, values::emit_as4_aggregator),
    // RFC 6514 §5 (there for the partial bit), and so for all: RFC 7606 §3 e knows nothing milder that is safe
    row!(PMSI_TUNNEL,               OptionalTransitive,     false, Any,        TreatAsWithdraw,  values::pmsi,          values::emit_pmsi),
    // RFC 7606 §7.15
    row!(IPV6_EXTENDED_COMMUNITIES, OptionalTransitive,     false, Any,        TreatAsWithdraw,  values::ipv6_ext_communities, values::emit_kept),
    // RFC 8092 §6
    row!(LARGE_COMMUNITY,           OptionalTransitive,     false, Any,        TreatAsWithdraw,  values::large_communities, values::emit_large_communities),
    // RFC 9234 §5
    row!(ONLY_TO_CUSTOMER,          OptionalTransitive,     false, Any,        TreatAsWithdraw,  values::only_to_customer, values::emit_kept),
];

/// Row numbers by code; 255 where there is none.
const INDEX: [u8; 256] = {
    let mut index = [u8::MAX; 256];
    let mut row = 0;
    while row < TABLE.len() {
        index[TABLE[row].code as usize] = row as u8;
        row += 1;
    }
    index
};

/// The table where rows are borrowed from.
pub(super) static ROWS: [Row; 19] = TABLE;

impl Row {
    /// The row of a code, where it has one.
    pub fn of(code: u8) -> Option<&'static Self> {
        ROWS.get(usize::from(INDEX[usize::from(code)]))
    }

    /// The bit of `Attributes::partial` for a code.
    pub(super) fn partial_bit(code: u8) -> u32 {
        1u32.checked_shl(u32::from(INDEX[usize::from(code)])).unwrap_or(0)
    }

    /// Whether the optional and transitive bits are not those of the category (RFC 7606 §3 c). The partial bit and the lower
    /// four are no reason to complain.
    pub const fn flags_conflict(&self, flags: u8) -> bool {
        flags & (flags::OPTIONAL | flags::TRANSITIVE) != self.category.flags()
    }
}

impl AttributeError {
    pub(super) fn new(code: u8, what: &'static str, disposition: Disposition, subcode: u8, data: &[u8]) -> Self {
        let notification = Notification::new(notification::UPDATE_ERROR, subcode, data.to_vec());
        Self { code, what, disposition, notification }
    }
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Row::of(self.code) {
            Some(row) => write!(f, "{}: {}, {}", row.name, self.what, self.disposition),
            None => write!(f, "attribute {}: {}, {}", self.code, self.what, self.disposition),
        }
    }
}

impl std::error::Error for AttributeError {}

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AttributeDiscard => "attribute discarded",
            Self::TreatAsWithdraw => "treated as withdraw",
            Self::AfiSafiDisable => "address family disabled",
            Self::SessionReset => "session reset",
        })
    }
}

impl Attributes {
    /// Becomes what the next speaker reads of [`Attributes::emit`]: unrecognized attributes that are not transitive are gone,
    /// the others have the partial bit (RFC 4271 §5).
    pub fn pass_on(&mut self) {
        self.unknown.retain(|attribute| attribute.is_recognized() || attribute.flags & flags::TRANSITIVE != 0);
        self.unknown
            .iter_mut()
            .filter(|attribute| !attribute.is_recognized())
            .for_each(|attribute| attribute.flags |= flags::PARTIAL);
    }

    /// The route targets among the extended communities, in their order.
    pub fn route_targets(&self) -> impl Iterator<Item = RouteTarget> {
        self.ext_communities.iter().filter_map(|community| match community.kind() {
            ExtCommunityKind::RouteTarget(target) => Some(target),
            _ => None,
        })
    }

    /// Sticky flag and sequence number of MAC mobility (RFC 7432 §7.7). Where several are given the highest sequence counts, and
    /// sticky if any says so.
    pub fn mac_mobility(&self) -> Option<(bool, u32)> {
        let each = self.ext_communities.iter().filter_map(|community| match community.kind() {
            ExtCommunityKind::MacMobility { sticky, sequence } => Some((sticky, sequence)),
            _ => None,
        });
        each.reduce(|a, b| (a.0 || b.0, a.1.max(b.1)))
    }

    /// The flags of the ARP/ND community (RFC 9047 §2), those of all where several are given.
    pub fn arp_nd_flags(&self) -> Option<u8> {
        let each = self.ext_communities.iter().filter_map(|community| match community.kind() {
            ExtCommunityKind::ArpNd { flags } => Some(flags),
            _ => None,
        });
        each.reduce(|a, b| a | b)
    }

    /// The first encapsulation (RFC 9012 §4.1).
    pub fn encapsulation(&self) -> Option<u16> {
        self.encapsulations().next()
    }

    /// Whether an encapsulation is among those given.
    pub fn has_encapsulation(&self, tunnel_type: u16) -> bool {
        self.encapsulations().any(|found| found == tunnel_type)
    }

    /// All encapsulations, in their order.
    pub fn encapsulations(&self) -> impl Iterator<Item = u16> {
        self.ext_communities.iter().filter_map(|community| match community.kind() {
            ExtCommunityKind::Encapsulation(tunnel_type) => Some(tunnel_type),
            _ => None,
        })
    }
}

impl UnknownAttribute {
    /// Whether this speaker knows the code, though not the value.
    pub(super) fn is_recognized(&self) -> bool {
        Row::of(self.code).is_some()
    }
}
