//! `delete` by status, with and without force: runtime.md, section delete.

use integration::{Call, Container, Runtime, Snapshot};
use std::fs;

cases! {
    Any:
        rt_62_delete_without_id_fails,
        rt_63_64_delete_of_a_running_container_changes_nothing,
        rt_63_64_delete_of_a_paused_container_changes_nothing,
        rt_63_delete_of_a_created_container_kills_it,
        rt_65_delete_of_an_unknown_container_fails,
        rt_65_forced_delete_of_an_unknown_container_succeeds,
        decision_1_text_of_a_refused_delete,
        row_72_delete_by_status,
        row_73_forced_delete_by_status,
        row_73_forced_delete_removes_a_half_made_state_directory,
        row_79_parallel_deletes_leave_nothing,
        peer_14_delete_removes_a_half_made_state_directory,
        peer_32_forced_delete_of_a_paused_container,
        rt_66_delete_by_regular_expression,
    ;
}

fn rt_62_delete_without_id_fails(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.call(["delete"]).run().fails();
    container.call(["delete", "--force"]).run().fails();
}

fn refuses_delete(container: &Container, status: &str) {
    let state = container.state();
    assert_eq!(state["status"], status);
    container.delete().fails();
    assert_eq!(container.state(), state);
    assert!(container.process().is_alive());
    assert!(container.cgroup().is_dir());
}

fn rt_63_64_delete_of_a_running_container_changes_nothing(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    refuses_delete(&container, "running");
}

fn rt_63_64_delete_of_a_paused_container_changes_nothing(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    container.call(["pause", &container.id]).run().ok();
    refuses_delete(&container, "paused");
}

fn rt_63_delete_of_a_created_container_kills_it(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.create().ok();
    let pid = container.pid();
    container.delete().ok().silent();
    assert_eq!(container.reap(pid), 137);
    before.assert_unchanged(&container);
    container.state_call().fails();
}

fn rt_65_delete_of_an_unknown_container_fails(runtime: &Runtime) {
    Container::new(runtime).delete().fails();
}

fn rt_65_forced_delete_of_an_unknown_container_succeeds(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.delete_force().ok().silent();
    container.call(["delete", "-f", &container.id]).run().ok().silent();
}

fn decision_1_text_of_a_refused_delete(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let text = format!("cannot delete container {} that is not stopped", container.id);
    container.delete().fails_with(&format!("{text}: running"));
    container.call(["pause", &container.id]).run().ok();
    container.delete().fails_with(&format!("{text}: paused"));
}

fn row_72_delete_by_status(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.create().ok();
    container.delete().ok();
    before.assert_unchanged(&container);
    container.run_detached().ok();
    container.delete().fails();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    before.assert_unchanged(&container);
}

fn row_73_forced_delete_by_status(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.create().ok();
    container.delete_force().ok().silent();
    before.assert_unchanged(&container);
    container.run_detached().ok();
    let pid = container.pid();
    container.delete_force().ok().silent();
    assert_eq!(container.reap(pid), 137);
    before.assert_unchanged(&container);
    container.run_detached().ok();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete_force().ok().silent();
    before.assert_unchanged(&container);
}

fn row_73_forced_delete_removes_a_half_made_state_directory(runtime: &Runtime) {
    let container = Container::new(runtime);
    let folder = container.root.join(&container.id);
    fs::create_dir_all(&folder).unwrap();
    container.delete_force().ok().silent();
    assert!(!folder.exists());
    container.run().ok().silent();
}

fn row_79_parallel_deletes_leave_nothing(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.run_detached().ok();
    let results = Call::succeed_together((0..6).map(|_| container.call(["delete", "--force", &container.id])).collect());
    assert!(results.iter().any(|good| *good), "{results:?}");
    container.state_call().fails();
    before.assert_unchanged(&container);
}

fn peer_14_delete_removes_a_half_made_state_directory(runtime: &Runtime) {
    let container = Container::new(runtime);
    let folder = container.root.join(&container.id);
    fs::create_dir_all(folder.join("inner")).unwrap();
    container.state_call().fails();
    container.delete().fails();
    assert!(!folder.exists());
    container.run().ok().silent();
}

fn peer_32_forced_delete_of_a_paused_container(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let before = Snapshot::take(&container);
    container.run_detached().ok();
    container.call(["pause", &container.id]).run().ok();
    container.delete_force().ok().silent();
    before.assert_unchanged(&container);
}

fn rt_66_delete_by_regular_expression(runtime: &Runtime) {
    let mut first = Container::sleeper(runtime);
    let (mut second, mut third) = (first.beside(), first.beside());
    for (container, end) in [(&mut first, "-web.1"), (&mut second, "-web.2"), (&mut third, "-db")] {
        container.id.push_str(end);
        container.bundle.sh("while :; do sleep 1000; done");
        container.run_detached().ok();
    }
    // One that runs is a warning.
    let output = first.call(["delete", "--regex", "db$"]).run().ok();
    assert_ne!(output.stderr, "");
    first.call(["delete", "--force", "-r", "web\\.[12]$"]).run().ok().silent();
    first.state_call().fails();
    second.state_call().fails();
    assert_eq!(third.status(), "running");
    first.call(["delete", "--regex", "no-such-name"]).run().ok().silent();
}
