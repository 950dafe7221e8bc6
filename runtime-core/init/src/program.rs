//! The last lines: working directory, program, the wait for `start`, filter, execve.

#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::fault::{Call, Errno, Fault, Result};
use crate::run::{Context, View};
use crate::slate::Phase;
use crate::step::{Slot, Text, Words};
use crate::sys::fd::{self, Closing, Fd, kind, open};
use crate::sys::memory::Strings;
use crate::sys::process;

const PATH_MAX: usize = 4096;
/// How much of `/etc/passwd` is read: the file is the image's (rule R15).
const PASSWD_MAX: usize = 1 << 20;

/// A path in memory of its own.
pub struct Path([u8; PATH_MAX]);

impl Path {
    /// An empty path.
    pub const fn new() -> Self {
        Self([0; PATH_MAX])
    }

    fn set(&mut self, dir: &[u8], name: &[u8]) -> Result {
        let slash = usize::from(!dir.is_empty());
        let len = dir.len() + slash + name.len();
        if len >= PATH_MAX {
            return Err(Fault::new(Call::PROGRAM, Errno::NAMETOOLONG));
        }
        self.0[..dir.len()].copy_from_slice(dir);
        self.0[dir.len()..dir.len() + slash].fill(b'/');
        self.0[dir.len() + slash..len].copy_from_slice(name);
        self.0[len] = 0;
        Ok(())
    }

    fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// Enters the working directory with the rights that init still has; the user may have no way there. A
/// directory that only the user can reach is left to [`working_directory`].
pub fn enter_directory(cx: &mut Context, path: &CStr) -> Result {
    match process::chdir(path) {
        Err(fault) if fault.is(Errno::ACCES) => Ok(()),
        Err(fault) => Err(fault),
        Ok(()) => {
            cx.entered = true;
            Ok(())
        }
    }
}

/// Enters it as the user, and makes sure that it is inside the root: a descriptor of the host that was left open
/// would be a way out (CVE-2024-21626).
pub fn working_directory(cx: &Context, path: &CStr) -> Result {
    if !cx.entered {
        process::chdir(path)?;
    }
    let mut buffer = [0; PATH_MAX];
    fd::getcwd(&mut buffer)?;
    if buffer[0] == b'/' { Ok(()) } else { Err(Fault::new(Call::CWD, Errno::NOENT)) }
}

/// What [`execute`] needs, made while there is no filter yet.
pub struct Program {
    path: Path,
    /// `HOME=` and a path, or nothing if the environment has one.
    home: [u8; PATH_MAX],
    /// Room for the arguments and the environment.
    lists: Option<[Strings<'static>; 2]>,
}

impl Program {
    /// Nothing is known of it.
    pub const fn new() -> Self {
        Self { path: Path::new(), home: [0; PATH_MAX], lists: None }
    }

    /// `HOME=` and the path that was looked up for it, if the environment has none.
    pub fn home(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.home).ok().filter(|home| !home.is_empty())
    }
}

/// Looks the program up as `execvp` would, with the program's own rights. In the fault, `aux` is 1 if the name
/// was looked for in `PATH`.
pub fn find(view: &View<'_>, cx: &mut Context, args: Words, path: Text) -> Result {
    let name = view.frame.text(Text(view.frame.word(args.start))).to_bytes();
    let fault = |errno, aux| Fault { call: Call::PROGRAM, errno, aux };
    if name.contains(&b'/') {
        cx.program.path.set(b"", name)?;
        return executable(cx.program.path.as_cstr()).map_err(|e| fault(e.errno, 0));
    }
    let mut refused = Errno::NOENT;
    for dir in view.frame.text(path).to_bytes().split(|b| *b == b':') {
        cx.program.path.set(if dir.is_empty() { b"." } else { dir }, name)?;
        match executable(cx.program.path.as_cstr()) {
            Ok(()) if !name.is_empty() => return Ok(()),
            Err(e) if e.is(Errno::ACCES) => refused = Errno::ACCES,
            _ => {}
        }
    }
    Err(fault(refused, 1))
}

fn executable(path: &CStr) -> Result {
    if fd::stat_following(path)?.is(kind::DIR) {
        return Err(Fault::new(Call::PROGRAM, Errno::ISDIR));
    }
    fd::may_execute(Fd::CWD, path)
}

const HUP: i32 = 1;
const INT: i32 = 2;
const QUIT: i32 = 3;
const TERM: i32 = 15;

/// Waits for the byte of `start`. From here on the creating process may be gone, so its gate is closed first; and `exec` may
/// bring others in, for whom a procfs without masks must not lie about.
pub fn wait_for_start(view: &View<'_>, cx: &mut Context, slot: Slot) -> Result {
    if cx.procfs != Fd(-1) {
        fd::close(core::mem::replace(&mut cx.procfs, Fd(-1)))?;
    }
    // A container that was only created can be ended like one that runs.
    for signal in [HUP, INT, QUIT, TERM] {
        process::end_at(signal)?;
    }
    view.slate.enter(Phase::Waiting);
    fd::close(view.frame.gate())?;
    let mut go = [0];
    fd::read(view.slot(slot), &mut go)?;
    view.slate.enter(Phase::Exec);
    Ok(())
}

/// Gives the caller's descriptors the numbers at which the program looks for them. What had those numbers was init's own,
/// and ends here.
pub fn pass(view: &View<'_>, files: Words) -> Result {
    for index in (files.start..files.start.saturating_add(files.count)).step_by(2) {
        let [number, slot] = [view.frame.word(index), view.frame.word(index + 1)];
        fd::dup_inherited(view.slot(Slot(slot)), Fd(number.cast_signed()))?;
    }
    Ok(())
}

/// How often init looks whether its listener was taken, which it is in microseconds: at least 10 s.
const LOOKS: u32 = 1 << 30;

/// Installs the filter that the host left in the late data.
pub fn filter(view: &View<'_>, flags: u32) -> Result {
    let program = view.mapping.instructions(view.frame.layout().late, view.slate.filter() as usize);
    if program.is_empty() {
        return Err(Fault::new(Call::FRAME, Errno::INVAL));
    }
    match process::seccomp(flags, program)? {
        Some(listener) => offer(view, listener),
        None => Ok(()),
    }
}

/// Has the host take the listener. No system call in between: the agent cannot answer yet. Then it is closed, as it would
/// keep calls waiting for an agent that is gone.
fn offer(view: &View<'_>, listener: Fd) -> Result {
    view.slate.offer(listener.0);
    for _ in 0..LOOKS {
        if view.slate.is_taken() {
            return fd::close(listener);
        }
        core::hint::spin_loop();
    }
    Err(Fault::new(Call::GATE, Errno::TIMEDOUT))
}

/// Does for [`execute`] whatever takes a system call.
pub fn prepare(cx: &mut Context, args: Words, env: Words, home_of: u32) -> Result {
    const HOME: usize = 1;
    let room = |words: Words, more| Strings::with_capacity(words.count as usize + more);
    cx.program.lists = Some([room(args, 0)?, room(env, HOME)?]);
    if home_of != u32::MAX {
        home_directory(home_of, &mut cx.program.home);
    }
    Ok(())
}

/// Executes the program. Returns only what refused. A filter may allow nothing but this one system call.
pub fn execute(view: &View<'_>, cx: &mut Context, args: Words, env: Words) -> Fault {
    let Some([argv, envp]) = cx.program.lists.take() else { return Fault::new(Call::FRAME, Errno::INVAL) };
    let argv = fill(view, argv, args);
    let mut envp = fill(view, envp, env);
    if let Some(home) = cx.program.home() {
        envp.push(home);
    }
    view.slate.enter(Phase::Exec);
    process::execve(cx.program.path.as_cstr(), &argv, &envp)
}

fn fill<'a>(view: &View<'a>, mut list: Strings<'a>, words: Words) -> Strings<'a> {
    for text in view.frame.words(words) {
        list.push(view.frame.text(Text(text)));
    }
    list
}

/// A range of texts as execve takes them, with room for `more`.
pub fn strings<'a>(view: &View<'a>, words: Words, more: usize) -> Result<Strings<'a>> {
    Ok(fill(view, Strings::with_capacity(words.count as usize + more)?, words))
}

/// `HOME=` and the home directory of `uid` in the container's `/etc/passwd`, or `/`.
fn home_directory(uid: u32, buffer: &mut [u8; PATH_MAX]) {
    const KEY: &[u8] = b"HOME=";
    buffer[..KEY.len()].copy_from_slice(KEY);
    let len = look_up_home(uid, &mut buffer[KEY.len()..PATH_MAX - 1]).unwrap_or(0);
    if len == 0 {
        buffer[KEY.len()..KEY.len() + 2].copy_from_slice(b"/\0");
    } else {
        buffer[KEY.len() + len] = 0;
    }
}

/// Reads `/etc/passwd` line by line in a buffer of fixed size; a line that does not fit is skipped.
fn look_up_home(uid: u32, home: &mut [u8]) -> Option<usize> {
    let file = Closing(fd::open_plain(c"/etc/passwd", open::RDONLY | open::NONBLOCK | open::NOCTTY).ok()?);
    if !fd::stat(file.0).ok()?.is(kind::REG) {
        return None;
    }
    let mut line = Line::new();
    let mut buffer = [0; 4096];
    let mut total = 0;
    while total < PASSWD_MAX {
        let count = fd::read(file.0, &mut buffer).ok()?;
        for byte in &buffer[..count] {
            if *byte == b'\n' {
                if let Some(len) = line.home_of(uid, home) {
                    return Some(len);
                }
                line = Line::new();
            } else {
                line.push(*byte);
            }
        }
        if count == 0 {
            return line.home_of(uid, home);
        }
        total += count;
    }
    None
}

struct Line {
    bytes: [u8; 1024],
    len: usize,
}

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; 1024], len: 0 }
    }

    /// Appends; a line that is too long gets a length beyond the buffer and never matches.
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    /// If this is the entry of `uid`, copies its sixth field to `home`.
    fn home_of(&self, uid: u32, home: &mut [u8]) -> Option<usize> {
        let mut fields = self.bytes.get(..self.len)?.split(|b| *b == b':');
        let found: u32 = core::str::from_utf8(fields.nth(2)?).ok()?.parse().ok()?;
        let dir = fields.nth(2)?;
        if found != uid || dir.is_empty() || dir.contains(&0) {
            return None;
        }
        home.get_mut(..dir.len())?.copy_from_slice(dir);
        Some(dir.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        let mut line = Line::new();
        text.bytes().for_each(|b| line.push(b));
        line
    }

    #[test]
    fn home_is_the_sixth_field_of_the_uid() {
        let mut home = [0; 64];
        let len = line("games:x:5:60:games:/usr/games:/bin/sh").home_of(5, &mut home);
        assert_eq!(&home[..len.expect("it is the entry")], b"/usr/games");
        assert_eq!(line("5:x:6:60:games:/usr/games:/bin/sh").home_of(5, &mut home), None, "a name is not an id (S2)");
        assert_eq!(line("a:x:05x:60:games:/usr/games:/bin/sh").home_of(5, &mut home), None);
        assert_eq!(line(&"x".repeat(5000)).home_of(5, &mut home), None);
    }
}
