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
mod plain;
mod root;
mod socket;
mod trace;
mod tty;

use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::FromArgMatches;

use crate::args::{Cli, LogFormat};
use crate::argv::Argv;
use crate::commands::Context;
use crate::log::Log;
use crate::phrases::Failure;
use crate::trace::Trace;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let name = help::name(words.first().map(OsString::as_os_str));
    let Call { log, words, parsed } = read(&name, words);
    report_panics(log.clone());
    match parsed.and_then(|parsed| serve(&name, parsed, &words, &log)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            log.error(&failure.to_string());
            ExitCode::from(failure.code())
        }
    }
}

/// A command line that was read.
struct Call {
    log: Log,
    words: Vec<OsString>,
    parsed: Result<Parsed, Failure>,
}

/// What it asks for.
enum Parsed {
    /// A command, or none.
    Cli(Box<Cli>),
    /// A text to be printed.
    Text(String),
}

/// Reads the words, by the definitions unless they are a plain call.
fn read(name: &str, words: Vec<OsString>) -> Call {
    if let Some(cli) = plain::read(&words) {
        let globals = &cli.globals;
        let log = Log { file: globals.log.clone(), format: globals.log_format, debug: globals.debug };
        return Call { log, words, parsed: Ok(Parsed::Cli(Box::new(cli))) };
    }
    let all = help::definitions(name);
    let argv = argv::normalise(&all, words);
    Call { log: log_of(&argv), parsed: parse(all, &argv), words: argv.words.unwrap_or_default() }
}

fn log_of(argv: &Argv) -> Log {
    // A format that is not known is reported on standard error: the file may be one of JSON objects.
    let format =
        argv.log_format.as_ref().map_or(Ok(LogFormat::Text), |format| args::log_format(&format.to_string_lossy()));
    let file = argv.log.as_ref().filter(|_| format.is_ok()).map(PathBuf::from);
    Log { file, format: format.unwrap_or(LogFormat::Text), debug: argv.debug }
}

fn parse(mut definitions: clap::Command, argv: &Argv) -> Result<Parsed, Failure> {
    let words = argv.words.as_ref().map_err(|error| Failure::new(error.clone()))?;
    let matches = match definitions.try_get_matches_from_mut(words) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Parsed::Text(error.to_string())),
        Err(error) => return Err(Failure::new(reason(&error))),
    };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| Failure::new(reason(&error)))?;
    if cli.command.is_none() && !cli.globals.version {
        return Ok(Parsed::Text(definitions.render_help().to_string()));
    }
    Ok(Parsed::Cli(Box::new(cli)))
}

/// Carries out. Returns the code to exit with.
fn serve(name: &str, parsed: Parsed, words: &[OsString], log: &Log) -> Result<u8, Failure> {
    log.debug(format_args!("{} {words:?}", env!("CARGO_PKG_VERSION")));
    let cli = match parsed {
        Parsed::Text(text) => {
            commands::print(&text);
            return Ok(0);
        }
        Parsed::Cli(cli) => *cli,
    };
    match cli.command {
        Some(command) if !cli.globals.version => {
            let trace = Trace::new(cli.globals.trace.clone());
            let context = Context { globals: cli.globals, log: log.clone(), trace };
            let result = commands::run(&command, &context);
            let error = result.as_ref().err().map(ToString::to_string);
            let written = context.trace.finish(&words.join(" ".as_ref()).to_string_lossy(), error.as_deref());
            // The command has done what it had to, or says itself why not.
            written.unwrap_or_else(|problem| log.warning(&problem));
            result
        }
        _ => {
            commands::print(&commands::version(name));
            Ok(0)
        }
    }
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
        tty::restore();
        log.error(&format!("bug in runtime: {what} at {place}"));
        std::process::exit(1);
    }));
}
