//! ICMP and ICMPv6 echo with our own raw sockets: one ping, many at once, and an endless one that finds the longest gap.

#![allow(clippy::disallowed_methods, reason = "a ping measures real time")]

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::failed;
use super::netns::Namespace;
use super::packet::internet_checksum;
use super::signals::wait_readable;

const PAYLOAD: &[u8; 32] = b"evpnd lab: does this one arrive?";

/// Sends one echo request from `namespace` and waits for its reply: the round trip, or `None` after `timeout`.
pub fn ping(namespace: &Namespace, target: IpAddr, timeout: Duration) -> io::Result<Option<Duration>> {
    Pinger::open(namespace, target.is_ipv6())?.ping(target, timeout)
}

/// A raw socket of one family in one namespace.
#[derive(Debug)]
pub struct Pinger {
    socket: Socket,
    is_ipv6: bool,
    identifier: u16,
    sequence: u16,
}

impl Pinger {
    /// Opens one. Needs CAP_NET_RAW over the namespace.
    pub fn open(namespace: &Namespace, is_ipv6: bool) -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let (domain, protocol) = if is_ipv6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let socket =
            namespace.run(|| Socket::new(domain, Type::RAW, Some(protocol)))?.map_err(|e| failed("open a raw ICMP socket", e))?;
        socket.set_nonblocking(true)?;
        // Distinct within the process; a namespace of a lab has no other pingers.
        let identifier = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { socket, is_ipv6, identifier, sequence: 0 })
    }

    /// One echo: the round trip, or `None` after `timeout`.
    pub fn ping(&mut self, target: IpAddr, timeout: Duration) -> io::Result<Option<Duration>> {
        Ok(self.sweep(&[target], timeout)?.pop().flatten())
    }

    /// One echo to each target, all under way at once; waits for the last reply or for `timeout`.
    pub fn sweep(&mut self, targets: &[IpAddr], timeout: Duration) -> io::Result<Vec<Option<Duration>>> {
        let first = self.sequence;
        let mut sent = Vec::with_capacity(targets.len());
        for target in targets {
            sent.push(Instant::now());
            self.send(*target)?;
        }
        let mut answers = vec![None; targets.len()];
        let mut missing = targets.len();
        let deadline = Instant::now() + timeout;
        while missing > 0 {
            match self.receive()? {
                Some(sequence) => {
                    let index = usize::from(sequence.wrapping_sub(first));
                    if let Some(slot @ None) = answers.get_mut(index) {
                        *slot = Some(sent[index].elapsed());
                        missing -= 1;
                    }
                }
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() || super::signals::received().is_some() {
                        break;
                    }
                    wait_readable(&self.socket, left)?;
                }
            }
        }
        Ok(answers)
    }

    /// Sends the next echo request. A host or network that cannot be reached just now is a loss and not an error.
    fn send(&mut self, target: IpAddr) -> io::Result<u16> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        // RFC 792 / RFC 4443 §4.1: type, code 0, checksum, identifier, sequence. The kernel fills in ICMPv6's checksum.
        let mut packet = vec![if self.is_ipv6 { 128 } else { 8 }, 0, 0, 0];
        packet.extend(self.identifier.to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend(PAYLOAD);
        if !self.is_ipv6 {
            let checksum = internet_checksum(&[&packet]);
            packet[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        match self.socket.send_to(&packet, &SocketAddr::new(target, 0).into()) {
            Err(e) if !is_transient(&e) => Err(failed(format_args!("ping {target}"), e)),
            _ => Ok(sequence),
        }
    }

    /// The sequence number of the next echo reply to us, `None` where nothing waits.
    fn receive(&mut self) -> io::Result<Option<u16>> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if is_transient(&e) || e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            // SAFETY: recv says that the first `length` octets are written.
            let octets = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length) };
            // A raw IPv4 socket shows the IP header, a raw IPv6 socket does not.
            let skip = if self.is_ipv6 { 0 } else { usize::from(octets.first().copied().unwrap_or(0) & 0x0f) * 4 };
            let Some(message) = octets.get(skip..).and_then(|rest| rest.first_chunk::<8>()) else { continue };
            let reply = if self.is_ipv6 { 129 } else { 0 };
            if message[0] == reply && u16::from_be_bytes([message[4], message[5]]) == self.identifier {
                return Ok(Some(u16::from_be_bytes([message[6], message[7]])));
            }
        }
    }
}

/// What a moving or absent neighbour makes of a send or of a pending socket error. EINVAL is what IPv6 makes of a full
/// neighbour table (`ip6_finish_output2`), which all namespaces of a machine share.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENETDOWN
                | libc::EADDRNOTAVAIL
                | libc::ENOBUFS
                | libc::EAGAIN
                | libc::EINVAL
        )
    )
}

/// What an endless ping saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// Echo requests sent.
    pub sent: u32,
    /// Replies, each counted once.
    pub received: u32,
    /// The longest time without any reply: between two replies, or from the last one to the end.
    pub longest_gap: Duration,
}

/// An echo every few milliseconds, in a thread of its own, until it is stopped (or dropped).
#[derive(Debug)]
pub struct PingStream {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<StreamReport>>>,
}

impl PingStream {
    /// Starts to ping `target` from `namespace` every `interval`.
    pub fn start(namespace: &Namespace, target: IpAddr, interval: Duration) -> io::Result<Self> {
        let mut pinger = Pinger::open(namespace, target.is_ipv6())?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let work = move || {
            let mut report = StreamReport::default();
            let mut last = Instant::now();
            let mut next = last;
            while !seen.load(Ordering::Relaxed) {
                if Instant::now() >= next {
                    pinger.send(target)?;
                    report.sent += 1;
                    next = (next + interval).max(Instant::now());
                }
                while pinger.receive()?.is_some() {
                    report.received += 1;
                    report.longest_gap = report.longest_gap.max(last.elapsed());
                    last = Instant::now();
                }
                wait_readable(&pinger.socket, next.saturating_duration_since(Instant::now()))?;
            }
            report.longest_gap = report.longest_gap.max(last.elapsed());
            Ok(report)
        };
        let thread = std::thread::Builder::new().name("ping".into()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops and reports.
    pub fn stop(mut self) -> io::Result<StreamReport> {
        self.finish()
    }

    fn finish(&mut self) -> io::Result<StreamReport> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("the ping thread panicked"))),
            None => Ok(StreamReport::default()),
        }
    }
}

impl Drop for PingStream {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}
