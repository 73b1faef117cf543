// SPDX-License-Identifier: GPL-2.0-only
//! The readable form of the metrics: one block per report, one line per subject.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{ClassMetrics, Metrics, NodeMetrics, CLASSES};
use crate::health::Alert;

impl Metrics {
    /// Writes one block; counts are of the interval.
    pub fn format(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "scx_mpg {}: slice {} us (at least {}, latency-sensitive {}), {:.1} s of {:.0} s",
            self.policy,
            self.slice_us,
            self.slice_min_us,
            self.latency_slice_us,
            self.interval_s,
            self.uptime_s
        )?;
        writeln!(
            out,
            "  tasks   direct {} ({:.1}%) entered {} (leased {}) started {} (undecided {}) \
             cancelled {} lost {}",
            self.direct,
            self.direct_pct,
            self.entered,
            self.leased,
            self.started,
            self.undecided,
            self.cancelled,
            self.lost
        )?;
        writeln!(
            out,
            "  workers calls {} ({:.3} per start) steps {} events {} (dropped {}) \
             decisions {} ({:.1} per step)",
            self.calls,
            self.calls_per_start,
            self.activations,
            self.events,
            self.events_dropped,
            self.decisions,
            self.decisions_per_activation
        )?;
        writeln!(
            out,
            "  outcome executed {} renewed {} refused {:.1}% (stale {} gone {} affinity {})",
            self.executed,
            self.renewed,
            self.refused_pct,
            self.refused_stale,
            self.refused_gone,
            self.refused_affinity
        )?;
        writeln!(
            out,
            "  moves   to another node {} stolen {} balanced {} overdue {} preemptions {} interruptions {} runnext {} overruns {} fallbacks {} (in all {}) \
             kthreads {} own {}",
            self.migrations_node,
            self.stolen,
            self.balanced,
            self.overdue,
            self.preemptions,
            self.interruptions,
            self.runnext,
            self.overruns,
            self.fallbacks,
            self.total_fallbacks,
            self.kthreads,
            self.own
        )?;
        writeln!(
            out,
            "  memory  homes {} (changes {}) runs there {} elsewhere {} ({:.1}% there) ushered {} looks {} \
             (failed {}) pages moved {} (refused {}) CPU time {:.0} us",
            self.memory_homes,
            self.memory_home_changes,
            self.runs_home,
            self.runs_away,
            self.home_pct,
            self.memory_ushered,
            self.memory_looks,
            self.memory_look_errors,
            self.memory_pages_moved,
            self.memory_move_errors,
            self.memory_us
        )?;
        let alerts = [
            (Alert::Starvation, self.alert_starvation),
            (Alert::Storm, self.alert_storm),
            (Alert::Runaway, self.alert_runaway),
            (Alert::Idle, self.alert_idle),
            (Alert::Behind, self.alert_behind),
        ];
        write!(out, "  alerts  in all {}, now", self.total_alerts)?;
        for (alert, _) in alerts.iter().filter(|(_, raised)| *raised != 0) {
            write!(out, " {}", alert.name().to_uppercase())?;
        }
        let none = alerts.iter().all(|(_, raised)| *raised == 0);
        writeln!(out, "{}", if none { " none" } else { "" })?;
        writeln!(
            out,
            "  lives   created {} ({:.1} a second) exited {} ({:.1}) lived p50 {:.1} ms p99 {:.1} ms",
            self.created,
            self.created_per_s,
            self.exited,
            self.exited_per_s,
            self.lifetime_p50_ms,
            self.lifetime_p99_ms
        )?;
        for name in CLASSES {
            if let Some(class) = self.classes.get(name).filter(|class| class.starts > 0) {
                class.format(name, out)?;
            }
        }
        self.nodes
            .iter()
            .try_for_each(|(id, node)| node.format(*id, out))
    }
}

impl ClassMetrics {
    fn format(&self, name: &str, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "  {name:<10} starts {} wait p50 {:.0} us p99 {:.0} us p99.9 {:.0} us slice used \
             {:.1}%",
            self.starts, self.wait_p50_us, self.wait_p99_us, self.wait_p999_us, self.slice_use_pct
        )
    }
}

impl NodeMetrics {
    fn format(&self, id: usize, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "  node {id:<2} idle {} queued {} primed {} custody {} pinned {} wait {:.0} us due waits {:.0} us backlog {} steps {} \
             decisions {} ({:.1} per step, refused {}) steals in {}{} out {}{} preemptions {} \
             fallbacks {} worker ran {:.0} us, longest step {:.1} us{}",
            self.idle_cpus,
            self.queued,
            self.primed,
            self.custody,
            self.pinned,
            self.average_wait_us,
            self.due_wait_us,
            self.backlog,
            self.activations,
            self.decisions,
            self.decisions_per_activation,
            self.refused,
            self.steals_in,
            by_distance(&self.steals_in_by_distance),
            self.steals_out,
            by_distance(&self.steals_out_by_distance),
            self.preemptions,
            self.fallbacks,
            self.worker_us,
            self.longest_step_us,
            if self.fallback == 0 { "" } else { " FALLBACK" }
        )
    }
}

/// Counts by distance in brackets, as `distance:count`; nothing if there are none.
fn by_distance(counts: &BTreeMap<u32, u64>) -> String {
    let some: Vec<String> = counts
        .iter()
        .filter(|(_, &count)| count > 0)
        .map(|(distance, count)| format!("{distance}:{count}"))
        .collect();
    match some.is_empty() {
        true => String::new(),
        false => format!(" ({})", some.join(" ")),
    }
}
