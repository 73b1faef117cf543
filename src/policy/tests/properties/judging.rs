//! What policies make of events: order, weight, extremes.

use mpg_policy::constants::AHEAD_MAX_NS;
use mpg_policy::{clock, policy_by_name, Event, NodeView, Params, DEFAULT_POLICY, POLICIES};
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
            prop_assert!(ahead >= offset - params.sleep_credit_ns.min(1 << 30) as i64);
            prop_assert!(ahead <= AHEAD_MAX_NS as i64 + offset);
            prop_assert!((0..=AHEAD_MAX_NS as i64).contains(&offset));
            prop_assert!(judged.slice_ns > 0);
        }
    }

    #[test]
    fn a_long_sleep_is_worth_the_credit_and_no_more(
        slept in 0..10_000_000_000u64,
        view in any_view(),
        params in valid_params(),
    ) {
        let due = |behind: u64| {
            let event = Event {
                weight: 100,
                vtime: view.vclock.wrapping_sub(behind),
                ..Event::default()
            };
            DEFAULT_POLICY.judge(0, &event, &view, &params).deadline
        };
        let gained = clock::ahead(due(0), due(slept));
        prop_assert_eq!(gained as u64, slept.min(params.sleep_credit_ns));
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
