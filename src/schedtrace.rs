// SPDX-License-Identifier: GPL-2.0-only
//! The state of the scheduler in the form that Go's runtime has for its own, for people who read
//! the output of `GODEBUG=schedtrace=1000,scheddetail=1`.
//!
//! ```text
//! SCHED 1004ms: gomaxprocs=8 idleprocs=2 threads=2 spinningthreads=0 runqueue=3 [1 2]
//!   P0: status=called worker=812 activations=41 decisions=377 primed=1 custody=0 pinned=0 spare=0 wait=35us
//!   M3: p=0 curg=4711 class=normal
//!   G4712: status=custody p=1 m=5 waited=12ms class=batch (cc1plus)
//! ```
//!
//! A processor is a CPU and a thread a worker; `spinningthreads` are workers that were called and
//! have not answered. Go's one global queue is not there: `runqueue` is how many Gs wait in all, and
//! the brackets have how many of them wait on each node, whatever they wait for. Everything is read
//! without a lock: numbers need not fit to the last G.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bpf_intf::{
    mpg_class_MPG_CLASS_BATCH, mpg_class_MPG_CLASS_LATENCY, mpg_class_MPG_CLASS_NORMAL,
    mpg_class_MPG_CLASS_SPARE, mpg_limits_MPG_LOOK_WAITERS,
};
use crate::bridge::{Looker, Queue, Shared, Waiter};
use crate::stats::pause;
use crate::topology::Machine;

/// A G that has waited for so long is worth a line.
const LONG_WAIT: Duration = Duration::from_millis(10);
/// Lines about Gs in one trace, those that waited longest.
const MAX_WAITERS: usize = mpg_limits_MPG_LOOK_WAITERS as usize;
/// The same in a trace of everything.
const MOST_WAITERS: usize = 1024;

/// A P and the CPUs that it serves.
#[derive(Clone, Debug, Default)]
struct PState {
    id: usize,
    worker: u32,
    called: bool,
    fallback: bool,
    activations: u64,
    decisions: u64,
    primed: u32,
    custody: u32,
    pinned: u32,
    spare: u32,
    average_wait_us: u64,
    ms: Vec<MState>,
}

impl PState {
    /// How many Gs wait on the node.
    fn waiting(&self) -> u32 {
        self.primed + self.custody + self.pinned + self.spare
    }
}

/// A CPU that is there.
#[derive(Clone, Debug, Default)]
struct MState {
    cpu: u16,
    idle: bool,
    running: Option<(u32, u32)>,
}

/// A G that has waited long.
#[derive(Clone, Debug)]
struct GState {
    waiter: Waiter,
    queue: Queue,
}

/// Everything of one trace.
#[derive(Clone, Debug, Default)]
struct Trace {
    since_load: Duration,
    ps: Vec<PState>,
    /// With the detail only.
    gs: Option<Vec<GState>>,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = || self.ps.iter().flat_map(|p| &p.ms);
        let lengths: Vec<u32> = self.ps.iter().map(PState::waiting).collect();
        let mut each = String::new();
        for length in &lengths {
            write!(each, "{}{length}", if each.is_empty() { "" } else { " " })?;
        }
        write!(
            f,
            "SCHED {}ms: gomaxprocs={} idleprocs={} threads={} spinningthreads={} runqueue={} [{each}]",
            self.since_load.as_millis(),
            ms().count(),
            ms().filter(|m| m.idle).count(),
            self.ps.len(),
            self.ps.iter().filter(|p| p.called).count(),
            lengths.iter().sum::<u32>(),
        )?;
        let Some(gs) = &self.gs else {
            return Ok(());
        };
        for p in &self.ps {
            let status = match (p.fallback, p.called) {
                (true, _) => "fallback",
                (_, true) => "called",
                _ => "idle",
            };
            write!(
                f,
                "\n  P{}: status={status} worker={} activations={} decisions={} primed={} custody={} pinned={} spare={} wait={}us",
                p.id,
                p.worker,
                p.activations,
                p.decisions,
                p.primed,
                p.custody,
                p.pinned,
                p.spare,
                p.average_wait_us
            )?;
        }
        for p in &self.ps {
            for m in &p.ms {
                match (m.running, m.idle) {
                    (Some((pid, class)), _) => {
                        let class = class_name(class);
                        write!(f, "\n  M{}: p={} curg={pid} class={class}", m.cpu, p.id)?
                    }
                    (None, true) => write!(f, "\n  M{}: p={} curg=nil idle", m.cpu, p.id)?,
                    // The kernel's own threads, and those of other scheduling classes.
                    (None, false) => write!(f, "\n  M{}: p={} curg=nil", m.cpu, p.id)?,
                }
            }
        }
        for g in gs {
            let (status, at) = match g.queue {
                Queue::Primed(node) => ("primed", format!("p={}", self.ps[node].id)),
                Queue::Custody(node) => ("custody", format!("p={}", self.ps[node].id)),
                Queue::Spare(node) => ("spare", format!("p={}", self.ps[node].id)),
                Queue::Cpu(cpu) => ("pinned", format!("only={cpu}")),
            };
            write!(
                f,
                "\n  G{}: status={status} {at} m={} waited={}ms class={} ({})",
                g.waiter.pid,
                g.waiter.cpu,
                g.waiter.waited_ns / 1_000_000,
                class_name(g.waiter.class),
                g.waiter.comm.escape_default()
            )?;
        }
        Ok(())
    }
}

#[allow(non_upper_case_globals)] // The names are those of the C header.
fn class_name(class: u32) -> &'static str {
    match class {
        mpg_class_MPG_CLASS_LATENCY => "latency",
        mpg_class_MPG_CLASS_NORMAL => "normal",
        mpg_class_MPG_CLASS_BATCH => "batch",
        mpg_class_MPG_CLASS_SPARE => "spare",
        _ => "none",
    }
}

/// What a trace is taken from.
pub struct Tracer {
    /// Nodes and CPUs.
    pub machine: Machine,
    /// The kernel half's words.
    pub shared: Arc<Shared>,
    /// For the detail, which says who waits.
    pub looker: Option<Arc<Looker>>,
    /// When the scheduler was loaded.
    pub started: Instant,
}

impl Tracer {
    /// Everything at this moment: who waits, however briefly.
    ///
    /// # Errors
    /// If the queues cannot be looked at.
    pub fn everything(&self) -> Result<String> {
        Ok(self.take(Duration::ZERO, MOST_WAITERS)?.to_string())
    }

    /// With up to `most` of those who have waited for `long`.
    fn take(&self, long: Duration, most: usize) -> Result<Trace> {
        let nodes = self.machine.nodes.iter().enumerate();
        let ps = nodes.map(|(index, info)| {
            let node = self.shared.node(index);
            let there = info.cpus.iter().filter(|&&cpu| !self.shared.is_absent(cpu));
            PState {
                id: info.id,
                worker: node.worker_pid(),
                called: node.called_at_ns() != 0,
                fallback: node.fallback() != 0,
                activations: node.activations(),
                decisions: node.decisions_written(),
                primed: node.primed(),
                custody: node.custody(),
                pinned: node.pinned(),
                spare: node.spare(),
                average_wait_us: node.average_wait_ns() / 1000,
                ms: there.map(|&cpu| self.m(cpu)).collect(),
            }
        });
        Ok(Trace {
            since_load: self.started.elapsed(),
            ps: ps.collect(),
            gs: match &self.looker {
                Some(looker) => Some(self.waiters(looker, long, most)?),
                None => None,
            },
        })
    }

    fn m(&self, cpu: u16) -> MState {
        let (pid, class) = self.shared.running(cpu);
        MState {
            cpu,
            idle: self.shared.is_idle(cpu),
            running: (pid != 0).then_some((pid, class)),
        }
    }

    /// Who has waited long, the longest first.
    fn waiters(&self, looker: &Looker, long: Duration, most: usize) -> Result<Vec<GState>> {
        let nodes = 0..self.machine.nodes.len();
        let of_nodes = nodes.flat_map(|n| [Queue::Primed(n), Queue::Custody(n), Queue::Spare(n)]);
        let cpus = self.machine.nodes.iter().flat_map(|node| &node.cpus);
        // Of the many queues of CPUs nearly all are empty, and a look is a system call.
        let of_cpus = cpus.filter(|&&cpu| self.shared.pinned(cpu) != 0);
        let mut gs = Vec::new();
        for queue in of_nodes.chain(of_cpus.map(|&cpu| Queue::Cpu(cpu))) {
            let waiters = looker.at(queue)?.into_iter();
            let long = waiters.filter(|w| u128::from(w.waited_ns) >= long.as_nanos());
            gs.extend(long.map(|waiter| GState { waiter, queue }));
            gs.sort_by_key(|g| std::cmp::Reverse(g.waiter.waited_ns));
            gs.truncate(most);
        }
        Ok(gs)
    }
}

/// Prints a trace every `interval` until `stop`, or until nobody reads any more.
///
/// # Errors
/// If a trace cannot be taken or written.
pub fn print(interval: Duration, stop: &AtomicBool, tracer: &Tracer) -> Result<()> {
    loop {
        pause(interval, stop);
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let text = format!("{}\n", tracer.take(LONG_WAIT, MAX_WAITERS)?);
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        let m = |cpu, idle, running| MState { cpu, idle, running };
        let p = |id, primed, custody, ms| PState {
            id,
            primed,
            custody,
            ms,
            worker: 800 + id as u32,
            ..PState::default()
        };
        Trace {
            since_load: Duration::from_micros(1_004_500),
            ps: vec![
                p(
                    0,
                    1,
                    0,
                    vec![m(0, true, None), m(1, false, Some((4711, 1)))],
                ),
                PState {
                    pinned: 1,
                    ..p(2, 0, 1, vec![m(2, false, None)])
                },
            ],
            gs: None,
        }
    }

    #[test]
    fn a_trace_is_one_line_in_go_s_form() {
        assert_eq!(
            trace().to_string(),
            "SCHED 1004ms: gomaxprocs=3 idleprocs=1 threads=2 spinningthreads=0 runqueue=3 [1 2]"
        );
    }

    #[test]
    fn the_detail_has_a_line_for_each_p_and_m_and_for_who_waits() {
        let waiter = Waiter {
            pid: 4712,
            comm: "cc1\nplus".to_string(),
            waited_ns: 12_900_000,
            class: mpg_class_MPG_CLASS_BATCH,
            cpu: 1,
            allowed_nodes: 3,
        };
        let queue = Queue::Custody(1);
        let text = Trace {
            gs: Some(vec![GState { waiter, queue }]),
            ..trace()
        }
        .to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 2 + 3 + 1);
        assert_eq!(lines[3], "  M0: p=0 curg=nil idle");
        assert!(lines[4].starts_with("  M1: p=0 curg=4711 class="));
        assert_eq!(lines[5], "  M2: p=2 curg=nil");
        assert_eq!(
            lines[6],
            "  G4712: status=custody p=2 m=1 waited=12ms class=batch (cc1\\nplus)"
        );
    }
}
