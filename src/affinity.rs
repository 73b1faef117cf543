// SPDX-License-Identifier: GPL-2.0-only
//! Which CPUs a thread may use. Workers stay on those of their node, also after it was without any for a while.

use std::io;
use std::sync::Arc;

use crate::bpf_intf::mpg_limits_MPG_MAX_CPUS;
use crate::bridge::Shared;
use crate::topology::Machine;

// A mask of our own rather than cpu_set_t, which ends at 1024 CPUs.
type Mask = [u64; mpg_limits_MPG_MAX_CPUS as usize / 64];

/// The CPUs that a thread may use, if it is there.
pub fn affinity_of(thread: u32) -> Option<Vec<u16>> {
    let mut mask: Mask = [0; _];
    let bytes = size_of_val(&mask);
    // SAFETY: the mask is writable for the length given.
    let got =
        unsafe { libc::sched_getaffinity(thread as libc::pid_t, bytes, mask.as_mut_ptr().cast()) };
    let is_set = |&cpu: &u16| mask[usize::from(cpu) / 64] & (1 << (cpu % 64)) != 0;
    (got >= 0).then(|| (0..mpg_limits_MPG_MAX_CPUS as u16).filter(is_set).collect())
}

/// Keeps a thread on these CPUs; thread 0 is the calling one.
///
/// # Errors
/// What the kernel says, `EINVAL` if all of the CPUs are offline.
pub fn stay_on(thread: libc::pid_t, cpus: &[u16]) -> io::Result<()> {
    let mut mask: Mask = [0; _];
    for &cpu in cpus {
        mask[usize::from(cpu) / 64] |= 1 << (cpu % 64);
    }
    // SAFETY: the mask is readable for the length given.
    let failed =
        unsafe { libc::sched_setaffinity(thread, size_of_val(&mask), mask.as_ptr().cast()) } != 0;
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Brings workers home. When the last CPU of a node leaves, the kernel lets the node's worker run
/// anywhere, and does not take that back.
pub struct Homes {
    /// By node: whether it had a CPU at the last look.
    present: Vec<bool>,
}

impl Homes {
    /// Whose workers are at home already where their node has a CPU.
    pub fn new(machine: &Machine, shared: &Arc<Shared>) -> Self {
        Self {
            present: look(machine, shared),
        }
    }

    /// Puts the workers of nodes that have CPUs again back on these.
    pub fn bring_back(&mut self, machine: &Machine, shared: &Arc<Shared>) {
        let present = look(machine, shared);
        for (index, node) in machine.nodes.iter().enumerate() {
            if present[index] && !self.present[index] {
                let worker = shared.node(index).worker_pid() as libc::pid_t;
                if let Err(e) = stay_on(worker, &node.cpus) {
                    log::warn!("the worker of node {} does not go home: {e}", node.id);
                }
            }
        }
        self.present = present;
    }
}

fn look(machine: &Machine, shared: &Arc<Shared>) -> Vec<bool> {
    let has_cpu = |cpus: &[u16]| cpus.iter().any(|&cpu| !shared.is_absent(cpu));
    machine.nodes.iter().map(|n| has_cpu(&n.cpus)).collect()
}
