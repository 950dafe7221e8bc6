//! The slots: what the host opens with the caller's rights and hands to init by number.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use runtime_init::Slot;
use runtime_init::sys::fd::open as flag;
use runtime_init::sys::owned::{clone_tree, duplicate_from, open};

use super::refused;
use super::stdio::Stdio;
use crate::cgroup::Cgroup;
use crate::container::ContainerDir;
use crate::container::notify::DIRECTORY as NOTIFY_DIRECTORY;
use crate::error::{Result, StepError};
use crate::plan::{Plan, SlotUse};

/// Name of the fifo on which init waits.
pub(super) const FIFO: &str = "exec.fifo";

/// The descriptors behind the slots of a plan.
#[derive(Debug)]
pub(super) struct Descriptors<'a> {
    plan: &'a Plan,
    open: Vec<Option<OwnedFd>>,
}

impl<'a> Descriptors<'a> {
    pub fn new(plan: &'a Plan) -> Self {
        Self { plan, open: plan.slots.iter().map(|_| None).collect() }
    }

    /// Opens what `slot` stands for.
    pub fn open(&mut self, slot: Slot) -> Result<()> {
        let index = slot.0 as usize;
        let opened = match &self.plan.slots[index] {
            SlotUse::Namespace { path, .. } => self.path(slot, path, flag::RDONLY)?,
            SlotUse::Rootfs { path } => self.tree(slot, path, flag::DIRECTORY, true)?,
            SlotUse::Source { path, recursive, as_it_is } => {
                self.tree(slot, path, if *as_it_is { flag::NOFOLLOW } else { 0 }, *recursive)?
            }
            // Filled when everything else is there.
            SlotUse::Cgroup | SlotUse::Reserved | SlotUse::Inside { .. } => return Ok(()),
            SlotUse::Start | SlotUse::Passed { .. } | SlotUse::Notify | SlotUse::Terminal => return Ok(()),
        };
        self.open[index] = Some(opened);
        Ok(())
    }

    fn doing(&self, slot: Slot) -> String {
        format!("open {}", self.plan.slot_name(slot))
    }

    fn path(&self, slot: Slot, path: &Path, flags: u64) -> Result<OwnedFd> {
        let text = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| StepError::host(None, self.doing(slot), "openat2", Errno::EINVAL))?;
        Ok(open(&text, flags).map_err(|fault| refused(self.doing(slot), fault))?)
    }

    /// A detached copy of the mount at `path`: nothing that happens to the path later changes what is mounted.
    fn tree(&self, slot: Slot, path: &Path, flags: u64, recursive: bool) -> Result<OwnedFd> {
        let found = self.path(slot, path, flag::PATH | flags)?;
        let tree = clone_tree(found.as_fd(), recursive);
        Ok(tree.map_err(|fault| too_many(refused(self.doing(slot), fault)))?)
    }

    /// Fills the slots that are not opened by a line of their own.
    pub fn fill(&mut self, dir: Option<&ContainerDir>, cgroup: Option<&Cgroup>, stdio: &Stdio) -> Result<()> {
        let passed = &stdio.passed;
        self.check_passed(passed)?;
        for (place, usage) in self.open.iter_mut().zip(&self.plan.slots) {
            *place = match (usage, dir) {
                (SlotUse::Cgroup, _) => cgroup.map(|c| duplicate(c.dir_fd())).transpose()?,
                (SlotUse::Terminal, _) => stdio.socket().map(duplicate).transpose()?,
                (SlotUse::Reserved, Some(dir)) => Some(duplicate(dir.as_fd())?),
                (SlotUse::Inside { path, .. }, Some(dir)) => Some(place_for(path, dir)?),
                (SlotUse::Start, Some(dir)) => Some(fifo(dir)?),
                (SlotUse::Notify, Some(dir)) => Some(notify_directory(dir)?),
                (SlotUse::Passed { number }, _) => passed.get(number).map(duplicate).transpose()?,
                _ => continue,
            };
        }
        for index in 0..self.open.len() {
            if let Some(fd) = self.open[index].take() {
                self.open[index] = Some(self.above_passed(fd)?);
            }
        }
        Ok(())
    }

    /// The numbers that the plan passes.
    fn passed(&self) -> impl Iterator<Item = u32> + '_ {
        self.plan.slots.iter().filter_map(|usage| match usage {
            SlotUse::Passed { number } => Some(*number),
            _ => None,
        })
    }

    /// What is given is what was planned.
    fn check_passed(&self, given: &BTreeMap<u32, OwnedFd>) -> Result<()> {
        let wrong = |number: u32| StepError::host(None, format!("pass descriptor {number}"), "plan", Errno::EBADF);
        let missing = self.passed().find(|number| !given.contains_key(number));
        let unplanned = given.keys().find(|number| !self.passed().any(|planned| planned == **number));
        missing.or(unplanned.copied()).map_or(Ok(()), |number| Err(wrong(number).into()))
    }

    /// Moves a descriptor that init uses above those that the program is passed, which take their places while init still
    /// runs.
    pub fn above_passed(&self, fd: OwnedFd) -> Result<OwnedFd> {
        let Some(highest) = self.passed().max() else { return Ok(fd) };
        if fd.as_raw_fd().cast_unsigned() > highest {
            return Ok(fd);
        }
        let least = i32::try_from(highest + 1).unwrap_or(i32::MAX);
        Ok(duplicate_from(fd.as_raw_fd(), least).map_err(|fault| refused("keep a descriptor for init", fault))?)
    }

    /// The numbers by slot; -1 for an empty one.
    pub fn numbers(&self) -> Vec<RawFd> {
        self.open.iter().map(|fd| fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)).collect()
    }

    /// The numbers of those that are open.
    pub fn open_numbers(&self) -> Vec<RawFd> {
        self.open.iter().flatten().map(AsRawFd::as_raw_fd).collect()
    }

    /// Closes all on the host's side.
    pub fn close(&mut self) {
        self.open.clear();
    }

    /// Whether [`Self::close`] was called.
    pub fn are_closed(&self) -> bool {
        self.open.len() < self.plan.slots.len()
    }
}

fn duplicate(fd: impl AsFd) -> Result<OwnedFd> {
    let copy = fd.as_fd().try_clone_to_owned();
    Ok(copy.map_err(|e| StepError::io(None, "keep a descriptor for init", "fcntl", &e))?)
}

/// The caller's open descriptors in a range.
pub(super) fn open_in_caller(range: Range<u32>) -> Result<Vec<u32>> {
    let failed = |error: std::io::Error| StepError::io(None, "list the caller's descriptors", "getdents64", &error);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").map_err(failed)? {
        let number = entry.map_err(failed)?.file_name().to_str().and_then(|name| name.parse().ok());
        numbers.extend(number.filter(|number| range.contains(number)));
    }
    // Without the one by which they were listed.
    let mut open = Vec::new();
    for number in numbers {
        open.extend(copy(number)?.map(|_| number));
    }
    Ok(open)
}

/// A copy of the caller's descriptor `number`; `None` if it is not open (any more).
pub(super) fn copy(number: u32) -> Result<Option<OwnedFd>> {
    const ABOVE_STREAMS: i32 = 3;
    match duplicate_from(number.cast_signed(), ABOVE_STREAMS) {
        Ok(copy) => Ok(Some(copy)),
        Err(fault) if fault.errno() == Errno::EBADF as i32 => Ok(None),
        Err(fault) => Err(refused(format!("pass descriptor {number}"), fault).into()),
    }
}

/// The directory in which the notify socket will be bound, as a tree. The mode is set whatever the caller's umask.
fn notify_directory(dir: &ContainerDir) -> Result<OwnedFd> {
    let failed = |call: &'static str| move |errno| StepError::host(None, "make the notify directory", call, errno);
    let mode = Mode::from_bits_truncate(0o755);
    nix::sys::stat::mkdirat(dir, NOTIFY_DIRECTORY, mode).map_err(failed("mkdirat"))?;
    let made = dir.open_file(NOTIFY_DIRECTORY, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    nix::sys::stat::fchmod(&made, mode).map_err(failed("fchmod"))?;
    Ok(clone_tree(made.as_fd(), false).map_err(|fault| refused("open the notify directory", fault))?)
}

/// A place for the source that init opens.
fn place_for(path: &Path, dir: &ContainerDir) -> Result<OwnedFd> {
    let doing = || format!("keep a place for {}", path.display());
    let copy = dir.as_fd().try_clone_to_owned();
    Ok(copy.map_err(|e| too_many(StepError::io(None, doing(), "fcntl", &e)))?)
}

/// Names the remedy for the one refusal that has nothing to do with the source.
fn too_many(mut error: StepError) -> StepError {
    if error.errno == Errno::EMFILE {
        error.detail = Some("all sources are held open until they are mounted: raise RLIMIT_NOFILE".to_owned());
    }
    error
}

/// Open for reading and writing, so that init can wait in a `read` although nobody has it open for writing.
fn fifo(dir: &ContainerDir) -> Result<OwnedFd> {
    let failed = |call: &'static str| move |errno| StepError::host(None, "make exec.fifo", call, errno);
    nix::unistd::mkfifoat(dir, FIFO, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed("mknodat"))?;
    dir.open_file(FIFO, OFlag::O_RDWR | OFlag::O_NONBLOCK).and_then(|fd| {
        // Opened without waiting; init's read has to wait.
        nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty())).map_err(failed("fcntl"))?;
        Ok(fd)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bundle, CreateOptions, Host};

    /// Descriptors 3 and 40 are passed.
    fn plan() -> Plan {
        let config = r#"{"ociVersion": "1.0.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["x"]},
            "linux": {"namespaces": [{"type": "mount"}]}}"#;
        let bundle = Bundle::parse("/b".into(), config.into()).expect("a configuration");
        let mut options = CreateOptions::new("x");
        options.pass_fds = vec![3, 40];
        let mut host = Host::probe().expect("a host");
        host.privileged = true;
        Plan::create(&bundle, &host, &options).expect("a plan")
    }

    fn file() -> OwnedFd {
        std::fs::File::open("/dev/null").expect("a file").into()
    }

    #[test]
    fn what_init_needs_is_moved_out_of_the_way() {
        let plan = plan();
        let moved = Descriptors::new(&plan).above_passed(file()).expect("a copy");
        assert!(moved.as_raw_fd() > 40, "{moved:?}");
    }

    #[test]
    fn what_is_passed_is_what_was_planned() {
        let plan = plan();
        let check = |numbers: &[u32]| {
            let given = numbers.iter().map(|number| (*number, file())).collect();
            Descriptors::new(&plan).check_passed(&given).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[3, 40]), Ok(()));
        assert!(check(&[3]).unwrap_err().starts_with("pass descriptor 40: "));
        assert!(check(&[3, 5, 40]).unwrap_err().starts_with("pass descriptor 5: "));
    }
}
