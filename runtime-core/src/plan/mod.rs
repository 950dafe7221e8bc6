//! The decided life of one process, as data.
//!
//! Everything here is pure: a configuration and the facts of a [`Host`] go in, a [`Plan`] comes out. A plan can be
//! printed, compared and thrown away; nothing has happened yet. [`create`] is the order of a container's creation, and the
//! first file to read.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods)]

pub(crate) mod cgroup;
mod create;
mod describe;
mod devices;
mod draft;
mod exec;
pub(crate) mod hooks;
mod idmap;
#[cfg(test)]
mod laws;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod object;
mod process;
mod rdt;
mod rootfs;
mod seccomp;
mod show;
mod sysctl;
mod terminal;
mod texts;

use std::collections::BTreeMap;
use std::path::PathBuf;

use runtime_init::sys::process::SchedAttr;
use runtime_init::{Gate, Slot, Step, Words};

use crate::at::ConfigPath;
use crate::bundle::Bundle;
use crate::error::{Result, Side, StepRef};
use crate::host::Host;
use crate::id::ContainerId;
use seccomp::Filter;

pub(crate) use cgroup::CgroupPlan;
pub(crate) use hooks::{Hook, Hooks};
pub(crate) use mount_options::known as known_mount_options;
pub(crate) use net_devices::{ANY, NetDevice};
pub(crate) use process::scheduling::known_memory_policies;
pub(crate) use rdt::{Class, Rdt};
pub(crate) use seccomp::Listener;
#[cfg(test)]
pub(crate) use seccomp::profile_of;
pub(crate) use texts::Texts;

/// What the caller wants beyond the configuration.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CreateOptions {
    /// The container's id.
    pub id: String,
    /// Enter the root by moving the mount instead of `pivot_root`, for roots on an initial ramdisk.
    pub no_pivot: bool,
    /// Keep the caller's session keyring instead of making one.
    pub no_new_keyring: bool,
    /// Descriptors above 2 that the program finds open under these numbers; they come with [`crate::Stdio::pass`].
    pub pass_fds: Vec<u32>,
    /// Variables, `NAME=value`, that the program finds beside those of `process.env`.
    pub environment: Vec<String>,
    /// The lines that the terminal of `process.terminal` gives end as in a file, since they do not go to a terminal.
    pub plain_lines: bool,
    /// Give the program `/run/notify`, the directory `notify` of the container's record, and in `NOTIFY_SOCKET` the
    /// socket that somebody may bind there (sd_notify(3)).
    pub notify: bool,
}

impl CreateOptions {
    /// The usual options for a container called `id`.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }
}

/// Something worth knowing about a plan that is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// The field that it is about.
    pub at: ConfigPath,
    /// What.
    pub text: String,
    /// A caller with a log should warn of it.
    pub warn: bool,
}

/// What the host opens before it starts init, and init knows by a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotUse {
    /// The container's cgroup.
    Cgroup,
    /// A namespace file.
    Namespace { path: PathBuf, ns: runtime_init::Ns },
    /// The root file system with everything below, detached.
    Rootfs { path: PathBuf },
    /// A source, detached.
    Source { path: PathBuf, recursive: bool, as_it_is: bool },
    /// A place for something that init opens itself.
    Reserved,
    /// A place for a source that init opens in its own copy of the mounts.
    Inside { path: PathBuf, as_it_is: bool },
    /// The fifo on which init waits for `start`.
    Start,
    /// A descriptor of the caller that the program finds under this number.
    Passed { number: u32 },
    /// The directory of the notify socket, detached.
    Notify,
    /// The socket that gets the master side of the process's terminal.
    Terminal,
}

/// One line of the host's column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostStep {
    /// Write down what may have to be undone.
    Record,
    /// Make the cgroup and write its limits.
    Cgroup,
    /// One of these writes; carried out with the line above it.
    CgroupWrite(usize),
    /// Attach the device rules to it, as a program.
    CgroupDevices,
    /// Open what a slot stands for.
    Open(Slot),
    /// Lay out the Frame and start init.
    Spawn,
    /// Take the new process's pidfd and reap the usher.
    Born,
    /// Run the hooks of a phase that see the host.
    Hooks(hooks::Phase),
    /// Write the id maps of the new user namespace.
    MapIds,
    /// Keep a user namespace with the maps of a mount.
    HoldUserNamespace(usize),
    /// Look up a source in init's copy of the mounts, with the caller's rights, and hand it to init.
    Give(Slot),
    /// Map the ids of the mount that init shows: by one of the user namespaces above, or by the container's.
    MapTree { maps: Option<usize>, recursive: bool },
    /// Move network devices of the host, while init shows its network namespace.
    NetDevices,
    /// Compile the system call filter, or take the one that was kept, and leave it for init.
    Filter,
    /// Connect to the agent that decides about certain calls, while init stands before its filter.
    Agent,
    /// Take the filter's listener from init and send it to the agent.
    Listener,
    /// One limit of the process.
    Limit { resource: u32, name: &'static str, soft: u64, hard: u64 },
    /// The scheduler of the process.
    Scheduler { attr: SchedAttr, name: &'static str },
    /// Its I/O priority: the value, and class and level for people.
    IoPriority { value: u32, name: &'static str, level: u32 },
    /// Put the process into a group of resctrl.
    Rdt,
    /// Let init pass a gate.
    Release(Gate),
    /// Wait until init waits for `start`.
    Created,
    /// Wait until init has executed the program.
    Executed,
}

/// A line of either column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Host(HostStep),
    Init(Step),
}

/// A line and the field that asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub act: Act,
    pub origin: Option<ConfigPath>,
}

/// Id ranges of a new user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub uid: Vec<IdRange>,
    pub gid: Vec<IdRange>,
    /// The caller may not write these maps itself: newuidmap and newgidmap do.
    pub by_helpers: bool,
    /// `setgroups` has to be given up before the gid map can be written.
    pub deny_setgroups: bool,
}

/// Id maps of a mount, and the mount that first asked for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountMaps {
    pub maps: IdMaps,
    pub at: ConfigPath,
}

/// One line of an id map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub size: u32,
}

/// The decided life of a container's first process: what the host does, what init does, and where they meet.
///
/// Printed, it is two columns; every line names the field of `config.json` that asked for it, or nothing where
/// every container gets it.
#[derive(Debug)]
pub struct Plan {
    pub(crate) lines: Vec<Line>,
    pub(crate) texts: Texts,
    pub(crate) words: Vec<u32>,
    pub(crate) slots: Vec<SlotUse>,
    pub(crate) cgroup: CgroupPlan,
    pub(crate) host: Host,
    pub(crate) id_maps: IdMaps,
    pub(crate) mount_maps: Vec<MountMaps>,
    pub(crate) filter: Option<Filter>,
    pub(crate) net_devices: Vec<NetDevice>,
    pub(crate) rdt: Option<Rdt>,
    pub(crate) hooks: Hooks,
    notes: Vec<Note>,
    record: Outline,
}

#[derive(Clone, Debug)]
struct Outline {
    id: ContainerId,
    oci_version: String,
    bundle: PathBuf,
    rootfs: PathBuf,
    annotations: BTreeMap<String, String>,
    own_pid_namespace: bool,
    has_process: bool,
    no_new_keyring: bool,
    config: Vec<u8>,
}

/// What a container's record takes from its plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanRecord<'a> {
    /// `ociVersion`.
    pub oci_version: &'a str,
    /// Absolute path of the bundle.
    pub bundle: &'a std::path::Path,
    /// Absolute path of the root file system.
    pub rootfs: &'a std::path::Path,
    /// `annotations`.
    pub annotations: &'a BTreeMap<String, String>,
    /// Path of the cgroup below the cgroup2 mount.
    pub cgroup_path: Option<&'a str>,
    /// The container has a pid namespace of its own, whose end kills all of it.
    pub own_pid_namespace: bool,
    /// There is a program to start.
    pub has_process: bool,
    /// Further processes keep their callers' session keyrings as well.
    pub no_new_keyring: bool,
    /// Hooks of later commands.
    pub hooks: &'a Hooks,
    /// The text of `config.json`.
    pub config_json: &'a [u8],
}

impl Plan {
    /// Decides how the container is created. Nothing is touched.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for a field that is wrong, [`crate::Error::Host`] for one that this machine cannot serve.
    pub fn create(bundle: &Bundle, host: &Host, options: &CreateOptions) -> Result<Self> {
        Self::decide(bundle, host, options, create::order)
    }

    /// Decides how one more process comes into the container whose first process is `target`. `bundle` is the saved
    /// configuration with the new process in the place of `process`.
    pub(crate) fn exec(bundle: &Bundle, host: &Host, options: &CreateOptions, target: i32) -> Result<Self> {
        Self::decide(bundle, host, options, |draft| {
            draft.exec = true;
            exec::order(draft, target)
        })
    }

    fn decide(
        bundle: &Bundle,
        host: &Host,
        options: &CreateOptions,
        order: impl FnOnce(&mut draft::Draft<'_>) -> Result<()>,
    ) -> Result<Self> {
        let id = ContainerId::new(&options.id)?;
        let mut draft = draft::Draft::new(bundle, host, options, id.as_str())?;
        order(&mut draft)?;
        let spec = bundle.spec();
        let annotations = spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let record = Outline {
            id: id.clone(),
            oci_version: spec.version().clone(),
            bundle: bundle.dir().to_owned(),
            rootfs: draft.rootfs.clone(),
            annotations,
            own_pid_namespace: draft.namespaces.is_new(runtime_init::Ns::Pid),
            has_process: spec.process().is_some(),
            no_new_keyring: options.no_new_keyring,
            config: bundle.text().to_vec(),
        };
        Ok(draft.finish(record))
    }

    /// The flags with which init installs the system call filter, as seccomp(2) has them; `None` without a filter.
    #[must_use]
    pub fn filter_flags(&self) -> Option<u32> {
        self.lines.iter().find_map(|line| match line.act {
            Act::Init(Step::Filter { flags }) => Some(flags),
            _ => None,
        })
    }

    /// Things worth knowing about the plan.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// What a container's record takes from the plan.
    #[must_use]
    pub(crate) fn record(&self) -> PlanRecord<'_> {
        let r = &self.record;
        PlanRecord {
            oci_version: &r.oci_version,
            bundle: &r.bundle,
            rootfs: &r.rootfs,
            annotations: &r.annotations,
            cgroup_path: Some(&self.cgroup.path),
            own_pid_namespace: r.own_pid_namespace,
            has_process: r.has_process,
            no_new_keyring: r.no_new_keyring,
            hooks: &self.hooks,
            config_json: &r.config,
        }
    }

    /// The container that it is for.
    pub(crate) const fn id(&self) -> &ContainerId {
        &self.record.id
    }

    /// Whether the process gets a terminal, which has to be asked for with `Stdio::terminal` then.
    #[must_use]
    pub fn has_terminal(&self) -> bool {
        self.slots.contains(&SlotUse::Terminal)
    }

    /// Init's column.
    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        self.lines.iter().filter_map(|line| match line.act {
            Act::Init(step) => Some(step),
            Act::Host(_) => None,
        })
    }

    /// The line `number` (from 1) of one column, for an error.
    pub(crate) fn line(&self, side: Side, number: u32) -> StepRef {
        let of_side = |line: &&Line| matches!(line.act, Act::Init(_)) == (side == Side::Init);
        let line = number.checked_sub(1).and_then(|n| self.lines.iter().filter(of_side).nth(n as usize));
        StepRef {
            step: u16::try_from(number).unwrap_or(u16::MAX),
            doing: line.map_or_else(|| "start".to_owned(), |line| self.describe(&line.act)),
            origin: line.and_then(|line| line.origin.clone()),
        }
    }

    /// The numbers of the slots, which the host fills in when everything is open.
    pub(crate) fn slot_words(&self) -> Words {
        let count = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        Words { start: u32::try_from(self.words.len()).unwrap_or(u32::MAX), count }
    }
}
