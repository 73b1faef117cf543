//! The slots that are due later than a border, in lists by how much later: a radix heap.
//!
//! An entry's list is named by the highest of the digits in which its deadline differs from the
//! border, and by what that digit is. So all entries of a list at a lower digit are due before all
//! at a higher one, and of two lists at the same digit those of the lower value, as seen from the
//! border's own. To give out the next few the first list is taken; if it is long, the border moves
//! to its start, which spreads it over lists at lower digits. An entry is moved a few times at most,
//! always with its neighbours in memory, and waits without being looked at.
//!
//! Deadlines wrap, and so does the order of values at the highest digit.

use core::hint::black_box;

use super::entry::{Entry, Place};

/// Bits and values of a digit: as many as a word has bits. With fewer an entry is moved more often,
/// with more each list has less to give at once.
const DIGIT_BITS: u32 = 6;
const VALUES: usize = 1 << DIGIT_BITS;
const DIGITS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;
/// Chunks that may have gaps: of each list that can be in use the first, which is at each digit all
/// values but the border's, and one that is being emptied.
pub(super) const CHUNKS_WITH_GAPS: usize = DIGITS * (VALUES - 1) + 1;
/// Entries of a chunk.
pub(super) const CHUNK: usize = 15;
/// Places from one chunk to the next, of which those of entries are the first.
const STRIDE: usize = 16;
/// No chunk.
const NIL: u32 = u32::MAX;

/// Storage for some entries of one list. What it holds is the P's business.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub struct Chunk {
    entries: [Entry; CHUNK],
    /// The next chunk of the list, or the next that is not in use.
    next: u32,
}

const _: () = assert!(size_of::<Chunk>() == 256, "whole cache lines");

/// All chunks but the first are full.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    /// Entries.
    len: u32,
}

const EMPTY: List = List { first: NIL, len: 0 };

#[derive(Debug)]
pub(super) struct Far<'a> {
    chunks: &'a mut [Chunk],
    /// The first chunk that is not in use.
    free: u32,
    lists: [[List; VALUES]; DIGITS],
    /// Of each digit the values whose lists are not empty, one bit each.
    used: [u64; DIGITS],
    len: usize,
    border: u64,
}

/// The highest digit in which two deadlines differ; they do.
fn digit_apart(a: u64, b: u64) -> usize {
    ((a ^ b).ilog2() / DIGIT_BITS) as usize
}

fn value_at(deadline: u64, digit: usize) -> usize {
    (deadline >> (digit as u32 * DIGIT_BITS)) as usize % VALUES
}

impl<'a> Far<'a> {
    pub(super) fn new(chunks: &'a mut [Chunk]) -> Self {
        let count = chunks.len();
        for (at, chunk) in chunks.iter_mut().enumerate() {
            *chunk = Chunk {
                next: if at + 1 < count { at as u32 + 1 } else { NIL },
                ..Chunk::default()
            };
        }
        Far {
            free: if count > 0 { 0 } else { NIL },
            chunks,
            lists: [[EMPTY; VALUES]; DIGITS],
            used: [0; DIGITS],
            len: 0,
            border: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether an entry of this deadline belongs here.
    #[inline]
    pub(super) fn takes(&self, deadline: u64) -> bool {
        crate::clock::before(self.border, deadline)
    }

    /// Moves the border while nothing is beyond it.
    pub(super) fn set_border(&mut self, border: u64) {
        debug_assert!(self.len == 0);
        self.border = border;
    }

    /// Moves the border nearer. What is beyond the new one must be pushed afterwards.
    pub(super) fn bring_border(&mut self, border: u64, places: &mut [Place]) {
        if border == self.border {
            return;
        }
        // Whatever differs from the old border further down differs from the new one where the two
        // borders differ.
        let digit = digit_apart(border, self.border);
        self.border = border;
        for lower in 0..digit {
            while self.used[lower] != 0 {
                let list = self.take_list(lower, self.used[lower].trailing_zeros() as usize);
                self.empty(list, |far, entry| far.push(entry, places));
            }
        }
    }

    /// Takes an entry beyond the border, for which there is room.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry, places: &mut [Place]) {
        let digit = digit_apart(entry.deadline, self.border);
        let value = value_at(entry.deadline, digit);
        let list = &mut self.lists[digit][value];
        let index = list.len as usize % CHUNK;
        if index == 0 {
            let chunk = self.free;
            self.free = self.chunks[chunk as usize].next;
            self.chunks[chunk as usize].next = list.first;
            list.first = chunk;
            self.used[digit] |= 1 << value;
        }
        list.len += 1;
        self.len += 1;
        self.chunks[list.first as usize].entries[index] = entry;
        places[entry.slot() as usize] = Place::far(list.first as usize * STRIDE + index);
    }

    pub(super) fn at(&self, place: usize) -> &Entry {
        &self.chunks[place / STRIDE].entries[place % STRIDE]
    }

    /// Replaces the entry at a place by one of the same deadline and slot.
    pub(super) fn put(&mut self, place: usize, entry: Entry) {
        self.chunks[place / STRIDE].entries[place % STRIDE] = entry;
    }

    /// Takes out the entry at a place. The last of its list goes there.
    pub(super) fn remove(&mut self, place: usize, places: &mut [Place]) -> Entry {
        let entry = *self.at(place);
        let digit = digit_apart(entry.deadline, self.border);
        let value = value_at(entry.deadline, digit);
        let List { first, len } = self.lists[digit][value];
        let index = (len as usize - 1) % CHUNK;
        let last = self.chunks[first as usize].entries[index];
        self.put(place, last);
        places[last.slot() as usize] = Place::far(place);
        self.lists[digit][value].len -= 1;
        self.len -= 1;
        if index == 0 {
            self.lists[digit][value].first = self.free_chunk(first);
        }
        if len == 1 {
            self.used[digit] &= !(1 << value);
        }
        entry
    }

    /// Moves the border beyond the next few entries, gives them to `to`, and returns how many they
    /// were: at most `few`, unless more have the same deadline. 0 only if there is none.
    pub(super) fn next_few(
        &mut self,
        few: usize,
        places: &mut [Place],
        mut to: impl FnMut(Entry, &mut [Place]),
    ) -> usize {
        let mut given = 0;
        while given == 0 {
            let Some(digit) = self.used.iter().position(|&used| used != 0) else {
                break;
            };
            let own = value_at(self.border, digit);
            let ahead = self.used[digit].rotate_right(own as u32).trailing_zeros() as usize;
            let value = (own + ahead) % VALUES;
            let list = self.take_list(digit, value);
            if digit > 0 && list.len as usize > few {
                let shift = digit as u32 * DIGIT_BITS;
                let above = self.border & (u64::MAX << shift) & !((VALUES as u64 - 1) << shift);
                self.border = above | (value as u64) << shift;
                self.empty(list, |far, entry| {
                    if entry.deadline == far.border {
                        to(entry, places);
                        given += 1;
                    } else {
                        far.push(entry, places);
                    }
                });
            } else {
                let before = self.border;
                let mut furthest = 0;
                self.empty(list, |_, entry| {
                    furthest = furthest.max(entry.deadline.wrapping_sub(before));
                    to(entry, places);
                    given += 1;
                });
                self.border = before.wrapping_add(furthest);
            }
        }
        given
    }

    fn take_list(&mut self, digit: usize, value: usize) -> List {
        self.used[digit] &= !(1 << value);
        let list = core::mem::replace(&mut self.lists[digit][value], EMPTY);
        self.len -= list.len as usize;
        list
    }

    /// Gives all entries of a list that was taken out to `to`.
    fn empty(&mut self, mut list: List, mut to: impl FnMut(&mut Self, Entry)) {
        while list.len > 0 {
            let len = (list.len - 1) % CHUNK as u32 + 1;
            // It is far, and will be here when this one is done.
            self.look_at(self.chunks[list.first as usize].next);
            for index in 0..len as usize {
                to(self, self.chunks[list.first as usize].entries[index]);
            }
            list.first = self.free_chunk(list.first);
            list.len -= len;
        }
    }

    /// Reads what is in a chunk, if there is one. Changes nothing.
    fn look_at(&self, chunk: u32) {
        let seen = self.chunks.get(chunk as usize).map_or(0, |chunk| {
            let every_line = chunk.entries.iter().step_by(4);
            every_line.fold(0, |seen, entry| seen ^ entry.deadline)
        });
        black_box(seen);
    }

    /// Frees a chunk; returns the one after it.
    fn free_chunk(&mut self, chunk: u32) -> u32 {
        let next = core::mem::replace(&mut self.chunks[chunk as usize].next, self.free);
        self.free = chunk;
        next
    }
}
