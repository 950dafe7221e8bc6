//! What `create` refuses because of the bundle or config.json, without a trace.

use integration::bundle::{busybox, copy_program};
use integration::{Bundle, Container, Runtime, Snapshot};
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::symlink;

cases! {
    Any:
        gen_2_bytes_that_are_no_utf_8_are_refused,
        gen_2_text_outside_ascii_comes_through,
        gen_3_duplicate_key_at_the_top_is_refused,
        gen_3_duplicate_key_inside_process_is_refused,
        gen_3_duplicate_key_inside_a_list_is_refused,
        gen_4_order_of_keys_does_not_matter,
        gen_5_root_with_a_single_program,
        bnd_1_no_config,
        bnd_1_config_of_another_name,
        bnd_1_bundle_that_does_not_exist,
        bnd_2_root_is_relative_to_the_bundle,
        bnd_3_bundle_with_spaces_in_its_path,
        bnd_3_bundle_through_a_symlink,
        bnd_3_relative_bundle,
        bnd_3_moved_bundle,
        cfg_1_oci_version_is_required,
        cfg_2_oci_version_that_is_not_semver_is_refused,
        cfg_2_oci_version_with_pre_release_or_build_works,
        cfg_3_versions_of_1_x_run,
        cfg_3_a_newer_minor_version_runs,
        cfg_3_version_2_is_refused,
        rt_18_51_bind_source_that_does_not_exist,
        rt_18_51_namespace_path_that_does_not_exist,
        rt_18_51_namespace_path_of_another_type,
        rt_18_51_sysctl_that_does_not_exist,
        rt_18_51_sysctl_of_the_host,
        rt_18_51_device_of_an_unknown_type,
        rt_18_51_unknown_filesystem,
        rt_18_51_mount_option_that_the_kernel_refuses,
        rt_18_51_unknown_namespace_type,
        rt_18_51_namespace_given_twice,
        rt_18_51_uid_mappings_without_user_namespace,
        rt_18_51_unknown_rlimit,
        rt_18_51_soft_rlimit_above_the_hard_one,
        rt_18_51_unknown_seccomp_action,
        rt_18_51_unknown_seccomp_architecture,
        rt_18_51_unknown_root_propagation,
        rt_18_51_hostname_without_uts_namespace,
        rt_18_51_root_that_does_not_exist,
        rt_18_51_root_that_is_a_file,
        rt_18_51_no_root,
        rt_18_51_program_that_does_not_exist,
        rt_18_51_no_args,
        rt_18_51_relative_cwd,
        rt_18_51_no_cwd,
        rt_18_51_oom_score_out_of_range,
        rt_18_51_unknown_personality,
        rt_18_51_unknown_scheduler,
        rt_18_51_unknown_io_priority,
        rt_37_failing_create_runtime_hook_leaves_nothing,
        rt_37_hook_that_does_not_exist_leaves_nothing,
        rt_37_failing_start_leaves_nothing,
        rt_37_failing_run_leaves_nothing,
        rt_37_pid_file_that_cannot_be_written_leaves_nothing,
        rt_37_empty_config_leaves_nothing,
        rt_37_config_that_is_no_json_leaves_nothing,
        rt_37_two_documents_in_one_config_leave_nothing,
        rt_52_error_names_the_json_path,
    ;
}

/// `create` fails, nothing is left, and there is no such container. Returns what it said.
pub fn refused(container: &Container) -> String {
    let before = Snapshot::take(container);
    let output = container.create().fails();
    before.assert_unchanged(container);
    container.state_call().fails();
    output.stderr
}

/// The container with this edit is refused.
pub fn refuses(runtime: &Runtime, edit: impl FnOnce(&mut Bundle) -> &mut Bundle) -> String {
    let mut container = Container::sleeper(runtime);
    edit(&mut container.bundle);
    refused(&container)
}

fn gen_2_bytes_that_are_no_utf_8_are_refused(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let text = container.bundle.config().to_string().replace("TERM=xterm", "TERM=?");
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
    container.bundle.write_config(bytes);
    refused(&container);
}

fn gen_2_text_outside_ascii_comes_through(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "hostname; printf '%s\\n' \"$WORD\" \"$0\"; sleep 1000");
    container.bundle.set("/hostname", json!("höst")).push("/process/env", json!("WORD=日本語 🦀"));
    container.bundle.push("/process/args", json!("ärg")).set("/annotations", json!({"schlüssel": "wört"}));
    container.run_detached().ok();
    assert_eq!(container.wait_stdout("ärg\n"), "höst\n日本語 🦀\närg\n");
    assert_eq!(container.state()["annotations"], json!({"schlüssel": "wört"}));
}

/// The configuration with `from` replaced once by `to` is refused, and the message names `key`.
fn duplicate(runtime: &Runtime, from: &str, to: &str, key: &str) {
    let container = Container::sleeper(runtime);
    let text = container.bundle.config().to_string();
    assert!(text.contains(from), "{from} in {text}");
    container.bundle.write_config(text.replacen(from, to, 1));
    let message = refused(&container);
    assert!(message.contains(key), "{key} in {message}");
}

fn gen_3_duplicate_key_at_the_top_is_refused(runtime: &Runtime) {
    duplicate(runtime, "{\"hostname\":", "{\"hostname\":\"twice\",\"hostname\":", "hostname");
}

fn gen_3_duplicate_key_inside_process_is_refused(runtime: &Runtime) {
    duplicate(runtime, "\"cwd\":", "\"cwd\":\"/tmp\",\"cwd\":", "cwd");
}

fn gen_3_duplicate_key_inside_a_list_is_refused(runtime: &Runtime) {
    duplicate(runtime, "\"destination\":", "\"destination\":\"/x\",\"destination\":", "destination");
}

/// The value as text, with the members of every object in reversed order.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let text = |(name, member): (&String, &Value)| format!("{}:{}", json!(name), reversed(member));
            format!("{{{}}}", members.iter().rev().map(text).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn gen_4_order_of_keys_does_not_matter(runtime: &Runtime) {
    // Without times: a minute may end between the two runs.
    let look = "hostname; cut -d' ' -f5- /proc/self/mountinfo; env; id; stat -c '%N %f %u:%g %h %s %t:%T' /dev /dev/*; grep Cap /proc/self/status";
    let container = Container::sh(runtime, look);
    let first = container.run().ok();
    container.bundle.write_config(reversed(container.bundle.config()));
    assert_eq!(container.run().ok().stdout, first.stdout);
}

fn gen_5_root_with_a_single_program(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let rootfs = container.bundle.rootfs();
    fs::remove_dir_all(&rootfs).unwrap();
    fs::create_dir(&rootfs).unwrap();
    copy_program(busybox(), rootfs.join("echo"));
    container.bundle.args(["/echo", "alone"]).writable();
    container.create().ok().silent();
    container.start().ok().silent();
    container.wait_for("stopped");
    assert_eq!(container.stdout(), "alone\n");
    container.delete().ok().silent();
}

fn bnd_1_no_config(runtime: &Runtime) {
    let container = Container::new(runtime);
    fs::remove_file(container.bundle.path().join("config.json")).unwrap();
    refused(&container);
}

fn bnd_1_config_of_another_name(runtime: &Runtime) {
    let container = Container::new(runtime);
    let bundle = container.bundle.path();
    fs::create_dir(bundle.join("sub")).unwrap();
    fs::copy(bundle.join("config.json"), bundle.join("sub/config.json")).unwrap();
    fs::rename(bundle.join("config.json"), bundle.join("Config.json")).unwrap();
    refused(&container);
}

fn bnd_1_bundle_that_does_not_exist(runtime: &Runtime) {
    let container = Container::new(runtime);
    let before = Snapshot::take(&container);
    container.call(["create", "--bundle", "/nowhere/at/all", &container.id]).run().fails();
    before.assert_unchanged(&container);
}

fn bnd_2_root_is_relative_to_the_bundle(runtime: &Runtime) {
    let container = Container::sh(runtime, "cat /etc/mark");
    container.bundle.file("/etc/mark", "the bundle's", 0o644);
    fs::create_dir_all(container.folder().join("elsewhere/rootfs")).unwrap();
    let output = container.run_call(&[]).cwd(container.folder().join("elsewhere")).run().ok();
    assert_eq!(output.text(), "the bundle's");
}

/// Creates the container in the bundle as named by `name` in the test's folder.
fn works_as(container: &Container, name: &str, from: &str) {
    let folder = container.folder();
    let call = container.call(["create", "--bundle", name, &container.id]).cwd(folder.join(from));
    container.record(call.run()).ok().silent();
    let bundle = container.state()["bundle"].as_str().unwrap().to_string();
    assert!(bundle.starts_with('/'), "{bundle}");
    let wanted = folder.join(from).join(name).canonicalize().unwrap();
    assert_eq!(fs::canonicalize(&bundle).unwrap(), wanted);
    container.start().ok();
    container.wait_stdout("ran");
}

fn bnd_3_bundle_with_spaces_in_its_path(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ran");
    let path = container.folder().join("a bundle, with  spaces");
    fs::rename(container.bundle.path(), &path).unwrap();
    works_as(&container, path.to_str().unwrap(), ".");
}

fn bnd_3_bundle_through_a_symlink(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ran");
    let link = container.folder().join("link");
    symlink("bundle", &link).unwrap();
    works_as(&container, link.to_str().unwrap(), ".");
}

fn bnd_3_relative_bundle(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ran");
    works_as(&container, "../bundle", "calls");
}

fn bnd_3_moved_bundle(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo ran");
    fs::rename(container.bundle.path(), container.folder().join("moved")).unwrap();
    works_as(&container, "moved", ".");
}

fn cfg_1_oci_version_is_required(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| bundle.remove("/ociVersion"));
    assert!(message.contains("ociVersion"), "{message}");
}

fn cfg_2_oci_version_that_is_not_semver_is_refused(runtime: &Runtime) {
    for version in ["invalid", "1.0", "1", "v1.0.0", "01.0.0", "1.0.0.0", "1.0.0-", "1.0.0+", " 1.0.0", ""] {
        let message = refuses(runtime, |bundle| bundle.set("/ociVersion", json!(version)));
        assert!(message.contains("ociVersion") && message.contains(version), "{version:?}: {message}");
    }
}

fn runs_as_version(runtime: &Runtime, version: &str) {
    let mut container = Container::sh(runtime, "echo ran");
    container.bundle.set("/ociVersion", json!(version));
    assert_eq!(container.run().ok().no_complaint().text(), "ran", "{version}");
}

fn cfg_2_oci_version_with_pre_release_or_build_works(runtime: &Runtime) {
    for version in ["1.0.2-dev", "1.2.0+dev", "1.0.0-rc5", "1.0.0-alpha.1+build.5"] {
        runs_as_version(runtime, version);
    }
}

fn cfg_3_versions_of_1_x_run(runtime: &Runtime) {
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"] {
        runs_as_version(runtime, version);
    }
}

fn cfg_3_a_newer_minor_version_runs(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo ran");
    container.bundle.set("/ociVersion", json!("1.99.0")).set("/fromTheFuture", json!({"a": [1]}));
    container.bundle.set("/process/fromTheFuture", json!(true)).set("/linux/fromTheFuture", json!("x"));
    assert_eq!(container.run().ok().no_complaint().text(), "ran");
}

fn cfg_3_version_2_is_refused(runtime: &Runtime) {
    for version in ["2.0.0", "2.0.0-rc1", "10.0.0"] {
        refuses(runtime, |bundle| bundle.set("/ociVersion", json!(version)));
    }
}

fn rt_18_51_bind_source_that_does_not_exist(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.mount("/data", "bind", "/nowhere/at/all", &["bind"]));
}

fn rt_18_51_namespace_path_that_does_not_exist(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.join_namespace("network", "/run/netns/nowhere-at-all"));
}

fn rt_18_51_namespace_path_of_another_type(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.join_namespace("network", "/proc/self/ns/uts"));
}

fn rt_18_51_sysctl_that_does_not_exist(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/linux/sysctl", json!({"net.nowhere.at_all": "1"})));
}

fn rt_18_51_sysctl_of_the_host(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/linux/sysctl", json!({"vm.swappiness": "60"})));
}

fn rt_18_51_device_of_an_unknown_type(runtime: &Runtime) {
    let device = json!([{"path": "/dev/strange", "type": "z", "major": 1, "minor": 3}]);
    refuses(runtime, |bundle| bundle.set("/linux/devices", device));
}

fn rt_18_51_unknown_filesystem(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| bundle.mount("/data", "nosuchfs", "none", &[]));
    assert!(message.contains("data"), "{message}");
}

fn rt_18_51_mount_option_that_the_kernel_refuses(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.mount("/data", "tmpfs", "tmpfs", &["nosuchoption"]));
}

fn rt_18_51_unknown_namespace_type(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.push("/linux/namespaces", json!({"type": "strange"})));
}

fn rt_18_51_namespace_given_twice(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.push("/linux/namespaces", json!({"type": "pid"})));
}

fn rt_18_51_uid_mappings_without_user_namespace(runtime: &Runtime) {
    let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    refuses(runtime, |bundle| bundle.set("/linux/uidMappings", mapping));
}

fn rt_18_51_unknown_rlimit(runtime: &Runtime) {
    let limit = json!([{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]);
    refuses(runtime, |bundle| bundle.set("/process/rlimits", limit));
}

fn rt_18_51_soft_rlimit_above_the_hard_one(runtime: &Runtime) {
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 32}]);
    refuses(runtime, |bundle| bundle.set("/process/rlimits", limit));
}

fn rt_18_51_unknown_seccomp_action(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_STRANGE"})));
}

fn rt_18_51_unknown_seccomp_architecture(runtime: &Runtime) {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_STRANGE"],
        "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]
    });
    refuses(runtime, |bundle| bundle.set("/linux/seccomp", filter));
}

fn rt_18_51_unknown_root_propagation(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/linux/rootfsPropagation", json!("strange")));
}

fn rt_18_51_hostname_without_uts_namespace(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.without_namespace("uts"));
}

fn rt_18_51_root_that_does_not_exist(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/root/path", json!("nowhere")));
}

fn rt_18_51_root_that_is_a_file(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/root/path", json!("config.json")));
}

fn rt_18_51_no_root(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.remove("/root"));
}

fn rt_18_51_program_that_does_not_exist(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.args(["/nowhere"]));
}

fn rt_18_51_no_args(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/process/args", json!([])));
}

fn rt_18_51_relative_cwd(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/process/cwd", json!("tmp")));
}

fn rt_18_51_no_cwd(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.remove("/process/cwd"));
}

fn rt_18_51_oom_score_out_of_range(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/process/oomScoreAdj", json!(1001)));
}

fn rt_18_51_unknown_personality(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/linux/personality", json!({"domain": "STRANGE"})));
}

fn rt_18_51_unknown_scheduler(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.set("/process/scheduler", json!({"policy": "SCHED_STRANGE"})));
}

fn rt_18_51_unknown_io_priority(runtime: &Runtime) {
    let priority = json!({"class": "IOPRIO_CLASS_STRANGE", "priority": 4});
    refuses(runtime, |bundle| bundle.set("/process/ioPriority", priority));
}

fn rt_37_failing_create_runtime_hook_leaves_nothing(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.push("/hooks/createRuntime", json!({"path": "/bin/false"})));
}

fn rt_37_hook_that_does_not_exist_leaves_nothing(runtime: &Runtime) {
    refuses(runtime, |bundle| bundle.push("/hooks/createRuntime", json!({"path": "/nowhere/at/all"})));
}

fn rt_37_failing_start_leaves_nothing(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.run_detached().ok();
    container.wait_for("stopped");
    let before = Snapshot::take(&container);
    container.start().fails();
    before.assert_unchanged(&container);
    assert_eq!(container.status(), "stopped");
}

fn rt_37_failing_run_leaves_nothing(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let before = Snapshot::take(&container);
    for options in [&[][..], &["--detach"], &["--keep"]] {
        container.bundle.args(["/nowhere"]);
        container.run_call(options).run().fails();
        before.assert_unchanged(&container);
        container.state_call().fails();
    }
}

fn rt_37_pid_file_that_cannot_be_written_leaves_nothing(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.create_with(&["--pid-file", "/nowhere/at/all/pid"]).fails();
    before.assert_unchanged(&container);
    container.state_call().fails();
}

fn rt_37_empty_config_leaves_nothing(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.bundle.write_config("");
    refused(&container);
    container.bundle.write_config(Value::Object(Map::new()).to_string());
    refused(&container);
}

fn rt_37_config_that_is_no_json_leaves_nothing(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let text = container.bundle.config().to_string();
    for wrong in [&text[..text.len() / 2], "[]", "null", "{\"ociVersion\": }"] {
        container.bundle.write_config(wrong);
        refused(&container);
    }
}

fn rt_37_two_documents_in_one_config_leave_nothing(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let text = container.bundle.config().to_string();
    container.bundle.write_config(format!("{text}\n{text}"));
    refused(&container);
}

fn rt_52_error_names_the_json_path(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| bundle.set("/process/args", json!("no list")));
    assert!(message.contains("process.args"), "{message}");
    let message = refuses(runtime, |bundle| bundle.set("/linux/uidMappings", json!([{"size": "big"}])));
    assert!(message.contains("uidMappings"), "{message}");
}
