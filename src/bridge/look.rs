// SPDX-License-Identifier: GPL-2.0-only
//! Looks at the kernel half's queues, for people who ask who waits.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use libbpf_rs::libbpf_sys::{bpf_prog_test_run_opts, bpf_test_run_opts};
use libbpf_rs::MapCore;

use super::memory::Mapping;
use crate::bpf_intf::*;

/// A queue of the kernel half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Decided Gs of a node, by its index.
    Primed(usize),
    /// Undecided Gs of a node.
    Custody(usize),
    /// Gs of SCHED_IDLE of a node.
    Spare(usize),
    /// Gs that wait for one CPU and no other.
    Cpu(u16),
}

/// A G that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Thread id.
    pub pid: u32,
    /// Name of the thread.
    pub comm: String,
    /// How long it has waited, nanoseconds.
    pub waited_ns: u64,
    /// What the last decision took it for, as `enum mpg_class`.
    pub class: u32,
    /// The CPU that it ran on last.
    pub cpu: u32,
    /// Nodes that hold at least one CPU that it may use, one bit each.
    pub allowed_nodes: u64,
}

/// Looks at queues; any thread may, one at a time does.
pub struct Looker {
    program: OwnedFd,
    look: Mutex<Mapping<mpg_look>>,
}

impl Looker {
    /// Of a loaded kernel half: its program that looks, and where it notes what it sees.
    ///
    /// # Errors
    /// If no file descriptor or memory is left.
    pub fn new(program: impl AsFd, look: &dyn MapCore) -> Result<Self> {
        let program = program.as_fd().try_clone_to_owned();
        Ok(Self {
            program: program.context("cannot keep the program that looks at queues")?,
            look: Mutex::new(Mapping::new(look, 1)?),
        })
    }

    /// Who waits in a queue, in its order: the first [`mpg_limits_MPG_LOOK_WAITERS`] of them.
    ///
    /// # Errors
    /// If the kernel does not run the program.
    pub fn at(&self, queue: Queue) -> Result<Vec<Waiter>> {
        let (queue, index) = match queue {
            Queue::Primed(node) => (mpg_queue_MPG_QUEUE_PRIMED, node as u32),
            Queue::Custody(node) => (mpg_queue_MPG_QUEUE_CUSTODY, node as u32),
            Queue::Spare(node) => (mpg_queue_MPG_QUEUE_SPARE, node as u32),
            Queue::Cpu(cpu) => (mpg_queue_MPG_QUEUE_CPU, cpu.into()),
        };
        let at = mpg_look_at { queue, index };
        let mut options = bpf_test_run_opts {
            sz: size_of::<bpf_test_run_opts>() as u64,
            ctx_in: std::ptr::from_ref(&at).cast(),
            ctx_size_in: size_of_val(&at) as u32,
            ..Default::default()
        };
        let look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the descriptor is a program's, and options and context live through the call.
        let error = unsafe { bpf_prog_test_run_opts(self.program.as_raw_fd(), &mut options) };
        // What the kernel says, or else the program.
        let errno = [error, options.retval as i32].into_iter().find(|&e| e != 0);
        if let Some(errno) = errno {
            let cause = std::io::Error::from_raw_os_error(-errno);
            return Err(cause).context("cannot look at the queues of the kernel half");
        }
        // SAFETY: the entry is within its mapping, and the kernel half writes to it only in the call
        // above, which the lock admits one of at a time.
        let seen = unsafe { look.entry(0).read_volatile() };
        let found = (seen.found as usize).min(seen.waiters.len());
        Ok(seen.waiters[..found].iter().map(Waiter::from).collect())
    }
}

impl From<&mpg_waiter> for Waiter {
    fn from(waiter: &mpg_waiter) -> Self {
        let name = waiter.comm.iter().map(|&byte| byte as u8);
        let name: Vec<u8> = name.take_while(|&byte| byte != 0).collect();
        Self {
            pid: waiter.pid,
            comm: String::from_utf8_lossy(&name).into_owned(),
            waited_ns: waiter.waited_ns,
            class: waiter.class,
            cpu: waiter.cpu,
            allowed_nodes: waiter.allowed_nodes,
        }
    }
}
