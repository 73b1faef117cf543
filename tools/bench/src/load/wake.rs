//! The load `wake`: wakeup latency in the model of schbench, with its flags and its terms.
//!
//! Each message thread has workers. A worker asks its message thread and sleeps; the message thread wakes all that
//! asked, and sleeps itself until the next asks. An answered worker handles one request: it sleeps for a moment, as if
//! for the network, then multiplies matrices while it holds the lock of the CPU that it is on, then asks again.
//!
//! - *Wakeup latency* runs from the moment at which the message thread began to answer until the worker runs. One clock
//!   reading serves the whole list of those who asked, so a worker also waits for the answers before its own: a
//!   scheduler that lets each woken worker preempt the message thread shows it here.
//! - *Request latency* runs from the worker's waking until its work is done: the sleep, the lock and the matrices.
//! - The lock is a spinlock for each CPU, which no kernel help makes fair: a worker that is preempted in its work makes
//!   the next one on that CPU spin for its whole slice. So preemption in mid-request has a price.
//!
//! The measured path allocates nothing and takes no lock but that one.
//!
//! Memory order: a worker joins the list and only then looks whether the run is stopping; a message thread looks whether
//! it is stopping and only then takes the list. All four are sequentially consistent, so either the worker sees the stop
//! and does not sleep, or the message thread sees the worker and wakes it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::{self, Builder, ScopedJoinHandle};

use anyhow::{anyhow, Context, Result};
use serde::Serialize;

use super::matrices::{CpuLocks, Matrices};
use super::{nap, real, Load, Stage};
use crate::clock::Clock;
use crate::futex::Bell;
use crate::latency::{self, Latencies, Timings};
use crate::priority::Priority;
use crate::report::{row, Figures, Row};
use crate::topology::Topology;
use crate::window::Measured;

/// Workers of all message threads together.
const MAX_WORKERS: u64 = 16_384;

/// The flags of the load, with schbench's names, meanings and defaults.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Message threads
    #[arg(short = 'm', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    message_threads: u32,
    /// Workers of each message thread; 0 for as many as give one worker to each CPU
    #[arg(short = 't', long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=4096))]
    threads: u32,
    /// Memory that a worker's matrices take, in KB
    #[arg(short = 'F', long = "cache_footprint", visible_alias = "cache-footprint", value_name = "KB",
          default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    cache_footprint_kb: u64,
    /// Matrix multiplications in each request
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    operations: u32,
    /// Sleep at the beginning of each request, in microseconds
    #[arg(short = 's', long = "sleep_usec", visible_alias = "sleep-usec", value_name = "US",
          default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=999_999))]
    sleep_us: u32,
    /// Taken for schbench's sake and without effect: figures are printed once, at the end
    #[arg(short = 'i', long, value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    #[serde(skip)]
    intervaltime: u64,
    /// Run schbench itself, where it is installed, and report its figures
    #[arg(long)]
    real: bool,
}

impl Load for Args {
    const NAME: &'static str = "wake";
    type Figures = WakeFigures;

    fn real(&self) -> bool {
        self.real
    }

    fn checked(mut self, topology: &Topology) -> Result<Self, String> {
        if self.threads == 0 {
            let cpus = u32::try_from(topology.online().len()).unwrap_or(u32::MAX);
            self.threads = cpus.div_ceil(self.message_threads);
        }
        let workers = self.workers();
        if workers > MAX_WORKERS {
            return Err(format!(
                "{workers} workers are more than the {MAX_WORKERS} allowed"
            ));
        }
        let each = (self.cache_footprint_kb << 10) + 2 * latency::BYTES_EACH;
        let (needed, present) = (workers * each, super::physical_memory());
        if needed > present {
            let mib = |bytes: u64| bytes >> 20;
            return Err(format!(
                "{workers} workers with {} KB of matrices need {} MiB, and the machine has {} MiB",
                self.cache_footprint_kb,
                mib(needed),
                mib(present)
            ));
        }
        Ok(self)
    }

    fn run(&self, stage: Stage<'_>) -> Result<(WakeFigures, Measured)> {
        if self.real {
            return self.run_schbench(stage);
        }
        let (seen, measured) = run(self, stage)?;
        let figures = WakeFigures {
            timings: Timings::default()
                .with("wakeup", &seen.wakeup)
                .with("request", &seen.request),
            requests: measured.completed,
            requests_per_second: measured.completed as f64 / measured.runtime_s,
        };
        Ok((figures, measured))
    }
}

impl Args {
    fn run_schbench(&self, stage: Stage<'_>) -> Result<(WakeFigures, Measured)> {
        let arguments = [
            ("-m", u64::from(self.message_threads)),
            ("-t", u64::from(self.threads)),
            ("-F", self.cache_footprint_kb),
            ("-n", u64::from(self.operations)),
            ("-s", u64::from(self.sleep_us)),
            ("-r", stage.window.total().as_secs()),
        ];
        let arguments = arguments
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value.to_string()]);
        let (schbench, measured) = real::run(
            "schbench",
            arguments.collect(),
            stage,
            real::schbench::parse,
        )?;
        let figures = WakeFigures {
            timings: Timings::default()
                .with_percentiles("wakeup", schbench.wakeup)
                .with_percentiles("request", schbench.request),
            requests: schbench.request.samples,
            requests_per_second: schbench.requests_per_second,
        };
        Ok((figures, measured))
    }

    fn workers(&self) -> u64 {
        u64::from(self.message_threads) * u64::from(self.threads)
    }
}

/// What the load measured.
#[derive(Debug, Serialize)]
pub struct WakeFigures {
    #[serde(flatten)]
    timings: Timings,
    requests: u64,
    requests_per_second: f64,
}

impl Figures for WakeFigures {
    fn rows(&self) -> Vec<Row> {
        let mut rows = self.timings.rows();
        rows.push(row("requests_per_second", Some(self.requests_per_second)));
        rows
    }
}

/// Runs the load through its window.
fn run(args: &Args, stage: Stage<'_>) -> Result<(Seen, Measured)> {
    let Stage {
        topology,
        window,
        priority,
    } = stage;
    let clock = Clock::start();
    let locks = CpuLocks::new(topology.cpu_slots());
    let teams: Vec<Team> = (0..args.message_threads)
        .map(|_| Team::new(args.threads))
        .collect();

    thread::scope(|scope| {
        let mut messengers = Vec::with_capacity(teams.len());
        let mut failure = None;
        for team in &teams {
            let (clock, locks) = (&clock, &locks);
            let started = Builder::new()
                .name("mpg-messenger".to_owned())
                .spawn_scoped(scope, move || {
                    message_thread(team, args, clock, locks, priority)
                });
            match started {
                Ok(thread) => messengers.push(thread),
                Err(error) => {
                    // Those that run already must end, or the scope would wait for them for ever.
                    clock.stop();
                    failure = Some(anyhow!(error).context("cannot start a message thread"));
                    break;
                }
            }
        }

        let completed = || teams.iter().map(Team::completed).sum();
        let measured = window.measure(&clock, topology, completed);

        clock.stop();
        teams.iter().for_each(|team| team.bell.ring());
        let seen = gather(messengers)?;
        match failure {
            Some(failure) => Err(failure),
            None => Ok((seen, measured)),
        }
    })
}

/// What workers saw: one worker at first, all of them in the end.
struct Seen {
    wakeup: Latencies,
    request: Latencies,
}

impl Seen {
    fn nothing() -> Result<Self> {
        Ok(Seen {
            wakeup: Latencies::new()?,
            request: Latencies::new()?,
        })
    }

    fn merge(&mut self, other: &Seen) -> Result<()> {
        self.wakeup.merge(&other.wakeup)?;
        self.request.merge(&other.request)
    }
}

/// Waits for the threads to end and merges what they saw. All are waited for, also when one failed.
fn gather(threads: Vec<ScopedJoinHandle<'_, Result<Seen>>>) -> Result<Seen> {
    let results: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
    let mut all = Seen::nothing()?;
    for result in results {
        let seen = result.map_err(|_| anyhow!("a thread of the load panicked"))??;
        all.merge(&seen)?;
    }
    Ok(all)
}

/// A message thread and its workers.
struct Team {
    /// Rung by a worker that asks.
    bell: Bell,
    /// Who asked and was not answered, the latest first: 0 for nobody, else a worker's number plus one.
    asking: AtomicU32,
    workers: Vec<Worker>,
}

/// What a worker shares with its message thread. The bell and the time are on one cache line, and no line is shared with
/// another worker.
#[derive(Default)]
#[repr(align(64))]
struct Worker {
    /// Rung by the message thread when it answers.
    bell: Bell,
    /// Next in the list of those who ask, as in [`Team::asking`].
    next: AtomicU32,
    /// When the message thread began to answer, on the run's clock.
    posted_ns: AtomicU64,
    /// Requests done since the start. Written by the worker only.
    completed: AtomicU64,
}

impl Team {
    fn new(workers: u32) -> Self {
        Team {
            bell: Bell::default(),
            asking: AtomicU32::new(0),
            workers: (0..workers).map(|_| Worker::default()).collect(),
        }
    }

    fn completed(&self) -> u64 {
        self.workers
            .iter()
            .map(|worker| worker.completed.load(Ordering::Relaxed))
            .sum()
    }

    /// Puts a worker on the list. Only the worker itself calls this, and not while it is on the list.
    fn ask(&self, number: u32, worker: &Worker) {
        let mut first = self.asking.load(Ordering::Relaxed);
        loop {
            worker.next.store(first, Ordering::Relaxed);
            // The list is only ever taken whole, so a head that is the same again means the same list.
            match self.asking.compare_exchange_weak(
                first,
                number + 1,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Wakes all that asked. Only the message thread calls this.
    fn answer_all(&self, clock: &Clock) {
        let mut entry = self.asking.swap(0, Ordering::SeqCst);
        let now_ns = clock.now_ns();
        while let Some(worker) = entry
            .checked_sub(1)
            .and_then(|n| self.workers.get(n as usize))
        {
            // Before the bell: once rung, the worker may ask again and use its link anew.
            entry = worker.next.load(Ordering::Relaxed);
            worker.posted_ns.store(now_ns, Ordering::Relaxed);
            worker.bell.ring();
        }
    }
}

/// Starts the team's workers, answers them until the run stops, and merges what they saw.
fn message_thread(
    team: &Team,
    args: &Args,
    clock: &Clock,
    locks: &CpuLocks,
    priority: Priority,
) -> Result<Seen> {
    // Its workers take it from this thread.
    priority.take().inspect_err(|_| clock.stop())?;
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(team.workers.len());
        let mut failure = None;
        for (number, worker) in (0u32..).zip(&team.workers) {
            let started = Builder::new()
                .name("mpg-worker".to_owned())
                .spawn_scoped(scope, move || {
                    worker_thread(team, number, worker, args, clock, locks)
                });
            match started {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    clock.stop();
                    failure = Some(anyhow!(error).context("cannot start a worker"));
                    break;
                }
            }
        }

        while !clock.stopping() {
            team.bell.hush();
            team.answer_all(clock);
            if clock.stopping() {
                break;
            }
            team.bell.wait();
        }
        team.answer_all(clock);
        let seen = gather(threads);
        match failure {
            Some(failure) => Err(failure),
            None => seen,
        }
    })
}

/// Asks and handles requests until the run stops.
fn worker_thread(
    team: &Team,
    number: u32,
    worker: &Worker,
    args: &Args,
    clock: &Clock,
    locks: &CpuLocks,
) -> Result<Seen> {
    // Allocated and touched by this thread, so that the pages are on its node.
    let prepared = Seen::nothing()
        .and_then(|seen| Ok((seen, Matrices::new(args.cache_footprint_kb)?)))
        .context("cannot prepare a worker");
    let (mut seen, matrices) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            clock.stop();
            return Err(error);
        }
    };

    while !clock.stopping() {
        worker.bell.hush();
        team.ask(number, worker);
        team.bell.ring();
        if clock.stopping() {
            break;
        }
        worker.bell.wait();

        let woken_ns = clock.now_ns();
        let posted_ns = worker.posted_ns.load(Ordering::Relaxed);
        if clock.covers(posted_ns) {
            seen.wakeup
                .record_if_slept(woken_ns.saturating_sub(posted_ns));
        }

        let begun_ns = clock.now_ns();
        nap(args.sleep_us);
        {
            let _lock = locks.lock_this_cpu();
            for _ in 0..args.operations {
                matrices.multiply();
            }
        }
        let done_ns = clock.now_ns();
        worker.completed.store(
            worker.completed.load(Ordering::Relaxed) + 1,
            Ordering::Relaxed,
        );
        if clock.covers(begun_ns) {
            seen.request
                .record_if_slept(done_ns.saturating_sub(begun_ns));
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(message_threads: u32, threads: u32) -> Args {
        Args {
            message_threads,
            threads,
            cache_footprint_kb: 16,
            operations: 1,
            sleep_us: 10,
            intervaltime: 10,
            real: false,
        }
    }

    #[test]
    fn workers_default_to_one_for_each_cpu() {
        let topology = Topology::of(&[0; 5]);
        let threads = |m, t| args(m, t).checked(&topology).map(|args| args.threads);
        assert_eq!(threads(1, 0), Ok(5));
        assert_eq!(threads(2, 0), Ok(3));
        assert_eq!(threads(9, 0), Ok(1));
        assert_eq!(threads(2, 4), Ok(4));
    }

    #[test]
    fn what_the_machine_cannot_hold_is_refused() {
        let topology = Topology::of(&[0]);
        let error = args(1024, 4096)
            .checked(&topology)
            .err()
            .unwrap_or_default();
        assert_eq!(error, "4194304 workers are more than the 16384 allowed");
        let huge = Args {
            cache_footprint_kb: 1 << 20,
            ..args(4, 4096)
        };
        let error = huge.checked(&topology).err().unwrap_or_default();
        assert!(error.contains("the machine has"), "{error}");
    }

    #[test]
    fn all_that_asked_are_answered_once() {
        let clock = Clock::start();
        let team = Team::new(3);
        for (number, worker) in (0u32..).zip(&team.workers) {
            team.ask(number, worker);
        }
        team.answer_all(&clock);
        team.workers.iter().for_each(|worker| worker.bell.wait());
        assert_eq!(team.asking.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_short_run_gives_figures() -> Result<()> {
        let (figures, measured) = crate::load::short_run(&args(2, 3))?;
        let (wakeup, request) = (figures.timings.of("wakeup"), figures.timings.of("request"));
        assert!(figures.requests > 0 && wakeup.is_some_and(|p| p.p50_us <= p.p99_us));
        assert!(request.is_some_and(|p| p.p50_us >= 10.0));
        assert!(measured.runtime_s >= 0.1);
        assert_eq!(measured.migrations.migrations, None);
        Ok(())
    }
}
