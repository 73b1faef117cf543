// SPDX-License-Identifier: GPL-2.0-only
//! Command lines against what is made of them, and bad ones against their sentences.

use super::*;

fn parse(args: &str) -> Result<Cli, clap::Error> {
    Cli::parse_from_args(std::iter::once("scx_mpg").chain(args.split_whitespace()))
}

fn mistake(args: &str) -> String {
    let error = parse(args).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn the_command_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(parse("").unwrap().settings().unwrap(), Settings::default());
}

#[test]
fn options_become_settings() {
    let cli = parse(
        "--policy fifo --slice-us 3000 --slice-min-us=700 --partial --fallback-after-ms 80 \
         --stats 0.5 -v --relaxed-maps true",
    )
    .unwrap();
    let settings = cli.settings().unwrap();
    assert_eq!(settings.policy, "fifo");
    assert_eq!(settings.param("slice-us"), Some(3000));
    assert_eq!(settings.param("slice-min-us"), Some(700));
    assert_eq!((settings.partial, settings.fallback_after_ms), (true, 80));
    assert_eq!(cli.stats, Some(Duration::from_millis(500)));
    let traced = parse("--schedtrace 1000 --scheddetail").unwrap();
    assert_eq!(traced.schedtrace, Some(Duration::from_secs(1)));
    assert!(traced.scheddetail);
    let at = |args: &str| parse(args).unwrap().metrics[0].to_string();
    assert_eq!(at("--metrics [::]:9190 --metrics-any"), "[::]:9190");
    assert_eq!(at("--metrics /run/m.sock"), "unix:/run/m.sock");
    assert!(cli.verbose && cli.libbpf.relaxed_maps == Some(true));
}

#[test]
fn mistakes_are_told_with_what_was_expected() {
    assert!(
        mistake("--policy cfs").contains("choose one of mpg, latency, throughput, fifo, global")
    );
    assert!(mistake("--slice-us 5").contains("slice-us is 5, expected 100 to "));
    assert!(mistake("--slice-us 400").contains("slice-min-us is "));
    assert!(mistake("--slice-us x")
        .contains("'--slice-us <N>': 'x' is not a whole number from 100 to 1000000"));
    for (option, range) in [
        ("--lease", "0 to 1000"),
        ("--fallback-after-ms", "5 to 5000"),
        ("--memory-permille", "0 to 1000"),
        ("--memory-from-mib", "1 to 16777216"),
        ("--migrate-mib-per-s", "1 to 1048576"),
        ("set --for", "1 to 86400"),
    ] {
        let text = mistake(&format!("{option} 1.5"));
        let said = format!("'1.5' is not a whole number from {range}");
        assert!(text.contains(&said), "{text}");
    }
    assert!(mistake("--fallback-after-ms 0").contains("expected 5 to 5000"));
    assert!(mistake("--memory-permille 1001").contains("expected 0 to 1000"));
    assert!(mistake("--memory-from-mib 0").contains("expected 1 to "));
    assert!(mistake("--migrate-mib-per-s 0").contains("expected 1 to "));
    assert!(mistake("--stats 0").contains("give 0.1 to 86400 seconds"));
    assert!(mistake("--monitor NaN").contains("give 0.1 to 86400 seconds"));
    assert!(mistake("--stats 1 --monitor 1").contains("cannot be used with"));
    assert!(mistake("--schedtrace 0").contains("give 10 to 86400000 milliseconds"));
    assert!(mistake("--schedtrace 1.5").contains("is not a whole number from 10 to 86400000"));
    assert!(mistake("--schedtrace 100 --monitor 1").contains("cannot be used with"));
    assert!(mistake("--scheddetail").contains("--schedtrace"));
    assert!(mistake("--metrics 9190").contains("expected an IP address with a port"));
    assert!(
        mistake("--metrics /a --metrics 0.0.0.0:9190").contains("can be reached by other machines")
    );
    assert!(mistake("--metrics-any").contains("--metrics <ADDRESS>"));
    assert!(mistake("--class comm=x").contains("names no class"));
    assert!(mistake("set --class uid=x:batch").contains("expected a number"));
    assert!(mistake("set").contains("there is nothing to set"));
    assert!(mistake("set --for 60").contains("there is nothing to set"));
    assert!(mistake("set --undo --slice-us 3000").contains("cannot be used with"));
    assert!(mistake("--profile x").contains("choose one of gaming, server"));
    assert!(mistake("--partial show").contains("cannot be used with"));
    assert!(mistake("top --interval 0").contains("give 0.1 to 86400 seconds"));
    assert!(mistake("top --count 0").contains("--count"));
    assert!(mistake("why --over-us 0").contains("give 1 to 10000000 microseconds"));
    assert!(mistake("why --last 0").contains("give 0.1 to 86400 seconds"));
    assert!(mistake("dance").contains("dance"));
}

#[test]
fn a_mistake_is_one_line() {
    for args in [
        "--slice-us 5",
        "--slice-us x",
        "--dance",
        "--stats 1 --monitor 1",
        "set",
        "--metrics 0.0.0.0:9190",
        "--metrics localhost",
    ] {
        let line = sentence(&parse(args).unwrap_err());
        assert!(!line.contains('\n') && !line.contains("Usage"), "{line}");
        assert!(line.len() > 40 && !line.starts_with("error"), "{line}");
    }
}

#[test]
fn set_makes_a_request() {
    let cli = parse("set --slice-us 3000 --oldest-every 7").unwrap();
    let Some(Action::Set(set)) = cli.command else {
        panic!("not set");
    };
    let patch = set.patch();
    assert_eq!(patch.params["slice-us"], 3000);
    assert_eq!(patch.params["oldest-every"], 7);
    assert_eq!(patch.policy, None);
    let request = |args: &str| match parse(args).unwrap().command {
        Some(Action::Set(set)) => set.request(),
        other => panic!("{other:?}"),
    };
    assert_eq!(request("set --undo"), Request::Undo {});
    let Request::Set(change) = request("set --for 60 --profile server") else {
        panic!("no change");
    };
    assert_eq!(change.for_s, Some(60));
    assert_eq!(change.patch.profile.as_deref(), Some("server"));
    assert!(matches!(
        parse("show --json").unwrap().command,
        Some(Action::Show { json: true })
    ));
}

#[test]
fn help_names_ranges_and_policies() {
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains("--slice-us <N>") && help.contains("[100 to 1000000, at start"));
    assert!(help.contains("fifo, "));
}

#[test]
fn the_version_names_all_three() {
    let version = version();
    assert!(version.starts_with(concat!("scx_mpg ", env!("CARGO_PKG_VERSION"))));
    assert!(version.contains("libbpf 1.") && version.contains("kernel "));
}
