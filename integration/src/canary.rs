//! What a hostile image aims at: a folder of the host that no container may change, and a neighbour who renames.

use crate::container::Container;
use crate::mountinfo::{host_folder, host_mount, text};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

/// A folder of the host on a file system of its own, with a file, a folder, a fifo and `ptmx`.
#[derive(Debug)]
pub struct Canary {
    /// Where it is.
    pub path: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// A new one in the test's folder.
    pub fn new(container: &Container) -> Canary {
        let path = host_folder(container, "canary");
        host_mount(container, &["-t", "tmpfs", "tmpfs"], &path);
        fs::create_dir(path.join("folder")).expect("make a folder");
        for name in ["file", "ptmx", "folder/file"] {
            fs::write(path.join(name), "kept").expect("write a file");
        }
        container.host_call("mkfifo").arg(path.join("fifo")).run().ok();
        let before = described(&path);
        Canary { path, before }
    }

    /// Its path as text.
    pub fn text(&self) -> &str {
        text(&self.path)
    }

    /// Panics unless names, types, modes, owners and contents are as they were.
    #[track_caller]
    pub fn assert_unchanged(&self) {
        assert_eq!(described(&self.path), self.before, "the canary has changed");
    }
}

fn described(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(top).expect("read the canary").flatten() {
        let data = entry.metadata().expect("look at the canary");
        let content =
            if data.is_file() { fs::read_to_string(entry.path()).expect("read the canary") } else { String::new() };
        let fifo = data.file_type().is_fifo();
        found.insert(entry.path(), format!("{:o} {}:{} fifo {fifo} {content}", data.mode(), data.uid(), data.gid()));
        if data.is_dir() {
            found.extend(described(&entry.path()));
        }
    }
    found
}

/// A neighbour who changes names as fast as possible, until dropped.
#[derive(Debug)]
pub struct Racer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Racer {
    /// Begins to make a change again and again.
    pub fn start(mut change: impl FnMut() + Send + 'static) -> Racer {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                change();
            }
        });
        Racer { stop, thread: Some(thread) }
    }

    /// Begins to exchange `one` and `other`, which exist in the same file system.
    pub fn exchange(one: PathBuf, other: PathBuf) -> Racer {
        Racer::start(move || {
            // Where a name is missing for a moment there is nothing to exchange.
            let _ = renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE);
        })
    }

    /// How often a race is run: `RACES`, or a number that fits into a test run, which user-mode Linux makes slow.
    pub fn rounds() -> u32 {
        let slow = env::var("PLACE").is_ok_and(|place| place == "uml");
        env::var("RACES").ok().and_then(|word| word.parse().ok()).unwrap_or(if slow { 8 } else { 40 })
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
