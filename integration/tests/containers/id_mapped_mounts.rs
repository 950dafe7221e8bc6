//! Mounts whose ids are mapped: `idmap`, `ridmap`, `mounts[].uidMappings` and `gidMappings`.

use integration::mountinfo::{Mounts, host_folder, host_mount, refused, text};
use integration::{Container, Runtime, Snapshot};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

cases! {
    Any [IdMap]:
        cfg_32_ids_are_mapped,
        cfg_32_ids_of_a_source_made_by_an_earlier_mount,
        cfg_32_ids_of_a_new_file_system,
        cfg_33_several_maps_of_the_same_source,
        cfg_33_maps_of_many_ranges,
        cfg_33_maps_in_the_option,
        cfg_35_no_mappings_and_no_user_namespace_is_refused,
        cfg_36_recursive_and_not,
        cfg_37_only_one_of_the_mappings_is_refused,
        cfg_37_impossible_mappings_are_refused,
        cfg_38_mappings_without_the_option_are_applied,
        cfg_39_nothing_is_changed_on_the_host,
        cfg_39_ids_without_a_mapping_cannot_write,
        cfg_39_a_file_system_that_cannot_is_named,
    ;
    Any [IdMap, UserNs]:
        cfg_33_own_mappings_in_a_user_namespace,
        cfg_33_many_mounts_leave_no_descriptors,
        cfg_34_mappings_of_the_user_namespace,
        cfg_34_mappings_of_a_joined_user_namespace,
        cfg_36_recursive_in_a_user_namespace,
        cfg_39_files_are_stored_unshifted,
    ;
}

/// A mapping of SIZE ids: the file system's, the host's.
fn map(inside: u32, outside: u32, size: u32) -> Value {
    json!([{"containerID": inside, "hostID": outside, "size": size}])
}

/// A folder of the host with a file that belongs to 100 and the group 211.
fn source(container: &Container, name: &str) -> PathBuf {
    let folder = host_folder(container, name);
    fs::write(folder.join("file"), "").unwrap();
    chown(folder.join("file"), Some(100), Some(211)).unwrap();
    folder
}

/// Binds `source` with these options and maps.
fn bind(container: &mut Container, destination: &str, source: &Path, options: &[&str], maps: Option<[Value; 2]>) {
    let mut mount = json!({"destination": destination, "type": "none", "source": text(source), "options": options});
    if let Some([uid, gid]) = maps {
        mount["uidMappings"] = uid;
        mount["gidMappings"] = gid;
    }
    container.bundle.push("/mounts", mount);
}

fn owners(paths: &str) -> String {
    format!("stat -c %u:%g {paths}")
}

fn cfg_32_ids_are_mapped(runtime: &Runtime) {
    let mut container = Container::sh(runtime, &owners("/m/file /plain/file"));
    let source = source(&container, "source");
    bind(&mut container, "/m", &source, &["bind", "idmap"], Some([map(100, 1000, 10), map(210, 2000, 10)]));
    bind(&mut container, "/plain", &source, &["bind"], None);
    let before = Snapshot::take(&container);
    assert_eq!(container.run().ok().no_complaint().text(), "1000:2001\n100:211");
    before.assert_unchanged(&container);
    let mounts = Mounts::inside(&mut container);
    assert!(mounts.at("/m").has("idmapped") && !mounts.at("/plain").has("idmapped"), "{mounts:?}");
}

fn cfg_32_ids_of_a_source_made_by_an_earlier_mount(runtime: &Runtime) {
    let mut container = Container::sh(runtime, &owners("/second/file"));
    let source = source(&container, "source/sub");
    bind(&mut container, "/first", source.parent().unwrap(), &["bind"], None);
    let made = container.bundle.inside("/first/sub");
    bind(&mut container, "/second", &made, &["bind"], Some([map(100, 5, 1), map(211, 6, 1)]));
    assert_eq!(container.run().ok().text(), "5:6");
}

fn cfg_32_ids_of_a_new_file_system(runtime: &Runtime) {
    let mut container = Container::sh(runtime, &owners("/m"));
    let mount = json!({
        "destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": ["idmap"],
        "uidMappings": map(0, 5, 1), "gidMappings": map(0, 6, 1),
    });
    container.bundle.push("/mounts", mount);
    assert_eq!(container.run().ok().text(), "5:6");
}

fn cfg_33_several_maps_of_the_same_source(runtime: &Runtime) {
    let mut container = Container::sh(runtime, &owners("/a/file /b/file /c/file /d/file"));
    let source = source(&container, "source");
    let link = container.folder().join("link");
    symlink("source", &link).unwrap();
    bind(&mut container, "/a", &source, &["bind"], Some([map(100, 1000, 10), map(210, 2000, 10)]));
    bind(&mut container, "/b", &source, &["bind"], Some([map(100, 3000, 10), map(210, 4000, 10)]));
    bind(&mut container, "/c", &link, &["bind"], Some([map(100, 1000, 10), map(210, 2000, 10)]));
    bind(&mut container, "/d", &source.join("../link/"), &["rbind"], Some([map(99, 0, 10), map(211, 0, 1)]));
    assert_eq!(container.run().ok().text(), "1000:2001\n3000:4001\n1000:2001\n1:0");
}

fn cfg_33_maps_of_many_ranges(runtime: &Runtime) {
    let mut container = Container::sh(runtime, &owners("/m/file /m/other"));
    let source = source(&container, "source");
    fs::write(source.join("other"), "").unwrap();
    chown(source.join("other"), Some(3_000_000_000), Some(5)).unwrap();
    let range = |inside: u32, outside: u32| json!({"containerID": inside, "hostID": outside, "size": 1});
    let uid = json!([range(100, 7), range(3_000_000_000, 8)]);
    let gid = json!([range(5, 9), range(211, 4_000_000_000)]);
    bind(&mut container, "/m", &source, &["rbind", "idmap", "ro"], Some([uid, gid]));
    assert_eq!(container.run().ok().text(), "7:4000000000\n8:9");
}

fn cfg_33_maps_in_the_option(runtime: &Runtime) {
    let mut container = Container::sh(runtime, &owners("/m/file"));
    let source = source(&container, "source");
    bind(&mut container, "/m", &source, &["bind", "idmap=uids=0-50-1#100-70-1;gids=211-80-1"], None);
    assert_eq!(container.run().ok().text(), "70:80");
    for wrong in ["uids=0-1", "uids=0-1-2-3;gids=0-1-2", "uids=a-1-1;gids=0-0-1", "users=0-1-2", "uids=0-0-1", "gids=0-@0-1"] {
        container.bundle.edit(|config| config["mounts"].as_array_mut().unwrap().truncate(7));
        bind(&mut container, "/m", &source, &["bind", &format!("idmap={wrong}")], None);
        let message = refused(&container);
        assert!(message.contains("mounts[7].options[1]"), "{wrong}: {message}");
    }
}

fn cfg_33_own_mappings_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, &owners("/m/file /plain/file /unmapped/file"));
    let source = source(&container, "source");
    container.bundle.user_namespace(100_000);
    bind(&mut container, "/m", &source, &["bind", "idmap"], Some([map(100, 100_007, 1), map(211, 100_008, 1)]));
    bind(&mut container, "/plain", &source, &["bind"], None);
    bind(&mut container, "/unmapped", &source, &["bind", "idmap"], Some([map(100, 5, 1), map(211, 100_008, 1)]));
    assert_eq!(container.run().ok().text(), "7:8\n65534:65534\n65534:8");
}

fn cfg_33_many_mounts_leave_no_descriptors(runtime: &Runtime) {
    // Not through a pipe, which the shell would have open itself until it has made both sides.
    let mut container = Container::sh(runtime, &format!("{}; ls /proc/$$/fd; true", owners("/m/19/file")));
    let source = source(&container, "source");
    container.bundle.user_namespace(100_000);
    container.bundle.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 20}]));
    for index in 0..20 {
        let maps = [map(100, 100_000 + index % 3, 1), map(211, 100_000, 1)];
        bind(&mut container, &format!("/m/{index}"), &source, &["bind"], Some(maps));
    }
    assert_eq!(container.run().ok().text(), "1:0\n0\n1\n2");
}

fn cfg_34_mappings_of_the_user_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, &owners("/m/file"));
    let source = source(&container, "source");
    container.bundle.user_namespace(100_000);
    bind(&mut container, "/m", &source, &["bind", "idmap"], None);
    assert_eq!(container.run().ok().text(), "100:211");
}

fn cfg_34_mappings_of_a_joined_user_namespace(runtime: &Runtime) {
    let mut first = Container::sleeper(runtime);
    first.bundle.user_namespace(100_000);
    first.create().ok();
    let mut container = Container::sh(runtime, &owners("/m/file"));
    let source = source(&container, "source");
    container.bundle.user_namespace(100_000).join_namespace("user", &format!("/proc/{}/ns/user", first.pid()));
    container.bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    bind(&mut container, "/m", &source, &["bind", "ridmap"], None);
    assert_eq!(container.run().ok().text(), "100:211");
}

fn cfg_35_no_mappings_and_no_user_namespace_is_refused(runtime: &Runtime) {
    for option in ["idmap", "ridmap"] {
        let mut container = Container::sleeper(runtime);
        let source = source(&container, "source");
        bind(&mut container, "/m", &source, &["rbind", option], None);
        let message = refused(&container);
        assert!(message.contains("mappings") || message.contains("mapping"), "{message}");
    }
}

/// A tree of two mounts, bound with an option each.
fn tree(container: &mut Container, maps: Option<[Value; 2]>) {
    let top = source(container, "top");
    let below = source(container, "below");
    host_mount(container, &["--bind", text(&below)], &top.join("sub"));
    bind(container, "/one", &top, &["rbind", "idmap"], maps.clone());
    bind(container, "/all", &top, &["rbind", "ridmap"], maps);
    container.bundle.sh(&owners("/one/file /one/sub/file /all/file /all/sub/file"));
}

fn cfg_36_recursive_and_not(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    tree(&mut container, Some([map(100, 7, 1), map(211, 8, 1)]));
    assert_eq!(container.run().ok().text(), "7:8\n100:211\n7:8\n7:8");
}

fn cfg_36_recursive_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    tree(&mut container, None);
    container.bundle.user_namespace(100_000);
    assert_eq!(container.run().ok().text(), "100:211\n65534:65534\n100:211\n100:211");
}

fn cfg_37_only_one_of_the_mappings_is_refused(runtime: &Runtime) {
    for (name, other) in [("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")] {
        for options in [&["bind"][..], &["bind", "idmap"]] {
            let mut container = Container::sleeper(runtime);
            let source = source(&container, "source");
            bind(&mut container, "/m", &source, options, None);
            container.bundle.set(&format!("/mounts/7/{name}"), map(0, 0, 10));
            let message = refused(&container);
            assert!(message.contains(&format!("mounts[7].{other}")), "{message}");
        }
    }
}

fn cfg_37_impossible_mappings_are_refused(runtime: &Runtime) {
    let one = |inside: u32, outside: u32, size: u32| map(inside, outside, size)[0].clone();
    for (uid, wrong) in [
        (json!([one(0, 0, 10), one(5, 100, 1)]), "[1]"),
        (json!([one(0, 0, 10), one(20, 9, 1)]), "[1]"),
        (map(0, 0, 0), "[0]"),
        (map(4_294_967_295, 0, 2), "[0]"),
    ] {
        let mut container = Container::sleeper(runtime);
        let source = source(&container, "source");
        bind(&mut container, "/m", &source, &["bind", "idmap"], Some([uid, map(0, 0, 1)]));
        let message = refused(&container);
        assert!(message.contains(&format!("mounts[7].uidMappings{wrong}")), "{message}");
    }
}

fn cfg_38_mappings_without_the_option_are_applied(runtime: &Runtime) {
    let mut container = Container::sh(runtime, &owners("/m/file /m/sub/file"));
    let [top, below] = ["top", "below"].map(|name| source(&container, name));
    host_mount(&container, &["--bind", text(&below)], &top.join("sub"));
    bind(&mut container, "/m", &top, &["rbind"], Some([map(100, 7, 1), map(211, 8, 1)]));
    assert_eq!(container.run().ok().text(), "7:8\n100:211");
}

fn cfg_39_nothing_is_changed_on_the_host(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "chmod 600 /m/file && chown 1007:2008 /m/file && stat -c %u:%g:%a /m/file");
    let source = source(&container, "source");
    bind(&mut container, "/m", &source, &["bind"], Some([map(100, 1000, 10), map(210, 2000, 10)]));
    container.bundle.set("/process/capabilities/effective", json!(["CAP_CHOWN", "CAP_FOWNER"]));
    container.bundle.set("/process/capabilities/permitted", json!(["CAP_CHOWN", "CAP_FOWNER"]));
    container.bundle.set("/process/capabilities/bounding", json!(["CAP_CHOWN", "CAP_FOWNER"]));
    assert_eq!(container.run().ok().text(), "1007:2008:600");
    let found = fs::metadata(source.join("file")).unwrap();
    assert_eq!((found.uid(), found.gid()), (107, 218));
}

fn cfg_39_files_are_stored_unshifted(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "touch /m/new && stat -c %u:%g /m/new");
    let source = source(&container, "source");
    container.bundle.user_namespace(100_000);
    bind(&mut container, "/m", &source, &["bind", "idmap"], None);
    assert_eq!(container.run().ok().text(), "0:0");
    let made = fs::metadata(source.join("new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (0, 0));
}

fn cfg_39_ids_without_a_mapping_cannot_write(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "touch /m/new");
    let source = source(&container, "source");
    bind(&mut container, "/m", &source, &["bind"], Some([map(0, 100_000, 65536), map(0, 100_000, 65536)]));
    container.run().fails_with("Value too large");
    assert!(!source.join("new").exists());
}

fn cfg_39_a_file_system_that_cannot_is_named(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    bind(&mut container, "/m", Path::new("/proc/sys"), &["bind"], Some([map(0, 5, 1), map(0, 5, 1)]));
    let message = refused(&container);
    assert!(message.contains("mounts[7]") && message.contains("mount_setattr"), "{message}");
}
