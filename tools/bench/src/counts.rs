//! The kernel's counts over the measured window: migrations by tracepoint, context switches by getrusage(2).

use std::collections::HashMap;
use std::fs;
use std::mem::MaybeUninit;
use std::ops::Add;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::ring::Ring;
use crate::topology::Topology;
use crate::tracepoint::{MigrateTask, Migration};

/// One CPU's ring, in bytes: with a page more this is what an unprivileged user may lock per CPU
/// (kernel.perf_event_mlock_kb, 516). It holds 9,000 migrations, and is drained every second.
const RING_BYTES: usize = 512 << 10;
/// All rings together, in bytes: on a machine of many CPUs each has fewer migrations to hold.
const ALL_RINGS_BYTES: usize = 64 << 20;
/// Smallest ring, in bytes: a page of the largest page size in use.
const MIN_RING_BYTES: usize = 64 << 10;

/// Inode of the pid namespace that the kernel starts with (PROC_PID_INIT_INO).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Migrations of all tasks, counted by the kernel while enabled.
pub struct Counters {
    layout: MigrateTask,
    rings: Vec<Ring>,
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
    /// Moves of the load's own threads.
    pub own_migrations: Option<u64>,
    /// Those of them that went to another NUMA node.
    pub own_migrations_across_nodes: Option<u64>,
    /// Moves counted in `migrations` that found their ring full, so that the other three do not have them.
    pub migration_records_lost: Option<u64>,
}

impl Counters {
    /// Opens the tracepoint on all CPUs that are online, not yet counting.
    pub fn open(topology: &Topology) -> Result<Self> {
        let layout = MigrateTask::read()?;
        let bytes = ring_bytes(topology.online().len());
        let mut rings = Vec::with_capacity(topology.online().len());
        for &cpu in topology.online() {
            let ring = Ring::open(layout.id, cpu, bytes)
                .with_context(|| format!("perf_event_open on CPU {cpu} was refused"))?;
            rings.push(ring);
        }
        let tally = Tally::default();
        Ok(Counters {
            layout,
            rings,
            tally,
            scratch: Vec::with_capacity(bytes),
        })
    }

    /// Starts counting.
    pub fn enable(&self) -> Result<()> {
        for ring in &self.rings {
            ring.enable()
                .context("the migration counters cannot be enabled")?;
        }
        Ok(())
    }

    /// Stops counting.
    pub fn disable(&self) -> Result<()> {
        for ring in &self.rings {
            ring.disable()
                .context("the migration counters cannot be disabled")?;
        }
        Ok(())
    }

    /// Takes what is in the rings, so that they do not fill up.
    pub fn drain(&mut self, topology: &Topology) {
        let Counters {
            layout,
            rings,
            tally,
            scratch,
        } = self;
        for ring in rings {
            ring.drain(scratch, |_, raw| {
                if let Some(migration) = layout.decode(raw) {
                    tally.add(migration, topology);
                }
            });
        }
    }

    /// The counts, once disabled and drained. `own_threads` are the ids of the load's threads, where they are known.
    pub fn counts(&self, own_threads: Option<&[i32]>) -> Result<MigrationCounts> {
        let mut happened = 0;
        for ring in &self.rings {
            happened += ring
                .count()
                .context("the migration counters cannot be read")?;
        }
        let own = own_threads
            .filter(|_| in_first_pid_namespace())
            .map(|threads| self.tally.of(threads));
        let all = self.tally.all();
        Ok(MigrationCounts {
            migrations: Some(happened),
            migrations_across_nodes: Some(all.across),
            own_migrations: own.map(|own| own.any),
            own_migrations_across_nodes: own.map(|own| own.across),
            migration_records_lost: Some(happened.saturating_sub(all.any)),
        })
    }
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

/// Migrations by task.
#[derive(Default)]
struct Tally {
    by_pid: HashMap<i32, Moves>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moves {
    any: u64,
    across: u64,
}

impl Tally {
    fn add(&mut self, migration: Migration, topology: &Topology) {
        let moves = self.by_pid.entry(migration.pid).or_default();
        moves.any += 1;
        moves.across += u64::from(topology.crosses(migration.from, migration.to));
    }

    fn all(&self) -> Moves {
        Self::sum(self.by_pid.values())
    }

    fn of(&self, pids: &[i32]) -> Moves {
        Self::sum(pids.iter().filter_map(|pid| self.by_pid.get(pid)))
    }

    fn sum<'a>(moves: impl Iterator<Item = &'a Moves>) -> Moves {
        moves.fold(Moves::default(), |sum, moves| Moves {
            any: sum.any + moves.any,
            across: sum.across + moves.across,
        })
    }
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
        assert_eq!(tally.all(), Moves { any: 4, across: 2 });
        assert_eq!(tally.of(&[7, 9, 1000]), Moves { any: 3, across: 1 });
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
