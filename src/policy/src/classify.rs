//! What kind of G is this? Learned from how long it runs between two sleeps, and remembered in
//! the cookie that travels with it.
//!
//! # Terms
//!
//! - **run**: the time from a wakeup to the next sleep, over any number of slices.
//! - **spree**: the run that has not ended yet, as far as it is known.
//! - **average**: of the lengths of runs; the newest counts for a quarter, four or more at once
//!   replace it.
//! - **long share**: which share of runs was long, over about the last sixteen.
//!
//! How often a G wakes is not asked: one that wakes rarely and runs shortly costs nothing when it
//! is served at once, and one that wakes often and runs shortly is what the class is for.
//!
//! # Pseudo-code
//!
//! ```text
//! spree += runtime;  if the G slept: average <- spree / wakeups, spree = 0
//! long share <- long runs / wakeups; a run that is cut off by a latency slice is two long ones
//! if low weight:                            never latency, batch a tenth as soon
//! latency -> normal   if the run is cut off by its slice, or long share >= LATENCY_LEAVE
//! normal  -> latency  if long share < LATENCY_ENTER after LATENCY_CONFIRM runs
//! any     -> batch    if spree >= BATCH_ENTER or average >= BATCH_ENTER
//! batch   -> normal   if average < BATCH_LEAVE and nothing of the spree speaks against it
//! ```
//!
//! # Properties
//!
//! - A cookie of 0, or of another policy, is a G that nobody knows: Normal, unsettled.
//! - Of two Gs with the same history, the one of higher weight never has the later class.
//! - A run that was cut off by a whole latency slice leaves no G latency-sensitive.
//! - Twelve long runs in a row leave no G latency-sensitive, however they ended.
//! - A G near an edge does not flap: the way out lies beyond the way in.

use crate::constants::*;
use crate::{Class, Event};

/// Tells this policy's cookies from none and from another policy's.
const COOKIE_TAG: u64 = 0xa7 << 56;
const COOKIE_TAG_MASK: u64 = 0xff << 56;
/// The average is kept in units of 256 ns: fine enough for one of quarters at 10 us.
const AVERAGE_SHIFT: u32 = 8;
const AVERAGE_BITS: u32 = 18;
/// The spree is kept in units of 64 ns, so that a sum of slices is theirs.
const SPREE_SHIFT: u32 = 6;
const SPREE_BITS: u32 = 20;
const SHARE_BITS: u32 = 9;
const RUNS_BITS: u32 = 4;
/// The count of runs stops here.
const RUNS_MAX: u32 = (1 << RUNS_BITS) - 1;
const SETTLED_BITS: u32 = 3;
/// The count of events stops here.
const SETTLED_MAX: u32 = (1 << SETTLED_BITS) - 1;
const SPREE_AT: u32 = AVERAGE_BITS;
const CLASS_AT: u32 = SPREE_AT + SPREE_BITS;
const RUNS_AT: u32 = CLASS_AT + 2;
const SETTLED_AT: u32 = RUNS_AT + RUNS_BITS;
const SHARE_AT: u32 = SETTLED_AT + SETTLED_BITS;
/// Runs are cut here before they are kept.
const SPREE_MAX_NS: u64 = AVERAGE_MAX_NS;

const _: () = {
    assert!(
        SHARE_AT + SHARE_BITS <= 56,
        "the fields end where the tag begins"
    );
    assert!(SHARE_ALL < 1 << SHARE_BITS);
    assert!(AVERAGE_MAX_NS >> AVERAGE_SHIFT < 1 << AVERAGE_BITS);
    assert!(SPREE_MAX_NS >> SPREE_SHIFT < 1 << SPREE_BITS);
    assert!(LATENCY_CONFIRM_RUNS <= RUNS_MAX && SETTLED_EVENTS <= SETTLED_MAX);
};

/// What is known of a G; packs into its cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Average length of a run, 0 to 40 ms.
    pub average_ns: u64,
    /// The run that has not ended yet, 0 to 40 ms.
    pub spree_ns: u64,
    /// Share of runs that were long, 0 to [`SHARE_ALL`].
    pub long_share: u64,
    /// What the G is taken for.
    pub class: Class,
    /// Runs that were seen, 0 to 15.
    pub runs: u32,
    /// Events in a row without a change of class, 0 to 7.
    pub settled: u32,
}

/// The result of [`Behaviour::after`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classified {
    /// What is known after the event.
    pub behaviour: Behaviour,
    /// Whether a full lease may rest on it.
    pub settled: bool,
}

fn field(word: u64, at: u32, bits: u32) -> u64 {
    (word >> at) & ((1 << bits) - 1)
}

impl Behaviour {
    /// What `cookie` remembers, `None` of a G that nobody knows.
    #[must_use]
    pub fn unpack(cookie: u64) -> Option<Behaviour> {
        if cookie & COOKIE_TAG_MASK != COOKIE_TAG {
            return None;
        }
        Some(Behaviour {
            average_ns: (field(cookie, 0, AVERAGE_BITS) << AVERAGE_SHIFT).min(AVERAGE_MAX_NS),
            spree_ns: (field(cookie, SPREE_AT, SPREE_BITS) << SPREE_SHIFT).min(SPREE_MAX_NS),
            long_share: field(cookie, SHARE_AT, SHARE_BITS).min(SHARE_ALL),
            class: Class::from_u8(field(cookie, CLASS_AT, 2) as u8)?,
            runs: field(cookie, RUNS_AT, RUNS_BITS) as u32,
            settled: field(cookie, SETTLED_AT, SETTLED_BITS) as u32,
        })
    }

    /// The cookie that remembers this; never 0. The average loses what is below 256 ns, the spree
    /// what is below 64.
    #[must_use]
    pub fn pack(&self) -> u64 {
        COOKIE_TAG
            | self.average_ns.min(AVERAGE_MAX_NS) >> AVERAGE_SHIFT
            | (self.spree_ns.min(SPREE_MAX_NS) >> SPREE_SHIFT) << SPREE_AT
            | (self.class as u64) << CLASS_AT
            | u64::from(self.runs.min(RUNS_MAX)) << RUNS_AT
            | u64::from(self.settled.min(SETTLED_MAX)) << SETTLED_AT
            | self.long_share.min(SHARE_ALL) << SHARE_AT
    }

    /// What is known of the G of `event` after it.
    #[must_use]
    pub fn after(event: &Event, latency_slice_ns: u64) -> Classified {
        let Some(before) = Behaviour::unpack(event.cookie) else {
            // What a G ran before it was known says nothing about its runs.
            return Classified {
                behaviour: Behaviour::default(),
                settled: false,
            };
        };
        let (mut now, run_ns) = before.timed(event);
        now.reclassify(event, run_ns, latency_slice_ns);
        now.settled = match now.class == before.class {
            true => (before.settled + 1).min(SETTLED_MAX),
            false => 0,
        };
        Classified {
            behaviour: now,
            settled: now.settled >= SETTLED_EVENTS,
        }
    }

    /// Adds the event's run time to the spree, and the spree to the average once it has ended.
    /// Returns with it how long the longest run in the event's time can be taken to have been.
    fn timed(mut self, event: &Event) -> (Behaviour, u64) {
        // A G that slept was woken, whether the count says so or not.
        let wakeups = u64::from(event.wakeups.max(u32::from(event.wakeup)));
        let spree_ns = self.spree_ns.saturating_add(event.runtime_ns);
        if wakeups == 0 {
            self.spree_ns = spree_ns.min(SPREE_MAX_NS);
            return (self, spree_ns);
        }
        // A wakeup ends the run before it, so as many runs have ended as there were wakeups, and
        // one more goes on unless the last of them is what the event reports.
        let runs = wakeups + u64::from(!event.wakeup);
        let run_ns = (spree_ns / runs).min(AVERAGE_MAX_NS);
        let longest_ns = match event.wakeup {
            true => run_ns,
            // The ended ones are taken to have been as before, and the rest to be all one.
            false => spree_ns.saturating_sub(wakeups.saturating_mul(self.average_ns)),
        };
        let parts = match self.runs > 0 {
            true => wakeups.min(AVERAGE_PARTS),
            false => AVERAGE_PARTS,
        };
        self.average_ns =
            (self.average_ns * (AVERAGE_PARTS - parts) + run_ns * parts) / AVERAGE_PARTS;
        let long_runs = u64::from(event.long_runs).min(wakeups);
        self.count_long(long_runs, wakeups);
        self.spree_ns = if event.wakeup { 0 } else { run_ns };
        (self, longest_ns)
    }

    /// `long_runs` of the newest `runs` were long. The share is that of all runs at first, and then
    /// an average of the last [`SHARE_PARTS`].
    fn count_long(&mut self, long_runs: u64, runs: u64) {
        let newest = SHARE_ALL * long_runs / runs.max(1);
        let runs = runs.min(SHARE_PARTS);
        let parts = (u64::from(self.runs) + runs).clamp(1, SHARE_PARTS);
        self.long_share = (self.long_share * (parts - runs) + newest * runs) / parts;
        self.runs = (self.runs + runs as u32).min(RUNS_MAX);
    }

    fn reclassify(&mut self, event: &Event, run_ns: u64, latency_slice_ns: u64) {
        let low_weight = event.weight < WEIGHT_LOW;
        let batch_divisor = if low_weight {
            BATCH_LOW_WEIGHT_DIVISOR
        } else {
            1
        };
        let longest_ns = self.average_ns.max(self.spree_ns);

        if run_ns >= latency_slice_ns && !event.wakeup {
            self.count_long(CUT_OFF_RUNS, CUT_OFF_RUNS);
            if self.class == Class::Latency {
                self.class = Class::Normal;
            }
        }
        let cut_off = self.spree_ns >= latency_slice_ns;
        self.class = match self.class {
            _ if longest_ns >= BATCH_ENTER_NS / batch_divisor => Class::Batch,
            Class::Batch if longest_ns >= BATCH_LEAVE_NS / batch_divisor => Class::Batch,
            _ if low_weight => Class::Normal,
            _ if cut_off => Class::Normal,
            Class::Latency if self.long_share < LATENCY_LEAVE_SHARE => Class::Latency,
            _ if self.long_share < LATENCY_ENTER_SHARE && self.runs >= LATENCY_CONFIRM_RUNS => {
                Class::Latency
            }
            _ => Class::Normal,
        };
    }
}
