//! `linux.namespaces`: made, joined, left alone.

use integration::mountinfo::{Mounts, host_folder, host_mount, refused, spare_the_host, text};
use integration::{Container, Process, Runtime, Running, Snapshot, until};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

cases! {
    Any:
        lnx_6_default_file_systems,
        lnx_7_type_is_required,
        lnx_8_unknown_type_is_refused,
        lnx_9_program_is_process_1_of_its_own,
        lnx_10_network_has_loopback_only,
        lnx_12_message_queues_are_apart,
        lnx_12_hostname_is_the_containers_own,
        lnx_14_cgroup_is_the_root,
        lnx_16_relative_path_is_refused,
        lnx_16_path_that_does_not_exist_is_refused,
        lnx_17_joins_the_namespaces_of_a_container,
        lnx_18_path_of_another_type_is_refused,
        lnx_18_path_of_a_regular_file_is_refused,
        lnx_19_each_type_alone,
        lnx_20_empty_list_inherits_everything,
        lnx_21_type_given_twice_is_refused,
    ;
    Any [UserNs]: lnx_19_user_namespace_with_a_mount_namespace, lnx_17_joins_a_user_namespace;
    Any [TimeNs, UserNs]: lnx_8_all_types_together;
    Any [TimeNs]: lnx_17_joins_a_time_namespace, lnx_15_time_namespace_is_its_own;
    Any [Unshare]: lnx_16_bound_namespace_file_is_joined, lnx_17_joins_a_mount_namespace;
}

/// The types, as config.json and as `/proc/PID/ns` call them.
const TYPES: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn own() -> Process {
    Process::new(std::process::id().cast_signed())
}

fn lnx_6_default_file_systems(runtime: &Runtime) {
    let mounts = Mounts::inside(&mut Container::new(runtime));
    for (point, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs")] {
        assert_eq!(mounts.at(point).kind, kind);
    }
}

fn lnx_7_type_is_required(runtime: &Runtime) {
    for entry in [json!({"path": "/proc/self/ns/net"}), json!({}), json!({"type": ""})] {
        let mut container = Container::sleeper(runtime);
        container.bundle.push("/linux/namespaces", entry);
        refused(&container);
    }
}

fn lnx_8_unknown_type_is_refused(runtime: &Runtime) {
    for kind in ["strange", "net", "mnt", "PID", "users"] {
        let mut container = Container::sleeper(runtime);
        container.bundle.push("/linux/namespaces", json!({"type": kind}));
        let message = refused(&container);
        assert!(message.contains(kind), "{message}");
    }
}

fn lnx_8_all_types_together(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.user_namespace(100_000).namespace("time");
    container.create().ok();
    for (_, kind) in TYPES {
        assert_ne!(container.process().namespace(kind).unwrap(), own().namespace(kind).unwrap(), "{kind}");
    }
}

fn lnx_9_program_is_process_1_of_its_own(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo $$; echo /proc/[0-9]*");
    assert_eq!(container.run().ok().text(), "1\n/proc/1");
}

fn lnx_10_network_has_loopback_only(runtime: &Runtime) {
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1; cat /sys/class/net/lo/flags; ping -c1 127.0.0.1 >/dev/null; \
        readlink /proc/self/ns/net";
    let output = Container::sh(runtime, script).run().ok();
    let lines: Vec<&str> = output.text().lines().map(str::trim).collect();
    assert_eq!(lines[..2], ["lo", "0x9"]);
    assert_ne!(Path::new(lines[2]), own().namespace("net").unwrap());
}

fn lnx_12_message_queues_are_apart(runtime: &Runtime) {
    let first = Container::sh(runtime, "touch /dev/mqueue/mine; echo made; sleep 1000");
    first.run_detached().ok();
    first.wait_stdout("made");
    assert_eq!(Container::sh(runtime, "ls /dev/mqueue; echo end").run().ok().text(), "end");
    let mut joining = Container::sh(runtime, "ls /dev/mqueue");
    joining.bundle.join_namespace("ipc", &format!("/proc/{}/ns/ipc", first.pid()));
    assert_eq!(joining.run().ok().text(), "mine");
    assert!(Container::sh(runtime, "cat /proc/sysvipc/msg | wc -l").run().ok().text() == "1");
}

fn lnx_12_hostname_is_the_containers_own(runtime: &Runtime) {
    let hostname = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let before = hostname();
    let mut container = Container::sh(runtime, "hostname");
    container.bundle.set("/hostname", json!("inside-only"));
    assert_eq!(container.run().ok().text(), "inside-only");
    assert_eq!(hostname(), before);
}

fn lnx_14_cgroup_is_the_root(runtime: &Runtime) {
    let container = Container::sh(runtime, "grep ^0:: /proc/self/cgroup; readlink /proc/self/ns/cgroup");
    let output = container.run().ok();
    let (path, namespace) = output.text().split_once('\n').unwrap();
    assert_eq!(path, "0::/");
    assert_ne!(Path::new(namespace), own().namespace("cgroup").unwrap());
}

fn lnx_15_time_namespace_is_its_own(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.namespace("time");
    container.create().ok();
    assert_ne!(container.process().namespace("time").unwrap(), own().namespace("time").unwrap());
}

fn lnx_16_relative_path_is_refused(runtime: &Runtime) {
    for path in ["ns/net", "./net", "../proc/self/ns/net"] {
        let mut container = Container::sleeper(runtime);
        fs::create_dir(container.bundle.path().join("ns")).unwrap();
        std::os::unix::fs::symlink("/proc/self/ns/net", container.bundle.path().join("ns/net")).unwrap();
        container.bundle.join_namespace("network", path);
        refused(&container);
    }
}

fn lnx_16_path_that_does_not_exist_is_refused(runtime: &Runtime) {
    for (kind, _) in TYPES {
        let mut container = Container::sleeper(runtime);
        container.bundle.join_namespace(kind, "/nowhere/at/all");
        let message = refused(&container);
        assert!(message.contains("/nowhere/at/all"), "{kind}: {message}");
    }
}

/// A namespace kept by a file that is bound to it.
fn bound(container: &Container, option: &str) -> PathBuf {
    let folder = host_folder(container, "kept");
    host_mount(container, &["-t", "tmpfs", "tmpfs"], &folder);
    container.host_call("mount").arg("--make-private").arg(&folder).run().ok();
    let file = folder.join("namespace");
    fs::write(&file, "").unwrap();
    container.host_call("unshare").arg(format!("--{option}={}", file.display())).arg("true").run().ok();
    file
}

fn lnx_16_bound_namespace_file_is_joined(runtime: &Runtime) {
    for (kind, option, name) in [("network", "net", "net"), ("uts", "uts", "uts"), ("ipc", "ipc", "ipc")] {
        let mut container = Container::sleeper(runtime);
        let file = bound(&container, option);
        container.bundle.join_namespace(kind, text(&file));
        container.create().ok();
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        assert_eq!(container.process().namespace(name).unwrap(), PathBuf::from(format!("{name}:[{inode}]")));
        assert_ne!(container.process().namespace(name), own().namespace(name), "{kind}");
    }
}

/// The container joins these namespaces of another one.
fn joins(first: &Container, kinds: &[(&str, &str)]) {
    first.create().ok();
    let mut second = Container::sleeper(&first.runtime);
    for (kind, name) in kinds {
        second.bundle.join_namespace(kind, &format!("/proc/{}/ns/{name}", first.pid()));
    }
    second.create().ok();
    for (kind, name) in kinds {
        assert_eq!(second.process().namespace(name), first.process().namespace(name), "{kind}");
        assert_ne!(second.process().namespace(name), own().namespace(name), "{kind}");
    }
    second.start().ok();
    assert_eq!(second.status(), "running");
    second.delete_force().ok();
    assert_eq!(first.status(), "created");
}

fn lnx_17_joins_the_namespaces_of_a_container(runtime: &Runtime) {
    let kinds: Vec<_> = TYPES.into_iter().filter(|(kind, _)| !["mount", "user", "time"].contains(kind)).collect();
    for kind in &kinds {
        joins(&Container::sleeper(runtime), &[*kind]);
    }
    joins(&Container::sleeper(runtime), &kinds);
}

fn lnx_17_joins_a_user_namespace(runtime: &Runtime) {
    let mut first = Container::sleeper(runtime);
    first.bundle.user_namespace(100_000);
    joins(&first, &[("user", "user"), ("network", "net")]);
}

fn lnx_17_joins_a_time_namespace(runtime: &Runtime) {
    let mut first = Container::sleeper(runtime);
    first.bundle.namespace("time");
    joins(&first, &[("time", "time")]);
}

fn lnx_17_joins_a_mount_namespace(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let words = ["--mount", "--propagation", "private", "sleep", "1000"];
    let holder: Running = container.host_call("unshare").args(words).spawn();
    let process = Process::new(holder.pid());
    until("a new mount namespace", || {
        let ready = process.words().first().is_some_and(|word| word == "sleep");
        ready.then_some(())
    });
    let before = Snapshot::take(&container).mounts;
    container.bundle.join_namespace("mount", &format!("/proc/{}/ns/mnt", holder.pid()));
    let output = container.create();
    let joined = output.code == Some(0) && container.process().namespace("mnt") == process.namespace("mnt");
    let unchanged = Snapshot::take(&container).mounts == before;
    holder.signal(nix::sys::signal::Signal::SIGKILL);
    holder.wait_quietly();
    assert!(joined && unchanged, "joined {joined}, host unchanged {unchanged}: {output}");
}

fn lnx_18_path_of_another_type_is_refused(runtime: &Runtime) {
    for (index, (kind, _)) in TYPES.into_iter().enumerate() {
        let other = TYPES[(index + 1) % TYPES.len()].1;
        let mut container = Container::sleeper(runtime);
        container.bundle.join_namespace(kind, &format!("/proc/{}/ns/{other}", own().pid));
        refused(&container);
    }
}

fn lnx_18_path_of_a_regular_file_is_refused(runtime: &Runtime) {
    for (kind, _) in TYPES {
        let mut container = Container::sleeper(runtime);
        let path = container.bundle.path().join("config.json");
        container.bundle.join_namespace(kind, text(&path));
        refused(&container);
    }
}

/// A container whose list of namespaces has these entries only, and nothing that would need more.
fn with_namespaces(runtime: &Runtime, kinds: &[&str]) -> Container {
    if !kinds.contains(&"mount") {
        spare_the_host(runtime);
    }
    let mut container = Container::sleeper(runtime);
    let entries: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    container.bundle.set("/linux/namespaces", json!(entries)).remove("/hostname").set("/mounts", json!([]));
    container.bundle.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([])).writable();
    container
}

/// The types that this kernel has: old ones lack time.
fn known_types() -> impl Iterator<Item = (&'static str, &'static str)> {
    TYPES.into_iter().filter(|(_, name)| own().namespace(name).is_some())
}

/// The container's process has these namespaces for its own and all others from the runtime.
fn assert_own(container: &Container, kinds: &[&str]) {
    for (kind, name) in known_types() {
        let same = container.process().namespace(name).unwrap() == own().namespace(name).unwrap();
        assert_eq!(same, !kinds.contains(&kind), "{kind} in a container with {kinds:?}");
    }
}

fn lnx_19_each_type_alone(runtime: &Runtime) {
    for (kind, _) in known_types().filter(|(kind, _)| *kind != "user") {
        let container = with_namespaces(runtime, &[kind]);
        container.create().ok();
        assert_own(&container, &[kind]);
        container.start().ok();
    }
}

fn lnx_19_user_namespace_with_a_mount_namespace(runtime: &Runtime) {
    let mut container = with_namespaces(runtime, &["mount"]);
    container.bundle.user_namespace(100_000);
    container.create().ok();
    assert_own(&container, &["user", "mount"]);
    container.start().ok();
}

fn lnx_20_empty_list_inherits_everything(runtime: &Runtime) {
    let container = with_namespaces(runtime, &[]);
    let before = Snapshot::take(&container).mounts;
    container.create().ok();
    assert_own(&container, &[]);
    let root = container.process().link("root").unwrap();
    assert_eq!(root, fs::canonicalize(container.bundle.rootfs()).unwrap());
    container.start().ok();
    assert_eq!(Snapshot::take(&container).mounts, before);
}

fn lnx_21_type_given_twice_is_refused(runtime: &Runtime) {
    for (kind, name) in TYPES {
        for second in [json!({"type": kind}), json!({"type": kind, "path": format!("/proc/self/ns/{name}")})] {
            let mut container = Container::sleeper(runtime);
            container.bundle.without_namespace(kind);
            container.bundle.push("/linux/namespaces", json!({"type": kind})).push("/linux/namespaces", second);
            refused(&container);
        }
    }
}
