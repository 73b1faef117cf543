//! A G comes onto a CPU and off it: ops.running and ops.stopping.

use mpg_policy::{clock, Class};

use super::{Kernel, Node, Place};
use crate::queue::Queue;

/// The average wait follows the last 64 starts.
const AVERAGE_SHIFT: u32 = 6;

impl Kernel {
    /// ops.running
    pub(super) fn start(&mut self, g: usize, cpu: usize) {
        let (node, now_ns) = (self.node_of(cpu), self.now_ns);
        let from = match self.gs[g].place {
            Place::Custody(from) => {
                self.report.undecided += 1;
                self.require_removed(g, from, |node| &mut node.custody);
                Some(from)
            }
            Place::Primed(from) => {
                self.require_removed(g, from, |node| &mut node.primed);
                Some(from)
            }
            Place::Pinned(own) => {
                let was_there = self.cpus[own].pinned.remove(g);
                self.require(was_there, || format!("I1: G {g} was not where it waited"));
                self.note_wait(g);
                None
            }
            Place::Asleep | Place::Running(_) | Place::Gone => None,
        };
        if let Some(from) = from {
            self.nodes[from].last_wait_ns = self.note_wait(g);
            self.nodes[from].last_taken_at_ns = now_ns;
        }
        let waited = from.map_or(0, |_| now_ns - self.gs[g].queued_at_ns);
        let average = &mut self.nodes[from.unwrap_or(node)].average_wait_ns;
        *average = average.wrapping_add_signed((waited as i64 - *average as i64) >> AVERAGE_SHIFT);
        self.require(self.may(g, cpu), || {
            format!("I8: G {g} may not use CPU {cpu}")
        });
        self.require(self.cpus[cpu].running.is_none(), || {
            format!("I1: CPU {cpu} runs another G")
        });
        if self.gs[g].home != node {
            self.change_home(g, node);
        }
        let was_on = self.cpus[self.gs[g].last_cpu].own_node;
        if was_on != self.cpus[cpu].own_node {
            self.report.gs[g].node_changes += 1;
        }
        self.limit_credit(g);
        let this = &mut self.gs[g];
        this.place = Place::Running(cpu);
        this.last_cpu = cpu;
        // Out of turn: the bound promises that it runs, its weight says how much, and it may be so
        // far ahead that the others would be cut off at their credit.
        let helped = std::mem::take(&mut this.helped);
        if !helped && clock::before(self.nodes[node].vclock, this.vtime) {
            self.nodes[node].vclock = this.vtime;
        }
        let slice_ns = if helped {
            self.params.slice_min_ns
        } else {
            this.slice_ns
        };
        let slice_ns = slice_ns.min(this.left_ns);
        self.cpus[cpu].running_deadline = this.deadline();
        self.report.gs[g].class = this.class;
        self.report.gs[g].starts += 1;
        let this = &mut self.cpus[cpu];
        this.running = Some(g);
        this.start += 1;
        this.kicked = false;
        this.started_at_ns = now_ns;
        this.stops_at_ns = now_ns + slice_ns;
        self.report
            .trace(&[now_ns, 2, g as u64, cpu as u64, slice_ns]);
    }

    /// ops.stopping: charges the G that runs on `cpu`, and takes it off.
    pub(crate) fn stop(&mut self, cpu: usize) -> Option<usize> {
        let g = self.cpus[cpu].running.take()?;
        let ran_ns = self.now_ns - self.cpus[cpu].started_at_ns;
        let this = &mut self.gs[g];
        this.runtime_ns += ran_ns;
        this.run_ns += ran_ns;
        let weighted = u128::from(ran_ns) * 100 / u128::from(this.weight);
        this.vtime = this.vtime.wrapping_add(weighted as u64);
        this.left_ns -= ran_ns.min(this.left_ns);
        let report = &mut self.report.gs[g];
        report.ran_ns += ran_ns;
        // As it was taken for when it started: a decision that came meanwhile is for the next time.
        if report.class == Class::Latency {
            this.latency_run_ns += ran_ns;
            report.longest_latency_run_ns = report.longest_latency_run_ns.max(this.latency_run_ns);
        }
        Some(g)
    }

    /// A G is taken from a queue; returns how long it waited there.
    fn note_wait(&mut self, g: usize) -> u64 {
        let generation = self.gs[g].generation;
        self.require(self.gs[g].taken != Some(generation), || {
            format!("I2: G {g} was served twice for its enqueue {generation}")
        });
        self.gs[g].taken = Some(generation);
        let waited_ns = self.now_ns - self.gs[g].queued_at_ns;
        let report = &mut self.report.gs[g];
        report.waited_ns += waited_ns;
        report.longest_wait_ns = report.longest_wait_ns.max(waited_ns);
        waited_ns
    }

    fn require_removed(&mut self, g: usize, node: usize, queue: fn(&mut Node) -> &mut Queue) {
        let was_there = queue(&mut self.nodes[node]).remove(g);
        self.require(was_there, || {
            format!("I1: G {g} was not where it was taken from")
        });
    }
}
