//! `mpg-bench check`: whether a comparison is as good as a stored one, by ratios and counts.
//!
//! Microseconds are never compared, since they are the machine's: a latency is judged by its ratio to the reference
//! scheduler of its own run. Counts are judged as they are, which holds where both runs had the same shape and length.

use std::path::PathBuf;

use anyhow::anyhow;

use crate::compare::result::{Better, Comparison, Kind, Load, Metric, Values};
use crate::Failure;

/// The command line of `check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The comparison to be measured by, as `mpg-bench compare --json` wrote it
    pub baseline: PathBuf,
    /// The comparison that is judged
    pub run: PathBuf,
    /// How many times worse than the baseline's a ratio to the reference scheduler may be
    #[arg(long, value_name = "TIMES", default_value_t = 1.3, value_parser = times)]
    ratio_within: f64,
    /// How many times the baseline's a count may be
    #[arg(long, value_name = "TIMES", default_value_t = 1.5, value_parser = times)]
    count_within: f64,
    /// How much higher than that a count may be, for counts near zero
    #[arg(long, value_name = "N", default_value_t = 50.0, value_parser = clap::value_parser!(f64))]
    count_slack: f64,
}

fn times(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(times) if (1.0..=1000.0).contains(&times) => Ok(times),
        _ => Err("expected a number from 1 to 1000".to_owned()),
    }
}

/// What a check found.
#[derive(Debug, Default, PartialEq)]
pub struct Findings {
    /// How many figures were judged.
    pub judged: usize,
    /// A sentence for each that is past its bound.
    pub past: Vec<String>,
}

/// What `mpg-bench check` does: judges the run, and fails if anything is past its bound.
pub fn command(args: &Args) -> Result<(), Failure> {
    let read = |path| Comparison::read(path).map_err(Failure::BadInput);
    let findings =
        check(args, &read(&args.baseline)?, &read(&args.run)?).map_err(Failure::BadInput)?;
    for sentence in &findings.past {
        println!("{sentence}");
    }
    println!(
        "{} figures judged, {} past their bounds",
        findings.judged,
        findings.past.len()
    );
    match findings.past.len() {
        0 => Ok(()),
        past => Err(anyhow!(
            "{past} figures are worse than the baseline {} allows",
            args.baseline.display()
        )
        .into()),
    }
}

/// Judges a run. The error is a sentence that says why the two cannot be compared.
pub fn check(args: &Args, baseline: &Comparison, run: &Comparison) -> Result<Findings, String> {
    if run.partial {
        return Err("the run is partial: run the comparison to its end".to_owned());
    }
    let shape = |of: &Comparison| {
        let s = &of.setting;
        format!(
            "{} CPUs in {} nodes, {} time, runs of {} s",
            s.nodes.concat().len(),
            s.nodes.len(),
            s.time,
            s.seconds
        )
    };
    if shape(baseline) != shape(run) {
        return Err(format!(
            "the baseline is of {}, the run of {}: repeat the baseline's",
            shape(baseline),
            shape(run)
        ));
    }
    let mut findings = Findings::default();
    for load in &baseline.loads {
        let other = run
            .loads
            .iter()
            .find(|other| other.label == load.label)
            .ok_or_else(|| {
                format!(
                    "the run has no load '{}', which the baseline has",
                    load.label
                )
            })?;
        for (number, scheduler) in baseline.schedulers.iter().enumerate().skip(1) {
            let at = run
                .schedulers
                .iter()
                .position(|other| other.label == scheduler.label)
                .filter(|&at| at > 0)
                .ok_or_else(|| {
                    format!(
                        "the run does not compare {}, which the baseline does",
                        scheduler.label
                    )
                })?;
            for metric in &load.metrics {
                args.judge(
                    load,
                    &scheduler.label,
                    metric,
                    &metric.of[number],
                    value_in(other, metric, at),
                    &mut findings,
                );
            }
        }
    }
    Ok(findings)
}

fn value_in<'a>(load: &'a Load, metric: &Metric, scheduler: usize) -> Option<&'a Values> {
    load.metrics
        .iter()
        .find(|other| other.name == metric.name)?
        .of
        .get(scheduler)
}

impl Args {
    fn judge(
        &self,
        load: &Load,
        scheduler: &str,
        metric: &Metric,
        before: &Values,
        now: Option<&Values>,
        findings: &mut Findings,
    ) {
        let what = format!("{}, {scheduler}: {}", load.label, metric.label);
        let Some((is, bound)) = self.measure(metric, before, now) else {
            // Without a baseline there is nothing to fall behind; without a figure of the run there is.
            if before.median.is_some() && now.and_then(|now| now.median).is_none() {
                findings
                    .past
                    .push(format!("{what} is missing from the run"));
            }
            return;
        };
        findings.judged += 1;
        let fails = match metric.better {
            Better::Higher => is < bound,
            _ => is > bound,
        };
        if fails {
            let side = if metric.better == Better::Higher {
                "at least"
            } else {
                "at most"
            };
            findings
                .past
                .push(format!("{what} is {is:.2}, bound {side} {bound:.2}"));
        }
    }

    /// The figure that is judged and its bound; `None` where there is nothing to judge.
    ///
    /// Of a ratio, the end of its interval that speaks for the run is judged: it fails if it fails beyond doubt.
    fn measure(
        &self,
        metric: &Metric,
        before: &Values,
        now: Option<&Values>,
    ) -> Option<(f64, f64)> {
        let now = now?;
        match (metric.kind, metric.better) {
            (Kind::Count, _) => Some((
                now.median?,
                before.median? * self.count_within + self.count_slack,
            )),
            (Kind::Description, _) | (_, Better::Neither) => None,
            (_, Better::Lower) => Some((
                now.ratio_interval.map_or(now.ratio?, |i| i.0),
                before.ratio? * self.ratio_within,
            )),
            (_, Better::Higher) => Some((
                now.ratio_interval.map_or(now.ratio?, |i| i.1),
                before.ratio? / self.ratio_within,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::result::{Scheduler, Setting, VERSION};

    fn args() -> Args {
        Args {
            baseline: PathBuf::new(),
            run: PathBuf::new(),
            ratio_within: 1.3,
            count_within: 1.5,
            count_slack: 10.0,
        }
    }

    fn values(median: f64, ratio: Option<f64>) -> Values {
        Values {
            median: Some(median),
            ratio,
            ..Values::default()
        }
    }

    fn metric(name: &str, kind: Kind, better: Better, mpg: Values) -> Metric {
        Metric {
            name: name.to_owned(),
            label: name.to_owned(),
            unit: String::new(),
            better,
            kind,
            floor: None,
            of: vec![values(100.0, None), mpg],
        }
    }

    fn comparison(p99: f64, rate: f64, migrations: f64) -> Comparison {
        let scheduler = |label: &str| Scheduler {
            label: label.to_owned(),
            command: None,
            ops: None,
        };
        Comparison {
            version: VERSION,
            partial: false,
            setting: Setting {
                begun: String::new(),
                commit: None,
                kernel: String::new(),
                command: String::new(),
                time: "virtual".to_owned(),
                processor: String::new(),
                nodes: vec![vec![0, 1], vec![2, 3]],
                threads_per_core: 1,
                memory_mib: 1,
                rounds: 3,
                seconds: 3,
            },
            schedulers: vec![scheduler("eevdf"), scheduler("mpg")],
            loads: vec![Load {
                label: "sat".to_owned(),
                kind: "wake".to_owned(),
                metrics: vec![
                    metric("p99", Kind::Latency, Better::Lower, values(1.0, Some(p99))),
                    metric(
                        "rate",
                        Kind::Throughput,
                        Better::Higher,
                        values(1.0, Some(rate)),
                    ),
                    metric(
                        "migrations",
                        Kind::Count,
                        Better::Lower,
                        values(migrations, None),
                    ),
                ],
                distributions: vec![],
                heat: vec![],
            }],
        }
    }

    #[test]
    fn a_run_within_its_bounds_passes_and_others_say_which_is_not() {
        let baseline = comparison(1.0, 1.0, 100.0);
        let past = |run: &Comparison| check(&args(), &baseline, run).unwrap().past;
        assert_eq!(past(&baseline), Vec::<String>::new());
        assert_eq!(past(&comparison(1.29, 0.78, 159.0)), Vec::<String>::new());
        assert_eq!(
            past(&comparison(1.31, 1.0, 100.0)),
            ["sat, mpg: p99 is 1.31, bound at most 1.30"]
        );
        assert_eq!(
            past(&comparison(1.0, 0.76, 100.0)),
            ["sat, mpg: rate is 0.76, bound at least 0.77"]
        );
        assert_eq!(
            past(&comparison(1.0, 1.0, 161.0)),
            ["sat, mpg: migrations is 161.00, bound at most 160.00"]
        );
        assert_eq!(check(&args(), &baseline, &baseline).unwrap().judged, 3);
    }

    #[test]
    fn noise_alone_does_not_fail() {
        let mut run = comparison(1.5, 1.0, 100.0);
        run.loads[0].metrics[0].of[1].ratio_interval = Some((1.2, 1.9));
        assert_eq!(
            check(&args(), &comparison(1.0, 1.0, 100.0), &run)
                .unwrap()
                .past,
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        let baseline = comparison(1.0, 1.0, 100.0);
        let refusal = |change: fn(&mut Comparison)| {
            let mut run = baseline.clone();
            change(&mut run);
            check(&args(), &baseline, &run).unwrap_err()
        };
        assert!(refusal(|run| run.partial = true).contains("partial"));
        assert!(refusal(|run| run.setting.seconds = 9).contains("runs of 3 s, the run of"));
        assert!(refusal(|run| run.loads.clear()).contains("no load 'sat'"));
        assert!(refusal(|run| run.schedulers[1].label = "other".to_owned())
            .contains("does not compare mpg"));
        let mut run = baseline.clone();
        run.loads[0].metrics.remove(1);
        assert_eq!(
            check(&args(), &baseline, &run).unwrap().past,
            ["sat, mpg: rate is missing from the run"]
        );
    }
}
