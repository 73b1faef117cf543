// SPDX-License-Identifier: GPL-2.0-only
//! Inputs for the parsers of what comes from outside, near enough to right ones to get far.
//!
//! `make test` tries the same few thousand each time; `make fuzz` other ones each time, as many as
//! `MPG_FUZZ_INPUTS` says. What fails is shrunk and printed.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::{select, Index};
use proptest::test_runner::{RngSeed, TestRunner};

use crate::sentence;

/// How many inputs each parser gets if nobody asks for more.
const INPUTS: u32 = 20_000;

/// An input, printed as it can be pasted into a test.
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// What is done to an input, at places that its length decides.
#[derive(Clone, Debug)]
enum Mutation {
    Byte(Index, u8),
    Word(Index, &'static str),
    Cut(Index, usize),
    Copy(Index, Index, usize),
    /// As deep as a parser may not follow.
    Repeat(Index, &'static str, usize),
}

impl Mutation {
    fn apply(&self, input: &mut Vec<u8>) {
        let at = |index: &Index| index.index(input.len() + 1);
        let upto = |at: usize, len: usize| (at + len).min(input.len());
        match self {
            Self::Byte(place, byte) => match input.len() {
                0 => input.push(*byte),
                len => input[place.index(len)] = *byte,
            },
            Self::Word(place, word) => {
                let at = at(place);
                input.splice(at..at, word.bytes());
            }
            Self::Cut(place, len) => {
                let at = at(place);
                input.drain(at..upto(at, *len));
            }
            Self::Copy(from, to, len) => {
                let (from, to) = (at(from), at(to));
                let copy = input[from..upto(from, *len)].to_vec();
                input.splice(to..to, copy);
            }
            Self::Repeat(place, word, times) => {
                let at = at(place);
                input.splice(at..at, word.repeat(*times).bytes());
            }
        }
    }
}

/// One of `seeds` with up to eight mutations, which know `words`.
fn inputs(
    seeds: &'static [&'static str],
    words: &'static [&'static str],
) -> impl Strategy<Value = Input> {
    let place = any::<Index>;
    let mutation = prop_oneof![
        30 => (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        40 => (place(), select(words)).prop_map(|(at, word)| Mutation::Word(at, word)),
        15 => (place(), 1usize..12).prop_map(|(at, len)| Mutation::Cut(at, len)),
        15 => (place(), place(), 1usize..40)
            .prop_map(|(from, to, len)| Mutation::Copy(from, to, len)),
        1 => (place(), select(words), 1usize..2_000)
            .prop_map(|(at, word, times)| Mutation::Repeat(at, word, times)),
    ];
    let mutations = proptest::collection::vec(mutation, 0..8);
    (select(seeds), mutations).prop_map(|(seed, mutations)| {
        let mut input = seed.as_bytes().to_vec();
        for mutation in mutations {
            mutation.apply(&mut input);
        }
        Input(input)
    })
}

/// Calls `judge`, which panics if it is not content, with each input.
pub fn fuzz(seeds: &'static [&'static str], words: &'static [&'static str], judge: impl Fn(&[u8])) {
    let asked = std::env::var("MPG_FUZZ_INPUTS").ok();
    let asked = asked.map(|n| n.parse().expect("MPG_FUZZ_INPUTS is a number"));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: asked.unwrap_or(INPUTS),
        rng_seed: match asked {
            Some(_) => RngSeed::Random,
            None => RngSeed::Fixed(0),
        },
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = runner.run(&inputs(seeds, words), |input| {
        judge(&input.0);
        Ok(())
    });
    run.unwrap_or_else(|e| panic!("{e}"));
    if let Some(asked) = asked {
        println!("{asked} inputs");
    }
}

/// What every refusal has to be: one line with something in it, and not too long for a log.
pub fn assert_sentence(sentence: &str) {
    assert!(!sentence.is_empty() && sentence.len() < 2 * sentence::MAX_BYTES);
    assert!(!sentence.contains('\n'), "{sentence}");
}
