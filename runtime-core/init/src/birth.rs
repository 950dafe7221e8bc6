//! Birth: the line at which the container's process comes into being.

#![forbid(unsafe_code)]

use crate::fault::Result;
use crate::run::View;
use crate::step::{Gate, Slot};
use crate::sys::fd::{self, Closing, Fd, open, resolve};
use crate::sys::net::send_with_fd;
use crate::sys::process::{Born, clone, exit, fork3};

/// One `clone3` with all new namespaces, into the container's cgroup. The child goes on with the next line as
/// the host's own child; the parent passes the pidfd to the host, which is right even if somebody in the
/// caller's process reaps foreign children, and ends.
pub fn birth(view: &View<'_>, namespaces: u32, cgroup: Option<Slot>) -> Result {
    // A rootless container without limits may have no cgroup of its own; its slot is empty then.
    let cgroup = cgroup.map(|slot| view.slot(slot)).filter(|fd| fd.0 >= 0);
    let into = match cgroup {
        Some(cgroup) if view.slate.enters_cgroup() => enter(cgroup).map(|()| None)?,
        other => other,
    };
    match fork3(clone::PARENT | u64::from(namespaces), into)? {
        // A folder of the host: from here on a link of the image to `/proc/self/fd/N/../..` must not reach it, as the
        // program's name would before execve closes what is left (CVE-2024-21626).
        Born::Child => cgroup.map_or(Ok(()), fd::close),
        Born::Parent(pid, pidfd) => {
            tell(view, pid, pidfd)?;
            exit(0)
        }
    }
}

/// Enters a cgroup, so that the child is born in it and not into it, where the kernel kills those (`launch/rebirth.rs`).
fn enter(cgroup: Fd) -> Result {
    let strict = resolve::BENEATH | resolve::NO_SYMLINKS | resolve::NO_XDEV;
    let procs = Closing(fd::openat2(cgroup, c"cgroup.procs", open::WRONLY, strict)?);
    fd::write(procs.0, b"0").map(drop)
}

/// Tells the host of a process.
pub fn tell(view: &View<'_>, pid: i32, pidfd: Fd) -> Result {
    let mut message = [Gate::Born as u8, 0, 0, 0, 0];
    message[1..].copy_from_slice(&pid.to_ne_bytes());
    send_with_fd(view.frame.gate(), &message, pidfd)
}
