// SPDX-License-Identifier: GPL-2.0-only
//! Room for what was recorded last: a queue of bounded length whose oldest gives way.
//!
//! It lies in memory of its own, since the heap of this program is one of 64 MiB, made for the
//! daemon. Memory that was never written to costs nothing.

use std::io;
use std::ops::Range;

/// The last `capacity` values that were pushed, in that order.
pub struct Store<T: Copy> {
    first: *mut T,
    capacity: usize,
    /// How many were pushed, and how many of them were let go.
    pushed: usize,
    gone: usize,
}

impl<T: Copy> Store<T> {
    /// With room for so many, one at least.
    ///
    /// # Errors
    /// If the system has no memory.
    pub fn new(capacity: usize) -> io::Result<Self> {
        let capacity = capacity.max(1);
        let bytes = capacity * size_of::<T>();
        // SAFETY: a new anonymous mapping overlaps no other memory.
        let addr = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if addr == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A fault for each 4 KiB would cost more than what is written there. A kernel that has no
        // large pages refuses, which does no harm.
        // SAFETY: the advice is about the mapping just made, and changes nothing of what it holds.
        unsafe { libc::madvise(addr, bytes, libc::MADV_HUGEPAGE) };
        Ok(Self {
            first: addr.cast(),
            capacity,
            pushed: 0,
            gone: 0,
        })
    }

    /// Where the values are that are there: each keeps its number for as long as it is.
    pub fn numbers(&self) -> Range<usize> {
        self.gone..self.pushed
    }

    /// Adds a value. Returns whether another had to go for it.
    pub fn push(&mut self, value: T) -> bool {
        let full = self.pushed - self.gone == self.capacity;
        if full {
            self.gone += 1;
        }
        // SAFETY: within the mapping, which is page-aligned and has room for `capacity` of them.
        unsafe { self.first.add(self.pushed % self.capacity).write(value) };
        self.pushed += 1;
        full
    }

    /// Lets the oldest go.
    pub fn pop(&mut self) {
        if self.gone < self.pushed {
            self.gone += 1;
        }
    }

    /// The value with that number, if it is there.
    pub fn get(&self, number: usize) -> Option<&T> {
        // SAFETY: of the numbers that are there each was written, at this place, and not replaced.
        self.numbers()
            .contains(&number)
            .then(|| unsafe { &*self.first.add(number % self.capacity) })
    }

    /// The number of the first value that is not `before`, all of which come first.
    pub fn partition_point(&self, before: impl Fn(&T) -> bool) -> usize {
        let Range {
            start: mut low,
            end: mut high,
        } = self.numbers();
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).is_some_and(&before) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }
}

impl<T: Copy> Drop for Store<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and no reference outlives `self`.
        unsafe { libc::munmap(self.first.cast(), self.capacity * size_of::<T>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// As a queue that is cut at its front.
        #[test]
        fn the_last_are_kept_in_order(
            capacity in 1usize..9,
            steps in proptest::collection::vec(proptest::option::weighted(0.7, 0u64..5), 0..60),
        ) {
            let mut store = Store::new(capacity).unwrap();
            let mut model = VecDeque::new();
            let mut next = 0;
            for step in steps {
                match step {
                    Some(more) => {
                        next += more;
                        let full = model.len() == capacity;
                        if full {
                            model.pop_front();
                        }
                        model.push_back(next);
                        prop_assert_eq!(store.push(next), full);
                    }
                    None => {
                        model.pop_front();
                        store.pop();
                    }
                }
                let kept: Vec<u64> = store.numbers().map(|n| *store.get(n).unwrap()).collect();
                prop_assert_eq!(&kept, &Vec::from(model.clone()));
                let at = store.partition_point(|&value| value < 20);
                prop_assert_eq!(at - store.numbers().start, kept.partition_point(|&v| v < 20));
                prop_assert_eq!(store.get(store.numbers().end), None);
            }
        }
    }
}
