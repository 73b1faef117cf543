//! The load `usleep`: a test for gaps. Threads do nothing but sleep for a moment, beside hogs that hold every CPU.
//!
//! A gap is the time from one waking to the next: the sleep, the timer slack, and the wait for a CPU. One that is longer
//! than a limit is a spike. Unlike a timer's latency, a gap has no plan to catch up with: each one stands for itself.

use anyhow::Result;
use serde::Serialize;

use super::{check_tasks, hog, nap, per_cpu, percent, Load, Stage};
use crate::clock::Clock;
use crate::crew::{self, Job};
use crate::latency::{Latencies, Timings};
use crate::report::{row, Figures, Row};
use crate::topology::Topology;
use crate::window::Measured;

/// The flags of the load.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Threads that sleep
    #[arg(short = 't', long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Length of a sleep, in microseconds
    #[arg(short = 's', long = "sleep_usec", visible_alias = "sleep-usec", value_name = "US",
          default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=999_999))]
    sleep_us: u32,
    /// Hogs; 0 for one on each CPU
    #[arg(short = 'c', long = "cpu", value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=16_384))]
    hogs: u32,
    /// Gap above which it is a spike, in microseconds
    #[arg(long, value_name = "US", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    spike_us: u64,
}

/// What the load measured.
#[derive(Debug, Serialize)]
pub struct UsleepFigures {
    #[serde(flatten)]
    timings: Timings,
    spikes: u64,
    spikes_percent: f64,
    hog_iterations_per_second: f64,
}

impl Figures for UsleepFigures {
    fn rows(&self) -> Vec<Row> {
        let mut rows = self.timings.rows();
        let hogs = self.hog_iterations_per_second;
        rows.push(row("spikes", Some(self.spikes as f64)));
        rows.push(row("spikes_percent", Some(self.spikes_percent)));
        rows.push(row("hog_iterations_per_second", Some(hogs)));
        rows
    }
}

/// What a sleeper saw.
struct Seen {
    gaps: Latencies,
    spikes: u64,
}

impl Load for Args {
    const NAME: &'static str = "usleep";
    type Figures = UsleepFigures;

    fn checked(mut self, topology: &Topology) -> Result<Self, String> {
        if self.hogs == 0 {
            self.hogs = per_cpu(1, topology);
        }
        check_tasks(u64::from(self.hogs) + u64::from(self.threads))?;
        if self.spike_us <= u64::from(self.sleep_us) {
            return Err(format!(
                "--spike-us is {} and --sleep_usec is {}: every sleep would be a spike; it must be longer than a sleep",
                self.spike_us, self.sleep_us
            ));
        }
        Ok(self)
    }

    fn run(&self, stage: Stage<'_>) -> Result<(UsleepFigures, Measured)> {
        let clock = Clock::start();
        let clock = &clock;
        let priority = stage.priority;
        let done = crew::counts(self.hogs);
        let mut jobs: Vec<Job<'_, Option<Seen>>> = hog::jobs(clock, &done);
        for _ in 0..self.threads {
            jobs.push(Job::new("mpg-sleeper", move |ready| {
                priority.take()?;
                let gaps = Latencies::new()?;
                drop(ready);
                Ok(Some(self.sleep_and_look(clock, gaps)))
            }));
        }
        let measure = || {
            let completed = || crew::sum(&done);
            stage.window.measure(clock, stage.topology, completed)
        };
        let (seen, measured) = crew::run(clock, jobs, measure, || ())?;

        let mut gaps = Latencies::new()?;
        let mut spikes = 0;
        for seen in seen.into_iter().flatten() {
            gaps.merge(&seen.gaps)?;
            spikes += seen.spikes;
        }
        let figures = UsleepFigures {
            spikes,
            spikes_percent: percent(spikes, gaps.samples()),
            timings: Timings::default().with("gap", &gaps),
            hog_iterations_per_second: measured.completed as f64 / measured.runtime_s,
        };
        Ok((figures, measured))
    }
}

impl Args {
    fn sleep_and_look(&self, clock: &Clock, mut gaps: Latencies) -> Seen {
        let mut spikes = 0;
        let mut last_ns = clock.now_ns();
        while !clock.stopping() {
            nap(self.sleep_us);
            let now_ns = clock.now_ns();
            if clock.covers(last_ns) {
                let gap_ns = now_ns - last_ns;
                gaps.record(gap_ns);
                spikes += u64::from(gap_ns > self.spike_us * 1000);
            }
            last_ns = now_ns;
        }
        Seen { gaps, spikes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(sleep_us: u32, spike_us: u64) -> Args {
        Args {
            threads: 2,
            sleep_us,
            hogs: 2,
            spike_us,
        }
    }

    #[test]
    fn a_spike_is_longer_than_a_sleep() {
        let topology = Topology::of(&[0]);
        assert!(args(100, 101).checked(&topology).is_ok());
        let refusal = args(100, 100).checked(&topology).err().unwrap_or_default();
        assert!(refusal.contains("must be longer"), "{refusal}");
    }

    #[test]
    fn a_short_run_gives_figures() -> Result<()> {
        let (figures, _) = crate::load::short_run(&args(100, 300))?;
        let gap = figures.timings.of("gap");
        assert!(gap.is_some_and(|p| p.p50_us >= 100.0 && figures.spikes <= p.samples));
        assert!((0.0..=100.0).contains(&figures.spikes_percent));
        Ok(())
    }
}
