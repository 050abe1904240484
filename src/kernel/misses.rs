//! Frames that found no row in a device on demand (`l2miss`, `vxlan_fdb_miss`, `drivers/net/vxlan/vxlan_core.c`): the kernel tells of
//! each in an `RTM_GETNEIGH` to the group of neighbours, as fast as a tenant sends.
//!
//! So they come on a socket of their own, with a small buffer, and the socket of events drops them (`filter`): a tenant who tries
//! every MAC there is fills this one, and nothing else is lost by it. What is read is bounded per second; beyond, the kernel
//! drops, and that is counted. A frame whose word was lost is told of by the next one for the same MAC.
//!
//! Tried on 6.18: the message has the family `AF_INET`, the state `NUD_STALE` and the MAC as `NDA_LLADDR`; none comes while a flood
//! list (the all-zero MAC) stands, for then the frame is flooded, and none for frames to groups.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::codec;
use super::filter;
use super::socket::{Burst, Received, Socket};
use super::worker::{Worker, now};
use crate::base::MacAddr;
use crate::fib::KernelEvent;

/// Misses read in a second: a hundredth of a processor.
const PER_SECOND: u32 = 10_000;
/// They are given out for so long at a time, and a MAC is told once in it.
const SHARE: Duration = Duration::from_millis(100);
/// Octets that may wait: some hundred misses.
const BUFFER: usize = 256 * 1024;

/// The socket, while a device is on demand.
#[derive(Debug, Default)]
pub(super) struct Misses {
    socket: Option<Socket>,
    left: u32,
    until: Option<Instant>,
    told: BTreeSet<(u32, Miss)>,
    dropped: u64,
}

/// What a device has nothing for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Miss {
    /// A frame to this MAC found no row (`l2miss`).
    Frame(MacAddr),
    /// A question for this address found no neighbour (`l3miss`, with `proxy`).
    Question(IpAddr),
}

/// The device that a message tells of, and what it has nothing for.
pub(super) fn parse(message: &codec::Message<'_>) -> Option<(u32, Miss)> {
    if message.kind != libc::RTM_GETNEIGH {
        return None;
    }
    let (mut mac, mut ip) = (None, None);
    for (kind, value) in codec::attributes(message.body.get(codec::NDMSG..)?) {
        match kind {
            libc::NDA_LLADDR => mac = codec::mac_of(value).filter(|mac| mac.is_station()),
            libc::NDA_DST => ip = codec::ip_of(value),
            _ => {}
        }
    }
    Some((codec::u32_at(message.body, 4)?, mac.map(Miss::Frame).or(ip.map(Miss::Question))?))
}

impl Misses {
    /// Listens, or no more.
    ///
    /// # Errors
    /// Those of `socket(2)` and `setsockopt(2)`.
    pub(super) fn listen(&mut self, wanted: bool) -> io::Result<()> {
        if !wanted {
            self.socket = None;
        } else if self.socket.is_none() {
            let mut socket = Socket::open()?;
            socket.set_receive_buffer(BUFFER);
            socket.attach_filter(&filter::misses())?;
            socket.join(libc::RTNLGRP_NEIGH)?;
            self.socket = Some(socket);
        }
        Ok(())
    }

    /// What to wait on, where there is anything to hear and a share left.
    pub(super) fn as_fd(&self, now: Instant) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().filter(|_| self.rests_until(now).is_none()).map(AsFd::as_fd)
    }

    /// Until when nothing may be read, because this share is used up.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| self.socket.is_some() && self.left == 0 && *until > now)
    }

    /// Reads what waits while the share lasts; each new one is handed to `each`. Whether the kernel dropped some.
    fn read(&mut self, now: Instant, burst: &mut Burst, mut each: impl FnMut(u32, Miss)) -> bool {
        let Some(socket) = &self.socket else { return false };
        if self.until.is_none_or(|until| until <= now) {
            self.left = PER_SECOND / (1000 / SHARE.as_millis() as u32);
            self.until = Some(now + SHARE);
            self.told.clear();
        }
        let mut lost = false;
        while self.left > 0 {
            match socket.receive_burst(burst) {
                Ok(Received::Octets(_)) => {
                    for (octets, _) in burst.datagrams() {
                        self.left = self.left.saturating_sub(1);
                        for found in codec::messages(octets).filter_map(|message| parse(&message)) {
                            if self.told.insert(found) {
                                each(found.0, found.1);
                            }
                        }
                    }
                }
                Ok(Received::Lost) => {
                    lost = true;
                    self.dropped += 1;
                }
                Ok(Received::Empty) => break,
                Err(error) => {
                    tracing::warn!(%error, "frames without a row cannot be heard of");
                    break;
                }
            }
        }
        lost
    }
}

impl Worker {
    /// The list of devices was given: misses are heard of where one is on demand.
    pub(super) fn want_misses(&mut self) {
        let wanted = self.managed.values().any(|managed| managed.spec.on_demand || managed.spec.bare);
        if let Err(error) = self.misses.listen(wanted) {
            tracing::error!(%error, "frames without a row cannot be heard of: rows on demand are not written");
        }
    }

    /// Tells of frames that found no row.
    pub(super) fn hear_misses(&mut self) {
        let mut burst = std::mem::take(&mut self.burst);
        let Self { misses, devices, managed, out, .. } = self;
        let lost = misses.read(now(), &mut burst, |ifindex, miss| {
            let Some(&vni) = devices.get(&ifindex) else { return };
            let Some(spec) = managed.get(&vni).map(|managed| &managed.spec) else { return };
            match miss {
                Miss::Frame(mac) if spec.on_demand => out.push(KernelEvent::Missed { vni, mac }),
                Miss::Question(ip) if spec.bare && spec.questions => out.push(KernelEvent::Asked { vni, ip }),
                _ => {}
            }
        });
        if lost {
            self.out.push(KernelEvent::MissesDropped { times: self.misses.dropped });
        }
        self.burst = burst;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 6.18 told them: the MAC of a frame, and the address of a question (`l3miss`).
    #[test]
    fn a_miss_names_the_device_and_the_mac() {
        let hex = |family: u8, attributes: &str| -> Vec<u8> {
            let octet = |at: usize| u8::from_str_radix(&attributes[at..at + 2], 16).unwrap();
            [family, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0].into_iter().chain((0..attributes.len()).step_by(2).map(octet)).collect()
        };
        let l2 = hex(2, "0a000200020000000003000008000700000000001400030000000000f4999d66f4999d6600000000");
        let l3 = hex(10, "14000100fe80000000000000a0437bfffeb92f2108000700000000011400030000000000ec979d66ec979d6600000000");
        let message = |kind, body: &[u8]| parse(&codec::Message { kind, flags: 0, sequence: 0, body });
        assert_eq!(message(libc::RTM_GETNEIGH, &l2), Some((3, Miss::Frame(MacAddr([2, 0, 0, 0, 0, 3])))));
        assert_eq!(message(libc::RTM_NEWNEIGH, &l2), None, "a neighbour");
        let asked = "fe80::a043:7bff:feb9:2f21".parse().unwrap();
        assert_eq!(message(libc::RTM_GETNEIGH, &l3), Some((3, Miss::Question(asked))));
        for len in 0..l3.len() {
            let _ = message(libc::RTM_GETNEIGH, &l3[..len]);
        }
    }
}
