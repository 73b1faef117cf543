// SPDX-License-Identifier: GPL-2.0-only
//! What each key does to the model, and what is to be asked of the scheduler for it.

use std::time::Duration;

use mpg_policy::POLICIES;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::{Model, Popup};
use crate::control::{Change, Request};
use crate::patch::Patch;

/// The intervals that + and - go through, milliseconds.
const INTERVALS_MS: [u64; 9] = [100, 250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

/// What a key asks for beside what it does to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing.
    None,
    /// The end.
    Quit,
    /// A change of settings.
    Change(Request),
}

/// Takes a key in.
pub fn press(model: &mut Model, key: KeyEvent) -> Deed {
    if key.kind == KeyEventKind::Release {
        return Deed::None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
        return Deed::Quit;
    }
    if control {
        return Deed::None;
    }
    match model.popup.clone() {
        Some(Popup::Policies(chosen)) => choose(model, chosen, key.code),
        Some(Popup::Help | Popup::Sentence(_)) => {
            model.popup = None;
            Deed::None
        }
        None => command(model, key.code),
    }
}

fn choose(model: &mut Model, chosen: usize, key: KeyCode) -> Deed {
    let policies = POLICIES.len();
    let next = match key {
        KeyCode::Char('p' | 'j') | KeyCode::Down | KeyCode::Tab => chosen + 1,
        KeyCode::Char('k') | KeyCode::Up | KeyCode::BackTab => chosen + policies - 1,
        KeyCode::Char('q') | KeyCode::Esc => {
            model.popup = None;
            return Deed::None;
        }
        KeyCode::Enter => {
            model.popup = None;
            return match POLICIES.get(chosen) {
                Some(policy) => set_policy(policy.name()),
                None => Deed::None,
            };
        }
        _ => chosen,
    };
    model.popup = Some(Popup::Policies(next % policies));
    Deed::None
}

fn set_policy(name: &str) -> Deed {
    Deed::Change(Request::Set(Change {
        for_s: None,
        patch: Patch {
            policy: Some(name.to_string()),
            ..Patch::default()
        },
    }))
}

fn command(model: &mut Model, key: KeyCode) -> Deed {
    let nodes = model.sample.as_ref().map_or(0, |s| s.metrics.nodes.len());
    let last = nodes.saturating_sub(1);
    match key {
        KeyCode::Char('q') | KeyCode::Esc => return Deed::Quit,
        KeyCode::Char('u') => return Deed::Change(Request::Undo {}),
        KeyCode::Char('p') => {
            let policy = model.sample.as_ref().map(|s| s.metrics.policy.as_str());
            let at = POLICIES.iter().position(|p| Some(p.name()) == policy);
            model.popup = Some(Popup::Policies(at.unwrap_or(0)));
        }
        KeyCode::Char('?' | 'h') => model.popup = Some(Popup::Help),
        KeyCode::Char(' ') => model.paused = !model.paused,
        KeyCode::Char('+' | '=') => model.interval = longer(model.interval),
        KeyCode::Char('-') => model.interval = shorter(model.interval),
        KeyCode::Down | KeyCode::Tab | KeyCode::Char('j') => {
            model.skipped = (model.skipped + 1).min(last);
        }
        KeyCode::Up | KeyCode::BackTab | KeyCode::Char('k') => {
            model.skipped = model.skipped.saturating_sub(1);
        }
        KeyCode::PageDown => model.skipped = (model.skipped + PAGE).min(last),
        KeyCode::PageUp => model.skipped = model.skipped.saturating_sub(PAGE),
        KeyCode::Home => model.skipped = 0,
        KeyCode::End => model.skipped = last,
        _ => {}
    }
    Deed::None
}

/// Nodes that a page has: as many as are seen at 80x24.
const PAGE: usize = 4;

fn longer(interval: Duration) -> Duration {
    let mut steps = INTERVALS_MS.into_iter().map(Duration::from_millis);
    steps.find(|step| *step > interval).unwrap_or(interval)
}

fn shorter(interval: Duration) -> Duration {
    let mut steps = INTERVALS_MS.into_iter().rev().map(Duration::from_millis);
    steps.find(|step| *step < interval).unwrap_or(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Metrics, NodeMetrics};
    use crate::top::model::Sample;
    use proptest::prelude::*;

    fn model(nodes: usize) -> Model {
        let mut model = Model::new(Duration::from_secs(1));
        model.add(Sample {
            metrics: Metrics {
                policy: "latency".to_string(),
                nodes: (0..nodes).map(|id| (id, NodeMetrics::default())).collect(),
                ..Metrics::default()
            },
            ..Sample::default()
        });
        model
    }

    fn type_keys(model: &mut Model, keys: &[KeyCode]) -> Deed {
        let press = |deed, key: &KeyCode| match deed {
            Deed::None => press(model, KeyEvent::from(*key)),
            deed => deed,
        };
        keys.iter().fold(Deed::None, press)
    }

    #[test]
    fn a_policy_is_chosen_from_the_one_in_force_on() {
        let names: Vec<&str> = POLICIES.iter().map(|policy| policy.name()).collect();
        let at = names.iter().position(|name| *name == "latency").unwrap();
        for steps in 0..=names.len() {
            let mut keys = vec![KeyCode::Char('p'); steps + 1];
            keys.push(KeyCode::Enter);
            let mut model = model(1);
            let deed = type_keys(&mut model, &keys);
            assert_eq!(deed, set_policy(names[(at + steps) % names.len()]));
            assert_eq!(model.popup, None);
        }
        let mut model = model(1);
        let keys = [KeyCode::Char('p'), KeyCode::Up, KeyCode::Esc];
        assert_eq!(type_keys(&mut model, &keys), Deed::None);
        assert_eq!(model.popup, None);
    }

    #[test]
    fn keys_do_what_the_help_says() {
        let mut model = model(64);
        assert_eq!(type_keys(&mut model, &[KeyCode::Char('q')]), Deed::Quit);
        let undo = type_keys(&mut model, &[KeyCode::Char('u')]);
        assert_eq!(undo, Deed::Change(Request::Undo {}));
        type_keys(&mut model, &[KeyCode::Char(' ')]);
        assert!(model.paused);
        type_keys(&mut model, &[KeyCode::Char('+'), KeyCode::Char('+')]);
        assert_eq!(model.interval, Duration::from_secs(5));
        type_keys(&mut model, &[KeyCode::Char('-'); 20]);
        assert_eq!(model.interval, Duration::from_millis(100));
        type_keys(&mut model, &[KeyCode::End, KeyCode::Down]);
        assert_eq!(model.skipped, 63);
        type_keys(&mut model, &[KeyCode::PageUp, KeyCode::Up]);
        assert_eq!(model.skipped, 58);
        // A key that closes what is in front does nothing else.
        type_keys(&mut model, &[KeyCode::Char('?'), KeyCode::Char('q')]);
        assert_eq!(model.popup, None);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        model.popup = Some(Popup::Policies(0));
        assert_eq!(press(&mut model, ctrl_c), Deed::Quit);
    }

    proptest! {
        #[test]
        fn an_interval_of_any_length_has_a_next_one(ms in 100u64..86_400_000) {
            let interval = Duration::from_millis(ms);
            prop_assert!(longer(interval) > interval || ms >= 60_000);
            prop_assert!(shorter(interval) < interval || ms == 100);
        }
    }
}
