//! Netlink octets to values and back: messages, attributes, answers. No socket, no state, no panic on any input.
//!
//! Why our own and not `netlink-packet-route`: see `docs/decisions/0003-kernel-netlink.md`. Everything here is in host byte
//! order, as the kernel wants it (`netlink(7)`), but for what is marked big-endian at its place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::MacAddr;

/// Octets of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// Octets of `struct ifinfomsg`.
pub(super) const IFINFO: usize = 16;
/// Octets of `struct ndmsg`.
pub(super) const NDMSG: usize = 12;
/// `NLA_F_NESTED`, `include/uapi/linux/netlink.h`.
pub(super) const NESTED: u16 = 0x8000;

/// One message of a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Walks the messages of one datagram; ends at the first that does not fit.
#[derive(Debug, Clone)]
pub(super) struct Messages<'a>(&'a [u8]);

/// The messages in `octets`.
pub(super) fn messages(octets: &[u8]) -> Messages<'_> {
    Messages(octets)
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = u32_at(self.0, 0)? as usize;
        let (kind, flags, sequence) = (u16_at(self.0, 4)?, u16_at(self.0, 6)?, u32_at(self.0, 8)?);
        let body = self.0.get(HEADER..len)?;
        self.0 = self.0.get(aligned(len)..).unwrap_or_default();
        Some(Message { kind, flags, sequence, body })
    }
}

/// Walks attributes; ends at the first that does not fit.
#[derive(Debug, Clone)]
pub(super) struct Attributes<'a>(&'a [u8]);

/// The attributes in `octets`, with the flag bits taken off their types.
pub(super) fn attributes(octets: &[u8]) -> Attributes<'_> {
    Attributes(octets)
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let (len, kind) = (usize::from(u16_at(self.0, 0)?), u16_at(self.0, 2)?);
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(aligned(len)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    }
}

/// An answer to a request: `NLMSG_ERROR`, or the code in `NLMSG_DONE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Positive errno; 0 where it is an acknowledgement.
    pub errno: i32,
    /// What the kernel says of it in words (extended ACK), where it does.
    pub text: Option<String>,
}

/// Reads the body of an `NLMSG_ERROR`. A body too short to hold a code is `EPROTO`.
pub(super) fn answer(message: &Message<'_>) -> Answer {
    let Some(code) = u32_at(message.body, 0) else { return Answer { errno: libc::EPROTO, text: None } };
    let errno = (code as i32).checked_neg().unwrap_or(libc::EPROTO);
    // include/uapi/linux/netlink.h: the request's header, and its body unless NLM_F_CAPPED, then attributes.
    let mut text = None;
    if i32::from(message.flags) & libc::NLM_F_ACK_TLVS != 0 {
        let copied = if i32::from(message.flags) & libc::NLM_F_CAPPED != 0 {
            HEADER
        } else {
            u32_at(message.body, 4).map_or(HEADER, |len| aligned(len as usize))
        };
        let rest = copied.checked_add(4).and_then(|at| message.body.get(at..)).unwrap_or_default();
        const MSG: u16 = 1; // NLMSGERR_ATTR_MSG
        text = attributes(rest).find(|(kind, _)| *kind == MSG).map(|(_, value)| string(value));
    }
    Answer { errno, text }
}

/// Starts a message at the end of `out`; `finish` sets its length.
pub(super) fn begin(out: &mut Vec<u8>, kind: u16, flags: i32, sequence: u32) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(flags as u16).to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    at
}

/// Ends the message that began at `at`.
pub(super) fn finish(out: &mut [u8], at: usize) {
    let len = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&len.to_ne_bytes());
}

/// Appends one attribute, padded to 4 octets. Values are short: none passes 64 KiB.
pub(super) fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = 4 + value.len();
    out.extend_from_slice(&(len as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len() + aligned(len) - len, 0);
}

/// Appends an attribute that holds attributes: those that `inside` appends.
pub(super) fn nested(out: &mut Vec<u8>, kind: u16, inside: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    attribute(out, kind | NESTED, &[]);
    inside(out);
    let len = (out.len() - at) as u16;
    out[at..at + 2].copy_from_slice(&len.to_ne_bytes());
}

/// Appends a string attribute with its final zero.
pub(super) fn text(out: &mut Vec<u8>, kind: u16, value: &str) {
    let mut octets = value.as_bytes().to_vec();
    octets.push(0);
    attribute(out, kind, &octets);
}

/// Appends `struct ifinfomsg`.
pub(super) fn ifinfo(out: &mut Vec<u8>, family: u8, ifindex: u32, flags: u32, change: u32) {
    out.extend_from_slice(&[family, 0, 0, 0]);
    out.extend_from_slice(&ifindex.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&change.to_ne_bytes());
}

/// Appends `struct ndmsg` of family `AF_BRIDGE`.
pub(super) fn ndmsg(out: &mut Vec<u8>, ifindex: u32, state: u16, flags: u8) {
    out.extend_from_slice(&[libc::AF_BRIDGE as u8, 0, 0, 0]);
    out.extend_from_slice(&ifindex.to_ne_bytes());
    out.extend_from_slice(&state.to_ne_bytes());
    out.extend_from_slice(&[flags, 0]);
}

/// Appends an address attribute of 4 or 16 octets.
pub(super) fn address(out: &mut Vec<u8>, kind: u16, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => attribute(out, kind, &ip.octets()),
        IpAddr::V6(ip) => attribute(out, kind, &ip.octets()),
    }
}

/// An address of 4 or 16 octets.
pub(super) fn ip_of(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    <[u8; 16]>::try_from(value).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
}

/// A MAC address of 6 octets.
pub(super) fn mac_of(value: &[u8]) -> Option<MacAddr> {
    <[u8; 6]>::try_from(value).ok().map(MacAddr)
}

/// A string up to its first zero; octets that are not UTF-8 are replaced.
pub(super) fn string(value: &[u8]) -> String {
    let end = value.iter().position(|octet| *octet == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// The first octet, where there is one.
pub(super) fn u8_of(value: &[u8]) -> Option<u8> {
    value.first().copied()
}

/// A number of 32 bits at the beginning.
pub(super) fn u32_of(value: &[u8]) -> Option<u32> {
    u32_at(value, 0)
}

/// A number of 16 bits at `at`.
pub(super) fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}

/// A number of 32 bits at `at`.
pub(super) fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(octets.get(at..at + 4)?.try_into().ok()?))
}

/// `NLMSG_ALIGN` and `NLA_ALIGN`.
fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        for sequence in [7, 8] {
            let at = begin(&mut out, 16, libc::NLM_F_REQUEST, sequence);
            ifinfo(&mut out, 0, 3, 0, 0);
            text(&mut out, libc::IFLA_IFNAME, "vxlan100");
            nested(&mut out, libc::IFLA_LINKINFO, |out| attribute(out, 9, &[1]));
            finish(&mut out, at);
        }
        let read: Vec<_> = messages(&out).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[1].kind, read[1].sequence), (16, 8));
        let found: Vec<_> = attributes(&read[0].body[IFINFO..]).collect();
        assert_eq!(string(found[0].1), "vxlan100");
        assert_eq!(attributes(found[1].1).collect::<Vec<_>>(), [(9, &[1u8][..])]);
    }

    #[test]
    fn lengths_that_lie_end_the_walk() {
        for len in [0u32, 1, 15, 17, u32::MAX] {
            let mut octets = vec![0; 16];
            octets[..4].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(messages(&octets).count(), 0, "{len}");
        }
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[0xff, 0xff, 1, 0]).count(), 0);
        assert_eq!(attributes(&[4, 0, 1, 0]).count(), 1);
    }

    #[test]
    fn an_answer_without_a_code_is_an_error() {
        let message = Message { kind: 2, flags: 0, sequence: 0, body: &[] };
        assert_eq!(answer(&message).errno, libc::EPROTO);
        let body = i32::MIN.to_ne_bytes();
        assert_eq!(answer(&Message { body: &body, ..message }).errno, libc::EPROTO);
    }
}
