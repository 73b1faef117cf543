//! Runs the program that a load is modelled on, inside the load's window.
//!
//! The window opens before the program starts and closes when it has ended, so the kernel's counts have its start and its
//! end in them. What it prints is parsed into the load's own figures.

pub mod cyclictest;
pub mod hackbench;
pub mod perf;
pub mod schbench;
pub mod stress_ng;

use std::io::{self, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{anyhow, bail, Context, Result};

use super::Stage;
use crate::clock::Clock;
use crate::gate::Gate;
use crate::priority;
use crate::window::{Measured, Own};

/// Runs a program to its end, and returns what `parse` made of its output.
pub fn run<T>(
    program: &str,
    arguments: Vec<String>,
    stage: Stage<'_>,
    parse: fn(&str) -> Option<T>,
) -> Result<(T, Measured)> {
    let priority = stage.priority;
    // Both of its outputs in one: some print figures to the one, some to the other.
    let (mut reader, writer) = io::pipe().context("a pipe was refused")?;
    let mut command = Command::new(program);
    command
        .args(&arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("a pipe was refused")?)
        .stderr(writer);
    // SAFETY: between fork and exec only system calls are made, on values that the closure owns.
    unsafe {
        command.pre_exec(move || priority::die_with_parent().and_then(|()| priority.set()));
    }

    let clock = Clock::start();
    let done = Gate::default();
    let window = stage.window.counting(Own::Program);
    let (output, measured) = thread::scope(|scope| {
        let mut started = None;
        let begin = || {
            let child = command.spawn();
            // With it goes the writing end of the pipe, so that the program's own is the last one.
            drop(command);
            match child {
                Ok(child) => {
                    let done = &done;
                    started = Some(Ok(scope.spawn(move || {
                        let output = collect(child, &mut reader);
                        done.open();
                        output
                    })));
                }
                Err(error) => {
                    started = Some(Err(not_started(program, error)));
                    done.open();
                }
            }
        };
        let measured = window.measure_work(&clock, stage.topology, begin, &done);
        let output = match started {
            Some(Ok(thread)) => thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("the thread that reads its output panicked"))),
            Some(Err(error)) => Err(error),
            None => Err(anyhow!("it was not started")),
        };
        (output, measured)
    });

    let output = output.with_context(|| format!("{program} gave no figures"))?;
    let Some(figures) = parse(&output) else {
        bail!(
            "{program} printed no figures that are known here; the end of what it printed is: {}",
            last_line(&output)
        );
    };
    Ok((figures, measured))
}

/// Reads all that a program prints, and waits for it.
fn collect(mut child: Child, reader: &mut impl Read) -> Result<String> {
    let mut output = Vec::new();
    let read = reader.read_to_end(&mut output);
    let status = child.wait().context("it cannot be waited for")?;
    read.context("its output cannot be read")?;
    let output = String::from_utf8_lossy(&output).into_owned();
    if !status.success() {
        bail!("it ended with {status}: {}", last_line(&output));
    }
    Ok(output)
}

fn not_started(program: &str, error: io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::NotFound {
        anyhow!("{program} is not installed, or not in PATH: install it, or leave --real out")
    } else {
        anyhow!(error).context("it cannot be started")
    }
}

fn last_line(output: &str) -> &str {
    let mut lines = output.lines().map(str::trim);
    lines.rfind(|line| !line.is_empty()).unwrap_or("nothing")
}

/// The number that follows `key` on a line of the output, the last such line counting.
fn number_after<T: std::str::FromStr>(output: &str, key: &str) -> Option<T> {
    let rest = output.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once(key)?;
        Some(rest)
    })?;
    let number = rest.split_ascii_whitespace().next()?;
    number.trim_end_matches(',').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::priority::Priority;
    use crate::topology::Topology;
    use crate::window::Window;
    use std::time::Duration;

    fn run_here(program: &str, arguments: &[&str]) -> Result<(String, Measured)> {
        let topology = Topology::of(&[0]);
        let stage = Stage {
            topology: &topology,
            window: Window::new(Duration::ZERO, Duration::from_secs(1), None),
            priority: Priority::Ordinary,
        };
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        run(program, arguments, stage, |output| {
            (!output.is_empty()).then(|| output.to_owned())
        })
    }

    fn refusal(program: &str, arguments: &[&str]) -> String {
        let refused = run_here(program, arguments).err();
        refused
            .map(|error| format!("{error:#}"))
            .unwrap_or_default()
    }

    #[test]
    fn both_outputs_are_read_and_the_programs_switches_counted() -> Result<()> {
        let (output, measured) = run_here("sh", &["-c", "echo out; echo err >&2; sleep 0.01"])?;
        assert_eq!(output, "out\nerr\n");
        assert!(measured.runtime_s >= 0.01 && measured.context_switches > 0);
        assert_eq!(measured.migrations.own_migrations, None);
        Ok(())
    }

    #[test]
    fn each_failure_is_one_sentence() {
        assert_eq!(
            refusal("mpg-no-such-program", &[]),
            "mpg-no-such-program gave no figures: mpg-no-such-program is not installed, or not in PATH: install it, \
             or leave --real out"
        );
        assert_eq!(
            refusal("sh", &["-c", "echo why; exit 3"]),
            "sh gave no figures: it ended with exit status: 3: why"
        );
        assert!(refusal("true", &[]).ends_with("what it printed is: nothing"));
    }
}
