//! The memory of a P, for whoever need not place it: tests, benches and the simulator.

use mpg_policy::{Bucket, Chunk, Family, Note, Place, Storage};

/// Owns what a [`Storage`] lends.
pub struct Memory {
    notes: Vec<Note>,
    places: Vec<Place>,
    families: Vec<Family>,
    chunks: Vec<Chunk>,
    buckets: Vec<Bucket>,
    arrivals: Vec<u32>,
    held: Vec<u64>,
    used: Vec<u64>,
}

impl Memory {
    /// For a P of so many slots.
    pub fn of(slots: usize) -> Self {
        Memory {
            notes: vec![Note::default(); slots],
            places: vec![Place::default(); slots],
            families: vec![Family::default(); Storage::families(slots)],
            chunks: vec![Chunk::default(); Storage::chunks(slots)],
            buckets: vec![Bucket::default(); Storage::buckets(slots)],
            arrivals: vec![0; Storage::arrivals(slots)],
            held: vec![0; Storage::held(slots)],
            used: vec![0; Storage::used(slots)],
        }
    }

    /// For [`mpg_policy::P::new`].
    pub fn lend(&mut self) -> Storage<'_> {
        Storage {
            notes: &mut self.notes,
            places: &mut self.places,
            families: &mut self.families,
            chunks: &mut self.chunks,
            buckets: &mut self.buckets,
            arrivals: &mut self.arrivals,
            held: &mut self.held,
            used: &mut self.used,
        }
    }
}
