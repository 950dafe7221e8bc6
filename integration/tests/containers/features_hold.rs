//! `features` once more: its form, and that what it says of hooks, flags, mappings and devices holds.

use integration::hooks::{hook, share, shared};
use integration::{Container, Runtime, schema};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

cases! {
    Any:
        feat_1_12_one_object_with_linux_in_it,
        feat_2_the_same_without_proc_and_sys,
        feat_8_no_members_that_the_specification_does_not_have,
        feat_9_every_hook_runs,
        feat_11_no_words_of_one_file_system,
        feat_13_14_annotations_are_texts,
        feat_15_it_fits_the_schema,
        feat_18_21_23_25_every_answer_is_there,
        feat_20_supported_flags_work,
    ;
    Any [IdMap]:
        feat_24_mappings_are_done_where_they_are_promised,
    ;
}

fn features(container: &Container) -> Value {
    container.bare_call().arg("features").run().ok().no_complaint().json()
}

fn words(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_string()).collect()
}

fn feat_1_12_one_object_with_linux_in_it(runtime: &Runtime) {
    assert!(features(&Container::new(runtime))["linux"].is_object());
}

fn feat_2_the_same_without_proc_and_sys(runtime: &Runtime) {
    let container = Container::new(runtime);
    let script = "mount -t tmpfs none /sys; mount -t tmpfs none /proc; exec \"$@\"";
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
    let blind = container.bare_call().arg("features").wrapped(words).run().ok().no_complaint().json();
    assert_eq!(blind, features(&container));
}

/// The members of features.md in version 1.3.
const MEMBERS: [&str; 10] = [
    "", "/linux", "/linux/cgroup", "/linux/seccomp", "/linux/apparmor", "/linux/selinux", "/linux/intelRdt",
    "/linux/memoryPolicy", "/linux/mountExtensions", "/linux/netDevices",
];
const NAMES: [&str; 38] = [
    "ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations", "potentiallyUnsafeConfigAnnotations",
    "namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt", "memoryPolicy",
    "mountExtensions", "netDevices", "v1", "v2", "systemd", "systemdUser", "rdma", "enabled", "actions", "operators", "archs",
    "knownFlags", "supportedFlags", "schemata", "monitoring", "modes", "flags", "idmap", "freebsd", "windows", "vm", "solaris", "zos",
];

fn feat_8_no_members_that_the_specification_does_not_have(runtime: &Runtime) {
    let all = features(&Container::new(runtime));
    for place in MEMBERS {
        let members = all.pointer(place).and_then(Value::as_object);
        for name in members.into_iter().flatten().map(|(name, _)| name.as_str()) {
            assert!(NAMES.contains(&name), "{place}/{name}");
        }
    }
}

fn feat_9_every_hook_runs(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    share(&mut container);
    let phases = words(&features(&container)["hooks"]);
    assert!(phases.len() >= 6, "{phases:?}");
    for phase in &phases {
        hook(&mut container, phase, &format!("cat >/dev/null; : >OUT/{phase}"));
    }
    container.run().ok();
    let ran = fs::read_dir(shared(&container)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(ran.collect::<BTreeSet<_>>(), phases);
}

fn feat_11_no_words_of_one_file_system(runtime: &Runtime) {
    let options = words(&features(&Container::new(runtime))["mountOptions"]);
    for word in ["size", "mode", "gid", "uid", "nr_inodes", "lowerdir", "upperdir", "newinstance", "ptmxmode", "context"] {
        assert!(!options.iter().any(|option| option.split('=').next() == Some(word)), "{word}");
    }
}

fn feat_13_14_annotations_are_texts(runtime: &Runtime) {
    let all = features(&Container::new(runtime));
    let annotations = all.get("annotations").and_then(Value::as_object);
    for (name, value) in annotations.into_iter().flatten() {
        assert!(!name.is_empty() && value.is_string(), "{name}: {value}");
    }
    assert!(words(&all["potentiallyUnsafeConfigAnnotations"]).iter().all(|name| !name.is_empty()));
}

fn feat_15_it_fits_the_schema(runtime: &Runtime) {
    let violations = schema::violations("features-schema.json", &features(&Container::new(runtime)));
    assert!(violations.is_empty(), "{violations:?}");
}

fn feat_18_21_23_25_every_answer_is_there(runtime: &Runtime) {
    let all = features(&Container::new(runtime));
    let cgroup = ["v1", "v2", "systemd", "systemdUser", "rdma"].map(|name| format!("/linux/cgroup/{name}"));
    let others = ["apparmor", "selinux", "intelRdt", "netDevices"].map(|name| format!("/linux/{name}/enabled"));
    for place in cgroup.iter().chain(&others) {
        assert!(all.pointer(place).is_some_and(Value::is_boolean), "{place} in {all}");
    }
}

fn feat_20_supported_flags_work(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo ran");
    let seccomp = features(&container)["linux"]["seccomp"].clone();
    let (known, supported) = (words(&seccomp["knownFlags"]), words(&seccomp["supportedFlags"]));
    assert!(supported.is_subset(&known) && !supported.is_empty(), "{seccomp}");
    // This one needs a listener, and has a test with one.
    for flag in supported.iter().filter(|flag| !flag.ends_with("WAIT_KILLABLE_RECV")) {
        let rule = json!({"names": ["swapon"], "action": "SCMP_ACT_ERRNO"});
        container.bundle.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag], "syscalls": [rule]}));
        assert_eq!(container.run().ok().text(), "ran", "{flag}");
    }
}

/// Promised or not: a mount with mappings is never made without them.
fn feat_24_mappings_are_done_where_they_are_promised(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c %u /mapped/file");
    let promised = features(&container)["linux"]["mountExtensions"]["idmap"]["enabled"] == true;
    let source = container.folder().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    let maps = json!([{"containerID": 0, "hostID": 1234, "size": 1}]);
    let mount = json!({"destination": "/mapped", "type": "bind", "source": source, "options": ["bind", "idmap"],
        "uidMappings": maps, "gidMappings": maps});
    container.bundle.push("/mounts", mount);
    let output = container.run();
    assert!(output.code != Some(0) || output.text() == "1234", "promised {promised}: {output}");
    assert!(!promised || output.code == Some(0), "{output}");
}
