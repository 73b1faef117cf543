//! Latency histograms that record without allocating, and what every load reports from them.
//!
//! For each kind of latency a report has `KIND_p50_us`, `_p90_us`, `_p99_us`, `_p999_us`, `_max_us`, `_samples` and
//! `_entropy_bits`, and in `histograms` the pairs `[longest in the bucket, count]` under the kind's name. The buckets are
//! 8 to an octave: each ends 2^(1/8), or 9%, after the one before. The entropy is Shannon's, of the share of each bucket:
//! 0 when all latencies fall into one bucket, 3 when they are spread evenly over one octave. So it tells how predictable
//! the latency is, however long.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::report::{row, Row};

/// Longest latency told apart, in nanoseconds; a longer one is recorded as this.
const LONGEST_NS: u64 = 1_000_000_000_000;
/// Three digits: a percentile is off by 0.1% at most, finer than schbench's own buckets (0.4% above 511 microseconds).
const DIGITS: u8 = 3;
/// schbench takes time in whole microseconds and leaves out latencies of zero.
const SHORTEST_NS: u64 = 1_000;
/// Buckets in which a length doubles.
const BUCKETS_PER_OCTAVE: f64 = 8.0;

/// Memory that one [`Latencies`] takes, in bytes, rounded up: the load checks its demand before it starts.
pub const BYTES_EACH: u64 = 160 << 10;

/// The latencies that one thread saw.
#[derive(Debug)]
pub struct Latencies(Histogram<u32>);

impl Latencies {
    /// An empty histogram whose memory has been touched by the calling thread, so that recording faults no page.
    pub fn new() -> Result<Self> {
        let mut histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
            .context("the bounds of the latency histogram are wrong")?;
        histogram.reset();
        Ok(Latencies(histogram))
    }

    /// Records a latency in nanoseconds.
    pub fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    /// As [`Latencies::record`], but leaves out one below a microsecond: the waker was answered before the sleeper slept,
    /// so nothing was scheduled.
    pub fn record_if_slept(&mut self, latency_ns: u64) {
        if latency_ns >= SHORTEST_NS {
            self.record(latency_ns);
        }
    }

    /// Records one latency so many times.
    pub fn record_many(&mut self, latency_ns: u64, times: u64) {
        self.0
            .saturating_record_n(latency_ns, u32::try_from(times).unwrap_or(u32::MAX));
    }

    /// Adds what another thread saw.
    pub fn merge(&mut self, other: &Latencies) -> Result<()> {
        self.0
            .add(&other.0)
            .context("two latency histograms do not fit together")
    }

    /// What several threads saw, together.
    pub fn sum(threads: &[Latencies]) -> Result<Self> {
        let mut all = Latencies::new()?;
        for thread in threads {
            all.merge(thread)?;
        }
        Ok(all)
    }

    /// How many were recorded.
    pub fn samples(&self) -> u64 {
        self.0.len()
    }

    /// The percentiles, or `None` where nothing was recorded.
    pub fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Some(Percentiles {
            p50_us: at(0.50),
            p90_us: at(0.90),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64 / 1e3,
            samples: self.0.len(),
        })
    }
}

/// Latencies by length, coarser than they were recorded.
#[derive(Clone, Debug, Default, PartialEq)]
struct Distribution {
    /// By number; the count of each is not 0.
    buckets: BTreeMap<i32, u64>,
}

impl Distribution {
    fn of(latencies: &Latencies) -> Self {
        let mut buckets = BTreeMap::new();
        for value in latencies.0.iter_recorded() {
            let bucket = Self::bucket(value.value_iterated_to());
            *buckets.entry(bucket).or_default() += value.count_since_last_iteration();
        }
        Distribution { buckets }
    }

    /// Bucket 0 takes all up to a microsecond; bucket n all above bucket n - 1 up to 2^(n/8) microseconds.
    fn bucket(latency_ns: u64) -> i32 {
        let octaves = (latency_ns.max(1) as f64 / 1e3).log2();
        (octaves * BUCKETS_PER_OCTAVE).ceil().max(0.0) as i32
    }

    /// Longest latency in a bucket, in microseconds. Rounded to nanoseconds, so that files stay short.
    fn upper_us(bucket: i32) -> f64 {
        ((f64::from(bucket) / BUCKETS_PER_OCTAVE).exp2() * 1e3).round() / 1e3
    }

    fn pairs(&self) -> Vec<(f64, u64)> {
        let pair = |(&bucket, &count): (&i32, &u64)| (Self::upper_us(bucket), count);
        self.buckets.iter().map(pair).collect()
    }

    /// Shannon's entropy in bits.
    fn entropy_bits(&self) -> f64 {
        let all: u64 = self.buckets.values().sum();
        let shares = self.buckets.values().map(|&n| n as f64 / all as f64);
        // Added to 0, a sum of nothing is 0 and not -0.
        0.0 + shares.map(|share| -share * share.log2()).sum::<f64>()
    }
}

/// What a load reports of its latencies, by kind: "wakeup", "request".
#[derive(Debug, Default)]
pub struct Timings(Vec<Timing>);

#[derive(Debug)]
struct Timing {
    kind: &'static str,
    /// `None` where nothing was recorded.
    percentiles: Option<Percentiles>,
    /// `None` where only percentiles are known.
    distribution: Option<Distribution>,
}

impl Timings {
    /// Adds a kind that was recorded here.
    pub fn with(mut self, kind: &'static str, latencies: &Latencies) -> Self {
        self.0.push(Timing {
            kind,
            percentiles: latencies.percentiles(),
            distribution: Some(Distribution::of(latencies)),
        });
        self
    }

    /// Adds a kind of which another program told the percentiles.
    pub fn with_percentiles(mut self, kind: &'static str, percentiles: Percentiles) -> Self {
        self.0.push(Timing {
            kind,
            percentiles: Some(percentiles),
            distribution: None,
        });
        self
    }

    /// Lines for the table.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for timing in &self.0 {
            for (suffix, of) in Percentiles::ALL {
                let value = timing.percentiles.as_ref().map(of);
                rows.push(row(&format!("{}_{suffix}", timing.kind), value));
            }
            let entropy = timing.entropy_bits();
            rows.push(row(&format!("{}_entropy_bits", timing.kind), entropy));
        }
        rows
    }

    /// The percentiles of a kind, where there are any.
    #[cfg(test)]
    pub fn of(&self, kind: &str) -> Option<Percentiles> {
        self.0
            .iter()
            .find(|timing| timing.kind == kind)?
            .percentiles
    }
}

impl Timing {
    fn entropy_bits(&self) -> Option<f64> {
        let distribution = self.distribution.as_ref()?;
        self.percentiles.map(|_| distribution.entropy_bits())
    }
}

impl Serialize for Timings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for timing in &self.0 {
            let kind = timing.kind;
            for (suffix, of) in Percentiles::ALL {
                let value = timing.percentiles.as_ref().map(of);
                map.serialize_entry(&format!("{kind}_{suffix}"), &value)?;
            }
            let samples = timing.percentiles.map_or(0, |p| p.samples);
            map.serialize_entry(&format!("{kind}_samples"), &samples)?;
            map.serialize_entry(&format!("{kind}_entropy_bits"), &timing.entropy_bits())?;
        }
        let histograms: BTreeMap<_, _> = self
            .0
            .iter()
            .filter_map(|timing| Some((timing.kind, timing.distribution.as_ref()?.pairs())))
            .collect();
        map.serialize_entry("histograms", &histograms)?;
        map.end()
    }
}

/// What is reported of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// Median, in microseconds.
    pub p50_us: f64,
    /// 90th percentile, in microseconds.
    pub p90_us: f64,
    /// 99th percentile, in microseconds.
    pub p99_us: f64,
    /// 99.9th percentile, in microseconds.
    pub p999_us: f64,
    /// Longest, in microseconds.
    pub max_us: f64,
    /// How many latencies were recorded.
    pub samples: u64,
}

/// The end of a figure's name, and the figure.
type Named = (&'static str, fn(&Percentiles) -> f64);

impl Percentiles {
    const ALL: [Named; 5] = [
        ("p50_us", |p| p.p50_us),
        ("p90_us", |p| p.p90_us),
        ("p99_us", |p| p.p99_us),
        ("p999_us", |p| p.p999_us),
        ("max_us", |p| p.max_us),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(is: f64, should_be: f64) -> bool {
        (is - should_be).abs() <= should_be * 0.0011
    }

    #[test]
    fn merged_percentiles_are_those_of_all_samples() -> Result<()> {
        // Microseconds 1 to 1000, dealt to three threads.
        let mut threads = [Latencies::new()?, Latencies::new()?, Latencies::new()?];
        for us in 1..=1000u64 {
            threads[us as usize % 3].record(us * 1000);
        }
        let mut all = Latencies::new()?;
        for thread in &threads {
            all.merge(thread)?;
        }
        let Some(p) = all.percentiles() else {
            panic!("no samples")
        };
        assert_eq!(p.samples, 1000);
        assert!(
            near(p.p50_us, 500.0) && near(p.p90_us, 900.0) && near(p.p99_us, 990.0),
            "{p:?}"
        );
        assert!(near(p.p999_us, 999.0) && near(p.max_us, 1000.0), "{p:?}");
        Ok(())
    }

    #[test]
    fn nothing_recorded_gives_no_percentiles() -> Result<()> {
        let mut latencies = Latencies::new()?;
        assert_eq!(latencies.percentiles(), None);
        latencies.record_if_slept(999);
        assert_eq!(latencies.percentiles(), None);
        Ok(())
    }

    #[test]
    fn the_longest_is_kept_in_bounds() -> Result<()> {
        let mut latencies = Latencies::new()?;
        latencies.record(u64::MAX);
        let Some(p) = latencies.percentiles() else {
            panic!("no sample")
        };
        assert!(near(p.max_us, LONGEST_NS as f64 / 1e3));
        Ok(())
    }

    #[test]
    fn the_stated_memory_is_enough() -> Result<()> {
        let counters = Latencies::new()?.0.distinct_values() as u64;
        assert!(counters * 4 <= BYTES_EACH, "{counters} counters of 4 bytes");
        Ok(())
    }

    #[test]
    fn buckets_are_eight_to_an_octave() {
        assert_eq!(Distribution::bucket(0), 0);
        assert_eq!(Distribution::bucket(1_000), 0);
        assert_eq!(Distribution::bucket(1_001), 1);
        assert_eq!(Distribution::bucket(2_000), 8);
        assert_eq!(Distribution::bucket(1_024_000), 80);
        assert_eq!(Distribution::upper_us(0), 1.0);
        assert_eq!(Distribution::upper_us(4), 1.414);
        assert_eq!(Distribution::upper_us(80), 1024.0);
        // Every latency is in the bucket whose ends are around it.
        for latency_ns in (1..200).map(|n| n * n * 997) {
            let bucket = Distribution::bucket(latency_ns);
            let us = latency_ns as f64 / 1e3;
            assert!(us <= Distribution::upper_us(bucket) + 0.0005, "{us}");
            assert!(
                bucket == 0 || us >= Distribution::upper_us(bucket - 1) - 0.0005,
                "{us}"
            );
        }
    }

    #[test]
    fn entropy_counts_the_buckets_that_are_told_apart() -> Result<()> {
        let mut latencies = Latencies::new()?;
        latencies.record_many(10_000, 4);
        assert_eq!(Distribution::of(&latencies).entropy_bits(), 0.0);
        latencies.record_many(20_000, 4);
        latencies.record_many(40_000, 4);
        latencies.record_many(80_000, 4);
        let distribution = Distribution::of(&latencies);
        assert!((distribution.entropy_bits() - 2.0).abs() < 1e-9);
        let counts: Vec<u64> = distribution.pairs().iter().map(|pair| pair.1).collect();
        assert_eq!(counts, [4, 4, 4, 4]);
        Ok(())
    }

    #[test]
    fn a_report_has_each_kinds_figures_and_one_object_of_histograms() -> Result<()> {
        let mut latencies = Latencies::new()?;
        latencies.record(8_000);
        let timings = Timings::default()
            .with("wakeup", &latencies)
            .with("request", &Latencies::new()?);
        let json = serde_json::to_value(&timings)?;
        assert_eq!(json["wakeup_samples"], 1);
        assert_eq!(json["wakeup_entropy_bits"], 0.0);
        assert!(near(json["wakeup_p999_us"].as_f64().unwrap_or(0.0), 8.0));
        assert_eq!(json["request_samples"], 0);
        assert!(json["request_p50_us"].is_null() && json["request_entropy_bits"].is_null());
        assert_eq!(json["histograms"]["wakeup"][0][1], 1);
        assert_eq!(json["histograms"]["request"], serde_json::json!([]));
        Ok(())
    }
}
