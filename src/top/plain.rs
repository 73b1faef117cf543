// SPDX-License-Identifier: GPL-2.0-only
//! The picture as lines of text, for pipes and files: one subject to a line, each figure with its name.

use std::io::{self, Write};

use super::model::{wait_us, Sample};
use super::units;
use crate::stats::CLASSES;

/// Writes one look as a line about all, one for each node, one for each class that ran, and one for
/// each node that another took tasks from.
///
/// # Errors
/// If the lines cannot be written.
pub fn write(sample: &Sample, out: &mut impl Write) -> io::Result<()> {
    let metrics = &sample.metrics;
    let rate = |count: u64| units::rate(count as f64, metrics.interval_s);
    let alerts = match sample.alerts().join(",") {
        none if none.is_empty() => "none".to_string(),
        alerts => alerts,
    };
    let (cpus, idle) = sample.cpus();
    let mut text = format!(
        "scx_mpg policy={} profile={} up={:.0}s load={} cpus={cpus} idle={idle} waiting={} \
         starts={}/s direct={} alerts={alerts}\n",
        metrics.policy,
        sample.profile().unwrap_or("unknown"),
        metrics.uptime_s,
        sample
            .load
            .map_or(units::NONE.to_string(), |load| format!("{load:.2}")),
        sample.waiting(),
        rate(metrics.started.saturating_add(metrics.direct)),
        units::percent(metrics.direct_pct),
    );
    for (id, node) in &metrics.nodes {
        let worker = match node.fallback {
            0 => units::percent(node.worker_us / metrics.interval_s / 1e4),
            _ => "fallback".to_string(),
        };
        text += &format!(
            "node {id} cpus={} p={} primed={} custody={} pinned={} spare={} wait={} due={} \
             decisions={}/s batch={} worker={worker} stolen={}/s\n",
            node.cpus,
            node.queued,
            node.primed,
            node.custody,
            node.pinned,
            node.spare,
            joined(wait_us(node).map_or(units::NONE.to_string(), units::time)),
            joined(units::time(node.due_wait_us)),
            rate(node.decisions),
            units::average(node.decisions_per_activation),
            rate(node.steals_in),
        );
    }
    for name in CLASSES {
        let Some(class) = metrics.classes.get(name).filter(|class| class.starts > 0) else {
            continue;
        };
        text += &format!(
            "class {name} starts={}/s p50={} p99={} p99.9={} slice_use={}\n",
            rate(class.starts),
            joined(units::time(class.wait_p50_us)),
            joined(units::time(class.wait_p99_us)),
            joined(units::time(class.wait_p999_us)),
            units::percent(class.slice_use_pct),
        );
    }
    for steal in sample.steals() {
        text += &format!(
            "steal {} -> {} {}/s distance={}\n",
            steal.from,
            steal.to,
            rate(steal.count),
            steal.distance
        );
    }
    // One look at once, so that a reader never has half of one.
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A number and its unit as one word, for tools that cut lines at spaces.
fn joined(text: String) -> String {
    text.replace(' ', "")
}
