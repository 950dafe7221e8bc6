//! What a caller hands over and gets back beside the standard streams: descriptors, socket activation, readiness, a pidfd.

use integration::{Call, Container, Process, Runtime, until};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use runtime_init::sys::owned::adopt_received;
use serde_json::json;
use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::time::Duration;

cases! {
    Any:
        lnx_2_preserved_descriptors_of_create,
        lnx_2_preserved_descriptors_of_run,
        lnx_2_preserved_descriptors_of_exec,
        lnx_2_preserved_descriptors_pass_a_filter,
        lnx_2_hooks_do_not_get_what_the_program_is_passed,
        row_28_unopened_numbers_are_left_out,
        row_28_more_numbers_than_there_can_be,
        row_29_listen_fds_are_passed_with_their_variables,
        row_29_listen_fds_and_preserved_ones_are_not_counted_twice,
        row_29_listen_fds_of_another_process_are_not_passed,
        row_30_notify_socket_is_the_containers,
        row_30_readiness_reaches_the_service_manager,
        row_30_readiness_of_a_detached_run,
        row_30_readiness_of_a_foreground_run,
        row_30_start_ends_when_the_program_does,
        row_30_start_without_a_prepared_container_is_refused,
        row_48_pidfd_of_create,
        row_48_pidfd_of_exec,
        row_48_a_pidfd_socket_that_is_not_there_is_an_error,
        sec_10_only_preserved_descriptors_are_passed,
        peer_36_run_adopts_orphans_unless_told_otherwise,
    ;
    Any [UserNs]:
        row_30_notify_socket_in_a_user_namespace,
    ;
}

const OPEN: &str = "exec 3</etc/passwd 4</etc/group 6</etc/fstab";

fn quiet(runtime: &Runtime) -> Container {
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/sleep", "1000"]);
    container
}

/// The program's files above the standard streams, once it has been executed.
fn passed(process: Process) -> Vec<(u32, PathBuf)> {
    until("the program", || process.words().first().filter(|word| word.ends_with("sleep")).cloned());
    process.files().into_iter().filter(|(number, _)| *number > 2).collect()
}

fn two() -> [(u32, PathBuf); 2] {
    [(3, "/etc/passwd".into()), (4, "/etc/group".into())]
}

fn lnx_2_preserved_descriptors_of_create(runtime: &Runtime) {
    let container = quiet(runtime);
    container.create_call(&["--preserve-fds", "2"]).after(OPEN).run().ok();
    container.start().ok();
    assert_eq!(passed(container.process()), two());
}

fn lnx_2_preserved_descriptors_of_run(runtime: &Runtime) {
    let container = Container::sh(runtime, "read line <&4; echo $line");
    let file = container.folder().join("text");
    fs::write(&file, "through\n").unwrap();
    let open = format!("exec 3</dev/null 4<{}", file.display());
    let output = container.run_call(&["--preserve-fds=2"]).after(&open).run().ok();
    assert_eq!(output.text(), "through");
}

fn lnx_2_preserved_descriptors_of_exec(runtime: &Runtime) {
    let container = quiet(runtime);
    container.run_detached().ok();
    let file = container.folder().join("pid");
    let words = ["exec", "--detach", "--preserve-fds=2", "--pid-file", file.to_str().unwrap(), &container.id];
    container.settled(container.call(words).args(["/bin/sleep", "1000"]).after(OPEN).run()).ok();
    assert_eq!(passed(Process::new(fs::read_to_string(file).unwrap().parse().unwrap())), two());
    assert_eq!(passed(container.process()), []);
}

fn lnx_2_preserved_descriptors_pass_a_filter(runtime: &Runtime) {
    let mut container = quiet(runtime);
    let names = ["dup", "dup2", "dup3", "fcntl"];
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": "SCMP_ACT_KILL"}]});
    container.bundle.set("/linux/seccomp", filter);
    container.create_call(&["--preserve-fds", "2"]).after(OPEN).run().ok();
    container.start().ok();
    assert_eq!(passed(container.process()), two());
}

fn lnx_2_hooks_do_not_get_what_the_program_is_passed(runtime: &Runtime) {
    let mut container = quiet(runtime);
    container.bundle.writable();
    // crun takes it for a failure when nobody reads the state.
    let script = "cat >/dev/null; ls /proc/self/fd >/files";
    container.bundle.push("/hooks/startContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
    container.create_call(&["--preserve-fds", "2"]).after(OPEN).run().ok();
    container.start().ok();
    let found = fs::read_to_string(container.bundle.inside("/files")).unwrap();
    // 3 is the directory that ls reads.
    assert_eq!(found.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    assert_eq!(passed(container.process()), two());
}

fn row_28_unopened_numbers_are_left_out(runtime: &Runtime) {
    let container = quiet(runtime);
    container.create_call(&["--preserve-fds", "5"]).after(OPEN).run().ok();
    container.start().ok();
    let [third, fourth] = two();
    assert_eq!(passed(container.process()), [third, fourth, (6, "/etc/fstab".into())]);
}

fn row_28_more_numbers_than_there_can_be(runtime: &Runtime) {
    let container = quiet(runtime);
    container.create_call(&["--preserve-fds", "4294967295"]).after("exec 3</etc/passwd").run().ok();
    container.start().ok();
    // Whoever runs the tests may have higher ones open.
    let below = |(number, _): &(u32, PathBuf)| *number < 10;
    let found: Vec<_> = passed(container.process()).into_iter().filter(below).collect();
    assert_eq!(found, [(3, "/etc/passwd".into())]);
}

/// Sets the variables of socket activation for the call itself.
fn activated(call: Call, setup: &str) -> Call {
    call.after(&format!("{OPEN}\nexport LISTEN_PID=$$ {setup}"))
}

fn variables(container: &Container) -> Vec<String> {
    let text = container.process().read("environ");
    text.split('\0').filter(|entry| entry.starts_with("LISTEN_")).map(str::to_string).collect()
}

fn row_29_listen_fds_are_passed_with_their_variables(runtime: &Runtime) {
    let container = quiet(runtime);
    activated(container.create_call(&[]), "LISTEN_FDS=2").run().ok();
    container.start().ok();
    assert_eq!(passed(container.process()), two());
    assert_eq!(variables(&container), ["LISTEN_FDS=2", "LISTEN_PID=1"]);
}

fn row_29_listen_fds_and_preserved_ones_are_not_counted_twice(runtime: &Runtime) {
    let container = quiet(runtime);
    activated(container.create_call(&["--preserve-fds", "1"]), "LISTEN_FDS=1").run().ok();
    container.start().ok();
    assert_eq!(passed(container.process()), two());
    assert_eq!(variables(&container), ["LISTEN_FDS=1", "LISTEN_PID=1"]);
}

fn row_29_listen_fds_of_another_process_are_not_passed(runtime: &Runtime) {
    let container = quiet(runtime);
    activated(container.create_call(&[]), "LISTEN_FDS=2 LISTEN_PID=$PPID").run().ok();
    container.start().ok();
    assert_eq!((passed(container.process()), variables(&container)), (vec![], vec![]));
}

/// A service manager that waits for readiness.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(container: &Container) -> Manager {
        let path = container.folder().join("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Manager { socket, path }
    }

    /// The next message; a descriptor that comes with it is closed.
    fn next(&self) -> String {
        let mut buffer = [0; 256];
        let length = self.socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn hears_of(&self, pid: i32) {
        assert_eq!(self.next().trim_end(), "READY=1");
        assert_eq!(self.next().trim_end(), format!("MAINPID={pid}"));
        assert_eq!(self.next(), "BARRIER=1");
    }
}

/// Writes to the container's socket, by the way that its program has.
fn say(container: &Container, text: &str) {
    // It has a name a moment before it takes anything.
    until("the socket", || {
        let path = container.process().path("root/run/notify/notify.sock");
        UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), path).ok()
    });
}

fn prepared(runtime: &Runtime, script: &str) -> (Container, Manager) {
    let mut container = Container::sh(runtime, script);
    container.bundle.writable();
    let manager = Manager::new(&container);
    container.record(container.create_call(&[]).env("NOTIFY_SOCKET", &manager.path).run()).ok();
    (container, manager)
}

const SEE: &str = "echo $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET && echo there; touch /run/notify/x || echo read-only
    rm $NOTIFY_SOCKET || echo kept; grep ' /run/notify ' /proc/self/mountinfo | cut -d' ' -f6; sleep 1000";

fn sees_its_socket(container: &Container, manager: &Manager) {
    let start = container.call(["start", &container.id]).env("NOTIFY_SOCKET", &manager.path).spawn();
    let seen = container.wait_stdout("noexec");
    assert_eq!(seen, "/run/notify/notify.sock\nthere\nread-only\nkept\nro,nosuid,nodev,noexec,relatime\n");
    say(container, "READY=1");
    manager.hears_of(container.pid());
    start.wait().ok().silent();
    container.delete_force().ok();
}

fn row_30_notify_socket_is_the_containers(runtime: &Runtime) {
    let (container, manager) = prepared(runtime, SEE);
    sees_its_socket(&container, &manager);
}

fn row_30_notify_socket_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, SEE);
    container.bundle.writable().user_namespace(100_000);
    let manager = Manager::new(&container);
    container.record(container.create_call(&[]).env("NOTIFY_SOCKET", &manager.path).run()).ok();
    sees_its_socket(&container, &manager);
}

fn row_30_readiness_reaches_the_service_manager(runtime: &Runtime) {
    let (container, manager) = prepared(runtime, "exec sleep 1000");
    let mut start = container.call(["start", &container.id]).env("NOTIFY_SOCKET", &manager.path).spawn();
    container.wait_for("running");
    say(&container, "STATUS=not yet");
    say(&container, "MAINPID=1\nX=READY=1");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!start.has_ended(), "nothing was ready yet");
    say(&container, "READY=1\nMAINPID=7");
    manager.hears_of(container.pid());
    start.wait().ok().silent();
    assert_eq!(container.status(), "running");
}

fn row_30_readiness_of_a_detached_run(runtime: &Runtime) {
    let container = quiet(runtime);
    let manager = Manager::new(&container);
    let run = container.run_call(&["--detach"]).env("NOTIFY_SOCKET", &manager.path).spawn();
    until("the container", || (container.state_call().code == Some(0)).then_some(()));
    say(&container, "READY=1");
    manager.hears_of(container.pid());
    run.wait().ok();
}

fn row_30_readiness_of_a_foreground_run(runtime: &Runtime) {
    let container = quiet(runtime);
    let manager = Manager::new(&container);
    let run = container.run_call(&[]).env("NOTIFY_SOCKET", &manager.path).spawn();
    until("the container", || (container.state_call().code == Some(0)).then_some(()));
    say(&container, "READY=1");
    manager.hears_of(run.pid());
    container.kill("KILL").ok();
    run.wait().exits(137);
}

fn row_30_start_ends_when_the_program_does(runtime: &Runtime) {
    let (container, manager) = prepared(runtime, "sleep 0.2");
    container.call(["start", &container.id]).env("NOTIFY_SOCKET", &manager.path).run().ok();
}

fn row_30_start_without_a_prepared_container_is_refused(runtime: &Runtime) {
    let container = quiet(runtime);
    container.create().ok();
    let manager = Manager::new(&container);
    container.call(["start", &container.id]).env("NOTIFY_SOCKET", &manager.path).run().fails_with("notify");
    assert_eq!(container.status(), "created");
    container.start().ok();
}

/// The word and the process that come over a socket.
fn received(listener: &UnixListener) -> (String, i32) {
    let (socket, _) = listener.accept().unwrap();
    let (mut buffer, mut space) = ([0; 64], cmsg_space!(RawFd));
    let mut parts = [IoSliceMut::new(&mut buffer)];
    // Close-on-exec, or the runtimes of other tests would pass it on.
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).expect("a message");
    let length = message.bytes;
    let fd = message.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().map(|fd| adopt_received(*fd)),
        _ => None,
    });
    let fd = fd.expect("a descriptor");
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd").trim().parse().unwrap();
    (String::from_utf8_lossy(&buffer[..length]).into_owned(), pid)
}

fn row_48_pidfd_of_create(runtime: &Runtime) {
    let container = quiet(runtime);
    let path = container.folder().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    container.create_with(&["--pidfd-socket", path.to_str().unwrap()]).ok().silent();
    assert_eq!(received(&listener), ("standard".to_string(), container.pid()));
}

fn row_48_pidfd_of_exec(runtime: &Runtime) {
    let container = quiet(runtime);
    container.run_detached().ok();
    let path = container.folder().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let process = container.exec_detached(&["--pidfd-socket", path.to_str().unwrap()], &["/bin/sleep", "1000"]);
    assert_eq!(received(&listener), ("setns".to_string(), process.pid));
}

fn row_48_a_pidfd_socket_that_is_not_there_is_an_error(runtime: &Runtime) {
    let container = quiet(runtime);
    let before = integration::Snapshot::take(&container);
    container.create_with(&["--pidfd-socket", "/nowhere/socket"]).fails_with("/nowhere/socket");
    before.assert_unchanged(&container);
    container.run_detached().ok();
    let words = ["exec", "--pidfd-socket", "/nowhere/socket", &container.id, "/bin/true"];
    container.call(words).run().exits(255).fails_with("/nowhere/socket");
}

fn sec_10_only_preserved_descriptors_are_passed(runtime: &Runtime) {
    let container = quiet(runtime);
    let many: Vec<String> = (5..25).map(|number| format!("exec {number}</")).collect();
    let setup = format!("{OPEN}\n{}", many.join("\n"));
    container.create_call(&["--preserve-fds=2"]).wrapped(["bash", "-c", &format!("{setup}\nexec \"$@\""), "bash"]).run().ok();
    container.start().ok();
    assert_eq!(passed(container.process()), two());
}

fn peer_36_run_adopts_orphans_unless_told_otherwise(runtime: &Runtime) {
    for (options, adopted) in [(&[][..], true), (&["--no-subreaper"], false)] {
        let mut container = Container::sh(runtime, "(sleep 1001 &); sleep 1000");
        container.bundle.without_namespace("pid");
        let run = container.run_call(options).spawn();
        let cgroup = format!("/{}/container", container.name());
        let orphan = until("the orphan", || {
            let is = |process: &Process| process.words() == ["sleep", "1001"] && process.cgroup().as_ref() == Some(&cgroup);
            Process::all().into_iter().find(is)
        });
        // Not before the shell between them has ended: until then that is its parent.
        let reapers = [run.pid(), std::process::id().cast_signed()];
        let parent = || orphan.status("PPid")?.parse().ok().filter(|parent| reapers.contains(parent));
        let parent: i32 = until("its adoption", parent);
        assert_eq!(parent == run.pid(), adopted, "{options:?}: {parent}");
        container.kill("KILL").ok();
        run.wait().exits(137);
    }
}
