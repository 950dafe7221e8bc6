//! What the security module of the kernel is told: `process.apparmorProfile`, `process.selinuxLabel`, `linux.mountLabel`.
//!
//! Labels are written through a procfs of our own: what the container has on `/proc` is never asked (CVE-2019-16884).

#![forbid(unsafe_code)]

use oci_spec::runtime::Process;
use runtime_init::Step;

use super::super::draft::Draft;
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// What a new keyring allows: everything to whoever holds it; to others of its owner to see, read, link and search it,
/// without which `exec` would not find it.
const KEYRING: u32 = 0x3f00_0000 | 0x001b_0000;

/// A label that is asked for; an empty one asks for nothing.
fn asked(label: Option<&String>) -> Option<String> {
    label.filter(|label| !label.is_empty()).cloned()
}

/// Our own procfs, before the first line that needs it.
pub(in crate::plan) fn own_procfs(p: &mut Draft<'_>, at: &ConfigPath) {
    if !p.has_procfs {
        p.has_procfs = true;
        p.init_for(at, Step::OpenProc {});
    }
}

/// Opens it where a label needs it. To be called before the container's mounts are joined or made.
pub(in crate::plan) fn open(p: &mut Draft<'_>) -> Result<()> {
    if let Some((at, _)) = selinux(p)? {
        own_procfs(p, &at);
    }
    if let Some((at, _)) = apparmor(p)? {
        own_procfs(p, &at);
    }
    Ok(())
}

/// A session keyring of the container's own, named as runc names it, with the label of the process.
pub(in crate::plan) fn keyring(p: &mut Draft<'_>) -> Result<()> {
    if p.options.no_new_keyring {
        return Ok(());
    }
    if let Some((at, label)) = selinux(p)? {
        write(p, &at, "keycreate", &label)?;
    }
    let name = p.texts.add(format!("_ses.{}", p.id), &ConfigPath::default())?;
    // One that is there already is the container's, which may have changed it.
    let permissions = if p.exec { 0 } else { KEYRING };
    p.init(Step::Keyring { name, permissions });
    Ok(())
}

/// What the program gets with its execve.
pub(in crate::plan) fn of_program(p: &mut Draft<'_>) -> Result<()> {
    if let Some((at, profile)) = apparmor(p)? {
        write(p, &at, "apparmor/exec", &format!("exec {profile}"))?;
    }
    if let Some((at, label)) = selinux(p)? {
        write(p, &at, "exec", &label)?;
    }
    Ok(())
}

fn write(p: &mut Draft<'_>, at: &ConfigPath, path: &str, value: &str) -> Result<()> {
    let path = p.texts.fixed(path);
    let value = p.texts.add(value, at)?;
    p.init_for(at, Step::Label { path, value });
    Ok(())
}

fn apparmor(p: &Draft<'_>) -> Result<Option<(ConfigPath, String)>> {
    let at = ConfigPath::new("process.apparmorProfile");
    match asked(p.process().and_then(|process| process.apparmor_profile().as_ref())) {
        Some(_) if !p.host.apparmor => {
            let reason = "AppArmor is not enabled on this machine: remove the field, or boot with apparmor=1";
            Err(Error::refused(at, reason))
        }
        profile => Ok(profile.map(|profile| (at, profile))),
    }
}

fn selinux(p: &Draft<'_>) -> Result<Option<(ConfigPath, String)>> {
    let at = ConfigPath::new("process.selinuxLabel");
    let label = asked(p.process().and_then(|process: &Process| process.selinux_label().as_ref()));
    with_selinux(p, at, label)
}

/// The label of every file system that is mounted anew.
pub(in crate::plan) fn of_mounts(p: &Draft<'_>) -> Result<Option<(ConfigPath, String)>> {
    let label = asked(p.linux().and_then(|linux| linux.mount_label().as_ref()));
    with_selinux(p, ConfigPath::new("linux.mountLabel"), label)
}

fn with_selinux(p: &Draft<'_>, at: ConfigPath, label: Option<String>) -> Result<Option<(ConfigPath, String)>> {
    match label {
        Some(_) if !p.host.selinux => {
            // Runc's words.
            let reason = "selinux label is specified in config, but selinux is disabled or not supported: remove the field, or enable SELinux";
            Err(Error::refused(at, reason))
        }
        label => Ok(label.map(|label| (at, label))),
    }
}
