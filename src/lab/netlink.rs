//! A small blocking rtnetlink client: one request, its replies, its result. The lab makes tens of links, so there is
//! nothing to batch here; the daemon's own writer is in the `kernel` room.
//!
//! Replies are handed on as octets: a caller takes the field it needs, and an attribute that a newer kernel added cannot
//! make a whole answer unreadable.

use std::fmt;
use std::io;

use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::netns::Namespace;

/// `NLM_F_REQUEST | NLM_F_ACK` (linux/netlink.h): do it and tell how it went.
pub const ACK: u16 = 0x01 | 0x04;
/// `NLM_F_CREATE | NLM_F_EXCL` with [`ACK`]: make it, and fail where it exists.
pub const CREATE: u16 = ACK | 0x400 | 0x200;
/// `NLM_F_CREATE | NLM_F_APPEND` with [`ACK`]: one more beside what exists (flood lists).
pub const APPEND: u16 = ACK | 0x400 | 0x800;
/// `NLM_F_CREATE | NLM_F_REPLACE` with [`ACK`]: make it or change what exists.
pub const REPLACE: u16 = ACK | 0x400 | 0x100;
/// `NLM_F_REQUEST | NLM_F_DUMP`: list everything.
pub const DUMP: u16 = 0x01 | 0x300;

const HEADER_LEN: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One message of an answer or of a subscription: its type (`RTM_…`) and its body without the netlink header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `RTM_NEWLINK`, `RTM_NEWNEIGH` …
    pub kind: u16,
    /// The family header (`ifinfomsg`, `ndmsg` …) and the attributes.
    pub body: Vec<u8>,
}

/// What the kernel answered where it did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetlinkError {
    /// The errno, positive; 0 where the answer itself made no sense.
    pub errno: i32,
    /// The kernel's own sentence, where it gave one.
    pub words: Option<String>,
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = io::Error::from_raw_os_error(self.errno);
        match &self.words {
            Some(words) => write!(f, "{words} ({errno})"),
            None => errno.fmt(f),
        }
    }
}

impl std::error::Error for NetlinkError {}

impl From<io::Error> for NetlinkError {
    fn from(error: io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(0);
        Self { errno, words: (errno == 0).then(|| error.to_string()) }
    }
}

impl From<NetlinkError> for io::Error {
    fn from(error: NetlinkError) -> Self {
        let kind = io::Error::from_raw_os_error(error.errno).kind();
        io::Error::new(kind, error)
    }
}

/// A netlink socket that belongs to one namespace, whichever thread uses it.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in `namespace`.
    pub fn open(namespace: &Namespace) -> io::Result<Self> {
        namespace.run(|| {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            // Words from the kernel (4.12), capped echoes (4.3), checked dump filters (4.20): each is a help, none a need.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            let _ = socket.set_netlink_get_strict_chk(true);
            Ok(Self { socket, sequence: 0 })
        })?
    }

    /// Subscribes to a multicast group such as `RTNLGRP_NEIGH` (3); read with [`Netlink::receive`].
    pub fn subscribe(&mut self, group: u32) -> io::Result<()> {
        let _ = self.socket.set_rx_buf_sz(4 * 1024 * 1024);
        self.socket.add_membership(group)
    }

    /// Sends one request and collects its answer. The error is the kernel's errno, with its own words where it gave any.
    pub fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<Vec<Message>, NetlinkError> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut octets = vec![0; packet.buffer_len()];
        packet.serialize(&mut octets);
        self.socket.send_to(&octets, &SocketAddr::new(0, 0), 0)?;

        let mut answer = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for item in messages(&datagram) {
                let (kind, flags, sequence, body) = item?;
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    // NLMSG_DONE carries the result of a dump: a failed one would else look like an empty table.
                    NLMSG_ERROR | NLMSG_DONE => return result(flags, body).map(|()| answer),
                    _ => answer.push(Message { kind, body: body.to_vec() }),
                }
            }
        }
    }

    /// Waits for the next datagram of a subscription. An empty list after a read timeout is never returned: the call
    /// blocks (see [`Netlink::set_nonblocking`]).
    pub fn receive(&mut self) -> io::Result<Vec<Message>> {
        let (datagram, _) = self.socket.recv_from_full()?;
        messages(&datagram).map(|item| item.map(|(kind, _, _, body)| Message { kind, body: body.to_vec() })).collect()
    }

    /// Makes [`Netlink::receive`] return `WouldBlock` where nothing waits.
    pub fn set_nonblocking(&mut self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_non_blocking(nonblocking)
    }
}

impl std::os::fd::AsFd for Netlink {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

type Item<'a> = io::Result<(u16, u16, u32, &'a [u8])>;

/// The messages of one datagram: (type, flags, sequence, body).
fn messages(datagram: &[u8]) -> impl Iterator<Item = Item<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.len() < HEADER_LEN {
            return None;
        }
        let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        if length < HEADER_LEN || length > rest.len() {
            rest = &[];
            return Some(Err(io::Error::new(io::ErrorKind::InvalidData, "netlink message with a wrong length")));
        }
        let kind = u16::from_ne_bytes([rest[4], rest[5]]);
        let flags = u16::from_ne_bytes([rest[6], rest[7]]);
        let sequence = u32::from_ne_bytes([rest[8], rest[9], rest[10], rest[11]]);
        let body = &rest[HEADER_LEN..length];
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some(Ok((kind, flags, sequence, body)))
    })
}

/// The body of NLMSG_ERROR or NLMSG_DONE: a negative errno, or 0.
fn result(flags: u16, body: &[u8]) -> Result<(), NetlinkError> {
    let Some(code) = body.first_chunk::<4>().map(|octets| i32::from_ne_bytes(*octets)) else {
        return Ok(());
    };
    if code == 0 {
        return Ok(());
    }
    Err(NetlinkError { errno: code.saturating_neg(), words: extended_words(flags, body) })
}

/// The kernel's own sentence in an extended acknowledgement (NLMSGERR_ATTR_MSG), behind the echo of our header.
fn extended_words(flags: u16, body: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let echoed = u32::from_ne_bytes(*body.get(4..8)?.first_chunk()?) as usize;
    let skip = 4 + if flags & NLM_F_CAPPED != 0 { HEADER_LEN } else { echoed.next_multiple_of(4) };
    let mut rest = body.get(skip..)?;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff;
        let value = rest.get(4..length)?;
        if kind == NLMSGERR_ATTR_MSG {
            let text = String::from_utf8_lossy(value);
            return Some(text.trim_end_matches('\0').to_string());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}
