//! What no command does well enough for a test: a socket in another network namespace, and frames with chosen MACs.
//!
//! Shared by the integration tests and the load generator, so that both measure with the same tools. Linux only, root only.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Runs `act` on a thread of its own inside the network namespace `name` (as made by `ip netns add`).
///
/// A socket opened there stays there, so it may be handed back and used from anywhere.
pub fn in_namespace<T: Send + 'static>(name: &str, act: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let file = File::open(format!("/run/netns/{name}"))?;
    std::thread::spawn(move || {
        enter(&file)?;
        act()
    })
    .join()
    .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
}

/// Moves the calling thread into the network namespace behind `file`. Async-signal-safe, so it may stand between fork and exec.
pub fn enter(file: &File) -> io::Result<()> {
    // SAFETY: a plain system call on a descriptor that lives as long as the borrow.
    match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A packet socket on one interface: whole Ethernet frames out and in.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens it on `interface` of the calling thread's namespace (see [`in_namespace`]).
    pub fn open(interface: &str) -> io::Result<Self> {
        let name = std::ffi::CString::new(interface)?;
        // SAFETY: a NUL-terminated name that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: plain system call.
        let raw = checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(protocol)) })?;
        // SAFETY: a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: sockaddr_ll is plain data; zero is a valid value of every field.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index as i32;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is a whole sockaddr_ll and its length is given.
        checked(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) })?;
        Ok(Self { fd })
    }

    /// Sends one frame. Waits a little where the device's queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            // SAFETY: the buffer lives through the call and its length is given.
            let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            if sent >= 0 {
                return Ok(());
            }
            match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENOBUFS) => std::thread::yield_now(),
                error => return Err(error),
            }
        }
    }

    /// The next frame that is waiting, or None. The flag says that this side sent it.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, bool)>> {
        // SAFETY: sockaddr_ll is plain data.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: buffer and address live through the call and their lengths are given.
        let got = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                (&raw mut from).cast(),
                &raw mut len,
            )
        };
        if got >= 0 {
            return Ok(Some((got as usize, from.sll_pkttype == libc::PACKET_OUTGOING)));
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error => Err(error),
        }
    }
}

/// A gratuitous ARP request of `mac`, broadcast: what a guest sends when it arrives somewhere.
pub fn gratuitous_arp(mac: [u8; 6], ip: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend_from_slice(&[0xff; 6]);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&ip);
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&ip);
    frame.resize(60, 0);
    frame
}

/// A frame of an experimental EtherType from `source` to `target`: nothing but a MAC to learn.
pub fn plain_frame(source: [u8; 6], target: [u8; 6]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend_from_slice(&target);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&[0x88, 0xb5]);
    frame.resize(60, 0);
    frame
}
