// SPDX-License-Identifier: GPL-2.0-only
//! What a user may choose of memory, at start.

use std::fmt;

/// Default share of one CPU, in thousandths: looking after memory is worth a hundredth of a CPU to
/// a machine that has more than one node.
const PERMILLE: u64 = 10;
/// Default size of a process that is given a home, in MiB: what a core's own caches and a share of
/// the last level hold; with less, where the memory is hardly matters.
const FROM_MIB: u64 = 4;
/// Default rate at which pages follow processes, in MiB a second: a few percent of what one node's
/// memory moves, and a process of a gigabyte there in four seconds.
const MIGRATE_MIB_PER_S: u64 = 256;

/// What the thread that looks after memory runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySettings {
    /// Thousandths of one CPU that the thread may use; 0 for no thread.
    pub permille: u64,
    /// Processes with less memory of their own than this many MiB have no home.
    pub from_mib: u64,
    /// Whether pages follow processes that had to leave them.
    pub migrate: bool,
    /// How many MiB a second do on average.
    pub migrate_mib_per_s: u64,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            permille: PERMILLE,
            from_mib: FROM_MIB,
            migrate: false,
            migrate_mib_per_s: MIGRATE_MIB_PER_S,
        }
    }
}

/// A number that can be chosen.
pub struct Number {
    /// As people write it.
    pub name: &'static str,
    /// Smallest and largest value.
    pub range: std::ops::RangeInclusive<u64>,
    /// Reads it.
    pub get: fn(&MemorySettings) -> u64,
    /// Sets it, whatever the value.
    pub set: fn(&mut MemorySettings, u64),
    advice: &'static str,
}

/// All of them.
pub const NUMBERS: [Number; 3] = [
    Number {
        name: "memory-permille",
        range: 0..=1000,
        get: |settings| settings.permille,
        set: |settings, value| settings.permille = value,
        advice: "choose 1 to 50; 0 leaves tasks wherever they ran last",
    },
    Number {
        name: "memory-from-mib",
        // More than any machine has is a mistake.
        range: 1..=1 << 24,
        get: |settings| settings.from_mib,
        set: |settings, value| settings.from_mib = value,
        advice: "choose 1 to 1024; less than the caches hold is not worth a move",
    },
    Number {
        name: "migrate-mib-per-s",
        // More than memory moves is no bound.
        range: 1..=1 << 20,
        get: |settings| settings.migrate_mib_per_s,
        set: |settings, value| settings.migrate_mib_per_s = value,
        advice: "choose 64 to 4096; more holds up whoever uses the same memory",
    },
];

/// A number out of its range. Its text is one sentence for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryError {
    name: &'static str,
    value: u64,
    low: u64,
    high: u64,
    advice: &'static str,
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {}, expected {} to {}: {}",
            self.name, self.value, self.low, self.high, self.advice
        )
    }
}

impl MemorySettings {
    /// Whether every number is in its range; the first that is not otherwise.
    pub fn validate(&self) -> Result<(), MemoryError> {
        let wrong = NUMBERS
            .iter()
            .find(|number| !number.range.contains(&(number.get)(self)));
        wrong.map_or(Ok(()), |number| {
            Err(MemoryError {
                name: number.name,
                value: (number.get)(self),
                low: *number.range.start(),
                high: *number.range.end(),
                advice: number.advice,
            })
        })
    }
}

impl fmt::Display for MemorySettings {
    /// One setting to a line, as the options that would set it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for number in &NUMBERS {
            writeln!(f, "{} {}", number.name, (number.get)(self))?;
        }
        write!(f, "migrate-memory {}", self.migrate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_judged_by_their_ranges() {
        assert_eq!(MemorySettings::default().validate(), Ok(()));
        let error = |settings: MemorySettings| settings.validate().unwrap_err().to_string();
        let permille = MemorySettings {
            permille: 1001,
            ..Default::default()
        };
        assert_eq!(
            error(permille),
            "memory-permille is 1001, expected 0 to 1000: choose 1 to 50; 0 leaves tasks wherever \
             they ran last"
        );
        let from_mib = MemorySettings {
            from_mib: 0,
            ..Default::default()
        };
        assert!(error(from_mib).starts_with("memory-from-mib is 0, expected 1 to "));
    }
}
