//! The Slate: the part of the Frame that init writes on.
//!
//! Plain stores into shared memory work under any seccomp filter and even if init is killed at the next
//! instruction, so the host always knows how far it came. To the host it is *input*: the program that
//! replaces init cannot reach it (the mapping ends with `execve`), but nothing in it is trusted either.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::fault::{Call, Errno, Fault};

/// How far init is, in the words of the lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// On its way to the program.
    Starting = 0,
    /// Everything is done; it waits for `start`.
    Waiting = 1,
    /// It was told to go on, or has already executed the program.
    Exec = 2,
}

/// Room for what the kernel has to say about a refused mount option.
pub const MESSAGE: usize = 192;

/// The shared words. All are atomics, because two processes use them at once.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Slate {
    phase: AtomicU32,
    step: AtomicU32,
    /// `call << 16 | errno`; 0 as long as nothing failed.
    fault: AtomicU32,
    aux: AtomicU32,
    filter_len: AtomicU32,
    /// The number of the filter's listener in init, plus one; 0 as long as there is none.
    listener: AtomicU32,
    /// The host has taken the listener.
    taken: AtomicU32,
    /// The usher enters the cgroup before the birth.
    enters: AtomicU32,
    message_len: AtomicU32,
    message: [AtomicU8; MESSAGE],
}

impl Slate {
    /// Init is about to carry out line `step` (from 1).
    pub fn at(&self, step: u32) {
        self.step.store(step, Ordering::Release);
    }

    /// The line that init was at last.
    #[must_use]
    pub fn step(&self) -> u32 {
        self.step.load(Ordering::Acquire)
    }

    /// The current line failed.
    pub fn fail(&self, fault: Fault) {
        self.aux.store(fault.aux, Ordering::Relaxed);
        self.fault.store(u32::from(fault.call.0) << 16 | u32::from(fault.errno.0), Ordering::Release);
    }

    /// What failed, if anything did.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        #[expect(clippy::cast_possible_truncation, reason = "two halves of one word")]
        match self.fault.load(Ordering::Acquire) {
            0 => None,
            word => Some(Fault {
                call: Call((word >> 16) as u16),
                errno: Errno(word as u16),
                aux: self.aux.load(Ordering::Relaxed),
            }),
        }
    }

    /// Enters `phase`.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u32, Ordering::Release);
    }

    /// The phase; an unknown number counts as the first.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            1 => Phase::Waiting,
            2 => Phase::Exec,
            _ => Phase::Starting,
        }
    }

    /// Leaves a text of the kernel for the error message; what does not fit is cut.
    pub fn say(&self, text: &[u8]) {
        let text = &text[..text.len().min(MESSAGE)];
        for (cell, byte) in self.message.iter().zip(text) {
            cell.store(*byte, Ordering::Relaxed);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most MESSAGE")]
        self.message_len.store(text.len() as u32, Ordering::Release);
    }

    /// The text that init left, written to `buffer`; its length.
    pub fn said(&self, buffer: &mut [u8; MESSAGE]) -> usize {
        let len = (self.message_len.load(Ordering::Acquire) as usize).min(MESSAGE);
        for (byte, cell) in buffer.iter_mut().zip(&self.message) {
            *byte = cell.load(Ordering::Relaxed);
        }
        len
    }

    /// The host left a filter of `len` instructions in the late data.
    pub fn set_filter(&self, len: u32) {
        self.filter_len.store(len, Ordering::Release);
    }

    /// Init offers the descriptor of the filter's listener. No system call: the filter is in force.
    pub fn offer(&self, listener: i32) {
        self.listener.store(listener.cast_unsigned().wrapping_add(1), Ordering::Release);
    }

    /// The listener that init offers.
    #[must_use]
    pub fn offered(&self) -> Option<i32> {
        self.listener.load(Ordering::Acquire).checked_sub(1).map(u32::cast_signed)
    }

    /// The host has a copy of the listener, and the agent can answer.
    pub fn take(&self) {
        self.taken.store(1, Ordering::Release);
    }

    /// Whether the host has taken the listener.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire) != 0
    }

    /// The host wants the usher to enter the cgroup itself, as it could not bear into it.
    pub fn enter_cgroup(&self) {
        self.enters.store(1, Ordering::Release);
    }

    /// Whether the usher enters the cgroup itself.
    #[must_use]
    pub fn enters_cgroup(&self) -> bool {
        self.enters.load(Ordering::Acquire) != 0
    }

    /// Number of instructions of the filter in the late data.
    #[must_use]
    pub fn filter(&self) -> u32 {
        self.filter_len.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
