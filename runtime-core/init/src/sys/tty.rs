//! Terminals: a pair's two ends, its size, and whose controlling terminal it is.

use super::fd::{Fd, open};
use super::{Plain, Request, arch, ioctl, plain};
use crate::fault::{Call, Fault, Result};

/// The size of a terminal in characters; `struct winsize`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Number of rows.
    pub rows: u16,
    /// Number of columns.
    pub columns: u16,
    pixels: [u16; 2],
}

impl WindowSize {
    /// A size in characters; that in pixels is unknown.
    #[must_use]
    pub const fn new(rows: u16, columns: u16) -> Self {
        Self { rows, columns, pixels: [0; 2] }
    }
}

/// The same fault under the name of the request: a step makes more than one.
fn named<T>(call: Call, result: Result<T>) -> Result<T> {
    result.map_err(|fault| Fault { call, ..fault })
}

/// A request whose argument is a number.
fn number(fd: Fd, request: usize, argument: usize) -> Result<usize> {
    plain(Plain(arch::ioctl.0), [fd.arg(), request, argument])
}

/// `ioctl(master, TIOCSPTLCK, 0)`: the other end may be opened.
///
/// # Errors
/// As TIOCSPTLCK(2const).
pub fn unlock(master: Fd) -> Result {
    const TIOCSPTLCK: Request<i32> = Request::new(0x4004_5431);
    named(Call::TERMINAL_LOCK, ioctl(master, &TIOCSPTLCK, &mut 0)).map(drop)
}

/// `ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)`: the other end, without a path.
///
/// # Errors
/// As TIOCGPTPEER(2const).
pub fn peer(master: Fd) -> Result<Fd> {
    const TIOCGPTPEER: usize = 0x5441;
    #[expect(clippy::cast_possible_truncation, reason = "open flags fit 32 bits")]
    let flags = (open::RDWR | open::NOCTTY | open::CLOEXEC) as usize;
    named(Call::TERMINAL_PEER, number(master, TIOCGPTPEER, flags)).map(Fd::from_result)
}

/// `ioctl(terminal, TIOCSCTTY, 0)`: it becomes the controlling terminal of the session that this process leads.
///
/// # Errors
/// As TIOCSCTTY(2const).
pub fn control(terminal: Fd) -> Result {
    const TIOCSCTTY: usize = 0x540e;
    named(Call::TERMINAL_CONTROL, number(terminal, TIOCSCTTY, 0)).map(drop)
}

/// `struct termios` (`asm-generic/termbits.h`).
#[repr(C)]
#[derive(Default)]
struct Settings {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [u8; 19],
}

/// `ioctl(terminal, TCGETS)`, `ioctl(terminal, TCSETS)` without `ONLCR`: the end of a line stays one byte.
///
/// # Errors
/// As TCSETS(2const).
pub fn plain_lines(terminal: Fd) -> Result {
    const TCGETS: Request<Settings> = Request::new(0x5401);
    const TCSETS: Request<Settings> = Request::new(0x5402);
    const ONLCR: u32 = 4;
    let mut settings = Settings::default();
    named(Call::TERMINAL_LINES, ioctl(terminal, &TCGETS, &mut settings))?;
    settings.output &= !ONLCR;
    named(Call::TERMINAL_LINES, ioctl(terminal, &TCSETS, &mut settings)).map(drop)
}

/// `ioctl(terminal, TIOCSWINSZ)`, on either end: whoever is in its foreground gets SIGWINCH.
///
/// # Errors
/// As TIOCSWINSZ(2const).
pub fn set_size(terminal: Fd, mut size: WindowSize) -> Result {
    const TIOCSWINSZ: Request<WindowSize> = Request::new(0x5414);
    named(Call::TERMINAL_SIZE, ioctl(terminal, &TIOCSWINSZ, &mut size)).map(drop)
}

/// `ioctl(terminal, TIOCGWINSZ)`.
///
/// # Errors
/// As TIOCGWINSZ(2const).
pub fn size(terminal: Fd) -> Result<WindowSize> {
    const TIOCGWINSZ: Request<WindowSize> = Request::new(0x5413);
    let mut size = WindowSize::default();
    named(Call::TERMINAL_SIZE, ioctl(terminal, &TIOCGWINSZ, &mut size)).map(|_| size)
}
