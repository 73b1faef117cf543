//! The slots in use, by age: a ring of arrivals, with a bit for each that says whether it is held yet.
//!
//! Of a list linked both ways a slot that is taken out would touch both neighbours, and they may be
//! anywhere in memory. In here one arrival is written next to the other, and what takes one out is
//! its bit: those of many arrivals are in one cache line.
//!
//! The ring has room for several times as many arrivals as there are slots. Where the oldest is
//! held while all that room goes by, the gaps between those held are closed, and their arrivals
//! numbered anew.

/// Arrivals that the ring has room for, for each slot: so that gaps are closed only if the oldest
/// stays while others go and come three times.
const ARRIVALS_PER_SLOT: usize = 4;
/// Bits of a word.
const WORD: u64 = u64::BITS as u64;

/// Length of the ring for so many slots: a power of two, and no less than a word has bits.
pub(super) const fn arrivals(slots: usize) -> usize {
    let all = (slots * ARRIVALS_PER_SLOT).next_power_of_two();
    if all < WORD as usize {
        WORD as usize
    } else {
        all
    }
}

/// Words of a bit for each arrival, for so many slots.
pub(super) const fn held(slots: usize) -> usize {
    arrivals(slots) / WORD as usize
}

/// Slots for which a ring of so many arrivals, with so many words of bits, is long enough.
pub(super) fn slots(arrivals: usize, held: usize) -> usize {
    match arrivals.min(held * WORD as usize).checked_ilog2() {
        Some(bits) if arrivals >= WORD as usize => (1 << bits) / ARRIVALS_PER_SLOT,
        _ => 0,
    }
}

#[derive(Debug)]
pub(super) struct Ages<'a> {
    /// The slot of each arrival.
    slots: &'a mut [u32],
    /// Whether it is held, one bit each.
    held: &'a mut [u64],
    /// The first arrival that is held, or the next if none is.
    oldest: u64,
    /// The number of the next arrival.
    next: u64,
}

impl<'a> Ages<'a> {
    /// For at most `slots` at once, in storage as long as [`arrivals`] and [`held`] say. The first
    /// arrival is number `first`.
    pub(super) fn new(ring: &'a mut [u32], bits: &'a mut [u64], slots: usize, first: u64) -> Self {
        let room = ring.len().min(arrivals(slots));
        let ring = &mut ring[..room];
        let bits = &mut bits[..room / WORD as usize];
        ring.fill(0);
        bits.fill(0);
        Ages {
            slots: ring,
            held: bits,
            oldest: first,
            next: first,
        }
    }

    /// The number that the next arrival will have.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether the ring has no room for another arrival before [`Self::renumber`].
    pub(super) fn is_full(&self) -> bool {
        self.next - self.oldest == self.slots.len() as u64
    }

    /// The slot of an arrival that is held.
    pub(super) fn slot(&self, arrival: u64) -> u32 {
        self.slots[self.at(arrival)]
    }

    /// The arrival that is held longest.
    pub(super) fn oldest(&self) -> Option<u64> {
        (self.oldest < self.next).then_some(self.oldest)
    }

    /// The arrival that is held longest of those after this one.
    pub(super) fn after(&self, arrival: u64) -> Option<u64> {
        let next = self.first_held(arrival + 1);
        (next < self.next).then_some(next)
    }

    /// A slot arrives. The ring has room.
    #[inline]
    pub(super) fn push(&mut self, slot: u32) {
        let arrival = self.next;
        self.next += 1;
        self.hold(arrival, slot);
    }

    /// Takes out an arrival that is held. Returns whether another is the oldest for it.
    #[inline]
    pub(super) fn remove(&mut self, arrival: u64) -> bool {
        self.held[self.at(arrival) / WORD as usize] &= !(1 << (arrival % WORD));
        let oldest = arrival == self.oldest;
        if oldest {
            self.oldest = self.first_held(arrival + 1);
        }
        oldest
    }

    /// Closes the gaps and numbers those held anew, by small numbers. Each slot goes to `to` with its
    /// new number, from the oldest to the newest.
    pub(super) fn renumber(&mut self, mut to: impl FnMut(u32, u64)) {
        let mut from = self.oldest();
        // The oldest stays where it is, so that nobody comes to stand where one was not read yet.
        self.oldest %= self.slots.len() as u64;
        let mut number = self.oldest;
        while let Some(arrival) = from {
            let slot = self.slot(arrival);
            from = self.after(arrival);
            self.held[self.at(arrival) / WORD as usize] &= !(1 << (arrival % WORD));
            self.hold(number, slot);
            to(slot, number);
            number += 1;
        }
        self.next = number;
    }

    fn hold(&mut self, arrival: u64, slot: u32) {
        let at = self.at(arrival);
        self.slots[at] = slot;
        self.held[at / WORD as usize] |= 1 << (arrival % WORD);
    }

    /// The first arrival that is held, from this one on. If none is: the next, or one beyond it, as
    /// a word may go on with those at the other end of the ring.
    fn first_held(&self, from: u64) -> u64 {
        let mut arrival = from;
        while arrival < self.next {
            let word = self.held[self.at(arrival) / WORD as usize] >> (arrival % WORD);
            if word != 0 {
                return arrival + u64::from(word.trailing_zeros());
            }
            arrival = (arrival / WORD + 1) * WORD;
        }
        self.next
    }

    /// Where an arrival stands in the ring.
    fn at(&self, arrival: u64) -> usize {
        arrival as usize & (self.slots.len() - 1)
    }
}
