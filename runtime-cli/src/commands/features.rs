//! `features`: what this runtime supports.

#![forbid(unsafe_code)]

use super::{Result, print_json};

/// Prints the features structure of the specification. CRI-O reads both streams, so there is nothing besides.
pub fn features() -> Result {
    print_json(&runtime_core::features())
}
