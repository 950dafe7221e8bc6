//! Who is measured, and the calls they get.

use integration::bundle::Bundle;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The mount point of cgroup v2.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// Whose calls are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Floor,
    Ours,
    Crun,
    Runc,
}

impl Name {
    /// As it is printed.
    pub fn text(self) -> &'static str {
        match self {
            Name::Floor => "floor",
            Name::Ours => "runtime",
            Name::Crun => "crun",
            Name::Runc => "runc",
        }
    }
}

/// A program that is measured, with a state directory of its own.
#[derive(Debug)]
pub struct Subject {
    pub name: Name,
    pub path: PathBuf,
    root: PathBuf,
}

impl Subject {
    /// The floor (`BENCH_FLOOR`), ours (`RUNTIME`), and crun and runc from `PATH`.
    pub fn all() -> Result<Vec<Subject>, String> {
        let named = |variable: &str| {
            std::env::var_os(variable).map(PathBuf::from).ok_or(format!("{variable} is not set: use hack/bench"))
        };
        let programs = [
            (Name::Floor, named("BENCH_FLOOR")?),
            (Name::Ours, named("RUNTIME")?),
            (Name::Crun, PathBuf::from("/usr/bin/crun")),
            (Name::Runc, PathBuf::from("/usr/sbin/runc")),
        ];
        let found = programs.into_iter().map(|(name, path)| {
            let root = folder().join(name.text());
            std::fs::create_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))?;
            path.is_file()
                .then(|| Subject { name, path: path.clone(), root })
                .ok_or(format!("{}: not there", path.display()))
        });
        found.collect()
    }

    /// A call with these words, whose streams are the null device.
    pub fn call(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        if self.name == Name::Crun
            && let Some(library) = std::env::var_os("BENCH_CRUN_PRELOAD").filter(|path| !path.is_empty())
        {
            command.env("LD_PRELOAD", library);
        }
        command.arg("--root").arg(&self.root).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// The call that runs a container from birth to removal.
    pub fn run(&self, bundle: &Bundle, id: &str) -> Command {
        if self.name == Name::Floor {
            let mut command = Command::new(&self.path);
            command.arg(Path::new(CGROUPS).join(format!("bench-{id}"))).arg(bundle.rootfs());
            return command;
        }
        self.call(&["run", "--bundle", &bundle.path().display().to_string(), id])
    }
}

/// The folder of bundles and states, made by hack/bench.
pub fn folder() -> PathBuf {
    std::env::var_os("BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// A bundle of this name, made once: `runc spec` with this program.
pub fn bundle(name: &str, words: &[&str]) -> Bundle {
    let mut bundle = Bundle::new(folder().join(name));
    bundle.args(words);
    bundle
}

/// Runs a call to its end, which must be a success, and tells how long it took.
pub fn timed(mut command: Command) -> Result<Duration, String> {
    let start = Instant::now();
    let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    ended(child, &command)?;
    Ok(start.elapsed())
}

/// Waits for a call, which must succeed.
pub fn ended(mut child: Child, command: &Command) -> Result<(), String> {
    let status = child.wait().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
