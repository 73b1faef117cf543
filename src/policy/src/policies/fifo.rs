//! Arrival order and one slice for all: the yardstick for every other policy.
//!
//! The deadline is the node's clock at the arrival. It never goes back, and both the P and the
//! kernel half keep the order of arrival among equals. There is no lease, because an enqueue under
//! a lease is ordered by the G's virtual time, which is not its arrival.

use super::{Judgement, Policy};
use crate::{Class, Event, NodeView, Params};

pub(super) struct Fifo;

impl Policy for Fifo {
    fn name(&self) -> &'static str {
        "fifo"
    }

    fn about(&self) -> &'static str {
        "arrival order and one slice for all, for comparison"
    }

    fn expects_runs(&self) -> bool {
        false
    }

    fn judge(&self, _now_ns: u64, event: &Event, view: &NodeView, params: &Params) -> Judgement {
        Judgement {
            class: Class::Normal,
            deadline: view.vclock,
            deadline_offset: 0,
            slice_ns: params.slice_ns.max(1),
            cookie: event.cookie,
            lease: 0,
        }
    }
}
