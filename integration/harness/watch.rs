//! What happens meanwhile: the kernel's notifications about rows and devices are counted, and guests that ping each other find
//! out what was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use super::fabric::{Guest, Host};
use super::netns::Process;
use super::{raw, rows};

/// What was notified of one VXLAN device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Rows added or changed, of both halves.
    pub written: u64,
    /// Rows deleted, of both halves.
    pub deleted: u64,
    /// The MACs of those rows.
    pub macs: BTreeSet<String>,
    /// Notifications about the device itself, by their type (16: `RTM_NEWLINK`, 17: `RTM_DELLINK`).
    pub links: BTreeMap<u16, u64>,
}

/// A listener on a device. It loses nothing: the kernel keeps a quarter of a million notifications for it until it looks.
#[derive(Debug)]
pub struct RowWatch {
    socket: OwnedFd,
    ifindex: u32,
    host: u8,
    seen: Seen,
}

impl RowWatch {
    /// Counts, from now on, what is notified of the device of a VNI.
    pub fn new(host: &Host, vni: u32) -> Self {
        let name = format!("vxlan{vni}");
        let open = move || Ok((listener()?, index(&name)?));
        let (socket, ifindex) = raw::in_namespace(host.namespace.name(), open).expect("a netlink socket and the device");
        Self { socket, ifindex, host: host.number, seen: Seen::default() }
    }

    /// What was notified so far.
    pub fn seen(&mut self) -> &Seen {
        let mut buffer = vec![0u8; 64 * 1024];
        loop {
            // SAFETY: the buffer lives over the call and its length is given.
            let got =
                unsafe { libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
            if got >= 0 {
                self.note(&buffer[..got as usize]);
                continue;
            }
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => return &self.seen,
                error => panic!("the listener of the test on host {} lost notifications: {error}", self.host),
            }
        }
    }

    /// Nothing may have happened.
    #[track_caller]
    pub fn expect_none(&mut self, what: &str) {
        let host = self.host;
        let seen = self.seen();
        assert_eq!(seen, &Seen::default(), "{what}: rows or the device of host {host} changed");
    }

    fn note(&mut self, mut octets: &[u8]) {
        let u32_at =
            |octets: &[u8], at: usize| octets.get(at..at + 4).map(|four| u32::from_ne_bytes(four.try_into().expect("four")));
        while let Some(len) = u32_at(octets, 0).map(|len| len as usize).filter(|len| *len >= 24 && *len <= octets.len()) {
            let kind = u16::from_ne_bytes([octets[4], octets[5]]);
            // `struct ndmsg` and `struct ifinfomsg` both have the interface at 4 octets.
            if u32_at(octets, 20) == Some(self.ifindex) {
                let row = octets[16] == libc::AF_BRIDGE as u8;
                match kind {
                    libc::RTM_NEWNEIGH if row => self.seen.written += 1,
                    libc::RTM_DELNEIGH if row => self.seen.deleted += 1,
                    libc::RTM_NEWLINK | libc::RTM_DELLINK => *self.seen.links.entry(kind).or_default() += 1,
                    _ => {}
                }
                if row && matches!(kind, libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH) {
                    self.seen.macs.extend(mac_of_row(&octets[28..len]));
                }
            }
            octets = octets.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// `NDA_LLADDR` among the attributes of a row.
fn mac_of_row(mut attributes: &[u8]) -> Option<String> {
    const NDA_LLADDR: u16 = 2;
    while let [a, b, c, d, rest @ ..] = attributes {
        let (len, kind) = (usize::from(u16::from_ne_bytes([*a, *b])), u16::from_ne_bytes([*c, *d]));
        if kind == NDA_LLADDR {
            return Some(rows::text(rest.get(..6)?.try_into().ok()?));
        }
        attributes = attributes.get(len.max(4).next_multiple_of(4)..)?;
    }
    None
}

fn index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: a NUL-terminated name that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn listener() -> io::Result<OwnedFd> {
    let check = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: plain system calls; the descriptor is new and nobody else's; pointers are to values that live over the calls.
    unsafe {
        let raw = check(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE))?;
        let fd = OwnedFd::from_raw_fd(raw);
        let octets: libc::c_int = 256 << 20;
        let len = size_of_val(&octets) as libc::socklen_t;
        check(libc::setsockopt(raw, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const octets).cast(), len))?;
        let mut address: libc::sockaddr_nl = std::mem::zeroed();
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = (1 << (libc::RTNLGRP_LINK - 1)) | (1 << (libc::RTNLGRP_NEIGH - 1));
        let len = size_of_val(&address) as libc::socklen_t;
        check(libc::bind(raw, (&raw const address).cast(), len))?;
        Ok(fd)
    }
}

/// A guest that pings an address a hundred times a second.
#[derive(Debug)]
pub struct Pings {
    process: Process,
    since: Instant,
}

/// They go on for so long at least, however fast the machine is: a few pings prove nothing.
const AT_LEAST: Duration = Duration::from_secs(2);

impl Pings {
    /// Begins, once an answer came. `host`: where the words go.
    pub fn between(from: &Guest, to: &Guest, host: &Host) -> Self {
        Self::to(from, &to.address().to_string(), host)
    }

    /// The same with an address that may be of IPv6, and nobody's own.
    pub fn to(from: &Guest, target: &str, host: &Host) -> Self {
        from.expect_ping_of(target);
        let log = host.path(&format!("ping-{}-{target}.log", from.number));
        let _ = std::fs::remove_file(&log);
        let process = from.namespace.spawn("ping", ["-n", "-D", "-i", "0.01", "-W", "2", target], &log);
        Self { process, since: Instant::now() }
    }

    /// Stops, and gives what `ping` wrote, and when it was told to end, in seconds of the clock.
    fn stop(&mut self) -> (String, f64) {
        // The last one that counts is on its way.
        std::thread::sleep(AT_LEAST.saturating_sub(self.since.elapsed()).max(Duration::from_millis(500)));
        let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock past 1970").as_secs_f64();
        self.process.signal(libc::SIGINT);
        self.process.wait(super::patience(10));
        (self.process.log(), end)
    }

    /// Stops, and gives how many were sent and how many of them were lost.
    pub fn end(mut self) -> (usize, usize) {
        let (log, _) = self.stop();
        let line = log.lines().find(|line| line.contains("packets transmitted")).unwrap_or_else(|| panic!("no summary: {log}"));
        let sent: usize = line.split(' ').next().and_then(|word| word.parse().ok()).expect("a number of pings");
        let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok();
        let answered: BTreeSet<usize> = log.lines().filter(|line| line.contains(" bytes from ")).filter_map(number).collect();
        // The one that was under way when it was told to stop does not count.
        (sent, (1..sent).filter(|number| !answered.contains(number)).count())
    }

    /// Stops, and gives the longest time between two answers, or without one until the end.
    pub fn longest_gap(mut self) -> Duration {
        let (log, end) = self.stop();
        let at = |line: &str| line.strip_prefix('[')?.split(']').next()?.parse::<f64>().ok();
        let mut answers: Vec<f64> = log.lines().filter(|line| line.contains(" bytes from ")).filter_map(at).collect();
        assert!(answers.len() > 20, "{} answers prove nothing: {log}", answers.len());
        answers.push(end);
        Duration::from_secs_f64(answers.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max))
    }

    /// None may be lost.
    #[track_caller]
    pub fn expect_no_loss(self) {
        let (sent, lost) = self.end();
        assert!(sent > 20, "{sent} pings prove nothing");
        assert_eq!(lost, 0, "of {sent} pings were lost");
        println!("{sent} pings, none lost");
    }
}
