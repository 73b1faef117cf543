//! Balance by weight: how full nodes are, told by the speed of their clocks.
//!
//! Where all CPUs of two nodes are busy, nobody there waits for long and no CPU runs dry, yet a G on
//! the node that holds more weight gets less than the like of it on the other.
//!
//! # Terms
//!
//! - **pace**: how fast a node's clock runs. The clock of a node whose CPUs are all busy runs at
//!   `100 * CPUs / weight`, so the pace tells the weight without anybody counting it, and tells it
//!   right where a G is too heavy to have its share of anything but one CPU.
//! - **load**: that weight, for each CPU.
//! - **window**: the time over which a pace is taken. One in which a CPU of the node had nothing
//!   but SCHED_IDLE to run tells nothing, since nobody had to share, and stealing sees to it.
//! - **half**: the weight that would have to move for two nodes to be alike.
//!
//! # Pseudo-code
//!
//! ```text
//! for each node, at the end of a window:
//!     loads of all nodes that were busy; the lightest looks at the heaviest, the second lightest
//!     at the second heaviest, ...
//!     if the loads differ, in two windows in a row, by 10 percent or more:
//!         wish for Gs of half and an eighth of it in all, the less of the two windows'
//! ```
//!
//! # Properties
//!
//! - Never in both directions, and not between nodes that differ little.
//! - What is wished for leaves the two a fourth as far apart as they were, or less, if there are Gs
//!   to make up half: an eighth more than half, since a pace is not exact and a G not divisible.
//! - Between two wishes lie two windows that began after the first: nobody wishes again for what is
//!   on its way, and a start or an end of many Gs is not taken for what lasts.

use crate::clock;
use crate::constants::{MAX_NODES, PACE_DIFFERENCE_PERCENT, PACE_WINDOW_NS, WEIGHT_NICE_0};

/// Parts that one unit of weight is counted in, for nodes that hold little of it.
const PARTS: u128 = 1_000;

/// What a node looks like at the end of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The node's virtual clock.
    pub vclock: u64,
    /// Its CPUs.
    pub cpus: u32,
    /// CPUs among them that are idle, or run SCHED_IDLE.
    pub free_cpus: u32,
    /// How often a CPU of the node has found nothing but SCHED_IDLE to run; wraps.
    pub ran_dry: u32,
}

/// Gs that a node is to have of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The other node.
    pub victim: u16,
    /// The most that they may weigh together.
    pub weight: u32,
}

/// What one worker knows of the paces of all nodes.
#[derive(Clone, Debug)]
pub struct Paces {
    seen: [Look; MAX_NODES],
    since_ns: Option<u64>,
    /// What the window before this one would have had wished for.
    before: Option<Wish>,
}

impl Default for Paces {
    fn default() -> Self {
        Paces {
            seen: [Look::default(); MAX_NODES],
            since_ns: None,
            before: None,
        }
    }
}

impl Paces {
    /// What `thief`, one of `nodes` nodes, is to wish for. Looks at the nodes only where a window
    /// is over.
    pub fn wish(
        &mut self,
        now_ns: u64,
        thief: u16,
        nodes: usize,
        look: impl Fn(u16) -> Look,
    ) -> Option<Wish> {
        let ran_ns = self
            .since_ns
            .map(|since_ns| clock::waited_ns(now_ns, since_ns));
        if nodes < 2 || ran_ns.is_some_and(|ran_ns| ran_ns < PACE_WINDOW_NS) {
            return None;
        }
        let mut loads = [None; MAX_NODES];
        let nodes = nodes.min(MAX_NODES);
        for (node, load) in loads[..nodes].iter_mut().enumerate() {
            let now = look(node as u16);
            *load = ran_ns.and_then(|ran_ns| load_of(&self.seen[node], &now, ran_ns));
            self.seen[node] = now;
        }
        self.since_ns = Some(now_ns);
        let wish = opposite(&loads[..nodes], usize::from(thief))
            .and_then(|victim| self.half(&loads, usize::from(thief), victim));
        match (self.before.take(), wish) {
            (Some(before), Some(wish)) if before.victim == wish.victim => Some(Wish {
                weight: wish.weight.min(before.weight),
                ..wish
            }),
            _ => {
                self.before = wish;
                None
            }
        }
    }

    /// What `thief` is to have of `victim` for both to be alike, if they are not.
    fn half(&self, loads: &[Option<u64>], thief: usize, victim: usize) -> Option<Wish> {
        let (light, heavy) = (loads[thief]?, loads[victim]?);
        let differs_from = light.saturating_mul(100 + PACE_DIFFERENCE_PERCENT) / 100;
        if heavy <= differs_from {
            return None;
        }
        let [to, from] = [thief, victim].map(|node| u128::from(self.seen[node].cpus.max(1)));
        let half = u128::from(heavy - light) * to * from / (to + from);
        let weight = u32::try_from((half + half / 8) / PARTS).unwrap_or(u32::MAX);
        (weight > 0).then_some(Wish {
            victim: victim as u16,
            weight,
        })
    }
}

/// The weight on each CPU of a node in [`PARTS`], `None` if the window tells nothing.
fn load_of(before: &Look, now: &Look, ran_ns: u64) -> Option<u64> {
    if now.free_cpus > 0 || now.ran_dry != before.ran_dry {
        return None;
    }
    let advance = u64::try_from(clock::ahead(now.vclock, before.vclock)).ok()?;
    let load = u128::from(ran_ns) * u128::from(WEIGHT_NICE_0) * PARTS;
    let load = load.checked_div(u128::from(advance))?;
    Some(u64::try_from(load).unwrap_or(u64::MAX))
}

/// The node that is as far from the heaviest as `node` is from the lightest, if that is another and
/// heavier. Among equals the lower number counts as lighter, for all workers must agree.
fn opposite(loads: &[Option<u64>], node: usize) -> Option<usize> {
    loads.get(node).copied().flatten()?;
    let known = || (0..loads.len()).filter(|&node| loads[node].is_some());
    let rank = |node: usize| {
        let lighter = |&other: &usize| (loads[other], other) < (loads[node], node);
        known().filter(lighter).count()
    };
    let mine = rank(node);
    let theirs = known().count() - 1 - mine;
    known().find(|&other| mine < theirs && rank(other) == theirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START_NS: u64 = 7 * PACE_WINDOW_NS;

    /// How a node of two CPUs looks after so many windows, if it holds this weight.
    fn busy(weight: u64, windows: u64) -> Look {
        let advance = PACE_WINDOW_NS * u64::from(WEIGHT_NICE_0) * 2 / weight;
        Look {
            vclock: (u64::MAX - 5).wrapping_add(windows * advance),
            cpus: 2,
            free_cpus: 0,
            ran_dry: 9,
        }
    }

    /// What a node wishes for at the end of each of these windows.
    fn wishes<const WINDOWS: usize>(weights: &[u64], thief: u16) -> [Option<Wish>; WINDOWS] {
        let mut paces = Paces::default();
        core::array::from_fn(|window| {
            let windows = window as u64;
            let now_ns = START_NS + windows * PACE_WINDOW_NS;
            let look = |node| busy(weights[usize::from(node)], windows);
            let wish = paces.wish(now_ns, thief, weights.len(), look);
            let soon = |_| -> Look { panic!("no window has ended") };
            assert_eq!(paces.wish(now_ns + 1, thief, weights.len(), soon), None);
            wish
        })
    }

    fn wish(weights: &[u64], thief: u16) -> Option<Wish> {
        let [_, first, second] = wishes::<3>(weights, thief);
        assert_eq!(first, None);
        second
    }

    #[test]
    fn four_hogs_of_nice_0_against_four_of_nice_5_and_of_nice_10() {
        let weights = [400, 176];
        assert_eq!(wish(&weights, 0), None);
        let wish = wish(&weights, 1).expect("the lighter one wishes");
        assert_eq!(wish.victim, 0);
        assert!((125..=126).contains(&wish.weight), "{}", wish.weight);
    }

    #[test]
    fn a_cpu_without_work_tells_nothing_but_of_its_node() {
        type Change = fn(&mut Look);
        let freed: [Change; 3] = [
            |look| look.free_cpus = 1,
            |look| look.ran_dry += 1,
            |look| look.vclock = 0,
        ];
        for change in freed {
            let mut paces = Paces::default();
            let mut last = None;
            for windows in 0..3 {
                let look = |node| {
                    let mut look = busy([500, 100, 300][usize::from(node)], windows);
                    if node == 0 && windows == 2 {
                        change(&mut look);
                    }
                    look
                };
                last = paces.wish(START_NS + windows * PACE_WINDOW_NS, 1, 3, look);
            }
            // It was to wish for Gs of node 0.
            assert_eq!(last, None);
        }
    }

    proptest! {
        #[test]
        fn one_side_wishes_and_is_hardly_heavier_for_it(
            weights in prop::collection::vec(1..1_000_000u64, 1..9),
        ) {
            for thief in 0..weights.len() {
                let Some(Wish { victim, weight }) = wish(&weights, thief as u16) else {
                    continue;
                };
                let victim_weight = weights[usize::from(victim)];
                prop_assert!(victim_weight > weights[thief]);
                prop_assert_eq!(wish(&weights, victim), None);
                // Clocks are told to a millionth of a window at the least.
                let slack = victim_weight / 1_000 + 1;
                let (lighter, heavier) = (weights[thief] + u64::from(weight), victim_weight - u64::from(weight));
                prop_assert!(lighter.abs_diff(heavier) <= (victim_weight - weights[thief]) / 4 + slack);
            }
        }

        #[test]
        fn the_lightest_of_nodes_that_differ_wishes(
            weights in prop::collection::vec(100..1_000_000u64, 2..9),
        ) {
            let by_weight = |&node: &usize| weights[node];
            let lightest = (0..weights.len()).min_by_key(by_weight).expect("some");
            let heaviest = *weights.iter().max().expect("some");
            let differ = heaviest > weights[lightest] * 12 / 10;
            prop_assert!(!differ || wish(&weights, lightest as u16).is_some());
        }

        #[test]
        fn alike_is_left_alone(
            weight in 100..1_000_000u64,
            percent_more in prop::collection::vec(0..PACE_DIFFERENCE_PERCENT, 2..9),
        ) {
            let mut weights = percent_more;
            weights.iter_mut().for_each(|percent| *percent = weight + weight * *percent / 101);
            for node in 0..weights.len() {
                prop_assert_eq!(wish(&weights, node as u16), None);
            }
        }

        #[test]
        fn two_windows_lie_between_wishes(
            weights in prop::collection::vec(1..1_000_000u64, 2..9),
        ) {
            for thief in 0..weights.len() {
                let wished = wishes::<9>(&weights, thief as u16).map(|wish| wish.is_some());
                prop_assert!(wished.windows(2).all(|two| two != [true, true]));
            }
        }

        #[test]
        fn nothing_panics(
            looks in prop::collection::vec(any::<(u64, u64, u32, u32, u32)>(), 0..50),
            thief: u16,
            nodes: usize,
        ) {
            let mut paces = Paces::default();
            for (now_ns, vclock, cpus, free_cpus, ran_dry) in looks {
                let _ = paces.wish(now_ns, thief, nodes, |node| Look {
                    vclock: vclock.rotate_left(node.into()),
                    cpus,
                    free_cpus,
                    ran_dry,
                });
            }
        }
    }
}
