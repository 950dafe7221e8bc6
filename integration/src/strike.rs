//! Follows a command call by call with ptrace(2), and strikes one of its processes at a chosen call.
//!
//! Only what is struck can be seen to be interrupted where it is wanted: a signal from outside comes whenever it
//! comes. The blow falls before the call is carried out. From then on nobody is traced any more, so that the rest goes
//! its own way.

use crate::call::{Call, Output, Running};
use crate::deadline::{limit, until};
use crate::process::Process;
use libseccomp::ScmpSyscall;
use nix::errno::Errno;
use nix::libc::PTRACE_EVENT_STOP;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, mkfifo};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

/// Who makes system calls while a command is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The command itself.
    Host,
    /// Its child before there is an init: init's first life, outside. In crun that is init itself.
    Usher,
    /// What the usher bears beside itself, up to its program.
    Init,
}

impl Party {
    /// All of them.
    pub const ALL: [Party; 3] = [Party::Host, Party::Usher, Party::Init];
}

/// Who becomes the container's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// A child of the command's first child.
    Born,
    /// A process that is there already, and waits.
    Waits(i32),
    /// Nobody: children of the command are hooks.
    Nobody,
}

/// What happens to the party that is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
}

/// The call at which a party is struck.
#[derive(Clone, Copy, Debug)]
pub struct Strike {
    /// Who.
    pub party: Party,
    /// Before which of its calls, counted from 1.
    pub at: usize,
    /// How.
    pub blow: Blow,
}

/// The process that was struck.
#[derive(Clone, Debug)]
pub struct Struck {
    /// Which one it was.
    pub process: Process,
    /// The name of the call.
    pub call: String,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?} at call {}", self.blow, self.party, self.at)
    }
}

/// A process that was made.
#[derive(Clone, Debug)]
pub struct Born {
    /// Which one.
    pub process: Process,
    since: Option<String>,
}

impl Born {
    fn of(process: Process) -> Born {
        Born { process, since: process.stat(22) }
    }

    /// Whether it is still there, as a zombie at least. Half a minute later its number may be that of another one, which
    /// began at another time.
    pub fn is_there(&self) -> bool {
        self.since.is_some() && self.process.stat(22) == self.since
    }
}

/// What a command did until it was struck, or to its end.
#[derive(Debug)]
pub struct Seen {
    /// How many calls each party made.
    pub calls: BTreeMap<Party, usize>,
    /// The calls of the usher before it executed init: until then the command cannot do anything but wait.
    pub before_init: usize,
    /// Who was struck; nobody if the party made fewer calls.
    pub struck: Option<Struck>,
    /// Every process that was made.
    pub born: Vec<Born>,
}

/// A command that was struck, and goes its own way since.
#[derive(Debug)]
pub struct Left {
    /// What it did before.
    pub seen: Seen,
    running: Running,
}

impl Left {
    /// Waits for the end of the command.
    pub fn wait(self) -> (Seen, Output) {
        (self.seen, self.running.wait())
    }

    /// Waits for the end of the command, which it must not have reached yet.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }
}

/// Makes the call, with a gate below `folder`, and lets the blow fall if there is one.
///
/// # Panics
/// If the command is not through with its system calls within three times [`limit`], or cannot be traced.
pub fn follow(call: Call, folder: &Path, init: Init, strike: Option<Strike>) -> Left {
    let gate = folder.join("gate");
    match mkfifo(&gate, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => panic!("make {}: {errno}", gate.display()),
    }
    // A shell that waits to be seized, as nothing can be traced from its first call on without being its parent.
    let running = call.after(&format!("read _ <'{}'", gate.display())).spawn();
    let root = Pid::from_raw(running.pid());
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut tracer = Tracer::new(root, init, strike);
        tracer.seize(&gate);
        tracer.run();
        // The end of this thread lets go of everybody.
        let _ = tell.send(tracer.seen);
    });
    // Two stops for each of up to a thousand calls, and up to a hundred commands at once.
    let seen = told.recv_timeout(3 * limit()).unwrap_or_else(|error| panic!("{root} under ptrace: {error}"));
    thread.join().expect("the tracer");
    // It is joined a moment before the kernel lets go, and until then any thread may be told of a traced stop.
    let command = Process::new(running.pid());
    until("the tracer lets go", || (command.status("TracerPid").is_none_or(|pid| pid == "0")).then_some(()));
    Left { seen, running }
}

struct Tracer {
    root: Pid,
    init: Init,
    strike: Option<Strike>,
    known: BTreeMap<Pid, Tracee>,
    /// Stopped before the birth was told.
    early: BTreeSet<Pid>,
    executed: bool,
    seen: Seen,
}

struct Tracee {
    party: Party,
    /// Between the beginning of a call and its end.
    inside: bool,
}

impl Tracee {
    fn of(party: Party) -> Tracee {
        Tracee { party, inside: false }
    }
}

impl Tracer {
    fn new(root: Pid, init: Init, strike: Option<Strike>) -> Tracer {
        let seen = Seen { calls: BTreeMap::new(), before_init: 0, struck: None, born: Vec::new() };
        let known = BTreeMap::from([(root, Tracee::of(Party::Host))]);
        Tracer { root, init, strike, known, early: BTreeSet::new(), executed: false, seen }
    }

    fn seize(&mut self, gate: &Path) {
        // The shell has this end open from its first line on: it is not taken for the command.
        let mut gate = File::options().write(true).open(gate).expect("open the gate");
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        if let Init::Waits(pid) = self.init {
            let pid = Pid::from_raw(pid);
            ptrace::seize(pid, options).expect("seize init");
            ptrace::interrupt(pid).expect("interrupt init");
            waitpid(pid, Some(WaitPidFlag::__WALL)).expect("wait for init");
            go_on(pid, None);
            self.known.insert(pid, Tracee::of(Party::Init));
        }
        ptrace::seize(self.root, options).expect("seize the command");
        writeln!(gate).expect("open the gate");
    }

    /// Until the command has ended or the blow has fallen.
    fn run(&mut self) {
        // Of this thread only: the tests beside have children, too.
        let all = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let look = all | WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, look) {
            let Some(pid) = status.pid() else { continue };
            if pid == self.root && matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {
                // Left for whoever waits for the call.
                return;
            }
            // Another thread's exit_group takes the stop away from a thread between the two looks, and a first thread can be
            // reaped only after the others, of whom the next look tells.
            match waitpid(pid, Some(all | WaitPidFlag::WNOHANG)).expect("wait for a tracee") {
                WaitStatus::StillAlive => continue,
                status => self.handle(pid, status),
            }
            if self.seen.struck.is_some() {
                return;
            }
        }
    }

    fn handle(&mut self, pid: Pid, status: WaitStatus) {
        match status {
            WaitStatus::PtraceSyscall(_) => self.call(pid),
            WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_STOP) if !self.known.contains_key(&pid) => {
                self.early.insert(pid);
            }
            WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_STOP) => go_on(pid, None),
            WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => self.exec(pid),
            WaitStatus::PtraceEvent(..) => self.birth(pid),
            WaitStatus::Stopped(_, signal) => go_on(pid, Some(signal)),
            _ => {
                self.known.remove(&pid);
            }
        }
    }

    fn call(&mut self, pid: Pid) {
        let tracee = self.known.get_mut(&pid).expect("a known tracee");
        tracee.inside = !tracee.inside;
        if !tracee.inside {
            return go_on(pid, None);
        }
        let party = tracee.party;
        let count = self.seen.calls.entry(party).or_default();
        *count += 1;
        match self.strike {
            Some(strike) if (strike.party, strike.at) == (party, *count) => self.strike(pid, strike.blow),
            _ => go_on(pid, None),
        }
    }

    fn strike(&mut self, pid: Pid, blow: Blow) {
        let number = ptrace::getregs(pid).ok().and_then(|registers| i32::try_from(registers.orig_rax).ok());
        let call = number.and_then(|number| ScmpSyscall::from(number).get_name().ok());
        let signal = if blow == Blow::Kill { Signal::SIGKILL } else { Signal::SIGSTOP };
        let process = Process::new(group(pid).as_raw());
        kill(Pid::from_raw(process.pid), signal).expect("strike");
        self.seen.struck = Some(Struck { process, call: call.unwrap_or_else(|| format!("{number:?}")) });
    }

    fn exec(&mut self, pid: Pid) {
        match self.known[&pid].party {
            // The shell's end is the command's beginning, behind a call that was not seen.
            Party::Host if !self.executed => {
                self.executed = true;
                self.known.insert(pid, Tracee { party: Party::Host, inside: true });
            }
            Party::Usher => self.seen.before_init = self.seen.calls.get(&Party::Usher).copied().unwrap_or_default(),
            Party::Init => return self.let_go(pid),
            Party::Host => {}
        }
        go_on(pid, None);
    }

    fn birth(&mut self, parent: Pid) {
        // Nothing is born of whoever was killed meanwhile.
        let Ok(child) = ptrace::getevent(parent) else { return };
        let child = Pid::from_raw(i32::try_from(child).expect("a process id"));
        match self.party_of(child, parent) {
            Some(party) => {
                self.known.insert(child, Tracee::of(party));
                if self.early.remove(&child) {
                    go_on(child, None);
                }
            }
            None => {
                // Its first stop has to come before it can be let go.
                if !self.early.remove(&child) {
                    let _ = waitpid(child, Some(WaitPidFlag::__WALL));
                }
                self.let_go(child);
            }
        }
        go_on(parent, None);
    }

    /// Nobody of interest: a hook, or what another program makes.
    fn party_of(&mut self, child: Pid, parent: Pid) -> Option<Party> {
        let party = self.known[&parent].party;
        if group(child) == group(parent) {
            return Some(party);
        }
        let process = Process::new(child.as_raw());
        self.seen.born.push(Born::of(process));
        let beside = process.status("PPid").and_then(|pid| pid.parse().ok()) == Some(self.root.as_raw());
        match party {
            // It may take a second one. What comes after that are hooks.
            Party::Host if self.init == Init::Born && !self.has_usher_or_init() => Some(Party::Usher),
            Party::Usher | Party::Init if self.init == Init::Born && beside => Some(Party::Init),
            _ => None,
        }
    }

    fn has_usher_or_init(&self) -> bool {
        self.known.values().any(|tracee| tracee.party == Party::Usher) || self.seen.calls.contains_key(&Party::Init)
    }

    fn let_go(&mut self, pid: Pid) {
        self.known.remove(&pid);
        let _ = ptrace::detach(pid, None);
    }
}

/// To the next beginning or end of a call. Whoever was killed meanwhile tells so by its end.
fn go_on(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}

/// The process of a thread.
fn group(pid: Pid) -> Pid {
    let number = Process::new(pid.as_raw()).status("Tgid").and_then(|text| text.parse().ok());
    Pid::from_raw(number.unwrap_or(pid.as_raw()))
}
