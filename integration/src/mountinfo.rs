//! Mounts as `/proc/PID/mountinfo` shows them, and what tests of mounts need on the host.

use crate::call::Output;
use crate::container::Container;
use crate::runtime::{Name, Runtime};
use std::fs;
use std::path::{Path, PathBuf};

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where in the file system the mount begins.
    pub root: String,
    /// The mount point.
    pub point: String,
    /// Flags of the mount.
    pub flags: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable`.
    pub tags: Vec<String>,
    /// Type of the file system.
    pub kind: String,
    /// Source.
    pub source: String,
    /// Options of the superblock.
    pub superblock: Vec<String>,
}

impl Mount {
    fn of(line: &str) -> Option<Mount> {
        let (left, right) = line.split_once(" - ")?;
        let (left, right): (Vec<&str>, Vec<&str>) = (left.split(' ').collect(), right.split(' ').collect());
        let list = |text: &str| text.split(',').map(str::to_string).collect();
        Some(Mount {
            root: (*left.get(3)?).to_string(),
            point: (*left.get(4)?).to_string(),
            flags: list(left.get(5)?),
            tags: left.iter().skip(6).map(ToString::to_string).collect(),
            kind: (*right.first()?).to_string(),
            source: (*right.get(1)?).to_string(),
            superblock: list(right.get(2)?),
        })
    }

    /// Whether the mount has this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|found| found == flag)
    }

    /// Whether it has a tag that begins so.
    pub fn tagged(&self, tag: &str) -> bool {
        self.tags.iter().any(|found| found.starts_with(tag))
    }

    /// Whether its superblock has this option.
    pub fn offers(&self, option: &str) -> bool {
        self.superblock.iter().any(|found| found == option)
    }
}

/// All mounts of a process, in the order of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounts(pub Vec<Mount>);

impl Mounts {
    /// Reads the text of mountinfo; other lines are left out.
    pub fn of(text: &str) -> Mounts {
        Mounts(text.lines().filter_map(Mount::of).collect())
    }

    /// Runs the container, whose program becomes `cat /proc/self/mountinfo`.
    #[track_caller]
    pub fn inside(container: &mut Container) -> Mounts {
        container.bundle.args(["/bin/cat", "/proc/self/mountinfo"]);
        Mounts::of(container.run().ok().text())
    }

    /// The topmost mount at a mount point, which must exist.
    #[track_caller]
    pub fn at(&self, point: &str) -> &Mount {
        let found = self.0.iter().rev().find(|mount| mount.point == point);
        found.unwrap_or_else(|| panic!("no mount at {point} in {self:#?}"))
    }

    /// The mount points, in their order.
    pub fn points(&self) -> Vec<&str> {
        self.0.iter().map(|mount| mount.point.as_str()).collect()
    }
}

/// Calls `mount` on the host; the target must be below the test's folder, which is unmounted at the end.
#[track_caller]
pub fn host_mount(container: &Container, words: &[&str], target: &Path) {
    assert!(target.starts_with(container.folder()), "{} is not the test's", target.display());
    fs::create_dir_all(target).expect("make a mount point");
    container.host_call("mount").args(words).arg(target).run().ok();
}

/// A folder of the host for this test.
pub fn host_folder(container: &Container, name: &str) -> PathBuf {
    let path = container.folder().join(name);
    fs::create_dir_all(&path).expect("make a folder");
    path
}

/// A path as text.
#[track_caller]
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test")
}

/// `create` fails, nothing is left, and there is no such container. Returns what it said.
#[track_caller]
pub fn refused(container: &Container) -> String {
    let before = crate::Snapshot::take(container);
    let output: Output = container.create().fails();
    before.assert_unchanged(container);
    container.state_call().fails();
    output.stderr
}

/// Ends a test without a mount namespace for the runtime that changes the host's mounts in it, and so other tests.
#[track_caller]
pub fn spare_the_host(runtime: &Runtime) {
    assert!(runtime.name != Name::Runc, "runc makes the host's mounts private (runc#4767)");
}

/// Gives the program every capability of its user namespace.
pub fn all_capabilities(container: &mut Container, except: &[&str]) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    let bounding = u64::from_str_radix(bounding.trim(), 16).expect("a mask");
    let names = CAPABILITIES.iter().enumerate();
    let held = names.filter(|(bit, name)| bounding >> bit & 1 == 1 && !except.contains(name));
    let held: Vec<String> = held.map(|(_, name)| format!("CAP_{name}")).collect();
    for set in ["bounding", "effective", "permitted"] {
        container.bundle.set(&format!("/process/capabilities/{set}"), serde_json::json!(held));
    }
}

/// In the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
