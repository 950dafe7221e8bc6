//! The one way from a path of the container to an object: `openat2` within the root (rules R1, R2).
//!
//! What comes out is a descriptor. Missing parts are made one by one below a held descriptor, never by a
//! path that somebody could change in between (CVE-2024-45310).

#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::fault::{Call, Errno, Fault, Result};
use crate::sys::fd::{self, Closing, Fd, kind, open, resolve};

/// How often an `openat2` that lost a race with a rename is tried again, and how many links are followed
/// while something is being made. Without a bound, a neighbour who keeps renaming would stall init.
#[cfg_attr(naive_paths, expect(dead_code))]
const ATTEMPTS: u32 = 128;
const LINKS: u32 = 40;
const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;

/// What a missing last component becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Directory,
    File,
}

/// A path in memory of its own, NUL-terminated.
struct PathText {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl PathText {
    const fn new() -> Self {
        Self { bytes: [0; PATH_MAX], len: 0 }
    }

    fn push(&mut self, part: &[u8]) -> Result {
        let slash = usize::from(self.len > 0 && self.bytes[self.len - 1] != b'/');
        if self.len + slash + part.len() >= PATH_MAX {
            return Err(Fault::new(Call::LENGTH, Errno::NAMETOOLONG));
        }
        if slash == 1 {
            self.bytes[self.len] = b'/';
        }
        self.bytes[self.len + slash..][..part.len()].copy_from_slice(part);
        self.len += slash + part.len();
        Ok(())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// One component, NUL-terminated.
pub struct Name([u8; NAME_MAX + 1]);

impl Name {
    fn new(name: &[u8]) -> Result<Self> {
        if name.len() > NAME_MAX {
            return Err(Fault::new(Call::LENGTH, Errno::NAMETOOLONG));
        }
        let mut bytes = [0; NAME_MAX + 1];
        bytes[..name.len()].copy_from_slice(name);
        Ok(Self(bytes))
    }

    /// The name as the kernel takes it.
    pub fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// `openat2(root, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`.
pub fn find(root: Fd, path: &CStr, flags: u64) -> Result<Closing> {
    retry(root, path, open::PATH | flags, resolve::IN_ROOT | resolve::NO_MAGICLINKS)
}

/// The same, but a path that leads out of `dir` is an error.
pub fn find_below(dir: Fd, path: &CStr) -> Result<Closing> {
    retry(dir, path, open::PATH, resolve::BENEATH | resolve::NO_MAGICLINKS)
}

/// The same as [`find`] without a symbolic link anywhere in the path.
pub fn find_ordinary(root: Fd, path: &CStr, flags: u64) -> Result<Closing> {
    retry(root, path, open::PATH | flags, resolve::IN_ROOT | resolve::NO_SYMLINKS)
}

#[cfg(not(naive_paths))]
fn retry(root: Fd, path: &CStr, flags: u64, how: u64) -> Result<Closing> {
    let mut last = Fault::new(Call(437), Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        match fd::openat2(root, path, flags, how) {
            Err(fault) if fault.is(Errno::AGAIN) => last = fault,
            result => return result.map(Closing),
        }
    }
    Err(last)
}

/// The way that runtimes were broken by: the path as a string behind the root, links and `..` followed wherever they
/// lead. `hack/test` builds this to see that the tests of paths fail with it, because otherwise they would prove nothing.
#[cfg(naive_paths)]
fn retry(root: Fd, path: &CStr, flags: u64, _: u64) -> Result<Closing> {
    let text = path.to_bytes_with_nul();
    let start = text.iter().position(|b| *b != b'/').unwrap_or(0);
    let below = CStr::from_bytes_until_nul(&text[start..]).unwrap_or(c"");
    let below = if below.is_empty() { c"." } else { below };
    fd::openat2(root, below, flags & !open::NOFOLLOW, 0).map(Closing)
}

/// The directory at `path`, made with mode 0755 where it is missing.
pub fn make_directory(root: Fd, path: &CStr) -> Result<Closing> {
    make(root, path.to_bytes(), Last::Directory)
}

/// The file at `path`, made empty where it is missing; whatever exists there is returned.
pub fn make_file(root: Fd, path: &CStr) -> Result<Closing> {
    make(root, path.to_bytes(), Last::File)
}

/// The directory that holds `path`, made where it is missing, and the last component.
pub fn make_parent(root: Fd, path: &CStr) -> Result<(Closing, Name)> {
    let path = trim(path.to_bytes());
    let cut = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    let (parent, name) = path.split_at(cut);
    if name.is_empty() || name == b"." || name == b".." {
        return Err(Fault::new(Call::LENGTH, Errno::INVAL));
    }
    Ok((make(root, parent, Last::Directory)?, Name::new(name)?))
}

fn trim(mut path: &[u8]) -> &[u8] {
    while let [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}

fn make(root: Fd, path: &[u8], last: Last) -> Result<Closing> {
    let mut whole = PathText::new();
    whole.push(path)?;
    for _ in 0..LINKS {
        let (dir, rest) = deepest(root, whole.as_bytes())?;
        match make_below(dir, whole.as_bytes(), rest, last)? {
            Made::All(fd) => return Ok(fd),
            Made::Link(target) => whole = target,
        }
    }
    Err(Fault::new(Call(437), Errno::LOOP))
}

/// The deepest part of `path` that exists, and where the rest begins.
fn deepest(root: Fd, path: &[u8]) -> Result<(Closing, usize)> {
    let mut end = trim(path).len();
    loop {
        let mut prefix = PathText::new();
        prefix.push(if end == 0 { b"/" } else { &path[..end] })?;
        let text = CStr::from_bytes_until_nul(&prefix.bytes).unwrap_or(c"/");
        match find(root, text, 0) {
            Err(fault) if fault.is(Errno::NOENT) && end > 0 => {
                end = path[..end].iter().rposition(|b| *b == b'/').unwrap_or(0);
                end = trim(&path[..end]).len();
            }
            result => return Ok((result?, end)),
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "there is no allocator to put the path elsewhere")]
enum Made {
    All(Closing),
    /// A component turned out to be a link to something that is missing; the path that it stands for.
    Link(PathText),
}

/// Makes `path[rest..]` below `dir`, the directory at `path[..rest]`.
fn make_below(mut dir: Closing, path: &[u8], rest: usize, last: Last) -> Result<Made> {
    let mut done = rest;
    while let Some((start, end)) = component(path, done) {
        let name = &path[start..end];
        if name == b".." {
            return Err(Fault::new(Call(437), Errno::NOENT));
        }
        if name != b"." {
            let is_last = component(path, end).is_none();
            let name = Name::new(name)?;
            match make_one(dir.0, &name, is_last && last == Last::File)? {
                Some(next) => dir = next,
                None => return through_link(dir.0, &name, &path[..done], &path[end..]).map(Made::Link),
            }
        }
        done = end;
    }
    Ok(Made::All(dir))
}

/// Start and end of the next component from `from` on.
fn component(path: &[u8], from: usize) -> Option<(usize, usize)> {
    let start = from + path[from..].iter().position(|b| *b != b'/')?;
    let end = path[start..].iter().position(|b| *b == b'/').map_or(path.len(), |len| start + len);
    Some((start, end))
}

/// Makes one component and opens it; `None` if it is a symbolic link.
fn make_one(dir: Fd, name: &Name, as_file: bool) -> Result<Option<Closing>> {
    let made = if as_file {
        fd::mknodat(dir, name.as_cstr(), kind::REG | 0o755, 0)
    } else {
        fd::mkdirat(dir, name.as_cstr(), 0o755)
    };
    match made {
        Err(fault) if !fault.is(Errno::EXIST) => return Err(fault),
        _ => {}
    }
    let how = resolve::BENEATH | resolve::NO_MAGICLINKS;
    let opened = retry(dir, name.as_cstr(), open::PATH | open::NOFOLLOW, how)?;
    Ok((!fd::stat(opened.0)?.is(kind::LNK)).then_some(opened))
}

/// The path that stands for `before/name/after` when `name` in `dir` is a link.
fn through_link(dir: Fd, name: &Name, before: &[u8], after: &[u8]) -> Result<PathText> {
    let mut target = [0; PATH_MAX];
    let len = fd::readlinkat(dir, name.as_cstr(), &mut target)?;
    let mut path = PathText::new();
    if target[0] != b'/' {
        path.push(if before.is_empty() { b"/" } else { before })?;
    }
    path.push(&target[..len])?;
    if let Some((start, _)) = component(after, 0) {
        path.push(&after[start..])?;
    }
    Ok(path)
}

#[cfg(all(test, not(naive_paths)))]
mod tests;
