//! Duplicate MACs (RFC 7432 §15.1): one that moves too often within a window is at two hosts at once.
//!
//! ```text
//!             moves to here            `moves` of them in `window`
//!   (quiet) ───────────────► watched ───────────────────────────► found ──► (quiet)
//!                               └── no move for `window` ──► (quiet)   recovery, clear, it is static, its place went
//! ```
//!
//! RFC: the timer starts with a move that was learned locally, and every move counts from then on. Ours: the window slides,
//! so that five moves around the end of a period count as well. A host that neither has nor hears the MAC watches nothing:
//! the two that do are the ones whose operator can act. The counting itself, which addresses have in common with MACs
//! (`conflicts`), is in `tracks`: only MACs that moved to here within the window are kept, and a bounded number of them; a
//! million quiet ones cost nothing, and a table without a found one costs the path of a route one comparison.
//!
//! Found and `freeze`: the move that made it found is not followed, nor is any later one (RFC 7432 §15.1: "stop sending and
//! processing any BGP MAC/IP Advertisement routes for that MAC address"). What stood stands: our route where it is ours,
//! the row where it is remote, put back at the pace of `pace` when a local port takes it. It ends early where nothing is
//! left to protect (the port forgot it, the last route of its VTEP went, nobody else announces it), so that no row ever
//! points to a host without a route.

use super::config::DuplicateDetection;
use super::event::{Event, Place};
use super::instance::Evpn;
use super::macs::NONE;
use super::pace::{Key, PutBack};
use super::tracks::{Noted, Tracks};
use crate::base::{InternId, MacAddr, Time, Vni};
use crate::fib::Fib;
use crate::rib::Rib;

/// What is noted of a MAC that moves.
#[derive(Debug, Default)]
pub(super) struct Twofold {
    /// The places between which it moved last, or would have: from, to. Only of one that is found.
    pub between: Option<[Place; 2]>,
    /// A local port was heard and not followed.
    missed: bool,
}

/// The MACs that moved lately.
pub(super) type Duplicates = Tracks<MacAddr, Twofold>;

impl Evpn {
    /// A MAC is about to move. Whether that is followed; where not, the caller leaves everything as it is.
    pub(super) fn follows(&mut self, now: Time, key: Key, vni: Vni, from: Place, to: Place, to_here: bool) -> bool {
        let noted = self.duplicates.note(now, key, to_here);
        if self.duplicates.is_found(&key)
            && let Some(twofold) = self.duplicates.value_mut(&key)
        {
            twofold.between = Some([from.clone(), to.clone()]);
        }
        match noted {
            Noted::Unremarkable => return true,
            Noted::NoRoom => {
                self.stats.duplicates_unwatched += 1;
                return true;
            }
            Noted::Found => {}
        }
        self.stats.duplicates_found += 1;
        let rule = self.duplicates.rule;
        self.events.push(Event::DuplicateMac {
            vni,
            mac: key.1,
            moves: rule.moves,
            seconds: rule.window_secs.into(),
            from,
            to,
            frozen: rule.freeze,
            recovery_secs: rule.recovery_secs.map(u64::from),
        });
        if rule.freeze {
            self.not_followed(key, to_here);
        }
        !rule.freeze
    }

    /// A move of a frozen MAC was left out.
    pub(super) fn not_followed(&mut self, key: Key, heard_here: bool) {
        self.stats.frozen_moves += 1;
        if heard_here && let Some(twofold) = self.duplicates.value_mut(&key) {
            twofold.missed = true;
        }
    }

    /// The row of a MAC that stays remote was taken by a local port.
    pub(super) fn put_back(&mut self, now: Time, fib: &mut Fib, key: Key, vni: Vni) {
        match self.pace.put_back(now, key) {
            PutBack::Now => fib.reassert(now, vni, key.1),
            PutBack::Later => self.stats.put_back_later += 1,
            PutBack::Full => {
                // The bridge will tell of it again, and then there may be room.
                self.stats.put_back_refused += 1;
                self.ask_locals(now);
            }
        }
    }

    /// A found MAC is as any other from now on. The caller decides anew where it is, unless that is under way.
    pub(super) fn thaw(&mut self, now: Time, key: Key, reason: &'static str) -> bool {
        let Some(twofold) = self.duplicates.end(&key) else { return false };
        if twofold.missed {
            // A port heard it meanwhile, and may not be heard of again.
            self.ask_locals(now);
        }
        if let Some(vni) = self.slot(key.0).map(|instance| instance.config.vni) {
            self.events.push(Event::DuplicateEnded { vni, mac: key.1, reason: reason.to_owned() });
        }
        true
    }

    /// As [`Evpn::thaw`], and what was not followed is: the best of its routes and the port.
    fn thaw_and_decide(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, key: Key, reason: &'static str) {
        if self.thaw(now, key, reason)
            && let Some(id) = self.macs.find(key.0, key.1)
        {
            self.decide(now, rib, fib, id, None, None);
        }
    }

    /// Serves recoveries that are due.
    pub(super) fn recover_duplicates(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib) {
        while let Some(key) = self.duplicates.recovers(now) {
            self.stats.duplicates_recovered += 1;
            self.thaw_and_decide(now, rib, fib, key, "its recovery time is over");
        }
    }

    /// Another rule for duplicates. Moves already counted stay counted; found ones stay found, with the new action and the
    /// new recovery time since they were found.
    pub fn set_duplicate_rule(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, rule: DuplicateDetection) {
        if self.duplicates.rule == rule {
            return;
        }
        let released = self.duplicates.rule.freeze && !rule.freeze;
        self.set_conflict_rule(rule);
        for key in self.duplicates.set_rule(rule) {
            if rule.moves == 0 {
                self.thaw_and_decide(now, rib, fib, key, "duplicates are no longer looked for");
            } else if released && let Some(id) = self.macs.find(key.0, key.1) {
                // It stays marked, but is followed again.
                if self.duplicates.value_mut(&key).is_some_and(|twofold| std::mem::take(&mut twofold.missed)) {
                    self.ask_locals(now);
                }
                self.decide(now, rib, fib, id, None, None);
            }
        }
    }

    /// Forgets found duplicates of one VNI or of all, of one MAC or of all: each is as any other from now on, its count at
    /// zero. Gives back how many.
    pub fn clear_duplicates(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, vni: Option<Vni>, mac: Option<MacAddr>) -> usize {
        let number = match vni {
            None => None,
            Some(vni) => match self.by_vni.get(&vni) {
                Some(&number) => Some(number),
                None => return 0,
            },
        };
        let keys = self.duplicates.found_keys(number);
        let keys: Vec<Key> = keys.into_iter().filter(|key| mac.is_none_or(|mac| mac == key.1)).collect();
        for &key in &keys {
            self.thaw_and_decide(now, rib, fib, key, "cleared by the operator");
        }
        keys.len()
    }

    /// How many MACs are found to be duplicates now, and whether those are frozen.
    pub fn duplicates(&self) -> (usize, bool) {
        (self.duplicates.found(), self.duplicates.rule.freeze)
    }

    /// A frozen MAC that is not ours: the route that keeps it where it is, or `None` where there is none any more.
    pub(super) fn frozen_route(&mut self, rib: &Rib, vni: Vni, id: u32) -> Option<super::remote::Candidate> {
        let remote = self.macs.entry(id).remote;
        if remote == NONE {
            return None;
        }
        let place = self.facts.remotes.value(InternId(remote))?.ip;
        self.best_route_at(rib, vni, id, Some(place))
    }
}
