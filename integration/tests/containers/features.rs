//! `features`: what it lists is true.

use integration::{Agent, Answer, Container, Runtime};
use serde_json::{Value, json};

cases! {
    Any:
        feat_3_4_no_null_stands_for_nothing,
        feat_5_6_7_versions_at_both_ends_run,
        feat_10_every_mount_option_is_recognised,
        feat_16_every_namespace_is_recognised,
        feat_17_every_capability_is_recognised,
        feat_19_every_action_is_recognised,
    ;
    Any [Numa]:
        feat_22_every_memory_policy_is_recognised,
    ;
}

fn features(container: &Container) -> Value {
    container.bare_call().arg("features").run().ok().no_complaint().json()
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_string()).collect()
}

fn feat_3_4_no_null_stands_for_nothing(runtime: &Runtime) {
    let all = features(&Container::new(runtime));
    assert!(!has_null(&all), "{all}");
    assert!(all["linux"]["cgroup"]["v2"].as_bool().unwrap(), "{all}");
}

fn feat_5_6_7_versions_at_both_ends_run(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let all = features(&container);
    let (first, last) = (all["ociVersionMin"].as_str().unwrap(), all["ociVersionMax"].as_str().unwrap());
    assert!(first <= last, "{all}");
    for version in [first, last] {
        container.bundle.set("/ociVersion", json!(version));
        container.run().ok();
    }
}

/// A word that is not recognised would reach the tmpfs, which refuses what it does not know.
fn feat_10_every_mount_option_is_recognised(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let options = words(&features(&container)["mountOptions"]);
    assert!(options.iter().any(|option| option == "rro"));
    assert!(options.iter().any(|option| option == "idmap") && options.iter().any(|option| option == "tmpcopyup"));
    for option in options.iter().filter(|option| !["bind", "rbind", "remount"].contains(&option.as_str())) {
        container.bundle.edit(|config| config["mounts"].as_array_mut().unwrap().truncate(7));
        container.bundle.mount("/tmp", "tmpfs", "tmpfs", &[option]);
        match option.as_str() {
            "copy-symlink" | "dest-nofollow" | "src-nofollow" => {
                drop(container.run().fails_with("only a bind mount can take links as they are"));
            }
            "idmap" | "ridmap" => drop(container.run().fails_with("no user namespace whose mappings could be used")),
            _ => drop(container.run().ok()),
        }
    }
}

fn feat_16_every_namespace_is_recognised(runtime: &Runtime) {
    for kind in words(&features(&Container::new(runtime))["linux"]["namespaces"]) {
        let mut container = Container::new(runtime);
        container.bundle.set("/linux/namespaces", json!([{"type": kind, "path": "relative"}]));
        container.create().fails_with("expected an absolute path");
    }
}

fn feat_17_every_capability_is_recognised(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "true");
    let all = words(&features(&container)["linux"]["capabilities"]);
    assert!(all.len() > 40 && all.iter().all(|name| name.starts_with("CAP_")), "{all:?}");
    container.bundle.user_namespace(100_000).set("/process/capabilities/bounding", json!(all));
    container.run().ok().no_complaint();
}

fn feat_22_every_memory_policy_is_recognised(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let all = features(&container)["linux"]["memoryPolicy"].clone();
    for mode in words(&all["modes"]) {
        let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode.as_str()) { "" } else { "0" };
        container.bundle.set("/linux/memoryPolicy", json!({"mode": mode, "nodes": nodes}));
        container.run().ok();
    }
    for flag in words(&all["flags"]) {
        container.bundle.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}));
        container.run().ok();
    }
}

fn feat_19_every_action_is_recognised(runtime: &Runtime) {
    for action in words(&features(&Container::new(runtime))["linux"]["seccomp"]["actions"]) {
        let mut container = Container::new(runtime);
        let agent = Agent::new(container.folder(), Answer::Continue);
        let rule = json!({"names": ["swapon"], "action": action});
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent.path(), "syscalls": [rule]});
        container.bundle.set("/linux/seccomp", profile);
        container.run().ok();
    }
}
