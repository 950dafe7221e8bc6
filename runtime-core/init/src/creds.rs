//! Identity and capabilities: privileges fall once.

#![forbid(unsafe_code)]

use crate::fault::{Call, Errno, Fault, Result};
use crate::run::View;
use crate::step::Words;
use crate::sys::fd::{self, Closing, Fd, kind, open, resolve};
use crate::sys::process::{self, Prctl};

/// More supplementary groups than the kernel takes (`NGROUPS_MAX` is 65536) do not fit an init without allocator.
const MAX_GROUPS: usize = 4096;

/// Drops from the bounding set whatever is not in `keep`, up to the last capability that the kernel knows.
pub fn bounding(keep: u64) -> Result {
    for capability in 0..64 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        match process::prctl(Prctl::CapbsetDrop, capability, 0) {
            Err(fault) if fault.is(Errno::INVAL) => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

/// Raises ambient capabilities, from none.
pub fn ambient(raise: u64) -> Result {
    const PR_CAP_AMBIENT_RAISE: u32 = 2;
    const PR_CAP_AMBIENT_CLEAR_ALL: u32 = 4;
    process::prctl(Prctl::CapAmbient, PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    (0..64)
        .filter(|capability| raise & (1 << capability) != 0)
        .try_for_each(|capability| process::prctl(Prctl::CapAmbient, PR_CAP_AMBIENT_RAISE, capability))
}

/// Sets the supplementary groups.
pub fn groups(view: &View<'_>, words: Words) -> Result {
    let mut groups = [0; MAX_GROUPS];
    let count = words.count as usize;
    let Some(list) = groups.get_mut(..count) else {
        return Err(Fault::new(Call::LENGTH, Errno::TOOBIG));
    };
    for (place, group) in list.iter_mut().zip(view.frame.words(words)) {
        *place = group;
    }
    process::set_groups(list)
}

/// Changes group, then user, keeping the permitted capabilities for the step that sets them.
pub fn ids(uid: u32, gid: u32) -> Result {
    process::prctl(Prctl::SetKeepCaps, 1, 0)?;
    process::set_gid(gid)?;
    process::set_uid(uid)?;
    process::prctl(Prctl::SetKeepCaps, 0, 0)
}

/// Gives 0, 1 and 2 to the container's user; a file that cannot be given away (another user namespace, a read-only
/// file system) stays, as in runc. The null device is everybody's; one of the host becomes the container's own.
pub fn own_stdio(uid: u32) -> Result {
    const UNCHANGED: u32 = u32::MAX;
    for number in (0..3).map(Fd) {
        let Ok(found) = fd::stat(number) else { continue };
        if is_null(&found) {
            reopen_null(number)?;
        } else if found.uid != uid {
            match fd::fchown(number, uid, UNCHANGED) {
                Err(fault) if !may_stay(fault.errno) => return Err(fault),
                _ => {}
            }
        }
    }
    Ok(())
}

fn is_null(found: &fd::Stat) -> bool {
    found.is(kind::CHR) && found.rdev == (1, 3)
}

/// Only what is proven to be the null device on both sides is exchanged (CVE-2026-88265); without one in the container
/// the host's stays.
fn reopen_null(number: Fd) -> Result {
    let how = resolve::NO_SYMLINKS;
    let Ok(found) = fd::openat2(Fd::CWD, c"/dev/null", open::PATH | open::NOFOLLOW, how).map(Closing) else {
        return Ok(());
    };
    if !is_null(&fd::stat(found.0)?) {
        return Ok(());
    }
    let opened = Closing(fd::openat2(Fd::CWD, c"/dev/null", open::RDWR | open::NOFOLLOW, how)?);
    if is_null(&fd::stat(opened.0)?) { fd::dup_inherited(opened.0, number) } else { Ok(()) }
}

fn may_stay(errno: Errno) -> bool {
    [Errno::PERM, Errno::INVAL, Errno::ROFS, Errno::ACCES, Errno::OPNOTSUPP].contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in runc: what cannot be given away stays, everything else is an error.
    #[test]
    fn only_a_refusal_to_give_away_is_forgiven() {
        for errno in [Errno::PERM, Errno::INVAL, Errno::ROFS, Errno::ACCES, Errno::OPNOTSUPP] {
            assert!(may_stay(errno), "{errno:?}");
        }
        for errno in [Errno::NOENT, Errno::BUSY, Errno::LOOP, Errno(5)] {
            assert!(!may_stay(errno), "{errno:?}");
        }
    }
}
