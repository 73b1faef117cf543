//! The load `numa`: teams of threads whose memory is on one node each, and which may run anywhere.
//!
//! A thread's memory is bound to its node by mbind(2); the thread itself is bound to nothing. It sums over its memory,
//! sleeps for a moment, and begins again. A scheduler that knows where a thread's memory is runs it there: the figure is
//! the share of passes that began on a CPU of another node.
//!
//! A bound page comes from its node wherever the thread is that touches it first, so page faults do not tell where it is.
//! With `--first-touch` the thread touches its memory while it is confined to CPUs of the node, and is let go then: the
//! faults tell, and so would the kernel's NUMA balancing, which may in turn move the pages to where the thread runs.

use std::hint::black_box;
use std::io;
use std::iter;
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;

use anyhow::{bail, Context, Result};
use serde::Serialize;

use super::{check_tasks, nap, percent, Load, Stage};
use crate::clock::Clock;
use crate::crew::{self, Job, OwnCount};
use crate::report::{row, Figures, Row};
use crate::say;
use crate::topology::Topology;
use crate::window::Measured;

/// With one thread on each CPU nobody ever has to move, and the figure is where each one began: in three runs of 2 s in
/// virtual time, EEVDF on 4 CPUs in 2 nodes, it was 0, 0 and 100 percent (`mpg-bench numa -t 2 -r 2`).
const THREADS_PER_CPU: usize = 2;
/// Of one element of the memory.
const ELEMENT_BYTES: usize = size_of::<u64>();
/// Bits in a word of the kernel's node mask.
const MASK_BITS: usize = libc::c_ulong::BITS as usize;

/// Of get_mempolicy(2): tell the node that has the page at an address.
const MPOL_F_NODE: libc::c_int = 1;
const MPOL_F_ADDR: libc::c_int = 2;

/// The flags of the load.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Threads of the team of each node that has CPUs; 0 for two on each of its CPUs
    #[arg(short = 't', long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=4096))]
    threads: u32,
    /// Memory of each thread, in KB
    #[arg(short = 'F', long = "cache_footprint", visible_alias = "cache-footprint", value_name = "KB",
          default_value_t = 1024, value_parser = clap::value_parser!(u64).range(4..=1_048_576))]
    cache_footprint_kb: u64,
    /// Sleep after each pass, in microseconds
    #[arg(short = 's', long = "sleep_usec", visible_alias = "sleep-usec", value_name = "US",
          default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=999_999))]
    sleep_us: u32,
    /// Have the memory on its node by touching it there first, instead of binding it
    #[arg(long)]
    first_touch: bool,
}

/// What the load measured.
#[derive(Debug, Serialize)]
pub struct NumaFigures {
    passes: u64,
    passes_per_second: f64,
    runs_on_wrong_node_percent: f64,
    /// The same for each node's team, in the order of the nodes.
    runs_on_wrong_node_percent_by_team: Vec<f64>,
}

impl Figures for NumaFigures {
    fn rows(&self) -> Vec<Row> {
        let wrong = self.runs_on_wrong_node_percent;
        let mut rows = vec![
            row("runs_on_wrong_node_percent", Some(wrong)),
            row("passes_per_second", Some(self.passes_per_second)),
        ];
        for (team, wrong) in self.runs_on_wrong_node_percent_by_team.iter().enumerate() {
            rows.push((format!("  of team {team}"), format!("{wrong:.2} %")));
        }
        rows
    }
}

/// What a thread saw.
struct Seen {
    team: usize,
    passes: u64,
    wrong: u64,
}

impl Load for Args {
    const NAME: &'static str = "numa";
    type Figures = NumaFigures;

    fn checked(self, topology: &Topology) -> Result<Self, String> {
        let nodes = topology.node_numbers().iter();
        let threads: u64 = nodes
            .map(|&node| self.team_size(node, topology) as u64)
            .sum();
        check_tasks(threads)?;
        let (needed, present) = (
            threads * (self.cache_footprint_kb << 10),
            super::physical_memory(),
        );
        if needed > present {
            return Err(format!(
                "{threads} threads with {} KB each need {} MiB, and the machine has {} MiB",
                self.cache_footprint_kb,
                needed >> 20,
                present >> 20
            ));
        }
        Ok(self)
    }

    fn run(&self, stage: Stage<'_>) -> Result<(NumaFigures, Measured)> {
        let topology = stage.topology;
        let several = topology.nodes() > 1;
        if !several {
            say("the machine has one node, so no pass can begin on a wrong one: the share will be 0");
        }
        let places: Vec<(usize, usize)> = topology
            .node_numbers()
            .iter()
            .enumerate()
            .flat_map(|(team, &node)| {
                (0..self.team_size(node, topology)).map(move |_| (team, node))
            })
            .collect();
        let clock = Clock::start();
        let clock = &clock;
        let priority = stage.priority;
        let done = crew::counts(u32::try_from(places.len()).unwrap_or(u32::MAX));
        let job = |(&(team, node), done)| {
            Job::new("mpg-summer", move |ready| {
                priority.take()?;
                let bytes = self.cache_footprint_kb << 10;
                let memory = match (several, self.first_touch) {
                    (false, _) => Memory::new(bytes, None)?,
                    (true, false) => Memory::new(bytes, Some(node))?,
                    (true, true) => Memory::touched_on(node, bytes, topology)?,
                };
                drop(ready);
                let seen = self.sum_on(team, node, &memory, topology, clock, done);
                Ok(seen)
            })
        };
        let jobs = places.iter().zip(&done).map(job).collect();
        let measure = || {
            let completed = || crew::sum(&done);
            stage.window.measure(clock, topology, completed)
        };
        let (seen, measured) = crew::run(clock, jobs, measure, || ())?;

        let wrong_of = |seen: &mut dyn Iterator<Item = &Seen>| {
            let (passes, wrong) = seen.fold((0, 0), |sum, s| (sum.0 + s.passes, sum.1 + s.wrong));
            percent(wrong, passes)
        };
        let by_team = (0..topology.nodes())
            .map(|team| wrong_of(&mut seen.iter().filter(|seen| seen.team == team)));
        let figures = NumaFigures {
            passes: measured.completed,
            passes_per_second: measured.completed as f64 / measured.runtime_s,
            runs_on_wrong_node_percent: wrong_of(&mut seen.iter()),
            runs_on_wrong_node_percent_by_team: by_team.collect(),
        };
        Ok((figures, measured))
    }
}

impl Args {
    /// Threads of a node's team. A node without CPUs has none: nothing could run beside its memory.
    fn team_size(&self, node: usize, topology: &Topology) -> usize {
        match (topology.cpus_of(node), self.threads) {
            (0, _) => 0,
            (cpus, 0) => THREADS_PER_CPU * cpus,
            (_, threads) => threads as usize,
        }
    }

    fn sum_on(
        &self,
        team: usize,
        node: usize,
        memory: &Memory,
        topology: &Topology,
        clock: &Clock,
        done: &OwnCount,
    ) -> Seen {
        let mut seen = Seen {
            team,
            passes: 0,
            wrong: 0,
        };
        while !clock.stopping() {
            // SAFETY: sched_getcpu takes nothing and returns a number.
            let cpu = usize::try_from(unsafe { libc::sched_getcpu() }).ok();
            if clock.covers(clock.now_ns()) {
                let at = cpu.and_then(|cpu| topology.node_of(cpu));
                seen.passes += 1;
                seen.wrong += u64::from(at.is_some_and(|at| at != node));
            }
            black_box(memory.sum());
            done.increment();
            nap(self.sleep_us);
        }
        seen
    }
}

/// Memory on one node, filled.
struct Memory {
    start: NonNull<u64>,
    bytes: usize,
}

impl Memory {
    /// So many bytes, on that node; wherever the kernel puts them where no node is named.
    fn new(bytes: u64, node: Option<usize>) -> Result<Self> {
        let bytes = usize::try_from(bytes)?;
        // SAFETY: a new mapping, at an address that the kernel chooses, harms nothing.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("memory was refused");
        }
        let start = NonNull::new(address.cast()).context("memory is at address 0")?;
        let mut memory = Memory { start, bytes };
        if let Some(node) = node {
            memory.bind(node)?;
        }
        for (number, element) in (0..).zip(memory.elements_mut()) {
            *element = number;
        }
        if let Some(node) = node {
            memory.check(node)?;
        }
        Ok(memory)
    }

    /// So many bytes, touched first by the calling thread while it may only run on that node.
    fn touched_on(node: usize, bytes: u64, topology: &Topology) -> Result<Self> {
        let anywhere = affinity().context("the kernel does not tell where a thread may run")?;
        let online = topology.online().iter().copied();
        let there = online.filter(|&cpu| topology.node_of(cpu) == Some(node));
        set_affinity(&cpu_set(there))
            .with_context(|| format!("a thread cannot be put on node {node}"))?;
        let memory = Memory::new(bytes, None);
        set_affinity(&anywhere).context("a thread cannot be let go again")?;
        let memory = memory?;
        memory.check(node)?;
        Ok(memory)
    }

    /// Has the pages, none of which is there yet, come from the node when they are touched.
    fn bind(&self, node: usize) -> Result<()> {
        let mut mask: Vec<libc::c_ulong> = vec![0; node / MASK_BITS + 1];
        mask[node / MASK_BITS] |= 1 << (node % MASK_BITS);
        // The kernel takes one bit less than it is told.
        let bits = mask.len() * MASK_BITS + 1;
        // SAFETY: the range is this mapping, and the kernel only reads the mask, of which it is told the length.
        let bound = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.start.as_ptr(),
                self.bytes,
                libc::MPOL_BIND,
                mask.as_ptr(),
                bits,
                0,
            )
        };
        if bound != 0 {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("memory cannot be bound to node {node}"));
        }
        Ok(())
    }

    /// Whether the first page is where it should be.
    fn check(&self, node: usize) -> Result<()> {
        let mut is_on: libc::c_int = -1;
        // SAFETY: with these flags the kernel writes the number of the node that has the page at the address into
        // `is_on`, and no mask, which is null.
        let told = unsafe {
            libc::syscall(
                libc::SYS_get_mempolicy,
                &mut is_on,
                ptr::null_mut::<libc::c_ulong>(),
                0,
                self.start.as_ptr(),
                MPOL_F_NODE | MPOL_F_ADDR,
            )
        };
        if told != 0 {
            return Err(io::Error::last_os_error())
                .context("the kernel does not tell where memory is");
        }
        if usize::try_from(is_on) != Ok(node) {
            bail!("memory that should be on node {node} is on node {is_on}");
        }
        Ok(())
    }

    fn elements(&self) -> &[u64] {
        // SAFETY: the mapping has so many elements, is aligned to a page, lives as long as `self`, and is read through
        // this alone; its pages were zeros at first, so all of it is initialised.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes / ELEMENT_BYTES) }
    }

    fn elements_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `elements`, and `self` is borrowed for writing.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes / ELEMENT_BYTES) }
    }

    fn sum(&self) -> u64 {
        self.elements()
            .iter()
            .fold(0, |sum, element| sum.wrapping_add(*element))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and no reference into it outlives `self`.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.bytes);
        }
    }
}

/// The CPUs on which the calling thread may run.
fn affinity() -> io::Result<libc::cpu_set_t> {
    let mut cpus = cpu_set(iter::empty());
    // SAFETY: 0 names the calling thread, and the kernel writes into the set, of which it is told the size.
    match unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut cpus) } {
        0 => Ok(cpus),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_affinity(cpus: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: 0 names the calling thread, and the kernel only reads the set, of which it is told the size.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cpus) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A set of CPUs. It has no room for those above number 1023, which are left out.
fn cpu_set(cpus: impl Iterator<Item = usize>) -> libc::cpu_set_t {
    // SAFETY: the set is plain numbers, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    let room = 8 * size_of::<libc::cpu_set_t>();
    for cpu in cpus.filter(|&cpu| cpu < room) {
        // SAFETY: the set is ours, and has room for the CPU.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_is_twice_its_node_unless_told_otherwise() {
        let topology = Topology::of(&[0, 0, 1]);
        let sizes = |threads| {
            let args = Args {
                threads,
                cache_footprint_kb: 4,
                sleep_us: 0,
                first_touch: false,
            };
            [0, 1, 2].map(|node| args.team_size(node, &topology))
        };
        assert_eq!(sizes(0), [4, 2, 0]);
        assert_eq!(sizes(3), [3, 3, 0]);
    }

    #[test]
    fn memory_is_filled_and_summed() -> Result<()> {
        let memory = Memory::new(8192, None)?;
        assert_eq!(memory.sum(), 1023 * 1024 / 2);
        Ok(())
    }

    #[test]
    fn a_thread_is_let_go_after_its_first_touch() -> Result<()> {
        let topology = Topology::read()?;
        let before = affinity()?;
        // Where the kernel does not tell the page's node, in a sandbox, the thread must be let go all the same.
        let _ = Memory::touched_on(topology.node_numbers()[0], 8192, &topology);
        // SAFETY: both sets are ours and initialised.
        assert!(unsafe { libc::CPU_EQUAL(&before, &affinity()?) });
        Ok(())
    }

    #[test]
    fn a_short_run_gives_figures() -> Result<()> {
        let args = Args {
            threads: 2,
            cache_footprint_kb: 64,
            sleep_us: 50,
            first_touch: false,
        };
        let (figures, _) = crate::load::short_run(&args)?;
        assert!(figures.passes > 0);
        assert!((0.0..=100.0).contains(&figures.runs_on_wrong_node_percent));
        Ok(())
    }
}
