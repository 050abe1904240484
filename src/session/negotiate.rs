//! What two speakers agree on: our OPEN from the configuration, and the peer's OPEN against it. No state, no time.

use crate::base::{Asn, BgpIdentifier};
use crate::wire::capability::{Capability, GracefulRestart};
use crate::wire::notification::{Notification, OPEN_ERROR};
use crate::wire::open::Open;
use crate::wire::{AFI_L2VPN, SAFI_EVPN};

use super::SessionConfig;

/// OPEN error 2/2, Bad Peer AS (RFC 4271 §6.2).
const BAD_PEER_AS: u8 = 2;
/// OPEN error 2/3, Bad BGP Identifier.
const BAD_IDENTIFIER: u8 = 3;
/// OPEN error 2/6, Unacceptable Hold Time.
const UNACCEPTABLE_HOLD_TIME: u8 = 6;
/// OPEN error 2/7, Unsupported Capability (RFC 5492 §5).
const UNSUPPORTED_CAPABILITY: u8 = 7;
/// The capability without which there is nothing to talk about, as it would have stood in the peer's OPEN: MP 25/70.
const EVPN_CAPABILITY: [u8; 6] = [1, 4, 0, AFI_L2VPN as u8, 0, SAFI_EVPN];

/// What a session runs on, once both OPENs were accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The peer's AS, all four octets.
    pub peer_asn: Asn,
    /// The peer's identifier.
    pub peer_identifier: BgpIdentifier,
    /// The smaller of both hold times, in seconds; 0: no keepalives.
    pub hold_time_secs: u16,
    /// AS numbers in UPDATEs have four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Messages up to 65,535 octets (RFC 8654).
    pub extended_message: bool,
    /// The peer answers route refreshes (RFC 2918).
    pub route_refresh: bool,
    /// Both mark beginning and end of the answer (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// The peer's graceful restart capability, where we sent ours too (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// The peer's host name (FQDN capability).
    pub peer_host_name: Option<String>,
    /// All that the peer sent, in its order.
    pub capabilities: Vec<Capability>,
    /// The peer is in another AS.
    pub external: bool,
}

/// An OPEN that is not acceptable: what the peer is told, and what our operator is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// OPEN error, code 2.
    pub notification: Notification,
    /// A sentence without its full stop.
    pub why: String,
}

impl Refusal {
    fn new(subcode: u8, data: &[u8], why: String) -> Self {
        Self { notification: Notification { code: OPEN_ERROR, subcode, data: data.to_vec() }, why }
    }
}

/// Our OPEN.
pub fn open(config: &SessionConfig) -> Open {
    let mut capabilities = vec![
        Capability::MultiProtocol { afi: AFI_L2VPN, safi: SAFI_EVPN },
        Capability::RouteRefresh,
        Capability::ExtendedMessage,
        Capability::FourOctetAs(config.local_asn.0),
        Capability::EnhancedRouteRefresh,
    ];
    if let Some(graceful_restart) = &config.graceful_restart {
        capabilities.push(Capability::GracefulRestart(graceful_restart.clone()));
        if config.long_lived_stale_secs > 0 {
            let families = graceful_restart.families.iter();
            let secs = config.long_lived_stale_secs;
            let families = families.map(|(afi, safi, kept)| (*afi, *safi, u8::from(*kept) << 7, secs)).collect();
            capabilities.push(Capability::LongLivedGracefulRestart(families));
        }
    }
    if let Some(host) = &config.host_name {
        capabilities.push(Capability::Fqdn { host: host.clone(), domain: String::new() });
    }
    Open {
        version: 4,
        my_as: config.local_asn.in_two_octets(),
        hold_time_secs: config.hold_time_secs,
        identifier: config.local_identifier,
        capabilities,
    }
}

/// Judges the peer's OPEN, in the order of RFC 4271 §6.2. Its form was checked by the codec.
pub fn negotiate(config: &SessionConfig, open: Open) -> Result<Negotiated, Refusal> {
    let capabilities = &open.capabilities;
    let peer_asn = peer_asn(&open)?;
    if let Some(wanted) = config.remote_asn.filter(|wanted| *wanted != peer_asn) {
        let why = format!("it says AS {peer_asn}, but AS {wanted} is configured for this neighbor");
        return Err(Refusal::new(BAD_PEER_AS, &[], why));
    }
    // RFC 4271 §6.2: "An implementation MUST reject Hold Time values of one or two seconds."
    if matches!(open.hold_time_secs, 1 | 2) {
        let why = format!("its hold time is {} s; it must be 0 or at least 3 s", open.hold_time_secs);
        return Err(Refusal::new(UNACCEPTABLE_HOLD_TIME, &[], why));
    }
    // RFC 6286 §2.2: any identifier but 0, and within one AS not our own.
    let external = peer_asn != config.local_asn;
    if open.identifier.0.is_unspecified() {
        return Err(Refusal::new(BAD_IDENTIFIER, &[], "its router-id is 0.0.0.0".to_owned()));
    }
    if !external && open.identifier == config.local_identifier {
        let why = format!("its router-id {} is ours; within an AS each speaker needs its own", open.identifier);
        return Err(Refusal::new(BAD_IDENTIFIER, &[], why));
    }
    if !capabilities.contains(&Capability::MultiProtocol { afi: AFI_L2VPN, safi: SAFI_EVPN }) {
        let why = "it does not offer the EVPN address family (L2VPN EVPN, AFI 25 SAFI 70); activate it for this neighbor there";
        return Err(Refusal::new(UNSUPPORTED_CAPABILITY, &EVPN_CAPABILITY, why.to_owned()));
    }
    // RFC 4724 §3: of several instances the last one counts.
    let graceful_restart = capabilities.iter().rev().find_map(|capability| match capability {
        Capability::GracefulRestart(graceful_restart) => Some(graceful_restart.clone()),
        _ => None,
    });
    let peer_host_name = capabilities.iter().find_map(|capability| match capability {
        Capability::Fqdn { host, .. } if !host.is_empty() => Some(host.clone()),
        _ => None,
    });
    Ok(Negotiated {
        peer_asn,
        peer_identifier: open.identifier,
        hold_time_secs: open.hold_time_secs.min(config.hold_time_secs),
        four_octet_as: four_octet_as(&open).is_some(),
        extended_message: capabilities.contains(&Capability::ExtendedMessage),
        route_refresh: capabilities.contains(&Capability::RouteRefresh),
        enhanced_route_refresh: capabilities.contains(&Capability::EnhancedRouteRefresh),
        graceful_restart: graceful_restart.filter(|_| config.graceful_restart.is_some()),
        peer_host_name,
        external,
        capabilities: open.capabilities,
    })
}

/// The number in the 4-octet AS capability.
fn four_octet_as(open: &Open) -> Option<u32> {
    open.capabilities.iter().rev().find_map(|capability| match capability {
        Capability::FourOctetAs(asn) => Some(*asn),
        _ => None,
    })
}

/// The peer's AS out of the 2-octet field and the capability (RFC 6793 §4.1). 0 is nobody's (RFC 7607 §2), and
/// AS_TRANS stands for another number that must then be there.
fn peer_asn(open: &Open) -> Result<Asn, Refusal> {
    let bad = |why: String| Err(Refusal::new(BAD_PEER_AS, &[], why));
    let short = Asn(u32::from(open.my_as));
    if short.0 == 0 {
        return bad("it says AS 0".to_owned());
    }
    match four_octet_as(open).map(Asn) {
        None if short == Asn::TRANS => bad("it says AS 23456 (AS_TRANS) without a 4-octet AS number".to_owned()),
        None => Ok(short),
        Some(Asn(0)) => bad("it says AS 0 in its 4-octet AS capability".to_owned()),
        Some(Asn::TRANS) => bad("it says AS 23456 (AS_TRANS) in its 4-octet AS capability".to_owned()),
        // RFC 6793 leaves open what to do where the fields contradict each other. Ours: refused, because which one the
        // peer will put in its AS paths is anybody's guess.
        Some(long) if short != Asn::TRANS && short != long => bad(format!("it says AS {short} and AS {long} in one OPEN")),
        Some(long) => Ok(long),
    }
}
