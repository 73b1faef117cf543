//! What came of a run.

use std::fmt;

use mpg_policy::{Class, Counters};

/// What came of one G.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GReport {
    /// What it was taken for in the end.
    pub class: Class,
    /// CPU time that it got.
    pub ran_ns: u64,
    /// How often it was started, with a wait in a queue and without.
    pub starts: u64,
    /// All of its waits in queues.
    pub waited_ns: u64,
    /// The longest of them.
    pub longest_wait_ns: u64,
    /// The most that it ran between two sleeps while it was taken for latency-sensitive.
    pub longest_latency_run_ns: u64,
    /// Starts on another node than the one before.
    pub node_changes: u64,
}

/// What came of a run. Two runs of one shape and seed are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Everything that happened, in order, in one number.
    pub trace: u64,
    /// One for each G of the shape, in its order.
    pub gs: Vec<GReport>,
    /// What the processors counted, by node.
    pub processors: Vec<Counters>,
    /// Starts without a queue, on an idle CPU.
    pub direct: u64,
    /// Enqueues under a lease.
    pub leased: u64,
    /// Latency-sensitive Gs put in the place of a batch G at once.
    pub preemptions: u64,
    /// Decisions that moved a G from custody to the primed queue.
    pub executed: u64,
    /// Decisions that came late and stand as a lease.
    pub renewed: u64,
    /// Decisions for an enqueue that was served.
    pub refused_stale: u64,
    /// Decisions for a node where the G may not run.
    pub refused_affinity: u64,
    /// Gs that a CPU took from custody undecided.
    pub undecided: u64,
    /// Gs that a CPU took from another node.
    pub stolen: u64,
    /// Gs that a CPU took from another node to balance the two.
    pub balanced: u64,
    /// Events that the ring had no room for.
    pub dropped: u64,
    /// Steps of workers.
    pub steps: u64,
}

impl Report {
    /// Adds to the trace; the order matters.
    pub(crate) fn trace(&mut self, words: &[u64]) {
        // FNV-1a, a word at a time.
        for &word in words {
            self.trace = (self.trace ^ word).wrapping_mul(0x0000_0100_0000_01b3);
            self.trace ^= self.trace >> 29;
        }
    }
}

/// An invariant did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in nanoseconds of the run.
    pub at_ns: u64,
    /// Which, and how.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ns: {}", self.at_ns, self.what)
    }
}

impl std::error::Error for Violation {}
