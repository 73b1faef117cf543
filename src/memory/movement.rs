// SPDX-License-Identifier: GPL-2.0-only
//! Pages that follow their process: `--migrate-memory`.
//!
//! As a rule Gs go to their memory. Where they cannot, because affinity or a cpuset keeps all of
//! them out, or where for long they all run elsewhere, because their memory's node is crowded, the
//! memory goes to them: [`mpg_policy::Displaced`] says when.

use std::fs;
use std::io;

use crate::topology::Machine;

/// Threads of a process that are asked where they are: what the first of so many do, all do.
const THREADS_ASKED: usize = 64;
/// Words of a node mask: 1024 nodes, as many as the kernel can be built for.
const MASK_WORDS: usize = 16;
/// Words of a mask of CPUs.
const CPU_WORDS: usize = crate::topology::MAX_CPUS / 64;
/// Words after the name of a thread in /proc/PID/stat up to the CPU that it is on.
const STAT_CPU: usize = 36;

/// Where the threads of a process are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Nodes that any of them may use, one bit each.
    pub allowed: u64,
    /// The node that all of them were on last.
    pub together: Option<u16>,
}

impl Whereabouts {
    /// Asks the kernel.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn of(tgid: u32, machine: &Machine) -> io::Result<Self> {
        let mut seen = Vec::new();
        for entry in fs::read_dir(format!("/proc/{tgid}/task"))?.take(THREADS_ASKED) {
            let path = entry?.path();
            let thread = path
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            let (Some(thread), Ok(stat)) = (thread, fs::read_to_string(path.join("stat"))) else {
                continue;
            };
            let at = last_cpu(&stat).and_then(|cpu| machine.cpu_node.get(cpu).copied());
            seen.push((allowed_nodes(thread, machine)?, at));
        }
        Ok(Self::all(&seen))
    }

    fn all(seen: &[(u64, Option<u16>)]) -> Self {
        let first = seen.first().and_then(|(_, at)| *at);
        Self {
            allowed: seen.iter().fold(0, |all, (allowed, _)| all | allowed),
            together: first.filter(|_| seen.iter().all(|(_, at)| *at == first)),
        }
    }
}

/// The CPU in a `stat` file. The name before it may have spaces and brackets of its own.
fn last_cpu(stat: &str) -> Option<usize> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(STAT_CPU)?.parse().ok()
}

fn allowed_nodes(thread: libc::pid_t, machine: &Machine) -> io::Result<u64> {
    let mut mask = [0u64; CPU_WORDS];
    // SAFETY: the kernel writes into the mask, of which it is told the length.
    let failed =
        unsafe { libc::sched_getaffinity(thread, size_of_val(&mask), mask.as_mut_ptr().cast()) }
            != 0;
    if failed {
        return Err(io::Error::last_os_error());
    }
    let may_use = |&cpu: &u16| mask[usize::from(cpu) / 64] & (1 << (cpu % 64)) != 0;
    let nodes = machine.nodes.iter().enumerate();
    Ok(nodes
        .filter(|(_, node)| node.cpus.iter().any(may_use))
        .fold(0, |all, (index, _)| all | 1 << index))
}

/// Moves all pages of a process from one node to another. Returns how many could not be moved.
///
/// # Errors
/// What the kernel says: `ESRCH` if the process is gone, `EPERM` or `EINVAL` if its cpuset has no
/// memory there.
pub fn move_pages(tgid: u32, from: usize, to: usize) -> io::Result<u64> {
    let mask = |node: usize| {
        let mut mask = [0 as libc::c_ulong; MASK_WORDS];
        if let Some(word) = mask.get_mut(node / 64) {
            *word = 1 << (node % 64);
        }
        mask
    };
    let (from, to) = (mask(from), mask(to));
    // SAFETY: the kernel only reads the masks, of which it is told the length in bits, and which
    // live through the call.
    let left = unsafe {
        libc::syscall(
            libc::SYS_migrate_pages,
            tgid as libc::pid_t,
            MASK_WORDS * 64,
            from.as_ptr(),
            to.as_ptr(),
        )
    };
    u64::try_from(left).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn threads_are_together_only_if_all_are() {
        let all = |seen: &[(u64, Option<u16>)]| Whereabouts::all(seen);
        assert_eq!(all(&[(1, Some(0)), (2, Some(0))]).allowed, 3);
        assert_eq!(all(&[(1, Some(0)), (2, Some(0))]).together, Some(0));
        assert_eq!(all(&[(1, Some(0)), (2, Some(1))]).together, None);
        assert_eq!(all(&[(1, Some(0)), (2, None)]).together, None);
        assert_eq!(all(&[]), Whereabouts::default());
    }

    #[test]
    fn this_thread_is_on_a_cpu() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(last_cpu(&stat).is_some_and(|cpu| cpu < crate::topology::MAX_CPUS));
        let named = "7 (a) b (c)) R 1 ".to_string() + &"0 ".repeat(34) + "5 0 0";
        assert_eq!(last_cpu(&named), Some(5));
    }

    #[test]
    fn nobody_is_moved_where_nobody_is() {
        assert!(move_pages(u32::MAX >> 1, 0, 0).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,200}") {
            last_cpu(&text);
        }
    }
}
