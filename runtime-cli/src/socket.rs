//! The sockets on which a caller waits for descriptors: `--console-socket`, `--pidfd-socket`.

#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket};
use nix::sys::time::TimeVal;

use crate::phrases::Failure;

/// How long it may take to accept, and then to take what is sent, in seconds.
const PATIENCE: i64 = 10;

/// Connects to the socket `path` that `option` names: before anything is made that a failure would have to undo.
pub fn connected(option: &str, path: &Path) -> Result<OwnedFd, Failure> {
    let failed = |errno: Errno| {
        let why = match errno {
            Errno::EAGAIN => format!("nobody accepted for {PATIENCE} s"),
            Errno::ENAMETOOLONG => "the path is longer than the 107 bytes of a socket's".to_owned(),
            errno => format!("{errno:?}"),
        };
        Failure::new(format!("{option}: connect to {}: {why}", path.display()))
    };
    let address = UnixAddr::new(path).map_err(failed)?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
    // For a listener whose queue is full; it is the deadline of every message as well.
    setsockopt(&socket, SendTimeout, &TimeVal::new(PATIENCE, 0)).map_err(failed)?;
    connect(socket.as_raw_fd(), &address).map_err(failed)?;
    Ok(socket)
}
