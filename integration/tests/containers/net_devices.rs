//! `linux.netDevices`: devices of the host in the container's network namespace.
//!
//! The host is a network namespace of the test's own, in which the runtime is called.

use integration::{Container, Output, Runtime, Snapshot};
use serde_json::{Value, json};
use std::process::Command;

cases! {
    Any [Ip, Unshare]:
        lnx_44_devices_move_into_the_container,
        lnx_44_devices_move_with_a_user_namespace,
        lnx_45_devices_are_renamed,
        lnx_46_what_cannot_be_moved_is_refused,
        lnx_46_bad_names_are_refused,
        lnx_46_a_device_that_cannot_move_brings_the_others_back,
        lnx_47_a_name_that_is_taken_is_refused,
        lnx_48_a_pattern_gets_a_free_number,
        lnx_49_attributes_and_addresses_are_kept,
        lnx_50_devices_are_up,
        lnx_51_devices_may_be_gone_at_the_end,
        lnx_52_devices_stay_in_a_namespace_that_stays,
        lnx_127_sysctls_of_moved_devices_are_set,
        rt_37_devices_of_a_failed_create_come_back,
    ;
}

/// A network namespace, kept by a file in the test's folder.
struct Net(String);

impl Net {
    fn new(container: &Container, name: &str) -> Net {
        let file = container.folder().join(name);
        std::fs::write(&file, "").expect("a file to mount it on");
        let net = Net(file.to_str().expect("the path is text").to_string());
        command("unshare", &[&format!("--net={}", net.0), "true"]);
        net
    }

    fn path(&self) -> &str {
        &self.0
    }

    /// A pair of devices.
    fn pair(&self, one: &str, other: &str) {
        self.ip(&["link", "add", one, "type", "veth", "peer", "name", other]);
    }

    fn ip(&self, words: &[&str]) -> String {
        command("nsenter", &[&[&format!("--net={}", self.0), "ip"], words].concat())
    }

    /// The names of its devices, without what `ip` says of their peers.
    fn devices(&self) -> Vec<String> {
        let name = |line: &str| line.split(": ").nth(1).and_then(|name| name.split('@').next()).map(str::to_string);
        let mut names: Vec<String> = self.ip(&["-oneline", "link"]).lines().filter_map(name).collect();
        names.sort();
        names
    }
}

#[track_caller]
fn command(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().expect("it is installed");
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A container that runs `script`, and the host that it is called in, which has the devices `a0` and `b0`.
fn container(runtime: &Runtime, script: &str, devices: Value) -> (Container, Net) {
    let mut container = Container::sh(runtime, script);
    container.bundle.set("/linux/netDevices", devices);
    let host = Net::new(&container, "host");
    host.pair("a0", "b0");
    (container, host)
}

fn run(container: &Container, host: &Net) -> Output {
    container.run_call(&[]).wrapped(["nsenter", &format!("--net={}", host.path())]).run()
}

fn create(container: &Container, host: &Net) -> Output {
    container.create_call(&[]).wrapped(["nsenter", &format!("--net={}", host.path())]).run()
}

#[track_caller]
fn refused(container: &Container, host: &Net, field: &str) {
    let (before, devices) = (Snapshot::take(container), host.devices());
    let output = create(container, host).fails();
    assert!(!container.runtime.is_ours() || output.stderr.contains(field), "{field}: {output:?}");
    assert_eq!(host.devices(), devices);
    before.assert_unchanged(container);
}

fn lnx_44_devices_move_into_the_container(runtime: &Runtime) {
    let (container, host) = container(runtime, "ls /sys/class/net", json!({"a0": {}, "b0": {}}));
    assert_eq!(run(&container, &host).ok().stdout.split_whitespace().collect::<Vec<_>>(), ["a0", "b0", "lo"]);
    assert_eq!(host.devices(), ["lo"], "virtual devices end with their namespace");
}

fn lnx_44_devices_move_with_a_user_namespace(runtime: &Runtime) {
    let (mut container, host) = container(runtime, "ls /sys/class/net", json!({"a0": {}}));
    container.bundle.user_namespace(100_000);
    assert!(run(&container, &host).ok().stdout.contains("a0"));
}

fn lnx_45_devices_are_renamed(runtime: &Runtime) {
    let devices = json!({"a0": {"name": "b0"}, "b0": {"name": "a0"}});
    let (container, host) = container(runtime, "cat /sys/class/net/a0/address", devices);
    host.ip(&["link", "set", "b0", "address", "00:11:22:33:44:55"]);
    assert_eq!(run(&container, &host).ok().text(), "00:11:22:33:44:55");
}

fn lnx_46_what_cannot_be_moved_is_refused(runtime: &Runtime) {
    for devices in [json!({"none": {}}), json!({"a0": {}, "none": {}}), json!({"a0": {}, "lo": {"name": "lo1"}})] {
        let (container, host) = container(runtime, "true", devices);
        refused(&container, &host, "linux.netDevices");
    }
    let (mut container, host) = container(runtime, "true", json!({"a0": {}}));
    container.bundle.without_namespace("network");
    refused(&container, &host, "linux.netDevices");
}

fn lnx_46_bad_names_are_refused(runtime: &Runtime) {
    for bad in ["", ".", "..", "a/b", "a:b", "a b", "a%d", "0123456789abcdef"] {
        let (container, host) = container(runtime, "true", json!({bad: {}}));
        refused(&container, &host, "linux.netDevices");
    }
    for bad in [".", "..", "a/b", "%s", "a%d%d", "a%db", "0123456789abcd%d"] {
        let (container, host) = container(runtime, "true", json!({"a0": {"name": bad}}));
        refused(&container, &host, "name");
    }
    let (container, host) = container(runtime, "true", json!({"a0": {"name": "x"}, "b0": {"name": "x"}}));
    refused(&container, &host, "name");
}

fn lnx_46_a_device_that_cannot_move_brings_the_others_back(runtime: &Runtime) {
    let (container, host) = container(runtime, "true", json!({"a0": {"name": "other"}, "br0": {}}));
    host.ip(&["link", "add", "br0", "type", "bridge"]);
    host.ip(&["addr", "add", "10.1.2.3/24", "dev", "a0"]);
    host.ip(&["link", "set", "a0", "up"]);
    let output = create(&container, &host);
    if output.code == Some(0) {
        // A kernel that moves bridges.
        container.delete_force();
        return;
    }
    assert!(host.devices().contains(&"a0".to_string()));
    let shown = host.ip(&["addr", "show", "a0"]);
    assert!(shown.contains("10.1.2.3/24") && shown.contains("UP"), "{shown}");
}

fn lnx_47_a_name_that_is_taken_is_refused(runtime: &Runtime) {
    for devices in [json!({"a0": {}}), json!({"b0": {"name": "a0"}}), json!({"b0": {"name": "lo"}})] {
        let (mut container, host) = container(runtime, "true", devices);
        let inside = Net::new(&container, "inside");
        inside.pair("a0", "other");
        container.bundle.join_namespace("network", inside.path());
        refused(&container, &host, "linux.netDevices");
        assert_eq!(inside.devices(), ["a0", "lo", "other"]);
    }
}

fn lnx_48_a_pattern_gets_a_free_number(runtime: &Runtime) {
    let devices = json!({"a0": {"name": "eth%d"}, "b0": {"name": "eth%d"}});
    let (mut container, host) = container(runtime, "ls /sys/class/net", devices);
    let inside = Net::new(&container, "inside");
    inside.pair("eth0", "eth2");
    container.bundle.join_namespace("network", inside.path());
    let output = run(&container, &host).ok();
    assert_eq!(output.stdout.split_whitespace().collect::<Vec<_>>(), ["eth0", "eth1", "eth2", "eth3", "lo"]);
}

fn lnx_49_attributes_and_addresses_are_kept(runtime: &Runtime) {
    let (container, host) = container(runtime, "ip link show x0; ip addr show x0; cat /sys/class/net/x0/ifalias", json!({"a0": {"name": "x0"}}));
    host.ip(&["link", "set", "a0", "mtu", "1789", "address", "00:11:22:33:44:55", "alias", "an alias"]);
    host.ip(&["addr", "add", "169.254.169.77/32", "dev", "a0"]);
    host.ip(&["addr", "add", "10.1.2.3/24", "broadcast", "10.1.2.99", "dev", "a0"]);
    host.ip(&["addr", "add", "127.0.0.33/8", "dev", "a0", "scope", "host"]);
    host.ip(&["link", "set", "a0", "up"]);
    host.ip(&["addr", "add", "2001:db8::1/64", "dev", "a0", "nodad"]);
    let shown = run(&container, &host).ok().stdout;
    for kept in ["mtu 1789", "00:11:22:33:44:55", "169.254.169.77/32", "10.1.2.3/24 brd 10.1.2.99", "2001:db8::1/64", "an alias"] {
        assert!(shown.contains(kept), "{kept}: {shown}");
    }
    assert!(!shown.contains("127.0.0.33"), "{shown}");
}

fn lnx_50_devices_are_up(runtime: &Runtime) {
    let (container, host) = container(runtime, "cat /sys/class/net/*0/flags", json!({"a0": {}, "b0": {}}));
    host.ip(&["link", "set", "a0", "up"]);
    for flags in run(&container, &host).ok().stdout.split_whitespace() {
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).expect("a number");
        assert_eq!(flags & 1, 1, "{flags:x}");
    }
}

fn lnx_51_devices_may_be_gone_at_the_end(runtime: &Runtime) {
    let (mut container, host) = container(runtime, "ip link del a0", json!({"a0": {}}));
    for set in ["bounding", "effective", "permitted"] {
        container.bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_NET_ADMIN"]));
    }
    run(&container, &host).ok().no_complaint();
}

fn lnx_52_devices_stay_in_a_namespace_that_stays(runtime: &Runtime) {
    let (mut container, host) = container(runtime, "sleep 1000", json!({"a0": {"name": "x0"}}));
    let inside = Net::new(&container, "inside");
    container.bundle.join_namespace("network", inside.path());
    create(&container, &host).ok();
    container.delete_force().ok();
    assert_eq!((inside.devices(), host.devices()), (vec!["lo".into(), "x0".into()], vec!["b0".into(), "lo".into()]));
}

fn lnx_127_sysctls_of_moved_devices_are_set(runtime: &Runtime) {
    let (mut container, host) = container(runtime, "cat /proc/sys/net/ipv4/conf/x0/forwarding", json!({"a0": {"name": "x0"}}));
    container.bundle.set("/linux/sysctl", json!({"net.ipv4.conf.x0.forwarding": "1"}));
    assert_eq!(run(&container, &host).ok().text(), "1");
}

fn rt_37_devices_of_a_failed_create_come_back(runtime: &Runtime) {
    let (mut container, host) = container(runtime, "true", json!({"a0": {"name": "x0"}, "b0": {"name": "a0"}}));
    host.ip(&["link", "set", "a0", "mtu", "1789", "up"]);
    host.ip(&["addr", "add", "10.1.2.3/24", "broadcast", "10.1.2.99", "dev", "a0"]);
    container.bundle.args(["/no/such/program"]);
    refused(&container, &host, "no such file");
    let shown = host.ip(&["addr", "show", "a0"]);
    for kept in ["mtu 1789", "10.1.2.3/24 brd 10.1.2.99", "UP"] {
        assert!(shown.contains(kept), "{kept}: {shown}");
    }
    assert!(!host.ip(&["link", "show", "b0"]).contains(",UP"));
}
