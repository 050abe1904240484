//! Events that wait for the speaker: a bounded queue, for a load of a million routes must not become a million lines in memory.
//! The events themselves are those of the control room, so that what a MAC-VRF says is what the log and `monitor` show.

use std::collections::VecDeque;

pub use crate::control::{Event, Level, Place};

/// Events that wait to be fetched.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    limit: usize,
    /// Whether events of debug level (one for every MAC) are wanted.
    pub verbose: bool,
    pub dropped: u64,
}

impl Events {
    pub fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), limit, verbose: true, dropped: 0 }
    }

    /// Queues an event, or counts it where too many wait.
    pub fn push(&mut self, event: Event) {
        if !self.verbose && event.level() == Level::Debug {
            return;
        }
        if self.queue.len() < self.limit {
            self.queue.push_back(event);
        } else {
            self.dropped += 1;
        }
    }

    pub fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }
}
