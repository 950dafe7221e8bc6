//! What create, start and state refuse, and what is left then: runtime.md, section operations.

use integration::deadline::within;
use integration::{Call, Container, Process, Runtime, Snapshot};
use serde_json::json;
use std::fs;
use std::time::Duration;

cases! {
    Any:
        rt_41_state_without_id_fails,
        rt_42_state_of_an_unknown_container_fails,
        rt_44_create_without_id_fails,
        rt_44_create_without_bundle_takes_the_current_directory,
        rt_44_create_in_an_empty_directory_fails,
        rt_45_create_with_a_used_id_fails,
        rt_45_create_with_the_id_of_a_stopped_container_fails,
        rt_46_invalid_ids_are_refused,
        rt_46_invalid_ids_lead_nowhere_in_any_command,
        rt_46_an_id_with_a_comma_is_refused,
        rt_46_an_id_of_2_kib_is_refused,
        rt_46_ids_of_the_allowed_characters_work,
        rt_46_an_id_may_begin_with_a_dot,
        rt_50_cwd_that_is_a_file_fails_at_create,
        rt_53_start_without_id_fails,
        rt_54_start_of_an_unknown_container_fails,
        rt_54_second_start_has_no_effect,
        rt_54_start_of_a_stopped_container_has_no_effect,
        rt_54_start_of_a_paused_container_has_no_effect,
        rt_56_create_without_process_works_and_start_fails,
        row_79_parallel_calls_on_one_container,
        row_79_parallel_creates_of_one_id_make_one_container,
        row_80_same_id_under_two_roots,
        peer_10_start_of_a_container_whose_init_was_killed_fails,
        peer_15_texts_of_a_second_start,
        peer_16_create_refuses_a_populated_cgroup,
        peer_16_create_refuses_a_frozen_cgroup,
        peer_19_state_directory_is_closed_to_others,
    ;
}

fn rt_41_state_without_id_fails(runtime: &Runtime) {
    Container::new(runtime).call(["state"]).run().fails();
}

fn rt_42_state_of_an_unknown_container_fails(runtime: &Runtime) {
    Container::new(runtime).state_call().fails_with("does not exist");
}

fn rt_44_create_without_id_fails(runtime: &Runtime) {
    let container = Container::new(runtime);
    let before = Snapshot::take(&container);
    container.call(["create", "--bundle"]).arg(container.bundle.path()).run().fails();
    before.assert_unchanged(&container);
}

fn rt_44_create_without_bundle_takes_the_current_directory(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.call(["create", &container.id]).cwd(container.bundle.path()).run().ok();
    assert_eq!(container.state()["bundle"], json!(container.bundle.path()));
}

fn rt_44_create_in_an_empty_directory_fails(runtime: &Runtime) {
    let container = Container::new(runtime);
    let before = Snapshot::take(&container);
    let empty = container.folder().join("empty");
    fs::create_dir(&empty).unwrap();
    container.call(["create", &container.id]).cwd(empty).run().fails();
    before.assert_unchanged(&container);
}

fn rt_45_create_with_a_used_id_fails(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let before = Snapshot::take(&container);
    let pid = container.pid();
    container.create().fails();
    assert_eq!(container.status(), "created");
    assert_eq!(container.pid(), pid);
    before.assert_unchanged(&container);
    container.start().ok();
    assert_eq!(container.status(), "running");
    container.run().fails();
    assert_eq!(container.status(), "running");
}

fn rt_45_create_with_the_id_of_a_stopped_container_fails(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.run_detached().ok();
    container.wait_for("stopped");
    let before = Snapshot::take(&container);
    container.create().fails();
    before.assert_unchanged(&container);
    assert_eq!(container.status(), "stopped");
    container.delete().ok();
}

fn refuses_id(container: &Container, id: &str) {
    let before = Snapshot::take(container);
    for verb in ["create", "run"] {
        let output = container.call([verb, "--bundle"]).arg(container.bundle.path()).arg(id).run().fails();
        let wanted = if id.is_empty() { "id" } else { "invalid container ID format" };
        assert!(output.stderr.to_lowercase().contains(&wanted.to_lowercase()), "{output}");
        before.assert_unchanged(container);
    }
}

fn rt_46_invalid_ids_are_refused(runtime: &Runtime) {
    let container = Container::new(runtime);
    for id in ["", ".", "..", "a/b", "../a", "/a", "a b", "a\nb", "a:b", "ä", "a*", "a\u{1}", "a@b"] {
        refuses_id(&container, id);
    }
}

fn rt_46_invalid_ids_lead_nowhere_in_any_command(runtime: &Runtime) {
    let container = Container::new(runtime);
    let victim = container.folder().join("victim");
    fs::create_dir_all(victim.join("inner")).unwrap();
    fs::create_dir(&container.root).unwrap();
    let absolute = victim.to_str().unwrap();
    for id in ["../victim", "..", ".", "a/../../victim", "", absolute] {
        for words in [&["state"][..], &["start"], &["kill"], &["pause"], &["resume"], &["delete"]] {
            container.call(words).arg(id).run().fails();
        }
        container.call(["delete", "--force", id]).run();
        assert!(victim.join("inner").is_dir() && container.root.is_dir(), "{id:?}");
        assert!(container.bundle.inside("/bin/busybox").exists(), "{id:?}");
    }
}

fn rt_46_an_id_with_a_comma_is_refused(runtime: &Runtime) {
    refuses_id(&Container::new(runtime), "a,b");
}

fn rt_46_an_id_of_2_kib_is_refused(runtime: &Runtime) {
    let container = Container::new(runtime);
    refuses_id(&container, &"a".repeat(2048));
    refuses_id(&container, &"a".repeat(256));
}

fn rt_46_ids_of_the_allowed_characters_work(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    let unique = container.id.clone();
    for id in [format!("A-Z_a.z+0{unique}"), format!("_{unique}"), format!("+{unique}"), format!("{unique}..")] {
        container.id = id;
        container.run().ok().silent();
    }
}

fn rt_46_an_id_may_begin_with_a_dot(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.id = format!(".{}", container.id);
    container.run().ok().silent();
}

fn rt_50_cwd_that_is_a_file_fails_at_create(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/process/cwd", json!("/etc/passwd"));
    let before = Snapshot::take(&container);
    container.create().fails();
    before.assert_unchanged(&container);
}

fn rt_53_start_without_id_fails(runtime: &Runtime) {
    Container::new(runtime).call(["start"]).run().fails();
}

fn rt_54_start_of_an_unknown_container_fails(runtime: &Runtime) {
    Container::new(runtime).start().fails();
}

fn rt_54_second_start_has_no_effect(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo once; sleep 1000");
    container.run_detached().ok();
    container.wait_stdout("once\n");
    let state = container.state();
    container.start().fails();
    assert_eq!(container.state(), state);
    assert_eq!(container.stdout(), "once\n");
}

fn rt_54_start_of_a_stopped_container_has_no_effect(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo once");
    container.run_detached().ok();
    container.wait_for("stopped");
    let state = container.state();
    container.start().fails();
    assert_eq!(container.state(), state);
    assert_eq!(container.stdout(), "once\n");
}

fn rt_54_start_of_a_paused_container_has_no_effect(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo once; sleep 1000");
    container.run_detached().ok();
    container.wait_stdout("once\n");
    container.call(["pause", &container.id]).run().ok();
    container.start().fails();
    assert_eq!(container.status(), "paused");
    assert_eq!(container.stdout(), "once\n");
}

fn rt_56_create_without_process_works_and_start_fails(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.remove("/process");
    let before = Snapshot::take(&container);
    container.create().ok().silent();
    assert_eq!(container.status(), "created");
    assert!(container.process().is_alive());
    container.start().fails_with("process");
    assert_eq!(container.status(), "created");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    before.assert_unchanged(&container);
}

fn row_79_parallel_calls_on_one_container(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let states: Vec<_> = (0..8).map(|_| container.call(["state", &container.id]).spawn()).collect();
    let start = container.call(["start", &container.id]).spawn();
    let more: Vec<_> = (0..8).map(|_| container.call(["state", &container.id]).spawn()).collect();
    for state in states.into_iter().chain(more) {
        let state = state.wait().ok().no_complaint().json();
        assert!(["created", "running"].contains(&state["status"].as_str().unwrap()), "{state}");
    }
    start.wait().ok().silent();
    assert_eq!(container.status(), "running");
}

fn row_79_parallel_creates_of_one_id_make_one_container(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    let results = Call::succeed_together((0..6).map(|_| container.create_call(&[])).collect());
    assert_eq!(results.iter().filter(|good| **good).count(), 1, "{results:?}");
    assert_eq!(container.status(), "created");
    assert!(container.process().is_alive());
    container.delete().ok();
    before.assert_unchanged(&container);
}

fn row_80_same_id_under_two_roots(runtime: &Runtime) {
    let first = Container::sleeper(runtime);
    let mut second = Container::sleeper(runtime);
    second.id.clone_from(&first.id);
    first.run_detached().ok();
    second.run_detached().ok();
    assert_ne!(first.pid(), second.pid());
    second.kill("KILL").ok();
    second.wait_for("stopped");
    second.delete().ok();
    assert_eq!(first.status(), "running");
}

fn peer_10_start_of_a_container_whose_init_was_killed_fails(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let pid = container.pid();
    container.host_call("kill").args(["-KILL", &pid.to_string()]).run().ok();
    container.reap(pid);
    container.call(["start", &container.id]).deadline(Duration::from_secs(15)).run().fails();
    assert_eq!(container.status(), "stopped");
}

fn peer_15_texts_of_a_second_start(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    container.start().fails_with("cannot start an already running container");
    container.call(["pause", &container.id]).run().ok();
    container.start().fails_with("cannot start a container in the paused state");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.start().fails_with("cannot start a container that has stopped");
}

fn peer_16_create_refuses_a_populated_cgroup(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    fs::create_dir(container.cgroup()).unwrap();
    let guest = container.host_call("sleep").arg("1000").spawn();
    fs::write(container.cgroup().join("cgroup.procs"), guest.pid().to_string()).unwrap();
    container.create().fails_with("cgroup is not empty");
    assert!(Process::new(guest.pid()).is_alive());
    assert!(container.cgroup().is_dir());
    container.state_call().fails_with("does not exist");
}

fn peer_16_create_refuses_a_frozen_cgroup(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    fs::create_dir(container.cgroup()).unwrap();
    fs::write(container.cgroup().join("cgroup.freeze"), "1").unwrap();
    let mut create = container.create_call(&[]).spawn();
    // Less than the 30 s after which a create that waits would end as well.
    let ended = within(Duration::from_secs(20), || create.has_ended().then_some(()));
    fs::write(container.cgroup().join("cgroup.freeze"), "0").unwrap();
    assert!(ended.is_some(), "create waits for the thaw");
    create.wait().fails_with("frozen");
    container.state_call().fails_with("does not exist");
}

fn peer_19_state_directory_is_closed_to_others(runtime: &Runtime) {
    use std::os::unix::fs::PermissionsExt;
    let container = Container::sleeper(runtime);
    container.create_call(&[]).after("umask 000").run().ok();
    let mode = fs::metadata(&container.root).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let mode = fs::metadata(container.root.join(&container.id)).unwrap().permissions().mode();
    assert_eq!(mode & 0o066, 0, "{mode:o}");
}
