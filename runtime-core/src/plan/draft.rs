//! A plan in the making.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Process, Spec};
use runtime_init::{Slot, Step, Text, Words};

use super::namespaces::Namespaces;
use super::seccomp::Filter;
use super::{Act, CgroupPlan, CreateOptions, HostStep, IdMaps, Line, MountMaps, Note, Outline, Plan, SlotUse, Texts};
use crate::at::ConfigPath;
use crate::bundle::Bundle;
use crate::error::Result;
use crate::host::Host;

/// Everything that planning looks at, and what it has decided so far.
pub(super) struct Draft<'a> {
    pub bundle: &'a Bundle,
    pub spec: &'a Spec,
    pub host: &'a Host,
    pub options: &'a CreateOptions,
    pub id: &'a str,
    /// It is one more process for a container that exists.
    pub exec: bool,
    pub namespaces: Namespaces,
    pub cgroup: CgroupPlan,
    pub rootfs: PathBuf,
    pub rootfs_slot: Option<Slot>,
    pub mounts: Vec<super::mounts::Decided>,
    pub devices: super::devices::Opened,
    pub id_maps: IdMaps,
    pub mount_maps: Vec<MountMaps>,
    pub filter: Option<Filter>,
    /// Init has opened a procfs of its own.
    pub has_procfs: bool,
    pub net_devices: Vec<super::NetDevice>,
    pub rdt: Option<super::Rdt>,
    pub hooks: super::Hooks,
    pub texts: Texts,
    words: Vec<u32>,
    slots: Vec<SlotUse>,
    lines: Vec<Line>,
    notes: Vec<Note>,
}

impl<'a> Draft<'a> {
    pub fn new(bundle: &'a Bundle, host: &'a Host, options: &'a CreateOptions, id: &'a str) -> Result<Self> {
        let spec = bundle.spec();
        let namespaces = Namespaces::of(spec)?;
        // Root of a user namespace may mount, but not load device programs: to the cgroups it is rootless.
        let rootless = !(host.privileged && host.initial_user_namespace);
        let cgroup = super::cgroup::plan(spec.linux().as_ref(), bundle.raw(), id, &host.cgroup, rootless)?;
        Ok(Self {
            bundle,
            spec,
            host,
            options,
            id,
            exec: false,
            namespaces,
            cgroup,
            rootfs: super::rootfs::path(bundle)?,
            rootfs_slot: None,
            mounts: Vec::new(),
            devices: Vec::new(),
            id_maps: IdMaps::default(),
            mount_maps: Vec::new(),
            filter: None,
            has_procfs: false,
            net_devices: Vec::new(),
            rdt: None,
            hooks: super::hooks::read(spec)?,
            texts: Texts::default(),
            words: Vec::new(),
            slots: Vec::new(),
            lines: Vec::new(),
            notes: Vec::new(),
        })
    }

    pub fn linux(&self) -> Option<&'a Linux> {
        self.spec.linux().as_ref()
    }

    pub fn process(&self) -> Option<&'a Process> {
        self.spec.process().as_ref()
    }

    /// A line of the host's column that every container has.
    pub fn host(&mut self, step: HostStep) {
        self.lines.push(Line { act: Act::Host(step), origin: None });
    }

    /// A line of the host's column that a field asked for.
    pub fn host_for(&mut self, at: &ConfigPath, step: HostStep) {
        self.lines.push(Line { act: Act::Host(step), origin: Some(at.clone()) });
    }

    /// A line of init's column that every container has.
    pub fn init(&mut self, step: Step) {
        self.lines.push(Line { act: Act::Init(step), origin: None });
    }

    /// A line of init's column that a field asked for.
    pub fn init_for(&mut self, at: &ConfigPath, step: Step) {
        self.lines.push(Line { act: Act::Init(step), origin: Some(at.clone()) });
    }

    pub fn note(&mut self, at: ConfigPath, text: impl Into<String>) {
        self.notes.push(Note { at, text: text.into(), warn: false });
    }

    pub fn warn(&mut self, at: ConfigPath, text: impl Into<String>) {
        self.notes.push(Note { at, text: text.into(), warn: true });
    }

    pub fn slot(&mut self, usage: SlotUse) -> Slot {
        self.slots.push(usage);
        Slot(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
    }

    pub fn words(&mut self, words: &[u32]) -> Words {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let range = Words { start: count(self.words.len()), count: count(words.len()) };
        self.words.extend_from_slice(words);
        range
    }

    pub fn path(&mut self, path: &Path, at: &ConfigPath) -> Result<Text> {
        self.texts.add(path.as_os_str().as_encoded_bytes(), at)
    }

    /// Texts as a range of words.
    pub fn list(&mut self, texts: &[String], at: &ConfigPath) -> Result<Words> {
        let places: Vec<u32> =
            texts.iter().enumerate().map(|(i, t)| Ok(self.texts.add(t, &at.index(i))?.0)).collect::<Result<_>>()?;
        Ok(self.words(&places))
    }

    pub fn finish(self, record: Outline) -> Plan {
        Plan {
            lines: self.lines,
            texts: self.texts,
            words: self.words,
            slots: self.slots,
            cgroup: self.cgroup,
            host: self.host.clone(),
            id_maps: self.id_maps,
            mount_maps: self.mount_maps,
            filter: self.filter,
            net_devices: self.net_devices,
            rdt: self.rdt,
            hooks: self.hooks,
            notes: self.notes,
            record,
        }
    }
}
