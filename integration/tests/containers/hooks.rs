//! Hooks: when they run, where, with what, and what happens when one fails.

use integration::deadline::limit;
use integration::hooks::{PHASES, hook, share, written};
use integration::{Container, Process, Runtime, Snapshot, schema, until};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

cases! {
    Any:
        rt_21_phases_run_in_order_each_in_its_operation,
        rt_22_failing_hooks_are_named_and_leave_nothing,
        rt_27_start_container_runs_before_the_program,
        cfg_94_path_is_required,
        cfg_95_path_is_absolute,
        cfg_98_timeout_kills_the_process_group,
        cfg_99_timeout_is_positive,
        cfg_101_start_container_path_is_in_the_container,
        cfg_102_namespaces_of_each_phase,
        cfg_106_hooks_of_a_phase_keep_their_order,
        cfg_107_state_is_on_stdin,
        cfg_107_a_hook_may_ignore_stdin_and_flood_its_output,
        cfg_109_root_is_not_entered_before_prestart,
        cfg_112_create_container_sees_the_mounts,
        cfg_114_poststart_sees_the_program,
        cfg_116_every_kind_of_failure,
        point_4_environment_without_env,
        point_4_start_container_has_the_home_of_the_program,
        sec_28_variables_of_the_image_do_not_reach_hooks,
    ;
}

/// A container whose folder `shared` is seen as `/shared` inside.
fn prepared(runtime: &Runtime) -> Container {
    let mut container = Container::sleeper(runtime);
    share(&mut container);
    container
}

/// Runs the whole life of a container.
fn live(container: &Container) {
    container.create().ok();
    container.start().ok();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
}

fn rt_21_phases_run_in_order_each_in_its_operation(runtime: &Runtime) {
    let mut container = prepared(runtime);
    for phase in PHASES {
        hook(&mut container, phase, &format!("cat >/dev/null; echo {phase} >> OUT/log"));
    }
    container.create().ok();
    assert_eq!(written(&container, "log"), "prestart\ncreateRuntime\ncreateContainer\n");
    container.start().ok();
    assert_eq!(written(&container, "log"), PHASES[..5].join("\n") + "\n");
    container.delete_force().ok();
    assert_eq!(written(&container, "log"), PHASES.join("\n") + "\n");
}

/// The second hook of a phase fails because of `broken`: the third does not run, poststop does, nothing is left.
fn fails_as(runtime: &Runtime, phase: &str, broken: &Value) {
    let mut container = prepared(runtime);
    hook(&mut container, phase, "cat >/dev/null; echo first >> OUT/log");
    container.bundle.push(&format!("/hooks/{phase}"), broken.clone());
    hook(&mut container, phase, "cat >/dev/null; echo third >> OUT/log");
    hook(&mut container, "poststop", "cat >/dev/null; echo poststop >> OUT/log");
    let before = Snapshot::take(&container);
    let output = if ["startContainer", "poststart"].contains(&phase) {
        container.create().ok();
        container.start()
    } else {
        container.create()
    };
    output.fails_with(&format!("error running {phase} hook #1"));
    assert_eq!(written(&container, "log"), "first\npoststop\n", "{phase} {broken}");
    fs::remove_file(container.folder().join("shared/log")).unwrap();
    before.assert_unchanged(&container);
    container.state_call().fails_with("does not exist");
}

fn rt_22_failing_hooks_are_named_and_leave_nothing(runtime: &Runtime) {
    for phase in &PHASES[..5] {
        fails_as(runtime, phase, &json!({"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null; exit 3"]}));
    }
}

fn rt_27_start_container_runs_before_the_program(runtime: &Runtime) {
    let mut container = prepared(runtime);
    container.bundle.sh("echo program >> /shared/log; sleep 1000");
    hook(&mut container, "startContainer", "cat >/dev/null; echo hook >> OUT/log");
    container.create().ok();
    assert_eq!(written(&container, "log"), "");
    container.start().ok();
    until("the program's mark", || (written(&container, "log") == "hook\nprogram\n").then_some(()));
}

/// Every phase refuses this hook at create.
fn refused(runtime: &Runtime, broken: &Value) {
    for phase in PHASES {
        let mut container = Container::new(runtime);
        container.bundle.push(&format!("/hooks/{phase}"), broken.clone());
        container.create().fails();
        container.state_call().fails();
    }
}

fn cfg_94_path_is_required(runtime: &Runtime) {
    refused(runtime, &json!({"args": ["sh"]}));
}

fn cfg_95_path_is_absolute(runtime: &Runtime) {
    refused(runtime, &json!({"path": "sh"}));
}

fn cfg_98_timeout_kills_the_process_group(runtime: &Runtime) {
    let mut container = prepared(runtime);
    hook(&mut container, "createRuntime", "cat >/dev/null; sleep 1000 & echo $! > OUT/pid; wait");
    // Long enough for the hook to come to its child on a machine that stalls.
    container.bundle.set("/hooks/createRuntime/0/timeout", json!(5));
    let (begin, patience) = (Instant::now(), limit().max(Duration::from_secs(10)));
    container.create_call(&[]).deadline(patience).run().fails_with("error running createRuntime hook #0");
    assert!(begin.elapsed() < patience);
    let child = Process::new(written(&container, "pid").trim().parse().unwrap());
    until("the end of the hook's child", || (!child.is_alive()).then_some(()));
}

fn cfg_99_timeout_is_positive(runtime: &Runtime) {
    refused(runtime, &json!({"path": "/bin/true", "timeout": 0}));
    refused(runtime, &json!({"path": "/bin/true", "timeout": -1}));
}

fn cfg_101_start_container_path_is_in_the_container(runtime: &Runtime) {
    let mut container = prepared(runtime);
    container.bundle.file("/inside-only", "#!/bin/sh\ncat >/dev/null; echo ran > /shared/log\n", 0o755);
    container.bundle.push("/hooks/startContainer", json!({"path": "/inside-only"}));
    container.create().ok();
    container.start().ok();
    assert_eq!(written(&container, "log"), "ran\n");
}

const KINDS: [&str; 7] = ["mnt", "pid", "net", "uts", "ipc", "user", "cgroup"];

fn cfg_102_namespaces_of_each_phase(runtime: &Runtime) {
    let mut container = prepared(runtime);
    for phase in PHASES {
        let read = "cat >/dev/null; for k in mnt pid net uts ipc user cgroup; do readlink /proc/self/ns/$k; done";
        // On the host's /proc, which createContainer still sees, `self` is not there for a foreign pid namespace.
        if phase != "createContainer" {
            hook(&mut container, phase, &format!("{read} > OUT/{phase}"));
        }
    }
    hook(&mut container, "createContainer", "cat >/dev/null; hostname > OUT/createContainer; test -d OUT");
    container.bundle.set("/hostname", json!("inside"));
    container.create().ok();
    let lines = |process: &Process| {
        let link = |kind: &&str| process.namespace(kind).unwrap().display().to_string() + "\n";
        KINDS.iter().map(link).collect::<String>()
    };
    let (inside, own) = (lines(&container.process()), lines(&Process::new(std::process::id().cast_signed())));
    container.start().ok();
    container.delete_force().ok();
    for phase in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(written(&container, phase), own, "{phase}");
    }
    assert_eq!(written(&container, "startContainer"), inside);
    assert_eq!(written(&container, "createContainer"), "inside\n");
}

fn cfg_106_hooks_of_a_phase_keep_their_order(runtime: &Runtime) {
    let mut container = prepared(runtime);
    for phase in PHASES {
        for number in 1..=3 {
            hook(&mut container, phase, &format!("cat >/dev/null; echo {number} >> OUT/{phase}"));
        }
    }
    live(&container);
    for phase in PHASES {
        assert_eq!(written(&container, phase), "1\n2\n3\n", "{phase}");
    }
}

fn cfg_107_state_is_on_stdin(runtime: &Runtime) {
    let mut container = prepared(runtime);
    container.bundle.set("/annotations", json!({"a": "b"}));
    for phase in PHASES {
        hook(&mut container, phase, &format!("cat > OUT/{phase}"));
    }
    live(&container);
    let words = ["creating", "creating", "creating", "created", "running", "stopped"];
    for (phase, word) in PHASES.into_iter().zip(words) {
        let state: Value = serde_json::from_str(&written(&container, phase)).unwrap();
        assert_eq!(state["status"], word, "{phase}");
        assert_eq!(state["id"], json!(container.id), "{phase}");
        assert_eq!(state["bundle"], json!(container.bundle.path()), "{phase}");
        assert_eq!(state["annotations"], json!({"a": "b"}), "{phase}");
        let inside = ["createContainer", "startContainer"].contains(&phase);
        assert!(phase == "poststop" || (state["pid"] == 1) == inside, "{phase}: {state}");
        let violations = schema::violations("state-schema.json", &state);
        assert!(violations.is_empty(), "{phase}: {violations:?}");
    }
}

fn cfg_107_a_hook_may_ignore_stdin_and_flood_its_output(runtime: &Runtime) {
    let mut container = prepared(runtime);
    // More than any pipe holds.
    container.bundle.set("/annotations", json!({"long": "x".repeat(200_000)}));
    for phase in PHASES {
        hook(&mut container, phase, "exec <&-; head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2");
    }
    live(&container);
}

fn cfg_109_root_is_not_entered_before_prestart(runtime: &Runtime) {
    for phase in ["prestart", "createRuntime"] {
        let mut container = prepared(runtime);
        let pid = r#"pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/')"#;
        hook(&mut container, phase, &format!("{pid}; readlink /proc/$pid/ns/mnt > OUT/mnt; test -d /proc/$pid/rootOUT"));
        container.create().ok();
        let namespace = container.process().namespace("mnt").unwrap();
        assert_eq!(written(&container, "mnt").trim(), namespace.to_str().unwrap(), "{phase}");
    }
}

fn cfg_112_create_container_sees_the_mounts(runtime: &Runtime) {
    let mut container = prepared(runtime);
    let rootfs = container.bundle.rootfs().display().to_string();
    hook(&mut container, "createContainer", &format!("cat >/dev/null; test -e {rootfs}/proc/meminfo"));
    container.create().ok();
}

fn cfg_114_poststart_sees_the_program(runtime: &Runtime) {
    let mut container = prepared(runtime);
    let pid = r#"pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/')"#;
    hook(&mut container, "poststart", &format!("{pid}; readlink /proc/$pid/exe > OUT/exe"));
    container.create().ok();
    container.start().ok();
    assert!(written(&container, "exe").trim().ends_with("bin/busybox"));
}

fn cfg_116_every_kind_of_failure(runtime: &Runtime) {
    for phase in &PHASES[..5] {
        fails_as(runtime, phase, &json!({"path": "/bin/sh", "args": ["sh", "-c", "kill -KILL $$"]}));
        fails_as(runtime, phase, &json!({"path": "/etc/passwd"}));
        fails_as(runtime, phase, &json!({"path": "/bin/sh", "args": ["sh", "-c", "sleep 1000"], "timeout": 1}));
    }
}

/// What the hooks of a container see whose program has the variable MARK=image, the runtime MARK=caller.
fn marks(runtime: &Runtime, phases: &[&str]) -> Vec<String> {
    let mut container = prepared(runtime);
    container.bundle.push("/process/env", json!("MARK=image")).push("/process/env", json!("IMAGE=1"));
    for phase in phases {
        hook(&mut container, phase, &format!("cat >/dev/null; echo $MARK$IMAGE > OUT/{phase}"));
    }
    let call = |call: integration::Call| call.env("MARK", "caller").run();
    container.record(call(container.create_call(&[]))).ok();
    container.settled(call(container.call(["start", &container.id]))).ok();
    call(container.call(["delete", "--force", &container.id])).ok();
    phases.iter().map(|phase| written(&container, phase).trim().to_string()).collect()
}

// hooks.bats of runc, "startContainer hook should inherit process environment".
fn point_4_start_container_has_the_home_of_the_program(runtime: &Runtime) {
    let mut container = prepared(runtime);
    container.bundle.file("/etc/passwd", "root:x:0:0:root:/home/of/root:/bin/sh\n", 0o644);
    container.bundle.sh("echo $HOME");
    hook(&mut container, "startContainer", "cat > /dev/null; echo $HOME > OUT/home");
    let program = container.run().ok();
    assert_eq!((written(&container, "home").trim(), program.text()), ("/home/of/root", "/home/of/root"));
}

fn point_4_environment_without_env(runtime: &Runtime) {
    let expected = ["caller", "caller", "caller", "image1", "caller", "caller"];
    assert_eq!(marks(runtime, &PHASES), expected);
}

fn sec_28_variables_of_the_image_do_not_reach_hooks(runtime: &Runtime) {
    let mut container = prepared(runtime);
    let bad = ["LD_LIBRARY_PATH=/proc/self/cwd", "GCONV_PATH=/proc/self/cwd", "EVIL_IMAGE=1"];
    for entry in bad {
        container.bundle.push("/process/env", json!(entry));
    }
    let phases = ["prestart", "createRuntime", "createContainer"];
    for phase in phases {
        hook(&mut container, phase, &format!("cat >/dev/null; env > OUT/{phase}; pwd > OUT/{phase}.cwd"));
    }
    container.create().ok();
    for phase in phases {
        let environment = written(&container, phase);
        assert!(!environment.is_empty() && !bad.iter().any(|entry| environment.contains(entry)), "{environment}");
        let rootfs = container.bundle.rootfs();
        assert_ne!(written(&container, &format!("{phase}.cwd")).trim(), rootfs.to_str().unwrap(), "{phase}");
    }
}
