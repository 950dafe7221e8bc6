#![doc = include_str!("manual.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

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

#[doc = include_str!("../ARCHITECTURE.md")]
pub mod architecture {}

/// Every handle may be used by any thread, and by several at once.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<(Store, InitImage, Container, Process, Bundle, Host, Plan)>();
    shared::<(CreateOptions, ExecRequest, Stdio, Master, Terminal, State)>();
    shared::<Error>();
};
