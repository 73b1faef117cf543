//! The order of things.

use super::load::Manner;

/// What a comparison consists of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many schedulers there are.
    pub schedulers: usize,
    /// How many loads there are.
    pub loads: usize,
    /// How often each pair of them is run.
    pub rounds: u32,
    /// Whether each load is run as SCHED_FIFO first.
    pub floor: bool,
    /// Whether each pair is run once more, watched.
    pub watch: bool,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Load a scheduler; none is loaded at this moment.
    Load {
        /// Its number.
        scheduler: usize,
    },
    /// Run a load under the scheduler that is loaded.
    Run {
        /// Number of the scheduler.
        scheduler: usize,
        /// Number of the load.
        load: usize,
        /// How.
        manner: Manner,
    },
    /// Unload the scheduler.
    Unload,
}

/// What loading a scheduler takes compared with a second of a run: the verifier's time, roughly.
const LOAD_WEIGHT: f64 = 4.0;

impl Step {
    /// How long this takes compared with a second of a run of `seconds`. Only for telling how much time is left.
    pub fn weight(&self, seconds: u64) -> f64 {
        match self {
            Step::Load { scheduler: 0 } | Step::Unload => 0.0,
            Step::Load { .. } => LOAD_WEIGHT,
            Step::Run { .. } => seconds as f64,
        }
    }
}

impl Plan {
    /// Everything, in order. The floor is taken under the first scheduler, which does not matter to SCHED_FIFO.
    pub fn steps(self) -> impl Iterator<Item = Step> {
        (0..self.rounds).flat_map(move |round| {
            (0..self.schedulers).flat_map(move |turn| {
                let forth = round % 2 == 0;
                let scheduler = if forth {
                    turn
                } else {
                    self.schedulers - 1 - turn
                };
                let floor = self.floor && round == 0 && scheduler == 0;
                let watch = self.watch && round == 0;
                let runs = [
                    (Manner::Floor, floor),
                    (Manner::Plain, true),
                    (Manner::Watched, watch),
                ]
                .into_iter()
                .filter(|(_, wanted)| *wanted)
                .flat_map(move |(manner, _)| {
                    (0..self.loads).map(move |load| Step::Run {
                        scheduler,
                        load,
                        manner,
                    })
                });
                [Step::Load { scheduler }]
                    .into_iter()
                    .chain(runs)
                    .chain([Step::Unload])
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(plan: Plan) -> Vec<usize> {
        plan.steps()
            .filter_map(|step| match step {
                Step::Load { scheduler } => Some(scheduler),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn rounds_go_forth_and_back() {
        let plan = Plan {
            schedulers: 2,
            loads: 1,
            rounds: 4,
            floor: false,
            watch: false,
        };
        assert_eq!(order(plan), [0, 1, 1, 0, 0, 1, 1, 0]);
    }

    proptest! {
        #[test]
        fn each_pair_is_run_once_a_round_and_only_while_loaded(
            schedulers in 1usize..6, loads in 1usize..5, rounds in 1u32..8, floor: bool, watch: bool,
        ) {
            let plan = Plan { schedulers, loads, rounds, floor, watch };
            let mut loaded = None;
            let mut runs = vec![0u32; schedulers * loads];
            let (mut floors, mut watched) = (0, 0);
            for step in plan.steps() {
                match step {
                    Step::Load { scheduler } => {
                        prop_assert_eq!(loaded, None);
                        loaded = Some(scheduler);
                    }
                    Step::Unload => prop_assert!(loaded.take().is_some()),
                    Step::Run { scheduler, load, manner } => {
                        prop_assert_eq!(loaded, Some(scheduler));
                        match manner {
                            Manner::Plain => runs[scheduler * loads + load] += 1,
                            Manner::Floor => floors += 1,
                            Manner::Watched => watched += 1,
                        }
                    }
                }
            }
            prop_assert_eq!(loaded, None);
            prop_assert!(runs.iter().all(|&times| times == rounds));
            prop_assert_eq!(floors, if floor { loads } else { 0 });
            prop_assert_eq!(watched, if watch { loads * schedulers } else { 0 });
        }
    }
}
