//! `start`: one byte on the fifo, then one of three answers.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;

use super::descriptors::FIFO;
use super::frame::{Frame, Phase};
use super::patience::{PATIENCE, Patience};
use super::report;
use crate::at::ConfigPath;
use crate::container::ContainerDir;
use crate::error::{Death, Error, Result, StepError, StepRef};
use crate::trace::{self, Tracer};

/// Lets the waiting init of the container in `dir` execute its program, and waits until it has.
///
/// # Errors
/// [`Error::Step`] if the program cannot be executed, [`Error::Died`] if init ended or gives no sign.
pub(crate) fn start(dir: &ContainerDir, init: BorrowedFd<'_>, mut tracer: Tracer<'_>) -> Result<()> {
    let begin = tracer.begin();
    let frame = Frame::of(dir)?;
    let result = release(dir, init, &frame);
    if tracer.is_on() {
        tracer.beside("let init execute the program", begin, result.is_ok());
        tracer.init(&trace::kept(dir), &frame.stamps(), frame.step(), result.is_ok());
    }
    result
}

fn release(dir: &ContainerDir, init: BorrowedFd<'_>, frame: &Frame) -> Result<()> {
    let fifo = match dir.open_file(FIFO, OFlag::O_WRONLY | OFlag::O_NONBLOCK) {
        Err(Error::Step(step)) if step.errno == Errno::ENXIO => return Err(died(Death::Unknown, frame)),
        other => other?,
    };
    if !fstat(&fifo).is_ok_and(|found| found.st_mode & nix::libc::S_IFMT == nix::libc::S_IFIFO) {
        return Err(dir.damaged(FIFO, "not a fifo"));
    }
    match nix::unistd::write(&fifo, &[0]) {
        Err(Errno::EPIPE) => return Err(died(Death::Unknown, frame)),
        other => other.map_err(|errno| StepError::host(None, "start the program", "write", errno))?,
    };
    let patience = Patience { limit: PATIENCE, frame: Some(frame) };
    let answered = patience.until(|limit| wait(fifo.as_fd(), init, limit));
    match frame.fault() {
        Some(fault) => Err(report::reported(last_line(frame), fault, frame)),
        None if answered && frame.phase() == Phase::Exec => Ok(()),
        None if answered => Err(died(Death::Unknown, frame)),
        None => Err(died(Death::Deadline { waited: PATIENCE, frozen: false }, frame)),
    }
}

/// Waits until init has no end of the fifo any more: it has executed the program, or ended.
fn wait(fifo: BorrowedFd<'_>, init: BorrowedFd<'_>, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        // POLLERR needs no asking for; POLLOUT must not be asked for, it would be there at once.
        let mut fds = [PollFd::new(fifo, PollFlags::empty()), PollFd::new(init, PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) => return false,
            Err(Errno::EINTR) => {}
            _ => return true,
        }
    }
}

fn last_line(frame: &Frame) -> StepRef {
    StepRef {
        step: u16::try_from(frame.step()).unwrap_or(u16::MAX),
        doing: format!("execute {}", frame.program()),
        origin: Some(ConfigPath::new("process.args")),
    }
}

fn died(how: Death, frame: &Frame) -> Error {
    Error::Died { how, at: last_line(frame) }
}
