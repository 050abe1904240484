//! From dirty rows to batches, and from their results back to rows.
//!
//! A bounded number of batches is under way; a row rides in one at most, and is looked at again when it comes back.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::message::{Batch, BatchDone, Op, OpKind, Remote};
use super::row::{NONE, flag};
use super::table::{Fib, Flight, InFlight, Retry};
use crate::base::{InternId, Time};

/// The entry is not there.
pub(super) const ENOENT: i32 = 2;
/// What a batch that could not be sent counts as.
pub(super) const EIO: i32 = 5;
/// The device does not know how.
pub(super) const EOPNOTSUPP: i32 = 95;
/// What a bridge with IPv6 turned off says to an IPv6 neighbour (`ndisc_allow_add`, `net/ipv6/ndisc.c`).
pub(super) const EINVAL: i32 = 22;
/// A remote of the other address family.
pub(super) const EAFNOSUPPORT: i32 = 97;

/// The first wait after a failure; each further one doubles it.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest wait.
const RETRY_CAP: Duration = Duration::from_secs(30);
/// The wait after an errno that no repetition mends.
pub(super) const RETRY_PERMANENT: Duration = Duration::from_secs(300);

/// The wait after so many failures, at least one.
pub(super) fn backoff(attempts: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << (attempts - 1).min(16)).min(RETRY_CAP)
}

/// Time in quarters of a second, modulo 2^16: for `Row::stamp`.
pub(super) fn stamp(now: Time) -> u16 {
    (now.micros() / 250_000) as u16
}

/// A stamp that is not recent.
pub(super) fn old_stamp(now: Time) -> u16 {
    stamp(now).wrapping_sub(0x8000)
}

impl Fib {
    /// The next writes, if any are dirty and not too many are under way. Flood lists go first: they are short, and
    /// without them nothing broadcast arrives. Neighbours go last: a bridge answers only for MACs that it has.
    pub fn poll_batch(&mut self, now: Time) -> Option<Batch> {
        self.now = now;
        if self.in_flight.len() + self.neighbors.batches() >= self.limits.batches_in_flight {
            return None;
        }
        let room = self.limits.batch_len.min(self.flood_queue.len + self.unicast_queue.len);
        if room == 0 {
            return self.poll_neighbors();
        }
        let mut ops = Vec::with_capacity(room + 1);
        let mut flights = Vec::with_capacity(room + 1);
        let mut oldest = now;
        while ops.len() < self.limits.batch_len {
            let next = self.flood_queue.pop(&self.rows).or_else(|| self.unicast_queue.pop(&self.rows));
            let Some((id, since)) = next else { break };
            oldest = oldest.min(since);
            self.rows.row_mut(id).flags &= !flag::QUEUED;
            self.cut(now, id, &mut ops, &mut flights);
        }
        if ops.is_empty() {
            return self.poll_neighbors();
        }
        let id = self.next_batch;
        self.next_batch += 1;
        self.in_flight.insert(id, InFlight { flights, since: oldest });
        self.pace.sizes.observe(ops.len() as u64, 1);
        self.stats.in_flight += ops.len() as u64;
        self.stats.batches += 1;
        Some(Batch { id, ops })
    }

    fn cut(&mut self, now: Time, id: u32, ops: &mut Vec<Op>, flights: &mut Vec<Flight>) {
        let row = *self.rows.row(id);
        let device = &self.devices[row.device as usize];
        let (Some(ifindex), true) = (device.ifindex, row.needs_write()) else {
            self.touch(id);
            return;
        };
        let (epoch, is_ipv6) = (device.epoch, device.is_ipv6);
        // Of a row that nobody has listed and nobody has spoken of, nothing is known but that it may stand.
        let unread = device.unlisted && row.is_unread();
        let write = match row.has(flag::RESTORE) {
            true => OpKind::RestoreUnicast,
            false if unread => OpKind::EnsureUnicast,
            false => OpKind::ReplaceUnicast,
        };
        let flood = row.has(flag::FLOOD);
        let mut goal = row.goal();
        if let (Some(remote), Some(is_ipv6)) = (self.remote(goal), is_ipv6)
            && remote.ip.is_ipv6() != is_ipv6
        {
            // The kernel would answer EAFNOSUPPORT. What stood there before must not go on sending to the old place.
            if row.installed == NONE && !row.has(flag::UNSURE) {
                self.fail(now, id, EAFNOSUPPORT, false);
                return;
            }
            goal = NONE;
        }
        let stands = if row.installed != NONE { row.installed } else { row.wanted };
        let nowhere = Remote { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), vni: None };
        let standing = self.remote(stands).unwrap_or(nowhere);
        let self_only = row.has(flag::SELF_ONLY);
        let mut push = |kind, remote, flight| {
            ops.push(Op { ifindex, kind, mac: row.mac, remote });
            flights.push(flight);
        };
        let flight = Flight { row: id, target: goal, epoch, self_only };
        match self.remotes.value(InternId(goal)).copied() {
            None if flood => push(OpKind::DeleteFlood, standing, flight),
            None => push(OpKind::DeleteUnicast { self_only }, standing, flight),
            Some(remote) => {
                self.remotes.retain(InternId(goal));
                push(if flood { OpKind::AppendFlood } else { write }, remote, flight);
            }
        }
        let row = self.rows.row_mut(id);
        row.flags = row.flags & !(flag::FORCE | flag::RESTORE | flag::ECHOED) | flag::IN_FLIGHT;
        if goal != NONE {
            row.flags &= !flag::BRIDGE_LOCAL;
        }
    }

    /// A batch was carried out: rows are in sync, failed, or dirty again where they changed meanwhile.
    pub fn handle_batch_done(&mut self, now: Time, done: &BatchDone) {
        self.now = now;
        let Some(InFlight { flights, since }) = self.in_flight.remove(&done.id) else {
            if self.neighbors.knows(done.id) {
                return self.neighbors_done(done);
            }
            self.stats.unknown_batches += 1;
            return;
        };
        self.stats.in_flight -= flights.len() as u64;
        self.stats.confirmed += u64::from(done.stood);
        let before = self.stats.written + self.stats.deleted;
        self.land_all(now, flights, done);
        let carried_out = self.stats.written + self.stats.deleted - before;
        self.pace.latency.observe(now.since(since).as_micros() as u64, carried_out);
    }

    fn land_all(&mut self, now: Time, flights: Vec<Flight>, done: &BatchDone) {
        if done.errors.is_empty() && done.fatal.is_none() && done.theirs.is_empty() {
            for flight in flights {
                self.land(now, flight, 0);
            }
            return;
        }
        let mut errnos = vec![if done.fatal.is_some() { EIO } else { 0 }; flights.len()];
        for &(index, errno) in &done.errors {
            if let Some(slot) = errnos.get_mut(index as usize) {
                *slot = errno;
            }
        }
        for (index, (flight, errno)) in flights.into_iter().zip(errnos).enumerate() {
            match done.theirs.iter().find(|(theirs, _)| *theirs as usize == index) {
                Some(&(_, remote)) => self.leave_to_operator(flight, remote),
                None => self.land(now, flight, errno),
            }
        }
    }

    fn land(&mut self, now: Time, flight: Flight, errno: i32) {
        let Flight { row: id, target, .. } = flight;
        let row = self.rows.row_mut(id);
        row.flags &= !flag::IN_FLIGHT;
        if self.devices[row.device as usize].epoch != flight.epoch {
            // The device went meanwhile. If it is back, the row is written again.
            if target != NONE {
                self.release(target);
            }
            self.touch(id);
            return;
        }
        let echoed = row.has(flag::ECHOED);
        row.stamp = if echoed { old_stamp(now) } else { stamp(now) };
        row.flags &= !flag::ECHOED;
        let flood = row.has(flag::FLOOD);
        let goal = row.goal();
        if errno == 0 {
            row.flags &= !flag::UNSURE;
            if target == NONE {
                row.flags &= !flag::SELF_ONLY;
                self.stats.deleted += 1;
            } else {
                self.stats.written += 1;
            }
            self.set_installed(id, target);
            self.renew(id);
        } else if target == NONE && errno == ENOENT {
            self.stats.already_gone += 1;
            if flood || flight.self_only {
                row.flags &= !(flag::UNSURE | flag::SELF_ONLY);
                self.set_installed(id, NONE);
            } else {
                // A delete with SELF and MASTER stops at the bridge when that has no such entry on this port
                // (rtnl_fdb_del, Linux 6.18): the VXLAN entry may stand yet.
                row.flags |= flag::UNSURE | if goal == NONE { flag::SELF_ONLY } else { 0 };
            }
            self.renew(id);
        } else {
            if target != NONE {
                self.release(target);
            }
            if goal == target {
                self.fail(now, id, errno, true);
            } else {
                self.stats.failed += 1;
                self.rows.row_mut(id).flags |= flag::UNSURE;
                self.renew(id);
            }
        }
    }

    /// The row was not written, because the operator's own stands there.
    fn leave_to_operator(&mut self, flight: Flight, remote: Remote) {
        if flight.target != NONE {
            self.release(flight.target);
        }
        let row = self.rows.row_mut(flight.row);
        row.flags &= !(flag::IN_FLIGHT | flag::ECHOED);
        if self.devices[row.device as usize].epoch == flight.epoch {
            row.flags |= flag::FOREIGN;
            let theirs = self.remotes.acquire(remote).0;
            self.set_installed(flight.row, theirs);
        }
        self.renew(flight.row);
    }

    /// Notes a failed write and when it is tried again. `unsure`: the first half of the write may have been done.
    fn fail(&mut self, now: Time, id: u32, errno: i32, unsure: bool) {
        self.stats.failed += 1;
        let permanent = matches!(errno, EAFNOSUPPORT | EOPNOTSUPP);
        self.stats.permanent += u64::from(permanent);
        let retry = self.retries.entry(id).or_insert(Retry { errno, attempts: 0, at: now });
        self.due.remove(&(retry.at, id));
        retry.errno = errno;
        retry.attempts = retry.attempts.saturating_add(1);
        retry.at = now + if permanent { RETRY_PERMANENT } else { backoff(retry.attempts) };
        self.due.insert((retry.at, id));
        let row = self.rows.row_mut(id);
        row.flags |= flag::FAILED;
        if unsure {
            row.flags |= flag::UNSURE;
        }
    }
}
