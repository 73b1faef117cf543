//! The slots in use, by deadline and then by arrival.
//!
//! Each entry has four children, which are one family and one cache line; entries are counted from
//! [`ROOT`], so that families begin at multiples of four. An entry that is taken out leaves a hole,
//! which sinks to the bottom by pulling the first of each family up; the last entry fills it and
//! rises from there, seldom far. That asks nothing of the entry that fills it on the way down, and
//! which child is first is computed without a branch: no guess about it is better than chance.

use core::hint::select_unpredictable;

/// Bits of a ticket that name the slot.
const SLOT_BITS: u32 = 24;
/// Slots that a ticket can name: four times the Gs that Linux can have.
pub(super) const SLOTS_MAX: usize = 1 << SLOT_BITS;
/// Arrivals that a ticket can number.
pub(super) const ARRIVALS_MAX: u64 = 1 << (u64::BITS - SLOT_BITS);

/// Where the first entry is. No entry is before it.
const ROOT: usize = 3;
/// Children of an entry.
const FOUR: usize = 4;

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

    /// Deadlines wrap and are compared as [`crate::clock`] does, tickets do not: one subtraction
    /// over both.
    fn before(&self, other: &Entry) -> bool {
        let word = |entry: &Entry| u128::from(entry.deadline) << 64 | u128::from(entry.ticket);
        (word(self).wrapping_sub(word(other)) as i128) < 0
    }
}

/// Storage for four entries. What it holds is the heap's business.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub struct Family([Entry; FOUR]);

impl Family {
    /// Which of the four is due first.
    fn first(&self) -> usize {
        let Family(four) = self;
        let earlier = |a: (Entry, usize), b: (Entry, usize)| {
            let b_is_first = b.0.before(&a.0);
            let entry = Entry {
                deadline: select_unpredictable(b_is_first, b.0.deadline, a.0.deadline),
                ticket: select_unpredictable(b_is_first, b.0.ticket, a.0.ticket),
            };
            (entry, select_unpredictable(b_is_first, b.1, a.1))
        };
        let left = earlier((four[0], 0), (four[1], 1));
        let right = earlier((four[2], 2), (four[3], 3));
        earlier(left, right).1
    }

    /// Which of the first `count` is due first.
    fn first_of(&self, count: usize) -> usize {
        let before = |a: usize, b: usize| self.0[a].before(&self.0[b]);
        (1..count).fold(0, |first, at| if before(at, first) { at } else { first })
    }
}

#[derive(Debug)]
pub(super) struct Heap<'a> {
    families: &'a mut [Family],
    /// Where each slot's entry is; nothing of a slot that is not in use.
    places: &'a mut [u32],
    /// Where the next entry goes.
    end: usize,
}

impl<'a> Heap<'a> {
    pub(super) fn new(families: &'a mut [Family], places: &'a mut [u32]) -> Self {
        families.fill(Family::default());
        places.fill(0);
        Heap {
            families,
            places,
            end: ROOT,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.end - ROOT
    }

    pub(super) fn first(&self) -> Option<&Entry> {
        (self.end > ROOT).then(|| self.at(ROOT))
    }

    /// The entry of a slot in use.
    pub(super) fn of(&self, slot: u32) -> &Entry {
        self.at(self.places[slot as usize] as usize)
    }

    /// Takes an entry of a slot that is not in use. There is room for it.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        let end = self.end;
        self.end += 1;
        self.rise(end, entry);
    }

    /// Takes out the entry of a slot in use.
    #[inline]
    pub(super) fn remove(&mut self, slot: u32) -> Entry {
        let place = self.places[slot as usize] as usize;
        let entry = *self.at(place);
        self.end -= 1;
        let last = *self.at(self.end);
        if place < self.end {
            let hole = self.sink(place);
            self.rise(hole, last);
        }
        entry
    }

    /// Numbers the arrival of a slot in use anew. The order of arrivals must stay what it was.
    pub(super) fn renumber(&mut self, slot: u32, arrival: u64) {
        let place = self.places[slot as usize] as usize;
        let entry = Entry::new(self.at(place).deadline, arrival, slot);
        self.put(place, entry);
    }

    fn at(&self, place: usize) -> &Entry {
        &self.families[place / FOUR].0[place % FOUR]
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.families[place / FOUR].0[place % FOUR] = entry;
        self.places[entry.slot() as usize] = place as u32;
    }

    /// Lets a hole sink to where it has no children.
    fn sink(&mut self, mut hole: usize) -> usize {
        loop {
            let family = hole - (ROOT - 1);
            let children = self.end.saturating_sub(family * FOUR);
            let first = match children {
                0 => return hole,
                1..FOUR => self.families[family].first_of(children),
                _ => self.families[family].first(),
            };
            self.put(hole, self.families[family].0[first]);
            hole = family * FOUR + first;
        }
    }

    /// Puts an entry into a hole, or above it if it is due before what is there.
    #[inline]
    fn rise(&mut self, mut hole: usize, entry: Entry) {
        while hole > ROOT {
            let parent = hole / FOUR + (ROOT - 1);
            let above = *self.at(parent);
            if !entry.before(&above) {
                break;
            }
            self.put(hole, above);
            hole = parent;
        }
        self.put(hole, entry);
    }
}
