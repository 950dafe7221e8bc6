//! A command line with runc's words over `runtime-core`.
//!
//! It adds nothing to what the library does: it reads the words, opens what they name, prints what comes
//! back, and translates errors for the engines that call it. A command that succeeds says nothing.

#![forbid(unsafe_code)]

mod args;
mod argv;
mod commands;
mod foreground;
mod help;
mod log;
mod notify;
mod passed;
mod phrases;
mod pid_file;
mod pidfd_socket;
mod root;

use std::error::Error as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::FromArgMatches;

use crate::args::{Cli, LogFormat};
use crate::argv::Argv;
use crate::commands::Context;
use crate::log::Log;
use crate::phrases::Failure;

fn main() -> ExitCode {
    let name = help::name(std::env::args_os().next().as_deref());
    let definitions = help::definitions(&name);
    let argv = argv::normalise(&definitions, std::env::args_os());
    // A format that is not known is reported on standard error: the file may be one of JSON objects.
    let format =
        argv.log_format.as_ref().map_or(Ok(LogFormat::Text), |format| args::log_format(&format.to_string_lossy()));
    let file = argv.log.as_ref().filter(|_| format.is_ok()).map(PathBuf::from);
    let log = Log { file, format: format.unwrap_or(LogFormat::Text), debug: argv.debug };
    report_panics(log.clone());
    match serve(&name, definitions, argv, &log) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            log.error(&failure.to_string());
            ExitCode::from(failure.code())
        }
    }
}

/// Parses and carries out. Returns the code to exit with.
fn serve(name: &str, definitions: clap::Command, argv: Argv, log: &Log) -> Result<u8, Failure> {
    let words = argv.words.map_err(Failure::new)?;
    log.debug(&format!("{} {:?}", env!("CARGO_PKG_VERSION"), &words[1..]));
    let mut help = definitions.clone();
    let matches = match definitions.try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => {
            commands::print(&error.to_string());
            return Ok(0);
        }
        Err(error) => return Err(Failure::new(reason(&error))),
    };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| Failure::new(reason(&error)))?;
    match cli.command {
        _ if cli.version => commands::print(&commands::version(name)),
        None => commands::print(&help.render_help().to_string()),
        Some(command) => return commands::run(&command, &Context { globals: cli.globals, log: log.clone() }),
    }
    Ok(0)
}

/// The one line of a usage error: what the parser of the value says, or the first line of what clap says.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}

/// Makes a panic look like any other error to an engine.
fn report_panics(log: Log) {
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let what =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let what = what.unwrap_or("unknown reason");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        log.error(&format!("bug in runtime: {what} at {place}"));
        std::process::exit(1);
    }));
}
