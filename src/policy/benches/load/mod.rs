//! A node in a steady state: as many Gs queued as asked for, as many running as it has CPUs.
//!
//! A step is one of the worker's: the Gs that were handed over longest ago are enqueued anew (as many
//! events that wait as a worker is called for), and as many Gs of the P are handed over. What an
//! event needs of the G is in its last decision, as it is with the G in the kernel half, so that no
//! table of Gs is in the figure.
//!
//! Kinds and weights of Gs follow from their pids, chance from nothing: two runs are the same.

use mpg_policy::{Decision, Event, NodeView, Params, Processor, Storage, DEFAULT_POLICY, P};

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

impl Machine {
    /// Events of a step: those that a worker is called for, but of a small node what its marks allow
    /// to be half used up.
    fn batch(self) -> u32 {
        let params = Params::default();
        let cpus = self.cpus / self.nodes;
        (params.primed_high_per_cpu * cpus / 2).min(params.batch_events)
    }

    /// Notes that the P needs room for.
    pub fn slots(self, queued: u32) -> usize {
        let out = (self.cpus / self.nodes).next_multiple_of(self.batch());
        (queued + out) as usize
    }
}

/// The loaded node.
pub struct Load<'a> {
    processor: Processor<'a>,
    view: NodeView,
    params: Params,
    now_ns: u64,
    decision_ns: u64,
    /// Handed over and not enqueued since.
    out: Vec<Decision>,
    /// Where of these those of the next step begin.
    longest: usize,
    batch: usize,
    events: Vec<Event>,
}

impl<'a> Load<'a> {
    /// A node of `machine` with `queued` Gs in its P, for which `storage` has room,
    /// and for those that run or are primed, see [`Machine::slots`]. A
    /// decision is made each `decision_ns`.
    pub fn new(storage: Storage<'a>, queued: u32, machine: Machine, decision_ns: u64) -> Self {
        let params = Params::default();
        let cpus = machine.cpus / machine.nodes;
        let batch = machine.batch();
        let out = cpus.next_multiple_of(batch);
        let view = NodeView {
            // So much less than the mark: room for one step's decisions.
            primed: params.primed_high_per_cpu * cpus - batch,
            cpus,
            ..NodeView::default()
        };
        let mut load = Load {
            processor: Processor::new(0, P::new(storage), DEFAULT_POLICY),
            view,
            params,
            now_ns: 1,
            decision_ns,
            out: Vec::new(),
            longest: 0,
            batch: batch as usize,
            events: Vec::with_capacity((queued + out) as usize),
        };
        for pid in 1..=queued + out {
            let born = Decision {
                deadline: u64::from(pid),
                pid,
                ..Decision::default()
            };
            load.write_event(&born);
        }
        load.take_events();
        load.out = vec![Decision::default(); out as usize];
        for _ in 0..out / batch {
            load.hand_over();
        }
        assert_eq!(load.processor.p().len(), queued as usize);
        load
    }

    /// Decisions of a step.
    pub fn batch(&self) -> u64 {
        self.batch as u64
    }

    /// Some Gs come in, as many go out.
    pub fn step(&mut self) {
        self.now_ns += self.decision_ns * self.batch as u64;
        for at in self.longest..self.longest + self.batch {
            let came_off = self.out[at];
            self.write_event(&came_off);
        }
        self.take_events();
        self.hand_over();
    }

    /// What the kernel half does.
    fn write_event(&mut self, last: &Decision) {
        let kind = chance(last.pid);
        let (runtime_ns, slept) = KINDS[kind as usize % KINDS.len()];
        let weight = WEIGHTS[(kind >> 8) as usize % WEIGHTS.len()];
        // However long it ran and slept: no G is served more often than another, which leaves the
        // caches nothing to hold on to.
        let moved_on = chance(last.pid ^ last.generation.rotate_left(16)) % VTIME_STEP_NS;
        let started_at = last.deadline.wrapping_sub(last.deadline_offset);
        self.events.push(Event {
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
        });
    }

    fn take_events(&mut self) {
        self.processor.look_ahead(&self.events);
        for event in &self.events {
            let at_once = self
                .processor
                .on_event(self.now_ns, event, &self.view, &self.params);
            assert!(at_once.is_none(), "it waits");
        }
        self.events.clear();
    }

    /// Hands over a step's decisions, and starts those Gs in place of the ones that came off.
    fn hand_over(&mut self) {
        let out = &mut self.out[self.longest..][..self.batch];
        let vclock = &mut self.view.vclock.clone();
        let mut handed_over = 0;
        self.processor
            .decide(self.now_ns, &self.view, &self.params, &mut |decision| {
                out[handed_over] = decision;
                handed_over += 1;
                let started_at = decision.deadline.wrapping_sub(decision.deadline_offset);
                if mpg_policy::clock::before(*vclock, started_at) {
                    *vclock = started_at;
                }
            });
        assert_eq!(handed_over, self.batch);
        self.view.vclock = *vclock;
        self.longest += self.batch;
        if self.longest == self.out.len() {
            self.longest = 0;
        }
    }
}

/// A number that looks like chance, and is the same every time (the end of MurmurHash3).
fn chance(of: u32) -> u32 {
    let mixed = (of ^ of >> 16).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35);
    mixed ^ mixed >> 16
}
