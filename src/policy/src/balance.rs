//! Slow balance between nodes: one G at a time follows the difference in waiting.
//!
//! A theft answers a G that waits too long; balance answers nodes that differ for long, as when
//! six busy Gs were born on one node and four on the other. Nobody waits long enough there to be
//! stolen, and everybody waits longer than need be.
//!
//! ```text
//! the thief's worker, at most once an interval, for its neighbours nearest first:
//!     if Gs wait on average for long on the victim, and for less than half of that here:
//!         grant: the next CPU of this node that runs dry takes one G from there
//! ```
//!
//! Properties: a grant is for one G; none comes sooner than [`BALANCE_EVERY_NS`] after the last;
//! between nodes that wait alike there is none, so Gs do not bounce.

use crate::clock;
use crate::constants::{BALANCE_EVERY_NS, BALANCE_FROM_NS, BALANCE_RATIO};

/// One node's memory of when it last took a G to balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    last_ns: u64,
}

impl Balance {
    /// Whether the caller's node may take one G of a node whose Gs wait for `victim_wait_ns` on
    /// average, while its own wait for `own_wait_ns`. Remembers that it said yes.
    pub fn grants(&mut self, now_ns: u64, own_wait_ns: u64, victim_wait_ns: u64) -> bool {
        let due = clock::waited_ns(now_ns, self.last_ns) >= BALANCE_EVERY_NS;
        let differ = victim_wait_ns >= BALANCE_FROM_NS
            && victim_wait_ns > own_wait_ns.saturating_mul(BALANCE_RATIO);
        if due && differ {
            self.last_ns = now_ns;
        }
        due && differ
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn six_against_four_is_balanced_and_five_against_five_is_not() {
        let mut balance = Balance::default();
        let now_ns = 10 * BALANCE_EVERY_NS;
        assert!(!balance.grants(now_ns, 120_000, 130_000));
        assert!(balance.grants(now_ns, 50_000, 250_000));
    }

    proptest! {
        #[test]
        fn not_twice_in_an_interval(
            now_ns in BALANCE_EVERY_NS..u64::MAX / 2,
            later_ns in 0..BALANCE_EVERY_NS,
            own: u64,
            victim: u64,
        ) {
            let mut balance = Balance::default();
            balance.grants(now_ns, 0, u64::MAX);
            prop_assert!(!balance.grants(now_ns + later_ns, own, victim));
        }

        #[test]
        fn never_in_both_directions(a: u64, b: u64) {
            let now_ns = 10 * BALANCE_EVERY_NS;
            let there = Balance::default().grants(now_ns, a, b);
            let back = Balance::default().grants(now_ns, b, a);
            prop_assert!(!(there && back));
        }

        #[test]
        fn never_for_short_waits(own: u64, victim in 0..BALANCE_FROM_NS) {
            prop_assert!(!Balance::default().grants(u64::MAX / 2, own, victim));
        }
    }
}
