//! `linux.resources.devices` → rules → an eBPF program that the kernel asks at every open and mknod.
//!
//! Meaning: every letter of an access (r, w, m) is decided by the *last* rule that matches the device
//! and has that letter; without one it is denied. An access passes if all of its letters do. Deciding
//! letter by letter matters for denials: `allow rw` then `deny w` must stop an open for reading *and*
//! writing, although that is not a subset of `w`.
//!
//! The list is: what `config.json` says, then the fixed allowances of every container. The start is
//! deny-all (LNX-40, P7).

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::Node;
use crate::error::{Error, Result};

/// Letters of an access, with the kernel's values (`BPF_DEVCG_ACC_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// Create a device node.
    pub const MKNOD: Self = Self(1);
    /// Open for reading.
    pub const READ: Self = Self(2);
    /// Open for writing.
    pub const WRITE: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);

    const LETTERS: [(char, Self); 3] = [('r', Self::READ), ('w', Self::WRITE), ('m', Self::MKNOD)];

    /// The letters r, w and m, at least one.
    fn parse(text: &str) -> Option<Self> {
        let mut all = 0;
        for letter in text.chars() {
            all |= Self::LETTERS.iter().find(|(known, _)| *known == letter)?.1.0;
        }
        (all != 0).then_some(Self(all))
    }
}

/// Which devices a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both of the others.
    Any,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// One rule; numbers that are `None` match every device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// Type of the device.
    pub kind: DeviceKind,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// What it allows or denies.
    pub access: Access,
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Any => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        write!(f, "{} {kind} ", if self.allow { "allow" } else { "deny" })?;
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        write!(f, "{}:{} ", number(self.major), number(self.minor))?;
        Access::LETTERS
            .iter()
            .filter(|(_, bit)| self.access.0 & bit.0 != 0)
            .try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

/// What the processes of a cgroup may do with devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePolicy {
    /// The rules in order; a later one wins.
    pub rules: Vec<DeviceRule>,
    /// The same as instructions (`struct bpf_insn`, little-endian).
    pub program: Vec<u64>,
}

/// The policy of a container whose `linux.resources.devices` is `devices`, found at `node`.
pub(super) fn plan(devices: &[LinuxDeviceCgroup], node: &Node<'_>) -> Result<DevicePolicy> {
    let mut rules = Vec::with_capacity(devices.len() + 10);
    for (index, device) in devices.iter().enumerate() {
        rules.push(rule(device, &node.index(index))?);
    }
    rules.extend(fixed_allowances());
    let program = assemble(&rules);
    Ok(DevicePolicy { rules, program })
}

fn rule(device: &LinuxDeviceCgroup, node: &Node<'_>) -> Result<DeviceRule> {
    node.require("allow", "true or false")?;
    let access = match device.access() {
        None => return Err(Error::missing(node.at("access"), "one or more of the letters r, w and m")),
        Some(text) => Access::parse(text)
            .ok_or_else(|| Error::invalid(node.at("access"), text, "one or more of the letters r, w and m"))?,
    };
    let kind = match device.typ().unwrap_or_default() {
        LinuxDeviceType::A => DeviceKind::Any,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::C => DeviceKind::Char,
        other => return Err(Error::invalid(node.at("type"), other.as_str(), "a, b or c")),
    };
    Ok(DeviceRule {
        allow: device.allow(),
        kind,
        major: device_number(device.major(), node, "major")?,
        minor: device_number(device.minor(), node, "minor")?,
        access,
    })
}

/// −1 is what engines send for `*`.
fn device_number(number: Option<i64>, node: &Node<'_>, field: &str) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| Error::invalid(node.at(field), number, "-1 (any), or 0 to 4294967295")),
    }
}

/// What every container gets (P7, as runc): mknod of anything, because a node alone gives no access;
/// the devices that programs take for granted; pseudo terminals; tun.
fn fixed_allowances() -> impl Iterator<Item = DeviceRule> {
    let mknod = [DeviceKind::Char, DeviceKind::Block].map(|kind| (kind, None, None, Access::MKNOD));
    let null_full_zero_random = [(1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9)];
    let pts_ptmx_tun = [(136, None), (5, Some(2)), (10, Some(200))];
    let chars = null_full_zero_random.map(|(major, minor)| (major, Some(minor))).into_iter().chain(pts_ptmx_tun);
    let chars = chars.map(|(major, minor)| (DeviceKind::Char, Some(major), minor, Access::ALL));
    mknod.into_iter().chain(chars).map(|(kind, major, minor, access)| DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        access,
    })
}

/// Registers of the program. `R1` is the argument: `struct bpf_cgroup_dev_ctx`, three words.
const R0: u8 = 0;
const R1: u8 = 1;
const KIND: u8 = 2;
/// The letters that no rule has decided yet.
const OPEN: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Instruction classes and operations (`linux/bpf.h`). Jumps compare 32 bits (`BPF_JMP32`), so that a
/// number above 2³¹ is not taken for a negative one.
const LOAD_WORD: u8 = 0x61;
const AND_IMM: u8 = 0x54;
const SHIFT_RIGHT_IMM: u8 = 0x74;
const MOVE_IMM: u8 = 0xb4;
const JUMP_IF_NOT_IMM: u8 = 0x56;
const JUMP_IF_IMM: u8 = 0x16;
const JUMP: u8 = 0x05;
const JUMP_IF_ANY_BIT_IMM: u8 = 0x46;
const EXIT: u8 = 0x95;

/// `struct bpf_insn`: code, destination and source register, offset, immediate.
fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: u32) -> u64 {
    u64::from_le_bytes({
        let (offset, immediate) = (offset.to_le_bytes(), immediate.to_le_bytes());
        [code, to | from << 4, offset[0], offset[1], immediate[0], immediate[1], immediate[2], immediate[3]]
    })
}

fn answer(allow: bool) -> [u64; 2] {
    [instruction(MOVE_IMM, R0, 0, 0, u32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

/// The rules as a program that walks them from the last to the first, until every letter is decided.
fn assemble(rules: &[DeviceRule]) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, KIND, R1, 0, 0),
        instruction(AND_IMM, KIND, 0, 0, 0xffff),
        instruction(LOAD_WORD, OPEN, R1, 0, 0),
        instruction(SHIFT_RIGHT_IMM, OPEN, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, R1, 4, 0),
        instruction(LOAD_WORD, MINOR, R1, 8, 0),
    ];
    let mut rest = rules;
    while let Some((rule, before)) = rest.split_last() {
        let run = run_of(rest);
        if run.len() > 1 {
            program.extend(allow_any_of(run));
            rest = &rest[..rest.len() - run.len()];
            continue;
        }
        program.extend(block(rule));
        // A rule that decides everything about every device: what comes before it has no effect, and
        // the verifier refuses instructions that cannot be reached.
        if (rule.kind, rule.major, rule.minor, rule.access) == (DeviceKind::Any, None, None, Access::ALL) {
            return program;
        }
        rest = before;
    }
    program.extend(answer(false));
    program
}

/// So long that no jump in it is too long for an instruction.
const LONGEST_RUN: usize = 1000;

/// The last rules as far as each allows everything for devices of one type and a given major number.
fn run_of(rules: &[DeviceRule]) -> &[DeviceRule] {
    let kind = rules.last().map(|rule| rule.kind);
    let fits = |rule: &&DeviceRule| {
        rule.allow && rule.access == Access::ALL && rule.major.is_some() && Some(rule.kind) == kind
    };
    let length = rules.iter().rev().take(LONGEST_RUN).take_while(fits).count();
    &rules[rules.len() - length..]
}

/// A run of rules as one block. Their order does not matter, so that type and major number are compared once for all
/// that share them: the verifier, whose time every start pays for, follows few paths.
fn allow_any_of(run: &[DeviceRule]) -> Vec<u64> {
    let mut by_major: BTreeMap<u32, Vec<Option<u32>>> = BTreeMap::new();
    for rule in run {
        by_major.entry(rule.major.unwrap_or_default()).or_default().push(rule.minor);
    }
    // Each test with what it compares; `None` as its target is the answer behind the tests.
    let mut tests: Vec<(u8, u8, u32, Option<usize>)> = Vec::new();
    for (major, minors) in by_major {
        if minors.contains(&None) {
            tests.push((JUMP_IF_IMM, MAJOR, major, None));
            continue;
        }
        tests.push((JUMP_IF_NOT_IMM, MAJOR, major, Some(minors.len())));
        tests.extend(minors.into_iter().flatten().map(|minor| (JUMP_IF_IMM, MINOR, minor, None)));
    }
    let count = tests.len();
    let mut block: Vec<u64> = tests
        .into_iter()
        .enumerate()
        .map(|(at, (code, register, value, over))| {
            // Behind the tests is a jump over the answer, then the answer.
            instruction(code, register, 0, distance(over.unwrap_or(count - at)), value)
        })
        .collect();
    block.push(instruction(JUMP, 0, 0, 2, 0));
    block.extend(answer(true));
    if let Some(kind) = run.first().and_then(|rule| number_of(rule.kind)) {
        block.insert(0, instruction(JUMP_IF_NOT_IMM, KIND, 0, distance(block.len()), kind));
    }
    block
}

/// The kernel's number of a type (`BPF_DEVCG_DEV_*`).
const fn number_of(kind: DeviceKind) -> Option<u32> {
    match kind {
        DeviceKind::Any => None,
        DeviceKind::Block => Some(1),
        DeviceKind::Char => Some(2),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a block has at most two instructions for each of its LONGEST_RUN rules, and a few more"
)]
const fn distance(instructions: usize) -> i16 {
    instructions as i16
}

/// One rule: jumps over itself unless the device matches, then decides its letters.
fn block(rule: &DeviceRule) -> Vec<u64> {
    let letters = u32::from(rule.access.0);
    let mut decide = Vec::new();
    match (rule.access == Access::ALL, rule.allow) {
        (true, allow) => decide.extend(answer(allow)),
        (false, true) => {
            decide.push(instruction(AND_IMM, OPEN, 0, 0, 7 & !letters));
            decide.push(instruction(JUMP_IF_NOT_IMM, OPEN, 0, 2, 0));
            decide.extend(answer(true));
        }
        (false, false) => {
            decide.push(instruction(JUMP_IF_ANY_BIT_IMM, OPEN, 0, 1, letters));
            decide.push(instruction(JUMP, 0, 0, 2, 0));
            decide.extend(answer(false));
        }
    }
    let tests = [(KIND, number_of(rule.kind)), (MAJOR, rule.major), (MINOR, rule.minor)];
    let tests: Vec<_> = tests.into_iter().filter_map(|(register, value)| Some((register, value?))).collect();
    let last = tests.len() + decide.len();
    let tests = tests
        .iter()
        .enumerate()
        .map(|(at, (register, value))| instruction(JUMP_IF_NOT_IMM, *register, 0, distance(last - at - 1), *value));
    tests.chain(decide.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel asks: type (1 block, 2 char), numbers, letters.
    type Question = (u32, u32, u32, u8);

    /// Just enough of eBPF. Panics on whatever the assembler has no business to emit.
    fn run(program: &[u64], (kind, major, minor, letters): Question) -> bool {
        let context = [kind | u32::from(letters) << 16, major, minor];
        let mut registers: [Option<u32>; 6] = [None; 6];
        let mut at = 0;
        loop {
            let [code, both, offset_low, offset_high, i0, i1, i2, i3] = program[at].to_le_bytes();
            let (to, from) = (usize::from(both & 15), both >> 4);
            let immediate = u32::from_le_bytes([i0, i1, i2, i3]);
            let offset = usize::try_from(i16::from_le_bytes([offset_low, offset_high])).expect("jumps go forward");
            at += 1;
            match code {
                LOAD_WORD => {
                    assert_eq!(from, R1);
                    registers[to] = Some(context[offset / 4]);
                }
                AND_IMM => *registers[to].as_mut().expect("set before") &= immediate,
                SHIFT_RIGHT_IMM => *registers[to].as_mut().expect("set before") >>= immediate,
                MOVE_IMM => registers[to] = Some(immediate),
                JUMP_IF_NOT_IMM if registers[to].expect("set before") != immediate => at += offset,
                JUMP_IF_ANY_BIT_IMM if registers[to].expect("set before") & immediate != 0 => at += offset,
                JUMP_IF_IMM if registers[to].expect("set before") == immediate => at += offset,
                JUMP_IF_NOT_IMM | JUMP_IF_IMM | JUMP_IF_ANY_BIT_IMM => {}
                JUMP => at += offset,
                EXIT => return registers[0].expect("the answer is set") == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    /// The meaning, as the module's head says it.
    fn reference(rules: &[DeviceRule], (kind, major, minor, letters): Question) -> bool {
        let kind = if kind == 1 { DeviceKind::Block } else { DeviceKind::Char };
        let matches = |rule: &&DeviceRule| {
            (rule.kind == DeviceKind::Any || rule.kind == kind)
                && rule.major.is_none_or(|number| number == major)
                && rule.minor.is_none_or(|number| number == minor)
        };
        [1, 2, 4].into_iter().filter(|letter| letters & letter != 0).all(|letter| {
            let decides = |rule: &&DeviceRule| matches(rule) && rule.access.0 & letter != 0;
            rules.iter().rev().find(decides).is_some_and(|rule| rule.allow)
        })
    }

    /// `allow c 1:3 rw`
    fn rules(text: &[&str]) -> Vec<DeviceRule> {
        text.iter()
            .map(|line| {
                let words: Vec<_> = line.split([' ', ':']).collect();
                let number = |text: &str| if text == "*" { None } else { Some(text.parse().expect("a number")) };
                let kind = match words[1] {
                    "a" => DeviceKind::Any,
                    "b" => DeviceKind::Block,
                    _ => DeviceKind::Char,
                };
                let access = Access::parse(words[4]).expect("letters");
                let rule = DeviceRule {
                    allow: words[0] == "allow",
                    kind,
                    major: number(words[2]),
                    minor: number(words[3]),
                    access,
                };
                assert_eq!(rule.to_string(), *line);
                rule
            })
            .collect()
    }

    fn allows(text: &[&str], question: Question) -> bool {
        let rules = rules(text);
        let answer = run(&assemble(&rules), question);
        assert_eq!(answer, reference(&rules, question), "{text:?} {question:?}");
        answer
    }

    const NULL_R: Question = (2, 1, 3, 2);
    const NULL_W: Question = (2, 1, 3, 4);
    const NULL_RW: Question = (2, 1, 3, 6);

    #[test]
    fn lnx_69_a_later_rule_wins() {
        assert!(!allows(&["deny a *:* rwm", "allow c 1:3 r", "deny c 1:3 r"], NULL_R));
        assert!(allows(&["deny a *:* rwm", "deny c 1:3 r", "allow c 1:3 r"], NULL_R));
        assert!(!allows(&["allow c 1:3 rwm", "deny a *:* rwm"], NULL_R));
        assert!(allows(&["allow a *:* rwm"], (1, 8, 0, 7)));
    }

    #[test]
    fn lnx_69_a_denied_letter_denies_the_open_for_both() {
        let rules = ["allow a *:* rwm", "deny c 1:3 w"];
        assert!(allows(&rules, NULL_R));
        assert!(!allows(&rules, NULL_W));
        assert!(!allows(&rules, NULL_RW));
    }

    #[test]
    fn lnx_71_wildcards_and_types() {
        assert!(allows(&["allow c 10:* rw"], (2, 10, 77, 6)));
        assert!(allows(&["allow c *:77 rw"], (2, 10, 77, 6)));
        assert!(!allows(&["allow c 10:* rw"], (1, 10, 77, 6)));
        assert!(allows(&["allow a 10:77 r"], (1, 10, 77, 2)));
    }

    #[test]
    fn lnx_72_letters_are_separate_and_add_up() {
        assert!(!allows(&["allow c 1:3 r"], NULL_RW));
        assert!(allows(&["allow c 1:3 r", "allow c 1:3 w"], NULL_RW));
        assert!(!allows(&["allow c 1:3 rw"], (2, 1, 3, 1)));
        assert_eq!((Access::parse(""), Access::parse("x"), Access::parse("rx")), (None, None, None));
    }

    #[test]
    fn lnx_40_without_a_rule_only_the_fixed_allowances() {
        let rules: Vec<_> = fixed_allowances().collect();
        let shown: Vec<_> = rules.iter().map(ToString::to_string).collect();
        let expected = [
            "allow c *:* m",
            "allow b *:* m",
            "allow c 1:3 rwm",
            "allow c 1:8 rwm",
            "allow c 1:7 rwm",
            "allow c 5:0 rwm",
            "allow c 1:5 rwm",
            "allow c 1:9 rwm",
            "allow c 136:* rwm",
            "allow c 5:2 rwm",
            "allow c 10:200 rwm",
        ];
        assert_eq!(shown, expected);
        let program = assemble(&rules);
        for (question, answer) in
            [((2, 1, 3, 6), true), ((1, 8, 0, 1), true), ((1, 8, 0, 2), false), ((2, 1, 1, 4), false)]
        {
            assert_eq!(run(&program, question), answer, "{question:?}");
        }
    }

    #[test]
    fn numbers_above_2_to_31_are_not_negative() {
        assert!(allows(&["allow c 4294967295:2147483648 r"], (2, u32::MAX, 1 << 31, 2)));
    }

    #[test]
    fn nothing_follows_a_rule_that_decides_everything() {
        let all = rules(&["allow c 1:3 r", "deny a *:* rwm"]);
        assert_eq!(assemble(&all), assemble(&all[1..]));
    }

    fn any_rule() -> impl Strategy<Value = DeviceRule> {
        let kind = prop_oneof![Just(DeviceKind::Any), Just(DeviceKind::Block), Just(DeviceKind::Char)];
        let number = || prop_oneof![Just(None), (0_u32..4).prop_map(Some), any::<u32>().prop_map(Some)];
        (any::<bool>(), kind, number(), number(), 1_u8..8).prop_map(|(allow, kind, major, minor, access)| DeviceRule {
            allow,
            kind,
            major,
            minor,
            access: Access(access),
        })
    }

    // Every start waits for the kernel's verifier.
    #[test]
    fn the_usual_program_is_short() {
        let rules: Vec<_> = rules(&["deny a *:* rwm"]).into_iter().chain(fixed_allowances()).collect();
        let program = assemble(&rules);
        assert!(program.len() <= 36, "{} instructions", program.len());
        for (major, minor, allowed) in
            [(1, 3, true), (1, 4, false), (136, 9, true), (5, 2, true), (10, 200, true), (8, 0, false)]
        {
            assert_eq!(run(&program, (2, major, minor, 6)), allowed, "{major}:{minor}");
        }
    }

    proptest! {
        #[test]
        fn lnx_69_the_program_means_the_rules(rules in prop::collection::vec(any_rule(), 0..12)) {
            let program = assemble(&rules);
            for kind in 1..3 {
                for (major, minor) in [(0, 0), (0, 1), (1, 3), (2, 2), (3, 0), (9, 9), (u32::MAX, u32::MAX)] {
                    for letters in 1..8 {
                        let question = (kind, major, minor, letters);
                        prop_assert_eq!(run(&program, question), reference(&rules, question), "{:?} {:?}", rules, question);
                    }
                }
            }
        }
    }
}
