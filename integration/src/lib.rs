//! Tests of an OCI runtime's binary in real containers.
//!
//! Everything a test needs to build a bundle, call the binary under test, look into the container
//! and compare the host before and after. The tests themselves are in `tests/containers/`,
//! those with engines in `tests/engines/`.
#![forbid(unsafe_code)]

pub mod agent;
pub mod bundle;
pub mod call;
pub mod caller;
pub mod canary;
pub mod case;
pub mod container;
pub mod deadline;
pub mod engine;
pub mod harness;
pub mod hooks;
pub mod host;
pub mod mountinfo;
pub mod place;
pub mod process;
pub mod runtime;
pub mod schema;
pub mod strike;
pub mod terminal;

pub use agent::{Agent, Answer, Told};
pub use bundle::Bundle;
pub use call::{Call, Output, Running};
pub use canary::{Canary, Racer};
pub use case::{Case, Test, group};
pub use container::Container;
pub use deadline::until;
pub use engine::{Engine, Kept};
pub use host::Snapshot;
pub use place::{Need, Place};
pub use process::Process;
pub use runtime::{Name, Runtime};
pub use strike::{Blow, Left, Party, Seen, Strike, follow};
pub use terminal::{ConsoleSocket, Pty};
