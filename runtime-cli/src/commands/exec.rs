//! `exec ID COMMAND`: one more program in a container.

#![forbid(unsafe_code)]

mod process;

use std::os::fd::AsFd;

use nix::libc::SIGKILL;
use runtime_core::container::process::send;
use runtime_core::{ExecRequest, Init, Stdio};

use super::{Context, Result};
use crate::args::ExecArgs;
use crate::foreground::{self, Signals};
use crate::phrases::Failure;
use crate::{pid_file, root};

/// The code for a failure of ours, which no program should have for its own.
const FAILED: u8 = 255;

/// Runs a program in a container, and unless it is detached waits for its end. Returns the code to exit with.
pub fn exec(args: &ExecArgs, context: &Context) -> Result<u8> {
    execute(args, context).map_err(|failure| failure.of("exec failed", FAILED))
}

fn execute(args: &ExecArgs, context: &Context) -> Result<u8> {
    // First of all: whoever wrote the file may remove it as soon as we say anything.
    let given = args.process.as_deref().map(process::read).transpose()?;
    refuse_what_is_missing(args)?;
    let container = root::container(context.globals.root.as_deref(), &args.id)?;
    let object = match given {
        Some(object) => process::unchanged(object, args)?,
        None => process::changed(container.process()?, args)?,
    };
    let mut request = ExecRequest::new(object);
    request.cgroup = args.cgroup.clone();
    request.ignore_paused = args.ignore_paused;
    let signals = if args.detach { None } else { Some(Signals::hold()?) };
    let process = container.exec(&request, Stdio::inherit())?;
    write_pid(args, &process)?;
    match signals {
        Some(signals) => foreground::wait_for_further(&process, &signals, &context.log),
        None => Ok(0),
    }
}

/// Writes the pid file. Nobody could find the process without it, so it does not survive a failure.
fn write_pid(args: &ExecArgs, process: &Init) -> Result {
    let Some(path) = &args.pid_file else { return Ok(()) };
    pid_file::write(path, process.pid).inspect_err(|_| {
        // It may have ended by itself; the failure to report is that of the file.
        let _ = send(process.pidfd.as_fd(), SIGKILL);
    })
}

/// Refuses options that later versions will carry out: ignoring them would give another process than asked for.
fn refuse_what_is_missing(args: &ExecArgs) -> Result {
    let refusal = if args.tty {
        "--tty: terminals are not supported yet; leave the flag out"
    } else if args.console_socket.is_some() {
        "--console-socket: terminals are not supported yet; leave the flag out"
    } else if args.pidfd_socket.is_some() {
        "--pidfd-socket: passing the pidfd is not supported yet; leave the flag out and use --pid-file"
    } else if args.preserve_fds > 0 {
        "--preserve-fds: passing further file descriptors is not supported yet; leave the flag out or give 0"
    } else if args.cgroup.as_ref().is_some_and(|path| path.contains(':')) {
        "--cgroup: controllers before the path are of cgroup v1, which is not supported; give the path only"
    } else if args.cgroup.as_ref().is_some_and(|path| path.split('/').any(|name| name == "..")) {
        "--cgroup: the path has to stay below the container's cgroup; leave out \"..\""
    } else {
        return Ok(());
    };
    Err(Failure::new(refusal))
}
