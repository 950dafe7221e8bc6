//! `process.user`, hostname and domainname, and a configuration without `linux`.

use super::config_errors::refuses;
use integration::mountinfo::spare_the_host;
use integration::{Container, Process, Runtime};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;

cases! {
    Any:
        cfg_84_85_user_and_group_are_those_of_the_container,
        cfg_84_absent_ids_are_0,
        cfg_84_the_greatest_number_is_no_id,
        cfg_86_umask_is_applied,
        cfg_87_umask_unset_is_022,
        cfg_88_additional_groups_are_the_list,
        cfg_88_groups_where_setgroups_was_given_up,
        cfg_90_hostname_is_the_containers,
        cfg_90_hostname_of_a_joined_namespace,
        cfg_90_empty_hostname_is_none,
        cfg_91_domainname_is_the_containers,
        cfg_91_domainname_and_the_sysctl_of_the_same_name,
        decision_12_domainname_without_uts_namespace,
        cfg_92_linux_is_optional,
    ;
    Any [Setpriv]:
        cfg_88_no_group_of_the_caller_stays,
    ;
    Any [UserNs]:
        cfg_84_85_ids_are_mapped,
        cfg_84_unmapped_ids_are_refused,
        cfg_88_additional_groups_are_mapped,
    ;
}

const IDS: &str = "grep -E '^(Uid|Gid|Groups):' /proc/self/status | tr -s '\\t ' ' '";

fn ids(container: &Container) -> String {
    let text = container.run().ok().no_complaint().stdout;
    text.lines().map(str::trim_end).collect::<Vec<_>>().join(";")
}

fn cfg_84_85_user_and_group_are_those_of_the_container(runtime: &Runtime) {
    let mut container = Container::sh(runtime, IDS);
    for (uid, gid) in [(0, 0), (1000, 2000), (0, 7), (65534, 2_000_000_000)] {
        container.bundle.set("/process/user", json!({"uid": uid, "gid": gid}));
        let wanted = format!("Uid: {uid} {uid} {uid} {uid};Gid: {gid} {gid} {gid} {gid};Groups:");
        assert_eq!(ids(&container), wanted);
    }
}

fn cfg_84_absent_ids_are_0(runtime: &Runtime) {
    let mut container = Container::sh(runtime, IDS);
    for user in [json!({}), json!({"uid": 0}), json!({"gid": 0})] {
        container.bundle.set("/process/user", user);
        assert_eq!(ids(&container), "Uid: 0 0 0 0;Gid: 0 0 0 0;Groups:");
    }
}

fn cfg_84_the_greatest_number_is_no_id(runtime: &Runtime) {
    for user in [json!({"uid": u32::MAX, "gid": 0}), json!({"uid": 0, "gid": u32::MAX})] {
        refuses(runtime, |bundle| bundle.set("/process/user", user));
    }
}

/// The ids of the container's init as the host sees them.
fn on_the_host(container: &Container, field: &str) -> Vec<u32> {
    let line = container.process().status(field).expect("a status");
    line.split_whitespace().map(|word| word.parse().expect("an id")).collect()
}

fn cfg_84_85_ids_are_mapped(runtime: &Runtime) {
    let mut container = Container::sh(runtime, &format!("{IDS}; echo ready; sleep 1000"));
    container.bundle.user_namespace(100_000).set("/process/user", json!({"uid": 1000, "gid": 2000}));
    container.run_detached().ok();
    let text = container.wait_stdout("ready");
    assert!(text.contains("Uid: 1000 1000 1000 1000\nGid: 2000 2000 2000 2000\n"), "{text}");
    assert_eq!(on_the_host(&container, "Uid"), [101_000; 4]);
    assert_eq!(on_the_host(&container, "Gid"), [102_000; 4]);
}

fn cfg_84_unmapped_ids_are_refused(runtime: &Runtime) {
    for user in [json!({"uid": 65536, "gid": 0}), json!({"uid": 0, "gid": 65536})] {
        refuses(runtime, |bundle| bundle.user_namespace(100_000).set("/process/user", user));
    }
    let groups = json!({"uid": 0, "gid": 0, "additionalGids": [1, 65536]});
    refuses(runtime, |bundle| bundle.user_namespace(100_000).set("/process/user", groups));
}

fn umask_with(runtime: &Runtime, mask: Option<Value>) -> String {
    let mut container = Container::sh(runtime, "umask; touch /tmp/x; mkdir /tmp/y; stat -c %a /tmp/x /tmp/y");
    container.bundle.mount("/tmp", "tmpfs", "tmpfs", &["mode=1777"]);
    if let Some(mask) = mask {
        container.bundle.set("/process/user/umask", mask);
    }
    let output = container.run_call(&[]).after("umask 077").run().ok().no_complaint();
    output.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cfg_86_umask_is_applied(runtime: &Runtime) {
    assert_eq!(umask_with(runtime, Some(json!(0o027))), "0027 640 750");
    assert_eq!(umask_with(runtime, Some(json!(0))), "0000 666 777");
    assert_eq!(umask_with(runtime, Some(json!(0o777))), "0777 0 0");
}

fn cfg_87_umask_unset_is_022(runtime: &Runtime) {
    assert_eq!(umask_with(runtime, None), "0022 644 755");
    assert_eq!(umask_with(runtime, Some(Value::Null)), "0022 644 755");
}

fn cfg_88_additional_groups_are_the_list(runtime: &Runtime) {
    let mut container = Container::sh(runtime, IDS);
    container.bundle.set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [7, 5, 2_000_000_000]}));
    assert!(ids(&container).ends_with("Groups: 5 7 2000000000"), "{}", ids(&container));
    let many: Vec<u32> = (1..=300).collect();
    container.bundle.set("/process/user/additionalGids", json!(many));
    assert_eq!(ids(&container).rsplit_once("Groups: ").unwrap().1.split(' ').count(), 300);
}

fn cfg_88_no_group_of_the_caller_stays(runtime: &Runtime) {
    let mut container = Container::sh(runtime, IDS);
    let caller = ["setpriv", "--groups", "5,6,7", "--"];
    for groups in [None, Some(json!([])), Some(Value::Null)] {
        container.bundle.set("/process/user", json!({"uid": 0, "gid": 0}));
        if let Some(groups) = groups {
            container.bundle.set("/process/user/additionalGids", groups);
        }
        let output = container.run_call(&[]).wrapped(caller).run().ok();
        assert_eq!(output.stdout.lines().last().map(str::trim_end), Some("Groups:"), "{output}");
    }
}

fn cfg_88_additional_groups_are_mapped(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.user_namespace(100_000).set("/process/user/additionalGids", json!([5, 65535]));
    container.run_detached().ok();
    assert_eq!(on_the_host(&container, "Groups"), [100_005, 165_535]);
}

fn host_name(kind: &str) -> String {
    fs::read_to_string(format!("/proc/sys/kernel/{kind}")).unwrap()
}

fn cfg_88_groups_where_setgroups_was_given_up(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /proc/self/setgroups");
    // The group of terminals is not mapped there.
    container.bundle.set("/mounts/2/options", json!(["newinstance", "ptmxmode=0666"]));
    let in_a_namespace = ["unshare", "--user", "--map-root-user", "--mount"];
    assert_eq!(container.run_call(&[]).wrapped(in_a_namespace).run().ok().text(), "deny");
    container.bundle.set("/process/user/additionalGids", json!([5]));
    container.run_call(&[]).wrapped(in_a_namespace).run().fails();
}

fn cfg_90_hostname_is_the_containers(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "uname -n; hostname; cat /proc/sys/kernel/hostname");
    let before = host_name("hostname");
    let longest = "n".repeat(64);
    for name in ["a-name", "name.example.org", &longest] {
        container.bundle.set("/hostname", json!(name));
        assert_eq!(container.run().ok().no_complaint().stdout, format!("{name}\n{name}\n{name}\n"));
    }
    assert_eq!(host_name("hostname"), before);
    refuses(runtime, |bundle| bundle.set("/hostname", json!("n".repeat(65))));
}

fn cfg_90_hostname_of_a_joined_namespace(runtime: &Runtime) {
    let mut first = Container::sh(runtime, "while [ \"$(hostname)\" = first ]; do sleep 0.1; done; hostname; sleep 1000");
    first.bundle.set("/hostname", json!("first"));
    first.run_detached().ok();
    let mut second = first.beside();
    second.bundle.join_namespace("uts", &format!("/proc/{}/ns/uts", first.pid())).set("/hostname", json!("second"));
    second.bundle.args(["/bin/hostname"]);
    assert_eq!(second.run().ok().no_complaint().text(), "second");
    assert_eq!(first.wait_stdout("\n"), "second\n");
}

fn cfg_90_empty_hostname_is_none(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "hostname");
    container.bundle.set("/hostname", json!("")).without_namespace("uts");
    assert_eq!(container.run().ok().no_complaint().stdout, host_name("hostname"));
    container.bundle.namespace("uts").remove("/hostname");
    assert_eq!(container.run().ok().no_complaint().stdout, host_name("hostname"));
}

fn cfg_91_domainname_is_the_containers(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /proc/sys/kernel/domainname");
    let before = host_name("domainname");
    container.bundle.set("/domainname", json!("example.org"));
    assert_eq!(container.run().ok().no_complaint().text(), "example.org");
    assert_eq!(host_name("domainname"), before);
}

/// The sysctl is written later, as in runc.
fn cfg_91_domainname_and_the_sysctl_of_the_same_name(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /proc/sys/kernel/domainname");
    container.bundle.set("/domainname", json!("field.example")).set("/linux/sysctl/kernel.domainname", json!("sysctl.example"));
    assert_eq!(container.run().ok().no_complaint().text(), "sysctl.example");
}

fn decision_12_domainname_without_uts_namespace(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| bundle.remove("/hostname").set("/domainname", json!("x")).without_namespace("uts"));
    assert!(message.contains("unable to set domainname without a private UTS namespace"), "{message}");
}

/// D15: all namespaces are the runtime's.
fn cfg_92_linux_is_optional(runtime: &Runtime) {
    spare_the_host(runtime);
    let script = "echo mark >/tmp/mark; cat /tmp/mark /etc/mark; ls -d /root; echo ready; sleep 1000";
    let mut container = Container::sh(runtime, script);
    container.bundle.file("/etc/mark", "inside\n", 0o644);
    container.bundle.remove("/linux").remove("/hostname").set("/mounts", json!([])).writable();
    container.run_detached().ok();
    assert_eq!(container.wait_stdout("ready"), "mark\ninside\n/root\nready\n");
    let (init, own) = (container.process(), Process::new(std::process::id().cast_signed()));
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        assert_eq!(init.namespace(kind), own.namespace(kind), "{kind}");
    }
    assert!(init.cgroup().unwrap().ends_with(&container.id), "{:?}", init.cgroup());
    assert_eq!(fs::metadata(container.bundle.inside("/tmp/mark")).unwrap().uid(), 0);
    container.delete_force().ok();
}
