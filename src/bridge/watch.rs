// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel half writes for who watches: where it goes, and the logs of runs as they are read.

use std::sync::atomic::AtomicU64;

use anyhow::{bail, Context, Result};
use libbpf_rs::libbpf_sys::{bpf_map_create_opts, BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use libbpf_rs::{MapCore, MapHandle, MapType};
use mpg_ring::LogReader;

use super::memory::Mapping;
use crate::bpf_intf::{mpg_limits_MPG_LOG_SLOTS, mpg_watch_run};

/// Where the rings and the logs go that who watches reads.
pub struct WatchMaps {
    /// A ring for each node.
    pub rings: MapHandle,
    /// One array of the logs of all CPUs.
    pub logs: MapHandle,
}

/// The logs of so many CPUs, empty, in one array of slots.
///
/// # Errors
/// If the kernel has no memory for them.
pub fn create_logs(cpus: usize) -> Result<MapHandle> {
    let opts = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as u64,
        map_flags: BPF_F_MMAPABLE | BPF_F_INNER_MAP,
        ..Default::default()
    };
    let (key, value) = (size_of::<u32>(), size_of::<mpg_watch_run>());
    let (name, slots) = (Some("mpg_logs"), Logs::slots(cpus));
    MapHandle::create(
        MapType::Array,
        name,
        key as u32,
        value as u32,
        slots as u32,
        &opts,
    )
    .with_context(|| format!("cannot create the logs of {cpus} CPUs"))
}

/// Words of a slot of a log.
const LOG_WORDS: usize = size_of::<mpg_watch_run>() / size_of::<u64>();

/// The logs of all CPUs, for who watches.
pub struct Logs {
    slots: Mapping<mpg_watch_run>,
    readers: Vec<LogReader>,
}

impl Logs {
    /// Slots of the logs of so many CPUs.
    pub fn slots(cpus: usize) -> usize {
        cpus * mpg_limits_MPG_LOG_SLOTS as usize
    }

    /// Maps the array of the logs of so many CPUs.
    ///
    /// # Errors
    /// If it cannot be mapped, or is not of the layout that this half was built with.
    pub fn new(map: &dyn MapCore, cpus: usize) -> Result<Self> {
        if (map.max_entries() as usize) < Self::slots(cpus) {
            bail!("the logs are of fewer than {cpus} CPUs: the machine has changed, try again");
        }
        Ok(Self {
            slots: Mapping::new(map, Self::slots(cpus))?,
            readers: vec![LogReader::default(); cpus],
        })
    }

    /// Reads what is in the log of each CPU: `take` is given the CPU, the record, and how many of this
    /// CPU's were lost so far.
    pub fn read(&mut self, mut take: impl FnMut(u16, &mpg_watch_run, u64)) {
        for (cpu, reader) in self.readers.iter_mut().enumerate() {
            let first = self.slots.entry(Self::slots(cpu)).cast();
            // SAFETY: as many slots from there on are within the mapping, which lives as long as
            // `self`, and consist of words; every access on this side is atomic.
            let slots: &[[AtomicU64; LOG_WORDS]] =
                unsafe { std::slice::from_raw_parts(first, Self::slots(1)) };
            while let Some(words) = reader.next(slots) {
                // SAFETY: of the same size, and has integers only.
                let run = unsafe { std::mem::transmute::<[u64; LOG_WORDS], mpg_watch_run>(words) };
                take(cpu as u16, &run, reader.lost());
            }
        }
    }
}
