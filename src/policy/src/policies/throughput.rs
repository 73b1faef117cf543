//! For work done in all: long slices, few switches, few decisions.
//!
//! # Pseudo-code
//!
//! ```text
//! class    = normal: nobody preempts anybody when he is woken
//! slice    = four of the user's, but so that a round fits into the starvation bound
//! deadline = start + offset(slice)               (see `due`): shares by weight
//! lease    = params.lease from the first decision on, since none depends on behaviour
//! ```
//!
//! # Properties
//!
//! - No slice is shorter than that of `mpg` for a normal G.
//! - What a G does changes nothing but its virtual time.

use super::{Judgement, Policy};
use crate::constants::{SLICE_MAX_NS, THROUGHPUT_POLICY_SLICES};
use crate::{due, slice_ns, Class, Event, NodeView, Params};

pub(super) struct Throughput;

impl Policy for Throughput {
    fn name(&self) -> &'static str {
        "throughput"
    }

    fn about(&self) -> &'static str {
        "four slices at a time, and no preemption by what is woken"
    }

    fn judge(&self, _now_ns: u64, event: &Event, view: &NodeView, params: &Params) -> Judgement {
        let long = Params {
            batch_slice_ns: params
                .slice_ns
                .saturating_mul(THROUGHPUT_POLICY_SLICES)
                .min(SLICE_MAX_NS),
            ..*params
        };
        let slice_ns = slice_ns(Class::Batch, view, &long);
        let deadline_offset = due::offset(slice_ns, event);
        Judgement {
            class: Class::Normal,
            deadline: due::start(event, view, params).wrapping_add(deadline_offset),
            deadline_offset,
            slice_ns,
            cookie: event.cookie,
            lease: params.lease,
        }
    }
}
