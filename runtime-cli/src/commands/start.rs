//! `start ID`: the container's program.

#![forbid(unsafe_code)]

use super::{Context, Result};
use crate::args::ContainerArgs;
use crate::root;

/// Runs the program of a created container.
pub fn start(args: &ContainerArgs, context: &Context) -> Result {
    Ok(root::container(context.globals.root.as_deref(), &args.id)?.start()?)
}
