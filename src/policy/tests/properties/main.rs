//! The properties that the heads of the policy's files state, each checked by name.

mod classes;
mod homes;
mod judging;
#[path = "../memory/mod.rs"]
mod memory;
mod params;
mod processing;
mod queue;
mod stealing;
mod values;
