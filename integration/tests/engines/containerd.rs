//! containerd's own client, `ctr`, which names the runtime at every `run`.

use integration::engine::{call, cgroup_of, fresh_name, wait_for_program};
use integration::{Call, Output, Pty, Runtime, until};
use nix::unistd::pipe;
use std::fs::{self, File};
use std::io::Write as _;

cases! {
    Engines:
        row_25_ctr_run_exits_with_the_programs_code,
        row_35_ctr_run_gives_the_output,
        row_37_ctr_run_in_a_terminal,
        row_38_ctr_exec_in_a_terminal,
        row_41_ctr_exec_exits_with_the_programs_code,
        row_47_ctr_null_io,
        row_55_ctr_signal_to_a_stopped_task,
        row_56_ctr_missing_program,
        row_57_ctr_file_that_cannot_be_executed,
        row_59_ctr_exec_of_a_missing_program,
        row_70_ctr_kill_among_the_hosts_processes,
        row_72_ctr_rm_removes_the_cgroup,
        row_73_ctr_cleans_up_after_a_killed_shim,
        row_75_ctr_pause_and_resume,
        row_76_ctr_lists_processes,
        row_80_ctr_same_id_in_two_namespaces,
        row_86_ctr_metrics,
    ;
}

const IMAGE: &str = "docker.io/library/busybox:latest";

fn ctr(words: &[&str]) -> Call {
    call("ctr").args(words)
}

/// `ctr run OPTION…` with the runtime under test; image, id and program are to follow.
fn run(runtime: &Runtime, options: &[&str]) -> Call {
    ctr(&["run", "--snapshotter=native", "--runc-binary"]).arg(&runtime.path).args(options)
}

fn output_of(runtime: &Runtime, options: &[&str], words: &[&str]) -> Output {
    run(runtime, options).args(["--rm", IMAGE, &fresh_name()]).args(words).run()
}

/// A running task, removed when dropped.
struct Task(String);

impl Task {
    fn start(runtime: &Runtime, options: &[&str], words: &[&str]) -> Task {
        let task = Task(fresh_name());
        run(runtime, options).args(["--detach", IMAGE, &task.0]).args(words).run().ok();
        task
    }

    fn sleeping(runtime: &Runtime) -> Task {
        Task::start(runtime, &[], &["sleep", "1000"])
    }

    fn call(&self, words: &[&str]) -> Call {
        ctr(&["task"]).args(words).arg(&self.0)
    }

    fn exec(&self, words: &[&str]) -> Call {
        self.call(&["exec", "--exec-id", &fresh_name()]).args(words)
    }

    /// Process id and status, as listed.
    fn listed(&self) -> (i32, String) {
        let list = ctr(&["task", "ls"]).run().ok().stdout;
        let lines = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.into_iter().find(|words| words[0] == self.0).unwrap_or_else(|| panic!("not in {list}"));
        (line[1].parse().expect("a process id"), line[2].to_string())
    }

    fn kill(&self) {
        self.call(&["kill", "--signal=KILL"]).run().ok();
        until("the end of a task", || (self.listed().1 == "STOPPED").then_some(()));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.call(&["rm", "--force"]).spawn().wait_quietly();
        ctr(&["container", "rm", &self.0]).spawn().wait_quietly();
    }
}

/// Runs `script`, which must print this to its two outputs, and lets it end after that has come out: a client that is
/// told of the end while it still opens its fifos drops them with what is in them (containerd's pull request 1940).
fn heard(call: Call, script: &str, outputs: [&str; 2]) -> Output {
    let (input, writer) = pipe().expect("make a pipe");
    let script = format!("{script}; code=$?; read line; exit $code");
    let mut running = call.args(["sh", "-c", &script]).stdin(input.into()).spawn();
    until("the output of a task", || {
        let printed = [running.stdout(), running.stderr()] == outputs;
        (printed || running.has_ended()).then_some(())
    });
    let _ = File::from(writer).write_all(b"enough\n");
    let output = running.wait();
    assert_eq!([output.stdout.as_str(), output.stderr.as_str()], outputs, "{output}");
    output
}

fn row_35_ctr_run_gives_the_output(runtime: &Runtime) {
    let call = run(runtime, &["--rm", IMAGE, &fresh_name()]);
    heard(call, "echo out; echo err >&2", ["out\n", "err\n"]).ok();
}

fn row_25_ctr_run_exits_with_the_programs_code(runtime: &Runtime) {
    output_of(runtime, &[], &["sh", "-c", "exit 42"]).exits(42);
}

fn row_41_ctr_exec_exits_with_the_programs_code(runtime: &Runtime) {
    let task = Task::sleeping(runtime);
    heard(task.exec(&[]), "echo in; (exit 43)", ["in\n", ""]).exits(43);
}

/// Runs `call` in a terminal, where a shell prints the name of its own. As in [`heard`], that comes out before the shell ends.
fn in_terminal(call: Call) {
    let (pty, other) = Pty::pair(24, 80);
    let again = || other.try_clone().expect("the terminal once more");
    let call = call.args(["sh", "-c", "tty; read line"]);
    let running = call.stdin(again()).stdout(again()).stderr(again()).spawn();
    pty.wait_for("/dev/pts/0");
    pty.type_in("enough\n");
    running.wait().ok();
}

fn row_37_ctr_run_in_a_terminal(runtime: &Runtime) {
    in_terminal(run(runtime, &["--tty", "--rm", IMAGE, &fresh_name()]));
}

fn row_38_ctr_exec_in_a_terminal(runtime: &Runtime) {
    let task = Task::sleeping(runtime);
    in_terminal(task.call(&["exec", "--tty", "--exec-id", &fresh_name()]));
}

fn row_47_ctr_null_io(runtime: &Runtime) {
    output_of(runtime, &["--null-io"], &["sh", "-c", "echo lost; exit 3"]).exits(3).silent();
    output_of(runtime, &["--null-io"], &["nothing-of-that-name"]).fails_with("executable file not found in $PATH");
}

fn row_55_ctr_signal_to_a_stopped_task(runtime: &Runtime) {
    let task = Task::sleeping(runtime);
    task.kill();
    task.call(&["kill", "--signal=KILL"]).run().fails_with("process already finished: not found");
}

fn row_56_ctr_missing_program(runtime: &Runtime) {
    let output = output_of(runtime, &[], &["nothing-of-that-name"]).fails();
    assert!(output.stderr.contains("OCI runtime create failed: "), "{output}");
    assert!(output.stderr.contains("executable file not found in $PATH"), "{output}");
}

fn row_57_ctr_file_that_cannot_be_executed(runtime: &Runtime) {
    output_of(runtime, &[], &["/etc/passwd"]).fails_with("permission denied");
}

fn row_59_ctr_exec_of_a_missing_program(runtime: &Runtime) {
    let task = Task::sleeping(runtime);
    task.exec(&["nothing-of-that-name"]).run().fails_with("executable file not found in $PATH");
    task.exec(&["true"]).run().ok();
}

/// The end of its first process ends nothing there: the shim has all killed, of a container that is stopped.
fn row_70_ctr_kill_among_the_hosts_processes(runtime: &Runtime) {
    let task = Task::start(runtime, &["--with-ns=pid:/proc/1/ns/pid"], &["sh", "-c", "sleep 4321 & exec sleep 1000"]);
    let group = cgroup_of(task.listed().0);
    let processes = || fs::read_to_string(group.join("cgroup.procs")).map_or(0, |text| text.lines().count());
    until("both processes", || (processes() == 2).then_some(()));
    task.kill();
    until("an empty cgroup", || (processes() == 0).then_some(()));
}

fn row_72_ctr_rm_removes_the_cgroup(runtime: &Runtime) {
    let task = Task::sleeping(runtime);
    let group = cgroup_of(task.listed().0);
    task.kill();
    assert!(group.exists(), "its counters are read until the end");
    task.call(&["rm"]).run().ok();
    assert!(!group.exists(), "{}", group.display());
}

/// Nobody but containerd is left, which runs `delete --force` without the shim's other options.
fn row_73_ctr_cleans_up_after_a_killed_shim(runtime: &Runtime) {
    let task = Task::sleeping(runtime);
    let pid = task.listed().0;
    let group = cgroup_of(pid);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status of init");
    let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").trim();
    call("kill").args(["-KILL", shim]).run().ok();
    until("the end of the cgroup", || (!group.exists()).then_some(()));
    let folder = runtime_folder(&task.0);
    until("the end of the state", || (!folder.exists()).then_some(()));
}

/// Where the shim has the runtime keep its state.
fn runtime_folder(id: &str) -> std::path::PathBuf {
    ["/run/containerd/runc/default", id].iter().collect()
}

fn row_75_ctr_pause_and_resume(runtime: &Runtime) {
    let task = Task::sleeping(runtime);
    task.call(&["pause"]).run().ok();
    assert_eq!(task.listed().1, "PAUSED");
    task.call(&["resume"]).run().ok();
    assert_eq!(task.listed().1, "RUNNING");
    task.exec(&["true"]).run().ok();
}

fn row_76_ctr_lists_processes(runtime: &Runtime) {
    let task = Task::start(runtime, &[], &["sh", "-c", "sleep 1000 & sleep 1000; true"]);
    let pid = task.listed().0.to_string();
    until("three processes", || {
        let list = task.call(&["ps"]).run().ok().stdout;
        let pids: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        (pids.len() == 3 && pids.contains(&pid.as_str())).then_some(())
    });
}

/// containerd gives each of its namespaces a root of its own. Without an image there is no PATH.
fn row_80_ctr_same_id_in_two_namespaces(runtime: &Runtime) {
    let id = fresh_name();
    for namespace in ["first", "second"] {
        let words = ["--runc-binary", runtime.path.to_str().expect("a path in UTF-8"), "--detach", "--rootfs"];
        let call = ctr(&["--namespace", namespace, "run"]).args(words);
        call.args(["/run/image", &id, "/bin/sleep", "1000"]).run().ok();
    }
    for namespace in ["first", "second"] {
        let of = |words: &[&str]| ctr(&["--namespace", namespace]).args(words).arg(&id);
        of(&["task", "exec", "--exec-id=one"]).arg("/bin/true").run().ok();
        of(&["task", "rm", "--force"]).run().ok();
        of(&["container", "rm"]).run().ok();
    }
}

/// The shim enables all controllers above the container itself.
fn row_86_ctr_metrics(runtime: &Runtime) {
    let task = Task::start(runtime, &["--memory-limit=33554432"], &["sleep", "1000"]);
    wait_for_program(task.listed().0, &["sleep", "1000"]);
    let metrics = task.call(&["metrics"]).run().ok().stdout;
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_else(|| panic!("{name} in {metrics}")).to_string()
    };
    assert_eq!((value("pids.current").as_str(), value("memory.usage_limit").as_str()), ("1", "33554432"));
    assert_ne!(value("memory.usage"), "0");
}
