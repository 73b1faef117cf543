// SPDX-License-Identifier: GPL-2.0-only
//! Histograms as the kernel half fills them (`bpf/stats.bpf.h`), read by percentile.
//!
//! They are log-linear: a bucket for each of 0 to 7 units, then four to each power of two. What a
//! percentile tells is the middle of its bucket, so it is off by an eighth of the true value at
//! most, or by less than a unit. Bucket 0 tells 0: most of what is there did not wait at all.

use crate::bpf_intf::mpg_limits_MPG_BUCKETS;

/// Buckets of a histogram.
pub const BUCKETS: usize = mpg_limits_MPG_BUCKETS as usize;

/// How often each bucket was hit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Those that are missing were never hit.
    counts: Vec<u64>,
}

impl Histogram {
    /// A histogram with these counts, the first [`BUCKETS`] of them.
    pub fn new(mut counts: Vec<u64>) -> Self {
        counts.truncate(BUCKETS);
        Self { counts }
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let earlier = before.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(earlier);
        Self {
            counts: counts.map(|(now, then)| now.saturating_sub(then)).collect(),
        }
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many values are below two to this power of units, 0 to 32.
    pub fn below_power(&self, power: u32) -> u64 {
        let end = match power {
            0..=3 => 1 << power,
            _ => 4 * (power as usize - 1),
        };
        self.counts.iter().take(end).sum()
    }

    /// The sum of all values, in units, each taken to be in the middle of its bucket.
    pub fn sum(&self) -> f64 {
        let sums = self.counts.iter().enumerate();
        sums.map(|(bucket, &count)| count as f64 * middle(bucket))
            .sum()
    }

    /// The value, in units, that `permille` of the values do not exceed, give or take the error
    /// above; 0 of no values.
    pub fn permille(&self, permille: u64) -> f64 {
        let rank = (self.total() * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= rank
        };
        self.counts.iter().position(reached).map_or(0.0, middle)
    }
}

/// The middle of a bucket, in units.
fn middle(bucket: usize) -> f64 {
    match bucket {
        0 => 0.0,
        1..8 => bucket as f64 + 0.5,
        _ => {
            let width = 1u64 << (bucket / 4 - 1);
            (width * (bucket as u64 % 4 + 4)) as f64 + width as f64 / 2.0
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bucket of so many units, from the definition and not by `bucket_of`'s steps.
    fn bucket_of(units: u32) -> usize {
        match units {
            0..8 => units as usize,
            _ => {
                let power = units.ilog2();
                (4 * (power - 1) + (units >> (power - 2)) - 4) as usize
            }
        }
    }

    fn counted(values: &[u32]) -> Histogram {
        let mut counts = vec![0; BUCKETS];
        values
            .iter()
            .for_each(|&value| counts[bucket_of(value)] += 1);
        Histogram::new(counts)
    }

    /// Values of every magnitude, and many zeros.
    fn values() -> impl Strategy<Value = Vec<u32>> {
        let value = prop_oneof![
            2 => (any::<u32>(), 0u32..32).prop_map(|(value, shift)| value >> shift),
            1 => Just(0),
        ];
        prop::collection::vec(value, 1..400)
    }

    proptest! {
        #[test]
        fn a_percentile_is_off_by_an_eighth_at_most(
            mut values in values(),
            permille in 0u64..=1000,
        ) {
            let told = counted(&values).permille(permille);
            values.sort_unstable();
            let rank = (values.len() * permille as usize).div_ceil(1000).max(1);
            let exact = f64::from(values[rank - 1]);
            prop_assert!((told - exact).abs() <= (exact / 8.0).max(0.5), "{told}, not {exact}");
        }

        #[test]
        fn powers_of_two_part_the_values_exactly(values in values(), power in 0u32..=32) {
            let below = values.iter().filter(|&&value| u64::from(value) < 1 << power).count();
            prop_assert_eq!(counted(&values).below_power(power), below as u64);
        }

        #[test]
        fn a_sum_is_off_by_an_eighth_at_most(values in values()) {
            let told = counted(&values).sum();
            let exact: f64 = values.iter().copied().map(f64::from).sum();
            let error: f64 = values.iter().map(|&value| (f64::from(value) / 8.0).max(0.5)).sum();
            prop_assert!((told - exact).abs() <= error, "{told}, not {exact}");
        }

        #[test]
        fn percentiles_rise(values in values(), a in 0u64..=1000, b in 0u64..=1000) {
            let histogram = counted(&values);
            prop_assert!(histogram.permille(a.min(b)) <= histogram.permille(a.max(b)));
        }

        #[test]
        fn what_was_counted_before_is_left_out(before in values(), after in values()) {
            let both: Vec<u32> = before.iter().chain(&after).copied().collect();
            let since = counted(&both).since(&counted(&before));
            prop_assert_eq!(since.total(), after.len() as u64);
            prop_assert_eq!(since, counted(&after));
        }
    }

    /// Each bucket ends where the next begins, and its middle is in it.
    #[test]
    fn buckets_follow_each_other() {
        let mut at = 0;
        for bucket in 0..=bucket_of(u32::MAX) {
            assert_eq!(bucket_of(at), bucket);
            assert_eq!(bucket_of(middle(bucket) as u32), bucket);
            let width = if bucket < 8 { 1 } else { 1 << (bucket / 4 - 1) };
            assert_eq!(bucket_of(at + (width - 1)), bucket);
            at = at.wrapping_add(width);
        }
        assert_eq!(at, 0, "2^32 units have a bucket");
        assert!(bucket_of(u32::MAX) < BUCKETS);
    }

    #[test]
    fn of_nothing_every_percentile_is_zero() {
        let none = Histogram::default();
        assert_eq!((none.permille(500), none.total()), (0.0, 0));
        assert_eq!(none.since(&counted(&[5])), none);
        // One that began anew does not go below nothing.
        assert_eq!(counted(&[5]).since(&counted(&[5, 5, 7])).total(), 0);
    }
}
