//! The memory of a P, for whoever need not place it: tests, benches and the simulator.

use mpg_policy::{Bucket, Chunk, Family, Link, Note, Place, Storage};

/// Owns what a [`Storage`] lends.
pub struct Memory {
    notes: Vec<Note>,
    links: Vec<Link>,
    places: Vec<Place>,
    families: Vec<Family>,
    chunks: Vec<Chunk>,
    buckets: Vec<Bucket>,
}

impl Memory {
    /// For a P of so many slots.
    pub fn of(slots: usize) -> Self {
        Memory {
            notes: vec![Note::default(); slots],
            links: vec![Link::default(); slots],
            places: vec![Place::default(); slots],
            families: vec![Family::default(); Storage::families(slots)],
            chunks: vec![Chunk::default(); Storage::chunks(slots)],
            buckets: vec![Bucket::default(); Storage::buckets(slots)],
        }
    }

    /// For [`mpg_policy::P::new`].
    pub fn lend(&mut self) -> Storage<'_> {
        Storage {
            notes: &mut self.notes,
            links: &mut self.links,
            places: &mut self.places,
            families: &mut self.families,
            chunks: &mut self.chunks,
            buckets: &mut self.buckets,
        }
    }
}
