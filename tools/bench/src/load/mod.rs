//! The loads. Each is a module with `Args`, which is its [`Load`], and figures of its own.

pub mod fork;
pub mod hog;
mod matrices;
pub mod memory;
pub mod messaging;
pub mod mix;
pub mod numa;
pub mod pipe;
mod placed;
pub mod quota;
mod real;
pub mod shares;
pub mod timer;
pub mod usleep;
pub mod wake;

use anyhow::Result;
use serde::Serialize;

use crate::priority::Priority;
use crate::report::Figures;
use crate::topology::Topology;
use crate::window::{Measured, Window};

/// A load as the command line asks for it; serialized, it is the report's `parameters`.
pub trait Load: Serialize + Sized {
    /// Its name on the command line and in reports.
    const NAME: &'static str;
    /// What it measures.
    type Figures: Figures;

    /// Why its threads cannot be SCHED_FIFO, where they cannot.
    const NO_FIFO: Option<&'static str> = None;

    /// Whether it does an amount of work, and not work for a time: the run's length and warm-up mean nothing then.
    fn fixed_work(&self) -> bool {
        false
    }

    /// Whether it runs the program that it is modelled on instead. That one knows of no warm-up.
    fn real(&self) -> bool {
        false
    }

    /// Fills in what depends on the machine, and refuses what the machine cannot hold, with a sentence.
    fn checked(self, _topology: &Topology) -> Result<Self, String> {
        Ok(self)
    }

    /// Runs through the stage's window.
    fn run(&self, stage: Stage<'_>) -> Result<(Self::Figures, Measured)>;
}

/// What a load runs on.
pub struct Stage<'a> {
    /// The machine.
    pub topology: &'a Topology,
    /// The window that it is measured in.
    pub window: Window,
    /// What its measured threads take before they measure.
    pub priority: Priority,
}

/// Threads and processes that a load may start.
const MAX_TASKS: u64 = 16_384;

/// Sleeps for so many microseconds and the kernel's timer slack.
fn nap(us: u32) {
    if us > 0 {
        // SAFETY: usleep takes a plain number.
        unsafe {
            libc::usleep(us);
        }
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

/// So many for each CPU that is online.
fn per_cpu(number: u32, topology: &Topology) -> u32 {
    let cpus = u32::try_from(topology.online().len()).unwrap_or(u32::MAX);
    cpus.saturating_mul(number)
}

/// Refuses more tasks than are allowed.
fn check_tasks(tasks: u64) -> Result<(), String> {
    if tasks > MAX_TASKS {
        return Err(format!(
            "{tasks} threads are more than the {MAX_TASKS} allowed"
        ));
    }
    Ok(())
}

/// `part` of `whole` in percent; 0 of nothing.
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Runs a load for a tenth of a second, without counters.
#[cfg(test)]
fn short_run<L: Load>(load: &L) -> Result<(L::Figures, Measured)> {
    use std::time::Duration;

    let topology = Topology::read()?;
    let window = Window::new(Duration::from_millis(20), Duration::from_millis(100), None);
    load.run(Stage {
        topology: &topology,
        window,
        priority: Priority::Ordinary,
    })
}
