// SPDX-License-Identifier: GPL-2.0-only
//! Profiles: settings for a use of the machine under one name.
//!
//! A profile says everything: a policy, and each parameter, those that it does not name at their
//! defaults. So nothing of an earlier profile is left after a change to another. Rules, and what is
//! chosen at the start only, are none of its business.

use std::fmt::Write;

use mpg_policy::Params;

/// One of [`PROFILES`].
pub struct Profile {
    /// As people write it.
    pub name: &'static str,
    /// One line for a person who chooses.
    pub about: &'static str,
    /// Name of its policy.
    pub policy: &'static str,
    /// Parameters that differ from the defaults, in the units of their names.
    params: &'static [(&'static str, u64)],
}

/// All of them. The names are those that scx_loader has for the modes of its schedulers.
pub static PROFILES: [Profile; 4] = [
    Profile {
        name: "gaming",
        about: "a few threads that make frames, before work in the background",
        policy: "mpg",
        params: &[
            // A frame of 144 a second takes 7 ms: what stands in its way is gone within half of it.
            ("slice-us", 3_000),
            ("batch-slice-us", 3_000),
            ("short-run-us", 200),
        ],
    },
    Profile {
        name: "server",
        about: "requests among many, near their memory",
        policy: "mpg",
        // Batch work is preempted by what is woken: among itself it need not switch often.
        params: &[("batch-slice-us", 20_000), ("steal-after-us", 2_000)],
    },
    Profile {
        name: "powersave",
        about: "fewer switches and fewer calls of the workers, so that CPUs sleep longer",
        policy: "throughput",
        params: &[
            ("lease", 512),
            ("batch-events", 512),
            ("batch-us", 40_000),
            ("steal-after-us", 4_000),
        ],
    },
    Profile {
        name: "lowlatency",
        about: "the shortest waits, such as for sound, at the price of switches",
        policy: "latency",
        params: &[
            ("slice-us", 2_000),
            ("slice-min-us", 500),
            ("batch-slice-us", 2_000),
            ("short-run-us", 200),
        ],
    },
];

impl Profile {
    /// The profile called `name`.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// All parameters as the profile has them.
    pub fn params(&self) -> Params {
        let mut params = Params::default();
        for &(name, value) in self.params {
            let known = params.set(name, value);
            debug_assert!(known.is_ok(), "{name}: {known:?}");
        }
        params
    }
}

/// What there is to choose from, for the help.
pub fn help() -> String {
    let mut help = "A policy and all parameters by one name:".to_string();
    for (at, profile) in PROFILES.iter().enumerate() {
        let comma = if at == 0 { "" } else { ";" };
        let _ = write!(help, "{comma} {}, {}", profile.name, profile.about);
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_valid_and_says_what_it_changes() {
        for profile in &PROFILES {
            assert!(mpg_policy::policy_by_name(profile.policy).is_some());
            profile.params().validate().unwrap();
            let mut params = Params::default();
            for (name, value) in profile.params {
                params.set(name, *value).unwrap();
                assert_ne!(params, Params::default(), "{name} is the default anyway");
            }
        }
    }
}
