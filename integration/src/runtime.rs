//! The binary under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which runtime the binary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The runtime of this repository.
    Ours,
    /// The same built with `--cfg naive_paths`, in a file called `naive`: the control of the tests of paths.
    Naive,
    /// opencontainers/runc.
    Runc,
    /// containers/crun.
    Crun,
}

/// The binary under test, found once and never changed.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Absolute path of the binary.
    pub path: PathBuf,
    /// Which runtime it says it is.
    pub name: Name,
    /// First line of its `--version`.
    pub version: String,
}

impl Runtime {
    /// The binary named by `RUNTIME`: an absolute path, one relative to the current directory or to
    /// the workspace, or a bare name looked up in `PATH`.
    pub fn from_environment() -> Result<Runtime, String> {
        let word = env::var_os("RUNTIME").ok_or("RUNTIME is not set: name the binary under test")?;
        let path = find(Path::new(&word)).ok_or_else(|| format!("RUNTIME={}: no such file", word.display()))?;
        let output = Command::new(&path)
            .arg("--version")
            .output()
            .map_err(|error| format!("{} --version: {error}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.lines().next().unwrap_or_default().to_string();
        let name = match version.split_whitespace().next() {
            Some("runc") => Name::Runc,
            Some("crun") => Name::Crun,
            _ if path.file_name().is_some_and(|name| name == "naive") => Name::Naive,
            _ => Name::Ours,
        };
        Ok(Runtime { path, name, version })
    }

    /// Whether this is runc.
    pub fn is_runc(&self) -> bool {
        self.name == Name::Runc
    }

    /// Whether this is the runtime of this repository.
    pub fn is_ours(&self) -> bool {
        matches!(self.name, Name::Ours | Name::Naive)
    }
}

fn find(word: &Path) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let bare = word.components().count() == 1;
    let folders = env::var_os("PATH").filter(|_| bare).unwrap_or_default();
    let here = [env::current_dir().ok()?, workspace.to_path_buf()];
    let found = env::split_paths(&folders).chain(here).map(|folder| folder.join(word)).find(|path| path.is_file());
    found?.canonicalize().ok()
}
