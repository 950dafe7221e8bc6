//! The process object of `exec`: a file's, or the container's own with changes.

#![forbid(unsafe_code)]

use std::path::Path;

use serde_json::{Value, json};

use super::Result;
use crate::args::{Changes, ExecArgs};
use crate::phrases::Failure;

/// Reads all of the file of `--process`, which may be a pipe.
pub fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).map_err(|error| Failure::file("read", path, &error))?;
    match serde_json::from_slice(&text) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err(Failure::new(format!("read {}: expected a process object", path.display()))),
        Err(error) => Err(Failure::new(format!("read {}: {error}", path.display()))),
    }
}

/// The object of a file as it is, which `--tty` does not change, as in runc: engines give both. Options that would change it are refused: `--user`, for one, must not be without effect.
pub fn unchanged(object: Value, args: &ExecArgs) -> Result<Value> {
    if args.changes != Changes::default() {
        return Err(Failure::new("--process: options that change the process have no effect on one from a file"));
    }
    if !args.words.is_empty() {
        return Err(Failure::new("--process: the command is that of the file; leave out the one behind the container"));
    }
    Ok(object)
}

/// The container's own object with another command and the changes that were asked for.
pub fn changed(mut object: Value, args: &ExecArgs) -> Result<Value> {
    if args.words.is_empty() {
        return Err(Failure::new("exec args cannot be empty"));
    }
    if !object.is_object() {
        return Err(Failure::new("the container has no process to take the settings of; use --process"));
    }
    let changes = &args.changes;
    object["args"] = json!(args.words);
    object["terminal"] = json!(args.tty);
    for (name, value) in
        [("cwd", &changes.cwd), ("apparmorProfile", &changes.apparmor), ("selinuxLabel", &changes.process_label)]
    {
        if let Some(value) = value {
            object[name] = json!(value);
        }
    }
    if changes.no_new_privs {
        object["noNewPrivileges"] = json!(true);
    }
    append(&mut object, "/env", &changes.env);
    add_capabilities(&mut object, &changes.cap);
    set_user(&mut object, changes)?;
    Ok(object)
}

/// Adds to the sets that `execve` leaves alone. The inheritable one never grows: what is in it, a file's capabilities
/// may raise later (CVE-2022-29162). An ambient capability has to be inheritable.
fn add_capabilities(object: &mut Value, names: &[String]) {
    append(object, "/capabilities/bounding", names);
    append(object, "/capabilities/effective", names);
    append(object, "/capabilities/permitted", names);
    if object.pointer("/capabilities/inheritable").is_some_and(|set| !set.is_null()) {
        append(object, "/capabilities/ambient", names);
    }
}

fn set_user(object: &mut Value, changes: &Changes) -> Result {
    if let Some(user) = &changes.user {
        let (uid, gid) = parse_user(user)?;
        *place(object, "/user/uid") = json!(uid);
        if let Some(gid) = gid {
            *place(object, "/user/gid") = json!(gid);
        }
    }
    let wrong = |gid: &String| invalid("--additional-gids", gid, "a number");
    let gids = changes.additional_gids.iter().map(|gid| parse_id(gid).ok_or_else(|| wrong(gid)));
    append(object, "/user/additionalGids", &gids.collect::<Result<Vec<_>>>()?);
    Ok(())
}

/// The numbers of `UID[:GID]`. A number is never the name of a user (CVE-2016-3697).
fn parse_user(word: &str) -> Result<(u32, Option<u32>)> {
    let parsed = match word.split_once(':') {
        None => parse_id(word).map(|uid| (uid, None)),
        Some((uid, gid)) => parse_id(uid).zip(parse_id(gid).map(Some)),
    };
    parsed.ok_or_else(|| invalid("--user", word, "UID or UID:GID as numbers"))
}

/// A user's or group's number in digits. The largest one means "unchanged" to the kernel.
fn parse_id(word: &str) -> Option<u32> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|id| digits && *id != u32::MAX)
}

fn invalid(flag: &str, word: &str, expected: &str) -> Failure {
    Failure::new(format!("invalid value {word:?} for flag {flag}: expected {expected}, each at most 4294967294"))
}

/// Appends to an array, which is made if there is none.
fn append<T: serde::Serialize>(object: &mut Value, path: &str, items: &[T]) {
    if items.is_empty() {
        return;
    }
    let place = place(object, path);
    let mut all = match place.take() {
        Value::Array(all) => all,
        _ => Vec::new(),
    };
    all.extend(items.iter().map(|item| json!(item)));
    *place = Value::Array(all);
}

/// The place of that path; what is on the way is made an object if it is none.
fn place<'a>(mut object: &'a mut Value, path: &str) -> &'a mut Value {
    for name in path.split('/').skip(1) {
        if !object.is_object() {
            *object = json!({});
        }
        object = &mut object[name];
    }
    object
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn arguments(words: &[&str]) -> ExecArgs {
        let cli = Cli::try_parse_from(["runtime", "exec"].iter().chain(words)).unwrap();
        match cli.command {
            Some(Command::Exec(args)) => *args,
            _ => panic!("not exec"),
        }
    }

    fn with(base: &Value, words: &[&str]) -> Value {
        changed(base.clone(), &arguments(words)).unwrap()
    }

    fn refusal(base: &Value, words: &[&str]) -> String {
        changed(base.clone(), &arguments(words)).unwrap_err().to_string()
    }

    // S20: exactly these numbers, or an error.
    #[test]
    fn users_are_numbers() {
        for (word, user) in [
            ("1", (1, None)),
            ("1:2", (1, Some(2))),
            ("0", (0, None)),
            ("4294967294", (4_294_967_294, None)),
            ("0:4294967294", (0, Some(4_294_967_294))),
            ("01", (1, None)),
        ] {
            assert_eq!(parse_user(word), Ok(user), "{word}");
        }
        let words = "4294967295,-1,,:,1:,:1,0x1, 1,1 ,1:2:3,4294967296,18446744073709551616,+1,1:+2,1:-1,1:4294967295,root,1:root,1\n,１";
        for word in words.split(',') {
            let error = parse_user(word).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid value {word:?} for flag --user: ")), "{error}");
        }
    }

    #[test]
    fn the_command_replaces_the_containers() {
        let base = json!({"args": ["sh", "-c", "x"], "terminal": true, "cwd": "/", "env": ["A=1"], "user": {"uid": 5, "gid": 6}});
        let object = with(&base, &["ID", "ls", "-l"]);
        assert_eq!(
            object,
            json!({"args": ["ls", "-l"], "terminal": false, "cwd": "/", "env": ["A=1"], "user": {"uid": 5, "gid": 6}})
        );
    }

    #[test]
    fn a_terminal_has_to_be_asked_for() {
        for (given, option) in [(json!(true), None), (json!(false), Some("--tty")), (json!(null), Some("-t"))] {
            let words: Vec<&str> = option.into_iter().chain(["ID", "sh"]).collect();
            assert_eq!(with(&json!({"terminal": given}), &words)["terminal"], json!(option.is_some()));
        }
        let object = json!({"args": ["x"], "terminal": false});
        assert_eq!(unchanged(object.clone(), &arguments(&["--process=F", "-t", "ID"])), Ok(object));
    }

    #[test]
    fn options_change_the_object() {
        let base = json!({"cwd": "/", "env": ["A=1"], "user": {"uid": 5, "gid": 6, "additionalGids": [7]}});
        let words = [
            "--cwd=/tmp",
            "--env=B=2",
            "--env=A=3",
            "--user=8:9",
            "--additional-gids=10",
            "--additional-gids=11",
            "--no-new-privs",
            "--apparmor=P",
            "--process-label=L",
            "--",
            "ID",
            "x",
        ];
        assert_eq!(
            with(&base, &words),
            json!({
                "args": ["x"], "terminal": false, "cwd": "/tmp", "env": ["A=1", "B=2", "A=3"],
                "user": {"uid": 8, "gid": 9, "additionalGids": [7, 10, 11]},
                "noNewPrivileges": true, "apparmorProfile": "P", "selinuxLabel": "L",
            })
        );
        assert_eq!(with(&base, &["--user=8", "ID", "x"])["user"], json!({"uid": 8, "gid": 6, "additionalGids": [7]}));
        assert_eq!(with(&json!({"env": null}), &["--env=A=1", "--user=8", "ID", "x"])["user"], json!({"uid": 8}));
        assert!(refusal(&base, &["--user=root", "ID", "x"]).contains("--user"));
        assert!(refusal(&base, &["--additional-gids=-1", "ID", "x"]).contains("--additional-gids"));
    }

    // S8.
    #[test]
    fn capabilities_are_never_added_to_the_inheritable_set() {
        let words = ["--cap=CAP_KILL", "--cap=CAP_CHOWN", "ID", "x"];
        let base = json!({"capabilities": {"bounding": ["CAP_SETUID"], "effective": []}});
        let both = json!(["CAP_KILL", "CAP_CHOWN"]);
        assert_eq!(
            with(&base, &words)["capabilities"],
            json!({"bounding": ["CAP_SETUID", "CAP_KILL", "CAP_CHOWN"], "effective": both, "permitted": both})
        );
        let base = json!({"capabilities": {"inheritable": ["CAP_SETUID"]}});
        let object = with(&base, &words);
        assert_eq!(object["capabilities"]["inheritable"], json!(["CAP_SETUID"]));
        assert_eq!(object["capabilities"]["ambient"], both);
        assert_eq!(
            with(&json!({}), &words)["capabilities"],
            json!({"bounding": both, "effective": both, "permitted": both})
        );
    }

    #[test]
    fn there_has_to_be_a_command() {
        assert_eq!(refusal(&json!({}), &["ID"]), "exec args cannot be empty");
        assert!(refusal(&Value::Null, &["ID", "x"]).contains("use --process"));
    }

    #[test]
    fn the_object_of_a_file_is_not_changed() {
        let object = json!({"args": ["x"], "terminal": true});
        assert_eq!(unchanged(object.clone(), &arguments(&["--process=F", "ID"])), Ok(object.clone()));
        for words in
            [&["--process=F", "--user=1", "ID"][..], &["--process=F", "--env=A=1", "ID"], &["--process=F", "ID", "x"]]
        {
            let error = unchanged(object.clone(), &arguments(words)).unwrap_err().to_string();
            assert!(error.starts_with("--process: "), "{error}");
        }
    }

    #[test]
    fn files_hold_one_object() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("process");
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).map_err(|error| error.to_string())
        };
        assert_eq!(of("{\"args\":[\"x\"]}\n"), Ok(json!({"args": ["x"]})));
        for text in ["", "[]", "null", "{", "{} {}", "\"x\""] {
            assert!(of(text).unwrap_err().starts_with("read /"), "{text}");
        }
        let error = read(&dir.path().join("no")).unwrap_err().to_string();
        assert!(error.ends_with("/no: ENOENT"), "{error}");
    }
}
