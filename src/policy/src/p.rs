//! The P: the notes of one node about the Gs in its custody, by deadline and by age.
//!
//! # Terms
//!
//! - **slot**: the place of one note. All slots are handed in at the start, on the node that uses
//!   them, and never grow.
//! - **order**: the slots in use by (deadline, arrival): the near ones, due next, in a heap, the far
//!   ones in lists (`p/order.rs`).
//! - **age**: the order of arrival, in a ring (`p/age.rs`).
//! - **table**: the slots by pid, so that a G's new note finds its old one, and a G that comes back
//!   the slot that it had (`p/slots.rs`).
//!
//! # Properties
//!
//! - A G has at most one note: a new one takes the place of the old one, and is the newest.
//! - Notes come out by deadline, those of equal deadline in the order of arrival, or by age.
//! - A full P refuses a new note and is otherwise as before.
//! - `push` and `pop` cost O(log n), `pop` only on average, finding a pid O(1) on average; nothing
//!   allocates.
//!
//! # Layout
//!
//! With 100,000 Gs most of what is touched is in no near cache, and what a decision costs is how
//! often it waits for one that is far. So what is searched is dense and by itself: the order has
//! the deadlines and the table the pids, and neither reads a note. A note is one cache line, read
//! once, when it is taken, and written where it was read, when its G is back. And what will be wanted
//! soon is looked at many at a time, in loops whose reads do not wait for each other: the notes when
//! they come near, the pids of all events of a step before the first of them is judged
//! ([`P::look_ahead`]).
//!
//! All operations are for the owner only: the node's worker, or a thief that has been handed the
//! P.

mod age;
mod entry;
mod far;
mod heap;
mod order;
mod slots;
mod table;

use core::hint::black_box;

use crate::Decision;
use age::Ages;
use entry::{Entry, ARRIVALS_MAX, SLOTS_MAX};
use order::Order;
use slots::Slots;
use table::Table;

pub use entry::Place;
pub use far::Chunk;
pub use heap::Family;
pub use table::Bucket;

/// A note: the decision about a G as it was judged, and what is needed until it is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// What is handed over when the G's turn comes.
    pub decision: Decision,
    /// When the G was enqueued.
    pub at_ns: u64,
    /// Nodes where the G may run, one bit each.
    pub allowed_nodes: u64,
}

/// The number of the first arrival. After the last number those present are numbered anew, once in
/// two weeks at a million arrivals a second; beginning shortly before it, every run does that, and
/// every test.
const FIRST_ARRIVAL: u64 = ARRIVALS_MAX - 64;

/// Entries that are kept in a heap: with their notes and buckets they fit into half a megabyte, less
/// than a core's own cache.
const NEAR_MAX: usize = 1024;

/// Storage for one note. What it holds is the P's business.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub struct Note(Queued);

const _: () = assert!(size_of::<Note>() == 64, "one cache line");

/// The memory of a P. Its parts are as long as the functions of their names say; what is longer is
/// not used.
#[derive(Debug)]
pub struct Storage<'a> {
    /// One for each slot.
    pub notes: &'a mut [Note],
    /// One for each slot.
    pub places: &'a mut [Place],
    /// See [`Storage::families`].
    pub families: &'a mut [Family],
    /// See [`Storage::chunks`].
    pub chunks: &'a mut [Chunk],
    /// See [`Storage::buckets`].
    pub buckets: &'a mut [Bucket],
    /// See [`Storage::arrivals`].
    pub arrivals: &'a mut [u32],
    /// See [`Storage::held`].
    pub held: &'a mut [u64],
    /// See [`Storage::used`].
    pub used: &'a mut [u64],
}

impl Storage<'_> {
    /// Families of a P with so many slots.
    #[must_use]
    pub const fn families(slots: usize) -> usize {
        // The first entry is alone in its family.
        slots.div_ceil(4) + 1
    }

    /// Chunks of a P with so many slots: each list has one that is not full.
    #[must_use]
    pub const fn chunks(slots: usize) -> usize {
        slots.div_ceil(far::CHUNK) + far::CHUNKS_WITH_GAPS
    }

    /// Buckets of a P with so many slots: two for each, so that most pids stand at home.
    #[must_use]
    pub const fn buckets(slots: usize) -> usize {
        slots * 2
    }

    /// Arrivals that the ring of a P with so many slots has room for.
    #[must_use]
    pub const fn arrivals(slots: usize) -> usize {
        age::arrivals(slots)
    }

    /// Words for a bit of each of these.
    #[must_use]
    pub const fn held(slots: usize) -> usize {
        age::held(slots)
    }

    /// Words for a bit of each slot.
    #[must_use]
    pub const fn used(slots: usize) -> usize {
        slots::used(slots)
    }
}

/// The P has no free slot; the G stays where it is, in the kernel half's custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The run queue of one node. See the head of this file.
#[derive(Debug)]
pub struct P<'a> {
    order: Order<'a>,
    ages: Ages<'a>,
    table: Table<'a>,
    slots: Slots<'a>,
    notes: &'a mut [Note],
}

impl<'a> P<'a> {
    /// An empty P in `storage`, all of which is written, so that the caller's node is the one that
    /// touches it first. Slots past 2^24 are not used.
    #[must_use]
    pub fn new(storage: Storage<'a>) -> Self {
        Self::with_near(storage, NEAR_MAX)
    }

    /// The same, with room for so many notes in the heap that keeps those that are due next: for
    /// tests, in which few Gs are to do what many do.
    #[must_use]
    pub fn with_near(storage: Storage<'a>, near_max: usize) -> Self {
        let Storage {
            notes,
            places,
            families,
            chunks,
            buckets,
            arrivals,
            held,
            used,
        } = storage;
        let most = [
            notes.len(),
            places.len(),
            (families.len() * 4).saturating_sub(4),
            chunks.len().saturating_sub(far::CHUNKS_WITH_GAPS) * far::CHUNK,
            buckets.len() / 2,
            age::slots(arrivals.len(), held.len()),
            slots::slots(used.len()),
            SLOTS_MAX,
        ];
        let slots = most.into_iter().fold(usize::MAX, usize::min);
        let notes = &mut notes[..slots];
        notes.fill(Note::default());
        P {
            order: Order::new(families, chunks, places, near_max),
            ages: Ages::new(arrivals, held, slots, FIRST_ARRIVAL),
            table: Table::new(buckets),
            slots: Slots::new(used, slots),
            notes,
        }
    }

    /// Notes held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether no note is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that can be held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.notes.len()
    }

    /// Takes a note, in place of an older one of the same G if there is one.
    #[inline]
    pub fn push(&mut self, queued: Queued) -> Result<(), Full> {
        let slot = self.slot_for(queued.decision.pid).ok_or(Full)?;
        self.notes[slot as usize] = Note(queued);
        if self.ages.is_full() || self.ages.next() == ARRIVALS_MAX {
            self.ages
                .renumber(|slot, arrival| self.order.renumber(slot, arrival));
        }
        self.order
            .push(Entry::new(queued.decision.deadline, self.ages.next(), slot));
        self.ages.push(slot);
        self.slots.set_used(slot);
        Ok(())
    }

    /// A slot for the note of `pid`, which has none then: the one that it had, if that is not another
    /// G's meanwhile.
    #[inline]
    fn slot_for(&mut self, pid: u32) -> Option<u32> {
        if let Ok(slot) = self.table.find(pid) {
            if self.slots.is_used(slot) {
                self.take(slot);
            }
            return Some(slot);
        }
        if self.len() == self.capacity() {
            return None;
        }
        let slot = self.slots.next_free()?;
        let had_it = self.get(slot).decision.pid;
        if self.table.find(had_it) == Ok(slot) {
            self.table.remove(had_it);
        }
        let bucket = self.table.find(pid).err()?;
        self.table.insert(bucket, pid, slot);
        Some(slot)
    }

    /// Takes the lease from every note.
    pub fn end_leases(&mut self) {
        for note in self.notes.iter_mut() {
            note.0.decision.lease = 0;
        }
    }

    /// The note that is due first.
    #[must_use]
    pub fn first(&self) -> Option<&Queued> {
        self.order.first().map(|entry| self.get(entry.slot()))
    }

    /// The note that is held longest.
    #[must_use]
    pub fn oldest(&self) -> Option<&Queued> {
        let oldest = self.ages.slot(self.ages.oldest()?);
        Some(self.get(oldest))
    }

    /// When the G whose note is held longest was enqueued.
    #[must_use]
    pub fn oldest_at_ns(&self) -> Option<u64> {
        Some(self.oldest()?.at_ns)
    }

    /// Whether the note that is held longest is due first.
    #[must_use]
    pub fn oldest_is_first(&self) -> bool {
        self.order.first().map(Entry::arrival) == self.ages.oldest()
    }

    /// Gives out the note that is due first.
    pub fn pop_first(&mut self) -> Option<&Queued> {
        let first = self.order.first()?.slot();
        Some(self.take(first))
    }

    /// Gives out the note that is held longest.
    pub fn pop_oldest(&mut self) -> Option<&Queued> {
        let oldest = self.ages.slot(self.ages.oldest()?);
        Some(self.take(oldest))
    }

    /// Gives out the note about `pid`.
    pub fn remove(&mut self, pid: u32) -> Option<&Queued> {
        let slot = self.table.find(pid).ok()?;
        self.slots.is_used(slot).then(|| self.take(slot))
    }

    /// The notes from the oldest to the newest.
    pub fn by_age(&self) -> impl Iterator<Item = &Queued> {
        let first = self.ages.oldest();
        core::iter::successors(first, |&arrival| self.ages.after(arrival))
            .map(|arrival| self.get(self.ages.slot(arrival)))
    }

    /// Gives out up to `most` of the notes that `wanted` names, from the oldest to the newest,
    /// each to `to`.
    pub fn drain_by_age(
        &mut self,
        most: usize,
        mut wanted: impl FnMut(&Queued) -> bool,
        mut to: impl FnMut(Queued),
    ) -> usize {
        let mut taken = 0;
        let mut next = self.ages.oldest();
        while let (true, Some(arrival)) = (taken < most, next) {
            next = self.ages.after(arrival);
            let slot = self.ages.slot(arrival);
            if wanted(self.get(slot)) {
                to(*self.take(slot));
                taken += 1;
            }
        }
        taken
    }

    /// The note at `slot`, or that was there last.
    #[inline]
    fn get(&self, slot: u32) -> &Queued {
        &self.notes[slot as usize].0
    }

    /// Frees the slot at `slot`, which is in use.
    #[inline]
    fn take(&mut self, slot: u32) -> &Queued {
        let (entry, refilled) = self.order.remove(slot);
        if self.ages.remove(entry.arrival()) {
            // Whose age will be asked for next.
            black_box(self.oldest().map_or(0, |oldest| oldest.at_ns));
        }
        self.slots.set_free(slot);
        if refilled {
            self.look_at_near();
        }
        self.get(slot)
    }

    /// Looks up where these pids stand, which makes their [`Self::push`] cheaper if it comes soon.
    /// Changes nothing.
    pub fn look_ahead(&self, pids: impl Iterator<Item = u32>) {
        black_box(pids.fold(0, |all, pid| all ^ self.table.look_at(pid)));
    }

    /// Looks at all that is touched when the oldest notes are taken. Changes nothing.
    pub(crate) fn look_at_oldest(&self, most: usize) {
        let first = self.ages.oldest();
        let oldest = core::iter::successors(first, |&arrival| self.ages.after(arrival));
        black_box(oldest.take(most).fold(0, |seen, arrival| {
            let slot = self.ages.slot(arrival);
            seen ^ self.get(slot).decision.pid ^ self.order.of(slot).slot()
        }));
    }

    /// Looks at the near notes. Changes nothing.
    fn look_at_near(&self) {
        black_box(
            self.order
                .near()
                .fold(0, |seen, entry| seen ^ self.get(entry.slot()).decision.pid),
        );
    }
}
