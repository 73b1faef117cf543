//! The machine's CPUs and the NUMA node of each, from sysfs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{bail, Context, Result};

/// CPUs that may be listed: far above any kernel's NR_CPUS, so that a broken list cannot ask for all memory.
const MAX_CPUS: usize = 1 << 16;

/// CPUs and nodes as they were when the program started.
#[derive(Debug)]
pub struct Topology {
    online: Vec<usize>,
    /// Index: CPU number, of all possible CPUs.
    node_of: Vec<Option<usize>>,
    /// Numbers of the nodes online, ascending.
    nodes: Vec<usize>,
}

impl Topology {
    /// Reads the running machine.
    pub fn read() -> Result<Self> {
        Self::read_at(Path::new("/sys/devices/system"))
    }

    fn read_at(system: &Path) -> Result<Self> {
        let list = |path: &str| -> Result<Vec<usize>> {
            let path = system.join(path);
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            parse_list(&text).with_context(|| format!("{} is no list of CPUs", path.display()))
        };
        let online = list("cpu/online")?;
        let possible = list("cpu/possible")?;
        let highest = online
            .iter()
            .chain(&possible)
            .max()
            .context("no CPU is online")?;
        let mut node_of = vec![None; highest + 1];

        // A kernel without NUMA has no node directory: all CPUs are of one node then.
        let mut nodes = list("node/online").unwrap_or_default();
        for &node in &nodes {
            for cpu in list(&format!("node/node{node}/cpulist"))? {
                if let Some(slot) = node_of.get_mut(cpu) {
                    *slot = Some(node);
                }
            }
        }
        if nodes.is_empty() {
            node_of.fill(Some(0));
            nodes.push(0);
        }
        Ok(Topology {
            online,
            node_of,
            nodes,
        })
    }

    /// Numbers of the CPUs that are online, ascending.
    pub fn online(&self) -> &[usize] {
        &self.online
    }

    /// One more than the highest CPU number that can ever be online.
    pub fn cpu_slots(&self) -> usize {
        self.node_of.len()
    }

    /// How many NUMA nodes are online.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Their numbers, ascending.
    pub fn node_numbers(&self) -> &[usize] {
        &self.nodes
    }

    /// The node of a CPU, where it is known.
    pub fn node_of(&self, cpu: usize) -> Option<usize> {
        self.node_of.get(cpu).copied().flatten()
    }

    /// How many CPUs of a node are online.
    pub fn cpus_of(&self, node: usize) -> usize {
        let on_node = |&&cpu: &&usize| self.node_of(cpu) == Some(node);
        self.online.iter().filter(on_node).count()
    }

    /// Numbers of the CPUs that are online, by node; nodes without one are left out.
    pub fn cpus_by_node(&self) -> Vec<Vec<usize>> {
        let mut by_node: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &cpu in &self.online {
            by_node
                .entry(self.node_of(cpu).unwrap_or(0))
                .or_default()
                .push(cpu);
        }
        by_node.into_values().collect()
    }

    /// Whether the two CPUs are of different nodes. A CPU whose node is unknown counts as near.
    pub fn crosses(&self, from: usize, to: usize) -> bool {
        matches!((self.node_of(from), self.node_of(to)), (Some(a), Some(b)) if a != b)
    }
}

/// Parses the kernel's list format: "0-3,8,10-11". Ascending, without doubles; empty text is the empty list.
pub fn parse_list(text: &str) -> Result<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let number = |text: &str| {
            text.trim()
                .parse::<usize>()
                .with_context(|| format!("'{text}' is no number"))
        };
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last || last >= MAX_CPUS {
            bail!("'{part}' is no range");
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

#[cfg(test)]
impl Topology {
    /// A machine with all CPUs online; `node_of[cpu]` is the CPU's node.
    pub fn of(node_of: &[usize]) -> Self {
        Topology {
            online: (0..node_of.len()).collect(),
            node_of: node_of.iter().copied().map(Some).collect(),
            nodes: (0..node_of.iter().max().map_or(1, |n| n + 1)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed() -> Result<()> {
        assert_eq!(parse_list("0-3,8,10-11\n")?, [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_list("5\n")?, [5]);
        assert_eq!(parse_list("2,1,2")?, [1, 2]);
        assert!(parse_list("\n")?.is_empty());
        Ok(())
    }

    #[test]
    fn broken_lists_are_refused() {
        for text in ["a", "3-1", "1-", "-2", "0-99999999999", "0x3", "1-2-3"] {
            assert!(parse_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn crossing_needs_two_known_nodes() {
        let topology = Topology::of(&[0, 0, 1, 1]);
        assert!(topology.crosses(0, 2) && topology.crosses(3, 1));
        assert!(!topology.crosses(0, 1) && !topology.crosses(0, 9));
        assert_eq!((topology.cpus_of(1), topology.cpus_of(2)), (2, 0));
    }

    #[test]
    fn this_machine_can_be_read() -> Result<()> {
        let topology = Topology::read()?;
        assert!(!topology.online().is_empty() && topology.nodes() >= 1);
        Ok(())
    }
}
