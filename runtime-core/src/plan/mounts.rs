//! `mounts`, `linux.maskedPaths`, `linux.readonlyPaths`: from words to records.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;
use runtime_init::step::{MountRecord, SOURCE_AS_IT_IS, SOURCE_GIVEN, SOURCE_WITH_SUBMOUNTS};
use runtime_init::sys::mount::attr;
use runtime_init::{Gate, Ns, Slot, Step, Text};

use super::draft::Draft;
use super::idmap::{self, Mapped};
use super::mount_options::Options;
use super::rootfs::{host_opens, reserved, tree_propagation};
use super::{HostStep, SlotUse};
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// Files below `/proc` that may be covered: those that lxcfs offers, and two that tools need (runc's list).
const COVERED_IN_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What may not be a link in the image: whatever is mounted, made, masked or made read-only there is meant for these places.
const ORDINARY: [&str; 3] = ["/dev", "/proc", "/sys"];
/// File systems whose labels are not those of a mount: the kernel's own, and one that has a single instance.
const UNLABELLED: [&str; 4] = ["proc", "sysfs", "cgroup2", "mqueue"];

/// What a mount is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    Filesystem {
        kind: String,
        source: Option<String>,
    },
    Tree {
        path: PathBuf,
        recursive: bool,
        slot: Option<Slot>,
        as_it_is: bool,
    },
    /// A source in the root file system itself: looked for when its turn comes, because an earlier mount may have made
    /// it, and by the container's own rules (`openat2` within the root).
    Inside {
        path: String,
        recursive: bool,
    },
    Target,
}

/// One entry of `mounts`, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    at: ConfigPath,
    target: String,
    from: From,
    options: Options,
    mapped: Option<Mapped>,
    /// Slot in which the mount is kept, to be made read-only later.
    late: Option<Slot>,
    /// Slot in which a procfs or sysfs stays open, for paths below it that are covered.
    held: Option<Slot>,
}

/// Decides every mount, and opens the sources on the host side where the host does that.
pub(super) fn open(p: &mut Draft<'_>) -> Result<()> {
    let mounts = p.spec.mounts().as_deref().unwrap_or_default();
    for (index, mount) in mounts.iter().enumerate() {
        let mut decided = decide(p, mount, ConfigPath::new("mounts").index(index))?;
        if host_opens(p)
            && let From::Tree { path, recursive, slot, as_it_is } = &mut decided.from
        {
            let usage = SlotUse::Source { path: path.clone(), recursive: *recursive, as_it_is: *as_it_is };
            *slot = Some(p.slot(usage));
            if let Some(slot) = *slot {
                p.host_for(&decided.at.field("source"), HostStep::Open(slot));
            }
        }
        p.mounts.push(decided);
    }
    notify_socket(p)
}

/// The directory in which whoever starts the container binds the socket of sd_notify(3), as in runc: the program can
/// connect to what is in it and change nothing.
fn notify_socket(p: &mut Draft<'_>) -> Result<()> {
    let at = ConfigPath::new("NOTIFY_SOCKET");
    if !p.options.notify {
        return Ok(());
    }
    if !p.namespaces.has(Ns::Mount) {
        return Err(Error::refused(at, "without a mount namespace this would change the host's mounts"));
    }
    let slot = Some(p.slot(SlotUse::Notify));
    let options = Options::read(&["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned));
    let from = From::Tree { path: PathBuf::from("notify"), recursive: false, slot, as_it_is: false };
    p.mounts.push(Decided {
        at,
        target: "/run/notify".to_owned(),
        from,
        options,
        mapped: None,
        late: None,
        held: None,
    });
    Ok(())
}

fn decide(p: &mut Draft<'_>, mount: &Mount, at: ConfigPath) -> Result<Decided> {
    let words = mount.options().as_deref().unwrap_or_default();
    let options = Options::read(words);
    let mapped = idmap::of(p, mount, &options, &at)?;
    let target = target(p, mount, &at)?;
    let from = from(p, mount, &options, &at)?;
    if target == "/" && from != From::Target {
        return Err(Error::invalid(at.field("destination"), mount.destination(), "a path below the root"));
    }
    check_proc(&target, &from, &at)?;
    if let (From::Tree { .. } | From::Inside { .. }, Some((key, _))) = (&from, options.data.first()) {
        return Err(Error::invalid(at.field("options"), key, "no options of a file system: a bind mount has none"));
    }
    check_links(&options, mapped.is_some(), &at)?;
    let is_tmpfs = matches!(&from, From::Filesystem { kind, .. } if kind == "tmpfs");
    if let Some(index) = options.copy_up.filter(|_| !is_tmpfs) {
        return Err(Error::invalid(at.field("options").index(index), "tmpcopyup", "a mount of type tmpfs for it"));
    }
    let late = options.own.set & attr::RDONLY != 0
        && matches!(from, From::Filesystem { .. })
        && (is_tmpfs || target == "/dev");
    let late = late.then(|| reserved(p));
    Ok(Decided { at, target, from, options, mapped, late, held: None })
}

/// Words about links are for binds; a link that is made again is no mount, of which ids could be mapped.
fn check_links(options: &Options, mapped: bool, at: &ConfigPath) -> Result<()> {
    let links = options.links;
    let at = || at.field("options").index(links.index);
    if !links.is_empty() && (!options.bind || options.remount) {
        return Err(Error::refused(at(), "only a bind mount can take links as they are"));
    }
    if links.copied && (links.source_as_it_is || links.target_as_it_is || mapped) {
        return Err(Error::refused(at(), "copy-symlink does not go with src-nofollow, dest-nofollow or mapped ids"));
    }
    Ok(())
}

/// The destination, absolute and without `.` and `..`.
fn target(p: &mut Draft<'_>, mount: &Mount, at: &ConfigPath) -> Result<String> {
    let path = mount.destination();
    let Some(text) = path.to_str().filter(|t| !t.is_empty()) else {
        return Err(Error::invalid(at.field("destination"), path, "an absolute path in the container"));
    };
    if !path.is_absolute() {
        p.note(at.field("destination"), format!("{text:?} is relative (deprecated): taken from /"));
    }
    match path.strip_prefix(&p.rootfs) {
        Ok(inside) if p.rootfs != Path::new("/") => {
            p.note(at.field("destination"), format!("{text:?} begins with root.path: taken from there, as in runc"));
            Ok(clean(inside))
        }
        _ => Ok(clean(path)),
    }
}

/// The path without `.`, `..` and double slashes, from `/`.
fn clean(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.to_str().unwrap_or_default()),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

fn from(p: &Draft<'_>, mount: &Mount, options: &Options, at: &ConfigPath) -> Result<From> {
    let kind = mount.typ().as_deref().unwrap_or_default();
    let source = mount.source().as_ref().filter(|s| !s.as_os_str().is_empty());
    if options.remount {
        return Ok(From::Target);
    }
    if options.bind {
        let Some(source) = source else {
            return Err(Error::missing(at.field("source"), "the path to bind, absolute or relative to the bundle"));
        };
        let path = p.bundle.dir().join(source);
        let recursive = options.recursive;
        return Ok(match path.strip_prefix(&p.rootfs) {
            Ok(inside) if !inside.as_os_str().is_empty() => From::Inside { path: clean(inside), recursive },
            _ => From::Tree { path, recursive, slot: None, as_it_is: options.links.end_at_source() },
        });
    }
    if kind == "cgroup" && !p.namespaces.has(Ns::Cgroup) {
        // A cgroup2 mounted from here would show the host's tree as well, and reset the host's mount options.
        return Ok(From::Tree { path: p.host.cgroup.mount.clone(), recursive: false, slot: None, as_it_is: false });
    }
    if kind.is_empty() {
        return Err(Error::missing(
            at.field("type"),
            "a file system of /proc/filesystems, or the option bind or rbind",
        ));
    }
    let kind = if kind == "cgroup" { "cgroup2" } else { kind };
    let source = source.map(|s| s.to_string_lossy().into_owned());
    Ok(From::Filesystem { kind: kind.to_owned(), source })
}

/// Nothing may take procfs's place, and nothing but a few files in it may be covered (CVE-2019-16884).
fn check_proc(target: &str, from: &From, at: &ConfigPath) -> Result<()> {
    let fine = match (target, from) {
        ("/proc", From::Filesystem { kind, .. }) => kind == "proc",
        ("/proc", From::Tree { .. } | From::Inside { .. } | From::Target) => true,
        (below, From::Filesystem { .. } | From::Tree { .. } | From::Inside { .. }) if below.starts_with("/proc/") => {
            COVERED_IN_PROC.contains(&below)
        }
        _ => true,
    };
    if fine {
        return Ok(());
    }
    let expected = format!("nothing inside /proc but {}", COVERED_IN_PROC.join(", "));
    Err(Error::invalid(at.field("destination"), target, expected))
}

/// Opens, in init's copy of the host's mounts, what the host did not open.
pub(super) fn open_inside(p: &mut Draft<'_>) -> Result<()> {
    if p.linux().and_then(|l| l.masked_paths().as_ref()).is_some_and(|m| !m.is_empty()) {
        p.init_for(&ConfigPath::new("linux.maskedPaths"), Step::OpenNull {});
    }
    if !host_opens(p) {
        open_sources(p)?;
    }
    super::devices::open_inside(p)?;
    if p.linux().and_then(|l| l.sysctl().as_ref()).is_some_and(|s| !s.is_empty()) {
        super::process::labels::own_procfs(p, &ConfigPath::new("linux.sysctl"));
    }
    Ok(())
}

/// The root of a user namespace may be unable to reach a source that the caller can. So the caller looks all of them up, in
/// init's copy of the mounts, before anything of the container is in it. A caller without rights sees no more than init.
fn open_sources(p: &mut Draft<'_>) -> Result<()> {
    let mut mounts = std::mem::take(&mut p.mounts);
    let given = p.host.privileged && p.namespaces.is_new(Ns::Mount);
    if given && mounts.iter().any(|mount| matches!(mount.from, From::Tree { slot: None, .. })) {
        let at = ConfigPath::new("mounts");
        p.host_for(&at, HostStep::Release(Gate::Trees));
        p.init_for(&at, Step::Await { gate: Gate::Trees });
    }
    for mount in &mut mounts {
        if let From::Tree { path, recursive, slot: slot @ None, as_it_is } = &mut mount.from {
            let at = mount.at.field("source");
            let place = p.slot(SlotUse::Inside { path: path.clone(), as_it_is: *as_it_is });
            if given {
                p.host_for(&at, HostStep::Give(place));
            }
            let path = p.path(path, &at)?;
            let with = |on: bool, flag: u32| if on { flag } else { 0 };
            let flags =
                with(*recursive, SOURCE_WITH_SUBMOUNTS) | with(given, SOURCE_GIVEN) | with(*as_it_is, SOURCE_AS_IT_IS);
            p.init_for(&at, Step::OpenSource { slot: place, path, flags });
            *slot = Some(place);
        }
    }
    p.mounts = mounts;
    Ok(())
}

/// User namespaces by which ids are mapped. Their process is the usher's, whose rights are the caller's.
pub(super) fn hold_user_namespaces(p: &mut Draft<'_>) {
    for index in 0..p.mount_maps.len() {
        let at = p.mount_maps[index].at.field("uidMappings");
        p.init_for(&at, Step::HoldUserNamespace {});
        p.host_for(&at, HostStep::HoldUserNamespace(index));
    }
}

/// Nothing is mounted on `target` itself.
pub(super) fn leave_alone(p: &Draft<'_>, target: &str) -> bool {
    !p.mounts.iter().any(|mount| mount.target == target)
}

/// One line for each mount.
pub(super) fn mount(p: &mut Draft<'_>) -> Result<()> {
    let base = tree_propagation(p)?;
    let mut mounts = std::mem::take(&mut p.mounts);
    for mount in &mut mounts {
        if is_of_the_kernel(mount) && covered(p).any(|path| below(path, &mount.target).is_some()) {
            mount.held = match mount.from {
                From::Tree { slot, .. } => slot,
                _ => mount.late.or_else(|| Some(reserved(p))),
            };
        }
        let record = record(p, mount, base)?;
        let record = p.words(&record.words());
        p.init_for(&mount.at, Step::Mount { record });
        if let Some(Mapped { maps, recursive }) = mount.mapped {
            p.host_for(&mount.at, HostStep::MapTree { maps, recursive });
        }
    }
    p.mounts = mounts;
    Ok(())
}

fn record(p: &mut Draft<'_>, mount: &Decided, base: u64) -> Result<MountRecord> {
    let (at, options) = (&mount.at, &mount.options);
    #[expect(clippy::cast_possible_truncation, reason = "attributes and propagation fit 32 bits")]
    let low = |bits: u64| bits as u32;
    let mut record = MountRecord {
        slot: MountRecord::NO_SLOT,
        what: MountRecord::NO_TEXT,
        source: MountRecord::NO_TEXT,
        target: p.texts.add(&mount.target, &at.field("destination"))?.0,
        set: low(options.own.set),
        clear: low(options.own.clear),
        set_all: low(options.all.set),
        clear_all: low(options.all.clear),
        propagation: low(options.propagation),
        propagation_all: low(options.propagation_all),
        ..MountRecord::default()
    };
    match &mount.from {
        From::Filesystem { kind, source } => filesystem(p, mount, &mut record, kind, source.as_deref())?,
        From::Tree { recursive, slot, .. } => {
            record.from = if host_opens(p) { MountRecord::FROM_SLOT } else { MountRecord::FROM_OPENED };
            record.slot = slot.map_or(MountRecord::NO_SLOT, |s| s.0);
            tree(mount, &mut record, *recursive, low(base));
        }
        From::Inside { path, recursive } => {
            record.from = MountRecord::FROM_ROOT;
            record.what = p.texts.add(path, &at.field("source"))?.0;
            tree(mount, &mut record, *recursive, low(base));
        }
        From::Target => {
            record.from = MountRecord::FROM_TARGET;
            if !options.bind && !options.data.is_empty() {
                record.flags |= MountRecord::WITH_RECONFIGURE;
            }
        }
    }
    if let Some(slot) = mount.held {
        record.flags |= MountRecord::WITH_HOLD;
        record.slot = slot.0;
    }
    let target = mount.target.as_str();
    for (wanted, flag) in [
        (ORDINARY.contains(&target), MountRecord::WITH_ORDINARY_TARGET),
        (COVERED_IN_PROC.contains(&target), MountRecord::WITH_PROCFS_TARGET),
        (mount.mapped.is_some(), MountRecord::WITH_IDS),
        (options.copy_up.is_some(), MountRecord::WITH_COPY),
        (options.links.end_at_source(), MountRecord::WITH_SOURCE_AS_IT_IS),
        (options.links.target_as_it_is, MountRecord::WITH_TARGET_AS_IT_IS),
        (options.links.copied, MountRecord::WITH_LINK),
    ] {
        record.flags |= if wanted { flag } else { 0 };
    }
    data(p, mount, &mut record)?;
    Ok(record)
}

/// What every bind has.
fn tree(mount: &Decided, record: &mut MountRecord, recursive: bool, base: u32) {
    record.flags |= if recursive { MountRecord::WITH_SUBMOUNTS } else { 0 };
    if record.propagation_all == 0 {
        record.propagation_all = base;
    }
    if mount.target == "/proc" {
        record.flags |= MountRecord::WITH_PROCFS_SOURCE;
    }
}

fn filesystem(
    p: &mut Draft<'_>,
    mount: &Decided,
    record: &mut MountRecord,
    kind: &str,
    source: Option<&str>,
) -> Result<()> {
    record.from = MountRecord::FROM_FILESYSTEM;
    record.what = p.texts.add(kind, &mount.at.field("type"))?.0;
    if let Some(source) = source {
        record.source = p.texts.add(source, &mount.at.field("source"))?.0;
    }
    if matches!(kind, "proc" | "sysfs") {
        record.flags |= MountRecord::WITH_ORDINARY_TARGET;
    }
    if kind == "tmpfs" && !mount.options.data.iter().any(|(key, _)| key == "mode") {
        record.flags |= MountRecord::WITH_MODE_OF_TARGET;
    }
    if let Some(slot) = mount.late {
        record.flags |= MountRecord::WITH_HOLD;
        record.slot = slot.0;
        #[expect(clippy::cast_possible_truncation, reason = "attributes fit 32 bits")]
        let readonly = attr::RDONLY as u32;
        record.set &= !readonly;
    }
    Ok(())
}

fn data(p: &mut Draft<'_>, mount: &Decided, record: &mut MountRecord) -> Result<()> {
    let at = mount.at.field("options");
    let mut words = Vec::new();
    if let (From::Filesystem { kind, .. }, Some((at, label))) = (&mount.from, super::process::labels::of_mounts(p)?)
        && !UNLABELLED.contains(&kind.as_str())
    {
        words.extend([p.texts.fixed("context").0, p.texts.add(label, &at)?.0]);
    }
    for (key, value) in &mount.options.data {
        // cgroup2 options belong to the host's hierarchy: from a cgroup namespace the kernel ignores them.
        words.push(p.texts.add(key, &at)?.0);
        words.push(match value {
            Some(value) => p.texts.add(value, &at)?.0,
            None => MountRecord::NO_TEXT,
        });
    }
    let range = p.words(&words);
    (record.options, record.option_count) = (range.start, range.count / 2);
    Ok(())
}

/// The slots of mounts that were kept for [`make_readonly`] and [`cover`].
pub(super) fn kept(p: &Draft<'_>) -> Vec<u32> {
    let slots = p.mounts.iter().flat_map(|mount| [mount.late, mount.held]);
    slots.flatten().map(|slot| slot.0).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What had to be writable until the nodes and links were made.
pub(super) fn make_readonly(p: &mut Draft<'_>) {
    let late: Vec<_> = p.mounts.iter().filter_map(|m| Some((m.at.clone(), m.late?))).collect();
    for (at, slot) in late {
        p.init_for(&at, Step::ReadonlyMount { slot });
    }
}

/// Read-only and masked paths.
pub(super) fn cover(p: &mut Draft<'_>) -> Result<()> {
    let linux = p.linux();
    let readonly = linux.and_then(|l| l.readonly_paths().as_deref()).unwrap_or_default();
    for (index, path) in readonly.iter().enumerate() {
        let at = ConfigPath::new("linux.readonlyPaths").index(index);
        let (path, within) = place(p, path, &at)?;
        p.init_for(&at, Step::ReadonlyPath { path, within });
    }
    let masked = linux.and_then(|l| l.masked_paths().as_deref()).unwrap_or_default();
    let mut done = BTreeSet::new();
    for (index, path) in masked.iter().enumerate() {
        let at = ConfigPath::new("linux.maskedPaths").index(index);
        // A mask over a mask hides nothing more.
        if done.insert(absolute(path, &at)?.trim_end_matches('/')) {
            let (path, within) = place(p, path, &at)?;
            p.init_for(&at, Step::MaskPath { path, within });
        }
    }
    Ok(())
}

/// Where a covered path is looked for: in the procfs or sysfs that was mounted above it last, else in the root.
fn place(p: &mut Draft<'_>, path: &str, at: &ConfigPath) -> Result<(Text, Option<Slot>)> {
    let path = absolute(path, at)?;
    let held = |mount: &Decided| Some((mount.held?, below(path, &mount.target)?));
    match p.mounts.iter().rev().find_map(held) {
        Some((slot, rest)) => Ok((p.texts.add(rest, at)?, Some(slot))),
        None => Ok((p.texts.add(path, at)?, None)),
    }
}

/// A procfs or sysfs, or a tree in the place of one.
fn is_of_the_kernel(mount: &Decided) -> bool {
    match &mount.from {
        From::Filesystem { kind, .. } => matches!(kind.as_str(), "proc" | "sysfs"),
        From::Tree { .. } | From::Inside { .. } => matches!(mount.target.as_str(), "/proc" | "/sys"),
        From::Target => false,
    }
}

/// All read-only and masked paths.
fn covered<'p>(p: &Draft<'p>) -> impl Iterator<Item = &'p String> {
    let linux = p.linux();
    let lists = [linux.and_then(|l| l.readonly_paths().as_deref()), linux.and_then(|l| l.masked_paths().as_deref())];
    lists.into_iter().flatten().flatten()
}

/// The part of `path` below `top`, if it is there without a way back up.
fn below<'t>(path: &'t str, top: &str) -> Option<&'t str> {
    let rest = path.strip_prefix(top)?.strip_prefix('/')?.trim_start_matches('/');
    (!rest.is_empty() && !rest.split('/').any(|part| part == "..")).then_some(rest)
}

/// D14.
fn absolute<'p>(path: &'p str, at: &ConfigPath) -> Result<&'p str> {
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(Error::invalid(at.clone(), path, "an absolute path in the container"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_cleaned_from_the_root() {
        for (path, expected) in [("/a/../b", "/b"), ("a//b/", "/a/b"), ("/../..", "/"), ("/./x", "/x")] {
            assert_eq!(clean(Path::new(path)), expected);
        }
    }
}
