//! Mounts: everything is prepared detached, with its attributes, and attached by descriptor (rule R3).

#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::fault::{Call, Errno, Fault, Result};
use crate::run::{Context, View, wait_at};
use crate::step::{Gate, MountRecord, SOURCE_AS_IT_IS, SOURCE_GIVEN, SOURCE_WITH_SUBMOUNTS, Slot, Text, Words};
use crate::sys::fd::{self, Closing, Fd, kind, open};
use crate::sys::mount::{self, MountAttr, attr, propagation};
use crate::sys::net::receive;
use crate::{copy, path, proc};

const PATH_MAX: usize = 4096;

/// Shows the host init's copy of its mounts. What the host finds in it, with rights that the root of a user namespace lacks,
/// is still a part of the copy, in which the kernel keeps flags locked.
pub fn show(view: &View<'_>) -> Result {
    let top = Closing(fd::openat2(Fd::CWD, c"/", open::PATH | open::DIRECTORY, 0)?);
    wait_at(view, Gate::Trees, Some(top.0))
}

/// Opens a source in init's copy of the host's mounts and keeps the tree in `slot`.
pub fn open_source(view: &View<'_>, slot: Slot, source: Text, flags: u32) -> Result {
    let recursive = flags & SOURCE_WITH_SUBMOUNTS != 0;
    let given = if flags & SOURCE_GIVEN != 0 { given(view)? } else { None };
    let tree = Closing(match given {
        Some(found) => mount::clone_tree(found.0, c"", recursive)?,
        // The host's way ends at magic links, and where it may not pass: init's own may go on.
        None if flags & SOURCE_AS_IT_IS == 0 => mount::clone_tree(Fd::CWD, view.frame.text(source), recursive)?,
        None => {
            let found = Closing(fd::openat2(Fd::CWD, view.frame.text(source), open::PATH | open::NOFOLLOW, 0)?);
            mount::clone_tree(found.0, c"", recursive)?
        }
    });
    fd::dup_onto(tree.0, view.slot(slot))
}

/// What the host found at a path, if it found something.
fn given(view: &View<'_>) -> Result<Option<Closing>> {
    let mut byte = [0];
    match receive(view.frame.gate(), &mut byte)? {
        (1, found) if byte[0] == Gate::Trees as u8 => Ok(found.map(Closing)),
        _ => Err(Fault::new(Call::GATE, Errno(32))),
    }
}

/// Carries out one mount.
pub fn mount(view: &View<'_>, cx: &Context, words: Words) -> Result {
    let mut raw = [0; MountRecord::LEN as usize];
    for (place, word) in raw.iter_mut().zip(view.frame.words(words)) {
        *place = word;
    }
    let record = MountRecord::from_words(raw);
    let target = view.frame.text(Text(record.target));
    match record.from {
        MountRecord::FROM_FILESYSTEM => filesystem(view, cx, &record, target),
        MountRecord::FROM_TARGET => change(view, cx, &record, target),
        MountRecord::FROM_ROOT => {
            let flags = if has(&record, MountRecord::WITH_SOURCE_AS_IT_IS) { open::NOFOLLOW } else { 0 };
            let source = path::find(cx.root, view.frame.text(Text(record.what)), flags)?;
            let recursive = has(&record, MountRecord::WITH_SUBMOUNTS);
            let opened = mount::clone_tree(source.0, c"", recursive)?;
            if has(&record, MountRecord::WITH_HOLD) {
                fd::dup_onto(opened, view.slot(Slot(record.slot)))?;
            }
            tree(view, cx, opened, &record, target)
        }
        _ => tree(view, cx, view.slot(Slot(record.slot)), &record, target),
    }
}

fn filesystem(view: &View<'_>, cx: &Context, record: &MountRecord, target: &CStr) -> Result {
    let covered = path::find(cx.root, target, open::DIRECTORY).and_then(|found| fd::stat(found.0)).ok();
    let target = directory(cx, target, has(record, MountRecord::WITH_ORDINARY_TARGET))?;
    may_be_covered(cx, target.0, record)?;
    let fs = Closing(mount::fsopen(view.frame.text(Text(record.what)))?);
    if record.source != MountRecord::NO_TEXT {
        mount::fs_string(fs.0, c"source", view.frame.text(Text(record.source)))?;
    }
    if let Some(covered) = covered.filter(|_| has(record, MountRecord::WITH_MODE_OF_TARGET)) {
        mount::fs_string(fs.0, c"mode", octal(covered.mode & 0o7777, &mut [0; 8]))?;
    }
    let made = configure(view, fs.0, record).and_then(|()| {
        mount::fs_create(fs.0)?;
        mount::fsmount(fs.0, record.set.into())
    });
    let mounted = Closing(made.inspect_err(|_| explain(view, fs.0))?);
    if has(record, MountRecord::WITH_COPY) {
        copy::directory(target.0, mounted.0)?;
    }
    map_ids(view, mounted.0, record)?;
    spread(mounted.0, record)?;
    mount::attach(mounted.0, target.0)?;
    if has(record, MountRecord::WITH_HOLD) { fd::dup_onto(mounted.0, view.slot(Slot(record.slot))) } else { Ok(()) }
}

fn tree(view: &View<'_>, cx: &Context, tree: Fd, record: &MountRecord, target: &CStr) -> Result {
    if has(record, MountRecord::WITH_PROCFS_SOURCE) && !proc::is_root(tree)? {
        return Err(Fault::new(Call::PROCFS, Errno::INVAL));
    }
    let found = fd::stat(tree)?;
    if found.is(kind::LNK) && has(record, MountRecord::WITH_LINK) {
        return link(cx, &Closing(tree), target);
    }
    let is_directory = found.is(kind::DIR);
    let target = if has(record, MountRecord::WITH_TARGET_AS_IT_IS) {
        path::find(cx.root, target, open::NOFOLLOW)?
    } else if is_directory {
        directory(cx, target, has(record, MountRecord::WITH_ORDINARY_TARGET))?
    } else {
        path::make_file(cx.root, target)?
    };
    if fd::stat(target.0)?.is(kind::DIR) != is_directory {
        // The kernel would say EINVAL.
        return Err(Fault::new(Call::MOUNT_KIND, Errno::NOTDIR));
    }
    may_be_covered(cx, target.0, record)?;
    map_ids(view, tree, record)?;
    spread(tree, record)?;
    let own = MountAttr { set: record.set.into(), clear: record.clear.into(), ..MountAttr::default() };
    if !own.is_empty() {
        mount::set_attr(tree, false, &own)?;
    }
    mount::attach(tree, target.0)?;
    if has(record, MountRecord::WITH_HOLD) { Ok(()) } else { fd::close(tree) }
}

/// Makes the link that `like` is at `target`; one that says the same is left.
fn link(cx: &Context, like: &Closing, target: &CStr) -> Result {
    let (mut wanted, mut found) = ([0; PATH_MAX + 1], [0; PATH_MAX]);
    let wanted_len = fd::readlinkat(like.0, c"", &mut wanted[..PATH_MAX])?;
    let (dir, name) = path::make_parent(cx.root, target)?;
    let text = CStr::from_bytes_until_nul(&wanted).unwrap_or(c"");
    match fd::symlinkat(text, dir.0, name.as_cstr()) {
        Err(fault) if fault.is(Errno::EXIST) => {
            let same =
                fd::readlinkat(dir.0, name.as_cstr(), &mut found).is_ok_and(|len| found[..len] == wanted[..wanted_len]);
            if same { Ok(()) } else { Err(Fault::new(Call::LINK, Errno::EXIST)) }
        }
        result => result,
    }
}

/// The ids of a mount can be mapped by who controls its file system only, which is the host.
fn map_ids(view: &View<'_>, mounted: Fd, record: &MountRecord) -> Result {
    if has(record, MountRecord::WITH_IDS) { wait_at(view, Gate::Trees, Some(mounted)) } else { Ok(()) }
}

/// A link of the image must not lead a mount into procfs, where it could cover what a mask is meant for. The root of
/// a procfs is what a later entry for the same place covers. Nothing covers the root: nobody would see it.
fn may_be_covered(cx: &Context, target: Fd, record: &MountRecord) -> Result {
    let (found, root) = (fd::stat(target)?, fd::stat(cx.root)?);
    if (found.mount, found.ino) == (root.mount, root.ino) {
        return Err(Fault::new(Call::ROOT, Errno::BUSY));
    }
    let inside = fd::filesystem(target)? == proc::MAGIC && !proc::is_root(target)?;
    if inside && !has(record, MountRecord::WITH_PROCFS_TARGET) {
        return Err(Fault::new(Call::ORDINARY_DIRECTORY, Errno::INVAL));
    }
    Ok(())
}

/// Changes the mount that is at the target.
fn change(view: &View<'_>, cx: &Context, record: &MountRecord, target: &CStr) -> Result {
    let target = path::find(cx.root, target, 0)?;
    if has(record, MountRecord::WITH_RECONFIGURE) {
        let fs = Closing(mount::fspick(target.0)?);
        let done = configure(view, fs.0, record).and_then(|()| mount::fs_reconfigure(fs.0));
        done.inspect_err(|_| explain(view, fs.0))?;
    }
    let own = MountAttr { set: record.set.into(), clear: record.clear.into(), ..MountAttr::default() };
    if !own.is_empty() {
        mount::set_attr(target.0, false, &own)?;
    }
    spread(target.0, record)
}

/// Propagation and recursive attributes, in the order in which the options are meant: all first, then the one.
fn spread(mounted: Fd, record: &MountRecord) -> Result {
    let all = MountAttr {
        set: record.set_all.into(),
        clear: record.clear_all.into(),
        propagation: record.propagation_all.into(),
        userns_fd: 0,
    };
    if !all.is_empty() {
        mount::set_attr(mounted, true, &all)?;
    }
    let own = MountAttr { propagation: record.propagation.into(), ..MountAttr::default() };
    if own.is_empty() { Ok(()) } else { mount::set_attr(mounted, false, &own) }
}

const fn has(record: &MountRecord, flag: u32) -> bool {
    record.flags & flag != 0
}

fn configure(view: &View<'_>, fs: Fd, record: &MountRecord) -> Result {
    for index in 0..record.option_count {
        let key = view.frame.text(Text(view.frame.word(record.options + 2 * index)));
        match view.frame.word(record.options + 2 * index + 1) {
            MountRecord::NO_TEXT => mount::fs_flag(fs, key)?,
            value => mount::fs_string(fs, key, view.frame.text(Text(value)))?,
        }
    }
    Ok(())
}

/// Passes on what the kernel wrote about a refused option: `e tmpfs: Unknown parameter 'foo'`.
fn explain(view: &View<'_>, fs: Fd) {
    let mut text = [0; crate::slate::MESSAGE];
    if let Ok(len) = fd::read(fs, &mut text) {
        view.slate.say(&text[..len]);
    }
}

/// Makes a directory.
pub fn make_directory(cx: &Context, target: &CStr, ordinary: bool) -> Result {
    directory(cx, target, ordinary).map(drop)
}

fn directory(cx: &Context, target: &CStr, ordinary: bool) -> Result<Closing> {
    if ordinary { ordinary_directory(cx.root, target) } else { path::make_directory(cx.root, target) }
}

/// `/proc`, `/sys` and `/dev` must be ordinary directories: reached over a link, they would be mounted elsewhere and
/// the masks would miss them (CVE-2019-19921), or nodes be made where a link leads (CVE-2026-41579).
fn ordinary_directory(root: Fd, target: &CStr) -> Result<Closing> {
    match path::find_ordinary(root, target, open::DIRECTORY) {
        Err(fault) if fault.is(Errno::NOENT) => path::make_directory(root, target),
        Err(fault) if fault.is(Errno::LOOP) || fault.is(Errno::NOTDIR) => {
            Err(Fault::new(Call::ORDINARY_DIRECTORY, Errno::NOTDIR))
        }
        result => result,
    }
}

/// Makes a mount read-only by its descriptor.
pub fn make_readonly(mounted: Fd) -> Result {
    mount::set_attr(mounted, false, &MountAttr { set: attr::RDONLY, ..MountAttr::default() })
}

/// Makes a path read-only with everything below (rule R10). Only a path that is not there is skipped (rule R14).
pub fn readonly_path(view: &View<'_>, cx: &Context, target: Text, within: Option<Slot>) -> Result {
    let Some(target) = existing(view, cx, target, within)? else { return Ok(()) };
    let tree = Closing(mount::clone_tree(target.0, c"", true)?);
    mount::set_attr(tree.0, true, &MountAttr { set: attr::RDONLY, ..MountAttr::default() })?;
    mount::attach(tree.0, target.0)
}

/// Hides a path: a file behind the null device, a directory behind an empty one.
pub fn mask_path(view: &View<'_>, cx: &mut Context, target: Text, within: Option<Slot>) -> Result {
    let Some(target) = existing(view, cx, target, within)? else { return Ok(()) };
    let cover = if fd::stat(target.0)?.is(kind::DIR) {
        if cx.empty == Fd(-1) {
            cx.empty = empty_directory()?;
            return mount::attach(cx.empty, target.0);
        }
        Closing(mount::clone_tree(cx.empty, c"", false)?)
    } else if cfg!(naive_paths) {
        // The container's own null device, as the control of the tests of masks; see `path.rs`.
        let null = path::find(cx.root, c"/dev/null", 0)?;
        Closing(mount::clone_tree(null.0, c"", false)?)
    } else {
        Closing(mount::clone_tree(cx.null, c"", false)?)
    };
    let private = MountAttr { propagation: propagation::PRIVATE, ..MountAttr::default() };
    mount::set_attr(cover.0, false, &private)?;
    mount::attach(cover.0, target.0)
}

/// What is to be covered, if it is there. In a procfs or sysfs that this container has mounted it is looked for by the
/// mount's own descriptor: in a root file system that somebody else renames in, its path may be a link for a moment,
/// and then the mask would be missing (CVE-2023-27561).
fn existing(view: &View<'_>, cx: &Context, target: Text, within: Option<Slot>) -> Result<Option<Closing>> {
    let target = view.frame.text(target);
    let found = match within {
        Some(mounted) => path::find_below(view.slot(mounted), target),
        None => path::find(cx.root, target, 0),
    };
    match found {
        Err(fault) if fault.is(Errno::NOENT) || fault.is(Errno::NOTDIR) => Ok(None),
        result => result.map(Some),
    }
}

/// Takes a procfs or sysfs of the host away. In a user namespace it is locked, and is covered instead, as in runc.
pub fn unmount(path: &CStr) -> Result {
    match mount::detach(path) {
        Err(fault) if fault.is(Errno::INVAL) || fault.is(Errno::PERM) => {
            let target = Closing(fd::openat2(Fd::CWD, path, open::PATH | open::DIRECTORY, 0)?);
            let cover = Closing(empty_directory()?);
            mount::attach(cover.0, target.0)
        }
        result => result,
    }
}

/// One read-only tmpfs without room for anything.
fn empty_directory() -> Result<Fd> {
    let fs = Closing(mount::fsopen(c"tmpfs")?);
    mount::fs_string(fs.0, c"nr_blocks", c"1")?;
    mount::fs_string(fs.0, c"nr_inodes", c"1")?;
    mount::fs_create(fs.0)?;
    mount::fsmount(fs.0, attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)
}

fn octal(mode: u32, buffer: &mut [u8; 8]) -> &CStr {
    for (place, digit) in buffer[..5].iter_mut().zip((0..5).rev()) {
        *place = b'0' + ((mode >> (3 * digit)) & 7) as u8;
    }
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_in_octal() {
        for (mode, text) in [(0, c"00000"), (0o755, c"00755"), (0o1777, c"01777"), (0o7777, c"07777")] {
            assert_eq!(octal(mode, &mut [0; 8]), text);
        }
    }
}
