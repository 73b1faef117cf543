//! A comparison as a table for a terminal.

use std::ops::Range;

use super::text;
use crate::compare::result::{Comparison, Kind, Load, Metric, Values, Verdict};

/// Columns of the terminal that the table keeps to.
const WIDTH: usize = 120;
/// Longest name of a figure that is not cut.
const NAME_WIDTH: usize = 30;
/// Longest label of a scheduler that is not cut, though its figures may need less.
const TITLE_WIDTH: usize = 20;
/// Between two columns, and between the columns of two schedulers.
const GAP: &str = "  ";
/// Columns of a scheduler other than the reference: median, ratio, interval, mark.
const PARTS: usize = 4;

/// The whole comparison, ending in a newline.
pub fn table(comparison: &Comparison) -> String {
    let mut out = String::new();
    if let Some(partial) = text::partial(comparison) {
        push_wrapped(&mut out, &partial, "");
        out.push('\n');
    }
    let setting = &comparison.setting;
    let heading = format!(
        "{}, {}, {} time, {}, begun {} UTC",
        text::clean(&setting.kernel),
        text::shape(setting),
        text::clean(&setting.time),
        text::rounds(setting),
        text::clean(&setting.begun)
    );
    push_wrapped(&mut out, &heading, "");
    for (i, scheduler) in comparison.schedulers.iter().enumerate() {
        let role = if i == 0 { ", the reference" } else { "" };
        let command = match &scheduler.command {
            Some(command) => format!(": {}", text::clean(command)),
            None => String::new(),
        };
        let line = format!("  {}{role}{command}", text::clean(&scheduler.label));
        push_wrapped(&mut out, &line, "    ");
    }
    for load in &comparison.loads {
        out.push('\n');
        push_load(&mut out, comparison, load);
    }
    out.push('\n');
    let legend = "Medians; ratio to the reference with the bootstrap's 95% interval. \
                  ~ within noise, + better, - worse, * differs where neither is good.";
    push_wrapped(&mut out, legend, "");
    if comparison.loads.iter().any(text::has_floor) {
        let floor = "Floor: the same figure with the load's threads as SCHED_FIFO; \
                     \"above floor\" is a latency less that.";
        push_wrapped(&mut out, floor, "");
    }
    out
}

fn push_load(out: &mut String, comparison: &Comparison, load: &Load) {
    push_wrapped(out, &text::clean(&load.label), "  ");
    if load.metrics.is_empty() {
        out.push_str("  no figures\n");
        return;
    }
    let schedulers = comparison.schedulers.len();
    let mut next = 1;
    // At least once: the reference alone has figures too.
    loop {
        let (grid, end) = widest(comparison, load, next..schedulers);
        out.push_str(&grid);
        if end >= schedulers {
            break;
        }
        out.push('\n');
        next = end;
    }
    let findings = text::findings(load, &comparison.schedulers);
    push_wrapped(out, &format!("  {findings}"), "  ");
}

/// The table of the reference with as many of these schedulers as fit beside it, and the first that does not.
fn widest(comparison: &Comparison, load: &Load, others: Range<usize>) -> (String, usize) {
    let mut end = others.end.max(others.start);
    loop {
        let grid = grid(comparison, load, others.start..end);
        let width = grid.lines().map(|line| line.chars().count()).max();
        if width <= Some(WIDTH) || end <= others.start + 1 {
            return (grid, end);
        }
        end -= 1;
    }
}

/// One table: names, the reference, the floor, and for each of the others its [`PARTS`] columns.
fn grid(comparison: &Comparison, load: &Load, others: Range<usize>) -> String {
    let floor = text::has_floor(load);
    let label = |i: usize| {
        let scheduler = comparison.schedulers.get(i);
        scheduler.map_or_else(String::new, |s| text::clean(&s.label))
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for metric in &load.metrics {
        rows.push(row(metric, floor, others.clone()));
        if text::above_floor(metric, text::values(metric, 0)).is_some() {
            rows.push(row_above_floor(metric, others.clone()));
        }
    }

    let fixed = if floor { 3 } else { 2 };
    let mut widths: Vec<usize> = vec![0; fixed + PARTS * others.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    // Headings widen their columns a little and are cut beyond that: a label may be a whole command line.
    let reference = text::cut_within(&label(0), widths[1].max(10));
    widths[1] = widths[1].max(reference.chars().count());
    if floor {
        widths[2] = widths[2].max("floor".len());
    }
    let mut heading = format!(
        "  {:name$}{GAP}{reference:>first$}",
        "",
        name = widths[0],
        first = widths[1]
    );
    if floor {
        heading.push_str(&format!("{GAP}{:>width$}", "floor", width = widths[2]));
    }
    for (k, i) in others.clone().enumerate() {
        let mine = fixed + PARTS * k;
        let span = widths[mine..mine + PARTS].iter().sum::<usize>() + PARTS - 1;
        let title = text::cut_within(&label(i), span.max(TITLE_WIDTH));
        // The last columns take what the title needs more than they do.
        widths[mine] += title.chars().count().saturating_sub(span);
        let span = span.max(title.chars().count());
        heading.push_str(&format!("{GAP}{title:^span$}"));
    }

    let mut out = heading.trim_end().to_owned();
    out.push('\n');
    for row in &rows {
        let mut line = String::from("  ");
        for (i, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            match i {
                0 => line.push_str(&format!("{cell:width$}")),
                _ if i < fixed || (i - fixed).is_multiple_of(PARTS) => {
                    line.push_str(&format!("{GAP}{cell:>width$}"));
                }
                _ if (i - fixed) % PARTS == 2 => line.push_str(&format!(" {cell:width$}")),
                _ => line.push_str(&format!(" {cell:>width$}")),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn row(metric: &Metric, floor: bool, others: Range<usize>) -> Vec<String> {
    let mut row = vec![
        text::cut(&text::title(metric), NAME_WIDTH),
        figure(text::values(metric, 0).median, metric.kind),
    ];
    if floor {
        let floor = metric.floor.map(|floor| text::figure(floor, metric.kind));
        row.push(floor.unwrap_or_default());
    }
    for i in others {
        let values = text::values(metric, i);
        row.push(figure(values.median, metric.kind));
        let (ratio, interval) = ratio(values);
        row.push(ratio);
        row.push(interval);
        row.push(mark(values.verdict).into());
    }
    row
}

fn row_above_floor(metric: &Metric, others: Range<usize>) -> Vec<String> {
    let above = |i| {
        let above = text::above_floor(metric, text::values(metric, i));
        above.map_or_else(String::new, |above| text::figure(above, metric.kind))
    };
    let mut row = vec!["  above floor".into(), above(0), String::new()];
    for i in others {
        row.push(above(i));
        row.extend([String::new(), String::new(), String::new()]);
    }
    row
}

fn figure(value: Option<f64>, kind: Kind) -> String {
    value.map_or_else(|| "-".into(), |value| text::figure(value, kind))
}

fn ratio(values: &Values) -> (String, String) {
    let Some(ratio) = text::Ratio::new(values) else {
        return Default::default();
    };
    let interval = ratio.interval.map(|(low, high)| format!("{low}-{high}"));
    (ratio.value, interval.unwrap_or_default())
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::None => "",
        Verdict::Same => "~",
        Verdict::Better => "+",
        Verdict::Worse => "-",
        Verdict::Differs => "*",
    }
}

/// Adds one paragraph, broken at spaces; a word longer than a line has a line of its own.
fn push_wrapped(out: &mut String, paragraph: &str, indent: &str) {
    let body = paragraph.trim_start();
    let mut line = " ".repeat(paragraph.len() - body.len());
    let mut empty = true;
    for word in body.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = indent.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}
