//! What the other files draw their cases from.

use mpg_policy::{Class, Decision, Event, NodeView, Params, Queued, PARAMS};
use proptest::prelude::*;

/// Anything that fits in the type, with its ends far more often than chance has it.
pub fn extreme_u64() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::MAX - 1),
        Just(i64::MAX as u64),
        Just(1 << 63),
        any::<u64>(),
        0..10_000_000_000u64,
    ]
}

pub fn extreme_u32() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(u32::MAX), any::<u32>(), 0..10_000u32]
}

pub fn any_class() -> impl Strategy<Value = Class> {
    prop::sample::select(Class::ALL.to_vec())
}

prop_compose! {
    pub fn any_event()(
        (at_ns, vtime, runtime_ns, cookie, allowed_nodes) in
            (extreme_u64(), extreme_u64(), extreme_u64(), extreme_u64(), extreme_u64()),
        (pid, generation, wakeups, weight) in
            (extreme_u32(), extreme_u32(), extreme_u32(), extreme_u32()),
        (cpu, node) in (any::<u16>(), any::<u16>()),
        (waiting, wakeup, restricted, batch) in any::<(bool, bool, bool, bool)>(),
        (class, rule) in (any_class(), prop::option::of(any_class())),
    ) -> Event {
        Event {
            at_ns, vtime, runtime_ns, cookie, allowed_nodes, pid, generation, wakeups, weight,
            cpu, node, waiting, wakeup, restricted, batch, class, rule,
        }
    }
}

prop_compose! {
    pub fn any_view()(
        vclock in extreme_u64(),
        primed in extreme_u32(),
        custody in extreme_u32(),
        idle_cpus in extreme_u32(),
        cpus in extreme_u32(),
    ) -> NodeView {
        NodeView { vclock, primed, custody, idle_cpus, cpus }
    }
}

/// Parameters that pass validation, at their ends more often than not.
pub fn valid_params() -> impl Strategy<Value = Params> {
    let fields: Vec<_> = PARAMS
        .iter()
        .map(|info| prop_oneof![Just(info.low), Just(info.high), info.low..=info.high])
        .collect();
    fields.prop_map(|values| {
        let mut params = Params::default();
        for (info, value) in PARAMS.iter().zip(values) {
            (info.set)(&mut params, value);
        }
        params.slice_ns = params.slice_ns.min(params.starvation_bound_ns);
        params.slice_min_ns = params.slice_min_ns.min(params.slice_ns);
        params.latency_slice_ns = params.latency_slice_ns.min(params.slice_ns);
        params.validate().expect("made to be valid");
        params
    })
}

/// Parameters that nobody validated.
pub fn any_params() -> impl Strategy<Value = Params> {
    prop::collection::vec(extreme_u64(), PARAMS.len()).prop_map(|values| {
        let mut params = Params::default();
        for (info, value) in PARAMS.iter().zip(values) {
            (info.set)(&mut params, value);
        }
        params
    })
}

pub fn note(pid: u32, deadline: u64, at_ns: u64, allowed_nodes: u64) -> Queued {
    Queued {
        decision: Decision {
            pid,
            deadline,
            ..Decision::default()
        },
        at_ns,
        allowed_nodes,
    }
}
