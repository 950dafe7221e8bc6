//! What the kernel would make of a program, for tests: the instructions that seccomp(2) takes.

#![forbid(unsafe_code)]

/// `struct seccomp_data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub number: u32,
    pub architecture: u32,
    pub args: [u64; 6],
}

impl Call {
    /// The word at an offset, on a little-endian machine.
    fn word(&self, offset: u32) -> u32 {
        let half =
            |value: u64, high: bool| u32::try_from(if high { value >> 32 } else { value & 0xffff_ffff }).unwrap();
        match offset {
            0 => self.number,
            4 => self.architecture,
            16.. if offset.is_multiple_of(4) => half(self.args[(offset as usize - 16) / 8], offset % 8 == 4),
            _ => panic!("nobody loads from {offset}"),
        }
    }
}

/// What the program returns.
pub(super) fn run(program: &[u64], call: &Call) -> u32 {
    let (mut at, mut a) = (0, 0_u32);
    loop {
        let bytes = program[at].to_ne_bytes();
        let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
        let k = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let (then, otherwise) = (usize::from(bytes[2]), usize::from(bytes[3]));
        let branch = |taken| if taken { then } else { otherwise };
        at += 1;
        match code {
            0x20 => a = call.word(k),
            0x54 => a &= k,
            0x05 => at += k as usize,
            0x15 => at += branch(a == k),
            0x25 => at += branch(a > k),
            0x35 => at += branch(a >= k),
            0x45 => at += branch(a & k != 0),
            0x06 => return k,
            _ => panic!("instruction {code:#x}"),
        }
    }
}
