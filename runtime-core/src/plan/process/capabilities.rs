//! `process.capabilities`: five sets as bits, as a pure function of configuration and host (rule R9).

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use oci_spec::runtime::{Capabilities, Process};
use runtime_init::Ns;

use super::super::draft::Draft;
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// The sets. An absent set is empty, and so are all where `capabilities` is absent (P3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

pub(super) fn sets(p: &mut Draft<'_>, process: &Process) -> Result<Sets> {
    let Some(given) = process.capabilities() else { return Ok(Sets::default()) };
    // In a user namespace of its own the first process has all of them.
    let available = if p.namespaces.has(Ns::User) { p.host.known_capabilities } else { p.host.capabilities };
    let mut ignored: BTreeSet<String> = p.bundle.unknown_capabilities().iter().cloned().collect();
    let mut bits = |set: &Option<Capabilities>| {
        let mut bits = 0;
        for capability in set.iter().flatten() {
            let name = format!("CAP_{capability}");
            match name.parse::<caps::Capability>() {
                Ok(known) if available & known.bitmask() != 0 => bits |= known.bitmask(),
                _ => drop(ignored.insert(name)),
            }
        }
        bits
    };
    let mut sets = Sets {
        bounding: bits(given.bounding()),
        effective: bits(given.effective()),
        permitted: bits(given.permitted()),
        inheritable: bits(given.inheritable()),
        ambient: bits(given.ambient()),
    };
    if !ignored.is_empty() {
        // D5, in runc's words.
        let names: Vec<&str> = ignored.iter().map(String::as_str).collect();
        let text = format!("ignoring unknown or unavailable capabilities: [{}]", names.join(" "));
        p.warn(ConfigPath::new("process.capabilities"), text);
    }
    check(&sets)?;
    drop_ambient(p, &mut sets);
    Ok(sets)
}

/// What the kernel would refuse with a bare EPERM.
fn check(sets: &Sets) -> Result<()> {
    let at = ConfigPath::new("process.capabilities");
    if sets.effective & !sets.permitted != 0 {
        let names = names(sets.effective & !sets.permitted);
        return Err(Error::invalid(
            at.field("effective"),
            names,
            "a subset of permitted (operation not permitted: EPERM)",
        ));
    }
    if sets.inheritable & !sets.bounding != 0 {
        let names = names(sets.inheritable & !sets.bounding);
        return Err(Error::invalid(
            at.field("inheritable"),
            names,
            "a subset of bounding (operation not permitted: EPERM)",
        ));
    }
    Ok(())
}

/// An ambient capability has to be permitted and inheritable; one that is not is a warning (D5).
fn drop_ambient(p: &mut Draft<'_>, sets: &mut Sets) {
    let impossible = sets.ambient & !(sets.permitted & sets.inheritable);
    for name in names(impossible) {
        let text = format!("can't raise ambient capability {name}: it is not both permitted and inheritable");
        p.warn(ConfigPath::new("process.capabilities.ambient"), text);
    }
    sets.ambient &= !impossible;
}

fn names(bits: u64) -> Vec<String> {
    caps::all()
        .into_iter()
        .filter(|c| bits & c.bitmask() != 0)
        .map(|c| c.to_string())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}
