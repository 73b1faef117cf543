//! The figures of a run, as JSON or as a table.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

use crate::metric;
use crate::priority::Priority;
use crate::sched_ext::State;
use crate::topology::Topology;
use crate::window::Measured;

/// A line of the table: what, and how much with its unit.
pub type Row = (String, String);

/// The line of a figure that has a name in the JSON; it gives the label and the unit.
pub fn row(name: &str, value: Option<f64>) -> Row {
    let Some(described) = metric::describe(name) else {
        let value = value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
        return (name.to_owned(), value);
    };
    let how_much = match value {
        None => "not measured".to_owned(),
        Some(value) => described.with_unit(value),
    };
    (described.label, how_much)
}

/// What a load alone can tell. Its fields become JSON fields beside the common ones, with units in their names.
pub trait Figures: Serialize {
    /// The figures for the table, the most important first.
    fn rows(&self) -> Vec<Row>;
}

/// One run, complete. The order of the fields is the order in the JSON.
#[derive(Serialize)]
pub struct Report<'a, P, F> {
    load: &'static str,
    cpus: usize,
    nodes: usize,
    parameters: &'a P,
    fifo: bool,
    warmup_s: u64,
    #[serde(flatten)]
    measured: Measured,
    #[serde(flatten)]
    figures: F,
    sched_ext_state_start: Option<String>,
    sched_ext_ops_start: Option<String>,
    sched_ext_state_end: Option<String>,
    sched_ext_ops_end: Option<String>,
}

/// What was run, and how.
pub struct Run<'a, P> {
    /// The load's name.
    pub load: &'static str,
    /// Its parameters.
    pub parameters: &'a P,
    /// What is left out at the beginning, in seconds.
    pub warmup_s: u64,
    /// Its threads' priority.
    pub priority: Priority,
}

impl<'a, P: Serialize, F: Figures> Report<'a, P, F> {
    /// Puts a run's parts together; `schedulers` are those before and after it.
    pub fn new(
        run: Run<'a, P>,
        topology: &Topology,
        figures: F,
        measured: Measured,
        schedulers: (State, State),
    ) -> Self {
        let (before, after) = schedulers;
        Report {
            load: run.load,
            cpus: topology.online().len(),
            nodes: topology.nodes(),
            parameters: run.parameters,
            fifo: run.priority == Priority::Fifo,
            warmup_s: run.warmup_s,
            measured,
            figures,
            sched_ext_state_start: before.state,
            sched_ext_ops_start: before.ops,
            sched_ext_state_end: after.state,
            sched_ext_ops_end: after.ops,
        }
    }

    /// Writes one JSON object, and a newline.
    pub fn write_json(&self, out: &mut impl Write) -> Result<()> {
        // One write, not one for each token: the output may be a pipe or a shared directory.
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// Writes the table.
    pub fn write_table(&self, out: &mut impl Write) -> Result<()> {
        writeln!(
            out,
            "{}: {:.2} s on {} CPUs in {} nodes, scheduler {}",
            self.load,
            self.measured.runtime_s,
            self.cpus,
            self.nodes,
            self.scheduler()
        )?;
        for (what, how_much) in self.figures.rows().into_iter().chain(self.common_rows()) {
            write_row(out, &what, &how_much)?;
        }
        out.flush()?;
        Ok(())
    }

    fn common_rows(&self) -> Vec<Row> {
        let counts = &self.measured.migrations;
        let both = |any: Option<u64>, across: Option<u64>| match (any, across) {
            (Some(any), Some(across)) => format!("{any}, {across} across nodes"),
            _ => "not counted".to_owned(),
        };
        let mut rows = vec![
            (
                "migrations".to_owned(),
                both(counts.migrations, counts.migrations_across_nodes),
            ),
            (
                "of own threads".to_owned(),
                both(counts.own_migrations, counts.own_migrations_across_nodes),
            ),
        ];
        if let Some(lost) = counts.migration_records_lost.filter(|&lost| lost > 0) {
            rows.push((
                "records lost".to_owned(),
                format!("{lost} of migrations across nodes"),
            ));
        }
        rows.push((
            "context switches".to_owned(),
            format!(
                "{}, {} involuntary",
                self.measured.context_switches, self.measured.involuntary_switches
            ),
        ));
        rows
    }

    /// The scheduler's name, or both where it changed during the run.
    fn scheduler(&self) -> String {
        let name = |ops: &Option<String>| ops.clone().unwrap_or_else(|| "of the kernel".to_owned());
        let (start, end) = (
            name(&self.sched_ext_ops_start),
            name(&self.sched_ext_ops_end),
        );
        if start == end {
            start
        } else {
            format!("{start} at the start, {end} at the end")
        }
    }
}

fn write_row(out: &mut impl Write, what: &str, how_much: &str) -> io::Result<()> {
    writeln!(out, "  {what:<26} {how_much}")
}
