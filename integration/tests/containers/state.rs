//! What `state` reports: runtime.md, section state.

use integration::{Container, Process, Runtime, schema, until};
use serde_json::{Value, json};

cases! {
    Any:
        rt_1_operations_from_anywhere_share_only_the_root,
        rt_2_oci_version_is_semver_in_every_status,
        rt_3_id_is_the_one_given,
        rt_4_status_is_creating_in_a_create_runtime_hook,
        rt_5_created_until_start,
        rt_6_running_after_start,
        rt_7_stopped_after_exit_0,
        rt_7_stopped_after_exit_42,
        rt_7_stopped_after_kill_from_outside,
        rt_7_stopped_when_the_joined_pid_namespace_ends,
        rt_8_paused_after_pause,
        rt_9_pid_is_in_the_container_root,
        rt_10_pid_in_runtime_namespace_hooks,
        rt_11_pid_in_container_namespace_hooks,
        rt_12_bundle_is_absolute,
        rt_13_annotations_are_unchanged,
        rt_13_annotations_in_hook_stdin,
        rt_14_no_annotations_are_no_null,
        rt_15_extra_members_of_runc,
        rt_16_state_fits_the_schema,
        rt_43_state_prints_one_object,
        row_67_stopped_has_pid_zero,
        row_68_keys_of_state,
        row_69_a_zombie_counts_as_stopped,
    ;
    Any [Unshare, LastPid]:
        rt_7_a_recycled_pid_does_not_run,
    ;
}

fn rt_1_operations_from_anywhere_share_only_the_root(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let elsewhere = |words: &[&str]| container.call(words).clean_environment().cwd("/").run();
    elsewhere(&["start", &container.id]).ok().silent();
    assert_eq!(elsewhere(&["state", &container.id]).ok().json()["status"], "running");
    elsewhere(&["kill", &container.id, "KILL"]).ok().silent();
    container.wait_for("stopped");
    elsewhere(&["delete", &container.id]).ok().silent();
}

fn assert_version(state: &Value) {
    let version = state["ociVersion"].as_str().expect("ociVersion");
    let core = version.split(['-', '+']).next().unwrap();
    let numbers: Vec<u32> = core.split('.').map(|word| word.parse().expect(version)).collect();
    assert!(numbers.len() == 3 && numbers <= [1, 3, u32::MAX].to_vec(), "{version}");
}

fn rt_2_oci_version_is_semver_in_every_status(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    assert_version(&container.state());
    container.start().ok();
    assert_version(&container.state());
    container.kill("KILL").ok();
    container.wait_for("stopped");
    assert_version(&container.state());
}

fn rt_3_id_is_the_one_given(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.id.push_str("+A.b_-");
    container.create().ok();
    assert_eq!(container.state()["id"], json!(container.id));
}

/// A hook that keeps its stdin as `NAME.stdin` in the test's folder.
fn keep_stdin(container: &mut Container, hook: &str, name: &str) {
    let script = format!("cat > {}/{name}.stdin", container.folder().display());
    container.bundle.push(&format!("/hooks/{hook}"), json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
}

fn kept(container: &Container, name: &str) -> Value {
    let path = container.folder().join(format!("{name}.stdin"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("a hook's stdin is JSON")
}

fn rt_4_status_is_creating_in_a_create_runtime_hook(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    keep_stdin(&mut container, "createRuntime", "hook");
    container.create().ok();
    let state = kept(&container, "hook");
    assert_eq!(state["status"], "creating");
    assert_eq!(state["pid"], json!(container.pid()));
}

fn rt_5_created_until_start(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    assert_eq!(container.status(), "created");
    let process = container.process();
    assert!(process.is_alive());
    assert!(!process.link("exe").unwrap().ends_with("bin/busybox"));
}

fn rt_6_running_after_start(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    container.start().ok();
    assert_eq!(container.status(), "running");
    until("the program of the container", || {
        container.process().link("exe").filter(|path| path.ends_with("bin/busybox"))
    });
}

fn stops(container: &Container) {
    container.wait_for("stopped");
    assert_eq!(container.state()["id"], json!(container.id));
    container.delete().ok();
}

fn rt_7_stopped_after_exit_0(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.run_detached().ok();
    stops(&container);
}

fn rt_7_stopped_after_exit_42(runtime: &Runtime) {
    let container = Container::sh(runtime, "exit 42");
    container.create().ok();
    let pid = container.pid();
    container.start().ok();
    assert_eq!(container.reap(pid), 42);
    stops(&container);
}

fn rt_7_stopped_after_kill_from_outside(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let pid = container.pid();
    container.host_call("kill").args(["-KILL", &pid.to_string()]).run().ok();
    assert_eq!(container.reap(pid), 137);
    stops(&container);
}

fn rt_7_stopped_when_the_joined_pid_namespace_ends(runtime: &Runtime) {
    let first = Container::sleeper(runtime);
    first.run_detached().ok();
    let mut second = first.beside();
    second.bundle.sh("sleep 1000").join_namespace("pid", &format!("/proc/{}/ns/pid", first.pid()));
    second.run_detached().ok();
    let pid = second.pid();
    assert_eq!(second.status(), "running");
    first.kill("KILL").ok();
    assert_eq!(second.reap(pid), 137);
    stops(&second);
}

fn rt_7_a_recycled_pid_does_not_run(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let script = format!(
        r#"set -e
        R="{} --root {}"; ID={}
        $R run --detach --bundle {} $ID >/dev/null
        pid=$($R state $ID | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
        kill -KILL $pid
        while kill -0 $pid 2>/dev/null; do sleep 0.01; done
        recycled=
        for try in 1 2 3 4 5; do
            echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid
            sleep 100 & recycled=$!
            [ $recycled = $pid ] && break
        done
        [ $recycled = $pid ]
        $R state $ID
        ! $R kill $ID KILL
        kill -0 $recycled
        $R delete --force $ID
        kill -0 $recycled"#,
        runtime.path.display(),
        container.root.display(),
        container.id,
        container.bundle.path().display()
    );
    let view = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let output = container.host_call("unshare").args(view).args(["bash", "-c", &script]).run().ok();
    assert_eq!(output.json()["status"], "stopped");
}

fn rt_8_paused_after_pause(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    container.call(["pause", &container.id]).run().ok().silent();
    assert_eq!(container.status(), "paused");
    container.call(["resume", &container.id]).run().ok().silent();
    assert_eq!(container.status(), "running");
}

fn rt_9_pid_is_in_the_container_root(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.bundle.file("/etc/mark", &container.id, 0o644);
    let file = container.folder().join("pid");
    container.create_with(&["--pid-file", file.to_str().unwrap()]).ok();
    for status in ["created", "running"] {
        assert_eq!(container.status(), status);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), container.pid().to_string());
        assert_eq!(container.process().read("root/etc/mark"), container.id);
        container.start();
    }
}

fn rt_10_pid_in_runtime_namespace_hooks(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let hooks = ["prestart", "createRuntime", "poststart"];
    for hook in hooks {
        keep_stdin(&mut container, hook, hook);
    }
    container.create().ok();
    container.start().ok();
    for hook in hooks {
        assert_eq!(kept(&container, hook)["pid"], json!(container.pid()), "{hook}");
    }
}

fn rt_11_pid_in_container_namespace_hooks(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.writable().push(
        "/hooks/startContainer",
        json!({"path": "/bin/sh", "args": ["sh", "-c", "cat > /startContainer.json"]}),
    );
    keep_stdin(&mut container, "createContainer", "createContainer");
    container.create().ok();
    assert_eq!(kept(&container, "createContainer")["pid"], 1);
    container.start().ok();
    let file = container.bundle.inside("/startContainer.json");
    let text = until("the hook's output", || std::fs::read_to_string(&file).ok().filter(|text| text.contains('}')));
    let state: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(state["pid"], 1);
}

fn rt_12_bundle_is_absolute(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let words = ["create", "--bundle", ".", &container.id];
    container.record(container.call(words).cwd(container.bundle.path()).run()).ok();
    assert_eq!(container.state()["bundle"], json!(container.bundle.path()));
}

fn annotations() -> Value {
    json!({"com.example.key": "value", "empty": "", "ünï": "códe \" \\ \n", "long": "x".repeat(4096)})
}

fn rt_13_annotations_are_unchanged(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/annotations", annotations());
    container.create().ok();
    assert_eq!(container.state()["annotations"], annotations());
}

fn rt_13_annotations_in_hook_stdin(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/annotations", annotations());
    keep_stdin(&mut container, "createRuntime", "hook");
    container.create().ok();
    assert_eq!(kept(&container, "hook")["annotations"], annotations());
}

fn rt_14_no_annotations_are_no_null(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let state = container.state();
    let annotations = state.get("annotations");
    assert!(annotations.is_none_or(|found| *found == json!({})), "{annotations:?}");
}

fn rt_15_extra_members_of_runc(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let state = container.state();
    assert_eq!(state["rootfs"], json!(container.bundle.rootfs()));
    assert_rfc3339(state["created"].as_str().expect("created"));
    assert!(state["owner"].is_string());
}

/// A time such as `2026-11-21T02:05:36.123456789Z`.
fn assert_rfc3339(text: &str) {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let zone = shape.strip_prefix("0000-00-00T00:00:00").map(|rest| match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches('0'),
        None => rest,
    });
    assert!(matches!(zone, Some("Z" | "+00:00" | "-00:00")), "not RFC 3339: {text}");
}

fn rt_16_state_fits_the_schema(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/annotations", json!({"a": "b"}));
    container.create().ok();
    for status in ["created", "running", "stopped"] {
        container.wait_for(status);
        let violations = schema::violations("state-schema.json", &container.state());
        assert!(violations.is_empty(), "{status}: {violations:?}");
        if status == "created" { container.start() } else { container.kill("KILL") };
    }
}

fn rt_43_state_prints_one_object(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let output = container.state_call().ok().no_complaint();
    assert!(output.json().is_object());
}

fn row_67_stopped_has_pid_zero(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.run_detached().ok();
    container.wait_for("stopped");
    assert_eq!(container.state()["pid"], json!(0));
}

fn row_68_keys_of_state(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/annotations", json!({"a": "b"}));
    container.create().ok();
    let list = container.call(["list", "--format", "json"]).run().ok().json();
    for found in [&container.state(), &list[0]] {
        for key in ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"] {
            assert!(found.get(key).is_some(), "{key} is missing in {found}");
        }
    }
}

fn row_69_a_zombie_counts_as_stopped(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let process = container.process();
    container.host_call("kill").args(["-KILL", &process.pid.to_string()]).run().ok();
    // This process is the reaper and does not wait for its child.
    until("the zombie", || process.stat(3).filter(|state| state == "Z"));
    assert_eq!(process.status("PPid"), Some(std::process::id().to_string()));
    assert_eq!(container.status(), "stopped");
    container.delete().ok();
    assert_eq!(Process::new(process.pid).stat(3).as_deref(), Some("Z"));
}

