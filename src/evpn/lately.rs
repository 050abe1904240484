//! What was lately: values by key that are forgotten some time after they were last renewed, in a table that is never larger than so.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::Time;

/// A full table is not looked through more often: when a host goes with all it has, the walk would be the work.
const BETWEEN_PURGES: Duration = Duration::from_secs(1);

/// At most `AT_MOST` values, each for `SECS` seconds.
#[derive(Debug)]
pub(super) struct Lately<K, V, const AT_MOST: usize, const SECS: u64> {
    entries: BTreeMap<K, (Time, V)>,
    /// When those that are over were last taken out of a full table.
    purged: Time,
}

impl<K, V, const AT_MOST: usize, const SECS: u64> Default for Lately<K, V, AT_MOST, SECS> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), purged: Time::ZERO }
    }
}

impl<K: Ord, V: Default, const AT_MOST: usize, const SECS: u64> Lately<K, V, AT_MOST, SECS> {
    /// What a key has, the default where it has nothing or that is over. It lasts from now on. `None`: the table is full.
    pub fn renew(&mut self, now: Time, key: K) -> Option<&mut V> {
        if self.entries.len() >= AT_MOST && !self.entries.contains_key(&key) {
            if now.since(self.purged) < BETWEEN_PURGES {
                return None;
            }
            self.purged = now;
            self.entries.retain(|_, (at, _)| !Self::is_over(now, *at));
            if self.entries.len() >= AT_MOST {
                return None;
            }
        }
        let (at, value) = self.entries.entry(key).or_insert_with(|| (now, V::default()));
        if Self::is_over(now, std::mem::replace(at, now)) {
            *value = V::default();
        }
        Some(value)
    }

    /// What a key has, where that is not over. It lasts no longer for it.
    pub fn get(&mut self, now: Time, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).filter(|(at, _)| !Self::is_over(now, *at)).map(|(_, value)| value)
    }

    /// Forgets what a key has, and gives it back where it is not over.
    pub fn take(&mut self, now: Time, key: &K) -> Option<V> {
        self.entries.remove(key).filter(|(at, _)| !Self::is_over(now, *at)).map(|(_, value)| value)
    }

    /// Forgets what these keys have.
    pub fn forget(&mut self, which: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| !which(key));
    }

    fn is_over(now: Time, at: Time) -> bool {
        now.since(at) >= Duration::from_secs(SECS)
    }
}
