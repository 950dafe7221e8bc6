//! Instructions of classic BPF, written from the end of a program to its start.
//!
//! Jumps only go forwards, so that in this direction every target is there before the jump to it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

// `BPF_LD | BPF_W | BPF_ABS`, `BPF_ALU | BPF_AND | BPF_K`, `BPF_JMP | BPF_JA`, `BPF_RET | BPF_K` (`linux/bpf_common.h`).
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

/// How far a comparison reaches: one less than it could, because of two jumps one may need a stepping stone, which puts
/// the other farther away.
const REACH: usize = 254;

/// A comparison of the accumulator with a constant; the value is `BPF_JMP | BPF_J.. | BPF_K`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Equal = 0x15,
    Greater = 0x25,
    AtLeast = 0x35,
}

/// A place in the program: how many instructions there are from it to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    backwards: Vec<u64>,
    returns: BTreeMap<u32, Label>,
}

impl Assembler {
    /// A place that returns `value`. Shared, as long as it is near.
    pub fn returning(&mut self, value: u32) -> Label {
        match self.returns.get(&value) {
            Some(label) if self.distance(*label) < REACH => *label,
            _ => {
                let label = self.push(RETURN, 0, 0, value);
                self.returns.insert(value, label);
                label
            }
        }
    }

    /// Compares the accumulator and goes to one of two places.
    pub fn branch(&mut self, test: Test, value: u32, then: Label, otherwise: Label) -> Label {
        if then == otherwise {
            return then;
        }
        let (then, otherwise) = (self.near(then), self.near(otherwise));
        let distance = |label| u8::try_from(self.distance(label)).unwrap_or(u8::MAX);
        let (then, otherwise) = (distance(then), distance(otherwise));
        self.push(test as u16, then, otherwise, value)
    }

    /// Loads a word of `struct seccomp_data` into the accumulator and goes to `next`.
    pub fn load(&mut self, offset: u32, next: Label) -> Label {
        self.fall_into(next);
        self.push(LOAD, 0, 0, offset)
    }

    /// Keeps the bits of `mask` in the accumulator and goes to `next`.
    pub fn keep(&mut self, mask: u32, next: Label) -> Label {
        if mask == u32::MAX {
            return next;
        }
        self.fall_into(next);
        self.push(AND, 0, 0, mask)
    }

    /// The program that begins at `start`.
    pub fn finish(mut self, start: Label) -> Vec<u64> {
        self.fall_into(start);
        self.backwards.reverse();
        self.backwards
    }

    /// How many instructions lie between the one that is written next and `label`.
    fn distance(&self, label: Label) -> usize {
        self.backwards.len() - label.0
    }

    fn near(&mut self, label: Label) -> Label {
        if self.distance(label) <= REACH { label } else { self.jump(label) }
    }

    fn fall_into(&mut self, label: Label) {
        if self.distance(label) != 0 {
            self.jump(label);
        }
    }

    fn jump(&mut self, label: Label) -> Label {
        let distance = u32::try_from(self.distance(label)).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, distance)
    }

    /// `struct sock_filter`.
    fn push(&mut self, code: u16, then: u8, otherwise: u8, value: u32) -> Label {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&code.to_ne_bytes());
        bytes[2..4].copy_from_slice(&[then, otherwise]);
        bytes[4..].copy_from_slice(&value.to_ne_bytes());
        self.backwards.push(u64::from_ne_bytes(bytes));
        Label(self.backwards.len())
    }
}
