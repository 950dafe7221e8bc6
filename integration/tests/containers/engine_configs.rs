//! Configurations as engines write them (integration/data/configs), with host paths adapted: each runs.

use std::fs;
use std::path::Path;

use integration::{ConsoleSocket, Container, Runtime};
use serde_json::{Value, json};

cases! {
    Any: rt_17_containerd_default_runs_without_limits, rt_17_containerd_privileged_runs_without_limits,
        rt_17_docker_default_runs, rt_17_docker_host_namespaces_runs, rt_17_docker_privileged_runs,
        rt_17_docker_seccomp_unconfined_runs, rt_17_docker_tty_runs, rt_17_runc_spec_runs,
        rt_17_runc_spec_rootless_runs, rt_17_bench_seccomp_runs;
    Full: rt_17_containerd_default_runs, rt_17_containerd_privileged_runs, rt_17_containerd_userns_limits_runs;
    Full [SysResource]: rt_17_podman_default_runs, rt_17_podman_privileged_runs, rt_17_podman_userns_runs,
        rt_17_podman_default_runs_with_a_terminal, rt_17_podman_userns_runs_with_a_terminal,
        rt_17_podman_limits_runs;
}

/// The configuration NAME with everything that names a path of the engine's host replaced.
fn adapted(runtime: &Runtime, name: &str) -> Container {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/configs").join(format!("{name}.json"));
    let mut config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut container = Container::new(runtime);
    config["root"]["path"] = json!("rootfs");
    config["process"]["args"] = json!(["/bin/true"]);
    config["linux"]["cgroupsPath"] = container.bundle.config()["linux"]["cgroupsPath"].clone();
    for mount in config["mounts"].as_array_mut().unwrap() {
        adapt_source(&container, mount);
        make_target(&container, mount["destination"].as_str().unwrap());
    }
    container.bundle.edit(|old| *old = config);
    container
}

/// Engines' images have their mount points; a mapped root could not make them in a root file system of the host's.
fn make_target(container: &Container, destination: &str) {
    let target = container.bundle.inside(destination);
    if destination.starts_with("/etc/") || destination == "/run/.containerenv" {
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, "").unwrap();
    } else {
        fs::create_dir_all(target).unwrap();
    }
}

/// A bind source of the engine's host becomes a directory or a file in the test's folder.
fn adapt_source(container: &Container, mount: &mut Value) {
    let source = mount["source"].as_str().unwrap_or_default().to_string();
    if !source.starts_with('/') || source == "/sys" {
        return;
    }
    let target = mount["destination"].as_str().unwrap().to_string();
    let own = container.folder().join(target.trim_start_matches('/').replace('/', "-"));
    if target == "/dev/shm" { fs::create_dir(&own).unwrap() } else { fs::write(&own, "").unwrap() }
    mount["source"] = json!(own);
}

fn runs(runtime: &Runtime, name: &str) {
    let container = adapted(runtime, name);
    if container.bundle.config()["process"]["terminal"] == true {
        runs_with_a_terminal(container);
    } else {
        container.run().ok();
    }
}

/// Runs as an engine does: the terminal is passed at `create`.
fn runs_with_a_terminal(mut container: Container) {
    container.bundle.set("/process/terminal", json!(true));
    container.bundle.sh("test -t 0 && test -t 1 && test -t 2 && echo through >/dev/console; sleep 1000");
    let socket = ConsoleSocket::listen(&container);
    container.create_with(&["--console-socket", socket.word()]).ok().silent();
    let terminal = socket.receive().pty;
    container.start().ok();
    terminal.wait_for("through\r\n");
}

fn runs_without_limits(runtime: &Runtime, name: &str) {
    let mut container = adapted(runtime, name);
    for field in ["cpu", "memory", "pids"] {
        container.bundle.edit(|config| drop(config["linux"]["resources"].as_object_mut().unwrap().remove(field)));
    }
    container.run().ok();
}

fn rt_17_containerd_default_runs(runtime: &Runtime) {
    runs(runtime, "containerd-default");
}

fn rt_17_containerd_default_runs_without_limits(runtime: &Runtime) {
    runs_without_limits(runtime, "containerd-default");
}

fn rt_17_containerd_privileged_runs(runtime: &Runtime) {
    runs(runtime, "containerd-privileged");
}

fn rt_17_containerd_privileged_runs_without_limits(runtime: &Runtime) {
    runs_without_limits(runtime, "containerd-privileged");
}

fn rt_17_containerd_userns_limits_runs(runtime: &Runtime) {
    runs(runtime, "containerd-userns-limits");
}

fn rt_17_docker_default_runs(runtime: &Runtime) {
    runs(runtime, "docker-default");
}

fn rt_17_docker_host_namespaces_runs(runtime: &Runtime) {
    runs(runtime, "docker-host-namespaces");
}

fn rt_17_docker_privileged_runs(runtime: &Runtime) {
    runs(runtime, "docker-privileged");
}

fn rt_17_docker_seccomp_unconfined_runs(runtime: &Runtime) {
    runs(runtime, "docker-seccomp-unconfined");
}

fn rt_17_docker_tty_runs(runtime: &Runtime) {
    runs(runtime, "docker-tty");
}

fn rt_17_runc_spec_runs(runtime: &Runtime) {
    runs(runtime, "runc-spec");
}

fn rt_17_runc_spec_rootless_runs(runtime: &Runtime) {
    runs(runtime, "runc-spec-rootless");
}

fn rt_17_bench_seccomp_runs(runtime: &Runtime) {
    runs(runtime, "bench-seccomp");
}

fn rt_17_podman_default_runs(runtime: &Runtime) {
    runs(runtime, "podman-default");
}

fn rt_17_podman_privileged_runs(runtime: &Runtime) {
    runs(runtime, "podman-privileged");
}

fn rt_17_podman_userns_runs(runtime: &Runtime) {
    runs(runtime, "podman-userns");
}

fn rt_17_podman_limits_runs(runtime: &Runtime) {
    runs(runtime, "podman-limits");
}

fn rt_17_podman_default_runs_with_a_terminal(runtime: &Runtime) {
    runs_with_a_terminal(adapted(runtime, "podman-default"));
}

fn rt_17_podman_userns_runs_with_a_terminal(runtime: &Runtime) {
    runs_with_a_terminal(adapted(runtime, "podman-userns"));
}
