//! `process.env`: what the program finds in its environment.

use super::config_errors::refuses;
use integration::{Container, Runtime};
use serde_json::json;
use std::fs;

cases! {
    Any:
        cfg_53_environment_is_the_list,
        cfg_53_values_come_through_unchanged,
        cfg_53_the_callers_environment_does_not_come_through,
        cfg_53_entries_without_name_or_value_are_refused,
        cfg_53_of_a_name_given_twice_the_last_value_stays,
        cfg_53_no_environment_at_all,
        cfg_53_home_is_added_from_passwd,
        cfg_53_home_of_the_configuration_stays,
        cfg_89_no_name_lookup_is_needed,
    ;
}

/// What the program finds in its environment, in order.
fn environment(container: &mut Container, entries: &[&str]) -> Vec<String> {
    container.bundle.args(["/bin/cat", "/proc/self/environ"]).set("/process/env", json!(entries));
    let text = container.run().ok().no_complaint().stdout;
    text.split_terminator('\0').map(str::to_string).collect()
}

fn cfg_53_environment_is_the_list(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let entries = ["Z=1", "PATH=/bin", "HOME=/x", "A=2", "_UNDER=3", "with-dash=4", "9=5"];
    assert_eq!(environment(&mut container, &entries), entries);
}

fn cfg_53_values_come_through_unchanged(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let long = format!("LONG={}", "x".repeat(100_000));
    let entries = ["EMPTY=", "EQUALS=a=b==c", "LINES=a\nb\n", "SPACE= a  b ", "WORD=日本語 🦀", "HOME=/", &long];
    assert_eq!(environment(&mut container, &entries), entries);
}

fn cfg_53_the_callers_environment_does_not_come_through(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/env"]).set("/process/env", json!(["PATH=/bin", "HOME=/root"]));
    let output = container.run_call(&[]).env("SECRET", "of the caller").env("NOTIFY_SOCKET_X", "x").run().ok();
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["HOME=/root", "PATH=/bin"]);
}

fn cfg_53_entries_without_name_or_value_are_refused(runtime: &Runtime) {
    for entry in ["NOVALUE", "", "=x", "NUL=a\0b", "NUL\0=a"] {
        let message = refuses(runtime, |bundle| bundle.push("/process/env", json!(entry)));
        assert!(message.contains("env"), "{entry:?}: {message}");
    }
}

fn cfg_53_of_a_name_given_twice_the_last_value_stays(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let found = environment(&mut container, &["A=1", "HOME=/x", "A=2", "B=3", "A=4"]);
    let values: Vec<&String> = found.iter().filter(|entry| entry.starts_with("A=")).collect();
    assert_eq!(values, ["A=4"]);
    assert_eq!(found.len(), 3, "{found:?}");
}

fn cfg_53_no_environment_at_all(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    assert_eq!(environment(&mut container, &[]), ["HOME=/root"]);
    container.bundle.remove("/process/env");
    assert_eq!(container.run().ok().no_complaint().stdout, "HOME=/root\0");
}

fn cfg_53_home_is_added_from_passwd(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let passwd = "root:x:0:0:root:/root:/bin/sh\n1000:x:1:1::/not/mine:/bin/sh\nme:x:1000:1000:Me:/home/me:/bin/sh\n";
    container.bundle.file("/etc/passwd", passwd, 0o644);
    for (uid, home) in [(0, "HOME=/root"), (1000, "HOME=/home/me"), (1, "HOME=/not/mine"), (4242, "HOME=/")] {
        container.bundle.set("/process/user/uid", json!(uid));
        assert_eq!(environment(&mut container, &["A=1"]), ["A=1", home], "uid {uid}");
    }
}

fn cfg_53_home_of_the_configuration_stays(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    assert_eq!(environment(&mut container, &["HOME=/elsewhere", "A=1"]), ["HOME=/elsewhere", "A=1"]);
    // An empty one counts as none.
    let found = environment(&mut container, &["HOME=", "A=1"]);
    assert!(found.contains(&"HOME=/root".to_string()) && found.len() == 2, "{found:?}");
}

fn cfg_89_no_name_lookup_is_needed(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "id -u; id -g; echo $HOME");
    fs::remove_dir_all(container.bundle.inside("/etc")).unwrap();
    fs::create_dir(container.bundle.inside("/etc")).unwrap();
    container.bundle.set("/process/user", json!({"uid": 4242, "gid": 4343}));
    assert_eq!(container.run().ok().no_complaint().stdout, "4242\n4343\n/\n");
    container.bundle.file("/etc/passwd", "broken\n:::\n\0\n", 0o000);
    assert_eq!(container.run().ok().no_complaint().stdout, "4242\n4343\n/\n");
}
