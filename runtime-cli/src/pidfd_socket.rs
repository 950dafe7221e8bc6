//! `--pidfd-socket`: the caller gets a pidfd of the process, so that no number has to be trusted.

#![forbid(unsafe_code)]

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::phrases::Failure;
use crate::socket::connected;

/// A socket that waits for the pidfd.
pub struct PidfdSocket(Option<OwnedFd>);

impl PidfdSocket {
    /// Connects to the socket, if there is one: before anything is made that a failure would have to undo.
    pub fn connect(path: Option<&Path>) -> Result<Self, Failure> {
        path.map(|path| connected("--pidfd-socket", path)).transpose().map(Self)
    }

    /// Sends the pidfd, with runc's word for the kind of process it is of.
    pub fn send(self, kind: &str, pidfd: BorrowedFd<'_>) -> Result<(), Failure> {
        let Some(socket) = self.0 else { return Ok(()) };
        let fds = [pidfd.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        let sent =
            sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(kind.as_bytes())], &rights, MsgFlags::MSG_NOSIGNAL, None);
        sent.map(drop).map_err(|errno| Failure::new(format!("--pidfd-socket: send the pidfd: sendmsg: {errno:?}")))
    }
}
