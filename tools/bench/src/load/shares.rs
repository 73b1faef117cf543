//! The load `shares`: hogs of nice 0, 5 and 10, and hogs of SCHED_IDLE beside them: who gets how much of the CPUs.
//!
//! Each kind has one hog for each CPU that is used. They are started in turn, one of each kind, so that a scheduler that
//! deals them to nodes in the order of their births does not happen to deal them evenly. The shares are of the time that
//! the CPUs gave to all hogs, which is what a scheduler deals out. Their work would also tell how fast the CPUs are, and
//! the emulator of a guest, which runs them in turn, serves those more that switch less.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

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

/// What the load measured, in percent of the time of all.
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
        let cpu_times: Vec<CpuTime> = done.iter().map(|_| CpuTime::default()).collect();
        // Each kind's time at both edges of the window.
        let mut edges: Vec<Vec<u64>> = Vec::with_capacity(2);
        let completed = || {
            let of_kind = |kind| cpu_times.iter().skip(kind).step_by(kinds.len());
            let sum = |kind| of_kind(kind).map(CpuTime::ns).sum();
            edges.push((0..kinds.len()).map(sum).collect());
            crew::sum(&done)
        };
        let measure = || stage.window.measure(&clock, stage.topology, completed);
        let jobs = kinds.iter().cycle().zip(done.iter().zip(&cpu_times));
        let jobs = jobs
            .map(|(kind, counts)| job(&clock, *kind, [begin(*kind), stay], counts))
            .collect();
        let (_, measured) = crew::run(&clock, jobs, measure, || ())?;

        let times: Vec<u64> = match &edges[..] {
            [before, after] => after.iter().zip(before).map(|(b, a)| b - a).collect(),
            _ => vec![0; kinds.len()],
        };
        let percent = |kind: usize| super::percent(times[kind], times.iter().sum());
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
    (done, cpu_time): (&'a OwnCount, &'a CpuTime),
) -> Job<'a, ()> {
    Job::new("mpg-hog", move |ready| {
        let [begin, stay] = cpus;
        let stay_on = |cpus| stay_on(cpus).context("a hog cannot be bound to CPUs");
        kind.take().context("the niceness of a hog cannot be had")?;
        stay_on(begin)?;
        cpu_time
            .of_this_thread()
            .context("the time of a hog cannot be read")?;
        drop(ready);
        if begin != stay {
            stay_on(stay)?;
        }
        hog::compute(clock, done);
        Ok(())
    })
}

/// The clock of the CPU time of one thread, which another reads while it runs; 0 until it is known.
#[derive(Default)]
struct CpuTime(AtomicI32);

impl CpuTime {
    /// Makes this the clock of the calling thread.
    fn of_this_thread(&self) -> io::Result<()> {
        let mut clock: libc::clockid_t = 0;
        // SAFETY: the calling thread is alive, and the call only writes `clock`, which outlives it.
        match unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) } {
            0 => {
                self.0.store(clock, Ordering::Relaxed);
                Ok(())
            }
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// What the thread has had, in nanoseconds; 0 if it is not there.
    fn ns(&self) -> u64 {
        let clock = self.0.load(Ordering::Relaxed);
        if clock == 0 {
            return 0;
        }
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the call only writes `time`, which outlives it; the kernel refuses what is no clock.
        match unsafe { libc::clock_gettime(clock, &mut time) } {
            0 => time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64,
            _ => 0,
        }
    }
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
    fn the_shares_are_of_all_the_time() -> Result<()> {
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
