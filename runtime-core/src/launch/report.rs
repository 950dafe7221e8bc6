//! From what init left on the Slate, and how it ended, to an error a person can act on.

#![forbid(unsafe_code)]

use std::time::Duration;

use nix::sys::wait::WaitStatus;
use runtime_init::{Call, Fault, hooks};

use super::frame::Frame;
use crate::cgroup::Cgroup;
use crate::error::{Death, Errno, Error, Side, StepError, StepRef};
use crate::plan::Plan;
use crate::plan::hooks::Phase;

/// Why init did not get where it should. `status` is how it ended by itself; `None` if it had to be killed.
pub(super) fn failure(
    plan: &Plan,
    frame: &Frame,
    status: Option<WaitStatus>,
    cgroup: Option<&Cgroup>,
    patience: Duration,
) -> Error {
    let at = plan.line(Side::Init, frame.step());
    match frame.fault() {
        Some(fault) => reported(at, fault, frame),
        None => Error::Died { how: death(status, cgroup, patience), at },
    }
}

/// The fault that init reported, as an error.
pub(super) fn reported(at: StepRef, fault: Fault, frame: &Frame) -> Error {
    match frame.hook() {
        Some((phase, index)) if fault.call == Call::HOOK => hook(phase, index, fault, frame.message()),
        _ => step_error(at, fault, frame.message()).into(),
    }
}

fn hook(phase: u32, index: u32, fault: Fault, output: Option<String>) -> Error {
    let phase = if phase == hooks::START_CONTAINER { Phase::StartContainer } else { Phase::CreateContainer };
    let low = fault.aux & 0xff;
    let mut problem = match fault.aux & !0xff {
        hooks::EXITED => format!("exit status {low}"),
        hooks::SIGNALED => super::hooks::signaled(i32::try_from(low).unwrap_or(0)),
        hooks::TIMED_OUT => "it did not end within its timeout and was killed".to_owned(),
        _ => format!("execve: {:?}", Errno::from_raw(fault.errno())),
    };
    if let Some(output) = output {
        problem.push_str(&format!(", output: {output}"));
    }
    Error::Hook { phase: phase.name(), index: index as usize, problem }
}

/// The fault that init reported.
pub(super) fn step_error(at: StepRef, fault: Fault, detail: Option<String>) -> StepError {
    StepError {
        origin: at.origin,
        doing: at.doing,
        call: runtime_init::sys::name(fault.call).unwrap_or("system call"),
        errno: Errno::from_raw(fault.errno()),
        detail: detail.or_else(|| explained(fault)),
        side: Side::Init,
        step: at.step,
    }
}

/// What a bare errno does not say.
fn explained(fault: Fault) -> Option<String> {
    let text = match fault.call {
        Call::PROGRAM if fault.aux == 1 && fault.errno() == nix::libc::ENOENT => "not in any directory of PATH",
        Call::DEVICE => "another file is in the place of the device node; remove it from the root file system",
        Call::ORDINARY_DIRECTORY => "the path is or leads over a symbolic link, or into procfs",
        Call::DEVPTS => "a terminal needs a mount of type devpts on /dev/pts",
        Call::PROCFS => "only a procfs may be mounted on /proc",
        _ => return None,
    };
    Some(text.to_owned())
}

pub(super) fn death(status: Option<WaitStatus>, cgroup: Option<&Cgroup>, patience: Duration) -> Death {
    match status {
        Some(WaitStatus::Exited(_, code)) => Death::Exited(code),
        Some(WaitStatus::Signaled(_, signal, _)) => {
            let oom = cgroup.and_then(|c| c.memory_oom().ok().flatten()).filter(|(count, _)| *count > 0);
            Death::Signaled { signal: signal as i32, oom }
        }
        Some(_) => Death::Unknown,
        None => {
            let frozen = cgroup.is_some_and(|c| c.is_frozen().unwrap_or(false));
            Death::Deadline { waited: patience, frozen }
        }
    }
}
