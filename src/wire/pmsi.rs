//! PMSI tunnel attribute (RFC 6514 §5, RFC 8365 §5.1.3, 9).

use std::net::IpAddr;

/// A PMSI tunnel attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PmsiTunnel {
    /// Flags octet; bit 0 leaf information required.
    pub flags: u8,
    /// Tunnel type; 6 is ingress replication.
    pub tunnel_type: u8,
    /// 24 bits: the VNI of a VXLAN route, as it is.
    pub label: u32,
    /// Tunnel identifier octets; for ingress replication the VTEP address, 4 or 16 octets.
    pub tunnel_id: Vec<u8>,
}
impl PmsiTunnel {
    /// The VTEP address where the tunnel type is ingress replication and the identifier has 4 or 16 octets.
    pub fn endpoint(&self) -> Option<IpAddr> {
        None
    }
}
