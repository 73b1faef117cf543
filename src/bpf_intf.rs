// SPDX-License-Identifier: GPL-2.0-only
//! The wire, generated from `bpf/intf.h`, and the proof that both halves lay it out alike.

#![allow(
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    dead_code,
    missing_docs,
    clippy::all,
    reason = "generated code: named by the header, and not all of it is used by the user half"
)]

include!(concat!(env!("OUT_DIR"), "/bpf_intf.rs"));

const _: () = {
    assert!(size_of::<mpg_event>() == 64);
    assert!(size_of::<mpg_decision>() == 48);
    assert!(size_of::<mpg_node>() % 128 == 0 && size_of::<mpg_cpu>() % 128 == 0);
    assert!(size_of::<mpg_cpu_stats>() % 128 == 0);
    assert!(size_of::<mpg_watch_head>() == 16 && size_of::<mpg_watch_run>() == 48);
    assert!(size_of::<mpg_watch_late>() == 88);
    assert!(size_of::<mpg_switches>() == 32);
};
