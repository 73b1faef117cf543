// SPDX-License-Identifier: GPL-2.0-only
//! `scx_mpg why`: where the time of late wakeups went.
//!
//! The kernel half records what every CPU does and who starts late (`bpf/watch.bpf.h`), for as long
//! as this asks. This reads the records by itself ([`watch`]), keeps the last of them ([`collect`]),
//! makes each CPU's past of them ([`timeline`]) and says of each late start what its CPUs did
//! meanwhile ([`attribute`]): a table and a summary ([`report`]), or a trace ([`perfetto`]).
//!
//! Nothing but [`watch`] knows a kernel.

mod args;
mod attribute;
mod collect;
mod perfetto;
mod record;
mod report;
mod store;
#[cfg(test)]
mod tests;
mod timeline;
mod watch;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use anyhow::{Context, Result};

pub use args::{WhyArgs, OVER_US};
use report::Report;

/// Watches as asked, and reports.
///
/// # Errors
/// If no scx_mpg runs, it refuses, or the report cannot be written.
pub fn run(args: &WhyArgs) -> Result<()> {
    // Before anything is asked for: a file that cannot be written is a mistake.
    let trace = match &args.perfetto {
        Some(path) => {
            let file = File::create(path);
            Some(file.with_context(|| format!("cannot write {}", path.display()))?)
        }
        None => None,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let stop_by_signal = Arc::clone(&stop);
    ctrlc::set_handler(move || stop_by_signal.store(true, Ordering::Relaxed))
        .context("cannot catch signals")?;
    let watched = watch::watch(args, &stop)?;
    if let (Some(file), Some(path)) = (trace, &args.perfetto) {
        let mut out = BufWriter::new(file);
        let written = perfetto::write(&watched, &mut out).and_then(|()| out.flush());
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let report = Report::new(&watched, args.over_us, args.last.as_nanos() as u64);
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match args.json {
        true => report.write_json(&mut out),
        false => report.write_text(args.limit, &mut out),
    };
    match written.and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the report"),
    }
}
