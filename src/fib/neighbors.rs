//! What ARP and ND are answered from: the neighbours that each bridge should have, and whether it has them.
//!
//! `neigh_suppress` on the VXLAN port makes the bridge look an asked address up among the neighbours of the *bridge* device
//! (`br_do_proxy_suppress_arp`, `br_do_suppress_nd`, `net/bridge/br_arp_nd_proxy.c`) and answer for a MAC that its database has
//! behind that port. The life of an entry is that of a row (see `table`), in a table of its own: far fewer hosts announce
//! addresses than MACs, and a load without any never comes here.
//!
//! Ours are told by protocol number and mark, so that a restart knows them again without asking what was wanted. An operator's
//! (`permanent`, without the mark) is never touched; what the host found out itself is written over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::batch;
use super::fights::{Fought, Over};
use super::message::{Batch, BatchDone, Binding, KernelNeighbor, MovesOfBefore, NeighborOwner, Op, OpKind, Remote};
use super::table::{Fib, Retry};
use crate::base::{MacAddr, Time, Vni};

/// For so long after a write, an event that contradicts it is taken for an older one.
const RECENT: Duration = Duration::from_secs(5);
/// How often in [`HEAL_WINDOW`] a neighbour is put back at once.
const HEALED_AT_ONCE: u8 = 3;
const HEAL_WINDOW: Duration = Duration::from_secs(120);
/// Addresses whose MAC changed before the sweep, as many as are noted: a host that went with all its addresses had fewer.
const CHANGED: usize = 4096;

pub(super) type Key = (Vni, IpAddr);

/// Where an entry is on its way to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Idle,
    Queued,
    InFlight,
    /// Among the retries.
    Waiting,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbor {
    pub wanted: Option<Binding>,
    /// Of a host of ours.
    pub own: bool,
    /// Not written before somebody asks.
    pub asleep: bool,
    /// Awake in a VNI on demand: until then.
    pub until: Option<Time>,
    /// What the kernel is believed to hold of ours.
    pub installed: Option<Binding>,
    pub stage: Stage,
    /// Write (or delete) though wanted and installed agree.
    pub force: bool,
    /// Found at adoption, not yet wanted by anybody.
    pub unconfirmed: bool,
    /// The operator's stands there.
    pub foreign: bool,
    /// Its bridge has IPv6 off, and takes none of IPv6.
    pub held: bool,
    /// Put back so often since `written` (or the first of them) was.
    heals: u8,
    written: Time,
}

impl Neighbor {
    fn new(wanted: Option<Binding>, installed: Option<Binding>) -> Self {
        Self {
            wanted,
            own: false,
            asleep: false,
            until: None,
            installed,
            stage: Stage::Idle,
            force: false,
            unconfirmed: false,
            foreign: false,
            held: false,
            heals: 0,
            written: Time::ZERO,
        }
    }

    /// What the kernel should hold.
    pub fn goal(&self) -> Option<Binding> {
        self.wanted.filter(|_| !self.asleep && !self.held)
    }

    pub fn needs_write(&self) -> bool {
        !self.unconfirmed && !self.foreign && (self.installed != self.goal() || self.force)
    }
}

/// The bridge of one VNI.
#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    ifindex: Option<u32>,
    /// Moves on when the bridge goes: results of older batches say nothing any more.
    epoch: u32,
    /// IPv6 is off there.
    ipv6_off: bool,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    key: Key,
    target: Option<Binding>,
    epoch: u32,
}

/// The neighbours of all bridges.
#[derive(Debug, Default)]
pub(super) struct Neighbors {
    pub(super) entries: BTreeMap<Key, Neighbor>,
    segments: BTreeMap<Vni, Segment>,
    queue: VecDeque<Key>,
    flights: BTreeMap<u64, Vec<Flight>>,
    pub(super) retries: BTreeMap<Key, Retry>,
    due: BTreeSet<(Time, Key)>,
    swept: bool,
    /// The MAC that the kernel answered with at first, of addresses for which another is wanted since: until the sweep, or until a bridge is
    /// read that is ready only after it.
    changed: MovesOfBefore,
}

impl Neighbors {
    /// When a retry is due.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|&(at, _)| at)
    }

    /// How many somebody undoes again and again now.
    pub(super) fn fought(&self, now: Time) -> usize {
        let is_fought = |entry: &&Neighbor| entry.heals > HEALED_AT_ONCE && now.since(entry.written) < HEAL_WINDOW;
        self.entries.values().filter(is_fought).count()
    }

    /// Batches under way.
    pub(super) fn batches(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.flights.is_empty() && self.retries.is_empty()
    }

    /// Whether a batch is one of neighbours.
    pub(super) fn knows(&self, batch: u64) -> bool {
        self.flights.contains_key(&batch)
    }

    pub(super) fn ready(&self, vni: Vni) -> Option<(u32, u32)> {
        let segment = self.segments.get(&vni)?;
        Some((segment.ifindex?, segment.epoch))
    }

    pub(super) fn keys(&self, vni: Vni) -> Vec<Key> {
        self.range(vni).map(|(key, _)| *key).collect()
    }

    pub(super) fn range(&self, vni: Vni) -> impl Iterator<Item = (&Key, &Neighbor)> {
        // The unspecified IPv4 address is the least of all, and an entry of none.
        let first = (vni, IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        self.entries.range(first..).take_while(move |((other, _), _)| *other == vni)
    }

    /// An address gets another MAC than the kernel has: of an earlier run, where it moved while none ran, or from before it moved in the first
    /// moments of this one.
    fn note_change(&mut self, key: Key, stood: Option<Binding>, wanted: Option<Binding>) {
        let Some((stood, _)) = stood.zip(wanted).filter(|(stood, wanted)| stood.mac != wanted.mac) else { return };
        let MovesOfBefore { from, beyond } = &mut self.changed;
        if from.len() < CHANGED || from.contains_key(&key) {
            from.entry(key).or_insert(stood.mac);
        } else {
            *beyond += 1;
        }
    }

    /// An operator's is known before it is wanted, or it would be written over when it is.
    fn note_operators(&mut self, key: Key, owner: NeighborOwner) {
        if owner == NeighborOwner::Operator {
            self.entries.entry(key).or_insert(Neighbor { foreign: true, ..Neighbor::new(None, None) });
        }
    }

    fn clear_retry(&mut self, key: Key) {
        if let Some(retry) = self.retries.remove(&key) {
            self.due.remove(&(retry.at, key));
        }
    }

    /// Brings an entry that was changed to where it belongs: the queue, or nowhere. `renewed`: its goal changed, and an earlier
    /// failure says nothing about it.
    pub(super) fn touch(&mut self, key: Key, renewed: bool) {
        let ready = self.ready(key.0).is_some();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let over = renewed || !ready || !entry.needs_write();
        if entry.stage == Stage::Waiting && over {
            entry.stage = Stage::Idle;
        }
        if entry.stage == Stage::Idle && over {
            self.clear_retry(key);
        }
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.stage != Stage::Idle {
            return;
        }
        if ready && entry.needs_write() {
            entry.stage = Stage::Queued;
            self.queue.push_back(key);
        } else if entry.wanted.is_none() && (entry.installed.is_none() || !ready) && !(ready && entry.foreign) {
            self.entries.remove(&key);
            self.clear_retry(key);
        }
    }

    fn wait(&mut self, key: Key, retry: Retry) {
        self.clear_retry(key);
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.stage == Stage::Idle) {
            entry.stage = Stage::Waiting;
            self.due.insert((retry.at, key));
            self.retries.insert(key, retry);
        }
    }

    /// The next writes: some of those queued, with the batch's number.
    fn cut(&mut self, batch: u64, limit: usize) -> Vec<Op> {
        let (mut ops, mut flights) = (Vec::new(), Vec::new());
        while ops.len() < limit {
            let Some(key) = self.queue.pop_front() else { break };
            let ready = self.ready(key.0);
            let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.stage == Stage::Queued) else { continue };
            entry.stage = Stage::Idle;
            let Some((ifindex, epoch)) = ready.filter(|_| entry.needs_write()) else {
                self.touch(key, false);
                continue;
            };
            entry.stage = Stage::InFlight;
            entry.force = false;
            let remote = Remote { ip: key.1, vni: None };
            ops.push(match entry.goal() {
                Some(Binding { mac, router }) => Op { ifindex, kind: OpKind::ReplaceNeighbor { router }, mac, remote },
                None => Op { ifindex, kind: OpKind::DeleteNeighbor, mac: MacAddr::ZERO, remote },
            });
            flights.push(Flight { key, target: entry.goal(), epoch });
        }
        if !flights.is_empty() {
            self.flights.insert(batch, flights);
        }
        ops
    }
}

impl Fib {
    /// Wants ARP and ND for `ip` to be answered with `binding`. Equal to what is wanted already: nothing happens.
    pub fn set_neighbor(&mut self, now: Time, vni: Vni, ip: IpAddr, binding: Binding) {
        self.put_neighbor(now, vni, ip, binding, false);
    }

    /// The same for a host of ours: never on demand, for a restart reads here what it had heard.
    pub fn set_own_neighbor(&mut self, now: Time, vni: Vni, ip: IpAddr, binding: Binding) {
        self.put_neighbor(now, vni, ip, binding, true);
    }

    fn put_neighbor(&mut self, now: Time, vni: Vni, ip: IpAddr, binding: Binding, own: bool) {
        self.now = now;
        let key = (vni, ip);
        let entry = self.neighbors.entries.entry(key).or_insert(Neighbor::new(None, None));
        let life = self.demand.lifetime(vni).filter(|_| !own);
        // One that nobody has spoken of sleeps; one that stands lives on.
        let slept = entry.asleep;
        entry.own = own;
        entry.held = ip.is_ipv6() && self.neighbors.segments.get(&vni).is_some_and(|segment| segment.ipv6_off);
        entry.asleep = life.is_some() && (slept || (entry.wanted.is_none() && entry.installed.is_none()));
        entry.until = entry.until.filter(|_| life.is_some());
        if let (Some(life), false, None) = (life, entry.asleep, entry.until) {
            entry.until = Some(now + life);
            self.demand.neighbor_lives(now + life, key);
        }
        if entry.wanted == Some(binding) {
            if entry.asleep != slept {
                self.neighbors.touch(key, true);
            }
            return;
        }
        self.stats.confirmed += u64::from(entry.unconfirmed && entry.installed == Some(binding));
        entry.wanted = Some(binding);
        entry.unconfirmed = false;
        let stood = entry.installed.filter(|_| !self.neighbors.swept);
        self.neighbors.note_change(key, stood, Some(binding));
        self.neighbors.touch(key, true);
    }

    /// No longer wants ARP and ND for `ip` to be answered.
    pub fn clear_neighbor(&mut self, now: Time, vni: Vni, ip: IpAddr) {
        self.now = now;
        let Some(entry) = self.neighbors.entries.get_mut(&(vni, ip)) else { return };
        if entry.wanted.take().is_some() {
            self.neighbors.touch((vni, ip), true);
        }
    }

    /// The bridge of a VNI can be written to, and `existing` is what it has. May come again, after an overflow or for an audit.
    /// How many of ours differed from what they should be.
    pub fn handle_neighbors(&mut self, now: Time, vni: Vni, bridge: u32, existing: &[KernelNeighbor]) -> usize {
        self.now = now;
        let segment = self.neighbors.segments.entry(vni).or_default();
        let fresh = segment.ifindex.replace(bridge) != Some(bridge);
        let mut seen = BTreeSet::new();
        let mut differences = 0;
        for neighbor in existing {
            seen.insert(neighbor.ip);
            differences += usize::from(self.compare_neighbor(vni, neighbor, fresh));
        }
        for key in self.neighbors.keys(vni) {
            if !seen.contains(&key.1) {
                differences += usize::from(self.is_missing(key, fresh));
            }
            self.neighbors.touch(key, false);
        }
        self.stats.differences += differences as u64;
        differences
    }

    /// Whether IPv6 is off at the bridge of a VNI, which refuses neighbours of IPv6 then and forgets those it had. They are held back, which
    /// is no failure and no difference, until it is on.
    pub fn set_ipv6_off(&mut self, now: Time, vni: Vni, off: bool) {
        self.now = now;
        if self.neighbors.segments.get(&vni).is_some_and(|segment| segment.ipv6_off) == off {
            return;
        }
        self.neighbors.segments.entry(vni).or_default().ipv6_off = off;
        for key in self.neighbors.keys(vni).into_iter().filter(|(_, ip)| ip.is_ipv6()) {
            if let Some(entry) = self.neighbors.entries.get_mut(&key) {
                entry.held = off;
                if off {
                    (entry.installed, entry.force, entry.unconfirmed) = (None, false, false);
                }
            }
            self.neighbors.touch(key, true);
        }
    }

    /// The bridge of a VNI is gone, and its neighbours with it. What is wanted stays so.
    pub fn neighbors_gone(&mut self, vni: Vni) {
        let Some(segment) = self.neighbors.segments.get_mut(&vni) else { return };
        segment.ifindex = None;
        segment.epoch = segment.epoch.wrapping_add(1);
        for key in self.neighbors.keys(vni) {
            if let Some(entry) = self.neighbors.entries.get_mut(&key) {
                (entry.installed, entry.force, entry.unconfirmed, entry.foreign) = (None, false, false, false);
            }
            self.neighbors.touch(key, true);
        }
    }

    /// One entry of a listing. True where it was taken for in sync and is not.
    fn compare_neighbor(&mut self, vni: Vni, stands: &KernelNeighbor, fresh: bool) -> bool {
        let key = (vni, stands.ip);
        let (ours, theirs) = (stands.owner == NeighborOwner::Ours, stands.owner == NeighborOwner::Operator);
        let swept = self.neighbors.swept;
        let (now, lifetime) = (self.now, self.demand.lifetime(vni).unwrap_or_default());
        self.neighbors.note_operators(key, stands.owner);
        let Some(entry) = self.neighbors.entries.get_mut(&key) else {
            if ours {
                self.stats.adopted += 1;
                self.stats.swept += u64::from(swept);
                let force = stands.binding.is_none();
                let found = Neighbor { force, unconfirmed: !swept, ..Neighbor::new(None, stands.binding) };
                self.neighbors.entries.insert(key, found);
            }
            return false;
        };
        if entry.stage == Stage::InFlight {
            entry.force = true;
            return false;
        }
        let holds = if ours { stands.binding } else { None };
        if entry.asleep && holds.is_some() && holds == entry.wanted {
            // What stands and is wanted stays, for a life.
            let until = now + lifetime;
            (entry.asleep, entry.until) = (false, Some(until));
            self.demand.neighbor_lives(until, key);
        }
        let was_in_sync = entry.goal().is_some() && !entry.needs_write() && !entry.foreign;
        entry.foreign = theirs;
        if fresh && ours {
            self.stats.confirmed += u64::from(entry.wanted.is_some() && entry.wanted == holds);
        }
        let differs = was_in_sync && holds != entry.goal() && !theirs;
        entry.installed = holds;
        let wanted = entry.wanted.filter(|_| fresh);
        self.neighbors.note_change(key, holds, wanted);
        differs
    }

    /// A listing does not have it. True where it was taken for in sync.
    fn is_missing(&mut self, key: Key, fresh: bool) -> bool {
        let Some(entry) = self.neighbors.entries.get_mut(&key) else { return false };
        if entry.stage == Stage::InFlight {
            entry.force = !fresh;
            return false;
        }
        let was_in_sync = entry.goal().is_some() && !entry.needs_write() && !entry.foreign;
        (entry.installed, entry.foreign, entry.unconfirmed) = (None, false, false);
        was_in_sync
    }

    /// A neighbour was deleted. True where it was behind our back: it will be put back.
    pub fn handle_neighbor_gone(&mut self, now: Time, vni: Vni, ip: IpAddr) -> bool {
        self.now = now;
        let key = (vni, ip);
        let Some(entry) = self.neighbors.entries.get_mut(&key) else { return false };
        if entry.stage == Stage::InFlight {
            // Ours, or one before ours: writing once more than needed is right in any case.
            entry.force |= entry.goal().is_some();
            return false;
        }
        entry.foreign = false;
        entry.unconfirmed = false;
        self.undone(key, None)
    }

    /// A neighbour went with its bridge, which was set down. It is written again, and nobody fights for it.
    pub fn handle_neighbor_lost(&mut self, now: Time, vni: Vni, ip: IpAddr) {
        self.now = now;
        let key = (vni, ip);
        let Some(entry) = self.neighbors.entries.get_mut(&key) else { return };
        if entry.stage == Stage::InFlight {
            entry.force |= entry.goal().is_some();
            return;
        }
        (entry.installed, entry.foreign, entry.unconfirmed) = (None, false, false);
        self.neighbors.touch(key, false);
    }

    /// A neighbour was written by somebody else. True where it was behind our back: it will be put back.
    pub fn handle_neighbor_changed(&mut self, now: Time, vni: Vni, stands: &KernelNeighbor) -> bool {
        self.now = now;
        let key = (vni, stands.ip);
        self.neighbors.note_operators(key, stands.owner);
        let Some(entry) = self.neighbors.entries.get_mut(&key) else { return false };
        if entry.stage == Stage::InFlight {
            entry.force |= entry.goal().is_some();
            return false;
        }
        match stands.owner {
            NeighborOwner::Ours => {
                entry.foreign = false;
                if stands.binding == entry.installed {
                    return false;
                }
                self.undone(key, stands.binding)
            }
            NeighborOwner::Operator => {
                (entry.foreign, entry.installed, entry.unconfirmed) = (true, None, false);
                self.neighbors.touch(key, true);
                false
            }
            NeighborOwner::Other => {
                entry.foreign = false;
                self.undone(key, None)
            }
        }
    }

    /// The kernel holds something else than it should, or did when the event was made.
    fn undone(&mut self, key: Key, installed: Option<Binding>) -> bool {
        let now = self.now;
        let Some(entry) = self.neighbors.entries.get_mut(&key) else { return false };
        let was_in_sync = entry.goal().is_some() && !entry.needs_write();
        entry.installed = installed;
        if !was_in_sync {
            self.neighbors.touch(key, false);
            return false;
        }
        // Most likely the echo of what was before the last write: write again, without noise, and once.
        let recent = now.since(entry.written) < RECENT && entry.heals == 0;
        if !recent && now.since(entry.written) >= HEAL_WINDOW {
            entry.heals = 0;
        }
        entry.heals = entry.heals.saturating_add(1);
        if entry.heals > HEALED_AT_ONCE {
            let attempts = u32::from(entry.heals - HEALED_AT_ONCE);
            self.stats.put_off += 1;
            if attempts == 1 {
                self.stats.fights += 1;
                self.fights.tell(Fought { vni: key.0, over: Over::Neighbor { ip: key.1, wanted: entry.goal() } });
            }
            self.neighbors.wait(key, Retry { errno: 0, attempts, at: now + batch::backoff(attempts) });
        } else {
            self.neighbors.touch(key, false);
        }
        self.stats.healed += u64::from(!recent);
        !recent
    }

    /// The next batch of neighbours.
    pub(super) fn poll_neighbors(&mut self) -> Option<Batch> {
        let id = self.next_batch;
        let ops = self.neighbors.cut(id, self.limits.batch_len);
        if ops.is_empty() {
            return None;
        }
        self.next_batch += 1;
        self.stats.in_flight += ops.len() as u64;
        self.stats.batches += 1;
        Some(Batch { id, ops })
    }

    /// A batch of neighbours was carried out, but for the errors.
    pub(super) fn neighbors_done(&mut self, done: &BatchDone) {
        let Some(flights) = self.neighbors.flights.remove(&done.id) else { return };
        self.stats.in_flight -= flights.len() as u64;
        let mut errnos = vec![if done.fatal.is_some() { batch::EIO } else { 0 }; flights.len()];
        for &(index, errno) in &done.errors {
            if let Some(slot) = errnos.get_mut(index as usize) {
                *slot = errno;
            }
        }
        for (flight, errno) in flights.into_iter().zip(errnos) {
            self.neighbor_landed(flight, errno);
        }
    }

    fn neighbor_landed(&mut self, flight: Flight, errno: i32) {
        let (now, key) = (self.now, flight.key);
        let current = self.neighbors.segments.get(&key.0).is_some_and(|segment| segment.epoch == flight.epoch);
        let Some(entry) = self.neighbors.entries.get_mut(&key) else { return };
        entry.stage = Stage::Idle;
        let gone = flight.target.is_none() && errno == batch::ENOENT;
        if !current || errno == 0 || gone {
            if current {
                entry.installed = flight.target;
                entry.written = now;
                match flight.target {
                    Some(_) => self.stats.neighbors_written += 1,
                    None => self.stats.neighbors_deleted += 1,
                }
            }
            self.neighbors.clear_retry(key);
            self.neighbors.touch(key, false);
            return;
        }
        if entry.held {
            // It was under way while IPv6 was found to be off.
            (entry.installed, entry.force) = (None, false);
            self.neighbors.touch(key, true);
            return;
        }
        self.stats.failed += 1;
        self.stats.neighbors_failed += 1;
        entry.force = true;
        if entry.goal() != flight.target {
            self.neighbors.touch(key, true);
            return;
        }
        // Of a family that the host has not at all, say.
        let permanent = matches!(errno, batch::EAFNOSUPPORT | batch::EOPNOTSUPP | batch::EINVAL);
        self.stats.permanent += u64::from(permanent);
        let attempts = self.neighbors.retries.get(&key).map_or(0, |retry| retry.attempts) + 1;
        let wait = if permanent { batch::RETRY_PERMANENT } else { batch::backoff(attempts) };
        self.neighbors.wait(key, Retry { errno, attempts, at: now + wait });
    }

    /// Addresses that were answered with another MAC than is wanted now, since the last time.
    pub fn take_changed_neighbors(&mut self) -> MovesOfBefore {
        std::mem::take(&mut self.neighbors.changed)
    }

    /// Deletes every adopted neighbour that nobody confirmed.
    pub(super) fn sweep_neighbors(&mut self) {
        self.neighbors.swept = true;
        let found: Vec<Key> = self.neighbors.entries.iter().filter(|(_, entry)| entry.unconfirmed).map(|(key, _)| *key).collect();
        self.stats.swept += found.len() as u64;
        for key in found {
            if let Some(entry) = self.neighbors.entries.get_mut(&key) {
                entry.unconfirmed = false;
            }
            self.neighbors.touch(key, false);
        }
    }

    /// Makes the retries that are due dirty.
    pub(super) fn retry_neighbors(&mut self, now: Time) {
        while let Some(&(at, key)) = self.neighbors.due.first()
            && at <= now
        {
            // The entry among the retries stays, for its count, until a write succeeds.
            self.neighbors.due.pop_first();
            self.stats.retried += 1;
            if let Some(entry) = self.neighbors.entries.get_mut(&key).filter(|entry| entry.stage == Stage::Waiting) {
                entry.stage = Stage::Idle;
            }
            self.neighbors.touch(key, false);
        }
    }
}
