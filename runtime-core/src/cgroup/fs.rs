//! One directory of the cgroup2 hierarchy: read, write, list, make, remove, all relative to its descriptor.
//!
//! A path is walked one component at a time without following links, so that nothing a container mounts
//! or creates can lead elsewhere. Walks over a subtree keep one descriptor open, not one for each level:
//! a container may nest its own cgroups as deep as it likes.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::{Uid, UnlinkatFlags, fchownat, unlinkat};

use crate::at::ConfigPath;
use crate::error::StepError;

/// A refused system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub call: &'static str,
    pub errno: Errno,
}

pub(super) type Result<T = ()> = std::result::Result<T, Refusal>;

impl Refusal {
    pub const fn of(call: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { call, errno }
    }

    pub fn io(call: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self { call, errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw) }
    }

    pub fn step(self, origin: Option<ConfigPath>, doing: impl Into<String>) -> StepError {
        StepError::host(origin, doing, self.call, self.errno)
    }

    /// The cgroup was removed: its name is gone (ENOENT), or its files are (ENODEV).
    pub fn is_gone(self) -> bool {
        matches!(self.errno, Errno::ENOENT | Errno::ENODEV)
    }

    /// The caller's rights do not suffice, or the tree is mounted read-only.
    pub fn is_denied(self) -> bool {
        matches!(self.errno, Errno::EACCES | Errno::EPERM | Errno::EROFS)
    }
}

/// `Ok(None)` for a cgroup that has gone.
pub(super) fn unless_gone<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(refusal) if refusal.is_gone() => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// An open cgroup directory.
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

impl Dir {
    /// The directory that cgroup2 is mounted on; `ENODEV` if something else is.
    pub fn mount(path: &Path) -> Result<Self> {
        let dir = nix::fcntl::open(path, DIRECTORY, Mode::empty()).map_err(Refusal::of("open"))?;
        let kind = fstatfs(&dir).map_err(Refusal::of("fstatfs"))?.filesystem_type();
        if kind == CGROUP2_SUPER_MAGIC { Ok(Self(dir)) } else { Err(Refusal { call: "fstatfs", errno: Errno::ENODEV }) }
    }

    /// The directory `name` in this one; a link is refused (`ENOTDIR`).
    pub fn child(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        openat(self, name.as_ref(), DIRECTORY, Mode::empty()).map(Self).map_err(Refusal::of("openat"))
    }

    /// The directory at `path`, which is made of plain components.
    pub fn descend(self, path: &str) -> Result<Self> {
        components(path).try_fold(self, |dir, name| dir.child(name))
    }

    fn parent(&self) -> Result<Self> {
        self.child("..")
    }

    /// Makes the directory `name`; `false` if it was there.
    pub fn make(&self, name: &str) -> Result<bool> {
        match mkdirat(self, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(Refusal { call: "mkdir", errno }),
        }
    }

    /// Removes the cgroup `name`; one that has gone is fine.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result {
        match unlinkat(self, name.as_ref(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Refusal { call: "rmdir", errno }),
        }
    }

    /// A file of this cgroup, for reading.
    pub fn file(&self, name: &str) -> Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(self, name, flags, Mode::empty()).map(File::from).map_err(Refusal::of("openat"))
    }

    /// What a file contains.
    pub fn read(&self, name: &str) -> Result<String> {
        crate::pseudo::text_of(self.file(name)?).map_err(Refusal::io("read"))
    }

    /// The one number or word in a file; `None` if there is no such file.
    pub fn word(&self, name: &str) -> Result<Option<String>> {
        Ok(unless_gone(self.read(name))?.map(|text| text.trim().to_owned()))
    }

    /// Writes `value` with one write(2), which is what the kernel takes for one setting.
    pub fn write(&self, name: &str, value: &str) -> Result {
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self, name, flags, Mode::empty()).map_err(Refusal::of("openat"))?;
        loop {
            match nix::unistd::write(&file, value.as_bytes()) {
                Ok(written) if written == value.len() => return Ok(()),
                Ok(_) => return Err(Refusal { call: "write", errno: Errno::EIO }),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Refusal { call: "write", errno }),
            }
        }
    }

    /// Gives the file `name`, or `.` for the directory itself, to `uid`; `false` if there is none.
    pub fn chown(&self, name: &str, uid: u32) -> Result<bool> {
        match fchownat(self, name, Some(Uid::from_raw(uid)), None, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(Refusal { call: "fchownat", errno }),
        }
    }

    /// The names of the cgroups directly below this one; none if this one has gone.
    fn children(&self) -> Result<Vec<OsString>> {
        let entries = match std::fs::read_dir(format!("/proc/self/fd/{}", self.0.as_raw_fd())) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Refusal::io("getdents64")(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Refusal::io("getdents64"))?;
            if entry.file_type().map_err(Refusal::io("getdents64"))?.is_dir() {
                names.push(entry.file_name());
            }
        }
        Ok(names)
    }

    /// Calls `visit` for this cgroup and for every one below it; those that go meanwhile are left out.
    pub fn walk(&self, mut visit: impl FnMut(&Self) -> Result) -> Result {
        visit(self)?;
        let mut here = self.child(".")?;
        let mut open_levels = vec![here.children()?];
        while let Some(rest) = open_levels.last_mut() {
            if let Some(name) = rest.pop() {
                let Some(child) = unless_gone(here.child(&name))? else { continue };
                visit(&child)?;
                open_levels.push(child.children()?);
                here = child;
            } else {
                open_levels.pop();
                if !open_levels.is_empty() {
                    here = here.parent()?;
                }
            }
        }
        Ok(())
    }

    /// Removes every cgroup below this one, the deepest first; `EBUSY` for the first that has processes,
    /// or when `in_time` says no.
    pub fn remove_below(&self, in_time: impl Fn() -> bool) -> Result {
        let mut here = self.child(".")?;
        let mut names = Vec::new();
        while in_time() {
            // Most are leaves: only what stays has children, or processes.
            let stays = here.children()?.into_iter().find(|name| here.remove(name).is_err());
            if let Some(name) = stays {
                let Some(child) = unless_gone(here.child(&name))? else { continue };
                here = child;
                names.push(name);
            } else if let Some(name) = names.pop() {
                here = here.parent()?;
                here.remove(name)?;
            } else {
                return Ok(());
            }
        }
        Err(Refusal { call: "rmdir", errno: Errno::EBUSY })
    }
}

/// The components of a cgroup path.
pub(super) fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|component| !component.is_empty())
}

/// The value of `key` in a file of `KEY VALUE` lines such as `cgroup.events`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
