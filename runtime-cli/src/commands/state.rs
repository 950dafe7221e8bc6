//! `state ID`: what the specification calls the container's state.

#![forbid(unsafe_code)]

use super::{Context, Result, print_json};
use crate::args::ContainerArgs;
use crate::root;

/// Prints the state of a container.
pub fn state(args: &ContainerArgs, context: &Context) -> Result {
    print_json(&root::container(context.globals.root.as_deref(), &args.id)?.state()?)
}
