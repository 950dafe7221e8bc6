//! `delete ID`: what is left of a container, half-made ones included.

#![forbid(unsafe_code)]

use runtime_core::{Error, Store};

use super::{Context, Result};
use crate::args::DeleteArgs;
use crate::root;

/// A failed poststop hook is a warning, whatever deleted the container (D4).
pub fn warn_of(hooks: &[Error], context: &Context) {
    for failed in hooks {
        context.log.warning(&failed.to_string());
    }
}

/// Deletes a container, with `--regex` each that matches. With `--force` a missing one is fine: engines clean up
/// without knowing what there is.
pub fn delete(args: &DeleteArgs, context: &Context) -> Result {
    let root = context.globals.root.as_deref();
    let ids = if args.regex { Some(root::matching(root, &args.id)?) } else { None };
    match (root::open(root)?, ids) {
        (None, None) if !args.force => Err(root::missing(&args.id)),
        (None, _) => Ok(()),
        (Some(store), None) => one(&store, &args.id, args, context),
        (Some(store), Some(ids)) => {
            for id in ids {
                if let Err(failure) = one(&store, &id, args, context) {
                    context.log.warning(&format!("delete {id}: {failure}"));
                }
            }
            Ok(())
        }
    }
}

fn one(store: &Store, id: &str, args: &DeleteArgs, context: &Context) -> Result {
    warn_of(&store.delete(id, args.force)?, context);
    Ok(())
}
