//! The same calls for the host, with descriptors that close themselves.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::fd::{self, Fd};
use super::{Request, arch, ioctl, mount, process, special};
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

/// `siginfo_t` as waitid(2) fills it in, on 64-bit architectures.
#[repr(C)]
#[derive(Default)]
struct ChildInfo {
    signal: i32,
    errno: i32,
    code: i32,
    pad: i32,
    pid: i32,
    uid: u32,
    status: i32,
    rest: [i32; 25],
}

/// `waitid(P_PIDFD, pidfd, WEXITED)`: waits for the end of a child and takes its status, which is given as wait(2) does.
///
/// # Errors
/// As waitid(2): `ECHILD` if it is no child of the caller, or somebody else has taken the status.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<i32> {
    const P_PIDFD: usize = 3;
    const WEXITED: usize = 4;
    const CLD_EXITED: i32 = 1;
    const CLD_DUMPED: i32 = 3;
    const DUMPED: i32 = 0x80;
    let mut info = ChildInfo::default();
    let args = [P_PIDFD, Fd::from(pidfd).arg(), core::ptr::from_mut(&mut info) as usize, WEXITED, 0];
    // SAFETY: the kernel writes the structure, which is ours alone; the null pointer asks for no usage of resources.
    unsafe { special(arch::waitid, args) }?;
    Ok(match info.code {
        CLD_EXITED => (info.status & 0xff) << 8,
        CLD_DUMPED => info.status | DUMPED,
        _ => info.status,
    })
}

/// `ioctl(pidfd, PIDFD_GET_INFO)` for the status of a process that whoever it was has reaped, as wait(2) gives it. `None`
/// before Linux 6.15, and of one that was not reaped yet.
#[must_use]
pub fn status_of_reaped(pidfd: BorrowedFd<'_>) -> Option<i32> {
    /// `struct pidfd_info` in its first version (`linux/pidfd.h`).
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit: i32,
    }
    const PIDFD_GET_INFO: Request<Info> = Request::new(0xc040_ff0b);
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    let mut info = Info { mask: PIDFD_INFO_EXIT, ..Info::default() };
    ioctl(Fd::from(pidfd), &PIDFD_GET_INFO, &mut info).ok()?;
    (info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit)
}
