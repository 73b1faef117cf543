//! The load `quota`: timers in a cgroup with a CPU quota, whose work stays within the quota on average.
//!
//! Each timer fires at fixed times and then computes for a moment. Together they ask for less than the quota, so a
//! scheduler that accounts for it well throttles nobody, and no timer is late. A timer is late when it fires more than a
//! tenth of its interval after its time; one that falls behind fires all that it missed, each of them late.
//!
//! The whole process is in the cgroup, as threads can only be by themselves where their process's cgroup allows it. A
//! real-time task is outside all quotas: with --fifo the timers show what they would see with none.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{bail, Context, Result};
use serde::Serialize;

use super::{percent, Load, Stage};
use crate::cgroup::Cgroup;
use crate::clock::{self, Clock};
use crate::crew::{self, Job};
use crate::latency::{Latencies, Timings};
use crate::report::{row, Figures, Row};
use crate::topology::Topology;
use crate::window::Measured;

/// A timer is late from this part of its interval on.
const LATE_PART: u64 = 10;

/// The flags of the load.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Timers
    #[arg(short = 't', long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Interval of a timer, in microseconds
    #[arg(short = 'i', long = "interval", value_name = "US", default_value_t = 50_000,
          value_parser = clap::value_parser!(u64).range(1000..=10_000_000))]
    interval_us: u64,
    /// CPU time that all timers together may use, in percent of one CPU
    #[arg(short = 'q', long = "quota", value_name = "PERCENT", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    quota_percent: u64,
    /// How much of the quota the timers use, in percent
    #[arg(short = 'u', long = "use", value_name = "PERCENT", default_value_t = 50,
          value_parser = clap::value_parser!(u64).range(0..=99))]
    use_percent: u64,
}

/// What the load measured.
#[derive(Debug, Serialize)]
pub struct QuotaFigures {
    late_percent: f64,
    fires: u64,
    #[serde(flatten)]
    timings: Timings,
    throttled_periods: Option<u64>,
}

impl Figures for QuotaFigures {
    fn rows(&self) -> Vec<Row> {
        let mut rows = vec![row("late_percent", Some(self.late_percent))];
        rows.extend(self.timings.rows());
        let throttled = self.throttled_periods.map(|periods| periods as f64);
        rows.push(row("throttled_periods", throttled));
        rows
    }
}

/// What a timer saw.
struct Seen {
    latencies: Latencies,
    late: u64,
}

impl Load for Args {
    const NAME: &'static str = "quota";
    type Figures = QuotaFigures;

    fn checked(self, _topology: &Topology) -> Result<Self, String> {
        let work_us = self.work_us();
        if work_us >= self.interval_us {
            return Err(format!(
                "each timer would have to compute for {work_us} us of every {} us: a smaller quota or more threads are needed",
                self.interval_us
            ));
        }
        Ok(self)
    }

    fn run(&self, stage: Stage<'_>) -> Result<(QuotaFigures, Measured)> {
        let clock = Arc::new(Clock::start());
        // Killed by a signal, the process would leave its cgroup behind: it ends the run instead.
        let of_handler = Arc::clone(&clock);
        ctrlc::set_handler(move || of_handler.stop()).context("signals cannot be handled")?;
        let cgroup = Cgroup::enter(self.quota_percent)?;

        let clock = &*clock;
        let priority = stage.priority;
        let job = |_| {
            Job::new("mpg-timer", move |ready| {
                priority.take()?;
                let latencies = Latencies::new()?;
                drop(ready);
                Ok(self.tick(clock, latencies))
            })
        };
        let jobs = (0..self.threads).map(job).collect();
        let mut throttled = Vec::with_capacity(2);
        let mut interrupted = false;
        let measure = || {
            let at_edge = || {
                throttled.push(cgroup.throttled_periods());
                0
            };
            let measured = stage.window.measure(clock, stage.topology, at_edge);
            interrupted = clock.stopping();
            measured
        };
        let (seen, measured) = crew::run(clock, jobs, measure, || ())?;
        if interrupted {
            bail!("interrupted before the end, so there are no figures");
        }

        let mut latencies = Latencies::new()?;
        let mut late = 0;
        for seen in seen {
            latencies.merge(&seen.latencies)?;
            late += seen.late;
        }
        let figures = QuotaFigures {
            late_percent: percent(late, latencies.samples()),
            fires: latencies.samples(),
            timings: Timings::default().with("latency", &latencies),
            throttled_periods: match throttled[..] {
                [Some(before), Some(after)] => Some(after.saturating_sub(before)),
                _ => None,
            },
        };
        Ok((figures, measured))
    }
}

impl Args {
    /// CPU time that one timer uses each time it fires, in microseconds.
    fn work_us(&self) -> u64 {
        let all_us = self.interval_us * self.quota_percent * self.use_percent / 100 / 100;
        all_us / u64::from(self.threads)
    }

    fn tick(&self, clock: &Clock, latencies: Latencies) -> Seen {
        let mut seen = Seen { latencies, late: 0 };
        let interval_ns = self.interval_us * 1000;
        let mut planned_ns = clock.now_ns() + interval_ns;
        while !clock.stopping() {
            clock.sleep_until(planned_ns);
            let latency_ns = clock.now_ns().saturating_sub(planned_ns);
            if clock.covers(planned_ns) {
                seen.latencies.record(latency_ns);
                seen.late += u64::from(latency_ns > interval_ns / LATE_PART);
            }
            compute(self.work_us() * 1000);
            planned_ns += interval_ns;
        }
        seen
    }
}

/// Uses so much CPU time, however long that takes.
fn compute(ns: u64) {
    let end_ns = clock::thread_cpu_ns() + ns;
    let mut steps = 0u64;
    while clock::thread_cpu_ns() < end_ns {
        for _ in 0..100 {
            steps = black_box(steps + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn args(quota_percent: u64) -> Args {
        Args {
            threads: 2,
            interval_us: 50_000,
            quota_percent,
            use_percent: 50,
        }
    }

    #[test]
    fn the_work_is_a_share_of_the_quota() {
        // 50 ms at a fifth of a CPU are 10 ms, of which half is used, by two timers.
        assert_eq!(args(20).work_us(), 2500);
        assert!(args(20).checked(&Topology::of(&[0])).is_ok());
        let refusal = args(400)
            .checked(&Topology::of(&[0]))
            .err()
            .unwrap_or_default();
        assert!(refusal.contains("50000 us of every 50000 us"), "{refusal}");
    }

    #[test]
    fn timers_fire_and_compute() -> Result<()> {
        let clock = Clock::start();
        let args = Args {
            interval_us: 5000,
            ..args(20)
        };
        clock.open();
        let latencies = Latencies::new()?;
        let before_ns = clock::thread_cpu_ns();
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                clock.stop();
            });
            args.tick(&clock, latencies)
        });
        let used_us = (clock::thread_cpu_ns() - before_ns) / 1000;
        assert!(seen.latencies.samples() >= 5 && seen.late <= seen.latencies.samples());
        assert!(used_us >= seen.latencies.samples() * args.work_us());
        Ok(())
    }
}
