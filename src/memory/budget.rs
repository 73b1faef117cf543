// SPDX-License-Identifier: GPL-2.0-only
//! A share of one CPU, by the clock of the thread that uses it.

use std::time::Duration;

/// What was not used is kept for this long: a start, or many processes at once, may be dear, and
/// is paid for afterwards.
const KEPT: Duration = Duration::from_secs(10);

/// How much may be used.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    permille: u64,
    /// Nanoseconds in hand, or owed.
    credit_ns: i64,
}

impl Budget {
    /// A full one, of thousandths of one CPU; at least one.
    pub fn new(permille: u64) -> Self {
        let permille = permille.max(1);
        Self {
            permille,
            credit_ns: earned(KEPT, permille),
        }
    }

    /// Takes what was used of the time that has passed.
    pub fn spend(&mut self, spent_ns: u64, passed: Duration) {
        let spent_ns = i64::try_from(spent_ns).unwrap_or(i64::MAX);
        self.credit_ns = self
            .credit_ns
            .saturating_add(earned(passed, self.permille))
            .min(earned(KEPT, self.permille))
            .saturating_sub(spent_ns);
    }

    /// How long to rest until something is in hand again.
    pub fn rest(&self) -> Duration {
        let owed_ns = self.credit_ns.min(0).unsigned_abs();
        Duration::from_nanos(owed_ns.saturating_mul(1000) / self.permille)
    }

    /// What a round of this length earns.
    pub fn share_ns(&self, round: Duration) -> u64 {
        earned(round, self.permille).unsigned_abs()
    }
}

fn earned(time: Duration, permille: u64) -> i64 {
    let ns = time.as_nanos() * u128::from(permille) / 1000;
    i64::try_from(ns).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the rounds cost, as long as each waits for its rest.
        #[test]
        fn the_share_is_kept(
            permille in 1..=1000u64,
            rounds in proptest::collection::vec((0..2_000_000_000u64, 0..2_000_000_000u64), 1..50),
        ) {
            let mut budget = Budget::new(permille);
            let (mut spent, mut passed) = (0u128, 0u128);
            let mut last = 0u128;
            for (cost_ns, more_ns) in rounds {
                prop_assert!(spent - last <= (passed + KEPT.as_nanos()) * u128::from(permille) / 1000 + 100);
                let wait = budget.rest() + Duration::from_nanos(more_ns);
                budget.spend(0, wait);
                passed += wait.as_nanos();
                prop_assert!(budget.rest() < Duration::from_micros(2));
                budget.spend(cost_ns, Duration::ZERO);
                spent += u128::from(cost_ns);
                last = cost_ns.into();
            }
        }
    }
}
