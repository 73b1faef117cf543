// SPDX-License-Identifier: GPL-2.0-only
//! The table of nodes: figures of the last sample, what each CPU runs, and waits over time.

use std::collections::BTreeMap;
use std::ops::Range;

use ratatui::style::Style;

use super::canvas::Canvas;
use super::theme::Theme;
use crate::stats::NodeMetrics;
use crate::top::heat;
use crate::top::model::{wait_us, Model, Sample};
use crate::top::units;

/// Columns before CPUs.
const INDENT: u16 = 2;
/// Columns between CPUs and waits.
const GAP: u16 = 2;
/// CPUs that are told by numbers need no more.
const NUMBERS_WIDTH: u16 = 31;
/// The letters of CPUs in the order in which they are told by numbers, and what they mean.
const LETTERS: [(char, &str); 7] = [
    ('l', "latency"),
    ('n', "normal"),
    ('b', "batch"),
    ('i', "SCHED_IDLE"),
    ('o', "other"),
    ('.', "nothing"),
    ('x', "offline"),
];

/// A column of the table: its figures end below the end of its name.
struct Column {
    name: &'static str,
    width: u16,
    /// Of a node, and the seconds of the sample.
    text: fn(&NodeMetrics, f64) -> String,
}

/// From the left as far as there is room, so the less needed ones are at the end.
const COLUMNS: [Column; 17] = [
    Column {
        name: "P",
        width: 7,
        text: |node, _| units::count(node.queued as f64),
    },
    Column {
        name: "PRIMED",
        width: 8,
        text: |node, _| units::count(node.primed as f64),
    },
    Column {
        name: "CUSTODY",
        width: 8,
        text: |node, _| units::count(node.custody as f64),
    },
    Column {
        name: "PINNED",
        width: 7,
        text: |node, _| units::count(node.pinned as f64),
    },
    Column {
        name: "WAIT",
        width: 8,
        text: |node, _| wait_us(node).map_or(units::NONE.to_string(), units::time),
    },
    Column {
        name: "DUE",
        width: 8,
        text: |node, _| units::time(node.due_wait_us),
    },
    Column {
        name: "WORKER",
        width: 9,
        text: |node, seconds| match node.fallback {
            0 if seconds > 0.0 => units::percent(node.worker_us / seconds / 1e4),
            0 => units::NONE.to_string(),
            _ => "fallback".to_string(),
        },
    },
    Column {
        name: "DEC/S",
        width: 8,
        text: |node, seconds| units::rate(node.decisions as f64, seconds),
    },
    Column {
        name: "BATCH",
        width: 7,
        text: |node, _| units::average(node.decisions_per_activation),
    },
    Column {
        name: "SPARE",
        width: 6,
        text: |node, _| units::count(node.spare as f64),
    },
    Column {
        name: "STARTS/S",
        width: 10,
        text: |node, seconds| units::rate(node.started as f64, seconds),
    },
    Column {
        name: "STOLEN IN/S",
        width: 13,
        text: |node, seconds| units::rate(node.steals_in as f64, seconds),
    },
    Column {
        name: "OUT/S",
        width: 8,
        text: |node, seconds| units::rate(node.steals_out as f64, seconds),
    },
    Column {
        name: "PREEMPTED/S",
        width: 13,
        text: |node, seconds| units::rate(node.preemptions as f64, seconds),
    },
    Column {
        name: "REFUSED/S",
        width: 11,
        text: |node, seconds| units::rate(node.refused as f64, seconds),
    },
    Column {
        name: "UNREAD",
        width: 8,
        text: |node, _| units::count(node.backlog as f64),
    },
    Column {
        name: "LONGEST STEP",
        width: 14,
        text: |node, _| units::time(node.longest_step_us),
    },
];

/// Columns of the node's number.
const NUMBER_WIDTH: u16 = 4;

/// Draws as many nodes as there is room for, `rows` lines each beside the figures; returns which, by
/// their place.
pub fn draw(
    model: &Model,
    sample: &Sample,
    theme: Theme,
    rows: u16,
    canvas: &mut Canvas,
) -> Range<usize> {
    let nodes = &sample.metrics.nodes;
    canvas.paint(0, theme.head());
    canvas.put(0, 0, "NODE", theme.head());
    row(canvas, 0, |column| (column.name.to_string(), theme.head()));

    let room = usize::from((canvas.height() - 1) / (1 + rows));
    let first = model.skipped.min(nodes.len().saturating_sub(room));
    let most = nodes.values().map(|node| node.cpus.chars().count()).max();
    let columns = cpu_columns(canvas.width(), most.unwrap_or(0), rows);
    let shown = nodes.iter().skip(first).take(room);
    for (at, (id, node)) in (0..).zip(shown) {
        let y = 1 + at * (1 + rows);
        canvas.put(0, y, &id.to_string(), theme.strong());
        row(canvas, y, |column| {
            let text = (column.text)(node, sample.metrics.interval_s);
            (text, style_of(column, node, theme))
        });
        let mut part = canvas.part(INDENT, y + 1, columns, rows);
        cpus(&node.cpus, theme, &mut part);
        let left = INDENT + columns + GAP;
        let mut part = canvas.part(left, y + 1, canvas.width().saturating_sub(left), rows);
        if let Some(waits) = model.waits.get(id) {
            let newest = waits.iter().rev().copied();
            past(newest, theme, &mut part);
        }
    }
    first..(first + room).min(nodes.len())
}

/// One line of the table, with the columns that have room whole.
fn row(canvas: &mut Canvas, y: u16, cell: impl Fn(&Column) -> (String, Style)) {
    let mut end = NUMBER_WIDTH;
    for column in &COLUMNS {
        end += column.width;
        if end > canvas.width() {
            return;
        }
        let (text, style) = cell(column);
        let length = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
        canvas.put(end.saturating_sub(length), y, &text, style);
    }
}

fn style_of(column: &Column, node: &NodeMetrics, theme: Theme) -> Style {
    let heat = |us: Option<f64>| us.map_or(Style::new(), |us| theme.heat(heat::level(us)));
    match column.name {
        "WAIT" => heat(wait_us(node)),
        "DUE" if node.due_wait_us > 0.0 => heat(Some(node.due_wait_us)),
        "WORKER" if node.fallback != 0 => theme.alarm(),
        _ => Style::new(),
    }
}

/// How many columns the CPUs have where a node has up to `most`: each its letter, if that leaves waits
/// half of the line, and else as many as numbers need.
fn cpu_columns(width: u16, most: usize, rows: u16) -> u16 {
    let half = (width.saturating_sub(INDENT + GAP) / 2).max(NUMBERS_WIDTH);
    let lines = most.div_ceil(usize::from(half));
    match u16::try_from(most) {
        Ok(most) if most <= half => most,
        _ if lines <= usize::from(rows) => half,
        _ => NUMBERS_WIDTH,
    }
}

/// A letter for each CPU, or how many have which letter if there is no room for that.
fn cpus(letters: &str, theme: Theme, canvas: &mut Canvas) {
    let columns = usize::from(canvas.width()).max(1);
    let room = columns * usize::from(canvas.height());
    if letters.chars().count() <= room {
        for (at, letter) in letters.chars().enumerate() {
            let (x, y) = (at % columns, at / columns);
            canvas.dot(x as u16, y as u16, letter, theme.cpu(letter));
        }
        return;
    }
    let mut numbers: BTreeMap<char, usize> = BTreeMap::new();
    for letter in letters.chars() {
        *numbers.entry(letter).or_default() += 1;
    }
    let mut x = 0;
    for (letter, _) in LETTERS {
        if let Some(number) = numbers.get(&letter) {
            x = canvas.put(x, 0, &format!("{number}{letter}"), theme.cpu(letter)) + 1;
        }
    }
}

/// Waits over time, the newest at the right.
fn past(newest: impl Iterator<Item = Option<f64>>, theme: Theme, canvas: &mut Canvas) {
    let (width, rows) = (canvas.width(), canvas.height());
    for (x, wait) in (0..width).rev().zip(newest) {
        let Some(wait) = wait else {
            // Nobody waited, which is not the same as no look.
            canvas.dot(x, rows.saturating_sub(1), theme.nobody(), theme.aside());
            continue;
        };
        let style = theme.heat(heat::level(wait));
        let column = heat::column(wait, rows.into(), theme.ramp());
        for (y, cell) in (0..).zip(column) {
            if let Some(character) = cell {
                canvas.dot(x, y, character, style);
            }
        }
    }
}

/// What the bars and the letters mean. With one row a bar is one character, with more it is so many
/// eighths of them high.
pub fn legend(theme: Theme, rows: u16, canvas: &mut Canvas) {
    let plain = Style::new();
    let fits = |x: u16, canvas: &Canvas, name: &str| {
        usize::from(x) + 3 + name.len() <= usize::from(canvas.width())
    };
    let mut x = canvas.put(0, 0, "WAIT", theme.aside());
    x = canvas.put(x + 1, 0, &theme.nobody().to_string(), theme.aside());
    let none = if rows > 1 { "none, eighths:" } else { "none" };
    x = canvas.put(x + 1, 0, none, plain);
    let names = [
        "<10 us", "<30", "<100", "<300", "<1 ms", "<3", "<10", "more",
    ];
    for (level, (character, name)) in theme.ramp().iter().zip(names).enumerate() {
        if fits(x, canvas, name) {
            let mark = match rows {
                1 => character.to_string(),
                _ => (level + 1).to_string(),
            };
            x = canvas.put(x + 1, 0, &mark, theme.heat(level));
            x = canvas.put(x + 1, 0, name, plain);
        }
    }
    let mut x = canvas.put(0, 1, "CPUS", theme.aside());
    for (letter, name) in LETTERS {
        if fits(x, canvas, name) {
            x = canvas.put(x + 1, 1, &letter.to_string(), theme.cpu(letter));
            x = canvas.put(x + 1, 1, name, plain);
        }
    }
}
