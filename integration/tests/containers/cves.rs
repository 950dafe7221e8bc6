//! Known escapes of container runtimes, by their numbers in `data/rows/security.txt`; more of them stand with the
//! feature they belong to. A test of paths must fail with a naive resolver: `peers/naive.txt` says which do.

use integration::mountinfo::{Mounts, all_capabilities, host_folder, host_mount, text};
use integration::bundle::{busybox, copy_program};
use integration::{Canary, Container, Racer, Runtime, until};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

cases! {
    Any:
        sec_1_nothing_of_an_entering_process_is_visible,
        sec_3_init_is_a_sealed_copy,
        sec_3_a_program_that_is_its_own_executable,
        sec_3_a_neighbour_cannot_write_the_executable,
        sec_10_no_descriptor_is_a_working_directory_of_exec,
        sec_10_no_descriptor_leads_to_a_program,
        sec_10_no_descriptor_leads_to_a_program_of_exec,
        sec_10_inherited_descriptors_of_every_kind_are_closed,
        sec_14_a_sysctl_that_is_covered_is_not_written,
        sec_14_descriptors_that_are_covered_are_not_used,
        sec_22_stdio_of_every_kind_is_left_alone,
        sec_23_readonly_mounts_with_a_proc_of_the_image,
        sec_25_no_abstract_socket,
        sec_26_state_is_closed_whatever_the_umask,
    ;
    Any [UserNs]:
        sec_1_nothing_is_visible_to_the_root_of_a_user_namespace,
        sec_9_cgroups_without_a_namespace_are_readonly,
        sec_9_sys_is_readonly_with_everything_below,
    ;
    Any [Overlayfs]:
        sec_21_nothing_but_mount_points_is_written,
    ;
}

/// Looks at every process but itself, without a pause, and prints what it can open there. A shell that loops over
/// its own words is fast enough to meet a process between its birth and its program.
const PEEK: &str = "cd /proc; while :; do for p in [0-9]*; do [ $p = 1 ] || [ $p = $$ ] && continue; \
    for f in $p/fd/* $p/cwd $p/root $p/map_files/*; do [ -e $f ] && echo seen $f $(readlink $f); done; done; done";

/// Executes `true` in a container that peeks, and returns what it saw of a process that was no program yet.
fn peeked(mut container: Container) -> String {
    container.bundle.sh(PEEK);
    container.run_detached().ok();
    // The control: what is meant to be seen is seen.
    let process = container.exec_detached(&[], &["/bin/sleep", "1000"]);
    let seen = until("the sight of a program", || Some(container.stdout()).filter(|seen| seen.contains("/root /")));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid), nix::sys::signal::SIGKILL).unwrap();
    assert!(seen.contains("seen "), "{seen}");
    for _ in 0..Racer::rounds() {
        container.exec(["/bin/true"]).ok();
    }
    container.stdout()
}

/// Nothing of the host: only the streams of the call, the container's root, and files in it.
#[track_caller]
fn only_the_containers(seen: &str, folder: &Path) {
    // The peeking goes on: the last line may be half a line.
    let whole = seen.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines().filter(|line| line.starts_with("seen ") && line.split(' ').count() == 3) {
        let (place, target) = line["seen ".len()..].split_once(' ').unwrap();
        let is_stream = ["fd/0", "fd/1", "fd/2"].iter().any(|end| place.ends_with(end));
        let inside = target == "/" || target.starts_with("/bin/") || target.starts_with("/proc");
        assert!(is_stream || inside || target.starts_with(text(folder)), "{line}");
    }
}

fn sec_1_nothing_of_an_entering_process_is_visible(runtime: &Runtime) {
    let container = Container::new(runtime);
    let folder = container.folder().to_path_buf();
    only_the_containers(&peeked(container), &folder);
}

fn sec_1_nothing_is_visible_to_the_root_of_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.user_namespace(100_000);
    all_capabilities(&mut container, &[]);
    let folder = container.folder().to_path_buf();
    only_the_containers(&peeked(container), &folder);
}

/// What tells one file from all others.
fn identity(path: &Path) -> (u64, u64) {
    let data = path.metadata().unwrap();
    (data.dev(), data.ino())
}

/// What an overwritten binary would not keep.
fn content(path: &Path) -> (u64, u64, i64, i64, Vec<u8>) {
    let data = path.metadata().unwrap();
    (data.dev(), data.ino(), data.mtime(), data.mtime_nsec(), fs::read(path).unwrap())
}

fn sec_3_init_is_a_sealed_copy(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let init = container.process();
    assert_ne!(identity(&init.path("exe")), identity(&runtime.path));
    let seals = SealFlag::from_bits_truncate(fcntl(File::open(init.path("exe")).unwrap(), FcntlArg::F_GET_SEALS).unwrap());
    let all = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    assert!(seals.contains(all), "{seals:?}");
    // Every mapping is the sealed copy, nameless memory, or the container's own record.
    for line in init.read("maps").lines() {
        let name = line.splitn(6, ' ').nth(5).unwrap_or_default().trim();
        let own = name.starts_with("/memfd:") || name.starts_with('[') || name.starts_with(text(&container.root));
        assert!(own || name.is_empty(), "{line}");
    }
}

fn sec_3_a_program_that_is_its_own_executable(runtime: &Runtime) {
    let before = content(&runtime.path);
    let mut container = Container::sleeper(runtime);
    for interpreted in [false, true] {
        container.bundle.file("/bin/self", "#!/proc/self/exe\n", 0o755);
        let program = if interpreted { "/bin/self" } else { "/proc/self/exe" };
        container.bundle.args([program]);
        let output = container.run_call(&[]).run();
        assert_ne!(output.code, Some(0), "{output}");
        container.bundle.sh("sleep 1000");
        container.run_detached().ok();
        let output = container.exec([program]);
        assert_ne!(output.code, Some(0), "{output}");
        container.delete_force().ok();
    }
    assert!(content(&runtime.path) == before, "the binary has changed");
}

/// Tries to truncate the executable of every other process, again and again.
const OVERWRITE: &str = "cd /proc; while :; do for p in [0-9]*; do [ $p = 1 ] || [ $p = $$ ] || : >$p/exe; done; done 2>/dev/null";

fn sec_3_a_neighbour_cannot_write_the_executable(runtime: &Runtime) {
    let before = content(&runtime.path);
    let mut container = Container::sh(runtime, OVERWRITE);
    all_capabilities(&mut container, &[]);
    container.run_detached().ok();
    for _ in 0..Racer::rounds() {
        // The container's own program is fair game, so the call may fail.
        container.exec(["/proc/self/exe"]);
    }
    assert!(content(&runtime.path) == before, "the binary has changed");
}

/// Opens folders of the host, a file, a socket and a fifo at 3 and up.
const OPENED: &str = "exec 3</ 4</etc 5</etc/passwd 6<>/dev/null 7</sys/fs/cgroup 8</proc 9</proc/self/ns/mnt";

fn sec_10_no_descriptor_is_a_working_directory_of_exec(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    for number in 3..24 {
        for path in [format!("/proc/thread-self/fd/{number}/../..")] {
            let link = container.bundle.inside("/leak");
            let _ = fs::remove_file(&link);
            symlink(&path, &link).unwrap();
            for cwd in ["/leak", &path] {
                let call = container.call(["exec", "--cwd", cwd, &container.id, "/bin/ls", "-di", "."]);
                let output = call.after(OPENED).run();
                assert_ne!(output.code, Some(0), "{path}: {output}");
            }
        }
    }
    // What only looks alike.
    container.call(["exec", "--cwd", "/proc/1/cwd", &container.id, "/bin/true"]).run().ok();
}

/// A link of the image that leads to the host's busybox if a descriptor of a host folder is open.
fn program_of_the_host(container: &Container, number: u32) {
    let link = container.bundle.inside("/busybox");
    let _ = fs::remove_file(&link);
    let host = busybox().canonicalize().unwrap();
    symlink(format!("/proc/self/fd/{number}/../../../../../../..{}", text(&host)), link).unwrap();
}

/// What runs is the image's own busybox, which stands at another inode, or nothing.
const WHICH: [&str; 4] = ["/busybox", "stat", "-Lc%d:%i", "/proc/self/exe"];

fn sec_10_no_descriptor_leads_to_a_program(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let (device, inode) = identity(busybox());
    let host = format!("{device}:{inode}");
    container.bundle.args(WHICH);
    let moved = container.bundle.inside("/bin/busybox");
    fs::create_dir_all(container.bundle.inside("/usr/bin")).unwrap();
    copy_program(&moved, container.bundle.inside("/usr/bin/busybox"));
    let mut ran = 0;
    for number in 3..32 {
        program_of_the_host(&container, number);
        let output = container.run_call(&[]).after(OPENED).run();
        assert_ne!(output.text(), host, "{number}: {output}");
        ran += u32::from(output.code == Some(0));
    }
    // The control: descriptors of the container's own folders lead to a program, and it is its own.
    assert!(ran > 0);
}

fn sec_10_no_descriptor_leads_to_a_program_of_exec(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let (device, inode) = identity(busybox());
    for number in 3..32 {
        program_of_the_host(&container, number);
        let output = container.call(["exec", &container.id]).args(WHICH).after(OPENED).run();
        assert_ne!(output.text(), format!("{device}:{inode}"), "{number}: {output}");
    }
}

fn sec_10_inherited_descriptors_of_every_kind_are_closed(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cd /proc/self/fd; echo *");
    container.bundle.set("/process/terminal", json!(false));
    let output = container.run_call(&[]).after(OPENED).run().ok();
    let first = output.text().lines().next().unwrap();
    // 3 is the shell's own view of the folder it lists.
    assert!(["0 1 2", "0 1 2 3"].contains(&first), "{output}");
}

/// `create` with something mounted over a part of the host's procfs, in a mount namespace of its own.
fn covered(container: &Container, source: &Path, place: &str) -> integration::Output {
    let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", text(source), place];
    container.create_call(&[]).wrapped(words).run()
}

fn sec_14_a_sysctl_that_is_covered_is_not_written(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let plain = host_folder(&container, "host").join("plain");
    container.bundle.set("/linux/sysctl", json!({"net.ipv4.ping_group_range": "11 4711"}));
    for source in [&plain, Path::new("/proc/self/sched")] {
        fs::write(&plain, "kept").unwrap();
        let output = covered(&container, source, "/proc/sys/net/ipv4/ping_group_range");
        assert_eq!(fs::read_to_string(&plain).unwrap(), "kept", "{output}");
        if output.code == Some(0) {
            assert_eq!(container.exec(["cat", "/proc/sys/net/ipv4/ping_group_range"]).ok().text(), "11\t4711");
            container.delete_force().ok();
        }
    }
}

fn sec_14_descriptors_that_are_covered_are_not_used(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let decoy = host_folder(&container, "decoy");
    fs::write(decoy.join("exec"), "kept").unwrap();
    for place in ["/proc/thread-self/attr", "/proc/self/attr"] {
        // Both names mean the process that mounts; what it covers is covered for itself alone.
        let output = covered(&container, &decoy, place);
        assert_eq!(fs::read_to_string(decoy.join("exec")).unwrap(), "kept", "{output}");
        container.delete_force();
    }
    assert_eq!(fs::read_dir(&decoy).unwrap().count(), 1);
}

fn sec_22_stdio_of_every_kind_is_left_alone(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo ran");
    let canary = Canary::new(&container);
    let dev = host_folder(&container, "dev");
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let bind = json!({"destination": "/dev", "type": "none", "source": text(&dev), "options": ["bind"]});
    container.bundle.set("/mounts/1", bind).mount("/h", "none", &format!("{}/file", canary.text()), &["bind"]);
    for setup in ["", "exec <&- >&-", "exec </dev/null >/dev/null 2>/dev/null"] {
        let _ = fs::remove_file(dev.join("null"));
        symlink("/h", dev.join("null")).unwrap();
        container.run_call(&[]).after(setup).run();
        canary.assert_unchanged();
    }
    // Pipes on all three.
    container.run_call(&[]).wrapped(["sh", "-c", ": | \"$@\" 2>&1 | cat", "sh"]).run();
    canary.assert_unchanged();
}

fn sec_23_readonly_mounts_with_a_proc_of_the_image(runtime: &Runtime) {
    let script = "touch /r/new /t/new /new 2>&1; for m in / /r /t; do stat -f -c %T $m >/dev/null; done; echo end";
    let mut container = Container::sh(runtime, script);
    for number in 0..64 {
        container.bundle.file(&format!("/proc/self/fd/{number}/decoy"), "", 0o644);
    }
    let source = host_folder(&container, "source");
    container.bundle.set("/mounts", json!([])).remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    container.bundle.mount("/r", "none", text(&source), &["bind", "ro"]).mount("/t", "tmpfs", "tmpfs", &["ro"]);
    let output = container.run().ok();
    assert_eq!(output.text().matches("Read-only file system").count(), 3, "{output}");
    assert_eq!(fs::read_dir(&source).unwrap().count(), 0);
}

/// In a network namespace of its own: that of the tests has sockets of the whole machine, which come and go.
fn sec_25_no_abstract_socket(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let script = "r() { \"$runtime\" --root \"$root\" \"$@\"; }
        r create --bundle \"$bundle\" \"$id\" && r start \"$id\" && r exec --detach \"$id\" /bin/sleep 1000 && cat /proc/net/unix";
    let call = container.host_call("unshare").args(["--net", "sh", "-c", script]).env("runtime", &runtime.path);
    let call = call.env("root", &container.root).env("bundle", container.bundle.path()).env("id", &container.id);
    let output = call.run().ok();
    assert!(output.stdout.starts_with("Num "), "{output}");
    let new: Vec<&str> = output.stdout.lines().filter_map(|line| line.split_whitespace().nth(7)).collect();
    assert!(!new.iter().any(|name| name.starts_with('@')), "{new:?}");
}

fn sec_26_state_is_closed_whatever_the_umask(runtime: &Runtime) {
    for umask in ["000", "077"] {
        let container = Container::sleeper(runtime);
        container.create_call(&[]).after(&format!("umask {umask}")).run().ok();
        let mut open = vec![container.root.clone()];
        while let Some(path) = open.pop() {
            let data = path.symlink_metadata().unwrap();
            assert_eq!(data.permissions().mode() & 0o066, 0, "{} has mode {:o}", path.display(), data.mode());
            if data.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
            }
        }
    }
}

/// Tries to leave its cgroup, and to make one.
const LEAVE: &str = "mkdir /sys/fs/cgroup/new 2>&1; (echo $$ >/sys/fs/cgroup/cgroup.procs) 2>&1; \
    touch /sys/kernel/new 2>&1; cat /proc/self/mountinfo";

fn in_the_callers_cgroups(runtime: &Runtime) -> Container {
    let mut container = Container::sh(runtime, LEAVE);
    container.bundle.user_namespace(100_000).without_namespace("cgroup");
    all_capabilities(&mut container, &[]);
    container
}

fn sec_9_cgroups_without_a_namespace_are_readonly(runtime: &Runtime) {
    let mut container = in_the_callers_cgroups(runtime);
    container.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "nodev", "noexec"]);
    let output = container.run().ok();
    assert!(output.text().matches("Read-only file system").count() >= 2, "{output}");
    assert!(Mounts::of(output.text()).at("/sys/fs/cgroup").has("ro"), "{output}");
}

fn sec_9_sys_is_readonly_with_everything_below(runtime: &Runtime) {
    let mut container = in_the_callers_cgroups(runtime);
    container.bundle.without_namespace("network");
    container.bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/sys"));
    });
    container.bundle.mount("/sys", "none", "/sys", &["rbind", "rro", "nosuid", "nodev", "noexec"]);
    let output = container.run().ok();
    assert!(output.text().matches("Read-only file system").count() >= 2, "{output}");
    let mounts = Mounts::of(output.text());
    let below: Vec<_> = mounts.0.iter().filter(|mount| mount.point.starts_with("/sys")).collect();
    assert!(below.len() > 1 && below.iter().all(|mount| mount.has("ro")), "{below:#?}");
}

fn sec_21_nothing_but_mount_points_is_written(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let top = host_folder(&container, "top");
    host_mount(&container, &["-t", "tmpfs", "tmpfs"], &top);
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| top.join(name));
    for path in [&upper, &work, &merged] {
        fs::create_dir(path).unwrap();
    }
    let lower = container.bundle.rootfs();
    let option = format!("lowerdir={},upperdir={},workdir={}", text(&lower), text(&upper), text(&work));
    host_mount(&container, &["-t", "overlay", "overlay", "-o", &option], &merged);
    container.bundle.set("/root/path", json!(merged)).set("/process/cwd", json!("/made"));
    container.bundle.mount("/a/b/c", "tmpfs", "tmpfs", &[]);
    container.run().ok();
    assert_eq!(files_below(&upper), ["a", "a/b", "a/b/c", "made"].map(PathBuf::from));
}

fn files_below(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).unwrap().flatten() {
            found.push(entry.path().strip_prefix(top).unwrap().to_path_buf());
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
        }
    }
    found.sort();
    found
}
