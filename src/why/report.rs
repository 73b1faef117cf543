// SPDX-License-Identifier: GPL-2.0-only
//! What the report says, and how: a table and a summary for people, JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::attribute::{attribute, Behind, Cause, Outcome, Shape, CAUSES};
use super::record::{text_of, How, Late, Place, Who};
use super::watch::Watched;
use crate::sentence::tame;

impl Cause {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spare => "spare",
            Self::Waking => "waking",
            Self::Worker => "worker",
            Self::OtherClass => "other-class",
            Self::Affinity => "affinity",
            Self::Leave => "leave",
            Self::Preempted => "preempted",
            Self::KernelThreads => "kernel-threads",
            Self::Scheduler => "scheduler",
            Self::Queue => "queue",
            Self::Unknown => "unknown",
        }
    }

    /// What it means, and what can be done, in one sentence.
    fn advice(self) -> &'static str {
        match self {
            Self::Spare => "it is of SCHED_IDLE and gets what nobody else wants: give it another scheduling policy if it is not to wait",
            Self::Waking => "an idle CPU was on its way: if that takes long, forbid deep idle states",
            Self::Worker => "the node's worker was called and did not answer: is the process stopped, or the machine out of memory?",
            Self::OtherClass => "real-time and deadline tasks, interrupts or the hypervisor had the CPUs: look for them with ps -eo cls,pid,comm and in /proc/interrupts",
            Self::Affinity => "CPUs were idle that it may not use: widen its affinity or its cpuset",
            Self::Leave => "CPUs of another node were idle but left it to its own for a while: lower --steal-after-us",
            Self::Preempted => "who is served sooner took its CPU: set rules with --class if the wrong one is preferred",
            Self::KernelThreads => "kernel threads had the CPUs: cat /proc/PID/stack tells what they do",
            Self::Scheduler => "threads of scx_mpg had the CPUs: raise --batch-events, --batch-us and --lease",
            Self::Queue => "more is running than there are CPUs for: shorten --slice-us, or give it more weight or a class",
            Self::Unknown => "it was not recorded",
        }
    }
}

/// Somebody who ran meanwhile.
#[derive(Serialize)]
struct Other {
    pid: u32,
    comm: String,
    class: &'static str,
    us: f64,
}

impl From<&Behind> for Other {
    fn from(behind: &Behind) -> Self {
        Self {
            us: us(behind.ns),
            ..Self::from(&behind.who)
        }
    }
}

impl From<&Who> for Other {
    fn from(who: &Who) -> Self {
        Self {
            pid: who.pid,
            comm: text_of(&who.comm),
            class: who.kind.name(),
            us: 0.0,
        }
    }
}

/// One wait.
#[derive(Serialize)]
struct Row {
    /// When the task started, time of day in UTC.
    time: String,
    start_ns: u64,
    pid: u32,
    tgid: u32,
    comm: String,
    class: &'static str,
    weight: u32,
    how: &'static str,
    waited_us: f64,
    cause: &'static str,
    share_pct: f64,
    /// Microseconds by cause, of those that there were.
    parts_us: BTreeMap<&'static str, f64>,
    behind: Vec<Other>,
    preempted_by: Option<Other>,
    queue: String,
    fallback: bool,
    cpu: u16,
    node: usize,
    from_node: usize,
    /// The node whose queue another node's CPU took it from.
    stolen_from: Option<usize>,
    /// The node with the idle CPU, and how long the task would have had to wait for it.
    leave: Option<Leave>,
}

#[derive(Serialize)]
struct Leave {
    node: usize,
    after_us: Option<f64>,
}

/// What a cause has in all.
#[derive(Serialize)]
struct Sum {
    cause: &'static str,
    /// Of the time waited.
    time_pct: f64,
    /// Of the waits, those of which it has most.
    waits_pct: f64,
    waits: u64,
    time_us: f64,
    advice: &'static str,
}

/// Everything that is told.
#[derive(Serialize)]
pub struct Report {
    over_us: u64,
    /// Seconds that the report is about.
    seconds: f64,
    runs: u64,
    dropped: u64,
    let_go: u64,
    unloaded: bool,
    causes: Vec<Sum>,
    waits: Vec<Row>,
}

fn us(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10.0
}

fn percent(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        _ => (part as f64 * 1000.0 / whole as f64).round() / 10.0,
    }
}

/// The time of day of so many nanoseconds since 1970, in UTC.
fn time_of_day(ns: u64) -> String {
    let ms = ns / 1_000_000 % 86_400_000;
    let (s, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}

fn queue_of(shape: &Shape, place: Place) -> String {
    let node = |node: u16| shape.node_ids.get(usize::from(node)).copied().unwrap_or(0);
    match place {
        Place::Custody(n) => format!("custody of node {}", node(n)),
        Place::Primed(n) => format!("primed of node {}", node(n)),
        Place::Spare(n) => format!("spare of node {}", node(n)),
        Place::Cpu(cpu) => format!("own of CPU {cpu}"),
        Place::Local(cpu) => format!("local of CPU {cpu}"),
    }
}

fn row(watched: &Watched, late: &Late, outcome: &Outcome) -> Row {
    let shape = &watched.past.shape;
    let index_of = |cpu: u16| shape.cpu_node.get(usize::from(cpu)).copied().unwrap_or(0);
    let id = |index: u16| shape.node_ids.get(usize::from(index)).copied().unwrap_or(0);
    let waited = late.start.saturating_sub(late.since);
    let main = outcome.main();
    let stolen_from = match late.place {
        Place::Custody(node) | Place::Primed(node) => {
            (!shape.one_queue && index_of(late.cpu) != node).then(|| id(node))
        }
        _ => None,
    };
    let home = match late.place {
        Place::Custody(node) | Place::Primed(node) => node,
        _ => index_of(late.from_cpu),
    };
    let leave = outcome.idle_node.map(|thief| {
        let after = shape
            .leaves
            .get(usize::from(thief))
            .and_then(|of| of.get(usize::from(home)));
        Leave {
            node: id(thief),
            after_us: after
                .filter(|&&ns| ns != mpg_policy::NEVER)
                .map(|&ns| us(ns)),
        }
    });
    let parts = CAUSES.iter().zip(&outcome.parts).filter(|(_, &ns)| ns > 0);
    Row {
        time: time_of_day(late.start.wrapping_add(watched.to_wall)),
        start_ns: late.start,
        pid: late.who.pid,
        tgid: late.tgid,
        comm: text_of(&late.who.comm),
        class: late.who.kind.name(),
        weight: late.weight,
        how: match late.how {
            How::Woken => "woken",
            How::Preempted => "preempted",
            How::SliceOver => "slice-over",
        },
        waited_us: us(waited),
        cause: main.name(),
        share_pct: percent(outcome.parts[main as usize], waited),
        parts_us: parts.map(|(cause, &ns)| (cause.name(), us(ns))).collect(),
        behind: outcome.behind.iter().map(Other::from).collect(),
        preempted_by: outcome.taker.as_ref().map(Other::from),
        queue: queue_of(shape, late.place),
        fallback: late.fallback,
        cpu: late.cpu,
        node: id(index_of(late.cpu)),
        from_node: id(index_of(late.from_cpu)),
        stolen_from,
        leave: leave.filter(|_| outcome.parts[Cause::Leave as usize] > 0),
    }
}

impl Report {
    /// On what was watched.
    pub fn new(watched: &Watched, over_us: u64, last_ns: u64) -> Self {
        let mut waits = Vec::with_capacity(watched.late.len());
        let mut times = [0; CAUSES.len()];
        let mut mains = [0; CAUSES.len()];
        for late in &watched.late {
            let outcome = attribute(&watched.past, late);
            for (sum, ns) in times.iter_mut().zip(&outcome.parts) {
                *sum += ns;
            }
            mains[outcome.main() as usize] += 1;
            waits.push(row(watched, late, &outcome));
        }
        waits.sort_by(|a, b| b.waited_us.total_cmp(&a.waited_us));
        let (time, number) = (times.iter().sum(), mains.iter().sum());
        let sum = |(at, &cause): (usize, &Cause)| Sum {
            cause: cause.name(),
            time_pct: percent(times[at], time),
            waits_pct: percent(mains[at], number),
            waits: mains[at],
            time_us: us(times[at]),
            advice: cause.advice(),
        };
        let causes = CAUSES.iter().enumerate().map(sum);
        let mut causes: Vec<Sum> = causes.filter(|sum| sum.time_us > 0.0).collect();
        causes.sort_by(|a, b| b.time_us.total_cmp(&a.time_us));
        let span = watched
            .span
            .map_or(0, |(begin, end)| (end - begin).min(last_ns));
        Self {
            over_us,
            seconds: (span as f64 / 1e8).round() / 10.0,
            runs: watched.seen.runs,
            dropped: watched.seen.dropped,
            let_go: watched.seen.let_go,
            unloaded: watched.unloaded,
            causes,
            waits,
        }
    }

    /// As one JSON document.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    /// As a table of up to `limit` waits and the summary.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_text(&self, limit: usize, out: &mut impl Write) -> io::Result<()> {
        if self.unloaded {
            writeln!(out, "The scheduler was unloaded, which ended the watch.")?;
        }
        if self.dropped > 0 {
            writeln!(
                out,
                "{} records were dropped, since they were not read in time: some times are unknown.",
                self.dropped
            )?;
        }
        if self.let_go > 0 {
            let many = self.let_go;
            writeln!(
                out,
                "{many} waits are left out, since there were more than can be kept."
            )?;
        }
        if self.waits.is_empty() {
            return writeln!(
                out,
                "Nobody waited for more than {} us in the last {:.1} s; {} runs were seen.",
                self.over_us, self.seconds, self.runs
            );
        }
        writeln!(
            out,
            "{:<12} {:<26} {:<10} {:>10}  {:<19} {:<20} {:<10} BEHIND",
            "TIME (UTC)", "TASK", "CLASS", "WAITED us", "MAIN CAUSE", "QUEUE", "MOVED"
        )?;
        for row in self.waits.iter().take(limit) {
            writeln!(
                out,
                "{:<12} {:<26} {:<10} {:>10.1}  {:<19} {:<20} {:<10} {}",
                row.time,
                format!("{} {}", row.pid, tame(&row.comm)),
                row.class,
                row.waited_us,
                format!("{} {:.0}%", row.cause, row.share_pct),
                row.queue,
                row.moved(),
                row.others()
            )?;
        }
        if self.waits.len() > limit {
            let more = self.waits.len() - limit;
            writeln!(
                out,
                "and {more} more, which were shorter: --limit {}",
                self.waits.len()
            )?;
        }
        writeln!(
            out,
            "\n{} waits of more than {} us in {:.1} s; {} runs were seen. Where their time went:\n",
            self.waits.len(),
            self.over_us,
            self.seconds,
            self.runs
        )?;
        writeln!(out, "{:<15} {:>6} {:>11}", "CAUSE", "TIME", "MAIN CAUSE")?;
        for sum in &self.causes {
            writeln!(
                out,
                "{:<15} {:>5.1}% {:>5.1}% ({})  {}",
                sum.cause, sum.time_pct, sum.waits_pct, sum.waits, sum.advice
            )?;
        }
        Ok(())
    }
}

impl Row {
    fn moved(&self) -> String {
        match self.stolen_from {
            Some(victim) => format!("{victim}>{} stolen", self.node),
            None if self.from_node != self.node => format!("{}>{}", self.from_node, self.node),
            None => "-".to_string(),
        }
    }

    fn others(&self) -> String {
        let mut text = String::new();
        for other in &self.behind {
            let comma = if text.is_empty() { "" } else { ", " };
            let name = tame(&other.comm);
            let _ = write!(text, "{comma}{} {name} {:.0} us", other.pid, other.us);
        }
        if let Some(by) = &self.preempted_by {
            let _ = write!(text, "; put off by {} {}", by.pid, tame(&by.comm));
        }
        if let Some(leave) = &self.leave {
            let _ = match leave.after_us {
                Some(after) => write!(
                    text,
                    "; node {} may take it after {after:.0} us",
                    leave.node
                ),
                None => write!(text, "; node {} may not take it", leave.node),
            };
        }
        if self.fallback {
            text.push_str("; the node is served without its worker");
        }
        text.trim_start_matches("; ").to_string()
    }
}
