//! `plan`: what `create` would do, for reading and for tests.

#![forbid(unsafe_code)]

use runtime_core::{Bundle, Plan};

use super::{Result, new, print, print_json};
use crate::args::PlanArgs;

/// Prints the plan of a container, with what is to be known about it.
pub fn plan(args: &PlanArgs) -> Result {
    let options = new::options(&args.id, &args.choices);
    let plan = Plan::create(&Bundle::open(&args.bundle)?, &super::new::host(&args.choices)?, &options)?;
    if args.json {
        print_json(&plan.to_json())?;
    } else {
        print(&plan.to_string());
    }
    Ok(())
}
