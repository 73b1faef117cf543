// SPDX-License-Identifier: GPL-2.0-only
//! A change of settings: as people write it, and looked up.

use std::collections::BTreeMap;

use mpg_policy::PARAMS;
use serde::{Deserialize, Serialize};

use crate::profiles::Profile;
use crate::rules::{self, Rule};
use crate::settings::{param_index, SettingError, Settings};

/// A change that can be made while the scheduler is loaded; what it does not name stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// Name of the profile that policy and parameters are taken from, before those named here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Name of the policy to switch to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Rules in place of those there are; `none` by itself for no rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Vec<String>>,
    /// New values of parameters, by name and in the unit that the name ends in.
    #[serde(flatten)]
    pub params: BTreeMap<String, u64>,
}

/// A patch whose names were looked up, once: what a rule's cgroup was then, it remains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    policy: Option<String>,
    rules: Option<Vec<Rule>>,
    /// In the order of [`PARAMS`] and the units of their fields.
    params: [Option<u64>; PARAMS.len()],
}

impl Patch {
    /// The change with everything looked up; its values are not judged, for two of them may only
    /// fit together.
    ///
    /// # Errors
    /// If something is not there, or a rule is none.
    pub fn resolve(&self) -> Result<Delta, SettingError> {
        let mut delta = Delta::default();
        if let Some(name) = &self.profile {
            let profile = Profile::by_name(name)
                .ok_or_else(|| SettingError::UnknownProfile(name.to_string()))?;
            let params = profile.params();
            delta.policy = Some(profile.policy.to_string());
            delta.params = std::array::from_fn(|index| Some((PARAMS[index].get)(&params)));
        }
        if let Some(policy) = &self.policy {
            delta.policy = Some(policy.clone());
        }
        if let Some(class) = &self.class {
            delta.rules = Some(rules::parse(class).map_err(SettingError::Rule)?);
        }
        for (name, value) in &self.params {
            let index = param_index(name)?;
            delta.params[index] = Some(value.saturating_mul(PARAMS[index].scale));
        }
        Ok(delta)
    }
}

impl Delta {
    /// Makes the change, unjudged.
    pub fn apply(&self, settings: &mut Settings) {
        if let Some(policy) = &self.policy {
            settings.policy.clone_from(policy);
        }
        if let Some(rules) = &self.rules {
            settings.rules.clone_from(rules);
        }
        for (info, value) in PARAMS.iter().zip(self.params) {
            if let Some(value) = value {
                (info.set)(&mut settings.params, value);
            }
        }
    }

    /// What is left of this change where `other` has no say.
    pub fn without(mut self, other: &Self) -> Self {
        if other.policy.is_some() {
            self.policy = None;
        }
        if other.rules.is_some() {
            self.rules = None;
        }
        for (value, other) in self.params.iter_mut().zip(other.params) {
            if other.is_some() {
                *value = None;
            }
        }
        self
    }
}
