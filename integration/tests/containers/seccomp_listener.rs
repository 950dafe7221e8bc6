//! `linux.seccomp` with `SCMP_ACT_NOTIFY`: an agent gets the filter's listener and answers.

use integration::{Agent, Answer, Container, Runtime, Snapshot};
use serde_json::{Value, json};
use std::os::unix::net::UnixDatagram;

cases! {
    Any:
        lnx_133_listener_is_a_stream_socket,
        lnx_134_one_state_for_each_connection,
        lnx_135_without_an_agent_create_fails,
        lnx_135_without_an_agent_exec_fails,
        lnx_136_notify_needs_a_listener,
        lnx_137_descriptor_is_the_listener,
        lnx_138_metadata_arrives,
        lnx_142_notified_calls_go_on_or_fail,
        lnx_142_notified_calls_do_not_exist_without_an_agent,
        lnx_142_what_a_start_takes_can_be_notified,
        lnx_142_write_and_the_default_cannot_be_notified,
        lnx_132_wait_killable_recv_works_with_a_listener,
        lnx_145_146_descriptors_come_with_the_first_of_many_messages,
        lnx_147_state_on_create,
        lnx_147_state_on_exec,
        lnx_148_exec_uses_the_filter_of_create,
        lnx_148_hooks_of_start_get_no_listener,
    ;
}

/// A profile that asks about these calls and allows all others.
fn asking(agent: &str, names: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "listenerPath": agent,
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    })
}

fn agent(container: &mut Container, answer: Answer, names: &[&str]) -> Agent {
    let agent = Agent::new(container.folder(), answer);
    container.bundle.writable().set("/linux/seccomp", asking(agent.path(), names));
    agent
}

/// Every user and privilege that a filter is installed with.
const EVERYONE: [(u32, bool); 4] = [(0, true), (0, false), (1000, true), (1000, false)];

fn become_one_of(container: &mut Container, (uid, no_new_privileges): (u32, bool)) {
    container.bundle.set("/process/user", json!({"uid": uid, "gid": uid}));
    container.bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
}

#[track_caller]
fn refused(container: &Container, field: &str) {
    let before = Snapshot::take(container);
    let output = container.create().fails();
    assert!(!container.runtime.is_ours() || output.stderr.contains(field), "{output:?}");
    before.assert_unchanged(container);
}

fn lnx_133_listener_is_a_stream_socket(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let path = container.folder().join("datagrams");
    let _socket = UnixDatagram::bind(&path).expect("a socket");
    container.bundle.set("/linux/seccomp", asking(path.to_str().expect("text"), &["mkdir"]));
    refused(&container, "linux.seccomp.listenerPath");
    container.bundle.set("/linux/seccomp", asking("/etc/passwd", &["mkdir"]));
    refused(&container, "linux.seccomp.listenerPath");
}

fn lnx_134_one_state_for_each_connection(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let agent = agent(&mut container, Answer::Continue, &["mkdir"]);
    container.run_detached().ok();
    // Each is read to the end of its connection.
    assert!(agent.told().state.is_object());
    for _ in 0..2 {
        container.exec_sh("mkdir /tmp/x && rmdir /tmp/x").ok();
        assert!(agent.told().state.is_object());
    }
    assert!(agent.is_idle());
}

fn lnx_135_without_an_agent_create_fails(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    for path in ["/nowhere/socket", "@abstract"] {
        container.bundle.set("/linux/seccomp", asking(path, &["mkdir"]));
        refused(&container, "linux.seccomp.listenerPath");
    }
}

fn lnx_135_without_an_agent_exec_fails(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let agent = agent(&mut container, Answer::Continue, &["mkdir"]);
    container.run_detached().ok();
    std::fs::remove_file(agent.path()).expect("the socket is there");
    let output = container.exec_sh("echo ran").fails();
    assert!(!output.stdout.contains("ran"), "{output:?}");
    assert!(!runtime.is_ours() || output.stderr.contains("linux.seccomp.listenerPath"), "{output:?}");
    assert_eq!(container.status(), "running");
}

fn lnx_136_notify_needs_a_listener(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let mut profile = asking("", &["mkdir"]);
    container.bundle.set("/linux/seccomp", profile.clone());
    refused(&container, "linux.seccomp.listenerPath");
    profile.as_object_mut().expect("an object").remove("listenerPath");
    container.bundle.set("/linux/seccomp", profile);
    refused(&container, "linux.seccomp.listenerPath");
}

fn lnx_137_descriptor_is_the_listener(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "mkdir /tmp/x 2>&1; echo end");
    let agent = agent(&mut container, Answer::Errno(123), &["mkdir"]);
    let output = container.run().ok();
    assert!(output.stdout.contains("No medium found") && output.stdout.contains("end"), "{output:?}");
    let told = agent.told();
    assert_eq!(told.state["fds"], json!(["seccompFd"]));
    assert_eq!(told.descriptors.iter().sum::<usize>(), 1);
}

fn lnx_138_metadata_arrives(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "true");
    let agent = agent(&mut container, Answer::Continue, &["mkdir"]);
    container.run().ok();
    assert_eq!(agent.told().state.get("metadata"), None);
    let text = "any \"text\" at all \u{1f980}";
    container.bundle.set("/linux/seccomp/listenerMetadata", json!(text));
    container.run().ok();
    assert_eq!(agent.told().state["metadata"], json!(text));
}

fn lnx_142_notified_calls_go_on_or_fail(runtime: &Runtime) {
    for (answer, said) in [(Answer::Errno(123), "No medium found"), (Answer::Continue, "made")] {
        for one in EVERYONE {
            let mut container = Container::sh(runtime, "mkdir /tmp/x 2>&1 && echo made; echo end");
            let _agent = agent(&mut container, answer, &["mkdir"]);
            become_one_of(&mut container, one);
            let output = container.run().ok();
            assert!(output.stdout.contains(said) && output.stdout.contains("end"), "{one:?}: {output:?}");
        }
    }
}

fn lnx_142_notified_calls_do_not_exist_without_an_agent(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "sleep 0.3; mkdir /tmp/x 2>&1; echo end");
    let _agent = agent(&mut container, Answer::Gone, &["mkdir"]);
    let output = container.run().ok();
    assert!(output.stdout.contains("not implemented") && output.stdout.contains("end"), "{output:?}");
}

fn lnx_142_what_a_start_takes_can_be_notified(runtime: &Runtime) {
    let names = ["execve", "openat", "open", "read", "close", "fcntl", "capset", "prctl", "poll"];
    for one in EVERYONE {
        let mut container = Container::sh(runtime, "echo ran; exec sleep 1000");
        let _agent = agent(&mut container, Answer::Continue, &names);
        become_one_of(&mut container, one);
        container.run_detached().ok();
        container.wait_stdout("ran");
        assert_eq!(container.exec_sh("echo $((1+2))").ok().text(), "3");
    }
}

fn lnx_142_write_and_the_default_cannot_be_notified(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let agent = agent(&mut container, Answer::Continue, &["mkdir", "write"]);
    container.create().fails_with("SCMP_ACT_NOTIFY cannot be used for the write syscall");
    let mut profile = asking(agent.path(), &["mkdir"]);
    profile["defaultAction"] = json!("SCMP_ACT_NOTIFY");
    container.bundle.set("/linux/seccomp", profile);
    container.create().fails_with("SCMP_ACT_NOTIFY cannot be used as default action");
}

fn lnx_132_wait_killable_recv_works_with_a_listener(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "mkdir /tmp/x 2>&1; echo end");
    let _agent = agent(&mut container, Answer::Errno(123), &["mkdir"]);
    container.bundle.set("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]));
    assert!(container.run().ok().stdout.contains("No medium found"));
}

fn lnx_145_146_descriptors_come_with_the_first_of_many_messages(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "mkdir /tmp/x 2>&1; echo end");
    let agent = agent(&mut container, Answer::Errno(123), &["mkdir"]);
    let long = "x".repeat(1 << 20);
    container.bundle.set("/annotations", json!({"org.example.long": long}));
    assert!(container.run().ok().stdout.contains("No medium found"));
    let told = agent.told();
    assert_eq!(told.state["state"]["annotations"]["org.example.long"], json!(long));
    assert_eq!(told.descriptors[0], 1);
    assert_eq!(told.descriptors.iter().sum::<usize>(), 1);
}

fn lnx_147_state_on_create(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let agent = agent(&mut container, Answer::Continue, &["mkdir"]);
    container.bundle.set("/annotations", json!({"org.example.key": "value"}));
    container.create().ok();
    let told = agent.told().state;
    let state = container.state();
    assert!(told["ociVersion"].is_string(), "{told}");
    assert_eq!(told["pid"], state["pid"]);
    assert_eq!(told["state"]["status"], "creating");
    for field in ["id", "pid", "bundle", "annotations", "ociVersion"] {
        assert_eq!(told["state"][field], state[field], "{field}");
    }
}

fn lnx_147_state_on_exec(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let agent = agent(&mut container, Answer::Continue, &["mkdir"]);
    container.run_detached().ok();
    let first = agent.told().state;
    let process = container.exec_detached(&[], &["sleep", "1000"]);
    let told = agent.told().state;
    assert_eq!((&told["pid"], &told["state"]["pid"]), (&json!(process.pid), &first["pid"]));
    assert_eq!((&told["state"]["status"], &told["state"]["id"]), (&json!("running"), &json!(container.id)));
}

fn lnx_148_exec_uses_the_filter_of_create(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 123});
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    container.bundle.writable().set("/linux/seccomp", profile);
    container.run_detached().ok();
    // What is in the bundle now is none of exec's business.
    container.bundle.set("/linux/seccomp", Value::Null);
    let output = container.exec_sh("mkdir /tmp/x 2>&1; grep ^Seccomp: /proc/self/status").ok();
    assert!(output.stdout.contains("No medium found") && output.stdout.contains("Seccomp:\t2"), "{output:?}");
    if runtime.is_ours() {
        let file = container.root.join(&container.id).join("filter.bpf");
        std::fs::write(&file, "x").expect("the filter is kept in the state directory");
        container.exec_sh("echo ran").fails_with("filter.bpf");
        std::fs::remove_file(&file).expect("it is there");
        container.exec_sh("echo ran").fails_with("filter.bpf");
    }
}

fn lnx_148_hooks_of_start_get_no_listener(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /tmp/seen");
    let _agent = agent(&mut container, Answer::Continue, &["mkdir"]);
    // crun takes it for a failure when nobody reads the state.
    let script = "cat >/dev/null; ls /proc/self/fd | wc -l > /tmp/seen";
    container.bundle.set("/hooks/startContainer", json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]));
    assert_eq!(container.run().ok().text(), "4", "three streams and the directory itself");
}
