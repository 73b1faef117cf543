// SPDX-License-Identifier: GPL-2.0-only
//! What must hold before anything is loaded or written, asked in an order that names the cause.
//!
//! The kernel would refuse a hopeless start as well, but late, and in words for its developers.
//! Nothing here changes anything.

mod btf;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::topology::{MAX_CPUS, MAX_NODES};

/// What a user is told to run.
const NEEDED: &str = "Linux 6.16 or later with CONFIG_SCHED_CLASS_EXT=y";
/// The release that has everything that the kernel half uses.
const OLDEST: (u32, u32) = (6, 16);
/// Bit of CAP_SYS_ADMIN in a capability set; it includes CAP_BPF and CAP_PERFMON.
const CAP_SYS_ADMIN: u32 = 21;

/// Where the kernel's file systems are mounted; another place in tests.
#[derive(Clone, Debug)]
pub struct Root {
    /// Mount point of sysfs.
    pub sys: PathBuf,
    /// Mount point of procfs.
    pub proc: PathBuf,
}

impl Default for Root {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
        }
    }
}

/// Why scx_mpg cannot start here. Its text is one sentence for the user.
#[derive(Debug)]
pub enum PreflightError {
    /// The process may not load BPF programs.
    NotPrivileged,
    /// The kernel has no sched_ext.
    NoSchedExt {
        /// The running kernel's release.
        release: String,
    },
    /// The kernel has sched_ext, but not all that is needed of it.
    TooOld {
        /// The running kernel's release.
        release: String,
        /// The first thing found missing.
        missing: String,
    },
    /// A scheduler is loaded, being loaded or being unloaded.
    AnotherScheduler {
        /// Its name, as the kernel tells it.
        name: String,
        /// The kernel's word for the state of sched_ext.
        state: String,
    },
    /// The kernel's type information cannot be read.
    BtfUnreadable {
        /// Where it should be.
        path: PathBuf,
        /// What went wrong.
        cause: String,
    },
    /// The release is new enough, yet its type information lacks something.
    BtfLacks {
        /// The running kernel's release.
        release: String,
        /// The first thing found missing.
        missing: String,
    },
    /// The kernel was built so that it refuses every program that calls these functions.
    BtfMalformed {
        /// The running kernel's release.
        release: String,
        /// The functions.
        functions: Vec<String>,
    },
    /// More nodes with CPUs than the wire can name.
    TooManyNodes(usize),
    /// More CPU ids than the wire can name.
    TooManyCpus(usize),
    /// A file that every kernel has cannot be read.
    Unreadable(PathBuf, io::Error),
}

impl fmt::Display for PreflightError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPrivileged => write!(
                f,
                "scx_mpg may not load a scheduler because it lacks CAP_SYS_ADMIN: run it as root, \
                 for example with sudo"
            ),
            Self::NoSchedExt { release } => write!(
                f,
                "the running kernel {release} has no sched_ext (there is no \
                 /sys/kernel/sched_ext): boot {NEEDED}"
            ),
            Self::TooOld { release, missing } => {
                write!(
                    f,
                    "the running kernel {release} is too old, it lacks {missing}: boot {NEEDED}"
                )
            }
            Self::AnotherScheduler { name, state } if state == "enabled" => write!(
                f,
                "another scheduler is loaded already, {name}: stop it before starting scx_mpg"
            ),
            Self::AnotherScheduler { name, state } => write!(
                f,
                "another scheduler, {name}, is in the state {state:?}: wait until it is gone or \
                 stop it, then start scx_mpg again"
            ),
            Self::BtfUnreadable { path, cause } => write!(
                f,
                "the kernel's type information in {} cannot be used ({cause}): boot a kernel with \
                 CONFIG_DEBUG_INFO_BTF=y",
                path.display()
            ),
            Self::BtfLacks { release, missing } => write!(
                f,
                "the type information of the running kernel {release} lacks {missing}: boot \
                 {NEEDED} and CONFIG_DEBUG_INFO_BTF=y"
            ),
            Self::BtfMalformed { release, functions } => write!(
                f,
                "the running kernel {release} was built with a pahole older than 1.26 and refuses \
                 every sched_ext program (wrong prototypes of {}): boot another build of it",
                a_few(functions)
            ),
            Self::TooManyNodes(nodes) => write!(
                f,
                "the machine has {nodes} NUMA nodes with CPUs and scx_mpg handles {MAX_NODES}"
            ),
            Self::TooManyCpus(cpus) => write!(
                f,
                "the machine can have {cpus} CPUs and scx_mpg handles {MAX_CPUS}: boot it with a \
                 smaller nr_cpus="
            ),
            Self::Unreadable(path, cause) => write!(
                f,
                "cannot read {} ({cause}): is it mounted and complete?",
                path.display()
            ),
        }
    }
}

impl std::error::Error for PreflightError {}

/// What is to be known of the running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// It forgets that a task is to preempt when the task comes from another CPU: it passes the
    /// flags on in 32 bits and the one that says so is the 33rd. So do 6.16 and 6.18, and 7.2
    /// does not.
    pub drops_preemption: bool,
}

/// Asks the running system whether scx_mpg can start.
pub fn check() -> Result<Kernel, PreflightError> {
    check_in(&Root::default())
}

/// The same of the system whose file systems are at `root`.
pub fn check_in(root: &Root) -> Result<Kernel, PreflightError> {
    let release = read(&root.proc.join("sys/kernel/osrelease"))?;
    if !root.sys.join("kernel/sched_ext").is_dir() {
        return Err(PreflightError::NoSchedExt { release });
    }
    privileged(&read(&root.proc.join("self/status"))?)?;
    none_loaded(&root.sys.join("kernel/sched_ext"))?;
    machine_fits(&root.sys.join("devices/system"))?;

    let path = root.sys.join("kernel/btf/vmlinux");
    let findings =
        btf::inspect(&path).map_err(|cause| PreflightError::BtfUnreadable { path, cause })?;
    if let Some(missing) = findings.missing {
        return Err(if older_than(&release, OLDEST) {
            PreflightError::TooOld { release, missing }
        } else {
            PreflightError::BtfLacks { release, missing }
        });
    }
    if !findings.malformed.is_empty() {
        let functions = findings.malformed;
        return Err(PreflightError::BtfMalformed { release, functions });
    }
    Ok(Kernel {
        drops_preemption: findings.drops_preemption,
    })
}

/// Reads the effective capabilities out of `/proc/self/status`.
fn privileged(status: &str) -> Result<(), PreflightError> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    if effective >> CAP_SYS_ADMIN & 1 == 1 {
        Ok(())
    } else {
        Err(PreflightError::NotPrivileged)
    }
}

fn none_loaded(sched_ext: &Path) -> Result<(), PreflightError> {
    let state = read(&sched_ext.join("state"))?;
    if state == "disabled" {
        return Ok(());
    }
    // The name is there only while a scheduler is; it may have gone since the state was read.
    let name = read(&sched_ext.join("root/ops")).unwrap_or_else(|_| "of unknown name".to_string());
    Err(PreflightError::AnotherScheduler { name, state })
}

fn machine_fits(system: &Path) -> Result<(), PreflightError> {
    let cpus = count_and_end(&read(&system.join("cpu/possible"))?).1;
    if cpus > MAX_CPUS {
        return Err(PreflightError::TooManyCpus(cpus));
    }
    // A kernel without NUMA has no such file and one node.
    let nodes = read(&system.join("node/has_cpu")).map_or(1, |list| count_and_end(&list).0);
    if nodes > MAX_NODES {
        return Err(PreflightError::TooManyNodes(nodes));
    }
    Ok(())
}

/// How many numbers a list like `0-3,8` names, and one more than the highest.
fn count_and_end(list: &str) -> (usize, usize) {
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().ok()?;
            let last: usize = last.trim().parse().ok()?;
            Some((first, last.max(first).checked_add(1)?))
        })
        .fold((0, 0), |(count, end), (first, last)| {
            (count + (last - first), end.max(last))
        })
}

/// Whether a release like `6.18.15+deb13-amd64` is older; one that cannot be read is not.
fn older_than(release: &str, oldest: (u32, u32)) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse::<u32>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < oldest,
        _ => false,
    }
}

fn read(path: &Path) -> Result<String, PreflightError> {
    fs::read_to_string(path)
        .map(|text| text.trim().to_string())
        .map_err(|e| PreflightError::Unreadable(path.into(), e))
}

/// The first three names, and how many more there are.
fn a_few(names: &[String]) -> String {
    let shown = names.len().min(3);
    let mut text = names[..shown].join(", ");
    if names.len() > shown {
        text.push_str(&format!(" and {} more", names.len() - shown));
    }
    text
}

#[cfg(test)]
mod tests;
