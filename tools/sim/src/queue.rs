//! A queue of the kernel half: by virtual time, equals in the order of arrival.

use std::cmp::Ordering;

use mpg_policy::clock;

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: u64,
    arrival: u64,
    g: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: Vec<Entry>,
    arrivals: u64,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn insert(&mut self, g: usize, deadline: u64) {
        self.entries.push(Entry {
            deadline,
            arrival: self.arrivals,
            g,
        });
        self.arrivals += 1;
    }

    /// The first G that `may`.
    pub(crate) fn first(&self, may: impl Fn(usize) -> bool) -> Option<usize> {
        self.first_entry(may).map(|at| self.entries[at].g)
    }

    /// Deadline of the first G of all.
    pub(crate) fn first_deadline(&self) -> Option<u64> {
        self.first_entry(|_| true)
            .map(|at| self.entries[at].deadline)
    }

    /// The Gs and their deadlines, the first one first.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (usize, u64)> {
        let mut entries = self.entries.clone();
        // Deadlines wrap, but those of one queue are never half the range apart.
        entries.sort_by(|a, b| match a.deadline == b.deadline {
            true => a.arrival.cmp(&b.arrival),
            false if clock::before(a.deadline, b.deadline) => Ordering::Less,
            false => Ordering::Greater,
        });
        entries.into_iter().map(|entry| (entry.g, entry.deadline))
    }

    pub(crate) fn remove(&mut self, g: usize) -> bool {
        match self.entries.iter().position(|entry| entry.g == g) {
            Some(at) => {
                self.entries.swap_remove(at);
                true
            }
            None => false,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.entries.iter().map(|entry| entry.g)
    }

    fn first_entry(&self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let before = |a: &Entry, b: &Entry| match a.deadline == b.deadline {
            true => a.arrival < b.arrival,
            false => clock::before(a.deadline, b.deadline),
        };
        (0..self.entries.len())
            .filter(|&at| may(self.entries[at].g))
            .reduce(|a, b| {
                if before(&self.entries[b], &self.entries[a]) {
                    b
                } else {
                    a
                }
            })
    }
}
