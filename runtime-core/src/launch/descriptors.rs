//! The slots: what the host opens with the caller's rights and hands to init by number.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use runtime_init::Slot;
use runtime_init::sys::fd::open as flag;
use runtime_init::sys::owned::{clone_tree, open};

use super::refused;
use crate::cgroup::Cgroup;
use crate::container::ContainerDir;
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
            SlotUse::Source { path, recursive } => self.tree(slot, path, 0, *recursive)?,
            SlotUse::Cgroup | SlotUse::Reserved | SlotUse::Given { .. } | SlotUse::Start => return Ok(()),
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
        Ok(clone_tree(found.as_fd(), recursive).map_err(|fault| refused(self.doing(slot), fault))?)
    }

    /// Fills the slots that are not opened by a line of their own.
    pub fn fill(&mut self, dir: Option<&ContainerDir>, cgroup: Option<&Cgroup>) -> Result<()> {
        for (place, usage) in self.open.iter_mut().zip(&self.plan.slots) {
            *place = match (usage, dir) {
                (SlotUse::Cgroup, _) => cgroup.map(|c| duplicate(c.dir_fd())).transpose()?,
                (SlotUse::Reserved | SlotUse::Given { .. }, Some(dir)) => Some(duplicate(dir.as_fd())?),
                (SlotUse::Start, Some(dir)) => Some(fifo(dir)?),
                _ => continue,
            };
        }
        Ok(())
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
}

fn duplicate(fd: impl AsFd) -> Result<OwnedFd> {
    let copy = fd.as_fd().try_clone_to_owned();
    Ok(copy.map_err(|e| StepError::io(None, "keep a descriptor for init", "fcntl", &e))?)
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
