//! System call filters: a profile as plain data, and its way to a BPF program.
//!
//! Only the ABIs that this kernel can run are known here; what a profile says of others cannot come true on this
//! machine. [`Profile::compile`] is the only place that talks to libseccomp's compiler.

#![forbid(unsafe_code)]

mod compile;
#[cfg(test)]
mod interpreter;
mod stub;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use libseccomp::{ScmpArch, ScmpSyscall};

use crate::at::ConfigPath;

/// The flags of seccomp(2) that a profile can ask for (`linux/seccomp.h`).
pub(crate) mod flag {
    /// Log every action but "allow".
    pub(crate) const LOG: u32 = 2;
    /// Leave the mitigation of Speculative Store Bypass as it is.
    pub(crate) const SPEC_ALLOW: u32 = 4;
}

/// An ABI of the kernel. x32 shares the architecture of `x86_64`; its numbers have a bit of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abi {
    X86_64,
    X86,
    X32,
}

impl Abi {
    /// The ABI of this program, which every filter covers.
    pub(crate) const NATIVE: Self = Self::X86_64;

    const fn library(self) -> ScmpArch {
        match self {
            Self::X86_64 => ScmpArch::X8664,
            Self::X86 => ScmpArch::X86,
            Self::X32 => ScmpArch::X32,
        }
    }

    /// The number of a system call, if this ABI has it.
    fn number(self, name: &str) -> Option<u32> {
        // Negative numbers are the library's own, for calls of other architectures.
        let call = ScmpSyscall::from_name_by_arch(name, self.library()).ok()?;
        u32::try_from(i32::from(call)).ok()
    }
}

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    KillThread,
    KillProcess,
    Trap,
    Errno(u16),
    Trace(u16),
    Log,
    Allow,
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    MaskedEqual,
}

/// A condition on one argument. With [`Operator::MaskedEqual`], `value` is the mask and `second` what must be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub index: u32,
    pub operator: Operator,
    pub value: u64,
    pub second: u64,
}

/// An action for some calls. All conditions must hold; see [`Rule::alternatives`] for the exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub at: ConfigPath,
    pub names: Vec<String>,
    pub action: Action,
    pub conditions: Vec<Condition>,
}

impl Rule {
    /// The lists of conditions of which one must hold. Several conditions on the same argument are alternatives,
    /// and then all of them are, as in runc: the library takes one condition for each argument.
    fn alternatives(&self) -> Vec<&[Condition]> {
        let mut indices = BTreeSet::new();
        if self.conditions.iter().all(|condition| indices.insert(condition.index)) {
            return vec![&self.conditions];
        }
        self.conditions.chunks(1).collect()
    }
}

/// `linux.seccomp`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub default: Action,
    /// Includes [`Abi::NATIVE`].
    pub abis: Vec<Abi>,
    /// Flags of seccomp(2).
    pub flags: u32,
    pub rules: Vec<Rule>,
}

impl Profile {
    /// How many different system calls it names.
    pub(crate) fn names(&self) -> usize {
        self.rules.iter().flat_map(|rule| &rule.names).collect::<BTreeSet<_>>().len()
    }
}

/// Whether the library knows the name, on whatever architecture.
pub(crate) fn is_known(name: &str) -> bool {
    ScmpSyscall::from_name(name).is_ok()
}
