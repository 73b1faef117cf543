//! By when a G is due: what the policies that order by virtual time have in common.
//!
//! # Terms
//!
//! - **credit**: how far behind the node's clock a sleeper's virtual time may lie; smaller for
//!   weights under that of nice 0, so that what was put back does not come first by sleeping. A G
//!   that did not sleep is behind because it had to wait, and keeps what it is due.
//! - **start**: from where the G's turn counts, its virtual time within bounds.
//! - **offset**: a time in the G's own virtual time, `time * 100 / weight`.
//!
//! # Properties
//!
//! - The start of a G that slept lies within `credit` behind the clock, so that nobody shuts others
//!   out for longer by having slept; any start lies within [`AHEAD_MAX_NS`] of the clock.
//! - Of two times the longer has the offset that is no shorter, of two weights the heavier the one
//!   that is no longer; none exceeds [`AHEAD_MAX_NS`].

use crate::constants::*;
use crate::{clock, Event, NodeView, Params};

fn weight(event: &Event) -> u64 {
    u64::from(event.weight.clamp(WEIGHT_MIN, WEIGHT_MAX))
}

/// From where the turn of the event's G counts.
pub(crate) fn start(event: &Event, view: &NodeView, params: &Params) -> u64 {
    let nice_0 = u64::from(WEIGHT_NICE_0);
    let credit_ns = params.sleep_credit_ns.min(SLEEP_CREDIT_MAX_NS);
    let behind_ns = match event.wakeup {
        true => credit_ns * weight(event).min(nice_0) / nice_0,
        false => AHEAD_MAX_NS,
    };
    let ahead = clock::ahead(event.vtime, view.vclock);
    let ahead = ahead.clamp(-(behind_ns as i64), AHEAD_MAX_NS as i64);
    clock::moved(view.vclock, ahead)
}

/// `time_ns` of the event's G in its own virtual time.
pub(crate) fn offset(time_ns: u64, event: &Event) -> u64 {
    time_ns.min(SLICE_MAX_NS) * u64::from(WEIGHT_NICE_0) / weight(event)
}
