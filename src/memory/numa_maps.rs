// SPDX-License-Identifier: GPL-2.0-only
//! `/proc/PID/numa_maps`: the kernel's own word on where a process's pages are.
//!
//! One line for each mapping: its address, its policy, and `key=value` words, among them
//! `N<node>=<pages>` for each node that has pages of it, in units of `kernelpagesize_kB`. The kernel
//! walks the page tables for it and holds the address space for reading meanwhile, so it is dear in
//! proportion to the pages, and asked sparingly.

use std::io::{self, BufRead};

/// Bytes of a page in which pages are counted here.
const PAGE_BYTES: u64 = 4096;
/// The longest line that is taken; a path in it has 4096 bytes at most.
const LINE_BYTES: u64 = 16 * 1024;
/// Files that are memory and not the page cache of a disk.
const MEMORY_FILES: [&str; 4] = ["/dev/shm/", "/dev/zero", "/SYSV", "/memfd:"];

/// Adds up a process's own pages, those that the page cache does not hold for all, by node.
///
/// `nodes` are the kernel's numbers of the nodes, in the order of the answer. Words that are not
/// understood are passed over: later kernels may say more.
pub fn read(mut text: impl BufRead, nodes: &[usize]) -> io::Result<Vec<u64>> {
    let mut sum = vec![0; nodes.len()];
    let mut line = Vec::new();
    loop {
        line.clear();
        let got = io::Read::take(&mut text, LINE_BYTES).read_until(b'\n', &mut line)?;
        if got == 0 {
            return Ok(sum);
        }
        add_line(&String::from_utf8_lossy(&line), nodes, &mut sum);
    }
}

fn add_line(line: &str, nodes: &[usize], sum: &mut [u64]) {
    let value = |key: &str| {
        line.split_ascii_whitespace()
            .find_map(|w| w.strip_prefix(key))
    };
    let is_cache = value("file=")
        .is_some_and(|path| !MEMORY_FILES.iter().any(|memory| path.starts_with(memory)));
    if is_cache && value("anon=").is_none() {
        return;
    }
    let page_kb: u64 = value("kernelpagesize_kB=")
        .and_then(|kb| kb.parse().ok())
        .unwrap_or(PAGE_BYTES >> 10);
    for word in line.split_ascii_whitespace() {
        let Some((node, pages)) = word.strip_prefix('N').and_then(|w| w.split_once('=')) else {
            continue;
        };
        let (Ok(node), Ok(pages)) = (node.parse::<usize>(), pages.parse::<u64>()) else {
            continue;
        };
        if let Some(at) = nodes.iter().position(|&id| id == node) {
            let pages = pages.saturating_mul(page_kb) / (PAGE_BYTES >> 10);
            sum[at] = sum[at].saturating_add(pages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\
00400000 default file=/usr/bin/x mapped=100 mapmax=3 N0=100 kernelpagesize_kB=4
00600000 default file=/usr/bin/x anon=2 dirty=2 N0=1 N2=1 kernelpagesize_kB=4
01000000 default heap anon=300 dirty=300 active=0 N0=100 N2=200 kernelpagesize_kB=4
7f000000 bind:2 anon=3 dirty=3 N2=3 kernelpagesize_kB=2048
7f100000 prefer:0 file=/dev/shm/x\\040y dirty=7 mapmax=2 N0=7 kernelpagesize_kB=4
7f200000 default stack anon=4 N7=4 kernelpagesize_kB=4
7f300000 default
";

    fn pages(text: &str) -> Vec<u64> {
        read(text.as_bytes(), &[0, 2]).unwrap()
    }

    #[test]
    fn own_pages_are_added_up_by_node() {
        assert_eq!(pages(TEXT), [1 + 100 + 7, 1 + 200 + 3 * 512]);
        assert_eq!(pages(""), [0, 0]);
    }

    #[test]
    fn this_process_can_be_read() {
        // A kernel without NUMA has no such file.
        if let Ok(file) = std::fs::File::open("/proc/self/numa_maps") {
            assert_eq!(read(io::BufReader::new(file), &[0]).unwrap().len(), 1);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            prop_assert_eq!(read(&bytes[..], &[0, 1]).unwrap().len(), 2);
        }

        #[test]
        fn broken_words_change_nothing(
            word in "(N[a-z]?[0-9]{0,30}=?[-x]?[0-9]{0,3}[a-z]|[a-z=]{0,20}|N=|N1=|N1=1=1)",
            at in 0..7usize,
        ) {
            let lines: Vec<String> = TEXT.lines().enumerate().map(|(number, line)| {
                if number == at { format!("{line} {word}\n") } else { format!("{line}\n") }
            }).collect();
            // A word with anon in it would make a mapping the process's own.
            prop_assume!(!word.contains("anon="));
            prop_assume!(!word.contains("file="));
            prop_assert_eq!(pages(&lines.concat()), pages(TEXT));
        }

        #[test]
        fn huge_numbers_saturate(pages_said in any::<u64>(), page_kb in any::<u64>()) {
            let text = format!("1 default anon=1 N0={pages_said} kernelpagesize_kB={page_kb}\n");
            prop_assert_eq!(pages(&text.repeat(3)).len(), 2);
        }
    }
}
