//! The layout of a tracepoint's records, as tracefs describes it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Where tracefs is mounted: its own place, and the older one inside debugfs.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A 4-byte integer inside a raw record, or the low half of an 8-byte one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    /// Offset in the record, in bytes.
    offset: usize,
}

impl Field {
    fn read(self, record: &[u8]) -> Option<i32> {
        let bytes = record.get(self.offset..self.offset + 4)?;
        bytes.try_into().ok().map(i32::from_ne_bytes)
    }
}

/// sched:sched_migrate_task, as this kernel writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrateTask {
    /// The number by which perf_event_open(2) knows the tracepoint.
    pub id: u64,
    pid: Field,
    from: Field,
    to: Field,
}

/// One task's move from one CPU to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Thread id in the kernel's first pid namespace.
    pub pid: i32,
    /// CPU that it was on.
    pub from: usize,
    /// CPU that it goes to.
    pub to: usize,
}

impl MigrateTask {
    /// Reads the layout from tracefs.
    pub fn read() -> Result<Self> {
        read_format("sched_migrate_task", Self::parse)
    }

    /// Parses a `format` file.
    fn parse(text: &str) -> Result<Self> {
        Ok(MigrateTask {
            id: parse_id(text)?,
            pid: int(text, "pid")?,
            from: int(text, "orig_cpu")?,
            to: int(text, "dest_cpu")?,
        })
    }

    /// Reads one raw record; `None` when it is too short or names a negative CPU.
    pub fn decode(&self, record: &[u8]) -> Option<Migration> {
        Some(Migration {
            pid: self.pid.read(record)?,
            from: self.from.read(record)?.try_into().ok()?,
            to: self.to.read(record)?.try_into().ok()?,
        })
    }
}

/// sched:sched_switch, as this kernel writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The number by which perf_event_open(2) knows the tracepoint.
    pub id: u64,
    previous: Field,
    state: Field,
    next: Field,
}

/// A CPU went from one task to another; 0 is its idle task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switched {
    /// Who ran.
    pub previous: i32,
    /// Whether it wanted to run on.
    pub still_runnable: bool,
    /// Who runs.
    pub next: i32,
}

/// Bits of a task's state that mean that it sleeps; those above mark a preemption.
const ASLEEP: i32 = 0xff;

impl Switch {
    /// Reads the layout from tracefs.
    pub fn read() -> Result<Self> {
        read_format("sched_switch", Self::parse)
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(Switch {
            id: parse_id(text)?,
            previous: int(text, "prev_pid")?,
            state: parse_field(text, "prev_state", "8").context("it has no long 'prev_state'")?,
            next: int(text, "next_pid")?,
        })
    }

    /// Reads one raw record; `None` when it is too short.
    pub fn decode(&self, record: &[u8]) -> Option<Switched> {
        Some(Switched {
            previous: self.previous.read(record)?,
            still_runnable: self.state.read(record)? & ASLEEP == 0,
            next: self.next.read(record)?,
        })
    }
}

/// sched:sched_wakeup and sched:sched_wakeup_new, as this kernel writes them: a task became runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// The number by which perf_event_open(2) knows the tracepoint.
    pub id: u64,
    pid: Field,
}

impl Wakeup {
    /// Reads the layouts from tracefs: of those that slept, and of those that are born.
    pub fn read() -> Result<[Self; 2]> {
        Ok([
            read_format("sched_wakeup", Self::parse)?,
            read_format("sched_wakeup_new", Self::parse)?,
        ])
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(Wakeup {
            id: parse_id(text)?,
            pid: int(text, "pid")?,
        })
    }

    /// The task of one raw record; `None` when it is too short.
    pub fn decode(&self, record: &[u8]) -> Option<i32> {
        self.pid.read(record)
    }
}

/// Finds a tracepoint's `format` file and parses it.
fn read_format<T>(name: &str, parse: impl FnOnce(&str) -> Result<T>) -> Result<T> {
    let path = |root: &&str| format!("{root}/events/sched/{name}/format");
    let mounted = TRACEFS
        .iter()
        .map(path)
        .find(|path| Path::new(path).exists());
    let path = mounted.with_context(|| {
        format!("tracefs is not mounted on /sys/kernel/tracing or has no {name}")
    })?;
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse(&text).with_context(|| format!("{path} is not as expected"))
}

fn parse_id(text: &str) -> Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("ID:")?.trim().parse().ok())
        .context("it has no ID")
}

fn int(text: &str, name: &str) -> Result<Field> {
    parse_field(text, name, "4").with_context(|| format!("it has no int '{name}'"))
}

/// Finds a line such as `field:int orig_cpu; offset:32; size:4; signed:1;`, which has tabs between its parts.
fn parse_field(text: &str, name: &str, bytes: &str) -> Option<Field> {
    text.lines().find_map(|line| {
        let mut parts = line.trim().split(';').map(str::trim);
        let declared = parts.next()?.strip_prefix("field:")?;
        if declared.rsplit(' ').next()? != name {
            return None;
        }
        let offset = parts.next()?.strip_prefix("offset:")?.parse::<u16>().ok()?;
        let size = parts.next()?.strip_prefix("size:")?;
        (size == bytes).then_some(Field {
            offset: offset.into(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 prints it.
    const FORMAT: &str = "name: sched_migrate_task
ID: 309
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:int prio;\toffset:28;\tsize:4;\tsigned:1;
\tfield:int orig_cpu;\toffset:32;\tsize:4;\tsigned:1;
\tfield:int dest_cpu;\toffset:36;\tsize:4;\tsigned:1;

print fmt: \"comm=%s pid=%d prio=%d orig_cpu=%d dest_cpu=%d\", REC->comm, REC->pid
";

    #[test]
    fn the_format_is_parsed() -> Result<()> {
        let layout = MigrateTask::parse(FORMAT)?;
        assert_eq!(layout.id, 309);
        assert_eq!(
            (layout.pid.offset, layout.from.offset, layout.to.offset),
            (24, 32, 36),
            "common_pid is not pid"
        );
        Ok(())
    }

    #[test]
    fn a_changed_format_is_refused() {
        assert!(MigrateTask::parse("").is_err());
        assert!(MigrateTask::parse(&FORMAT.replace("ID: 309", "ID: none")).is_err());
        assert!(MigrateTask::parse(&FORMAT.replace("orig_cpu;", "source_cpu;")).is_err());
        assert!(
            MigrateTask::parse(&FORMAT.replace("offset:36;\tsize:4", "offset:36;\tsize:8"))
                .is_err()
        );
    }

    /// As Linux 6.18 prints it, but for the fields that all tracepoints have.
    const SWITCH: &str = "name: sched_switch
ID: 304
format:
\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:int prev_prio;\toffset:28;\tsize:4;\tsigned:1;
\tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;
\tfield:char next_comm[16];\toffset:40;\tsize:16;\tsigned:0;
\tfield:pid_t next_pid;\toffset:56;\tsize:4;\tsigned:1;
";

    #[test]
    fn a_switch_tells_who_wanted_to_run_on() -> Result<()> {
        let layout = Switch::parse(SWITCH)?;
        let mut record = [0u8; 64];
        record[24..28].copy_from_slice(&7i32.to_ne_bytes());
        record[56..60].copy_from_slice(&9i32.to_ne_bytes());
        for (state, runnable) in [(0i64, true), (0x100, true), (1, false), (2, false)] {
            record[32..40].copy_from_slice(&state.to_ne_bytes());
            let seen = layout.decode(&record);
            assert_eq!(
                seen,
                Some(Switched {
                    previous: 7,
                    still_runnable: runnable,
                    next: 9
                })
            );
        }
        assert!(Switch::parse(&SWITCH.replace("size:8", "size:4")).is_err());
        Ok(())
    }

    #[test]
    fn a_record_is_decoded() -> Result<()> {
        let layout = MigrateTask::parse(FORMAT)?;
        let mut record = [0u8; 40];
        record[24..28].copy_from_slice(&1234i32.to_ne_bytes());
        record[32..36].copy_from_slice(&3i32.to_ne_bytes());
        record[36..40].copy_from_slice(&1i32.to_ne_bytes());
        assert_eq!(
            layout.decode(&record),
            Some(Migration {
                pid: 1234,
                from: 3,
                to: 1
            })
        );
        assert_eq!(layout.decode(&record[..39]), None);
        record[36..40].copy_from_slice(&(-1i32).to_ne_bytes());
        assert_eq!(layout.decode(&record), None);
        Ok(())
    }
}
