// SPDX-License-Identifier: GPL-2.0-only
//! The bridge to the kernel half: opens, loads, attaches and unloads it, and maps what it shares.

mod look;
mod memory;
mod watch;

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use libbpf_rs::libbpf_sys::{bpf_map_create_opts, bpf_object_open_opts};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, MapType, OpenObject};
use scx_utils::{scx_ops_attach, scx_ops_load, scx_ops_open, uei_exited, uei_read, UserExitInfo};

use crate::bpf_intf::*;
use crate::bpf_skel::{BpfSkel, BpfSkelBuilder};
use crate::preflight::Kernel;
use crate::topology::Machine;

pub use look::{Looker, Queue, Waiter};
pub use memory::{NodeMemory, Shared};
pub use watch::{create_logs, Logs, WatchMaps};

/// `SCX_OPS_SWITCH_PARTIAL` and its like, by the names that the running kernel gives them.
fn ops_flag(name: &str) -> Result<u64> {
    scx_utils::compat::read_enum("scx_ops_flags", name)
        .with_context(|| format!("this kernel has no {name}; Linux 6.16 or later is needed"))
}

/// What the load needs to know.
pub struct LoadOptions<'a> {
    /// The machine's nodes and CPUs.
    pub machine: &'a Machine,
    /// What the kernel does not do by itself.
    pub kernel: Kernel,
    /// Schedule only tasks of class SCHED_EXT.
    pub partial: bool,
    /// Let libbpf say what it does.
    pub verbose: bool,
    /// Bytes of the dump that sched_ext writes when it ends a scheduler for an error; 0: default.
    pub exit_dump_len: u32,
    /// libbpf's own options, if any.
    pub open_opts: Option<bpf_object_open_opts>,
    /// What the kernel half starts with.
    pub params: mpg_params,
}

/// The rings of one node, kernel half to user half.
pub struct NodeRings {
    /// Events.
    pub events: MapHandle,
    /// Written only to wake the worker.
    pub doorbell: MapHandle,
}

/// The tables of processes that the two halves share.
pub struct MemoryMaps {
    /// What the kernel half saw: `mpg_process` by tgid.
    pub processes: MapHandle,
    /// What we make of it: `mpg_home` by tgid.
    pub homes: MapHandle,
}

/// A wakeup that is left to another CPU is finished there within this time: one interrupt, of a CPU
/// that may be an emulated one.
const WAKEUPS_END: Duration = Duration::from_millis(20);

/// The loaded kernel half. Dropping it hands the machine back to the kernel's own scheduler.
pub struct Bridge {
    /// Before `skel`: the scheduler is taken off the machine before its programs go.
    link: Option<Link>,
    skel: BpfSkel<'static>,
    shared: Arc<Shared>,
}

/// A ring buffer of so many bytes that goes into one slot of an array of maps.
///
/// # Errors
/// If the kernel has no memory for it.
pub fn create_ring(name: &str, bytes: u32) -> Result<MapHandle> {
    let opts = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as u64,
        ..Default::default()
    };
    MapHandle::create(MapType::RingBuf, Some(name), 0, 0, bytes, &opts)
        .with_context(|| format!("cannot create ring {name} of {bytes} bytes"))
}

impl Bridge {
    /// Loads the kernel half without putting it to work, and creates each node's rings.
    ///
    /// # Errors
    /// If the kernel refuses a program or a map.
    pub fn load(options: &LoadOptions) -> Result<(Self, Vec<NodeRings>)> {
        let machine = options.machine;
        let nr_nodes = machine.nodes.len();
        let nr_cpus = machine.nr_cpu_ids;

        scx_utils::init_libbpf_logging(Some(if options.verbose {
            libbpf_rs::PrintLevel::Debug
        } else {
            libbpf_rs::PrintLevel::Warn
        }));
        let mut builder = BpfSkelBuilder::default();
        builder.obj_builder.debug(options.verbose);
        // The object lives as long as the process: one load per run, and the skeleton borrows it.
        let object: &'static mut MaybeUninit<OpenObject> =
            Box::leak(Box::new(MaybeUninit::uninit()));
        let open_opts = options.open_opts;
        let mut open = scx_ops_open!(builder, object, mpg_ops, open_opts)?;

        open.maps.nodes.set_max_entries(nr_nodes as u32)?;
        open.maps.cpus.set_max_entries(nr_cpus as u32)?;
        open.maps.cpu_stats.set_max_entries(nr_cpus as u32)?;

        let rodata = open
            .maps
            .rodata_data
            .as_mut()
            .context("the kernel half has no constants")?;
        rodata.nr_nodes = nr_nodes as u32;
        rodata.nr_cpus = nr_cpus as u32;
        rodata.own_tgid = std::process::id() as i32;
        rodata.smt = machine.smt;
        rodata.nr_llcs = machine.llcs.len() as u32;
        for (at, cpus) in machine.llcs.iter().enumerate() {
            for &cpu in cpus {
                rodata.cpu_llc[usize::from(cpu)] = at as u16 + 1;
            }
        }
        rodata.drops_preemption = options.kernel.drops_preemption;
        rodata.cpu_node[..nr_cpus].copy_from_slice(&machine.cpu_node[..nr_cpus]);
        let mut listed = 0;
        for (index, node) in machine.nodes.iter().enumerate() {
            rodata.node_first_cpu[index] = listed as u32;
            rodata.cpus_by_node[listed..][..node.cpus.len()].copy_from_slice(&node.cpus);
            listed += node.cpus.len();
            rodata.kernel_node[index] = node.id as u32;
            rodata.node_cpus[index] = node.cpus.len() as u32;
            let mut others: Vec<usize> = (0..nr_nodes).filter(|&other| other != index).collect();
            // Among equals those that follow come first, so that not all turn to the same node.
            others.sort_by_key(|&other| {
                (node.distances[other], (other + nr_nodes - index) % nr_nodes)
            });
            for (at, other) in others.into_iter().enumerate() {
                rodata.neighbours[index * mpg_limits_MPG_MAX_NODES as usize + at] = other as u8;
            }
        }

        // A wakeup for a CPU that idles or is far away is finished there: the waker takes no lock of another run queue.
        let mut flags = ops_flag("SCX_OPS_BUILTIN_IDLE_PER_NODE")?
            | ops_flag("SCX_OPS_KEEP_BUILTIN_IDLE")?
            | ops_flag("SCX_OPS_ALLOW_QUEUED_WAKEUP")?
            | ops_flag("SCX_OPS_ENQ_MIGRATION_DISABLED")?;
        if options.partial {
            flags |= ops_flag("SCX_OPS_SWITCH_PARTIAL")?;
        }
        let ops = open.struct_ops.mpg_ops_mut();
        ops.flags = flags;
        ops.exit_dump_len = options.exit_dump_len;

        let skel = scx_ops_load!(open, mpg_ops, uei)?;

        let mut rings = Vec::with_capacity(nr_nodes);
        for node in 0..nr_nodes as u32 {
            let events = create_ring("mpg_events", mpg_limits_MPG_EVENT_RING_BYTES)?;
            let doorbell = create_ring("mpg_doorbell", 4096)?;
            for (outer, ring) in [
                (&skel.maps.event_rings, &events),
                (&skel.maps.doorbells, &doorbell),
            ] {
                outer
                    .update(
                        &node.to_ne_bytes(),
                        &ring.as_fd().as_raw_fd().to_ne_bytes(),
                        MapFlags::ANY,
                    )
                    .with_context(|| format!("cannot hand node {node} its ring"))?;
            }
            rings.push(NodeRings { events, doorbell });
        }

        let shared = Arc::new(Shared::new(
            (&skel.maps.nodes, nr_nodes),
            (&skel.maps.cpus, nr_cpus),
            &skel.maps.cpu_stats,
            &skel.maps.data_shared,
            &skel.maps.data_queues,
        )?);
        shared.set_params(&options.params);
        Ok((
            Self {
                link: None,
                skel,
                shared,
            },
            rings,
        ))
    }

    /// Puts the machine under this scheduler.
    ///
    /// # Errors
    /// If the kernel refuses, or another scheduler came first.
    pub fn attach(&mut self) -> Result<()> {
        self.link = Some(scx_ops_attach!(self.skel, mpg_ops)?);
        Ok(())
    }

    /// What the two halves share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The tables of processes, for a thread of its own.
    ///
    /// # Errors
    /// If no file descriptor is left.
    pub fn memory_maps(&self) -> Result<MemoryMaps> {
        let handle = |map| MapHandle::try_from(map).context("cannot open a table of processes");
        Ok(MemoryMaps {
            processes: handle(&self.skel.maps.processes)?,
            homes: handle(&self.skel.maps.memory_homes)?,
        })
    }

    /// Where the rings and the logs go that who watches reads.
    ///
    /// # Errors
    /// If no file descriptor is left.
    pub fn watch_maps(&self) -> Result<WatchMaps> {
        let handle = |map| MapHandle::try_from(map).context("cannot open an array of maps");
        Ok(WatchMaps {
            rings: handle(&self.skel.maps.watch_rings)?,
            logs: handle(&self.skel.maps.watch_logs)?,
        })
    }

    /// What looks at the queues. One is enough, and there must be no second: all looks are noted in
    /// one place.
    ///
    /// # Errors
    /// If no file descriptor or memory is left.
    pub fn looker(&self) -> Result<Looker> {
        Looker::new(&self.skel.progs.mpg_look_at, &self.skel.maps.looks)
    }

    /// Whether the kernel has ended the scheduler.
    pub fn has_exited(&self) -> bool {
        uei_exited!(&self.skel, uei)
    }

    /// Takes the scheduler off the machine. Returns why it ended; the counters stay readable.
    pub fn detach(&mut self) -> UserExitInfo {
        if self.link.is_some() && !self.has_exited() {
            self.shared.set_unloading();
            std::thread::sleep(WAKEUPS_END);
        }
        self.link.take();
        uei_read!(&self.skel, uei)
    }
}
