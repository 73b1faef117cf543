// SPDX-License-Identifier: GPL-2.0-only
//! What the scheduler tells about itself: every counter named once and described once, here.
//!
//! The bridge takes a [`Snapshot`]; [`Metrics`] are what two snapshots tell together. They are
//! served as JSON on the socket that all sched_ext schedulers use, so the field's tools read them,
//! and printed by [`monitor`](monitor()) from another process or by [`report`] from this one.

mod class;
mod format;
mod histogram;
mod monitor;
mod node;
#[cfg(test)]
pub mod tests;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use scx_stats::prelude::*;
use scx_stats_derive::{stat_doc, Stats};
use scx_utils::paste;
use serde::{Deserialize, Serialize};

use crate::bpf_intf::{self, mpg_limits_MPG_LIFE_UNIT_SHIFT as LIFE_UNIT_SHIFT};
use crate::health::{Alert, Standing};
use crate::memory::Tally;
use crate::settings::Settings;

pub use class::{ClassMetrics, ClassSnapshot, CLASSES};
pub use histogram::Histogram;
pub use monitor::{monitor, pause, print_once, report, MonitorError, Watcher};
pub use node::{letter, NodeMetrics, NodeSnapshot};

/// Where the statistics are served.
pub const SOCKET_PATH: &str = "/var/run/scx/root/stats";

/// Takes a snapshot; may be called from any thread, at any time.
pub type Reader = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// What the scheduler tells at one moment. Counts are since the load.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Time since the load.
    pub uptime: Duration,
    /// Sums over all CPUs, indexed by `enum mpg_counter`.
    pub counters: Vec<u64>,
    /// The nodes.
    pub nodes: Vec<NodeSnapshot>,
    /// The classes, indexed by `enum mpg_class`.
    pub classes: Vec<ClassSnapshot>,
    /// How long the Gs lived that exited, in the wire's units.
    pub lifetimes: Histogram,
    /// Gs that entered and neither started, nor left, nor wait; see [`lost`].
    pub lost: i64,
    /// What was found out about memory.
    pub memory: Tally,
    /// What is wrong.
    pub alerts: Standing,
    /// What it runs with.
    pub settings: Settings,
}

/// Declares [`Metrics`]: the counters of `enum mpg_counter`, each with its only description, in
/// the enum's order, and what is derived from them.
macro_rules! metrics {
    ($($counter:ident: $desc:tt,)*) => {
        /// What happened between two snapshots, and how things stand at the second.
        #[stat_doc]
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Stats)]
        #[stat(top, desc = "counts are of the interval, those named total since the load")]
        pub struct Metrics {
            $(#[stat(desc = $desc, _om_counter)]
            pub $counter: u64,)*

            #[stat(desc = "seconds that the counts are of")]
            pub interval_s: f64,
            #[stat(desc = "seconds since the load", _om_gauge)]
            pub uptime_s: f64,
            #[stat(desc = "the policy in force", _om_info)]
            pub policy: String,
            #[stat(desc = "slice of a normal task, microseconds", _om_gauge)]
            pub slice_us: u64,
            #[stat(desc = "shortest slice when many tasks wait, microseconds", _om_gauge)]
            pub slice_min_us: u64,
            #[stat(desc = "slice of a latency-sensitive task, microseconds", _om_gauge)]
            pub latency_slice_us: u64,
            #[stat(desc = "steps of all workers")]
            pub activations: u64,
            #[stat(desc = "decisions that the workers handed over")]
            pub decisions: u64,
            #[stat(desc = "decisions that a worker hands over in one step")]
            pub decisions_per_activation: f64,
            #[stat(desc = "calls of a worker, each a wakeup and a system call, per task started")]
            pub calls_per_start: f64,
            #[stat(desc = "% of runnable tasks that found an idle CPU and were never queued")]
            pub direct_pct: f64,
            #[stat(desc = "decisions refused for any reason, % of those handed over")]
            pub refused_pct: f64,
            #[stat(desc = "% of the runs of tasks with their memory on one node that were there")]
            pub home_pct: f64,
            #[stat(desc = "processes whose memory is known to be on one node, now", _om_gauge)]
            pub memory_homes: u64,
            #[stat(desc = "times that such a node was found, changed or lost", _om_counter)]
            pub memory_home_changes: u64,
            #[stat(desc = "looks at what the kernel says of a process's pages", _om_counter)]
            pub memory_looks: u64,
            #[stat(
                desc = "of these, those that the process's cgroup answered, memory.numa_stat",
                _om_counter
            )]
            pub memory_cgroup_looks: u64,
            #[stat(
                desc = "looks that failed, because the process was gone or the kernel refused",
                _om_counter
            )]
            pub memory_look_errors: u64,
            #[stat(
                desc = "running tasks sent to their memory's node while it had idle CPUs",
                _om_counter
            )]
            pub memory_ushered: u64,
            #[stat(
                desc = "pages that followed their process to another node, --migrate-memory",
                _om_counter
            )]
            pub memory_pages_moved: u64,
            #[stat(desc = "times that the kernel refused to move pages", _om_counter)]
            pub memory_move_errors: u64,
            #[stat(
                desc = "CPU time of the thread that finds out where memory is, microseconds",
                _om_counter
            )]
            pub memory_us: f64,
            #[stat(
                desc = "1 while tasks of a node wait for longer than 5 ms on average, now",
                _om_gauge
            )]
            pub alert_starvation: u64,
            #[stat(
                desc = "1 while more than 2000 tasks a second start on each CPU, now",
                _om_gauge
            )]
            pub alert_storm: u64,
            #[stat(
                desc = "1 while a task keeps its CPU though its slice was over long ago and others wait, now",
                _om_gauge
            )]
            pub alert_runaway: u64,
            #[stat(
                desc = "1 while a node idles and tasks that it might run wait at another, now",
                _om_gauge
            )]
            pub alert_idle: u64,
            #[stat(desc = "1 while a worker does not read its events, now", _om_gauge)]
            pub alert_behind: u64,
            #[stat(desc = "alerts raised, total", _om_counter)]
            pub total_alerts: u64,
            #[stat(desc = "tasks created, a second")]
            pub created_per_s: f64,
            #[stat(desc = "tasks that exited, a second")]
            pub exited_per_s: f64,
            #[stat(desc = "median life of those that exited, from fork to last run, milliseconds")]
            pub lifetime_p50_ms: f64,
            #[stat(desc = "life that 99% of those that exited did not exceed, milliseconds")]
            pub lifetime_p99_ms: f64,
            #[stat(desc = "entered, total")]
            pub total_entered: u64,
            #[stat(desc = "started, total")]
            pub total_started: u64,
            #[stat(desc = "fallbacks, total")]
            pub total_fallbacks: u64,
            #[stat(
                desc = "total entered less started, cancelled and waiting: 0 at rest",
                _om_gauge
            )]
            pub lost: i64,
            #[stat(desc = "per class: latency, normal, batch, and sched_idle, which is SCHED_IDLE")]
            pub classes: BTreeMap<String, ClassMetrics>,
            #[stat(desc = "per node, by the kernel's number of it")]
            pub nodes: BTreeMap<usize, NodeMetrics>,
        }

        /// Names of the counters in the order of `enum mpg_counter`.
        #[cfg(test)]
        const COUNTERS: &[&str] = &[$(stringify!($counter)),*];

        const _: () = assert!(
            [$(stringify!($counter)),*].len() == bpf_intf::mpg_counter_MPG_NR_COUNTERS as usize,
            "a counter of enum mpg_counter is not described"
        );

        impl Metrics {
            /// The counters of the interval by name, in the order of `enum mpg_counter`.
            pub fn counts(&self) -> [(&'static str, u64); bpf_intf::mpg_counter_MPG_NR_COUNTERS as usize] {
                [$((stringify!($counter), self.$counter)),*]
            }

            /// The counters alone, as the difference of two readings.
            fn counted(count: impl Fn(u32) -> u64) -> Self {
                paste! {
                    Self {
                        $($counter: count(bpf_intf::[<mpg_counter_MPG_COUNT_ $counter:upper>]),)*
                        ..Self::default()
                    }
                }
            }
        }
    };
}

metrics! {
    entered: "tasks that became runnable and went into custody or one of our queues",
    started: "tasks that left custody or one of our queues and ran",
    cancelled: "tasks that left custody or one of our queues without running",
    direct: "tasks woken straight onto an idle CPU, past all queues",
    leased: "tasks queued under a standing decision, without asking the worker",
    events: "events written for the workers",
    events_dropped: "events lost because a node's ring was full; the task is served all the same",
    calls: "times that a worker was called",
    executed: "decisions carried out on the wait that they were made for",
    renewed: "decisions that came after that wait had ended, and stand as a lease for the next",
    refused_stale: "decisions refused because the task had moved on and no lease covers it, or the settings had changed",
    refused_gone: "decisions refused because the task is gone or another scheduler's",
    refused_affinity: "decisions refused because the task may not run on that node",
    undecided: "tasks that ran in deadline order without a decision, because nothing was primed",
    stolen: "tasks that a CPU took from another node's queues, with the policy's leave",
    balanced: "tasks that a CPU took from another node because those there have waited longer, or got less, for long",
    overdue: "tasks past the starvation bound that went before all others",
    preemptions: "batch tasks put off their CPU for one that was woken",
    interruptions: "tasks that a short one interrupted and that had their CPU back after it",
    runnext: "tasks that had the CPU of who woke them, which went to sleep",
    warm: "tasks that went on where they ran last, before others that were due by half a slice earlier",
    overruns: "slices ended between ticks because others waited",
    kthreads: "kernel threads, which the kernel half serves alone",
    own: "threads of scx_mpg itself, which the kernel half serves alone",
    fallbacks: "times that a node's worker was taken for dead and the kernel half took over",
    migrations_node: "tasks that ran on another node than the time before",
    migrations_llc: "of the others, those that ran under another last-level cache of their node",
    exec_moves: "tasks that went to a node where fewer wait when they called exec",
    runs_home: "runs of tasks whose memory is known to be on one node, there",
    runs_away: "runs of such tasks on another node, though they may run there",
    processes_unseen: "page faults not counted because the table of processes is full",
    created: "tasks created, threads included",
    exited: "tasks that exited, threads included; some kernels tell a moment after their parent knows",
}

/// Gs that entered and neither started, nor left, nor wait: the conservation check in production.
///
/// The parts are not read at one moment, so a G in flight may count either way.
pub fn lost(counters: &[u64], nodes: &[NodeSnapshot]) -> i64 {
    let count = |at: u32| counters.get(at as usize).map_or(0, |&count| count as i64);
    let waiting: u64 = nodes.iter().map(|node| node.primed + node.custody).sum();
    count(bpf_intf::mpg_counter_MPG_COUNT_ENTERED)
        - count(bpf_intf::mpg_counter_MPG_COUNT_STARTED)
        - count(bpf_intf::mpg_counter_MPG_COUNT_CANCELLED)
        - waiting as i64
}

impl Metrics {
    /// What happened from `before` to `now`; from the load if there is no before.
    pub fn between(before: &Snapshot, now: &Snapshot) -> Self {
        let at = |snapshot: &Snapshot, counter: u32| {
            snapshot
                .counters
                .get(counter as usize)
                .copied()
                .unwrap_or(0)
        };
        let param = |name| now.settings.param(name).unwrap_or(0);
        let counted = Self::counted(|counter| at(now, counter).saturating_sub(at(before, counter)));
        let total = Self::counted(|counter| at(now, counter));

        let nodes: BTreeMap<usize, NodeMetrics> = now
            .nodes
            .iter()
            .map(|node| {
                (
                    node.id,
                    node::between(before.nodes.iter().find(|b| b.id == node.id), node),
                )
            })
            .collect();
        let activations = nodes.values().map(|node| node.activations).sum();
        let decisions = nodes.values().map(|node| node.decisions).sum();
        let memory = now.memory.since(&before.memory);
        let raised = |alert| u64::from(now.alerts.is_raised(alert));
        let interval_s = now.uptime.saturating_sub(before.uptime).as_secs_f64();
        let lifetimes = now.lifetimes.since(&before.lifetimes);
        let lifetime_ms =
            |permille| lifetimes.permille(permille) * f64::from(1 << LIFE_UNIT_SHIFT) / 1_000_000.0;
        let refused = counted.refused_stale + counted.refused_gone + counted.refused_affinity;
        Self {
            interval_s,
            uptime_s: now.uptime.as_secs_f64(),
            policy: now.settings.policy.clone(),
            slice_us: param("slice-us"),
            slice_min_us: param("slice-min-us"),
            latency_slice_us: param("latency-slice-us"),
            activations,
            decisions,
            decisions_per_activation: ratio(decisions, activations),
            calls_per_start: ratio(counted.calls, counted.started),
            direct_pct: 100.0 * ratio(counted.direct, counted.direct + counted.entered),
            refused_pct: 100.0 * ratio(refused, decisions),
            home_pct: 100.0 * ratio(counted.runs_home, counted.runs_home + counted.runs_away),
            memory_homes: now.memory.homes,
            memory_home_changes: memory.home_changes,
            memory_looks: memory.looks,
            memory_cgroup_looks: memory.cgroup_looks,
            memory_look_errors: memory.look_errors,
            memory_ushered: memory.ushered,
            memory_pages_moved: memory.pages_moved,
            memory_move_errors: memory.move_errors,
            memory_us: memory.cpu_ns as f64 / 1000.0,
            alert_starvation: raised(Alert::Starvation),
            alert_storm: raised(Alert::Storm),
            alert_runaway: raised(Alert::Runaway),
            alert_idle: raised(Alert::Idle),
            alert_behind: raised(Alert::Behind),
            total_alerts: now.alerts.total,
            created_per_s: per_second(counted.created, interval_s),
            exited_per_s: per_second(counted.exited, interval_s),
            lifetime_p50_ms: lifetime_ms(500),
            lifetime_p99_ms: lifetime_ms(990),
            total_entered: total.entered,
            total_started: total.started,
            total_fallbacks: total.fallbacks,
            lost: now.lost,
            classes: class::between(&before.classes, &now.classes),
            nodes,
            ..counted
        }
    }
}

/// 0 where there is nothing to divide by.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// 0 of no time.
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

/// What the statistics socket serves: each connection reads what happened since it read before,
/// and first what happened since the load.
pub fn server_data(read: Reader) -> StatsServerData<(), ()> {
    let open: Box<dyn StatsOpener<(), ()>> = Box::new(move |_| {
        let read = read.clone();
        let mut before = Snapshot::default();
        let reader: Box<dyn StatsReader<(), ()>> = Box::new(move |_, _| {
            let now = read();
            let metrics = Metrics::between(&before, &now);
            before = now;
            metrics.to_json()
        });
        Ok(reader)
    });
    StatsServerData::new()
        .add_meta(NodeMetrics::meta())
        .add_meta(ClassMetrics::meta())
        .add_meta(Metrics::meta())
        .add_ops("top", StatsOps { open, close: None })
}

/// Describes everything that is reported, as `--help-stats` prints it.
pub fn describe(out: &mut impl Write) -> Result<()> {
    server_data(Arc::new(Snapshot::default)).describe_meta(out, None)
}

/// The statistics socket being served; dropping it ends the service and removes the socket file.
pub struct Server {
    /// Always there until the drop, which must end it before the file goes.
    server: Option<StatsServer<(), ()>>,
    path: PathBuf,
    /// Device and inode of the socket file: a successor's file at the path is not ours to remove.
    file: Option<(u64, u64)>,
}

/// Serves the statistics at [`SOCKET_PATH`], from threads of its own.
///
/// Whatever is at the path is replaced, so it is for the caller to know that no other scheduler
/// runs: the control socket refuses a second scx_mpg, the kernel a second scheduler. Only the user
/// who runs this can read them, and the members of `group`, its number, if one is given.
pub fn serve(read: Reader, group: Option<u32>) -> Result<Server> {
    let path = Path::new(SOCKET_PATH);
    let server = serve_at(path, read)?;
    if group.is_some() {
        chown(path, None, group)?;
    }
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(server)
}

fn serve_at(path: &Path, read: Reader) -> Result<Server> {
    let server = StatsServer::new(server_data(read))
        .set_path(path)
        .launch()?;
    Ok(Server {
        server: Some(server),
        path: path.to_path_buf(),
        file: file_at(path),
    })
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|meta| (meta.dev(), meta.ino()))
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server ends by connecting to its own socket, so the file goes after it.
        drop(self.server.take());
        if self.file.is_some() && file_at(&self.path) == self.file {
            let _ = fs::remove_file(&self.path);
        }
    }
}
