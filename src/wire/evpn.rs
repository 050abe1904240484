//! EVPN NLRI (RFC 7432 §7, RFC 9136 §3.1, RFC 8365 §5.1.3: the label is the VNI, 24 bits as they are).

use super::esi::Esi;
use super::rd::Rd;
use crate::base::MacAddr;
use std::net::IpAddr;

/// One EVPN route as it stands in an NLRI field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvpnRoute<'a> {
    /// Type 1.
    EthernetAd(EthernetAd),
    /// Type 2.
    MacIp(MacIp),
    /// Type 3.
    Imet(Imet),
    /// Type 4.
    EthernetSegment(EthernetSegment),
    /// Type 5.
    IpPrefix(IpPrefix),
    /// Any other type, kept opaque.
    Unknown {
        /// Route type octet.
        route_type: u8,
        /// The value.
        value: &'a [u8],
    },
}
/// Type 1, Ethernet auto-discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetAd {
    /// RD
    pub rd: Rd,
    /// ESI
    pub esi: Esi,
    /// Ethernet tag
    pub tag: u32,
    /// 24 bits
    pub label: u32,
}
/// Type 2, MAC/IP advertisement. ESI and labels are not part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacIp {
    /// RD
    pub rd: Rd,
    /// ESI
    pub esi: Esi,
    /// Ethernet tag
    pub tag: u32,
    /// MAC
    pub mac: MacAddr,
    /// IP, absent in a MAC-only route
    pub ip: Option<IpAddr>,
    /// 24 bits: the L2 VNI
    pub label1: u32,
    /// 24 bits: the L3 VNI
    pub label2: Option<u32>,
}
/// Type 3, inclusive multicast Ethernet tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imet {
    /// RD
    pub rd: Rd,
    /// Ethernet tag
    pub tag: u32,
    /// Originating router's address
    pub originator: IpAddr,
}
/// Type 4, Ethernet segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetSegment {
    /// RD
    pub rd: Rd,
    /// ESI
    pub esi: Esi,
    /// Originating router's address
    pub originator: IpAddr,
}
/// Type 5, IP prefix (RFC 9136). Key: RD, tag, prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpPrefix {
    /// RD
    pub rd: Rd,
    /// ESI
    pub esi: Esi,
    /// Ethernet tag
    pub tag: u32,
    /// Prefix length in bits
    pub prefix_len: u8,
    /// Prefix
    pub prefix: IpAddr,
    /// Gateway (same family), all zero when not used
    pub gateway: IpAddr,
    /// 24 bits
    pub label: u32,
}
