//! Latency histograms that record without allocating, and the percentiles reported from them.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// Longest latency told apart, in nanoseconds; a longer one is recorded as this.
const LONGEST_NS: u64 = 1_000_000_000_000;
/// Three digits: a percentile is off by 0.1% at most, finer than schbench's own buckets (0.4% above 511 microseconds).
const DIGITS: u8 = 3;
/// schbench takes time in whole microseconds and leaves out latencies of zero.
const SHORTEST_NS: u64 = 1_000;

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

    /// Records a latency in nanoseconds. One below a microsecond is left out: the waker was answered before the sleeper
    /// slept, so nothing was scheduled.
    pub fn record(&mut self, latency_ns: u64) {
        if latency_ns >= SHORTEST_NS {
            self.0.saturating_record(latency_ns);
        }
    }

    /// Adds what another thread saw.
    pub fn merge(&mut self, other: &Latencies) -> Result<()> {
        self.0
            .add(&other.0)
            .context("two latency histograms do not fit together")
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
        latencies.record(999);
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
}
