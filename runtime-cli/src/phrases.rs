//! The phrases by which engines recognise what went wrong, appended to the precise error.
//!
//! Engines have no other way to tell a missing program from a broken runtime than to search the text of
//! the error, and the texts are runc's. Docker makes the exit code of `docker run` of them, containerd and
//! CRI-O learn whether a container is gone already. The precise error comes first, the phrase last, and
//! only if the error does not contain it anyway.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use nix::errno::Errno;
use runtime_core::{Error, StepError};

/// Why a command failed, as its reader gets to see it.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// A failure in words of our own.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// The same behind `prefix`, with another code to exit with than 1.
    #[must_use]
    pub fn of(self, prefix: &str, code: u8) -> Self {
        Self { text: format!("{prefix}: {}", self.text), code }
    }

    /// The code to exit with.
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// A file could not be read, written or made. The errno is given by its name only: engines would
    /// take its text for an error about the container's program.
    pub fn file(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        let path = path.display();
        match error.raw_os_error() {
            Some(errno) => Self::new(format!("{doing} {path}: {:?}", Errno::from_raw(errno))),
            None => Self::new(format!("{doing} {path}: {error}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match phrase(&error) {
            Some(phrase) if !text.contains(&*phrase) => Self::new(format!("{text}: {phrase}")),
            _ => Self::new(text),
        }
    }
}

/// What engines search for in an error of this kind. Errors about a container's state say it themselves.
fn phrase(error: &Error) -> Option<Cow<'static, str>> {
    match error {
        Error::Step(step) if is_about_program(step) => of_program(step),
        // The process ended between the look at its state and the signal.
        Error::Step(step) if step.errno() == Errno::ESRCH as i32 && step.call.contains("signal") => {
            Some("container not running".into())
        }
        // A cgroup that passes controllers on takes no processes.
        Error::Step(step) if step.errno() == Errno::EBUSY as i32 && step.call == "clone3" => {
            Some("error adding pid of init to cgroups: device or resource busy".into())
        }
        _ => None,
    }
}

/// Whether the step looks for the container's program or executes it.
fn is_about_program(step: &StepError) -> bool {
    step.origin.as_ref().is_some_and(|origin| origin.as_str().starts_with("process.args"))
}

fn of_program(step: &StepError) -> Option<Cow<'static, str>> {
    let words = match Errno::from_raw(step.errno()) {
        Errno::ENOENT if is_bare(step) => "executable file not found in $PATH",
        Errno::ENOENT => "no such file or directory",
        Errno::EACCES => "permission denied",
        Errno::EPERM => "operation not permitted",
        Errno::EISDIR => "is a directory",
        Errno::ENOTDIR => "not a directory",
        Errno::ENOEXEC => "exec format error",
        _ => return None,
    };
    // The line that people search for when an entrypoint is of another machine or has a wrong first line.
    let executed = step.doing.strip_prefix("execute ");
    Some(executed.map_or(words.into(), |program| format!("exec {program}: {words}").into()))
}

/// Whether a name was looked for in `PATH`. When a program that was found is executed, `ENOENT` is about its interpreter.
fn is_bare(step: &StepError) -> bool {
    step.doing.strip_prefix("find ").is_some_and(|name| !name.contains('/'))
}

#[cfg(test)]
#[path = "phrases_tests.rs"]
mod tests;
