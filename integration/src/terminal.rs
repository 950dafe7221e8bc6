//! Terminals as a test sees them: the master side of a container's, and one for the runtime itself.

use crate::call::Call;
use crate::container::Container;
use crate::deadline::{limit, until};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{read, write};
use runtime_init::sys::fd::Fd;
use runtime_init::sys::owned::adopt_received;
use runtime_init::sys::tty::{self, WindowSize};
use std::cell::RefCell;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

/// The master side of a terminal.
#[derive(Debug)]
pub struct Pty {
    master: OwnedFd,
    seen: RefCell<String>,
}

impl Pty {
    /// A pair of this size: the master side and the other.
    pub fn pair(rows: u16, columns: u16) -> (Pty, File) {
        // Close-on-exec from the start, or the runtimes of other tests would hold it open.
        let master = File::options().read(true).write(true).open("/dev/ptmx").expect("open a terminal");
        let number = Fd::from(master.as_fd());
        tty::unlock(number).expect("unlock a terminal");
        let peer = tty::peer(number).expect("open the other side of a terminal");
        let pty = Pty::new(master.into());
        pty.resize(rows, columns);
        (pty, File::from(adopt_received(peer.0)))
    }

    fn new(master: OwnedFd) -> Pty {
        Pty { master, seen: RefCell::new(String::new()) }
    }

    /// Gives it another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        tty::set_size(Fd::from(self.master.as_fd()), WindowSize::new(rows, columns)).expect("resize a terminal");
    }

    /// Its size: rows and columns.
    pub fn size(&self) -> (u16, u16) {
        let size = tty::size(Fd::from(self.master.as_fd())).expect("the size of a terminal");
        (size.rows, size.columns)
    }

    /// Its settings.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.master).expect("the settings of a terminal")
    }

    /// Types `text`.
    pub fn type_in(&self, text: &str) {
        assert_eq!(write(&self.master, text.as_bytes()), Ok(text.len()));
    }

    /// What has been printed so far.
    pub fn seen(&self) -> String {
        while self.take() {}
        self.seen.borrow().clone()
    }

    /// Waits until `text` has been printed and returns everything so far.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        until(&format!("{text:?} on the terminal, where is {:?}", self.seen()), || {
            Some(self.seen()).filter(|seen| seen.contains(text))
        })
    }

    /// Whether everybody else has closed it.
    pub fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).is_ok() && fds[0].revents().is_some_and(|e| e.contains(PollFlags::POLLHUP))
    }

    /// Takes what is there; `false` if there is nothing.
    fn take(&self) -> bool {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::ZERO);
        if !fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN)) {
            return false;
        }
        let mut buffer = [0; 4096];
        match read(&self.master, &mut buffer) {
            Ok(len) => {
                self.seen.borrow_mut().push_str(&String::from_utf8_lossy(&buffer[..len]));
                true
            }
            Err(_) => false,
        }
    }
}

/// The socket of `--console-socket`, where an engine listens.
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    /// Its path, which is short enough for every runtime.
    pub path: PathBuf,
}

/// What came over a console socket.
#[derive(Debug)]
pub struct Received {
    /// The master side.
    pub pty: Pty,
    /// The bytes that came with it.
    pub text: Vec<u8>,
    stream: UnixStream,
}

impl ConsoleSocket {
    /// A socket in the test's folder.
    pub fn listen(container: &Container) -> ConsoleSocket {
        let path = container.folder().join("s");
        let listener = UnixListener::bind(&path).expect("listen");
        listener.set_nonblocking(true).expect("a socket that does not wait");
        ConsoleSocket { listener, path }
    }

    /// Its path as a word of a command line.
    pub fn word(&self) -> &str {
        self.path.to_str().expect("the path is text")
    }

    /// Accepts once and takes one message, as go-runc does.
    #[track_caller]
    pub fn receive(&self) -> Received {
        let (stream, _) = until("a connection to the console socket", || self.listener.accept().ok());
        stream.set_nonblocking(false).expect("a stream that waits");
        stream.set_read_timeout(Some(limit())).expect("a stream that does not wait for ever");
        let mut text = [0; 4096];
        let mut control = cmsg_space!(RawFd);
        let (len, fds) = {
            let mut parts = [IoSliceMut::new(&mut text)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut control), flags).expect("a message");
            let mut fds = Vec::new();
            for part in message.cmsgs().expect("control messages") {
                if let ControlMessageOwned::ScmRights(received) = part {
                    fds.extend(received.into_iter().map(adopt_received));
                }
            }
            (message.bytes, fds)
        };
        let [master] = <[OwnedFd; 1]>::try_from(fds).expect("exactly one descriptor");
        Received { pty: Pty::new(master), text: text[..len].to_vec(), stream }
    }

    /// Whether nobody has connected.
    pub fn is_idle(&self) -> bool {
        self.listener.accept().is_err()
    }
}

impl Received {
    /// Whether nothing more comes: the other end was closed after the one message.
    pub fn was_all(&self) -> bool {
        let mut byte = [0];
        self.stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a stream that does not wait for ever");
        loop {
            match read(&self.stream, &mut byte) {
                Err(Errno::EINTR) => {}
                other => return other == Ok(0),
            }
        }
    }
}

impl Call {
    /// Runs the call in a session of its own, with the terminal as its controlling one and as all three streams.
    pub fn on(self, terminal: &File) -> Call {
        let stream = || terminal.try_clone().expect("copy a descriptor");
        self.wrapped(["setsid", "--ctty"]).stdin(stream()).stdout(stream()).stderr(stream())
    }
}
