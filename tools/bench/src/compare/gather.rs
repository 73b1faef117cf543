//! What the runs measured, put together.

use std::collections::BTreeMap;

use super::load::{Manner, Run, Spec};
use super::result::{Better, Bucket, Distribution, Heat, Kind, Load, Metric, Values};
use super::statistics::compare;
use crate::metric;

/// Figures that only a watched run has: one value for each scheduler, without noise to tell.
const WATCHED: [&str; 2] = ["idle_while_runnable_ms", "longest_idle_while_runnable_ms"];

/// All runs of a comparison so far.
pub struct Gathered {
    loads: Vec<OfLoad>,
    ops: Vec<Option<String>>,
}

struct OfLoad {
    /// By scheduler, by round.
    plain: Vec<Vec<Run>>,
    floor: Option<Run>,
    /// By scheduler.
    watched: Vec<Option<Run>>,
}

impl Gathered {
    /// Nothing yet.
    pub fn new(schedulers: usize, loads: usize) -> Self {
        let of_load = || OfLoad {
            plain: vec![Vec::new(); schedulers],
            floor: None,
            watched: vec![None; schedulers],
        };
        Gathered {
            loads: (0..loads).map(|_| of_load()).collect(),
            ops: vec![None; schedulers],
        }
    }

    /// Adds a run.
    pub fn add(&mut self, scheduler: usize, load: usize, manner: Manner, run: Run) {
        let of = &mut self.loads[load];
        match manner {
            Manner::Plain => of.plain[scheduler].push(run),
            Manner::Floor => of.floor = Some(run),
            Manner::Watched => of.watched[scheduler] = Some(run),
        }
    }

    /// Keeps the name that the kernel has a scheduler under.
    pub fn note_ops(&mut self, scheduler: usize, ops: Option<String>) {
        self.ops[scheduler] = ops;
    }

    /// The name that the kernel has a scheduler under, if it was loaded.
    pub fn ops(&self, scheduler: usize) -> Option<String> {
        self.ops[scheduler].clone()
    }

    /// Whether any run was measured.
    pub fn has_any(&self) -> bool {
        self.loads
            .iter()
            .any(|of| of.plain.iter().any(|runs| !runs.is_empty()))
    }

    /// The figures of one load.
    pub fn conclude(&self, load: usize, spec: &Spec) -> Load {
        let of = &self.loads[load];
        let measured = metric::headline(&spec.kind)
            .iter()
            .map(|name| of.metric(name));
        let watched = WATCHED.iter().map(|name| of.watched_metric(name));
        Load {
            label: spec.label.clone(),
            kind: spec.kind.clone(),
            metrics: measured.chain(watched).flatten().collect(),
            distributions: of.distributions(),
            heat: of.heat(),
        }
    }
}

impl OfLoad {
    /// One figure; `None` if no run has it.
    fn metric(&self, name: &str) -> Option<Metric> {
        let rounds: Vec<Vec<f64>> = self
            .plain
            .iter()
            .map(|runs| {
                runs.iter()
                    .filter_map(|run| run.figures.get(name).copied())
                    .collect()
            })
            .collect();
        let floor = self
            .floor
            .as_ref()
            .and_then(|run| run.figures.get(name).copied());
        describe(name, &rounds, |kind| {
            floor.filter(|_| kind == Kind::Latency)
        })
    }

    fn watched_metric(&self, name: &str) -> Option<Metric> {
        let of_run = |run: &Option<Run>| {
            run.iter()
                .filter_map(|run| run.figures.get(name).copied())
                .collect()
        };
        let rounds: Vec<Vec<f64>> = self.watched.iter().map(of_run).collect();
        describe(name, &rounds, |_| None)
    }

    fn distributions(&self) -> Vec<Distribution> {
        let mut names: Vec<&String> = self
            .plain
            .iter()
            .flatten()
            .flat_map(|run| run.histograms.keys())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .map(|name| Distribution {
                name: name.clone(),
                of: self
                    .plain
                    .iter()
                    .map(|runs| merge(runs.iter(), name))
                    .collect(),
                floor: self
                    .floor
                    .as_ref()
                    .map(|run| merge([run].into_iter(), name))
                    .filter(|buckets| !buckets.is_empty()),
            })
            .collect()
    }

    fn heat(&self) -> Vec<Heat> {
        let of = |(scheduler, run): (usize, &Option<Run>)| {
            let (every_s, nodes) = run.as_ref()?.heat.clone()?;
            Some(Heat {
                scheduler,
                every_s,
                nodes,
            })
        };
        self.watched.iter().enumerate().filter_map(of).collect()
    }
}

fn describe(
    name: &str,
    rounds: &[Vec<f64>],
    floor: impl FnOnce(Kind) -> Option<f64>,
) -> Option<Metric> {
    if rounds.iter().all(Vec::is_empty) {
        return None;
    }
    let described = metric::describe(name);
    let (label, unit, better, kind) = match described {
        Some(known) => (known.label, known.unit.to_owned(), known.better, known.kind),
        None => (
            name.replace('_', " "),
            String::new(),
            Better::Neither,
            Kind::Description,
        ),
    };
    let reference = rounds.first();
    let of: Vec<Values> = rounds
        .iter()
        .enumerate()
        .map(|(number, own)| {
            compare(
                own.clone(),
                reference.filter(|_| number > 0).map(Vec::as_slice),
                better,
            )
        })
        .collect();
    Some(Metric {
        name: name.to_owned(),
        label,
        unit,
        better,
        kind,
        floor: floor(kind),
        of,
    })
}

/// The histograms of several runs as one. All have the same bounds, so equal bounds are equal numbers.
fn merge<'a>(runs: impl Iterator<Item = &'a Run>, name: &str) -> Vec<Bucket> {
    let mut merged: BTreeMap<u64, u64> = BTreeMap::new();
    for Bucket(upper, count) in runs.filter_map(|run| run.histograms.get(name)).flatten() {
        // The bits of a positive number are ordered as the number is.
        *merged.entry(upper.abs().to_bits()).or_default() += count;
    }
    merged
        .into_iter()
        .map(|(upper, count)| Bucket(f64::from_bits(upper), count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::result::Verdict;

    fn run(p99: f64, histogram: &[(f64, u64)]) -> Run {
        Run {
            figures: BTreeMap::from([("wakeup_p99_us".to_owned(), p99)]),
            histograms: BTreeMap::from([(
                "wakeup".to_owned(),
                histogram.iter().map(|&(u, n)| Bucket(u, n)).collect(),
            )]),
            heat: Some((0.25, vec![vec![1.0]])),
        }
    }

    #[test]
    fn runs_are_compared_with_the_first_scheduler() {
        let mut all = Gathered::new(2, 1);
        assert!(!all.has_any());
        for round in 0..3 {
            all.add(
                0,
                0,
                Manner::Plain,
                run(100.0 + f64::from(round), &[(1.0, 1), (4.0, 1)]),
            );
            all.add(
                1,
                0,
                Manner::Plain,
                run(50.0 + f64::from(round), &[(2.0, 5)]),
            );
        }
        all.add(0, 0, Manner::Floor, run(10.0, &[(1.0, 9)]));
        all.add(1, 0, Manner::Watched, run(1.0, &[]));
        let load = all.conclude(0, &Spec::parse("wake -m 2").unwrap());
        let p99 = load
            .metrics
            .iter()
            .find(|m| m.name == "wakeup_p99_us")
            .unwrap();
        assert_eq!(
            (p99.floor, p99.of[0].median, p99.of[1].median),
            (Some(10.0), Some(101.0), Some(51.0))
        );
        assert_eq!(
            (p99.of[0].verdict, p99.of[1].verdict),
            (Verdict::None, Verdict::Better)
        );
        assert_eq!(
            load.distributions[0].of[0],
            [Bucket(1.0, 3), Bucket(4.0, 3)]
        );
        assert_eq!(load.distributions[0].floor, Some(vec![Bucket(1.0, 9)]));
        assert_eq!(load.heat.len(), 1);
        assert_eq!(load.heat[0].scheduler, 1);
    }
}
