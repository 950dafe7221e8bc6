//! Namespaces: which are joined, which are made, and in how many births.
//!
//! | case | usher | birth | init, first |
//! |---|---|---|---|
//! | A: no new user namespace | joins, time offsets | into the cgroup, new namespaces | next line |
//! | B: new user namespace | the same | the same and the user namespace | `Mapped`, root |
//! | C: joined user namespace | other joins, user last (unprivileged: first) | into the cgroup, new namespaces | root |
//! | E: B by an unprivileged caller, with a new time namespace | – | user namespace only | `Mapped`, root, offsets, second birth |

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use runtime_init::{Gate, Ns, Slot, Step};

use super::draft::Draft;
use super::{HostStep, IdRange, SlotUse};
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// Number of lines that the kernel takes in an id map (user_namespaces(7)).
const MAX_RANGES: usize = 340;

/// A namespace of the container's own, or somebody's that it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    New,
    Join(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    source: Source,
    at: ConfigPath,
    slot: Option<Slot>,
}

/// `linux.namespaces`. What is not in it is the caller's.
#[derive(Clone, Debug, Default)]
pub(super) struct Namespaces(BTreeMap<Ns, Entry>);

impl Namespaces {
    /// Reads the list; each kind at most once, each path absolute.
    pub fn of(spec: &Spec) -> Result<Self> {
        let mut entries = BTreeMap::new();
        let list = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
        for (index, namespace) in list.into_iter().flatten().enumerate() {
            let at = ConfigPath::new("linux.namespaces").index(index);
            let ns = kind(namespace.typ());
            let source = match namespace.path().as_ref().filter(|p| !p.as_os_str().is_empty()) {
                None => Source::New,
                Some(path) if path.is_absolute() => Source::Join(path.clone()),
                Some(path) => return Err(Error::invalid(at.field("path"), path, "an absolute path")),
            };
            let entry = Entry { source, at: at.clone(), slot: None };
            if entries.insert(ns, entry).is_some() {
                return Err(Error::invalid(at.field("type"), word(ns), "each namespace once"));
            }
        }
        Ok(Self(entries))
    }

    pub fn is_new(&self, ns: Ns) -> bool {
        self.0.get(&ns).is_some_and(|e| e.source == Source::New)
    }

    pub fn is_joined(&self, ns: Ns) -> bool {
        self.0.get(&ns).is_some_and(|e| e.source != Source::New)
    }

    /// The container has it apart from the caller, new or joined.
    pub fn has(&self, ns: Ns) -> bool {
        self.0.contains_key(&ns)
    }

    /// The entry that asked for it, or the list.
    pub fn at(&self, ns: Ns) -> ConfigPath {
        self.0.get(&ns).map_or_else(|| ConfigPath::new("linux.namespaces"), |e| e.at.clone())
    }

    fn slot(&self, ns: Ns) -> Option<Slot> {
        self.0.get(&ns).and_then(|e| e.slot)
    }

    /// The flags of the new ones among `kinds`.
    fn new_flags(&self, kinds: &[Ns]) -> u32 {
        kinds.iter().filter(|ns| self.is_new(**ns)).fold(0, |flags, ns| flags | ns.flag())
    }
}

fn kind(kind: LinuxNamespaceType) -> Ns {
    match kind {
        LinuxNamespaceType::Mount => Ns::Mount,
        LinuxNamespaceType::Cgroup => Ns::Cgroup,
        LinuxNamespaceType::Uts => Ns::Uts,
        LinuxNamespaceType::Ipc => Ns::Ipc,
        LinuxNamespaceType::User => Ns::User,
        LinuxNamespaceType::Pid => Ns::Pid,
        LinuxNamespaceType::Network => Ns::Net,
        LinuxNamespaceType::Time => Ns::Time,
    }
}

/// Opens the namespaces that are joined.
pub(super) fn open(p: &mut Draft<'_>) -> Result<()> {
    check(p)?;
    for ns in Ns::ALL {
        let Some(Entry { source: Source::Join(path), at, .. }) = p.namespaces.0.get(&ns).cloned() else { continue };
        let slot = p.slot(SlotUse::Namespace { path, ns });
        p.host_for(&at.field("path"), HostStep::Open(slot));
        if let Some(entry) = p.namespaces.0.get_mut(&ns) {
            entry.slot = Some(slot);
        }
    }
    Ok(())
}

fn check(p: &Draft<'_>) -> Result<()> {
    let has_maps =
        p.linux().is_some_and(|l| !is_empty(l.uid_mappings().as_deref()) || !is_empty(l.gid_mappings().as_deref()));
    if has_maps && !p.namespaces.has(Ns::User) {
        return Err(Error::refused(
            ConfigPath::new("linux.uidMappings"),
            "id mappings need a user namespace: add {\"type\": \"user\"} to linux.namespaces",
        ));
    }
    let offsets = p.linux().and_then(|l| l.time_offsets().as_ref()).is_some_and(|o| !o.is_empty());
    if offsets && !p.namespaces.is_new(Ns::Time) {
        return Err(Error::refused(
            ConfigPath::new("linux.timeOffsets"),
            "time offsets need a new time namespace: add {\"type\": \"time\"} to linux.namespaces",
        ));
    }
    if !p.host.privileged && !p.namespaces.has(Ns::User) {
        return Err(Error::refused(
            ConfigPath::new("linux.namespaces"),
            "without CAP_SYS_ADMIN a container needs a user namespace: add {\"type\": \"user\"} and id mappings, as `spec --rootless` does",
        ));
    }
    Ok(())
}

fn is_empty(maps: Option<&[LinuxIdMapping]>) -> bool {
    maps.is_none_or(<[_]>::is_empty)
}

/// The usher's joins.
pub(super) fn join(p: &mut Draft<'_>) -> Result<()> {
    // The mount namespace comes late: joining it changes what paths mean. The cgroup namespace is joined after
    // birth: from inside it, the kernel would not find the container's cgroup (nsdelegate).
    let mut order = vec![Ns::Pid, Ns::Net, Ns::Ipc, Ns::Uts, Ns::Time, Ns::Mount];
    if p.host.privileged {
        order.push(Ns::User);
    } else {
        order.insert(0, Ns::User);
    }
    if Ns::ALL.into_iter().any(|ns| p.namespaces.is_joined(ns)) {
        // Only now: a process that is not dumpable cannot have its id maps written by an unprivileged host.
        p.init(Step::NotDumpable {});
    }
    order.into_iter().for_each(|ns| join_one(p, ns));
    check_maps(p)
}

/// P6: mappings beside a path have to be those that the namespace has.
fn check_maps(p: &mut Draft<'_>) -> Result<()> {
    let Some(linux) = p.linux().filter(|_| p.namespaces.is_joined(Ns::User)) else { return Ok(()) };
    if is_empty(linux.uid_mappings().as_deref()) && is_empty(linux.gid_mappings().as_deref()) {
        return Ok(());
    }
    let at = ConfigPath::new("linux.uidMappings");
    if p.namespaces.is_joined(Ns::Mount) {
        let reason = "cannot be compared with those of the joined user namespace, because the mount namespace is joined too: remove them";
        return Err(Error::refused(at, reason));
    }
    let numbers = |ranges: Vec<IdRange>| ranges.iter().flat_map(|r| [r.inside, r.outside, r.size]).collect::<Vec<_>>();
    let uid = numbers(ranges(linux.uid_mappings().as_deref(), &at)?);
    let gid = numbers(ranges(linux.gid_mappings().as_deref(), &ConfigPath::new("linux.gidMappings"))?);
    let (uid, gid) = (p.words(&uid), p.words(&gid));
    p.init_for(&at, Step::CheckMaps { uid, gid });
    p.warn(at, "given beside the path of a user namespace, which has its own: they are only compared");
    Ok(())
}

fn join_one(p: &mut Draft<'_>, ns: Ns) {
    if let Some(slot) = p.namespaces.slot(ns) {
        let at = p.namespaces.at(ns).field("path");
        p.init_for(&at, Step::Join { ns, slot });
    }
}

/// What `config.json` calls a kind of namespace.
pub(super) const fn word(ns: Ns) -> &'static str {
    match ns {
        Ns::Mount => "mount",
        Ns::Net => "network",
        _ => ns.name(),
    }
}

/// Kinds that one `clone3` makes. The time namespace is not among them: it has offsets to be set first.
const BORN: [Ns; 7] = [Ns::Mount, Ns::Cgroup, Ns::Uts, Ns::Ipc, Ns::User, Ns::Pid, Ns::Net];

/// The births, with what has to stand between them.
pub(super) fn births(p: &mut Draft<'_>) -> Result<()> {
    let new_user = p.namespaces.is_new(Ns::User);
    let cgroup = p.slot(SlotUse::Cgroup);
    // An unprivileged caller may not unshare its time namespace: it has to be root of a user namespace first (case E).
    let two = new_user && p.namespaces.is_new(Ns::Time) && !p.host.privileged;
    if two {
        birth(p, Ns::User.flag(), None);
        mapped(p)?;
    }
    if p.namespaces.is_new(Ns::Time) {
        let at = p.namespaces.at(Ns::Time);
        let offsets = time_offsets(p)?;
        p.init_for(&at, Step::TimeOffsets { offsets });
    }
    let flags = p.namespaces.new_flags(&BORN) & if two { !Ns::User.flag() } else { u32::MAX };
    birth(p, flags, Some(cgroup));
    if new_user && !two {
        mapped(p)?;
    }
    if p.namespaces.is_joined(Ns::User) {
        let at = p.namespaces.at(Ns::User);
        p.init_for(&at, Step::BecomeRoot {});
    }
    join_one(p, Ns::Cgroup);
    Ok(())
}

fn birth(p: &mut Draft<'_>, namespaces: u32, cgroup: Option<Slot>) {
    p.init(Step::Birth { namespaces, cgroup });
    p.host(HostStep::Born);
}

fn mapped(p: &mut Draft<'_>) -> Result<()> {
    id_maps(p)?;
    let at = ConfigPath::new("linux.uidMappings");
    p.host_for(&at, HostStep::MapIds);
    p.host(HostStep::Release(Gate::Mapped));
    p.init_for(&at, Step::Await { gate: Gate::Mapped });
    p.init(Step::BecomeRoot {});
    Ok(())
}

/// Whether groups can be set in the container's user namespace, for a process that joins it.
pub(super) fn setgroups_rule(p: &mut Draft<'_>) -> Result<()> {
    if p.namespaces.is_new(Ns::User) { id_maps(p) } else { Ok(()) }
}

fn id_maps(p: &mut Draft<'_>) -> Result<()> {
    let linux = p.linux();
    let of = |maps: Option<&[LinuxIdMapping]>, field: &str| ranges(maps, &ConfigPath::new(field));
    let uid = of(linux.and_then(|l| l.uid_mappings().as_deref()), "linux.uidMappings")?;
    let gid = of(linux.and_then(|l| l.gid_mappings().as_deref()), "linux.gidMappings")?;
    let one = |ranges: &[IdRange], own: u32| matches!(ranges, [r] if r.size == 1 && r.outside == own);
    let own = one(&uid, p.host.uid) && one(&gid, p.host.gid);
    p.id_maps.by_helpers = !p.host.privileged && !own;
    p.id_maps.deny_setgroups = !p.host.privileged && own;
    p.id_maps.uid = uid;
    p.id_maps.gid = gid;
    Ok(())
}

/// The ranges of a list at `at`, as the kernel takes them.
pub(super) fn ranges(maps: Option<&[LinuxIdMapping]>, at: &ConfigPath) -> Result<Vec<IdRange>> {
    let range = |map: &LinuxIdMapping| IdRange { inside: map.container_id(), outside: map.host_id(), size: map.size() };
    let ranges: Vec<_> = maps.unwrap_or_default().iter().map(range).collect();
    valid(&ranges, at)?;
    Ok(ranges)
}

/// Whether the kernel takes these ranges.
pub(super) fn valid(ranges: &[IdRange], at: &ConfigPath) -> Result<()> {
    if ranges.is_empty() {
        return Err(Error::missing(at.clone(), "the ids of the user namespace, at least one range"));
    }
    if ranges.len() > MAX_RANGES {
        return Err(Error::invalid(
            at.clone(),
            format_args!("{} ranges", ranges.len()),
            "at most 340, the kernel's limit",
        ));
    }
    for (index, range) in ranges.iter().enumerate() {
        let fits = |start: u32| start.checked_add(range.size.saturating_sub(1)).is_some();
        if range.size == 0 || !fits(range.inside) || !fits(range.outside) {
            return Err(Error::invalid(at.index(index), range, "a range of at least one id, below 4294967296"));
        }
    }
    disjoint(ranges, at)
}

/// The kernel refuses overlapping ranges with a bare EINVAL; this says which.
fn disjoint(ranges: &[IdRange], at: &ConfigPath) -> Result<()> {
    for (index, range) in ranges.iter().enumerate() {
        let overlaps = |a: u32, b: u32, size: u32| a < b.saturating_add(size) && b < a.saturating_add(range.size);
        let clash = ranges[..index].iter().position(|other| {
            overlaps(range.inside, other.inside, other.size) || overlaps(range.outside, other.outside, other.size)
        });
        if let Some(other) = clash {
            let IdRange { inside, outside, size } = range;
            let value = format_args!("containerID {inside}, hostID {outside}, size {size}");
            return Err(Error::invalid(at.index(index), value, format!("no overlap with {}", at.index(other))));
        }
    }
    Ok(())
}

/// The lines of `/proc/self/timens_offsets`.
fn time_offsets(p: &mut Draft<'_>) -> Result<runtime_init::Text> {
    let at = ConfigPath::new("linux.timeOffsets");
    let offsets = p.linux().and_then(|l| l.time_offsets().as_ref());
    let mut sorted: Vec<_> = offsets.into_iter().flatten().collect();
    sorted.sort_by_key(|(clock, _)| *clock);
    let mut text = String::new();
    for (clock, offset) in sorted {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::invalid(at.key(clock), clock, "\"monotonic\" or \"boottime\""));
        }
        let (secs, nanosecs) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        text.push_str(&format!("{clock} {secs} {nanosecs}\n"));
    }
    p.texts.add(text, &at)
}

/// Host and domain name, loopback.
pub(super) fn set_up(p: &mut Draft<'_>) -> Result<()> {
    let hostname = p.spec.hostname().as_ref().filter(|n| !n.is_empty());
    if let Some(name) = hostname {
        let at = named(p, "hostname", name)?;
        let name = p.texts.add(name, &at)?;
        p.init_for(&at, Step::Hostname { name });
    }
    let domainname = p.spec.domainname().as_ref().filter(|n| !n.is_empty());
    if let Some(name) = domainname {
        let at = named(p, "domainname", name)?;
        let name = p.texts.add(name, &at)?;
        p.init_for(&at, Step::Domainname { name });
    }
    if p.namespaces.is_new(Ns::Net) {
        let at = p.namespaces.at(Ns::Net);
        p.init_for(&at, Step::Loopback {});
    }
    Ok(())
}

/// D12: without a uts namespace the host would be renamed.
fn named(p: &Draft<'_>, field: &str, name: &str) -> Result<ConfigPath> {
    const LONGEST: usize = 64;
    let at = ConfigPath::new(field);
    if !p.namespaces.has(Ns::Uts) {
        return Err(Error::refused(
            at,
            format!(
                "unable to set {field} without a private UTS namespace: add {{\"type\": \"uts\"}} to linux.namespaces"
            ),
        ));
    }
    if name.len() > LONGEST {
        return Err(Error::invalid(at, name, "at most 64 bytes, the kernel's limit"));
    }
    Ok(at)
}
