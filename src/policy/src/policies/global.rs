//! The order of `mpg` in one queue for the whole machine: what nodes are worth, by doing without.
//!
//! All CPUs are one node's here, so what it shows beside `mpg` is the price of a queue that all of
//! them share and of Gs that go wherever a CPU is free, far from the caches and the memory that
//! they had.

use super::mpg::Mpg;
use super::{Judgement, Policy};
use crate::{Event, NodeView, Params};

pub(super) struct Global;

impl Policy for Global {
    fn name(&self) -> &'static str {
        "global"
    }

    fn about(&self) -> &'static str {
        "as mpg, with one queue for all nodes, for comparison"
    }

    fn one_queue(&self) -> bool {
        true
    }

    fn judge(&self, now_ns: u64, event: &Event, view: &NodeView, params: &Params) -> Judgement {
        Mpg.judge(now_ns, event, view, params)
    }
}
