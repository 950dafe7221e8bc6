//! The same calls for the host, with descriptors that close themselves.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::fd::{self, Fd};
use super::{mount, process};
use crate::fault::Result;

impl From<BorrowedFd<'_>> for Fd {
    fn from(fd: BorrowedFd<'_>) -> Self {
        Self(fd.as_raw_fd())
    }
}

fn own(fd: Fd) -> OwnedFd {
    // SAFETY: every caller passes the descriptor that the kernel has just returned to it.
    unsafe { OwnedFd::from_raw_fd(fd.0) }
}

/// As [`process::pidfd_open`].
///
/// # Errors
/// As pidfd_open(2).
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    process::pidfd_open(pid).map(own)
}

/// As [`process::pidfd_getfd`].
///
/// # Errors
/// As pidfd_getfd(2).
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd> {
    process::pidfd_getfd(pidfd.into(), Fd(fd)).map(own)
}

/// As [`process::pidfd_send_signal`].
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result {
    process::pidfd_send_signal(pidfd.into(), signal)
}

/// As [`fd::openat2`].
///
/// # Errors
/// As openat2(2).
pub fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: u64, resolve: u64) -> Result<OwnedFd> {
    fd::openat2(dir.into(), path, flags, resolve).map(own)
}

/// `openat2(AT_FDCWD, path, flags)` without restriction: for paths that the caller of the runtime names.
///
/// # Errors
/// As openat2(2).
pub fn open(path: &CStr, flags: u64) -> Result<OwnedFd> {
    fd::openat2(Fd::CWD, path, flags, 0).map(own)
}

/// As [`mount::clone_tree`] of what `fd` refers to.
///
/// # Errors
/// As open_tree(2).
pub fn clone_tree(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    mount::clone_tree(fd.into(), c"", recursive).map(own)
}

/// As [`fd::dup_onto`], for descriptors that are passed by number; and what the bpf calls return.
#[must_use]
pub(crate) fn adopt(fd: Fd) -> OwnedFd {
    own(fd)
}

/// Takes over a descriptor number that `recvmsg` returned in an `SCM_RIGHTS` message: the kernel made it for the receiver.
#[must_use]
pub fn adopt_received(number: i32) -> OwnedFd {
    own(Fd(number))
}

/// A copy of the caller's descriptor `number`, whoever opened it, that is `least` or higher: `fcntl(F_DUPFD_CLOEXEC)`.
///
/// # Errors
/// As F_DUPFD_CLOEXEC(2const); `EBADF` if there is no such descriptor.
pub fn duplicate_from(number: i32, least: i32) -> Result<OwnedFd> {
    fd::duplicate_from(Fd(number), least).map(own)
}
