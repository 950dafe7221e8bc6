//! `linux.timeOffsets`.

use integration::mountinfo::refused;
use integration::{Bundle, Container, Runtime};
use serde_json::json;
use std::fs;

cases! {
    Any [TimeNs]:
        lnx_27_offsets_shift_the_clocks,
        lnx_27_unknown_clock_is_refused,
        lnx_28_seconds_and_nanoseconds_are_optional,
        lnx_28_negative_offsets,
        lnx_28_too_many_nanoseconds_are_refused,
        lnx_29_offsets_need_a_new_time_namespace,
        lnx_29_offsets_with_a_path_are_refused,
    ;
    Any [TimeNs, UserNs]: lnx_27_offsets_in_a_user_namespace;
}

const OFFSETS: &str = "cat /proc/self/timens_offsets";

/// What the kernel shows of the offsets, without the width of its columns.
fn shown(edit: impl FnOnce(&mut Bundle) -> &mut Bundle, runtime: &Runtime) -> String {
    let mut container = Container::sh(runtime, OFFSETS);
    container.bundle.namespace("time");
    edit(&mut container.bundle);
    let output = container.run().ok();
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    output.text().lines().map(line).collect::<Vec<_>>().join("\n")
}

fn lnx_27_offsets_shift_the_clocks(runtime: &Runtime) {
    let offsets = json!({"monotonic": {"secs": 172_800, "nanosecs": 5}, "boottime": {"secs": 604_800, "nanosecs": 6}});
    let found = shown(|bundle| bundle.set("/linux/timeOffsets", offsets.clone()), runtime);
    assert_eq!(found, "monotonic 172800 5\nboottime 604800 6");
    let uptime = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
    let mut container = Container::sh(runtime, "cat /proc/uptime");
    container.bundle.namespace("time").set("/linux/timeOffsets", offsets);
    let host = uptime(&fs::read_to_string("/proc/uptime").unwrap());
    let inside = uptime(container.run().ok().text());
    assert!((604_800..604_900).contains(&(inside - host)), "{inside} and {host}");
}

fn lnx_27_offsets_in_a_user_namespace(runtime: &Runtime) {
    let offsets = json!({"boottime": {"secs": 1000}});
    let found = shown(|bundle| bundle.user_namespace(100_000).set("/linux/timeOffsets", offsets), runtime);
    assert_eq!(found, "monotonic 0 0\nboottime 1000 0");
}

fn lnx_27_unknown_clock_is_refused(runtime: &Runtime) {
    for clock in ["realtime", "MONOTONIC", ""] {
        let mut container = Container::sleeper(runtime);
        container.bundle.namespace("time").set("/linux/timeOffsets", json!({clock: {"secs": 1}}));
        refused(&container);
    }
}

fn lnx_28_seconds_and_nanoseconds_are_optional(runtime: &Runtime) {
    let offsets = json!({"monotonic": {"secs": 7}, "boottime": {"nanosecs": 9}});
    let found = shown(|bundle| bundle.set("/linux/timeOffsets", offsets), runtime);
    assert_eq!(found, "monotonic 7 0\nboottime 0 9");
    let found = shown(|bundle| bundle.set("/linux/timeOffsets", json!({"monotonic": {}})), runtime);
    assert_eq!(found, "monotonic 0 0\nboottime 0 0");
}

fn lnx_28_negative_offsets(runtime: &Runtime) {
    let offsets = json!({"boottime": {"secs": -10, "nanosecs": 1}});
    let found = shown(|bundle| bundle.set("/linux/timeOffsets", offsets), runtime);
    assert_eq!(found, "monotonic 0 0\nboottime -10 1");
}

fn lnx_28_too_many_nanoseconds_are_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.namespace("time").set("/linux/timeOffsets", json!({"boottime": {"nanosecs": 1_000_000_000}}));
    refused(&container);
}

fn lnx_29_offsets_need_a_new_time_namespace(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}));
    let message = refused(&container);
    assert!(message.contains("time namespace"), "{message}");
}

fn lnx_29_offsets_with_a_path_are_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.join_namespace("time", "/proc/self/ns/time");
    container.bundle.set("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}));
    refused(&container);
}
