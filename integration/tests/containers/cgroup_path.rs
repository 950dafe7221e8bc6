//! `linux.cgroupsPath`: where the container's cgroup is, and whose it is.

use super::config_errors::refuses;
use integration::container::CGROUPS;
use integration::{Bundle, Container, Runtime, Snapshot};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

cases! {
    Any:
        lnx_54_absolute_path_is_below_the_mount,
        lnx_55_relative_path_is_below_the_parent_of_the_callers_cgroup,
        lnx_56_same_value_same_place,
        lnx_57_default_path_is_unique,
        lnx_58_invalid_paths_are_refused,
        lnx_59_missing_cgroups_are_made,
        lnx_64_inherited_cgroup_namespace_gives_no_ownership,
        lnx_65_without_a_writable_mount_there_is_no_ownership,
        peer_45_born_into_a_cgroup_that_was_killed_once,
        peer_45_born_out_of_a_cgroup_that_was_killed_once,
    ;
    Any [UserNs]:
        lnx_62_cgroup_belongs_to_the_mapped_user,
        lnx_66_only_the_delegated_files_are_given,
    ;
    Any [Unshare]:
        lnx_67_missing_delegated_files_are_no_failure,
        lnx_68_without_the_kernels_list_three_files_are_given,
    ;
    Full:
        lnx_59_controllers_are_enabled_along_the_path,
        lnx_60_without_resources_limits_stay,
        lnx_66_limits_stay_with_root,
    ;
}

fn cgroup_of(container: &Container) -> String {
    container.process().cgroup().expect("a cgroup")
}

fn lnx_54_absolute_path_is_below_the_mount(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    for name in ["container", "deep/er", "with space:colon", "ünder"] {
        let path = format!("/{}/{name}", container.id);
        container.bundle.set("/linux/cgroupsPath", json!(path));
        container.create().ok();
        assert_eq!(cgroup_of(&container), path);
        container.delete_force().ok();
        assert!(!Path::new(&format!("{CGROUPS}{path}")).exists(), "{path} is left");
    }
    container.bundle.set("/linux/cgroupsPath", json!(format!("//{}/./container//", container.id)));
    container.create().ok();
    assert_eq!(cgroup_of(&container), format!("/{}/container", container.id));
}

fn lnx_55_relative_path_is_below_the_parent_of_the_callers_cgroup(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/linux/cgroupsPath", json!(format!("{}/relative", container.id)));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap().trim_end_matches('/');
    let parent = own.rsplit_once('/').map_or("", |(parent, _)| parent);
    container.create().ok();
    assert_eq!(cgroup_of(&container), format!("{parent}/{}/relative", container.id));
}

fn lnx_56_same_value_same_place(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    for path in [format!("/{}/container", container.id), format!("{}/relative", container.id)] {
        container.bundle.set("/linux/cgroupsPath", json!(path));
        let place = |cwd: &str| {
            container.record(container.create_call(&[]).cwd(cwd).run()).ok();
            let place = cgroup_of(&container);
            container.delete_force().ok();
            place
        };
        assert_eq!(place("/"), place("/tmp"));
    }
}

fn lnx_57_default_path_is_unique(runtime: &Runtime) {
    let mut first = Container::sleeper(runtime);
    let mut second = first.beside();
    for container in [&mut first, &mut second] {
        container.bundle.remove("/linux/cgroupsPath");
        container.create().ok();
        assert!(cgroup_of(container).ends_with(&container.id), "{}", cgroup_of(container));
    }
    assert_ne!(cgroup_of(&first), cgroup_of(&second));
}

fn lnx_58_invalid_paths_are_refused(runtime: &Runtime) {
    for path in ["../x", "a/../../x", "/../x", "/a/..", "/", ".", "a\0b", "/a\nb", "slice:prefix:name"] {
        let message = refuses(runtime, |bundle| bundle.set("/linux/cgroupsPath", json!(path)));
        assert!(message.contains("cgroupsPath"), "{path:?}: {message}");
    }
}

fn lnx_59_missing_cgroups_are_made(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let path = format!("/{}/a/b/c/d", container.id);
    container.bundle.set("/linux/cgroupsPath", json!(path));
    container.create().ok();
    assert_eq!(cgroup_of(&container), path);
    container.start().ok();
    container.delete_force().ok();
    assert!(!container.parent_cgroup().join("a/b/c/d").exists());
}

fn lnx_59_controllers_are_enabled_along_the_path(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/linux/cgroupsPath", json!(format!("/{}/a/b/c", container.id)));
    container.bundle.set("/linux/resources", json!({"pids": {"limit": 50}, "memory": {"limit": 1 << 28}}));
    container.create().ok();
    let top = container.parent_cgroup();
    for folder in ["", "a", "a/b"] {
        let enabled = fs::read_to_string(top.join(folder).join("cgroup.subtree_control")).unwrap();
        assert!(enabled.contains("pids") && enabled.contains("memory"), "{folder}: {enabled}");
    }
    assert_eq!(fs::read_to_string(top.join("a/b/c/pids.max")).unwrap(), "50\n");
    assert_eq!(fs::read_to_string(top.join("a/b/pids.max")).unwrap(), "max\n");
}

fn lnx_60_without_resources_limits_stay(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    fs::write(container.parent_cgroup().join("cgroup.subtree_control"), "+pids +memory").unwrap();
    fs::create_dir(container.cgroup()).unwrap();
    fs::write(container.cgroup().join("pids.max"), "77").unwrap();
    fs::write(container.cgroup().join("memory.max"), "268435456").unwrap();
    container.bundle.remove("/linux/resources");
    container.create().ok();
    container.start().ok();
    assert_eq!(fs::read_to_string(container.cgroup().join("pids.max")).unwrap(), "77\n");
    assert_eq!(fs::read_to_string(container.cgroup().join("memory.max")).unwrap(), "268435456\n");
}

/// Makes the cgroup mount of the configuration writable, or not.
fn mount_cgroup<'a>(bundle: &'a mut Bundle, options: &[&str]) -> &'a mut Bundle {
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        let mount = mounts.iter_mut().find(|mount| mount["destination"] == "/sys/fs/cgroup").expect("a cgroup mount");
        mount["options"] = json!(options);
    })
}

fn delegated(runtime: &Runtime) -> Container {
    let mut container = Container::sleeper(runtime);
    container.bundle.user_namespace(100_000).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    mount_cgroup(&mut container.bundle, &["nosuid", "noexec", "nodev", "rw"]);
    container
}

/// The files of the container's cgroup that belong to this user.
fn files_of(container: &Container, uid: u32) -> BTreeSet<String> {
    let entries = fs::read_dir(container.cgroup()).unwrap().flatten();
    let owned = entries.filter(|entry| entry.metadata().is_ok_and(|data| data.is_file() && data.uid() == uid));
    owned.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn folder_owner(container: &Container) -> u32 {
    fs::metadata(container.cgroup()).unwrap().uid()
}

fn lnx_62_cgroup_belongs_to_the_mapped_user(runtime: &Runtime) {
    let mut container = delegated(runtime);
    container.bundle.sh("mkdir /sys/fs/cgroup/own && echo $$ >/sys/fs/cgroup/own/cgroup.procs && cat /proc/self/cgroup; echo done; sleep 1000");
    container.run_detached().ok();
    assert_eq!(folder_owner(&container), 101_000);
    assert!(container.wait_stdout("done").contains("/own\n"), "{}{}", container.stdout(), container.stderr());
}

fn lnx_64_inherited_cgroup_namespace_gives_no_ownership(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000})).without_namespace("cgroup");
    mount_cgroup(&mut container.bundle, &["rw"]);
    container.create().ok();
    assert_eq!(folder_owner(&container), 0);
    assert!(files_of(&container, 1000).is_empty());
}

fn lnx_65_without_a_writable_mount_there_is_no_ownership(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    container.create().ok();
    assert_eq!(folder_owner(&container), 0);
    container.delete_force().ok();
    container.bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount: &Value| mount["destination"] != "/sys/fs/cgroup");
    });
    container.create().ok();
    assert_eq!(folder_owner(&container), 0);
    assert!(files_of(&container, 1000).is_empty());
}

fn delegatable() -> BTreeSet<String> {
    let text = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    text.lines().map(str::to_string).collect()
}

fn lnx_66_only_the_delegated_files_are_given(runtime: &Runtime) {
    let container = delegated(runtime);
    container.create().ok();
    let given = files_of(&container, 101_000);
    let there = delegatable().into_iter().filter(|name| container.cgroup().join(name).exists()).collect();
    assert_eq!(given, there);
    assert!(given.contains("cgroup.procs") && !given.contains("cgroup.freeze"), "{given:?}");
}

fn lnx_66_limits_stay_with_root(runtime: &Runtime) {
    let mut container = delegated(runtime);
    container.bundle.set("/linux/resources", json!({"memory": {"limit": 1 << 28}, "pids": {"limit": 50}}));
    container.create().ok();
    assert_eq!(folder_owner(&container), 101_000);
    let given = files_of(&container, 101_000);
    assert!(given.contains("cgroup.procs"), "{given:?}");
    for name in ["memory.max", "memory.high", "memory.low", "pids.max", "cgroup.freeze", "cgroup.kill"] {
        assert!(!given.contains(name) && container.cgroup().join(name).exists(), "{name}: {given:?}");
    }
}

/// Creates the container of uid 1000 on a machine whose `/sys/kernel/cgroup` was changed by `hide`, and says which
/// files it got. Without a user namespace: there the kernel allows no new sysfs once a part of the host's is covered.
fn given_after(runtime: &Runtime, hide: &str) -> BTreeSet<String> {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    mount_cgroup(&mut container.bundle, &["rw"]);
    let script = format!("{hide} && exec \"$@\"");
    let call = container.create_call(&[]).cwd(container.folder());
    container.record(call.wrapped(["unshare", "--mount", "sh", "-c", &script, "sh"]).run()).ok();
    assert_eq!(folder_owner(&container), 1000);
    files_of(&container, 1000)
}

fn set_of<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_string).into()
}

/// As `memory.oom.group` where the memory controller is off.
fn lnx_67_missing_delegated_files_are_no_failure(runtime: &Runtime) {
    let list = "printf 'cgroup.procs\\nno.such.file\\ncgroup.threads\\n' >list";
    let given = given_after(runtime, &format!("{list} && mount --bind list /sys/kernel/cgroup/delegate"));
    assert_eq!(given, set_of(["cgroup.procs", "cgroup.threads"]));
}

fn lnx_68_without_the_kernels_list_three_files_are_given(runtime: &Runtime) {
    let given = given_after(runtime, "mount -t tmpfs tmpfs /sys/kernel/cgroup");
    assert_eq!(given, set_of(["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]));
}

/// Kernels that guard births against `cgroup.kill` kill whoever is born from a cgroup that was killed another number of
/// times than the one it is born into.
fn killed_once(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::write(path.join("cgroup.kill"), "1").unwrap();
}

fn peer_45_born_into_a_cgroup_that_was_killed_once(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    killed_once(&container.cgroup());
    container.run_detached().ok();
    let path = cgroup_of(&container);
    assert!(path.ends_with("/container"), "{path}");
    let inside = container.exec(["grep", "^0:", "/proc/self/cgroup"]).ok();
    assert_eq!(inside.text(), "0::/");
}

fn peer_45_born_out_of_a_cgroup_that_was_killed_once(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let callers = container.parent_cgroup().join("caller");
    killed_once(&callers);
    let enter = format!("echo $$ >'{}/cgroup.procs'", callers.display());
    let before = Snapshot::take(&container);
    container.record(container.settled(container.run_call(&["--detach"]).after(&enter).run())).ok();
    let path = cgroup_of(&container);
    assert!(path.ends_with("/container"), "{path}");
    let words = ["exec", &container.id, "grep", "^0:", "/proc/self/cgroup"];
    assert_eq!(container.call(words).after(&enter).run().ok().text(), "0::/");
    container.delete_force().ok();
    before.assert_unchanged(&container);
}
