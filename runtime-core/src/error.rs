//! What can go wrong, sorted by who has to act.
//!
//! An error is a value that is printed once, by whoever shows it to a person. Its text says which
//! field of `config.json` asked, what was being done, which system call refused and with which errno.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::at::ConfigPath;

pub(crate) use nix::errno::Errno;

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate. The variants answer "who has to act".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `config.json` has to change.
    #[error("{at}: {problem}")]
    Config {
        /// The field that is wrong.
        at: ConfigPath,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The kernel refused something that the plan asks for.
    #[error(transparent)]
    Step(Box<StepError>),
    /// Init ended before it executed the program.
    #[error("init {how} at {at}")]
    Died {
        /// How it ended.
        how: Death,
        /// Where it was in the plan.
        at: StepRef,
    },
    /// A hook failed.
    #[error("error running {phase} hook #{index}: {problem}")]
    Hook {
        /// The name of the list in `hooks`.
        phase: &'static str,
        /// Its place in that list, from 0.
        index: usize,
        /// How it failed, with what it printed.
        problem: String,
    },
    /// The container is not in the state that the operation needs.
    #[error("{problem}")]
    State {
        /// The id that was given.
        id: String,
        /// What does not fit.
        problem: StateProblem,
    },
    /// This machine lacks something.
    #[error("{what}")]
    Host {
        /// What is missing.
        what: Need,
    },
}

/// What is wrong with a field of `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A required field is absent.
    #[error("missing: expected {expected}")]
    Missing {
        /// What belongs there.
        expected: Cow<'static, str>,
    },
    /// The value is of the right type, but not one that the field can have.
    #[error("{value}: expected {expected}")]
    Invalid {
        /// The value as given, quoted where it is a string.
        value: String,
        /// What would be right.
        expected: Cow<'static, str>,
    },
    /// The value is well formed, but will not be carried out. The text says why and what to do.
    #[error("{reason}")]
    Refused {
        /// Why, and what helps.
        reason: Cow<'static, str>,
    },
    /// The text is not JSON, or not of the type that the field has, as a word that the type does not know (`RLIMIT_FOO`).
    #[error("{}{message}", .place.map_or(String::new(), |(line, column)| format!("line {line}, column {column}: ")))]
    Json {
        /// Line and column, from 1, where they are known.
        place: Option<(usize, usize)>,
        /// What the parser says.
        message: String,
    },
}

/// One refused step: what the plan wanted and what the kernel said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepError {
    /// The field that asked for the step; `None` for what every container gets.
    pub origin: Option<ConfigPath>,
    /// The step in the words of the printed plan: `mount tmpfs on /run`.
    pub doing: String,
    /// Name of the system call, or of the check of ours, that failed.
    pub call: &'static str,
    /// What it returned.
    pub(crate) errno: Errno,
    /// More than the errno, where the kernel or a check gave it.
    pub detail: Option<String>,
    /// Who was carrying the step out.
    pub side: Side,
    /// Number of the line in that side's column of the plan; 0 where there is no plan.
    pub step: u16,
}

/// The two columns of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller's process.
    Host,
    /// The process that becomes the container's program.
    Init,
}

impl StepError {
    /// An error of the host's side without an asking field, for programs that report failures of their own in the same words.
    /// `call` is the name of a system call, `errno` what it returned.
    #[must_use]
    pub fn new(doing: impl Into<String>, call: &'static str, errno: i32) -> Self {
        Self::host(None, doing, call, Errno::from_raw(errno))
    }

    /// What the call returned, a number as in errno(3).
    #[must_use]
    pub const fn errno(&self) -> i32 {
        self.errno as i32
    }

    /// A refusal on the host side, outside any numbered line.
    pub(crate) fn host(origin: Option<ConfigPath>, doing: impl Into<String>, call: &'static str, errno: Errno) -> Self {
        Self { origin, doing: doing.into(), call, errno, detail: None, side: Side::Host, step: 0 }
    }

    /// The same from a [`std::io::Error`]; one that carries no errno becomes `EIO` with its text as detail.
    pub(crate) fn io(
        origin: Option<ConfigPath>,
        doing: impl Into<String>,
        call: &'static str,
        error: &std::io::Error,
    ) -> Self {
        let mut this = Self::host(origin, doing, call, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
        if error.raw_os_error().is_none() {
            this.detail = Some(error.to_string());
        }
        this
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{}: {}: {:?} ({})", self.doing, self.call, self.errno, lower(self.errno.desc()))?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StepError {}

/// The kernel's words as runc writes them, with a small first letter: engines compare them to the letter.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

impl From<Need> for Error {
    fn from(what: Need) -> Self {
        Self::Host { what }
    }
}

impl From<StepError> for Error {
    fn from(error: StepError) -> Self {
        Self::Step(Box::new(error))
    }
}

/// How init ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Death {
    /// It exited without having reported a fault.
    Exited(i32),
    /// A signal ended it; with the memory events of its cgroup if the OOM killer was involved.
    Signaled {
        /// Number of the signal.
        signal: i32,
        /// `memory.events` says that the OOM killer struck: the count and the limit in bytes.
        oom: Option<(u64, Option<u64>)>,
    },
    /// It gave no sign within the deadline and was killed.
    Deadline {
        /// How long it was waited for.
        waited: Duration,
        /// Its cgroup is frozen.
        frozen: bool,
    },
    /// Somebody else reaped it, so that how it ended is not known.
    Unknown,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with status {code}"),
            Self::Signaled { signal, oom } => {
                let name = nix::sys::signal::Signal::try_from(*signal)
                    .map_or("an unknown signal", nix::sys::signal::Signal::as_str);
                write!(f, "was killed by {name}")?;
                if let Some((count, limit)) = oom {
                    write!(f, " (memory.events: oom_kill {count}")?;
                    if let Some(limit) = limit {
                        write!(f, ", limit {limit}")?;
                    }
                    write!(f, ")")?;
                }
                Ok(())
            }
            Self::Deadline { waited, frozen } => {
                write!(f, "gave no sign for {} s", waited.as_secs())?;
                if *frozen { write!(f, " (its cgroup is frozen)") } else { Ok(()) }
            }
            Self::Unknown => write!(f, "is gone"),
        }
    }
}

/// A line of the plan's init column, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepRef {
    /// Number of the line, from 1; 0 before the first.
    pub step: u16,
    /// Its text.
    pub doing: String,
    /// The field that asked for it.
    pub origin: Option<ConfigPath>,
}

impl fmt::Display for StepRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.step, self.doing)?;
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None => Ok(()),
        }
    }
}

/// What does not fit between a container and an operation on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateProblem {
    /// The id is not one that a container can have.
    #[error(
        "{0:?} has an invalid container ID format: expected 1 to 255 of the characters A-Z a-z 0-9 _ + . -, and neither \".\" nor \"..\""
    )]
    InvalidId(String),
    /// No container of that id.
    #[error("container does not exist")]
    DoesNotExist,
    /// The id is taken.
    #[error("container with given ID already exists")]
    AlreadyExists,
    /// The plan is one for another container.
    #[error("the plan is for the container {planned:?}: it has its name and its cgroup")]
    OtherPlan {
        /// The id in the plan's [`crate::CreateOptions`].
        planned: String,
    },
    /// The operation needs another status. Where engines look for certain words, they are at the end.
    #[error("{}", status_refused(verb, *status))]
    Status {
        /// What was wanted.
        verb: &'static str,
        /// What the container is.
        status: crate::container::Status,
    },
    /// The container still runs, and its deletion was not forced.
    #[error("cannot delete container {id} that is not stopped: {status}")]
    NotStopped {
        /// The container.
        id: String,
        /// What it is instead.
        status: crate::container::Status,
    },
    /// The root directory cannot be used.
    #[error("root directory {path:?}: {problem}")]
    Root {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The container's record cannot be used.
    #[error("{path}: {problem}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The container's record was written by a newer version, which has to be used for it.
    #[error("{path}: written by a newer version of this program: {what}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// What this version does not know.
        what: String,
    },
    /// Somebody else works on the container and did not finish in time.
    #[error("another command has been working on this container for {} s", .waited.as_secs())]
    Busy {
        /// How long the lock was waited for.
        waited: Duration,
    },
    /// Processes of the container outlived SIGKILL.
    #[error("processes of the container are still alive {} s after SIGKILL", .waited.as_secs())]
    Lingers {
        /// How long their end was waited for.
        waited: Duration,
    },
    /// There is no program to start.
    #[error("process: missing: a container without it can be created, but not started")]
    NoProcess,
}

/// The refusal, with runc's words at its end. A container in the making gets none of those that mean
/// "it has ended": an engine would clear up behind the back of the command that makes it.
fn status_refused(verb: &str, status: crate::container::Status) -> String {
    use crate::container::Status;
    match (verb, status) {
        ("start", Status::Stopped) => "container is stopped: cannot start a container that has stopped".to_owned(),
        ("start", Status::Running) => "container is running: cannot start an already running container".to_owned(),
        ("start", _) => format!("cannot start a container in the {status} state"),
        ("exec in", Status::Stopped) => "container not running: cannot exec in a stopped container".to_owned(),
        ("exec in", Status::Paused) => "cannot exec in a paused container (use --ignore-paused to override)".to_owned(),
        (_, Status::Stopped) => format!("cannot {verb} a container that is stopped: container not running"),
        ("resume", _) => format!("cannot resume a container that is {status}: container not paused"),
        _ => format!("cannot {verb} a container that is {status}"),
    }
}

/// Something this machine would have to offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Need {
    /// A cgroup controller.
    #[error("{at}: cgroup controller {controller:?} {why}")]
    Controller {
        /// The field that needs it.
        at: ConfigPath,
        /// Its kernel name.
        controller: String,
        /// Where it is instead.
        why: &'static str,
    },
    /// The resctrl file system.
    #[error(
        "{at}: resctrl is not mounted; where the processor has Intel RDT: mount -t resctrl resctrl /sys/fs/resctrl"
    )]
    Resctrl {
        /// The field that needs it.
        at: ConfigPath,
    },
    /// A mounted cgroup2 hierarchy.
    #[error(
        "no cgroup2 hierarchy is mounted on /sys/fs/cgroup or /sys/fs/cgroup/unified; mount one with: mount -t cgroup2 cgroup2 /sys/fs/cgroup"
    )]
    Cgroup2,
    /// A procfs on `/proc`.
    #[error("/proc is not a procfs: {0}")]
    Procfs(String),
    /// The mount points of procfs and sysfs, which a plan without pivot_root needs.
    #[error("--no-pivot needs the mount points of procfs and sysfs: plan it with Host::with_kernel_mounts")]
    KernelMounts,
    /// Leave to execute a memory file.
    #[error(
        "init cannot be executed from a memory file: {call}: {:?}; set the sysctl vm.memfd_noexec to 0 or 1, or allow it in \
         the security policy of the caller, or use an installed copy of init (--init FILE, InitImage::open)",
        Errno::from_raw(*errno)
    )]
    MemfdExec {
        /// What was refused: `memfd_create` or `execveat`.
        call: &'static str,
        /// With what: a number as in errno(3).
        errno: i32,
    },
    /// An installed init that can be used.
    #[error("init {}: {problem}", .path.display())]
    Init {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A program of the host.
    #[error("{program} is not installed in /usr/bin, /usr/sbin, /bin, /sbin or PATH: {purpose}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it is needed for.
        purpose: &'static str,
    },
}

impl Error {
    /// A field is absent.
    pub(crate) fn missing(at: ConfigPath, expected: impl Into<Cow<'static, str>>) -> Self {
        Self::Config { at, problem: Problem::Missing { expected: expected.into() } }
    }

    /// A field has a value that it cannot have. `value` is printed with `Debug`, so that a string is quoted.
    pub(crate) fn invalid(at: ConfigPath, value: impl fmt::Debug, expected: impl Into<Cow<'static, str>>) -> Self {
        Self::Config { at, problem: Problem::Invalid { value: format!("{value:?}"), expected: expected.into() } }
    }

    /// A field asks for something that is not done here.
    pub(crate) fn refused(at: ConfigPath, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Config { at, problem: Problem::Refused { reason: reason.into() } }
    }

    /// The container `id` does not fit the operation.
    pub(crate) fn state(id: impl Into<String>, problem: StateProblem) -> Self {
        Self::State { id: id.into(), problem }
    }

    /// The state problem, if it is one.
    #[must_use]
    pub fn state_problem(&self) -> Option<&StateProblem> {
        match self {
            Self::State { problem, .. } => Some(problem),
            _ => None,
        }
    }
}
