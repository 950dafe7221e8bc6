//! The few requests of rtnetlink(7) that moving a device takes, written by hand: a library for all of them would be larger
//! than this runtime.
//!
//! The kernel answers while a request is sent, so that nothing here waits.

#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

type Result<T> = std::result::Result<T, Errno>;

// Kinds of messages, and flags of requests (`linux/netlink.h`, `linux/rtnetlink.h`).
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP_INTERRUPTED: u16 = 0x10;
const EXCLUSIVE: u16 = 0x200;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;

// Attributes of links and addresses (`linux/if_link.h`, `linux/if_addr.h`).
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_PID: u16 = 19;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;

/// Flags of a link (`linux/if.h`).
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
/// Those that are set with an address: nodad, homeaddress, mngtmpaddr, noprefixroute, autojoin.
const CHOSEN: u32 = 0x712;
const GLOBAL: u8 = 0;

const HEADER: usize = 16;
const LINK: usize = 16;
const ADDRESS: usize = 8;

/// A device as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub index: u32,
    flags: u32,
}

impl Device {
    pub const fn is_up(self) -> bool {
        self.flags & IFF_UP != 0
    }

    pub const fn is_loopback(self) -> bool {
        self.flags & IFF_LOOPBACK != 0
    }
}

/// An address of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Somebody has set it, and it means the same everywhere. Others belong to where they were made.
    pub const fn stays(&self) -> bool {
        self.flags & IFA_F_PERMANENT != 0 && self.scope == GLOBAL
    }
}

/// A socket of one network namespace, whoever uses it.
#[derive(Debug)]
pub(super) struct Route(OwnedFd);

impl Route {
    /// That of the calling thread.
    pub fn here() -> Result<Self> {
        let protocol = SockProtocol::NetlinkRoute;
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).map(Self)
    }

    /// That of whoever made the socket.
    pub const fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    pub fn device(&self, name: &str) -> Result<Option<Device>> {
        let body = [link(0, 0, 0), attribute(IFLA_IFNAME, &text(name))].concat();
        let answers = match self.ask(GET_LINK, ACKNOWLEDGE, &body) {
            Err(Errno::ENODEV) => return Ok(None),
            other => other?,
        };
        let found = answers.first().and_then(|link| Some(Device { index: word(link, 4)?, flags: word(link, 8)? }));
        found.map(Some).ok_or(Errno::EBADMSG)
    }

    /// Moves a device to the network namespace of the task `pid` and renames it, in one request.
    pub fn give(&self, index: u32, name: &str, pid: u32) -> Result<()> {
        let attributes = [attribute(IFLA_IFNAME, &text(name)), attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes())];
        let body = [link(index, 0, 0), attributes.concat()].concat();
        self.ask(NEW_LINK, ACKNOWLEDGE, &body).map(drop)
    }

    pub fn set_up(&self, index: u32) -> Result<()> {
        self.ask(NEW_LINK, ACKNOWLEDGE, &link(index, IFF_UP, IFF_UP)).map(drop)
    }

    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let answers = self.ask(GET_ADDRESS, DUMP, &[0; ADDRESS])?;
        let of_it = |message: &&Vec<u8>| word(message, 4) == Some(index);
        answers.iter().filter(of_it).map(|message| address(message).ok_or(Errno::EBADMSG)).collect()
    }

    pub fn add_address(&self, index: u32, address: &Address) -> Result<()> {
        let mut body = vec![address.family, address.prefix, 0, address.scope];
        body.extend(index.to_ne_bytes());
        body.extend(attribute(IFA_FLAGS, &(address.flags & CHOSEN).to_ne_bytes()));
        for (kind, value) in &address.attributes {
            body.extend(attribute(*kind, value));
        }
        self.ask(NEW_ADDRESS, ACKNOWLEDGE | CREATE | EXCLUSIVE, &body).map(drop)
    }

    /// The bodies of all answers.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Vec<u8>>> {
        const ATTEMPTS: u32 = 100;
        for _ in 0..ATTEMPTS {
            send(self.0.as_raw_fd(), &request(kind, REQUEST | flags, body), MsgFlags::empty())?;
            if let Some(answers) = self.answers()? {
                return Ok(answers);
            }
        }
        Err(Errno::EINTR)
    }

    /// Reads up to the acknowledgement, or the end of a list; `None` if the list changed while it was made.
    fn answers(&self) -> Result<Option<Vec<Vec<u8>>>> {
        let mut buffer = vec![0; 1 << 16];
        let (mut answers, mut whole) = (Vec::new(), true);
        loop {
            let len = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
            let mut rest = &buffer[..len];
            while let Some((kind, flags, body, next)) = message(rest) {
                whole &= flags & DUMP_INTERRUPTED == 0;
                match (kind, word(body, 0)) {
                    (ERROR, Some(code)) if code != 0 => return Err(Errno::from_raw(-code.cast_signed())),
                    (ERROR | DONE, _) => return Ok(whole.then_some(answers)),
                    _ => answers.push(body.to_vec()),
                }
                rest = next;
            }
        }
    }
}

/// `struct nlmsghdr` and what follows.
fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Kind, flags and body of the first message, and what comes after it.
fn message(bytes: &[u8]) -> Option<(u16, u16, &[u8], &[u8])> {
    let len = word(bytes, 0)? as usize;
    let body = bytes.get(HEADER..len)?;
    let next = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((half(bytes, 4)?, half(bytes, 6)?, body, next))
}

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut message = vec![0; LINK];
    message[4..8].copy_from_slice(&index.to_ne_bytes());
    message[8..12].copy_from_slice(&flags.to_ne_bytes());
    message[12..].copy_from_slice(&change.to_ne_bytes());
    message
}

/// `struct ifaddrmsg` and its attributes.
fn address(message: &[u8]) -> Option<Address> {
    let head = message.get(..ADDRESS)?;
    let mut address =
        Address { family: head[0], prefix: head[1], scope: head[3], flags: head[2].into(), attributes: Vec::new() };
    let mut rest = message.get(ADDRESS..)?;
    while let (Some(len), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let value = rest.get(4..len.into())?;
        match kind {
            IFA_FLAGS => address.flags = word(value, 0)?,
            IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST => address.attributes.push((kind, value.to_vec())),
            _ => {}
        }
        rest = rest.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(address)
}

/// `struct rtattr`, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = 4 + value.len();
    let mut attribute = Vec::with_capacity(len + 3);
    attribute.extend(u16::try_from(len).unwrap_or(u16::MAX).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(len.next_multiple_of(4), 0);
    attribute
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_apart_as_they_are_put_together() {
        let first = request(NEW_ADDRESS, REQUEST, &[2, 24, 0, 0, 7, 0, 0, 0]);
        let bytes = [first, request(DONE, 0, &[])].concat();
        let (kind, flags, body, rest) = message(&bytes).expect("it is whole");
        assert_eq!((kind, flags, word(body, 4)), (NEW_ADDRESS, REQUEST, Some(7)));
        assert_eq!(message(rest).map(|(kind, ..)| kind), Some(DONE));
        for cut in 0..HEADER {
            assert!(message(&bytes[..cut]).is_none());
        }
    }

    #[test]
    fn an_address_keeps_what_was_set() {
        let attributes = [
            attribute(IFA_LOCAL, &[10, 0, 0, 1]),
            attribute(3, b"eth0:1\0"),
            attribute(IFA_FLAGS, &0x280_u32.to_ne_bytes()),
            attribute(IFA_BROADCAST, &[10, 0, 0, 255]),
        ];
        let bytes = [vec![2, 24, 0x80, GLOBAL, 7, 0, 0, 0], attributes.concat()].concat();
        let found = address(&bytes).expect("it is whole");
        assert!(found.stays());
        assert_eq!((found.family, found.prefix, found.flags), (2, 24, 0x280));
        let kept = [(IFA_LOCAL, vec![10, 0, 0, 1]), (IFA_BROADCAST, vec![10, 0, 0, 255])];
        assert_eq!(found.attributes, kept);
        let (dynamic, link) = (Address { flags: 0, ..found.clone() }, Address { scope: 253, ..found });
        assert!(!dynamic.stays() && !link.stays());
        assert!(address(&bytes[..bytes.len() - 1]).is_none(), "the last attribute is cut");
    }

    #[test]
    fn the_kernel_knows_the_loopback_device() {
        let route = Route::here().expect("there is a network");
        let device = route.device("lo").expect("it answers").expect("it is everywhere");
        assert!(device.is_loopback());
        assert!(route.device("no-such-device").expect("it answers").is_none());
        assert!(
            route
                .addresses(device.index)
                .expect("it answers")
                .iter()
                .all(|address| !address.stays() || address.prefix > 0)
        );
    }
}
