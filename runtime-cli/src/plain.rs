//! The calls that engines make again and again, read without the definitions: making those takes longer than all
//! that `state` does.
//!
//! What is read here means what [`crate::args`] says; a test compares. Whatever is wrong, odd or rare reads as `None`,
//! and whoever gets that looks again with the definitions, which have the words for it.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use lexopt::Arg::{Long, Short, Value};
use lexopt::Parser;

use crate::args::{
    self, Changes, Cli, Command, ContainerArgs, CreateArgs, DeleteArgs, ExecArgs, Globals, KillArgs, LogFormat,
    NewContainer, PlanChoices, PsArgs, Rootless, RunArgs,
};

/// Reads `words`, which begin with the name that the program was called by.
pub fn read(words: &[OsString]) -> Option<Cli> {
    let mut line = Line { words: Parser::from_iter(words.iter().cloned()), globals: globals(), plain: Vec::new() };
    let nothing = |_: &str, _: &mut Parser| Some(false);
    line.options(1, nothing)?;
    let name = line.plain.pop()?;
    let command = match name.as_str() {
        "create" => {
            let mut create = CreateArgs { new: new_container(), detach: false };
            line.options(1, |name, words| match name {
                "detach" | "d" => set(&mut create.detach),
                _ => option_of_new(&mut create.new, name, words),
            })?;
            create.new.id = line.last()?;
            Command::Create(create)
        }
        "run" => {
            let mut run = RunArgs { new: new_container(), detach: false, keep: false };
            line.options(1, |name, words| match name {
                "detach" | "d" => set(&mut run.detach),
                "keep" => set(&mut run.keep),
                _ => option_of_new(&mut run.new, name, words),
            })?;
            run.new.id = line.last()?;
            Command::Run(run)
        }
        "start" => Command::Start(line.container()?),
        "pause" => Command::Pause(line.container()?),
        "resume" => Command::Resume(line.container()?),
        "state" => Command::State(line.container()?),
        "exec" => Command::Exec(Box::new(line.exec()?)),
        "ps" => Command::Ps(line.ps()?),
        "kill" => Command::Kill(line.kill()?),
        "delete" => Command::Delete(line.delete()?),
        _ => return None,
    };
    Some(Cli { globals: line.globals, command: Some(command) })
}

const fn globals() -> Globals {
    Globals {
        root: None,
        init: None,
        log: None,
        log_format: LogFormat::Text,
        debug: false,
        trace: None,
        systemd_cgroup: false,
        rootless: Rootless,
        version: false,
    }
}

fn new_container() -> NewContainer {
    NewContainer {
        bundle: ".".into(),
        pid_file: None,
        console_socket: None,
        pidfd_socket: None,
        choices: PlanChoices { no_pivot: false, no_new_keyring: false },
        preserve_fds: 0,
        no_subreaper: false,
        id: String::new(),
    }
}

/// A command line on its way. The readers of options say whether they know the one of that name.
struct Line {
    words: Parser,
    globals: Globals,
    plain: Vec<String>,
}

impl Line {
    /// Reads options, and words that are none until there are `most` of them.
    fn options(&mut self, most: usize, mut own: impl FnMut(&str, &mut Parser) -> Option<bool>) -> Option<()> {
        while self.plain.len() < most {
            // Go's flag package knows long names behind one dash, and no letters in a row.
            let ahead = self.words.try_raw_args()?;
            let Some(next) = ahead.peek().map(OsStr::as_encoded_bytes) else { return Some(()) };
            if next == b"--" || next.len() > 2 && next[0] == b'-' && next[1] != b'-' {
                return None;
            }
            let mut letter = [0; 4];
            let name = match self.words.next().ok()?? {
                Value(word) => {
                    self.plain.push(word.into_string().ok()?);
                    continue;
                }
                Long(name) => name.to_owned(),
                Short(short) => short.encode_utf8(&mut letter).to_owned(),
            };
            if !own(&name, &mut self.words)? && !global(&mut self.globals, &name, &mut self.words)? {
                return None;
            }
        }
        Some(())
    }

    /// What has no options of its own and takes a container.
    fn container(&mut self) -> Option<ContainerArgs> {
        self.options(1, |_, _| Some(false))?;
        Some(ContainerArgs { id: self.last()? })
    }

    fn exec(&mut self) -> Option<ExecArgs> {
        let mut exec = ExecArgs {
            process: None,
            changes: Changes::default(),
            tty: false,
            detach: false,
            pid_file: None,
            console_socket: None,
            pidfd_socket: None,
            preserve_fds: 0,
            cgroup: None,
            ignore_paused: false,
            id: String::new(),
            words: Vec::new(),
        };
        self.options(1, |name, words| match name {
            "process" | "p" => path(&mut exec.process, words),
            "tty" | "t" => set(&mut exec.tty),
            "detach" | "d" => set(&mut exec.detach),
            "pid-file" => path(&mut exec.pid_file, words),
            "console-socket" => path(&mut exec.console_socket, words),
            "pidfd-socket" => path(&mut exec.pidfd_socket, words),
            "preserve-fds" => parsed(&mut exec.preserve_fds, words, args::preserve_fds),
            "cgroup" => text(&mut exec.cgroup, words),
            "ignore-paused" => set(&mut exec.ignore_paused),
            _ => change(&mut exec.changes, name, words),
        })?;
        (exec.id, exec.words) = self.before_others()?;
        Some(exec)
    }

    fn ps(&mut self) -> Option<PsArgs> {
        let mut ps = PsArgs { format: args::Format::Table, id: String::new(), words: Vec::new() };
        self.options(1, |name, words| match name {
            "format" | "f" => parsed(&mut ps.format, words, args::format_option),
            _ => Some(false),
        })?;
        (ps.id, ps.words) = self.before_others()?;
        Some(ps)
    }

    fn kill(&mut self) -> Option<KillArgs> {
        let (mut all, mut regex) = (false, false);
        self.options(2, |name, _| match name {
            "all" | "a" => set(&mut all),
            "regex" | "r" => set(&mut regex),
            _ => Some(false),
        })?;
        let signal = if self.plain.len() == 2 { self.plain.pop()? } else { "SIGTERM".to_owned() };
        Some(KillArgs { all, regex, signal: args::signal(&signal).ok()?, id: self.last()? })
    }

    fn delete(&mut self) -> Option<DeleteArgs> {
        let (mut force, mut regex) = (false, false);
        self.options(1, |name, _| match name {
            "force" | "f" => set(&mut force),
            "regex" | "r" => set(&mut regex),
            _ => Some(false),
        })?;
        Some(DeleteArgs { force, regex, id: self.last()? })
    }

    /// The container, which is the last word.
    fn last(&mut self) -> Option<String> {
        let id = self.plain.pop()?;
        self.words.try_raw_args()?.next().is_none().then_some(id)
    }

    /// The container, and the words behind it, which are another command line.
    fn before_others(&mut self) -> Option<(String, Vec<String>)> {
        let id = self.plain.pop()?;
        let words: Option<Vec<String>> = self.words.try_raw_args()?.map(|word| word.into_string().ok()).collect();
        let words = words.filter(|words| words.first().is_none_or(|first| first != "--"))?;
        Some((id, words))
    }
}

fn global(globals: &mut Globals, name: &str, words: &mut Parser) -> Option<bool> {
    match name {
        "root" => path(&mut globals.root, words),
        "init" => path(&mut globals.init, words),
        "log" => path(&mut globals.log, words),
        "trace" => path(&mut globals.trace, words),
        "log-format" => parsed(&mut globals.log_format, words, args::log_format),
        "debug" => set(&mut globals.debug),
        "systemd-cgroup" => set(&mut globals.systemd_cgroup),
        "rootless" => parsed(&mut globals.rootless, words, args::rootless),
        _ => Some(false),
    }
}

fn option_of_new(new: &mut NewContainer, name: &str, words: &mut Parser) -> Option<bool> {
    match name {
        "bundle" | "b" => {
            new.bundle = value(words)?.into();
            Some(true)
        }
        "pid-file" => path(&mut new.pid_file, words),
        "console-socket" => path(&mut new.console_socket, words),
        "pidfd-socket" => path(&mut new.pidfd_socket, words),
        "no-pivot" => set(&mut new.choices.no_pivot),
        "no-new-keyring" => set(&mut new.choices.no_new_keyring),
        "preserve-fds" => parsed(&mut new.preserve_fds, words, args::preserve_fds),
        "no-subreaper" => set(&mut new.no_subreaper),
        _ => Some(false),
    }
}

fn change(changes: &mut Changes, name: &str, words: &mut Parser) -> Option<bool> {
    match name {
        "user" | "u" => text(&mut changes.user, words),
        "additional-gids" | "g" => item(&mut changes.additional_gids, words),
        "cwd" => text(&mut changes.cwd, words),
        "env" | "e" => item(&mut changes.env, words),
        "cap" | "c" => item(&mut changes.cap, words),
        "no-new-privs" => set(&mut changes.no_new_privs),
        "apparmor" => text(&mut changes.apparmor, words),
        "process-label" => text(&mut changes.process_label, words),
        _ => Some(false),
    }
}

/// An empty value counts as not given, which is too rare for here.
fn value(words: &mut Parser) -> Option<OsString> {
    words.value().ok().filter(|value| !value.is_empty())
}

const fn set(flag: &mut bool) -> Option<bool> {
    *flag = true;
    Some(true)
}

fn path(option: &mut Option<PathBuf>, words: &mut Parser) -> Option<bool> {
    *option = Some(value(words)?.into());
    Some(true)
}

fn text(option: &mut Option<String>, words: &mut Parser) -> Option<bool> {
    *option = Some(value(words)?.into_string().ok()?);
    Some(true)
}

fn item(list: &mut Vec<String>, words: &mut Parser) -> Option<bool> {
    list.push(value(words)?.into_string().ok()?);
    Some(true)
}

fn parsed<T>(option: &mut T, words: &mut Parser, read: fn(&str) -> Result<T, String>) -> Option<bool> {
    *option = read(value(words)?.to_str()?).ok()?;
    Some(true)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, CommandFactory};

    use super::*;
    use crate::{Parsed, argv, parse};

    const FREQUENT: [&str; 10] = ["create", "start", "state", "pause", "resume", "run", "exec", "ps", "kill", "delete"];

    fn words(line: &str) -> Vec<OsString> {
        std::iter::once("runtime").chain(line.split(' ')).map(OsString::from).collect()
    }

    fn by_definitions(words: &[OsString]) -> Option<String> {
        let mut all = Cli::command();
        all.build();
        let argv = argv::normalise(&all, words.iter().cloned());
        match parse(all, &argv) {
            Ok(Parsed::Cli(cli)) => Some(format!("{cli:?}")),
            _ => None,
        }
    }

    /// What an option can be given, as words: by its name with the value behind it and beside it, and by its letter.
    fn forms(arg: &Arg) -> Vec<String> {
        let long = format!("--{}", arg.get_long().unwrap());
        let letter = arg.get_short().map(|short| format!("-{short}"));
        if !arg.get_action().takes_values() {
            return std::iter::once(long).chain(letter).collect();
        }
        let value = match arg.get_id().as_str() {
            "log_format" | "format" => "json",
            "rootless" => "true",
            "preserve_fds" => "3",
            _ => "word",
        };
        let again =
            if matches!(arg.get_action(), ArgAction::Append) { format!(" {long} other") } else { String::new() };
        let mut forms = vec![format!("{long}={value}"), format!("{long} {value}{again}")];
        forms.extend(letter.map(|letter| format!("{letter} {value}")));
        forms
    }

    #[test]
    fn every_option_means_here_what_the_definitions_say() {
        let mut all = Cli::command();
        all.build();
        for name in FREQUENT {
            let command = all.find_subcommand(name).unwrap();
            let own = command.get_arguments().filter(|arg| !arg.is_positional());
            for arg in own.chain(all.get_arguments()) {
                if matches!(arg.get_id().as_str(), "help" | "version") {
                    continue;
                }
                for form in forms(arg) {
                    let line = words(&format!("{name} {form} ID"));
                    let here = read(&line).unwrap_or_else(|| panic!("{line:?} is not read"));
                    assert_eq!(Some(format!("{here:?}")), by_definitions(&line), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn lines_mean_the_same_or_are_left_to_the_definitions() {
        let left = [
            "",
            "--version",
            "-v",
            "state",
            "state a b",
            "state --",
            "state -- a",
            "state --help",
            "help state",
            "list",
            "spec",
            "stat a",
            "create -bundle x a",
            "create -no-pivot a",
            "run -dx a",
            "run --detach=true a",
            "state --root= a",
            "state --root",
            "exec a -- true",
            "kill a nonsense",
            "kill a KILL x",
            "delete a --force",
            "--log-format yaml state a",
            "exec --preserve-fds x a true",
            "start --keep a",
            "ps --format yaml a",
        ];
        for line in left {
            assert!(read(&words(line)).is_none(), "{line}");
        }
        for line in [
            "state a",
            "--root r --debug state a",
            "state --root r a",
            "--root=a --root b state c",
            "kill a",
            "kill a KILL",
            "kill -a a 9",
            "exec a sh -ec true",
            "exec -t -e A=B -e C=D a true --help -- x",
            "ps a -ef",
            "exec --cwd -x a true",
            "run --bundle b --bundle c a",
            "--rootless=false delete -f -r a",
            "kill --all a -1",
        ] {
            let line = words(line);
            if let Some(here) = read(&line) {
                assert_eq!(Some(format!("{here:?}")), by_definitions(&line), "{line:?}");
            } else {
                assert!(line.contains(&"-1".into()), "{line:?} is not read");
            }
        }
    }

    #[test]
    fn words_that_are_no_text_are_left_to_the_definitions() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(vec![0xff]);
        assert!(read(&["runtime".into(), "state".into(), odd.clone()]).is_none());
        let root = read(&["runtime".into(), "--root".into(), odd.clone(), "state".into(), "a".into()]).unwrap();
        assert_eq!(root.globals.root, Some(PathBuf::from(odd)));
    }
}
