//! The commands: each takes its arguments, asks the library, and prints.

#![forbid(unsafe_code)]

mod create;
mod delete;
mod exec;
mod features;
mod generate;
mod kill;
mod list;
mod new;
mod plan;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod version;

use std::io::Write;

use runtime_core::{InitImage, Note};
use serde::Serialize;

use crate::args::{Command, Globals};
use crate::log::Log;
use crate::phrases::Failure;
use crate::trace::Trace;

pub use version::version;

/// The result of a command.
type Result<T = ()> = std::result::Result<T, Failure>;

/// What every command may need besides its own arguments.
#[derive(Debug)]
pub struct Context {
    /// The options before its name.
    pub globals: Globals,
    /// Where warnings go.
    pub log: Log,
    /// What was done and when.
    pub trace: Trace,
}

impl Context {
    /// Where the bytes of init come from.
    fn init(&self) -> Result<InitImage> {
        Ok(self.globals.init.as_deref().map_or(Ok(InitImage::memory()), InitImage::open)?)
    }
}

/// Carries out a command and returns the code to exit with.
pub fn run(command: &Command, context: &Context) -> Result<u8> {
    match command {
        Command::Create(args) => create::create(args, context)?,
        Command::Start(args) => start::start(args, context)?,
        Command::Pause(args) => start::pause(args, context)?,
        Command::Resume(args) => start::resume(args, context)?,
        Command::Run(args) => return run::run(args, context),
        Command::Exec(args) => return exec::exec(args, context),
        Command::State(args) => state::state(args, context)?,
        Command::Ps(args) => ps::ps(args, context)?,
        Command::List(args) => list::list(args, context)?,
        Command::Kill(args) => kill::kill(args, context)?,
        Command::Delete(args) => delete::delete(args, context)?,
        Command::Spec(args) => spec::spec(args)?,
        Command::Plan(args) => plan::plan(args)?,
        Command::Features => features::features()?,
        Command::Generate(args) => generate::generate(args)?,
    }
    Ok(0)
}

/// Logs what a caller should know of a plan that was carried out.
fn warn_of(notes: &[Note], context: &Context) {
    for note in notes.iter().filter(|note| note.warn) {
        context.log.warning(&format!("{}: {}", note.at, note.text));
    }
}

/// Writes to standard output. A reader that has gone is no failure of the command, and `println!` would panic.
pub fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints a JSON value over several lines.
fn print_json(value: &impl Serialize) -> Result {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(format!("write JSON: {error}")))?;
    print(&(text + "\n"));
    Ok(())
}
