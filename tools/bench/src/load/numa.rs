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

use anyhow::Result;
use serde::Serialize;

use super::placed::Memory;
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
