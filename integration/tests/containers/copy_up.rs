//! `tmpcopyup`: a tmpfs that begins with what it covers.

use integration::mountinfo::{Mounts, host_folder, refused, text};
use integration::{Container, Runtime, Snapshot};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

cases! {
    Any:
        cfg_31_what_is_covered_is_copied,
        cfg_31_types_modes_and_owners_are_copied,
        cfg_31_links_are_copied_as_they_are,
        cfg_31_large_directories_and_files,
        cfg_31_directory_that_is_missing_or_a_link,
        cfg_31_mode_of_the_directory,
        cfg_31_read_only_after_the_copy,
        cfg_31_later_mounts_go_on_top,
        cfg_31_without_room_it_is_refused,
        cfg_31_nested_too_deep_is_refused,
        cfg_31_other_file_systems_are_refused,
    ;
    Any [UserNs]: cfg_31_in_a_user_namespace;
}

/// A container with a tmpfs over `/data` of the image and these further options.
fn container(runtime: &Runtime, script: &str, options: &[&str]) -> (Container, PathBuf) {
    let mut container = Container::sh(runtime, script);
    let data = container.bundle.inside("/data");
    fs::create_dir(&data).unwrap();
    let options = [options, &["tmpcopyup"]].concat();
    container.bundle.mount("/data", "tmpfs", "tmpfs", &options);
    (container, data)
}

fn cfg_31_what_is_covered_is_copied(runtime: &Runtime) {
    let (container, data) = container(runtime, "cat /data/file /data/a/b/file; echo x > /data/file; rm -r /data/a; ls /data", &[]);
    fs::create_dir_all(data.join("a/b")).unwrap();
    fs::write(data.join("file"), "one\n").unwrap();
    fs::write(data.join("a/b/file"), "two\n").unwrap();
    let before = Snapshot::take(&container);
    assert_eq!(container.run().ok().no_complaint().text(), "one\ntwo\nfile");
    before.assert_unchanged(&container);
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "one\n");
}

fn cfg_31_types_modes_and_owners_are_copied(runtime: &Runtime) {
    let script = "cd /data; stat -c '%n %F %a %u:%g %t:%T' open sticky setuid device fifo";
    let (container, data) = container(runtime, script, &[]);
    for (name, mode) in [("open", 0o777), ("sticky", 0o1751)] {
        fs::create_dir(data.join(name)).unwrap();
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(data.join("setuid"), "").unwrap();
    chown(data.join("setuid"), Some(7), Some(8)).unwrap();
    fs::set_permissions(data.join("setuid"), fs::Permissions::from_mode(0o6711)).unwrap();
    chown(data.join("sticky"), Some(9), Some(10)).unwrap();
    for words in [&["device", "c", "1", "5"][..], &["fifo", "p"]] {
        Command::new("mknod").current_dir(&data).args(["-m", "640"]).args(words).status().unwrap();
    }
    let expected = "open directory 777 0:0 0:0\nsticky directory 1751 9:10 0:0\nsetuid regular empty file 6711 7:8 0:0\n\
        device character special file 640 0:0 1:5\nfifo fifo 640 0:0 0:0";
    assert_eq!(container.run_call(&[]).after("umask 077").run().ok().text(), expected);
}

fn cfg_31_links_are_copied_as_they_are(runtime: &Runtime) {
    let script = "cd /data; for l in away up loop dangling; do readlink $l; done; stat -c %u:%g up; stat -c %F dir; cat dir/x";
    let (container, data) = container(runtime, script, &[]);
    let canary = host_folder(&container, "canary");
    fs::write(canary.join("x"), "secret").unwrap();
    let away = text(&canary).to_string();
    for (name, target) in [("away", away.as_str()), ("up", "../../.."), ("loop", "loop"), ("dangling", "nowhere"), ("dir", "real")] {
        symlink(target, data.join(name)).unwrap();
    }
    fs::create_dir(data.join("real")).unwrap();
    fs::write(data.join("real/x"), "copied").unwrap();
    std::os::unix::fs::lchown(data.join("up"), Some(5), Some(6)).unwrap();
    let output = container.run().ok();
    assert_eq!(output.text(), format!("{away}\n../../..\nloop\nnowhere\n5:6\nsymbolic link\ncopied"));
}

fn cfg_31_large_directories_and_files(runtime: &Runtime) {
    let (container, data) = container(runtime, "ls /data/many | wc -l; md5sum < /data/big; cat /data/many/*-777", &[]);
    fs::create_dir(data.join("many")).unwrap();
    for number in 0..2000 {
        fs::write(data.join(format!("many/{}-{number}", "n".repeat(number % 200))), number.to_string()).unwrap();
    }
    let big: Vec<u8> = (0..3_000_001_u32).map(|number| (number % 251) as u8).collect();
    fs::write(data.join("big"), big).unwrap();
    let sum = container.host_call("md5sum").arg(data.join("big")).run().ok();
    let sum = sum.text().split(' ').next().unwrap();
    assert_eq!(container.run().ok().text(), format!("2000\n{sum}  -\n777"));
}

fn cfg_31_directory_that_is_missing_or_a_link(runtime: &Runtime) {
    let (mut container, data) = container(runtime, "ls /missing | wc -l; ls /link; ls /data", &[]);
    fs::write(data.join("file"), "").unwrap();
    symlink("data", container.bundle.inside("/link")).unwrap();
    for destination in ["/missing", "/link"] {
        container.bundle.mount(destination, "tmpfs", "tmpfs", &["tmpcopyup"]);
    }
    assert_eq!(container.run().ok().text(), "0\nfile\nfile");
}

fn cfg_31_mode_of_the_directory(runtime: &Runtime) {
    for (options, expected) in [(&[][..], "1711"), (&["mode=0750"], "750")] {
        let (container, data) = container(runtime, "stat -c %a /data; cat /data/file", options);
        fs::write(data.join("file"), "there").unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o1711)).unwrap();
        assert_eq!(container.run().ok().text(), format!("{expected}\nthere"));
    }
}

fn cfg_31_read_only_after_the_copy(runtime: &Runtime) {
    for option in ["ro", "rro"] {
        let (container, data) = container(runtime, "cat /data/file; touch /data/new", &[option]);
        fs::write(data.join("file"), "there\n").unwrap();
        let output = container.run().fails_with("Read-only file system");
        assert_eq!(output.stdout, "there\n");
    }
}

fn cfg_31_later_mounts_go_on_top(runtime: &Runtime) {
    let (mut container, data) = container(runtime, "true", &[]);
    fs::create_dir_all(data.join("sub")).unwrap();
    container.bundle.mount("/data/sub", "tmpfs", "tmpfs", &["tmpcopyup"]).mount("/data/made", "tmpfs", "tmpfs", &[]);
    let mounts = Mounts::inside(&mut container);
    assert!(["/data", "/data/sub", "/data/made"].iter().all(|point| mounts.at(point).kind == "tmpfs"), "{mounts:?}");
    assert!(!data.join("made").exists());
}

fn cfg_31_without_room_it_is_refused(runtime: &Runtime) {
    let (container, data) = container(runtime, "true", &["size=64k"]);
    fs::write(data.join("big"), vec![0; 100_000]).unwrap();
    let message = refused(&container).to_lowercase();
    assert!(message.contains("/data") && message.contains("no space left on device"), "{message}");
}

/// Makes `depth` directories, one in the other, and says where the last is.
fn nest(below: &Path, depth: usize) -> PathBuf {
    let path = (0..depth).fold(below.to_path_buf(), |path, _| path.join("d"));
    fs::create_dir_all(&path).unwrap();
    path
}

fn cfg_31_nested_too_deep_is_refused(runtime: &Runtime) {
    let (allowed, data) = container(runtime, "find /data | wc -l", &[]);
    nest(&data, 127);
    assert_eq!(allowed.run().ok().text(), "128");
    let (refusing, data) = container(runtime, "true", &[]);
    nest(&data, 128);
    let message = refused(&refusing);
    assert!(message.contains("mounts[7]") && message.contains("nested deeper than 128"), "{message}");
}

fn cfg_31_other_file_systems_are_refused(runtime: &Runtime) {
    for (kind, options) in [("mqueue", &["tmpcopyup"][..]), ("none", &["bind", "tmpcopyup"])] {
        let mut container = Container::sleeper(runtime);
        let source = host_folder(&container, "source");
        let mount = json!({"destination": "/m", "type": kind, "source": text(&source), "options": options});
        container.bundle.push("/mounts", mount);
        let message = refused(&container);
        assert!(message.contains("tmpcopyup"), "{message}");
    }
}

fn cfg_31_in_a_user_namespace(runtime: &Runtime) {
    let (mut container, data) = container(runtime, "cd /data; stat -c '%n %a %u:%g' . file sub; touch sub/new", &[]);
    fs::write(data.join("file"), "").unwrap();
    fs::create_dir(data.join("sub")).unwrap();
    container.bundle.user_namespace(100_000);
    chown(data.join("file"), Some(100_005), Some(100_006)).unwrap();
    fs::set_permissions(data.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(container.run().ok().text(), ". 755 0:0\nfile 640 5:6\nsub 755 0:0");
    assert_eq!(fs::metadata(data.join("file")).unwrap().uid(), 100_005);
}
