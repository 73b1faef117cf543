// SPDX-License-Identifier: GPL-2.0-only
//! Recording for whoever asks why tasks were late (`scx_mpg why`): switches it on and off.
//!
//! The daemon does no more than that. It makes a ring for each node and a log for each CPU, names them
//! to the one who asks and has the kernel half write to them; who asks opens them by their ids and
//! reads. Nobody of the daemon's threads, which go before all others, spends anything on it.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::bpf_intf::mpg_limits_MPG_WATCH_RING_BYTES;
use crate::bridge::{create_logs, create_ring, Shared, WatchMaps};
use crate::control::{Peer, Watch, Watching};
use crate::topology::Machine;
use crate::why::OVER_US;

/// Who watches at present, if anybody does.
#[derive(Default)]
struct State {
    watcher: Option<Peer>,
    watches: u64,
}

/// Lets one at a time watch.
pub struct Recorder {
    shared: Arc<Shared>,
    maps: WatchMaps,
    nodes: usize,
    nr_cpu_ids: usize,
    cpus: Vec<u16>,
    state: Mutex<State>,
}

impl Recorder {
    /// For a loaded kernel half, which writes to `maps`.
    pub fn new(shared: &Arc<Shared>, maps: WatchMaps, machine: &Machine) -> Arc<Self> {
        let cpus = machine.nodes.iter().flat_map(|node| node.cpus.clone());
        Arc::new(Self {
            shared: Arc::clone(shared),
            maps,
            nodes: machine.nodes.len(),
            nr_cpu_ids: machine.nr_cpu_ids,
            cpus: cpus.collect(),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to record for `peer`, until the recording is dropped.
    ///
    /// # Errors
    /// A sentence: if somebody watches already, the bound is out of range, or the kernel refuses.
    pub fn start(
        self: &Arc<Self>,
        watch: Watch,
        peer: Peer,
    ) -> Result<(Watching, Recording), String> {
        if !OVER_US.contains(&watch.over_us) {
            return Err(out_of_range(watch.over_us));
        }
        let mut state = self.state();
        if let Some(other) = state.watcher {
            return Err(format!(
                "process {} ({}) watches already: wait until it is done, or end it",
                other.pid,
                name_of(other.pid)
            ));
        }
        let made = self
            .make_rings()
            .and_then(|rings| Ok((rings, self.make_logs()?)));
        let (rings, logs) = made.map_err(|e| {
            self.remove();
            format!("cannot record: {e:#}")
        })?;
        state.watches += 1;
        state.watcher = Some(peer);
        self.shared.start_watch(state.watches, watch.over_us * 1000);
        drop(state);
        log::info!("process {} watches", peer.pid);
        let idle = self.cpus.iter().filter(|&&cpu| self.shared.is_idle(cpu));
        let watching = Watching {
            rings,
            logs,
            idle_cpus: idle.copied().collect(),
        };
        Ok((watching, Recording(Arc::clone(self))))
    }

    /// Makes the rings; returns their ids. The kernel half keeps them.
    fn make_rings(&self) -> Result<Vec<u32>> {
        let ring = |node: u32| {
            let ring = create_ring("mpg_watch", mpg_limits_MPG_WATCH_RING_BYTES)?;
            hand_over(&self.maps.rings, node, &ring)
                .with_context(|| format!("node {node} takes no ring"))
        };
        (0..self.nodes as u32).map(ring).collect()
    }

    /// Makes the logs, likewise.
    fn make_logs(&self) -> Result<u32> {
        let logs = create_logs(self.nr_cpu_ids)?;
        hand_over(&self.maps.logs, 0, &logs).context("the CPUs take no logs")
    }

    fn remove(&self) {
        // What was never there cannot be removed.
        for node in 0..self.nodes as u32 {
            let _ = self.maps.rings.delete(&node.to_ne_bytes());
        }
        let _ = self.maps.logs.delete(&0u32.to_ne_bytes());
    }
}

/// Puts a map into an array of maps; returns its id.
fn hand_over(array: &MapHandle, place: u32, map: &MapHandle) -> Result<u32> {
    let fd = map.as_fd().as_raw_fd().to_ne_bytes();
    array.update(&place.to_ne_bytes(), &fd, MapFlags::ANY)?;
    Ok(map.info().context("a map has no id")?.info.id)
}

/// The kernel half records for as long as this lives.
pub struct Recording(Arc<Recorder>);

impl Drop for Recording {
    fn drop(&mut self) {
        let mut state = self.0.state();
        self.0.shared.end_watch();
        if let Some(peer) = state.watcher.take() {
            log::info!("process {} watches no more", peer.pid);
        }
        // For each the kernel waits until all CPUs have left what they do: who watches next waits for it.
        self.0.remove();
    }
}

/// What is wrong with a bound.
pub fn out_of_range(over_us: u64) -> String {
    format!(
        "over-us is {over_us}, expected {} to {}: choose 300 to be told of waits that people may \
         notice",
        OVER_US.start(),
        OVER_US.end()
    )
}

fn name_of(pid: i32) -> String {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    crate::sentence::tame(comm.trim_end())
}
