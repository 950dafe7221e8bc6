//! `create ID`: everything but the container's program.

#![forbid(unsafe_code)]

use super::{Context, Result, new};
use crate::args::CreateArgs;

/// Makes a container that waits for `start`.
pub fn create(args: &CreateArgs, context: &Context) -> Result {
    new::make(&args.new, true, context).map(drop)
}
