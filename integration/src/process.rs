//! A process as `/proc` shows it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A process of the host, which may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id in the test's pid namespace.
    pub pid: i32,
}

impl Process {
    /// The process with this id.
    pub fn new(pid: i32) -> Process {
        Process { pid }
    }

    /// A file of its folder in `/proc`.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(name)
    }

    /// The text of a file of its folder in `/proc`; empty when the process has ended.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// A field of `/proc/PID/status`, such as `PPid` or `CapEff`.
    pub fn status(&self, field: &str) -> Option<String> {
        let text = self.read("status");
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.map(|value| value.trim().to_string())
    }

    /// Fields of `/proc/PID/stat` by their numbers in proc(5), from 3 on.
    pub fn stat(&self, number: usize) -> Option<String> {
        let text = self.read("stat");
        let (_, rest) = text.rsplit_once(')')?;
        rest.split_whitespace().nth(number - 3).map(str::to_string)
    }

    /// Whether it runs: it exists and is no zombie.
    pub fn is_alive(&self) -> bool {
        self.stat(3).is_some_and(|state| !matches!(state.as_str(), "Z" | "X"))
    }

    /// Its words.
    pub fn words(&self) -> Vec<String> {
        let text = self.read("cmdline");
        text.split_terminator('\0').map(str::to_string).collect()
    }

    /// Whether it has given up its program and has no words of the next one yet: execve(2) sets them last, after the
    /// credentials and the name.
    pub fn is_within_execve(&self) -> bool {
        self.read("cmdline").is_empty() && self.is_alive()
    }

    /// What a link of its folder in `/proc` says, such as `ns/pid`, `exe` or `fd/1`.
    pub fn link(&self, name: &str) -> Option<PathBuf> {
        fs::read_link(self.path(name)).ok()
    }

    /// Its namespace of this type, such as `pid:[4026531836]`.
    pub fn namespace(&self, kind: &str) -> Option<PathBuf> {
        self.link(&format!("ns/{kind}"))
    }

    /// Its open files by number.
    pub fn files(&self) -> BTreeMap<u32, PathBuf> {
        let entries = fs::read_dir(self.path("fd")).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter_map(|number: u32| Some((number, self.link(&format!("fd/{number}"))?))).collect()
    }

    /// Its path in the cgroup v2 hierarchy.
    pub fn cgroup(&self) -> Option<String> {
        self.read("cgroup").lines().find_map(|line| line.strip_prefix("0::").map(str::to_string))
    }

    /// All processes there are.
    pub fn all() -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Process::new).collect()
    }
}
