// SPDX-License-Identifier: GPL-2.0-only
//! What each CPU did when, out of its records.
//!
//! A CPU runs a G, or is idle, or neither: then it serves who is not ours, be it a task of another
//! scheduling class or an interrupt. No record tells of that; it is what is left between records.
//! Where records were dropped, or are still to come, nothing is known.

use std::io;

use super::record::{Event, Record, Who};
use super::store::Store;

/// A gap between two records of a CPU that is shorter is the switch from the one to the other, and
/// counts as the latter, nanoseconds.
const SWITCH_NS: u64 = 20_000;
/// A CPU that tells nothing for longer runs none of ours: the longest slice, and a tick, nanoseconds.
const SILENT_NS: u64 = 1_010_000_000;

/// What a CPU does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Nothing.
    Idle,
    /// Runs a G of ours, a kernel thread or a thread of scx_mpg.
    Runs(Who),
    /// Serves another scheduling class, or an interrupt.
    NotOurs,
    /// There is no record of it.
    Unknown,
}

/// A time for which a CPU did one thing. Times between two of these are not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// When it began, nanoseconds of the kernel's scheduling clock.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// What it did.
    pub doing: Doing,
}

/// One CPU's past.
pub struct Timeline {
    segments: Store<Segment>,
    /// Since when it is idle, where the end is not known.
    idle_since: Option<u64>,
    /// From where, and up to where it is known what it did.
    known_from: u64,
    known_to: u64,
    seen: bool,
    dropped: u32,
}

/// Walks along a timeline: times asked for must not go back.
pub struct Cursor<'a> {
    timeline: &'a Timeline,
    number: usize,
}

impl Timeline {
    /// Of a CPU that is watched from `begin` on, with room for so many segments.
    ///
    /// # Errors
    /// If the system has no memory.
    pub fn new(begin: u64, capacity: usize) -> io::Result<Self> {
        Ok(Self {
            segments: Store::new(capacity)?,
            idle_since: None,
            known_from: begin,
            known_to: begin,
            seen: false,
            dropped: 0,
        })
    }

    /// The CPU was idle when the watch began, by what the daemon saw a moment later.
    pub fn was_idle(&mut self) {
        self.idle_since.get_or_insert(self.known_to);
    }

    /// Adds a record. Those of a CPU come in their order.
    pub fn add(&mut self, record: &Record) {
        let from = match record.event {
            Event::Run { started, .. } => started,
            Event::Idle(_) => record.at,
            Event::Late(_) | Event::Call(..) => return,
        };
        if record.dropped != self.dropped {
            self.dropped = record.dropped;
            self.idle_since = None;
            self.push(self.known_to, from, Doing::Unknown);
        }
        match &record.event {
            Event::Run { who, .. } => {
                self.end_idle(from);
                self.push(from, record.at, Doing::Runs(*who));
            }
            Event::Idle(true) => {
                if !self.seen {
                    // It turned idle after the watch began and before the daemon looked.
                    self.idle_since = None;
                }
                let since = match from.saturating_sub(self.known_to) < SWITCH_NS {
                    true => self.known_to,
                    false => from,
                };
                self.idle_since.get_or_insert(since);
            }
            Event::Idle(false) => {
                if !self.seen {
                    self.was_idle();
                }
                self.end_idle(from);
            }
            Event::Late(_) | Event::Call(..) => {}
        }
        self.seen = true;
    }

    fn end_idle(&mut self, at: u64) {
        if let Some(since) = self.idle_since.take() {
            self.push(since, at, Doing::Idle);
        }
    }

    fn push(&mut self, start: u64, end: u64, doing: Doing) {
        let start = match start.saturating_sub(self.known_to) < SWITCH_NS {
            true => self.known_to,
            false => start,
        };
        if end <= start {
            return;
        }
        self.known_to = end;
        if self.segments.push(Segment { start, end, doing }) {
            self.let_go();
        }
    }

    /// Ends the watch at `end`.
    pub fn finish(&mut self, end: u64) {
        self.end_idle(end);
        if end.saturating_sub(self.known_to) > SILENT_NS {
            self.known_to = end;
        }
    }

    /// Forgets what was over before `time`.
    pub fn forget(&mut self, time: u64) {
        let is_over = |segment: &Segment| segment.end < time;
        while self
            .segments
            .get(self.segments.numbers().start)
            .is_some_and(is_over)
        {
            self.segments.pop();
            self.let_go();
        }
    }

    /// The oldest segment has gone: nothing before the next is known any more.
    fn let_go(&mut self) {
        let first = self.segments.get(self.segments.numbers().start);
        self.known_from = first.map_or(self.known_to, |segment| segment.start);
    }

    /// Starts to walk at `time`.
    pub fn walk_from(&self, time: u64) -> Cursor<'_> {
        Cursor {
            timeline: self,
            number: self.segments.partition_point(|segment| segment.end <= time),
        }
    }

    /// All segments, in their order.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.numbers().filter_map(|n| self.segments.get(n))
    }

    /// Who ran first from `time` on, if that is no later than `by`.
    pub fn first_run(&self, time: u64, by: u64) -> Option<Who> {
        let first = self.segments.partition_point(|segment| segment.end <= time);
        let segments = (first..).map_while(|n| self.segments.get(n));
        let mut segments = segments.take_while(|segment| segment.start <= by);
        segments.find_map(|segment| match segment.doing {
            Doing::Runs(who) => Some(who),
            _ => None,
        })
    }
}

impl Cursor<'_> {
    /// What the CPU does at `time`, and until when, if that is known.
    pub fn at(&mut self, time: u64) -> (Doing, u64) {
        let segments = &self.timeline.segments;
        while segments.get(self.number).is_some_and(|s| s.end <= time) {
            self.number += 1;
        }
        if time < self.timeline.known_from {
            return (Doing::Unknown, self.timeline.known_from);
        }
        match segments.get(self.number) {
            Some(segment) if segment.start <= time => (segment.doing, segment.end),
            Some(segment) => (Doing::NotOurs, segment.start),
            None if time < self.timeline.known_to => (Doing::NotOurs, self.timeline.known_to),
            None => (Doing::Unknown, u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Kind;
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn who(pid: u32) -> Who {
        Who {
            pid,
            comm: [b'x'; 16],
            kind: Kind::Normal,
        }
    }

    fn run(pid: u32, started: u64, at: u64) -> Record {
        Record {
            at,
            cpu: 0,
            dropped: 0,
            event: Event::Run {
                started,
                who: who(pid),
                goes_on: false,
            },
        }
    }

    fn idle(at: u64, idle: bool) -> Record {
        Record {
            at,
            cpu: 0,
            dropped: 0,
            event: Event::Idle(idle),
        }
    }

    fn told(timeline: &Timeline, times: &[u64]) -> Vec<Doing> {
        let mut cursor = timeline.walk_from(times[0]);
        times.iter().map(|&time| cursor.at(time).0).collect()
    }

    #[test]
    fn what_is_between_records_is_not_ours() {
        let mut timeline = Timeline::new(0, 100).unwrap();
        timeline.add(&run(1, MS, 2 * MS));
        timeline.add(&run(2, 5 * MS, 6 * MS));
        timeline.add(&idle(6 * MS + 1000, true));
        timeline.add(&idle(8 * MS, false));
        timeline.add(&run(3, 8 * MS + 5000, 9 * MS));
        use Doing::{Idle, NotOurs, Runs, Unknown};
        assert_eq!(
            told(
                &timeline,
                &[0, MS, 3 * MS, 5 * MS, 6 * MS, 7 * MS, 8 * MS, 9 * MS]
            ),
            [
                NotOurs,
                Runs(who(1)),
                NotOurs,
                Runs(who(2)),
                Idle,
                Idle,
                Runs(who(3)),
                Unknown
            ]
        );
        timeline.finish(10 * MS);
        assert_eq!(told(&timeline, &[9 * MS]), [Unknown]);
        timeline.finish(9 * MS + SILENT_NS + 1);
        assert_eq!(told(&timeline, &[10 * MS]), [NotOurs]);
    }

    #[test]
    fn whether_a_cpu_was_idle_at_first_is_told_by_its_first_record() {
        let first = |seen_idle: bool, records: &[Record]| {
            let mut timeline = Timeline::new(0, 100).unwrap();
            if seen_idle {
                timeline.was_idle();
            }
            records.iter().for_each(|record| timeline.add(record));
            timeline.finish(9 * MS);
            told(&timeline, &[0])[0]
        };
        assert_eq!(first(true, &[]), Doing::Idle);
        assert_eq!(first(true, &[idle(MS, true)]), Doing::NotOurs);
        assert_eq!(first(true, &[run(1, MS, 2 * MS)]), Doing::Idle);
        assert_eq!(first(false, &[idle(MS, false)]), Doing::Idle);
        assert_eq!(first(false, &[]), Doing::Unknown);
    }

    #[test]
    fn nothing_is_known_where_records_were_dropped_or_let_go() {
        let mut timeline = Timeline::new(0, 2).unwrap();
        timeline.add(&run(1, MS, 2 * MS));
        timeline.add(&Record {
            dropped: 7,
            ..run(2, 5 * MS, 6 * MS)
        });
        assert_eq!(
            told(&timeline, &[MS, 3 * MS, 5 * MS]),
            [Doing::Unknown, Doing::Unknown, Doing::Runs(who(2))]
        );
        timeline.forget(5 * MS);
        assert_eq!(told(&timeline, &[MS]), [Doing::Unknown]);
    }

    proptest! {
        /// Whatever comes, time goes on: no segment overlaps the one before, and a cursor comes to
        /// the end.
        #[test]
        fn segments_are_in_order(
            records in proptest::collection::vec(
                (0u64..200, 0u64..100, 0u8..3, 0u32..2), 0..80),
        ) {
            let mut timeline = Timeline::new(50_000, 16).unwrap();
            for (at, ran, kind, dropped) in records {
                let at = at * 10_000;
                let mut record = match kind {
                    0 => idle(at, true),
                    1 => idle(at, false),
                    _ => run(1, at.saturating_sub(ran * 10_000), at),
                };
                record.dropped = dropped;
                timeline.add(&record);
            }
            timeline.finish(2 * MS);
            let mut before = 50_000;
            for segment in timeline.segments() {
                prop_assert!(segment.start >= before && segment.end > segment.start);
                before = segment.end;
            }
            let mut cursor = timeline.walk_from(0);
            let mut time = 0;
            while time < u64::MAX {
                let until = cursor.at(time).1;
                prop_assert!(until > time);
                time = until;
            }
        }
    }
}
