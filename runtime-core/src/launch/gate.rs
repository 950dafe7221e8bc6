//! The host's end of the gates: a socket pair on which each side sends one byte and waits for one.
//!
//! Every wait ends when init does: its end of the pair closes with it.

#![forbid(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, sendmsg,
    socketpair,
};
use runtime_init::Gate;
use runtime_init::sys::owned::adopt_received;

use super::patience::Patience;
use crate::error::{Result, StepError};

/// The host's end.
#[derive(Debug)]
pub(super) struct Gates {
    socket: OwnedFd,
    /// Where init stands, and what it shows there.
    standing: Option<(Gate, Option<OwnedFd>)>,
}

/// What came from init.
enum Message {
    Gate(Gate, Option<OwnedFd>),
    Born(i32, OwnedFd),
    Closed,
}

impl Gates {
    /// A new pair: the host's end and init's.
    pub fn new() -> Result<(Self, OwnedFd)> {
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (ours, inits) = pair.map_err(|errno| StepError::host(None, "make the gate", "socketpair", errno))?;
        Ok((Self { socket: ours, standing: None }, inits))
    }

    /// The pid and pidfd of the process that was just born; `None` if `bearer`, who should tell so, is gone.
    ///
    /// The newborn runs beside the one that bore it, and may stand at its first gate before its birth is told. It holds the
    /// same end of the pair, so that only its bearer's own end shows that nobody will tell.
    pub fn born(&mut self, bearer: BorrowedFd<'_>, patience: Patience<'_>) -> Result<Option<(i32, OwnedFd)>> {
        loop {
            if !patience.until(|limit| any_readable([self.socket.as_fd(), bearer], limit)) {
                return Ok(None);
            }
            // What it told before its end is there by now.
            match self.receive(Patience { limit: Duration::ZERO, frame: None })? {
                Some(Message::Born(pid, pidfd)) => return Ok(Some((pid, pidfd))),
                Some(Message::Gate(gate, fd)) if self.standing.is_none() => self.standing = Some((gate, fd)),
                _ => return Ok(None),
            }
        }
    }

    /// Whether init stands at `gate`, waiting for it to come; `false` if it is gone or silent.
    pub fn reached(&mut self, gate: Gate, patience: Patience<'_>) -> Result<bool> {
        if self.standing.is_none()
            && let Some(Message::Gate(reached, fd)) = self.receive(patience)?
        {
            self.standing = Some((reached, fd));
        }
        Ok(self.standing.as_ref().is_some_and(|(standing, _)| *standing == gate))
    }

    /// What init shows at the gate at which it stands.
    pub fn shown(&mut self) -> Option<OwnedFd> {
        self.standing.as_mut().and_then(|(_, fd)| fd.take())
    }

    /// Sends init what it waits for behind [`Gate::Trees`], or that there is nothing.
    pub fn give(&self, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let numbers: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if numbers.is_empty() { &[][..] } else { &rights };
        let bytes = [IoSlice::new(&[Gate::Trees as u8])];
        match sendmsg::<()>(self.socket.as_raw_fd(), &bytes, control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(StepError::host(None, "hand init a file", "sendmsg", errno).into()),
        }
    }

    /// Lets init pass. If it is gone meanwhile, the next wait says so.
    pub fn release(&mut self, gate: Gate) -> Result<()> {
        self.standing = None;
        match send(self.socket.as_raw_fd(), &[gate as u8], MsgFlags::MSG_NOSIGNAL) {
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(StepError::host(None, "let init go on", "sendto", errno).into()),
        }
    }

    /// Waits until init has closed its end, or is silent for too long.
    pub fn closed(&mut self, patience: Patience<'_>) -> Result<()> {
        self.receive(patience).map(drop)
    }

    fn receive(&self, patience: Patience<'_>) -> Result<Option<Message>> {
        if !patience.until(|limit| readable(self.socket.as_fd(), limit)) {
            return Ok(None);
        }
        let mut bytes = [0; 8];
        match message(self.socket.as_fd(), &mut bytes, MsgFlags::empty()) {
            Ok((len, fd)) => Ok(Some(read(&bytes[..len], fd))),
            Err(Errno::ECONNRESET) => Ok(Some(Message::Closed)),
            Err(errno) => Err(StepError::host(None, "listen to init", "recvmsg", errno).into()),
        }
    }
}

/// Receives a message: its length, and the descriptor that came with it.
pub(super) fn message(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: MsgFlags,
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut control = nix::cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(bytes)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut fds = Vec::new();
    for part in message.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(received) = part {
            fds.extend(received.into_iter().map(adopt_received));
        }
    }
    Ok((message.bytes, fds.pop()))
}

fn read(bytes: &[u8], fd: Option<OwnedFd>) -> Message {
    match (bytes, fd) {
        ([gate, a, b, c, d], Some(fd)) if *gate == Gate::Born as u8 => {
            Message::Born(i32::from_ne_bytes([*a, *b, *c, *d]), fd)
        }
        ([gate], fd) => Gate::from_byte(*gate).map_or(Message::Closed, |gate| Message::Gate(gate, fd)),
        _ => Message::Closed,
    }
}

/// Whether `fd` becomes readable, or its other end goes away, in time.
pub(super) fn readable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    any_readable([fd], limit)
}

fn any_readable<const N: usize>(fds: [BorrowedFd<'_>; N], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) => return false,
            Err(Errno::EINTR) => {}
            _ => return true,
        }
    }
}
