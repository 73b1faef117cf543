//! The measured window: opened and closed by the main thread while the load's threads run.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::counts::{self, Counters, MigrationCounts, Switches};
use crate::gate::Gate;
use crate::heat::{self, Heat, Sampler, Stat};
use crate::idle::{IdleFigures, IdleWatch};
use crate::runs::{RunWatch, Runs};
use crate::say;
use crate::topology::Topology;

/// How often the main thread wakes in the window, to drain the rings: as often as schbench's, which counts then.
const PULSE: Duration = Duration::from_secs(1);

/// A window to come.
pub struct Window {
    warmup: Duration,
    length: Duration,
    counters: Option<Counters>,
    /// How often each of the load's threads had moved when the window opened.
    moves_before: HashMap<i32, u64>,
    own: Own,
    heat: bool,
    sampler: Option<Sampler>,
    idle: bool,
    idle_watch: Option<IdleWatch>,
    runs: Option<RunWatch>,
}

/// Which tasks are the load's own.
pub enum Own {
    /// This process's threads.
    Threads,
    /// They, and these processes of one thread each.
    Processes(Vec<i32>),
    /// A program's, whose threads nobody lists: their migrations cannot be told from those of others.
    Program,
}

/// What was counted between the window's edges.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// From edge to edge, in seconds.
    pub runtime_s: f64,
    /// Units of work that the load's threads completed; the load says what a unit is.
    #[serde(skip)]
    pub completed: u64,
    /// Migrations, of all tasks and of the load's own.
    #[serde(flatten)]
    pub migrations: MigrationCounts,
    /// Context switches of the load's own tasks, of both kinds.
    pub context_switches: u64,
    /// Those of them that took the CPU from a task that wanted to run on.
    pub involuntary_switches: u64,
    /// Context switches of the whole machine; `None` where /proc is not mounted.
    pub context_switches_machine: Option<u64>,
    /// How busy the nodes were over time, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heat: Option<Heat>,
    /// What idled while threads waited, where it was asked for and could be recorded.
    #[serde(flatten)]
    pub idle: Option<IdleFigures>,
    /// How often the load's own tasks were put on CPUs of each node, where the load asked for it.
    #[serde(skip)]
    pub runs: Option<Runs>,
}

impl Window {
    /// A window of `length` that opens `warmup` after the load began.
    pub fn new(warmup: Duration, length: Duration, counters: Option<Counters>) -> Self {
        Window {
            warmup,
            length,
            counters,
            moves_before: HashMap::new(),
            own: Own::Threads,
            heat: false,
            sampler: None,
            idle: false,
            idle_watch: None,
            runs: None,
        }
    }

    /// Also samples how busy the nodes are. The main thread then wakes four times as often.
    pub fn with_heat(self, heat: bool) -> Self {
        Window { heat, ..self }
    }

    /// Also records every switch, for [`IdleFigures`].
    pub fn with_idle(self, idle: bool) -> Self {
        Window { idle, ..self }
    }

    /// Also counts runs by task and node.
    pub fn with_runs(self, runs: Option<RunWatch>) -> Self {
        Window { runs, ..self }
    }

    /// Counts these tasks as the load's own.
    pub fn counting(self, own: Own) -> Self {
        Window { own, ..self }
    }

    /// From the load's start to the window's end.
    pub fn total(&self) -> Duration {
        self.warmup + self.length
    }

    /// Measures a load that is running, from the thread that started it. `completed` sums up what the load's threads
    /// have done so far; it is called once at each edge. Returns early when one of them stops the clock.
    pub fn measure(
        mut self,
        clock: &Clock,
        topology: &Topology,
        mut completed: impl FnMut() -> u64,
    ) -> Measured {
        let warm_ns = clock.now_ns().saturating_add(nanoseconds(self.warmup));
        self.wait(warm_ns, None, clock, topology);

        let edge = self.before_opening(topology);
        let done_before = completed();
        let opened_ns = clock.open();
        let end_ns = opened_ns.saturating_add(nanoseconds(self.length));
        self.wait(end_ns, None, clock, topology);
        let closed_ns = clock.close();
        let done_after = completed();

        let measured = self.after_closing(edge, opened_ns, closed_ns, topology);
        Measured {
            completed: done_after.saturating_sub(done_before),
            ..measured
        }
    }

    /// Measures work that ends by itself: calls `begin`, and closes the window once `done` is open, or a thread of the
    /// load stops the clock. The window's length and warm-up mean nothing here.
    pub fn measure_work(
        mut self,
        clock: &Clock,
        topology: &Topology,
        begin: impl FnOnce(),
        done: &Gate,
    ) -> Measured {
        let edge = self.before_opening(topology);
        let opened_ns = clock.open();
        begin();
        self.wait(u64::MAX, Some(done), clock, topology);
        let closed_ns = clock.close();
        self.after_closing(edge, opened_ns, closed_ns, topology)
    }

    fn before_opening(&mut self, topology: &Topology) -> Edge {
        let edge = Edge::now(&self.own);
        self.sampler = self.heat.then(|| Sampler::start(topology));
        self.try_counters(|counters| counters.enable());
        // While all are counted, so that own ones are never more.
        self.moves_before = self.own_moves().unwrap_or_default();
        if let Some(Err(error)) = self.runs.as_ref().map(RunWatch::enable) {
            say(&format!("runs are not counted: {error:#}"));
            self.runs = None;
        }
        if self.idle {
            let watching = IdleWatch::open(topology).and_then(|watch| {
                watch.enable()?;
                Ok(watch)
            });
            self.idle_watch = watching.map_err(idle_is_not_told).ok();
        }
        edge
    }

    fn after_closing(
        mut self,
        opened: Edge,
        opened_ns: u64,
        closed_ns: u64,
        topology: &Topology,
    ) -> Measured {
        let own_moves = self.own_moves_since_opening();
        self.try_counters(|counters| counters.disable());
        let idle = self.idle_figures();
        let runs = self.runs.take().and_then(|watch| {
            let runs = watch.finish(topology);
            runs.map_err(|error| say(&format!("runs are not counted: {error:#}")))
                .ok()
        });
        let closed = Edge::now(&self.own);
        let switches = closed.switches.since(opened.switches);
        let of_machine = |edge: &Edge| edge.stat.context_switches;
        Measured {
            runtime_s: closed_ns.saturating_sub(opened_ns) as f64 / 1e9,
            completed: 0,
            migrations: self.migrations(own_moves, topology),
            context_switches: switches.voluntary + switches.involuntary,
            involuntary_switches: switches.involuntary,
            context_switches_machine: of_machine(&closed)
                .zip(of_machine(&opened))
                .map(|(after, before)| after.saturating_sub(before)),
            heat: self.sampler.map(Sampler::finish),
            idle,
            runs,
        }
    }

    /// How often each of the load's threads has moved; only looked up where migrations are counted.
    fn own_moves(&self) -> Option<HashMap<i32, u64>> {
        self.counters.as_ref()?;
        counts::migrations_of(&self.own.threads()?)
    }

    fn own_moves_since_opening(&self) -> Option<HashMap<i32, u64>> {
        let mut moves = self.own_moves()?;
        for (thread, moves) in &mut moves {
            let before = self.moves_before.get(thread).copied().unwrap_or(0);
            *moves = moves.saturating_sub(before);
        }
        Some(moves)
    }

    fn idle_figures(&mut self) -> Option<IdleFigures> {
        let mut watch = self.idle_watch.take()?;
        let threads = self.own.threads().unwrap_or_default();
        let figures = watch.disable().and_then(|()| {
            watch.drain();
            watch.figures(&threads)
        });
        figures.map_err(idle_is_not_told).ok()
    }

    /// Waits until the clock reads `end_ns` or is stopped, or the gate is open, and does what is due meanwhile.
    fn wait(&mut self, end_ns: u64, done: Option<&Gate>, clock: &Clock, topology: &Topology) {
        let often = self.sampler.is_some() || self.idle_watch.is_some() || self.runs.is_some();
        let pulse_ns = nanoseconds(if often { heat::EVERY } else { PULSE });
        // Counted from the beginning, so that samples of one length stay in step with the time.
        let mut due_ns = clock.now_ns().saturating_add(pulse_ns);
        while !clock.stopping() {
            let now_ns = clock.now_ns();
            if now_ns >= end_ns {
                break;
            }
            let pause = Duration::from_nanos(end_ns.min(due_ns).saturating_sub(now_ns));
            match done {
                None => thread::sleep(pause),
                Some(gate) => {
                    if gate.wait_for(pause) {
                        break;
                    }
                }
            }
            if clock.now_ns() >= due_ns {
                due_ns = due_ns.saturating_add(pulse_ns);
                self.pulse(topology);
            }
        }
    }

    fn pulse(&mut self, topology: &Topology) {
        if let Some(counters) = &mut self.counters {
            counters.drain(topology);
        }
        if let Some(sampler) = &mut self.sampler {
            sampler.sample(topology);
        }
        if let Some(watch) = &mut self.idle_watch {
            watch.drain();
        }
        if let Some(runs) = &mut self.runs {
            runs.drain(topology);
        }
    }

    /// Does something with the counters, and does without them from then on if it fails.
    fn try_counters(&mut self, act: impl FnOnce(&Counters) -> anyhow::Result<()>) {
        if let Some(Err(error)) = self.counters.as_ref().map(act) {
            say(&format!("migrations are not counted: {error:#}"));
            self.counters = None;
        }
    }

    fn migrations(
        &mut self,
        own_moves: Option<HashMap<i32, u64>>,
        topology: &Topology,
    ) -> MigrationCounts {
        let Some(counters) = &mut self.counters else {
            return MigrationCounts::default();
        };
        counters.drain(topology);
        counters.counts(own_moves.as_ref()).unwrap_or_else(|error| {
            say(&format!("migrations are not counted: {error:#}"));
            MigrationCounts::default()
        })
    }
}

fn idle_is_not_told(error: anyhow::Error) {
    say(&format!("idle CPUs are not told: {error:#}"));
}

impl Own {
    fn threads(&self) -> Option<Vec<i32>> {
        let mut threads = counts::own_threads();
        threads.extend(self.children());
        (!matches!(self, Own::Program)).then_some(threads)
    }

    fn children(&self) -> &[i32] {
        match self {
            Own::Threads | Own::Program => &[],
            Own::Processes(children) => children,
        }
    }
}

/// What is read at each edge of the window.
struct Edge {
    switches: Switches,
    stat: Stat,
}

impl Edge {
    fn now(own: &Own) -> Self {
        Edge {
            switches: Switches::now(own.children()),
            stat: Stat::now(),
        }
    }
}

/// A duration in nanoseconds; the longest there is where it is longer.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_has_a_sample_for_each_pulse() {
        let topology = Topology::of(&[0, 1]);
        let window = Window::new(Duration::ZERO, Duration::from_millis(600), None).with_heat(true);
        let measured = window.measure(&Clock::start(), &topology, || 0);
        let heat = serde_json::to_value(measured.heat).unwrap_or_default();
        let samples = |node: usize| heat["nodes"][node].as_array().map(Vec::len);
        assert_eq!(
            (samples(0), samples(1), samples(2)),
            (Some(2), Some(2), None)
        );
        assert!(measured.context_switches_machine >= Some(1));
    }

    #[test]
    fn work_closes_the_window_when_it_is_done() {
        let (clock, gate) = (Clock::start(), Gate::default());
        let window = Window::new(Duration::ZERO, Duration::from_secs(3600), None);
        let begin = || gate.open();
        let measured = window.measure_work(&clock, &Topology::of(&[0]), begin, &gate);
        assert!(measured.runtime_s < 3600.0 && measured.heat.is_none());
    }
}
