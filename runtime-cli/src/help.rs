//! The definitions of the command line under the name that the program was called by, with help as runc lays it out.
//!
//! A program that is installed as `runc` calls itself so: go-runc takes no other first word of `--version`.
//! A plain call of a command needs the definitions of that command only: making all of them takes longer than
//! answering `state`.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Args, Command, CommandFactory};

use crate::args::{self, Cli};

/// The name without the directory that the first word of a command line calls the program by.
pub fn name(first: Option<&OsStr>) -> String {
    let name = first.and_then(|word| Path::new(word).file_name()).unwrap_or(OsStr::new("runtime"));
    name.to_string_lossy().into_owned()
}

/// What the program called `name` understands.
pub fn definitions(name: &str) -> Command {
    let mut all = Cli::command().bin_name(name).help_template(layout(name)).mut_subcommands(|command| {
        let title = format!("{name} {}", command.get_name());
        command.help_template(layout(&title))
    });
    all = all.mut_subcommand("exec", |exec| {
        exec.override_usage(format!(
            "{name} exec [OPTIONS] ID COMMAND [WORD]...\n       {name} exec [OPTIONS] --process FILE ID"
        ))
    });
    all.build();
    all
}

/// What is needed to read `words`, if they seem to be a plain call of one command. Whoever finds fault with the words
/// by these definitions has to look again with all of them, and everything about help and versions is there as well.
pub fn of_one_command(words: &[OsString]) -> Option<Command> {
    let asks = |word: &OsString| ["-h", "--help", "h", "help", "-v", "--version"].iter().any(|other| word == other);
    if words.iter().any(asks) {
        return None;
    }
    let (command, options) = words.iter().skip(1).find_map(|word| FREQUENT.iter().find(|(name, _)| word == name))?;
    let command = options(Command::new(*command));
    let all = Command::new("runtime").disable_help_subcommand(true).args_override_self(true);
    Some(args::Globals::augment_args(all).subcommand(command))
}

/// Adds options and arguments to a command.
type Options = fn(Command) -> Command;

/// The commands that engines call again and again.
const FREQUENT: [(&str, Options); 10] = [
    ("create", args::CreateArgs::augment_args),
    ("start", args::ContainerArgs::augment_args),
    ("state", args::ContainerArgs::augment_args),
    ("pause", args::ContainerArgs::augment_args),
    ("resume", args::ContainerArgs::augment_args),
    ("run", args::RunArgs::augment_args),
    ("exec", args::ExecArgs::augment_args),
    ("ps", args::PsArgs::augment_args),
    ("kill", args::KillArgs::augment_args),
    ("delete", args::DeleteArgs::augment_args),
];

fn layout(title: &str) -> String {
    format!("NAME:\n   {title} - {{about}}\n\n{{usage-heading}} {{usage}}\n\n{{all-args}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(name: &str, command: Option<&str>) -> String {
        let mut all = definitions(name);
        match command {
            Some(command) => all.find_subcommand_mut(command).unwrap().render_help().to_string(),
            None => all.render_help().to_string(),
        }
    }

    // help.bats of runc.
    #[test]
    fn help_begins_as_runcs_does() {
        assert!(help("runc", None).starts_with("NAME:\n   runc - Open Container Initiative runtime"));
        assert!(help("runc", Some("kill")).starts_with("NAME:\n   runc kill - Send a signal"));
        assert!(help("runtime", Some("exec")).contains("\nUsage: runtime exec [OPTIONS] ID COMMAND"));
        assert!(help("runtime", Some("create")).contains("\nUsage: runtime create [OPTIONS] <ID>\n"));
    }

    #[test]
    fn one_command_is_defined_as_among_all() {
        let all = Cli::command();
        let ids = |command: &Command| command.get_arguments().map(|arg| format!("{arg:?}")).collect::<Vec<_>>();
        for (name, _) in FREQUENT {
            let one = of_one_command(&["runtime".into(), "--debug".into(), name.into(), "x".into()]).expect(name);
            let (one, among) = (one.find_subcommand(name).unwrap(), all.find_subcommand(name).unwrap());
            assert_eq!(ids(one), ids(among), "{name}");
        }
        for words in
            [&["runtime"][..], &["runtime", "start", "--help"], &["runtime", "-v", "list"], &["runtime", "spec"]]
        {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(of_one_command(&words).is_none(), "{words:?}");
        }
    }

    #[test]
    fn the_name_is_that_of_the_file() {
        assert_eq!(name(Some(OsStr::new("/usr/local/bin/runc"))), "runc");
        assert_eq!(name(Some(OsStr::new("crun"))), "crun");
        assert_eq!((name(Some(OsStr::new("/"))), name(None)), ("runtime".to_owned(), "runtime".to_owned()));
    }
}
