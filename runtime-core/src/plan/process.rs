//! `process`: identity, capabilities, environment, working directory, limits, and the tail of the order.

#![forbid(unsafe_code)]

mod capabilities;
pub(super) mod labels;
pub(in crate::plan) mod scheduling;

use oci_spec::runtime::{LinuxPersonalityDomain, PosixRlimitType, Process};
use runtime_init::Step;

use super::draft::Draft;
use super::hooks::{self, Phase};
use super::{HostStep, SlotUse};
use crate::at::ConfigPath;
use crate::error::{Error, Result};

use capabilities::Sets;

/// The umask of a program whose configuration has none (D11).
const UMASK: u32 = 0o022;
/// A user or group id that `setresuid` reads as "leave it" (CVE-2026-30892, CVE-2024-40635).
const NO_ID: u32 = u32::MAX;
/// `CAP_SYS_ADMIN`.
const SYS_ADMIN: u64 = 1 << 21;

/// `process.oomScoreAdj`.
pub(super) fn oom_score(p: &mut Draft<'_>) -> Result<()> {
    let at = ConfigPath::new("process.oomScoreAdj");
    let Some(score) = p.process().and_then(Process::oom_score_adj) else { return Ok(()) };
    if !(-1000..=1000).contains(&score) {
        return Err(Error::invalid(at, score, "-1000 to 1000"));
    }
    let score = p.texts.add(score.to_string(), &at)?;
    p.init_for(&at, Step::OomScore { score });
    Ok(())
}

/// `process.cwd` is made where it is missing, as by the peers.
pub(super) fn working_directory_exists(p: &mut Draft<'_>) -> Result<()> {
    let Some((at, cwd)) = working_directory(p)? else { return Ok(()) };
    if cwd != "/" {
        let path = p.texts.add(&cwd, &at)?;
        p.init_for(&at, Step::MakeDirectory { path, ordinary: 0 });
    }
    Ok(())
}

fn working_directory(p: &Draft<'_>) -> Result<Option<(ConfigPath, String)>> {
    let at = ConfigPath::new("process.cwd");
    let Some(process) = p.process() else { return Ok(None) };
    match process.cwd().to_str() {
        Some(cwd) if cwd.starts_with('/') => Ok(Some((at, cwd.to_owned()))),
        _ => Err(Error::invalid(at, process.cwd(), "Cwd must be an absolute path")),
    }
}

/// `process.rlimits`, set by the host at the last gate: init may lack the rights.
pub(super) fn limits(p: &mut Draft<'_>) -> Result<()> {
    let limits = p.process().and_then(|process| process.rlimits().as_deref()).unwrap_or_default();
    for (index, limit) in limits.iter().enumerate() {
        let at = ConfigPath::new("process.rlimits").index(index);
        if limits[..index].iter().any(|other| other.typ() == limit.typ()) {
            return Err(Error::invalid(at.field("type"), limit.typ().to_string(), "each type once"));
        }
        if limit.soft() > limit.hard() {
            return Err(Error::invalid(
                at.field("soft"),
                limit.soft(),
                format!("at most hard, which is {}", limit.hard()),
            ));
        }
        let (resource, name) = resource(limit.typ());
        p.host_for(&at, HostStep::Limit { resource, name, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(())
}

/// The number of a limit (`asm-generic/resource.h`) and its name.
const fn resource(kind: PosixRlimitType) -> (u32, &'static str) {
    match kind {
        PosixRlimitType::RlimitCpu => (0, "RLIMIT_CPU"),
        PosixRlimitType::RlimitFsize => (1, "RLIMIT_FSIZE"),
        PosixRlimitType::RlimitData => (2, "RLIMIT_DATA"),
        PosixRlimitType::RlimitStack => (3, "RLIMIT_STACK"),
        PosixRlimitType::RlimitCore => (4, "RLIMIT_CORE"),
        PosixRlimitType::RlimitRss => (5, "RLIMIT_RSS"),
        PosixRlimitType::RlimitNproc => (6, "RLIMIT_NPROC"),
        PosixRlimitType::RlimitNofile => (7, "RLIMIT_NOFILE"),
        PosixRlimitType::RlimitMemlock => (8, "RLIMIT_MEMLOCK"),
        PosixRlimitType::RlimitAs => (9, "RLIMIT_AS"),
        PosixRlimitType::RlimitLocks => (10, "RLIMIT_LOCKS"),
        PosixRlimitType::RlimitSigpending => (11, "RLIMIT_SIGPENDING"),
        PosixRlimitType::RlimitMsgqueue => (12, "RLIMIT_MSGQUEUE"),
        PosixRlimitType::RlimitNice => (13, "RLIMIT_NICE"),
        PosixRlimitType::RlimitRtprio => (14, "RLIMIT_RTPRIO"),
        PosixRlimitType::RlimitRttime => (15, "RLIMIT_RTTIME"),
    }
}

/// The last lines: privileges fall once, then nothing but the program is left to do. With `done` the host has done its
/// part: right after the last gate.
pub(super) fn tail(p: &mut Draft<'_>, done: HostStep) -> Result<()> {
    let start = if p.exec { None } else { Some(p.slot(SlotUse::Start)) };
    let listens = p.process().is_some() && p.filter.as_ref().is_some_and(|filter| filter.listener.is_some());
    let done = if listens {
        Some(done)
    } else {
        p.host(done);
        None
    };
    let Some(process) = p.process() else {
        // Legal for create; start refuses (D2).
        start.into_iter().for_each(|slot| p.init(Step::WaitForStart { slot }));
        return Ok(());
    };
    labels::of_program(p)?;
    personality(p)?;
    scheduling::memory_policy(p)?;
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    if no_new_privileges {
        p.init_for(&ConfigPath::new("process.noNewPrivileges"), Step::NoNewPrivs {});
    }
    let sets = capabilities::sets(p, process)?;
    let at = ConfigPath::new("process.capabilities");
    p.init_for(&at.field("bounding"), Step::Bounding { keep: sets.bounding });
    identity(p, process)?;
    if p.filter.is_some() && !no_new_privileges {
        // Without noNewPrivileges it takes this capability to install a filter, and that comes last.
        let filtering = Sets { effective: sets.effective | SYS_ADMIN, permitted: sets.permitted | SYS_ADMIN, ..sets };
        raise(p, &Sets { ambient: 0, ..filtering });
        program(p, process, start, Some(&sets), done)
    } else {
        raise(p, &sets);
        program(p, process, start, None, done)
    }
}

/// `linux.personality`. The specification has no flags yet.
fn personality(p: &mut Draft<'_>) -> Result<()> {
    const PER_LINUX32: u32 = 8;
    let at = ConfigPath::new("linux.personality");
    let Some(personality) = p.linux().and_then(|linux| linux.personality().as_ref()) else { return Ok(()) };
    if let Some(flags) = personality.flags().as_ref().filter(|flags| !flags.is_empty()) {
        return Err(Error::invalid(at.field("flags"), flags, "none: runtime-spec defines no flags"));
    }
    let domain = match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    };
    p.init_for(&at, Step::Personality { domain });
    Ok(())
}

/// The descriptors that the caller passes, when init needs none of its own any more.
fn passed(p: &mut Draft<'_>) -> Result<()> {
    let mut files = Vec::new();
    for &number in &p.options.pass_fds {
        if number < 3 || i32::try_from(number).is_err() {
            return Err(Error::invalid(ConfigPath::new("pass_fds"), number, "the number of a descriptor above 2"));
        }
        files.extend([number, p.slot(SlotUse::Passed { number }).0]);
    }
    if !files.is_empty() {
        let files = p.words(&files);
        p.init(Step::Pass { files });
    }
    Ok(())
}

/// The capabilities, then the ambient ones, which the others bound.
fn raise(p: &mut Draft<'_>, sets: &Sets) {
    let at = ConfigPath::new("process.capabilities");
    let Sets { effective, permitted, inheritable, ambient, .. } = *sets;
    p.init_for(&at, Step::Capabilities { effective, permitted, inheritable });
    if ambient != 0 {
        p.init_for(&at.field("ambient"), Step::Ambient { raise: ambient });
    }
}

fn identity(p: &mut Draft<'_>, process: &Process) -> Result<()> {
    let user = process.user();
    let at = ConfigPath::new("process.user");
    for (field, id) in [("uid", user.uid()), ("gid", user.gid())] {
        if id == NO_ID {
            return Err(Error::invalid(at.field(field), id, "an id below 4294967295"));
        }
    }
    // With the rights init still has; the user may have no way into it.
    if let Some((at, cwd)) = working_directory(p)? {
        let path = p.texts.add(cwd, &at)?;
        p.init_for(&at, Step::Enterdir { path });
    }
    p.init_for(&at.field("uid"), Step::OwnStdio { uid: user.uid() });
    groups(p, process)?;
    p.init_for(&at, Step::Ids { uid: user.uid(), gid: user.gid() });
    if let Some(mask) = user.umask()
        && mask > 0o777
    {
        return Err(Error::invalid(at.field("umask"), mask, "at most 511 (0o777)"));
    }
    let mask = Step::Umask { mask: user.umask().unwrap_or(UMASK) };
    if user.umask().is_some() {
        p.init_for(&at.field("umask"), mask)
    } else {
        p.init(mask)
    }
    Ok(())
}

fn groups(p: &mut Draft<'_>, process: &Process) -> Result<()> {
    const MAX: usize = 4096;
    let at = ConfigPath::new("process.user.additionalGids");
    let groups = process.user().additional_gids().as_deref().unwrap_or_default();
    if groups.len() > MAX {
        return Err(Error::invalid(at, format_args!("{} groups", groups.len()), "at most 4096"));
    }
    if p.id_maps.deny_setgroups || p.host.setgroups_denied {
        // The kernel wants setgroups given up before an unprivileged process may write a gid map, and that holds for
        // all user namespaces below.
        if groups.is_empty() {
            return Ok(());
        }
        return Err(Error::refused(
            at,
            "groups cannot be set in a user namespace whose only id is the caller's: remove the field, or map more ids (newgidmap)",
        ));
    }
    let groups = p.words(groups);
    p.init_for(&at, Step::Groups { groups });
    Ok(())
}

/// From the program's name to its start. `last` are capabilities that wait for the filter; `done` is there if the
/// filter's listener goes to an agent.
fn program(
    p: &mut Draft<'_>,
    process: &Process,
    start: Option<runtime_init::Slot>,
    last: Option<&Sets>,
    done: Option<HostStep>,
) -> Result<()> {
    let at = ConfigPath::new("process.args");
    let args = process.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        return Err(Error::missing(at, "the program and its arguments, at least one word"));
    }
    if let Some((at, cwd)) = working_directory(p)? {
        let path = p.texts.add(cwd, &at)?;
        p.init_for(&at, Step::Cwd { path });
    }
    let args = p.list(args, &at)?;
    let environment = environment(process, &p.options.environment)?;
    let path = environment.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default();
    let path = p.texts.add(path, &ConfigPath::new("process.env"))?;
    p.init_for(&at, Step::FindProgram { args, path });
    let env = p.list(&environment, &ConfigPath::new("process.env"))?;
    let has_home = environment.iter().any(|e| e.starts_with("HOME="));
    let home_of = if has_home { u32::MAX } else { process.user().uid() };
    p.init_for(&at, Step::Prepare { args, env, home_of });
    let wait = |p: &mut Draft<'_>| {
        if let Some(slot) = start {
            p.init(Step::WaitForStart { slot });
        }
    };
    let has_hooks = start.is_some() && hooks::any(p, Phase::StartContainer);
    if let Some(done) = done {
        // Before the wait, because it is the creating host that takes the listener.
        passed(p)?;
        filter(p, last);
        p.host(done);
        wait(p);
        if has_hooks {
            hooks::inside(p, Phase::StartContainer)?;
        }
    } else if has_hooks {
        // They are programs of the image: no right and no call is theirs that the container's program has not.
        wait(p);
        filter(p, last);
        hooks::inside(p, Phase::StartContainer)?;
        passed(p)?;
    } else {
        // Behind the filter stands nothing that an ordinary profile forbids: capset, prctl, execve.
        wait(p);
        passed(p)?;
        filter(p, last);
    }
    p.init_for(&at, Step::Execute { args, env });
    Ok(())
}

fn filter(p: &mut Draft<'_>, last: Option<&Sets>) {
    super::seccomp::install(p);
    if let Some(sets) = last {
        raise(p, sets);
    }
}

/// `process.env` and what the caller adds: of a name given twice the last value stays, as in runc. An empty `HOME` counts
/// as none.
fn environment(process: &Process, added: &[String]) -> Result<Vec<String>> {
    let entries = [process.env().as_deref().unwrap_or_default(), added].concat();
    let mut last = std::collections::HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = ConfigPath::new("process.env").index(index);
        match entry.split_once('=') {
            Some((name, _)) if !name.is_empty() && !entry.contains('\0') => last.insert(name, index),
            _ => return Err(Error::invalid(at, entry, "NAME=value, without NUL")),
        };
    }
    let wanted = |(index, entry): &(usize, &String)| {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        last.get(name) == Some(index) && *entry != "HOME="
    };
    Ok(entries.iter().enumerate().filter(wanted).map(|(_, entry)| entry.clone()).collect())
}
