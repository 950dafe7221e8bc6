//! Everything that depends on x86_64: numbers of system calls, and all of the assembly.

use core::arch::asm;
#[cfg(freestanding)]
use core::arch::global_asm;

/// Declares numbers by shape. The type of a number says which arguments the call takes, so that a
/// wrapper cannot pass an integer where the kernel reads memory.
macro_rules! numbers {
    ($($shape:ident { $($name:ident = $number:literal),* $(,)? })*) => {
        $($(#[expect(non_upper_case_globals, reason = "the kernel's name is what messages print")] pub(super) const $name: super::$shape = super::$shape($number);)*)*

        /// Names of the numbers, for messages.
        pub(super) const NAMES: &[(u16, &str)] = &[$($(($number, stringify!($name)),)*)*];
    };
}

numbers! {
    Plain {
        close = 3, setsid = 112, umask = 95, kill = 62, getpid = 39, fchdir = 81, fchmod = 91, fchown = 93, fcntl = 72,
        dup3 = 292, setresuid = 117, setresgid = 119, prctl = 157, exit_group = 231, unshare = 272, setns = 308,
        close_range = 436, fsmount = 432, pidfd_open = 434, pidfd_getfd = 438, socket = 41, sendfile = 40, personality = 135,
        ioprio_set = 251,
    }
    TextFirst {
        chdir = 80, chroot = 161, umount2 = 166, fsopen = 430, memfd_create = 319, sethostname = 170, setdomainname = 171,
    }
    AtPath {
        mkdirat = 258, mknodat = 259, unlinkat = 263, openat = 257, open_tree = 428, fspick = 433, faccessat2 = 439, fchownat = 260,
        fchmodat = 268,
    }
    Special {
        read = 0, write = 1, mmap = 9, munmap = 11, rt_sigaction = 13, rt_sigprocmask = 14, ioctl = 16, sendmsg = 46, recvmsg = 47,
        execve = 59, getcwd = 79, setgroups = 116, capset = 126, pivot_root = 155, sched_setaffinity = 203, sched_setattr = 314,
        set_mempolicy = 238, symlinkat = 266, readlinkat = 267, getdents64 = 217, fstatfs = 138,
        seccomp = 317, bpf = 321, execveat = 322, statx = 332, pidfd_send_signal = 424, move_mount = 429,
        fsconfig = 431, clone3 = 435, openat2 = 437, mount_setattr = 442, keyctl = 250, waitid = 247, prlimit64 = 302, pipe2 = 293, poll = 7, wait4 = 61, pwrite64 = 18, clock_gettime = 228,
    }
}

/// Enters the kernel. Returns what it returns: a result, or a negative errno.
///
/// # Safety
/// The arguments must be what call `number` expects; memory that it reads or writes must be valid for that.
pub(super) unsafe fn syscall(number: u16, args: [usize; 6]) -> isize {
    let result;
    // SAFETY: the caller's contract; the instruction clobbers rcx, r11 and the result register only.
    unsafe {
        asm!("syscall", inlateout("rax") usize::from(number) => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// `clone3` whose child starts in `entry(argument)` on the stack that `args` names, and never returns.
///
/// # Safety
/// `args` points to `size` bytes of a `struct clone_args` with a stack of its own for the child; `entry`
/// must never return; `argument` must stay valid for as long as the child uses it.
#[cfg(not(freestanding))]
pub(super) unsafe fn clone3_on_stack(
    args: *const u8,
    size: usize,
    entry: extern "C" fn(usize) -> !,
    argument: usize,
) -> isize {
    let result;
    // SAFETY: the caller's contract. The child leaves this block only by the call that never returns;
    // the parent sees an ordinary system call.
    unsafe {
        asm!("syscall", "test rax, rax", "jnz 2f", "xor ebp, ebp", "mov rdi, r12", "call r13", "ud2", "2:",
            inlateout("rax") 435_usize => result, in("rdi") args, in("rsi") size, in("r12") argument, in("r13") entry,
            lateout("rcx") _, lateout("r11") _);
    }
    result
}

#[cfg(freestanding)]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym crate::start::start);

// The five memory functions that the compiler may call. In assembly, because the compiler would turn a loop in Rust
// into a call of itself. memmove copies backwards when the regions overlap the wrong way.
#[cfg(freestanding)]
global_asm!(
    ".globl memcpy",
    "memcpy:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    ".globl memmove",
    "memmove:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "mov r8, rdi",
    "sub r8, rsi",
    "cmp r8, rdx",
    "jb 2f",
    "rep movsb",
    "ret",
    "2:",
    "lea rdi, [rdi + rdx - 1]",
    "lea rsi, [rsi + rdx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    ".globl memset",
    "memset:",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    ".globl bcmp",
    "bcmp:",
    ".globl memcmp",
    "memcmp:",
    "mov rcx, rdx",
    "xor eax, eax",
    "cmp rcx, rcx",
    "repe cmpsb",
    "je 3f",
    "movzx eax, byte ptr [rdi - 1]",
    "movzx ecx, byte ptr [rsi - 1]",
    "sub eax, ecx",
    "3:",
    "ret",
);
