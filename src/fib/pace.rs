//! How fast rows come into the kernel: two histograms, observed once a batch and not once a row.

use super::table::Fib;
use crate::base::{Histogram, Time};

/// Upper bounds of the times from the cause of a row to its confirmation, microseconds: 100 µs to 30 s.
const LATENCY_BOUNDS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];
/// Upper bounds of the sizes of batches, rows: a batch has 64, and one more where a row must be deleted first.
const SIZE_BOUNDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64];

/// What was observed since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Microseconds from the turn in which that arrived which a row was changed for (an UPDATE, an event of the kernel) to the
    /// one in which the kernel's confirmation was read; for each row that was written or deleted. All rows of a batch count
    /// as the one that waited longest.
    pub latency: Histogram,
    /// Rows in each batch.
    pub sizes: Histogram,
}

impl Default for Pace {
    fn default() -> Self {
        Self { latency: Histogram::new(LATENCY_BOUNDS), sizes: Histogram::new(SIZE_BOUNDS) }
    }
}

impl Fib {
    /// What rows are changed for from here on happened at `cause`; `None`: at the time of each call.
    pub fn caused_at(&mut self, cause: Option<Time>) {
        self.cause = cause;
    }

    /// How fast rows come into the kernel.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{MacAddr, Vni};
    use crate::fib::{BatchDone, FibLimits, Remote};

    /// Rows that waited for the kernel count from their cause on, refused ones not at all.
    #[test]
    fn a_row_counts_from_its_cause_to_its_confirmation() {
        let at = Time::from_micros;
        let vni = Vni::new(100).unwrap();
        let remote = Remote { ip: [10, 0, 0, 2].into(), vni: None };
        let mac = |last: u8| MacAddr([2, 0, 0, 0, 0, last]);
        let mut fib = Fib::with_limits(1, FibLimits { batch_len: 2, batches_in_flight: 1 });
        fib.device_ready(at(0), vni, 7, Some(false), Vec::new());
        fib.sweep(at(0));

        fib.caused_at(Some(at(1_000)));
        fib.set_unicast(at(5_000), vni, mac(1), remote);
        fib.caused_at(None);
        fib.set_unicast(at(6_000), vni, mac(2), remote);
        fib.set_unicast(at(7_000), vni, mac(3), remote);
        fib.set_unicast(at(8_000), vni, mac(4), remote);
        let first = fib.poll_batch(at(8_000)).unwrap();
        assert_eq!(fib.poll_batch(at(8_000)), None, "one is under way at most");
        fib.handle_batch_done(at(9_000), &BatchDone { id: first.id, ..BatchDone::default() });
        let buckets = |fib: &Fib| fib.pace().latency.cumulative().collect::<Vec<_>>();
        assert_eq!((fib.pace().latency.count(), fib.pace().latency.sum()), (2, 2 * 8_000), "both as the older");
        assert!(buckets(&fib).contains(&(5_000, 0)) && buckets(&fib).contains(&(10_000, 2)));

        let second = fib.poll_batch(at(9_000)).unwrap();
        fib.handle_batch_done(at(10_000), &BatchDone { id: second.id, errors: vec![(1, 12)], ..BatchDone::default() });
        assert_eq!((fib.pace().latency.count(), fib.pace().latency.sum()), (3, 2 * 8_000 + 3_000));
        assert_eq!((fib.pace().sizes.count(), fib.pace().sizes.sum()), (2, 4));
    }
}
