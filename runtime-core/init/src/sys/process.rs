//! Calls on the process itself: namespaces, identity, signals, birth and execve.

use core::ffi::CStr;
use core::mem::size_of;
use core::ptr::null;

use super::fd::Fd;
use super::{arch, plain, special, text_first};
use crate::fault::{Fault, Result};

/// `struct clone_args` (`linux/sched.h`).
#[repr(C)]
#[derive(Default)]
pub(super) struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

/// Flags of `clone3` that are used here.
pub mod clone {
    /// Share the memory until the child executes a program.
    pub const VM: u64 = 0x100;
    /// The parent sleeps until the child executes a program or exits.
    pub const VFORK: u64 = 0x4000;
    /// Return a pidfd of the child.
    pub const PIDFD: u64 = 0x1000;
    /// The child's parent is the caller's parent.
    pub const PARENT: u64 = 0x8000;
    /// The child's handled signals are set to default.
    pub const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    /// The child is born in the given cgroup.
    pub const INTO_CGROUP: u64 = 0x2_0000_0000;
}

/// What a birth gave: the parent's view, or the child's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Born {
    /// In the parent: the child's pid as the parent sees it, and its pidfd.
    Parent(i32, Fd),
    /// In the child.
    Child,
}

/// `clone3({flags | CLONE_PIDFD, cgroup})` like fork: the child goes on with a copy of the memory.
///
/// # Errors
/// As clone(2).
pub fn fork3(flags: u64, cgroup: Option<Fd>) -> Result<Born> {
    let mut pidfd = -1_i32;
    let mut args = CloneArgs { flags: flags | clone::PIDFD, pidfd: (&raw mut pidfd) as u64, ..CloneArgs::default() };
    if let Some(cgroup) = cgroup {
        args.flags |= clone::INTO_CGROUP;
        args.cgroup = cgroup.arg() as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of this stack; the kernel writes the pidfd of
    // the parent only, to a variable that lives across the call.
    let pid = unsafe { special(arch::clone3, [(&raw const args) as usize, size_of::<CloneArgs>()]) }?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "pids are below 2^22")]
    Ok(if pid == 0 { Born::Child } else { Born::Parent(pid as i32, Fd(pidfd)) })
}

/// `exit_group(status)`.
pub fn exit(status: i32) -> ! {
    loop {
        #[expect(clippy::cast_sign_loss, reason = "the kernel takes the low byte")]
        let _: Result<usize> = plain(arch::exit_group, [status as usize]);
    }
}

/// `execve(path, argv, envp)`. Returns only if it fails.
///
/// `argv` and `envp` are made by [`super::memory::Strings`].
pub fn execve(path: &CStr, argv: &super::memory::Strings, envp: &super::memory::Strings) -> Fault {
    let args = [path.as_ptr() as usize, argv.pointer() as usize, envp.pointer() as usize];
    // SAFETY: `Strings` is a null-terminated list of strings that outlive it.
    match unsafe { special(arch::execve, args) } {
        Ok(_) => Fault::new(crate::fault::Call(59), crate::fault::Errno::INVAL),
        Err(fault) => fault,
    }
}

/// `setns(fd, type)`.
///
/// # Errors
/// As setns(2).
pub fn setns(fd: Fd, kind: u32) -> Result {
    plain(arch::setns, [fd.arg(), kind as usize]).map(drop)
}

/// `unshare(flags)`.
///
/// # Errors
/// As unshare(2).
pub fn unshare(flags: u32) -> Result {
    plain(arch::unshare, [flags as usize]).map(drop)
}

/// `prctl(option, a, b)` with integer arguments only.
///
/// # Errors
/// As prctl(2).
pub fn prctl(option: Prctl, a: u32, b: u32) -> Result {
    plain(arch::prctl, [option as usize, a as usize, b as usize, 0, 0]).map(drop)
}

/// The options of `prctl` that are used here; all take integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prctl {
    /// Forget the death signal (the caller's shim may have set one).
    SetPdeathsig = 1,
    /// Whether others may trace this process and open its `/proc` files.
    SetDumpable = 4,
    /// Keep permitted capabilities over `setresuid`.
    SetKeepCaps = 8,
    /// Drop one capability from the bounding set.
    CapbsetDrop = 24,
    /// No execve may grant privileges any more.
    SetNoNewPrivs = 38,
    /// Change the ambient capabilities.
    CapAmbient = 47,
}

/// `setsid()`.
///
/// # Errors
/// As setsid(2).
pub fn setsid() -> Result {
    plain(arch::setsid, []).map(drop)
}

/// `umask(mask)`; cannot fail.
pub fn umask(mask: u32) {
    let _: Result<usize> = plain(arch::umask, [mask as usize]);
}

/// `setresuid(uid, uid, uid)`.
///
/// # Errors
/// As setresuid(2).
pub fn set_uid(uid: u32) -> Result {
    plain(arch::setresuid, [uid as usize; 3]).map(drop)
}

/// `setresgid(gid, gid, gid)`.
///
/// # Errors
/// As setresgid(2).
pub fn set_gid(gid: u32) -> Result {
    plain(arch::setresgid, [gid as usize; 3]).map(drop)
}

/// `setgroups(groups)`.
///
/// # Errors
/// As setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result {
    // SAFETY: the kernel reads `len` ids of the slice.
    unsafe { special(arch::setgroups, [groups.len(), groups.as_ptr() as usize]) }.map(drop)
}

/// The three sets of `capset`, as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSets {
    /// Effective.
    pub effective: u64,
    /// Permitted.
    pub permitted: u64,
    /// Inheritable.
    pub inheritable: u64,
}

/// `capset(version 3, sets)`.
///
/// # Errors
/// As capset(2).
pub fn capset(sets: &CapSets) -> Result {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    #[expect(clippy::cast_possible_truncation, reason = "the kernel takes the sets in halves")]
    let halves = |set: u64| [set as u32, (set >> 32) as u32];
    let (e, p, i) = (halves(sets.effective), halves(sets.permitted), halves(sets.inheritable));
    let data = [e[0], p[0], i[0], e[1], p[1], i[1]];
    // SAFETY: the kernel reads the header and two `struct __user_cap_data_struct`, the size of `data`.
    unsafe { special(arch::capset, [header.as_ptr() as usize, data.as_ptr() as usize]) }.map(drop)
}

/// `sethostname(name)`.
///
/// # Errors
/// As sethostname(2).
pub fn set_hostname(name: &CStr) -> Result {
    text_first(arch::sethostname, name, name.to_bytes().len()).map(drop)
}

/// `setdomainname(name)`.
///
/// # Errors
/// As setdomainname(2).
pub fn set_domainname(name: &CStr) -> Result {
    text_first(arch::setdomainname, name, name.to_bytes().len()).map(drop)
}

/// `chdir(path)`.
///
/// # Errors
/// As chdir(2).
pub fn chdir(path: &CStr) -> Result {
    text_first(arch::chdir, path, 0).map(drop)
}

/// `sched_setaffinity(0, mask)`, a bit for each CPU: the kernel cuts the mask to what the cpuset allows.
///
/// # Errors
/// As sched_setaffinity(2).
pub fn set_affinity(mask: &[u64]) -> Result {
    // SAFETY: the kernel reads the mask, whose size in bytes is passed.
    unsafe { special(arch::sched_setaffinity, [0, size_of_val(mask), mask.as_ptr() as usize]) }.map(drop)
}

/// `struct sched_attr` (`linux/sched/types.h`), without its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SchedAttr {
    /// Number of the policy.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// For SCHED_DEADLINE, in nanoseconds.
    pub runtime: u64,
    /// The same.
    pub deadline: u64,
    /// The same.
    pub period: u64,
}

/// `sched_setattr(pid, attr, 0)`.
///
/// # Errors
/// As sched_setattr(2).
pub fn set_scheduler(pid: i32, attr: &SchedAttr) -> Result {
    #[repr(C)]
    struct Sized {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        times: [u64; 3],
        clamps: [u32; 2],
    }
    let SchedAttr { policy, flags, nice, priority, runtime, deadline, period } = *attr;
    let times = [runtime, deadline, period];
    #[expect(clippy::cast_possible_truncation, reason = "56 bytes")]
    let sized = Sized { size: size_of::<Sized>() as u32, policy, flags, nice, priority, times, clamps: [0; 2] };
    // SAFETY: the kernel reads as many bytes of the structure as its first field says.
    unsafe { special(arch::sched_setattr, [Fd(pid).arg(), (&raw const sized) as usize, 0]) }.map(drop)
}

/// `ioprio_set(IOPRIO_WHO_PGRP, group, value)`, class and level as `linux/ioprio.h` packs them.
///
/// # Errors
/// As ioprio_set(2).
pub fn set_io_priority(group: i32, value: u32) -> Result {
    const IOPRIO_WHO_PGRP: usize = 2;
    plain(arch::ioprio_set, [IOPRIO_WHO_PGRP, Fd(group).arg(), value as usize]).map(drop)
}

/// `set_mempolicy(mode, nodes)`, a bit for each node.
///
/// # Errors
/// As set_mempolicy(2).
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result {
    // The kernel counts one bit less than it is told.
    let bits = size_of_val(nodes) * 8 + 1;
    // SAFETY: the kernel reads as many bits as the mask has, none if it is empty.
    unsafe { special(arch::set_mempolicy, [mode as usize, nodes.as_ptr() as usize, bits]) }.map(drop)
}

/// `personality(domain)`.
///
/// # Errors
/// As personality(2).
pub fn set_personality(domain: u32) -> Result {
    plain(arch::personality, [domain as usize]).map(drop)
}

const SIGSET_BYTES: usize = 8;

/// Unblocks every signal and sets every disposition to the default.
///
/// # Errors
/// As sigprocmask(2).
pub fn reset_signals() -> Result {
    const SIG_SETMASK: usize = 2;
    let none = 0_u64;
    // SAFETY: the kernel reads one signal set of the size passed.
    unsafe { special(arch::rt_sigprocmask, [SIG_SETMASK, (&raw const none) as usize, 0, SIGSET_BYTES]) }?;
    for signal in 1..=64 {
        // SIG_DFL, no flags, empty mask. SIGKILL and SIGSTOP refuse, which is right.
        let _: Result = action(signal, [0; 4]);
    }
    Ok(())
}

/// `rt_sigaction`: the signal ends this process, also if it is the first one of a pid namespace, for which the kernel
/// drops signals without a handler. `execve` sets it back.
///
/// # Errors
/// As rt_sigaction(2).
pub fn end_at(signal: i32) -> Result {
    const SA_RESTORER: u64 = 0x0400_0000;
    extern "C" fn end(signal: i32) -> ! {
        exit(128 + signal)
    }
    let end = end as extern "C" fn(i32) -> ! as usize as u64;
    // x86_64 insists on code to return by, although this never returns.
    action(signal.unsigned_abs() as usize, [end, SA_RESTORER, end, 0])
}

/// What happens at a signal: handler, flags, restorer, mask.
fn action(signal: usize, action: [u64; 4]) -> Result {
    // SAFETY: the kernel reads one `struct sigaction`, whose handler is none or a function that never returns.
    unsafe { special(arch::rt_sigaction, [signal, action.as_ptr() as usize, 0, SIGSET_BYTES]) }.map(drop)
}

/// `seccomp(SECCOMP_SET_MODE_FILTER, flags, program)`; `program` is a list of `struct sock_filter`. Returns the listener,
/// if the flags ask for one.
///
/// # Errors
/// As seccomp(2).
pub fn seccomp(flags: u32, program: &[u64]) -> Result<Option<Fd>> {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    const NEW_LISTENER: u32 = 8;
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const u64,
    }
    #[expect(clippy::cast_possible_truncation, reason = "the host checks that it is at most 4096")]
    let program = Program { len: program.len() as u16, filter: program.as_ptr() };
    // SAFETY: the kernel reads the structure and `len` instructions of 8 bytes each.
    let result =
        unsafe { special(arch::seccomp, [SECCOMP_SET_MODE_FILTER, flags as usize, (&raw const program) as usize]) }?;
    Ok((flags & NEW_LISTENER != 0).then(|| Fd::from_result(result)))
}

/// `keyctl(KEYCTL_JOIN_SESSION_KEYRING, name)`: the keyring's number.
///
/// # Errors
/// As KEYCTL_JOIN_SESSION_KEYRING(2const).
pub fn join_session_keyring(name: &CStr) -> Result<usize> {
    const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;
    // SAFETY: the kernel reads the name.
    unsafe { special(arch::keyctl, [KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr() as usize]) }
}

/// `keyctl(KEYCTL_SETPERM, key, permissions)`.
///
/// # Errors
/// As KEYCTL_SETPERM(2const).
pub fn set_key_permissions(key: usize, permissions: u32) -> Result {
    const KEYCTL_SETPERM: usize = 5;
    // This operation of keyctl takes integers only.
    plain(super::Plain(arch::keyctl.0), [KEYCTL_SETPERM, key, permissions as usize]).map(drop)
}

/// `pidfd_open(pid, 0)`.
///
/// # Errors
/// As pidfd_open(2).
pub fn pidfd_open(pid: i32) -> Result<Fd> {
    plain(arch::pidfd_open, [Fd(pid).arg(), 0]).map(Fd::from_result)
}

/// `pidfd_getfd(pidfd, fd, 0)`: a copy of another process's descriptor.
///
/// # Errors
/// As pidfd_getfd(2).
pub fn pidfd_getfd(pidfd: Fd, fd: Fd) -> Result<Fd> {
    plain(arch::pidfd_getfd, [pidfd.arg(), fd.arg(), 0]).map(Fd::from_result)
}

/// `pidfd_send_signal(pidfd, signal, NULL, 0)`.
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn pidfd_send_signal(pidfd: Fd, signal: i32) -> Result {
    let args = [pidfd.arg(), Fd(signal).arg(), null::<u8>() as usize, 0];
    // SAFETY: a null `siginfo` means that the kernel makes one.
    unsafe { special(arch::pidfd_send_signal, args) }.map(drop)
}

/// `prlimit(pid, resource, {soft, hard}, NULL)`; `u64::MAX` is unlimited.
///
/// # Errors
/// As prlimit(2).
pub fn prlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result {
    let limit = [soft, hard];
    let args = [Fd(pid).arg(), resource as usize, limit.as_ptr() as usize, 0];
    // SAFETY: the kernel reads one `struct rlimit64`; a null pointer means that the old one is not wanted.
    unsafe { special(arch::prlimit64, args) }.map(drop)
}

/// `pipe2(O_CLOEXEC)`: the end to read from and the end to write to.
///
/// # Errors
/// As pipe(2).
pub fn pipe() -> Result<(Fd, Fd)> {
    const O_CLOEXEC: usize = 0o2_000_000;
    let mut ends = [-1_i32; 2];
    // SAFETY: the kernel writes two descriptors to the array.
    unsafe { special(arch::pipe2, [ends.as_mut_ptr() as usize, O_CLOEXEC]) }?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

/// `memfd_create`, `pwrite64`: a file in memory with `parts` one behind the other, to be read from its start.
///
/// # Errors
/// As memfd_create(2), pwrite(2).
pub fn memory_file(parts: [&[u8]; 3]) -> Result<Fd> {
    const MFD_CLOEXEC: usize = 1;
    const MFD_NOEXEC_SEAL: usize = 8;
    let file = match text_first(arch::memfd_create, c"state", MFD_CLOEXEC | MFD_NOEXEC_SEAL) {
        // Before Linux 6.3 the flag is not known.
        Err(fault) if fault.is(crate::fault::Errno::INVAL) => text_first(arch::memfd_create, c"state", MFD_CLOEXEC),
        result => result,
    };
    let file = file.map(Fd::from_result)?;
    let mut at = 0;
    for part in parts {
        let mut rest = part;
        while !rest.is_empty() {
            let args = [file.arg(), rest.as_ptr() as usize, rest.len(), at];
            // SAFETY: the kernel reads at most `len` bytes of the slice.
            let written = unsafe { special(arch::pwrite64, args) }?;
            rest = &rest[written..];
            at += written;
        }
    }
    Ok(file)
}

/// `poll({fds, POLLIN}, timeout)`, timeout in milliseconds, negative for none: which of the two are ready.
///
/// # Errors
/// As poll(2).
pub fn poll_two(fds: [Fd; 2], timeout: i32) -> Result<[bool; 2]> {
    const POLLIN: u32 = 1;
    let mut entries = fds.map(|fd| [fd.0.cast_unsigned(), POLLIN]);
    // SAFETY: `struct pollfd` is an int and two shorts; the kernel writes the upper short of each.
    unsafe { special(arch::poll, [entries.as_mut_ptr() as usize, entries.len(), Fd(timeout).arg()]) }?;
    Ok(entries.map(|[_, events]| events >> 16 != 0))
}

/// `wait4(pid, status, __WALL)`: the status as wait(2) encodes it.
///
/// # Errors
/// As wait4(2).
pub fn wait(pid: i32) -> Result<u32> {
    const WALL: usize = 0x4000_0000;
    let mut status = 0_u32;
    // SAFETY: the kernel writes the status; a null pointer means that no usage is wanted.
    unsafe { special(arch::wait4, [Fd(pid).arg(), (&raw mut status) as usize, WALL, 0]) }?;
    Ok(status)
}

/// `kill(-group, SIGKILL)`.
///
/// # Errors
/// As kill(2).
pub fn kill_group(group: i32) -> Result {
    const SIGKILL: usize = 9;
    plain(arch::kill, [Fd(-group).arg(), SIGKILL]).map(drop)
}

/// `clock_gettime(CLOCK_MONOTONIC)` in milliseconds.
///
/// # Errors
/// As clock_gettime(2).
pub fn monotonic_ms() -> Result<i64> {
    const CLOCK_MONOTONIC: usize = 1;
    let [seconds, nanoseconds] = clock(CLOCK_MONOTONIC)?;
    Ok(seconds.saturating_mul(1000) + nanoseconds / 1_000_000)
}

/// `clock_gettime(CLOCK_REALTIME)` in nanoseconds: the clock that no time namespace shifts.
///
/// # Errors
/// As clock_gettime(2).
pub fn realtime_ns() -> Result<u64> {
    const CLOCK_REALTIME: usize = 0;
    let [seconds, nanoseconds] = clock(CLOCK_REALTIME)?;
    Ok(seconds.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(nanoseconds.cast_unsigned()))
}

fn clock(id: usize) -> Result<[i64; 2]> {
    let mut time = [0_i64; 2];
    // SAFETY: the kernel writes one `struct timespec`, two words.
    unsafe { special(arch::clock_gettime, [id, time.as_mut_ptr() as usize]) }?;
    Ok(time)
}

/// The caller's pid as it sees itself: that of the thread group, which init is alone in.
#[must_use]
pub fn own_pid() -> i32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "pids are below 2^22")]
    plain(arch::getpid, []).map_or(0, |pid| pid as i32)
}
