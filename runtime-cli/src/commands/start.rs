//! `start ID`, `pause ID`, `resume ID`: the container's processes run, stand still, go on.

#![forbid(unsafe_code)]

use super::{Context, Result};
use crate::args::ContainerArgs;
use crate::root;

/// Runs the program of a created container.
pub fn start(args: &ContainerArgs, context: &Context) -> Result {
    Ok(root::container(context.globals.root.as_deref(), &args.id)?.start()?)
}

/// Stops every process of a container where it is.
pub fn pause(args: &ContainerArgs, context: &Context) -> Result {
    Ok(root::container(context.globals.root.as_deref(), &args.id)?.pause()?)
}

/// Lets the processes of a paused container go on.
pub fn resume(args: &ContainerArgs, context: &Context) -> Result {
    Ok(root::container(context.globals.root.as_deref(), &args.id)?.resume()?)
}
