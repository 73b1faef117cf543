//! The load `messaging`: groups of senders and receivers, in the model of hackbench, whose flags and defaults it has.
//!
//! Each sender of a group sends messages of 100 bytes to each receiver of the group, over a socket pair or a pipe per
//! receiver, as often as it is told to. The amount of work is fixed, and the figure is the time from the start of all until
//! the last message was received. All are threads of this process, as with `hackbench -T`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{check_tasks, real, Load, Stage};
use crate::clock::Clock;
use crate::crew::{self, Job};
use crate::gate::Gate;
use crate::priority::Priority;
use crate::report::{row, Figures, Row};
use crate::topology::Topology;
use crate::window::Measured;

/// Length of a message, as hackbench's.
const MESSAGE_BYTES: usize = 100;
/// Files that this program has open beside those of the load: standard ones, and one ring for each CPU.
const OTHER_FILES: u64 = 64;

/// The flags of the load, with hackbench's names, meanings and defaults.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Groups
    #[arg(short = 'g', long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    groups: u32,
    /// Senders of a group, and as many receivers
    #[arg(short = 'f', long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    fds: u32,
    /// Messages that each sender sends to each receiver
    #[arg(short = 'l', long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    loops: u32,
    /// Send through pipes instead of socket pairs
    #[arg(short = 'p', long)]
    pipe: bool,
    /// Run hackbench itself, where it is installed, and report its figures
    #[arg(long)]
    real: bool,
}

/// What the load measured.
#[derive(Debug, Serialize)]
pub struct MessagingFigures {
    time_s: f64,
    messages: u64,
    messages_per_second: f64,
}

impl Figures for MessagingFigures {
    fn rows(&self) -> Vec<Row> {
        vec![
            row("time_s", Some(self.time_s)),
            row("messages_per_second", Some(self.messages_per_second)),
        ]
    }
}

impl Load for Args {
    const NAME: &'static str = "messaging";
    type Figures = MessagingFigures;

    fn fixed_work(&self) -> bool {
        true
    }

    fn real(&self) -> bool {
        self.real
    }

    fn checked(self, topology: &Topology) -> Result<Self, String> {
        let pairs = u64::from(self.groups) * u64::from(self.fds);
        check_tasks(2 * pairs)?;
        let files = 2 * pairs + topology.online().len() as u64 + OTHER_FILES;
        if !self.real {
            allow_files(files)?;
        }
        Ok(self)
    }

    fn run(&self, stage: Stage<'_>) -> Result<(MessagingFigures, Measured)> {
        let (time_s, measured) = if self.real {
            self.run_hackbench(stage)?
        } else {
            self.run_model(stage)?
        };
        let messages = u64::from(self.groups)
            * u64::from(self.fds)
            * u64::from(self.fds)
            * u64::from(self.loops);
        let figures = MessagingFigures {
            time_s,
            messages,
            messages_per_second: messages as f64 / time_s,
        };
        Ok((figures, measured))
    }
}

impl Args {
    fn run_hackbench(&self, stage: Stage<'_>) -> Result<(f64, Measured)> {
        let Args {
            groups, fds, loops, ..
        } = self;
        let mut arguments = vec![
            "-T".to_owned(),
            format!("-g{groups}"),
            format!("-f{fds}"),
            format!("-l{loops}"),
            format!("-s{MESSAGE_BYTES}"),
        ];
        if self.pipe {
            arguments.push("-p".to_owned());
        }
        real::run("hackbench", arguments, stage, real::hackbench::parse)
    }

    fn run_model(&self, stage: Stage<'_>) -> Result<(f64, Measured)> {
        let clock = Clock::start();
        let progress = Progress {
            working: AtomicU64::new(2 * u64::from(self.groups) * u64::from(self.fds)),
            ..Progress::default()
        };
        let mut jobs = Vec::new();
        for _ in 0..self.groups {
            jobs.extend(self.group(stage.priority, &clock, &progress)?);
        }
        let Stage {
            topology, window, ..
        } = stage;
        let measure = || {
            let begin = || {
                progress.begun_ns.store(clock.now_ns(), Ordering::Relaxed);
                progress.start.open();
            };
            window.measure_work(&clock, topology, begin, &progress.done)
        };
        let release = || {
            progress.start.open();
            progress.end.open();
        };
        let (_, measured) = crew::run(&clock, jobs, measure, release)?;
        Ok((progress.seconds(), measured))
    }

    /// The jobs of one group. A channel's end is closed when the threads that have it end: should one fail, the others
    /// of the group fail too, and none is left waiting.
    fn group<'a>(
        &self,
        priority: Priority,
        clock: &'a Clock,
        progress: &'a Progress,
    ) -> Result<Vec<Job<'a, ()>>> {
        let mut jobs = Vec::new();
        let mut outs = Vec::new();
        let each = u64::from(self.fds) * u64::from(self.loops);
        for _ in 0..self.fds {
            let (out, back) = channel(self.pipe)?;
            outs.push(out);
            jobs.push(job("mpg-receiver", priority, clock, progress, move || {
                receive(back, each)
            }));
        }
        let outs = Arc::new(outs);
        let loops = self.loops;
        for _ in 0..self.fds {
            let outs = Arc::clone(&outs);
            jobs.push(job("mpg-sender", priority, clock, progress, move || {
                send(&outs, loops)
            }));
        }
        Ok(jobs)
    }
}

/// Waits for the start, works, and stays until the window is closed, so that its migrations are known as the load's.
fn job<'a>(
    name: &'static str,
    priority: Priority,
    clock: &'a Clock,
    progress: &'a Progress,
    work: impl FnOnce() -> io::Result<()> + Send + 'a,
) -> Job<'a, ()> {
    Job::new(name, move |ready| {
        priority.take()?;
        drop(ready);
        progress.start.wait();
        if clock.stopping() {
            return Ok(());
        }
        work().with_context(|| format!("{name} cannot go on"))?;
        progress.one_ended(clock);
        progress.end.wait();
        Ok(())
    })
}

fn channel(pipe: bool) -> Result<(File, File)> {
    let (out, back) = if pipe {
        let (back, out) = io::pipe().context("a pipe was refused")?;
        (OwnedFd::from(out), OwnedFd::from(back))
    } else {
        let (out, back) = UnixStream::pair().context("a socket pair was refused")?;
        (OwnedFd::from(out), OwnedFd::from(back))
    };
    Ok((File::from(out), File::from(back)))
}

fn send(outs: &[File], loops: u32) -> io::Result<()> {
    let message = [0; MESSAGE_BYTES];
    for _ in 0..loops {
        for mut out in outs {
            out.write_all(&message)?;
        }
    }
    Ok(())
}

fn receive(mut back: File, messages: u64) -> io::Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    for _ in 0..messages {
        back.read_exact(&mut message)?;
    }
    Ok(())
}

/// Raises the limit of open files as far as needed, or says why it cannot be.
fn allow_files(needed: u64) -> Result<(), String> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes into the structure, which is ours.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 || limit.rlim_cur >= needed
    {
        return Ok(());
    }
    if limit.rlim_max < needed {
        return Err(format!(
            "so many groups need {needed} open files, and {} are allowed: raise `ulimit -Hn`, or ask for less",
            limit.rlim_max
        ));
    }
    limit.rlim_cur = needed;
    // SAFETY: the kernel only reads the structure.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        let error = io::Error::last_os_error();
        return Err(format!(
            "so many groups need {needed} open files, which cannot be had: {error}"
        ));
    }
    Ok(())
}

/// How far all threads together are.
#[derive(Default)]
struct Progress {
    start: Gate,
    done: Gate,
    end: Gate,
    working: AtomicU64,
    begun_ns: AtomicU64,
    ended_ns: AtomicU64,
}

impl Progress {
    /// Called by each thread once, when it has sent or received all.
    fn one_ended(&self, clock: &Clock) {
        self.ended_ns.fetch_max(clock.now_ns(), Ordering::AcqRel);
        if self.working.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.open();
        }
    }

    fn seconds(&self) -> f64 {
        let (begun, ended) = (&self.begun_ns, &self.ended_ns);
        let ns = ended
            .load(Ordering::Acquire)
            .saturating_sub(begun.load(Ordering::Acquire));
        ns as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(groups: u32, pipe: bool) -> Args {
        Args {
            groups,
            fds: 3,
            loops: 20,
            pipe,
            real: false,
        }
    }

    #[test]
    fn all_messages_arrive_over_sockets_and_over_pipes() -> Result<()> {
        for pipe in [false, true] {
            let (figures, measured) = crate::load::short_run(&args(2, pipe))?;
            assert_eq!(figures.messages, 2 * 3 * 3 * 20);
            assert!(figures.time_s > 0.0 && figures.time_s <= measured.runtime_s);
        }
        Ok(())
    }

    #[test]
    fn too_many_threads_are_refused() {
        let args = Args {
            fds: 1000,
            ..args(1000, false)
        };
        let refusal = args.checked(&Topology::of(&[0])).err().unwrap_or_default();
        assert_eq!(refusal, "2000000 threads are more than the 16384 allowed");
    }

    #[test]
    fn a_receiver_whose_senders_are_gone_fails() -> Result<()> {
        let (out, back) = channel(false)?;
        drop(out);
        assert!(receive(back, 1).is_err());
        Ok(())
    }
}
