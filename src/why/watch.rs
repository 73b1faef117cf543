// SPDX-License-Identifier: GPL-2.0-only
//! Watching: asks the daemon to record, and reads the rings.

use std::cell::RefCell;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use libbpf_rs::{MapHandle, RingBufferBuilder};
use mpg_policy::policy_by_name;

use super::args::WhyArgs;
use super::attribute::{Past, Shape};
use super::collect::{Collector, Seen};
use super::record::{decode, decode_run, Late};
use crate::affinity::affinity_of;
use crate::bridge::Logs;
use crate::control::{self, Request, Watch, Watching};
use crate::settings::Settings;
use crate::topology::Machine;

/// Time between two looks at the rings and logs, which wake nobody: they hold several times as much.
const LOOK_AT_RECORDS_EVERY: Duration = Duration::from_millis(20);
/// Time between two looks at what is too old to be kept.
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// After the end, for runs that go on: only their end says that they were.
const SETTLE: Duration = Duration::from_millis(50);

/// What was watched.
pub struct Watched {
    /// Everything that the CPUs did.
    pub past: Past,
    /// Who was late, in the order of their starts.
    pub late: Vec<Late>,
    /// What was seen in all.
    pub seen: Seen,
    /// First and last time, nanoseconds of the kernel's scheduling clock.
    pub span: Option<(u64, u64)>,
    /// What is to be added to that clock for the time of day, nanoseconds since 1970.
    pub to_wall: u64,
    /// The scheduler was unloaded before the watch was to end.
    pub unloaded: bool,
}

/// The machine, under these settings.
fn shape_of(machine: &Machine, settings: &Settings) -> Shape {
    let policy = policy_by_name(&settings.policy);
    let one_queue = policy.is_some_and(|policy| policy.one_queue());
    let after_ns = settings.params.steal_after_ns;
    let leave = |&distance: &u32| mpg_policy::steal_after_ns(after_ns, distance);
    let leaves = |node: &crate::topology::NodeInfo| node.distances.iter().map(leave).collect();
    let nodes = &machine.nodes;
    Shape {
        cpu_node: machine.cpu_node[..machine.nr_cpu_ids].to_vec(),
        online: machine.online[..machine.nr_cpu_ids].to_vec(),
        node_ids: nodes.iter().map(|node| node.id).collect(),
        leaves: nodes.iter().map(leaves).collect(),
        one_queue,
    }
}

/// Whether the daemon has hung up, which it does when the scheduler is unloaded.
fn has_ended(mut connection: &UnixStream) -> bool {
    match connection.read(&mut [0]) {
        Err(e) => e.kind() != io::ErrorKind::WouldBlock && e.kind() != io::ErrorKind::Interrupted,
        Ok(read) => read == 0,
    }
}

/// Watches until `stop`, or for as long as was asked.
///
/// # Errors
/// If none runs, it refuses, or the rings cannot be read.
pub fn watch(args: &WhyArgs, stop: &AtomicBool) -> Result<Watched> {
    let path = control::SOCKET_PATH.as_ref();
    let machine = Machine::read()?;
    let settings = control::request(path, &Request::Show {})?.settings;
    let over_us = args.over_us;
    let (watching, connection) =
        control::hold::<Watching>(path, &Request::Watch(Watch { over_us }))?;
    connection
        .set_nonblocking(true)
        .context("cannot keep the connection")?;

    let open = |&id: &u32| {
        MapHandle::from_map_id(id).with_context(|| format!("cannot open the map with id {id}"))
    };
    let mut logs = Logs::new(&open(&watching.logs)?, machine.nr_cpu_ids)?;
    let rings: Vec<MapHandle> = watching.rings.iter().map(open).collect::<Result<_>>()?;
    let shape = shape_of(&machine, &settings);
    let collector = RefCell::new(Collector::new(shape, args.filter(), watching.idle_cpus));
    let failed = RefCell::new(None);
    let collect = |collector: &mut Collector, record| {
        if let Err(e) = collector.add(record, affinity_of) {
            failed.borrow_mut().get_or_insert(e);
        }
    };
    let mut builder = RingBufferBuilder::new();
    for ring in &rings {
        builder.add(ring, |bytes| {
            if let Some(record) = decode(bytes) {
                collect(&mut collector.borrow_mut(), record);
            }
            0
        })?;
    }
    let reader = builder.build().context("cannot read the rings")?;

    let last_ns = args.last.as_nanos() as u64;
    let begun = Instant::now();
    let mut forgot = begun;
    let mut to_wall = u64::MAX;
    let mut ending: Option<Instant> = None;
    let mut unloaded = false;
    loop {
        reader.consume_raw();
        {
            let mut collector = collector.borrow_mut();
            logs.read(|cpu, run, lost| {
                if let Some(record) = decode_run(run, cpu, lost as u32) {
                    collect(&mut collector, record);
                }
            });
        }
        if let Some(e) = failed.borrow_mut().take() {
            return Err(e).context("there is no memory for what is recorded");
        }
        if let Some((_, newest)) = collector.borrow().span() {
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let wall = wall.map_or(0, |wall| wall.as_nanos() as u64);
            // The less time passed since the record was written, the nearer to the truth.
            to_wall = to_wall.min(wall.saturating_sub(newest));
        }
        if forgot.elapsed() >= FORGET_EVERY {
            forgot = Instant::now();
            collector.borrow_mut().keep_last(last_ns);
        }
        if ending.is_some_and(|at| at.elapsed() >= SETTLE) {
            break;
        }
        if ending.is_none() && has_ended(&connection) {
            unloaded = true;
            ending = Some(Instant::now());
        }
        let over = args.watch_for.is_some_and(|time| begun.elapsed() >= time);
        if ending.is_none() && (over || stop.load(Ordering::Relaxed)) {
            ending = Some(Instant::now());
        }
        std::thread::sleep(LOOK_AT_RECORDS_EVERY);
    }
    drop(reader);
    drop(connection);
    let mut collector = collector.into_inner();
    collector.keep_last(last_ns);
    let span = collector.span();
    let (past, late, seen) = collector.finish();
    Ok(Watched {
        past,
        late,
        seen,
        span,
        to_wall,
        unloaded,
    })
}
