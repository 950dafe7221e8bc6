//! State directories as killed commands, full disks, other boots and other versions leave them: every command says what is
//! wrong, `list` shows the others, and `delete --force` clears up.

use integration::{Container, Output, Process, Runtime, Snapshot, until};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

cases! {
    Any:
        row_73_any_file_of_a_running_container_may_be_damaged,
        row_73_any_file_of_a_created_container_may_be_damaged,
        row_73_what_is_no_state_directory_is_named_and_removed,
        row_73_a_root_that_is_no_directory_is_named,
        row_73_a_directory_of_another_user_is_refused,
        row_73_a_record_of_a_newer_version_is_refused,
        rt_7_another_process_with_the_recorded_number_is_left_alone,
        rt_7_67_of_another_boot_nothing_is_left_and_nothing_is_killed,
    ;
}

/// What can have happened to a file.
const DAMAGES: [fn(&Path); 5] = [missing, empty, half, zeros, replaced];

/// All of them, but where a call takes ten times as long.
fn damages() -> &'static [fn(&Path)] {
    let slow = std::env::var("PLACE").is_ok_and(|place| place == "uml");
    if slow { &DAMAGES[..1] } else { &DAMAGES }
}

fn missing(file: &Path) {
    fs::remove_file(file).unwrap();
}

fn empty(file: &Path) {
    missing(file);
    fs::write(file, "").unwrap();
}

fn half(file: &Path) {
    // A fifo has no half.
    let bytes = if file.metadata().unwrap().is_file() { fs::read(file).unwrap() } else { Vec::new() };
    missing(file);
    fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
}

/// As a file system may show what was not written before the power went.
fn zeros(file: &Path) {
    missing(file);
    fs::write(file, [0; 4096]).unwrap();
}

fn replaced(file: &Path) {
    missing(file);
    fs::create_dir_all(file.join("below")).unwrap();
}

fn folder_of(container: &Container) -> PathBuf {
    container.root.join(&container.id)
}

/// It ended by itself, and either did something or said why not, in one line and without a panic.
#[track_caller]
fn is_sane(output: &Output) {
    assert!(output.signal.is_none(), "{output}");
    let wrong = ["bug in", "panicked", "goroutine"].iter().any(|word| output.stderr.contains(word));
    assert!(!wrong && (output.code == Some(0) || output.stderr.trim_end().lines().count() == 1), "{output}");
}

/// Whether the message is about the damage or about a container that has ended; all others are misleading.
fn is_to_the_point(output: &Output, file: &Path) -> bool {
    let known = ["does not exist", "not running", "is not stopped", "has stopped", "already running"];
    output.code == Some(0)
        || output.stderr.contains(&file.display().to_string())
        || known.iter().any(|text| output.stderr.contains(text))
}

/// Calls every command on `container`, whose file was damaged, with a deadline that no wait of theirs comes to.
fn commands_answer(container: &Container, file: &Path) {
    let id = container.id.as_str();
    for words in [&["state", id][..], &["exec", id, "/bin/true"], &["start", id], &["kill", id, "0"], &["delete", id]] {
        let output = container.call(words).run();
        is_sane(&output);
        assert!(is_to_the_point(&output, file), "{}: {output}", file.display());
    }
}

#[track_caller]
fn lists(one: &Container) {
    let output = one.call(["list", "--quiet"]).run().ok();
    assert!(output.text().lines().any(|line| line == one.id), "{output}");
}

fn any_file_may_be_damaged(runtime: &Runtime, begin: fn(&Container) -> Output) {
    let container = Container::sleeper(runtime);
    let neighbour = container.beside();
    neighbour.create().ok();
    let before = Snapshot::take(&container);
    begin(&container).ok();
    let names: Vec<_> = fs::read_dir(folder_of(&container)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    container.delete_force().ok();
    for name in &names {
        for damage in damages() {
            begin(&container).ok();
            let pid = container.pid();
            let file = folder_of(&container).join(name);
            damage(&file);
            commands_answer(&container, &file);
            lists(&neighbour);
            is_sane(&container.delete_force());
            before.assert_unchanged(&container);
            container.reap(pid);
        }
    }
}

fn row_73_any_file_of_a_running_container_may_be_damaged(runtime: &Runtime) {
    any_file_may_be_damaged(runtime, Container::run_detached);
}

fn row_73_any_file_of_a_created_container_may_be_damaged(runtime: &Runtime) {
    any_file_may_be_damaged(runtime, Container::create);
}

fn row_73_what_is_no_state_directory_is_named_and_removed(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let neighbour = container.beside();
    neighbour.create().ok();
    let (folder, elsewhere) = (folder_of(&container), container.folder().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    let before = Snapshot::take(&container);
    let makers: [&dyn Fn(); 4] = [
        &|| fs::write(&folder, "").unwrap(),
        &|| symlink(&elsewhere, &folder).unwrap(),
        &|| symlink("/nowhere", &folder).unwrap(),
        &|| fs::create_dir_all(folder.join("some/folders")).unwrap(),
    ];
    for make in makers {
        make();
        container.create().fails_with("already exists");
        for words in [&["state"][..], &["start"], &["kill"], &["pause"]] {
            let output = container.call(words).arg(&container.id).run().fails();
            is_sane(&output);
            assert!(is_to_the_point(&output, &folder), "{output}");
        }
        lists(&neighbour);
        container.delete_force().ok().silent();
        before.assert_unchanged(&container);
    }
    assert!(elsewhere.is_dir());
    container.create().ok();
}

fn row_73_a_root_that_is_no_directory_is_named(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    fs::write(&container.root, "").unwrap();
    let path = container.root.display().to_string();
    let before = Snapshot::take(&container);
    for words in [&["state"][..], &["start"], &["kill"], &["delete"], &["delete", "--force"]] {
        container.call(words).arg(&container.id).run().fails_with(&path);
    }
    container.call(["list"]).run().fails_with(&path);
    container.create().fails_with(&path);
    before.assert_unchanged(&container);
}

fn row_73_a_directory_of_another_user_is_refused(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let neighbour = container.beside();
    neighbour.create().ok();
    container.create().ok();
    let folder = folder_of(&container);
    std::os::unix::fs::chown(&folder, Some(1000), None).unwrap();
    let before = Snapshot::take(&container);
    for words in [&["state"][..], &["start"], &["kill"], &["delete"], &["delete", "--force"]] {
        container.call(words).arg(&container.id).run().fails_with(&folder.display().to_string());
    }
    lists(&neighbour);
    before.assert_unchanged(&container);
    std::os::unix::fs::chown(&folder, Some(0), None).unwrap();
    container.delete_force().ok().silent();
}

/// Changes the record of one of our own containers.
fn edit(container: &Container, change: impl Fn(&mut Value)) {
    let file = folder_of(container).join("state.json");
    let mut record = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut record);
    fs::write(file, record.to_string()).unwrap();
}

fn row_73_a_record_of_a_newer_version_is_refused(runtime: &Runtime) {
    let container = Container::single(runtime);
    edit(&container, |record| record["version"] = json!(99));
    let before = Snapshot::take(&container);
    // Also by force: what this version does not know would be left behind.
    for words in [&["state"][..], &["start"], &["kill"], &["delete"], &["delete", "--force"]] {
        let output = container.call(words).arg(&container.id).run().fails_with("state.json: written by a newer version");
        is_sane(&output);
    }
    before.assert_unchanged(&container);
    edit(&container, |record| record["version"] = json!(1));
    container.delete_force().ok().silent();
}

/// A process of the host that has nothing to do with any container; ended when dropped.
struct Stranger(Child);

impl Stranger {
    fn new() -> Stranger {
        Stranger(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn process(&self) -> Process {
        Process::new(self.0.id().cast_signed())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_stopped_for_every_command(container: &Container) {
    let state = container.state();
    assert_eq!((&state["status"], &state["pid"]), (&json!("stopped"), &json!(0)));
    container.exec(["/bin/true"]).fails_with("not running");
    container.kill("KILL").fails_with("not running");
    container.start().fails_with("has stopped");
    container.call(["pause", &container.id]).run().fails_with("not running");
    container.call(["resume", &container.id]).run().fails_with("not running");
}

/// The number of the first process is that of a stranger by now, and everything else about it is as it was.
fn rt_7_another_process_with_the_recorded_number_is_left_alone(runtime: &Runtime) {
    let stranger = Stranger::new();
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    for delete in [Container::delete, Container::delete_force] {
        container.run_detached().ok();
        let pid = container.pid();
        container.kill("KILL").ok();
        container.wait_for("stopped");
        container.reap(pid);
        let number = stranger.process().pid;
        edit(&container, |record| record["init"]["pid"] = json!(number));
        let undo = folder_of(&container).join("undo");
        let lines = fs::read_to_string(&undo).unwrap();
        fs::write(undo, lines.replace(&format!("pid {pid} "), &format!("pid {number} "))).unwrap();
        is_stopped_for_every_command(&container);
        delete(&container).ok().silent();
        before.assert_unchanged(&container);
        assert!(stranger.process().is_alive());
    }
}

/// After a boot its process is gone, and what has its number and its cgroup's path is somebody else's.
fn rt_7_67_of_another_boot_nothing_is_left_and_nothing_is_killed(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    for delete in [Container::delete, Container::delete_force] {
        container.run_detached().ok();
        let (process, stranger) = (container.process(), Stranger::new());
        fs::write(container.cgroup().join("cgroup.procs"), stranger.process().pid.to_string()).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        edit(&container, |record| record["init"]["boot"] = json!("00000000-0000-4000-8000-000000000000"));
        let undo = folder_of(&container).join("undo");
        let lines = fs::read_to_string(&undo).unwrap();
        fs::write(undo, lines.replace(boot.trim(), "00000000-0000-4000-8000-000000000000")).unwrap();
        is_stopped_for_every_command(&container);
        delete(&container).ok().silent();
        assert!(!folder_of(&container).exists());
        assert!(process.is_alive() && stranger.process().is_alive());
        fs::write(container.cgroup().join("cgroup.kill"), "1").unwrap();
        container.reap(process.pid);
        drop(stranger);
        until("an empty cgroup", || fs::remove_dir(container.cgroup()).ok());
    }
}
