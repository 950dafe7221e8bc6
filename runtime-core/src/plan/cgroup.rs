//! `linux.cgroupsPath` and `linux.resources` → where the container's cgroup is and what is written there.
//!
//! Only cgroup v2. Settings of v1 are converted where a conversion is known (the formulas are runc's,
//! so that a container gets the same limits from both), and refused where none is: a limit that is
//! accepted and not applied would be worse than an error (D10).
//!
//! Source of the file names and formats: the kernel's `admin-guide/cgroup-v2.rst`.

#![forbid(unsafe_code)]

mod devices;
mod resources;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use oci_spec::runtime::Linux;
use serde_json::Value;

pub use devices::DevicePolicy;

use crate::at::ConfigPath;
use crate::cgroup::CgroupHost;
use crate::error::{Error, Need, Result};

/// A container's cgroup as decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPlan {
    /// Path below the cgroup2 mount; begins with `/`, has no empty, `.` or `..` component.
    pub path: String,
    /// Who chose the path; `None` for the default below the parent of the caller's own cgroup.
    pub path_at: Option<ConfigPath>,
    /// What is written, in this order.
    pub writes: Vec<CgroupWrite>,
    /// Controllers that the writes need, each with the first field that does.
    pub controllers: BTreeMap<String, ConfigPath>,
    /// What the device program allows.
    pub devices: DevicePolicy,
    /// `linux.resources.memory.checkBeforeUpdate`: limits to compare with the use before anything is written.
    pub memory_check: Option<MemoryCheck>,
    /// Host uid that shall own the cgroup, if it is delegated to the container (LNX-62 to 65).
    pub owner: Option<u32>,
    /// `linux.resources` is there. Without it the limits of an existing cgroup stay as they are (LNX-60).
    pub has_resources: bool,
    /// The caller has no privileges on the host: without a limit it can do without a cgroup.
    pub rootless: bool,
}

/// One `file = value` in the container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupWrite {
    /// Name of the file.
    pub file: String,
    /// What is written to it, in one write(2).
    pub value: String,
    /// What happens if the kernel refuses.
    pub refused: Refused,
    /// The field that asks for it.
    pub at: ConfigPath,
}

/// What happens if a write is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is an error.
    Fail,
    /// A missing file (ENOENT) is no error: what it would limit is not there either.
    SkipIfMissing,
    /// If the file is missing (ENOENT), this is written instead.
    ElseWrite {
        /// The other file.
        file: String,
        /// Its value.
        value: String,
    },
    /// EINVAL is no error yet: it is written again after the next write, which may make it acceptable.
    AgainAfterNext,
}

/// What `checkBeforeUpdate` compares with `memory.current`, in bytes; only positive limits are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCheck {
    /// `memory.limit`.
    pub limit: Option<u64>,
    /// `memory.swap`: memory and swap together.
    pub swap: Option<u64>,
    /// The field that asks for the check.
    pub at: ConfigPath,
}

impl fmt::Display for CgroupWrite {
    /// `memory.max=268435456`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.file, self.value)?;
        match &self.refused {
            Refused::Fail | Refused::AgainAfterNext => Ok(()),
            Refused::SkipIfMissing => write!(f, ", if there is such a file"),
            Refused::ElseWrite { file, value } => write!(f, ", else {file}={value}"),
        }
    }
}

impl CgroupWrite {
    /// The controller whose file it is; `None` for the files that every cgroup has: `cgroup.*`, and
    /// `*.pressure`, which the core provides whatever controllers there are.
    #[must_use]
    pub fn controller(&self) -> Option<&str> {
        let controller = self.file.split_once('.')?.0;
        (controller != "cgroup" && !self.file.ends_with(".pressure")).then_some(controller)
    }
}

/// Decides the cgroup of the container `id`.
///
/// `raw` is the whole of `config.json`, for what the typed form cannot tell: whether a number is absent
/// or 0 (X2, X16).
///
/// # Errors
/// [`Error::Config`] for a field that is wrong or has no equivalent on cgroup v2; [`Error::Host`] for a
/// limit whose controller this host does not have in cgroup v2.
pub fn plan(linux: Option<&Linux>, raw: &Value, id: &str, host: &CgroupHost, rootless: bool) -> Result<CgroupPlan> {
    let document = Node { at: ConfigPath::default(), json: raw };
    let node = document.field("linux");
    let asked = linux.and_then(|linux| linux.cgroups_path().as_deref()).filter(|path| !path.as_os_str().is_empty());
    let path_at = node.at("cgroupsPath");
    let path = path(asked, &path_at, id, host)?;

    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let node = node.field("resources");
    let writes = resources.map_or(Ok(Vec::new()), |resources| resources::writes(resources, &node))?;
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    Ok(CgroupPlan {
        path,
        path_at: asked.map(|_| path_at),
        controllers: controllers(&writes, host)?,
        writes,
        devices: devices::plan(rules, &node.field("devices"))?,
        memory_check: resources.and_then(|resources| resources::memory_check(resources, &node)),
        owner: owner(&document),
        has_resources: resources.is_some(),
        rootless,
    })
}

/// The path of the container's cgroup (LNX-54 to 58).
///
/// A relative path, and the default, are below the *parent* of the caller's own cgroup, as in runc: the
/// own one has processes in it, so that no controller can be enabled below it.
fn path(asked: Option<&Path>, at: &ConfigPath, id: &str, host: &CgroupHost) -> Result<String> {
    let asked = match asked.map(Path::to_str) {
        None => return below_own_parent(id, at, host),
        Some(text) => text.ok_or_else(|| Error::invalid(at.clone(), asked, "UTF-8"))?,
    };
    let absolute = asked.starts_with('/');
    if !absolute && asked.split(':').count() == 3 {
        let expected = "a path; SLICE:PREFIX:NAME is for the systemd cgroup driver, which is not in use";
        return Err(Error::invalid(at.clone(), asked, expected));
    }
    if asked.contains(['\0', '\n']) {
        return Err(Error::invalid(at.clone(), asked, "a path without NUL and newline, which no cgroup name can have"));
    }
    let components: Vec<&str> = asked.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
    if components.contains(&"..") {
        return Err(Error::invalid(at.clone(), asked, "a path without \"..\""));
    }
    if components.is_empty() {
        return Err(Error::invalid(at.clone(), asked, "a path below the root cgroup"));
    }
    let path = components.join("/");
    if absolute { Ok(format!("/{path}")) } else { below_own_parent(&path, at, host) }
}

fn below_own_parent(path: &str, at: &ConfigPath, host: &CgroupHost) -> Result<String> {
    if host.own.split('/').any(|component| component == "..") {
        let reason = "the caller's own cgroup is outside its cgroup namespace, so that there is no place for a relative or a \
                      default path; give an absolute one";
        return Err(Error::refused(at.clone(), reason));
    }
    let parent = host.own.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
    Ok(format!("{parent}/{path}"))
}

/// The controllers that `writes` need, if the host has them all: found out before anything is made.
fn controllers(writes: &[CgroupWrite], host: &CgroupHost) -> Result<BTreeMap<String, ConfigPath>> {
    let mut needed = BTreeMap::new();
    for write in writes {
        let Some(controller) = write.controller() else { continue };
        if let Some(why) = host.lacks(controller) {
            let (at, controller) = (write.at.clone(), controller.to_owned());
            return Err(Error::Host { what: Need::Controller { at, controller, why } });
        }
        needed.entry(controller.to_owned()).or_insert_with(|| write.at.clone());
    }
    Ok(needed)
}

/// The host uid of `process.user.uid`, if the container gets a cgroup namespace of its own with a
/// writable cgroup mount (LNX-64, 65). `None` where the mapping is not in the configuration: a joined
/// user namespace, or a uid without mapping, which is an error elsewhere.
fn owner(document: &Node<'_>) -> Option<u32> {
    let linux = document.field("linux");
    let namespace = |kind: &str| linux.field("namespaces").items().find(|entry| entry.text("type") == Some(kind));
    let is_new = |entry: &Node<'_>| entry.text("path").unwrap_or_default().is_empty();
    if !namespace("cgroup").is_some_and(|entry| is_new(&entry)) || !mounts_cgroup_writable(document) {
        return None;
    }
    let uid = document.field("process").field("user").field("uid").json.as_u64().unwrap_or(0);
    let mapped = match namespace("user") {
        None => Some(uid),
        Some(entry) if is_new(&entry) => linux.field("uidMappings").items().find_map(|map| {
            let number = |name| map.field(name).json.as_u64();
            let offset = uid.checked_sub(number("containerID")?)?;
            (offset < number("size")?).then_some(number("hostID")?.checked_add(offset)?)
        }),
        Some(_) => None,
    };
    mapped.and_then(|uid| u32::try_from(uid).ok())
}

fn mounts_cgroup_writable(document: &Node<'_>) -> bool {
    let mounts = document.field("mounts");
    let cgroup = mounts.items().filter(|mount| {
        let destination = mount.text("destination").unwrap_or_default();
        mount.text("source") == Some("cgroup") && Path::new(destination) == Path::new("/sys/fs/cgroup")
    });
    cgroup.last().is_some_and(|mount| {
        let options = mount.field("options");
        let access =
            options.items().filter_map(|option| option.json.as_str()).filter(|option| matches!(*option, "ro" | "rw"));
        access.last() != Some("ro")
    })
}

/// A value of `config.json` as it was written, and where.
struct Node<'a> {
    at: ConfigPath,
    json: &'a Value,
}

impl<'a> Node<'a> {
    /// A member; `null` stands for one that is absent, as it does for the typed form.
    fn field(&self, name: &str) -> Self {
        Self { at: self.at.field(name), json: &self.json[name] }
    }

    fn index(&self, index: usize) -> Self {
        Self { at: self.at.index(index), json: &self.json[index] }
    }

    fn items(&self) -> impl Iterator<Item = Node<'a>> {
        let len = self.json.as_array().map_or(0, Vec::len);
        let items: Vec<_> = (0..len).map(|index| self.index(index)).collect();
        items.into_iter()
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.json[name].as_str()
    }

    fn at(&self, name: &str) -> ConfigPath {
        self.at.field(name)
    }

    fn has(&self, name: &str) -> bool {
        !self.json[name].is_null()
    }

    fn require(&self, name: &str, expected: &'static str) -> Result<()> {
        if self.has(name) { Ok(()) } else { Err(Error::missing(self.at(name), expected)) }
    }
}

#[cfg(test)]
mod tests;
