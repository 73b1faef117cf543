//! Who takes from whom, when, and how much.
//!
//! # Terms
//!
//! - **leave**: how long a G must have waited before a node at some distance may take it. The
//!   further the node, the longer: the G leaves its memory behind.
//! - **movable**: may run on the thief's node.
//!
//! # Pseudo-code
//!
//! ```text
//! steal_half: nothing, unless the thief has an idle CPU and nothing waiting,
//!                      and the victim's oldest has waited for the leave
//!             move the older half of the movable, at most STEAL_MOVES_MAX,
//!             each due as long after the thief's clock as it was after the victim's
//! ```
//!
//! # Properties
//!
//! - A note is afterwards in exactly one of the two.
//! - What is moved is movable, and half of it, rounded up; less only for want of room.
//! - Two notes that are moved keep their order, by deadline and by age.

use crate::constants::*;
use crate::processor::allows;
use crate::{clock, NodeView, Processor, Queued};

/// A leave that is never given.
pub const NEVER: u64 = u64::MAX;

/// The leave at `distance` (10 is a node to itself): `base_ns` there, and in proportion beyond.
#[must_use]
pub const fn steal_after_ns(base_ns: u64, distance: u32) -> u64 {
    let after_ns = base_ns as u128 * distance as u128 / DISTANCE_LOCAL as u128;
    if after_ns >= NEVER as u128 {
        NEVER
    } else {
        after_ns as u64
    }
}

/// Writes the leave of every thief with every victim to `table[thief * stride + victim]`, and
/// [`NEVER`] everywhere else: from a node to itself, and for nodes that are not there.
///
/// `distances[thief * nodes + victim]`, 10 for a node to itself; a distance of 0 is one that
/// nobody knows, and is never.
pub fn fill_steal_after(
    base_ns: u64,
    distances: &[u32],
    nodes: usize,
    table: &mut [u64],
    stride: usize,
) {
    for (at, after_ns) in table.iter_mut().enumerate() {
        let (thief, victim) = match stride {
            0 => (0, 0),
            _ => (at / stride, at % stride),
        };
        let known = thief != victim && thief < nodes && victim < nodes;
        let distance = known
            .then(|| distances.get(thief * nodes + victim))
            .flatten();
        *after_ns = match distance {
            None | Some(0) => NEVER,
            Some(&distance) => steal_after_ns(base_ns, distance),
        };
    }
}

/// The nodes other than one, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbours {
    order: [u8; MAX_NODES],
    len: u8,
}

impl Default for Neighbours {
    /// All nodes, by number: for a processor that was not told where it is.
    fn default() -> Self {
        let mut order = [0; MAX_NODES];
        for (index, node) in order.iter_mut().enumerate() {
            *node = index as u8;
        }
        Neighbours {
            order,
            len: MAX_NODES as u8,
        }
    }
}

impl Neighbours {
    /// The neighbours of `node` by `distances`, laid out as for [`fill_steal_after`]; among equals
    /// those that follow `node` first, so that not all nodes turn to the same one.
    #[must_use]
    pub fn nearest_first(node: u16, distances: &[u32], nodes: usize) -> Self {
        let nodes = nodes.min(MAX_NODES);
        let node = usize::from(node);
        let mut order = [0; MAX_NODES];
        let mut len = 0;
        for other in (1..nodes)
            .map(|step| (node + step) % nodes)
            .filter(|&other| other != node)
        {
            order[len] = other as u8;
            len += 1;
        }
        let distance = |other: u8| distances.get(node * nodes + usize::from(other)).copied();
        // A sort that keeps equals in place and needs no memory; there are few nodes.
        for end in 1..len {
            let mut at = end;
            while at > 0 && distance(order[at]) < distance(order[at - 1]) {
                order.swap(at, at - 1);
                at -= 1;
            }
        }
        Neighbours {
            order,
            len: len as u8,
        }
    }

    /// The neighbours, nearest first.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.order[..usize::from(self.len)]
            .iter()
            .map(|&node| u16::from(node))
    }

    /// The nearest of the nodes in `mask`.
    #[must_use]
    pub fn nearest_of(&self, mask: u64) -> Option<u16> {
        self.iter().find(|&node| allows(mask, node))
    }
}

/// Moves half of what may move from `victim` to `thief`; returns how many that was.
///
/// For whoever owns both. The views are of the two nodes, `after_ns` is the leave between them.
pub fn steal_half(
    victim: &mut Processor<'_>,
    thief: &mut Processor<'_>,
    now_ns: u64,
    after_ns: u64,
    victim_view: &NodeView,
    thief_view: &NodeView,
) -> usize {
    let has_work = !thief.p.is_empty() || thief_view.waiting() > 0;
    let waited = !victim.p.is_empty() && victim.oldest_waited_ns(now_ns) >= after_ns;
    if has_work || thief_view.idle_cpus == 0 || !waited || after_ns == NEVER {
        return 0;
    }
    let node = thief.node();
    let movable = |queued: &Queued| allows(queued.allowed_nodes, node);
    let half = victim
        .p
        .by_age()
        .filter(|queued| movable(queued))
        // Half of more is no more than is moved.
        .take(2 * STEAL_MOVES_MAX)
        .count()
        .div_ceil(2);
    let room = thief.p.capacity() - thief.p.len();
    let to_thief = clock::ahead(thief_view.vclock, victim_view.vclock);
    let moved = victim.p.drain_by_age(
        half.min(STEAL_MOVES_MAX).min(room),
        movable,
        |mut queued| {
            queued.decision.deadline = clock::moved(queued.decision.deadline, to_thief);
            queued.decision.node = node;
            let taken = thief.p.push(queued);
            debug_assert!(taken.is_ok(), "there was room");
        },
    );
    victim.counters.stolen_out += moved as u64;
    thief.counters.stolen_in += moved as u64;
    moved
}
