//! The file of `--pid-file`.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{File, remove_file, rename};
use std::io::Write;
use std::path::Path;

use crate::phrases::Failure;

/// Writes the number, and nothing behind it: go-runc and conmon-rs refuse a line end. It is written under
/// another name first, so that a reader who finds the file finds all of it.
pub fn write(path: &Path, pid: i32) -> Result<(), Failure> {
    let failed = |error| Failure::file("write the pid file", path, &error);
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or_else(|| failed(std::io::ErrorKind::IsADirectory.into()))?);
    name.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(name);
    let written =
        File::create_new(&draft).and_then(|mut file| write!(file, "{pid}")).and_then(|()| rename(&draft, path));
    written.map_err(|error| {
        let _ = remove_file(&draft);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_digits_and_replaces_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        write(&path, 12345).unwrap();
        write(&path, 42).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"42");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            write(&dir.path().join("no/pid"), 1).unwrap_err().to_string(),
            format!("write the pid file {}/no/pid: ENOENT", dir.path().display())
        );
        std::fs::create_dir(dir.path().join("pid")).unwrap();
        assert!(write(&dir.path().join("pid"), 1).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(Path::new("/"), 1).is_err());
    }
}
