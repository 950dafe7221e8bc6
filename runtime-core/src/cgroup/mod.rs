//! Cgroups: the only code that reads or writes them. It knows no OCI type; what to write was decided by
//! [`crate::plan::cgroup`].
//!
//! A [`Cgroup`] is an open directory of the cgroup2 hierarchy. Everything is done relative to that
//! descriptor, nothing is remembered between calls, and any thread may call anything.
//!
//! What it does not do: it never freezes in order to kill (`cgroup.kill` does it in one go), never
//! touches a v1 hierarchy, and never moves a process (birth with `CLONE_INTO_CGROUP` needs no move).

#![forbid(unsafe_code)]

mod create;
mod devices;
mod fs;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub(crate) use create::Created;
use fs::{Dir, Refusal, keyed, unless_gone};

use crate::error::{Error, Need, Result, StepError};
use crate::plan::Note;
use crate::plan::cgroup::CgroupPlan;

/// What a plan may depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CgroupHost {
    /// Where cgroup2 is mounted.
    pub mount: PathBuf,
    /// The caller's own cgroup, below that mount.
    pub own: String,
    /// Controllers of the cgroup2 hierarchy.
    pub controllers: BTreeSet<String>,
    /// Controllers that are bound to a v1 hierarchy, by their v1 names.
    pub v1: BTreeSet<String>,
}

impl CgroupHost {
    /// Where cgroup2 is mounted: on a host with cgroup v2 only, and on a hybrid one.
    const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

    /// Looks at this machine.
    ///
    /// # Errors
    /// [`Error::Host`] without a mounted cgroup2 or without procfs; [`Error::Step`] if a file cannot be read.
    pub fn probe() -> Result<Self> {
        let membership = crate::pseudo::read("/proc/self/cgroup");
        let membership =
            membership.map_err(|error| Error::Host { what: Need::Procfs(format!("/proc/self/cgroup: {error}")) })?;
        let (own, v1) = parse_membership(&membership);
        let (Some(own), (mount, root)) = (own, Self::mounted()?) else {
            return Err(Error::Host { what: Need::Cgroup2 });
        };
        let controllers = root.read("cgroup.controllers");
        let controllers = controllers
            .map_err(|refusal| refusal.step(None, format!("read {}/cgroup.controllers", mount.display())))?;
        Ok(Self {
            mount: mount.to_owned(),
            own,
            controllers: controllers.split_whitespace().map(str::to_owned).collect(),
            v1,
        })
    }

    fn mounted() -> Result<(&'static Path, Dir)> {
        let mounted = Self::MOUNTS.iter().find_map(|path| Some((Path::new(path), Dir::mount(Path::new(path)).ok()?)));
        mounted.ok_or(Error::Host { what: Need::Cgroup2 })
    }

    /// Why `controller` cannot be used, as the end of a sentence; `None` if it can.
    #[must_use]
    pub fn lacks(&self, controller: &str) -> Option<&'static str> {
        let v1_name = if controller == "io" { "blkio" } else { controller };
        if self.controllers.contains(controller) {
            None
        } else if self.v1.contains(v1_name) {
            Some("is in cgroup v1 on this host")
        } else {
            Some("is not available in cgroup v2 on this host")
        }
    }
}

/// `/proc/self/cgroup` → the path in cgroup2, and the controllers of v1 hierarchies (cgroups(7)).
fn parse_membership(text: &str) -> (Option<String>, BTreeSet<String>) {
    let mut own = None;
    let mut v1 = BTreeSet::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        match (fields.next(), fields.next(), fields.next()) {
            (Some("0"), Some(""), Some(path)) => own = Some(path.to_owned()),
            (Some(_), Some(names), Some(_)) => {
                v1.extend(
                    names.split(',').filter(|name| !name.is_empty() && !name.starts_with("name=")).map(str::to_owned),
                );
            }
            _ => {}
        }
    }
    (own, v1)
}

/// An existing cgroup.
#[derive(Debug)]
pub struct Cgroup {
    dir: Dir,
    mount: PathBuf,
    path: String,
    /// Made here, so that nobody has put anything on it.
    fresh: bool,
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Cgroup {
    /// Makes the cgroup of `plan` ready for its first process: directories, controllers, limits, owner.
    /// After an error the directories that it made are gone again.
    ///
    /// # Errors
    /// [`Error::Step`] with the field that asked; the check that a cgroup is fit for a container
    /// (LNX-53) is a step named `check`.
    pub fn create(host: &CgroupHost, plan: &CgroupPlan) -> Result<Created> {
        create::create(host, plan)
    }

    /// Lets its processes use the devices of `plan` and no others. Returns a note if that was left out: a caller without
    /// privileges on the host may not load the program.
    ///
    /// # Errors
    /// [`Error::Step`] with the field, and the verifier's words.
    pub fn restrict_devices(&self, plan: &CgroupPlan) -> Result<Option<Note>> {
        create::restrict_devices(self, plan)
    }

    /// The cgroup at `path` below the mount; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Step`] if it cannot be opened for another reason.
    pub fn open(host: &CgroupHost, path: &str) -> Result<Option<Self>> {
        let dir =
            Dir::mount(&host.mount).map_err(|refusal| refusal.step(None, format!("open {}", host.mount.display())))?;
        Self::below(&host.mount, dir, path)
    }

    /// The cgroup at `path` below wherever cgroup2 is mounted; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Host`] without a mounted cgroup2; [`Error::Step`] as for [`Self::open`].
    pub fn at(path: &str) -> Result<Option<Self>> {
        let (mount, root) = CgroupHost::mounted()?;
        Self::below(mount, root, path)
    }

    fn below(mount: &Path, root: Dir, path: &str) -> Result<Option<Self>> {
        let dir =
            unless_gone(root.descend(path)).map_err(|refusal| refusal.step(None, format!("open cgroup {path}")))?;
        Ok(dir.map(|dir| Self { dir, mount: mount.to_owned(), path: path.to_owned(), fresh: false }))
    }

    /// The cgroup of the process `pid`; `None` if it is gone.
    ///
    /// # Errors
    /// [`Error::Step`] if it cannot be opened.
    pub fn of(host: &CgroupHost, pid: i32) -> Result<Option<Self>> {
        let file = format!("/proc/{pid}/cgroup");
        let text = match crate::pseudo::read(&file) {
            Err(e) if matches!(e.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ESRCH)) => return Ok(None),
            other => other.map_err(|e| StepError::io(None, format!("read {file}"), "openat", &e))?,
        };
        text.lines().find_map(|line| line.strip_prefix("0::")).map_or(Ok(None), |path| Self::open(host, path))
    }

    /// Whether it passes controllers on to cgroups below it, and so takes no processes itself.
    ///
    /// # Errors
    /// [`Error::Step`] if it cannot be read.
    pub fn is_inner(&self) -> Result<bool> {
        let passed_on = self.dir.word("cgroup.subtree_control").map_err(self.refused("look at"))?;
        Ok(passed_on.is_some_and(|controllers| !controllers.is_empty()))
    }

    /// The directory, for `CLONE_INTO_CGROUP`; close-on-exec.
    #[must_use]
    pub fn dir_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    fn refused(&self, doing: &str) -> impl Fn(Refusal) -> StepError {
        let doing = format!("{doing} cgroup {}", self.path);
        move |refusal| refusal.step(None, doing.clone())
    }

    /// SIGKILL to every process in it and below it, also to those born meanwhile (`cgroup.kill`, Linux
    /// 5.14); frozen ones included. A cgroup that has gone is fine.
    ///
    /// # Errors
    /// [`Error::Step`].
    pub fn kill(&self) -> Result<()> {
        unless_gone(self.dir.write("cgroup.kill", "1")).map_err(self.refused("kill"))?;
        Ok(())
    }

    /// Freezes it and waits until every process has stopped. After an error it is thawed again.
    ///
    /// # Errors
    /// [`Error::Step`]; `ETIMEDOUT` if they have not stopped `within` that time, `ECANCELED` if somebody else has thawed it
    /// meanwhile.
    pub fn freeze(&self, within: Duration) -> Result<()> {
        let refused = self.refused("freeze");
        self.dir.write("cgroup.freeze", "1").map_err(&refused)?;
        let Err(problem) = self.settle(true, within) else { return Ok(()) };
        let mut error = refused(problem);
        if problem.errno == Errno::ECANCELED {
            error.detail = Some("somebody else has thawed it meanwhile".to_owned());
        } else {
            unless_gone(self.dir.write("cgroup.freeze", "0")).map_err(self.refused("thaw"))?;
        }
        Err(error.into())
    }

    /// Thaws it and waits until it is.
    ///
    /// # Errors
    /// [`Error::Step`]; `ETIMEDOUT` if it still is frozen after `within`, because a cgroup above it is; `ECANCELED` if
    /// somebody else has frozen it meanwhile.
    pub fn thaw(&self, within: Duration) -> Result<()> {
        let refused = self.refused("thaw");
        self.dir.write("cgroup.freeze", "0").map_err(&refused)?;
        let Err(problem) = self.settle(false, within) else { return Ok(()) };
        let mut error = refused(problem);
        error.detail = match problem.errno {
            Errno::ETIMEDOUT => Some("a cgroup above it is frozen".to_owned()),
            Errno::ECANCELED => Some("somebody else has frozen it meanwhile".to_owned()),
            _ => None,
        };
        Err(error.into())
    }

    /// Waits until it is frozen, or is not any more. Whoever asks for the opposite meanwhile ends the wait, which might never
    /// end otherwise, and of which no event tells.
    fn settle(&self, frozen: bool, within: Duration) -> fs::Result {
        const LOOK_AGAIN: Duration = Duration::from_millis(50);
        let (deadline, wanted) = (Instant::now() + within, if frozen { "1" } else { "0" });
        let given_up = |errno| Err(Refusal { call: "wait for cgroup.events", errno });
        loop {
            if self.wait_for("frozen", u64::from(frozen), deadline.min(Instant::now() + LOOK_AGAIN))? {
                return Ok(());
            }
            if self.dir.word("cgroup.freeze")?.as_deref() != Some(wanted) {
                return given_up(Errno::ECANCELED);
            }
            if Instant::now() >= deadline {
                return given_up(Errno::ETIMEDOUT);
            }
        }
    }

    /// Whether all of its processes are frozen, by itself or by an ancestor. One that has gone is not.
    ///
    /// # Errors
    /// [`Error::Step`].
    pub fn is_frozen(&self) -> Result<bool> {
        Ok(self.event("frozen").map_err(self.refused("look at"))? == Some(1))
    }

    /// Waits until it has no process any more; `false` if it still has after `within`.
    ///
    /// # Errors
    /// [`Error::Step`].
    pub fn wait_empty(&self, within: Duration) -> Result<bool> {
        Ok(self.wait_for("populated", 0, Instant::now() + within).map_err(self.refused("wait for"))?)
    }

    /// The processes in it and below it, sorted, as far as the caller's pid namespace has a number for
    /// them. In a threaded cgroup, which has no list of processes, their threads.
    ///
    /// # Errors
    /// [`Error::Step`].
    pub fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = pids(&self.dir).map_err(self.refused("read pids of"))?;
        pids.retain(|pid| *pid != 0);
        Ok(pids)
    }

    /// How often the OOM killer struck in it or below it, with `memory.max` in bytes (`None`: unlimited).
    /// `None` if it never did, or if there is no memory controller.
    ///
    /// # Errors
    /// [`Error::Step`].
    pub fn memory_oom(&self) -> Result<Option<(u64, Option<u64>)>> {
        let refused = self.refused("read memory events of");
        let events = unless_gone(self.dir.read("memory.events")).map_err(&refused)?;
        let Some(count) = events.and_then(|events| keyed(&events, "oom_kill")).filter(|count| *count > 0) else {
            return Ok(None);
        };
        let limit = self.dir.word("memory.max").map_err(&refused)?;
        Ok(Some((count, limit.and_then(|limit| limit.parse().ok()))))
    }

    /// Removes it with all cgroups below it. While processes are still ending it tries again, ten times
    /// at growing intervals from 1 ms, about one second in all, and not longer than `within`. A cgroup
    /// that has gone is fine.
    ///
    /// # Errors
    /// [`Error::Step`]; `EBUSY` if there still are processes.
    pub fn remove(&self, within: Duration) -> Result<()> {
        const TRIES: u32 = 10;
        let deadline = Instant::now() + within;
        let refused = self.refused("remove");
        let mut pause = Duration::from_millis(1);
        for _ in 0..TRIES {
            match self.try_remove(deadline) {
                Err(refusal) if refusal.errno == Errno::EBUSY && Instant::now() < deadline => {}
                result => return Ok(result.map_err(refused)?),
            }
            let until = (Instant::now() + pause).min(deadline);
            self.wait_for("populated", 0, until).map_err(&refused)?;
            pause *= 2;
        }
        let mut error = refused(Refusal { call: "rmdir", errno: Errno::EBUSY });
        error.detail = pids(&self.dir)
            .ok()
            .filter(|pids| !pids.is_empty())
            .map(|pids| format!("it has {} process(es)", pids.len()));
        Err(error.into())
    }

    fn try_remove(&self, deadline: Instant) -> fs::Result {
        let Some((parent, name)) = self.parent()? else { return Ok(()) };
        match parent.remove(name) {
            Err(refusal) if refusal.errno == Errno::EBUSY => {}
            // For a path that does not exist, too, when the tree is mounted read-only.
            Err(refusal) if refusal.errno == Errno::EROFS && unless_gone(parent.child(name))?.is_none() => {
                return Ok(());
            }
            result => return result,
        }
        self.dir.remove_below(|| Instant::now() < deadline)?;
        parent.remove(name)
    }

    /// The directory above, and the name there; `None` if that has gone.
    fn parent(&self) -> fs::Result<Option<(Dir, &str)>> {
        let (above, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        Ok(unless_gone(Dir::mount(&self.mount)?.descend(above))?.map(|parent| (parent, name)))
    }

    /// A value of `cgroup.events`; `None` if the cgroup has gone.
    fn event(&self, key: &str) -> fs::Result<Option<u64>> {
        Ok(unless_gone(self.dir.read("cgroup.events"))?.and_then(|text| keyed(&text, key)))
    }

    /// Waits until `key` of `cgroup.events` is `value`; `false` at `deadline`. The kernel wakes readers
    /// that poll for POLLPRI at every change. In a cgroup that has gone everything is 0.
    fn wait_for(&self, key: &str, value: u64, deadline: Instant) -> fs::Result<bool> {
        let Some(file) = unless_gone(self.dir.file("cgroup.events"))? else { return Ok(value == 0) };
        loop {
            let mut buffer = [0; 256];
            let len = match file.read_at(&mut buffer, 0) {
                Ok(len) => len,
                Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => return Ok(value == 0),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Refusal::io("read")(error)),
            };
            if keyed(&String::from_utf8_lossy(&buffer[..len]), key) == Some(value) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // Rounded up, or the last fraction of a millisecond would be spent without sleeping.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Refusal { call: "poll", errno }),
            }
        }
    }
}

/// 0 stands for a process outside the caller's pid namespace.
fn pids(dir: &Dir) -> fs::Result<Vec<i32>> {
    let mut pids = Vec::new();
    dir.walk(|dir| {
        let text = match dir.read("cgroup.procs") {
            Err(refusal) if refusal.errno == Errno::EOPNOTSUPP => dir.read("cgroup.threads"),
            text => text,
        };
        pids.extend(unless_gone(text)?.iter().flat_map(|text| text.lines()).filter_map(|pid| pid.parse::<i32>().ok()));
        Ok(())
    })?;
    pids.sort_unstable();
    // A threaded subtree lists a thread once below the cgroup that lists its process.
    pids.dedup_by(|a, b| a == b && *a != 0);
    Ok(pids)
}

#[cfg(test)]
mod tests;
