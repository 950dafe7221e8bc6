//! From a profile to instructions, by libseccomp.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Seek};

use libseccomp::error::{SeccompErrno, SeccompError};
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{Action, Condition, Operator, Profile, Rule, stub};
use crate::at::ConfigPath;
use crate::error::{Error, Result, StepError};

/// `BPF_MAXINSNS`: what the kernel takes.
const LIMIT: usize = 4096;
/// With fewer rules a list of comparisons is as good as a tree; and with none, libseccomp 2.5 makes a wrong tree.
const WORTH_A_TREE: usize = 32;
const TREE: u32 = 2;

impl Profile {
    /// The program, instruction by instruction. Takes milliseconds.
    ///
    /// # Errors
    /// A rule that the library does not take, and a program that is longer than the kernel allows.
    pub(crate) fn compile(&self) -> Result<Vec<u64>> {
        let at = ConfigPath::new("linux.seccomp");
        let mut program = stub::program(self);
        program.extend(self.filter().and_then(|filter| export(&filter))?);
        if program.len() > LIMIT {
            let reason =
                format!("the filter has {} instructions, the kernel takes {LIMIT}: fewer rules", program.len());
            return Err(Error::refused(at, reason));
        }
        Ok(program)
    }

    fn filter(&self) -> Result<ScmpFilterContext> {
        let at = ConfigPath::new("linux.seccomp");
        let mut filter = ScmpFilterContext::new(self.default.library()).map_err(|e| unusable(&at, &e))?;
        for abi in &self.abis {
            filter.add_arch(abi.library()).map_err(|e| unusable(&at.field("architectures"), &e))?;
        }
        if self.rules.iter().map(|rule| rule.names.len()).sum::<usize>() > WORTH_A_TREE {
            filter.set_ctl_optimize(TREE).map_err(|e| unusable(&at, &e))?;
        }
        // What equals the default action needs no rule, and the library takes none.
        for rule in self.rules.iter().filter(|rule| rule.action != self.default) {
            add(&mut filter, rule)?;
        }
        Ok(filter)
    }
}

fn add(filter: &mut ScmpFilterContext, rule: &Rule) -> Result<()> {
    let alternatives: Vec<Vec<ScmpArgCompare>> =
        rule.alternatives().into_iter().map(|all| all.iter().map(Condition::library).collect()).collect();
    for name in &rule.names {
        // Unknown names were noted when the plan was made.
        let Ok(call) = ScmpSyscall::from_name(name) else { continue };
        for conditions in &alternatives {
            match filter.add_rule_conditional(rule.action.library(), call, conditions) {
                Err(e) if e.errno() != Some(SeccompErrno::EEXIST) => {
                    return Err(unusable(&rule.at, &format_args!("{name}: {e}")));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The library writes to a descriptor; this one is memory, so that no length can make it wait.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u64>> {
    let failed = |call, e: std::io::Error| StepError::io(None, "compile the filter", call, &e);
    let memory = memfd_create(c"filter", MFdFlags::MFD_CLOEXEC).map_err(|e| failed("memfd_create", e.into()))?;
    let mut memory = File::from(memory);
    filter.export_bpf(&memory).map_err(|e: SeccompError| unusable(&ConfigPath::new("linux.seccomp"), &e))?;
    let mut bytes = Vec::new();
    memory.rewind().map_err(|e| failed("lseek", e))?;
    memory.read_to_end(&mut bytes).map_err(|e| failed("read", e))?;
    Ok(bytes.as_chunks().0.iter().map(|instruction| u64::from_ne_bytes(*instruction)).collect())
}

fn unusable(at: &ConfigPath, why: &impl std::fmt::Display) -> Error {
    Error::refused(at.clone(), format!("libseccomp cannot make a filter of this: {why}"))
}

impl Action {
    const fn library(self) -> ScmpAction {
        match self {
            Self::KillThread => ScmpAction::KillThread,
            Self::KillProcess => ScmpAction::KillProcess,
            Self::Trap => ScmpAction::Trap,
            Self::Errno(errno) => ScmpAction::Errno(errno as i32),
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
