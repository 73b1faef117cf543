//! What comes in: events about Gs and views of a node.

/// What the policy takes a G for; a smaller number is served sooner.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Runs for tens of microseconds at a time and waits for nothing longer than it must.
    Latency = 0,
    /// Everything else, and every G that is not known yet.
    #[default]
    Normal = 1,
    /// Runs for as long as it is let.
    Batch = 2,
}

impl Class {
    /// All classes, soonest served first.
    pub const ALL: [Class; 3] = [Class::Latency, Class::Normal, Class::Batch];

    /// The class that `value` stands for on the wire.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Class> {
        match value {
            0 => Some(Class::Latency),
            1 => Some(Class::Normal),
            2 => Some(Class::Batch),
            _ => None,
        }
    }
}

/// A G was enqueued, and no idle CPU of its home node took it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds of the kernel's scheduling clock.
    pub at_ns: u64,
    /// The G's virtual time on the scale of its node's clock; wraps.
    pub vtime: u64,
    /// Nanoseconds that the G ran since the event before this one.
    pub runtime_ns: u64,
    /// The policy's word for this G as its last decision left it; 0 for a G never decided.
    pub cookie: u64,
    /// Nodes that hold at least one CPU that the G may use, one bit each.
    pub allowed_nodes: u64,
    /// The kernel's thread id.
    pub pid: u32,
    /// Counts the G's enqueues; wraps.
    pub generation: u32,
    /// How often the G was woken since the event before this one, this enqueue included.
    pub wakeups: u32,
    /// Share of the CPU, 1 to 10000; 100 is nice 0. Values outside are taken as the nearest.
    pub weight: u32,
    /// The CPU that the G ran on last.
    pub cpu: u16,
    /// The node in whose ring the event was written, 0 to 63.
    pub node: u16,
    /// The G waits in custody for a decision; otherwise it is primed and the event only reports.
    pub waiting: bool,
    /// The G slept before this enqueue; otherwise its slice ran out or it was preempted.
    pub wakeup: bool,
    /// The G may not use every CPU of the machine.
    pub restricted: bool,
    /// The G is of SCHED_BATCH: its user says that it is not latency-sensitive.
    pub batch: bool,
    /// The class that the user's rules give the G.
    pub rule: Option<Class>,
    /// The class that the kernel half has for the G.
    pub class: Class,
}

/// A node as its shared memory showed it at the start of the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Largest virtual time that a G of this node has started from; wraps.
    pub vclock: u64,
    /// Gs decided and waiting.
    pub primed: u32,
    /// Gs waiting undecided.
    pub custody: u32,
    /// CPUs with nothing to run. Only a theft asks, and only of the thief's node.
    pub idle_cpus: u32,
    /// CPUs online.
    pub cpus: u32,
}

impl NodeView {
    /// Gs waiting in the kernel half.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.primed as u64 + self.custody as u64
    }

    /// Whole Gs waiting for each CPU. A node between its last CPU and its first counts as having
    /// one.
    #[must_use]
    pub const fn waiting_per_cpu(&self) -> u64 {
        let cpus = if self.cpus == 0 { 1 } else { self.cpus };
        self.waiting() / cpus as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_survives_the_wire_and_nothing_else_does() {
        for class in Class::ALL {
            assert_eq!(Class::from_u8(class as u8), Some(class));
        }
        assert!((3..=u8::MAX).all(|value| Class::from_u8(value).is_none()));
    }

    #[test]
    fn a_node_without_cpus_does_not_divide_by_zero() {
        let view = NodeView {
            primed: u32::MAX,
            custody: u32::MAX,
            ..NodeView::default()
        };
        assert_eq!(view.waiting_per_cpu(), 2 * u64::from(u32::MAX));
    }
}
