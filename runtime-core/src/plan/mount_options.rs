//! The words of `mounts[].options`: one table, read in order, the last word wins.
//!
//! Source: runtime-spec, config.md "Linux mount options"; mount(8); the words of runc 1.5.

#![forbid(unsafe_code)]

use runtime_init::sys::mount::{attr, propagation};

/// What one word does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Set(u64),
    Clear(u64),
    Atime(u64),
    SetAll(u64),
    ClearAll(u64),
    AtimeAll(u64),
    NotStrict,
    NotStrictAll,
    Propagation(u64),
    PropagationAll(u64),
    Bind,
    BindAll,
    Remount,
    /// A flag of the superblock, which a bind cannot change.
    Superblock(&'static str),
    /// The ids of files are mapped; true for all mounts below as well.
    Map(bool),
    /// What a tmpfs covers is copied into it.
    CopyUp,
    /// A link is taken as it is, in the place named.
    AsItIs(Place),
    /// Accepted without effect: the kernel's default, or gone from the kernel.
    Nothing,
}

/// Where a bind mount may meet a link. The words are crun's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Source,
    Target,
    /// As the source, and the target becomes the same link.
    Both,
}

use Word::{Atime, AtimeAll, Clear, ClearAll, NotStrict, NotStrictAll, Nothing};
use Word::{Propagation, PropagationAll, Set, SetAll, Superblock};

const WORDS: &[(&str, Word)] = &[
    ("async", Superblock("async")),
    ("atime", Atime(attr::RELATIME)),
    ("bind", Word::Bind),
    ("copy-symlink", Word::AsItIs(Place::Both)),
    ("defaults", Nothing),
    ("dest-nofollow", Word::AsItIs(Place::Target)),
    ("dev", Clear(attr::NODEV)),
    ("diratime", Clear(attr::NODIRATIME)),
    ("dirsync", Superblock("dirsync")),
    ("exec", Clear(attr::NOEXEC)),
    ("idmap", Word::Map(false)),
    ("iversion", Nothing),
    ("lazytime", Superblock("lazytime")),
    ("loud", Nothing),
    ("mand", Nothing),
    ("noatime", Atime(attr::NOATIME)),
    ("nodev", Set(attr::NODEV)),
    ("nodiratime", Set(attr::NODIRATIME)),
    ("noexec", Set(attr::NOEXEC)),
    ("noiversion", Nothing),
    ("nolazytime", Superblock("nolazytime")),
    ("nomand", Nothing),
    ("norelatime", Nothing),
    ("nostrictatime", NotStrict),
    ("nosuid", Set(attr::NOSUID)),
    ("nosymfollow", Set(attr::NOSYMFOLLOW)),
    ("private", Propagation(propagation::PRIVATE)),
    ("ratime", AtimeAll(attr::RELATIME)),
    ("rbind", Word::BindAll),
    ("rdev", ClearAll(attr::NODEV)),
    ("rdiratime", ClearAll(attr::NODIRATIME)),
    ("relatime", Atime(attr::RELATIME)),
    ("remount", Word::Remount),
    ("rexec", ClearAll(attr::NOEXEC)),
    ("ridmap", Word::Map(true)),
    ("rnoatime", AtimeAll(attr::NOATIME)),
    ("rnodev", SetAll(attr::NODEV)),
    ("rnodiratime", SetAll(attr::NODIRATIME)),
    ("rnoexec", SetAll(attr::NOEXEC)),
    ("rnorelatime", Nothing),
    ("rnostrictatime", NotStrictAll),
    ("rnosuid", SetAll(attr::NOSUID)),
    ("rnosymfollow", SetAll(attr::NOSYMFOLLOW)),
    ("ro", Set(attr::RDONLY)),
    ("rprivate", PropagationAll(propagation::PRIVATE)),
    ("rrelatime", AtimeAll(attr::RELATIME)),
    ("rro", SetAll(attr::RDONLY)),
    ("rrw", ClearAll(attr::RDONLY)),
    ("rshared", PropagationAll(propagation::SHARED)),
    ("rslave", PropagationAll(propagation::SLAVE)),
    ("rstrictatime", AtimeAll(attr::STRICTATIME)),
    ("rsuid", ClearAll(attr::NOSUID)),
    ("rsymfollow", ClearAll(attr::NOSYMFOLLOW)),
    ("runbindable", PropagationAll(propagation::UNBINDABLE)),
    ("rw", Clear(attr::RDONLY)),
    ("shared", Propagation(propagation::SHARED)),
    ("silent", Nothing),
    ("slave", Propagation(propagation::SLAVE)),
    ("src-nofollow", Word::AsItIs(Place::Source)),
    ("strictatime", Atime(attr::STRICTATIME)),
    ("suid", Clear(attr::NOSUID)),
    ("symfollow", Clear(attr::NOSYMFOLLOW)),
    ("sync", Superblock("sync")),
    ("tmpcopyup", Word::CopyUp),
    ("unbindable", Propagation(propagation::UNBINDABLE)),
];

/// Words that are known; for `features`.
pub(crate) fn known() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(name, _)| *name)
}

/// An option that maps ids, and its place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map {
    pub index: usize,
    pub recursive: bool,
    /// What follows `idmap=`.
    pub maps: Option<String>,
}

/// Attributes to set and to clear; a later word undoes an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub set: u64,
    pub clear: u64,
}

impl Change {
    fn set(&mut self, bits: u64) {
        self.set |= bits;
        self.clear &= !bits;
    }

    fn clear(&mut self, bits: u64) {
        self.clear |= bits;
        self.set &= !bits;
    }

    /// The kernel wants the whole field cleared before one of its values is set (mount_setattr(2)).
    fn atime(&mut self, value: u64) {
        self.set = self.set & !attr::ATIME | value;
        self.clear |= attr::ATIME;
    }

    /// `nostrictatime` is the kernel's default (mount(8)). Another mode that was asked for stays.
    fn not_strict(&mut self) {
        let other = self.clear & attr::ATIME != 0 && self.set & attr::ATIME != attr::STRICTATIME;
        if !other {
            self.atime(attr::RELATIME);
        }
    }
}

/// What a bind mount does with links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    pub source_as_it_is: bool,
    pub target_as_it_is: bool,
    /// A source that is a link is made again at the target.
    pub copied: bool,
    /// The last word about links, by its place in the list.
    pub index: usize,
}

impl Links {
    /// The source is not followed.
    pub const fn end_at_source(self) -> bool {
        self.source_as_it_is || self.copied
    }

    /// Nothing is said about links.
    pub const fn is_empty(self) -> bool {
        !self.end_at_source() && !self.target_as_it_is
    }
}

/// The options of one mount, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub own: Change,
    pub all: Change,
    pub propagation: u64,
    pub propagation_all: u64,
    pub bind: bool,
    pub recursive: bool,
    pub remount: bool,
    /// Options of the file system, as key and value.
    pub data: Vec<(String, Option<String>)>,
    pub idmap: Option<Map>,
    /// The place of `tmpcopyup` in the list.
    pub copy_up: Option<usize>,
    pub links: Links,
}

impl Options {
    pub fn read(words: &[String]) -> Self {
        let mut options = Self::default();
        let mut superblock = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let map = |recursive, maps: &str| {
                let maps = Some(maps.to_owned()).filter(|maps| !maps.is_empty());
                Some(Map { index, recursive, maps })
            };
            match (WORDS.binary_search_by_key(&word.as_str(), |(name, _)| name), word.split_once('=')) {
                (Ok(found), _) => options.apply(WORDS[found].1, index, &mut superblock),
                (Err(_), Some(("idmap", maps))) => options.idmap = map(false, maps),
                (Err(_), Some(("ridmap", maps))) => options.idmap = map(true, maps),
                (Err(_), _) => split_data(word, &mut options.data),
            }
        }
        if !options.bind {
            options.data.extend(superblock);
        }
        options
    }

    fn apply(&mut self, word: Word, index: usize, superblock: &mut Vec<(String, Option<String>)>) {
        match word {
            Set(bits) => self.own.set(bits),
            Clear(bits) => self.own.clear(bits),
            Atime(value) => self.own.atime(value),
            SetAll(bits) => self.all.set(bits),
            ClearAll(bits) => self.all.clear(bits),
            AtimeAll(value) => self.all.atime(value),
            NotStrict => self.own.not_strict(),
            NotStrictAll => self.all.not_strict(),
            Propagation(kind) => self.propagation = kind,
            PropagationAll(kind) => self.propagation_all = kind,
            Word::Bind => self.bind = true,
            Word::BindAll => (self.bind, self.recursive) = (true, true),
            Word::Remount => self.remount = true,
            Superblock(flag) => superblock.push((flag.to_owned(), None)),
            Nothing => {}
            Word::Map(recursive) => self.idmap = Some(Map { index, recursive, maps: None }),
            Word::CopyUp => self.copy_up = Some(index),
            Word::AsItIs(place) => {
                self.links.index = index;
                match place {
                    Place::Source => self.links.source_as_it_is = true,
                    Place::Target => self.links.target_as_it_is = true,
                    Place::Both => self.links.copied = true,
                }
            }
        }
    }
}

/// Splits at commas outside double quotes, as mount(8) does for `context="a,b"`.
fn split_data(word: &str, data: &mut Vec<(String, Option<String>)>) {
    let mut quoted = false;
    let is_cut = |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    for part in word.split(is_cut).filter(|part| !part.is_empty()) {
        data.push(match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.trim_matches('"').to_owned())),
            None => (part.to_owned(), None),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Options {
        Options::read(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(WORDS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn cfg_25_later_words_win() {
        assert_eq!(read(&["ro", "rw"]).own, Change { set: 0, clear: attr::RDONLY });
        assert_eq!(read(&["rw", "ro"]).own, Change { set: attr::RDONLY, clear: 0 });
        assert_eq!(read(&["noatime", "strictatime"]).own, Change { set: attr::STRICTATIME, clear: attr::ATIME });
        assert_eq!(read(&["rshared", "rslave"]).propagation_all, propagation::SLAVE);
    }

    #[test]
    fn cfg_20_nostrictatime_undoes_strictatime_only() {
        let relatime = Change { set: attr::RELATIME, clear: attr::ATIME };
        assert_eq!(read(&["nostrictatime"]).own, relatime);
        assert_eq!(read(&["strictatime", "nostrictatime"]).own, relatime);
        assert_eq!(read(&["noatime", "nostrictatime"]).own, read(&["noatime"]).own);
        assert_eq!(read(&["rstrictatime", "rnostrictatime"]).all, relatime);
    }

    #[test]
    fn cfg_18_no_word_of_the_table_leaks_into_the_data() {
        for (name, _) in WORDS {
            let data = read(&[name]).data;
            assert!(data.is_empty() || ["async", "dirsync", "lazytime", "nolazytime", "sync"].contains(name), "{name}");
        }
    }

    #[test]
    fn cfg_41_the_rest_is_data() {
        let data = read(&["size=64k", "mode=0700", "newinstance", "context=\"a:b,c\"", "x,y=1"]).data;
        let expected = [
            ("size", Some("64k")),
            ("mode", Some("0700")),
            ("newinstance", None),
            ("context", Some("a:b,c")),
            ("x", None),
            ("y", Some("1")),
        ];
        let expected: Vec<_> = expected.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        assert_eq!(data, expected);
    }
}
