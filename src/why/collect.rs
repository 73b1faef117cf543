// SPDX-License-Identifier: GPL-2.0-only
//! Keeps what was recorded, for as long as it is asked for.

use std::collections::VecDeque;
use std::io;

use super::attribute::{Past, Shape};
use super::record::{bytes_of_name, Event, How, Kind, Late, Record};
use super::timeline::Timeline;

/// Times of runs and of idleness that are kept, all CPUs together: 48 bytes each, of memory that is
/// not used before it is needed.
const MOST_SEGMENTS: usize = 4 << 20;
/// Late starts that are kept: the newest. With what the report says of each they fit into a quarter
/// of this program's heap.
const MOST_LATE: usize = 1 << 14;
/// Calls of workers that are kept, of all nodes together.
const MOST_CALLS: usize = 1 << 18;

/// Which late starts are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this thread, or threads of this process.
    pub pid: Option<u32>,
    /// Only threads of this name; with `*` at the end, of names that begin so.
    pub comm: Option<String>,
    /// Also waits that began because a slice was over.
    pub all: bool,
}

impl Filter {
    fn takes(&self, late: &Late) -> bool {
        let name = bytes_of_name(&late.who.comm);
        (self.all || late.how != How::SliceOver)
            && self
                .pid
                .is_none_or(|pid| pid == late.who.pid || pid == late.tgid)
            && self
                .comm
                .as_ref()
                .is_none_or(|wanted| match wanted.strip_suffix('*') {
                    Some(beginning) => name.starts_with(beginning.as_bytes()),
                    None => name == wanted.as_bytes(),
                })
    }
}

/// What was seen, and what of it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Runs that came to their end, but for those of scx_mpg.
    pub runs: u64,
    /// Records that the reader came too late for.
    pub dropped: u64,
    /// Late starts that were let go for newer ones, within the time that is asked for.
    pub let_go: u64,
}

/// When the workers were called, and when they ran: what is read from different rings and logs does not
/// come in its order, so that only the end tells which run answered which call.
#[derive(Default)]
struct Calls {
    /// When each node's worker was called, and which thread it is.
    calls: Vec<VecDeque<(u64, u32)>>,
    /// From when to when which thread of scx_mpg ran.
    runs: VecDeque<(u64, u64, u32)>,
}

/// As `push_back`, where no more than `most` are kept.
fn push_last<T>(queue: &mut VecDeque<T>, most: usize, value: T) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(value);
}

impl Calls {
    fn called(&mut self, node: usize, worker: u32, at: u64) {
        let most = MOST_CALLS / self.calls.len().max(1);
        if let Some(calls) = self.calls.get_mut(node) {
            push_last(calls, most, (at, worker));
        }
    }

    fn ran(&mut self, pid: u32, from: u64, to: u64) {
        push_last(&mut self.runs, MOST_CALLS, (from, to, pid));
    }

    /// Forgets what was over before `time`, but for calls that may still be answered.
    fn forget(&mut self, time: u64) {
        self.runs.retain(|&(_, to, _)| to >= time);
        for calls in &mut self.calls {
            let before = calls.iter().filter(|call| call.0 < time).count();
            // The last of them may have waited for longer.
            calls.drain(..before.saturating_sub(1));
        }
    }

    /// For each node when its worker was called, in that order, and when it answered: whatever it was
    /// called for by the end of a run it has answered, at the latest when that run began.
    fn finish(mut self) -> Vec<Vec<(u64, Option<u64>)>> {
        self.runs.make_contiguous().sort_by_key(|run| run.1);
        let answer = |at: u64, worker: u32| {
            let first = self.runs.partition_point(|run| run.1 < at);
            let mut later = self.runs.range(first..);
            let run = later.find(|run| run.2 == worker)?;
            Some(run.0.max(at))
        };
        let of_node = |mut calls: VecDeque<(u64, u32)>| {
            calls.make_contiguous().sort_unstable();
            let calls = calls.into_iter();
            calls.map(|(at, worker)| (at, answer(at, worker))).collect()
        };
        std::mem::take(&mut self.calls)
            .into_iter()
            .map(of_node)
            .collect()
    }
}

/// Takes records in and keeps them.
pub struct Collector {
    shape: Shape,
    filter: Filter,
    idle_at_first: Vec<u16>,
    timelines: Vec<Timeline>,
    /// Records that were lost, of each CPU's log and of what it wrote to rings.
    lost: Vec<u32>,
    dropped: Vec<u32>,
    calls: Calls,
    late: VecDeque<Late>,
    seen: Seen,
    begin: Option<u64>,
    newest: u64,
}

impl Collector {
    /// For a machine of this shape, of which these CPUs were idle when the watch began.
    pub fn new(shape: Shape, filter: Filter, idle_at_first: Vec<u16>) -> Self {
        Self {
            lost: vec![0; shape.cpu_node.len()],
            dropped: vec![0; shape.cpu_node.len()],
            calls: Calls {
                calls: vec![VecDeque::new(); shape.node_ids.len()],
                runs: VecDeque::new(),
            },
            timelines: Vec::new(),
            late: VecDeque::new(),
            seen: Seen::default(),
            begin: None,
            newest: 0,
            shape,
            filter,
            idle_at_first,
        }
    }

    /// When the first record was written and the newest, if there is one.
    pub fn span(&self) -> Option<(u64, u64)> {
        Some((self.begin?, self.newest))
    }

    /// Takes a record in. Those about one CPU come in their order.
    ///
    /// # Errors
    /// If the system has no memory.
    pub fn add(
        &mut self,
        record: Record,
        allowed: impl Fn(u32) -> Option<Vec<u16>>,
    ) -> io::Result<()> {
        let cpu = usize::from(record.cpu);
        if cpu >= self.shape.cpu_node.len() {
            return Ok(());
        }
        if self.begin.is_none() {
            self.begin(record.at)?;
        }
        self.newest = self.newest.max(record.at);
        let of_log = matches!(record.event, Event::Run { .. } | Event::Idle(_));
        match of_log {
            true => self.lost[cpu] = record.dropped,
            false => self.dropped[cpu] = record.dropped,
        }
        self.timelines[cpu].add(&record);
        match record.event {
            Event::Run {
                started,
                who,
                goes_on,
            } => {
                if who.kind == Kind::Own {
                    self.calls.ran(who.pid, started, record.at);
                } else if !goes_on {
                    self.seen.runs += 1;
                }
            }
            Event::Call(node, worker) => self.calls.called(node.into(), worker, record.at),
            Event::Late(mut late) if self.filter.takes(&late) => {
                if late.restricted && !late.pinned {
                    late.allowed = allowed(late.who.pid);
                }
                if self.late.len() == MOST_LATE {
                    self.late.pop_front();
                    self.seen.let_go += 1;
                }
                self.late.push_back(*late);
            }
            Event::Late(_) | Event::Idle(_) => {}
        }
        Ok(())
    }

    fn begin(&mut self, at: u64) -> io::Result<()> {
        self.begin = Some(at);
        let cpus = self.shape.cpu_node.len();
        let timelines = (0..cpus).map(|_| Timeline::new(at, MOST_SEGMENTS / cpus.max(1)));
        self.timelines = timelines.collect::<io::Result<_>>()?;
        for &cpu in &self.idle_at_first {
            if let Some(timeline) = self.timelines.get_mut(usize::from(cpu)) {
                timeline.was_idle();
            }
        }
        Ok(())
    }

    /// Lets go what is older than `ns`, but for what a newer wait began with.
    pub fn keep_last(&mut self, ns: u64) {
        let time = self.newest.saturating_sub(ns);
        self.late.retain(|late| late.start >= time);
        let since = self.late.iter().map(|late| late.since).min();
        let time = since.map_or(time, |since| since.min(time));
        for timeline in &mut self.timelines {
            timeline.forget(time);
        }
        self.calls.forget(time);
    }

    /// Ends the watch: what is kept, the late starts in the order of their end, and what was seen.
    pub fn finish(mut self) -> (Past, Vec<Late>, Seen) {
        for timeline in &mut self.timelines {
            timeline.finish(self.newest);
        }
        let lost = self.lost.iter().chain(&self.dropped);
        self.seen.dropped = lost.map(|&lost| u64::from(lost)).sum();
        let past = Past {
            shape: self.shape,
            timelines: self.timelines,
            calls: self.calls.finish(),
        };
        let mut late: Vec<Late> = self.late.into();
        late.sort_by_key(|late| late.start);
        (past, late, self.seen)
    }
}
