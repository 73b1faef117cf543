//! Machines, loads and faults.

use mpg_policy::{Params, DEFAULT_POLICY};

use crate::rng::Rng;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// What a G does with its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs for as long as it is let.
    Hog,
    /// Runs for `run_ns`, every `period_ns`.
    Timer {
        /// From one wakeup to the next.
        period_ns: u64,
        /// What it needs each time.
        run_ns: u64,
    },
    /// Runs for 250 to 800 us, sleeps for 100 us: a server's worker.
    Worker,
    /// Runs for 10 to 40 us, wakes the G with number `partner`, and sleeps until it is woken.
    Message {
        /// Whom it wakes.
        partner: usize,
    },
    /// Runs for 30 us every 2 ms, as a timer does, and from `from_ns` on for as long as it is let.
    Abuser {
        /// From when on.
        from_ns: u64,
    },
    /// Starts at `at_ns`, runs for `run_ns` in all, and is gone: one of a burst of forks.
    Burst {
        /// When it is forked.
        at_ns: u64,
        /// What it needs in all.
        run_ns: u64,
    },
}

impl Kind {
    /// How long it runs until it sleeps next, woken at `now_ns`.
    pub(crate) fn run_ns(self, now_ns: u64, rng: &mut Rng) -> u64 {
        match self {
            Kind::Hog => u64::MAX,
            Kind::Abuser { from_ns } if now_ns >= from_ns => u64::MAX,
            Kind::Abuser { .. } => 30 * US,
            Kind::Timer { run_ns, .. } | Kind::Burst { run_ns, .. } => run_ns.max(1),
            Kind::Worker => rng.between(250 * US, 800 * US),
            Kind::Message { .. } => rng.between(10 * US, 40 * US),
        }
    }
}

/// A G at the start.
#[derive(Clone, Copy, Debug)]
pub struct GSpec {
    /// What it does.
    pub kind: Kind,
    /// Its share, 100 is nice 0.
    pub weight: u32,
    /// CPUs that it may use, one bit each; bits beyond the machine are ignored.
    pub cpus: u64,
}

impl GSpec {
    /// A G of this kind, of weight 100, that may go anywhere.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        GSpec {
            kind,
            weight: 100,
            cpus: u64::MAX,
        }
    }
}

/// What goes wrong, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Steps of a worker, in percent, that come milliseconds late.
    pub late_percent: u64,
    /// No worker ever answers.
    pub dead: bool,
    /// Decisions, in percent, that are carried out twice.
    pub doubled_percent: u64,
    /// Decisions, in percent, that name any node, or one that is not there.
    pub astray_percent: u64,
    /// Events that a node's ring holds; more are dropped.
    pub ring_slots: usize,
    /// Gs that a P holds.
    pub p_slots: usize,
    /// Policy and parameters are switched this often.
    pub switch_every_ns: Option<u64>,
    /// Some G's CPUs are changed this often.
    pub affinity_every_ns: Option<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            late_percent: 0,
            dead: false,
            doubled_percent: 0,
            astray_percent: 0,
            ring_slots: 8_192,
            p_slots: 8_192,
            switch_every_ns: None,
            affinity_every_ns: None,
        }
    }
}

/// A machine, its load and its faults. Nodes times CPUs is at most 64.
#[derive(Clone, Debug)]
pub struct Shape {
    /// NUMA nodes, at least one.
    pub nodes: usize,
    /// CPUs of each, at least one.
    pub cpus_per_node: usize,
    /// Distance from one node to another; to itself it is 10.
    pub distance: u32,
    /// The load.
    pub gs: Vec<GSpec>,
    /// Parameters at the start.
    pub params: Params,
    /// Name of the policy at the start.
    pub policy: &'static str,
    /// What goes wrong.
    pub faults: Faults,
    /// After this long, no G takes up anything new, and what was begun is finished.
    pub duration_ns: u64,
}

impl Shape {
    /// A machine without faults that runs these Gs for a second.
    #[must_use]
    pub fn of(nodes: usize, cpus_per_node: usize, gs: Vec<GSpec>) -> Self {
        Shape {
            nodes,
            cpus_per_node,
            distance: 20,
            gs,
            params: Params::default(),
            policy: DEFAULT_POLICY.name(),
            faults: Faults::default(),
            duration_ns: 1_000 * MS,
        }
    }

    /// Any machine with any load and any faults, small enough for a test.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let nodes = rng.between(1, 4) as usize;
        let cpus_per_node = rng.between(1, 4) as usize;
        let cpus = nodes * cpus_per_node;
        let mut gs = Vec::new();
        let count = rng.between(1, 5 * cpus as u64) as usize;
        while gs.len() < count {
            let kind = match rng.between(0, 4) {
                0 => Kind::Hog,
                1 => Kind::Worker,
                2 => Kind::Timer {
                    period_ns: rng.between(200 * US, 5 * MS),
                    run_ns: rng.between(5 * US, 300 * US),
                },
                3 => {
                    gs.push(GSpec::of(Kind::Message {
                        partner: gs.len() + 1,
                    }));
                    Kind::Message {
                        partner: gs.len() - 1,
                    }
                }
                _ => Kind::Burst {
                    at_ns: rng.between(0, 4) * 4 * MS,
                    run_ns: rng.between(10 * US, 20 * MS),
                },
            };
            gs.push(GSpec::of(kind));
        }
        for g in &mut gs {
            if rng.percent(30) {
                g.weight = [1, 10, 50, 300, 10_000][rng.between(0, 4) as usize];
            }
            if rng.percent(20) {
                g.cpus = rng.next() | 1 << rng.between(0, cpus as u64 - 1);
            }
        }
        let often = |rng: &mut Rng| rng.percent(50).then(|| rng.between(MS, 8 * MS));
        let faults = Faults {
            late_percent: [0, 5, 50][rng.between(0, 2) as usize],
            dead: rng.percent(10),
            doubled_percent: [0, 20][rng.between(0, 1) as usize],
            astray_percent: [0, 20][rng.between(0, 1) as usize],
            ring_slots: rng.between(1, 64) as usize,
            p_slots: rng.between(0, 32) as usize,
            switch_every_ns: often(&mut rng),
            affinity_every_ns: often(&mut rng),
        };
        Shape {
            distance: rng.between(11, 40) as u32,
            params: random_params(&mut rng),
            faults,
            duration_ns: 20 * MS,
            ..Shape::of(nodes, cpus_per_node, gs)
        }
    }

    pub(crate) fn cpus(&self) -> usize {
        self.nodes * self.cpus_per_node
    }

    pub(crate) fn distances(&self) -> Vec<u32> {
        let at = |at: usize| match at / self.nodes == at % self.nodes {
            true => mpg_policy::constants::DISTANCE_LOCAL as u32,
            false => self.distance,
        };
        (0..self.nodes * self.nodes).map(at).collect()
    }
}

/// Valid parameters, far from the defaults as well as near.
pub(crate) fn random_params(rng: &mut Rng) -> Params {
    let slice_ns = rng.between(100 * US, 10 * MS);
    let params = Params {
        slice_ns,
        slice_min_ns: rng.between(50 * US, slice_ns),
        latency_slice_ns: rng.between(50 * US, slice_ns),
        batch_slice_ns: rng.between(100 * US, 10 * MS),
        sleep_credit_ns: rng.between(0, 20 * MS),
        starvation_bound_ns: slice_ns.max(MS) + rng.between(0, 50 * MS),
        oldest_every: rng.between(1, 100) as u32,
        lease: rng.between(0, 32) as u16,
        primed_high_per_cpu: rng.between(1, 4) as u32,
        steal_after_ns: rng.between(0, 3 * MS),
        batch_events: rng.between(1, 16) as u32,
        batch_ns: rng.between(0, MS),
        ..Params::default()
    };
    params.validate().expect("drawn from the ranges");
    params
}
