//! Plans and starts OCI containers.
//!
//! ```text
//! config.json → Plan (pure) → host half + init half, meeting at gates → a running container
//! ```
//! ```no_run
//! use runtime_core::{Bundle, CreateOptions, Host, Plan, Stdio, Store};
//!
//! # fn main() -> runtime_core::Result<()> {
//! let store = Store::open("/run/example")?;
//! let bundle = Bundle::open("/bundle")?;
//! let plan = Plan::create(&bundle, &Host::probe()?, &CreateOptions::new("web"))?;
//! println!("{plan}");
//! let web = store.create("web", &plan, Stdio::inherit())?;
//! web.start()?;
//! web.kill(15)?;
//! web.delete(true)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What a caller may rely on
//! * Synchronous and safe in a threaded process: no thread, lock, static, signal handler or log line of ours,
//!   and nothing process-wide is changed (working directory, umask, dumpable flag, limits, environment).
//! * Every descriptor is close-on-exec; every wait has a deadline.
//! * No byte of the caller's program is ever mapped or executed in a container.
//!
//! What a caller must not do: reap children that it does not know.
#![doc = include_str!("../ARCHITECTURE.md")]
#![forbid(unsafe_code)]

pub mod at;
pub mod bundle;
pub mod cgroup;
pub mod container;
pub mod error;
mod features;
pub mod host;
pub mod id;
pub mod launch;
pub mod plan;
mod pseudo;
mod seccomp;
mod template;

pub use at::{At, ConfigPath};
pub use bundle::Bundle;
pub use container::{Container, ExecRequest, State, Status, Store};
pub use error::{Death, Errno, Error, Need, Problem, Result, Side, StateProblem, StepError, StepRef};
pub use features::features;
pub use host::Host;
pub use id::ContainerId;
pub use launch::{Init, Stdio, Terminal, WindowSize};
pub use plan::{CreateOptions, Note, Plan};
pub use template::spec_template;
