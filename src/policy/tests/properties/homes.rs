//! Where memory is thought to be, and when that makes a home.

use mpg_policy::constants::{
    MEMORY_AWAY_NS, MEMORY_ENTER_PARTS, MEMORY_FLIP_AFTER_NS, MEMORY_KEPT_OUT_NS,
    MEMORY_LEAVE_PARTS, MEMORY_LOOK_EVERY_NS, MEMORY_LOOK_MAX_NS, MEMORY_PARTS,
};
use mpg_policy::{Displaced, Evidence, Looks, MemoryHome};
use proptest::prelude::*;

use super::values::extreme_u64;

const FROM: u64 = 1024;

fn seen(pages: &[u64]) -> Evidence {
    let mut evidence = Evidence::default();
    evidence.saw_touched(pages, pages.iter().sum());
    evidence
}

/// Pages on four nodes, as much as fits in any machine.
fn any_pages() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![Just(0), 1..64u64, 0..1u64 << 40], 4)
}

proptest! {
    #[test]
    fn an_estimate_is_never_larger_than_the_memory(
        steps in prop::collection::vec((prop::collection::vec(extreme_u64(), 0..80), extreme_u64()), 1..8),
    ) {
        let mut evidence = Evidence::default();
        for (touched, resident) in steps {
            evidence.saw_touched(&touched, resident);
            if resident > 0 {
                prop_assert!(evidence.total() <= resident);
            }
            prop_assert!(evidence.resident() >= evidence.total());
        }
    }

    #[test]
    fn new_pages_count_in_full_while_there_is_room_for_them(
        old in any_pages(),
        new in any_pages(),
    ) {
        let resident = old.iter().sum::<u64>().max(new.iter().sum());
        prop_assume!(resident > 0);
        let mut evidence = seen(&old);
        evidence.saw_touched(&new, resident);
        for (node, &new) in new.iter().enumerate() {
            prop_assert!(evidence.on(node) >= new);
            prop_assert!(evidence.on(node) <= new + old[node]);
        }
    }

    #[test]
    fn memory_that_is_replaced_is_forgotten(old in any_pages(), new in any_pages()) {
        let resident: u64 = new.iter().sum();
        prop_assume!(resident > 0);
        let mut evidence = seen(&old);
        evidence.saw_touched(&new, resident);
        prop_assert_eq!((0..4).map(|node| evidence.on(node)).collect::<Vec<_>>(), new);
    }

    #[test]
    fn a_home_has_a_clear_majority_of_enough_memory(pages in any_pages(), from in 1..1u64 << 30) {
        let total: u128 = pages.iter().map(|&pages| u128::from(pages)).sum();
        match seen(&pages).verdict(from) {
            Some(node) => {
                let there = u128::from(pages[usize::from(node)]);
                prop_assert!(total >= from.into());
                prop_assert!(there * u128::from(MEMORY_PARTS) >= total * u128::from(MEMORY_ENTER_PARTS));
            }
            None => {
                let enough = total >= from.into();
                let clear = pages.iter().any(|&pages| {
                    u128::from(pages) * u128::from(MEMORY_PARTS) >= total * u128::from(MEMORY_ENTER_PARTS)
                });
                prop_assert!(!(enough && clear));
            }
        }
    }

    #[test]
    fn memory_that_nobody_accounted_for_makes_no_home(touched in 0..FROM, more in 1..1u64 << 40) {
        let mut evidence = Evidence::default();
        evidence.saw_touched(&[touched], 2 * touched + more);
        prop_assert_eq!(evidence.verdict(1), None);
        prop_assert!(evidence.is_doubtful());
    }

    #[test]
    fn an_even_spread_has_no_home(pages in 1..1u64 << 40, nodes in 2..=64usize) {
        prop_assert_eq!(seen(&vec![pages; nodes]).verdict(1), None);
    }

    #[test]
    fn a_home_changes_only_after_the_evidence_has_held(
        steps in prop::collection::vec((any_pages(), 1..MEMORY_FLIP_AFTER_NS), 1..40),
    ) {
        let mut home = MemoryHome::default();
        let (mut now_ns, mut against) = (0, None);
        for (pages, after_ns) in steps {
            now_ns += after_ns;
            let evidence = seen(&pages);
            let (before, verdict) = (home.node(), evidence.verdict(FROM));
            let changed = home.judge(now_ns, &evidence, FROM);
            prop_assert_eq!(changed, home.node() != before);
            // Since when the same other verdict has been given without a break.
            against = match (before, against) {
                (Some(_), _) if verdict == before => None,
                (Some(_), Some((wanted, since_ns))) if wanted == verdict => Some((wanted, since_ns)),
                _ => Some((verdict, now_ns)),
            };
            match (before, home.node()) {
                (Some(_), after) if changed => {
                    prop_assert_eq!(after, verdict);
                    let held_ns = against.map_or(0, |(_, since_ns)| now_ns - since_ns);
                    prop_assert!(held_ns >= MEMORY_FLIP_AFTER_NS);
                }
                (None, after) => prop_assert_eq!(after, verdict),
                _ => (),
            }
            if changed {
                against = None;
            }
        }
    }

    #[test]
    fn a_home_is_kept_while_it_has_half_of_the_memory(mine in FROM..1u64 << 40, other in 0..1u64 << 40) {
        prop_assume!(mine * MEMORY_PARTS >= (mine + other) * MEMORY_LEAVE_PARTS);
        let mut home = MemoryHome::default();
        prop_assert!(home.judge(0, &seen(&[mine]), FROM));
        for second in 0..10 {
            prop_assert!(!home.judge(second * MEMORY_FLIP_AFTER_NS, &seen(&[mine, other]), FROM));
        }
        prop_assert_eq!(home.node(), Some(0));
    }

    #[test]
    fn looks_keep_their_distance(
        steps in prop::collection::vec((0..2 * MEMORY_LOOK_EVERY_NS, any::<bool>()), 1..60),
    ) {
        let mut looks = Looks::default();
        let evidence = seen(&[2 * FROM]);
        let (mut now_ns, mut last_ns) = (0, None::<u64>);
        for (after_ns, was_news) in steps {
            now_ns += after_ns;
            let due = looks.is_due(now_ns, &evidence, FROM);
            if let Some(last_ns) = last_ns {
                prop_assert!(!due || now_ns - last_ns >= MEMORY_LOOK_EVERY_NS);
                prop_assert!(due || now_ns - last_ns < MEMORY_LOOK_MAX_NS);
            }
            if due {
                looks.looked(now_ns, was_news);
                last_ns = Some(now_ns);
            }
        }
    }

    #[test]
    fn memory_follows_only_where_its_tasks_may_be_and_have_been_for_long(
        home in 0..4u16,
        steps in prop::collection::vec(
            (1..MEMORY_KEPT_OUT_NS, 0..16u64, prop::option::of(0..4u16)),
            1..60,
        ),
    ) {
        let mut displaced = Displaced::default();
        let (mut now_ns, mut at_home_ns) = (0, 0);
        for (after_ns, allowed, together) in steps {
            now_ns += after_ns;
            if together == Some(home) && allowed & (1 << home) != 0 && allowed.count_ones() > 1 {
                at_home_ns = now_ns;
            }
            if let Some(to) = displaced.judge(now_ns, home, allowed, together) {
                prop_assert!(to != home && allowed & (1 << to) != 0);
                let kept_out = allowed & (1 << home) == 0;
                let patience_ns = if kept_out { MEMORY_KEPT_OUT_NS } else { MEMORY_AWAY_NS };
                prop_assert!(now_ns - at_home_ns >= patience_ns.min(now_ns));
                at_home_ns = now_ns;
            }
        }
    }

    #[test]
    fn what_is_small_or_certain_is_not_looked_at(pages in any_pages()) {
        let looks = Looks::default();
        prop_assert!(!looks.is_due(0, &seen(&[FROM - 1]), FROM));
        let mut evidence = seen(&pages);
        evidence.saw_pages(&pages);
        prop_assert!(!looks.is_due(0, &evidence, FROM));
    }
}

#[test]
fn memory_follows_those_that_are_kept_out() {
    let mut displaced = Displaced::default();
    let (kept_out, free) = (0b10, 0b11);
    assert_eq!(displaced.judge(1, 0, kept_out, Some(0)), None);
    assert_eq!(
        displaced.judge(MEMORY_KEPT_OUT_NS, 0, kept_out, Some(1)),
        None
    );
    // Let go for a moment, it begins anew.
    assert_eq!(displaced.judge(MEMORY_KEPT_OUT_NS, 0, free, Some(0)), None);
    assert_eq!(
        displaced.judge(MEMORY_KEPT_OUT_NS + 1, 0, kept_out, None),
        None
    );
    assert_eq!(
        displaced.judge(2 * MEMORY_KEPT_OUT_NS + 1, 0, kept_out, None),
        Some(1)
    );
    assert_eq!(displaced.judge(MEMORY_AWAY_NS, 0, free, Some(1)), None);
    assert_eq!(
        displaced.judge(2 * MEMORY_AWAY_NS - 1, 0, free, Some(1)),
        None
    );
    assert_eq!(
        displaced.judge(2 * MEMORY_AWAY_NS, 0, free, Some(1)),
        Some(1)
    );
    // One whose threads are spread has no place for its memory to follow to.
    assert_eq!(displaced.judge(9 * MEMORY_AWAY_NS, 0, free, None), None);
}

#[test]
fn a_process_that_moves_to_another_node_gets_a_new_home_after_a_while() {
    let mut evidence = seen(&[3000]);
    let mut home = MemoryHome::default();
    assert!(home.judge(0, &evidence, FROM));
    evidence.saw_touched(&[0, 2500], 3000);
    assert_eq!((evidence.on(0), evidence.on(1)), (500, 2500));
    assert!(!home.judge(1, &evidence, FROM));
    assert!(!home.judge(MEMORY_FLIP_AFTER_NS, &evidence, FROM));
    assert_eq!(home.node(), Some(0));
    assert!(home.judge(MEMORY_FLIP_AFTER_NS + 1, &evidence, FROM));
    assert_eq!(home.node(), Some(1));
}
