// SPDX-License-Identifier: GPL-2.0-only
//! What is served against the table of statistics, and the server against clients of every kind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use scx_stats::Meta;

use super::*;
use crate::bpf_intf::mpg_counter_MPG_NR_COUNTERS;
use crate::stats::tests::snapshot;
use crate::stats::{Metrics, NodeMetrics, Snapshot};

fn text_of(snapshot: Snapshot) -> String {
    Families::new(Arc::new(move || snapshot.clone())).text()
}

/// The value of the series that is called and labelled so.
fn value<'a>(text: &'a str, series: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
}

#[test]
fn everything_is_served_that_cannot_be_computed_from_the_rest() {
    let of = |meta: scx_stats::StatsMeta| {
        let marked = |marks: usize, field: &str| {
            assert!(marks < 2, "{field} is marked as {marks} kinds");
            marks == 1
        };
        let left_out: Vec<String> = meta
            .fields
            .iter()
            .filter(|(name, field)| !marked(field.attrs.user.len(), name))
            .map(|(name, _)| name.clone())
            .collect();
        left_out.join(" ")
    };
    assert_eq!(
        of(Metrics::meta()),
        "activations calls_per_start classes created_per_s decisions decisions_per_activation \
         direct_pct exited_per_s home_pct interval_s lifetime_p50_ms lifetime_p99_ms nodes \
         refused_pct total_entered total_fallbacks total_started"
    );
    assert_eq!(
        of(NodeMetrics::meta()),
        "cpus decisions_per_activation distances steals_from steals_in_by_distance \
         steals_out_by_distance"
    );
}

#[test]
fn names_units_and_kinds_are_as_prometheus_asks() {
    let text = text_of(snapshot(2));
    for (series, expected) in [
        ("scx_mpg_entered_total", 2.0),
        ("scx_mpg_memory_seconds_total", 0.003),
        ("scx_mpg_uptime_seconds", 2.0),
        ("scx_mpg_slice_seconds", 0.005),
        ("scx_mpg_lost", -13.0),
        ("scx_mpg_policy_info{policy=\"mpg\"}", 1.0),
        ("scx_mpg_node_decisions_total{node=\"3\"}", 50.0),
        ("scx_mpg_node_worker_seconds_total{node=\"3\"}", 0.002),
        ("scx_mpg_node_longest_step_seconds{node=\"3\"}", 0.0000125),
        ("scx_mpg_node_average_wait_seconds{node=\"3\"}", 0.0000025),
        ("scx_mpg_node_due_wait_seconds{node=\"3\"}", 0.0000015),
        ("scx_mpg_alert_storm", 1.0),
        ("scx_mpg_alerts_total", 4.0),
        ("scx_mpg_node_fallback{node=\"3\"}", 1.0),
    ] {
        let value = value(&text, series).and_then(|value| value.parse().ok());
        assert_eq!(value, Some(expected), "{series} in {text}");
    }
    assert!(text.contains("\nscx_mpg_build_info{version=\""));
    assert!(text.contains("# TYPE scx_mpg_class_wait_seconds histogram\n"));
    assert!(text.contains("# TYPE scx_mpg_entered counter\n"));
    assert!(text.contains("# UNIT scx_mpg_node_vclock_seconds seconds\n"));
    assert!(text.contains("# HELP scx_mpg_node_worker_seconds CPU time of the worker, seconds\n"));
    assert!(text.ends_with("\n# EOF\n"));
    for word in ["micro", "nano", "_us ", "_ns ", "\\"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

/// Of 200 waits half were none, nearly all others 8 or 9 units of 1.024 us, and two 10 or 11.
#[test]
fn waits_and_lives_are_histograms() {
    let text = text_of(snapshot(2));
    let series = |name: &str, label: &str, part: &str| {
        let series = format!("scx_mpg_{name}_seconds_{part}");
        let line = text
            .lines()
            .find(|line| line.starts_with(&series) && line.contains(label));
        let (_, value) = line?.rsplit_once(' ')?;
        value.parse::<f64>().ok()
    };
    let latency = "class=\"latency\"";
    assert_eq!(series("class_wait", latency, "count"), Some(200.0));
    let sum = series("class_wait", latency, "sum").unwrap();
    assert!(
        (sum - (98.0 * 9.0 + 2.0 * 11.0) * 1.024e-6).abs() < 1e-9,
        "{sum}"
    );
    let below = |le: f64| {
        let buckets = text.lines().filter(|line| {
            line.starts_with("scx_mpg_class_wait_seconds_bucket") && line.contains(latency)
        });
        let of = |line: &str| {
            let bound = line.split("le=\"").nth(1)?.split('"').next()?;
            let (_, count) = line.rsplit_once(' ')?;
            Some((bound.parse::<f64>().ok()?, count.parse::<u64>().ok()?))
        };
        let buckets: Vec<(f64, u64)> = buckets.filter_map(of).collect();
        assert!(buckets.is_sorted(), "{buckets:?}");
        let found = buckets
            .iter()
            .find(|(bound, _)| (bound / le - 1.0).abs() < 1e-9 || *bound == le);
        found.map(|&(_, count)| count)
    };
    assert_eq!(below(8.0 * 1.024e-6), Some(100));
    assert_eq!(below(16.0 * 1.024e-6), Some(200));
    assert_eq!(below(f64::INFINITY), Some(200));
    assert_eq!(series("class_wait", "class=\"normal\"", "count"), Some(0.0));
    assert_eq!(series("lifetime", "", "count"), Some(20.0));
}

proptest! {
    #[test]
    fn counts_are_served_as_they_are(counts in prop::collection::vec(any::<u64>(), mpg_counter_MPG_NR_COUNTERS as usize)) {
        let text = text_of(Snapshot { counters: counts.clone(), ..snapshot(1) });
        let entered = counts[0].to_string();
        prop_assert_eq!(value(&text, "scx_mpg_entered_total"), Some(entered.as_str()));
        for count in counts {
            let ending = format!("_total {count}");
            prop_assert!(text.lines().any(|line| line.ends_with(&ending)), "{}", count);
        }
    }
}

#[test]
fn the_dashboard_and_the_rules_use_what_is_served() {
    let text = text_of(snapshot(1));
    let served: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let dashboard = fs::read_to_string(docs.join("grafana/scx_mpg.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
    let rules = fs::read_to_string(docs.join("prometheus/rules.yml")).unwrap();
    for (file, content) in [("the dashboard", dashboard), ("the rules", rules)] {
        let names: BTreeSet<&str> = content
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("scx_mpg_"))
            .collect();
        assert!(names.len() > 5, "{file}: {names:?}");
        let unknown: Vec<_> = names.difference(&served).collect();
        assert!(unknown.is_empty(), "{file} uses {unknown:?}");
    }
}

/// A path that nobody else uses, in a directory of its own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("mpg_om_{}_{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("metrics.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn families() -> Families {
    Families::new(Arc::new(|| snapshot(1)))
}

fn at_socket(path: &Path) -> Server {
    let endpoint = listen(&Address::Unix(path.into()), None).unwrap();
    endpoint.serve(families()).unwrap()
}

/// What a client is told, all of it.
fn ask(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn it_is_served_at_both_kinds_of_addresses() {
    let scratch = Scratch::new("both");
    let path = scratch.socket();
    let server = at_socket(&path);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let endpoint = listen(&Address::Tcp(([127, 0, 0, 1], 0).into()), None).unwrap();
    let Listener::Tcp(listener) = &endpoint.listener else {
        panic!("no TCP")
    };
    let at = listener.local_addr().unwrap();
    let _tcp = endpoint.serve(families()).unwrap();
    for answer in [
        ask(UnixStream::connect(&path).unwrap(), SCRAPE),
        ask(TcpStream::connect(at).unwrap(), SCRAPE),
    ] {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{head}");
        assert_eq!(body, families().text());
    }
    let answer = ask(TcpStream::connect(at).unwrap(), "GET / HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    // More than it reads before it answers: the answer comes all the same.
    let post = format!("POST /metrics HTTP/1.1\r\n\r\n{}", "x".repeat(30_000));
    let answer = ask(TcpStream::connect(at).unwrap(), &post);
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");

    drop(server);
    assert!(!path.exists());
    let taken = listen(&Address::Tcp(at), None).err().unwrap();
    let sentence = format!("{taken:#}");
    assert!(
        sentence.starts_with("cannot serve metrics at 127.0.0.1:"),
        "{sentence}"
    );
    assert!(!sentence.contains('\n'));
}

#[test]
fn nobody_waits_for_silent_clients_however_many() {
    let scratch = Scratch::new("silent");
    let path = scratch.socket();
    let _server = at_socket(&path);
    let begun = Instant::now();
    let silent: Vec<UnixStream> = (0..20)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    for half in &silent[..10] {
        // Those that are hung up on already cannot be told.
        let _ = (&mut &*half).write_all(b"GET /metr");
    }
    // One who takes a while to ask is not taken for one of them.
    let asker = UnixStream::connect(&path).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let answer = ask(asker, SCRAPE);
    assert!(answer.ends_with("# EOF\n"));
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    // And in the end all are hung up on.
    for stream in silent {
        assert!(sent_before_the_end(stream).is_some());
    }
    let all = begun.elapsed();
    assert!(all < Duration::from_secs(4), "{all:?}");
}

/// How much a client is sent before it is hung up on; none if it is not.
fn sent_before_the_end(mut stream: UnixStream) -> Option<usize> {
    let patience = Some(Duration::from_secs(5));
    stream.set_read_timeout(patience).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
        _ => Some(bytes.len()),
    }
}

#[test]
fn nobody_waits_for_clients_that_do_not_read() {
    let (client, peer) = UnixStream::pair().unwrap();
    let scratch = Scratch::new("unread");
    let (listener, _file) = socket::listen(&scratch.socket(), None).unwrap();
    let listener = Listener::Unix(listener);
    // More than any socket's buffer takes.
    let text = "x".repeat(1 << 20);
    let thread = std::thread::spawn({
        let text = text.clone();
        move || server::serve(&listener, &peer, || text.clone())
    });
    let mut lazy: Vec<UnixStream> = Vec::new();
    for _ in 0..3 {
        let mut stream = UnixStream::connect(scratch.socket()).unwrap();
        stream.write_all(SCRAPE.as_bytes()).unwrap();
        lazy.push(stream);
    }
    let answer = ask(UnixStream::connect(scratch.socket()).unwrap(), SCRAPE);
    assert!(answer.ends_with(&text));
    // They are not kept for ever, nor do they keep the end waiting.
    std::thread::sleep(Duration::from_millis(2500));
    for stream in lazy {
        assert!(sent_before_the_end(stream).is_some_and(|bytes| bytes < text.len()));
    }
    drop(client);
    thread.join().unwrap();
}
