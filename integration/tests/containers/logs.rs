//! What a failing command says: stderr, `--log` and the phrases that engines look for.

use integration::{Container, Output, Runtime};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

cases! {
    Any:
        rt_38_errors_are_one_line_on_stderr,
        rt_38_success_is_silent,
        row_46_success_is_silent_in_the_log,
        row_49_failure_is_exit_code_1,
        row_50_one_json_object_per_failure,
        row_50_log_is_appended_to,
        row_50_time_is_rfc_3339,
        row_50_text_log_is_the_default,
        row_51_no_other_level_without_debug,
        row_52_stderr_has_the_same_text,
        row_52_message_stays_below_8192_bytes,
        row_53_message_is_one_line_without_colours,
        row_54_unknown_container,
        row_55_signal_to_a_stopped_container,
        row_56_program_missing_in_path,
        row_56_program_missing_at_its_path,
        row_56_interpreter_missing,
        row_57_program_not_executable,
        row_58_program_is_a_directory,
        row_58_mount_onto_the_wrong_kind,
        row_59_missing_program_writes_no_pid_file,
        row_60_other_errors_avoid_the_engines_words,
        row_62_used_id,
        peer_48_unknown_log_format_is_refused,
        peer_48_debug_lines_are_json_too,
    ;
}

/// Makes a call with `--log FILE --log-format json`; returns it and the objects in the file.
fn logged(container: &Container, words: &[&str]) -> (Output, Vec<Value>) {
    let log = container.folder().join("log.json");
    let globals = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let call = container.bare_call().arg("--root").arg(&container.root).args(globals).args(words);
    let output = call.run();
    let text = fs::read_to_string(&log).unwrap_or_default();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (output, text.lines().map(parse).collect())
}

/// A call of each verb that fails, with the container it is about.
fn failures(container: &Container) -> Vec<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let (id, bundle) = (container.id.as_str(), container.bundle.path().to_str().unwrap());
    vec![
        words(&["state", id]),
        words(&["start", id]),
        words(&["kill", id, "TERM"]),
        words(&["delete", id]),
        words(&["create", "--bundle", bundle, "in/valid"]),
        words(&["run", "--bundle", "/nowhere/at/all", id]),
    ]
}

/// Every failing call, with its log.
fn every_failure(runtime: &Runtime, judge: impl Fn(Output, Vec<Value>)) {
    let container = Container::new(runtime);
    for words in failures(&container) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _ = fs::remove_file(container.folder().join("log.json"));
        let (output, log) = logged(&container, &words);
        judge(output.fails(), log);
    }
}

fn rt_38_errors_are_one_line_on_stderr(runtime: &Runtime) {
    let container = Container::new(runtime);
    for words in failures(&container) {
        let output = container.call(&words).run().fails();
        assert_eq!(output.stderr.trim_end().lines().count(), 1, "{output}");
        assert!(output.stdout.is_empty(), "{output}");
    }
}

fn rt_38_success_is_silent(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok().silent();
    container.start().ok().silent();
    container.call(["pause", &container.id]).run().ok().silent();
    container.call(["resume", &container.id]).run().ok().silent();
    container.kill("KILL").ok().silent();
    container.wait_for("stopped");
    container.delete().ok().silent();
    container.run_detached().ok().silent();
    container.delete_force().ok().silent();
}

fn row_46_success_is_silent_in_the_log(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let bundle = container.bundle.path().to_str().unwrap();
    let id = container.id.as_str();
    for words in [&["create", "--bundle", bundle, id][..], &["start", id], &["kill", id, "9"]] {
        let (output, log) = logged(&container, words);
        output.ok().silent();
        assert_eq!(log, Vec::<Value>::new());
    }
    container.wait_for("stopped");
    let (output, log) = logged(&container, &["delete", id]);
    output.ok().silent();
    assert_eq!(log, Vec::<Value>::new());
}

fn row_49_failure_is_exit_code_1(runtime: &Runtime) {
    every_failure(runtime, |output, _| drop(output.exits(1)));
}

fn row_50_one_json_object_per_failure(runtime: &Runtime) {
    every_failure(runtime, |output, log| {
        assert_eq!(log.len(), 1, "{log:?}\n{output}");
        assert_eq!(log[0]["level"], "error", "{log:?}");
        assert!(!log[0]["msg"].as_str().unwrap().is_empty(), "{log:?}");
    });
}

fn row_50_log_is_appended_to(runtime: &Runtime) {
    let container = Container::new(runtime);
    for count in 1..=3 {
        let (_, log) = logged(&container, &["state", &container.id]);
        assert_eq!(log.len(), count);
    }
}

fn row_50_time_is_rfc_3339(runtime: &Runtime) {
    every_failure(runtime, |_, log| {
        let time = log[0]["time"].as_str().expect("a time");
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let rest = shape.strip_prefix("0000-00-00T00:00:00").expect(time);
        let zone = rest.strip_prefix('.').map_or(rest, |fraction| fraction.trim_start_matches('0'));
        assert!(matches!(zone, "Z" | "+" | "-") || zone.len() == 6, "{time}");
    });
}

fn row_50_text_log_is_the_default(runtime: &Runtime) {
    let container = Container::new(runtime);
    let log = container.folder().join("log");
    let globals = ["--log", log.to_str().unwrap()];
    container.bare_call().arg("--root").arg(&container.root).args(globals).args(["state", &container.id]).run().fails();
    let text = fs::read_to_string(log).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(serde_json::from_str::<Value>(&text).is_err() && text.contains("exist"), "{text}");
}

fn row_51_no_other_level_without_debug(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.args(["/nowhere"]).push("/process/capabilities/bounding", json!("CAP_FOO"));
    let bundle = container.bundle.path().to_str().unwrap();
    let (output, log) = logged(&container, &["create", "--bundle", bundle, &container.id]);
    output.fails();
    let levels: Vec<_> = log.iter().map(|entry| entry["level"].as_str().unwrap()).collect();
    assert_eq!(levels.last(), Some(&"error"), "{log:?}");
    assert_eq!(levels.iter().filter(|level| **level == "error").count(), 1, "{log:?}");
    assert!(!levels.iter().any(|level| ["debug", "info"].contains(level)), "{log:?}");
}

fn row_52_stderr_has_the_same_text(runtime: &Runtime) {
    every_failure(runtime, |output, log| {
        let message = log[0]["msg"].as_str().unwrap();
        assert!(output.stderr.contains(message), "{message}\n{output}");
    });
}

fn row_52_message_stays_below_8192_bytes(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.args([format!("/{}", "nowhere/".repeat(500)), "x".repeat(20_000)]);
    let output = container.create().fails();
    assert!(output.stderr.len() < 8192, "{} bytes", output.stderr.len());
    container.bundle.args(["y".repeat(20_000)]);
    let output = container.create().fails();
    assert!(output.stderr.len() < 8192, "{} bytes", output.stderr.len());
}

fn row_53_message_is_one_line_without_colours(runtime: &Runtime) {
    every_failure(runtime, |output, _| {
        assert_eq!(output.stderr.trim_end().lines().count(), 1, "{output}");
        assert!(!output.stderr.contains('\u{1b}'), "{output:?}");
        assert!(!output.stderr.contains("Caused by"), "{output}");
    });
}

fn row_54_unknown_container(runtime: &Runtime) {
    let container = Container::new(runtime);
    let id = container.id.as_str();
    let verbs = [
        &["state", id][..],
        &["start", id],
        &["kill", id, "TERM"],
        &["delete", id],
        &["pause", id],
        &["resume", id],
        &["exec", id, "true"],
        &["ps", id],
    ];
    for words in verbs {
        container.call(words).run().fails_with("container does not exist");
    }
}

fn row_55_signal_to_a_stopped_container(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.run_detached().ok();
    container.wait_for("stopped");
    for signal in ["KILL", "TERM"] {
        container.kill(signal).fails_with("container not running");
    }
}

/// Both `create` and `run` of the program fail with this text, and nothing is created.
fn program_fails(container: &Container, text: &str) {
    container.create().fails_with(text);
    container.state_call().fails();
    container.run().fails_with(text);
}

fn row_56_program_missing_in_path(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.args(["no-such-program"]);
    program_fails(&container, "executable file not found in $PATH");
    program_fails(&container, "no-such-program");
}

fn row_56_program_missing_at_its_path(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.args(["/no/such/program"]);
    program_fails(&container, "/no/such/program");
    program_fails(&container, "no such file or directory");
}

fn row_56_interpreter_missing(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.file("/script", "#!/no/such/interpreter\n", 0o755);
    container.bundle.args(["/script"]);
    let mut output = container.create();
    if output.code == Some(0) {
        // The kernel finds out only when the program is executed.
        output = container.start();
    }
    if output.code == Some(0) {
        container.wait_for("stopped");
    } else {
        output.fails_with("no such file or directory");
    }
}

fn row_57_program_not_executable(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.file("/data", "no program", 0o644);
    container.bundle.args(["/data"]);
    program_fails(&container, "permission denied");
}

fn row_58_program_is_a_directory(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.args(["/etc"]);
    program_fails(&container, "is a directory");
}

fn row_58_mount_onto_the_wrong_kind(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let file = container.bundle.file("/data", "a file", 0o644);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    container.bundle.mount("/tmp", "bind", file.to_str().unwrap(), &["bind"]);
    program_fails(&container, "not a directory");
}

fn row_59_missing_program_writes_no_pid_file(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let file = container.folder().join("pid");
    container.bundle.args(["no-such-program"]);
    container.create_with(&["--pid-file", file.to_str().unwrap()]).fails();
    assert!(!file.exists());
}

fn row_60_other_errors_avoid_the_engines_words(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let id = container.id.as_str();
    let bundle = container.bundle.path().to_str().unwrap();
    let verbs = [
        &["delete", id][..],
        &["start", id],
        &["kill", id, "SIGFOO"],
        &["resume", id],
        &["create", "--bundle", bundle, id],
        &["create", "--bundle", bundle, "in/valid"],
        &["create", "--no-such-option", id],
    ];
    for words in verbs {
        let output = container.call(words).run().fails();
        for phrase in ["does not exist", "no such process", "not found", "permission denied", "no such file"] {
            assert!(!output.stderr.to_lowercase().contains(phrase), "{phrase:?}\n{output}");
        }
    }
}

fn row_62_used_id(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    container.create().fails_with("container with given ID already exists");
    container.run().fails_with("container with given ID already exists");
}

fn peer_48_unknown_log_format_is_refused(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.bare_call().args(["--log-format", "strange", "list"]).run().fails_with("log");
}

fn peer_48_debug_lines_are_json_too(runtime: &Runtime) {
    let container = Container::new(runtime);
    let (output, log) = logged(&container, &["--debug", "state", &container.id]);
    output.fails();
    let errors = log.iter().filter(|entry| entry["level"] == "error").count();
    assert_eq!(errors, 1, "{log:?}");
    assert!(log.iter().all(|entry| entry["msg"].is_string() && entry["time"].is_string()), "{log:?}");
}
