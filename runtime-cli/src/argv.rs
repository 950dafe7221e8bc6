//! Brings the words of the command line into one form, by the rules of Go's flag package that runc follows.
//!
//! Engines write `-no-subreaper`, `--root=R` and `--root R`, the same flag twice, global flags behind the
//! command, and truth values (`--rootless=false`). clap refuses or misreads some of these. What comes out
//! is `runtime --GLOBAL=VALUE… COMMAND --OPTION=VALUE… -- WORD…` with each option once: the last one counts,
//! unless it is one that collects. Behind the container of `exec` and `ps` there are no options of ours any more.
//! Which options exist, and which of them take a value, is read from the definitions in [`crate::args`].
//!
//! The log's own options are found even on a line that is wrong elsewhere: the shim of containerd reads
//! the error from the log, and an error that is missing there is taken for the previous command's.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, ArgAction, Command};

use crate::args::boolean;

/// What one pass over the command line finds.
#[derive(Debug)]
pub struct Argv {
    /// The last `--log` that was given, if it is not empty.
    pub log: Option<OsString>,
    /// The last `--log-format`.
    pub log_format: Option<OsString>,
    /// `--debug` was given.
    pub debug: bool,
    /// All words in the one form, beginning with the program's name; or what is wrong with them.
    pub words: Result<Vec<OsString>, String>,
}

/// Reads `words`, which begin with the name that the program was called by.
pub fn normalise(cli: &Command, words: impl IntoIterator<Item = OsString>) -> Argv {
    let mut scan = Scan {
        cli,
        command: None,
        globals: Given::default(),
        options: Given::default(),
        words: Vec::new(),
        help: false,
        lost: false,
        error: None,
    };
    scan.read(&mut words.into_iter().skip(1));
    Argv {
        log: scan.globals.value("log"),
        log_format: scan.globals.value("log-format"),
        debug: scan.globals.value("debug").is_some(),
        words: scan.finish(),
    }
}

/// Options with their values, each name once unless it collects.
#[derive(Default)]
struct Given(Vec<(String, Value)>);

enum Value {
    Flag(bool),
    Word(OsString),
    /// One of several, empty or not.
    Item(OsString),
}

impl Given {
    fn set(&mut self, name: &str, value: Value) {
        if !matches!(value, Value::Item(_)) {
            self.0.retain(|(known, _)| known != name);
        }
        self.0.push((name.to_owned(), value));
    }

    /// What was given for `name`; a flag that is set has an empty value, an empty value counts as not given.
    fn value(&self, name: &str) -> Option<OsString> {
        self.0.iter().find(|(known, _)| known == name).and_then(|(_, value)| match value {
            Value::Flag(set) => set.then(OsString::new),
            Value::Word(word) | Value::Item(word) => (!word.is_empty()).then(|| word.clone()),
        })
    }

    fn words(&self) -> impl Iterator<Item = OsString> {
        self.0.iter().filter_map(|(name, value)| {
            let mut word = OsString::from(format!("--{name}"));
            match value {
                Value::Flag(false) => return None,
                Value::Flag(true) => {}
                // runc takes an empty value for an option that was not given.
                Value::Word(value) if value.is_empty() => return None,
                Value::Word(value) | Value::Item(value) => {
                    word.push("=");
                    word.push(value);
                }
            }
            Some(word)
        })
    }
}

/// The state of the pass.
struct Scan<'a> {
    cli: &'a Command,
    command: Option<&'a Command>,
    globals: Given,
    options: Given,
    words: Vec<OsString>,
    help: bool,
    /// The command is unknown: what follows may be the words of a container's program.
    lost: bool,
    /// The first thing that is wrong.
    error: Option<String>,
}

impl<'a> Scan<'a> {
    fn read(&mut self, words: &mut impl Iterator<Item = OsString>) {
        while !self.lost
            && let Some(word) = words.next()
        {
            match word.as_bytes() {
                b"--" => return words.for_each(|word| self.word(word)),
                _ if self.the_rest_is_anothers() => {
                    self.word(word);
                    return words.for_each(|word| self.word(word));
                }
                [b'-', _, ..] => self.option(&word, words),
                _ => self.word(word),
            }
        }
    }

    /// Whether all that the command takes for itself is there, and what follows is a command line of its own.
    fn the_rest_is_anothers(&self) -> bool {
        self.command.is_some_and(|command| takes_words(command) && self.words.len() == least(command))
    }

    /// A word that is no option: the command, or one of its arguments.
    fn word(&mut self, word: OsString) {
        if self.command.is_some() {
            self.words.push(word);
        } else if word == "help" || word == "h" {
            self.help = true;
        } else if let Some(command) = self.cli.get_subcommands().find(|command| word == command.get_name()) {
            self.command = Some(command);
        } else if self.error.is_none() {
            self.fail(format!("unknown command {word:?}; see: runtime --help: No help topic for '{}'", word.display()));
            self.lost = true;
        }
    }

    fn option(&mut self, word: &OsStr, rest: &mut impl Iterator<Item = OsString>) {
        let (name, attached) = split(word);
        if name == "help" || name == "h" {
            self.help = true;
            return;
        }
        let Some((arg, global)) = self.find(&name) else {
            return self.fail(format!("flag provided but not defined: {}", word.to_string_lossy()));
        };
        let long = arg.get_long().unwrap_or_default();
        let value = if arg.get_action().takes_values() {
            match attached.or_else(|| rest.next()) {
                Some(value) if matches!(arg.get_action(), ArgAction::Append) => Value::Item(value),
                Some(value) => Value::Word(value),
                // Podman asks for this wording to learn whether an option exists.
                None => return self.fail(format!("flag needs an argument: --{long}")),
            }
        } else {
            match attached.as_deref().map_or(Some(true), |word| word.to_str().and_then(boolean)) {
                Some(set) => Value::Flag(set),
                None => {
                    return self
                        .fail(format!("invalid boolean value {:?} for flag --{long}", attached.unwrap_or_default()));
                }
            }
        };
        if global { &mut self.globals } else { &mut self.options }.set(long, value);
    }

    /// The option of that name or letter, and whether it is a global one; the command's own come first.
    fn find(&self, name: &str) -> Option<(&'a Arg, bool)> {
        let named = |arg: &&Arg| match name.len() {
            1 => arg.get_short().is_some_and(|short| name.starts_with(short)),
            _ => arg.get_long() == Some(name),
        };
        let own = self.command.and_then(|command| command.get_arguments().find(named));
        own.map(|arg| (arg, false)).or_else(|| self.cli.get_arguments().find(named).map(|arg| (arg, true)))
    }

    fn fail(&mut self, error: String) {
        self.error.get_or_insert(error);
    }

    fn finish(mut self) -> Result<Vec<OsString>, String> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut words = vec![OsString::from("runtime")];
        words.extend(self.globals.words());
        words.extend(self.command.map(|command| OsString::from(command.get_name())));
        if self.help {
            words.push("--help".into());
            return Ok(words);
        }
        if let Some(command) = self.command {
            count(command, self.words.len())?;
            words.extend(self.options.words());
            words.push("--".into());
            words.extend(self.words);
        }
        Ok(words)
    }
}

/// The name of an option without its dashes, and the value behind its `=`.
fn split(word: &OsStr) -> (String, Option<OsString>) {
    let bytes = word.as_bytes();
    let bytes = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")).unwrap_or(bytes);
    let mut halves = bytes.splitn(2, |&byte| byte == b'=');
    let name = String::from_utf8_lossy(halves.next().unwrap_or_default()).into_owned();
    (name, halves.next().map(|value| OsString::from_vec(value.to_vec())))
}

/// Refuses a number of arguments that the command does not take, in runc's words.
fn count(command: &Command, given: usize) -> Result<(), String> {
    let least = least(command);
    let most = if takes_words(command) { usize::MAX } else { command.get_positionals().count() };
    let limit = match given {
        given if (least..=most).contains(&given) => return Ok(()),
        _ if least == most => format!("exactly {least}"),
        given if given < least => format!("a minimum of {least}"),
        _ => format!("a maximum of {most}"),
    };
    Err(format!("runtime: {:?} requires {limit} argument(s)", command.get_name()))
}

fn least(command: &Command) -> usize {
    command.get_positionals().filter(|arg| arg.is_required_set()).count()
}

/// Whether the command takes the words of another command line behind its own.
fn takes_words(command: &Command) -> bool {
    command.get_positionals().any(|arg| matches!(arg.get_action(), ArgAction::Append))
}

#[cfg(test)]
#[path = "argv_tests.rs"]
mod tests;
