// SPDX-License-Identifier: GPL-2.0-only
//! Takes samples from what the two halves share.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::affinity::affinity_of;
use crate::bpf_intf::{mpg_counter_MPG_COUNT_DIRECT, mpg_counter_MPG_COUNT_STARTED};
use crate::bridge::{Looker, Queue};
use crate::schedtrace::Tracer;

use super::judge::{CpuSample, NodeSample, PassedOver, Sample};

/// Where samples are taken from.
pub struct Sampler<'a> {
    tracer: &'a Tracer,
    begun: Instant,
    /// Looks at queues have failed, and it was said.
    blind: Cell<bool>,
}

impl<'a> Sampler<'a> {
    /// Of the machine and memory that the tracer knows.
    pub fn new(tracer: &'a Tracer) -> Self {
        Self {
            tracer,
            begun: Instant::now(),
            blind: Cell::new(false),
        }
    }

    /// How things are now. The parts are not read at one moment.
    pub fn take(&self) -> Sample {
        let shared = &self.tracer.shared;
        let mut cpus = Vec::with_capacity(self.tracer.machine.nr_cpu_ids);
        let mut nodes = Vec::with_capacity(self.tracer.machine.nodes.len());
        // By index: how many CPUs idle.
        let mut idle = Vec::with_capacity(nodes.capacity());
        for (index, info) in self.tracer.machine.nodes.iter().enumerate() {
            let node = shared.node(index);
            let read = node.events_read();
            let queued = node.primed() + node.custody();
            nodes.push(NodeSample {
                id: info.id,
                waits: queued != 0,
                average_wait: Duration::from_nanos(node.average_wait_ns()),
                backlog: match node.called_at_ns() {
                    0 => 0,
                    _ => node.events_written().saturating_sub(read),
                },
                events_read: read,
                fallback: node.fallback() != 0,
            });
            idle.push(shared.idle_among(&info.cpus) != 0);
            let there = info.cpus.iter().filter(|&&cpu| !shared.is_absent(cpu));
            cpus.extend(there.map(|&cpu| CpuSample {
                cpu,
                pid: shared.running(cpu).0,
                overruns: shared.overruns(cpu),
                waits: queued != 0 || shared.pinned(cpu) != 0,
            }));
        }
        let starts = [mpg_counter_MPG_COUNT_STARTED, mpg_counter_MPG_COUNT_DIRECT];
        Sample {
            at: self.begun.elapsed(),
            starts: starts.iter().map(|&of| shared.counter(of as usize)).sum(),
            batch: Duration::from_nanos(shared.batch_ns()),
            passed_over: self.passed_over(&nodes, &idle),
            nodes,
            cpus,
        }
    }

    /// Who waits for the largest part of the leave of a node that idles.
    fn passed_over(&self, nodes: &[NodeSample], idle: &[bool]) -> Option<PassedOver> {
        let looker = self.tracer.looker.as_deref()?;
        let waiting = (0..nodes.len()).filter(|&victim| nodes[victim].waits);
        let passed = waiting.flat_map(|victim| {
            let thieves: Vec<(usize, u64)> = (0..nodes.len())
                .filter(|&thief| thief != victim && idle[thief])
                .map(|thief| (thief, self.tracer.shared.steal_after(thief, victim)))
                .filter(|&(_, leave_ns)| leave_ns != mpg_policy::NEVER)
                .collect();
            self.passed_over_at(looker, victim, nodes, thieves)
        });
        passed.max_by_key(PassedOver::percent)
    }

    fn passed_over_at(
        &self,
        looker: &Looker,
        victim: usize,
        nodes: &[NodeSample],
        thieves: Vec<(usize, u64)>,
    ) -> Option<PassedOver> {
        if thieves.is_empty() {
            return None;
        }
        let queues = [Queue::Primed(victim), Queue::Custody(victim)];
        let waiters = queues.into_iter().flat_map(|queue| {
            looker.at(queue).unwrap_or_else(|e| {
                if !self.blind.replace(true) {
                    log::warn!("idle nodes are not noticed: {e:#}");
                }
                Vec::new()
            })
        });
        let passed = waiters.flat_map(|waiter| {
            let may_run = thieves
                .iter()
                .filter(move |(thief, _)| waiter.allowed_nodes >> thief & 1 != 0);
            may_run.map(move |&(thief, leave_ns)| {
                let passed = PassedOver {
                    pid: waiter.pid,
                    waited: Duration::from_nanos(waiter.waited_ns),
                    leave: Duration::from_nanos(leave_ns),
                    idle_node: nodes[thief].id,
                    node: nodes[victim].id,
                };
                (thief, passed)
            })
        });
        // Asked of the kernel only where it matters.
        let is_real = |(thief, passed): &(usize, PassedOver)| {
            passed.percent() <= 100 || self.fits(passed.pid, *thief)
        };
        let passed = passed.filter(is_real).map(|(_, passed)| passed);
        passed.max_by_key(PassedOver::percent)
    }

    /// Whether one of the CPUs of a node that a thread may use is idle: it may be another that is.
    fn fits(&self, pid: u32, node: usize) -> bool {
        let allowed = affinity_of(pid).unwrap_or_default();
        let mut cpus = self.tracer.machine.nodes[node].cpus.iter();
        cpus.any(|cpu| allowed.contains(cpu) && self.tracer.shared.is_idle(*cpu))
    }
}
