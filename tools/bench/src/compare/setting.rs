//! What the machine is, for whoever reads the figures.

use std::fs;

use anyhow::Result;
use chrono::Utc;

use super::result::Setting;
use crate::topology::Topology;

/// Set by whoever boots a guest whose clock counts instructions; anything else means that time is real.
const TIME_VARIABLE: &str = "MPG_TIME";

/// Reads the machine.
///
/// # Errors
/// If its CPUs cannot be told.
pub fn read(
    commit: &Option<String>,
    command: &Option<String>,
    rounds: u32,
    seconds: u64,
) -> Result<Setting> {
    let topology = Topology::read()?;
    let line = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let called = || {
        std::env::args()
            .map(|word| quoted(&word))
            .collect::<Vec<_>>()
            .join(" ")
    };
    Ok(Setting {
        begun: Utc::now().format("%Y-%m-%d %H:%M").to_string(),
        commit: commit.clone(),
        kernel: line("/proc/sys/kernel/osrelease"),
        command: command.clone().unwrap_or_else(called),
        time: std::env::var(TIME_VARIABLE).unwrap_or_else(|_| "real".to_owned()),
        processor: field(&line("/proc/cpuinfo"), "model name")
            .unwrap_or_else(|| "unknown".to_owned()),
        nodes: topology.cpus_by_node(),
        threads_per_core: threads_per_core(&line(
            "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
        )),
        memory_mib: field(&line("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
            .map_or(0, |kib| kib >> 10),
        rounds,
        seconds,
    })
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The value of "name : value" in a file of /proc.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        Some(
            line.split_once(':')
                .filter(|(key, _)| key.trim() == name)?
                .1
                .trim()
                .to_owned(),
        )
    })
}

fn threads_per_core(siblings: &str) -> usize {
    crate::topology::parse_list(siblings).map_or(1, |cpus| cpus.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("--rounds"), "--rounds");
        assert_eq!(quoted("wake -m 2"), "'wake -m 2'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn this_machine_is_read() {
        let setting = read(&None, &Some("make bench".to_owned()), 5, 3).unwrap();
        assert!(!setting.kernel.is_empty() && setting.memory_mib > 0 && !setting.nodes.is_empty());
        assert_eq!(setting.command, "make bench");
    }
}
