//! `tmpcopyup`: what a tmpfs covers is copied into it, before it is attached.
//!
//! Types, modes, owners, links and contents are copied, as by runc; extended attributes, times and hard links are not.
//! Both sides are walked by descriptor, name by name. The new file system is reachable by nobody else; the source may be
//! an image that others change meanwhile, so each file of it is looked at again once it is open (rule R2).

#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::devices::number;
use crate::fault::{Call, Errno, Fault, Result};
use crate::sys::fd::{self, Closing, Fd, Stat, kind, open, resolve};

/// How deep directories may be nested: each level holds descriptors and a part of init's stack.
const DEPTH: u32 = 128;

/// Bytes of directory entries that are read at once, on each level.
const LISTED: usize = 2048;

/// As much as sendfile(2) copies at once.
const MOST: usize = 0x7fff_f000;

/// Where the name begins in a `struct linux_dirent64`, and where its two-byte length is.
const NAME: usize = 19;
const LENGTH: usize = 16;

/// Copies what is in the directory `from` into the directory `to`.
pub fn directory(from: Fd, to: Fd) -> Result {
    level(from, to, 0)
}

fn level(from: Fd, to: Fd, depth: u32) -> Result {
    if depth == DEPTH {
        return Err(Fault::new(Call::DEPTH, Errno::LOOP));
    }
    let listing = Closing(fd::openat2(from, c".", open::RDONLY | open::DIRECTORY, resolve::BENEATH)?);
    let mut buffer = [0; LISTED];
    loop {
        let count = fd::directory_entries(listing.0, &mut buffer)?;
        let mut rest = &buffer[..count];
        if rest.is_empty() {
            return Ok(());
        }
        while let Some((name, others)) = entry(rest) {
            if name != c"." && name != c".." {
                one(listing.0, to, name, depth)?;
            }
            rest = others;
        }
    }
}

/// The name of the first of some directory entries, and the entries behind it.
fn entry(bytes: &[u8]) -> Option<(&CStr, &[u8])> {
    let length = bytes.get(LENGTH..LENGTH + 2)?;
    let length = usize::from(u16::from_ne_bytes(length.try_into().ok()?));
    let name = CStr::from_bytes_until_nul(bytes.get(NAME..length)?).ok()?;
    Some((name, &bytes[length..]))
}

fn one(from: Fd, to: Fd, name: &CStr, depth: u32) -> Result {
    let found = fd::lstat(from, name)?;
    match found.mode & kind::MASK {
        kind::DIR => {
            fd::mkdirat(to, name, 0o700)?;
            let [from, to] = [beneath(from, name, open::PATH)?, beneath(to, name, open::PATH)?];
            level(from.0, to.0, depth + 1)?;
        }
        kind::REG => file(from, to, name)?,
        kind::LNK => link(from, to, name)?,
        other => fd::mknodat(to, name, other, number(found.rdev))?,
    }
    dress(to, name, &found)
}

/// Owner, then mode: a change of owner takes set-user-id bits away.
fn dress(to: Fd, name: &CStr, like: &Stat) -> Result {
    fd::fchownat(to, name, like.uid, like.gid)?;
    if like.is(kind::LNK) { Ok(()) } else { fd::fchmodat(to, name, like.mode & 0o7777) }
}

/// Opens one name, which must not be a link; a device that took the place of a file does nothing by that.
fn beneath(dir: Fd, name: &CStr, flags: u64) -> Result<Closing> {
    let at_once = if flags & open::PATH == 0 { open::NONBLOCK } else { 0 };
    let flags = flags | open::NOFOLLOW | at_once;
    fd::openat2(dir, name, flags, resolve::BENEATH | resolve::NO_MAGICLINKS).map(Closing)
}

#[inline(never)]
fn file(from: Fd, to: Fd, name: &CStr) -> Result {
    let source = beneath(from, name, open::RDONLY | open::NOCTTY)?;
    if !fd::stat(source.0)?.is(kind::REG) {
        return Err(Fault::new(Call::DEVICE, Errno::AGAIN));
    }
    fd::mknodat(to, name, kind::REG | 0o600, 0)?;
    let target = beneath(to, name, open::WRONLY)?;
    while fd::copy(source.0, target.0, MOST)? > 0 {}
    Ok(())
}

#[inline(never)]
fn link(from: Fd, to: Fd, name: &CStr) -> Result {
    let mut target = [0; 4097];
    let len = fd::readlinkat(from, name, &mut target[..4096])?;
    fd::symlinkat(CStr::from_bytes_until_nul(&target[..=len]).unwrap_or(c""), to, name)
}
