//! What /proc/stat tells of the machine: context switches, and how busy each NUMA node's CPUs were over time.

use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::topology::Topology;

/// Time between two samples. The kernel counts in hundredths of a second, so a sample of one CPU has 25 steps.
pub const EVERY: Duration = Duration::from_millis(250);

/// /proc/stat at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Context switches of the whole machine since it booted.
    pub context_switches: Option<u64>,
    /// By CPU number, of those that are online.
    cpus: Vec<(usize, Ticks)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    idle: u64,
}

impl Stat {
    /// Asks the kernel; empty where /proc is not mounted.
    pub fn now() -> Self {
        fs::read_to_string("/proc/stat").map_or_else(|_| Stat::default(), |text| Stat::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut stat = Stat::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let Some(key) = words.next() else { continue };
            if key == "ctxt" {
                stat.context_switches = words.next().and_then(|word| word.parse().ok());
            } else if let Some(cpu) = key.strip_prefix("cpu").and_then(|n| n.parse().ok()) {
                stat.cpus.push((cpu, Ticks::parse(words)));
            }
        }
        stat
    }

    /// Share of each node's CPU time since `earlier` that was not idle, in the order of the topology's nodes.
    fn busy_since(&self, earlier: &Stat, topology: &Topology) -> Vec<f64> {
        let share = |&node: &usize| {
            let mut sum = Ticks::default();
            for (cpu, now) in &self.cpus {
                // A CPU that has come meanwhile has no earlier ticks, and its whole past would count.
                let before = earlier.cpus.iter().find(|(number, _)| number == cpu);
                if let (Some(of), Some((_, before))) = (topology.node_of(*cpu), before) {
                    if of == node {
                        sum.busy += now.busy.saturating_sub(before.busy);
                        sum.idle += now.idle.saturating_sub(before.idle);
                    }
                }
            }
            let all = (sum.busy + sum.idle).max(1);
            // Three digits are more than the ticks give.
            (sum.busy as f64 / all as f64 * 1e3).round() / 1e3
        };
        topology.node_numbers().iter().map(share).collect()
    }
}

impl Ticks {
    /// In the kernel's order: user, nice, system, idle, iowait, irq, softirq, steal. The two that follow, a guest's
    /// time, are in user and nice already.
    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut ticks = Ticks::default();
        for (place, word) in words.take(8).enumerate() {
            let count: u64 = word.parse().unwrap_or(0);
            match place {
                3 | 4 => ticks.idle += count,
                _ => ticks.busy += count,
            }
        }
        ticks
    }
}

/// How busy the nodes were, sample by sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Heat {
    /// Time between two samples, in seconds.
    every_s: f64,
    /// By node, in the order of their numbers, and by time: share of CPU time that was not idle, 0 to 1.
    nodes: Vec<Vec<f64>>,
}

/// Takes the samples.
pub struct Sampler {
    before: Stat,
    heat: Heat,
}

impl Sampler {
    /// Begins with what the kernel says now.
    pub fn start(topology: &Topology) -> Self {
        Sampler {
            before: Stat::now(),
            heat: Heat {
                every_s: EVERY.as_secs_f64(),
                nodes: vec![Vec::new(); topology.nodes()],
            },
        }
    }

    /// Adds the time since the last sample.
    pub fn sample(&mut self, topology: &Topology) {
        let now = Stat::now();
        let shares = now.busy_since(&self.before, topology);
        for (node, share) in self.heat.nodes.iter_mut().zip(shares) {
            node.push(share);
        }
        self.before = now;
    }

    /// All samples.
    pub fn finish(self) -> Heat {
        self.heat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = "cpu  40 0 0 400 0 0 0 0 0 0
cpu0 10 0 0 100 0 0 0 0 0 0
cpu1 10 0 0 100 0 0 0 0 0 0
cpu2 10 0 0 100 0 0 0 0 5 5
intr 12345 0 0
ctxt 1000
";
    const LATER: &str = "cpu  0 0 0 0 0 0 0 0 0 0
cpu0 20 2 3 100 0 4 5 1 0 0
cpu1 10 0 0 120 5 0 0 0 0 0
cpu2 20 0 0 130 0 0 0 0 9 9
cpu3 99 0 0 0 0 0 0 0 0 0
ctxt 1500
";

    #[test]
    fn shares_are_of_each_nodes_own_cpus() {
        let topology = Topology::of(&[0, 0, 1, 1]);
        let (earlier, later) = (Stat::parse(EARLIER), Stat::parse(LATER));
        assert_eq!(earlier.context_switches, Some(1000));
        assert_eq!(later.context_switches, Some(1500));
        // Node 0: 25 of 50 ticks busy; node 1: 10 of 40, and CPU 3 came in between.
        assert_eq!(later.busy_since(&earlier, &topology), [0.5, 0.25]);
    }

    #[test]
    fn no_time_passed_is_not_busy() {
        let stat = Stat::parse(EARLIER);
        assert_eq!(
            stat.busy_since(&stat, &Topology::of(&[0, 0, 1])),
            [0.0, 0.0]
        );
        assert_eq!(Stat::parse(""), Stat::default());
    }

    #[test]
    fn this_machine_switches() {
        assert!(Stat::now().context_switches > Some(0));
    }
}
