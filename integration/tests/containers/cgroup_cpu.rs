//! `linux.resources.cpu` and `.pids`, as seen on cgroup v2.

use super::cgroup_memory::{limit, not_written, written};
use integration::{Container, Runtime};
use serde_json::json;
use std::fs;

cases! {
    Any:
        lnx_83_burst_above_the_quota_is_refused,
        lnx_86_bad_lists_are_refused,
        lnx_87_idle_is_0_or_1,
        lnx_97_pids_limit_is_a_number,
    ;
    Full:
        lnx_81_shares_become_a_weight,
        lnx_82_quota_and_period_are_written,
        lnx_82_without_either_an_existing_limit_stays,
        lnx_84_burst_is_written,
        lnx_87_idle_is_written,
        lnx_96_pids_limit_is_written,
        lnx_96_pids_limit_holds,
        lnx_97_pids_limit_0_is_a_limit,
    ;
    Full [Cpuset]:
        lnx_86_cpus_and_mems_are_written,
    ;
}

fn lnx_81_shares_become_a_weight(runtime: &Runtime) {
    let weights = [(1, "1"), (2, "1"), (1024, "100"), (22000, "1204"), (262_144, "10000"), (300_000, "10000")];
    for (shares, weight) in weights {
        written(runtime, json!({"cpu": {"shares": shares}}), &[("cpu.weight", weight)]);
    }
    // 0 leaves an existing weight alone.
    let cpu = json!({"cpu": {"shares": 0, "period": 50_000}});
    written(runtime, cpu, &[("cpu.weight", "100"), ("cpu.max", "max 50000")]);
}

fn lnx_82_quota_and_period_are_written(runtime: &Runtime) {
    let cases = [
        (json!({"quota": 50_000, "period": 200_000}), "50000 200000"),
        (json!({"quota": 50_000}), "50000 100000"),
        (json!({"period": 200_000}), "max 200000"),
        (json!({"quota": -1, "period": 200_000}), "max 200000"),
        (json!({"quota": -1}), "max 100000"),
        (json!({"quota": 0, "period": 50_000}), "max 50000"),
    ];
    for (cpu, max) in cases {
        written(runtime, json!({"cpu": cpu}), &[("cpu.max", max)]);
    }
}

/// A cgroup that is there already, with a quota and a period of its own.
fn lnx_82_without_either_an_existing_limit_stays(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    fs::write(container.parent_cgroup().join("cgroup.subtree_control"), "+cpu").unwrap();
    fs::create_dir(container.cgroup()).unwrap();
    fs::write(container.cgroup().join("cpu.max"), "20000 40000").unwrap();
    container.bundle.set("/linux/resources", json!({"cpu": {"shares": 1024}}));
    container.create().ok();
    assert_eq!(limit(&container, "cpu.max"), "20000 40000");
}

fn lnx_83_burst_above_the_quota_is_refused(runtime: &Runtime) {
    not_written(runtime, &json!({"cpu": {"quota": 1000, "burst": 2000}}), "burst");
    not_written(runtime, &json!({"cpu": {"quota": 10_000, "period": 100_000, "burst": 10_001}}), "burst");
}

fn lnx_84_burst_is_written(runtime: &Runtime) {
    let cpu = json!({"cpu": {"quota": 50_000, "period": 100_000, "burst": 20_000}});
    written(runtime, cpu, &[("cpu.max.burst", "20000"), ("cpu.max", "50000 100000")]);
}

fn lnx_86_cpus_and_mems_are_written(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "grep Cpus_allowed_list /proc/self/status; sleep 1000");
    container.bundle.set("/linux/resources", json!({"cpu": {"cpus": "0", "mems": "0"}}));
    container.run_detached().ok();
    assert_eq!(container.wait_stdout("\n"), "Cpus_allowed_list:\t0\n");
    assert_eq!((limit(&container, "cpuset.cpus"), limit(&container, "cpuset.mems")), ("0".into(), "0".into()));
}

fn lnx_86_bad_lists_are_refused(runtime: &Runtime) {
    for list in ["a", "0-", "5-2", "-1", "0;1", "0\n", "99999999999"] {
        not_written(runtime, &json!({"cpu": {"cpus": list}}), "cpus");
        not_written(runtime, &json!({"cpu": {"mems": list}}), "mems");
    }
}

fn lnx_87_idle_is_written(runtime: &Runtime) {
    written(runtime, json!({"cpu": {"idle": 1}}), &[("cpu.idle", "1"), ("cpu.weight", "0")]);
    written(runtime, json!({"cpu": {"idle": 0, "shares": 2048}}), &[("cpu.idle", "0")]);
}

fn lnx_87_idle_is_0_or_1(runtime: &Runtime) {
    not_written(runtime, &json!({"cpu": {"idle": 2}}), "idle");
    not_written(runtime, &json!({"cpu": {"idle": -1}}), "idle");
}

fn lnx_96_pids_limit_is_written(runtime: &Runtime) {
    written(runtime, json!({"pids": {"limit": 42}}), &[("pids.max", "42")]);
    written(runtime, json!({"pids": {"limit": -1}}), &[("pids.max", "max")]);
    written(runtime, json!({"pids": {}, "memory": {"limit": 1 << 28}}), &[("memory.max", "268435456")]);
}

fn lnx_96_pids_limit_holds(runtime: &Runtime) {
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all";
    let mut container = Container::sh(runtime, script);
    container.bundle.set("/linux/resources", json!({"pids": {"limit": 4}}));
    let output = container.run();
    assert!(output.stderr.contains("can't fork"), "{output}");
}

/// The program runs, any fork fails (D9).
fn lnx_97_pids_limit_0_is_a_limit(runtime: &Runtime) {
    written(runtime, json!({"pids": {"limit": 0}}), &[("pids.max", "1")]);
    let mut container = Container::sh(runtime, "echo ran; sleep 0 & echo forked");
    container.bundle.set("/linux/resources", json!({"pids": {"limit": 0}}));
    let output = container.run();
    assert_eq!(output.text(), "ran", "{output}");
    assert!(output.stderr.contains("can't fork"), "{output}");
}

fn lnx_97_pids_limit_is_a_number(runtime: &Runtime) {
    for value in [json!("10"), json!(1.5), json!({})] {
        not_written(runtime, &json!({"pids": {"limit": value}}), "pids");
    }
}
