//! What has to be done around the making of namespaces.

#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::fault::{Call, Errno, Fault, Result};
use crate::run::{View, wait_at, wait_for};
use crate::step::{Gate, Ns, Words};
use crate::sys::fd::{self, Closing, open};
use crate::sys::net;
use crate::sys::process::{self, Born};
use crate::{birth, proc};

/// A new time namespace with its offsets. It is entered by children only, so a birth has to follow.
pub fn time_offsets(offsets: &CStr) -> Result {
    process::unshare(Ns::Time.flag())?;
    if offsets.is_empty() { Ok(()) } else { proc::write_own(c"/proc/self/timens_offsets", offsets) }
}

/// A user namespace that is there for its id maps only: the host writes them and keeps it by a descriptor. Its process does
/// nothing, and ends when the pipe does, which is with this one at the latest.
pub fn hold_user_namespace(view: &View<'_>) -> Result {
    let (end, hold) = process::pipe()?;
    let (end, hold) = (Closing(end), Closing(hold));
    match process::fork3(Ns::User.flag().into(), None)? {
        Born::Child => {
            drop(hold);
            let _: Result<usize> = fd::read(end.0, &mut [0]);
            process::exit(0)
        }
        Born::Parent(pid, pidfd) => {
            let pidfd = Closing(pidfd);
            let done = birth::tell(view, pid, pidfd.0).and_then(|()| wait_for(view, Gate::Mapped));
            drop(hold);
            process::wait(pid)?;
            done
        }
    }
}

/// Root of the new user namespace: the ids of the caller may not be mapped in it, and would then not even
/// be allowed to make files.
pub fn become_root() -> Result {
    process::set_gid(0)?;
    process::set_uid(0)
}

/// A session keyring of the container's own. A kernel without keyrings has nothing to keep apart.
pub fn keyring(name: &CStr, permissions: u32) -> Result {
    match process::join_session_keyring(name) {
        Err(fault) if fault.is(Errno::NOSYS) => Ok(()),
        Ok(key) if permissions != 0 => process::set_key_permissions(key, permissions),
        result => result.map(drop),
    }
}

/// Stands at a gate with a socket through which the host sees the devices of this network namespace.
pub fn show_network(view: &View<'_>) -> Result {
    let socket = Closing(net::route_socket()?);
    wait_at(view, Gate::Network, Some(socket.0))
}

/// Compares the id maps of this process with what the configuration gives for the namespace it has joined.
pub fn check_maps(view: &View<'_>, uid: Words, gid: Words) -> Result {
    for (path, wanted) in [(c"/proc/self/uid_map", uid), (c"/proc/self/gid_map", gid)] {
        let file = Closing(fd::open_plain(path, open::RDONLY)?);
        if fd::filesystem(file.0)? != proc::MAGIC {
            return Err(Fault::new(Call::PROCFS, Errno::INVAL));
        }
        let mut numbers = view.frame.words(wanted);
        let same = read_numbers(&file, |number| numbers.next() == Some(number))?;
        if !same || numbers.next().is_some() {
            return Err(Fault::new(Call::MAPS, Errno::INVAL));
        }
    }
    Ok(())
}

/// Passes every decimal number of a file on, until one is refused; whether none was.
fn read_numbers(file: &Closing, mut take: impl FnMut(u32) -> bool) -> Result<bool> {
    let mut buffer = [0; 4096];
    let mut number: Option<u64> = None;
    loop {
        let count = fd::read(file.0, &mut buffer)?;
        let end: &[u8] = if count == 0 { b"\n" } else { &buffer[..count] };
        for byte in end {
            if byte.is_ascii_digit() {
                number = Some(number.unwrap_or(0).saturating_mul(10) + u64::from(byte - b'0'));
            } else if let Some(number) = number.take() {
                match u32::try_from(number) {
                    Ok(number) if take(number) => {}
                    _ => return Ok(false),
                }
            }
        }
        if count == 0 {
            return Ok(true);
        }
    }
}
