//! Our own procfs (rule R4): what the container has mounted on `/proc` is never asked.

#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::fault::{Call, Errno, Fault, Result};
use crate::run::Context;
use crate::sys::fd::{self, Closing, Fd, open, resolve};
use crate::sys::mount::{self, attr};

/// `PROC_SUPER_MAGIC`.
pub const MAGIC: u64 = 0x9fa0;
const ROOT_INO: u64 = 1;

/// Whether a descriptor refers to the root of a procfs.
pub fn is_root(fd: Fd) -> Result<bool> {
    Ok(fd::filesystem(fd)? == MAGIC && fd::stat(fd)?.ino == ROOT_INO)
}

/// A new procfs that is attached nowhere. In a user namespace whose `/proc` is partly covered the kernel refuses
/// one; then the host's own `/proc` is used after its root was verified.
pub fn open(cx: &mut Context) -> Result {
    cx.procfs = match new_procfs() {
        Err(fault) if fault.is(Errno::PERM) => host_procfs()?,
        result => result?,
    };
    Ok(())
}

fn new_procfs() -> Result<Fd> {
    if cfg!(naive_paths) {
        // What is on the host's `/proc`, as the control of the tests of sysctls; see `path.rs`.
        return fd::openat2(Fd::CWD, c"/proc", open::PATH | open::DIRECTORY, 0);
    }
    let fs = Closing(mount::fsopen(c"proc")?);
    mount::fs_create(fs.0)?;
    mount::fsmount(fs.0, attr::NOSUID | attr::NODEV | attr::NOEXEC)
}

fn host_procfs() -> Result<Fd> {
    let proc = fd::openat2(Fd::CWD, c"/proc", open::PATH | open::DIRECTORY, resolve::NO_SYMLINKS)?;
    if is_root(proc)? { Ok(proc) } else { Err(Fault::new(Call::PROCFS, Errno::INVAL)) }
}

/// Writes a sysctl. Whatever is mounted over a part of the procfs is refused, not written to (CVE-2025-52881).
pub fn sysctl(cx: &Context, path: &CStr, value: &CStr) -> Result {
    let strict = resolve::BENEATH | resolve::NO_SYMLINKS | resolve::NO_XDEV;
    let how = if cfg!(naive_paths) { 0 } else { strict };
    let file = Closing(fd::openat2(cx.procfs, path, open::WRONLY, how)?);
    fd::write(file.0, value.to_bytes()).map(drop)
}

/// Writes a label of this process. `self` is a link, taken once; below it, none is followed (rule R4).
pub fn label(cx: &Context, path: &CStr, value: &CStr) -> Result {
    let how = resolve::BENEATH | resolve::NO_XDEV;
    let own = fd::openat2(cx.procfs, c"self/attr", open::PATH | open::DIRECTORY, how | resolve::NO_MAGICLINKS)?;
    let own = Closing(own);
    let file = Closing(fd::openat2(own.0, path, open::WRONLY, how | resolve::NO_SYMLINKS)?);
    write_verified(&file, value)
}

/// Writes a file of this process in the host's procfs, before anything of the container is mounted.
pub fn write_own(path: &CStr, value: &CStr) -> Result {
    write_verified(&Closing(fd::open_plain(path, open::WRONLY)?), value)
}

fn write_verified(file: &Closing, value: &CStr) -> Result {
    if fd::filesystem(file.0)? != MAGIC {
        return Err(Fault::new(Call::PROCFS, Errno::INVAL));
    }
    fd::write(file.0, value.to_bytes()).map(drop)
}
