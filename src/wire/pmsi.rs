//! PMSI tunnel attribute (RFC 6514 §5, RFC 8365 §5.1.3, §9): how the sender of a type 3 route wants broadcast to reach it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tunnel type 6: ingress replication, one copy per remote VTEP (RFC 6514 §5, RFC 7432 §11.2).
pub const INGRESS_REPLICATION: u8 = 6;

/// Tunnel types of shared and source trees of PIM: SSM, SM and BIDIR (RFC 6514 §5); what they name is a sender and a group.
pub const PIM_TREES: std::ops::RangeInclusive<u8> = 3..=5;
/// Of these, the tree that anybody may send into.
const PIM_SM: u8 = 4;

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

    /// A tree of PIM with the group that everybody floods to, who joined it at `sender`.
    pub fn multicast(label: u32, sender: IpAddr, group: IpAddr) -> Self {
        let mut tunnel_id = Vec::with_capacity(32);
        for address in [sender, group] {
            match address {
                IpAddr::V4(address) => tunnel_id.extend(address.octets()),
                IpAddr::V6(address) => tunnel_id.extend(address.octets()),
            }
        }
        Self { flags: 0, tunnel_type: PIM_SM, label: label & 0x00ff_ffff, tunnel_id }
    }

    /// The group where the tunnel is a tree of PIM whose identifier has two addresses of one family.
    pub fn group(&self) -> Option<IpAddr> {
        if !PIM_TREES.contains(&self.tunnel_type) {
            return None;
        }
        let group = match *self.tunnel_id.as_slice() {
            [_, _, _, _, a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            ref longer if longer.len() == 32 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&longer[16..]).ok()?)),
            _ => return None,
        };
        group.is_multicast().then_some(group)
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
            None if self.group().is_some() => {
                write!(f, "multicast group {}, VNI {}", self.group().unwrap_or(Ipv4Addr::UNSPECIFIED.into()), self.label)
            }
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
    fn a_tree_names_its_group_and_no_endpoint() {
        for (sender, group) in [("10.0.0.1", "239.1.1.1"), ("fd00::1", "ff05::100")] {
            let tunnel = PmsiTunnel::multicast(10101, sender.parse().unwrap(), group.parse().unwrap());
            let mut value = Vec::new();
            tunnel.emit(&mut value);
            assert_eq!(value[..5], [0, 4, 0, 0x27, 0x75]);
            let read = PmsiTunnel::parse(&value).unwrap();
            assert_eq!((read.group(), read.endpoint()), (Some(group.parse().unwrap()), None));
            assert_eq!(read.to_string(), format!("multicast group {group}, VNI 10101"));
        }
        // No group, another length, another type.
        for value in [[0, 4, 0, 0, 5, 10, 0, 0, 1, 10, 0, 0, 2], [0, 2, 0, 0, 5, 10, 0, 0, 1, 239, 0, 0, 2]] {
            assert_eq!(PmsiTunnel::parse(&value).unwrap().group(), None);
        }
        assert_eq!(PmsiTunnel::parse(&[0, 4, 0, 0, 5, 239, 0, 0, 1]).unwrap().group(), None);
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
