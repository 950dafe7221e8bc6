//! The directory with the containers' records.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use regex::Regex;
use runtime_core::{Container, Error, StateProblem, Store};

use crate::phrases::Failure;

/// Opens the directory if it is there: who looks at containers makes nothing, and may not have the right to.
pub fn open(root: Option<&Path>) -> Result<Option<Store>, Failure> {
    let place = Place::find(root);
    match place.path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        _ => Ok(Some(Store::open(place.path)?)),
    }
}

/// The container `id`.
pub fn container(root: Option<&Path>, id: &str) -> Result<Container, Failure> {
    match open(root)? {
        Some(store) => Ok(store.load(id)?),
        None => Err(missing(id)),
    }
}

/// The names that `pattern` matches, anywhere in them, as crun's `--regex` does.
pub fn matching(root: Option<&Path>, pattern: &str) -> Result<Vec<String>, Failure> {
    let regex = Regex::new(pattern).map_err(|error| {
        // What is wrong is on the last line; those before it are a drawing.
        let text = error.to_string();
        let problem = text.lines().last().unwrap_or_default();
        let problem = problem.strip_prefix("error: ").unwrap_or(problem);
        Failure::new(format!("--regex: {pattern:?} is no regular expression: {problem}"))
    })?;
    let Some(store) = open(root)? else { return Ok(Vec::new()) };
    Ok(store.list()?.into_iter().map(|(id, _)| id).filter(|id| regex.is_match(id)).collect())
}

/// The failure of a command whose container is not there.
pub fn missing(id: &str) -> Failure {
    Error::State { id: id.to_owned(), problem: StateProblem::DoesNotExist }.into()
}

/// Opens the directory, and makes it if it is not there, for a new container.
pub fn open_for_new(root: Option<&Path>) -> Result<Store, Failure> {
    let place = Place::find(root);
    if place.is_in_xdg_dir {
        // The sticky bit keeps cleaners of the user's runtime directory away from it.
        let made = DirBuilder::new().recursive(true).mode(0o1700).create(&place.path);
        made.map_err(|error| Failure::file("make", &place.path, &error))?;
    }
    Ok(Store::open(place.path)?)
}

struct Place {
    path: PathBuf,
    is_in_xdg_dir: bool,
}

impl Place {
    fn find(root: Option<&Path>) -> Self {
        match root {
            Some(root) => Self { path: root.to_owned(), is_in_xdg_dir: false },
            None => Self::default_of(std::env::var_os("XDG_RUNTIME_DIR").filter(|_| acts_for_a_user())),
        }
    }

    /// The name is fixed: every command has to find it, by whatever name the program is called.
    fn default_of(xdg_runtime_dir: Option<OsString>) -> Self {
        match xdg_runtime_dir.filter(|dir| !dir.is_empty()) {
            Some(dir) => Self { path: PathBuf::from(dir).join("runtime"), is_in_xdg_dir: true },
            None => Self { path: PathBuf::from("/run/runtime"), is_in_xdg_dir: false },
        }
    }
}

/// Whether the caller is a user without the rights of root. Root of a user namespace is one as well,
/// unless it was made root by a login: Podman without root calls from such a namespace.
fn acts_for_a_user() -> bool {
    if !geteuid().is_root() {
        return true;
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    is_of_a_user_namespace(&map) && std::env::var_os("USER").is_none_or(|user| user != "root")
}

/// Whether a `uid_map` is of another user namespace than the first one, where each id is itself.
fn is_of_a_user_namespace(map: &str) -> bool {
    let words: Vec<&str> = map.split_whitespace().collect();
    !words.is_empty() && words != ["0", "0", "4294967295"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_does_not_depend_on_the_name_of_the_program() {
        assert_eq!(Place::default_of(None).path, Path::new("/run/runtime"));
        assert_eq!(Place::default_of(Some("".into())).path, Path::new("/run/runtime"));
        assert_eq!(Place::default_of(Some("/run/user/7".into())).path, Path::new("/run/user/7/runtime"));
        assert_eq!(Place::find(Some(Path::new("x"))).path, Path::new("x"));
    }

    #[test]
    fn user_namespaces_are_recognised_by_their_map() {
        assert!(!is_of_a_user_namespace("         0          0 4294967295\n"));
        assert!(is_of_a_user_namespace("         0       1000          1\n         1     100000      65536\n"));
        assert!(!is_of_a_user_namespace(""));
    }
}
