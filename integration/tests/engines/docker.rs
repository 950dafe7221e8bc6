//! What only Docker does.

use integration::container;
use integration::engine::{IMAGE, call, fresh_name};
use integration::{Engine, Runtime, until};
use serde_json::Value;
use std::fs;

cases! {
    Engines:
        row_5_docker_legacy_build,
        row_25_docker_restart_policy,
        row_76_docker_top,
        row_77_docker_health_check,
        row_95_docker_recursive_read_only,
        row_98_docker_has_read_the_features,
        row_105_docker_has_read_the_version,
    ;
}

const DOCKER: Engine = Engine::Docker;

/// Every `RUN` is a container. BuildKit would want to be told of the runtime in another way.
fn row_5_docker_legacy_build(_: &Runtime) {
    let (folder, image) = (container::all().join(fresh_name()), fresh_name());
    fs::create_dir_all(&folder).expect("make a context");
    let file = format!("FROM {IMAGE}\nRUN echo built >/file\nUSER 5\nRUN id -u\nCMD cat /file\n");
    fs::write(folder.join("Dockerfile"), file).expect("write Dockerfile");
    let build = DOCKER.call("build").args(["--tag", &image]).arg(&folder).env("DOCKER_BUILDKIT", "0").run().ok();
    assert!(build.stdout.contains("\n5\n"), "{build}");
    assert_eq!(DOCKER.call("run").args(["--rm", &image]).run().ok().stdout, "built\n");
    DOCKER.call("rmi").args(["--force", &image]).run().ok();
}

fn row_25_docker_restart_policy(_: &Runtime) {
    let container = DOCKER.detached(&["--restart=on-failure:2"], &["sh", "-c", "exit 3"]);
    until("the last restart", || {
        (container.inspect("{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}") == "2 exited 3").then_some(())
    });
}

fn row_76_docker_top(_: &Runtime) {
    let container = DOCKER.sleeping(&[]);
    let top = container.call("top", &[]).args(["-o", "pid,args"]).run().ok();
    let lines: Vec<&str> = top.stdout.lines().collect();
    assert_eq!((lines.len(), lines[1].split_whitespace().next()), (2, Some(container.pid().to_string().as_str())));
    assert!(lines[1].ends_with("sleep 1000"), "{top}");
}

/// An exec in itself, again and again.
fn row_77_docker_health_check(_: &Runtime) {
    let container = DOCKER.sleeping(&["--health-cmd=test -e /bin/sh", "--health-interval=1s"]);
    until("a healthy container", || (container.inspect("{{.State.Health.Status}}") == "healthy").then_some(()));
}

fn row_95_docker_recursive_read_only(_: &Runtime) {
    let folder = container::all().join(fresh_name());
    let inner = folder.join("inner");
    fs::create_dir_all(&inner).expect("make a volume");
    call("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&inner).run().ok();
    let mount = format!("--mount=type=bind,src={},dst=/volume,readonly,bind-recursive", folder.display());
    let touch = |recursive: &str| {
        let mount = format!("{mount}={recursive},bind-propagation=rprivate");
        DOCKER.run(&[&mount], &["touch", "/volume/inner/a"])
    };
    let (writable, readonly) = (touch("writable"), touch("readonly"));
    call("umount").arg(&inner).run().ok();
    writable.ok();
    assert!(readonly.exits(1).stderr.contains("Read-only file system"));
}

fn row_98_docker_has_read_the_features(runtime: &Runtime) {
    let told: Value = DOCKER.call("info").args(["--format", "{{json .Runtimes}}"]).run().ok().json();
    let own = told["runtime"].clone();
    assert_eq!(own["path"].as_str(), runtime.path.to_str());
    let features = own["status"]["org.opencontainers.runtime-spec.features"].as_str().expect("features");
    let features: Value = serde_json::from_str(features).expect("features are JSON");
    assert_eq!(features["ociVersionMin"], "1.0.0");
}

/// Docker prints the commit under `runc version`.
fn row_105_docker_has_read_the_version(runtime: &Runtime) {
    let version = call(runtime.path.to_str().expect("a path in UTF-8")).arg("--version").run().ok().stdout;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit: ")).expect("a commit");
    let told = DOCKER.call("info").args(["--format", "{{.DefaultRuntime}} {{.RuncCommit.ID}}"]).run().ok();
    assert_eq!(told.text(), format!("runtime {commit}"));
}
