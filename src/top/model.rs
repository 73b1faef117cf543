// SPDX-License-Identifier: GPL-2.0-only
//! What there is to see: the last sample, the waits of those before it, and what the user chose.
//!
//! Samples and keys in, a state out; no clock, no terminal, no socket.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::control::Reply;
use crate::health::Alert;
use crate::profiles::PROFILES;
use crate::settings::Settings;
use crate::stats::{Metrics, NodeMetrics};

/// Samples that are kept of each node: more than a terminal has columns.
const HISTORY: usize = 512;

/// One look at the running scheduler.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// What happened since the look before.
    pub metrics: Metrics,
    /// The settings in force, if they may be asked for.
    pub settings: Option<Reply>,
    /// The machine's load average of the last minute, if it is known.
    pub load: Option<f64>,
}

/// Gs that one node took from another, of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steal {
    /// The kernel's number of the node that they waited on.
    pub from: usize,
    /// That of the node that took them.
    pub to: usize,
    /// How many.
    pub count: u64,
    /// How far the two are from each other; 0 if it is not told.
    pub distance: u32,
}

/// What is in front of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Popup {
    /// The keys and the words.
    Help,
    /// A choice of policies, one of which is marked by its place in [`mpg_policy::POLICIES`].
    Policies(usize),
    /// One sentence that the user should read.
    Sentence(String),
}

/// Everything that the view shows.
#[derive(Clone, Debug)]
pub struct Model {
    /// The last look, if there was one.
    pub sample: Option<Sample>,
    /// Waits of each node in microseconds, by the kernel's number of it, the newest last; `None` where
    /// nobody waited.
    pub waits: BTreeMap<usize, VecDeque<Option<f64>>>,
    /// Time between two looks.
    pub interval: Duration,
    /// No looks are taken.
    pub paused: bool,
    /// How many nodes are scrolled past.
    pub skipped: usize,
    /// What is in front.
    pub popup: Option<Popup>,
}

impl Model {
    /// Nothing to see yet.
    pub fn new(interval: Duration) -> Self {
        Self {
            sample: None,
            waits: BTreeMap::new(),
            interval,
            paused: false,
            skipped: 0,
            popup: None,
        }
    }

    /// Takes a look in.
    pub fn add(&mut self, sample: Sample) {
        let nodes = &sample.metrics.nodes;
        self.waits.retain(|id, _| nodes.contains_key(id));
        let before = self.waits.values().map(VecDeque::len).max().unwrap_or(0);
        for (&id, node) in nodes {
            let waits = self.waits.entry(id).or_default();
            // A node that comes later has no past, and its columns stand below those of the others.
            while waits.len() < before {
                waits.push_back(None);
            }
            waits.push_back(wait_us(node));
            while waits.len() > HISTORY {
                waits.pop_front();
            }
        }
        self.skipped = self.skipped.min(nodes.len().saturating_sub(1));
        self.sample = Some(sample);
    }
}

/// How long tasks wait on a node, microseconds; `None` if none waits and none did.
///
/// The average is of those that started and stands still while none does: then who is due first tells.
/// Who found an idle CPU is in it, but where all did, it says nothing about waits.
pub fn wait_us(node: &NodeMetrics) -> Option<f64> {
    match (node.started, waiting(node)) {
        (0, 0) => None,
        (0, _) => Some(node.due_wait_us),
        _ => Some(node.average_wait_us),
    }
}

/// How many tasks wait on a node, whatever they wait for.
pub fn waiting(node: &NodeMetrics) -> u64 {
    [node.primed, node.custody, node.pinned, node.spare]
        .into_iter()
        .fold(0, u64::saturating_add)
}

impl Sample {
    /// Who stole from whom, those that took most first.
    pub fn steals(&self) -> Vec<Steal> {
        let nodes = self.metrics.nodes.iter();
        let mut steals: Vec<Steal> = nodes
            .flat_map(|(&to, node)| {
                node.steals_from.iter().map(move |(&from, &count)| Steal {
                    from,
                    to,
                    count,
                    distance: node.distances.get(&from).copied().unwrap_or(0),
                })
            })
            .collect();
        steals.sort_by_key(|steal| (std::cmp::Reverse(steal.count), steal.from, steal.to));
        steals
    }

    /// The names of the alerts that are raised.
    pub fn alerts(&self) -> Vec<&'static str> {
        let metrics = &self.metrics;
        let all = [
            (Alert::Starvation, metrics.alert_starvation),
            (Alert::Storm, metrics.alert_storm),
            (Alert::Runaway, metrics.alert_runaway),
            (Alert::Idle, metrics.alert_idle),
            (Alert::Behind, metrics.alert_behind),
        ];
        let raised = all.into_iter().filter(|(_, raised)| *raised != 0);
        raised.map(|(alert, _)| alert.name()).collect()
    }

    /// CPUs that are there, and of these the idle ones.
    pub fn cpus(&self) -> (usize, usize) {
        let letters = || {
            self.metrics
                .nodes
                .values()
                .flat_map(|node| node.cpus.chars())
        };
        let there = letters().filter(|&letter| letter != 'x').count();
        (there, letters().filter(|&letter| letter == '.').count())
    }

    /// How many tasks wait, in all.
    pub fn waiting(&self) -> u64 {
        let nodes = self.metrics.nodes.values();
        nodes.map(waiting).fold(0, u64::saturating_add)
    }

    /// What the settings are called, if they are known.
    pub fn profile(&self) -> Option<&'static str> {
        Some(profile(&self.settings.as_ref()?.settings))
    }
}

/// The profile that has this policy and these parameters, or what they are if none has.
fn profile(settings: &Settings) -> &'static str {
    let default = Settings::default();
    let mut profiles = PROFILES.iter();
    let fits = |policy: &str, params| settings.policy == policy && settings.params == params;
    match profiles.find(|profile| fits(profile.policy, profile.params())) {
        Some(profile) => profile.name,
        None if fits(&default.policy, default.params) => "default",
        None => "custom",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::Patch;
    use proptest::prelude::*;

    fn sample(nodes: &[(usize, u64, f64)]) -> Sample {
        let node = |&(id, started, average_wait_us)| {
            let node = NodeMetrics {
                started,
                average_wait_us,
                ..NodeMetrics::default()
            };
            (id, node)
        };
        Sample {
            metrics: Metrics {
                nodes: nodes.iter().map(node).collect(),
                ..Metrics::default()
            },
            ..Sample::default()
        }
    }

    #[test]
    fn an_average_that_stands_still_is_no_wait() {
        let node = |started, custody| NodeMetrics {
            started,
            custody,
            average_wait_us: 8_000.0,
            due_wait_us: 50.0,
            ..NodeMetrics::default()
        };
        assert_eq!(wait_us(&node(0, 0)), None);
        assert_eq!(wait_us(&node(0, 1)), Some(50.0));
        assert_eq!(wait_us(&node(1, 0)), Some(8_000.0));
    }

    #[test]
    fn steals_are_told_by_pair_the_most_first() {
        let mut sample = sample(&[(0, 0, 0.0), (1, 0, 0.0)]);
        let nodes = &mut sample.metrics.nodes;
        let node = nodes.get_mut(&0).unwrap();
        node.steals_from = BTreeMap::from([(1, 3)]);
        node.distances = BTreeMap::from([(1, 21)]);
        nodes.get_mut(&1).unwrap().steals_from = BTreeMap::from([(0, 9)]);
        let pairs: Vec<_> = sample
            .steals()
            .iter()
            .map(|s| (s.from, s.to, s.count, s.distance))
            .collect();
        assert_eq!(pairs, [(0, 1, 9, 0), (1, 0, 3, 21)]);
    }

    #[test]
    fn settings_have_the_name_of_their_profile() {
        let mut settings = Settings::default();
        assert_eq!(profile(&settings), "default");
        for known in &PROFILES {
            let patch = Patch {
                profile: Some(known.name.to_string()),
                ..Patch::default()
            };
            settings = settings.apply_patch(&patch).unwrap();
            assert_eq!(profile(&settings), known.name);
        }
        settings.params.slice_ns += 1_000;
        assert_eq!(profile(&settings), "custom");
    }

    proptest! {
        #[test]
        fn the_past_is_bounded_and_its_columns_are_of_one_time(
            looks in prop::collection::vec(prop::collection::btree_set(0usize..70, 0..6), 1..40),
            many in 0usize..2 * HISTORY,
        ) {
            let mut model = Model::new(Duration::from_secs(1));
            for (at, ids) in looks.iter().enumerate() {
                let nodes: Vec<_> = ids.iter().map(|&id| (id, 1, at as f64)).collect();
                model.add(sample(&nodes));
                prop_assert!(model.waits.keys().eq(ids));
                for waits in model.waits.values() {
                    prop_assert_eq!(waits.back(), Some(&Some(at as f64)));
                }
                let lengths: Vec<usize> = model.waits.values().map(VecDeque::len).collect();
                prop_assert!(lengths.iter().all(|len| *len == lengths[0]), "{:?}", lengths);
            }
            for _ in 0..many {
                model.add(sample(&[(0, 1, 1.0)]));
            }
            prop_assert!(model.waits.values().all(|waits| waits.len() <= HISTORY));
        }
    }
}
