//! PMSI tunnel attribute (RFC 6514 §5, RFC 8365 §5.1.3, §9): how the sender of a type 3 route wants broadcast to reach it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tunnel type 6: ingress replication, one copy per remote VTEP (RFC 6514 §5, RFC 7432 §11.2).
pub const INGRESS_REPLICATION: u8 = 6;

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
    /// Ingress replication towards `endpoint` with the VNI `label` (its low 24 bits).
    pub fn ingress_replication(label: u32, endpoint: IpAddr) -> Self {
        let tunnel_id = match endpoint {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        Self { flags: 0, tunnel_type: INGRESS_REPLICATION, label: label & 0x00ff_ffff, tunnel_id }
    }

    /// The VTEP address where the tunnel type is ingress replication and the identifier has 4 or 16 octets.
    pub fn endpoint(&self) -> Option<IpAddr> {
        if self.tunnel_type != INGRESS_REPLICATION {
            return None;
        }
        match *self.tunnel_id.as_slice() {
            [a, b, c, d] => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            ref longer => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(longer).ok()?))),
        }
    }

    /// Reads the value of the attribute; the error says what is wrong with it.
    ///
    /// RFC 6514 §5: a tunnel type that is not defined is malformed too. Ours: it is kept, because a reflector must not decide which
    /// tunnels its clients may know.
    pub fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let [flags, tunnel_type, a, b, c, ref tunnel_id @ ..] = *value else {
            return Err("shorter than 5 octets");
        };
        if tunnel_type == INGRESS_REPLICATION && !matches!(tunnel_id.len(), 4 | 16) {
            return Err("tunnel identifier of ingress replication is not an address");
        }
        Ok(Self { flags, tunnel_type, label: u32::from_be_bytes([0, a, b, c]), tunnel_id: tunnel_id.to_vec() })
    }

    /// Appends the value of the attribute.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let [_, a, b, c] = self.label.to_be_bytes();
        out.extend_from_slice(&[self.flags, self.tunnel_type, a, b, c]);
        out.extend_from_slice(&self.tunnel_id);
    }
}

impl fmt::Display for PmsiTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.endpoint() {
            Some(endpoint) => write!(f, "ingress replication to {endpoint}, VNI {}", self.label),
            None => write!(f, "tunnel type {}, label {}", self.tunnel_type, self.label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingress_replication_of_both_families() {
        for text in ["192.0.2.2", "2001:db8::1"] {
            let endpoint: IpAddr = text.parse().unwrap();
            let tunnel = PmsiTunnel::ingress_replication(10101, endpoint);
            let mut value = Vec::new();
            tunnel.emit(&mut value);
            assert_eq!(value[..5], [0, 6, 0, 0x27, 0x75]);
            let read = PmsiTunnel::parse(&value).unwrap();
            assert_eq!(read, tunnel);
            assert_eq!(read.endpoint(), Some(endpoint));
            assert_eq!(read.to_string(), format!("ingress replication to {text}, VNI 10101"));
        }
    }

    #[test]
    fn other_tunnels_have_no_endpoint() {
        let tunnel = PmsiTunnel::parse(&[1, 3, 0, 0, 5, 10, 0, 0, 1, 239, 0, 0, 1]).unwrap();
        assert_eq!((tunnel.endpoint(), tunnel.label), (None, 5));
        assert!(PmsiTunnel::parse(&[0, 6, 0, 0, 5, 10, 0]).is_err());
        assert!(PmsiTunnel::parse(&[0, 6, 0, 0]).is_err());
        assert!(PmsiTunnel::parse(&[0, 0, 0, 0, 5]).is_ok());
    }
}
