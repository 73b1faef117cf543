//! The slots in use, by pid: a hash table where a pid stands at its bucket or soon after it.
//!
//! No pid stands after an empty bucket that it could have. So a search ends at the first empty
//! one, and taking a pid out moves others up into the gap.

/// No slot.
const NIL: u32 = u32::MAX;

/// Storage for a pid and its slot. What it holds is the table's business.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    pid: u32,
    slot: u32,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket { pid: 0, slot: NIL }
    }
}

#[derive(Debug)]
pub(super) struct Table<'a> {
    buckets: &'a mut [Bucket],
}

impl<'a> Table<'a> {
    pub(super) fn new(buckets: &'a mut [Bucket]) -> Self {
        buckets.fill(Bucket::default());
        Table { buckets }
    }

    /// The slot of `pid`; without one, the bucket where it would stand.
    pub(super) fn find(&self, pid: u32) -> Result<u32, usize> {
        let mut at = self.home(pid);
        while let Some(bucket) = self.buckets.get(at) {
            if bucket.slot == NIL {
                break;
            }
            if bucket.pid == pid {
                return Ok(bucket.slot);
            }
            at = self.after(at);
        }
        Err(at)
    }

    /// Reads the bucket where `pid` stands or from which on it does.
    pub(super) fn look_at(&self, pid: u32) -> u32 {
        self.buckets.get(self.home(pid)).map_or(0, |at| at.slot)
    }

    /// Notes the slot of a pid that is not in the table, at the bucket that [`Self::find`] gave.
    pub(super) fn insert(&mut self, at: usize, pid: u32, slot: u32) {
        self.buckets[at] = Bucket { pid, slot };
    }

    /// Takes out a pid that is in the table.
    pub(super) fn remove(&mut self, pid: u32) {
        let mut gap = self.home(pid);
        while self.buckets[gap].pid != pid || self.buckets[gap].slot == NIL {
            gap = self.after(gap);
        }
        let mut at = self.after(gap);
        while self.buckets[at].slot != NIL {
            // Whoever stands as far from home as the gap is, or farther, may stand in the gap.
            let home = self.home(self.buckets[at].pid);
            if self.steps(home, at) >= self.steps(gap, at) {
                self.buckets[gap] = self.buckets[at];
                gap = at;
            }
            at = self.after(at);
        }
        self.buckets[gap] = Bucket::default();
    }

    /// Pids come in runs and a multiplication by an odd number spreads those over the high half of
    /// the product, which is then scaled down to the number of buckets.
    fn home(&self, pid: u32) -> usize {
        /// 2^32 divided by the golden ratio: neighbours land far apart.
        const SPREAD: u32 = 0x9e37_79b1;
        let spread = u64::from(pid.wrapping_mul(SPREAD));
        ((spread * self.buckets.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        match at + 1 < self.buckets.len() {
            true => at + 1,
            false => 0,
        }
    }

    /// How far it is from one bucket on to another.
    fn steps(&self, from: usize, to: usize) -> usize {
        match to >= from {
            true => to - from,
            false => to + self.buckets.len() - from,
        }
    }
}
