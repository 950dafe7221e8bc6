//! Puts a device program on a cgroup.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use runtime_init::Fault;
use runtime_init::sys::bpf;

use super::fs::Refusal;

/// Room for the verifier's words; a longer log is cut off by the kernel with `ENOSPC`, and the reason of
/// a refusal stands at its end, so that it is generous.
const LOG_SIZE: usize = 1 << 20;

/// A refusal with the last lines of the verifier's log, if it said anything.
pub(super) struct Refused {
    pub refusal: Refusal,
    pub log: Option<String>,
}

fn refusal(call: &'static str) -> impl Fn(Fault) -> Refusal {
    move |fault| Refusal { call, errno: Errno::from_raw(fault.errno()) }
}

/// Loads `program` and attaches it to the cgroup; programs that we attached to the same cgroup before are
/// replaced, those of others stay (all of them have to agree to an access). In a cgroup that has just been
/// made (`fresh`) there can be none.
pub(super) fn put(cgroup: BorrowedFd<'_>, program: &[u64], fresh: bool) -> Result<(), Refused> {
    let loaded = load(program)?;
    let replace = || {
        let mut before = if fresh { Vec::new() } else { ours(cgroup)? };
        let replaced = before.pop();
        bpf::attach(cgroup, fd(&loaded), replaced.as_ref().map(fd)).map_err(refusal("bpf(BPF_PROG_ATTACH)"))?;
        // More than one: a run that was killed between attaching and this.
        before.iter().try_for_each(|old| bpf::detach(cgroup, fd(old)).map_err(refusal("bpf(BPF_PROG_DETACH)")))
    };
    replace().map_err(|refusal| Refused { refusal, log: None })
}

fn fd(owned: &OwnedFd) -> BorrowedFd<'_> {
    owned.as_fd()
}

/// The log is asked for by a second try only: it costs time, and no program of ours should need it.
fn load(program: &[u64]) -> Result<OwnedFd, Refused> {
    let refusal = match bpf::load(program, &mut []) {
        Ok(loaded) => return Ok(loaded),
        Err(fault) => refusal("bpf(BPF_PROG_LOAD)")(fault),
    };
    if refusal.is_denied() && refusal.errno != Errno::EACCES {
        return Err(Refused { refusal, log: None });
    }
    let mut log = vec![0; LOG_SIZE];
    match bpf::load(program, &mut log) {
        Ok(loaded) => Ok(loaded),
        Err(_) => Err(Refused { refusal, log: last_lines(&log) }),
    }
}

/// The verifier names the reason near the end of its log.
fn last_lines(log: &[u8]) -> Option<String> {
    let text = std::ffi::CStr::from_bytes_until_nul(log).ok()?.to_string_lossy().into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    (!last.is_empty()).then_some(last)
}

/// The programs on this cgroup that an earlier [`put`] attached.
fn ours(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Refusal> {
    let mut ids = [0; bpf::MAX_ATTACHED];
    let count = bpf::attached(cgroup, &mut ids).map_err(refusal("bpf(BPF_PROG_QUERY)"))?;
    let mut found = Vec::new();
    for id in &ids[..count] {
        let program = match bpf::open(*id).map_err(refusal("bpf(BPF_PROG_GET_FD_BY_ID)")) {
            Ok(program) => program,
            // Not for us to look at (a label of an LSM), or gone: it can only forbid more, as in runc.
            Err(refusal) if refusal.is_denied() || refusal.is_gone() => continue,
            Err(refusal) => return Err(refusal),
        };
        if bpf::is_ours(fd(&program)).map_err(refusal("bpf(BPF_OBJ_GET_INFO_BY_FD)"))? {
            found.push(program);
        }
    }
    Ok(found)
}
