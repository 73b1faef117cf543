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

use std::hint::{black_box, spin_loop};
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, Builder, ScopedJoinHandle};

use anyhow::{anyhow, Context, Result};
use serde::Serialize;

use crate::clock::Clock;
use crate::futex::Bell;
use crate::latency::{self, Latencies, Percentiles};
use crate::report::{Figures, Row};
use crate::topology::Topology;
use crate::window::{Measured, Window};

/// Workers of all message threads together.
const MAX_WORKERS: u64 = 16_384;
/// Factor matrices, and their product, share the cache footprint.
const MATRICES: u64 = 3;
/// Of one matrix element.
const ELEMENT_BYTES: u64 = 8;

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
}

impl Args {
    /// Fills in what depends on the machine, and refuses what the machine cannot hold, with a sentence.
    pub fn checked(mut self, topology: &Topology) -> Result<Self, String> {
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
        let (needed, present) = (workers * each, physical_memory());
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

    fn workers(&self) -> u64 {
        u64::from(self.message_threads) * u64::from(self.threads)
    }
}

/// The machine's memory in bytes; all there could be where the kernel does not say.
fn physical_memory() -> u64 {
    // SAFETY: sysconf only reads its argument.
    let (pages, size) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    match (u64::try_from(pages), u64::try_from(size)) {
        (Ok(pages), Ok(size)) => pages.saturating_mul(size),
        _ => u64::MAX,
    }
}

/// What the load measured. Latencies are `None` where no sample was taken.
#[derive(Debug, Serialize)]
pub struct WakeFigures {
    wakeup_p50_us: Option<f64>,
    wakeup_p90_us: Option<f64>,
    wakeup_p99_us: Option<f64>,
    wakeup_p999_us: Option<f64>,
    wakeup_max_us: Option<f64>,
    wakeup_samples: u64,
    request_p50_us: Option<f64>,
    request_p90_us: Option<f64>,
    request_p99_us: Option<f64>,
    request_p999_us: Option<f64>,
    request_max_us: Option<f64>,
    request_samples: u64,
    requests: u64,
    requests_per_second: f64,
}

impl WakeFigures {
    fn new(seen: &Seen, measured: &Measured) -> Self {
        let (wakeup, request) = (seen.wakeup.percentiles(), seen.request.percentiles());
        let us = |p: &Option<Percentiles>, of: fn(&Percentiles) -> f64| p.as_ref().map(of);
        WakeFigures {
            wakeup_p50_us: us(&wakeup, |p| p.p50_us),
            wakeup_p90_us: us(&wakeup, |p| p.p90_us),
            wakeup_p99_us: us(&wakeup, |p| p.p99_us),
            wakeup_p999_us: us(&wakeup, |p| p.p999_us),
            wakeup_max_us: us(&wakeup, |p| p.max_us),
            wakeup_samples: wakeup.map_or(0, |p| p.samples),
            request_p50_us: us(&request, |p| p.p50_us),
            request_p90_us: us(&request, |p| p.p90_us),
            request_p99_us: us(&request, |p| p.p99_us),
            request_p999_us: us(&request, |p| p.p999_us),
            request_max_us: us(&request, |p| p.max_us),
            request_samples: request.map_or(0, |p| p.samples),
            requests: measured.completed,
            requests_per_second: measured.completed as f64 / measured.runtime_s,
        }
    }
}

impl Figures for WakeFigures {
    fn rows(&self) -> Vec<Row> {
        let us = |label, value: Option<f64>| {
            (
                label,
                value.map_or("no samples".to_owned(), |us| format!("{us:.1} us")),
            )
        };
        vec![
            us("wakeup p50", self.wakeup_p50_us),
            us("wakeup p90", self.wakeup_p90_us),
            us("wakeup p99", self.wakeup_p99_us),
            us("wakeup p99.9", self.wakeup_p999_us),
            us("wakeup max", self.wakeup_max_us),
            us("request p50", self.request_p50_us),
            us("request p90", self.request_p90_us),
            us("request p99", self.request_p99_us),
            us("request p99.9", self.request_p999_us),
            us("request max", self.request_max_us),
            (
                "requests",
                format!("{:.2} per second", self.requests_per_second),
            ),
        ]
    }
}

/// Runs the load through its window.
pub fn run(args: &Args, topology: &Topology, window: Window) -> Result<(WakeFigures, Measured)> {
    let clock = Clock::start();
    let locks = CpuLocks::new(topology.cpu_slots());
    let teams: Vec<Team> = (0..args.message_threads)
        .map(|_| Team::new(args.threads))
        .collect();

    let (seen, measured) = thread::scope(|scope| -> Result<(Seen, Measured)> {
        let mut messengers = Vec::with_capacity(teams.len());
        let mut failure = None;
        for team in &teams {
            let (clock, locks) = (&clock, &locks);
            let started = Builder::new()
                .name("mpg-messenger".to_owned())
                .spawn_scoped(scope, move || message_thread(team, args, clock, locks));
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
    })?;
    Ok((WakeFigures::new(&seen, &measured), measured))
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
fn message_thread(team: &Team, args: &Args, clock: &Clock, locks: &CpuLocks) -> Result<Seen> {
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
            seen.wakeup.record(woken_ns.saturating_sub(posted_ns));
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
            seen.request.record(done_ns.saturating_sub(begun_ns));
        }
    }
    Ok(seen)
}

/// Sleeps for so many microseconds and the kernel's timer slack.
fn nap(us: u32) {
    if us > 0 {
        // SAFETY: usleep takes a plain number.
        unsafe {
            libc::usleep(us);
        }
    }
}

/// A worker's matrices: two factors and their product, square.
struct Matrices {
    /// Rows, and columns.
    size: usize,
    left: Vec<u64>,
    right: Vec<u64>,
    /// Atomic so that each partial sum is really stored, as in schbench, whose compiler must expect the product to
    /// overlap the factors. The time of a multiplication is part of what is compared.
    product: Vec<AtomicU64>,
}

impl Matrices {
    fn new(footprint_kb: u64) -> Result<Self> {
        let size = ((footprint_kb << 10) / MATRICES / ELEMENT_BYTES).isqrt() as usize;
        let elements = size * size;
        // Written, not only asked for: otherwise the factors would all be the kernel's one page of zeros, and the
        // footprint a third of what was asked for.
        let filled = || -> Result<Vec<u64>> {
            let mut matrix = Vec::new();
            matrix.try_reserve_exact(elements)?;
            matrix.extend((1..=elements as u64).map(|n| n % 7));
            Ok(matrix)
        };
        let mut product = Vec::new();
        product.try_reserve_exact(elements)?;
        product.extend(iter::repeat_with(|| AtomicU64::new(1)).take(elements));
        Ok(Matrices {
            size,
            left: filled()?,
            right: filled()?,
            product,
        })
    }

    #[inline(never)]
    fn multiply(&self) {
        let size = self.size;
        let rows = self
            .left
            .chunks_exact(size)
            .zip(self.product.chunks_exact(size));
        for (row, out) in rows {
            for (column, out) in (0..size).zip(out) {
                let mut sum = 0u64;
                for (a, right_row) in row.iter().zip(self.right.chunks_exact(size)) {
                    sum = sum.wrapping_add(a.wrapping_mul(right_row[column]));
                    out.store(sum, Ordering::Relaxed);
                    // Emits nothing, and keeps the compiler from unrolling: a step then takes the 8 instructions that
                    // it takes in schbench, which is what virtual time counts.
                    black_box(());
                }
            }
        }
    }
}

/// A spinlock for each CPU.
struct CpuLocks(Vec<CpuLock>);

#[derive(Default)]
#[repr(align(64))]
struct CpuLock(AtomicBool);

/// Unlocks when dropped.
struct Locked<'a>(&'a AtomicBool);

impl CpuLocks {
    fn new(cpus: usize) -> Self {
        CpuLocks((0..cpus.max(1)).map(|_| CpuLock::default()).collect())
    }

    /// The lock of the CPU that the caller is on. It may be moved away at any time after.
    fn here(&self) -> (usize, &AtomicBool) {
        // SAFETY: sched_getcpu takes nothing and returns a number.
        let cpu = unsafe { libc::sched_getcpu() };
        // There is a lock for each possible CPU; the bound only spares the path a panic.
        let cpu = usize::try_from(cpu).unwrap_or(0).min(self.0.len() - 1);
        (cpu, &self.0[cpu].0)
    }

    /// Spins for the lock of the CPU that the caller is on; again with another when it was moved meanwhile.
    fn lock_this_cpu(&self) -> Locked<'_> {
        loop {
            let (cpu, lock) = self.here();
            while lock
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
            {
                spin_loop();
            }
            let locked = Locked(lock);
            if self.here().0 == cpu {
                return locked;
            }
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn args(message_threads: u32, threads: u32) -> Args {
        Args {
            message_threads,
            threads,
            cache_footprint_kb: 16,
            operations: 1,
            sleep_us: 10,
            intervaltime: 10,
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
    fn matrices_have_the_size_of_the_footprint_and_multiply() -> Result<()> {
        assert_eq!(Matrices::new(16)?.size, 26);
        assert_eq!(Matrices::new(256)?.size, 104);
        let matrices = Matrices {
            size: 2,
            left: vec![1, 2, 3, 4],
            right: vec![5, 6, 7, 8],
            product: (0..4).map(|_| AtomicU64::new(9)).collect(),
        };
        matrices.multiply();
        let product: Vec<u64> = matrices
            .product
            .into_iter()
            .map(AtomicU64::into_inner)
            .collect();
        assert_eq!(product, [19, 22, 43, 50]);
        Ok(())
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
        let topology = Topology::read()?;
        let window = Window::new(Duration::from_millis(20), Duration::from_millis(100), None);
        let (figures, measured) = run(&args(2, 3), &topology, window)?;
        assert!(figures.requests > 0 && figures.wakeup_samples > 0);
        assert!(figures.wakeup_p50_us <= figures.wakeup_p99_us);
        assert!(figures.request_p50_us >= Some(10.0));
        assert!(measured.runtime_s >= 0.1);
        assert_eq!(measured.migrations.migrations, None);
        Ok(())
    }
}
