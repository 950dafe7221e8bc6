//! Directories made through links, in a root that is a directory of this test (CFG-42, CFG-43, CVE-2024-45310).

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

/// A root with a neighbour beside it; both end with the test.
struct Tree {
    all: PathBuf,
    root: fs::File,
}

impl Tree {
    fn new(name: &str) -> Self {
        let all = std::env::temp_dir().join(std::format!("runtime-init-path-{name}-{}", std::process::id()));
        fs::create_dir_all(all.join("root")).expect("a directory of ours");
        fs::create_dir(all.join("outside")).expect("a directory of ours");
        let root = fs::File::open(all.join("root")).expect("it is there");
        Self { all, root }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.all.join("root").join(inside)
    }

    fn link(&self, at: &str, target: &str) {
        symlink(target, self.path(at)).expect("the link can be made");
    }

    fn directory(&self, path: &str) -> Result<u64> {
        let path = CString::new(path).expect("without NUL");
        let made = make_directory(Fd::from(self.root.as_fd()), &path)?;
        Ok(fd::stat(made.0)?.ino)
    }

    /// Makes `path` and expects it to be the directory `found`.
    fn leads_to(&self, path: &str, found: &str) {
        let inode = self.directory(path).expect(path);
        assert_eq!(inode, fs::metadata(self.path(found)).expect(found).ino(), "{path} is {found}");
        assert_eq!(fs::read_dir(self.all.join("outside")).expect("it is there").count(), 0, "{path} went outside");
    }

    fn refused(&self, path: &str) -> Errno {
        self.directory(path).map(drop).expect_err(path).errno
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.all);
    }
}

#[test]
fn missing_parts_are_made_with_mode_0755_and_existing_ones_are_kept() {
    let tree = Tree::new("plain");
    fs::create_dir(tree.path("a")).expect("new");
    fs::set_permissions(tree.path("a"), fs::Permissions::from_mode(0o700)).expect("ours");
    tree.leads_to("/a/b//c/./d/", "a/b/c/d");
    tree.leads_to("/a/b/c", "a/b/c");
    tree.leads_to("/", "");
    let mode = |path: &str| fs::metadata(tree.path(path)).expect(path).mode() & 0o7777;
    assert_eq!(mode("a"), 0o700);
    assert_eq!(mode("a/b/c") & !0o755, 0, "not more than 0755; less with this process's umask");
}

#[test]
fn absolute_links_begin_at_the_root() {
    let tree = Tree::new("absolute");
    fs::create_dir_all(tree.path("real/deep")).expect("new");
    tree.link("there", "/real/deep");
    tree.leads_to("/there", "real/deep");
    tree.leads_to("/there/new/one", "real/deep/new/one");
    tree.link("host", tree.all.join("outside").to_str().expect("text"));
    let at = std::format!("{}/outside/x", tree.all.display());
    tree.leads_to("/host/x", at.trim_start_matches('/'));
}

#[test]
fn two_dots_end_at_the_root() {
    let tree = Tree::new("dots");
    tree.leads_to("/../../made", "made");
    tree.link("up", "../../../../outside");
    tree.leads_to("/up/x", "outside/x");
    fs::create_dir_all(tree.path("d/e")).expect("new");
    tree.link("inside", "d/e/../new");
    tree.leads_to("/inside/y", "d/new/y");
}

#[test]
fn dangling_links_are_filled_in_inside_the_root() {
    let tree = Tree::new("dangling");
    fs::create_dir(tree.path("dir")).expect("new");
    tree.link("dir/relative", "a/b");
    tree.leads_to("/dir/relative/c", "dir/a/b/c");
    tree.link("absolute", "/not/there");
    tree.leads_to("/absolute", "not/there");
    tree.link("to-dir", "dir");
    tree.link("dir/up", "../beside/x");
    tree.leads_to("/to-dir/up/y", "beside/x/y");
}

#[test]
fn loops_are_refused_lnx_156() {
    let tree = Tree::new("loops");
    tree.link("self", "self");
    tree.link("a", "b");
    tree.link("b", "/a");
    tree.link("grows", "grows/x");
    for path in ["/self", "/self/x", "/a", "/a/x/y", "/grows", "/grows/z"] {
        assert_eq!(tree.refused(path), Errno::LOOP, "{path}");
    }
}

/// The kernel follows 40 links; a link that dangles counts once, however often it is looked at.
#[test]
fn long_chains_end_somewhere() {
    let tree = Tree::new("chains");
    let chain = |name: &str, length: u32| {
        for link in 1..length {
            tree.link(&std::format!("{name}{link}"), &std::format!("{name}{}", link + 1));
        }
        tree.link(&std::format!("{name}{length}"), &std::format!("{name}-end"));
    };
    fs::create_dir(tree.path("whole-end")).expect("new");
    chain("whole", 40);
    tree.leads_to("/whole1/x", "whole-end/x");
    chain("torn", 39);
    tree.leads_to("/torn1/x", "torn-end/x");
    chain("long", 41);
    assert_eq!(tree.refused("/long1"), Errno::LOOP);
    assert_eq!(tree.refused("/long1/x"), Errno::LOOP);
    assert!(!tree.path("long-end").exists(), "nothing is made behind a chain that is too long");
}

#[test]
fn files_in_the_way_and_names_too_long_are_refused() {
    let tree = Tree::new("refused");
    fs::write(tree.path("file"), "x").expect("new");
    assert_eq!(tree.refused("/file/x"), Errno::NOTDIR);
    assert_eq!(tree.refused(&std::format!("/{}", "n".repeat(256))), Errno::NAMETOOLONG);
    assert_eq!(tree.refused(&"/d".repeat(2500)), Errno::NAMETOOLONG);
    assert_eq!(tree.refused("/missing/../x"), Errno::NOENT);
}

#[test]
fn files_are_made_empty_and_what_is_there_is_returned() {
    let tree = Tree::new("files");
    let root = Fd::from(tree.root.as_fd());
    fs::write(tree.path("old"), "kept").expect("new");
    tree.link("to-old", "/old");
    tree.link("to-new", "deep/new");
    drop(make_file(root, c"/to-old").expect("it is there"));
    drop(make_file(root, c"/to-new").expect("it can be made"));
    drop(make_file(root, c"/x/y/z").expect("it can be made"));
    assert_eq!(fs::read(tree.path("old")).expect("it is there"), b"kept");
    assert!(fs::metadata(tree.path("deep/new")).is_ok_and(|m| m.is_file() && m.len() == 0));
    assert!(fs::metadata(tree.path("x/y/z")).is_ok_and(|m| m.is_file()));
}

#[test]
fn a_parent_has_a_name_below_it() {
    let tree = Tree::new("parent");
    let root = Fd::from(tree.root.as_fd());
    let name = |path: &CStr| make_parent(root, path).map(|(_, name)| CString::from(name.as_cstr()));
    assert_eq!(name(c"/dev/null").as_deref(), Ok(c"null"));
    assert_eq!(name(c"/dev/null//").as_deref(), Ok(c"null"));
    assert_eq!(name(c"top").as_deref(), Ok(c"top"));
    for path in [c"/", c"", c"/dev/..", c"/dev/."] {
        assert_eq!(name(path).map(drop).map_err(|fault| fault.errno), Err(Errno::INVAL), "{path:?}");
    }
}

#[test]
fn an_ordinary_directory_is_not_reached_over_a_link() {
    let tree = Tree::new("ordinary");
    fs::create_dir_all(tree.path("real/sub")).expect("new");
    tree.link("link", "real");
    let root = Fd::from(tree.root.as_fd());
    assert!(find(root, c"/link/sub", open::DIRECTORY).is_ok());
    assert!(find_ordinary(root, c"/real/sub", open::DIRECTORY).is_ok());
    let fault = find_ordinary(root, c"/link/sub", open::DIRECTORY).map(drop).expect_err("CVE-2019-19921");
    assert_eq!(fault.errno, Errno::LOOP);
}
