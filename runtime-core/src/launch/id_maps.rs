//! The id maps of a new user namespace, while init stands at `Mapped`.

#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;

use crate::at::ConfigPath;
use crate::error::{Error, Need, Result, StepError};
use crate::plan::{IdMaps, IdRange};

/// Writes both maps of the process `pid`, which `at` asks for. It stands at a gate, so the pid is still its own.
pub(super) fn write(maps: &IdMaps, pid: i32, at: &ConfigPath) -> Result<()> {
    let (uid, gid) = (at.field("uidMappings"), at.field("gidMappings"));
    if maps.by_helpers {
        run("newuidmap", pid, &maps.uid, uid)?;
        return run("newgidmap", pid, &maps.gid, gid);
    }
    if maps.deny_setgroups {
        put(pid, "setgroups", "deny", &gid)?;
    }
    put(pid, "uid_map", &lines(&maps.uid), &uid)?;
    put(pid, "gid_map", &lines(&maps.gid), &gid)
}

fn lines(ranges: &[IdRange]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.size)).collect()
}

/// In one write, as the kernel wants it.
fn put(pid: i32, file: &str, text: &str, at: &ConfigPath) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    let failed = |call: &'static str| {
        let (path, at) = (path.clone(), at.clone());
        move |e: std::io::Error| StepError::io(Some(at), format!("write {path}"), call, &e)
    };
    let mut file = OpenOptions::new().write(true).open(&path).map_err(failed("openat"))?;
    file.write_all(text.as_bytes()).map_err(failed("write"))?;
    Ok(())
}

fn run(program: &'static str, pid: i32, ranges: &[IdRange], at: ConfigPath) -> Result<()> {
    let purpose = "an unprivileged caller can map only its own id without it";
    let path = find(program).ok_or(Error::Host { what: Need::Program { program, purpose } })?;
    let numbers = ranges.iter().flat_map(|r| [r.inside, r.outside, r.size]).map(|n| n.to_string());
    let output = Command::new(&path).arg(pid.to_string()).args(numbers).stdin(Stdio::null()).output();
    let doing = format!("run {}", path.display());
    let output = output.map_err(|e| StepError::io(Some(at.clone()), doing.clone(), "execve", &e))?;
    if output.status.success() {
        return Ok(());
    }
    let mut error = StepError::host(Some(at), doing, program, Errno::EPERM);
    error.detail = Some(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "));
    Err(error.into())
}

/// Engines call with an environment that may have no `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let fixed = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from);
    fixed.into_iter().chain(std::env::split_paths(&path)).map(|dir| dir.join(program)).find(|p| Path::is_file(p))
}
