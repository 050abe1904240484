//! Rows of MACs that may not move, taken by a local port: put back at once, and then at most once a second.
//!
//! A station that speaks with the MAC of another host takes the bridge's entry over, with every frame anew. Written back as
//! often as it speaks, each frame of a tenant would cost us a write and the log a line. So the row is put back at once, and
//! while the station goes on, every [`PAUSE`]: it is never wrong for longer than that without being mended. The same MAC is
//! told of again after [`QUIET`] without a further claim. Bounded: only MACs that were claimed lately are here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::{MacAddr, Time};

/// Between two writes of one row.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// Without a claim for so long, the next one is news.
pub(super) const QUIET: Duration = Duration::from_secs(60);
/// MACs that may be here, about 100 octets each.
const LIMIT: usize = 1 << 16;

/// An instance's number and a MAC.
pub(super) type Key = (u16, MacAddr);

/// When a row is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutBack {
    Now,
    /// When its pause is over; the timer says.
    Later,
    /// Too many MACs are claimed: nothing is kept of this one.
    Full,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    /// The row may be written again.
    next: Time,
    /// It is to be written then.
    pending: bool,
    /// Its place in `due`.
    due: Time,
}

/// The MACs that were claimed lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    records: BTreeMap<Key, Record>,
    due: BTreeSet<(Time, Key)>,
}

impl Pace {
    /// A MAC that may not move is claimed. Whether that is news.
    pub fn is_news(&mut self, now: Time, key: Key) -> bool {
        match self.records.get(&key).copied() {
            Some(record) => {
                if !record.pending {
                    self.put(key, Record { due: now + QUIET, ..record });
                }
                false
            }
            None if self.records.len() >= LIMIT => false,
            None => {
                self.put(key, Record { next: now, pending: false, due: now + QUIET });
                true
            }
        }
    }

    /// The row of a MAC was taken by a local port.
    pub fn put_back(&mut self, now: Time, key: Key) -> PutBack {
        match self.records.get(&key).copied() {
            Some(record) if record.next > now => {
                self.put(key, Record { pending: true, due: record.next, ..record });
                PutBack::Later
            }
            None if self.records.len() >= LIMIT => PutBack::Full,
            _ => {
                self.put(key, Record { next: now + PAUSE, pending: false, due: now + QUIET });
                PutBack::Now
            }
        }
    }

    fn put(&mut self, key: Key, record: Record) {
        if let Some(old) = self.records.insert(key, record) {
            self.due.remove(&(old.due, key));
        }
        self.due.insert((record.due, key));
    }

    /// When [`Pace::next_due`] has something.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|&(at, _)| at)
    }

    /// A row whose pause is over, to be written now. Forgets what has been quiet.
    pub fn next_due(&mut self, now: Time) -> Option<Key> {
        while let Some(&(at, key)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            if self.records.remove(&key).is_some_and(|record| record.pending) {
                self.put(key, Record { next: now + PAUSE, pending: false, due: now + QUIET });
                return Some(key);
            }
        }
        None
    }

    /// An instance goes: its number may be another's next.
    pub fn forget_instance(&mut self, number: u16) {
        self.records.retain(|key, _| key.0 != number);
        self.due.retain(|(_, key)| key.0 != number);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEY: Key = (0, MacAddr([2, 0, 0, 0, 0, 1]));

    #[test]
    fn a_row_is_put_back_at_once_and_then_once_a_second() {
        let (mut pace, start) = (Pace::default(), Time::from_secs(100));
        let mut writes = 0;
        for millis in 0..5000 {
            let now = start + Duration::from_millis(millis);
            writes += u64::from(pace.next_due(now).is_some());
            assert_eq!(pace.is_news(now, KEY), millis == 0);
            writes += u64::from(pace.put_back(now, KEY) == PutBack::Now);
        }
        assert_eq!(writes, 5);
        let last = start + Duration::from_millis(5000);
        assert_eq!(pace.next_due(last), Some(KEY), "the last claim is answered though nobody speaks any more");
        assert_eq!(pace.next_due(last + PAUSE), None);
        assert!(!pace.is_news(last + PAUSE, KEY));
        assert_eq!(pace.next_due(last + PAUSE + QUIET), None);
        assert!(pace.is_news(last + PAUSE + QUIET, KEY), "after a quiet minute it is news");
    }

    #[test]
    fn it_is_bounded_and_forgets() {
        let (mut pace, now) = (Pace::default(), Time::from_secs(1));
        for n in 0..LIMIT as u64 + 10 {
            let octets = n.to_be_bytes();
            pace.put_back(now, (3, MacAddr([2, octets[3], octets[4], octets[5], octets[6], octets[7]])));
        }
        assert_eq!(pace.records.len(), LIMIT);
        assert_eq!(pace.put_back(now, KEY), PutBack::Full);
        pace.forget_instance(3);
        assert_eq!((pace.records.len(), pace.poll_timeout()), (0, None));
    }
}
