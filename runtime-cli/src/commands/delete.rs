//! `delete ID`: what is left of a container, half-made ones included.

#![forbid(unsafe_code)]

use super::{Context, Result};
use crate::args::DeleteArgs;
use crate::root;

/// Deletes a container. With `--force` a missing one is fine: engines clean up without knowing what there is.
pub fn delete(args: &DeleteArgs, context: &Context) -> Result {
    match root::open(context.globals.root.as_deref())? {
        Some(store) => Ok(store.delete(&args.id, args.force)?),
        None if args.force => Ok(()),
        None => Err(root::missing(&args.id)),
    }
}
