//! The socket of sd_notify(3): bound beside the container's record, in a directory that the container sees.

#![forbid(unsafe_code)]

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use nix::fcntl::OFlag;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};

use super::Container;
use crate::error::{Errno, Result, StepError};

/// Name of the directory, which exists if the plan asked for it ([`crate::CreateOptions::notify`]).
pub(crate) const DIRECTORY: &str = "notify";
/// Name of the socket in it.
const SOCKET: &str = "notify.sock";
/// The socket, seen from the container's directory.
const PATH: &str = "notify/notify.sock";

impl Container {
    /// Where the program of a container finds the socket of [`Self::bind_notify_socket`], for its variable `NOTIFY_SOCKET`
    /// (sd_notify(3)).
    pub const NOTIFY_SOCKET: &str = "/run/notify/notify.sock";

    /// Binds the socket that the program writes to, readable and writable for every user of the container. To be called before
    /// [`Self::start`]; what comes out of it is the container's, and may be anything.
    ///
    /// # Errors
    /// [`crate::Error::Step`], with `ENOENT` if the container was created without [`crate::CreateOptions::notify`].
    pub fn bind_notify_socket(&self) -> Result<UnixDatagram> {
        let directory = self.dir.open_file(DIRECTORY, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        self.dir.remove(PATH)?;
        // A path by way of the descriptor is short: that of the record may not fit a socket's address.
        let path = format!("/proc/thread-self/fd/{}/{SOCKET}", directory.as_raw_fd());
        let failed =
            |call: &'static str, error: &std::io::Error| StepError::io(None, "bind the notify socket", call, error);
        let socket = UnixDatagram::bind(path).map_err(|error| failed("bind", &error))?;
        // The container sees the directory, and whoever shares its mounts may have put a link in the place.
        let everybody = Mode::from_bits_truncate(0o777);
        fchmodat(&directory, SOCKET, everybody, FchmodatFlags::NoFollowSymlink)
            .map_err(|errno: Errno| failed("fchmodat", &errno.into()))?;
        Ok(socket)
    }
}
