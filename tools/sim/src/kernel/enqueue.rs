//! A G becomes runnable, or may no longer run where it was: ops.select_cpu and ops.enqueue, with
//! bpf/idle.bpf.h and bpf/forward.bpf.h.

use mpg_policy::{clock, Class, Event, NEVER};

use super::{Kernel, Place, G, PRIMED_PER_CPU};

/// How often a lease is reported.
pub(super) const REPORTS_PER_LEASE: u32 = 16;
/// The worker is called after the batch time for a G that it knows nothing of, and after one more for
/// each so many enqueues of the last lease.
const LEASE_PER_BATCH: u32 = 8;

impl G {
    /// Whether it does what its class is not for: a latency-sensitive one used up a slice, a normal one
    /// two, a batch one slept.
    fn departs(&self) -> bool {
        match self.class {
            Class::Latency => !self.woken && self.run_ns >= self.slice_ns,
            Class::Normal => !self.woken && self.run_ns >= 2 * self.slice_ns,
            Class::Batch => self.woken,
        }
    }
}

impl Kernel {
    /// The G has slept until now.
    pub(crate) fn wake(&mut self, g: usize) {
        if self.gs[g].place != Place::Asleep {
            return;
        }
        self.gs[g].woken = true;
        self.gs[g].slept = true;
        self.gs[g].wakeups += 1;
        self.gs[g].run_ns = 0;
        self.gs[g].left_ns = self.gs[g].kind.run_ns(self.now_ns, &mut self.rng);
        self.gs[g].latency_run_ns = 0;
        self.follow_queues(g);
        let (home, last_cpu) = (self.gs[g].home, self.gs[g].last_cpu);
        // select_cpu: the previous CPU, then any of the home node.
        let idle = |kernel: &Self, cpu: usize| kernel.is_idle(cpu) && kernel.may(g, cpu);
        let found = match self.node_of(last_cpu) == home && idle(self, last_cpu) {
            true => Some(last_cpu),
            false => self.idle_for(g, home),
        };
        match found {
            Some(cpu) => {
                self.report.direct += 1;
                self.start(g, cpu);
            }
            None => self.enqueue(g),
        }
    }

    /// ops.enqueue
    pub(crate) fn enqueue(&mut self, g: usize) {
        self.follow_queues(g);
        if !self.may_wait_in(g, self.gs[g].home) {
            let allowed: Vec<_> = (0..self.cpus.len())
                .filter(|&cpu| self.may(g, cpu))
                .collect();
            let cpu = allowed[self.rng.next() as usize % allowed.len()];
            self.change_home(g, self.node_of(cpu));
        }
        let node = self.gs[g].home;
        self.limit_credit(g);
        let now_ns = self.now_ns;
        let this = &mut self.gs[g];
        this.generation = this.generation.wrapping_add(1);
        this.queued_at_ns = now_ns;

        // A slice used up is not what the class was given for.
        if this.class == Class::Latency && this.departs() {
            this.lease_last = this.generation.wrapping_sub(1);
        }
        let leased = this.lease_last.wrapping_sub(this.generation) as i32 >= 0
            && this.edition == self.edition;
        let deadline = this.deadline();
        if this.class != Class::Batch && this.woken {
            if let Some(cpu) = self.preemptible(g, node) {
                self.report.preemptions += 1;
                self.report(g, node);
                self.preempt(cpu, g);
                return;
            }
        }
        if let Some(cpu) = self.only_cpu(g) {
            self.report(g, node);
            self.cpus[cpu].pinned.insert(g, deadline);
            self.gs[g].place = Place::Pinned(cpu);
            self.wake_idle(g, node);
            return;
        }
        let leased = leased
            && self.nodes[node].queued == 0
            && self.nodes[node].primed.len() < PRIMED_PER_CPU * self.cpus_of(node);
        if leased {
            self.report.leased += 1;
            let (decided, edition) = (self.gs[g].edition, self.edition);
            self.require(decided == edition, || {
                format!("I7: G {g} is served by settings of edition {decided}, not {edition}")
            });
            self.report(g, node);
            self.nodes[node].primed.insert(g, deadline);
            self.gs[g].place = Place::Primed(node);
        } else {
            self.forward(g, node, true);
            self.nodes[node].custody.insert(g, deadline);
            self.gs[g].place = Place::Custody(node);
        }
        if !self.wake_idle(g, node) {
            self.offer(g, node);
        }
    }

    /// The CPUs of a G change: the kernel takes it out of its queue and enqueues it anew.
    pub(crate) fn set_cpus(&mut self, g: usize, cpus: u64) {
        self.gs[g].cpus = cpus;
        match self.gs[g].place {
            Place::Custody(node) => drop(self.nodes[node].custody.remove(g)),
            Place::Primed(node) => drop(self.nodes[node].primed.remove(g)),
            Place::Pinned(cpu) => drop(self.cpus[cpu].pinned.remove(g)),
            Place::Running(cpu) if !self.may(g, cpu) => {
                self.stop(cpu);
                self.gs[g].woken = false;
                self.enqueue(g);
                self.dispatch(cpu, None);
                return;
            }
            Place::Running(_) | Place::Asleep | Place::Gone => return,
        }
        // It left the queue without having run.
        self.gs[g].place = Place::Asleep;
        self.enqueue(g);
    }

    fn only_cpu(&self, g: usize) -> Option<usize> {
        let cpus = self.gs[g].cpus;
        cpus.is_power_of_two()
            .then(|| cpus.trailing_zeros() as usize)
    }

    /// Reports an enqueue that waits for no answer, which asks for the next decision: now and then, and at
    /// once what is news.
    fn report(&mut self, g: usize, node: usize) {
        let this = &self.gs[g];
        if !self.is_news(g) && (this.generation.wrapping_sub(this.report_at) as i32) < 0 {
            return;
        }
        let next = this.lease / REPORTS_PER_LEASE + 1;
        self.gs[g].report_at = this.generation.wrapping_add(next);
        self.forward(g, node, false);
    }

    /// Whether the next decision of the G may differ from the last, and the worker does not know yet.
    fn is_news(&self, g: usize) -> bool {
        let this = &self.gs[g];
        this.as_expected && this.departs() || this.edition != self.edition
    }

    /// A CPU of the node that runs a batch G, for a latency-sensitive one or one that is due
    /// sooner.
    fn preemptible(&self, g: usize, node: usize) -> Option<usize> {
        let yields = |cpu: usize, to: &G, running: &G| {
            let sooner = clock::before(to.deadline(), self.cpus[cpu].running_deadline);
            running.class == Class::Batch && (to.class == Class::Latency || sooner)
        };
        (0..self.cpus.len()).find(|&cpu| {
            let running = self.cpus[cpu].running.map(|running| &self.gs[running]);
            self.node_of(cpu) == node
                && self.may(g, cpu)
                && running.is_some_and(|running| yields(cpu, &self.gs[g], running))
        })
    }

    fn preempt(&mut self, cpu: usize, g: usize) {
        let prev = self.stop(cpu);
        self.start(g, cpu);
        if let Some(prev) = prev {
            self.gs[prev].woken = false;
            self.enqueue(prev);
        }
    }

    fn forward(&mut self, g: usize, node: usize, waiting: bool) {
        if self.nodes[node].ring.len() >= self.ring_slots {
            self.report.dropped += 1;
            self.nodes[node].call = true;
            return;
        }
        let all = self.cpus.len();
        let this = &self.gs[g];
        let event = Event {
            at_ns: self.now_ns,
            vtime: this.vtime,
            runtime_ns: this.runtime_ns,
            cookie: this.cookie,
            allowed_nodes: match self.one_queue {
                true => u64::MAX,
                false => self.allowed_nodes(g),
            },
            pid: g as u32,
            generation: this.generation,
            wakeups: this.wakeups,
            weight: this.weight,
            cpu: this.last_cpu as u16,
            node: node as u16,
            waiting,
            wakeup: this.woken,
            restricted: (0..all).any(|cpu| !self.may(g, cpu)),
            batch: false,
            rule: None,
            class: this.class,
        };
        let batches = match self.is_news(g) {
            true => 1,
            false => 1 + this.lease / LEASE_PER_BATCH,
        };
        let this = &mut self.gs[g];
        this.runtime_ns = 0;
        this.wakeups = 0;
        this.as_expected &= !this.departs();
        let (now_ns, params) = (self.now_ns, self.params);
        let node = &mut self.nodes[node];
        let due_ns = now_ns + u64::from(batches) * params.batch_ns;
        if node.ring.is_empty() || node.due_ns > due_ns {
            node.due_ns = due_ns;
        }
        node.ring.push_back(event);
        node.call |= node.ring.len() >= params.batch_events as usize || now_ns > node.due_ns;
    }

    pub(super) fn wake_idle(&mut self, g: usize, node: usize) -> bool {
        let found = self.idle_for(g, node);
        if let Some(cpu) = found {
            self.cpus[cpu].kicked = true;
        }
        found.is_some()
    }

    pub(super) fn offer(&mut self, g: usize, node: usize) {
        let wait_ns = self.node_wait_ns(node);
        for thief in self.others(node) {
            let leave = self.leave_ns(thief, node);
            if leave != NEVER && wait_ns >= leave && self.wake_idle(g, thief) {
                return;
            }
        }
    }
}
