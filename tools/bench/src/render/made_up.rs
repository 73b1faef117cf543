//! Made-up comparisons for the tests. No figure in here was measured.

use crate::compare::result::{
    Better, Bucket, Comparison, Distribution, Heat, Kind, Load, Metric, Scheduler, Setting, Values,
    Verdict, VERSION,
};

fn setting(rounds: u32) -> Setting {
    Setting {
        begun: "2026-01-02 03:04".into(),
        commit: Some("made-up".into()),
        kernel: "6.0.0-made-up".into(),
        command: "mpg-bench compare --load 'wake -m 2 -t 4' --rounds 5".into(),
        time: "virtual".into(),
        processor: "Made-up CPU @ 1 GHz".into(),
        nodes: vec![vec![0, 1], vec![2, 3]],
        threads_per_core: 1,
        memory_mib: 2048,
        rounds,
        seconds: 3,
    }
}

fn schedulers() -> Vec<Scheduler> {
    let scheduler = |label: &str, command: Option<&str>| Scheduler {
        label: label.into(),
        command: command.map(Into::into),
        ops: command.map(|_| "mpg".into()),
    };
    vec![
        scheduler("eevdf", None),
        scheduler("mpg", Some("scx_mpg")),
        scheduler("mpg --policy=fifo", Some("scx_mpg --policy=fifo")),
    ]
}

/// Values around a median; `verdict` and the interval of the ratio as given.
fn values(rounds: &[f64], ratio: Option<(f64, f64, f64)>, verdict: Verdict) -> Values {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ends = sorted.first().copied().zip(sorted.last().copied());
    Values {
        rounds: rounds.to_vec(),
        median: sorted.get(sorted.len() / 2).copied(),
        interval: ends,
        ratio: ratio.map(|(ratio, _, _)| ratio),
        ratio_interval: ratio.map(|(_, low, high)| (low, high)),
        verdict,
    }
}

/// Three schedulers, one load, three rounds: small enough to be written down as text.
pub fn small() -> Comparison {
    let metric = |name: &str, label: &str, unit: &str, better, kind, floor, of| Metric {
        name: name.into(),
        label: label.into(),
        unit: unit.into(),
        better,
        kind,
        floor,
        of,
    };
    let metrics = vec![
        metric(
            "wakeup_p99_us",
            "wakeup p99",
            "us",
            Better::Lower,
            Kind::Latency,
            Some(16.2),
            vec![
                values(&[1011.0, 1042.0, 998.0], None, Verdict::None),
                values(
                    &[1306.0, 1290.0, 1420.0],
                    Some((1.292, 1.24, 1.41)),
                    Verdict::Worse,
                ),
                values(
                    &[1020.0, 1003.0, 1051.0],
                    Some((1.009, 0.97, 1.05)),
                    Verdict::Same,
                ),
            ],
        ),
        metric(
            "requests_per_s",
            "requests",
            "/s",
            Better::Higher,
            Kind::Throughput,
            None,
            vec![
                values(&[4517.0, 4490.0, 4523.0], None, Verdict::None),
                values(
                    &[5526.0, 5530.0, 5490.0],
                    Some((1.2234, 1.21, 1.23)),
                    Verdict::Better,
                ),
                values(
                    &[4600.0, 4411.0, 4533.0],
                    Some((1.0035, 0.97, 1.02)),
                    Verdict::Same,
                ),
            ],
        ),
        metric(
            "migrations",
            "migrations",
            "",
            Better::Neither,
            Kind::Count,
            None,
            vec![
                values(&[523.0, 540.0, 511.0], None, Verdict::None),
                values(
                    &[20601.0, 20533.0, 21002.0],
                    Some((39.39, 38.1, 41.0)),
                    Verdict::Differs,
                ),
                values(&[0.0, 0.0, 0.0], Some((0.0, 0.0, 0.0)), Verdict::Differs),
            ],
        ),
    ];
    let buckets = vec![Bucket(10.0, 500), Bucket(100.0, 480), Bucket(1100.0, 20)];
    Comparison {
        version: VERSION,
        partial: false,
        setting: setting(3),
        schedulers: schedulers(),
        loads: vec![Load {
            label: "wake -m 2 -t 4".into(),
            kind: "wake".into(),
            metrics,
            distributions: vec![Distribution {
                name: "wakeup".into(),
                of: vec![buckets.clone(), buckets.clone(), buckets.clone()],
                floor: None,
            }],
            heat: vec![Heat {
                scheduler: 0,
                every_s: 0.5,
                nodes: vec![vec![0.1, 0.9, 0.8], vec![0.0, 1.0, 0.5]],
            }],
        }],
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    /// Evenly between 0 and 1.
    fn even(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 31)
    }

    /// About normal, around 0 with a deviation of 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }

    /// Latencies with a body around `middle` and a share of `slow` ones around `late`, in buckets of 4%.
    fn latencies(&mut self, middle: f64, width: f64, slow: f64, late: f64) -> Vec<Bucket> {
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..60_000 {
            let (middle, width) = if self.even() < slow {
                (late, 0.7)
            } else {
                (middle, width)
            };
            let latency = middle * (width * self.normal()).exp();
            *counts
                .entry((latency.ln() * 25.0).ceil() as i32)
                .or_insert(0) += 1;
        }
        let bucket = |(step, number): (i32, u64)| Bucket((f64::from(step) / 25.0).exp(), number);
        counts.into_iter().map(bucket).collect()
    }
}

/// As a real one may look: three schedulers, two loads, five rounds, floors and heat. For looking at.
pub fn realistic() -> Comparison {
    let mut dice = Dice(7);
    let loads = [
        ("wake -m 2 -t 4 -F 16 -n 1", "wake"),
        ("mix --web 4 --batch 8", "mix"),
    ];
    let loads = loads.iter().map(|(label, kind)| Load {
        label: (*label).into(),
        kind: (*kind).into(),
        metrics: metrics(&mut dice),
        distributions: vec![Distribution {
            name: if *kind == "wake" {
                "wakeup"
            } else {
                "response"
            }
            .into(),
            of: vec![
                dice.latencies(32.0, 0.5, 0.03, 900.0),
                dice.latencies(145.0, 0.45, 0.05, 700.0),
                dice.latencies(36.0, 0.55, 0.02, 2600.0),
            ],
            floor: Some(dice.latencies(13.0, 0.12, 0.002, 30.0)),
        }],
        heat: (0..3).map(|scheduler| heat(&mut dice, scheduler)).collect(),
    });
    Comparison {
        loads: loads.collect(),
        schedulers: schedulers(),
        setting: setting(5),
        partial: false,
        version: VERSION,
    }
}

fn heat(dice: &mut Dice, scheduler: usize) -> Heat {
    let mut node = |level: f64, drift: f64| -> Vec<f64> {
        let mut share = level;
        (0..120)
            .map(|i| {
                share = 0.7 * share
                    + 0.3 * (level + drift * f64::from(i) / 120.0 + 0.12 * dice.normal());
                if i < 6 {
                    0.03
                } else {
                    share.clamp(0.0, 1.0)
                }
            })
            .collect()
    };
    let nodes = match scheduler {
        0 => vec![node(0.9, -0.3), node(0.45, 0.4)],
        1 => vec![node(0.8, 0.05), node(0.8, 0.0)],
        _ => vec![node(0.97, 0.0), node(0.3, 0.1)],
    };
    Heat {
        scheduler,
        every_s: 0.025,
        nodes,
    }
}

fn metrics(dice: &mut Dice) -> Vec<Metric> {
    use Better::{Higher, Lower, Neither};
    use Kind::{Count, Description, Latency, Throughput};
    let rows = [
        (
            "wakeup p99",
            "us",
            Lower,
            Latency,
            Some(16.0),
            [1011.0, 1.29, 0.98],
            0.05,
        ),
        (
            "wakeup p50",
            "us",
            Lower,
            Latency,
            Some(12.5),
            [32.0, 4.48, 1.14],
            0.02,
        ),
        (
            "wakeup p99.9",
            "us",
            Lower,
            Latency,
            Some(24.0),
            [3834.0, 0.46, 1.35],
            0.09,
        ),
        (
            "wakeup max",
            "us",
            Lower,
            Latency,
            Some(61.0),
            [9120.0, 0.7, 1.5],
            0.3,
        ),
        (
            "requests",
            "/s",
            Higher,
            Throughput,
            Some(7120.0),
            [4517.0, 1.22, 1.004],
            0.01,
        ),
        (
            "wakeup entropy",
            "bits",
            Lower,
            Description,
            Some(0.4),
            [2.61, 0.91, 1.08],
            0.02,
        ),
        (
            "migrations",
            "",
            Neither,
            Count,
            None,
            [523.0, 39.4, 6.1],
            0.08,
        ),
        (
            "migrations across nodes",
            "",
            Neither,
            Count,
            None,
            [97.0, 0.05, 1.1],
            0.2,
        ),
        (
            "decisions per activation",
            "",
            Neither,
            Description,
            None,
            [1.0, 6.2, 5.1],
            0.05,
        ),
    ];
    rows.into_iter()
        .map(
            |(label, unit, better, kind, floor, [base, first, second], noise)| {
                let mut of = |factor: f64| -> Vec<f64> {
                    let whole = |v: f64| if kind == Count { v.round() } else { v };
                    (0..5)
                        .map(|_| whole(base * factor * (noise * dice.normal()).exp()))
                        .collect()
                };
                let reference = match label {
                    // The kernel's own scheduler decides nothing in user space.
                    "decisions per activation" => Values::default(),
                    _ => values(&of(1.0), None, Verdict::None),
                };
                let middle = reference.median.unwrap_or_default();
                let mut other = |factor: f64| {
                    let plain = values(&of(factor), None, Verdict::None);
                    if middle == 0.0 {
                        return plain;
                    }
                    let ratio = plain.median.unwrap_or_default() / middle;
                    let (low, high) = (ratio * (1.0 - 1.4 * noise), ratio * (1.0 + 1.5 * noise));
                    let verdict = match (low <= 1.0 && high >= 1.0, better, ratio < 1.0) {
                        (true, _, _) => Verdict::Same,
                        (_, Neither, _) => Verdict::Differs,
                        (_, Lower, true) | (_, Higher, false) => Verdict::Better,
                        _ => Verdict::Worse,
                    };
                    values(&plain.rounds, Some((ratio, low, high)), verdict)
                };
                Metric {
                    name: label.replace(' ', "_"),
                    label: label.into(),
                    unit: unit.into(),
                    better,
                    kind,
                    floor,
                    of: vec![reference, other(first), other(second)],
                }
            },
        )
        .collect()
}
