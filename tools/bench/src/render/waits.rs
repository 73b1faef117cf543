//! What can be told of latencies that are counted in buckets.

use crate::compare::result::Bucket;

/// The latencies of one scheduler. Buckets without a latency, and such as have no place on an axis, are left out.
pub struct Waits {
    /// Longest latency in microseconds and how many there were, rising.
    buckets: Vec<(f64, u128)>,
    total: u128,
}

impl Waits {
    /// Takes buckets as they were read.
    pub fn new(buckets: &[Bucket]) -> Self {
        let mut buckets: Vec<(f64, u128)> = buckets
            .iter()
            .filter(|&&Bucket(longest, number)| longest.is_finite() && longest >= 0.0 && number > 0)
            .map(|&Bucket(longest, number)| (longest, u128::from(number)))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total = buckets.iter().map(|&(_, number)| number).sum();
        Waits { buckets, total }
    }

    /// How many latencies there are.
    pub fn total(&self) -> u128 {
        self.total
    }

    /// The end of the bucket that holds this quantile, in microseconds.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = (quantile * self.total as f64).ceil().max(1.0) as u128;
        let mut seen = 0;
        self.buckets
            .iter()
            .find(|&&(_, number)| {
                seen += number;
                seen >= rank
            })
            .or(self.buckets.last())
            .map(|&(longest, _)| longest)
    }

    /// The longest latency, in microseconds.
    pub fn longest(&self) -> Option<f64> {
        self.buckets.last().map(|&(longest, _)| longest)
    }

    /// Bits that tell in which power of two of microseconds a latency lies: 0 where all lie in one. The bins are those
    /// of runqlat, wide enough that the width of the buckets does not show.
    pub fn entropy(&self) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let mut bins: Vec<(i32, u128)> = Vec::new();
        for &(longest, number) in &self.buckets {
            let bin = longest.max(f64::MIN_POSITIVE).log2().floor() as i32;
            match bins.last_mut() {
                Some((last, sum)) if *last == bin => *sum += number,
                _ => bins.push((bin, number)),
            }
        }
        let total = self.total as f64;
        let bits = bins.iter().map(|&(_, number)| {
            let share = number as f64 / total;
            -share * share.log2()
        });
        Some(bits.sum::<f64>().max(0.0))
    }

    /// The staircase of the tail: latency in microseconds and the share of all latencies that are longer, falling from
    /// 1. It ends at the longest latency, where it would fall to 0, for which no logarithm has a place.
    pub fn tail(&self) -> Vec<(f64, f64)> {
        let total = self.total as f64;
        let mut left = self.total;
        let mut points = Vec::with_capacity(2 * self.buckets.len());
        for &(longest, number) in &self.buckets {
            points.push((longest, left as f64 / total));
            left -= number;
            if left > 0 {
                points.push((longest, left as f64 / total));
            }
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ends_of_buckets() {
        let waits = Waits::new(&[
            Bucket(1.0, 50),
            Bucket(2.0, 0),
            Bucket(8.0, 49),
            Bucket(64.0, 1),
        ]);
        assert_eq!(waits.total(), 100);
        assert_eq!(waits.quantile(0.5), Some(1.0));
        assert_eq!(waits.quantile(0.51), Some(8.0));
        assert_eq!(waits.quantile(0.99), Some(8.0));
        assert_eq!(waits.quantile(0.999), Some(64.0));
        assert_eq!(waits.longest(), Some(64.0));
    }

    #[test]
    fn entropy_counts_powers_of_two() {
        let even = Waits::new(&[
            Bucket(1.0, 5),
            Bucket(2.0, 5),
            Bucket(4.0, 5),
            Bucket(8.0, 5),
        ]);
        assert_eq!(even.entropy(), Some(2.0));
        let one = Waits::new(&[Bucket(4.1, 5), Bucket(7.9, 5)]);
        assert_eq!(one.entropy(), Some(0.0));
        assert_eq!(Waits::new(&[]).entropy(), None);
    }

    #[test]
    fn a_tail_falls_and_never_reaches_zero() {
        let waits = Waits::new(&[Bucket(1.0, 90), Bucket(10.0, 9), Bucket(100.0, 1)]);
        let tail = waits.tail();
        assert_eq!(
            tail,
            [
                (1.0, 1.0),
                (1.0, 0.1),
                (10.0, 0.1),
                (10.0, 0.01),
                (100.0, 0.01)
            ]
        );
        assert!(Waits::new(&[]).tail().is_empty());
        assert_eq!(Waits::new(&[Bucket(3.0, 1)]).tail(), [(3.0, 1.0)]);
    }
}
