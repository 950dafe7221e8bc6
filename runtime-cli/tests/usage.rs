//! The program as its callers see it, as far as that needs no container: streams, log, exit code.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn runtime(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
    command.args(words).stdin(Stdio::null());
    command
}

fn output(words: &[&str]) -> Output {
    runtime(words).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs a command that has to fail, and returns its one line on standard error.
fn failure(words: &[&str]) -> String {
    failure_with(1, words)
}

/// The same with another code than 1.
fn failure_with(code: i32, words: &[&str]) -> String {
    let output = output(words);
    assert_eq!(output.status.code(), Some(code), "{words:?}");
    assert_eq!(text(&output.stdout), "", "{words:?}");
    let stderr = text(&output.stderr);
    assert_eq!(stderr.matches('\n').count(), 1, "{words:?}: {stderr}");
    stderr.trim_end().to_owned()
}

/// Runs a command that has to succeed without a word on standard error, and returns what it printed.
fn success(words: &[&str]) -> String {
    let output = output(words);
    assert_eq!(text(&output.stderr), "", "{words:?}");
    assert_eq!(output.status.code(), Some(0), "{words:?}");
    text(&output.stdout).to_owned()
}

/// A root directory that is not there. Nothing may make it.
const MISSING_ROOT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/missing-root");

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

// A foreground exec has the codes of its program; 255 is left for ours.
#[test]
fn failures_of_exec_have_a_code_of_their_own() {
    let exec = |words: &[&str]| failure_with(255, &[&["--root", MISSING_ROOT, "exec"], words].concat());
    for (words, text) in [
        (&["x", "sh"][..], "container does not exist"),
        (&["--process", "/nowhere", "x"], "read /nowhere: ENOENT"),
        (
            &["--cgroup", "a/../..", "x", "sh"],
            "--cgroup: bad sub cgroup path: it has to stay below the container's cgroup; leave out \"..\"",
        ),
    ] {
        assert_eq!(exec(words), format!("exec failed: {text}"));
    }
    // Here runc has 1: these are about the words.
    assert_eq!(failure(&["exec"]), "runtime: \"exec\" requires a minimum of 1 argument(s)");
    assert!(failure(&["exec", "--preserve-fds=x", "ID", "sh"]).contains("--preserve-fds"));
    assert!(failure(&["ps", "--format=x", "ID"]).starts_with("invalid format option"));
}

// RT-38, and rows 49, 50, 52 and 53 of the engines' checklist.
#[test]
fn every_failure_is_in_the_log_and_on_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let (root, log) = (dir.path().join("root"), dir.path().join("log"));
    let globals = ["--root", path(&root), "--log", path(&log), "--log-format", "json"];
    let failing: [&[&str]; 10] = [
        &["create"],
        &["create", "--foo", "x"],
        &["create", "--bundle"],
        &["create", "--preserve-fds=many", "x"],
        &["create", "--bundle", "/nonexistent/bundle", "x"],
        &["checkpoint", "x"],
        &["state", "x"],
        &["start", "x"],
        &["kill", "x", "NOSUCHSIGNAL"],
        &["delete", "a/b"],
    ];
    for (count, words) in failing.iter().enumerate() {
        let line = failure(&[&globals[..], words].concat());
        let text = fs::read_to_string(&log).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(
            (text.lines().count(), last["level"].as_str(), last["msg"].as_str()),
            (count + 1, Some("error"), Some(line.as_str()))
        );
        assert!(last["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{last}");
    }
    assert!(!root.exists());
}

// RT-42 and RT-65.
#[test]
fn a_missing_container_is_called_so() {
    for words in [&["state", "x"][..], &["start", "x"], &["kill", "x"], &["kill", "-a", "x", "9"], &["delete", "x"]] {
        let line = failure(&[&["--root", MISSING_ROOT], words].concat());
        assert!(line.contains("container does not exist"), "{words:?}: {line}");
    }
    assert_eq!(success(&["--root", MISSING_ROOT, "delete", "--force", "x"]), "");
    assert!(!Path::new(MISSING_ROOT).exists());
}

#[test]
fn an_empty_list_is_a_head_or_an_empty_array() {
    let root = tempfile::tempdir().unwrap();
    let list = |words: &[&str]| success(&[&["--root", path(root.path()), "list"], words].concat());
    assert_eq!(list(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    assert_eq!(list(&["--format=json"]), "[]\n");
    assert_eq!(list(&["-q"]), "");
    // list.bats of runc: a root that was named has to be there.
    assert_eq!(failure(&["--root", MISSING_ROOT, "list"]), format!("list {MISSING_ROOT}: ENOENT"));
    assert!(failure(&["list", "--format", "xml"]).contains("invalid format option"));
}

// FEAT-1 and row 46: CRI-O reads both streams.
#[test]
fn questions_about_the_program_are_answered_on_standard_output() {
    assert!(success(&["--version"]).starts_with("runtime version "));
    let features: Value = serde_json::from_str(&success(&["features"])).unwrap();
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string());
    assert!(success(&["create", "--help"]).contains("--pid-file <FILE>"));
    assert_eq!(success(&[]), success(&["help"]));
    // Podman and CRI-O take success for "checkpoints are supported".
    assert!(failure(&["checkpoint", "--help"]).starts_with("unknown command"));
}

#[test]
fn later_features_are_refused_by_name() {
    assert!(failure(&["--systemd-cgroup", "create", "x"]).starts_with("--systemd-cgroup: "));
}

// Row 47.
#[test]
fn a_reader_that_has_gone_changes_nothing() {
    let mut child = runtime(&["features"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let read_only = || File::open("/dev/null").unwrap();
    assert_eq!(runtime(&["features"]).stdout(read_only()).stderr(read_only()).status().unwrap().code(), Some(0));
    assert_eq!(
        runtime(&["--root", MISSING_ROOT, "state", "x"])
            .stdout(read_only())
            .stderr(read_only())
            .status()
            .unwrap()
            .code(),
        Some(1)
    );
}

#[test]
fn a_template_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(success(&["spec", "--bundle", path(dir.path())]), "");
    let spec = fs::read_to_string(dir.path().join("config.json")).unwrap();
    assert!(spec.starts_with("{\n\t\"") && spec.ends_with("}\n"));
    assert_eq!(failure(&["spec", "-b", path(dir.path())]), "File config.json exists. Remove it first");
    assert_eq!(failure(&["spec", "-b", "/nonexistent"]), "write /nonexistent/config.json: ENOENT");
}

#[test]
fn the_log_format_is_checked_before_the_log_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    assert_eq!(failure(&["--log", path(&log), "--log-format", "xml", "state", "x"]), "invalid log-format: xml");
    assert!(!log.exists());
    failure(&["--log", path(&log), "--root", MISSING_ROOT, "state", "x"]);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("time=\"2") && text.ends_with("level=error msg=\"container does not exist\"\n"), "{text}");
    // With no file the log is standard error, where an error is written once.
    let line: Value =
        serde_json::from_str(&failure(&["--log-format", "json", "--root", MISSING_ROOT, "state", "x"])).unwrap();
    assert_eq!(line["msg"], "container does not exist");
    assert!(
        failure(&["--log", "/nonexistent/log", "--root", MISSING_ROOT, "state", "x"])
            .starts_with("container does not exist (this could not")
    );
}

// peers.md 1.7: crun's way to name several containers.
#[test]
fn regular_expressions_are_checked_before_anything_is_done() {
    for words in [&["kill", "--regex", "web("][..], &["delete", "-r", "-f", "web("]] {
        let line = failure(&[&["--root", MISSING_ROOT], words].concat());
        assert_eq!(line, "--regex: \"web(\" is no regular expression: unclosed group");
    }
    assert_eq!(success(&["--root", MISSING_ROOT, "delete", "--regex", "."]), "");
    assert_eq!(success(&["--root", MISSING_ROOT, "kill", "--regex", ".", "KILL"]), "");
}
