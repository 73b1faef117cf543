//! The policies to choose from. Adding one is a file and a line in [`POLICIES`].

mod fifo;
mod global;
mod latency;
mod mpg;
mod throughput;

use crate::{Class, Event, NodeView, Params};

/// What a policy makes of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the G is taken for.
    pub class: Class,
    /// Orders the G, on the scale of the node's clock and near it: within a quarter of the range.
    pub deadline: u64,
    /// Orders the G in the generations of the lease: added to its virtual time by then.
    pub deadline_offset: u64,
    /// How long the G may run; never 0.
    pub slice_ns: u64,
    /// What to remember of the G.
    pub cookie: u64,
    /// How many more generations this holds for.
    pub lease: u16,
}

/// A policy judges each G once per event, and the deadline it gives orders the G from then on.
///
/// Plain values in and out: a policy keeps nothing between calls but what it leaves in the cookie,
/// so one instance serves all nodes, and a switch of policy has nothing to carry over. A cookie
/// that another policy left must be recognised as such, and is best left as it is.
pub trait Policy: Sync {
    /// The name that it is chosen by.
    fn name(&self) -> &'static str;

    /// One line for a person who chooses.
    fn about(&self) -> &'static str;

    /// Whether a G's order may follow from what is expected of it: a short run goes before others
    /// ([`Params::short_run_ns`]), and who sleeps at once leaves the CPU to whom it woke
    /// ([`Params::runnext_ns`]).
    fn expects_runs(&self) -> bool {
        true
    }

    /// Whether one queue serves the whole machine: the first node's, in which every CPU counts as
    /// one of that node, and nobody steals.
    fn one_queue(&self) -> bool {
        false
    }

    /// Judges the G of `event`.
    fn judge(&self, now_ns: u64, event: &Event, view: &NodeView, params: &Params) -> Judgement;
}

/// All policies, the default one first.
pub const POLICIES: &[&dyn Policy] = &[
    &mpg::Mpg,
    &latency::Latency,
    &throughput::Throughput,
    &fifo::Fifo,
    &global::Global,
];

/// The policy that runs unless another is asked for.
pub const DEFAULT_POLICY: &dyn Policy = POLICIES[0];

/// The policy called `name`.
#[must_use]
pub fn policy_by_name(name: &str) -> Option<&'static dyn Policy> {
    POLICIES
        .iter()
        .copied()
        .find(|policy| policy.name() == name)
}
