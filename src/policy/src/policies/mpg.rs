//! The default: earliest virtual deadline first, with slices and deadlines by class.
//!
//! # Pseudo-code
//!
//! ```text
//! class, settled = classify(event, cookie)
//! slice          = slice(class, node)
//! deadline       = start + offset(slice)         (see `due`): a G that is to run for less, or is
//!                                                of more weight, is due sooner
//! lease          = settled ? params.lease : at most 1
//! ```
//!
//! # Properties
//!
//! - Of two Gs alike but for their weight, the heavier is due no later.
//! - Deadlines lie within `AHEAD_MAX` plus one offset of the clock, whatever the event says, and
//!   those of sleepers not further behind than `credit`.

use super::{Judgement, Policy};
use crate::classify::Behaviour;
use crate::{due, slice_ns, Event, NodeView, Params};

pub(super) struct Mpg;

impl Policy for Mpg {
    fn name(&self) -> &'static str {
        "mpg"
    }

    fn about(&self) -> &'static str {
        "earliest virtual deadline first; latency-sensitive, normal and batch tasks told apart"
    }

    fn judge(&self, _now_ns: u64, event: &Event, view: &NodeView, params: &Params) -> Judgement {
        let known = Behaviour::after(event, params.latency_slice_ns);
        let class = known.behaviour.class;
        let slice_ns = slice_ns(class, view, params);
        let deadline_offset = due::offset(slice_ns, event);
        Judgement {
            class,
            deadline: due::start(event, view, params).wrapping_add(deadline_offset),
            deadline_offset,
            slice_ns,
            cookie: known.behaviour.pack(),
            lease: known.lease(params),
        }
    }
}
