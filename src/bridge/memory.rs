// SPDX-License-Identifier: GPL-2.0-only
//! The memory that the two halves share: arrays of the kernel half, mapped here.
//!
//! Each word has one writer at a time, as `bpf/intf.h` groups them. Both sides use whole-word
//! accesses only, so that a reader sees an old value or a new one, never half of each.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

use anyhow::{bail, Context, Result};
use libbpf_rs::MapCore;
use mpg_ring::Producer;

use crate::bpf_intf::{
    mpg_class_MPG_CLASS_SPARE, mpg_cpu, mpg_cpu_stats, mpg_decision, mpg_limits_MPG_BUCKETS,
    mpg_limits_MPG_DECISION_SLOTS, mpg_limits_MPG_MAX_NODES, mpg_node, mpg_params,
    mpg_rule_kind_MPG_RULE_NONE, mpg_shared, mpg_switches,
};
use crate::rules::{Rule, MAX_RULES};

const MAX_NODES: usize = mpg_limits_MPG_MAX_NODES as usize;

/// A BPF array of `T`, mapped for reading and writing for as long as this lives.
pub(super) struct Mapping<T> {
    first: *mut T,
    entries: usize,
    bytes: usize,
}

// SAFETY: the memory is shared with the kernel already; all access goes through atomics.
unsafe impl<T> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Mapping<T> {}

impl<T> Mapping<T> {
    /// Maps `map`, an mmapable array whose values are `T`.
    pub(super) fn new(map: &dyn MapCore, entries: usize) -> Result<Self> {
        if map.value_size() as usize != size_of::<T>() || !size_of::<T>().is_multiple_of(8) {
            bail!(
                "map {:?} holds values of {} bytes, expected {}: the two halves differ, rebuild",
                map.name(),
                map.value_size(),
                size_of::<T>()
            );
        }
        let bytes = size_of::<T>() * entries;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps no other memory.
        let addr = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        if addr == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("cannot map {:?}", map.name()));
        }
        Ok(Self {
            first: addr.cast(),
            entries,
            bytes,
        })
    }

    pub(super) fn entry(&self, index: usize) -> *mut T {
        assert!(index < self.entries, "entry {index} of {}", self.entries);
        // SAFETY: within the mapping, by the assertion.
        unsafe { self.first.add(index) }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nothing outlives `self`.
        unsafe { libc::munmap(self.first.cast(), self.bytes) };
    }
}

/// The word at `$field` of `$entry` as an atomic of type `$atomic`.
macro_rules! word {
    ($atomic:ty, $entry:expr, $($field:tt)+) => {
        // SAFETY: the entry is within its mapping, which lives as long as `self`; the field has
        // the size and alignment of the atomic; every access on this side is atomic.
        unsafe { <$atomic>::from_ptr(std::ptr::addr_of_mut!((*$entry).$($field)+)) }
    };
}

/// All shared arrays.
pub struct Shared {
    nodes: Mapping<mpg_node>,
    cpus: Mapping<mpg_cpu>,
    cpu_stats: Mapping<mpg_cpu_stats>,
    shared: Mapping<mpg_shared>,
    switches: Mapping<mpg_switches>,
}

impl Shared {
    /// Maps the arrays of a loaded kernel half.
    ///
    /// # Errors
    /// If a map cannot be mapped or does not have the layout that this half was built with.
    pub fn new(
        nodes: (&dyn MapCore, usize),
        cpus: (&dyn MapCore, usize),
        cpu_stats: &dyn MapCore,
        shared: &dyn MapCore,
        switches: &dyn MapCore,
    ) -> Result<Self> {
        Ok(Self {
            nodes: Mapping::new(nodes.0, nodes.1)?,
            cpus: Mapping::new(cpus.0, cpus.1)?,
            cpu_stats: Mapping::new(cpu_stats, cpus.1)?,
            shared: Mapping::new(shared, 1)?,
            switches: Mapping::new(switches, 1)?,
        })
    }

    /// A counter of the kernel half, summed over the CPUs.
    pub fn counter(&self, counter: usize) -> u64 {
        (0..self.cpus.entries)
            .map(|cpu| {
                word!(AtomicU64, self.cpus.entry(cpu), counters[counter]).load(Ordering::Relaxed)
            })
            .sum()
    }

    /// The histogram of the waits of a class on all CPUs.
    pub fn waits(&self, class: usize) -> Vec<u64> {
        let bucket = |bucket| {
            self.sum(|cpu| word!(AtomicU64, cpu, waits[class][bucket]).load(Ordering::Relaxed))
        };
        (0..mpg_limits_MPG_BUCKETS as usize).map(bucket).collect()
    }

    /// The histogram of the lives of Gs that were let go.
    pub fn lifetimes(&self) -> Vec<u64> {
        let bucket = |bucket| {
            self.sum(|cpu| word!(AtomicU64, cpu, lifetimes[bucket]).load(Ordering::Relaxed))
        };
        (0..mpg_limits_MPG_BUCKETS as usize).map(bucket).collect()
    }

    /// What the Gs of a class that stopped had been given as slices, nanoseconds.
    pub fn given_ns(&self, class: usize) -> u64 {
        self.sum(|cpu| word!(AtomicU64, cpu, given_ns[class]).load(Ordering::Relaxed))
    }

    /// What those Gs ran, nanoseconds.
    pub fn used_ns(&self, class: usize) -> u64 {
        self.sum(|cpu| word!(AtomicU64, cpu, used_ns[class]).load(Ordering::Relaxed))
    }

    /// Gs that these CPUs took from queues of node `victim`.
    pub fn taken_among(&self, cpus: &[u16], victim: usize) -> u64 {
        let taken = |&cpu: &u16| {
            let entry = self.cpu_stats.entry(cpu.into());
            word!(AtomicU64, entry, taken_from[victim]).load(Ordering::Relaxed)
        };
        cpus.iter().map(taken).sum()
    }

    /// Adds up a number of what each CPU tells of its runs.
    fn sum(&self, number: impl Fn(*mut mpg_cpu_stats) -> u64) -> u64 {
        let cpus = 0..self.cpu_stats.entries;
        cpus.map(|cpu| number(self.cpu_stats.entry(cpu))).sum()
    }

    /// A counter of the kernel half, summed over these CPUs.
    pub fn counter_among(&self, cpus: &[u16], counter: usize) -> u64 {
        let count = |&cpu: &u16| {
            word!(AtomicU64, self.cpus.entry(cpu.into()), counters[counter]).load(Ordering::Relaxed)
        };
        cpus.iter().map(count).sum()
    }

    /// How often these CPUs were taken from one G for another.
    pub fn preempted_among(&self, cpus: &[u16]) -> u64 {
        let preempted = |&cpu: &u16| {
            word!(AtomicU64, self.cpus.entry(cpu.into()), preempted).load(Ordering::Relaxed)
        };
        cpus.iter().map(preempted).sum()
    }

    /// Whether a CPU is idle, as the kernel half last heard.
    pub fn is_idle(&self, cpu: u16) -> bool {
        word!(AtomicU32, self.cpus.entry(cpu.into()), idle).load(Ordering::Relaxed) != 0
    }

    /// The G that runs on a CPU and the class it counts as, 0 and none where none of ours does.
    pub fn running(&self, cpu: u16) -> (u32, u32) {
        let cpu = self.cpus.entry(cpu.into());
        (
            word!(AtomicU32, cpu, running_pid).load(Ordering::Relaxed),
            word!(AtomicU32, cpu, running_class).load(Ordering::Relaxed),
        )
    }

    /// How often in a row the slice of the G that runs on a CPU was ended in vain.
    pub fn overruns(&self, cpu: u16) -> u32 {
        word!(AtomicU32, self.cpus.entry(cpu.into()), overruns).load(Ordering::Relaxed)
    }

    /// How many Gs wait for a CPU and no other.
    pub fn pinned(&self, cpu: u16) -> u32 {
        word!(AtomicU32, self.cpus.entry(cpu.into()), pinned).load(Ordering::Relaxed)
    }

    /// How many of these CPUs are idle.
    pub fn idle_among(&self, cpus: &[u16]) -> u32 {
        cpus.iter().filter(|&&cpu| self.is_idle(cpu)).count() as u32
    }

    /// How many of these CPUs are idle, or run a task of SCHED_IDLE, which gives way to any other.
    pub fn free_among(&self, cpus: &[u16]) -> u32 {
        let runs_spare = |cpu: u16| {
            word!(AtomicU32, self.cpus.entry(cpu.into()), running_class).load(Ordering::Relaxed)
                == mpg_class_MPG_CLASS_SPARE
        };
        let is_free = |&&cpu: &&u16| self.is_idle(cpu) || runs_spare(cpu);
        cpus.iter().filter(is_free).count() as u32
    }

    /// How often these CPUs found nothing but SCHED_IDLE to run; wraps.
    pub fn ran_dry_among(&self, cpus: &[u16]) -> u32 {
        let ran_dry = |&cpu: &u16| {
            word!(AtomicU32, self.cpus.entry(cpu.into()), ran_dry).load(Ordering::Relaxed)
        };
        cpus.iter().map(ran_dry).fold(0, u32::wrapping_add)
    }

    /// Whether a CPU is offline or on its way there.
    pub fn is_absent(&self, cpu: u16) -> bool {
        word!(AtomicU32, self.cpus.entry(cpu.into()), absent).load(Ordering::Relaxed) != 0
    }

    /// The node where the memory of the G is that runs on a CPU of another node, and its pid.
    pub fn stray(&self, cpu: u16) -> Option<(usize, u32)> {
        let entry = self.cpus.entry(cpu.into());
        let node = word!(AtomicU32, entry, stray).load(Ordering::Relaxed);
        let pid = word!(AtomicU32, entry, running_pid).load(Ordering::Relaxed);
        Some((node.checked_sub(1)? as usize, pid))
    }

    /// Pages that were noted as touched since the load, or as there already.
    pub fn touched(&self) -> u64 {
        (0..self.cpus.entries)
            .map(|cpu| word!(AtomicU64, self.cpus.entry(cpu), touched).load(Ordering::Relaxed))
            .sum()
    }

    /// Has every G look up its home once more, at its next enqueue.
    pub fn count_homes_change(&self) {
        word!(AtomicU64, self.shared.entry(0), homes_version).fetch_add(1, Ordering::Release);
    }

    /// Replaces the parameters of the kernel half. Each field takes effect by itself.
    pub fn set_params(&self, params: &mpg_params) {
        let entry = self.shared.entry(0);
        macro_rules! store {
            ($($field:ident),+) => {
                $(word!(AtomicU64, entry, params.$field).store(params.$field, Ordering::Relaxed);)+
            };
        }
        store!(
            slice_ns,
            slice_min_ns,
            sleep_credit_ns,
            batch_events,
            batch_ns,
            fallback_after_ns,
            starvation_bound_ns,
            short_run_ns,
            runnext_ns,
            primed_per_cpu,
            edition
        );
    }

    /// Has wakeups inserted nowhere before they are enqueued, as from shortly before the unload.
    pub fn set_unloading(&self) {
        word!(AtomicU64, self.switches.entry(0), unloading).store(1, Ordering::Relaxed);
    }

    /// Has one queue serve the whole machine, or each node its own.
    pub fn set_one_queue(&self, one: bool) {
        word!(AtomicU64, self.switches.entry(0), queue_mask)
            .store(if one { 0 } else { u64::MAX }, Ordering::Relaxed);
    }

    /// Has the kernel half record for who watches under the number `id`, not 0, and tell of waits
    /// of more than `over_ns`. The rings must be there, and the logs, empty ones: since no CPU can
    /// be writing to those of an earlier watch once the kernel has taken them, all count from 0 on.
    pub fn start_watch(&self, id: u64, over_ns: u64) {
        for cpu in 0..self.cpus.entries {
            let cpu = self.cpus.entry(cpu);
            word!(AtomicU32, cpu, watch_dropped).store(0, Ordering::Relaxed);
            word!(AtomicU64, cpu, logged).store(0, Ordering::Relaxed);
        }
        let switches = self.switches.entry(0);
        word!(AtomicU64, switches, watch_over_ns).store(over_ns, Ordering::Relaxed);
        word!(AtomicU64, switches, watch_id).store(id, Ordering::Release);
    }

    /// Has the kernel half record no more.
    pub fn end_watch(&self) {
        word!(AtomicU64, self.switches.entry(0), watch_id).store(0, Ordering::Release);
    }

    /// Sets how long a G must wait on node `victim` before node `thief` may take it, nanoseconds.
    pub fn set_steal_after(&self, thief: usize, victim: usize, ns: u64) {
        word!(
            AtomicU64,
            self.shared.entry(0),
            steal_after_ns[thief * MAX_NODES + victim]
        )
        .store(ns, Ordering::Relaxed);
    }

    /// How long a G must wait on node `victim` before node `thief` may take it, nanoseconds.
    pub fn steal_after(&self, thief: usize, victim: usize) -> u64 {
        word!(
            AtomicU64,
            self.shared.entry(0),
            steal_after_ns[thief * MAX_NODES + victim]
        )
        .load(Ordering::Relaxed)
    }

    /// After how long an event has its worker called, nanoseconds.
    pub fn batch_ns(&self) -> u64 {
        word!(AtomicU64, self.shared.entry(0), params.batch_ns).load(Ordering::Relaxed)
    }

    /// Replaces the user's rules. While that goes on a task may miss the rule that it has.
    pub fn set_rules(&self, rules: &[Rule]) {
        let entry = self.shared.entry(0);
        for at in 0..MAX_RULES {
            // A rule of no kind matches nothing, so none is seen half changed.
            word!(AtomicU32, entry, rules[at].kind)
                .store(mpg_rule_kind_MPG_RULE_NONE, Ordering::SeqCst);
            let Some(rule) = rules.get(at) else {
                continue;
            };
            let wire = rule.wire();
            macro_rules! store {
                ($atomic:ty: $($field:ident $([$half:literal])?),+) => {
                    $(word!($atomic, entry, rules[at].$field $([$half])?)
                        .store(wire.$field $([$half])?, Ordering::Relaxed);)+
                };
            }
            store!(AtomicU32: class);
            store!(AtomicU64: number, level, text[0], text[1], mask[0], mask[1]);
            word!(AtomicU32, entry, rules[at].kind).store(wire.kind, Ordering::SeqCst);
        }
    }

    /// Lets the CPUs of node `thief` take one G of node `victim`, however short it waited.
    pub fn grant(&self, thief: usize, victim: usize) {
        word!(
            AtomicU32,
            self.shared.entry(0),
            grants[thief * MAX_NODES + victim]
        )
        .store(1, Ordering::Relaxed);
    }

    /// One node's words.
    pub fn node(self: &Arc<Self>, node: usize) -> NodeMemory {
        self.nodes.entry(node);
        NodeMemory {
            shared: Arc::clone(self),
            node,
        }
    }
}

/// What one node shares with the kernel half.
#[derive(Clone)]
pub struct NodeMemory {
    shared: Arc<Shared>,
    node: usize,
}

/// Reads a word that the other side writes.
macro_rules! reader {
    ($(#[$doc:meta])* $name:ident: $atomic:ty => $value:ty) => {
        $(#[$doc])*
        pub fn $name(&self) -> $value {
            word!($atomic, self.entry(), $name).load(Ordering::Relaxed)
        }
    };
}

impl NodeMemory {
    fn entry(&self) -> *mut mpg_node {
        self.shared.nodes.entry(self.node)
    }

    reader!(/// The node's virtual clock, nanoseconds of a G of weight 100.
        vclock: AtomicU64 => u64);
    reader!(/// Events written since the load.
        events_written: AtomicU64 => u64);
    reader!(/// Events that the worker has read.
        events_read: AtomicU64 => u64);
    reader!(/// Scheduling clock when the worker was called or put on a CPU, nanoseconds.
        now_ns: AtomicU64 => u64);
    reader!(/// Average wait of the Gs that started, nanoseconds.
        average_wait_ns: AtomicU64 => u64);
    reader!(/// CPU time of the worker, nanoseconds.
        worker_runtime_ns: AtomicU64 => u64);
    reader!(/// Longest time that the worker ran without a break, nanoseconds.
        worker_longest_ns: AtomicU64 => u64);
    reader!(/// Gs decided and waiting.
        primed: AtomicU32 => u32);
    reader!(/// When the worker was called, 0 if it has answered.
        called_at_ns: AtomicU64 => u64);
    reader!(/// For how long the G had waited that was due first when sysmon measured last, nanoseconds.
        due_wait_ns: AtomicU64 => u64);
    reader!(/// How often the worker was taken for dead.
        fallbacks: AtomicU32 => u32);
    reader!(/// Gs waiting undecided.
        custody: AtomicU32 => u32);
    reader!(/// Gs waiting for one CPU of the node and no other.
        pinned: AtomicU32 => u32);
    reader!(/// Gs of SCHED_IDLE waiting.
        spare: AtomicU32 => u32);
    reader!(/// Not 0 while the kernel half serves the node without its worker.
        fallback: AtomicU32 => u32);
    reader!(/// Steps of the worker.
        activations: AtomicU64 => u64);
    reader!(/// Decisions written by the worker.
        decisions_written: AtomicU64 => u64);
    reader!(/// Gs in the node's P.
        queued: AtomicU32 => u32);

    /// Number of the node.
    pub fn index(&self) -> usize {
        self.node
    }

    /// Names the thread that serves this node.
    pub fn set_worker_pid(&self, tid: u32) {
        word!(AtomicU32, self.entry(), worker_pid).store(tid, Ordering::Relaxed);
    }

    /// The thread that serves this node.
    pub fn worker_pid(&self) -> u32 {
        word!(AtomicU32, self.entry(), worker_pid).load(Ordering::Relaxed)
    }

    /// The worker answers its call: from here on it can be called again, and what is written to
    /// the ring after this is seen by the step that follows or calls anew.
    pub fn answer_call(&self) {
        word!(AtomicU32, self.entry(), fallback).store(0, Ordering::Relaxed);
        mpg_ring::answer_call(word!(AtomicU64, self.entry(), called_at_ns));
    }

    /// Publishes how many events were read. Only by the node's worker.
    pub fn publish_read(&self, events: u64) {
        word!(AtomicU64, self.entry(), events_read).fetch_add(events, Ordering::Relaxed);
    }

    /// Publishes what a step did; one that had nothing to do does not count as an activation.
    /// Only by the node's worker.
    pub fn publish_step(&self, events: u64, decisions: u64, queued: u32) {
        if events + decisions > 0 {
            word!(AtomicU64, self.entry(), activations).fetch_add(1, Ordering::Relaxed);
        }
        word!(AtomicU64, self.entry(), decisions_written).fetch_add(decisions, Ordering::Relaxed);
        self.set_queued(queued);
    }

    /// Publishes the length of the P. Only by whoever holds the node's processor.
    pub fn set_queued(&self, queued: u32) {
        word!(AtomicU32, self.entry(), queued).store(queued, Ordering::Relaxed);
    }

    /// Has the node's CPUs take Gs of node `victim` that weigh up to `weight` together.
    pub fn wish(&self, victim: u16, weight: u32) {
        let wish = u64::from(victim) << 32 | u64::from(weight);
        word!(AtomicU64, self.entry(), pull).store(wish, Ordering::Relaxed);
    }

    /// Counts Gs that the worker took from node `victim`. Only by the node's worker.
    pub fn count_steal(&self, victim: usize, moved: u64) {
        word!(AtomicU64, self.entry(), stolen_from[victim]).fetch_add(moved, Ordering::Relaxed);
    }

    /// Gs that the worker took from node `victim`.
    pub fn stolen_from(&self, victim: usize) -> u64 {
        word!(AtomicU64, self.entry(), stolen_from[victim]).load(Ordering::Relaxed)
    }

    fn producer(&self) -> Producer<'_, AtomicU64> {
        Producer {
            head: word!(AtomicU64, self.entry(), decision_head),
            tail: word!(AtomicU64, self.entry(), decision_tail),
            slots: mpg_limits_MPG_DECISION_SLOTS.into(),
        }
    }

    /// Free slots of the decision ring. Only by the node's worker.
    pub fn decision_room(&self) -> u64 {
        self.producer().room()
    }

    /// Writes decisions into the ring's free slots and publishes them together. Only by the
    /// node's worker, and no more than [`Self::decision_room`] of them.
    pub fn write_decisions(&self, decisions: &[mpg_decision]) {
        self.producer().write(decisions, |slot, decision| {
            // SAFETY: the slot is free (the kernel half has moved the tail past it) and within
            // the ring; nobody reads it before the head is published.
            unsafe {
                std::ptr::addr_of_mut!((*self.entry()).decisions[slot]).write_volatile(*decision);
            }
        });
    }
}
