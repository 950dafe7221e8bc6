//! What the container inherits from the caller: open files, standard streams, parent, session and signals.

use integration::{Container, Output, Process, Runtime, until};
use serde_json::json;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

cases! {
    Any:
        lnx_1_only_the_standard_streams_are_open,
        lnx_1_only_the_standard_streams_are_open_in_exec,
        lnx_1_only_the_standard_streams_are_open_in_run,
        lnx_3_closed_stdin_is_the_containers_own_null,
        lnx_3_null_of_the_host_becomes_the_containers_own,
        row_25_init_is_reparented_to_the_nearest_reaper,
        row_26_init_leads_its_own_session,
        row_27_init_keeps_no_file_of_the_runtime_while_created,
        row_35_standard_streams_are_the_callers,
        row_35_standard_input_is_the_callers,
        row_36_nobody_else_holds_the_streams_after_create,
        row_47_create_survives_a_closed_stderr,
        row_47_create_survives_a_broken_pipe,
        row_47_errors_survive_a_broken_pipe,
        row_105_version_survives_a_broken_pipe,
    ;
    Any [Setpriv]:
        row_24_init_outlives_a_caller_with_a_death_signal,
    ;
}

/// Opens many files in the calling shell and lets them be inherited.
const LEAK: &str = "exec 3</etc/passwd 4>/dev/null 7</etc 9</proc/self/ns/net";

/// A container whose program is a single process that opens nothing.
fn quiet(runtime: &Runtime) -> Container {
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/sleep", "1000"]);
    container
}

/// The program's files, once it has been executed.
fn files(process: Process) -> Vec<u32> {
    until("the program", || process.words().first().filter(|word| word.ends_with("sleep")).cloned());
    process.files().into_keys().collect()
}

fn lnx_1_only_the_standard_streams_are_open(runtime: &Runtime) {
    let container = quiet(runtime);
    container.create_call(&[]).after(LEAK).run().ok();
    container.start().ok();
    assert_eq!(files(container.process()), [0, 1, 2], "{:?}", container.process().files());
}

fn lnx_1_only_the_standard_streams_are_open_in_exec(runtime: &Runtime) {
    let container = quiet(runtime);
    container.run_detached().ok();
    let file = container.folder().join("pid");
    let words = ["exec", "--detach", "--pid-file", file.to_str().unwrap(), &container.id, "/bin/sleep", "1000"];
    container.settled(container.call(words).after(LEAK).run()).ok();
    let process = Process::new(fs::read_to_string(file).unwrap().parse().unwrap());
    assert_eq!(files(process), [0, 1, 2], "{:?}", process.files());
}

fn lnx_1_only_the_standard_streams_are_open_in_run(runtime: &Runtime) {
    let container = quiet(runtime);
    let running = container.run_call(&[]).after(LEAK).spawn();
    until("the container", || (container.state_call().code == Some(0)).then_some(()));
    container.wait_for("running");
    assert_eq!(files(container.process()), [0, 1, 2], "{:?}", container.process().files());
    container.kill("KILL").ok();
    running.wait().exits(137);
}

/// The container's first stream is on the same filesystem as its `/dev/null`.
fn has_own_null(container: &Container, setup: &str) {
    container.create_call(&[]).after(setup).run().ok();
    container.start().ok();
    let process = container.process();
    files(process);
    let device = |name: &str| {
        let path = process.path(name);
        let words = ["--dereference", "--format=%d:%i:%t:%T", path.to_str().unwrap()];
        container.host_call("stat").args(words).run().ok().text().to_string()
    };
    assert_eq!(device("fd/0"), device("root/dev/null"));
}

fn lnx_3_closed_stdin_is_the_containers_own_null(runtime: &Runtime) {
    has_own_null(&quiet(runtime), "exec <&-");
}

fn lnx_3_null_of_the_host_becomes_the_containers_own(runtime: &Runtime) {
    has_own_null(&quiet(runtime), "exec </dev/null");
}

fn row_24_init_outlives_a_caller_with_a_death_signal(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let script = "setpriv --pdeathsig KILL \"$@\"; exit $?";
    container.create_call(&[]).wrapped(["sh", "-c", script, "sh"]).run().ok();
    assert_eq!(container.status(), "created");
    container.call(["start", &container.id]).wrapped(["sh", "-c", script, "sh"]).run().ok();
    assert_eq!(container.status(), "running");
    assert!(container.process().is_alive());
}

fn row_25_init_is_reparented_to_the_nearest_reaper(runtime: &Runtime) {
    let container = Container::sh(runtime, "exit 5");
    container.create().ok();
    let process = container.process();
    assert_eq!(process.status("PPid"), Some(std::process::id().to_string()));
    container.start().ok();
    assert_eq!(container.reap(process.pid), 5);
}

fn row_26_init_leads_its_own_session(runtime: &Runtime) {
    let container = quiet(runtime);
    container.run_detached().ok();
    let process = container.process();
    files(process);
    let pid = process.pid.to_string();
    assert_eq!((process.stat(5), process.stat(6)), (Some(pid.clone()), Some(pid)));
}

fn row_27_init_keeps_no_file_of_the_runtime_while_created(runtime: &Runtime) {
    let container = quiet(runtime);
    container.create_call(&[]).after(LEAK).run().ok();
    let open = container.process().files();
    let leaked = ["/etc/passwd", "/etc"].map(PathBuf::from);
    assert!(!open.values().any(|path| leaked.contains(path)), "{open:?}");
    // Through /proc/PID/fd any other file of the host could be reached by who shares the pid namespace.
    let harmless = |path: &Path| {
        let text = path.to_string_lossy();
        path == Path::new("/") || path.ends_with("exec.fifo") || !text.starts_with('/') || text.starts_with("/memfd:")
    };
    let files: Vec<_> = open.iter().filter(|(number, path)| **number > 2 && !harmless(path)).collect();
    assert!(files.is_empty(), "{files:?}");
}

fn row_35_standard_streams_are_the_callers(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo to stdout; echo to stderr >&2; exec sleep 1000");
    container.run_detached().ok();
    assert_eq!(container.wait_stdout("\n"), "to stdout\n");
    until("stderr", || (container.stderr() == "to stderr\n").then_some(()));
}

fn row_35_standard_input_is_the_callers(runtime: &Runtime) {
    let container = Container::sh(runtime, "cat");
    assert_eq!(container.run_call(&[]).input("through\n").run().ok().stdout, "through\n");
    let container = Container::sh(runtime, "cat");
    container.record(container.create_call(&[]).input("later\n").run()).ok();
    container.start().ok();
    assert_eq!(container.wait_stdout("\n"), "later\n");
}

/// Who has the standard output of a call that has ended. A child of another test has what was open here when it was made,
/// until its execve is nearly over, and is waited for.
pub fn holders(output: &Output) -> Vec<i32> {
    let own = fs::read_link("/proc/self/exe").ok();
    let begins = |process: &Process| process.link("exe") == own || process.is_within_execve();
    let holds = |process: &Process| process.files().into_values().any(|path| path == output.stdout_file);
    until("no holder within execve", || {
        // In this order: who has come to its program has closed what was not meant for it.
        let looked_at = Process::all().into_iter().map(|process| (begins(&process), process));
        let found: Vec<(bool, Process)> = looked_at.filter(|(_, process)| holds(process)).collect();
        let settled = !found.iter().any(|(begins, _)| *begins);
        settled.then(|| found.iter().map(|(_, process)| process.pid).collect())
    })
}

fn row_36_nobody_else_holds_the_streams_after_create(runtime: &Runtime) {
    let container = quiet(runtime);
    let output = container.create().ok();
    assert_eq!(holders(&output), [container.pid()]);
    container.start().ok();
    assert_eq!(holders(&output), [container.pid()]);
}

/// A pipe without a reader.
fn broken_pipe() -> File {
    let (_, writer) = std::io::pipe().unwrap();
    File::from(OwnedFd::from(writer))
}

fn row_47_create_survives_a_closed_stderr(runtime: &Runtime) {
    let container = quiet(runtime);
    container.create_call(&[]).after("exec >&- 2>&-").run().ok();
    container.start().ok();
    assert_eq!(container.status(), "running");
}

fn row_47_create_survives_a_broken_pipe(runtime: &Runtime) {
    let container = quiet(runtime);
    container.create_call(&[]).stdout(broken_pipe()).stderr(broken_pipe()).run().ok();
    container.start().ok();
    assert_eq!(container.status(), "running");
}

fn row_47_errors_survive_a_broken_pipe(runtime: &Runtime) {
    let mut container = quiet(runtime);
    container.bundle.set("/process/args", json!(["/nowhere"]));
    let log = container.folder().join("log");
    let call = container.bare_call().arg("--root").arg(&container.root).arg("--log").arg(&log);
    let call = call.args(["--log-format", "json", "create", "--bundle"]).arg(container.bundle.path());
    let output = call.arg(&container.id).stdout(broken_pipe()).stderr(broken_pipe()).run();
    assert!(output.code.is_some_and(|code| code != 0), "{output}");
    assert!(fs::read_to_string(log).unwrap().contains("/nowhere"));
}

fn row_105_version_survives_a_broken_pipe(runtime: &Runtime) {
    let output = Container::new(runtime).bare_call().arg("--version").stdout(broken_pipe()).run();
    assert!(!output.stderr.contains("panicked"), "{output}");
    assert_ne!(output.code, Some(101));
}
