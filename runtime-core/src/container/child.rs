//! A process of a container in the hands of its creator: its number, its descriptor, its end.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::libc::ECHILD;
use nix::poll::{PollFd, PollFlags, poll};
use runtime_init::sys::owned;

use super::process;
use crate::error::{Errno, Result, StepError};
use crate::launch::Init;
use crate::plan::Note;

/// How long an ended process that is not the caller's child is given to be reaped, in milliseconds: only then can its
/// status be had. Usually it already is.
const REAPED: u16 = 1000;

/// A process of a container: the first one, or one that [`crate::Container::exec`] has started.
///
/// It is a child of the calling process, and named by a descriptor, which cannot come to mean another process. The
/// descriptor ([`AsFd`]) becomes readable when the process ends (pidfd_open(2)), so any event loop can wait for it. Dropping
/// this closes the descriptor and nothing else: the process goes on, and is a zombie after its end until somebody waits
/// for it.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
    notes: Vec<Note>,
}

impl Process {
    pub(super) fn new(init: Init) -> Self {
        Self { pid: init.pid, pidfd: init.pidfd, notes: init.notes }
    }

    pub(crate) const fn found(pid: i32, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, notes: Vec::new() }
    }

    pub(super) fn into_parts(self) -> (i32, OwnedFd) {
        (self.pid, self.pidfd)
    }

    /// Its number in the pid namespace of the caller. It names the process for as long as nobody has waited for it.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// What is worth knowing about how it was made beyond what its plan says: what a caller without privileges had to do
    /// without, and for [`crate::Container::exec`], whose plan nobody sees, the notes of that.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The same process once more, for another thread.
    ///
    /// # Errors
    /// [`crate::Error::Step`] with `EMFILE` or `ENFILE` if there can be no further descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        let pidfd = self.pidfd.try_clone();
        let pidfd = pidfd.map_err(|error| StepError::io(None, "copy the descriptor of a process", "fcntl", &error))?;
        Ok(Self { pid: self.pid, pidfd, notes: self.notes.clone() })
    }

    /// Sends `signal`, a number as in signal(7). False if the process has ended.
    ///
    /// # Errors
    /// [`crate::Error::Step`] with `EINVAL` for a number that is no signal, with `EPERM` as in kill(2).
    pub fn kill(&self, signal: i32) -> Result<bool> {
        process::send(self.pidfd.as_fd(), signal)
    }

    /// Whether the process ends before `limit` is over; with a limit of zero, whether it has ended.
    ///
    /// # Errors
    /// [`crate::Error::Step`] if poll(2) is refused.
    pub fn ends_within(&self, limit: Duration) -> Result<bool> {
        process::ended(self.pidfd.as_fd(), limit)
    }

    /// Waits until the process has ended, and takes its exit status, so that no zombie is left.
    ///
    /// `None` if the status cannot be told, because somebody else had it: a thread that waits for any child (`wait(-1)`),
    /// a caller that ignores SIGCHLD, or the process is not the caller's child. Since Linux 6.15 it is told in these cases
    /// as well, as soon as the process has been reaped, and also the second time.
    ///
    /// # Errors
    /// [`crate::Error::Step`] if poll(2) is refused.
    pub fn wait(&self) -> Result<Option<ExitStatus>> {
        while !self.ends_within(Duration::MAX)? {}
        match owned::wait(self.pidfd.as_fd()) {
            Ok(status) => Ok(Some(ExitStatus::from_raw(status))),
            Err(fault) if fault.errno() == ECHILD => Ok(self.told_by_kernel()),
            Err(fault) => {
                Err(StepError::host(None, "wait for a process", "waitid", Errno::from_raw(fault.errno())).into())
            }
        }
    }

    fn told_by_kernel(&self) -> Option<ExitStatus> {
        // POLLHUP, which needs no asking for, says that it was reaped.
        let _ = poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::empty())], REAPED);
        owned::status_of_reaped(self.pidfd.as_fd()).map(ExitStatus::from_raw)
    }
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}

impl From<Process> for OwnedFd {
    fn from(process: Process) -> Self {
        process.pidfd
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn shell(script: &str) -> (Child, Process) {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        (child, Process::found(pid, process::open(pid).unwrap().unwrap()))
    }

    #[test]
    fn the_end_of_a_process_is_told_as_by_wait() {
        for (script, raw) in [("exit 0", 0), ("exit 42", 42 << 8), ("kill -9 $$", 9), ("kill -40 $$", 40)] {
            let (_child, process) = shell(script);
            assert_eq!(process.wait().unwrap(), Some(ExitStatus::from_raw(raw)), "{script}");
            assert!(process.ends_within(Duration::ZERO).unwrap());
            assert!(!process.kill(15).unwrap(), "it has ended");
            assert!(process::open(process.pid()).unwrap().is_none(), "a zombie is left");
        }
    }

    #[test]
    fn an_end_that_somebody_else_was_told_is_known_where_the_kernel_keeps_it() {
        let (mut child, process) = shell("sleep 60");
        let clone = process.try_clone().unwrap();
        assert!(!process.ends_within(Duration::from_millis(5)).unwrap());
        assert!(clone.kill(15).unwrap());
        let status = child.wait().unwrap();
        let told = clone.wait().unwrap();
        assert_eq!(told, process.wait().unwrap());
        assert!(told.is_none_or(|told| told == status), "{told:?}");
        assert_eq!(told.is_some(), keeps_the_status_of_the_reaped(), "{told:?}");
    }

    fn keeps_the_status_of_the_reaped() -> bool {
        let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse().unwrap_or(0));
        (numbers.next(), numbers.next()) >= (Some(6), Some(15))
    }
}
