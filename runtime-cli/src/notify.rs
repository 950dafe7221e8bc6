//! sd_notify(3) between the program and the service manager: readiness goes through, with the number of the process to watch.
//!
//! Nothing else does: whatever comes from the container may be made up, and a service manager acts on more than readiness.

#![forbid(unsafe_code)]

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use runtime_core::Container;

use crate::log::Log;
use crate::phrases::Failure;

/// The variable of sd_notify(3).
const VARIABLE: &str = "NOTIFY_SOCKET";
/// How long the service manager may take to confirm, as in runc.
const BARRIER: u16 = 30_000;

/// Whether the caller has a service manager that waits for readiness.
pub fn is_wanted() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|address| !address.is_empty())
}

/// The way between them, from the moment at which the program may write.
pub struct Notify {
    manager: UnixDatagram,
    program: UnixDatagram,
}

impl Notify {
    /// Connects both ends for a container that is not started yet; `None` if nobody waits.
    pub fn prepare(container: &Container) -> Result<Option<Self>, Failure> {
        let Some(address) = std::env::var_os(VARIABLE).filter(|address| !address.is_empty()) else { return Ok(None) };
        let failed =
            |error: std::io::Error| Failure::new(format!("{VARIABLE}: connect to {}: {error}", address.display()));
        let bytes = address.as_encoded_bytes();
        let to = match bytes.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&address),
        };
        let manager = UnixDatagram::unbound().map_err(failed)?;
        manager.connect_addr(&to.map_err(failed)?).map_err(failed)?;
        Ok(Some(Self { manager, program: container.bind_notify_socket()? }))
    }

    /// Waits until the program is ready, tells the service manager to watch `watched` from now on, and waits until it has heard.
    /// Ends as well when the process of `pidfd` does.
    pub fn forward(&self, pidfd: BorrowedFd<'_>, watched: u32, log: &Log) {
        if let Some(ready) = self.readiness(pidfd)
            && let Err(errno) = self.tell(&ready, watched, log)
        {
            log.warning(&format!("{VARIABLE}: tell the service manager: {errno:?}"));
        }
    }

    /// The line with which the program says that it is ready.
    fn readiness(&self, pidfd: BorrowedFd<'_>) -> Option<String> {
        let mut buffer = [0; 4096];
        loop {
            // The end first: the kernel looks at one after the other, and between the looks it may say so and end.
            let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN), PollFd::new(self.program.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(_) => return None,
                Ok(_) => {}
            }
            // What it wrote before its end counts.
            if !fds[1].any().unwrap_or(false) {
                return None;
            }
            let length = self.program.recv(&mut buffer).ok()?;
            if let Some(line) = ready(&buffer[..length]) {
                return Some(line);
            }
        }
    }

    fn tell(&self, ready: &str, watched: u32, log: &Log) -> Result<(), Errno> {
        let send = |text: String| self.manager.send(text.as_bytes()).map_err(errno_of);
        send(format!("{ready}\n"))?;
        send(format!("MAINPID={watched}\n"))?;
        let (heard, barrier) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        self.pass(barrier)?;
        // The manager closes its end when it has dealt with everything before.
        let mut fds = [PollFd::new(heard.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(BARRIER))? == 0 {
            log.warning(&format!("{VARIABLE}: no answer to BARRIER=1 for 30 s; going on"));
        }
        Ok(())
    }

    fn pass(&self, barrier: OwnedFd) -> Result<(), Errno> {
        let fds = [barrier.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        let text = [IoSlice::new(b"BARRIER=1")];
        sendmsg::<()>(self.manager.as_raw_fd(), &text, &rights, MsgFlags::MSG_NOSIGNAL, None).map(drop)
    }
}

/// The line of a message that says "ready".
fn ready(message: &[u8]) -> Option<String> {
    let line = message.split(|byte| *byte == b'\n').find(|line| *line == b"READY=1")?;
    Some(String::from_utf8_lossy(line).into_owned())
}

fn errno_of(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_30_only_readiness_goes_through() {
        assert_eq!(ready(b"READY=1").as_deref(), Some("READY=1"));
        assert_eq!(ready(b"STATUS=up\nREADY=1\nMAINPID=1").as_deref(), Some("READY=1"));
        for other in [&b""[..], b"MAINPID=1", b"READY=0", b"XREADY=1", b"READY=1\0", b"STOPPING=1\nERRNO=2"] {
            assert_eq!(ready(other), None, "{other:?}");
        }
    }
}
