//! Any machine, any load, any faults: the invariants hold, and a rerun is the same run.

use mpg_policy::Params;
use mpg_sim::{run, Faults, GSpec, Kind, Shape};
use proptest::prelude::*;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

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

/// How often in a starvation bound the kernel half looks for whom it concerns.
const LOOKS: u64 = 8;

prop_compose! {
    /// Hogs of any weight that fill a small machine or a part of it, with slices and a bound so
    /// short that a run holds many of them. Whoever is light among heavy ones would wait for longer
    /// than the run.
    fn crowd()(
        nodes in 1..3usize,
        cpus_per_node in 1..4usize,
        slice_ns in 100 * US..400 * US,
        bound_ns in MS..3 * MS,
        (policy, late_percent, dead) in
            (prop::sample::select(vec!["mpg", "fifo"]), 0..60u64, any::<bool>()),
        (p_slots, ring_slots, doubled_percent) in (0..32usize, 1..64usize, 0..20u64),
        gs in prop::collection::vec(
            (
                prop_oneof![Just(1), Just(100), Just(10_000), 1..10_000u32],
                // Where it may run: anywhere, in one of the nodes, on one of their CPUs.
                prop_oneof![Just(None), (0..2usize, prop::option::of(0..3usize)).prop_map(Some)],
                prop_oneof![3 => Just(Kind::Hog), 1 => Just(Kind::Worker)],
            ),
            2..16,
        ),
    ) -> Shape {
        let cpus_of = |(node, cpu): (usize, Option<usize>)| {
            let cpus = cpu.map_or((1 << cpus_per_node) - 1, |cpu| 1 << (cpu % cpus_per_node));
            cpus << (node * cpus_per_node)
        };
        let gs = gs.into_iter().map(|(weight, place, kind)| GSpec {
            kind,
            weight,
            cpus: place.map_or(u64::MAX, cpus_of),
        });
        let params = Params {
            slice_ns,
            slice_min_ns: slice_ns / 2,
            latency_slice_ns: slice_ns / 2,
            // The longer of the two counts for batch Gs.
            batch_slice_ns: slice_ns,
            starvation_bound_ns: bound_ns,
            ..Params::default()
        };
        params.validate().expect("drawn from the ranges");
        Shape {
            params,
            policy,
            faults: Faults {
                late_percent,
                dead,
                doubled_percent,
                ring_slots,
                p_slots,
                ..Faults::default()
            },
            duration_ns: 60 * MS,
            ..Shape::of(nodes, cpus_per_node, gs.collect())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16 * CASES, ..ProptestConfig::default() })]

    /// I6. A CPU helps whoever waits longest beyond the bound, two slices after it helped last, and
    /// is free to do so a slice later at most: so a G waits for its turn among all others.
    #[test]
    fn no_g_waits_beyond_the_bound_and_its_turn(shape in crowd(), seed in any::<u64>()) {
        let report = run(&shape, seed).map_err(|it| TestCaseError::fail(it.to_string()))?;
        let Params { slice_ns, starvation_bound_ns, .. } = shape.params;
        let turns_ns = 3 * slice_ns * (shape.gs.len() as u64 + 1);
        let longest_ns = starvation_bound_ns + starvation_bound_ns / LOOKS + turns_ns;
        for (g, got) in report.gs.iter().enumerate() {
            prop_assert!(
                got.longest_wait_ns <= longest_ns,
                "G {} waited for {} of {} ns in {:#?}", g, got.longest_wait_ns, longest_ns, shape
            );
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
    for seed in 0..48 {
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
        all.refused_affinity,
        all.undecided,
        all.stolen,
        all.dropped,
        overflow,
        stolen_in,
        sent_away_or_aged,
    ];
    assert!(reached.iter().all(|&count| count > 0), "{reached:?}");
}
