//! The load `timer`: timers that fire at fixed times, in the model of cyclictest, whose flags and defaults it has.
//!
//! Each thread sleeps until an absolute time on CLOCK_MONOTONIC; its latency is the time at which it runs, less the time
//! that was planned. It then plans its next time, the first multiple of its interval that is not past. The threads are
//! ordinary tasks, as with `cyclictest --policy=other`, and keep the kernel's timer slack of 50 microseconds, as there.

use anyhow::Result;
use serde::Serialize;

use super::{real, Load, Stage};
use crate::clock::Clock;
use crate::crew::{self, Job};
use crate::latency::{Latencies, Timings};
use crate::priority::Priority;
use crate::report::{Figures, Row};
use crate::window::Measured;

/// Latencies that the real cyclictest tells apart, in microseconds; it only counts those above.
const REAL_LONGEST_US: u64 = 100_000;

/// The flags of the load, with cyclictest's names, meanings and defaults.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Threads
    #[arg(short = 't', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Interval of the first thread, in microseconds
    #[arg(short = 'i', long = "interval", value_name = "US", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(10..=10_000_000))]
    interval_us: u64,
    /// How much longer each thread's interval is than that of the one before, in microseconds
    #[arg(short = 'd', long = "distance", value_name = "US", default_value_t = 500,
          value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    distance_us: u64,
    /// Run cyclictest itself, where it is installed, and report its figures
    #[arg(long)]
    real: bool,
}

/// What the load measured.
#[derive(Debug, Serialize)]
pub struct TimerFigures {
    #[serde(flatten)]
    timings: Timings,
}

impl Figures for TimerFigures {
    fn rows(&self) -> Vec<Row> {
        self.timings.rows()
    }
}

impl Load for Args {
    const NAME: &'static str = "timer";
    type Figures = TimerFigures;

    fn real(&self) -> bool {
        self.real
    }

    fn run(&self, stage: Stage<'_>) -> Result<(TimerFigures, Measured)> {
        let (latencies, measured) = if self.real {
            self.run_cyclictest(stage)?
        } else {
            self.run_model(stage)?
        };
        let timings = Timings::default().with("latency", &latencies);
        Ok((TimerFigures { timings }, measured))
    }
}

impl Args {
    fn run_model(&self, stage: Stage<'_>) -> Result<(Latencies, Measured)> {
        let clock = Clock::start();
        let clock = &clock;
        let priority = stage.priority;
        let job = |number| {
            let interval_us = self.interval_us + number * self.distance_us;
            Job::new("mpg-timer", move |ready| {
                priority.take()?;
                let mut latencies = Latencies::new()?;
                drop(ready);
                tick(clock, interval_us * 1000, &mut latencies);
                Ok(latencies)
            })
        };
        let jobs = (0..u64::from(self.threads)).map(job).collect();
        let measure = || stage.window.measure(clock, stage.topology, || 0);
        let (seen, measured) = crew::run(clock, jobs, measure, || ())?;
        Ok((Latencies::sum(&seen)?, measured))
    }

    fn run_cyclictest(&self, stage: Stage<'_>) -> Result<(Latencies, Measured)> {
        let mut arguments: Vec<String> = match stage.priority {
            Priority::Ordinary => vec!["--policy=other".to_owned()],
            Priority::Fifo => vec![
                "--policy=fifo".to_owned(),
                format!("--priority={}", crate::priority::FIFO_PRIORITY),
            ],
        };
        let seconds = stage.window.total().as_secs();
        arguments.extend([
            "-q".to_owned(),
            format!("-t{}", self.threads),
            format!("-i{}", self.interval_us),
            format!("-d{}", self.distance_us),
            format!("-D{seconds}"),
            format!("-h{REAL_LONGEST_US}"),
        ]);
        let (cyclictest, measured) =
            real::run("cyclictest", arguments, stage, real::cyclictest::parse)?;
        let mut latencies = Latencies::new()?;
        for (us, times) in cyclictest {
            latencies.record_many(us * 1000, times);
        }
        Ok((latencies, measured))
    }
}

/// Fires every `interval_ns` until the clock is stopped, and records how late.
pub fn tick(clock: &Clock, interval_ns: u64, latencies: &mut Latencies) {
    let mut planned_ns = clock.now_ns() + interval_ns;
    while !clock.stopping() {
        clock.sleep_until(planned_ns);
        let now_ns = clock.now_ns();
        if clock.covers(planned_ns) {
            latencies.record(now_ns.saturating_sub(planned_ns));
        }
        planned_ns = next_after(planned_ns, interval_ns, now_ns);
    }
}

/// The first time after `planned_ns`, in steps of the interval, that is not before `now_ns`.
fn next_after(planned_ns: u64, interval_ns: u64, now_ns: u64) -> u64 {
    let late_ns = now_ns.saturating_sub(planned_ns);
    planned_ns + late_ns.div_ceil(interval_ns).max(1) * interval_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_on_the_grid_and_not_past() {
        assert_eq!(next_after(100, 10, 100), 110);
        assert_eq!(next_after(100, 10, 95), 110);
        assert_eq!(next_after(100, 10, 109), 110);
        assert_eq!(next_after(100, 10, 110), 110);
        assert_eq!(next_after(100, 10, 111), 120);
    }

    #[test]
    fn a_short_run_gives_figures() -> Result<()> {
        let args = Args {
            threads: 2,
            interval_us: 1000,
            distance_us: 500,
            real: false,
        };
        let (figures, _) = crate::load::short_run(&args)?;
        let latency = figures.timings.of("latency");
        assert!(latency.is_some_and(|p| p.samples >= 10 && p.p50_us <= p.max_us));
        Ok(())
    }
}
