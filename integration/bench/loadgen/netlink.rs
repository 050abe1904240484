//! Neighbour messages of rtnetlink, as octets: an event socket and a batch writer. Its own, so that the wall is not the
//! daemon's writer measured against itself.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// RTM_NEWNEIGH
pub const NEW: u16 = 28;
/// RTM_DELNEIGH
pub const DELETE: u16 = 29;
/// NTF_SELF: the device's own FDB.
pub const SELF: u8 = 0x02;
/// NTF_MASTER: the bridge's FDB.
pub const MASTER: u8 = 0x04;
/// NTF_EXT_LEARNED: held by a control plane.
pub const EXT_LEARNED: u8 = 0x10;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_NH_ID: u16 = 13;
const RTMGRP_NEIGH: u32 = 4;
const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;
const NDMSG: usize = 12;

/// A route netlink socket of the calling thread's namespace.
pub struct Netlink {
    fd: OwnedFd,
    boxes: Vec<[u8; 512]>,
}

/// One FDB event.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// RTM_DELNEIGH rather than RTM_NEWNEIGH.
    pub deleted: bool,
    /// NTF_* flags.
    pub flags: u8,
    /// The address.
    pub mac: [u8; 6],
    /// Whether a remote VTEP is named, or a nexthop group in its place.
    pub has_destination: bool,
}

impl Netlink {
    /// Opens it; with `events` it hears every neighbour change, through a receive buffer that holds a million of them.
    pub fn open(events: bool) -> io::Result<Self> {
        // SAFETY: plain system call.
        let raw = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let size: libc::c_int = 1 << 30;
        // SAFETY: an int that lives through the call, and its size.
        unsafe {
            libc::setsockopt(raw, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const size).cast(), size_of_val(&size) as u32);
        }
        // SAFETY: sockaddr_nl is plain data.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = if events { RTMGRP_NEIGH } else { 0 };
        // SAFETY: a whole sockaddr_nl and its size.
        let bound = unsafe { libc::bind(raw, (&raw const address).cast(), size_of::<libc::sockaddr_nl>() as u32) };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd, boxes: vec![[0; 512]; 64] })
    }

    /// The descriptor, to poll.
    pub fn descriptor(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Takes up to 64 waiting datagrams and gives each FDB event to `each`. False where nothing waits. `Err` ENOBUFS: some were lost.
    pub fn events(&mut self, mut each: impl FnMut(Event)) -> io::Result<bool> {
        let mut vectors: Vec<libc::iovec> =
            self.boxes.iter_mut().map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() }).collect();
        let mut headers: Vec<libc::mmsghdr> = vectors
            .iter_mut()
            .map(|vector| {
                // SAFETY: mmsghdr is plain data.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        // SAFETY: as many headers as said, each with one vector into a box of ours.
        let got = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) };
        }
        for (header, octets) in headers.iter().zip(&self.boxes).take(got as usize) {
            messages(&octets[..(header.msg_len as usize).min(512)], |kind, body| {
                if let Some(event) = event(kind, body) {
                    each(event);
                }
            });
        }
        Ok(true)
    }

    /// Waits until something can be read.
    pub fn wait(&self, limit: Duration) -> bool {
        let mut descriptors = [libc::pollfd { fd: self.descriptor(), events: libc::POLLIN, revents: 0 }];
        crate::poll(&mut descriptors, limit).is_ok() && descriptors[0].revents != 0
    }

    /// Sends a batch whose last request asks for an ACK, and gives the number of requests that were refused.
    pub fn send_batch(&mut self, batch: &Batch) -> io::Result<usize> {
        // SAFETY: the buffer lives through the call and its length is given.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), batch.octets.as_ptr().cast(), batch.octets.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut refused = 0;
        let mut some = [0u8; 16384];
        loop {
            // SAFETY: the buffer lives through the call and its length is given.
            let len = unsafe { libc::recv(self.fd.as_raw_fd(), some.as_mut_ptr().cast(), some.len(), 0) };
            if len < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut done = false;
            let mut at = 0;
            while let Some(header) = some.get(at..at + HEADER + 4).filter(|_| at + HEADER < len as usize) {
                let size = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
                if u16::from_ne_bytes([header[4], header[5]]) == NLMSG_ERROR {
                    refused += usize::from(header[16..20] != [0; 4]);
                    done |= u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) == batch.sequence;
                }
                at += (size.max(HEADER) + 3) & !3;
            }
            if done {
                return Ok(refused);
            }
        }
    }
}

/// Requests that ride in one send.
#[derive(Default)]
pub struct Batch {
    octets: Vec<u8>,
    sequence: u32,
    last: usize,
}

impl Batch {
    /// Octets so far.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Empties it; sequence numbers go on.
    pub fn clear(&mut self) {
        self.octets.clear();
    }

    /// Adds a request to set (or delete) `mac` on a VXLAN port, in its own FDB and in the bridge's.
    pub fn push(&mut self, delete: bool, ifindex: u32, mac: [u8; 6], remote: [u8; 4]) {
        const NLM_F_REQUEST: u16 = 1;
        const NLM_F_CREATE_REPLACE: u16 = 0x500;
        let (kind, flags) = if delete { (DELETE, NLM_F_REQUEST) } else { (NEW, NLM_F_REQUEST | NLM_F_CREATE_REPLACE) };
        let len: u32 = (HEADER + NDMSG + 12 + if delete { 0 } else { 8 }) as u32;
        self.last = self.octets.len();
        self.sequence += 1;
        let out = &mut self.octets;
        out.extend_from_slice(&len.to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&flags.to_ne_bytes());
        out.extend_from_slice(&self.sequence.to_ne_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[libc::AF_BRIDGE as u8, 0, 0, 0]);
        out.extend_from_slice(&ifindex.to_ne_bytes());
        // NUD_NOARP | NUD_REACHABLE
        out.extend_from_slice(&0x42u16.to_ne_bytes());
        out.extend_from_slice(&[SELF | MASTER | EXT_LEARNED, 0]);
        out.extend_from_slice(&10u16.to_ne_bytes());
        out.extend_from_slice(&NDA_LLADDR.to_ne_bytes());
        out.extend_from_slice(&mac);
        out.extend_from_slice(&[0; 2]);
        if !delete {
            out.extend_from_slice(&8u16.to_ne_bytes());
            out.extend_from_slice(&NDA_DST.to_ne_bytes());
            out.extend_from_slice(&remote);
        }
    }

    /// Asks for an ACK of the last request.
    pub fn close(&mut self) {
        const NLM_F_ACK: u8 = 4;
        let flags = &mut self.octets[self.last + 6..self.last + 8];
        let value = u16::from_ne_bytes([flags[0], flags[1]]) | u16::from(NLM_F_ACK);
        flags.copy_from_slice(&value.to_ne_bytes());
    }
}

fn messages(mut octets: &[u8], mut each: impl FnMut(u16, &[u8])) {
    while octets.len() >= HEADER {
        let len = u32::from_ne_bytes([octets[0], octets[1], octets[2], octets[3]]) as usize;
        let Some(body) = octets.get(HEADER..len) else { return };
        each(u16::from_ne_bytes([octets[4], octets[5]]), body);
        octets = octets.get((len + 3) & !3..).unwrap_or_default();
    }
}

fn event(kind: u16, body: &[u8]) -> Option<Event> {
    if !matches!(kind, NEW | DELETE) || i32::from(*body.first()?) != libc::AF_BRIDGE {
        return None;
    }
    let mut event = Event { deleted: kind == DELETE, flags: *body.get(10)?, mac: [0; 6], has_destination: false };
    let mut attributes = body.get(NDMSG..)?;
    while attributes.len() >= 4 {
        let len = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let value = attributes.get(4..len)?;
        match u16::from_ne_bytes([attributes[2], attributes[3]]) {
            NDA_LLADDR => event.mac = value.try_into().ok()?,
            NDA_DST | NDA_NH_ID => event.has_destination = true,
            _ => {}
        }
        attributes = attributes.get((len + 3) & !3..).unwrap_or_default();
    }
    Some(event)
}
