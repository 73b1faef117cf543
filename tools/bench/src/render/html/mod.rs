//! A comparison as one page of HTML that needs nothing else: style and plots are in it, and there is no script.
//!
//! The page is well-formed XML too, which the tests check: no foreign text can break out of its place.

mod axis;
mod figures;
mod heat;
mod ratios;
mod svg;
mod tails;

use super::text;
use crate::compare::result::{Comparison, Load, Scheduler, Setting, Verdict};

const STYLE: &str = include_str!("style.css");
/// Colours that the style sheet has for schedulers.
const COLOURS: usize = 7;

/// The whole page.
pub fn page(comparison: &Comparison) -> String {
    let title = title(&comparison.schedulers);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    out.push_str(&lead(&comparison.setting));
    if let Some(partial) = text::partial(comparison) {
        out.push_str(&format!(
            "<p class=\"partial\" role=\"alert\">{partial}</p>\n"
        ));
    }
    out.push_str(&glance(comparison));
    out.push_str(&setting(comparison));
    for (i, load) in comparison.loads.iter().enumerate() {
        out.push_str(&section(comparison, load, i));
    }
    out.push_str(&reading(comparison));
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// "mpg and fifo against eevdf", escaped.
fn title(schedulers: &[Scheduler]) -> String {
    let labels: Vec<String> = schedulers.iter().map(|s| escape(&s.label)).collect();
    match labels.as_slice() {
        [] => "A comparison of nothing".into(),
        [one] => format!("{one} by itself"),
        [reference, other] => format!("{other} against {reference}"),
        [reference, others @ .., last] => {
            format!("{} and {last} against {reference}", others.join(", "))
        }
    }
}

fn lead(setting: &Setting) -> String {
    format!(
        "<p class=\"lead\">{} · {} · {} time · {} · {} UTC</p>\n",
        escape(&setting.kernel),
        text::shape(setting),
        escape(&setting.time),
        text::rounds(setting),
        escape(&setting.begun)
    )
}

/// One row for each load: its most telling figure, and how many figures are better or worse.
fn glance(comparison: &Comparison) -> String {
    if comparison.schedulers.len() < 2 || comparison.loads.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<h2>At a glance</h2>\n<div class=\"scroll\"><table class=\"glance\">\n\
         <thead><tr><th>first figure, and all counted</th>",
    );
    for (i, scheduler) in text::others(&comparison.schedulers) {
        let (class, label) = (colour(i), escape(&scheduler.label));
        out.push_str(&format!(
            "<th class=\"{class}\"><b class=\"own\">{label}</b></th>"
        ));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (number, load) in comparison.loads.iter().enumerate() {
        let label = escape(&load.label);
        let first = load.metrics.first();
        let named = first.map(|metric| format!("<small>{}</small>", escape(&text::title(metric))));
        out.push_str(&format!(
            "<tr><th><a href=\"#load-{number}\"><code>{label}</code></a>{}</th>",
            named.unwrap_or_default()
        ));
        for (i, _) in text::others(&comparison.schedulers) {
            out.push_str(&format!("<td>{}</td>", standing(load, i)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// How one scheduler stands in one load.
fn standing(load: &Load, scheduler: usize) -> String {
    let mut out = String::new();
    if let Some(metric) = load.metrics.first() {
        let values = text::values(metric, scheduler);
        if let Some(ratio) = text::Ratio::new(values) {
            let ratio = ratio.value;
            let word = text::verdict(values.verdict);
            out.push_str(&match values.verdict {
                Verdict::None | Verdict::Same => format!("×{ratio} {word}"),
                _ => format!("<b>×{ratio} {word}</b>"),
            });
        }
    }
    let count = |verdict| {
        let of = load
            .metrics
            .iter()
            .map(|m| text::values(m, scheduler).verdict);
        of.filter(|&v| v == verdict).count()
    };
    let counts: Vec<String> = [
        (Verdict::Better, "better"),
        (Verdict::Worse, "worse"),
        (Verdict::Differs, "differ"),
        (Verdict::Same, "within noise"),
    ]
    .into_iter()
    .filter_map(|(verdict, word)| Some((count(verdict), word)).filter(|&(n, _)| n > 0))
    .map(|(number, word)| format!("{number} {word}"))
    .collect();
    let counts = match counts.as_slice() {
        [] => "too few rounds to tell".into(),
        counts => counts.join(", "),
    };
    out.push_str(&format!("<small>{counts}</small>"));
    out
}

fn setting(comparison: &Comparison) -> String {
    let setting = &comparison.setting;
    let nodes: Vec<String> = setting.nodes.iter().map(|cpus| cpu_list(cpus)).collect();
    let nodes = nodes
        .iter()
        .enumerate()
        .map(|(node, cpus)| format!("node {node}: CPUs {cpus}"))
        .collect::<Vec<_>>();
    let commit = setting.commit.as_deref().unwrap_or("unknown");
    let time = match setting.time.as_str() {
        "virtual" => "virtual: a nanosecond is an instruction".into(),
        time => escape(time),
    };
    let facts = [
        ("commit", format!("<code>{}</code>", escape(commit))),
        ("kernel", escape(&setting.kernel)),
        ("processor", escape(&setting.processor)),
        (
            "shape",
            format!("{} ({})", text::shape(setting), nodes.join("; ")),
        ),
        ("threads of a core", setting.threads_per_core.to_string()),
        ("memory", format!("{} MiB", setting.memory_mib)),
        ("time", time),
        (
            "rounds",
            format!("{}, warm-up included", text::rounds(setting)),
        ),
    ];
    let mut out = String::from("<h2>Setting</h2>\n<dl>\n");
    for (name, fact) in facts {
        out.push_str(&format!("<dt>{name}</dt><dd>{fact}</dd>\n"));
    }
    for (i, scheduler) in comparison.schedulers.iter().enumerate() {
        let role = if i == 0 { "reference" } else { "compared" };
        let mut fact = format!(
            "<span class=\"{}\"><b class=\"own\">{}</b></span>",
            colour(i),
            escape(&scheduler.label)
        );
        match &scheduler.command {
            Some(command) => fact.push_str(&format!(": <code>{}</code>", escape(command))),
            None => fact.push_str(": the kernel's own"),
        }
        if let Some(ops) = &scheduler.ops {
            fact.push_str(&format!(", loaded as <code>{}</code>", escape(ops)));
        }
        out.push_str(&format!("<dt>{role}</dt><dd>{fact}</dd>\n"));
    }
    out.push_str(&format!(
        "</dl>\n<p>To repeat it:</p>\n<pre><code>{}</code></pre>\n",
        escape(&setting.command)
    ));
    out
}

/// "0-3, 8" for 0, 1, 2, 3 and 8.
fn cpu_list(cpus: &[usize]) -> String {
    let ranges: Vec<String> = cpus
        .chunk_by(|a, b| a.checked_add(1) == Some(*b))
        .filter_map(|range| match range {
            [] => None,
            [one] => Some(one.to_string()),
            [first, .., last] => Some(format!("{first}-{last}")),
        })
        .collect();
    match ranges.as_slice() {
        [] => "none".into(),
        ranges => ranges.join(", "),
    }
}

fn section(comparison: &Comparison, load: &Load, number: usize) -> String {
    let mut out = format!(
        "<section id=\"load-{number}\">\n<h2><code>{}</code></h2>\n{}",
        escape(&load.label),
        findings(comparison, load)
    );
    out.push_str(&ratios::plots(comparison, load));
    for distribution in &load.distributions {
        out.push_str(&tails::plot(comparison, distribution));
    }
    out.push_str(&heat::plot(comparison, load));
    out.push_str(&figures::tables(comparison, load));
    out.push_str("</section>\n");
    out
}

/// What lies outside of noise: a list where schedulers have something to be listed for.
fn findings(comparison: &Comparison, load: &Load) -> String {
    let schedulers = &comparison.schedulers;
    if !text::others(schedulers).any(|(i, _)| text::judged(load, i)) {
        return format!("<p>{}</p>\n", text::findings(load, schedulers));
    }
    let items: Vec<String> = text::others(schedulers)
        .map(|(i, scheduler)| {
            let (class, label) = (colour(i), escape(&scheduler.label));
            let finding = escape(&text::finding(load, i));
            format!("<li class=\"{class}\"><b class=\"own\">{label}</b> {finding}</li>\n")
        })
        .collect();
    format!("<p>Outside of noise:</p>\n<ul>\n{}</ul>\n", items.concat())
}

/// What the marks and words on the page mean, as far as they are on it.
fn reading(comparison: &Comparison) -> String {
    let any = |test: fn(&Load) -> bool| comparison.loads.iter().any(test);
    let mut items = Vec::new();
    if comparison.schedulers.len() > 1 {
        items.push(
            "A ratio is a scheduler's median over the reference's. Its 95% interval is the bootstrap's over rounds. \
             Small strokes are single rounds over the reference's median; the reference's own show its noise.",
        );
        items.push(
            "A filled mark in colour is a difference outside of noise, a hollow grey one is within noise \
             or of too few rounds to tell. \
             The shaded side of 1 is the better one.",
        );
    }
    if any(|load| !load.distributions.is_empty()) {
        items.push(
            "In the plots of latencies, a point says which share of waits was longer than that; lower and further \
             left is better. Marks are at p50, p99 and p99.9.",
        );
    }
    if any(figures::tells_entropy) {
        items.push(
            "Entropy is the bits that tell in which power of two of microseconds a wait fell: 0 is a scheduler \
             that always takes about as long.",
        );
    }
    if any(text::has_floor) {
        items.push(
            "The floor is the same figure with the load's threads as SCHED_FIFO, which passes every scheduler by: \
             what this machine makes of it at best. What is above it is the scheduler's part.",
        );
    }
    if items.is_empty() {
        return String::new();
    }
    let items: Vec<String> = items
        .iter()
        .map(|item| format!("<li>{item}</li>\n"))
        .collect();
    format!("<h2>How to read this</h2>\n<ul>\n{}</ul>\n", items.concat())
}

/// Foreign text as text of HTML or the value of an attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text::clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Foreign text that fits into a drawing, not escaped yet.
fn short(text: &str, width: usize) -> String {
    text::cut_within(&text::clean(text), width)
}

/// The class that gives a scheduler its colour.
fn colour(scheduler: usize) -> String {
    format!("s{}", scheduler % COLOURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_told_in_ranges() {
        assert_eq!(cpu_list(&[0, 1, 2, 3, 8]), "0-3, 8");
        assert_eq!(cpu_list(&[usize::MAX]), usize::MAX.to_string());
        assert_eq!(cpu_list(&[]), "none");
    }

    #[test]
    fn every_colour_is_in_the_style_sheet() {
        for scheduler in 0..COLOURS {
            assert_eq!(
                STYLE.matches(&format!(".s{scheduler} ")).count(),
                2,
                "{scheduler}"
            );
        }
        assert!(!STYLE.contains('<') && !STYLE.contains('&'));
    }
}
