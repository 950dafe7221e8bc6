//! `exec ID COMMAND`: one more program in a container.

#![forbid(unsafe_code)]

mod process;

use std::os::fd::AsFd;

use nix::libc::SIGKILL;
use runtime_core::{ExecRequest, Process};
use serde_json::json;

use super::{Context, Result};
use crate::args::ExecArgs;
use crate::foreground::{self, Caller, Signals};
use crate::phrases::Failure;
use crate::pidfd_socket::PidfdSocket;
use crate::{passed, pid_file, root, tty};

/// The code for a failure of ours, which no program should have for its own.
const FAILED: u8 = 255;

/// Runs a program in a container, and unless it is detached waits for its end. Returns the code to exit with.
pub fn exec(args: &ExecArgs, context: &Context) -> Result<u8> {
    execute(args, context).map_err(|failure| failure.of("exec failed", FAILED))
}

fn execute(args: &ExecArgs, context: &Context) -> Result<u8> {
    let stdio = passed::take(args.preserve_fds)?;
    // Early: whoever wrote the file may remove it as soon as we say anything.
    let given = args.process.as_deref().map(process::read).transpose()?;
    refuse_what_is_missing(args)?;
    let store = root::open(context.globals.root.as_deref())?.ok_or_else(|| root::missing(&args.id))?;
    let container = store.with_init(context.init()?).load(&args.id)?;
    let mut object = match given {
        Some(object) => process::unchanged(object, args)?,
        None => process::changed(container.own_process()?, args)?,
    };
    let terminal = object["terminal"].as_bool().unwrap_or(false);
    let (stdio, joint) = tty::streams(stdio, terminal, args.detach, args.console_socket.as_deref())?;
    if let Some(size) = joint.as_ref().and_then(tty::Joint::size) {
        // The program finds its terminal with the size of the caller's.
        object["consoleSize"] = json!({"height": size.rows, "width": size.columns});
    }
    let mut request = ExecRequest::from_process(object);
    request.cgroup = args.cgroup.clone();
    request.ignore_paused = args.ignore_paused;
    request.plain_lines = !args.detach && tty::plain_lines();
    request.pass_fds = stdio.passed();
    let signals = if args.detach { None } else { Some(Signals::hold()?) };
    let pidfd_socket = PidfdSocket::connect(args.pidfd_socket.as_deref())?;
    let process = if context.trace.is_on() {
        container.exec_traced(&request, stdio, &mut |event| context.trace.note(&event))?
    } else {
        container.exec(&request, stdio)?
    };
    let sent = pidfd_socket.send("setns", process.as_fd());
    let relay = sent
        .and_then(|()| write_pid(args, &process))
        .and_then(|()| joint.map(|joint| joint.begin(&process)).transpose())
        // It may have ended by itself; the failure to report is the first one.
        .inspect_err(|_| drop(process.kill(SIGKILL)))?;
    super::warn_of(process.notes(), context);
    let Some(signals) = signals else { return Ok(0) };
    let caller = Caller { signals: &signals, relay: relay.as_ref(), log: &context.log };
    context.trace.span("wait for its end", || foreground::wait_for_further(&process, caller))
}

/// Writes the pid file. Nobody could find the process without it.
fn write_pid(args: &ExecArgs, process: &Process) -> Result {
    args.pid_file.as_deref().map_or(Ok(()), |path| pid_file::write(path, process.pid()))
}

/// Refuses options that later versions will carry out: ignoring them would give another process than asked for.
fn refuse_what_is_missing(args: &ExecArgs) -> Result {
    let refusal = if args.cgroup.as_ref().is_some_and(|path| path.contains(':')) {
        "--cgroup: controllers before the path are of cgroup v1, which is not supported; give the path only"
    } else if args.cgroup.as_ref().is_some_and(|path| path.split('/').any(|name| name == "..")) {
        "--cgroup: bad sub cgroup path: it has to stay below the container's cgroup; leave out \"..\""
    } else {
        return Ok(());
    };
    Err(Failure::new(refusal))
}
