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

mod at;
mod bundle;
mod cgroup;
mod container;
mod error;
mod features;
mod host;
mod id;
mod launch;
mod plan;
mod pseudo;
mod seccomp;
mod template;
mod trace;

pub use at::ConfigPath;
pub use bundle::Bundle;
pub use cgroup::CgroupHost;
pub use container::{Container, ExecRequest, Process, State, Status, Store};
pub use error::{Death, Error, Need, Problem, Result, Side, StateProblem, StepError, StepRef};
pub use features::features;
pub use host::Host;
pub use launch::{InitImage, Master, Stdio, Terminal, WindowSize, window_size};
pub use plan::{CreateOptions, Note, Plan};
pub use template::spec_template;
pub use trace::{Event, Role};

/// Every handle may be used by any thread, and by several at once.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<(Store, InitImage, Container, Process, Bundle, Host, Plan)>();
    shared::<(CreateOptions, ExecRequest, Stdio, Master, Terminal, State)>();
    shared::<Error>();
};
