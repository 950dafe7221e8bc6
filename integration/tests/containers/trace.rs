//! Every path that init names, seen by strace: below the root file system nothing but the resolver asks for one.
//!
//! This one test would have caught most of the escapes in `data/rows/security.txt`: a path that is resolved by a
//! string in a tree that somebody else can change.

use integration::mountinfo::{host_folder, text};
use integration::{Call, Container, Runtime};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

cases! {
    Any [Strace]:
        sec_6_11_create_names_no_path_but_to_the_resolver,
        sec_6_11_without_pivot_root_as_well,
        sec_6_11_exec_names_no_path_but_to_the_resolver,
        lnx_107_nothing_of_resctrl_is_opened,
    ;
    Any [Strace, UserNs]:
        sec_6_11_in_a_user_namespace_as_well,
    ;
}

/// One system call of the trace that takes a path.
#[derive(Clone, Debug)]
struct Line {
    pid: u32,
    name: String,
    rest: String,
}

impl Line {
    /// `1234 openat2(5, "etc", {flags=…}, 24) = 6`; the second half of an interrupted call takes no path.
    fn of(line: &str) -> Option<Line> {
        let (pid, call) = line.split_once(' ')?;
        let (name, rest) = call.trim_start().split_once('(')?;
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then(|| Line { pid: pid.parse().unwrap(), name: name.to_string(), rest: rest.to_string() })
    }

    /// The text arguments, as far as no quote is in them.
    fn texts(&self) -> Vec<&str> {
        self.rest.split('"').skip(1).step_by(2).collect()
    }

    fn path(&self) -> &str {
        self.texts().first().copied().unwrap_or_default()
    }

    /// Relative to a descriptor, not to the working directory.
    fn is_below_a_descriptor(&self) -> bool {
        self.rest.starts_with(|c: char| c.is_ascii_digit())
    }
}

/// Runs the call under strace: every system call that takes a path or makes a process.
fn trace(container: &Container, call: Call) -> String {
    let file = container.folder().join("trace");
    let calls = "trace=%file,clone,clone3,fork,vfork";
    call.wrapped(["strace", "-f", "-qq", "-s", "4096", "-e", calls, "-o", text(&file)]).run().ok();
    fs::read_to_string(file).unwrap()
}

/// What init does of it.
fn traced(container: &Container, call: Call) -> Vec<Line> {
    let trace = trace(container, call);
    let parents = parents(&trace);
    let lines: Vec<Line> = trace.lines().filter_map(Line::of).collect();
    of_init(lines, &parents)
}

/// Who made whom, from the results of `clone3` and its like.
fn parents(trace: &str) -> BTreeMap<u32, u32> {
    let made = |line: &str| {
        let (pid, call) = line.split_once(' ')?;
        let is_birth = ["clone", "fork"].iter().any(|name| call.contains(name));
        let child = call.rsplit_once(" = ")?.1.split(' ').next()?.parse().ok()?;
        is_birth.then(|| (child, pid.parse().unwrap()))
    };
    trace.lines().filter_map(made).collect()
}

/// The calls of init: of a process from the execution of the sealed copy to that of a program, and of its children.
fn of_init(lines: Vec<Line>, parents: &BTreeMap<u32, u32>) -> Vec<Line> {
    let mut init: BTreeSet<u32> = BTreeSet::new();
    let mut programs: BTreeSet<u32> = BTreeSet::new();
    let mut found = Vec::new();
    for line in lines {
        let inherits = parents.get(&line.pid).is_some_and(|parent| init.contains(parent));
        if line.name == "execveat" && line.rest.contains("AT_EMPTY_PATH") {
            init.insert(line.pid);
            continue;
        }
        if !programs.contains(&line.pid) && (init.contains(&line.pid) || inherits) {
            init.insert(line.pid);
            if line.name == "execve" {
                programs.insert(line.pid);
            }
            found.push(line);
        }
    }
    found
}

/// What init may name: the rest of the call has been judged by its author, line by line.
struct Allowed {
    /// The root file system, and sources that are opened before anything of it is looked at.
    host: Vec<String>,
    /// The program, its working directory, and what is looked up with the program's own rights.
    inside: Vec<String>,
}

impl Allowed {
    fn allows(&self, line: &Line) -> bool {
        let path = line.path();
        let is_host = self.host.iter().any(|host| host == path) || path == "/";
        let is_inside = self.inside.iter().any(|inside| inside == path);
        match line.name.as_str() {
            // The resolver: a descriptor, a path, and a kernel that keeps it inside.
            "openat2" if line.is_below_a_descriptor() => {
                ["RESOLVE_IN_ROOT", "RESOLVE_BENEATH"].iter().any(|how| line.rest.contains(how))
            }
            // Our own null device and procfs, which are verified.
            "openat2" => is_host || ["/dev/null", "/proc"].contains(&path) && line.rest.contains("RESOLVE_NO_"),
            // One component below a descriptor that is held.
            "mkdirat" | "mknodat" | "unlinkat" | "fchownat" | "fchmodat" | "readlinkat" => line.is_below_a_descriptor() && !path.contains('/'),
            "symlinkat" => line.texts().get(1).is_some_and(|name| !name.contains('/')) && !line.rest.contains("AT_FDCWD"),
            "statx" | "newfstatat" => line.is_below_a_descriptor() && !path.contains('/') || is_inside,
            // Mounts go from descriptor to descriptor.
            "move_mount" => line.texts() == ["", ""] && !line.rest.contains("AT_FDCWD"),
            "open_tree" => path.is_empty() && line.rest.contains("AT_EMPTY_PATH") || is_host,
            "mount_setattr" => path.is_empty() && line.rest.contains("AT_EMPTY_PATH") || path == "/",
            "fspick" => path.is_empty(),
            "pivot_root" | "chroot" => path == ".",
            "umount2" => path == "." || is_host,
            "chdir" => path == "/" || is_inside,
            "faccessat2" | "execve" => is_inside,
            "openat" | "open" => is_inside,
            // What a file system is told; its own business.
            "fsconfig" => true,
            "getcwd" | "clone3" | "clone" | "vfork" | "fork" => true,
            _ => false,
        }
    }
}

#[track_caller]
fn judge(lines: &[Line], allowed: &Allowed) {
    let resolved = lines.iter().filter(|line| line.name == "openat2" && line.is_below_a_descriptor()).count();
    assert!(resolved > 3 || lines.len() < 20, "the trace has only {resolved} calls of the resolver: {lines:#?}");
    let bad: Vec<&Line> = lines.iter().filter(|line| !allowed.allows(line)).collect();
    assert!(bad.is_empty(), "paths that the resolver did not see: {bad:#?}");
}

/// A container that uses every kind of step that has to do with paths.
fn rich(runtime: &Runtime) -> (Container, Vec<String>) {
    let mut container = Container::new(runtime);
    let source = host_folder(&container, "source");
    fs::write(source.join("file"), "").unwrap();
    let file: PathBuf = source.join("file");
    let bundle = &mut container.bundle;
    bundle.writable().set("/process/cwd", json!("/a/new/cwd")).args(["/bin/true"]);
    bundle.mount("/made/folder", "none", text(&source), &["rbind", "ro"]).mount("/made/file", "none", text(&file), &["bind"]);
    bundle.mount("/made/tmp", "tmpfs", "tmpfs", &["size=64k"]);
    bundle.mount("/made/tmp", "none", "none", &["remount", "bind", "ro"]);
    std::os::unix::fs::symlink("/made/dangling", bundle.inside("/link")).unwrap();
    bundle.mount("/link/below", "tmpfs", "tmpfs", &[]);
    bundle.file("/copied/deep/file", "copied", 0o4711);
    std::os::unix::fs::symlink("/etc", bundle.inside("/copied/link")).unwrap();
    bundle.mount("/copied", "tmpfs", "tmpfs", &["tmpcopyup"]);
    bundle.push("/linux/devices", json!({"path": "/dev/deep/mine", "type": "c", "major": 1, "minor": 5}));
    bundle.set("/linux/sysctl", json!({"net.ipv4.ping_group_range": "0 1"}));
    bundle.push("/linux/readonlyPaths", json!("/made")).push("/linux/maskedPaths", json!("/made/file"));
    bundle.push("/hooks/createContainer", json!({"path": "/bin/true"}));
    bundle.push("/hooks/startContainer", json!({"path": "/bin/true"}));
    let host = [bundle.rootfs(), source, file].map(|path| text(&path).to_string()).to_vec();
    (container, host)
}

fn inside() -> Vec<String> {
    ["/a/new/cwd", "/bin/true", "/etc/passwd", "/proc/self/oom_score_adj", "/", ""].map(str::to_string).to_vec()
}

fn sec_6_11_create_names_no_path_but_to_the_resolver(runtime: &Runtime) {
    let (container, host) = rich(runtime);
    let lines = traced(&container, container.run_call(&[]));
    judge(&lines, &Allowed { host, inside: inside() });
}

fn sec_6_11_in_a_user_namespace_as_well(runtime: &Runtime) {
    let (mut container, mut host) = rich(runtime);
    // The host has no such device to be bound.
    container.bundle.user_namespace(100_000).remove("/linux/devices");
    host.extend(["null", "zero", "full", "random", "urandom", "tty"].map(|name| format!("/dev/{name}")));
    let lines = traced(&container, container.run_call(&[]));
    judge(&lines, &Allowed { host, inside: inside() });
}

fn sec_6_11_without_pivot_root_as_well(runtime: &Runtime) {
    let (container, mut host) = rich(runtime);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    host.extend(mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_string));
    let lines = traced(&container, container.run_call(&["--no-pivot"]));
    judge(&lines, &Allowed { host, inside: inside() });
}

fn sec_6_11_exec_names_no_path_but_to_the_resolver(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let lines = traced(&container, container.call(["exec", "--cwd", "/bin", &container.id, "/bin/true"]));
    let inside = ["/bin", "/bin/true", "/etc/passwd", ""].map(str::to_string).to_vec();
    assert!(lines.iter().any(|line| line.name == "execve" && line.path() == "/bin/true"), "{lines:#?}");
    judge(&lines, &Allowed { host: Vec::new(), inside });
}

/// Neither by init nor by the runtime itself.
fn lnx_107_nothing_of_resctrl_is_opened(runtime: &Runtime) {
    let container = Container::new(runtime);
    let trace = trace(&container, container.run_call(&[]));
    let lines: Vec<&str> = trace.lines().filter(|line| line.contains("resctrl")).collect();
    assert!(trace.contains("config.json") && lines.is_empty(), "{lines:#?}");
}
