//! System call filters: a profile as plain data, and its way to a BPF program.
//!
//! Only the ABIs that this kernel can run are known here; what a profile says of others cannot come true on this
//! machine. The program is of our own making ([`Profile::compile`]); libseccomp knows the names of system calls, and in
//! the tests its compiler is asked for comparison: it takes 20 ms where this takes less than one.

#![forbid(unsafe_code)]

mod assembler;
mod generate;
#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use libseccomp::{ScmpArch, ScmpSyscall};

pub(crate) use generate::LIMIT;

/// The flags of seccomp(2) that a profile can ask for (`linux/seccomp.h`).
pub(crate) mod flag {
    /// Log every action but "allow".
    pub(crate) const LOG: u32 = 2;
    /// Leave the mitigation of Speculative Store Bypass as it is.
    pub(crate) const SPEC_ALLOW: u32 = 4;
    /// Return a descriptor on which an agent hears of the calls with [`super::Action::Notify`].
    pub(crate) const NEW_LISTENER: u32 = 8;
    /// Such a call, once heard of, can only be interrupted by what kills.
    pub(crate) const WAIT_KILLABLE_RECV: u32 = 32;
}

/// An ABI of the kernel. x32 shares the architecture of `x86_64`; its numbers have a bit of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abi {
    X86_64,
    X86,
    X32,
}

/// One way into a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    number: u32,
    /// Which call it is, where several share the number.
    first_argument: Option<u64>,
}

impl Abi {
    /// The ABI of this program, which every filter covers.
    pub(crate) const NATIVE: Self = Self::X86_64;
    /// `AUDIT_ARCH_X86_64` (`linux/audit.h`).
    const AUDIT_X86_64: u32 = 0xc000_003e;
    /// `AUDIT_ARCH_I386`.
    const AUDIT_I386: u32 = 0x4000_0003;

    const fn library(self) -> ScmpArch {
        match self {
            Self::X86_64 => ScmpArch::X8664,
            Self::X86 => ScmpArch::X86,
            Self::X32 => ScmpArch::X32,
        }
    }

    /// The architecture that the kernel tells a filter.
    const fn audit(self) -> u32 {
        match self {
            Self::X86 => Self::AUDIT_I386,
            Self::X86_64 | Self::X32 => Self::AUDIT_X86_64,
        }
    }

    /// The numbers of x32 have a bit of their own (`__X32_SYSCALL_BIT`).
    const fn first_number(self) -> u32 {
        match self {
            Self::X32 => 1 << 30,
            Self::X86 | Self::X86_64 => 0,
        }
    }

    /// The bits of an argument that count.
    const fn bits(self) -> u64 {
        match self {
            Self::X86_64 => u64::MAX,
            Self::X86 | Self::X32 => u32::MAX as u64,
        }
    }

    /// The ways into the system call `name`; none if this ABI does not have it.
    fn entries(self, name: &str) -> impl Iterator<Item = Entry> + use<> {
        let number = ScmpSyscall::from_name_by_arch(name, self.library()).map_or(i32::MIN, i32::from);
        let [own, shared] = match (u32::try_from(number), shared_number(number)) {
            (Ok(number), _) => [Some(Entry { number, first_argument: None }), None],
            (_, Some(shared)) if self == Self::X86 => [direct_number(number), Some(shared)],
            // The library's own numbers for calls of other architectures.
            _ => [None, None],
        };
        own.into_iter().chain(shared)
    }
}

/// Calls on sockets go through `socketcall` of x86, those on System V objects through `ipc`. The library numbers them from
/// -101 and -201, by what tells them apart.
fn shared_number(library: i32) -> Option<Entry> {
    const SOCKETCALL: u32 = 102;
    const IPC: u32 = 117;
    let number = match library {
        -120..=-101 => SOCKETCALL,
        -224..=-201 => IPC,
        _ => return None,
    };
    Some(Entry { number, first_argument: Some(u64::from(library.unsigned_abs() % 100)) })
}

/// Most of them have had a number of their own since Linux 4.3 or 5.1, which the library does not tell.
fn direct_number(library: i32) -> Option<Entry> {
    const NUMBERS: [(i32, u32); 27] = [
        (-101, 359),
        (-102, 361),
        (-103, 362),
        (-104, 363),
        (-106, 367),
        (-107, 368),
        (-108, 360),
        (-111, 369),
        (-112, 371),
        (-113, 373),
        (-114, 366),
        (-115, 365),
        (-116, 370),
        (-117, 372),
        (-118, 364),
        (-119, 337),
        (-120, 345),
        (-202, 393),
        (-203, 394),
        (-211, 400),
        (-212, 401),
        (-213, 399),
        (-214, 402),
        (-221, 397),
        (-222, 398),
        (-223, 395),
        (-224, 396),
    ];
    let found = NUMBERS.iter().find(|(name, _)| *name == library);
    found.map(|(_, number)| Entry { number: *number, first_argument: None })
}

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    KillThread,
    KillProcess,
    Trap,
    Errno(u16),
    /// An agent decides.
    Notify,
    Trace(u16),
    Log,
    Allow,
}

impl Action {
    /// What a filter returns for it (`SECCOMP_RET_*`, `linux/seccomp.h`).
    const fn value(self) -> u32 {
        match self {
            Self::KillThread => 0,
            Self::KillProcess => 0x8000_0000,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | errno as u32,
            Self::Notify => 0x7fc0_0000,
            Self::Trace(message) => 0x7ff0_0000 | message as u32,
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// The kernel's order, strictest first: as signed numbers, without what comes with them.
    const fn strictness(self) -> i32 {
        (self.value() & 0xffff_0000).cast_signed()
    }
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
