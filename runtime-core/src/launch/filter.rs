//! The compiled filter: left to init in the Frame, and kept beside the container's state for every later process.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use crate::container::ContainerDir;
use crate::error::{Error, Result, StateProblem, StepError};
use crate::seccomp::LIMIT;

/// Name of the file in the container's directory.
const FILE: &str = "filter.bpf";
/// `struct sock_filter`.
const INSTRUCTION: usize = 8;

/// Keeps `program` for the container's life.
pub(super) fn keep(dir: &ContainerDir, program: &[u64]) -> Result<()> {
    let bytes: Vec<u8> = program.iter().flat_map(|instruction| instruction.to_ne_bytes()).collect();
    let mut file = File::from(dir.open_file(FILE, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?);
    let failed = |e| StepError::io(None, format!("write {}", dir.path().join(FILE).display()), "write", &e);
    Ok(file.write_all(&bytes).map_err(failed)?)
}

/// The program that [`keep`] wrote. Nothing else is executed in its place: a file that somebody else could have written,
/// or that is not as long as a program can be, is an error.
pub(super) fn kept(dir: &ContainerDir) -> Result<Vec<u64>> {
    let path = dir.path().join(FILE);
    let damaged =
        |problem: String| Error::state(dir.id().as_str(), StateProblem::Record { path: path.clone(), problem });
    let file = match dir.open_file(FILE, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        Err(Error::Step(step)) if step.errno == Errno::ENOENT => return Err(damaged("missing".to_owned())),
        other => File::from(other?),
    };
    let failed = |call| move |e: std::io::Error| StepError::io(None, "read the kept filter", call, &e);
    let found = file.metadata().map_err(failed("fstat"))?;
    let caller = geteuid().as_raw();
    if !found.is_file() || found.uid() != caller || found.mode() & 0o022 != 0 {
        let problem = format!("has mode {:o} and belongs to uid {}", found.mode(), found.uid());
        return Err(damaged(format!("{problem}; expected a file that only uid {caller} can write")));
    }
    let mut bytes = Vec::new();
    file.take((LIMIT * INSTRUCTION) as u64 + 1).read_to_end(&mut bytes).map_err(failed("read"))?;
    let (instructions, rest) = bytes.as_chunks::<INSTRUCTION>();
    if !rest.is_empty() || instructions.is_empty() || instructions.len() > LIMIT {
        return Err(damaged(format!("{} bytes are no filter", bytes.len())));
    }
    Ok(instructions.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::container::store::test_dir;

    #[test]
    fn what_was_kept_comes_back() {
        let (_tmp, dir) = test_dir("c1");
        let program: Vec<u64> = (1..=LIMIT as u64).collect();
        keep(&dir, &program).expect("the directory is writable");
        assert_eq!(kept(&dir).expect("it is there"), program);
        assert!(keep(&dir, &program).is_err(), "a container has one filter");
    }

    #[test]
    fn anything_else_is_refused() {
        let (_tmp, dir) = test_dir("c1");
        let refused = |why: &str| {
            let text = kept(&dir).expect_err(why).to_string();
            assert!(text.contains(FILE), "{why}: {text}");
        };
        refused("missing");
        let path = dir.path().join(FILE);
        for len in [0, 1, 7, 9, LIMIT * INSTRUCTION + 1, (LIMIT + 1) * INSTRUCTION] {
            std::fs::write(&path, vec![6; len]).expect("the directory is writable");
            refused("length");
        }
        std::fs::write(&path, [6; INSTRUCTION]).expect("the directory is writable");
        std::fs::set_permissions(&path, Permissions::from_mode(0o620)).expect("it is ours");
        refused("writable by others");
        std::fs::rename(&path, dir.path().join("other")).expect("the directory is writable");
        symlink("other", &path).expect("the directory is writable");
        refused("a link");
        std::fs::remove_file(&path).expect("the directory is writable");
        std::fs::create_dir(&path).expect("the directory is writable");
        refused("a directory");
    }
}
