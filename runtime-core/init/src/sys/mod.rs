//! The system call layer: the only place that enters the kernel without libc, and the only one with `unsafe`.
//!
//! A number carries its *shape* in its type (`x86_64.rs`): `Plain` calls take integers only, `TextFirst`
//! and `AtPath` calls read one string. One function per shape makes the call, so that most wrappers
//! below are safe code. Calls with structures have a wrapper of their own.
//!
//! Every wrapper returns the [`Fault`] of its call, so that a step needs no words for it.

#![allow(unsafe_code)]

pub mod bpf;
pub mod fd;
pub mod memory;
pub mod mount;
pub mod net;
#[cfg(not(freestanding))]
pub mod owned;
pub mod process;
#[cfg(not(freestanding))]
pub mod spawn;
pub mod tty;
mod x86_64;

use core::ffi::CStr;
use core::marker::PhantomData;

use crate::fault::{Call, Errno, Fault, Result};
use x86_64 as arch;

/// Number of a call that takes integers only.
#[derive(Clone, Copy)]
struct Plain(u16);
/// Number of a call whose first argument is a string, the others integers.
#[derive(Clone, Copy)]
struct TextFirst(u16);
/// Number of a call whose first argument is a directory, the second a path, the others integers.
#[derive(Clone, Copy)]
struct AtPath(u16);
/// Number of a call with a shape of its own.
#[derive(Clone, Copy)]
struct Special(u16);

/// The errno range of the kernel's return values (`MAX_ERRNO`).
const MAX_ERRNO: isize = 4095;

fn checked(number: u16, result: isize) -> Result<usize> {
    if (-MAX_ERRNO..0).contains(&result) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 4095")]
        return Err(Fault::new(Call(number), Errno(-result as u16)));
    }
    Ok(result.cast_unsigned())
}

fn six<const N: usize>(args: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&args);
    all
}

fn plain<const N: usize>(number: Plain, args: [usize; N]) -> Result<usize> {
    // SAFETY: a `Plain` call takes integers only, so the kernel touches no memory of ours.
    checked(number.0, unsafe { arch::syscall(number.0, six(args)) })
}

fn text_first(number: TextFirst, text: &CStr, arg: usize) -> Result<usize> {
    // SAFETY: the kernel reads the string, which lives across the call; the other argument is an integer.
    checked(number.0, unsafe { arch::syscall(number.0, six([text.as_ptr() as usize, arg])) })
}

fn at_path<const N: usize>(number: AtPath, dir: fd::Fd, path: &CStr, args: [usize; N]) -> Result<usize> {
    let mut all = [0; 6];
    all[0] = dir.arg();
    all[1] = path.as_ptr() as usize;
    all[2..2 + N].copy_from_slice(&args);
    // SAFETY: the kernel reads the path, which lives across the call; the other arguments are integers.
    checked(number.0, unsafe { arch::syscall(number.0, all) })
}

/// A call that reads or writes memory in a way of its own.
///
/// # Safety
/// As for the call: every pointer among `args` must be valid for what the kernel does with it.
unsafe fn special<const N: usize>(number: Special, args: [usize; N]) -> Result<usize> {
    // SAFETY: the caller's contract.
    checked(number.0, unsafe { arch::syscall(number.0, six(args)) })
}

/// A request of `ioctl` whose argument is a `T` in memory. As with the numbers, what the kernel does with it is part of
/// its type.
struct Request<T>(u32, PhantomData<T>);

impl<T> Request<T> {
    const fn new(number: u32) -> Self {
        Self(number, PhantomData)
    }
}

fn ioctl<T>(fd: fd::Fd, request: &Request<T>, argument: &mut T) -> Result<usize> {
    let args = [fd.arg(), request.0 as usize, core::ptr::from_mut(argument) as usize];
    // SAFETY: a request is declared with the type that the kernel reads or writes, and the argument is ours alone.
    unsafe { special(arch::ioctl, args) }
}

/// The name of a call for a message: `move_mount`. `None` if this layer has no such call.
#[must_use]
pub fn name(call: Call) -> Option<&'static str> {
    call.check_name().or_else(|| arch::NAMES.iter().find(|(number, _)| *number == call.0).map(|(_, name)| *name))
}
