//! What a comparison found, as it is written to JSON and read back by `report` and `check`.
//!
//! Everything that a reader of figures needs is in here, so that the table, the Markdown and the HTML are functions of
//! this alone. Schedulers are numbered in the order of the command line; the first is the one that ratios are to.

use serde::{Deserialize, Serialize};

/// The form of this file. One that says another number is refused.
pub const VERSION: u32 = 1;

/// One comparison, whole or cut short.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Comparison {
    /// [`VERSION`].
    pub version: u32,
    /// Whether it ended before all rounds were run; what is here is what was measured so far.
    pub partial: bool,
    /// What was measured, and where.
    pub setting: Setting,
    /// The schedulers compared; the first is the reference.
    pub schedulers: Vec<Scheduler>,
    /// The loads, in the order of the command line.
    pub loads: Vec<Load>,
}

/// What a reader needs to judge the figures and to repeat them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Setting {
    /// When the comparison began, in UTC, as in "2026-11-21 05:40".
    pub begun: String,
    /// The commit of the project that was measured, where whoever called knew it.
    pub commit: Option<String>,
    /// Kernel release.
    pub kernel: String,
    /// The command that repeats the comparison.
    pub command: String,
    /// How time passed: "virtual" where a nanosecond is an instruction, "real" otherwise.
    pub time: String,
    /// The processor's name, as /proc/cpuinfo has it.
    pub processor: String,
    /// Numbers of the CPUs online, by NUMA node.
    pub nodes: Vec<Vec<usize>>,
    /// Threads of a core.
    pub threads_per_core: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Rounds asked for; each runs every load under every scheduler.
    pub rounds: u32,
    /// Length of one run in seconds, warm-up included.
    pub seconds: u64,
}

/// One scheduler of the comparison.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Scheduler {
    /// What people call it: "eevdf", "mpg", "mpg --policy=fifo".
    pub label: String,
    /// The program and its arguments; `None` for the kernel's own scheduler.
    pub command: Option<String>,
    /// The name that the kernel has it under while it is loaded; `None` for the kernel's own, or before it was loaded.
    pub ops: Option<String>,
}

/// One load, under all schedulers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Load {
    /// Name and arguments as given: "wake -m 2 -t 4".
    pub label: String,
    /// The load itself: "wake".
    pub kind: String,
    /// What was measured, the most telling first.
    pub metrics: Vec<Metric>,
    /// Latency distributions, all rounds of a scheduler together.
    pub distributions: Vec<Distribution>,
    /// How busy the nodes were over the time of one run, for each scheduler that was run.
    pub heat: Vec<Heat>,
}

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// Neither: it explains, it does not judge.
    Neither,
}

/// What a figure is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A time that somebody waited.
    Latency,
    /// Work done in a time, or the time that work took.
    Throughput,
    /// Something that the kernel or the load counted.
    Count,
    /// Bits, shares and whatever else describes.
    Description,
}

/// One figure of a load.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Metric {
    /// Its name in a run's JSON: "wakeup_p99_us".
    pub name: String,
    /// Its name for people: "wakeup p99".
    pub label: String,
    /// Its unit, short: "us", "/s"; empty for counts.
    pub unit: String,
    /// Which way it is good.
    pub better: Better,
    /// What it is.
    pub kind: Kind,
    /// The same figure with the load's threads as SCHED_FIFO, which passes every scheduler by: what this machine makes
    /// of it at best. `None` where it was not measured.
    pub floor: Option<f64>,
    /// One for each scheduler, in their order.
    pub of: Vec<Values>,
}

/// One figure of one load under one scheduler.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Values {
    /// One for each round that was run, in the order of the rounds.
    pub rounds: Vec<f64>,
    /// Their median; `None` where there is none.
    pub median: Option<f64>,
    /// The bootstrap's 95% interval of the median.
    pub interval: Option<(f64, f64)>,
    /// Median over the reference's median; `None` for the reference itself, or where that is 0.
    pub ratio: Option<f64>,
    /// The bootstrap's 95% interval of the ratio.
    pub ratio_interval: Option<(f64, f64)>,
    /// What the ratio means.
    pub verdict: Verdict,
}

/// What a difference to the reference means.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The reference itself, or too few rounds to tell.
    #[default]
    None,
    /// Within noise.
    Same,
    /// A difference outside the noise, for the better.
    Better,
    /// A difference outside the noise, for the worse.
    Worse,
    /// A difference outside the noise in a figure that is neither good nor bad.
    Differs,
}

/// The latencies of one kind, under every scheduler.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Distribution {
    /// What was waited for: "wakeup".
    pub name: String,
    /// One for each scheduler, in their order: buckets in rising order, of all rounds together.
    pub of: Vec<Vec<Bucket>>,
    /// The floor's, where it was measured.
    pub floor: Option<Vec<Bucket>>,
}

/// Latencies of about one length. A bucket reaches down to the end of the one before.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Bucket(
    /// Longest latency in the bucket, in microseconds.
    pub f64,
    /// How many there were.
    pub u64,
);

/// How busy each node was during one run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Heat {
    /// Number of the scheduler.
    pub scheduler: usize,
    /// Time between two columns, in seconds.
    pub every_s: f64,
    /// By node, by time: share of the node's CPU time that was not idle, 0 to 1.
    pub nodes: Vec<Vec<f64>>,
}
