//! For waits that are short: whoever is expected to run for the least time is due first, and
//! slices are short.
//!
//! # Terms
//!
//! - **expected**: how long the G will run until it sleeps: the average of its runs, or what the
//!   present one has taken if that is more. Of a G that nobody knows, a slice.
//!
//! # Pseudo-code
//!
//! ```text
//! slice    = a quarter of the class's, not under slice_min; of latency-sensitive Gs as it is
//! deadline = start + offset(class's slice + expected)            (see `due`)
//! ```
//!
//! The start is what the G has had, so that shares are by weight in the long run and a short
//! runner comes first only until it has had its share. It differs from `mpg` in the round: there a
//! G waits for those of its class that came before it, here for those that will be done before it.
//! The round is as long as there, so that who runs for a moment ([`Params::short_run_ns`]) is as far
//! ahead of all others as there; without it, who has waited for long is due before them.
//!
//! # Properties
//!
//! - Of two Gs alike but for what they are expected to run, the shorter is due no later.
//! - No slice is longer than that of `mpg` for the same class.

use super::{Judgement, Policy};
use crate::classify::Behaviour;
use crate::constants::{AVERAGE_MAX_NS, LATENCY_POLICY_SLICE_DIVISOR};
use crate::{due, slice_ns, Class, Event, NodeView, Params};

pub(super) struct Latency;

impl Policy for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn about(&self) -> &'static str {
        "shortest expected run first, in short slices"
    }

    fn judge(&self, _now_ns: u64, event: &Event, view: &NodeView, params: &Params) -> Judgement {
        let known = Behaviour::after(event, params.latency_slice_ns);
        let behaviour = known.behaviour;
        let usual_ns = slice_ns(behaviour.class, view, params);
        let slice_ns = match behaviour.class {
            Class::Latency => usual_ns,
            Class::Normal | Class::Batch => (usual_ns / LATENCY_POLICY_SLICE_DIVISOR)
                .max(params.slice_min_ns)
                .min(usual_ns)
                .max(1),
        };
        let expected_ns = match behaviour.sampled {
            true => behaviour.average_ns.max(behaviour.spree_ns),
            false => params.slice_ns.max(behaviour.spree_ns),
        };
        let offset_ns = usual_ns.saturating_add(expected_ns.min(AVERAGE_MAX_NS));
        let deadline_offset = due::offset(offset_ns, event);
        Judgement {
            class: behaviour.class,
            deadline: due::start(event, view, params).wrapping_add(deadline_offset),
            deadline_offset,
            slice_ns,
            cookie: behaviour.pack(),
            lease: known.lease(params),
        }
    }
}
