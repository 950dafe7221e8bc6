//! The root file system: where it is, how it becomes a mount, how it is entered.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use runtime_init::step::Enter;
use runtime_init::sys::mount::propagation as kind;
use runtime_init::{Ns, Slot, Step};

use super::draft::Draft;
use super::{HostStep, SlotUse, mounts};
use crate::at::ConfigPath;
use crate::bundle::Bundle;
use crate::error::{Error, Need, Result};

/// `root.path`, taken from the bundle if it is relative.
pub(super) fn path(bundle: &Bundle) -> Result<PathBuf> {
    let at = ConfigPath::new("root.path");
    let path = bundle.spec().root().as_ref().map_or(Path::new(""), |root| root.path());
    if path.as_os_str().is_empty() {
        return Err(Error::invalid(at, "", "the path of the root file system, absolute or relative to the bundle"));
    }
    Ok(bundle.dir().join(path).components().collect())
}

/// The host opens trees itself where the container has the caller's user namespace. In a namespace of its own,
/// init opens them in its copy of the mounts, in which the kernel keeps the host's flags (nosuid, ro, …) locked.
pub(super) fn host_opens(p: &Draft<'_>) -> bool {
    p.namespaces.has(Ns::Mount) && !p.namespaces.has(Ns::User)
}

/// Opens the root on the host side.
pub(super) fn open(p: &mut Draft<'_>) -> Result<()> {
    need_mount_namespace(p)?;
    if host_opens(p) {
        let slot = p.slot(SlotUse::Rootfs { path: p.rootfs.clone() });
        p.host_for(&ConfigPath::new("root.path"), HostStep::Open(slot));
        p.rootfs_slot = Some(slot);
    }
    Ok(())
}

/// Without a mount namespace every mount would be the host's (runc#4767).
fn need_mount_namespace(p: &Draft<'_>) -> Result<()> {
    if p.namespaces.has(Ns::Mount) {
        return Ok(());
    }
    let linux = p.linux();
    let asked = |field: &'static str, there: bool| there.then(|| ConfigPath::new(field));
    let some = |list: Option<&[String]>| list.is_some_and(|l| !l.is_empty());
    let wanted = asked("mounts", p.spec.mounts().as_ref().is_some_and(|m| !m.is_empty()))
        .or_else(|| asked("linux.maskedPaths", some(linux.and_then(|l| l.masked_paths().as_deref()))))
        .or_else(|| asked("linux.readonlyPaths", some(linux.and_then(|l| l.readonly_paths().as_deref()))))
        .or_else(|| asked("root.readonly", readonly(p)))
        .or_else(|| asked("linux.rootfsPropagation", linux.is_some_and(|l| l.rootfs_propagation().is_some())));
    match wanted {
        Some(at) => Err(Error::refused(
            at,
            "without a mount namespace this would change the host's mounts: add {\"type\": \"mount\"} to linux.namespaces",
        )),
        None => Ok(()),
    }
}

fn readonly(p: &Draft<'_>) -> bool {
    p.spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false)
}

/// `linux.rootfsPropagation`: kind, recursive.
fn propagation(p: &Draft<'_>) -> Result<Option<(u64, bool)>> {
    let Some(word) = p.linux().and_then(|l| l.rootfs_propagation().as_deref()).filter(|w| !w.is_empty()) else {
        return Ok(None);
    };
    let (recursive, plain) = word.strip_prefix('r').map_or((false, word), |rest| (true, rest));
    let kind = match plain {
        "shared" => kind::SHARED,
        "slave" => kind::SLAVE,
        "private" => kind::PRIVATE,
        "unbindable" => kind::UNBINDABLE,
        _ => {
            let expected = "shared, slave, private or unbindable, each also with a leading r";
            return Err(Error::invalid(ConfigPath::new("linux.rootfsPropagation"), word, expected));
        }
    };
    Ok(Some((kind, recursive)))
}

/// The propagation that trees get when nothing else is asked for: they hear of the host, the host not of them. With a
/// shared root, sources keep the host's peers, which is what such a configuration is for (CSI, CNI).
pub(super) fn tree_propagation(p: &Draft<'_>) -> Result<u64> {
    Ok(match propagation(p)? {
        Some((kind::SHARED, _)) => 0,
        Some((kind::PRIVATE | kind::UNBINDABLE, _)) => kind::PRIVATE,
        _ => kind::SLAVE,
    })
}

/// Prepares the mount namespace and attaches the root.
pub(super) fn attach(p: &mut Draft<'_>) -> Result<()> {
    let at = ConfigPath::new("root.path");
    let path = p.path(&p.rootfs.clone(), &at)?;
    if !p.namespaces.has(Ns::Mount) {
        p.init_for(&at, Step::PlainRootfs { path });
        return Ok(());
    }
    let (base, own) = match propagation(p)? {
        Some((kind::PRIVATE | kind::UNBINDABLE, _)) => (kind::PRIVATE, kind::PRIVATE),
        Some((kind::SHARED, _)) => (kind::SLAVE, kind::SLAVE_BELOW_PRIVATE),
        _ => (kind::SLAVE, kind::SLAVE),
    };
    #[expect(clippy::cast_possible_truncation, reason = "propagation flags fit 32 bits")]
    let (base, own) = (base as u32, own as u32);
    if p.namespaces.is_new(Ns::Mount) {
        p.init(Step::Propagation { kind: base });
    }
    mounts::open_inside(p)?;
    p.init_for(&at, Step::Rootfs { path, slot: p.rootfs_slot, propagation: own });
    Ok(())
}

/// Read-only root and the entry.
pub(super) fn enter(p: &mut Draft<'_>) -> Result<()> {
    if readonly(p) {
        p.init_for(&ConfigPath::new("root.readonly"), Step::ReadonlyRoot {});
    }
    let how = match (p.namespaces.is_new(Ns::Mount), p.options.no_pivot) {
        (false, _) => Enter::Chroot,
        (true, false) => Enter::Pivot,
        (true, true) => Enter::Move,
    };
    if how == Enter::Move {
        no_pivot(p)?;
    }
    let kept = mounts::kept(p);
    let kept = p.words(&kept);
    p.init(Step::EnterRoot { how, kept });
    if let Some((kind, recursive)) = propagation(p)? {
        #[expect(clippy::cast_possible_truncation, reason = "propagation flags fit 32 bits")]
        let step = Step::RootPropagation { kind: kind as u32, recursive: u32::from(recursive) };
        p.init_for(&ConfigPath::new("linux.rootfsPropagation"), step);
    }
    Ok(())
}

/// What is covered by a moved root stays reachable for whoever may unmount; the host's procfs and sysfs must not.
fn no_pivot(p: &mut Draft<'_>) -> Result<()> {
    let at = ConfigPath::new("root.path");
    if matches!(propagation(p)?, Some((kind::PRIVATE, _))) {
        return Err(Error::refused(ConfigPath::new("linux.rootfsPropagation"), "private does not go with --no-pivot"));
    }
    let mounts = p.host.kernel_mounts.as_ref().ok_or(Error::Host { what: Need::KernelMounts })?;
    for point in mounts {
        if !point.starts_with(&p.rootfs) {
            let path = p.path(point, &at)?;
            p.init(Step::Unmount { path });
        }
    }
    Ok(())
}

/// A slot for a source that init opens in its own copy of the mounts.
pub(super) fn reserved(p: &mut Draft<'_>) -> Slot {
    p.slot(SlotUse::Reserved)
}
