//! Starts a load's threads, measures while they run, and waits for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Builder, ScopedJoinHandle};

use anyhow::{anyhow, Context, Result};

use crate::clock::Clock;
use crate::gate::{Muster, Ready};

/// What one thread does: it prepares, drops its [`Ready`], and works until the clock is stopped.
pub struct Job<'a, T> {
    name: &'static str,
    work: Work<'a, T>,
}

type Work<'a, T> = Box<dyn FnOnce(Ready<'_>) -> Result<T> + Send + 'a>;

impl<'a, T> Job<'a, T> {
    /// A job for a thread of that name.
    pub fn new(name: &'static str, work: impl FnOnce(Ready<'_>) -> Result<T> + Send + 'a) -> Self {
        let work = Box::new(work);
        Job { name, work }
    }
}

/// Runs each job in a thread of its own, and `measure` in this one as soon as all jobs are ready; then stops the clock,
/// calls `release` for those who wait for more than the clock, and returns what the jobs returned, in their order.
///
/// A job that fails stops the clock, so that the others end too.
pub fn run<T: Send, M>(
    clock: &Clock,
    jobs: Vec<Job<'_, T>>,
    measure: impl FnOnce() -> M,
    release: impl FnOnce(),
) -> Result<(Vec<T>, M)> {
    let muster = Muster::of(jobs.len());
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(jobs.len());
        let mut started = Ok(());
        for Job { name, work } in jobs {
            let ready = muster.expected();
            let thread = Builder::new()
                .name(name.to_owned())
                .spawn_scoped(scope, move || {
                    let result = work(ready);
                    if result.is_err() {
                        clock.stop();
                    }
                    result
                });
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    started = Err(anyhow!(error).context(format!("cannot start thread {name}")));
                    break;
                }
            }
        }

        let measured = started.map(|()| {
            muster.wait();
            measure()
        });
        clock.stop();
        release();
        // All are waited for, also when one failed; the first failure is the cause of the others.
        let results: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        let results: Result<Vec<T>> = results
            .into_iter()
            .map(|joined| joined.map_err(|_| anyhow!("a thread of the load panicked"))?)
            .collect();
        let measured = measured?;
        Ok((results.context("the load failed")?, measured))
    })
}

/// A count that one thread writes and others read, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
pub struct OwnCount(AtomicU64);

impl OwnCount {
    /// Adds one. Only the owner calls this, so it needs no atomic addition.
    pub fn increment(&self) {
        self.0
            .store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// So many counts of zero.
pub fn counts(number: u32) -> Vec<OwnCount> {
    (0..number).map(|_| OwnCount::default()).collect()
}

/// The counts' sum.
pub fn sum(counts: &[OwnCount]) -> u64 {
    counts.iter().map(OwnCount::get).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measuring_begins_when_all_are_ready_and_ends_them() -> Result<()> {
        let clock = Clock::start();
        let done = counts(3);
        let jobs = done
            .iter()
            .enumerate()
            .map(|(number, count)| {
                let clock = &clock;
                Job::new("test", move |ready| {
                    count.increment();
                    drop(ready);
                    while !clock.stopping() {
                        thread::yield_now();
                    }
                    Ok(number)
                })
            })
            .collect();
        let (numbers, sum) = run(&clock, jobs, || sum(&done), || ())?;
        assert_eq!((numbers, sum), (vec![0, 1, 2], 3));
        Ok(())
    }

    #[test]
    fn a_failure_ends_all_and_is_told() {
        let clock = Clock::start();
        let jobs = vec![
            Job::new("idle", |ready| {
                drop(ready);
                while !clock.stopping() {
                    thread::yield_now();
                }
                Ok(())
            }),
            Job::new("broken", |_ready| Err(anyhow!("no luck"))),
        ];
        let error = run(&clock, jobs, || (), || ()).err();
        let sentence = error.map(|error| format!("{error:#}"));
        assert_eq!(sentence.as_deref(), Some("the load failed: no luck"));
    }
}
