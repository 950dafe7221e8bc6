//! `run`: exit codes, signals, the pid file, `--detach` and `--keep`.

use integration::deadline::limit;
use integration::{Container, Name, Process, Running, Runtime, Snapshot, until};
use nix::sys::signal::Signal;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

cases! {
    Any:
        row_5_run_takes_its_options,
        row_17_run_keep_keeps_state_and_cgroup,
        row_17_run_without_keep_removes_everything,
        row_41_run_exits_with_the_programs_code,
        row_41_run_exits_with_128_plus_the_signal,
        row_41_run_exits_with_143_after_term,
        row_41_run_ends_when_the_program_ends_though_children_live,
        row_44_pid_file_has_no_newline,
        row_44_pid_file_of_run_is_there_while_the_program_runs,
        row_44_pid_file_of_detached_run,
        row_44_pid_file_is_replaced_not_rewritten,
        row_23_relative_bundle_and_pid_file,
        row_79_state_is_polled_during_run,
        peer_36_run_is_no_reaper_of_foreign_children,
        peer_37_signals_are_forwarded,
        peer_37_sigchld_and_sigwinch_are_not_forwarded,
        peer_37_detached_run_returns_while_the_program_runs,
        peer_37_run_of_a_used_id_spares_the_container,
        peer_37_killed_run_leaves_a_container_that_can_be_deleted,
    ;
    Any [Unshare]:
        row_45_pid_file_is_of_the_callers_pid_namespace,
    ;
}

fn pid_file(container: &Container) -> (PathBuf, String) {
    let path = container.folder().join("pid");
    (path.clone(), path.display().to_string())
}

fn row_5_run_takes_its_options(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ran");
    let (_, file) = pid_file(&container);
    for verb in ["run", "create"] {
        let before = ["--root", container.root.to_str().unwrap(), verb, "--pid-file", &file, "--no-pivot"];
        let after = ["--no-new-keyring", "--preserve-fds", "0", "-b", container.bundle.path().to_str().unwrap()];
        container.bare_call().args(before).args(after).arg(&container.id).run().ok().no_complaint();
    }
    container.start().ok();
}

fn row_17_run_keep_keeps_state_and_cgroup(runtime: &Runtime) {
    let container = Container::sh(runtime, "exit 3");
    let before = Snapshot::take(&container);
    container.run_call(&["--keep"]).run().exits(3).silent();
    assert_eq!(container.status(), "stopped");
    assert!(container.cgroup().is_dir());
    container.delete().ok().silent();
    before.assert_unchanged(&container);
}

fn row_17_run_without_keep_removes_everything(runtime: &Runtime) {
    let container = Container::sh(runtime, "exit 3");
    let before = Snapshot::take(&container);
    container.run().exits(3).silent();
    before.assert_unchanged(&container);
    container.state_call().fails();
}

fn row_41_run_exits_with_the_programs_code(runtime: &Runtime) {
    for code in [0, 1, 42, 127, 128, 255] {
        Container::sh(runtime, &format!("exit {code}")).run().exits(code).silent();
    }
}

/// Runs the container in the foreground and waits until its program says it is ready. crun 1.8 makes its record beside the
/// running program.
fn ready(container: &Container, options: &[&str]) -> Running {
    let running = container.run_call(options).spawn();
    until("the program", || running.stdout().contains("ready\n").then_some(()));
    if container.runtime.name == Name::Crun {
        until("the record", || (container.state_call().code == Some(0)).then_some(()));
    }
    running
}

fn row_41_run_exits_with_128_plus_the_signal(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ready; sleep 1000");
    let running = ready(&container, &[]);
    container.kill("KILL").ok();
    running.wait().exits(137).no_complaint();
}

fn row_41_run_exits_with_143_after_term(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "kill -TERM $$");
    container.bundle.without_namespace("pid");
    container.run().exits(143).no_complaint();
}

fn row_41_run_ends_when_the_program_ends_though_children_live(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "sleep 1000 & echo $!; exit 4");
    container.bundle.without_namespace("pid");
    let output = container.run().exits(4);
    let child = Process::new(output.text().parse().unwrap());
    until("the end of the child", || (!child.is_alive()).then_some(()));
    container.state_call().fails();
}

fn row_44_pid_file_has_no_newline(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let (path, file) = pid_file(&container);
    container.create_with(&["--pid-file", &file]).ok();
    assert_eq!(fs::read_to_string(path).unwrap(), container.pid().to_string());
}

fn row_44_pid_file_of_run_is_there_while_the_program_runs(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ready; sleep 1000");
    let (path, file) = pid_file(&container);
    let running = ready(&container, &["--pid-file", &file]);
    // crun makes the file before it writes to it.
    let content = until("the pid file", || fs::read_to_string(&path).ok().filter(|text| !text.is_empty()));
    assert_eq!(content, container.pid().to_string());
    container.kill("KILL").ok();
    running.wait().exits(137);
}

fn row_44_pid_file_of_detached_run(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let (path, file) = pid_file(&container);
    container.run_call(&["-d", "--pid-file", &file]).run().ok().silent();
    assert_eq!(fs::read_to_string(path).unwrap(), container.pid().to_string());
}

fn row_44_pid_file_is_replaced_not_rewritten(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let (path, file) = pid_file(&container);
    let other = container.folder().join("other");
    fs::write(&other, "old and long content").unwrap();
    fs::hard_link(&other, &path).unwrap();
    container.create_with(&["--pid-file", &file]).ok();
    assert_eq!(fs::read_to_string(path).unwrap(), container.pid().to_string());
    assert_eq!(fs::read_to_string(other).unwrap(), "old and long content");
    let names = fs::read_dir(container.folder()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().starts_with(".pid")), "a temporary file is left");
}

fn row_45_pid_file_is_of_the_callers_pid_namespace(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let (path, file) = pid_file(&container);
    let script = format!(
        "\"$@\" >/dev/null 2>&1 && readlink /proc/$(cat {file})/ns/pid && {} --root {} delete --force {}",
        runtime.path.display(),
        container.root.display(),
        container.id
    );
    let view = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script, "sh"];
    let output = container.create_call(&["--pid-file", &file]).wrapped(view).run().ok();
    assert!(output.text().starts_with("pid:["), "{output}");
    let pid: i32 = fs::read_to_string(path).unwrap().parse().unwrap();
    assert!(pid < 200, "{pid} is no id of a new pid namespace");
}

fn row_23_relative_bundle_and_pid_file(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let words = ["create", "--bundle", "../bundle", "--pid-file", "relative", &container.id];
    let root = ["--root", "../state"];
    container.bare_call().args(root).args(words).cwd(container.folder().join("calls")).run().ok();
    assert_eq!(container.status(), "created");
    assert_eq!(
        fs::read_to_string(container.folder().join("calls/relative")).unwrap(),
        container.pid().to_string()
    );
}

fn row_79_state_is_polled_during_run(runtime: &Runtime) {
    // Its input ends when it has been seen to run.
    let container = Container::sh(runtime, "read word; exit 6");
    let (reader, writer) = std::io::pipe().unwrap();
    let mut running = container.run_call(&[]).stdin(fs::File::from(OwnedFd::from(reader))).spawn();
    let (mut seen, mut writer) = (Vec::new(), Some(writer));
    until("the end of run", || {
        let answer = container.state_call();
        if answer.code == Some(0) {
            seen.push(answer.json()["status"].as_str().unwrap().to_string());
        }
        if seen.iter().filter(|status| *status == "running").count() > 3 {
            drop(writer.take());
        }
        running.has_ended().then_some(())
    });
    running.wait().exits(6);
    seen.dedup();
    let known = ["creating", "created", "running", "stopped"];
    assert!(seen.iter().all(|status| known.contains(&status.as_str())), "{seen:?}");
    assert!(seen.contains(&"running".to_string()), "{seen:?}");
}

fn peer_36_run_is_no_reaper_of_foreign_children(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ready; sleep 0.2; exit 9");
    let patience = limit().max(Duration::from_secs(8));
    let output = container.run_call(&[]).after("sleep 0.05 & sleep 60 &").deadline(patience).run().exits(9);
    assert_eq!(output.text(), "ready");
}

fn peer_37_signals_are_forwarded(runtime: &Runtime) {
    let script = "for s in HUP INT QUIT USR1 USR2 CONT; do trap \"echo got $s\" $s; done; trap 'exit 7' TERM
        echo ready; while :; do sleep 0.01; done";
    let container = Container::sh(runtime, script);
    let running = ready(&container, &[]);
    let signals = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGCONT];
    for signal in signals {
        running.signal(signal);
        let line = format!("got {}\n", &signal.as_str()[3..]);
        until(&format!("{line:?} on stdout"), || running.stdout().contains(&line).then_some(()));
    }
    running.signal(Signal::SIGTERM);
    running.wait().exits(7);
}

fn peer_37_sigchld_and_sigwinch_are_not_forwarded(runtime: &Runtime) {
    let script = "for s in CHLD WINCH URG; do trap \"echo got $s\" $s; done; trap 'echo last; exit 7' TERM
        echo ready; read line";
    let container = Container::sh(runtime, script);
    let (reader, _writer) = std::io::pipe().unwrap();
    let stdin = fs::File::from(OwnedFd::from(reader));
    let running = container.run_call(&[]).stdin(stdin).spawn();
    until("the program", || running.stdout().contains("ready\n").then_some(()));
    for signal in [Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGURG] {
        running.signal(signal);
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().exits(7).stdout, "ready\nlast\n");
}

fn peer_37_detached_run_returns_while_the_program_runs(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok().silent();
    assert_eq!(container.status(), "running");
}

fn peer_37_run_of_a_used_id_spares_the_container(runtime: &Runtime) {
    let container = Container::single(runtime);
    let (pid, before) = (container.pid(), Snapshot::take(&container));
    container.run().fails();
    before.assert_unchanged(&container);
    assert_eq!((container.pid(), container.status()), (pid, "running".to_string()));
}

fn peer_37_killed_run_leaves_a_container_that_can_be_deleted(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ready; sleep 1000");
    let before = Snapshot::take(&container);
    let running = ready(&container, &[]);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.wait().signal, Some(9));
    container.delete_force().ok();
    before.assert_unchanged(&container);
}
