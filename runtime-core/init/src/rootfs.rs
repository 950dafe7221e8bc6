//! The root file system: how it becomes a mount, and how it is entered.

#![forbid(unsafe_code)]

use crate::fault::Result;
use crate::run::{Context, View};
use crate::step::{Enter, Slot, Text, Words};
use crate::sys::fd::{self, Closing, Fd, open};
use crate::sys::mount::{self, MountAttr, propagation};

/// Sets the propagation of `/`, before the first mount and, as the container's, after the last.
pub fn propagation(kind: u32, recursive: bool) -> Result {
    let attr = MountAttr { propagation: kind.into(), ..MountAttr::default() };
    mount::set_attr_at(Fd::CWD, c"/", recursive, &attr)
}

/// Makes the root file system a mount of its own, at its own path. Its propagation is set before it is
/// attached, so that no mount in it can reach a peer on the host. Where both are asked for, what is below becomes a
/// slave and the root itself private: a root that is to be shared has no master on the host.
pub fn attach(view: &View<'_>, cx: &mut Context, path: Text, slot: Option<Slot>, kind: u32) -> Result {
    let path = view.frame.text(path);
    let tree = match slot {
        Some(slot) => view.slot(slot),
        None => mount::clone_tree(Fd::CWD, path, true)?,
    };
    let set =
        |recursive, kind| mount::set_attr(tree, recursive, &MountAttr { propagation: kind, ..MountAttr::default() });
    match u64::from(kind) {
        propagation::SLAVE_BELOW_PRIVATE => {
            set(true, propagation::SLAVE).and_then(|()| set(false, propagation::PRIVATE))?
        }
        kind => set(true, kind)?,
    }
    let target = Closing(fd::openat2(Fd::CWD, path, open::PATH | open::DIRECTORY, 0)?);
    mount::attach(tree, target.0)?;
    cx.root = tree;
    Ok(())
}

/// Opens the root file system as it is.
pub fn plain(view: &View<'_>, cx: &mut Context, path: Text) -> Result {
    cx.root = fd::openat2(Fd::CWD, view.frame.text(path), open::PATH | open::DIRECTORY, 0)?;
    Ok(())
}

/// Enters the root, and closes what was kept for covering paths.
pub fn enter(view: &View<'_>, cx: &mut Context, how: Enter, kept: Words) -> Result {
    for slot in view.frame.words(kept) {
        drop(Closing(view.slot(Slot(slot))));
    }
    for kept in [&mut cx.null, &mut cx.empty] {
        drop(Closing(core::mem::replace(kept, Fd(-1))));
    }

    match how {
        Enter::Pivot => pivot(cx.root)?,
        Enter::Move => {
            let top = Closing(fd::openat2(Fd::CWD, c"/", open::PATH | open::DIRECTORY, 0)?);
            mount::attach(cx.root, top.0)?;
            fd::fchdir(cx.root)?;
            mount::chroot_here()?;
        }
        Enter::Chroot => {
            fd::fchdir(cx.root)?;
            mount::chroot_here()?;
        }
    }
    crate::sys::process::chdir(c"/")
}

/// `pivot_root(".", ".")` stacks the old root on the new one; the old one is made a slave, so that its unmount
/// does not reach the host, and detached.
fn pivot(root: Fd) -> Result {
    let old = Closing(fd::openat2(Fd::CWD, c"/", open::PATH | open::DIRECTORY, 0)?);
    fd::fchdir(root)?;
    mount::pivot_here()?;
    fd::fchdir(old.0)?;
    let slave = MountAttr { propagation: propagation::SLAVE, ..MountAttr::default() };
    mount::set_attr(old.0, true, &slave)?;
    mount::detach_here()
}
