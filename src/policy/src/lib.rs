//! The scheduling policy of scx_mpg: events, views and `now` in, decisions out.
//!
//! # Nouns
//!
//! - **G**: a task, known by pid and generation. The kernel half owns it; this crate holds at most
//!   a note about it.
//! - **P**: the run queue of one NUMA node ([`P`]), and with its policy a [`Processor`]. Owned by
//!   the node's worker alone, nothing in here is shared or locked.
//! - **custody**: a G waiting in the kernel half for a decision. A CPU with nothing better to do
//!   takes it without one, so that nothing ever waits for user space.
//! - **primed**: a G decided and waiting in the kernel half in the order of its deadline.
//! - **lease**: the generations after the first that a decision also covers. A G enqueued under a
//!   lease is primed at once; its event reports and asks for nothing but a renewal.
//! - **virtual time**: run time scaled by weight, in nanoseconds of a G of weight 100. It wraps;
//!   see [`clock`].
//!
//! # The states of a G, who owns each, and what may follow
//!
//! | state    | owner                    | may become                                             |
//! |----------|--------------------------|--------------------------------------------------------|
//! | asleep   | kernel half              | running (idle CPU), primed (lease), custody            |
//! | custody  | kernel half; noted in P  | primed (decision), running (undecided), custody of another node |
//! | primed   | kernel half              | running                                                |
//! | running  | kernel half              | asleep, primed (lease), custody                        |
//!
//! What the P holds is a note about a G in custody, never the G. So a note may be dropped, arrive
//! late, or go stale because the G was served meanwhile, and no G is lost or doubled for it: the
//! kernel half refuses a decision whose generation has passed. Everything else follows from that:
//! a full P drops the note and counts it, a switch of policy keeps the notes, a thief moves notes.
//! Within one P a G has at most one note, the latest: without that rule a slow worker would find
//! its queue full of notes about generations long served, and hand over nothing else.
//!
//! # A worker's step
//!
//! ```text
//! for each event in the node's ring:   processor.on_event(..) -> perhaps a decision at once
//! processor.decide(..)                 -> decisions while the node's primed queue is below its mark
//! if the node has idle CPUs and nothing waiting: steal_half(nearest victim that waited too long)
//! ```
//!
//! A step allocates nothing, takes no lock, reads no clock and makes no system call: storage is
//! handed to [`P::new`], `now` to every call.
//!
//! # Rejected
//!
//! - State per G kept here, in a table by pid: it would need exits, growth and a lock for thieves.
//!   Instead each decision leaves a word with the G, the cookie, and the next event returns it.
//! - A step that orders Gs by a policy's callback per comparison: a policy judges a G once, on its
//!   event, and the deadline that it gives orders the G everywhere, in the P as in the kernel half.

#![no_std]
#![forbid(unsafe_code)]

mod balance;
mod classify;
pub mod clock;
pub mod constants;
mod decision;
mod due;
mod event;
mod memory;
mod p;
mod pace;
mod params;
mod policies;
mod processor;
mod slice;
mod steal;

pub use balance::Balance;
pub use classify::{Behaviour, Classified};
pub use decision::{Cpu, Decision};
pub use event::{Class, Event, NodeView};
pub use memory::{Displaced, Evidence, Looks, MemoryHome};
pub use p::{Bucket, Chunk, Family, Full, Note, Place, Queued, Storage, P};
pub use pace::{Look, Paces, Wish};
pub use params::{ParamError, ParamInfo, Params, PARAMS};
pub use policies::{policy_by_name, Judgement, Policy, DEFAULT_POLICY, POLICIES};
pub use processor::{Counters, Processor};
pub use slice::slice_ns;
pub use steal::{fill_steal_after, steal_after_ns, steal_half, Neighbours, NEVER};
