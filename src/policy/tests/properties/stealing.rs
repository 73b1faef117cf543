//! Thefts: nothing lost, nothing doubled, nothing where it may not run, nothing without leave.

use mpg_policy::constants::STEAL_MOVES_MAX;
use mpg_policy::{
    clock, fill_steal_after, steal_after_ns, steal_half, Event, Neighbours, NodeView, Params,
    Processor, DEFAULT_POLICY, NEVER, P,
};
use proptest::prelude::*;

use super::memory::Memory;
use super::values::extreme_u64;

const MS: u64 = 1_000_000;
const THIEF: u16 = 1;

/// A processor of `node` with a note for each (vtime, whether it may run on the thief's node).
fn filled<'a>(
    node: u16,
    storage: &'a mut Memory,
    view: &NodeView,
    gs: &[(u64, bool)],
) -> Processor<'a> {
    let mut processor = Processor::new(node, P::new(storage.lend()), DEFAULT_POLICY);
    for (pid, &(vtime, free)) in gs.iter().enumerate() {
        let event = Event {
            at_ns: pid as u64,
            vtime: view.vclock.wrapping_add(vtime),
            allowed_nodes: 1 << node,
            restricted: !free,
            pid: pid as u32,
            weight: 100,
            waiting: true,
            ..Event::default()
        };
        processor.on_event(0, &event, view, &Params::default());
    }
    processor
}

fn pids(processor: &Processor<'_>) -> Vec<u32> {
    processor
        .p()
        .by_age()
        .map(|queued| queued.decision.pid)
        .collect()
}

fn idle(vclock: u64) -> NodeView {
    NodeView {
        vclock,
        idle_cpus: 1,
        cpus: 4,
        ..NodeView::default()
    }
}

proptest! {
    #[test]
    fn a_theft_moves_the_older_half_of_the_movable_and_loses_nothing(
        gs in prop::collection::vec((0..100 * MS, any::<bool>()), 0..200),
        clocks in (extreme_u64(), extreme_u64()),
        room in 0..100usize,
    ) {
        let (victim_view, thief_view) =
            (NodeView { vclock: clocks.0, cpus: 4, ..NodeView::default() }, idle(clocks.1));
        let (mut victims, mut thiefs) = (Memory::of(gs.len()), Memory::of(room));
        let mut victim = filled(0, &mut victims, &victim_view, &gs);
        let mut thief = filled(THIEF, &mut thiefs, &thief_view, &[]);
        let due_in_victim: Vec<_> =
            victim.p().by_age().map(|queued| queued.decision.deadline).collect();

        let moved =
            steal_half(&mut victim, &mut thief, 100 * MS, MS, &victim_view, &thief_view);

        let movable: Vec<_> = (0..gs.len()).filter(|&pid| gs[pid].1).map(|pid| pid as u32).collect();
        let expected = movable.len().div_ceil(2).min(STEAL_MOVES_MAX).min(room);
        prop_assert_eq!(moved, expected);
        prop_assert_eq!(pids(&thief), &movable[..expected]);
        let mut all = [pids(&victim), pids(&thief)].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..gs.len() as u32).collect::<Vec<_>>());
        for queued in thief.p().by_age() {
            prop_assert_eq!(queued.decision.node, THIEF);
            let before = due_in_victim[queued.decision.pid as usize];
            prop_assert_eq!(
                clock::ahead(queued.decision.deadline, thief_view.vclock),
                clock::ahead(before, victim_view.vclock)
            );
        }
        prop_assert_eq!(victim.counters().stolen_out, moved as u64);
        prop_assert_eq!(thief.counters().stolen_in, moved as u64);
    }

    #[test]
    fn no_theft_while_the_thief_has_work_or_no_idle_cpu_or_no_leave(
        gs in prop::collection::vec((0..100 * MS, Just(true)), 1..20),
        (own, primed, custody, idle_cpus) in (0..3usize, 0..3u32, 0..3u32, 0..3u32),
        (waited, after) in (0..3 * MS, prop_oneof![Just(NEVER), 0..3 * MS]),
    ) {
        let victim_view = NodeView { cpus: 4, ..NodeView::default() };
        let thief_view = NodeView { primed, custody, idle_cpus, cpus: 4, vclock: 0 };
        let (mut victims, mut thiefs) = (Memory::of(20), Memory::of(20));
        let mut victim = filled(0, &mut victims, &victim_view, &gs);
        let mut thief = filled(THIEF, &mut thiefs, &thief_view, &vec![(0, true); own]);
        let moved =
            steal_half(&mut victim, &mut thief, waited, after, &victim_view, &thief_view);
        let may = own == 0 && primed + custody == 0 && idle_cpus > 0 && waited >= after;
        prop_assert_eq!(moved > 0, may);
    }

    #[test]
    fn leave_grows_with_distance(base in extreme_u64(), near in 0..255u32, far in 0..255u32) {
        let (near, far) = (near.min(far), near.max(far));
        prop_assert!(steal_after_ns(base, near) <= steal_after_ns(base, far));
        prop_assert_eq!(steal_after_ns(base, 10), base);
    }

    #[test]
    fn the_table_gives_leave_between_nodes_that_are_there_and_no_others(
        nodes in 0..9usize,
        stride in 0..12usize,
        base in 0..10_000 * MS,
    ) {
        let distances: Vec<u32> = (0..nodes * nodes)
            .map(|at| if at / nodes == at % nodes { 10 } else { 11 + at as u32 })
            .collect();
        let mut table = vec![0; stride * stride];
        fill_steal_after(base, &distances, nodes, &mut table, stride);
        for thief in 0..stride {
            for victim in 0..stride {
                let after = table[thief * stride + victim];
                match thief != victim && thief < nodes && victim < nodes {
                    true => prop_assert_eq!(
                        after, steal_after_ns(base, distances[thief * nodes + victim])
                    ),
                    false => prop_assert_eq!(after, NEVER),
                }
            }
        }
    }

    #[test]
    fn neighbours_are_all_the_others_nearest_first(
        nodes in 1..65usize,
        node in 0..64usize,
        distances in prop::collection::vec(10..40u32, 64 * 64),
    ) {
        let node = node % nodes;
        let near: Vec<_> =
            Neighbours::nearest_first(node as u16, &distances, nodes).iter().collect();
        let away = |other: u16| distances[node * nodes + usize::from(other)];
        prop_assert!(near.windows(2).all(|pair| away(pair[0]) <= away(pair[1])));
        let mut sorted = near;
        sorted.sort_unstable();
        let others: Vec<_> = (0..nodes).filter(|&other| other != node).map(|o| o as u16).collect();
        prop_assert_eq!(sorted, others);
    }
}

#[test]
fn a_distance_that_nobody_knows_is_no_leave() {
    let mut table = [0; 4];
    fill_steal_after(MS, &[10, 0, 20, 10], 2, &mut table, 2);
    assert_eq!(table, [NEVER, NEVER, 2 * MS, NEVER]);
}
