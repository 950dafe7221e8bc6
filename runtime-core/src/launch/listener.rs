//! The listener of a filter: the agent on `linux.seccomp.listenerPath` gets it, with the container process state.

#![forbid(unsafe_code)]

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, sendmsg, socket,
};
use serde_json::json;

use crate::container::State;
use crate::error::{Result, StepError};
use crate::plan::Listener;

/// How long the agent may take to accept a connection, and then to read the state.
const PATIENCE: Duration = Duration::from_secs(10);

/// The agent, connected. One connection carries one state, and ends with it.
#[derive(Debug)]
pub(super) struct Agent {
    socket: OwnedFd,
    path: String,
}

impl Agent {
    pub fn connect(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let failed = |call| {
            let shown = shown.clone();
            move |errno| StepError {
                // runc's words.
                detail: Some("failed to connect with seccomp agent".to_owned()),
                ..StepError::host(None, format!("connect to {shown}"), call, errno)
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed("socket"))?;
        let address = UnixAddr::new(path).map_err(failed("connect"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match connect(socket.as_raw_fd(), &address) {
                Ok(()) => return Ok(Self { socket, path: shown.clone() }),
                // Its queue is full. The kernel has no event for when it no longer is.
                Err(Errno::EAGAIN) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("connect")(errno).into()),
            }
        }
    }

    /// Sends the descriptor with the beginning of `state`; returns what is left of it.
    pub fn send<'a>(&self, listener: BorrowedFd<'_>, state: &'a [u8]) -> Result<&'a [u8]> {
        let rights = [listener.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&rights)];
        let parts = [IoSlice::new(state)];
        let sent = sendmsg::<()>(self.socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_NOSIGNAL, None);
        let sent = sent.map_err(|errno| self.failed("sendmsg", errno))?;
        Ok(&state[sent..])
    }

    /// Sends the rest of a state that is too long for one message.
    pub fn send_rest(&self, mut rest: &[u8]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !rest.is_empty() {
            match send(self.socket.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::EAGAIN) if Instant::now() < deadline => self.wait(deadline),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.failed("sendto", errno).into()),
            }
        }
        Ok(())
    }

    /// Until there is room for more, or the time is over.
    fn wait(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        // Whatever it says, the next send tells.
        let _ = poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)], timeout);
    }

    fn failed(&self, call: &'static str, errno: Errno) -> StepError {
        StepError::host(None, format!("send the listener to seccomp agent {}", self.path), call, errno)
    }
}

/// The container process state (config-linux.md) of the process `pid`.
pub(super) fn process_state(listener: &Listener, state: &State, pid: i32) -> Vec<u8> {
    let mut all = json!({"ociVersion": state.oci_version, "fds": ["seccompFd"], "pid": pid, "state": state});
    if let Some(metadata) = &listener.metadata {
        all["metadata"] = metadata.as_str().into();
    }
    all.to_string().into_bytes()
}
