//! `process`: working directory, program and its words, limits.

use super::config_errors::{refused, refuses};
use super::values::all_refused;
use integration::{Container, Runtime};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

cases! {
    Any:
        cfg_44_without_process_the_container_can_be_killed_and_deleted,
        cfg_48_console_size_without_terminal_is_ignored,
        cfg_50_cwd_is_required,
        cfg_51_cwd_is_absolute,
        cfg_52_program_starts_in_cwd,
        cfg_52_missing_cwd_is_made,
        cfg_52_cwd_that_only_the_user_may_enter,
        cfg_52_cwd_that_only_the_runtime_may_enter,
        cfg_52_cwd_through_a_leaked_file_is_refused,
        cfg_52_cwd_that_is_a_file_is_refused,
        cfg_54_args_has_at_least_one_entry,
        cfg_55_bare_name_is_looked_up_in_path_of_process_env,
        cfg_55_lookup_takes_the_first_that_can_be_executed,
        cfg_55_name_with_a_slash_is_relative_to_cwd,
        cfg_55_words_are_passed_as_they_are,
        cfg_55_program_that_cannot_be_executed_is_refused,
        cfg_55_program_that_its_user_may_not_execute_is_refused,
        cfg_56_command_line_is_ignored,
        cfg_57_unknown_limits_are_refused,
        cfg_58_limits_that_the_kernel_refuses,
        cfg_59_60_61_every_limit_is_set,
        cfg_60_61_the_greatest_number_is_unlimited,
        cfg_62_type_soft_and_hard_are_required,
        cfg_63_two_limits_of_one_type_are_refused,
        point_10_unknown_program_is_an_error_of_create,
    ;
    Any [SysResource]:
        cfg_61_hard_limit_may_be_raised,
    ;
}

fn cfg_44_without_process_the_container_can_be_killed_and_deleted(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.remove("/process");
    container.create().ok().silent();
    container.start().fails_with("process");
    assert_eq!(container.status(), "created");
    assert!(container.process().is_alive());
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok().silent();
    container.state_call().fails();
}

fn cfg_48_console_size_without_terminal_is_ignored(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "test -t 0 || echo no terminal");
    container.bundle.set("/process/consoleSize", json!({"height": 24, "width": 80}));
    assert_eq!(container.run().ok().no_complaint().text(), "no terminal");
}

fn cfg_50_cwd_is_required(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| bundle.remove("/process/cwd"));
    assert!(message.to_lowercase().contains("cwd"), "{message}");
    let message = refuses(runtime, |bundle| bundle.set("/process/cwd", json!("")));
    assert!(message.to_lowercase().contains("cwd"), "{message}");
}

fn cfg_51_cwd_is_absolute(runtime: &Runtime) {
    for cwd in ["tmp", "./tmp", "../tmp"] {
        let message = refuses(runtime, |bundle| bundle.set("/process/cwd", json!(cwd)));
        assert!(message.contains("Cwd must be an absolute path"), "{message}");
    }
}

/// The container prints this working directory.
fn starts_in(container: &mut Container, cwd: &str) {
    container.bundle.sh("/bin/pwd -P; readlink /proc/$$/cwd").set("/process/cwd", json!(cwd));
    let words = container.run().ok().no_complaint().stdout;
    assert_eq!(words, format!("{cwd}\n{cwd}\n"));
}

fn cfg_52_program_starts_in_cwd(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    fs::create_dir_all(container.bundle.inside("/home/a folder/ünder")).unwrap();
    starts_in(&mut container, "/tmp");
    starts_in(&mut container, "/home/a folder/ünder");
    starts_in(&mut container, "/proc/sys/kernel");
}

fn cfg_52_missing_cwd_is_made(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    starts_in(&mut container, "/made/for/me");
    let made = fs::metadata(container.bundle.inside("/made/for/me")).unwrap();
    assert_eq!(made.permissions().mode() & 0o7777, 0o755);
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    starts_in(&mut container, "/made/for/somebody/else");
}

fn closed_folder(container: &Container, owner: u32) {
    let folder = container.bundle.inside("/home/closed");
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
}

fn cfg_52_cwd_that_only_the_user_may_enter(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    closed_folder(&container, 1000);
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    starts_in(&mut container, "/home/closed");
}

fn cfg_52_cwd_that_only_the_runtime_may_enter(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "readlink /proc/$$/cwd; ls . 2>&1");
    closed_folder(&container, 0);
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000})).set("/process/cwd", json!("/home/closed"));
    let output = container.run();
    assert!(output.stdout.starts_with("/home/closed\n"), "{output}");
    assert!(output.stdout.contains("Permission denied"), "{output}");
}

fn cfg_52_cwd_through_a_leaked_file_is_refused(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "ls ..; pwd");
    for number in 3..16 {
        container.bundle.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        container.create_call(&[]).after("exec 7</ 9</etc").run().fails();
        container.state_call().fails();
    }
}

fn cfg_52_cwd_that_is_a_file_is_refused(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/process/cwd", json!("/etc/passwd")));
}

fn cfg_54_args_has_at_least_one_entry(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| bundle.remove("/process/args"));
    assert!(message.contains("args"), "{message}");
    let message = refuses(runtime, |bundle| bundle.set("/process/args", json!([])));
    assert!(message.contains("args"), "{message}");
    refuses(runtime, |bundle| bundle.set("/process/args", json!([""])));
}

fn cfg_55_bare_name_is_looked_up_in_path_of_process_env(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.file("/opt/a tool/greet", "#!/bin/sh\necho \"$0 $*\"\n", 0o755);
    container.bundle.args(["greet", "you"]).set("/process/env", json!(["PATH=/nowhere:/opt/a tool"]));
    // Not the caller's PATH.
    let output = container.run_call(&[]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").run().ok();
    assert_eq!(output.text(), "/opt/a tool/greet you");
}

fn cfg_55_lookup_takes_the_first_that_can_be_executed(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.file("/opt/a/tool", "#!/bin/sh\necho a\n", 0o644);
    fs::create_dir_all(container.bundle.inside("/opt/b/tool")).unwrap();
    container.bundle.file("/opt/c/tool", "#!/bin/sh\necho c\n", 0o755);
    container.bundle.file("/opt/d/tool", "#!/bin/sh\necho d\n", 0o755);
    container.bundle.args(["tool"]).set("/process/env", json!(["PATH=/opt/a:/opt/b:/opt/c:/opt/d"]));
    assert_eq!(container.run().ok().text(), "c");
}

fn cfg_55_name_with_a_slash_is_relative_to_cwd(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.file("/opt/sub/tool", "#!/bin/sh\necho found\n", 0o755);
    container.bundle.set("/process/cwd", json!("/opt"));
    for name in ["sub/tool", "./sub/tool", "../opt/sub/tool", "/opt/sub/tool"] {
        assert_eq!(container.bundle.args([name]).config()["process"]["args"], json!([name]));
        assert_eq!(container.run().ok().text(), "found", "{name}");
    }
}

fn cfg_55_words_are_passed_as_they_are(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let words = ["sh", "-c", "cat /proc/$$/cmdline; :", "", "a b", "new\nline", "$HOME *", "日本語", "-x", "\\0"];
    container.bundle.args(words);
    let wanted: String = words.iter().flat_map(|word| [*word, "\0"]).collect();
    assert_eq!(container.run().ok().stdout, wanted);
    container.bundle.args(["cat", "/proc/self/cmdline"]);
    assert_eq!(container.run().ok().stdout, "cat\0/proc/self/cmdline\0");
}

fn cfg_55_program_that_cannot_be_executed_is_refused(runtime: &Runtime) {
    for name in ["nowhere", "./nowhere", "/nowhere/at/all", "/etc/passwd", "/etc", "/bin/"] {
        refuses(runtime, |bundle| bundle.args([name]));
    }
}

fn cfg_55_program_that_its_user_may_not_execute_is_refused(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.file("/opt/tool", "#!/bin/sh\necho ran\n", 0o700);
    container.bundle.args(["/opt/tool"]);
    assert_eq!(container.run().ok().text(), "ran");
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    container.run().fails_with("ermission denied");
}

fn point_10_unknown_program_is_an_error_of_create(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| bundle.args(["not-to-be-found"]));
    assert!(message.contains("not-to-be-found"), "{message}");
    refuses(runtime, |bundle| bundle.set("/process/env", json!(["PATH=/nowhere"])).args(["sh"]));
}

fn cfg_56_command_line_is_ignored(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo args");
    container.bundle.set("/process/commandLine", json!("/bin/echo commandLine"));
    assert_eq!(container.run().ok().no_complaint().text(), "args");
}

fn limit(kind: &str, soft: u64, hard: u64) -> Value {
    json!({"type": kind, "soft": soft, "hard": hard})
}

fn cfg_57_unknown_limits_are_refused(runtime: &Runtime) {
    for kind in ["RLIMIT_TEST", "NOFILE", "rlimit_nofile", "RLIMIT_", "7", ""] {
        refuses(runtime, |bundle| bundle.set("/process/rlimits", json!([limit(kind, 64, 64)])));
    }
}

fn cfg_58_limits_that_the_kernel_refuses(runtime: &Runtime) {
    let most: u64 = fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
    for wrong in [limit("RLIMIT_NOFILE", 65, 64), limit("RLIMIT_NOFILE", 64, most + 1), limit("RLIMIT_CORE", u64::MAX, 0)] {
        refuses(runtime, |bundle| bundle.set("/process/rlimits", json!([wrong])));
    }
}

/// The limits with their lines in /proc/PID/limits, and values that any machine allows.
const LIMITS: [(&str, &str, u64, u64); 16] = [
    ("RLIMIT_CPU", "Max cpu time", 1000, 2000),
    ("RLIMIT_FSIZE", "Max file size", 1 << 30, 1 << 31),
    ("RLIMIT_DATA", "Max data size", 1 << 30, 1 << 31),
    ("RLIMIT_STACK", "Max stack size", 4 << 20, 8 << 20),
    ("RLIMIT_CORE", "Max core file size", 0, 0),
    ("RLIMIT_RSS", "Max resident set", 1 << 30, 1 << 31),
    ("RLIMIT_NPROC", "Max processes", 3000, 4000),
    ("RLIMIT_NOFILE", "Max open files", 100, 200),
    ("RLIMIT_MEMLOCK", "Max locked memory", 32 << 10, 64 << 10),
    ("RLIMIT_AS", "Max address space", 1 << 32, 1 << 33),
    ("RLIMIT_LOCKS", "Max file locks", 10, 20),
    ("RLIMIT_SIGPENDING", "Max pending signals", 1000, 2000),
    ("RLIMIT_MSGQUEUE", "Max msgqueue size", 100_000, 200_000),
    ("RLIMIT_NICE", "Max nice priority", 0, 0),
    ("RLIMIT_RTPRIO", "Max realtime priority", 0, 0),
    ("RLIMIT_RTTIME", "Max realtime timeout", 5000, 6000),
];

/// Soft and hard limit in the text of /proc/PID/limits.
fn found(limits: &str, name: &str) -> (String, String) {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {limits}"));
    let mut words = line.split_whitespace().map(str::to_string);
    (words.next().expect("a soft limit"), words.next().expect("a hard limit"))
}

fn cfg_59_60_61_every_limit_is_set(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let limits: Vec<Value> = LIMITS.iter().map(|(kind, _, soft, hard)| limit(kind, *soft, *hard)).collect();
    container.bundle.args(["/bin/cat", "/proc/self/limits"]).set("/process/rlimits", Value::Array(limits));
    let text = container.run().ok().no_complaint().stdout;
    for (kind, name, soft, hard) in LIMITS {
        assert_eq!(found(&text, name), (soft.to_string(), hard.to_string()), "{kind}");
    }
}

fn cfg_60_61_the_greatest_number_is_unlimited(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let limits = json!([limit("RLIMIT_FSIZE", 1 << 20, u64::MAX), limit("RLIMIT_AS", u64::MAX, u64::MAX)]);
    container.bundle.args(["/bin/cat", "/proc/self/limits"]).set("/process/rlimits", limits);
    let text = container.run().ok().no_complaint().stdout;
    assert_eq!(found(&text, "Max file size"), ("1048576".to_string(), "unlimited".to_string()));
    assert_eq!(found(&text, "Max address space"), ("unlimited".to_string(), "unlimited".to_string()));
}

fn cfg_61_hard_limit_may_be_raised(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let limits = json!([limit("RLIMIT_NOFILE", 3000, 4000)]);
    container.bundle.args(["/bin/cat", "/proc/self/limits"]).set("/process/rlimits", limits);
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let text = container.run_call(&[]).after("ulimit -n 1000").run().ok().stdout;
    assert_eq!(found(&text, "Max open files"), ("3000".to_string(), "4000".to_string()));
}

fn cfg_62_type_soft_and_hard_are_required(runtime: &Runtime) {
    for name in ["type", "soft", "hard"] {
        let mut entry = limit("RLIMIT_NOFILE", 64, 64);
        entry.as_object_mut().unwrap().remove(name);
        let message = refuses(runtime, |bundle| bundle.set("/process/rlimits", json!([entry])));
        assert!(message.contains(name), "{message}");
    }
}

fn cfg_63_two_limits_of_one_type_are_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let twice = json!([limit("RLIMIT_NOFILE", 64, 64), limit("RLIMIT_CPU", 9, 9), limit("RLIMIT_NOFILE", 64, 64)]);
    container.bundle.set("/process/rlimits", twice.clone());
    assert!(refused(&container).contains("RLIMIT_NOFILE"));
    all_refused(&mut container, &[("/process/rlimits", twice)]);
}
