//! `runtime-init`: the half of the runtime that runs in the container's namespaces.
//!
//! One source, two artefacts. As a library it gives `runtime-core` the wire types ([`Step`], [`Gate`],
//! [`frame`], [`slate`]) and the system call layer ([`sys`]). Compiled with `--cfg freestanding` by
//! `runtime-core/build.rs` it is a static program without libc, allocator or unwinder that maps its
//! Frame and carries the steps out one by one ([`run`]).
//!
//! It is the other half of `runtime-core`, of the same version, and no interface for anybody else.
//!
//! It decides nothing: every path, flag and number it uses was written into the Frame by the planner.

#![no_std]
#![cfg_attr(freestanding, no_main)]
#![deny(missing_docs)]

#[cfg(not(freestanding))]
extern crate std;

mod birth;
mod copy;
mod creds;
mod devices;
pub mod fault;
pub mod frame;
pub mod hooks;
mod mounts;
mod namespaces;
mod path;
mod proc;
mod program;
mod rootfs;
pub mod run;
pub mod scheduling;
pub mod slate;
#[cfg(freestanding)]
mod start;
pub mod step;
pub mod sys;
mod terminal;

pub use fault::{Call, Errno, Fault};
pub use step::{Gate, MountRecord, Ns, Slot, Step, Text, Words};

/// Names this build of init: a hash over its sources. A Frame of another build is refused.
pub const BUILD: u64 = match u64::from_str_radix(env!("RUNTIME_INIT_BUILD"), 16) {
    Ok(build) => build,
    Err(_) => panic!("build.rs prints a hexadecimal number"),
};
