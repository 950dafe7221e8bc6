//! Every option of every command, and what kind of word each of them takes.
//!
//! Names, letters and meanings are runc's. [`crate::argv`] brings the words that engines really write
//! into the one form that is parsed here, so these definitions serve `--help`, the man pages and the
//! completions as well. The text of an error is complete as it stands: it is printed as the only line.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use nix::sys::signal::Signal;

/// Open Container Initiative runtime: runs containers as its specification describes them
#[derive(Debug, Parser)]
#[command(name = "runtime", disable_help_subcommand = true, args_override_self = true)]
pub struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do; without it the help is printed.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options that every command understands, before or after its name.
#[derive(Debug, Args)]
pub struct Globals {
    /// Directory with the containers' records; without it /run/runtime, or $XDG_RUNTIME_DIR/runtime for users other than root
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Installed init to begin processes with, where memory files may not be executed (sysctl vm.memfd_noexec, IPE, fapolicyd)
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// File to append errors and warnings to; errors are written on standard error as well
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How lines of the log are written
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = log_format)]
    pub log_format: LogFormat,
    /// Log what is done as well
    #[arg(long)]
    pub debug: bool,
    /// File to write a trace to: each step of the host, of the usher and of init, for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Have systemd make the cgroup (not supported yet); commands on an existing container go by its record instead
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// true, false or auto; accepted for runc's callers: what the caller may do is found out in any case
    #[arg(long, value_name = "BOOL", default_value = "auto", value_parser = rootless)]
    pub rootless: Rootless,
    /// Print the versions of the program, its commit, the specification and libseccomp
    #[arg(long, short = 'v')]
    pub version: bool,
}

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `time="…" level=error msg="…"`.
    Text,
    /// One JSON object per line.
    Json,
}

/// A value of `--rootless`, of which it is only known that runc takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rootless;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a container: everything but its program, which `start` runs
    Create(CreateArgs),
    /// Run the program of a created container
    Start(ContainerArgs),
    /// Stop every process of a container where it is
    Pause(ContainerArgs),
    /// Let the processes of a paused container go on
    Resume(ContainerArgs),
    /// Make a container, run its program and wait for it
    Run(RunArgs),
    /// Run one more program in a container
    Exec(Box<ExecArgs>),
    /// Print the state of a container as JSON
    State(ContainerArgs),
    /// List the processes of a container
    Ps(PsArgs),
    /// List the containers
    List(ListArgs),
    /// Send a signal to a container's first process
    Kill(KillArgs),
    /// Remove what is left of a container
    Delete(DeleteArgs),
    /// Write a config.json to start from
    Spec(SpecArgs),
    /// Print what create would do, step by step, without doing it
    Plan(PlanArgs),
    /// Print what this runtime supports as JSON
    Features,
    /// Write what a package installs: man pages, shell completions, and the program of --init
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// What `start` and `state` take.
#[derive(Debug, Args)]
pub struct ContainerArgs {
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// What `create` takes.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What `run` takes as well.
    #[command(flatten)]
    pub new: NewContainer,
    /// Accepted because go-runc may write it; create never waits for the container
    #[arg(long, short, hide = true)]
    pub detach: bool,
}

/// What `run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What `create` takes as well.
    #[command(flatten)]
    pub new: NewContainer,
    /// Do not wait for the container
    #[arg(long, short)]
    pub detach: bool,
    /// Keep the container's record and cgroup after its end, until delete
    #[arg(long)]
    pub keep: bool,
}

/// What the commands that make a container take.
#[derive(Debug, Args)]
pub struct NewContainer {
    /// Directory with config.json
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// File to write the number of the container's first process to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Socket that gets the master side of the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Socket that gets a pidfd of the container's first process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// What `plan` takes as well.
    #[command(flatten)]
    pub choices: PlanChoices,
    /// Number of file descriptors from 3 on to pass to the container, behind those of LISTEN_FDS; unopened ones are left out
    #[arg(long, value_name = "N", default_value = "0", value_parser = preserve_fds)]
    pub preserve_fds: u32,
    /// Do not adopt processes that the container leaves behind while it is waited for
    #[arg(long)]
    pub no_subreaper: bool,
    /// Name of the container, new on this machine
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Options on which the plan of a container depends.
#[derive(Debug, Args)]
pub struct PlanChoices {
    /// Move the root filesystem over / instead of pivot_root; for a root filesystem on an initramfs
    #[arg(long)]
    pub no_pivot: bool,
    /// Leave the container in the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
}

/// What `exec` takes.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// File with the process object to run; without it the container's own is taken, with COMMAND and the following options
    #[arg(long, short, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Changes of the container's own process object.
    #[command(flatten)]
    pub changes: Changes,
    /// Give it a terminal, joined with the caller's unless --detach
    #[arg(long, short)]
    pub tty: bool,
    /// Do not wait for the program
    #[arg(long, short)]
    pub detach: bool,
    /// File to write the number of the process to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Socket that gets the master side of the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Socket that gets a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Number of file descriptors from 3 on to pass to the process; unopened ones are left out
    #[arg(long, value_name = "N", default_value = "0", value_parser = preserve_fds)]
    pub preserve_fds: u32,
    /// Cgroup below the container's to run it in; it has to be there
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Do not refuse a paused container; the program runs when it is resumed
    #[arg(long)]
    pub ignore_paused: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// The program with its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// How the process of `exec` differs from the container's own.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct Changes {
    /// Numbers of its user and group
    #[arg(long, short, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Number of one more group of its user
    #[arg(long, short = 'g', value_name = "GID")]
    pub additional_gids: Vec<String>,
    /// Its working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// One more variable of its environment
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// One more capability, for all sets but the inheritable one
    #[arg(long, short, value_name = "CAPABILITY")]
    pub cap: Vec<String>,
    /// Let it gain no privileges by what it executes
    #[arg(long)]
    pub no_new_privs: bool,
    /// Its AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Its SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
}

/// What `ps` takes.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table", value_parser = format_option)]
    pub format: Format,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Options of ps, for the table; without them -ef
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// What `list` takes.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table", value_parser = format_option)]
    pub format: Format,
    /// Print the names only
    #[arg(long, short)]
    pub quiet: bool,
}

/// What `list` and `ps` print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns with a head.
    Table,
    /// An array.
    Json,
}

/// What `kill` takes.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// Send it to all processes of the container
    #[arg(long, short)]
    pub all: bool,
    /// Take ID for a regular expression: signal every container whose name it matches somewhere; failures are warnings
    #[arg(long, short)]
    pub regex: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Name of the signal with or without SIG, or its number
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", value_parser = signal)]
    pub signal: i32,
}

/// What `delete` takes.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Kill what still runs; succeed if there is no such container
    #[arg(long, short)]
    pub force: bool,
    /// Take ID for a regular expression: delete every container whose name it matches somewhere; failures are warnings
    #[arg(long, short)]
    pub regex: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// What `spec` takes.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Directory to write config.json to
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Write it for a caller without the rights of root
    #[arg(long)]
    pub rootless: bool,
}

/// What `plan` takes.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Directory with config.json
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
    /// What `create` takes as well.
    #[command(flatten)]
    pub choices: PlanChoices,
    /// Name that the container would have
    #[arg(value_name = "ID", default_value = "ID", hide_default_value = true)]
    pub id: String,
}

/// What `generate` takes.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Directory to write to
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// A truth value in any of the spellings that Go's flag package takes.
pub fn boolean(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// The value of `--log-format`.
pub fn log_format(word: &str) -> Result<LogFormat, String> {
    match word {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("invalid log-format: {}", word.escape_debug())),
    }
}

pub fn rootless(word: &str) -> Result<Rootless, String> {
    match boolean(word) {
        None if word != "auto" => {
            Err(format!("invalid value {word:?} for flag --rootless: expected true, false or auto"))
        }
        _ => Ok(Rootless),
    }
}

pub fn preserve_fds(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| format!("invalid value {word:?} for flag --preserve-fds: expected a number"))
}

pub fn format_option(word: &str) -> Result<Format, String> {
    match word {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        _ => Err(format!("invalid format option: {word:?}: expected table or json")),
    }
}

/// The number of a signal, given by its name in any case, with or without `SIG`, or by its number.
pub fn signal(word: &str) -> Result<i32, String> {
    let unknown = || format!("unknown signal {word:?}");
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        // 0 sends nothing but asks whether the process is there; 64 is the last real-time signal.
        return word.parse().ok().filter(|number| (0..=64).contains(number)).ok_or_else(unknown);
    }
    let upper = word.to_ascii_uppercase();
    let name = match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        name => name,
    };
    format!("SIG{name}").parse().map(|signal: Signal| signal as i32).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_accepts_the_definitions() {
        Cli::command().debug_assert();
    }

    // RT-61, and row 9 of the engines' checklist.
    #[test]
    fn signals_have_many_spellings() {
        for word in ["TERM", "SIGTERM", "term", "sigterm", "SigTerm", "15"] {
            assert_eq!(signal(word), Ok(15), "{word}");
        }
        for (word, number) in
            [("KILL", 9), ("9", 9), ("usr1", 10), ("SIGCLD", 17), ("IOT", 6), ("0", 0), ("64", 64), ("34", 34)]
        {
            assert_eq!(signal(word), Ok(number), "{word}");
        }
        for word in ["", "FOO", "SIG", "SIGSIGTERM", "65", "99999999999", "-9", "+9", "9x", "TERM "] {
            assert_eq!(signal(word), Err(format!("unknown signal {word:?}")), "{word}");
        }
    }

    #[test]
    fn rootless_is_a_truth_value_or_auto() {
        for word in ["auto", "true", "false", "1"] {
            assert!(rootless(word).is_ok(), "{word}");
        }
        assert!(rootless("maybe").is_err());
    }
}
