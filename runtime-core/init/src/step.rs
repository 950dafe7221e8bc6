//! The wire types: what init can be told to do, one 32-byte record a step.

#![forbid(unsafe_code)]

/// A string in the Frame's table, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(pub u32);

/// A file descriptor that host and init both know, by its place in the Frame's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// A range in the Frame's table of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// Index of the first.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// Length of an encoded step in bytes.
pub const RECORD: usize = 32;

/// A kind of namespace; the value is its `CLONE_NEW*` flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Ns {
    /// Clocks.
    Time = 0x0000_0080,
    /// Mounts.
    Mount = 0x0002_0000,
    /// The view of the cgroup tree.
    Cgroup = 0x0200_0000,
    /// Host and domain name.
    Uts = 0x0400_0000,
    /// System V IPC and POSIX message queues.
    Ipc = 0x0800_0000,
    /// Ids and capabilities.
    User = 0x1000_0000,
    /// Process ids.
    Pid = 0x2000_0000,
    /// Network devices, addresses, ports.
    Net = 0x4000_0000,
}

impl Ns {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::Time, Self::Mount, Self::Cgroup, Self::Uts, Self::Ipc, Self::User, Self::Pid, Self::Net];

    /// Its `CLONE_NEW*` flag.
    #[must_use]
    pub const fn flag(self) -> u32 {
        self as u32
    }

    /// Its name in `/proc/PID/ns`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Mount => "mnt",
            Self::Cgroup => "cgroup",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::User => "user",
            Self::Pid => "pid",
            Self::Net => "net",
        }
    }
}

/// A point at which init stands until the host has done its part. One byte each way on a socket pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Gate {
    /// Not a stop: the usher tells the new process's pid and passes its pidfd.
    Born = 1,
    /// The id maps are written.
    Mapped = 2,
    /// The process is in its cgroup.
    Placed = 3,
    /// Trees that init could not open itself are there.
    Trees = 4,
    /// Hooks that see the mounts have run.
    Mounted = 5,
    /// Limits and the filter are in place; after it init speaks to nobody, unless the filter has a listener.
    Ready = 6,
    /// The agent that gets the filter's listener is there. What follows is told without a system call.
    Notify = 7,
    /// Network devices were moved here, through the socket that init shows.
    Network = 8,
}

impl Gate {
    /// All gates, in the order in which they can occur.
    pub const ALL: [Self; 8] =
        [Self::Born, Self::Mapped, Self::Placed, Self::Trees, Self::Mounted, Self::Ready, Self::Notify, Self::Network];

    /// The gate of a byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|gate| *gate as u8 == byte)
    }
}

/// How the root is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Enter {
    /// `pivot_root`, the old root is detached.
    Pivot = 0,
    /// The root mount is moved over `/`, then `chroot` (`--no-pivot`).
    Move = 1,
    /// `chroot` alone: there is no mount namespace of the container's own.
    Chroot = 2,
}

/// What is special about a terminal.
pub mod terminal {
    /// It is put over `/dev/console`.
    pub const ON_CONSOLE: u32 = 1;
    /// Its lines end as in a file: where they go there is no terminal.
    pub const PLAIN_LINES: u32 = 2;
}

/// A mount, as it lies in the Frame's words. Its length is [`MountRecord::LEN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountRecord {
    /// What is mounted; one of the `FROM_*` constants.
    pub from: u32,
    /// Slot of a tree (`FROM_SLOT`), or where the mount is kept for a later step; `NO_SLOT` otherwise.
    pub slot: u32,
    /// Text: file system type, or the source path of `FROM_PATH`.
    pub what: u32,
    /// Text: the source string of a file system.
    pub source: u32,
    /// Text: the target in the container.
    pub target: u32,
    /// First word of the list of option texts; pairs of key and value, a flag has the value `NO_TEXT`.
    pub options: u32,
    /// Number of options.
    pub option_count: u32,
    /// Attributes to set on the mount.
    pub set: u32,
    /// Attributes to clear on the mount.
    pub clear: u32,
    /// Attributes to set on it and all below.
    pub set_all: u32,
    /// Attributes to clear on it and all below.
    pub clear_all: u32,
    /// Propagation of the mount; 0 leaves what it has.
    pub propagation: u32,
    /// Propagation of it and all below.
    pub propagation_all: u32,
    /// `WITH_*` bits.
    pub flags: u32,
}

impl MountRecord {
    /// Number of words.
    pub const LEN: u32 = 14;
    /// A new instance of a file system.
    pub const FROM_FILESYSTEM: u32 = 0;
    /// A tree that the host opened.
    pub const FROM_SLOT: u32 = 1;
    /// A tree that init opened in `slot` before it looked at the container.
    pub const FROM_OPENED: u32 = 2;
    /// A path in the container, which an earlier mount may have made; `what` is the path.
    pub const FROM_ROOT: u32 = 4;
    /// The existing mount at the target is changed.
    pub const FROM_TARGET: u32 = 3;
    /// No slot.
    pub const NO_SLOT: u32 = u32::MAX;
    /// No text.
    pub const NO_TEXT: u32 = u32::MAX;
    /// Take everything below the source along.
    pub const WITH_SUBMOUNTS: u32 = 1;
    /// The target must be an ordinary directory, not reached over a symbolic link (CVE-2019-19921, CVE-2026-41579).
    pub const WITH_ORDINARY_TARGET: u32 = 2;
    /// A tmpfs takes the mode of the directory it covers.
    pub const WITH_MODE_OF_TARGET: u32 = 4;
    /// The mount's descriptor is kept in `slot` for a later step.
    pub const WITH_HOLD: u32 = 8;
    /// The options go to the existing superblock (`remount` of a file system).
    pub const WITH_RECONFIGURE: u32 = 16;
    /// The source must be the root of a procfs (CVE-2019-16884).
    pub const WITH_PROCFS_SOURCE: u32 = 32;
    /// The target may lie in a procfs.
    pub const WITH_PROCFS_TARGET: u32 = 64;
    /// The host maps the ids of the mount before it is attached.
    pub const WITH_IDS: u32 = 128;
    /// What the mount covers is copied into it.
    pub const WITH_COPY: u32 = 256;
    /// A source that is a link is not followed (`FROM_ROOT`; other sources are opened earlier).
    pub const WITH_SOURCE_AS_IT_IS: u32 = 512;
    /// A target that is a link is not followed, and must be there.
    pub const WITH_TARGET_AS_IT_IS: u32 = 1024;
    /// A source that is a link is made again at the target, instead of a mount.
    pub const WITH_LINK: u32 = 2048;

    /// The record as words.
    #[must_use]
    pub const fn words(&self) -> [u32; Self::LEN as usize] {
        [
            self.from,
            self.slot,
            self.what,
            self.source,
            self.target,
            self.options,
            self.option_count,
            self.set,
            self.clear,
            self.set_all,
            self.clear_all,
            self.propagation,
            self.propagation_all,
            self.flags,
        ]
    }

    /// The record of such words.
    #[must_use]
    pub const fn from_words(w: [u32; Self::LEN as usize]) -> Self {
        let [from, slot, what, source, target, options, option_count, ..] = w;
        let [.., set, clear, set_all, clear_all, propagation, propagation_all, flags] = w;
        Self {
            from,
            slot,
            what,
            source,
            target,
            options,
            option_count,
            set,
            clear,
            set_all,
            clear_all,
            propagation,
            propagation_all,
            flags,
        }
    }
}

/// In [`Step::OpenSource`]: with everything mounted below.
pub const SOURCE_WITH_SUBMOUNTS: u32 = 1;
/// In [`Step::OpenSource`]: the host has looked the path up with its own rights, and sends what it found.
pub const SOURCE_GIVEN: u32 = 2;

/// In [`Step::OpenSource`]: a link is not followed.
pub const SOURCE_AS_IT_IS: u32 = 4;

/// A value that takes one or two places of a record.
trait Field: Sized {
    fn store(self) -> u64;
    fn load(raw: u64) -> Option<Self>;
}

impl Field for u32 {
    fn store(self) -> u64 {
        self.into()
    }
    fn load(raw: u64) -> Option<Self> {
        raw.try_into().ok()
    }
}

impl Field for u64 {
    fn store(self) -> u64 {
        self
    }
    fn load(raw: u64) -> Option<Self> {
        Some(raw)
    }
}

impl Field for i32 {
    fn store(self) -> u64 {
        self.cast_unsigned().into()
    }
    fn load(raw: u64) -> Option<Self> {
        u32::load(raw).map(u32::cast_signed)
    }
}

impl Field for Text {
    fn store(self) -> u64 {
        self.0.into()
    }
    fn load(raw: u64) -> Option<Self> {
        u32::load(raw).map(Self)
    }
}

impl Field for Slot {
    fn store(self) -> u64 {
        self.0.into()
    }
    fn load(raw: u64) -> Option<Self> {
        u32::load(raw).map(Self)
    }
}

impl Field for Option<Slot> {
    fn store(self) -> u64 {
        self.map_or(u64::from(u32::MAX), Slot::store)
    }
    fn load(raw: u64) -> Option<Self> {
        Some(if raw == u64::from(u32::MAX) { None } else { Slot::load(raw) })
    }
}

impl Field for Words {
    fn store(self) -> u64 {
        u64::from(self.start) | u64::from(self.count) << 32
    }
    fn load(raw: u64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "two halves of one word")]
        Some(Self { start: raw as u32, count: (raw >> 32) as u32 })
    }
}

impl Field for Ns {
    fn store(self) -> u64 {
        u64::from(self.flag())
    }
    fn load(raw: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|ns| u64::from(ns.flag()) == raw)
    }
}

impl Field for Gate {
    fn store(self) -> u64 {
        self as u64
    }
    fn load(raw: u64) -> Option<Self> {
        u8::try_from(raw).ok().and_then(Self::from_byte)
    }
}

impl Field for Enter {
    fn store(self) -> u64 {
        self as u64
    }
    fn load(raw: u64) -> Option<Self> {
        [Self::Pivot, Self::Move, Self::Chroot].into_iter().find(|enter| *enter as u64 == raw)
    }
}

/// Declares the steps once: type, encoding and decoding. A step has at most three fields of 8 bytes.
macro_rules! steps {
    ($($(#[$doc:meta])* $code:literal $name:ident { $($(#[$fdoc:meta])* $field:ident : $type:ty),* $(,)? })*) => {
        /// One line of init's column. The first doc line of each names its system calls.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step {
            $($(#[$doc])* $name { $($(#[$fdoc])* $field: $type),* },)*
        }

        impl Step {
            /// The step as a record: its code, then its fields in order, 8 bytes each.
            #[must_use]
            pub fn encode(&self) -> [u8; RECORD] {
                let (code, fields): (u64, [u64; 3]) = match *self {
                    $(Self::$name { $($field),* } => ($code, fields([$(Field::store($field)),*])),)*
                };
                let mut out = [0; RECORD];
                for (chunk, value) in out.chunks_exact_mut(8).zip([code, fields[0], fields[1], fields[2]]) {
                    chunk.copy_from_slice(&value.to_ne_bytes());
                }
                out
            }

            /// The step of a record; `None` if there is no such step or a field is out of its range.
            #[must_use]
            pub fn decode(record: &[u8; RECORD]) -> Option<Self> {
                let mut values = record.chunks_exact(8).map(|c| u64::from_ne_bytes(c.try_into().unwrap_or_default()));
                match values.next()? {
                    $($code => Some(Self::$name { $($field: Field::load(values.next()?)?),* }),)*
                    _ => None,
                }
            }
        }
    };
}

fn fields<const N: usize>(given: [u64; N]) -> [u64; 3] {
    let mut all = [0; 3];
    all[..N].copy_from_slice(&given);
    all
}

steps! {
    /// `rt_sigprocmask`, `rt_sigaction`, `prctl(PR_SET_PDEATHSIG)`, `umask(0)`, `close_range`—what must not be inherited.
    1 ResetInherited {}
    /// `write(/proc/self/oom_score_adj)`—with the caller's rights; birth passes it on.
    2 OomScore { /** the score, −1000 to 1000 */ score: Text }
    /// `prctl(PR_SET_DUMPABLE, 0)`—nobody can look into init once it joins something foreign (CVE-2016-9962).
    3 NotDumpable {}
    /// `setns(fd, type)`—join a namespace the host opened.
    4 Join { /** its kind */ ns: Ns, /** the descriptor */ slot: Slot }
    /// `unshare(CLONE_NEWTIME)`, `write(/proc/self/timens_offsets)`—before a birth, by which a time namespace is entered.
    5 TimeOffsets { /** lines of `CLOCK SECS NANOSECS` */ offsets: Text }
    /// `clone3(CLONE_PARENT | CLONE_PIDFD | namespaces [| CLONE_INTO_CGROUP])`—the container's process is born; the usher ends.
    /// If the kernel killed one that was born into the cgroup, first `openat2`, `write(cgroup.procs)`.
    6 Birth { /** `CLONE_NEW*` flags */ namespaces: u32, /** directory of the cgroup */ cgroup: Option<Slot> }
    /// `write`, `read` on the gate—stand until the host has done its part.
    7 Await { /** which */ gate: Gate }
    /// `setresgid(0)`, `setresuid(0)`—the caller's ids may not be mapped in the user namespace.
    8 BecomeRoot {}
    /// `setsid`—init leads a session and a process group of its own.
    9 Session {}
    /// `sched_setaffinity`—where it may run from now on; on every CPU, so that a runtime started from a pinned shell does not pin the container.
    10 Cpus { /** a bit for each CPU; none means all */ mask: Words }
    /// `sethostname`
    11 Hostname { /** the name */ name: Text }
    /// `setdomainname`
    12 Domainname { /** the name */ name: Text }
    /// `ioctl(SIOCSIFFLAGS)`—raise `lo` in the new network namespace.
    13 Loopback {}
    /// `mount_setattr(/, AT_RECURSIVE)`—before the first mount, so that nothing reaches the host.
    14 Propagation { /** `MS_*` propagation */ kind: u32 }
    /// `recvmsg`, `open_tree(OPEN_TREE_CLONE)`—a source, opened in the container's copy of the host's mounts before anything of the container is looked at.
    15 OpenSource { /** where it is kept */ slot: Slot, /** path on the host */ path: Text, /** bits of `SOURCE_*` */ flags: u32 }
    /// `openat2(/dev/null)`, `statx`—our own null device, for masks (CVE-2025-31133).
    16 OpenNull {}
    /// `fsopen(proc)`, `fsmount`—our own procfs, for sysctls and labels (CVE-2019-16884, rule R4).
    17 OpenProc {}
    /// `open_tree(OPEN_TREE_CLONE | AT_RECURSIVE)`, `mount_setattr`, `move_mount`—the root file system becomes a mount of its own.
    18 Rootfs { /** path on the host */ path: Text, /** the tree the host opened; without it init opens the path */ slot: Option<Slot>, /** propagation of the tree */ propagation: u32 }
    /// `openat2`—the root file system without a mount of its own, where there is no mount namespace.
    19 PlainRootfs { /** path on the host */ path: Text }
    /// `openat2(RESOLVE_IN_ROOT)`, `fsopen`…`fsmount` or a tree, `mount_setattr`, `move_mount`—one entry of `mounts`.
    20 Mount { /** a [`MountRecord`] */ record: Words }
    /// `mount_setattr`—what had to stay writable until now becomes read-only.
    21 ReadonlyMount { /** the mount kept there */ slot: Slot }
    /// `mknodat`, `fchownat`, `fchmod`—a device node in the root file system.
    22 Device { /** path */ path: Text, /** mode with type in the low half, device number in the high one */ mode_and_device: u64, /** uid in the low half, gid in the high one */ owner: u64 }
    /// `mknodat(regular)`, `move_mount`—a node of the host, where nodes cannot be made.
    23 DeviceBind { /** path */ path: Text, /** the tree */ slot: Slot }
    /// `symlinkat`—a link in `/dev`; one that exists is left.
    24 Symlink { /** path of the link */ path: Text, /** what it says */ target: Text }
    /// `unlinkat`, `symlinkat(pts/ptmx)`—`/dev/ptmx` is always the container's own.
    25 Ptmx {}
    /// `mkdirat`—a directory exists.
    26 MakeDirectory { /** path */ path: Text, /** 1: and no link leads to it (CVE-2026-41579) */ ordinary: u32 }
    /// `openat2(own procfs)`, `write`—a sysctl.
    27 Sysctl { /** path below `/proc/sys` */ path: Text, /** the value */ value: Text }
    /// `open_tree`, `mount_setattr(RDONLY, AT_RECURSIVE)`, `move_mount`—a path becomes read-only, with everything below.
    28 ReadonlyPath { /** path */ path: Text, /** the mount in which it is looked for; else the root */ within: Option<Slot> }
    /// `open_tree(/dev/null)` or `fsopen(tmpfs)`, `move_mount`—a path becomes an empty file or directory.
    29 MaskPath { /** path */ path: Text, /** the mount in which it is looked for; else the root */ within: Option<Slot> }
    /// `mount_setattr(RDONLY)`—the root, by the mount's own descriptor (CVE-2026-115521).
    30 ReadonlyRoot {}
    /// `pivot_root`, or `move_mount` and `chroot`, or `chroot`—after this line no host path can be named.
    31 EnterRoot { /** how */ how: Enter, /** slots of the mounts that were kept until now */ kept: Words }
    /// `mount_setattr(/)`—the propagation that the container's root has from now on.
    32 RootPropagation { /** `MS_*` propagation */ kind: u32, /** 1: and everything below */ recursive: u32 }
    /// `prctl(PR_SET_NO_NEW_PRIVS)`
    33 NoNewPrivs {}
    /// `prctl(PR_CAPBSET_DROP)`—the bounding set, while it can still be changed.
    34 Bounding { /** the capabilities that stay */ keep: u64 }
    /// `fchown` of 0, 1, 2—so that `/dev/stdout` can be opened again; `/dev/null` is left alone (CVE-2026-88265).
    35 OwnStdio { /** their new owner */ uid: u32 }
    /// `setgroups`—also when empty, so that none of the caller's groups stay.
    36 Groups { /** the ids */ groups: Words }
    /// `prctl(PR_SET_KEEPCAPS)`, `setresgid`, `setresuid`—the one change of identity.
    37 Ids { /** user */ uid: u32, /** group */ gid: u32 }
    /// `capset`, `prctl(PR_CAP_AMBIENT)`—the container's capabilities.
    38 Capabilities { /** effective */ effective: u64, /** permitted */ permitted: u64, /** inheritable */ inheritable: u64 }
    /// `prctl(PR_CAP_AMBIENT_RAISE)`—after the inheritable set, which bounds it.
    39 Ambient { /** the capabilities */ raise: u64 }
    /// `umask`
    40 Umask { /** the mask */ mask: u32 }
    /// `chdir`—with the rights init still has, for directories that only the runtime can reach.
    41 Enterdir { /** path */ path: Text }
    /// `chdir`, `getcwd`—the working directory is inside the root (CVE-2024-21626).
    42 Cwd { /** path */ path: Text }
    /// `faccessat2`, `statx`—a missing program is an error of `create`.
    43 FindProgram { /** the words of `args` */ args: Words, /** `PATH` */ path: Text }
    /// `rt_sigaction`, `read(exec.fifo)`—stand until `start`, or until a signal that ends programs. The gate is closed first: from here on the host may be gone.
    44 WaitForStart { /** the fifo */ slot: Slot }
    /// `seccomp(SECCOMP_SET_MODE_FILTER)`—only capset, prctl and execve follow; with a listener also its `close`, and the wait for `start`.
    45 Filter { /** its flags */ flags: u32 }
    /// `execve`—the end of init.
    46 Execute { /** `args` */ args: Words, /** `env` */ env: Words }
    /// `mmap`, `open(/etc/passwd)`—what execve needs, while there is no filter. `HOME` is looked up with the program's own rights.
    50 Prepare { /** `args` */ args: Words, /** `env` */ env: Words, /** the uid whose home is looked up, or `u32::MAX` if the environment has one */ home_of: u32 }
    /// `read(/proc/self/uid_map, gid_map)`—the joined user namespace has the maps that the configuration gives (P6).
    51 CheckMaps { /** three numbers a line */ uid: Words, /** the same */ gid: Words }
    /// `keyctl(KEYCTL_JOIN_SESSION_KEYRING)`, `keyctl(KEYCTL_SETPERM)`—a session keyring of its own.
    47 Keyring { /** its name */ name: Text, /** its permissions; 0 leaves them */ permissions: u32 }
    /// `openat2(/dev/pts/ptmx)`, `ioctl(TIOCGPTPEER, TIOCSCTTY)`, `open_tree`, `move_mount`, `sendmsg`, `dup3`—the process gets a terminal (CVE-2025-52565).
    57 Terminal { /** socket that gets the master side */ slot: Slot, /** rows in the low half, columns in the high one; 0 leaves the kernel's */ size: u32, /** bits of [`terminal`] */ flags: u32 }
    /// `clone3`, `execve`, `poll`, `wait4`—a hook that runs in the container's namespaces.
    49 Hook { /** see [`crate::hooks`] */ record: Words }
    /// `clone3(CLONE_NEWUSER)`, `read`, `wait4`—a user namespace for the host to keep: with it the ids of a mount are mapped.
    52 HoldUserNamespace {}
    /// `umount2(MNT_DETACH)`, or `fsopen(tmpfs)`, `move_mount`—a procfs or sysfs of the host, which `--no-pivot` would leave reachable.
    48 Unmount { /** path on the host */ path: Text }
    /// `openat2(own procfs)`, `write`—a label for the next key or the next execve (CVE-2019-16884, rule R4).
    53 Label { /** path below `/proc/self/attr` */ path: Text, /** what is written */ value: Text }
    /// `personality`
    54 Personality { /** `PER_*` */ domain: u32 }
    /// `set_mempolicy`
    55 MemoryPolicy { /** `MPOL_*` with its flags */ mode: u32, /** a bit for each node */ nodes: Words }
    /// `dup3`—descriptors of the caller that the program is to find; all others end with its execve (CVE-2024-21626).
    56 Pass { /** pairs of number and slot */ files: Words }
}

#[cfg(test)]
mod tests;
