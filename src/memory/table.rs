// SPDX-License-Identifier: GPL-2.0-only
//! The processes whose memory is looked after, and what is made of the evidence about each.

use std::collections::HashMap;

use mpg_policy::constants::MAX_NODES;
use mpg_policy::{Displaced, Evidence, Looks, MemoryHome};

use crate::bpf_intf::mpg_process;

/// One process.
#[derive(Debug)]
pub struct Process {
    space: u64,
    /// The kernel half's counts as they were read last.
    touched: [u32; MAX_NODES],
    pages: u64,
    evidence: Evidence,
    home: MemoryHome,
    looks: Looks,
    /// Whether its memory should follow it.
    pub displaced: Displaced,
    /// The reading that it was in last.
    reading: u64,
}

impl Process {
    fn new(space: u64) -> Self {
        Self {
            space,
            touched: [0; MAX_NODES],
            pages: 0,
            evidence: Evidence::default(),
            home: MemoryHome::default(),
            looks: Looks::default(),
            displaced: Displaced::default(),
            reading: 0,
        }
    }

    /// What the kernel half knows the process's address space by.
    pub fn space(&self) -> u64 {
        self.space
    }

    /// The node that has its memory.
    pub fn home(&self) -> Option<u16> {
        self.home.node()
    }

    /// Takes the kernel's word for where its pages are. A look that tells of another home than the
    /// one that was thought is news.
    pub fn looked(&mut self, now_ns: u64, pages: &[u64], from_pages: u64) {
        let before = self.evidence.verdict(from_pages);
        self.evidence.saw_pages(pages);
        let was_news = self.evidence.verdict(from_pages) != before;
        self.looks.looked(now_ns, was_news);
    }

    /// Pages that are thought to be on a node.
    pub fn pages_on(&self, node: usize) -> u64 {
        self.evidence.on(node)
    }

    /// Pages that are thought to be in memory.
    pub fn resident(&self) -> u64 {
        self.evidence.resident()
    }

    /// A look that failed is not repeated at once either.
    pub fn look_failed(&mut self, now_ns: u64) {
        self.looks.looked(now_ns, false);
    }
}

/// All of them, by tgid.
#[derive(Debug, Default)]
pub struct Table {
    processes: HashMap<u32, Process>,
    reading: u64,
    from_pages: u64,
}

impl Table {
    /// An empty one; processes with less than `from_pages` get no home.
    pub fn new(from_pages: u64) -> Self {
        Self {
            from_pages,
            ..Self::default()
        }
    }

    /// Begins a reading of the kernel half's records.
    pub fn begin(&mut self) {
        self.reading += 1;
    }

    /// Takes one record in.
    pub fn take(&mut self, tgid: u32, seen: &mpg_process) {
        let process = self
            .processes
            .entry(tgid)
            .or_insert_with(|| Process::new(seen.space));
        if process.space != seen.space {
            *process = Process::new(seen.space);
        }
        process.reading = self.reading;
        if process.touched == seen.touched && process.pages == seen.pages {
            return;
        }
        let mut touched = [0; MAX_NODES];
        for (node, touched) in touched.iter_mut().enumerate() {
            *touched = u64::from(seen.touched[node].wrapping_sub(process.touched[node]));
        }
        process.touched = seen.touched;
        process.pages = seen.pages;
        process.evidence.saw_touched(&touched, seen.pages);
    }

    /// Ends a reading: those that were not in it are gone. Calls `each` with them and their home,
    /// if they had one.
    pub fn end(&mut self, mut gone: impl FnMut(u32)) {
        let reading = self.reading;
        self.processes.retain(|&tgid, process| {
            let stays = process.reading == reading;
            if !stays && process.home().is_some() {
                gone(tgid);
            }
            stays
        });
    }

    /// Judges all; calls `changed` with each whose home changed.
    pub fn judge(&mut self, now_ns: u64, mut changed: impl FnMut(u32, &Process)) {
        for (&tgid, process) in &mut self.processes {
            if process
                .home
                .judge(now_ns, &process.evidence, self.from_pages)
            {
                changed(tgid, process);
            }
        }
    }

    /// The process that is most worth a look, if one is due: one of which nothing is known first,
    /// then the largest.
    pub fn most_doubtful(&mut self, now_ns: u64) -> Option<(u32, &mut Process)> {
        let from_pages = self.from_pages;
        self.processes
            .iter_mut()
            .filter(|(_, process)| process.looks.is_due(now_ns, &process.evidence, from_pages))
            .max_by_key(|(_, process)| {
                let unknown = process.evidence.verdict(from_pages).is_none();
                (unknown, process.evidence.resident())
            })
            .map(|(&tgid, process)| (tgid, process))
    }

    /// Those that have a home.
    pub fn at_home(&mut self) -> impl Iterator<Item = (u32, u16, &mut Process)> {
        self.processes
            .iter_mut()
            .filter_map(|(&tgid, process)| Some((tgid, process.home()?, process)))
    }

    /// How many have a home.
    pub fn homes(&self) -> u64 {
        let homes = self.processes.values().filter(|p| p.home().is_some());
        homes.count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: u64 = 1024;

    fn seen(space: u64, pages: u64, touched: &[u32]) -> mpg_process {
        let mut all = [0; MAX_NODES];
        all[..touched.len()].copy_from_slice(touched);
        mpg_process {
            space,
            pages,
            touched: all,
        }
    }

    fn homes(table: &mut Table, now_ns: u64) -> Vec<(u32, Option<u16>)> {
        let mut homes = Vec::new();
        table.judge(now_ns, |tgid, process| homes.push((tgid, process.home())));
        homes
    }

    #[test]
    fn faults_make_a_home_and_exec_ends_it() {
        let mut table = Table::new(FROM);
        // Counts wrap.
        table.take(7, &seen(1, 10, &[u32::MAX - 5]));
        table.take(7, &seen(1, 2000, &[1994, 6]));
        assert_eq!(homes(&mut table, 0), [(7, Some(0))]);
        assert_eq!(table.homes(), 1);
        table.take(7, &seen(2, 2000, &[0, 2000]));
        assert_eq!(homes(&mut table, 0), [(7, Some(1))]);
    }

    #[test]
    fn those_that_are_gone_are_told_if_they_had_a_home() {
        let mut table = Table::new(FROM);
        table.begin();
        table.take(7, &seen(1, 2000, &[2000]));
        table.take(8, &seen(2, 10, &[10]));
        table.judge(0, |_, _| ());
        table.begin();
        let mut gone = Vec::new();
        table.end(|tgid| gone.push(tgid));
        assert_eq!((gone, table.homes()), (vec![7], 0));
    }

    #[test]
    fn what_was_never_seen_is_looked_at_largest_first() {
        let mut table = Table::new(FROM);
        for (tgid, pages) in [(7, 2000), (8, 5000), (9, 100)] {
            table.take(tgid, &seen(tgid.into(), pages, &[3]));
        }
        assert_eq!(homes(&mut table, 0), []);
        let due = |table: &mut Table| table.most_doubtful(0).map(|(tgid, _)| tgid);
        assert_eq!(due(&mut table), Some(8));
        let (_, process) = table.most_doubtful(0).unwrap();
        process.looked(0, &[0, 5000], FROM);
        assert_eq!(due(&mut table), Some(7));
        table.most_doubtful(0).unwrap().1.look_failed(0);
        assert_eq!(due(&mut table), None);
        assert_eq!(homes(&mut table, 0), [(8, Some(1))]);
    }
}
