// SPDX-License-Identifier: GPL-2.0-only
//! The balance of the nodes: which of them are to take Gs of which others, though none has a CPU
//! that runs dry.
//!
//! One look at all nodes at a time, apart from the workers: these are called when Gs have something
//! to be decided, and the longer that is not so, the better for all. What is found is left in the
//! memory that the kernel half shares; the CPUs of the node carry it out (bpf/balance.bpf.h, steal in
//! bpf/take.bpf.h).

use std::sync::Arc;
use std::time::{Duration, Instant};

use mpg_policy::constants::BALANCE_EVERY_NS;
use mpg_policy::{Balance, Look, Neighbours, Paces};

use crate::bridge::Shared;
use crate::topology::Machine;

/// How often the nodes are looked at while Gs wait: as often as a grant may follow another.
pub const LOOK_EVERY: Duration = Duration::from_nanos(BALANCE_EVERY_NS);

/// What is known of the balance, by node.
pub struct Balancer {
    nodes: Vec<Node>,
    started: Instant,
}

struct Node {
    neighbours: Neighbours,
    balance: Balance,
    paces: Paces,
}

impl Balancer {
    /// Knows nothing of the nodes of `machine` yet.
    #[must_use]
    pub fn new(machine: &Machine) -> Self {
        let distances = machine.distances();
        let count = machine.nodes.len();
        let nodes = (0..count).map(|node| Node {
            neighbours: Neighbours::nearest_first(node as u16, &distances, count),
            balance: Balance::default(),
            paces: Paces::default(),
        });
        Balancer {
            nodes: nodes.collect(),
            started: Instant::now(),
        }
    }

    /// Has nodes take Gs of a node that has more weight on its CPUs, or one of a node where Gs wait
    /// much longer. Returns whether any G waits.
    pub fn look(&mut self, machine: &Machine, shared: &Arc<Shared>) -> bool {
        let now_ns = self.started.elapsed().as_nanos() as u64;
        let count = self.nodes.len();
        let look = |node| look(machine, shared, node);
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let memory = shared.node(index);
            if let Some(wish) = node.paces.wish(now_ns, index as u16, count, look) {
                memory.wish(wish.victim, wish.weight);
            }
            let own_wait_ns = memory.average_wait_ns();
            for victim in node.neighbours.iter().map(usize::from) {
                let victim_wait_ns = shared.node(victim).average_wait_ns();
                if node.balance.grants(now_ns, own_wait_ns, victim_wait_ns) {
                    shared.grant(index, victim);
                    break;
                }
            }
        }
        let waits = |node| {
            let memory = shared.node(node);
            memory.primed() + memory.custody() > 0
        };
        (0..count).any(waits)
    }
}

fn look(machine: &Machine, shared: &Arc<Shared>, node: u16) -> Look {
    let cpus = &machine.nodes[usize::from(node)].cpus;
    Look {
        vclock: shared.node(node.into()).vclock(),
        cpus: cpus.len() as u32,
        free_cpus: shared.free_among(cpus),
        ran_dry: shared.ran_dry_among(cpus),
    }
}
