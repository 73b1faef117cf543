//! `mpg-bench`: loads that compare CPU schedulers, with the kernel's own counts of what each load cost.
//!
//! A load starts threads, calls [`window::Window::measure`] while they run, stops them, and hands back figures that
//! know how to print themselves ([`report::Figures`]). Everything else is shared by all loads: the command line's
//! common part here, the threads in `crew`, the window and its counts in `window` and `counts`, the output in `report`,
//! what figures mean in `metric`. A new load is a module of `load` with its [`load::Load`], one variant of [`Command`],
//! one arm of the match in [`run`], and its headline in `metric`.
//!
//! `compare` runs loads under several schedulers in turn and puts together what they measured, `render` turns that into
//! text, and `check` judges it by a stored one.

mod cgroup;
mod check;
mod clock;
mod compare;
mod counts;
mod crew;
mod futex;
mod gate;
mod heat;
mod idle;
mod latency;
mod load;
mod metric;
mod priority;
mod render;
mod report;
mod ring;
mod runs;
mod sched_ext;
mod topology;
mod tracepoint;
mod window;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use load::{
    fork, hog, memory, messaging, mix, numa, pipe, quota, shares, timer, usleep, wake, Load, Stage,
};
use priority::Priority;
use report::{Figures, Report};
use topology::Topology;
use window::Window;

/// Exit code for a value on the command line that cannot be used.
const EXIT_BAD_INPUT: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "mpg-bench",
    version,
    about = "Loads that compare CPU schedulers"
)]
struct Cli {
    #[command(subcommand)]
    load: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Wakeup and request latency of workers that ask, sleep and compute, in schbench's terms
    Wake(Choice<wake::Args>),
    /// Latency of timers, in cyclictest's terms
    Timer(Choice<timer::Args>),
    /// Two tasks that play ping-pong through pipes, in the terms of perf bench sched pipe
    Pipe(Choice<pipe::Args>),
    /// Groups of senders and receivers with a fixed amount of work, in hackbench's terms
    Messaging(Choice<messaging::Args>),
    /// Threads that compute and never sleep: their rate, and how fairly the CPUs are dealt
    Hog(Choice<hog::Args>),
    /// Hogs of several niceness, and of SCHED_IDLE: who gets how much of the CPUs
    Shares(Choice<shares::Args>),
    /// Latency of timers beside hogs, and the hogs' rate
    Mix(Choice<mix::Args>),
    /// Threads whose memory is on one node each: how often they run on another
    Numa(Choice<numa::Args>),
    /// Processes whose memory is on one node, pushed to another and let go: how much of them runs at home again
    Memory(Choice<memory::Args>),
    /// Processes that are started and end at once
    Fork(Choice<fork::Args>),
    /// Timers within a CPU quota: how many are late (needs root and cgroup v2)
    Quota(Choice<quota::Args>),
    /// Gaps between short sleeps, beside hogs on every CPU
    Usleep(Choice<usleep::Args>),
    /// Loads under several schedulers in turn, and what differs beyond noise
    Compare(compare::Args),
    /// Show a finished comparison: as a table, or as HTML or Markdown in a file
    Report(render::Args),
    /// Judge a comparison by a stored one: fails if counts or ratios are past their bounds
    Check(check::Args),
}

/// A load with its own flags, and those that every load takes.
#[derive(Debug, Args)]
struct Choice<L: Args> {
    #[command(flatten)]
    load: L,
    #[command(flatten)]
    common: Common,
}

/// What every load takes.
#[derive(Debug, Args)]
struct Common {
    /// How long the load runs, warm-up included, in seconds; work of a fixed amount takes what it takes
    #[arg(short = 'r', long, value_name = "S", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    runtime: u64,
    /// How much of the beginning of the run is left out of all figures, in seconds
    #[arg(short = 'w', long = "warmuptime", visible_alias = "warmup", value_name = "S", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warmup: u64,
    /// Write the figures as JSON into this file, or to stdout for "-", instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run the measured threads as SCHED_FIFO, priority 1: what the machine makes of the load at best
    #[arg(long)]
    fifo: bool,
    /// Sample how busy each NUMA node is, four times a second, into the JSON
    #[arg(long)]
    heat: bool,
    /// Record every switch, and tell how long CPUs idled while a thread of the load waited (needs root)
    #[arg(long)]
    idle: bool,
}

/// Why a run ended without figures.
enum Failure {
    /// The command line asks for something that cannot be; the sentence says what.
    BadInput(String),
    /// The machine did not let the load run.
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Broken(error)
    }
}

fn main() -> ExitCode {
    let failure = match parse() {
        Ok(Some(cli)) => match run(cli) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => failure,
        },
        Ok(None) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let (sentence, code) = match failure {
        Failure::BadInput(sentence) => (sentence, ExitCode::from(EXIT_BAD_INPUT)),
        Failure::Broken(error) => (format!("{error:#}"), ExitCode::FAILURE),
    };
    say(&sentence);
    code
}

/// Puts one sentence on stderr. Nobody is left to tell when that fails.
fn say(sentence: &str) {
    let _ = writeln!(io::stderr(), "mpg-bench: {sentence}");
}

/// Reads the command line; `None` when it only asked for help or the version, which have been printed.
fn parse() -> Result<Option<Cli>, Failure> {
    let parsed = Cli::command()
        .try_get_matches()
        .and_then(|m| Cli::from_arg_matches(&m));
    match parsed {
        Ok(cli) => Ok(Some(cli)),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                // Help cut short by a closed pipe is what the reader wanted.
                let _ = error.print();
                Ok(None)
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
                Err(Failure::BadInput(
                    "no load was named; `mpg-bench help` lists them".into(),
                ))
            }
            _ => Err(Failure::BadInput(one_sentence(&error.to_string()))),
        },
    }
}

/// The first paragraph of clap's message on one line, without its label.
fn one_sentence(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

/// Whether a load takes these arguments; the error is a sentence. Nothing is run.
fn check_load(arguments: &[&str]) -> Result<(), String> {
    let line = ["mpg-bench"].iter().chain(arguments);
    match Cli::try_parse_from(line) {
        Ok(Cli {
            load: Command::Compare(_) | Command::Report(_) | Command::Check(_),
        }) => Err(format!("'{}' is no load", arguments[0])),
        Ok(_) => Ok(()),
        Err(error) => Err(one_sentence(&error.to_string())),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.load {
        Command::Wake(choice) => execute(choice),
        Command::Timer(choice) => execute(choice),
        Command::Pipe(choice) => execute(choice),
        Command::Messaging(choice) => execute(choice),
        Command::Hog(choice) => execute(choice),
        Command::Shares(choice) => execute(choice),
        Command::Mix(choice) => execute(choice),
        Command::Numa(choice) => execute(choice),
        Command::Memory(choice) => execute(choice),
        Command::Fork(choice) => execute(choice),
        Command::Quota(choice) => execute(choice),
        Command::Usleep(choice) => execute(choice),
        Command::Compare(args) => compare::command(args),
        Command::Report(args) => render::run(&args),
        Command::Check(args) => check::command(&args),
    }
}

/// Runs one load inside its window, and writes the report.
fn execute<L: Load + Args>(choice: Choice<L>) -> Result<(), Failure> {
    let Choice { load, common } = choice;
    let topology = Topology::read()?;
    let load = load.checked(&topology).map_err(Failure::BadInput)?;
    let priority = common.priority::<L>()?;
    // Neither a fixed amount of work nor a program of its own has a beginning that could be left out.
    let warmup_s = if load.fixed_work() || load.real() {
        0
    } else {
        common.warmup
    };
    if warmup_s >= common.runtime {
        return Err(Failure::BadInput(format!(
            "a warm-up of {warmup_s} s leaves nothing of a run of {} s",
            common.runtime
        )));
    }
    // Opened before the run: a path that cannot be written must not cost a whole run.
    let output = Output::open(common.json.as_deref())?;
    let counters = match counts::Counters::open(&topology) {
        Ok(counters) => Some(counters),
        Err(error) => {
            say(&format!("migrations are not counted: {error:#}"));
            None
        }
    };
    let warmup = Duration::from_secs(warmup_s);
    let length = Duration::from_secs(common.runtime) - warmup;
    let stage = Stage {
        topology: &topology,
        window: Window::new(warmup, length, counters)
            .with_heat(common.heat)
            .with_idle(common.idle),
        priority,
    };

    let before = sched_ext::State::read();
    let (figures, measured) = load.run(stage)?;
    let after = sched_ext::State::read();

    let run = report::Run {
        load: L::NAME,
        parameters: &load,
        warmup_s,
        priority,
    };
    let report = Report::new(run, &topology, figures, measured, (before, after));
    output.write(&report)?;
    Ok(())
}

impl Common {
    /// The priority that the load's threads are to take, once it is known that they may.
    fn priority<L: Load>(&self) -> Result<Priority, Failure> {
        if !self.fifo {
            return Ok(Priority::Ordinary);
        }
        if let Some(reason) = L::NO_FIFO {
            return Err(Failure::BadInput(format!(
                "--fifo is not for {}: {reason}",
                L::NAME
            )));
        }
        Priority::Fifo.try_out().context("--fifo cannot be had")?;
        Ok(Priority::Fifo)
    }
}

/// Where the report goes.
enum Output {
    Table,
    JsonToStdout,
    JsonToFile(File, PathBuf),
}

impl Output {
    fn open(json: Option<&Path>) -> Result<Self> {
        match json {
            None => Ok(Output::Table),
            Some(path) if path == Path::new("-") => Ok(Output::JsonToStdout),
            Some(path) => {
                let file = File::create(path)
                    .with_context(|| format!("cannot write the figures into {}", path.display()))?;
                Ok(Output::JsonToFile(file, path.to_owned()))
            }
        }
    }

    fn write<P, F>(self, report: &Report<'_, P, F>) -> Result<()>
    where
        P: serde::Serialize,
        F: Figures,
    {
        let stdout = "cannot write the figures to stdout";
        match self {
            Output::Table => report.write_table(&mut io::stdout().lock()).context(stdout),
            Output::JsonToStdout => report.write_json(&mut io::stdout().lock()).context(stdout),
            Output::JsonToFile(mut file, path) => report
                .write_json(&mut file)
                .with_context(|| format!("cannot write the figures into {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(arguments: &[&str]) -> String {
        match Cli::try_parse_from(arguments) {
            Ok(cli) => panic!("accepted: {cli:?}"),
            Err(error) => one_sentence(&error.to_string()),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_value_out_of_range_gives_one_sentence() {
        let sentence = error_of(&["mpg-bench", "wake", "-r", "0"]);
        assert_eq!(
            sentence,
            "invalid value '0' for '--runtime <S>': 0 is not in 1..=86400"
        );
        assert!(error_of(&["mpg-bench", "wake", "-m", "many"]).contains("invalid digit"));
        assert!(error_of(&["mpg-bench", "wake", "-t", "-3"]).contains("unexpected argument"));
        assert!(error_of(&["mpg-bench", "wake", "-F", "0"]).contains("not in 1..="));
        assert!(error_of(&["mpg-bench", "wake", "-p", "1"]).contains("unexpected argument"));
    }

    #[test]
    fn the_flags_of_schbench_are_taken() {
        let line = "mpg-bench wake -m 2 -t 4 -i 1000 -F 16 -n 1 -r 3 -s 50 -w 1";
        assert!(Cli::try_parse_from(line.split(' ')).is_ok());
        let line = "mpg-bench wake --message-threads 2 --threads 4 --intervaltime 10 \
                    --cache_footprint 16 --operations 1 --runtime 3 --sleep_usec 50 --warmuptime 1";
        assert!(Cli::try_parse_from(line.split_whitespace()).is_ok());
    }
}
