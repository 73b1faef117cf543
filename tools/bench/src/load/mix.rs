//! The load `mix`: timers beside hogs, as cyclictest beside stress-ng: how long a task that seldom runs waits for a CPU
//! that computing tasks hold, and what serving it costs them.

use anyhow::Result;
use serde::Serialize;

use super::{check_tasks, hog, per_cpu, timer, Load, Stage};
use crate::clock::Clock;
use crate::crew::{self, Job};
use crate::latency::{Latencies, Timings};
use crate::report::{row, Figures, Row};
use crate::topology::Topology;
use crate::window::Measured;

/// The flags of the load.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Timer threads
    #[arg(short = 't', long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Interval of the first timer, in microseconds
    #[arg(short = 'i', long = "interval", value_name = "US", default_value_t = 2000,
          value_parser = clap::value_parser!(u64).range(10..=10_000_000))]
    interval_us: u64,
    /// How much longer each timer's interval is than that of the one before, in microseconds
    #[arg(short = 'd', long = "distance", value_name = "US", default_value_t = 500,
          value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    distance_us: u64,
    /// Hogs; 0 for two on each CPU
    #[arg(short = 'c', long = "cpu", value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=16_384))]
    hogs: u32,
}

/// What the load measured.
#[derive(Debug, Serialize)]
pub struct MixFigures {
    #[serde(flatten)]
    timings: Timings,
    hog_iterations_per_second: f64,
}

impl Figures for MixFigures {
    fn rows(&self) -> Vec<Row> {
        let mut rows = self.timings.rows();
        let hogs = self.hog_iterations_per_second;
        rows.push(row("hog_iterations_per_second", Some(hogs)));
        rows
    }
}

impl Load for Args {
    const NAME: &'static str = "mix";
    type Figures = MixFigures;

    fn checked(mut self, topology: &Topology) -> Result<Self, String> {
        if self.hogs == 0 {
            self.hogs = per_cpu(2, topology);
        }
        check_tasks(u64::from(self.hogs) + u64::from(self.threads))?;
        Ok(self)
    }

    fn run(&self, stage: Stage<'_>) -> Result<(MixFigures, Measured)> {
        let clock = Clock::start();
        let clock = &clock;
        let priority = stage.priority;
        let done = crew::counts(self.hogs);
        let mut jobs: Vec<Job<'_, Option<Latencies>>> = hog::jobs(clock, &done);
        for number in 0..u64::from(self.threads) {
            let interval_us = self.interval_us + number * self.distance_us;
            jobs.push(Job::new("mpg-timer", move |ready| {
                priority.take()?;
                let mut latencies = Latencies::new()?;
                drop(ready);
                timer::tick(clock, interval_us * 1000, &mut latencies);
                Ok(Some(latencies))
            }));
        }
        let measure = || {
            let completed = || crew::sum(&done);
            stage.window.measure(clock, stage.topology, completed)
        };
        let (seen, measured) = crew::run(clock, jobs, measure, || ())?;
        let seen: Vec<Latencies> = seen.into_iter().flatten().collect();
        let figures = MixFigures {
            timings: Timings::default().with("latency", &Latencies::sum(&seen)?),
            hog_iterations_per_second: measured.completed as f64 / measured.runtime_s,
        };
        Ok((figures, measured))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_gives_figures() -> Result<()> {
        let args = Args {
            threads: 2,
            interval_us: 2000,
            distance_us: 500,
            hogs: 2,
        };
        let (figures, _) = crate::load::short_run(&args)?;
        assert!(figures.timings.of("latency").is_some());
        assert!(figures.hog_iterations_per_second > 0.0);
        Ok(())
    }
}
