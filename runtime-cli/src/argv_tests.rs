//! The command lines of the engines, as their sources build them, and the rules behind the one form.

#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser};

use super::*;
use crate::args::{Cli, Command as Verb, LogFormat, NewContainer};

fn scan(words: &[&str]) -> Argv {
    let mut cli = Cli::command();
    cli.build();
    normalise(&cli, std::iter::once("/usr/bin/runtime").chain(words.iter().copied()).map(OsString::from))
}

fn parse(words: &[&str]) -> Cli {
    Cli::try_parse_from(scan(words).words.unwrap_or_else(|error| panic!("{words:?}: {error}")))
        .unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn one_form(words: &[&str]) -> String {
    scan(words).words.unwrap().iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}

fn wrong(words: &[&str]) -> String {
    scan(words).words.unwrap_err()
}

/// Every line that an engine sends for a command there is, split at blanks, with its one form.
const ENGINES: &[(&str, &str, &str)] = &[
    (
        "containerd create",
        "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json create --bundle /b --pid-file /b/init.pid --no-pivot --no-new-keyring ID",
        "--root=/run/containerd/runc/k8s.io --log=/b/log.json --log-format=json create --bundle=/b --pid-file=/b/init.pid --no-pivot --no-new-keyring -- ID",
    ),
    (
        "containerd create with a terminal",
        "--root R --log L --log-format json --systemd-cgroup create --bundle B --pid-file P --console-socket S ID",
        "--root=R --log=L --log-format=json --systemd-cgroup create --bundle=B --pid-file=P --console-socket=S -- ID",
    ),
    (
        "containerd start",
        "--root R --log L --log-format json start ID",
        "--root=R --log=L --log-format=json start -- ID",
    ),
    (
        "containerd kill",
        "--root R --log L --log-format json kill --all ID 9",
        "--root=R --log=L --log-format=json kill --all -- ID 9",
    ),
    (
        "containerd delete",
        "--root R --log L --log-format json delete ID",
        "--root=R --log=L --log-format=json delete -- ID",
    ),
    (
        "containerd clean-up",
        "--root R --log L --log-format json delete --force ID",
        "--root=R --log=L --log-format=json delete --force -- ID",
    ),
    (
        "containerd exec",
        "--root R --log L --log-format json exec --process /tmp/runc-process1 --detach --pid-file P ID",
        "--root=R --log=L --log-format=json exec --process=/tmp/runc-process1 --detach --pid-file=P -- ID",
    ),
    (
        "containerd exec with a terminal",
        "--root R --log L --log-format json exec --process T --console-socket S --detach --pid-file P ID",
        "--root=R --log=L --log-format=json exec --process=T --console-socket=S --detach --pid-file=P -- ID",
    ),
    (
        "containerd ps",
        "--root R --log L --log-format json ps --format json ID",
        "--root=R --log=L --log-format=json ps --format=json -- ID",
    ),
    ("go-runc top", "--root R ps --format table ID -o pid,comm", "--root=R ps --format=table -- ID -o pid,comm"),
    ("rust shim ps", "--root=R ps --format=json ID", "--root=R ps --format=json -- ID"),
    ("containerd shim -info", "features", "features --"),
    (
        "go-runc with all it can send",
        "--root R --debug --log L --log-format text --systemd-cgroup --rootless=true create --bundle B --pid-file P --pidfd-socket S --no-pivot --no-new-keyring --detach --preserve-fds 2 ID",
        "--root=R --debug --log=L --log-format=text --systemd-cgroup --rootless=true create --bundle=B --pid-file=P --pidfd-socket=S --no-pivot --no-new-keyring --detach --preserve-fds=2 -- ID",
    ),
    ("go-runc list", "--root R list --format=json", "--root=R list --format=json --"),
    ("go-runc version", "--version", "--version"),
    (
        "cri-o exec",
        "--root=/run/runc --systemd-cgroup exec --process /tmp/exec-process-1 ID",
        "--root=/run/runc --systemd-cgroup exec --process=/tmp/exec-process-1 -- ID",
    ),
    ("cri-o start", "--root /run/runc start ID", "--root=/run/runc start -- ID"),
    ("cri-o state", "--root /run/runc --systemd-cgroup state ID", "--root=/run/runc --systemd-cgroup state -- ID"),
    (
        "cri-o kill",
        "--root /run/runc --systemd-cgroup kill ID KILL",
        "--root=/run/runc --systemd-cgroup kill -- ID KILL",
    ),
    ("cri-o kill of the rest", "--root /run/runc kill -a ID 9", "--root=/run/runc kill --all -- ID 9"),
    (
        "cri-o delete",
        "--root /run/runc --systemd-cgroup delete --force ID",
        "--root=/run/runc --systemd-cgroup delete --force -- ID",
    ),
    (
        "conmon under cri-o",
        "--systemd-cgroup --root=/run/runc create --bundle B --pid-file P --no-pivot ID",
        "--systemd-cgroup --root=/run/runc create --bundle=B --pid-file=P --no-pivot -- ID",
    ),
    (
        "conmon exec",
        "--root=/run/runc exec --pid-file P --process SPEC --detach ID",
        "--root=/run/runc exec --pid-file=P --process=SPEC --detach -- ID",
    ),
    (
        "conmon exec with a terminal",
        "--log-format=json --log L exec --pid-file P --process SPEC --detach --preserve-fds 1 --console-socket S ID",
        "--log-format=json --log=L exec --pid-file=P --process=SPEC --detach --preserve-fds=1 --console-socket=S -- ID",
    ),
    (
        "conmon under podman",
        "--systemd-cgroup --log-format=json --log /run/o/oci-log create --bundle B --pid-file P --no-new-keyring --preserve-fds 1 --console-socket S ID",
        "--systemd-cgroup --log-format=json --log=/run/o/oci-log create --bundle=B --pid-file=P --no-new-keyring --preserve-fds=1 --console-socket=S -- ID",
    ),
    (
        "conmon-rs",
        "--root=R --systemd-cgroup --root=R --systemd-cgroup create --bundle B --pid-file P --console-socket=S ID",
        "--root=R --systemd-cgroup create --bundle=B --pid-file=P --console-socket=S -- ID",
    ),
    ("conmon-rs exec", "--root=R exec -d --pid-file=P ID CMD -x", "--root=R exec --detach --pid-file=P -- ID CMD -x"),
    (
        "conmon-rs exec with a terminal",
        "--root=R --systemd-cgroup --root=R exec -d --console-socket=S --tty --pid-file=P ID CMD --log X -- --help",
        "--systemd-cgroup --root=R exec --detach --console-socket=S --tty --pid-file=P -- ID CMD --log X -- --help",
    ),
    ("podman start", "start ID", "start -- ID"),
    ("podman kill", "kill ID 15", "kill -- ID 15"),
    ("podman kill of the rest", "kill --all ID 9", "kill --all -- ID 9"),
    ("podman delete", "delete --force ID", "delete --force -- ID"),
    ("podman version", "--version", "--version"),
    ("podman --runtime-flag", "--log=/tmp/l --debug delete --force ID", "--log=/tmp/l --debug delete --force -- ID"),
    (
        "moby under containerd",
        "--root /var/run/docker/runtime-runc/moby --log L --log-format json --systemd-cgroup create --bundle B --pid-file P ID",
        "--root=/var/run/docker/runtime-runc/moby --log=L --log-format=json --systemd-cgroup create --bundle=B --pid-file=P -- ID",
    ),
    (
        "moby with runtimeArgs",
        "--debug --root=X --root R --log L --log-format json start ID",
        "--debug --root=R --log=L --log-format=json start -- ID",
    ),
    (
        "buildkit run",
        "--log L --log-format json run --bundle B --no-pivot --keep ID",
        "--log=L --log-format=json run --bundle=B --no-pivot --keep -- ID",
    ),
    (
        "buildkit exec",
        "--log L --log-format json exec --process T ID",
        "--log=L --log-format=json exec --process=T -- ID",
    ),
    ("buildkit state", "--log L --log-format json state ID", "--log=L --log-format=json state -- ID"),
    ("buildkit kill", "--log L --log-format json kill ID 9", "--log=L --log-format=json kill -- ID 9"),
    (
        "buildah create",
        "--systemd-cgroup create --bundle B --pid-file B/pid --no-new-keyring --no-pivot --console-socket B/console.sock NAME",
        "--systemd-cgroup create --bundle=B --pid-file=B/pid --no-new-keyring --no-pivot --console-socket=B/console.sock -- NAME",
    ),
    ("buildah kill", "kill NAME", "kill -- NAME"),
    ("buildah kill", "kill NAME SIGKILL", "kill -- NAME SIGKILL"),
    ("buildah delete", "delete NAME", "delete -- NAME"),
];

#[test]
fn engines_are_understood() {
    for (who, line, expected) in ENGINES {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(one_form(&words), format!("runtime {expected}"), "{who}");
        parse(&words);
    }
}

#[test]
fn the_values_arrive() {
    let cli = parse(&[
        "--root",
        "R",
        "--log=L",
        "--log-format",
        "json",
        "run",
        "-b",
        "B",
        "-d",
        "--pid-file=P",
        "--preserve-fds",
        "3",
        "ID",
    ]);
    assert_eq!(cli.globals.root.unwrap().to_str(), Some("R"));
    assert_eq!(cli.globals.log_format, LogFormat::Json);
    let Some(Verb::Run(run)) = cli.command else { panic!("not run") };
    assert!(run.detach && !run.keep);
    let NewContainer { bundle, pid_file, preserve_fds, id, .. } = run.new;
    assert_eq!(
        (bundle.to_str(), pid_file.unwrap().to_str(), preserve_fds, id.as_str()),
        (Some("B"), Some("P"), 3, "ID")
    );
    let Some(Verb::Kill(kill)) = parse(&["kill", "-a", "ID"]).command else { panic!("not kill") };
    assert_eq!((kill.all, kill.signal), (true, 15));
}

#[test]
fn one_dash_is_as_good_as_two() {
    assert_eq!(
        one_form(&["-systemd-cgroup", "-root=R", "run", "-no-subreaper", "-bundle", "B", "ID"]),
        "runtime --systemd-cgroup --root=R run --no-subreaper --bundle=B -- ID"
    );
    assert_eq!(one_form(&["kill", "--a", "ID", "-b-"][..3]), "runtime kill --all -- ID");
    assert_eq!(one_form(&["create", "-b=B", "ID"]), "runtime create --bundle=B -- ID");
}

#[test]
fn options_may_come_late_and_twice() {
    assert_eq!(
        one_form(&["create", "--root", "R", "ID", "--bundle", "B", "--debug"]),
        "runtime --root=R --debug create --bundle=B -- ID"
    );
    assert_eq!(
        one_form(&["--root=A", "create", "-b", "1", "-b", "2", "--root=B", "ID"]),
        "runtime --root=B create --bundle=2 -- ID"
    );
    assert_eq!(one_form(&["--debug", "delete", "--debug=false", "--force=0", "ID"]), "runtime delete -- ID");
    assert_eq!(one_form(&["--rootless", "true", "spec", "--rootless"]), "runtime --rootless=true spec --rootless --");
}

// Row 7.
#[test]
fn the_words_behind_the_container_are_the_commands() {
    for (words, expected) in [
        (&["exec", "ID", "ls", "-l", "--debug", "--help"][..], "exec -- ID ls -l --debug --help"),
        (&["exec", "ID", "-x"], "exec -- ID -x"),
        (&["exec", "ID", "sh", "--", "-x"], "exec -- ID sh -- -x"),
        // runc takes the first one off.
        (&["exec", "ID", "--", "ls", "--", "-x"], "exec -- ID ls -- -x"),
        (&["exec", "--", "ID", "--", "-x"], "exec -- ID -- -x"),
        (&["exec", "-d", "--", "-ID", "x"], "exec --detach -- -ID x"),
        (&["exec", "ID", "", "--tty"], "exec -- ID  --tty"),
        (&["exec", "--tty=false", "-t=0", "ID", "x"], "exec -- ID x"),
        (&["ps", "-f", "table", "ID", "-o", "pid", "-f"], "ps --format=table -- ID -o pid -f"),
        (&["ps", "ID", "aux"], "ps -- ID aux"),
    ] {
        assert_eq!(one_form(words), format!("runtime {expected}"), "{words:?}");
    }
    let Some(Verb::Exec(exec)) = parse(&["exec", "ID", "sh", "-c", "", "--", "--root", "-"]).command else {
        panic!("not exec")
    };
    assert_eq!(
        (exec.id.as_str(), exec.words),
        ("ID", ["sh", "-c", "", "--", "--root", "-"].map(str::to_owned).to_vec())
    );
}

#[test]
fn options_that_collect_are_all_kept() {
    let words = [
        "exec",
        "-e",
        "A=1",
        "--env=A=1",
        "-e=B=",
        "-env",
        "",
        "-c",
        "X",
        "--cap",
        "Y",
        "-g=1",
        "-g",
        "2",
        "ID",
        "-e",
        "C",
    ];
    assert_eq!(
        one_form(&words),
        "runtime exec --env=A=1 --env=A=1 --env=B= --env= --cap=X --cap=Y --additional-gids=1 --additional-gids=2 -- ID -e C"
    );
    let Some(Verb::Exec(exec)) = parse(&words).command else { panic!("not exec") };
    assert_eq!(exec.changes.env, ["A=1", "A=1", "B=", ""]);
    assert_eq!(
        (exec.changes.cap, exec.changes.additional_gids),
        (vec!["X".into(), "Y".into()], vec!["1".into(), "2".into()])
    );
}

#[test]
fn values_may_look_like_options_or_be_empty() {
    assert_eq!(one_form(&["create", "--bundle", "--debug", "ID"]), "runtime create --bundle=--debug -- ID");
    assert_eq!(one_form(&["create", "--pid-file", "", "--console-socket=", "ID"]), "runtime create -- ID");
    assert_eq!(one_form(&["create", "--", "-x"]), "runtime create -- -x");
    assert_eq!(one_form(&["create", "--bundle=a=b", ""]), "runtime create --bundle=a=b -- ");
}

#[test]
fn help_wins_over_missing_words() {
    assert_eq!(one_form(&["create", "--help"]), "runtime create --help");
    assert_eq!(one_form(&["help", "kill"]), "runtime kill --help");
    assert_eq!(one_form(&["-h"]), "runtime --help");
    assert_eq!(one_form(&["h"]), "runtime --help");
    assert_eq!(one_form(&["-v"]), "runtime --version");
}

#[test]
fn mistakes_are_named() {
    for (words, error) in [
        (&["create", "ID", "--bundle"][..], "flag needs an argument: --bundle"),
        (&["--log"], "flag needs an argument: --log"),
        (&["create", "-b"], "flag needs an argument: --bundle"),
        (&["create"], "runtime: \"create\" requires exactly 1 argument(s)"),
        (&["state", "a", "b"], "runtime: \"state\" requires exactly 1 argument(s)"),
        (&["kill"], "runtime: \"kill\" requires a minimum of 1 argument(s)"),
        (&["kill", "a", "b", "c"], "runtime: \"kill\" requires a maximum of 2 argument(s)"),
        (&["list", "x"], "runtime: \"list\" requires exactly 0 argument(s)"),
        (&["exec"], "runtime: \"exec\" requires a minimum of 1 argument(s)"),
        (&["exec", "--foo", "ID", "x"], "flag provided but not defined: --foo"),
        (&["exec", "--process"], "flag needs an argument: --process"),
        (&["ps", "--format", "json"], "runtime: \"ps\" requires a minimum of 1 argument(s)"),
        (&["create", "--foo", "ID"], "flag provided but not defined: --foo"),
        (&["create", "-foo=1", "ID"], "flag provided but not defined: -foo=1"),
        (&["delete", "-force=maybe", "ID"], "invalid boolean value \"maybe\" for flag --force"),
        (&["delete", "---force", "ID"], "flag provided but not defined: ---force"),
        (&["kill", "ID", "-9"], "flag provided but not defined: -9"),
        (&["start", "--bundle", "B", "ID"], "flag provided but not defined: --bundle"),
        (
            &["checkpoint", "--help"],
            "unknown command \"checkpoint\"; see: runtime --help: No help topic for 'checkpoint'",
        ),
    ] {
        assert_eq!(wrong(words), error, "{words:?}");
    }
}

#[test]
fn the_log_is_found_in_spite_of_mistakes() {
    for words in [
        &["--log", "L", "--log-format", "json", "create"][..],
        &["--foo", "--log", "L", "--log-format=json", "create", "ID"],
        &["--foo", "bar", "--log", "L", "--log-format=json", "create", "ID"],
        &["create", "--foo", "ID", "-log", "X", "-log=L", "--log-format=json"],
        &["--log", "L", "--log-format", "json", "update", "--log", "of another program"],
    ] {
        let argv = scan(words);
        assert!(argv.words.is_err());
        assert_eq!((argv.log, argv.log_format), (Some("L".into()), Some("json".into())), "{words:?}");
    }
}

#[test]
fn words_need_not_be_text() {
    let mut cli = Cli::command();
    cli.build();
    let path = OsString::from_vec(b"B\xff".to_vec());
    let words = [OsString::from("x"), "create".into(), "--bundle".into(), path.clone(), "ID".into()];
    let cli = Cli::try_parse_from(normalise(&cli, words).words.unwrap()).unwrap();
    let Some(Verb::Create(create)) = cli.command else { panic!("not create") };
    assert_eq!(create.new.bundle.as_os_str(), path);
    let mut cli = Cli::command();
    cli.build();
    let words = [OsString::from("x"), OsString::from_vec(b"--f\xff".to_vec())];
    assert!(normalise(&cli, words).words.unwrap_err().starts_with("flag provided but not defined"));
}
