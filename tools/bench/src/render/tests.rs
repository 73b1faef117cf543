//! What holds of all three outputs, for any comparison.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{html, made_up, markdown, table, text};
use crate::compare::result::{
    Better, Bucket, Comparison, Distribution, Heat, Kind, Load, Metric, Scheduler, Setting, Values,
    Verdict,
};

/// Numbers as they come, and those that break plots.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.001..1e5f64,
        2 => Just(0.0),
        1 => -10.0..10.0f64,
        1 => any::<f64>(),
        1 => Just(1.0),
        1 => Just(f64::MAX),
        1 => Just(5e-324),
    ]
}

/// Text as it comes, and such that would break out of where it stands.
fn foreign() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z -]{1,40}",
        1 => Just("<script>alert('1' && \"2\")</script>]]>".to_owned()),
        1 => Just("a|b`c``\n# d\u{1b}[31m\u{0}\u{ffff}".to_owned()),
        1 => any::<String>(),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    use Verdict::{Better, Differs, None, Same, Worse};
    proptest::sample::select(vec![None, Same, Better, Worse, Differs])
}

fn values() -> impl Strategy<Value = Values> {
    let interval = || option::of((number(), number()));
    (
        vec(number(), 0..4),
        option::of(number()),
        interval(),
        option::of(number()),
        interval(),
        verdict(),
    )
        .prop_map(
            |(rounds, median, interval, ratio, ratio_interval, verdict)| Values {
                rounds,
                median,
                interval,
                ratio,
                ratio_interval,
                verdict,
            },
        )
}

fn metric() -> impl Strategy<Value = Metric> {
    let better = proptest::sample::select(vec![Better::Lower, Better::Higher, Better::Neither]);
    let kind = proptest::sample::select(vec![
        Kind::Latency,
        Kind::Throughput,
        Kind::Count,
        Kind::Description,
    ]);
    let floor = option::of(number());
    (
        foreign(),
        foreign(),
        better,
        kind,
        floor,
        vec(values(), 0..5),
    )
        .prop_map(|(label, unit, better, kind, floor, of)| Metric {
            name: label.clone(),
            label,
            unit,
            better,
            kind,
            floor,
            of,
        })
}

fn buckets() -> impl Strategy<Value = Vec<Bucket>> {
    let count = prop_oneof![Just(0), 1..100_000u64, any::<u64>()];
    vec(
        (number(), count).prop_map(|(longest, count)| Bucket(longest, count)),
        0..6,
    )
}

fn load() -> impl Strategy<Value = Load> {
    let distribution = (foreign(), vec(buckets(), 0..5), option::of(buckets()))
        .prop_map(|(name, of, floor)| Distribution { name, of, floor });
    let heat = (0..6usize, number(), vec(vec(number(), 0..300), 0..4)).prop_map(
        |(scheduler, every_s, nodes)| Heat {
            scheduler,
            every_s,
            nodes,
        },
    );
    (
        foreign(),
        vec(metric(), 0..5),
        vec(distribution, 0..2),
        vec(heat, 0..3),
    )
        .prop_map(|(label, metrics, distributions, heat)| Load {
            kind: label.clone(),
            label,
            metrics,
            distributions,
            heat,
        })
}

fn setting() -> impl Strategy<Value = Setting> {
    (
        vec(foreign(), 5),
        option::of(foreign()),
        vec(vec(any::<usize>(), 0..4), 0..4),
    )
        .prop_map(|(mut words, commit, nodes)| {
            let mut word = || words.pop().unwrap_or_default();
            Setting {
                begun: word(),
                commit,
                kernel: word(),
                command: word(),
                time: word(),
                processor: word(),
                nodes,
                threads_per_core: 2,
                memory_mib: 1 << 40,
                rounds: 3,
                seconds: 10,
            }
        })
}

/// Any comparison at all: also such as [`Comparison::validate`] refuses.
fn comparison() -> impl Strategy<Value = Comparison> {
    let scheduler = (foreign(), option::of(foreign())).prop_map(|(label, command)| Scheduler {
        label,
        ops: command.clone(),
        command,
    });
    (
        any::<bool>(),
        setting(),
        vec(scheduler, 0..5),
        vec(load(), 0..3),
    )
        .prop_map(|(partial, setting, schedulers, loads)| Comparison {
            version: 1,
            partial,
            setting,
            schedulers,
            loads,
        })
}

/// The page's text as a reader of XML sees it; panics where it is not well-formed.
fn content(page: &str) -> String {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    match roxmltree::Document::parse_with_options(page, options) {
        Ok(document) => {
            let texts = document.descendants().filter(|node| node.is_text());
            texts.filter_map(|node| node.text()).collect()
        }
        Err(error) => panic!("{error}: {page}"),
    }
}

/// No drawing shows a number that is none.
fn draws_numbers_only(page: &str) {
    for wrong in ["NaN", "inf", "-inf"] {
        for quoted in [
            format!("=\"{wrong}"),
            format!("L{wrong}"),
            format!(" {wrong}\""),
        ] {
            assert!(!page.contains(&quoted), "{quoted} in {page}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_page_is_well_formed_and_shows_all_labels(comparison in comparison()) {
        let page = html::page(&comparison);
        let content = content(&page);
        for scheduler in &comparison.schedulers {
            prop_assert!(content.contains(&text::clean(&scheduler.label)));
        }
        for load in &comparison.loads {
            prop_assert!(content.contains(&text::clean(&load.label)));
            for metric in &load.metrics {
                prop_assert!(content.contains(&text::title(metric)));
            }
        }
        prop_assert!(!page.contains("<script"));
        draws_numbers_only(&page);
    }

    #[test]
    fn text_is_of_one_shape(comparison in comparison()) {
        let table = table::table(&comparison);
        prop_assert!(table.ends_with('\n'));
        prop_assert!(table.chars().all(|c| c == '\n' || !c.is_control()));
        let section = markdown::section(&comparison);
        prop_assert!(section.starts_with("## "));
        prop_assert_eq!(section.lines().filter(|line| line.starts_with('#')).count(), 1);
        let columns = |line: &str| line.replace("\\|", "").matches('|').count();
        for lines in section.lines().collect::<Vec<_>>().windows(2) {
            if lines.iter().all(|line| line.starts_with('|')) {
                prop_assert_eq!(columns(lines[0]), columns(lines[1]));
            }
        }
    }
}

#[test]
fn the_table_of_a_made_up_comparison() {
    assert_eq!(
        table::table(&made_up::small()),
        include_str!("golden/table.txt")
    );
}

#[test]
fn the_markdown_of_a_made_up_comparison() {
    assert_eq!(
        markdown::section(&made_up::small()),
        include_str!("golden/section.md")
    );
}

#[test]
fn a_table_keeps_to_the_width_with_four_schedulers() {
    let mut comparison = made_up::realistic();
    let more = comparison.schedulers[2].clone();
    comparison.schedulers.push(more);
    for metric in comparison
        .loads
        .iter_mut()
        .flat_map(|load| &mut load.metrics)
    {
        let more = metric.of[2].clone();
        metric.of.push(more);
    }
    for line in table::table(&comparison).lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
}

#[test]
fn what_was_cut_short_says_so_first() {
    let mut comparison = made_up::small();
    comparison.partial = true;
    for metric in &mut comparison.loads[0].metrics {
        metric.of[2].rounds.pop();
    }
    comparison.loads[0].metrics[1].of[0].rounds.clear();
    assert!(table::table(&comparison).starts_with(
        "PARTIAL: it ended before all was run; the figures are of 2 to 3 of 3 rounds."
    ));
    assert!(markdown::section(&comparison).contains("**PARTIAL: "));
    assert!(html::page(&comparison).contains("<p class=\"partial\""));
}
