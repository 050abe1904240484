//! Extended communities (RFC 4360, 5668, 7432, 8365, 9012, 9047, 9135, 8584).

use crate::base::MacAddr;
use std::net::Ipv4Addr;

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
// ExtCommunity::kind(self) -> ExtCommunityKind; From<RouteTarget> for ExtCommunity; constructors vxlan(), mac_mobility(sticky, seq), ...
// RouteTarget: FromStr/Display "65000:100" "10.0.0.1:100" "4200000000:100"
