// SPDX-License-Identifier: GPL-2.0-only
//! The worker of one node: sleeps until called, reads all events, steps the policy once, hands
//! over all decisions that the marks allow.
//!
//! # Parking and waking
//!
//! ```text
//! worker                                   kernel half (forward.bpf.h)
//!   sleep on the doorbell (a system call)    write event to the ring
//!   called_at <- 0                           events_written += 1
//!   read the ring until it is empty          if the backlog is due and called_at was 0:
//!   events_read <- events_written                called_at <- now; ring the doorbell
//!   step, write decisions
//! ```
//!
//! No call is lost: `called_at` is cleared before the ring is read. An event written before the
//! clearing is read by this step. An event written after it finds `called_at` 0 and calls if it is
//! due, so the next sleep ends at once. An event that is not due yet waits for the next one, for
//! the dispatch that asks for more, or for the sleep's timeout; its G does not wait with it, it
//! stands in custody, which every CPU of the node serves.
//!
//! A step makes no system call, takes no lock that it could wait for, and allocates nothing: the
//! buffers below are as large as they will ever be, the processor's storage is mapped, touched and
//! locked on this node before the first event, and the lock of a processor is only ever tried.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use anyhow::{Context, Result};
use libbpf_rs::{RingBuffer, RingBufferBuilder};
use mpg_policy::{
    Class, Decision, Event, Neighbours, NodeView, Params, Policy, Processor, Storage, P,
};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::affinity::stay_on;
use crate::bpf_intf::*;
use crate::bridge::{NodeMemory, NodeRings, Shared};
use crate::crew::Crew;
use crate::topology::Machine;

/// A worker that nobody calls looks around this often, for what nothing else would tell it of: it is
/// woken for events, for a change of settings and for the end.
const SLEEP_MS: u16 = 1_000;
/// Gs that a node's P holds. What does not fit stays in custody and is served from there.
const P_SLOTS: usize = 8192;
/// Events read at a time; the ring is read until it is empty.
const EVENTS_AT_ONCE: usize = 1024;
/// Stack of a worker: its largest frames are the buffers' owners, the buffers are on the heap.
const STACK_BYTES: usize = 256 * 1024;

/// What the control thread may change under the workers.
struct Choice {
    params: Params,
    policy: &'static dyn Policy,
}

/// The policy and its parameters, as chosen last.
pub struct Choices {
    /// Counts the choices, from 1 on.
    edition: AtomicU64,
    choice: Mutex<Choice>,
    /// What each worker sleeps on beside its doorbell.
    sleepers: Mutex<Vec<Arc<EventFd>>>,
}

impl Choices {
    /// The first choice.
    pub fn new(params: Params, policy: &'static dyn Policy) -> Self {
        Self {
            edition: AtomicU64::new(1),
            choice: Mutex::new(Choice { params, policy }),
            sleepers: Mutex::default(),
        }
    }

    /// What one more worker is to sleep on.
    fn new_sleeper(&self) -> Result<Arc<EventFd>> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let sleeper =
            EventFd::from_flags(flags).context("cannot create what a worker sleeps on")?;
        let sleeper = Arc::new(sleeper);
        self.sleepers().push(Arc::clone(&sleeper));
        Ok(sleeper)
    }

    fn sleepers(&self) -> MutexGuard<'_, Vec<Arc<EventFd>>> {
        self.sleepers
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Has every worker step, be there anything to do or not.
    pub fn wake_all(&self) {
        for sleeper in self.sleepers().iter() {
            // A counter that is full wakes as well.
            sleeper.write(1).ok();
        }
    }

    /// Replaces the choice; each worker takes it up whole, with its next step. Returns its edition,
    /// by which the kernel half is to know what was decided under it.
    pub fn publish(&self, params: Params, policy: &'static dyn Policy) -> u64 {
        let mut choice = self
            .choice
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *choice = Choice { params, policy };
        self.edition.fetch_add(1, Ordering::Release) + 1
    }

    /// The edition of the last choice.
    pub fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }
}

/// What all workers see of each other.
struct Common {
    shared: Arc<Shared>,
    machine: Machine,
    choices: Arc<Choices>,
    /// One per node, set by its worker. Only ever tried: whoever finds it taken does without.
    processors: Vec<OnceLock<Mutex<Processor<'static>>>>,
    stop: AtomicBool,
}

impl Common {
    /// What a node's worker sees: of its own CPUs, or of all where one queue serves them. Idle CPUs
    /// are left out: only a theft asks for those of the thief, and to count them reads a cache line
    /// of each CPU.
    fn view(&self, memory: &NodeMemory, one_queue: bool) -> NodeView {
        let nodes = match one_queue {
            true => &self.machine.nodes[..],
            false => &self.machine.nodes[memory.index()..][..1],
        };
        NodeView {
            vclock: memory.vclock(),
            primed: memory.primed(),
            custody: memory.custody(),
            idle_cpus: 0,
            cpus: nodes.iter().map(|n| n.cpus.len() as u32).sum(),
        }
    }

    /// Leave of node `thief` with node `victim`.
    fn steal_after_ns(&self, params: &Params, thief: usize, victim: usize) -> u64 {
        let distance = self.machine.nodes[thief].distances[victim];
        mpg_policy::steal_after_ns(params.steal_after_ns, distance)
    }
}

/// The workers of all nodes.
pub struct Workers {
    common: Arc<Common>,
    crew: Crew,
}

impl Workers {
    /// Starts one worker per node and waits until each has its memory.
    ///
    /// # Errors
    /// If a thread cannot be started, kept on its node, or given memory.
    pub fn start(
        machine: &Machine,
        shared: &Arc<Shared>,
        rings: Vec<NodeRings>,
        choices: &Arc<Choices>,
    ) -> Result<Self> {
        let common = Arc::new(Common {
            shared: Arc::clone(shared),
            machine: machine.clone(),
            choices: Arc::clone(choices),
            processors: (0..machine.nodes.len()).map(|_| OnceLock::new()).collect(),
            stop: AtomicBool::new(false),
        });
        let mut workers = Self {
            common,
            crew: Crew::default(),
        };
        for (node, rings) in rings.into_iter().enumerate() {
            let common = Arc::clone(&workers.common);
            let wake = choices.new_sleeper()?;
            let hired = workers.crew.hire(STACK_BYTES, move |ready| {
                let mut worker = Worker::new(common, node, &rings, wake)?;
                ready.tell();
                worker.run();
                Ok(())
            });
            if let Err(e) = hired {
                return Err(workers.stop().err().unwrap_or(e));
            }
        }
        Ok(workers)
    }

    /// Whether a worker has ended by itself, which only a fault makes it do.
    pub fn has_fault(&self) -> bool {
        self.crew.has_fault()
    }

    /// Stops all workers and waits for them.
    ///
    /// # Errors
    /// The first fault that a worker ended with.
    pub fn stop(&mut self) -> Result<()> {
        self.common.stop.store(true, Ordering::Relaxed);
        self.common.choices.wake_all();
        self.crew.dismiss()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.common.stop.store(true, Ordering::Relaxed);
        self.common.choices.wake_all();
    }
}

/// One node's worker, on its own thread.
struct Worker {
    common: Arc<Common>,
    memory: NodeMemory,
    events: RingBuffer<'static>,
    doorbell: RingBuffer<'static>,
    /// Woken by user space.
    wake: Arc<EventFd>,
    /// Filled by `events`' callback.
    read: Rc<RefCell<Vec<Event>>>,
    decided: Vec<mpg_decision>,
    params: Params,
    /// Of what `params` and the policy are from.
    edition: u64,
}

impl Worker {
    fn new(
        common: Arc<Common>,
        node: usize,
        rings: &NodeRings,
        wake: Arc<EventFd>,
    ) -> Result<Self> {
        let cpus = &common.machine.nodes[node].cpus;
        // A node that has no CPU at present gets its worker once it has one, see `Homes`.
        if cpus
            .iter()
            .any(|&cpu| common.machine.online[usize::from(cpu)])
        {
            stay_on(0, cpus)
                .with_context(|| format!("cannot keep the worker of node {node} on its CPUs"))?;
        }
        let memory = common.shared.node(node);
        // SAFETY: gettid has no arguments and cannot fail.
        memory.set_worker_pid(unsafe { libc::gettid() } as u32);

        let nodes = common.machine.nodes.len();
        let distances = common.machine.distances();
        let (params, policy, edition) = {
            let edition = common.choices.edition();
            let choice = common
                .choices
                .choice
                .lock()
                .expect("no holder of this lock panics");
            (choice.params, choice.policy, edition)
        };
        let mut processor = Processor::new(node as u16, P::new(local_storage(P_SLOTS)?), policy);
        processor.set_neighbours(Neighbours::nearest_first(node as u16, &distances, nodes));
        if common.processors[node].set(Mutex::new(processor)).is_err() {
            anyhow::bail!("node {node} has a worker already");
        }

        let read = Rc::new(RefCell::new(Vec::with_capacity(EVENTS_AT_ONCE)));
        let sink = Rc::clone(&read);
        let mut builder = RingBufferBuilder::new();
        builder.add(&rings.events, move |bytes| {
            if let Some(event) = decode(bytes) {
                sink.borrow_mut().push(event);
            }
            0
        })?;
        let events = builder.build().context("cannot read the event ring")?;
        let mut builder = RingBufferBuilder::new();
        builder.add(&rings.doorbell, |_| 0)?;
        let doorbell = builder.build().context("cannot sleep on the doorbell")?;
        Ok(Self {
            common,
            memory,
            events,
            doorbell,
            wake,
            read,
            decided: Vec::with_capacity(mpg_limits_MPG_DECISION_SLOTS as usize),
            params,
            edition,
        })
    }

    fn run(&mut self) {
        while !self.common.stop.load(Ordering::Relaxed) {
            self.sleep();
            self.memory.answer_call();
            self.step();
        }
    }

    /// Sleeps until called or woken. Interrupted or timed out is as good: a step finds out what
    /// there is.
    fn sleep(&self) {
        // SAFETY: the ring owns the descriptor, and outlives this borrow of it.
        let doorbell = unsafe { BorrowedFd::borrow_raw(self.doorbell.epoll_fd()) };
        let mut fds = [
            PollFd::new(doorbell, PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, PollTimeout::from(SLEEP_MS)).ok();
        if fds[1].any() == Some(true) {
            self.wake.read().ok();
        }
        // A record that stays in the ring would end each sleep at once.
        self.doorbell.consume_raw();
    }

    /// Reads all, steps once, writes all. See the head of this file for what it must not do.
    fn step(&mut self) {
        let common = Arc::clone(&self.common);
        let Some(lock) = common.processors[self.memory.index()].get() else {
            return;
        };
        // A thief is at it. It is done in a moment, the events keep, and custody serves the node.
        let Ok(mut processor) = lock.try_lock() else {
            return;
        };
        self.take_up_choice(&mut processor);

        let now = self.memory.now_ns();
        let one_queue = processor.policy().one_queue();
        let mut view = self.common.view(&self.memory, one_queue);
        let mut room = self.memory.decision_room() as usize;
        let mut events = 0;
        self.decided.clear();
        while room > 0 {
            let most = room.min(EVENTS_AT_ONCE);
            self.read.borrow_mut().clear();
            if self.events.consume_raw_n(most) <= 0 {
                break;
            }
            let read = self.read.borrow();
            events += read.len() as u64;
            processor.look_ahead(&read);
            for event in read.iter() {
                if let Some(decision) = processor.on_event(now, event, &view, &self.params) {
                    self.decided.push(encode(&decision, self.edition));
                    room -= 1;
                }
            }
        }
        self.memory.publish_read(events);

        let may_steal = !one_queue && processor.p().is_empty();
        if may_steal && self.is_worth_stealing(processor.neighbours()) {
            let cpus = &common.machine.nodes[self.memory.index()].cpus;
            view.idle_cpus = common.shared.free_among(cpus);
            if view.idle_cpus > 0 {
                self.steal(&mut processor, now, &view);
            }
        }
        let (decided, edition) = (&mut self.decided, self.edition);
        processor.decide_up_to(room, now, &view, &self.params, &mut |decision| {
            decided.push(encode(&decision, edition));
        });
        self.memory.write_decisions(&self.decided);
        self.memory.publish_step(
            events,
            self.decided.len() as u64,
            processor.p().len() as u32,
        );
    }

    /// Whether a P of another node holds anything.
    fn is_worth_stealing(&self, neighbours: &Neighbours) -> bool {
        let queued = |node| self.common.shared.node(usize::from(node)).queued();
        neighbours.iter().any(|node| queued(node) > 0)
    }

    /// Takes half of what may move from the nearest node whose oldest G has waited long enough.
    fn steal(&self, thief: &mut Processor<'static>, now: u64, view: &NodeView) {
        let node = self.memory.index();
        let neighbours = *thief.neighbours();
        for victim in neighbours.iter().map(usize::from) {
            let memory = self.common.shared.node(victim);
            if memory.queued() == 0 {
                continue;
            }
            let Some(lock) = self.common.processors[victim].get() else {
                continue;
            };
            let Ok(mut processor) = lock.try_lock() else {
                continue;
            };
            let moved = mpg_policy::steal_half(
                &mut processor,
                thief,
                now,
                self.common.steal_after_ns(&self.params, node, victim),
                &self.common.view(&memory, false),
                view,
            );
            if moved > 0 {
                memory.set_queued(processor.p().len() as u32);
                self.memory.count_steal(victim, moved as u64);
                return;
            }
        }
    }

    fn take_up_choice(&mut self, processor: &mut Processor<'static>) {
        let edition = self.common.choices.edition();
        if edition == self.edition {
            return;
        }
        // Somebody publishes at this moment: the next step takes it up.
        let Ok(choice) = self.common.choices.choice.try_lock() else {
            return;
        };
        self.params = choice.params;
        processor.set_policy(choice.policy);
        self.edition = edition;
    }
}

/// Reads an event off the wire; `None` if it is not one.
fn decode(bytes: &[u8]) -> Option<Event> {
    if bytes.len() < size_of::<mpg_event>() {
        return None;
    }
    // SAFETY: long enough, and any bytes are a valid mpg_event, which has integers only.
    let wire = unsafe { bytes.as_ptr().cast::<mpg_event>().read_unaligned() };
    let has = |flag: mpg_event_flags| u32::from(wire.flags) & flag != 0;
    Some(Event {
        at_ns: wire.at_ns,
        vtime: wire.vtime,
        runtime_ns: wire.runtime_ns,
        cookie: wire.cookie,
        allowed_nodes: wire.allowed_nodes,
        pid: wire.pid,
        generation: wire.generation,
        wakeups: wire.wakeups,
        weight: wire.weight,
        cpu: wire.cpu,
        node: wire.node,
        waiting: has(mpg_event_flags_MPG_EVENT_WAITING),
        wakeup: has(mpg_event_flags_MPG_EVENT_WAKEUP),
        restricted: has(mpg_event_flags_MPG_EVENT_RESTRICTED),
        batch: has(mpg_event_flags_MPG_EVENT_BATCH),
        class: Class::from_u8(wire.class)?,
        rule: wire.rule.checked_sub(1).and_then(Class::from_u8),
    })
}

/// Puts a decision on the wire that was made under this edition of the settings.
fn encode(decision: &Decision, edition: u64) -> mpg_decision {
    mpg_decision {
        deadline: decision.deadline,
        deadline_offset: decision.deadline_offset,
        slice_ns: decision.slice_ns,
        cookie: decision.cookie,
        pid: decision.pid,
        generation: decision.generation,
        lease: decision.lease,
        node: decision.node,
        cpu: decision
            .cpu
            .map_or(mpg_limits_MPG_NO_CPU as u16, |cpu| cpu.number()),
        class: decision.class as u8,
        edition: edition as u8,
    }
}

/// Storage for a P of so many slots, on the node of the calling thread.
fn local_storage(slots: usize) -> Result<Storage<'static>> {
    Ok(Storage {
        notes: local(slots)?,
        places: local(slots)?,
        families: local(Storage::families(slots))?,
        chunks: local(Storage::chunks(slots))?,
        buckets: local(Storage::buckets(slots))?,
        arrivals: local(Storage::arrivals(slots))?,
        held: local(Storage::held(slots))?,
        used: local(Storage::used(slots))?,
    })
}

/// Memory on the node of the calling thread, which must be kept there already: mapped for good,
/// locked, and first touched here.
fn local<T: Default>(len: usize) -> Result<&'static mut [T]> {
    // SAFETY: a new anonymous mapping overlaps no other memory.
    let addr = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len * size_of::<T>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_LOCKED,
            -1,
            0,
        )
    };
    if addr == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error()).context("cannot map memory for the run queue");
    }
    // SAFETY: the mapping is page-aligned, long enough, writable, and never unmapped.
    let storage: &'static mut [MaybeUninit<T>] =
        unsafe { std::slice::from_raw_parts_mut(addr.cast(), len) };
    for item in storage.iter_mut() {
        item.write(T::default());
    }
    // SAFETY: every item was just written.
    Ok(unsafe { &mut *(std::ptr::from_mut(storage) as *mut [T]) })
}
