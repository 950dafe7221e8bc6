//! Containers from start to end: signals, freezing, the engines' knowledge of the end.

use integration::engine::{IMAGE, cgroup_of, fresh_name};
use integration::{Engine, Runtime, until};
use std::fs;

cases! {
    Engines:
        row_9_docker_kill_ends_with_137,
        row_9_podman_kill_ends_with_137,
        row_9_docker_stop_signal_by_name,
        row_9_podman_stop_signal_by_name,
        row_9_docker_stop_kills_after_its_time,
        row_9_podman_stop_kills_after_its_time,
        row_70_docker_stop_among_the_hosts_processes_ends_with_143,
        row_70_podman_stop_among_the_hosts_processes_ends_with_143,
        row_6_docker_exec_with_user_and_environment,
        row_6_podman_exec_with_user_and_environment,
        row_66_docker_restart,
        row_66_podman_restart,
        row_71_docker_kill_of_a_paused_container,
        row_71_podman_kill_of_a_paused_container,
        row_72_docker_rm_removes_the_cgroup,
        row_72_podman_rm_removes_the_cgroup,
        row_73_docker_rm_of_a_running_container,
        row_73_podman_rm_of_a_running_container,
        row_75_docker_pause_and_unpause,
        row_75_podman_pause_and_unpause,
        row_79_docker_execs_at_once,
        row_79_podman_execs_at_once,
        row_11_docker_update_is_refused_by_name,
        row_11_podman_update_is_refused_by_name,
        row_81_docker_commit_of_a_running_container,
        row_81_podman_commit_of_a_running_container,
    ;
}

with_both! {
    row_9_docker_kill_ends_with_137, row_9_podman_kill_ends_with_137: kill;
    row_9_docker_stop_signal_by_name, row_9_podman_stop_signal_by_name: stop_signal;
    row_9_docker_stop_kills_after_its_time, row_9_podman_stop_kills_after_its_time: stop_kills;
    row_70_docker_stop_among_the_hosts_processes_ends_with_143,
    row_70_podman_stop_among_the_hosts_processes_ends_with_143: host_pids;
    row_6_docker_exec_with_user_and_environment, row_6_podman_exec_with_user_and_environment: exec_options;
    row_66_docker_restart, row_66_podman_restart: restart;
    row_71_docker_kill_of_a_paused_container, row_71_podman_kill_of_a_paused_container: kill_paused;
    row_72_docker_rm_removes_the_cgroup, row_72_podman_rm_removes_the_cgroup: cgroup_is_gone;
    row_73_docker_rm_of_a_running_container, row_73_podman_rm_of_a_running_container: rm_running;
    row_75_docker_pause_and_unpause, row_75_podman_pause_and_unpause: pause;
    row_79_docker_execs_at_once, row_79_podman_execs_at_once: execs_at_once;
    row_81_docker_commit_of_a_running_container, row_81_podman_commit_of_a_running_container: commit;
}

fn kill(engine: Engine) {
    let container = engine.sleeping(&[]);
    container.call("kill", &[]).run().ok();
    assert_eq!(container.wait(), "137");
}

/// Says that it is ready, and what it was told; a signal before that would be lost on the container's first process.
const LISTENER: [&str; 3] =
    ["sh", "-c", "trap 'echo heard; exit 9' USR1; echo ready; while :; do sleep 0.1; done"];

fn stop_signal(engine: Engine) {
    let container = engine.detached(&["--stop-signal=SIGUSR1"], &LISTENER);
    container.wait_for("ready");
    // Not killed because it hears after the usual ten seconds.
    container.call("stop", &["--time=60"]).run().ok();
    container.wait_for("heard");
    assert_eq!(container.wait(), "9");
}

fn stop_kills(engine: Engine) {
    let container = engine.sleeping(&[]);
    container.call("stop", &["--time=1"]).run().ok();
    assert_eq!(container.wait(), "137");
}

/// There a first process dies of any signal, and nothing ends with it: the others are killed by their cgroup.
fn host_pids(engine: Engine) {
    let container = engine.detached(&["--pid=host"], &["sh", "-c", "sleep 4321 & echo ready; exec sleep 1000"]);
    container.wait_for("ready");
    let group = cgroup_of(container.pid());
    container.call("stop", &["--time=60"]).run().ok();
    assert_eq!(container.wait(), "143");
    drop(container);
    until("the end of the cgroup", || (!group.exists()).then_some(()));
}

fn exec_options(engine: Engine) {
    let container = engine.sleeping(&[]);
    let options = ["--user=5:6", "--env=A=b c", "--workdir=/tmp"];
    let output = container.exec(&options, &["sh", "-c", "id -u; id -g; echo $A; pwd"]).ok();
    assert_eq!(output.stdout, "5\n6\nb c\n/tmp\n");
    container.call("exec", &["--detach"]).args(["touch", "/done"]).run().ok();
    until("a detached process", || container.exec(&[], &["test", "-e", "/done"]).code.filter(|code| *code == 0));
}

fn restart(engine: Engine) {
    let container = engine.sleeping(&[]);
    let before = container.pid();
    container.call("restart", &["--time=0"]).run().ok();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    assert_ne!(container.pid(), before);
}

fn kill_paused(engine: Engine) {
    let container = engine.sleeping(&[]);
    container.call("pause", &[]).run().ok();
    container.call("kill", &[]).run().ok();
    assert_eq!(container.wait(), "137");
    // Podman's `wait` ends when it is `stopped`; what conmon calls then cleans up behind it.
    until("the engine's knowledge of the end", || (container.inspect("{{.State.Status}}") == "exited").then_some(()));
}

fn cgroup_is_gone(engine: Engine) {
    let container = engine.sleeping(&[]);
    let group = cgroup_of(container.pid());
    container.call("kill", &[]).run().ok();
    container.wait();
    container.call("rm", &[]).run().ok();
    assert!(!group.exists(), "{}", group.display());
}

fn rm_running(engine: Engine) {
    let container = engine.sleeping(&[]);
    let group = cgroup_of(container.pid());
    drop(container);
    assert!(!group.exists(), "{}", group.display());
}

fn pause(engine: Engine) {
    let container = engine.sleeping(&[]);
    let freezer = cgroup_of(container.pid()).join("cgroup.freeze");
    let frozen = || fs::read_to_string(&freezer).expect("read cgroup.freeze");
    container.call("pause", &[]).run().ok();
    assert_eq!((frozen().trim(), container.inspect("{{.State.Status}}").as_str()), ("1", "paused"));
    assert!(container.exec(&[], &["true"]).fails().stderr.contains("container"));
    container.call("unpause", &[]).run().ok();
    assert_eq!((frozen().trim(), container.inspect("{{.State.Status}}").as_str()), ("0", "running"));
    container.exec(&[], &["true"]).ok();
}

fn execs_at_once(engine: Engine) {
    let container = engine.sleeping(&[]);
    let calls = (0..5).map(|_| container.call("exec", &[]).arg("true")).collect();
    assert_eq!(integration::Call::succeed_together(calls), [true; 5]);
}

/// Until there is an `update`. The container is as it was.
fn update(engine: Engine, limit: &str) {
    let container = engine.sleeping(&["--memory=64m"]);
    let output = container.call("update", &["--memory=32m"]).run().fails();
    assert!(output.stderr.contains(r#"unknown command "update""#), "{output}");
    let file = cgroup_of(container.pid()).join("memory.max");
    assert_eq!(fs::read_to_string(file).expect("read memory.max").trim(), limit);
    container.exec(&[], &["true"]).ok();
}

fn row_11_docker_update_is_refused_by_name(_: &Runtime) {
    update(Engine::Docker, "67108864");
}

fn row_11_podman_update_is_refused_by_name(_: &Runtime) {
    update(Engine::Podman, "67108864");
}

/// The engine pauses it meanwhile.
fn commit(engine: Engine) {
    let (container, image) = (engine.detached(&[], &["sh", "-c", "echo kept >/new; echo ready; sleep 1000"]), fresh_name());
    container.wait_for("ready");
    container.call("commit", &["--pause"]).arg(&image).run().ok();
    container.exec(&[], &["true"]).ok();
    let output = engine.call("run").args(["--rm", &image, "cat", "/new"]).run().ok();
    assert_eq!(output.stdout, "kept\n", "not of {IMAGE}");
    engine.call("rmi").args(["--force", &image]).run().ok();
}
