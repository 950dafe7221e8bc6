//! `linux.intelRdt` on machines without resctrl; what is written to it is tested beside the code, on a directory like it.

use integration::{Container, Runtime, Snapshot};
use serde_json::{Value, json};

cases! {
    Any:
        lnx_106_without_resctrl_create_fails,
        lnx_109_110_111_a_schema_is_one_line,
        lnx_116_closid_is_the_name_of_a_group,
    ;
}

#[track_caller]
fn refused(runtime: &Runtime, rdt: &Value, field: &str) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/linux/intelRdt", rdt.clone());
    let before = Snapshot::take(&container);
    let output = container.create().fails();
    assert!(!runtime.is_ours() || output.stderr.contains(field), "{rdt}: {output:?}");
    before.assert_unchanged(&container);
}

/// A machine that has it mounted is not asked.
fn lnx_106_without_resctrl_create_fails(runtime: &Runtime) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    if mounts.contains(" - resctrl ") {
        return;
    }
    for rdt in [json!({}), json!({"closID": "/"}), json!({"schemata": ["L3:0=f"], "enableMonitoring": true})] {
        refused(runtime, &rdt, "linux.intelRdt: resctrl is not mounted");
    }
}

fn lnx_109_110_111_a_schema_is_one_line(runtime: &Runtime) {
    for (rdt, field) in [
        (json!({"l3CacheSchema": "L3:0=f\nMB:0=10"}), "linux.intelRdt.l3CacheSchema"),
        (json!({"memBwSchema": "MB:0=70\nL3:0=f"}), "linux.intelRdt.memBwSchema"),
        (json!({"memBwSchema": "foo"}), "linux.intelRdt.memBwSchema"),
        (json!({"schemata": ["L3:0=f", "MB:0=70\n"]}), "linux.intelRdt.schemata[1]"),
    ] {
        refused(runtime, &rdt, field);
    }
}

fn lnx_116_closid_is_the_name_of_a_group(runtime: &Runtime) {
    for name in [".", "..", "a/b", "../a", "a\nb"] {
        refused(runtime, &json!({"closID": name}), "linux.intelRdt.closID");
    }
}
