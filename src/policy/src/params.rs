//! What may be changed while the policy runs. [`PARAMS`] is the one table of names, units, ranges
//! and advice; defaults are in [`crate::constants`].
//!
//! Properties: [`Params::default`] is valid; [`Params::validate`] names the parameter, its value,
//! its range and what to do; the policy neither panics nor divides by zero on parameters that are
//! not valid, it only orders worse.

use core::fmt;

use crate::constants::*;

/// The policy's parameters. Valid after [`Params::validate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// How long a G runs before the next one of its class is served, 100 us to 1 s.
    pub slice_ns: u64,
    /// Slices are not shortened below this, 50 us to `slice_ns`.
    pub slice_min_ns: u64,
    /// Slice of a latency-sensitive G, 50 us to 100 ms and at most `slice_ns`. One that uses it up
    /// is no longer taken for one.
    pub latency_slice_ns: u64,
    /// A run of less than this is short: a G of which one is expected goes before others, and
    /// interrupts them. 0, which no run is shorter than, to 10 ms.
    pub short_run_ns: u64,
    /// A G that wakes another and says that it will sleep leaves it the CPU if it usually keeps
    /// that promise within this. 0, within which nobody does, to 10 ms.
    pub runnext_ns: u64,
    /// Slice of a batch G, 100 us to 1 s; where it is shorter than `slice_ns`, that counts.
    pub batch_slice_ns: u64,
    /// Virtual time that a G keeps in hand while it sleeps, 0 to 1 s.
    pub sleep_credit_ns: u64,
    /// A G that waited longer goes before all others, 1 ms to 10 s and at least `slice_ns`.
    pub starvation_bound_ns: u64,
    /// Every n-th decision goes to the G that has waited longest, 1 to 10000.
    pub oldest_every: u32,
    /// Enqueues that a decision about a settled G covers beyond the first, 0 to 1000.
    pub lease: u16,
    /// Decided Gs that wait in the kernel half for each CPU, 1 to 64.
    pub primed_high_per_cpu: u32,
    /// How long a G waits before it may leave its node, at distance 10; grows with the distance.
    /// 0 to 10 s.
    pub steal_after_ns: u64,
    /// A worker is called once this many events wait for it, 1 to 4096,
    pub batch_events: u32,
    /// or once one has waited this long, 0 to 100 ms.
    pub batch_ns: u64,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            slice_ns: SLICE_DEFAULT_NS,
            slice_min_ns: SLICE_MIN_DEFAULT_NS,
            latency_slice_ns: LATENCY_SLICE_DEFAULT_NS,
            runnext_ns: RUNNEXT_DEFAULT_NS,
            short_run_ns: SHORT_RUN_DEFAULT_NS,
            batch_slice_ns: BATCH_SLICE_DEFAULT_NS,
            sleep_credit_ns: SLEEP_CREDIT_DEFAULT_NS,
            starvation_bound_ns: STARVATION_DEFAULT_NS,
            oldest_every: OLDEST_EVERY_DEFAULT as u32,
            lease: LEASE_DEFAULT as u16,
            primed_high_per_cpu: PRIMED_HIGH_DEFAULT as u32,
            steal_after_ns: STEAL_AFTER_DEFAULT_NS,
            batch_events: BATCH_EVENTS_DEFAULT as u32,
            batch_ns: BATCH_DEFAULT_NS,
        }
    }
}

/// One row of [`PARAMS`].
#[derive(Clone, Copy)]
pub struct ParamInfo {
    /// As people write it; times end in the unit that they are set in.
    pub name: &'static str,
    /// One line for a person who chooses a value.
    pub help: &'static str,
    /// How many of the field's units make one of the name's: 1000 for microseconds.
    pub scale: u64,
    /// Lowest value, in the field's unit.
    pub low: u64,
    /// Highest value, in the field's unit.
    pub high: u64,
    /// Reads the field.
    pub get: fn(&Params) -> u64,
    /// Writes the field; a value beyond the field's type becomes its largest, which no range
    /// includes.
    pub set: fn(&mut Params, u64),
    /// Another parameter that this one must not exceed.
    at_most: Option<&'static str>,
    /// What to do about a value out of range.
    advice: &'static str,
}

/// Every parameter, once.
/// A parameter that limits another comes before it, so that it is named first when both are off.
pub static PARAMS: [ParamInfo; 14] = [
    ParamInfo {
        name: "starvation-bound-us",
        help: "a task that waited longer goes before all others",
        scale: NS_PER_US,
        low: STARVATION_LOWEST_NS,
        high: STARVATION_MAX_NS,
        get: |p| p.starvation_bound_ns,
        set: |p, v| p.starvation_bound_ns = v,
        at_most: None,
        advice: "choose 20 slices or more; a short bound serves tasks in the order of arrival",
    },
    ParamInfo {
        name: "slice-us",
        help: "how long a task runs before the next one is served",
        scale: NS_PER_US,
        low: SLICE_LOWEST_NS,
        high: SLICE_MAX_NS,
        get: |p| p.slice_ns,
        set: |p, v| p.slice_ns = v,
        at_most: Some("starvation-bound-us"),
        advice: "choose 1000 to 20000; shorter slices spend the CPU on switching, longer ones \
                 make others wait",
    },
    ParamInfo {
        name: "slice-min-us",
        help: "slices are not shortened below this when many tasks wait",
        scale: NS_PER_US,
        low: SLICE_MIN_LOWEST_NS,
        high: SLICE_MAX_NS,
        get: |p| p.slice_min_ns,
        set: |p, v| p.slice_min_ns = v,
        at_most: Some("slice-us"),
        advice: "choose what a short request needs, and no more than slice-us",
    },
    ParamInfo {
        name: "latency-slice-us",
        help: "slice of latency-sensitive tasks; one that uses it up is no longer taken for one",
        scale: NS_PER_US,
        low: LATENCY_SLICE_LOWEST_NS,
        high: LATENCY_SLICE_MAX_NS,
        get: |p| p.latency_slice_ns,
        set: |p, v| p.latency_slice_ns = v,
        at_most: Some("slice-us"),
        advice: "choose a few times what latency-sensitive tasks run for, and no more than \
                 slice-us",
    },
    ParamInfo {
        name: "batch-slice-us",
        help: "slice of batch tasks, where it is longer than slice-us",
        scale: NS_PER_US,
        low: SLICE_LOWEST_NS,
        high: SLICE_MAX_NS,
        get: |p| p.batch_slice_ns,
        set: |p, v| p.batch_slice_ns = v,
        at_most: None,
        advice: "choose 1 to 4 times slice-us; the longer, the fewer switches among batch tasks, \
                 which what is woken preempts all the same",
    },
    ParamInfo {
        name: "short-run-us",
        help: "a task that is expected to run for less than this is served at once",
        scale: NS_PER_US,
        low: 0,
        high: SHORT_RUN_MAX_NS,
        get: |p| p.short_run_ns,
        set: |p, v| p.short_run_ns = v,
        at_most: None,
        advice: "choose 50 to 300; 0 lets nobody interrupt others for a short run",
    },
    ParamInfo {
        name: "runnext-us",
        help: "a task that wakes another and sleeps within this leaves it the CPU",
        scale: NS_PER_US,
        low: 0,
        high: RUNNEXT_MAX_NS,
        get: |p| p.runnext_ns,
        set: |p, v| p.runnext_ns = v,
        at_most: None,
        advice: "choose 20 to 100; 0 gives every woken task a CPU of its own if one is idle",
    },
    ParamInfo {
        name: "sleep-credit-us",
        help: "how far ahead of the others a task is served after a sleep",
        scale: NS_PER_US,
        low: 0,
        high: SLEEP_CREDIT_MAX_NS,
        get: |p| p.sleep_credit_ns,
        set: |p, v| p.sleep_credit_ns = v,
        at_most: None,
        advice: "choose one or two slices; 0 gives sleepers nothing in hand",
    },
    ParamInfo {
        name: "oldest-every",
        help: "every n-th decision goes to the task that has waited longest",
        scale: 1,
        low: OLDEST_EVERY_LOWEST,
        high: OLDEST_EVERY_MAX,
        get: |p| p.oldest_every as u64,
        set: |p, v| p.oldest_every = u32::try_from(v).unwrap_or(u32::MAX),
        at_most: None,
        advice: "choose a prime such as 61; 1 serves tasks in the order of arrival",
    },
    ParamInfo {
        name: "lease",
        help: "how many enqueues a decision about a task of settled behaviour also covers",
        scale: 1,
        low: 0,
        high: LEASE_MAX,
        get: |p| p.lease as u64,
        set: |p, v| p.lease = u16::try_from(v).unwrap_or(u16::MAX),
        at_most: None,
        advice: "choose 8 to 64; 0 has every enqueue decided anew",
    },
    ParamInfo {
        name: "primed-high-per-cpu",
        help: "how many decided tasks wait in the kernel for each CPU",
        scale: 1,
        low: PRIMED_HIGH_LOWEST,
        high: PRIMED_HIGH_MAX,
        get: |p| p.primed_high_per_cpu as u64,
        set: |p, v| p.primed_high_per_cpu = u32::try_from(v).unwrap_or(u32::MAX),
        at_most: None,
        advice: "choose 2 to 16; fewer leaves the order to the kernel half when the worker is \
                 late, more makes the order older",
    },
    ParamInfo {
        name: "steal-after-us",
        help: "how long a task waits before another node may take it, at distance 10",
        scale: NS_PER_US,
        low: 0,
        high: STEAL_AFTER_MAX_NS,
        get: |p| p.steal_after_ns,
        set: |p, v| p.steal_after_ns = v,
        at_most: None,
        advice: "choose 500 to 5000; 0 moves tasks away from their memory at once",
    },
    ParamInfo {
        name: "batch-events",
        help: "how many events wait for a worker before it is called",
        scale: 1,
        low: BATCH_EVENTS_LOWEST,
        high: BATCH_EVENTS_MAX,
        get: |p| p.batch_events as u64,
        set: |p, v| p.batch_events = u32::try_from(v).unwrap_or(u32::MAX),
        at_most: None,
        advice: "choose 4 to 64; more makes each decision cheaper and later",
    },
    ParamInfo {
        name: "batch-us",
        help: "how long an event waits for a worker before it is called all the same",
        scale: NS_PER_US,
        low: 0,
        high: BATCH_MAX_NS,
        get: |p| p.batch_ns,
        set: |p, v| p.batch_ns = v,
        at_most: None,
        advice: "choose 200 to 5000; 0 calls the worker for every event",
    },
];

impl Params {
    /// Whether every parameter is in its range and fits the others; the first that is not
    /// otherwise.
    pub fn validate(&self) -> Result<(), ParamError> {
        PARAMS.iter().try_for_each(|info| info.check(self))
    }

    /// Sets the parameter called `name` to `value` in the unit of its name, and leaves all as it
    /// was if the result is not valid.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), ParamError> {
        let info = ParamInfo::by_name(name).ok_or(ParamError::unknown())?;
        let mut changed = *self;
        (info.set)(&mut changed, value.saturating_mul(info.scale));
        // The parameter that was asked for is named first, not the one that it no longer fits.
        info.check(&changed)?;
        changed.validate()?;
        *self = changed;
        Ok(())
    }
}

impl ParamInfo {
    /// The row of the parameter called `name`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static ParamInfo> {
        PARAMS.iter().find(|info| info.name == name)
    }

    fn check(&self, params: &Params) -> Result<(), ParamError> {
        let value_ns = (self.get)(params);
        let limit = self
            .at_most
            .and_then(ParamInfo::by_name)
            .map(|other| (other.name, (other.get)(params)))
            .filter(|(_, max)| *max < self.high);
        let high = limit.map_or(self.high, |(_, max)| max);
        if (self.low..=high).contains(&value_ns) {
            return Ok(());
        }
        Err(ParamError {
            name: self.name,
            value: value_ns,
            low: self.low,
            high,
            scale: self.scale,
            limited_by: limit.map(|(name, _)| name),
            advice: self.advice,
        })
    }
}

/// A parameter out of its range. Its `Display` names the parameter, its value, its range and what
/// to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamError {
    /// The parameter, as people write it.
    pub name: &'static str,
    value: u64,
    low: u64,
    high: u64,
    scale: u64,
    limited_by: Option<&'static str>,
    advice: &'static str,
}

impl ParamError {
    const fn unknown() -> Self {
        ParamError {
            name: "",
            value: 0,
            low: 0,
            high: 0,
            scale: 1,
            limited_by: None,
            advice: "",
        }
    }
}

/// A value in the unit of a parameter's name, with decimals only where it has any.
struct Scaled(u64, u64);

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / self.1, self.0 % self.1);
        match rest {
            0 => write!(f, "{whole}"),
            _ => write!(f, "{whole}.{rest:03}"),
        }
    }
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            write!(f, "no such parameter, expected one of")?;
            return PARAMS
                .iter()
                .try_for_each(|info| write!(f, " {}", info.name));
        }
        write!(
            f,
            "{} is {}, expected {} to {}",
            self.name,
            Scaled(self.value, self.scale),
            Scaled(self.low, self.scale),
            Scaled(self.high, self.scale),
        )?;
        if let Some(other) = self.limited_by {
            write!(f, " ({other})")?;
        }
        write!(f, ": {}", self.advice)
    }
}

impl core::error::Error for ParamError {}
