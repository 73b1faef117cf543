//! One node's P with its policy: events in, decisions out.
//!
//! # Pseudo-code
//!
//! ```text
//! on_event:  judge
//!            not waiting            -> decision at once: renews the lease, carries the cookie
//!            may not run here       -> decision at once, for the nearest node where it may
//!            otherwise              -> note into the P; a full P leaves the G to the kernel half
//! decide:    while primed + handed over < high mark * CPUs:
//!                the oldest, if it waited beyond the starvation bound and was not helped just now
//!                the oldest, every n-th time
//!                the first due, otherwise
//! ```
//!
//! # Properties
//!
//! - Every event gives one decision, or one note, or one count of `overflow`.
//! - Of two decisions in a row at least one goes to the first due, unless `oldest_every` is 1: when
//!   all have waited too long, age alone would make the order that of arrival and
//!   latency-sensitive Gs the last.
//! - Once the oldest has waited beyond the bound, it is handed over within two decisions.
//! - A G that only its age brought forward is due before all that are primed, or the kernel half
//!   would let it wait behind them. It gets the shortest slice: the bound promises that it runs,
//!   its weight says how much.

use crate::{clock, Decision, Event, Neighbours, NodeView, Params, Policy, Queued, P};

/// Notes that are looked at before they are taken: what a core's first cache holds beside the rest.
const LOOK_AHEAD_MAX: usize = 64;

/// What a processor did since it was made. Each field wraps after centuries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events answered at once because they only reported.
    pub reported: u64,
    /// Events answered at once with another node, because the G may not run on this one.
    pub sent_away: u64,
    /// Notes taken into the P.
    pub queued: u64,
    /// Events left to the kernel half because the P was full.
    pub overflow: u64,
    /// Decisions from the P.
    pub decided: u64,
    /// Of these, the oldest for its age.
    pub by_age: u64,
    /// Of these, the oldest because its turn had come.
    pub by_turn: u64,
    /// Notes that other nodes took.
    pub stolen_out: u64,
    /// Notes taken from other nodes.
    pub stolen_in: u64,
}

/// One node's P with its policy.
pub struct Processor<'a> {
    pub(crate) p: P<'a>,
    pub(crate) counters: Counters,
    node: u16,
    policy: &'static dyn Policy,
    neighbours: Neighbours,
    /// Decisions since the oldest had its turn.
    turn: u32,
    /// The decision before this one went to the oldest, due or not.
    helped: bool,
}

impl<'a> Processor<'a> {
    /// The processor of `node`, 0 to 63, with an empty P.
    #[must_use]
    pub fn new(node: u16, p: P<'a>, policy: &'static dyn Policy) -> Self {
        Processor {
            p,
            counters: Counters::default(),
            node,
            policy,
            neighbours: Neighbours::default(),
            turn: 0,
            helped: false,
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> u16 {
        self.node
    }

    /// The run queue.
    #[must_use]
    pub fn p(&self) -> &P<'a> {
        &self.p
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &'static dyn Policy {
        self.policy
    }

    /// Judges by `policy` from the next event on, and by parameters that may be others. The notes
    /// in the P keep their order, but cover no enqueue beyond the one that they are about.
    pub fn set_policy(&mut self, policy: &'static dyn Policy) {
        self.policy = policy;
        self.p.end_leases();
    }

    /// The other nodes, nearest first.
    #[must_use]
    pub fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// Tells where the other nodes are. Before that, a lower number counts as nearer.
    pub fn set_neighbours(&mut self, neighbours: Neighbours) {
        self.neighbours = neighbours;
    }

    /// How long the G whose note is held longest has waited; 0 without one.
    #[must_use]
    pub fn oldest_waited_ns(&self, now_ns: u64) -> u64 {
        self.p
            .oldest_at_ns()
            .map_or(0, |at_ns| clock::waited_ns(now_ns, at_ns))
    }

    /// Looks at what the events of a step will need, many at a time: each then costs less. Changes
    /// nothing.
    pub fn look_ahead(&self, events: &[Event]) {
        self.p.look_ahead(events.iter().map(|event| event.pid));
    }

    /// Takes one event. A decision that comes back is to be handed over now, whatever the marks
    /// say: it primes nothing here.
    #[inline]
    pub fn on_event(
        &mut self,
        now_ns: u64,
        event: &Event,
        view: &NodeView,
        params: &Params,
    ) -> Option<Decision> {
        let judged = self.policy.judge(now_ns, event, view, params);
        let mut decision = Decision {
            deadline: judged.deadline,
            deadline_offset: judged.deadline_offset,
            slice_ns: judged.slice_ns,
            cookie: judged.cookie,
            pid: event.pid,
            generation: event.generation,
            lease: judged.lease,
            node: self.node,
            cpu: None,
            class: judged.class,
        };
        if !event.waiting {
            // It is primed, so a note of an earlier enqueue is about one that was served.
            self.p.remove(event.pid);
            self.counters.reported += 1;
            return Some(decision);
        }
        if event.restricted && !allows(event.allowed_nodes, self.node) {
            self.p.remove(event.pid);
            if let Some(node) = self.neighbours.nearest_of(event.allowed_nodes) {
                decision.node = node;
                self.counters.sent_away += 1;
                return Some(decision);
            }
        }
        let allowed_nodes = match event.restricted {
            true => event.allowed_nodes,
            false => u64::MAX,
        };
        match self.p.push(Queued {
            decision,
            at_ns: event.at_ns,
            allowed_nodes,
        }) {
            Ok(()) => self.counters.queued += 1,
            Err(_) => self.counters.overflow += 1,
        }
        None
    }

    /// Hands over what the marks allow; returns how many that was.
    #[inline]
    pub fn decide(
        &mut self,
        now_ns: u64,
        view: &NodeView,
        params: &Params,
        emit: &mut dyn FnMut(Decision),
    ) -> usize {
        self.decide_up_to(usize::MAX, now_ns, view, params, emit)
    }

    /// Hands over what the marks allow, and no more than `most`: the room where it goes.
    #[inline]
    pub fn decide_up_to(
        &mut self,
        most: usize,
        now_ns: u64,
        view: &NodeView,
        params: &Params,
        emit: &mut dyn FnMut(Decision),
    ) -> usize {
        // A node between its last CPU and its first goes on as if it had one.
        let high = u64::from(params.primed_high_per_cpu) * u64::from(view.cpus.max(1));
        let room = high.saturating_sub(u64::from(view.primed));
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(most);
        if self.is_overdue(now_ns, params) {
            // Every other decision goes by age.
            self.p.look_at_oldest(room.div_ceil(2).min(LOOK_AHEAD_MAX));
        }
        let mut handed_over = 0;
        while handed_over < room {
            let Some(decision) = self.next(now_ns, view, params) else {
                break;
            };
            emit(decision);
            handed_over += 1;
        }
        handed_over
    }

    /// Whether the note that is held longest has waited beyond the bound.
    fn is_overdue(&self, now_ns: u64, params: &Params) -> bool {
        !self.p.is_empty() && self.oldest_waited_ns(now_ns) >= params.starvation_bound_ns
    }

    #[inline]
    fn next(&mut self, now_ns: u64, view: &NodeView, params: &Params) -> Option<Decision> {
        if self.p.is_empty() {
            return None;
        }
        let overdue = self.is_overdue(now_ns, params);
        self.turn = self.turn.saturating_add(1);
        let by_age = overdue && !self.helped;
        let by_turn = self.turn >= params.oldest_every;
        self.helped = by_age || by_turn;
        self.counters.decided += 1;
        if !by_age && !by_turn {
            return self.p.pop_first().map(|queued| queued.decision);
        }
        // Either way the oldest has had its turn.
        self.turn = 0;
        self.counters.by_age += u64::from(by_age);
        self.counters.by_turn += u64::from(!by_age);
        let due_anyway = self.p.oldest_is_first();
        let mut decision = self.p.pop_oldest()?.decision;
        if !due_anyway {
            // What is primed is due later than the most that a sleeper may have in hand.
            let front = view.vclock.wrapping_sub(params.sleep_credit_ns);
            if clock::before(front, decision.deadline) {
                decision.deadline = front;
            }
            decision.slice_ns = decision.slice_ns.min(params.slice_min_ns.max(1));
        }
        Some(decision)
    }
}

/// Whether a mask of nodes holds this one.
pub(crate) fn allows(nodes: u64, node: u16) -> bool {
    nodes
        .checked_shr(u32::from(node))
        .is_some_and(|rest| rest & 1 == 1)
}
