//! The default: earliest virtual deadline first, with slices and deadlines by class.
//!
//! # Terms
//!
//! - **credit**: how far behind the node's clock a sleeper's virtual time may lie; smaller for
//!   weights under that of nice 0, so that what was put back does not come first by sleeping.
//! - **offset**: the slice in the G's own virtual time, `slice * 100 / weight`: a G that is to run
//!   for less, or is of more weight, is due sooner.
//!
//! # Pseudo-code
//!
//! ```text
//! class, settled = classify(event, cookie)
//! slice          = slice(class, node)
//! deadline       = clamp(vtime, vclock - credit, vclock + AHEAD_MAX) + offset
//! lease          = settled ? params.lease : at most 1
//! ```
//!
//! # Properties
//!
//! - Of two Gs alike but for their weight, the heavier is due no later.
//! - Deadlines lie within `credit` behind and `AHEAD_MAX` plus one offset ahead of the clock,
//!   whatever the event says.

use super::{Judgement, Policy};
use crate::classify::Behaviour;
use crate::constants::*;
use crate::{clock, slice_ns, Event, NodeView, Params};

pub(super) struct Mpg;

impl Policy for Mpg {
    fn name(&self) -> &'static str {
        "mpg"
    }

    fn about(&self) -> &'static str {
        "earliest virtual deadline first; latency-sensitive, normal and batch tasks told apart"
    }

    fn judge(&self, _now_ns: u64, event: &Event, view: &NodeView, params: &Params) -> Judgement {
        let weight = u64::from(event.weight.clamp(WEIGHT_MIN, WEIGHT_MAX));
        let nice_0 = u64::from(WEIGHT_NICE_0);
        let known = Behaviour::after(event, params.latency_slice_ns);
        let class = known.behaviour.class;
        let slice_ns = slice_ns(class, view, params);
        let deadline_offset = slice_ns.min(SLICE_MAX_NS) * nice_0 / weight;

        let credit_ns = params.sleep_credit_ns.min(SLEEP_CREDIT_MAX_NS);
        let credit_ns = credit_ns * weight.min(nice_0) / nice_0;
        let ahead = clock::ahead(event.vtime, view.vclock);
        let ahead = ahead.clamp(-(credit_ns as i64), AHEAD_MAX_NS as i64);
        Judgement {
            class,
            deadline: clock::moved(view.vclock, ahead).wrapping_add(deadline_offset),
            deadline_offset,
            slice_ns,
            cookie: known.behaviour.pack(),
            lease: match known.settled {
                true => params.lease,
                false => params.lease.min(UNSETTLED_LEASE),
            },
        }
    }
}
