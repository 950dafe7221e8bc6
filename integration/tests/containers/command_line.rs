//! Options in the forms in which engines give them, and the commands that need no container.

use integration::bundle::copy_program;
use integration::{Container, Runtime, Snapshot, schema};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

cases! {
    Any:
        row_1_globals_as_separate_words,
        row_1_rootless_takes_its_words,
        row_2_globals_with_equal_signs_in_any_order,
        row_3_repeated_globals_last_one_wins,
        row_3_repeated_systemd_cgroup,
        row_5_create_takes_its_options,
        row_9_signals_as_engines_write_them,
        row_14_list_as_table,
        row_14_list_as_ids,
        row_14_list_as_json,
        row_14_list_of_nothing,
        row_18_unknown_global_is_refused,
        row_18_unknown_options_are_refused,
        row_18_unknown_command_is_refused,
        row_18_superfluous_words_are_refused,
        row_20_works_without_path_and_home,
        row_20_works_with_xdg_runtime_dir_alone,
        row_21_default_root_is_in_run,
        row_22_later_commands_use_the_recorded_cgroup,
        row_66_start_needs_nothing_but_the_root,
        row_98_features_is_one_json_object,
        row_105_version_lines,
        row_105_help_is_no_error,
        peer_23_list_skips_broken_entries,
        cfg_7_spec_writes_a_config_that_runs,
        cfg_7_spec_fits_the_schema,
        cfg_7_spec_spares_an_existing_config,
        cfg_7_spec_rootless,
    ;
    Any [Setpriv]:
        row_98_features_needs_no_root,
        row_105_version_needs_no_root,
    ;
    Full [Systemd]:
        row_22_later_commands_need_no_systemd_cgroup,
    ;
}

fn row_1_globals_as_separate_words(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let log = container.folder().join("log");
    let globals = ["--root", container.root.to_str().unwrap(), "--debug", "--log", log.to_str().unwrap()];
    let call = || container.bare_call().args(globals).args(["--log-format", "json"]);
    call().args(["create", "--bundle"]).arg(container.bundle.path()).arg(&container.id).run().ok();
    call().args(["start", &container.id]).run().ok();
    assert_eq!(container.status(), "running");
}

fn row_1_rootless_takes_its_words(runtime: &Runtime) {
    let container = Container::new(runtime);
    fs::create_dir(&container.root).unwrap();
    for word in ["auto", "true", "false"] {
        container.bare_call().arg(format!("--rootless={word}")).arg("--root").arg(&container.root).arg("list").run().ok();
    }
}

fn row_2_globals_with_equal_signs_in_any_order(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let root = format!("--root={}", container.root.display());
    let log = format!("--log={}/log", container.folder().display());
    let bundle = format!("--bundle={}", container.bundle.path().display());
    let first = [log.as_str(), "--log-format=json", &root, "create", &bundle, &container.id];
    container.bare_call().args(first).run().ok();
    let second = ["--log-format=json", &root, &log, "start", &container.id];
    container.bare_call().args(second).run().ok();
    assert_eq!(container.status(), "running");
}

fn row_3_repeated_globals_last_one_wins(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let root = container.root.to_str().unwrap();
    let elsewhere = container.folder().join("elsewhere");
    let globals = ["--root", elsewhere.to_str().unwrap(), "--debug", "--log-format", "text", "--debug"];
    let call = container.bare_call().args(globals).args(["--log-format=json", "--root", root]);
    call.args(["create", "--bundle"]).arg(container.bundle.path()).arg(&container.id).run().ok();
    assert_eq!(container.status(), "created");
    assert!(!elsewhere.join(&container.id).exists());
}

fn row_3_repeated_systemd_cgroup(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let empty = folder(&container, "empty");
    let words = ["--systemd-cgroup", "--systemd-cgroup", "spec"];
    container.bare_call().args(words).cwd(&empty).run().ok().silent();
    assert!(empty.join("config.json").is_file());
}

fn row_5_create_takes_its_options(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let file = format!("{}/pid", container.folder().display());
    container.create_with(&["--pid-file", &file, "--no-new-keyring", "--preserve-fds=0"]).ok().silent();
    container.delete().ok();
    let (pid, bundle) = (format!("--pid-file={file}"), container.bundle.path().to_str().unwrap());
    container.call(["create", &pid, "--no-pivot", "-b", bundle, &container.id]).run().ok().silent();
}

fn row_9_signals_as_engines_write_them(runtime: &Runtime) {
    for signal in ["KILL", "SIGKILL", "9"] {
        let container = Container::sleeper(runtime);
        container.run_detached().ok();
        container.kill(signal).ok().silent();
        container.wait_for("stopped");
    }
}

fn row_14_list_as_table(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let output = container.call(["list"]).run().ok().no_complaint();
    let rows: Vec<Vec<&str>> = output.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], "{output}");
    let (pid, bundle) = (container.pid().to_string(), container.bundle.path().to_str().unwrap());
    assert_eq!(rows[1][..4], [&container.id, &pid, "created", bundle], "{output}");
    assert_eq!((rows[1][5], rows.len()), ("root", 2), "{output}");
}

fn row_14_list_as_ids(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let other = container.beside();
    container.create().ok();
    other.create().ok();
    for option in ["-q", "--quiet"] {
        let output = container.call(["list", option]).run().ok().no_complaint();
        let mut ids: Vec<&str> = output.stdout.lines().collect();
        ids.sort_unstable();
        let mut wanted = [container.id.as_str(), other.id.as_str()];
        wanted.sort_unstable();
        assert_eq!(ids, wanted);
    }
}

fn row_14_list_as_json(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/annotations", json!({"a": "b"}));
    container.create().ok();
    for words in [&["list", "-f", "json"][..], &["list", "--format=json"], &["list", "--format", "json"]] {
        let list = container.call(words).run().ok().no_complaint().json();
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
        for key in ["id", "pid", "status", "bundle", "created"] {
            assert_eq!(list[0][key], container.state()[key], "{key}");
        }
        assert_eq!(list[0]["owner"], "root");
    }
}

fn row_14_list_of_nothing(runtime: &Runtime) {
    let container = Container::new(runtime);
    fs::create_dir(&container.root).unwrap();
    let call = |words: &[&str]| container.call(words).run().ok().no_complaint();
    assert_eq!(call(&["list", "-q"]).text(), "");
    assert!([Value::Null, json!([])].contains(&call(&["list", "-f", "json"]).json()));
    assert!(call(&["list"]).text().lines().count() <= 1);
}

fn row_18_unknown_global_is_refused(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.call(["--no-such-option", "list"]).run().fails_with("no-such-option");
}

fn row_18_unknown_options_are_refused(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    for verb in ["create", "run", "start", "state", "kill", "delete", "list", "spec", "exec", "pause", "resume"] {
        container.call([verb, "--no-such-option", &container.id]).run().fails_with("no-such-option");
    }
    before.assert_unchanged(&container);
}

fn row_18_unknown_command_is_refused(runtime: &Runtime) {
    Container::new(runtime).call(["no-such-command"]).run().fails();
}

fn row_18_superfluous_words_are_refused(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    for words in [&["state"][..], &["start"], &["kill", "TERM"], &["delete"], &["pause"], &["resume"]] {
        let (verb, rest) = (words[0], &words[1..]);
        container.call([verb, &container.id]).args(rest).arg("superfluous").run().fails();
    }
    assert_eq!(container.status(), "created");
}

fn row_20_works_without_path_and_home(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ran; env | grep -c FROM_OUTSIDE");
    let call = |words: &[&str]| container.call(words).clean_environment().run();
    container.record(container.create_call(&[]).clean_environment().run()).ok().silent();
    call(&["start", &container.id]).ok().silent();
    container.wait_for("stopped");
    assert_eq!(container.stdout(), "ran\n0\n");
    call(&["delete", &container.id]).ok().silent();
}

fn row_20_works_with_xdg_runtime_dir_alone(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ran");
    let call = container.run_call(&[]).clean_environment().env("XDG_RUNTIME_DIR", container.folder());
    assert_eq!(call.run().ok().no_complaint().text(), "ran");
}

/// `/run/NAME`, where NAME is the first word of `--version`.
fn default_root(runtime: &Runtime) -> PathBuf {
    Path::new("/run").join(runtime.version.split_whitespace().next().expect("a name"))
}

fn row_21_default_root_is_in_run(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let call = |words: &[&str]| container.bare_call().clean_environment().args(words);
    let folder = default_root(runtime).join(&container.id);
    call(&["create", "--bundle"]).arg(container.bundle.path()).arg(&container.id).run().ok();
    let there = folder.is_dir();
    let status = call(&["state", &container.id]).run();
    call(&["delete", "--force", &container.id]).run().ok();
    assert!(there, "{} was not made", folder.display());
    assert_eq!(status.ok().json()["status"], "created");
    assert!(!folder.exists());
}

fn row_22_later_commands_use_the_recorded_cgroup(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.run_detached().ok();
    let elsewhere = format!("/{}/elsewhere", container.name());
    container.bundle.set("/linux/cgroupsPath", json!(elsewhere));
    container.call(["pause", &container.id]).run().ok();
    assert_eq!(fs::read_to_string(container.cgroup().join("cgroup.freeze")).unwrap(), "1\n");
    container.call(["resume", &container.id]).run().ok();
    container.delete_force().ok();
    before.assert_unchanged(&container);
}

fn row_22_later_commands_need_no_systemd_cgroup(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/linux/cgroupsPath", json!(format!("system.slice:it:{}", container.id)));
    container.call(["--systemd-cgroup", "run", "--detach", "--bundle"]).arg(container.bundle.path()).arg(&container.id).run().ok();
    let cgroup = container.process().cgroup().unwrap();
    assert!(cgroup.ends_with(&format!("/it-{}.scope", container.id)), "{cgroup}");
    container.call(["pause", &container.id]).run().ok();
    assert_eq!(container.status(), "paused");
    container.delete_force().ok();
    assert!(!Path::new("/sys/fs/cgroup").join(&cgroup[1..]).exists());
}

fn row_66_start_needs_nothing_but_the_root(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ran");
    container.create().ok();
    let call = container.call(["start", &container.id]).clean_environment().cwd("/proc").wrapped(["setsid", "--wait"]);
    call.run().ok().silent();
    assert_eq!(container.wait_stdout("\n"), "ran\n");
}

fn row_98_features_is_one_json_object(runtime: &Runtime) {
    let container = Container::new(runtime);
    let features = container.bare_call().arg("features").run().ok().no_complaint().json();
    for key in ["ociVersionMin", "ociVersionMax", "linux"] {
        assert!(features.get(key).is_some_and(|value| !value.is_null()), "{key}");
    }
    let violations = schema::violations("features-schema.json", &features);
    assert!(violations.is_empty(), "{violations:?}");
}

/// Runs a copy of the binary as an unprivileged user.
fn as_nobody(runtime: &Runtime, word: &str) -> integration::Output {
    let container = Container::new(runtime);
    let copy = container.folder().join("copy");
    copy_program(&runtime.path, &copy);
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let call = container.host_call("setpriv").args(user).arg(&copy).arg(word);
    call.clean_environment().cwd("/").run().ok().no_complaint()
}

fn row_98_features_needs_no_root(runtime: &Runtime) {
    let root = Container::new(runtime).bare_call().arg("features").run().ok();
    assert_eq!(as_nobody(runtime, "features").json(), root.json());
}

fn row_105_version_lines(runtime: &Runtime) {
    for option in ["--version", "-v"] {
        let output = Container::new(runtime).bare_call().arg(option).run().ok().no_complaint();
        let lines: Vec<&str> = output.stdout.lines().collect();
        let words: Vec<&str> = lines[0].split(' ').collect();
        assert_eq!((words.len(), words[1]), (3, "version"), "{output}");
        let numbers: Vec<&str> = words[2].split(['-', '+']).next().unwrap().split('.').collect();
        assert!(numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok()), "{output}");
        assert!(lines[1].starts_with("commit: "), "{output}");
        assert!(lines[2].starts_with("spec: "), "{output}");
    }
}

fn row_105_version_needs_no_root(runtime: &Runtime) {
    assert!(as_nobody(runtime, "--version").stdout.contains(" version "));
}

fn row_105_help_is_no_error(runtime: &Runtime) {
    let container = Container::new(runtime);
    for words in [&["--help"][..], &["-h"], &["create", "--help"], &["run", "--help"], &["delete", "--help"]] {
        let output = container.bare_call().args(words).run().ok().no_complaint();
        assert!(output.stdout.contains("--"), "{output}");
    }
}

fn peer_23_list_skips_broken_entries(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    fs::create_dir(container.root.join("empty")).unwrap();
    fs::create_dir(container.root.join("garbage")).unwrap();
    for name in ["state.json", "status", "state"] {
        fs::write(container.root.join("garbage").join(name), "{ no JSON").unwrap();
    }
    fs::write(container.root.join("file"), "").unwrap();
    let output = container.call(["list", "-q"]).run().ok();
    assert_eq!(output.text(), container.id);
    assert_eq!(container.status(), "created");
    fs::remove_dir_all(container.root.join("garbage")).unwrap();
}

fn folder(container: &Container, name: &str) -> PathBuf {
    let path = container.folder().join(name);
    fs::create_dir(&path).unwrap();
    path
}

fn spec(container: &Container, name: &str, options: &[&str]) -> Value {
    let path = folder(container, name);
    container.bare_call().arg("spec").args(options).cwd(&path).run().ok().silent();
    serde_json::from_slice(&fs::read(path.join("config.json")).unwrap()).unwrap()
}

fn cfg_7_spec_writes_a_config_that_runs(runtime: &Runtime) {
    let container = Container::new(runtime);
    let path = folder(&container, "bundle-of-spec");
    container.bare_call().args(["spec", "--bundle"]).arg(&path).run().ok().silent();
    let mut config: Value = serde_json::from_slice(&fs::read(path.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["root"]["path"], "rootfs");
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], json!(true));
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = container.bundle.config()["linux"]["cgroupsPath"].clone();
    container.bundle.write_config(config.to_string());
    let output = container.run_call(&[]).input("echo from the shell\n").run().ok();
    assert_eq!(output.text(), "from the shell");
}

fn cfg_7_spec_fits_the_schema(runtime: &Runtime) {
    let container = Container::new(runtime);
    let config = spec(&container, "empty", &[]);
    let violations = schema::violations("config-schema.json", &config);
    assert!(violations.is_empty(), "{violations:?}");
}

fn cfg_7_spec_spares_an_existing_config(runtime: &Runtime) {
    let container = Container::new(runtime);
    let path = folder(&container, "full");
    fs::write(path.join("config.json"), "mine").unwrap();
    container.bare_call().arg("spec").cwd(&path).run().fails_with("config.json");
    assert_eq!(fs::read_to_string(path.join("config.json")).unwrap(), "mine");
}

fn cfg_7_spec_rootless(runtime: &Runtime) {
    let container = Container::new(runtime);
    let config = spec(&container, "empty", &["--rootless"]);
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!({"type": "user"})), "{namespaces:?}");
    assert!(!namespaces.contains(&json!({"type": "network"})), "{namespaces:?}");
    assert_eq!(config["linux"]["uidMappings"][0]["containerID"], 0);
    assert_eq!(config["linux"]["gidMappings"][0]["containerID"], 0);
}
