//! The terminal of a process in a container: whom its master side is given to, or how it is joined with the caller's.
//!
//! Each direction has a thread that copies; neither can hold up the other, or the signals. Nothing polls in a circle: a
//! terminal that every process has closed says so once (an edge), since somebody may open it again.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::fstat;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{pipe2, read, write};
use runtime_core::{Master, Process, Stdio, Terminal, WindowSize, window_size};

use crate::phrases::Failure;
use crate::socket;

/// More than a terminal holds back: what a process wrote before its end is among that much.
const HELD_BACK: usize = 256 * 1024;

/// The streams of a process by its `terminal` and the options of the command, and what has to be done with them.
/// The refusals are runc's.
pub fn streams(
    stdio: Stdio,
    terminal: bool,
    detach: bool,
    socket: Option<&Path>,
) -> Result<(Stdio, Option<Joint>), Failure> {
    match (terminal, detach, socket) {
        (false, _, None) => Ok((stdio, None)),
        (true, true, Some(path)) => Ok((stdio.with_terminal(socket::connected("--console-socket", path)?), None)),
        (true, false, None) => {
            let outer = outer()?;
            let (socket, master) = Master::pair()?;
            Ok((stdio.with_terminal(socket), Some(Joint { outer, master })))
        }
        (true, true, None) => {
            Err(Failure::new("cannot allocate tty if runc will detach without setting console socket"))
        }
        (_, _, Some(_)) => Err(Failure::new("cannot use console socket if runc will not detach or allocate tty")),
    }
}

/// The caller's terminal. The streams may all be redirected and still have a controlling one behind them.
fn outer() -> Result<OwnedFd, Failure> {
    let streams = [
        (stdin().is_terminal(), stdin().as_fd().try_clone_to_owned()),
        (stdout().is_terminal(), stdout().as_fd().try_clone_to_owned()),
        (stderr().is_terminal(), stderr().as_fd().try_clone_to_owned()),
    ];
    if let Some((_, Ok(stream))) = streams.into_iter().find(|(is_terminal, _)| *is_terminal) {
        return Ok(stream);
    }
    let controlling = File::options().read(true).write(true).open("/dev/tty");
    controlling.map(OwnedFd::from).map_err(|error| {
        let failure = Failure::file("open", Path::new("/dev/tty"), &error);
        Failure::new(format!(
            "process.terminal: there is no terminal to join it with: {failure}; run this in one, or detach and give --console-socket"
        ))
    })
}

/// The caller's terminal and, as soon as there is a process, its own.
#[derive(Debug)]
pub struct Joint {
    outer: OwnedFd,
    master: Master,
}

impl Joint {
    /// The size of the caller's terminal; `None` if it has none.
    pub fn size(&self) -> Option<WindowSize> {
        size(&self.outer)
    }

    /// Joins the terminals: the caller's is raw from now on, and what comes from it goes to the process until that ends.
    pub fn begin(self, process: &Process) -> Result<Relay, Failure> {
        let terminal = Arc::new(self.master.receive()?);
        let failed =
            |call: &'static str| move |errno: Errno| Failure::new(format!("join the terminals: {call}: {errno:?}"));
        let raw = if stdin().is_terminal() { Some(Raw::set().map_err(failed("tcsetattr"))?) } else { None };
        let (done, at_end) = pipe2(OFlag::O_CLOEXEC).map_err(failed("pipe2"))?;
        let output = Output::new(terminal.clone(), process.try_clone()?).map_err(failed("epoll_ctl"))?;
        let relay = Relay { outer: self.outer, terminal: terminal.clone(), done, _raw: raw };
        relay.resize();
        let spawned = |error: io::Error| Failure::new(format!("join the terminals: clone: {error}"));
        thread::Builder::new()
            .spawn(move || {
                output.copy();
                drop(at_end);
            })
            .map_err(spawned)?;
        thread::Builder::new().spawn(move || copy_input(&terminal)).map_err(spawned)?;
        Ok(relay)
    }
}

/// Two terminals that are joined. When this is dropped the caller's is as it was.
#[derive(Debug)]
pub struct Relay {
    outer: OwnedFd,
    terminal: Arc<Terminal>,
    done: OwnedFd,
    _raw: Option<Raw>,
}

impl Relay {
    /// Gives the process's terminal the size of the caller's. One that has vanished has none; that is no reason to end.
    pub fn resize(&self) {
        if let Some(size) = size(&self.outer) {
            let _ = self.terminal.resize(size);
        }
    }

    /// Readable as soon as everything that the process printed has been passed on.
    pub fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}

fn size(terminal: &OwnedFd) -> Option<WindowSize> {
    window_size(terminal).ok().filter(|size| size.rows != 0 && size.columns != 0)
}

/// What the caller's terminal was like, as long as it is not.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Gives the caller's terminal its settings back, if they were changed.
pub fn restore() {
    // Never waits: a panic may come while it is locked.
    if let Some(before) = BEFORE.try_lock().ok().and_then(|mut before| before.take()) {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &before);
    }
}

/// The caller's terminal passes everything through.
#[derive(Debug)]
struct Raw;

impl Raw {
    fn set() -> Result<Self, Errno> {
        // Held back, these would be errors. A job in the background has to wait for the terminal like any other.
        [Signal::SIGTTIN, Signal::SIGTTOU].into_iter().collect::<SigSet>().thread_unblock()?;
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        if plain_lines() {
            raw.output_flags = before.output_flags;
        }
        tcsetattr(stdin(), SetArg::TCSANOW, &raw)?;
        if let Ok(mut place) = BEFORE.lock() {
            *place = Some(before);
        }
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether lines that go to the caller's streams are to end as in a file, as with runc: unless they go to the terminal that
/// is raw meanwhile.
pub fn plain_lines() -> bool {
    let device = |stream: BorrowedFd<'_>| fstat(stream).map(|found| found.st_rdev);
    let one = stdin().is_terminal() && stdout().is_terminal() && device(stdin().as_fd()) == device(stdout().as_fd());
    !one
}

/// From the caller to the process. The end of a file is none of the terminal, as in runc.
fn copy_input(terminal: &Terminal) {
    let mut buffer = [0; 4096];
    loop {
        match read(stdin(), &mut buffer) {
            Ok(0) => return,
            Ok(len) if write_all(terminal.as_fd(), &buffer[..len]).is_ok() => {}
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait_for(stdin().as_fd(), PollFlags::POLLIN),
            _ => return,
        }
    }
}

/// From the process to the caller.
struct Output {
    terminal: Arc<Terminal>,
    process: Process,
    news: Epoll,
}

impl Output {
    fn new(terminal: Arc<Terminal>, process: Process) -> Result<Self, Errno> {
        let news = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        news.add(&terminal, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
        Ok(Self { terminal, process, news })
    }

    /// Copies until the process has ended and nothing is left of what it printed.
    fn copy(&self) {
        let mut buffer = [0; 4096];
        let mut left = None;
        let mut somebody_reads = true;
        loop {
            let [ended, data] = self.look();
            if ended && left.is_none() {
                left = Some(HELD_BACK);
            }
            match (data, left) {
                (false, Some(_)) | (_, Some(0)) => return,
                (false, None) => {
                    self.wait();
                    continue;
                }
                (true, _) => {}
            }
            let len = match read(&self.terminal, &mut buffer) {
                Ok(len) => len,
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            left = left.map(|left: usize| left.saturating_sub(len));
            if somebody_reads && write_all(stdout().as_fd(), &buffer[..len]).is_err() {
                // As if the terminal had been torn off. What is printed still has to be taken, or nothing would go on.
                somebody_reads = false;
                let _ = self.process.kill(Signal::SIGHUP as i32);
            }
        }
    }

    /// Whether the process has ended, and whether there is something to read. In this order: the kernel looks at one after
    /// the other, and between the two looks a process may print its last words and end.
    fn look(&self) -> [bool; 2] {
        readable([self.process.as_fd(), self.terminal.as_fd()], PollTimeout::ZERO)
    }

    /// Waits until there may be something new.
    fn wait(&self) {
        readable([self.news.0.as_fd(), self.process.as_fd()], PollTimeout::NONE);
        let _ = self.news.wait(&mut [EpollEvent::empty()], PollTimeout::ZERO);
    }
}

/// Which of these can be read.
fn readable(fds: [BorrowedFd<'_>; 2], timeout: PollTimeout) -> [bool; 2] {
    let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let _ = poll(&mut fds, timeout);
    fds.map(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN)))
}

fn wait_for(fd: BorrowedFd<'_>, events: PollFlags) {
    let _ = poll(&mut [PollFd::new(fd, events)], PollTimeout::NONE);
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait_for(fd, PollFlags::POLLOUT),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
