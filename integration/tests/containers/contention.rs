//! Sixteen commands on one container at once: each does its work or says why not, and what is left is whole.

use super::leaks::processes_of;
use integration::deadline::limit;
use integration::{Call, Container, Output, Running, Runtime, Snapshot};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::thread::sleep;
use std::time::{Duration, Instant};

cases! {
    Any:
        row_79_every_pair_of_commands_sixteen_at_once,
    ;
}

const COMMANDS: [&str; 11] =
    ["create", "start", "exec", "kill", "pause", "resume", "state", "list", "ps", "delete", "delete --force"];

/// Why a command may be too late or too early.
const SANE: [&str; 14] = [
    "init is gone",
    "container does not exist",
    "already exists",
    "cannot start",
    "cannot kill",
    "cannot pause",
    "cannot resume",
    "cannot exec in",
    "not running",
    "that is not stopped",
    "container's cgroup is not empty",
    "container's cgroup unexpectedly frozen",
    "somebody else has frozen it meanwhile",
    "somebody else has thawed it meanwhile",
];

fn call(container: &Container, command: &str) -> Call {
    let id = container.id.as_str();
    match command {
        "create" => container.create_call(&[]),
        "exec" => container.call(["exec", id, "/bin/true"]),
        "kill" => container.call(["kill", id, "KILL"]),
        "list" => container.call(["list"]),
        "ps" => container.call(["ps", "--format", "json", id]),
        "delete --force" => container.call(["delete", "--force", id]),
        plain => container.call([plain, id]),
    }
}

/// Eight calls of each, all at once. Somebody resumes what is paused meanwhile, as whoever is caught in it cannot end.
fn at_once(container: &Container, pair: [&str; 2]) -> Vec<Output> {
    let mut running: Vec<_> = (0..16).map(|number| call(container, pair[number % 2]).spawn()).collect();
    let begin = Instant::now();
    while pair.contains(&"pause") && begin.elapsed() < limit() && !running.iter_mut().all(Running::has_ended) {
        sleep(Duration::from_millis(50));
        container.call(["resume", &container.id]).run();
    }
    running.into_iter().map(Running::wait).collect()
}

#[track_caller]
fn is_sane(output: &Output) {
    let known = SANE.iter().any(|text| output.stderr.contains(text));
    // What exec runs ends with the container, like any other of its processes.
    let ended_with_it = output.code == Some(128 + 9) && output.stderr.is_empty();
    let fine = output.code == Some(0) || output.code.is_some() && known || ended_with_it;
    assert!(fine && output.stderr.trim_end().lines().count() <= 1, "{output}");
}

/// Makes the container what the commands need, or has them find none.
fn begin(container: &Container, status: &str) {
    if status != "absent" {
        container.create().ok();
    }
    if ["running", "stopped"].contains(&status) {
        container.start().ok();
    }
    if status == "stopped" {
        container.kill("KILL").ok();
        container.wait_for("stopped");
    }
}

/// What the container is before the commands: of each pair the one at which they can do most, with `RACES` all.
fn statuses(pair: [&str; 2]) -> &'static [&'static str] {
    if std::env::var_os("RACES").is_some() {
        &["absent", "created", "running", "stopped"]
    } else if pair.contains(&"create") {
        &["absent"]
    } else if pair.contains(&"start") {
        &["created"]
    } else {
        &["running"]
    }
}

fn one_round(container: &Container, pair: [&str; 2], status: &str) {
    begin(container, status);
    at_once(container, pair).iter().for_each(is_sane);
    let state = container.state_call();
    is_sane(&state);
    assert!(state.code != Some(0) || state.json()["id"] == container.id, "{state}");
    container.call(["list"]).run().ok().no_complaint();
    container.delete_force().ok().silent();
    // The processes of the containers are this process's children by now.
    for process in processes_of(container) {
        let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
    }
}

fn row_79_every_pair_of_commands_sixteen_at_once(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    // Where a call takes ten times as long, each command beside itself and beside the next one.
    let slow = std::env::var("PLACE").is_ok_and(|place| place == "uml") || !runtime.is_ours();
    for (index, first) in COMMANDS.iter().enumerate() {
        let others = if slow { &COMMANDS[index..COMMANDS.len().min(index + 2)] } else { &COMMANDS[index..] };
        for second in others {
            for status in statuses([*first, *second]) {
                one_round(&container, [*first, *second], status);
                before.assert_unchanged(&container);
            }
        }
    }
}
