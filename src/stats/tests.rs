// SPDX-License-Identifier: GPL-2.0-only
//! Counters against the wire, metrics against made-up snapshots, the socket against its monitor.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::monitor::{monitor_at, print_once_from, report_to, MonitorError};
use super::*;

/// The counters are the header's, in its order, each described.
#[test]
fn every_counter_of_the_wire_is_described() {
    let header = include_str!("../../bpf/intf.h");
    let wire: Vec<String> = header
        .lines()
        .filter_map(|line| line.trim().strip_prefix("MPG_COUNT_")?.strip_suffix(','))
        .map(str::to_lowercase)
        .collect();
    assert_eq!(wire, COUNTERS);
    let meta = Metrics::meta();
    for counter in COUNTERS {
        assert!(meta.fields[*counter].attrs.desc.is_some(), "{counter}");
    }
    assert!(meta.fields.values().all(|field| field.attrs.desc.is_some()));
    for meta in [NodeMetrics::meta(), ClassMetrics::meta()] {
        assert!(meta.fields.values().all(|field| field.attrs.desc.is_some()));
    }
}

/// A snapshot whose every count is `scale` times its own small number.
pub fn snapshot(scale: u64) -> Snapshot {
    let node = NodeSnapshot {
        id: 3,
        queued: 1,
        primed: 2,
        custody: 3,
        pinned: 6,
        spare: 7,
        idle_cpus: 4,
        cpus: "ln.x".to_string(),
        started: 8 * scale,
        average_wait_ns: 2_500,
        backlog: 5,
        activations: 10 * scale,
        decisions: 25 * scale,
        refused: 2 * scale,
        due_wait_ns: 1500,
        distances: BTreeMap::from([(0, 12), (1, 32), (2, 32)]),
        steals_from: BTreeMap::from([(0, 3 * scale), (1, 5 * scale), (2, 0)]),
        steals_in: BTreeMap::from([(12, 3 * scale), (32, 5 * scale)]),
        steals_out: BTreeMap::from([(12, 9 * scale), (32, 0)]),
        preemptions: 6 * scale,
        fallbacks: 7 * scale,
        vclock_ns: 10,
        worker_runtime_ns: 2_000_000,
        longest_step_ns: 12_500,
        fallback: scale > 1,
    };
    let counters: Vec<u64> = (1..=COUNTERS.len() as u64).map(|n| n * scale).collect();
    let nodes = vec![node];
    Snapshot {
        uptime: Duration::from_secs(scale),
        lost: lost(&counters, &nodes),
        counters,
        nodes,
        classes: vec![
            ClassSnapshot {
                // Half did not wait, of the others most for 8 or 9 units.
                waits: Histogram::new(vec![50 * scale, 0, 0, 0, 0, 0, 0, 0, 49 * scale, scale]),
                given_ns: 4_000_000 * scale,
                used_ns: 1_000_000 * scale,
            },
            ClassSnapshot::default(),
        ],
        // Of 8 or 9 units most, of 4 the others.
        lifetimes: Histogram::new(vec![0, 0, 0, 0, scale, 0, 0, 0, 9 * scale]),
        memory: Tally {
            homes: 4,
            looks: 6 * scale,
            cpu_ns: 1_500_000 * scale,
            ..Tally::default()
        },
        alerts: Standing {
            raised: [false, scale > 1, false, false, scale > 1],
            total: 2 * scale,
        },
        settings: Settings::default(),
    }
}

#[test]
fn metrics_are_differences() {
    let metrics = Metrics::between(&snapshot(2), &snapshot(5));
    assert_eq!(
        (metrics.entered, metrics.started, metrics.direct),
        (3, 6, 12)
    );
    assert_eq!(metrics.exited, 3 * COUNTERS.len() as u64);
    let counts = (1..).map(|n| 3 * n);
    let by_name: Vec<(&str, u64)> = COUNTERS.iter().copied().zip(counts).collect();
    assert_eq!(metrics.counts().to_vec(), by_name);
    assert_eq!((metrics.memory_homes, metrics.memory_looks), (4, 18));
    assert_eq!(metrics.memory_us, 4500.0);
    assert_eq!((metrics.total_entered, metrics.total_started), (5, 10));
    assert_eq!((metrics.interval_s, metrics.uptime_s), (3.0, 5.0));
    assert_eq!(metrics.decisions_per_activation, 2.5);
    assert_eq!((metrics.alert_storm, metrics.alert_idle), (1, 0));
    assert_eq!((metrics.alert_behind, metrics.total_alerts), (1, 10));
    assert_eq!(metrics.direct_pct, 80.0);
    assert_eq!(metrics.policy, "mpg");
    // 1 entered, 2 started, 3 cancelled of each five, and five waiting.
    assert_eq!(metrics.lost, 5 - 10 - 15 - 5);
    let node = &metrics.nodes[&3];
    assert_eq!(
        (node.activations, node.steals_in, node.steals_out),
        (30, 24, 27)
    );
    assert_eq!((node.idle_cpus, node.queued, node.fallback), (4, 1, 1));
    assert_eq!(node.longest_step_us, 12.5);
    assert_eq!(
        (node.decisions_per_activation, node.due_wait_us),
        (2.5, 1.5)
    );
    assert_eq!(
        (node.refused, node.preemptions, node.fallbacks),
        (6, 18, 21)
    );
    assert_eq!((node.pinned, node.spare, node.started), (6, 7, 24));
    assert_eq!((node.cpus.as_str(), node.average_wait_us), ("ln.x", 2.5));
    assert_eq!(node.steals_from, BTreeMap::from([(0, 9), (1, 15)]));
    assert_eq!(node.distances[&1], 32);
    assert_eq!(
        node.steals_in_by_distance,
        BTreeMap::from([(12, 9), (32, 15)])
    );
    assert_eq!(
        node.steals_out_by_distance,
        BTreeMap::from([(12, 27), (32, 0)])
    );
    assert_eq!(
        (metrics.created_per_s, metrics.exited_per_s),
        ((COUNTERS.len() - 1) as f64, COUNTERS.len() as f64)
    );
    // Units of 65.536 us.
    assert_eq!(
        (metrics.lifetime_p50_ms, metrics.lifetime_p99_ms),
        (0.589824, 0.589824)
    );
    let latency = &metrics.classes["latency"];
    assert_eq!((latency.starts, latency.wait_p50_us), (300, 0.0));
    // Units of 1.024 us.
    assert_eq!((latency.wait_p99_us, latency.wait_p999_us), (9.216, 11.264));
    assert_eq!(latency.slice_use_pct, 25.0);
    assert_eq!(metrics.classes["normal"], ClassMetrics::default());
}

#[test]
fn a_cpu_has_the_letter_of_what_it_does() {
    let running: String = (0..CLASSES.len() as u32 + 1)
        .map(|class| letter(false, false, Some(class)))
        .collect();
    assert_eq!(running, "lnbio");
    assert_eq!(letter(false, false, None), 'o');
    // The word of what runs there is older than that of its idling, and of its leaving.
    assert_eq!(letter(false, true, Some(0)), '.');
    assert_eq!(letter(true, true, Some(0)), 'x');
}

#[test]
fn nothing_is_divided_by_nothing_and_nothing_goes_below_it() {
    let none = Snapshot::default();
    let metrics = Metrics::between(&none, &none);
    assert_eq!((metrics.direct_pct, metrics.calls_per_start), (0.0, 0.0));
    assert_eq!((metrics.created_per_s, metrics.lifetime_p99_ms), (0.0, 0.0));
    // A reload between two reads sets the counters back.
    assert_eq!(Metrics::between(&snapshot(5), &snapshot(2)).entered, 0);
}

#[test]
fn a_block_has_a_line_per_subject_and_node() {
    let mut block = Vec::new();
    Metrics::between(&snapshot(1), &snapshot(2))
        .format(&mut block)
        .unwrap();
    let block = String::from_utf8(block).unwrap();
    assert!(
        block.contains("  alerts  in all 4, now STORM BEHIND\n"),
        "{block}"
    );
    assert_eq!(block.lines().count(), 10);
    assert!(block.starts_with("scx_mpg mpg: slice "), "{block}");
    assert!(
        block.contains(" decisions 25 (2.5 per step, refused 2) ")
            && block.contains(" steals in 8 (12:3 32:5) out 9 (12:9) "),
        "{block}"
    );
    assert!(
        block.trim_end().ends_with("longest step 12.5 us FALLBACK"),
        "{block}"
    );
}

#[test]
fn the_description_names_everything() {
    let mut text = Vec::new();
    describe(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    for name in COUNTERS
        .iter()
        .chain(&["longest_step_us", "decisions_per_activation"])
    {
        assert!(text
            .lines()
            .any(|l| l.trim_start().starts_with(name) && l.contains(" : ")));
    }
}

fn growing_reader() -> Reader {
    let scale = AtomicU64::new(0);
    Arc::new(move || snapshot(1 + scale.fetch_add(1, Ordering::Relaxed)))
}

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mpg_stats_{}_{name}", std::process::id()))
}

/// Takes reports until it has `lines`, then stops whoever writes.
struct Until<'a> {
    stop: &'a AtomicBool,
    lines: usize,
    text: String,
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.push_str(std::str::from_utf8(bytes).unwrap());
        if self.text.lines().count() >= self.lines {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_monitor_reads_what_the_server_serves() {
    let path = socket("serve");
    let server = serve_at(&path, growing_reader()).unwrap();
    let stop = AtomicBool::new(false);
    let mut out = Until {
        stop: &stop,
        lines: 16,
        text: String::new(),
    };
    monitor_at(&path, Duration::from_millis(10), &stop, &mut out).unwrap();
    // The first report is since the load, the second since the first.
    assert!(
        out.text.contains("1.0 s of 1 s") && out.text.contains("1.0 s of 2 s"),
        "{}",
        out.text
    );
    let successor = serve_at(&path, growing_reader()).unwrap();
    drop(server);
    assert!(path.exists(), "a successor's socket was removed");
    drop(successor);
    assert!(!path.exists());
}

#[test]
fn statistics_are_printed_once() {
    let path = socket("once");
    let print = |fields: &[&str]| {
        let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
        let mut out = Vec::new();
        print_once_from(&path, &fields, &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    assert!(matches!(print(&[]), Err(MonitorError::NotRunning(_))));
    let _server = serve_at(&path, growing_reader()).unwrap();
    let all: Metrics = serde_json::from_str(&print(&[]).unwrap()).unwrap();
    assert_eq!(all.policy, "mpg");
    assert_eq!(print(&["policy", "uptime_s"]).unwrap(), "mpg 2.0\n");
    let refusal = print(&["policy", "no_such"]).unwrap_err().to_string();
    assert!(
        refusal.contains("no field no_such") && refusal.contains("--help-stats"),
        "{refusal}"
    );
}

#[test]
fn a_monitor_says_what_is_wrong() {
    let stop = AtomicBool::new(false);
    let watch = |path: &PathBuf| {
        monitor_at(path, Duration::from_millis(10), &stop, &mut std::io::sink()).unwrap_err()
    };
    let path = socket("wrong");
    assert!(watch(&path)
        .to_string()
        .starts_with("no scx_mpg is running (nothing answers at "));

    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let other = thread::spawn(move || {
        use std::io::{BufRead, BufReader};
        let metrics = serde_json::to_string(&Metrics::default()).unwrap();
        let resp = format!("{{\"errno\":0,\"args\":{{\"resp\":{metrics}}}}}\n");
        for answer in [
            "{\"errno\":0,\"args\":{\"resp\":{\"nr_queued\":1}}}\n",
            &resp,
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut line)
                .unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let refusal = watch(&path).to_string();
    assert!(
        refusal.contains("is not an scx_mpg of this release"),
        "{refusal}"
    );
    assert!(matches!(watch(&path), MonitorError::Ended));
    other.join().unwrap();
    // A socket that a dead daemon left behind.
    assert!(matches!(watch(&path), MonitorError::NotRunning(_)));
    let _ = std::fs::remove_file(&path);
}

#[test]
fn a_report_of_this_process_goes_on_until_stopped() {
    let stop = AtomicBool::new(false);
    let mut out = Until {
        stop: &stop,
        lines: 16,
        text: String::new(),
    };
    report_to(Duration::from_millis(5), &stop, &growing_reader(), &mut out).unwrap();
    assert_eq!(out.text.matches("scx_mpg mpg: ").count(), 2);

    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    stop.store(false, Ordering::Relaxed);
    report_to(
        Duration::from_millis(5),
        &stop,
        &growing_reader(),
        &mut Closed,
    )
    .unwrap();
}
