//! `linux.sysctl`.

use super::config_errors::refuses;
use super::values::all_refused;
use integration::{Container, Runtime};
use serde_json::json;
use std::fs;

cases! {
    Any:
        lnx_127_sysctls_are_set_for_the_container_only,
        lnx_127_readonly_proc_does_not_matter,
        lnx_128_both_separators,
        lnx_128_sysctls_of_the_host_are_refused,
        lnx_128_without_the_namespace_they_are_refused,
        lnx_128_unknown_names_and_values_are_refused,
    ;
    Any [UserNs]:
        lnx_127_sysctls_in_a_user_namespace,
    ;
}

const SOME: [(&str, &str); 5] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv4.conf.lo.forwarding", "1"),
    ("kernel.msgmax", "9000"),
    ("kernel.shm_rmid_forced", "1"),
    ("fs.mqueue.msg_max", "12"),
];

fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

fn on_the_host() -> Vec<String> {
    SOME.iter().map(|(name, _)| fs::read_to_string(path(name)).unwrap_or_default()).collect()
}

/// The container's program finds the values.
fn finds(container: &mut Container) {
    let paths: Vec<String> = SOME.iter().map(|(name, _)| path(name)).collect();
    container.bundle.sh(&format!("cat {}", paths.join(" ")));
    for (name, value) in SOME {
        container.bundle.set(&format!("/linux/sysctl/{name}"), json!(value));
    }
    let values: Vec<String> = container.run().ok().no_complaint().stdout.lines().map(str::to_string).collect();
    assert_eq!(values, SOME.map(|(_, value)| value));
}

fn lnx_127_sysctls_are_set_for_the_container_only(runtime: &Runtime) {
    let before = on_the_host();
    finds(&mut Container::new(runtime));
    assert_eq!(on_the_host(), before);
}

fn lnx_127_readonly_proc_does_not_matter(runtime: &Runtime) {
    let mut container = Container::new(runtime);
    container.bundle.set("/mounts/0/options", json!(["ro", "nosuid", "nodev", "noexec"]));
    finds(&mut container);
    container.bundle.sh("echo 0 >/proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward");
    let output = container.run().ok();
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    assert_eq!(output.text(), "1");
}

fn lnx_127_sysctls_in_a_user_namespace(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
    container.bundle.user_namespace(100_000).set("/linux/sysctl/net.ipv4.ip_unprivileged_port_start", json!("80"));
    assert_eq!(container.run().ok().no_complaint().text(), "80");
}

fn lnx_128_both_separators(runtime: &Runtime) {
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/ipv4/conf/lo/forwarding";
    let mut container = Container::sh(runtime, script);
    let both = json!({"net/ipv4/ip_forward": "1", "kernel/msgmax": "9000", "net.ipv4.conf.lo.forwarding": "1"});
    container.bundle.set("/linux/sysctl", both);
    assert_eq!(container.run().ok().no_complaint().stdout, "1\n9000\n1\n");
}

fn lnx_128_sysctls_of_the_host_are_refused(runtime: &Runtime) {
    let names = ["vm.swappiness", "vm/swappiness", "kernel.panic", "kernel.core_pattern", "fs.file-max", "dev.cdrom.info"];
    let values: Vec<_> = names.iter().map(|name| (format!("/linux/sysctl/{}", name.replace('/', "~1")), json!("1"))).collect();
    let values: Vec<_> = values.iter().map(|(pointer, value)| (pointer.as_str(), value.clone())).collect();
    all_refused(&mut Container::sleeper(runtime), &values);
}

fn lnx_128_without_the_namespace_they_are_refused(runtime: &Runtime) {
    let cases = [
        ("ipc", "kernel.shmmax"),
        ("ipc", "kernel.msgmax"),
        ("ipc", "fs.mqueue.msg_max"),
        ("network", "net.ipv4.ip_forward"),
        ("uts", "kernel.domainname"),
    ];
    for (namespace, name) in cases {
        let before = fs::read_to_string(path(name)).unwrap();
        let message = refuses(runtime, |bundle| {
            bundle.remove("/hostname").without_namespace(namespace);
            bundle.set(&format!("/linux/sysctl/{name}"), json!(before.trim()))
        });
        assert!(message.contains(name), "{message}");
        assert_eq!(fs::read_to_string(path(name)).unwrap(), before);
    }
}

fn lnx_128_unknown_names_and_values_are_refused(runtime: &Runtime) {
    let cases = [
        ("net.nowhere.at_all", "1"),
        ("net.ipv4", "1"),
        ("net.ipv4.ip_forward", "many"),
        ("net.../vm.swappiness", "60"),
        ("net/../vm/swappiness", "60"),
        ("net", "1"),
        ("", "1"),
    ];
    for (name, value) in cases {
        refuses(runtime, |bundle| bundle.edit(|config| config["linux"]["sysctl"] = json!({name: value})));
    }
}
