//! When the sequence numbers of local MACs (RFC 7432 §15) are written to their file, and when those of an earlier run are over.

use std::time::Duration;

use crate::base::Time;
use crate::evpn::Sequences;

use super::{Action, Speaker};

/// So long after the first change they are written: MACs that move change them together.
const SAVE_AFTER: Duration = Duration::from_secs(1);
/// A MAC that has not been found at a port for so long begins anew: it is the ageing time of a bridge, after which a daemon that
/// had run on would have forgotten it. Not at the sweep: sessions may say all they have before the first bridge was listed.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// The timers.
#[derive(Debug, Default)]
pub(super) struct SequenceTimers {
    save_at: Option<Time>,
    forget_at: Option<Time>,
}

impl SequenceTimers {
    /// With what an earlier run kept.
    pub(super) fn new(now: Time, kept: &Sequences) -> Self {
        Self { save_at: None, forget_at: (!kept.is_empty()).then(|| now + FORGET_AFTER) }
    }

    /// When something is due, and why.
    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let forget = self.forget_at.map(|at| (at, "sequence numbers to forget"));
        self.save_at.map(|at| (at, "sequence numbers to keep")).into_iter().chain(forget).min_by_key(|(at, _)| *at)
    }
}

impl Speaker {
    /// Takes up what changed.
    pub(super) fn note_sequences(&mut self, now: Time) {
        if self.evpn.take_sequences_changed() {
            self.sequences.save_at.get_or_insert(now + SAVE_AFTER);
        }
    }

    /// Serves what is due.
    pub(super) fn sequences_timer(&mut self, now: Time) {
        if self.sequences.forget_at.is_some_and(|at| at <= now) {
            self.sequences.forget_at = None;
            self.evpn.forget_restored_sequences();
        }
        if self.sequences.save_at.is_some_and(|at| at <= now) {
            self.save_sequences();
        }
    }

    /// Writes what changed and is not written yet.
    pub(super) fn save_sequences(&mut self) {
        if self.sequences.save_at.take().is_some() {
            let sequences = self.evpn.sequences();
            self.actions.push_back(Action::SaveSequences(sequences));
        }
    }
}
