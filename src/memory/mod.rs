// SPDX-License-Identifier: GPL-2.0-only
//! Finds out where the memory of processes is, and gives their Gs that node as their home.
//!
//! One thread, no worker: the kernel half counts page faults per process and node, this thread
//! reads the counts a few times a second, lets the policy crate judge them
//! ([`mpg_policy::Evidence`]), asks the kernel itself where they leave doubt (of the process's
//! [`cgroup`] if that is as good as the process, else of the process, [`numa_maps`]), and publishes
//! the homes.
//!
//! # What it may cost
//!
//! All of it is paid for by the thread's own CPU clock, out of a [`Budget`]: on average no more than
//! its share of one CPU, be there ten processes or ten thousand. A round that is dearer is followed
//! by a rest that pays for it. Within a round, looks end once what a round earns is used up; a single
//! one can exceed it. Only the copying of pages is not in it: that has a rate of its own.

mod budget;
mod cgroup;
mod movement;
mod numa_maps;
mod settings;
mod table;

use std::fs::File;
use std::io::{self, BufReader};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags};

use crate::affinity::stay_on;
use crate::bpf_intf::{mpg_home, mpg_process};
use crate::bridge::{MemoryMaps, Shared};
use crate::topology::Machine;

use budget::Budget;
use movement::Whereabouts;
pub use settings::{MemoryError, MemorySettings, Number, NUMBERS};
use table::Table;

/// Time between two rounds, unless the budget asks for more. A process is known to the kernel half
/// for this long before it has a home, which is little beside what filling its memory takes.
const ROUND: Duration = Duration::from_millis(250);
/// Pages that are worth reading the kernel half's records for: 1 MiB in all.
const READ_PAGES: u64 = 256;
/// Without any, the records are read this often, to forget processes that are gone.
const READ_EVERY: Duration = Duration::from_secs(5);
/// Pages of the largest process whose page tables are walked (64 GiB): walking more would hold its
/// address space for the better part of a second.
const LOOK_PAGES: u64 = 16 << 20;
/// Records read from the kernel half with one system call.
const RECORDS_AT_ONCE: u32 = 256;
/// Time between two questions where the threads of processes are, if memory is to follow them.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// Gs sent home in one round. Each costs two context switches on its CPU.
const USHERED_AT_ONCE: usize = 4;

const PAGES_PER_MIB: u64 = 256;
const PAGE_BYTES: u64 = 4096;

/// What the thread has done since the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Processes that have a home, now.
    pub homes: u64,
    /// Homes found, changed and lost.
    pub home_changes: u64,
    /// Looks at what the kernel says.
    pub looks: u64,
    /// Of these, those that the process's cgroup answered.
    pub cgroup_looks: u64,
    /// Looks that failed.
    pub look_errors: u64,
    /// Gs that were sent home while they ran.
    pub ushered: u64,
    /// Pages that followed their process.
    pub pages_moved: u64,
    /// Times that the kernel refused to move pages.
    pub move_errors: u64,
    /// CPU time of the thread, but for the copying of pages, nanoseconds.
    pub cpu_ns: u64,
}

impl Tally {
    /// What came to be since `before`; what is now, as it is.
    pub fn since(&self, before: &Tally) -> Tally {
        Tally {
            homes: self.homes,
            home_changes: self.home_changes - before.home_changes,
            looks: self.looks - before.looks,
            cgroup_looks: self.cgroup_looks - before.cgroup_looks,
            look_errors: self.look_errors - before.look_errors,
            ushered: self.ushered - before.ushered,
            pages_moved: self.pages_moved - before.pages_moved,
            move_errors: self.move_errors - before.move_errors,
            cpu_ns: self.cpu_ns - before.cpu_ns,
        }
    }
}

/// The tally as the thread keeps it. Written by the thread alone.
#[derive(Default)]
struct Counters {
    homes: AtomicU64,
    home_changes: AtomicU64,
    looks: AtomicU64,
    cgroup_looks: AtomicU64,
    look_errors: AtomicU64,
    ushered: AtomicU64,
    pages_moved: AtomicU64,
    move_errors: AtomicU64,
    cpu_ns: AtomicU64,
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// The thread. Dropping it ends it.
pub struct Watch {
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread, unless its budget is nothing.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        machine: &Machine,
        shared: &Arc<Shared>,
        maps: MemoryMaps,
        settings: MemorySettings,
    ) -> Result<Self> {
        let mut watch = Self {
            stop: Arc::default(),
            counters: Arc::default(),
            thread: None,
        };
        if settings.permille == 0 {
            return Ok(watch);
        }
        let mut watcher = Watcher {
            machine: machine.clone(),
            shared: Arc::clone(shared),
            maps,
            settings,
            table: Table::new(settings.from_mib * PAGES_PER_MIB),
            strays: vec![None; machine.nr_cpu_ids],
            begun: Instant::now(),
            read_at: (0, Instant::now()),
            follow_at: Instant::now(),
            copying_ns: 0,
            stop: Arc::clone(&watch.stop),
            counters: Arc::clone(&watch.counters),
        };
        let thread = std::thread::Builder::new()
            .name("mpg-memory".into())
            .spawn(move || watcher.run())
            .context("cannot start the thread that finds out where memory is")?;
        watch.thread = Some(thread);
        Ok(watch)
    }

    /// What it has done; may be called from any thread.
    pub fn tally(&self) -> Tally {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Tally {
            homes: of(&counters.homes),
            home_changes: of(&counters.home_changes),
            looks: of(&counters.looks),
            cgroup_looks: of(&counters.cgroup_looks),
            look_errors: of(&counters.look_errors),
            ushered: of(&counters.ushered),
            pages_moved: of(&counters.pages_moved),
            move_errors: of(&counters.move_errors),
            cpu_ns: of(&counters.cpu_ns),
        }
    }

    /// Asks it to end, and does not wait.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// What the thread works with.
struct Watcher {
    machine: Machine,
    shared: Arc<Shared>,
    maps: MemoryMaps,
    settings: MemorySettings,
    table: Table,
    /// By CPU: the G that was away from its memory there in the last round.
    strays: Vec<Option<u32>>,
    begun: Instant,
    /// The pages that had been touched when the records were read last, and when that was.
    read_at: (u64, Instant),
    /// When it is asked next where threads are, and CPU time that copying pages took.
    follow_at: Instant,
    copying_ns: u64,
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
}

impl Watcher {
    fn run(&mut self) {
        let mut budget = Budget::new(self.settings.permille);
        let (mut paid_at, mut paid_ns) = (Instant::now(), 0);
        while !self.stop.load(Ordering::Relaxed) {
            if let Err(e) = self.round(&budget) {
                log::warn!("where memory is cannot be told: {e:#}");
                return;
            }
            let used_ns = thread_cpu_ns() - self.copying_ns;
            self.counters.cpu_ns.store(used_ns, Ordering::Relaxed);
            budget.spend(used_ns - paid_ns, paid_at.elapsed());
            (paid_at, paid_ns) = (Instant::now(), used_ns);
            let due = paid_at + budget.rest().max(ROUND);
            // Whoever unparks wants the thread to end; a wakeup for no reason makes a short round.
            std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
    }

    fn round(&mut self, budget: &Budget) -> Result<()> {
        let begun_ns = thread_cpu_ns();
        let touched = self.shared.touched();
        if touched - self.read_at.0 >= READ_PAGES || self.read_at.1.elapsed() >= READ_EVERY {
            self.read_at = (touched, Instant::now());
            self.read_records()?;
        }
        let share_ns = budget.share_ns(ROUND);
        self.look(begun_ns + share_ns);
        self.publish();
        self.usher();
        if self.settings.migrate && Instant::now() >= self.follow_at {
            self.follow();
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// Takes in what the kernel half has counted.
    fn read_records(&mut self) -> Result<()> {
        self.table.begin();
        let records = self
            .maps
            .processes
            .lookup_batch(RECORDS_AT_ONCE, MapFlags::ANY, MapFlags::ANY)
            .context("the table of processes cannot be read")?;
        for (tgid, seen) in records {
            if let (Ok(tgid), Some(seen)) = (tgid.as_slice().try_into(), decode(&seen)) {
                self.table.take(u32::from_ne_bytes(tgid), &seen);
            }
        }
        let homes = &self.maps.homes;
        self.table.end(|tgid| {
            // Whoever gets the number next has another address space, so it does no harm meanwhile.
            homes.delete(&tgid.to_ne_bytes()).ok();
        });
        Ok(())
    }

    /// Asks the kernel about the processes that are worth it, one at least, and others until the
    /// thread's clock reads `until_ns`.
    fn look(&mut self, until_ns: u64) {
        let from_pages = self.settings.from_mib * PAGES_PER_MIB;
        let nodes: Vec<usize> = self.machine.nodes.iter().map(|node| node.id).collect();
        while !self.stop.load(Ordering::Relaxed) {
            let now_ns = self.now_ns();
            let Some((tgid, process)) = self.table.most_doubtful(now_ns) else {
                return;
            };
            add(&self.counters.looks, 1);
            let told = cgroup::pages_of(tgid, process.resident(), &nodes);
            add(&self.counters.cgroup_looks, told.is_some().into());
            let pages = match told {
                Some(pages) => Ok(pages),
                None if process.resident() > LOOK_PAGES => Err(io::ErrorKind::FileTooLarge.into()),
                None => pages_of(tgid, &nodes),
            };
            match pages {
                Ok(pages) => process.looked(now_ns, &pages, from_pages),
                Err(_) => {
                    add(&self.counters.look_errors, 1);
                    process.look_failed(now_ns);
                }
            }
            if thread_cpu_ns() >= until_ns {
                return;
            }
        }
    }

    /// Has the memory of one process follow it, if that is due for any; the next waits until the
    /// rate allows it.
    fn follow(&mut self) {
        let now_ns = self.now_ns();
        let mut rest = FOLLOW_EVERY;
        let due = self.table.at_home().find_map(|(tgid, home, process)| {
            let at = Whereabouts::of(tgid, &self.machine).ok()?;
            let to = process
                .displaced
                .judge(now_ns, home, at.allowed, at.together)?;
            Some((tgid, usize::from(home), usize::from(to), process))
        });
        if let Some((tgid, from, to, process)) = due {
            let ids: Vec<usize> = self.machine.nodes.iter().map(|node| node.id).collect();
            let begun_ns = thread_cpu_ns();
            let moved = movement::move_pages(tgid, ids[from], ids[to]);
            self.copying_ns += thread_cpu_ns() - begun_ns;
            let seen = moved.and_then(|_| pages_of(tgid, &ids));
            match seen {
                Ok(pages) => {
                    let moved = pages[to].saturating_sub(process.pages_on(to));
                    process.looked(now_ns, &pages, self.settings.from_mib * PAGES_PER_MIB);
                    add(&self.counters.pages_moved, moved);
                    let bytes_per_s = self.settings.migrate_mib_per_s << 20;
                    let took = (moved * PAGE_BYTES) as f64 / bytes_per_s as f64;
                    rest = rest.max(Duration::from_secs_f64(took));
                }
                Err(e) => {
                    add(&self.counters.move_errors, 1);
                    log::debug!("the memory of process {tgid} does not follow it: {e}");
                }
            }
        }
        self.follow_at = Instant::now() + rest;
    }

    /// Judges all, and tells the kernel half of every change.
    fn publish(&mut self) {
        let now_ns = self.now_ns();
        let (homes, counters) = (&self.maps.homes, &self.counters);
        let mut changes = 0;
        self.table.judge(now_ns, |tgid, process| {
            changes += 1;
            let key = tgid.to_ne_bytes();
            // A table that is full leaves the process without a home, as it was.
            match process.home() {
                Some(node) => homes.update(&key, &encode(process.space(), node), MapFlags::ANY),
                None => homes.delete(&key),
            }
            .ok();
        });
        counters.homes.store(self.table.homes(), Ordering::Relaxed);
        if changes > 0 {
            add(&counters.home_changes, changes);
            self.shared.count_homes_change();
        }
    }

    /// Sends Gs home that would not go by themselves: one that never sleeps, and has its CPU for
    /// itself, is never enqueued, so it stays where it is while CPUs idle beside its memory. This
    /// thread goes to that CPU for a moment. It comes first there once the G's slice is over, the
    /// G is enqueued, and goes home.
    fn usher(&mut self) {
        let mut ushered = 0;
        for cpu in 0..self.strays.len() {
            let stray = self.shared.stray(cpu as u16);
            let before = std::mem::replace(&mut self.strays[cpu], stray.map(|(_, pid)| pid));
            let Some((home, pid)) = stray else { continue };
            let Some(home) = self.machine.nodes.get(home) else {
                continue;
            };
            // Twice in a row: what has just come here, or is about to sleep, goes by itself.
            if before != Some(pid)
                || self.shared.idle_among(&home.cpus) == 0
                || ushered == USHERED_AT_ONCE
            {
                continue;
            }
            if stay_on(0, &[cpu as u16]).is_ok() {
                ushered += 1;
                add(&self.counters.ushered, 1);
            }
        }
        if ushered > 0 {
            let all: Vec<u16> = (0..self.machine.nr_cpu_ids as u16).collect();
            stay_on(0, &all).ok();
        }
    }
}

/// Asks the kernel where the pages of a process are.
fn pages_of(tgid: u32, nodes: &[usize]) -> io::Result<Vec<u64>> {
    let file = File::open(format!("/proc/{tgid}/numa_maps"))?;
    numa_maps::read(BufReader::new(file), nodes)
}

fn decode(bytes: &[u8]) -> Option<mpg_process> {
    if bytes.len() < size_of::<mpg_process>() {
        return None;
    }
    // SAFETY: long enough, and any bytes are a valid mpg_process, which has integers only.
    Some(unsafe { bytes.as_ptr().cast::<mpg_process>().read_unaligned() })
}

fn encode(space: u64, node: u16) -> [u8; size_of::<mpg_home>()] {
    let mut bytes = [0; size_of::<mpg_home>()];
    bytes[..8].copy_from_slice(&space.to_ne_bytes());
    bytes[8..12].copy_from_slice(&u32::from(node).to_ne_bytes());
    bytes
}

/// CPU time that the calling thread has used, in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes into the structure, which is ours. The clock is there always.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_written_as_the_kernel_half_reads_it() {
        let bytes = encode(7, 3);
        // SAFETY: as long as an mpg_home, which has integers only.
        let home = unsafe { bytes.as_ptr().cast::<mpg_home>().read_unaligned() };
        assert_eq!((home.space, home.node), (7, 3));
        assert_eq!(decode(&[0; size_of::<mpg_process>()]).unwrap().pages, 0);
        assert!(decode(&[0; size_of::<mpg_process>() - 1]).is_none());
    }
}
