// SPDX-License-Identifier: GPL-2.0-only
//! Where the time of a wait went.
//!
//! # Terms
//!
//! - **its CPUs**: those that serve the queue that the G stood in and that it may use: of a node's
//!   queue the node's CPUs, of a CPU's queue that CPU.
//! - **elsewhere**: all others.
//!
//! # Pseudo-code
//!
//! At each moment of the wait one of these, the first that holds:
//!
//! ```text
//! spare           it is of SCHED_IDLE: whoever else wants the CPU comes first
//! waking          one of its CPUs is idle: it is on its way
//! worker          it waits undecided, the worker was called and has not answered, and no CPU
//!                 elsewhere is idle that it may use, which would take it undecided
//! other-class     of each of its CPUs that does what is not ours, its share
//! and of the other CPUs' shares, all of them together:
//!   affinity      a CPU elsewhere is idle that it may not use
//!   leave         a CPU elsewhere is idle that it may use: it may not be taken yet
//!   preempted     it was put off its CPU with slice left, and who took that runs there
//! or each of them:
//!   kernel-threads, scheduler, queue    by what runs there
//! unknown         there is no record
//! ```
//!
//! Where CPUs elsewhere are idle of which it may use some, `leave` comes before `affinity`.
//!
//! # Properties
//!
//! - The parts of a wait add up to the wait, whatever the records say.
//! - No part is longer than the wait, and who ran before it ran no longer than the wait times its CPUs.
//!
//! This file knows no kernel and no clock: [`tests`](super) hand it records that they made up.

use super::record::{How, Kind, Late, Place, Who};
use super::timeline::{Cursor, Doing, Timeline};

/// A cause of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Of SCHED_IDLE, which gets what nobody else wants.
    Spare,
    /// A CPU of its was idle and had yet to wake.
    Waking,
    /// The worker was called and had not answered.
    Worker,
    /// Its CPUs served other scheduling classes, or interrupts.
    OtherClass,
    /// A CPU was idle that it may not use.
    Affinity,
    /// A CPU of another node was idle and had no leave to take it yet.
    Leave,
    /// Who had put it off its CPU still ran there.
    Preempted,
    /// Its CPUs ran kernel threads.
    KernelThreads,
    /// Its CPUs ran threads of scx_mpg.
    Scheduler,
    /// Its CPUs ran other tasks.
    Queue,
    /// There is no record of it.
    Unknown,
}

/// All causes, in their order.
pub const CAUSES: [Cause; 11] = [
    Cause::Spare,
    Cause::Waking,
    Cause::Worker,
    Cause::OtherClass,
    Cause::Affinity,
    Cause::Leave,
    Cause::Preempted,
    Cause::KernelThreads,
    Cause::Scheduler,
    Cause::Queue,
    Cause::Unknown,
];

/// Time by cause, nanoseconds.
pub type Parts = [u64; CAUSES.len()];

/// Of those that ran before a late G, so many are named.
const NAMED: usize = 3;

/// What is to be known of the machine and the settings.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// The node of each CPU, by index.
    pub cpu_node: Vec<u16>,
    /// Which CPUs are there.
    pub online: Vec<bool>,
    /// The kernel's number of each node.
    pub node_ids: Vec<usize>,
    /// How long a G must have waited on a node before another may take it, nanoseconds: by the other
    /// node, then by the G's.
    pub leaves: Vec<Vec<u64>>,
    /// One queue, that of node 0, serves all nodes.
    pub one_queue: bool,
}

impl Shape {
    fn serves(&self, place: Place, cpu: u16) -> bool {
        match place {
            Place::Cpu(only) | Place::Local(only) => cpu == only,
            Place::Custody(node) | Place::Primed(node) | Place::Spare(node) => {
                self.one_queue || self.node_of(cpu) == Some(node)
            }
        }
    }

    fn node_of(&self, cpu: u16) -> Option<u16> {
        self.cpu_node.get(usize::from(cpu)).copied()
    }

    fn may_use(&self, late: &Late, cpu: u16) -> bool {
        if late.pinned {
            return cpu == late.cpu;
        }
        match (&late.allowed, late.restricted) {
            (Some(cpus), true) => cpus.contains(&cpu),
            _ => self
                .node_of(cpu)
                .is_some_and(|node| late.allowed_nodes & 1u64.unbounded_shl(node.into()) != 0),
        }
    }

    fn cpus(&self) -> impl Iterator<Item = u16> + '_ {
        let online = self.online.iter().enumerate();
        online
            .filter(|(_, &online)| online)
            .map(|(cpu, _)| cpu as u16)
    }
}

/// Everything that was recorded.
pub struct Past {
    /// The machine.
    pub shape: Shape,
    /// By CPU.
    pub timelines: Vec<Timeline>,
    /// By node: when the worker was called, and when it answered.
    pub calls: Vec<Vec<(u64, Option<u64>)>>,
}

/// Who ran on a late G's CPUs while it waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Who.
    pub who: Who,
    /// For how long, on all of them together, nanoseconds.
    pub ns: u64,
}

/// What became of one wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its time, by cause.
    pub parts: Parts,
    /// Those that ran longest on its CPUs meanwhile, longest first.
    pub behind: Vec<Behind>,
    /// By whom it was put off, if it was.
    pub taker: Option<Who>,
    /// The node whose idle CPU it might have had, once it had waited for that node's leave.
    pub idle_node: Option<u16>,
}

impl Outcome {
    /// The cause of most of it; the earlier of equals.
    pub fn main(&self) -> Cause {
        let parts = CAUSES.iter().rev().zip(self.parts.iter().rev());
        let longest = parts.max_by_key(|&(_, &ns)| ns);
        longest.map_or(Cause::Unknown, |(&cause, _)| cause)
    }
}

/// The CPUs that matter to a wait, each on its way through its past.
struct Sweep<'a> {
    past: &'a Past,
    late: &'a Late,
    /// Its CPUs.
    own: Vec<(u16, Cursor<'a>)>,
    elsewhere: Vec<(u16, Cursor<'a>)>,
    /// The CPU that it was put off, and by whom.
    taken: Option<(Who, Cursor<'a>)>,
    idle_node: Option<u16>,
}

impl<'a> Sweep<'a> {
    fn new(past: &'a Past, late: &'a Late) -> Self {
        let shape = &past.shape;
        let timeline = |cpu: u16| past.timelines.get(usize::from(cpu));
        let cursor = |cpu: u16| Some((cpu, timeline(cpu)?.walk_from(late.since)));
        let is_own = |cpu: u16| shape.serves(late.place, cpu) && shape.may_use(late, cpu);
        let mut own: Vec<_> = shape
            .cpus()
            .filter(|&cpu| is_own(cpu))
            .filter_map(cursor)
            .collect();
        if own.is_empty() {
            // What it may use has changed since it was put there.
            own.extend(cursor(late.cpu));
        }
        let owned: Vec<u16> = own.iter().map(|&(cpu, _)| cpu).collect();
        let others = shape.cpus().filter(|cpu| !owned.contains(cpu));
        let taker = || {
            let by = late.since.saturating_add(TAKEN_WITHIN_NS);
            let who = timeline(late.from_cpu)?.first_run(late.since, by)?;
            (who.pid != late.who.pid).then_some((who, cursor(late.from_cpu)?.1))
        };
        Self {
            past,
            late,
            own,
            elsewhere: others.filter_map(cursor).collect(),
            taken: (late.how == How::Preempted).then(taker).flatten(),
            idle_node: None,
        }
    }

    /// Until when it waited for a decision.
    fn undecided_until(&self) -> u64 {
        match self.late.place {
            Place::Custody(_) => self.late.start,
            _ => self.late.decided.unwrap_or(0),
        }
    }

    /// Whether the worker owes an answer at `time`, and until when that stays so.
    fn owes(&self, time: u64) -> (bool, u64) {
        let until = self.undecided_until();
        if time >= until {
            return (false, u64::MAX);
        }
        if self.late.called.is_some_and(|called| called <= time) {
            return (true, until);
        }
        let mut change = until.min(self.late.called.unwrap_or(u64::MAX));
        let node = match self.late.place {
            Place::Custody(node) | Place::Primed(node) => node,
            _ => return (false, change),
        };
        let calls = self
            .past
            .calls
            .get(usize::from(node))
            .map_or(&[][..], Vec::as_slice);
        // In the order of their times: the last before `time` tells, and the next is a change.
        let next = calls.partition_point(|&(called, _)| called <= time);
        if let Some(&(called, _)) = calls.get(next) {
            change = change.min(called);
        }
        match next.checked_sub(1).and_then(|last| calls.get(last)) {
            Some(&(_, Some(answered))) if answered > time => (true, change.min(answered)),
            _ => (false, change),
        }
    }

    /// Goes through the wait; `visit` gets each part of it, in order, with the time of each cause.
    fn run(&mut self, visit: &mut impl FnMut(u64, u64, &Parts, &[(u16, Doing)])) {
        let mut time = self.late.since;
        let mut doings = Vec::with_capacity(self.own.len());
        while time < self.late.start {
            doings.clear();
            let (owes, mut until) = self.owes(time);
            until = until.min(self.late.start);
            for (cpu, cursor) in &mut self.own {
                let (doing, end) = cursor.at(time);
                until = until.min(end);
                doings.push((*cpu, doing));
            }
            let (mut may, mut may_not) = (None, false);
            for (cpu, cursor) in &mut self.elsewhere {
                let (doing, end) = cursor.at(time);
                until = until.min(end);
                if doing != Doing::Idle {
                    continue;
                }
                match self.past.shape.may_use(self.late, *cpu) {
                    true => may = may.or(self.past.shape.node_of(*cpu)),
                    false => may_not = true,
                }
            }
            let by_taker = match &mut self.taken {
                Some((who, cursor)) => {
                    let (doing, end) = cursor.at(time);
                    until = until.min(end);
                    matches!(doing, Doing::Runs(runs) if runs.pid == who.pid)
                }
                None => false,
            };
            // A G that is next on one CPU is in nobody's reach, wherever it may run.
            may = may.filter(|_| !matches!(self.late.place, Place::Local(_) | Place::Cpu(_)));
            self.idle_node = self.idle_node.or(may);

            let whole = match () {
                () if self.late.who.kind == Kind::Spare => Some(Cause::Spare),
                () if doings.iter().any(|&(_, doing)| doing == Doing::Idle) => Some(Cause::Waking),
                () if owes && may.is_none() => Some(Cause::Worker),
                () => None,
            };
            let rest = match () {
                () if may.is_some() => Some(Cause::Leave),
                () if may_not => Some(Cause::Affinity),
                () if by_taker => Some(Cause::Preempted),
                () => None,
            };
            let parts = share_out(until - time, whole, rest, &doings);
            visit(time, until, &parts, &doings);
            time = until;
        }
    }
}

/// A G that is put off is followed on its CPU within this time by who took it, nanoseconds.
const TAKEN_WITHIN_NS: u64 = 100_000;

/// `ns` by cause: all of it to `whole`, or else to each CPU what it does; what is ours goes to
/// `rest` instead, if there is such a cause.
fn share_out(ns: u64, whole: Option<Cause>, rest: Option<Cause>, doings: &[(u16, Doing)]) -> Parts {
    let mut parts = Parts::default();
    if let Some(cause) = whole {
        parts[cause as usize] = ns;
        return parts;
    }
    if doings.is_empty() {
        parts[rest.unwrap_or(Cause::Unknown) as usize] = ns;
        return parts;
    }
    // Up to each CPU the whole number below its share of all, so that nothing is lost.
    let upto = |nth: usize| (u128::from(ns) * nth as u128 / doings.len() as u128) as u64;
    for (nth, (_, doing)) in doings.iter().enumerate() {
        let cause = match doing {
            Doing::NotOurs => Cause::OtherClass,
            Doing::Unknown => Cause::Unknown,
            Doing::Idle => Cause::Waking,
            Doing::Runs(who) => rest.unwrap_or(match who.kind {
                Kind::Kernel => Cause::KernelThreads,
                Kind::Own => Cause::Scheduler,
                _ => Cause::Queue,
            }),
        };
        parts[cause as usize] += upto(nth + 1) - upto(nth);
    }
    parts
}

/// Says where the time of `late` went.
pub fn attribute(past: &Past, late: &Late) -> Outcome {
    let mut parts = Parts::default();
    let mut behind: Vec<Behind> = Vec::new();
    let mut sweep = Sweep::new(past, late);
    sweep.run(&mut |from, to, now, doings| {
        for (sum, ns) in parts.iter_mut().zip(now) {
            *sum += ns;
        }
        for &(_, doing) in doings {
            let Doing::Runs(who) = doing else {
                continue;
            };
            match behind.iter_mut().find(|b| b.who.pid == who.pid) {
                Some(known) => known.ns += to - from,
                None => behind.push(Behind { who, ns: to - from }),
            }
        }
    });
    // Of equals the one that came first.
    behind.retain(|b| b.who.pid != late.who.pid);
    behind.sort_by_key(|b| std::cmp::Reverse(b.ns));
    behind.truncate(NAMED);
    Outcome {
        parts,
        behind,
        taker: sweep.taken.map(|(who, _)| who),
        idle_node: sweep.idle_node,
    }
}

/// The wait in pieces, in their order, each with what had most of it; neighbours of one cause are
/// one piece.
pub fn pieces(past: &Past, late: &Late) -> Vec<(u64, u64, Cause)> {
    let mut pieces: Vec<(u64, u64, Cause)> = Vec::new();
    Sweep::new(past, late).run(&mut |from, to, parts, _| {
        let most = CAUSES
            .iter()
            .rev()
            .zip(parts.iter().rev())
            .max_by_key(|&(_, &ns)| ns);
        let cause = most.map_or(Cause::Unknown, |(&cause, _)| cause);
        match pieces.last_mut() {
            Some(last) if last.2 == cause => last.1 = to,
            _ => pieces.push((from, to, cause)),
        }
    });
    pieces
}
