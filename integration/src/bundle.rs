//! A bundle: a busybox root and a config.json that can be edited piece by piece.

use nix::sched::{CloneFlags, unshare};
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

/// What `spec` prints, without a terminal.
const SPEC: &str = include_str!("../data/configs/spec.json");

/// A directory with config.json and rootfs. Every edit is written to config.json at once.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    config: Value,
}

impl Bundle {
    /// A new bundle in the directory `path`, which must not exist yet.
    pub fn new(path: PathBuf) -> Bundle {
        let config = serde_json::from_str(SPEC).expect("the built-in spec");
        let mut bundle = Bundle { path, config };
        fill(&bundle.rootfs());
        // A version that old releases of the peers accept as well.
        bundle.set("/ociVersion", json!("1.0.2")).set("/process/terminal", json!(false));
        bundle
    }

    /// The bundle's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root filesystem.
    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// A path below the root filesystem, given as seen from inside.
    pub fn inside(&self, path: &str) -> PathBuf {
        self.rootfs().join(path.trim_start_matches('/'))
    }

    /// The configuration as it is now.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Any edit of the configuration.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) -> &mut Bundle {
        change(&mut self.config);
        self.save()
    }

    /// Sets the value at a JSON pointer; objects on the way are made, `-` appends to an array.
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Bundle {
        put(&mut self.config, pointer, value);
        self.save()
    }

    /// Appends to the array at a JSON pointer, which is made when it is not there.
    pub fn push(&mut self, pointer: &str, value: Value) -> &mut Bundle {
        self.set(&format!("{pointer}/-"), value)
    }

    /// Removes the member at a JSON pointer, which must be there.
    pub fn remove(&mut self, pointer: &str) -> &mut Bundle {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
        let removed = match self.config.pointer_mut(parent) {
            Some(Value::Object(members)) => members.remove(name),
            Some(Value::Array(items)) => name.parse().ok().map(|index: usize| items.remove(index)),
            _ => None,
        };
        assert!(removed.is_some(), "nothing at {pointer}");
        self.save()
    }

    /// Sets `process.args`.
    pub fn args<W: AsRef<str>>(&mut self, words: impl IntoIterator<Item = W>) -> &mut Bundle {
        let words: Vec<Value> = words.into_iter().map(|word| json!(word.as_ref())).collect();
        self.set("/process/args", Value::Array(words))
    }

    /// Makes the program a busybox shell that runs `script`.
    pub fn sh(&mut self, script: &str) -> &mut Bundle {
        self.args(["/bin/sh", "-c", script])
    }

    /// Makes the root writable.
    pub fn writable(&mut self) -> &mut Bundle {
        self.set("/root/readonly", json!(false))
    }

    /// Adds a mount.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &mut Bundle {
        let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.push("/mounts", mount)
    }

    /// Adds a new namespace of this type, or does nothing when there is one.
    pub fn namespace(&mut self, kind: &str) -> &mut Bundle {
        self.without_namespace(kind).push("/linux/namespaces", json!({"type": kind}))
    }

    /// Joins the namespace at `path`.
    pub fn join_namespace(&mut self, kind: &str, path: &str) -> &mut Bundle {
        self.without_namespace(kind).push("/linux/namespaces", json!({"type": kind, "path": path}))
    }

    /// Keeps the runtime's namespace of this type.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Bundle {
        self.edit(|config| {
            let list = config.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut);
            list.expect("linux.namespaces").retain(|entry| entry["type"] != kind);
        })
    }

    /// Adds a user namespace in which 0 to 65535 are `first` and the following ids of the host, and
    /// gives the root filesystem to `first`.
    pub fn user_namespace(&mut self, first: u32) -> &mut Bundle {
        let mapping = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
        own(&self.rootfs(), first);
        self.namespace("user").set("/linux/uidMappings", mapping.clone()).set("/linux/gidMappings", mapping)
    }

    /// Writes `bytes` as config.json, whatever they are.
    pub fn write_config(&self, bytes: impl AsRef<[u8]>) {
        fs::write(self.path.join("config.json"), bytes).expect("write config.json");
    }

    /// Writes a file, which may be a program, into the root filesystem and makes its folders.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let file = self.inside(path);
        fs::create_dir_all(file.parent().expect("a parent")).expect("make folders");
        write_program(&file, content);
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("set the mode");
        file
    }

    fn save(&mut self) -> &mut Bundle {
        self.write_config(serde_json::to_vec_pretty(&self.config).expect("write JSON"));
        self
    }
}

fn put(config: &mut Value, pointer: &str, value: Value) {
    let mut here = config;
    let mut names = pointer.split('/').skip(1).peekable();
    while let Some(name) = names.next() {
        let next_is_item = names.peek() == Some(&"-");
        let empty = || if next_is_item { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
        here = match here {
            Value::Array(items) => {
                if name == "-" {
                    items.push(Value::Null);
                }
                let index = name.parse().unwrap_or(items.len() - 1);
                &mut items[index]
            }
            Value::Object(members) => members.entry(name.replace("~1", "/").replace("~0", "~")).or_insert(Value::Null),
            _ => panic!("{pointer}: nothing can be set below {name}"),
        };
        if here.is_null() && names.peek().is_some() {
            *here = empty();
        }
    }
    *here = value;
}

/// Where the host keeps its static busybox.
pub fn busybox() -> &'static Path {
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    places.into_iter().find(|path| path.is_file()).expect("busybox-static is installed")
}

/// The names under which busybox can be called.
fn applets() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let output = Command::new(busybox()).arg("--list").output().expect("busybox --list");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).filter(|name| name != "busybox").collect()
    })
}

fn fill(rootfs: &Path) {
    for folder in ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var"] {
        fs::create_dir_all(rootfs.join(folder)).expect("make the root filesystem");
    }
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("open /tmp");
    let program = rootfs.join("bin/busybox");
    copy_program(busybox(), &program);
    for name in applets() {
        symlink("busybox", rootfs.join("bin").join(name)).expect("link an applet");
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/home:/bin/sh\n")
        .expect("passwd");
    fs::write(rootfs.join("etc/group"), "root:x:0:\nbin:x:1:\n").expect("group");
}

/// Copies a file that is going to be executed.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let (from, to) = (from.as_ref(), to.as_ref());
    apart(|| fs::copy(from, to)).unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
}

/// Writes a file that is going to be executed.
pub fn write_program(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let (path, content) = (path.as_ref(), content.as_ref());
    apart(|| fs::write(path, content)).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

/// Makes a socket that nobody listens to any more: a child that another test makes meanwhile would listen until it comes to
/// its own program.
pub fn dead_socket(path: impl AsRef<Path>) {
    let path = path.as_ref();
    apart(|| UnixListener::bind(path).map(drop))
        .unwrap_or_else(|error| panic!("listen at {}: {error}", path.display()));
}

/// In a thread with open files of its own: nobody can execute a file that is open for writing (`ETXTBSY`), and a child that
/// another test makes meanwhile would have it open as well, until it comes to its own program.
fn apart<T: Send>(write: impl FnOnce() -> T + Send) -> T {
    let alone = || {
        unshare(CloneFlags::CLONE_FILES).expect("open files of its own");
        write()
    };
    thread::scope(|scope| scope.spawn(alone).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Gives a tree to one host user and group.
fn own(path: &Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).expect("chown");
    if path.symlink_metadata().is_ok_and(|data| data.is_dir()) {
        for entry in fs::read_dir(path).expect("read a folder") {
            own(&entry.expect("an entry").path(), id);
        }
    }
}
