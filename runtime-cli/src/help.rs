//! The definitions of the command line under the name that the program was called by, with help as runc lays it out.
//!
//! A program that is installed as `runc` calls itself so: go-runc takes no other first word of `--version`.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::Path;

use clap::{Command, CommandFactory};

use crate::args::Cli;

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
    fn the_name_is_that_of_the_file() {
        assert_eq!(name(Some(OsStr::new("/usr/local/bin/runc"))), "runc");
        assert_eq!(name(Some(OsStr::new("crun"))), "crun");
        assert_eq!((name(Some(OsStr::new("/"))), name(None)), ("runtime".to_owned(), "runtime".to_owned()));
    }
}
