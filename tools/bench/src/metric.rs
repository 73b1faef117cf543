//! What the figures in a report mean, by their names.
//!
//! A name ends in its unit: `_us`, `_s`, `_per_second`, `_percent`, `_bits`; a count or a share ends in none. Latencies are
//! recognised by their form, whatever was waited for; the other figures are listed.

use crate::compare::result::{Better, Kind};

use Better::{Higher, Lower, Neither};
use Kind::{Count, Description, Latency, Throughput};

/// A figure, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// "wakeup p99".
    pub label: String,
    /// "us", "/s"; empty for counts.
    pub unit: &'static str,
    /// Which way it is good.
    pub better: Better,
    /// What it is.
    pub kind: Kind,
}

/// Names of the percentiles, as they end a figure's name and for people.
const PERCENTILES: [(&str, &str); 5] = [
    ("p50", "p50"),
    ("p90", "p90"),
    ("p99", "p99"),
    ("p999", "p99.9"),
    ("max", "max"),
];

/// The figures that are no latencies: name, label, unit, which way they are good, and what they are.
type Listed = (&'static str, &'static str, &'static str, Better, Kind);

const LISTED: &[Listed] = &[
    ("context_switches", "context switches", "", Neither, Count),
    (
        "context_switches_machine",
        "context switches of all",
        "",
        Neither,
        Count,
    ),
    (
        "cpu_time_at_memory_percent",
        "CPU time at memory",
        "%",
        Higher,
        Description,
    ),
    ("fires", "timers fired", "", Neither, Count),
    ("forks", "forks", "", Neither, Count),
    ("forks_per_second", "forks", "/s", Higher, Throughput),
    (
        "hog_iterations_per_second",
        "hog iterations",
        "/s",
        Higher,
        Throughput,
    ),
    (
        "idle_percent",
        "share of SCHED_IDLE",
        "%",
        Neither,
        Description,
    ),
    (
        "idle_while_runnable_ms",
        "idle while runnable",
        "ms",
        Lower,
        Count,
    ),
    (
        "involuntary_switches",
        "involuntary switches",
        "",
        Neither,
        Count,
    ),
    ("iterations", "iterations", "", Neither, Count),
    (
        "iterations_per_second",
        "iterations",
        "/s",
        Higher,
        Throughput,
    ),
    ("late_percent", "late", "%", Lower, Description),
    (
        "longest_idle_while_runnable_ms",
        "longest of one thread",
        "ms",
        Lower,
        Count,
    ),
    ("messages", "messages", "", Neither, Count),
    ("messages_per_second", "messages", "/s", Higher, Throughput),
    (
        "migration_records_lost",
        "migration records lost",
        "",
        Neither,
        Count,
    ),
    ("migrations", "migrations", "", Neither, Count),
    (
        "migrations_across_nodes",
        "migrations across nodes",
        "",
        Lower,
        Count,
    ),
    (
        "nice_0_percent",
        "share of nice 0",
        "%",
        Neither,
        Description,
    ),
    (
        "nice_10_percent",
        "share of nice 10",
        "%",
        Neither,
        Description,
    ),
    (
        "nice_5_percent",
        "share of nice 5",
        "%",
        Neither,
        Description,
    ),
    ("operations", "operations", "", Neither, Count),
    (
        "operations_per_second",
        "operations",
        "/s",
        Higher,
        Throughput,
    ),
    ("own_migrations", "own migrations", "", Neither, Count),
    (
        "own_migrations_across_nodes",
        "own migrations across nodes",
        "",
        Neither,
        Count,
    ),
    (
        "pages_moved_percent",
        "pages moved",
        "%",
        Neither,
        Description,
    ),
    ("passes", "passes", "", Neither, Count),
    ("passes_per_second", "passes", "/s", Higher, Throughput),
    ("requests", "requests", "", Neither, Count),
    ("requests_per_second", "requests", "/s", Higher, Throughput),
    (
        "runs_at_memory_percent",
        "runs at memory",
        "%",
        Higher,
        Description,
    ),
    ("runs_lost", "runs not recorded", "", Lower, Count),
    (
        "runs_on_wrong_node_percent",
        "runs on wrong node",
        "%",
        Lower,
        Description,
    ),
    ("share_max", "largest share", "", Lower, Description),
    ("share_min", "smallest share", "", Higher, Description),
    ("spikes", "spikes", "", Lower, Count),
    ("spikes_percent", "share of spikes", "%", Lower, Description),
    ("throttled_periods", "throttled periods", "", Lower, Count),
    ("time_s", "time", "s", Lower, Throughput),
    (
        "us_per_operation",
        "time per operation",
        "us",
        Lower,
        Throughput,
    ),
];

/// What the figure of that name is; `None` for a name that is no figure's.
pub fn describe(name: &str) -> Option<Described> {
    if let Some(&(_, label, unit, better, kind)) = LISTED.iter().find(|listed| listed.0 == name) {
        let label = label.to_owned();
        return Some(Described {
            label,
            unit,
            better,
            kind,
        });
    }
    let latency = |what: &str, which: &str, unit, better, kind| Described {
        label: format!("{} {which}", what.replace('_', " ")),
        unit,
        better,
        kind,
    };
    if let Some(what) = name.strip_suffix("_entropy_bits") {
        return Some(latency(what, "entropy", "bits", Neither, Description));
    }
    if let Some(what) = name.strip_suffix("_samples") {
        return Some(latency(what, "samples", "", Neither, Count));
    }
    let (what, end) = name.strip_suffix("_us")?.rsplit_once('_')?;
    let &(_, which) = PERCENTILES.iter().find(|percentile| percentile.0 == end)?;
    Some(latency(what, which, "us", Lower, Latency))
}

impl Described {
    /// A value with as many digits as it deserves, and its unit.
    pub fn with_unit(&self, value: f64) -> String {
        match (self.unit, self.kind) {
            ("us", _) => format!("{value:.1} us"),
            ("s", _) => format!("{value:.3} s"),
            ("ms", _) => format!("{value:.2} ms"),
            ("", Count) => format!("{value:.0}"),
            ("", _) => format!("{value:.3}"),
            (unit, _) => format!("{value:.2} {unit}"),
        }
    }
}

/// What a comparison shows of each load, beside the load's own figures.
macro_rules! with_common {
    ($($own:literal),* $(,)?) => {
        &[$($own,)* "migrations", "migrations_across_nodes", "context_switches", "involuntary_switches"]
    };
}

/// Names of the figures that a comparison shows of a load, the most telling first.
pub fn headline(load: &str) -> &'static [&'static str] {
    match load {
        "wake" => with_common![
            "wakeup_p50_us",
            "wakeup_p99_us",
            "wakeup_p999_us",
            "request_p99_us",
            "requests_per_second",
            "wakeup_entropy_bits",
        ],
        "timer" => with_common![
            "latency_p50_us",
            "latency_p99_us",
            "latency_p999_us",
            "latency_max_us",
            "latency_entropy_bits",
        ],
        "pipe" => with_common!["us_per_operation", "operations_per_second"],
        "messaging" => with_common!["time_s", "messages_per_second"],
        "hog" => with_common!["iterations_per_second", "share_min", "share_max"],
        "shares" => with_common![
            "nice_0_percent",
            "nice_5_percent",
            "nice_10_percent",
            "idle_percent",
            "iterations_per_second",
        ],
        "mix" => with_common![
            "latency_p50_us",
            "latency_p99_us",
            "latency_p999_us",
            "hog_iterations_per_second",
            "latency_entropy_bits",
        ],
        "numa" => with_common!["runs_on_wrong_node_percent", "passes_per_second"],
        "memory" => with_common![
            "runs_at_memory_percent",
            "cpu_time_at_memory_percent",
            "passes_per_second",
            "pages_moved_percent",
        ],
        "fork" => with_common![
            "forks_per_second",
            "fork_p50_us",
            "fork_p99_us",
            "fork_entropy_bits",
        ],
        "quota" => with_common![
            "late_percent",
            "latency_p50_us",
            "latency_p99_us",
            "throttled_periods",
        ],
        "usleep" => with_common![
            "gap_p50_us",
            "gap_p99_us",
            "gap_p999_us",
            "gap_max_us",
            "spikes_percent",
            "spikes",
        ],
        _ => with_common![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn latencies_are_recognised_by_their_form() {
        let described = describe("wakeup_p999_us");
        assert_eq!(
            described,
            Some(Described {
                label: "wakeup p99.9".to_owned(),
                unit: "us",
                better: Lower,
                kind: Latency,
            })
        );
        let label = |name| describe(name).map(|described| described.label);
        assert_eq!(label("fork_max_us").as_deref(), Some("fork max"));
        assert_eq!(label("gap_entropy_bits").as_deref(), Some("gap entropy"));
        assert_eq!(label("gap_samples").as_deref(), Some("gap samples"));
    }

    #[test]
    fn what_is_no_figure_is_not_described() {
        for name in [
            "",
            "load",
            "runtime_s",
            "warmup_s",
            "p99_us",
            "wakeup_p98_us",
            "sleep_us",
        ] {
            assert_eq!(describe(name), None, "{name}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_its_units_are_those_of_the_names() {
        assert!(LISTED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for &(name, _, unit, ..) in LISTED {
            let by_name = match name {
                "us_per_operation" => "us",
                _ if name.ends_with("_per_second") => "/s",
                _ if name.ends_with("_percent") => "%",
                _ if name.ends_with("_us") => "us",
                _ if name.ends_with("_ms") => "ms",
                _ if name.ends_with("_s") => "s",
                _ => "",
            };
            assert_eq!(unit, by_name, "{name}");
        }
    }

    #[test]
    fn every_load_has_headlines_and_each_is_described() {
        let others = ["compare", "report", "check"];
        let command = crate::Cli::command();
        let is_load = |c: &&clap::Command| !others.contains(&c.get_name());
        for load in command.get_subcommands().filter(is_load) {
            let names = headline(load.get_name());
            assert!(names.len() > headline("").len(), "{}", load.get_name());
            for name in names {
                assert!(describe(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn values_carry_their_units() {
        let text = |name, value| describe(name).map(|d| d.with_unit(value));
        assert_eq!(text("wakeup_p50_us", 12.34).as_deref(), Some("12.3 us"));
        assert_eq!(text("requests_per_second", 2.0).as_deref(), Some("2.00 /s"));
        assert_eq!(text("migrations", 7.0).as_deref(), Some("7"));
        assert_eq!(text("share_min", 0.98765).as_deref(), Some("0.988"));
    }
}
