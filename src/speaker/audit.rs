//! The periodic audit, and the story of what was put back.
//!
//! Once in `audit-interval` everything that should stand in the kernel is compared with what does, spread over the time: the
//! devices and port flags at its begin, then one device, or one slice of a large device's rows, at a time (`fib/audit.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::{Time, Vni};
use crate::config::Config;
use crate::control::{Event, Level};
use crate::fib::message::KernelCommand;

use super::show_kernel::Token;
use super::{Action, Speaker};

/// Rows read in one question.
const SLICE: usize = 256;
/// Rows read in a second at most: at 4 µs a row less than a hundredth of a processor. A pass over more rows than fit into
/// the interval takes longer than it.
const ROWS_PER_SECOND: u32 = 2000;
/// What is put back is told once for so long, with how much it was.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// Of rows that somebody changes again and again, so many lines in an hour.
const FIGHTS_TOLD_PER_HOUR: u32 = 8;

/// Where the audit is.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// When the next pass begins; `None`: at the first look at the clock it is set.
    pass_at: Option<Time>,
    /// A pass is under way: the time of its next question, and the pause after each.
    step_at: Option<Time>,
    pause: Duration,
    /// The question under way.
    waiting: Option<u64>,
    /// Devices to be listed, and bridges whose neighbours are.
    listed: VecDeque<(Vni, Token)>,
    cursor: u32,
}

/// What was put back.
#[derive(Debug, Default)]
pub(super) struct Healing {
    /// Rows so far.
    pub(super) rows: u64,
    untold: BTreeMap<Vni, u64>,
    mended: BTreeMap<(Vni, String), u64>,
    tell_at: Option<Time>,
    fights_told: u32,
    fights_since: Time,
}

impl Audit {
    /// The first pass begins one interval after the start.
    pub(super) fn new(now: Time, config: &Config) -> Self {
        let interval = Duration::from_secs(config.vxlan.audit_interval_secs.into());
        Self { pass_at: (!interval.is_zero()).then(|| now + interval), ..Self::default() }
    }
}

impl Speaker {
    /// When the audit wants the clock again.
    pub(super) fn audit_timeout(&self) -> Option<(Time, &'static str)> {
        let audit = match self.audit.step_at {
            Some(at) if self.audit.waiting.is_none() => Some((at, "the next rows of the audit")),
            Some(_) => None,
            None => self.audit.pass_at.map(|at| (at, "audit")),
        };
        let tell = self.healing.tell_at.map(|at| (at, "what was put back is told"));
        [audit, tell].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Serves its timers.
    pub(super) fn audit_timer(&mut self, now: Time) {
        self.tell_healed(now);
        let interval = Duration::from_secs(self.config.vxlan.audit_interval_secs.into());
        if interval.is_zero() || self.drain.is_some() || self.stopping {
            self.audit = Audit::default();
            return;
        }
        let pass_at = *self.audit.pass_at.get_or_insert(now + interval);
        match self.audit.step_at {
            None if pass_at <= now => self.begin_audit(now, interval),
            Some(at) if at <= now && self.audit.waiting.is_none() => self.audit_step(now),
            _ => {}
        }
    }

    fn begin_audit(&mut self, now: Time, interval: Duration) {
        self.events.count("audits");
        self.audit.pass_at = Some(now + interval);
        if self.vnis.is_empty() {
            return;
        }
        self.actions.push_back(Action::Kernel(KernelCommand::CheckDevices));
        let (listed, rows) = self.fib.audit_plan();
        let bridges = self.fib.neighbor_segments().into_iter().map(|vni| (vni, Token::Neighbors));
        let listed: VecDeque<_> = listed.into_iter().map(|vni| (vni, Token::Audit)).chain(bridges).collect();
        let steps = (listed.len() + rows.div_ceil(SLICE)).max(1) as u32;
        let least = if rows == 0 { Duration::ZERO } else { Duration::from_secs(1) * SLICE as u32 / ROWS_PER_SECOND };
        self.audit.listed = listed;
        self.audit.cursor = 0;
        self.audit.pause = (interval * 9 / 10 / steps).max(least);
        self.audit.step_at = Some(now);
        self.audit_step(now);
    }

    /// Asks for the next device or slice; without one the pass is over.
    fn audit_step(&mut self, now: Time) {
        while let Some((vni, what)) = self.audit.listed.pop_front() {
            if self.vnis.get(&vni).is_some_and(|state| state.ready().is_some()) {
                let neighbors = what == Token::Neighbors;
                self.audit.waiting = Some(if neighbors { self.ask_neighbors(vni, what) } else { self.ask_rows(vni, what) });
                return;
            }
        }
        let mut cursor = self.audit.cursor;
        let rows = self.fib.audit_slice(now, &mut cursor, SLICE);
        self.audit.cursor = cursor;
        if !rows.is_empty() {
            self.audit.waiting = Some(self.ask_checked(rows));
        } else if self.fib.audit_ended(cursor) {
            self.audit.step_at = None;
        } else {
            self.audit.step_at = Some(now + self.audit.pause);
        }
    }

    /// A question was answered: the next one comes after the pause.
    pub(super) fn audit_goes_on(&mut self, now: Time, token: u64) {
        if self.audit.waiting == Some(token) {
            self.audit.waiting = None;
            self.audit.step_at = Some(now + self.audit.pause);
        }
    }

    /// Rows were put back.
    pub(super) fn note_healed(&mut self, now: Time, vni: Vni, rows: u64) {
        if rows == 0 {
            return;
        }
        self.healing.rows += rows;
        *self.healing.untold.entry(vni).or_default() += rows;
        if let Some(state) = self.vnis.get_mut(&vni) {
            state.healed += rows;
        }
        self.healing.tell_at.get_or_insert(now + TELL_AFTER);
    }

    /// A device was mended.
    pub(super) fn note_mended(&mut self, now: Time, vni: Vni, what: &str) {
        self.events.count("devices_mended");
        *self.healing.mended.entry((vni, what.to_owned())).or_default() += 1;
        self.healing.tell_at.get_or_insert(now + TELL_AFTER);
    }

    /// One line for a burst, however many rows it had.
    fn tell_healed(&mut self, now: Time) {
        if self.healing.tell_at.is_none_or(|at| at > now) {
            return;
        }
        self.healing.tell_at = None;
        for (vni, rows) in std::mem::take(&mut self.healing.untold) {
            self.events.push(Event::RowsHealed { vni, rows });
        }
        for ((vni, what), times) in std::mem::take(&mut self.healing.mended) {
            let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
            self.events.note(Level::Warn, format!("VNI {vni}: somebody changed its device; put back: {what}{times}"));
        }
    }

    /// Tells of rows that somebody undoes again and again: once each, and not without end.
    pub(super) fn tell_fights(&mut self, now: Time) {
        let (named, more) = self.fib.take_fights();
        if named.is_empty() && more == 0 {
            return;
        }
        if now.since(self.healing.fights_since) >= Duration::from_secs(3600) {
            self.healing.fights_since = now;
            self.healing.fights_told = 0;
        }
        for (vni, mac) in named {
            if self.healing.fights_told >= FIGHTS_TOLD_PER_HOUR {
                return;
            }
            self.healing.fights_told += 1;
            self.events.note(
                Level::Warn,
                format!(
                    "VNI {vni}: the row of {mac} is undone again and again, by another program that writes to this device or by a \
                     local port that claims the MAC: it is put back ever more rarely"
                ),
            );
        }
        if more > 0 {
            self.events.note(Level::Warn, format!("{more} more rows are undone again and again (counter fib_fights)"));
        }
    }
}
