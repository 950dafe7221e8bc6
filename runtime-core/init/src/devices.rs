//! Device nodes and links in the root file system.

#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::fault::{Call, Errno, Fault, Result};
use crate::path;
use crate::run::{Context, View};
use crate::step::{Slot, Text};
use crate::sys::fd::{self, Closing, Fd, Stat, kind, open, resolve};
use crate::sys::mount;

const NULL: (u32, u32) = (1, 3);

/// Opens the host's null device and verifies that it is one (rule R5).
pub fn open_null(cx: &mut Context) -> Result {
    let null = fd::openat2(Fd::CWD, c"/dev/null", open::PATH | open::NOFOLLOW, resolve::NO_MAGICLINKS)?;
    let found = fd::stat(null)?;
    if !found.is(kind::CHR) || found.rdev != NULL {
        return Err(Fault::new(Call::NULL, Errno::INVAL));
    }
    cx.null = null;
    Ok(())
}

/// The kernel's encoding of a device number (`new_encode_dev`).
pub const fn number(device: (u32, u32)) -> u32 {
    device.1 & 0xff | device.0 << 8 | (device.1 & !0xff) << 12
}

/// Makes a device node. A node that is there already is kept if it is the same one, untouched; anything else is
/// an error and stays as it is (D13).
pub fn node(view: &View<'_>, cx: &Context, path: Text, mode_and_device: u64, owner: u64) -> Result {
    #[expect(clippy::cast_possible_truncation, reason = "two halves of one word each")]
    let (mode, device, uid, gid) =
        (mode_and_device as u32, (mode_and_device >> 32) as u32, owner as u32, (owner >> 32) as u32);
    let (dir, name) = path::make_parent(cx.root, view.frame.text(path))?;
    match fd::mknodat(dir.0, name.as_cstr(), mode, device) {
        Ok(()) => fd::fchownat(dir.0, name.as_cstr(), uid, gid),
        Err(fault) if fault.is(Errno::EXIST) => same_node(&fd::lstat(dir.0, name.as_cstr())?, mode, device),
        Err(fault) => Err(fault),
    }
}

fn same_node(found: &Stat, mode: u32, device: u32) -> Result {
    let wanted = mode & kind::MASK;
    let same = found.is(wanted) && (wanted == kind::FIFO || number(found.rdev) == device);
    if same { Ok(()) } else { Err(Fault::new(Call::DEVICE, Errno::EXIST)) }
}

/// Puts a node of the host over a file. What is there must be a regular file or the same node.
pub fn bind(view: &View<'_>, cx: &Context, path: Text, slot: Slot) -> Result {
    let tree = Closing(view.slot(slot));
    let source = fd::stat(tree.0)?;
    let (dir, name) = path::make_parent(cx.root, view.frame.text(path))?;
    match fd::mknodat(dir.0, name.as_cstr(), kind::REG | 0o644, 0) {
        Err(fault) if !fault.is(Errno::EXIST) => return Err(fault),
        _ => {}
    }
    let how = resolve::BENEATH | resolve::NO_SYMLINKS;
    let target = Closing(fd::openat2(dir.0, name.as_cstr(), open::PATH | open::NOFOLLOW, how)?);
    let found = fd::stat(target.0)?;
    if !found.is(kind::REG) && (found.mode & kind::MASK != source.mode & kind::MASK || found.rdev != source.rdev) {
        return Err(Fault::new(Call::DEVICE, Errno::EXIST));
    }
    mount::attach(tree.0, target.0)
}

/// Makes a link in `/dev` if what it says exists in the container; a file of that name is left as it is.
pub fn symlink(view: &View<'_>, cx: &Context, path: Text, target: Text) -> Result {
    let target = view.frame.text(target);
    match path::find(cx.root, target, open::NOFOLLOW) {
        Err(fault) if fault.is(Errno::NOENT) || fault.is(Errno::NOTDIR) => return Ok(()),
        result => drop(result?),
    }
    let (dir, name) = path::make_parent(cx.root, view.frame.text(path))?;
    match fd::symlinkat(target, dir.0, name.as_cstr()) {
        Err(fault) if fault.is(Errno::EXIST) => Ok(()),
        result => result,
    }
}

/// `/dev/ptmx` always says `pts/ptmx`, whatever the image brought along.
pub fn ptmx(cx: &Context) -> Result {
    let (dir, name) = path::make_parent(cx.root, c"/dev/ptmx")?;
    let name: &CStr = name.as_cstr();
    match fd::unlinkat(dir.0, name) {
        Err(fault) if !fault.is(Errno::NOENT) => return Err(fault),
        _ => {}
    }
    fd::symlinkat(c"pts/ptmx", dir.0, name)
}
