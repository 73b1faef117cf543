// SPDX-License-Identifier: GPL-2.0-only
//! What each class tells of its runs: how long its Gs waited, and what they used of their slices.

use std::collections::BTreeMap;

use scx_stats_derive::{stat_doc, Stats};
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::ratio;
use crate::bpf_intf::{mpg_class_MPG_NR_CLASSES, mpg_limits_MPG_WAIT_UNIT_SHIFT};

/// Names of the classes in the order of `enum mpg_class`.
pub const CLASSES: [&str; mpg_class_MPG_NR_CLASSES as usize] =
    ["latency", "normal", "batch", "sched_idle"];

/// What one class tells at one moment. Counts are since the load.
#[derive(Clone, Debug, Default)]
pub struct ClassSnapshot {
    /// Waits of the Gs that started, in the wire's units; 0 for who found an idle CPU.
    pub waits: Histogram,
    /// What the Gs that stopped had been given, nanoseconds.
    pub given_ns: u64,
    /// What they ran of it, nanoseconds.
    pub used_ns: u64,
}

/// One class's part of [`Metrics`](super::Metrics).
#[stat_doc]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Stats)]
#[stat(
    desc = "one class of tasks, kernel threads left out; waits are off by an eighth or 1 us at most",
    _om_prefix = "c_",
    _om_label = "class"
)]
pub struct ClassMetrics {
    #[stat(desc = "runs that began")]
    pub starts: u64,
    #[stat(desc = "median wait for a run, microseconds; 0 for who found an idle CPU")]
    pub wait_p50_us: f64,
    #[stat(desc = "wait that 99% of the runs do not exceed, microseconds")]
    pub wait_p99_us: f64,
    #[stat(desc = "wait that 99.9% of the runs do not exceed, microseconds")]
    pub wait_p999_us: f64,
    #[stat(desc = "time run, % of the slices given; above 100 if slices ended late")]
    pub slice_use_pct: f64,
}

/// What happened from `before` to `now`, by class.
pub fn between(before: &[ClassSnapshot], now: &[ClassSnapshot]) -> BTreeMap<String, ClassMetrics> {
    let none = ClassSnapshot::default();
    let metrics = |(class, now): (usize, &ClassSnapshot)| {
        let before = before.get(class).unwrap_or(&none);
        let waits = now.waits.since(&before.waits);
        let wait_us = |permille| {
            waits.permille(permille) * f64::from(1 << mpg_limits_MPG_WAIT_UNIT_SHIFT) / 1000.0
        };
        let used_ns = now.used_ns.saturating_sub(before.used_ns);
        let given_ns = now.given_ns.saturating_sub(before.given_ns);
        let metrics = ClassMetrics {
            starts: waits.total(),
            wait_p50_us: wait_us(500),
            wait_p99_us: wait_us(990),
            wait_p999_us: wait_us(999),
            slice_use_pct: 100.0 * ratio(used_ns, given_ns),
        };
        (CLASSES[class].to_string(), metrics)
    };
    now.iter()
        .take(CLASSES.len())
        .enumerate()
        .map(metrics)
        .collect()
}
