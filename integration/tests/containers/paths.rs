//! `linux.maskedPaths` and `linux.readonlyPaths`.

use integration::mountinfo::{Mounts, all_capabilities, host_folder, refused, text};
use integration::{Container, Runtime};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

cases! {
    Any:
        lnx_154_masked_files_and_directories_are_empty,
        lnx_154_masked_paths_given_twice_are_covered_once,
        lnx_154_masked_paths_that_are_missing_are_ignored,
        lnx_154_masked_file_takes_no_writes,
        lnx_155_masked_paths_are_absolute,
        lnx_156_links_of_masked_paths_stay_inside,
        lnx_156_loop_of_links_in_a_masked_path_is_refused,
        lnx_157_readonly_paths_give_erofs,
        lnx_157_readonly_paths_that_are_missing_are_ignored,
        lnx_157_readonly_paths_keep_their_flags,
        lnx_157_readonly_path_and_its_submounts,
        lnx_158_readonly_paths_are_absolute,
        lnx_159_links_of_readonly_paths_stay_inside,
        lnx_159_loop_of_links_in_a_readonly_path_is_refused,
        sec_12_null_is_a_link,
        sec_12_null_is_missing,
        sec_12_null_is_a_regular_file,
        sec_12_null_is_another_device,
        sec_15_default_paths_are_masked,
        sec_15_default_paths_are_readonly,
        sec_15_paths_of_every_kind_are_masked,
        sec_24_paths_on_a_shared_volume,
    ;
    Any [UserNs]: lnx_154_masked_paths_in_a_user_namespace, lnx_157_readonly_paths_in_a_user_namespace;
}

/// Looks at /file and /dir.
const LOOK: &str = "cat /file; ls -A /dir; touch /dir/new 2>&1; rm /file 2>&1; echo end";

fn masked(container: &mut Container) {
    container.bundle.file("/file", "secret", 0o644);
    container.bundle.file("/dir/inner", "secret", 0o644);
    container.bundle.writable().set("/linux/maskedPaths", json!(["/file", "/dir"]));
}

fn lnx_154_masked_files_and_directories_are_empty(runtime: &Runtime) {
    let mut container = Container::sh(runtime, LOOK);
    masked(&mut container);
    let output = container.run().ok();
    assert!(!output.text().contains("secret") && !output.text().contains("inner"), "{output}");
    assert!(output.text().contains("Read-only file system") && output.text().contains("busy"), "{output}");
    assert_eq!(fs::read_to_string(container.bundle.inside("/file")).unwrap(), "secret");
    assert_eq!(fs::read_to_string(container.bundle.inside("/dir/inner")).unwrap(), "secret");
}

fn lnx_154_masked_paths_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, LOOK);
    masked(&mut container);
    container.bundle.user_namespace(100_000);
    let output = container.run().ok();
    assert!(!output.text().contains("secret") && !output.text().contains("inner"), "{output}");
    assert!(output.text().contains("Read-only file system"), "{output}");
}

fn lnx_154_masked_paths_given_twice_are_covered_once(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    masked(&mut container);
    container.bundle.set("/linux/maskedPaths", json!(["/file", "/dir", "/file", "/dir"]));
    let mounts = Mounts::inside(&mut container);
    for point in ["/file", "/dir"] {
        assert_eq!(mounts.points().iter().filter(|found| **found == point).count(), 1, "{mounts:?}");
    }
}

fn lnx_154_masked_paths_that_are_missing_are_ignored(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo ran; ls -d /nowhere /etc/passwd/below 2>&1 | grep -c No");
    container.bundle.set("/linux/maskedPaths", json!(["/nowhere", "/nowhere/at/all", "/proc/nowhere"]));
    assert!(container.run().ok().no_complaint().text().starts_with("ran"));
    assert!(!container.bundle.inside("/nowhere").exists());
}

fn lnx_154_masked_file_takes_no_writes(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo lost >/file; cat /file; stat -c '%F %t:%T' /file");
    masked(&mut container);
    assert_eq!(container.run().ok().text(), "character special file 1:3");
}

/// Values that are no absolute paths are refused with list and index.
fn relative_is_refused(runtime: &Runtime, list: &str) {
    for wrong in ["proc/kcore", "", "./x", "../x"] {
        let mut container = Container::sleeper(runtime);
        container.bundle.set(&format!("/linux/{list}"), json!(["/proc/kcore", wrong]));
        let message = refused(&container);
        assert!(message.contains(&format!("linux.{list}[1]")), "{wrong:?}: {message}");
    }
}

fn lnx_155_masked_paths_are_absolute(runtime: &Runtime) {
    relative_is_refused(runtime, "maskedPaths");
}

fn lnx_158_readonly_paths_are_absolute(runtime: &Runtime) {
    relative_is_refused(runtime, "readonlyPaths");
}

/// A link out of the root, to what is inside as well as on the host, and one with too many dots.
fn links(container: &Container) -> String {
    let canary = host_folder(container, "canary");
    fs::write(canary.join("secret"), "host\n").unwrap();
    container.bundle.file(text(&canary.join("secret")), "image\n", 0o644);
    container.bundle.file("/real", "image\n", 0o644);
    symlink(&canary, container.bundle.inside("/out")).unwrap();
    symlink("../../../../../real", container.bundle.inside("/up")).unwrap();
    text(&canary).to_string()
}

fn lnx_156_links_of_masked_paths_stay_inside(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let canary = links(&container);
    container.bundle.set("/linux/maskedPaths", json!(["/out/secret", "/up"]));
    container.bundle.sh(&format!("cat {canary}/secret /real; echo end"));
    assert_eq!(container.run().ok().text(), "end");
    assert_eq!(fs::read_to_string(Path::new(&canary).join("secret")).unwrap(), "host\n");
}

fn lnx_159_links_of_readonly_paths_stay_inside(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let canary = links(&container);
    container.bundle.writable().set("/linux/readonlyPaths", json!(["/out", "/up"]));
    container.bundle.sh(&format!("touch {canary}/new 2>&1; (echo x >/real) 2>&1; cat /real"));
    let output = container.run().ok();
    assert_eq!(output.text().matches("Read-only file system").count(), 2, "{output}");
    assert!(output.text().ends_with("image"), "{output}");
}

fn loop_is_refused(runtime: &Runtime, list: &str) {
    let mut container = Container::sleeper(runtime);
    symlink("self", container.bundle.inside("/self")).unwrap();
    symlink("two", container.bundle.inside("/one")).unwrap();
    symlink("one", container.bundle.inside("/two")).unwrap();
    for path in ["/self", "/one", "/two/below"] {
        container.bundle.set(&format!("/linux/{list}"), json!([path]));
        refused(&container);
    }
}

fn lnx_156_loop_of_links_in_a_masked_path_is_refused(runtime: &Runtime) {
    loop_is_refused(runtime, "maskedPaths");
}

fn lnx_159_loop_of_links_in_a_readonly_path_is_refused(runtime: &Runtime) {
    loop_is_refused(runtime, "readonlyPaths");
}

/// Looks at /file and /dir; nothing may be written, everything may be read.
const WRITE: &str = "(echo x >/file) 2>&1; touch /dir/new 2>&1; touch /dir/nested/new 2>&1; cat /file /dir/nested/inner";

fn readonly(container: &mut Container) {
    container.bundle.file("/file", "one\n", 0o644);
    container.bundle.file("/dir/nested/inner", "two\n", 0o644);
    container.bundle.writable().set("/linux/readonlyPaths", json!(["/file", "/dir"]));
}

fn lnx_157_readonly_paths_give_erofs(runtime: &Runtime) {
    let mut container = Container::sh(runtime, WRITE);
    readonly(&mut container);
    let output = container.run().ok();
    assert_eq!(output.text().matches("Read-only file system").count(), 3, "{output}");
    assert!(output.text().ends_with("one\ntwo"), "{output}");
}

fn lnx_157_readonly_paths_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, WRITE);
    readonly(&mut container);
    container.bundle.user_namespace(100_000);
    let output = container.run().ok();
    assert_eq!(output.text().matches("Read-only file system").count(), 3, "{output}");
}

fn lnx_157_readonly_paths_that_are_missing_are_ignored(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo ran");
    container.bundle.set("/linux/readonlyPaths", json!(["/nowhere", "/nowhere/at/all", "/proc/nowhere"]));
    assert_eq!(container.run().ok().no_complaint().text(), "ran");
    assert!(!container.bundle.inside("/nowhere").exists());
}

fn lnx_157_readonly_paths_keep_their_flags(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.mount("/t", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec", "noatime"]);
    container.bundle.set("/linux/readonlyPaths", json!(["/t"]));
    let mounts = Mounts::inside(&mut container);
    let mount = mounts.at("/t");
    assert!(["ro", "nosuid", "nodev", "noexec", "noatime"].iter().all(|flag| mount.has(flag)), "{mount:?}");
}

fn lnx_157_readonly_path_and_its_submounts(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "touch /t/new /t/below/new 2>&1; ls /t/below");
    container.bundle.mount("/t", "tmpfs", "tmpfs", &[]).mount("/t/below", "tmpfs", "tmpfs", &[]);
    container.bundle.set("/linux/readonlyPaths", json!(["/t"]));
    let output = container.run().ok();
    assert_eq!(output.text().matches("Read-only file system").count(), 2, "{output}");
}

/// The default container with a hostile /dev: refused, or every mask is the real null device.
fn masks_hold(runtime: &Runtime, prepare: impl FnOnce(&Path)) {
    let script = "head -c 99 /secret; stat -c '%F %t:%T' /secret; (echo x >/secret) 2>&1; ls -A /hidden; echo end";
    let mut container = Container::sh(runtime, script);
    let dev = host_folder(&container, "dev");
    prepare(&dev);
    container.bundle.file("/secret", "secret", 0o644);
    container.bundle.file("/hidden/secret", "secret", 0o644);
    container.bundle.set("/linux/maskedPaths", json!(["/secret", "/hidden", "/proc/kcore"]));
    let bind = json!({"destination": "/dev", "type": "none", "source": text(&dev), "options": ["bind"]});
    container.bundle.set("/mounts/1", bind);
    let pattern = fs::read("/proc/sys/kernel/core_pattern").unwrap();
    let output = container.run();
    assert_eq!(fs::read("/proc/sys/kernel/core_pattern").unwrap(), pattern);
    if output.code == Some(0) {
        assert_eq!(output.text(), "character special file 1:3\nend");
    } else {
        assert!(output.stdout.is_empty(), "{output}");
    }
}

fn sec_12_null_is_a_link(runtime: &Runtime) {
    // Not core_pattern: where the mask is naive, the program writes to what the link means.
    masks_hold(runtime, |dev| symlink("/proc/sys/kernel/domainname", dev.join("null")).unwrap());
}

fn sec_12_null_is_missing(runtime: &Runtime) {
    masks_hold(runtime, |_| {});
}

fn sec_12_null_is_a_regular_file(runtime: &Runtime) {
    masks_hold(runtime, |dev| fs::write(dev.join("null"), "not empty").unwrap());
}

fn sec_12_null_is_another_device(runtime: &Runtime) {
    masks_hold(runtime, |dev| {
        let made = std::process::Command::new("mknod").arg(dev.join("null")).args(["c", "1", "5"]).status();
        assert!(made.unwrap().success());
    });
}

/// The lists of Docker, Podman and containerd together.
const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
    "/sys/dev/block",
];

const READONLY: [&str; 6] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/proc/asound/cards"];

fn sec_15_default_paths_are_masked(runtime: &Runtime) {
    let script = "for path in \"$@\"; do [ -e $path ] || continue; [ -d $path ] && n=$(ls -A $path | wc -l) \
        || n=$(head -c 1 $path | wc -c); umount $path 2>/dev/null && n=unmounted; echo $path $n; done";
    let mut container = Container::new(runtime);
    all_capabilities(&mut container, &["SYS_ADMIN"]);
    container.bundle.args(["/bin/sh", "-c", script, "sh"].into_iter().chain(MASKED));
    container.bundle.set("/linux/maskedPaths", json!(MASKED)).set("/linux/readonlyPaths", json!(READONLY));
    let output = container.run().ok();
    let existing = MASKED.iter().filter(|path| Path::new(path).exists()).count();
    assert!(output.text().lines().count() >= existing.min(3), "{output}");
    assert!(output.text().lines().all(|line| line.ends_with(" 0")), "{output}");
}

fn sec_15_default_paths_are_readonly(runtime: &Runtime) {
    let script = "(echo x >/proc/sys/kernel/domainname) 2>&1; v=$(cat /proc/sys/vm/swappiness); (echo $v >/proc/sys/vm/swappiness) 2>&1; \
        mount -o remount,bind,rw /proc/sys 2>/dev/null && echo remounted; cat /proc/self/mountinfo";
    let mut container = Container::sh(runtime, script);
    all_capabilities(&mut container, &["SYS_ADMIN"]);
    container.bundle.set("/linux/maskedPaths", json!(MASKED)).set("/linux/readonlyPaths", json!(READONLY));
    let output = container.run().ok();
    assert_eq!(output.text().matches("Read-only file system").count(), 2, "{output}");
    assert!(!output.text().contains("remounted"), "{output}");
    let mounts = Mounts::of(output.text());
    for path in READONLY.iter().filter(|path| Path::new(path).exists() && !path.starts_with("/proc/asound")) {
        assert!(mounts.at(path).has("ro"), "{path}: {output}");
    }
}

fn sec_15_paths_of_every_kind_are_masked(runtime: &Runtime) {
    let names = ["link", "fifo", "file", "closed/secret", "socket"];
    let script = "for name in \"$@\"; do stat -L -c '%F %t:%T' /m/$name; cat /m/$name; done; ls -A /m/folder";
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/sh", "-c", script, "sh"].into_iter().chain(names));
    for file in ["/m/real", "/m/file", "/m/closed/secret", "/m/folder/secret"] {
        container.bundle.file(file, "secret", 0o000);
    }
    symlink("real", container.bundle.inside("/m/link")).unwrap();
    container.host_call("mkfifo").arg(container.bundle.inside("/m/fifo")).run().ok();
    drop(std::os::unix::net::UnixListener::bind(container.bundle.inside("/m/socket")).unwrap());
    for folder in ["/m/closed", "/m/folder"] {
        fs::set_permissions(container.bundle.inside(folder), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let paths: Vec<String> = names.iter().chain(&["folder"]).map(|name| format!("/m/{name}")).collect();
    container.bundle.set("/linux/maskedPaths", json!(paths));
    all_capabilities(&mut container, &["SYS_ADMIN"]);
    let expected = "character special file 1:3\n".repeat(names.len());
    assert_eq!(container.run().ok().stdout, expected);
}

fn sec_24_paths_on_a_shared_volume(runtime: &Runtime) {
    let script = "touch /v/e/ro/new 2>&1; cat /v/e/m; echo end";
    let mut container = Container::sh(runtime, script);
    let volume = host_folder(&container, "volume");
    fs::create_dir_all(volume.join("e/ro")).unwrap();
    fs::write(volume.join("e/m"), "secret").unwrap();
    symlink("e", volume.join("d")).unwrap();
    let before = volume.join("e/m").metadata().unwrap();
    container.bundle.mount("/v", "none", text(&volume), &["rbind", "rw"]);
    container.bundle.set("/linux/maskedPaths", json!(["/v/d/m"])).set("/linux/readonlyPaths", json!(["/v/d/ro"]));
    let output = container.run().ok();
    assert!(output.text().contains("Read-only file system"), "{output}");
    assert!(!output.text().contains("secret"), "{output}");
    let after = volume.join("e/m").metadata().unwrap();
    assert_eq!((before.ino(), before.len(), before.mode()), (after.ino(), after.len(), after.mode()));
}
