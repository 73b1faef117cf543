//! The load `memory`: processes with their memory on one node, pushed to another, and let go again.
//!
//! Each process fills its memory while it is confined to its node, half of the processes on each of two nodes. Then
//! all are confined to the next node for a while, and let go. From there on they may run anywhere, and compute over
//! their memory: a scheduler that knows where the memory is brings them back to it, and keeps them there.
//!
//! The judge is the kernel. Where the pages are is read from numa_maps when the window opens and when it closes, and
//! where the processes were put is counted from sched_switch; the CPU time by node is what each process reads off its
//! own clock and CPU after each pass.

use std::fs;
use std::hint::black_box;
use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde::Serialize;

use super::placed::{cpus_of, set_affinity_of, Memory};
use super::{check_tasks, nap, percent, Load, Stage};
use crate::clock::{thread_cpu_ns, Clock};
use crate::priority::{self, Priority};
use crate::report::{row, Figures, Row};
use crate::runs::{RunWatch, Runs};
use crate::say;
use crate::topology::Topology;
use crate::window::{Measured, Own};

/// What a pass sums up: as much as a core's own cache holds, so that the next pass finds none of it there.
const PASS_BYTES: usize = 256 << 10;
/// How often the parent looks whether all processes are where it waits for them.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The flags of the load.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Processes, in turn of each node that has CPUs
    #[arg(short = 'p', long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    processes: u32,
    /// Memory of each process, in MB
    #[arg(short = 'm', long, value_name = "MB", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    megabytes: u64,
    /// How long the processes are kept on another node, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(0..=600_000))]
    push_ms: u64,
    /// Sleep after each pass, in microseconds
    #[arg(short = 's', long = "sleep_usec", visible_alias = "sleep-usec", value_name = "US",
          default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=999_999))]
    sleep_us: u32,
    /// Leave the processes on the other node for good, instead of letting them go
    #[arg(long)]
    keep_away: bool,
}

/// What the load measured.
#[derive(Debug, Serialize)]
pub struct MemoryFigures {
    /// `None` where switches could not be recorded.
    runs_at_memory_percent: Option<f64>,
    runs_lost: Option<u64>,
    cpu_time_at_memory_percent: f64,
    passes_per_second: f64,
    /// Pages that were on another node at the end than at the beginning; `None` where the kernel does not tell.
    pages_moved_percent: Option<f64>,
}

impl Figures for MemoryFigures {
    fn rows(&self) -> Vec<Row> {
        vec![
            row("runs_at_memory_percent", self.runs_at_memory_percent),
            row(
                "cpu_time_at_memory_percent",
                Some(self.cpu_time_at_memory_percent),
            ),
            row("passes_per_second", Some(self.passes_per_second)),
            row("pages_moved_percent", self.pages_moved_percent),
        ]
    }
}

impl Load for Args {
    const NAME: &'static str = "memory";
    type Figures = MemoryFigures;

    fn checked(self, topology: &Topology) -> Result<Self, String> {
        check_tasks(u64::from(self.processes))?;
        let (needed, present) = (
            u64::from(self.processes) * self.megabytes,
            super::physical_memory() >> 20,
        );
        if needed > present {
            return Err(format!(
                "{} processes with {} MB each need {needed} MB, and the machine has {present} MB",
                self.processes, self.megabytes
            ));
        }
        if topology.cpus_by_node().len() < 2 {
            say("the machine has one node with CPUs, so nobody can be pushed to another");
        }
        Ok(self)
    }

    fn run(&self, stage: Stage<'_>) -> Result<(MemoryFigures, Measured)> {
        let Stage {
            topology,
            window,
            priority,
        } = stage;
        let nodes: Vec<usize> = topology
            .node_numbers()
            .iter()
            .copied()
            .filter(|&node| topology.cpus_of(node) > 0)
            .collect();
        let board = Board::new(self.processes as usize + 1)?;
        let mut crew = Crew {
            processes: Vec::new(),
            board: &board,
        };
        for number in 0..self.processes as usize {
            let node = nodes[number % nodes.len()];
            let slot = &board.slots()[number + 1];
            // SAFETY: this process has no other thread yet, so the child may do what any program may.
            match unsafe { libc::fork() } {
                0 => {
                    let code = self.child(node, slot, &board, topology, priority);
                    // SAFETY: _exit does not return and runs nothing of the parent's.
                    unsafe { libc::_exit(code) }
                }
                -1 => return Err(io::Error::last_os_error()).context("fork was refused"),
                pid => crew.processes.push(Placed { pid, node }),
            }
        }
        crew.wait_until_filled()?;
        let everywhere = super::placed::affinity()?;
        for process in &crew.processes {
            let at = nodes.iter().position(|&node| node == process.node);
            let away = nodes[(at.unwrap_or(0) + 1) % nodes.len()];
            set_affinity_of(process.pid, &cpus_of(away, topology))
                .context("a process cannot be pushed to another node")?;
        }
        thread::sleep(Duration::from_millis(self.push_ms));
        for process in crew.processes.iter().filter(|_| !self.keep_away) {
            set_affinity_of(process.pid, &everywhere).context("a process cannot be let go")?;
        }

        let runs = RunWatch::open(topology)
            .map_err(|error| say(&format!("runs are not counted: {error:#}")))
            .ok();
        let pids = crew.processes.iter().map(|process| process.pid).collect();
        let window = window.counting(Own::Processes(pids)).with_runs(runs);
        let clock = Clock::start();
        // At both edges of the window.
        let mut edges: Vec<Edge> = Vec::with_capacity(2);
        let measured = window.measure(&clock, topology, || {
            edges.push(crew.edge(topology));
            edges.last().map_or(0, |edge| edge.passes)
        });
        let processes = crew.processes.clone();
        crew.end()?;

        let [before, after] = &edges[..] else {
            bail!("the window was not closed");
        };
        let runs = measured.runs.as_ref();
        let figures = MemoryFigures {
            runs_at_memory_percent: runs.map(|runs| at_memory(runs, &processes)),
            runs_lost: runs.map(|runs| runs.lost),
            cpu_time_at_memory_percent: percent(
                after.home_ns - before.home_ns,
                after.home_ns + after.away_ns - before.home_ns - before.away_ns,
            ),
            passes_per_second: measured.completed as f64 / measured.runtime_s,
            pages_moved_percent: moved(&before.pages, &after.pages),
        };
        Ok((figures, measured))
    }
}

/// Share of the processes' runs that were on the nodes of their memory.
fn at_memory(runs: &Runs, processes: &[Placed]) -> f64 {
    let (mut there, mut all) = (0, 0);
    for process in processes {
        let (at_memory, anywhere) = runs.of(process.pid, process.node);
        there += at_memory;
        all += anywhere;
    }
    percent(there, all)
}

/// Share of pages that are on another node than before: by process and node, what became less.
fn moved(before: &[Vec<u64>], after: &[Vec<u64>]) -> Option<f64> {
    let all: u64 = before.iter().flatten().sum();
    let left = before.iter().zip(after).flat_map(|(before, after)| {
        let fewer = |(before, after): (&u64, &u64)| before.saturating_sub(*after);
        before.iter().zip(after).map(fewer)
    });
    let left: u64 = left.sum();
    (all > 0).then(|| percent(left, all))
}

impl Args {
    /// What a process does; returns its exit code.
    fn child(
        &self,
        node: usize,
        slot: &Slot,
        board: &Board,
        topology: &Topology,
        priority: Priority,
    ) -> i32 {
        let ready = priority::die_with_parent().and_then(|()| priority.set());
        let memory = ready
            .map_err(anyhow::Error::from)
            .and_then(|()| Memory::touched_on(node, self.megabytes << 20, topology));
        let memory = match memory {
            Ok(memory) => memory,
            Err(error) => {
                say(&format!("a process of the load: {error:#}"));
                return 1;
            }
        };
        slot.filled.store(1, Ordering::Release);
        let mut before_ns = thread_cpu_ns();
        for pass in 0.. {
            if board.stopping() {
                break;
            }
            black_box(memory.sum_part(pass, PASS_BYTES));
            // SAFETY: sched_getcpu takes nothing and returns a number.
            let cpu = usize::try_from(unsafe { libc::sched_getcpu() }).ok();
            let now_ns = thread_cpu_ns();
            let at = cpu.and_then(|cpu| topology.node_of(cpu));
            let spent = if at == Some(node) {
                &slot.home_ns
            } else {
                &slot.away_ns
            };
            // Nobody else writes here.
            spent.store(
                spent.load(Ordering::Relaxed) + now_ns - before_ns,
                Ordering::Relaxed,
            );
            before_ns = now_ns;
            slot.passes.store(pass as u64 + 1, Ordering::Relaxed);
            nap(self.sleep_us);
        }
        0
    }
}

/// One process of the load.
#[derive(Clone, Copy, Debug)]
struct Placed {
    pid: i32,
    /// Where it filled its memory.
    node: usize,
}

/// All processes. Dropping it ends them and waits for them.
struct Crew<'a> {
    processes: Vec<Placed>,
    board: &'a Board,
}

/// What is known of all processes at one moment.
#[derive(Debug)]
struct Edge {
    passes: u64,
    home_ns: u64,
    away_ns: u64,
    /// By process and node.
    pages: Vec<Vec<u64>>,
}

impl Crew<'_> {
    fn wait_until_filled(&mut self) -> Result<()> {
        let slots = &self.board.slots()[1..];
        while slots
            .iter()
            .any(|slot| slot.filled.load(Ordering::Acquire) == 0)
        {
            let ended = |process: &Placed| {
                // SAFETY: asks about a child without waiting; the null pointer asks for no status.
                unsafe { libc::waitpid(process.pid, ptr::null_mut(), libc::WNOHANG) != 0 }
            };
            if let Some(at) = self.processes.iter().position(ended) {
                self.processes.remove(at);
                bail!("a process of the load could not fill its memory");
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn edge(&self, topology: &Topology) -> Edge {
        let slots = &self.board.slots()[1..];
        let sum = |of: fn(&Slot) -> &AtomicU64| {
            slots
                .iter()
                .map(|slot| of(slot).load(Ordering::Relaxed))
                .sum()
        };
        Edge {
            passes: sum(|slot| &slot.passes),
            home_ns: sum(|slot| &slot.home_ns),
            away_ns: sum(|slot| &slot.away_ns),
            pages: self
                .processes
                .iter()
                .map(|process| {
                    fs::read_to_string(format!("/proc/{}/numa_maps", process.pid))
                        .map_or_else(|_| Vec::new(), |text| pages_by_node(&text, topology))
                })
                .collect(),
        }
    }

    /// Ends all processes; an error if one failed.
    fn end(&mut self) -> Result<()> {
        self.board.stop();
        let mut failed = false;
        for process in self.processes.drain(..) {
            let mut status = 0;
            // SAFETY: the kernel writes into `status`, which is ours.
            while unsafe { libc::waitpid(process.pid, &mut status, 0) } == -1 {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    bail!("a process of the load cannot be waited for: {error}");
                }
            }
            failed |= status != 0;
        }
        if failed {
            bail!("a process of the load failed");
        }
        Ok(())
    }
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        // Whoever drops it early has an error of its own to tell.
        let _ = self.end();
    }
}

/// Anonymous pages of a process by node, in the order of the topology's nodes.
fn pages_by_node(numa_maps: &str, topology: &Topology) -> Vec<u64> {
    let mut pages = vec![0; topology.nodes()];
    for line in numa_maps.lines().filter(|line| line.contains(" anon=")) {
        for word in line.split_ascii_whitespace() {
            let Some((node, count)) = word.strip_prefix('N').and_then(|w| w.split_once('=')) else {
                continue;
            };
            let (Ok(node), Ok(count)) = (node.parse::<usize>(), count.parse::<u64>()) else {
                continue;
            };
            if let Some(at) = topology.node_numbers().iter().position(|&n| n == node) {
                pages[at] += count;
            }
        }
    }
    pages
}

/// What a process tells the others, on lines of its own. The first slot's `filled` is the order to end.
#[derive(Default)]
#[repr(align(128))]
struct Slot {
    filled: AtomicU64,
    passes: AtomicU64,
    home_ns: AtomicU64,
    away_ns: AtomicU64,
}

/// Slots in memory that forked processes share.
struct Board {
    first: NonNull<Slot>,
    number: usize,
}

impl Board {
    fn new(number: usize) -> Result<Self> {
        // SAFETY: a new mapping, at an address that the kernel chooses, harms nothing.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                number * size_of::<Slot>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("shared memory was refused");
        }
        let first = NonNull::new(address.cast()).context("shared memory is at address 0")?;
        Ok(Board { first, number })
    }

    fn slots(&self) -> &[Slot] {
        // SAFETY: the mapping has so many slots, is aligned to a page, lives as long as `self`, and began as zeros,
        // which are valid slots. All their fields are atomic.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.number) }
    }

    fn stop(&self) {
        self.slots()[0].filled.store(1, Ordering::Relaxed);
    }

    fn stopping(&self) -> bool {
        self.slots()[0].filled.load(Ordering::Relaxed) != 0
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and no reference into it outlives `self`.
        unsafe {
            libc::munmap(self.first.as_ptr().cast(), self.number * size_of::<Slot>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_added_up_by_node() {
        let text = "1 default heap anon=3 dirty=3 N0=1 N1=2 kernelpagesize_kB=4\n\
                    2 default file=/x mapped=9 N0=9\n3 default anon=4 N1=4 N9=1 Nx=1\n4 default\n";
        assert_eq!(pages_by_node(text, &Topology::of(&[0, 1])), [1, 6]);
    }

    #[test]
    fn moved_pages_are_those_that_a_node_lost() {
        assert_eq!(moved(&[vec![90, 10]], &[vec![80, 20]]), Some(10.0));
        assert_eq!(
            moved(&[vec![50, 0], vec![0, 50]], &[vec![50, 9], vec![0, 50]]),
            Some(0.0)
        );
        assert_eq!(moved(&[vec![]], &[vec![1]]), None);
    }

    #[test]
    fn runs_at_memory_are_of_all_processes() {
        let process = |pid, node| Placed { pid, node };
        assert_eq!(at_memory(&Runs::default(), &[process(1, 0)]), 0.0);
    }

    #[test]
    fn what_the_machine_cannot_hold_is_refused() {
        let args = Args {
            processes: 1024,
            megabytes: 1_048_576,
            push_ms: 0,
            sleep_us: 0,
            keep_away: false,
        };
        let refusal = args.checked(&Topology::of(&[0, 1])).err();
        assert!(refusal.is_some_and(|sentence| sentence.contains("need")));
    }
}
