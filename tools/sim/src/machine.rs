//! Time: what happens next, until nothing does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mpg_policy::{
    fill_steal_after, policy_by_name, Balance, Neighbours, Paces, Processor, NEVER, P, POLICIES,
};

use crate::kernel::{Kernel, Place};
use crate::load::{random_params, Kind, Shape};
use crate::memory::Memory;
use crate::report::{Report, Violation};
use crate::{check, worker};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
/// From the call of a worker to its step.
const ANSWER_NS: (u64, u64) = (20 * US, 200 * US);
/// The same when something is in the worker's way.
const LATE_NS: (u64, u64) = (MS, 15 * MS);
/// A worker that nobody calls looks around this often.
const NAP_NS: u64 = 1_000 * MS;
/// How often the nodes are balanced (src/balancer.rs).
const BALANCE_EVERY_NS: u64 = 50 * MS;
/// The sleep of a server's worker between two requests.
const WORKER_SLEEP_NS: u64 = 100 * US;
/// The sleep of an abuser while it pretends to be a timer.
const ABUSER_SLEEP_NS: u64 = 2 * MS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Wake(usize),
    /// The CPU's G has used its slice or has no more to do; of that start only.
    Stop(usize, u64),
    Step(usize),
    /// The workers have slept for long enough.
    Nap,
    /// The nodes are balanced.
    Balance,
    Switch,
    Affinity,
}

struct Machine<'a> {
    kernel: Kernel,
    processors: Vec<Processor<'a>>,
    balances: Vec<(Balance, Paces)>,
    shape: &'a Shape,
    timeline: BinaryHeap<Reverse<(u64, u64, What)>>,
    entries: u64,
    /// The stop of this start is on the timeline, by CPU.
    planned: Vec<u64>,
    called: Vec<bool>,
}

/// Runs a shape to its end. The first invariant that does not hold ends it.
///
/// # Errors
/// The invariant, and when.
///
/// # Panics
/// On a shape of no or of more than 64 CPUs, or a policy that there is not.
pub fn run(shape: &Shape, seed: u64) -> Result<Report, Violation> {
    assert!((1..=64).contains(&shape.cpus()), "a shape has 1 to 64 CPUs");
    let policy = policy_by_name(shape.policy).expect("a shape names a policy");
    let mut storage: Vec<_> = (0..shape.nodes)
        .map(|_| Memory::of(shape.faults.p_slots))
        .collect();
    let distances = shape.distances();
    let processors = storage.iter_mut().enumerate().map(|(node, memory)| {
        let mut processor = Processor::new(node as u16, P::new(memory.lend()), policy);
        let nearest = Neighbours::nearest_first(node as u16, &distances, shape.nodes);
        processor.set_neighbours(nearest);
        processor
    });
    let mut machine = Machine {
        kernel: Kernel::new(shape, seed),
        processors: processors.collect(),
        balances: vec![(Balance::default(), Paces::default()); shape.nodes],
        shape,
        timeline: BinaryHeap::new(),
        entries: 0,
        planned: vec![0; shape.cpus()],
        called: vec![false; shape.nodes],
    };
    machine.share_queue();
    machine.give_leave();
    machine.begin();
    // While Gs leave one after the other no balance lasts: what moves then is not counted.
    let mut balanced = 0;
    while let Some(Reverse((at_ns, _, what))) = machine.timeline.pop() {
        machine.kernel.now_ns = at_ns;
        machine.happen(what);
        machine.settle();
        if !machine.is_over() {
            balanced = machine.kernel.report.balanced;
        }
        check::after_step(&mut machine.kernel);
        if let Some(violation) = machine.kernel.violation.take() {
            return Err(violation);
        }
    }
    check::at_end(&mut machine.kernel);
    let Machine {
        kernel, processors, ..
    } = machine;
    let counters = processors
        .iter()
        .map(|processor| *processor.counters())
        .collect();
    match kernel.violation {
        Some(violation) => Err(violation),
        None => Ok(Report {
            processors: counters,
            balanced,
            ..kernel.report
        }),
    }
}

impl Machine<'_> {
    fn begin(&mut self) {
        for g in 0..self.kernel.gs.len() {
            let at_ns = match self.kernel.gs[g].kind {
                Kind::Burst { at_ns, .. } => at_ns,
                // The second of a pair is woken by the first.
                Kind::Message { partner } if partner < g => continue,
                _ => self.kernel.rng.between(0, MS),
            };
            self.plan(at_ns, What::Wake(g));
        }
        self.plan(NAP_NS, What::Nap);
        self.plan(BALANCE_EVERY_NS, What::Balance);
        let faults = self.shape.faults;
        faults
            .switch_every_ns
            .into_iter()
            .for_each(|every| self.plan(every, What::Switch));
        faults
            .affinity_every_ns
            .into_iter()
            .for_each(|every| self.plan(every, What::Affinity));
    }

    fn plan(&mut self, at_ns: u64, what: What) {
        self.timeline.push(Reverse((at_ns, self.entries, what)));
        self.entries += 1;
    }

    fn is_over(&self) -> bool {
        self.kernel.now_ns >= self.shape.duration_ns
    }

    fn happen(&mut self, what: What) {
        let now_ns = self.kernel.now_ns;
        match what {
            What::Wake(g) => self.kernel.wake(g),
            What::Stop(cpu, start) => {
                if self.kernel.cpus[cpu].start == start {
                    self.stop(cpu);
                }
            }
            What::Step(node) => {
                self.called[node] = false;
                let distance = self.shape.distance;
                worker::step(&mut self.kernel, &mut self.processors, node, distance);
            }
            What::Nap => {
                self.call_all();
                self.again(now_ns, Some(NAP_NS), what);
            }
            What::Balance => {
                worker::balance(&mut self.kernel, &self.processors, &mut self.balances);
                self.again(now_ns, Some(BALANCE_EVERY_NS), what);
            }
            What::Switch => {
                for processor in &mut self.processors {
                    let policy = self.kernel.rng.between(0, POLICIES.len() as u64 - 1);
                    processor.set_policy(POLICIES[policy as usize]);
                }
                self.share_queue();
                self.kernel.params = random_params(&mut self.kernel.rng);
                self.kernel.edition += 1;
                self.call_all();
                self.give_leave();
                self.again(now_ns, self.shape.faults.switch_every_ns, what);
            }
            What::Affinity => {
                let all = u64::MAX >> (64 - self.shape.cpus());
                let rng = &mut self.kernel.rng;
                let one = 1 << rng.between(0, self.shape.cpus() as u64 - 1);
                let cpus = if rng.percent(30) {
                    all
                } else {
                    rng.next() & all | one
                };
                let g = rng.next() as usize % self.kernel.gs.len();
                if self.kernel.gs[g].place != Place::Gone {
                    self.kernel.set_cpus(g, cpus);
                }
                self.again(now_ns, self.shape.faults.affinity_every_ns, what);
            }
        }
    }

    fn again(&mut self, now_ns: u64, every_ns: Option<u64>, what: What) {
        if let Some(every_ns) = every_ns.filter(|_| !self.is_over()) {
            self.plan(now_ns + every_ns, what);
        }
    }

    /// Of workers that differ in their policies some have not taken up the latest, which the kernel
    /// half knows at once.
    fn share_queue(&mut self) {
        let latest = self.processors.last().expect("a node").policy();
        self.kernel.set_one_queue(latest.one_queue());
    }

    /// Has every worker step.
    fn call_all(&mut self) {
        for node in &mut self.kernel.nodes {
            node.call = true;
        }
    }

    fn give_leave(&mut self) {
        let nodes = self.shape.nodes;
        self.kernel.leave = vec![NEVER; nodes * nodes];
        if self.kernel.is_one_queue() {
            return;
        }
        fill_steal_after(
            self.kernel.params.steal_after_ns,
            &self.shape.distances(),
            nodes,
            &mut self.kernel.leave,
            nodes,
        );
    }

    /// The CPU's G comes off: for more, if it has more to do, or to sleep.
    fn stop(&mut self, cpu: usize) {
        let Some(g) = self.kernel.stop(cpu) else {
            return;
        };
        // A hog is never done by itself.
        if self.kernel.gs[g].left_ns > 0 && !(self.is_over() && self.endless(g)) {
            self.kernel.dispatch(cpu, Some(g));
            return;
        }
        self.kernel.gs[g].place = Place::Asleep;
        let now_ns = self.kernel.now_ns;
        match self.kernel.gs[g].kind {
            Kind::Burst { .. } => self.kernel.gs[g].place = Place::Gone,
            _ if self.is_over() => {}
            Kind::Hog => {}
            Kind::Timer { period_ns, .. } => self.plan(now_ns + period_ns, What::Wake(g)),
            Kind::Abuser { .. } => self.plan(now_ns + ABUSER_SLEEP_NS, What::Wake(g)),
            Kind::Worker => self.plan(now_ns + WORKER_SLEEP_NS, What::Wake(g)),
            Kind::Message { partner } => {
                // The waker still has its CPU when it wakes.
                self.kernel.cpus[cpu].kicked = true;
                self.kernel.wake(partner);
                self.kernel.cpus[cpu].kicked = false;
            }
        }
        self.kernel.dispatch(cpu, None);
    }

    fn endless(&self, g: usize) -> bool {
        matches!(self.kernel.gs[g].kind, Kind::Hog | Kind::Abuser { .. })
    }

    /// Lets kicked CPUs look for work, puts ends of slices on the timeline and calls workers.
    fn settle(&mut self) {
        while let Some(cpu) = self.kernel.cpus.iter().position(|cpu| cpu.kicked) {
            self.kernel.cpus[cpu].kicked = false;
            if self.kernel.cpus[cpu].running.is_none() {
                self.kernel.dispatch(cpu, None);
            }
        }
        for cpu in 0..self.kernel.cpus.len() {
            let state = &self.kernel.cpus[cpu];
            if state.running.is_some() && self.planned[cpu] != state.start {
                self.planned[cpu] = state.start;
                self.plan(state.stops_at_ns, What::Stop(cpu, state.start));
            }
        }
        for node in 0..self.shape.nodes {
            let called = std::mem::take(&mut self.kernel.nodes[node].call);
            if called && !self.called[node] && !self.shape.faults.dead {
                self.called[node] = true;
                let late = self.kernel.rng.percent(self.shape.faults.late_percent);
                let (low, high) = if late { LATE_NS } else { ANSWER_NS };
                let answer_ns = self.kernel.rng.between(low, high);
                self.plan(self.kernel.now_ns + answer_ns, What::Step(node));
            }
        }
    }
}
