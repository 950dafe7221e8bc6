//! What a container can leave behind on the host.

use crate::container::{Container, all};
use crate::deadline::{limit, within};
use crate::process::Process;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The host as one test sees it: what belongs to other tests is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Lines of mountinfo without the mounts' ids.
    pub mounts: BTreeSet<String>,
    /// Folders of the test's cgroup, with their processes' count.
    pub cgroups: BTreeSet<String>,
    /// Everything below `--root`.
    pub state: BTreeSet<String>,
    /// Living processes that belong to the test.
    pub processes: BTreeMap<i32, String>,
    /// Owner and mode of everything in the bundle.
    pub owners: BTreeMap<String, String>,
}

impl Snapshot {
    /// The host around `container` now.
    pub fn take(container: &Container) -> Snapshot {
        Snapshot {
            mounts: mounts(container.folder()),
            cgroups: cgroups(&container.parent_cgroup()),
            state: tree(&container.root).into_keys().collect(),
            processes: processes(container),
            owners: tree(container.bundle.path()),
        }
    }

    /// Panics unless the host is now as it was, or gets so within seconds: what was killed takes a moment to end. Mount
    /// points made in the root filesystem are allowed; what was there must have kept its owner and mode. An empty state
    /// directory counts as none.
    #[track_caller]
    pub fn assert_unchanged(&self, container: &Container) {
        let rest = |seen: &Snapshot| (seen.cgroups.clone(), seen.processes.clone());
        let _ = within(limit() / 3, || (rest(&self.settled(container)) == rest(self)).then_some(()));
        let now = self.settled(container);
        let words = |set: &BTreeMap<i32, String>| set.iter().map(|(pid, line)| format!("{pid} {line}")).collect();
        assert_same("mounts", &self.mounts, &now.mounts);
        assert_same("cgroups", &self.cgroups, &now.cgroups);
        assert_same("the state directory", &self.state, &now.state);
        assert_same("processes", &words(&self.processes), &words(&now.processes));
        for (path, owner) in &self.owners {
            assert_eq!(now.owners.get(path), Some(owner), "{path} has changed");
        }
    }
}

impl Snapshot {
    /// As [`Snapshot::take`]. Debian's runc sometimes finds its cgroup busy and leaves it, empty, after a failed create;
    /// comparisons with it are not about that, nor is the next one, whose create would remove it.
    fn settled(&self, container: &Container) -> Snapshot {
        let mut now = Snapshot::take(container);
        let leaf = format!("{} 0", container.cgroup().display());
        if container.runtime.is_runc() && !self.cgroups.contains(&leaf) && now.cgroups.remove(&leaf) {
            let _ = fs::remove_dir(container.cgroup());
        }
        now
    }
}

#[track_caller]
fn assert_same(what: &str, before: &BTreeSet<String>, now: &BTreeSet<String>) {
    let gone: Vec<_> = before.difference(now).collect();
    let new: Vec<_> = now.difference(before).collect();
    assert!(gone.is_empty() && new.is_empty(), "{what}: gone {gone:#?}, new {new:#?}");
}

fn mounts(own: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let (all, own) = (all(), own.display().to_string());
    // crun mounts its binary on a temporary file for a moment, runc on one in its state directory, which may be that of
    // another test.
    let of_runc = |line: &str| line.contains(" /run/runc/") && line.contains("/runc.");
    let passing = |line: &str| line.contains(" /tmp/crun.") || of_runc(line);
    let foreign = |line: &str| passing(line) || line.contains(&all.display().to_string()) && !line.contains(&own);
    let without_ids = |line: &str| line.splitn(3, ' ').nth(2).unwrap_or_default().to_string();
    text.lines().filter(|line| !foreign(line)).map(without_ids).collect()
}

/// The mount points of the test's mount namespace, in the order in which they were mounted.
pub fn mount_points() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = |line: &str| line.split(' ').nth(4).map(|word| word.replace("\\040", " "));
    text.lines().filter_map(point).collect()
}

fn cgroups(top: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(path) = open.pop() {
        let Ok(entries) = fs::read_dir(&path) else { continue };
        let procs = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        found.insert(format!("{} {}", path.display(), procs.lines().count()));
        open.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    found
}

/// Every path below `top` (but not `top` itself) with its owner and mode.
fn tree(top: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            let owner = format!("{}:{} {:o}", data.uid(), data.gid(), data.mode());
            found.insert(entry.path().display().to_string(), owner);
            if data.is_dir() {
                open.push(entry.path());
            }
        }
    }
    found
}

/// Living processes that name the test's folder or id, stand below it or are in its cgroup.
pub fn processes(container: &Container) -> BTreeMap<i32, String> {
    let folder = container.folder();
    let below = |process: &Process, link: &str| process.link(link).is_some_and(|path| path.starts_with(folder));
    let belongs = |process: &Process| {
        let words = process.words().join(" ");
        let in_cgroup = process.cgroup().is_some_and(|path| {
            let mut names = path.split('/');
            names.any(|name| name == container.name())
        });
        let named = words.contains(&format!("{}/", folder.display()))
            || process.words().iter().any(|word| word == container.name());
        in_cgroup || named || below(process, "cwd") || below(process, "root") || below(process, "exe")
    };
    let own = std::process::id().cast_signed();
    let candidates = Process::all().into_iter().filter(|process| process.pid != own && process.is_alive());
    candidates.filter(belongs).map(|process| (process.pid, process.words().join(" "))).collect()
}
