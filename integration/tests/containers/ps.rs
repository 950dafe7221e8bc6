//! `ps`: the processes of a container.

use integration::{Container, Runtime, until};
use serde_json::json;
use std::fs;

cases! {
    Any:
        row_15_json_in_both_spellings,
        row_15_other_formats_are_refused,
        row_76_json_lists_all_processes,
        row_76_json_lists_processes_of_groups_below,
        row_76_json_of_a_stopped_container_is_empty,
        row_54_ps_of_an_unknown_container_fails,
    ;
    Any [Ps]:
        row_15_table_with_options_of_ps,
    ;
}

/// A running container with one process.
fn pids(container: &Container) -> Vec<i32> {
    let mut pids: Vec<i32> =
        serde_json::from_value(container.call(["ps", "--format", "json", &container.id]).run().ok().no_complaint().json())
            .expect("numbers");
    pids.sort_unstable();
    pids
}

fn row_15_json_in_both_spellings(runtime: &Runtime) {
    let container = Container::single(runtime);
    for words in [&["ps", "--format", "json"][..], &["ps", "--format=json"], &["ps", "-f", "json"]] {
        let output = container.call(words).arg(&container.id).run().ok().no_complaint();
        assert_eq!(output.json(), json!([container.pid()]));
    }
}

fn row_15_table_with_options_of_ps(runtime: &Runtime) {
    let container = Container::single(runtime);
    let pid = container.pid().to_string();
    let call = |words: &[&str]| container.call(["ps"]).args(words).run().ok().no_complaint().stdout;
    let id = container.id.as_str();
    for words in [&[id][..], &["--format", "table", id], &[id, "aux"]] {
        let text = call(words);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains(" PID ") && lines.len() == 2, "{text}");
        assert_eq!(lines[1].split_whitespace().nth(1), Some(pid.as_str()), "{text}");
        assert!(lines[1].ends_with("sleep 1000"), "{text}");
    }
    let text = call(&["--format", "table", id, "-e", "-o", "pid,comm"]);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["PID", "COMMAND", &pid, "sleep"]);
}

fn row_15_other_formats_are_refused(runtime: &Runtime) {
    let container = Container::single(runtime);
    container.call(["ps", "--format", "yaml", &container.id]).run().fails_with("invalid format option");
    container.call(["ps", &container.id, "-e", "-o", "comm"]).run().fails_with("couldn't find PID field");
    container.call(["ps"]).run().fails();
}

fn row_76_json_lists_all_processes(runtime: &Runtime) {
    let container = Container::single(runtime);
    let mut both = [container.pid(), container.exec_detached(&[], &["/bin/sleep", "1000"]).pid];
    both.sort_unstable();
    assert_eq!(pids(&container), both);
}

fn row_76_json_lists_processes_of_groups_below(runtime: &Runtime) {
    let container = Container::single(runtime);
    let below = container.cgroup().join("a/b");
    fs::create_dir_all(&below).unwrap();
    fs::write(below.join("cgroup.procs"), container.pid().to_string()).unwrap();
    assert_eq!(pids(&container), [container.pid()]);
}

fn row_76_json_of_a_stopped_container_is_empty(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.run_detached().ok();
    container.wait_for("stopped");
    until("no process", || {
        let output = container.call(["ps", "--format", "json", &container.id]).run().ok().no_complaint();
        matches!(output.text(), "[]" | "null").then_some(())
    });
}

fn row_54_ps_of_an_unknown_container_fails(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.call(["ps", "--format", "json", &container.id]).run().fails_with("does not exist");
}
