// SPDX-License-Identifier: GPL-2.0-only
//! Reports at an interval: of another process's scheduler, or of this one's.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scx_stats::prelude::*;

use super::{Metrics, Reader, Snapshot, SOCKET_PATH};

/// A scheduler that takes longer to tell its statistics is in trouble.
const ANSWER_TIMEOUT_MS: u64 = 5_000;
/// How long a pause between two reports may delay a stop.
const POLL: Duration = Duration::from_millis(100);

/// Why a monitor ends other than by being stopped. Its text is one sentence for the user.
#[derive(Debug)]
pub enum MonitorError {
    /// Nothing listens at the path.
    NotRunning(PathBuf),
    /// The scheduler that was watched is gone.
    Ended,
    /// The caller may not use the socket.
    NotPermitted(PathBuf),
    /// What answers is not this release of scx_mpg.
    NotOurs(PathBuf, String),
    /// The system refused something.
    System(PathBuf, String),
    /// There is nothing of this name.
    NoField(String),
    /// The reports cannot be written.
    Output(io::Error),
}

impl fmt::Display for MonitorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(path) => write!(
                f,
                "no scx_mpg is running (nothing answers at {}): start it with `scx_mpg`",
                path.display()
            ),
            Self::Ended => {
                write!(
                    f,
                    "the scx_mpg that was watched has ended: start it again with `scx_mpg`"
                )
            }
            Self::NotPermitted(path) => write!(
                f,
                "the statistics socket {} may not be used: run the command as root, for example \
                 with sudo",
                path.display()
            ),
            Self::NotOurs(path, cause) => write!(
                f,
                "what answers at {} is not an scx_mpg of this release ({cause}): is another \
                 scheduler running?",
                path.display()
            ),
            Self::System(path, cause) => {
                write!(f, "cannot read statistics from {}: {cause}", path.display())
            }
            Self::NoField(name) => write!(
                f,
                "there is no field {name}: `scx_mpg --help-stats` describes those there are"
            ),
            Self::Output(cause) => write!(f, "cannot write the report: {cause}"),
        }
    }
}

impl std::error::Error for MonitorError {}

/// Prints a report of the running scx_mpg every `interval` until `stop`: first since its load, then
/// since the report before.
pub fn monitor(interval: Duration, stop: &AtomicBool) -> Result<(), MonitorError> {
    monitor_at(Path::new(SOCKET_PATH), interval, stop, &mut io::stdout())
}

pub(super) fn monitor_at(
    path: &Path,
    interval: Duration,
    stop: &AtomicBool,
    out: &mut impl Write,
) -> Result<(), MonitorError> {
    let mut watcher = Watcher::connect(path)?;
    while !stop.load(Ordering::Relaxed) {
        if print(&watcher.read()?, out)?.is_break() {
            break;
        }
        pause(interval, stop);
    }
    Ok(())
}

/// A connection to the statistics of the running scx_mpg.
pub struct Watcher {
    client: StatsClient,
    path: PathBuf,
    /// It has answered.
    seen: bool,
}

impl Watcher {
    /// Connects to what serves statistics at `path`, ours at [`SOCKET_PATH`].
    ///
    /// # Errors
    /// If nobody serves there, or not for us.
    pub fn connect(path: &Path) -> Result<Self, MonitorError> {
        Ok(Self {
            client: connect(path)?,
            path: path.to_path_buf(),
            seen: false,
        })
    }

    /// What happened since the call before; at first since the load.
    ///
    /// # Errors
    /// If the scheduler has ended, or does not answer.
    pub fn read(&mut self) -> Result<Metrics, MonitorError> {
        let answer = self.client.request("stats", vec![]);
        let metrics = answer.map_err(|e| explain(&self.path, &e, self.seen))?;
        self.seen = true;
        Ok(metrics)
    }
}

fn connect(path: &Path) -> Result<StatsClient, MonitorError> {
    StatsClient::new()
        .set_path(path)
        .connect(Some(ANSWER_TIMEOUT_MS))
        .map_err(|e| explain(path, &e, false))
}

/// Prints what the running scx_mpg counted since its load: as JSON, or the values of `fields` in one
/// line.
pub fn print_once(fields: &[String]) -> Result<(), MonitorError> {
    print_once_from(Path::new(SOCKET_PATH), fields, &mut io::stdout())
}

pub(super) fn print_once_from(
    path: &Path,
    fields: &[String],
    out: &mut impl Write,
) -> Result<(), MonitorError> {
    let mut client = connect(path)?;
    let all: serde_json::Value = client
        .request("stats", vec![])
        .map_err(|e| explain(path, &e, false))?;
    let text = if fields.is_empty() {
        format!("{all:#}")
    } else {
        let value = |field: &String| match all.get(field) {
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            Some(value) => Ok(value.to_string()),
            None => Err(MonitorError::NoField(field.clone())),
        };
        let values: Result<Vec<String>, MonitorError> = fields.iter().map(value).collect();
        values?.join(" ")
    };
    match writeln!(out, "{text}") {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(MonitorError::Output(e)),
        _ => Ok(()),
    }
}

/// Prints a report of this process's scheduler every `interval` until `stop`, each since the one
/// before.
pub fn report(interval: Duration, stop: &AtomicBool, read: &Reader) -> Result<(), MonitorError> {
    report_to(interval, stop, read, &mut io::stdout())
}

pub(super) fn report_to(
    interval: Duration,
    stop: &AtomicBool,
    read: &Reader,
    out: &mut impl Write,
) -> Result<(), MonitorError> {
    let mut before: Snapshot = read();
    loop {
        pause(interval, stop);
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = read();
        if print(&Metrics::between(&before, &now), out)?.is_break() {
            return Ok(());
        }
        before = now;
    }
}

/// Breaks when nobody reads any more, as after `| head`: no reason to complain.
fn print(
    metrics: &Metrics,
    out: &mut impl Write,
) -> Result<std::ops::ControlFlow<()>, MonitorError> {
    let mut block = Vec::new();
    let written = metrics
        .format(&mut block)
        .and_then(|()| out.write_all(&block))
        .and_then(|()| out.flush());
    match written {
        Ok(()) => Ok(std::ops::ControlFlow::Continue(())),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(std::ops::ControlFlow::Break(())),
        Err(e) => Err(MonitorError::Output(e)),
    }
}

/// Sleeps for `interval`, or until `stop` is seen.
pub fn pause(interval: Duration, stop: &AtomicBool) {
    let end = Instant::now() + interval;
    while !stop.load(Ordering::Relaxed) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(POLL));
    }
}

fn explain(path: &Path, error: &anyhow::Error, seen: bool) -> MonitorError {
    use io::ErrorKind::*;
    let path = path.to_path_buf();
    if let Some(io) = error.downcast_ref::<io::Error>() {
        return match io.kind() {
            NotFound | ConnectionRefused => MonitorError::NotRunning(path),
            PermissionDenied => MonitorError::NotPermitted(path),
            ConnectionReset | BrokenPipe => MonitorError::Ended,
            _ => MonitorError::System(path, io.to_string()),
        };
    }
    if error.downcast_ref::<serde_json::Error>().is_some() {
        return MonitorError::NotOurs(path, error.to_string());
    }
    // scx_stats tells an end of the connection in words alone, as it does a timeout.
    if seen && error.to_string() == "connection closed" {
        MonitorError::Ended
    } else {
        MonitorError::System(path, format!("{error:#}"))
    }
}
