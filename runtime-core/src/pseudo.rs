//! Files that the kernel makes up while they are read: those of procfs, sysfs and cgroup2.
//!
//! Their size is not known before, so that asking for it is in vain, and growing a buffer from 32 bytes takes as many
//! reads as doublings. A page takes nearly all of them at once.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const PAGE: usize = 4096;

/// All that `file` yields from where it stands.
pub(crate) fn text_of(file: File) -> io::Result<String> {
    String::from_utf8(bytes_of(file)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The same of a file that may hold anything, for example the name of a process.
pub(crate) fn bytes_of(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(PAGE);
    // `File` itself would ask for the size and the place first.
    file.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All of the file at `path`.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    text_of(File::open(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_longer_than_a_page_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (path, long) = (dir.path().join("long"), "line\n".repeat(5000));
        std::fs::write(&path, &long).unwrap();
        assert_eq!(read(&path).unwrap(), long);
        assert!(read("/proc/self/status").unwrap().contains("\nPid:"));
    }
}
