//! The P against a model that is obviously right: a list in the order of arrival.

use mpg_policy::{clock, Full, Queued, P};
use proptest::prelude::*;

use super::memory::Memory;
use super::values::note;

#[derive(Clone, Debug)]
enum Step {
    Push { pid: u32, deadline: u64 },
    PopFirst,
    PopOldest,
    Remove { pid: u32 },
    DrainOdd { most: usize },
}

/// Few pids and deadlines, so that both repeat; deadlines on both sides of where they wrap.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pid = 0..24u32;
    let deadline = (0..40u64).prop_map(|near| u64::MAX.wrapping_sub(20).wrapping_add(near));
    let step = prop_oneof![
        6 => (pid.clone(), deadline).prop_map(|(pid, deadline)| Step::Push { pid, deadline }),
        2 => Just(Step::PopFirst),
        2 => Just(Step::PopOldest),
        1 => pid.prop_map(|pid| Step::Remove { pid }),
        1 => (0..4usize).prop_map(|most| Step::DrainOdd { most }),
    ];
    prop::collection::vec(step, 0..200)
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
    fn the_p_does_what_the_model_does(capacity in 0..20usize, steps in steps()) {
        let mut storage = Memory::of(capacity);
        let mut p = P::new(storage.lend());
        let mut model = Model { capacity, by_age: Vec::new() };
        for (at_ns, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push { pid, deadline } => {
                    let queued = note(pid, deadline, at_ns as u64, u64::MAX);
                    prop_assert_eq!(p.push(queued), model.push(queued));
                }
                Step::PopFirst => {
                    let expected = model.first().map(|at| model.by_age.remove(at));
                    prop_assert_eq!(p.pop_first(), expected);
                }
                Step::PopOldest => {
                    let expected = (!model.by_age.is_empty()).then(|| model.by_age.remove(0));
                    prop_assert_eq!(p.pop_oldest(), expected);
                }
                Step::Remove { pid } => prop_assert_eq!(p.remove(pid), model.remove(pid)),
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
            prop_assert!(p.by_age().eq(model.by_age.iter().copied()));
            prop_assert_eq!(p.first(), model.first().map(|at| model.by_age[at]));
            prop_assert_eq!(p.oldest_at_ns(), model.by_age.first().map(|queued| queued.at_ns));
        }
    }

    #[test]
    fn what_goes_in_comes_out_by_deadline_and_then_by_arrival(
        deadlines in prop::collection::vec(0..16u64, 0..300),
    ) {
        let mut storage = Memory::of(deadlines.len());
        let mut p = P::new(storage.lend());
        for (pid, &deadline) in deadlines.iter().enumerate() {
            p.push(note(pid as u32, deadline, 0, u64::MAX)).expect("there is room");
        }
        let mut expected: Vec<_> =
            deadlines.iter().enumerate().map(|(pid, &due)| (due, pid as u32)).collect();
        expected.sort_unstable();
        let out: Vec<_> = std::iter::from_fn(|| p.pop_first())
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
