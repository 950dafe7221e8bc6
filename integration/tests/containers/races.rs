//! Neighbours who rename while a container is made: the races behind CVE-2021-30465, CVE-2024-45310 and others. Each
//! fails with a naive resolver (`peers/naive.txt`); `RACES=2000` runs them for longer.

use integration::mountinfo::{host_folder, text};
use integration::{Canary, Container, Name, Racer, Runtime, Snapshot, until};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

cases! {
    Any:
        sec_5_proc_that_is_exchanged_with_a_link,
        sec_6_a_target_that_is_exchanged_with_a_link,
        sec_11_missing_targets_below_an_exchanged_folder,
        sec_12_null_that_is_exchanged,
        sec_17_sixty_four_neighbours_cannot_stall_a_create,
    ;
}

/// A volume of the host at `/v`, in which `folder` is exchanged with a link.
fn volume(container: &mut Container, folder: &str, link_to: &str) -> (PathBuf, Racer) {
    let volume = host_folder(container, "volume");
    fs::create_dir_all(volume.join(folder)).unwrap();
    symlink(link_to, volume.join("link")).unwrap();
    container.bundle.mount("/v", "none", text(&volume), &["rbind", "rw"]);
    let racer = Racer::exchange(volume.join(folder), volume.join("link"));
    (volume, racer)
}

/// How long the neighbour has to win against a naive resolver, or against a create that ends at all.
const PATIENCE: Duration = Duration::from_secs(120);

/// The rounds of a race that the control (`peers/naive.txt`) must lose. It goes on until it does: how soon is up to the
/// disk and the scheduler.
fn rounds(runtime: &Runtime) -> impl Iterator<Item = u32> {
    let (begin, control) = (Instant::now(), runtime.name == Name::Naive);
    (0..).take_while(move |round| *round < Racer::rounds() || control && begin.elapsed() < PATIENCE)
}

/// Makes and removes the container again and again; whether it could be made does not matter.
fn again_and_again(container: &Container, mut check: impl FnMut()) {
    for _ in rounds(&container.runtime) {
        container.create();
        container.delete_force();
        check();
    }
}

fn sec_6_a_target_that_is_exchanged_with_a_link(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let canary = Canary::new(&container);
    let (_, _racer) = volume(&mut container, "m1", canary.text());
    for number in 0..5 {
        container.bundle.mount(&format!("/v/m1/x{number}"), "tmpfs", "tmpfs", &[]);
    }
    again_and_again(&container, || canary.assert_unchanged());
}

fn sec_11_missing_targets_below_an_exchanged_folder(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let canary = Canary::new(&container);
    let (volume, _racer) = volume(&mut container, "a", canary.text());
    let file = host_folder(&container, "source").join("file");
    fs::write(&file, "").unwrap();
    container.bundle.mount("/v/a/c/d", "tmpfs", "tmpfs", &[]).mount("/v/a/f", "none", text(&file), &["bind"]);
    again_and_again(&container, || {
        canary.assert_unchanged();
        let _ = fs::remove_dir_all(volume.join("a/c"));
        let _ = fs::remove_file(volume.join("a/f"));
    });
}

/// What a program finds where a procfs is: neither a readable secret of it nor a writable sysctl.
const UNMASKED: &str = "for p in /proc /evil; do [ -e $p/self/stat ] || continue; \
    head -c 1 $p/meminfo 2>/dev/null | wc -c; (echo x >$p/sys/kernel/domainname) 2>/dev/null && echo written; done; echo end";

fn sec_5_proc_that_is_exchanged_with_a_link(runtime: &Runtime) {
    let mut container = Container::sh(runtime, UNMASKED);
    fs::create_dir(container.bundle.inside("/elsewhere")).unwrap();
    symlink("/elsewhere", container.bundle.inside("/evil")).unwrap();
    container.bundle.set("/linux/maskedPaths", json!(["/proc/meminfo"]));
    container.bundle.set("/linux/readonlyPaths", json!(["/proc/sys"]));
    let _racer = Racer::exchange(container.bundle.inside("/proc"), container.bundle.inside("/evil"));
    for _ in 0..Racer::rounds() {
        let output = container.run();
        if output.code == Some(0) {
            let bad = |line: &str| line == "1" || line == "written";
            assert!(!output.text().lines().any(bad), "{output}");
        }
    }
}

fn sec_12_null_that_is_exchanged(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "stat -c '%F %t:%T' /secret");
    let dev = host_folder(&container, "dev");
    container.host_call("mknod").arg(dev.join("null")).args(["c", "1", "3"]).run().ok();
    symlink("/proc/sys/kernel/domainname", dev.join("evil")).unwrap();
    container.bundle.file("/secret", "secret", 0o644);
    container.bundle.set("/linux/maskedPaths", json!(["/secret"]));
    let bind = json!({"destination": "/dev", "type": "none", "source": text(&dev), "options": ["bind"]});
    container.bundle.set("/mounts/1", bind);
    let _racer = Racer::exchange(dev.join("null"), dev.join("evil"));
    for _ in rounds(runtime) {
        let output = container.run();
        assert!(output.code != Some(0) || output.text() == "character special file 1:3", "{output}");
    }
}

fn sec_17_sixty_four_neighbours_cannot_stall_a_create(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let volume = host_folder(&container, "volume");
    container.bundle.mount("/v", "none", text(&volume), &["rbind", "rw"]);
    let mut racers = Vec::new();
    for number in 0..64 {
        let [one, other] = ["a", "b"].map(|name| volume.join(format!("{name}{number}")));
        fs::create_dir_all(one.join("x")).unwrap();
        fs::create_dir_all(other.join("x")).unwrap();
        racers.push(Racer::exchange(one, other));
        container.bundle.mount(&format!("/v/a{number}/x/../x"), "tmpfs", "tmpfs", &[]);
    }
    let before = Snapshot::take(&container);
    // It ends. How soon is up to the scheduler, which has 64 others to run.
    container.create_call(&[]).deadline(PATIENCE).run();
    drop(racers);
    container.delete_force();
    // What was killed has left its cgroup before it is dead.
    until("the end of all processes", || (Snapshot::take(&container).processes == before.processes).then_some(()));
}
