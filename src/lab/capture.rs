//! The proof: every frame that leaves a hypervisor's underlay interface is seen by a packet socket and counted.
//!
//! How it is judged (`packet.rs` has the rules for one frame):
//! - *multicast*: the outer destination of a VXLAN packet is a multicast or broadcast address, or any other frame goes to
//!   a group, the underlay's own address resolution excepted. There must be none.
//! - *unknown unicast flooded*: the same inner frame with a unicast destination goes to more than one VTEP within 10 ms
//!   (head-end replication makes the copies in microseconds). There must be none.
//! - *wrong VTEP*: a unicast inner frame goes to a VTEP that has not the station ([`Capture::place`] tells where each is;
//!   a station on the move is not judged). There must be none.
//! - *replicated*: inner broadcast and multicast (ARP, neighbour discovery) copied to every VTEP of the flood list, as
//!   unicast. That is what a flood list is for: allowed, and counted.

#![allow(clippy::disallowed_methods, reason = "a capture is about real time")]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failed;
use super::links::Links;
use super::netns::Namespace;
use super::packet::{Frame, Inner, Outgoing};
use super::signals::wait_any;
use crate::base::MacAddr;

/// Copies of one frame by head-end replication are closer together than this.
const COPIES_WITHIN: Duration = Duration::from_millis(10);
/// Frames remembered to recognise copies, per interface.
const REMEMBERED: usize = 512;
/// Kinds of stray multicast told apart, per interface; more are counted under one name.
const STRAY_KINDS: usize = 16;

/// What left one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// VXLAN packets to one machine, of every kind below.
    pub vxlan_unicast: u64,
    /// Of these, inner broadcast and multicast replicated to the flood list.
    pub replicated: u64,
    /// Inner unicast frames of which a copy had gone to another VTEP.
    pub flooded: u64,
    /// Inner unicast frames to a VTEP that has not the station.
    pub wrong_vtep: u64,
    /// VXLAN packets to a multicast or broadcast address.
    pub vxlan_multicast: u64,
    /// Other frames to a group, by what they are.
    pub stray_multicast: BTreeMap<String, u64>,
    /// ARP and neighbour discovery of the underlay itself.
    pub resolution: u64,
    /// MLD reports about the underlay's own solicited-node groups.
    pub own_mld: u64,
    /// BGP segments.
    pub bgp: u64,
    /// Anything else to one machine.
    pub other: u64,
    /// Frames that the capture itself lost: then it proves nothing.
    pub lost: u64,
}

impl Counters {
    /// Frames to a group that have no business on the underlay.
    pub fn multicast(&self) -> u64 {
        self.vxlan_multicast + self.stray_multicast.values().sum::<u64>()
    }

    /// Whether everything was sent to one machine, the right one, and nothing was missed.
    pub fn is_clean(&self) -> bool {
        self.multicast() == 0 && self.flooded == 0 && self.wrong_vtep == 0 && self.lost == 0
    }
}

/// An interface to watch.
#[derive(Debug, Clone, Copy)]
pub struct Tap<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Its name there.
    pub interface: &'a str,
}

/// Where each station was when: (VNI, MAC) to the VTEPs since each time, in order of time. `None`: on the move.
type Places = BTreeMap<(u32, MacAddr), Vec<(SystemTime, Option<IpAddr>)>>;

/// A running capture: one thread reads all the interfaces.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    places: Mutex<Places>,
    counters: Mutex<Vec<Counters>>,
}

impl Capture {
    /// Starts to count what leaves each of `taps`. `vxlan_port` is the UDP port of the tunnels.
    pub fn start(taps: &[Tap<'_>], vxlan_port: u16) -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(taps.len());
        for tap in taps {
            let index = Links::open(tap.namespace)?
                .index(tap.interface)?
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no link {}", tap.interface)))?;
            sockets.push(FrameSocket::open(tap.namespace, index)?);
        }
        let shared = Arc::new(Shared::default());
        *lock(&shared.counters) = vec![Counters::default(); taps.len()];
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || watch(&sockets, vxlan_port, &seen))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Tells where a station is from now on, so that a frame to another VTEP is noticed; `None` while it moves.
    pub fn place(&self, vni: u32, station: MacAddr, vtep: Option<IpAddr>) {
        lock(&self.shared.places).entry((vni, station)).or_default().push((SystemTime::now(), vtep));
    }

    /// The counters so far, in the order of the taps.
    pub fn counters(&self) -> Vec<Counters> {
        lock(&self.shared.counters).clone()
    }

    /// Reads what still waits, stops, and gives the counters in the order of the taps.
    pub fn stop(&mut self) -> io::Result<Vec<Counters>> {
        self.finish()?;
        Ok(self.counters())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("the capture thread panicked"))),
            None => Ok(()),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(sockets: &[FrameSocket], vxlan_port: u16, shared: &Shared) -> io::Result<()> {
    let descriptors: Vec<_> = sockets.iter().map(|socket| socket.as_fd().as_raw_fd()).collect();
    let mut judges: Vec<Judge> = sockets.iter().map(|_| Judge::default()).collect();
    let mut buffer = vec![0; 65536];
    loop {
        let stopping = shared.stop.load(Ordering::Relaxed);
        let ready = wait_any(&descriptors, Duration::from_millis(if stopping { 0 } else { 50 }))?;
        for (index, socket) in sockets.iter().enumerate().filter(|(index, _)| ready[*index]) {
            while let Some(received) = socket.receive(&mut buffer)? {
                if received.is_outgoing {
                    let frame = &buffer[..received.length];
                    let places = lock(&shared.places);
                    judges[index].count(frame, vxlan_port, &places, &mut lock(&shared.counters)[index], received.at);
                }
            }
        }
        if stopping {
            let mut counters = lock(&shared.counters);
            for (index, socket) in sockets.iter().enumerate() {
                counters[index].lost = socket.lost()?;
            }
            return Ok(());
        }
    }
}

/// The memory of one interface: which unicast frames went where just now.
#[derive(Debug, Default)]
struct Judge {
    recent: VecDeque<(SystemTime, IpAddr, Vec<u8>)>,
}

impl Judge {
    fn count(&mut self, frame: &[u8], vxlan_port: u16, places: &Places, counters: &mut Counters, at: SystemTime) {
        match Frame::classify(frame, vxlan_port) {
            Outgoing::Vxlan { to, vni, inner } => {
                counters.vxlan_unicast += 1;
                let Some(header) = Inner::of(inner) else { return };
                if header.destination.is_multicast() {
                    counters.replicated += 1;
                    return;
                }
                let place =
                    places.get(&(vni, header.destination)).and_then(|list| list.iter().rev().find(|(from, _)| *from <= at));
                if matches!(place, Some((_, Some(place))) if *place != to) {
                    counters.wrong_vtep += 1;
                }
                while self.recent.len() >= REMEMBERED
                    || self.recent.front().is_some_and(|(then, ..)| at.duration_since(*then).is_ok_and(|age| age > COPIES_WITHIN))
                {
                    self.recent.pop_front();
                }
                if self.recent.iter().any(|(_, other, copy)| *other != to && copy == inner) {
                    counters.flooded += 1;
                }
                self.recent.push_back((at, to, inner.to_vec()));
            }
            Outgoing::VxlanMulticast => counters.vxlan_multicast += 1,
            Outgoing::Bgp => counters.bgp += 1,
            Outgoing::UnderlayResolution => counters.resolution += 1,
            Outgoing::UnderlayMld => counters.own_mld += 1,
            Outgoing::Multicast(what) => {
                let is_known = counters.stray_multicast.contains_key(&what);
                let what = if is_known || counters.stray_multicast.len() < STRAY_KINDS { what } else { "others".into() };
                *counters.stray_multicast.entry(what).or_default() += 1;
            }
            Outgoing::Other => counters.other += 1,
        }
    }
}

/// A packet socket on one interface: whole frames, in both directions.
#[derive(Debug)]
pub struct FrameSocket {
    fd: OwnedFd,
}

impl FrameSocket {
    /// Opens one on the interface with this index. Needs CAP_NET_RAW over the namespace.
    pub fn open(namespace: &Namespace, ifindex: u32) -> io::Result<Self> {
        namespace.run(|| Self::open_here(ifindex))?.map_err(|e| failed("open a packet socket", e))
    }

    fn open_here(ifindex: u32) -> io::Result<Self> {
        // Protocol 0 until bound: nothing of other interfaces is queued meanwhile.
        // SAFETY: socket(2) takes three integers; the result is checked before it is owned.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let _ = socket2::SockRef::from(&fd).set_recv_buffer_size(8 * 1024 * 1024);
        let on: libc::c_int = 1;
        // SAFETY: the value is an int that outlives the call.
        let result = unsafe {
            let length = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const on).cast(), length)
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a zeroed sockaddr_ll is a valid one.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = ifindex as libc::c_int;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` is a sockaddr_ll of `length` octets and outlives the call.
        let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
        if result == 0 { Ok(Self { fd }) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends one whole frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and the length are those of `frame`.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The next frame into `buffer`; `None` where nothing waits.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        // SAFETY: zeroed values of these two are valid ones.
        let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { std::mem::zeroed() };
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in `message` goes to a buffer of the length beside it, and all outlive the call.
        let received = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
        if received >= 0 {
            let length = (received as usize).min(buffer.len());
            return Ok(Some(Received { length, is_outgoing: address.sll_pkttype == libc::PACKET_OUTGOING, at: stamp(&message) }));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // ENETDOWN: the interface went down; it may come back.
            Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN) => Ok(None),
            _ => Err(error),
        }
    }

    /// Frames that did not fit the receive buffer since the last call (packet(7), PACKET_STATISTICS).
    pub fn lost(&self) -> io::Result<u64> {
        // SAFETY: a zeroed tpacket_stats is a valid one.
        let mut stats: libc::tpacket_stats = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: `stats` has room for `length` octets.
        let result = unsafe {
            let value = (&raw mut stats).cast();
            libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &raw mut length)
        };
        if result == 0 { Ok(u64::from(stats.tp_drops)) } else { Err(io::Error::last_os_error()) }
    }
}

/// When the kernel saw the frame of `message` (SCM_TIMESTAMPNS); now, where it does not say.
fn stamp(message: &libc::msghdr) -> SystemTime {
    // SAFETY: recvmsg filled in the control buffer and its length; CMSG_* stay within it, and the data of a
    // SCM_TIMESTAMPNS message is a timespec, perhaps not aligned.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(found) = header.as_ref() {
            if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_TIMESTAMPNS {
                let time: libc::timespec = libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned();
                return UNIX_EPOCH + Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    SystemTime::now()
}

/// A frame that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its length in octets, cut to that of the buffer.
    pub length: usize,
    /// This host sent it.
    pub is_outgoing: bool,
    /// When the kernel saw it.
    pub at: SystemTime,
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vxlan(to: u8, station: u8, payload: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, 9, 8, 0];
        frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, to]);
        frame.extend([0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0]);
        frame.extend([8, 0, 0, 0, 0, 0, 100, 0]);
        frame.extend([if station == 0xff { 0xff } else { 2 }, 0, 0, 0, 0, station]);
        frame.extend([2, 0, 0, 0, 0, 8, 8, 0, payload]);
        frame
    }

    #[test]
    fn copies_to_two_vteps_are_flooding() {
        let (mut judge, mut counters, places) = (Judge::default(), Counters::default(), Places::new());
        let now = SystemTime::now();
        for (frame, at) in [
            (vxlan(2, 1, 0), 0),
            (vxlan(2, 1, 0), 0), // again to the same: a retransmission
            (vxlan(3, 2, 0), 0), // another station
            (vxlan(3, 1, 1), 0), // another frame
            (vxlan(2, 0xff, 0), 0),
            (vxlan(3, 0xff, 0), 0), // a broadcast replicated
            (vxlan(3, 1, 0), 50),   // long after
        ] {
            judge.count(&frame, 4789, &places, &mut counters, now + Duration::from_millis(at));
        }
        assert_eq!((counters.vxlan_unicast, counters.replicated, counters.flooded), (7, 2, 0));
        assert!(counters.is_clean());
        judge.count(&vxlan(2, 1, 0), 4789, &places, &mut counters, now + Duration::from_millis(51));
        assert_eq!(counters.flooded, 1);
        assert!(!counters.is_clean());
    }

    #[test]
    fn a_station_is_where_it_was_placed_when_the_frame_was_sent() {
        let (mut judge, mut counters, mut places) = (Judge::default(), Counters::default(), Places::new());
        let (station, began) = (MacAddr([2, 0, 0, 0, 0, 1]), SystemTime::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        let [here, there] = [2, 3].map(|host| Some(IpAddr::from([10, 0, 0, host])));
        places.insert((100, station), vec![(after(1), here), (after(3), None), (after(5), there)]);
        for (vtep, second, wrong) in [(3, 0, 0), (2, 2, 0), (3, 2, 1), (2, 4, 1), (3, 4, 1), (3, 6, 1), (2, 6, 2)] {
            judge.count(&vxlan(vtep, 1, second), 4789, &places, &mut counters, after(u64::from(second)));
            assert_eq!(counters.wrong_vtep, wrong, "to {vtep} in second {second}");
        }
    }
}
