//! `run ID`: create, start, wait, delete.

#![forbid(unsafe_code)]

use nix::sys::prctl::set_child_subreaper;
use runtime_core::StateProblem;

use super::new::{self, New};
use super::{Context, Result};
use crate::args::RunArgs;
use crate::foreground::{self, Signals};
use crate::phrases::Failure;

/// Makes and starts a container, and unless it is detached waits for its end. Returns the code to exit with.
pub fn run(args: &RunArgs, context: &Context) -> Result<u8> {
    if args.detach {
        start(args, context)?;
        return Ok(0);
    }
    let signals = Signals::hold()?;
    if !args.new.no_subreaper
        && let Err(errno) = set_child_subreaper(true)
    {
        context.log.warning(&format!("adopt processes that the container leaves behind: prctl: {errno:?}"));
    }
    let new = start(args, context)?;
    let code = foreground::wait_for_first(&new.container, new.pid, &signals, &context.log)?;
    if !args.keep {
        delete(&new, context);
    }
    Ok(code)
}

fn start(args: &RunArgs, context: &Context) -> Result<New> {
    let new = new::make(&args.new, context)?;
    match new.container.start() {
        Ok(()) => Ok(new),
        Err(error) => {
            new::discard(&new.store, &args.new, context);
            Err(Failure::from(error))
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
