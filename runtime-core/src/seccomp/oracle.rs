//! The program that libseccomp makes of a profile, for the tests to compare with.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Seek};

use libseccomp::error::{SeccompErrno, SeccompError};
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{Action, Condition, Operator, Profile, Rule};

/// With fewer rules a list of comparisons is as good as a tree; and with none, libseccomp 2.5 makes a wrong tree.
const WORTH_A_TREE: usize = 32;
const TREE: u32 = 2;

/// The program, without anything for calls that are newer than the profile.
pub(super) fn program(profile: &Profile) -> Vec<u64> {
    let filter = filter(profile).expect("the library takes what its documentation says");
    let memory = memfd_create(c"filter", MFdFlags::MFD_CLOEXEC).expect("there is memory");
    let mut memory = File::from(memory);
    filter.export_bpf(&memory).expect("the library writes its program");
    let mut bytes = Vec::new();
    memory.rewind().and_then(|()| memory.read_to_end(&mut bytes)).expect("memory can be read");
    bytes.as_chunks().0.iter().map(|instruction| u64::from_ne_bytes(*instruction)).collect()
}

fn filter(profile: &Profile) -> Result<ScmpFilterContext, SeccompError> {
    let mut filter = ScmpFilterContext::new(profile.default.library())?;
    for abi in &profile.abis {
        filter.add_arch(abi.library())?;
    }
    if profile.rules.iter().map(|rule| rule.names.len()).sum::<usize>() > WORTH_A_TREE {
        filter.set_ctl_optimize(TREE)?;
    }
    for rule in profile.rules.iter().filter(|rule| rule.action != profile.default) {
        add(&mut filter, rule)?;
    }
    Ok(filter)
}

fn add(filter: &mut ScmpFilterContext, rule: &Rule) -> Result<(), SeccompError> {
    let alternatives: Vec<Vec<ScmpArgCompare>> =
        rule.alternatives().into_iter().map(|all| all.iter().map(Condition::library).collect()).collect();
    for call in rule.names.iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
        for conditions in &alternatives {
            match filter.add_rule_conditional(rule.action.library(), call, conditions) {
                Err(error) if error.errno() != Some(SeccompErrno::EEXIST) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

impl Action {
    const fn library(self) -> ScmpAction {
        match self {
            Self::KillThread => ScmpAction::KillThread,
            Self::KillProcess => ScmpAction::KillProcess,
            Self::Trap => ScmpAction::Trap,
            Self::Errno(errno) => ScmpAction::Errno(errno as i32),
            Self::Notify => ScmpAction::Notify,
            Self::Trace(message) => ScmpAction::Trace(message),
            Self::Log => ScmpAction::Log,
            Self::Allow => ScmpAction::Allow,
        }
    }
}

impl Condition {
    const fn library(&self) -> ScmpArgCompare {
        let (operator, datum) = match self.operator {
            Operator::NotEqual => (ScmpCompareOp::NotEqual, self.value),
            Operator::Less => (ScmpCompareOp::Less, self.value),
            Operator::LessOrEqual => (ScmpCompareOp::LessOrEqual, self.value),
            Operator::Equal => (ScmpCompareOp::Equal, self.value),
            Operator::GreaterOrEqual => (ScmpCompareOp::GreaterEqual, self.value),
            Operator::Greater => (ScmpCompareOp::Greater, self.value),
            Operator::MaskedEqual => (ScmpCompareOp::MaskedEqual(self.value), self.second),
        };
        ScmpArgCompare::new(self.index, operator, datum)
    }
}
