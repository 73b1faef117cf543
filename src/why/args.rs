// SPDX-License-Identifier: GPL-2.0-only
//! What `scx_mpg why` is asked.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::collect::Filter;

/// Microseconds that make a wait worth a record: from the shortest there is to what the kernel's
/// watchdog allows.
pub const OVER_US: RangeInclusive<u64> = 1..=10_000_000;
/// Seconds that a watch may be asked to last, and that it may be about.
const SECONDS: RangeInclusive<f64> = 0.1..=86_400.0;

/// The questions.
#[derive(Clone, Debug, Args)]
pub struct WhyArgs {
    /// Tell of waits of more than this many microseconds.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = over_us)]
    pub over_us: u64,
    /// Only of this thread, or of the threads of this process.
    #[arg(long, value_name = "N")]
    pub pid: Option<u32>,
    /// Only of threads of this name; with * at the end, of names that begin so.
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Watch for SEC seconds and report; without it, until Ctrl-C.
    #[arg(long = "for", value_name = "SEC", value_parser = seconds)]
    pub watch_for: Option<Duration>,
    /// Report on the last SEC seconds.
    #[arg(long, value_name = "SEC", default_value = "60", value_parser = seconds)]
    pub last: Duration,
    /// Also of waits for the next turn after a slice was used up.
    #[arg(long)]
    pub all: bool,
    /// Report as JSON, with all waits.
    #[arg(long)]
    pub json: bool,
    /// Write what every CPU did, and the waits, to a trace that ui.perfetto.dev opens.
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
    /// Lines of the table, the longest waits first.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

impl WhyArgs {
    /// Which waits are asked for.
    pub fn filter(&self) -> Filter {
        Filter {
            pid: self.pid,
            comm: self.comm.clone(),
            all: self.all,
        }
    }
}

fn over_us(text: &str) -> Result<u64, String> {
    let value = text.parse().ok().filter(|value| OVER_US.contains(value));
    value.ok_or_else(|| {
        format!(
            "give {} to {} microseconds, such as 300",
            OVER_US.start(),
            OVER_US.end()
        )
    })
}

/// `60` or `60s`.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let value = number.filter(|value| SECONDS.contains(value));
    value.map(Duration::from_secs_f64).ok_or_else(|| {
        format!(
            "give {} to {} seconds, such as 60 or 60s",
            SECONDS.start(),
            SECONDS.end()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_a_unit_or_none() {
        for text in ["60", "60s", "60.0"] {
            assert_eq!(seconds(text), Ok(Duration::from_secs(60)), "{text}");
        }
        for text in ["", "s", "0", "60m", "NaN", "1e9", "-1"] {
            let why = seconds(text).unwrap_err();
            assert!(
                why.starts_with("give 0.1 to 86400 seconds"),
                "{text}: {why}"
            );
        }
    }

    #[test]
    fn a_bound_is_in_its_range() {
        assert_eq!(over_us("1"), Ok(1));
        assert_eq!(over_us("10000000"), Ok(10_000_000));
        for text in ["0", "10000001", "x", "1.5", ""] {
            let why = over_us(text).unwrap_err();
            assert_eq!(
                why, "give 1 to 10000000 microseconds, such as 300",
                "{text}"
            );
        }
    }
}
