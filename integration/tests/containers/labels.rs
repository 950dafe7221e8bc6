//! Security modules: AppArmor profiles, SELinux labels of processes, keyrings and mounts. And session keyrings.

use super::values::all_refused;
use integration::{Container, Runtime, Snapshot, until};
use serde_json::{Value, json};
use std::fs;

cases! {
    Any:
        peer_41_containers_have_session_keyrings,
        peer_41_exec_is_in_the_containers_keyring,
        peer_41_no_new_keyring_leaves_the_callers,
    ;
    Any [NoAppArmor]:
        cfg_64_apparmor_that_is_off_is_an_error,
    ;
    Any [NoSeLinux]:
        cfg_76_selinux_that_is_off_is_an_error,
        lnx_160_mount_labels_without_selinux_are_an_error,
    ;
    Any [AppArmor, AppArmorParser]:
        cfg_64_profile_confines_the_process,
        cfg_64_profile_of_exec,
        cfg_64_profile_with_no_new_privileges,
        cfg_64_profile_in_a_user_namespace,
        cfg_64_an_unknown_profile_is_an_error,
        row_61_refused_profile_is_known_by_its_path,
        sec_4_profile_holds_whatever_is_on_proc,
    ;
    Any [SeLinux]:
        cfg_76_label_of_the_process,
        cfg_76_label_of_exec,
        cfg_76_an_unknown_label_is_an_error,
        lnx_160_label_of_mounts,
        sec_4_label_holds_whatever_is_on_proc,
    ;
}

fn cfg_64_apparmor_that_is_off_is_an_error(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    all_refused(&mut container, &[("/process/apparmorProfile", json!("unconfined"))]);
    container.bundle.set("/process/apparmorProfile", Value::Null);
    container.run_detached().ok();
    container.call(["exec", "--apparmor", "docker-default", &container.id, "/bin/true"]).run().exits(255).fails_with("pparmor");
}

fn cfg_76_selinux_that_is_off_is_an_error(runtime: &Runtime) {
    const TEXT: &str = "selinux label is specified in config, but selinux is disabled or not supported";
    let mut container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.bundle.set("/process/selinuxLabel", json!("system_u:system_r:container_t:s0"));
    container.create().fails_with(TEXT);
    before.assert_unchanged(&container);
    container.bundle.set("/process/selinuxLabel", json!(""));
    container.run_detached().ok();
    let words = ["exec", "--process-label", "system_u:system_r:container_t:s0", &container.id, "/bin/true"];
    container.call(words).run().exits(255).fails_with(TEXT);
}

fn lnx_160_mount_labels_without_selinux_are_an_error(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.set("/linux/mountLabel", json!("system_u:object_r:container_file_t:s0"));
    container.create().fails();
    container.bundle.set("/linux/mountLabel", json!(""));
    container.run().ok();
}

/// The session keyring that a process of the container sees, or the whole list without one.
const KEYRING: &str = "grep -o '_ses[^ ]*' /proc/keys || cat /proc/keys";

fn with_keys(runtime: &Runtime) -> Container {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/linux/maskedPaths", json!([]));
    container
}

fn peer_41_containers_have_session_keyrings(runtime: &Runtime) {
    let mut container = with_keys(runtime);
    container.bundle.sh(KEYRING);
    let name = format!("_ses.{}:", container.id);
    let found = container.run().ok().stdout;
    assert!(found.lines().any(|line| line == name), "{found}");
}

/// The serial number of the keyring called after the container.
fn serial(container: &Container) -> String {
    let name = format!(" _ses.{}:", container.id);
    let keys = container.exec(["/bin/cat", "/proc/keys"]).ok().stdout;
    let line = keys.lines().filter(|line| line.contains(&name)).collect::<Vec<_>>();
    assert_eq!(line.len(), 1, "{keys}");
    line[0].split(' ').next().unwrap_or_default().to_string()
}

fn peer_41_exec_is_in_the_containers_keyring(runtime: &Runtime) {
    let container = with_keys(runtime);
    container.run_detached().ok();
    assert_eq!(serial(&container), serial(&container));
    let user = ["exec", "--user", "1000:1000", &container.id, "/bin/sh", "-c", KEYRING];
    let found = container.call(user).run().ok().stdout;
    assert!(found.contains(&format!("_ses.{}", container.id)), "{found}");
}

fn peer_41_no_new_keyring_leaves_the_callers(runtime: &Runtime) {
    let mut container = with_keys(runtime);
    container.bundle.sh(&format!("{KEYRING}; exec sleep 1000"));
    container.record(container.create_with(&["--no-new-keyring"])).ok();
    container.start().ok();
    let own = format!("_ses.{}", container.id);
    let seen = until("the list", || Some(container.stdout()).filter(|text| text.contains('\n')));
    assert!(!seen.contains(&own), "{seen}");
    let seen = container.exec_sh(KEYRING).ok().stdout;
    assert!(!seen.contains(&own), "{seen}");
}

/// Loads a profile that forbids one file, under the container's name, and asks for it.
fn confined(runtime: &Runtime) -> Container {
    let mut container = Container::sleeper(runtime);
    let name = profile(&container);
    let rules = "file, capability, signal, ptrace, mount, umount, network, deny /forbidden rwx,";
    let text = format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{ {rules} }}\n");
    container.host_call("apparmor_parser").args(["--replace", "--skip-cache"]).input(&text).run().ok();
    container.bundle.file("/forbidden", "secret", 0o644);
    container.bundle.set("/process/apparmorProfile", json!(name));
    container
}

fn profile(container: &Container) -> String {
    format!("profile-{}", container.name())
}

const CONFINED: &str = "cat /proc/self/attr/current; cat /forbidden 2>/dev/null || echo forbidden";

fn is_confined(container: &Container, output: &str) {
    assert_eq!(output, format!("{} (enforce)\nforbidden\n", profile(container)));
}

fn cfg_64_profile_confines_the_process(runtime: &Runtime) {
    let mut container = confined(runtime);
    container.bundle.sh(CONFINED);
    is_confined(&container, &container.run().ok().stdout);
}

fn cfg_64_profile_of_exec(runtime: &Runtime) {
    let mut container = confined(runtime);
    container.run_detached().ok();
    is_confined(&container, &container.exec_sh(CONFINED).ok().stdout);
    // As in runc, a process object that says nothing of it has the container's profile.
    let file = container.folder().join("process.json");
    fs::write(&file, json!({"args": ["/bin/sh", "-c", CONFINED], "cwd": "/", "env": ["PATH=/bin"]}).to_string()).unwrap();
    let output = container.call(["exec", "--process"]).arg(&file).arg(&container.id).run().ok();
    is_confined(&container, &output.stdout);
    container.delete_force().ok();
    container.bundle.set("/process/apparmorProfile", Value::Null);
    container.run_detached().ok();
    let found = container.exec_sh("cat /proc/self/attr/current").ok();
    assert_eq!(found.text(), "unconfined");
    let words = ["exec", "--apparmor", &profile(&container), &container.id, "/bin/sh", "-c", CONFINED];
    is_confined(&container, &container.call(words).run().ok().stdout);
}

fn cfg_64_profile_with_no_new_privileges(runtime: &Runtime) {
    let mut container = confined(runtime);
    container.bundle.sh(CONFINED).set("/process/noNewPrivileges", json!(true));
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    is_confined(&container, &container.run().ok().stdout);
}

fn cfg_64_profile_in_a_user_namespace(runtime: &Runtime) {
    let mut container = confined(runtime);
    container.bundle.sh(CONFINED).user_namespace(100_000);
    is_confined(&container, &container.run().ok().stdout);
}

fn cfg_64_an_unknown_profile_is_an_error(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.bundle.set("/process/apparmorProfile", json!("nobody-knows-it"));
    container.create().fails_with("pparmor");
    before.assert_unchanged(&container);
    container.bundle.set("/process/apparmorProfile", Value::Null);
    container.run_detached().ok();
    let words = ["exec", "--apparmor", "nobody-knows-it", &container.id, "/bin/true"];
    container.call(words).run().exits(255).fails_with("pparmor");
}

fn row_61_refused_profile_is_known_by_its_path(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/apparmorProfile", json!("nobody-knows-it"));
    let output = container.create().fails_with("`/proc/");
    assert!(output.stderr.contains("/exec`"), "{output}");
}

/// The container has nothing on `/proc` that a label could be written to, and is labelled all the same (CVE-2019-16884).
fn without_proc(container: &mut Container) {
    container.bundle.edit(|config| {
        config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/proc");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    for name in ["self", "thread-self"] {
        for attribute in ["exec", "keycreate", "current", "apparmor/exec"] {
            container.bundle.file(&format!("/proc/{name}/attr/{attribute}"), "fake\n", 0o666);
        }
    }
}

fn sec_4_profile_holds_whatever_is_on_proc(runtime: &Runtime) {
    let mut container = confined(runtime);
    without_proc(&mut container);
    container.run_detached().ok();
    let label = container.process().read("attr/current");
    assert_eq!(label.trim_end(), format!("{} (enforce)", profile(&container)));
    let process = container.exec_detached(&[], &["/bin/sleep", "1000"]);
    assert_eq!(process.read("attr/current"), label);
    let fake = container.bundle.inside("/proc/self/attr/apparmor/exec");
    assert_eq!(fs::read_to_string(fake).unwrap(), "fake\n");
}

const LABEL: &str = "system_u:system_r:container_t:s0:c4,c5";

fn labelled(runtime: &Runtime) -> Container {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/selinuxLabel", json!(LABEL));
    container
}

fn label_of(text: &str) -> &str {
    text.trim_end_matches(['\0', '\n'])
}

fn cfg_76_label_of_the_process(runtime: &Runtime) {
    let container = labelled(runtime);
    container.run_detached().ok();
    assert_eq!(label_of(&container.process().read("attr/current")), LABEL);
}

fn cfg_76_label_of_exec(runtime: &Runtime) {
    let container = labelled(runtime);
    container.run_detached().ok();
    let process = container.exec_detached(&[], &["/bin/sleep", "1000"]);
    assert_eq!(label_of(&process.read("attr/current")), LABEL);
    let other = LABEL.replace("c4,c5", "c6");
    let process = container.exec_detached(&["--process-label", &other], &["/bin/sleep", "1000"]);
    assert_eq!(label_of(&process.read("attr/current")), other);
}

fn cfg_76_an_unknown_label_is_an_error(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.bundle.set("/process/selinuxLabel", json!("a:b:c:s0"));
    container.create().fails_with("selinuxLabel");
    before.assert_unchanged(&container);
}

fn lnx_160_label_of_mounts(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "grep -E ' /(dev/shm|proc|dev/mqueue) ' /proc/self/mountinfo; exec sleep 1000");
    let label = "system_u:object_r:container_file_t:s0:c4,c5";
    container.bundle.set("/linux/mountLabel", json!(label));
    container.run_detached().ok();
    let seen = container.wait_stdout("shm");
    let of = |target: &str| seen.lines().find(|line| line.contains(target)).unwrap_or_default().contains(label);
    assert!(of(" /dev/shm ") && !of(" /proc "), "{seen}");
}

fn sec_4_label_holds_whatever_is_on_proc(runtime: &Runtime) {
    let mut container = labelled(runtime);
    without_proc(&mut container);
    container.run_detached().ok();
    assert_eq!(label_of(&container.process().read("attr/current")), LABEL);
    let process = container.exec_detached(&[], &["/bin/sleep", "1000"]);
    assert_eq!(label_of(&process.read("attr/current")), LABEL);
}
