//! Links taken as they are: `src-nofollow`, `dest-nofollow`, `copy-symlink`, the words of crun.

use integration::mountinfo::{host_folder, refused, text};
use integration::{Container, Runtime};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

cases! {
    Any:
        cfg_40_copy_symlink_makes_the_link_again,
        cfg_40_copy_symlink_of_something_else_is_a_bind,
        cfg_40_copy_symlink_onto_something_else_is_refused,
        cfg_40_src_nofollow_mounts_the_link,
        cfg_40_dest_nofollow_covers_the_link,
        cfg_40_words_about_links_that_do_not_fit_are_refused,
    ;
    Any [UserNs]: cfg_40_links_in_a_user_namespace;
}

/// A folder of the host with a file, and a link to it.
fn source(container: &Container) -> PathBuf {
    let folder = host_folder(container, "source");
    fs::write(folder.join("file"), "content\n").unwrap();
    symlink("file", folder.join("link")).unwrap();
    folder
}

fn bind(container: &mut Container, source: &str, target: &str, options: &[&str]) {
    let options = [&["bind"], options].concat();
    let source = text(&container.folder().join("source").join(source)).to_string();
    container.bundle.mount(target, "none", &source, &options);
}

fn cfg_40_copy_symlink_makes_the_link_again(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "for l in /new /deep/er/new /same; do readlink $l; done; grep -c new /proc/self/mountinfo || true");
    source(&container);
    symlink("file", container.bundle.inside("/same")).unwrap();
    for target in ["/new", "/deep/er/new", "/same"] {
        bind(&mut container, "link", target, &["copy-symlink"]);
    }
    assert_eq!(container.run().ok().text(), "file\nfile\nfile\n0");
}

fn cfg_40_copy_symlink_of_something_else_is_a_bind(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /m/file /f; touch /m/new");
    source(&container);
    bind(&mut container, ".", "/m", &["copy-symlink", "ro"]);
    bind(&mut container, "file", "/f", &["copy-symlink"]);
    assert_eq!(container.run().fails_with("Read-only file system").stdout, "content\ncontent\n");
}

fn cfg_40_copy_symlink_onto_something_else_is_refused(runtime: &Runtime) {
    let outer = Container::new(runtime);
    source(&outer);
    for there in ["file", "folder", "link"] {
        let mut container = Container::sleeper(runtime);
        source(&container);
        let target = container.bundle.inside("/there");
        match there {
            "file" => fs::write(&target, "kept").unwrap(),
            "folder" => fs::create_dir(&target).unwrap(),
            _ => symlink("elsewhere", &target).unwrap(),
        }
        bind(&mut container, "link", "/there", &["copy-symlink"]);
        let message = refused(&container);
        assert!(message.contains("mounts[7]"), "{message}");
    }
}

fn cfg_40_src_nofollow_mounts_the_link(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "readlink /here; cat /here; cat /plain");
    source(&container);
    fs::write(container.bundle.inside("/file"), "of the image\n").unwrap();
    bind(&mut container, "link", "/here", &["src-nofollow"]);
    bind(&mut container, "link", "/plain", &[]);
    assert_eq!(container.run().ok().text(), "file\nof the image\ncontent");
}

fn cfg_40_dest_nofollow_covers_the_link(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /link; cat /file");
    source(&container);
    fs::write(container.bundle.inside("/file"), "of the image\n").unwrap();
    symlink("file", container.bundle.inside("/link")).unwrap();
    bind(&mut container, "file", "/link", &["dest-nofollow"]);
    assert_eq!(container.run().ok().text(), "content\nof the image");
    container.bundle.edit(|config| config["mounts"].as_array_mut().unwrap().truncate(7));
    bind(&mut container, "file", "/missing", &["dest-nofollow"]);
    refused(&container);
}

fn cfg_40_words_about_links_that_do_not_fit_are_refused(runtime: &Runtime) {
    let one = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let outer = Container::new(runtime);
    let source = text(&source(&outer)).to_string();
    for mount in [
        json!({"type": "tmpfs", "options": ["src-nofollow"]}),
        json!({"type": "tmpfs", "options": ["copy-symlink"]}),
        json!({"source": source, "options": ["bind", "copy-symlink", "src-nofollow"]}),
        json!({"source": source, "options": ["bind", "dest-nofollow", "copy-symlink"]}),
        json!({"source": source, "options": ["bind", "copy-symlink"], "uidMappings": one, "gidMappings": one}),
    ] {
        let mut container = Container::sleeper(runtime);
        container.bundle.push("/mounts", mount).set("/mounts/7/destination", json!("/tmp"));
        let message = refused(&container);
        assert!(message.contains("mounts[7].options"), "{message}");
    }
}

fn cfg_40_links_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "readlink /new; readlink /here; cat /link");
    source(&container);
    fs::write(container.bundle.inside("/here"), "").unwrap();
    symlink("file", container.bundle.inside("/link")).unwrap();
    container.bundle.user_namespace(100_000);
    bind(&mut container, "link", "/new", &["copy-symlink"]);
    bind(&mut container, "link", "/here", &["src-nofollow"]);
    bind(&mut container, "file", "/link", &["dest-nofollow"]);
    assert_eq!(container.run().ok().text(), "file\nfile\ncontent");
}
