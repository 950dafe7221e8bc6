//! `linux.seccomp`: checked and taken over as a profile. What the filter means is in [`crate::seccomp`].

#![forbid(unsafe_code)]

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};

use super::HostStep;
use super::draft::Draft;
use crate::at::ConfigPath;
use crate::error::{Error, Result};
use crate::seccomp::{Abi, Action, Condition, Operator, Profile, Rule, flag, is_known};

const EPERM: u32 = 1;
/// `MAX_ERRNO`: the kernel cuts what is above to it.
const MAX_ERRNO: u32 = 4095;

/// What is worth saying of a profile that is not wrong.
#[derive(Default)]
struct Findings {
    notes: Vec<(ConfigPath, String)>,
    /// Where `SCMP_ACT_NOTIFY` is asked for.
    notify: Vec<ConfigPath>,
}

impl Findings {
    fn note(&mut self, at: ConfigPath, text: impl Into<String>) {
        self.notes.push((at, text.into()));
    }
}

/// The host compiles the profile; without a program there is nobody to filter.
pub(super) fn compile(p: &mut Draft<'_>) -> Result<()> {
    let Some(seccomp) = p.linux().and_then(|linux| linux.seccomp().as_ref()) else { return Ok(()) };
    let mut found = Findings::default();
    let profile = read(seccomp, &mut found)?;
    for (at, text) in found.notes {
        p.note(at, text);
    }
    for at in found.notify {
        p.refuse(at, "SCMP_ACT_NOTIFY is");
    }
    if p.process().is_some() {
        p.host_for(&ConfigPath::new("linux.seccomp"), HostStep::Filter);
        p.filter = Some(profile);
    }
    Ok(())
}

fn read(seccomp: &LinuxSeccomp, found: &mut Findings) -> Result<Profile> {
    let at = ConfigPath::new("linux.seccomp");
    listener(found, seccomp, &at)?;
    Ok(Profile {
        default: default_action(found, seccomp, &at)?,
        abis: abis(found, seccomp, &at),
        flags: flags(seccomp, &at)?,
        rules: rules(found, seccomp, &at)?,
    })
}

/// The profile of a configuration, for the tests of what it means.
#[cfg(test)]
pub(crate) fn profile_of(bundle: &crate::bundle::Bundle) -> Result<Profile> {
    let seccomp = bundle.spec().linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    read(seccomp.expect("there is a profile"), &mut Findings::default())
}

/// A listener matters to `SCMP_ACT_NOTIFY` only; but a message for nobody is an error.
fn listener(found: &mut Findings, seccomp: &LinuxSeccomp, at: &ConfigPath) -> Result<()> {
    let path = seccomp.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    if let Some(metadata) = seccomp.listener_metadata()
        && path.is_none()
        && !metadata.is_empty()
    {
        return Err(Error::invalid(at.field("listenerMetadata"), metadata, "nothing without listenerPath"));
    }
    if path.is_some() {
        found.note(at.field("listenerPath"), "no effect without SCMP_ACT_NOTIFY");
    }
    Ok(())
}

/// Kept to the architectures that this machine can run: a filter for others could never apply.
fn abis(found: &mut Findings, seccomp: &LinuxSeccomp, at: &ConfigPath) -> Vec<Abi> {
    let mut abis = vec![Abi::NATIVE];
    for (index, arch) in seccomp.architectures().iter().flatten().enumerate() {
        let abi = match arch {
            Arch::ScmpArchNative => Abi::NATIVE,
            Arch::ScmpArchX86_64 => Abi::X86_64,
            Arch::ScmpArchX86 => Abi::X86,
            Arch::ScmpArchX32 => Abi::X32,
            other => {
                found.note(at.field("architectures").index(index), format!("{other} does not occur on this machine"));
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
    let Some(list) = seccomp.flags() else { return Ok(flag::SPEC_ALLOW) };
    let bit = |(index, word): (usize, &LinuxSeccompFilterFlag)| match word {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => Ok(flag::LOG),
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Ok(flag::SPEC_ALLOW),
        // There is one thread.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => Ok(0),
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
            let at = at.field("flags").index(index);
            Err(Error::invalid(at, word.to_string(), "no such flag without a rule with SCMP_ACT_NOTIFY"))
        }
    };
    list.iter().enumerate().map(bit).try_fold(0, |all, bit| Ok(all | bit?))
}

fn default_action(found: &mut Findings, seccomp: &LinuxSeccomp, at: &ConfigPath) -> Result<Action> {
    let errno = at.field("defaultErrnoRet");
    action(found, seccomp.default_action(), seccomp.default_errno_ret(), &at.field("defaultAction"), &errno)
}

fn rules(found: &mut Findings, seccomp: &LinuxSeccomp, at: &ConfigPath) -> Result<Vec<Rule>> {
    let list = seccomp.syscalls().as_deref().unwrap_or_default();
    let rule = |(index, entry)| rule(found, entry, at.field("syscalls").index(index));
    list.iter().enumerate().map(rule).collect()
}

fn rule(found: &mut Findings, entry: &LinuxSyscall, at: ConfigPath) -> Result<Rule> {
    let names = at.field("names");
    if entry.names().is_empty() {
        return Err(Error::missing(names, "at least one name"));
    }
    if let Some(index) = entry.names().iter().position(String::is_empty) {
        return Err(Error::invalid(names.index(index), "", "the name of a system call"));
    }
    let unknown: Vec<&str> = entry.names().iter().map(String::as_str).filter(|name| !is_known(name)).collect();
    if !unknown.is_empty() {
        found.note(names, format!("ignoring system calls that libseccomp does not know: {}", unknown.join(" ")));
    }
    let action = action(found, entry.action(), entry.errno_ret(), &at.field("action"), &at.field("errnoRet"))?;
    let args = entry.args().as_deref().unwrap_or_default();
    let condition = |(index, arg)| condition(arg, &at.field("args").index(index));
    let conditions = args.iter().enumerate().map(condition).collect::<Result<_>>()?;
    Ok(Rule { names: entry.names().clone(), action, conditions, at })
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
fn action(
    found: &mut Findings,
    word: LinuxSeccompAction,
    errno: Option<u32>,
    at: &ConfigPath,
    errno_at: &ConfigPath,
) -> Result<Action> {
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
        LinuxSeccompAction::ScmpActNotify => {
            found.notify.push(at.clone());
            Action::KillProcess // never carried out: the plan is refused
        }
    })
}
