//! `idmap`, `ridmap`, `mounts[].uidMappings` and `gidMappings`: the maps by which the ids of a mount are seen.
//!
//! A map says which id of the file system is which id of the host; in a user namespace the container then sees that one
//! by its own map.

#![forbid(unsafe_code)]

use std::fmt;

use oci_spec::runtime::{LinuxIdMapping, Mount};
use runtime_init::Ns;

use super::draft::Draft;
use super::mount_options::Options;
use super::namespaces::{ranges, valid};
use super::{IdMaps, IdRange, MountMaps};
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// How the ids of one mount are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Which of the plan's maps; none for those of the container's user namespace.
    pub maps: Option<usize>,
    /// All mounts below as well (`ridmap`).
    pub recursive: bool,
}

/// What `mount` asks for. Mappings without the option are applied, not recursively (P2).
pub(super) fn of(p: &mut Draft<'_>, mount: &Mount, options: &Options, at: &ConfigPath) -> Result<Option<Mapped>> {
    let given = |maps: &Option<Vec<LinuxIdMapping>>| maps.as_ref().is_some_and(|maps| !maps.is_empty());
    let (uid, gid) = (given(mount.uid_mappings()), given(mount.gid_mappings()));
    let word = options.idmap.as_ref();
    if word.is_none() && !uid && !gid {
        return Ok(None);
    }
    let asked = word.map_or_else(|| at.field("uidMappings"), |word| at.field("options").index(word.index));
    let recursive = word.is_some_and(|word| word.recursive);
    let maps = match word.and_then(|word| word.maps.as_deref()) {
        Some(text) if !uid && !gid => {
            let [uid, gid] = written(p, text, &asked)?;
            Some(own(p, uid, gid, at))
        }
        Some(text) => return Err(Error::invalid(asked, text, "no mappings here: the mount has its own")),
        None if uid || gid => {
            let uid = ranges(mount.uid_mappings().as_deref(), &at.field("uidMappings"))?;
            let gid = ranges(mount.gid_mappings().as_deref(), &at.field("gidMappings"))?;
            Some(own(p, uid, gid, at))
        }
        None if p.namespaces.has(Ns::User) => None,
        None => {
            let reason =
                "there is no user namespace whose mappings could be used: add uidMappings and gidMappings to the mount";
            return Err(Error::refused(asked, reason));
        }
    };
    if options.remount {
        return Err(Error::refused(asked, "the ids of a mount are mapped before it is attached, not by a remount"));
    }
    if !p.host.privileged {
        return Err(Error::refused(asked, "without CAP_SYS_ADMIN the ids of a mount cannot be mapped"));
    }
    Ok(Some(Mapped { maps, recursive }))
}

/// The index of these maps; equal ones share a user namespace.
fn own(p: &mut Draft<'_>, uid: Vec<IdRange>, gid: Vec<IdRange>, at: &ConfigPath) -> usize {
    let maps = IdMaps { uid, gid, ..IdMaps::default() };
    p.mount_maps.iter().position(|known| known.maps == maps).unwrap_or_else(|| {
        p.mount_maps.push(MountMaps { maps, at: at.clone() });
        p.mount_maps.len() - 1
    })
}

/// Maps in the option itself, as crun has them: `uids=0-1-10#10-11-10;gids=@0-100-10`. With an `@` the second number is
/// an id of the container.
fn written(p: &Draft<'_>, text: &str, at: &ConfigPath) -> Result<[Vec<IdRange>; 2]> {
    let wrong = || Error::invalid(at.clone(), text, "uids=FROM-TO-COUNT#…;gids=FROM-TO-COUNT#…");
    let linux = p.linux();
    let mut both = [Vec::new(), Vec::new()];
    for part in text.split(';') {
        let (index, list, container) = match part.split_once('=') {
            Some(("uids", list)) => (0, list, linux.and_then(|l| l.uid_mappings().as_deref())),
            Some(("gids", list)) => (1, list, linux.and_then(|l| l.gid_mappings().as_deref())),
            _ => return Err(wrong()),
        };
        for range in list.split('#') {
            let (numbers, relative) = range.strip_prefix('@').map_or((range, false), |rest| (rest, true));
            let mut parts = numbers.split('-').map(|number| number.parse().map_err(|_| wrong()));
            let mut next = || parts.next().unwrap_or_else(|| Err(wrong()));
            let mut range = IdRange { inside: next()?, outside: next()?, size: next()? };
            if parts.next().is_some() {
                return Err(wrong());
            }
            if relative {
                let outside = on_the_host(range, container.unwrap_or_default());
                let expected = "ids of the container, all in one of the mappings of linux";
                range.outside = outside.ok_or_else(|| Error::invalid(at.clone(), text, expected))?;
            }
            both[index].push(range);
        }
    }
    for ranges in &both {
        valid(ranges, at)?;
    }
    Ok(both)
}

/// The id of the host behind the first of a range of container ids.
fn on_the_host(range: IdRange, maps: &[LinuxIdMapping]) -> Option<u32> {
    let end = range.outside.checked_add(range.size)?;
    let holds = |map: &&LinuxIdMapping| {
        map.container_id() <= range.outside && end <= map.container_id().saturating_add(map.size())
    };
    maps.iter().find(holds).and_then(|map| (range.outside - map.container_id()).checked_add(map.host_id()))
}

impl fmt::Display for IdMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, ranges) in [("uid", &self.uid), (" gid", &self.gid)] {
            f.write_str(name)?;
            for range in ranges {
                write!(f, " {}→{}+{}", range.inside, range.outside, range.size)?;
            }
        }
        Ok(())
    }
}
