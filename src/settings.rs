// SPDX-License-Identifier: GPL-2.0-only
//! What a user may choose: at start on the command line, later through the control socket.
//!
//! Both ways end in [`Patch::resolve`](crate::patch::Patch::resolve) and [`Settings::validate`], so
//! a value is judged in one place and refused with the same sentence. A change is all or nothing:
//! either the whole new set takes effect, or the old one stands. The policy's parameters, their
//! ranges and their defaults are the policy crate's ([`mpg_policy::PARAMS`]); one added there can be
//! set, sent and shown without a word here.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use mpg_policy::{ParamError, ParamInfo, Params, PARAMS};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::memory::{self, MemoryError, MemorySettings};
use crate::profiles::PROFILES;
use crate::rules::{Rule, RuleError};

/// Silence of a worker, in milliseconds, after which the kernel half serves its node, unless the
/// user says otherwise: ten default slices.
pub const DEFAULT_FALLBACK_AFTER_MS: u64 = 50;
/// Under 5 ms an ordinary burst of work looks like death; sched_ext's own watchdog, which ends a
/// scheduler, waits 30 seconds and must come later.
pub const FALLBACK_AFTER_MS: RangeInclusive<u64> = 5..=5_000;

/// How many seconds a change that goes back by itself may last; whoever wants more than a day wants
/// it to stay.
pub const FOR_S: RangeInclusive<u64> = 1..=86_400;

/// What the daemon runs with.
///
/// As JSON one flat object: each parameter under its name with `_` for `-`, in the unit that its
/// name ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of the policy.
    pub policy: String,
    /// The policy's parameters.
    pub params: Params,
    /// Which tasks are of which class whatever they do; the first that matches counts.
    pub rules: Vec<Rule>,
    /// A worker that leaves its call unanswered for this many milliseconds is taken for dead.
    pub fallback_after_ms: u64,
    /// Only tasks of class SCHED_EXT are scheduled, not all of them.
    pub partial: bool,
    /// How memory is looked after.
    pub memory: MemorySettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: mpg_policy::DEFAULT_POLICY.name().to_string(),
            params: Params::default(),
            rules: Vec::new(),
            fallback_after_ms: DEFAULT_FALLBACK_AFTER_MS,
            partial: false,
            memory: MemorySettings::default(),
        }
    }
}

/// Why settings are refused. Its text is one sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// No policy has this name.
    UnknownPolicy(String),
    /// No parameter has this name.
    UnknownParam(String),
    /// No profile has this name.
    UnknownProfile(String),
    /// What is only looked at when the scheduler is loaded would be another than it is.
    AtStartOnly(&'static str),
    /// No change is left to take back.
    NothingToUndo,
    /// A change cannot be for so many seconds.
    Seconds(u64),
    /// So many changes pass already.
    TooManyPass(usize),
    /// It would be wrong once a change that passes is over.
    OnceOver(Box<SettingError>),
    /// A rule is none.
    Rule(RuleError),
    /// A parameter is out of its range or does not fit another one.
    Param(ParamError),
    /// The time until a worker is taken for dead, in milliseconds, is out of its range.
    FallbackAfter(u64),
    /// A number of memory is out of its range.
    Memory(MemoryError),
    /// The patch names nothing.
    NothingToSet,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPolicy(name) => {
                let known: Vec<&str> = mpg_policy::POLICIES.iter().map(|p| p.name()).collect();
                write!(
                    f,
                    "there is no policy {name:?}: choose one of {}",
                    known.join(", ")
                )
            }
            Self::UnknownParam(name) => {
                let known: Vec<&str> = PARAMS.iter().map(|info| info.name).collect();
                write!(
                    f,
                    "there is no parameter {name:?}: choose one of {}",
                    known.join(", ")
                )
            }
            Self::UnknownProfile(name) => {
                let known: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
                write!(
                    f,
                    "there is no profile {name:?}: choose one of {}",
                    known.join(", ")
                )
            }
            Self::AtStartOnly(name) => write!(
                f,
                "{name} can be chosen at the start only: leave it as it is, or start scx_mpg anew"
            ),
            Self::NothingToUndo => {
                write!(
                    f,
                    "there is nothing to undo: no change is left to take back"
                )
            }
            Self::Seconds(value) => write!(
                f,
                "a change for {value} seconds is none, expected {} to {}",
                FOR_S.start(),
                FOR_S.end()
            ),
            Self::TooManyPass(most) => write!(
                f,
                "{most} changes are in force that go back by themselves, and no more can be: wait, \
                 or take the last one back with set --undo"
            ),
            Self::OnceOver(error) => {
                write!(f, "once a change that passes has gone back, {error}")
            }
            Self::Rule(error) => write!(f, "{error}"),
            Self::Param(error) => write!(f, "{error}"),
            Self::Memory(error) => write!(f, "{error}"),
            Self::FallbackAfter(value) => write!(
                f,
                "fallback-after-ms is {value}, expected {} to {}: choose a few times the longest \
                 pause that a healthy worker makes",
                FALLBACK_AFTER_MS.start(),
                FALLBACK_AFTER_MS.end()
            ),
            Self::NothingToSet => {
                write!(
                    f,
                    "there is nothing to set: name a parameter, for example --slice-us 3000, or --undo"
                )
            }
        }
    }
}

impl std::error::Error for SettingError {}

impl Settings {
    /// Judges every value by itself and the relations between them.
    pub fn validate(&self) -> Result<(), SettingError> {
        if mpg_policy::policy_by_name(&self.policy).is_none() {
            return Err(SettingError::UnknownPolicy(self.policy.clone()));
        }
        if !FALLBACK_AFTER_MS.contains(&self.fallback_after_ms) {
            return Err(SettingError::FallbackAfter(self.fallback_after_ms));
        }
        self.memory.validate().map_err(SettingError::Memory)?;
        self.params.validate().map_err(SettingError::Param)
    }

    /// Whether these settings may become `other` while the scheduler is loaded.
    pub fn may_become(&self, other: &Self) -> Result<(), SettingError> {
        if self.partial != other.partial {
            return Err(SettingError::AtStartOnly("partial"));
        }
        if self.memory.migrate != other.memory.migrate {
            return Err(SettingError::AtStartOnly("migrate-memory"));
        }
        let differs =
            |number: &&memory::Number| (number.get)(&self.memory) != (number.get)(&other.memory);
        match memory::NUMBERS.iter().find(differs) {
            Some(number) => Err(SettingError::AtStartOnly(number.name)),
            None => Ok(()),
        }
    }

    /// The value of the parameter called `name` in the unit that the name ends in.
    pub fn param(&self, name: &str) -> Option<u64> {
        param(name).map(|info| (info.get)(&self.params) / info.scale)
    }
}

/// Where in [`PARAMS`] a parameter is, by its name as options spell it, or as JSON does.
pub fn param_index(name: &str) -> Result<usize, SettingError> {
    PARAMS
        .iter()
        .position(|info| info.name == name || json_name(info) == name)
        .ok_or_else(|| SettingError::UnknownParam(name.to_string()))
}

fn param(name: &str) -> Option<&'static ParamInfo> {
    param_index(name).ok().map(|index| &PARAMS[index])
}

/// How many settings there are: those that have a field of their own, and the numbers.
const SETTINGS: usize = 5 + PARAMS.len() + memory::NUMBERS.len();

fn json_name(info: &ParamInfo) -> String {
    info.name.replace('-', "_")
}

impl fmt::Display for Settings {
    /// One setting to a line, as the options that would set it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "policy {}", self.policy)?;
        for info in &PARAMS {
            writeln!(f, "{} {}", info.name, (info.get)(&self.params) / info.scale)?;
        }
        match &self.rules[..] {
            [] => writeln!(f, "class none")?,
            rules => rules
                .iter()
                .try_for_each(|rule| writeln!(f, "class {rule}"))?,
        }
        writeln!(f, "fallback-after-ms {}", self.fallback_after_ms)?;
        writeln!(f, "{}", self.memory)?;
        write!(f, "partial {}", self.partial)
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(SETTINGS))?;
        map.serialize_entry("policy", &self.policy)?;
        for info in &PARAMS {
            map.serialize_entry(&json_name(info), &((info.get)(&self.params) / info.scale))?;
        }
        let class: Vec<String> = self.rules.iter().map(Rule::to_string).collect();
        map.serialize_entry("class", &class)?;
        map.serialize_entry("fallback_after_ms", &self.fallback_after_ms)?;
        map.serialize_entry("partial", &self.partial)?;
        map.serialize_entry("migrate_memory", &self.memory.migrate)?;
        for number in &memory::NUMBERS {
            map.serialize_entry(&number.name.replace('-', "_"), &(number.get)(&self.memory))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Settings {
    /// A parameter that is not named takes its default; one that this release does not know is
    /// passed over.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Flat {
            policy: String,
            #[serde(default)]
            class: Vec<String>,
            fallback_after_ms: u64,
            partial: bool,
            #[serde(default)]
            migrate_memory: bool,
            #[serde(flatten)]
            params: BTreeMap<String, serde_json::Value>,
        }
        let flat = Flat::deserialize(deserializer)?;
        let mut params = Params::default();
        let mut memory = MemorySettings {
            migrate: flat.migrate_memory,
            ..MemorySettings::default()
        };
        for (name, value) in &flat.params {
            let Some(value) = value.as_u64() else {
                continue;
            };
            if let Some(info) = param(name) {
                (info.set)(&mut params, value.saturating_mul(info.scale));
            }
            let number = |number: &&memory::Number| number.name.replace('-', "_") == *name;
            if let Some(number) = memory::NUMBERS.iter().find(number) {
                (number.set)(&mut memory, value);
            }
        }
        Ok(Self {
            policy: flat.policy,
            params,
            rules: flat.class.into_iter().map(Rule::told).collect(),
            fallback_after_ms: flat.fallback_after_ms,
            partial: flat.partial,
            memory,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::Patch;
    use proptest::prelude::*;

    impl Settings {
        /// The settings with the patch applied, or the reason why none of it can be.
        pub fn apply_patch(&self, patch: &Patch) -> Result<Self, SettingError> {
            let mut patched = self.clone();
            patch.resolve()?.apply(&mut patched);
            patched.validate()?;
            Ok(patched)
        }
    }

    fn patch(values: &[(&str, u64)]) -> Patch {
        let params = values
            .iter()
            .map(|&(name, value)| (name.to_string(), value))
            .collect();
        Patch {
            params,
            ..Patch::default()
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        Settings::default().validate().unwrap();
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let refusal = |patch: &Patch| {
            Settings::default()
                .apply_patch(patch)
                .unwrap_err()
                .to_string()
        };
        let policy = Patch {
            policy: Some("cfs".into()),
            ..Patch::default()
        };
        assert_eq!(
            refusal(&policy),
            "there is no policy \"cfs\": choose one of mpg, latency, throughput, fifo, global"
        );
        assert!(refusal(&patch(&[("slice", 1)]))
            .starts_with("there is no parameter \"slice\": choose one of starvation-bound-us, "));
        assert!(
            refusal(&patch(&[("slice-us", 99)])).starts_with("slice-us is 99, expected 100 to ")
        );
        assert!(refusal(&patch(&[("slice_us", u64::MAX)])).starts_with("slice-us is "));

        let settings = Settings {
            fallback_after_ms: 4,
            ..Settings::default()
        };
        let refusal = settings.validate().unwrap_err().to_string();
        assert!(
            refusal.starts_with("fallback-after-ms is 4, expected 5 to 5000: "),
            "{refusal}"
        );
    }

    #[test]
    fn a_patch_is_all_or_nothing() {
        let settings = Settings::default();
        let refusal = settings
            .apply_patch(&patch(&[("slice_us", 400)]))
            .unwrap_err();
        assert!(
            refusal.to_string().starts_with("slice-min-us is "),
            "{refusal}"
        );

        let fitting = patch(&[
            ("slice_us", 400),
            ("slice-min-us", 200),
            ("latency_slice_us", 100),
        ]);
        let patched = settings.apply_patch(&fitting).unwrap();
        assert_eq!(patched.params.slice_ns, 400_000);
        assert_eq!(patched.param("slice-min-us"), Some(200));
        assert_eq!(patched.params.oldest_every, settings.params.oldest_every);
    }

    #[test]
    fn json_is_flat_and_in_the_units_of_the_names() {
        let settings = Settings::default()
            .apply_patch(&patch(&[("slice_us", 3000)]))
            .unwrap();
        let json = serde_json::to_value(&settings).unwrap();
        assert_eq!(json["slice_us"], 3000);
        assert_eq!(json["policy"], "mpg");
        assert_eq!(json.as_object().unwrap().len(), SETTINGS);
        assert_eq!(serde_json::from_value::<Settings>(json).unwrap(), settings);
    }

    #[test]
    fn the_text_names_every_setting() {
        let text = Settings::default().to_string();
        assert_eq!(text.lines().count(), SETTINGS);
        assert!(text.starts_with("policy mpg\n") && text.ends_with("partial false"));
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_valid(
            values in proptest::collection::vec((0..PARAMS.len(), 0u64..20_000), 1..4),
        ) {
            let values: Vec<(&str, u64)> =
                values.into_iter().map(|(at, value)| (PARAMS[at].name, value)).collect();
            let patch = patch(&values);
            if let Ok(patched) = Settings::default().apply_patch(&patch) {
                prop_assert!(patched.params.validate().is_ok());
                for (name, value) in &patch.params {
                    prop_assert_eq!(patched.param(name), Some(*value));
                }
            }
        }
    }
}
