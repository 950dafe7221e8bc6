//! Bad input that has no row of its own: each gets an error that says what is wrong, and the host is as before.

use crate::containers::config_errors::{refused, refuses};
use integration::bundle::dead_socket;
use integration::mountinfo::{host_mount, text};
use integration::{Container, Runtime, Snapshot, until};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::time::Duration;

cases! {
    Any:
        rt_37_broken_json_is_named_with_its_place,
        rt_37_unknown_capability_leaves_nothing_of_a_failed_create,
        rt_37_namespace_given_twice_is_named_as_in_the_configuration,
        rt_37_program_that_cannot_be_executed_leaves_nothing,
        rt_37_program_that_is_a_directory_leaves_nothing,
        rt_37_hook_that_fails_hangs_or_floods_leaves_nothing,
        rt_37_overlapping_maps_are_named,
        rt_37_cgroup_path_that_climbs_leaves_nothing,
        rt_37_full_disk_at_the_state_directory_leaves_nothing,
        rt_37_console_socket_that_cannot_be_reached_leaves_nothing,
        rt_37_caller_that_closed_its_pipes,
        rt_37_environment_of_16_mib_leaves_nothing,
        rt_46_an_id_as_long_as_an_argument_can_be,
        rt_37_a_hundred_thousand_mounts_leave_nothing,
    ;
}

fn rt_37_broken_json_is_named_with_its_place(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let text = serde_json::to_string_pretty(container.bundle.config()).unwrap();
    container.bundle.write_config(text.replacen("\"args\": [", "\"args\": [,", 1));
    let message = refused(&container);
    let line = text.lines().position(|line| line.contains("\"args\": [")).unwrap() + 1;
    assert!(message.contains("process.args") && message.contains(&format!("line {line}")), "{message}");
    fs::remove_file(container.bundle.path().join("config.json")).unwrap();
    assert!(refused(&container).contains("config.json"));
}

fn rt_37_unknown_capability_leaves_nothing_of_a_failed_create(runtime: &Runtime) {
    // The capability is only a warning; the error is another one, and both are said.
    let message = refuses(runtime, |bundle| {
        bundle.set("/process/capabilities/bounding", json!(["CAP_STRANGE"])).args(["/nowhere"])
    });
    assert!(message.contains("/nowhere"), "{message}");
}

fn rt_37_namespace_given_twice_is_named_as_in_the_configuration(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| bundle.push("/linux/namespaces", json!({"type": "mount"})));
    assert!(message.contains("linux.namespaces[") && message.contains("\"mount\""), "{message}");
}

fn rt_37_program_that_cannot_be_executed_leaves_nothing(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| {
        bundle.file("/plain", "no program", 0o644);
        bundle.args(["/plain"])
    });
    assert!(message.contains("permission denied"), "{message}");
}

fn rt_37_program_that_is_a_directory_leaves_nothing(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| bundle.args(["/bin"]));
    assert!(message.contains("is a directory"), "{message}");
}

fn rt_37_hook_that_fails_hangs_or_floods_leaves_nothing(runtime: &Runtime) {
    let hooks = [
        ("echo the reason >&2; exit 5", Value::Null),
        ("sleep 1000", json!(1)),
        ("head -c 8000000 /dev/zero | tr '\\0' x; echo the last words >&2; exit 1", Value::Null),
        ("head -c 8000000 /dev/zero | tr '\\0' x >&2; exit 1", Value::Null),
    ];
    for phase in ["prestart", "createRuntime", "createContainer"] {
        for (script, timeout) in &hooks {
            let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
            if !timeout.is_null() {
                hook["timeout"] = timeout.clone();
            }
            let message = refuses(runtime, |bundle| bundle.push(&format!("/hooks/{phase}"), hook));
            assert!(message.contains(&format!("error running {phase} hook #0")), "{message}");
            assert!(message.len() < 8192 && message.trim_end().lines().count() == 1, "{} bytes", message.len());
            assert!(!script.contains("the reason") || message.contains("the reason"), "{message}");
        }
    }
}

fn rt_37_overlapping_maps_are_named(runtime: &Runtime) {
    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 5, "hostID": 2000, "size": 10}]);
    let message = refuses(runtime, |bundle| {
        bundle.user_namespace(100_000).set("/linux/uidMappings", maps)
    });
    assert!(message.contains("linux.uidMappings[1]: containerID 5, hostID 2000, size 10"), "{message}");
}

fn rt_37_cgroup_path_that_climbs_leaves_nothing(runtime: &Runtime) {
    for path in ["/../up", "../up", "/a/../../up", "..", "/a/.."] {
        let message = refuses(runtime, |bundle| bundle.set("/linux/cgroupsPath", json!(path)));
        assert!(message.contains("linux.cgroupsPath"), "{message}");
    }
}

fn rt_37_full_disk_at_the_state_directory_leaves_nothing(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let mut failures = 0;
    for pages in [1, 2, 3, 4, 6, 8, 12, 16, 24] {
        let option = format!("size={}", pages * 4096);
        host_mount(&container, &["-t", "tmpfs", "-o", &option, "tmpfs"], &container.root);
        let before = Snapshot::take(&container);
        let output = container.create();
        if output.code == Some(0) {
            container.delete_force().ok();
        } else {
            let message = output.fails().stderr;
            assert!(message.to_lowercase().contains("no space left on device") && message.trim_end().lines().count() == 1, "{message}");
            before.assert_unchanged(&container);
            failures += 1;
        }
        // A child that another test was making while this one looked into the folder has it open for a moment.
        until("nobody in the state directory", || (container.host_call("umount").arg(&container.root).run().code == Some(0)).then_some(()));
    }
    assert!(failures >= 2, "only {failures} of the disks were too small");
}

fn rt_37_console_socket_that_cannot_be_reached_leaves_nothing(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/terminal", json!(true));
    let closed = container.folder().join("closed");
    dead_socket(&closed);
    let plain = container.folder().join("plain");
    fs::write(&plain, "").unwrap();
    for socket in ["/nowhere/at/all", text(&closed), text(&plain)] {
        let before = Snapshot::take(&container);
        container.create_with(&["--console-socket", socket]).fails();
        before.assert_unchanged(&container);
        container.state_call().fails();
    }
}

/// The reading ends of stdout and stderr are gone: a failure leaves nothing, a success is one.
fn rt_37_caller_that_closed_its_pipes(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let broken = || {
        // Close-on-exec, or what other tests begin meanwhile would have it open, too.
        let (_, writer) = std::io::pipe().unwrap();
        File::from(OwnedFd::from(writer))
    };
    container.bundle.args(["/nowhere"]);
    let before = Snapshot::take(&container);
    let output = container.create_call(&[]).stdout(broken()).stderr(broken()).run();
    assert!(output.code.is_some_and(|code| code != 0), "{output}");
    before.assert_unchanged(&container);
    container.bundle.sh("sleep 1000");
    container.create_call(&[]).stdout(broken()).stderr(broken()).run().ok();
    container.delete_force().ok();
}

fn rt_37_environment_of_16_mib_leaves_nothing(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let value = "x".repeat(64 << 10);
    let environment: Vec<Value> = (0..256).map(|number| json!(format!("V{number}={value}"))).collect();
    container.bundle.set("/process/env", Value::Array(environment));
    let before = Snapshot::take(&container);
    let message = container.run().fails().stderr;
    before.assert_unchanged(&container);
    let said = message.to_lowercase();
    assert!(said.contains("argument list too long"), "{message}");
    assert!(message.len() < 8192 && message.trim_end().lines().count() == 1, "{} bytes", message.len());
}

fn rt_46_an_id_as_long_as_an_argument_can_be(runtime: &Runtime) {
    // 1 MiB, as an engine might take it from its user, is more than the kernel passes on as one word.
    let mut container = Container::sleeper(runtime);
    container.id = "x".repeat(127 << 10);
    let before = Snapshot::take(&container);
    let message = container.create().fails().stderr;
    before.assert_unchanged(&container);
    assert!(message.len() < 8192 && message.contains("invalid container ID format"), "{} bytes", message.len());
}

/// More than a mount namespace may have (`fs.mount-max`).
fn rt_37_a_hundred_thousand_mounts_leave_nothing(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.mount("/m", "tmpfs", "tmpfs", &[]);
    container.bundle.edit(|config| {
        let list = config["mounts"].as_array_mut().unwrap();
        let mount = |n| json!({"destination": format!("/m/{n}"), "type": "tmpfs", "source": "t", "options": ["nosuid"]});
        list.extend((0..100_000).map(mount));
    });
    let before = Snapshot::take(&container);
    let output = container.create_call(&[]).deadline(Duration::from_secs(300)).run();
    let message = output.fails_with("mounts[").stderr;
    // A machine that takes too long for the first mounts comes to the end of its patience, and says where.
    let reasons = ["no space left on device", "gave no sign"];
    assert!(reasons.iter().any(|reason| message.to_lowercase().contains(reason)), "{message}");
    before.assert_unchanged(&container);
}
