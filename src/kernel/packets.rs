//! What hosts say about their addresses: ARP (RFC 826, RFC 5227), neighbour discovery (RFC 4861) and DHCP ACK (RFC 2131), read
//! from frames; the questions put to a host that has been silent; and what guests are told of an address that moved. Pure; no octets make
//! it panic.
//!
//! Believed is only what a host says of itself: the sender of an ARP is the sender of the frame, a link-layer address option
//! names it too. Probes (RFC 5227 §1.1) and duplicate address detection ask whether an address is free and claim nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::MacAddr;

const ETHERNET: usize = 14;
const IPV6_HEADER: usize = 40;
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
const UDP: u8 = 17;
/// Router solicitation and advertisement, neighbour solicitation and advertisement (RFC 4861 §4).
const RS: u8 = 133;
const RA: u8 = 134;
const NS: u8 = 135;
const NA: u8 = 136;
/// Source and target link-layer address (RFC 4861 §4.6.1).
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;
/// The address group of all nodes of a link (RFC 4291 §2.7.1), and its MAC (RFC 2464 §7).
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// Flags of an advertisement (RFC 4861 §4.4): its sender is a router; it is an answer; what it says replaces what is known.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const DHCP_COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
/// Message type and its value ACK (RFC 2132 §9.6).
const DHCP_TYPE: u8 = 53;
const DHCP_ACK: u8 = 5;

/// An address and who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub mac: MacAddr,
    pub ip: IpAddr,
    /// Whether the host is a router, where it said so.
    pub router: Option<bool>,
}

/// Reads a frame that came in at a port, from its Ethernet header on. `tunnel`: it came from another host, whose word is its own to
/// announce. `None`: its sender says nothing of an address.
pub(super) fn parse(frame: &[u8], tunnel: bool) -> Option<Heard> {
    let source = mac_at(frame, 6)?;
    let heard = match u16_at(frame, 12)? {
        ARP if !tunnel => arp(frame.get(ETHERNET..)?),
        IPV6 if !tunnel => discovery(frame.get(ETHERNET..)?, source),
        _ => None,
    }?;
    (heard.mac == source && is_sound(&heard)).then_some(heard)
}

/// What a DHCP server says of a client, from wherever it came in. Anybody can say so: it is not the client's word.
pub(super) fn leased(frame: &[u8]) -> Option<Heard> {
    (u16_at(frame, 12)? == IPV4).then(|| dhcp(frame.get(ETHERNET..)?)).flatten().filter(is_sound)
}

fn is_sound(heard: &Heard) -> bool {
    let other = match heard.ip {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.octets()[0] == 0,
        IpAddr::V6(_) => false,
    };
    heard.mac.is_station() && !(other || heard.ip.is_unspecified() || heard.ip.is_loopback() || heard.ip.is_multicast())
}

/// Sender of an ARP request or reply, a gratuitous one too.
fn arp(packet: &[u8]) -> Option<Heard> {
    // Ethernet and IPv4, with addresses of 6 and 4 octets.
    if packet.get(..6)? != [0, 1, 8, 0, 6, 4] || !matches!(u16_at(packet, 6)?, 1 | 2) {
        return None;
    }
    Some(Heard { mac: mac_at(packet, 8)?, ip: v4_at(packet, 14)?.into(), router: None })
}

/// The address that the sender of a frame asks for: ARP request or neighbour solicitation. Not where it asks whether its own is
/// free (RFC 5227 §1.1, RFC 4862 §5.4.2), nor where it only says that it has it.
pub(super) fn asked(frame: &[u8]) -> Option<IpAddr> {
    let packet = frame.get(ETHERNET..)?;
    match u16_at(frame, 12)? {
        ARP if packet.get(..8)? == [0, 1, 8, 0, 6, 4, 0, 1] => {
            let (sender, target) = (v4_at(packet, 14)?, v4_at(packet, 24)?);
            (!sender.is_unspecified() && sender != target && !target.is_unspecified()).then_some(target.into())
        }
        IPV6 if *packet.get(6)? == ICMPV6 && *packet.get(7)? == 255 => {
            let message = packet.get(IPV6_HEADER..)?;
            let solicits = *message.first()? == NS && !v6_at(packet, 8)?.is_unspecified();
            solicits.then_some(v6_at(message, 8)?.into())
        }
        _ => None,
    }
}

/// Whether a frame that says who has an address ([`parse`]) does so unasked, to everybody: an ARP whose sender and target are the same (RFC 5227
/// §2.3), an advertisement that no one solicited (RFC 4861 §7.2.6). A host does so when it comes by the address.
pub(super) fn is_unasked(frame: &[u8]) -> bool {
    let Some(packet) = frame.get(ETHERNET..) else { return false };
    match u16_at(frame, 12) {
        Some(ARP) => v4_at(packet, 14).is_some_and(|sender| v4_at(packet, 24) == Some(sender)),
        Some(IPV6) => {
            packet.get(IPV6_HEADER) == Some(&NA) && packet.get(IPV6_HEADER + 4).is_some_and(|flags| flags & SOLICITED == 0)
        }
        _ => false,
    }
}

/// The target of an advertisement, the source of a solicitation or of a router's advertisement.
fn discovery(packet: &[u8], source: MacAddr) -> Option<Heard> {
    // RFC 4861 §7.1: a hop limit of 255 shows that it comes from this link. Nothing stands between the headers.
    if packet.first()? >> 4 != 6 || *packet.get(6)? != ICMPV6 || *packet.get(7)? != 255 {
        return None;
    }
    let from = v6_at(packet, 8)?;
    let len = usize::from(u16_at(packet, 4)?);
    let message = packet.get(IPV6_HEADER..)?;
    let message = message.get(..len.min(message.len()))?;
    let kind = *message.first()?;
    if *message.get(1)? != 0 {
        return None;
    }
    if kind == NA {
        let flags = *message.get(4)?;
        // Without the option the frame's own source stands for it: the answer to a unicast solicitation may leave it out.
        let mac = option(message.get(24..)?, TARGET_ADDRESS)?.unwrap_or(source);
        return Some(Heard { mac, ip: v6_at(message, 8)?.into(), router: Some(flags & ROUTER != 0) });
    }
    let (options, router) = match kind {
        NS => (24, None),
        RS => (8, None),
        RA => (16, Some(true)),
        _ => return None,
    };
    let mac = option(message.get(options..)?, SOURCE_ADDRESS)??;
    Some(Heard { mac, ip: from.into(), router })
}

/// The link-layer address in an option of neighbour discovery, where there is one. The outer `None`: options that cannot be
/// read, with which the whole message is void (RFC 4861 §4.6).
fn option(mut options: &[u8], wanted: u8) -> Option<Option<MacAddr>> {
    while !options.is_empty() {
        let (kind, len) = (*options.first()?, usize::from(*options.get(1)?) * 8);
        if len == 0 {
            return None;
        }
        let (this, rest) = (options.get(..len)?, options.get(len..)?);
        if kind == wanted {
            return mac_at(this, 2).map(Some);
        }
        options = rest;
    }
    Some(None)
}

/// What a DHCP server gave a client.
fn dhcp(packet: &[u8]) -> Option<Heard> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    let fragment = u16_at(packet, 6)? & 0x3fff != 0;
    if packet.first()? >> 4 != 4 || header < 20 || fragment || *packet.get(9)? != UDP {
        return None;
    }
    let udp = packet.get(header..)?;
    if (u16_at(udp, 0)?, u16_at(udp, 2)?) != (67, 68) {
        return None;
    }
    let message = udp.get(8..)?;
    // BOOTREPLY to a client on Ethernet.
    if message.get(..3)? != [2, 1, 6] || message.get(236..240)? != DHCP_COOKIE {
        return None;
    }
    let mut options = message.get(240..)?;
    loop {
        match *options.first()? {
            0 => options = options.get(1..)?,
            255 => return None,
            kind => {
                let len = usize::from(*options.get(1)?);
                let value = options.get(2..2 + len)?;
                if kind == DHCP_TYPE {
                    // The client's address, where it only asked for other settings, is in ciaddr, and known.
                    let heard = Heard { mac: mac_at(message, 28)?, ip: v4_at(message, 16)?.into(), router: None };
                    return (value == [DHCP_ACK]).then_some(heard);
                }
                options = options.get(2 + len..)?;
            }
        }
    }
}

/// Asks a host whether it has an address, from a MAC of ours that answers come back to. Sent to the host alone (RFC 6085 for the
/// group). An ARP probe has no sender address and changes nobody's tables (RFC 5227 §2.1.1).
///
/// A host may be about to find out whether its address is free. It would take a solicitation from nowhere for somebody else's claim
/// and give the address up; so it is asked from the link-local address that IPv6 makes of our MAC, of which such a host takes no notice
/// (RFC 4862 §5.4.3). With ARP there is no such way: a host that has just come is not asked at once (`evpn/own_addresses`).
pub(super) fn probe(own: MacAddr, mac: MacAddr, ip: IpAddr) -> Vec<u8> {
    let mut frame = [mac.0, own.0].concat();
    match ip {
        IpAddr::V4(ip) => {
            arp_request(&mut frame, own, Ipv4Addr::UNSPECIFIED, ip);
        }
        IpAddr::V6(ip) => {
            let target = ip.octets();
            let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
            group[13..].copy_from_slice(&target[13..]);
            let mut message = vec![NS, 0, 0, 0, 0, 0, 0, 0];
            message.extend(target);
            let from = link_local(own).octets();
            message.extend([SOURCE_ADDRESS, 1]);
            message.extend(own.0);
            icmpv6(&mut frame, &from, &group, message);
        }
    }
    frame
}

/// The frame that says to everybody that an address is at a MAC, in that MAC's own name.
///
/// IPv4: an ARP announcement, a *request* for the address by its owner (RFC 5227 §2.3, §3: what every host takes; some take no reply that
/// they did not ask for). Who has an entry replaces the MAC (RFC 826). Linux does so with or without `arp_accept`, which is about new
/// entries; its locktime of 1 s does not hold for gratuitous ARP since 4.13 (`arp_is_garp`, `net/ipv4/arp.c`).
///
/// IPv6: an unsolicited advertisement (RFC 4861 §7.2.6) to all nodes, from the address itself. Override, or nobody would replace the MAC
/// (§7.2.5). The router flag must be right: a host that hears a router of its be none drops its routes through it.
pub fn announcement(mac: MacAddr, ip: IpAddr, router: bool) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => {
            let mut frame = [[0xff; 6], mac.0].concat();
            arp_request(&mut frame, mac, ip, ip);
            frame
        }
        IpAddr::V6(ip) => {
            let mut frame = [ALL_NODES_MAC, mac.0].concat();
            let mut message = vec![NA, 0, 0, 0, OVERRIDE | if router { ROUTER } else { 0 }, 0, 0, 0];
            message.extend(ip.octets());
            message.extend([TARGET_ADDRESS, 1]);
            message.extend(mac.0);
            icmpv6(&mut frame, &ip.octets(), &ALL_NODES, message);
            frame
        }
    }
}

/// An ARP request (RFC 826) behind the two MACs of its frame, as long as Ethernet has it.
fn arp_request(frame: &mut Vec<u8>, mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) {
    frame.extend(ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame.resize(60, 0);
}

/// A message of neighbour discovery, without its checksum, behind the two MACs of its frame.
fn icmpv6(frame: &mut Vec<u8>, from: &[u8; 16], to: &[u8; 16], mut message: Vec<u8>) {
    let sum = checksum(from, to, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    frame.extend(IPV6.to_be_bytes());
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([ICMPV6, 255]);
    frame.extend(from);
    frame.extend(to);
    frame.extend(message);
}

/// The address that a host makes of its MAC (RFC 4291 appendix A, RFC 2464 §5).
pub(super) fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// The checksum of an ICMPv6 message of even length (RFC 4443 §2.3, RFC 8200 §8.1).
fn checksum(from: &[u8; 16], to: &[u8; 16], message: &[u8]) -> u16 {
    let words = |octets: &[u8]| octets.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let mut sum = words(from) + words(to) + words(message) + message.len() as u32 + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}
fn mac_at(octets: &[u8], at: usize) -> Option<MacAddr> {
    Some(MacAddr(octets.get(at..at + 6)?.try_into().ok()?))
}
fn v4_at(octets: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets.get(at..at + 4)?).ok()?))
}
fn v6_at(octets: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(octets.get(at..at + 16)?).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn arp_frame(source: MacAddr, operation: u8, mac: MacAddr, ip: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = [[0xff; 6], source.0].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend(mac.0);
        frame.extend(ip);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    }

    fn nd_frame(source: MacAddr, from: &str, kind: u8, flags: u8, target: &str, options: &[u8], hops: u8) -> Vec<u8> {
        let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
        match kind {
            NS | NA => message.extend(v6(target)),
            RA => message.extend([0; 8]),
            _ => {}
        }
        message.extend(options);
        let mut frame = [[0x33, 0x33, 0, 0, 0, 1], source.0].concat();
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, hops]);
        frame.extend(v6(from));
        frame.extend(v6("ff02::1"));
        frame.extend(message);
        frame
    }

    fn dhcp_frame(kind: u8, mac: MacAddr, ip: [u8; 4]) -> Vec<u8> {
        let mut message = vec![2, 1, 6, 0];
        message.resize(16, 0);
        message.extend(ip);
        message.resize(28, 0);
        message.extend(mac.0);
        message.resize(236, 0);
        message.extend(DHCP_COOKIE);
        message.extend([0, 54, 4, 192, 0, 2, 254, DHCP_TYPE, 1, kind, 255]);
        let mut frame = [mac.0, OTHER.0].concat();
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, UDP, 0, 0, 192, 0, 2, 254, 255, 255, 255, 255]);
        frame.extend([0, 67, 0, 68, 0, 0, 0, 0]);
        frame.extend(message);
        frame
    }

    fn heard(ip: &str, router: Option<bool>) -> Option<Heard> {
        Some(Heard { mac: HOST, ip: ip.parse().unwrap(), router })
    }

    #[test]
    fn arp_says_who_sends_it() {
        let (ip, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        for (operation, target) in [(1, other), (2, other), (1, ip), (2, ip)] {
            assert_eq!(parse(&arp_frame(HOST, operation, HOST, ip, target), false), heard("192.0.2.1", None));
        }
        assert_eq!(parse(&arp_frame(HOST, 1, HOST, [0; 4], ip), false), None, "a probe claims nothing");
        assert_eq!(parse(&arp_frame(OTHER, 2, HOST, ip, other), false), None, "somebody else's word");
        assert_eq!(parse(&arp_frame(HOST, 3, HOST, ip, other), false), None, "reverse ARP");
        assert_eq!(parse(&arp_frame(HOST, 1, HOST, [224, 0, 0, 1], other), false), None);
        assert_eq!(parse(&arp_frame(HOST, 1, HOST, ip, other), true), None, "it is another host's to announce");
    }

    #[test]
    fn neighbour_discovery_says_who_sends_it_and_whether_it_is_a_router() {
        let link = |kind: u8, mac: MacAddr| [&[kind, 1][..], &mac.0].concat();
        let (target, own) = (link(TARGET_ADDRESS, HOST), link(SOURCE_ADDRESS, HOST));
        let parse = |frame: Vec<u8>| parse(&frame, false);
        let frame = |from, kind, flags, options: &[u8]| nd_frame(HOST, from, kind, flags, "2001:db8::1", options, 255);
        assert_eq!(parse(frame("fe80::1", NA, 0xa0, &target)), heard("2001:db8::1", Some(true)));
        assert_eq!(parse(frame("2001:db8::1", NA, 0x60, &[])), heard("2001:db8::1", Some(false)));
        assert_eq!(parse(frame("2001:db8::7", NS, 0, &own)), heard("2001:db8::7", None));
        assert_eq!(
            parse(frame("fe80::7", RA, 0, &[&[5, 1, 0, 0, 0, 0, 5, 0xdc], &own[..]].concat())),
            heard("fe80::7", Some(true))
        );
        assert_eq!(parse(frame("fe80::7", RS, 0, &own)), heard("fe80::7", None));
        assert_eq!(parse(frame("::", NS, 0, &own)), None, "duplicate address detection");
        assert_eq!(parse(frame("2001:db8::7", NS, 0, &[])), None);
        assert_eq!(parse(frame("fe80::1", NA, 0, &link(TARGET_ADDRESS, OTHER))), None, "somebody else's word");
        assert_eq!(parse(nd_frame(HOST, "fe80::1", NA, 0, "2001:db8::1", &target, 64)), None, "from behind a router");
        assert_eq!(parse(frame("fe80::1", NA, 0, &[TARGET_ADDRESS, 0, 0, 0])), None, "an option without length");
    }

    #[test]
    fn who_is_asked_for_is_told_but_not_by_probes_and_announcements() {
        let (ip, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        assert_eq!(asked(&arp_frame(HOST, 1, HOST, ip, other)), Some(IpAddr::from(other)));
        assert_eq!(asked(&arp_frame(HOST, 1, HOST, ip, ip)), None, "it says that it has it");
        assert_eq!(asked(&arp_frame(HOST, 1, HOST, [0; 4], other)), None, "it asks whether it is free");
        assert_eq!(asked(&arp_frame(HOST, 2, HOST, ip, other)), None, "an answer");
        let own = [&[SOURCE_ADDRESS, 1][..], &HOST.0].concat();
        let frame = |from, kind, hops| nd_frame(HOST, from, kind, 0, "2001:db8::2", &own, hops);
        assert_eq!(asked(&frame("2001:db8::1", NS, 255)), Some("2001:db8::2".parse().unwrap()));
        assert_eq!(asked(&frame("::", NS, 255)), None, "duplicate address detection");
        assert_eq!(asked(&frame("2001:db8::1", NS, 64)), None, "from behind a router");
        assert_eq!(asked(&frame("2001:db8::1", NA, 255)), None, "an answer");
        assert_eq!(asked(&dhcp_frame(DHCP_ACK, HOST, ip)), None);
    }

    #[test]
    fn a_dhcp_server_says_what_it_gave_whom() {
        assert_eq!(leased(&dhcp_frame(DHCP_ACK, HOST, [192, 0, 2, 1])), heard("192.0.2.1", None));
        assert_eq!(leased(&dhcp_frame(2, HOST, [192, 0, 2, 1])), None, "an offer is no lease");
        assert_eq!(leased(&dhcp_frame(DHCP_ACK, HOST, [0; 4])), None, "settings only");
        assert_eq!(parse(&dhcp_frame(DHCP_ACK, HOST, [192, 0, 2, 1]), false), None, "the client has not said it");
        assert_eq!(leased(&arp_frame(HOST, 2, HOST, [192, 0, 2, 1], [192, 0, 2, 2])), None);
    }

    #[test]
    fn who_says_so_unasked_has_just_come_by_the_address() {
        let ip = [192, 0, 2, 1];
        for (frame, unasked) in [
            (arp_frame(HOST, 1, HOST, ip, ip), true),
            (arp_frame(HOST, 2, HOST, ip, ip), true),
            (arp_frame(HOST, 1, HOST, ip, [192, 0, 2, 2]), false),
            (nd_frame(HOST, "fe80::1", NA, 0x20, "2001:db8::1", &[], 255), true),
            (nd_frame(HOST, "fe80::1", NA, 0x60, "2001:db8::1", &[], 255), false),
            (nd_frame(HOST, "fe80::1", NS, 0, "2001:db8::1", &[], 255), false),
            (vec![0; 14], false),
        ] {
            assert_eq!(is_unasked(&frame), unasked, "{frame:?}");
        }
    }

    #[test]
    fn a_question_claims_nothing_of_the_segment_and_is_whole() {
        let ours = Heard { mac: OTHER, ip: link_local(OTHER).into(), router: None };
        for (ip, claimed) in [("192.0.2.1", None), ("2001:db8::12:3456", Some(ours))] {
            let frame = probe(OTHER, HOST, ip.parse().unwrap());
            assert_eq!((&frame[..6], &frame[6..12]), (&HOST.0[..], &OTHER.0[..]));
            assert_eq!(parse(&frame, false), claimed);
        }
        let frame = probe(OTHER, HOST, "2001:db8::12:3456".parse().unwrap());
        assert_eq!(&frame[38..54], "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap().octets());
        // A sum over what is right, the sum itself included, has all bits set.
        let octets = |range: std::ops::Range<usize>| <[u8; 16]>::try_from(&frame[range]).unwrap();
        assert_eq!(checksum(&octets(22..38), &octets(38..54), &frame[54..]), 0);
    }

    /// A host that is about to find out whether the address is free gives it up where somebody asks from nowhere.
    #[test]
    fn nobody_is_asked_from_nowhere() {
        let frame = probe(OTHER, HOST, link_local(HOST).into());
        assert_eq!(frame[22..38], "fe80::ff:fe00:2".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(frame[78..], [1, 1, 2, 0, 0, 0, 0, 2]);
        assert_eq!(asked(&frame), Some("fe80::ff:fe00:1".parse().unwrap()));
        let octets = |range: std::ops::Range<usize>| <[u8; 16]>::try_from(&frame[range]).unwrap();
        assert_eq!(checksum(&octets(22..38), &octets(38..54), &frame[54..]), 0);
    }

    /// What a listener takes for the owner's own word.
    #[test]
    fn an_announcement_is_the_owners_word_to_everybody() {
        for (ip, router) in [("192.0.2.1", None), ("2001:db8::1", Some(true)), ("fe80::1", Some(false))] {
            let frame = announcement(HOST, ip.parse().unwrap(), router == Some(true));
            assert_eq!((parse(&frame, false), asked(&frame)), (heard(ip, router), None));
        }
        let arp = announcement(HOST, "192.0.2.1".parse().unwrap(), false);
        assert_eq!(arp, {
            let mut frame = arp_frame(HOST, 1, HOST, [192, 0, 2, 1], [192, 0, 2, 1]);
            frame.resize(60, 0);
            frame
        });
        let advertised = announcement(HOST, "2001:db8::1".parse().unwrap(), true);
        assert_eq!(
            (&advertised[..6], advertised[21], advertised[54], advertised[58]),
            (&[0x33, 0x33, 0, 0, 0, 1][..], 255, NA, 0xa0)
        );
        assert_eq!((&advertised[38..54], &advertised[78..]), (&ALL_NODES[..], &[2, 1, 2, 0, 0, 0, 0, 1][..]));
        let octets = |range: std::ops::Range<usize>| <[u8; 16]>::try_from(&advertised[range]).unwrap();
        assert_eq!(checksum(&octets(22..38), &octets(38..54), &advertised[54..]), 0);
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..400), tunnel: bool) {
            let _ = (parse(&octets, tunnel), asked(&octets), is_unasked(&octets));
        }

        /// Whatever is cut off or changed, what is heard is sound and of the frame's own sender; a lease is sound.
        #[test]
        fn what_is_heard_is_sound(which in 0..6usize, at in 0..330usize, to: u8, cut in 0..330usize) {
            let link = [&[SOURCE_ADDRESS, 1][..], &HOST.0].concat();
            let mut frame = match which {
                0 => arp_frame(HOST, 1, HOST, [192, 0, 2, 1], [192, 0, 2, 2]),
                1 => dhcp_frame(DHCP_ACK, HOST, [192, 0, 2, 1]),
                2 => nd_frame(HOST, "fe80::1", NA, 0x80, "2001:db8::1", &[], 255),
                3 => nd_frame(HOST, "fe80::1", NS, 0, "2001:db8::1", &link, 255),
                4 => nd_frame(HOST, "fe80::1", RA, 0, "::", &link, 255),
                _ => nd_frame(HOST, "fe80::1", RS, 0, "::", &link, 255),
            };
            if let Some(octet) = frame.get_mut(at) {
                *octet = to;
            }
            frame.truncate(frame.len().min(cut.max(1)));
            let _ = asked(&frame);
            if let Some(heard) = parse(&frame, false) {
                prop_assert!(is_sound(&heard));
                prop_assert_eq!(&frame[6..12], &heard.mac.0);
            }
            prop_assert!(leased(&frame).is_none_or(|heard| is_sound(&heard)));
        }
    }
}
