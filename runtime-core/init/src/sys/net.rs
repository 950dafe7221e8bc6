//! The gate's messages, and raising the loopback device.

use core::mem::size_of;

use super::fd::Fd;
use super::{Request, Special, arch, ioctl, plain, special};
use crate::fault::Result;

#[repr(C)]
struct IoVec {
    base: usize,
    len: usize,
}

#[repr(C)]
struct MsgHdr {
    name: usize,
    name_len: usize,
    iov: usize,
    iov_len: usize,
    control: usize,
    control_len: usize,
    flags: usize,
}

/// A control message with one descriptor: `struct cmsghdr`, the fd, padding.
#[repr(C)]
struct Rights {
    len: usize,
    level: i32,
    kind: i32,
    fd: i32,
    pad: i32,
}

/// `sendmsg(socket, bytes, SCM_RIGHTS fd)`. `MSG_NOSIGNAL`: a host that is gone is an error, not a signal.
///
/// # Errors
/// As sendmsg(2).
pub fn send_with_fd(socket: Fd, bytes: &[u8], fd: Fd) -> Result {
    const SOL_SOCKET: i32 = 1;
    const SCM_RIGHTS: i32 = 1;
    const MSG_NOSIGNAL: usize = 0x4000;
    let mut rights = Rights { len: 20, level: SOL_SOCKET, kind: SCM_RIGHTS, fd: fd.0, pad: 0 };
    let iov = IoVec { base: bytes.as_ptr() as usize, len: bytes.len() };
    message(arch::sendmsg, socket, &iov, &mut rights, MSG_NOSIGNAL).map(drop)
}

/// `recvmsg(socket)` into `bytes`: how many came, and the descriptor that came with them. Zero means that the other end
/// is closed.
///
/// # Errors
/// As recvmsg(2).
pub fn receive(socket: Fd, bytes: &mut [u8]) -> Result<(usize, Option<Fd>)> {
    const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
    let mut rights = Rights { len: 0, level: 0, kind: 0, fd: -1, pad: 0 };
    let iov = IoVec { base: bytes.as_mut_ptr() as usize, len: bytes.len() };
    let count = message(arch::recvmsg, socket, &iov, &mut rights, MSG_CMSG_CLOEXEC)?;
    Ok((count, (rights.len > 0).then_some(Fd(rights.fd))))
}

/// One message. `iov` names a buffer that lives across the call, and may be written if the call does that.
fn message(call: Special, socket: Fd, iov: &IoVec, rights: &mut Rights, flags: usize) -> Result<usize> {
    let mut header = MsgHdr {
        name: 0,
        name_len: 0,
        iov: core::ptr::from_ref(iov) as usize,
        iov_len: 1,
        control: core::ptr::from_mut(rights) as usize,
        control_len: size_of::<Rights>(),
        flags: 0,
    };
    // SAFETY: the kernel uses the header and the buffers it names, all of which live across the call.
    unsafe { special(call, [socket.arg(), (&raw mut header) as usize, flags]) }
}

/// `socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)` in the current network namespace.
///
/// # Errors
/// As netlink(7).
pub fn route_socket() -> Result<Fd> {
    const AF_NETLINK: usize = 16;
    const SOCK_RAW_CLOEXEC: usize = 3 | 0o2_000_000;
    plain(arch::socket, [AF_NETLINK, SOCK_RAW_CLOEXEC, 0]).map(Fd::from_result)
}

/// Sets `IFF_UP` on `lo` in the current network namespace.
///
/// # Errors
/// As netdevice(7).
pub fn raise_loopback() -> Result {
    const AF_INET: usize = 2;
    const SOCK_DGRAM_CLOEXEC: usize = 2 | 0o2_000_000;
    const SIOCSIFFLAGS: Request<IfReq> = Request::new(0x8914);
    const IFF_UP_RUNNING: u16 = 0x1 | 0x40;
    /// `struct ifreq`, which is 40 bytes on 64-bit architectures.
    #[repr(C)]
    struct IfReq {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }
    let mut request = IfReq { name: [0; 16], flags: IFF_UP_RUNNING, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    let socket = plain(arch::socket, [AF_INET, SOCK_DGRAM_CLOEXEC, 0]).map(Fd::from_result)?;
    let result = ioctl(socket, &SIOCSIFFLAGS, &mut request);
    super::fd::close(socket)?;
    result.map(drop)
}
