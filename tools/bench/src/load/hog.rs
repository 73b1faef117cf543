//! The load `hog`: threads that compute and never sleep, as stress-ng's `--cpu N --cpu-method int64`.
//!
//! An iteration is 10,000 steps of integer arithmetic on registers. So the rate tells what the CPUs were worth to the
//! hogs, and the smallest and largest thread's share of the work, 1 being the equal one, tell how fairly it was dealt.

use std::env;
use std::hint::black_box;

use anyhow::Result;
use serde::Serialize;

use super::{check_tasks, per_cpu, real, Load, Stage};
use crate::clock::Clock;
use crate::crew::{self, Job, OwnCount};
use crate::report::{row, Figures, Row};
use crate::topology::Topology;
use crate::window::Measured;

/// Steps of one iteration: about 30 microseconds, short beside any slice.
const STEPS: u32 = 10_000;

/// The flags of the load.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Threads; 0 for two on each CPU
    #[arg(short = 'c', long = "cpu", value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=16_384))]
    threads: u32,
    /// Run stress-ng itself, where it is installed, and report its figures
    #[arg(long)]
    real: bool,
}

/// What the load measured. stress-ng counts other iterations, and no shares.
#[derive(Debug, Serialize)]
pub struct HogFigures {
    iterations: u64,
    iterations_per_second: f64,
    share_min: Option<f64>,
    share_max: Option<f64>,
}

impl Figures for HogFigures {
    fn rows(&self) -> Vec<Row> {
        vec![
            row("iterations_per_second", Some(self.iterations_per_second)),
            row("share_min", self.share_min),
            row("share_max", self.share_max),
        ]
    }
}

impl Load for Args {
    const NAME: &'static str = "hog";
    type Figures = HogFigures;
    const NO_FIFO: Option<&'static str> =
        Some("its threads never sleep, and would leave the CPUs to nobody else");

    fn real(&self) -> bool {
        self.real
    }

    fn checked(mut self, topology: &Topology) -> Result<Self, String> {
        if self.threads == 0 {
            self.threads = per_cpu(2, topology);
        }
        check_tasks(u64::from(self.threads))?;
        Ok(self)
    }

    fn run(&self, stage: Stage<'_>) -> Result<(HogFigures, Measured)> {
        if self.real {
            return self.run_stress_ng(stage);
        }
        let clock = Clock::start();
        let done = crew::counts(self.threads);
        // Each thread's count at both edges of the window.
        let mut edges: Vec<Vec<u64>> = Vec::with_capacity(2);
        let completed = || {
            edges.push(done.iter().map(OwnCount::get).collect());
            crew::sum(&done)
        };
        let measure = || stage.window.measure(&clock, stage.topology, completed);
        let jobs = jobs::<()>(&clock, &done);
        let (_, measured) = crew::run(&clock, jobs, measure, || ())?;

        let work: Vec<u64> = match &edges[..] {
            [before, after] => after.iter().zip(before).map(|(b, a)| b - a).collect(),
            _ => Vec::new(),
        };
        let shares = shares(&work);
        let figures = HogFigures {
            iterations: measured.completed,
            iterations_per_second: measured.completed as f64 / measured.runtime_s,
            share_min: shares.map(|(smallest, _)| smallest),
            share_max: shares.map(|(_, largest)| largest),
        };
        Ok((figures, measured))
    }
}

impl Args {
    fn run_stress_ng(&self, stage: Stage<'_>) -> Result<(HogFigures, Measured)> {
        let seconds = stage.window.total().as_secs();
        let arguments = format!(
            "--cpu {} --cpu-method int64 --timeout {seconds} --metrics-brief",
            self.threads
        );
        let mut arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        // It refuses to start where it could not write, though this stressor writes nothing.
        let temporary = env::temp_dir().to_string_lossy().into_owned();
        arguments.extend(["--temp-path".to_owned(), temporary]);
        let (stress_ng, measured) =
            real::run("stress-ng", arguments, stage, real::stress_ng::parse)?;
        let figures = HogFigures {
            iterations: stress_ng.iterations,
            iterations_per_second: stress_ng.iterations_per_second,
            share_min: None,
            share_max: None,
        };
        Ok((figures, measured))
    }
}

/// A hog for each count: it counts its iterations until the clock is stopped.
pub fn jobs<'a, T: Default>(clock: &'a Clock, done: &'a [OwnCount]) -> Vec<Job<'a, T>> {
    let job = |count: &'a OwnCount| {
        Job::new("mpg-hog", move |ready| {
            drop(ready);
            compute(clock, count);
            Ok(T::default())
        })
    };
    done.iter().map(job).collect()
}

/// Counts iterations until the clock is stopped.
pub fn compute(clock: &Clock, done: &OwnCount) {
    let mut state = 1;
    while !clock.stopping() {
        state = iteration(state);
        done.increment();
    }
    black_box(state);
}

#[inline(never)]
fn iteration(mut state: u64) -> u64 {
    for _ in 0..STEPS {
        // Each step needs the one before, so that neither the compiler nor the CPU can do several at once.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

/// The smallest and the largest share of the work, relative to the equal one; `None` where nothing was done.
fn shares(work: &[u64]) -> Option<(f64, f64)> {
    let all: u64 = work.iter().sum();
    let equal = all as f64 / work.len() as f64;
    let (smallest, largest) = (work.iter().min()?, work.iter().max()?);
    (all > 0).then(|| (*smallest as f64 / equal, *largest as f64 / equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_relative_to_the_equal_one() {
        assert_eq!(shares(&[10, 10, 10]), Some((1.0, 1.0)));
        assert_eq!(shares(&[0, 10, 20]), Some((0.0, 2.0)));
        assert_eq!(shares(&[0, 0]), None);
        assert_eq!(shares(&[]), None);
    }

    #[test]
    fn two_hogs_for_each_cpu_unless_told_otherwise() {
        let threads = |threads| {
            let args = Args {
                threads,
                real: false,
            };
            args.checked(&Topology::of(&[0, 0, 1]))
                .map(|args| args.threads)
        };
        assert_eq!(threads(0), Ok(6));
        assert_eq!(threads(5), Ok(5));
        assert!(threads(20_000).is_err());
    }

    #[test]
    fn a_short_run_gives_figures() -> Result<()> {
        let args = Args {
            threads: 3,
            real: false,
        };
        let (figures, _) = crate::load::short_run(&args)?;
        assert!(figures.iterations_per_second > 0.0);
        assert!(figures.share_min <= Some(1.0) && figures.share_max >= Some(1.0));
        Ok(())
    }
}
