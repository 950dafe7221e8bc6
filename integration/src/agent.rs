//! An agent as in `linux.seccomp.listenerPath`: takes listeners and decides about the calls that they tell.

use crate::deadline::limit;
use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::Value;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::spawn;

/// What becomes of every call that the agent is asked about.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// It fails with this errno.
    Errno(i32),
    /// It is carried out.
    Continue,
    /// Nobody answers any more: the listener is closed.
    Gone,
}

/// What came over one connection.
#[derive(Clone, Debug)]
pub struct Told {
    /// The container process state.
    pub state: Value,
    /// How many descriptors each message brought.
    pub descriptors: Vec<usize>,
}

/// A socket, served by threads that end with the tests.
#[derive(Debug)]
pub struct Agent {
    path: PathBuf,
    told: Receiver<Told>,
}

impl Agent {
    /// An agent in `folder` that gives every call the same answer.
    pub fn new(folder: &Path, answer: Answer) -> Agent {
        let path = folder.join("agent");
        let socket = UnixListener::bind(&path).expect("a socket in the test's folder");
        let (send, told) = channel();
        spawn(move || serve(&socket, answer, &send));
        Agent { path, told }
    }

    /// Its socket.
    pub fn path(&self) -> &str {
        self.path.to_str().expect("the path is text")
    }

    /// What came over the next connection.
    #[track_caller]
    pub fn told(&self) -> Told {
        self.told.recv_timeout(limit()).expect("the runtime sends a listener")
    }

    /// Whether nothing came that [`Agent::told`] has not told.
    pub fn is_idle(&self) -> bool {
        self.told.try_recv().is_err()
    }
}

fn serve(socket: &UnixListener, answer: Answer, send: &Sender<Told>) {
    for connection in socket.incoming().flatten() {
        let send = send.clone();
        spawn(move || {
            if let Some(told) = take(&connection, answer) {
                // The test may be over.
                let _ = send.send(told);
            }
        });
    }
}

/// Reads one connection to its end; `None` if what it says is no JSON. Listeners are served as soon as they are there:
/// runc 1.1 closes its connection by ending.
fn take(connection: &UnixStream, answer: Answer) -> Option<Told> {
    let (mut text, mut descriptors) = (Vec::new(), Vec::new());
    loop {
        let mut bytes = [0; 4096];
        let mut control = nix::cmsg_space!([RawFd; 8]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(connection.as_raw_fd(), &mut parts, Some(&mut control), flags).ok()?;
        let mut listeners = Vec::new();
        for part in message.cmsgs().ok()? {
            if let ControlMessageOwned::ScmRights(received) = part {
                listeners.extend(received);
            }
        }
        let count = message.bytes;
        if count == 0 {
            return Some(Told { state: serde_json::from_slice(&text).ok()?, descriptors });
        }
        descriptors.push(listeners.len());
        text.extend_from_slice(&bytes[..count]);
        for listener in listeners {
            match answer {
                Answer::Gone => nix::unistd::close(listener).expect("it was received"),
                _ => drop(spawn(move || decide(listener, answer))),
            }
        }
    }
}

/// Answers until the kernel has no more to ask.
fn decide(listener: RawFd, answer: Answer) {
    while let Ok(request) = ScmpNotifReq::receive(listener) {
        let response = match answer {
            Answer::Errno(errno) => ScmpNotifResp::new_error(request.id, -errno, ScmpNotifRespFlags::empty()),
            _ => ScmpNotifResp::new_continue(request.id, ScmpNotifRespFlags::CONTINUE),
        };
        // The process may have been killed while it asked.
        let _ = response.respond(listener);
    }
}
