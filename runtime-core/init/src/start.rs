//! The program's face: what the kernel and the compiler expect of a program without libc.

#![allow(unsafe_code)]

use crate::sys::fd::{self, Closing, Fd};
use crate::sys::memory::Mapping;
use crate::sys::process::exit;

/// Nobody who starts init without a Frame gets anything done: it ends with this status and the rights it had.
const NO_FRAME: i32 = 2;

/// Called by `_start` with the initial stack: argc, argv, envp.
pub extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the kernel puts argc at the top of the initial stack.
    let argc = unsafe { stack.read() };
    if argc != 2 {
        exit(NO_FRAME);
    }
    // SAFETY: with an argc of 2, the third word is the pointer to the second argument.
    let text = unsafe { stack.wrapping_add(2).read() } as *const u8;
    exit(number(text).and_then(map).map_or(NO_FRAME, |mapping| crate::run::run(&mapping)))
}

/// The decimal number at `text`, of at most seven digits.
fn number(text: *const u8) -> Option<i32> {
    let mut value = 0;
    for index in 0..8 {
        // SAFETY: the kernel's argument strings are NUL-terminated, and no byte behind the NUL is read.
        match unsafe { text.wrapping_add(index).read() } {
            0 if index > 0 => return Some(value),
            digit @ b'0'..=b'9' => value = value * 10 + i32::from(digit - b'0'),
            _ => return None,
        }
    }
    None
}

fn map(frame: i32) -> Option<Mapping> {
    let file = Closing(Fd(frame)); // a file of the host, of no use beyond the mapping
    let len = usize::try_from(fd::stat(file.0).ok()?.size).ok()?;
    Mapping::shared(file.0, len).ok()
}

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}
