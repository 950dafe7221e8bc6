//! The root directory: one directory per container, one lock in each.
//!
//! An id is taken from the instant its directory is made (`mkdir`), and free again when that directory
//! is gone, which is the last thing `delete` does. Between the two, whoever changes the container holds
//! a `flock` on its `lock` file; the kernel releases it when its holder dies. Readers hold nothing:
//! `state.json` is only ever replaced as a whole.
//!
//! Everything below the root is reached through descriptors and never through a symbolic link.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::error::{Errno, Error, Result, StateProblem, StepError};
use crate::id::ContainerId;
use crate::launch::InitImage;

/// How long a command waits for another one that works on the same container.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How often creating or removing a directory is tried against others who remove it at the same time.
const ATTEMPTS: u32 = 100;
pub(super) const LOCK: &str = "lock";
const FILES: Mode = Mode::from_bits_truncate(0o600);
const DIRECTORIES: Mode = Mode::from_bits_truncate(0o700);

/// The directory that holds all containers of one user or engine.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    pub(super) image: InitImage,
}

impl Store {
    /// The store in `root`, which is made with mode 0700 if it is not there. A relative path is resolved
    /// now; the mode of a directory that exists is left as it is.
    ///
    /// # Errors
    /// [`StateProblem::Root`] for `/`, the empty path, a file, and what cannot be made absolute; [`Error::Step`]
    /// if the directory cannot be made.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let given = root.as_ref();
        let refuse = |problem: String| Error::state("", StateProblem::Root { path: given.to_owned(), problem });
        let root = std::path::absolute(given).map_err(|error| refuse(error.to_string()))?;
        if depth(&root) == 0 {
            return Err(refuse("the root of the file system cannot hold containers".to_owned()));
        }
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(DIRECTORIES.bits());
        builder.create(&root).map_err(|error| match root.symlink_metadata() {
            Ok(found) if !found.is_dir() => refuse("not a directory".to_owned()),
            _ => io(&root, "create", "mkdir", &error),
        })?;
        Ok(Self { root, image: InitImage::memory() })
    }

    /// The same store, for containers whose processes begin with this init.
    #[must_use]
    pub fn with_init(self, image: InitImage) -> Self {
        Self { image, ..self }
    }

    /// The absolute path of the root directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The names of all entries that could be containers, sorted.
    pub(super) fn ids(&self) -> Result<Vec<ContainerId>> {
        let Some(root) = self.existing_root()? else { return Ok(Vec::new()) };
        let names = names(root.as_fd()).map_err(|error| io(&self.root, "list", "getdents64", &error))?;
        let mut ids = Vec::new();
        for name in names {
            let Some(name) = name.to_str() else { continue };
            let is_dir = fstatat(&root, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR);
            // Foreign files are none of our business.
            if let (true, Ok(id)) = (is_dir, ContainerId::new(name)) {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// The directory of `id`, if there is one.
    pub(super) fn find(&self, id: &ContainerId) -> Result<Option<ContainerDir>> {
        match self.existing_root()? {
            Some(root) => ContainerDir::open(root, &self.root, id),
            None => Ok(None),
        }
    }

    /// Takes `id`: makes its directory and locks it.
    ///
    /// # Errors
    /// [`StateProblem::AlreadyExists`] if anything has that name, also what a killed command left.
    pub(super) fn make(&self, id: &ContainerId) -> Result<(ContainerDir, Lock)> {
        // Between mkdir and lock a `delete --force` of this id may find and remove the directory.
        for _ in 0..ATTEMPTS {
            let root = self.existing_root()?.ok_or_else(|| refused(&self.root, "open", "open", Errno::ENOENT))?;
            match mkdirat(&root, id.as_str(), DIRECTORIES) {
                Ok(()) => {}
                Err(Errno::EEXIST) => return Err(Error::state(id.as_str(), StateProblem::AlreadyExists)),
                Err(errno) => return Err(refused(&self.root.join(id.as_str()), "create", "mkdirat", errno)),
            }
            let Some(dir) = ContainerDir::open(root, &self.root, id)? else { continue };
            if let Some(lock) = dir.lock(LOCK_WAIT, OFlag::O_CREAT)? {
                return Ok((dir, lock));
            }
        }
        Err(Error::state(id.as_str(), StateProblem::Busy { waited: Duration::ZERO }))
    }

    /// Removes what has the name `id` and is no directory; `false` if it is one.
    pub(super) fn remove_file(&self, id: &ContainerId) -> Result<bool> {
        let Some(root) = self.existing_root()? else { return Ok(false) };
        match unlinkat(&root, id.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::EISDIR) => Ok(false),
            Err(errno) => Err(refused(&self.path().join(id.as_str()), "remove", "unlinkat", errno)),
        }
    }

    fn existing_root(&self) -> Result<Option<OwnedFd>> {
        match open(&self.root, OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(root) => Ok(Some(root)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(refused(&self.root, "open", "open", errno)),
        }
    }
}

/// How far below the root of the file system an absolute path is, going by its text.
fn depth(path: &Path) -> u32 {
    path.components().fold(0, |depth, component| match component {
        Component::Normal(_) => depth + 1,
        Component::ParentDir => depth.saturating_sub(1),
        _ => depth,
    })
}

/// The right to change a container; given back when dropped, or by the kernel when its holder dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<OwnedFd>,
}

/// The open directory of one container.
#[derive(Debug)]
pub(crate) struct ContainerDir {
    id: ContainerId,
    path: PathBuf,
    root: OwnedFd,
    dir: OwnedFd,
}

impl ContainerDir {
    fn open(root: OwnedFd, root_path: &Path, id: &ContainerId) -> Result<Option<Self>> {
        let path = root_path.join(id.as_str());
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let dir = match openat(&root, id.as_str(), flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                let problem = "not the directory of a container; delete --force removes it".to_owned();
                return Err(Error::state(id.as_str(), StateProblem::Record { path, problem }));
            }
            Err(errno) => return Err(refused(&path, "open", "openat", errno)),
        };
        // A record says which processes to kill; it has to come from the user who acts on it.
        let owner = fstat(&dir).map_err(|errno| refused(&path, "open", "fstat", errno))?.st_uid;
        let caller = geteuid().as_raw();
        if owner != caller {
            let problem = format!("belongs to uid {owner}, but the caller is uid {caller}");
            return Err(Error::state(id.as_str(), StateProblem::Record { path, problem }));
        }
        Ok(Some(Self { id: id.clone(), path, root, dir }))
    }

    /// The container's id.
    #[must_use]
    pub const fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Where the directory is, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error of a file `name` that is not what this crate has written.
    pub(crate) fn damaged(&self, name: &str, problem: impl std::fmt::Display) -> Error {
        let problem = format!("{problem}; delete --force clears up");
        Error::state(self.id.as_str(), StateProblem::Record { path: self.path.join(name), problem })
    }

    /// Opens the file `name` for the flags given, plus close-on-exec and never through a symbolic
    /// link. With `O_CREAT` it has mode 0600.
    ///
    /// # Errors
    /// [`Error::Step`] with the errno.
    pub fn open_file(&self, name: &str, flags: OFlag) -> Result<OwnedFd> {
        openat(&self.dir, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, FILES)
            .map_err(|errno| refused(&self.path.join(name), "open", "openat", errno))
    }

    /// Whether there is anything called `name`.
    ///
    /// # Errors
    /// [`Error::Step`] with the errno.
    pub fn has(&self, name: &str) -> Result<bool> {
        match fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(refused(&self.path.join(name), "look for", "fstatat", errno)),
        }
    }

    /// The bytes of the file `name`; `None` if there is no such file.
    ///
    /// # Errors
    /// [`Error::Step`] with the errno.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        // A fifo in its place must not keep anybody waiting.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let path = self.path.join(name);
        let mut file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(refused(&path, "read", "openat", errno)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| io(&path, "read", "read", &error))?;
        Ok(Some(bytes))
    }

    /// Makes `bytes` the contents of the file `name`, so that a reader sees the old or the new ones as a
    /// whole. Only for the holder of the lock: two writers would share the temporary name.
    ///
    /// # Errors
    /// [`Error::Step`] with the errno; the old contents are then still there.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let temporary = format!("{name}.new");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        let mut file = File::from(self.open_file(&temporary, flags)?);
        file.write_all(bytes).map_err(|error| io(&path, "write", "write", &error))?;
        renameat(&self.dir, temporary.as_str(), &self.dir, name)
            .map_err(|errno| refused(&path, "write", "renameat", errno))
    }

    /// Removes the file `name`, or the directory of that name with whatever is in it. Its absence is success.
    ///
    /// # Errors
    /// [`Error::Step`] with the errno.
    pub fn remove(&self, name: impl AsRef<Path>) -> Result<()> {
        let name = name.as_ref();
        match remove_tree(self.dir.as_fd(), name) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(refused(&self.path.join(name), "remove", "unlinkat", errno)),
        }
    }

    /// Removes what is in the place of the lock file and is none, so that nobody can hold it; `false` if it is one.
    pub(super) fn remove_what_is_no_lock(&self) -> Result<bool> {
        let is_file = fstatat(&self.dir, LOCK, AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG);
        if is_file { Ok(false) } else { self.remove(LOCK).map(|()| true) }
    }

    /// Waits for the lock; `None` if the container's directory was removed meanwhile. `create` is
    /// `O_CREAT` for those who may find a directory without a lock file: its maker and its remover.
    ///
    /// # Errors
    /// [`StateProblem::Busy`] after `limit`.
    pub(super) fn lock(&self, limit: Duration, create: OFlag) -> Result<Option<Lock>> {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_micros(500);
        loop {
            match self.try_lock(create, FlockArg::LockExclusiveNonblock)? {
                Attempt::Got(lock) => return Ok(Some(lock)),
                Attempt::NoFile => return Ok(None),
                Attempt::Held if Instant::now() >= deadline => {
                    return Err(Error::state(self.id.as_str(), StateProblem::Busy { waited: limit }));
                }
                // A blocking flock could only be given a deadline with a signal handler of the caller's process.
                Attempt::Held => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Whether somebody works on the container at this moment.
    pub(super) fn is_locked(&self) -> Result<bool> {
        // A shared lock: two readers do not take each other for a worker. A worker who meets it tries again.
        Ok(matches!(self.try_lock(OFlag::empty(), FlockArg::LockSharedNonblock)?, Attempt::Held))
    }

    fn try_lock(&self, create: OFlag, how: FlockArg) -> Result<Attempt> {
        let path = self.path.join(LOCK);
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | create;
        let file = match openat(&self.dir, LOCK, flags, FILES) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(Attempt::NoFile),
            Err(errno) => return Err(refused(&path, "lock", "openat", errno)),
        };
        match Flock::lock(file, how) {
            // Opened before and locked after its removal: this lock guards nothing any more.
            Ok(file) if fstat(&*file).is_ok_and(|stat| stat.st_nlink == 0) => Ok(Attempt::Held),
            Ok(file) => Ok(Attempt::Got(Lock { _file: file })),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(Attempt::Held),
            Err((_, errno)) => Err(refused(&path, "lock", "flock", errno)),
        }
    }

    /// Removes the directory: `last` after all other files, the lock after them, then the directory
    /// itself. Killed anywhere in between, it can be called again.
    pub(super) fn remove_all(&self, last: &[&str], _lock: &Lock) -> Result<()> {
        self.remove_files(last)?;
        for _ in 0..ATTEMPTS {
            match self.remove_directory() {
                Ok(()) => return Ok(()),
                // Somebody who waited for the lock made its file anew. If it is another deleter, it is done soon.
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => std::thread::sleep(Duration::from_millis(1)),
                Err(errno) => return Err(refused(&self.path, "remove", "unlinkat", errno)),
            }
        }
        match fstatat(&self.dir, LOCK, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // The directory has a new owner: its maker, whom this deletion overtook between mkdir and lock.
            Ok(_) => Ok(()),
            Err(_) => Err(refused(&self.path, "remove", "unlinkat", Errno::ENOTEMPTY)),
        }
    }

    fn remove_files(&self, last: &[&str]) -> Result<()> {
        let names = names(self.dir.as_fd()).map_err(|error| io(&self.path, "list", "getdents64", &error))?;
        let is_last = |name: &OsString| name == LOCK || last.iter().any(|last| name == last);
        for name in names.iter().filter(|name| !is_last(name)) {
            self.remove(name)?;
        }
        for name in last.iter().chain(&[LOCK]) {
            self.remove(name)?;
        }
        Ok(())
    }

    fn remove_directory(&self) -> Result<(), Errno> {
        // Another deleter may have been faster and the id taken again since.
        match fstatat(&self.root, self.id.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(now) if is_same(&now, &fstat(&self.dir)?) => {}
            Ok(_) | Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        match unlinkat(&self.root, self.id.as_str(), UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            other => other,
        }
    }
}

impl AsFd for ContainerDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

enum Attempt {
    Got(Lock),
    Held,
    NoFile,
}

const fn is_same(a: &FileStat, b: &FileStat) -> bool {
    a.st_dev == b.st_dev && a.st_ino == b.st_ino
}

/// Removes `name` in `dir`, and what is below it. Nothing but this crate and its caller writes there: a container whose
/// notify socket it holds only reads.
fn remove_tree(dir: BorrowedFd<'_>, name: &Path) -> Result<(), Errno> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) => {}
        other => return other,
    }
    match unlinkat(dir, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOTEMPTY) => {}
        other => return other,
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let inner = openat(dir, name, flags, Mode::empty())?;
    let within = names(inner.as_fd()).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    within.iter().try_for_each(|name| remove_tree(inner.as_fd(), Path::new(name)))?;
    unlinkat(dir, name, UnlinkatFlags::RemoveDir)
}

/// The names in the directory `dir`.
fn names(dir: BorrowedFd<'_>) -> std::io::Result<Vec<OsString>> {
    // The link leads to the open directory itself, whatever has its path now.
    let entries = std::fs::read_dir(format!("/proc/thread-self/fd/{}", dir.as_raw_fd()))?;
    entries.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

fn refused(path: &Path, verb: &str, call: &'static str, errno: Errno) -> Error {
    StepError::host(None, format!("{verb} {}", path.display()), call, errno).into()
}

fn io(path: &Path, verb: &str, call: &'static str, error: &std::io::Error) -> Error {
    StepError::io(None, format!("{verb} {}", path.display()), call, error).into()
}

#[cfg(test)]
pub(crate) fn test_dir(id: &str) -> (tempfile::TempDir, ContainerDir) {
    let tmp = tempfile::tempdir().unwrap();
    let store = Store::open(tmp.path().join("root")).unwrap();
    let (dir, _lock) = store.make(&ContainerId::new(id).unwrap()).unwrap();
    (tmp, dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::process::Command;

    fn store() -> (tempfile::TempDir, Store) {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(tmp.path().join("a/root")).unwrap();
        (tmp, store)
    }

    fn id(text: &str) -> ContainerId {
        ContainerId::new(text).unwrap()
    }

    #[test]
    fn refuses_the_root_of_the_file_system() {
        for root in ["/", "//", "/.", "/..", "/a/..", ""] {
            let error = Store::open(root).unwrap_err();
            assert!(matches!(error.state_problem(), Some(StateProblem::Root { .. })), "{root:?}");
        }
        assert_eq!(depth("/run/../x".as_ref()), 1);
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Store::open(file.path()).unwrap_err();
        assert!(error.to_string().ends_with("not a directory"), "{error}");
    }

    #[test]
    fn a_root_that_went_away_is_empty_and_is_not_made_by_looking() {
        let (tmp, store) = store();
        assert!(store.ids().unwrap().is_empty());
        std::fs::remove_dir(store.path()).unwrap();
        assert!(store.ids().unwrap().is_empty());
        assert!(store.find(&id("x")).unwrap().is_none());
        assert!(store.make(&id("x")).is_err());
        assert!(!tmp.path().join("a/root").exists());
    }

    #[test]
    fn a_root_that_exists_keeps_its_mode() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::set_permissions(tmp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1755)).unwrap();
        let store = Store::open(tmp.path()).unwrap();
        assert_eq!(store.path().metadata().unwrap().mode() & 0o7777, 0o1755);
        assert!(Store::open(tmp.path().join("a/../b")).unwrap().path().is_dir());
    }

    #[test]
    fn everything_is_private() {
        let (tmp, store) = store();
        let (dir, lock) = store.make(&id("x")).unwrap();
        dir.replace("state.json", b"{}").unwrap();
        let mode = |path: &Path| path.symlink_metadata().unwrap().mode() & 0o7777;
        assert_eq!(mode(&tmp.path().join("a")), 0o700);
        assert_eq!(mode(store.path()), 0o700);
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(mode(&dir.path().join("state.json")), 0o600);
        assert_eq!(mode(&dir.path().join(LOCK)), 0o600);
        drop(lock);
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let (tmp, store) = store();
        let (dir, _lock) = store.make(&id("x")).unwrap();
        let secret = tmp.path().join("secret");
        std::fs::write(&secret, "s").unwrap();
        symlink(&secret, dir.path().join("state.json")).unwrap();
        symlink(&secret, dir.path().join("undo.new")).unwrap();
        symlink(dir.path(), store.path().join("y")).unwrap();
        assert!(dir.read("state.json").is_err());
        assert!(dir.replace("undo", b"!").is_err());
        assert!(store.find(&id("y")).is_err());
        assert_eq!(store.ids().unwrap(), [id("x")]);
        assert_eq!(std::fs::read(&secret).unwrap(), b"s");
    }

    #[test]
    fn one_of_sixteen_gets_the_id() {
        let (_tmp, store) = store();
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| store.make(&id("x")))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 15));
        for error in lost {
            assert_eq!(error.unwrap_err().to_string(), "container with given ID already exists");
        }
    }

    #[test]
    fn making_and_removing_at_once_leaves_nothing_half() {
        let (_tmp, store) = store();
        let held = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (store, held) = (&store, &held);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let (dir, lock) = if worker < 2 {
                            let Ok(pair) = store.make(&id("x")) else { continue };
                            pair
                        } else {
                            let Some(dir) = store.find(&id("x")).unwrap() else { continue };
                            let Some(lock) = dir.lock(LOCK_WAIT, OFlag::O_CREAT).unwrap() else { continue };
                            (dir, lock)
                        };
                        assert_eq!(held.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0, "two holders");
                        let _ = dir.replace("state.json", b"{}");
                        held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        if worker > 0 {
                            dir.remove_all(&["state.json"], &lock).unwrap();
                        }
                        drop(lock);
                    }
                });
            }
        });
        if let Some(dir) = store.find(&id("x")).unwrap() {
            let lock = dir.lock(LOCK_WAIT, OFlag::O_CREAT).unwrap().unwrap();
            dir.remove_all(&[], &lock).unwrap();
        }
        assert!(store.ids().unwrap().is_empty());
    }

    #[test]
    fn a_lock_excludes_waits_and_ends_with_its_holder() {
        let (_tmp, store) = store();
        let (dir, lock) = store.make(&id("x")).unwrap();
        let again = store.find(&id("x")).unwrap().unwrap();
        assert!(again.is_locked().unwrap());
        let error = again.lock(Duration::from_millis(30), OFlag::empty()).unwrap_err();
        assert!(matches!(error.state_problem(), Some(StateProblem::Busy { .. })));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| again.lock(LOCK_WAIT, OFlag::empty()).unwrap().is_some());
            std::thread::sleep(Duration::from_millis(20));
            drop(lock);
            assert!(waiting.join().unwrap());
        });
        assert!(!dir.is_locked().unwrap());
    }

    #[test]
    fn readers_do_not_look_like_workers() {
        let (_tmp, dir) = test_dir("x");
        let reading = dir.try_lock(OFlag::empty(), FlockArg::LockSharedNonblock).unwrap();
        assert!(!dir.is_locked().unwrap());
        drop(reading);
    }

    /// Not a test of its own: the process that `a_killed_holder_releases_the_lock` kills.
    #[test]
    fn holder_process() {
        let Some(root) = std::env::var_os("RUNTIME_TEST_HOLD_LOCK") else { return };
        let dir = Store::open(root).unwrap().find(&id("x")).unwrap().unwrap();
        let _lock = dir.lock(LOCK_WAIT, OFlag::empty()).unwrap().unwrap();
        std::thread::sleep(Duration::from_secs(60));
    }

    #[test]
    fn a_killed_holder_releases_the_lock() {
        let (_tmp, store) = store();
        let (dir, lock) = store.make(&id("x")).unwrap();
        drop(lock);
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["holder_process", "--nocapture"])
            .env("RUNTIME_TEST_HOLD_LOCK", store.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !dir.is_locked().unwrap() {
            assert!(Instant::now() < deadline, "the holder never locked");
            std::thread::sleep(Duration::from_millis(2));
        }
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(!dir.is_locked().unwrap());
    }

    #[test]
    fn a_removed_directory_cannot_be_locked() {
        let (_tmp, store) = store();
        let (dir, lock) = store.make(&id("x")).unwrap();
        let late = store.find(&id("x")).unwrap().unwrap();
        std::fs::write(dir.path().join("foreign"), "").unwrap();
        std::fs::create_dir_all(dir.path().join("notify/more")).unwrap();
        symlink(late.path(), dir.path().join("notify/link")).unwrap();
        dir.remove_all(&["state.json"], &lock).unwrap();
        dir.remove_all(&["state.json"], &lock).unwrap();
        drop(lock);
        assert!(late.lock(LOCK_WAIT, OFlag::O_CREAT).unwrap().is_none());
        // The old handles do not harm whoever takes the id next.
        let (_new, lock) = store.make(&id("x")).unwrap();
        late.remove_all(&[], &lock).unwrap();
        assert_eq!(store.ids().unwrap(), [id("x")]);
    }
}
