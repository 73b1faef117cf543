//! A machine of nodes, CPUs and Gs around the real policy crate, in discrete events.
//!
//! # Terms
//!
//! - **shape**: the machine, its load and its faults ([`Shape`]). A shape and a seed make a run, and
//!   the same run every time: nothing else is asked, no clock, no thread, no hash order.
//! - **kernel half**: a model of what bpf/ does, with the same words: idle CPUs, custody, primed,
//!   leases, generations, leave to steal, grants. Two of its rules are what I6 rests on, and no
//!   policy can make up for them: a G that waited for the starvation bound is taken before all
//!   others, primed or not (`Kernel::overdue`), and an undecided G that is due more than a slice
//!   before the first primed one is taken before it (`Kernel::first_of`).
//! - **worker**: reads the events, steps the policy, writes decisions; late by chance, now and then
//!   very late, or dead.
//!
//! # What is checked, after every step of the simulated machine
//!
//! - I1: every runnable G is in exactly one place, and the books of queues and CPUs agree with it.
//! - I2: no enqueue is served twice, however late, old or doubled the decisions about it are.
//! - I7: all of it holds across switches of policy and parameters, and at the end every G that
//!   still had something to do has done it.
//! - I8: no G is on a CPU that it may not use.
//! - No CPU is idle while its node holds a G that it may run.
//!
//! How long Gs waited and what they got is in the [`Report`], for the tests to judge (I6).

mod check;
mod kernel;
mod load;
mod machine;
#[path = "../../../src/policy/tests/memory/mod.rs"]
mod memory;
mod queue;
mod report;
mod rng;
mod worker;

pub use load::{Faults, GSpec, Kind, Shape};
pub use machine::run;
pub use report::{GReport, Report, Violation};
