//! The P against a model that is obviously right: a list in the order of arrival. With room for a few
//! near notes only, a P of a hundred does all that one of 100,000 does.

use mpg_policy::{clock, Full, Queued, P};
use proptest::prelude::*;

use super::memory::Memory;
use super::values::note;

#[derive(Clone, Debug)]
enum Step {
    Push {
        pid: u32,
        deadline: u64,
    },
    PushMany {
        pids: std::ops::Range<u32>,
        from: u64,
        apart: u64,
    },
    PopMany {
        most: usize,
    },
    PopFirst,
    PopOldest,
    Remove {
        pid: u32,
    },
    DrainOdd {
        most: usize,
    },
}

/// Deadlines that repeat, and others of all distances up to a quarter of the range.
fn deadlines() -> impl Strategy<Value = u64> {
    let near = 0..40u64;
    let far = (0..62u32, 0..u64::MAX).prop_map(|(bits, any)| any >> (63 - bits));
    prop_oneof![near, far]
}

/// Notes that are near at once: as few as there can be, or as many as there are.
fn near() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..8usize, 1 => Just(1_024)]
}

/// Few pids, so that they repeat.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pid = 0..120u32;
    let deadline = deadlines();
    let many = (0..100u32, 1..60u32).prop_map(|(first, count)| first..first + count);
    let apart = prop_oneof![Just(0), 1..300u64, (0..50u32).prop_map(|bits| 1 << bits)];
    let step = prop_oneof![
        8 => (pid.clone(), deadline).prop_map(|(pid, deadline)| Step::Push { pid, deadline }),
        1 => (many, deadlines(), apart)
            .prop_map(|(pids, from, apart)| Step::PushMany { pids, from, apart }),
        1 => (1..60usize).prop_map(|most| Step::PopMany { most }),
        2 => Just(Step::PopFirst),
        2 => Just(Step::PopOldest),
        1 => pid.prop_map(|pid| Step::Remove { pid }),
        1 => (0..4usize).prop_map(|most| Step::DrainOdd { most }),
    ];
    prop::collection::vec(step, 0..120)
}

struct Model {
    capacity: usize,
    by_age: Vec<Queued>,
}

impl Model {
    fn push(&mut self, queued: Queued) -> Result<(), Full> {
        self.remove(queued.decision.pid);
        if self.by_age.len() == self.capacity {
            return Err(Full);
        }
        self.by_age.push(queued);
        Ok(())
    }

    fn remove(&mut self, pid: u32) -> Option<Queued> {
        let at = self
            .by_age
            .iter()
            .position(|queued| queued.decision.pid == pid)?;
        Some(self.by_age.remove(at))
    }

    fn first(&self) -> Option<usize> {
        (0..self.by_age.len()).reduce(|first, at| {
            let due = |at: usize| self.by_age[at].decision.deadline;
            match clock::before(due(at), due(first)) {
                true => at,
                false => first,
            }
        })
    }
}

proptest! {
    #[test]
    fn the_p_does_what_the_model_does(
        capacity in 0..100usize,
        near in near(),
        // Deadlines wrap anywhere.
        origin in any::<u64>(),
        steps in steps(),
    ) {
        let mut storage = Memory::of(capacity);
        let mut p = P::with_near(storage.lend(), near);
        let mut model = Model { capacity, by_age: Vec::new() };
        for (at_ns, step) in steps.into_iter().enumerate() {
            let note = |pid, later| note(pid, origin.wrapping_add(later), at_ns as u64, u64::MAX);
            match step {
                Step::Push { pid, deadline } => {
                    let queued = note(pid, deadline);
                    prop_assert_eq!(p.push(queued), model.push(queued));
                }
                Step::PushMany { pids, from, apart } => {
                    for (at, pid) in pids.enumerate() {
                        let queued = note(pid, from.wrapping_sub(at as u64 * apart) >> 2);
                        prop_assert_eq!(p.push(queued), model.push(queued));
                    }
                }
                Step::PopMany { most } => {
                    for _ in 0..most {
                        let expected = model.first().map(|at| model.by_age.remove(at));
                        prop_assert_eq!(p.pop_first().copied(), expected);
                    }
                }
                Step::PopFirst => {
                    let expected = model.first().map(|at| model.by_age.remove(at));
                    prop_assert_eq!(p.pop_first().copied(), expected);
                }
                Step::PopOldest => {
                    let expected = (!model.by_age.is_empty()).then(|| model.by_age.remove(0));
                    prop_assert_eq!(p.pop_oldest().copied(), expected);
                }
                Step::Remove { pid } => prop_assert_eq!(p.remove(pid).copied(), model.remove(pid)),
                Step::DrainOdd { most } => {
                    let odd = |queued: &Queued| queued.decision.pid % 2 == 1;
                    let mut drained = Vec::new();
                    p.drain_by_age(most, odd, |queued| drained.push(queued));
                    let expected: Vec<_> =
                        model.by_age.iter().copied().filter(odd).take(most).collect();
                    model.by_age.retain(|queued| !expected.contains(queued));
                    prop_assert_eq!(drained, expected);
                }
            }
            prop_assert_eq!(p.len(), model.by_age.len());
            prop_assert_eq!(p.is_empty(), model.by_age.is_empty());
            prop_assert_eq!(p.capacity(), capacity);
            prop_assert!(p.by_age().eq(&model.by_age));
            prop_assert_eq!(p.first().copied(), model.first().map(|at| model.by_age[at]));
            p.look_ahead(0..130);
            prop_assert_eq!(p.oldest_at_ns(), model.by_age.first().map(|queued| queued.at_ns));
        }
    }

    #[test]
    fn one_may_stay_while_others_come_and_go(
        capacity in 2..40usize,
        near in near(),
        pids in 1..80u32,
        before in 0..200u64,
        rounds in 300..1_000u64,
    ) {
        let mut storage = Memory::of(capacity);
        let mut p = P::with_near(storage.lend(), near);
        let mut model = Model { capacity, by_age: Vec::new() };
        for round in 0..before {
            p.push(note(1, round, round, u64::MAX)).expect("it takes its own place");
        }
        p.remove(1);
        let stays = note(0, 1 << 40, 0, u64::MAX);
        p.push(stays).expect("there is room");
        model.push(stays).expect("there is room");
        for round in 0..rounds {
            let queued = note(1 + (round as u32 * 7) % pids, round, round, u64::MAX);
            prop_assert_eq!(p.push(queued), model.push(queued));
            if model.by_age.len() == capacity {
                let expected = model.first().map(|at| model.by_age.remove(at));
                prop_assert_eq!(p.pop_first().copied(), expected);
            }
            prop_assert!(p.by_age().eq(&model.by_age));
        }
    }

    #[test]
    fn what_goes_in_comes_out_by_deadline_and_then_by_arrival(
        deadlines in prop::collection::vec(0..16u64, 0..300),
        near in near(),
    ) {
        let mut storage = Memory::of(deadlines.len());
        let mut p = P::with_near(storage.lend(), near);
        for (pid, &deadline) in deadlines.iter().enumerate() {
            p.push(note(pid as u32, deadline, 0, u64::MAX)).expect("there is room");
        }
        let mut expected: Vec<_> =
            deadlines.iter().enumerate().map(|(pid, &due)| (due, pid as u32)).collect();
        expected.sort_unstable();
        let out: Vec<_> = std::iter::from_fn(|| p.pop_first().copied())
            .map(|queued| (queued.decision.deadline, queued.decision.pid))
            .collect();
        prop_assert_eq!(out, expected);
    }
}

#[test]
fn a_full_p_refuses_a_new_g_and_takes_a_known_one() {
    let mut storage = Memory::of(2);
    let mut p = P::new(storage.lend());
    p.push(note(1, 10, 0, 1)).expect("there is room");
    p.push(note(2, 20, 0, 1)).expect("there is room");
    assert_eq!(p.push(note(3, 0, 0, 1)), Err(Full));
    assert_eq!(p.len(), 2);
    p.push(note(1, 30, 0, 1)).expect("it takes its own place");
    assert_eq!(p.pop_first().map(|queued| queued.decision.pid), Some(2));
    assert_eq!(p.pop_first().map(|queued| queued.decision.pid), Some(1));
}

#[test]
fn a_p_larger_than_what_is_near_keeps_the_order() {
    const GS: u32 = 20_000;
    let mut storage = Memory::of(GS as usize);
    let mut p = P::new(storage.lend());
    // Some of all magnitudes, many alike, and more of them early than late.
    let due = |pid: u32| match pid.wrapping_mul(0x9e37_79b1) {
        any if any % 3 == 0 => u64::from(any % 7),
        any => u64::from(any) << (any % 28),
    };
    let mut expected: Vec<_> = (0..GS).map(|pid| (due(pid), pid)).collect();
    for &(deadline, pid) in &expected {
        p.push(note(pid, deadline, 0, u64::MAX))
            .expect("there is room");
    }
    expected.sort_unstable();
    let out: Vec<_> = std::iter::from_fn(|| p.pop_first().copied())
        .map(|queued| (queued.decision.deadline, queued.decision.pid))
        .collect();
    assert_eq!(out, expected);
}
