//! `linux.devices`, the nodes and links that every container has, and who may use devices.

use integration::mountinfo::{all_capabilities, host_folder, refused, text};
use integration::{Container, Output, Runtime};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

cases! {
    Any:
        lnx_30_listed_devices_are_there,
        lnx_30_a_listed_device_can_be_opened,
        lnx_32_type_u_makes_a_character_device,
        lnx_32_other_types_are_refused,
        lnx_33_path_is_required,
        lnx_33_path_that_is_no_full_path,
        lnx_34_other_files_at_the_path_are_refused,
        lnx_34_the_same_node_is_kept,
        lnx_34_other_file_at_a_default_path_is_refused,
        lnx_35_path_outside_of_dev,
        lnx_35_links_in_the_path_stay_inside,
        lnx_36_numbers_are_required,
        lnx_36_fifo_needs_no_numbers,
        lnx_37_mode_is_set_whatever_the_umask,
        lnx_37_mode_that_is_no_mode_is_refused,
        lnx_38_owner_is_set,
        lnx_39_the_same_numbers_twice,
        lnx_40_other_devices_are_denied,
        point_7_devices_that_are_always_allowed,
        lnx_41_default_devices,
        lnx_41_default_devices_serve_every_user,
        lnx_43_ptmx_is_a_link,
        lnx_43_ptmx_of_the_image_is_replaced,
        sec_18_dev_as_a_link,
        sec_22_null_of_the_image_is_a_link,
    ;
    Any [UserNs]:
        lnx_31_devices_in_a_user_namespace,
        lnx_34_regular_file_is_covered_in_a_user_namespace,
        lnx_34_link_is_refused_in_a_user_namespace,
        lnx_41_default_devices_in_a_user_namespace,
    ;
}

fn device(path: &str, kind: &str, major: u32, minor: u32) -> Value {
    json!({"path": path, "type": kind, "major": major, "minor": minor})
}

fn lnx_30_listed_devices_are_there(runtime: &Runtime) {
    let script = "stat -c '%n %F %t:%T' /dev/char /dev/sub/block /dev/big; stat -c '%n %F' /dev/pipe";
    let mut container = Container::sh(runtime, script);
    let pipe = json!({"path": "/dev/pipe", "type": "p"});
    let big = device("/dev/big", "c", 511, 300_000);
    let list = json!([device("/dev/char", "c", 10, 229), device("/dev/sub/block", "b", 7, 0), pipe, big]);
    container.bundle.set("/linux/devices", list);
    let expected = "/dev/char character special file a:e5\n/dev/sub/block block special file 7:0\n\
        /dev/big character special file 1ff:493e0\n/dev/pipe fifo";
    assert_eq!(container.run().ok().text(), expected);
}

fn lnx_30_a_listed_device_can_be_opened(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "head -c 2 /dev/mine | od -An -tx1; echo x >/dev/mine && echo written");
    container.bundle.push("/linux/devices", device("/dev/mine", "c", 1, 5));
    let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rw"});
    container.bundle.push("/linux/resources/devices", rule);
    assert_eq!(container.run().ok().text(), "00 00\nwritten");
}

fn lnx_31_devices_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c '%F %t:%T' /dev/kmsg");
    container.bundle.user_namespace(100_000).push("/linux/devices", device("/dev/kmsg", "c", 1, 11));
    assert_eq!(container.run().ok().text(), "character special file 1:b");
}

fn lnx_32_type_u_makes_a_character_device(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c '%F %t:%T' /dev/mine");
    container.bundle.push("/linux/devices", device("/dev/mine", "u", 1, 5));
    assert_eq!(container.run().ok().text(), "character special file 1:5");
}

fn lnx_32_other_types_are_refused(runtime: &Runtime) {
    for kind in ["a", "z", "", "C", "cb"] {
        let mut container = Container::sleeper(runtime);
        container.bundle.push("/linux/devices", device("/dev/mine", kind, 1, 5));
        refused(&container);
    }
    let mut container = Container::sleeper(runtime);
    container.bundle.push("/linux/devices", json!({"path": "/dev/mine", "major": 1, "minor": 5}));
    refused(&container);
}

fn lnx_33_path_is_required(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.push("/linux/devices", json!({"type": "c", "major": 1, "minor": 5}));
    let message = refused(&container);
    assert!(message.contains("path"), "{message}");
    container.bundle.set("/linux/devices/0/path", json!(""));
    refused(&container);
}

/// Refused, or taken from the root.
fn lnx_33_path_that_is_no_full_path(runtime: &Runtime) {
    for path in ["dev/mine", "/dev/mine/"] {
        let mut container = Container::sh(runtime, "stat -c '%F %t:%T' /dev/mine");
        container.bundle.push("/linux/devices", device(path, "c", 1, 5));
        let output = container.run();
        if output.code == Some(0) {
            assert_eq!(output.text(), "character special file 1:5");
        } else {
            output.fails();
        }
    }
}

/// What a file is, to be compared.
fn describe(path: &Path) -> (u32, u64, u32, u32, u64) {
    let data = path.symlink_metadata().unwrap();
    (data.mode(), data.rdev(), data.uid(), data.gid(), data.len())
}

fn node(container: &Container, path: &Path, words: &[&str]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    container.host_call("mknod").args(["-m", "640"]).arg(path).args(words).run().ok();
    std::os::unix::fs::chown(path, Some(12), Some(34)).unwrap();
}

fn lnx_34_other_files_at_the_path_are_refused(runtime: &Runtime) {
    let other = ["file", "other device", "block", "link", "folder", "fifo"];
    for what in other {
        let mut container = Container::sleeper(runtime);
        let path = container.bundle.inside("/opt/mine");
        match what {
            "file" => drop(container.bundle.file("/opt/mine", "kept", 0o640)),
            "other device" => node(&container, &path, &["c", "1", "3"]),
            "block" => node(&container, &path, &["b", "1", "5"]),
            "fifo" => node(&container, &path, &["p"]),
            "folder" => fs::create_dir_all(&path).unwrap(),
            _ => {
                node(&container, &container.bundle.inside("/opt/node"), &["c", "1", "5"]);
                symlink("node", &path).unwrap();
            }
        }
        let before = describe(&path);
        container.bundle.push("/linux/devices", device("/opt/mine", "c", 1, 5));
        let message = refused(&container);
        assert!(message.contains("/opt/mine") || message.contains("devices"), "{what}: {message}");
        assert_eq!(describe(&path), before, "{what}");
    }
}

fn lnx_34_the_same_node_is_kept(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo ran");
    let (mine, pipe) = (container.bundle.inside("/opt/mine"), container.bundle.inside("/opt/pipe"));
    node(&container, &mine, &["c", "1", "5"]);
    node(&container, &pipe, &["p"]);
    let before = [describe(&mine), describe(&pipe)];
    container.bundle.push("/linux/devices", device("/opt/mine", "c", 1, 5));
    container.bundle.push("/linux/devices", json!({"path": "/opt/pipe", "type": "p", "fileMode": 511}));
    assert_eq!(container.run().ok().text(), "ran");
    assert_eq!([describe(&mine), describe(&pipe)], before);
}

/// A container that keeps the image's /dev.
fn with_dev_of_the_image(runtime: &Runtime, script: &str) -> Container {
    let mut container = Container::sh(runtime, script);
    container.bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev");
    });
    container
}

fn lnx_34_other_file_at_a_default_path_is_refused(runtime: &Runtime) {
    let container = with_dev_of_the_image(runtime, "sleep 1000");
    let file = container.bundle.file("/dev/zero", "kept", 0o640);
    let before = describe(&file);
    refused(&container);
    assert_eq!(describe(&file), before);
}

fn lnx_34_regular_file_is_covered_in_a_user_namespace(runtime: &Runtime) {
    let mut container = with_dev_of_the_image(runtime, "stat -c '%F %t:%T' /dev/zero");
    let file = container.bundle.file("/dev/zero", "kept", 0o640);
    container.bundle.user_namespace(100_000);
    let before = describe(&file);
    assert_eq!(container.run().ok().text(), "character special file 1:5");
    assert_eq!(describe(&file), before);
}

fn lnx_34_link_is_refused_in_a_user_namespace(runtime: &Runtime) {
    let mut container = with_dev_of_the_image(runtime, "sleep 1000");
    symlink("/etc/passwd", container.bundle.inside("/dev/zero")).unwrap();
    container.bundle.user_namespace(100_000);
    refused(&container);
}

fn lnx_35_path_outside_of_dev(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c '%F %t:%T %a' /opt/a/b/mine; stat -c '%F %a' /opt /opt/a/b");
    container.bundle.push("/linux/devices", device("/opt/a/b/mine", "c", 1, 5));
    let output = container.run_call(&[]).after("umask 077").run().ok();
    assert_eq!(output.text(), "character special file 1:5 666\ndirectory 755\ndirectory 755");
}

fn lnx_35_links_in_the_path_stay_inside(runtime: &Runtime) {
    for target in ["/canary", "../../../../../../../canary", "CANARY"] {
        let mut container = Container::sh(runtime, "stat -c %F /link/mine");
        let canary = host_folder(&container, "canary");
        let target = if target == "CANARY" { text(&canary) } else { target };
        symlink(target, container.bundle.inside("/link")).unwrap();
        container.bundle.push("/linux/devices", device("/link/mine", "c", 1, 5));
        let output = container.run();
        assert!(output.code != Some(0) || output.text() == "character special file", "{target}: {output}");
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 0, "{target}");
        assert!(!Path::new("/canary").exists());
    }
}

fn lnx_36_numbers_are_required(runtime: &Runtime) {
    for kind in ["c", "b", "u"] {
        for member in ["major", "minor"] {
            let mut container = Container::sleeper(runtime);
            container.bundle.push("/linux/devices", device("/dev/mine", kind, 1, 5));
            container.bundle.remove(&format!("/linux/devices/0/{member}"));
            let message = refused(&container);
            assert!(message.contains(member), "{message}");
        }
    }
}

fn lnx_36_fifo_needs_no_numbers(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c '%F %a' /dev/pipe");
    container.bundle.push("/linux/devices", json!({"path": "/dev/pipe", "type": "p", "fileMode": 384}));
    assert_eq!(container.run().ok().text(), "fifo 600");
}

fn lnx_37_mode_is_set_whatever_the_umask(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c %a /dev/unset /dev/set /dev/all /dev/none");
    let modes = [("unset", None), ("set", Some(432)), ("all", Some(511)), ("none", Some(0))];
    for (name, mode) in modes {
        let mut entry = device(&format!("/dev/{name}"), "c", 1, 5);
        if let Some(mode) = mode {
            entry["fileMode"] = json!(mode);
        }
        container.bundle.push("/linux/devices", entry);
    }
    let output = container.run_call(&[]).after("umask 077").run().ok();
    assert_eq!(output.text(), "666\n660\n777\n0");
}

fn lnx_37_mode_that_is_no_mode_is_refused(runtime: &Runtime) {
    for mode in [json!(65536), json!(-1), json!("0666"), json!(4_294_967_296_u64)] {
        let mut container = Container::sleeper(runtime);
        let mut entry = device("/dev/mine", "c", 1, 5);
        entry["fileMode"] = mode;
        container.bundle.push("/linux/devices", entry);
        refused(&container);
    }
}

fn lnx_38_owner_is_set(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c %u:%g /dev/both /dev/user /dev/none");
    for (name, uid, gid) in [("both", Some(12), Some(34)), ("user", Some(12), None), ("none", None, None)] {
        let mut entry = device(&format!("/dev/{name}"), "c", 1, 5);
        for (member, id) in [("uid", uid), ("gid", gid)] {
            if let Some(id) = id {
                entry[member] = json!(id);
            }
        }
        container.bundle.push("/linux/devices", entry);
    }
    assert_eq!(container.run().ok().text(), "12:34\n12:0\n0:0");
}

fn lnx_39_the_same_numbers_twice(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c %t:%T /dev/one /dev/two");
    container.bundle.set("/linux/devices", json!([device("/dev/one", "c", 1, 5), device("/dev/two", "c", 1, 5)]));
    assert_eq!(container.run().ok().text(), "1:5\n1:5");
}

/// Makes nodes in /tmp and opens them.
fn opens(runtime: &Runtime, resources: bool, nodes: &[(&str, &str)]) -> String {
    let line = |(numbers, name): &(&str, &str)| format!("mknod /tmp/{name} {numbers}; (: </tmp/{name}) 2>&1");
    let script: Vec<String> = nodes.iter().map(line).collect();
    let mut container = Container::sh(runtime, &format!("{}; echo end", script.join("; ")));
    all_capabilities(&mut container, &[]);
    container.bundle.writable().mount("/tmp", "tmpfs", "tmpfs", &[]);
    if !resources {
        container.bundle.remove("/linux/resources");
    }
    container.run().ok().text().to_string()
}

fn lnx_40_other_devices_are_denied(runtime: &Runtime) {
    let nodes = [("b 7 0", "loop"), ("c 1 1", "mem"), ("c 1 11", "kmsg"), ("c 10 229", "fuse")];
    for resources in [true, false] {
        let said = opens(runtime, resources, &nodes);
        assert_eq!(said.matches("Operation not permitted").count(), nodes.len(), "{resources}: {said}");
    }
}

fn point_7_devices_that_are_always_allowed(runtime: &Runtime) {
    let nodes = [("c 1 3", "null"), ("c 1 5", "zero"), ("c 1 7", "full"), ("c 1 8", "random"), ("c 1 9", "urandom")];
    let nodes = [&nodes[..], &[("c 5 2", "ptmx"), ("c 10 200", "tun"), ("c 5 0", "tty")]].concat();
    for resources in [true, false] {
        let said = opens(runtime, resources, &nodes);
        assert!(!said.contains("Operation not permitted") && said.ends_with("end"), "{resources}: {said}");
    }
}

const LOOK: &str = "for name in null zero full random urandom tty; do stat -c '%F %t:%T %a' /dev/$name; done; \
    echo lost >/dev/null && head -c 1 /dev/zero | od -An -tx1; (echo x >/dev/full) 2>&1; \
    head -c 4 /dev/random | wc -c; head -c 4 /dev/urandom | wc -c; (: </dev/tty) 2>&1";

fn assert_default_devices(output: &Output) {
    let said = output.text();
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    assert!(lines.len() > 6, "{output}");
    for (line, number) in lines.iter().zip(["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"]) {
        assert_eq!(*line, format!("character special file {number} 666"), "{said}");
    }
    assert_eq!(lines[6], "00", "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.ends_with("No such device or address"), "{said}");
}

fn lnx_41_default_devices(runtime: &Runtime) {
    for devices in [None, Some(json!([])), Some(json!([device("/dev/null", "c", 1, 3)]))] {
        let mut container = Container::sh(runtime, LOOK);
        if let Some(devices) = devices {
            container.bundle.set("/linux/devices", devices);
        }
        let output = container.run_call(&[]).wrapped(["setsid", "--wait"]).run();
        assert_default_devices(&output);
    }
}

fn lnx_41_default_devices_serve_every_user(runtime: &Runtime) {
    let mut container = Container::sh(runtime, LOOK);
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    container.bundle.edit(|config| drop(config["process"].as_object_mut().unwrap().remove("capabilities")));
    let output = container.run_call(&[]).wrapped(["setsid", "--wait"]).run();
    assert_default_devices(&output);
}

fn lnx_41_default_devices_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, LOOK);
    container.bundle.user_namespace(100_000);
    let output = container.run_call(&[]).wrapped(["setsid", "--wait"]).run();
    assert_default_devices(&output);
}

fn lnx_43_ptmx_is_a_link(runtime: &Runtime) {
    let script = "readlink /dev/ptmx; exec 3<>/dev/ptmx; ls /dev/pts; stat -c %t /dev/pts/0";
    let output = Container::sh(runtime, script).run().ok();
    assert_eq!(output.text(), "pts/ptmx\n0\nptmx\n88");
}

fn lnx_43_ptmx_of_the_image_is_replaced(runtime: &Runtime) {
    let container = with_dev_of_the_image(runtime, "readlink /dev/ptmx");
    container.bundle.file("/dev/ptmx", "of the image", 0o644);
    assert_eq!(container.run().ok().text(), "pts/ptmx");
}

/// Refused, or the canary is not touched.
fn sec_18_dev_as_a_link(runtime: &Runtime) {
    for target in ["CANARY", "../../canary", "chain"] {
        for with_devices in [false, true] {
            let mut container = Container::sh(runtime, "echo ran");
            let canary = host_folder(&container, "canary");
            fs::write(canary.join("ptmx"), "kept").unwrap();
            let target = if target == "CANARY" { text(&canary) } else { target };
            let dev = container.bundle.inside("/dev");
            fs::remove_dir(&dev).unwrap();
            symlink(&canary, container.bundle.inside("/chain")).unwrap();
            symlink(target, &dev).unwrap();
            container.bundle.writable().edit(|config| {
                let mounts = config["mounts"].as_array_mut().unwrap();
                mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            });
            if with_devices {
                container.bundle.push("/linux/devices", device("/dev/mine", "c", 1, 5));
            }
            let output = container.run();
            let left: Vec<_> = fs::read_dir(&canary).unwrap().flatten().map(|entry| entry.file_name()).collect();
            assert_eq!(left, ["ptmx"], "{target}: {output}");
            assert_eq!(fs::read_to_string(canary.join("ptmx")).unwrap(), "kept", "{target}");
        }
    }
}

/// A link of the image at /dev/null to a file of the host, bound into the container: neither file is touched.
fn sec_22_null_of_the_image_is_a_link(runtime: &Runtime) {
    let mut container = with_dev_of_the_image(runtime, "echo ran");
    let file = host_folder(&container, "host").join("file");
    fs::write(&file, "kept").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    symlink("/h", container.bundle.inside("/dev/null")).unwrap();
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    container.bundle.mount("/h", "none", text(&file), &["bind"]);
    let before = describe(&file);
    container.run();
    assert_eq!(describe(&file), before);
    assert!(!file.metadata().unwrap().file_type().is_char_device());
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}
