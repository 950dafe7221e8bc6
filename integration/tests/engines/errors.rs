//! Exit codes and words with which Docker and Podman tell what went wrong.

use integration::Engine;
use std::collections::BTreeSet;
use std::path::PathBuf;

cases! {
    Engines:
        row_25_docker_run_exits_with_the_programs_code,
        row_25_podman_run_exits_with_the_programs_code,
        row_41_docker_exec_exits_with_the_programs_code,
        row_41_podman_exec_exits_with_the_programs_code,
        row_56_docker_missing_program_is_127,
        row_56_podman_missing_program_is_127,
        row_56_docker_missing_path_is_127,
        row_56_podman_missing_path_is_127,
        row_57_docker_file_that_cannot_be_executed_is_126,
        row_57_podman_file_that_cannot_be_executed_is_126,
        row_58_docker_directory_is_126,
        row_58_podman_directory_is_126,
        row_58_docker_mount_on_the_wrong_kind,
        row_58_podman_mount_on_the_wrong_kind,
        row_59_docker_exec_of_a_missing_program_is_126,
        row_59_podman_exec_of_a_missing_program_is_127,
        row_59_docker_exec_of_a_plain_file_is_126,
        row_59_podman_exec_of_a_plain_file_is_126,
        row_73_docker_a_failed_start_leaves_nothing,
        row_73_podman_a_failed_start_leaves_nothing,
    ;
}

with_both! {
    row_25_docker_run_exits_with_the_programs_code, row_25_podman_run_exits_with_the_programs_code: code_of_run;
    row_41_docker_exec_exits_with_the_programs_code, row_41_podman_exec_exits_with_the_programs_code: code_of_exec;
    row_56_docker_missing_program_is_127, row_56_podman_missing_program_is_127: missing_program;
    row_56_docker_missing_path_is_127, row_56_podman_missing_path_is_127: missing_path;
    row_57_docker_file_that_cannot_be_executed_is_126, row_57_podman_file_that_cannot_be_executed_is_126: plain_file;
    row_58_docker_directory_is_126, row_58_podman_directory_is_126: directory;
    row_58_docker_mount_on_the_wrong_kind, row_58_podman_mount_on_the_wrong_kind: wrong_kind;
    row_59_docker_exec_of_a_missing_program_is_126, row_59_podman_exec_of_a_missing_program_is_127: exec_missing_program;
    row_59_docker_exec_of_a_plain_file_is_126, row_59_podman_exec_of_a_plain_file_is_126: exec_plain_file;
    row_73_docker_a_failed_start_leaves_nothing, row_73_podman_a_failed_start_leaves_nothing: failed_start;
}

/// What an engine has to be told for its codes 126 and 127 reaches the user as well.
const MISSING: &str = "executable file not found in $PATH";

fn code_of_run(engine: Engine) {
    engine.run(&[], &["sh", "-c", "exit 42"]).exits(42).silent();
}

fn code_of_exec(engine: Engine) {
    let container = engine.sleeping(&[]);
    container.exec(&[], &["sh", "-c", "exit 43"]).exits(43);
    container.exec(&[], &["sh", "-c", "kill -KILL $$"]).exits(137);
}

fn missing_program(engine: Engine) {
    assert!(engine.run(&[], &["nothing-of-that-name"]).exits(127).stderr.contains(MISSING));
    let output = engine.run(&[], &[""]).exits(127);
    assert!(output.stderr.contains(MISSING) && output.stderr.contains(r#" "":"#), "{output}");
}

fn missing_path(engine: Engine) {
    let output = engine.run(&[], &["/bin/nothing-of-that-name"]).exits(127);
    assert!(output.stderr.contains("no such file or directory"), "{output}");
}

fn plain_file(engine: Engine) {
    let output = engine.run(&[], &["/etc/passwd"]).exits(126);
    assert!(output.stderr.to_lowercase().contains("permission denied"), "{output}");
}

fn directory(engine: Engine) {
    let output = engine.run(&[], &["/etc"]).exits(126);
    assert!(output.stderr.contains("is a directory"), "{output}");
}

fn wrong_kind(engine: Engine) {
    let code = if engine == Engine::Docker { 125 } else { 126 };
    let output = engine.run(&["--volume=/run/image/etc:/bin/busybox"], &["true"]).exits(code);
    assert!(output.stderr.to_lowercase().contains("not a directory"), "{output}");
}

fn exec_missing_program(engine: Engine) {
    // Docker 26.1 has the same code for all that exec cannot start.
    let code = if engine == Engine::Docker { 126 } else { 127 };
    let output = engine.sleeping(&[]).exec(&[], &["nothing-of-that-name"]).exits(code);
    assert!(output.stdout.contains(MISSING) || output.stderr.contains(MISSING), "{output}");
}

fn exec_plain_file(engine: Engine) {
    engine.sleeping(&[]).exec(&[], &["/etc/passwd"]).exits(126);
}

fn failed_start(engine: Engine) {
    let container = engine.sleeping(&[]);
    let mut folder = integration::engine::cgroup_of(container.pid());
    assert!(folder.pop(), "{}", folder.display());
    let groups = || -> BTreeSet<PathBuf> {
        let entries = std::fs::read_dir(&folder).expect("the engine's cgroup").flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let before = groups();
    engine.run(&[], &["nothing-of-that-name"]).exits(127);
    // By their names: that of an earlier test may go only now.
    assert_eq!(groups().difference(&before).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
}
