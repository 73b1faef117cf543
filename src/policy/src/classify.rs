//! What kind of G is this? Learned from how long it runs between two sleeps, and remembered in
//! the cookie that travels with it.
//!
//! # Terms
//!
//! - **run**: the time from a wakeup to the next sleep, over any number of slices.
//! - **spree**: the run that has not ended yet, as far as it is known.
//! - **average**: of the lengths of runs; the newest counts for a quarter, four or more at once
//!   replace it.
//! - **streak**: short wakeups in a row.
//!
//! How often a G wakes is not asked: one that wakes rarely and runs shortly costs nothing when it
//! is served at once, and one that wakes often and runs shortly is what the class is for.
//!
//! # Pseudo-code
//!
//! ```text
//! spree += runtime;  if the G slept: average <- spree / wakeups, spree = 0
//! if low weight or SCHED_BATCH:             never latency, batch a tenth as soon
//! latency -> normal   if a run took a whole latency slice, at once, and the average is spoiled
//!                     or average >= LATENCY_LEAVE
//! normal  -> latency  if average < LATENCY_ENTER for LATENCY_CONFIRM wakeups in a row
//! any     -> batch    if spree >= BATCH_ENTER or average >= BATCH_ENTER
//! batch   -> normal   if average < BATCH_LEAVE and nothing of the spree speaks against it
//! ```
//!
//! The user's rules come after that: normal and batch are fixed, and latency is given at once and
//! lost for one to two seconds after three latency slices used up without a short run between.
//!
//! # Properties
//!
//! - A cookie of 0, or of another policy, is a G that nobody knows: Normal, unsettled.
//! - Of two Gs with the same history, the one of higher weight never has the later class.
//! - After a run of a whole latency slice, no G that has no rule is latency-sensitive; none of SCHED_BATCH ever is.
//! - A G near an edge does not flap: the way out lies beyond the way in.

use crate::constants::*;
use crate::{Class, Event, Params};

/// Tells this policy's cookies from none and from another policy's.
const COOKIE_TAG: u64 = 0xa7 << 56;
const COOKIE_TAG_MASK: u64 = 0xff << 56;
/// Times are kept in units of 64 ns: fine enough for an average of quarters at 10 us.
const TIME_SHIFT: u32 = 6;
const TIME_BITS: u32 = 20;
const COUNT_BITS: u32 = 4;
/// Counts stop here.
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;
const SPREE_AT: u32 = TIME_BITS;
const CLASS_AT: u32 = 2 * TIME_BITS;
const STREAK_AT: u32 = CLASS_AT + 2;
const SETTLED_AT: u32 = STREAK_AT + COUNT_BITS;
const SAMPLED_AT: u32 = SETTLED_AT + COUNT_BITS;
const ABUSES_AT: u32 = SAMPLED_AT + 1;
const LOST_AT: u32 = ABUSES_AT + 2;
const LOST_BITS: u32 = 3;
const LOST_MASK: u32 = (1 << LOST_BITS) - 1;
/// Runs are cut here before they are kept.
const SPREE_MAX_NS: u64 = AVERAGE_MAX_NS;

const _: () = {
    assert!(
        LOST_AT + LOST_BITS <= 56,
        "the fields end where the tag begins"
    );
    assert!(SPREE_MAX_NS >> TIME_SHIFT < 1 << TIME_BITS);
    assert!(RULE_ABUSES <= 3 && RULE_LOST_FOR < 1 << LOST_BITS);
    assert!(LATENCY_CONFIRM_WAKEUPS <= COUNT_MAX && SETTLED_EVENTS <= COUNT_MAX);
};

/// What is known of a G; packs into its cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Average length of a run, 0 to 40 ms.
    pub average_ns: u64,
    /// The run that has not ended yet, 0 to 40 ms.
    pub spree_ns: u64,
    /// What the G is taken for.
    pub class: Class,
    /// Short wakeups in a row, 0 to 15.
    pub streak: u32,
    /// Events in a row without a change of class, 0 to 15.
    pub settled: u32,
    /// Whether a run has ended since the G is known.
    pub sampled: bool,
    /// Latency slices used up in a row against a rule that gave the class, 0 to 3.
    pub abuses: u32,
    /// When the class was lost for it, in units of [`RULE_LOST_UNIT_SHIFT`] that wrap.
    pub lost_at: u32,
}

/// The result of [`Behaviour::after`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classified {
    /// What is known after the event.
    pub behaviour: Behaviour,
    /// Whether a full lease may rest on it.
    pub settled: bool,
}

impl Classified {
    /// How many enqueues beyond the first a decision may cover that rests on this.
    pub(crate) fn lease(&self, params: &Params) -> u16 {
        match self.settled {
            true => params.lease,
            false => params.lease.min(UNSETTLED_LEASE << self.behaviour.settled),
        }
    }
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
            average_ns: (field(cookie, 0, TIME_BITS) << TIME_SHIFT).min(AVERAGE_MAX_NS),
            spree_ns: (field(cookie, SPREE_AT, TIME_BITS) << TIME_SHIFT).min(SPREE_MAX_NS),
            class: Class::from_u8(field(cookie, CLASS_AT, 2) as u8)?,
            streak: field(cookie, STREAK_AT, COUNT_BITS) as u32,
            settled: field(cookie, SETTLED_AT, COUNT_BITS) as u32,
            sampled: field(cookie, SAMPLED_AT, 1) == 1,
            abuses: field(cookie, ABUSES_AT, 2) as u32,
            lost_at: field(cookie, LOST_AT, LOST_BITS) as u32,
        })
    }

    /// The cookie that remembers this; never 0. Times lose what is below 64 ns.
    #[must_use]
    pub fn pack(&self) -> u64 {
        let count = |value: u32| u64::from(value.min(COUNT_MAX));
        COOKIE_TAG
            | self.average_ns.min(AVERAGE_MAX_NS) >> TIME_SHIFT
            | (self.spree_ns.min(SPREE_MAX_NS) >> TIME_SHIFT) << SPREE_AT
            | (self.class as u64) << CLASS_AT
            | count(self.streak) << STREAK_AT
            | count(self.settled) << SETTLED_AT
            | u64::from(self.sampled) << SAMPLED_AT
            | u64::from(self.abuses.min(RULE_ABUSES)) << ABUSES_AT
            | u64::from(self.lost_at & LOST_MASK) << LOST_AT
    }

    /// What is known of the G of `event` after it.
    #[must_use]
    #[inline]
    pub fn after(event: &Event, latency_slice_ns: u64) -> Classified {
        let Some(before) = Behaviour::unpack(event.cookie) else {
            // What a G ran before it was known says nothing about its runs.
            let class = event.rule.unwrap_or_default();
            return Classified {
                behaviour: Behaviour {
                    class,
                    ..Behaviour::default()
                },
                settled: false,
            };
        };
        let (mut now, run_ns) = before.timed(event);
        let put_back = event.weight < WEIGHT_LOW || event.batch;
        now.reclassify(put_back, run_ns, latency_slice_ns);
        if let Some(rule) = event.rule {
            now.obey(rule, event, run_ns, latency_slice_ns);
        }
        now.settled = match now.class == before.class {
            true => (before.settled + 1).min(COUNT_MAX),
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
        let parts = match self.sampled {
            true => wakeups.min(AVERAGE_PARTS),
            false => AVERAGE_PARTS,
        };
        self.average_ns =
            (self.average_ns * (AVERAGE_PARTS - parts) + run_ns * parts) / AVERAGE_PARTS;
        self.sampled = true;
        self.spree_ns = if event.wakeup { 0 } else { run_ns };
        self.streak = match run_ns < LATENCY_ENTER_NS {
            true => (self.streak + wakeups.min(COUNT_MAX.into()) as u32).min(COUNT_MAX),
            false => 0,
        };
        (self, longest_ns)
    }

    /// What a rule makes of the class that was learned.
    fn obey(&mut self, rule: Class, event: &Event, run_ns: u64, latency_slice_ns: u64) {
        if rule != Class::Latency {
            self.class = rule;
            return;
        }
        let unit = (event.at_ns >> RULE_LOST_UNIT_SHIFT) as u32 & LOST_MASK;
        if self.abuses == RULE_ABUSES {
            if unit.wrapping_sub(self.lost_at) & LOST_MASK < RULE_LOST_FOR {
                self.class = self.class.max(Class::Normal);
                return;
            }
            self.abuses = 0;
        }
        self.class = Class::Latency;
        // The whole of a slice counts once, when it is over, and only a short run makes up for it.
        if run_ns < latency_slice_ns {
            self.abuses = 0;
        } else if run_ns >= latency_slice_ns.saturating_mul(RULE_ABUSES.into()) {
            self.abuses = RULE_ABUSES;
        } else if event.runtime_ns >= latency_slice_ns {
            self.abuses += 1;
        }
        if self.abuses == RULE_ABUSES {
            self.lost_at = unit;
            self.class = Class::Normal;
        }
    }

    fn reclassify(&mut self, put_back: bool, run_ns: u64, latency_slice_ns: u64) {
        let batch_divisor = if put_back {
            BATCH_LOW_WEIGHT_DIVISOR
        } else {
            1
        };
        let longest_ns = self.average_ns.max(self.spree_ns);

        if run_ns >= latency_slice_ns {
            self.streak = 0;
            if self.class == Class::Latency {
                self.class = Class::Normal;
                self.average_ns = self.average_ns.max(LATENCY_ABUSED_NS);
            }
        }
        self.class = match self.class {
            _ if longest_ns >= BATCH_ENTER_NS / batch_divisor => Class::Batch,
            Class::Batch if longest_ns >= BATCH_LEAVE_NS / batch_divisor => Class::Batch,
            _ if put_back => Class::Normal,
            Class::Latency if longest_ns < LATENCY_LEAVE_NS => Class::Latency,
            _ if longest_ns < LATENCY_ENTER_NS && self.streak >= LATENCY_CONFIRM_WAKEUPS => {
                Class::Latency
            }
            _ => Class::Normal,
        };
    }
}
