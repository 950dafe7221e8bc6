//! `kill ID [SIGNAL]`: a signal.

#![forbid(unsafe_code)]

use runtime_core::Container;

use super::{Context, Result};
use crate::args::KillArgs;
use crate::root;

/// Sends a signal to the first process of a container, or to all of its processes; with `--regex` to each that matches.
pub fn kill(args: &KillArgs, context: &Context) -> Result {
    let root = context.globals.root.as_deref();
    if !args.regex {
        return signal(&root::container(root, &args.id)?, args);
    }
    for id in root::matching(root, &args.id)? {
        if let Err(failure) = root::container(root, &id).and_then(|container| signal(&container, args)) {
            context.log.warning(&format!("kill {id}: {failure}"));
        }
    }
    Ok(())
}

fn signal(container: &Container, args: &KillArgs) -> Result {
    let sent = if args.all { container.kill_all(args.signal) } else { container.kill(args.signal) };
    Ok(sent?)
}
