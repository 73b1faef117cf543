//! Medians, and how far they can be trusted.

use super::result::{Better, Values, Verdict};

/// Resamples that an interval is made from: the ends of a 95% interval are then known to within half a percent.
const RESAMPLES: usize = 10_000;
/// The seed of all resampling: the same rounds give the same intervals.
const SEED: u64 = 0x5eed;
/// Fewest rounds that say anything of noise.
const FEWEST_ROUNDS: usize = 3;

/// Median of the values; `None` if there is none. The mean of the two in the middle where their number is even.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    middle(&sorted)
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    match (sorted.len(), sorted.len() % 2) {
        (0, _) => None,
        (_, 1) => Some(sorted[half]),
        _ => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}

/// Compares a scheduler's rounds with the reference's. The intervals are the percentile bootstrap's (B. Efron,
/// "Bootstrap methods: another look at the jackknife", 1979): rounds are drawn again from those that were run, of both
/// schedulers independently, and the middle 95% of what comes out is the interval.
pub fn compare(rounds: Vec<f64>, reference: Option<&[f64]>, better: Better) -> Values {
    let mut random = Random(SEED);
    let mut medians = Vec::new();
    let mut ratios = Vec::new();
    if rounds.len() >= FEWEST_ROUNDS {
        for _ in 0..RESAMPLES {
            let own = random.resampled_median(&rounds);
            medians.push(own);
            if let Some(reference) = reference.filter(|r| r.len() >= FEWEST_ROUNDS) {
                let other = random.resampled_median(reference);
                if other > 0.0 {
                    ratios.push(own / other);
                }
            }
        }
    }
    let own = median(&rounds);
    let other = reference.and_then(median).filter(|&median| median > 0.0);
    let ratio = own.zip(other).map(|(own, other)| own / other);
    let ratio_interval = ratio.and_then(|_| middle_95(&mut ratios));
    Values {
        median: own,
        interval: middle_95(&mut medians),
        ratio,
        ratio_interval,
        verdict: verdict(ratio_interval, better),
        rounds,
    }
}

fn verdict(interval: Option<(f64, f64)>, better: Better) -> Verdict {
    match (interval, better) {
        (None, _) => Verdict::None,
        (Some((low, high)), _) if low <= 1.0 && high >= 1.0 => Verdict::Same,
        (Some(_), Better::Neither) => Verdict::Differs,
        (Some((low, _)), Better::Higher) if low > 1.0 => Verdict::Better,
        (Some((_, high)), Better::Lower) if high < 1.0 => Verdict::Better,
        _ => Verdict::Worse,
    }
}

fn middle_95(samples: &mut [f64]) -> Option<(f64, f64)> {
    if samples.is_empty() {
        return None;
    }
    samples.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| samples[((samples.len() - 1) as f64 * share).round() as usize];
    Some((at(0.025), at(0.975)))
}

/// splitmix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Median of as many values as there are, each drawn from all.
    fn resampled_median(&mut self, values: &[f64]) -> f64 {
        let mut drawn: Vec<f64> = values
            .iter()
            .map(|_| values[(self.next() % values.len() as u64) as usize])
            .collect();
        drawn.sort_unstable_by(f64::total_cmp);
        middle(&drawn).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0, 3.0, 10.0]), Some(2.5));
    }

    #[test]
    fn a_clear_difference_is_told_and_its_direction_too() {
        let slow = [100.0, 101.0, 99.0, 100.5, 99.5];
        let fast: Vec<f64> = slow.iter().map(|v| v / 2.0).collect();
        let values = compare(fast.clone(), Some(&slow), Better::Lower);
        assert_eq!(values.ratio, Some(0.5));
        assert_eq!(values.verdict, Verdict::Better);
        assert_eq!(
            compare(fast.clone(), Some(&slow), Better::Higher).verdict,
            Verdict::Worse
        );
        assert_eq!(
            compare(fast, Some(&slow), Better::Neither).verdict,
            Verdict::Differs
        );
    }

    #[test]
    fn few_rounds_and_a_reference_of_zero_tell_nothing() {
        let values = compare(vec![1.0, 2.0], Some(&[3.0, 4.0]), Better::Lower);
        assert_eq!((values.interval, values.verdict), (None, Verdict::None));
        let values = compare(vec![1.0; 5], Some(&[0.0; 5]), Better::Lower);
        assert_eq!((values.ratio, values.verdict), (None, Verdict::None));
        assert_eq!(
            compare(vec![1.0; 5], None, Better::Lower).verdict,
            Verdict::None
        );
    }

    /// How often two samples of one distribution are called different: the promise of the word "noise".
    #[test]
    fn what_is_the_same_is_seldom_called_different() {
        let mut random = Random(1);
        let mut normal = || {
            (0..12)
                .map(|_| (random.next() >> 11) as f64 / 2f64.powi(53))
                .sum::<f64>()
        };
        let mut wrong = 0;
        for _ in 0..200 {
            let mut rounds = || (0..5).map(|_| 100.0 + normal()).collect::<Vec<f64>>();
            let (a, b) = (rounds(), rounds());
            wrong += usize::from(compare(a, Some(&b), Better::Lower).verdict != Verdict::Same);
        }
        assert!(
            wrong <= 20,
            "{wrong} of 200 called different, that is more than one in ten"
        );
    }

    proptest! {
        #[test]
        fn a_median_and_its_interval_are_within_the_rounds(
            rounds in proptest::collection::vec(0.0f64..1e9, 1..12),
            reference in proptest::collection::vec(0.0f64..1e9, 0..12),
        ) {
            let (low, high) = rounds.iter().fold((f64::MAX, 0f64), |(l, h), &v| (l.min(v), h.max(v)));
            let values = compare(rounds, Some(&reference), Better::Lower);
            let within = |v: f64| (low..=high).contains(&v);
            prop_assert!(values.median.is_some_and(within));
            if let Some((from, to)) = values.interval {
                prop_assert!(within(from) && within(to) && from <= to);
            }
            if let Some((from, to)) = values.ratio_interval {
                prop_assert!(from <= to && from >= 0.0);
            }
        }
    }
}
