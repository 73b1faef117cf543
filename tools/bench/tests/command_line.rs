//! The command line of `mpg-bench`, from outside: what cannot be used is told in one sentence, and the exit code says so.

use std::process::{Command, Output};

fn run(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpg-bench"));
    command.args(line.split_whitespace());
    match command.output() {
        Ok(output) => output,
        Err(error) => panic!("mpg-bench cannot be run: {error}"),
    }
}

/// The sentence that a refused command line gives, after the program's name.
fn refusal(line: &str, code: i32) -> String {
    let output = run(line);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}: {told}");
    assert!(output.stdout.is_empty(), "{line} printed figures");
    assert_eq!(told.lines().count(), 1, "{line}: {told}");
    match told.trim_end().strip_prefix("mpg-bench: ") {
        Some(sentence) => sentence.to_owned(),
        None => panic!("{line}: {told}"),
    }
}

#[test]
fn a_value_out_of_range_is_told_with_the_range() {
    for (line, range) in [
        ("wake -m 0", "1..=1024"),
        ("timer -t 0", "1..=1024"),
        ("timer -i 9", "10..=10000000"),
        ("timer -d 1000001", "0..=1000000"),
        ("pipe -l 1000000001", "0..=1000000000"),
        ("messaging -g 0", "1..=1000"),
        ("messaging -f 0", "1..=1000"),
        ("messaging -l 0", "1..=10000000"),
        ("hog -c 16385", "0..=16384"),
        ("mix -c 16385", "0..=16384"),
        ("numa -F 3", "4..=1048576"),
        ("numa -s 1000000", "0..=999999"),
        ("fork -t 0", "1..=1024"),
        ("quota -q 0", "1..=100000"),
        ("quota -i 999", "1000..=10000000"),
        ("quota -u 100", "0..=99"),
        ("usleep -s 0", "1..=999999"),
        ("usleep --spike-us 0", "1..=10000000"),
        ("fork -r 0", "1..=86400"),
    ] {
        let sentence = refusal(line, 2);
        assert!(
            sentence.ends_with(&format!("is not in {range}")),
            "{line}: {sentence}"
        );
    }
}

#[test]
fn what_does_not_go_together_is_told() {
    for (line, part) in [
        ("", "no load was named"),
        ("sleep", "unrecognized subcommand 'sleep'"),
        ("hog --fifo", "--fifo is not for hog"),
        ("mix --real", "unexpected argument '--real'"),
        (
            "timer -r 2 -w 2",
            "a warm-up of 2 s leaves nothing of a run of 2 s",
        ),
        ("usleep -s 400", "must be longer than a sleep"),
        (
            "messaging -g 1000 -f 1000",
            "2000000 threads are more than the 16384 allowed",
        ),
        (
            "mix -c 16384",
            "16386 threads are more than the 16384 allowed",
        ),
        (
            "quota -q 400 -t 1",
            "a smaller quota or more threads are needed",
        ),
    ] {
        let sentence = refusal(line, 2);
        assert!(sentence.contains(part), "{line}: {sentence}");
    }
}

#[test]
fn figures_that_cannot_be_written_are_told_before_the_run() {
    let sentence = refusal("hog -r 86400 --json /nonexistent/figures", 1);
    assert!(
        sentence.starts_with("cannot write the figures into /nonexistent/figures"),
        "{sentence}"
    );
}

#[test]
fn a_report_has_what_all_loads_share() -> serde_json::Result<()> {
    let output = run("timer -r 1 --heat --json -");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(report["load"], "timer");
    assert_eq!(report["fifo"], false);
    for name in [
        "latency_p99_us",
        "latency_entropy_bits",
        "context_switches_machine",
        "runtime_s",
    ] {
        assert!(report[name].is_number(), "{name} is {}", report[name]);
    }
    let samples = report["latency_samples"].as_u64();
    let buckets = report["histograms"]["latency"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let in_buckets: u64 = buckets.iter().filter_map(|bucket| bucket[1].as_u64()).sum();
    assert_eq!(samples, Some(in_buckets));
    let heat = &report["heat"]["nodes"][0];
    assert!(
        heat.as_array().is_some_and(|samples| !samples.is_empty()),
        "{heat}"
    );
    Ok(())
}
