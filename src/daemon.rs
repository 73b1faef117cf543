// SPDX-License-Identifier: GPL-2.0-only
//! The daemon: load, run, and hand the machine back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use log::info;
use mpg_policy::policy_by_name;

use crate::affinity::Homes;
use crate::balancer::{self, Balancer};
use crate::bpf_intf::{
    mpg_counter_MPG_COUNT_REFUSED_AFFINITY, mpg_counter_MPG_COUNT_REFUSED_GONE,
    mpg_counter_MPG_COUNT_REFUSED_STALE, mpg_counter_MPG_COUNT_STARTED,
    mpg_counter_MPG_NR_COUNTERS, mpg_params,
};
use crate::bridge::{Bridge, LoadOptions, Shared};
use crate::cli::Cli;
use crate::control::{self, Answer, Peer, Reply, Request};
use crate::hangup::Hangup;
use crate::health::{Board, Health};
use crate::history::History;
use crate::memory::Watch;
use crate::openmetrics::{self, Endpoint, Families};
use crate::preflight::Kernel;
use crate::recorder::Recorder;
use crate::schedtrace::{self, Tracer};
use crate::settings::Settings;
use crate::stats::{self, ClassSnapshot, Histogram, NodeSnapshot, Snapshot, CLASSES};
use crate::topology::Machine;
use crate::worker::{Choices, Workers};

/// How often at least the main thread looks for what nobody wakes it for: the kernel having ended
/// the scheduler, a thread with a fault, SIGHUP, the end of a change for a time.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What counts decisions that were refused. Those of a worker are carried out by its node's CPUs.
const REFUSED: [u32; 3] = [
    mpg_counter_MPG_COUNT_REFUSED_STALE,
    mpg_counter_MPG_COUNT_REFUSED_GONE,
    mpg_counter_MPG_COUNT_REFUSED_AFFINITY,
];

/// What changes settings while the scheduler runs, and what reads them.
struct Controls {
    machine: Machine,
    shared: Arc<Shared>,
    choices: Arc<Choices>,
    memory: Watch,
    history: Mutex<History>,
    alerts: Arc<Board>,
    recorder: Arc<Recorder>,
    started: Instant,
}

impl Controls {
    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Answers one request of the control socket; the error is the sentence to answer with.
    fn handle(&self, request: Request, peer: Peer) -> Result<Answer, String> {
        let now = Instant::now();
        let mut history = self.history();
        self.look_at_the_time(&mut history, now);
        let changed = match request {
            Request::Set(change) => history.set(&change.patch, change.for_s, now).map(|()| true),
            Request::Undo {} => history.undo(now).map(|()| true),
            Request::Show {} => Ok(false),
            Request::Watch(watch) => {
                let (watching, recording) = self.recorder.start(watch, peer)?;
                return Ok(Answer::Watching(watching, Box::new(recording)));
            }
        };
        if changed.map_err(|e| e.to_string())? {
            self.take_effect(&history, "changed");
        }
        Ok(Answer::Settings(Reply {
            settings: history.current().clone(),
            returns_in_s: history
                .until()
                .map(|until| (until - now).as_secs_f64().ceil() as u64),
        }))
    }

    /// Ends changes that were for a time which is over.
    fn look_at_the_time(&self, history: &mut History, now: Instant) {
        if history.expire(now) {
            self.take_effect(history, "gone back");
        }
    }

    /// Reads the config file again and puts what it says, with `cli`'s word before it, in place of
    /// all that was set since. A file that will not do changes nothing.
    fn reload(&self, cli: &Cli) {
        let settings = cli.settings();
        let mut history = self.history();
        match settings.and_then(|settings| Ok(history.replace(settings, Instant::now())?)) {
            Ok(()) => self.take_effect(&history, "read again"),
            Err(e) => log::error!("the settings stay as they are: {e:#}"),
        }
    }

    fn take_effect(&self, history: &History, how: &str) {
        self.publish(history.current());
        info!(
            "settings {how}: {}",
            history.current().to_string().replace('\n', ", ")
        );
    }

    /// Gives valid settings to both halves.
    fn publish(&self, settings: &Settings) {
        self.shared.set_rules(&settings.rules);
        let Some(policy) = policy_by_name(&settings.policy) else {
            return;
        };
        let nodes = &self.machine.nodes;
        for (thief, node) in nodes.iter().enumerate() {
            for (victim, &distance) in node.distances.iter().enumerate() {
                let after_ns = match thief == victim || policy.one_queue() {
                    true => mpg_policy::NEVER,
                    false => mpg_policy::steal_after_ns(settings.params.steal_after_ns, distance),
                };
                self.shared.set_steal_after(thief, victim, after_ns);
            }
        }
        self.shared.set_one_queue(policy.one_queue());
        let edition = self.choices.publish(settings.params, policy);
        // Last, for with this all that was decided before stands no more.
        self.shared.set_params(&kernel_params(settings, edition));
        self.choices.wake_all();
    }

    /// Whether the policy in force has one queue for the whole machine.
    fn has_one_queue(&self) -> bool {
        policy_by_name(&self.history().current().policy).is_some_and(|policy| policy.one_queue())
    }

    /// Gs stolen between `node` and each other node, by the other's distance; `who` says for that
    /// one who the thief was, and who the victim.
    fn steals(&self, node: usize, who: impl Fn(usize) -> (usize, usize)) -> BTreeMap<u32, u64> {
        let nodes = &self.machine.nodes;
        let mut counts = BTreeMap::new();
        for other in (0..nodes.len()).filter(|&other| other != node) {
            let (thief, victim) = who(other);
            let distance = nodes[node].distances[other];
            *counts.entry(distance).or_default() += self.stolen(thief, victim);
        }
        counts
    }

    /// Gs that the CPUs and the worker of node `thief` took from node `victim`.
    fn stolen(&self, thief: usize, victim: usize) -> u64 {
        let cpus = &self.machine.nodes[thief].cpus;
        self.shared.taken_among(cpus, victim) + self.shared.node(thief).stolen_from(victim)
    }

    /// The nodes other than `node`, as the scheduler numbers them and as the kernel does.
    fn others(&self, node: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let ids = self.machine.nodes.iter().map(|node| node.id).enumerate();
        ids.filter(move |&(index, _)| index != node)
    }

    /// What a CPU does, as the statistics tell it.
    fn letter(&self, cpu: u16) -> char {
        let (pid, class) = self.shared.running(cpu);
        let running = (pid != 0).then_some(class);
        stats::letter(
            self.shared.is_absent(cpu),
            self.shared.is_idle(cpu),
            running,
        )
    }

    fn snapshot(&self) -> Snapshot {
        let counters: Vec<u64> = (0..mpg_counter_MPG_NR_COUNTERS as usize)
            .map(|counter| self.shared.counter(counter))
            .collect();
        let nodes: Vec<NodeSnapshot> = (0..self.machine.nodes.len())
            .map(|index| {
                let node = self.shared.node(index);
                let info = &self.machine.nodes[index];
                NodeSnapshot {
                    id: info.id,
                    queued: node.queued().into(),
                    primed: node.primed().into(),
                    custody: node.custody().into(),
                    pinned: node.pinned().into(),
                    spare: node.spare().into(),
                    idle_cpus: self.shared.idle_among(&info.cpus).into(),
                    cpus: info.cpus.iter().map(|&cpu| self.letter(cpu)).collect(),
                    started: self
                        .shared
                        .counter_among(&info.cpus, mpg_counter_MPG_COUNT_STARTED as usize),
                    average_wait_ns: node.average_wait_ns(),
                    backlog: node.events_written().saturating_sub(node.events_read()),
                    activations: node.activations(),
                    decisions: node.decisions_written(),
                    refused: REFUSED
                        .iter()
                        .map(|&why| self.shared.counter_among(&info.cpus, why as usize))
                        .sum(),
                    due_wait_ns: node.due_wait_ns(),
                    distances: self
                        .others(index)
                        .map(|(other, id)| (id, info.distances[other]))
                        .collect(),
                    steals_from: self
                        .others(index)
                        .map(|(other, id)| (id, self.stolen(index, other)))
                        .collect(),
                    steals_in: self.steals(index, |other| (index, other)),
                    steals_out: self.steals(index, |other| (other, index)),
                    preemptions: self.shared.preempted_among(&info.cpus),
                    fallbacks: node.fallbacks().into(),
                    vclock_ns: node.vclock(),
                    worker_runtime_ns: node.worker_runtime_ns(),
                    longest_step_ns: node.worker_longest_ns(),
                    fallback: node.fallback() != 0,
                }
            })
            .collect();
        let class = |class| ClassSnapshot {
            waits: Histogram::new(self.shared.waits(class)),
            given_ns: self.shared.given_ns(class),
            used_ns: self.shared.used_ns(class),
        };
        let lost = stats::lost(&counters, &nodes);
        Snapshot {
            uptime: self.started.elapsed(),
            counters,
            nodes,
            classes: (0..CLASSES.len()).map(class).collect(),
            lifetimes: Histogram::new(self.shared.lifetimes()),
            lost,
            memory: self.memory.tally(),
            alerts: self.alerts.standing(),
            settings: self.history().current().clone(),
        }
    }
}

/// What the kernel half needs of the settings.
fn kernel_params(settings: &Settings, edition: u64) -> mpg_params {
    let params = &settings.params;
    let expects_runs =
        mpg_policy::policy_by_name(&settings.policy).is_some_and(|policy| policy.expects_runs());
    mpg_params {
        slice_ns: params.slice_ns,
        slice_min_ns: params.slice_min_ns,
        sleep_credit_ns: params.sleep_credit_ns,
        batch_events: params.batch_events.into(),
        batch_ns: params.batch_ns,
        fallback_after_ns: settings.fallback_after_ms * 1_000_000,
        starvation_bound_ns: params.starvation_bound_ns,
        short_run_ns: if expects_runs { params.short_run_ns } else { 0 },
        runnext_ns: if expects_runs { params.runnext_ns } else { 0 },
        primed_per_cpu: params.primed_high_per_cpu.into(),
        edition,
    }
}

/// Schedules the machine until a signal, an error, or the kernel ends it.
///
/// # Errors
/// If the scheduler cannot be loaded, or ended for another reason than being asked to. The machine
/// is back on its own scheduler in either case.
pub fn run(cli: &Cli, kernel: Kernel) -> Result<()> {
    let settings = cli.settings()?;
    let machine = Machine::read()?;
    let policy = policy_by_name(&settings.policy).context("the policy was found valid before")?;

    let group = cli.control_group.as_deref().map(group_id).transpose()?;
    // Before any thread is started, for each of them has to have the signal blocked.
    let hangup = match cli.config {
        Some(_) => Some(Hangup::block().context("cannot block SIGHUP")?),
        None => None,
    };

    // Before anything is loaded: an address that is not to be had is a mistake.
    let metrics = cli.metrics.iter();
    let metrics = metrics.map(|at| openmetrics::listen(at, group));
    let metrics: Vec<Endpoint> = metrics.collect::<Result<_>>()?;

    // From here on a page fault could wait for a task that waits for us.
    scx_rustland_core::ALLOCATOR.lock_memory();
    let _unlock = Unlock;

    let stop = Arc::new(AtomicBool::new(false));
    let stop_by_signal = Arc::clone(&stop);
    let main = std::thread::current();
    ctrlc::set_handler(move || {
        stop_by_signal.store(true, Ordering::Relaxed);
        main.unpark();
    })
    .context("cannot catch signals")?;

    let choices = Arc::new(Choices::new(settings.params, policy));
    let (mut bridge, rings) = Bridge::load(&LoadOptions {
        machine: &machine,
        kernel,
        partial: settings.partial,
        verbose: cli.verbose,
        exit_dump_len: cli.exit_dump_len,
        open_opts: cli.libbpf.clone().into_bpf_open_opts(),
        params: kernel_params(&settings, choices.edition()),
    })?;
    let maps = bridge.memory_maps()?;
    let memory = Watch::start(&machine, bridge.shared(), maps, settings.memory)?;
    let controls = Arc::new(Controls {
        machine: machine.clone(),
        shared: Arc::clone(bridge.shared()),
        choices: Arc::clone(&choices),
        memory,
        history: Mutex::new(History::new(settings)),
        alerts: Arc::default(),
        recorder: Recorder::new(bridge.shared(), bridge.watch_maps()?, &machine),
        started: Instant::now(),
    });
    controls.publish(controls.history().current());

    let mut workers = Workers::start(&machine, bridge.shared(), rings, &choices)?;
    let ask = Arc::clone(&controls);
    let control = control::serve(
        control::SOCKET_PATH.as_ref(),
        group,
        move |request, peer| ask.handle(request, peer),
        Arc::clone(&stop),
    )?;
    bridge.attach()?;
    info!(
        "scx_mpg schedules {} CPUs in {} nodes",
        machine.online.iter().filter(|&&online| online).count(),
        machine.nodes.len()
    );

    let read: stats::Reader = {
        let controls = Arc::clone(&controls);
        Arc::new(move || controls.snapshot())
    };
    // Statistics are a convenience: the scheduler runs without them.
    let served = stats::serve(Arc::clone(&read), group)
        .inspect_err(|e| log::warn!("statistics are not served: {e:#}"))
        .ok();
    let metrics: Vec<openmetrics::Server> = metrics
        .into_iter()
        .filter_map(|endpoint| {
            let serving = endpoint.serve(Families::new(Arc::clone(&read)));
            serving.inspect_err(|e| log::warn!("{e:#}")).ok()
        })
        .collect();
    let reporter = cli.stats.map(|interval| {
        let (read, stop) = (Arc::clone(&read), Arc::clone(&stop));
        std::thread::spawn(move || {
            stats::report(interval, &stop, &read).unwrap_or_else(|e| log::warn!("{e}"));
        })
    });

    let looker = Arc::new(bridge.looker()?);
    let tracer = |looker| Tracer {
        machine: machine.clone(),
        shared: Arc::clone(bridge.shared()),
        looker,
        started: controls.started,
    };
    let alerts = Arc::clone(&controls.alerts);
    let mut health = Health::start(tracer(Some(Arc::clone(&looker))), alerts, &stop)?;
    let tracing = cli.schedtrace.map(|interval| {
        let tracer = tracer(cli.scheddetail.then_some(looker));
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            schedtrace::print(interval, &stop, &tracer)
                .unwrap_or_else(|e| log::warn!("no trace any more: {e:#}"));
        })
    });

    let mut homes = Homes::new(&controls.machine, &controls.shared);
    let mut balancer = Balancer::new(&controls.machine);
    let has_fault = || workers.has_fault() || health.has_fault();
    while !stop.load(Ordering::Relaxed) && !bridge.has_exited() && !has_fault() {
        controls.look_at_the_time(&mut controls.history(), Instant::now());
        if hangup.as_ref().is_some_and(Hangup::came) {
            controls.reload(cli);
        }
        homes.bring_back(&controls.machine, &controls.shared);
        let is_busy =
            !controls.has_one_queue() && balancer.look(&controls.machine, &controls.shared);
        let rest = match is_busy {
            true => balancer::LOOK_EVERY,
            false => LOOK_EVERY,
        };
        // A signal ends the rest.
        std::thread::park_timeout(rest);
    }

    stop.store(true, Ordering::Relaxed);
    controls.memory.stop();
    let exit = bridge.detach();
    let worked = workers.stop().and(health.stop());
    drop((served, metrics, control));
    for thread in [reporter, tracing].into_iter().flatten() {
        thread.join().ok();
    }
    let last = controls.snapshot();
    farewell(&last);
    worked?;
    exit.report()?;
    // Detached, nothing can wait any more: what does not add up was lost.
    let lost = last.lost + waiting(&last);
    if lost != 0 {
        bail!("{lost} tasks entered a queue and neither ran nor left it: please report this");
    }
    Ok(())
}

/// The number of the group called `name`.
fn group_id(name: &str) -> Result<u32> {
    match nix::unistd::Group::from_name(name).context("cannot look up groups")? {
        Some(group) => Ok(group.gid.as_raw()),
        None => bail!("there is no group {name:?}: choose one that `getent group` lists"),
    }
}

fn waiting(snapshot: &Snapshot) -> i64 {
    snapshot
        .nodes
        .iter()
        .map(|node| (node.primed + node.custody) as i64)
        .sum()
}

/// The sums of a run in one line, conservation first.
fn farewell(last: &Snapshot) {
    let total = stats::Metrics::between(&Snapshot::default(), last);
    if total.runs_home + total.runs_away > 0 {
        println!(
            "memory: {} of {} runs at home; {} looks, {:.1} ms of CPU time",
            total.runs_home,
            total.runs_home + total.runs_away,
            total.memory_looks,
            total.memory_us / 1000.0
        );
    }
    println!(
        "conservation: entered {} = started {} + cancelled {}, lost {}; {} decisions in {} \
         activations; {} direct, {} leased, {} undecided, {} preemptions, {} node changes; handed \
         the machine back after {:.1} s",
        total.entered,
        total.started,
        total.cancelled,
        last.lost + waiting(last),
        total.decisions,
        total.activations,
        total.direct,
        total.leased,
        total.undecided,
        total.preemptions,
        total.migrations_node,
        last.uptime.as_secs_f64()
    );
}

/// Gives back the system setting that locking the memory changed.
struct Unlock;

impl Drop for Unlock {
    fn drop(&mut self) {
        scx_rustland_core::ALLOCATOR.unlock_memory();
    }
}
