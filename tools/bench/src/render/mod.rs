//! Comparisons as text: a table for a terminal, Markdown for the documentation, and a page of HTML with plots.
//!
//! Each is a function of a [`Comparison`](crate::compare::result::Comparison) alone. They take any, also one that does
//! not hold together: what is missing is left out. All text of a comparison is foreign, and is escaped where it is
//! written.

pub mod command;
pub mod html;
pub mod markdown;
pub mod table;
mod text;
mod waits;

#[cfg(test)]
pub mod made_up;
#[cfg(test)]
mod tests;

pub use command::{run, Args};
