//! Streams and terminals, as Docker's shim and Podman's conmon give them to the runtime.

use integration::{Engine, Pty};

cases! {
    Engines:
        row_35_docker_streams,
        row_35_podman_streams,
        row_35_docker_standard_input,
        row_35_podman_standard_input,
        row_35_docker_exec_streams,
        row_35_podman_exec_streams,
        row_36_docker_logs,
        row_36_podman_logs,
        row_37_docker_terminal,
        row_37_podman_terminal,
        row_38_docker_exec_terminal,
        row_38_podman_exec_terminal,
        row_42_docker_size_of_the_terminal,
        row_42_podman_size_of_the_terminal,
        row_42_docker_size_of_the_terminal_of_exec,
        row_42_podman_size_of_the_terminal_of_exec,
    ;
}

with_both! {
    row_35_docker_streams, row_35_podman_streams: streams;
    row_35_docker_standard_input, row_35_podman_standard_input: standard_input;
    row_35_docker_exec_streams, row_35_podman_exec_streams: exec_streams;
    row_36_docker_logs, row_36_podman_logs: logs;
    row_37_docker_terminal, row_37_podman_terminal: terminal;
    row_38_docker_exec_terminal, row_38_podman_exec_terminal: exec_terminal;
    row_42_docker_size_of_the_terminal, row_42_podman_size_of_the_terminal: size;
    row_42_docker_size_of_the_terminal_of_exec, row_42_podman_size_of_the_terminal_of_exec: exec_size;
}

const OUT_AND_ERR: [&str; 3] = ["sh", "-c", "echo out; echo err >&2"];

/// The engines tell the size after the start.
const WAIT_FOR_SIZE: [&str; 3] = ["sh", "-c", "until stty size 2>/dev/null | grep '33 77'; do sleep 0.1; done"];

fn streams(engine: Engine) {
    let output = engine.run(&[], &OUT_AND_ERR).ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

fn standard_input(engine: Engine) {
    let call = engine.call("run").args(["--rm", "--interactive", integration::engine::IMAGE, "cat"]);
    assert_eq!(call.input("some words\n").run().ok().stdout, "some words\n");
}

fn exec_streams(engine: Engine) {
    let container = engine.sleeping(&[]);
    let output = container.exec(&[], &OUT_AND_ERR).ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    let call = container.call("exec", &["--interactive"]).arg("cat");
    assert_eq!(call.input("some words\n").run().ok().stdout, "some words\n");
}

fn logs(engine: Engine) {
    let container = engine.detached(&[], &OUT_AND_ERR);
    assert_eq!(container.wait(), "0");
    let logs = container.call("logs", &[]).run().ok();
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
}

fn terminal(engine: Engine) {
    let output = engine.run(&["--tty"], &["sh", "-c", "tty; ls -l /dev/console"]).ok();
    assert!(output.stdout.starts_with("/dev/pts/0\r\ncrw"), "{output}");
}

fn exec_terminal(engine: Engine) {
    let output = engine.sleeping(&[]).exec(&["--tty"], &["tty"]).ok();
    assert_eq!(output.stdout, "/dev/pts/0\r\n");
}

/// Runs `call` in a terminal of 33 rows with 77 columns, until it ends.
fn in_terminal(call: integration::Call) {
    let (pty, other) = Pty::pair(33, 77);
    let again = || other.try_clone().expect("the terminal once more");
    let running = call.stdin(again()).stdout(again()).spawn();
    pty.wait_for("33 77");
    running.wait().ok();
}

fn size(engine: Engine) {
    let call = engine.call("run").args(["--rm", "--interactive", "--tty", integration::engine::IMAGE]);
    in_terminal(call.args(WAIT_FOR_SIZE));
}

fn exec_size(engine: Engine) {
    let container = engine.sleeping(&[]);
    in_terminal(container.call("exec", &["--interactive", "--tty"]).args(WAIT_FOR_SIZE));
}
