//! `start ID`, `pause ID`, `resume ID`: the container's processes run, stand still, go on.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use runtime_core::{Container, Status};

use super::{Context, Result};
use crate::args::ContainerArgs;
use crate::notify::{self, Notify};
use crate::root;

/// Runs the program of a created container.
pub fn start(args: &ContainerArgs, context: &Context) -> Result {
    let container = root::container(context.globals.root.as_deref(), &args.id)?;
    // The socket of one that runs already is in use.
    let created = notify::is_wanted() && container.state()?.status == Status::Created;
    let notify = if created { Notify::prepare(&container)? } else { None };
    begin(&container, context)?;
    let Some(notify) = notify else { return Ok(()) };
    if let Some(init) = container.open_init()? {
        notify.forward(init.as_fd(), init.pid().cast_unsigned(), &context.log);
    }
    Ok(())
}

/// Starts the program.
pub fn begin(container: &Container, context: &Context) -> Result {
    if context.trace.is_on() {
        return Ok(container.start_traced(&mut |event| context.trace.note(&event))?);
    }
    Ok(container.start()?)
}

/// Stops every process of a container where it is.
pub fn pause(args: &ContainerArgs, context: &Context) -> Result {
    Ok(root::container(context.globals.root.as_deref(), &args.id)?.pause()?)
}

/// Lets the processes of a paused container go on.
pub fn resume(args: &ContainerArgs, context: &Context) -> Result {
    Ok(root::container(context.globals.root.as_deref(), &args.id)?.resume()?)
}
