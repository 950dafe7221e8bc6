//! A prefix of the program: calls newer than the profile do not exist.
//!
//! A libc tries a new system call and falls back to an old one on ENOSYS. A profile written before that call answers
//! EPERM instead, or kills, and programs break. So whatever has a higher number than every name in the profile gets
//! ENOSYS, as in runc.

#![forbid(unsafe_code)]

use super::{Abi, Action, Profile};

/// The bit that marks a number as one of x32.
pub(super) const X32_BIT: u32 = 1 << 30;
pub(super) const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
pub(super) const AUDIT_ARCH_I386: u32 = 0x4000_0003;

// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_J.. | BPF_K`, `BPF_RET | BPF_K` (`linux/bpf_common.h`).
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// `SECCOMP_RET_ERRNO | ENOSYS`
const NO_SUCH_CALL: u32 = 0x0005_0000 | ENOSYS as u32;
const ENOSYS: u16 = 38;

/// The prefix; empty where the default action lets unknown calls through, or says ENOSYS itself.
pub(super) fn program(profile: &Profile) -> Vec<u64> {
    if matches!(profile.default, Action::Allow | Action::Log | Action::Trace(_) | Action::Errno(ENOSYS)) {
        return Vec::new();
    }
    // From its end, so that every jump is known: the one that leaves the prefix is as long as what follows.
    let mut program = Vec::new();
    for abi in profile.abis.iter().rev() {
        if let Some(newest) = newest(profile, *abi) {
            program = [section(*abi, newest, program.len()), program].concat();
        }
    }
    program
}

/// The highest number that the profile names, with whatever action.
fn newest(profile: &Profile, abi: Abi) -> Option<u32> {
    profile.rules.iter().flat_map(|rule| &rule.names).filter_map(|name| abi.number(name)).max()
}

/// Where a call is not of this ABI, the section is passed; where it is old enough, `after` more instructions are too.
fn section(abi: Abi, newest: u32, after: usize) -> Vec<u64> {
    let architecture = if matches!(abi, Abi::X86) { AUDIT_ARCH_I386 } else { AUDIT_ARCH_X86_64 };
    let judge = [jump(IF_GREATER, newest, 0, 1 + distance(after)), instruction(RETURN, 0, 0, NO_SUCH_CALL)];
    let of_the_abi = match abi {
        Abi::X86 => Vec::new(),
        Abi::X86_64 => vec![jump(IF_BITS, X32_BIT, 2, 0)],
        Abi::X32 => vec![jump(IF_BITS, X32_BIT, 0, 2)],
    };
    let body = [vec![instruction(LOAD, 0, 0, NUMBER)], of_the_abi, judge.to_vec()].concat();
    let head = [instruction(LOAD, 0, 0, ARCHITECTURE), jump(IF_EQUAL, architecture, 0, distance(body.len()))];
    [head.to_vec(), body].concat()
}

/// There are three sections at most, so that every distance fits.
fn distance(instructions: usize) -> u8 {
    u8::try_from(instructions).unwrap_or(u8::MAX)
}

fn jump(condition: u16, value: u32, then: u8, otherwise: u8) -> u64 {
    instruction(condition, then, otherwise, value)
}

/// `struct sock_filter`.
fn instruction(code: u16, then: u8, otherwise: u8, value: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&code.to_ne_bytes());
    bytes[2..4].copy_from_slice(&[then, otherwise]);
    bytes[4..].copy_from_slice(&value.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}
