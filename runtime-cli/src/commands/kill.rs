//! `kill ID [SIGNAL]`: a signal.

#![forbid(unsafe_code)]

use super::{Context, Result};
use crate::args::KillArgs;
use crate::root;

/// Sends a signal to the first process of a container, or to all of its processes.
pub fn kill(args: &KillArgs, context: &Context) -> Result {
    let container = root::container(context.globals.root.as_deref(), &args.id)?;
    if args.all {
        container.kill_all(args.signal)?
    } else {
        container.kill(args.signal)?
    }
    Ok(())
}
