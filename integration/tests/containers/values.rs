//! Values of config.json: unknown ones are ignored, wrong and unsupported ones are refused by name.

use integration::{Container, Runtime, Snapshot};
use serde_json::{Value, json};

cases! {
    Any:
        cfg_125_unknown_properties_are_ignored,
        cfg_125_unknown_properties_of_resources_are_ignored,
        cfg_126_values_of_a_wrong_type_are_refused_by_name,
        cfg_126_values_of_a_wrong_type_in_linux_are_refused_by_name,
        cfg_126_numbers_out_of_their_ranges_are_refused_by_name,
        cfg_126_unknown_words_are_refused_by_name,
        cfg_126_null_counts_as_absent,
        cfg_127_fields_that_ask_for_nothing_are_fine,
        cfg_93_sections_of_other_platforms_are_ignored,
    ;
}

/// Each of these values, alone, makes `create` fail with a message that names the field, and nothing is left.
#[track_caller]
pub fn all_refused(container: &mut Container, values: &[(&str, Value)]) {
    let original = container.bundle.config().clone();
    let before = Snapshot::take(container);
    let mut accepted = Vec::new();
    for (pointer, value) in values {
        container.bundle.set(pointer, value.clone());
        let output = container.create();
        let mut names = pointer.split('/').filter(|name| !name.is_empty() && !matches!(name.as_bytes()[0], b'0'..=b'9' | b'-'));
        let name = names.next_back().expect("a field").replace("~1", "/");
        if output.code == Some(0) {
            accepted.push(format!("{pointer} = {value} is accepted"));
            container.delete_force();
        } else if !output.stderr.contains(&name) {
            accepted.push(format!("{pointer} = {value} is refused, but {name} is not named: {}", output.stderr.trim()));
        }
        container.bundle.edit(|config| config.clone_from(&original));
    }
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
    before.assert_unchanged(container);
}

/// Puts a member that nobody knows into every object, except where the keys are names of the author's choice.
fn extend(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let free = |name: &str| matches!(name, "annotations" | "sysctl" | "unified" | "rdma" | "timeOffsets");
            members.iter_mut().filter(|(name, _)| !free(name)).for_each(|(_, member)| extend(member));
            members.insert("fromTheFuture".to_string(), json!({"a": [1, {"b": null}]}));
        }
        Value::Array(items) => items.iter_mut().for_each(extend),
        _ => {}
    }
}

fn runs_extended(container: &mut Container) {
    let plain = container.run().ok().no_complaint().stdout;
    container.bundle.edit(extend);
    assert_eq!(container.run().ok().no_complaint().stdout, plain);
}

fn cfg_125_unknown_properties_are_ignored(runtime: &Runtime) {
    // Without times: a minute may end between the two runs.
    let mut container = Container::sh(runtime, "id; hostname; cut -d' ' -f5- /proc/self/mountinfo; stat -c '%N %f %u:%g %h %s %t:%T' /dev /dev/*");
    let device = json!({"path": "/dev/extra", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0});
    container.bundle.set("/process/user/additionalGids", json!([5])).set("/annotations", json!({"a.b": "c"}));
    container.bundle.push("/linux/devices", device).set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    container.bundle.push("/process/rlimits", json!({"type": "RLIMIT_CPU", "soft": 1000, "hard": 2000}));
    container.bundle.mount("/tmp", "tmpfs", "tmpfs", &["nosuid"]);
    runs_extended(&mut container);
}

fn cfg_125_unknown_properties_of_resources_are_ignored(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /proc/self/cgroup");
    let empty = json!({
        "memory": {}, "cpu": {}, "blockIO": {}, "network": {"classID": 0, "priorities": []},
        "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}],
    });
    container.bundle.set("/linux/resources", empty);
    runs_extended(&mut container);
}

fn cfg_126_values_of_a_wrong_type_are_refused_by_name(runtime: &Runtime) {
    let text = || json!("1");
    let values = [
        ("/ociVersion", json!(1)),
        ("/hostname", json!(1)),
        ("/annotations", json!([])),
        ("/root/path", json!(1)),
        ("/root/readonly", text()),
        ("/mounts", json!({})),
        ("/mounts/0/destination", json!(1)),
        ("/mounts/0/options", text()),
        ("/process/cwd", json!(1)),
        ("/process/args", text()),
        ("/process/args/0", json!(1)),
        ("/process/env", json!({})),
        ("/process/user/uid", text()),
        ("/process/user/gid", json!(1.5)),
        ("/process/user/umask", text()),
        ("/process/user/additionalGids", json!(["1"])),
        ("/process/noNewPrivileges", text()),
        ("/process/oomScoreAdj", text()),
        ("/process/rlimits", json!({})),
        ("/process/rlimits/0/soft", text()),
        ("/process/capabilities", json!([])),
        ("/process/capabilities/bounding", text()),
    ];
    all_refused(&mut Container::sleeper(runtime), &values);
}

fn cfg_126_values_of_a_wrong_type_in_linux_are_refused_by_name(runtime: &Runtime) {
    let text = || json!("1");
    let values = [
        ("/linux/namespaces", json!({})),
        ("/linux/namespaces/0/type", json!(1)),
        ("/linux/cgroupsPath", json!(1)),
        ("/linux/sysctl", json!([])),
        ("/linux/maskedPaths", text()),
        ("/linux/readonlyPaths", json!([1])),
        ("/linux/resources", json!([])),
        ("/linux/resources/devices", json!({})),
        ("/linux/resources/devices/0/allow", text()),
        ("/linux/resources/memory/limit", text()),
        ("/linux/resources/pids/limit", text()),
        ("/linux/resources/unified", json!([])),
    ];
    all_refused(&mut Container::sleeper(runtime), &values);
}

fn cfg_126_numbers_out_of_their_ranges_are_refused_by_name(runtime: &Runtime) {
    let two_to_32 = || json!(4_294_967_296_u64);
    let values = [
        ("/process/user/uid", two_to_32()),
        ("/process/user/uid", json!(-1)),
        ("/process/user/gid", two_to_32()),
        ("/process/user/umask", json!(-1)),
        ("/process/user/umask", json!(0o1000)),
        ("/process/user/additionalGids", json!([-1])),
        ("/process/oomScoreAdj", json!(1001)),
        ("/process/oomScoreAdj", json!(-1001)),
        ("/process/rlimits/0/soft", json!(-1)),
        ("/process/rlimits/0/hard", json!(18_446_744_073_709_551_616_f64)),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": -1}])),
        ("/linux/resources/memory/limit", json!(-2)),
        ("/linux/resources/cpu/shares", json!(-1)),
        ("/linux/resources/cpu/idle", json!(2)),
        ("/linux/resources/blockIO/weight", json!(65536)),
        ("/linux/resources/blockIO/weight", json!(5)),
        ("/linux/resources/blockIO/weight", json!(1001)),
        ("/linux/resources/memory/swappiness", json!(101)),
    ];
    all_refused(&mut Container::sleeper(runtime), &values);
}

fn cfg_126_unknown_words_are_refused_by_name(runtime: &Runtime) {
    let device = json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]);
    let values = [
        ("/linux/namespaces/0/type", json!("strange")),
        ("/linux/namespaces/0/type", json!("PID")),
        ("/linux/rootfsPropagation", json!("strange")),
        ("/linux/devices", device),
        ("/process/rlimits/0/type", json!("RLIMIT_STRANGE")),
        ("/linux/resources/devices/0/type", json!("z")),
        ("/linux/resources/devices/0/access", json!("x")),
    ];
    all_refused(&mut Container::sleeper(runtime), &values);
}

fn cfg_126_null_counts_as_absent(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo ran");
    let places = [
        "/annotations", "/hooks", "/process/rlimits", "/process/oomScoreAdj", "/process/user/additionalGids",
        "/process/user/umask", "/process/env", "/linux/resources", "/linux/devices", "/linux/sysctl", "/linux/seccomp",
        "/linux/maskedPaths", "/mounts/0/options", "/hostname", "/process/apparmorProfile",
    ];
    for place in places {
        container.bundle.set(place, Value::Null);
    }
    container.bundle.args(["/bin/sh", "-c", "echo ran"]);
    assert_eq!(container.run().ok().no_complaint().text(), "ran");
}

fn cfg_127_fields_that_ask_for_nothing_are_fine(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo ran");
    let nothing = [
        ("/hooks", json!({})),
        ("/process/terminal", json!(false)),
        ("/process/apparmorProfile", json!("")),
        ("/process/selinuxLabel", json!("")),
        ("/linux/mountLabel", json!("")),
    ];
    for (place, value) in nothing {
        container.bundle.set(place, value);
    }
    assert_eq!(container.run().ok().no_complaint().text(), "ran");
}

fn cfg_93_sections_of_other_platforms_are_ignored(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo ran");
    container.bundle.set("/windows", json!({"layerFolders": ["C:\\Layers\\layer1"], "ignoreFlushesDuringBoot": true}));
    container.bundle.set("/solaris", json!({"limitpriv": "default", "cappedCPU": {"ncpus": "8"}}));
    container.bundle.set("/vm", json!({"kernel": {"path": "/no/such/vmlinuz", "parameters": ["foo=bar"]}}));
    container.bundle.set("/zos", json!({"namespaces": [{"type": "ipc"}]}));
    container.bundle.set("/freebsd", json!({"jail": {"host": "new"}}));
    container.bundle.set("/process/commandLine", json!("cmd.exe"));
    assert_eq!(container.run().ok().no_complaint().text(), "ran");
}
