//! What has to be done around the making of namespaces.

#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::fault::{Errno, Result};
use crate::proc;
use crate::step::Ns;
use crate::sys::process;

/// A new time namespace with its offsets. It is entered by children only, so a birth has to follow.
pub fn time_offsets(offsets: &CStr) -> Result {
    process::unshare(Ns::Time.flag())?;
    if offsets.is_empty() { Ok(()) } else { proc::write_own(c"/proc/self/timens_offsets", offsets) }
}

/// Root of the new user namespace: the ids of the caller may not be mapped in it, and would then not even
/// be allowed to make files.
pub fn become_root() -> Result {
    process::set_gid(0)?;
    process::set_uid(0)
}

/// A session keyring of the container's own. A kernel without keyrings has nothing to keep apart.
pub fn keyring(name: &CStr) -> Result {
    match process::join_session_keyring(name) {
        Err(fault) if fault.is(Errno::NOSYS) => Ok(()),
        result => result,
    }
}
