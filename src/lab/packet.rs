//! What a frame on the underlay is, as far as the lab's proof needs to know. Pure: `capture.rs` brings the frames.
//!
//! The proof asks one question of every frame that leaves a hypervisor: was it sent to one machine or to a group? The
//! underlay's own address resolution (ARP, neighbour discovery, and the MLD reports by which an IPv6 host joins its own
//! solicited-node group, RFC 4861 §7.2.1) is told apart; everything else to a group is multicast.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::MacAddr;

const ETHERNET_LEN: usize = 14;
const VXLAN_LEN: usize = 8;
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const BGP_PORT: u16 = 179;

/// One frame on its way out of a hypervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing<'a> {
    /// VXLAN to one machine.
    Vxlan {
        /// The outer destination.
        to: IpAddr,
        /// The network.
        vni: u32,
        /// The tenant's frame.
        inner: &'a [u8],
    },
    /// VXLAN to a multicast or broadcast address.
    VxlanMulticast,
    /// TCP from or to port 179.
    Bgp,
    /// ARP, or neighbour discovery (ICMPv6 133 to 137), of the underlay itself.
    UnderlayResolution,
    /// An MLD report about nothing but solicited-node groups: the underlay's neighbour discovery again.
    UnderlayMld,
    /// Anything else to a group; what it is in a few words.
    Multicast(String),
    /// Anything else to one machine.
    Other,
}

/// The place of the rules.
#[derive(Debug)]
pub struct Frame;

impl Frame {
    /// Says what `frame`, from its Ethernet header on, is. `vxlan_port` is the UDP port of the tunnels.
    pub fn classify(frame: &[u8], vxlan_port: u16) -> Outgoing<'_> {
        let Some(inner) = Inner::of(frame) else { return Outgoing::Other };
        let to_group = inner.destination.is_multicast();
        let packet = &frame[ETHERNET_LEN..];
        let network = match inner.kind {
            ARP => return Outgoing::UnderlayResolution,
            IPV4 => ipv4(packet),
            IPV6 => ipv6(packet),
            _ => None,
        };
        let Some(network) = network else {
            return if to_group { Outgoing::Multicast(format!("EtherType {:#06x}", inner.kind)) } else { Outgoing::Other };
        };
        let to_group = to_group || is_group(network.destination);
        match network.protocol {
            UDP if port(network.payload, 2) == Some(vxlan_port) => {
                if to_group {
                    return Outgoing::VxlanMulticast;
                }
                match network.payload.get(8..).and_then(vxlan) {
                    Some((vni, inner)) => Outgoing::Vxlan { to: network.destination, vni, inner },
                    None => Outgoing::Other,
                }
            }
            ICMPV6 if matches!(network.payload.first(), Some(133..=137)) => Outgoing::UnderlayResolution,
            ICMPV6 if only_solicited_node(network.payload) => Outgoing::UnderlayMld,
            _ if to_group => Outgoing::Multicast(name(&network)),
            TCP if port(network.payload, 0) == Some(BGP_PORT) || port(network.payload, 2) == Some(BGP_PORT) => Outgoing::Bgp,
            _ => Outgoing::Other,
        }
    }
}

/// The Ethernet header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner {
    /// Destination address.
    pub destination: MacAddr,
    /// Source address.
    pub source: MacAddr,
    /// EtherType.
    pub kind: u16,
}

impl Inner {
    /// `None` where the frame is too short for a header.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let header = frame.first_chunk::<ETHERNET_LEN>()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, high, low] = *header;
        Some(Self {
            destination: MacAddr([a, b, c, d, e, f]),
            source: MacAddr([g, h, i, j, k, l]),
            kind: u16::from_be_bytes([high, low]),
        })
    }
}

struct Network<'a> {
    destination: IpAddr,
    protocol: u8,
    payload: &'a [u8],
}

fn ipv4(packet: &[u8]) -> Option<Network<'_>> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    let destination: [u8; 4] = *packet.get(16..20)?.first_chunk()?;
    Some(Network {
        destination: Ipv4Addr::from(destination).into(),
        protocol: *packet.get(9)?,
        payload: packet.get(header_len..)?,
    })
}

/// Walks over a hop-by-hop header (MLD always has one, RFC 3810 §5); other extension headers do not occur here.
fn ipv6(packet: &[u8]) -> Option<Network<'_>> {
    let destination: [u8; 16] = *packet.get(24..40)?.first_chunk()?;
    let (mut protocol, mut payload) = (*packet.get(6)?, packet.get(40..)?);
    if protocol == 0 {
        let length = 8 + usize::from(*payload.get(1)?) * 8;
        (protocol, payload) = (*payload.first()?, payload.get(length..)?);
    }
    Some(Network { destination: Ipv6Addr::from(destination).into(), protocol, payload })
}

/// RFC 7348 §5: flags, reserved, VNI, reserved; then the tenant's frame.
fn vxlan(payload: &[u8]) -> Option<(u32, &[u8])> {
    let [_, _, _, _, a, b, c, _] = *payload.first_chunk::<VXLAN_LEN>()?;
    Some((u32::from_be_bytes([0, a, b, c]), &payload[VXLAN_LEN..]))
}

fn port(segment: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*segment.get(offset..offset + 2)?.first_chunk()?))
}

fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// Whether an MLD report or done names solicited-node groups only (ff02::1:ff00:0/104).
fn only_solicited_node(message: &[u8]) -> bool {
    let is_solicited = |octets: &[u8]| {
        let address = octets.first_chunk::<16>().map(|o| Ipv6Addr::from(*o).segments());
        matches!(address, Some([0xff02, 0, 0, 0, 0, 1, high, _]) if high & 0xff00 == 0xff00)
    };
    match message.first() {
        // MLDv1 report and done (RFC 2710 §3): one group at octet 8.
        Some(131 | 132) => message.get(8..24).is_some_and(is_solicited),
        // MLDv2 report (RFC 3810 §5.2): the number of records at octet 6, each type, aux length, sources, group.
        Some(143) => {
            let Some(count) = port(message, 6) else { return false };
            let mut rest = &message[8..];
            for _ in 0..count {
                let Some(group) = rest.get(4..20).filter(|group| is_solicited(group)) else { return false };
                let sources = usize::from(port(rest, 2).unwrap_or(0));
                let length = 4 + group.len() + sources * 16 + usize::from(rest[1]) * 4;
                rest = rest.get(length..).unwrap_or(&[]);
            }
            true
        }
        _ => false,
    }
}

fn name(network: &Network<'_>) -> String {
    let what = match (network.protocol, network.payload.first()) {
        (2, _) => "IGMP".to_string(),
        (ICMPV6, Some(130..=132 | 143)) => "MLD".to_string(),
        (ICMPV6, Some(kind)) => format!("ICMPv6 type {kind}"),
        (UDP, _) => format!("UDP port {}", port(network.payload, 2).unwrap_or(0)),
        (protocol, _) => format!("IP protocol {protocol}"),
    };
    format!("{what} to {}", network.destination)
}

/// The Internet checksum (RFC 1071) over the parts as if they were one. Each part but the last has an even length.
pub fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICAST: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn frame(destination: [u8; 6], kind: u16, packet: &[u8]) -> Vec<u8> {
        [&destination[..], &[2, 0, 0, 0, 0, 9], &kind.to_be_bytes(), packet].concat()
    }

    fn udp4(destination: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, UDP, 0, 0, 10, 0, 0, 1];
        packet.extend(destination);
        packet.extend([0xc0, 0]);
        packet.extend(port.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(payload);
        packet
    }

    fn icmp6(destination: &str, hop_by_hop: bool, message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, if hop_by_hop { 0 } else { ICMPV6 }, 255];
        packet.extend([0; 16]);
        packet.extend(destination.parse::<Ipv6Addr>().unwrap().octets());
        if hop_by_hop {
            packet.extend([ICMPV6, 0, 5, 2, 0, 0, 1, 0]);
        }
        packet.extend(message);
        packet
    }

    fn mld2(groups: &[&str]) -> Vec<u8> {
        let mut message = vec![143, 0, 0, 0, 0, 0, 0, groups.len() as u8];
        for group in groups {
            message.extend([4, 0, 0, 0]);
            message.extend(group.parse::<Ipv6Addr>().unwrap().octets());
        }
        message
    }

    #[test]
    fn vxlan_to_one_machine_and_to_a_group() {
        let payload = [&[8, 0, 0, 0, 0, 0, 100, 0][..], &frame(UNICAST, IPV4, &[])].concat();
        let sent = frame(UNICAST, IPV4, &udp4([10, 0, 0, 2], 4789, &payload));
        let Outgoing::Vxlan { to, vni, inner } = Frame::classify(&sent, 4789) else { panic!("not seen as VXLAN") };
        assert_eq!((to, vni), (IpAddr::from([10, 0, 0, 2]), 100));
        assert_eq!(Inner::of(inner).unwrap().destination, MacAddr(UNICAST));

        let sent = frame([1, 0, 0x5e, 1, 1, 1], IPV4, &udp4([239, 1, 1, 1], 4789, &payload));
        assert_eq!(Frame::classify(&sent, 4789), Outgoing::VxlanMulticast);
        let sent = frame(UNICAST, IPV4, &udp4([10, 0, 0, 2], 8472, &payload));
        assert_eq!(Frame::classify(&sent, 4789), Outgoing::Other);
    }

    #[test]
    fn the_underlay_resolves_addresses_for_itself() {
        assert_eq!(Frame::classify(&frame([0xff; 6], ARP, &[0; 28]), 4789), Outgoing::UnderlayResolution);
        let group = [0x33, 0x33, 0xff, 0, 0, 2];
        let solicitation = icmp6("ff02::1:ff00:2", false, &[135, 0, 0, 0]);
        assert_eq!(Frame::classify(&frame(group, IPV6, &solicitation), 4789), Outgoing::UnderlayResolution);
        let report = icmp6("ff02::16", true, &mld2(&["ff02::1:ff00:2", "ff02::1:ff12:3456"]));
        assert_eq!(Frame::classify(&frame([0x33, 0x33, 0, 0, 0, 0x16], IPV6, &report), 4789), Outgoing::UnderlayMld);
    }

    #[test]
    fn everything_else_to_a_group_is_multicast() {
        let report = icmp6("ff02::16", true, &mld2(&["ff02::1:ff00:2", "ff0e::4242"]));
        let sent = frame([0x33, 0x33, 0, 0, 0, 0x16], IPV6, &report);
        assert_eq!(Frame::classify(&sent, 4789), Outgoing::Multicast("MLD to ff02::16".into()));
        let sent = frame([0xff; 6], IPV4, &udp4([255, 255, 255, 255], 67, &[]));
        assert_eq!(Frame::classify(&sent, 4789), Outgoing::Multicast("UDP port 67 to 255.255.255.255".into()));
        let sent = frame([1, 0x80, 0xc2, 0, 0, 0], 0x0026, &[0; 40]);
        assert_eq!(Frame::classify(&sent, 4789), Outgoing::Multicast("EtherType 0x0026".into()));
    }

    #[test]
    fn short_frames_are_nothing() {
        for length in 0..60 {
            let mut sent = frame(UNICAST, IPV6, &icmp6("ff02::16", true, &mld2(&["ff02::1:ff00:2"])));
            sent.truncate(length);
            let _ = Frame::classify(&sent, 4789);
        }
    }

    #[test]
    fn checksum_of_rfc_1071() {
        assert_eq!(internet_checksum(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }
}
