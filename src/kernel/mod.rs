//! Floor 3, at the rim: netlink. Makes and adopts devices, writes rows in batches, tells what the kernel learned and lost.
//!
//! Knows `fib` and `base` and no BGP. One thread does it all; the core speaks to it in [`KernelCommand`]s and hears
//! [`KernelEvent`]s. Inside, from the octets upward:
//!
//! | file | what it knows |
//! | --- | --- |
//! | `codec` | messages and attributes |
//! | `fdb` | one entry of a forwarding database |
//! | `neighbors` | one neighbour of a bridge, from which ARP and ND are answered |
//! | `links` | the table of interfaces (pure) |
//! | `devices`, `warnings` | from a wanted device and the table to a verdict in words or steps (pure) |
//! | `stations` | the MACs behind local ports (pure) |
//! | `packets`, `heard` | what hosts say of their addresses, and whom to ask (pure) |
//! | `nexthops` | the nexthop groups that rows may name instead of a destination |
//! | `socket`, `filter`, `request`, `ears`, `bpf` | the sockets, and the filters on events and frames |
//! | `environment` | what must be so before anything is made |
//! | `writer`, `forms`, `reader`, `dumper`, `setup` | batches, the two forms of a row, known rows one by one, long dumps, the steps of `devices` |
//! | `worker`, `follow`, `confirm`, `manage`, `departed`, `listen` | the thread: its loop, what it does with events, with rows that may stand, about devices, about those that went, with frames |
//! | `found` | devices that nobody declared |
//! | `leftovers` | what no VNI wants any more |
//! | `host`, `bare` | what this host itself is in a segment, and devices without a bridge |
//! | `announce` | guests are told of addresses that moved to other hosts |
//! | `misses` | frames that found no row in a device on demand |
//! | `claim` | MACs set at a port by request |
//! | `closed` | the filter that keeps tenants of our bridges from this host |
//! | `ipv6` | bridges that refuse neighbours of IPv6, and those where that is mended |
//!
//! What the kernel really does, met on the way, is written where it is dealt with and in `docs/decisions/0003-kernel-netlink.md`.

mod announce;
mod bare;
mod bpf;
mod claim;
mod closed;
mod codec;
mod confirm;
mod departed;
mod devices;
mod dumper;
mod ears;
mod environment;
mod fdb;
mod filter;
mod follow;
mod forms;
mod found;
#[cfg(fuzzing)]
pub mod fuzz;
mod heard;
mod host;
mod ipv6;
mod leftovers;
mod links;
mod listen;
mod manage;
mod misses;
mod neighbors;
mod nexthops;
mod packets;
mod reader;
mod regroup;
mod request;
mod setup;
mod socket;
mod stations;
#[cfg(test)]
mod tests;
mod warnings;
mod worker;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::fib::{KernelCommand, KernelEvent};

pub use environment::check_environment;
pub use found::owner;
pub use packets::announcement;

/// Commands that may wait; [`KernelHandle::send`] waits where there are more (the thread always takes them on).
const COMMANDS: usize = 1024;
/// Events that may wait before the thread stops reading the kernel's; `ENOBUFS` and a dump are then the worst that follows.
const EVENTS: usize = 1 << 16;

/// How to start.
pub struct KernelOptions {
    /// Octets for notifications that wait; 128 MiB is generous. Without CAP_NET_ADMIN the machine's limit holds.
    pub receive_buffer: usize,
    /// Called after events were queued, on the thread of the kernel room: must not wait.
    pub wake: Box<dyn Fn() + Send>,
}

impl fmt::Debug for KernelOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelOptions").field("receive_buffer", &self.receive_buffer).finish_non_exhaustive()
    }
}

/// Why the kernel room cannot work: one sentence, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {remedy}")]
pub struct KernelError {
    /// What is wrong.
    pub reason: String,
    /// What would mend it.
    pub remedy: String,
}

/// What both threads hold.
#[derive(Debug, Default)]
struct Shared {
    events: Mutex<VecDeque<KernelEvent>>,
    /// The thread waits for room in `events`.
    paused: AtomicBool,
}

impl Shared {
    fn events(&self) -> MutexGuard<'_, VecDeque<KernelEvent>> {
        // A panic on the other side leaves a queue that is still a queue.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The core's end.
#[derive(Debug)]
pub struct KernelHandle {
    commands: SyncSender<KernelCommand>,
    shared: Arc<Shared>,
    kick: File,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread, in the network namespace of the calling thread.
///
/// # Errors
/// Where no netlink socket can be opened.
pub fn start(options: KernelOptions) -> Result<KernelHandle, KernelError> {
    let error = |what: &str, error: std::io::Error| KernelError {
        reason: format!("{what}: {error}"),
        remedy: "netlink sockets (AF_NETLINK) and eventfd must be allowed to evpnd".to_owned(),
    };
    let (commands, receiver) = sync_channel(COMMANDS);
    let shared = Arc::new(Shared::default());
    let kick = worker::eventfd().map_err(|e| error("no eventfd can be made", e))?;
    let kicked = kick.try_clone().map_err(|e| error("no eventfd can be shared", e))?;
    let worker = worker::Worker::open(options, receiver, kicked, Arc::clone(&shared))
        .map_err(|e| error("no netlink socket can be opened", e))?;
    let thread = std::thread::Builder::new()
        .name("kernel".to_owned())
        .spawn(move || worker.run())
        .map_err(|e| error("no thread can be started", e))?;
    Ok(KernelHandle { commands, shared, kick, thread: Some(thread) })
}

impl KernelHandle {
    /// Hands over a command. After the thread ended (it told [`KernelEvent::Fatal`] before) nothing happens.
    pub fn send(&self, command: KernelCommand) {
        if self.commands.send(command).is_ok() {
            self.wake_thread();
        }
    }

    /// The next event, where one waits.
    pub fn try_receive(&self) -> Option<KernelEvent> {
        let (event, left) = {
            let mut events = self.shared.events();
            (events.pop_front(), events.len())
        };
        if left < EVENTS / 2 && self.shared.paused.load(Ordering::Acquire) && self.shared.paused.swap(false, Ordering::AcqRel) {
            self.wake_thread();
        }
        event
    }

    /// Ends the thread and waits for it. Rows and devices stay as they stand.
    pub fn stop(mut self) {
        self.end();
    }

    fn wake_thread(&self) {
        // The counter of an eventfd can only be full where it was not read for 2^64 kicks.
        let _ = (&self.kick).write(&1u64.to_ne_bytes());
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.send(KernelCommand::Stop);
            // A panic of the thread was told by its hook already.
            let _ = thread.join();
        }
    }
}

impl Drop for KernelHandle {
    fn drop(&mut self) {
        self.end();
    }
}
