// SPDX-License-Identifier: GPL-2.0-only
//! What is wrong, told from what is seen: plain values in, alerts out.
//!
//! Terms: each alert has a *bound*, and each [`Sample`] says by how much it is met, in percent of
//! it. An alert is raised when [`RAISE_SAMPLES`] samples in a row are above 100%, and cleared when
//! [`CLEAR_SAMPLES`] in a row are below [`CLEAR_PERCENT`]. In between it stays as it is.
//!
//! | alert | what is held against its bound |
//! |---|---|
//! | starvation | for how long the Gs of the worst node wait on average, while any wait there |
//! | storm | starts of Gs a second for each CPU, since the sample before |
//! | runaway | how often in a row sysmon has ended the slice of a G in vain while others wait on its node |
//! | idle | the longest wait of a G that might run on a node with idle CPUs, by that node's leave |
//! | behind | for how long a worker that was called has left events unread; over the bound in fallback |
//!
//! Properties, which the tests check: an alert is raised and cleared in turn; never before its
//! samples in a row; and a reading between the two bounds changes nothing, however long it lasts.

use std::time::Duration;

/// Alerts, in the order of [`ALERTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// Gs of a node wait too long.
    Starvation,
    /// CPUs do little but change from one G to the next.
    Storm,
    /// A G does not leave its CPU when its slice is over and others wait.
    Runaway,
    /// A node idles while Gs that it might run wait at another.
    Idle,
    /// A worker does not read its events.
    Behind,
}

/// All alerts.
pub const ALERTS: [Alert; 5] = [
    Alert::Starvation,
    Alert::Storm,
    Alert::Runaway,
    Alert::Idle,
    Alert::Behind,
];

impl Alert {
    /// The word that the log and the statistics have for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starvation => "starvation",
            Self::Storm => "storm",
            Self::Runaway => "runaway",
            Self::Idle => "idle",
            Self::Behind => "behind",
        }
    }
}

/// Samples in a row above the bound that raise an alert.
pub const RAISE_SAMPLES: u32 = 4;
/// Samples in a row well below it that clear the alert.
pub const CLEAR_SAMPLES: u32 = 8;
/// What is well below, in percent of the bound.
pub const CLEAR_PERCENT: u64 = 50;
/// Gs that wait for longer on average starve.
const STARVING_WAIT: Duration = Duration::from_millis(5);
/// More starts a second for each CPU are a storm.
const STORM_STARTS: u64 = 2_000;
/// A G whose slice sysmon has ended more often in a row, 500 us apart, runs away: 100 ms.
const RUNAWAY_OVERRUNS: u64 = 200;
/// A wait that is longer than a node's leave by this factor should have been ended by it.
const IDLE_LEAVES: u64 = 4;
/// No leave counts as shorter: sysmon promises no less.
const IDLE_LEAVE: Duration = Duration::from_millis(1);
/// A worker is called after a batch's time; one that has not read for so many of them is behind.
const BEHIND_BATCHES: u64 = 20;
/// No batch's time counts as shorter than what makes this together: twice a worker's sleep.
const BEHIND_LOWEST: Duration = Duration::from_millis(200);

/// What is seen at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Time since some start, the same for all samples.
    pub at: Duration,
    /// Gs that started since the load.
    pub starts: u64,
    /// Time after which an event has its worker called.
    pub batch: Duration,
    /// The nodes, by index.
    pub nodes: Vec<NodeSample>,
    /// The CPUs that are there.
    pub cpus: Vec<CpuSample>,
    /// The G that has waited for the largest part of the leave of a node that idles.
    pub passed_over: Option<PassedOver>,
}

/// One node's part.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeSample {
    /// The kernel's number of the node.
    pub id: usize,
    /// Whether Gs wait there.
    pub waits: bool,
    /// For how long those that started waited on average.
    pub average_wait: Duration,
    /// Events that the worker was called for and has not read.
    pub backlog: u64,
    /// Events that it has, since the load.
    pub events_read: u64,
    /// Whether the kernel half serves the node without it.
    pub fallback: bool,
}

/// One CPU's part.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuSample {
    /// Its number.
    pub cpu: u16,
    /// The G that runs there, 0 if none of ours does.
    pub pid: u32,
    /// How often in a row its slice was ended in vain.
    pub overruns: u32,
    /// Whether others wait on the node.
    pub waits: bool,
}

/// A G that waits though a node that may run it has idle CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Thread id.
    pub pid: u32,
    /// How long it has waited,
    pub waited: Duration,
    /// after how long the idle node may have it,
    pub leave: Duration,
    /// the number of that node,
    pub idle_node: usize,
    /// and of the node where it waits.
    pub node: usize,
}

impl PassedOver {
    /// The wait in percent of what is too long.
    pub fn percent(&self) -> u64 {
        let bound = self
            .leave
            .max(IDLE_LEAVE)
            .saturating_mul(IDLE_LEAVES as u32);
        percent(self.waited.as_nanos(), bound.as_nanos())
    }
}

/// A change of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// With what is wrong, in words.
    Raised(Alert, String),
    /// It is over.
    Cleared(Alert),
}

/// How one alert stands.
#[derive(Clone, Copy, Debug, Default)]
struct Gate {
    raised: bool,
    in_a_row: u32,
}

impl Gate {
    /// Takes in a reading; tells whether it changed the alert.
    fn turns(&mut self, percent: u64) -> bool {
        let (against, needed) = match self.raised {
            false => (percent > 100, RAISE_SAMPLES),
            true => (percent < CLEAR_PERCENT, CLEAR_SAMPLES),
        };
        self.in_a_row = if against { self.in_a_row + 1 } else { 0 };
        if self.in_a_row < needed {
            return false;
        }
        *self = Self {
            raised: !self.raised,
            in_a_row: 0,
        };
        true
    }
}

/// What a sample says about one alert.
struct Reading {
    percent: u64,
    says: String,
}

impl Reading {
    /// Nothing is wrong.
    const NONE: Self = Self {
        percent: 0,
        says: String::new(),
    };

    /// The words are needed only where something is.
    fn new(percent: u64, says: impl FnOnce() -> String) -> Self {
        let says = if percent > 100 { says() } else { String::new() };
        Self { percent, says }
    }
}

/// Judges samples, one after the other.
#[derive(Debug, Default)]
pub struct Judge {
    gates: [Gate; ALERTS.len()],
    /// When the sample before was taken, and its starts.
    before: Option<(Duration, u64)>,
    /// By node: what its worker had read, and since when that is so with events unread.
    unread: Vec<(u64, Duration)>,
}

impl Judge {
    /// What changes with this sample; they come in the order of their time.
    pub fn judge(&mut self, sample: &Sample) -> Vec<Change> {
        let readings = [
            starvation(sample),
            self.storm(sample),
            runaway(sample),
            idle(sample),
            self.behind(sample),
        ];
        let mut changes = Vec::new();
        for ((alert, gate), reading) in ALERTS.into_iter().zip(&mut self.gates).zip(readings) {
            if !gate.turns(reading.percent) {
                continue;
            }
            changes.push(match gate.raised {
                true => Change::Raised(alert, reading.says),
                false => Change::Cleared(alert),
            });
        }
        changes
    }

    fn storm(&mut self, sample: &Sample) -> Reading {
        let Some((at, starts)) = self.before.replace((sample.at, sample.starts)) else {
            return Reading::NONE;
        };
        let ns = sample.at.saturating_sub(at).as_nanos() * sample.cpus.len() as u128;
        let started = u128::from(sample.starts.saturating_sub(starts)) * 1_000_000_000;
        let rate = u64::try_from(started.checked_div(ns).unwrap_or(0)).unwrap_or(u64::MAX);
        Reading::new(percent(rate.into(), STORM_STARTS.into()), || {
            format!("{rate} tasks a second start on each CPU, expected up to {STORM_STARTS}")
        })
    }

    fn behind(&mut self, sample: &Sample) -> Reading {
        self.unread.resize(sample.nodes.len(), (0, sample.at));
        let bound = (sample.batch.saturating_mul(BEHIND_BATCHES as u32)).max(BEHIND_LOWEST);
        let readings = sample.nodes.iter().zip(&mut self.unread).map(|(node, unread)| {
            let id = node.id;
            if node.backlog == 0 || node.events_read != unread.0 {
                *unread = (node.events_read, sample.at);
            }
            if node.fallback {
                return Reading::new(u64::MAX, || {
                    format!("the worker of node {id} does not answer, its node is served without it")
                });
            }
            let waits = sample.at.saturating_sub(unread.1);
            Reading::new(percent(waits.as_nanos(), bound.as_nanos()), || {
                format!(
                    "the worker of node {id} has left {} events unread for {waits:.0?}, expected up to {bound:.0?}",
                    node.backlog
                )
            })
        });
        worst(readings)
    }
}

fn starvation(sample: &Sample) -> Reading {
    worst(sample.nodes.iter().filter(|node| node.waits).map(|node| {
        let wait = node.average_wait;
        Reading::new(percent(wait.as_nanos(), STARVING_WAIT.as_nanos()), || {
            let id = node.id;
            format!(
                "tasks of node {id} wait for {wait:.1?} on average, expected up to {STARVING_WAIT:?}"
            )
        })
    }))
}

fn runaway(sample: &Sample) -> Reading {
    let ours = sample.cpus.iter().filter(|cpu| cpu.pid != 0 && cpu.waits);
    worst(ours.map(|cpu| {
        let overruns = cpu.overruns;
        Reading::new(percent(overruns.into(), RUNAWAY_OVERRUNS.into()), || {
            let CpuSample { cpu, pid, .. } = cpu;
            format!("task {pid} keeps CPU {cpu} while others wait, though its slice was ended {overruns} times")
        })
    }))
}

fn idle(sample: &Sample) -> Reading {
    let Some(passed) = sample.passed_over else {
        return Reading::NONE;
    };
    Reading::new(passed.percent(), || {
        format!(
            "node {} has idle CPUs, may have task {} of node {} after {:.1?}, and lets it wait for {:.1?}",
            passed.idle_node, passed.pid, passed.node, passed.leave, passed.waited
        )
    })
}

fn worst(readings: impl Iterator<Item = Reading>) -> Reading {
    readings
        .max_by_key(|reading| reading.percent)
        .unwrap_or(Reading::NONE)
}

/// How much `value` is of `bound`, which is not 0.
fn percent(value: u128, bound: u128) -> u64 {
    u64::try_from(value.saturating_mul(100) / bound).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEP: Duration = Duration::from_millis(250);

    /// Samples `STEP` apart, each made from its number.
    fn changes(samples: u32, sample: impl Fn(u32) -> Sample) -> Vec<(u32, Change)> {
        let mut judge = Judge::default();
        let numbered = (0..samples).flat_map(|nth| {
            let sample = Sample {
                at: STEP * nth,
                batch: Duration::from_millis(10),
                ..sample(nth)
            };
            judge
                .judge(&sample)
                .into_iter()
                .map(move |c| (nth, c))
                .collect::<Vec<_>>()
        });
        numbered.collect()
    }

    /// Raised once, cleared once, by these samples.
    fn raised_and_cleared(told: &[(u32, Change)], alert: Alert) -> (u32, String, u32) {
        match told {
            [(raised, Change::Raised(first, says)), (cleared, Change::Cleared(second))] => {
                assert_eq!((*first, *second), (alert, alert));
                (*raised, says.clone(), *cleared)
            }
            other => panic!("{other:?}"),
        }
    }

    fn node(average_wait: Duration) -> NodeSample {
        NodeSample {
            id: 3,
            waits: true,
            average_wait,
            ..NodeSample::default()
        }
    }

    proptest! {
        /// The rule, counted out: n in a row above raise, n in a row well below clear.
        #[test]
        fn a_gate_turns_after_its_samples_in_a_row(
            percents in proptest::collection::vec(
                prop_oneof![0..CLEAR_PERCENT, CLEAR_PERCENT..=100, 101..400u64], 0..80)
        ) {
            let mut gate = Gate::default();
            // Where the alert turned last.
            let mut since = 0;
            for (at, &percent) in percents.iter().enumerate() {
                let was = gate.raised;
                let turned = gate.turns(percent);
                prop_assert_eq!(turned, was != gate.raised);
                let needed = if was { CLEAR_SAMPLES } else { RAISE_SAMPLES } as usize;
                let told = &percents[since..=at];
                let against = |&p: &u64| if was { p < CLEAR_PERCENT } else { p > 100 };
                let due = told.len() >= needed && told[told.len() - needed..].iter().all(against);
                prop_assert_eq!(turned, due, "sample {}", at);
                if turned {
                    since = at + 1;
                }
            }
        }

        /// What is neither above the bound nor well below it changes nothing.
        #[test]
        fn between_the_bounds_all_stays(
            raised: bool,
            percents in proptest::collection::vec(CLEAR_PERCENT..=100, 0..80)
        ) {
            let mut gate = Gate { raised, in_a_row: 0 };
            prop_assert!(!percents.into_iter().any(|percent| gate.turns(percent)));
        }

        /// Whatever is seen, each alert is raised and cleared in turn, and raised with words.
        #[test]
        fn alerts_are_raised_and_cleared_in_turn(
            seen in proptest::collection::vec(
                (any::<u64>(), any::<u32>(), any::<u64>(), any::<bool>(), 0..20_000_000u64), 0..60)
        ) {
            let mut raised = Vec::new();
            let told = changes(seen.len() as u32, |nth| {
                let (starts, overruns, backlog, fallback, wait_ns) = seen[nth as usize];
                let wait = Duration::from_nanos(wait_ns);
                Sample {
                    starts,
                    nodes: vec![NodeSample { backlog, fallback, ..node(wait) }],
                    cpus: vec![CpuSample { cpu: 1, pid: 7, overruns, waits: true }],
                    passed_over: Some(PassedOver {
                        pid: 7, waited: wait, leave: Duration::ZERO, idle_node: 0, node: 1,
                    }),
                    ..Sample::default()
                }
            });
            for (_, change) in told {
                match change {
                    Change::Raised(alert, says) => {
                        prop_assert!(!raised.contains(&alert) && says.len() > 20, "{}", says);
                        raised.push(alert);
                    }
                    Change::Cleared(alert) => {
                        prop_assert!(raised.contains(&alert));
                        raised.retain(|&other| other != alert);
                    }
                }
            }
        }

        /// What is within all bounds raises nothing, and neither do long waits of the past.
        #[test]
        fn health_is_silent(
            waits in proptest::collection::vec((0..=5_000_000u64, 0..2_000u64, 0..=200u32), 0..60)
        ) {
            let told = changes(waits.len() as u32, |nth| {
                let (wait_ns, starts, overruns) = waits[nth as usize];
                let asleep = NodeSample { waits: false, ..node(Duration::from_secs(9)) };
                Sample {
                    starts: u64::from(nth) * 499 + starts % 2,
                    nodes: vec![
                        NodeSample { backlog: 9, events_read: starts + u64::from(nth) * 2000,
                                     ..node(Duration::from_nanos(wait_ns)) },
                        asleep,
                    ],
                    cpus: vec![
                        CpuSample { cpu: 0, pid: 7, overruns, waits: true },
                        CpuSample { cpu: 1, pid: 8, overruns: u32::MAX, waits: false },
                        CpuSample { cpu: 2, pid: 0, overruns: u32::MAX, waits: true },
                    ],
                    ..Sample::default()
                }
            });
            prop_assert_eq!(told, vec![]);
        }
    }

    #[test]
    fn starvation_is_told_with_its_node_and_ends_with_the_waits() {
        let told = changes(30, |nth| Sample {
            nodes: vec![
                NodeSample {
                    waits: nth < 10,
                    ..node(Duration::from_micros(7_340))
                },
                NodeSample {
                    id: 4,
                    ..node(Duration::from_millis(1))
                },
            ],
            ..Sample::default()
        });
        let (raised, says, cleared) = raised_and_cleared(&told, Alert::Starvation);
        assert_eq!((raised, cleared), (3, 17));
        assert_eq!(
            says,
            "tasks of node 3 wait for 7.3ms on average, expected up to 5ms"
        );
    }

    #[test]
    fn a_storm_is_a_rate_for_each_cpu() {
        let told = changes(30, |nth| Sample {
            // 3,000 a second and CPU, then none.
            starts: u64::from(nth.min(10)) * 1_500,
            cpus: vec![CpuSample::default(); 2],
            ..Sample::default()
        });
        let (raised, says, cleared) = raised_and_cleared(&told, Alert::Storm);
        // The first sample has none before it.
        assert_eq!((raised, cleared), (4, 18));
        assert!(says.starts_with("3000 tasks a second"), "{says}");
    }

    #[test]
    fn a_runaway_is_named() {
        let told = changes(30, |nth| Sample {
            cpus: vec![
                CpuSample {
                    cpu: 0,
                    pid: 5,
                    overruns: 2,
                    waits: true,
                },
                CpuSample {
                    cpu: 6,
                    pid: 4711,
                    overruns: 300,
                    waits: nth < 10,
                },
            ],
            ..Sample::default()
        });
        let (raised, says, cleared) = raised_and_cleared(&told, Alert::Runaway);
        assert_eq!((raised, cleared), (3, 17));
        assert!(says.starts_with("task 4711 keeps CPU 6 "), "{says}");
    }

    #[test]
    fn who_is_passed_over_is_measured_by_the_leave_of_the_idle_node() {
        let passed = |waited_us, leave_us| PassedOver {
            pid: 4711,
            waited: Duration::from_micros(waited_us),
            leave: Duration::from_micros(leave_us),
            idle_node: 0,
            node: 1,
        };
        assert_eq!(passed(4_000, 0).percent(), 100);
        assert_eq!(passed(4_000, 2_000).percent(), 50);
        let told = changes(30, |nth| Sample {
            passed_over: (nth < 10).then(|| passed(8_200, 2_000)),
            ..Sample::default()
        });
        let (_, says, _) = raised_and_cleared(&told, Alert::Idle);
        assert!(says.contains("node 0 has idle CPUs, may have task 4711 of node 1 after 2.0ms"));
    }

    #[test]
    fn a_worker_is_behind_while_it_reads_nothing_or_in_fallback() {
        let worker = |backlog, events_read, fallback| Sample {
            nodes: vec![NodeSample {
                backlog,
                events_read,
                fallback,
                ..NodeSample::default()
            }],
            ..Sample::default()
        };
        // Reads again at the tenth.
        let told = changes(30, |nth| worker(5, u64::from(nth.saturating_sub(9)), false));
        let (raised, says, cleared) = raised_and_cleared(&told, Alert::Behind);
        // Above 200 ms from the second on.
        assert_eq!((raised, cleared), (4, 17));
        assert_eq!(
            says,
            "the worker of node 0 has left 5 events unread for 1s, expected up to 200ms"
        );
        let told = changes(30, |nth| worker(0, 0, nth < 10));
        let (raised, _, cleared) = raised_and_cleared(&told, Alert::Behind);
        assert_eq!((raised, cleared), (3, 17));
    }
}
