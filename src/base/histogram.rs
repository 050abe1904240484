//! A histogram with fixed bounds: numbers that are observed are counted by size, in no memory but its own.

/// The most bounds a histogram can have.
const MOST: usize = 20;

/// How many of what was observed lay at or below each bound. The numbers are of whatever unit the bounds are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and what lay above the last; not cumulative.
    counts: [u64; MOST + 1],
    sum: u64,
}

impl Histogram {
    /// An empty one. `bounds` ascend; only the first 20 are used.
    pub const fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: [0; MOST + 1], sum: 0 }
    }

    /// Counts `times` observations of `value`.
    pub fn observe(&mut self, value: u64, times: u64) {
        let place = self.bounds().partition_point(|bound| *bound < value);
        self.counts[place] += times;
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
    }

    /// The bounds, and how many observations lay at or below each.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut below = 0;
        self.bounds().iter().zip(&self.counts).map(move |(&bound, &count)| {
            below += count;
            (bound, below)
        })
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of what was observed.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    fn bounds(&self) -> &'static [u64] {
        &self.bounds[..self.bounds.len().min(MOST)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_at_a_bound_lies_below_it() {
        let mut histogram = Histogram::new(&[1, 10, 100]);
        for (value, times) in [(0, 1), (1, 1), (2, 3), (10, 1), (11, 0), (100, 1), (101, 2)] {
            histogram.observe(value, times);
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(1, 2), (10, 6), (100, 7)]);
        assert_eq!((histogram.count(), histogram.sum()), (9, 1 + 6 + 10 + 100 + 202));
    }
}
