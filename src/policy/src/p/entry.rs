//! What a slot in use is ordered by, and where that stands.

use core::hint::select_unpredictable;

/// Bits of a ticket that name the slot.
const SLOT_BITS: u32 = 24;
/// Slots that a ticket can name: four times the Gs that Linux can have.
pub(super) const SLOTS_MAX: usize = 1 << SLOT_BITS;
/// Arrivals that a ticket can number.
pub(super) const ARRIVALS_MAX: u64 = 1 << (u64::BITS - SLOT_BITS);

/// What a slot in use is ordered by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) deadline: u64,
    /// The arrival's number and, below it, the slot.
    ticket: u64,
}

impl Entry {
    pub(super) fn new(deadline: u64, arrival: u64, slot: u32) -> Self {
        debug_assert!(arrival < ARRIVALS_MAX && (slot as usize) < SLOTS_MAX);
        Entry {
            deadline,
            ticket: arrival << SLOT_BITS | u64::from(slot),
        }
    }

    pub(super) fn slot(&self) -> u32 {
        (self.ticket & (SLOTS_MAX as u64 - 1)) as u32
    }

    pub(super) fn arrival(&self) -> u64 {
        self.ticket >> SLOT_BITS
    }

    /// Deadlines wrap and are compared as [`crate::clock`] does, tickets do not: one subtraction
    /// over both.
    pub(super) fn before(&self, other: &Entry) -> bool {
        let word = |entry: &Entry| u128::from(entry.deadline) << 64 | u128::from(entry.ticket);
        (word(self).wrapping_sub(word(other)) as i128) < 0
    }

    /// `a` if `first`, `b` otherwise, without a branch.
    pub(super) fn select(first: bool, a: Entry, b: Entry) -> Entry {
        Entry {
            deadline: select_unpredictable(first, a.deadline, b.deadline),
            ticket: select_unpredictable(first, a.ticket, b.ticket),
        }
    }
}

/// Storage for where the entry of one slot stands; nothing of a slot that is not in use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place(u32);

/// Tells far places from near ones.
const FAR: u32 = 1 << 31;

impl Place {
    /// In the heap.
    pub(super) fn near(at: usize) -> Self {
        Place(at as u32)
    }

    /// Among the far.
    pub(super) fn far(at: usize) -> Self {
        Place(at as u32 | FAR)
    }

    /// The place in the heap, or the one among the far.
    pub(super) fn get(self) -> Result<usize, usize> {
        match self.0 & FAR {
            0 => Ok(self.0 as usize),
            _ => Err((self.0 ^ FAR) as usize),
        }
    }
}
