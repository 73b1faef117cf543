//! CPUs that idle while a thread of the load waits: what a scheduler leaves undone.
//!
//! Every switch and every wakeup in the window is recorded and played back afterwards. A thread of this process counts
//! as waiting from the moment it is runnable, and as kept waiting once that is [`TOLERATED_NS`] ago: finding and waking
//! a CPU takes its time. Threads of a load may run anywhere, so any idle CPU would do.
//!
//! Recording has a price that would show in latencies. It is for runs that are not measured otherwise.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::ring::Ring;
use crate::topology::Topology;
use crate::tracepoint::{Switch, Switched, Wakeup};

/// A wait that is no fault yet.
pub const TOLERATED_NS: u64 = 1_000_000;
/// One CPU's ring of switches, in bytes: 10,000 of them between two drainings.
const RING_BYTES: usize = 1 << 20;

/// What was seen in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct IdleFigures {
    /// CPU time that was idle while a thread was kept waiting, in milliseconds.
    pub idle_while_runnable_ms: f64,
    /// Longest that one thread was kept waiting beside an idle CPU, in milliseconds.
    pub longest_idle_while_runnable_ms: f64,
    /// Records that found their ring full: with any, the two above are not to be trusted.
    pub idle_records_lost: u64,
}

/// Records switches and wakeups on all CPUs.
pub struct IdleWatch {
    switch: Switch,
    wakeups: [Wakeup; 2],
    cpus: Vec<Rings>,
    seen: Vec<Seen>,
    scratch: Vec<u8>,
}

struct Rings {
    cpu: usize,
    switches: Ring,
    wakeups: [Ring; 2],
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    at_ns: u64,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Switched(usize, Switched),
    Woke(i32),
}

impl IdleWatch {
    /// Opens the tracepoints on all CPUs that are online, not yet recording.
    ///
    /// # Errors
    /// If they cannot be opened, for which root is needed.
    pub fn open(topology: &Topology) -> Result<Self> {
        let switch = Switch::read()?;
        let wakeups = Wakeup::read()?;
        let open = |id: u64, cpu: usize| {
            Ring::open(id, cpu, RING_BYTES)
                .with_context(|| format!("perf_event_open on CPU {cpu} was refused"))
        };
        let mut cpus = Vec::new();
        for &cpu in topology.online() {
            cpus.push(Rings {
                cpu,
                switches: open(switch.id, cpu)?,
                wakeups: [open(wakeups[0].id, cpu)?, open(wakeups[1].id, cpu)?],
            });
        }
        Ok(IdleWatch {
            switch,
            wakeups,
            cpus,
            seen: Vec::new(),
            scratch: Vec::with_capacity(RING_BYTES),
        })
    }

    /// Starts recording.
    pub fn enable(&self) -> Result<()> {
        self.all()
            .try_for_each(|ring| ring.enable().context("switches cannot be recorded"))
    }

    /// Stops recording.
    pub fn disable(&self) -> Result<()> {
        self.all()
            .try_for_each(|ring| ring.disable().context("switches cannot be recorded"))
    }

    fn all(&self) -> impl Iterator<Item = &Ring> {
        self.cpus
            .iter()
            .flat_map(|of| [&of.switches].into_iter().chain(&of.wakeups))
    }

    /// Takes what is in the rings, so that they do not fill up.
    pub fn drain(&mut self) {
        let IdleWatch {
            switch,
            wakeups,
            cpus,
            seen,
            scratch,
        } = self;
        for of in cpus {
            let cpu = of.cpu;
            of.switches.drain(scratch, |at_ns, raw| {
                if let Some(switched) = switch.decode(raw) {
                    let what = What::Switched(cpu, switched);
                    seen.push(Seen { at_ns, what });
                }
            });
            for (layout, ring) in wakeups.iter().zip(&mut of.wakeups) {
                ring.drain(scratch, |at_ns, raw| {
                    if let Some(pid) = layout.decode(raw) {
                        let what = What::Woke(pid);
                        seen.push(Seen { at_ns, what });
                    }
                });
            }
        }
    }

    /// Plays the records back, once disabled and drained.
    pub fn figures(mut self, own_threads: &[i32]) -> Result<IdleFigures> {
        let mut happened = 0;
        for ring in self.all() {
            happened += ring
                .count()
                .context("recorded switches cannot be counted")?;
        }
        let lost = happened.saturating_sub(self.seen.len() as u64);
        self.seen.sort_by_key(|seen| seen.at_ns);
        let mut figures = play(&self.seen, own_threads);
        figures.idle_records_lost = lost;
        Ok(figures)
    }
}

/// The state of the machine while the records are played back.
#[derive(Default)]
struct Replay {
    /// CPUs that idle. One that was not heard of yet does not count.
    idle: Vec<usize>,
    /// Own threads that wait: since when, and for how long of that beside an idle CPU.
    waiting: BTreeMap<i32, Wait>,
    idle_ns: u64,
    longest_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    since_ns: u64,
    beside_idle_ns: u64,
}

fn play(seen: &[Seen], own_threads: &[i32]) -> IdleFigures {
    let mut replay = Replay::default();
    let mut now_ns = seen.first().map_or(0, |first| first.at_ns);
    for record in seen {
        replay.pass(now_ns, record.at_ns);
        now_ns = record.at_ns;
        replay.apply(record, own_threads);
    }
    IdleFigures {
        idle_while_runnable_ms: replay.idle_ns as f64 / 1e6,
        longest_idle_while_runnable_ms: replay.longest_ns as f64 / 1e6,
        idle_records_lost: 0,
    }
}

impl Replay {
    /// Time passes and nothing changes. As many of those who waited longest count as there are idle CPUs.
    fn pass(&mut self, from_ns: u64, to_ns: u64) {
        if self.idle.is_empty() || self.waiting.is_empty() {
            return;
        }
        let mut longest_first: Vec<&mut Wait> = self.waiting.values_mut().collect();
        longest_first.sort_by_key(|wait| wait.since_ns);
        for wait in longest_first.into_iter().take(self.idle.len()) {
            let kept_since = from_ns.max(wait.since_ns + TOLERATED_NS);
            let kept_ns = to_ns.saturating_sub(kept_since);
            wait.beside_idle_ns += kept_ns;
            self.idle_ns += kept_ns;
            self.longest_ns = self.longest_ns.max(wait.beside_idle_ns);
        }
    }

    fn apply(&mut self, record: &Seen, own_threads: &[i32]) {
        let wait = Wait {
            since_ns: record.at_ns,
            beside_idle_ns: 0,
        };
        match record.what {
            What::Woke(pid) => {
                if own_threads.contains(&pid) {
                    self.waiting.entry(pid).or_insert(wait);
                }
            }
            What::Switched(cpu, switched) => {
                self.idle.retain(|&idle| idle != cpu);
                if switched.next == 0 {
                    self.idle.push(cpu);
                }
                self.waiting.remove(&switched.next);
                if switched.still_runnable && own_threads.contains(&switched.previous) {
                    self.waiting.insert(switched.previous, wait);
                } else {
                    self.waiting.remove(&switched.previous);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn woke(at_ms: u64, pid: i32) -> Seen {
        Seen {
            at_ns: at_ms * MS,
            what: What::Woke(pid),
        }
    }

    fn switched(at_ms: u64, cpu: usize, previous: i32, still_runnable: bool, next: i32) -> Seen {
        let switched = Switched {
            previous,
            still_runnable,
            next,
        };
        Seen {
            at_ns: at_ms * MS,
            what: What::Switched(cpu, switched),
        }
    }

    #[test]
    fn a_thread_that_waits_beside_an_idle_cpu_is_seen() {
        let seen = [
            switched(0, 0, 7, false, 0),
            woke(10, 7),
            switched(15, 1, 8, false, 7),
        ];
        let figures = play(&seen, &[7, 8]);
        assert_eq!(
            figures.idle_while_runnable_ms, 4.0,
            "5 ms but for the one that is tolerated"
        );
        assert_eq!(figures.longest_idle_while_runnable_ms, 4.0);
        assert_eq!(
            play(&seen, &[8]).idle_while_runnable_ms,
            0.0,
            "a stranger may be bound to a CPU"
        );
    }

    #[test]
    fn no_more_wait_in_vain_than_cpus_idle() {
        let seen = [
            switched(0, 0, 1, false, 0),
            switched(0, 1, 2, false, 3),
            woke(0, 1),
            woke(0, 2),
            switched(11, 0, 0, false, 1),
            switched(31, 1, 3, true, 2),
        ];
        let figures = play(&seen, &[1, 2, 3]);
        assert_eq!(figures.idle_while_runnable_ms, 10.0);
    }

    #[test]
    fn a_preempted_thread_waits_and_a_sleeping_one_does_not() {
        let preempted = [
            switched(0, 1, 9, false, 0),
            switched(0, 0, 5, true, 6),
            switched(3, 1, 0, false, 5),
        ];
        assert_eq!(play(&preempted, &[5]).idle_while_runnable_ms, 2.0);
        let asleep = [
            switched(0, 1, 9, false, 0),
            switched(0, 0, 5, false, 6),
            switched(3, 1, 0, false, 5),
        ];
        assert_eq!(play(&asleep, &[5]).idle_while_runnable_ms, 0.0);
    }
}
