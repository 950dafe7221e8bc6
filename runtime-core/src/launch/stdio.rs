//! What a process gets as its standard streams: files, or a terminal.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use runtime_init::sys::fd::Fd;
use runtime_init::sys::tty;

use super::{descriptors, gate, refused};
use crate::error::{Result, StepError};

pub use runtime_init::sys::tty::WindowSize;

/// The standard streams that a process gets, and what it is passed beside them.
///
/// ```no_run
/// # use runtime_core::{Plan, Result, Stdio, Store, WindowSize};
/// # fn example(store: &Store, plan: &Plan) -> Result<()> {
/// // For a plan with `process.terminal`.
/// let (stdio, master) = Stdio::terminal()?;
/// let web = store.create("web", plan, stdio)?;
/// let terminal = master.receive()?;
/// terminal.resize(WindowSize::new(24, 80))?;
/// web.start()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Stdio {
    streams: Streams,
    pub(super) passed: BTreeMap<u32, OwnedFd>,
}

#[derive(Debug, Default)]
enum Streams {
    #[default]
    Callers,
    Given([OwnedFd; 3]),
    /// The socket that gets the master side.
    Terminal(OwnedFd),
}

impl Stdio {
    /// The caller's own streams.
    #[must_use]
    pub fn inherit() -> Self {
        Self::default()
    }

    /// These descriptors as standard input, output and error.
    #[must_use]
    pub fn from_fds(stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        Self { streams: Streams::Given([stdin, stdout, stderr]), ..Self::default() }
    }

    /// A new terminal of the container's own, as `process.terminal` asks for, and what receives its master side once the
    /// process has been made.
    ///
    /// # Errors
    /// [`crate::Error::Step`] if there can be no socket pair.
    pub fn terminal() -> Result<(Self, Master)> {
        let (socket, master) = Master::pair()?;
        Ok((Self::inherit().with_terminal(socket), master))
    }

    /// A new terminal in place of the streams, whose master side goes over `socket`, a connected unix socket. One message
    /// comes out of its other end: the descriptor, with the text `/dev/ptmx`. This is the protocol of runc's
    /// `--console-socket`.
    #[must_use]
    pub fn with_terminal(self, socket: OwnedFd) -> Self {
        Self { streams: Streams::Terminal(socket), ..self }
    }

    /// Passes `fd` on: the program finds it open as `number`, which is above 2 and has to be among
    /// [`crate::CreateOptions::pass_fds`].
    #[must_use]
    pub fn pass(mut self, number: u32, fd: OwnedFd) -> Self {
        self.passed.insert(number, fd);
        self
    }

    /// Passes on what the caller has open from descriptor 3 on, `count` numbers far, under the same numbers; those that are
    /// not open are left out. To be called before anything else is opened that is not meant.
    ///
    /// # Errors
    /// [`crate::Error::Step`] if the caller's descriptors cannot be listed or copied.
    pub fn pass_open(mut self, count: u32) -> Result<Self> {
        if count > 0 {
            for number in descriptors::open_in_caller(3..3_u32.saturating_add(count))? {
                if let Some(copy) = descriptors::copy(number)? {
                    self.passed.insert(number, copy);
                }
            }
        }
        Ok(self)
    }

    /// The numbers of what is passed on, for [`crate::CreateOptions::pass_fds`].
    #[must_use]
    pub fn passed(&self) -> Vec<u32> {
        self.passed.keys().copied().collect()
    }

    /// What becomes 0, 1 and 2; -1 for the caller's. A terminal replaces those when there is one.
    pub(super) fn numbers(&self) -> [RawFd; 3] {
        match &self.streams {
            Streams::Given(given) => given.each_ref().map(AsRawFd::as_raw_fd),
            Streams::Callers | Streams::Terminal(_) => [-1; 3],
        }
    }

    /// The socket that gets the master side of a terminal.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.streams {
            Streams::Terminal(socket) => Some(socket.as_fd()),
            Streams::Callers | Streams::Given(_) => None,
        }
    }
}

/// Where the master side of a terminal arrives.
#[derive(Debug)]
pub struct Master {
    socket: OwnedFd,
}

impl Master {
    /// A socket for [`Stdio::with_terminal`], and the other end.
    ///
    /// # Errors
    /// [`crate::Error::Step`] if there can be no socket pair.
    pub fn pair() -> Result<(OwnedFd, Self)> {
        let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
        let (ours, inits) = pair.map_err(|errno| failed("socketpair", errno))?;
        Ok((inits, Self { socket: ours }))
    }

    /// Takes the master side. It is there when [`crate::Store::create`] or [`crate::Container::exec`] has returned.
    ///
    /// # Errors
    /// [`crate::Error::Step`] if nothing has arrived.
    pub fn receive(self) -> Result<Terminal> {
        let mut name = [0; 64];
        let (_, master) = gate::message(self.socket.as_fd(), &mut name, MsgFlags::MSG_DONTWAIT)
            .map_err(|errno| failed("recvmsg", errno))?;
        Ok(Terminal(master.ok_or_else(|| failed("recvmsg", Errno::ENODATA))?))
    }
}

/// The master side of a process's terminal: what is written to it is typed, what is read from it was printed. The
/// terminal hangs up when the last copy of it is closed.
#[derive(Debug)]
pub struct Terminal(OwnedFd);

impl Terminal {
    /// Gives the terminal another size.
    ///
    /// # Errors
    /// [`crate::Error::Step`] if the kernel refuses, which it does not for a terminal.
    pub fn resize(&self, size: WindowSize) -> Result<()> {
        Ok(tty::set_size(Fd::from(self.0.as_fd()), size).map_err(|fault| refused("resize the terminal", fault))?)
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Terminal> for OwnedFd {
    fn from(terminal: Terminal) -> Self {
        terminal.0
    }
}

/// The size of the terminal behind `fd`, such as the caller's own.
///
/// # Errors
/// [`crate::Error::Step`] if it is no terminal.
pub fn window_size(fd: impl AsFd) -> Result<WindowSize> {
    Ok(tty::size(Fd::from(fd.as_fd())).map_err(|fault| refused("ask for the size of the terminal", fault))?)
}

fn failed(call: &'static str, errno: Errno) -> StepError {
    StepError::host(None, "receive the terminal", call, errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_was_not_made_is_not_waited_for() {
        let (stdio, master) = Stdio::terminal().unwrap();
        let error = master.receive().unwrap_err().to_string();
        assert_eq!(error, "receive the terminal: recvmsg: EAGAIN (try again)");
        let (gone, master) = Stdio::terminal().unwrap();
        drop((stdio, gone));
        // A child that another test has just made has a copy of the other end until it executes its program.
        let hung_up = nix::poll::PollFd::new(master.socket.as_fd(), nix::poll::PollFlags::empty());
        assert_eq!(nix::poll::poll(&mut [hung_up], 30_000_u16), Ok(1));
        let error = master.receive().unwrap_err().to_string();
        assert_eq!(error, "receive the terminal: recvmsg: ENODATA (no data available)");
    }

    #[test]
    fn a_terminal_has_the_size_that_it_was_given() {
        let pair = nix::pty::openpty(None, None).unwrap();
        let terminal = Terminal(pair.master);
        assert_eq!(window_size(&pair.slave).unwrap(), WindowSize::default());
        terminal.resize(WindowSize::new(24, 80)).unwrap();
        let size = window_size(&pair.slave).unwrap();
        assert_eq!((size.rows, size.columns), (24, 80));
        let file = tempfile::tempfile().unwrap();
        assert!(window_size(&file).unwrap_err().to_string().ends_with("ENOTTY (not a typewriter)"));
    }
}
