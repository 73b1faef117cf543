//! Which slots are in use, and which to use for a G that has none.
//!
//! A slot stays the one of a G after its note was taken, until another G needs it: most come back
//! soon, and then neither the table nor the slots change, and the slot's memory is near. So the slot
//! for a G that has none is the next one that is not in use, round and round: the G that had it was
//! not seen since the round before, or the P is nearly full.

/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// Words of a bit for each of so many slots.
pub(super) const fn used(slots: usize) -> usize {
    slots.div_ceil(WORD)
}

/// Slots for which so many words are enough.
pub(super) const fn slots(used: usize) -> usize {
    used * WORD
}

#[derive(Debug)]
pub(super) struct Slots<'a> {
    /// Whether each slot is in use, one bit each.
    used: &'a mut [u64],
    /// Where the next search begins.
    hand: usize,
    len: usize,
}

impl<'a> Slots<'a> {
    /// So many slots, none of them in use, in storage as long as [`used`] says.
    pub(super) fn new(words: &'a mut [u64], slots: usize) -> Self {
        let used = &mut words[..used(slots)];
        used.fill(0);
        // What is beyond the last slot is never free.
        if let (Some(last), 1..) = (used.last_mut(), slots % WORD) {
            *last = u64::MAX << (slots % WORD);
        }
        Slots {
            used,
            hand: 0,
            len: slots,
        }
    }

    pub(super) fn is_used(&self, slot: u32) -> bool {
        self.used[slot as usize / WORD] >> (slot as usize % WORD) & 1 == 1
    }

    pub(super) fn set_used(&mut self, slot: u32) {
        self.used[slot as usize / WORD] |= 1 << (slot as usize % WORD);
    }

    pub(super) fn set_free(&mut self, slot: u32) {
        self.used[slot as usize / WORD] &= !(1 << (slot as usize % WORD));
    }

    /// The next slot that is not in use.
    pub(super) fn next_free(&mut self) -> Option<u32> {
        let found = self.first_free(self.hand).or_else(|| self.first_free(0))?;
        self.hand = (found + 1) % self.len;
        Some(found as u32)
    }

    fn first_free(&self, from: usize) -> Option<usize> {
        let mut at = from;
        while let Some(&word) = self.used.get(at / WORD) {
            let free = !word >> (at % WORD);
            if free != 0 {
                return Some(at + free.trailing_zeros() as usize);
            }
            at = (at / WORD + 1) * WORD;
        }
        None
    }
}
