// SPDX-License-Identifier: GPL-2.0-only
//! A trace in Chrome's JSON form, which ui.perfetto.dev and chrome://tracing open.
//!
//! A track for each CPU has the runs, and one for each late wait the wait with its pieces below it.

use std::io::{self, Write};

use serde_json::{json, Value};

use super::attribute::pieces;
use super::record::text_of;
use super::timeline::Doing;
use super::watch::Watched;

/// The process that tracks of CPUs, and of waits, are listed under.
const CPUS: u32 = 1;
const WAITS: u32 = 2;

/// Writes one event to a line, as the elements of an array.
struct Events<'a, W: Write> {
    out: &'a mut W,
    first: bool,
}

impl<W: Write> Events<'_, W> {
    fn add(&mut self, event: &Value) -> io::Result<()> {
        let comma = if self.first { "" } else { ",\n" };
        self.first = false;
        write!(self.out, "{comma}{event}")
    }

    fn name(&mut self, what: &str, pid: u32, tid: u32, name: &str) -> io::Result<()> {
        self.add(&json!({"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}))
    }
}

/// Writes the trace.
///
/// # Errors
/// What `out` says.
pub fn write(watched: &Watched, out: &mut impl Write) -> io::Result<()> {
    let past = &watched.past;
    let origin = watched.span.map_or(0, |(begin, _)| begin);
    let us = |ns: u64| ns.saturating_sub(origin) as f64 / 1000.0;
    writeln!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    let mut events = Events { out, first: true };
    events.name("process_name", CPUS, 0, "CPUs")?;
    events.name("process_name", WAITS, 0, "late tasks")?;
    for (cpu, timeline) in past.timelines.iter().enumerate() {
        if timeline.segments().next().is_none() {
            continue;
        }
        let node = past
            .shape
            .cpu_node
            .get(cpu)
            .map_or(0, |&node| usize::from(node));
        let node = past.shape.node_ids.get(node).copied().unwrap_or(0);
        events.name(
            "thread_name",
            CPUS,
            cpu as u32,
            &format!("CPU {cpu}, node {node}"),
        )?;
        for segment in timeline.segments() {
            let Doing::Runs(who) = segment.doing else {
                continue;
            };
            let dur = segment.end.saturating_sub(segment.start.max(origin)) as f64 / 1000.0;
            events.add(&json!({
                "ph": "X", "cat": "run", "name": text_of(&who.comm), "pid": CPUS, "tid": cpu,
                "ts": us(segment.start), "dur": dur,
                "args": {"pid": who.pid, "class": who.kind.name()},
            }))?;
        }
    }
    for (id, late) in watched.late.iter().enumerate() {
        let name = format!("{} {}", late.who.pid, text_of(&late.who.comm));
        let mut slice = |phase: &str, name: &str, at: u64, args: Value| {
            events.add(&json!({
                "ph": phase, "cat": "late", "id": id, "name": name, "pid": WAITS,
                "tid": late.who.pid, "ts": us(at), "args": args,
            }))
        };
        slice(
            "b",
            &name,
            late.since,
            json!({"started_on": late.cpu, "weight": late.weight}),
        )?;
        for (from, to, cause) in pieces(past, late) {
            slice("b", cause.name(), from, json!({}))?;
            slice("e", cause.name(), to, json!({}))?;
        }
        slice("e", &name, late.start, json!({}))?;
    }
    writeln!(events.out, "\n]}}")
}
