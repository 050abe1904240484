//! The fabric in virtual time: its nodes, the queue of what happens next, and the rim of each daemon (`src/io/core.rs`).
//!
//! Everything comes from one seed: the same seed gives the same run, octet by octet. Read `run` first; `net.rs` plays TCP,
//! `kernel.rs` and `room.rs` play Linux, `faults.rs` breaks things, `model.rs` knows how it must end.

use std::collections::BTreeMap;
use std::time::Duration;

use evpnd::base::{Random, Time};
use evpnd::control::Event;
use evpnd::fib::{FibLimits, KernelCommand};
use evpnd::speaker::{Action, Speaker};

use super::faults::Fault;
use super::model::Model;
use super::net::Wire;
use super::node::Node;

/// What happens at a point in time.
#[derive(Debug)]
pub enum Happening {
    /// A SYN, its answer, its refusal.
    Arrives(u64),
    Connected(u64),
    Refused(u64),
    /// A connection's writer has its turn.
    Transmit(u64, usize),
    /// Octets are at this end.
    Deliver(u64, usize),
    /// Two seconds after a close.
    LastWords(u64, usize),
    /// A walk goes on.
    Work(usize),
    /// The kernel room does something.
    Room(usize),
    /// The loop takes what the kernel room has to say.
    KernelEvents(usize),
    /// Many do.
    CrowdSpeaks(usize, u64),
    /// A virtual machine speaks.
    Speaks(usize, u64),
    /// Somebody at a host talks to a machine.
    Talks(usize),
    /// Bridges forget.
    Ageing,
    Fault(Fault),
}

/// The fabric.
pub struct World {
    pub random: Random,
    pub now: Time,
    queue: BTreeMap<(Time, u64), Happening>,
    next: u64,
    pub nodes: Vec<Node>,
    pub wires: BTreeMap<u64, Wire>,
    pub next_wire: u64,
    pub latency_us: u64,
    /// No connection takes less than so many octets on its way.
    pub least_capacity: usize,
    pub cut_until: BTreeMap<(usize, usize), Time>,
    pub slow_until: BTreeMap<(usize, usize), Time>,
    /// When something was last wrong between two nodes: from, until.
    pub disturbed: BTreeMap<(usize, usize), (Time, Time)>,
    /// Nodes whose loop reads no socket.
    pub deaf_until: BTreeMap<usize, Time>,
    pub model: Model,
    pub trace: bool,
    pub steps: u64,
    pub faults: u64,
    /// Of everything that happened, so that two runs can be compared.
    pub fingerprint: u64,
}

/// Writes a line of the story where it is wanted.
#[macro_export]
macro_rules! tell {
    ($world:expr, $($what:tt)*) => {
        if $world.trace {
            eprintln!("{:>13.6} {}", $world.now.micros() as f64 / 1e6, format!($($what)*));
        }
    };
}

impl World {
    pub fn new(seed: u64, trace: bool) -> Self {
        Self {
            random: Random::new(seed),
            now: Time::ZERO,
            queue: BTreeMap::new(),
            next: 0,
            nodes: Vec::new(),
            wires: BTreeMap::new(),
            next_wire: 0,
            latency_us: 0,
            least_capacity: 0,
            cut_until: BTreeMap::new(),
            slow_until: BTreeMap::new(),
            disturbed: BTreeMap::new(),
            deaf_until: BTreeMap::new(),
            model: Model::default(),
            trace,
            steps: 0,
            faults: 0,
            fingerprint: 0,
        }
    }

    pub fn schedule(&mut self, after: Duration, what: Happening) {
        self.next += 1;
        self.queue.insert((self.now + after, self.next), what);
    }

    /// A number of milliseconds below `bound`, as a duration.
    pub fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_micros(self.random.below(bound * 1000))
    }

    /// Lets time pass until `until`.
    pub fn run(&mut self, until: Time) {
        loop {
            let timer = self.next_timer();
            let happening = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timer_first = timer.is_some_and(|(at, _)| happening.is_none_or(|happening| at < happening));
            let Some(at) = (if timer_first { timer.map(|(at, _)| at) } else { happening }) else { break };
            if at > until {
                break;
            }
            self.now = self.now.max(at);
            self.steps += 1;
            assert!(self.steps < 2_000_000, "the fabric finds no rest");
            if timer_first {
                if let Some((_, node)) = timer {
                    self.serve_timer(node);
                }
            } else if let Some((_, happening)) = self.queue.pop_first() {
                self.happen(happening);
            }
            self.check_sizes();
            self.fingerprint = (self.fingerprint ^ self.now.micros()).wrapping_mul(0x100_0000_01b3).rotate_left(7);
        }
        self.now = until;
    }

    /// The first timer of all daemons, a little late as timers are.
    fn next_timer(&mut self) -> Option<(Time, usize)> {
        let mut first: Option<(Time, usize)> = None;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if std::mem::take(&mut node.touched) {
                // A process that was told to stop serves no timers any more.
                let speaker = node.speaker.as_ref().filter(|_| !node.stopping);
                node.armed = speaker.and_then(Speaker::poll_timeout).map(|(due, _)| match node.armed {
                    Some((armed, fires)) if armed == due => (due, fires),
                    _ => (due, due.max(self.now) + Duration::from_micros(self.random.below(1500))),
                });
            }
            let Some((_, fires)) = node.armed else { continue };
            if first.is_none_or(|(at, _)| fires < at) {
                first = Some((fires, index));
            }
        }
        first
    }

    fn serve_timer(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        node.armed = None;
        node.touched = true;
        let Some(speaker) = node.speaker.as_mut() else { return };
        speaker.handle_timeout(now);
        match speaker.poll_timeout() {
            Some((at, why)) if at <= now => {
                node.stuck += 1;
                assert!(node.stuck < 5, "{}: a timer is served and stays in the past: {why}", node.name);
            }
            _ => node.stuck = 0,
        }
        self.pump(index);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(wire) => self.arrives(wire),
            Happening::Connected(wire) => self.connected(wire),
            Happening::Refused(wire) => self.refused(wire),
            Happening::Transmit(wire, side) => self.transmit(wire, side),
            Happening::Deliver(wire, side) => self.deliver(wire, side),
            Happening::LastWords(wire, side) => self.last_words(wire, side),
            Happening::Work(node) => {
                let now = self.now;
                let index = node;
                let node = &mut self.nodes[index];
                node.work_scheduled = false;
                if let Some(speaker) = node.speaker.as_mut().filter(|_| !node.stopping) {
                    speaker.handle_work(now);
                    self.pump(index);
                }
            }
            Happening::Room(node) => self.room_step(node),
            Happening::KernelEvents(node) => self.take_kernel_events(node),
            Happening::CrowdSpeaks(crowd, turn) => self.crowd_speaks(crowd, turn),
            Happening::Speaks(vm, turn) => self.vm_speaks(vm, turn),
            Happening::Talks(talk) => self.talks(talk),
            Happening::Ageing => {
                let now = self.now;
                for node in &mut self.nodes {
                    node.kernel.age(now);
                }
                self.give_addresses();
                self.wake_rooms();
                self.ask_silent();
                self.schedule(Duration::from_secs(20), Happening::Ageing);
            }
            Happening::Fault(fault) => self.fault(fault),
        }
    }

    /// Whoever has notifications reads them.
    pub fn wake_rooms(&mut self) {
        for node in 0..self.nodes.len() {
            self.wake_room(node);
        }
    }

    pub fn wake_room(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(room) = &node.room else { return };
        if !node.room_scheduled && room.is_busy(&node.kernel) {
            node.room_scheduled = true;
            let after = Duration::from_micros(5 + self.random.below(200) + self.random.below(node.slow_kernel_us + 1));
            self.schedule(after, Happening::Room(index));
        }
    }

    fn room_step(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.room_scheduled = false;
        let Some(room) = &mut node.room else { return };
        if room.is_busy(&node.kernel) {
            room.step(self.now, &mut node.kernel, &mut self.random);
        }
        let questions = std::mem::take(&mut room.questions);
        let writes = std::mem::take(&mut room.writes);
        let has_events = !room.events.is_empty();
        let bound = 10_000 + 8 * self.model.vms.len();
        assert!(room.events.len() < bound && room.commands.len() < 400, "{}: queues of the kernel room grow", node.name);
        for written in writes {
            self.check_write(index, written);
        }
        for answer in std::mem::take(&mut self.nodes[index].kernel.answers) {
            self.check_answer(index, answer);
        }
        for (vni, mac, ip) in questions {
            self.is_asked(index, vni, mac, ip);
        }
        self.wake_room(index);
        if has_events {
            self.wake_loop(index);
        }
    }

    /// Stations that have been silent are asked for their addresses.
    fn ask_silent(&mut self) {
        for index in 0..self.nodes.len() {
            let Some(room) = self.nodes[index].room.as_mut() else { continue };
            room.ask_silent(self.now);
            let (questions, has_events) = (std::mem::take(&mut room.questions), !room.events.is_empty());
            for (vni, mac, ip) in questions {
                self.is_asked(index, vni, mac, ip);
            }
            if has_events {
                self.wake_loop(index);
            }
        }
    }

    fn wake_loop(&mut self, index: usize) {
        if !std::mem::replace(&mut self.nodes[index].events_scheduled, true) {
            let after = Duration::from_micros(self.random.below(400));
            self.schedule(after, Happening::KernelEvents(index));
        }
    }

    fn take_kernel_events(&mut self, index: usize) {
        let now = self.now;
        let take = 1 + self.random.below(20);
        let node = &mut self.nodes[index];
        node.events_scheduled = false;
        let (Some(speaker), Some(room), false) = (&mut node.speaker, &mut node.room, node.stopping) else { return };
        for _ in 0..take {
            let Some(event) = room.events.pop_front() else { break };
            if self.trace {
                eprintln!("{:>13.6} {} kernel: {event:?}", now.micros() as f64 / 1e6, node.name);
            }
            speaker.handle_kernel(now, event);
        }
        speaker.handle_work(now);
        if !room.events.is_empty() {
            self.wake_loop(index);
        }
        self.pump(index);
    }

    /// Carries out what a speaker wants.
    pub fn pump(&mut self, index: usize) {
        self.nodes[index].touched = true;
        loop {
            let node = &mut self.nodes[index];
            let Some(speaker) = node.speaker.as_mut() else { return };
            while let Some(event) = speaker.poll_event() {
                if self.trace {
                    eprintln!("{:>13.6} {}: {event}", self.now.micros() as f64 / 1e6, node.name);
                }
                match event {
                    Event::SessionUp { neighbor, .. } => {
                        node.sessions.insert(neighbor, self.now);
                    }
                    Event::SessionDown { neighbor, .. } => {
                        node.sessions.remove(&neighbor);
                        node.lost_none = false;
                    }
                    _ => {}
                }
            }
            let Some(action) = speaker.poll_action() else { break };
            self.carry_out(index, action);
        }
        self.wake_writers(index);
        let node = &mut self.nodes[index];
        if node.speaker.as_ref().is_some_and(Speaker::has_work) && !std::mem::replace(&mut node.work_scheduled, true) {
            let after = Duration::from_micros(self.random.below(200));
            self.schedule(after, Happening::Work(index));
        }
    }

    fn carry_out(&mut self, index: usize, action: Action) {
        match action {
            Action::Connect(conn, transport) => self.connect(index, conn, &transport),
            Action::Close(conn, last_octets) => self.close(index, conn, &last_octets),
            Action::Kernel(command) => {
                tell!(self, "{} wants {command:?}", self.nodes[index].name);
                let node = &mut self.nodes[index];
                if let Some(room) = &mut node.room {
                    room.commands.push_back(command);
                    let batches = room.commands.iter().filter(|command| matches!(command, KernelCommand::Write(_))).count();
                    assert!(
                        batches <= FibLimits::default().batches_in_flight,
                        "{}: {batches} batches wait for the kernel",
                        node.name
                    );
                    self.wake_room(index);
                }
            }
            Action::Reply(id, reply) => {
                self.nodes[index].replies.insert(id, *reply);
            }
            Action::Save(state) => {
                let sequences = std::mem::take(&mut self.nodes[index].kept.sequences);
                self.nodes[index].kept = evpnd::speaker::KeptState { is_restart: true, sequences, ..state };
            }
            Action::SaveSequences(sequences) => self.nodes[index].kept.sequences = sequences,
            Action::NeighborsChanged => {}
            Action::ReadConfig(request) => self.reload(index, request),
            Action::Exit => {
                let after = self.millis(50);
                self.schedule(after, Happening::Fault(Fault::Stop(index)));
            }
        }
    }
}
