//! The terminal of a process: a pair from the container's own devpts. One end is given away, the other is 0, 1 and 2.

#![forbid(unsafe_code)]

use crate::fault::{Call, Errno, Fault, Result};
use crate::path;
use crate::run::{Context, View};
use crate::step::Slot;
use crate::step::terminal::{ON_CONSOLE, PLAIN_LINES};
use crate::sys::fd::{self, Closing, Fd, kind, open, resolve};
use crate::sys::mount;
use crate::sys::net::send_with_fd;
use crate::sys::tty::{self, WindowSize};

/// What goes with the descriptor: its receivers want a name, and runc gives them this.
const NAME: &[u8] = b"/dev/ptmx";

/// Makes the pair, sends its master side over the socket in `slot`, and lives on with the other.
/// `size` is rows in the low half and columns in the high one; 0 leaves the kernel's.
pub fn make(view: &View<'_>, cx: &Context, slot: Slot, size: u32, flags: u32) -> Result {
    let master = Closing(open_master(cx.root)?);
    tty::unlock(master.0)?;
    let peer = Closing(tty::peer(master.0)?);
    if size != 0 {
        #[expect(clippy::cast_possible_truncation, reason = "two halves of one word")]
        tty::set_size(master.0, WindowSize::new(size as u16, (size >> 16) as u16))?;
    }
    if flags & PLAIN_LINES != 0 {
        tty::plain_lines(peer.0)?;
    }
    if flags & ON_CONSOLE != 0 {
        bind_console(cx.root, peer.0)?;
    }
    let socket = Closing(view.slot(slot));
    send_with_fd(socket.0, NAME, master.0)?;
    for stream in (0..3).map(Fd) {
        fd::dup_inherited(peer.0, stream)?;
    }
    tty::control(Fd(0))
}

/// Opens the multiplexer of the container's devpts. Only the kernel makes names in the root of one, so `ptmx` there
/// is what it says; a file mounted over it is another mount, and refused.
fn open_master(root: Fd) -> Result<Fd> {
    const DEVPTS: u64 = 0x1cd1;
    const ROOT_INO: u64 = 1;
    let dir = path::find(root, c"/dev/pts", open::DIRECTORY).map_err(|fault| Fault { call: Call::DEVPTS, ..fault })?;
    if fd::filesystem(dir.0)? != DEVPTS || fd::stat(dir.0)?.ino != ROOT_INO {
        return Err(Fault::new(Call::DEVPTS, Errno::INVAL));
    }
    let how = resolve::BENEATH | resolve::NO_SYMLINKS | resolve::NO_XDEV;
    fd::openat2(dir.0, c"ptmx", open::RDWR | open::NOCTTY, how)
}

/// Puts the terminal over `/dev/console`, from descriptor to descriptor: no name of it is looked up in the container
/// (CVE-2025-52565). What is there must be a file or a node; a link is not followed (CVE-2026-88264).
fn bind_console(root: Fd, peer: Fd) -> Result {
    let (dir, name) = path::make_parent(root, c"/dev/console")?;
    match fd::mknodat(dir.0, name.as_cstr(), kind::REG | 0o600, 0) {
        Err(fault) if !fault.is(Errno::EXIST) => return Err(fault),
        _ => {}
    }
    let how = resolve::BENEATH | resolve::NO_SYMLINKS;
    let target = Closing(fd::openat2(dir.0, name.as_cstr(), open::PATH | open::NOFOLLOW, how)?);
    let found = fd::stat(target.0)?;
    if !found.is(kind::REG) && !found.is(kind::CHR) {
        return Err(Fault::new(Call::DEVICE, Errno::EXIST));
    }
    let tree = Closing(mount::clone_tree(peer, c"", false)?);
    mount::attach(tree.0, target.0)
}
