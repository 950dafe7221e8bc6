//! `linux.seccomp`: checked and taken over as a profile. What the filter means is in [`crate::seccomp`].

#![forbid(unsafe_code)]

use std::path::PathBuf;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};

use runtime_init::{Gate, Step};

use super::HostStep;
use super::draft::Draft;
use crate::at::ConfigPath;
use crate::error::{Error, Result};
use crate::seccomp::{Abi, Action, Condition, Operator, Profile, Rule, flag, is_known};

const EPERM: u32 = 1;
/// `MAX_ERRNO`: the kernel cuts what is above to it.
const MAX_ERRNO: u32 = 4095;

/// Whom the kernel asks about calls with `SCMP_ACT_NOTIFY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// The socket on which the agent takes descriptors.
    pub path: PathBuf,
    /// What the agent is told beyond the container's state.
    pub metadata: Option<String>,
}

/// The filter of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// What it is made from; `None` means the program that was kept when the container was created.
    pub profile: Option<Profile>,
    /// Flags of seccomp(2).
    pub flags: u32,
    pub listener: Option<Listener>,
}

/// What is worth saying of a profile that is not wrong.
type Notes = Vec<(ConfigPath, String)>;

/// The host compiles the profile and keeps the program for every later process of the container.
pub(super) fn compile(p: &mut Draft<'_>) -> Result<()> {
    let Some(seccomp) = p.linux().and_then(|linux| linux.seccomp().as_ref()) else { return Ok(()) };
    let at = ConfigPath::new("linux.seccomp");
    let mut notes = Notes::new();
    let listener = listener(&mut notes, seccomp, &at)?;
    let profile = if p.exec { None } else { Some(read(seccomp, &mut notes)?) };
    for (at, text) in notes {
        p.note(at, text);
    }
    p.host_for(&at, HostStep::Filter);
    p.filter = Some(Filter { profile, flags: flags(seccomp, &at)?, listener });
    Ok(())
}

/// The line of the filter, and those around it that bring its listener to the agent.
pub(super) fn install(p: &mut Draft<'_>) {
    let Some(Filter { flags, listener, .. }) = &p.filter else { return };
    let (flags, listens) = (*flags, listener.is_some());
    let at = ConfigPath::new("linux.seccomp");
    let listener = at.field("listenerPath");
    if listens {
        p.host_for(&listener, HostStep::Agent);
        p.host(HostStep::Release(Gate::Notify));
        p.init_for(&listener, Step::Await { gate: Gate::Notify });
    }
    p.init_for(&at, Step::Filter { flags });
    if listens {
        p.host_for(&listener, HostStep::Listener);
    }
}

fn read(seccomp: &LinuxSeccomp, notes: &mut Notes) -> Result<Profile> {
    let at = ConfigPath::new("linux.seccomp");
    Ok(Profile {
        default: default_action(seccomp, &at)?,
        abis: abis(notes, seccomp, &at),
        rules: rules(notes, seccomp, &at)?,
    })
}

/// The profile and the flags of a configuration, for the tests of what they mean.
#[cfg(test)]
pub(crate) fn profile_of(bundle: &crate::bundle::Bundle) -> Result<(Profile, u32)> {
    let seccomp =
        bundle.spec().linux().as_ref().and_then(|linux| linux.seccomp().as_ref()).expect("there is a profile");
    let at = ConfigPath::new("linux.seccomp");
    let mut notes = Notes::new();
    listener(&mut notes, seccomp, &at)?;
    Ok((read(seccomp, &mut notes)?, flags(seccomp, &at)?))
}

fn notifies(seccomp: &LinuxSeccomp) -> bool {
    seccomp.syscalls().iter().flatten().any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

/// A listener matters to `SCMP_ACT_NOTIFY` only; but a message for nobody is an error.
fn listener(notes: &mut Notes, seccomp: &LinuxSeccomp, at: &ConfigPath) -> Result<Option<Listener>> {
    const LONGEST: usize = 107;
    let path = seccomp.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = seccomp.listener_metadata().as_ref().filter(|metadata| !metadata.is_empty());
    let at_path = at.field("listenerPath");
    match (path, metadata) {
        (None, Some(metadata)) => {
            Err(Error::invalid(at.field("listenerMetadata"), metadata, "nothing without listenerPath"))
        }
        (None, None) if notifies(seccomp) => {
            Err(Error::missing(at_path, "the path of the agent's socket, which SCMP_ACT_NOTIFY needs"))
        }
        (Some(path), metadata) if notifies(seccomp) => {
            if !path.is_absolute() || path.as_os_str().len() > LONGEST {
                return Err(Error::invalid(at_path, path, "an absolute path of at most 107 bytes"));
            }
            Ok(Some(Listener { path: path.clone(), metadata: metadata.cloned() }))
        }
        (Some(_), _) => {
            notes.push((at_path, "no effect without SCMP_ACT_NOTIFY".to_owned()));
            Ok(None)
        }
        (None, None) => Ok(None),
    }
}

/// Kept to the architectures that this machine can run: a filter for others could never apply.
fn abis(notes: &mut Notes, seccomp: &LinuxSeccomp, at: &ConfigPath) -> Vec<Abi> {
    let mut abis = vec![Abi::NATIVE];
    for (index, arch) in seccomp.architectures().iter().flatten().enumerate() {
        let abi = match arch {
            Arch::ScmpArchNative => Abi::NATIVE,
            Arch::ScmpArchX86_64 => Abi::X86_64,
            Arch::ScmpArchX86 => Abi::X86,
            Arch::ScmpArchX32 => Abi::X32,
            other => {
                notes.push((at.field("architectures").index(index), format!("{other} does not occur on this machine")));
                continue;
            }
        };
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    abis
}

/// The flags as bits. An absent list is not an empty one, as in runc.
fn flags(seccomp: &LinuxSeccomp, at: &ConfigPath) -> Result<u32> {
    let listening = notifies(seccomp);
    let always = if listening { flag::NEW_LISTENER } else { 0 };
    let Some(list) = seccomp.flags() else { return Ok(always | flag::SPEC_ALLOW) };
    let bit = |(index, word): (usize, &LinuxSeccompFilterFlag)| match word {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => Ok(flag::LOG),
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Ok(flag::SPEC_ALLOW),
        // There is one thread.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => Ok(0),
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if listening => Ok(flag::WAIT_KILLABLE_RECV),
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
            let at = at.field("flags").index(index);
            Err(Error::invalid(at, word.to_string(), "no such flag without a rule with SCMP_ACT_NOTIFY"))
        }
    };
    list.iter().enumerate().map(bit).try_fold(always, |all, bit| Ok(all | bit?))
}

fn default_action(seccomp: &LinuxSeccomp, at: &ConfigPath) -> Result<Action> {
    let (word, at_action) = (seccomp.default_action(), at.field("defaultAction"));
    if word == LinuxSeccompAction::ScmpActNotify {
        // Calls that init has to make would be asked about before anybody can answer.
        return Err(Error::refused(at_action, "SCMP_ACT_NOTIFY cannot be used as default action"));
    }
    action(word, seccomp.default_errno_ret(), &at.field("defaultErrnoRet"))
}

fn rules(notes: &mut Notes, seccomp: &LinuxSeccomp, at: &ConfigPath) -> Result<Vec<Rule>> {
    let list = seccomp.syscalls().as_deref().unwrap_or_default();
    let at = at.field("syscalls");
    list.iter().enumerate().map(|(index, entry)| rule(notes, entry, &at.index(index))).collect()
}

fn rule(notes: &mut Notes, entry: &LinuxSyscall, at: &ConfigPath) -> Result<Rule> {
    let names = || at.field("names");
    if entry.names().is_empty() {
        return Err(Error::missing(names(), "at least one name"));
    }
    if let Some(index) = entry.names().iter().position(String::is_empty) {
        return Err(Error::invalid(names().index(index), "", "the name of a system call"));
    }
    let action = action(entry.action(), entry.errno_ret(), &at.field("errnoRet"))?;
    if let Some(index) = entry.names().iter().position(|name| name == "write")
        && action == Action::Notify
    {
        // Not for our sake: an agent that is asked about its container's every output is a mistake, and runc refuses it.
        let reason = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
        return Err(Error::refused(names().index(index), reason));
    }
    let unknown: Vec<&str> = entry.names().iter().map(String::as_str).filter(|name| !is_known(name)).collect();
    if !unknown.is_empty() {
        notes.push((names(), format!("ignoring system calls that libseccomp does not know: {}", unknown.join(" "))));
    }
    let args = entry.args().as_deref().unwrap_or_default();
    let condition = |(index, arg)| condition(arg, &at.field("args").index(index));
    let conditions = args.iter().enumerate().map(condition).collect::<Result<_>>()?;
    Ok(Rule { names: entry.names().clone(), action, conditions })
}

fn condition(arg: &LinuxSeccompArg, at: &ConfigPath) -> Result<Condition> {
    let index = match u32::try_from(arg.index()) {
        Ok(index @ 0..=5) => index,
        _ => return Err(Error::invalid(at.field("index"), arg.index(), "0 to 5")),
    };
    let operator = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => Operator::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => Operator::Less,
        LinuxSeccompOperator::ScmpCmpLe => Operator::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => Operator::Equal,
        LinuxSeccompOperator::ScmpCmpGe => Operator::GreaterOrEqual,
        LinuxSeccompOperator::ScmpCmpGt => Operator::Greater,
        LinuxSeccompOperator::ScmpCmpMaskedEq => Operator::MaskedEqual,
    };
    Ok(Condition { index, operator, value: arg.value(), second: arg.value_two().unwrap_or(0) })
}

/// An action with what it returns. Only two of them return something.
fn action(word: LinuxSeccompAction, errno: Option<u32>, errno_at: &ConfigPath) -> Result<Action> {
    let most = match word {
        LinuxSeccompAction::ScmpActErrno => MAX_ERRNO,
        LinuxSeccompAction::ScmpActTrace => u16::MAX.into(),
        _ => 0,
    };
    if let Some(errno) = errno {
        if most == 0 {
            return Err(Error::invalid(
                errno_at.clone(),
                errno,
                "nothing, except with SCMP_ACT_ERRNO and SCMP_ACT_TRACE",
            ));
        }
        if errno > most {
            return Err(Error::invalid(errno_at.clone(), errno, format!("at most {most}")));
        }
    }
    let value = u16::try_from(errno.unwrap_or(EPERM)).unwrap_or(u16::MAX);
    Ok(match word {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => Action::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        LinuxSeccompAction::ScmpActTrap => Action::Trap,
        LinuxSeccompAction::ScmpActErrno => Action::Errno(value),
        LinuxSeccompAction::ScmpActTrace => Action::Trace(value),
        LinuxSeccompAction::ScmpActLog => Action::Log,
        LinuxSeccompAction::ScmpActAllow => Action::Allow,
        LinuxSeccompAction::ScmpActNotify => Action::Notify,
    })
}
