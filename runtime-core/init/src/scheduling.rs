//! Where a process runs, and where its memory lies. Both are lists of bits in the Frame's words.

#![forbid(unsafe_code)]

use crate::fault::{Call, Errno, Fault, Result};
use crate::run::View;
use crate::step::Words;
use crate::sys::process;

/// CPUs that a mask can name: as many as the kernel can be built for.
pub const CPUS: u32 = 8192;
/// Nodes that a mask can name, likewise.
pub const NODES: u32 = 1024;

/// Lets the process run on the CPUs of `mask`, or on all there are.
pub(crate) fn cpus(view: &View<'_>, mask: Words) -> Result {
    let mut bits = [0; CPUS as usize / 64];
    if mask.count == 0 {
        bits.fill(u64::MAX);
        return process::set_affinity(&bits);
    }
    process::set_affinity(unfold(view, mask, &mut bits)?)
}

/// Sets where pages come from that are not allocated yet.
pub(crate) fn memory_policy(view: &View<'_>, mode: u32, nodes: Words) -> Result {
    let mut bits = [0; NODES as usize / 64];
    process::set_memory_policy(mode, unfold(view, nodes, &mut bits)?)
}

/// The words of the Frame, which are half as long as the kernel's, in the beginning of `bits`.
fn unfold<'a>(view: &View<'_>, words: Words, bits: &'a mut [u64]) -> Result<&'a [u64]> {
    for (index, word) in view.frame.words(words).enumerate() {
        if let Some(place) = bits.get_mut(index / 2) {
            *place |= u64::from(word) << (index % 2 * 32);
        }
    }
    bits.get(..(words.count as usize).div_ceil(2)).ok_or(Fault::new(Call::LENGTH, Errno::TOOBIG))
}
