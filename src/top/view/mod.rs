// SPDX-License-Identifier: GPL-2.0-only
//! The picture of a model: drawn into a buffer of any size, with no terminal.
//!
//! ```text
//! title, summary
//! a table of nodes, two lines each: figures; CPUs and waits over time
//! what the characters mean
//! a table of classes             steals, beside it where there is room
//! counters, where there is room
//! keys
//! ```

mod canvas;
mod nodes;
mod plan;
mod popup;
mod tables;
#[cfg(test)]
mod tests;
mod theme;

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::model::{Model, Sample};
use super::units;
use canvas::Canvas;
use plan::Plan;

pub use plan::{MIN_HEIGHT, MIN_WIDTH};
pub use theme::Theme;

/// Draws the model into `area`.
pub fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        let sentence = format!(
            "scx_mpg top needs {MIN_WIDTH} columns and {MIN_HEIGHT} lines, and there are {} and {}: \
             make the window larger, or use --plain",
            area.width, area.height
        );
        let mut canvas = Canvas::new(buffer, area);
        for (y, line) in (0..).zip(popup::wrap(&sentence, area.width.into())) {
            canvas.put(0, y, &line, Style::new());
        }
        return;
    }
    let mut canvas = Canvas::new(buffer, area);
    let last = canvas.height() - 1;
    canvas.pieces(last, &keys(model, theme));
    match &model.sample {
        Some(sample) => picture(model, sample, theme, &mut canvas),
        None => canvas.pieces(
            0,
            &[("scx_mpg: the first look comes".into(), theme.strong())],
        ),
    }
    if let Some(popup) = &model.popup {
        popup::draw(popup, theme, area, buffer);
    }
}

fn picture(model: &Model, sample: &Sample, theme: Theme, canvas: &mut Canvas) {
    canvas.pieces(0, &title(model, sample, theme));
    let plan = Plan::new(canvas.width(), canvas.height(), sample.metrics.nodes.len());
    let width = canvas.width();
    let at = plan.nodes;
    let mut part = canvas.part(0, at.y, width, at.height);
    let shown = nodes::draw(model, sample, theme, plan.rows, &mut part);
    canvas.pieces(1, &summary(sample, &shown, theme));
    if let Some(at) = plan.legend {
        let mut part = canvas.part(0, at.y, width, at.height);
        nodes::legend(theme, plan.rows, &mut part);
    }
    if let Some(at) = plan.classes {
        let mut part = canvas.part(at.x, at.y, at.width, at.height);
        tables::classes(sample, theme, &mut part);
    }
    if let Some(at) = plan.steals {
        let mut part = canvas.part(at.x, at.y, at.width, at.height);
        tables::steals(sample, theme, &mut part);
    }
    if let Some(at) = plan.counters {
        let mut part = canvas.part(at.x, at.y, at.width, at.height);
        tables::counters(sample, theme, &mut part);
    }
}

type Pieces = Vec<(String, Style)>;

fn title(model: &Model, sample: &Sample, theme: Theme) -> Pieces {
    let plain = Style::new();
    let version = concat!("scx_mpg ", env!("CARGO_PKG_VERSION"));
    let of = |name: &str, what: Option<String>| match what {
        Some(what) => format!("{name} {what}"),
        None => String::new(),
    };
    let mut pieces = vec![
        (version.to_string(), theme.strong()),
        (
            of("policy", Some(sample.metrics.policy.clone())),
            theme.strong(),
        ),
        (of("profile", sample.profile().map(str::to_string)), plain),
    ];
    if model.paused {
        pieces.push(("PAUSED".to_string(), theme.alarm()));
    }
    pieces.extend([
        (
            of("up", Some(units::lasted(sample.metrics.uptime_s))),
            plain,
        ),
        (
            of("load", sample.load.map(|load| format!("{load:.2}"))),
            plain,
        ),
    ]);
    pieces
}

fn summary(sample: &Sample, shown: &Range<usize>, theme: Theme) -> Pieces {
    let plain = Style::new();
    let (cpus, idle) = sample.cpus();
    let metrics = &sample.metrics;
    let starts = metrics.started.saturating_add(metrics.direct) as f64;
    let nodes = metrics.nodes.len();
    let nodes = match shown.len() < nodes {
        true => format!("nodes {}-{} of {nodes}", shown.start + 1, shown.end),
        false => String::new(),
    };
    let alerts = sample.alerts();
    let alerts = match alerts.is_empty() {
        true => ("no alerts".to_string(), plain),
        false => (format!("ALERT {}", alerts.join(", ")), theme.alarm()),
    };
    let returns = sample
        .settings
        .as_ref()
        .and_then(|reply| reply.returns_in_s);
    vec![
        (format!("{cpus} CPUs, {idle} idle"), plain),
        (
            format!("{} waiting", units::count(sample.waiting() as f64)),
            plain,
        ),
        (nodes, theme.strong()),
        alerts,
        (
            format!("{} starts/s", units::rate(starts, metrics.interval_s)),
            plain,
        ),
        (
            format!("{} direct", units::percent(metrics.direct_pct)),
            plain,
        ),
        (
            returns.map_or(String::new(), |s| format!("goes back in {s} s")),
            theme.strong(),
        ),
    ]
}

/// What the keys do, the most needed first.
fn keys(model: &Model, theme: Theme) -> Pieces {
    let every = model.interval.as_secs_f64();
    let keys = [
        "q quit".to_string(),
        "? help".to_string(),
        "p policy".to_string(),
        "u undo".to_string(),
        if model.paused {
            "space go on"
        } else {
            "space pause"
        }
        .to_string(),
        format!("+ - every {every} s"),
        "arrows scroll".to_string(),
    ];
    keys.map(|key| (key, theme.aside())).to_vec()
}
