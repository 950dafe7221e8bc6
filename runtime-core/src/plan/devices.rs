//! Device nodes and links: `linux.devices`, and what every container has.

#![forbid(unsafe_code)]

use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use runtime_init::sys::fd::kind;
use runtime_init::{Ns, Slot, Step};

use super::draft::Draft;
use super::mounts;
use super::rootfs::reserved;
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// The devices of config-linux.md "Default Devices": path, major, minor.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The links of runtime-linux.md "Dev symbolic links", and `/dev/core` as in runc.
const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
];

const DEFAULT_MODE: u32 = 0o666;

/// One node to be made.
struct Node {
    at: Option<ConfigPath>,
    path: String,
    mode: u32,
    device: u32,
    owner: (u32, u32),
}

/// `/dev` is the host's, bound: nothing is made in it.
fn dev_is_foreign(p: &Draft<'_>) -> bool {
    let mounts = p.spec.mounts().as_deref().unwrap_or_default();
    mounts.iter().any(|m| {
        let options = m.options().as_deref().unwrap_or_default();
        m.destination() == Path::new("/dev") && options.iter().any(|o| o == "bind" || o == "rbind")
    })
}

/// In a user namespace, also one that the caller is in, nodes cannot be made; the host's are bound instead.
fn are_bound(p: &Draft<'_>) -> bool {
    p.namespaces.has(Ns::User) || !p.host.initial_user_namespace
}

fn nodes(p: &Draft<'_>) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    let configured = p.linux().and_then(|l| l.devices().as_deref()).unwrap_or_default();
    for (index, device) in configured.iter().enumerate() {
        let node = configured_node(p, device, ConfigPath::new("linux.devices").index(index))?;
        // Always a link at last. Engines list it among all devices of the host, and over a bound one no link could be made.
        if node.path != "/dev/ptmx" {
            nodes.push(node);
        }
    }
    for (path, major, minor) in DEFAULT {
        if !nodes.iter().any(|n| n.path == path) {
            let (mode, device) = (kind::CHR | DEFAULT_MODE, number(major, minor));
            nodes.push(Node { at: None, path: path.to_owned(), mode, device, owner: (0, 0) });
        }
    }
    Ok(nodes)
}

fn configured_node(p: &Draft<'_>, device: &LinuxDevice, at: ConfigPath) -> Result<Node> {
    const MODE_BITS: u32 = 0o7777;
    let path = device.path();
    let Some(text) = path.to_str().filter(|t| t.starts_with('/') && !t.ends_with('/')) else {
        return Err(Error::invalid(at.field("path"), path, "the absolute path of a file in the container"));
    };
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => kind::CHR,
        LinuxDeviceType::B => kind::BLK,
        LinuxDeviceType::P => kind::FIFO,
        LinuxDeviceType::A => return Err(Error::invalid(at.field("type"), "a", "c, b, u or p")),
    };
    let mode = device.file_mode().unwrap_or(DEFAULT_MODE);
    if mode & !MODE_BITS & !kind::MASK != 0 {
        return Err(Error::invalid(at.field("fileMode"), mode, "permission bits, at most 4095 (0o7777)"));
    }
    let number = if kind == kind::FIFO { 0 } else { device_number(p, device, &at)? };
    let owner = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    Ok(Node { at: Some(at), path: text.to_owned(), mode: kind | mode & MODE_BITS, device: number, owner })
}

/// Major and minor are required, which the types of `oci-spec` cannot tell from 0 (X16).
fn device_number(p: &Draft<'_>, device: &LinuxDevice, at: &ConfigPath) -> Result<u32> {
    let index = at.as_str().trim_end_matches(']').rsplit('[').next().unwrap_or_default();
    let part = |name: &str, value: i64, limit: i64| {
        let given = p.bundle.raw().pointer(&format!("/linux/devices/{index}/{name}")).is_some_and(|v| !v.is_null());
        if !given {
            return Err(Error::missing(at.field(name), "a device number"));
        }
        match u32::try_from(value) {
            Ok(number) if value < limit => Ok(number),
            _ => Err(Error::invalid(at.field(name), value, format!("0 to {}", limit - 1))),
        }
    };
    Ok(number(part("major", device.major(), 1 << 12)?, part("minor", device.minor(), 1 << 20)?))
}

/// The kernel's encoding of a device number (`new_encode_dev`).
const fn number(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// Opens the host's nodes in init's copy of the mounts, where nodes are bound.
pub(super) fn open_inside(p: &mut Draft<'_>) -> Result<()> {
    if !are_bound(p) || dev_is_foreign(p) {
        return Ok(());
    }
    for node in nodes(p)? {
        let at = node.at.clone().unwrap_or_else(|| ConfigPath::new("linux.devices"));
        let slot = reserved(p);
        let path = p.texts.add(&node.path, &at)?;
        let step = Step::OpenSource { slot, path, flags: 0 };
        push(p, &node, step);
        p.devices.push(slot);
    }
    Ok(())
}

fn push(p: &mut Draft<'_>, node: &Node, step: Step) {
    match &node.at {
        Some(at) => p.init_for(at, step),
        None => p.init(step),
    }
}

/// Where nothing is mounted on `/dev`, everything goes to the image's own. No link of it may lead elsewhere (CVE-2026-41579).
pub(super) fn place(p: &mut Draft<'_>) {
    if mounts::leave_alone(p, "/dev") {
        let path = p.texts.fixed("/dev");
        p.init(Step::MakeDirectory { path, ordinary: 1 });
    }
}

/// Nodes, links, ptmx.
pub(super) fn make(p: &mut Draft<'_>) -> Result<()> {
    if dev_is_foreign(p) {
        return Ok(());
    }
    let slots = std::mem::take(&mut p.devices);
    for (index, node) in nodes(p)?.into_iter().enumerate() {
        let at = node.at.clone().unwrap_or_else(|| ConfigPath::new("linux.devices"));
        let path = p.texts.add(&node.path, &at)?;
        let step = match slots.get(index) {
            Some(slot) => Step::DeviceBind { path, slot: *slot },
            None => Step::Device {
                path,
                mode_and_device: u64::from(node.mode) | u64::from(node.device) << 32,
                owner: u64::from(node.owner.0) | u64::from(node.owner.1) << 32,
            },
        };
        push(p, &node, step);
    }
    for (path, target) in LINKS {
        let step = Step::Symlink { path: p.texts.fixed(path), target: p.texts.fixed(target) };
        p.init(step);
    }
    p.init(Step::Ptmx {});
    Ok(())
}

/// Where bound nodes are kept between being opened and being attached.
pub(super) type Opened = Vec<Slot>;
