//! Runs a bundle from a program of one's own: `embed BUNDLE ID`. Ends with the status of the container's program.

use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;

use runtime_core::{Bundle, CreateOptions, Host, Plan, Stdio, Store};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().collect();
    let [_, bundle, id] = words.as_slice() else { return Err("usage: embed BUNDLE ID".into()) };

    let store = Store::open("/run/embed")?;
    let plan = Plan::create(&Bundle::open(bundle)?, &Host::probe()?, &CreateOptions::new(id))?;
    println!("{plan}");

    let container = store.create(id, &plan, Stdio::inherit())?;
    container.start()?;

    let init = container.init().ok_or("whoever creates a container has its first process")?;
    println!("{id} runs as process {}, watched by descriptor {}", init.pid(), init.as_fd().as_raw_fd());
    let status = init.wait()?; // or let an event loop wait until the descriptor is readable

    for failed in container.delete(false)? {
        eprintln!("a poststop hook failed: {failed}");
    }
    let code = status.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
