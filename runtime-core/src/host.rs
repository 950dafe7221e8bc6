//! The facts about this machine and this caller that a plan may depend on.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use crate::cgroup::CgroupHost;
use crate::error::{Need, Result};

/// Facts about the machine and the caller. [`Host::probe`] is the only impure way to one; planning reads nothing else.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Host {
    /// Effective user id of the caller.
    pub uid: u32,
    /// Effective group id of the caller.
    pub gid: u32,
    /// The caller may mount, join and make namespaces without a user namespace: it has `CAP_SYS_ADMIN`.
    pub privileged: bool,
    /// The caller is in the initial user namespace.
    pub initial_user_namespace: bool,
    /// setgroups was given up for good in the caller's user namespace (user_namespaces(7)).
    pub setgroups_denied: bool,
    /// Capabilities that the caller could pass on, as bits.
    pub capabilities: u64,
    /// All capabilities that the kernel knows, as bits.
    pub known_capabilities: u64,
    /// The cgroup2 hierarchy.
    pub cgroup: CgroupHost,
    /// The caller's environment, names and values, for hooks that have none of their own.
    pub environment: Vec<(OsString, OsString)>,
    /// Where procfs and sysfs are mounted, which only `--no-pivot` needs: see [`Host::with_kernel_mounts`].
    pub kernel_mounts: Option<Vec<PathBuf>>,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// SELinux is enabled and has a policy.
    pub selinux: bool,
}

const CAP_SYS_ADMIN: u64 = 1 << 21;
const SELINUX_MAGIC: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0xf97c_ff8c);

impl Host {
    /// Looks at this machine.
    ///
    /// # Errors
    /// [`Need::Procfs`] if `/proc` cannot be read, [`Need::Cgroup2`] without a cgroup2 hierarchy.
    pub fn probe() -> Result<Self> {
        let status = read("/proc/self/status")?;
        let mask = |name| hexadecimal(&status, name);
        let (permitted, bounding) = (mask("\nCapPrm:")?, mask("\nCapBnd:")?);
        let last: u32 = read("/proc/sys/kernel/cap_last_cap")?.trim().parse().map_err(|_| not_proc("cap_last_cap"))?;
        let initial_user_namespace = read("/proc/self/uid_map")?.split_whitespace().eq(["0", "0", "4294967295"]);
        Ok(Self {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            privileged: mask("\nCapEff:")? & CAP_SYS_ADMIN != 0,
            initial_user_namespace,
            setgroups_denied: !initial_user_namespace && read("/proc/self/setgroups")?.trim() == "deny",
            capabilities: permitted & bounding,
            known_capabilities: u64::MAX >> (63 - last.min(63)),
            cgroup: CgroupHost::probe()?,
            environment: std::env::vars_os().collect(),
            kernel_mounts: None,
            apparmor: fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y")),
            selinux: selinux(),
        })
    }

    /// The same with the mount points of procfs and sysfs, for [`crate::CreateOptions::no_pivot`]. On a host with
    /// thousands of mounts this takes longer than everything else.
    ///
    /// # Errors
    /// [`Need::Procfs`] if `/proc` cannot be read.
    pub fn with_kernel_mounts(mut self) -> Result<Self> {
        self.kernel_mounts = Some(kernel_mounts(&read("/proc/self/mountinfo")?));
        Ok(self)
    }
}

/// As libselinux decides: there is its file system, and the caller has another label than before a policy is loaded.
fn selinux() -> bool {
    let there = nix::sys::statfs::statfs("/sys/fs/selinux").is_ok_and(|found| found.filesystem_type() == SELINUX_MAGIC);
    there && fs::read("/proc/self/attr/current").is_ok_and(|label| !label.starts_with(b"kernel\0"))
}

fn not_proc(what: &str) -> crate::Error {
    crate::Error::Host { what: Need::Procfs(what.to_owned()) }
}

fn read(path: &str) -> Result<String> {
    crate::pseudo::read(path).map_err(|e| not_proc(&format!("{path}: {e}")))
}

/// The line of `/proc/PID/status` that begins with `name`; the newline in front of it cannot be in the process's name.
fn hexadecimal(status: &str, name: &str) -> Result<u64> {
    let value = status.split_once(name).and_then(|(_, rest)| rest.lines().next());
    value.and_then(|v| u64::from_str_radix(v.trim(), 16).ok()).ok_or_else(|| not_proc(name.trim()))
}

/// Mount points of procfs and sysfs in a mountinfo text, deepest first.
fn kernel_mounts(mountinfo: &str) -> Vec<PathBuf> {
    let point = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let kind = filesystem.split(' ').next()?;
        matches!(kind, "proc" | "sysfs").then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
    };
    let mut points: Vec<PathBuf> = mountinfo.lines().filter_map(point).collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.as_os_str().len()));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_mounts_are_found_deepest_first() {
        let text = "22 1 0:20 / /sys rw,nosuid - sysfs sysfs rw\n23 1 0:21 / /proc rw shared:3 - proc proc rw\n\
                    24 23 0:22 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw\n25 1 0:21 / /a/proc rw - proc proc rw\n";
        assert_eq!(kernel_mounts(text), [PathBuf::from("/a/proc"), "/proc".into(), "/sys".into()]);
    }
}
