//! What only Podman does.

use integration::container;
use integration::engine::{IMAGE, fresh_name};
use integration::{Engine, Runtime};
use std::fs;

cases! {
    Engines:
        lnx_22_podman_maps_of_ids,
        lnx_22_podman_exec_with_maps_of_ids,
        lnx_22_podman_privileged_with_maps_of_ids,
        row_27_podman_no_other_files,
        row_28_podman_preserved_files,
        row_51_podman_reads_one_error,
        row_63_podman_init_creates_only,
        row_65_podman_hooks,
        row_67_podman_build,
        row_92_podman_delegated_cgroup_with_maps_of_ids,
        row_96_podman_volume_with_mapped_ids,
        row_105_podman_has_read_the_version,
    ;
}

const PODMAN: Engine = Engine::Podman;
const MAP: &str = "--uidmap=0:100000:5000";

fn lnx_22_podman_maps_of_ids(_: &Runtime) {
    let script = "cat /proc/self/uid_map; id -u; ls -lnd /etc | tr -s ' ' | cut -d' ' -f3; echo >/new && echo written";
    let output = PODMAN.run(&[MAP], &["sh", "-c", script]).ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "5000", "0", "0", "written"]);
}

fn lnx_22_podman_exec_with_maps_of_ids(_: &Runtime) {
    let container = PODMAN.sleeping(&[MAP]);
    assert_eq!(container.exec(&["--tty"], &["tty"]).ok().stdout, "/dev/pts/0\r\n");
    assert_eq!(container.exec(&["--user=7"], &["id", "-u"]).ok().stdout, "7\n");
    container.call("pause", &[]).run().ok();
    container.call("unpause", &[]).run().ok();
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("status of init");
    assert!(status.contains("\nUid:\t100000\t"), "{status}");
}

/// Podman then lists all devices of the host, /dev/ptmx as well.
fn lnx_22_podman_privileged_with_maps_of_ids(_: &Runtime) {
    let script = "test -c /dev/mem && readlink /dev/ptmx && mount -t tmpfs none /tmp && echo mounted";
    let output = PODMAN.run(&[MAP, "--privileged"], &["sh", "-c", script]).ok();
    assert_eq!(output.stdout, "pts/ptmx\nmounted\n");
}

/// Descriptor 3 is that of `ls` itself.
fn row_27_podman_no_other_files(_: &Runtime) {
    let output = PODMAN.run(&[], &["ls", "/proc/self/fd"]).exits(0);
    assert_eq!(output.stdout, "0\n1\n2\n3\n");
}

/// A list of numbers: those before it are not open.
fn row_28_podman_preserved_files(_: &Runtime) {
    let words = ["--rm", "--preserve-fd=7", IMAGE, "sh", "-c", "head -c 4 <&7; ls /proc/self/fd | tr '\\n' ' '"];
    let output = PODMAN.call("run").args(words).after("exec 7</run/image/etc/group").run().ok();
    assert_eq!(output.stdout, "root0 1 2 3 7 ");
}

/// It knows the kind of an error only from a log that is one object, otherwise it says "OCI runtime error".
fn row_51_podman_reads_one_error(_: &Runtime) {
    let output = PODMAN.run(&[], &["nothing-of-that-name"]).exits(127);
    assert_eq!(output.stderr.trim_end().lines().count(), 1, "{output}");
    assert!(output.stderr.starts_with("Error: runtime: "), "{output}");
    assert!(output.stderr.trim_end().ends_with("attempted to invoke a command that was not found"), "{output}");
}

fn row_63_podman_init_creates_only(_: &Runtime) {
    let name = fresh_name();
    PODMAN.call("create").args(["--name", &name, IMAGE, "echo", "started"]).run().ok();
    let container = integration::Kept { engine: PODMAN, name };
    container.call("init", &[]).run().ok();
    assert_eq!(container.inspect("{{.State.Status}}"), "initialized");
    assert!(container.pid() > 0);
    assert_eq!(container.call("start", &["--attach"]).run().ok().stdout, "started\n");
}

fn row_65_podman_hooks(_: &Runtime) {
    let folder = container::all().join(fresh_name());
    fs::create_dir_all(&folder).expect("make a folder of hooks");
    let log = folder.join("log");
    let script = format!("cat >>{log}; echo >>{log}", log = log.display());
    let hook = serde_json::json!({
        "version": "1.0.0",
        "hook": {"path": "/bin/sh", "args": ["sh", "-c", script]},
        "when": {"always": true},
        "stages": ["prestart", "createRuntime", "createContainer", "poststart", "poststop"],
    });
    fs::write(folder.join("all.json"), hook.to_string()).expect("write a hook");
    let call = Engine::Podman.call("--hooks-dir").arg(&folder).args(["run", "--rm", IMAGE, "true"]);
    call.run().ok();
    let log = fs::read_to_string(log).expect("what hooks have read");
    let states: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect("a state")).collect();
    assert_eq!(states.len(), 5, "{log}");
    assert_eq!(states[4]["status"], "stopped");
}

/// Buildah, which asks for the state until its container has stopped.
fn row_67_podman_build(_: &Runtime) {
    let (folder, image) = (container::all().join(fresh_name()), fresh_name());
    fs::create_dir_all(&folder).expect("make a context");
    let file = format!("FROM {IMAGE}\nRUN echo built >/file\nCMD cat /file\n");
    fs::write(folder.join("Containerfile"), file).expect("write Containerfile");
    PODMAN.call("build").args(["--isolation=oci", "--network=none", "--tag", &image]).arg(&folder).run().ok();
    assert_eq!(PODMAN.call("run").args(["--rm", &image]).run().ok().stdout, "built\n");
    PODMAN.call("rmi").args(["--force", &image]).run().ok();
}

fn row_92_podman_delegated_cgroup_with_maps_of_ids(_: &Runtime) {
    let words = ["mkdir", "/sys/fs/cgroup/own"];
    PODMAN.run(&[MAP, "--systemd=always"], &words).ok();
}

fn row_96_podman_volume_with_mapped_ids(_: &Runtime) {
    let folder = container::all().join(fresh_name());
    fs::create_dir_all(&folder).expect("make a volume");
    let volume = format!("--volume={}:/volume:idmap", folder.display());
    PODMAN.run(&[MAP, &volume], &["touch", "/volume/new"]).ok();
    let made = fs::metadata(folder.join("new")).expect("the file that was made");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 0);
}

fn row_105_podman_has_read_the_version(runtime: &Runtime) {
    let output = PODMAN.call("info").args(["--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Version}}"]).run().ok();
    assert!(output.stdout.starts_with(&format!("runtime {}\n", runtime.version)), "{output}");
}
