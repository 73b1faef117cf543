//! `mpg-bench compare`: loads under several schedulers in turn, in one boot of one machine.
//!
//! A round loads each scheduler once and runs every load under it; the next round takes the schedulers in the opposite
//! order (A B, B A), so that a drift of the machine falls on all alike. Before and after each run the kernel is asked
//! whether the scheduler is the right one and stayed. Besides the rounds there are two runs that are not compared: one
//! with the load's threads as SCHED_FIFO, and in the first round one that is watched.

mod gather;
mod load;
mod plan;
pub mod read;
pub mod result;
mod scheduler;
mod setting;
mod statistics;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{anyhow, bail, Context, Result};

use gather::Gathered;
use load::Manner;
use plan::{Plan, Step};
use result::{Comparison, Setting};
use scheduler::Loaded;

use crate::render::command::replace;
use crate::render::{html, markdown, table};
use crate::Failure;

/// The command line of `compare`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A scheduler to compare: eevdf, or NAME[=PROGRAM][:ARGUMENTS], such as mpg:--policy=fifo; the first is the one
    /// that ratios are to (eevdf and mpg)
    #[arg(long = "sched", value_name = "SPEC")]
    schedulers: Vec<String>,
    /// A load: [NAME=]LOAD ARGUMENTS as this program takes them, or sat or light (sat and light)
    #[arg(long = "load", value_name = "SPEC")]
    loads: Vec<String>,
    /// How often each load is run under each scheduler; from 3 on noise is told from differences
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of one run in seconds
    #[arg(short = 'r', long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    runtime: u64,
    /// Do not run the loads as SCHED_FIFO for the floor
    #[arg(long)]
    no_floor: bool,
    /// Do not run the loads once more to watch the nodes' load and idle CPUs
    #[arg(long)]
    no_watch: bool,
    /// Run the real schbench, cyclictest, hackbench, stress-ng and perf where they are installed
    #[arg(long)]
    real: bool,
    /// Write what was measured into this file, for `mpg-bench report` and `mpg-bench check`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report that a browser shows into this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write a section of Markdown into this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The commit that is measured, for the report
    #[arg(long, value_name = "ID")]
    commit: Option<String>,
    /// The command that repeats this, for the report, where it is not this one
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
}

/// Ctrl-C and SIGTERM: the run ends early and what was measured is kept.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn catch() -> Result<Self> {
        let interrupt = Self::default();
        let flag = Arc::clone(&interrupt.0);
        ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst))
            .context("cannot catch signals")?;
        Ok(interrupt)
    }

    fn came(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<()> {
        if self.came() {
            return Err(Interrupted.into());
        }
        Ok(())
    }
}

/// The run was ended by a signal.
#[derive(Debug)]
struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// A command line that was understood.
pub struct Checked {
    schedulers: Vec<scheduler::Spec>,
    loads: Vec<load::Spec>,
    args: Args,
}

impl Args {
    /// Reads names of schedulers and loads; the error is a sentence.
    pub fn checked(self) -> Result<Checked, String> {
        let or = |given: &[String], otherwise: [&str; 2]| match given {
            [] => otherwise.map(str::to_owned).to_vec(),
            given => given.to_vec(),
        };
        let schedulers = or(&self.schedulers, [scheduler::KERNELS_OWN, "mpg"])
            .iter()
            .map(|text| scheduler::Spec::parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        let loads = or(&self.loads, ["sat", "light"])
            .iter()
            .map(|text| load::Spec::parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        loads.iter().try_for_each(load::Spec::check)?;
        let outputs = [&self.json, &self.html, &self.markdown];
        outputs
            .into_iter()
            .flatten()
            .try_for_each(|path| check_output(path))?;
        Ok(Checked {
            schedulers,
            loads,
            args: self,
        })
    }
}

/// Whether a file can be made where this one is to be: a path that cannot be written must not cost a whole run.
fn check_output(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        return Err(format!(
            "cannot write {}: it is a directory",
            path.display()
        ));
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    tempfile::tempfile_in(directory)
        .map(drop)
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

impl Checked {
    fn plan(&self) -> Plan {
        Plan {
            schedulers: self.schedulers.len(),
            loads: self.loads.len(),
            rounds: self.args.rounds,
            floor: !self.args.no_floor,
            watch: !self.args.no_watch,
        }
    }
}

/// What `mpg-bench compare` does: measures, writes what was asked for, and prints the table.
pub fn command(args: Args) -> Result<(), Failure> {
    let checked = args.checked().map_err(Failure::BadInput)?;
    let (comparison, ended) = run(&checked);
    if let Some(comparison) = &comparison {
        let mut out = io::stdout().lock();
        let shown = out
            .write_all(table::table(comparison).as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write the table to stdout");
        // Also where nobody reads the table any more.
        checked.args.write(comparison)?;
        shown?;
    }
    match ended {
        Err(error) if error.is::<Interrupted>() => {
            let kept = match comparison {
                Some(_) => "what was measured so far is above, marked partial",
                None => "nothing was measured yet",
            };
            Err(anyhow!("interrupted: {kept}").into())
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

impl Args {
    fn write(&self, comparison: &Comparison) -> Result<()> {
        if let Some(path) = &self.json {
            comparison.write(path)?;
        }
        if let Some(path) = &self.markdown {
            replace(path, &markdown::section(comparison))?;
        }
        if let Some(path) = &self.html {
            replace(path, &html::page(comparison))?;
        }
        Ok(())
    }
}

impl Comparison {
    /// Writes it as JSON, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .context("the comparison cannot be written as JSON")?;
        replace(path, &text)
    }
}

/// Runs the comparison. What an interrupt or a fault leaves unmeasured is marked: the result is partial then, and the
/// error says why.
fn run(checked: &Checked) -> (Option<Comparison>, Result<()>) {
    let setting = match setting::read(
        &checked.args.commit,
        &checked.args.command,
        checked.args.rounds,
        checked.args.runtime,
    ) {
        Ok(setting) => setting,
        Err(error) => return (None, Err(error)),
    };
    let mut gathered = Gathered::new(checked.schedulers.len(), checked.loads.len());
    let ended = measure(checked, &setting, &mut gathered);
    let measured_any = gathered.has_any();
    let comparison = measured_any.then(|| conclude(checked, &setting, &gathered, ended.is_err()));
    (comparison, ended)
}

fn measure(checked: &Checked, setting: &Setting, gathered: &mut Gathered) -> Result<()> {
    let privileged = checked.schedulers.iter().any(|spec| spec.program.is_some());
    // SAFETY: geteuid has no arguments and cannot fail.
    if privileged && unsafe { libc::geteuid() } != 0 {
        bail!("loading a scheduler takes root: run this with sudo");
    }
    let interrupt = Interrupt::catch()?;
    let work =
        tempfile::tempdir().context("cannot create a directory for the schedulers' output")?;
    let plan = checked.plan();
    let weight = |step: &Step| step.weight(checked.args.runtime);
    let mut progress = Progress::new(plan.steps().map(|step| weight(&step)));
    let mut loaded: Option<Loaded> = None;
    for step in plan.steps() {
        interrupt.check()?;
        progress.say(&describe(checked, &step));
        match step {
            Step::Load { scheduler } => {
                let fresh = Loaded::load(&checked.schedulers[scheduler], work.path())?;
                gathered.note_ops(scheduler, fresh.ops.clone());
                loaded = Some(fresh);
            }
            Step::Unload => {
                if let Some(loaded) = loaded.take() {
                    loaded.unload()?;
                }
            }
            Step::Run {
                scheduler,
                load,
                manner,
            } => {
                let loaded = loaded.as_mut().context("a run without a scheduler")?;
                let spec = &checked.loads[load];
                loaded.verify()?;
                let run = load::run(
                    spec,
                    manner,
                    checked.args.runtime,
                    checked.args.real,
                    &interrupt,
                );
                // That the scheduler fell out explains a load that failed, and not the other way round.
                if !interrupt.came() {
                    loaded.verify()?;
                }
                gathered.add(scheduler, load, manner, run?);
                // Whoever is killed before the end, a guest for instance, leaves this.
                if let (Some(path), true) = (&checked.args.json, gathered.has_any()) {
                    conclude(checked, setting, gathered, true).write(path)?;
                }
            }
        }
        progress.done(weight(&step));
    }
    Ok(())
}

fn describe(checked: &Checked, step: &Step) -> String {
    match *step {
        Step::Load { scheduler } => format!("loading {}", checked.schedulers[scheduler].label),
        Step::Unload => "unloading".to_owned(),
        Step::Run {
            scheduler,
            load,
            manner,
        } => {
            let load = checked.loads[load].name();
            match manner {
                Manner::Plain => format!("{load} under {}", checked.schedulers[scheduler].label),
                Manner::Floor => format!("{load} as SCHED_FIFO, for the floor"),
                Manner::Watched => format!(
                    "{load} under {}, watched",
                    checked.schedulers[scheduler].label
                ),
            }
        }
    }
}

fn conclude(
    checked: &Checked,
    setting: &Setting,
    gathered: &Gathered,
    partial: bool,
) -> Comparison {
    Comparison {
        version: result::VERSION,
        partial,
        setting: setting.clone(),
        schedulers: checked
            .schedulers
            .iter()
            .enumerate()
            .map(|(number, spec)| result::Scheduler {
                label: spec.label.clone(),
                command: spec.command(),
                ops: gathered.ops(number),
            })
            .collect(),
        loads: checked
            .loads
            .iter()
            .enumerate()
            .map(|(number, spec)| gathered.conclude(number, spec))
            .collect(),
    }
}

/// Tells how far it is and how long it will take.
struct Progress {
    steps: usize,
    finished: usize,
    weight: f64,
    finished_weight: f64,
    begun: Instant,
}

impl Progress {
    fn new(weights: impl Iterator<Item = f64>) -> Self {
        let (steps, weight) = weights.fold((0, 0.0), |(n, sum), weight| (n + 1, sum + weight));
        Progress {
            steps,
            finished: 0,
            weight,
            finished_weight: 0.0,
            begun: Instant::now(),
        }
    }

    fn say(&self, what: &str) {
        let spent = self.begun.elapsed().as_secs_f64();
        let left = if self.finished_weight > 0.0 {
            let left = spent / self.finished_weight * (self.weight - self.finished_weight);
            format!(", {} left", duration(left))
        } else {
            String::new()
        };
        crate::say(&format!(
            "[{}/{}{left}] {what}",
            self.finished + 1,
            self.steps
        ));
    }

    fn done(&mut self, weight: f64) {
        self.finished += 1;
        self.finished_weight += weight;
    }
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {:02} s", seconds % 60),
    }
}
