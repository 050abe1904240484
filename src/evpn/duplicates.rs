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
//! the two that do are the ones whose operator can act. Only MACs that moved to here within the window are kept, at most
//! [`LIMIT`]; a million quiet ones cost nothing, and a table without a found one costs the path of a route one comparison.
//!
//! Found and `freeze`: the move that made it found is not followed, nor is any later one (RFC 7432 §15.1: "stop sending and
//! processing any BGP MAC/IP Advertisement routes for that MAC address"). What stood stands: our route where it is ours,
//! the row where it is remote, put back at the pace of `pace` when a local port takes it. It ends early where nothing is
//! left to protect (the port forgot it, the last route of its VTEP went, nobody else announces it), so that no row ever
//! points to a host without a route.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::config::DuplicateDetection;
use super::event::{Event, Place};
use super::instance::Evpn;
use super::macs::NONE;
use super::pace::{Key, PutBack};
use crate::base::{InternId, MacAddr, Time, Vni};
use crate::fib::Fib;
use crate::rib::Rib;

/// MACs watched or found at a time; where more move, those go that moved longest ago. About 200 octets each.
const LIMIT: usize = 1 << 16;

/// What a move came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    Unremarkable,
    /// This move made it found.
    Found,
    /// Too many are watched or found for one more.
    NoRoom,
}

#[derive(Debug, Default)]
struct Track {
    /// When it moved, oldest first, within the window.
    moves: VecDeque<Time>,
    /// Since when it is found.
    found: Option<Time>,
    /// Its place in `quiet` while it is watched, in `recovery` while it is found and will recover.
    until: Time,
    /// A local port was heard and not followed.
    missed: bool,
}

/// The MACs that moved lately.
#[derive(Debug)]
pub(super) struct Duplicates {
    pub rule: DuplicateDetection,
    tracks: BTreeMap<Key, Track>,
    quiet: BTreeSet<(Time, Key)>,
    recovery: BTreeSet<(Time, Key)>,
    found: usize,
}

impl Duplicates {
    pub fn new(rule: DuplicateDetection) -> Self {
        Self { rule, tracks: BTreeMap::new(), quiet: BTreeSet::new(), recovery: BTreeSet::new(), found: 0 }
    }

    /// Whether a MAC is found, and the rule freezes those.
    pub fn is_frozen(&self, key: &Key) -> bool {
        self.rule.freeze && self.is_found(key)
    }

    pub fn is_found(&self, key: &Key) -> bool {
        self.found > 0 && self.tracks.get(key).is_some_and(|track| track.found.is_some())
    }

    pub fn found(&self) -> usize {
        self.found
    }

    /// Nothing is watched.
    pub fn is_idle(&self) -> bool {
        self.tracks.is_empty()
    }

    fn note(&mut self, now: Time, key: Key, to_here: bool) -> Noted {
        if self.rule.moves == 0 {
            return Noted::Unremarkable;
        }
        while let Some(&(at, old)) = self.quiet.first()
            && at <= now
        {
            self.remove(&old);
        }
        if !self.tracks.contains_key(&key) {
            if !to_here {
                return Noted::Unremarkable;
            }
            if self.tracks.len() >= LIMIT {
                let Some(&(_, oldest)) = self.quiet.first() else { return Noted::NoRoom };
                self.remove(&oldest);
            }
        }
        let (window, most) = (Duration::from_secs(self.rule.window_secs.into()), self.rule.moves as usize);
        let track = self.tracks.entry(key).or_default();
        if track.found.is_some() {
            return Noted::Unremarkable;
        }
        self.quiet.remove(&(track.until, key));
        track.moves.retain(|&at| at + window > now);
        track.moves.push_back(now);
        if track.moves.len() < most {
            track.until = now + window;
            self.quiet.insert((track.until, key));
            return Noted::Unremarkable;
        }
        track.moves = VecDeque::new();
        track.found = Some(now);
        self.found += 1;
        self.schedule(key);
        Noted::Found
    }

    /// Puts a found MAC where its recovery is due.
    fn schedule(&mut self, key: Key) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let (Some(found), Some(recovery)) = (track.found, self.rule.recovery_secs) else { return };
        track.until = found + Duration::from_secs(recovery.into());
        self.recovery.insert((track.until, key));
    }

    fn remove(&mut self, key: &Key) -> Option<Track> {
        let track = self.tracks.remove(key)?;
        self.quiet.remove(&(track.until, *key));
        self.recovery.remove(&(track.until, *key));
        self.found -= usize::from(track.found.is_some());
        Some(track)
    }

    /// Those found of one instance or of all, in order.
    fn found_keys(&self, number: Option<u16>) -> Vec<Key> {
        let found = self.tracks.iter().filter(|(key, track)| track.found.is_some() && number.is_none_or(|n| n == key.0));
        found.map(|(key, _)| *key).collect()
    }

    /// When the next one recovers.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.recovery.first().map(|&(at, _)| at)
    }

    /// An instance goes: its number may be another's next.
    pub fn forget_instance(&mut self, number: u16) {
        let range = (number, MacAddr::ZERO)..=(number, MacAddr([0xff; 6]));
        let keys: Vec<Key> = self.tracks.range(range).map(|(key, _)| *key).collect();
        keys.iter().for_each(|key| drop(self.remove(key)));
    }
}

impl Evpn {
    /// A MAC is about to move. Whether that is followed; where not, the caller leaves everything as it is.
    pub(super) fn follows(&mut self, now: Time, key: Key, vni: Vni, from: Place, to: Place, to_here: bool) -> bool {
        match self.duplicates.note(now, key, to_here) {
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
        if heard_here && let Some(track) = self.duplicates.tracks.get_mut(&key) {
            track.missed = true;
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
        let Some(track) = self.duplicates.remove(&key).filter(|track| track.found.is_some()) else { return false };
        if track.missed {
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
        while let Some(&(at, key)) = self.duplicates.recovery.first()
            && at <= now
        {
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
        self.duplicates.rule = rule;
        self.duplicates.recovery.clear();
        for key in self.duplicates.found_keys(None) {
            self.duplicates.schedule(key);
            if rule.moves == 0 {
                self.thaw_and_decide(now, rib, fib, key, "duplicates are no longer looked for");
            } else if released && let Some(id) = self.macs.find(key.0, key.1) {
                // It stays marked, but is followed again.
                if self.duplicates.tracks.get_mut(&key).is_some_and(|track| std::mem::take(&mut track.missed)) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(n: u32) -> Key {
        let octets = n.to_be_bytes();
        (0, MacAddr([2, 0, octets[0], octets[1], octets[2], octets[3]]))
    }

    fn duplicates() -> Duplicates {
        Duplicates::new(DuplicateDetection::default())
    }

    #[test]
    fn five_moves_within_any_three_minutes_and_not_within_more() {
        let mut duplicates = duplicates();
        let noted: Vec<Noted> = (0..5).map(|n| duplicates.note(Time::from_secs(100 + n * 44), key(1), n % 2 == 0)).collect();
        assert_eq!(noted[3..], [Noted::Unremarkable, Noted::Found], "176 s from the first to the last");
        assert!(duplicates.is_found(&key(1)));
        let noted: Vec<Noted> = (0..50).map(|n| duplicates.note(Time::from_secs(1000 + n * 45), key(2), true)).collect();
        assert!(noted.iter().all(|noted| *noted == Noted::Unremarkable), "45 s apart there are four in the window");
    }

    #[test]
    fn only_a_move_to_here_begins_to_count() {
        let mut duplicates = duplicates();
        for n in 0..10 {
            assert_eq!(duplicates.note(Time::from_secs(n), key(1), false), Noted::Unremarkable);
        }
        assert!(duplicates.is_idle());
    }

    #[test]
    fn what_is_quiet_is_forgotten_and_what_is_kept_is_bounded() {
        let mut duplicates = duplicates();
        for n in 0..LIMIT as u32 + 100 {
            assert_eq!(duplicates.note(Time::from_secs(1) + Duration::from_micros(n.into()), key(n), true), Noted::Unremarkable);
        }
        assert_eq!((duplicates.tracks.len(), duplicates.quiet.len()), (LIMIT, LIMIT));
        assert!(!duplicates.tracks.contains_key(&key(0)) && duplicates.tracks.contains_key(&key(200)), "the oldest went");
        duplicates.note(Time::from_secs(500), key(1), true);
        assert_eq!((duplicates.tracks.len(), duplicates.quiet.len()), (1, 1));
        duplicates.forget_instance(0);
        assert_eq!((duplicates.tracks.len(), duplicates.quiet.len()), (0, 0));
    }
}
