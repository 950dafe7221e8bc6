//! Where and when a process runs, in which memory, and as what: scheduler, I/O priority, CPUs, memory policy, personality.

use super::values::all_refused;
use integration::{Container, Output, Process, Runtime};
use serde_json::{Value, json};
use std::fs;

cases! {
    Any:
        cfg_72_scheduler_policies,
        cfg_72_other_policies_are_refused,
        cfg_72_exec_has_the_containers_scheduler,
        cfg_72_exec_may_have_a_scheduler_of_its_own,
        cfg_73_nice,
        cfg_73_values_that_do_not_fit_the_policy_are_refused,
        cfg_74_scheduler_flags,
        cfg_74_other_flags_are_refused,
        cfg_75_deadlines,
        cfg_75_inconsistent_deadlines_are_refused,
        cfg_77_io_priorities,
        cfg_77_io_priority_without_level_is_the_highest,
        cfg_77_other_io_priorities_are_refused,
        cfg_78_io_priority_covers_children_and_exec,
        cfg_83_other_lists_of_cpus_are_refused,
        lnx_161_personality,
        lnx_161_personality_of_exec,
        lnx_161_personality_may_be_filtered,
        lnx_161_other_domains_are_refused,
        lnx_162_personality_flags_are_refused,
    ;
    Any [RealTime]:
        cfg_72_73_real_time_policies,
    ;
    Any [TwoProcessors]:
        cfg_79_exec_cpus_leave_init_alone,
        cfg_79_exec_cpus_of_a_process_file,
        cfg_81_final_cpus,
        cfg_82_initial_cpus_stay_without_final_ones,
        peer_44_exec_is_not_pinned_by_its_caller,
        peer_44_run_is_not_pinned_by_its_caller,
    ;
    Any [Numa]:
        lnx_124_memory_policies,
        lnx_124_other_modes_are_refused,
        lnx_125_memory_policy_of_exec,
        lnx_125_other_nodes_are_refused,
        lnx_126_memory_policy_flags,
        lnx_126_other_memory_policy_flags_are_refused,
    ;
}

/// A running container of a single process, with this value in its configuration.
fn running(runtime: &Runtime, pointer: &str, value: Value) -> Container {
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/sleep", "1000"]).set(pointer, value);
    container.run_detached().ok();
    container
}

/// What `chrt` says of a process: policy, priority, and for deadlines the times.
fn scheduler(container: &Container, process: Process) -> Vec<String> {
    let output = container.host_call("chrt").args(["--pid", &process.pid.to_string()]).run().ok();
    output.stdout.lines().map(|line| line.rsplit_once(": ").map_or(line, |(_, value)| value).to_string()).collect()
}

/// What `ionice` says of a process.
fn io_priority(container: &Container, process: Process) -> String {
    container.host_call("ionice").args(["-p", &process.pid.to_string()]).run().ok().text().to_string()
}

/// `exec` of a process object like the container's own, with this value, in the background.
fn exec_with(container: &Container, name: &str, value: Value) -> Process {
    let mut process = json!({"args": ["/bin/sleep", "1000"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    process[name] = value;
    let (file, pid) = (container.folder().join("process.json"), container.folder().join("pid of it"));
    fs::write(&file, process.to_string()).unwrap();
    let call = container.call(["exec", "--detach", "--process"]).arg(file).arg("--pid-file").arg(&pid).arg(&container.id);
    container.settled(call.run()).ok();
    Process::new(fs::read_to_string(pid).unwrap().parse().unwrap())
}

fn cfg_72_scheduler_policies(runtime: &Runtime) {
    for policy in ["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE"] {
        let container = running(runtime, "/process/scheduler", json!({"policy": policy}));
        assert_eq!(scheduler(&container, container.process()), [policy, "0"]);
    }
}

fn cfg_72_73_real_time_policies(runtime: &Runtime) {
    for (policy, priority) in [("SCHED_FIFO", 5), ("SCHED_RR", 99)] {
        let container = running(runtime, "/process/scheduler", json!({"policy": policy, "priority": priority}));
        assert_eq!(scheduler(&container, container.process()), [policy, &priority.to_string()]);
    }
}

fn cfg_72_other_policies_are_refused(runtime: &Runtime) {
    let mut values = vec![("/process/scheduler", json!({"nice": 1}))];
    for policy in [json!("SCHED_ISO"), json!("BATCH"), json!(""), json!(3), json!("sched_batch")] {
        values.push(("/process/scheduler", json!({"policy": policy})));
    }
    values.extend([("/process/scheduler", json!([])), ("/process/scheduler", json!("SCHED_BATCH"))]);
    all_refused(&mut Container::sleeper(runtime), &values);
}

fn cfg_72_exec_has_the_containers_scheduler(runtime: &Runtime) {
    let container = running(runtime, "/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 19}));
    let process = container.exec_detached(&[], &["/bin/sleep", "1000"]);
    assert_eq!(scheduler(&container, process), ["SCHED_BATCH", "0"]);
    // As in runc, also for a process object that says nothing of it.
    let process = exec_with(&container, "env", json!([]));
    assert_eq!((scheduler(&container, process), process.stat(19)), (vec!["SCHED_BATCH".into(), "0".into()], Some("19".into())));
}

fn cfg_72_exec_may_have_a_scheduler_of_its_own(runtime: &Runtime) {
    let container = running(runtime, "/process/scheduler", json!({"policy": "SCHED_BATCH"}));
    let process = exec_with(&container, "scheduler", json!({"policy": "SCHED_IDLE"}));
    assert_eq!(scheduler(&container, process), ["SCHED_IDLE", "0"]);
    assert_eq!(scheduler(&container, container.process()), ["SCHED_BATCH", "0"]);
}

fn cfg_73_nice(runtime: &Runtime) {
    let container = running(runtime, "/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": -7, "priority": 0}));
    assert_eq!(container.process().stat(19).as_deref(), Some("-7"));
}

fn cfg_73_values_that_do_not_fit_the_policy_are_refused(runtime: &Runtime) {
    let values = [
        json!({"policy": "SCHED_BATCH", "nice": 20}),
        json!({"policy": "SCHED_BATCH", "nice": -21}),
        json!({"policy": "SCHED_OTHER", "nice": "1"}),
        json!({"policy": "SCHED_BATCH", "priority": 1}),
        json!({"policy": "SCHED_FIFO", "priority": 100}),
        json!({"policy": "SCHED_FIFO"}),
        json!({"policy": "SCHED_RR", "priority": -1}),
        json!({"policy": "SCHED_RR", "priority": 1, "runtime": 1}),
        json!({"policy": "SCHED_OTHER", "period": 1}),
    ];
    all_refused(&mut Container::sleeper(runtime), &values.map(|value| ("/process/scheduler", value)));
}

fn cfg_74_scheduler_flags(runtime: &Runtime) {
    let value = json!({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    let container = running(runtime, "/process/scheduler", value);
    assert_eq!(scheduler(&container, container.process()), ["SCHED_BATCH|SCHED_RESET_ON_FORK", "0"]);
}

fn cfg_74_other_flags_are_refused(runtime: &Runtime) {
    let flags = [json!(["SCHED_RESET_ON_FORK"]), json!(["SCHED_FLAG_STRANGE"]), json!([1]), json!("SCHED_FLAG_RECLAIM")];
    let values = flags.map(|flags| ("/process/scheduler", json!({"policy": "SCHED_BATCH", "flags": flags})));
    all_refused(&mut Container::sleeper(runtime), &values);
}

fn cfg_75_deadlines(runtime: &Runtime) {
    let value = json!({
        "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"], "nice": 19, "priority": 0,
        "runtime": 42000, "deadline": 100_000, "period": 1_000_000,
    });
    let container = running(runtime, "/process/scheduler", json!({"policy": "SCHED_BATCH"}));
    let process = exec_with(&container, "scheduler", value);
    let found = scheduler(&container, process);
    assert_eq!(found, ["SCHED_DEADLINE|SCHED_RESET_ON_FORK", "0", "42000/100000/1000000"]);
}

fn cfg_75_inconsistent_deadlines_are_refused(runtime: &Runtime) {
    let times = [(0, 0, 0), (2_000_000, 1_000_000, 1_000_000), (1_000_000, 3_000_000, 2_000_000)];
    let values = times.map(|(runtime, deadline, period)| {
        json!({"policy": "SCHED_DEADLINE", "runtime": runtime, "deadline": deadline, "period": period})
    });
    all_refused(&mut Container::sleeper(runtime), &values.map(|value| ("/process/scheduler", value)));
}

fn cfg_77_io_priorities(runtime: &Runtime) {
    for (class, priority, text) in [
        ("IOPRIO_CLASS_RT", 0, "realtime: prio 0"),
        ("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let container = running(runtime, "/process/ioPriority", json!({"class": class, "priority": priority}));
        assert_eq!(io_priority(&container, container.process()), text);
    }
}

fn cfg_77_io_priority_without_level_is_the_highest(runtime: &Runtime) {
    let container = running(runtime, "/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE"}));
    assert_eq!(io_priority(&container, container.process()), "best-effort: prio 0");
}

fn cfg_77_other_io_priorities_are_refused(runtime: &Runtime) {
    let values = [
        json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
        json!({"class": "IOPRIO_CLASS_BE", "priority": -1}),
        json!({"class": "IOPRIO_CLASS_BE", "priority": "1"}),
        json!({"class": "IOPRIO_CLASS_NONE", "priority": 1}),
        json!({"class": "BE", "priority": 1}),
        json!({"priority": 1}),
        json!(4),
    ];
    all_refused(&mut Container::sleeper(runtime), &values.map(|value| ("/process/ioPriority", value)));
}

fn cfg_78_io_priority_covers_children_and_exec(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "sleep 1000 & wait");
    container.bundle.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
    container.run_detached().ok();
    let init = container.process();
    let child = || Process::all().into_iter().find(|process| process.status("PPid") == Some(init.pid.to_string()));
    let child = integration::until("the child", child);
    assert_eq!(io_priority(&container, child), "best-effort: prio 6");
    let process = container.exec_detached(&[], &["/bin/sleep", "1000"]);
    assert_eq!(io_priority(&container, process), "best-effort: prio 6");
    let process = exec_with(&container, "ioPriority", json!({"class": "IOPRIO_CLASS_IDLE"}));
    assert_eq!(io_priority(&container, process), "idle");
}

/// The CPUs of a process.
fn cpus(process: Process) -> String {
    process.status("Cpus_allowed_list").expect("it is alive")
}

fn cfg_79_exec_cpus_leave_init_alone(runtime: &Runtime) {
    let all = cpus(Process::new(std::process::id().cast_signed()));
    let container = running(runtime, "/process/execCPUAffinity", json!({"initial": "0", "final": "1"}));
    assert_eq!(cpus(container.process()), all);
    assert_eq!(cpus(container.exec_detached(&[], &["/bin/sleep", "1000"])), "1");
}

fn cfg_79_exec_cpus_of_a_process_file(runtime: &Runtime) {
    let container = running(runtime, "/process/execCPUAffinity", json!({"initial": "0", "final": "1"}));
    assert_eq!(cpus(exec_with(&container, "execCPUAffinity", json!({"initial": "1", "final": "0"}))), "0");
    assert_eq!(cpus(exec_with(&container, "env", json!([]))), "1");
}

fn cfg_81_final_cpus(runtime: &Runtime) {
    let container = running(runtime, "/annotations", json!({}));
    for (list, found) in [("1", "1"), ("0-1", "0-1"), ("0,1", "0-1"), (" 1 , ", "1"), ("1,4000", "1")] {
        assert_eq!(cpus(exec_with(&container, "execCPUAffinity", json!({"final": list}))), found, "{list:?}");
    }
}

fn cfg_82_initial_cpus_stay_without_final_ones(runtime: &Runtime) {
    let container = running(runtime, "/annotations", json!({}));
    for affinity in [json!({"initial": "1"}), json!({"initial": "1", "final": ""}), json!({"initial": "1", "final": null})] {
        assert_eq!(cpus(exec_with(&container, "execCPUAffinity", affinity)), "1");
    }
}

fn cfg_83_other_lists_of_cpus_are_refused(runtime: &Runtime) {
    let lists = [json!("0-"), json!("a"), json!("5-2"), json!("-1"), json!("0-9876543210"), json!(0), json!(",")];
    let values = lists.map(|list| ("/process/execCPUAffinity", json!({"final": list})));
    all_refused(&mut Container::sleeper(runtime), &values);
}

fn pinned(output: Output, pinned: &str) {
    assert_ne!(output.ok().text(), pinned);
}

fn peer_44_exec_is_not_pinned_by_its_caller(runtime: &Runtime) {
    let container = running(runtime, "/annotations", json!({}));
    let words = ["exec", &container.id, "/bin/grep", "Cpus_allowed_list", "/proc/self/status"];
    pinned(container.call(words).wrapped(["taskset", "-c", "0"]).run(), "Cpus_allowed_list:\t0");
}

fn peer_44_run_is_not_pinned_by_its_caller(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/grep", "Cpus_allowed_list", "/proc/self/status"]);
    pinned(container.run_call(&[]).wrapped(["taskset", "-c", "0"]).run(), "Cpus_allowed_list:\t0");
}

/// What the kernel says of the memory of a container with this policy.
fn memory_policy(runtime: &Runtime, policy: Value) -> String {
    let mut container = Container::sh(runtime, "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2");
    container.bundle.set("/linux/memoryPolicy", policy);
    container.run().ok().text().to_string()
}

fn lnx_124_memory_policies(runtime: &Runtime) {
    for (policy, text) in [
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": []}), "prefer:0"),
    ] {
        assert_eq!(memory_policy(runtime, policy.clone()), text, "{policy}");
    }
}

fn lnx_124_other_modes_are_refused(runtime: &Runtime) {
    let values = [json!({}), json!({"nodes": "0"}), json!({"mode": "INTERLEAVE", "nodes": "0"}), json!({"mode": 1})];
    let mut container = Container::sleeper(runtime);
    all_refused(&mut container, &values.clone().map(|value| ("/linux/memoryPolicy", value)));
    for value in &values[..3] {
        container.bundle.set("/linux/memoryPolicy", value.clone());
        container.create().fails_with("invalid memory policy mode");
    }
}

fn lnx_125_memory_policy_of_exec(runtime: &Runtime) {
    let policy = json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]});
    let container = running(runtime, "/linux/memoryPolicy", policy);
    let found = container.exec_sh("head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2").ok();
    assert_eq!(found.text(), "prefer=relative:0");
}

fn lnx_125_other_nodes_are_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    for (mode, nodes, text) in [
        ("MPOL_DEFAULT", "0-7", "mode requires 0 nodes but got 8"),
        ("MPOL_LOCAL", "0", "mode requires 0 nodes but got 1"),
        ("MPOL_BIND", "", "mode requires at least one node but got 0"),
        ("MPOL_INTERLEAVE", "", "mode requires at least one node but got 0"),
        ("MPOL_BIND", "0-9876543210", "invalid memory policy node"),
        ("MPOL_BIND", "x", "invalid memory policy node"),
    ] {
        container.bundle.set("/linux/memoryPolicy", json!({"mode": mode, "nodes": nodes}));
        container.create().fails_with(text);
    }
    // The kernel refuses a node that is not there.
    all_refused(&mut container, &[("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "1000"}))]);
}

fn lnx_126_memory_policy_flags(runtime: &Runtime) {
    let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    assert_eq!(memory_policy(runtime, policy), "bind=static:0");
}

fn lnx_126_other_memory_policy_flags_are_refused(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let with = |flags: Value| json!({"mode": "MPOL_BIND", "nodes": "0", "flags": flags});
    container.bundle.set("/linux/memoryPolicy", with(json!(["MPOL_F_RELATIVE_NODES", "badflag"])));
    container.create().fails_with("invalid memory policy flag");
    let both = with(json!(["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]));
    all_refused(&mut container, &[("/linux/memoryPolicy", both)]);
}

/// The kernel's number for the domain. (`uname -m` follows it, but not in user-mode Linux.)
const DOMAIN: &str = "/proc/self/personality";

fn domain_of(runtime: &Runtime, domain: &str) -> String {
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/cat", DOMAIN]);
    container.bundle.set("/linux/personality", json!({"domain": domain, "flags": []}));
    container.run().ok().text().to_string()
}

fn lnx_161_personality(runtime: &Runtime) {
    assert_eq!(domain_of(runtime, "LINUX32"), "00000008");
    assert_eq!(domain_of(runtime, "LINUX"), "00000000");
}

fn lnx_161_personality_of_exec(runtime: &Runtime) {
    let container = running(runtime, "/linux/personality", json!({"domain": "LINUX32"}));
    assert_eq!(container.exec(["/bin/cat", DOMAIN]).ok().text(), "00000008");
}

fn lnx_161_personality_may_be_filtered(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/cat", DOMAIN]);
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]});
    container.bundle.set("/linux/personality", json!({"domain": "LINUX32"})).set("/linux/seccomp", filter);
    assert_eq!(container.run().ok().text(), "00000008");
}

fn lnx_161_other_domains_are_refused(runtime: &Runtime) {
    let values = [json!({"domain": "LINUX64"}), json!({}), json!({"domain": ""}), json!({"domain": 8})];
    all_refused(&mut Container::sleeper(runtime), &values.map(|value| ("/linux/personality", value)));
}

fn lnx_162_personality_flags_are_refused(runtime: &Runtime) {
    let value = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]});
    all_refused(&mut Container::sleeper(runtime), &[("/linux/personality", value)]);
}
