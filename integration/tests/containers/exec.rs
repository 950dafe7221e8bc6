//! `exec`: one more process in a container.

use super::capabilities::found;
use super::descriptors::holders;
use integration::{Call, Container, Output, Process, Runtime, Snapshot, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

cases! {
    Any:
        row_6_process_file_with_options_before_the_id,
        row_7_words_behind_the_id_belong_to_the_command,
        row_7_a_first_double_dash_is_taken_off,
        row_26_exec_leads_its_own_session,
        row_35_exec_has_the_callers_streams,
        row_36_nobody_else_holds_the_streams_after_exec,
        row_41_exec_ends_with_the_code_of_the_process,
        row_41_exec_forwards_signals,
        row_44_exec_pid_file_holds_digits_only,
        row_49_failures_of_exec_exit_with_255,
        row_56_exec_of_a_missing_program,
        row_59_no_pid_file_for_a_missing_program,
        row_77_exec_in_a_created_container,
        row_77_exec_in_a_paused_container_is_refused,
        row_77_exec_in_a_paused_container_may_be_asked_for,
        row_77_exec_in_a_paused_container_waits_for_its_resumption,
        cfg_67_warnings_of_exec,
        row_77_exec_in_a_stopped_container_is_refused,
        row_78_process_file_may_go_when_exec_returns,
        row_78_process_file_may_be_a_pipe,
        row_78_exec_of_a_broken_process_file_is_refused,
        row_79_parallel_execs,
        sec_2_numbers_are_no_names,
        sec_8_capabilities_of_exec_are_the_containers,
        sec_8_added_capabilities_are_not_inheritable,
        sec_8_capabilities_of_a_process_file,
        sec_20_users_are_numbers,
        sec_20_other_users_are_refused,
        peer_45_exec_joins_all_namespaces,
        peer_45_exec_is_in_the_containers_cgroup,
        peer_45_exec_in_a_cgroup_below,
        peer_45_exec_in_a_cgroup_elsewhere_is_refused,
        peer_45_exec_follows_a_container_that_left_its_cgroup,
        row_6_exec_takes_the_containers_process_object,
        row_6_exec_options_change_the_process,
        row_6_a_process_file_stands_for_itself,
        row_59_an_exec_that_fails_leaves_nothing,
    ;
}

/// A running container whose program does nothing.
fn running(runtime: &Runtime) -> Container {
    started(Container::sleeper(runtime))
}

fn started(container: Container) -> Container {
    container.run_detached().ok();
    container
}

/// `exec` with these options.
fn with(container: &Container, options: &[&str], words: &[&str]) -> Output {
    container.call(["exec"]).args(options).arg(&container.id).args(words).run()
}

fn pid_in(path: &PathBuf) -> i32 {
    fs::read_to_string(path).unwrap().parse().expect("digits only")
}

/// `exec` of this process object.
fn object(container: &Container, process: &Value) -> Call {
    let file = container.folder().join("process.json");
    fs::write(&file, format!("{process}\n")).unwrap();
    container.call(["exec", "--process"]).arg(file).arg(&container.id)
}

fn row_6_process_file_with_options_before_the_id(runtime: &Runtime) {
    let container = running(runtime);
    let (file, pid) = (container.folder().join("process.json"), container.folder().join("pid"));
    fs::write(&file, json!({"args": ["/bin/sleep", "1000"], "cwd": "/", "user": {"uid": 0, "gid": 0}}).to_string()).unwrap();
    let (file, pid_file) = (file.to_str().unwrap(), pid.to_str().unwrap());
    for options in [
        &["--process", file, "--detach", "--pid-file", pid_file][..],
        &["--pid-file", pid_file, "--process", file, "--detach"],
        &["-d", "--tty=false", "--preserve-fds=0", "-p", file, "--pid-file", pid_file],
    ] {
        container.settled(with(&container, options, &[])).ok().silent();
        assert_eq!(Process::new(pid_in(&pid)).words(), ["/bin/sleep", "1000"]);
    }
}

fn row_7_words_behind_the_id_belong_to_the_command(runtime: &Runtime) {
    let container = running(runtime);
    let words = ["/bin/echo", "-x", "--help", "--root", "--", "--tty", "", "-e"];
    assert_eq!(container.exec(words).ok().stdout, "-x --help --root -- --tty  -e\n");
    container.exec(["-x"]).exits(255).fails_with("-x");
}

fn row_7_a_first_double_dash_is_taken_off(runtime: &Runtime) {
    let container = running(runtime);
    assert_eq!(container.exec(["--", "/bin/echo", "--", "-x"]).ok().stdout, "-- -x\n");
}

fn row_26_exec_leads_its_own_session(runtime: &Runtime) {
    let container = running(runtime);
    let process = container.exec_detached(&[], &["/bin/sleep", "1000"]);
    let number = process.pid.to_string();
    // Fields 5 and 6 of proc(5): process group and session.
    assert_eq!((process.stat(5), process.stat(6)), (Some(number.clone()), Some(number)));
}

fn row_35_exec_has_the_callers_streams(runtime: &Runtime) {
    let container = running(runtime);
    let script = "cat; echo complaint >&2";
    let output = container.call(["exec", &container.id, "/bin/sh", "-c", script]).input("through\n").run().ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("through\n", "complaint\n"));
}

fn row_36_nobody_else_holds_the_streams_after_exec(runtime: &Runtime) {
    let container = running(runtime);
    let file = container.folder().join("pid");
    let words = ["exec", "-d", "--pid-file", file.to_str().unwrap(), &container.id, "/bin/sleep", "1000"];
    let output = container.settled(container.call(words).run()).ok();
    assert_eq!(holders(&output), [pid_in(&file)]);
}

fn row_41_exec_ends_with_the_code_of_the_process(runtime: &Runtime) {
    let container = running(runtime);
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        container.exec_sh(script).exits(code).silent();
    }
    assert_eq!(container.status(), "running");
}

fn row_41_exec_forwards_signals(runtime: &Runtime) {
    let container = running(runtime);
    let script = "for s in HUP INT USR1; do trap \"echo got $s\" $s; done; trap 'exit 7' TERM
        echo ready; while :; do sleep 0.01; done";
    let running = container.call(["exec", &container.id, "/bin/sh", "-c", script]).spawn();
    until("the program", || running.stdout().contains("ready\n").then_some(()));
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGUSR1] {
        running.signal(signal);
        let line = format!("got {}\n", &signal.as_str()[3..]);
        until(&format!("{line:?} on stdout"), || running.stdout().contains(&line).then_some(()));
    }
    running.signal(Signal::SIGTERM);
    running.wait().exits(7);
    assert_eq!(container.status(), "running");
}

fn row_44_exec_pid_file_holds_digits_only(runtime: &Runtime) {
    let container = running(runtime);
    let process = container.exec_detached(&[], &["/bin/sleep", "1000"]);
    assert_eq!(process.words(), ["/bin/sleep", "1000"]);
    let file = container.folder().join("pid of a foreground process");
    let running = container.call(["exec", "--pid-file", file.to_str().unwrap(), &container.id, "/bin/sleep", "1000"]).spawn();
    // crun makes the file before it writes to it.
    let written = || fs::read_to_string(&file).ok().filter(|text| !text.is_empty());
    let pid = until("the pid file", written).parse().expect("digits only");
    until("the program", || (Process::new(pid).words() == ["/bin/sleep", "1000"]).then_some(()));
    running.signal(Signal::SIGKILL);
}

fn row_49_failures_of_exec_exit_with_255(runtime: &Runtime) {
    let container = running(runtime);
    for (options, words, text) in [
        (&[][..], &[][..], "exec args cannot be empty"),
        (&[], &["/nowhere"], "no such file or directory"),
        (&["--process", "/nowhere"], &[], "/nowhere"),
        (&["--cwd", "relative"], &["/bin/true"], "cwd"),
        (&["--user", "root"], &["/bin/true"], "root"),
        (&["--pid-file", "/nowhere/pid"], &["/bin/true"], "/nowhere/pid"),
    ] {
        with(&container, options, words).exits(255).fails_with(text);
    }
    container.call(["exec", "nobody", "/bin/true"]).run().exits(255).fails_with("does not exist");
}

fn row_56_exec_of_a_missing_program(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.bundle.file("/etc/text", "text", 0o644);
    let container = started(container);
    container.exec(["nothing"]).exits(255).fails_with("executable file not found in $PATH");
    container.exec(["/bin/nothing"]).exits(255).fails_with("no such file or directory");
    container.exec(["/etc/text"]).exits(255).fails_with("permission denied");
}

fn row_59_no_pid_file_for_a_missing_program(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.bundle.file("/etc/text", "text", 0o644);
    let container = started(container);
    let file = container.folder().join("pid");
    for word in ["nothing", "/bin/nothing", "/etc/text", "/etc"] {
        with(&container, &["--detach", "--pid-file", file.to_str().unwrap()], &[word]).exits(255);
        assert!(!file.exists(), "{word}");
    }
}

fn row_77_exec_in_a_created_container(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    assert_eq!(container.exec(["/bin/echo", "here"]).ok().text(), "here");
    assert_eq!(container.status(), "created");
    container.start().ok();
    assert_eq!(container.status(), "running");
}

fn row_77_exec_in_a_paused_container_is_refused(runtime: &Runtime) {
    let container = running(runtime);
    container.call(["pause", &container.id]).run().ok();
    container.exec(["/bin/true"]).exits(255).fails_with("cannot exec in a paused container (use --ignore-paused to override)");
    assert_eq!(container.status(), "paused");
    container.call(["resume", &container.id]).run().ok();
    container.exec(["/bin/true"]).ok();
}

fn row_77_exec_in_a_paused_container_may_be_asked_for(runtime: &Runtime) {
    let container = running(runtime);
    container.call(["pause", &container.id]).run().ok();
    let words = ["exec", "--ignore-paused", &container.id, "/bin/echo", "resumed"];
    let running = container.call(words).spawn();
    container.call(["resume", &container.id]).run().ok();
    assert_eq!(running.wait().ok().text(), "resumed");
}

/// Longer than anything else that is waited for.
fn row_77_exec_in_a_paused_container_waits_for_its_resumption(runtime: &Runtime) {
    let container = running(runtime);
    container.call(["pause", &container.id]).run().ok();
    let words = ["exec", "--ignore-paused", &container.id, "/bin/echo", "resumed"];
    let mut running = container.call(words).deadline(Duration::from_secs(60)).spawn();
    sleep(Duration::from_secs(33));
    assert!(!running.has_ended(), "{}", running.stderr());
    container.call(["resume", &container.id]).run().ok();
    assert_eq!(running.wait().ok().text(), "resumed");
}

fn cfg_67_warnings_of_exec(runtime: &Runtime) {
    let container = running(runtime);
    let output = with(&container, &["--cap", "CAP_NOT_YET"], &["/bin/echo", "ran"]).ok();
    assert_eq!(output.text(), "ran");
    let warning = "ignoring unknown or unavailable capabilities: [CAP_NOT_YET]";
    assert!(output.stderr.contains("level=warning") && output.stderr.contains(warning), "{output}");
}

fn row_77_exec_in_a_stopped_container_is_refused(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.run_detached().ok();
    container.wait_for("stopped");
    let output = container.exec(["/bin/true"]).exits(255).fails_with("cannot exec in a stopped container");
    assert!(output.stderr.contains("container not running"), "{output}");
}

fn row_78_process_file_may_go_when_exec_returns(runtime: &Runtime) {
    let container = running(runtime);
    let file = container.folder().join("process.json");
    let words = ["/bin/sh", "-c", "sleep 0.1; echo late; exec sleep 1000"];
    let process = json!({"args": words, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    fs::write(&file, process.to_string()).unwrap();
    let output = with(&container, &["--detach", "--process", file.to_str().unwrap()], &[]).ok();
    fs::remove_file(file).unwrap();
    until("the program", || (fs::read_to_string(&output.stdout_file).ok()? == "late\n").then_some(()));
}

fn row_78_process_file_may_be_a_pipe(runtime: &Runtime) {
    let container = running(runtime);
    let process = json!({"args": ["/bin/echo", "piped"], "cwd": "/", "user": {"uid": 0, "gid": 0}}).to_string();
    let script = "cat | \"$@\"";
    let call = container.call(["exec", "--process", "/dev/stdin", &container.id]);
    let output = call.wrapped(["sh", "-c", script, "sh"]).input(&process).run().ok();
    assert_eq!(output.text(), "piped");
}

fn row_78_exec_of_a_broken_process_file_is_refused(runtime: &Runtime) {
    let container = running(runtime);
    let file = container.folder().join("process.json");
    for text in ["", "{", "[]", "null", "{}", r#"{"args":[],"cwd":"/"}"#, r#"{"args":["/bin/true"],"cwd":""}"#] {
        fs::write(&file, text).unwrap();
        with(&container, &["--process", file.to_str().unwrap()], &[]).exits(255).fails();
    }
}

fn row_79_parallel_execs(runtime: &Runtime) {
    let container = running(runtime);
    let calls = (0..8).map(|number| {
        let script = format!("exit {number}");
        container.call(["exec", &container.id, "/bin/sh", "-c", &script]).spawn()
    });
    let calls: Vec<_> = calls.collect();
    for (number, call) in calls.into_iter().enumerate() {
        call.wait().exits(i32::try_from(number).unwrap()).silent();
    }
}

fn sec_2_numbers_are_no_names(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.bundle.file("/etc/passwd", "1000:x:0:0::/:/bin/sh\n", 0o644);
    let container = started(container);
    assert_eq!(with(&container, &["--user", "1000"], &["/bin/id", "-u"]).ok().text(), "1000");
}

/// A container of root with these sets.
fn capable(runtime: &Runtime, sets: Value) -> Container {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/capabilities", sets);
    started(container)
}

fn sec_8_capabilities_of_exec_are_the_containers(runtime: &Runtime) {
    let container = capable(
        runtime,
        json!({"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}),
    );
    let ours = found(&container.exec(["/bin/cat", "/proc/self/status"]).ok().stdout);
    assert_eq!(ours, found(&container.process().read("status")));
    assert_eq!((ours["Bnd"], ours["Inh"], ours["Amb"]), (1 | 1 << 5, 1 << 5, 0));
}

fn sec_8_added_capabilities_are_not_inheritable(runtime: &Runtime) {
    let sets = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]});
    let container = capable(runtime, sets);
    let of = |options: &[&str]| found(&with(&container, options, &["/bin/cat", "/proc/self/status"]).ok().stdout);
    let sets = of(&["--cap", "CAP_CHOWN", "-c", "CAP_SETUID"]);
    let all = 1 | 1 << 5 | 1 << 7;
    assert_eq!((sets["Bnd"], sets["Prm"], sets["Eff"], sets["Inh"], sets["Amb"]), (all, all, all, 0, 0));
    let sets = of(&["--user", "1000:1000", "--cap", "CAP_CHOWN"]);
    assert_eq!((sets["Bnd"], sets["Prm"], sets["Eff"], sets["Inh"], sets["Amb"]), (1 | 1 << 5, 0, 0, 0, 0));
}

fn sec_8_capabilities_of_a_process_file(runtime: &Runtime) {
    let sets = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]});
    let container = capable(runtime, sets);
    let mut process = json!({"args": ["/bin/cat", "/proc/self/status"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    let sets = found(&object(&container, &process).run().ok().stdout);
    assert!(sets.values().all(|bits| *bits == 0), "no capabilities means none: {sets:?}");
    process["capabilities"] = json!({"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]});
    let sets = found(&object(&container, &process).run().ok().stdout);
    assert_eq!((sets["Bnd"], sets["Prm"], sets["Eff"], sets["Inh"], sets["Amb"]), (1, 1, 1, 0, 0));
}

fn sec_20_users_are_numbers(runtime: &Runtime) {
    let container = running(runtime);
    for (word, ids) in [
        ("1", "1 0"),
        ("1:2", "1 2"),
        ("0", "0 0"),
        ("4294967294", "4294967294 0"),
        ("65534:4294967294", "65534 4294967294"),
    ] {
        let script = "while read name id _; do case $name in Uid:|Gid:) echo $id;; esac; done </proc/self/status";
        let output = with(&container, &["--user", word], &["/bin/sh", "-c", script]).ok();
        assert_eq!(output.text().replace('\n', " "), ids, "{word}");
    }
}

fn sec_20_other_users_are_refused(runtime: &Runtime) {
    let container = running(runtime);
    let words = ["4294967295", "-1", ":", "1:", ":1", "0x1", " 1", "1 ", "+1", "1:2:3", "4294967296", "18446744073709551616", "root"];
    for word in words {
        let output = with(&container, &["--user", word], &["/bin/id"]).exits(255).fails();
        assert!(output.stdout.is_empty(), "{word:?}: {output}");
    }
}

fn peer_45_exec_joins_all_namespaces(runtime: &Runtime) {
    let container = running(runtime);
    let (init, process) = (container.process(), container.exec_detached(&[], &["/bin/sleep", "1000"]));
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "user", "uts"] {
        assert!(process.namespace(kind).is_some(), "{kind}");
        assert_eq!(process.namespace(kind), init.namespace(kind), "{kind}");
    }
    assert_eq!(process.link("root"), init.link("root"));
}

fn peer_45_exec_is_in_the_containers_cgroup(runtime: &Runtime) {
    let container = running(runtime);
    let process = container.exec_detached(&[], &["/bin/sleep", "1000"]);
    assert_eq!(process.cgroup(), container.process().cgroup());
}

fn peer_45_exec_in_a_cgroup_below(runtime: &Runtime) {
    let container = running(runtime);
    fs::create_dir_all(container.cgroup().join("a/b")).unwrap();
    let own = container.process().cgroup().unwrap();
    for (word, path) in [("a", "/a"), ("/a/b", "/a/b"), ("a/", "/a"), ("/", "")] {
        let process = container.exec_detached(&["--cgroup", word], &["/bin/sleep", "1000"]);
        assert_eq!(process.cgroup(), Some(format!("{own}{path}")), "{word}");
    }
}

fn peer_45_exec_in_a_cgroup_elsewhere_is_refused(runtime: &Runtime) {
    let container = running(runtime);
    fs::create_dir(container.cgroup().join("a")).unwrap();
    fs::create_dir(container.parent_cgroup().join("beside")).unwrap();
    for word in ["nothing", "..", "../beside", "a/../../beside", "../../..", "a/..", "pids:a"] {
        with(&container, &["--cgroup", word], &["/bin/true"]).exits(255).fails_with("--cgroup");
    }
}

fn row_6_exec_takes_the_containers_process_object(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [7]}));
    container.bundle.set("/process/cwd", json!("/tmp")).set("/process/env", json!(["PATH=/bin", "B=2", "A=1"]));
    let container = started(container);
    let output = container.exec_sh("id -u; id -g; id -G; pwd; tr '\\0' '\\n' </proc/$$/environ; true").ok();
    assert_eq!(output.stdout.lines().take(4).collect::<Vec<_>>(), ["5", "6", "6 7", "/tmp"]);
    let environment: Vec<&str> = output.stdout.lines().skip(4).filter(|line| !line.starts_with("HOME=")).collect();
    assert_eq!(environment, ["PATH=/bin", "B=2", "A=1"]);
}

fn row_6_exec_options_change_the_process(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [7]}));
    container.bundle.set("/process/env", json!(["PATH=/bin", "A=1", "HOME=/"])).set("/process/noNewPrivileges", json!(false));
    let container = started(container);
    let options = ["-e", "C=3", "--env", "B=a b=c", "--cwd", "/tmp", "--user", "8", "-g", "9", "--additional-gids=10", "--no-new-privs"];
    let script = "id -u; id -g; id -G; pwd; grep NoNewPrivs /proc/$$/status; tr '\\0' '\\n' </proc/$$/environ; true";
    let output = with(&container, &options, &["/bin/sh", "-c", script]).ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[..5], ["8", "6", "6 7 9 10", "/tmp", "NoNewPrivs:\t1"]);
    assert_eq!(lines[5..], ["PATH=/bin", "A=1", "HOME=/", "C=3", "B=a b=c"]);
}

fn row_6_a_process_file_stands_for_itself(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/user", json!({"uid": 5, "gid": 6})).set("/process/env", json!(["A=1"]));
    let container = started(container);
    let script = "id -u; pwd; echo $A $B";
    let process = json!({"args": ["/bin/sh", "-c", script], "cwd": "/tmp", "env": ["B=2", "PATH=/bin"], "user": {"uid": 7, "gid": 8}});
    assert_eq!(object(&container, &process).run().ok().stdout, "7\n/tmp\n2\n");
}

fn row_59_an_exec_that_fails_leaves_nothing(runtime: &Runtime) {
    let container = Container::single(runtime);
    let before = Snapshot::take(&container);
    container.exec(["/nowhere"]).exits(255);
    with(&container, &["--cwd", "/nowhere"], &["/bin/true"]).exits(255);
    with(&container, &["--detach", "--pid-file", "/nowhere/pid"], &["/bin/sleep", "1000"]).exits(255);
    before.assert_unchanged(&container);
}

// exec.bats of runc, "init changes cgroup" (runc#5089): the caller's own cgroup would have other limits.
fn peer_45_exec_follows_a_container_that_left_its_cgroup(runtime: &Runtime) {
    // Whose program makes no further process in the cgroup while it is emptied.
    let container = Container::single(runtime);
    let other = container.parent_cgroup().join("other");
    fs::create_dir(&other).unwrap();
    for pid in fs::read_to_string(container.cgroup().join("cgroup.procs")).unwrap().lines() {
        fs::write(other.join("cgroup.procs"), pid).unwrap();
    }
    fs::remove_dir(container.cgroup()).unwrap();
    let process = container.exec_detached(&[], &["/bin/sleep", "1000"]);
    assert_eq!(process.cgroup(), container.process().cgroup());
    assert!(process.cgroup().is_some_and(|path| path.ends_with("/other")));
    container.kill("KILL").ok();
    container.reap(process.pid); // its namespace ends when all in it have been reaped
}
