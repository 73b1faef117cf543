// SPDX-License-Identifier: GPL-2.0-only
//! What is said about input that anybody may have written.

/// Longest sentence, in bytes, for what is quoted may be long.
pub const MAX_BYTES: usize = 512;

/// The sentence in one line that a terminal and a log can take: cut where it is too long, and
/// without control characters, which are spelled out.
pub fn tame(sentence: &str) -> String {
    let mut line = String::new();
    for c in sentence.chars() {
        if line.len() >= MAX_BYTES {
            line.push_str("...");
            break;
        }
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}
