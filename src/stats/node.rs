// SPDX-License-Identifier: GPL-2.0-only
//! What each node tells of itself.

use std::collections::BTreeMap;

use scx_stats_derive::{stat_doc, Stats};
use serde::{Deserialize, Serialize};

use super::class::CLASSES;
use super::ratio;

/// What one node tells at one moment. Counts are since the load.
#[derive(Clone, Debug, Default)]
pub struct NodeSnapshot {
    /// The kernel's id of the node.
    pub id: usize,
    /// Gs noted in the node's P.
    pub queued: u64,
    /// Gs decided and waiting.
    pub primed: u64,
    /// Gs waiting undecided.
    pub custody: u64,
    /// Gs waiting for one CPU of the node and no other.
    pub pinned: u64,
    /// Gs of SCHED_IDLE waiting.
    pub spare: u64,
    /// CPUs with nothing to run.
    pub idle_cpus: u64,
    /// What each CPU does, in rising order of the CPUs; see [`letter`].
    pub cpus: String,
    /// Runs of Gs that came from a queue.
    pub started: u64,
    /// Average wait of the Gs that started, those included that found an idle CPU.
    pub average_wait_ns: u64,
    /// Events written and not read yet.
    pub backlog: u64,
    /// Steps of the worker.
    pub activations: u64,
    /// Decisions that the worker handed over.
    pub decisions: u64,
    /// Decisions of the worker that were refused.
    pub refused: u64,
    /// For how long the G had waited that was due first when sysmon measured last.
    pub due_wait_ns: u64,
    /// Distance to each other node, by the kernel's number of it.
    pub distances: BTreeMap<usize, u32>,
    /// Gs that the worker and the CPUs took from other nodes, by the kernel's number of those; nodes
    /// that none were taken from may be left out.
    pub steals_from: BTreeMap<usize, u64>,
    /// The same by the distance of those.
    pub steals_in: BTreeMap<u32, u64>,
    /// Gs that other nodes took, by the distance of those.
    pub steals_out: BTreeMap<u32, u64>,
    /// How often a CPU was taken from one G for another.
    pub preemptions: u64,
    /// How often the worker was taken for dead.
    pub fallbacks: u64,
    /// The node's virtual clock.
    pub vclock_ns: u64,
    /// CPU time of the worker.
    pub worker_runtime_ns: u64,
    /// The worker's longest step.
    pub longest_step_ns: u64,
    /// Whether the kernel half serves the node without its worker.
    pub fallback: bool,
}

/// One node's part of [`Metrics`].
#[stat_doc]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Stats)]
#[stat(desc = "one NUMA node", _om_prefix = "node_", _om_label = "node")]
pub struct NodeMetrics {
    #[stat(
        desc = "tasks noted in the node's run queue in user space, now",
        _om_gauge
    )]
    pub queued: u64,
    #[stat(desc = "tasks decided and waiting in the kernel half, now", _om_gauge)]
    pub primed: u64,
    #[stat(desc = "tasks waiting undecided in the kernel half, now", _om_gauge)]
    pub custody: u64,
    #[stat(
        desc = "tasks waiting for one CPU of the node and no other, now",
        _om_gauge
    )]
    pub pinned: u64,
    #[stat(desc = "tasks of SCHED_IDLE waiting, now", _om_gauge)]
    pub spare: u64,
    #[stat(desc = "CPUs with nothing to run, now", _om_gauge)]
    pub idle_cpus: u64,
    #[stat(
        desc = "a letter for each CPU: runs a task of class l(atency), n(ormal), b(atch), i: SCHED_IDLE, o: other, .: nothing, x: offline"
    )]
    pub cpus: String,
    #[stat(desc = "tasks that left its queues and ran on its CPUs", _om_counter)]
    pub started: u64,
    #[stat(
        desc = "average wait of the tasks that started, 0 for who found an idle CPU, the last 64 counting most, microseconds, now",
        _om_gauge
    )]
    pub average_wait_us: f64,
    #[stat(desc = "events that the worker has not read yet, now", _om_gauge)]
    pub backlog: u64,
    #[stat(desc = "steps of the worker", _om_counter)]
    pub activations: u64,
    #[stat(desc = "decisions that the worker handed over", _om_counter)]
    pub decisions: u64,
    #[stat(desc = "decisions that the worker hands over in one step")]
    pub decisions_per_activation: f64,
    #[stat(desc = "decisions of the worker refused for any reason", _om_counter)]
    pub refused: u64,
    #[stat(
        desc = "how long the task that is due first has waited, microseconds, now",
        _om_gauge
    )]
    pub due_wait_us: f64,
    #[stat(
        desc = "tasks that the worker and the CPUs took from other nodes' queues",
        _om_counter
    )]
    pub steals_in: u64,
    #[stat(desc = "tasks that other nodes took from its queues", _om_counter)]
    pub steals_out: u64,
    #[stat(desc = "distance to each other node; 10 is local")]
    pub distances: BTreeMap<usize, u32>,
    #[stat(desc = "steals_in by the node that they came from, those that there were")]
    pub steals_from: BTreeMap<usize, u64>,
    #[stat(desc = "steals_in by the distance of the node that they came from; 10 is local")]
    pub steals_in_by_distance: BTreeMap<u32, u64>,
    #[stat(desc = "steals_out by the distance of the node that they went to")]
    pub steals_out_by_distance: BTreeMap<u32, u64>,
    #[stat(
        desc = "times that a CPU was taken from one task for another that was woken",
        _om_counter
    )]
    pub preemptions: u64,
    #[stat(desc = "times that the worker was taken for dead", _om_counter)]
    pub fallbacks: u64,
    #[stat(
        desc = "the node's virtual clock, nanoseconds of a task of nice 0, now",
        _om_gauge
    )]
    pub vclock_ns: u64,
    #[stat(desc = "CPU time of the worker, microseconds", _om_counter)]
    pub worker_us: f64,
    #[stat(
        desc = "the worker's longest step since the load, microseconds",
        _om_gauge
    )]
    pub longest_step_us: f64,
    #[stat(
        desc = "1 while the kernel half serves the node without its worker, now",
        _om_gauge
    )]
    pub fallback: u64,
}

/// What happened on a node from `before` to `now`; from the load if there is no before.
pub fn between(before: Option<&NodeSnapshot>, now: &NodeSnapshot) -> NodeMetrics {
    let since =
        |field: fn(&NodeSnapshot) -> u64| field(now).saturating_sub(before.map_or(0, field));
    let steals_from = now.steals_from.iter().map(|(&node, &count)| {
        let earlier = before.and_then(|before| before.steals_from.get(&node));
        (node, count.saturating_sub(*earlier.unwrap_or(&0)))
    });
    let steals_from = steals_from.filter(|&(_, count)| count > 0).collect();
    let steals = |field: fn(&NodeSnapshot) -> &BTreeMap<u32, u64>| -> BTreeMap<u32, u64> {
        let earlier = |distance| {
            before
                .and_then(|node| field(node).get(distance))
                .unwrap_or(&0)
        };
        let stolen = field(now).iter();
        stolen
            .map(|(distance, &count)| (*distance, count.saturating_sub(*earlier(distance))))
            .collect()
    };
    let steals_in = steals(|node| &node.steals_in);
    let steals_out = steals(|node| &node.steals_out);
    NodeMetrics {
        queued: now.queued,
        primed: now.primed,
        custody: now.custody,
        pinned: now.pinned,
        spare: now.spare,
        idle_cpus: now.idle_cpus,
        cpus: now.cpus.clone(),
        started: since(|node| node.started),
        average_wait_us: now.average_wait_ns as f64 / 1000.0,
        backlog: now.backlog,
        activations: since(|node| node.activations),
        decisions: since(|node| node.decisions),
        decisions_per_activation: ratio(
            since(|node| node.decisions),
            since(|node| node.activations),
        ),
        refused: since(|node| node.refused),
        due_wait_us: now.due_wait_ns as f64 / 1000.0,
        distances: now.distances.clone(),
        steals_from,
        steals_in: steals_in.values().sum(),
        steals_out: steals_out.values().sum(),
        steals_in_by_distance: steals_in,
        steals_out_by_distance: steals_out,
        preemptions: since(|node| node.preemptions),
        fallbacks: since(|node| node.fallbacks),
        vclock_ns: now.vclock_ns,
        worker_us: since(|node| node.worker_runtime_ns) as f64 / 1000.0,
        longest_step_us: now.longest_step_ns as f64 / 1000.0,
        fallback: now.fallback.into(),
    }
}

/// The letters of the classes, in the order of [`CLASSES`].
const LETTERS: [char; CLASSES.len()] = ['l', 'n', 'b', 'i'];

/// The letter of a CPU in [`NodeMetrics::cpus`]: `running` is the class of the G of ours that it runs,
/// if it runs one.
pub fn letter(absent: bool, idle: bool, running: Option<u32>) -> char {
    let class = running.and_then(|class| LETTERS.get(class as usize));
    match (absent, idle, class) {
        (true, ..) => 'x',
        (_, true, _) => '.',
        (.., Some(&class)) => class,
        // A kernel thread, one of scx_mpg, or one of another scheduling class.
        (.., None) => 'o',
    }
}
