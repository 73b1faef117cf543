//! Slots by deadline and then by arrival: a heap.
//!
//! Each entry has four children, which are one family and one cache line; entries are counted from
//! [`ROOT`], so that families begin at multiples of four. An entry that is taken out leaves a hole,
//! which sinks to the bottom by pulling the first of each family up; the last entry fills it and
//! rises from there, seldom far. That asks nothing of the entry that fills it on the way down, and
//! which child is first is computed without a branch: no guess about it is better than chance.

use core::hint::select_unpredictable;

use super::entry::{Entry, Place};

/// Where the first entry is. No entry is before it.
const ROOT: usize = 3;
/// Children of an entry.
const FOUR: usize = 4;

/// Storage for four entries. What it holds is the heap's business.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub struct Family([Entry; FOUR]);

impl Family {
    /// Which of the four is due first.
    fn first(&self) -> usize {
        let Family(four) = self;
        let earlier = |a: (Entry, usize), b: (Entry, usize)| {
            let b_is_first = b.0.before(&a.0);
            (
                Entry::select(b_is_first, b.0, a.0),
                select_unpredictable(b_is_first, b.1, a.1),
            )
        };
        let left = earlier((four[0], 0), (four[1], 1));
        let right = earlier((four[2], 2), (four[3], 3));
        earlier(left, right).1
    }

    /// Which of the first `count` is due first.
    fn first_of(&self, count: usize) -> usize {
        let before = |a: usize, b: usize| self.0[a].before(&self.0[b]);
        (1..count).fold(0, |first, at| if before(at, first) { at } else { first })
    }
}

/// The heap. Where each entry is, it writes down in `places`, by slot.
#[derive(Debug)]
pub(super) struct Heap<'a> {
    families: &'a mut [Family],
    /// Where the next entry goes.
    end: usize,
}

impl<'a> Heap<'a> {
    pub(super) fn new(families: &'a mut [Family]) -> Self {
        families.fill(Family::default());
        Heap {
            families,
            end: ROOT,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.end - ROOT
    }

    pub(super) fn first(&self) -> Option<&Entry> {
        (self.end > ROOT).then(|| self.at(ROOT))
    }

    /// The entry at a place that [`Self::push`] or a move after it wrote down.
    pub(super) fn at(&self, place: usize) -> &Entry {
        &self.families[place / FOUR].0[place % FOUR]
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        (ROOT..self.end).map(|place| self.at(place))
    }

    /// Takes an entry, for which there is room.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry, places: &mut [Place]) {
        let end = self.end;
        self.end += 1;
        self.rise(end, entry, places);
    }

    /// Takes out the entry at a place.
    #[inline]
    pub(super) fn remove(&mut self, place: usize, places: &mut [Place]) -> Entry {
        let entry = *self.at(place);
        self.end -= 1;
        let last = *self.at(self.end);
        if place < self.end {
            let hole = self.sink(place, places);
            self.rise(hole, last, places);
        }
        entry
    }

    /// Replaces the entry at a place by one that stands in the same order to all others.
    pub(super) fn put(&mut self, place: usize, entry: Entry, places: &mut [Place]) {
        self.families[place / FOUR].0[place % FOUR] = entry;
        places[entry.slot() as usize] = Place::near(place);
    }

    /// Keeps the entries that `stays` says and gives `to` the others.
    pub(super) fn retain(
        &mut self,
        places: &mut [Place],
        stays: impl Fn(&Entry) -> bool,
        mut to: impl FnMut(Entry, &mut [Place]),
    ) {
        // What is kept is built up anew in front of what is still to be looked at.
        let end = core::mem::replace(&mut self.end, ROOT);
        for place in ROOT..end {
            let entry = *self.at(place);
            match stays(&entry) {
                true => self.push(entry, places),
                false => to(entry, places),
            }
        }
    }

    /// Lets a hole sink to where it has no children.
    fn sink(&mut self, mut hole: usize, places: &mut [Place]) -> usize {
        loop {
            let family = hole - (ROOT - 1);
            let children = self.end.saturating_sub(family * FOUR);
            let first = match children {
                0 => return hole,
                1..FOUR => self.families[family].first_of(children),
                _ => self.families[family].first(),
            };
            self.put(hole, self.families[family].0[first], places);
            hole = family * FOUR + first;
        }
    }

    /// Puts an entry into a hole, or above it if it is due before what is there.
    #[inline]
    fn rise(&mut self, mut hole: usize, entry: Entry, places: &mut [Place]) {
        while hole > ROOT {
            let parent = hole / FOUR + (ROOT - 1);
            let above = *self.at(parent);
            if !entry.before(&above) {
                break;
            }
            self.put(hole, above, places);
            hole = parent;
        }
        self.put(hole, entry, places);
    }
}
