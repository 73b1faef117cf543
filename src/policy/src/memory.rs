//! Where a process's memory is: evidence in, home out.
//!
//! ```text
//! evidence   an estimate of the process's pages on each node
//! touched    pages add to the node that they came from; what no longer fits into the process's
//!            resident memory pushes older pages out, from all nodes alike
//! a look     at what the kernel says replaces the estimate
//! home       the node with a clear majority of the pages, if there is enough memory to matter
//! ```
//!
//! Old evidence counts less as far as newer evidence took its place, and not by time: memory that
//! nobody touches anew stays where it is.
//!
//! Properties: an estimate is never larger than the resident memory; with nothing said, nothing
//! changes; memory spread evenly has no home; a home is left only after another judgement has held
//! for [`MEMORY_FLIP_AFTER_NS`]; looks at one process come no closer together than
//! [`MEMORY_LOOK_EVERY_NS`], and ever less often while they tell nothing new.

use crate::clock;
use crate::constants::{
    MAX_NODES, MEMORY_AWAY_NS, MEMORY_CHANGED_PARTS, MEMORY_ENTER_PARTS, MEMORY_FLIP_AFTER_NS,
    MEMORY_KEPT_OUT_NS, MEMORY_LEAVE_PARTS, MEMORY_LOOK_EVERY_NS, MEMORY_LOOK_MAX_NS,
    MEMORY_MOST_PAGES, MEMORY_PARTS,
};

/// Pages of one process by node, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pages: [u64; MAX_NODES],
    /// Pages that are thought to be in memory.
    resident: u64,
    /// Pages that came, went, or were never accounted for since the last look.
    unverified: u64,
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            pages: [0; MAX_NODES],
            resident: 0,
            unverified: 0,
        }
    }
}

impl Evidence {
    /// Adds pages that were touched first on each node, for a process that has `resident` pages in
    /// memory by now; 0 if that is not known.
    pub fn saw_touched(&mut self, touched: &[u64], resident: u64) {
        let resident = resident.min(MEMORY_MOST_PAGES);
        let mut new_pages = 0;
        for (pages, &new) in self.pages.iter_mut().zip(touched) {
            let new = new.min(MEMORY_MOST_PAGES);
            *pages = (*pages + new).min(MEMORY_MOST_PAGES);
            new_pages += new;
        }
        let total = self.total();
        let resident = if resident == 0 { total } else { resident };
        let turnover = new_pages.max(resident.abs_diff(self.resident));
        self.unverified = (self.unverified + turnover).min(resident);
        self.resident = resident;
        self.push_out(touched, total.saturating_sub(resident));
    }

    /// Takes `excess` pages away: from the old ones in proportion, and if these are not enough,
    /// from the new ones.
    fn push_out(&mut self, touched: &[u64], excess: u64) {
        if excess == 0 {
            return;
        }
        let new_on = |node: usize, pages: u64| touched.get(node).copied().unwrap_or(0).min(pages);
        let total = self.total();
        let new_pages = (0..MAX_NODES)
            .map(|node| new_on(node, self.pages[node]))
            .sum::<u64>();
        let old = total - new_pages;
        let keep_old = old.saturating_sub(excess);
        let keep_new = new_pages.saturating_sub(excess.saturating_sub(old));
        for (node, pages) in self.pages.iter_mut().enumerate() {
            let new = new_on(node, *pages);
            *pages = part(*pages - new, keep_old, old) + part(new, keep_new, new_pages);
        }
    }

    /// Replaces the estimate by what the kernel says of each node.
    pub fn saw_pages(&mut self, pages: &[u64]) {
        self.pages = [0; MAX_NODES];
        for (slot, &pages) in self.pages.iter_mut().zip(pages) {
            *slot = pages.min(MEMORY_MOST_PAGES);
        }
        self.unverified = 0;
    }

    /// Pages on a node.
    #[must_use]
    pub fn on(&self, node: usize) -> u64 {
        self.pages.get(node).copied().unwrap_or(0)
    }

    /// Pages that are accounted for.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.pages.iter().sum()
    }

    /// Pages in memory, accounted for or not.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.resident.max(self.total())
    }

    /// Whether so much came, went or was never seen that the estimate may mislead.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.unverified.saturating_mul(MEMORY_CHANGED_PARTS) >= self.resident.max(1)
    }

    /// The node with the most pages, the first of equals.
    fn fullest(&self) -> (usize, u64) {
        self.pages
            .iter()
            .copied()
            .enumerate()
            .fold((0, 0), |best, at| if at.1 > best.1 { at } else { best })
    }

    /// The node that this evidence alone makes a home. While most of the memory is not accounted
    /// for, as that of a process from before the load is not, the evidence makes none.
    #[must_use]
    pub fn verdict(&self, from_pages: u64) -> Option<u16> {
        let (node, pages) = self.fullest();
        let total = self.total();
        let enough = self.resident() >= from_pages && total >= self.resident().div_ceil(2);
        (enough && is_part(pages, total, MEMORY_ENTER_PARTS)).then_some(node as u16)
    }

    /// Whether a node that is home already may stay so.
    fn still_holds(&self, node: u16, from_pages: u64) -> bool {
        self.resident() >= from_pages / 2
            && is_part(self.on(node.into()), self.total(), MEMORY_LEAVE_PARTS)
    }
}

/// `pages * part / whole`, without overflow; 0 of nothing.
fn part(pages: u64, part: u64, whole: u64) -> u64 {
    match whole {
        0 => 0,
        _ => (u128::from(pages) * u128::from(part) / u128::from(whole)) as u64,
    }
}

/// Whether `pages` are at least `parts` of [`MEMORY_PARTS`] of the whole.
fn is_part(pages: u64, whole: u64, parts: u64) -> bool {
    whole > 0
        && u128::from(pages) * u128::from(MEMORY_PARTS) >= u128::from(whole) * u128::from(parts)
}

/// The home of one process, slow to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryHome {
    node: Option<u16>,
    /// What the evidence has said instead, and since when.
    contender: Option<(Option<u16>, u64)>,
}

impl MemoryHome {
    /// The home, if there is one.
    #[must_use]
    pub fn node(&self) -> Option<u16> {
        self.node
    }

    /// Judges the evidence; processes with less than `from_pages` have no home. Returns whether
    /// the home changed. A first home is given at once: there is nothing to lose by it.
    pub fn judge(&mut self, now_ns: u64, evidence: &Evidence, from_pages: u64) -> bool {
        let verdict = evidence.verdict(from_pages);
        let Some(node) = self.node else {
            self.contender = None;
            self.node = verdict;
            return verdict.is_some();
        };
        if verdict == Some(node) || evidence.still_holds(node, from_pages) {
            self.contender = None;
            return false;
        }
        match self.contender {
            Some((wanted, since_ns)) if wanted == verdict => {
                if clock::waited_ns(now_ns, since_ns) < MEMORY_FLIP_AFTER_NS {
                    return false;
                }
                *self = Self {
                    node: verdict,
                    contender: None,
                };
                true
            }
            _ => {
                self.contender = Some((verdict, now_ns));
                false
            }
        }
    }
}

/// When a process is worth a look at what the kernel says, which is dear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    looked_ns: Option<u64>,
    every_ns: u64,
}

impl Looks {
    /// Whether a look is due: at a process with enough memory, whose estimate is doubtful.
    #[must_use]
    pub fn is_due(&self, now_ns: u64, evidence: &Evidence, from_pages: u64) -> bool {
        let rested = self
            .looked_ns
            .is_none_or(|at| clock::waited_ns(now_ns, at) >= self.every_ns);
        rested && evidence.resident() >= from_pages && evidence.is_doubtful()
    }

    /// Notes a look and whether it told something new. One that did not doubles the time until
    /// the next.
    pub fn looked(&mut self, now_ns: u64, was_news: bool) {
        self.every_ns = match (self.looked_ns, was_news) {
            (None, _) | (_, true) => MEMORY_LOOK_EVERY_NS,
            (Some(_), false) => (2 * self.every_ns).min(MEMORY_LOOK_MAX_NS),
        };
        self.looked_ns = Some(now_ns);
    }
}

/// Whether the memory of a process should follow its Gs, which is the exception.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Displaced {
    /// Where all Gs are that cannot, or do not, run at home; whether they are kept out; since when.
    away: Option<(u16, bool, u64)>,
}

impl Displaced {
    /// Judges where the Gs of a process are whose memory is on `home`: which nodes any of them may
    /// use, and the one that all of them were on last. Returns the node for the memory to go to.
    pub fn judge(
        &mut self,
        now_ns: u64,
        home: u16,
        allowed: u64,
        together: Option<u16>,
    ) -> Option<u16> {
        let kept_out = allowed != 0 && !has(allowed, home);
        // Kept to one node, they are there, wherever they were last.
        let only = (allowed.count_ones() == 1).then(|| allowed.trailing_zeros() as u16);
        let at = only
            .or(together)
            .filter(|&node| node != home && has(allowed, node));
        let Some(at) = at else {
            self.away = None;
            return None;
        };
        let since_ns = match self.away {
            Some((before, was_kept, since_ns)) if (before, was_kept) == (at, kept_out) => since_ns,
            _ => now_ns,
        };
        self.away = Some((at, kept_out, since_ns));
        let patience_ns = if kept_out {
            MEMORY_KEPT_OUT_NS
        } else {
            MEMORY_AWAY_NS
        };
        (clock::waited_ns(now_ns, since_ns) >= patience_ns).then(|| {
            self.away = None;
            at
        })
    }
}

/// Whether a mask of nodes has this one.
fn has(mask: u64, node: u16) -> bool {
    usize::from(node) < MAX_NODES && mask & (1 << node) != 0
}
