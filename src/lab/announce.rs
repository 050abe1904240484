//! What a hypervisor sends for a guest that has just arrived, so that every switch learns where it is now: a gratuitous
//! ARP (RFC 5227 §3) and an unsolicited neighbour advertisement (RFC 4861 §7.2.6).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::capture::FrameSocket;
use super::failed;
use super::links::Links;
use super::netns::Namespace;
use super::packet::internet_checksum;
use crate::base::MacAddr;

/// Announces `addresses` of the station `mac` from `interface` of `namespace`, each once.
pub fn announce(namespace: &Namespace, interface: &str, mac: MacAddr, addresses: &[IpAddr]) -> io::Result<()> {
    Announcer::open(namespace, interface)?.announce(mac, addresses)
}

/// A socket from which stations are announced, opened beforehand where every millisecond counts.
#[derive(Debug)]
pub struct Announcer {
    socket: FrameSocket,
}

impl Announcer {
    /// Opens one on `interface` of `namespace`.
    pub fn open(namespace: &Namespace, interface: &str) -> io::Result<Self> {
        let index = Links::open(namespace)?
            .index(interface)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no link {interface}")))?;
        Ok(Self { socket: FrameSocket::open(namespace, index)? })
    }

    /// Announces `addresses` of the station `mac`, each once.
    pub fn announce(&self, mac: MacAddr, addresses: &[IpAddr]) -> io::Result<()> {
        for address in addresses {
            let frame = match address {
                IpAddr::V4(address) => gratuitous_arp(mac, *address),
                IpAddr::V6(address) => unsolicited_advertisement(mac, *address),
            };
            self.socket.send(&frame).map_err(|e| failed(format_args!("announce {address}"), e))?;
        }
        Ok(())
    }
}

/// An ARP announcement: a broadcast request whose sender and target address are the same (RFC 5227 §3).
pub fn gratuitous_arp(mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet([0xff; 6], mac, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, lengths, request
    frame.extend(mac.0);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// An unsolicited neighbour advertisement to all nodes with the override flag (RFC 4861 §4.4).
pub fn unsolicited_advertisement(mac: MacAddr, address: Ipv6Addr) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    message.extend([2, 1]); // target link-layer address, one unit of 8 octets
    message.extend(mac.0);
    let length = message.len() as u16;
    let pseudo = [&address.octets()[..], &ALL_NODES.octets(), &u32::from(length).to_be_bytes(), &[0, 0, 0, 58]].concat();
    let checksum = internet_checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());

    let mut frame = ethernet([0x33, 0x33, 0, 0, 0, 1], mac, 0x86dd);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([58, 255]); // ICMPv6, hop limit 255 (RFC 4861 §7.1.2)
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet(destination: [u8; 6], source: MacAddr, kind: u16) -> Vec<u8> {
    [&destination[..], &source.0, &kind.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::packet::{Frame, Inner, Outgoing};

    #[test]
    fn both_are_well_formed() {
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        let arp = gratuitous_arp(mac, Ipv4Addr::new(192, 168, 1, 7));
        assert_eq!(arp.len(), 42);
        assert!(matches!(Frame::classify(&arp, 4789), Outgoing::UnderlayResolution));

        let advertisement = unsolicited_advertisement(mac, "fd10::7".parse().unwrap());
        let ipv6 = &advertisement[14..];
        let pseudo = [&ipv6[8..40], &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
        assert_eq!(internet_checksum(&[&pseudo, &ipv6[40..]]), 0, "the checksum must prove itself");
        assert!(matches!(Frame::classify(&advertisement, 4789), Outgoing::UnderlayResolution));
        assert!(Inner::of(&advertisement).is_some_and(|inner| inner.destination.is_multicast()));
    }
}
