//! The kernel half: what it knows of Gs, nodes and CPUs. What it does is in the files below, by the
//! job, as in bpf/.

mod dispatch;
mod enqueue;
mod execute;
mod run;

use std::collections::VecDeque;

use mpg_policy::{clock, Class, Decision, Event, Params, Wish};

use crate::load::{GSpec, Kind, Shape};
use crate::queue::Queue;
use crate::report::{GReport, Report, Violation};
use crate::rng::Rng;

/// A lease is not honoured while this many Gs per CPU are primed.
const PRIMED_PER_CPU: usize = 4;

/// How many of its offsets a G is owed that did not sleep, beside what the clock ran meanwhile.
const OWED_OFFSETS: u64 = 4;

/// Where a G is. Everything but the first and the last is runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Asleep,
    Custody(usize),
    Primed(usize),
    /// In the queue of the only CPU that it may use.
    Pinned(usize),
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
    /// Time that it ran while it was taken for latency-sensitive, since it was woken.
    latency_run_ns: u64,
    pub(crate) woken: bool,
    /// What it has in hand since its sleep has not been limited.
    slept: bool,
    /// It waited for so long that it was taken out of turn.
    helped: bool,
    home: usize,
    last_cpu: usize,
    /// One queue served the whole machine when it was enqueued last.
    in_one_queue: bool,
    vtime: u64,
    runtime_ns: u64,
    /// Since the last wakeup.
    run_ns: u64,
    wakeups: u32,
    queued_at_ns: u64,
    lease_last: u32,
    /// The next enqueue that is reported under the lease, and how many it had.
    report_at: u32,
    lease: u32,
    /// It has done nothing that its class is not for since the standing decision.
    as_expected: bool,
    slice_ns: u64,
    deadline_offset: u64,
    cookie: u64,
    class: Class,
    /// Of the settings that the last decision was made under.
    edition: u64,
}

impl G {
    /// What orders it until it is decided.
    fn deadline(&self) -> u64 {
        self.vtime.wrapping_add(self.deadline_offset)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) vclock: u64,
    pub(crate) custody: Queue,
    pub(crate) primed: Queue,
    pub(crate) ring: VecDeque<Event>,
    /// Each with the edition of the settings that it was made under.
    pub(crate) decisions: VecDeque<(u64, Decision)>,
    /// Gs in the node's P, as its worker told last.
    pub(crate) queued: usize,
    pub(crate) call: bool,
    /// When the worker is to be called for what is in the ring.
    due_ns: u64,
    /// Of the Gs that started, those that found an idle CPU included.
    pub(crate) average_wait_ns: u64,
    /// Gs that this node is to have of another: the node, and what they may weigh together.
    pub(crate) pull: Option<Wish>,
    /// How often one of its CPUs found nothing to run.
    pub(crate) ran_dry: u32,
    last_wait_ns: u64,
    last_taken_at_ns: u64,
}

#[derive(Debug)]
pub(crate) struct Cpu {
    pub(crate) own_node: usize,
    pub(crate) running: Option<usize>,
    /// Counts the starts, so that the end of a slice is told from that of an earlier one.
    pub(crate) start: u64,
    pub(crate) stops_at_ns: u64,
    started_at_ns: u64,
    /// Gs that may use this CPU only.
    pub(crate) pinned: Queue,
    /// By when the G that runs should have had its turn.
    running_deadline: u64,
    /// When it looks through the node's queues next for a G past the starvation bound.
    next_search_ns: u64,
    /// An idle CPU that was called to look for work.
    pub(crate) kicked: bool,
}

pub(crate) struct Kernel {
    pub(crate) now_ns: u64,
    pub(crate) gs: Vec<G>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) params: Params,
    /// Counts the changes of policy and parameters: what was decided under another stands no more.
    pub(crate) edition: u64,
    /// The first node's queue serves the whole machine.
    one_queue: bool,
    pub(crate) leave: Vec<u64>,
    /// Whether a CPU of one node may take a G of another however short that waited, laid out as
    /// the leave.
    pub(crate) grants: Vec<bool>,
    pub(crate) report: Report,
    pub(crate) violation: Option<Violation>,
    pub(crate) rng: Rng,
    ring_slots: usize,
    doubled_percent: u64,
    astray_percent: u64,
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
                own_node: cpu / shape.cpus_per_node,
                running: None,
                start: 0,
                stops_at_ns: 0,
                started_at_ns: 0,
                pinned: Queue::default(),
                running_deadline: 0,
                kicked: false,
                next_search_ns: 0,
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
            edition: 1,
            one_queue: false,
            leave: Vec::new(),
            grants: vec![false; shape.nodes * shape.nodes],
            report: Report {
                gs: vec![GReport::default(); shape.gs.len()],
                ..Report::default()
            },
            violation: None,
            rng,
            ring_slots: shape.faults.ring_slots,
            doubled_percent: shape.faults.doubled_percent,
            astray_percent: shape.faults.astray_percent,
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
            .enumerate()
            .filter(|&(at, cpu)| self.node_of(at) == node && cpu.running.is_none())
            .count()
    }

    pub(crate) fn cpus_of(&self, node: usize) -> usize {
        let all = 0..self.cpus.len();
        all.filter(|&cpu| self.node_of(cpu) == node).count()
    }

    /// The node whose queue serves a CPU.
    pub(crate) fn node_of(&self, cpu: usize) -> usize {
        match self.one_queue {
            true => 0,
            false => self.cpus[cpu].own_node,
        }
    }

    pub(crate) fn is_one_queue(&self) -> bool {
        self.one_queue
    }

    /// Has one queue serve all, or each node its own. Whoever idles looks around, as sysmon would
    /// have it.
    pub(crate) fn set_one_queue(&mut self, one_queue: bool) {
        if self.one_queue != one_queue {
            self.one_queue = one_queue;
            for cpu in &mut self.cpus {
                cpu.kicked |= cpu.running.is_none();
            }
        }
    }

    pub(crate) fn may(&self, g: usize, cpu: usize) -> bool {
        self.gs[g].cpus >> cpu & 1 == 1
    }

    fn is_idle(&self, cpu: usize) -> bool {
        self.cpus[cpu].running.is_none() && !self.cpus[cpu].kicked
    }

    fn idle_for(&self, g: usize, node: usize) -> Option<usize> {
        (0..self.cpus.len())
            .find(|&cpu| self.node_of(cpu) == node && self.is_idle(cpu) && self.may(g, cpu))
    }

    fn allowed_nodes(&self, g: usize) -> u64 {
        (0..self.cpus.len())
            .filter(|&cpu| self.may(g, cpu))
            .fold(0, |nodes, cpu| nodes | 1 << self.cpus[cpu].own_node)
    }

    /// Whether a G may wait in the queue of a node.
    fn may_wait_in(&self, g: usize, node: usize) -> bool {
        self.one_queue || self.allowed_nodes(g) >> node & 1 == 1
    }

    /// Moves a G to a queue that there is, once after a change of the queues.
    fn follow_queues(&mut self, g: usize) {
        let this = &mut self.gs[g];
        let was_in_one = std::mem::replace(&mut this.in_one_queue, self.one_queue);
        let home = match (self.one_queue, was_in_one) {
            (true, _) => 0,
            (false, true) => self.cpus[this.last_cpu].own_node,
            (false, false) => this.home,
        };
        self.change_home(g, home);
    }

    fn change_home(&mut self, g: usize, node: usize) {
        let (from, to) = (self.nodes[self.gs[g].home].vclock, self.nodes[node].vclock);
        let this = &mut self.gs[g];
        this.vtime = clock::moved(this.vtime, clock::ahead(to, from));
        this.home = node;
    }

    fn limit_credit(&mut self, g: usize) {
        // One that had to wait is owed more than one that slept.
        let owed_ns = match std::mem::take(&mut self.gs[g].slept) {
            true => 0,
            false => self.params.starvation_bound_ns + OWED_OFFSETS * self.gs[g].deadline_offset,
        };
        let vclock = self.nodes[self.gs[g].home].vclock;
        let floor = vclock.wrapping_sub(self.params.sleep_credit_ns + owed_ns);
        if clock::before(self.gs[g].vtime, floor) {
            self.gs[g].vtime = floor;
        }
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
        latency_run_ns: 0,
        woken: false,
        slept: false,
        helped: false,
        home,
        last_cpu,
        in_one_queue: false,
        vtime: nodes[home].vclock,
        runtime_ns: 0,
        run_ns: 0,
        wakeups: 0,
        queued_at_ns: 0,
        lease_last: 0,
        report_at: 0,
        lease: 0,
        as_expected: true,
        slice_ns: shape.params.slice_ns,
        deadline_offset: shape.params.slice_ns,
        cookie: 0,
        class: Class::Normal,
        edition: 0,
    }
}
