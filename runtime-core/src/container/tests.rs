//! The lifecycle over real processes and cgroups, without a launch.

use super::state::test_record;
use super::*;
use crate::error::{Errno, StepError};
use std::process::{Child, Command};
use std::time::Instant;

fn store() -> (tempfile::TempDir, Store) {
    let tmp = tempfile::tempdir().unwrap();
    let store = Store::open(tmp.path().join("root")).unwrap();
    (tmp, store)
}

fn id(text: &str) -> ContainerId {
    ContainerId::new(text).unwrap()
}

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

/// What a launch does as far as the record is concerned: the process, and its line.
fn launched(dir: &ContainerDir, child: &Child) -> Result<Init> {
    let pid = i32::try_from(child.id()).unwrap();
    let pidfd = process::open(pid)?.unwrap();
    Undo::open(dir)?.append(&Entry::process(&Identity::of(pid, pidfd.as_fd())?))?;
    Ok(Init { pid, pidfd, in_cgroup: true, notes: Vec::new(), identity: None })
}

fn create(store: &Store, name: &str, child: &Child) -> Container {
    store.create_with(&id(name), test_record(&id(name)), b"{}", |dir| launched(dir, child)).unwrap()
}

/// Ends it, unless the test did.
fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn says<T: std::fmt::Debug>(result: Result<T>, text: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(text), "{error}");
}

#[test]
fn while_it_is_created_the_state_says_so() {
    let (_tmp, store) = store();
    let child = sleeper();
    let web = store
        .create_with(&id("web"), test_record(&id("web")), b"{\"x\":1}", |dir| {
            let seen = store.load("web")?;
            assert_eq!(seen.state()?.status, Status::Creating);
            says(seen.kill(15), "cannot kill a container that is creating");
            let result = launched(dir, &child);
            assert_eq!((seen.state()?.status, seen.state()?.pid), (Status::Creating, result.as_ref().unwrap().pid));
            assert!(store.create_with(&id("web"), test_record(&id("web")), b"", |_| unreachable!()).is_err());
            result
        })
        .unwrap();
    assert_eq!(web.dir.read(CONFIG).unwrap().unwrap(), b"{\"x\":1}");
    let record = web.record().unwrap();
    assert_eq!(record.init.unwrap().pid.unsigned_abs(), child.id());
    assert_eq!(web.init().map(|init| init.pid().unsigned_abs()), Some(child.id()));
    web.delete(true).unwrap();
    assert!(store.load("web").is_err());
    end(child);
}

#[test]
fn one_of_sixteen_creates_the_container() {
    let (_tmp, store) = store();
    let child = sleeper();
    let won: Vec<_> = std::thread::scope(|scope| {
        let create = || store.create_with(&id("x"), test_record(&id("x")), b"{}", |dir| launched(dir, &child));
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(create)).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect()
    });
    assert_eq!(won.len(), 1);
    store.delete("x", true).unwrap();
    assert_eq!(store.list().unwrap().len(), 0);
    end(child);
}

#[test]
fn a_failed_creation_leaves_nothing_and_tells_why() {
    let (_tmp, store) = store();
    let child = sleeper();
    let error = store
        .create_with(&id("x"), test_record(&id("x")), b"{}", |dir| {
            launched(dir, &child)?;
            Err(StepError::host(None, "mount proc", "mount", Errno::EPERM).into())
        })
        .unwrap_err();
    assert!(error.to_string().contains("mount proc"));
    assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
    assert!(process::open(i32::try_from(child.id()).unwrap()).unwrap().is_none(), "killed and reaped");
    end(child);
}

#[test]
fn a_stopped_container_refuses_what_it_should() {
    let (_tmp, store) = store();
    let child = sleeper();
    drop(create(&store, "x", &child));
    end(child);
    let stopped = store.load("x").unwrap();
    let before = stopped.state().unwrap();
    assert_eq!((before.status, before.pid), (Status::Stopped, 0));
    says(stopped.start(), "cannot start a container that has stopped");
    says(stopped.kill(9), "container not running");
    stopped.kill_all(9).unwrap();
    stopped.kill_all(15).unwrap();
    assert_eq!(stopped.state().unwrap(), before);
    stopped.delete(false).unwrap();
    says(store.delete("x", false), "container does not exist");
    store.delete("x", true).unwrap();
    says(store.load("x").map(drop), "container does not exist");
    let child = sleeper();
    drop(create(&store, "x", &child));
    store.delete("x", true).unwrap();
    end(child);
}

#[test]
fn refusals_have_the_words_of_runc() {
    let words = |problem: StateProblem| Error::state("x", problem).to_string();
    let refused = StateProblem::NotStopped { id: "x".to_owned(), status: Status::Running };
    assert_eq!(words(refused), "cannot delete container x that is not stopped: running");
    let unfit = |verb, status| words(StateProblem::Status { verb, status });
    assert!(unfit("start", Status::Running).ends_with(": cannot start an already running container"));
    assert!(unfit("start", Status::Stopped).ends_with(": cannot start a container that has stopped"));
    assert_eq!(unfit("start", Status::Paused), "cannot start a container in the paused state");
    assert!(unfit("kill", Status::Stopped).ends_with(": container not running"));
    assert!(unfit("resume", Status::Running).ends_with(": container not paused"));
    assert_eq!(words(StateProblem::DoesNotExist), "container does not exist");
}

#[test]
fn what_a_killed_creator_left_can_be_removed() {
    let (_tmp, store) = store();
    // Killed after mkdir, after the lock, after the record, after the birth.
    for step in 0..4 {
        std::fs::create_dir_all(store.path().join("x")).unwrap();
        let dir = store.find(&id("x")).unwrap().unwrap();
        let child = sleeper();
        if step > 0 {
            dir.lock(LOCK_WAIT, OFlag::O_CREAT).unwrap().unwrap();
        }
        if step > 1 {
            test_record(&id("x")).write(&dir).unwrap();
        }
        if step > 2 {
            launched(&dir, &child).unwrap();
        }
        let taken = store.create_with(&id("x"), test_record(&id("x")), b"", |_| unreachable!());
        says(taken.map(drop), "container with given ID already exists");
        let listed = store.list().unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].1.is_ok(), step > 1);
        // runc removes a directory without a record, and still says that there is no container.
        assert_eq!(store.delete("x", false).is_ok(), step > 1);
        assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
        end(child);
    }
}

#[test]
fn a_damaged_record_yields_to_force_and_a_newer_one_does_not() {
    let (_tmp, store) = store();
    let child = sleeper();
    let web = create(&store, "x", &child);
    web.dir.replace(state::FILE, b"{\"version\":1,").unwrap();
    says(store.delete("x", false), "state.json");
    assert!(store.list().unwrap()[0].1.is_err());
    web.dir.replace(state::FILE, b"{\"version\":99}").unwrap();
    says(store.delete("x", true), "newer");
    web.dir.replace(state::FILE, b"").unwrap();
    store.delete("x", true).unwrap();
    end(child);
}

#[test]
fn a_lost_undo_record_yields_to_force_and_what_it_held_is_in_the_state() {
    let (_tmp, store) = store();
    let damages: [fn(&ContainerDir); 4] = [
        |dir| dir.remove(undo::FILE).unwrap(),
        |dir| dir.replace(undo::FILE, b"").unwrap(),
        |dir| dir.replace(undo::FILE, b"\x00\xff\nx \n").unwrap(),
        |dir| {
            dir.remove(undo::FILE).unwrap();
            std::fs::create_dir_all(dir.path().join(undo::FILE).join("below")).unwrap();
        },
    ];
    for (damage, told) in damages.iter().zip(["", "", "undo: line 1", "undo: read: EISDIR"]) {
        let child = sleeper();
        let web = create(&store, "x", &child);
        let pidfd = process::open(web.init().unwrap().pid()).unwrap().unwrap();
        damage(&web.dir);
        // Without a Frame the living process counts as damage as well.
        says(store.delete("x", false), "frame: missing");
        let messages: Vec<_> = store.delete("x", true).unwrap().iter().map(ToString::to_string).collect();
        assert!(process::ended(pidfd.as_fd(), Duration::ZERO).unwrap());
        assert_eq!(messages.len(), usize::from(!told.is_empty()), "{messages:?}");
        assert!(messages.iter().all(|message| message.contains(told)), "{messages:?}");
        assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
        end(child);
    }
}

#[test]
fn what_is_no_directory_yields_to_force() {
    let (tmp, store) = store();
    let elsewhere = tmp.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, store.path().join("link")).unwrap();
    std::fs::write(store.path().join("file"), "").unwrap();
    for name in ["link", "file"] {
        says(store.load(name).map(drop), "not the directory of a container");
        says(store.delete(name, false), "delete --force");
        store.delete(name, true).unwrap();
        says(store.load(name).map(drop), "container does not exist");
    }
    assert!(elsewhere.is_dir());
}

#[test]
fn an_unknown_undo_line_stops_the_deletion_before_it_begins() {
    let (_tmp, store) = store();
    let child = sleeper();
    let web = create(&store, "x", &child);
    let whole = web.dir.read(undo::FILE).unwrap().unwrap();
    let more = [whole.as_slice(), b"hologram 1\n"].concat();
    web.dir.replace(undo::FILE, &more).unwrap();
    says(store.delete("x", true), "line 3");
    assert!(web.record().unwrap().init.unwrap().open_verified().unwrap().is_some(), "still alive");
    web.dir.replace(undo::FILE, &whole).unwrap();
    store.delete("x", true).unwrap();
    end(child);
}

#[test]
fn a_container_of_another_boot_is_stopped_and_removed_without_killing() {
    let (_tmp, store) = store();
    let mut child = sleeper();
    let web = create(&store, "x", &child);
    let mut record = web.record().unwrap();
    record.init.as_mut().unwrap().boot = "another".to_owned();
    record.write(&web.dir).unwrap();
    let lines = String::from_utf8(web.dir.read(undo::FILE).unwrap().unwrap()).unwrap();
    let lines = lines.replace(&process::boot_id().unwrap(), "another");
    web.dir.replace(undo::FILE, lines.as_bytes()).unwrap();
    assert_eq!(web.state().unwrap().status, Status::Stopped);
    store.delete("x", false).unwrap();
    assert!(child.try_wait().unwrap().is_none());
    end(child);
}

#[test]
fn deletions_at_once_all_succeed_or_find_nothing() {
    let (_tmp, store) = store();
    for _ in 0..20 {
        let child = sleeper();
        drop(create(&store, "x", &child));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| store.delete("x", true).unwrap());
            }
        });
        assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
        end(child);
    }
}

/// A new cgroup below the caller's own, as its directory and its path in the hierarchy; `None` where
/// the caller may make none, which the integration tests never accept.
fn new_cgroup(name: &str) -> Option<(std::path::PathBuf, String)> {
    let host = crate::cgroup::CgroupHost::probe().ok()?;
    let path = format!("{}/{name}.{}", host.own.trim_end_matches('/'), std::process::id());
    let dir = host.mount.join(path.trim_start_matches('/'));
    std::fs::create_dir(&dir).ok()?;
    Some((dir, path))
}

fn place(dir: &std::path::Path, child: &Child) {
    std::fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
}

fn has_ended(child: &mut Child) -> bool {
    let pidfd = process::open(i32::try_from(child.id()).unwrap()).unwrap();
    pidfd.is_none_or(|pidfd| process::ended(pidfd.as_fd(), Duration::from_secs(10)).unwrap())
}

#[test]
fn the_cgroup_goes_with_the_container_and_so_does_what_is_left_in_it() {
    let Some((cgroup, path)) = new_cgroup("container-delete") else { return };
    let (_tmp, store) = store();
    let (init, mut other) = (sleeper(), sleeper());
    let record = Record { cgroup_path: Some(path), shares_pid_namespace: true, ..test_record(&id("x")) };
    std::fs::remove_dir(&cgroup).unwrap();
    let launch = |dir: &ContainerDir| {
        std::fs::create_dir_all(cgroup.join("below")).unwrap();
        place(&cgroup, &init);
        place(&cgroup.join("below"), &other);
        launched(dir, &init)
    };
    let web = store.create_with(&id("x"), record, b"{}", launch).unwrap();
    end(init);
    assert_eq!(web.state().unwrap().status, Status::Stopped);
    web.kill_all(0).unwrap();
    assert!(other.try_wait().unwrap().is_none());
    web.kill_all(nix::libc::SIGTERM).unwrap();
    assert!(has_ended(&mut other));
    end(other);
    let mut third = sleeper();
    place(&cgroup.join("below"), &third);
    web.kill_all(SIGKILL).unwrap();
    assert!(has_ended(&mut third));
    end(third);
    let mut fourth = sleeper();
    place(&cgroup.join("below"), &fourth);
    web.kill(SIGKILL).unwrap();
    assert!(has_ended(&mut fourth));
    end(fourth);
    says(web.kill(SIGKILL), "cannot kill a container that is stopped: container not running");
    let mut fifth = sleeper();
    place(&cgroup.join("below"), &fifth);
    web.delete(false).unwrap();
    assert!(has_ended(&mut fifth) && !cgroup.exists());
    end(fifth);
}

#[test]
fn a_paused_container_is_killed_whole_and_deleted_only_by_force() {
    let Some((cgroup, path)) = new_cgroup("container-paused") else { return };
    let (_tmp, store) = store();
    let (mut init, mut other) = (sleeper(), sleeper());
    let record = Record { cgroup_path: Some(path), shares_pid_namespace: true, ..test_record(&id("x")) };
    let web = store.create_with(&id("x"), record, b"{}", |dir| launched(dir, &init)).unwrap();
    place(&cgroup, &init);
    place(&cgroup, &other);
    let frozen = Cgroup::at(web.record().unwrap().cgroup_path.as_deref().unwrap());
    frozen.unwrap().unwrap().freeze(KILL_WAIT).unwrap();
    let before = web.state().unwrap();
    assert_eq!((before.status, before.pid.unsigned_abs()), (Status::Paused, init.id()));
    says(web.start(), "cannot start a container in the paused state");
    says(web.delete(false), "cannot delete container x that is not stopped: paused");
    assert_eq!(web.state().unwrap(), before);
    web.kill(SIGKILL).unwrap();
    assert!(has_ended(&mut init) && has_ended(&mut other));
    web.delete(true).unwrap();
    assert!(cgroup.exists(), "it was there before (RT-67)");
    std::fs::remove_dir(&cgroup).unwrap();
    end(init);
    end(other);
}

/// As that of a rootless caller, which may be in a cgroup that nobody else may enter.
#[test]
fn a_container_without_a_cgroup_of_its_own_has_none_on_record() {
    let (_tmp, store) = store();
    let child = sleeper();
    let record = Record { cgroup_path: Some("/container-not-made".to_owned()), ..test_record(&id("x")) };
    let launch = |dir: &ContainerDir| Ok(Init { in_cgroup: false, ..launched(dir, &child)? });
    let web = store.create_with(&id("x"), record, b"{}", launch).unwrap();
    assert_eq!(web.record().unwrap().cgroup_path, None);
    web.delete(true).unwrap();
    end(child);
}

#[test]
fn a_cgroup_in_use_by_others_survives_a_failed_creation() {
    let Some((cgroup, path)) = new_cgroup("container-in-use") else { return };
    let (_tmp, store) = store();
    let mut foreign = sleeper();
    place(&cgroup, &foreign);
    let record = Record { cgroup_path: Some(path), ..test_record(&id("x")) };
    let launch = |_: &ContainerDir| Err(StepError::host(None, "create cgroup", "check", Errno::EBUSY).into());
    assert!(store.create_with(&id("x"), record, b"{}", launch).is_err());
    assert!(foreign.try_wait().unwrap().is_none());
    end(foreign);
    std::fs::remove_dir(&cgroup).unwrap();
}

#[test]
fn a_deletion_killed_anywhere_can_be_done_again() {
    let (_tmp, store) = store();
    let order = [CONFIG, undo::FILE, state::FILE, "lock"];
    for done in 0..=order.len() {
        for force in [false, true] {
            let child = sleeper();
            let web = create(&store, "x", &child);
            let gone = process::open(web.init().unwrap().pid()).unwrap().unwrap();
            undo::replay(&web.dir, None, false).unwrap();
            assert!(process::ended(gone.as_fd(), Duration::ZERO).unwrap());
            for name in &order[..done] {
                web.dir.remove(name).unwrap();
            }
            let still_a_container = done < 3;
            assert_eq!(store.delete("x", force).is_ok(), force || still_a_container, "{done}");
            assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
            end(child);
        }
    }
}

/// Not a test of its own: the process that the next one kills at any moment of create and delete.
#[test]
fn restless_process() {
    let Some(root) = std::env::var_os("RUNTIME_TEST_RESTLESS") else { return };
    let store = Store::open(root).unwrap();
    let me = i32::try_from(std::process::id()).unwrap();
    std::fs::write(store.path().with_file_name("begun"), "").unwrap();
    loop {
        let launch = |_: &ContainerDir| {
            let pidfd = process::open(me)?.unwrap();
            Ok(Init { pid: me, pidfd, in_cgroup: true, notes: Vec::new(), identity: None })
        };
        store.create_with(&id("x"), test_record(&id("x")), b"{}", launch).unwrap().delete(true).unwrap();
    }
}

#[test]
fn a_command_killed_at_any_moment_leaves_what_force_removes() {
    let (tmp, store) = store();
    let (begun, mut kept) = (tmp.path().join("begun"), 0);
    for round in 0..40_u64 {
        let mut restless = Command::new(std::env::current_exe().unwrap())
            .args(["restless_process", "--nocapture"])
            .env("RUNTIME_TEST_RESTLESS", store.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Not by the clock alone: how long a program takes to come to its work is up to the machine.
        let end = Instant::now() + Duration::from_secs(30);
        while !begun.exists() {
            assert!(Instant::now() < end, "the process never began");
            std::thread::sleep(Duration::from_micros(100));
        }
        std::fs::remove_file(&begun).unwrap();
        std::thread::sleep(Duration::from_micros(round * 137));
        restless.kill().unwrap();
        restless.wait().unwrap();
        kept += store.ids().unwrap().len();
        for listed in store.list().unwrap() {
            assert!(listed.1.map_or(true, |state| state.status == Status::Stopped));
        }
        store.delete("x", true).unwrap();
        store.delete("x", true).unwrap();
        assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
    }
    assert!(kept > 0, "no round was killed in the middle");
}

#[test]
fn lists_are_sorted_and_skip_foreign_entries() {
    let (_tmp, store) = store();
    assert!(store.list().unwrap().is_empty());
    let child = sleeper();
    for name in ["b", "a", "c"] {
        drop(create(&store, name, &child));
        Undo::open(&store.load(name).unwrap().dir).unwrap();
    }
    std::fs::write(store.path().join("file"), "").unwrap();
    std::fs::create_dir(store.path().join("no id")).unwrap();
    end(child);
    let names: Vec<_> =
        store.list().unwrap().into_iter().map(|(id, state)| (id.to_string(), state.unwrap().status)).collect();
    let stopped = |name: &str| (name.to_owned(), Status::Stopped);
    assert_eq!(names, [stopped("a"), stopped("b"), stopped("c")]);
}

#[test]
fn a_plan_is_for_one_container() {
    let (_tmp, store) = store();
    let config = r#"{"ociVersion": "1.0.0", "root": {"path": "r"}, "linux": {"namespaces": [{"type": "mount"}]}}"#;
    let bundle = crate::Bundle::parse("/b".into(), config.into()).unwrap();
    let mut host = crate::Host::default();
    (host.privileged, host.cgroup.mount) = (true, "/sys/fs/cgroup".into());
    let plan = Plan::create(&bundle, &host, &crate::CreateOptions::new("web")).unwrap();
    says(store.create("other", &plan, Stdio::inherit()), "the plan is for the container \"web\"");
    assert_eq!(store.list().unwrap().len(), 0);
}
