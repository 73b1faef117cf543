// SPDX-License-Identifier: GPL-2.0-only
//! `memory.numa_stat` of a process's cgroup: where the pages of all its processes are together.
//!
//! The kernel keeps these sums anyway, so the answer costs a file's reading whatever the size, and
//! holds up nobody. It is about the cgroup and not the process, so it is taken for the process's
//! own only where it is: the cgroup's memory and the process's are alike to a quarter, as in a
//! container of one large process.

use std::fs;
use std::path::PathBuf;

/// Where cgroups of the second version are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Bytes of a page in which pages are counted here.
const PAGE_BYTES: u64 = 4096;
/// The kinds of memory that count as a process's own, as `numa_maps` and the kernel half count.
const KINDS: [&str; 2] = ["anon", "shmem"];

/// Pages by node of a process that has `resident` of them, if its cgroup tells; `nodes` are the
/// kernel's numbers of the nodes, in the order of the answer.
pub fn pages_of(tgid: u32, resident: u64, nodes: &[usize]) -> Option<Vec<u64>> {
    let cgroups = fs::read_to_string(format!("/proc/{tgid}/cgroup")).ok()?;
    let below = path(&cgroups)?;
    let file = PathBuf::from(CGROUPS).join(below).join("memory.numa_stat");
    let pages = read(&fs::read_to_string(file).ok()?, nodes);
    is_believed(pages.iter().sum(), resident).then_some(pages)
}

/// The path of the cgroup of the second version, below the mount; the root, where all are, has no
/// memory of its own to tell of.
fn path(cgroups: &str) -> Option<&str> {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!path.is_empty()).then_some(path)
}

/// Adds up the kinds that count. Words that are not understood are passed over.
fn read(text: &str, nodes: &[usize]) -> Vec<u64> {
    let mut sum = vec![0u64; nodes.len()];
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if !words.next().is_some_and(|kind| KINDS.contains(&kind)) {
            continue;
        }
        for (node, bytes) in words.filter_map(|w| w.strip_prefix('N')?.split_once('=')) {
            let at = node.parse().ok().and_then(|node: usize| {
                let same = |&id: &usize| id == node;
                nodes.iter().position(same)
            });
            if let (Some(at), Ok(bytes)) = (at, bytes.parse::<u64>()) {
                sum[at] = sum[at].saturating_add(bytes / PAGE_BYTES);
            }
        }
    }
    sum
}

/// Whether the cgroup's memory is the process's: each is three quarters of the other at least. A
/// process that came from another cgroup left its memory counted there.
fn is_believed(cgroup: u64, process: u64) -> bool {
    let most_of = |part: u64, whole: u64| part >= whole.div_ceil(4).saturating_mul(3);
    process > 0 && most_of(process, cgroup) && most_of(cgroup, process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn anonymous_and_shared_memory_is_added_up_by_node() {
        let text = "anon N0=8192 N2=40960\nfile N0=4096000 N2=0\nkernel_stack N0=16384 N2=0\n\
                    shmem N0=0 N2=4096\nanon_thp N0=0 N2=2097152\nunevictable N0=0 N7=4096\n";
        assert_eq!(read(text, &[0, 2]), [2, 11]);
        assert_eq!(read("", &[0]), [0]);
    }

    #[test]
    fn the_cgroup_is_the_second_versions_and_not_the_root() {
        assert_eq!(path("0::/a.slice/b\n"), Some("a.slice/b"));
        assert_eq!(path("4:memory:/x\n0::/y\n"), Some("y"));
        assert_eq!(path("0::/\n"), None);
        assert_eq!(path("4:memory:/x\n"), None);
    }

    #[test]
    fn a_cgroup_of_several_is_nobodys() {
        assert!(is_believed(1000, 900) && is_believed(1000, 1100));
        assert!(!is_believed(1000, 500) && !is_believed(500, 1000));
        assert!(!is_believed(0, 0) && !is_believed(0, 8) && !is_believed(8, 0));
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "[a-z0-9=N \n]{0,60}", huge in any::<u64>()) {
            prop_assert_eq!(read(&text, &[0, 1]).len(), 2);
            prop_assert_eq!(read(&format!("anon N0={huge} N0={huge}"), &[0]).len(), 1);
        }

        #[test]
        fn whoever_is_believed_has_most_of_it(cgroup in any::<u64>(), process in any::<u64>()) {
            if is_believed(cgroup, process) {
                prop_assert!(u128::from(process) * 4 >= u128::from(cgroup) * 3);
                prop_assert!(u128::from(cgroup) * 4 >= u128::from(process) * 3);
            }
        }
    }
}
