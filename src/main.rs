// SPDX-License-Identifier: GPL-2.0-only
//! scx_mpg: a NUMA-aware user-space CPU scheduler for sched_ext, in the manner of Go's M:P:G.
//!
//! The nouns. A **G** is a task, an **M** a CPU, a **P** the run queue of one NUMA node together
//! with the worker thread that serves it. The kernel half (`bpf/`) finds idle CPUs, keeps waiting
//! Gs in custody, and tells a node's worker of them in batches; the worker ([`worker`]) steps the
//! policy (the crate `mpg_policy`) and writes decisions back. `docs/DESIGN.md` has the argument.

mod affinity;
mod balancer;
mod bpf_intf;
mod bpf_skel;
mod bridge;
mod cli;
mod config;
mod control;
mod crew;
mod daemon;
#[cfg(test)]
mod fuzz;
mod hangup;
mod health;
mod history;
mod memory;
mod openmetrics;
mod patch;
mod preflight;
mod profiles;
mod recorder;
mod rules;
mod schedtrace;
mod sentence;
mod settings;
mod socket;
mod stats;
mod top;
mod topology;
mod why;
mod worker;

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use log::LevelFilter;

use crate::cli::{Action, Cli};
use crate::config::{Choice, ConfigError};
use crate::control::Request;

fn main() -> ExitCode {
    let cli = Cli::parse_or_exit();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("scx_mpg: {e:#}");
            match e.is::<ConfigError>() {
                // As for a mistake on the command line.
                true => ExitCode::from(2),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let level = if cli.verbose {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    };
    simplelog::SimpleLogger::init(level, simplelog::Config::default())?;

    if cli.version {
        println!("{}", cli::version());
        return Ok(());
    }
    if cli.help_stats {
        return stats::describe(&mut std::io::stdout());
    }
    if let Some(interval) = cli.monitor {
        return Ok(stats::monitor(interval, &AtomicBool::new(false))?);
    }
    match &cli.command {
        None => daemon::run(cli, preflight::check()?),
        Some(Action::Set(set)) => ask(&set.request(), false),
        Some(Action::Show { json }) => ask(&Request::Show {}, *json),
        Some(Action::Stats { fields }) => Ok(stats::print_once(fields)?),
        Some(Action::Top(args)) => top::run(args),
        Some(Action::Why(args)) => why::run(args),
        Some(Action::CheckConfig { file }) => {
            println!("{}", config::load(file, &Choice::default())?);
            Ok(())
        }
    }
}

/// Asks the running scx_mpg and prints the settings that it answers with.
fn ask(request: &Request, json: bool) -> Result<()> {
    let reply = control::request(control::SOCKET_PATH.as_ref(), request)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&reply)?);
    } else {
        println!("{reply}");
    }
    Ok(())
}
