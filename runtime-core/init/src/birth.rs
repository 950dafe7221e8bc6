//! Birth: the line at which the container's process comes into being.

#![forbid(unsafe_code)]

use crate::fault::Result;
use crate::run::View;
use crate::step::{Gate, Slot};
use crate::sys::fd::{self, Fd};
use crate::sys::net::send_with_fd;
use crate::sys::process::{Born, clone, exit, fork3};

/// One `clone3` with all new namespaces, into the container's cgroup. The child goes on with the next line as
/// the host's own child; the parent passes the pidfd to the host, which is right even if somebody in the
/// caller's process reaps foreign children, and ends.
pub fn birth(view: &View<'_>, namespaces: u32, cgroup: Option<Slot>) -> Result {
    // A rootless container without limits may have no cgroup of its own; its slot is empty then.
    let cgroup = cgroup.map(|slot| view.slot(slot)).filter(|fd| fd.0 >= 0);
    match fork3(clone::PARENT | u64::from(namespaces), cgroup)? {
        // A folder of the host: from here on a link of the image to `/proc/self/fd/N/../..` must not reach it, as the
        // program's name would before execve closes what is left (CVE-2024-21626).
        Born::Child => cgroup.map_or(Ok(()), fd::close),
        Born::Parent(pid, pidfd) => {
            tell(view, pid, pidfd)?;
            exit(0)
        }
    }
}

/// Tells the host of a process.
pub fn tell(view: &View<'_>, pid: i32, pidfd: Fd) -> Result {
    let mut message = [Gate::Born as u8, 0, 0, 0, 0];
    message[1..].copy_from_slice(&pid.to_ne_bytes());
    send_with_fd(view.frame.gate(), &message, pidfd)
}
