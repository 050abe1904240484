//! What happens, one event at a time: the same value is a line of the log, a line of `evpnctl monitor` and a JSON object
//! for programs. `Display` is one line that tells the whole story; `level` says who needs to read it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::place::{Level, Place};
use crate::base::{Asn, MacAddr, Vni};

/// One event with its time, as `monitor` sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorLine {
    /// Wall clock, milliseconds since 1970-01-01 UTC.
    pub unix_millis: u64,
    /// Who needs to read it.
    pub level: Level,
    /// The event in words.
    pub message: String,
    /// The event for programs: its keys stand beside the others.
    #[serde(flatten)]
    pub event: Event,
}

impl MonitorLine {
    /// The line for `event`, which happened at `unix_millis`.
    pub fn new(unix_millis: u64, event: Event) -> Self {
        Self { unix_millis, level: event.level(), message: event.to_string(), event }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The daemon began.
    Started {
        /// Its version.
        version: String,
        /// Own AS.
        asn: Asn,
        /// Own tunnel address.
        vtep: Option<IpAddr>,
    },
    /// The daemon ends: why, in words (SIGTERM, drained, an error).
    Stopping {
        /// In words.
        reason: String,
    },
    /// A session reached Established.
    SessionUp {
        /// The neighbor.
        neighbor: IpAddr,
        /// Its AS.
        asn: Asn,
        /// Its host name, where it sent one.
        host_name: Option<String>,
        /// Negotiated hold time in seconds.
        hold_time_secs: u16,
    },
    /// A session left Established.
    SessionDown {
        /// The neighbor.
        neighbor: IpAddr,
        /// Why, with the peer's shutdown text.
        reason: String,
        /// How long it was up, in seconds.
        up_secs: u64,
        /// How many routes were here from it.
        routes: u64,
        /// For how many seconds they are kept; `None`: they go.
        kept_secs: Option<u64>,
    },
    /// A session did not come up: a wrong AS, no EVPN, refused by the other side.
    SessionRefused {
        /// The neighbor.
        neighbor: IpAddr,
        /// Why.
        reason: String,
    },
    /// A connection came from an address that no neighbor or `listen-range` names, or beyond a limit.
    ConnectionRefused {
        /// From where.
        address: IpAddr,
        /// Why.
        reason: String,
    },
    /// A neighbor sent everything it has (End-of-RIB).
    EndOfRib {
        /// The neighbor.
        neighbor: IpAddr,
        /// Paths held from it.
        routes: u64,
    },
    /// A neighbor whose routes were kept over the loss of its session is back and sent everything it has (End-of-RIB).
    RoutesConfirmed {
        /// The neighbor.
        neighbor: IpAddr,
        /// Paths held from it now.
        routes: u64,
        /// Kept ones that it did not announce again: they go.
        swept: u64,
    },
    /// Routes that were kept over the loss of a session go.
    RoutesSwept {
        /// The neighbor.
        neighbor: IpAddr,
        /// How many.
        routes: u64,
        /// Why.
        why: String,
    },
    /// The restart time of a neighbor is over, and its routes stay as the last resort (RFC 9494).
    RoutesLongLived {
        /// The neighbor.
        neighbor: IpAddr,
        /// How many.
        routes: u64,
        /// For how many seconds.
        secs: u64,
    },
    /// An UPDATE had mistakes (RFC 7606). For each neighbor at most one in a while is told; all are counted.
    UpdateMistake {
        /// The neighbor.
        neighbor: IpAddr,
        /// What was wrong and what it cost.
        what: String,
        /// The first routes in it, as far as they can be read.
        routes: Vec<String>,
        /// The whole message in hexadecimal digits (RFC 7606 §6).
        message: String,
    },
    /// A neighbor comes near a limit: it is told once in a session.
    LimitNear {
        /// The neighbor.
        neighbor: IpAddr,
        /// How many routes it has.
        routes: u64,
        /// The limit.
        limit: u32,
    },
    /// A neighbor grew too far or came and went too often: nothing is heard of it for a while.
    NeighborRests {
        /// The neighbor.
        neighbor: IpAddr,
        /// Why.
        reason: String,
        /// For so long.
        secs: u64,
    },
    /// A neighbor announced more routes than `max-routes`.
    MaxRoutes {
        /// The neighbor.
        neighbor: IpAddr,
        /// The limit.
        limit: u32,
    },
    /// The device of a VNI works: rows can be written and the VNI is announced.
    VniReady {
        /// The VNI.
        vni: Vni,
        /// Its VXLAN device.
        device: String,
        /// Its bridge.
        bridge: String,
        /// Made by evpnd (and not adopted).
        made: bool,
        /// What works but not as it should.
        warnings: Vec<String>,
    },
    /// A VNI cannot be used.
    VniUnusable {
        /// The VNI.
        vni: Vni,
        /// Why.
        reason: String,
        /// What would mend it.
        remedy: String,
    },
    /// A VNI left: it was deleted, or its device went away.
    VniGone {
        /// The VNI.
        vni: Vni,
        /// Why.
        reason: String,
    },
    /// A MAC appeared where none was.
    MacLearned {
        /// The VNI.
        vni: Vni,
        /// The MAC.
        mac: MacAddr,
        /// Where.
        place: Place,
        /// Its sequence number.
        sequence: u32,
        /// Static.
        sticky: bool,
    },
    /// A MAC is somewhere else now.
    MacMoved {
        /// The VNI.
        vni: Vni,
        /// The MAC.
        mac: MacAddr,
        /// Where it was.
        from: Place,
        /// Where it is.
        to: Place,
        /// Its new sequence number.
        sequence: u32,
    },
    /// A MAC is nowhere any more.
    MacGone {
        /// The VNI.
        vni: Vni,
        /// The MAC.
        mac: MacAddr,
        /// Where it was.
        place: Place,
    },
    /// Somebody else claims a MAC that may not move (RFC 7432 §15.2): nothing changed.
    StickyViolation {
        /// The VNI.
        vni: Vni,
        /// The MAC.
        mac: MacAddr,
        /// Where it belongs.
        owner: Place,
        /// Who claims it.
        claimed_by: Place,
    },
    /// A MAC moved so often that it must be at two hosts at once (RFC 7432 §15.1).
    DuplicateMac {
        /// The VNI.
        vni: Vni,
        /// The MAC.
        mac: MacAddr,
        /// How many moves.
        moves: u32,
        /// Within how many seconds.
        seconds: u64,
        /// Where it was before the last of them.
        from: Place,
        /// Where the last of them leads.
        to: Place,
        /// That move is not followed, nor is any later one; otherwise all are.
        frozen: bool,
        /// Seconds until it is as any other again; none: when an operator says so.
        recovery_secs: Option<u64>,
    },
    /// A MAC counts as a duplicate no longer.
    DuplicateEnded {
        /// The VNI.
        vni: Vni,
        /// The MAC.
        mac: MacAddr,
        /// Why.
        reason: String,
    },
    /// A guest claims an address that is another MAC's for good, as a gateway's is: nothing changed, but guests beside it may believe it.
    AddressViolation {
        /// The VNI.
        vni: Vni,
        /// The address.
        ip: IpAddr,
        /// Whose it is.
        owner_mac: MacAddr,
        /// Where that is.
        owner: Option<Place>,
        /// Who claims it.
        claimed_by_mac: MacAddr,
        /// Where that is.
        claimed_by: Option<Place>,
    },
    /// Such a claim is over.
    AddressViolationEnded {
        /// The VNI.
        vni: Vni,
        /// The address.
        ip: IpAddr,
        /// Who claimed it.
        claimed_by_mac: MacAddr,
        /// Why.
        reason: String,
    },
    /// An address went to and fro between two MACs so often that both must have it at once.
    DuplicateAddress {
        /// The VNI.
        vni: Vni,
        /// The address.
        ip: IpAddr,
        /// How many moves.
        moves: u32,
        /// Within how many seconds.
        seconds: u64,
        /// Whose it was before the last of them.
        from_mac: MacAddr,
        /// Where that is.
        from: Option<Place>,
        /// Who claims it with the last of them.
        to_mac: MacAddr,
        /// Where that is.
        to: Option<Place>,
        /// Claims at this host's ports are followed no longer while another has it; otherwise all are.
        frozen: bool,
        /// Seconds until it is as any other again; none: when an operator says so.
        recovery_secs: Option<u64>,
    },
    /// An address counts as one of two MACs no longer.
    DuplicateAddressEnded {
        /// The VNI.
        vni: Vni,
        /// The address.
        ip: IpAddr,
        /// Why.
        reason: String,
    },
    /// A limit of a VNI was hit for the first time since nothing was refused because of it.
    LimitReached {
        /// The VNI.
        vni: Vni,
        /// Of what, in words.
        what: String,
        /// How many.
        limit: u64,
    },
    /// A VTEP entered the flood list of a VNI.
    VtepAppeared {
        /// The VNI.
        vni: Vni,
        /// Its address.
        vtep: IpAddr,
    },
    /// A VTEP left the flood list of a VNI.
    VtepGone {
        /// The VNI.
        vni: Vni,
        /// Its address.
        vtep: IpAddr,
    },
    /// The kernel refused a row; it is tried again.
    RowFailed {
        /// The VNI.
        vni: Vni,
        /// The MAC; all zero: the flood list.
        mac: MacAddr,
        /// The kernel's error in words.
        error: String,
        /// Seconds until the next attempt.
        retry_secs: u64,
    },
    /// Rows that were deleted or changed behind our back, or refused before, stand as they should again.
    RowsHealed {
        /// The VNI.
        vni: Vni,
        /// How many.
        rows: u64,
    },
    /// The kernel dropped notifications (`ENOBUFS`): a full dump follows.
    Overflow {
        /// How many times so far.
        times: u64,
    },
    /// The configuration was read again.
    ConfigReloaded {
        /// What changed, in words; empty: nothing.
        changes: Vec<String>,
        /// What changed in the file but needs a restart.
        needs_restart: Vec<String>,
    },
    /// The configuration was read again and is wrong: nothing changed.
    ConfigRefused {
        /// The first line of the report.
        error: String,
    },
    /// `drain` goes on or is done.
    Drained {
        /// What was removed and what was kept, in words.
        what: String,
    },
    /// Something else that deserves a line.
    Note {
        /// Who needs to read it.
        severity: Level,
        /// One sentence.
        text: String,
    },
    /// This client read too slowly and missed events.
    Missed {
        /// How many.
        count: u64,
    },
}

impl Event {
    /// Who needs to read it.
    pub fn level(&self) -> Level {
        match self {
            Self::VniUnusable { .. } | Self::MaxRoutes { .. } | Self::ConfigRefused { .. } => Level::Error,
            Self::SessionDown { .. }
            | Self::SessionRefused { .. }
            | Self::ConnectionRefused { .. }
            | Self::RoutesSwept { .. }
            | Self::RoutesLongLived { .. }
            | Self::UpdateMistake { .. }
            | Self::LimitNear { .. }
            | Self::NeighborRests { .. }
            | Self::StickyViolation { .. }
            | Self::LimitReached { .. }
            | Self::DuplicateMac { .. }
            | Self::DuplicateAddress { .. }
            | Self::AddressViolation { .. }
            | Self::RowFailed { .. }
            | Self::Overflow { .. }
            | Self::Missed { .. } => Level::Warn,
            Self::Started { .. }
            | Self::Stopping { .. }
            | Self::SessionUp { .. }
            | Self::EndOfRib { .. }
            | Self::RoutesConfirmed { .. }
            | Self::VniGone { .. }
            | Self::MacMoved { .. }
            | Self::VtepAppeared { .. }
            | Self::DuplicateEnded { .. }
            | Self::DuplicateAddressEnded { .. }
            | Self::AddressViolationEnded { .. }
            | Self::VtepGone { .. }
            | Self::RowsHealed { .. }
            | Self::Drained { .. } => Level::Info,
            Self::VniReady { warnings, .. } if warnings.is_empty() => Level::Info,
            Self::VniReady { .. } => Level::Warn,
            Self::ConfigReloaded { needs_restart, .. } if needs_restart.is_empty() => Level::Info,
            Self::ConfigReloaded { .. } => Level::Warn,
            Self::MacLearned { .. } | Self::MacGone { .. } => Level::Debug,
            Self::Note { severity, .. } => *severity,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { version, asn, vtep } => {
                write!(f, "evpnd {version} began, AS {asn}")?;
                vtep.map_or(Ok(()), |vtep| write!(f, ", VTEP {vtep}"))
            }
            Self::Stopping { reason } => write!(f, "evpnd ends: {reason}"),
            Self::SessionUp { neighbor, asn, host_name, hold_time_secs } => {
                write!(f, "neighbor {neighbor} up: AS {asn}")?;
                if let Some(name) = host_name {
                    write!(f, ", host {name}")?;
                }
                match hold_time_secs {
                    0 => f.write_str(", no keepalives"),
                    secs => write!(f, ", hold time {secs} s"),
                }
            }
            Self::SessionDown { neighbor, reason, up_secs, routes, kept_secs } => {
                write!(f, "neighbor {neighbor} down after {up_secs} s, ")?;
                match kept_secs {
                    Some(secs) => write!(f, "{} kept for {secs} s: {reason}", many(*routes, "route is", "routes are")),
                    None => write!(f, "{}: {reason}", many(*routes, "route goes", "routes go")),
                }
            }
            Self::SessionRefused { neighbor, reason } => write!(f, "neighbor {neighbor} does not come up: {reason}"),
            Self::ConnectionRefused { address, reason } => write!(f, "connection from {address} refused: {reason}"),
            Self::EndOfRib { neighbor, routes } => {
                write!(f, "neighbor {neighbor} has sent all it has: {}", many(*routes, "route", "routes"))
            }
            Self::RoutesConfirmed { neighbor, routes, swept } => {
                write!(f, "neighbor {neighbor} is back and confirmed its routes: {routes} now, {swept} swept")
            }
            Self::RoutesSwept { neighbor, routes, why } => {
                write!(f, "neighbor {neighbor}: swept {}: {why}", many(*routes, "kept route", "kept routes"))
            }
            Self::RoutesLongLived { neighbor, routes, secs } => {
                let what = many(*routes, "route stays", "routes stay");
                write!(f, "neighbor {neighbor} did not come back in time: {what} for {secs} s as the last resort (LLGR_STALE)")
            }
            Self::UpdateMistake { neighbor, what, routes, message } => {
                write!(f, "neighbor {neighbor} sent a wrong UPDATE: {what}; with ")?;
                f.write_str(&if routes.is_empty() { "no route that can be read".to_owned() } else { routes.join(" ") })?;
                write!(f, "; octets {message}")
            }
            Self::LimitNear { neighbor, routes, limit } => {
                write!(
                    f,
                    "neighbor {neighbor} has {routes} routes, near its max-routes of {limit}: beyond it the session is closed"
                )
            }
            Self::NeighborRests { neighbor, reason, secs } => {
                write!(
                    f,
                    "neighbor {neighbor} is left alone for {secs} s: {reason} (evpnctl clear neighbor {neighbor} ends that)"
                )
            }
            Self::MaxRoutes { neighbor, limit } => {
                write!(f, "neighbor {neighbor} sent more than its max-routes of {limit}: session closed")
            }
            Self::VniReady { vni, device, bridge, made, warnings } => {
                let how = if *made { "made" } else { "adopted" };
                write!(f, "VNI {vni} ready: device {device} ({how}) on bridge {bridge}")?;
                warnings.iter().try_for_each(|warning| write!(f, "; {warning}"))
            }
            Self::VniUnusable { vni, reason, remedy } => write!(f, "VNI {vni} unusable: {reason}; {remedy}"),
            Self::VniGone { vni, reason } => write!(f, "VNI {vni} gone: {reason}"),
            Self::MacLearned { vni, mac, place, sequence, sticky } => {
                let sticky = if *sticky { ", sticky" } else { "" };
                write!(f, "VNI {vni}: {mac} is at {place} (sequence {sequence}{sticky})")
            }
            Self::MacMoved { vni, mac, from, to, sequence } => {
                write!(f, "VNI {vni}: {mac} moved from {from} to {to} (sequence {sequence})")
            }
            Self::MacGone { vni, mac, place } => write!(f, "VNI {vni}: {mac} is gone from {place}"),
            Self::StickyViolation { vni, mac, owner, claimed_by } => {
                write!(f, "VNI {vni}: {claimed_by} claims {mac}, which is static at {owner}: ignored")
            }
            Self::DuplicateMac { vni, mac, moves, seconds, from, to, frozen, recovery_secs } => {
                write!(f, "VNI {vni}: {mac} moved {} within {seconds} s, ", many(u64::from(*moves), "time", "times"))?;
                write!(f, "last from {from} to {to}: two hosts use it at once; ")?;
                match (frozen, recovery_secs) {
                    (true, Some(secs)) => write!(f, "it stays at {from} for {secs} s or until evpnctl clear duplicate"),
                    (true, None) => write!(f, "it stays at {from} until evpnctl clear duplicate"),
                    (false, _) => f.write_str("its moves are still followed"),
                }
            }
            Self::DuplicateEnded { vni, mac, reason } => {
                write!(f, "VNI {vni}: {mac} counts as a duplicate no longer: {reason}")
            }
            Self::DuplicateAddress { vni, ip, moves, seconds, from_mac, from, to_mac, to, frozen, recovery_secs } => {
                write!(f, "VNI {vni}: {ip} moved {} within {seconds} s, ", many(u64::from(*moves), "time", "times"))?;
                write!(f, "last from {from_mac}{} to {to_mac}{}: two MACs have the same address; ", at(from), at(to))?;
                match (frozen, recovery_secs) {
                    (true, Some(secs)) => {
                        write!(f, "no port here takes it from another for {secs} s or until evpnctl clear duplicate")
                    }
                    (true, None) => f.write_str("no port here takes it from another until evpnctl clear duplicate"),
                    (false, _) => f.write_str("the one that spoke last has it"),
                }
            }
            Self::DuplicateAddressEnded { vni, ip, reason } => {
                write!(f, "VNI {vni}: {ip} counts as the address of two MACs no longer: {reason}")
            }
            Self::AddressViolation { vni, ip, owner_mac, owner, claimed_by_mac, claimed_by } => {
                write!(
                    f,
                    "VNI {vni}: {claimed_by_mac}{} claims {ip}, which {owner_mac}{} has for good: ",
                    at(claimed_by),
                    at(owner)
                )?;
                f.write_str("ignored, but guests beside it may believe it")
            }
            Self::AddressViolationEnded { vni, ip, claimed_by_mac, reason } => {
                write!(f, "VNI {vni}: {claimed_by_mac} claims {ip} no longer: {reason}")
            }
            Self::LimitReached { vni, what, limit } => {
                write!(f, "VNI {vni}: the limit of {limit} {what} is reached: further ones are not used until there is room")
            }
            Self::VtepAppeared { vni, vtep } => write!(f, "VNI {vni}: VTEP {vtep} joined"),
            Self::VtepGone { vni, vtep } => write!(f, "VNI {vni}: VTEP {vtep} left"),
            Self::RowFailed { vni, mac, error, retry_secs } => {
                let what = if *mac == MacAddr::ZERO { "flood entry".to_owned() } else { format!("row for {mac}") };
                write!(f, "VNI {vni}: the kernel refused a {what}: {error}; tried again in {retry_secs} s")
            }
            Self::RowsHealed { vni, rows } => {
                write!(f, "VNI {vni}: put {} right again", many(*rows, "kernel row", "kernel rows"))
            }
            Self::Overflow { times } => {
                write!(f, "the kernel dropped notifications (time {times}): reading everything again")
            }
            Self::ConfigReloaded { changes, needs_restart } => {
                f.write_str("configuration read again: ")?;
                match changes.as_slice() {
                    [] => f.write_str("nothing to apply")?,
                    some => f.write_str(&some.join("; "))?,
                }
                if !needs_restart.is_empty() {
                    write!(f, "; not applied without a restart: {}", needs_restart.join("; "))?;
                }
                Ok(())
            }
            Self::ConfigRefused { error } => write!(f, "configuration refused, nothing changed: {error}"),
            Self::Drained { what } => write!(f, "drain: {what}"),
            Self::Note { text, .. } => f.write_str(text),
            Self::Missed { count } => write!(f, "{} not shown: this client reads too slowly", many(*count, "event", "events")),
        }
    }
}

/// ` at …`, where a MAC is anywhere.
fn at(place: &Option<Place>) -> String {
    place.as_ref().map_or_else(String::new, |place| format!(" at {place}"))
}

/// `1 route`, `2 routes`.
fn many(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}
