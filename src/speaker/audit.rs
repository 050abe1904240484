//! The periodic audit, and the story of what was put back.
//!
//! Once in `audit-interval` everything that should stand in the kernel is compared with what does, spread over the time: the
//! devices and port flags at its begin, then one device, or one slice of a large device's rows, at a time (`fib/audit.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::{MacAddr, Time, Vni};
use crate::config::Config;
use crate::control::{Event, Level};
use crate::fib::message::KernelCommand;
use crate::fib::{Fought, Over};

use super::show_kernel::{Token, show_remote};
use super::{Action, Speaker};

/// Rows read in one question.
const SLICE: usize = 256;
/// Rows read in a second at most: at 4 µs a row less than a hundredth of a processor. A pass over more rows than fit into
/// the interval takes longer than it.
const ROWS_PER_SECOND: u32 = 2000;
/// Large devices are listed whole once in so many passes: what a listing costs grows with the square of the rows, and only a
/// listing finds rows that should not be there.
const LISTED_EVERY: u64 = 10;
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
    /// Passes begun.
    passes: u64,
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

/// Devices that are listed whole because notifications were lost, or because that failed before. Of each device one listing
/// is under way at a time, and one more follows where it was asked for meanwhile: a listing of a million rows takes a minute.
#[derive(Debug, Default)]
pub(super) struct Listings(BTreeMap<(Vni, Token), Listing>);

#[derive(Debug)]
struct Listing {
    token: u64,
    again: bool,
}

/// Whose doing it is cannot be known; a local port's claim is not told here (`fib/fights.rs`).
fn fight_in_words(fought: &Fought) -> String {
    let vni = fought.vni;
    let (what, shows) = match &fought.over {
        Over::Row { mac, wanted } => {
            let what = match wanted.as_ref().map(show_remote) {
                Some(remote) if *mac == MacAddr::ZERO => format!("VTEP {remote} is taken from the flood list"),
                Some(remote) => format!("the row of {mac} to VTEP {remote} is deleted or changed"),
                None => format!("a row of {mac} that no route wants is written"),
            };
            (what, "bridge monitor fdb")
        }
        Over::Neighbor { ip, wanted } => {
            let what = match wanted {
                Some(binding) => {
                    format!("the neighbour {ip} of the bridge, which is to say {}, is deleted or changed", binding.mac)
                }
                None => format!("a neighbour {ip} of the bridge that no route wants is written"),
            };
            (what, "ip monitor neigh")
        }
    };
    format!(
        "VNI {vni}: {what} again and again by another program on this host: it is put right ever more rarely (`{shows}` shows when, \
         not by whom)"
    )
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

    /// Has the rows of a device, or the neighbours of its bridge, listed whole, now or after the listing under way.
    pub(super) fn list(&mut self, vni: Vni, what: Token) {
        if let Some(listing) = self.listings.0.get_mut(&(vni, what)) {
            listing.again = true;
            self.events.count("listings_joined");
            return;
        }
        let token = self.ask(vni, what);
        self.listings.0.insert((vni, what), Listing { token, again: false });
    }

    fn ask(&mut self, vni: Vni, what: Token) -> u64 {
        if what == Token::Neighbors { self.ask_neighbors(vni, what) } else { self.ask_rows(vni, what) }
    }

    /// A listing was answered, well or not.
    pub(super) fn listed(&mut self, vni: Vni, what: Token, token: u64) {
        if self.listings.0.get(&(vni, what)).is_none_or(|listing| listing.token != token) {
            return;
        }
        let again = self.listings.0.remove(&(vni, what)).is_some_and(|listing| listing.again);
        if again && self.vnis.get(&vni).is_some_and(|state| state.ready().is_some()) {
            self.list(vni, what);
        }
    }

    fn begin_audit(&mut self, now: Time, interval: Duration) {
        self.events.count("audits");
        self.audit.pass_at = Some(now + interval);
        if self.vnis.is_empty() {
            return;
        }
        self.actions.push_back(Action::Kernel(KernelCommand::CheckDevices));
        self.audit.passes += 1;
        let (listed, rows) = self.fib.audit_plan(self.audit.passes.is_multiple_of(LISTED_EVERY));
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
                self.audit.waiting = Some(self.ask(vni, what));
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
        for fought in named {
            if self.healing.fights_told >= FIGHTS_TOLD_PER_HOUR {
                return;
            }
            self.healing.fights_told += 1;
            self.events.note(Level::Warn, fight_in_words(&fought));
        }
        if more > 0 {
            self.events.note(Level::Warn, format!("{more} more rows are undone again and again (counter fib_fights)"));
        }
    }
}
