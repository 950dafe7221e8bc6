//! The words of `mounts[].options`.

use integration::mountinfo::{Mounts, all_capabilities, host_folder, host_mount, refused, text};
use integration::{Container, Runtime};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

cases! {
    Any:
        cfg_18_every_mandatory_word_is_accepted,
        cfg_19_flags_of_new_file_systems,
        cfg_19_flags_of_binds,
        cfg_19_flags_of_proc,
        cfg_19_ro_gives_erofs,
        cfg_19_nodev_hides_devices,
        cfg_19_noexec_refuses_programs,
        cfg_19_nosuid_ignores_the_bit,
        cfg_20_access_times_of_new_file_systems,
        cfg_20_access_times_of_binds,
        cfg_21_words_of_the_superblock,
        cfg_21_defaults_adds_nothing,
        cfg_22_remount_changes_the_mount_that_is_there,
        cfg_22_remount_of_a_bind,
        cfg_23_bind_hides_submounts_and_rbind_carries_them,
        cfg_24_propagation_of_new_file_systems,
        cfg_24_propagation_of_binds,
        cfg_24_recursive_propagation,
        cfg_25_later_words_win,
        cfg_25_flags_of_the_source_stay,
        cfg_25_flags_of_the_source_can_be_cleared,
        cfg_26_recursive_words_set_flags,
        cfg_26_recursive_words_clear_flags,
        cfg_28_ro_of_an_rbind_is_not_recursive,
        cfg_29_nosymfollow,
        cfg_29_recursive_nosymfollow,
        cfg_30_mand_and_nomand_are_accepted,
        cfg_41_other_words_are_data,
        cfg_41_word_unknown_to_the_file_system_is_refused,
        cfg_41_data_of_a_bind_is_refused,
    ;
    Any [UserNs]: cfg_25_locked_flags_stay, cfg_25_locked_flags_cannot_be_cleared;
    Any [Overlayfs]: cfg_41_overlay_takes_its_folders;
}

/// A container with a tmpfs at `/m/INDEX` for each list of words.
fn with_tmpfs(runtime: &Runtime, lists: &[&[&str]]) -> Mounts {
    let mut container = Container::new(runtime);
    for (index, words) in lists.iter().enumerate() {
        container.bundle.mount(&format!("/m/{index}"), "tmpfs", "tmpfs", words);
    }
    Mounts::inside(&mut container)
}

/// A folder of the host that is a tmpfs with these flags and has another one at `sub`.
fn source(container: &Container, name: &str, flags: &str) -> PathBuf {
    let folder = container.folder().join(name);
    host_mount(container, &["-t", "tmpfs", "tmpfs"], &folder);
    host_mount(container, &["-t", "tmpfs", "tmpfs"], &folder.join("sub"));
    fs::write(folder.join("top"), "").unwrap();
    fs::write(folder.join("sub/below"), "").unwrap();
    for point in [&folder, &folder.join("sub")] {
        container.host_call("mount").args(["-o", &format!("remount,bind,{flags}")]).arg(point).run().ok();
    }
    folder
}

/// A container with the source bound at `/m/INDEX` for each list of words.
fn with_binds(container: &mut Container, source: &str, lists: &[&[&str]]) -> Mounts {
    for (index, words) in lists.iter().enumerate() {
        container.bundle.mount(&format!("/m/{index}"), "none", source, words);
    }
    Mounts::inside(container)
}

const MANDATORY: [&str; 33] = [
    "async",
    "atime",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "iversion",
    "lazytime",
    "loud",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "private",
    "relatime",
    "ro",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "sync",
];

fn cfg_18_every_mandatory_word_is_accepted(runtime: &Runtime) {
    let words: Vec<&str> = MANDATORY.into_iter().chain(["unbindable"]).collect();
    let lists: Vec<Vec<&str>> = words.iter().map(|word| vec![*word]).collect();
    let lists: Vec<&[&str]> = lists.iter().map(Vec::as_slice).collect();
    let mounts = with_tmpfs(runtime, &lists);
    assert_eq!((0..lists.len()).filter(|index| mounts.at(&format!("/m/{index}")).kind == "tmpfs").count(), 34);
    let mut container = Container::new(runtime);
    let folder = host_folder(&container, "source");
    let binds: Vec<Vec<&str>> = words.iter().flat_map(|word| [vec!["bind", word], vec!["rbind", word]]).collect();
    let binds: Vec<&[&str]> = binds.iter().map(Vec::as_slice).collect();
    let mounts = with_binds(&mut container, text(&folder), &binds);
    assert_eq!(mounts.points().iter().filter(|point| point.starts_with("/m/")).count(), 68);
}

fn cfg_19_flags_of_new_file_systems(runtime: &Runtime) {
    let set = [&["ro"][..], &["nosuid"], &["nodev"], &["noexec"], &["nosuid", "noexec", "nodev", "ro"]];
    let mounts = with_tmpfs(runtime, &set);
    for (index, words) in set.iter().enumerate() {
        let mount = mounts.at(&format!("/m/{index}"));
        for word in ["ro", "nosuid", "nodev", "noexec"] {
            assert_eq!(mount.has(word), words.contains(&word), "{word} of {words:?}: {mount:?}");
        }
    }
    let mounts = with_tmpfs(runtime, &[&["sync"], &["dirsync"], &["async"], &["sync", "async"]]);
    assert!(mounts.at("/m/0").offers("sync") && mounts.at("/m/1").offers("dirsync"), "{mounts:?}");
    assert!(!mounts.at("/m/2").offers("sync") && !mounts.at("/m/3").offers("sync"), "{mounts:?}");
    let mounts = with_tmpfs(runtime, &[&["nosuid", "suid", "nodev", "dev", "noexec", "exec", "ro", "rw"]]);
    assert!(!["ro", "nosuid", "nodev", "noexec"].iter().any(|word| mounts.at("/m/0").has(word)), "{mounts:?}");
}

fn cfg_19_flags_of_binds(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let folder = host_folder(&container, "source");
    let set = [&["bind", "ro"][..], &["bind", "nosuid"], &["rbind", "nodev"], &["noexec", "bind"], &["bind"]];
    let mounts = with_binds(&mut container, text(&folder), &set);
    for (index, words) in set.iter().enumerate() {
        let mount = mounts.at(&format!("/m/{index}"));
        for word in ["ro", "nosuid", "nodev", "noexec"] {
            assert_eq!(mount.has(word), words.contains(&word), "{word} of {words:?}: {mount:?}");
        }
    }
}

fn cfg_19_flags_of_proc(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.set("/mounts/0/options", json!(["nosuid", "noexec", "nodev", "ro"]));
    let mounts = Mounts::inside(&mut container);
    let proc = mounts.at("/proc");
    assert!(["nosuid", "noexec", "nodev", "ro"].iter().all(|flag| proc.has(flag)), "{proc:?}");
}

fn cfg_19_ro_gives_erofs(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "touch /b/x /t/x 2>&1; touch /w/x && echo written");
    let folder = host_folder(&container, "source");
    container.bundle.mount("/b", "none", text(&folder), &["bind", "ro"]).mount("/t", "tmpfs", "tmpfs", &["ro"]);
    container.bundle.mount("/w", "none", text(&folder), &["bind", "rw"]);
    let output = container.run().ok();
    assert_eq!(output.text().matches("Read-only file system").count(), 2, "{output}");
    assert!(output.text().ends_with("written"), "{output}");
}

fn cfg_19_nodev_hides_devices(runtime: &Runtime) {
    let mut container = Container::sh(runtime, ": 2>&1 >/no/null; : >/yes/null && echo opened");
    let folder = host_folder(&container, "source");
    container.host_call("mknod").args(["-m", "666", text(&folder.join("null")), "c", "1", "3"]).run().ok();
    container.bundle.sh("(: >/no/null) 2>&1; (: >/yes/null) 2>&1 && echo opened");
    container.bundle.mount("/no", "none", text(&folder), &["bind", "nodev"]);
    container.bundle.mount("/yes", "none", text(&folder), &["bind", "nodev", "dev"]);
    let output = container.run().ok();
    assert!(output.text().contains("/no/null: Permission denied") && output.text().ends_with("opened"), "{output}");
}

/// A folder with a copy of busybox that has this owner and mode.
fn program(container: &Container, owner: u32, mode: u32) -> PathBuf {
    let folder = host_folder(container, "source");
    let file = folder.join("busybox");
    integration::bundle::copy_program(integration::bundle::busybox(), &file);
    chown(&file, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    folder
}

fn cfg_19_noexec_refuses_programs(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "/no/busybox echo ran 2>&1; /yes/busybox echo ran");
    let folder = program(&container, 0, 0o755);
    container.bundle.mount("/no", "none", text(&folder), &["bind", "noexec"]);
    container.bundle.mount("/yes", "none", text(&folder), &["bind", "noexec", "exec"]);
    let output = container.run().ok();
    assert!(output.text().contains("Permission denied") && output.text().ends_with("\nran"), "{output}");
}

/// A busybox of user 1000 run by root: it gives up no privilege of its own.
fn cfg_19_nosuid_ignores_the_bit(runtime: &Runtime) {
    let script = "/no/busybox grep Uid /proc/self/status; /yes/busybox grep Uid /proc/self/status";
    let mut container = Container::sh(runtime, script);
    let folder = program(&container, 1000, 0o4755);
    container.bundle.set("/process/noNewPrivileges", json!(false));
    container.bundle.mount("/no", "none", text(&folder), &["bind", "nosuid"]);
    container.bundle.mount("/yes", "none", text(&folder), &["bind", "nosuid", "suid"]);
    assert_eq!(container.run().ok().text(), "Uid:\t0\t0\t0\t0\nUid:\t0\t1000\t1000\t1000");
}

/// The words of mountinfo about access times.
fn access_times(mounts: &Mounts, point: &str) -> String {
    let words = ["noatime", "relatime", "nodiratime"];
    let mount = mounts.at(point);
    words.into_iter().filter(|word| mount.has(word)).collect::<Vec<_>>().join(" ")
}

fn cfg_20_access_times_of_new_file_systems(runtime: &Runtime) {
    let table: [(&[&str], &str); 15] = [
        (&[], "relatime"),
        (&["atime"], "relatime"),
        (&["noatime"], "noatime"),
        (&["relatime"], "relatime"),
        (&["norelatime"], "relatime"),
        (&["strictatime"], ""),
        (&["nostrictatime"], "relatime"),
        (&["diratime"], "relatime"),
        (&["nodiratime"], "relatime nodiratime"),
        (&["noatime", "nodiratime"], "noatime nodiratime"),
        (&["nodiratime", "diratime"], "relatime"),
        (&["noatime", "atime"], "relatime"),
        (&["strictatime", "nostrictatime"], "relatime"),
        (&["relatime", "norelatime"], "relatime"),
        (&["strictatime", "nodiratime"], "nodiratime"),
    ];
    let lists: Vec<&[&str]> = table.iter().map(|(words, _)| *words).collect();
    let mounts = with_tmpfs(runtime, &lists);
    for (index, (words, expected)) in table.iter().enumerate() {
        assert_eq!(access_times(&mounts, &format!("/m/{index}")), *expected, "{words:?}");
    }
}

fn cfg_20_access_times_of_binds(runtime: &Runtime) {
    let table: [(&str, &[&str], &str); 8] = [
        ("noatime,nodiratime", &["bind"], "noatime nodiratime"),
        ("noatime,nodiratime", &["bind", "atime"], "relatime nodiratime"),
        ("noatime,nodiratime", &["bind", "diratime"], "noatime"),
        ("noatime", &["bind", "strictatime"], ""),
        ("noatime", &["bind", "relatime"], "relatime"),
        ("strictatime", &["bind"], ""),
        ("strictatime", &["bind", "nostrictatime"], "relatime"),
        ("relatime", &["bind", "noatime", "nodiratime"], "noatime nodiratime"),
    ];
    for (flags, words, expected) in table {
        let mut container = Container::new(runtime);
        let source = source(&container, "source", flags);
        let mounts = with_binds(&mut container, text(&source), &[words]);
        assert_eq!(access_times(&mounts, "/m/0"), expected, "{words:?} on {flags}");
    }
}

fn cfg_21_words_of_the_superblock(runtime: &Runtime) {
    let lists: [&[&str]; 6] =
        [&["lazytime"], &["nolazytime"], &["lazytime", "nolazytime"], &["iversion", "noiversion"], &["silent"], &["loud"]];
    let mounts = with_tmpfs(runtime, &lists);
    assert!(mounts.at("/m/0").offers("lazytime"), "{mounts:?}");
    assert!((1..6).all(|index| !mounts.at(&format!("/m/{index}")).offers("lazytime")), "{mounts:?}");
}

fn cfg_21_defaults_adds_nothing(runtime: &Runtime) {
    let mounts = with_tmpfs(runtime, &[&["defaults"], &[], &["nodev", "defaults"]]);
    let (with, without) = (mounts.at("/m/0"), mounts.at("/m/1"));
    assert_eq!((&with.flags, &with.superblock), (&without.flags, &without.superblock));
    assert!(mounts.at("/m/2").has("nodev"), "{mounts:?}");
}

fn cfg_22_remount_changes_the_mount_that_is_there(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.mount("/t", "tmpfs", "tmpfs", &["size=64k"]);
    container.bundle.mount("/t", "tmpfs", "tmpfs", &["remount", "ro", "nosuid", "size=128k"]);
    let mounts = Mounts::inside(&mut container);
    assert_eq!(mounts.points().iter().filter(|point| **point == "/t").count(), 1);
    let mount = mounts.at("/t");
    assert!(mount.has("ro") && mount.has("nosuid") && mount.offers("size=128k"), "{mount:?}");
}

fn cfg_22_remount_of_a_bind(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "touch /b/x 2>&1; cat /proc/self/mountinfo");
    let folder = host_folder(&container, "source");
    container.bundle.mount("/b", "none", text(&folder), &["bind"]);
    container.bundle.mount("/b", "none", text(&folder), &["bind", "remount", "ro", "noexec"]);
    let output = container.run().ok();
    let mounts = Mounts::of(output.text());
    assert_eq!(mounts.points().iter().filter(|point| **point == "/b").count(), 1);
    assert!(mounts.at("/b").has("ro") && mounts.at("/b").has("noexec"), "{output}");
    assert!(output.text().contains("Read-only file system"), "{output}");
}

fn cfg_23_bind_hides_submounts_and_rbind_carries_them(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "for folder in /one /one/sub /all /all/sub; do echo $folder: $(ls $folder); done");
    let source = source(&container, "source", "rw");
    container.bundle.mount("/one", "none", text(&source), &["bind"]).mount("/all", "none", text(&source), &["rbind"]);
    let listing = "/one: sub top\n/one/sub:\n/all: sub top\n/all/sub: below";
    assert_eq!(container.run().ok().text(), listing);
}

fn cfg_24_propagation_of_new_file_systems(runtime: &Runtime) {
    let lists: [&[&str]; 8] = [
        &["shared"],
        &["rshared"],
        &["private"],
        &["rprivate"],
        &["slave"],
        &["unbindable"],
        &["runbindable"],
        &["shared", "private"],
    ];
    let mounts = with_tmpfs(runtime, &lists);
    let tags = |index: usize| mounts.at(&format!("/m/{index}")).tags.clone();
    assert!(tags(0)[0].starts_with("shared:") && tags(1)[0].starts_with("shared:"), "{mounts:?}");
    assert!([2, 3, 4].iter().all(|index| tags(*index).is_empty()), "{mounts:?}");
    assert_eq!([tags(5), tags(6)], [["unbindable"], ["unbindable"]]);
}

fn cfg_24_propagation_of_binds(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let source = source(&container, "source", "rw");
    for point in [&source, &source.join("sub")] {
        container.host_call("mount").arg("--make-shared").arg(point).run().ok();
    }
    let lists: [&[&str]; 4] = [&["rbind", "shared"], &["rbind", "slave"], &["rbind", "private"], &["rbind", "unbindable"]];
    let mounts = with_binds(&mut container, text(&source), &lists);
    assert!(mounts.at("/m/0").tagged("shared:"), "{mounts:?}");
    assert!(mounts.at("/m/1").tagged("master:") && !mounts.at("/m/1").tagged("shared:"), "{mounts:?}");
    assert!(mounts.at("/m/2").tags.is_empty(), "{mounts:?}");
    assert_eq!(mounts.at("/m/3").tags, ["unbindable"]);
    assert!(!mounts.at("/m/3/sub").tagged("unbindable"), "{mounts:?}");
}

fn cfg_24_recursive_propagation(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let source = source(&container, "source", "rw");
    for point in [&source, &source.join("sub")] {
        container.host_call("mount").arg("--make-shared").arg(point).run().ok();
    }
    let lists: [&[&str]; 4] =
        [&["rbind", "rshared"], &["rbind", "rslave"], &["rbind", "rprivate"], &["rbind", "runbindable"]];
    let mounts = with_binds(&mut container, text(&source), &lists);
    for below in ["", "/sub"] {
        let mount = |index: usize| mounts.at(&format!("/m/{index}{below}"));
        assert!(mount(0).tagged("shared:"), "{mounts:?}");
        assert!(mount(1).tagged("master:") && !mount(1).tagged("shared:"), "{mounts:?}");
        assert!(mount(2).tags.is_empty(), "{mounts:?}");
        assert_eq!(mount(3).tags, ["unbindable"]);
    }
}

fn cfg_25_later_words_win(runtime: &Runtime) {
    let mounts = with_tmpfs(runtime, &[&["ro", "rw"], &["rw", "ro"], &["nodev", "dev"], &["dev", "nodev"]]);
    assert!(mounts.at("/m/0").has("rw") && mounts.at("/m/1").has("ro"), "{mounts:?}");
    assert!(!mounts.at("/m/2").has("nodev") && mounts.at("/m/3").has("nodev"), "{mounts:?}");
}

const FLAGS: [&str; 5] = ["ro", "nosuid", "nodev", "noexec", "noatime"];

fn cfg_25_flags_of_the_source_stay(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let source = source(&container, "source", &FLAGS.join(","));
    let mounts = with_binds(&mut container, text(&source), &[&["bind"], &["bind", "nodiratime"], &["rbind", "ro"]]);
    for index in 0..3 {
        let mount = mounts.at(&format!("/m/{index}"));
        assert!(FLAGS.iter().all(|flag| mount.has(flag)), "{mount:?}");
    }
}

fn cfg_25_flags_of_the_source_can_be_cleared(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let source = source(&container, "source", &FLAGS.join(","));
    let lists: [&[&str]; 5] =
        [&["bind", "rw"], &["bind", "suid"], &["bind", "dev"], &["bind", "exec"], &["bind", "rw", "suid", "dev", "exec"]];
    let mounts = with_binds(&mut container, text(&source), &lists);
    for (index, flag) in ["ro", "nosuid", "nodev", "noexec"].into_iter().enumerate() {
        let mount = mounts.at(&format!("/m/{index}"));
        assert!(!mount.has(flag), "{flag}: {mount:?}");
        assert!(FLAGS.iter().filter(|other| **other != flag).all(|other| mount.has(other)), "{flag}: {mount:?}");
    }
    assert!(!FLAGS[..4].iter().any(|flag| mounts.at("/m/4").has(flag)), "{mounts:?}");
}

fn cfg_25_locked_flags_stay(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let source = source(&container, "source", &FLAGS.join(","));
    container.bundle.user_namespace(100_000);
    let mounts = with_binds(&mut container, text(&source), &[&["rbind"], &["rbind", "ro"], &["rbind", "nosuid"]]);
    for index in 0..3 {
        let mount = mounts.at(&format!("/m/{index}"));
        assert!(FLAGS.iter().all(|flag| mount.has(flag)), "{mount:?}");
    }
}

fn cfg_25_locked_flags_cannot_be_cleared(runtime: &Runtime) {
    for word in ["rw", "suid", "dev", "exec"] {
        let mut container = Container::sleeper(runtime);
        let source = source(&container, "source", &FLAGS.join(","));
        container.bundle.user_namespace(100_000).mount("/strange", "none", text(&source), &["rbind", word]);
        let message = refused(&container);
        assert!(message.contains("/strange") || message.contains("mounts[7]"), "{word}: {message}");
    }
}

fn cfg_26_recursive_words_set_flags(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let source = source(&container, "source", "relatime");
    let table =
        [("rro", "ro"), ("rnosuid", "nosuid"), ("rnodev", "nodev"), ("rnoexec", "noexec"), ("rnoatime", "noatime")];
    let table = table.into_iter().chain([("rnodiratime", "nodiratime"), ("rrelatime", "relatime")]);
    let table: Vec<_> = table.collect();
    let lists: Vec<[&str; 2]> = table.iter().map(|(word, _)| ["rbind", *word]).chain([["rbind", "rstrictatime"]]).collect();
    let lists: Vec<&[&str]> = lists.iter().map(|list| &list[..]).collect();
    let mounts = with_binds(&mut container, text(&source), &lists);
    for (index, (word, flag)) in table.iter().enumerate() {
        for below in ["", "/sub"] {
            assert!(mounts.at(&format!("/m/{index}{below}")).has(flag), "{word}: {mounts:?}");
        }
    }
    assert_eq!(access_times(&mounts, "/m/7/sub"), "", "{mounts:?}");
}

fn cfg_26_recursive_words_clear_flags(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let flagged = source(&container, "flagged", "ro,nosuid,nodev,noexec,noatime,nodiratime");
    let table = [
        ("rrw", "ro"),
        ("rsuid", "nosuid"),
        ("rdev", "nodev"),
        ("rexec", "noexec"),
        ("ratime", "noatime"),
        ("rdiratime", "nodiratime"),
        ("rstrictatime", "noatime"),
    ];
    let lists: Vec<[&str; 2]> = table.iter().map(|(word, _)| ["rbind", *word]).collect();
    let lists: Vec<&[&str]> = lists.iter().map(|list| &list[..]).collect();
    let mounts = with_binds(&mut container, text(&flagged), &lists);
    for (index, (word, flag)) in table.iter().enumerate() {
        for below in ["", "/sub"] {
            assert!(!mounts.at(&format!("/m/{index}{below}")).has(flag), "{word}: {mounts:?}");
        }
    }
}

fn cfg_28_ro_of_an_rbind_is_not_recursive(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "touch /b/x 2>&1; touch /b/sub/x && echo written");
    let source = source(&container, "source", "rw");
    container.bundle.mount("/b", "none", text(&source), &["rbind", "ro"]);
    let output = container.run().ok();
    assert!(output.text().contains("Read-only file system") && output.text().ends_with("written"), "{output}");
}

const READ: &str = "for place in no yes; do cat /$place/link; cat /$place/sub/link; done 2>&1";

fn linked(container: &Container) -> PathBuf {
    let source = source(container, "source", "rw");
    for folder in [&source, &source.join("sub")] {
        fs::write(folder.join("file"), "read\n").unwrap();
        symlink("file", folder.join("link")).unwrap();
    }
    source
}

fn cfg_29_nosymfollow(runtime: &Runtime) {
    let mut container = Container::sh(runtime, READ);
    let source = linked(&container);
    container.bundle.mount("/no", "none", text(&source), &["rbind", "nosymfollow"]);
    container.bundle.mount("/yes", "none", text(&source), &["rbind", "nosymfollow", "symfollow"]);
    let output = container.run().ok();
    let lines: Vec<&str> = output.text().lines().collect();
    assert!(lines[0].contains("Too many levels of symbolic links"), "{output}");
    assert_eq!(lines[1..], ["read"; 3]);
}

fn cfg_29_recursive_nosymfollow(runtime: &Runtime) {
    let mut container = Container::sh(runtime, READ);
    let source = linked(&container);
    container.bundle.mount("/no", "none", text(&source), &["rbind", "rnosymfollow"]);
    container.bundle.mount("/yes", "none", text(&source), &["rbind", "rnosymfollow", "rsymfollow"]);
    let output = container.run().ok();
    let lines: Vec<&str> = output.text().lines().collect();
    assert!(lines[..2].iter().all(|line| line.contains("Too many levels of symbolic links")), "{output}");
    assert_eq!(lines[2..], ["read"; 2]);
}

fn cfg_30_mand_and_nomand_are_accepted(runtime: &Runtime) {
    let mounts = with_tmpfs(runtime, &[&["mand"], &["nomand"]]);
    assert_eq!([&mounts.at("/m/0").kind, &mounts.at("/m/1").kind], ["tmpfs", "tmpfs"]);
}

fn cfg_41_other_words_are_data(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c '%a %g' /t /u; cat /proc/self/mountinfo");
    container.bundle.mount("/t", "tmpfs", "tmpfs", &["size=64k", "mode=0700", "gid=5", "nodev"]);
    container.bundle.mount("/u", "tmpfs", "tmpfs", &["size=64k,mode=0710,gid=6", "ro"]);
    let output = container.run().ok();
    assert!(output.text().starts_with("700 5\n710 6\n"), "{output}");
    let mounts = Mounts::of(output.text());
    assert!(mounts.at("/t").offers("size=64k") && mounts.at("/u").offers("size=64k"), "{output}");
}

fn cfg_41_overlay_takes_its_folders(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /o/file; echo new >/o/file; cat /o/file");
    all_capabilities(&mut container, &[]);
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| host_folder(&container, name));
    fs::write(lower.join("file"), "lower\n").unwrap();
    let options = [("lowerdir", &lower), ("upperdir", &upper), ("workdir", &work)];
    let options = options.map(|(key, path)| format!("{key}={}", text(path)));
    container.bundle.mount("/o", "overlay", "overlay", &options.each_ref().map(String::as_str));
    assert_eq!(container.run().ok().text(), "lower\nnew");
    assert_eq!(fs::read_to_string(lower.join("file")).unwrap(), "lower\n");
    assert_eq!(fs::read_to_string(upper.join("file")).unwrap(), "new\n");
}

fn cfg_41_word_unknown_to_the_file_system_is_refused(runtime: &Runtime) {
    for word in ["strange", "strange=1", "size=many", "RO"] {
        let mut container = Container::sleeper(runtime);
        container.bundle.mount("/strange-place", "tmpfs", "tmpfs", &["nodev", word]);
        let message = refused(&container);
        assert!(message.contains("/strange-place") || message.contains("mounts[7]"), "{word}: {message}");
        assert!(message.to_lowercase().contains("invalid argument"), "{word}: {message}");
    }
}

fn cfg_41_data_of_a_bind_is_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let folder = host_folder(&container, "source");
    container.bundle.mount("/b", "none", text(&folder), &["bind", "size=64k"]);
    refused(&container);
}
