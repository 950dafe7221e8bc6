//! Device programs of a cgroup: load, find, attach (bpf(2), `BPF_PROG_TYPE_CGROUP_DEVICE`). Host only.
//!
//! `RLIMIT_MEMLOCK` is left alone: since Linux 5.11 programs are charged to the memory cgroup instead,
//! and raising it would be a change of the caller's process.

#![cfg(not(freestanding))]

use core::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::fd::Fd;
use super::owned::adopt;
use super::{arch, special};
use crate::fault::{Errno, Result};

/// The name under which programs are loaded: 15 bytes at most, and no `-` (`BPF_OBJ_NAME_LEN`).
pub const NAME: &CStr = c"runtime_devices";

/// The kernel's limit of programs on one cgroup (`BPF_CGROUP_MAX_PROGS`).
pub const MAX_ATTACHED: usize = 64;

/// How often a load is tried again when a signal interrupts the verifier, as in libbpf and runc.
const INTERRUPTED_TRIES: u32 = 30;

const LICENSE: &CStr = c"Apache-2.0";

const PROG_LOAD: usize = 5;
const PROG_ATTACH: usize = 8;
const PROG_DETACH: usize = 9;
const PROG_GET_FD_BY_ID: usize = 13;
const OBJ_GET_INFO_BY_FD: usize = 15;
const PROG_QUERY: usize = 16;

/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`.
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: every program of the cgroup and of its ancestors has to agree.
const ALLOW_MULTI: u32 = 2;
/// `BPF_F_REPLACE`.
const REPLACE: u32 = 4;

/// `union bpf_attr` for `BPF_PROG_LOAD`, up to the name.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// For `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attach {
    cgroup: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaces: u32,
}

/// For `BPF_PROG_QUERY`. Linux 6.17 to 7.1 write `revision` whatever size is given, so it is there to be written.
#[repr(C)]
#[derive(Default)]
struct Query {
    cgroup: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    pad: u32,
    program_flags: u64,
    link_ids: u64,
    link_flags: u64,
    revision: u64,
}

/// For `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    fd: u32,
    len: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to the name.
#[repr(C)]
#[derive(Default)]
struct Info {
    before_name: [u64; 8],
    name: [u8; 16],
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// # Safety
/// Every pointer in `attr` must be valid for what `command` does with it.
unsafe fn bpf<T>(command: usize, attr: &mut T) -> Result<usize> {
    // SAFETY: the kernel reads and writes at most the given size of `attr`; the rest is the caller's contract.
    unsafe { special(arch::bpf, [command, (&raw mut *attr) as usize, size_of::<T>()]) }
}

/// `BPF_PROG_LOAD` of a device program named [`NAME`]; close-on-exec. A `log` that is not empty gets the
/// verifier's words, ended by a zero byte.
///
/// # Errors
/// As bpf(2); `E2BIG` for more than `u32::MAX` instructions or bytes of log.
#[expect(clippy::cast_possible_truncation, reason = "both lengths were checked")]
pub fn load(program: &[u64], log: &mut [u8]) -> Result<OwnedFd> {
    if program.len().max(log.len()) > u32::MAX as usize {
        return Err(crate::Fault::new(crate::Call(arch::bpf.0), Errno::TOOBIG));
    }
    let mut name = [0; 16];
    name[..NAME.count_bytes()].copy_from_slice(NAME.to_bytes());
    let mut attr = Load {
        kind: TYPE_CGROUP_DEVICE,
        instructions: program.len() as u32,
        program: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kernel_version: 0,
        flags: 0,
        name,
    };
    let mut tries = 0;
    loop {
        // SAFETY: program, license and log live across the call, and their lengths are as given.
        let result = unsafe { bpf(PROG_LOAD, &mut attr) };
        tries += 1;
        match result {
            Err(fault) if fault.is(Errno::AGAIN) && tries < INTERRUPTED_TRIES => {}
            result => return result.map(|fd| adopt(Fd::from_result(fd))),
        }
    }
}

/// `BPF_PROG_ATTACH` of a device program to the cgroup that the directory `cgroup` is, with
/// `BPF_F_ALLOW_MULTI`; in the place of `replaces` if that is given.
///
/// # Errors
/// As bpf(2).
pub fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, replaces: Option<BorrowedFd<'_>>) -> Result {
    let flags = if replaces.is_some() { ALLOW_MULTI | REPLACE } else { ALLOW_MULTI };
    let mut attr = Attach {
        cgroup: number(cgroup),
        program: number(program),
        kind: ATTACH_CGROUP_DEVICE,
        flags,
        replaces: replaces.map_or(0, number),
    };
    // SAFETY: the structure holds integers only.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// `BPF_PROG_DETACH` of a device program from a cgroup.
///
/// # Errors
/// As bpf(2).
pub fn detach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result {
    let mut attr =
        Attach { cgroup: number(cgroup), program: number(program), kind: ATTACH_CGROUP_DEVICE, flags: 0, replaces: 0 };
    // SAFETY: the structure holds integers only.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// `BPF_PROG_QUERY`: the ids of the device programs attached to `cgroup` itself. Returns how many there are.
///
/// # Errors
/// As bpf(2); `EPERM` without `CAP_NET_ADMIN`.
pub fn attached(cgroup: BorrowedFd<'_>, ids: &mut [u32; MAX_ATTACHED]) -> Result<usize> {
    #[expect(clippy::cast_possible_truncation, reason = "64")]
    let mut attr = Query {
        cgroup: number(cgroup),
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: MAX_ATTACHED as u32,
        ..Query::default()
    };
    // SAFETY: the kernel writes at most `count` ids, for which the array has room.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    Ok((attr.count as usize).min(MAX_ATTACHED))
}

/// `BPF_PROG_GET_FD_BY_ID`; close-on-exec.
///
/// # Errors
/// As bpf(2); `EPERM` without `CAP_SYS_ADMIN`, `ENOENT` when the program has gone.
pub fn open(id: u32) -> Result<OwnedFd> {
    let mut attr = id;
    // SAFETY: the structure is one integer.
    unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }.map(|fd| adopt(Fd::from_result(fd)))
}

/// `BPF_OBJ_GET_INFO_BY_FD`: whether a program was loaded by [`load`], which its name tells.
///
/// # Errors
/// As bpf(2).
pub fn is_ours(program: BorrowedFd<'_>) -> Result<bool> {
    let mut info = Info::default();
    #[expect(clippy::cast_possible_truncation, reason = "80")]
    let mut attr = GetInfo { fd: number(program), len: size_of::<Info>() as u32, info: (&raw mut info) as u64 };
    // SAFETY: the kernel writes at most `len` bytes to `info`; the pointers in it are null, so nothing else.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(CStr::from_bytes_until_nul(&info.name).is_ok_and(|name| name == NAME))
}
