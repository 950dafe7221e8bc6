//! Hooks, phase by phase: that each runs, whose files and namespaces it sees, and what its failure undoes.

use integration::hooks::{PHASES, hook, share, written};
use integration::{until, Container, Process, Runtime, Snapshot};
use serde_json::{Value, json};
use std::fs;

cases! {
    Any:
        rt_23_create_runtime_hooks_run,
        rt_24_failing_create_runtime_hook,
        rt_25_create_container_hooks_run,
        rt_26_failing_create_container_hook,
        rt_28_failing_start_container_hook,
        rt_29_start_runs_the_program,
        rt_30_poststart_hooks_run,
        rt_31_failing_poststart_hook,
        cfg_96_argv_is_what_args_say,
        cfg_100_paths_are_those_of_the_host,
        cfg_101_start_container_knows_no_path_of_the_host,
        cfg_103_create_container_is_in_the_containers_namespaces,
        cfg_104_start_container_is_in_the_container,
        cfg_104_start_container_has_the_rights_of_the_program,
        cfg_105_poststart_and_poststop_are_on_the_host,
        cfg_110_113_order_of_all_phases,
        cfg_111_a_mount_made_by_create_runtime_is_seen,
        cfg_115_poststop_runs_after_the_end_of_everything,
    ;
}

/// What finds the container's process in the state on stdin.
const PID: &str = r#"pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/')"#;

/// A container with a folder `/shared`, in which its program leaves the mark `program`.
fn prepared(runtime: &Runtime) -> Container {
    let mut container = Container::sh(runtime, "echo program >>/shared/log; exec sleep 1000");
    share(&mut container);
    container
}

fn mark(container: &mut Container, phase: &str) {
    hook(container, phase, &format!("cat >/dev/null; echo {phase} >>OUT/log"));
}

fn log(container: &Container) -> String {
    written(container, "log")
}

fn runs_in_create(runtime: &Runtime, phase: &str) {
    let mut container = prepared(runtime);
    mark(&mut container, phase);
    container.create().ok();
    assert_eq!(log(&container), format!("{phase}\n"));
}

fn rt_23_create_runtime_hooks_run(runtime: &Runtime) {
    runs_in_create(runtime, "createRuntime");
}

fn rt_25_create_container_hooks_run(runtime: &Runtime) {
    runs_in_create(runtime, "createContainer");
}

/// A hook of the phase fails: the program never runs (or is killed), everything is undone, poststop runs once.
fn failure_undoes_everything(runtime: &Runtime, phase: &str) {
    let mut container = prepared(runtime);
    hook(&mut container, phase, "cat >/dev/null; exit 7");
    mark(&mut container, phase);
    mark(&mut container, "poststop");
    let before = Snapshot::take(&container);
    let in_start = ["startContainer", "poststart"].contains(&phase);
    let mut output = container.create();
    let pid = (output.code == Some(0)).then(|| container.pid());
    if in_start {
        output.ok();
        output = container.start();
    }
    output.fails_with(&format!("error running {phase} hook #0"));
    let expected = if phase == "poststart" { "program\npoststop\n" } else { "poststop\n" };
    // A program that was killed at once may not have come to its first line.
    assert!(log(&container) == expected || phase == "poststart" && log(&container) == "poststop\n", "{}", log(&container));
    assert!(pid.is_none_or(|pid| !Process::new(pid).is_alive()));
    let _ = fs::remove_file(container.folder().join("shared/log"));
    before.assert_unchanged(&container);
    container.state_call().fails_with("does not exist");
}

fn rt_24_failing_create_runtime_hook(runtime: &Runtime) {
    failure_undoes_everything(runtime, "createRuntime");
}

fn rt_26_failing_create_container_hook(runtime: &Runtime) {
    failure_undoes_everything(runtime, "createContainer");
}

fn rt_28_failing_start_container_hook(runtime: &Runtime) {
    failure_undoes_everything(runtime, "startContainer");
}

fn rt_31_failing_poststart_hook(runtime: &Runtime) {
    failure_undoes_everything(runtime, "poststart");
}

fn rt_29_start_runs_the_program(runtime: &Runtime) {
    let container = prepared(runtime);
    container.create().ok();
    assert_eq!(log(&container), "");
    container.start().ok();
    integration::until("the program's mark", || (log(&container) == "program\n").then_some(()));
}

fn rt_30_poststart_hooks_run(runtime: &Runtime) {
    let mut container = prepared(runtime);
    mark(&mut container, "poststart");
    container.create().ok();
    assert_eq!(log(&container), "");
    container.start().ok();
    assert!(log(&container).contains("poststart\n"));
}

fn cfg_96_argv_is_what_args_say(runtime: &Runtime) {
    for phase in ["prestart", "startContainer"] {
        let mut container = prepared(runtime);
        let folder = if phase == "prestart" { container.folder().join("shared").display().to_string() } else { "/shared".into() };
        let script = format!("cat >/dev/null; tr '\\0' ' ' </proc/$$/cmdline >>{folder}/log; :");
        let args = json!(["odd/sh", "-c", script, "three", ""]);
        container.bundle.push(&format!("/hooks/{phase}"), json!({"path": "/bin/sh", "args": args}));
        container.create().ok();
        container.start().ok();
        integration::until("the hook's mark", || (!log(&container).is_empty()).then_some(()));
        let words = log(&container);
        assert!(words.starts_with("odd/sh -c cat") && words.contains(" three  "), "{words}");
    }
}

/// A program that is nowhere but in the test's folder on the host.
fn host_program(container: &Container) -> Value {
    let path = container.folder().join("hook");
    let log = container.folder().join("shared/log");
    integration::bundle::write_program(&path, format!("#!/bin/sh\ncat >/dev/null; echo ran >>{}\n", log.display()));
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    json!({"path": path})
}

fn cfg_100_paths_are_those_of_the_host(runtime: &Runtime) {
    let mut container = prepared(runtime);
    container.bundle.sh("exec sleep 1000");
    let program = host_program(&container);
    for phase in PHASES.iter().filter(|phase| **phase != "startContainer") {
        container.bundle.push(&format!("/hooks/{phase}"), program.clone());
    }
    container.create().ok();
    assert_eq!(log(&container), "ran\n".repeat(3));
    container.start().ok();
    assert_eq!(log(&container), "ran\n".repeat(4));
    container.delete_force().ok();
    assert_eq!(log(&container), "ran\n".repeat(5));
}

fn cfg_101_start_container_knows_no_path_of_the_host(runtime: &Runtime) {
    let mut container = prepared(runtime);
    let program = host_program(&container);
    container.bundle.push("/hooks/startContainer", program);
    container.create().ok();
    container.start().fails_with("startContainer");
    assert_eq!(log(&container), "");
}

const KINDS: [&str; 6] = ["mnt", "net", "uts", "ipc", "user", "cgroup"];

fn namespaces_of(process: &Process) -> String {
    KINDS.iter().map(|kind| process.namespace(kind).unwrap().display().to_string() + "\n").collect()
}

/// Prints the hook's namespaces but that of process ids, in which the hook is a number that it does not know.
const NAMESPACES: &str = "for k in mnt net uts ipc user cgroup; do readlink $me/ns/$k; done >OUT/ns";

fn cfg_103_create_container_is_in_the_containers_namespaces(runtime: &Runtime) {
    let mut container = prepared(runtime);
    let rootfs = container.bundle.rootfs().display().to_string();
    // The hook sees the host's files, with the container's /proc mounted in the root file system: there it is `self`.
    let script = format!("cat >/dev/null; me={rootfs}/proc/self; {NAMESPACES}; test -d OUT && test -d {rootfs}/bin");
    hook(&mut container, "createContainer", &script);
    container.create().ok();
    let seen = fs::read_to_string(container.folder().join("shared/ns")).unwrap();
    assert_eq!(seen, namespaces_of(&container.process()));
}

fn cfg_104_start_container_is_in_the_container(runtime: &Runtime) {
    let mut container = prepared(runtime);
    container.bundle.file("/mark", "of the image\n", 0o644);
    hook(&mut container, "startContainer", &format!("cat >/dev/null; cat /mark >OUT/root; me=/proc/self; {NAMESPACES}"));
    container.create().ok();
    container.start().ok();
    let read = |name: &str| written(&container, name);
    assert_eq!(read("root"), "of the image\n");
    assert_eq!(read("ns"), namespaces_of(&container.process()));
}

/// A hook of this phase is a program of the image. The filter is installed with CAP_SYS_ADMIN where nothing forbids new
/// privileges: neither that nor a life before the filter is for it.
fn cfg_104_start_container_has_the_rights_of_the_program(runtime: &Runtime) {
    let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95});
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule]});
    let rights = "mkdir /shared/made 2>&1; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    for sealed in [true, false] {
        let mut container = prepared(runtime);
        container.bundle.set("/process/noNewPrivileges", json!(sealed)).set("/linux/seccomp", profile.clone());
        container.bundle.sh(&format!("({rights}) >/shared/program; exec sleep 1000"));
        hook(&mut container, "startContainer", &format!("cat >/dev/null; ({rights}) >/shared/hook"));
        container.create().ok();
        container.start().ok();
        let read = |name: &str| written(&container, name);
        until("the program", || read("program").contains("Seccomp:").then_some(()));
        assert_eq!(read("hook"), read("program"), "noNewPrivileges {sealed}");
        assert!(read("hook").contains("not supported"), "{}", read("hook"));
    }
}

fn cfg_105_poststart_and_poststop_are_on_the_host(runtime: &Runtime) {
    let own = namespaces_of(&Process::new(std::process::id().cast_signed()));
    for phase in ["poststart", "poststop"] {
        let mut container = prepared(runtime);
        hook(&mut container, phase, &format!("cat >/dev/null; me=/proc/self; {NAMESPACES}"));
        container.create().ok();
        container.start().ok();
        container.delete_force().ok();
        assert_eq!(fs::read_to_string(container.folder().join("shared/ns")).unwrap(), own, "{phase}");
    }
}

fn cfg_110_113_order_of_all_phases(runtime: &Runtime) {
    let mut container = prepared(runtime);
    for phase in PHASES {
        mark(&mut container, phase);
    }
    container.create().ok();
    assert_eq!(log(&container), "prestart\ncreateRuntime\ncreateContainer\n");
    container.start().ok();
    integration::until("the program's mark", || log(&container).contains("program\n").then_some(()));
    let lines: Vec<String> = log(&container).lines().map(str::to_string).collect();
    let place = |word: &str| lines.iter().position(|line| line == word).unwrap();
    assert!(place("startContainer") == 3 && place("program") > 3 && place("poststart") > 3, "{lines:?}");
}

fn cfg_111_a_mount_made_by_create_runtime_is_seen(runtime: &Runtime) {
    let mut container = prepared(runtime);
    container.bundle.sh("cat /made/by-hook >>/shared/log; exec sleep 1000");
    fs::create_dir(container.bundle.inside("/made")).unwrap();
    let source = container.folder().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("by-hook"), "from the hook\n").unwrap();
    let target = container.bundle.inside("/made");
    let words = format!("mount --bind {} {}", source.display(), target.display());
    hook(&mut container, "createRuntime", &format!("{PID}; nsenter --mount=/proc/$pid/ns/mnt {words}"));
    container.create().ok();
    container.start().ok();
    integration::until("the program's view", || (log(&container) == "from the hook\n").then_some(()));
}

fn cfg_115_poststop_runs_after_the_end_of_everything(runtime: &Runtime) {
    let mut container = prepared(runtime);
    let cgroup = container.cgroup().display().to_string();
    let ask = format!("{} --root {} state {}", runtime.path.display(), container.root.display(), container.id);
    let script = format!("cat >/dev/null; {ask} >/dev/null 2>&1 || echo gone >OUT/log; test -d {cgroup} || echo empty >>OUT/log");
    hook(&mut container, "poststop", &script);
    container.create().ok();
    container.delete().ok();
    assert_eq!(log(&container), "gone\nempty\n");
}
