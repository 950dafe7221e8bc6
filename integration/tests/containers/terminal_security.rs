//! The console against an image or a volume that was prepared for it.

use integration::deadline::limit;
use integration::{ConsoleSocket, Container, Output, Racer, Runtime, Snapshot};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

cases! {
    Any:
        sec_13_console_is_no_way_to_a_file_of_the_host,
        sec_13_console_is_not_put_over_a_directory_or_a_fifo,
        sec_13_console_is_put_over_a_file_or_a_node,
        sec_13_a_directory_with_a_ptmx_is_no_devpts,
        sec_13_a_file_over_ptmx_is_refused,
        sec_13_a_racing_volume_gets_nothing_but_the_terminal,
        sec_18_console_below_a_dev_that_leads_elsewhere,
        sec_22_only_the_terminal_changes_its_owner,
    ;
}

/// A container with a terminal whose `/dev` is a directory of somebody else's, with a devpts in it.
fn with_dev(runtime: &Runtime, script: &str) -> (Container, PathBuf) {
    let mut container = Container::sh(runtime, script);
    let dev = container.folder().join("volume");
    fs::create_dir_all(dev.join("pts")).unwrap();
    // What runtimes take for granted in a `/dev` that they do not fill.
    symlink("pts/ptmx", dev.join("ptmx")).unwrap();
    mknod(&dev.join("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
    container.bundle.set("/process/terminal", json!(true)).edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        mounts.push(json!({"destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"]}));
        let options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
        mounts.push(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": options}));
    });
    (container, dev)
}

/// Creates it, and says what the program's terminal and `/dev/console` are in its mount namespace.
fn create(container: &Container) -> (Output, ConsoleSocket) {
    let _ = fs::remove_file(container.folder().join("s"));
    let socket = ConsoleSocket::listen(container);
    (container.create_with(&["--console-socket", socket.word()]), socket)
}

/// The root within its file system, and the type, of what is mounted on `/dev/console` in the container.
fn console_of(container: &Container) -> Vec<[String; 2]> {
    let mounts = container.process().read("mountinfo");
    let consoles = mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/dev/console"));
    let parts = |line: &str| {
        let (before, after) = line.split_once(" - ").unwrap();
        [before.split(' ').nth(3).unwrap().to_string(), after.split(' ').next().unwrap().to_string()]
    };
    consoles.map(parts).collect()
}

fn is_terminal(console: &[[String; 2]]) -> bool {
    matches!(console, [[root, kind]] if kind == "devpts" && root.trim_start_matches('/').parse::<u32>().is_ok())
}

/// A file of the host that must stay as it is.
fn canary(container: &Container) -> PathBuf {
    let path = container.folder().join("canary");
    fs::write(&path, "canary").unwrap();
    path
}

fn sec_13_console_is_no_way_to_a_file_of_the_host(runtime: &Runtime) {
    let (container, dev) = with_dev(runtime, "true");
    let canary = canary(&container);
    let missing = container.folder().join("missing");
    let before = Snapshot::take(&container);
    for target in [&canary, &missing, Path::new("../../canary"), Path::new("/proc/sys/kernel/core_pattern")] {
        let _ = fs::remove_file(dev.join("console"));
        symlink(target, dev.join("console")).unwrap();
        create(&container).0.fails();
        assert_eq!(fs::read_to_string(&canary).unwrap(), "canary");
        assert!(!missing.exists());
        before.assert_unchanged(&container);
    }
}

fn sec_13_console_is_not_put_over_a_directory_or_a_fifo(runtime: &Runtime) {
    let (container, dev) = with_dev(runtime, "true");
    let before = Snapshot::take(&container);
    fs::create_dir(dev.join("console")).unwrap();
    create(&container).0.fails();
    fs::remove_dir(dev.join("console")).unwrap();
    mkfifo(&dev.join("console"), Mode::S_IRWXU).unwrap();
    create(&container).0.fails();
    before.assert_unchanged(&container);
}

fn sec_13_console_is_put_over_a_file_or_a_node(runtime: &Runtime) {
    let (container, dev) = with_dev(runtime, "true");
    fs::write(dev.join("console"), "content").unwrap();
    let (output, _socket) = create(&container);
    output.ok();
    assert!(is_terminal(&console_of(&container)), "{:?}", console_of(&container));
    assert_eq!(fs::read_to_string(dev.join("console")).unwrap(), "content");
    container.delete_force().ok();
    fs::remove_file(dev.join("console")).unwrap();
    mknod(&dev.join("console"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(5, 1)).unwrap();
    let (output, _socket) = create(&container);
    output.ok();
    assert!(is_terminal(&console_of(&container)), "{:?}", console_of(&container));
}

fn sec_13_a_directory_with_a_ptmx_is_no_devpts(runtime: &Runtime) {
    let (mut container, dev) = with_dev(runtime, "true");
    container.bundle.edit(|config| {
        config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev/pts");
    });
    mknod(&dev.join("pts/ptmx"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(5, 2)).unwrap();
    let canary = canary(&container);
    symlink(&canary, dev.join("pts/0")).unwrap();
    let before = Snapshot::take(&container);
    create(&container).0.fails();
    before.assert_unchanged(&container);
    assert_eq!(fs::read_to_string(&canary).unwrap(), "canary");
}

fn sec_13_a_file_over_ptmx_is_refused(runtime: &Runtime) {
    let (mut container, _) = with_dev(runtime, "true");
    container.bundle.mount("/dev/pts/ptmx", "bind", "/dev/zero", &["bind"]);
    let before = Snapshot::take(&container);
    create(&container).0.fails();
    before.assert_unchanged(&container);
}

/// Somebody swaps what `/dev/console` is while containers are made: each is refused, or has its terminal there. How often
/// the neighbour wins is up to the disk and the scheduler; until each has happened he rests longer and longer, in the end
/// for longer than a create takes.
fn sec_13_a_racing_volume_gets_nothing_but_the_terminal(runtime: &Runtime) {
    let (container, dev) = with_dev(runtime, "true");
    let canary = canary(&container);
    let target = canary.clone();
    let pause = Arc::new(AtomicU64::new(0));
    let pause_of_racer = pause.clone();
    let _racer = Racer::start(move || {
        let rest = || match pause_of_racer.load(Ordering::Relaxed) {
            0 => {}
            millis => sleep(Duration::from_millis(millis)),
        };
        let _ = symlink(&target, dev.join("link"));
        let _ = fs::rename(dev.join("link"), dev.join("console"));
        rest();
        let _ = fs::write(dev.join("file"), "");
        let _ = fs::rename(dev.join("file"), dev.join("console"));
        rest();
        let _ = fs::remove_file(dev.join("console"));
        rest();
    });
    let (mut made, mut refused) = (0, 0);
    let begin = Instant::now();
    while made + refused < Racer::rounds() || made < 3 || refused < 3 {
        assert!(begin.elapsed() < 4 * limit(), "{made} containers were made, {refused} refused");
        if made + refused >= Racer::rounds() {
            pause.store((2 * pause.load(Ordering::Relaxed)).clamp(1, 1000), Ordering::Relaxed);
        }
        let (output, _socket) = create(&container);
        if output.code == Some(0) {
            made += 1;
            // A mount over a file that has been removed since is not seen any more.
            let console = console_of(&container);
            assert!(console.is_empty() || is_terminal(&console), "{console:?}");
            container.delete_force().ok();
        } else {
            refused += 1;
        }
        assert_eq!(fs::read_to_string(&canary).unwrap(), "canary");
    }
}

fn sec_18_console_below_a_dev_that_leads_elsewhere(runtime: &Runtime) {
    for up in [false, true] {
        let mut container = Container::sh(runtime, "true");
        container.bundle.set("/process/terminal", json!(true)).edit(|config| {
            config["mounts"].as_array_mut().unwrap().retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        });
        let outside = container.folder().join("outside");
        fs::create_dir_all(outside.join("pts")).unwrap();
        fs::write(outside.join("ptmx"), "canary").unwrap();
        fs::remove_dir(container.bundle.inside("/dev")).unwrap();
        let target = if up { PathBuf::from("../../outside") } else { outside.clone() };
        symlink(target, container.bundle.inside("/dev")).unwrap();
        let before = Snapshot::take(&container);
        create(&container).0.fails();
        before.assert_unchanged(&container);
        let names = || fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names().count(), 2, "{:?}", names().collect::<Vec<_>>());
        assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "canary");
    }
}

fn sec_22_only_the_terminal_changes_its_owner(runtime: &Runtime) {
    let (mut container, dev) = with_dev(runtime, "true");
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    fs::write(dev.join("console"), "content").unwrap();
    let before = Snapshot::take(&container);
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
    let (output, _socket) = create(&container);
    output.ok();
    assert_eq!(owner(&container.process().path("root/dev/console")), 1000);
    assert_eq!(owner(&container.process().path("root/dev/pts/0")), 1000);
    assert_eq!(owner(&dev.join("console")), 0);
    container.delete_force().ok();
    before.assert_unchanged(&container);
}
