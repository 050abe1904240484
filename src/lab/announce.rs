//! What a hypervisor sends for a guest that has just arrived, so that every switch learns where it is now: a gratuitous
//! ARP (RFC 5227 §3) and an unsolicited neighbour advertisement (RFC 4861 §7.2.6).

use std::io;
use std::net::IpAddr;

use super::capture::FrameSocket;
use super::failed;
use super::links::Links;
use super::netns::Namespace;
use crate::base::MacAddr;
use crate::kernel::announcement;

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
            self.socket.send(&announcement(mac, *address, false)).map_err(|e| failed(format_args!("announce {address}"), e))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::packet::{Frame, Inner, Outgoing, internet_checksum};

    #[test]
    fn both_are_well_formed() {
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        let arp = announcement(mac, "192.168.1.7".parse().unwrap(), false);
        assert_eq!(arp.len(), 60);
        assert!(matches!(Frame::classify(&arp, 4789), Outgoing::UnderlayResolution));

        let advertisement = announcement(mac, "fd10::7".parse().unwrap(), false);
        let ipv6 = &advertisement[14..];
        let pseudo = [&ipv6[8..40], &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
        assert_eq!(internet_checksum(&[&pseudo, &ipv6[40..]]), 0, "the checksum must prove itself");
        assert!(matches!(Frame::classify(&advertisement, 4789), Outgoing::UnderlayResolution));
        assert!(Inner::of(&advertisement).is_some_and(|inner| inner.destination.is_multicast()));
    }
}
