//! The root file system: where it is, how it is mounted, what spreads in and out of it.

use integration::mountinfo::{Mounts, all_capabilities, host_mount, refused, spare_the_host, text};
use integration::{Container, Runtime, Snapshot, until};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

cases! {
    Any:
        cfg_4_config_without_root_is_refused,
        cfg_5_root_without_path_is_refused,
        cfg_6_root_path_is_absolute_or_relative_to_the_bundle,
        cfg_6_root_path_is_the_bundle_itself,
        cfg_7_root_may_have_another_name,
        cfg_8_root_path_that_is_no_directory_is_refused,
        cfg_9_readonly_root_gives_erofs,
        cfg_9_readonly_root_is_no_submount,
        cfg_10_root_is_writable_by_default,
        lnx_149_other_propagation_words_are_refused,
        lnx_149_propagation_words_with_a_leading_r,
        lnx_150_shared_root,
        lnx_151_slave_root_hears_of_the_host,
        lnx_152_private_root_hears_nothing,
        lnx_152_nothing_reaches_the_host,
        lnx_153_unbindable_root,
        lnx_11_mounts_of_the_container_are_not_the_hosts,
        lnx_5_no_links_in_dev_without_proc,
        lnx_4_links_in_dev,
        decision_15_config_without_linux,
        sec_23_readonly_root_with_a_proc_of_the_image,
        sec_16_host_mounts_keep_their_propagation,
        sec_16_no_mount_namespace_changes_no_mounts,
    ;
    Any [UserNs]: cfg_9_readonly_root_in_a_user_namespace;
}

fn cfg_4_config_without_root_is_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.remove("/root");
    let message = refused(&container);
    assert!(message.contains("root"), "{message}");
}

fn cfg_5_root_without_path_is_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    for root in [json!({}), json!({"readonly": true}), json!({"path": ""}), json!({"path": null})] {
        container.bundle.set("/root", root);
        let message = refused(&container);
        assert!(message.contains("root"), "{message}");
    }
}

fn cfg_6_root_path_is_absolute_or_relative_to_the_bundle(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /etc/mark");
    container.bundle.file("/etc/mark", "right", 0o644);
    let absolute = text(&container.bundle.rootfs()).to_string();
    for path in [absolute.as_str(), "rootfs", "./rootfs", "rootfs/", "rootfs/../rootfs", "./rootfs/."] {
        container.bundle.set("/root/path", json!(path));
        let output = container.run_call(&[]).cwd("/").run().ok().no_complaint();
        assert_eq!(output.text(), "right", "{path}");
    }
}

fn cfg_6_root_path_is_the_bundle_itself(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /etc/mark; ls /config.json");
    container.bundle.file("/etc/mark", "right\n", 0o644);
    container.bundle.set("/root/path", json!("."));
    let (bundle, rootfs) = (container.bundle.path().to_path_buf(), container.bundle.rootfs());
    for entry in fs::read_dir(&rootfs).unwrap().flatten() {
        fs::rename(entry.path(), bundle.join(entry.file_name())).unwrap();
    }
    let output = container.run_call(&[]).cwd("/").run().ok();
    assert_eq!(output.text(), "right\n/config.json");
}

fn cfg_7_root_may_have_another_name(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo ran");
    fs::rename(container.bundle.rootfs(), container.bundle.path().join("the root, of ours")).unwrap();
    container.bundle.set("/root/path", json!("the root, of ours"));
    assert_eq!(container.run().ok().text(), "ran");
}

fn cfg_8_root_path_that_is_no_directory_is_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    symlink("nowhere", container.bundle.path().join("dangling")).unwrap();
    for path in ["missing", "config.json", "dangling", "/nowhere/at/all"] {
        container.bundle.set("/root/path", json!(path));
        refused(&container);
    }
}

/// What touching a file in `/` says, and then the mounts.
const TOUCH: &str = "touch /new 2>&1 && echo written; cat /proc/self/mountinfo";

fn assert_readonly(output: &str) {
    assert!(output.contains("Read-only file system"), "{output}");
    assert!(Mounts::of(output).at("/").has("ro"), "{output}");
}

fn cfg_9_readonly_root_gives_erofs(runtime: &Runtime) {
    let mut container = Container::sh(runtime, TOUCH);
    container.bundle.set("/root/readonly", json!(true));
    assert_readonly(container.run().ok().text());
    assert!(!container.bundle.inside("/new").exists());
}

fn cfg_9_readonly_root_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, TOUCH);
    let root = container.folder().join("flagged");
    host_mount(&container, &["-t", "tmpfs", "-o", "nosuid,nodev,noatime", "tmpfs"], &root);
    container.bundle.user_namespace(100_000).set("/root/readonly", json!(true));
    container.host_call("cp").args(["-a", text(&container.bundle.rootfs())]).arg(&root).run().ok();
    container.bundle.set("/root/path", json!(text(&root.join("rootfs"))));
    let output = container.run().ok();
    assert_readonly(output.text());
    let mounts = Mounts::of(output.text());
    let top = mounts.at("/");
    assert!(["nosuid", "nodev", "noatime"].iter().all(|flag| top.has(flag)), "{top:?}");
}

fn cfg_9_readonly_root_is_no_submount(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "touch /t/new && touch /dev/new && echo written");
    container.bundle.set("/root/readonly", json!(true)).mount("/t", "tmpfs", "tmpfs", &[]);
    assert_eq!(container.run().ok().text(), "written");
}

fn cfg_10_root_is_writable_by_default(runtime: &Runtime) {
    let mut container = Container::sh(runtime, TOUCH);
    container.bundle.remove("/root/readonly");
    let output = container.run().ok();
    assert!(output.text().starts_with("written\n"), "{output}");
    assert!(Mounts::of(output.text()).at("/").has("rw"), "{output}");
    assert!(container.bundle.inside("/new").exists());
}

fn lnx_149_other_propagation_words_are_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    for word in ["strange", "SHARED", "rrshared", "shared,slave"] {
        container.bundle.set("/linux/rootfsPropagation", json!(word));
        let message = refused(&container);
        assert!(message.contains("rootfsPropagation"), "{message}");
    }
}

fn with_propagation(runtime: &Runtime, word: &str) -> Mounts {
    let mut container = Container::new(runtime);
    container.bundle.set("/linux/rootfsPropagation", json!(word));
    Mounts::inside(&mut container)
}

fn lnx_149_propagation_words_with_a_leading_r(runtime: &Runtime) {
    assert!(with_propagation(runtime, "rshared").at("/").tagged("shared:"));
    assert!(!with_propagation(runtime, "rslave").at("/").tagged("shared:"));
    assert!(with_propagation(runtime, "rprivate").at("/").tags.is_empty());
    let mounts = with_propagation(runtime, "rshared");
    assert!(mounts.at("/proc").tagged("shared:"), "{mounts:?}");
}

fn lnx_150_shared_root(runtime: &Runtime) {
    let script = "mkdir -p /a /b; mount --bind /a /a; mount --bind /a /b; mount -t tmpfs tmpfs /a; touch /a/x;
        cat /proc/self/mountinfo; ls /b; echo end; sleep 1000";
    let mut container = Container::sh(runtime, script);
    all_capabilities(&mut container, &[]);
    container.bundle.writable().set("/linux/rootfsPropagation", json!("shared"));
    // It lives until the host has been looked at: the numbers of the groups of one that has ended are given out again.
    container.run_detached().ok();
    let output = container.wait_stdout("\nend\n");
    let inside = Mounts::of(&output);
    let [tag] = &inside.at("/").tags[..] else { panic!("shared, and a slave of nobody: {output}") };
    assert!(tag.starts_with("shared:"), "{output}");
    assert!(output.ends_with("\nx\nend\n"), "the mount in /a is not seen in /b: {output}");
    let host = Mounts::of(&fs::read_to_string("/proc/self/mountinfo").unwrap());
    assert!(host.0.iter().all(|mount| !mount.tags.contains(tag)), "{tag} is the host's");
}

/// Mounts a tmpfs with the file `mark` on the host, below the root of a running container, and says whether the
/// container sees the file.
fn hears_of_the_host(runtime: &Runtime, word: Option<&str>) -> bool {
    let script = "until [ -e /sign/go ]; do sleep 0.05; done; [ -e /place/mark ] && echo seen; echo end; sleep 1000";
    let mut container = Container::sh(runtime, script);
    let (root, sign) = (container.bundle.rootfs(), container.folder().join("sign"));
    host_mount(&container, &["--bind", text(&root)], &root);
    container.host_call("mount").args(["--make-shared", text(&root)]).run().ok();
    fs::create_dir(root.join("place")).unwrap();
    fs::create_dir(&sign).unwrap();
    container.bundle.mount("/sign", "none", text(&sign), &["bind"]);
    if let Some(word) = word {
        container.bundle.set("/linux/rootfsPropagation", json!(word));
    }
    container.run_detached().ok();
    host_mount(&container, &["-t", "tmpfs", "tmpfs"], &root.join("place"));
    fs::write(root.join("place/mark"), "").unwrap();
    fs::write(sign.join("go"), "").unwrap();
    container.wait_stdout("end").contains("seen")
}

fn lnx_151_slave_root_hears_of_the_host(runtime: &Runtime) {
    assert!(hears_of_the_host(runtime, Some("slave")));
    assert!(hears_of_the_host(runtime, Some("rslave")));
}

fn lnx_152_private_root_hears_nothing(runtime: &Runtime) {
    assert!(!hears_of_the_host(runtime, Some("private")));
}

/// A mount made inside does not show up on the host, whatever the propagation.
fn lnx_152_nothing_reaches_the_host(runtime: &Runtime) {
    for word in ["slave", "private", "shared", "unbindable", ""] {
        let mut container = Container::sh(runtime, "mount -t tmpfs tmpfs /place && echo mounted; sleep 1000");
        all_capabilities(&mut container, &[]);
        let root = container.bundle.rootfs();
        host_mount(&container, &["--bind", text(&root)], &root);
        container.host_call("mount").args(["--make-shared", text(&root)]).run().ok();
        fs::create_dir(root.join("place")).unwrap();
        if !word.is_empty() {
            container.bundle.set("/linux/rootfsPropagation", json!(word));
        }
        let before = Snapshot::take(&container).mounts;
        container.run_detached().ok();
        container.wait_stdout("mounted");
        assert_eq!(Snapshot::take(&container).mounts, before, "{word}");
    }
}

fn lnx_153_unbindable_root(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "mount --bind / /mnt 2>&1 && echo bound; cat /proc/self/mountinfo");
    all_capabilities(&mut container, &[]);
    fs::create_dir(container.bundle.inside("/mnt")).unwrap();
    container.bundle.set("/linux/rootfsPropagation", json!("unbindable"));
    let output = container.run().ok();
    assert!(output.text().contains("Invalid argument") && !output.text().contains("bound\n"), "{output}");
    assert!(Mounts::of(output.text()).at("/").tagged("unbindable"), "{output}");
}

fn lnx_11_mounts_of_the_container_are_not_the_hosts(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.mount("/t", "tmpfs", "tmpfs", &["rshared"]);
    let before = Snapshot::take(&container).mounts;
    container.create().ok();
    assert_eq!(Snapshot::take(&container).mounts, before);
    let inside = Mounts::of(&container.process().read("mountinfo"));
    assert_eq!(inside.at("/t").kind, "tmpfs");
    container.start().ok();
    assert_eq!(Snapshot::take(&container).mounts, before);
}

fn lnx_4_links_in_dev(runtime: &Runtime) {
    let script = "for name in fd stdin stdout stderr; do readlink /dev/$name; done; echo ok >>/dev/stdout";
    let output = Container::sh(runtime, script).run().ok();
    assert_eq!(output.text(), "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\nok");
}

fn lnx_5_no_links_in_dev_without_proc(runtime: &Runtime) {
    let script = "for name in fd stdin stdout stderr; do [ -e /dev/$name ] && echo $name; done; echo ran";
    let mut container = Container::sh(runtime, script);
    container.bundle.remove("/mounts/0").set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    assert_eq!(container.run().ok().text(), "ran");
}

fn decision_15_config_without_linux(runtime: &Runtime) {
    spare_the_host(runtime);
    let mut container = Container::sleeper(runtime);
    container.bundle.remove("/linux").remove("/hostname").set("/mounts", json!([])).writable();
    let before = Snapshot::take(&container).mounts;
    container.create().ok();
    container.start().ok();
    let process = container.process();
    for kind in ["pid", "net", "mnt", "ipc", "uts", "user", "cgroup"] {
        assert_eq!(process.namespace(kind), integration::Process::new(own_pid()).namespace(kind), "{kind}");
    }
    assert_eq!(process.link("root").unwrap(), fs::canonicalize(container.bundle.rootfs()).unwrap());
    assert_eq!(Snapshot::take(&container).mounts, before);
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    assert_eq!(Snapshot::take(&container).mounts, before);
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

fn sec_23_readonly_root_with_a_proc_of_the_image(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "touch /new 2>&1; touch /b/new 2>&1; echo end; sleep 1000");
    let source = integration::mountinfo::host_folder(&container, "source");
    fs::create_dir_all(container.bundle.inside("/proc/self/fd")).unwrap();
    for number in 0..65 {
        symlink("/tmp", container.bundle.inside(&format!("/proc/self/fd/{number}"))).unwrap();
    }
    container.bundle.remove("/mounts/0").set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    container.bundle.set("/root/readonly", json!(true)).mount("/b", "none", text(&source), &["bind", "ro"]);
    container.run_detached().ok();
    let said = container.wait_stdout("end");
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
    let mounts = Mounts::of(&container.process().read("mountinfo"));
    assert!(mounts.at("/").has("ro") && mounts.at("/b").has("ro"), "{mounts:?}");
}

fn sec_16_host_mounts_keep_their_propagation(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let shared = container.folder().join("shared");
    host_mount(&container, &["-t", "tmpfs", "tmpfs"], &shared);
    container.host_call("mount").args(["--make-shared", text(&shared)]).run().ok();
    container.bundle.mount("/host", "none", "/", &["rbind", "rprivate"]);
    let before = Snapshot::take(&container).mounts;
    for word in ["private", "slave", "shared", "unbindable"] {
        container.bundle.set("/linux/rootfsPropagation", json!(word));
        container.create().ok();
        assert_eq!(Snapshot::take(&container).mounts, before, "{word}");
        container.delete_force().ok();
        until("the mounts are as before", || (Snapshot::take(&container).mounts == before).then_some(()));
    }
}

/// Nothing that would change mounts is done in the caller's mount namespace: it works without or is refused.
fn sec_16_no_mount_namespace_changes_no_mounts(runtime: &Runtime) {
    spare_the_host(runtime);
    let mut container = Container::sleeper(runtime);
    container.bundle.without_namespace("mount").without_namespace("cgroup");
    container.bundle.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([])).writable();
    let with_mounts = container.bundle.config()["mounts"].clone();
    for (mounts, propagation) in [(with_mounts, None), (json!([]), Some("private")), (json!([]), Some("rslave"))] {
        container.bundle.set("/mounts", mounts);
        if let Some(word) = propagation {
            container.bundle.set("/linux/rootfsPropagation", json!(word));
        }
        let message = refused(&container);
        assert!(message.contains("mount namespace"), "{message}");
    }
}
