//! Guests are told that an address went over to another host's MAC (`evpn/guests`): gratuitous ARP or an unsolicited neighbour
//! advertisement (`packets`), in the name of the new owner, out of the local ports of the VNI's bridge.
//!
//! One packet socket for all of them, bound to nothing and of no protocol, so that it hears nothing; it is opened when first used. What it
//! sends out of a port goes to the device and on to the guest, and never through the bridge, which learns from what comes *in* at a
//! port: the new owner's MAC stays where its row has it. Never out of a VXLAN device: other hosts have an evpnd of their own.
//!
//! Frames are bounded for each VNI ([`AT_ONCE`], [`FRAME`]): what one tenant's addresses do costs no other's guests anything.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::links::LinkKind;
use super::worker::{Worker, now};
use super::{packets, setup};
use crate::fib::{KernelEvent, MovedAddress};

/// Frames that may be sent at once in a VNI: a bridge has 1,023 ports at most (`BR_MAX_PORTS`), most have some tens.
const AT_ONCE: u32 = 4096;
/// One more may be sent after so long: 1,024 a second.
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 1024);

/// How many frames may be sent in a VNI.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    left: u32,
    since: Option<Instant>,
}

impl Allowance {
    /// Takes as many of `wanted` as there are.
    fn take(&mut self, now: Instant, wanted: usize) -> usize {
        let earned = self.since.map_or(u128::MAX, |since| now.duration_since(since).as_nanos() / FRAME.as_nanos());
        if earned >= u128::from(AT_ONCE - self.left) {
            (self.left, self.since) = (AT_ONCE, Some(now));
        } else {
            // What is not yet a whole frame's time goes on counting.
            self.left += earned as u32;
            self.since = self.since.map(|since| since + FRAME * earned as u32);
        }
        let taken = wanted.min(self.left as usize);
        self.left -= taken as u32;
        taken
    }
}

/// What sends, and what was sent.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    socket: Option<Socket>,
    /// It was told that none can be opened.
    told: bool,
    sent: u64,
    refused: u64,
}

impl Announcer {
    fn open(&mut self) -> Option<&Socket> {
        if self.socket.is_none() {
            match Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(0))) {
                Ok(socket) => self.socket = Some(socket),
                Err(error) if !std::mem::replace(&mut self.told, true) => {
                    tracing::warn!(%error, "guests are not told of addresses that move to other hosts: packet sockets need CAP_NET_RAW");
                }
                Err(_) => {}
            }
        }
        self.socket.as_ref()
    }
}

/// Sends a frame out of a port.
fn send(socket: &Socket, port: u32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = port as i32;
    // SAFETY: the frame and the address live over the call, with their lengths; the descriptor is open.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Worker {
    /// Tells guests who has these addresses now.
    pub(super) fn tell_guests(&mut self, moved: &[MovedAddress]) {
        let now = now();
        // A gateway address may stand on the bridges of several hosts, each with a MAC of its own, and every host's guests use their own.
        let own = setup::addresses(&mut self.requests, 0).unwrap_or_default();
        let before = (self.announcer.sent, self.announcer.refused);
        for MovedAddress { vni, ip, binding } in moved {
            let Some(ready) = self.ready_device(*vni) else { continue };
            let (tunnel, bridge) = (ready.ifindex, ready.bridge_ifindex);
            if self.is_bare(*vni) || own.contains(&(bridge, *ip)) {
                continue;
            }
            let guests =
                |link: &&super::links::Link| link.up && link.ifindex != tunnel && !matches!(link.kind, LinkKind::Vxlan(_));
            let ports: Vec<u32> = self.links.members(bridge).filter(guests).map(|link| link.ifindex).collect();
            let Some(managed) = self.managed.get_mut(vni) else { continue };
            let allowed = managed.announcements.take(now, ports.len());
            self.announcer.refused += (ports.len() - allowed) as u64;
            let Some(socket) = self.announcer.open() else { return };
            let frame = packets::announcement(binding.mac, *ip, binding.router);
            // A port that goes meanwhile has nobody to tell.
            let sent = ports[..allowed].iter().filter(|port| send(socket, **port, &frame).is_ok()).count();
            self.announcer.sent += sent as u64;
        }
        let Announcer { sent, refused, .. } = self.announcer;
        if (sent, refused) != before {
            self.out.push(KernelEvent::GuestsTold { sent, refused });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    #[test]
    fn frames_of_a_vni_are_bounded_at_once_and_for_long() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        assert_eq!([4000, 1000, 1].map(|wanted| allowance.take(start, wanted)), [4000, 96, 0]);
        let later = start + Duration::from_secs(1);
        assert_eq!([1000, 1000].map(|wanted| allowance.take(later, wanted)), [1000, 24]);
        // Asked often, it gives no more and no less.
        let (mut now, mut taken) = (later, 0);
        while now < later + Duration::from_secs(1) {
            now += Duration::from_micros(300);
            taken += allowance.take(now, 10);
        }
        assert!((1000..=1025).contains(&taken), "{taken}");
        assert_eq!(allowance.take(now + Duration::from_secs(3600), usize::MAX), AT_ONCE as usize);
    }
}
