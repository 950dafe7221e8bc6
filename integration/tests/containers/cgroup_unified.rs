//! `linux.resources.unified`, settings of cgroup v1, and limits whose controllers are missing.

use super::cgroup_memory::{limit, not_written, written};
use integration::{Container, Runtime};
use serde_json::{Value, json};
use std::fs;

cases! {
    Any:
        lnx_76_77_78_85_89_95_104_settings_of_v1_are_refused_by_name,
        lnx_79_104_values_that_ask_for_nothing_are_fine,
        lnx_101_files_without_controller_are_written,
        lnx_102_unknown_controllers_are_refused,
        lnx_102_names_that_are_no_file_are_refused,
        lnx_102_limits_without_their_controller_are_refused_by_name,
    ;
    Full:
        lnx_99_every_key_is_a_file,
        lnx_100_needed_controllers_are_enabled,
        lnx_101_a_missing_file_is_an_error,
        lnx_103_unified_wins,
    ;
}

/// Settings of cgroup v1 that v2 has no equivalent for, with the field that is named.
fn of_v1() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"memory": {"kernel": 1 << 28}}), "memory.kernel"),
        (json!({"memory": {"kernelTCP": 1 << 28}}), "memory.kernelTCP"),
        (json!({"memory": {"swappiness": 0}}), "memory.swappiness"),
        (json!({"memory": {"swappiness": 60}}), "memory.swappiness"),
        (json!({"memory": {"swappiness": 101}}), "memory.swappiness"),
        (json!({"memory": {"disableOOMKiller": true}}), "memory.disableOOMKiller"),
        (json!({"cpu": {"realtimeRuntime": 5000}}), "cpu.realtimeRuntime"),
        (json!({"cpu": {"realtimePeriod": 100_000}}), "cpu.realtimePeriod"),
        (json!({"blockIO": {"leafWeight": 500}}), "blockIO.leafWeight"),
        (json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 500}]}}), "leafWeight"),
        (json!({"network": {"classID": 1_048_577}}), "network.classID"),
        (json!({"network": {"priorities": [{"name": "lo", "priority": 500}]}}), "network.priorities"),
    ]
}

fn lnx_76_77_78_85_89_95_104_settings_of_v1_are_refused_by_name(runtime: &Runtime) {
    for (resources, field) in of_v1() {
        not_written(runtime, &resources, field);
        not_written(runtime, &resources, "no cgroup v2 equivalent");
    }
    let incomplete = [(json!([{"priority": 5}]), "name"), (json!([{"name": "lo"}]), "priority")];
    for (priorities, field) in incomplete {
        not_written(runtime, &json!({"network": {"priorities": priorities}}), field);
    }
}

fn lnx_79_104_values_that_ask_for_nothing_are_fine(runtime: &Runtime) {
    let memory = |useless: Value| json!({"memory": useless});
    let nothing = [
        memory(json!({"kernel": 0, "kernelTCP": -1, "disableOOMKiller": false, "useHierarchy": false})),
        memory(json!({"kernel": -1, "kernelTCP": 0, "useHierarchy": true})),
        json!({"cpu": {"realtimeRuntime": 0, "realtimePeriod": 0}}),
        json!({"blockIO": {"leafWeight": 0}}),
        json!({"network": {"classID": 0, "priorities": []}}),
    ];
    for resources in nothing {
        written(runtime, resources, &[]);
    }
}

fn lnx_99_every_key_is_a_file(runtime: &Runtime) {
    let unified = json!({"memory.high": "134217728", "pids.max": "33", "cpu.weight": "250", "memory.oom.group": "1"});
    let files = [("memory.high", "134217728"), ("pids.max", "33"), ("cpu.weight", "250"), ("memory.oom.group", "1")];
    written(runtime, json!({"unified": unified}), &files);
}

fn lnx_100_needed_controllers_are_enabled(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let enabled = || fs::read_to_string(container.parent_cgroup().join("cgroup.subtree_control")).unwrap();
    assert!(!enabled().contains("memory"), "{}", enabled());
    let resources = json!({"unified": {"memory.high": "134217728"}});
    container.bundle.set("/linux/resources", resources);
    container.create().ok();
    assert_eq!(limit(&container, "memory.high"), "134217728");
    let enabled = fs::read_to_string(container.parent_cgroup().join("cgroup.subtree_control")).unwrap();
    assert!(enabled.contains("memory"), "{enabled}");
}

fn lnx_101_files_without_controller_are_written(runtime: &Runtime) {
    let unified = json!({"cgroup.max.depth": "3", "cgroup.max.descendants": "17"});
    written(runtime, json!({"unified": unified}), &[("cgroup.max.depth", "3"), ("cgroup.max.descendants", "17")]);
}

fn lnx_101_a_missing_file_is_an_error(runtime: &Runtime) {
    not_written(runtime, &json!({"unified": {"memory.no_such_file": "1"}}), "memory.no_such_file");
    not_written(runtime, &json!({"unified": {"memory.high": "many"}}), "memory.high");
}

fn lnx_102_unknown_controllers_are_refused(runtime: &Runtime) {
    not_written(runtime, &json!({"unified": {"foo.bar": "1"}}), "foo");
}

fn lnx_102_names_that_are_no_file_are_refused(runtime: &Runtime) {
    for name in ["../cgroup.freeze", "memory/x.max", "/cgroup.max.depth", "nodot", "", ".", "cgroup.max.depth\0"] {
        not_written(runtime, &json!({"unified": {name: "1"}}), "unified");
    }
}

/// A limit that cannot be applied is never dropped, whatever controllers this machine lacks.
fn lnx_102_limits_without_their_controller_are_refused_by_name(runtime: &Runtime) {
    let all = [
        ("memory", json!({"memory": {"limit": 1 << 28}}), "memory.limit"),
        ("memory", json!({"memory": {"reservation": 1 << 28}}), "memory.reservation"),
        ("cpu", json!({"cpu": {"shares": 1024}}), "cpu.shares"),
        ("cpu", json!({"cpu": {"quota": 50_000}}), "cpu.quota"),
        ("cpuset", json!({"cpu": {"cpus": "0"}}), "cpu.cpus"),
        ("pids", json!({"pids": {"limit": 10}}), "pids.limit"),
        ("io", json!({"blockIO": {"weight": 500}}), "blockIO.weight"),
        ("hugetlb", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}), "hugepageLimits[0].limit"),
        ("rdma", json!({"rdma": {"mlx4_0": {"hcaHandles": 2}}}), "mlx4_0"),
        ("memory", json!({"unified": {"memory.high": "max"}}), "memory.high"),
    ];
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let here = |name: &str| controllers.split_whitespace().any(|word| word == name);
    for (controller, resources, field) in all.into_iter().filter(|(controller, ..)| !here(controller)) {
        not_written(runtime, &resources, field);
        not_written(runtime, &resources, controller);
    }
}

fn lnx_103_unified_wins(runtime: &Runtime) {
    let classic = json!({
        "memory": {"limit": 268_435_456}, "pids": {"limit": 20}, "cpu": {"shares": 2048},
        "unified": {"memory.max": "134217728", "pids.max": "30", "cpu.weight": "77"},
    });
    written(runtime, classic, &[("memory.max", "134217728"), ("pids.max", "30"), ("cpu.weight", "77")]);
}
