//! create, start and delete when nothing goes wrong: runtime.md, sections lifecycle and operations.

use integration::{Container, Process, Runtime, Snapshot, until};
use serde_json::{Value, json};
use std::fs;

cases! {
    Any:
        rt_17_create_builds_the_environment,
        rt_19_program_does_not_run_during_create,
        rt_20_later_edits_do_not_count,
        rt_20_config_may_vanish_before_start,
        rt_20_poststop_hook_is_the_original_one,
        rt_32_the_program_may_crash,
        rt_33_delete_leaves_nothing,
        rt_33_delete_leaves_no_namespace,
        rt_34_poststop_hooks_run_after_destroy,
        rt_35_failing_poststop_hook_is_a_warning,
        rt_36_poststop_runs_once_after_a_failing_prestart_hook,
        rt_36_poststop_runs_once_after_a_failing_create_runtime_hook,
        rt_36_poststop_runs_once_after_a_failing_create_container_hook,
        rt_36_poststop_runs_once_after_a_failing_start_container_hook,
        rt_36_poststop_runs_once_after_a_failing_poststart_hook,
        rt_39_unknown_capability_is_a_warning,
        rt_40_every_operation_exists,
        rt_47_create_makes_a_container,
        rt_48_everything_but_the_program_is_there_after_create,
        rt_49_argv_is_not_applied_before_start,
        rt_55_start_runs_the_program,
        rt_66_delete_removes_child_cgroups,
        rt_67_delete_spares_what_it_did_not_create,
        rt_68_id_is_free_after_delete,
        row_63_init_is_in_its_cgroup_after_create,
        row_64_joins_user_and_network_namespaces,
        row_64_joins_a_network_namespace_with_fresh_others,
        row_74_cgroup_stays_until_delete,
        row_81_bundle_may_be_read_only_and_hold_foreign_files,
        peer_21_bundle_may_vanish_before_delete,
        peer_22_state_while_it_ends_is_no_error,
        peer_30_delete_kills_what_is_left_in_a_shared_pid_namespace,
        peer_31_delete_copes_with_sub_cgroups,
    ;
}

fn rt_17_create_builds_the_environment(runtime: &Runtime) {
    let mut container = Container::sh(
        runtime,
        "hostname; id -u; id -g; pwd; echo $GREETING; echo $$; grep -c ' /data ' /proc/self/mountinfo; ulimit -n",
    );
    container
        .bundle
        .set("/hostname", json!("inside"))
        .set("/process/user", json!({"uid": 7, "gid": 8}))
        .set("/process/cwd", json!("/tmp"))
        .push("/process/env", json!("GREETING=hello"))
        .mount("/data", "tmpfs", "tmpfs", &["ro"]);
    let output = container.run().ok();
    assert_eq!(output.text(), "inside\n7\n8\n/tmp\nhello\n1\n1\n1024");
}

fn rt_19_program_does_not_run_during_create(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "touch /mark; sleep 1000");
    container.bundle.writable();
    let mark = container.bundle.inside("/mark");
    container.create().ok();
    assert_eq!(container.status(), "created");
    assert!(!mark.exists());
    container.start().ok();
    until("the program's mark", || mark.exists().then_some(()));
}

fn rt_20_later_edits_do_not_count(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo original $WORD; sleep 1000");
    container.bundle.push("/process/env", json!("WORD=first"));
    container.create().ok();
    container.bundle.sh("echo changed $WORD").set("/process/env", json!(["WORD=second"]));
    container.bundle.push("/hooks/poststart", json!({"path": "/nowhere"}));
    container.start().ok();
    assert_eq!(container.wait_stdout("\n"), "original first\n");
}

fn rt_20_config_may_vanish_before_start(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo original");
    container.create().ok();
    fs::remove_file(container.bundle.path().join("config.json")).unwrap();
    container.start().ok();
    assert_eq!(container.wait_stdout("\n"), "original\n");
    container.wait_for("stopped");
    container.delete().ok();
}

/// Adds a hook that appends `word` to the file `hooks` in the test's folder and ends with `code`.
fn hook(container: &mut Container, name: &str, word: &str, code: i32) {
    let script = format!("cat >/dev/null; echo {word} >> {}/hooks; exit {code}", container.folder().display());
    container.bundle.push(&format!("/hooks/{name}"), json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
}

fn hooks_run(container: &Container) -> String {
    fs::read_to_string(container.folder().join("hooks")).unwrap_or_default()
}

fn rt_20_poststop_hook_is_the_original_one(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    hook(&mut container, "poststop", "original", 0);
    container.create().ok();
    container.bundle.remove("/hooks");
    hook(&mut container, "poststop", "changed", 0);
    container.delete().ok();
    assert_eq!(hooks_run(&container), "original\n");
}

fn rt_32_the_program_may_crash(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "kill -SEGV $$");
    container.bundle.without_namespace("pid");
    container.create().ok();
    let pid = container.pid();
    container.start().ok();
    assert_eq!(container.reap(pid), 128 + 11);
    assert_eq!(container.status(), "stopped");
    container.delete().ok();
}

fn rt_33_delete_leaves_nothing(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo hello");
    let before = Snapshot::take(&container);
    container.create().ok().silent();
    container.start().ok().silent();
    container.wait_for("stopped");
    assert_eq!(container.stdout(), "hello\n");
    container.delete().ok().silent();
    before.assert_unchanged(&container);
    container.state_call().fails();
}

fn rt_33_delete_leaves_no_namespace(runtime: &Runtime) {
    let kinds = ["pid", "net", "ipc", "uts", "mnt", "cgroup"];
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.run_detached().ok();
    let init = container.process();
    let holds = |other: &Process| kinds.iter().any(|kind| init.namespace(kind) == other.namespace(kind));
    // By process, for the numbers of ended namespaces are given out again at once.
    let holders: Vec<Process> = Process::all().into_iter().filter(holds).collect();
    assert!(holders.contains(&init), "{holders:?}");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    assert!(!holders.iter().any(Process::is_alive), "{holders:?}");
    before.assert_unchanged(&container);
}

fn rt_34_poststop_hooks_run_after_destroy(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let script = format!(
        "cat >/dev/null; echo hook > {folder}/ran; test ! -d {cgroup} && echo gone >> {folder}/ran; \
         {runtime} --root {root} state {id} || echo unknown >> {folder}/ran",
        folder = container.folder().display(),
        cgroup = container.cgroup().display(),
        runtime = runtime.path.display(),
        root = container.root.display(),
        id = container.id
    );
    container.bundle.push("/hooks/poststop", json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
    container.run_detached().ok();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    assert_eq!(fs::read_to_string(container.folder().join("ran")).unwrap(), "hook\ngone\nunknown\n");
}

fn rt_35_failing_poststop_hook_is_a_warning(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    hook(&mut container, "poststop", "one", 0);
    hook(&mut container, "poststop", "two", 3);
    hook(&mut container, "poststop", "three", 0);
    container.create().ok();
    let output = container.delete().ok();
    assert!(output.stderr.contains("poststop"), "{output}");
    assert_eq!(hooks_run(&container), "one\ntwo\nthree\n");
    container.state_call().fails_with("does not exist");
    assert!(!container.cgroup().exists());
}

/// A hook of this kind fails in `create` or `start`: everything is undone, poststop runs once.
fn poststop_runs_once(runtime: &Runtime, name: &str) {
    let mut container = Container::sh(runtime, "touch /program; sleep 1000");
    container.bundle.writable();
    if name == "startContainer" {
        let words = json!({"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]});
        container.bundle.push("/hooks/startContainer", words);
    } else {
        hook(&mut container, name, "failing", 3);
        hook(&mut container, name, "skipped", 0);
    }
    hook(&mut container, "poststop", "poststop", 0);
    let before = Snapshot::take(&container);
    if matches!(name, "startContainer" | "poststart") {
        container.create().ok();
        container.start().fails_with(name);
    } else {
        container.create().fails_with(name);
    }
    before.assert_unchanged(&container);
    container.state_call().fails_with("does not exist");
    container.delete().fails_with("does not exist");
    let first = if name == "startContainer" { "" } else { "failing\n" };
    assert_eq!(hooks_run(&container), format!("{first}poststop\n"));
    assert!(name == "poststart" || !container.bundle.inside("/program").exists());
}

fn rt_36_poststop_runs_once_after_a_failing_prestart_hook(runtime: &Runtime) {
    poststop_runs_once(runtime, "prestart");
}

fn rt_36_poststop_runs_once_after_a_failing_create_runtime_hook(runtime: &Runtime) {
    poststop_runs_once(runtime, "createRuntime");
}

fn rt_36_poststop_runs_once_after_a_failing_create_container_hook(runtime: &Runtime) {
    poststop_runs_once(runtime, "createContainer");
}

fn rt_36_poststop_runs_once_after_a_failing_start_container_hook(runtime: &Runtime) {
    poststop_runs_once(runtime, "startContainer");
}

fn rt_36_poststop_runs_once_after_a_failing_poststart_hook(runtime: &Runtime) {
    poststop_runs_once(runtime, "poststart");
}

fn rt_39_unknown_capability_is_a_warning(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "grep CapEff /proc/self/status");
    for set in ["bounding", "effective", "permitted"] {
        container.bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL", "CAP_FOO"]));
    }
    let output = container.run().ok();
    assert!(output.stderr.contains("ignoring unknown or unavailable capabilities: [CAP_FOO]"), "{output}");
    assert_eq!(output.text(), "CapEff:\t0000000000000020");
}

fn rt_40_every_operation_exists(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok().silent();
    assert_eq!(container.status(), "created");
    container.start().ok().silent();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok().silent();
    container.wait_for("stopped");
    container.delete().ok().silent();
    container.state_call().fails();
}

fn rt_47_create_makes_a_container(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.state_call().fails();
    container.create().ok();
    assert_eq!(container.status(), "created");
    assert!(container.process().is_alive());
}

fn rt_48_everything_but_the_program_is_there_after_create(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/hostname", json!("inside")).set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    container.bundle.mount("/data", "tmpfs", "tmpfs", &["ro"]);
    container.create().ok();
    let (process, own) = (container.process(), Process::new(std::process::id().cast_signed()));
    for kind in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        assert_ne!(process.namespace(kind), own.namespace(kind), "{kind}");
    }
    let mounts = process.read("mountinfo");
    for point in ["/", "/proc", "/dev", "/data", "/sys/fs/cgroup", "/proc/kcore", "/sys/firmware"] {
        let found = mounts.lines().any(|line| line.split(' ').nth(4) == Some(point));
        assert!(found || !container.process().path("root").join(&point[1..]).exists(), "{point} in\n{mounts}");
    }
    assert!(process.cgroup().unwrap().ends_with(&format!("/{}/container", container.name())));
    let pid = process.pid.to_string();
    let enter = |words: &[&str]| container.host_call("nsenter").args(["--target", &pid]).args(words).run().ok();
    assert_eq!(enter(&["--uts", "hostname"]).text(), "inside");
    assert_eq!(enter(&["--net", "cat", "/proc/sys/net/ipv4/ip_forward"]).text(), "1");
}

fn rt_49_argv_is_not_applied_before_start(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/sleep", "1234"]);
    container.create().ok();
    assert_ne!(container.process().words(), ["/bin/sleep", "1234"]);
    container.start().ok();
    assert_eq!(container.process().words(), ["/bin/sleep", "1234"]);
}

fn rt_55_start_runs_the_program(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo running; sleep 1000");
    container.create().ok();
    assert_eq!(container.stdout(), "");
    container.start().ok().silent();
    assert_eq!(container.wait_stdout("\n"), "running\n");
}

fn rt_66_delete_removes_child_cgroups(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "mkdir -p /sys/fs/cgroup/a/b /sys/fs/cgroup/c; echo ready; sleep 1000");
    container.bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        let cgroup = mounts.iter_mut().find(|mount| mount["type"] == "cgroup").unwrap();
        cgroup["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
    });
    let before = Snapshot::take(&container);
    container.run_detached().ok();
    container.wait_stdout("ready");
    assert!(container.cgroup().join("a/b").is_dir());
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    before.assert_unchanged(&container);
}

fn rt_67_delete_spares_what_it_did_not_create(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let data = container.folder().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "kept").unwrap();
    let holder = container.host_call("unshare").args(["--net", "sleep", "1000"]).spawn();
    let network = format!("/proc/{}/ns/net", holder.pid());
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    until("the namespace's holder", || fs::read_link(&network).ok().filter(|found| *found != own));
    container.bundle.join_namespace("network", &network);
    container.bundle.mount("/data", "bind", data.to_str().unwrap(), &["bind", "rw"]);
    container.run_detached().ok();
    assert_eq!(container.process().namespace("net"), fs::read_link(&network).ok());
    container.delete_force().ok();
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "kept");
    assert!(Process::new(holder.pid()).is_alive());
    assert!(container.parent_cgroup().is_dir());
    assert!(container.bundle.inside("/bin/busybox").is_file());
    assert!(container.bundle.path().join("config.json").is_file());
}

fn rt_68_id_is_free_after_delete(runtime: &Runtime) {
    let container = Container::new(runtime);
    for _ in 0..2 {
        container.create().ok();
        container.start().ok();
        container.wait_for("stopped");
        container.delete().ok();
    }
}

fn row_63_init_is_in_its_cgroup_after_create(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let inside = fs::read_to_string(container.cgroup().join("cgroup.procs")).unwrap();
    assert_eq!(inside.trim(), container.pid().to_string());
}

fn row_64_joins_user_and_network_namespaces(runtime: &Runtime) {
    let mut first = Container::sleeper(runtime);
    first.bundle.user_namespace(100_000);
    first.run_detached().ok();
    let mut second = first.beside();
    second.bundle.user_namespace(100_000).remove("/linux/uidMappings").remove("/linux/gidMappings");
    for (kind, file) in [("user", "user"), ("network", "net")] {
        second.bundle.join_namespace(kind, &format!("/proc/{}/ns/{file}", first.pid()));
    }
    second.bundle.sh("echo ready; sleep 1000");
    second.run_detached().ok();
    second.wait_stdout("ready");
    for (kind, same) in [("user", true), ("net", true), ("mnt", false), ("pid", false), ("uts", false)] {
        assert_eq!(first.process().namespace(kind) == second.process().namespace(kind), same, "{kind}");
    }
}

fn row_64_joins_a_network_namespace_with_fresh_others(runtime: &Runtime) {
    let first = Container::sleeper(runtime);
    first.run_detached().ok();
    let mut second = first.beside();
    second.bundle.sh("echo ready; sleep 1000").join_namespace("network", &format!("/proc/{}/ns/net", first.pid()));
    second.run_detached().ok();
    second.wait_stdout("ready");
    assert_eq!(first.process().namespace("net"), second.process().namespace("net"));
    assert_ne!(first.process().namespace("pid"), second.process().namespace("pid"));
}

fn row_74_cgroup_stays_until_delete(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.run_detached().ok();
    container.wait_for("stopped");
    assert!(container.cgroup().is_dir());
    container.delete().ok();
    assert!(!container.cgroup().exists());
}

fn row_81_bundle_may_be_read_only_and_hold_foreign_files(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ran");
    let bundle = container.bundle.path();
    for name in ["address", "log.json", "options.json", "init.pid", "work"] {
        fs::write(bundle.join(name), "not ours").unwrap();
    }
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let view = ["unshare", "--mount", "sh", "-c", script, bundle.to_str().unwrap()];
    let output = container.run_call(&[]).wrapped(view).run().ok();
    assert_eq!(output.text(), "ran");
    assert_eq!(fs::read_to_string(bundle.join("log.json")).unwrap(), "not ours");
}

fn peer_21_bundle_may_vanish_before_delete(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.run_detached().ok();
    fs::rename(container.bundle.path(), container.folder().join("elsewhere")).unwrap();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    fs::rename(container.folder().join("elsewhere"), container.bundle.path()).unwrap();
    before.assert_unchanged(&container);
}

fn peer_22_state_while_it_ends_is_no_error(runtime: &Runtime) {
    let container = Container::sh(runtime, "exit 0");
    for _ in 0..5 {
        container.create().ok();
        container.start().ok();
        let known = |state: &Value| ["running", "stopped"].contains(&state["status"].as_str().unwrap());
        until("stopped, by nothing but good answers", || {
            let state = container.state();
            assert!(known(&state), "{state}");
            (state["status"] == "stopped").then_some(())
        });
        container.delete().ok();
    }
}

fn peer_30_delete_kills_what_is_left_in_a_shared_pid_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "sleep 1000 & echo $!; exit 0");
    container.bundle.without_namespace("pid");
    let before = Snapshot::take(&container);
    container.run_detached().ok();
    let left = Process::new(container.wait_stdout("\n").trim().parse().unwrap());
    container.wait_for("stopped");
    assert!(left.is_alive());
    container.delete().ok();
    until("the end of the process that was left", || (!left.is_alive()).then_some(()));
    before.assert_unchanged(&container);
}

fn peer_31_delete_copes_with_sub_cgroups(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.run_detached().ok();
    let inner = container.cgroup().join("one/two");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("cgroup.procs"), container.pid().to_string()).unwrap();
    container.delete_force().ok();
    before.assert_unchanged(&container);
}
