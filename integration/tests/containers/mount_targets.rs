//! Where mounts come from and where they go.

use integration::mountinfo::{Mounts, host_folder, host_mount, refused, text};
use integration::{Container, Runtime, Snapshot};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

cases! {
    Any:
        cfg_11_mounts_keep_their_order,
        cfg_11_a_later_mount_covers_an_earlier_one,
        cfg_11_a_source_made_by_an_earlier_mount,
        cfg_11_trees_of_earlier_mounts_are_sources,
        cfg_11_a_thousand_mounts,
        cfg_11_more_sources_than_open_files_are_refused,
        cfg_12_destination_is_required,
        cfg_13_relative_destination_is_taken_from_the_root,
        cfg_13_destination_that_begins_with_the_root,
        cfg_14_source_is_optional,
        cfg_15_relative_source_is_taken_from_the_bundle,
        cfg_15_missing_source_is_refused,
        cfg_16_bind_is_a_matter_of_the_options,
        cfg_17_unknown_type_is_refused_and_the_mount_named,
        point_1_type_bind_without_the_option_is_no_bind,
        cfg_42_links_in_the_destination_stay_inside,
        cfg_42_dots_in_the_destination_stay_inside,
        cfg_42_loop_in_the_destination_is_refused,
        cfg_42_the_root_itself_is_refused,
        cfg_42_file_where_a_directory_is_needed_is_refused,
        cfg_43_missing_mount_points_are_made,
        cfg_43_tmpfs_takes_the_mode_of_what_it_covers,
        sec_4_only_procfs_goes_to_proc,
        sec_4_some_files_of_proc_may_be_covered,
        sec_4_links_into_proc_are_refused,
        sec_5_proc_as_a_link_is_refused,
        sec_5_sys_as_a_link_is_refused,
        sec_18_dev_as_a_link_is_refused,
        sec_18_dev_without_a_mount_as_a_link_is_refused,
        sec_6_chains_of_links_stay_inside,
    ;
    Any [UserNs]:
        cfg_11_trees_of_earlier_mounts_are_sources_in_a_user_namespace,
        cfg_15_sources_that_the_mapped_root_cannot_reach,
        cfg_15_missing_source_is_named_in_a_user_namespace,
        cfg_15_devices_as_sources_in_a_user_namespace,
    ;
}

fn cfg_11_mounts_keep_their_order(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let names = ["/m/c", "/m/a", "/m/b", "/m/c/inner", "/a"];
    for name in names {
        container.bundle.mount(name, "tmpfs", "tmpfs", &[]);
    }
    let mounts = Mounts::inside(&mut container);
    let found: Vec<_> = mounts.points().into_iter().filter(|point| names.contains(point)).collect();
    assert_eq!(found, names);
}

fn cfg_11_a_later_mount_covers_an_earlier_one(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "ls /t; ls /u; ls /u/inner");
    for name in ["first", "second"] {
        fs::write(host_folder(&container, name).join(name), "").unwrap();
        let source = container.folder().join(name);
        container.bundle.mount("/t", "none", text(&source), &["bind"]);
    }
    container.bundle.mount("/u/inner", "none", text(&container.folder().join("first")), &["bind"]);
    container.bundle.mount("/u", "tmpfs", "tmpfs", &[]).mount("/u/inner", "tmpfs", "tmpfs", &[]);
    assert_eq!(container.run().ok().text(), "second\ninner");
}

fn cfg_11_a_source_made_by_an_earlier_mount(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /second/mark");
    let folder = host_folder(&container, "source");
    fs::create_dir(folder.join("sub")).unwrap();
    fs::write(folder.join("sub/mark"), "found").unwrap();
    container.bundle.mount("/first", "none", text(&folder), &["bind"]);
    container.bundle.mount("/second", "none", "rootfs/first/sub", &["bind"]);
    assert_eq!(container.run().ok().text(), "found");
}

/// A tree of binds, some over links, of which parts are bound again: as in the tests of runc.
fn trees_of_earlier_mounts(container: &mut Container) {
    let folder = host_folder(container, "source");
    for (top, sub) in [("a", "x"), ("b", "y"), ("c", "z")] {
        fs::create_dir_all(folder.join(top).join(sub)).unwrap();
        fs::write(folder.join(top).join(sub).join("file"), format!("{top}/{sub}")).unwrap();
        symlink(top, folder.join(format!("link-{top}"))).unwrap();
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let rootfs = text(&container.bundle.rootfs()).to_string();
    for (source, target) in [("a", "/m"), ("link-b", "/m/x"), ("c", "/m/x/y"), ("link-a", "/m/x/y/z")] {
        container.bundle.mount(target, "none", text(&folder.join(source)), &["bind", "rprivate"]);
    }
    for (source, target) in [("m/x", "m/x/y/z/x"), ("m/x/y", "m/x/y/z"), ("m", "final")] {
        let (source, target) = (format!("{rootfs}/{source}"), format!("/{target}"));
        container.bundle.mount(&target, "none", &source, &["rbind", "rprivate"]);
    }
    container.bundle.args(["/bin/cat", "/final/x/y/z/z/x/y/z/x/file"]);
}

fn cfg_11_trees_of_earlier_mounts_are_sources(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    trees_of_earlier_mounts(&mut container);
    assert_eq!(container.run().ok().text(), "a/x");
}

fn cfg_11_trees_of_earlier_mounts_are_sources_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.user_namespace(100_000);
    trees_of_earlier_mounts(&mut container);
    assert_eq!(container.run().ok().text(), "a/x");
}

fn cfg_11_a_thousand_mounts(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "grep -c ' /m/' /proc/self/mountinfo");
    let mount = |index: u32| json!({"destination": format!("/m/{index}"), "type": "tmpfs", "source": "tmpfs"});
    container.bundle.edit(|config| config["mounts"].as_array_mut().unwrap().extend((0..1000).map(mount)));
    assert_eq!(container.run().ok().text(), "1000");
}

fn cfg_11_more_sources_than_open_files_are_refused(runtime: &Runtime) {
    for user_namespace in [false, true] {
        let mut container = Container::sleeper(runtime);
        let source = host_folder(&container, "source");
        let mount = |index: u32| json!({"destination": format!("/m/{index}"), "source": text(&source), "options": ["bind"]});
        container.bundle.edit(|config| config["mounts"].as_array_mut().unwrap().extend((0..300).map(mount)));
        if user_namespace {
            container.bundle.user_namespace(100_000);
        }
        let before = Snapshot::take(&container);
        container.create_call(&[]).after("ulimit -n 200").run().fails_with("RLIMIT_NOFILE");
        before.assert_unchanged(&container);
    }
}

fn cfg_12_destination_is_required(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.push("/mounts", json!({"type": "tmpfs", "source": "tmpfs"}));
    for destination in [None, Some("")] {
        if let Some(destination) = destination {
            container.bundle.set("/mounts/7/destination", json!(destination));
        }
        let message = refused(&container);
        assert!(message.contains("destination"), "{message}");
    }
}

fn cfg_13_relative_destination_is_taken_from_the_root(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.set("/process/cwd", json!("/tmp")).mount("data/x", "tmpfs", "tmpfs", &[]);
    container.bundle.args(["/bin/cat", "/proc/self/mountinfo"]);
    let output = container.run_call(&[]).cwd("/").run().ok();
    assert_eq!(Mounts::of(output.text()).at("/data/x").kind, "tmpfs");
}

fn cfg_13_destination_that_begins_with_the_root(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let target = container.bundle.inside("/below/x");
    container.bundle.mount(text(&target), "tmpfs", "tmpfs", &[]);
    assert_eq!(Mounts::inside(&mut container).at("/below/x").kind, "tmpfs");
}

fn cfg_14_source_is_optional(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.push("/mounts", json!({"destination": "/t", "type": "tmpfs"}));
    container.bundle.remove("/mounts/0/source").push("/mounts", json!({"destination": "/e", "type": "tmpfs", "source": ""}));
    let mounts = Mounts::inside(&mut container);
    assert_eq!([&mounts.at("/t").kind, &mounts.at("/e").kind, &mounts.at("/proc").kind], ["tmpfs", "tmpfs", "proc"]);
}

fn cfg_15_relative_source_is_taken_from_the_bundle(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /d/mark /f");
    let bundle = container.bundle.path().to_path_buf();
    for (folder, mark) in [(bundle.join("data"), "bundle\n"), (container.folder().join("else/data"), "cwd\n")] {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("mark"), mark).unwrap();
    }
    container.bundle.mount("/d", "none", "data", &["bind"]).mount("/f", "none", "./data/../data/mark", &["rbind"]);
    let output = container.run_call(&[]).cwd(container.folder().join("else")).run().ok();
    assert_eq!(output.text(), "bundle\nbundle");
}

fn cfg_15_missing_source_is_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.mount("/d", "none", "nowhere", &["bind"]);
    let message = refused(&container);
    assert!(message.contains("nowhere"), "{message}");
    container.bundle.remove("/mounts/7/source");
    refused(&container);
}

/// Two folders that only the host's root may enter, one of them another user's.
fn cfg_15_sources_that_the_mapped_root_cannot_reach(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /one/file /two /three/file; touch /one/new");
    for (name, owner) in [("closed", 0), ("other", 1234)] {
        let folder = host_folder(&container, name);
        fs::create_dir(folder.join("dir")).unwrap();
        fs::write(folder.join("dir/file"), format!("{name}\n")).unwrap();
        fs::set_permissions(folder.join("dir"), fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&folder, Some(owner), Some(owner)).unwrap();
    }
    let folder = container.folder().to_path_buf();
    symlink("closed/dir", folder.join("link")).unwrap();
    container.bundle.user_namespace(100_000);
    container.bundle.mount("/one", "none", text(&folder.join("closed/dir")), &["bind"]);
    container.bundle.mount("/two", "none", text(&folder.join("other/dir/file")), &["rbind", "ro"]);
    container.bundle.mount("/three", "none", text(&folder.join("link")), &["rbind", "nosuid"]);
    assert_eq!(container.run().ok().text(), "closed\nother\nclosed");
    assert!(folder.join("closed/dir/new").exists());
}

fn cfg_15_missing_source_is_named_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.user_namespace(100_000).mount("/d", "none", "nowhere", &["bind"]);
    let message = refused(&container);
    assert!(message.contains("mounts[7].source") && message.contains("nowhere"), "{message}");
}

fn cfg_15_devices_as_sources_in_a_user_namespace(runtime: &Runtime) {
    let script = "stat -c '%F %t:%T' /dev/mine /m/zero; head -c 3 /dev/mine | wc -c; echo x > /m/zero && echo written";
    let mut container = Container::sh(runtime, script);
    container.bundle.user_namespace(100_000);
    container.bundle.mount("/dev/mine", "none", "/dev/zero", &["bind", "nosuid"]);
    container.bundle.mount("/m/zero", "none", "/dev/zero", &["rbind", "rprivate"]);
    let line = "character special file 1:5\n";
    assert_eq!(container.run().ok().text(), format!("{line}{line}3\nwritten"));
}

fn cfg_16_bind_is_a_matter_of_the_options(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /m/*/mark");
    let source = host_folder(&container, "source");
    fs::write(source.join("mark"), "bound\n").unwrap();
    for (index, kind) in ["none", "bind", "foo", "tmpfs", ""].into_iter().enumerate() {
        let option = ["bind", "rbind"][index % 2];
        container.bundle.mount(&format!("/m/{index}"), kind, text(&source), &[option]);
    }
    let absent = json!({"destination": "/m/5", "source": text(&source), "options": ["bind"]});
    container.bundle.push("/mounts", absent);
    assert_eq!(container.run().ok().stdout, "bound\n".repeat(6));
}

fn cfg_17_unknown_type_is_refused_and_the_mount_named(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.mount("/strange", "nosuchfs", "none", &[]);
    let message = refused(&container);
    assert!(message.contains("/strange") || message.contains("mounts[7]"), "{message}");
}

fn point_1_type_bind_without_the_option_is_no_bind(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let source = host_folder(&container, "source");
    container.bundle.mount("/strange", "bind", text(&source), &["ro"]);
    let message = refused(&container);
    assert!(message.contains("/strange") || message.contains("mounts[7]"), "{message}");
}

fn cfg_42_links_in_the_destination_stay_inside(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let canary = host_folder(&container, "canary");
    let outside = text(&canary).to_string();
    let links = [("absolute", "/real"), ("up", "../../../../../../real2"), ("dangling", "/not/yet"), ("out", &outside)];
    for (name, target) in links {
        symlink(target, container.bundle.inside(name)).unwrap();
        container.bundle.mount(&format!("/{name}/x"), "tmpfs", "tmpfs", &[]);
    }
    let mounts = Mounts::inside(&mut container);
    for point in ["/real/x", "/real2/x", "/not/yet/x", &format!("{outside}/x")] {
        assert_eq!(mounts.at(point).kind, "tmpfs");
    }
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
    assert!(container.bundle.inside(&outside).join("x").is_dir());
}

fn cfg_42_dots_in_the_destination_stay_inside(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.mount("/a/../../../../up", "tmpfs", "tmpfs", &[]);
    container.bundle.mount("/./b//c/.", "tmpfs", "tmpfs", &[]).mount("../../rel", "tmpfs", "tmpfs", &[]);
    let mounts = Mounts::inside(&mut container);
    for point in ["/up", "/b/c", "/rel"] {
        assert_eq!(mounts.at(point).kind, "tmpfs");
    }
}

fn cfg_42_loop_in_the_destination_is_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    symlink("two", container.bundle.inside("/one")).unwrap();
    symlink("one", container.bundle.inside("/two")).unwrap();
    for destination in ["/one", "/one/x"] {
        container.bundle.edit(|config| config["mounts"].as_array_mut().unwrap().truncate(7));
        container.bundle.mount(destination, "tmpfs", "tmpfs", &[]);
        refused(&container);
    }
}

/// A mount over the root would be there, and nobody would see it.
fn cfg_42_the_root_itself_is_refused(runtime: &Runtime) {
    let outer = Container::new(runtime);
    let source = host_folder(&outer, "source");
    for (destination, kind) in [("/", "tmpfs"), ("/a/..", "tmpfs"), ("/link", "tmpfs"), ("/link", "none"), ("/", "none")] {
        let mut container = Container::sleeper(runtime);
        symlink("tmp/..", container.bundle.inside("/link")).unwrap();
        let options: &[&str] = if kind == "none" { &["bind"] } else { &[] };
        container.bundle.mount(destination, kind, text(&source), options);
        let message = refused(&container);
        assert!(message.contains("mounts[7]"), "{destination}: {message}");
    }
}

fn cfg_42_file_where_a_directory_is_needed_is_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let file = container.bundle.file("/file", "kept", 0o644);
    for (destination, kind) in [("/file", "tmpfs"), ("/file/below", "tmpfs")] {
        let mount = json!({"destination": destination, "type": kind, "source": "x"});
        container.bundle.edit(|config| config["mounts"].as_array_mut().unwrap().truncate(7)).push("/mounts", mount);
        refused(&container);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "kept");
}

fn cfg_43_missing_mount_points_are_made(runtime: &Runtime) {
    let script = "stat -c '%a %F' /a /a/b /x /x/y; stat -c %F /x/y/file; cat /x/y/file";
    let mut container = Container::sh(runtime, script);
    let source = host_folder(&container, "source");
    fs::write(source.join("file"), "content").unwrap();
    container.bundle.mount("/a/b/c", "tmpfs", "tmpfs", &[]);
    container.bundle.mount("/x/y/file", "none", text(&source.join("file")), &["bind"]);
    let output = container.run_call(&[]).after("umask 077").run().ok();
    let made = "755 directory\n".repeat(4);
    assert_eq!(output.text(), format!("{made}regular file\ncontent"));
    assert!(container.bundle.inside("/x/y/file").metadata().unwrap().is_file());
}

fn cfg_43_tmpfs_takes_the_mode_of_what_it_covers(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c %a /covered /named /missing");
    for name in ["/covered", "/named"] {
        fs::create_dir(container.bundle.inside(name)).unwrap();
        fs::set_permissions(container.bundle.inside(name), fs::Permissions::from_mode(0o1750)).unwrap();
    }
    container.bundle.mount("/covered", "tmpfs", "tmpfs", &[]).mount("/named", "tmpfs", "tmpfs", &["mode=0711"]);
    container.bundle.mount("/missing", "tmpfs", "tmpfs", &["mode=0700"]);
    assert_eq!(container.run().ok().text(), "1750\n711\n700");
}

/// The default mounts with /proc replaced by this one are refused.
fn refused_at_proc(runtime: &Runtime, replaced: bool, destination: &str, kind: &str, source: &str, option: &str) {
    let mut container = Container::sleeper(runtime);
    let fake = host_folder(&container, "fake");
    fs::create_dir_all(fake.join("self/attr")).unwrap();
    fs::write(fake.join("self/attr/exec"), "").unwrap();
    fs::write(fake.join("file"), "").unwrap();
    let source = source.replace("FAKE", text(&fake));
    let mount = json!({"destination": destination, "type": kind, "source": source, "options": [option]});
    let place = if replaced { "/mounts/0" } else { "/mounts/-" };
    container.bundle.set(place, mount);
    refused(&container);
}

fn sec_4_only_procfs_goes_to_proc(runtime: &Runtime) {
    refused_at_proc(runtime, true, "/proc", "none", "FAKE", "bind");
    refused_at_proc(runtime, true, "/proc", "tmpfs", "tmpfs", "rw");
    refused_at_proc(runtime, true, "/proc", "none", "/proc/self", "bind");
    refused_at_proc(runtime, false, "/proc/self/attr", "none", "FAKE", "bind");
    refused_at_proc(runtime, false, "/proc/sys/kernel/core_pattern", "none", "FAKE/file", "bind");
    refused_at_proc(runtime, false, "/proc/../proc/./self//attr", "none", "FAKE", "bind");
    refused_at_proc(runtime, false, "/proc/uptime", "none", "/proc/sys/kernel/core_pattern/..", "bind");
}

fn sec_4_some_files_of_proc_may_be_covered(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /proc/uptime /proc/loadavg");
    let source = host_folder(&container, "source").join("fake");
    fs::write(&source, "from lxcfs\n").unwrap();
    for name in ["uptime", "loadavg"] {
        container.bundle.mount(&format!("/proc/{name}"), "none", text(&source), &["bind"]);
    }
    assert_eq!(container.run().ok().text(), "from lxcfs\nfrom lxcfs");
}

fn sec_4_links_into_proc_are_refused(runtime: &Runtime) {
    for (link, file) in [("/proc/self/attr", ""), ("/proc/sys/kernel", "/core_pattern"), ("/proc", "/self/attr/exec")] {
        let mut container = Container::sleeper(runtime);
        let source = host_folder(&container, "source");
        fs::write(source.join("file"), "").unwrap();
        symlink(link, container.bundle.inside("/link")).unwrap();
        let source = if file.is_empty() { source } else { source.join("file") };
        container.bundle.mount(&format!("/link{file}"), "none", text(&source), &["bind"]);
        refused(&container);
    }
}

/// A link in place of a mount point that masks, nodes or links are meant for is refused, and where it leads nothing changes.
fn link_is_refused(runtime: &Runtime, name: &str, mounted: bool) {
    let canary = host_folder(&Container::new(runtime), "unused");
    let targets = ["/elsewhere/x", "elsewhere/x", "/nowhere/at/all", "../../../canary", "link", "/tmp/.."];
    for target in targets.into_iter().chain([text(&canary)]) {
        let mut container = Container::sleeper(runtime);
        let canary = host_folder(&container, "canary");
        container.bundle.edit(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mounted || mount["destination"] != name);
        });
        fs::create_dir_all(container.bundle.inside("/elsewhere/x")).unwrap();
        symlink("/elsewhere/x", container.bundle.inside("/link")).unwrap();
        fs::remove_dir(container.bundle.inside(name)).unwrap();
        symlink(target, container.bundle.inside(name)).unwrap();
        let message = refused(&container);
        assert!(message.contains("must be mounted on ordinary directory"), "{target}: {message}");
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 0, "{target}");
        assert_eq!(fs::read_dir(container.bundle.inside("/elsewhere/x")).unwrap().count(), 0, "{target}");
    }
}

fn sec_5_proc_as_a_link_is_refused(runtime: &Runtime) {
    link_is_refused(runtime, "/proc", true);
}

fn sec_5_sys_as_a_link_is_refused(runtime: &Runtime) {
    link_is_refused(runtime, "/sys", true);
}

fn sec_18_dev_as_a_link_is_refused(runtime: &Runtime) {
    link_is_refused(runtime, "/dev", true);
}

fn sec_18_dev_without_a_mount_as_a_link_is_refused(runtime: &Runtime) {
    link_is_refused(runtime, "/dev", false);
}

/// 38 links in a row still lead somewhere, and to the inside.
fn sec_6_chains_of_links_stay_inside(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let outside = host_folder(&container, "canary");
    host_mount(&container, &["-t", "tmpfs", "tmpfs"], &outside);
    for number in 0..38 {
        symlink(format!("l{}", number + 1), container.bundle.inside(&format!("/l{number}"))).unwrap();
    }
    symlink(format!("../../../../../..{}", text(&outside)), container.bundle.inside("/l38")).unwrap();
    container.bundle.mount("/l0/x", "tmpfs", "tmpfs", &[]);
    let mounts = Mounts::inside(&mut container);
    assert_eq!(mounts.at(&format!("{}/x", text(&outside))).kind, "tmpfs");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}
