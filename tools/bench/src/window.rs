//! The measured window: opened and closed by the main thread while the load's threads run.

use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::counts::{self, Counters, MigrationCounts, Switches};
use crate::say;
use crate::topology::Topology;

/// How often the main thread wakes in the window, to drain the rings: as often as schbench's, which counts then.
const PULSE: Duration = Duration::from_secs(1);

/// A window to come.
pub struct Window {
    warmup: Duration,
    length: Duration,
    counters: Option<Counters>,
}

/// What was counted between the window's edges.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// From edge to edge, in seconds.
    pub runtime_s: f64,
    /// Units of work that the load's threads completed; the load says what a unit is.
    #[serde(skip)]
    pub completed: u64,
    /// Migrations, of all tasks and of the load's own.
    #[serde(flatten)]
    pub migrations: MigrationCounts,
    /// Context switches of the load's own threads, of both kinds.
    pub context_switches: u64,
    /// Those of them that took the CPU from a thread that wanted to run on.
    pub involuntary_switches: u64,
}

impl Window {
    /// A window of `length` that opens `warmup` after the load began.
    pub fn new(warmup: Duration, length: Duration, counters: Option<Counters>) -> Self {
        Window {
            warmup,
            length,
            counters,
        }
    }

    /// Measures a load that is running, from the thread that started it. `completed` sums up what the load's threads
    /// have done so far. Returns early when one of them stops the clock.
    pub fn measure(
        mut self,
        clock: &Clock,
        topology: &Topology,
        completed: impl Fn() -> u64,
    ) -> Measured {
        self.sleep_until(
            clock.now_ns().saturating_add(nanoseconds(self.warmup)),
            clock,
            topology,
        );

        let switches = Switches::now();
        self.try_counters(|counters| counters.enable());
        let done_before = completed();
        let opened_ns = clock.open();

        self.sleep_until(
            opened_ns.saturating_add(nanoseconds(self.length)),
            clock,
            topology,
        );

        let closed_ns = clock.close();
        let done_after = completed();
        self.try_counters(|counters| counters.disable());
        let switches = Switches::now().since(switches);

        Measured {
            runtime_s: closed_ns.saturating_sub(opened_ns) as f64 / 1e9,
            completed: done_after.saturating_sub(done_before),
            migrations: self.migrations(topology),
            context_switches: switches.voluntary + switches.involuntary,
            involuntary_switches: switches.involuntary,
        }
    }

    /// Sleeps until the clock reads `end_ns`, or is stopped, and drains the rings meanwhile.
    fn sleep_until(&mut self, end_ns: u64, clock: &Clock, topology: &Topology) {
        while !clock.stopping() {
            let left = Duration::from_nanos(end_ns.saturating_sub(clock.now_ns()));
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(PULSE));
            if let Some(counters) = &mut self.counters {
                counters.drain(topology);
            }
        }
    }

    /// Does something with the counters, and does without them from then on if it fails.
    fn try_counters(&mut self, act: impl FnOnce(&Counters) -> anyhow::Result<()>) {
        if let Some(Err(error)) = self.counters.as_ref().map(act) {
            say(&format!("migrations are not counted: {error:#}"));
            self.counters = None;
        }
    }

    fn migrations(&mut self, topology: &Topology) -> MigrationCounts {
        let Some(counters) = &mut self.counters else {
            return MigrationCounts::default();
        };
        counters.drain(topology);
        counters
            .counts(&counts::own_threads())
            .unwrap_or_else(|error| {
                say(&format!("migrations are not counted: {error:#}"));
                MigrationCounts::default()
            })
    }
}

/// A duration in nanoseconds; the longest there is where it is longer.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
