//! Starts init from any process, threaded or not, without copying its memory.
//!
//! `clone3(CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND)`, then `execveat` of a sealed memory file.
//!
//! What makes the code below sound, once for the file:
//! * the child runs on a stack of its own, in this function's frame, which VFORK keeps alive until the
//!   child has executed init or exited;
//! * it reads its `Order` and writes its refusal, both in that frame, and touches nothing else of the
//!   caller's memory: no allocator, no thread-local storage, no errno, no destructor;
//! * its descriptor table is a copy (no CLONE_FILES), so what it opens and closes is not seen here;
//! * its entry function never returns.

use core::ffi::CStr;
use core::mem::{MaybeUninit, size_of};
use core::sync::atomic::{AtomicU32, Ordering};
use std::os::fd::{BorrowedFd, OwnedFd};

use super::fd::{self, Fd, open};
use super::process::{CloneArgs, clone, exit};
use super::{arch, special, text_first};
use crate::fault::{Call, Errno, Fault, Result};

/// Where init's bytes come from.
#[derive(Clone, Copy, Debug)]
pub enum Image<'a> {
    /// The embedded program; each launch makes a sealed memory file of its own (CVE-2019-5736, rule R7).
    Memory(&'a [u8]),
    /// An installed init, opened by the host; for machines on which memory files cannot be executed.
    File(BorrowedFd<'a>),
}

struct Order<'a> {
    image: Image<'a>,
    frame: Fd,
    frame_text: &'a CStr,
    inherit: &'a [i32],
    stdio: [i32; 3],
    refusal: AtomicU32,
}

/// Stack of the child. It makes a dozen calls and formats two numbers.
const STACK: usize = 16 * 1024;

#[repr(align(16))]
struct Stack(#[expect(dead_code, reason = "only its address is used")] [u8; STACK]);

/// Starts init with the descriptors `inherit` and `frame` (and 0, 1, 2); everything else is closed by its execve.
/// `stdio` are descriptors that become 0, 1 and 2; -1 leaves the caller's. Returns the usher's pid and pidfd.
///
/// # Errors
/// The call that failed in the caller (`clone3`) or in the child (`memfd_create`, `fcntl`, `execveat`, …).
pub fn spawn(image: Image<'_>, frame: BorrowedFd<'_>, inherit: &[i32], stdio: [i32; 3]) -> Result<(i32, OwnedFd)> {
    const SIGCHLD: u64 = 17;
    let frame = Fd::from(frame);
    let mut text = [0_u8; 12];
    let frame_text = decimal(frame.0, &mut text);
    let order = Order { image, frame, frame_text, inherit, stdio, refusal: AtomicU32::new(0) };
    let mut stack = MaybeUninit::<Stack>::uninit();
    let mut pidfd = -1_i32;
    let args = CloneArgs {
        flags: clone::VM | clone::VFORK | clone::PIDFD | clone::CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: SIGCHLD,
        stack: stack.as_mut_ptr() as u64,
        stack_size: STACK as u64,
        ..CloneArgs::default()
    };
    // SAFETY: see the head of the file; `enter` never returns, and `order` outlives the child's use of it.
    let result = unsafe {
        arch::clone3_on_stack((&raw const args).cast(), size_of::<CloneArgs>(), enter, (&raw const order) as usize)
    };
    let pid = super::checked(arch::clone3.0, result)?;
    let pidfd = super::owned::adopt(Fd(pidfd));
    match order.refusal.load(Ordering::Relaxed) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "pids are below 2^22")]
        0 => Ok((pid as i32, pidfd)),
        refusal => {
            // It has ended already; that somebody else was faster is as good.
            let _: Result<i32> = super::owned::wait(std::os::fd::AsFd::as_fd(&pidfd));
            #[expect(clippy::cast_possible_truncation, reason = "packed from two halves below")]
            Err(Fault::new(Call((refusal >> 16) as u16), Errno(refusal as u16)))
        }
    }
}

extern "C" fn enter(order: usize) -> ! {
    // SAFETY: `spawn` passes the address of its `Order`, which VFORK keeps alive.
    let order = unsafe { &*(order as *const Order<'_>) };
    if let Err(fault) = start(order) {
        order.refusal.store(u32::from(fault.call.0) << 16 | u32::from(fault.errno.0), Ordering::Relaxed);
    }
    exit(127)
}

fn start(order: &Order<'_>) -> Result {
    // Nothing of the caller travels further than intended (CVE-2024-21626): an embedder's descriptors may lack the flag.
    fd::cloexec_from(3)?;
    let program = match order.image {
        Image::Memory(bytes) => memory_file(bytes)?,
        Image::File(file) => file.into(),
    };
    for (number, given) in order.stdio.iter().zip(0..) {
        if *number >= 0 {
            fd::dup_inherited(Fd(*number), Fd(given))?;
        }
    }
    for number in order.inherit {
        fd::keep_over_exec(Fd(*number))?;
    }
    fd::keep_over_exec(order.frame)?;
    let argv = [c"init".as_ptr(), order.frame_text.as_ptr(), core::ptr::null()];
    let envp = [core::ptr::null::<u8>()];
    const AT_EMPTY_PATH: usize = 0x1000;
    let args = [program.arg(), c"".as_ptr() as usize, argv.as_ptr() as usize, envp.as_ptr() as usize, AT_EMPTY_PATH];
    // SAFETY: two null-terminated lists of strings that live across the call.
    unsafe { special(arch::execveat, args) }.map(drop)
}

/// A sealed memory file with `bytes`, open for reading only: a writable descriptor anywhere would give ETXTBSY.
fn memory_file(bytes: &[u8]) -> Result<Fd> {
    const MFD_CLOEXEC: usize = 1;
    const MFD_ALLOW_SEALING: usize = 2;
    const MFD_EXEC: usize = 0x10;
    const SEALS: u32 = 0x1 | 0x2 | 0x4 | 0x8;
    const SEAL_EXEC: u32 = 0x20;
    let flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    let file = match text_first(arch::memfd_create, c"runtime-init", flags | MFD_EXEC) {
        // Before Linux 6.3 the flag is not known, and memory files are always executable.
        Err(fault) if fault.is(Errno::INVAL) => text_first(arch::memfd_create, c"runtime-init", flags),
        result => result,
    };
    let file = file.map(Fd::from_result)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[fd::write(file, rest)?..];
    }
    match fd::add_seals(file, SEALS | SEAL_EXEC) {
        Err(fault) if fault.is(Errno::INVAL) => fd::add_seals(file, SEALS),
        result => result,
    }?;
    let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
    let (_, number) = path.split_at_mut(14);
    decimal(file.0, number);
    let reopened = fd::open_plain(CStr::from_bytes_until_nul(&path).unwrap_or(c""), open::RDONLY)?;
    fd::close(file)?;
    Ok(reopened)
}

/// `number` in decimal with a NUL, at the start of `buffer`.
fn decimal(number: i32, buffer: &mut [u8]) -> &CStr {
    let mut digits = [0_u8; 10];
    let mut rest = number.unsigned_abs();
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let len = digits.len() - first;
    buffer[..len].copy_from_slice(&digits[first..]);
    buffer[len] = 0;
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        let mut buffer = [0xff; 12];
        assert_eq!(decimal(0, &mut buffer), c"0");
        assert_eq!(decimal(1_048_575, &mut buffer), c"1048575");
        assert_eq!(decimal(i32::MAX, &mut buffer), c"2147483647");
    }
}
