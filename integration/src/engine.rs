//! Docker and Podman, which understand the same words, with the runtime under test behind them.

use crate::call::{Call, Output};
use crate::container;
use crate::deadline::until;
use crate::process::Process;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// The image that hack/engines gives to every engine: a busybox.
pub const IMAGE: &str = "busybox";

/// An engine with words like Docker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The daemon, containerd and its shim.
    Docker,
    /// Podman and conmon.
    Podman,
}

impl Engine {
    /// `docker VERB`, or the same of Podman.
    pub fn call(self, verb: &str) -> Call {
        let program = match self {
            Engine::Docker => "docker",
            Engine::Podman => "podman",
        };
        call(program).arg(verb)
    }

    /// Runs `words` in a container that is removed when they end.
    pub fn run(self, options: &[&str], words: &[&str]) -> Output {
        self.call("run").arg("--rm").args(options).arg(IMAGE).args(words).run()
    }

    /// A container that was started with `words` and is left alone.
    #[track_caller]
    pub fn detached(self, options: &[&str], words: &[&str]) -> Kept {
        let kept = Kept { engine: self, name: fresh_name() };
        let call = self.call("run").args(["--detach", "--name", &kept.name]);
        call.args(options).arg(IMAGE).args(words).run().ok();
        kept
    }

    /// A container that does nothing for long.
    #[track_caller]
    pub fn sleeping(self, options: &[&str]) -> Kept {
        self.detached(options, &["sleep", "1000"])
    }
}

/// A call of a client, whose outputs are kept in the folder of this process.
pub fn call(program: &str) -> Call {
    let folder = container::all();
    fs::create_dir_all(&folder).expect("make a folder for outputs");
    Call::new(program, &folder)
}

/// A name that nothing else has.
pub fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The folder of the cgroup that a process is in.
#[track_caller]
pub fn cgroup_of(pid: i32) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the cgroup of a process");
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("a cgroup of version 2");
    PathBuf::from(container::CGROUPS).join(path)
}

/// Waits until a process has come to its program: runc 1.1 calls it started a moment before, while it is `runc init` with many
/// threads.
#[track_caller]
pub fn wait_for_program(pid: i32, words: &[&str]) {
    until(&format!("{words:?} as process {pid}"), || (Process::new(pid).words() == words).then_some(()));
}

/// A container with a name, removed when dropped, running or not.
#[derive(Debug)]
pub struct Kept {
    /// Whose container it is.
    pub engine: Engine,
    /// Its name.
    pub name: String,
}

impl Kept {
    /// `docker VERB OPTION… NAME`; more words may follow.
    pub fn call(&self, verb: &str, options: &[&str]) -> Call {
        self.engine.call(verb).args(options).arg(&self.name)
    }

    /// Executes `words` in it.
    pub fn exec(&self, options: &[&str], words: &[&str]) -> Output {
        self.call("exec", options).args(words).run()
    }

    /// What the engine knows of it, by a template such as `{{.State.Pid}}`.
    #[track_caller]
    pub fn inspect(&self, template: &str) -> String {
        self.call("inspect", &["--format", template]).run().ok().text().to_string()
    }

    /// The process id of its init.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.inspect("{{.State.Pid}}").parse().expect("a process id")
    }

    /// Waits for its end and returns the exit code that the engine has learned.
    #[track_caller]
    pub fn wait(&self) -> String {
        self.call("wait", &[]).run().ok().text().to_string()
    }

    /// Waits until it has printed `text`, and returns all that it has.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        until(&format!("{text:?} in the logs of {}", self.name), || {
            Some(self.call("logs", &[]).run().ok().stdout).filter(|logs| logs.contains(text))
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let at_once: &[&str] = match self.engine {
            Engine::Docker => &["--force"],
            Engine::Podman => &["--force", "--time=0"],
        };
        self.call("rm", at_once).spawn().wait_quietly();
    }
}
