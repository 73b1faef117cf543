//! Gs as they are met in practice, and what the policy takes them for.

use mpg_policy::{Behaviour, Class, Event, Params};
use proptest::prelude::*;

use super::values::{any_event, any_params, valid_params};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// A G whose events are judged one after the other, each with the cookie of the one before.
struct G {
    cookie: u64,
    weight: u32,
    class: Class,
    settled: bool,
    latency_slice_ns: u64,
    rule: Option<Class>,
    at_ns: u64,
}

impl G {
    fn new() -> Self {
        G::of_weight(100)
    }

    fn of_weight(weight: u32) -> Self {
        let latency_slice_ns = Params::default().latency_slice_ns;
        let mut g = G {
            cookie: 0,
            weight,
            class: Class::Batch,
            settled: true,
            latency_slice_ns,
            rule: None,
            at_ns: 0,
        };
        g.event(0, 1, true);
        g
    }

    fn event(&mut self, runtime_ns: u64, wakeups: u32, wakeup: bool) -> Class {
        let event = Event {
            runtime_ns,
            wakeups,
            wakeup,
            weight: self.weight,
            cookie: self.cookie,
            at_ns: self.at_ns,
            rule: self.rule,
            ..Event::default()
        };
        let known = Behaviour::after(&event, self.latency_slice_ns);
        self.cookie = known.behaviour.pack();
        self.class = known.behaviour.class;
        self.settled = known.settled;
        self.class
    }

    /// Slept, and ran for this long before.
    fn slept(&mut self, ran_ns: u64) -> Class {
        self.event(ran_ns, 1, true)
    }

    /// Used up a slice of this length.
    fn expired(&mut self, slice_ns: u64) -> Class {
        self.event(slice_ns, 0, false)
    }
}

fn timer() -> G {
    let mut g = G::new();
    (0..8).for_each(|_| _ = g.slept(30 * US));
    assert_eq!(g.class, Class::Latency);
    g
}

fn hog() -> G {
    let mut g = G::new();
    (0..8).for_each(|_| _ = g.expired(5 * MS));
    assert_eq!(g.class, Class::Batch);
    g
}

#[test]
fn a_g_that_nobody_knows_is_normal_and_unsettled() {
    let g = G::new();
    assert_eq!((g.class, g.settled), (Class::Normal, false));
}

#[test]
fn another_policys_cookie_is_as_good_as_none() {
    assert_eq!(Behaviour::unpack(0), None);
    assert_eq!(Behaviour::unpack(1), None);
    assert_eq!(Behaviour::unpack(u64::MAX), None);
}

#[test]
fn a_hog_is_batch_after_two_slices_whatever_their_length() {
    let mut g = G::new();
    assert_eq!(g.expired(5 * MS), Class::Normal);
    assert_eq!(g.expired(5 * MS), Class::Batch);
    let mut g = G::new();
    (0..9).for_each(|_| assert_eq!(g.expired(MS), Class::Normal));
    assert_eq!(g.expired(MS), Class::Batch);
}

#[test]
fn a_hog_that_is_preempted_often_is_still_a_hog() {
    let mut g = hog();
    (0..100).for_each(|_| assert_eq!(g.expired(50 * US), Class::Batch));
}

#[test]
fn a_timer_is_latency_after_four_wakeups() {
    let mut g = G::new();
    (0..3).for_each(|_| assert_eq!(g.slept(30 * US), Class::Normal));
    assert_eq!(g.slept(30 * US), Class::Latency);
    assert!(!g.settled);
    (0..4).for_each(|_| _ = g.slept(30 * US));
    assert!(g.settled);
}

#[test]
fn a_message_thread_seen_once_for_many_wakeups_is_latency() {
    let mut g = G::new();
    assert_eq!(g.event(20 * 15 * US, 20, true), Class::Latency);
}

#[test]
fn a_timer_with_one_hiccup_stays_latency() {
    let mut g = timer();
    assert_eq!(g.slept(300 * US), Class::Latency);
    (0..20).for_each(|_| assert_eq!(g.slept(30 * US), Class::Latency));
}

#[test]
fn a_timer_that_is_preempted_stays_latency() {
    let mut g = timer();
    assert_eq!(g.expired(20 * US), Class::Latency);
    assert_eq!(g.slept(10 * US), Class::Latency);
}

#[test]
fn a_worker_that_computes_under_a_lock_is_normal_throughout() {
    let mut g = G::new();
    for round in 0..200 {
        assert_eq!(g.slept((250 + 97 * (round % 7)) * US), Class::Normal);
    }
    assert!(g.settled);
    assert_eq!(g.expired(MS), Class::Normal);
}

#[test]
fn an_abuser_loses_latency_at_once_and_for_ten_wakeups() {
    for long_run in [
        |g: &mut G| g.expired(g.latency_slice_ns),
        |g: &mut G| g.slept(g.latency_slice_ns),
    ] {
        let mut g = timer();
        assert_eq!(long_run(&mut g), Class::Normal);
        (0..9).for_each(|_| assert_eq!(g.slept(0), Class::Normal));
        assert_eq!(g.slept(0), Class::Latency);
    }
}

#[test]
fn an_abuser_is_caught_between_short_wakeups_too() {
    // Three short wakeups, then a whole latency slice that goes on.
    let mut g = timer();
    let all_ns = 3 * 30 * US + g.latency_slice_ns;
    assert_eq!(g.event(all_ns, 3, false), Class::Normal);
}

#[test]
fn an_abuser_that_stays_under_the_slice_is_not_latency_for_long() {
    let mut g = timer();
    let nearly_ns = g.latency_slice_ns - US;
    assert!((0..2).any(|_| g.slept(nearly_ns) != Class::Latency));
    (0..50).for_each(|_| assert_eq!(g.slept(nearly_ns), Class::Normal));
}

#[test]
fn a_g_that_needs_more_than_the_latency_slice_never_gets_it() {
    let mut g = G::new();
    g.latency_slice_ns = 50 * US;
    (0..50).for_each(|_| assert_eq!(g.slept(60 * US), Class::Normal));
}

#[test]
fn a_hog_that_turns_into_a_timer_is_known_within_30_wakeups() {
    let mut g = hog();
    assert!((0..30).any(|_| g.slept(30 * US) == Class::Latency));
    let mut g = hog();
    g.event(4 * 30 * US, 4, true);
    assert_eq!(g.event(4 * 30 * US, 4, true), Class::Latency);
}

#[test]
fn a_g_of_low_weight_is_never_latency_and_soon_batch() {
    let mut g = G::of_weight(15);
    (0..50).for_each(|_| assert_eq!(g.slept(30 * US), Class::Normal));
    assert_eq!(g.expired(MS), Class::Batch);
}

#[test]
fn nothing_flaps_at_the_edges() {
    for edge_ns in [100 * US, 200 * US, 5 * MS, 10 * MS] {
        let mut g = G::new();
        let mut changes = 0;
        for round in 0..1_000u64 {
            let before = g.class;
            g.slept(edge_ns + edge_ns / 10 - (round * 7_919 % 21) * edge_ns / 100);
            changes += u32::from(g.class != before);
        }
        assert!(changes <= 2, "{changes} changes at {edge_ns} ns");
    }
}

#[test]
fn sched_batch_is_never_latency_and_soon_batch() {
    let mut cookie = 0;
    let mut judged = |runtime_ns, wakeup| {
        let event = Event {
            runtime_ns,
            wakeup,
            wakeups: u32::from(wakeup),
            weight: 100,
            batch: true,
            cookie,
            ..Event::default()
        };
        let known = Behaviour::after(&event, MS).behaviour;
        cookie = known.pack();
        known.class
    };
    (0..50).for_each(|_| assert_eq!(judged(30 * US, true), Class::Normal));
    assert_eq!(judged(MS, false), Class::Batch);
}

/// For how long a rule for latency is lost by abuse.
const RULE_LOST: std::ops::RangeInclusive<u64> = 1_000 * MS..=2_200 * MS;

proptest! {
    #[test]
    fn a_rule_fixes_normal_and_batch(
        rule in prop::sample::select(vec![Class::Normal, Class::Batch]),
        event in any_event(),
        params in any_params(),
    ) {
        let ruled = Event { rule: Some(rule), ..event };
        let known = Behaviour::after(&ruled, params.latency_slice_ns).behaviour;
        prop_assert_eq!(known.class, rule);
    }

    #[test]
    fn a_rule_for_latency_is_lost_by_abuse_for_the_stated_time(
        start_ns in 0..u64::MAX / 2,
        hiccups in 0..3u32,
    ) {
        let mut g = G::new();
        g.rule = Some(Class::Latency);
        g.at_ns = start_ns;
        prop_assert_eq!(g.slept(30 * US), Class::Latency);
        // Fewer in a row than three are forgiven, as often as they come.
        for _ in 0..20 {
            (0..hiccups).for_each(|_| _ = g.expired(g.latency_slice_ns));
            prop_assert_eq!(g.slept(30 * US), Class::Latency);
            prop_assert_eq!(g.slept(30 * US), Class::Latency);
        }
        (0..3).for_each(|_| _ = g.expired(g.latency_slice_ns));
        let lost_ns = g.at_ns;
        // However well it behaves from here on.
        while g.class != Class::Latency {
            g.at_ns += 7 * MS;
            g.slept(30 * US);
            prop_assert!(g.at_ns - lost_ns <= *RULE_LOST.end(), "not given back");
        }
        prop_assert!(RULE_LOST.contains(&(g.at_ns - lost_ns)), "{}", g.at_ns - lost_ns);
    }

    #[test]
    fn cookies_keep_what_they_are_given(event in any_event(), params in any_params()) {
        let known = Behaviour::after(&event, params.latency_slice_ns).behaviour;
        let kept = Behaviour::unpack(known.pack()).expect("its own cookie");
        prop_assert_eq!(kept.pack(), known.pack());
        prop_assert_eq!(
            (kept.class, kept.streak, kept.settled, kept.sampled),
            (known.class, known.streak, known.settled, known.sampled)
        );
        prop_assert!(known.average_ns - kept.average_ns < 64);
        prop_assert!(known.spree_ns - kept.spree_ns < 64);
    }

    #[test]
    fn no_g_is_latency_after_a_whole_latency_slice(
        params in valid_params(),
        runs in prop::collection::vec(0..200 * US, 0..30),
        over in 0..10 * MS,
        wakeup in any::<bool>(),
    ) {
        let mut g = G::new();
        g.latency_slice_ns = params.latency_slice_ns;
        runs.into_iter().for_each(|ran| _ = g.slept(ran));
        let class = g.event(params.latency_slice_ns + over, u32::from(wakeup), wakeup);
        prop_assert_ne!(class, Class::Latency);
    }

    #[test]
    fn more_weight_is_never_a_later_class(
        weights in (1..300u32, 1..300u32),
        events in prop::collection::vec((0..15 * MS, 0..5u32, any::<bool>()), 1..40),
    ) {
        let (light, heavy) = (weights.0.min(weights.1), weights.0.max(weights.1));
        let (mut light, mut heavy) = (G::of_weight(light), G::of_weight(heavy));
        for (runtime_ns, wakeups, wakeup) in events {
            light.event(runtime_ns, wakeups, wakeup);
            // From the same history, hence from the same cookie.
            heavy.event(runtime_ns, wakeups, wakeup);
            prop_assert!(heavy.class <= light.class);
            heavy.cookie = light.cookie;
        }
    }
}
