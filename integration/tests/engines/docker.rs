//! What only Docker does.

use integration::container;
use integration::engine::{IMAGE, call, fresh_name, wait_for_program};
use integration::{Call, Engine, Runtime, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;

cases! {
    Engines:
        row_5_docker_legacy_build,
        row_17_114_docker_buildkit_build,
        row_17_docker_buildkit_cancelled,
        row_25_docker_restart_policy,
        row_76_docker_top,
        row_77_docker_health_check,
        row_95_docker_recursive_read_only,
        row_98_docker_has_read_the_features,
        row_105_docker_has_read_the_version,
    ;
}

const DOCKER: Engine = Engine::Docker;

/// A build of `image` by what `steps` do with the image of the tests.
fn build(image: &str, steps: &str) -> Call {
    let folder = container::all().join(fresh_name());
    fs::create_dir_all(&folder).expect("make a context");
    fs::write(folder.join("Dockerfile"), format!("FROM {IMAGE}\n{steps}\n")).expect("write Dockerfile");
    DOCKER.call("build").args(["--network=none", "--tag", image]).arg(&folder)
}

const STEPS: &str = "RUN echo built >/file\nUSER 5\nRUN echo user-$(id -u)\nCMD cat /file";

fn runs_and_goes(image: &str) {
    assert_eq!(DOCKER.call("run").args(["--rm", image]).run().ok().stdout, "built\n");
    DOCKER.call("rmi").args(["--force", image]).run().ok();
}

/// Every `RUN` is a container of the daemon's.
fn row_5_docker_legacy_build(_: &Runtime) {
    let image = fresh_name();
    let output = build(&image, STEPS).env("DOCKER_BUILDKIT", "0").run().ok();
    assert!(output.stdout.contains("\nuser-5\n"), "{output}");
    runs_and_goes(&image);
}

/// BuildKit calls the runtime itself, without containerd: `run --keep`, `state`, `delete`.
fn row_17_114_docker_buildkit_build(_: &Runtime) {
    let image = fresh_name();
    let output = build(&image, STEPS).arg("--progress=plain").run().ok();
    assert!(output.stderr.contains(" user-5\n"), "{output}");
    runs_and_goes(&image);
    build(&image, "RUN exit 3").run().fails_with("exit code: 3");
}

/// Cancelled when its program has begun: BuildKit forgets a container whose call is still being started.
fn row_17_docker_buildkit_cancelled(runtime: &Runtime) {
    let root = if runtime.is_runc() { "/run/runc" } else { "/run/runtime" };
    let containers =
        || fs::read_dir(root).map_or(0, |entries| entries.flatten().filter(|e| e.path().is_dir()).count());
    let running = build(&fresh_name(), "RUN echo begun && sleep 1000").arg("--progress=plain").spawn();
    until("the output of the build", || running.stderr().contains(" begun\n").then_some(()));
    // BuildKit deletes those of earlier builds when it finds the time.
    until("the container alone", || (containers() == 1).then_some(()));
    running.signal(Signal::SIGINT);
    running.wait().fails();
    until("the end of the container", || (containers() == 0).then_some(()));
}

fn row_25_docker_restart_policy(_: &Runtime) {
    let container = DOCKER.detached(&["--restart=on-failure:2"], &["sh", "-c", "exit 3"]);
    until("the last restart", || {
        (container.inspect("{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}") == "2 exited 3").then_some(())
    });
}

fn row_76_docker_top(_: &Runtime) {
    let container = DOCKER.sleeping(&[]);
    wait_for_program(container.pid(), &["sleep", "1000"]);
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
