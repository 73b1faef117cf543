//! Whoever abuses a class has it no longer than stated, on the whole way from the CPU to the policy and back.

use mpg_policy::{Class, Params};
use mpg_sim::{run, GSpec, Kind, Shape};
use proptest::prelude::*;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
/// From the call of a worker to its step, at most.
const ANSWER_NS: u64 = 200 * US;
/// A run is some ten thousand checked steps, so fewer cases than usual: seconds in a debug build.
const CASES: u32 = 32;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    /// A whole latency slice is what gives it away. An event tells of that and calls the worker once it
    /// is due; until the answer is there, a CPU that waits for nobody may have taken the G once more.
    #[test]
    fn a_timer_that_turns_into_a_hog_is_latency_for_a_slice_and_until_the_answer(
        cpus in 1..4usize,
        hogs_per_cpu in 1..4usize,
        from_ms in 100..150u64,
        latency_slice_us in 200..1_000u64,
        batch_us in 0..1_000u64,
        seed in any::<u64>(),
    ) {
        let mut gs = vec![GSpec::of(Kind::Hog); cpus * hogs_per_cpu];
        gs.push(GSpec::of(Kind::Abuser { from_ns: from_ms * MS }));
        let latency_slice_ns = latency_slice_us * US;
        let params = Params {
            latency_slice_ns,
            batch_events: 1,
            batch_ns: batch_us * US,
            ..Params::default()
        };
        prop_assert_eq!(params.validate(), Ok(()));
        let shape = Shape { params, duration_ns: 300 * MS, ..Shape::of(1, cpus, gs) };
        let report = run(&shape, seed).map_err(|violation| TestCaseError::fail(violation.to_string()))?;
        let abuser = report.gs[cpus * hogs_per_cpu];
        prop_assert_eq!(abuser.class, Class::Batch, "in the end");
        prop_assert!(abuser.longest_latency_run_ns >= latency_slice_ns, "it had the class");
        let bound_ns = 2 * latency_slice_ns + ANSWER_NS;
        prop_assert!(
            abuser.longest_latency_run_ns <= bound_ns,
            "{} ns, with slices of {latency_slice_ns} ns",
            abuser.longest_latency_run_ns
        );
    }
}
