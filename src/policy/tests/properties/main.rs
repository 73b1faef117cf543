//! The properties that the heads of the policy's files state, each checked by name.

mod classes;
mod judging;
mod homes;
#[path = "../memory/mod.rs"]
mod memory;
mod params;
mod processing;
mod queue;
mod stealing;
mod values;
