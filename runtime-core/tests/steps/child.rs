//! Init as a throw-away child: a Frame written by hand, gates served, and what is left looked at.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use runtime_init::frame::{Layout, Parts, write};
use runtime_init::sys::fd::Fd;
use runtime_init::sys::memory::Mapping;
use runtime_init::sys::spawn::{Image, spawn};
use runtime_init::{Call, Errno, Fault, Gate, Step, Text, Words};

pub const INIT: &[u8] = include_bytes!(env!("RUNTIME_INIT_IMAGE"));
pub const PATH: &str = "/usr/bin:/bin";
pub const NO_FRAME: i32 = 2;

/// Init's column and its tables.
#[derive(Default)]
pub struct Column {
    pub steps: Vec<Step>,
    pub words: Vec<u32>,
    pub texts: Vec<u8>,
    pub slots: Vec<RawFd>,
}

impl Column {
    pub fn of(steps: &[Step]) -> Self {
        Self { steps: steps.to_vec(), ..Self::default() }
    }

    pub fn text(&mut self, text: &str) -> Text {
        let place = Text(u32::try_from(self.texts.len()).expect("it is short"));
        self.texts.extend(text.bytes().chain([0]));
        place
    }

    pub fn words(&mut self, words: &[u32]) -> Words {
        let start = u32::try_from(self.words.len()).expect("few");
        self.words.extend(words);
        Words { start, count: u32::try_from(words.len()).expect("few") }
    }

    pub fn list(&mut self, texts: &[&str]) -> Words {
        let places: Vec<u32> = texts.iter().map(|text| self.text(text).0).collect();
        self.words(&places)
    }

    pub fn find(&mut self, args: &[&str], path: &str) -> Words {
        let (args, path) = (self.list(args), self.text(path));
        self.steps.push(Step::FindProgram { args, path });
        args
    }

    /// The program that looks at what the steps before it did.
    pub fn execute(mut self, args: &[&str]) -> Self {
        let args = self.find(args, PATH);
        let env = self.list(&["LC_ALL=C"]);
        self.steps.push(Step::Prepare { args, env, home_of: u32::MAX });
        self.steps.push(Step::Execute { args, env });
        self
    }

    /// Steps in a directory of this test as the root.
    pub fn below(root: &Path) -> Self {
        let mut column = Self::default();
        let path = column.text(root.to_str().expect("the path is text"));
        column.steps.push(Step::PlainRootfs { path });
        column
    }

    pub fn run(&self) -> End {
        self.run_with(|_| ())
    }

    /// Runs init; `at_gate` is called with its pid when it stands at a gate, and then it goes on.
    pub fn run_with(&self, at_gate: impl Fn(i32)) -> End {
        let (host, inits) = gate();
        let frame = FrameFile::new(self, inits.as_raw_fd(), |_| ());
        let mut output = tempfile::tempfile().expect("there is room");
        let inherit = [self.slots.as_slice(), &[inits.as_raw_fd()]].concat();
        let stdio = [-1, output.as_raw_fd(), output.as_raw_fd()];
        let (pid, _) = spawn(Image::Memory(INIT), frame.file.as_fd(), &inherit, stdio).expect("init is started");
        drop(inits);
        let births = self.steps.iter().filter(|step| matches!(step, Step::Birth { .. })).count();
        let status = wait(serve(&host, pid, births, at_gate));
        let mut text = String::new();
        output.rewind().expect("it is a file");
        output.read_to_string(&mut text).expect("it is text");
        let slate = frame.mapping.slate(frame.slate).expect("it is in the mapping");
        End { status, step: slate.step(), fault: slate.fault(), output: text }
    }
}

/// How init, or the program that it became, ended.
#[derive(Debug)]
pub struct End {
    pub status: i32,
    pub step: u32,
    pub fault: Option<Fault>,
    pub output: String,
}

impl End {
    /// Every step was carried out; a column without a program ends with status 1.
    pub fn fine(&self) -> &Self {
        assert_eq!(self.fault, None, "{self:?}");
        self
    }

    pub fn refused(&self, step: u32, call: Call, errno: Errno) {
        let fault = self.fault.unwrap_or_else(|| panic!("it was not refused: {self:?}"));
        assert_eq!((self.status, self.step, fault.call, fault.errno), (1, step, call, errno), "{self:?}");
    }

    /// The value of a line `NAME:\tVALUE` of /proc/PID/status.
    pub fn value(&self, name: &str) -> &str {
        let line = self.output.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {self:?}")).trim_start_matches(':').trim()
    }
}

pub struct FrameFile {
    pub file: File,
    pub mapping: Mapping,
    pub slate: usize,
}

impl FrameFile {
    pub fn new(column: &Column, gate: RawFd, spoil: impl Fn(&mut Vec<u8>)) -> Self {
        let mut words = column.words.clone();
        let slots = Words {
            start: u32::try_from(words.len()).expect("few"),
            count: u32::try_from(column.slots.len()).expect("few"),
        };
        words.extend(column.slots.iter().map(|number| number.cast_unsigned()));
        let layout = Layout::new(column.steps.len(), words.len(), column.texts.len()).expect("it is small");
        let parts = Parts { steps: &column.steps, words: &words, texts: &column.texts, slots, gate };
        let mut bytes = vec![0; layout.len];
        assert!(write(&parts, &layout, &mut bytes));
        spoil(&mut bytes);
        let mut file = tempfile::tempfile().expect("there is room");
        file.write_all(&bytes).expect("there is room");
        let mapping = Mapping::shared(Fd::from(file.as_fd()), layout.len).expect("it can be mapped");
        Self { file, mapping, slate: layout.slate }
    }
}

pub fn gate() -> (OwnedFd, OwnedFd) {
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    let (host, inits) = pair.expect("a pair");
    setsockopt(&host, ReceiveTimeout, &TimeVal::seconds(60)).expect("a deadline");
    (host, inits)
}

/// Serves the gates until init has closed its end; the pid of the process that is there then. A child may stand at a
/// gate before its parent has told of its birth.
pub fn serve(host: &OwnedFd, usher: i32, births: usize, at_gate: impl Fn(i32)) -> i32 {
    let (mut pid, mut awaited, mut standing) = (usher, births, None);
    let mut message = [0; 8];
    loop {
        match recv(host.as_raw_fd(), &mut message, MsgFlags::empty()) {
            Ok(5) if message[0] == Gate::Born as u8 => {
                assert_eq!(wait(pid), 0, "the usher ends well");
                pid = i32::from_ne_bytes(message[1..5].try_into().expect("4 bytes"));
                awaited = awaited.saturating_sub(1);
            }
            Ok(1) => standing = Some(message[0]),
            Err(nix::errno::Errno::EINTR) => {}
            Ok(0) | Err(nix::errno::Errno::ECONNRESET) => return pid,
            other => {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                panic!("init is silent: {other:?}");
            }
        }
        if let Some(gate) = standing.take_if(|_| awaited == 0) {
            at_gate(pid);
            send(host.as_raw_fd(), &[gate], MsgFlags::MSG_NOSIGNAL).expect("init is there");
        }
    }
}

pub fn wait(pid: i32) -> i32 {
    match waitpid(Pid::from_raw(pid), None).expect("it is a child of this process") {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}
