//! How long the waits were: for each latency, the share of waits that were longer.

use super::axis::{self, LogAxis};
use super::svg::{self, Anchor, Size};
use super::{colour, escape, short};
use crate::compare::result::{Comparison, Distribution, Kind};
use crate::render::text;
use crate::render::waits::Waits;

/// The quantiles that are marked, and what they are called.
const MARKED: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];
/// Smallest share that the axis shows, whatever the number of waits.
const RAREST: f64 = 1e-7;

/// One line of the plot.
struct Line {
    label: String,
    /// Its class: the colour of a scheduler, or the floor's.
    class: String,
    /// Number of the mark's shape; the floor has no marks.
    shape: Option<usize>,
    waits: Waits,
}

/// The plot of one distribution, with its heading.
pub fn plot(comparison: &Comparison, distribution: &Distribution) -> String {
    let lines = lines(comparison, distribution);
    let name = text::clean(&distribution.name);
    let heading = format!(
        "<h3>{}: how many waits were longer</h3>\n",
        escape(&kind_of_latency(&name))
    );
    if lines.is_empty() {
        return format!("{heading}<p>No waits were recorded.</p>\n");
    }
    heading + &legend(&lines) + &svg::both(|size| draw(size, &name, &lines))
}

fn lines(comparison: &Comparison, distribution: &Distribution) -> Vec<Line> {
    let floor = distribution.floor.iter().map(|buckets| Line {
        label: "floor".into(),
        class: "floor".into(),
        shape: None,
        waits: Waits::new(buckets),
    });
    let of = comparison
        .schedulers
        .iter()
        .zip(&distribution.of)
        .enumerate();
    let schedulers = of.map(|(i, (scheduler, buckets))| Line {
        label: text::clean(&scheduler.label),
        class: colour(i),
        shape: Some(i),
        waits: Waits::new(buckets),
    });
    floor
        .chain(schedulers)
        .filter(|line| line.waits.longest() > Some(0.0))
        .collect()
}

fn legend(lines: &[Line]) -> String {
    let items: Vec<String> = lines
        .iter()
        .map(|line| {
            let mut sample = svg::line((1.0, 7.0), (29.0, 7.0), "tail");
            if let Some(shape) = line.shape {
                sample.push_str(&svg::mark(shape, (15.0, 7.0), 4.0, "dot"));
            }
            format!(
                "<li><svg viewBox=\"0 0 30 14\" class=\"sample\" aria-hidden=\"true\">{}</svg>{}</li>",
                svg::group(&line.class, "", &sample),
                escape(&line.label)
            )
        })
        .collect();
    format!("<ul class=\"legend\">{}</ul>\n", items.join(""))
}

/// The latencies that the axis has to hold, with a little room on either side.
fn span(lines: &[Line]) -> (f64, f64) {
    let points = || {
        lines
            .iter()
            .flat_map(|line| line.waits.tail())
            .map(|(x, _)| x)
    };
    let low = points().filter(|&x| x > 0.0).fold(f64::INFINITY, f64::min);
    let high = points().fold(0.0, f64::max);
    let low = low.clamp(1e-9, 1e14);
    (low / 1.25, high.clamp(low * 1.5, 1e15) * 1.25)
}

fn draw(size: Size, name: &str, lines: &[Line]) -> String {
    let (left, right) = size.pick((92.0, 900.0), (64.0, 424.0));
    let (top, bottom) = size.pick((14.0, 374.0), (14.0, 284.0));
    let across = LogAxis::new(span(lines), (left, right));
    let most = lines
        .iter()
        .map(|line| line.waits.total())
        .max()
        .unwrap_or(1);
    let rarest = (0.8 / most as f64).clamp(RAREST, 0.05);
    let down = LogAxis::new((rarest, 1.0), (bottom, top));

    let mut out = grid(&across, &down, (left, right), (top, bottom));
    let middle = (left + right) / 2.0;
    let what = format!("{}, us", kind_of_latency(name));
    out.push_str(&svg::text(
        middle,
        bottom + 36.0,
        Anchor::Middle,
        "tick",
        &what,
    ));

    let mut labels: Vec<(f64, f64)> = Vec::new();
    for line in lines {
        let tail: Vec<(f64, f64)> = line.waits.tail();
        let points: Vec<(f64, f64)> = tail
            .iter()
            .filter_map(|&(wait, share)| {
                // A latency of 0 lies at the left end.
                Some((across.at(wait).unwrap_or(left), down.at(share)?))
            })
            .collect();
        let mut own = svg::path(&points, "tail");
        own.push_str(&marks(line, &across, &down));
        if let (Size::Wide, Some(&end)) = (size, points.last()) {
            let place = free(&labels, (end.0 + 8.0, end.1 + 4.0));
            labels.push(place);
            let label = short(&line.label, 18);
            own.push_str(&svg::text(
                place.0,
                place.1,
                Anchor::Start,
                "own halo",
                &label,
            ));
        }
        let tip = format!("{}: {}", line.label, percentiles(&line.waits));
        out.push_str(&svg::group(&line.class, &tip, &own));
    }
    let label = format!("{}: the share that was longer", kind_of_latency(name));
    svg::drawing(size, bottom + 44.0, &label, &out)
}

fn grid(across: &LogAxis, down: &LogAxis, xs: (f64, f64), ys: (f64, f64)) -> String {
    let mut out = String::new();
    for (value, x) in across.ticks(&axis::decades(), 44.0) {
        out.push_str(&svg::line((x, ys.0), (x, ys.1), "grid"));
        out.push_str(&svg::text(
            x,
            ys.1 + 17.0,
            Anchor::Middle,
            "tick",
            &latency(value),
        ));
    }
    let shares = [
        (1.0, "all"),
        (0.5, "50% · p50"),
        (0.1, "10% · p90"),
        (0.01, "1% · p99"),
        (1e-3, "0.1% · p99.9"),
        (1e-4, "0.01%"),
        (1e-5, "1 in 10⁵"),
        (1e-6, "1 in 10⁶"),
        (1e-7, "1 in 10⁷"),
    ];
    for (share, label) in shares {
        let Some(y) = down.at(share).filter(|_| down.holds(share)) else {
            continue;
        };
        out.push_str(&svg::line((xs.0, y), (xs.1, y), "grid"));
        // The narrow drawing has no room for both names of a share.
        let label = if xs.0 < 80.0 {
            label.split(" · ").last().unwrap_or(label)
        } else {
            label
        };
        out.push_str(&svg::text(xs.0 - 8.0, y + 4.0, Anchor::End, "tick", label));
    }
    out
}

/// "wakeup latency", and "latency" of one that has no other name.
pub fn kind_of_latency(name: &str) -> String {
    match name {
        "latency" => name.to_owned(),
        name => format!("{name} latency"),
    }
}

/// A latency at the axis: thousands from ten thousand on are short, as in "20k".
fn latency(us: f64) -> String {
    match us {
        1e7.. => format!("{us:.0e}"),
        10_000.0.. => format!("{}k", us / 1000.0),
        // Powers of ten below 1 are not exact, and shall not show it.
        _ => format!("{}", (us * 1e9).round() / 1e9),
    }
}

/// Marks on the line at the quantiles: the staircase falls through the share of longer ones at the quantile itself.
fn marks(line: &Line, across: &LogAxis, down: &LogAxis) -> String {
    let Some(shape) = line.shape else {
        return String::new();
    };
    let mut out = String::new();
    for (quantile, name) in MARKED {
        let share = 1.0 - quantile;
        let Some(wait) = line.waits.quantile(quantile) else {
            continue;
        };
        if let (Some(x), Some(y), true) = (across.at(wait), down.at(share), down.holds(share)) {
            let tip = format!(
                "{}: {name} {} us",
                line.label,
                text::figure(wait, Kind::Latency)
            );
            out.push_str(&svg::group("", &tip, &svg::mark(shape, (x, y), 4.2, "dot")));
        }
    }
    out
}

/// A place for a label near the wanted one, clear of those that are there.
fn free(taken: &[(f64, f64)], wanted: (f64, f64)) -> (f64, f64) {
    let mut place = wanted;
    // Each step leaves one label behind, so as many steps are enough.
    for _ in 0..=taken.len() {
        let hit = taken
            .iter()
            .find(|(x, y)| (x - place.0).abs() < 130.0 && (y - place.1).abs() < 14.0);
        match hit {
            Some(&(_, y)) => place.1 = y - 15.0,
            None => break,
        }
    }
    place
}

fn percentiles(waits: &Waits) -> String {
    let quantiles = MARKED.iter().filter_map(|&(quantile, name)| {
        let wait = text::figure(waits.quantile(quantile)?, Kind::Latency);
        Some(format!("{name} {wait} us"))
    });
    let mut said: Vec<String> = quantiles.collect();
    said.push(format!("{} waits", waits.total()));
    said.join(", ")
}
