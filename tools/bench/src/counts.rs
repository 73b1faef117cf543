//! The kernel's counts over the measured window: migrations by tracepoint and from /proc, context switches by
//! getrusage(2).

use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Add;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::ring::{Counter, Ring};
use crate::topology::Topology;
use crate::tracepoint::{MigrateTask, Migration};

/// One CPU's ring, in bytes: with a page more this is what an unprivileged user may lock per CPU
/// (kernel.perf_event_mlock_kb, 516). It holds 9,000 migrations, and is drained every second.
const RING_BYTES: usize = 512 << 10;
/// All rings together, in bytes: on a machine of many CPUs each has fewer migrations to hold.
const ALL_RINGS_BYTES: usize = 64 << 20;
/// Smallest ring, in bytes: a page of the largest page size in use.
const MIN_RING_BYTES: usize = 64 << 10;

/// Longest filter that the kernel copies, in bytes: a page, its end included.
const MAX_FILTER: usize = 4095;

/// Inode of the pid namespace that the kernel starts with (PROC_PID_INIT_INO).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Migrations of all tasks, counted by the kernel while enabled. Only those across nodes are recorded: what a record
/// takes of the CPU would be held against the scheduler that migrates more.
pub struct Counters {
    layout: MigrateTask,
    all: Vec<Counter>,
    across: Vec<Ring>,
    tally: Tally,
    scratch: Vec<u8>,
}

/// What [`Counters`] saw in the window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MigrationCounts {
    /// Moves of any task from one CPU to another; `None` where they could not be counted, as everywhere here.
    pub migrations: Option<u64>,
    /// Those of them that went to another NUMA node.
    pub migrations_across_nodes: Option<u64>,
    /// Moves of the load's own threads that live when the window closes.
    pub own_migrations: Option<u64>,
    /// Those of them that went to another NUMA node.
    pub own_migrations_across_nodes: Option<u64>,
    /// Moves across nodes that found their ring full, so that the figures of those do not have them.
    pub migration_records_lost: Option<u64>,
}

impl Counters {
    /// Opens the tracepoint on all CPUs that are online, not yet counting.
    pub fn open(topology: &Topology) -> Result<Self> {
        let layout = MigrateTask::read()?;
        let filter = crossing(&topology.cpus_by_node());
        let bytes = ring_bytes(topology.online().len());
        let mut all = Vec::with_capacity(topology.online().len());
        let mut across = Vec::with_capacity(topology.online().len());
        for &cpu in topology.online() {
            let refused = || format!("perf_event_open on CPU {cpu} was refused");
            all.push(Counter::open(layout.id, cpu).with_context(refused)?);
            let ring = Ring::open(layout.id, cpu, bytes).with_context(refused)?;
            if let Some(filter) = &filter {
                ring.only(filter).with_context(|| {
                    format!("the kernel does not take the filter {filter:?} of migrations")
                })?;
            }
            across.push(ring);
        }
        let tally = Tally::default();
        Ok(Counters {
            layout,
            all,
            across,
            tally,
            scratch: Vec::with_capacity(bytes),
        })
    }

    /// Starts counting.
    pub fn enable(&self) -> Result<()> {
        let all = self.all.iter().try_for_each(Counter::enable);
        all.and_then(|()| self.across.iter().try_for_each(Ring::enable))
            .context("the migration counters cannot be enabled")
    }

    /// Stops counting.
    pub fn disable(&self) -> Result<()> {
        let all = self.all.iter().try_for_each(Counter::disable);
        all.and_then(|()| self.across.iter().try_for_each(Ring::disable))
            .context("the migration counters cannot be disabled")
    }

    /// Takes what is in the rings, so that they do not fill up.
    pub fn drain(&mut self, topology: &Topology) {
        let Counters {
            layout,
            across,
            tally,
            scratch,
            ..
        } = self;
        for ring in across {
            ring.drain(scratch, |_, raw| {
                if let Some(migration) = layout.decode(raw) {
                    tally.add(migration, topology);
                }
            });
        }
    }

    /// The counts, once disabled and drained. `own_threads` are the ids of the load's threads, where they are known,
    /// each with how often it moved.
    pub fn counts(&self, own_threads: Option<&HashMap<i32, u64>>) -> Result<MigrationCounts> {
        let sum = |counts: &mut dyn Iterator<Item = io::Result<u64>>| {
            counts
                .sum::<io::Result<u64>>()
                .context("the migration counters cannot be read")
        };
        let recorded = sum(&mut self.across.iter().map(Ring::count))?;
        let own_across = own_threads
            .filter(|_| in_first_pid_namespace())
            .map(|threads| self.tally.across_of(threads.keys()));
        Ok(MigrationCounts {
            migrations: Some(sum(&mut self.all.iter().map(Counter::count))?),
            migrations_across_nodes: Some(self.tally.across()),
            own_migrations: own_threads.map(|threads| threads.values().sum()),
            own_migrations_across_nodes: own_across,
            migration_records_lost: Some(recorded.saturating_sub(self.tally.records)),
        })
    }
}

/// The filter that holds for moves from one node to another; `None` where there are so many that it would be too long,
/// so that all moves are to be recorded.
fn crossing(cpus_by_node: &[Vec<usize>]) -> Option<CString> {
    let ways: Vec<String> = cpus_by_node
        .iter()
        .map(|cpus| {
            format!(
                "({} && !{})",
                within("orig_cpu", cpus),
                within("dest_cpu", cpus)
            )
        })
        .collect();
    let filter = ways.join(" || ");
    (filter.len() <= MAX_FILTER)
        .then(|| CString::new(filter).ok())
        .flatten()
}

/// Whether a field is one of `cpus`, which ascend.
fn within(field: &str, cpus: &[usize]) -> String {
    let next_to = |a: &usize, b: &usize| a + 1 == *b;
    let runs: Vec<String> = cpus
        .chunk_by(next_to)
        .map(|run| {
            format!(
                "({field} >= {} && {field} <= {})",
                run[0],
                run[run.len() - 1]
            )
        })
        .collect();
    format!("({})", runs.join(" || "))
}

/// Size of each of `cpus` rings, in bytes: a power of two.
fn ring_bytes(cpus: usize) -> usize {
    let share = ALL_RINGS_BYTES / cpus.max(1);
    let below = if share.is_power_of_two() {
        share
    } else {
        share.next_power_of_two() / 2
    };
    below.clamp(MIN_RING_BYTES, RING_BYTES)
}

/// Whether thread ids here are those that the tracepoint prints.
fn in_first_pid_namespace() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() == FIRST_PID_NAMESPACE)
}

/// Migrations from node to node, by task.
#[derive(Default)]
struct Tally {
    by_pid: HashMap<i32, u64>,
    /// Records met, of moves within nodes too.
    records: u64,
}

impl Tally {
    fn add(&mut self, migration: Migration, topology: &Topology) {
        self.records += 1;
        if topology.crosses(migration.from, migration.to) {
            *self.by_pid.entry(migration.pid).or_default() += 1;
        }
    }

    fn across(&self) -> u64 {
        self.by_pid.values().sum()
    }

    fn across_of<'a>(&self, pids: impl Iterator<Item = &'a i32>) -> u64 {
        pids.filter_map(|pid| self.by_pid.get(pid)).sum()
    }
}

/// How often each of these threads moved from one CPU to another since it was born; `None` if the kernel does not tell,
/// as one without CONFIG_SCHED_DEBUG.
pub fn migrations_of(threads: &[i32]) -> Option<HashMap<i32, u64>> {
    let mut moves = HashMap::with_capacity(threads.len());
    for &thread in threads {
        // Who has ended meanwhile is left out.
        if let Ok(text) = fs::read_to_string(format!("/proc/{thread}/sched")) {
            moves.insert(thread, parse_moves(&text)?);
        }
    }
    (!moves.is_empty()).then_some(moves)
}

fn parse_moves(sched: &str) -> Option<u64> {
    let line = |line: &str| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "se.nr_migrations").then(|| value.trim().parse().ok())?
    };
    sched.lines().find_map(line)
}

/// Context switches of this process's threads and of its children since it started, those included that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// A thread gave its CPU up.
    pub voluntary: u64,
    /// A thread's CPU was taken from it.
    pub involuntary: u64,
}

impl Switches {
    /// Asks the kernel. Children that were waited for count as a matter of course; `children` are those that were not:
    /// each is asked by itself, as a process of one thread.
    pub fn now(children: &[i32]) -> Self {
        let mut sum = Self::of(libc::RUSAGE_SELF) + Self::of(libc::RUSAGE_CHILDREN);
        for child in children {
            // Waited for meanwhile, it is no longer there, but in RUSAGE_CHILDREN.
            if let Ok(status) = fs::read_to_string(format!("/proc/{child}/status")) {
                sum = sum + Self::parse_status(&status);
            }
        }
        sum
    }

    fn of(whom: i32) -> Self {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the kernel fills the structure, which is ours; all zeros are a valid value of it, should it not.
        let usage = unsafe {
            libc::getrusage(whom, usage.as_mut_ptr());
            usage.assume_init()
        };
        Switches {
            voluntary: usage.ru_nvcsw.try_into().unwrap_or(0),
            involuntary: usage.ru_nivcsw.try_into().unwrap_or(0),
        }
    }

    fn parse_status(status: &str) -> Self {
        let count = |key: &str| {
            let mut lines = status.lines();
            lines
                .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
                .unwrap_or(0)
        };
        Switches {
            voluntary: count("voluntary_ctxt_switches:"),
            involuntary: count("nonvoluntary_ctxt_switches:"),
        }
    }

    /// What came to be since `earlier`.
    pub fn since(self, earlier: Switches) -> Switches {
        Switches {
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

impl Add for Switches {
    type Output = Switches;

    fn add(self, other: Switches) -> Switches {
        Switches {
            voluntary: self.voluntary + other.voluntary,
            involuntary: self.involuntary + other.involuntary,
        }
    }
}

/// Ids of this process's threads that are alive; empty where /proc is not mounted.
pub fn own_threads() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_told_apart_by_node_and_task() {
        let topology = Topology::of(&[0, 0, 1, 1]);
        let mut tally = Tally::default();
        for (pid, from, to) in [(7, 0, 1), (7, 1, 2), (8, 3, 0), (9, 2, 3)] {
            tally.add(Migration { pid, from, to }, &topology);
        }
        assert_eq!((tally.records, tally.across()), (4, 2));
        assert_eq!(tally.across_of([7, 9, 1000].iter()), 1);
    }

    #[test]
    fn the_filter_names_the_cpus_of_each_node() {
        let filter = crossing(&[vec![0, 1, 4], vec![2, 3]]).unwrap();
        assert_eq!(
            filter.to_str().unwrap(),
            "(((orig_cpu >= 0 && orig_cpu <= 1) || (orig_cpu >= 4 && orig_cpu <= 4)) && \
             !((dest_cpu >= 0 && dest_cpu <= 1) || (dest_cpu >= 4 && dest_cpu <= 4))) || \
             (((orig_cpu >= 2 && orig_cpu <= 3)) && !((dest_cpu >= 2 && dest_cpu <= 3)))"
        );
        let scattered: Vec<Vec<usize>> = (0..2)
            .map(|node| (0..400).map(|cpu| 2 * cpu + node).collect())
            .collect();
        assert_eq!(crossing(&scattered), None);
    }

    #[test]
    fn moves_are_read_from_proc() {
        let text = "x (1, #threads: 1)\n-----\nse.exec_start       :     1.5\nse.nr_migrations    :       12\n";
        assert_eq!(parse_moves(text), Some(12));
        assert_eq!(parse_moves("se.exec_start : 1.5\n"), None);
        assert_eq!(migrations_of(&[]), None);
    }

    #[test]
    fn rings_are_powers_of_two_within_bounds() {
        assert_eq!(ring_bytes(4), RING_BYTES);
        assert_eq!(ring_bytes(128), RING_BYTES);
        assert_eq!(ring_bytes(224), 256 << 10);
        assert_eq!(ring_bytes(100_000), MIN_RING_BYTES);
        assert!((0..5000).all(|cpus| ring_bytes(cpus).is_power_of_two()));
    }

    #[test]
    fn this_process_has_threads_and_switches() {
        assert!(own_threads().contains(&(std::process::id() as i32)));
        let earlier = Switches::now(&[]);
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(Switches::now(&[]).since(earlier).voluntary >= 1);
    }

    #[test]
    fn both_kinds_of_switches_are_told_apart_in_a_status() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        let switches = Switches {
            voluntary: 12,
            involuntary: 3,
        };
        assert_eq!(Switches::parse_status(status), switches);
    }
}
