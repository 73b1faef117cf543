//! Every figure's ratio to the reference, with its interval and its rounds, on one axis centred at 1.

use super::axis::{self, LogAxis};
use super::svg::{self, Anchor, Size};
use super::{colour, escape, short};
use crate::compare::result::{Better, Comparison, Load, Metric, Values, Verdict};
use crate::render::text;

/// Widest factor that the axis shows; what is beyond has an arrow at its edge.
const WIDEST: f64 = 50.0;
/// Narrowest: noise of a percent shall not fill the page.
const NARROWEST: f64 = 1.15;
/// Height of one scheduler's row.
const ROW: f64 = 19.0;

/// Where the columns are.
struct Layout {
    size: Size,
    /// The axis, and its ends.
    axis: LogAxis,
    left: f64,
    right: f64,
    /// Height of the line above a figure's rows that names it.
    heading: f64,
}

impl Layout {
    fn new(size: Size, metrics: &[&Metric]) -> Self {
        let (left, right) = size.pick((330.0, 806.0), (98.0, 326.0));
        let widest = widest(metrics);
        Layout {
            size,
            axis: LogAxis::new((1.0 / widest, widest), (left, right)),
            left,
            right,
            heading: size.pick(0.0, 19.0),
        }
    }
}

/// The plots of a load: figures that judge, then those that explain, each on an axis of its own.
pub fn plots(comparison: &Comparison, load: &Load) -> String {
    if comparison.schedulers.len() < 2 {
        return String::new();
    }
    let (explain, judge): (Vec<&Metric>, Vec<&Metric>) = load
        .metrics
        .iter()
        .partition(|metric| metric.better == Better::Neither);
    let reference = comparison.schedulers.first().map(|s| escape(&s.label));
    let reference = reference.unwrap_or_default();
    let mut out = String::new();
    for (metrics, heading) in [
        (judge, format!("Ratio to {reference}")),
        (
            explain,
            format!("Ratio to {reference} of what is neither good nor bad"),
        ),
    ] {
        if !metrics.is_empty() {
            out.push_str(&format!("<h3>{heading}</h3>\n"));
            out.push_str(&svg::both(|size| plot(size, comparison, &metrics)));
        }
    }
    out
}

/// The factor on either side of 1 that holds all ratios and their intervals, within bounds.
fn widest(metrics: &[&Metric]) -> f64 {
    let ratios = metrics
        .iter()
        .flat_map(|metric| &metric.of)
        .flat_map(|values| {
            let (low, high) = values.ratio_interval.unzip();
            [values.ratio, low, high]
        });
    let factors = ratios
        .flatten()
        .filter(|&ratio| ratio > 0.0 && ratio.is_finite())
        .map(|ratio| ratio.max(1.0 / ratio));
    (factors.fold(NARROWEST, f64::max) * 1.12).min(WIDEST)
}

fn plot(size: Size, comparison: &Comparison, metrics: &[&Metric]) -> String {
    let layout = Layout::new(size, metrics);
    let band = layout.heading + ROW * comparison.schedulers.len() as f64 + 12.0;
    let top = 22.0;
    let bottom = top + band * metrics.len() as f64;
    let mut out = String::new();
    for (i, metric) in metrics.iter().enumerate() {
        out.push_str(&tint(&layout, metric, top + band * i as f64, band));
    }
    for (value, x) in layout.axis.ticks(&axis::ratios(), 38.0) {
        let (line, label) = if value == 1.0 {
            ("one", "same")
        } else {
            ("grid", "")
        };
        out.push_str(&svg::line((x, top), (x, bottom), line));
        let tick = if label.is_empty() {
            format!("×{value}")
        } else {
            label.into()
        };
        out.push_str(&svg::text(x, top - 7.0, Anchor::Middle, "tick", &tick));
        out.push_str(&svg::text(x, bottom + 16.0, Anchor::Middle, "tick", &tick));
    }
    for (i, metric) in metrics.iter().enumerate() {
        out.push_str(&rows(&layout, comparison, metric, top + band * i as f64));
    }
    svg::drawing(size, bottom + 24.0, "Ratios to the reference", &out)
}

/// A band's line at its top, and its better side.
fn tint(layout: &Layout, metric: &Metric, y: f64, band: f64) -> String {
    let mut out = svg::line((0.0, y), (layout.size.width(), y), "rule");
    let middle = layout.axis.at(1.0).unwrap_or(layout.left);
    let (from, to, anchor, at, label) = match metric.better {
        Better::Lower => (
            layout.left,
            middle,
            Anchor::Start,
            layout.left + 4.0,
            "◂ better",
        ),
        Better::Higher => (
            middle,
            layout.right,
            Anchor::End,
            layout.right - 4.0,
            "better ▸",
        ),
        Better::Neither => return out,
    };
    let (top, height) = (y + 1.0 + layout.heading, band - 2.0 - layout.heading);
    out.push_str(&svg::rectangle(
        (from, top),
        (to - from, height),
        "good",
        "",
    ));
    out.push_str(&svg::text(at, top + 13.0, anchor, "hint", label));
    out
}

fn rows(layout: &Layout, comparison: &Comparison, metric: &Metric, y: f64) -> String {
    let names = layout.size.pick((26, 17), (44, 10));
    let mut out = svg::group(
        "",
        &text::title(metric),
        &svg::text(
            0.0,
            y + 18.0,
            Anchor::Start,
            "name",
            &short(&text::title(metric), names.0),
        ),
    );
    if layout.size == Size::Wide {
        let way = text::better(metric.better);
        out.push_str(&svg::text(0.0, y + 34.0, Anchor::Start, "hint", way));
    }
    for (i, scheduler) in comparison.schedulers.iter().enumerate() {
        let middle = y + layout.heading + 6.0 + ROW * (i as f64 + 0.5);
        let values = text::values(metric, i);
        let label = short(&scheduler.label, names.1);
        let mut row = svg::text(layout.left - 10.0, middle + 4.0, Anchor::End, "own", &label);
        row.push_str(&dots(layout, metric, values, middle));
        if i > 0 {
            row.push_str(&whisker(layout, i, values, middle));
        }
        let tip = tip(metric, values, &text::clean(&scheduler.label));
        out.push_str(&svg::group(&colour(i), &tip, &row));
        let said = match i {
            0 => amount(metric, values),
            _ => said(layout.size, metric, values),
        };
        let class = match values.verdict {
            Verdict::None | Verdict::Same => "said",
            _ => "said outside",
        };
        let at = layout.right + 12.0;
        out.push_str(&svg::text(at, middle + 4.0, Anchor::Start, class, &said));
    }
    out
}

/// The rounds of a scheduler over the median of the reference.
fn dots(layout: &Layout, metric: &Metric, values: &Values, y: f64) -> String {
    let Some(reference) = text::values(metric, 0).median.filter(|&m| m > 0.0) else {
        return String::new();
    };
    let places = values.rounds.iter().map(|round| round / reference);
    places
        .filter(|&ratio| layout.axis.holds(ratio))
        .filter_map(|ratio| layout.axis.at(ratio))
        .map(|x| svg::line((x, y + 3.5), (x, y + 8.5), "round"))
        .collect()
}

fn whisker(layout: &Layout, scheduler: usize, values: &Values, y: f64) -> String {
    let (Some(ratio), axis) = (values.ratio, &layout.axis) else {
        return String::new();
    };
    let sure = !matches!(values.verdict, Verdict::None | Verdict::Same);
    let mut out = String::new();
    if let Some((low, high)) = values.ratio_interval {
        // An interval may reach down to 0, which is beyond the left end.
        let low = axis.at(low).unwrap_or(layout.left);
        if let Some(high) = axis.at(high) {
            out.push_str(&svg::line((low, y), (high, y), "whisker"));
        }
    }
    if axis.holds(ratio) {
        if let Some(x) = axis.at(ratio) {
            let class = if sure { "dot" } else { "dot hollow" };
            out.push_str(&svg::mark(scheduler, (x, y), 4.6, class));
        }
    } else if ratio > 1.0 {
        let arrow = layout.right - 2.0;
        out.push_str(&svg::text(arrow, y + 4.0, Anchor::End, "own", "▶"));
    } else {
        out.push_str(&svg::text(
            layout.left + 2.0,
            y + 4.0,
            Anchor::Start,
            "own",
            "◀",
        ));
    }
    let class = if sure { "sure" } else { "noise" };
    svg::group(class, "", &out)
}

/// "×0.46 (0.41–0.52) better", the interval only where there is room. Without a ratio, the figure itself.
fn said(size: Size, metric: &Metric, values: &Values) -> String {
    let Some(ratio) = text::Ratio::new(values) else {
        return amount(metric, values);
    };
    let mut said = format!("×{}", ratio.value);
    if let (Size::Wide, Some((low, high))) = (size, ratio.interval) {
        said.push_str(&format!(" ({low}–{high})"));
    }
    let word = match (size, values.verdict) {
        (Size::Narrow, Verdict::Same) => "noise",
        (_, verdict) => text::verdict(verdict),
    };
    format!("{said} {word}").trim_end().into()
}

/// The figure with its unit: the reference's lets a ratio be read as an amount.
fn amount(metric: &Metric, values: &Values) -> String {
    match values.median {
        Some(median) => {
            let figure = text::figure(median, metric.kind);
            short(format!("{figure} {}", metric.unit).trim_end(), 18)
        }
        None => "no figure".into(),
    }
}

fn tip(metric: &Metric, values: &Values, label: &str) -> String {
    let rounds: Vec<String> = values
        .rounds
        .iter()
        .map(|&round| text::figure(round, metric.kind))
        .collect();
    let median = values
        .median
        .map_or("none".into(), |m| text::figure(m, metric.kind));
    format!(
        "{label}, {}: median {median}, rounds {}",
        text::title(metric),
        rounds.join(" ")
    )
}
