//! What only the caller's rights can do for init's mounts: look up sources that the root of a user namespace cannot reach,
//! and map the ids of a mount.
//!
//! Both are done on descriptors that init shows at [`Gate::Trees`]. No process of the caller enters a namespace for it.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use runtime_init::sys::fd::{open, resolve};
use runtime_init::sys::mount::{MountAttr, attr, set_attr};
use runtime_init::sys::owned::openat2;
use runtime_init::{Errno as RawErrno, Fault, Gate, Slot};

use super::{Launch, id_maps, refused};
use crate::error::{Result, StepError};
use crate::plan::SlotUse;

impl Launch<'_> {
    /// Writes the maps of one more user namespace and keeps it. The usher holds its process until then.
    pub(super) fn hold_user_namespace(&mut self, index: usize) -> Result<()> {
        let Some(wanted) = self.plan.mount_maps.get(index) else { return Err(lacking("a map").into()) };
        let (pid, _) = self.newborn()?;
        id_maps::write(&wanted.maps, pid, &wanted.at)?;
        self.user_namespaces.push(user_namespace_of(pid)?);
        self.gates()?.release(Gate::Mapped)
    }

    /// Looks up what `slot` stands for in init's copy of the mounts. Where the way ends for the caller, at a magic link or
    /// a directory it may not pass, init gets nothing and goes itself.
    pub(super) fn give(&mut self, slot: Slot) -> Result<()> {
        let (Some(SlotUse::Inside { path, as_it_is }), Some(top)) = (self.plan.slots.get(slot.0 as usize), &self.top)
        else {
            return Err(lacking("the top of init's mounts").into());
        };
        let doing = || format!("look up {}", path.display());
        let text = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| StepError::host(None, doing(), "openat2", Errno::EINVAL))?;
        let flags = if *as_it_is { open::PATH | open::NOFOLLOW } else { open::PATH };
        let found = match openat2(top.as_fd(), &text, flags, resolve::IN_ROOT) {
            Err(fault) if fault.is(RawErrno::ACCES) || fault.is(RawErrno::LOOP) => None,
            result => Some(result.map_err(|fault| refused(doing(), fault))?),
        };
        self.gates()?.give(found.as_ref().map(AsFd::as_fd))
    }

    /// Maps the ids of the mount that init shows.
    pub(super) fn map_tree(&mut self, maps: Option<usize>, recursive: bool) -> Result<()> {
        self.reach(Gate::Trees)?;
        let Some(tree) = self.gates()?.shown() else { return Err(lacking("the mount").into()) };
        let containers;
        let by = match maps {
            Some(index) => self.user_namespaces.get(index).ok_or_else(|| lacking("the user namespace"))?,
            None => {
                containers = user_namespace_of(self.pid())?;
                &containers
            }
        };
        let userns_fd = u64::try_from(by.as_raw_fd()).unwrap_or_default();
        let change = MountAttr { set: attr::IDMAP, userns_fd, ..MountAttr::default() };
        set_attr(tree.as_fd().into(), recursive, &change).map_err(not_mapped)?;
        self.gates()?.release(Gate::Trees)
    }
}

/// The user namespace of a process that stands at a gate, so that the pid is still its own.
fn user_namespace_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    let file = File::open(&path).map_err(|e| StepError::io(None, format!("open {path}"), "openat", &e))?;
    Ok(file.into())
}

fn not_mapped(fault: Fault) -> StepError {
    let mut error = refused("map the ids of the mount", fault);
    if fault.is(RawErrno::INVAL) {
        error.detail = Some("the file system, or this kernel's, may not support it".to_owned());
    }
    error
}

/// Cannot happen with a plan of ours and an init that keeps to it.
fn lacking(what: &str) -> StepError {
    StepError::host(None, format!("prepare mounts: {what} is missing"), "plan", Errno::EINVAL)
}
