// SPDX-License-Identifier: GPL-2.0-only
//! The settings in force as layers: those of the start, and every change since on top of them.
//!
//! A change is in force until it is taken back, or until its time is over if it has one; what lies
//! under it then shows again, and what was changed after it stays. So a change that went back by
//! itself is not there any more, and is no step for [`History::undo`] either.
//!
//! [`UNDO_STEPS`] changes that stay are kept apart, and as many that pass. With another one, the
//! oldest that stays becomes part of the start and can no longer be taken back.

use std::time::{Duration, Instant};

use crate::patch::{Delta, Patch};
use crate::settings::{SettingError, Settings, FOR_S};

/// How many changes can be taken back, and how many can be in force that go back by themselves.
const UNDO_STEPS: usize = 16;

/// What a change says.
#[derive(Clone, Debug)]
enum Content {
    /// Some names.
    Some(Delta),
    /// Everything.
    All(Settings),
}

/// One change.
#[derive(Clone, Debug)]
struct Layer {
    content: Content,
    until: Option<Instant>,
}

impl Layer {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether `earlier` could be seen only if this change were taken back: it passes, too, no
    /// later and with nothing of its own.
    fn renews(&self, earlier: &Self) -> bool {
        let (Content::Some(delta), Content::Some(under)) = (&self.content, &earlier.content) else {
            return false;
        };
        earlier.until.is_some()
            && earlier.until <= self.until
            && under.clone().without(delta) == Delta::default()
    }
}

/// Settings that change, and the way back.
#[derive(Clone, Debug)]
pub struct History {
    start: Settings,
    /// The oldest first.
    layers: Vec<Layer>,
    current: Settings,
}

impl History {
    /// Begins with `settings`, which are valid.
    pub fn new(settings: Settings) -> Self {
        Self {
            start: settings.clone(),
            layers: Vec::new(),
            current: settings,
        }
    }

    /// The settings in force.
    pub fn current(&self) -> &Settings {
        &self.current
    }

    /// When the next change goes back by itself, if one does.
    pub fn until(&self) -> Option<Instant> {
        let is_all = |layer: &Layer| matches!(layer.content, Content::All(_));
        let seen = self.layers.iter().rposition(is_all).unwrap_or(0);
        self.layers[seen..].iter().filter_map(|l| l.until).min()
    }

    /// Changes what `patch` names, for `seconds` or for good.
    ///
    /// Asked for again, a change that passes is renewed: it remains one step.
    ///
    /// # Errors
    /// If a value is bad, or would be once a passing change is over, or if too many pass: then
    /// nothing is changed.
    pub fn set(
        &mut self,
        patch: &Patch,
        seconds: Option<u64>,
        now: Instant,
    ) -> Result<(), SettingError> {
        let until = match seconds {
            Some(seconds) if !FOR_S.contains(&seconds) => {
                return Err(SettingError::Seconds(seconds))
            }
            seconds => seconds.map(|seconds| now + Duration::from_secs(seconds)),
        };
        if *patch == Patch::default() {
            return Err(SettingError::NothingToSet);
        }
        let content = Content::Some(patch.resolve()?);
        self.put_on(Layer { content, until }, now)
    }

    /// Puts `settings` in place of all there is, as one step.
    ///
    /// # Errors
    /// If they are bad, or differ in what is looked at when the scheduler is loaded: then nothing
    /// is changed.
    pub fn replace(&mut self, settings: Settings, now: Instant) -> Result<(), SettingError> {
        self.current.may_become(&settings)?;
        let content = Content::All(settings);
        let until = None;
        self.put_on(Layer { content, until }, now)
    }

    /// Takes the last change back, and with the next call the one before it.
    ///
    /// # Errors
    /// If no change is left.
    pub fn undo(&mut self, now: Instant) -> Result<(), SettingError> {
        self.expire(now);
        self.layers.pop().ok_or(SettingError::NothingToUndo)?;
        // What is left was judged when the last of it was put on.
        self.current = self.laid(now);
        Ok(())
    }

    /// Takes away what is over; returns whether there was anything.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = self.layers.len();
        self.layers.retain(|layer| !layer.is_over(now));
        let any = self.layers.len() != before;
        if any {
            self.current = self.laid(now);
        }
        any
    }

    fn put_on(&mut self, layer: Layer, now: Instant) -> Result<(), SettingError> {
        let mut next = self.clone();
        next.layers.retain(|layer| !layer.is_over(now));
        if next.layers.last().is_some_and(|last| layer.renews(last)) {
            next.layers.pop();
        }
        let is_alike = |other: &&Layer| other.until.is_some() == layer.until.is_some();
        if next.layers.iter().filter(is_alike).count() == UNDO_STEPS {
            match layer.until {
                Some(_) => return Err(SettingError::TooManyPass(UNDO_STEPS)),
                None => next.forget(),
            }
        }
        next.layers.push(layer);
        next.current = next.laid(now);
        next.current.validate()?;
        // Whatever goes back, what is left has to be good, too.
        for end in next.layers.iter().filter_map(|layer| layer.until) {
            let left = next.laid(end).validate();
            left.map_err(|e| SettingError::OnceOver(Box::new(e)))?;
        }
        *self = next;
        Ok(())
    }

    /// Makes the oldest change that stays a part of the start.
    fn forget(&mut self) {
        let Some(at) = self.layers.iter().position(|layer| layer.until.is_none()) else {
            return;
        };
        let passing: Vec<Layer> = self.layers.drain(..at).collect();
        match self.layers.remove(0).content {
            Content::All(settings) => self.start = settings,
            Content::Some(delta) => {
                delta.apply(&mut self.start);
                // It lay over these, and now lies under them.
                let above = passing.into_iter().map(|layer| match layer.content {
                    Content::Some(under) => Layer {
                        content: Content::Some(under.without(&delta)),
                        ..layer
                    },
                    Content::All(_) => layer,
                });
                self.layers.splice(..0, above);
            }
        }
    }

    /// The settings that are in force at `time` if nothing else happens.
    fn laid(&self, time: Instant) -> Settings {
        let mut settings = self.start.clone();
        for layer in self.layers.iter().filter(|layer| !layer.is_over(time)) {
            match &layer.content {
                Content::Some(delta) => delta.apply(&mut settings),
                Content::All(all) => settings.clone_from(all),
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(name: &str, value: u64) -> Patch {
        Patch {
            params: [(name.to_string(), value)].into(),
            ..Patch::default()
        }
    }

    fn slice(us: u64) -> Patch {
        one("slice_us", us)
    }

    fn policy(name: &str) -> Patch {
        Patch {
            policy: Some(name.to_string()),
            ..Patch::default()
        }
    }

    fn profile(name: &str) -> Patch {
        Patch {
            profile: Some(name.to_string()),
            ..Patch::default()
        }
    }

    /// A history of the defaults, and the time at so many seconds after its start.
    fn begin() -> (History, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let after = move |s| start + Duration::from_secs(s);
        (History::new(Settings::default()), after)
    }

    fn seen(history: &History) -> (u64, &str) {
        let settings = history.current();
        (settings.param("slice-us").unwrap(), &settings.policy)
    }

    #[test]
    fn a_passing_change_goes_back_and_leaves_what_came_meanwhile() {
        let (mut history, at) = begin();
        history.set(&slice(3000), Some(60), at(0)).unwrap();
        history.set(&policy("fifo"), None, at(10)).unwrap();
        assert_eq!(seen(&history), (3000, "fifo"));
        assert!(!history.expire(at(59)));
        assert!(history.expire(at(60)) && !history.expire(at(61)));
        assert_eq!(seen(&history), (5000, "fifo"));
    }

    #[test]
    fn the_later_word_counts_and_goes_back_to_what_is_under_it() {
        let (mut history, at) = begin();
        history.set(&slice(3000), Some(60), at(0)).unwrap();
        history.set(&slice(7000), None, at(0)).unwrap();
        history.set(&slice(2000), Some(30), at(0)).unwrap();
        assert_eq!((seen(&history).0, history.until()), (2000, Some(at(30))));
        assert!(history.expire(at(30)));
        assert_eq!(seen(&history).0, 7000);
        history.undo(at(31)).unwrap();
        assert_eq!((seen(&history).0, history.until()), (3000, Some(at(60))));
        assert!(history.expire(at(60)));
        assert_eq!((seen(&history).0, history.until()), (5000, None));
    }

    #[test]
    fn a_profile_is_a_change_like_any_other() {
        let (mut history, at) = begin();
        history
            .set(&profile("lowlatency"), Some(60), at(0))
            .unwrap();
        assert_eq!(seen(&history), (2000, "latency"));
        history.set(&policy("fifo"), None, at(0)).unwrap();
        assert_eq!(seen(&history), (2000, "fifo"));
        history.expire(at(60));
        assert_eq!(seen(&history), (5000, "fifo"));
    }

    #[test]
    fn what_went_back_by_itself_is_no_step() {
        let (mut history, at) = begin();
        history.set(&slice(4000), None, at(0)).unwrap();
        history.set(&slice(3000), Some(60), at(0)).unwrap();
        history.set(&profile("server"), None, at(61)).unwrap();
        history.undo(at(62)).unwrap();
        assert_eq!(seen(&history).0, 4000);
        history.undo(at(63)).unwrap();
        assert_eq!(seen(&history).0, 5000);
        let none = Err(SettingError::NothingToUndo);
        assert_eq!(history.undo(at(64)), none);
        // Nor has it to be noticed before.
        history.set(&slice(3000), Some(5), at(70)).unwrap();
        assert_eq!(history.undo(at(75)), none);
        assert_eq!(seen(&history).0, 5000);
    }

    #[test]
    fn a_renewed_change_is_one_step() {
        let (mut history, at) = begin();
        for s in 0..100 {
            history.set(&policy("fifo"), Some(60), at(s)).unwrap();
        }
        assert_eq!((seen(&history).1, history.until()), ("fifo", Some(at(159))));
        // One that ends sooner is not the same: what is under it shows again.
        history.set(&policy("global"), Some(1), at(100)).unwrap();
        history.expire(at(101));
        assert_eq!(seen(&history).1, "fifo");
        history.undo(at(101)).unwrap();
        assert_eq!(seen(&history).1, "mpg");
        assert_eq!(history.undo(at(101)), Err(SettingError::NothingToUndo));
    }

    #[test]
    fn as_many_pass_as_there_are_steps() {
        let (mut history, at) = begin();
        let names = ["slice-us", "batch-slice-us"];
        for (s, name) in (0..UNDO_STEPS as u64).zip(names.iter().cycle()) {
            history.set(&one(name, 3000 + s), Some(60), at(s)).unwrap();
        }
        let one_more = |history: &mut History, s| history.set(&slice(2000), Some(60), at(s));
        let refusal = SettingError::TooManyPass(UNDO_STEPS);
        assert_eq!(one_more(&mut history, 30), Err(refusal));
        one_more(&mut history, 60).unwrap();
    }

    #[test]
    fn a_change_that_would_not_outlive_a_passing_one_is_refused() {
        let (mut history, at) = begin();
        // The minimum of 4 ms fits the passing slice of 8 ms and the start's of 5 ms, not 3 ms.
        history.set(&slice(8000), Some(60), at(0)).unwrap();
        history
            .set(&one("slice-min-us", 4000), None, at(0))
            .unwrap();
        let refusal = history.set(&one("slice-min-us", 6000), None, at(0));
        let refusal = refusal.unwrap_err().to_string();
        assert!(refusal.starts_with("once "), "{refusal}");
        assert!(
            refusal.contains("slice-min-us is 6000, expected 50 to 5000"),
            "{refusal}"
        );
        assert!(history.set(&slice(3000), Some(5), at(0)).is_err());
        assert_eq!(seen(&history).0, 8000);
        let nothing = history.set(&Patch::default(), Some(60), at(0));
        assert_eq!(nothing, Err(SettingError::NothingToSet));
        let none = Err(SettingError::Seconds(0));
        assert_eq!(history.set(&slice(8000), Some(0), at(0)), none);
    }

    #[test]
    fn all_is_replaced_as_one_step_but_what_is_loaded_with() {
        let (mut history, at) = begin();
        history.set(&slice(3000), Some(60), at(0)).unwrap();
        let fifo = Settings::default().apply_patch(&policy("fifo")).unwrap();
        history.replace(fifo, at(1)).unwrap();
        assert_eq!((seen(&history), history.until()), ((5000, "fifo"), None));
        history.undo(at(2)).unwrap();
        assert_eq!(seen(&history), (3000, "mpg"));
        let partial = Settings {
            partial: true,
            ..Settings::default()
        };
        let refusal = history.replace(partial, at(3)).unwrap_err().to_string();
        assert!(
            refusal.starts_with("partial can be chosen at the start only"),
            "{refusal}"
        );
    }

    /// A change of one of a few names, for how long, and how many seconds after the one before.
    fn changes() -> impl Strategy<Value = Vec<(Patch, Option<u64>, u64)>> {
        let patch = prop_oneof![
            (0u64..9_000).prop_map(slice),
            (0u64..9_000).prop_map(|us| one("slice-min-us", us)),
            (0u64..9_000).prop_map(|us| one("latency-slice-us", us)),
            "(mpg|fifo|global|none)".prop_map(|name| policy(&name)),
            "(server|powersave)".prop_map(|name| profile(&name)),
        ];
        let change = (patch, proptest::option::of(1u64..20), 0u64..10);
        proptest::collection::vec(change, 1..3 * UNDO_STEPS)
    }

    proptest! {
        /// What is in force is valid and has what was set last, and what was refused left nothing.
        #[test]
        fn a_change_is_made_whole_or_not_at_all(changes in changes()) {
            let mut now = Instant::now();
            let mut history = History::new(Settings::default());
            for (patch, seconds, later) in changes {
                now += Duration::from_secs(later);
                history.expire(now);
                let before = history.clone();
                match history.set(&patch, seconds, now) {
                    Err(_) => prop_assert_eq!(before.current(), history.current()),
                    Ok(()) => prop_assert_eq!(
                        history.current(),
                        &before.current().apply_patch(&patch).unwrap()
                    ),
                }
                prop_assert!(history.current().validate().is_ok());
            }
        }

        /// Once all that passes is over, it is as if it had never been; and only what stays can be
        /// taken back, the latest first.
        #[test]
        fn what_passed_leaves_nothing(changes in changes()) {
            let mut now = Instant::now();
            let mut history = History::new(Settings::default());
            let mut stayed = vec![Settings::default()];
            for (patch, seconds, later) in changes {
                now += Duration::from_secs(later);
                if history.set(&patch, seconds, now).is_ok() && seconds.is_none() {
                    let last = stayed.last().unwrap();
                    stayed.push(last.apply_patch(&patch).unwrap());
                }
            }
            now += Duration::from_secs(20);
            history.expire(now);
            prop_assert_eq!(history.until(), None);
            let mut steps = 0;
            for settings in stayed.iter().rev() {
                prop_assert_eq!(history.current(), settings);
                if history.undo(now).is_err() {
                    break;
                }
                steps += 1;
            }
            prop_assert_eq!(steps, (stayed.len() - 1).min(UNDO_STEPS));
        }

        /// Undoing at once leads to where it was before, unless it was one change renewed.
        #[test]
        fn undo_is_the_way_back(changes in changes()) {
            let mut now = Instant::now();
            let mut history = History::new(Settings::default());
            for (patch, seconds, later) in changes {
                now += Duration::from_secs(later);
                history.expire(now);
                let mut before = history.clone();
                if history.set(&patch, seconds, now).is_ok() {
                    let mut undone = history.clone();
                    undone.undo(now).unwrap();
                    let made = history.layers.last().unwrap();
                    if before.layers.last().is_some_and(|last| made.renews(last)) {
                        before.undo(now).unwrap();
                    }
                    prop_assert_eq!(undone.current(), before.current());
                }
            }
        }
    }
}
