//! The fib against a model of the kernel that refuses, delays, forgets, overflows and loses its device at random. After
//! quiet the kernel holds what is wanted, and what the operator made. A failing seed is in the message.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use evpnd::base::{MacAddr, Random, Time, Vni};
use evpnd::fib::{Batch, BatchDone, Fib, FibLimits, KernelRow, OpKind, Remote};

type Key = (MacAddr, Option<Remote>);

/// One VXLAN device as Linux would treat our writes.
struct Kernel {
    ifindex: u32,
    rows: BTreeMap<Key, (Remote, bool)>,
    /// MACs whose bridge entry points to a local port.
    local: Vec<MacAddr>,
    events: VecDeque<(bool, KernelRow)>,
}

fn kernel_row(key: &Key, (remote, ext_learned): (Remote, bool)) -> KernelRow {
    KernelRow { ext_learned, ..KernelRow::new(key.0, remote) }
}

impl Kernel {
    fn put(&mut self, key: Key, remote: Remote, ext_learned: bool) {
        let old = self.rows.get(&key).copied();
        // EXT_LEARNED over an entry that was written by a user changes its destination and not its flags.
        let ext_learned = ext_learned && old.is_none_or(|(_, was)| was);
        if old != Some((remote, ext_learned)) {
            self.rows.insert(key, (remote, ext_learned));
            self.events.push_back((true, kernel_row(&key, (remote, ext_learned))));
        }
    }
    fn delete(&mut self, key: &Key) -> bool {
        match self.rows.remove(key) {
            Some(old) => {
                self.events.push_back((false, kernel_row(key, old)));
                true
            }
            None => false,
        }
    }
    fn carry_out(&mut self, batch: &Batch, random: &mut Random, refuse_percent: u64) -> BatchDone {
        let mut errors = Vec::new();
        for (index, op) in batch.ops.iter().enumerate() {
            let mut error = |errno| errors.push((index as u32, errno));
            if op.ifindex != self.ifindex {
                error(19);
                continue;
            }
            if random.below(100) < refuse_percent {
                error(12);
                continue;
            }
            let flood = (MacAddr::ZERO, Some(op.remote));
            let unicast = (op.mac, None);
            match op.kind {
                OpKind::ReplaceUnicast | OpKind::EnsureUnicast | OpKind::RestoreUnicast => {
                    if op.kind == OpKind::RestoreUnicast && self.rows.get(&unicast).is_some_and(|(_, ext_learned)| !ext_learned) {
                        self.delete(&unicast);
                    }
                    self.local.retain(|mac| *mac != op.mac);
                    self.put(unicast, op.remote, true);
                }
                OpKind::DeleteUnicast { self_only: false } if self.local.contains(&op.mac) => error(2),
                OpKind::DeleteUnicast { .. } if !self.delete(&unicast) => error(2),
                OpKind::AppendFlood => self.put(flood, op.remote, true),
                OpKind::DeleteFlood if !self.delete(&flood) => error(2),
                // `tests/fib_neighbors.rs` has a model of its own.
                OpKind::ReplaceNeighbor { .. } | OpKind::DeleteNeighbor => unreachable!("no neighbour was wished for"),
                OpKind::DeleteUnicast { .. } | OpKind::DeleteFlood => {}
            }
        }
        BatchDone { id: batch.id, errors, ..BatchDone::default() }
    }
    fn dump(&self) -> Vec<KernelRow> {
        self.rows.iter().map(|(key, value)| kernel_row(key, *value)).collect()
    }
}

struct World {
    vni: Vni,
    now: Time,
    random: Random,
    fib: Fib,
    kernel: Kernel,
    device: bool,
    sent: VecDeque<Batch>,
    answers: VecDeque<BatchDone>,
    unicast: BTreeMap<MacAddr, Remote>,
    flood: Vec<Remote>,
    operator: BTreeMap<Key, Remote>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut kernel = Kernel { ifindex: 1, rows: BTreeMap::new(), local: vec![], events: VecDeque::new() };
        for n in 0..random.below(6) as u8 {
            let ext_learned = random.below(3) > 0;
            kernel.rows.insert((MacAddr([2, 0, 0, 0, 0, n]), None), (remote(random.below(4)), ext_learned));
        }
        kernel.rows.insert((MacAddr::ZERO, Some(remote(2))), (remote(2), true));
        let operators = kernel.rows.iter().filter(|(_, (_, ext))| !ext).map(|(key, (remote, _))| (*key, *remote));
        let operator = operators.collect();
        let limits = FibLimits { batch_len: 4, batches_in_flight: 3 };
        let mut world = Self {
            vni: Vni::new(100).unwrap(),
            now: Time::ZERO,
            random,
            fib: Fib::with_limits(seed, limits),
            kernel,
            device: true,
            sent: VecDeque::new(),
            answers: VecDeque::new(),
            unicast: BTreeMap::new(),
            flood: vec![],
            operator,
        };
        world.ready();
        world
    }
    fn ready(&mut self) {
        let dump = self.kernel.dump();
        self.fib.device_ready(self.now, self.vni, self.kernel.ifindex, Some(false), dump);
    }
    fn mac(&mut self) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, self.random.below(8) as u8])
    }
    fn flow(&mut self, refuse_percent: u64) {
        match self.random.below(3) {
            0 => {
                if let Some(batch) = self.fib.poll_batch(self.now) {
                    assert!(batch.ops.len() <= 5);
                    self.sent.push_back(batch);
                }
            }
            1 => {
                if let Some(batch) = self.sent.pop_front() {
                    let done = self.kernel.carry_out(&batch, &mut self.random, refuse_percent);
                    self.answers.push_back(done);
                }
            }
            _ => {
                if let Some(done) = self.answers.pop_front() {
                    self.fib.handle_batch_done(self.now, &done);
                }
            }
        }
    }
    fn event(&mut self) {
        if let Some((changed, row)) = self.kernel.events.pop_front() {
            if changed {
                self.fib.handle_row_changed(self.now, self.vni, &row);
            } else {
                self.fib.handle_row_gone(self.now, self.vni, &row);
            }
        }
    }
    fn fault(&mut self) {
        match self.random.below(7) {
            0 => {
                let picked = self.random.below(self.kernel.rows.len().max(1) as u64) as usize;
                if let Some(key) = self.kernel.rows.keys().nth(picked).copied() {
                    self.kernel.delete(&key);
                    self.operator.remove(&key);
                }
            }
            1 => {
                let (mac, to) = (self.mac(), self.random.below(4));
                if self.kernel.rows.get(&(mac, None)).is_some_and(|(_, ext_learned)| *ext_learned) {
                    self.kernel.put((mac, None), remote(to), true);
                }
            }
            2 => {
                let lost = self.random.below(5);
                for _ in 0..lost {
                    self.kernel.events.pop_back();
                }
                let dump = self.kernel.dump();
                self.kernel.events.clear();
                self.fib.handle_rows(self.now, self.vni, &dump);
            }
            3 if self.device => {
                self.device = false;
                self.kernel.ifindex += 1;
                self.kernel.rows.clear();
                self.kernel.local.clear();
                self.kernel.events.clear();
                self.operator.clear();
                self.fib.device_gone(self.vni);
            }
            4 => {
                let mac = self.mac();
                self.fib.reassert(self.now, self.vni, mac);
            }
            _ => {}
        }
        if !self.device && self.random.below(3) == 0 {
            self.device = true;
            self.ready();
        }
    }
    fn wish(&mut self) {
        let (mac, to) = (self.mac(), remote(self.random.below(4)));
        match self.random.below(8) {
            0..=2 => {
                self.fib.set_unicast(self.now, self.vni, mac, to);
                self.unicast.insert(mac, to);
            }
            3 | 4 => {
                let became_local = self.unicast.remove(&mac).is_some() && self.random.below(2) == 0;
                if became_local {
                    self.kernel.local.push(mac);
                }
                self.fib.clear_unicast(self.now, self.vni, mac, became_local);
            }
            5 => {
                self.fib.set_flood(self.now, self.vni, to);
                self.flood.push(to);
            }
            6 => {
                self.fib.clear_flood(self.now, self.vni, to);
                self.flood.retain(|other| *other != to);
            }
            _ => {}
        }
    }
    fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.fib.handle_timeout(self.now);
    }
    fn quiet(&mut self, seed: u64) {
        if !self.device {
            self.device = true;
            self.ready();
        }
        self.fib.sweep(self.now);
        for round in 0.. {
            assert!(round < 20_000, "seed {seed}: does not come to rest: {:?}", self.fib.diff(self.vni, &self.kernel.dump()));
            self.flow(0);
            self.event();
            self.pass(50);
            let idle = self.sent.is_empty() && self.answers.is_empty() && self.kernel.events.is_empty();
            if idle && self.fib.is_settled() {
                break;
            }
        }
    }
    fn expected(&self) -> BTreeMap<Key, Remote> {
        let mut expected: BTreeMap<Key, Remote> = self.unicast.iter().map(|(mac, to)| ((*mac, None), *to)).collect();
        expected.extend(self.flood.iter().map(|to| ((MacAddr::ZERO, Some(*to)), *to)));
        expected.extend(self.operator.iter().map(|(key, to)| (*key, *to)));
        expected
    }
    fn actual(&self) -> BTreeMap<Key, Remote> {
        self.kernel.rows.iter().map(|(key, (remote, _))| (*key, *remote)).collect()
    }
}

fn remote(n: u64) -> Remote {
    Remote { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, n as u8)), vni: None }
}

fn run(seed: u64, steps: u64) {
    let mut world = World::new(seed);
    let (wishes, faults, refusals) = (world.random.below(40), world.random.below(15), world.random.below(60));
    for _ in 0..steps {
        world.flow(refusals);
        let roll = world.random.below(100);
        if roll < wishes {
            world.wish();
        } else if roll < wishes + faults {
            world.fault();
        } else if roll < 80 {
            world.event();
        } else {
            let millis = world.random.below(400);
            world.pass(millis);
        }
    }
    world.quiet(seed);
    assert_eq!(world.actual(), world.expected(), "seed {seed}: events alone");
    let dump = world.kernel.dump();
    assert_eq!(world.fib.handle_rows(world.now, world.vni, &dump), 0, "seed {seed}: the audit finds nothing");
    let mut differences = world.fib.diff(world.vni, &dump);
    differences.retain(|difference| !world.operator.contains_key(&(difference.mac, None)));
    assert_eq!(differences, [], "seed {seed}");
    world.quiet(seed);
    assert_eq!(world.actual(), world.expected(), "seed {seed}: after the audit");
}

#[test]
fn whatever_the_kernel_does_it_ends_with_what_is_wanted() {
    for seed in 0..20_000 {
        run(seed, 300);
    }
}
