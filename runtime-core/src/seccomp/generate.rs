//! From a profile to a BPF program: for each architecture a binary search over the numbers of system calls.
//!
//! What a profile means is what runc and libseccomp make of it:
//! * a rule whose action is the default one says nothing;
//! * the first rule without conditions decides about its call, whatever other rules say of it;
//! * of several rules whose conditions hold the strictest decides (libseccomp leaves open which);
//! * a call with a higher number than any that the profile names does not exist: a libc that finds it missing takes an
//!   older one, instead of failing with EPERM or being killed (runc's `patchbpf`).

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::assembler::{Assembler, Label, Test};
use super::{Abi, Action, Condition, Operator, Profile};
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// `BPF_MAXINSNS`: what the kernel takes.
pub(crate) const LIMIT: usize = 4096;
const ENOSYS: u16 = 38;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

impl Profile {
    /// The program, instruction by instruction.
    ///
    /// # Errors
    /// A program that is longer than the kernel allows.
    pub(crate) fn compile(&self) -> Result<Vec<u64>> {
        let mut code = Assembler::default();
        // An architecture that the profile does not name.
        let mut start = code.returning(Action::KillThread.value());
        for architecture in [Abi::AUDIT_I386, Abi::AUDIT_X86_64] {
            if self.abis.iter().any(|abi| abi.audit() == architecture) {
                let tree = tree(&mut code, &ranges(self, architecture));
                let calls = code.load(NUMBER, tree);
                start = code.branch(Test::Equal, architecture, calls, start);
            }
        }
        let start = code.load(ARCHITECTURE, start);
        let program = code.finish(start);
        if program.len() > LIMIT {
            let reason =
                format!("the filter has {} instructions, the kernel takes {LIMIT}: fewer rules", program.len());
            return Err(Error::refused(ConfigPath::new("linux.seccomp"), reason));
        }
        Ok(program)
    }

    /// Whether calls that the profile cannot know are left to its default action: it lets them through, or says ENOSYS
    /// itself.
    fn is_open(&self) -> bool {
        matches!(self.default, Action::Allow | Action::Log | Action::Trace(_) | Action::Errno(ENOSYS))
    }
}

/// What one number of a call comes to: the value of the first choice whose conditions all hold, or another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    choices: Vec<Choice>,
    otherwise: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice {
    conditions: Vec<Condition>,
    /// The bits of an argument that are looked at: an ABI of 32 bits compares lower halves, as in libseccomp.
    bits: u64,
    action: Action,
}

impl Verdict {
    const fn always(value: u32) -> Self {
        Self { choices: Vec::new(), otherwise: value }
    }

    fn of(mut choices: Vec<Choice>, default: u32) -> Self {
        if let Some(first) = choices.iter().find(|choice| choice.conditions.is_empty()) {
            return Self::always(first.action.value());
        }
        choices.sort_by_key(|choice| choice.action.strictness());
        Self { choices, otherwise: default }
    }
}

/// The verdicts of an architecture, each with the first number that it is about; it ends where the next begins.
fn ranges(profile: &Profile, architecture: u32) -> Vec<(u32, Verdict)> {
    let mut ranges = Vec::new();
    for abi in [Abi::X86, Abi::X86_64, Abi::X32].into_iter().filter(|abi| abi.audit() == architecture) {
        if profile.abis.contains(&abi) {
            append(&mut ranges, profile, abi);
        } else {
            ranges.push((abi.first_number(), Verdict::always(Action::KillThread.value())));
            // The number with which a tracer skips a call belongs to no ABI.
            ranges.push((u32::MAX, Verdict::always(profile.default.value())));
        }
    }
    ranges.dedup_by(|next, before| next.1 == before.1);
    ranges
}

fn append(ranges: &mut Vec<(u32, Verdict)>, profile: &Profile, abi: Abi) {
    let default = profile.default.value();
    let (calls, newest) = calls(profile, abi);
    let mut next = abi.first_number();
    for (number, choices) in calls {
        if number > next {
            ranges.push((next, Verdict::always(default)));
        }
        ranges.push((number, Verdict::of(choices, default)));
        next = number + 1;
    }
    if let Some(newest) = newest.filter(|_| !profile.is_open()) {
        if newest >= next {
            ranges.push((next, Verdict::always(default)));
        }
        ranges.push((newest + 1, Verdict::always(Action::Errno(ENOSYS).value())));
    } else {
        ranges.push((next, Verdict::always(default)));
    }
}

/// What the rules say of each number, in their order; and the highest number that any of them names.
fn calls(profile: &Profile, abi: Abi) -> (BTreeMap<u32, Vec<Choice>>, Option<u32>) {
    let mut calls: BTreeMap<u32, Vec<Choice>> = BTreeMap::new();
    let mut newest = None;
    for rule in &profile.rules {
        let alternatives = rule.alternatives();
        for entry in rule.names.iter().flat_map(|name| abi.entries(name)) {
            newest = newest.max(Some(entry.number));
            if rule.action == profile.default {
                continue;
            }
            let choices = calls.entry(entry.number).or_default();
            for conditions in &alternatives {
                let mut conditions = conditions.to_vec();
                if let Some(first) = entry.first_argument {
                    // What the rule says of the first argument is about that of the call itself, as in libseccomp.
                    conditions.retain(|condition| condition.index != 0);
                    conditions.push(Condition { index: 0, operator: Operator::Equal, value: first, second: 0 });
                }
                choices.push(Choice { conditions, bits: abi.bits(), action: rule.action });
            }
        }
    }
    (calls, newest)
}

/// Expects the number in the accumulator.
fn tree(code: &mut Assembler, ranges: &[(u32, Verdict)]) -> Label {
    if let [(_, verdict)] = ranges {
        return judge(code, verdict);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (above, below) = (tree(code, high), tree(code, low));
    code.branch(Test::AtLeast, high[0].0, above, below)
}

fn judge(code: &mut Assembler, verdict: &Verdict) -> Label {
    let mut next = code.returning(verdict.otherwise);
    for choice in verdict.choices.iter().rev() {
        let otherwise = next;
        next = code.returning(choice.action.value());
        for condition in choice.conditions.iter().rev() {
            next = compare(code, condition, choice.bits, [next, otherwise]);
        }
    }
    next
}

/// Goes to the first label where the condition holds, to the second where not.
fn compare(code: &mut Assembler, condition: &Condition, bits: u64, [then, otherwise]: [Label; 2]) -> Label {
    let Condition { index, value, second, .. } = *condition;
    match condition.operator {
        Operator::Equal => equal(code, index, bits, value, [then, otherwise]),
        Operator::NotEqual => equal(code, index, bits, value, [otherwise, then]),
        Operator::MaskedEqual => equal(code, index, value & bits, second, [then, otherwise]),
        Operator::Greater => order(code, index, Test::Greater, bits, value, [then, otherwise]),
        Operator::LessOrEqual => order(code, index, Test::Greater, bits, value, [otherwise, then]),
        Operator::GreaterOrEqual => order(code, index, Test::AtLeast, bits, value, [then, otherwise]),
        Operator::Less => order(code, index, Test::AtLeast, bits, value, [otherwise, then]),
    }
}

fn equal(code: &mut Assembler, index: u32, mask: u64, value: u64, [then, otherwise]: [Label; 2]) -> Label {
    let mut next = then;
    for part in [LOW, HIGH].into_iter().filter(|part| half(mask, *part) != 0) {
        let same = code.branch(Test::Equal, half(value & mask, part), next, otherwise);
        let kept = code.keep(half(mask, part), same);
        next = code.load(argument(index, part), kept);
    }
    next
}

fn order(code: &mut Assembler, index: u32, test: Test, bits: u64, value: u64, [then, otherwise]: [Label; 2]) -> Label {
    let low = code.branch(test, half(value, LOW), then, otherwise);
    let low = code.load(argument(index, LOW), low);
    if half(bits, HIGH) == 0 {
        return low;
    }
    let same = code.branch(Test::Equal, half(value, HIGH), low, otherwise);
    let above = code.branch(Test::Greater, half(value, HIGH), then, same);
    code.load(argument(index, HIGH), above)
}

/// The halves of an argument, as the kernel of a little-endian machine lays them out.
const LOW: u32 = 0;
const HIGH: u32 = 4;

const fn argument(index: u32, half: u32) -> u32 {
    ARGUMENTS + 8 * index + half
}

const fn half(value: u64, half: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "a half is what is wanted")]
    let word = (value >> (8 * half)) as u32;
    word
}
