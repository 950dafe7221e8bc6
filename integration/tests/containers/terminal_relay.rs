//! A terminal in the foreground: the caller's is joined with that of the process, and is as before afterwards.

use integration::{Call, Container, Process, Pty, Running, Runtime, Snapshot, until};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, Termios};
use serde_json::json;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

cases! {
    Any:
        row_40_run_joins_the_terminals,
        row_40_the_size_follows_the_callers,
        row_40_every_byte_passes,
        row_40_the_callers_terminal_is_raw_meanwhile,
        row_40_the_callers_terminal_is_restored_after_any_end,
        row_40_the_callers_terminal_is_restored_after_an_error,
        row_40_output_that_is_no_terminal_has_plain_lines,
        row_40_nothing_of_the_output_is_lost,
        row_40_input_that_is_no_terminal,
        row_40_the_controlling_terminal_is_found_behind_redirections,
        row_40_without_any_terminal_run_is_refused,
        row_40_nothing_turns_in_circles,
        row_40_a_terminal_that_was_closed_is_opened_again,
        row_40_a_reader_who_goes_hangs_up,
        row_40_a_reader_who_sleeps_holds_up_no_signal,
        row_40_a_caller_whose_terminal_goes_hangs_up,
        row_40_children_who_keep_the_terminal_hold_up_nothing,
        row_40_exec_joins_the_terminals,
        row_40_exec_with_input_that_is_no_terminal,
        row_41_run_with_a_terminal_exits_with_the_programs_code,
        row_41_exec_with_a_terminal_exits_with_the_programs_code,
        peer_37_signals_are_forwarded_with_a_terminal,
    ;
}

/// A container with a terminal whose program runs `script`.
fn with_terminal(runtime: &Runtime, script: &str) -> Container {
    let mut container = Container::sh(runtime, script);
    container.bundle.set("/process/terminal", json!(true));
    container
}

/// Runs it in the foreground on a terminal of 33 rows and 111 columns.
fn on_terminal(container: &Container) -> (Pty, File, Running) {
    let (pty, terminal) = Pty::pair(33, 111);
    let running = container.run_call(&[]).on(&terminal).spawn();
    (pty, terminal, running)
}

fn row_40_run_joins_the_terminals(runtime: &Runtime) {
    let container = with_terminal(runtime, "tty; echo ready; read line; echo got $line; stty -echo; echo quiet; read line; echo $line");
    let (pty, _terminal, running) = on_terminal(&container);
    pty.wait_for("/dev/pts/0\r\nready\r\n");
    pty.type_in("one\n");
    // Echoed once, by the terminal of the container.
    pty.wait_for("ready\r\none\r\ngot one\r\nquiet\r\n");
    pty.type_in("two\n");
    running.wait().ok();
    assert_eq!(pty.seen(), "/dev/pts/0\r\nready\r\none\r\ngot one\r\nquiet\r\ntwo\r\n");
}

fn row_40_the_size_follows_the_callers(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "stty size; trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done");
    // As in runc, where the caller has a terminal its size counts.
    container.bundle.set("/process/consoleSize", json!({"height": 1, "width": 2}));
    let (pty, _terminal, _running) = on_terminal(&container);
    let seen = pty.wait_for("ready\r\n");
    assert_eq!(seen, "33 111\r\nready\r\n");
    for (rows, columns) in [(40, 120), (20, 60), (50, 80)] {
        pty.resize(rows, columns);
        pty.wait_for(&format!("\r\n{rows} {columns}\r\n"));
    }
}

fn row_40_every_byte_passes(runtime: &Runtime) {
    // Raw in the container: nothing that is typed has a meaning there, and nothing that is printed is changed.
    let container = with_terminal(runtime, "stty raw -echo; printf 'ready\\n'; head -c 6 | od -An -tx1; printf 'a\\nb'");
    let (pty, _terminal, running) = on_terminal(&container);
    pty.wait_for("ready\n");
    pty.type_in("\x03\x04\x1a\x1c\r\x7f");
    running.wait().ok();
    let seen = pty.seen();
    assert!(seen.contains("03 04 1a 1c 0d 7f"), "{seen:?}");
    assert!(seen.ends_with("a\nb"), "{seen:?}");
}

fn is_raw(settings: &Termios) -> bool {
    !settings.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
}

fn row_40_the_callers_terminal_is_raw_meanwhile(runtime: &Runtime) {
    let container = with_terminal(runtime, "echo ready; sleep 1000");
    let (pty, _terminal, running) = on_terminal(&container);
    let before = Pty::pair(1, 1).0.settings();
    assert!(!is_raw(&before));
    pty.wait_for("ready\r\n");
    assert!(is_raw(&pty.settings()));
    container.kill("KILL").ok();
    running.wait().exits(137);
    assert_eq!(pty.settings(), before);
}

fn row_40_the_callers_terminal_is_restored_after_any_end(runtime: &Runtime) {
    let before = Pty::pair(1, 1).0.settings();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let mut container = with_terminal(runtime, "echo ready; exec sleep 1000");
        // The first process of a pid namespace is spared by signals that it has no handler for.
        container.bundle.without_namespace("pid");
        let (pty, _terminal, running) = on_terminal(&container);
        pty.wait_for("ready\r\n");
        running.signal(signal);
        running.wait().exits(128 + signal as i32);
        assert_eq!(pty.settings(), before, "{signal}");
    }
    let container = with_terminal(runtime, "exit 3");
    let (pty, _terminal, running) = on_terminal(&container);
    running.wait().exits(3);
    assert_eq!(pty.settings(), before);
}

fn row_40_the_callers_terminal_is_restored_after_an_error(runtime: &Runtime) {
    let before = Pty::pair(1, 1).0.settings();
    let mut container = with_terminal(runtime, "");
    let snapshot = Snapshot::take(&container);
    container.bundle.args(["/no/such/program"]);
    let (pty, _terminal, running) = on_terminal(&container);
    assert_ne!(running.wait().code, Some(0));
    pty.wait_for("/no/such/program");
    assert_eq!(pty.settings(), before);
    // `start` fails, with everything joined.
    container.bundle.sh("true").set("/hooks/startContainer", json!([{"path": "/bin/false"}]));
    let (pty, _terminal, running) = on_terminal(&container);
    assert_ne!(running.wait().code, Some(0));
    pty.wait_for("startContainer");
    assert_eq!(pty.settings(), before);
    snapshot.assert_unchanged(&container);
}

/// A session with a controlling terminal that no stream is.
fn behind_redirections(call: Call, terminal: &File) -> Call {
    let script = "exec \"$@\" </dev/null >/dev/null 2>/dev/null";
    call.wrapped(["setsid", "--ctty", "sh", "-c", script, "sh"]).stdin(terminal.try_clone().unwrap())
}

fn row_40_output_that_is_no_terminal_has_plain_lines(runtime: &Runtime) {
    let container = with_terminal(runtime, "test -t 1 && echo a; echo b >&2");
    let (pty, terminal) = Pty::pair(33, 111);
    let output = container.run_call(&[]).wrapped(["setsid", "--ctty"]).stdin(terminal.try_clone().unwrap()).run().ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("a\nb\n", ""));
    assert_eq!(pty.seen(), "");
}

fn row_40_nothing_of_the_output_is_lost(runtime: &Runtime) {
    // More than the terminal and the pipes hold back, up to the last byte before the end.
    let container = with_terminal(runtime, "seq 1 30000");
    let (_pty, terminal) = Pty::pair(33, 111);
    let output = container.run_call(&[]).wrapped(["setsid", "--ctty"]).stdin(terminal.try_clone().unwrap()).run().ok();
    let lines: Vec<u32> = output.stdout.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(lines, (1..=30_000).collect::<Vec<_>>());
    // The end alone, many times: it must not be overtaken by the end of the program.
    for _ in 0..10 {
        let container = with_terminal(runtime, "echo last words");
        let (pty, terminal, running) = on_terminal(&container);
        running.wait().ok();
        drop(terminal);
        assert_eq!(pty.seen(), "last words\r\n");
    }
}

fn row_40_input_that_is_no_terminal(runtime: &Runtime) {
    let container = with_terminal(runtime, "stty size; read line; echo got $line");
    let (pty, terminal) = Pty::pair(33, 111);
    let stream = || terminal.try_clone().unwrap();
    // The size is that of standard output; the terminal of the caller is none of the input and stays as it is.
    let mut running = container.run_call(&[]).input("one\n").stdout(stream()).stderr(stream()).spawn();
    until("the answer", || pty.seen().contains("got one\r\n").then_some(()));
    assert!(pty.seen().contains("33 111\r\n"), "{:?}", pty.seen());
    until("the end", || running.has_ended().then_some(()));
    running.wait().ok();
    assert_eq!(pty.settings(), Pty::pair(1, 1).0.settings());
}

fn row_40_the_controlling_terminal_is_found_behind_redirections(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "stty size >/tmp/size; exit 4");
    container.bundle.writable();
    let (_pty, terminal) = Pty::pair(33, 111);
    behind_redirections(container.run_call(&[]), &terminal).run().exits(4);
    assert_eq!(fs::read_to_string(container.bundle.inside("/tmp/size")).unwrap(), "33 111\n");
}

fn row_40_without_any_terminal_run_is_refused(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "sleep 1000");
    let before = Snapshot::take(&container);
    container.run_call(&[]).wrapped(["setsid"]).run().fails_with("/dev/tty");
    before.assert_unchanged(&container);
    container.bundle.set("/process/terminal", json!(false));
    container.run_detached().ok();
    container.call(["exec", "-t", &container.id, "true"]).wrapped(["setsid"]).run().fails_with("/dev/tty");
}

/// How long a process has worked, in hundredths of a second.
fn work(pid: i32) -> u64 {
    let process = Process::new(pid);
    [14, 15].map(|field| process.stat(field).unwrap().parse::<u64>().unwrap()).iter().sum()
}

fn row_40_nothing_turns_in_circles(runtime: &Runtime) {
    // Everybody has closed the terminal, and the input is at its end.
    let container = with_terminal(runtime, "echo ready; exec <&- >&- 2>&-; trap '' HUP; exec sleep 1000");
    let (pty, terminal) = Pty::pair(33, 111);
    let stream = || terminal.try_clone().unwrap();
    let running = container.run_call(&[]).wrapped(["setsid"]).stdout(stream()).stderr(stream()).spawn();
    pty.wait_for("ready\r\n");
    sleep(Duration::from_millis(200));
    let before = work(running.pid());
    sleep(Duration::from_secs(1));
    let worked = work(running.pid()) - before;
    assert!(worked <= 5, "{worked} hundredths of a second of work in one second");
}

fn row_40_a_terminal_that_was_closed_is_opened_again(runtime: &Runtime) {
    let script = "echo ready; exec 3</dev/null <&3 >&- 2>&-; sleep 0.3; exec >/dev/tty; echo again";
    let container = with_terminal(runtime, script);
    let (pty, _terminal, running) = on_terminal(&container);
    running.wait().ok();
    assert_eq!(pty.seen(), "ready\r\nagain\r\n");
}

fn row_40_a_reader_who_goes_hangs_up(runtime: &Runtime) {
    let container = with_terminal(runtime, "trap 'exit 9' HUP; echo ready; while :; do echo more; sleep 0.01; done");
    let (pty, terminal) = Pty::pair(33, 111);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let call = container.run_call(&[]).wrapped(["setsid", "--ctty"]).stdin(terminal.try_clone().unwrap());
    let running = call.stdout(File::from(OwnedFd::from(writer))).spawn();
    assert!(reader.read(&mut [0; 5]).is_ok_and(|len| len > 0));
    drop(reader);
    running.wait().exits(9);
    assert_eq!(pty.settings(), Pty::pair(1, 1).0.settings());
}

/// Whether somebody who writes there would not have to wait.
fn is_writable(terminal: &File) -> bool {
    let mut fds = [PollFd::new(terminal.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).unwrap();
    fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT))
}

fn row_40_a_reader_who_sleeps_holds_up_no_signal(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "trap 'exit 7' TERM; : >/trapped; yes & wait");
    container.bundle.writable();
    let (pty, terminal, mut running) = on_terminal(&container);
    // Before that the program would not hear the signal.
    until("the trap", || container.bundle.inside("/trapped").exists().then_some(()));
    // Until everything is full that holds something back; for a moment there is room again when the kernel moves a part on.
    let mut times = 0;
    until("a terminal that takes no more", || {
        times = if is_writable(&terminal) { 0 } else { times + 1 };
        (times == 20).then_some(())
    });
    running.signal(Signal::SIGTERM);
    until("the end of the program", || {
        let state = container.state_call();
        (state.code != Some(0) || state.json()["status"] == "stopped").then_some(())
    });
    // What it printed still waits for its reader; whoever does not want it says so.
    assert!(!running.has_ended());
    running.signal(Signal::SIGTERM);
    running.wait().exits(7);
    assert_eq!(pty.settings(), Pty::pair(1, 1).0.settings());
}

fn row_40_a_caller_whose_terminal_goes_hangs_up(runtime: &Runtime) {
    let container = with_terminal(runtime, "trap 'exit 9' HUP; echo ready; while :; do sleep 0.01; done");
    let (pty, terminal, running) = on_terminal(&container);
    pty.wait_for("ready\r\n");
    drop((pty, terminal));
    running.wait().exits(9);
}

fn row_40_children_who_keep_the_terminal_hold_up_nothing(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "trap '' HUP; (while :; do echo more; done) & sleep 0.1; exit 4");
    container.bundle.without_namespace("pid");
    let (pty, _terminal, mut running) = on_terminal(&container);
    until("the end", || {
        pty.seen();
        running.has_ended().then_some(())
    });
    running.wait().exits(4);
}

/// `exec --tty` in a container that runs.
fn exec(container: &Container, script: &str) -> Call {
    if container.state_call().code != Some(0) {
        container.run_detached().ok();
    }
    container.call(["exec", "--tty", &container.id, "/bin/sh", "-c", script])
}

fn row_40_exec_joins_the_terminals(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let (pty, terminal) = Pty::pair(33, 111);
    let script = "stty size; tty; read line; echo got $line; trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.01; done";
    let running = exec(&container, script).on(&terminal).spawn();
    pty.wait_for("/dev/pts/0\r\n");
    assert!(is_raw(&pty.settings()));
    pty.type_in("one\n");
    pty.wait_for("got one\r\nready\r\n");
    pty.resize(40, 120);
    pty.wait_for("40 120\r\n");
    running.wait().exits(5);
    // From the first line on.
    assert!(pty.seen().starts_with("33 111\r\n"), "{:?}", pty.seen());
    assert_eq!(pty.settings(), Pty::pair(1, 1).0.settings());
}

fn row_40_exec_with_input_that_is_no_terminal(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let (_pty, terminal) = Pty::pair(33, 111);
    behind_redirections(exec(&container, "test -t 0 && exit 6"), &terminal).run().exits(6);
    let call = exec(&container, "stty size; for fd in 0 1 2; do readlink /proc/self/fd/$fd; done");
    let output = call.wrapped(["setsid", "--ctty"]).stdin(terminal.try_clone().unwrap()).run().ok();
    assert_eq!(output.stdout, "33 111\n/dev/pts/0\n/dev/pts/0\n/dev/pts/0\n");
}

fn row_41_run_with_a_terminal_exits_with_the_programs_code(runtime: &Runtime) {
    for code in [0, 1, 42, 255] {
        let container = with_terminal(runtime, &format!("exit {code}"));
        let (pty, _terminal, running) = on_terminal(&container);
        assert_eq!(running.wait().code, Some(code), "{}", pty.seen());
    }
    let mut container = with_terminal(runtime, "kill -KILL $$");
    container.bundle.without_namespace("pid");
    let (_pty, _terminal, running) = on_terminal(&container);
    running.wait().exits(137);
}

fn row_41_exec_with_a_terminal_exits_with_the_programs_code(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let (_pty, terminal) = Pty::pair(33, 111);
    exec(&container, "exit 42").on(&terminal).run().exits(42);
    exec(&container, "kill -KILL $$").on(&terminal).run().exits(137);
    container.call(["exec", "-t", &container.id, "/no/such/program"]).on(&terminal).run().exits(255);
}

fn peer_37_signals_are_forwarded_with_a_terminal(runtime: &Runtime) {
    let script = "for s in HUP INT QUIT USR1 USR2 CONT; do trap \"echo got $s\" $s; done; trap 'exit 7' TERM
        echo ready; while :; do sleep 0.01; done";
    let container = with_terminal(runtime, script);
    let (pty, _terminal, running) = on_terminal(&container);
    pty.wait_for("ready\r\n");
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGCONT] {
        running.signal(signal);
        pty.wait_for(&format!("got {}\r\n", &signal.as_str()[3..]));
    }
    running.signal(Signal::SIGTERM);
    running.wait().exits(7);
}
