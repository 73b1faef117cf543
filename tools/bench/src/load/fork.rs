//! The load `fork`: processes that are started, end at once, and are waited for.
//!
//! A fork's latency runs from before fork(2) until the parent is back from waiting: the child must be placed, run and end,
//! and the parent be woken. The parents are threads of one process, which has nothing in its memory that is dear to copy.

use std::io;
use std::ptr;

use anyhow::{bail, Context, Result};
use serde::Serialize;

use super::{Load, Stage};
use crate::clock::Clock;
use crate::crew::{self, Job, OwnCount};
use crate::latency::{Latencies, Timings};
use crate::report::{row, Figures, Row};
use crate::window::Measured;

/// The flags of the load.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Threads that fork, one child at a time each
    #[arg(short = 't', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
}

/// What the load measured.
#[derive(Debug, Serialize)]
pub struct ForkFigures {
    #[serde(flatten)]
    timings: Timings,
    forks: u64,
    forks_per_second: f64,
}

impl Figures for ForkFigures {
    fn rows(&self) -> Vec<Row> {
        let mut rows = vec![row("forks_per_second", Some(self.forks_per_second))];
        rows.extend(self.timings.rows());
        rows
    }
}

impl Load for Args {
    const NAME: &'static str = "fork";
    type Figures = ForkFigures;

    fn run(&self, stage: Stage<'_>) -> Result<(ForkFigures, Measured)> {
        let clock = Clock::start();
        let clock = &clock;
        let priority = stage.priority;
        let done = crew::counts(self.threads);
        let job = |done| {
            Job::new("mpg-parent", move |ready| {
                priority.take()?;
                let mut latencies = Latencies::new()?;
                drop(ready);
                fork_on(clock, done, &mut latencies)?;
                Ok(latencies)
            })
        };
        let jobs = done.iter().map(job).collect();
        let measure = || {
            let completed = || crew::sum(&done);
            stage.window.measure(clock, stage.topology, completed)
        };
        let (seen, measured) = crew::run(clock, jobs, measure, || ())?;
        let figures = ForkFigures {
            timings: Timings::default().with("fork", &Latencies::sum(&seen)?),
            forks: measured.completed,
            forks_per_second: measured.completed as f64 / measured.runtime_s,
        };
        Ok((figures, measured))
    }
}

/// Forks one child after the other until the clock is stopped.
fn fork_on(clock: &Clock, done: &OwnCount, latencies: &mut Latencies) -> Result<()> {
    while !clock.stopping() {
        let begun_ns = clock.now_ns();
        fork_and_wait()?;
        let ended_ns = clock.now_ns();
        done.increment();
        if clock.covers(begun_ns) {
            latencies.record(ended_ns - begun_ns);
        }
    }
    Ok(())
}

fn fork_and_wait() -> Result<()> {
    // SAFETY: the child of a process with threads may only do what is safe in a signal handler; it only ends.
    let child = unsafe { libc::fork() };
    match child {
        0 => {
            // SAFETY: _exit does not return and runs nothing of this process.
            unsafe { libc::_exit(0) }
        }
        -1 => Err(io::Error::last_os_error()).context("fork was refused"),
        _ => loop {
            // SAFETY: the null pointer asks for no status.
            if unsafe { libc::waitpid(child, ptr::null_mut(), 0) } == child {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                bail!("a child cannot be waited for: {error}");
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_gives_figures() -> Result<()> {
        let (figures, measured) = crate::load::short_run(&Args { threads: 2 })?;
        assert!(figures.forks > 0 && figures.forks_per_second > 0.0);
        assert!(figures.timings.of("fork").is_some());
        assert!(measured.context_switches > 0);
        Ok(())
    }
}
