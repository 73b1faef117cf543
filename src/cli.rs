// SPDX-License-Identifier: GPL-2.0-only
//! The command line.
//!
//! One option for each of the policy's parameters is made from the policy crate's own table, so
//! that names, ranges, defaults and advice are those that the policy means.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, CommandFactory, FromArgMatches};
use clap::{Parser, Subcommand};
use mpg_policy::{ParamInfo, Params, PARAMS, POLICIES};
use scx_utils::build_id;
use scx_utils::libbpf_clap_opts::LibbpfOpts;

use crate::config::{self, Choice};
use crate::control::{Change, Request};
use crate::memory::{self, MemorySettings};
use crate::openmetrics::Address;
use crate::patch::Patch;
use crate::profiles;
use crate::settings::{SettingError, Settings};
use crate::settings::{DEFAULT_FALLBACK_AFTER_MS, FALLBACK_AFTER_MS, FOR_S};
use crate::top::TopArgs;
use crate::why::WhyArgs;

/// Seconds between two reports; less floods the terminal, more is a mistake.
const SECONDS: RangeInclusive<f64> = 0.1..=86_400.0;
/// Milliseconds between two traces, likewise.
const SCHEDTRACE_MS: RangeInclusive<u64> = 10..=86_400_000;

/// A NUMA-aware CPU scheduler that keeps one run queue per node in user space.
///
/// Without a subcommand it takes over the machine's scheduling until it ends, and hands it back.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "scx_mpg",
    disable_version_flag = true,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// File that says what the command line does not, in TOML with the options' names as keys; read
    /// again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Profile that policy and parameters are taken from where they are not named.
    #[arg(long, value_name = "NAME", help = profiles::help())]
    pub profile: Option<String>,

    /// Policy that orders the tasks.
    #[arg(long, value_name = "NAME", help = policy_help())]
    pub policy: Option<String>,

    /// The policy's parameters that were given.
    #[command(flatten)]
    pub params: ParamArgs,

    /// What some tasks are taken for, several times if need be; the first that matches counts:
    /// comm=NAME:CLASS, process=NAME:CLASS, cgroup=/PATH:CLASS or uid=N:CLASS, where NAME may end
    /// in * and CLASS is latency, normal or batch.
    #[arg(long, value_name = "RULE")]
    pub class: Vec<String>,

    /// Milliseconds of a worker's silence.
    #[arg(long, value_name = "N", value_parser = |text: &str| whole(text, FALLBACK_AFTER_MS),
          help = with_default("A worker that does not answer for this many milliseconds is taken \
                               for dead, and the kernel half serves its node",
                              DEFAULT_FALLBACK_AFTER_MS))]
    pub fallback_after_ms: Option<u64>,

    /// Thousandths of a CPU for finding out where memory is.
    #[arg(long, value_name = "N",
          value_parser = |text: &str| memory_number("memory-permille", text),
          help = with_default("Thousandths of one CPU that may be spent on finding out where \
                               processes have their memory; 0 leaves tasks wherever they ran last",
                              MemorySettings::default().permille))]
    pub memory_permille: Option<u64>,

    /// MiB that make a process worth a home.
    #[arg(long, value_name = "N",
          value_parser = |text: &str| memory_number("memory-from-mib", text),
          help = with_default("Processes with less memory of their own than this many MiB are run \
                               anywhere", MemorySettings::default().from_mib))]
    pub memory_from_mib: Option<u64>,

    /// Let the pages of a process follow it where it can no longer run beside them.
    #[arg(long)]
    pub migrate_memory: bool,

    /// MiB a second that may follow.
    #[arg(long, value_name = "N",
          value_parser = |text: &str| memory_number("migrate-mib-per-s", text),
          help = with_default("How many MiB a second may follow, on average",
                              MemorySettings::default().migrate_mib_per_s))]
    pub migrate_mib_per_s: Option<u64>,

    /// Group whose members may look at settings and statistics, not change them.
    #[arg(long, value_name = "NAME")]
    pub control_group: Option<String>,

    /// Schedule only tasks of class SCHED_EXT, not all of them.
    #[arg(long)]
    pub partial: bool,

    /// Print a report every SEC seconds while scheduling.
    #[arg(long, value_name = "SEC", value_parser = seconds)]
    pub stats: Option<Duration>,

    /// Print a report of the running scx_mpg every SEC seconds, and do not schedule.
    #[arg(long, value_name = "SEC", value_parser = seconds, conflicts_with = "stats")]
    pub monitor: Option<Duration>,

    /// Print a line on the state of all queues every MS milliseconds while scheduling, in the form
    /// of Go's GODEBUG=schedtrace.
    #[arg(long, value_name = "MS", value_parser = milliseconds, conflicts_with = "monitor")]
    pub schedtrace: Option<Duration>,

    /// With --schedtrace, add a line for each worker, each CPU and each task that has waited for
    /// more than 10 ms.
    #[arg(long, requires = "schedtrace")]
    pub scheddetail: bool,

    /// Serve the statistics to Prometheus, as OpenMetrics over HTTP at /metrics: at an address such
    /// as 127.0.0.1:9190 or [::1]:9190, or at a Unix socket such as unix:/run/scx_mpg/metrics.sock
    /// or that path alone; several times if need be.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Vec<Address>,

    /// Let --metrics be an address that other machines can reach; whoever reaches it may read.
    #[arg(long, requires = "metrics")]
    pub metrics_any: bool,

    /// Describe what is reported, and end.
    #[arg(long)]
    pub help_stats: bool,

    /// Bytes of the dump that the kernel writes when it ends the scheduler for an error; 0 for its
    /// default.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub exit_dump_len: u32,

    /// Say more, what libbpf says included.
    #[arg(short, long)]
    pub verbose: bool,

    /// Print the versions of scx_mpg, libbpf and the running kernel, and end.
    #[arg(short = 'V', long)]
    pub version: bool,

    /// libbpf's own options.
    #[command(flatten, next_help_heading = "Options of libbpf")]
    pub libbpf: LibbpfOpts,

    /// What to do other than schedule.
    #[command(subcommand)]
    pub command: Option<Action>,
}

/// What can be asked of the scx_mpg that runs.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Change the running scx_mpg's policy or parameters, all that are named or none.
    Set(SetArgs),
    /// Show the running scx_mpg's settings.
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the running scx_mpg's statistics since its load, as JSON.
    Stats {
        /// Print only the values of these, in one line; --help-stats describes them.
        #[arg(value_name = "FIELD")]
        fields: Vec<String>,
    },
    /// Draw the running scx_mpg: nodes, CPUs, queues, waits over time and steals; keys change the policy.
    Top(TopArgs),
    /// Watch the running scx_mpg, and say of wakeups that came late where their time went.
    Why(WhyArgs),
    /// Read a config file as --config does, print the settings that it makes, and end.
    CheckConfig {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// What `set` changes.
#[derive(Clone, Debug, Args)]
pub struct SetArgs {
    /// Take the last change back; given again, the one before it, up to 16.
    #[arg(long, exclusive = true)]
    pub undo: bool,
    /// Go back by itself after SEC seconds.
    #[arg(long = "for", value_name = "SEC", value_parser = |text: &str| whole(text, FOR_S))]
    pub for_s: Option<u64>,
    /// Profile to switch to: policy and all parameters.
    #[arg(long, value_name = "NAME", help = profiles::help())]
    pub profile: Option<String>,
    /// Policy to switch to.
    #[arg(long, value_name = "NAME", help = policy_help())]
    pub policy: Option<String>,
    /// Parameters to change.
    #[command(flatten)]
    pub params: ParamArgs,
    /// Rules that replace those there are, as at the start; none for no rules.
    #[arg(long, value_name = "RULE")]
    pub class: Vec<String>,
}

impl SetArgs {
    /// What is asked of the daemon.
    pub fn request(&self) -> Request {
        if self.undo {
            return Request::Undo {};
        }
        Request::Set(Change {
            for_s: self.for_s,
            patch: self.patch(),
        })
    }

    /// The change that was asked for.
    fn patch(&self) -> Patch {
        Patch {
            profile: self.profile.clone(),
            policy: self.policy.clone(),
            params: self.params.0.clone(),
            class: given(&self.class),
        }
    }
}

/// The rules that were given, if any.
fn given(rules: &[String]) -> Option<Vec<String>> {
    (!rules.is_empty()).then(|| rules.to_vec())
}

/// The policy's parameters that were given, by name, in the unit that the name ends in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamArgs(pub BTreeMap<String, u64>);

impl Args for ParamArgs {
    fn augment_args(command: Command) -> Command {
        PARAMS
            .iter()
            .fold(command, |command, info| command.arg(param_arg(info)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ParamArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |info: &ParamInfo| {
            matches
                .get_one::<u64>(info.name)
                .map(|&value| (info.name.to_string(), value))
        };
        Ok(Self(PARAMS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

fn param_arg(info: &'static ParamInfo) -> Arg {
    let mut help = info.help.to_string();
    if let Some(first) = help.get(..1) {
        help = first.to_uppercase() + &help[1..];
    }
    let default = (info.get)(&Params::default()) / info.scale;
    let (low, high) = (info.low / info.scale, info.high / info.scale);
    let _ = write!(help, " [{low} to {high}, at start {default}]");
    Arg::new(info.name)
        .long(info.name)
        .value_name("N")
        .help(help)
        .value_parser(move |text: &str| whole(text, low..=high))
}

/// A number, of which something else judges whether it is in its `range`: it may depend on others.
fn whole(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    text.parse().map_err(|_| {
        let (low, high) = range.into_inner();
        format!("'{text}' is not a whole number from {low} to {high}")
    })
}

fn memory_number(name: &str, text: &str) -> Result<u64, String> {
    let number = memory::NUMBERS.iter().find(|number| number.name == name);
    whole(
        text,
        number.map_or(0..=u64::MAX, |number| number.range.clone()),
    )
}

fn with_default(help: &str, value: u64) -> String {
    format!("{help} [default: {value}]")
}

fn policy_help() -> String {
    let default = mpg_policy::DEFAULT_POLICY.name();
    let mut help = format!("Policy that orders the tasks, at start {default}:");
    for (at, policy) in POLICIES.iter().enumerate() {
        let comma = if at == 0 { "" } else { ";" };
        let _ = write!(help, "{comma} {}, {}", policy.name(), policy.about());
    }
    help
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let value = whole(text, SCHEDTRACE_MS)?;
    match SCHEDTRACE_MS.contains(&value) {
        true => Ok(Duration::from_millis(value)),
        false => Err(format!(
            "give {} to {} milliseconds",
            SCHEDTRACE_MS.start(),
            SCHEDTRACE_MS.end()
        )),
    }
}

/// A time between two reports.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text
        .parse()
        .map_err(|_| "give a number of seconds, such as 1".to_string())?;
    if SECONDS.contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err(format!(
            "give {} to {} seconds",
            SECONDS.start(),
            SECONDS.end()
        ))
    }
}

impl Cli {
    /// Reads the process's command line; on a mistake or a call for help it prints and exits.
    ///
    /// The exit code is 2 for a mistake and 0 for help.
    pub fn parse_or_exit() -> Self {
        Self::parse_from_args(std::env::args_os()).unwrap_or_else(|e| {
            if !e.use_stderr() {
                e.exit();
            }
            eprintln!("scx_mpg: {}", sentence(&e));
            std::process::exit(e.exit_code());
        })
    }

    /// Reads a command line, the program's name first, and judges all of its values.
    pub fn parse_from_args<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let cli = Self::try_parse_from(args)?;
        let far = |address: &&Address| !cli.metrics_any && !address.is_local();
        if let Some(address) = cli.metrics.iter().find(far) {
            let why = format!(
                "--metrics {address} can be reached by other machines: choose an address such as \
                 127.0.0.1:9190, or add --metrics-any"
            );
            return Err(Self::command().error(ErrorKind::ValueValidation, why));
        }
        let judged = match &cli.command {
            // A config file may change what the numbers here mean together.
            None if cli.config.is_some() => Ok(()),
            None => config::settings([&cli.choice()]).map(drop),
            // Whether the change fits is for the running daemon to judge, which knows the rest.
            Some(Action::Set(set)) if !set.undo && set.patch() == Patch::default() => {
                Err(SettingError::NothingToSet)
            }
            // A rule means the same to everybody.
            Some(Action::Set(set)) => crate::rules::parse(&set.class)
                .map(drop)
                .map_err(SettingError::Rule),
            Some(_) => Ok(()),
        };
        match judged {
            Ok(()) => Ok(cli),
            Err(e) => Err(Self::command().error(ErrorKind::ValueValidation, e)),
        }
    }

    /// What the command line chooses, which goes before what the config file does.
    pub fn choice(&self) -> Choice {
        let numbers = [
            ("memory-permille", self.memory_permille),
            ("memory-from-mib", self.memory_from_mib),
            ("migrate-mib-per-s", self.migrate_mib_per_s),
        ];
        Choice {
            patch: Patch {
                profile: self.profile.clone(),
                policy: self.policy.clone(),
                params: self.params.0.clone(),
                class: given(&self.class),
            },
            fallback_after_ms: self.fallback_after_ms,
            partial: self.partial.then_some(true),
            migrate_memory: self.migrate_memory.then_some(true),
            memory: numbers
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        }
    }

    /// The settings to start with, from the config file and the command line.
    ///
    /// # Errors
    /// If the file cannot be read, or a value is bad.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let Some(path) = &self.config else {
            return Ok(config::settings([&self.choice()])?);
        };
        Ok(config::load(path, &self.choice())?)
    }
}

/// What is wrong with a command line, in one line: clap's first paragraph, without its usage.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect();
    format!("{} (see scx_mpg --help)", words.join(" "))
}

/// The versions of scx_mpg, of the libbpf in it and of the running kernel, in one line.
pub fn version() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = match kernel.trim() {
        "" => "unknown",
        release => release,
    };
    format!(
        "scx_mpg {} (libbpf {}, kernel {kernel})",
        full_version(),
        libbpf_version()
    )
}

/// The version of scx_mpg, with the commit that it was built of.
pub fn full_version() -> String {
    build_id::full_version(env!("CARGO_PKG_VERSION"))
}

fn libbpf_version() -> String {
    // SAFETY: both functions take nothing and return a constant of the library.
    let (major, minor) = unsafe {
        (
            libbpf_rs::libbpf_sys::libbpf_major_version(),
            libbpf_rs::libbpf_sys::libbpf_minor_version(),
        )
    };
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests;
