//! How often each task was put on a CPU of each node: sched_switch, counted as it comes.

use std::collections::HashMap;

use anyhow::{Context, Result};

use crate::ring::Ring;
use crate::topology::Topology;
use crate::tracepoint::Switch;

/// One CPU's ring, in bytes: 10,000 switches between two drainings.
const RING_BYTES: usize = 1 << 20;

/// Counts runs on all CPUs.
pub struct RunWatch {
    switch: Switch,
    rings: Vec<(usize, Ring)>,
    runs: Runs,
    scratch: Vec<u8>,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    by_task: HashMap<i32, Vec<u64>>,
    /// Switches that found their ring full, of whatever task.
    pub lost: u64,
    recorded: u64,
}

impl RunWatch {
    /// Opens the tracepoint on all CPUs that are online, not yet counting.
    ///
    /// # Errors
    /// If it cannot be opened, for which root is needed.
    pub fn open(topology: &Topology) -> Result<Self> {
        let switch = Switch::read()?;
        let mut rings = Vec::new();
        for &cpu in topology.online() {
            let ring = Ring::open(switch.id, cpu, RING_BYTES)
                .with_context(|| format!("perf_event_open on CPU {cpu} was refused"))?;
            rings.push((cpu, ring));
        }
        Ok(RunWatch {
            switch,
            rings,
            runs: Runs::default(),
            scratch: Vec::with_capacity(RING_BYTES),
        })
    }

    /// Starts counting.
    pub fn enable(&self) -> Result<()> {
        let enable = |(_, ring): &(usize, Ring)| ring.enable().context("they cannot be enabled");
        self.rings.iter().try_for_each(enable)
    }

    /// Takes what is in the rings, so that they do not fill up.
    pub fn drain(&mut self, topology: &Topology) {
        let RunWatch {
            switch,
            rings,
            runs,
            scratch,
        } = self;
        for (cpu, ring) in rings {
            let node = topology.node_of(*cpu);
            ring.drain(scratch, |_, raw| {
                if let Some(switched) = switch.decode(raw) {
                    runs.add(switched.next, node);
                }
            });
        }
    }

    /// Stops counting; what was counted.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn finish(mut self, topology: &Topology) -> Result<Runs> {
        let mut happened = 0;
        for (_, ring) in &self.rings {
            ring.disable().context("they cannot be disabled")?;
            happened += ring.count().context("they cannot be read")?;
        }
        self.drain(topology);
        self.runs.lost = happened.saturating_sub(self.runs.recorded);
        Ok(self.runs)
    }
}

impl Runs {
    fn add(&mut self, task: i32, node: Option<usize>) {
        self.recorded += 1;
        // 0 is the idle task of every CPU.
        let Some(node) = node.filter(|_| task != 0) else {
            return;
        };
        let by_node = self.by_task.entry(task).or_default();
        if by_node.len() <= node {
            by_node.resize(node + 1, 0);
        }
        by_node[node] += 1;
    }

    /// Runs of a task on a node, and on any.
    pub fn of(&self, task: i32, node: usize) -> (u64, u64) {
        let Some(by_node) = self.by_task.get(&task) else {
            return (0, 0);
        };
        let there = by_node.get(node).copied().unwrap_or(0);
        (there, by_node.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_told_apart_by_task_and_node() {
        let mut runs = Runs::default();
        for (task, node) in [
            (7, Some(1)),
            (7, Some(1)),
            (7, Some(0)),
            (0, Some(0)),
            (8, None),
        ] {
            runs.add(task, node);
        }
        assert_eq!((runs.of(7, 1), runs.of(7, 0)), ((2, 3), (1, 3)));
        assert_eq!((runs.of(7, 5), runs.of(8, 0)), ((0, 3), (0, 0)));
        assert_eq!(runs.recorded, 5);
    }
}
