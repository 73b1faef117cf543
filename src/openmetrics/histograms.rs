// SPDX-License-Identifier: GPL-2.0-only
//! What has no field in the table of statistics, for a percentile cannot be averaged over nodes or
//! time: waits by class and lives, as histograms, since the load.
//!
//! A bucket ends at a power of two of the kernel half's unit. The sum is that of the middles of its
//! finer buckets, so a mean is off by an eighth at most ([`Histogram`]).

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::bpf_intf::{mpg_limits_MPG_LIFE_UNIT_SHIFT, mpg_limits_MPG_WAIT_UNIT_SHIFT};
use crate::stats::{Histogram, Snapshot, CLASSES};

const NS_PER_S: f64 = 1e9;

/// How one kind of time is served.
struct Scale {
    /// A unit is two to this many nanoseconds.
    unit_shift: u32,
    /// Powers of two of units that a bucket ends at.
    powers: &'static [u32],
}

/// From a microsecond to four seconds: most waits lie between 10 us and 10 ms.
const WAITS: Scale = Scale {
    unit_shift: mpg_limits_MPG_WAIT_UNIT_SHIFT,
    powers: &[
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22,
    ],
};

/// From an eighth of a millisecond to a day, each four times the one before.
const LIVES: Scale = Scale {
    unit_shift: mpg_limits_MPG_LIFE_UNIT_SHIFT,
    powers: &[1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31],
};

/// Serves the histograms of this moment.
pub fn encode(encoder: &mut DescriptorEncoder, now: &Snapshot) -> fmt::Result {
    let about = "waits of tasks for a run, seconds; 0 for who found an idle CPU";
    let mut metric = describe(encoder, "class_wait", about)?;
    for (class, snapshot) in CLASSES.iter().zip(&now.classes) {
        let labels = [("class", *class)];
        WAITS.encode(&mut metric.encode_family(&labels)?, &snapshot.waits)?;
    }
    let about = "lives of the tasks that have exited, seconds";
    LIVES.encode(&mut describe(encoder, "lifetime", about)?, &now.lifetimes)
}

fn describe<'a>(
    encoder: &'a mut DescriptorEncoder,
    name: &'a str,
    about: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, about, Some(&Unit::Seconds), MetricType::Histogram)
}

impl Scale {
    fn encode(&self, metric: &mut MetricEncoder, histogram: &Histogram) -> fmt::Result {
        let unit_s = (1u64 << self.unit_shift) as f64 / NS_PER_S;
        let mut seen = 0;
        let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(self.powers.len() + 1);
        for &power in self.powers {
            let below = histogram.below_power(power);
            buckets.push(((1u64 << power) as f64 * unit_s, below - seen));
            seen = below;
        }
        let total = histogram.total();
        buckets.push((f64::INFINITY, total - seen));
        metric.encode_histogram::<NoLabelSet>(histogram.sum() * unit_s, total, &buckets, None)
    }
}
