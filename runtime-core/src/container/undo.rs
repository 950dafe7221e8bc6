//! What may have to be undone, on disk before it is done.
//!
//! The file `undo` only grows, one line per act, each written before its act (a process: at the gate
//! where it still waits for its creator). Deleting replays it backwards, any number of times: every
//! line tolerates that its object is already gone. Nothing is synced to the disk, because the record
//! has to survive the death of a process, not of the machine, whose cgroups and processes die with it.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use nix::fcntl::OFlag;
use nix::libc::SIGKILL;

use super::process::{self, Identity};
use super::state::Record;
use super::store::ContainerDir;
use super::{KILL_WAIT, empty_cgroup};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result, StateProblem, StepError};

/// Name of the file in the container's directory.
pub(super) const FILE: &str = "undo";

/// One line of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `boot ID`, the first line: all others are about objects of this boot.
    Boot(String),
    /// `cgroup PATH`: a cgroup, with whatever it contains by then.
    Cgroup(String),
    /// `members PATH`: what is in a cgroup that was there before, and stays (RT-67).
    Members(String),
    /// `rdt PATH`: a group of resctrl.
    Rdt(String),
    /// `pid N START PIDFDINO`: a process; `-` where the kernel has no pidfs.
    Pid {
        /// Its number.
        pid: i32,
        /// Its start time.
        start: u64,
        /// The inode of its pidfd.
        inode: Option<u64>,
    },
}

impl Entry {
    /// The line for a process.
    #[must_use]
    pub const fn process(identity: &Identity) -> Self {
        Self::Pid { pid: identity.pid, start: identity.start, inode: identity.inode }
    }

    /// Reads one line; `Err` has what is wrong with it.
    fn parse(line: &str) -> Result<Self, Fit> {
        let (kind, rest) = line.split_once(' ').ok_or(Fit::Malformed)?;
        match kind {
            "boot" => Ok(Self::Boot(unescape(rest).ok_or(Fit::Malformed)?)),
            "cgroup" => Ok(Self::Cgroup(unescape(rest).ok_or(Fit::Malformed)?)),
            "members" => Ok(Self::Members(unescape(rest).ok_or(Fit::Malformed)?)),
            "rdt" => Ok(Self::Rdt(unescape(rest).ok_or(Fit::Malformed)?)),
            "pid" => parse_pid(rest).ok_or(Fit::Malformed),
            _ => Err(Fit::Unknown),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(id) => write!(f, "boot {}", escape(id)),
            Self::Cgroup(path) => write!(f, "cgroup {}", escape(path)),
            Self::Members(path) => write!(f, "members {}", escape(path)),
            Self::Rdt(path) => write!(f, "rdt {}", escape(path)),
            Self::Pid { pid, start, inode: Some(inode) } => write!(f, "pid {pid} {start} {inode}"),
            Self::Pid { pid, start, inode: None } => write!(f, "pid {pid} {start} -"),
        }
    }
}

/// Why a line is not an entry.
enum Fit {
    Malformed,
    Unknown,
}

/// The open record of a container that is being created.
#[derive(Debug)]
pub struct Undo {
    file: File,
}

impl Undo {
    /// Opens the record of `dir` for further lines; the first opening makes it and notes the boot.
    ///
    /// # Errors
    /// [`Error::Step`] if the file cannot be opened or written.
    pub fn open(dir: &ContainerDir) -> Result<Self> {
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT;
        let file = File::from(dir.open_file(FILE, flags)?);
        let mut this = Self { file };
        if this.file.metadata().is_ok_and(|meta| meta.len() == 0) {
            this.append(&Entry::Boot(process::boot_id()?))?;
        }
        Ok(this)
    }

    /// Adds a line. It has to be called before the act that the line is about.
    ///
    /// # Errors
    /// [`Error::Step`]; the act must then not take place.
    pub fn append(&mut self, entry: &Entry) -> Result<()> {
        // One write per line: whoever is killed here leaves at most one unfinished line, the last.
        self.file
            .write_all(format!("{entry}\n").as_bytes())
            .map_err(|error| StepError::io(None, format!("note for undo: {entry}"), "write", &error).into())
    }
}

/// All entries, oldest first; none if there is no record.
///
/// # Errors
/// [`StateProblem::Newer`] for a kind of line that this version does not know, and
/// [`StateProblem::Record`] for one that is damaged: undoing only a part would look like success.
pub(super) fn read(dir: &ContainerDir) -> Result<Vec<Entry>> {
    let bytes = dir.read(FILE)?.unwrap_or_default();
    lines(&bytes).map(|(number, line)| parse(dir, number, line)).collect()
}

/// The lines that are whole, with their numbers.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    // Behind the last newline is a line whose write was cut short, so its act never began.
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    (1..).zip(bytes[..end].split(|&byte| byte == b'\n')).filter(|(_, line)| !line.is_empty())
}

fn parse(dir: &ContainerDir, number: usize, line: &[u8]) -> Result<Entry> {
    let line = String::from_utf8_lossy(line);
    let what = || format!("line {number}: {line:?}");
    match Entry::parse(&line) {
        Ok(entry) => Ok(entry),
        // Every version begins with the boot: what begins otherwise is none of a newer one.
        Err(Fit::Unknown) if number > 1 => {
            let problem = StateProblem::Newer { path: dir.path().join(FILE), what: what() };
            Err(Error::state(dir.id().as_str(), problem))
        }
        Err(_) => Err(dir.damaged(FILE, what())),
    }
}

/// As [`read`], but of a damaged record whatever is still to be read of it, with the error that it gave.
fn read_anyhow(dir: &ContainerDir) -> Result<(Vec<Entry>, Option<Error>)> {
    match read(dir) {
        Err(error) if !matches!(error.state_problem(), Some(StateProblem::Newer { .. })) => {
            let bytes = dir.read(FILE).ok().flatten().unwrap_or_default();
            let entries = lines(&bytes).filter_map(|(number, line)| parse(dir, number, line).ok()).collect();
            Ok((entries, Some(error)))
        }
        other => Ok((other?, None)),
    }
}

/// With what `state.json` tells of a container that was created, should the record be lost: its process and its cgroup.
fn completed(mut entries: Vec<Entry>, state: Option<&Record>) -> Vec<Entry> {
    let Some(Record { init: Some(init), cgroup_path, .. }) = state else { return entries };
    if boot_of(&entries).is_none() {
        entries.push(Entry::Boot(init.boot.clone()));
    }
    if !entries.iter().any(|entry| matches!(entry, Entry::Cgroup(_) | Entry::Members(_))) {
        entries.extend(cgroup_path.clone().map(Entry::Cgroup));
    }
    if !entries.contains(&Entry::process(init)) {
        entries.push(Entry::process(init));
    }
    entries
}

/// The process noted last, if it is of this record's boot.
pub(super) fn last_process(entries: &[Entry]) -> Option<Identity> {
    entries.iter().rev().find_map(|entry| match entry {
        Entry::Pid { pid, start, inode } => {
            Some(Identity { pid: *pid, start: *start, boot: boot_of(entries)?.to_owned(), inode: *inode })
        }
        _ => None,
    })
}

fn boot_of(entries: &[Entry]) -> Option<&str> {
    entries.iter().find_map(|entry| match entry {
        Entry::Boot(id) => Some(id.as_str()),
        _ => None,
    })
}

/// Undoes everything noted here or, as far as it is lost here, in `state`; latest first. Whatever is already gone counts
/// as undone. With `force` a damaged record is undone as far as it can be read, and what is wrong with it is returned.
///
/// # Errors
/// What [`read`] refuses, before anything is touched; [`StateProblem::Lingers`] if a process survives
/// SIGKILL; [`Error::Step`] for what the kernel refuses. The record is kept, so that it can be tried again.
pub(super) fn replay(dir: &ContainerDir, state: Option<&Record>, force: bool) -> Result<Option<Error>> {
    let (entries, unread) = if force { read_anyhow(dir)? } else { (read(dir)?, None) };
    let entries = completed(entries, state);
    let boot = process::boot_id()?;
    // Objects of an earlier boot are gone, and their names may by now be those of others.
    if boot_of(&entries).is_some_and(|noted| noted != boot) {
        return Ok(unread);
    }
    for entry in entries.iter().rev() {
        match entry {
            Entry::Boot(_) => {}
            Entry::Pid { pid, start, inode } => {
                end_process(dir, &Identity { pid: *pid, start: *start, boot: boot.clone(), inode: *inode })?;
            }
            Entry::Rdt(path) => remove_group(path)?,
            Entry::Cgroup(path) => {
                if let Some(cgroup) = Cgroup::at(path)? {
                    empty_cgroup(dir.id(), &cgroup)?;
                    cgroup.remove(KILL_WAIT)?;
                }
            }
            Entry::Members(path) => {
                if let Some(cgroup) = Cgroup::at(path)? {
                    empty_cgroup(dir.id(), &cgroup)?;
                }
            }
        }
    }
    Ok(unread)
}

/// The processes in a group of resctrl, if there are any left, fall back to the one above.
fn remove_group(path: &str) -> Result<()> {
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StepError::io(None, format!("remove resctrl group {path}"), "rmdir", &error).into())
        }
        _ => Ok(()),
    }
}

fn end_process(dir: &ContainerDir, identity: &Identity) -> Result<()> {
    let Some(pidfd) = identity.open_of_this_boot()? else { return Ok(()) };
    process::send(pidfd.as_fd(), SIGKILL)?;
    if !process::ended(pidfd.as_fd(), KILL_WAIT)? {
        return Err(Error::state(dir.id().as_str(), StateProblem::Lingers { waited: KILL_WAIT }));
    }
    process::reap(pidfd.as_fd());
    Ok(())
}

fn parse_pid(rest: &str) -> Option<Entry> {
    let mut words = rest.split(' ');
    let pid = words.next()?.parse().ok()?;
    let start = words.next()?.parse().ok()?;
    let inode = match words.next()? {
        "-" => None,
        number => Some(number.parse().ok()?),
    };
    words.next().is_none().then_some(Entry::Pid { pid, start, inode })
}

/// A path may contain anything but NUL; a line may not contain a newline.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' => match chars.next()? {
                'n' => '\n',
                '\\' => '\\',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::super::store::test_dir;
    use super::*;
    use std::process::Command;

    #[test]
    fn entries_survive_their_text() {
        let entries = [
            Entry::Boot("8e2c".to_owned()),
            Entry::Cgroup("/a b/back\\slash\nline".to_owned()),
            Entry::Members("/a b".to_owned()),
            Entry::Pid { pid: 7, start: u64::MAX, inode: Some(3) },
            Entry::Rdt("/sys/fs/resctrl/a".to_owned()),
            Entry::Pid { pid: 7, start: 0, inode: None },
        ];
        for entry in entries {
            let line = entry.to_string();
            assert!(!line.contains('\n'));
            assert_eq!(Entry::parse(&line).ok(), Some(entry), "{line}");
        }
    }

    #[test]
    fn an_unfinished_last_line_is_as_if_it_were_not_there() {
        let (_tmp, dir) = test_dir("c1");
        let mut undo = Undo::open(&dir).unwrap();
        undo.append(&Entry::Cgroup("/x".to_owned())).unwrap();
        drop(undo);
        let whole = dir.read(FILE).unwrap().unwrap();
        let all = read(&dir).unwrap();
        assert_eq!(all.len(), 2);
        for cut in 0..whole.len() {
            dir.replace(FILE, &whole[..cut]).unwrap();
            let some = read(&dir).unwrap();
            assert_eq!(some, all[..some.len()], "cut at {cut}");
        }
    }

    #[test]
    fn opening_again_appends_and_notes_the_boot_once() {
        let (_tmp, dir) = test_dir("c1");
        drop(Undo::open(&dir).unwrap());
        Undo::open(&dir).unwrap().append(&Entry::Cgroup("/x".to_owned())).unwrap();
        let entries = read(&dir).unwrap();
        assert_eq!(entries, [Entry::Boot(process::boot_id().unwrap()), Entry::Cgroup("/x".to_owned())]);
    }

    /// LNX-120, LNX-122: a group goes with its monitoring group; one that is gone already is fine.
    #[test]
    fn lnx_120_122_groups_are_removed_in_the_right_order() {
        let (tmp, dir) = test_dir("c1");
        let group = tmp.path().join("group");
        let monitor = group.join("monitor");
        std::fs::create_dir_all(&monitor).unwrap();
        let mut undo = Undo::open(&dir).unwrap();
        for path in [&group, &monitor] {
            undo.append(&Entry::Rdt(path.to_str().unwrap().to_owned())).unwrap();
        }
        replay(&dir, None, false).unwrap();
        assert!(!group.exists());
        replay(&dir, None, false).unwrap();
    }

    #[test]
    fn an_unknown_kind_is_refused_with_its_line() {
        let (_tmp, dir) = test_dir("c1");
        dir.replace(FILE, b"boot x\nhologram 1 2\n").unwrap();
        let text = read(&dir).unwrap_err().to_string();
        assert!(text.contains("line 2") && text.contains("hologram") && text.contains("newer"), "{text}");
        for damaged in ["pid 1 2\n", "pid x 2 -\n", "pid 1 2 - 4\n", "cgroup a\\x\n", "word\n"] {
            dir.replace(FILE, damaged.as_bytes()).unwrap();
            assert!(matches!(read(&dir).unwrap_err().state_problem(), Some(StateProblem::Record { .. })), "{damaged}");
        }
    }

    #[test]
    fn replay_ends_the_process_it_means_and_no_other() {
        let (_tmp, dir) = test_dir("c1");
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = process::open(pid).unwrap().unwrap();
        let identity = Identity::of(pid, pidfd.as_fd()).unwrap();

        let recycled = Identity { start: identity.start + 1, ..identity.clone() };
        Undo::open(&dir).unwrap().append(&Entry::process(&recycled)).unwrap();
        replay(&dir, None, false).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the start time did not fit");

        let earlier_boot = format!("boot other\n{}\n", Entry::process(&identity));
        dir.replace(FILE, earlier_boot.as_bytes()).unwrap();
        replay(&dir, None, false).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it is of another boot");

        Undo::open(&dir).unwrap();
        dir.remove(FILE).unwrap();
        Undo::open(&dir).unwrap().append(&Entry::process(&identity)).unwrap();
        replay(&dir, None, false).unwrap();
        assert!(process::ended(pidfd.as_fd(), std::time::Duration::ZERO).unwrap());
        assert!(identity.open_verified().unwrap().is_none());
        replay(&dir, None, false).unwrap();
    }
}
