//! Hooks that see the host: prestart, createRuntime, poststart, poststop.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::container::{Process, State, process};
use crate::error::{Error, Result};
use crate::plan::Hook;
use crate::plan::hooks::Phase;

/// How much of a hook's output is kept for the error.
const KEPT: usize = 2048;

/// Runs the hooks of one phase in their order, each with `state` on its standard input.
///
/// # Errors
/// [`Error::Hook`] for the first that fails; the others do not run then.
pub fn run(phase: Phase, hooks: &[Hook], state: &State) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        one(hook, state).map_err(|problem| Error::Hook { phase: phase.name(), index, problem })?;
    }
    Ok(())
}

fn one(hook: &Hook, state: &State) -> Result<(), String> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| format!("pipe2: {e:?}"))?;
    let input = state_file(state).map_err(|e| format!("write the state: {e}"))?;
    let copy = writer.try_clone().map_err(|e| format!("fcntl: {e}"))?;
    let mut command = Command::new(&hook.path);
    command.args(hook.args.iter().skip(1)).stdin(Stdio::from(input)).stdout(writer).stderr(copy).process_group(0);
    if let Some(zeroth) = hook.args.first() {
        command.arg0(zeroth);
    }
    if let Some(env) = &hook.env {
        command.env_clear().envs(env.iter().filter_map(|entry| entry.split_once('=')));
    }
    let child = command.spawn().map_err(|e| format!("execve {}: {}", hook.path.display(), errno(&e)))?;
    // The command holds the pipe's other end.
    drop(command);
    watch(child, hook, reader)
}

/// The name of the errno alone: its text would read like a missing container program to an engine.
fn errno(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |raw| format!("{:?}", Errno::from_raw(raw)))
}

/// A file, not a pipe: a hook may read the state or not, without anybody waiting.
fn state_file(state: &State) -> std::io::Result<File> {
    let mut file = File::from(memfd_create(c"state", MFdFlags::MFD_CLOEXEC)?);
    serde_json::to_writer(&file, state)?;
    file.flush()?;
    file.rewind()?;
    Ok(file)
}

/// Keeps the beginning of what the hook writes until it ends or its time is over.
fn watch(child: Child, hook: &Hook, reader: OwnedFd) -> Result<(), String> {
    let pid = i32::try_from(child.id()).unwrap_or(0);
    let deadline = hook.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let lost = || "how it ended is not known: another thread of the caller has waited for it".to_owned();
    let process = Process::found(pid, process::open(pid).map_err(|e| e.to_string())?.ok_or_else(lost)?);
    let mut output = Output { file: File::from(reader), kept: Vec::new(), open: true };
    let in_time = output.until_end(process.as_fd(), deadline);
    if !in_time {
        // Only fails if the group is gone already.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let status = process.wait().map_err(|e| e.to_string())?.ok_or_else(lost)?;
    if status.success() && in_time {
        return Ok(());
    }
    let mut problem = match (in_time, status.code(), status.signal()) {
        (false, ..) => "it did not end within its timeout and was killed".to_owned(),
        (_, Some(code), _) => format!("exit status {code}"),
        (_, _, signal) => signaled(signal.unwrap_or(0)),
    };
    let text = String::from_utf8_lossy(&output.kept);
    if !text.trim().is_empty() {
        problem.push_str(&format!(", output: {}", text.trim()));
    }
    Err(problem)
}

/// An end by a signal, in the words of signal(7) where the kernel sends it for a fault, or a limit.
pub(super) fn signaled(number: i32) -> String {
    let words = match Signal::try_from(number) {
        Ok(Signal::SIGILL) => "illegal instruction",
        Ok(Signal::SIGABRT) => "aborted",
        Ok(Signal::SIGBUS) => "bus error",
        Ok(Signal::SIGFPE) => "floating point exception",
        Ok(Signal::SIGKILL) => "killed",
        Ok(Signal::SIGSEGV) => "segmentation fault",
        Ok(Signal::SIGSYS) => "bad system call",
        Ok(Signal::SIGXCPU) => "CPU time limit exceeded",
        Ok(other) => other.as_str(),
        Err(_) => return format!("signal {number}"),
    };
    format!("signal {number}: {words}")
}

struct Output {
    file: File,
    kept: Vec<u8>,
    open: bool,
}

impl Output {
    /// Reads until the process ends; `false` if the deadline comes first. A child of the hook may keep the pipe open for
    /// longer, which is not waited for.
    fn until_end(&mut self, process: BorrowedFd<'_>, deadline: Option<Instant>) -> bool {
        loop {
            let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
                let left = deadline.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            let [text, ended] = ready(self.file.as_fd(), process, self.open, timeout);
            if text {
                self.take();
            }
            if ended {
                return true;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
        }
    }

    fn take(&mut self) {
        let mut buffer = [0; 4096];
        let count = self.file.read(&mut buffer).unwrap_or(0);
        self.open = count > 0;
        let room = KEPT.saturating_sub(self.kept.len()).min(count);
        self.kept.extend_from_slice(&buffer[..room]);
    }
}

/// Which of the two can be read; the first is only asked for while it is open.
fn ready(text: BorrowedFd<'_>, process: BorrowedFd<'_>, open: bool, timeout: PollTimeout) -> [bool; 2] {
    let mut fds = [PollFd::new(process, PollFlags::POLLIN), PollFd::new(text, PollFlags::POLLIN)];
    let asked = if open { &mut fds[..] } else { &mut fds[..1] };
    if poll(asked, timeout).is_err() {
        return [false, false];
    }
    let any = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
    [asked.get(1).is_some_and(any), any(&asked[0])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_a_signal_is_told_in_words() {
        let told = [31, 9, 10, 40].map(signaled);
        assert_eq!(told, ["signal 31: bad system call", "signal 9: killed", "signal 10: SIGUSR1", "signal 40"]);
    }
}
