//! Any machine, any load, any faults: the invariants hold, and a rerun is the same run.

use mpg_sim::{run, Shape};
use proptest::prelude::*;

/// A run is some ten thousand checked steps, so fewer cases than usual: seconds in a debug build.
const CASES: u32 = 64;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_on_any_machine_under_any_faults(shape in any::<u64>(), seed in any::<u64>()) {
        let shape = Shape::random(shape);
        if let Err(violation) = run(&shape, seed) {
            return Err(TestCaseError::fail(format!("{violation} in {shape:#?}")));
        }
    }
}

#[test]
fn a_rerun_is_the_same_run_and_another_seed_is_another() {
    for seed in 0..6 {
        let shape = Shape::random(seed);
        let first = run(&shape, seed).expect("the invariants hold");
        assert_eq!(run(&shape, seed).expect("the invariants hold"), first);
        assert_ne!(
            run(&shape, seed + 1).expect("the invariants hold").trace,
            first.trace
        );
    }
}

#[test]
fn random_shapes_reach_every_path() {
    let mut all = mpg_sim::Report::default();
    let mut overflow = 0;
    let mut stolen_in = 0;
    let mut sent_away_or_aged = 0;
    for seed in 0..24 {
        let report = run(&Shape::random(seed), seed).expect("the invariants hold");
        all.direct += report.direct;
        all.leased += report.leased;
        all.preemptions += report.preemptions;
        all.executed += report.executed;
        all.renewed += report.renewed;
        all.refused_stale += report.refused_stale;
        all.refused_affinity += report.refused_affinity;
        all.undecided += report.undecided;
        all.stolen += report.stolen;
        all.dropped += report.dropped;
        for counters in report.processors {
            overflow += counters.overflow;
            stolen_in += counters.stolen_in;
            sent_away_or_aged += counters.by_age + counters.by_turn;
        }
    }
    let reached = [
        all.direct,
        all.leased,
        all.preemptions,
        all.executed,
        all.renewed,
        all.refused_stale,
        all.undecided,
        all.stolen,
        all.dropped,
        overflow,
        stolen_in,
        sent_away_or_aged,
    ];
    assert!(reached.iter().all(|&count| count > 0), "{reached:?}");
}
