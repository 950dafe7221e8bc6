//! The engines' own tests of an error's text, put to our errors.

#![forbid(unsafe_code)]

use runtime_core::{ConfigPath, Problem, Side, StateProblem, Status};

use super::*;

/// What `checkKillError` of the containerd shim makes of the text.
fn containerd_kill(text: &str) -> &'static str {
    let lower = text.to_lowercase();
    if text.contains("os: process already finished")
        || text.contains("container not running")
        || lower.contains("no such process")
    {
        "process already finished"
    } else if text.contains("does not exist") {
        "no such container"
    } else {
        "unknown error after kill"
    }
}

/// Whether the delete of the containerd shim takes the error for success.
fn containerd_delete_is_ok(text: &str) -> bool {
    text.contains("does not exist")
}

/// Whether `runtimeCmd` of CRI-O takes the container for gone.
fn crio_gone(text: &str) -> bool {
    ["no such process", "container not running", "invalid process"].iter().any(|phrase| text.contains(phrase))
}

/// The exit code of `docker run`, by `setExitCodeFromError` of moby.
fn docker_code(text: &str) -> u8 {
    let text = text.to_lowercase();
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if has(&["permission denied", "is a directory"]) {
        126
    } else if has(&["not a directory"])
        || has(&[
            "executable file not found",
            "no such file or directory",
            "system cannot find the file specified",
            "failed to run runc create/exec call",
        ])
    {
        127
    } else {
        128
    }
}

/// The exit code of `podman run`, by `getOCIRuntimeError` and the class of its result. The expressions see one line.
fn podman_code(text: &str) -> u8 {
    assert!(!text.contains('\n'));
    let text = text.to_lowercase();
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if has(&["permission denied", "operation not permitted"]) {
        126
    } else if has(&["executable file not found in", "no such file or directory", "open executable"])
        || has(&["not found", "executable path is empty", "no such file"])
    {
        127
    } else {
        126
    }
}

fn program(doing: &str, errno: Errno) -> String {
    let mut step = StepError::new(doing, "look-up of the program", errno as i32);
    step.origin = Some(ConfigPath::new("process.args"));
    step.side = Side::Init;
    Failure::from(Error::from(step)).to_string()
}

/// What the text ends with: for a program that was found, the line that people know from runc.
fn phrase_of(doing: &str, words: &str) -> String {
    match doing.strip_prefix("execute ") {
        Some(program) => format!("exec {program}: {words}"),
        None => words.to_owned(),
    }
}

fn state(problem: StateProblem) -> String {
    Failure::from(Error::State { id: "web".to_owned(), problem }).to_string()
}

fn unfit(verb: &'static str, status: Status) -> String {
    state(StateProblem::Status { verb, status })
}

// Rows 56 to 58.
#[test]
fn programs_that_cannot_be_run() {
    let bare = program("find nope", Errno::ENOENT);
    assert!(bare.ends_with(": executable file not found in $PATH"), "{bare}");
    assert!(program("find ", Errno::ENOENT).ends_with(": executable file not found in $PATH"));
    assert_eq!((docker_code(&bare), podman_code(&bare)), (127, 127));
    for (doing, errno, phrase, docker, podman) in [
        ("find /bin/nope", Errno::ENOENT, "no such file or directory", 127, 127),
        ("find ./nope", Errno::ENOENT, "no such file or directory", 127, 127),
        ("find /etc/passwd", Errno::EACCES, "permission denied", 126, 126),
        ("execute script", Errno::ENOENT, "no such file or directory", 127, 127),
        ("execute script", Errno::EPERM, "operation not permitted", 128, 126),
        ("find /etc", Errno::EISDIR, "is a directory", 126, 126),
        ("find /etc/passwd/x", Errno::ENOTDIR, "not a directory", 127, 126),
        ("execute text", Errno::ENOEXEC, "exec format error", 128, 126),
    ] {
        let text = program(doing, errno);
        assert!(text.contains(doing) && text.contains(&phrase_of(doing, phrase)), "{text}");
        assert_eq!((docker_code(&text), podman_code(&text)), (docker, podman), "{text}");
    }
}

// Rows 54, 55 and 62.
#[test]
fn containers_that_are_not_as_expected() {
    let missing = state(StateProblem::DoesNotExist);
    assert!(missing.contains("container does not exist"));
    assert_eq!(containerd_kill(&missing), "no such container");
    assert!(containerd_delete_is_ok(&missing));
    let duplicate = state(StateProblem::AlreadyExists);
    assert!(duplicate.contains("container with given ID already exists"));
    let stopped = unfit("kill", Status::Stopped);
    assert_eq!(containerd_kill(&stopped), "process already finished");
    assert!(crio_gone(&stopped));
    assert!(unfit("start", Status::Stopped).ends_with("cannot start a container that has stopped"));
    assert!(unfit("start", Status::Running).ends_with("cannot start an already running container"));
}

#[test]
fn a_signal_that_comes_too_late() {
    let text =
        Failure::from(Error::from(StepError::new("send SIGTERM to 7", "pidfd_send_signal", Errno::ESRCH as i32)))
            .to_string();
    assert!(crio_gone(&text), "{text}");
    assert_eq!(containerd_kill(&text), "process already finished");
}

// Row 60: what is none of the above must not look like it.
#[test]
fn other_errors_are_not_mistaken() {
    let texts = [
        state(StateProblem::NotStopped { id: "web".to_owned(), status: Status::Running }),
        unfit("start", Status::Paused),
        state(StateProblem::Newer { path: "/run/runtime/web/state.json".into(), what: "version 9".to_owned() }),
        state(StateProblem::InvalidId("a b".to_owned())),
        state(StateProblem::NoProcess),
        Failure::from(Error::Config {
            at: ConfigPath::new("root"),
            problem: Problem::Missing { expected: "an object".into() },
        })
        .to_string(),
        Failure::from(Error::from(StepError::new("mount tmpfs on /run", "move_mount", Errno::EINVAL as i32)))
            .to_string(),
        Failure::file("write the pid file", Path::new("/x/pid"), &std::io::Error::from_raw_os_error(2)).to_string(),
        Failure::file("write the pid file", Path::new("/x/pid"), &std::io::Error::from_raw_os_error(13)).to_string(),
    ];
    for text in texts {
        assert_eq!((docker_code(&text), podman_code(&text)), (128, 126), "{text}");
        assert!(!crio_gone(&text) && containerd_kill(&text) == "unknown error after kill", "{text}");
        assert!(!containerd_delete_is_ok(&text));
    }
}

#[test]
fn a_phrase_is_not_said_twice() {
    let mut step = StepError::new("find x", "faccessat2", Errno::EACCES as i32);
    step.origin = Some(ConfigPath::new("process.args"));
    step.detail = Some("the file system is mounted noexec".to_owned());
    let text = Failure::from(Error::from(step)).to_string();
    assert_eq!(text.matches("permission denied").count(), 1, "{text}");
}
