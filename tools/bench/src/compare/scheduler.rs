//! Schedulers by name, and loading them: that the right one is loaded, and that it stayed.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::sched_ext::State;

/// The kernel's own scheduler, by the name that people use for it.
pub const KERNELS_OWN: &str = "eevdf";
/// How long a scheduler may take to load: the verifier is slow where processors are emulated.
const LOADS_WITHIN: Duration = Duration::from_secs(120);
/// How long it may take to give the machine back.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Lines of a scheduler's output that are shown when it failed.
const LAST_LINES: usize = 3;

/// A scheduler as the command line names it: `eevdf`, or `NAME[=PROGRAM][:ARGUMENTS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Name and arguments, for people.
    pub label: String,
    /// The program, `None` for the kernel's own.
    pub program: Option<PathBuf>,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Spec {
    /// Reads one; the error is a sentence.
    ///
    /// A name without a program stands for `scx_NAME`, looked for beside this program and then in `PATH`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == KERNELS_OWN {
            return Ok(Spec {
                label: KERNELS_OWN.to_owned(),
                program: None,
                arguments: Vec::new(),
            });
        }
        let (name, rest) = split_name(text);
        if name.is_empty()
            || !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        {
            return Err(format!(
                "'{text}' names no scheduler: expected {KERNELS_OWN} or NAME[=PROGRAM][:ARGUMENTS], such as \
                 mpg:--policy=fifo"
            ));
        }
        let (program, arguments) = match rest {
            Rest::Nothing => (None, ""),
            Rest::Program(rest) => {
                // A path may have a colon in it; arguments begin with one followed by a dash.
                let (program, arguments) =
                    rest.split_once(":-").map_or((rest, ""), |(program, _)| {
                        (program, &rest[program.len() + 1..])
                    });
                (Some(program), arguments)
            }
            Rest::Arguments(arguments) => (None, arguments),
        };
        let program = match program {
            Some(program) => PathBuf::from(program),
            None => find(&format!("scx_{name}"))?,
        };
        if !is_executable(&program) {
            return Err(format!(
                "'{}', the program of scheduler {name}, is not there or cannot be executed",
                program.display()
            ));
        }
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        Ok(Spec {
            label: [name]
                .into_iter()
                .chain(arguments.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join(" "),
            program: Some(program),
            arguments,
        })
    }

    /// The command line that loads it; `None` for the kernel's own.
    pub fn command(&self) -> Option<String> {
        let program = self.program.as_ref()?.display().to_string();
        Some(
            [program.as_str()]
                .into_iter()
                .chain(self.arguments.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join(" "),
        )
    }
}

enum Rest<'a> {
    Nothing,
    Program(&'a str),
    Arguments(&'a str),
}

fn split_name(text: &str) -> (&str, Rest<'_>) {
    match text.find(['=', ':']) {
        None => (text, Rest::Nothing),
        Some(at) if text.as_bytes()[at] == b'=' => (&text[..at], Rest::Program(&text[at + 1..])),
        Some(at) => (&text[..at], Rest::Arguments(&text[at + 1..])),
    }
}

fn find(program: &str) -> Result<PathBuf, String> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| {
            format!(
                "there is no {program} beside mpg-bench or in PATH: name the program, as in {}=/path/to/{program}",
                program.trim_start_matches("scx_")
            )
        })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// A scheduler at work. Dropping it gives the machine back.
pub struct Loaded {
    /// `None` for the kernel's own.
    process: Option<Process>,
    /// The name that the kernel has it under.
    pub ops: Option<String>,
    /// The kernel's count of loads: one that was put out and came back has another.
    sequence: Option<String>,
    label: String,
}

struct Process {
    child: Child,
    output: PathBuf,
}

impl Loaded {
    /// Loads a scheduler and returns once the kernel says that it schedules.
    ///
    /// # Errors
    /// If another one is loaded, or this one ends or takes too long.
    pub fn load(spec: &Spec, work: &Path) -> Result<Self> {
        let before = State::read();
        if let Some(ops) = before
            .ops
            .filter(|_| before.state.as_deref() != Some("disabled"))
        {
            bail!("the machine runs under {ops} already: unload it first");
        }
        let Some(program) = &spec.program else {
            return Ok(Loaded {
                process: None,
                ops: None,
                sequence: sequence(),
                label: spec.label.clone(),
            });
        };
        if before.state.is_none() {
            bail!("this kernel has no sched_ext, so {} cannot be loaded: boot one with CONFIG_SCHED_CLASS_EXT=y", spec.label);
        }
        let output = work.join("scheduler.log");
        let log =
            File::create(&output).with_context(|| format!("cannot write {}", output.display()))?;
        let mut command = Command::new(program);
        command
            .args(&spec.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        in_own_group(&mut command, libc::SIGINT);
        let sequence_before = sequence();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut loaded = Loaded {
            process: Some(Process { child, output }),
            ops: None,
            sequence: None,
            label: spec.label.clone(),
        };
        loaded.wait_until_it_schedules(sequence_before)?;
        Ok(loaded)
    }

    fn wait_until_it_schedules(&mut self, sequence_before: Option<String>) -> Result<()> {
        let deadline = Instant::now() + LOADS_WITHIN;
        loop {
            let state = State::read();
            // The kernel counts a load shortly after it says enabled.
            if state.state.as_deref() == Some("enabled") && sequence() != sequence_before {
                self.ops = state.ops;
                self.sequence = sequence();
                return Ok(());
            }
            if let Some(said) = self.ended()? {
                bail!("{} did not load: {said}", self.label);
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} did not load within {} s",
                    self.label,
                    LOADS_WITHIN.as_secs()
                );
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// What the scheduler said last, if its program ended.
    fn ended(&mut self) -> Result<Option<String>> {
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        let Some(status) = process.child.try_wait()? else {
            return Ok(None);
        };
        let text = fs::read_to_string(&process.output).unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" / ");
        Ok(Some(match last.as_str() {
            "" => format!("it ended with {status} and said nothing"),
            last => format!("it ended with {status}, saying \"{last}\""),
        }))
    }

    /// Whether this scheduler, and no other, is and was at work since it was loaded.
    ///
    /// # Errors
    /// A sentence that says what happened instead.
    pub fn verify(&mut self) -> Result<()> {
        if let Some(said) = self.ended()? {
            bail!("{} fell out while it was measured: {said}", self.label);
        }
        let state = State::read();
        let own = self.process.is_none();
        let running = state.state.as_deref() == Some("enabled");
        if own && running {
            bail!(
                "{} was loaded while {} was measured",
                state.ops.unwrap_or_default(),
                self.label
            );
        }
        if !own && (!running || state.ops != self.ops) {
            bail!(
                "{} fell out while it was measured: the kernel says {} {}",
                self.label,
                state.state.unwrap_or_default(),
                state.ops.unwrap_or_default()
            );
        }
        if sequence() != self.sequence {
            bail!(
                "{} was put out and loaded again while it was measured",
                self.label
            );
        }
        Ok(())
    }

    /// Gives the machine back to the kernel's own scheduler.
    ///
    /// # Errors
    /// If the program does not end, or the kernel keeps the scheduler.
    pub fn unload(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let pid = process.child.id() as libc::pid_t;
        // SAFETY: a signal to a child that was not waited for yet, so the number is still its own.
        unsafe { libc::kill(pid, libc::SIGINT) };
        let ended = within(ENDS_WITHIN, || Ok(process.child.try_wait()?.is_some()))?;
        if !ended {
            process.child.kill()?;
            process.child.wait()?;
        }
        let back = within(ENDS_WITHIN, || {
            Ok(State::read().state.as_deref() != Some("enabled"))
        })?;
        fs::remove_file(&process.output).ok();
        match (ended, back) {
            (_, false) => bail!(
                "the kernel keeps {} though its program has ended",
                self.label
            ),
            (false, true) => bail!(
                "{} did not end within {} s of SIGINT and was killed",
                self.label,
                ENDS_WITHIN.as_secs()
            ),
            (true, true) => Ok(()),
        }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            crate::say(&format!("{error:#}"));
        }
    }
}

/// Asks again until the answer is yes, or the time is over.
fn within(time: Duration, mut asked: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + time;
    while !asked()? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(true)
}

fn sequence() -> Option<String> {
    fs::read_to_string("/sys/kernel/sched_ext/enable_seq").ok()
}

/// Keeps a terminal's Ctrl-C from a child, which its parent ends in its own time, and lets the child end with its
/// parent, however that ends.
pub fn in_own_group(command: &mut Command, signal_with_parent: libc::c_int) {
    command.process_group(0);
    let parent = std::process::id() as libc::pid_t;
    // SAFETY: prctl and getppid are async-signal-safe and touch no memory of ours.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal_with_parent) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have ended before the call.
            if libc::getppid() != parent {
                return Err(io::Error::other("the parent ended"));
            }
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read() {
        let own = Spec::parse("eevdf").unwrap();
        assert_eq!((own.label.as_str(), own.command()), ("eevdf", None));
        let spec = Spec::parse("shell=/bin/sh:--policy=fifo --slice-us 3000").unwrap();
        assert_eq!(spec.label, "shell --policy=fifo --slice-us 3000");
        assert_eq!(
            spec.command().as_deref(),
            Some("/bin/sh --policy=fifo --slice-us 3000")
        );
        assert_eq!(
            Spec::parse("shell=/bin/sh").unwrap().arguments,
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_is_no_scheduler_is_told() {
        for text in ["", "=", ":x", "a b", "mpg/x"] {
            let sentence = Spec::parse(text).unwrap_err();
            assert!(
                sentence.contains("names no scheduler"),
                "{text}: {sentence}"
            );
        }
        assert!(Spec::parse("nobody")
            .unwrap_err()
            .contains("there is no scx_nobody"));
        assert!(Spec::parse("x=/etc/passwd")
            .unwrap_err()
            .contains("cannot be executed"));
        assert!(Spec::parse("x=/nonexistent")
            .unwrap_err()
            .contains("not there"));
    }
}
