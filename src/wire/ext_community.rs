//! Extended communities (RFC 4360, 5668, 7432, 8365, 8584, 9012, 9047, 9135): eight octets each, kept as they came, and
//! what they mean asked for when it is needed.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::rd::{Administered, administered};
use crate::base::{MacAddr, ParseError};

/// The tunnel type of VXLAN in an encapsulation community (RFC 8365 §5.1.3, IANA tunnel types).
pub const TUNNEL_VXLAN: u16 = 8;

/// The flags of an ARP/ND community (RFC 9047 §2).
pub mod arp_nd {
    /// The host is a router: the R flag of neighbour advertisements.
    pub const ROUTER: u8 = 0x01;
    /// The O flag of neighbour advertisements.
    pub const OVERRIDE: u8 = 0x02;
    /// The address belongs to this MAC for good.
    pub const IMMUTABLE: u8 = 0x08;
}

/// The type octet's bit that keeps a community within its AS (RFC 4360 §2).
const NON_TRANSITIVE: u8 = 0x40;

/// An extended community, 8 octets as on the wire; equality and order are those of the octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtCommunity(pub [u8; 8]);

/// What an extended community means, as far as this speaker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtCommunityKind {
    /// Route target in one of its three forms.
    RouteTarget(RouteTarget),
    /// Tunnel encapsulation (0x03 0x0c): the tunnel type; 8 is VXLAN (RFC 9012 §4.1).
    Encapsulation(u16),
    /// MAC mobility (0x06 0x00) (RFC 7432 §7.7).
    MacMobility {
        /// Bit 0 of the flags: the MAC may not move.
        sticky: bool,
        /// Sequence number.
        sequence: u32,
    },
    /// Default gateway (0x03 0x0d) (RFC 7432 §7.8).
    DefaultGateway,
    /// ARP/ND flags (0x06 0x08), the raw flags octet (RFC 9047).
    ArpNd {
        /// R 0x01, O 0x02, I 0x08.
        flags: u8,
    },
    /// Router's MAC (0x06 0x03) (RFC 9135 §6.1).
    RouterMac(MacAddr),
    /// ESI label (0x06 0x01) (RFC 7432 §7.5).
    EsiLabel {
        /// Bit 0: single-active.
        single_active: bool,
        /// 3 octets.
        label: u32,
    },
    /// ES-import route target (0x06 0x02) (RFC 7432 §7.6).
    EsImport(MacAddr),
    /// DF election (0x06 0x06) (RFC 8584 §2.2).
    DfElection {
        /// Algorithm, 5 bits.
        algorithm: u8,
        /// Bitmap of capabilities.
        bitmap: u16,
    },
    /// Anything else, kept raw.
    Unknown,
}

/// A route target in one of its three forms (RFC 4360 §4, RFC 5668 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteTarget {
    /// 0x00 0x02: 2-octet AS and a 4-octet number.
    As2 {
        /// Global administrator.
        asn: u16,
        /// Local administrator.
        number: u32,
    },
    /// 0x01 0x02: IPv4 address and a 2-octet number.
    Ipv4 {
        /// Global administrator.
        address: Ipv4Addr,
        /// Local administrator.
        number: u16,
    },
    /// 0x02 0x02: 4-octet AS and a 2-octet number.
    As4 {
        /// Global administrator.
        asn: u32,
        /// Local administrator.
        number: u16,
    },
}

impl ExtCommunity {
    /// What the octets mean.
    pub fn kind(self) -> ExtCommunityKind {
        use ExtCommunityKind as Kind;
        let [_, _, a, b, c, d, e, f] = self.0;
        match (self.0[0], self.0[1]) {
            (0x00, 0x02) => {
                Kind::RouteTarget(RouteTarget::As2 { asn: u16::from_be_bytes([a, b]), number: u32::from_be_bytes([c, d, e, f]) })
            }
            (0x01, 0x02) => {
                Kind::RouteTarget(RouteTarget::Ipv4 { address: Ipv4Addr::new(a, b, c, d), number: u16::from_be_bytes([e, f]) })
            }
            (0x02, 0x02) => {
                Kind::RouteTarget(RouteTarget::As4 { asn: u32::from_be_bytes([a, b, c, d]), number: u16::from_be_bytes([e, f]) })
            }
            (0x03, 0x0c) => Kind::Encapsulation(u16::from_be_bytes([e, f])),
            (0x03, 0x0d) => Kind::DefaultGateway,
            (0x06, 0x00) => Kind::MacMobility { sticky: a & 1 != 0, sequence: u32::from_be_bytes([c, d, e, f]) },
            (0x06, 0x01) => Kind::EsiLabel { single_active: a & 1 != 0, label: u32::from_be_bytes([0, d, e, f]) },
            (0x06, 0x02) => Kind::EsImport(MacAddr([a, b, c, d, e, f])),
            (0x06, 0x03) => Kind::RouterMac(MacAddr([a, b, c, d, e, f])),
            // RFC 8584 §2.2: RSV 3 bits, algorithm 5 bits, bitmap 2 octets, reserved 3 octets.
            (0x06, 0x06) => Kind::DfElection { algorithm: a & 0x1f, bitmap: u16::from_be_bytes([b, c]) },
            (0x06, 0x08) => Kind::ArpNd { flags: a },
            _ => Kind::Unknown,
        }
    }

    /// Whether it leaves the AS (RFC 4360 §2).
    pub const fn is_transitive(self) -> bool {
        self.0[0] & NON_TRANSITIVE == 0
    }

    /// A route target.
    pub const fn route_target(target: RouteTarget) -> Self {
        match target {
            RouteTarget::As2 { asn, number } => {
                let ([a, b], [c, d, e, f]) = (asn.to_be_bytes(), number.to_be_bytes());
                Self([0, 2, a, b, c, d, e, f])
            }
            RouteTarget::Ipv4 { address, number } => {
                let ([a, b, c, d], [e, f]) = (address.octets(), number.to_be_bytes());
                Self([1, 2, a, b, c, d, e, f])
            }
            RouteTarget::As4 { asn, number } => {
                let ([a, b, c, d], [e, f]) = (asn.to_be_bytes(), number.to_be_bytes());
                Self([2, 2, a, b, c, d, e, f])
            }
        }
    }

    /// Encapsulation by the tunnel type given (RFC 9012 §4.1).
    pub const fn encapsulation(tunnel_type: u16) -> Self {
        let [e, f] = tunnel_type.to_be_bytes();
        Self([0x03, 0x0c, 0, 0, 0, 0, e, f])
    }

    /// Encapsulation VXLAN.
    pub const fn vxlan() -> Self {
        Self::encapsulation(TUNNEL_VXLAN)
    }

    /// MAC mobility (RFC 7432 §7.7).
    pub const fn mac_mobility(sticky: bool, sequence: u32) -> Self {
        let [c, d, e, f] = sequence.to_be_bytes();
        Self([0x06, 0x00, sticky as u8, 0, c, d, e, f])
    }

    /// Default gateway (RFC 7432 §7.8).
    pub const fn default_gateway() -> Self {
        Self([0x03, 0x0d, 0, 0, 0, 0, 0, 0])
    }

    /// ARP/ND flags (RFC 9047): those of [`arp_nd`].
    pub const fn arp_nd(flags: u8) -> Self {
        Self([0x06, 0x08, flags, 0, 0, 0, 0, 0])
    }

    /// Router's MAC (RFC 9135 §6.1).
    pub const fn router_mac(mac: MacAddr) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self([0x06, 0x03, a, b, c, d, e, f])
    }

    /// ESI label (RFC 7432 §7.5); of `label` the low 24 bits.
    pub const fn esi_label(single_active: bool, label: u32) -> Self {
        let [_, d, e, f] = label.to_be_bytes();
        Self([0x06, 0x01, single_active as u8, 0, 0, d, e, f])
    }

    /// ES-import route target (RFC 7432 §7.6).
    pub const fn es_import(mac: MacAddr) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self([0x06, 0x02, a, b, c, d, e, f])
    }

    /// DF election (RFC 8584 §2.2); of `algorithm` the low 5 bits.
    pub const fn df_election(algorithm: u8, bitmap: u16) -> Self {
        let [b, c] = bitmap.to_be_bytes();
        Self([0x06, 0x06, algorithm & 0x1f, b, c, 0, 0, 0])
    }
}

impl From<RouteTarget> for ExtCommunity {
    fn from(target: RouteTarget) -> Self {
        Self::route_target(target)
    }
}

impl fmt::Display for ExtCommunity {
    /// `RT:65000:100`, `ET:8` (encapsulation), `MM:3` (mobility), `MM:0,sticky`, …; an unknown one as `0x` and 16 digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ExtCommunityKind as Kind;
        match self.kind() {
            Kind::RouteTarget(target) => write!(f, "RT:{target}"),
            Kind::Encapsulation(tunnel_type) => write!(f, "ET:{tunnel_type}"),
            Kind::MacMobility { sticky, sequence } => write!(f, "MM:{sequence}{}", if sticky { ",sticky" } else { "" }),
            Kind::DefaultGateway => f.write_str("default-gateway"),
            Kind::ArpNd { flags } => write!(f, "ND:0x{flags:02x}"),
            Kind::RouterMac(mac) => write!(f, "Rmac:{mac}"),
            Kind::EsiLabel { single_active, label } => {
                write!(f, "ESI-label:{label}{}", if single_active { ",single-active" } else { "" })
            }
            Kind::EsImport(mac) => write!(f, "ES-import:{mac}"),
            Kind::DfElection { algorithm, bitmap } => write!(f, "DF:{algorithm},0x{bitmap:04x}"),
            Kind::Unknown => write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

impl fmt::Display for RouteTarget {
    /// `65000:100`, `10.0.0.1:100`, `4200000000:100`; a 4-octet AS that would fit 16 bits as `0.100:7` (asdot), so that the
    /// text reads back as the same target.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::As2 { asn, number } => write!(f, "{asn}:{number}"),
            Self::Ipv4 { address, number } => write!(f, "{address}:{number}"),
            Self::As4 { asn, number } if *asn <= 0xffff => write!(f, "0.{asn}:{number}"),
            Self::As4 { asn, number } => write!(f, "{asn}:{number}"),
        }
    }
}

impl FromStr for RouteTarget {
    type Err = ParseError;

    /// The forms that `Display` writes.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match administered(text) {
            Some(Administered::As2(asn, number)) => Ok(Self::As2 { asn, number }),
            Some(Administered::Ipv4(address, number)) => Ok(Self::Ipv4 { address, number }),
            Some(Administered::As4(asn, number)) => Ok(Self::As4 { asn, number }),
            None => Err(ParseError::new(text, "a route target (such as 65000:100, 10.0.0.1:100 or 4200000000:100)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_targets_in_three_forms() {
        let cases = [
            ([0, 2, 0xfd, 0xe8, 0, 0, 0x27, 0x75], "65000:10101"),
            ([1, 2, 10, 0, 0, 1, 0, 100], "10.0.0.1:100"),
            ([2, 2, 0xfa, 0x56, 0xea, 0, 0, 100], "4200000000:100"),
            ([2, 2, 0, 0, 0, 1, 0, 100], "0.1:100"),
        ];
        for (octets, text) in cases {
            let target: RouteTarget = text.parse().unwrap();
            assert_eq!(ExtCommunity::from(target), ExtCommunity(octets));
            assert_eq!(ExtCommunity(octets).kind(), ExtCommunityKind::RouteTarget(target));
            assert_eq!(target.to_string(), text);
        }
        for text in ["", "*:1", "65000", "70000:65536", "65000:4294967296"] {
            assert!(text.parse::<RouteTarget>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_built_is_read() {
        use ExtCommunityKind as Kind;
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let cases = [
            (ExtCommunity::vxlan(), Kind::Encapsulation(8), "ET:8"),
            (ExtCommunity::mac_mobility(true, 0), Kind::MacMobility { sticky: true, sequence: 0 }, "MM:0,sticky"),
            (
                ExtCommunity::mac_mobility(false, u32::MAX),
                Kind::MacMobility { sticky: false, sequence: u32::MAX },
                "MM:4294967295",
            ),
            (ExtCommunity::default_gateway(), Kind::DefaultGateway, "default-gateway"),
            (ExtCommunity::arp_nd(9), Kind::ArpNd { flags: 9 }, "ND:0x09"),
            (ExtCommunity::router_mac(mac), Kind::RouterMac(mac), "Rmac:02:00:00:00:00:01"),
            (ExtCommunity::es_import(mac), Kind::EsImport(mac), "ES-import:02:00:00:00:00:01"),
            (
                ExtCommunity::esi_label(true, 0xabcdef),
                Kind::EsiLabel { single_active: true, label: 0xabcdef },
                "ESI-label:11259375,single-active",
            ),
            (ExtCommunity::df_election(2, 0x4000), Kind::DfElection { algorithm: 2, bitmap: 0x4000 }, "DF:2,0x4000"),
            (ExtCommunity([0x80, 0x0b, 1, 2, 3, 4, 5, 6]), Kind::Unknown, "0x800b010203040506"),
        ];
        for (community, kind, text) in cases {
            assert_eq!(community.kind(), kind);
            assert_eq!(community.to_string(), text);
            assert!(community.is_transitive());
        }
        assert!(!ExtCommunity([0x40, 0x02, 0, 0, 0, 0, 0, 0]).is_transitive());
    }
}
