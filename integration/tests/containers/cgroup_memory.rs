//! `linux.resources.memory`, as seen on cgroup v2.

use integration::{Container, Runtime, until};
use serde_json::{Value, json};
use std::fs;

use super::config_errors::refuses;

cases! {
    Any:
        lnx_75_impossible_swap_limits_are_refused,
    ;
    Full:
        lnx_73_memory_limit_is_written,
        lnx_73_the_limit_holds,
        lnx_74_reservation_is_the_soft_limit,
        lnx_75_swap_is_without_memory,
        lnx_75_swap_of_an_unlimited_memory,
        lnx_80_check_passes_below_the_limit,
        lnx_80_check_refuses_a_limit_below_the_use,
    ;
}

/// What a file of the container's cgroup says, without the last newline.
pub fn limit(container: &Container, file: &str) -> String {
    let text = fs::read_to_string(container.cgroup().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    text.trim_end().to_string()
}

/// With these resources, the files of a created container say this.
#[track_caller]
pub fn written(runtime: &Runtime, resources: Value, files: &[(&str, &str)]) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/linux/resources", resources.clone());
    container.create().ok().silent();
    for (file, value) in files {
        assert_eq!(limit(&container, file), *value, "{file} of {resources}");
    }
}

/// With these resources, `create` fails, names the field and leaves nothing.
#[track_caller]
pub fn not_written(runtime: &Runtime, resources: &Value, field: &str) {
    let message = refuses(runtime, |bundle| bundle.set("/linux/resources", resources.clone()));
    assert!(message.contains(field), "{resources}: {field} in {message}");
}

fn lnx_73_memory_limit_is_written(runtime: &Runtime) {
    written(runtime, json!({"memory": {"limit": 268_435_456}}), &[("memory.max", "268435456"), ("memory.low", "0")]);
    written(runtime, json!({"memory": {"limit": -1}}), &[("memory.max", "max")]);
    written(runtime, json!({"memory": {"limit": 0}, "pids": {"limit": 9}}), &[("pids.max", "9")]);
}

fn lnx_73_the_limit_holds(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "head -c 200000000 /dev/zero | tail -c 200000000 | wc -c");
    container.bundle.set("/linux/resources", json!({"memory": {"limit": 33_554_432, "swap": 33_554_432}}));
    container.run_detached().ok();
    container.wait_for("stopped");
    assert!(!container.stdout().contains("200000000"), "{}", container.stdout());
    let events = limit(&container, "memory.events");
    let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap();
    assert_ne!(kills, "0", "{events}");
}

fn lnx_74_reservation_is_the_soft_limit(runtime: &Runtime) {
    let memory = json!({"memory": {"limit": 268_435_456, "reservation": 134_217_728}});
    written(runtime, memory, &[("memory.low", "134217728"), ("memory.max", "268435456")]);
    written(runtime, json!({"memory": {"reservation": -1}}), &[("memory.low", "max")]);
}

fn lnx_75_swap_is_without_memory(runtime: &Runtime) {
    let max = |limit: i64, swap: i64| json!({"memory": {"limit": limit, "swap": swap}});
    written(runtime, max(268_435_456, 402_653_184), &[("memory.swap.max", "134217728"), ("memory.max", "268435456")]);
    written(runtime, max(268_435_456, 268_435_456), &[("memory.swap.max", "0")]);
    written(runtime, max(268_435_456, -1), &[("memory.swap.max", "max")]);
    written(runtime, max(268_435_456, 0), &[("memory.swap.max", "max")]);
}

fn lnx_75_swap_of_an_unlimited_memory(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    fs::write(container.parent_cgroup().join("cgroup.subtree_control"), "+memory").unwrap();
    fs::create_dir(container.cgroup()).unwrap();
    fs::write(container.cgroup().join("memory.swap.max"), "1048576").unwrap();
    container.bundle.set("/linux/resources", json!({"memory": {"limit": -1}}));
    container.create().ok();
    assert_eq!(limit(&container, "memory.swap.max"), "max");
}

fn lnx_75_impossible_swap_limits_are_refused(runtime: &Runtime) {
    for memory in [json!({"limit": 268_435_456, "swap": 134_217_728}), json!({"swap": 134_217_728}), json!({"limit": 268_435_456, "swap": -2})] {
        not_written(runtime, &json!({"memory": memory}), "swap");
    }
}

fn lnx_80_check_passes_below_the_limit(runtime: &Runtime) {
    let memory = json!({"memory": {"limit": 268_435_456, "checkBeforeUpdate": true}});
    written(runtime, memory, &[("memory.max", "268435456")]);
}

/// Of a cgroup whose pages another process has charged before it ended.
fn lnx_80_check_refuses_a_limit_below_the_use(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    fs::write(container.parent_cgroup().join("cgroup.subtree_control"), "+memory").unwrap();
    fs::create_dir(container.cgroup()).unwrap();
    let charge = "echo $$ >\"$1/cgroup.procs\" && head -c 20000000 /dev/zero >\"$2\"";
    let (group, file) = (container.cgroup(), std::path::Path::new("/dev/shm").join(&container.id));
    container.host_call("sh").args(["-c", charge, "sh"]).arg(&group).arg(&file).run().ok();
    until("the charge", || (limit(&container, "memory.current").parse::<u64>().ok()? > 16_000_000).then_some(()));
    container.bundle.set("/linux/resources", json!({"memory": {"limit": 10_000_000, "checkBeforeUpdate": true}}));
    let output = container.create();
    fs::remove_file(&file).unwrap();
    output.fails_with("rejecting memory limit");
    // As in runc, a cgroup without processes is cleared away with the container that failed.
    if container.cgroup().exists() {
        assert_eq!(limit(&container, "memory.max"), "max");
    }
}
