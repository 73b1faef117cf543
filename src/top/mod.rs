// SPDX-License-Identifier: GPL-2.0-only
//! `scx_mpg top`: a picture of the running scheduler on a terminal.
//!
//! Looks at the statistics ([`source`]) and keys ([`keys`]) change a state ([`model`]), which is drawn
//! into a buffer ([`view`]) that a terminal shows ([`terminal`]). All but the first and the last are
//! functions of values. Where nobody looks at a screen it is lines of text ([`plain`]).

mod heat;
mod keys;
mod model;
mod plain;
mod source;
mod terminal;
mod units;
mod view;

use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::cli;
use source::Source;

/// How to look.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", value_parser = cli::seconds, default_value = "1")]
    pub interval: Duration,
    /// Print lines of text, as where the output is no terminal.
    #[arg(long)]
    pub plain: bool,
    /// End after so many looks.
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
}

/// Shows the running scx_mpg until the user has seen enough.
///
/// # Errors
/// If none runs or it ends, or the terminal cannot be used.
pub fn run(args: &TopArgs) -> Result<()> {
    let source = Source::connect()?;
    let most = args.count.map(NonZeroU64::get);
    let dumb = std::env::var("TERM").is_ok_and(|terminal| terminal == "dumb");
    match args.plain || dumb || !io::stdout().is_terminal() {
        true => print(source, args.interval, most),
        false => terminal::run(source, args.interval, most),
    }
}

fn print(mut source: Source, interval: Duration, most: Option<u64>) -> Result<()> {
    let mut shown = 0;
    while most.is_none_or(|most| shown < most) {
        std::thread::sleep(interval);
        match plain::write(&source.look()?, &mut io::stdout().lock()) {
            // Nobody reads any more, as after `| head`.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write")?,
        }
        shown += 1;
    }
    Ok(())
}
