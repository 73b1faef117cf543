// SPDX-License-Identifier: GPL-2.0-only
//! Says when something is wrong, once, and when it is over.
//!
//! One thread, no worker, takes a [`Sample`] every [`SAMPLE_EVERY`] and lets the [`Judge`] have it. What
//! changes is logged, and stands in the statistics. With a starvation goes a picture of all queues,
//! in a file ([`snapshot`]).
//!
//! # What it may cost
//!
//! Four samples a second. A sample reads a few cache lines of each node and of each CPU, which
//! their owners write, and makes no system call but the sleep after it. Only while a node with idle
//! CPUs stands beside one where Gs wait are the queues of the latter looked at, one system call each.

mod judge;
mod sampler;
mod snapshot;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::crew::Crew;
use crate::schedtrace::Tracer;

pub use judge::{Alert, ALERTS};
use judge::{Change, Judge};
use sampler::Sampler;
use snapshot::Album;

/// Time between two samples: a second has as many as raise an alert.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// Stack of the thread, locked in memory.
const STACK_BYTES: usize = 256 * 1024;

/// Which alerts are raised, and how many ever were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// By alert.
    pub raised: [bool; ALERTS.len()],
    /// Alerts raised since the load.
    pub total: u64,
}

impl Standing {
    /// Whether an alert is raised.
    pub fn is_raised(&self, alert: Alert) -> bool {
        self.raised[alert as usize]
    }
}

/// Where the thread says how things stand, for all to read.
#[derive(Default)]
pub struct Board {
    raised: [AtomicBool; ALERTS.len()],
    total: AtomicU64,
}

impl Board {
    /// How things stand; may be called from any thread.
    pub fn standing(&self) -> Standing {
        Standing {
            raised: std::array::from_fn(|at| self.raised[at].load(Ordering::Relaxed)),
            total: self.total.load(Ordering::Relaxed),
        }
    }
}

/// The thread that looks after everything's health.
pub struct Health {
    stop: Arc<AtomicBool>,
    crew: Crew,
}

impl Health {
    /// Starts the thread, which looks at what the tracer does and writes to the board, until `stop`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(tracer: Tracer, board: Arc<Board>, stop: &Arc<AtomicBool>) -> Result<Self> {
        let mut health = Self {
            stop: Arc::clone(stop),
            crew: Crew::default(),
        };
        let stop = Arc::clone(stop);
        let who = "the thread that looks after health";
        health
            .crew
            .hire_as("mpg-health", who, STACK_BYTES, move |ready| {
                ready.tell();
                watch(&Sampler::new(&tracer), &tracer, &board, &stop);
                Ok(())
            })?;
        Ok(health)
    }

    /// Whether the thread has ended by itself, which only a fault makes it do.
    pub fn has_fault(&self) -> bool {
        self.crew.has_fault()
    }

    /// Ends the thread and waits for it.
    ///
    /// # Errors
    /// What it ended with.
    pub fn stop(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.crew.dismiss()
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(sampler: &Sampler, tracer: &Tracer, board: &Board, stop: &AtomicBool) {
    let mut judge = Judge::default();
    let mut album = Album::default();
    let mut raised_at = [None; ALERTS.len()];
    while !stop.load(Ordering::Relaxed) {
        for change in judge.judge(&sampler.take()) {
            match change {
                Change::Raised(alert, says) => {
                    raised_at[alert as usize] = Some(Instant::now());
                    board.raised[alert as usize].store(true, Ordering::Relaxed);
                    board.total.fetch_add(1, Ordering::Relaxed);
                    log::warn!("alert {}: {says}", alert.name());
                    if alert == Alert::Starvation {
                        album.add(tracer, &says);
                    }
                }
                Change::Cleared(alert) => {
                    let since = raised_at[alert as usize]
                        .map_or(Duration::ZERO, |at: Instant| at.elapsed());
                    board.raised[alert as usize].store(false, Ordering::Relaxed);
                    log::info!("alert {} is over after {since:.1?}", alert.name());
                }
            }
        }
        std::thread::sleep(SAMPLE_EVERY);
    }
}
