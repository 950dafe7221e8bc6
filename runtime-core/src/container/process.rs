//! Which process a number in a record means.
//!
//! A pid alone is reused within minutes. Here a process is its pid, its start time, the boot it lives
//! in and, where pidfds have inodes of their own, that inode. It is opened as a pidfd *before* it is
//! compared, so that what was compared is what is signalled later.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use procfs::FromRead;
use procfs::process::{Stat, StatFlags};
use runtime_init::sys::owned;
use serde::{Deserialize, Serialize};

use crate::error::{Errno, Error, Result, StepError};
use crate::pseudo;

/// `PID_FS_MAGIC`: since Linux 6.9 every process has one inode in this filesystem for as long as the
/// machine is up. Before, all pidfds share the inode of anon_inodefs, which tells nothing.
const PIDFS: FsType = FsType(0x5049_4446);

/// What tells a process from every other one, also from a later one of the same pid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Identity {
    /// Its number in the pid namespace of the caller.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks between boot and its start.
    pub start: u64,
    /// `/proc/sys/kernel/random/boot_id` of the machine it lives in.
    pub boot: String,
    /// The inode of its pidfd, where the kernel has pidfs.
    pub inode: Option<u64>,
}

impl Identity {
    /// The identity of the process `pid`, which `pidfd` keeps from being mistaken for another.
    /// A zombie still has one.
    ///
    /// # Errors
    /// [`Error::Step`] if it is gone or `/proc` cannot be read.
    pub fn of(pid: i32, pidfd: BorrowedFd<'_>) -> Result<Self> {
        let Some((_, start)) = stat(pid)? else {
            return Err(refused(pid, "stat", Errno::ESRCH));
        };
        Ok(Self { pid, start, boot: boot_id()?, inode: inode(pid, pidfd)? })
    }

    /// Opens the process if it is still there and runs; a zombie, a later process of the same pid
    /// and every process of another boot are `None`.
    ///
    /// # Errors
    /// [`Error::Step`] if that cannot be told, for example for want of file descriptors: whoever
    /// takes this for "gone" leaves a process behind.
    pub fn open_verified(&self) -> Result<Option<OwnedFd>> {
        if self.boot != boot_id()? {
            return Ok(None);
        }
        self.open_of_this_boot()
    }

    /// The same for one that is known to be of the present boot.
    pub(super) fn open_of_this_boot(&self) -> Result<Option<OwnedFd>> {
        let Some(pidfd) = open(self.pid)? else { return Ok(None) };
        if self.inode.is_some() && self.inode != inode(self.pid, pidfd.as_fd())? {
            return Ok(None);
        }
        // The start time is read after the open. If it fits, the process is alive at this moment and
        // has held the number since before the open, hence the pidfd is its.
        match stat(self.pid)? {
            Some((true, start)) if start == self.start => Ok(Some(pidfd)),
            _ => Ok(None),
        }
    }
}

/// The id of the present boot.
///
/// # Errors
/// [`Error::Step`] if `/proc/sys/kernel/random/boot_id` cannot be read.
pub fn boot_id() -> Result<String> {
    let id = pseudo::read("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).map_err(|error| {
        StepError::io(None, "identify the boot", "read /proc/sys/kernel/random/boot_id", &error).into()
    })
}

/// Opens whatever process has the number `pid` now; `None` if none has.
///
/// # Errors
/// [`Error::Step`] for every errno but those that say "no such process".
pub fn open(pid: i32) -> Result<Option<OwnedFd>> {
    match owned::pidfd_open(pid) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(fault) => match Errno::from_raw(fault.errno()) {
            // EINVAL and, since 6.15, ENOENT: the number is now one of a thread, so the process is gone.
            Errno::ESRCH | Errno::EINVAL | Errno::ENOENT => Ok(None),
            errno => Err(refused(pid, "pidfd_open", errno)),
        },
    }
}

/// Sends `signal`; false if the process has ended.
///
/// # Errors
/// [`Error::Step`], `EINVAL` for a number that is no signal.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<bool> {
    match owned::pidfd_send_signal(pidfd, signal) {
        Ok(()) => Ok(true),
        Err(fault) => match Errno::from_raw(fault.errno()) {
            Errno::ESRCH => Ok(false),
            errno => Err(StepError::host(None, format!("send signal {signal}"), "pidfd_send_signal", errno).into()),
        },
    }
}

/// Waits until the process has ended; false if it has not after `limit`.
///
/// # Errors
/// [`Error::Step`] if `poll` is refused.
pub fn ended(pidfd: BorrowedFd<'_>, limit: Duration) -> Result<bool> {
    let deadline = Instant::now().checked_add(limit);
    loop {
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        // Rounded up: a wait of 0.4 ms must not become a busy loop of zeros.
        let timeout = PollTimeout::try_from(left.as_millis() + u128::from(!left.is_zero())).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(StepError::host(None, "wait for the end of a process", "poll", errno).into()),
        }
    }
}

/// Takes the exit status of an ended process if it is a child of the caller; otherwise does nothing.
pub fn reap(pidfd: BorrowedFd<'_>) {
    // ECHILD is the usual answer: the process belongs to the command that created it.
    let _ = waitid(Id::PIDFd(pidfd), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
}

/// Whether process `pid` is on its way to its end, or has come to it.
///
/// # Errors
/// [`Error::Step`] if that cannot be told.
pub fn is_ending(pid: i32) -> Result<bool> {
    Ok(read_stat(pid)?.is_none_or(|stat| stat.flags & StatFlags::PF_EXITING.bits() != 0))
}

/// Whether process `pid` runs (is no zombie) and its start time; `None` if there is none.
fn stat(pid: i32) -> Result<Option<(bool, u64)>> {
    Ok(read_stat(pid)?.map(|stat| (!matches!(stat.state, 'Z' | 'X' | 'x'), stat.starttime)))
}

fn read_stat(pid: i32) -> Result<Option<Stat>> {
    let refused =
        |error: &io::Error| StepError::io(None, format!("identify process {pid}"), "read /proc/PID/stat", error);
    let text = match File::open(format!("/proc/{pid}/stat")).and_then(pseudo::bytes_of) {
        Ok(text) => text,
        // ESRCH: it ended between the two calls.
        Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ESRCH)) => return Ok(None),
        Err(error) => return Err(refused(&error).into()),
    };
    match Stat::from_read(text.as_slice()) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) => Err(refused(&io::Error::new(io::ErrorKind::InvalidData, error)).into()),
    }
}

fn inode(pid: i32, pidfd: BorrowedFd<'_>) -> Result<Option<u64>> {
    let kind = fstatfs(pidfd).map_err(|errno| refused(pid, "fstatfs", errno))?.filesystem_type();
    if kind != PIDFS {
        return Ok(None);
    }
    let stat = fstat(pidfd).map_err(|errno| refused(pid, "fstat", errno))?;
    Ok(Some(stat.st_ino))
}

fn refused(pid: i32, call: &'static str, errno: Errno) -> Error {
    StepError::host(None, format!("identify process {pid}"), call, errno).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper() -> (Child, Identity) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = open(pid).unwrap().unwrap();
        let identity = Identity::of(pid, pidfd.as_fd()).unwrap();
        (child, identity)
    }

    fn end(child: &mut Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_is_found_until_it_ends() {
        let (mut child, identity) = sleeper();
        let pidfd = identity.open_verified().unwrap().expect("it runs");
        assert!(!ended(pidfd.as_fd(), Duration::from_millis(5)).unwrap());
        assert!(send(pidfd.as_fd(), 0).unwrap());
        assert!(!is_ending(identity.pid).unwrap());
        child.kill().unwrap();
        assert!(ended(pidfd.as_fd(), Duration::from_secs(10)).unwrap());
        assert!(is_ending(identity.pid).unwrap());
        // Not reaped yet: a zombie.
        assert!(identity.open_verified().unwrap().is_none());
        child.wait().unwrap();
        assert!(identity.open_verified().unwrap().is_none());
        assert!(!send(pidfd.as_fd(), 9).unwrap());
    }

    #[test]
    fn another_process_of_the_same_pid_is_not_taken_for_it() {
        let (mut child, identity) = sleeper();
        let earlier = Identity { start: identity.start - 1, ..identity.clone() };
        assert!(earlier.open_verified().unwrap().is_none());
        if let Some(inode) = identity.inode {
            let other = Identity { inode: Some(inode + 1), ..identity.clone() };
            assert!(other.open_verified().unwrap().is_none());
        }
        let rebooted = Identity { boot: "00000000-0000-0000-0000-000000000000".to_owned(), ..identity.clone() };
        assert!(rebooted.open_verified().unwrap().is_none());
        // A record from a kernel without pidfs stays usable.
        let plain = Identity { inode: None, ..identity };
        assert!(plain.open_verified().unwrap().is_some());
        end(&mut child);
    }

    #[test]
    fn impossible_numbers_are_gone_and_not_an_error() {
        for pid in [0, -1, i32::MAX] {
            let identity = Identity { pid, start: 1, boot: boot_id().unwrap(), inode: None };
            assert!(identity.open_verified().unwrap().is_none(), "{pid}");
        }
        assert!(Identity::default().open_verified().unwrap().is_none());
    }

    #[test]
    fn a_wrong_signal_is_refused_by_number() {
        let (mut child, identity) = sleeper();
        let pidfd = identity.open_verified().unwrap().unwrap();
        assert!(send(pidfd.as_fd(), 4711).unwrap_err().to_string().contains("4711"));
        end(&mut child);
    }
}
