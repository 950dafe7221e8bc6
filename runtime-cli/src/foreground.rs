//! The part of `run` and `exec` that stands between the caller and the container: signals one way, the end the other.
//!
//! The process has the caller's own standard streams, so that nothing is copied, or a terminal, see [`crate::tty`].

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use runtime_core::{Container, Error, Process};

use crate::log::Log;
use crate::phrases::Failure;
use crate::tty::Relay;

/// The code for an end that nobody can tell anything about.
const UNKNOWN: u8 = 255;

/// The caller's signals, held back until somebody can take them.
pub struct Signals(SignalFd);

impl Signals {
    /// Holds all signals back. To be done before the container is made, so that none is lost in between.
    pub fn hold() -> Result<Self, Failure> {
        let all = SigSet::all();
        let failed = |call: &'static str| {
            move |errno: Errno| Failure::new(format!("prepare to forward signals: {call}: {errno:?}"))
        };
        all.thread_block().map_err(failed("sigprocmask"))?;
        SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Self).map_err(failed("signalfd"))
    }

    /// Forwards what has come in.
    fn forward(&self, send: &dyn Fn(i32) -> Result<(), Error>, log: &Log) -> News {
        let mut news = News::default();
        while let Some(signal) = self.next() {
            news.child_ended |= signal == Signal::SIGCHLD as i32;
            news.resized |= signal == Signal::SIGWINCH as i32;
            if is_for_the_process(signal)
                && let Err(error) = send(signal)
            {
                // Most likely the process has just ended. Whoever sent the signal cannot be told.
                log.debug(format_args!("forward signal {signal}: {error}"));
            }
        }
        news
    }

    fn next(&self) -> Option<i32> {
        self.0.read_signal().ok().flatten().map(|info| info.ssi_signo as i32)
    }

    /// Whether the caller is told to end.
    fn end(&self) -> bool {
        let ends = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM].map(|end| end as i32);
        std::iter::from_fn(|| self.next()).fold(false, |end, signal| end | ends.contains(&signal))
    }
}

/// What the kernel has to say.
#[derive(Default)]
struct News {
    child_ended: bool,
    /// The caller's terminal has another size.
    resized: bool,
}

/// What stands between a process and the end of its command.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The signals that it gets.
    pub signals: &'a Signals,
    /// Its terminal, joined with that of the process.
    pub relay: Option<&'a Relay>,
    /// Its log.
    pub log: &'a Log,
}

/// All signals but those that the kernel sends about our own children, sockets and terminal.
fn is_for_the_process(signal: i32) -> bool {
    ![Signal::SIGCHLD, Signal::SIGURG, Signal::SIGWINCH].map(|own| own as i32).contains(&signal)
}

/// Waits for the end of the container's first process, see [`wait`].
pub fn wait_for_first(container: &Container, caller: Caller<'_>) -> Result<u8, Failure> {
    let init = container
        .init()
        .ok_or_else(|| Failure::new("the container was made by another process, which alone can wait for it"))?;
    wait(init, &|signal| container.kill(signal), caller)
}

/// Waits for the end of one more process of a container, see [`wait`].
pub fn wait_for_further(process: &Process, caller: Caller<'_>) -> Result<u8, Failure> {
    wait(process, &|signal| process.kill(signal).map(drop), caller)
}

/// Waits for the end of a process, forwards signals to it and reaps what it leaves behind.
/// Returns its exit code, or 128 and the number of the signal that ended it.
fn wait(process: &Process, send: &dyn Fn(i32) -> Result<(), Error>, caller: Caller<'_>) -> Result<u8, Failure> {
    let pid = Pid::from_raw(process.pid());
    let code = loop {
        let ended = wait_for_either(caller.signals, process.as_fd())?;
        let news = caller.signals.forward(send, caller.log);
        if let Some(relay) = caller.relay.filter(|_| news.resized) {
            relay.resize();
        }
        if ended {
            break exit_code(pid);
        }
        if news.child_ended
            && let Some(code) = reap_orphans(pid)
        {
            break code;
        }
    };
    if let Some(relay) = caller.relay {
        // Whoever reads it may take their time, but must not keep us from ending.
        while !wait_for_either(caller.signals, relay.done())? && !caller.signals.end() {}
    }
    Ok(code)
}

/// Waits for a signal or an end, that of the process or of its output. Says whether it was the end.
fn wait_for_either(signals: &Signals, end: BorrowedFd<'_>) -> Result<bool, Failure> {
    let mut fds = [PollFd::new(signals.0.as_fd(), PollFlags::POLLIN), PollFd::new(end, PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) => Ok(fds[1].any().unwrap_or(true)),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(Failure::new(format!("wait for the process: poll: {errno:?}"))),
    }
}

/// Reaps all children that have ended, which are ours as a subreaper. Returns the exit code of `init` if it was
/// among them: it may have ended since it was looked for.
fn reap_orphans(init: Pid) -> Option<u8> {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..))) if pid == init => {
                return code_of(status);
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            // EINVAL is of nix, which has no name for real-time signals; the child is reaped.
            Ok(_) | Err(Errno::EINTR | Errno::EINVAL) => {}
            Err(_) => return None,
        }
    }
}

fn exit_code(init: Pid) -> u8 {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let code = match waitid(Id::Pid(init), peek) {
        Ok(status) => code_of(status),
        Err(Errno::EINVAL) => {
            std::fs::read_to_string(format!("/proc/{init}/stat")).ok().and_then(|stat| real_time_code(&stat))
        }
        Err(_) => None,
    };
    let _ = waitpid(init, Some(WaitPidFlag::WNOHANG));
    code.unwrap_or(UNKNOWN)
}

fn code_of(status: WaitStatus) -> Option<u8> {
    match status {
        WaitStatus::Exited(_, code) => u8::try_from(code).ok(),
        WaitStatus::Signaled(_, signal, _) => u8::try_from(128 + signal as i32).ok(),
        _ => None,
    }
}

/// The code for a death by a real-time signal, which nix cannot name, from `/proc/PID/stat`.
fn real_time_code(stat: &str) -> Option<u8> {
    // exit_code is field 52; the first two are the number and the name, which may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let raw = fields.split_whitespace().nth(49)?.parse().ok()?;
    u8::try_from(128 + ExitStatus::from_raw(raw).signal()?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    /// Runs a shell script to its end and asks how it ended.
    #[expect(clippy::zombie_processes, reason = "exit_code reaps it")]
    fn end_of(script: &str) -> u8 {
        let child = Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        exit_code(pid)
    }

    #[test]
    fn the_end_of_the_container_is_the_exit_code() {
        assert_eq!(end_of("exit 0"), 0);
        assert_eq!(end_of("exit 42"), 42);
        assert_eq!(end_of("kill -TERM $$"), 128 + 15);
        assert_eq!(end_of("kill -KILL $$"), 128 + 9);
        assert_eq!(end_of("kill -40 $$"), 128 + 40);
    }

    #[test]
    fn news_about_ourselves_is_not_forwarded() {
        for signal in [1, 2, 3, 9, 10, 12, 13, 15, 18, 20, 34, 64] {
            assert!(is_for_the_process(signal), "{signal}");
        }
        for signal in [17, 23, 28] {
            assert!(!is_for_the_process(signal), "{signal}");
        }
    }
}
