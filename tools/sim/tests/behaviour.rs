//! What Gs get from the policy on the simulated machine: shares, waits, classes, nodes.

use mpg_policy::{Class, Params};
use mpg_sim::{run, Faults, GReport, GSpec, Kind, Report, Shape};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const TIMER: Kind = Kind::Timer {
    period_ns: 2 * MS,
    run_ns: 30 * US,
};

fn hog(weight: u32) -> GSpec {
    GSpec {
        weight,
        ..GSpec::of(Kind::Hog)
    }
}

fn ran(shape: &Shape) -> Report {
    run(shape, 1).unwrap_or_else(|violation| panic!("{violation}"))
}

/// The least that any of them got for the most that any of them got.
fn evenness(gs: &[GReport]) -> f64 {
    let least = gs.iter().map(|g| g.ran_ns).min().expect("some");
    let most = gs.iter().map(|g| g.ran_ns).max().expect("some");
    least as f64 / most as f64
}

fn mean_wait_ns(g: &GReport) -> u64 {
    g.waited_ns.checked_div(g.starts).unwrap_or(0)
}

#[test]
fn hogs_share_evenly_with_a_worker_and_without() {
    for dead in [false, true] {
        for hogs in [3, 5, 12, 40] {
            let mut shape = Shape::of(1, 2, vec![hog(100); hogs]);
            shape.faults = Faults {
                dead,
                ..shape.faults
            };
            let evenness = evenness(&ran(&shape).gs);
            assert!(
                evenness > 0.85,
                "{hogs} hogs, worker dead: {dead}: {evenness}"
            );
        }
    }
}

#[test]
fn hogs_share_by_weight() {
    let gs = [vec![hog(100); 4], vec![hog(300); 4]].concat();
    let report = ran(&Shape {
        duration_ns: 3_000 * MS,
        ..Shape::of(1, 2, gs)
    });
    let got = |gs: &[GReport]| gs.iter().map(|g| g.ran_ns).sum::<u64>() as f64;
    let ratio = got(&report.gs[4..]) / got(&report.gs[..4]);
    assert!((2.4..3.4).contains(&ratio), "{ratio}");
}

#[test]
fn the_lightest_among_the_heaviest_waits_no_longer_than_the_bound() {
    for policy in mpg_policy::POLICIES {
        let gs = [vec![hog(10_000); 8], vec![hog(1)]].concat();
        let shape = Shape {
            duration_ns: 3_000 * MS,
            policy: policy.name(),
            ..Shape::of(1, 2, gs)
        };
        let report = ran(&shape);
        let (name, longest) = (policy.name(), report.gs[8].longest_wait_ns);
        // Beyond the bound: the worker's answer, what is primed before it, and the slice that runs.
        let params = shape.params;
        let bound = params.starvation_bound_ns + 4 * params.slice_ns;
        assert!(longest <= bound, "{name}: waited {longest} ns");
        assert!(
            name == "fifo" || report.gs[8].ran_ns < report.gs[0].ran_ns / 4,
            "{name}: and gets no more for it"
        );
    }
}

#[test]
fn a_policy_is_good_at_what_it_is_named_for() {
    let of = |policy: &'static str, gs| {
        let gs = ran(&Shape {
            policy,
            ..Shape::of(1, 2, gs)
        })
        .gs;
        gs.iter().map(|g| g.starts).sum::<u64>()
    };
    let hogs = || vec![hog(100); 4];
    let usual_starts = of("mpg", hogs());
    let few_starts = of("throughput", hogs());
    assert!(
        few_starts < usual_starts / 2,
        "{few_starts} starts, {usual_starts} by mpg"
    );
    // More than two CPUs can do, and nobody that anybody may preempt: it is the order that counts.
    let pieces = |run_ns| {
        GSpec::of(Kind::Timer {
            period_ns: 4 * run_ns,
            run_ns,
        })
    };
    let waits = |policy| {
        let gs = [vec![pieces(MS / 2); 3], vec![pieces(2 * MS); 7]].concat();
        let report = ran(&Shape {
            policy,
            ..Shape::of(1, 2, gs)
        });
        report.gs[..3].iter().map(mean_wait_ns).max().expect("some")
    };
    let (usual_wait_ns, short_wait_ns) = (waits("mpg"), waits("latency"));
    assert!(
        short_wait_ns < usual_wait_ns,
        "{short_wait_ns} ns, {usual_wait_ns} ns by mpg"
    );
}

#[test]
fn timers_among_hogs_are_latency_and_wait_for_nobody() {
    let gs = [vec![hog(100); 8], vec![GSpec::of(TIMER); 2]].concat();
    let report = ran(&Shape::of(2, 2, gs));
    for g in &report.gs[..8] {
        assert_eq!(g.class, Class::Batch);
    }
    for g in &report.gs[8..] {
        assert_eq!(g.class, Class::Latency);
        assert!(mean_wait_ns(g) < 500 * US, "{} ns", mean_wait_ns(g));
    }
    assert!(report.preemptions > 100);
}

#[test]
fn normal_gs_that_are_due_sooner_preempt_hogs() {
    let gs = [vec![hog(100); 8], vec![GSpec::of(Kind::Worker); 2]].concat();
    let report = ran(&Shape::of(1, 4, gs));
    for g in &report.gs[8..] {
        assert_eq!(g.class, Class::Normal);
        assert!(mean_wait_ns(g) < MS, "{} ns", mean_wait_ns(g));
    }
    assert!(report.preemptions > 100, "{}", report.preemptions);
}

#[test]
fn a_servers_workers_are_normal_and_its_messengers_latency() {
    let pair = [Kind::Message { partner: 1 }, Kind::Message { partner: 0 }];
    let gs = pair
        .into_iter()
        .chain([Kind::Worker; 8])
        .map(GSpec::of)
        .collect();
    let report = ran(&Shape::of(1, 4, gs));
    assert!(report.gs[..2].iter().all(|g| g.class == Class::Latency));
    assert!(report.gs[2..].iter().all(|g| g.class == Class::Normal));
}

#[test]
fn leases_keep_an_even_load_from_asking_for_every_enqueue() {
    let gs = vec![GSpec::of(Kind::Worker); 6];
    let report = ran(&Shape::of(1, 4, gs));
    let events: u64 = report
        .processors
        .iter()
        .map(|p| p.queued + p.reported)
        .sum();
    assert!(
        report.leased > 2 * events,
        "{} leased, {events} events",
        report.leased
    );
}

#[test]
fn gs_stay_on_their_node_while_no_other_has_idle_cpus() {
    let gs = vec![GSpec::of(Kind::Hog); 16];
    let report = ran(&Shape::of(2, 2, gs));
    let changes: u64 = report.gs.iter().map(|g| g.node_changes).sum();
    // One each at most, while the first of them found CPUs idle.
    assert!(changes <= 16, "{changes}");
}

#[test]
fn an_idle_node_takes_from_a_busy_one() {
    // All of them begin on the first node, and may then go anywhere.
    let mut gs = vec![
        GSpec {
            cpus: 0b11,
            ..hog(100)
        };
        2
    ];
    gs.extend(vec![GSpec::of(Kind::Worker); 6]);
    let report = ran(&Shape::of(2, 2, gs));
    assert!(report.gs.iter().map(|g| g.node_changes).sum::<u64>() > 0);
    let wait = report.gs[2..].iter().map(mean_wait_ns).max().expect("some");
    assert!(wait < 5 * MS, "{wait} ns");
}

#[test]
fn nodes_that_differ_for_long_are_balanced() {
    // Seven workers of a server on four CPUs: nobody waits for long enough to be stolen, and those
    // on the node that has more get less.
    let shape = Shape {
        duration_ns: 2_000 * MS,
        ..Shape::of(2, 2, vec![GSpec::of(Kind::Worker); 7])
    };
    for seed in 0..8 {
        let report = run(&shape, seed).unwrap_or_else(|violation| panic!("{violation}"));
        let evenness = evenness(&report.gs);
        assert!(evenness > 0.9, "seed {seed}: {evenness}");
    }
}

/// A machine with a hog of each of these weights for each CPU, for ten seconds.
fn hogs_for_each_cpu(nodes: usize, cpus_per_node: usize, weights: &[u32]) -> Shape {
    let cpus = nodes * cpus_per_node;
    let kinds = weights.iter().map(|&weight| vec![hog(weight); cpus]);
    Shape {
        duration_ns: 10_000 * MS,
        ..Shape::of(nodes, cpus_per_node, kinds.collect::<Vec<_>>().concat())
    }
}

#[test]
fn hogs_share_by_weight_wherever_they_were_born() {
    let weights = [100, 33, 11];
    for (nodes, cpus_per_node) in [(2, 2), (2, 4), (4, 2), (3, 3)] {
        let shape = hogs_for_each_cpu(nodes, cpus_per_node, &weights);
        for seed in 0..12 {
            let report = run(&shape, seed).unwrap_or_else(|violation| panic!("{violation}"));
            let got = |gs: &[GReport]| gs.iter().map(|g| g.ran_ns).sum::<u64>() as f64;
            let of_weight = got(&report.gs) / f64::from(weights.iter().sum::<u32>());
            // Most are within a twentieth. Nothing moves in the first half second, and where no G
            // makes nodes more alike they stay as they are.
            for (gs, weight) in report.gs.chunks(nodes * cpus_per_node).zip(weights) {
                let share = got(gs) / (of_weight * f64::from(weight));
                let what = || format!("{nodes} nodes, seed {seed}: weight {weight} has {share}");
                assert!((0.83..1.2).contains(&share), "{}", what());
            }
        }
    }
}

#[test]
fn balance_settles() {
    for weights in [&[100][..], &[100, 100, 100], &[300, 20], &[1, 10_000]] {
        let long = hogs_for_each_cpu(2, 2, weights);
        let short = Shape {
            duration_ns: long.duration_ns / 2,
            ..long.clone()
        };
        for seed in 0..12 {
            let moved = [&short, &long].map(|shape| {
                let report = run(shape, seed).unwrap_or_else(|violation| panic!("{violation}"));
                report.balanced
            });
            assert!(
                moved[1] <= moved[0],
                "{weights:?}, seed {seed}: {moved:?} moved"
            );
        }
    }
}

#[test]
fn every_policy_serves_all() {
    for policy in mpg_policy::POLICIES {
        let gs = [vec![hog(100); 4], vec![GSpec::of(Kind::Worker); 4]].concat();
        let report = ran(&Shape {
            policy: policy.name(),
            ..Shape::of(2, 1, gs)
        });
        assert!(report.gs.iter().all(|g| g.ran_ns > 0), "{}", policy.name());
    }
}

#[test]
fn one_queue_serves_all_nodes_alike_and_moves_gs_about() {
    let of = |policy| {
        ran(&Shape {
            policy,
            duration_ns: 2_000 * MS,
            ..Shape::of(2, 2, vec![GSpec::of(Kind::Worker); 7])
        })
        .gs
    };
    let (one, each) = (of("global"), of("mpg"));
    assert!(evenness(&one) > 0.9, "{}", evenness(&one));
    let moves = |gs: &[GReport]| gs.iter().map(|g| g.node_changes).sum::<u64>();
    assert!(
        moves(&one) > 10 * moves(&each),
        "{} moves, {} with a queue a node",
        moves(&one),
        moves(&each)
    );
}

#[test]
fn a_full_p_and_a_full_ring_leave_gs_to_the_kernel_half() {
    for (p_slots, ring_slots) in [(0, 64), (1, 64), (64, 1)] {
        let mut shape = Shape::of(1, 2, vec![hog(100); 12]);
        shape.faults = Faults {
            p_slots,
            ring_slots,
            ..shape.faults
        };
        shape.params = Params {
            primed_high_per_cpu: 1,
            ..shape.params
        };
        let evenness = evenness(&ran(&shape).gs);
        assert!(
            evenness > 0.8,
            "{p_slots} slots, ring of {ring_slots}: {evenness}"
        );
    }
}
