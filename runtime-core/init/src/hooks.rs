//! Hooks in the container's namespaces: createContainer before the root is entered, startContainer before the program.
//!
//! A hook is a child of init in a session of its own. It reads the state from a file in memory, so that it may read or
//! not without anybody waiting; what it writes is kept for the error message, as far as there is room.
//!
//! Its record is [`HEAD`] words, then the texts of its arguments, then those of its environment.

#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::fault::{Call, Errno, Fault, Result};
use crate::frame::Reader;
use crate::program::{Program, strings};
use crate::run::View;
use crate::slate::MESSAGE;
use crate::step::{Text, Words};
use crate::sys::fd::{self, Closing, Fd};
use crate::sys::process::{self, Born};

/// Number of words before the arguments: phase, index, timeout in seconds (0: none), path, the state before and after the
/// pid, number of arguments, number of environment entries, 1 if its environment is the program's.
pub const HEAD: u32 = 9;
/// createContainer, as first word.
pub const CREATE_CONTAINER: u32 = 0;
/// startContainer, as first word.
pub const START_CONTAINER: u32 = 1;

/// In `aux`: the hook exited with the status in the low byte.
pub const EXITED: u32 = 0;
/// In `aux`: the signal in the low byte ended it.
pub const SIGNALED: u32 = 0x100;
/// In `aux`: it did not end in time.
pub const TIMED_OUT: u32 = 0x200;
/// In `aux`: it could not be executed; the errno says why.
pub const NOT_EXECUTED: u32 = 0x300;

/// The phase and index of a hook's record.
#[must_use]
pub fn identity(frame: &Reader<'_>, record: Words) -> (u32, u32) {
    (frame.word(record.start), frame.word(record.start + 1))
}

struct Hook<'a> {
    phase: u32,
    timeout: u32,
    path: &'a CStr,
    state: [&'a CStr; 2],
    args: Words,
    env: Words,
    /// `HOME=` and a path, where the program gets it from the image (the last entry that init makes itself).
    home: Option<&'a CStr>,
}

impl<'a> Hook<'a> {
    fn read(frame: &Reader<'a>, program: &'a Program, record: Words) -> Self {
        let word = |index| frame.word(record.start + index);
        let text = |index| frame.text(Text(word(index)));
        let args = Words { start: record.start + HEAD, count: word(6) };
        let env = Words { start: args.start + args.count, count: word(7) };
        let home = if word(8) == 1 { program.home() } else { None };
        Self { phase: word(0), timeout: word(2), path: text(3), state: [text(4), text(5)], args, env, home }
    }
}

/// Runs one hook to its end.
pub(crate) fn run(view: &View<'_>, program: &Program, record: Words) -> Result {
    let hook = Hook::read(&view.frame, program, record);
    let mut digits = [0; 12];
    let pid = decimal(process::own_pid(), &mut digits);
    let state = Closing(process::memory_file([hook.state[0].to_bytes(), pid, hook.state[1].to_bytes()])?);
    let (output, writer) = process::pipe()?;
    let (output, writer) = (Closing(output), Closing(writer));
    match process::fork3(0, None)? {
        Born::Child => {
            view.slate.fail(execute(view, &hook, state.0, writer.0));
            process::exit(127)
        }
        Born::Parent(pid, pidfd) => {
            drop(writer);
            watch(view, &hook, pid, Closing(pidfd), &output)
        }
    }
}

/// The child's side. Returns only what refused.
fn execute(view: &View<'_>, hook: &Hook<'_>, state: Fd, output: Fd) -> Fault {
    if hook.phase == CREATE_CONTAINER {
        // Until the tail, init has none.
        process::umask(0o022);
    }
    let prepared = process::setsid()
        .and_then(|()| fd::dup_inherited(state, Fd(0)))
        .and_then(|()| fd::dup_inherited(output, Fd(1)))
        .and_then(|()| fd::dup_inherited(output, Fd(2)))
        .and_then(|()| Ok((strings(view, hook.args, 0)?, strings(view, hook.env, 1)?)));
    match prepared {
        Ok((args, mut env)) => {
            if let Some(home) = hook.home {
                env.push(home);
            }
            process::execve(hook.path, &args, &env)
        }
        Err(fault) => fault,
    }
}

/// Reads what the hook writes until it ends or its time is over.
fn watch(view: &View<'_>, hook: &Hook<'_>, pid: i32, pidfd: Closing, output: &Closing) -> Result {
    let mut said = Said { text: [0; MESSAGE], len: 0 };
    let deadline = match hook.timeout {
        0 => None,
        seconds => Some(process::monotonic_ms()? + i64::from(seconds) * 1000),
    };
    let in_time = loop {
        let left = match deadline {
            None => -1,
            Some(deadline) => i32::try_from(deadline - process::monotonic_ms()?).unwrap_or(i32::MAX).max(0),
        };
        // Its end first: the kernel looks at one after the other, and it may write and end between the two looks.
        let [ended, text] = process::poll_two([pidfd.0, output.0], left)?;
        // Once it has ended, what is in the pipe is all that matters: a child of it may keep the other end open.
        let more = text && said.take(output.0)?;
        if ended {
            break true;
        }
        if left == 0 {
            break false;
        }
        if text && !more {
            // Its output is closed; only its end, or its time, is left to wait for. The kernel looks at one after the other,
            // and it may end between the two looks.
            break process::poll_two([pidfd.0, pidfd.0], left)?.contains(&true);
        }
    };
    if !in_time {
        process::kill_group(pid)?;
    }
    let status = process::wait(pid)?;
    judge(view, status, in_time, &said)
}

fn judge(view: &View<'_>, status: u32, in_time: bool, said: &Said) -> Result {
    if status == 0 && in_time {
        return Ok(());
    }
    view.slate.say(&said.text[..said.len]);
    let (errno, aux) = match (in_time, view.slate.fault()) {
        (false, _) => (Errno::TIMEDOUT, TIMED_OUT),
        (true, Some(refused)) => (refused.errno, NOT_EXECUTED),
        (true, None) if status & 0x7f == 0 => (Errno(5), EXITED | status >> 8 & 0xff),
        (true, None) => (Errno(5), SIGNALED | status & 0x7f),
    };
    Err(Fault { call: Call::HOOK, errno, aux })
}

/// The beginning of what a hook wrote.
struct Said {
    text: [u8; MESSAGE],
    len: usize,
}

impl Said {
    /// Reads once; `false` at the end.
    fn take(&mut self, from: Fd) -> Result<bool> {
        let mut buffer = [0; 4096];
        let count = fd::read(from, &mut buffer)?;
        let room = (MESSAGE - self.len).min(count);
        self.text[self.len..self.len + room].copy_from_slice(&buffer[..room]);
        self.len += room;
        Ok(count > 0)
    }
}

/// `number`, which is positive, in decimal.
fn decimal(number: i32, buffer: &mut [u8; 12]) -> &[u8] {
    let mut rest = number;
    let mut first = buffer.len();
    loop {
        first -= 1;
        buffer[first] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest <= 0 || first == 0 {
            return &buffer[first..];
        }
    }
}
