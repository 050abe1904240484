//! Path attributes: THE TABLE of codes, flags, parsers, emitters and RFC 7606 treatments.

use super::as_path::AsPath;
use super::ext_community::ExtCommunity;
use super::notification::Notification;
use super::pmsi::PmsiTunnel;
use crate::base::BgpIdentifier;
use std::net::IpAddr;

/// What an error in an UPDATE costs, from mild to severe (RFC 7606 §2). `Ord` is severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// The attribute is dropped, the routes stay.
    AttributeDiscard,
    /// The routes of the UPDATE are withdrawn.
    TreatAsWithdraw,
    /// The address family is ignored for the rest of the session.
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
    /// Attributes not in the table, in the order of their codes. Optional transitive ones are passed on with the
    /// partial bit (RFC 4271 §5).
    pub unknown: Vec<UnknownAttribute>,
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
    /// The flags octet.
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
