//! The P: the notes of one node about the Gs in its custody, by deadline and by age.
//!
//! # Terms
//!
//! - **slot**: the place of one note. All slots are handed in at the start, on the node that uses
//!   them, and never grow.
//! - **heap**: a permutation of all slots. The first `len` are in use and in heap order by
//!   (deadline, arrival), the others are free: taking a free slot is taking the next of the heap.
//! - **age**: the order of arrival, a doubly linked list from the oldest to the newest.
//! - **chains**: the notes by hash of their pid, so that a G's new note finds its old one.
//!
//! # Properties
//!
//! - A G has at most one note: a new one takes the place of the old one, and is the newest.
//! - Notes come out by deadline, those of equal deadline in the order of arrival, or by age.
//! - A full P refuses a new note and is otherwise as before.
//! - `push` and `pop` cost O(log n), finding a pid O(1) on average; nothing allocates.
//!
//! All operations are for the owner only: the node's worker, or a thief that has been handed the
//! P.

use crate::{clock, Decision};

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

/// Storage for one note. What it holds is the P's business.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    queued: Queued,
    /// Counts the pushes; orders equal deadlines.
    arrival: u64,
    /// Where in the heap this slot is.
    position: u32,
    older: u32,
    newer: u32,
    /// The next slot of the chain that this slot is in.
    next_in_chain: u32,
    /// Not about this slot: the slot at this place of the heap,
    heap: u32,
    /// and the first slot of the chain with this number.
    chain: u32,
}

/// The P has no free slot; the G stays where it is, in the kernel half's custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The run queue of one node. See the head of this file.
#[derive(Debug)]
pub struct P<'a> {
    slots: &'a mut [Slot],
    len: u32,
    oldest: u32,
    newest: u32,
    arrivals: u64,
}

impl<'a> P<'a> {
    /// An empty P in `slots`, all of which are written, so that the caller's node is the one that
    /// touches them first. Slots past 2^32 - 1 are not used.
    #[must_use]
    pub fn new(slots: &'a mut [Slot]) -> Self {
        let usable = slots.len().min(NIL as usize);
        let slots = &mut slots[..usable];
        for (index, slot) in slots.iter_mut().enumerate() {
            let index = index as u32;
            *slot = Slot {
                position: index,
                older: NIL,
                newer: NIL,
                next_in_chain: NIL,
                heap: index,
                chain: NIL,
                ..Slot::default()
            };
        }
        P {
            slots,
            len: 0,
            oldest: NIL,
            newest: NIL,
            arrivals: 0,
        }
    }

    /// Notes held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no note is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Notes that can be held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Takes a note, in place of an older one of the same G if there is one.
    pub fn push(&mut self, queued: Queued) -> Result<(), Full> {
        if self.remove(queued.decision.pid).is_none() && self.len() == self.capacity() {
            return Err(Full);
        }
        let index = self.slot_at(self.len);
        let slot = &mut self.slots[index as usize];
        slot.queued = queued;
        slot.arrival = self.arrivals;
        self.arrivals = self.arrivals.wrapping_add(1);
        self.len += 1;
        self.append(index);
        self.chain(index);
        self.sift_up(self.len - 1);
        Ok(())
    }

    /// The note that is due first.
    #[must_use]
    pub fn first(&self) -> Option<&Queued> {
        self.get(self.first_slot())
    }

    /// The note that is held longest.
    #[must_use]
    pub fn oldest(&self) -> Option<&Queued> {
        self.get(self.oldest)
    }

    /// When the G whose note is held longest was enqueued.
    #[must_use]
    pub fn oldest_at_ns(&self) -> Option<u64> {
        self.oldest().map(|queued| queued.at_ns)
    }

    /// Gives out the note that is due first.
    pub fn pop_first(&mut self) -> Option<Queued> {
        self.take(self.first_slot())
    }

    /// Gives out the note that is held longest.
    pub fn pop_oldest(&mut self) -> Option<Queued> {
        self.take(self.oldest)
    }

    /// Gives out the note about `pid`.
    pub fn remove(&mut self, pid: u32) -> Option<Queued> {
        let mut index = self.slots.get(self.bucket(pid))?.chain;
        while index != NIL && self.slots[index as usize].queued.decision.pid != pid {
            index = self.slots[index as usize].next_in_chain;
        }
        self.take(index)
    }

    /// The notes from the oldest to the newest.
    pub fn by_age(&self) -> impl Iterator<Item = &Queued> + '_ {
        let mut index = self.oldest;
        core::iter::from_fn(move || {
            let slot = self.slots.get(index as usize)?;
            index = slot.newer;
            Some(&slot.queued)
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
        let mut index = self.oldest;
        while taken < most && index != NIL {
            let slot = &self.slots[index as usize];
            let newer = slot.newer;
            if wanted(&slot.queued) {
                if let Some(queued) = self.take(index) {
                    to(queued);
                    taken += 1;
                }
            }
            index = newer;
        }
        taken
    }

    fn get(&self, index: u32) -> Option<&Queued> {
        self.slots.get(index as usize).map(|slot| &slot.queued)
    }

    fn first_slot(&self) -> u32 {
        match self.is_empty() {
            true => NIL,
            false => self.slot_at(0),
        }
    }

    /// Frees the slot in use at `index`, if that is one.
    fn take(&mut self, index: u32) -> Option<Queued> {
        let slot = self.slots.get(index as usize)?;
        let (queued, position) = (slot.queued, slot.position);
        debug_assert!(position < self.len, "only a slot in use is freed");
        self.unlink(index);
        self.unchain(index);
        self.len -= 1;
        let last = self.len;
        self.swap(position, last);
        if position < last {
            // What came from the end may belong higher up here as well as lower down.
            let settled = self.sift_up(position);
            self.sift_down(settled);
        }
        Some(queued)
    }

    // --- the heap ---

    fn slot_at(&self, position: u32) -> u32 {
        self.slots[position as usize].heap
    }

    fn due_before(&self, a: u32, b: u32) -> bool {
        let a = &self.slots[self.slot_at(a) as usize];
        let b = &self.slots[self.slot_at(b) as usize];
        let (first, second) = (a.queued.decision.deadline, b.queued.decision.deadline);
        match first == second {
            true => clock::before(a.arrival, b.arrival),
            false => clock::before(first, second),
        }
    }

    fn swap(&mut self, a: u32, b: u32) {
        let (slot_a, slot_b) = (self.slot_at(a), self.slot_at(b));
        self.slots[a as usize].heap = slot_b;
        self.slots[b as usize].heap = slot_a;
        self.slots[slot_a as usize].position = b;
        self.slots[slot_b as usize].position = a;
    }

    fn sift_up(&mut self, mut position: u32) -> u32 {
        while position > 0 {
            let parent = (position - 1) / 2;
            if !self.due_before(position, parent) {
                break;
            }
            self.swap(position, parent);
            position = parent;
        }
        position
    }

    fn sift_down(&mut self, mut position: u32) {
        loop {
            let left = u64::from(position) * 2 + 1;
            let mut first = position;
            for child in [left, left + 1] {
                if child < u64::from(self.len) && self.due_before(child as u32, first) {
                    first = child as u32;
                }
            }
            if first == position {
                return;
            }
            self.swap(position, first);
            position = first;
        }
    }

    // --- the list by age ---

    fn append(&mut self, index: u32) {
        let newest = self.newest;
        let slot = &mut self.slots[index as usize];
        slot.older = newest;
        slot.newer = NIL;
        match self.slots.get_mut(newest as usize) {
            Some(slot) => slot.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
    }

    fn unlink(&mut self, index: u32) {
        let Slot { older, newer, .. } = self.slots[index as usize];
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }

    // --- the chains by pid ---

    /// As many chains as slots. Pids come in runs and a multiplication by an odd number spreads
    /// those over the high half of the product, which is then scaled down to the number of chains.
    fn bucket(&self, pid: u32) -> usize {
        /// 2^32 divided by the golden ratio: neighbours land far apart.
        const SPREAD: u32 = 0x9e37_79b1;
        let spread = u64::from(pid.wrapping_mul(SPREAD));
        ((spread * self.slots.len() as u64) >> 32) as usize
    }

    fn chain(&mut self, index: u32) {
        let bucket = self.bucket(self.slots[index as usize].queued.decision.pid);
        self.slots[index as usize].next_in_chain = self.slots[bucket].chain;
        self.slots[bucket].chain = index;
    }

    fn unchain(&mut self, index: u32) {
        let Slot {
            queued,
            next_in_chain,
            ..
        } = self.slots[index as usize];
        let bucket = self.bucket(queued.decision.pid);
        if self.slots[bucket].chain == index {
            self.slots[bucket].chain = next_in_chain;
            return;
        }
        let mut before = self.slots[bucket].chain;
        while before != NIL {
            let slot = &mut self.slots[before as usize];
            if slot.next_in_chain == index {
                slot.next_in_chain = next_in_chain;
                return;
            }
            before = slot.next_in_chain;
        }
        debug_assert!(false, "a slot in use is in its chain");
    }
}
