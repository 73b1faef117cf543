// SPDX-License-Identifier: GPL-2.0-only
//! Pictures against files of text, and against terminals of every size.
//!
//! `MPG_GOLDENS=write cargo test --release --package scx_mpg top` writes the files anew: look at what
//! changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::backend::TestBackend;
use ratatui::Terminal;

use super::*;
use crate::control::Reply;
use crate::settings::Settings;
use crate::stats::{ClassMetrics, Metrics, NodeMetrics};
use crate::top::model::Popup;
use crate::top::plain;

const PLAIN: Theme = Theme {
    color: false,
    unicode: true,
};

/// A machine in the `at`-th second of a load that comes and goes, one node after the other.
fn sample(nodes: usize, cpus: usize, at: usize) -> Sample {
    let node = |id: usize| {
        let phase = (at + 7 * id) % 40;
        let wait = match phase {
            0..=5 => 0.0,
            phase => 4.0 * 1.26_f64.powi(phase as i32),
        };
        let letters = ['l', 'n', 'b', '.', 'i', 'o', 'x', 'n'];
        let count = |scale: usize| (scale * phase) as u64;
        let steals = |this: &dyn Fn(usize, usize) -> (usize, usize)| -> BTreeMap<usize, u64> {
            let others = (0..nodes).filter(|other| *other != id);
            let count = |other| {
                let (from, to) = this(id, other);
                (from + to + at)
                    .is_multiple_of(3)
                    .then(|| (other, 1 + (13 * from + to) as u64))
            };
            others.filter_map(count).collect()
        };
        let steals_from = steals(&|this, other| (other, this));
        NodeMetrics {
            steals_in: steals_from.values().sum(),
            steals_out: steals(&|this, other| (this, other)).values().sum(),
            queued: count(1) / 3,
            primed: count(1) / 10,
            custody: count(1) / 7,
            pinned: (phase / 30) as u64,
            spare: (id % 2) as u64,
            cpus: (0..cpus)
                .map(|cpu| letters[(cpu + id + cpu / 9) % letters.len()])
                .collect(),
            started: count(91),
            average_wait_us: wait,
            due_wait_us: wait / 3.0,
            decisions: count(75),
            decisions_per_activation: phase as f64 / 3.0,
            worker_us: 300.0 * phase as f64,
            distances: (0..nodes)
                .filter(|to| *to != id)
                .map(|to| (to, 21))
                .collect(),
            steals_from,
            preemptions: count(3),
            refused: count(2),
            backlog: count(1) / 4,
            longest_step_us: 41.5 + id as f64,
            fallback: u64::from(id == 3),
            ..NodeMetrics::default()
        }
    };
    let class = |starts, wait_us: f64| ClassMetrics {
        starts,
        wait_p50_us: wait_us,
        wait_p99_us: wait_us * 40.0 + 3.0,
        wait_p999_us: wait_us * 400.0 + 9.0,
        slice_use_pct: 12.5,
    };
    Sample {
        metrics: Metrics {
            policy: "throughput".to_string(),
            interval_s: 1.0,
            uptime_s: 86_000.0 + at as f64,
            started: 1234,
            direct: 987,
            direct_pct: 44.4,
            balanced: 3,
            migrations_node: 41,
            alert_starvation: (at / 90) as u64,
            alert_behind: (at / 90) as u64,
            classes: BTreeMap::from([
                ("latency".to_string(), class(4_200, 3.0)),
                ("normal".to_string(), class(612, 180.0)),
                ("batch".to_string(), class(77, 2_500.0)),
                ("sched_idle".to_string(), class(0, 0.0)),
            ]),
            nodes: (0..nodes).map(|id| (id, node(id))).collect(),
            ..Metrics::default()
        },
        settings: Some(Reply {
            settings: Settings::default(),
            returns_in_s: (at > 90).then_some(42),
        }),
        load: Some(12.34),
    }
}

fn model(nodes: usize, cpus: usize, looks: usize) -> Model {
    let mut model = Model::new(Duration::from_secs(1));
    (0..looks).for_each(|at| model.add(sample(nodes, cpus, at)));
    model
}

/// The lines of the screen, without spaces at their ends.
fn screen(model: &Model, theme: Theme, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let draw = |frame: &mut ratatui::Frame| draw(model, theme, frame.area(), frame.buffer_mut());
    terminal.draw(draw).unwrap();
    let cells = terminal.backend().buffer().content().chunks(width.into());
    let line = |cells: &[ratatui::buffer::Cell]| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        format!("{}\n", line.trim_end())
    };
    cells.map(line).collect()
}

fn matches_golden(name: &str, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/top/goldens")
        .join(name);
    if std::env::var("MPG_GOLDENS").is_ok_and(|what| what == "write") {
        fs::write(&path, seen).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == seen,
        "{name} is not the picture any more:\n{seen}"
    );
}

#[test]
fn pictures_are_as_they_were_looked_at() {
    let four = model(4, 4, 100);
    matches_golden("four-nodes-80x24.txt", &screen(&four, PLAIN, 80, 24));
    matches_golden(
        "eight-nodes-120x24.txt",
        &screen(&model(8, 16, 200), PLAIN, 120, 24),
    );
    matches_golden(
        "two-nodes-200x60.txt",
        &screen(&model(2, 112, 300), PLAIN, 200, 60),
    );
    matches_golden(
        "64-nodes-200x60.txt",
        &screen(&model(64, 8, 30), PLAIN, 200, 60),
    );
    let ascii = Theme {
        unicode: false,
        ..PLAIN
    };
    matches_golden(
        "two-nodes-80x24-ascii.txt",
        &screen(&model(2, 64, 90), ascii, 80, 24),
    );
}

#[test]
fn what_is_in_front_is_as_it_was_looked_at() {
    let mut model = model(4, 4, 60);
    let sentence = "the control socket /run/scx_mpg/control.sock answers to root alone: run the \
                    command as root, for example with sudo";
    for (name, popup) in [
        ("help-80x24.txt", Popup::Help),
        ("policies-80x24.txt", Popup::Policies(1)),
        ("sentence-80x24.txt", Popup::Sentence(sentence.to_string())),
    ] {
        model.popup = Some(popup);
        matches_golden(name, &screen(&model, PLAIN, 80, 24));
    }
}

#[test]
fn lines_of_text_are_as_they_were_looked_at() {
    let mut text = Vec::new();
    plain::write(&sample(4, 4, 99), &mut text).unwrap();
    matches_golden("plain.txt", &String::from_utf8(text).unwrap());
}

#[test]
fn colours_and_characters_say_the_same() {
    let model = model(4, 4, 60);
    let colors = Theme {
        color: true,
        ..PLAIN
    };
    assert_eq!(
        screen(&model, PLAIN, 80, 24),
        screen(&model, colors, 80, 24)
    );
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let draw = |frame: &mut ratatui::Frame| draw(&model, PLAIN, frame.area(), frame.buffer_mut());
    terminal.draw(draw).unwrap();
    let cells = terminal.backend().buffer().content().iter();
    let colored = cells.filter(|cell| (cell.fg, cell.bg) != Default::default());
    assert_eq!(colored.count(), 0, "colours though there are to be none");
}

#[test]
fn ascii_is_ascii() {
    let theme = Theme {
        unicode: false,
        color: true,
    };
    let mut model = model(4, 4, 60);
    for popup in [None, Some(Popup::Help), Some(Popup::Policies(0))] {
        model.popup = popup;
        assert!(screen(&model, theme, 100, 50).is_ascii());
    }
}

fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1e4, any::<f64>()]
}

prop_compose! {
    fn any_node()(
        counts in prop::array::uniform12(prop_oneof![Just(0), 0..100u64, any::<u64>()]),
        waits in prop::array::uniform5(numbers()),
        cpus in "[lnbio.x]{0,300}|\\PC{0,20}",
        steals_from in prop::collection::btree_map(0usize..100, any::<u64>(), 0..5),
        distances in prop::collection::btree_map(0usize..100, any::<u32>(), 0..5),
    ) -> NodeMetrics {
        let [queued, primed, custody, pinned, spare, started, decisions, steals_in, refused, preemptions, backlog, fallback] = counts;
        let [average_wait_us, due_wait_us, decisions_per_activation, worker_us, longest_step_us] = waits;
        NodeMetrics {
            queued, primed, custody, pinned, spare, started, decisions, steals_in, refused, preemptions, backlog,
            fallback, average_wait_us, due_wait_us, decisions_per_activation, worker_us, longest_step_us, cpus,
            steals_from, distances,
            ..NodeMetrics::default()
        }
    }
}

prop_compose! {
    fn any_sample()(
        nodes in prop::collection::btree_map(0usize..1000, any_node(), 0..70),
        counts in prop::array::uniform6(any::<u64>()),
        numbers in prop::array::uniform6(numbers()),
        policy in "\\PC{0,90}|[\\x00-\\x20]{0,9}",
        known in any::<bool>(),
    ) -> Sample {
        let [started, direct, starts, alert_storm, balanced, leased] = counts;
        let [interval_s, uptime_s, direct_pct, wait_p50_us, wait_p99_us, load] = numbers;
        let class = ClassMetrics { starts, wait_p50_us, wait_p99_us, ..ClassMetrics::default() };
        Sample {
            metrics: Metrics {
                policy, started, direct, alert_storm, balanced, leased, interval_s, uptime_s, direct_pct, nodes,
                classes: BTreeMap::from([("batch".to_string(), class)]),
                ..Metrics::default()
            },
            settings: known.then(Reply::default),
            load: known.then_some(load),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_sample_is_drawn_in_any_place_and_nowhere_else(
        samples in prop::collection::vec(any_sample(), 0..3),
        (width, height) in prop_oneof![(1u16..70, 1u16..30), (60u16..260, 10u16..90)],
        (left, top) in (0u16..4, 0u16..4),
        (skipped, popup) in (0usize..80, 0usize..4),
        (color, unicode, paused) in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let mut model = Model::new(Duration::from_secs(1));
        samples.iter().for_each(|sample| model.add(sample.clone()));
        (model.skipped, model.paused) = (skipped, paused);
        model.popup = [None, Some(Popup::Help), Some(Popup::Policies(skipped)), Some(Popup::Sentence("x".repeat(999)))]
            [popup].clone();
        let all = Rect::new(0, 0, width + left + 2, height + top + 2);
        let mut buffer = Buffer::empty(all);
        for y in 0..all.height {
            buffer.set_string(0, y, "~".repeat(all.width.into()), Style::new());
        }
        let area = Rect::new(left, top, width, height);
        draw(&model, Theme { color, unicode }, area, &mut buffer);
        for position in all.positions().filter(|at| !area.contains(*at)) {
            prop_assert_eq!(buffer[position].symbol(), "~", "{} {}", position, area);
        }
        for sample in &samples {
            plain::write(sample, &mut Vec::new()).unwrap();
        }
    }
}
