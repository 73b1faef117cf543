//! What policies make of events: order, weight, extremes.

use mpg_policy::constants::AHEAD_MAX_NS;
use mpg_policy::{clock, policy_by_name, Class, Event, NodeView, Params, DEFAULT_POLICY, POLICIES};
use proptest::prelude::*;

use super::values::{any_event, any_params, any_view, extreme_u64, valid_params};

#[test]
fn every_policy_is_found_by_its_name() {
    for policy in POLICIES {
        let found = policy_by_name(policy.name()).expect("listed");
        assert_eq!(found.name(), policy.name());
        assert_eq!(
            POLICIES
                .iter()
                .filter(|other| other.name() == policy.name())
                .count(),
            1
        );
        assert!(!policy.about().is_empty());
    }
    assert_eq!(DEFAULT_POLICY.name(), "mpg");
    assert!(policy_by_name("cfs").is_none());
}

proptest! {
    #[test]
    fn more_weight_is_due_no_later(
        event in any_event(),
        view in any_view(),
        params in valid_params(),
        weights in (0..20_000u32, 0..20_000u32),
    ) {
        let (light, heavy) = (weights.0.min(weights.1), weights.0.max(weights.1));
        let due = |weight| {
            DEFAULT_POLICY.judge(0, &Event { weight, ..event }, &view, &params).deadline
        };
        prop_assert!(!clock::before(due(light), due(heavy)));
    }

    #[test]
    fn less_run_time_is_due_no_later(
        event in any_event(),
        view in any_view(),
        params in valid_params(),
        vtime in extreme_u64(),
        more in 0..u64::MAX / 2,
    ) {
        // Near the clock: half the range away, before and after are the same.
        let vtime = view.vclock.wrapping_add(vtime >> 2);
        let due = |vtime| {
            DEFAULT_POLICY.judge(0, &Event { vtime, ..event }, &view, &params).deadline
        };
        prop_assert!(!clock::before(due(vtime.wrapping_add(more >> 2)), due(vtime)));
    }

    #[test]
    fn a_deadline_is_near_the_clock_whatever_the_event_says(
        event in any_event(),
        view in any_view(),
        params in any_params(),
    ) {
        for policy in POLICIES {
            let judged = policy.judge(event.at_ns, &event, &view, &params);
            let ahead = clock::ahead(judged.deadline, view.vclock);
            let offset = judged.deadline_offset as i64;
            let behind = match event.wakeup {
                true => params.sleep_credit_ns.min(1 << 30),
                false => AHEAD_MAX_NS,
            };
            prop_assert!(ahead >= offset - behind as i64);
            prop_assert!(ahead <= AHEAD_MAX_NS as i64 + offset);
            prop_assert!((0..=AHEAD_MAX_NS as i64).contains(&offset));
            prop_assert!(judged.slice_ns > 0);
        }
    }

    #[test]
    fn judgements_keep_to_the_parameters(
        event in any_event(),
        view in any_view(),
        params in valid_params(),
    ) {
        for policy in POLICIES {
            let judged = policy.judge(event.at_ns, &event, &view, &params);
            // A round of slices fits into the bound, unless they are as short as they get.
            let round = u128::from(judged.slice_ns) * u128::from(view.waiting_per_cpu() + 1);
            prop_assert!(
                round <= params.starvation_bound_ns.into()
                    || judged.slice_ns <= params.slice_min_ns
                    || policy.name() == "fifo"
            );
            prop_assert!(judged.slice_ns <= params.starvation_bound_ns);
            prop_assert!(judged.lease <= params.lease);
        }
    }

    #[test]
    fn a_long_sleep_is_worth_the_credit_and_no_more(
        slept in extreme_u64(),
        weight in 1..10_000u32,
        cookie in extreme_u64(),
        view in any_view(),
        params in valid_params(),
    ) {
        for policy in POLICIES {
            let due = |behind: u64| {
                let vtime = view.vclock.wrapping_sub(behind);
                let event = Event { weight, vtime, cookie, wakeup: true, ..Event::default() };
                policy.judge(0, &event, &view, &params).deadline
            };
            let gained = clock::ahead(due(0), due(slept >> 2));
            prop_assert!((0..=params.sleep_credit_ns as i64).contains(&gained));
            // It is worth something, or sleepers would have to queue up behind hogs.
            let whole = weight >= 100 && policy.name() != "fifo";
            prop_assert!(!whole || gained as u64 == (slept >> 2).min(params.sleep_credit_ns));
        }
    }

    #[test]
    fn the_latency_policy_serves_the_shorter_run_first(
        event in any_event(),
        view in any_view(),
        params in valid_params(),
        runs in (0..100_000_000u64, 0..100_000_000u64),
    ) {
        let latency = policy_by_name("latency").expect("listed");
        // A wakeup of a G that has just become known: its only run is what it is known by.
        let known = latency.judge(0, &Event { cookie: 0, ..event }, &view, &params).cookie;
        let judged = |runtime_ns| {
            let slept = Event { runtime_ns, cookie: known, wakeup: true, wakeups: 1, ..event };
            latency.judge(0, &slept, &view, &params)
        };
        let (short, long) = (judged(runs.0.min(runs.1)), judged(runs.0.max(runs.1)));
        prop_assert!(!clock::before(long.deadline, short.deadline));
        let slept = Event { runtime_ns: runs.0, cookie: known, wakeup: true, wakeups: 1, ..event };
        let usual = DEFAULT_POLICY.judge(0, &slept, &view, &params);
        prop_assert!(judged(runs.0).slice_ns <= usual.slice_ns);
        // Nor is it due before its round is over there, or who runs for a moment would be behind it.
        prop_assert!(judged(runs.0).deadline_offset >= usual.deadline_offset);
    }

    #[test]
    fn the_throughput_policy_gives_no_shorter_slice_than_the_default_one(
        event in any_event(),
        view in any_view(),
        params in valid_params(),
    ) {
        let judged = policy_by_name("throughput").expect("listed").judge(0, &event, &view, &params);
        prop_assert!(judged.slice_ns >= mpg_policy::slice_ns(Class::Normal, &view, &params));
        prop_assert_eq!(judged.class, Class::Normal);
    }

    #[test]
    fn fifo_orders_by_arrival(
        vclock in extreme_u64(),
        advances in prop::collection::vec(0..10_000_000u64, 1..50),
        event in any_event(),
    ) {
        let fifo = policy_by_name("fifo").expect("listed");
        let params = Params::default();
        let mut view = NodeView { vclock, ..NodeView::default() };
        let mut last = fifo.judge(0, &event, &view, &params);
        for advance in advances {
            view.vclock = view.vclock.wrapping_add(advance);
            let judged = fifo.judge(0, &event, &view, &params);
            prop_assert!(!clock::before(judged.deadline, last.deadline));
            prop_assert_eq!((judged.lease, judged.cookie), (0, event.cookie));
            last = judged;
        }
    }
}
