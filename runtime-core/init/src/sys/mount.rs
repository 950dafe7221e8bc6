//! The mount API by file descriptors: open_tree, fsopen, fsconfig, fsmount, mount_setattr, move_mount.

use core::ffi::CStr;
use core::mem::size_of;
use core::ptr::null;

use super::fd::Fd;
use super::{arch, at_path, plain, special, text_first};
use crate::fault::Result;

/// Mount attributes (`linux/mount.h`).
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id and file capabilities have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be executed.
    pub const NOEXEC: u64 = 0x8;
    /// Mask of the access time modes.
    pub const ATIME: u64 = 0x70;
    /// Access times relative to modification times.
    pub const RELATIME: u64 = 0x00;
    /// No access times.
    pub const NOATIME: u64 = 0x10;
    /// Every access time.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// The ids of files are mapped.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// Propagation types (`linux/mount.h`).
pub mod propagation {
    /// Does not receive, does not send, cannot be bound.
    pub const UNBINDABLE: u64 = 1 << 17;
    /// Neither receives nor sends.
    pub const PRIVATE: u64 = 1 << 18;
    /// Receives, does not send.
    pub const SLAVE: u64 = 1 << 19;
    /// Receives and sends.
    pub const SHARED: u64 = 1 << 20;
    /// No kind of the kernel's: private, and a slave for every mount below.
    pub const SLAVE_BELOW_PRIVATE: u64 = SLAVE | PRIVATE;
}

const AT_EMPTY_PATH: usize = 0x1000;
const AT_RECURSIVE: usize = 0x8000;
const OPEN_TREE_CLONE: usize = 1;
const OPEN_TREE_CLOEXEC: usize = 0o2_000_000;

/// `struct mount_attr`: what to set, what to clear, which propagation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear first.
    pub clear: u64,
    /// One of [`propagation`], or 0 to leave it.
    pub propagation: u64,
    /// A user namespace for an id-mapped mount; 0 without `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

impl MountAttr {
    /// Whether there is anything to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set | self.clear | self.propagation == 0
    }
}

/// `open_tree(dir, path, OPEN_TREE_CLONE)`: a detached copy of the mount, or of all mounts below.
///
/// # Errors
/// As open_tree(2).
pub fn clone_tree(dir: Fd, path: &CStr, recursive: bool) -> Result<Fd> {
    let empty = if path.is_empty() { AT_EMPTY_PATH } else { 0 };
    let recursive = if recursive { AT_RECURSIVE } else { 0 };
    at_path(arch::open_tree, dir, path, [OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | empty | recursive]).map(Fd::from_result)
}

/// `move_mount(mount, "", target, "", F_EMPTY_PATH | T_EMPTY_PATH)`: attaches without naming a path.
///
/// # Errors
/// As move_mount(2).
pub fn attach(mount: Fd, target: Fd) -> Result {
    const F_EMPTY_PATH: usize = 0x4;
    const T_EMPTY_PATH: usize = 0x40;
    let empty = c"".as_ptr() as usize;
    let args = [mount.arg(), empty, target.arg(), empty, F_EMPTY_PATH | T_EMPTY_PATH];
    // SAFETY: the kernel reads two strings, both static.
    unsafe { special(arch::move_mount, args) }.map(drop)
}

/// `mount_setattr(mount, "", AT_EMPTY_PATH [| AT_RECURSIVE], attr)`.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_attr(mount: Fd, recursive: bool, attr: &MountAttr) -> Result {
    set_attr_at(mount, c"", recursive, attr)
}

/// `mount_setattr(dir, path, …)`; only for `/` of a mount namespace that nobody else is in.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_attr_at(dir: Fd, path: &CStr, recursive: bool, attr: &MountAttr) -> Result {
    let empty = if path.is_empty() { AT_EMPTY_PATH } else { 0 };
    let flags = empty | if recursive { AT_RECURSIVE } else { 0 };
    let args = [dir.arg(), path.as_ptr() as usize, flags, core::ptr::from_ref(attr) as usize, size_of::<MountAttr>()];
    // SAFETY: the kernel reads the path and the structure, whose size is passed.
    unsafe { special(arch::mount_setattr, args) }.map(drop)
}

/// `fsopen(type, FSOPEN_CLOEXEC)`.
///
/// # Errors
/// As fsopen(2).
pub fn fsopen(fstype: &CStr) -> Result<Fd> {
    const FSOPEN_CLOEXEC: usize = 1;
    text_first(arch::fsopen, fstype, FSOPEN_CLOEXEC).map(Fd::from_result)
}

fn fsconfig(fs: Fd, command: usize, key: *const i8, value: *const i8) -> Result {
    let args = [fs.arg(), command, key as usize, value as usize, 0];
    // SAFETY: the callers below pass strings that live across the call, or null where the command wants that.
    unsafe { special(arch::fsconfig, args) }.map(drop)
}

/// `fsconfig(fs, FSCONFIG_SET_FLAG, key)`.
///
/// # Errors
/// As fsconfig(2).
pub fn fs_flag(fs: Fd, key: &CStr) -> Result {
    fsconfig(fs, 0, key.as_ptr(), null())
}

/// `fsconfig(fs, FSCONFIG_SET_STRING, key, value)`.
///
/// # Errors
/// As fsconfig(2).
pub fn fs_string(fs: Fd, key: &CStr, value: &CStr) -> Result {
    fsconfig(fs, 1, key.as_ptr(), value.as_ptr())
}

/// `fsconfig(fs, FSCONFIG_CMD_CREATE)`.
///
/// # Errors
/// As fsconfig(2).
pub fn fs_create(fs: Fd) -> Result {
    fsconfig(fs, 6, null(), null())
}

/// `fsconfig(fs, FSCONFIG_CMD_RECONFIGURE)`.
///
/// # Errors
/// As fsconfig(2).
pub fn fs_reconfigure(fs: Fd) -> Result {
    fsconfig(fs, 7, null(), null())
}

/// `fspick(mount, "", FSPICK_EMPTY_PATH)`: the file system of a mount, to change its options.
///
/// # Errors
/// As fspick(2).
pub fn fspick(mount: Fd) -> Result<Fd> {
    const FSPICK_CLOEXEC: usize = 1;
    const FSPICK_EMPTY_PATH: usize = 8;
    at_path(arch::fspick, mount, c"", [FSPICK_CLOEXEC | FSPICK_EMPTY_PATH]).map(Fd::from_result)
}

/// `fsmount(fs, FSMOUNT_CLOEXEC, attributes)`: a detached mount.
///
/// # Errors
/// As fsmount(2).
pub fn fsmount(fs: Fd, attributes: u64) -> Result<Fd> {
    const FSMOUNT_CLOEXEC: usize = 1;
    #[expect(clippy::cast_possible_truncation, reason = "attributes fit 32 bits")]
    plain(arch::fsmount, [fs.arg(), FSMOUNT_CLOEXEC, attributes as usize]).map(Fd::from_result)
}

/// `pivot_root(".", ".")`: the current directory becomes the root, the old root is stacked on it.
///
/// # Errors
/// As pivot_root(2).
pub fn pivot_here() -> Result {
    let dot = c".".as_ptr() as usize;
    // SAFETY: the kernel reads two strings, both static.
    unsafe { special(arch::pivot_root, [dot, dot]) }.map(drop)
}

/// `umount2(".", MNT_DETACH)`.
///
/// # Errors
/// As umount(2).
pub fn detach_here() -> Result {
    const MNT_DETACH: usize = 2;
    text_first(arch::umount2, c".", MNT_DETACH).map(drop)
}

/// `umount2(path, MNT_DETACH)`; only for host paths in a mount namespace that nobody else is in.
///
/// # Errors
/// As umount(2).
pub fn detach(path: &CStr) -> Result {
    const MNT_DETACH: usize = 2;
    text_first(arch::umount2, path, MNT_DETACH).map(drop)
}

/// `chroot(".")`.
///
/// # Errors
/// As chroot(2).
pub fn chroot_here() -> Result {
    text_first(arch::chroot, c".", 0).map(drop)
}
