//! Words and numbers that the table, the Markdown and the HTML share, so that all three say the same.

use crate::compare::result::{
    Better, Comparison, Kind, Load, Metric, Scheduler, Setting, Values, Verdict,
};

/// Foreign text made harmless for any output: one line, nothing that steers a terminal, turns the direction of
/// writing, or that XML has no place for.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {
                char::REPLACEMENT_CHARACTER
            }
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// Text of at most `width` characters with an ellipsis for what was cut, nearer to the beginning than to the end: two
/// commands of one program differ at the end.
pub fn cut_within(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let head = width.saturating_sub(1) / 3;
    let tail = width.saturating_sub(1) - head;
    let begin: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{begin}…{end}")
}

/// The first `width` characters, the last of them an ellipsis where something was cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A figure with three digits that count; whole numbers of things stay whole.
pub fn figure(value: f64, kind: Kind) -> String {
    let whole = kind == Kind::Count && value.fract() == 0.0;
    let size = value.abs();
    match size {
        _ if !size.is_finite() => "-".into(),
        0.0 => "0".into(),
        1e9.. => format!("{value:.2e}"),
        _ if whole => format!("{value:.0}"),
        99.95.. => format!("{value:.0}"),
        9.995.. => format!("{value:.1}"),
        0.9995.. => format!("{value:.2}"),
        0.001.. => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

/// The ratio of one scheduler, and its interval where there is one.
pub struct Ratio {
    /// The ratio.
    pub value: String,
    /// The ends of its interval.
    pub interval: Option<(String, String)>,
}

impl Ratio {
    /// All with a third decimal where two would round an end to 1 that lies outside of noise: a difference from 1.001
    /// to 1.004 must not read as "1.00 to 1.00".
    pub fn new(values: &Values) -> Option<Self> {
        let value = values.ratio?;
        let outside = !matches!(values.verdict, Verdict::None | Verdict::Same);
        let rounds_to_one = |end: f64| (0.995..1.005).contains(&end);
        let interval = values.ratio_interval;
        let ends = interval.unwrap_or((value, value));
        let fine = outside && (rounds_to_one(ends.0) || rounds_to_one(ends.1));
        let text = |value| ratio_with(value, fine);
        Some(Ratio {
            value: text(value),
            interval: interval.map(|(low, high)| (text(low), text(high))),
        })
    }
}

/// A ratio with two decimals, fewer where they say nothing and more where they are all there is.
fn ratio_with(value: f64, fine: bool) -> String {
    match value {
        _ if !value.is_finite() => "-".into(),
        99.95..1e6 => format!("{value:.0}"),
        9.995..99.95 => format!("{value:.1}"),
        0.0995..9.995 if !fine => format!("{value:.2}"),
        0.001..9.995 => format!("{value:.3}"),
        0.0 => "0".into(),
        _ => format!("{value:.1e}"),
    }
}

/// The figure of the metric with its unit in words: "wakeup p99, us".
pub fn title(metric: &Metric) -> String {
    match metric.unit.as_str() {
        "" => clean(&metric.label),
        // "requests, /s" would read badly.
        unit if unit.starts_with('/') => clean(&format!("{}{unit}", metric.label)),
        unit => clean(&format!("{}, {unit}", metric.label)),
    }
}

/// What the scheduler adds to what the machine can do at best: a latency less its floor.
pub fn above_floor(metric: &Metric, values: &Values) -> Option<f64> {
    match (metric.kind, metric.floor, values.median) {
        (Kind::Latency, Some(floor), Some(median)) => Some(median - floor),
        _ => None,
    }
}

/// Whether any figure of the load has a floor.
pub fn has_floor(load: &Load) -> bool {
    load.metrics.iter().any(|metric| metric.floor.is_some())
}

/// The verdict in words; empty where there is none.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::None => "",
        Verdict::Same => "within noise",
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Differs => "differs",
    }
}

/// Which way the metric is good, in words.
pub fn better(better: Better) -> &'static str {
    match better {
        Better::Lower => "lower is better",
        Better::Higher => "higher is better",
        Better::Neither => "neither good nor bad",
    }
}

/// "1 CPU", "4 CPUs".
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// "4 CPUs in 2 nodes".
pub fn shape(setting: &Setting) -> String {
    let cpus = setting.nodes.iter().map(Vec::len).sum();
    format!(
        "{} in {}",
        count(cpus, "CPU"),
        count(setting.nodes.len(), "node")
    )
}

/// The day on which the comparison began.
pub fn date(setting: &Setting) -> String {
    let begun = clean(&setting.begun);
    begun.split_whitespace().next().unwrap_or("undated").into()
}

/// How many rounds and how long: "5 rounds of 10 s".
pub fn rounds(setting: &Setting) -> String {
    let rounds = count(setting.rounds as usize, "round");
    format!("{rounds} of {} s", setting.seconds)
}

/// What to say of a comparison that was cut short; `None` of a whole one.
pub fn partial(comparison: &Comparison) -> Option<String> {
    if !comparison.partial {
        return None;
    }
    // A figure may be missing under one scheduler, so it is the fullest that tells how often a load was run.
    let runs = |load: &Load, scheduler| {
        let of = |metric| values(metric, scheduler).rounds.len();
        load.metrics.iter().map(of).max().unwrap_or(0)
    };
    let schedulers = comparison.schedulers.len();
    let loads = comparison.loads.iter();
    let all: Vec<usize> = loads
        .flat_map(|load| (0..schedulers).map(move |scheduler| runs(load, scheduler)))
        .collect();
    let (least, most) = (all.iter().min(), all.iter().max());
    let run = match (least, most) {
        (Some(least), Some(most)) if least == most => format!("{most}"),
        (Some(least), Some(most)) => format!("{least} to {most}"),
        _ => "none".into(),
    };
    let asked = count(comparison.setting.rounds as usize, "round");
    Some(format!(
        "PARTIAL: it ended before all was run; the figures are of {run} of {asked}."
    ))
}

/// The schedulers other than the reference, with their numbers.
pub fn others(schedulers: &[Scheduler]) -> impl Iterator<Item = (usize, &Scheduler)> {
    schedulers.iter().enumerate().skip(1)
}

/// The values of one scheduler; those of nobody where a list is too short.
pub fn values(metric: &Metric, scheduler: usize) -> &Values {
    static NONE: Values = Values {
        rounds: Vec::new(),
        median: None,
        interval: None,
        ratio: None,
        ratio_interval: None,
        verdict: Verdict::None,
    };
    metric.of.get(scheduler).unwrap_or(&NONE)
}

/// One sentence: which figures of a load lie outside of noise, scheduler by scheduler.
pub fn findings(load: &Load, schedulers: &[Scheduler]) -> String {
    if schedulers.len() < 2 {
        return "One scheduler was measured, so there is nothing to compare.".into();
    }
    if !others(schedulers).any(|(i, _)| judged(load, i)) {
        return "Too few rounds to tell a difference from noise.".into();
    }
    let clauses: Vec<String> = others(schedulers)
        .map(|(i, scheduler)| format!("{} {}", clean(&scheduler.label), finding(load, i)))
        .collect();
    format!("Outside of noise: {}.", clauses.join("; "))
}

/// Whether there were enough rounds to judge any figure of a scheduler.
pub fn judged(load: &Load, scheduler: usize) -> bool {
    let mut verdicts = load.metrics.iter().map(|m| values(m, scheduler).verdict);
    verdicts.any(|verdict| verdict != Verdict::None)
}

/// What of one scheduler lies outside of noise: "is better in requests (1.22), worse in wakeup p50 (4.48)".
pub fn finding(load: &Load, scheduler: usize) -> String {
    if !judged(load, scheduler) {
        return "has too few rounds to tell".into();
    }
    let parts: Vec<String> = [
        (Verdict::Better, "better in"),
        (Verdict::Worse, "worse in"),
        (Verdict::Differs, "different in"),
    ]
    .into_iter()
    .filter_map(|(verdict, words)| {
        let found = found(load, scheduler, verdict);
        (!found.is_empty()).then(|| format!("{words} {}", found.join(", ")))
    })
    .collect();
    match parts.as_slice() {
        [] => "in nothing".into(),
        parts => format!("is {}", parts.join(", ")),
    }
}

/// The metrics of a load in which a scheduler got this verdict, each with its ratio.
fn found(load: &Load, scheduler: usize, verdict: Verdict) -> Vec<String> {
    load.metrics
        .iter()
        .filter(|metric| values(metric, scheduler).verdict == verdict)
        .map(|metric| match Ratio::new(values(metric, scheduler)) {
            Some(ratio) => format!("{} ({})", clean(&metric.label), ratio.value),
            None => clean(&metric.label),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits() {
        let text = |value| figure(value, Kind::Latency);
        assert_eq!(text(0.0), "0");
        assert_eq!(text(1306.4), "1306");
        assert_eq!(text(145.2), "145");
        assert_eq!(text(99.97), "100");
        assert_eq!(text(32.04), "32.0");
        assert_eq!(text(6.238), "6.24");
        assert_eq!(text(0.172), "0.172");
        assert_eq!(text(-0.31), "-0.310");
        assert_eq!(text(0.00012), "1.2e-4");
        assert_eq!(text(f64::NAN), "-");
        assert_eq!(figure(5.0, Kind::Count), "5");
        assert_eq!(figure(5.5, Kind::Count), "5.50");
        assert_eq!(figure(20601.0, Kind::Count), "20601");
    }

    #[test]
    fn ratios_near_one_are_told_apart() {
        let of = |verdict, value, low, high| {
            let values = Values {
                ratio: Some(value),
                ratio_interval: Some((low, high)),
                verdict,
                ..Values::default()
            };
            let ratio = Ratio::new(&values)?;
            let (low, high) = ratio.interval?;
            Some(format!("{} {low} {high}", ratio.value))
        };
        let noise = of(Verdict::Same, 0.987, 0.9991, 1.06);
        assert_eq!(noise.as_deref(), Some("0.99 1.00 1.06"));
        let worse = of(Verdict::Worse, 1.0027, 1.001, 1.0042);
        assert_eq!(worse.as_deref(), Some("1.003 1.001 1.004"));
        assert!(Ratio::new(&Values::default()).is_none());
    }

    #[test]
    fn ratios_of_any_size_are_short() {
        assert_eq!(ratio_with(1.0, false), "1.00");
        assert_eq!(ratio_with(0.46, false), "0.46");
        assert_eq!(ratio_with(39.41, false), "39.4");
        assert_eq!(ratio_with(0.0512, false), "0.051");
        assert_eq!(ratio_with(1234.0, false), "1234");
        assert_eq!(ratio_with(0.0, false), "0");
    }

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(clean("a\u{1b}[31m\nb\u{202e}c"), "a\u{fffd}[31m b\u{fffd}c");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(cut_within("mpg --policy=fifo", 10), "mpg…y=fifo");
        assert_eq!(cut_within("mpg", 3), "mpg");
    }
}
