//! `linux.intelRdt`: which group of the resctrl file system the container is in, and what that is allowed.

#![forbid(unsafe_code)]

use oci_spec::runtime::LinuxIntelRdt;

use super::HostStep;
use super::draft::Draft;
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// Whose group it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The container's: made with it, removed with it.
    Own,
    /// One that others use too: it is never removed, and what it is allowed never changed.
    Shared,
    /// That of one more process: whatever its container is in.
    Joined,
}

/// A group and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rdt {
    /// Name of the group; empty for the default one, which is the root of resctrl itself.
    pub group: String,
    pub class: Class,
    /// Lines for its `schemata`.
    pub schemata: Vec<String>,
    /// Name of a monitoring group in it.
    pub monitor: Option<String>,
}

/// The host's line. Without the field nothing of resctrl is touched.
pub(super) fn assign(p: &mut Draft<'_>) -> Result<()> {
    let Some(given) = p.linux().and_then(|linux| linux.intel_rdt().as_ref()) else { return Ok(()) };
    let at = ConfigPath::new("linux.intelRdt");
    let group = group(given, &at)?;
    let schemata = schemata(given, &at)?;
    let class = match group {
        _ if p.exec => Class::Joined,
        Some(_) => Class::Shared,
        None => Class::Own,
    };
    let id = p.id.to_owned();
    let monitor = given.enable_monitoring().unwrap_or(false).then(|| id.clone());
    p.rdt = Some(Rdt { group: group.unwrap_or(id), class, schemata, monitor });
    p.host_for(&at, HostStep::Rdt);
    Ok(())
}

/// The name that the configuration gives; none if the group is the container's own.
fn group(given: &LinuxIntelRdt, at: &ConfigPath) -> Result<Option<String>> {
    match given.clos_id().as_deref() {
        None | Some("") => Ok(None),
        Some("/") => Ok(Some(String::new())),
        Some(name) if matches!(name, "." | "..") || name.contains(['/', '\n', '\0']) => {
            Err(Error::invalid(at.field("closID"), name, "the name of a directory in resctrl, or \"/\" for its root"))
        }
        Some(name) => Ok(Some(name.to_owned())),
    }
}

/// In the order of the specification: what comes later overrides.
fn schemata(given: &LinuxIntelRdt, at: &ConfigPath) -> Result<Vec<String>> {
    let one = |field: &str, line: &Option<String>| line.clone().map(|line| (at.field(field), line));
    let given_lines = given.schemata().iter().flatten().enumerate();
    let lines = one("l3CacheSchema", given.l3_cache_schema())
        .into_iter()
        .chain(one("memBwSchema", given.mem_bw_schema()))
        .chain(given_lines.map(|(index, line)| (at.field("schemata").index(index), line.clone())));
    let mut schemata = Vec::new();
    for (at, line) in lines.filter(|(_, line)| !line.is_empty()) {
        // A second line would be one that nobody has checked.
        if line.contains('\n') {
            return Err(Error::invalid(at, line, "one line"));
        }
        if at.as_str().ends_with("memBwSchema") && !line.starts_with("MB:") {
            return Err(Error::invalid(at, line, "a line that begins with MB:"));
        }
        schemata.push(line);
    }
    Ok(schemata)
}
