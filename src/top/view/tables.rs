// SPDX-License-Identifier: GPL-2.0-only
//! The tables below the nodes: classes, steals, counters.

use ratatui::style::Style;

use super::canvas::Canvas;
use super::theme::Theme;
use crate::bpf_intf::mpg_counter_MPG_NR_COUNTERS;
use crate::stats::{ClassMetrics, CLASSES};
use crate::top::model::Sample;
use crate::top::units;

/// Columns of the table of classes.
pub const CLASSES_WIDTH: u16 = 64;
/// Its lines.
pub const CLASSES_HEIGHT: u16 = 1 + CLASSES.len() as u16;
/// Columns of one steal.
const STEAL_WIDTH: u16 = 26;
/// Columns of one counter.
const COUNTER_WIDTH: u16 = 26;

/// How many steals a line of so many columns has.
pub fn steals_in_line(width: u16) -> usize {
    usize::from(width / STEAL_WIDTH).max(1)
}

/// How many lines all counters take with their head, in so many columns.
pub fn counters_height(width: u16) -> u16 {
    let in_line = u32::from((width / COUNTER_WIDTH).max(1));
    1 + mpg_counter_MPG_NR_COUNTERS.div_ceil(in_line) as u16
}

/// How long tasks of each class wait, and what they use of their slices.
pub fn classes(sample: &Sample, theme: Theme, canvas: &mut Canvas) {
    canvas.paint(0, theme.head());
    let head = line(
        "CLASS",
        ["STARTS/S", "WAIT P50", "P99", "P99.9", "SLICE USED"],
    );
    canvas.put(0, 0, &head, theme.head());
    let none = ClassMetrics::default();
    let none_started = ["0", units::NONE, units::NONE, units::NONE, units::NONE];
    for (y, name) in (1..).zip(CLASSES) {
        let class = sample.metrics.classes.get(name).unwrap_or(&none);
        let figures = match class.starts {
            0 => none_started.map(str::to_string).to_vec(),
            starts => vec![
                units::rate(starts as f64, sample.metrics.interval_s),
                units::time(class.wait_p50_us),
                units::time(class.wait_p99_us),
                units::time(class.wait_p999_us),
                units::percent(class.slice_use_pct),
            ],
        };
        let figures: Vec<&str> = figures.iter().map(String::as_str).collect();
        if let Ok(figures) = figures.try_into() {
            canvas.put(0, y, &line(name, figures), Style::new());
        }
    }
}

fn line(name: &str, [starts, p50, p99, p999, used]: [&str; 5]) -> String {
    format!("{name:<10} {starts:>9} {p50:>9} {p99:>9} {p999:>9} {used:>11}")
}

/// Who stole from whom, as arrows, the most first.
pub fn steals(sample: &Sample, theme: Theme, canvas: &mut Canvas) {
    let metrics = &sample.metrics;
    let rate = |count: u64| units::rate(count as f64, metrics.interval_s);
    let taken = metrics.nodes.values().map(|node| node.steals_in);
    let head = format!(
        "STEALS   taken {}/s   to balance {}/s   ran on another node {}/s",
        rate(taken.fold(0, u64::saturating_add)),
        rate(metrics.balanced),
        rate(metrics.migrations_node)
    );
    canvas.paint(0, theme.head());
    canvas.put(0, 0, &head, theme.head());
    let steals = sample.steals();
    if steals.is_empty() {
        canvas.put(1, 1, "no node took a task from another", theme.aside());
        return;
    }
    let in_line = steals_in_line(canvas.width());
    let room = in_line * usize::from(canvas.height().saturating_sub(1));
    // The last place is for how many are left out.
    let shown = if steals.len() > room {
        room.saturating_sub(1)
    } else {
        steals.len()
    };
    let place = |at: usize| {
        (
            (at % in_line) as u16 * STEAL_WIDTH,
            1 + (at / in_line) as u16,
        )
    };
    for (at, steal) in steals.iter().take(shown).enumerate() {
        let (x, y) = place(at);
        let x = canvas.put(x, y, &format!("{:>3} ", steal.from), Style::new());
        let x = canvas.put(x, y, theme.arrow(), theme.steal());
        let x = canvas.put(x, y, &format!(" {:<3}", steal.to), Style::new());
        let x = canvas.put(x, y, &format!("{:>5}/s", rate(steal.count)), theme.strong());
        if steal.distance != 0 {
            canvas.put(x, y, &format!(" at {}", steal.distance), theme.aside());
        }
    }
    if shown < steals.len() {
        let (x, y) = place(shown);
        let text = format!(" and {} more", steals.len() - shown);
        canvas.put(x, y, &text, theme.aside());
    }
}

/// All counters, a second.
pub fn counters(sample: &Sample, theme: Theme, canvas: &mut Canvas) {
    canvas.paint(0, theme.head());
    canvas.put(
        0,
        0,
        "COUNTERS, A SECOND   scx_mpg --help-stats says what they are",
        theme.head(),
    );
    let counts = sample.metrics.counts();
    let in_line = usize::from((canvas.width() / COUNTER_WIDTH).max(1));
    let lines = counts.len().div_ceil(in_line);
    for (at, (name, count)) in counts.into_iter().enumerate() {
        // Down the columns: what belongs together is below each other.
        let (x, y) = ((at / lines) as u16 * COUNTER_WIDTH, 1 + (at % lines) as u16);
        let rate = units::rate(count as f64, sample.metrics.interval_s);
        let style = if count == 0 {
            theme.aside()
        } else {
            Style::new()
        };
        canvas.put(x, y, &format!(" {name:<16} {rate:>6}"), style);
    }
}
