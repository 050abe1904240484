//! The kernel room of one daemon as the simulation plays it: commands in, events out, after `src/kernel/{worker,follow,
//! manage,stations}.rs`. It dies with its daemon. What it does next among all that waits is chance.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use evpnd::base::{MacAddr, Random, Time, Vni};
use evpnd::fib::{
    BatchDone, CheckedRow, DeviceSpec, DeviceState, KernelCommand, KernelEvent, KernelRow, LocalMac, Op, OpKind, ReadyDevice,
};

use super::kernel::{AGEING_SECS, Kernel, Made, Note, Written, bridge_ifindex};
use super::modes::device_mac;
use crate::device_support::ready_device;

/// One wanted device.
#[derive(Debug)]
struct Managed {
    spec: DeviceSpec,
    /// ifindex told as ready.
    told: Option<u32>,
    /// Their ports, and whether they are static there.
    stations: BTreeMap<MacAddr, (u32, bool)>,
    /// MACs that changed while a dump of stations runs.
    touched: Option<BTreeSet<MacAddr>>,
    /// The addresses of a device without a bridge, as they were told.
    own_addresses: BTreeSet<IpAddr>,
}

#[derive(Debug, Clone, Copy)]
enum Job {
    Stations(Vni),
    Rows(u64, Vni),
    TooMany(u64, Vni),
    Neighbors(u64, Vni),
}

/// A dump under way: what it saw, once it saw it.
#[derive(Debug)]
enum Running {
    Stations(Vni, Option<BTreeMap<MacAddr, (u32, bool)>>),
    Rows(u64, Vni, Option<Result<Vec<KernelRow>, String>>),
    /// The first half of the rows, and the MAC at which it ends: a dump takes its time, and what changes meanwhile may be
    /// seen twice or not at all.
    HalfRows(u64, Vni, Vec<KernelRow>, MacAddr),
}

/// An address of a station: when it was told, when it is asked for next, and how often that was in vain.
#[derive(Debug, Clone, Copy)]
struct Known {
    told: Option<Time>,
    ask: Time,
    asked: u8,
}

/// After `src/kernel/heard.rs`, for bridges that keep a station for [`AGEING_SECS`].
const TELL_AGAIN: Duration = Duration::from_secs(10);
const ASK_AFTER: Duration = Duration::from_secs(AGEING_SECS / 3);
const ASK_AGAIN: Duration = Duration::from_secs(AGEING_SECS / 6);
const QUESTIONS: u8 = 3;
/// After `src/kernel/listen.rs` and `misses.rs`, somewhat coarser: within so long, what is asked for and what is missed is told once.
const NEWS: Duration = Duration::from_millis(500);

/// The state of the thread.
#[derive(Debug)]
pub struct Room {
    vtep: Option<IpAddr>,
    now: Time,
    pub commands: VecDeque<KernelCommand>,
    pub events: VecDeque<KernelEvent>,
    managed: BTreeMap<Vni, Managed>,
    /// Not wanted any more: their neighbours are read, their rows go with the devices, all of which evpnd made.
    leftovers: BTreeSet<Vni>,
    dirty: BTreeSet<Vni>,
    echoes: BTreeSet<(u32, MacAddr)>,
    jobs: VecDeque<Job>,
    running: Option<Running>,
    lost: u64,
    /// Rows were written since the last notification was read.
    wrote: bool,
    resync: bool,
    /// Addresses of stations, as the ears heard them.
    addresses: BTreeMap<(Vni, MacAddr, IpAddr), Known>,
    /// What was asked for and missed since, until when.
    told_asked: (Time, BTreeSet<(Vni, IpAddr)>),
    told_missed: BTreeSet<(u32, MacAddr)>,
    misses_lost: u64,
    /// Stations to be asked for an address.
    pub questions: Vec<(Vni, MacAddr, IpAddr)>,
    /// Removed devices: `true` for the model of what evpnd made.
    pub writes: Vec<Written>,
    /// Devices that this room removed because it was asked to.
    pub removed: Vec<Vni>,
    /// The daemon said that it is done.
    pub stopped: bool,
}

impl Room {
    /// Begins to listen.
    pub fn open(kernel: &mut Kernel, vtep: Option<IpAddr>) -> Self {
        kernel.notes = Some(VecDeque::new());
        kernel.lost = false;
        Self {
            vtep,
            now: Time::ZERO,
            commands: VecDeque::new(),
            events: VecDeque::new(),
            managed: BTreeMap::new(),
            leftovers: BTreeSet::new(),
            dirty: BTreeSet::new(),
            echoes: BTreeSet::new(),
            jobs: VecDeque::new(),
            running: None,
            lost: 0,
            wrote: false,
            resync: true,
            addresses: BTreeMap::new(),
            told_asked: (Time::ZERO, BTreeSet::new()),
            told_missed: BTreeSet::new(),
            misses_lost: 0,
            questions: Vec::new(),
            writes: Vec::new(),
            removed: Vec::new(),
            stopped: false,
        }
    }

    /// Whether it has anything to do.
    pub fn is_busy(&self, kernel: &Kernel) -> bool {
        !self.commands.is_empty()
            || (!kernel.lagging && (kernel.has_notes() || self.resync || !self.dirty.is_empty()))
            || !self.jobs.is_empty()
            || kernel.hears()
            || self.running.is_some()
    }

    /// Does one thing. Writes are listed in `writes`.
    pub fn step(&mut self, now: Time, kernel: &mut Kernel, random: &mut Random) {
        (self.now, kernel.now) = (now, now);
        let waiting = kernel.has_notes();
        let reads = waiting && !kernel.lagging;
        let settles = !waiting && !kernel.lagging && (self.resync || !self.dirty.is_empty());
        match random.below(4) {
            0 if reads => self.read_notes(kernel, random),
            1 if self.running.is_some() || !self.jobs.is_empty() => self.dump(kernel),
            2 if settles => self.settle(kernel),
            3 if kernel.hears() => self.listen(kernel),
            _ => {
                if let Some(command) = self.commands.pop_front() {
                    self.command(kernel, random, command);
                } else if reads {
                    self.read_notes(kernel, random);
                } else if settles {
                    self.settle(kernel);
                } else if kernel.hears() {
                    self.listen(kernel);
                } else {
                    self.dump(kernel);
                }
            }
        }
    }

    fn command(&mut self, kernel: &mut Kernel, random: &mut Random, command: KernelCommand) {
        match command {
            KernelCommand::Devices(specs) => {
                let wanted: BTreeSet<Vni> = specs.iter().map(|spec| spec.vni).collect();
                let dropped: Vec<Vni> = self.managed.keys().filter(|vni| !wanted.contains(vni)).copied().collect();
                for vni in dropped {
                    self.lose(vni, "it is not configured any more");
                    self.managed.remove(&vni);
                }
                self.leftovers.retain(|vni| !wanted.contains(vni));
                for spec in specs {
                    self.dirty.insert(spec.vni);
                    let managed = self.managed.entry(spec.vni).or_insert_with(|| Managed::new(spec.clone()));
                    managed.spec = spec;
                }
            }
            KernelCommand::Write(batch) => {
                let mut done = BatchDone { id: batch.id, ..BatchDone::default() };
                // A batch that cannot be sent may have been carried out in part.
                let until = if kernel.sick && random.below(3) == 0 {
                    done.fatal = Some("rows could not be written: no buffer space".to_owned());
                    random.below(batch.ops.len() as u64 + 1) as usize
                } else {
                    batch.ops.len()
                };
                // What we made remote, or tried to, is no station to the core any more.
                for op in batch.ops.iter().filter(|op| op.kind.writes_unicast()) {
                    if let Some(managed) = self.managed.values_mut().find(|managed| managed.told == Some(op.ifindex)) {
                        managed.gone(op.mac);
                    }
                    self.wrote = true;
                }
                for (index, op) in batch.ops.iter().enumerate().take(until) {
                    if matches!(op.kind, OpKind::EnsureUnicast | OpKind::RestoreUnicast) {
                        match kernel.standing(op) {
                            Some(row) if row.ext_learned && row.bridged && row.remote == op.remote => {
                                done.stood += 1;
                                continue;
                            }
                            Some(row) if !row.ext_learned && op.kind == OpKind::RestoreUnicast => {
                                let (_, written) = kernel.write(&Op { kind: OpKind::DeleteUnicast { self_only: true }, ..*op });
                                self.writes.extend(written);
                                self.echoes.insert((op.ifindex, op.mac));
                            }
                            Some(row) if !row.ext_learned => {
                                done.theirs.push((index as u32, row.remote));
                                continue;
                            }
                            _ => {}
                        }
                    }
                    if kernel.refuse_percent > 0 && random.below(100) < kernel.refuse_percent {
                        let errno = [12, 105, 16, 28][random.below(4) as usize];
                        if op.kind.writes_unicast() && random.below(2) == 0 {
                            kernel.write_half(op);
                        }
                        done.errors.push((index as u32, errno));
                        continue;
                    }
                    let (outcome, written) = kernel.write(op);
                    self.writes.extend(written);
                    match (outcome, op.kind) {
                        (Ok(()), OpKind::DeleteUnicast { .. }) => {
                            self.echoes.insert((op.ifindex, op.mac));
                        }
                        (Err(2), OpKind::DeleteUnicast { .. } | OpKind::DeleteFlood | OpKind::DeleteNeighbor) | (Ok(()), _) => {}
                        (Err(errno), _) => done.errors.push((index as u32, errno)),
                    }
                }
                self.events.push_back(KernelEvent::BatchDone(done));
            }
            KernelCommand::Dump { token, vni, at_most } => {
                // Some devices are too large to be listed first.
                if at_most < usize::MAX && random.below(2) == 0 {
                    self.jobs.push_back(Job::TooMany(token, vni));
                } else {
                    self.jobs.push_back(Job::Rows(token, vni));
                }
            }
            KernelCommand::DumpNeighbors { token, vni } => {
                self.jobs.push_back(Job::Neighbors(token, vni));
            }
            KernelCommand::GetRow { token, vni, mac } => {
                let row = kernel.vxlans.get(&vni).and_then(|vxlan| vxlan.rows.get(&mac)).map(|row| format!("{row:?}"));
                self.events.push_back(KernelEvent::Row { token, row });
            }
            KernelCommand::Remove { vnis } => {
                let (mut gone, mut kept) = (Vec::new(), Vec::new());
                for vni in vnis {
                    self.lose(vni, "evpnd leaves the fabric");
                    self.managed.remove(&vni);
                    self.leftovers.remove(&vni);
                    if kernel.vxlans.get(&vni).is_some_and(|vxlan| !vxlan.addresses.is_empty()) {
                        kept.push((vni, "it stays: it has an address".to_owned()));
                        continue;
                    }
                    self.removed.push(vni);
                    kernel.remove(vni);
                    kernel.remove_bridge(vni);
                    gone.push(vni);
                }
                self.events.push_back(KernelEvent::Removed { vnis: gone, kept });
            }
            KernelCommand::Leftovers(leftovers) => self.leftovers.extend(leftovers.into_iter().map(|leftover| leftover.vni)),
            KernelCommand::AskAddresses(asked) => {
                for key in asked {
                    if !self.listens(key.0) {
                        continue;
                    }
                    self.addresses.entry(key).or_insert(Known { told: None, ask: self.now, asked: 0 });
                }
                self.ask_silent(self.now);
            }
            KernelCommand::AddressesTaken(taken) => {
                self.addresses.iter_mut().filter(|(key, _)| taken.contains(key)).for_each(|(_, known)| known.told = None);
            }
            // It keeps nothing for remotes, its guests have no caches; it isolates no port, opens no bridge, has no device of others.
            KernelCommand::Remotes { .. } | KernelCommand::TellGuests(_) => {}
            KernelCommand::Isolated(_) | KernelCommand::Opened(_) | KernelCommand::Stood(_) => {}
            KernelCommand::ResyncLocal => self.jobs.extend(self.ready().into_values().map(Job::Stations)),
            KernelCommand::Check { token, rows } => {
                let checked = rows.into_iter().filter_map(|(vni, mac)| {
                    let row = kernel.read(vni, mac)?;
                    Some(CheckedRow { vni, mac, row, idle: kernel.tell_idle(vni, mac) })
                });
                let rows = checked.collect();
                self.events.push_back(KernelEvent::Checked { token, rows });
            }
            // No host of the simulation has hooks.
            KernelCommand::SetStation { token, .. } => {
                self.events.push_back(KernelEvent::StationSet { token, outcome: Err("not simulated".to_owned()) });
            }
            KernelCommand::CheckDevices => self.dirty.extend(self.managed.keys()),
            KernelCommand::Stop => self.stopped = true,
        }
    }

    /// Whether what hosts say of their addresses is listened to in a VNI.
    fn listens(&self, vni: Vni) -> bool {
        self.managed.get(&vni).is_some_and(|managed| managed.spec.neighbor_learning)
    }

    /// Reads what machines said, asked for and missed.
    fn listen(&mut self, kernel: &mut Kernel) {
        if self.told_asked.0 <= self.now {
            self.told_asked = (self.now + NEWS, BTreeSet::new());
            self.told_missed.clear();
        }
        if std::mem::take(&mut kernel.misses_lost) {
            self.misses_lost += 1;
            self.events.push_back(KernelEvent::MissesDropped { times: self.misses_lost });
        }
        let ready = self.ready();
        for missed in kernel.misses.drain(..).filter(|missed| self.told_missed.insert(*missed)) {
            let Some(&vni) = ready.get(&missed.0) else { continue };
            if self.managed.get(&vni).is_some_and(|managed| managed.spec.on_demand) {
                self.events.push_back(KernelEvent::Missed { vni, mac: missed.1 });
            }
        }
        for (vni, ip) in kernel.questions.drain(..) {
            let asks = |managed: &Managed| managed.told.is_some() && managed.spec.questions;
            if self.managed.get(&vni).is_some_and(asks) && self.told_asked.1.insert((vni, ip)) {
                self.events.push_back(KernelEvent::Asked { vni, ip });
            }
        }
        for (vni, mac, ip) in kernel.frames.drain(..) {
            let told = |managed: &Managed| managed.told.is_some() && managed.spec.neighbor_learning;
            if !self.managed.get(&vni).is_some_and(told) {
                continue;
            }
            let known = self.addresses.entry((vni, mac, ip)).or_insert(Known { told: None, ask: self.now, asked: 0 });
            (known.ask, known.asked) = (self.now + ASK_AFTER, 0);
            if known.told.is_none_or(|told| told + TELL_AGAIN <= self.now) {
                known.told = Some(self.now);
                self.events.push_back(KernelEvent::LocalAddress { vni, mac, ip, router: None });
            }
        }
    }

    /// Asks those that have been silent, and tells those that do not answer.
    pub fn ask_silent(&mut self, now: Time) {
        let is_here = |vni: Vni, mac: &MacAddr| self.managed.get(&vni).is_some_and(|managed| managed.stations.contains_key(mac));
        self.addresses.retain(|&(vni, mac, ip), known| {
            if known.ask > now {
                return true;
            }
            if is_here(vni, &mac) && known.asked < QUESTIONS {
                self.questions.push((vni, mac, ip));
                (known.ask, known.asked) = (now + ASK_AGAIN, known.asked + 1);
                return true;
            }
            if is_here(vni, &mac) {
                self.events.push_back(KernelEvent::LocalAddressGone { vni, mac, ip });
            }
            false
        });
    }

    fn ready(&self) -> BTreeMap<u32, Vni> {
        self.managed.iter().filter_map(|(vni, managed)| Some((managed.told?, *vni))).collect()
    }

    fn lose(&mut self, vni: Vni, reason: &str) {
        let Some(managed) = self.managed.get_mut(&vni) else { return };
        if managed.told.is_some() {
            *managed =
                Managed { own_addresses: std::mem::take(&mut managed.own_addresses), ..Managed::new(managed.spec.clone()) };
            self.addresses.retain(|(of, ..), _| *of != vni);
            self.events.push_back(KernelEvent::DeviceGone { vni, reason: reason.to_owned() });
        }
    }

    /// Judges one device, or reads everything again.
    fn settle(&mut self, kernel: &mut Kernel) {
        if std::mem::take(&mut self.resync) {
            self.echoes.clear();
            self.dirty.extend(self.managed.keys());
            self.jobs.extend(self.ready().into_values().map(Job::Stations));
            return;
        }
        let Some(vni) = self.dirty.pop_first() else { return };
        let ifindex = kernel.vxlans.get(&vni).map(|vxlan| vxlan.ifindex);
        if self.managed.get(&vni).is_some_and(|managed| managed.told.is_some() && managed.told != ifindex) {
            self.lose(vni, "the VXLAN device was removed");
        }
        let Some(managed) = self.managed.get_mut(&vni) else { return };
        let made = kernel.vxlans.get(&vni).map(|vxlan| vxlan.made);
        match (ifindex, made) {
            (Some(ifindex), Some(made)) if made.serves(&managed.spec) => {
                if managed.told.is_some() {
                    return;
                }
                managed.told = Some(ifindex);
                let device = ReadyDevice {
                    tells_misses: made.tells_misses && made.group.is_none(),
                    ..ready_device(vni, ifindex, if made.bare { ifindex } else { bridge_ifindex(vni) }, self.vtep)
                };
                self.events.push_back(KernelEvent::Device(DeviceState::Ready(device)));
                self.jobs.push_back(Job::Stations(vni));
            }
            // None of what it was made with can be changed: it is made anew.
            (Some(_), _) => {
                kernel.remove(vni);
                self.dirty.insert(vni);
            }
            (None, _) => {
                kernel.create(vni, Made::new(&managed.spec), device_mac(self.vtep, vni));
                self.dirty.insert(vni);
            }
        }
    }

    /// Tells which addresses a device without a bridge has, after its MAC was told.
    fn tell_own_addresses(&mut self, kernel: &Kernel, vni: Vni) {
        let Some(managed) = self.managed.get_mut(&vni).filter(|managed| managed.told.is_some() && managed.spec.bare) else {
            return;
        };
        let Some(vxlan) = kernel.vxlans.get(&vni) else { return };
        let (mac, found) = (vxlan.mac, vxlan.addresses.clone());
        let before = std::mem::replace(&mut managed.own_addresses, found.clone());
        let gone = before.difference(&found).map(|ip| KernelEvent::LocalAddressGone { vni, mac, ip: *ip });
        let told = found.iter().map(|ip| KernelEvent::LocalAddress { vni, mac, ip: *ip, router: None });
        self.events.extend(gone.chain(told));
    }

    fn dump(&mut self, kernel: &Kernel) {
        match self.running.take() {
            None => {
                let Some(job) = self.jobs.pop_front() else { return };
                let (Job::Stations(vni) | Job::Rows(_, vni) | Job::TooMany(_, vni) | Job::Neighbors(_, vni)) = job;
                let managed = self.managed.get_mut(&vni).filter(|managed| managed.told.is_some());
                match (job, managed) {
                    (Job::Stations(_), Some(managed)) => {
                        managed.touched = Some(BTreeSet::new());
                        self.running = Some(Running::Stations(vni, None));
                    }
                    (Job::Stations(_), None) => {}
                    (Job::Neighbors(token, _), managed) => {
                        let found = kernel.neighbors(kernel.neighbors_at(vni));
                        let of = managed.filter(|managed| managed.spec.neighbor_learning).map(|managed| &managed.stations);
                        for (mac, ip) in found.iter().filter_map(|found| Some((found.binding?.mac, found.ip))) {
                            if of.is_some_and(|stations| stations.contains_key(&mac)) {
                                self.addresses.entry((vni, mac, ip)).or_insert(Known { told: None, ask: self.now, asked: 0 });
                            }
                        }
                        self.events.push_back(KernelEvent::Neighbors { token, vni, neighbors: Ok(found) });
                    }
                    (Job::TooMany(token, _), Some(_)) => self.events.push_back(KernelEvent::TooManyRows { token, vni }),
                    (Job::Rows(token, _), Some(_)) => self.running = Some(Running::Rows(token, vni, None)),
                    (Job::Rows(token, _) | Job::TooMany(token, _), None) => {
                        let unknown = || format!("VNI {vni} has no device that is ready");
                        let rows = self.leftovers.contains(&vni).then(Vec::new).ok_or_else(unknown);
                        self.events.push_back(KernelEvent::Rows { token, vni, rows });
                    }
                }
            }
            Some(Running::Stations(vni, None)) => self.running = Some(Running::Stations(vni, Some(kernel.stations(vni)))),
            Some(Running::Rows(token, vni, None)) => {
                let rows = kernel.dump(vni).ok_or_else(|| "No such device".to_owned());
                let rows = if kernel.sick && token % 2 == 0 { Err("Interrupted".to_owned()) } else { rows };
                self.running = Some(match rows {
                    Ok(mut rows) if rows.len() > 1 => {
                        let middle = rows[rows.len() / 2].mac;
                        rows.retain(|row| row.mac < middle);
                        Running::HalfRows(token, vni, rows, middle)
                    }
                    rows => Running::Rows(token, vni, Some(rows)),
                });
            }
            Some(Running::HalfRows(token, vni, mut rows, middle)) => {
                let rest = kernel.dump(vni).ok_or_else(|| "No such device".to_owned());
                let whole = rest.map(|rest| {
                    rows.extend(rest.into_iter().filter(|row| row.mac >= middle));
                    rows
                });
                self.running = Some(Running::Rows(token, vni, Some(whole)));
            }
            Some(Running::Stations(vni, Some(found))) => {
                let Some(managed) = self.managed.get_mut(&vni).filter(|managed| managed.told.is_some()) else { return };
                let touched = managed.touched.take().unwrap_or_default();
                managed.stations.retain(|mac, _| touched.contains(mac));
                managed.stations.extend(found.into_iter().filter(|(mac, _)| !touched.contains(mac)));
                let macs = managed.stations.iter().map(|(mac, at)| local_mac(vni, *mac, *at)).collect();
                self.events.push_back(KernelEvent::LocalMacs { vni, macs });
                self.tell_own_addresses(kernel, vni);
            }
            Some(Running::Rows(token, vni, Some(rows))) => self.events.push_back(KernelEvent::Rows { token, vni, rows }),
        }
    }

    fn read_notes(&mut self, kernel: &mut Kernel, random: &mut Random) {
        if std::mem::take(&mut kernel.lost) {
            self.lost += 1;
            self.resync = true;
            self.events.push_back(KernelEvent::Overflow { lost: self.lost });
        }
        let Some(notes) = &mut kernel.notes else { return };
        let count = 1 + random.below(notes.len() as u64 + 1) as usize;
        let slice: Vec<Note> = notes.drain(..count.min(notes.len())).collect();
        let drained = notes.is_empty();
        let ready = self.ready();
        let (mut gone, mut halves, mut half) = (Vec::new(), Vec::new(), None);
        for note in slice {
            match note {
                // Heard before we wrote: the bridge believes otherwise by now. The port may have had its half of the row.
                Note::Heard(vni, mac, ..) if self.wrote && !kernel.is_at_port(vni, mac) => {
                    let device = self.managed.get(&vni).and_then(|managed| managed.told);
                    halves.extend(device.map(|device| (device, mac)));
                }
                Note::Heard(vni, mac, port, is_static) => {
                    if let Some(managed) = self.managed.get_mut(&vni).filter(|managed| managed.told.is_some())
                        && managed.heard(mac, (port, is_static))
                    {
                        self.events.push_back(KernelEvent::LocalMac(local_mac(vni, mac, (port, is_static))));
                    }
                }
                Note::Unheard(vni, mac) => {
                    if let Some(managed) = self.managed.get_mut(&vni).filter(|managed| managed.told.is_some())
                        && managed.gone(mac)
                    {
                        self.addresses.retain(|(of, other, _), _| (*of, *other) != (vni, mac));
                        self.events.push_back(KernelEvent::LocalMacGone { vni, mac });
                    }
                }
                Note::HalfGone(ifindex, mac) => {
                    if ready.contains_key(&ifindex) && !self.echoes.contains(&(ifindex, mac)) {
                        halves.extend(half.replace((ifindex, mac)));
                    }
                }
                Note::RowGone(ifindex, row) => {
                    if half == Some((ifindex, row.mac)) {
                        half = None;
                    }
                    let echo = self.echoes.remove(&(ifindex, row.mac));
                    if let (Some(&vni), false) = (ready.get(&ifindex), echo) {
                        gone.push((vni, row));
                    }
                }
                // Before our own delete, whose echo is yet to come.
                Note::RowWritten(ifindex, row) if self.echoes.contains(&(ifindex, row.mac)) => {}
                Note::RowWritten(ifindex, row) => {
                    if let Some(&vni) = ready.get(&ifindex) {
                        self.events.push_back(KernelEvent::RowChanged { vni, row });
                    }
                }
                Note::Address(vni) => self.tell_own_addresses(kernel, vni),
                Note::Link(vni) => {
                    if self.managed.contains_key(&vni) {
                        self.dirty.insert(vni);
                    }
                }
            }
        }
        self.wrote &= !drained;
        self.events.extend(gone.into_iter().map(|(vni, row)| KernelEvent::RowGone { vni, row }));
        for (ifindex, mac) in halves.into_iter().chain(half) {
            let Some(&vni) = ready.get(&ifindex) else { continue };
            let Some(vxlan) = kernel.vxlans.get(&vni).filter(|vxlan| vxlan.ifindex == ifindex && !vxlan.made.bare) else {
                continue;
            };
            // It stands again, or a local port has it.
            let stands = kernel.bridges.get(&vni).is_some_and(|bridge| bridge.contains_key(&mac));
            if let (false, Some(row)) = (stands, vxlan.rows.get(&mac)) {
                self.events.push_back(KernelEvent::RowGone { vni, row: *row });
            }
        }
    }
}

impl Managed {
    fn new(spec: DeviceSpec) -> Self {
        Self { spec, told: None, stations: BTreeMap::new(), touched: None, own_addresses: BTreeSet::new() }
    }

    fn heard(&mut self, mac: MacAddr, at: (u32, bool)) -> bool {
        self.touch(mac);
        self.stations.insert(mac, at) != Some(at)
    }

    fn gone(&mut self, mac: MacAddr) -> bool {
        self.touch(mac);
        self.stations.remove(&mac).is_some()
    }

    fn touch(&mut self, mac: MacAddr) {
        if let Some(touched) = &mut self.touched {
            touched.insert(mac);
        }
    }
}

fn local_mac(vni: Vni, mac: MacAddr, (port, is_static): (u32, bool)) -> LocalMac {
    LocalMac { vni, mac, port, port_name: format!("tap{port}"), is_static }
}
