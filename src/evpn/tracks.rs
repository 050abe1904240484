//! What moves, and how often: of MACs between hosts (`duplicates`), of addresses between MACs (`conflicts`). The window slides; what
//! moved too often within it is *found*, until it recovers or is ended. Bounded: of more than [`LIMIT`] those are forgotten that
//! moved longest ago. What follows of being found is the caller's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::config::DuplicateDetection;
use crate::base::Time;

/// What is watched or found at a time; where more moves, that goes that moved longest ago. About 200 octets each.
const LIMIT: usize = 1 << 16;

/// What a move came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    Unremarkable,
    /// This move made it found.
    Found,
    /// Too many are watched or found for one more.
    NoRoom,
}

#[derive(Debug, Default)]
struct Track<V> {
    /// When it moved, oldest first, within the window.
    moves: VecDeque<Time>,
    /// Since when it is found.
    found: Option<Time>,
    /// Its place in `quiet` while it is watched, in `recovery` while it is found and will recover.
    until: Time,
    /// What the caller notes of it.
    value: V,
}

/// What moved lately, by the number of its instance.
#[derive(Debug)]
pub(super) struct Tracks<X, V> {
    pub rule: DuplicateDetection,
    tracks: BTreeMap<(u16, X), Track<V>>,
    quiet: BTreeSet<(Time, (u16, X))>,
    recovery: BTreeSet<(Time, (u16, X))>,
    found: usize,
}

impl<X: Copy + Ord, V: Default> Tracks<X, V> {
    pub fn new(rule: DuplicateDetection) -> Self {
        Self { rule, tracks: BTreeMap::new(), quiet: BTreeSet::new(), recovery: BTreeSet::new(), found: 0 }
    }

    /// Whether it is found, and the rule freezes such.
    pub fn is_frozen(&self, key: &(u16, X)) -> bool {
        self.rule.freeze && self.is_found(key)
    }

    pub fn is_found(&self, key: &(u16, X)) -> bool {
        self.found > 0 && self.tracks.get(key).is_some_and(|track| track.found.is_some())
    }

    pub fn found(&self) -> usize {
        self.found
    }

    /// Nothing is watched.
    pub fn is_idle(&self) -> bool {
        self.tracks.is_empty()
    }

    /// It moved. `begins`: by something that was heard here, which is where the counting begins.
    pub fn note(&mut self, now: Time, key: (u16, X), begins: bool) -> Noted {
        if self.rule.moves == 0 {
            return Noted::Unremarkable;
        }
        while let Some(&(at, old)) = self.quiet.first()
            && at <= now
        {
            self.remove(&old);
        }
        if !self.tracks.contains_key(&key) {
            if !begins {
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

    /// One that is found: since when, when it recovers by itself, and what was noted of it.
    pub fn found_one(&self, key: &(u16, X)) -> Option<(Time, Option<Time>, &V)> {
        let track = self.tracks.get(key)?;
        let since = track.found?;
        Some((since, self.rule.recovery_secs.map(|_| track.until), &track.value))
    }

    /// What is noted of one that is watched or found.
    pub fn value_mut(&mut self, key: &(u16, X)) -> Option<&mut V> {
        self.tracks.get_mut(key).map(|track| &mut track.value)
    }

    /// Puts a found one where its recovery is due.
    fn schedule(&mut self, key: (u16, X)) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let (Some(found), Some(recovery)) = (track.found, self.rule.recovery_secs) else { return };
        track.until = found + Duration::from_secs(recovery.into());
        self.recovery.insert((track.until, key));
    }

    fn remove(&mut self, key: &(u16, X)) -> Option<Track<V>> {
        let track = self.tracks.remove(key)?;
        self.quiet.remove(&(track.until, *key));
        self.recovery.remove(&(track.until, *key));
        self.found -= usize::from(track.found.is_some());
        Some(track)
    }

    /// It is as any other from now on, where it was found: what was noted of it.
    pub fn end(&mut self, key: &(u16, X)) -> Option<V> {
        self.is_found(key).then(|| self.remove(key).map(|track| track.value)).flatten()
    }

    /// Another rule. Moves already counted stay counted; found ones, which it gives back, stay found, with the new recovery time since
    /// they were found.
    pub fn set_rule(&mut self, rule: DuplicateDetection) -> Vec<(u16, X)> {
        self.rule = rule;
        self.recovery.clear();
        let keys = self.found_keys(None);
        keys.iter().for_each(|key| self.schedule(*key));
        keys
    }

    /// Those found, in order, with what was noted of them.
    pub fn all_found(&self) -> impl Iterator<Item = (&(u16, X), &V)> {
        let tracks = if self.found > 0 { Some(self.tracks.iter()) } else { None };
        tracks.into_iter().flatten().filter(|(_, track)| track.found.is_some()).map(|(key, track)| (key, &track.value))
    }

    /// Those found of one instance or of all, in order.
    pub fn found_keys(&self, number: Option<u16>) -> Vec<(u16, X)> {
        self.all_found().map(|(key, _)| *key).filter(|key| number.is_none_or(|number| number == key.0)).collect()
    }

    /// One whose recovery is due. It is found until it is ended.
    pub fn recovers(&self, now: Time) -> Option<(u16, X)> {
        self.recovery.first().filter(|(at, _)| *at <= now).map(|(_, key)| *key)
    }

    /// When the next one recovers.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.recovery.first().map(|&(at, _)| at)
    }

    /// An instance goes: its number may be another's next.
    pub fn forget_instance(&mut self, number: u16) {
        let keys: Vec<(u16, X)> = self.tracks.keys().filter(|key| key.0 == number).copied().collect();
        keys.iter().for_each(|key| drop(self.remove(key)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::MacAddr;

    fn key(n: u32) -> (u16, MacAddr) {
        let octets = n.to_be_bytes();
        (0, MacAddr([2, 0, octets[0], octets[1], octets[2], octets[3]]))
    }

    fn duplicates() -> Tracks<MacAddr, bool> {
        Tracks::new(DuplicateDetection::default())
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
