//! The thread of the kernel room: waits for commands, notifications and dumps, and hands events to the core.
//!
//! One turn: a few commands, a slice of notifications, then (only when none waits, so that the table of interfaces is
//! true) one device, one datagram of a dump, and everything that came of it is handed over. Nothing here waits but `poll`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::announce::Announcer;
use super::dumper::{Dumper, Job};
use super::ears::Ears;
use super::follow::Seen;
use super::links::Links;
use super::listen::Asked;
use super::manage::Managed;
use super::misses::Misses;
use super::nexthops::Nexthops;
use super::reader::Reader;
use super::request::Requests;
use super::socket::{Burst, Socket};
use super::writer::{self, Writer};
use super::{EVENTS, KernelOptions, Shared, closed, filter};
use crate::base::{MacAddr, Vni};
use crate::fib::{
    DeviceState, FoundDevice, KernelCommand, KernelEvent, Leftover, LimitsMet, MarkedLink, ReadyDevice, StoodDevice, UnfitDevice,
};

/// Commands taken in one turn: between them notifications are read, so that a burst of writes delays no local MAC.
const COMMANDS_PER_TURN: usize = 4;

/// The thread's state. `follow` and `manage` hold the rest of what it does.
pub(super) struct Worker {
    shared: Arc<Shared>,
    commands: Receiver<KernelCommand>,
    kick: File,
    wake: Box<dyn Fn() + Send>,
    pub(super) events: Socket,
    pub(super) writer: Writer,
    pub(super) requests: Requests,
    pub(super) dumper: Dumper,
    pub(super) nexthops: Nexthops,
    /// Their notifications are asked for.
    pub(super) nexthops_heard: bool,
    /// Changes of addresses are asked for.
    pub(super) addresses_heard: bool,
    /// Where this host itself may be another in its segment than was told.
    pub(super) own_changed: BTreeSet<Vni>,
    pub(super) burst: Burst,
    pub(super) reader: Reader,
    pub(super) ears: Ears,
    pub(super) asked: Asked,
    pub(super) announcer: Announcer,
    pub(super) misses: Misses,
    /// Ports or wishes changed: which are listened at is to be judged anew.
    pub(super) retune: bool,
    /// Hosts are asked again from then on.
    pub(super) ask_at: Option<Instant>,
    /// What was told of the limits that were met, and when it is looked at next.
    pub(super) met: LimitsMet,
    pub(super) counted: Option<Instant>,
    pub(super) links: Links,
    /// The devices that were told last.
    pub(super) found: Option<(Vec<FoundDevice>, Vec<UnfitDevice>)>,
    /// The interfaces of ours that nobody wants, as they were told last.
    pub(super) marked: Option<Vec<MarkedLink>>,
    /// VNIs that nobody wants any more, whose rows are being deleted.
    pub(super) leftovers: BTreeMap<Vni, Leftover>,
    /// The wanted devices.
    pub(super) managed: BTreeMap<Vni, Managed>,
    /// Ports that an earlier run isolated, of VNIs that were not wanted yet.
    pub(super) isolated_before: BTreeMap<Vni, BTreeSet<u32>>,
    /// Bridges of others where one turned IPv6 on, of such VNIs.
    pub(super) opened_before: BTreeMap<Vni, u32>,
    /// Devices of others that one worked with, of such VNIs.
    pub(super) stood_before: BTreeMap<Vni, StoodDevice>,
    /// When that was told.
    pub(super) stood_at: Instant,
    /// Names of devices and bridges in the wanted list.
    pub(super) names: BTreeMap<String, BTreeSet<Vni>>,
    /// VXLAN devices that are ready.
    pub(super) devices: BTreeMap<u32, Vni>,
    /// Their bridges.
    pub(super) bridges: BTreeMap<u32, Vni>,
    /// Wanted devices to be judged, when no notification waits.
    pub(super) dirty: BTreeSet<Vni>,
    /// Those for which steps were just taken.
    pub(super) worked: BTreeSet<Vni>,
    /// Those to be judged later.
    pub(super) later: BTreeMap<Vni, Instant>,
    /// Events for the core, until the end of the turn.
    pub(super) out: Vec<KernelEvent>,
    /// How often notifications were lost.
    pub(super) lost: u64,
    /// Everything is to be read again, when no notification waits.
    pub(super) resync: bool,
    /// The interfaces are to be read again, when no notification waits.
    pub(super) recheck: bool,
    /// Bridges whose filters changed.
    pub(super) unfiltered: BTreeSet<u32>,
    /// The ports of VXLAN that the filters know, and that there may be others by now.
    pub(super) ports: BTreeSet<u16>,
    pub(super) ports_changed: bool,
    /// Bridges whose filter was seen or put there, with the ports of VXLAN that it knew.
    pub(super) closed: BTreeMap<u32, BTreeSet<u16>>,
    /// Rows were written since the last notification was read: one that waits may be older than they are.
    pub(super) wrote: bool,
    /// Bridges on which IPv6 was turned on for their neighbours, or could not be.
    pub(super) nd_tried: BTreeSet<u32>,
    /// When bridges where IPv6 is off are looked at next.
    pub(super) ipv6_at: Option<Instant>,
    /// What was seen in one slice of notifications and waits for its end.
    pub(super) seen: Seen,
}

/// Has the kernel leave out the echo of what we write on these tunnels.
fn filter_echoes(events: &Socket, tunnels: &BTreeSet<u32>) {
    if let Err(error) = events.attach_filter(&filter::program(tunnels)) {
        tracing::warn!(%error, "the echo of our own writes cannot be filtered: more work, the same result");
    }
}

/// An eventfd: a counter to wait on.
///
/// # Errors
/// Those of `eventfd(2)`.
pub(super) fn eventfd() -> io::Result<File> {
    // SAFETY: takes two numbers and returns a new descriptor or -1.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just made, is open, and nobody else has it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// The time, for back-off only.
#[allow(clippy::disallowed_methods, reason = "the kernel room is at the rim; its back-off is not the core's time")]
pub(super) fn now() -> Instant {
    Instant::now()
}

impl Worker {
    /// A tunnel came or went: the echo of its rows, and of no other port's, is left out by the kernel.
    pub(super) fn filter_echoes(&self) {
        // With more than the filter can tell apart it stays as it is from then on.
        if self.devices.len() <= filter::TUNNELS + 1 {
            filter_echoes(&self.events, &self.devices.keys().copied().collect());
        }
    }

    /// Opens the sockets, in the namespace of the calling thread.
    ///
    /// # Errors
    /// Those of `socket(2)` and `setsockopt(2)`.
    pub(super) fn open(
        options: KernelOptions,
        commands: Receiver<KernelCommand>,
        kick: File,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let mut events = Socket::open()?;
        let given = events.set_receive_buffer(options.receive_buffer);
        if given < options.receive_buffer {
            tracing::warn!(
                wanted = options.receive_buffer,
                given,
                "notifications of the kernel may be lost under load: give evpnd CAP_NET_ADMIN, or raise net.core.rmem_max"
            );
        }
        filter_echoes(&events, &BTreeSet::new());
        events.join(libc::RTNLGRP_LINK)?;
        events.join(libc::RTNLGRP_NEIGH)?;
        // Qdiscs and filters: a kernel without them says nothing there.
        events.join(closed::RTNLGRP_TC)?;
        Ok(Self {
            shared,
            commands,
            kick,
            wake: options.wake,
            events,
            writer: Writer::open()?,
            requests: Requests::open()?,
            dumper: Dumper::open()?,
            nexthops: Nexthops::default(),
            nexthops_heard: false,
            addresses_heard: false,
            own_changed: BTreeSet::new(),
            burst: Burst::default(),
            reader: Reader::open()?,
            ears: Ears::open()?,
            asked: Asked::default(),
            announcer: Announcer::default(),
            misses: Misses::default(),
            retune: false,
            ask_at: None,
            met: LimitsMet::default(),
            counted: None,
            links: Links::default(),
            found: None,
            marked: None,
            leftovers: BTreeMap::new(),
            managed: BTreeMap::new(),
            isolated_before: BTreeMap::new(),
            opened_before: BTreeMap::new(),
            stood_before: BTreeMap::new(),
            stood_at: now(),
            names: BTreeMap::new(),
            devices: BTreeMap::new(),
            bridges: BTreeMap::new(),
            dirty: BTreeSet::new(),
            worked: BTreeSet::new(),
            later: BTreeMap::new(),
            out: Vec::new(),
            lost: 0,
            resync: true,
            recheck: false,
            unfiltered: BTreeSet::new(),
            ports: BTreeSet::new(),
            ports_changed: false,
            closed: BTreeMap::new(),
            wrote: false,
            nd_tried: BTreeSet::new(),
            ipv6_at: None,
            seen: Seen::default(),
        })
    }

    /// The loop. Ends on [`KernelCommand::Stop`], or where the core's end is gone, or where waiting itself fails.
    pub(super) fn run(mut self) {
        let mut readable = [true; 5];
        loop {
            let mut more = false;
            if readable[0] {
                let _ = self.kick.read(&mut [0; 8]);
            }
            for turn in 0..COMMANDS_PER_TURN {
                match self.commands.try_recv() {
                    Ok(KernelCommand::Stop) | Err(TryRecvError::Disconnected) => return self.hand_over(),
                    Ok(command) => self.handle_command(command),
                    Err(TryRecvError::Empty) => break,
                }
                more |= turn + 1 == COMMANDS_PER_TURN;
            }
            let paused = self.pause();
            let drained = !paused && (!readable[1] || self.read_events());
            if drained {
                self.settle();
            }
            if readable[2] && self.dumper.is_busy() {
                let finished = self.dumper.handle_readable(&self.nexthops);
                self.finished(finished);
            }
            if readable[3] && !paused {
                self.listen();
            }
            if readable[4] && !paused {
                self.hear_misses();
            }
            self.ask_silent();
            self.tell_own();
            self.begin_jobs();
            self.hand_over();
            more |= !paused && (!drained || !self.dirty.is_empty() || self.resync || self.recheck);
            readable = match self.wait(more, paused) {
                Ok(readable) => readable,
                Err(error) => {
                    self.out.push(KernelEvent::Fatal(format!("the kernel room cannot wait for its sockets: {error}")));
                    return self.hand_over();
                }
            };
        }
    }

    fn handle_command(&mut self, command: KernelCommand) {
        match command {
            KernelCommand::Devices(specs) => self.want(specs),
            KernelCommand::Isolated(ports) => self.isolated_before = ports,
            KernelCommand::Opened(bridges) => self.opened_before = bridges,
            KernelCommand::Stood(devices) => (self.stood_before, self.stood_at) = (devices, now()),
            KernelCommand::Write(batch) => {
                let done = self.write_opening(&batch);
                // A local MAC that we made remote: the kernel tells nobody, for the notification is one of our own writes. Also
                // where the write failed, perhaps half-way: the core takes the MAC for remote, so whatever a port hears of it
                // next is news.
                for op in batch.ops.iter().filter(|op| op.kind.writes_unicast()) {
                    if let Some(managed) = self.devices.get(&op.ifindex).and_then(|vni| self.managed.get_mut(vni))
                        && (managed.stations.gone(op.mac) || managed.addresses.lost_port(op.mac).is_some())
                    {
                        managed.addresses.forget(op.mac);
                    }
                    self.wrote = true;
                }
                self.out.push(KernelEvent::BatchDone(done));
                self.tell_lost();
                self.hand_over();
            }
            KernelCommand::Dump { token, vni, at_most } => self.dumper.push(Job::Rows { token, vni, at_most, ours: false }),
            KernelCommand::Leftovers(leftovers) => self.open_leftovers(leftovers),
            KernelCommand::DumpNeighbors { token, vni } => self.dumper.push(Job::Neighbors { token, vni }),
            KernelCommand::GetRow { token, vni, mac } => {
                let row = self.row(vni, mac);
                self.out.push(KernelEvent::Row { token, row });
            }
            KernelCommand::Check { token, rows } => self.check(token, &rows),
            KernelCommand::AskAddresses(asked) => self.ask_addresses(&asked),
            KernelCommand::AddressesTaken(taken) => self.addresses_taken(&taken),
            KernelCommand::TellGuests(moved) => self.tell_guests(&moved),
            KernelCommand::SetStation { token, vni, mac, port } => self.set_station(token, vni, mac, port.as_deref()),
            KernelCommand::CheckDevices => self.recheck = true,
            KernelCommand::Remove { vnis } => self.remove(vnis),
            KernelCommand::Remotes { in_use } => self.keep_remotes(in_use),
            KernelCommand::ResyncLocal => self.resync_stations(),
            KernelCommand::Stop => {}
        }
    }

    /// The device of a VNI, where it is ready.
    pub(super) fn ready_device(&self, vni: Vni) -> Option<&ReadyDevice> {
        match self.managed.get(&vni)?.told.as_ref()? {
            DeviceState::Ready(ready) => Some(ready),
            DeviceState::Unusable { .. } => None,
        }
    }

    /// What both databases have for one MAC, a line each.
    fn row(&mut self, vni: Vni, mac: MacAddr) -> Option<String> {
        let ifindex = self.ready_device(vni)?.ifindex;
        let mut lines = Vec::new();
        for table in [libc::NTF_SELF, libc::NTF_MASTER] {
            if let Ok(Some(entry)) = writer::entry(&mut self.requests, &self.nexthops, ifindex, mac, table) {
                lines.push(entry.show(|index| self.links.name(index)));
            }
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// Hands what came of the turn to the core, and wakes it.
    fn hand_over(&mut self) {
        if !self.out.is_empty() {
            self.shared.events().extend(self.out.drain(..));
            (self.wake)();
        }
    }

    /// Whether the core has more to read than it should: then no notification is read until it has caught up.
    fn pause(&self) -> bool {
        let full = || self.shared.events().len() >= EVENTS;
        if !full() {
            return false;
        }
        self.shared.paused.store(true, Ordering::Release);
        // The core may have read them all just before the flag was set.
        full()
    }

    /// Waits for commands, notifications (unless `paused`) and the dump under way; not at all where there is `more` to do.
    fn wait(&self, more: bool, paused: bool) -> io::Result<[bool; 5]> {
        let now = now();
        let (rests, misses_rest) = (self.ears.rests_until(now), self.misses.rests_until(now));
        let misses = self.misses.as_fd(now);
        let entry = |fd: BorrowedFd<'_>, on: bool| libc::pollfd {
            fd: if on { fd.as_raw_fd() } else { -1 },
            events: libc::POLLIN,
            revents: 0,
        };
        let mut fds = [
            entry(self.kick.as_fd(), true),
            entry(self.events.as_fd(), !paused),
            entry(self.dumper.socket().as_fd(), self.dumper.is_busy()),
            entry(self.ears.as_fd(), !paused && rests.is_none()),
            entry(misses.unwrap_or(self.kick.as_fd()), !paused && misses.is_some()),
        ];
        let timeout = if more {
            0
        } else {
            let next = self.later.values().copied().min();
            next.into_iter().chain(self.next_question()).chain(self.ipv6_at).chain(rests).chain(misses_rest).min().map_or(
                -1,
                |at| {
                    let wait = at.saturating_duration_since(now) + Duration::from_millis(1);
                    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
                },
            )
        };
        loop {
            // SAFETY: the pointer and the length are those of `fds`, which lives over the call; the descriptors are open.
            let count = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
            if count >= 0 {
                return Ok(fds.map(|fd| fd.revents != 0));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}
