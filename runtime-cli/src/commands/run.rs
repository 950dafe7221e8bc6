//! `run ID`: create, start, wait, delete.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::prctl::set_child_subreaper;
use runtime_core::StateProblem;

use super::new::{self, New};
use super::{Context, Result};
use crate::args::RunArgs;
use crate::foreground::{self, Signals};
use crate::notify::Notify;
use crate::phrases::Failure;

/// Makes and starts a container, and unless it is detached waits for its end. Returns the code to exit with.
pub fn run(args: &RunArgs, context: &Context) -> Result<u8> {
    if args.detach {
        let (new, notify) = start(args, context)?;
        if let (Some(notify), Some(pidfd)) = (notify, new.container.pidfd()) {
            notify.forward(pidfd, new.pid.cast_unsigned(), &context.log);
        }
        return Ok(0);
    }
    let signals = Signals::hold()?;
    if !args.new.no_subreaper
        && let Err(errno) = set_child_subreaper(true)
    {
        context.log.warning(&format!("adopt processes that the container leaves behind: prctl: {errno:?}"));
    }
    let (new, notify) = start(args, context)?;
    if let (Some(notify), Some(pidfd)) = (notify, new.container.pidfd()) {
        forward_beside(notify, pidfd, context)?;
    }
    let code = foreground::wait_for_first(&new.container, new.pid, &signals, &context.log)?;
    if !args.keep {
        delete(&new, context);
    }
    Ok(code)
}

/// Forwards readiness while signals are forwarded. The service manager is to watch this process, which ends with the program
/// and as the program does.
fn forward_beside(notify: Notify, pidfd: BorrowedFd<'_>, context: &Context) -> Result {
    let failed = |error: std::io::Error| Failure::new(format!("forward readiness: {error}"));
    let (pidfd, log) = (pidfd.try_clone_to_owned().map_err(failed)?, context.log.clone());
    std::thread::Builder::new()
        .spawn(move || notify.forward(pidfd.as_fd(), std::process::id(), &log))
        .map(drop)
        .map_err(failed)
}

fn start(args: &RunArgs, context: &Context) -> Result<(New, Option<Notify>)> {
    let new = new::make(&args.new, context)?;
    let started = Notify::prepare(&new.container).and_then(|notify| {
        new.container.start()?;
        Ok(notify)
    });
    match started {
        Ok(notify) => Ok((new, notify)),
        Err(failure) => {
            new::discard(&new.store, &args.new, context);
            Err(failure)
        }
    }
}

/// Deletes a container that has ended. Its exit code is what the caller waits for, so a failure is only logged;
/// that somebody else has deleted it is none.
fn delete(new: &New, context: &Context) {
    match new.container.delete(false) {
        Ok(failed) => super::delete::warn_of(&failed, context),
        Err(error) if matches!(error.state_problem(), Some(StateProblem::DoesNotExist)) => {}
        Err(error) => context.log.warning(&format!("delete the container after its end: {error}")),
    }
}
