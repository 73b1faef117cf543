//! One processor: conservation, marks, age.

use std::collections::BTreeSet;

use mpg_policy::{
    clock, Decision, Event, Neighbours, NodeView, Params, Processor, DEFAULT_POLICY, P, POLICIES,
};
use proptest::prelude::*;

use super::memory::Memory;
use super::values::{any_event, any_params, any_view, valid_params};

const MS: u64 = 1_000_000;

fn processor(storage: &mut Memory) -> Processor<'_> {
    Processor::new(0, P::new(storage.lend()), DEFAULT_POLICY)
}

fn waiting(pid: u32, at_ns: u64, vtime: u64) -> Event {
    Event {
        pid,
        at_ns,
        vtime,
        weight: 100,
        waiting: true,
        wakeup: true,
        ..Event::default()
    }
}

/// A node with room for all decisions at once.
fn roomy() -> NodeView {
    NodeView {
        cpus: 4_096,
        ..NodeView::default()
    }
}

proptest! {
    // Whole queues per case: a quarter of the usual cases takes as long as the other files.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_event_is_decided_noted_or_counted_once(
        capacity in 0..16usize,
        events in prop::collection::vec(any_event(), 0..60),
        view in any_view(),
        params in any_params(),
    ) {
        let mut storage = Memory::of(capacity);
        let mut processor = processor(&mut storage);
        let mut at_once = 0;
        for event in &events {
            if let Some(decision) = processor.on_event(event.at_ns, event, &view, &params) {
                at_once += 1;
                let is = (decision.pid, decision.generation);
                prop_assert_eq!(is, (event.pid, event.generation));
            }
        }
        let counters = *processor.counters();
        prop_assert_eq!(counters.reported + counters.sent_away, at_once);
        prop_assert_eq!(at_once + counters.queued + counters.overflow, events.len() as u64);
        prop_assert!(processor.p().len() <= capacity);
    }

    #[test]
    fn a_decision_goes_to_the_latest_generation_once(
        pids in prop::collection::vec(0..20u32, 0..80),
        capacity in 0..30usize,
        switch_at in 0..80usize,
        params in valid_params(),
    ) {
        let mut storage = Memory::of(capacity);
        let mut processor = processor(&mut storage);
        let mut latest = std::collections::BTreeMap::new();
        for (generation, &pid) in pids.iter().enumerate() {
            if generation == switch_at {
                processor.set_policy(POLICIES[1]);
            }
            let event = Event { generation: generation as u32, ..waiting(pid, 0, 0) };
            let overflows = processor.counters().overflow;
            prop_assert_eq!(processor.on_event(0, &event, &roomy(), &params), None);
            match processor.counters().overflow == overflows {
                true => latest.insert(pid, generation as u32),
                false => latest.remove(&pid),
            };
        }
        let mut decided = Vec::new();
        processor.decide(0, &roomy(), &params, &mut |d| {
            // What was judged before the switch is for the enqueue that waits, and for no other.
            let judged_before = (d.generation as usize) < switch_at && switch_at < pids.len();
            assert!(!judged_before || d.lease == 0, "{d:?}");
            decided.push((d.pid, d.generation));
        });
        decided.sort_unstable();
        prop_assert_eq!(decided, latest.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn no_more_is_handed_over_than_the_marks_allow(
        queued in 0..200u32,
        most in 0..300usize,
        view in any_view(),
        params in valid_params(),
    ) {
        let mut storage = Memory::of(200);
        let mut processor = processor(&mut storage);
        for pid in 0..queued {
            processor.on_event(0, &waiting(pid, 0, 0), &view, &params);
        }
        let mut emitted = 0;
        let handed = processor.decide_up_to(most, 0, &view, &params, &mut |_| emitted += 1);
        prop_assert_eq!(handed, emitted);
        prop_assert_eq!(processor.p().len() + handed, queued as usize);
        let high = u64::from(params.primed_high_per_cpu) * u64::from(view.cpus.max(1));
        let room = high.saturating_sub(view.primed.into()).min(most as u64);
        prop_assert_eq!(handed as u64, room.min(queued.into()));
    }

    #[test]
    fn the_oldest_goes_within_two_once_it_is_overdue(
        vtimes in prop::collection::vec(0..1_000 * MS, 2..60),
        params in valid_params(),
    ) {
        let mut storage = Memory::of(vtimes.len());
        let mut processor = processor(&mut storage);
        for (pid, &vtime) in vtimes.iter().enumerate() {
            processor.on_event(0, &waiting(pid as u32, 0, vtime), &roomy(), &params);
        }
        let one = |processor: &mut Processor<'_>| {
            let mut pid = u32::MAX;
            let now_ns = params.starvation_bound_ns;
            let first = processor.p().first().map(|queued| queued.decision.pid);
            processor.decide_up_to(1, now_ns, &roomy(), &params, &mut |d| pid = d.pid);
            (pid, first == Some(pid))
        };
        while processor.p().len() >= 2 {
            let oldest = processor.p().oldest().expect("not empty").decision.pid;
            let (a, b) = (one(&mut processor), one(&mut processor));
            prop_assert!(a.0 == oldest || b.0 == oldest);
            prop_assert!(a.1 || b.1 || params.oldest_every == 1, "the first due goes too");
        }
    }

    #[test]
    fn the_oldest_has_its_turn(
        newcomers in 1..300u32,
        every in 1..80u32,
        params in valid_params(),
    ) {
        let params = Params { oldest_every: every, ..params };
        let mut storage = Memory::of(2);
        let mut processor = processor(&mut storage);
        // Due after all others, for as long as there are others.
        processor.on_event(0, &waiting(0, 0, 1_000 * MS), &roomy(), &params);
        let mut served_after = None;
        for round in 1..=newcomers {
            processor.on_event(0, &waiting(round, 0, 0), &roomy(), &params);
            let mut decided = 0;
            processor.decide_up_to(1, 0, &roomy(), &params, &mut |d| decided = d.pid);
            if decided == 0 {
                served_after = Some(round);
                break;
            }
        }
        prop_assert_eq!(served_after, (newcomers >= every).then_some(every));
    }

    #[test]
    fn decisions_come_by_deadline_when_nothing_is_overdue(
        vtimes in prop::collection::vec(0..1_000 * MS, 0..60),
    ) {
        let params = Params { oldest_every: u32::MAX, ..Params::default() };
        let mut storage = Memory::of(vtimes.len());
        let mut processor = processor(&mut storage);
        for (pid, &vtime) in vtimes.iter().enumerate() {
            processor.on_event(0, &waiting(pid as u32, 0, vtime), &roomy(), &params);
        }
        let mut decided: Vec<Decision> = Vec::new();
        processor.decide(0, &roomy(), &params, &mut |d| decided.push(d));
        prop_assert!(decided
            .windows(2)
            .all(|pair| !clock::before(pair[1].deadline, pair[0].deadline)));
    }

    #[test]
    fn a_g_that_may_not_run_here_is_sent_where_it_may(
        allowed_nodes in any::<u64>(),
        event in any_event(),
    ) {
        let mut storage = Memory::of(1);
        let mut processor = processor(&mut storage);
        let event = Event { waiting: true, restricted: true, allowed_nodes, ..event };
        let decided = processor.on_event(0, &event, &roomy(), &Params::default());
        match allowed_nodes {
            0 => prop_assert_eq!(decided, None),
            _ if allowed_nodes & 1 == 1 => prop_assert_eq!(decided, None),
            _ => {
                let node = decided.expect("sent away").node;
                prop_assert_eq!(u32::from(node), allowed_nodes.trailing_zeros());
            }
        }
    }
}

#[test]
fn an_event_that_only_reports_ends_the_note_of_an_earlier_enqueue() {
    let mut storage = Memory::of(4);
    let mut processor = processor(&mut storage);
    let params = Params::default();
    processor.on_event(0, &waiting(7, 0, 0), &roomy(), &params);
    let report = Event {
        waiting: false,
        generation: 1,
        ..waiting(7, 0, 0)
    };
    let renewed = processor
        .on_event(0, &report, &roomy(), &params)
        .expect("renewed");
    assert_eq!((renewed.pid, renewed.generation), (7, 1));
    assert!(processor.p().is_empty());
}

#[test]
fn a_g_brought_forward_by_age_is_due_before_all_others_for_the_shortest_slice() {
    let mut storage = Memory::of(4);
    let mut processor = processor(&mut storage);
    let params = Params::default();
    let now_ns = params.starvation_bound_ns;
    // Asleep for ever, and so due as early as any.
    let sleeper = waiting(2, now_ns, 0u64.wrapping_sub(1_000 * MS));
    processor.on_event(0, &waiting(1, 0, 900 * MS), &roomy(), &params);
    processor.on_event(0, &sleeper, &roomy(), &params);
    let mut decided = Vec::new();
    processor.decide(now_ns, &roomy(), &params, &mut |d| decided.push(d));
    let [aged, due] = decided[..] else {
        panic!("two were queued")
    };
    assert_eq!((aged.pid, aged.slice_ns), (1, params.slice_min_ns));
    assert_eq!((due.pid, due.slice_ns), (2, params.slice_ns));
    assert!(clock::before(aged.deadline, due.deadline));
}

#[test]
fn leases_grow_with_what_is_known_of_a_g() {
    let mut storage = Memory::of(4);
    let mut processor = processor(&mut storage);
    let params = Params {
        lease: 1_000,
        ..Params::default()
    };
    let mut event = Event {
        runtime_ns: 5 * MS,
        wakeups: 0,
        wakeup: false,
        ..waiting(1, 0, 0)
    };
    event.waiting = false;
    let mut leases = BTreeSet::new();
    for _ in 0..10 {
        let decision = processor
            .on_event(0, &event, &roomy(), &params)
            .expect("renewed");
        event.cookie = decision.cookie;
        leases.insert(decision.lease);
    }
    assert_eq!(
        leases.into_iter().collect::<Vec<_>>(),
        [32, 64, 128, 256, params.lease]
    );
    let event = Event {
        pid: 2,
        cookie: 0,
        ..event
    };
    let none = Params { lease: 0, ..params };
    assert_eq!(
        processor
            .on_event(0, &event, &roomy(), &none)
            .expect("renewed")
            .lease,
        0
    );
}

#[test]
fn the_nearest_allowed_node_is_taken() {
    let mut storage = Memory::of(1);
    let mut processor = processor(&mut storage);
    // From node 0: node 3 is nearer than 1 and 2.
    let distances = [
        10, 31, 31, 21, 31, 10, 21, 31, 31, 21, 10, 31, 21, 31, 31, 10,
    ];
    processor.set_neighbours(Neighbours::nearest_first(0, &distances, 4));
    let event = Event {
        restricted: true,
        allowed_nodes: 0b1110,
        ..waiting(1, 0, 0)
    };
    let sent = processor
        .on_event(0, &event, &roomy(), &Params::default())
        .expect("sent away");
    assert_eq!(sent.node, 3);
}
