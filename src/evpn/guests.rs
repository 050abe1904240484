//! What guests of this host are told: an address went over to a MAC of another host.
//!
//! Where ARP and ND are answered on the spot (`neigh_suppress`) neither gratuitous ARP nor unsolicited advertisements cross the fabric.
//! A host hears of a move by a route, answers the next question rightly, and its guests go on sending to the MAC in their caches for as
//! long as these last: seconds to a minute, seen with a virtual address between two guests. So each move is said once more at the
//! local ports, in the new owner's name, and once again a moment later; `kernel/announce` makes the frames.
//!
//! Told is a move from a MAC to another one, also where the first had gone meanwhile: nobody was told that, and caches keep it. Not told are
//! an address that is new, one that came to a local MAC (its own word reached every local port through the bridge), and what is found
//! out while the VNI is only beginning. While the daemon is, what is found out waits for the sweep: told is then what the kernel's own
//! neighbours of before say had another MAC. An address that goes to and fro is a conflict
//! ([duplicate-detection], RFC 7432 §15.1): its guests hear of no more moves in that window than duplicate detection takes for such.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::config::DuplicateDetection;
use super::instance::Evpn;
use super::lately::Lately;
use crate::base::{MacAddr, Time, Vni};
use crate::fib::{Binding, MovedAddress, MovesOfBefore};

/// Addresses that moved or went lately.
const LATELY: usize = 1 << 14;
/// For so long: what a guest keeps without using it much is older than that.
const LATELY_SECS: u64 = 300;
/// Moves that are told for the second time after so long: twice what RFC 4861 §7.2.6 asks for (RetransTimer), RFC 5227's ANNOUNCE_INTERVAL,
/// and longer than Linux's locktime of 1 s, in which kernels before 4.13 do not believe a second MAC.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Moves told within [`AGAIN_AFTER`]: a host that goes with all its virtual addresses has fewer.
const AT_MOST: usize = 4096;

/// What became of an address lately.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The MAC that it had and lost, while it has none.
    lost: Option<MacAddr>,
    /// How often it moved since `first`.
    moves: u32,
    first: Time,
}

/// Moves to be told.
#[derive(Debug, Default)]
pub(super) struct Moves {
    lately: Lately<(u16, IpAddr), Past, LATELY, LATELY_SECS>,
    due: Vec<MovedAddress>,
    again: VecDeque<(Time, u16, IpAddr, MacAddr)>,
    /// Nothing is told: what there is is only being found out.
    hushed: bool,
}

impl Moves {
    pub fn forget_instance(&mut self, number: u16, vni: Vni) {
        self.lately.forget(|(other, _)| *other == number);
        self.again.retain(|(_, other, ..)| *other != number);
        self.due.retain(|moved| moved.vni != vni);
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        self.again.front().map(|&(at, ..)| at)
    }
}

impl Evpn {
    /// While a daemon that has just started learns what there is, moves are not told.
    pub fn hush_moves(&mut self, hushed: bool) {
        self.moves.hushed = hushed;
    }

    /// Moves that the guests of this host are to be told of, since the last time.
    pub fn take_moves(&mut self) -> Vec<MovedAddress> {
        std::mem::take(&mut self.moves.due)
    }

    /// The MAC of an address was chosen anew. `remote`: it is another host's.
    pub(super) fn note_chosen(
        &mut self,
        now: Time,
        (number, vni, ip): (u16, Vni, IpAddr),
        before: Option<Binding>,
        best: Option<Binding>,
        remote: bool,
    ) {
        let Some(best) = best else {
            if let Some(before) = before
                && let Some(past) = self.moves.lately.renew(now, (number, ip))
            {
                past.lost = Some(before.mac);
            }
            return;
        };
        let lost = || self.moves.lately.get(now, &(number, ip)).and_then(|past| past.lost.take());
        let Some(from) = before.map(|before| before.mac).or_else(lost).filter(|from| *from != best.mac) else { return };
        let quiet = self.moves.hushed || self.imports.is_new(number);
        if !remote || quiet || self.duplicates.is_found(&(number, from)) || self.duplicates.is_found(&(number, best.mac)) {
            return;
        }
        self.tell_move(now, (number, vni, ip), best);
    }

    /// The first sweep after a start: addresses that were answered with these MACs before it, by an earlier run or by this one, and are at
    /// another host's other MAC by now.
    pub fn tell_moves_of_before(&mut self, now: Time, before: MovesOfBefore) {
        self.stats.address_moves_untold += before.beyond;
        for ((vni, ip), from) in before.from {
            let Some(&number) = self.by_vni.get(&vni) else { continue };
            let address = self.addresses.get(&(number, ip)).filter(|address| address.own.is_none());
            let Some(best) = address.and_then(|address| address.chosen).filter(|best| best.mac != from) else { continue };
            self.tell_move(now, (number, vni, ip), best);
        }
    }

    fn tell_move(&mut self, now: Time, (number, vni, ip): (u16, Vni, IpAddr), best: Binding) {
        if self.moves.again.len() >= AT_MOST || !self.may_be_told(now, number, ip) {
            self.stats.address_moves_untold += 1;
            return;
        }
        self.stats.address_moves_told += 1;
        self.moves.due.push(MovedAddress { vni, ip, binding: best });
        self.moves.again.push_back((now + AGAIN_AFTER, number, ip, best.mac));
    }

    /// Whether an address did not move so often lately that two MACs must have it. Where too many move for that to be known it is told:
    /// their number has bounds of its own.
    fn may_be_told(&mut self, now: Time, number: u16, ip: IpAddr) -> bool {
        let rule = self.duplicates.rule;
        // Without duplicate detection guests are not to be flooded either.
        let most = if rule.moves == 0 { DuplicateDetection::default().moves } else { rule.moves };
        let Some(past) = self.moves.lately.renew(now, (number, ip)) else { return true };
        if past.moves == 0 || now.since(past.first) >= Duration::from_secs(rule.window_secs.into()) {
            (past.moves, past.first) = (0, now);
        }
        past.moves = past.moves.saturating_add(1);
        past.moves < most.max(2)
    }

    /// Tells moves for the second time, where the address is still there.
    pub(super) fn tell_moves_again(&mut self, now: Time) {
        while let Some(&(_, number, ip, mac)) = self.moves.again.front().filter(|(at, ..)| *at <= now) {
            self.moves.again.pop_front();
            let address = self.addresses.get(&(number, ip)).filter(|address| address.own.is_none());
            let binding = address.and_then(|address| address.chosen).filter(|binding| binding.mac == mac);
            if let Some((binding, instance)) = binding.zip(self.slot(number)).filter(|_| !self.moves.hushed) {
                let vni = instance.config.vni;
                self.moves.due.push(MovedAddress { vni, ip, binding });
            }
        }
    }
}
