//! Capabilities, `no_new_privs` and the out-of-memory score.

use super::config_errors::refuses;
use super::values::all_refused;
use integration::bundle::copy_program;
use integration::{Container, Runtime};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

cases! {
    Any:
        cfg_65_sets_of_root,
        cfg_65_sets_of_root_with_new_privileges,
        cfg_65_sets_of_a_user,
        cfg_65_sets_of_a_created_container,
        cfg_66_omitted_sets_are_empty,
        cfg_67_unknown_capabilities_are_one_warning,
        cfg_67_the_warning_goes_to_the_log,
        cfg_68_impossible_ambient_capabilities_are_a_warning,
        decision_18_inheritable_without_bounding_is_refused,
        point_3_no_capabilities_means_none,
        cfg_69_no_new_privileges,
        cfg_69_setuid_programs_gain_nothing,
        cfg_70_oom_score_is_written,
        cfg_70_oom_scores_out_of_range_are_refused,
        cfg_71_oom_score_unset_is_the_callers,
    ;
    Any [UserNs]:
        cfg_65_sets_in_a_user_namespace,
    ;
    Any [SysResource]:
        cfg_70_oom_score_is_lowered,
    ;
}

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;
const SYS_ADMIN: u64 = 1 << 21;

/// Sets as the program sees them.
pub fn found(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, value) = line.strip_prefix("Cap")?.split_once(':')?;
        Some((name.to_string(), u64::from_str_radix(value.trim(), 16).ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn wanted(sets: [(&str, u64); 5]) -> BTreeMap<String, u64> {
    sets.into_iter().map(|(name, bits)| (name.to_string(), bits)).collect()
}

fn five_sets() -> Value {
    json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_CHOWN", "CAP_KILL"],
        "ambient": ["CAP_KILL"],
    })
}

fn with_capabilities(runtime: &Runtime, sets: Value) -> Container {
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/cat", "/proc/self/status"]).set("/process/capabilities", sets);
    container
}

/// A program of root gets what is permitted (no_new_privs keeps it from getting the whole bounding set).
fn cfg_65_sets_of_root(runtime: &Runtime) {
    let container = with_capabilities(runtime, five_sets());
    let permitted = CHOWN | KILL | SETUID;
    let all = wanted([
        ("Inh", CHOWN | KILL),
        ("Prm", permitted),
        ("Eff", permitted),
        ("Bnd", permitted | SETGID),
        ("Amb", KILL),
    ]);
    assert_eq!(found(&container.run().ok().no_complaint().stdout), all);
}

fn cfg_65_sets_of_root_with_new_privileges(runtime: &Runtime) {
    let mut container = with_capabilities(runtime, five_sets());
    container.bundle.set("/process/noNewPrivileges", json!(false));
    let bounding = CHOWN | KILL | SETGID | SETUID;
    let all = wanted([("Inh", CHOWN | KILL), ("Prm", bounding), ("Eff", bounding), ("Bnd", bounding), ("Amb", KILL)]);
    assert_eq!(found(&container.run().ok().no_complaint().stdout), all);
}

/// A program of another user keeps the ambient ones only.
fn cfg_65_sets_of_a_user(runtime: &Runtime) {
    let mut container = with_capabilities(runtime, five_sets());
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let bounding = CHOWN | KILL | SETGID | SETUID;
    let all = wanted([("Inh", CHOWN | KILL), ("Prm", KILL), ("Eff", KILL), ("Bnd", bounding), ("Amb", KILL)]);
    assert_eq!(found(&container.run().ok().no_complaint().stdout), all);
}

/// Before the program is executed, the five sets are exactly the configuration's.
fn cfg_65_sets_of_a_created_container(runtime: &Runtime) {
    let mut container = with_capabilities(runtime, five_sets());
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    container.create().ok();
    let all = wanted([
        ("Inh", CHOWN | KILL),
        ("Prm", CHOWN | KILL | SETUID),
        ("Eff", CHOWN),
        ("Bnd", CHOWN | KILL | SETGID | SETUID),
        ("Amb", KILL),
    ]);
    assert_eq!(found(&container.process().read("status")), all);
}

fn cfg_65_sets_in_a_user_namespace(runtime: &Runtime) {
    let list = ["CAP_SYS_ADMIN", "CAP_CHOWN"];
    let mut container = with_capabilities(runtime, json!({"bounding": list, "permitted": list, "effective": list}));
    container.bundle.user_namespace(100_000);
    let both = SYS_ADMIN | CHOWN;
    let all = wanted([("Inh", 0), ("Prm", both), ("Eff", both), ("Bnd", both), ("Amb", 0)]);
    assert_eq!(found(&container.run().ok().no_complaint().stdout), all);
}

fn cfg_66_omitted_sets_are_empty(runtime: &Runtime) {
    let none = wanted([("Inh", 0), ("Prm", 0), ("Eff", 0), ("Bnd", 0), ("Amb", 0)]);
    let list = json!(["CAP_CHOWN"]);
    for sets in [json!({}), json!({"bounding": []}), json!({"permitted": [], "effective": []})] {
        assert_eq!(found(&with_capabilities(runtime, sets).run().ok().no_complaint().stdout), none);
    }
    let only = with_capabilities(runtime, json!({"bounding": list})).run().ok().stdout;
    assert_eq!(found(&only), wanted([("Inh", 0), ("Prm", 0), ("Eff", 0), ("Bnd", CHOWN), ("Amb", 0)]));
    // The program of root cannot get beyond the empty bounding set.
    let mut container = with_capabilities(runtime, json!({"permitted": list, "effective": list}));
    container.bundle.set("/process/noNewPrivileges", json!(false));
    assert_eq!(found(&container.run().ok().stdout), none);
}

fn decision_18_inheritable_without_bounding_is_refused(runtime: &Runtime) {
    let list = json!(["CAP_CHOWN"]);
    let sets = json!({"permitted": list, "effective": list, "inheritable": list});
    let message = refuses(runtime, |bundle| bundle.set("/process/capabilities", sets));
    assert!(message.contains("operation not permitted"), "{message}");
}

fn point_3_no_capabilities_means_none(runtime: &Runtime) {
    let mut container = with_capabilities(runtime, json!({}));
    container.bundle.remove("/process/capabilities").set("/process/noNewPrivileges", json!(false));
    let none = wanted([("Inh", 0), ("Prm", 0), ("Eff", 0), ("Bnd", 0), ("Amb", 0)]);
    assert_eq!(found(&container.run().ok().no_complaint().stdout), none);
    container.bundle.set("/process/capabilities", Value::Null);
    assert_eq!(found(&container.run().ok().no_complaint().stdout), none);
}

fn unknown_in_each_set() -> Value {
    let mut sets = five_sets();
    for (_, set) in sets.as_object_mut().unwrap() {
        set.as_array_mut().unwrap().extend([json!("CAP_FOO"), json!("CAP_BAR")]);
    }
    sets
}

fn cfg_67_unknown_capabilities_are_one_warning(runtime: &Runtime) {
    let container = with_capabilities(runtime, unknown_in_each_set());
    let output = container.run().ok();
    let text = "ignoring unknown or unavailable capabilities: [CAP_BAR CAP_FOO]";
    assert_eq!(output.stderr.matches(text).count(), 1, "{output}");
    assert_eq!(output.stderr.trim().lines().count(), 1, "{output}");
    assert!(output.stderr.contains("warn"), "{output}");
    assert_eq!(found(&output.stdout), found(&with_capabilities(runtime, five_sets()).run().ok().stdout));
}

fn cfg_67_the_warning_goes_to_the_log(runtime: &Runtime) {
    let container = with_capabilities(runtime, unknown_in_each_set());
    let log = container.folder().join("log");
    let call = container.bare_call().arg("--root").arg(&container.root).arg("--log").arg(&log);
    call.args(["run", "--bundle"]).arg(container.bundle.path()).arg(&container.id).run().ok();
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("ignoring unknown or unavailable capabilities: [CAP_BAR CAP_FOO]").count(), 1, "{text}");
    assert!(text.contains("level=warning"), "{text}");
}

fn cfg_68_impossible_ambient_capabilities_are_a_warning(runtime: &Runtime) {
    let mut sets = five_sets();
    sets["ambient"] = json!(["CAP_KILL", "CAP_SETUID", "CAP_FOO"]);
    let mut container = with_capabilities(runtime, sets);
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let output = container.run().ok();
    assert!(output.stderr.contains("can't raise ambient capability CAP_SETUID: "), "{output}");
    assert!(output.stderr.contains("[CAP_FOO]"), "{output}");
    let sets = found(&output.stdout);
    assert_eq!((sets["Amb"], sets["Eff"]), (KILL, KILL));
}

fn cfg_69_no_new_privileges(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "grep NoNewPrivs /proc/self/status");
    assert_eq!(container.run().ok().text(), "NoNewPrivs:\t1");
    container.bundle.set("/process/noNewPrivileges", json!(false));
    assert_eq!(container.run().ok().text(), "NoNewPrivs:\t0");
    container.bundle.remove("/process/noNewPrivileges");
    assert_eq!(container.run().ok().text(), "NoNewPrivs:\t0");
}

/// busybox gives a set user id back by itself: this takes the host's `id`.
fn cfg_69_setuid_programs_gain_nothing(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "/opt/id -u");
    fs::create_dir(container.bundle.inside("/opt")).unwrap();
    copy_program("/usr/bin/id", container.bundle.inside("/opt/id"));
    fs::set_permissions(container.bundle.inside("/opt/id"), fs::Permissions::from_mode(0o4755)).unwrap();
    for folder in ["/lib", "/lib64", "/usr/lib"].into_iter().filter(|folder| fs::exists(folder).unwrap()) {
        container.bundle.mount(folder, "bind", folder, &["rbind", "ro"]);
    }
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(container.run().ok().no_complaint().text(), "1000");
    container.bundle.set("/process/noNewPrivileges", json!(false));
    assert_eq!(container.run().ok().no_complaint().text(), "0");
}

const SCORE: &str = "cat /proc/self/oom_score_adj";

fn cfg_70_oom_score_is_written(runtime: &Runtime) {
    let mut container = Container::sh(runtime, SCORE);
    for score in ["500", "1000"] {
        container.bundle.set("/process/oomScoreAdj", score.parse().unwrap());
        assert_eq!(container.run().ok().no_complaint().text(), score);
    }
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(container.run().ok().no_complaint().text(), "1000");
}

fn cfg_70_oom_score_is_lowered(runtime: &Runtime) {
    let mut container = Container::sh(runtime, SCORE);
    for score in ["-500", "-1000", "0"] {
        container.bundle.set("/process/oomScoreAdj", score.parse().unwrap());
        let output = container.run_call(&[]).after("echo 200 >/proc/self/oom_score_adj").run().ok();
        assert_eq!(output.text(), score);
    }
}

fn cfg_70_oom_scores_out_of_range_are_refused(runtime: &Runtime) {
    let wrong = [1001, -1001, 100_000, i64::MAX].map(|score| ("/process/oomScoreAdj", json!(score)));
    all_refused(&mut Container::sleeper(runtime), &wrong);
}

fn cfg_71_oom_score_unset_is_the_callers(runtime: &Runtime) {
    let container = Container::sh(runtime, SCORE);
    let output = container.run_call(&[]).after("echo 123 >/proc/self/oom_score_adj").run().ok();
    assert_eq!(output.text(), "123");
    let call = container.create_call(&[]).after("echo 321 >/proc/self/oom_score_adj");
    container.record(call.run()).ok();
    assert_eq!(container.process().read("oom_score_adj").trim(), "321");
    container.start().ok();
    container.wait_stdout("321");
}
