//! The P: the notes of one node about the Gs in its custody, by deadline and by age.
//!
//! # Terms
//!
//! - **slot**: the place of one note. All slots are handed in at the start, on the node that uses
//!   them, and never grow.
//! - **order**: the slots in use by (deadline, arrival): the near ones, due next, in a heap, the far
//!   ones in lists (`p/order.rs`).
//! - **age**: the order of arrival, a doubly linked list from the oldest to the newest.
//! - **table**: the slots in use by pid, so that a G's new note finds its old one.
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
//! once, when it is taken. And what will be wanted soon is looked at many at a time, in loops whose
//! reads do not wait for each other: the notes when they come near, the pids of all events of a step
//! before the first of them is judged ([`P::look_ahead`]).
//!
//! All operations are for the owner only: the node's worker, or a thief that has been handed the
//! P.

mod entry;
mod far;
mod heap;
mod order;
mod table;

use core::hint::black_box;

use crate::{Class, Decision};
use entry::{Entry, ARRIVALS_MAX, SLOTS_MAX};
use order::Order;
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

/// No slot.
const NIL: u32 = u32::MAX;

/// The number of the first arrival. After the last number those present are numbered anew, once in
/// two weeks at a million arrivals a second; beginning shortly before it, every run does that, and
/// every test.
const FIRST_ARRIVAL: u64 = ARRIVALS_MAX - 64;

/// Entries that are kept in a heap: with their notes, links and buckets they fit into half a
/// megabyte, less than a core's own cache.
const NEAR_MAX: usize = 1024;

/// Storage for one note: all of it but the deadline, which is in the order. What it holds is the
/// P's business.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub struct Note {
    deadline_offset: u64,
    slice_ns: u64,
    cookie: u64,
    at_ns: u64,
    allowed_nodes: u64,
    pid: u32,
    generation: u32,
    lease: u16,
    node: u16,
    cpu: u16,
    has_cpu: bool,
    class: Class,
}

const _: () = assert!(size_of::<Note>() == 64, "one cache line");

/// Storage for the neighbours of one note by age. What it holds is the P's business.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    older: u32,
    /// Of a slot that is not in use: the next such slot.
    newer: u32,
}

/// The memory of a P. Its parts are as long as [`Storage::families`], [`Storage::chunks`] and
/// [`Storage::buckets`] say; what is longer is not used.
#[derive(Debug)]
pub struct Storage<'a> {
    /// One for each slot.
    pub notes: &'a mut [Note],
    /// One for each slot.
    pub links: &'a mut [Link],
    /// One for each slot.
    pub places: &'a mut [Place],
    /// See [`Storage::families`].
    pub families: &'a mut [Family],
    /// See [`Storage::chunks`].
    pub chunks: &'a mut [Chunk],
    /// See [`Storage::buckets`].
    pub buckets: &'a mut [Bucket],
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
}

/// The P has no free slot; the G stays where it is, in the kernel half's custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The run queue of one node. See the head of this file.
#[derive(Debug)]
pub struct P<'a> {
    order: Order<'a>,
    table: Table<'a>,
    notes: &'a mut [Note],
    links: &'a mut [Link],
    /// The first slot that is not in use. Of all these the one used last comes first: it is near.
    free: u32,
    oldest: u32,
    newest: u32,
    /// The number of the next arrival.
    arrivals: u64,
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
            links,
            places,
            families,
            chunks,
            buckets,
        } = storage;
        let most = [
            notes.len(),
            links.len(),
            places.len(),
            (families.len() * 4).saturating_sub(4),
            chunks.len().saturating_sub(far::CHUNKS_WITH_GAPS) * far::CHUNK,
            buckets.len() / 2,
            SLOTS_MAX,
        ];
        let slots = most.into_iter().fold(usize::MAX, usize::min);
        let notes = &mut notes[..slots];
        notes.fill(Note::default());
        let links = &mut links[..slots];
        for (index, link) in links.iter_mut().enumerate() {
            let next = index + 1;
            *link = Link {
                older: NIL,
                newer: if next < slots { next as u32 } else { NIL },
            };
        }
        P {
            order: Order::new(families, chunks, places, near_max),
            table: Table::new(buckets),
            free: if slots > 0 { 0 } else { NIL },
            notes,
            links,
            oldest: NIL,
            newest: NIL,
            arrivals: FIRST_ARRIVAL,
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
        let Queued {
            decision,
            at_ns,
            allowed_nodes,
        } = queued;
        let mut found = self.table.find(decision.pid);
        if let Ok(slot) = found {
            self.take(slot);
            found = self.table.find(decision.pid);
        }
        let (Err(bucket), Some(note)) = (found, self.notes.get_mut(self.free as usize)) else {
            return Err(Full);
        };
        let slot = self.free;
        *note = Note {
            deadline_offset: decision.deadline_offset,
            slice_ns: decision.slice_ns,
            cookie: decision.cookie,
            at_ns,
            allowed_nodes,
            pid: decision.pid,
            generation: decision.generation,
            lease: decision.lease,
            node: decision.node,
            cpu: decision.cpu.unwrap_or_default(),
            has_cpu: decision.cpu.is_some(),
            class: decision.class,
        };
        self.append(slot);
        self.table.insert(bucket, decision.pid, slot);
        if self.arrivals == ARRIVALS_MAX {
            self.renumber();
        }
        self.order
            .push(Entry::new(decision.deadline, self.arrivals, slot));
        self.arrivals += 1;
        Ok(())
    }

    /// Takes the lease from every note.
    pub fn end_leases(&mut self) {
        for note in self.notes.iter_mut() {
            note.lease = 0;
        }
    }

    /// The note that is due first.
    #[must_use]
    pub fn first(&self) -> Option<Queued> {
        self.order.first().map(|entry| self.queued(entry))
    }

    /// The note that is held longest.
    #[must_use]
    pub fn oldest(&self) -> Option<Queued> {
        self.get(self.oldest)
    }

    /// When the G whose note is held longest was enqueued.
    #[must_use]
    pub fn oldest_at_ns(&self) -> Option<u64> {
        let note = self.notes.get(self.oldest as usize)?;
        Some(note.at_ns)
    }

    /// Whether the note that is held longest is due first.
    #[must_use]
    pub fn oldest_is_first(&self) -> bool {
        self.order
            .first()
            .is_some_and(|entry| entry.slot() == self.oldest)
    }

    /// Gives out the note that is due first.
    pub fn pop_first(&mut self) -> Option<Queued> {
        let first = self.order.first()?.slot();
        Some(self.take(first))
    }

    /// Gives out the note that is held longest.
    pub fn pop_oldest(&mut self) -> Option<Queued> {
        (self.oldest != NIL).then(|| self.take(self.oldest))
    }

    /// Gives out the note about `pid`.
    pub fn remove(&mut self, pid: u32) -> Option<Queued> {
        let slot = self.table.find(pid).ok()?;
        Some(self.take(slot))
    }

    /// The notes from the oldest to the newest.
    pub fn by_age(&self) -> impl Iterator<Item = Queued> + '_ {
        let mut slot = self.oldest;
        core::iter::from_fn(move || {
            let queued = self.get(slot)?;
            slot = self.links[slot as usize].newer;
            Some(queued)
        })
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
        let mut slot = self.oldest;
        while let (true, Some(queued)) = (taken < most, self.get(slot)) {
            let newer = self.links[slot as usize].newer;
            if wanted(&queued) {
                to(self.take(slot));
                taken += 1;
            }
            slot = newer;
        }
        taken
    }

    /// The note at `slot`, in use or NIL.
    fn get(&self, slot: u32) -> Option<Queued> {
        (slot != NIL).then(|| self.queued(self.order.of(slot)))
    }

    #[inline]
    fn queued(&self, entry: &Entry) -> Queued {
        let note = &self.notes[entry.slot() as usize];
        Queued {
            decision: Decision {
                deadline: entry.deadline,
                deadline_offset: note.deadline_offset,
                slice_ns: note.slice_ns,
                cookie: note.cookie,
                pid: note.pid,
                generation: note.generation,
                lease: note.lease,
                node: note.node,
                cpu: note.has_cpu.then_some(note.cpu),
                class: note.class,
            },
            at_ns: note.at_ns,
            allowed_nodes: note.allowed_nodes,
        }
    }

    /// Frees the slot at `slot`, which is in use.
    #[inline]
    fn take(&mut self, slot: u32) -> Queued {
        let (entry, refilled) = self.order.remove(slot);
        let queued = self.queued(&entry);
        self.table.remove(queued.decision.pid);
        self.unlink(slot);
        if refilled {
            self.look_at_near();
        }
        queued
    }

    /// Looks up where these pids stand, which makes their [`Self::push`] cheaper if it comes soon.
    /// Changes nothing.
    pub fn look_ahead(&self, pids: impl Iterator<Item = u32>) {
        black_box(pids.fold(0, |all, pid| all ^ self.table.look_at(pid)));
    }

    /// Looks at all that is touched when the oldest notes are taken. Changes nothing.
    pub(crate) fn look_at_oldest(&self, most: usize) {
        let mut slot = self.oldest;
        let mut seen = 0;
        for _ in 0..most {
            let Some(link) = self.links.get(slot as usize) else {
                break;
            };
            let bucket = self.table.look_at(self.notes[slot as usize].pid);
            seen ^= bucket ^ self.order.of(slot).slot();
            slot = link.newer;
        }
        black_box(seen);
    }

    /// Looks at all that is touched when the near notes are taken. Changes nothing.
    fn look_at_near(&self) {
        let link = |slot: u32| self.links.get(slot as usize).map_or(0, |link| link.older);
        let seen = self.order.near().fold(0, |seen, entry| {
            let slot = entry.slot() as usize;
            let Link { older, newer } = self.links[slot];
            let bucket = self.table.look_at(self.notes[slot].pid);
            seen ^ bucket ^ link(older) ^ link(newer)
        });
        black_box(seen);
    }

    /// Takes a slot from those not in use, and makes it the newest.
    fn append(&mut self, slot: u32) {
        let link = &mut self.links[slot as usize];
        self.free = link.newer;
        *link = Link {
            older: self.newest,
            newer: NIL,
        };
        match self.links.get_mut(self.newest as usize) {
            Some(link) => link.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    /// Puts a slot back to those not in use.
    fn unlink(&mut self, slot: u32) {
        let Link { older, newer } = self.links[slot as usize];
        match self.links.get_mut(older as usize) {
            Some(link) => link.newer = newer,
            None => self.oldest = newer,
        }
        match self.links.get_mut(newer as usize) {
            Some(link) => link.older = older,
            None => self.newest = older,
        }
        self.links[slot as usize].newer = self.free;
        self.free = slot;
    }

    /// Numbers the arrivals of all notes anew, in their order.
    fn renumber(&mut self) {
        self.arrivals = 0;
        // The newest is not in the heap yet.
        let mut slot = self.oldest;
        while slot != self.newest {
            self.order.renumber(slot, self.arrivals);
            self.arrivals += 1;
            slot = self.links[slot as usize].newer;
        }
    }
}
