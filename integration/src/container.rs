//! One container of one test, with everything that belongs to it.

use crate::bundle::Bundle;
use crate::call::{Call, Output};
use crate::deadline::{limit, until, within};
use crate::process::Process;
use crate::runtime::{Name, Runtime};
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The mount point of cgroup v2.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// A container that may or may not have been created yet: its own folder, bundle, state directory,
/// id and cgroup. All of it is removed when this is dropped, also after a panic.
#[derive(Debug)]
pub struct Container {
    /// The runtime that is asked.
    pub runtime: Runtime,
    /// The bundle, editable until (and after) `create`.
    pub bundle: Bundle,
    /// The id: the container's name, until a test chooses another one.
    pub id: String,
    /// The value of `--root`.
    pub root: PathBuf,
    name: String,
    folder: PathBuf,
    created: RefCell<Option<Output>>,
}

/// The folder of all containers of this process.
pub fn all() -> PathBuf {
    env::temp_dir().join(format!("integration-{}", tag()))
}

/// Tells this process from others, also from those in other pid namespaces.
fn tag() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{}-{:08x}", process::id(), since.subsec_nanos())
    })
}

impl Container {
    /// A container of its own, whose program is `/bin/true` until the bundle is edited.
    pub fn new(runtime: &Runtime) -> Container {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Of one length: what looks for a name must not find another that begins with it.
        let name = format!("it-{}-{:05}", tag(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = all().join(&name);
        fs::create_dir_all(folder.join("calls")).expect("make the test's folder");
        let bundle = Bundle::new(folder.join("bundle"));
        let root = folder.join("state");
        let mut container = Container {
            runtime: runtime.clone(),
            bundle,
            id: name.clone(),
            root,
            name,
            folder,
            created: RefCell::new(None),
        };
        fs::create_dir(container.parent_cgroup()).expect("make the test's cgroup");
        let path = format!("/{}/container", container.name);
        container.bundle.set("/linux/cgroupsPath", json!(path));
        container
    }

    /// A container whose program is a busybox shell that runs `script`.
    pub fn sh(runtime: &Runtime, script: &str) -> Container {
        let mut container = Container::new(runtime);
        container.bundle.sh(script);
        container
    }

    /// A container whose program does nothing until it is killed or gets TERM.
    pub fn sleeper(runtime: &Runtime) -> Container {
        Container::sh(runtime, "trap 'exit 143' TERM; while :; do sleep 1000 & wait $!; done")
    }

    /// A running container of exactly one process, which does nothing until it is killed.
    #[track_caller]
    pub fn single(runtime: &Runtime) -> Container {
        let mut container = Container::new(runtime);
        container.bundle.args(["/bin/sleep", "1000"]);
        container.run_detached().ok();
        assert_eq!(container.process().words(), ["/bin/sleep", "1000"]);
        container
    }

    /// Another container that shares this one's state directory, but nothing else.
    pub fn beside(&self) -> Container {
        let mut other = Container::new(&self.runtime);
        other.root.clone_from(&self.root);
        other
    }

    /// A name that is unique on this machine.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The test's own folder: free to be used.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cgroup made by the test, above the container's own.
    pub fn parent_cgroup(&self) -> PathBuf {
        Path::new(CGROUPS).join(&self.name)
    }

    /// The container's own cgroup (with the cgroupfs driver and the default path).
    pub fn cgroup(&self) -> PathBuf {
        self.parent_cgroup().join("container")
    }

    /// A call of the runtime without any global option.
    pub fn bare_call(&self) -> Call {
        Call::new(&self.runtime.path, &self.folder.join("calls"))
    }

    /// A call of the runtime with `--root` and these words.
    pub fn call<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Call {
        self.bare_call().arg("--root").arg(&self.root).args(words)
    }

    /// A call of another program of the host.
    pub fn host_call(&self, program: &str) -> Call {
        Call::new(program, &self.folder.join("calls"))
    }

    /// `create`, with more options before the id.
    pub fn create_call(&self, options: &[&str]) -> Call {
        self.call(["create", "--bundle"]).arg(self.bundle.path()).args(options).arg(&self.id)
    }

    /// `run`, with more options before the id.
    pub fn run_call(&self, options: &[&str]) -> Call {
        self.call(["run", "--bundle"]).arg(self.bundle.path()).args(options).arg(&self.id)
    }

    /// Tries to create the container.
    pub fn create(&self) -> Output {
        self.create_with(&[])
    }

    /// Tries to create the container with more options.
    pub fn create_with(&self, options: &[&str]) -> Output {
        self.record(self.left(self.create_call(options).run()))
    }

    /// Remembers the output of a call that created the container, see [`Container::stdout`].
    pub fn record(&self, output: Output) -> Output {
        *self.created.borrow_mut() = Some(output.clone());
        output
    }

    /// Tries to start the container.
    pub fn start(&self) -> Output {
        self.settled(self.call(["start", &self.id]).run())
    }

    /// Runs the container in the foreground, to its end.
    pub fn run(&self) -> Output {
        self.run_call(&[]).run()
    }

    /// Runs the container in the background.
    pub fn run_detached(&self) -> Output {
        self.record(self.left(self.settled(self.run_call(&["--detach"]).run())))
    }

    /// Asks for the state.
    pub fn state_call(&self) -> Output {
        self.call(["state", &self.id]).run()
    }

    /// The state, of a container that must exist.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.state_call().ok().no_complaint().json()
    }

    /// The status, of a container that must exist.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_string()
    }

    /// The process id of the container's init according to `state`.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let state = self.state();
        let pid = state["pid"].as_i64().unwrap_or_else(|| panic!("no pid in {state}"));
        i32::try_from(pid).expect("a process id")
    }

    /// The container's init.
    #[track_caller]
    pub fn process(&self) -> Process {
        Process::new(self.pid())
    }

    /// Tries to send a signal.
    pub fn kill(&self, signal: &str) -> Output {
        self.call(["kill", &self.id, signal]).run()
    }

    /// Tries to delete the container.
    pub fn delete(&self) -> Output {
        self.call(["delete", &self.id]).run()
    }

    /// Tries to delete the container whatever its status.
    pub fn delete_force(&self) -> Output {
        self.call(["delete", "--force", &self.id]).run()
    }

    /// Runs words in the container in the background, with more options before the id.
    #[track_caller]
    pub fn exec_detached(&self, options: &[&str], words: &[&str]) -> Process {
        let file = self.folder.join("pid");
        let call = self.call(["exec", "--detach", "--pid-file"]).arg(&file).args(options).arg(&self.id).args(words);
        self.settled(call.run()).ok().silent();
        Process::new(fs::read_to_string(file).expect("a pid file").parse().expect("digits only"))
    }

    /// Waits until what `start` or a detached call has begun is executed. The kernel wakes the runtime when it closes
    /// descriptors, before it gives the program its credentials, its name and its words; runc 1.1 closes them itself before
    /// execve (CVE-2024-21626), and crun 1.8 ends even before hooks have run. A test that looks at once would now fail and
    /// now pass.
    pub fn settled(&self, output: Output) -> Output {
        if output.code == Some(0) {
            let _ = within(limit(), || (!self.is_starting()).then_some(()));
        }
        output
    }

    /// Whether a process of the container is within execve, or still executes a peer or its detached copy, whose path is `/`.
    fn is_starting(&self) -> bool {
        let ours = |process: &Process| process.cgroup().is_some_and(|path| path.contains(&self.name));
        let peer = match self.runtime.name {
            Name::Ours | Name::Naive => None,
            Name::Runc => Some("runc"),
            Name::Crun => Some("crun"),
        };
        let of_peer = |path: PathBuf, peer| path == Path::new("/") || path.to_string_lossy().contains(peer);
        let before =
            |process: &Process| peer.is_some_and(|peer| process.link("exe").is_some_and(|path| of_peer(path, peer)));
        Process::all().iter().any(|process| ours(process) && (process.is_within_execve() || before(process)))
    }

    /// crun 1.8 creates, and detaches, in a process with a session of its own, which ends a moment after the call: until then it
    /// has the call's streams, and a snapshot has it.
    fn left(&self, output: Output) -> Output {
        if self.runtime.name == Name::Crun && output.code == Some(0) {
            let _ = within(limit() / 10, || (!self.is_leaving()).then_some(()));
        }
        output
    }

    fn is_leaving(&self) -> bool {
        let own = Process::new(process::id().cast_signed());
        let inside = |process: &Process| process.cgroup().is_some_and(|path| path.contains(&self.name));
        let named = |process: &Process| process.words().contains(&self.id) && !inside(process);
        let apart =
            |process: &Process| process.stat(6) != own.stat(6) && process.namespace("mnt") == own.namespace("mnt");
        let leaves = |process: &Process| named(process) && apart(process) && process.is_alive();
        // It loses its words before its child gets another parent.
        let parent = |process: &Process| process.status("PPid")?.parse().ok().map(Process::new);
        let kept = |process: &Process| parent(process).is_some_and(|parent| parent != own && !inside(&parent));
        Process::all().iter().any(|process| leaves(process) || inside(process) && kept(process))
    }

    /// Runs words in the container, to their end.
    pub fn exec<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Output {
        self.call(["exec", &self.id]).args(words).run()
    }

    /// Runs a script with the container's shell, to its end.
    pub fn exec_sh(&self, script: &str) -> Output {
        self.exec(["/bin/sh", "-c", script])
    }

    /// Waits until `state` reports this status.
    #[track_caller]
    pub fn wait_for(&self, status: &str) {
        until(&format!("{} is {status}", self.id), || (self.status() == status).then_some(()));
    }

    /// What the container made with [`Container::create`] or [`Container::run_detached`] has
    /// written to stdout so far.
    pub fn stdout(&self) -> String {
        let created = self.created.borrow();
        let file = &created.as_ref().expect("a created container").stdout_file;
        fs::read_to_string(file).unwrap_or_default()
    }

    /// As [`Container::stdout`], for stderr.
    pub fn stderr(&self) -> String {
        let created = self.created.borrow();
        let file = &created.as_ref().expect("a created container").stderr_file;
        fs::read_to_string(file).unwrap_or_default()
    }

    /// Waits until stdout contains `text` and returns stdout.
    #[track_caller]
    pub fn wait_stdout(&self, text: &str) -> String {
        let what = format!("{text:?} on the container's stdout");
        until(&what, || Some(self.stdout()).filter(|found| found.contains(text)))
    }

    /// Waits for the container's init, which is this process's child once the runtime has ended (of crun 1.8 the process by
    /// which it detaches), and returns its exit code, or 128 plus the signal.
    pub fn reap(&self, pid: i32) -> i32 {
        until("the end of the container's init", || match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Some(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => None,
            Err(Errno::ECHILD) if Process::new(pid).stat(3).is_some() => None,
            Err(error) => panic!("wait for {pid}: {error}"),
        })
    }

    /// Kills what is left and reaps it: what was executed in the background is a child of this process by now.
    fn end_processes(&self) {
        let _ = fs::write(self.parent_cgroup().join("cgroup.kill"), "1");
        let _ = within(Duration::from_secs(2), || (self.reap_ended() == 0).then_some(()));
    }

    /// Reaps what has ended in the container's cgroup and became a child of this process, as a shim would: the init of a
    /// pid namespace does not end before the last zombie in it is gone. Returns how many processes there were.
    pub fn reap_ended(&self) -> usize {
        let ours = |process: &Process| process.cgroup().is_some_and(|path| path.contains(&self.name));
        let left: Vec<Process> = Process::all().into_iter().filter(ours).collect();
        for process in &left {
            let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
        }
        left.len()
    }

    fn remove_container(&self) {
        let empty = fs::read_dir(&self.root).map_or(true, |mut entries| entries.next().is_none());
        if !empty {
            self.end_processes();
            let _ = self.call(["delete", "--force", &self.id]).deadline(Duration::from_secs(20)).spawn().wait_quietly();
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.remove_container();
        remove_cgroup(&self.parent_cgroup());
        unmount_below(&self.folder);
        if env::var_os("KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Kills what is in a cgroup and removes it with its children.
fn remove_cgroup(path: &Path) {
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let _ = fs::write(path.join("cgroup.freeze"), "0");
    let removed = within(Duration::from_secs(5), || {
        remove_folders(path);
        (!path.exists()).then_some(())
    });
    if removed.is_none() {
        eprintln!("cannot remove {}", path.display());
    }
}

fn remove_folders(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folders(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

fn unmount_below(folder: &Path) {
    let mounts = crate::host::mount_points();
    let prefix = format!("{}/", folder.display());
    for point in mounts.iter().rev().filter(|point| point.starts_with(&prefix)) {
        let _ = Command::new("umount").args(["-l", point]).output();
    }
}
