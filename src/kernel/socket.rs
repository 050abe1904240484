//! A netlink socket as this room uses it: bounded waits, large buffers where permitted, the filter on events, and many
//! notifications in one system call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};
use socket2::SockRef;

/// Room for any one datagram of the kernel: a dump's are at most 32 KiB, a link with many functions may pass 16.
pub(super) const RECEIVE_OCTETS: usize = 64 * 1024;

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// A datagram (of a burst: all of them) of so many octets.
    Octets(usize),
    /// Nothing waits (or nothing came in time).
    Empty,
    /// Notifications were lost (`ENOBUFS`).
    Lost,
}

/// Datagrams of one [`Burst`]: at 32 to 64 the system call itself is a small part of what a notification costs.
const BURST: usize = 64;
/// From one slot to the next. Not a power of two: slots at equal distances of 64 KiB would all share a few lines of the cache.
const SLOT: usize = RECEIVE_OCTETS + 320;

/// Room for the datagrams that one `recvmmsg(2)` takes, and what the last one took. A slot holds any datagram; of the
/// 4 MiB only the pages that were written to are real.
#[derive(Default)]
pub(super) struct Burst {
    octets: Vec<u8>,
    /// Octets of each datagram, and whether it was cut.
    taken: Vec<(usize, bool)>,
}

impl std::fmt::Debug for Burst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Burst").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Burst {
    /// The datagrams, in order, and whether each was longer than its slot and thereby cut.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&[u8], bool)> {
        self.octets.chunks_exact(SLOT).zip(&self.taken).map(|(slot, (len, cut))| (&slot[..*len], *cut))
    }
}

/// A socket of family `NETLINK_ROUTE`, bound, with extended ACKs and strict checking of dump requests where the kernel has them.
#[derive(Debug)]
pub(super) struct Socket(netlink_sys::Socket);

impl Socket {
    /// A socket for requests. A blocking receive waits 10 s at most: no kernel takes as long to answer.
    ///
    /// # Errors
    /// Those of `socket(2)` and `bind(2)`.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Comforts of kernels 4.3, 4.12 and 4.20: without them answers are longer, errors have no words, and dumps are not
        // filtered by the kernel (the parser filters again).
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        SockRef::from(&socket).set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self(socket))
    }

    /// Joins a multicast group (`RTNLGRP_*`).
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub(super) fn join(&mut self, group: u32) -> io::Result<()> {
        self.0.add_membership(group)
    }

    /// Asks for a receive buffer of `octets`; returns what was given. `SO_RCVBUFFORCE` passes the limit of the machine
    /// (`net.core.rmem_max`) and needs CAP_NET_ADMIN; without it the limit holds.
    pub(super) fn set_receive_buffer(&self, octets: usize) -> usize {
        let value = i32::try_from(octets / 2).unwrap_or(i32::MAX); // the kernel doubles it (socket(7))
        // SAFETY: the option takes a pointer to an int and its size; `value` lives over the call, the descriptor is ours and open.
        let done = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                std::ptr::from_ref(&value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
        if done != 0 {
            let _ = self.0.set_rx_buf_sz(value);
        }
        self.0.get_rx_buf_sz().unwrap_or(0)
    }

    /// Has the kernel drop what nobody needs, before it takes room in the buffer. See `filter`.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub(super) fn attach_filter(&self, filter: &[socket2::SockFilter]) -> io::Result<()> {
        SockRef::from(&self.0).attach_filter(filter)
    }

    /// Sends one datagram, whole.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub(super) fn send(&self, octets: &[u8]) -> io::Result<()> {
        loop {
            match self.0.send(octets, 0) {
                Ok(sent) if sent == octets.len() => return Ok(()),
                Ok(_) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives one datagram; a longer one than the buffer is cut (its last message then ends the walk).
    ///
    /// # Errors
    /// Those of `recv(2)` but `EAGAIN` and `ENOBUFS`.
    pub(super) fn receive(&self, buffer: &mut [u8], wait: bool) -> io::Result<Received> {
        let flags = if wait { 0 } else { libc::MSG_DONTWAIT };
        loop {
            let mut room = &mut buffer[..];
            match self.0.recv(&mut room, flags) {
                Ok(len) => return Ok(Received::Octets(len)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Empty),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(Received::Lost),
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives what waits, [`BURST`] datagrams at most, in one system call and without waiting. Returns the octets
    /// of all that is in `burst`; [`Received::Lost`] always comes alone: where the loss is met behind datagrams the kernel
    /// keeps it for the next call (`do_recvmmsg`, `net/socket.c`).
    ///
    /// # Errors
    /// Those of `recvmmsg(2)` but `EAGAIN` and `ENOBUFS`.
    pub(super) fn receive_burst(&self, burst: &mut Burst) -> io::Result<Received> {
        burst.taken.clear();
        if burst.octets.is_empty() {
            // Fresh zeros, of which the system makes real pages only where they are written.
            burst.octets = vec![0; BURST * SLOT];
        }
        // SAFETY: both structures are plain numbers and pointers, for which zero is a value.
        let (mut slots, mut headers): ([libc::iovec; BURST], [libc::mmsghdr; BURST]) = unsafe { std::mem::zeroed() };
        for ((slot, header), octets) in slots.iter_mut().zip(&mut headers).zip(burst.octets.chunks_exact_mut(SLOT)) {
            *slot = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: RECEIVE_OCTETS };
            header.msg_hdr.msg_iov = slot;
            header.msg_hdr.msg_iovlen = 1;
        }
        loop {
            // SAFETY: the headers name the slots, the slots disjoint pieces of `burst.octets`; all of them live over the call
            // and nothing else refers to them. No time-out is given.
            let count = unsafe {
                libc::recvmmsg(
                    self.0.as_raw_fd(),
                    headers.as_mut_ptr(),
                    BURST as libc::c_uint,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if let Ok(count) = usize::try_from(count) {
                burst.taken.extend(headers.iter().take(count).map(|header| {
                    let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
                    ((header.msg_len as usize).min(RECEIVE_OCTETS), cut)
                }));
                return Ok(match burst.taken.iter().map(|(len, _)| len).sum() {
                    0 => Received::Empty,
                    octets => Received::Octets(octets),
                });
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Ok(Received::Empty),
                Some(libc::ENOBUFS) => return Ok(Received::Lost),
                _ => return Err(error),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
