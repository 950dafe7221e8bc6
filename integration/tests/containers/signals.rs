//! `kill`: runtime.md, section kill.

use integration::{Container, Process, Runtime, until};

cases! {
    Any:
        rt_57_kill_without_id_fails,
        rt_58_kill_of_an_unknown_container_fails,
        rt_58_59_kill_of_a_stopped_container_changes_nothing,
        rt_60_signals_reach_the_program,
        rt_60_kill_works_in_created,
        rt_60_term_works_in_created,
        rt_61_signal_spellings,
        rt_61_term_is_the_default_signal,
        rt_61_unknown_signals_fail,
        row_10_kill_all_in_both_spellings,
        row_70_kill_all_empties_the_cgroup_of_a_stopped_container,
        row_71_kill_ends_a_paused_container,
        peer_25_kill_without_pid_namespace_kills_the_whole_cgroup,
        peer_25_kill_reaches_what_outlived_the_first_process,
        peer_28_kill_all_of_a_stopped_container_is_no_error,
        rt_60_kill_by_regular_expression,
    ;
}

fn rt_57_kill_without_id_fails(runtime: &Runtime) {
    Container::new(runtime).call(["kill"]).run().fails();
}

fn rt_58_kill_of_an_unknown_container_fails(runtime: &Runtime) {
    Container::new(runtime).kill("TERM").fails();
}

fn rt_58_59_kill_of_a_stopped_container_changes_nothing(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.run_detached().ok();
    container.wait_for("stopped");
    let before = container.state_call().ok().stdout;
    for signal in ["TERM", "KILL", "0"] {
        container.kill(signal).fails();
    }
    assert_eq!(container.state_call().ok().stdout, before);
}

fn rt_60_signals_reach_the_program(runtime: &Runtime) {
    let script = "for s in TERM USR1 USR2 HUP INT; do trap \"echo got $s\" $s; done; echo ready; while :; do sleep 0.01; done";
    let container = Container::sh(runtime, script);
    container.run_detached().ok();
    container.wait_stdout("ready\n");
    for signal in ["TERM", "USR1", "USR2", "HUP", "INT"] {
        container.kill(signal).ok().silent();
        container.wait_stdout(&format!("got {signal}\n"));
    }
    let pid = container.pid();
    container.kill("KILL").ok().silent();
    assert_eq!(container.reap(pid), 137);
}

fn rt_60_kill_works_in_created(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.create().ok();
    let pid = container.pid();
    container.kill("KILL").ok().silent();
    assert_eq!(container.reap(pid), 137);
    assert_eq!(container.status(), "stopped");
    container.delete().ok();
}

// pidfd-socket.bats of runc: a first process of a pid namespace would not hear them.
fn rt_60_term_works_in_created(runtime: &Runtime) {
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let container = Container::sleeper(runtime);
        container.create().ok();
        container.kill(signal).ok().silent();
        container.wait_for("stopped");
        container.start().fails();
    }
}

fn rt_61_signal_spellings(runtime: &Runtime) {
    let script = "trap 'echo signal' USR1; echo ready; while :; do sleep 0.01; done";
    let container = Container::sh(runtime, script);
    container.run_detached().ok();
    container.wait_stdout("ready\n");
    for (count, signal) in ["USR1", "SIGUSR1", "usr1", "sigusr1", "SigUsr1", "10"].into_iter().enumerate() {
        container.kill(signal).ok().silent();
        container.wait_stdout(&"signal\n".repeat(count + 1));
    }
}

fn rt_61_term_is_the_default_signal(runtime: &Runtime) {
    let container = Container::sh(runtime, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    container.run_detached().ok();
    container.wait_stdout("ready\n");
    let pid = container.pid();
    container.call(["kill", &container.id]).run().ok().silent();
    assert_eq!(container.reap(pid), 7);
}

fn rt_61_unknown_signals_fail(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    for signal in ["FOO", "SIGFOO", "999", "-1", "1x", "SIGSIGTERM"] {
        container.call(["kill", &container.id, "--", signal]).run().fails();
        assert_eq!(container.status(), "running", "{signal:?}");
    }
}

fn row_10_kill_all_in_both_spellings(runtime: &Runtime) {
    for option in ["--all", "-a"] {
        let container = Container::sleeper(runtime);
        container.run_detached().ok();
        container.call(["kill", option, &container.id, "9"]).run().ok().silent();
        container.wait_for("stopped");
    }
}

fn row_70_kill_all_empties_the_cgroup_of_a_stopped_container(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "sleep 1000 & echo $!; exit 0");
    container.bundle.without_namespace("pid");
    container.run_detached().ok();
    let left = Process::new(container.wait_stdout("\n").trim().parse().unwrap());
    container.wait_for("stopped");
    assert!(left.is_alive());
    container.call(["kill", "--all", &container.id, "9"]).run().ok().silent();
    until("an empty cgroup", || (!left.is_alive()).then_some(()));
}

fn row_71_kill_ends_a_paused_container(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    let pid = container.pid();
    container.call(["pause", &container.id]).run().ok();
    container.kill("9").ok().silent();
    assert_eq!(container.reap(pid), 137);
    container.wait_for("stopped");
    container.delete().ok();
}

fn peer_25_kill_without_pid_namespace_kills_the_whole_cgroup(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "sleep 1000 & echo $!; wait");
    container.bundle.without_namespace("pid");
    container.run_detached().ok();
    let child = Process::new(container.wait_stdout("\n").trim().parse().unwrap());
    container.kill("KILL").ok().silent();
    container.wait_for("stopped");
    until("the end of the program's child", || (!child.is_alive()).then_some(()));
}

fn peer_25_kill_reaches_what_outlived_the_first_process(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "sleep 1000 & echo $!");
    container.bundle.without_namespace("pid");
    container.run_detached().ok();
    let child = Process::new(container.wait_stdout("\n").trim().parse().unwrap());
    container.wait_for("stopped");
    container.kill("TERM").fails();
    assert!(child.is_alive());
    container.kill("KILL").ok().silent();
    until("the end of the program's child", || (!child.is_alive()).then_some(()));
    container.wait_for("stopped");
}

fn peer_28_kill_all_of_a_stopped_container_is_no_error(runtime: &Runtime) {
    let container = Container::new(runtime);
    container.run_detached().ok();
    container.wait_for("stopped");
    container.call(["kill", "--all", &container.id, "KILL"]).run().ok().silent();
}

fn rt_60_kill_by_regular_expression(runtime: &Runtime) {
    let mut first = Container::sleeper(runtime);
    let (mut second, mut third) = (first.beside(), first.beside());
    for (container, end) in [(&mut first, "-web.1"), (&mut second, "-web.2"), (&mut third, "-db")] {
        container.id.push_str(end);
        container.bundle.sh("trap 'exit 143' TERM; echo ready; while :; do sleep 1000 & wait $!; done");
        container.run_detached().ok();
        // A first process does not hear what it has no trap for yet.
        container.wait_stdout("ready\n");
    }
    first.call(["kill", "--regex", "web\\.[12]$", "TERM"]).run().ok().silent();
    first.wait_for("stopped");
    second.wait_for("stopped");
    assert_eq!(third.status(), "running");
    // One that has ended is a warning; the others get the signal.
    let output = first.call(["kill", "-r", ".", "KILL"]).run().ok();
    assert_ne!(output.stderr, "");
    third.wait_for("stopped");
    first.call(["kill", "--regex", "no-such-name"]).run().ok().silent();
}
