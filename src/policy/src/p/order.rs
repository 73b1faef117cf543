//! The slots in use, by deadline and then by arrival: the near ones in a heap, the far ones, due
//! after a border, in lists.
//!
//! A heap of 100,000 is in no near cache, and each entry that goes through it touches a line of
//! every layer. So only what is due next is kept in order. When the heap runs dry the next few are
//! brought in from the lists at once, and while a short queue fits into the heap there are no lists.
//!
//! The heap is never empty while there are far ones, so the first of all is the first of it.

use super::entry::{Entry, Place};
use super::far::{Chunk, Far};
use super::heap::{Family, Heap};

/// Deadlines that are looked at to find one in the middle; odd.
const SAMPLES: usize = 15;

#[derive(Debug)]
pub(super) struct Order<'a> {
    near: Heap<'a>,
    far: Far<'a>,
    /// Where the entry of each slot is.
    places: &'a mut [Place],
    /// Entries that the heap holds before it is halved, as asked for and as it stands.
    near_max: usize,
    limit: usize,
}

impl<'a> Order<'a> {
    pub(super) fn new(
        families: &'a mut [Family],
        chunks: &'a mut [Chunk],
        places: &'a mut [Place],
        near_max: usize,
    ) -> Self {
        places.fill(Place::default());
        Order {
            near: Heap::new(families),
            far: Far::new(chunks),
            places,
            near_max,
            limit: near_max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.near.len() + self.far.len()
    }

    pub(super) fn first(&self) -> Option<&Entry> {
        self.near.first()
    }

    /// The near entries, in no order.
    pub(super) fn near(&self) -> impl Iterator<Item = &Entry> {
        self.near.iter()
    }

    /// The entry of a slot in use.
    pub(super) fn of(&self, slot: u32) -> &Entry {
        match self.places[slot as usize].get() {
            Ok(near) => self.near.at(near),
            Err(far) => self.far.at(far),
        }
    }

    /// Takes an entry of a slot that is not in use. There is room for it.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        if self.far.takes(entry.deadline) {
            if self.far.len() > 0 {
                self.far.push(entry, self.places);
                return;
            }
            self.far.set_border(entry.deadline);
        }
        self.near.push(entry, self.places);
        if self.near.len() > self.limit {
            self.halve();
        }
    }

    /// Takes out the entry of a slot in use. Returns with it whether others came near for it.
    #[inline]
    pub(super) fn remove(&mut self, slot: u32) -> (Entry, bool) {
        match self.places[slot as usize].get() {
            Err(far) => (self.far.remove(far, self.places), false),
            Ok(near) => {
                let entry = self.near.remove(near, self.places);
                let dry = self.near.len() == 0 && self.far.len() > 0;
                if dry {
                    self.refill();
                }
                (entry, dry)
            }
        }
    }

    /// Numbers the arrival of a slot in use anew. The order of arrivals must stay what it was.
    pub(super) fn renumber(&mut self, slot: u32, arrival: u64) {
        let entry = Entry::new(self.of(slot).deadline, arrival, slot);
        match self.places[slot as usize].get() {
            Ok(near) => self.near.put(near, entry, self.places),
            Err(far) => self.far.put(far, entry),
        }
    }

    /// Fills the empty heap to a half.
    #[cold]
    fn refill(&mut self) {
        let near = &mut self.near;
        let few = (self.near_max / 2).max(1);
        self.far
            .next_few(few, self.places, |entry, places| near.push(entry, places));
        // All of one deadline come at once, however many.
        self.limit = self.near_max.max(2 * self.near.len());
    }

    /// Brings the border to the middle of the heap.
    #[cold]
    fn halve(&mut self) {
        let Some(&Entry { deadline: from, .. }) = self.near.first() else {
            return;
        };
        let mut samples = [0; SAMPLES];
        let step = self.near.len() / SAMPLES + 1;
        for (sample, entry) in samples.iter_mut().zip(self.near.iter().step_by(step)) {
            *sample = entry.deadline.wrapping_sub(from);
        }
        samples.sort_unstable();
        let border = from.wrapping_add(samples[SAMPLES / 2]);
        self.far.bring_border(border, self.places);
        let far = &mut self.far;
        self.near.retain(
            self.places,
            |entry| !crate::clock::before(border, entry.deadline),
            |entry, places| far.push(entry, places),
        );
        // Where most are due at once, halving again would be as vain.
        self.limit = self.near_max.max(2 * self.near.len());
    }
}
