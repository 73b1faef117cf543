// SPDX-License-Identifier: GPL-2.0-only
//! Attribution, of records that were made up: two nodes of two CPUs each.

use proptest::prelude::*;

use super::attribute::{attribute, pieces, Cause, Past, Shape};
use super::collect::{Collector, Filter};
use super::record::{Event, How, Kind, Late, Place, Record, Who};
use super::report::Report;
use super::watch::Watched;

const MS: u64 = 1_000_000;
/// Every wait of the examples.
const SINCE: u64 = 100 * MS;
const START: u64 = 110 * MS;
const VICTIM: u32 = 7;
const WORKER: u32 = 90;

fn shape() -> Shape {
    Shape {
        cpu_node: vec![0, 0, 1, 1],
        online: vec![true; 4],
        node_ids: vec![0, 3],
        leaves: vec![vec![u64::MAX, 2 * MS], vec![2 * MS, u64::MAX]],
        one_queue: false,
    }
}

fn who(pid: u32, kind: Kind) -> Who {
    let mut comm = [0; 16];
    comm[0] = b'a' + (pid % 26) as u8;
    Who { pid, comm, kind }
}

fn record(cpu: u16, at: u64, event: Event) -> Record {
    Record {
        at,
        cpu,
        dropped: 0,
        event,
    }
}

fn run(cpu: u16, who: Who, started: u64, at: u64) -> Record {
    let goes_on = false;
    record(
        cpu,
        at,
        Event::Run {
            started,
            who,
            goes_on,
        },
    )
}

/// Who waited in custody of node 0 and started on CPU 0.
fn late() -> Late {
    Late {
        who: who(VICTIM, Kind::Normal),
        tgid: VICTIM,
        weight: 100,
        since: SINCE,
        start: START,
        decided: None,
        called: None,
        how: How::Woken,
        place: Place::Custody(0),
        cpu: 0,
        from_cpu: 0,
        allowed_nodes: 3,
        restricted: false,
        pinned: false,
        fallback: false,
        allowed: None,
    }
}

/// Hogs on all CPUs but those that `records` tell of, which come after that.
fn past_of(records: &[Record]) -> Past {
    let told = |cpu: u16| {
        records
            .iter()
            .any(|record| record.cpu == cpu && !matches!(record.event, Event::Call(..)))
    };
    let hogs = (0..4).filter(|&cpu| !told(cpu));
    let hogs = hogs.map(|cpu| {
        run(
            cpu,
            who(20 + u32::from(cpu), Kind::Batch),
            50 * MS,
            150 * MS,
        )
    });
    collect(hogs.chain(records.iter().cloned()), Filter::default()).past
}

fn collect(records: impl Iterator<Item = Record>, filter: Filter) -> Watched {
    let mut collector = Collector::new(shape(), filter, Vec::new());
    // The watch begins with this.
    collector
        .add(record(0, 50 * MS, Event::Call(1, 91)), |_| None)
        .unwrap();
    for record in records {
        collector.add(record, |_| Some(vec![0])).unwrap();
    }
    let span = collector.span();
    let (past, late, seen) = collector.finish();
    Watched {
        past,
        late,
        seen,
        span,
        to_wall: 0,
        unloaded: false,
    }
}

/// The main cause, its part in milliseconds, and who ran longest before it.
fn told(late: &Late, records: &[Record]) -> (Cause, u64, Option<u32>) {
    let outcome = attribute(&past_of(records), late);
    assert_eq!(outcome.parts.iter().sum::<u64>(), late.start - late.since);
    let main = outcome.main();
    let first = outcome.behind.first().map(|behind| behind.who.pid);
    (main, outcome.parts[main as usize] / MS, first)
}

fn idle(cpu: u16, from: u64, to: u64) -> [Record; 2] {
    [
        record(cpu, from, Event::Idle(true)),
        record(cpu, to, Event::Idle(false)),
    ]
}

#[test]
fn all_cpus_full_is_the_queue_behind_who_ran_longest() {
    assert_eq!(told(&late(), &[]).0, Cause::Queue);
    let short = [
        run(0, who(30, Kind::Normal), 50 * MS, 103 * MS),
        run(0, who(31, Kind::Normal), 103 * MS, 150 * MS),
    ];
    // Of CPU 1 its hog had all the time, of CPU 0 the second one 7 ms.
    let outcome = attribute(&past_of(&short), &late());
    let behind: Vec<_> = outcome
        .behind
        .iter()
        .map(|b| (b.who.pid, b.ns / MS))
        .collect();
    assert_eq!(behind, [(21, 10), (31, 7), (30, 3)]);
}

#[test]
fn an_idle_cpu_of_its_own_is_waking() {
    let records = idle(1, 50 * MS, 106 * MS);
    let busy = run(1, who(40, Kind::Batch), 106 * MS, 150 * MS);
    let records = [&records[..], &[busy]].concat();
    assert_eq!(told(&late(), &records), (Cause::Waking, 6, Some(20)));
}

#[test]
fn an_idle_node_is_leave_or_affinity() {
    let records = idle(2, 50 * MS, 150 * MS);
    assert_eq!(told(&late(), &records).0, Cause::Leave);
    assert_eq!(attribute(&past_of(&records), &late()).idle_node, Some(1));
    let bound = Late {
        allowed_nodes: 1,
        restricted: true,
        ..late()
    };
    assert_eq!(told(&bound, &records).0, Cause::Affinity);
    // Also where it may use some CPUs of that node, but not the idle one.
    let some = Late {
        restricted: true,
        allowed: Some(vec![0, 1, 3]),
        ..late()
    };
    assert_eq!(told(&some, &records).0, Cause::Affinity);
    let pinned = Late {
        pinned: true,
        restricted: true,
        place: Place::Cpu(0),
        ..late()
    };
    assert_eq!(told(&pinned, &records), (Cause::Affinity, 10, Some(20)));
}

#[test]
fn one_queue_has_no_elsewhere() {
    let mut past = past_of(&idle(2, 50 * MS, 150 * MS));
    past.shape.one_queue = true;
    assert_eq!(attribute(&past, &late()).main(), Cause::Waking);
}

#[test]
fn a_worker_that_is_silent_is_the_cause_until_the_decision() {
    let since_before = Late {
        called: Some(90 * MS),
        ..late()
    };
    assert_eq!(told(&since_before, &[]), (Cause::Worker, 10, Some(20)));
    // Called 2 ms into the wait, the worker ran 5 ms later.
    let called = record(1, 102 * MS, Event::Call(0, WORKER));
    let ran = run(3, who(WORKER, Kind::Own), 107 * MS, 108 * MS);
    let records = [
        called,
        run(3, who(50, Kind::Normal), 50 * MS, 107 * MS),
        ran,
    ];
    let outcome = attribute(&past_of(&records), &late());
    assert_eq!(outcome.parts[Cause::Worker as usize], 5 * MS);
    // The decision came before: what it waited for then is not the worker.
    let decided = Late {
        decided: Some(104 * MS),
        place: Place::Primed(0),
        ..late()
    };
    let outcome = attribute(&past_of(&records), &decided);
    assert_eq!(outcome.parts[Cause::Worker as usize], 2 * MS);
    assert_eq!(outcome.main(), Cause::Queue);
    // A CPU elsewhere that may take it asks for no answer.
    let elsewhere = [&records[..2], &idle(2, 50 * MS, 150 * MS)].concat();
    assert_eq!(told(&late(), &elsewhere).0, Cause::Leave);
    // Who had a decision all the time waited for none.
    let leased = Late {
        place: Place::Primed(0),
        ..late()
    };
    assert_eq!(
        attribute(&past_of(&records), &leased).parts[Cause::Worker as usize],
        0
    );
}

proptest! {
    /// A call is answered by the first run of its node's worker that ends after it, in whichever order
    /// the rings of calls and the logs of runs are read.
    #[test]
    fn calls_find_their_answers_in_any_order(
        mut calls in proptest::collection::vec((100u64..130, 0u16..2), 0..6),
        mut runs in proptest::collection::vec((100u64..130, 0u64..4, 0u32..2), 0..6),
        runs_first: bool,
    ) {
        let worker = |node: u32| WORKER + node;
        let call = |&(at, node): &(u64, u16)| record(0, at, Event::Call(node, worker(node.into())));
        let ran = |&(end, length, node): &(u64, u64, u32)| {
            run(2, who(worker(node), Kind::Own), end - length, end)
        };
        runs.sort_by_key(|run| run.0);
        let mut records: Vec<Record> = calls.iter().map(call).chain(runs.iter().map(ran)).collect();
        if runs_first {
            records.rotate_left(calls.len());
        }
        let past = collect(records.into_iter(), Filter::default()).past;
        calls.sort_unstable();
        for node in 0..2u16 {
            let answered = |at: u64| {
                let mut runs = runs.iter().filter(|run| run.2 == u32::from(node));
                let run = runs.find(|run| run.0 >= at)?;
                Some(at.max(run.0 - run.1))
            };
            let expected = calls.iter().filter(|call| call.1 == node);
            let expected: Vec<_> = expected.map(|call| (call.0, answered(call.0))).collect();
            let told = &past.calls[usize::from(node)];
            let told: Vec<_> = told.iter().filter(|call| call.0 < 1000).copied().collect();
            prop_assert_eq!(told, expected);
        }
    }
}

#[test]
fn what_is_not_ours_has_the_share_of_its_cpus() {
    let hog = who(40, Kind::Batch);
    let around = [
        run(0, hog, 50 * MS, 99 * MS),
        run(0, hog, 112 * MS, 150 * MS),
    ];
    let outcome = attribute(&past_of(&around), &late());
    assert_eq!(outcome.parts[Cause::OtherClass as usize], 5 * MS);
    assert_eq!(outcome.parts[Cause::Queue as usize], 5 * MS);
    let next_there = Late {
        place: Place::Local(0),
        ..late()
    };
    assert_eq!(told(&next_there, &around), (Cause::OtherClass, 10, None));
}

#[test]
fn who_put_it_off_is_named_for_as_long_as_he_runs() {
    let taken = [
        run(0, who(VICTIM, Kind::Normal), 90 * MS, 100 * MS),
        run(0, who(60, Kind::Latency), 100 * MS + 5000, 107 * MS),
        run(0, who(61, Kind::Normal), 107 * MS, 110 * MS),
    ];
    let preempted = Late {
        how: How::Preempted,
        ..late()
    };
    assert_eq!(told(&preempted, &taken).0, Cause::Preempted);
    let outcome = attribute(&past_of(&taken), &preempted);
    assert_eq!(outcome.taker.map(|who| who.pid), Some(60));
    assert_eq!(outcome.parts[Cause::Preempted as usize], 7 * MS);
    // Who was woken was not put off.
    assert_eq!(told(&late(), &taken).0, Cause::Queue);
}

#[test]
fn the_rest_is_by_what_runs() {
    let spare = Late {
        who: who(VICTIM, Kind::Spare),
        place: Place::Spare(0),
        ..late()
    };
    assert_eq!(told(&spare, &[]).0, Cause::Spare);
    for (kind, cause) in [
        (Kind::Kernel, Cause::KernelThreads),
        (Kind::Own, Cause::Scheduler),
        (Kind::Latency, Cause::Queue),
    ] {
        let both = [0, 1].map(|cpu| run(cpu, who(70, kind), 50 * MS, 150 * MS));
        assert_eq!(told(&late(), &both).0, cause);
    }
    let none = collect(std::iter::empty(), Filter::default()).past;
    assert_eq!(attribute(&none, &late()).main(), Cause::Unknown);
}

#[test]
fn a_filter_takes_who_is_asked_for() {
    let lates = || {
        let by_slice = Late {
            how: How::SliceOver,
            ..late()
        };
        let other = Late {
            who: who(8, Kind::Normal),
            tgid: 6,
            ..late()
        };
        [late(), by_slice, other]
            .map(|late| record(0, START, Event::Late(Box::new(late))))
            .into_iter()
    };
    let taken = |filter: Filter| -> Vec<u32> {
        collect(lates(), filter)
            .late
            .iter()
            .map(|late| late.who.pid)
            .collect()
    };
    let base = Filter::default;
    assert_eq!(taken(base()), [VICTIM, 8]);
    assert_eq!(
        taken(Filter {
            all: true,
            ..base()
        }),
        [VICTIM, VICTIM, 8]
    );
    assert_eq!(
        taken(Filter {
            pid: Some(8),
            ..base()
        }),
        [8]
    );
    assert_eq!(
        taken(Filter {
            pid: Some(6),
            ..base()
        }),
        [8]
    );
    let comm = |name: &str| {
        taken(Filter {
            comm: Some(name.to_string()),
            ..base()
        })
    };
    assert_eq!(
        (comm("i"), comm("i*"), comm("*")),
        (vec![8], vec![8], vec![VICTIM, 8])
    );
    assert!(comm("ii").is_empty());
}

#[test]
fn what_is_old_is_let_go_but_for_what_a_newer_wait_began_with() {
    let mut collector = Collector::new(shape(), Filter::default(), Vec::new());
    let mut add = |record| collector.add(record, |_| None).unwrap();
    add(run(0, who(30, Kind::Normal), 10 * MS, 20 * MS));
    add(run(0, who(31, Kind::Normal), 20 * MS, START));
    add(record(0, START, Event::Late(Box::new(late()))));
    collector.keep_last(5 * MS);
    let (past, late, _) = collector.finish();
    assert_eq!((late.len(), past.timelines[0].segments().count()), (1, 1));
}

#[test]
fn a_report_says_it_all() {
    let hogs = (0..4).map(|cpu| {
        run(
            cpu,
            who(20 + u32::from(cpu), Kind::Batch),
            50 * MS,
            150 * MS,
        )
    });
    let late = record(
        2,
        START,
        Event::Late(Box::new(Late {
            cpu: 2,
            from_cpu: 3,
            ..late()
        })),
    );
    let watched = collect(hogs.chain([late]), Filter::default());
    let report = Report::new(&watched, 300, 60_000 * MS);
    let mut text = Vec::new();
    report.write_text(20, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let row = text.lines().nth(1).unwrap();
    for words in [
        "7 h ",
        "10000.0",
        "queue 100%",
        "custody of node 0",
        "0>3 stolen",
        "20 u 10000 us",
    ] {
        assert!(row.contains(words), "{words}: {row}");
    }
    let mut json = Vec::new();
    report.write_json(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["waits"][0]["parts_us"]["queue"], 10_000.0);
    assert_eq!(json["causes"][0]["cause"], "queue");

    let mut trace = Vec::new();
    super::perfetto::write(&watched, &mut trace).unwrap();
    let trace: serde_json::Value = serde_json::from_slice(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let phases = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    // A wait and its one piece.
    assert_eq!((phases("X"), phases("b"), phases("e")), (4, 2, 2));
}

#[test]
fn nobody_late_is_one_sentence() {
    let watched = collect(
        std::iter::once(run(0, who(30, Kind::Normal), 60 * MS, 70 * MS)),
        Filter::default(),
    );
    let mut text = Vec::new();
    Report::new(&watched, 300, 60_000 * MS)
        .write_text(20, &mut text)
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(
        text,
        "Nobody waited for more than 300 us in the last 0.0 s; 1 runs were seen.\n"
    );
}

/// Records of a CPU, in their order or not, with times from 0 to 200 ms.
fn any_record() -> impl Strategy<Value = Record> {
    (
        0u16..5,
        0u64..200_000,
        0u64..30_000,
        0u8..6,
        0u32..6,
        0u32..2,
    )
        .prop_map(|(cpu, at, ran, what, pid, dropped)| {
            let at = at * 1000;
            let kind = [
                Kind::Latency,
                Kind::Normal,
                Kind::Batch,
                Kind::Spare,
                Kind::Kernel,
                Kind::Own,
            ];
            let event = match what {
                0 | 1 => Event::Idle(what == 0),
                2 => Event::Call((pid % 3) as u16, 5),
                _ => Event::Run {
                    started: at.saturating_sub(ran * 1000),
                    who: who(pid, kind[pid as usize]),
                    goes_on: what == 3,
                },
            };
            Record {
                dropped,
                ..record(cpu, at, event)
            }
        })
}

fn any_late() -> impl Strategy<Value = Late> {
    let place = (0u8..5, 0u16..5).prop_map(|(place, at)| match place {
        0 => Place::Custody(at),
        1 => Place::Primed(at),
        2 => Place::Spare(at),
        3 => Place::Cpu(at),
        _ => Place::Local(at),
    });
    let times = (
        0u64..200_000,
        0u64..50_000,
        proptest::option::of(0u64..250_000),
        proptest::option::of(0u64..250_000),
    );
    let bounds = (
        any::<bool>(),
        any::<bool>(),
        0u64..8,
        proptest::option::of(proptest::collection::vec(0u16..6, 0..4)),
    );
    (place, times, bounds, 0u16..5, 0u16..5, 0u8..3).prop_map(
        |(
            place,
            (since, waited, decided, called),
            (pinned, restricted, nodes, allowed),
            cpu,
            from_cpu,
            how,
        )| Late {
            since: since * 1000,
            start: (since + waited) * 1000,
            decided: decided.map(|us| us * 1000),
            called: called.map(|us| us * 1000),
            how: [How::Woken, How::Preempted, How::SliceOver][usize::from(how)],
            place,
            cpu,
            from_cpu,
            allowed_nodes: nodes,
            restricted,
            pinned,
            allowed,
            ..late()
        },
    )
}

proptest! {
    /// Whatever was recorded, in whatever order: the parts add up, and so do the pieces, and nobody
    /// ran before it for longer than the wait on each of the CPUs.
    #[test]
    fn the_parts_of_a_wait_add_up_to_it(
        records in proptest::collection::vec(any_record(), 0..60),
        late in any_late(),
        one_queue: bool,
        forget in proptest::option::of(0u64..200),
    ) {
        let mut shape = shape();
        shape.one_queue = one_queue;
        let mut collector = Collector::new(shape, Filter::default(), vec![1, 2]);
        for record in records {
            collector.add(record, |_| None).unwrap();
        }
        if let Some(ms) = forget {
            collector.keep_last(ms * MS);
        }
        let (past, _, _) = collector.finish();
        let waited = late.start - late.since;
        let outcome = attribute(&past, &late);
        prop_assert_eq!(outcome.parts.iter().sum::<u64>(), waited);
        prop_assert!(outcome.parts[outcome.main() as usize] >= waited / outcome.parts.len() as u64);
        for behind in &outcome.behind {
            prop_assert!(behind.ns <= 4 * waited && behind.who.pid != late.who.pid);
        }
        let mut at = late.since;
        let mut before = None;
        for (from, to, cause) in pieces(&past, &late) {
            prop_assert!(from == at && to > from && before != Some(cause));
            (at, before) = (to, Some(cause));
        }
        prop_assert_eq!(at, late.start);
    }
}
