//! `process.terminal` with `--console-socket`: what the engine gets, what the program finds, what is refused.

use super::descriptors::holders;
use integration::bundle::dead_socket;
use integration::terminal::Received;
use integration::{ConsoleSocket, Container, Output, Process, Runtime, Snapshot, until};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use serde_json::{Value, json};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

cases! {
    Any:
        cfg_45_streams_are_the_containers_terminal,
        cfg_45_terminal_controls_a_session_of_the_program,
        cfg_45_terminal_belongs_to_the_user,
        cfg_45_terminal_hangs_up_when_its_master_is_closed,
        cfg_45_terminal_without_devpts_is_refused,
        cfg_45_terminal_goes_with_a_readonly_dev,
        cfg_45_terminal_goes_with_a_readonly_root_and_no_dev_mount,
        cfg_46_there_is_no_console_without_a_terminal,
        cfg_47_console_size_is_that_of_the_terminal,
        cfg_47_a_size_of_zero_is_none,
        cfg_47_a_size_beyond_the_kernels_is_refused,
        cfg_49_half_a_console_size_is_refused,
        lnx_42_console_is_the_terminal,
        lnx_43_the_program_opens_further_terminals,
        row_5_create_gives_the_terminal_before_start,
        row_5_run_detached_gives_the_terminal,
        row_6_exec_gives_the_terminal_of_a_process_file,
        row_36_create_with_a_terminal_keeps_no_stream,
        row_37_socket_gets_one_descriptor_with_some_text,
        row_38_exec_gives_the_terminal_before_it_ends,
        row_39_a_detached_terminal_needs_a_socket,
        row_39_a_socket_needs_a_detached_terminal,
        row_39_a_broken_socket_is_refused,
        row_39_a_socket_whose_queue_is_full_is_not_waited_for_for_ever,
        row_42_exec_takes_a_console_size,
        row_43_exec_terminal_belongs_to_the_user,
        peer_43_exec_terminal_is_of_the_containers_devpts,
        row_23_console_socket_is_relative_to_the_working_directory,
    ;
    Any [UserNs]:
        cfg_45_terminal_in_a_user_namespace,
        peer_43_exec_terminal_in_a_user_namespace,
    ;
}

/// A container with a terminal, whose program runs `script` and then sleeps.
fn with_terminal(runtime: &Runtime, script: &str) -> Container {
    let mut container = Container::sh(runtime, &format!("{script}\necho ready; exec sleep 1000"));
    container.bundle.set("/process/terminal", json!(true));
    container
}

/// Runs it detached, and waits until its program has done its work: the terminal, and what was printed.
fn printed(container: &Container) -> (Received, String) {
    let socket = ConsoleSocket::listen(container);
    container.settled(container.run_call(&["-d", "--console-socket", socket.word()]).run()).ok().silent();
    let received = socket.receive();
    let text = received.pty.wait_for("ready\r\n");
    (received, text.replace("\r\n", "\n"))
}

fn cfg_45_streams_are_the_containers_terminal(runtime: &Runtime) {
    let script = "tty; for fd in 0 1 2; do test -t $fd && readlink /proc/self/fd/$fd; done; read line; echo got $line";
    let container = with_terminal(runtime, script);
    let socket = ConsoleSocket::listen(&container);
    container.run_call(&["-d", "--console-socket", socket.word()]).run().ok();
    let terminal = socket.receive().pty;
    terminal.wait_for("/dev/pts/0\r\n/dev/pts/0\r\n/dev/pts/0\r\n/dev/pts/0\r\n");
    terminal.type_in("a line\n");
    terminal.wait_for("got a line\r\n");
}

fn cfg_45_terminal_controls_a_session_of_the_program(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "echo through >/dev/tty");
    // The first process of a pid namespace would be spared by signals that it has no handler for.
    container.bundle.without_namespace("pid");
    let (terminal, text) = printed(&container);
    assert_eq!(text, "through\nready\n");
    let process = container.process();
    let number = process.pid.to_string();
    // Fields 5 to 8 of proc(5): process group, session, terminal and its foreground group; 136:0 is 0x8800.
    let fields = [5, 6, 7].map(|field| process.stat(field).unwrap());
    assert_eq!(fields, [number.clone(), number, 0x8800.to_string()]);
    // ^C goes to the foreground group.
    terminal.pty.type_in("\x03");
    assert_eq!(container.reap(process.pid), 128 + 2);
}

fn cfg_45_terminal_belongs_to_the_user(runtime: &Runtime) {
    for (uid, gid) in [(0, 0), (1000, 100)] {
        let mut container = with_terminal(runtime, "stat -c %u:%g $(tty); echo opened >$(tty)");
        container.bundle.set("/process/user", json!({"uid": uid, "gid": gid}));
        // The group is that of the devpts.
        assert_eq!(printed(&container).1, format!("{uid}:5\nopened\nready\n"));
    }
}

fn cfg_45_terminal_hangs_up_when_its_master_is_closed(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "");
    container.bundle.without_namespace("pid");
    let (terminal, _) = printed(&container);
    let pid = container.pid();
    drop(terminal);
    assert_eq!(container.reap(pid), 128 + 1);
}

/// Takes the mount on `destination` away.
fn unmount(container: &mut Container, destination: &str) {
    container.bundle.edit(|config| {
        config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != destination);
    });
}

fn cfg_45_terminal_without_devpts_is_refused(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "");
    unmount(&mut container, "/dev/pts");
    let before = Snapshot::take(&container);
    let socket = ConsoleSocket::listen(&container);
    let output = container.create_with(&["--console-socket", socket.word()]).fails();
    let told = ["process.terminal", "a mount of type devpts on /dev/pts"].iter().all(|text| output.stderr.contains(text));
    assert!(told || !runtime.is_ours(), "{output}");
    before.assert_unchanged(&container);
}

fn cfg_45_terminal_goes_with_a_readonly_dev(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "touch /dev/x 2>/dev/null || echo read-only; echo through >/dev/console");
    container.bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev").unwrap();
        dev["options"] = json!(["nosuid", "strictatime", "mode=755", "size=65536k", "ro"]);
    });
    assert_eq!(printed(&container).1, "read-only\nthrough\nready\n");
}

fn cfg_45_terminal_goes_with_a_readonly_root_and_no_dev_mount(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "touch /x 2>/dev/null || echo read-only; echo through >/dev/console");
    container.bundle.set("/root/readonly", json!(true));
    for destination in ["/dev", "/dev/shm", "/dev/mqueue"] {
        unmount(&mut container, destination);
    }
    fs::create_dir(container.bundle.inside("/dev/pts")).unwrap();
    assert_eq!(printed(&container).1, "read-only\nthrough\nready\n");
}

fn cfg_46_there_is_no_console_without_a_terminal(runtime: &Runtime) {
    let container = Container::sh(runtime, "test -e /dev/console || echo none; test -t 0 || echo no terminal");
    assert_eq!(container.run().ok().no_complaint().text(), "none\nno terminal");
}

fn size_with(runtime: &Runtime, size: Value) -> (u16, u16) {
    let mut container = with_terminal(runtime, "");
    container.bundle.set("/process/consoleSize", size);
    printed(&container).0.pty.size()
}

fn cfg_47_console_size_is_that_of_the_terminal(runtime: &Runtime) {
    let mut container = with_terminal(runtime, "stty size");
    container.bundle.set("/process/consoleSize", json!({"height": 10, "width": 110}));
    assert_eq!(printed(&container).1, "10 110\nready\n");
    assert_eq!(size_with(runtime, json!({"height": 65535, "width": 1})), (65535, 1));
}

fn cfg_47_a_size_of_zero_is_none(runtime: &Runtime) {
    for size in [json!({"height": 0, "width": 80}), json!({"height": 24, "width": 0})] {
        assert_eq!(size_with(runtime, size), (0, 0));
    }
}

fn refused(runtime: &Runtime, size: Value, text: &str) {
    let mut container = with_terminal(runtime, "");
    container.bundle.set("/process/consoleSize", size);
    let socket = ConsoleSocket::listen(&container);
    let before = Snapshot::take(&container);
    container.create_with(&["--console-socket", socket.word()]).fails_with(text);
    before.assert_unchanged(&container);
    assert!(socket.is_idle());
}

fn cfg_47_a_size_beyond_the_kernels_is_refused(runtime: &Runtime) {
    refused(runtime, json!({"height": 65536, "width": 80}), "process.consoleSize.height");
    refused(runtime, json!({"height": 24, "width": 4_294_967_295_u32}), "process.consoleSize.width");
}

fn cfg_49_half_a_console_size_is_refused(runtime: &Runtime) {
    refused(runtime, json!({"height": 24}), "process.consoleSize.width");
    refused(runtime, json!({"width": 80}), "process.consoleSize.height");
}

fn lnx_42_console_is_the_terminal(runtime: &Runtime) {
    let script = "stat -c %t:%T:%a:%u:%g /dev/console $(tty); grep ' /dev/console ' /proc/self/mountinfo | cut -d' ' -f4,5
        grep -o 'devpts devpts' /proc/self/mountinfo | tail -n1; echo through >/dev/console";
    let text = printed(&with_terminal(runtime, script)).1;
    assert_eq!(text, "88:0:620:0:5\n88:0:620:0:5\n/0 /dev/console\ndevpts devpts\nthrough\nready\n");
}

fn lnx_43_the_program_opens_further_terminals(runtime: &Runtime) {
    let script = "readlink /dev/ptmx; exec 3<>/dev/ptmx; ls /dev/pts | tr '\\n' ' '";
    assert_eq!(printed(&with_terminal(runtime, script)).1, "pts/ptmx\n0 1 ptmx ready\n");
}

fn row_5_create_gives_the_terminal_before_start(runtime: &Runtime) {
    let container = with_terminal(runtime, "");
    let socket = ConsoleSocket::listen(&container);
    container.create_with(&["--console-socket", socket.word()]).ok().silent();
    let received = socket.receive();
    assert!(received.was_all());
    assert_eq!(received.pty.seen(), "");
    container.start().ok().silent();
    received.pty.wait_for("ready\r\n");
}

fn row_5_run_detached_gives_the_terminal(runtime: &Runtime) {
    let container = with_terminal(runtime, "");
    printed(&container);
    assert_eq!(container.status(), "running");
}

/// Executes a process object with these words, as containerd and conmon do.
fn exec(container: &Container, options: &[&str], object: &Value) -> (Output, Received) {
    let file = container.folder().join("process.json");
    fs::write(&file, object.to_string()).unwrap();
    let _ = fs::remove_file(container.folder().join("s"));
    let socket = ConsoleSocket::listen(container);
    let call = container.call(["exec", "--detach", "--console-socket", socket.word(), "--process"]).arg(file);
    let output = container.settled(call.args(options).arg(&container.id).run());
    (output, socket.receive())
}

fn row_6_exec_gives_the_terminal_of_a_process_file(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let object = json!({"terminal": true, "cwd": "/", "args": ["/bin/sh", "-c", "tty; exec sleep 1000"]});
    for options in [&[][..], &["--tty"]] {
        let (output, received) = exec(&container, options, &object);
        output.ok().silent();
        received.pty.wait_for("/dev/pts/");
    }
}

fn row_36_create_with_a_terminal_keeps_no_stream(runtime: &Runtime) {
    let container = with_terminal(runtime, "");
    let socket = ConsoleSocket::listen(&container);
    let output = container.create_with(&["--console-socket", socket.word()]).ok();
    let _received = socket.receive();
    assert_eq!(holders(&output), Vec::<i32>::new());
    // Nor the socket, nor the other side of the terminal.
    let files = container.process().files();
    let others = files.values().filter(|path| path.to_string_lossy().contains("socket") || path.ends_with("ptmx"));
    assert_eq!(others.count(), 0, "{files:?}");
}

fn row_37_socket_gets_one_descriptor_with_some_text(runtime: &Runtime) {
    let received = printed(&with_terminal(runtime, "")).0;
    assert!((1..4096).contains(&received.text.len()), "{:?}", received.text);
    assert!(received.was_all());
}

fn row_38_exec_gives_the_terminal_before_it_ends(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let socket = ConsoleSocket::listen(&container);
    let options = ["--tty", "--console-socket", socket.word()];
    let process = container.exec_detached(&options, &["/bin/sh", "-c", "echo $$ through; exec sleep 1000"]);
    // Nothing is waited for: it is in the queue.
    let received = socket.receive();
    received.pty.wait_for("through\r\n");
    assert!(process.is_alive());
    // A short one leaves what it printed.
    let options = ["--tty", "--console-socket", socket.word()];
    container.exec_detached(&options, &["/bin/echo", "short"]);
    socket.receive().pty.wait_for("short\r\n");
}

const NEEDS_SOCKET: &str = "cannot allocate tty if runc will detach without setting console socket";
const NEEDS_TERMINAL: &str = "cannot use console socket if runc will not detach or allocate tty";

fn row_39_a_detached_terminal_needs_a_socket(runtime: &Runtime) {
    let container = with_terminal(runtime, "");
    let before = Snapshot::take(&container);
    container.create().fails_with(NEEDS_SOCKET);
    container.run_call(&["--detach"]).run().fails_with(NEEDS_SOCKET);
    before.assert_unchanged(&container);
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    container.call(["exec", "--tty", "--detach", &container.id, "true"]).run().exits(255).fails_with(NEEDS_SOCKET);
}

fn row_39_a_socket_needs_a_detached_terminal(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let socket = ConsoleSocket::listen(&container);
    let before = Snapshot::take(&container);
    container.create_with(&["--console-socket", socket.word()]).fails_with(NEEDS_TERMINAL);
    container.run_call(&["--detach", "--console-socket", socket.word()]).run().fails_with(NEEDS_TERMINAL);
    with_terminal(runtime, "").run_call(&["--console-socket", socket.word()]).run().fails_with(NEEDS_TERMINAL);
    before.assert_unchanged(&container);
    container.run_detached().ok();
    for options in [&["--detach"][..], &["--tty"]] {
        let call = container.call(["exec", "--console-socket", socket.word()]).args(options);
        call.args([container.id.as_str(), "true"]).run().exits(255).fails_with(NEEDS_TERMINAL);
    }
    assert!(socket.is_idle());
}

fn row_39_a_broken_socket_is_refused(runtime: &Runtime) {
    let container = with_terminal(runtime, "");
    let file = container.folder().join("file");
    fs::write(&file, "").unwrap();
    let closed = container.folder().join("s");
    dead_socket(&closed);
    let long = container.folder().join("l".repeat(108));
    fs::write(&long, "").unwrap();
    let running = Container::sleeper(runtime);
    running.run_detached().ok();
    for path in [&container.folder().join("missing"), &file, container.folder(), &closed, &long] {
        let before = Snapshot::take(&container);
        let word = path.to_str().unwrap();
        let output = container.create_with(&["--console-socket", word]).fails();
        before.assert_unchanged(&container);
        let exec = running.call(["exec", "-d", "-t", "--console-socket", word, &running.id, "true"]).run().exits(255).fails();
        if runtime.is_ours() {
            assert!(output.stderr.contains("--console-socket: connect to"), "{output}");
            assert!(exec.stderr.contains("--console-socket: connect to"), "{exec}");
            // Engines would take these for errors about the program.
            assert!(!output.stderr.to_lowercase().contains("no such file"), "{output}");
        }
    }
}

/// A socket that listens but accepts nobody, with its queue full.
fn full(path: &Path) -> (OwnedFd, UnixStream) {
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    (listener, UnixStream::connect(path).unwrap())
}

fn row_39_a_socket_whose_queue_is_full_is_not_waited_for_for_ever(runtime: &Runtime) {
    let container = with_terminal(runtime, "");
    let path = container.folder().join("full");
    let _listening = full(&path);
    let before = Snapshot::take(&container);
    let output = container.create_with(&["--console-socket", path.to_str().unwrap()]).fails();
    assert!(output.stderr.contains("nobody accepted for 10 s") || !runtime.is_ours(), "{output}");
    before.assert_unchanged(&container);
}

fn row_42_exec_takes_a_console_size(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let size = json!({"height": 10, "width": 110});
    let words = ["/bin/sh", "-c", "stty size; exec sleep 1000"];
    let object = json!({"terminal": true, "consoleSize": size, "cwd": "/", "args": words});
    let (output, received) = exec(&container, &[], &object);
    output.ok();
    received.pty.wait_for("10 110\r\n");
    // Without a terminal it is nothing.
    let file = container.folder().join("process.json");
    fs::write(&file, json!({"consoleSize": size, "cwd": "/", "args": ["/bin/echo", "fine"]}).to_string()).unwrap();
    let output = container.call(["exec", "--process"]).arg(file).arg(&container.id).run().ok().no_complaint();
    assert_eq!(output.text(), "fine");
}

fn row_43_exec_terminal_belongs_to_the_user(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let words = ["/bin/sh", "-c", "stat -c %u:%g $(tty); exec sleep 1000"];
    for (uid, gid) in [(0, 0), (1000, 100)] {
        let user = json!({"uid": uid, "gid": gid});
        let (output, received) = exec(&container, &[], &json!({"terminal": true, "cwd": "/", "args": words, "user": user}));
        output.ok();
        received.pty.wait_for(&format!("{uid}:5\r\n"));
    }
}

fn peer_43_exec_terminal_is_of_the_containers_devpts(runtime: &Runtime) {
    let container = with_terminal(runtime, "");
    let (first, _) = printed(&container);
    let words = ["/bin/sh", "-c", "tty; echo to the tty >/dev/tty; echo to the console >/dev/console; exec sleep 1000"];
    let pid_file = container.folder().join("pid");
    let options = ["--pid-file", pid_file.to_str().unwrap()];
    let (output, second) = exec(&container, &options, &json!({"terminal": true, "cwd": "/", "args": words}));
    output.ok();
    second.pty.wait_for("/dev/pts/1\r\nto the tty\r\n");
    first.pty.wait_for("to the console\r\n");
    let process = Process::new(fs::read_to_string(pid_file).unwrap().parse().unwrap());
    let number = process.pid.to_string();
    assert_eq!([6, 7].map(|field| process.stat(field).unwrap()), [number, 0x8801.to_string()]);
}

fn row_23_console_socket_is_relative_to_the_working_directory(runtime: &Runtime) {
    let container = with_terminal(runtime, "");
    let socket = ConsoleSocket::listen(&container);
    container.run_call(&["-d", "--console-socket", "s"]).cwd(container.folder()).run().ok();
    socket.receive();
    let words = ["exec", "-t", "-d", "--console-socket", "s", &container.id, "sleep", "10"];
    container.call(words).cwd(container.folder()).run().ok();
    socket.receive();
}

fn cfg_45_terminal_in_a_user_namespace(runtime: &Runtime) {
    for uid in [0, 1000] {
        let mut container = with_terminal(runtime, "stat -c %u:%g $(tty); tty; echo through >/dev/console");
        container.bundle.user_namespace(100_000).set("/process/user", json!({"uid": uid, "gid": 0}));
        assert_eq!(printed(&container).1, format!("{uid}:5\n/dev/pts/0\nthrough\nready\n"));
    }
}

fn peer_43_exec_terminal_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.user_namespace(100_000);
    container.run_detached().ok();
    let words = ["/bin/sh", "-c", "stat -c %u:%g $(tty); tty; exec sleep 1000"];
    let user = json!({"uid": 1000, "gid": 0});
    let (output, received) = exec(&container, &[], &json!({"terminal": true, "cwd": "/", "args": words, "user": user}));
    output.ok();
    until("the terminal's owner", || received.pty.seen().contains("1000:5\r\n/dev/pts/0\r\n").then_some(()));
}
