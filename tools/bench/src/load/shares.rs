//! The load `shares`: hogs of nice 0, 5 and 10, and hogs of SCHED_IDLE beside them: who gets how much of the CPUs.
//!
//! Each kind has one hog for each CPU that is used. They are started in turn, one of each kind, so that a scheduler that
//! deals them to nodes in the order of their births does not happen to deal them evenly. The shares are of the work that was done in all, so that they can be
//! compared where the rate of the CPUs differs.

use std::io;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{check_tasks, hog, Load, Stage};
use crate::clock::Clock;
use crate::crew::{self, Job, OwnCount};
use crate::report::{row, Figures, Row};
use crate::topology::Topology;
use crate::window::Measured;

/// The kinds of hogs, in the order of their shares.
const KINDS: [Kind; 4] = [Kind::Nice(0), Kind::Nice(5), Kind::Nice(10), Kind::Idle];

/// The flags of the load.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Bind all hogs to one CPU, the last
    #[arg(long)]
    one_cpu: bool,
    /// Start the hogs of nice 0 on the first node and all others on the last, and let them go anywhere from there
    #[arg(long, conflicts_with = "one_cpu")]
    lopsided: bool,
    /// Leave out the hogs of SCHED_IDLE
    #[arg(long)]
    no_idle: bool,
}

/// How a hog is scheduled.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Nice(i32),
    Idle,
}

/// What the load measured, in percent of the work of all.
#[derive(Debug, Serialize)]
pub struct SharesFigures {
    iterations: u64,
    iterations_per_second: f64,
    nice_0_percent: f64,
    nice_5_percent: f64,
    nice_10_percent: f64,
    idle_percent: Option<f64>,
}

impl Figures for SharesFigures {
    fn rows(&self) -> Vec<Row> {
        vec![
            row("nice_0_percent", Some(self.nice_0_percent)),
            row("nice_5_percent", Some(self.nice_5_percent)),
            row("nice_10_percent", Some(self.nice_10_percent)),
            row("idle_percent", self.idle_percent),
            row("iterations_per_second", Some(self.iterations_per_second)),
        ]
    }
}

impl Load for Args {
    const NAME: &'static str = "shares";
    type Figures = SharesFigures;
    const NO_FIFO: Option<&'static str> =
        Some("its hogs are told apart by niceness, which SCHED_FIFO has none of");

    fn checked(self, topology: &Topology) -> Result<Self, String> {
        check_tasks((topology.online().len() * KINDS.len()) as u64)?;
        Ok(self)
    }

    fn run(&self, stage: Stage<'_>) -> Result<(SharesFigures, Measured)> {
        let online = stage.topology.online();
        let by_node = stage.topology.cpus_by_node();
        let begin = |kind: Kind| match (kind, &by_node[..]) {
            _ if self.one_cpu => &online[online.len().saturating_sub(1)..],
            (Kind::Nice(0), [first, ..]) if self.lopsided => first,
            (_, [.., last]) if self.lopsided => last,
            _ => online,
        };
        let stay = if self.one_cpu {
            begin(Kind::Idle)
        } else {
            online
        };
        let each = if self.one_cpu { 1 } else { online.len() };
        let kinds = &KINDS[..KINDS.len() - usize::from(self.no_idle)];

        let clock = Clock::start();
        let done = crew::counts((each * kinds.len()) as u32);
        // Each kind's work at both edges of the window.
        let mut edges: Vec<Vec<u64>> = Vec::with_capacity(2);
        let completed = || {
            let of_kind = |kind| done.iter().skip(kind).step_by(kinds.len());
            let sum = |kind| of_kind(kind).map(OwnCount::get).sum();
            edges.push((0..kinds.len()).map(sum).collect());
            crew::sum(&done)
        };
        let measure = || stage.window.measure(&clock, stage.topology, completed);
        let jobs = kinds.iter().cycle().zip(&done);
        let jobs = jobs
            .map(|(kind, count)| job(&clock, *kind, [begin(*kind), stay], count))
            .collect();
        let (_, measured) = crew::run(&clock, jobs, measure, || ())?;

        let work: Vec<u64> = match &edges[..] {
            [before, after] => after.iter().zip(before).map(|(b, a)| b - a).collect(),
            _ => vec![0; kinds.len()],
        };
        let percent = |kind: usize| super::percent(work[kind], work.iter().sum());
        let figures = SharesFigures {
            iterations: measured.completed,
            iterations_per_second: measured.completed as f64 / measured.runtime_s,
            nice_0_percent: percent(0),
            nice_5_percent: percent(1),
            nice_10_percent: percent(2),
            idle_percent: (!self.no_idle).then(|| percent(3)),
        };
        Ok((figures, measured))
    }
}

/// A hog of that kind that begins on the first of these CPUs, and may use the others once it computes.
fn job<'a>(
    clock: &'a Clock,
    kind: Kind,
    cpus: [&'a [usize]; 2],
    done: &'a OwnCount,
) -> Job<'a, ()> {
    Job::new("mpg-hog", move |ready| {
        let [begin, stay] = cpus;
        let stay_on = |cpus| stay_on(cpus).context("a hog cannot be bound to CPUs");
        kind.take().context("the niceness of a hog cannot be had")?;
        stay_on(begin)?;
        drop(ready);
        if begin != stay {
            stay_on(stay)?;
        }
        hog::compute(clock, done);
        Ok(())
    })
}

impl Kind {
    /// Schedules the calling thread so.
    fn take(self) -> io::Result<()> {
        let param = libc::sched_param { sched_priority: 0 };
        let done = match self {
            // SAFETY: plain numbers; 0 names the calling thread, which is what Linux gives a niceness to.
            Kind::Nice(nice) => unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) },
            // SAFETY: 0 names the calling thread, and the kernel only reads the structure, which outlives the call.
            Kind::Idle => unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &param) },
        };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Keeps the calling thread on these CPUs.
fn stay_on(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: a set of zeroes is the empty set, CPU_SET writes within it or not at all, and the kernel only reads it.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().for_each(|&cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_of_all_the_work() -> Result<()> {
        for (one_cpu, lopsided, no_idle) in [(false, true, false), (true, false, true)] {
            let args = Args {
                one_cpu,
                lopsided,
                no_idle,
            };
            let (figures, _) = crate::load::short_run(&args)?;
            let nice = figures.nice_0_percent + figures.nice_5_percent + figures.nice_10_percent;
            let all = nice + figures.idle_percent.unwrap_or(0.0);
            assert!((all - 100.0).abs() < 1e-6, "{all}");
            assert_eq!(figures.idle_percent.is_none(), no_idle);
        }
        Ok(())
    }
}
