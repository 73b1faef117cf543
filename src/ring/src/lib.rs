//! The user half's side of what it shares with the kernel half and no lock guards: the ring of
//! decisions, the call of the worker, and the log of what a CPU did. Words and their order only, so that all interleavings can
//! be tried (`tests/interleavings.rs`); where the words are is the daemon's business.
//!
//! # The ring of decisions
//!
//! ```text
//! worker                                  kernel half, one CPU at a time (execute.bpf.h)
//!   room   = slots - (head - tail)          take drain_lock, or leave it to who has it
//!   write slots from head on                read head; full barrier; read slots from tail on
//!   publish head (release)                  full barrier; publish tail; full barrier; free drain_lock
//! ```
//!
//! A slot is written only where the tail has passed it, and the tail passes it only after it was
//! read: the worker reads the tail with acquire, which the models here do not show the need of: they
//! pass with a relaxed read, too. A slot is read only before the head, and the head
//! is published only after it was written.
//!
//! # The call
//!
//! ```text
//! worker                                  kernel half (forward.bpf.h)
//!   called_at <- 0                          write an event
//!   full barrier                            full barrier
//!   read all events                         called_at was 0: called_at <- now, ring the doorbell
//! ```
//!
//! Of the two that write first and read afterwards, with a barrier between, at least one sees what
//! the other wrote: the event is read, or the doorbell rings again.
//!
//! # The log of a CPU
//!
//! ```text
//! reader                                  kernel half, run queue locked (watch.bpf.h)
//!   read the slot's number (acquire)        the slot's number <- 0; full barrier
//!   read the record                         write the record
//!   acquire fence                           full barrier
//!   read the number again (relaxed)         the slot's number <- one more than the last
//! ```
//!
//! The kernel half waits for no reader, and goes on over what was not read. A reader who finds the
//! number that comes next, before and after, has read the whole record of that number: where any word
//! of a later record had come in between, the fence would have brought the 0 with it, or what follows.
//! A number that is higher says how many records are lost.

#![no_std]
#![forbid(unsafe_code)]

use core::sync::atomic::{fence, AtomicU64, Ordering};

/// A shared word.
pub trait Word {
    /// Reads it.
    fn load(&self, order: Ordering) -> u64;
    /// Writes it.
    fn store(&self, value: u64, order: Ordering);
    /// Orders all accesses of the caller before this against all after it.
    fn full_barrier();
    /// What others wrote before what the caller has read so far is there for what it reads next.
    fn acquire_fence();
}

// Inlined into other crates, where the order is a constant: the words are read by the million.
impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }

    #[inline]
    fn full_barrier() {
        fence(Ordering::SeqCst);
    }

    #[inline]
    fn acquire_fence() {
        fence(Ordering::Acquire);
    }
}

/// The worker's end of a ring of decisions. Only for the node's worker.
#[derive(Clone, Copy, Debug)]
pub struct Producer<'a, W> {
    /// Decisions written since the load.
    pub head: &'a W,
    /// Decisions read since the load.
    pub tail: &'a W,
    /// Slots of the ring, a power of two.
    pub slots: u64,
}

impl<W: Word> Producer<'_, W> {
    /// Free slots.
    #[must_use]
    pub fn room(&self) -> u64 {
        let head = self.head.load(Ordering::Relaxed);
        self.slots - head.wrapping_sub(self.tail.load(Ordering::Acquire))
    }

    /// Has `put` write each item into a free slot and publishes them together. No more of them than
    /// [`Self::room`].
    pub fn write<T>(&self, items: impl IntoIterator<Item = T>, mut put: impl FnMut(usize, T)) {
        let mut head = self.head.load(Ordering::Relaxed);
        for item in items {
            put((head % self.slots) as usize, item);
            head = head.wrapping_add(1);
        }
        self.head.store(head, Ordering::Release);
    }
}

/// The reader's end of a log that its writer goes on over: each record has its number, from 1 on, in
/// its first word.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogReader {
    /// Records that are read or lost.
    passed: u64,
    /// Those that are lost.
    lost: u64,
}

impl LogReader {
    /// Reads the next record of the log in `slots`, if there is one. Those that it is too late for it
    /// passes over, and counts as lost.
    pub fn next<W: Word, const WORDS: usize>(
        &mut self,
        slots: &[[W; WORDS]],
    ) -> Option<[u64; WORDS]> {
        loop {
            let slot = &slots[(self.passed % slots.len() as u64) as usize];
            let number = slot[0].load(Ordering::Acquire);
            // It is written, or what is there was read the last time round.
            if number <= self.passed {
                return None;
            }
            if number != self.passed + 1 {
                // All slots but this hold the records before that number, or later ones.
                let passed = number - slots.len() as u64;
                self.lost += passed - self.passed;
                self.passed = passed;
                continue;
            }
            let record = core::array::from_fn(|at| slot[at].load(Ordering::Relaxed));
            W::acquire_fence();
            if slot[0].load(Ordering::Relaxed) == number {
                self.passed = number;
                return Some(record);
            }
        }
    }

    /// Records that were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// The worker answers its call: from here on it can be called again, and an event that was written
/// without calling it is there to be read.
pub fn answer_call<W: Word>(called_at: &W) {
    called_at.store(0, Ordering::Relaxed);
    W::full_barrier();
}
