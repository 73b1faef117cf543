//! A node in a steady state: as many Gs queued as asked for, as many running as it has CPUs.
//!
//! A step is what one decision costs: the G that runs longest is enqueued anew (one event that
//! waits), and one G of the P is handed over and runs. What the event needs of the G is in its last
//! decision, as it is with the G in the kernel half, so that no table of Gs is in the figure.
//!
//! Kinds and weights of Gs follow from their pids, chance from nothing: two runs are the same.

use mpg_policy::{Decision, Event, NodeView, Params, Processor, Storage, DEFAULT_POLICY, P};

/// From one decision to the next: short enough that few of 100,000 Gs wait beyond the bound, so
/// that all depths are served by deadline alike.
const DECISION_NS: u64 = 500;
/// How long Gs run between two events, and whether they slept then: servers' workers, messengers
/// and hogs.
const KINDS: [(u64, bool); 8] = [
    (250_000, true),
    (400_000, true),
    (550_000, true),
    (700_000, true),
    (20_000, true),
    (40_000, true),
    (5_000_000, false),
    (5_000_000, false),
];
const WEIGHTS: [u32; 8] = [10, 300, 100, 100, 100, 100, 100, 100];
/// One G in so many may use this node only.
const RESTRICTED_ONE_IN: u32 = 16;

/// How far the virtual time of a G gets from one start to the next, at most.
const VTIME_STEP_NS: u32 = 10_000_000;

/// A machine of which one node is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub cpus: u32,
    pub nodes: u32,
}

/// The loaded node.
pub struct Load<'a> {
    processor: Processor<'a>,
    view: NodeView,
    params: Params,
    now_ns: u64,
    running: Vec<Decision>,
    longest: usize,
}

impl<'a> Load<'a> {
    /// A node of `machine` with `queued` Gs in its P, for which `storage` has room,
    /// and for those that run.
    pub fn new(storage: Storage<'a>, queued: u32, machine: Machine) -> Self {
        let params = Params::default();
        let cpus = machine.cpus / machine.nodes;
        let view = NodeView {
            // One less than the mark: room for one decision.
            primed: params.primed_high_per_cpu * cpus - 1,
            cpus,
            ..NodeView::default()
        };
        let mut load = Load {
            processor: Processor::new(0, P::new(storage), DEFAULT_POLICY),
            view,
            params,
            now_ns: 1,
            running: Vec::new(),
            longest: 0,
        };
        for pid in 1..=queued + cpus {
            let born = Decision {
                deadline: u64::from(pid),
                pid,
                ..Decision::default()
            };
            load.enqueue(&born);
        }
        load.running = vec![Decision::default(); cpus as usize];
        for at in 0..load.running.len() {
            load.start(at);
        }
        assert_eq!(load.processor.p().len(), queued as usize);
        load
    }

    /// One G comes in, one goes out.
    pub fn step(&mut self) {
        self.now_ns += DECISION_NS;
        let at = self.longest;
        let came_off = self.running[at];
        self.enqueue(&came_off);
        self.start(at);
        self.longest = if at + 1 < self.running.len() {
            at + 1
        } else {
            0
        };
    }

    fn enqueue(&mut self, last: &Decision) {
        let kind = chance(last.pid);
        let (runtime_ns, slept) = KINDS[kind as usize % KINDS.len()];
        let weight = WEIGHTS[(kind >> 8) as usize % WEIGHTS.len()];
        // However long it ran and slept: no G is served more often than another, which leaves the
        // caches nothing to hold on to.
        let moved_on = chance(last.pid ^ last.generation.rotate_left(16)) % VTIME_STEP_NS;
        let started_at = last.deadline.wrapping_sub(last.deadline_offset);
        let event = Event {
            at_ns: self.now_ns,
            vtime: started_at.wrapping_add(u64::from(moved_on)),
            runtime_ns,
            cookie: last.cookie,
            allowed_nodes: 1,
            pid: last.pid,
            generation: last.generation.wrapping_add(1),
            wakeups: u32::from(slept),
            weight,
            waiting: true,
            wakeup: slept,
            restricted: (kind >> 16).is_multiple_of(RESTRICTED_ONE_IN),
            ..Event::default()
        };
        let at_once = self
            .processor
            .on_event(self.now_ns, &event, &self.view, &self.params);
        assert!(at_once.is_none(), "it waits");
    }

    /// Hands over one decision, and starts the G in place of the one that came off.
    fn start(&mut self, at: usize) {
        let running = &mut self.running[at];
        self.processor
            .decide(self.now_ns, &self.view, &self.params, &mut |decision| {
                *running = decision;
            });
        let started_at = running.deadline.wrapping_sub(running.deadline_offset);
        if mpg_policy::clock::before(self.view.vclock, started_at) {
            self.view.vclock = started_at;
        }
    }
}

/// A number that looks like chance, and is the same every time (the end of MurmurHash3).
fn chance(of: u32) -> u32 {
    let mixed = (of ^ of >> 16).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35);
    mixed ^ mixed >> 16
}
