//! `delete ID`: what is left of a container, half-made ones included.

#![forbid(unsafe_code)]

use runtime_core::Error;

use super::{Context, Result};
use crate::args::DeleteArgs;
use crate::root;

/// A failed poststop hook is a warning, whatever deleted the container (D4).
pub fn warn_of(hooks: &[Error], context: &Context) {
    for failed in hooks {
        context.log.warning(&failed.to_string());
    }
}

/// Deletes a container. With `--force` a missing one is fine: engines clean up without knowing what there is.
pub fn delete(args: &DeleteArgs, context: &Context) -> Result {
    match root::open(context.globals.root.as_deref())? {
        Some(store) => {
            warn_of(&store.delete(&args.id, args.force)?, context);
            Ok(())
        }
        None if args.force => Ok(()),
        None => Err(root::missing(&args.id)),
    }
}
