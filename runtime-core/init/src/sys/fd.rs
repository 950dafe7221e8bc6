//! File descriptors, and calls on files.

use core::ffi::CStr;
use core::mem::size_of;

use super::{Special, arch, at_path, plain, special};
use crate::fault::Result;

/// A file descriptor number. It closes nothing by itself: init's descriptors end with its `execve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fd(pub i32);

impl Fd {
    /// The current directory, as far as a call takes a directory.
    pub const CWD: Self = Self(-100);

    pub(super) const fn arg(self) -> usize {
        #[expect(clippy::cast_sign_loss, reason = "the kernel reads the low 32 bits as a signed number")]
        let arg = self.0 as usize;
        arg
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the kernel returns an int")]
    pub(super) const fn from_result(result: usize) -> Self {
        Self(result as i32)
    }
}

/// A descriptor that closes itself. For the short-lived ones, so that many mounts do not fill the table.
#[derive(Debug)]
pub struct Closing(pub Fd);

impl Drop for Closing {
    fn drop(&mut self) {
        let _: Result = close(self.0);
    }
}

/// Open flags of the kernel (`asm-generic/fcntl.h`).
pub mod open {
    /// Only refer to the file.
    pub const PATH: u64 = 0o10_000_000;
    /// Close on execve.
    pub const CLOEXEC: u64 = 0o2_000_000;
    /// Fail unless it is a directory.
    pub const DIRECTORY: u64 = 0o200_000;
    /// Do not follow a symbolic link in the last component.
    pub const NOFOLLOW: u64 = 0o400_000;
    /// Open for writing.
    pub const WRONLY: u64 = 1;
    /// Open for reading and writing.
    pub const RDWR: u64 = 2;
    /// Open for reading.
    pub const RDONLY: u64 = 0;
    /// Do not wait.
    pub const NONBLOCK: u64 = 0o4_000;
    /// A terminal does not become the controlling one.
    pub const NOCTTY: u64 = 0o400;
}

/// How `openat2` may resolve a path (`linux/openat2.h`).
pub mod resolve {
    /// No crossing into another mount.
    pub const NO_XDEV: u64 = 0x01;
    /// No magic links such as `/proc/self/fd/3`.
    pub const NO_MAGICLINKS: u64 = 0x02;
    /// No symbolic links at all.
    pub const NO_SYMLINKS: u64 = 0x04;
    /// Nothing above the directory.
    pub const BENEATH: u64 = 0x08;
    /// The directory is the root.
    pub const IN_ROOT: u64 = 0x10;
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// `openat2(dir, path, {flags, 0, resolve})`; always close-on-exec.
///
/// # Errors
/// As openat2(2).
pub fn openat2(dir: Fd, path: &CStr, flags: u64, resolve: u64) -> Result<Fd> {
    let how = OpenHow { flags: flags | open::CLOEXEC, mode: 0, resolve };
    let args = [dir.arg(), path.as_ptr() as usize, (&raw const how) as usize, size_of::<OpenHow>()];
    // SAFETY: the kernel reads the path and `how`, both of which live across the call.
    unsafe { special(arch::openat2, args) }.map(Fd::from_result)
}

/// `close(fd)`.
///
/// # Errors
/// As close(2).
pub fn close(fd: Fd) -> Result {
    plain(arch::close, [fd.arg()]).map(drop)
}

/// `close_range(first, ~0, CLOSE_RANGE_CLOEXEC)`: every descriptor from `first` on ends with the next execve.
///
/// # Errors
/// As close_range(2).
pub fn cloexec_from(first: u32) -> Result {
    const CLOSE_RANGE_CLOEXEC: usize = 4;
    plain(arch::close_range, [first as usize, u32::MAX as usize, CLOSE_RANGE_CLOEXEC]).map(drop)
}

/// `fcntl(fd, F_SETFD, 0)`: the descriptor survives execve.
///
/// # Errors
/// As fcntl(2).
pub fn keep_over_exec(fd: Fd) -> Result {
    const F_SETFD: usize = 2;
    plain(arch::fcntl, [fd.arg(), F_SETFD, 0]).map(drop)
}

/// `fcntl(fd, F_ADD_SEALS, seals)`.
///
/// # Errors
/// As F_ADD_SEALS(2const).
pub fn add_seals(fd: Fd, seals: u32) -> Result {
    const F_ADD_SEALS: usize = 1033;
    plain(arch::fcntl, [fd.arg(), F_ADD_SEALS, seals as usize]).map(drop)
}

/// `dup3(fd, onto, O_CLOEXEC)`.
///
/// # Errors
/// As dup(2).
pub fn dup_onto(fd: Fd, onto: Fd) -> Result {
    plain(arch::dup3, [fd.arg(), onto.arg(), 0o2_000_000]).map(drop)
}

/// `dup3(fd, onto, 0)`: a copy that survives execve.
///
/// # Errors
/// As dup(2).
pub fn dup_inherited(fd: Fd, onto: Fd) -> Result {
    plain(arch::dup3, [fd.arg(), onto.arg(), 0]).map(drop)
}

/// `fcntl(fd, F_DUPFD_CLOEXEC, least)`.
///
/// # Errors
/// As F_DUPFD_CLOEXEC(2const).
pub fn duplicate_from(fd: Fd, least: i32) -> Result<Fd> {
    const F_DUPFD_CLOEXEC: usize = 1030;
    plain(arch::fcntl, [fd.arg(), F_DUPFD_CLOEXEC, Fd(least).arg()]).map(Fd::from_result)
}

/// `read(fd, buffer)`.
///
/// # Errors
/// As read(2).
pub fn read(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    fill(arch::read, fd, buffer)
}

/// `getdents64(fd, buffer)`: entries of a directory, as many as fit, one `struct linux_dirent64` behind the other.
///
/// # Errors
/// As getdents(2).
pub fn directory_entries(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    fill(arch::getdents64, fd, buffer)
}

fn fill(call: Special, fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes to the buffer, which is ours alone.
    unsafe { special(call, [fd.arg(), buffer.as_mut_ptr() as usize, buffer.len()]) }
}

/// `sendfile(to, from, NULL, count)`: how many bytes were copied, from where both files stand.
///
/// # Errors
/// As sendfile(2).
pub fn copy(from: Fd, to: Fd, count: usize) -> Result<usize> {
    plain(arch::sendfile, [to.arg(), from.arg(), 0, count])
}

/// `write(fd, bytes)`; returns how many were written.
///
/// # Errors
/// As write(2).
pub fn write(fd: Fd, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the kernel reads at most `len` bytes of the slice.
    unsafe { special(arch::write, [fd.arg(), bytes.as_ptr() as usize, bytes.len()]) }
}

/// `mkdirat(dir, name, mode)`.
///
/// # Errors
/// As mkdir(2).
pub fn mkdirat(dir: Fd, name: &CStr, mode: u32) -> Result {
    at_path(arch::mkdirat, dir, name, [mode as usize]).map(drop)
}

/// `mknodat(dir, name, mode, device)`; `mode` holds the type of the node.
///
/// # Errors
/// As mknod(2).
pub fn mknodat(dir: Fd, name: &CStr, mode: u32, device: u32) -> Result {
    at_path(arch::mknodat, dir, name, [mode as usize, device as usize]).map(drop)
}

/// `unlinkat(dir, name, 0)`.
///
/// # Errors
/// As unlink(2).
pub fn unlinkat(dir: Fd, name: &CStr) -> Result {
    at_path(arch::unlinkat, dir, name, [0]).map(drop)
}

/// `symlinkat(target, dir, name)`.
///
/// # Errors
/// As symlink(2).
pub fn symlinkat(target: &CStr, dir: Fd, name: &CStr) -> Result {
    let args = [target.as_ptr() as usize, dir.arg(), name.as_ptr() as usize];
    // SAFETY: the kernel reads the two strings, which live across the call.
    unsafe { special(arch::symlinkat, args) }.map(drop)
}

/// `readlinkat(dir, name, buffer)`; returns the length, which is cut to the buffer's.
///
/// # Errors
/// As readlink(2).
pub fn readlinkat(dir: Fd, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let args = [dir.arg(), name.as_ptr() as usize, buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: the kernel reads the name and writes at most `len` bytes to the buffer.
    unsafe { special(arch::readlinkat, args) }
}

/// `faccessat2(dir, path, X_OK, AT_EACCESS)`: whether the effective ids may execute the file.
///
/// # Errors
/// As access(2).
pub fn may_execute(dir: Fd, path: &CStr) -> Result {
    const X_OK: usize = 1;
    const AT_EACCESS: usize = 0x200;
    at_path(arch::faccessat2, dir, path, [X_OK, AT_EACCESS]).map(drop)
}

/// `fchmod(fd, mode)`.
///
/// # Errors
/// As chmod(2).
pub fn fchmod(fd: Fd, mode: u32) -> Result {
    plain(arch::fchmod, [fd.arg(), mode as usize]).map(drop)
}

/// `fchmodat(dir, name, mode)`. It follows a link, so only where nobody else can have made one.
///
/// # Errors
/// As chmod(2).
pub fn fchmodat(dir: Fd, name: &CStr, mode: u32) -> Result {
    at_path(arch::fchmodat, dir, name, [mode as usize]).map(drop)
}

/// `fchown(fd, uid, gid)`.
///
/// # Errors
/// As chown(2).
pub fn fchown(fd: Fd, uid: u32, gid: u32) -> Result {
    plain(arch::fchown, [fd.arg(), uid as usize, gid as usize]).map(drop)
}

/// `fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW)`.
///
/// # Errors
/// As chown(2).
pub fn fchownat(dir: Fd, name: &CStr, uid: u32, gid: u32) -> Result {
    const AT_SYMLINK_NOFOLLOW: usize = 0x100;
    at_path(arch::fchownat, dir, name, [uid as usize, gid as usize, AT_SYMLINK_NOFOLLOW]).map(drop)
}

/// `fchdir(fd)`.
///
/// # Errors
/// As chdir(2).
pub fn fchdir(fd: Fd) -> Result {
    plain(arch::fchdir, [fd.arg()]).map(drop)
}

/// `getcwd(buffer)`: the length with the NUL. A path outside the root begins with `(unreachable)`.
///
/// # Errors
/// As getcwd(2).
pub fn getcwd(buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes to the buffer.
    unsafe { special(arch::getcwd, [buffer.as_mut_ptr() as usize, buffer.len()]) }
}

/// What `statx` says of a file, as far as init asks.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Inode.
    pub ino: u64,
    /// The mount it was found in.
    pub mount: u64,
    /// Length in bytes.
    pub size: u64,
    /// Major and minor number, of a device node.
    pub rdev: (u32, u32),
}

/// File types within [`Stat::mode`].
pub mod kind {
    /// Mask of the type.
    pub const MASK: u32 = 0o170_000;
    /// Directory.
    pub const DIR: u32 = 0o040_000;
    /// Character device.
    pub const CHR: u32 = 0o020_000;
    /// Block device.
    pub const BLK: u32 = 0o060_000;
    /// Regular file.
    pub const REG: u32 = 0o100_000;
    /// Fifo.
    pub const FIFO: u32 = 0o010_000;
    /// Symbolic link.
    pub const LNK: u32 = 0o120_000;
}

impl Stat {
    /// Whether the type is `kind`.
    #[must_use]
    pub const fn is(&self, kind: u32) -> bool {
        self.mode & kind::MASK == kind
    }
}

/// `struct statx` up to the fields that are read; the rest is room for the kernel.
#[repr(C)]
struct Statx {
    mask: u32,
    blksize: u32,
    attributes: u64,
    nlink: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    pad: u16,
    ino: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    times: [u64; 8],
    rdev_major: u32,
    rdev_minor: u32,
    dev: [u32; 2],
    mount: u64,
    rest: [u64; 13],
}

/// `statx(fd, "", AT_EMPTY_PATH)` for what the descriptor refers to.
///
/// # Errors
/// As statx(2).
pub fn stat(fd: Fd) -> Result<Stat> {
    const AT_EMPTY_PATH: usize = 0x1000;
    stat_at(fd, c"", AT_EMPTY_PATH)
}

/// `statx(dir, name, AT_SYMLINK_NOFOLLOW)`.
///
/// # Errors
/// As statx(2).
pub fn lstat(dir: Fd, name: &CStr) -> Result<Stat> {
    const AT_SYMLINK_NOFOLLOW: usize = 0x100;
    stat_at(dir, name, AT_SYMLINK_NOFOLLOW)
}

/// `statx(dir, path, 0)`, following links. Only for the program, which the container's own user names.
///
/// # Errors
/// As statx(2).
pub fn stat_following(path: &CStr) -> Result<Stat> {
    stat_at(Fd::CWD, path, 0)
}

fn stat_at(dir: Fd, path: &CStr, flags: usize) -> Result<Stat> {
    const STATX_BASIC_STATS: usize = 0x7ff;
    const STATX_MNT_ID: usize = 0x1000;
    let mut out = core::mem::MaybeUninit::<Statx>::zeroed();
    let args = [dir.arg(), path.as_ptr() as usize, flags, STATX_BASIC_STATS | STATX_MNT_ID, out.as_mut_ptr() as usize];
    // SAFETY: the kernel reads the path and writes one `struct statx`, for which `Statx` has the size.
    unsafe { special(arch::statx, args) }?;
    // SAFETY: all bit patterns are valid, and it was zeroed before the kernel wrote.
    let out = unsafe { out.assume_init() };
    Ok(Stat {
        mode: u32::from(out.mode),
        uid: out.uid,
        gid: out.gid,
        ino: out.ino,
        mount: out.mount,
        size: out.size,
        rdev: (out.rdev_major, out.rdev_minor),
    })
}

/// `fstatfs(fd)`: the magic number of the file system.
///
/// # Errors
/// As statfs(2).
pub fn filesystem(fd: Fd) -> Result<u64> {
    let mut out = [0_u64; 15];
    // SAFETY: `struct statfs` is 120 bytes on the supported architectures, the size of `out`.
    unsafe { special(arch::fstatfs, [fd.arg(), out.as_mut_ptr() as usize]) }?;
    Ok(out[0])
}

/// `openat(AT_FDCWD, path, flags)`; only for names that the container cannot have made.
///
/// # Errors
/// As open(2).
pub fn open_plain(path: &CStr, flags: u64) -> Result<Fd> {
    #[expect(clippy::cast_possible_truncation, reason = "open flags fit 32 bits")]
    at_path(arch::openat, Fd::CWD, path, [(flags | open::CLOEXEC) as usize]).map(Fd::from_result)
}
