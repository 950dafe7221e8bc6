//! Runs a bundle from a program of one's own: `embed BUNDLE ID`.
//!
//! The end of the first process is told by its pidfd, which any event loop can watch.

use std::os::fd::AsRawFd;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use runtime_core::{Bundle, CreateOptions, Host, Plan, Stdio, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().collect();
    let [_, bundle, id] = words.as_slice() else { return Err("usage: embed BUNDLE ID".into()) };

    let store = Store::open("/run/embed")?;
    let plan = Plan::create(&Bundle::open(bundle)?, &Host::probe()?, &CreateOptions::new(id))?;
    println!("{plan}");

    let container = store.create(id, &plan, Stdio::inherit())?;
    container.start()?;

    let pidfd = container.pidfd().ok_or("whoever created the container has its pidfd")?;
    println!("{id} runs as process {:?}, watched by descriptor {}", container.pid(), pidfd.as_raw_fd());
    let status = waitid(Id::PIDFd(pidfd), WaitPidFlag::WEXITED)?;

    for failed in container.delete(false)? {
        eprintln!("a poststop hook failed: {failed}");
    }
    match status {
        WaitStatus::Exited(_, 0) => Ok(()),
        other => Err(format!("{id} ended otherwise: {other:?}").into()),
    }
}
