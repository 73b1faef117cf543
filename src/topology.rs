// SPDX-License-Identifier: GPL-2.0-only
//! The machine as the scheduler sees it: nodes in a row from 0, their CPUs and their distances.
//!
//! The kernel's node ids may have gaps and its nodes may have no CPU. Inside the scheduler a node
//! is its index among those that have a CPU; the kernel's id is kept beside it for the kernel's own
//! functions and for people. CPUs and whole nodes that are offline at start count, so that they can
//! come online later.
//!
//! Reading is split from arranging: [`Machine::read`] asks the system, [`arrange`] is a function
//! of plain values.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use scx_utils::{read_cpulist, Topology, NR_CPU_IDS, ROOT_PREFIX};

/// The most nodes that a word of the wire's node masks can name.
pub const MAX_NODES: usize = 64;
/// The most last-level caches that are told apart.
pub const MAX_LLCS: usize = crate::bpf_intf::mpg_limits_MPG_MAX_LLCS as usize - 1;
/// The most CPU ids that a decision can name.
pub const MAX_CPUS: usize = 4096;

/// Distance of a node to itself where the firmware gives none; the kernel's own convention.
const LOCAL_DISTANCE: u32 = 10;
/// Distance to any other node where the firmware gives none; the kernel's own convention.
const REMOTE_DISTANCE: u32 = 20;

/// One node that has CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The kernel's id of the node.
    pub id: usize,
    /// The node's CPUs, online or not, in rising order.
    pub cpus: Vec<u16>,
    /// Distance to each node of [`Machine::nodes`], in its order; 10 is local.
    pub distances: Vec<u32>,
}

/// The machine's nodes and CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The nodes; a node's index here is its name in the scheduler.
    pub nodes: Vec<NodeInfo>,
    /// One more than the highest CPU id that can ever exist.
    pub nr_cpu_ids: usize,
    /// The node index of each CPU id; 0 for an id that the kernel lists under no node.
    pub cpu_node: Vec<u16>,
    /// Which CPU ids were online at start.
    pub online: Vec<bool>,
    /// Whether cores run several threads.
    pub smt: bool,
    /// The CPUs of each last-level cache, of nodes that have several with several cores. CPUs that
    /// were offline at start are under none.
    pub llcs: Vec<Vec<u16>>,
}

/// Why the machine's shape cannot be used. Its text is one sentence for the user.
#[derive(Debug)]
pub enum TopologyError {
    /// The system does not tell its shape.
    Unreadable(String),
    /// No CPU is online in any node.
    NoCpu,
    /// More nodes with CPUs than [`MAX_NODES`].
    TooManyNodes(usize),
    /// More CPU ids than [`MAX_CPUS`].
    TooManyCpus(usize),
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(cause) => write!(
                f,
                "cannot read the machine's CPUs and nodes: {cause}: is /sys mounted and complete?"
            ),
            Self::NoCpu => write!(
                f,
                "no NUMA node has a CPU online: is /sys of the machine itself mounted at /sys?"
            ),
            Self::TooManyNodes(nodes) => write!(
                f,
                "the machine has {nodes} NUMA nodes with CPUs and scx_mpg handles {MAX_NODES}"
            ),
            Self::TooManyCpus(cpus) => write!(
                f,
                "the machine can have {cpus} CPUs and scx_mpg handles {MAX_CPUS}: boot it with a \
                 smaller nr_cpus="
            ),
        }
    }
}

impl std::error::Error for TopologyError {}

/// One node as the system lists it.
#[derive(Clone, Debug, Default)]
struct Listed {
    /// CPUs, online or not, in any order.
    cpus: Vec<usize>,
    /// Distances to the listed nodes in rising order of their ids; may be short or empty.
    distances: Vec<usize>,
}

impl Machine {
    /// How far each node is from each: those of the first node, then of the second, and so on.
    pub fn distances(&self) -> Vec<u32> {
        let nodes = self.nodes.iter();
        nodes.flat_map(|node| node.distances.clone()).collect()
    }

    /// Asks the running system, or the tree that `SCX_SYSFS_PREFIX` names.
    pub fn read() -> Result<Self, TopologyError> {
        let unreadable = |e: anyhow::Error| TopologyError::Unreadable(format!("{e:#}"));
        let topology = Topology::new().map_err(unreadable)?;
        let sys = PathBuf::from(format!("{}/sys/devices/system", *ROOT_PREFIX));

        let mut listed = BTreeMap::new();
        for (&id, node) in &topology.nodes {
            let mut cpus: Vec<usize> = node.all_cpus.keys().copied().collect();
            cpus.extend(offline_cpus(&sys.join(format!("node/node{id}")), &topology));
            listed.insert(
                id,
                Listed {
                    cpus,
                    distances: node.distance.clone(),
                },
            );
        }
        let online: Vec<usize> = topology.all_cpus.keys().copied().collect();
        let nr_cpu_ids = highest_possible(&sys.join("cpu/possible")).max(*NR_CPU_IDS);
        let machine = arrange(&listed, &online, nr_cpu_ids, topology.smt_enabled)?;
        let caches = topology.nodes.values().map(|node| {
            let of_node = node.llcs.values();
            of_node.map(|llc| (llc.cores.len(), llc.all_cpus.keys().map(|&cpu| cpu as u16)))
        });
        Ok(Self {
            llcs: caches.flat_map(told_apart).take(MAX_LLCS).collect(),
            ..machine
        })
    }
}

/// Those caches of one node that are worth telling apart, given how many cores and which CPUs each
/// has: one of a single core is no choice, and neither is the only one.
fn told_apart<C: IntoIterator<Item = u16>>(
    caches: impl Iterator<Item = (usize, C)>,
) -> Vec<Vec<u16>> {
    let shared = caches.filter(|&(cores, _)| cores > 1);
    let llcs: Vec<Vec<u16>> = shared.map(|(_, cpus)| cpus.into_iter().collect()).collect();
    if llcs.len() > 1 {
        llcs
    } else {
        Vec::new()
    }
}

/// CPUs that the node's directory names and the topology, which knows only online ones, does not.
fn offline_cpus(node_dir: &Path, topology: &Topology) -> Vec<usize> {
    let Ok(entries) = fs::read_dir(node_dir) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .strip_prefix("cpu")?
                .parse()
                .ok()
        })
        .filter(|cpu| !topology.all_cpus.contains_key(cpu))
        .collect()
}

/// One more than the highest id in the list, 0 if it cannot be read.
fn highest_possible(list: &Path) -> usize {
    fs::read_to_string(list)
        .ok()
        .and_then(|text| read_cpulist(text.trim()).ok())
        .and_then(|cpus| cpus.into_iter().max())
        .map_or(0, |cpu| cpu + 1)
}

/// Numbers the nodes that can run something, and finds every CPU a node.
fn arrange(
    listed: &BTreeMap<usize, Listed>,
    online_cpus: &[usize],
    nr_cpu_ids: usize,
    smt: bool,
) -> Result<Machine, TopologyError> {
    if nr_cpu_ids > MAX_CPUS {
        return Err(TopologyError::TooManyCpus(nr_cpu_ids));
    }
    let mut online = vec![false; nr_cpu_ids];
    for &cpu in online_cpus.iter().filter(|&&cpu| cpu < nr_cpu_ids) {
        online[cpu] = true;
    }
    // Positions in the kernel's list, which is what its distances are indexed by.
    let nodes: Vec<(usize, &Listed)> = listed.iter().map(|(&id, node)| (id, node)).collect();
    let has_cpu = |node: &Listed| node.cpus.iter().any(|&cpu| cpu < nr_cpu_ids);
    let kept: Vec<usize> = (0..nodes.len())
        .filter(|&at| has_cpu(nodes[at].1))
        .collect();
    let runs = |&at: &usize| {
        nodes[at]
            .1
            .cpus
            .iter()
            .any(|&cpu| online.get(cpu) == Some(&true))
    };
    if !kept.iter().any(runs) {
        return Err(TopologyError::NoCpu);
    }
    if kept.len() > MAX_NODES {
        return Err(TopologyError::TooManyNodes(kept.len()));
    }

    let mut cpu_node = vec![0u16; nr_cpu_ids];
    let nodes = kept
        .iter()
        .enumerate()
        .map(|(index, &at)| {
            let (id, node) = nodes[at];
            let mut cpus: Vec<u16> = node
                .cpus
                .iter()
                .filter(|&&cpu| cpu < nr_cpu_ids)
                .map(|&cpu| cpu as u16)
                .collect();
            cpus.sort_unstable();
            cpus.dedup();
            for &cpu in &cpus {
                cpu_node[usize::from(cpu)] = index as u16;
            }
            let distances = kept.iter().map(|&to| distance(&nodes, at, to)).collect();
            NodeInfo {
                id,
                cpus,
                distances,
            }
        })
        .collect();
    Ok(Machine {
        nodes,
        nr_cpu_ids,
        cpu_node,
        online,
        smt,
        llcs: Vec::new(),
    })
}

/// Distance between two positions of the kernel's list, with its own values where it gives none.
fn distance(nodes: &[(usize, &Listed)], from: usize, to: usize) -> u32 {
    let given = nodes[from].1.distances.get(to).copied().unwrap_or(0);
    match (u32::try_from(given).unwrap_or(u32::MAX), from == to) {
        (0, true) => LOCAL_DISTANCE,
        (0, false) => REMOTE_DISTANCE,
        (given, _) => given,
    }
}

#[cfg(test)]
mod tests;
