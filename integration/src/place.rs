//! Where a test can hold: what the machine offers and what a test needs beyond that.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The machine a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Any machine whose `/sys/fs/cgroup` is plain cgroup v2, controllers or not.
    Any,
    /// A machine with the cgroup controllers cpu, io, memory and pids.
    Full,
    /// A machine with containerd, Docker and Podman, all with the runtime under test: what hack/engines makes.
    Engines,
}

impl Place {
    /// What this machine is: the word in `PLACE`, or else what its cgroup controllers say.
    pub fn here() -> Result<Place, String> {
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
            .map_err(|error| format!("/sys/fs/cgroup is not plain cgroup v2 ({error}): run under hack/view"))?;
        match std::env::var("PLACE").as_deref() {
            Ok("native") => Ok(Place::Any),
            Ok("uml" | "full") => Ok(Place::Full),
            Ok("engines") => Ok(Place::Engines),
            Ok(other) => Err(format!("PLACE={other}: expected native, uml, full or engines")),
            Err(_) => {
                let has = |name: &str| controllers.split_whitespace().any(|word| word == name);
                let full = ["cpu", "io", "memory", "pids"].into_iter().all(has);
                Ok(if full { Place::Full } else { Place::Any })
            }
        }
    }

    /// Why a test for this place cannot run in `here`.
    pub fn missing(self, here: Place) -> Option<String> {
        let reason = match (self, here) {
            (Place::Full, Place::Any) => "no cgroup controllers cpu, io, memory, pids: run it in user-mode Linux",
            (Place::Engines, Place::Any | Place::Full) => "no engines: run it by hack/engines",
            _ => return None,
        };
        Some(reason.to_string())
    }
}

/// Something beyond the place without which a test cannot run, so that it is skipped by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Time namespaces.
    TimeNs,
    /// User namespaces.
    UserNs,
    /// The programs `newuidmap` and `newgidmap`.
    Uidmap,
    /// AppArmor switched on in the kernel.
    AppArmor,
    /// AppArmor not there, or switched off.
    NoAppArmor,
    /// The program `apparmor_parser`, which loads profiles.
    AppArmorParser,
    /// SELinux switched on in the kernel, with a policy.
    SeLinux,
    /// SELinux not there, or switched off.
    NoSeLinux,
    /// systemd as process 1.
    Systemd,
    /// The program `criu`.
    Criu,
    /// A `ps` that works: that of procps wants a boot time, which user-mode Linux does not tell.
    Ps,
    /// The program `script`, which runs a command in a terminal.
    Script,
    /// The program `ip`, which makes network namespaces and devices.
    Ip,
    /// The program `strace`, and a kernel on which it works.
    Strace,
    /// The program `unshare`.
    Unshare,
    /// The sysctl `vm.memfd_noexec`, with which the execution of memory files is forbidden.
    MemfdNoexec,
    /// The program `setpriv`.
    Setpriv,
    /// The cgroup controller cpuset.
    Cpuset,
    /// The cgroup controller hugetlb.
    Hugetlb,
    /// The cgroup controller rdma.
    Rdma,
    /// A block device.
    BlockDevice,
    /// The I/O scheduler BFQ.
    Bfq,
    /// `CAP_SYS_RESOURCE`, without which hard limits cannot be raised.
    SysResource,
    /// Two processors.
    TwoProcessors,
    /// A kernel that tells of its memory's nodes.
    Numa,
    /// Real-time policies outside of the root cgroup, which kernels with groups of them refuse.
    RealTime,
    /// The resctrl filesystem.
    Resctrl,
    /// overlayfs.
    Overlayfs,
    /// A file system below the tests' folder whose mounts can map ids.
    IdMap,
    /// The file `ns_last_pid`, with which a process id can be given out again.
    LastPid,
}

impl Need {
    /// Why the need is not met on this machine.
    pub fn missing(self) -> Option<String> {
        match self {
            Need::TimeNs => file("/proc/self/ns/time", "no time namespaces"),
            Need::UserNs => file("/proc/self/ns/user", "no user namespaces"),
            Need::Uidmap => program("newuidmap").or_else(|| program("newgidmap")),
            Need::AppArmor => reads("/sys/module/apparmor/parameters/enabled", "Y", "AppArmor is off"),
            Need::NoAppArmor => Need::AppArmor.missing().is_none().then(|| "AppArmor is on".to_string()),
            Need::NoSeLinux => Need::SeLinux.missing().is_none().then(|| "SELinux is on".to_string()),
            Need::AppArmorParser => program("apparmor_parser"),
            Need::SeLinux => file("/sys/fs/selinux/enforce", "SELinux is off").or_else(no_selinux_policy),
            Need::Systemd => file("/run/systemd/system", "process 1 is not systemd"),
            Need::Criu => program("criu"),
            Need::Ps => program("ps").or_else(no_working_ps),
            Need::Script => program("script"),
            Need::Ip => program("ip"),
            Need::Strace => program("strace").or_else(no_working_strace),
            Need::Unshare => program("unshare"),
            Need::MemfdNoexec => file("/proc/sys/vm/memfd_noexec", "no sysctl vm.memfd_noexec (Linux 6.3)"),
            Need::Setpriv => program("setpriv"),
            Need::Cpuset => controller("cpuset"),
            Need::Hugetlb => controller("hugetlb"),
            Need::Rdma => controller("rdma"),
            Need::BlockDevice => no_block_device(),
            Need::Bfq => file("/sys/module/bfq", "no I/O scheduler bfq"),
            Need::SysResource => capability(24, "no CAP_SYS_RESOURCE"),
            Need::TwoProcessors => file("/sys/devices/system/cpu/cpu1", "only one processor"),
            Need::Numa => file("/proc/self/numa_maps", "no memory policies in this kernel"),
            Need::RealTime => no_real_time(),
            Need::Resctrl => file("/sys/fs/resctrl/schemata", "no resctrl filesystem"),
            Need::LastPid => file("/proc/sys/kernel/ns_last_pid", "no ns_last_pid"),
            Need::IdMap => no_id_maps(),
            Need::Overlayfs => reads("/proc/filesystems", "overlay", "no overlayfs"),
        }
    }
}

fn file(path: &str, reason: &str) -> Option<String> {
    (!Path::new(path).exists()).then(|| reason.to_string())
}

fn reads(path: &str, word: &str, reason: &str) -> Option<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    (!text.split_whitespace().any(|found| found == word)).then(|| reason.to_string())
}

fn no_real_time() -> Option<String> {
    let script = "dir=$(mktemp --directory --tmpdir=/sys/fs/cgroup) && echo $$ >$dir/cgroup.procs && chrt --fifo 1 true
        code=$?; echo $$ >/sys/fs/cgroup/cgroup.procs; rmdir $dir; exit $code";
    let works = Command::new("sh").args(["-c", script]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    (!works).then(|| "no real-time policies in a cgroup".to_string())
}

fn no_selinux_policy() -> Option<String> {
    let label = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    (label.trim_end_matches('\0') == "kernel").then(|| "SELinux has no policy".to_string())
}

fn no_block_device() -> Option<String> {
    let disks = fs::read_dir("/sys/block").map_or(0, Iterator::count);
    (disks == 0).then(|| "no block device".to_string())
}

fn no_working_ps() -> Option<String> {
    let works =
        Command::new("ps").arg("-ef").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    (!works).then(|| "ps fails on this kernel".to_string())
}

/// tmpfs maps ids since Linux 6.3, hostfs never.
fn no_id_maps() -> Option<String> {
    let call = Command::new("stat").args(["--file-system", "--format=%T"]).arg(std::env::temp_dir()).output();
    let kind = call.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string()).unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    let since_6_3 = (numbers.next(), numbers.next()) >= (Some(6), Some(3));
    let maps = matches!(kind.as_str(), "ext2/ext3" | "xfs" | "btrfs") || kind == "tmpfs" && since_6_3;
    (!maps).then(|| format!("no id-mapped mounts of {kind} on this kernel"))
}

fn no_working_strace() -> Option<String> {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    (!works).then(|| "strace fails on this kernel".to_string())
}

fn controller(name: &str) -> Option<String> {
    reads("/sys/fs/cgroup/cgroup.controllers", name, &format!("no cgroup controller {name}"))
}

fn program(name: &str) -> Option<String> {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    (!found).then(|| format!("no program {name}"))
}

fn capability(bit: u32, reason: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    (mask >> bit & 1 == 0).then(|| reason.to_string())
}
