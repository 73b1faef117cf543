//! The kernel half: places of Gs, idle CPUs, custody, primed, leases, stealing.
//!
//! Each function stands for one of bpf/ and says which.

use std::collections::VecDeque;

use mpg_policy::{clock, Class, Decision, Event, Params, NEVER};

use crate::load::{GSpec, Kind, Shape};
use crate::queue::Queue;
use crate::report::{GReport, Report, Violation};
use crate::rng::Rng;

/// Decisions carried out in one dispatch, as on the wire.
const DECISIONS_PER_DISPATCH: usize = 64;
/// The node looks for Gs that wait beyond the starvation bound this often in each bound.
const OVERDUE_LOOKS: u64 = 8;
/// A lease is not honoured while this many Gs per CPU are primed.
const PRIMED_PER_CPU: usize = 4;

/// Where a G is. Everything but the first and the last is runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Asleep,
    Custody(usize),
    Primed(usize),
    Running(usize),
    Gone,
}

/// What the kernel half knows of a G.
#[derive(Debug)]
pub(crate) struct G {
    pub(crate) kind: Kind,
    pub(crate) weight: u32,
    pub(crate) cpus: u64,
    pub(crate) place: Place,
    pub(crate) generation: u32,
    /// The generation that was taken from a queue last.
    pub(crate) taken: Option<u32>,
    pub(crate) left_ns: u64,
    pub(crate) woken: bool,
    home: usize,
    last_cpu: usize,
    vtime: u64,
    runtime_ns: u64,
    wakeups: u32,
    queued_at_ns: u64,
    lease_last: u32,
    slice_ns: u64,
    deadline_offset: u64,
    cookie: u64,
    class: Class,
}

#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) vclock: u64,
    pub(crate) custody: Queue,
    pub(crate) primed: Queue,
    pub(crate) ring: VecDeque<Event>,
    pub(crate) decisions: VecDeque<Decision>,
    /// Gs in the node's P, as its worker told last.
    pub(crate) queued: usize,
    pub(crate) call: bool,
    backlog_since_ns: u64,
    last_wait_ns: u64,
    last_taken_at_ns: u64,
    /// When no G of the node was overdue last.
    none_overdue_at_ns: u64,
    /// The dispatch before this one went to an overdue G.
    helped: bool,
}

#[derive(Debug)]
pub(crate) struct Cpu {
    pub(crate) node: usize,
    pub(crate) running: Option<usize>,
    /// Counts the starts, so that the end of a slice is told from that of an earlier one.
    pub(crate) start: u64,
    pub(crate) stops_at_ns: u64,
    started_at_ns: u64,
    /// An idle CPU that was called to look for work.
    pub(crate) kicked: bool,
}

pub(crate) struct Kernel {
    pub(crate) now_ns: u64,
    pub(crate) gs: Vec<G>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) params: Params,
    pub(crate) leave: Vec<u64>,
    pub(crate) report: Report,
    pub(crate) violation: Option<Violation>,
    pub(crate) rng: Rng,
    ring_slots: usize,
    doubled_percent: u64,
}

impl Kernel {
    pub(crate) fn new(shape: &Shape, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        // Clocks that differ and wrap during the run.
        let nodes = (0..shape.nodes)
            .map(|_| Node {
                vclock: 0u64.wrapping_sub(rng.between(0, 30_000_000)),
                ..Node::default()
            })
            .collect::<Vec<_>>();
        let cpus = (0..shape.cpus())
            .map(|cpu| Cpu {
                node: cpu / shape.cpus_per_node,
                running: None,
                start: 0,
                stops_at_ns: 0,
                started_at_ns: 0,
                kicked: false,
            })
            .collect::<Vec<_>>();
        let gs = shape
            .gs
            .iter()
            .map(|spec| new_g(spec, shape, &nodes, &mut rng))
            .collect();
        Kernel {
            now_ns: 0,
            gs,
            nodes,
            cpus,
            params: shape.params,
            leave: Vec::new(),
            report: Report {
                gs: vec![GReport::default(); shape.gs.len()],
                ..Report::default()
            },
            violation: None,
            rng,
            ring_slots: shape.faults.ring_slots,
            doubled_percent: shape.faults.doubled_percent,
        }
    }

    /// Notes that an invariant did not hold; the first one counts.
    pub(crate) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(Violation {
                at_ns: self.now_ns,
                what: what(),
            });
        }
    }

    pub(crate) fn idle_cpus(&self, node: usize) -> usize {
        self.cpus
            .iter()
            .filter(|cpu| cpu.node == node && cpu.running.is_none())
            .count()
    }

    pub(crate) fn cpus_of(&self, node: usize) -> usize {
        self.cpus.iter().filter(|cpu| cpu.node == node).count()
    }

    /// The G has slept until now.
    pub(crate) fn wake(&mut self, g: usize) {
        if self.gs[g].place != Place::Asleep {
            return;
        }
        self.gs[g].woken = true;
        self.gs[g].wakeups += 1;
        self.gs[g].left_ns = self.gs[g].kind.run_ns(&mut self.rng);
        let (home, last_cpu) = (self.gs[g].home, self.gs[g].last_cpu);
        // select_cpu: the previous CPU, then any of the home node.
        let idle = |kernel: &Self, cpu: usize| kernel.is_idle(cpu) && kernel.may(g, cpu);
        let found = match self.cpus[last_cpu].node == home && idle(self, last_cpu) {
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
        let home = self.gs[g].home;
        if self.allowed_nodes(g) >> home & 1 == 0 {
            let allowed: Vec<_> = (0..self.cpus.len())
                .filter(|&cpu| self.may(g, cpu))
                .collect();
            let cpu = allowed[self.rng.next() as usize % allowed.len()];
            self.change_home(g, self.cpus[cpu].node);
        }
        let node = self.gs[g].home;
        self.limit_credit(g);
        let now_ns = self.now_ns;
        let this = &mut self.gs[g];
        this.generation = this.generation.wrapping_add(1);
        this.queued_at_ns = now_ns;

        if this.class == Class::Latency && this.woken {
            if let Some(cpu) = self.preemptible(g, node) {
                self.report.preemptions += 1;
                self.preempt(cpu, g);
                return;
            }
        }
        let leased = self.gs[g].lease_last.wrapping_sub(self.gs[g].generation) as i32 >= 0
            && self.nodes[node].queued == 0
            && self.nodes[node].primed.len() < PRIMED_PER_CPU * self.cpus_of(node);
        let deadline = self.gs[g].vtime.wrapping_add(self.gs[g].deadline_offset);
        if leased {
            self.report.leased += 1;
            if self.gs[g].lease_last == self.gs[g].generation {
                self.forward(g, node, false);
            }
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

    /// ops.dispatch: what runs next on a CPU, and with whose leave. `prev` is the G that ran here
    /// and could go on.
    pub(crate) fn dispatch(&mut self, cpu: usize, prev: Option<usize>) {
        let node = self.cpus[cpu].node;
        self.execute_all(node);
        let overdue = self.overdue(cpu, node);
        if let Some(g) = prev {
            if overdue.is_none() && self.may(g, cpu) && self.still_first(g, node) {
                self.start(g, cpu);
                return;
            }
        }
        let found = overdue.or_else(|| self.first_of(cpu, node));
        if let Some(g) = found {
            self.start(g, cpu);
        }
        let taken = found.is_some();
        let few = self.nodes[node].primed.len() * 2 <= self.cpus_of(node);
        if self.nodes[node].queued > 0 && few {
            self.nodes[node].call = true;
        }
        match (taken, prev) {
            (true, None) => {}
            (true, Some(g)) => {
                self.gs[g].woken = false;
                self.enqueue(g);
            }
            (false, Some(g)) if self.may(g, cpu) => self.start(g, cpu),
            (false, prev) => {
                self.steal(cpu, node);
                if let Some(g) = prev {
                    self.gs[g].woken = false;
                    self.enqueue(g);
                }
            }
        }
    }

    /// ops.stopping: charges the G that runs on `cpu`, and takes it off.
    pub(crate) fn stop(&mut self, cpu: usize) -> Option<usize> {
        let g = self.cpus[cpu].running.take()?;
        let ran_ns = self.now_ns - self.cpus[cpu].started_at_ns;
        let this = &mut self.gs[g];
        this.runtime_ns += ran_ns;
        let weighted = u128::from(ran_ns) * 100 / u128::from(this.weight);
        this.vtime = this.vtime.wrapping_add(weighted as u64);
        this.left_ns -= ran_ns.min(this.left_ns);
        self.report.gs[g].ran_ns += ran_ns;
        Some(g)
    }

    /// The CPUs of a G change: the kernel takes it out of its queue and enqueues it anew.
    pub(crate) fn set_cpus(&mut self, g: usize, cpus: u64) {
        self.gs[g].cpus = cpus;
        match self.gs[g].place {
            Place::Custody(node) => drop(self.nodes[node].custody.remove(g)),
            Place::Primed(node) => drop(self.nodes[node].primed.remove(g)),
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

    pub(crate) fn may(&self, g: usize, cpu: usize) -> bool {
        self.gs[g].cpus >> cpu & 1 == 1
    }

    fn is_idle(&self, cpu: usize) -> bool {
        self.cpus[cpu].running.is_none() && !self.cpus[cpu].kicked
    }

    fn idle_for(&self, g: usize, node: usize) -> Option<usize> {
        (0..self.cpus.len())
            .find(|&cpu| self.cpus[cpu].node == node && self.is_idle(cpu) && self.may(g, cpu))
    }

    fn allowed_nodes(&self, g: usize) -> u64 {
        (0..self.cpus.len())
            .filter(|&cpu| self.may(g, cpu))
            .fold(0, |nodes, cpu| nodes | 1 << self.cpus[cpu].node)
    }

    fn change_home(&mut self, g: usize, node: usize) {
        let (from, to) = (self.nodes[self.gs[g].home].vclock, self.nodes[node].vclock);
        let this = &mut self.gs[g];
        this.vtime = clock::moved(this.vtime, clock::ahead(to, from));
        this.home = node;
    }

    fn limit_credit(&mut self, g: usize) {
        let vclock = self.nodes[self.gs[g].home].vclock;
        let floor = vclock.wrapping_sub(self.params.sleep_credit_ns);
        if clock::before(self.gs[g].vtime, floor) {
            self.gs[g].vtime = floor;
        }
    }

    fn preemptible(&self, g: usize, node: usize) -> Option<usize> {
        (0..self.cpus.len()).find(|&cpu| {
            let batch = |g: usize| self.gs[g].class == Class::Batch;
            self.cpus[cpu].node == node
                && self.may(g, cpu)
                && self.cpus[cpu].running.is_some_and(batch)
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
            allowed_nodes: self.allowed_nodes(g),
            pid: g as u32,
            generation: this.generation,
            wakeups: this.wakeups,
            weight: this.weight,
            cpu: this.last_cpu as u16,
            node: node as u16,
            waiting,
            wakeup: this.woken,
            restricted: (0..all).any(|cpu| !self.may(g, cpu)),
            class: this.class,
        };
        self.gs[g].runtime_ns = 0;
        self.gs[g].wakeups = 0;
        let (now_ns, params) = (self.now_ns, self.params);
        let node = &mut self.nodes[node];
        if node.ring.is_empty() {
            node.backlog_since_ns = now_ns;
        }
        node.ring.push_back(event);
        node.call |= node.ring.len() >= params.batch_events as usize
            || now_ns > node.backlog_since_ns + params.batch_ns;
    }

    fn execute_all(&mut self, node: usize) {
        for _ in 0..DECISIONS_PER_DISPATCH {
            let Some(decision) = self.nodes[node].decisions.pop_front() else {
                return;
            };
            self.execute(&decision);
            if self.rng.percent(self.doubled_percent) {
                self.execute(&decision);
            }
        }
    }

    fn execute(&mut self, decision: &Decision) {
        let (g, target) = (decision.pid as usize, usize::from(decision.node));
        let ahead = self.gs[g].generation.wrapping_sub(decision.generation);
        if ahead > u32::from(decision.lease) || self.gs[g].place == Place::Gone {
            self.report.refused_stale += 1;
            return;
        }
        if target >= self.nodes.len() || self.allowed_nodes(g) >> target & 1 == 0 {
            self.report.refused_affinity += 1;
            return;
        }
        let this = &mut self.gs[g];
        this.slice_ns = decision.slice_ns;
        this.deadline_offset = decision.deadline_offset;
        this.cookie = decision.cookie;
        this.class = decision.class;
        this.lease_last = decision.generation.wrapping_add(u32::from(decision.lease));
        self.report.trace(&[
            self.now_ns,
            1,
            g as u64,
            decision.deadline,
            decision.slice_ns,
        ]);
        match self.gs[g].place {
            Place::Custody(from) if ahead == 0 => {
                self.report.executed += 1;
                let (waits, meant) = (self.gs[g].generation, decision.generation);
                self.require(waits == meant, || {
                    format!("I2: G {g} waits in enqueue {waits}, the decision was about {meant}")
                });
                self.nodes[from].custody.remove(g);
                self.nodes[target].primed.insert(g, decision.deadline);
                self.gs[g].place = Place::Primed(target);
                self.wake_idle(g, target);
            }
            _ if decision.lease > 0 => self.report.renewed += 1,
            _ => self.report.refused_stale += 1,
        }
    }

    fn still_first(&self, g: usize, node: usize) -> bool {
        let mine = self.gs[g].vtime.wrapping_add(self.gs[g].deadline_offset);
        [&self.nodes[node].primed, &self.nodes[node].custody]
            .into_iter()
            .filter_map(Queue::first_deadline)
            .all(|other| clock::before(mine, other))
    }

    /// The G that waits longest of those that wait beyond the bound; every other dispatch at most,
    /// so that a node where all are overdue still knows an order.
    fn overdue(&mut self, cpu: usize, node: usize) -> Option<usize> {
        let (now_ns, bound_ns) = (self.now_ns, self.params.starvation_bound_ns);
        let state = &self.nodes[node];
        if now_ns < state.none_overdue_at_ns + bound_ns / OVERDUE_LOOKS {
            return None;
        }
        if state.helped {
            self.nodes[node].helped = false;
            return None;
        }
        let waiting = state.primed.iter().chain(state.custody.iter());
        let found = waiting
            .filter(|&g| self.may(g, cpu) && now_ns - self.gs[g].queued_at_ns >= bound_ns)
            .min_by_key(|&g| (self.gs[g].queued_at_ns, g));
        match found {
            None => self.nodes[node].none_overdue_at_ns = now_ns,
            Some(_) => self.nodes[node].helped = true,
        }
        found
    }

    /// Primed before undecided, unless that is due more than a slice earlier: it would be one that
    /// the worker does not know of.
    fn first_of(&self, cpu: usize, node: usize) -> Option<usize> {
        let Node {
            primed, custody, ..
        } = &self.nodes[node];
        let decided = primed.first(|g| self.may(g, cpu));
        let undecided = custody.first(|g| self.may(g, cpu));
        let slack_ns = self.params.slice_ns;
        match (primed.first_deadline(), custody.first_deadline()) {
            (Some(decided_by), Some(by))
                if clock::before(by.wrapping_add(slack_ns), decided_by) =>
            {
                undecided.or(decided)
            }
            _ => decided.or(undecided),
        }
    }

    fn node_wait_ns(&self, node: usize) -> u64 {
        let node = &self.nodes[node];
        match node.primed.is_empty() && node.custody.is_empty() {
            true => 0,
            false => node
                .last_wait_ns
                .max(self.now_ns.saturating_sub(node.last_taken_at_ns)),
        }
    }

    fn leave_ns(&self, thief: usize, victim: usize) -> u64 {
        self.leave[thief * self.nodes.len() + victim]
    }

    /// The nodes after `node`, in the order in which it looks at them.
    fn others(&self, node: usize) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.len();
        (1..nodes).map(move |step| (node + step) % nodes)
    }

    fn steal(&mut self, cpu: usize, thief: usize) {
        for victim in self.others(thief) {
            let leave = self.leave_ns(thief, victim);
            let node = &self.nodes[victim];
            let empty = node.primed.is_empty() && node.custody.is_empty();
            if leave == NEVER || empty || self.node_wait_ns(victim) < leave {
                continue;
            }
            let custody = node.custody.first(|g| self.may(g, cpu));
            if let Some(g) = custody.or_else(|| node.primed.first(|g| self.may(g, cpu))) {
                self.report.stolen += 1;
                self.start(g, cpu);
                return;
            }
        }
    }

    fn wake_idle(&mut self, g: usize, node: usize) -> bool {
        let found = self.idle_for(g, node);
        if let Some(cpu) = found {
            self.cpus[cpu].kicked = true;
        }
        found.is_some()
    }

    fn offer(&mut self, g: usize, node: usize) {
        let wait_ns = self.node_wait_ns(node);
        for thief in self.others(node) {
            let leave = self.leave_ns(thief, node);
            if leave != NEVER && wait_ns >= leave && self.wake_idle(g, thief) {
                return;
            }
        }
    }

    /// ops.running
    fn start(&mut self, g: usize, cpu: usize) {
        let (node, now_ns) = (self.cpus[cpu].node, self.now_ns);
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
            Place::Asleep | Place::Running(_) | Place::Gone => None,
        };
        if let Some(from) = from {
            let generation = self.gs[g].generation;
            self.require(self.gs[g].taken != Some(generation), || {
                format!("I2: G {g} was served twice for its enqueue {generation}")
            });
            self.gs[g].taken = Some(generation);
            let waited_ns = now_ns - self.gs[g].queued_at_ns;
            self.nodes[from].last_wait_ns = waited_ns;
            self.nodes[from].last_taken_at_ns = now_ns;
            let report = &mut self.report.gs[g];
            report.waited_ns += waited_ns;
            report.longest_wait_ns = report.longest_wait_ns.max(waited_ns);
        }
        self.require(self.may(g, cpu), || {
            format!("I8: G {g} may not use CPU {cpu}")
        });
        self.require(self.cpus[cpu].running.is_none(), || {
            format!("I1: CPU {cpu} runs another G")
        });
        if self.gs[g].home != node {
            self.change_home(g, node);
            self.report.gs[g].node_changes += 1;
        }
        self.limit_credit(g);
        let this = &mut self.gs[g];
        this.place = Place::Running(cpu);
        this.last_cpu = cpu;
        if clock::before(self.nodes[node].vclock, this.vtime) {
            self.nodes[node].vclock = this.vtime;
        }
        let slice_ns = this.slice_ns.min(this.left_ns);
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

    fn require_removed(&mut self, g: usize, node: usize, queue: fn(&mut Node) -> &mut Queue) {
        let was_there = queue(&mut self.nodes[node]).remove(g);
        self.require(was_there, || {
            format!("I1: G {g} was not where it was taken from")
        });
    }
}

fn new_g(spec: &GSpec, shape: &Shape, nodes: &[Node], rng: &mut Rng) -> G {
    let all = u64::MAX >> (64 - shape.cpus());
    let cpus = if spec.cpus & all == 0 {
        all
    } else {
        spec.cpus & all
    };
    let last_cpu = rng.next() as usize % shape.cpus();
    let home = last_cpu / shape.cpus_per_node;
    G {
        kind: spec.kind,
        weight: spec.weight.clamp(1, 10_000),
        cpus,
        place: Place::Asleep,
        generation: 0,
        taken: None,
        left_ns: 0,
        woken: false,
        home,
        last_cpu,
        vtime: nodes[home].vclock,
        runtime_ns: 0,
        wakeups: 0,
        queued_at_ns: 0,
        lease_last: 0,
        slice_ns: shape.params.slice_ns,
        deadline_offset: shape.params.slice_ns,
        cookie: 0,
        class: Class::Normal,
    }
}
