//! Listening at bridge ports for what hosts say of their addresses: one packet socket for each port of a VNI that asks for it.
//!
//! A socket of all protocols, because frames that a bridge takes never reach one of a single protocol; but with what goes out left
//! out (`PACKET_IGNORE_OUTGOING`, kernel ≥ 4.20: else each frame to a guest would be copied first) and a filter that lets
//! through ARP, neighbour discovery and DHCP answers only. Its cost to other frames is the filter: some 20 ns. What is read is
//! bounded per second ([`FRAMES_PER_SECOND`]); beyond, the kernel drops, and the drops are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::bpf::{HEADER_LEN, IF_ABOVE, IF_AT_LEAST, IF_EQUAL, IF_SET, LOAD_BYTE, LOAD_HALF, LOAD_HALF_AFTER, LOAD_WORD, RETURN};
use crate::base::Vni;

/// Frames read from all ports together.
pub(super) const FRAMES_PER_SECOND: u32 = 4000;
/// They are given out for so long at a time.
const SHARE: Duration = Duration::from_millis(100);
/// Octets of a frame that are read: a DHCP answer is the longest.
pub(super) const FRAME_OCTETS: usize = 1522;
/// Octets that may wait at one port: some hundred frames, so that no port keeps the others from being heard.
const BUFFER: usize = 96 * 1024;

// include/uapi/linux/if_packet.h and filter.h, where libc has no names.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const ANCILLARY: u32 = 0xffff_f000;
const PACKET_TYPE: u32 = ANCILLARY + 4;
const VLAN_PRESENT: u32 = ANCILLARY + 48;
const OUTGOING: u32 = 4;

/// Untagged frames that came in: ARP, ICMPv6 133 to 136, UDP from 67 to 68 that is no fragment. Jumps count from the next line.
fn program() -> [SockFilter; 24] {
    let line = SockFilter::new;
    [
        /* 0 */ line(LOAD_WORD, 0, 0, PACKET_TYPE),
        /* 1 */ line(IF_EQUAL, 21, 0, OUTGOING), // drop
        /* 2 */ line(LOAD_WORD, 0, 0, VLAN_PRESENT),
        /* 3 */ line(IF_EQUAL, 0, 19, 0), // else drop
        /* 4 */ line(LOAD_HALF, 0, 0, 12),
        /* 5 */ line(IF_EQUAL, 16, 0, 0x0806), // keep
        /* 6 */ line(IF_EQUAL, 0, 5, 0x86dd), // else to 12
        /* 7 */ line(LOAD_BYTE, 0, 0, 20),
        /* 8 */ line(IF_EQUAL, 0, 14, 58), // else drop
        /* 9 */ line(LOAD_BYTE, 0, 0, 54),
        /* 10 */ line(IF_AT_LEAST, 0, 12, 133), // else drop
        /* 11 */ line(IF_ABOVE, 11, 10, 136), // drop, else keep
        /* 12 */ line(IF_EQUAL, 0, 10, 0x0800), // else drop
        /* 13 */ line(LOAD_BYTE, 0, 0, 23),
        /* 14 */ line(IF_EQUAL, 0, 8, 17), // else drop
        /* 15 */ line(LOAD_HALF, 0, 0, 20),
        /* 16 */ line(IF_SET, 6, 0, 0x1fff), // drop
        /* 17 */ line(HEADER_LEN, 0, 0, 14),
        /* 18 */ line(LOAD_HALF_AFTER, 0, 0, 14),
        /* 19 */ line(IF_EQUAL, 0, 3, 67), // else drop
        /* 20 */ line(LOAD_HALF_AFTER, 0, 0, 16),
        /* 21 */ line(IF_EQUAL, 0, 1, 68), // else drop
        /* 22 */ line(RETURN, 0, 0, FRAME_OCTETS as u32),
        /* 23 */ line(RETURN, 0, 0, 0),
    ]
}

/// One port that is listened at.
#[derive(Debug)]
struct Ear {
    socket: Socket,
    vni: Vni,
    /// The VXLAN device: what comes from other hosts.
    tunnel: bool,
}

/// All ports that are listened at.
#[derive(Debug)]
pub(super) struct Ears {
    epoll: OwnedFd,
    ears: BTreeMap<u32, Ear>,
    /// Ports that cannot be listened at, told once.
    deaf: BTreeSet<u32>,
    /// So many ports may be listened at: half of the files that the process may open.
    limit: usize,
    /// So many are wanted beyond it, and so often one was.
    beyond: u64,
    pub over_limit: u64,
    left: u32,
    until: Option<Instant>,
    /// Frames that the kernel dropped because too many came.
    pub dropped: u64,
}

/// A frame that was read: octets in the buffer, and where it came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub len: usize,
    pub vni: Vni,
    pub tunnel: bool,
}

impl Ears {
    /// Nothing is listened at.
    ///
    /// # Errors
    /// Those of `epoll_create1(2)`.
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: takes a flag and returns a new descriptor or -1.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made, is open, and nobody else has it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let limit = files_limit() / 2;
        Ok(Self {
            epoll,
            ears: BTreeMap::new(),
            deaf: BTreeSet::new(),
            limit,
            beyond: 0,
            over_limit: 0,
            left: 0,
            until: None,
            dropped: 0,
        })
    }

    /// What to wait on, while there is a share left ([`Self::rests_until`]).
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Listens at exactly these ports: each with its VNI and whether it is the VXLAN device.
    pub(super) fn tune(&mut self, wanted: &BTreeMap<u32, (Vni, bool)>) {
        let dropped: Vec<u32> = self
            .ears
            .iter()
            .filter(|(port, ear)| wanted.get(port) != Some(&(ear.vni, ear.tunnel)))
            .map(|(port, _)| *port)
            .collect();
        for port in dropped {
            self.close(port);
        }
        self.deaf.retain(|port| wanted.contains_key(port));
        let mut beyond = 0_u64;
        for (&port, &(vni, tunnel)) in wanted {
            if self.ears.contains_key(&port) || self.deaf.contains(&port) {
                continue;
            }
            if self.ears.len() >= self.limit {
                // Tried again with the next change, when others may have left.
                beyond += 1;
                continue;
            }
            match self.listen(port) {
                Ok(socket) => {
                    self.ears.insert(port, Ear { socket, vni, tunnel });
                }
                // It went meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => {
                    tracing::warn!(%vni, port, %error, "addresses of hosts are not heard at a port: packet sockets need CAP_NET_RAW");
                    self.deaf.insert(port);
                }
            }
        }
        if beyond > 0 && self.beyond == 0 {
            tracing::warn!(
                limit = self.limit,
                "addresses of hosts are heard at no more ports: half of the open files that are allowed; raise LimitNOFILE"
            );
        }
        self.over_limit += beyond.saturating_sub(std::mem::replace(&mut self.beyond, beyond));
    }

    fn close(&mut self, port: u32) {
        if let Some(ear) = self.ears.remove(&port) {
            self.dropped += drops(&ear.socket);
        }
    }

    fn listen(&self, port: u32) -> io::Result<Socket> {
        // Of no protocol until it is bound, so that nothing comes in before the filter.
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(0)))?;
        socket.attach_filter(&program())?;
        let _ = socket.set_recv_buffer_size(BUFFER);
        let on: libc::c_int = 1;
        // SAFETY: the option takes a pointer to an int and its size; `on` lives over the call, the descriptor is open. Without it
        // (kernel < 4.20) the filter drops what goes out.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_IGNORE_OUTGOING,
                std::ptr::from_ref(&on).cast(),
                size_of_val(&on) as libc::socklen_t,
            );
        }
        // SAFETY: plain numbers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = port as i32;
        // SAFETY: the address and its size are those of `address`, which lives over the call; the descriptor is open.
        let bound = unsafe {
            libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), size_of_val(&address) as libc::socklen_t)
        };
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: u64::from(port) };
        // SAFETY: `event` lives over the call, both descriptors are open.
        let failed = bound != 0
            || unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) } != 0;
        if failed { Err(io::Error::last_os_error()) } else { Ok(socket) }
    }

    /// Until when nothing may be read, because this share is used up.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| self.left == 0 && *until > now)
    }

    /// Reads frames while any waits and the share lasts; each is handed to `each` with its octets.
    pub(super) fn read(&mut self, now: Instant, mut each: impl FnMut(Frame, &[u8])) {
        if self.until.is_none_or(|until| until <= now) {
            self.left = FRAMES_PER_SECOND / (1000 / SHARE.as_millis() as u32);
            self.until = Some(now + SHARE);
        }
        // SAFETY: plain numbers, for which zero is a value.
        let mut ready: [libc::epoll_event; 64] = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer and the length are those of `ready`, which lives over the call; the descriptor is open.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), ready.as_mut_ptr(), ready.len() as i32, 0) };
        let mut buffer = [0u8; FRAME_OCTETS];
        for event in ready.iter().take(usize::try_from(count).unwrap_or(0)) {
            let port = event.u64 as u32;
            let Some(ear) = self.ears.get(&port) else { continue };
            // Each port in its turn, a few frames at a time.
            for _ in 0..16 {
                if self.left == 0 {
                    return;
                }
                // SAFETY: the pointer and the length are those of `buffer`, which lives over the call; the descriptor is open.
                let len =
                    unsafe { libc::recv(ear.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
                // Nothing waits, or the port is down: its going is told elsewhere.
                let Ok(len) = usize::try_from(len) else { break };
                self.left -= 1;
                each(Frame { len, vni: ear.vni, tunnel: ear.tunnel }, &buffer[..len]);
            }
        }
    }

    /// Sends a frame out of a port that is listened at. What cannot be sent is asked again later.
    pub(super) fn send(&self, port: u32, frame: &[u8]) {
        if let Some(ear) = self.ears.get(&port) {
            let _ = ear.socket.send(frame);
        }
    }

    /// Frames that the kernel dropped so far, at any port.
    pub(super) fn count_dropped(&mut self) -> u64 {
        self.dropped += self.ears.values().map(|ear| drops(&ear.socket)).sum::<u64>();
        self.dropped
    }
}

/// How many files the process may open, after asking for as many as it may ask for.
fn files_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
    // SAFETY: the pointer is that of `limit`, which lives over the calls. Where the second is not allowed the first's word holds.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        let before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max.min(1 << 20);
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
            limit.rlim_cur = before;
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(1024)
}

/// Frames dropped at one socket since it was asked last.
fn drops(socket: &Socket) -> u64 {
    let mut stats = [0u32; 2];
    let mut len = size_of_val(&stats) as libc::socklen_t;
    // SAFETY: the pointer and the size are those of `stats` (`struct tpacket_stats`), which lives over the call.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, stats.as_mut_ptr().cast(), &raw mut len)
    };
    if done == 0 { u64::from(stats[1]) } else { 0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_beyond_the_limit_of_files_are_counted_once_each() {
        let mut ears = Ears { limit: 0, ..Ears::open().unwrap() };
        let ports = |count: u32| (1..=count).map(|port| (port, (Vni::new(100).unwrap(), false))).collect::<BTreeMap<_, _>>();
        for (count, counted) in [(3, 3), (3, 3), (5, 5), (1, 5), (2, 6)] {
            ears.tune(&ports(count));
            assert_eq!((ears.over_limit, ears.ears.len()), (counted, 0));
        }
    }
}
