//! What the tasks of the loop share: the speaker, the connections, the kernel room, the control socket's clients.
//!
//! Every entry goes through [`Shared::with`]: it lends the core with the time, and afterwards carries out what the
//! speaker wants ([`pump`]).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::base::Time;
use crate::config::Config;
use crate::control::Reply;
use crate::control::render::many;
use crate::kernel::{KernelHandle, KernelOptions};
use crate::speaker::{Action, ConnId, KeptState, RequestId, Speaker};

use super::clock::Clock;
use super::connection::Signal;
use super::control::Monitors;
use super::keys::Keys;
use super::privilege::Fence;
use super::{connection, files, listener, privilege};

/// Kernel events handled before peers and timers get their turn again.
const KERNEL_EVENTS_PER_TURN: usize = 4096;

/// The state all tasks of the loop share.
pub struct Core {
    /// The daemon's logic.
    pub speaker: Speaker,
    /// Connections that the speaker knows.
    pub connections: BTreeMap<ConnId, Rc<Signal>>,
    /// Control requests that wait for their reply.
    pub waiting: BTreeMap<RequestId, oneshot::Sender<Box<Reply>>>,
    /// Clients of `evpnctl monitor`.
    pub monitors: Monitors,
    /// Reads go here first; one buffer serves all connections.
    pub read_buffer: Vec<u8>,
    /// So do writes.
    pub write_buffer: Vec<u8>,
    /// The listening sockets, for the keys of TCP MD5.
    pub listeners: Vec<Rc<listener::Listener>>,
    /// The keys of TCP MD5: the speaker does not know them.
    pub keys: Keys,
    fence: Fence,
    kernel: Option<KernelHandle>,
    config_path: PathBuf,
    next_request: u64,
    armed: Option<Instant>,
}

struct Inner {
    core: RefCell<Core>,
    clock: Clock,
    timer: Notify,
    work: Notify,
    exit: Notify,
    kernel_wake: Arc<Notify>,
    tasks: std::cell::Cell<usize>,
    task_ended: Notify,
    /// Control requests whose reply is not written yet.
    replies_due: std::cell::Cell<usize>,
}

/// A handle on the core.
#[derive(Clone)]
pub struct Shared(Rc<Inner>);

impl Shared {
    /// A daemon that has not begun.
    pub fn new(config: Config, keys: Keys, fence: Fence, config_path: &Path, kept: KeptState) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let speaker = super::new_speaker(config, kept, clock.now())?;
        let core = Core {
            speaker,
            connections: BTreeMap::new(),
            waiting: BTreeMap::new(),
            monitors: Monitors::default(),
            read_buffer: vec![0; connection::READ_LEN],
            write_buffer: Vec::with_capacity(connection::WRITE_LEN + 4096),
            listeners: Vec::new(),
            keys,
            fence,
            kernel: None,
            config_path: config_path.to_owned(),
            next_request: 0,
            armed: None,
        };
        Ok(Self(Rc::new(Inner {
            core: RefCell::new(core),
            clock,
            timer: Notify::new(),
            work: Notify::new(),
            exit: Notify::new(),
            kernel_wake: Arc::new(Notify::new()),
            tasks: std::cell::Cell::new(0),
            task_ended: Notify::new(),
            replies_due: std::cell::Cell::new(0),
        })))
    }

    /// Starts the kernel room.
    pub fn start_kernel(&self) -> anyhow::Result<()> {
        let wake = Arc::clone(&self.0.kernel_wake);
        let receive_buffer = self.peek(|core, _| core.speaker.config().limits.event_buffer as usize);
        let options = KernelOptions { receive_buffer, wake: Box::new(move || wake.notify_one()) };
        self.0.core.borrow_mut().kernel = Some(crate::kernel::start(options)?);
        Ok(())
    }

    /// Stops the kernel room after what it has begun.
    pub fn stop_kernel(&self) {
        let kernel = self.0.core.borrow_mut().kernel.take();
        if let Some(kernel) = kernel {
            kernel.stop();
        }
    }

    /// Lends the core and the time to `act`, then carries out what the speaker wants.
    pub fn with<T>(&self, act: impl FnOnce(&mut Core, Time) -> T) -> T {
        let now = self.0.clock.now();
        let result = act(&mut self.0.core.borrow_mut(), now);
        self.pump();
        result
    }

    /// Lends the core without pumping, for looks and for what a connection's own task does with its own signal.
    pub fn peek<T>(&self, act: impl FnOnce(&mut Core, Time) -> T) -> T {
        let now = self.0.clock.now();
        act(&mut self.0.core.borrow_mut(), now)
    }

    /// Runs `task` beside the others; [`Shared::connections_closed`] waits for it.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.tasks.set(self.0.tasks.get() + 1);
        let inner = Rc::clone(&self.0);
        tokio::task::spawn_local(async move {
            task.await;
            inner.tasks.set(inner.tasks.get() - 1);
            inner.task_ended.notify_one();
        });
    }

    /// Waits until every connection's task has ended and every reply is written, for `limit` at the most.
    pub async fn connections_closed(&self, limit: Duration) {
        let wait = async {
            while self.0.tasks.get() > 0 || self.0.replies_due.get() > 0 {
                self.0.task_ended.notified().await;
            }
        };
        let _ = tokio::time::timeout(limit, wait).await;
    }

    /// Runs a control request to the last octet of its reply; [`Shared::connections_closed`] waits for it.
    pub async fn with_reply_due<T>(&self, answer: impl Future<Output = T>) -> T {
        self.0.replies_due.set(self.0.replies_due.get() + 1);
        let outcome = answer.await;
        self.0.replies_due.set(self.0.replies_due.get() - 1);
        self.0.task_ended.notify_one();
        outcome
    }

    /// Carries out what the speaker wants, hands its events to the log and the monitors, wakes writers and timers.
    fn pump(&self) {
        let core = &mut *self.0.core.borrow_mut();
        while let Some(event) = core.speaker.poll_event() {
            super::logging::event(&event);
            core.monitors.publish(&event);
        }
        while let Some(action) = core.speaker.poll_action() {
            self.carry_out(core, action);
        }
        let speaker = &core.speaker;
        for (&conn, signal) in &core.connections {
            if !signal.is_writing() && speaker.wants_transmit(conn) {
                signal.wake();
            }
        }
        if core.speaker.has_work() {
            self.0.work.notify_one();
        }
        let next = core.speaker.poll_timeout().map(|(at, _)| self.0.clock.instant(at));
        if next != core.armed {
            self.0.timer.notify_one();
        }
    }

    fn carry_out(&self, core: &mut Core, action: Action) {
        match action {
            Action::Connect(conn, transport) => {
                let signal = Rc::new(Signal::default());
                core.connections.insert(conn, Rc::clone(&signal));
                self.spawn(connection::connect(self.clone(), conn, *transport, signal));
            }
            Action::Close(conn, last_octets) => {
                if let Some(signal) = core.connections.remove(&conn) {
                    signal.close(last_octets);
                }
            }
            Action::Kernel(command) => {
                if let Some(kernel) = &core.kernel {
                    kernel.send(command);
                }
            }
            Action::Reply(id, reply) => {
                if let Some(waiting) = core.waiting.remove(&id) {
                    // The client may have gone meanwhile: nobody to tell.
                    let _ = waiting.send(reply);
                }
            }
            Action::Save(state) => files::save_state(&core.speaker.config().router.state_directory, &state),
            Action::SaveSequences(sequences) => {
                files::save_sequences(&core.speaker.config().router.state_directory, sequences);
            }
            Action::NeighborsChanged => listener::set_keys(&core.listeners, core.speaker.config(), &core.keys),
            Action::ReadConfig(request) => {
                let shared = self.clone();
                tokio::task::spawn_local(async move { shared.reload(request) });
            }
            Action::Exit => self.0.exit.notify_one(),
        }
    }

    /// Reads the configuration again and applies its differences; a wrong file changes nothing.
    pub fn reload(&self, request: Option<RequestId>) {
        self.with(|core, now| {
            let config = match super::read_with_keys(&core.config_path, &core.keys) {
                Ok((config, keys)) => {
                    core.keys = keys;
                    privilege::guard_memory(&config);
                    Ok(config)
                }
                Err(error) => {
                    let error = format!("{:#}", core.fence.explain(error));
                    tracing::error!("the configuration stays as it was, because the file is wrong:\n{error}");
                    Err(error)
                }
            };
            core.speaker.reload(now, config, request);
        });
    }

    /// Takes what the kernel room has to say. `Err`: it cannot go on.
    pub fn take_kernel_events(&self) -> anyhow::Result<()> {
        self.with(|core, now| {
            let Core { speaker, kernel, .. } = core;
            let Some(kernel) = kernel else { return Ok(()) };
            let mut taken = 0;
            while taken < KERNEL_EVENTS_PER_TURN {
                let Some(event) = kernel.try_receive() else { break };
                if let crate::fib::message::KernelEvent::Fatal(why) = &event {
                    anyhow::bail!("the kernel's side cannot go on: {why}");
                }
                speaker.handle_kernel(now, event);
                taken += 1;
            }
            if taken == KERNEL_EVENTS_PER_TURN {
                self.0.kernel_wake.notify_one();
            }
            speaker.handle_work(now);
            Ok(())
        })
    }

    /// A control request: its reply comes through the receiver.
    pub fn request(&self, request: crate::control::Request) -> oneshot::Receiver<Box<Reply>> {
        let (sender, receiver) = oneshot::channel();
        self.with(|core, now| {
            let id = RequestId(core.next_request);
            core.next_request += 1;
            core.waiting.insert(id, sender);
            core.speaker.handle_request(now, id, request);
        });
        receiver
    }

    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let core = &mut *self.0.core.borrow_mut();
        core.armed = core.speaker.poll_timeout().map(|(at, _)| self.0.clock.instant(at));
        core.armed
    }

    /// Resolves when a timer became due earlier or later than the loop believes.
    pub async fn timer_changed(&self) {
        self.0.timer.notified().await;
    }

    /// Resolves when a long walk has more to do.
    pub async fn work_left(&self) {
        self.0.work.notified().await;
    }

    /// Resolves when the kernel room has events.
    pub async fn kernel_woken(&self) {
        self.0.kernel_wake.notified().await;
    }

    /// Resolves when the speaker is done for good.
    pub async fn exit_wanted(&self) {
        self.0.exit.notified().await;
    }

    /// One line about who we are, for the log and `systemctl status`.
    pub fn describe(&self) -> String {
        self.peek(|core, _| {
            let config = core.speaker.config();
            let vtep = config.router.vtep.map_or_else(|| "no VTEP".to_owned(), |vtep| format!("VTEP {vtep}"));
            format!(
                "AS {}, router-id {}, {vtep}, {}, {}",
                config.router.asn,
                config.router.router_id,
                many(config.neighbors.len(), "neighbor"),
                many(config.vnis.len(), "VNI")
            )
        })
    }
}
