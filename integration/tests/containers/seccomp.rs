//! `linux.seccomp`, seen from inside the container.

use integration::{Container, Runtime};
use serde_json::{Value, json};

cases! {
    Any:
        lnx_129_default_action_decides_what_no_rule_names,
        lnx_129_default_action_is_required,
        lnx_130_default_errno_is_eperm_or_the_given_one,
        lnx_130_default_errno_needs_an_action_that_returns_one,
        lnx_131_foreign_architectures_are_accepted,
        lnx_131_unknown_architecture_is_an_error,
        lnx_132_flags_are_accepted,
        lnx_132_flags_are_in_the_debug_log,
        lnx_132_unknown_flag_is_an_error,
        lnx_136_listener_path_without_notify_is_ignored,
        lnx_139_metadata_needs_a_listener,
        lnx_140_names_has_an_entry,
        lnx_141_unknown_names_are_skipped,
        lnx_141_calls_newer_than_the_profile_do_not_exist,
        lnx_142_actions_do_what_they_say,
        lnx_142_killed_threads_and_processes_end_with_sigsys,
        lnx_143_errno_is_eperm_or_the_given_one,
        lnx_143_errno_needs_an_action_that_returns_one,
        lnx_144_operators_compare_an_argument,
        lnx_144_masked_equal,
        lnx_144_conditions_on_different_arguments_are_all_needed,
        lnx_144_conditions_on_one_argument_are_alternatives,
        lnx_144_wrong_conditions_are_errors,
        lnx_148_filter_is_in_force_and_counted,
        lnx_148_program_keeps_no_capability_of_the_runtime,
        lnx_148_what_the_profile_forbids_is_still_configured,
        lnx_148_restrictive_profiles_can_start_a_program,
    ;
}

/// A profile that allows everything but these.
fn but(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules})
}

fn errno(names: &[&str], number: Option<u32>) -> Value {
    let mut rule = json!({"names": names, "action": "SCMP_ACT_ERRNO"});
    if let Some(number) = number {
        rule["errnoRet"] = json!(number);
    }
    rule
}

/// Every user and privilege that a filter is installed with.
fn everyone(runtime: &Runtime, profile: &Value, script: &str, check: impl Fn(integration::Output)) {
    for (uid, no_new_privileges) in [(0, true), (0, false), (1000, true), (1000, false)] {
        let mut container = Container::sh(runtime, script);
        container.bundle.writable().set("/linux/seccomp", profile.clone());
        container.bundle.set("/process/user", json!({"uid": uid, "gid": uid}));
        container.bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
        check(container.run());
    }
}

/// Standard output and error of a script under a profile.
fn says(runtime: &Runtime, profile: &Value, script: &str) -> String {
    let mut container = Container::sh(runtime, &format!("{{ {script}; }} 2>&1"));
    container.bundle.writable().set("/linux/seccomp", profile.clone());
    container.run().stdout
}

fn refused(runtime: &Runtime, profile: &Value, field: &str) {
    let mut container = Container::sh(runtime, "echo ran");
    container.bundle.set("/linux/seccomp", profile.clone());
    let output = container.run();
    assert!(!output.stdout.contains("ran"), "{output:?}");
    if runtime.is_ours() {
        output.fails_with(field);
    } else {
        output.fails();
    }
}

fn lnx_129_default_action_decides_what_no_rule_names(runtime: &Runtime) {
    let allowed = json!({"names": EVERYTHING_BUT_MKDIR, "action": "SCMP_ACT_ALLOW"});
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [allowed]});
    let said = says(runtime, &profile, "mkdir /tmp/x; mkdir /tmp/y; echo end");
    assert_eq!(said.matches("Operation not permitted").count(), 2, "{said}");
    assert!(said.contains("end"), "{said}");
}

/// Enough for busybox on any libc, and the newest call that there is, so that nothing is newer.
const EVERYTHING_BUT_MKDIR: &[&str] = &[
    "access", "arch_prctl", "brk", "capget", "capset", "chdir", "clock_gettime", "clone", "clone3", "close", "close_range",
    "dup", "dup2", "dup3", "epoll_pwait", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fchown",
    "fcntl", "fstat", "fstatfs", "fork", "futex", "getcwd", "getdents64", "getegid", "geteuid", "getgid", "getpgrp", "getpid",
    "getppid", "getrandom", "getuid", "ioctl", "lseek", "lstat", "madvise", "membarrier", "mmap", "mprotect", "mremap",
    "munmap", "nanosleep", "newfstatat", "open", "openat", "openat2", "pipe", "pipe2", "poll", "prctl", "pread64",
    "prlimit64", "read", "readlink", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "set_robust_list",
    "set_tid_address", "setgid", "setgroups", "setuid", "sigaltstack", "stat", "statx", "tgkill", "uname", "wait4", "write",
];

fn lnx_129_default_action_is_required(runtime: &Runtime) {
    refused(runtime, &json!({"syscalls": [errno(&["mkdir"], None)]}), "linux.seccomp.defaultAction");
    refused(runtime, &json!({"defaultAction": "SCMP_ACT_STRANGE"}), "linux.seccomp.defaultAction");
}

fn lnx_130_default_errno_is_eperm_or_the_given_one(runtime: &Runtime) {
    let allowed = json!({"names": EVERYTHING_BUT_MKDIR, "action": "SCMP_ACT_ALLOW"});
    let mut profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [allowed]});
    assert!(says(runtime, &profile, "mkdir /tmp/x").contains("Operation not permitted"));
    profile["defaultErrnoRet"] = json!(6);
    assert!(says(runtime, &profile, "mkdir /tmp/x").contains("No such device or address"));
}

fn lnx_130_default_errno_needs_an_action_that_returns_one(runtime: &Runtime) {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 6, "syscalls": [errno(&["mkdir"], None)]});
    refused(runtime, &profile, "linux.seccomp.defaultErrnoRet");
}

fn lnx_131_foreign_architectures_are_accepted(runtime: &Runtime) {
    let mut profile = but(json!([errno(&["mkdir"], None)]));
    for architectures in [json!(["SCMP_ARCH_AARCH64"]), json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_S390X"]), json!([])] {
        profile["architectures"] = architectures;
        let said = says(runtime, &profile, "mkdir /tmp/x");
        assert!(said.contains("Operation not permitted"), "the native one is always filtered: {said}");
    }
}

fn lnx_131_unknown_architecture_is_an_error(runtime: &Runtime) {
    let mut profile = but(json!([errno(&["mkdir"], None)]));
    profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_STRANGE"]);
    refused(runtime, &profile, "linux.seccomp.architectures[1]");
}

fn lnx_132_flags_are_accepted(runtime: &Runtime) {
    let mut profile = but(json!([errno(&["mkdir"], None)]));
    for flags in [json!([]), json!(["SECCOMP_FILTER_FLAG_LOG"]), json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"])] {
        profile["flags"] = flags;
        assert!(says(runtime, &profile, "mkdir /tmp/x").contains("Operation not permitted"));
    }
}

// seccomp.bats of runc: what the kernel gets.
fn lnx_132_flags_are_in_the_debug_log(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let mut profile = but(json!([errno(&["mkdir"], None)]));
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG"]);
    container.bundle.set("/linux/seccomp", profile);
    let log = container.folder().join("log");
    let call = container.bare_call().arg("--root").arg(&container.root).arg("--log").arg(&log);
    let call = call.args(["--debug", "create", "--bundle"]).arg(container.bundle.path());
    container.record(call.arg(&container.id).run()).ok();
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("\"seccomp filter flags: 2\""), "{text}");
}

fn lnx_132_unknown_flag_is_an_error(runtime: &Runtime) {
    let mut profile = but(json!([errno(&["mkdir"], None)]));
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_STRANGE"]);
    refused(runtime, &profile, "linux.seccomp.flags[0]");
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    refused(runtime, &profile, "linux.seccomp.flags[0]");
}

fn lnx_136_listener_path_without_notify_is_ignored(runtime: &Runtime) {
    let mut profile = but(json!([errno(&["mkdir"], None)]));
    profile["listenerPath"] = json!("/nowhere/socket");
    assert!(says(runtime, &profile, "mkdir /tmp/x").contains("Operation not permitted"));
}

fn lnx_139_metadata_needs_a_listener(runtime: &Runtime) {
    let mut profile = but(json!([errno(&["mkdir"], None)]));
    profile["listenerMetadata"] = json!("whatever");
    refused(runtime, &profile, "linux.seccomp.listenerMetadata");
}

fn lnx_140_names_has_an_entry(runtime: &Runtime) {
    refused(runtime, &but(json!([errno(&[], None)])), "linux.seccomp.syscalls[0].names");
    refused(runtime, &but(json!([{"action": "SCMP_ACT_ERRNO"}])), "linux.seccomp.syscalls[0].names");
    refused(runtime, &but(json!([errno(&["mkdir", ""], None)])), "linux.seccomp.syscalls[0].names[1]");
}

fn lnx_141_unknown_names_are_skipped(runtime: &Runtime) {
    let profile = but(json!([errno(&["foo_bar", "mkdir"], None)]));
    assert!(says(runtime, &profile, "mkdir /tmp/x").contains("Operation not permitted"));
}

/// Without these the newest name is `set_robust_list`, 273; touch needs `utimensat`, 280.
const NEW: [&str; 13] = [
    "clone3", "close_range", "dup3", "epoll_pwait", "execveat", "faccessat2", "getrandom", "membarrier", "openat2", "pipe2",
    "prlimit64", "rseq", "statx",
];

fn lnx_141_calls_newer_than_the_profile_do_not_exist(runtime: &Runtime) {
    for (names, wanted) in [(NEW.as_slice(), "Function not implemented"), (&[], "No such device or address")] {
        let names: Vec<&str> = EVERYTHING_BUT_MKDIR.iter().copied().filter(|name| !names.contains(name)).collect();
        let allowed = json!({"names": names, "action": "SCMP_ACT_ALLOW"});
        let mut profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 6});
        profile["architectures"] = json!(["SCMP_ARCH_X86_64"]);
        profile["syscalls"] = json!([allowed]);
        everyone(runtime, &profile, "touch /tmp 2>&1; echo end", |output| {
            assert!(output.stdout.contains(wanted) && output.stdout.contains("end"), "{output:?}");
        });
    }
}

fn lnx_142_actions_do_what_they_say(runtime: &Runtime) {
    for (action, wanted) in [("ERRNO", "Operation not permitted"), ("ALLOW", "made"), ("LOG", "made"), ("TRACE", "not implemented")] {
        let profile = but(json!([{"names": ["mkdir"], "action": format!("SCMP_ACT_{action}")}]));
        let said = says(runtime, &profile, "mkdir /tmp/x && echo made");
        assert!(said.contains(wanted), "{action}: {said}");
    }
}

fn lnx_142_killed_threads_and_processes_end_with_sigsys(runtime: &Runtime) {
    for action in ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"] {
        let profile = but(json!([{"names": ["mkdir"], "action": format!("SCMP_ACT_{action}")}]));
        everyone(runtime, &profile, "exec mkdir /tmp/x", |output| drop(output.exits(159)));
    }
}

fn lnx_143_errno_is_eperm_or_the_given_one(runtime: &Runtime) {
    for (number, wanted) in [(None, "Operation not permitted"), (Some(6), "No such device or address"), (Some(1), "Operation not permitted")] {
        everyone(runtime, &but(json!([errno(&["mkdir"], number)])), "mkdir /tmp/x 2>&1; echo end", |output| {
            assert!(output.stdout.contains(wanted) && output.stdout.contains("end"), "{number:?}: {output:?}");
        });
    }
}

fn lnx_143_errno_needs_an_action_that_returns_one(runtime: &Runtime) {
    for action in ["KILL", "TRAP", "LOG"] {
        let rule = json!({"names": ["mkdir"], "action": format!("SCMP_ACT_{action}"), "errnoRet": 6});
        refused(runtime, &but(json!([rule])), "linux.seccomp.syscalls[0].errnoRet");
    }
}

/// Which of these modes are let through when the rule refuses those for which the conditions hold.
fn let_through(runtime: &Runtime, name: &str, args: &Value, script: &str) -> String {
    let mut rule = errno(&[name], Some(6));
    rule["args"] = args.clone();
    says(runtime, &but(json!([rule])), script).trim().replace('\n', " ")
}

/// The mode of mkdir is its second argument; the shell sets no bits of its own.
const MODES: &str = "umask 0; for m in 100 200 300 400; do mkdir -m $m /tmp/$m 2>/dev/null && echo $m; done; true";

fn lnx_144_operators_compare_an_argument(runtime: &Runtime) {
    let kills = [("NE", "200"), ("LT", "200 300 400"), ("LE", "300 400"), ("EQ", "100 300 400"), ("GE", "100"), ("GT", "100 200")];
    for (operator, left) in kills {
        let args = json!([{"index": 1, "value": 0o200, "op": format!("SCMP_CMP_{operator}")}]);
        assert_eq!(let_through(runtime, "chmod", &args, &chmods()), left, "{operator}");
    }
}

fn chmods() -> String {
    MODES.replace("mkdir -m $m /tmp/$m", "chmod $m /tmp")
}

fn lnx_144_masked_equal(runtime: &Runtime) {
    let args = json!([{"index": 1, "value": 0o300, "valueTwo": 0o100, "op": "SCMP_CMP_MASKED_EQ"}]);
    assert_eq!(let_through(runtime, "chmod", &args, &chmods()), "200 300 400");
    let args = json!([{"index": 1, "value": 0o100, "op": "SCMP_CMP_MASKED_EQ"}]);
    assert_eq!(let_through(runtime, "chmod", &args, &chmods()), "100 300", "an absent second value is 0");
}

fn lnx_144_conditions_on_different_arguments_are_all_needed(runtime: &Runtime) {
    let script = "for s in 0 10 15; do kill -$s $$ 2>/dev/null && echo $s; trap : 10 15; done; true";
    let script = format!("trap : 10 15; {script}");
    let args = |signal: u32| json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": signal, "op": "SCMP_CMP_EQ"}]);
    assert_eq!(let_through(runtime, "kill", &args(10), &script), "0 15");
    let other = json!([{"index": 0, "value": 9999, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]);
    assert_eq!(let_through(runtime, "kill", &other, &script), "0 10 15");
}

fn lnx_144_conditions_on_one_argument_are_alternatives(runtime: &Runtime) {
    let is = |value: u32| json!({"index": 1, "value": value, "op": "SCMP_CMP_EQ"});
    assert_eq!(let_through(runtime, "chmod", &json!([is(0o100), is(0o400)]), &chmods()), "200 300");
}

fn lnx_144_wrong_conditions_are_errors(runtime: &Runtime) {
    let right = json!({"index": 1, "value": 1, "op": "SCMP_CMP_EQ"});
    for (field, value) in [("index", json!(6)), ("index", Value::Null), ("value", Value::Null), ("op", json!("STRANGE")), ("op", Value::Null)] {
        let mut arg = right.clone();
        arg[field] = value;
        let mut rule = errno(&["mkdir"], None);
        rule["args"] = json!([arg]);
        refused(runtime, &but(json!([rule])), &format!("linux.seccomp.syscalls[0].args[0].{field}"));
    }
}

fn lnx_148_filter_is_in_force_and_counted(runtime: &Runtime) {
    let profile = but(json!([errno(&["mkdir"], None)]));
    everyone(runtime, &profile, "grep -e ^Seccomp: -e ^NoNewPrivs: /proc/self/status", |output| {
        assert!(output.stdout.contains("Seccomp:\t2"), "{output:?}");
    });
}

/// To install the filter without noNewPrivileges takes `CAP_SYS_ADMIN`; the program must not get it.
fn lnx_148_program_keeps_no_capability_of_the_runtime(runtime: &Runtime) {
    let profile = but(json!([errno(&["mkdir"], None)]));
    let status = "grep ^Cap /proc/self/status";
    let sets = |runtime: &Runtime, profile: Option<&Value>, uid: u32| {
        let mut container = Container::sh(runtime, status);
        container.bundle.set("/process/noNewPrivileges", json!(false)).set("/process/user", json!({"uid": uid, "gid": uid}));
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            container.bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL", "CAP_AUDIT_WRITE"]));
        }
        if let Some(profile) = profile {
            container.bundle.set("/linux/seccomp", profile.clone());
        }
        container.run().ok().stdout
    };
    for uid in [0, 1000] {
        let with = sets(runtime, Some(&profile), uid);
        assert_eq!(with, sets(runtime, None, uid));
        assert!(with.contains("CapAmb:\t0000000020000020"), "{with}");
    }
}

fn lnx_148_what_the_profile_forbids_is_still_configured(runtime: &Runtime) {
    let names = ["umask", "setsid", "chdir", "fchdir", "setgroups", "sethostname", "mount", "setresuid", "setresgid", "unshare", "seccomp"];
    everyone(runtime, &but(json!([errno(&names, None)])), "pwd; hostname", |output| {
        assert!(output.ok().stdout.starts_with("/\n"));
    });
}

/// Only capset, prctl and execve stand between the filter and the program.
fn lnx_148_restrictive_profiles_can_start_a_program(runtime: &Runtime) {
    let names = ["openat", "openat2", "close_range", "faccessat2", "statx", "getdents64"];
    everyone(runtime, &but(json!([{"names": names, "action": "SCMP_ACT_KILL_PROCESS"}])), "echo $HOME", |output| {
        assert!(output.ok().stdout.starts_with('/'));
    });
}
