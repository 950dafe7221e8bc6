//! What `create` and `run` have in common: the container is made, and its pid file is written.

#![forbid(unsafe_code)]

use std::mem::ManuallyDrop;
use std::os::fd::AsFd;

use runtime_core::{Bundle, Container, CreateOptions, Host, Plan, Process, Store};

use super::{Context, Result};
use crate::args::{NewContainer, PlanChoices};
use crate::phrases::Failure;
use crate::pidfd_socket::PidfdSocket;
use crate::tty::{self, Joint};
use crate::{notify, passed, pid_file, root};

/// A container that has just been made.
pub struct New {
    /// Where it is recorded.
    pub store: Store,
    /// The container.
    pub container: Container,
    /// Its terminal, if it is to be joined with the caller's.
    pub joint: Option<Joint>,
}

/// Makes a container. If this fails there is none, and no pid file. Unless the caller is `detached` from it, a terminal
/// is joined with the caller's.
pub fn make(args: &NewContainer, detached: bool, context: &Context) -> Result<New> {
    let passed = passed::take_with_sockets(args.preserve_fds)?;
    refuse_what_is_missing(context)?;
    // Neither this nor the plan is ever freed: with a profile of hundreds of calls that takes as long as to plan it.
    let bundle = ManuallyDrop::new(context.trace.span("read config.json", || Bundle::open(&args.bundle))?);
    let mut options = options(&args.id, &args.choices);
    options.pass_fds = passed.stdio.passed();
    options.environment = passed.environment;
    options.notify = notify::is_wanted();
    if options.notify {
        options.environment.push(format!("NOTIFY_SOCKET={}", Container::NOTIFY_SOCKET));
    }
    options.plain_lines = !detached && tty::plain_lines();
    let pidfd_socket = PidfdSocket::connect(args.pidfd_socket.as_deref())?;
    let host = context.trace.span("look at this machine", || host(&args.choices))?;
    let plan = ManuallyDrop::new(context.trace.span("plan", || Plan::create(&bundle, &host, &options))?);
    if context.log.debug {
        plan.to_string().lines().for_each(|line| context.log.debug(line));
        if let Some(flags) = plan.filter_flags() {
            context.log.debug(format!("seccomp filter flags: {flags}"));
        }
    }
    let store = root::open_for_new(context.globals.root.as_deref())?.with_init(context.init()?);
    let (stdio, joint) = tty::streams(passed.stdio, bundle.terminal(), detached, args.console_socket.as_deref())?;
    let container = if context.trace.is_on() {
        store.create_traced(&args.id, &plan, stdio, &mut |event| context.trace.note(&event))?
    } else {
        store.create(&args.id, &plan, stdio)?
    };
    let init = container.init().ok_or_else(|| Failure::new("the first process of the new container is unknown"))?;
    let sent = pidfd_socket.send("standard", init.as_fd());
    sent.and_then(|()| write_pid(args, init)).inspect_err(|_| discard(&store, args, context))?;
    // Not before: after a failure the log holds the error and nothing else, which Podman relies on.
    super::warn_of(plan.notes(), context);
    super::warn_of(init.notes(), context);
    Ok(New { store, container, joint })
}

/// Removes a container that cannot be used after all; the failure behind it is what gets reported.
pub fn discard(store: &Store, args: &NewContainer, context: &Context) {
    if let Err(error) = store.delete(&args.id, true) {
        context.log.warning(&format!("delete the failed container: {error}"));
    }
}

fn write_pid(args: &NewContainer, init: &Process) -> Result {
    args.pid_file.as_deref().map_or(Ok(()), |path| pid_file::write(path, init.pid()))
}

/// What the plan depends on of the machine.
pub fn host(choices: &PlanChoices) -> Result<Host> {
    let host = Host::probe()?;
    Ok(if choices.no_pivot { host.with_kernel_mounts()? } else { host })
}

/// What the plan depends on besides the bundle and the machine.
pub fn options(id: &str, choices: &PlanChoices) -> CreateOptions {
    let mut options = CreateOptions::new(id);
    options.no_pivot = choices.no_pivot;
    options.no_new_keyring = choices.no_new_keyring;
    options
}

/// Refuses options that later versions will carry out: ignoring them would give another container than asked for.
fn refuse_what_is_missing(context: &Context) -> Result {
    let refusal = if context.globals.systemd_cgroup {
        "--systemd-cgroup: the systemd cgroup driver is not supported yet; leave the flag out to use cgroupfs"
    } else {
        return Ok(());
    };
    Err(Failure::new(refusal))
}
