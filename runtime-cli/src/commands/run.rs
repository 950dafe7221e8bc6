//! `run ID`: create, start, wait, delete.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::prctl::set_child_subreaper;
use runtime_core::StateProblem;

use super::new::{self, New};
use super::{Context, Result};
use crate::args::RunArgs;
use crate::foreground::{self, Caller, Signals};
use crate::notify::Notify;
use crate::phrases::Failure;
use crate::tty::Relay;

/// Makes and starts a container, and unless it is detached waits for its end. Returns the code to exit with.
pub fn run(args: &RunArgs, context: &Context) -> Result<u8> {
    if args.detach {
        let Started { new, notify, .. } = start(args, context)?;
        if let (Some(notify), Some(init)) = (notify, new.container.init()) {
            notify.forward(init.as_fd(), init.pid().cast_unsigned(), &context.log);
        }
        return Ok(0);
    }
    let signals = Signals::hold()?;
    if !args.new.no_subreaper
        && let Err(errno) = set_child_subreaper(true)
    {
        context.log.warning(&format!("adopt processes that the container leaves behind: prctl: {errno:?}"));
    }
    let started = start(args, context)?;
    let (new, relay) = (&started.new, started.relay);
    if let (Some(notify), Some(init)) = (started.notify, new.container.init()) {
        forward_beside(notify, init.as_fd(), context)?;
    }
    let caller = Caller { signals: &signals, relay: relay.as_ref(), log: &context.log };
    let code = context.trace.span("wait for its end", || foreground::wait_for_first(&new.container, caller))?;
    drop(relay);
    if !args.keep {
        context.trace.span("delete", || delete(new, context));
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

/// A container whose program runs.
struct Started {
    new: New,
    relay: Option<Relay>,
    notify: Option<Notify>,
}

fn start(args: &RunArgs, context: &Context) -> Result<Started> {
    let mut new = new::make(&args.new, args.detach, context)?;
    let started = Notify::prepare(&new.container).and_then(|notify| {
        let relay = join(&mut new)?;
        super::start::begin(&new.container, context)?;
        Ok((relay, notify))
    });
    match started {
        Ok((relay, notify)) => Ok(Started { new, relay, notify }),
        Err(failure) => {
            new::discard(&new.store, &args.new, context);
            Err(failure)
        }
    }
}

/// Joins the terminals, so that the program finds its own with the size of the caller's.
fn join(new: &mut New) -> Result<Option<Relay>> {
    let (Some(joint), Some(process)) = (new.joint.take(), new.container.init()) else { return Ok(None) };
    joint.begin(process).map(Some)
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
