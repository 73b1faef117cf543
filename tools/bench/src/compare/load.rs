//! Loads by name, and running one: as a process of its own, so that nothing is left of it.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde_json::Value;

use super::result::Bucket;
use super::scheduler::in_own_group;
use super::Interrupt;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Loads that are asked for so often that they have a name.
const NAMED: [(&str, &str); 2] = [
    ("sat", "wake -m 2 -t 4 -F 16 -n 1"),
    ("light", "wake -m 1 -t 1 -F 16 -n 1"),
];

/// A load as the command line names it: `[NAME=]LOAD ARGUMENTS`, or a name in [`NAMED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Name and arguments, for people.
    pub label: String,
    /// The load itself: the first word of the arguments.
    pub kind: String,
    /// What this program is called with.
    pub arguments: Vec<String>,
}

impl Spec {
    /// Reads one; the error is a sentence. Whether the load takes its arguments is for the load to say.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, line) = match NAMED.iter().find(|(name, _)| *name == text.trim()) {
            Some((name, line)) => (Some(*name), *line),
            None => match text.split_once('=') {
                Some((name, line)) if !name.contains(' ') => (Some(name.trim()), line),
                _ => (None, text),
            },
        };
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let Some(kind) = arguments.first().cloned() else {
            return Err(format!(
                "'{text}' names no load: expected [NAME=]LOAD ARGUMENTS, such as 'wake -m 2 -t 4', or {}",
                NAMED.map(|(name, _)| name).join(" or ")
            ));
        };
        let label = match name {
            Some(name) => format!("{name}: {}", arguments.join(" ")),
            None => arguments.join(" "),
        };
        Ok(Spec {
            label,
            kind,
            arguments,
        })
    }

    /// Whether this program has the load and takes its arguments; the error is a sentence.
    pub fn check(&self) -> Result<(), String> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        crate::check_load(&arguments)
            .map_err(|sentence| format!("load '{}': {sentence}", self.label))
    }

    /// Whether the load has a real program to stand for it.
    fn has_real(&self) -> bool {
        let mut arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        arguments.push("--real");
        crate::check_load(&arguments).is_ok()
    }

    /// The name alone, for a line of progress.
    pub fn name(&self) -> &str {
        self.label.split(':').next().unwrap_or(&self.label)
    }
}

/// What one run of a load measured.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// All numbers, by name.
    pub figures: BTreeMap<String, f64>,
    /// Latency histograms, by what was waited for.
    pub histograms: BTreeMap<String, Vec<Bucket>>,
    /// Time between two samples of the nodes' load, and the samples by node.
    pub heat: Option<(f64, Vec<Vec<f64>>)>,
}

impl Run {
    fn parse(text: &str) -> Result<Self> {
        let Value::Object(all) = serde_json::from_str(text).context("the load wrote no JSON")?
        else {
            bail!("the load wrote JSON that is no object");
        };
        let figures = all
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
            .collect();
        let histograms = match all.get("histograms") {
            Some(value) => serde_json::from_value(value.clone())
                .context("the load's histograms are not as expected")?,
            None => BTreeMap::new(),
        };
        let heat = all.get("heat").and_then(|heat| {
            let every_s = heat.get("every_s")?.as_f64()?;
            let nodes = serde_json::from_value(heat.get("nodes")?.clone()).ok()?;
            Some((every_s, nodes))
        });
        Ok(Run {
            figures,
            histograms,
            heat,
        })
    }
}

/// How a load is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it is, to be measured.
    Plain,
    /// With its threads as SCHED_FIFO: the floor.
    Floor,
    /// Watched: what a watcher costs would show in the latencies, which are therefore not taken from this run.
    Watched,
}

impl Manner {
    fn options(self) -> &'static [&'static str] {
        match self {
            Manner::Plain => &[],
            Manner::Floor => &["--fifo"],
            Manner::Watched => &["--heat", "--idle"],
        }
    }
}

/// Runs a load to its end.
///
/// # Errors
/// What the load said, or `interrupt` came.
pub fn run(
    spec: &Spec,
    manner: Manner,
    seconds: u64,
    real: bool,
    interrupt: &Interrupt,
) -> Result<Run> {
    let program = std::env::current_exe().context("cannot find this program itself")?;
    let mut command = Command::new(program);
    command
        .args(&spec.arguments)
        .args(manner.options())
        .args(["-r", &seconds.to_string(), "--json", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if real && spec.has_real() {
        command.arg("--real");
    }
    // SIGTERM, which loads catch to take back what they set up.
    in_own_group(&mut command, libc::SIGTERM);
    let mut child = command.spawn().context("cannot start the load")?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupt.came() {
            end(&mut child);
        }
        thread::sleep(LOOK_EVERY);
    };
    let text = |handle: thread::JoinHandle<String>| handle.join().unwrap_or_default();
    let (stdout, stderr) = (text(stdout), text(stderr));
    interrupt.check()?;
    if !status.success() {
        let said = stderr
            .lines()
            .last()
            .unwrap_or("nothing")
            .trim_start_matches("mpg-bench: ");
        bail!("load '{}' failed: {said}", spec.label);
    }
    Run::parse(&stdout).with_context(|| format!("load '{}'", spec.label))
}

fn end(child: &mut Child) {
    // SAFETY: a signal to a child that was not waited for yet, so the number is still its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
}

/// Reads a pipe to its end, so that the load never waits for us.
fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut pipe) = pipe {
            // What was read until an error is what there is.
            let _ = pipe.read_to_string(&mut text);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read() {
        let spec = Spec::parse("wake -m 2").unwrap();
        assert_eq!(
            (spec.label.as_str(), spec.kind.as_str()),
            ("wake -m 2", "wake")
        );
        let spec = Spec::parse("sat").unwrap();
        assert_eq!((spec.name(), spec.kind.as_str()), ("sat", "wake"));
        let spec = Spec::parse("very-late=timer -t 2 --spike=3").unwrap();
        assert_eq!(spec.label, "very-late: timer -t 2 --spike=3");
        assert_eq!(
            Spec::parse("timer --spike=3").unwrap().name(),
            "timer --spike=3"
        );
        assert!(Spec::parse(" ").unwrap_err().contains("names no load"));
        assert!(Spec::parse("x=").unwrap_err().contains("names no load"));
    }

    #[test]
    fn a_run_is_read() {
        let run = Run::parse(
            r#"{"load": "wake", "wakeup_p50_us": 3.5, "none": null, "requests": 7,
                "histograms": {"wakeup": [[1.0, 2], [2.0, 1]]}, "heat": {"every_s": 0.25, "nodes": [[0.5], [1.0]]}}"#,
        )
        .unwrap();
        assert_eq!(
            run.figures,
            BTreeMap::from([("wakeup_p50_us".into(), 3.5), ("requests".into(), 7.0)])
        );
        assert_eq!(run.histograms["wakeup"], [Bucket(1.0, 2), Bucket(2.0, 1)]);
        assert_eq!(run.heat, Some((0.25, vec![vec![0.5], vec![1.0]])));
        assert!(Run::parse("[]").is_err() && Run::parse("").is_err());
    }
}
