//! The figures of a load as tables: medians, floors, distributions, and every round.

use super::tails::kind_of_latency;
use super::{colour, escape};
use crate::compare::result::{Comparison, Distribution, Kind, Load, Metric, Values, Verdict};
use crate::render::text;
use crate::render::waits::Waits;

/// All tables of a load.
pub fn tables(comparison: &Comparison, load: &Load) -> String {
    if load.metrics.is_empty() {
        return "<p>No figures.</p>\n".into();
    }
    let mut out = medians(comparison, load);
    for distribution in &load.distributions {
        out.push_str(&percentiles(comparison, distribution, tells_entropy(load)));
    }
    out.push_str(&rounds(comparison, load));
    out
}

/// Whether entropy is told beside the percentiles: one that the load itself reports stands among its figures, and is
/// not to be told twice.
pub fn tells_entropy(load: &Load) -> bool {
    let reported = load.metrics.iter().any(|metric| metric.unit == "bits");
    !load.distributions.is_empty() && !reported
}

fn medians(comparison: &Comparison, load: &Load) -> String {
    let floor = text::has_floor(load);
    let mut out = String::from("<h3>Figures</h3>\n<div class=\"scroll\"><table>\n<thead><tr>");
    out.push_str("<th class=\"what\">median, 95% interval</th>");
    if floor {
        out.push_str("<th class=\"n\">floor</th>");
    }
    for (i, scheduler) in comparison.schedulers.iter().enumerate() {
        let label = escape(&scheduler.label);
        let class = colour(i);
        out.push_str(&format!(
            "<th class=\"n {class}\"><b class=\"own\">{label}</b></th>"
        ));
        if i > 0 {
            out.push_str("<th class=\"n\">ratio</th>");
        }
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for metric in &load.metrics {
        out.push_str(&format!(
            "<tr><th class=\"what\">{}<small>{}</small></th>",
            escape(&text::title(metric)),
            text::better(metric.better)
        ));
        if floor {
            out.push_str(&cell(&figure(metric.floor, metric.kind), &[]));
        }
        for i in 0..comparison.schedulers.len() {
            let values = text::values(metric, i);
            out.push_str(&median(metric, values));
            if i > 0 {
                out.push_str(&ratio(values));
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

fn median(metric: &Metric, values: &Values) -> String {
    let kind = metric.kind;
    let mut below = Vec::new();
    if let Some((low, high)) = values.interval {
        below.push(format!(
            "{}–{}",
            text::figure(low, kind),
            text::figure(high, kind)
        ));
    }
    if let Some(above) = text::above_floor(metric, values) {
        below.push(format!("{} above floor", text::figure(above, kind)));
    }
    cell(&figure(values.median, kind), &below)
}

fn ratio(values: &Values) -> String {
    let Some(ratio) = text::Ratio::new(values) else {
        return cell("", &[]);
    };
    let above = match values.verdict {
        Verdict::None | Verdict::Same => format!("×{}", ratio.value),
        _ => format!("<b>×{}</b>", ratio.value),
    };
    let mut below = Vec::new();
    if let Some((low, high)) = ratio.interval {
        below.push(format!("{low}–{high}"));
    }
    if values.verdict != Verdict::None {
        below.push(text::verdict(values.verdict).into());
    }
    cell(&above, &below)
}

/// A cell of a number and what is to be said below it; all of it is markup already.
fn cell(above: &str, below: &[String]) -> String {
    let below: Vec<String> = below
        .iter()
        .map(|line| format!("<small>{line}</small>"))
        .collect();
    format!("<td class=\"n\">{above}{}</td>", below.concat())
}

fn figure(value: Option<f64>, kind: Kind) -> String {
    value.map_or_else(String::new, |value| text::figure(value, kind))
}

/// The distribution's own percentiles, all rounds together.
fn percentiles(comparison: &Comparison, distribution: &Distribution, entropy: bool) -> String {
    let name = escape(&kind_of_latency(&distribution.name));
    let mut out = format!(
        "<h3>{name}, us, all rounds together</h3>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th></th><th class=\"n\">waits</th>"
    );
    const QUANTILES: [(f64, &str); 4] =
        [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];
    for (_, name) in QUANTILES {
        out.push_str(&format!("<th class=\"n\">{name}</th>"));
    }
    out.push_str("<th class=\"n\">longest</th>");
    if entropy {
        out.push_str("<th class=\"n\">entropy, bits</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    let schedulers = comparison
        .schedulers
        .iter()
        .zip(&distribution.of)
        .enumerate();
    let of =
        schedulers.map(|(i, (scheduler, buckets))| (colour(i), escape(&scheduler.label), buckets));
    let floor = distribution.floor.iter();
    let floor = floor.map(|buckets| ("floor".to_owned(), "floor".to_owned(), buckets));
    for (class, label, buckets) in of.chain(floor) {
        let waits = Waits::new(buckets);
        out.push_str(&format!(
            "<tr><th class=\"{class}\"><b class=\"own\">{label}</b></th>"
        ));
        out.push_str(&cell(&waits.total().to_string(), &[]));
        let quantiles = QUANTILES
            .iter()
            .map(|&(quantile, _)| waits.quantile(quantile));
        for wait in quantiles.chain([waits.longest()]) {
            out.push_str(&cell(&figure(wait, Kind::Latency), &[]));
        }
        if entropy {
            let bits = waits
                .entropy()
                .map_or_else(String::new, |bits| format!("{bits:.2}"));
            out.push_str(&cell(&bits, &[]));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

fn rounds(comparison: &Comparison, load: &Load) -> String {
    let of = load.metrics.iter().flat_map(|metric| &metric.of);
    let most = of.map(|values| values.rounds.len()).max().unwrap_or(0);
    let mut out = String::from(
        "<details><summary>Every round</summary>\n<div class=\"scroll\"><table>\n\
         <thead><tr><th></th><th></th>",
    );
    for round in 1..=most {
        out.push_str(&format!("<th class=\"n\">{round}</th>"));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for metric in &load.metrics {
        for (i, scheduler) in comparison.schedulers.iter().enumerate() {
            let title = if i == 0 {
                escape(&text::title(metric))
            } else {
                String::new()
            };
            let class = colour(i);
            let label = escape(&scheduler.label);
            out.push_str(&format!(
                "<tr><th>{title}</th><td class=\"{class}\"><b class=\"own\">{label}</b></td>"
            ));
            let rounds = &text::values(metric, i).rounds;
            for round in 0..most {
                out.push_str(&cell(&figure(rounds.get(round).copied(), metric.kind), &[]));
            }
            out.push_str("</tr>\n");
        }
    }
    out.push_str("</tbody></table></div></details>\n");
    out
}
