//! How long may this G run?
//!
//! # Terms
//!
//! - **w**: whole Gs waiting per CPU of the node.
//!
//! # Pseudo-code
//!
//! ```text
//! normal  = slice / (1 + w),           not under slice_min
//! batch   = the longer of batch_slice and slice, but so that a round of 1 + w slices fits into
//!           the starvation bound, not under slice_min
//! latency = latency slice, not over normal
//! ```
//!
//! A batch G gains from a long slice and harms nobody by it as long as others preempt it; only
//! other batch Gs wait, and they must not wait into the starvation bound.
//!
//! # Properties
//!
//! - latency <= normal <= batch, normal <= `slice_ns`, and batch <= the longer of that and
//!   `batch_slice_ns`, on valid parameters.
//! - No slice grows when more Gs wait.
//! - No slice is under the smaller of `slice_min_ns` and `latency_slice_ns`, none is 0.

use crate::{Class, NodeView, Params};

/// The slice of a G of this class on a node that looks like this.
#[must_use]
pub fn slice_ns(class: Class, view: &NodeView, params: &Params) -> u64 {
    let turns = view.waiting_per_cpu() + 1;
    // Parameters that were never validated must not panic here, so no `clamp`.
    let bounded =
        |slice_ns: u64, most_ns: u64| slice_ns.max(params.slice_min_ns).min(most_ns).max(1);
    let normal = bounded(params.slice_ns / turns, params.slice_ns);
    match class {
        Class::Latency => params.latency_slice_ns.min(normal).max(1),
        Class::Normal => normal,
        Class::Batch => bounded(
            params.starvation_bound_ns / turns,
            params.batch_slice_ns.max(params.slice_ns),
        ),
    }
}
